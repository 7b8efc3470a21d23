/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of malloc_compat/ share; type.c has the theory of counting.
 */
#ifndef KVA_MALLOC_COMPAT_MALLOC_IMPL_H
#define KVA_MALLOC_COMPAT_MALLOC_IMPL_H

#include "kmem/kmem_impl.h"
#include "malloc_compat/malloc_store.h"

extern unsigned kva__malloc_ncpu;  /* slots with counters */
extern unsigned kva__malloc_shift; /* 1 << of them in a block */

void
kva__malloc_fold(struct kva_malloc_type *mt, struct kva__malloc_count *count);
void
kva__malloc_count_shared(struct kva_malloc_type *mt, size_t bytes, bool alloc);
void kva__malloc_failed(struct kva_malloc_type *mt);
bool kva__malloc_reserve(struct kva_malloc_type *mt, size_t bytes, int flags);
void
kva__malloc_unreserve(struct kva_malloc_type *mt, size_t bytes, bool cancel);

static inline void
kva__malloc_bump(size_t *counter, size_t by)
{
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + by,
                     __ATOMIC_RELAXED);
}

/* One allocation more, or one free. */
static inline void
kva__malloc_count_up(struct kva_malloc_type *mt, size_t bytes, bool alloc)
{
    unsigned cpu = kva_cpu_enter();
    struct kva__malloc_count *count = NULL;
    bool fold = false;

    if (KVA_LIKELY(cpu <
                   __atomic_load_n(&kva__malloc_ncpu, __ATOMIC_ACQUIRE))) {
        count = __atomic_load_n(&mt->block[cpu >> kva__malloc_shift],
                                __ATOMIC_ACQUIRE);
    }
    if (KVA_LIKELY(count != NULL)) {
        count += cpu & ((1u << kva__malloc_shift) - 1u);
        kva__malloc_bump(alloc ? &count->requests : &count->frees, 1);
        kva__malloc_bump(&count->bytes, alloc ? bytes : 0u - bytes);
        fold = __atomic_load_n(&count->bytes, __ATOMIC_RELAXED) -
                   __atomic_load_n(&count->low, __ATOMIC_RELAXED) >
               KVA_MALLOC_WINDOW;
    }
    kva_cpu_exit(cpu);
    if (KVA_UNLIKELY(count == NULL)) {
        kva__malloc_count_shared(mt, bytes, alloc);
    } else if (KVA_UNLIKELY(fold)) {
        kva__malloc_fold(mt, count);
    }
}

#endif
