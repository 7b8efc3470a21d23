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

/* The lock of types; and what is done with it held. */
kva_irq_t kva__malloc_lock(void);
void kva__malloc_unlock(kva_irq_t irq);
void kva__malloc_attach_locked(struct kva_malloc_type *mt);
struct kva__malloc_count kva__malloc_sum_locked(struct kva_malloc_type *mt);
void
kva__malloc_stat_locked(struct kva_malloc_type *mt, struct kva_malloc_stat *st);

/* ---- limits (limit.c) ------------------------------------------------- */

static inline bool
kva__malloc_is_limited(const struct kva_malloc_type *mt)
{
    return __atomic_load_n(&mt->limit, __ATOMIC_RELAXED) != 0;
}

/* Count an allocation of a type with a limit before the memory is taken; where
 * flags allow it, wait for others' frees.  False: refused. */
bool kva__malloc_reserve(struct kva_malloc_type *mt, size_t bytes, int flags);
/* Bytes of a type with a limit are back; cancel: they were never taken. */
void
kva__malloc_unreserve(struct kva_malloc_type *mt, size_t bytes, bool cancel);
/* One allocation was exchanged for one that is smaller by so much. */
void kva__malloc_shrunk(struct kva_malloc_type *mt, size_t bytes);

/* ---- malloc.c, realloc.c ---------------------------------------------- */

/* What a request takes; 0: more than there could ever be. */
size_t kva__malloc_taken(size_t size);
/* The same of the live allocation at addr; or a misuse of func. */
size_t kva__malloc_size_of(const char *func, uintptr_t addr);
/* Memory without a type; and the refusal of it: NULL, or a misuse of func. */
void *kva__malloc_take(size_t size, int flags);
void *kva__malloc_refuse(const char *func, struct kva_malloc_type *mt,
                         size_t size, int flags);

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
