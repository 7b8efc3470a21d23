/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of malloc_compat/ share; type.c has the theory of counting.
 */
#ifndef KVA_MALLOC_COMPAT_MALLOC_IMPL_H
#define KVA_MALLOC_COMPAT_MALLOC_IMPL_H

#include "kmem/kmem_impl.h"
#include "malloc_compat/malloc_store.h"

/* Flags below this are M_WAITOK or M_NOWAIT and nothing else. */
#define KVA__MALLOC_PLAIN (KVA_M_NOWAIT + 1u)

/* An allocation or a free that was no hit. */
void
kva__malloc_count_slow(struct kva_malloc_type *mt, size_t bytes, bool alloc);
/*
 * A hit has left the slot's window, upwards by an allocation, downwards by a
 * free.  The caller is pinned to CPU row - 1, and will not be any more.  pp,
 * flags and addr are not looked at: what is passed on stays in the register
 * that it came in.
 */
void *kva__malloc_left_up(const struct kva_pool *pp, struct kva_malloc_type *mt,
                          int flags, struct kva__malloc_count *count,
                          unsigned row, void *object);
void kva__malloc_left_down(uintptr_t addr, struct kva_malloc_type *mt,
                           struct kva__malloc_count *count, unsigned row);
void kva__malloc_failed(struct kva_malloc_type *mt);

/* The lock of types; and what is done with it held. */
kva_irq_t kva__malloc_lock(void);
void kva__malloc_unlock(kva_irq_t irq);
void kva__malloc_attach_locked(struct kva_malloc_type *mt);
/* May hits be counted by themselves?  After a change of the limit. */
void kva__malloc_hits_locked(struct kva_malloc_type *mt);
struct kva__malloc_sum kva__malloc_sum_locked(struct kva_malloc_type *mt);
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
void *kva__malloc_take(size_t size, int flags, const void *caller);
void *kva__malloc_refuse(const char *func, struct kva_malloc_type *mt,
                         size_t size, int flags);

/*
 * A word that says whether others are ready.  Loads are not reordered on x86,
 * nor do compilers move them over the barrier that comes between.
 */
#if defined(__x86_64__) || defined(__i386__)
#define KVA__MALLOC_READY(word) KVA__ONCE(word)
#else
#define KVA__MALLOC_READY(word) __atomic_load_n(&(word), __ATOMIC_ACQUIRE)
#endif

static inline void
kva__malloc_bump(size_t *word)
{
    if (KVA__WATCHED) {
        __atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED) + 1u,
                         __ATOMIC_RELAXED);
    } else {
        ++*word;
    }
}

/*
 * The owner's add, and whether it carried.  Others read the
 * word meanwhile; the compiler may make one instruction of it, so that the
 * watched way is for ThreadSanitizer alone.
 */
static inline bool
kva__malloc_add(size_t *word, size_t by)
{
    size_t sum;
    bool carry;

    if (KVA__WATCHED) {
        carry = __builtin_add_overflow(__atomic_load_n(word, __ATOMIC_RELAXED),
                                       by, &sum);
        __atomic_store_n(word, sum, __ATOMIC_RELAXED);
        return carry;
    }
    KVA__OPAQUE(by);
    return __builtin_add_overflow(*word, by, word);
}

#endif
