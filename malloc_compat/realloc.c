/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Allocations that change their size, and what else is made of malloc and free.
 *
 *     asked for   |--- 70 ---|                taken   |------ 128 ------|
 *     then        |------ 100 -----|                  |------ 128 ------|
 *
 * What was asked for is kept nowhere, only what was taken: a class, or pages.
 * As long as that stays the same, so does the place.  Ranges of pages move as
 * well: those of vmem_alloc are items of the quantum caches or may become some,
 * and such do not change in place (vmem/resize.c).
 *
 * Zeroes: M_ZERO clears from the size asked for to the end of what is taken, at
 * a place or at the next one.  So whatever p has grown by is zero, if all
 * changes had M_ZERO.
 *
 * A type with a limit is counted for the difference, before the memory is
 * taken; to reserve all of the new size beside the old one might wait for ever
 * for a free of the old one.
 */
#include "malloc_compat/malloc_impl.h"

static void
clear_from(void *p, size_t from, size_t to, int flags)
{
    if ((flags & KVA_M_ZERO) != 0 && from < to) {
        __builtin_memset((char *)p + from, 0, to - from);
    }
}

/* The content to q, p back to kmem; nothing is counted. */
static void
move(void *q, void *p, size_t size, size_t old)
{
    __builtin_memcpy(q, p, old < size ? old : size);
    kva_kmem_free(p, old);
}

static void *
grow(void *p, size_t size, size_t old, struct kva_malloc_type *mt, int flags)
{
    size_t limit = __atomic_load_n(&mt->limit, __ATOMIC_RELAXED);
    size_t taken = kva__malloc_taken(size);
    void *q;

    if (taken == 0 || (limit != 0 && taken > limit) ||
        (limit != 0 && !kva__malloc_reserve(mt, taken - old, flags))) {
        return kva__malloc_refuse("realloc", mt, size, flags);
    }
    q = kva__malloc_take(size, flags);
    if (q == NULL) {
        if (limit != 0) {
            kva__malloc_unreserve(mt, taken - old, true);
        }
        return kva__malloc_refuse("realloc", mt, size, flags);
    }
    move(q, p, size, old);
    if (limit != 0) {
        kva__malloc_unreserve(mt, 0, false);
    } else {
        kva__malloc_count_slow(mt, taken, true);
        kva__malloc_count_slow(mt, old, false);
    }
    return q;
}

static void *
shrink(void *p, size_t size, size_t old, struct kva_malloc_type *mt, int flags)
{
    size_t taken = kva__malloc_taken(size);
    void *q = kva__malloc_take(size, flags | KVA_M_NOWAIT);

    if (q == NULL) {
        clear_from(p, size, old, flags);
        return p;
    }
    move(q, p, size, old);
    if (kva__malloc_is_limited(mt)) {
        kva__malloc_shrunk(mt, old - taken);
    } else {
        kva__malloc_count_slow(mt, taken, true);
        kva__malloc_count_slow(mt, old, false);
    }
    return q;
}

void *
kva_realloc(void *p, unsigned long size, struct kva_malloc_type *mt, int flags)
{
    size_t old, taken;

    if (p == NULL) {
        return kva_malloc(size, mt, flags);
    }
    if (size == 0) {
        kva_free(p, mt);
        return NULL;
    }
    old = kva__malloc_size_of("realloc", (uintptr_t)p);
    taken = kva__malloc_taken(size);
    if (taken == old) {
        clear_from(p, size, old, flags);
        return p;
    }
    return taken != 0 && taken < old ? shrink(p, size, old, mt, flags)
                                     : grow(p, size, old, mt, flags);
}

void *
kva_reallocf(void *p, unsigned long size, struct kva_malloc_type *mt, int flags)
{
    void *q = kva_realloc(p, size, mt, flags);

    if (q == NULL && size != 0) {
        kva_free(p, mt);
    }
    return q;
}

void *
kva_mallocarray(size_t n, size_t size, struct kva_malloc_type *mt, int flags)
{
    size_t bytes;

    if (__builtin_mul_overflow(n, size, &bytes)) {
        bytes = SIZE_MAX;
    }
    return kva_malloc(bytes, mt, flags);
}

void
kva_zfree(void *p, struct kva_malloc_type *mt)
{
    if (p != NULL) {
        size_t bytes = kva__malloc_size_of("zfree", (uintptr_t)p);

        __builtin_memset(p, 0, bytes);
        /* It is not for nothing, though nobody reads it. */
        __asm__ volatile("" : : "r"(p) : "memory");
    }
    kva_free(p, mt);
}

size_t
kva_malloc_usable_size(const void *p)
{
    return p == NULL ? 0
                     : kva__malloc_size_of("malloc_usable_size", (uintptr_t)p);
}
