/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the short ways of arenas without (short.c) and with an index
 * (short_index.c) share.  Those without lead to those with.
 */
#ifndef KVA_VMEM_SHORT_H
#define KVA_VMEM_SHORT_H

#include "vmem/vmem_impl.h"

/* What is done for each caller, with what it knows of its arguments. */
#define INLINE static inline __attribute__((always_inline))
/* What is rare, and would have the rest save registers for it. */
#define APART static __attribute__((noinline))

/* One way to wait and perhaps the usual fit. */
static inline bool
short_flags(kva_vm_flag_t flags)
{
    return (flags & ~KVA_VM_INSTANTFIT) - 1u < 2u;
}

/* Is that the segment that is to go: of that state, and as many whole
 * quanta. */
static inline bool
short_is_it(const kva_vmem_t *vm, const struct kva_vmem_btag *bt, size_t size,
            enum btag_state state)
{
    uintptr_t q = ((size - 1) >> vm->quantum_shift) + 1;

    return bt_state(bt) == state && bt_size(bt) == (size_t)q
                                                       << vm->quantum_shift;
}

/* What came free was joined, gone tags being left over. */
static inline void
short_joined(kva_vmem_t *vm, size_t size, unsigned gone)
{
    vm->stat.mem_inuse -= size;
    vm->stat.tags_free += (size_t)1 - gone;
    vm->stat.free++;
    vm->nsegments -= gone;
    vm->nspare += gone;
    if (KVA_UNLIKELY(vm->nspare > KVA__SPARE_MAX + vm->reserved)) {
        kva__btag_settle(vm);
    }
}

/* The long ways of a request without constraints, and of a free. */
int kva__short_long(kva_vmem_t *vm, size_t size, kva_vm_flag_t flags,
                    enum btag_state state, uintptr_t *addr);
void kva__short_long_free(kva_vmem_t *vm, uintptr_t addr, size_t size,
                          enum btag_state state);

/* With an index. */
int kva__short_index_alloc(kva_vmem_t *vm, size_t size, kva_vm_flag_t flags,
                           uintptr_t *addr);
int kva__short_index_xalloc(kva_vmem_t *vm, size_t size, kva_vm_flag_t flags,
                            uintptr_t *addr);
void kva__short_index_free(kva_vmem_t *vm, uintptr_t addr, size_t size);
void kva__short_index_xfree(kva_vmem_t *vm, uintptr_t addr, size_t size);

#endif
