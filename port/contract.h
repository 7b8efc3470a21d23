/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port that does not keep what port.h promises, told by the hook's name.
 *
 * With KVA_CONFIG_DEBUG the core calls the hooks through functions that look at
 * what comes back (contract.c); else this file has nothing in it.  A breach is
 * told as a misuse is, "kva_port_map: port space: 0x7000: expected ..., found
 * ...", but where it is found, whatever is locked.
 *
 * For the core's own files, since it takes the hooks' names: a port that
 * includes it would define what the core calls instead.
 */
#ifndef KVA_PORT_CONTRACT_H
#define KVA_PORT_CONTRACT_H

#include "port/check.h"

#if KVA_CONFIG_DEBUG

int kva__contract_page_get(size_t n, unsigned flags, kva_pa_t *pa);
void kva__contract_page_put(size_t n, kva_pa_t pa);
#if KVA_CONFIG_CONTEXT
kva_irq_t kva__contract_lock(kva_lock_t *lock);
void kva__contract_unlock(kva_lock_t *lock, kva_irq_t saved);
#endif
#if KVA_TIER >= 1
unsigned kva__contract_cpu_count(void);
_Noreturn void kva__contract_cpu_breach(unsigned cpu);
#endif
#if KVA_TIER >= 2
int kva__contract_map(uintptr_t va, kva_pa_t pa, size_t n, unsigned prot);
void kva__contract_unmap(uintptr_t va, size_t n);
#if KVA_DEMOTE
int kva__contract_demote(uintptr_t va, size_t n);
#endif
int kva__contract_meta_get(uintptr_t *va);
#endif
#if KVA_TIER >= 3
int kva__contract_wait(const void *channel, kva_lock_t *lock, kva_irq_t *irq,
                       uint64_t timeout_ns);
#endif

/* Rows of slots are as long as this, so a number above it is not looked up. */
static inline unsigned
kva__contract_cpu(unsigned cpu)
{
#if KVA_TIER >= 1
    if (KVA_UNLIKELY(cpu >= KVA_CPU_MAX && cpu != KVA_CPU_NONE)) {
        kva__contract_cpu_breach(cpu);
    }
#endif
    return cpu;
}

static inline unsigned
kva__contract_cpu_enter(void)
{
    return kva__contract_cpu(kva_cpu_enter());
}

static inline unsigned
kva__contract_cpu_enter_hit(void)
{
    return kva__contract_cpu(kva_cpu_enter_hit());
}

#ifndef KVA__CONTRACT_HOOKS /* contract.c calls the port */
/* Another symbol prefix has made macros of the names (tools/prefix.py). */
#undef kva_port_page_get
#undef kva_port_page_put
#undef kva_port_cpu_count
#undef kva_cpu_enter
#undef kva_cpu_enter_hit
#undef kva_port_map
#undef kva_port_unmap
#undef kva_port_demote
#undef kva_port_meta_get
#undef kva_port_wait
#define kva_port_page_get(n, flags, pa) kva__contract_page_get(n, flags, pa)
#define kva_port_page_put(n, pa) kva__contract_page_put(n, pa)
#if KVA_CONFIG_CONTEXT
#undef kva_port_lock
#undef kva_port_unlock
#define kva_port_lock(lock) kva__contract_lock(lock)
#define kva_port_unlock(lock, saved) kva__contract_unlock(lock, saved)
#endif
#define kva_port_cpu_count() kva__contract_cpu_count()
#define kva_cpu_enter() kva__contract_cpu_enter()
#define kva_cpu_enter_hit() kva__contract_cpu_enter_hit()
#define kva_port_map(va, pa, n, prot) kva__contract_map(va, pa, n, prot)
#define kva_port_unmap(va, n) kva__contract_unmap(va, n)
#define kva_port_demote(va, n) kva__contract_demote(va, n)
#define kva_port_meta_get(va) kva__contract_meta_get(va)
#define kva_port_wait(channel, lock, irq, timeout_ns) \
    kva__contract_wait(channel, lock, irq, timeout_ns)
#endif

#endif
#endif
