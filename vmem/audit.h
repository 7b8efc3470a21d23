/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The audit ring of an arena; audit.c has the theory.
 */
#ifndef KVA_VMEM_AUDIT_H
#define KVA_VMEM_AUDIT_H

#include "vmem/vmem_impl.h"

/* An event that has its number, and not its entry yet. */
struct kva__audit_ticket {
    struct kva_vmem_audit *entry; /* NULL: there is no ring */
    size_t number;
};

/* What a segment that changes in place was and is: the longer range of the two,
 * and what it has in common with the shorter one. */
struct kva__audit_change {
    uintptr_t addr, part_addr;
    size_t size, part_size;
};

struct kva__audit_ticket kva__audit_begin(kva_vmem_t *vm);
void kva__audit_end(kva_vmem_t *vm, struct kva__audit_ticket ticket,
                    enum kva_vmem_event op, uintptr_t addr, size_t size,
                    const void *caller);
void kva__audit_write(kva_vmem_t *vm, enum kva_vmem_event op, uintptr_t addr,
                      size_t size, const void *caller);
/* Of the range a part stays, or is by itself from now on or until now.  Arena
 * locked. */
void
kva__audit_resize(kva_vmem_t *vm, enum kva_vmem_event op,
                  const struct kva__audit_change *change, const void *caller);

/* The newest entry for addr; NULL: none.  Arena locked, or stopped. */
const struct kva_vmem_audit *
kva__audit_last(const kva_vmem_t *vm, uintptr_t addr);
const char *kva__audit_op_name(enum kva_vmem_event op);

static inline bool
audit_is_on(const kva_vmem_t *vm)
{
    return __atomic_load_n(&vm->audit, __ATOMIC_RELAXED) != NULL;
}

/* An allocation has succeeded, or a free that nobody raced. */
static inline void
audit_note(kva_vmem_t *vm, enum kva_vmem_event op, uintptr_t addr, size_t size,
           const void *caller)
{
    if (KVA_UNLIKELY(audit_is_on(vm))) {
        kva__audit_write(vm, op, addr, size, caller);
    }
}

/* A segment was changed, and the arena has been locked since. */
static inline void
audit_resize(kva_vmem_t *vm, enum kva_vmem_event op,
             struct kva__audit_change change, const void *caller)
{
    if (KVA_UNLIKELY(audit_is_on(vm))) {
        kva__audit_resize(vm, op, &change, caller);
    }
}

/* A free begins; audit_free_end when it has been found good. */
static inline struct kva__audit_ticket
audit_free_begin(kva_vmem_t *vm)
{
    if (KVA_UNLIKELY(audit_is_on(vm))) {
        return kva__audit_begin(vm);
    }
    return (struct kva__audit_ticket){ NULL, 0 };
}

static inline void
audit_free_end(kva_vmem_t *vm, struct kva__audit_ticket ticket,
               enum kva_vmem_event op, uintptr_t addr, size_t size,
               const void *caller)
{
    if (KVA_UNLIKELY(ticket.entry != NULL)) {
        kva__audit_end(vm, ticket, op, addr, size, caller);
    }
}

#endif
