/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What must be known at compile time about the platform: the lock type, the
 * saved interrupt state, and how a CPU slot is entered and left on the hot
 * path.  The default calls the port's functions.  A port that wants them
 * inline defines KVA_OVERRIDE_PLATFORM and puts a kva_platform.h on the
 * include path that defines all the names below itself; and, if slabs are
 * found by page owners (port/config.h), it may have that hook inline.
 */
#ifndef KVA_PORT_PLATFORM_H
#define KVA_PORT_PLATFORM_H

#include "port/config.h"
#include "port/types.h"

/* What cpu_enter returns when the caller has no slot of its own. */
#define KVA_CPU_NONE (~0u)

#ifdef KVA_OVERRIDE_PLATFORM
#include "kva_platform.h"
#else

/* Room for any lock a kernel may have; the port decides what is in it. */
typedef struct kva_lock {
    uintptr_t word[6];
} kva_lock_t;

/* What a lock took from the interrupt state, to be given back at unlock. */
typedef uintptr_t kva_irq_t;

#if KVA_TIER >= 1
unsigned kva_port_cpu_enter(void);
void kva_port_cpu_exit(unsigned cpu);

static inline unsigned
kva_cpu_enter(void)
{
    return kva_port_cpu_enter();
}

static inline void
kva_cpu_exit(unsigned cpu)
{
    kva_port_cpu_exit(cpu);
}

/* The same for a hit path: may say KVA_CPU_NONE where enter would first find
 * the caller a slot. */
static inline unsigned
kva_cpu_enter_hit(void)
{
    return kva_port_cpu_enter();
}
#endif

#endif /* KVA_OVERRIDE_PLATFORM */

#if KVA_TIER < 1
/* No CPU slots: everything takes the locked path. */
static inline unsigned
kva_cpu_enter(void)
{
    return KVA_CPU_NONE;
}

static inline unsigned
kva_cpu_enter_hit(void)
{
    return KVA_CPU_NONE;
}

static inline void
kva_cpu_exit(unsigned cpu)
{
    (void)cpu;
}
#endif

#endif
