/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Allocations that change their size, and what else is made of malloc and free.
 *
 *     asked for   |--- 70 ---|                taken   |------ 128 ------|
 *     then        |------ 100 -----|                  |------ 128 ------|
 *
 * What was asked for is kept nowhere, only what was taken: a class, or pages (a
 * cache with a debug mode knows it, and then nothing beyond it may be used).
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

/* All that may be used at p; in a debug mode, what was asked for. */
static size_t
usable(const char *func, const void *p)
{
    size_t taken = kva__malloc_size_of(func, (uintptr_t)p);

    return kva__kmem_mode_of(p) != NULL ? kva__kmem_asked(p) : taken;
}

/* Its redzone is looked at before anything is taken. */
static void
look_around(void *p)
{
    struct kva_pool *pp = kva__kmem_mode_of(p);

    if (pp != NULL) {
        kva__debug_resize("realloc", pp, (uintptr_t)p, kva__kmem_asked(p));
    }
}

/* Another size for p where it is. */
static void
stay(void *p, size_t size, size_t old, int flags)
{
    struct kva_pool *pp = kva__kmem_mode_of(p);

    if (pp != NULL) {
        size_t asked = kva__kmem_asked(p);

        kva__debug_resize("realloc", pp, (uintptr_t)p, size);
        clear_from(p, asked, size, flags);
        return;
    }
    clear_from(p, size, old, flags);
    if (KVA_CONFIG_DEBUG) {
        kva__exact_note(p, size);
    }
}

/* The content to q, p back to kmem; nothing is counted. */
static void
move(void *q, void *p, size_t size, size_t old, const void *caller)
{
    struct kva_pool *pp = kva__kmem_mode_of(p);
    size_t content = pp != NULL ? kva__kmem_asked(p) : old;

    __builtin_memcpy(q, p, content < size ? content : size);
    if (pp != NULL) {
        (void)kva__debug_put("realloc", pp, (uintptr_t)p, 0, caller);
        return;
    }
    if (KVA_CONFIG_DEBUG) {
        kva__exact_note(p, old);
    }
    kva_kmem_free(p, old);
}

static void *
grow(void *p, size_t size, size_t old, struct kva_malloc_type *mt, int flags,
     const void *caller)
{
    size_t limit = __atomic_load_n(&mt->limit, __ATOMIC_RELAXED);
    size_t taken = kva__malloc_taken(size);
    void *q;

    if (taken == 0 || (limit != 0 && taken > limit) ||
        (limit != 0 && !kva__malloc_reserve(mt, taken - old, flags))) {
        return kva__malloc_refuse("realloc", mt, size, flags);
    }
    q = kva__malloc_take(size, flags, caller);
    if (q == NULL) {
        if (limit != 0) {
            kva__malloc_unreserve(mt, taken - old, true);
        }
        return kva__malloc_refuse("realloc", mt, size, flags);
    }
    move(q, p, size, old, caller);
    if (limit != 0) {
        kva__malloc_unreserve(mt, 0, false);
    } else {
        kva__malloc_count_slow(mt, taken, true);
        kva__malloc_count_slow(mt, old, false);
    }
    return q;
}

static void *
shrink(void *p, size_t size, size_t old, struct kva_malloc_type *mt, int flags,
       const void *caller)
{
    size_t taken = kva__malloc_taken(size);
    void *q = kva__malloc_take(size, flags | KVA_M_NOWAIT, caller);

    if (q == NULL) {
        stay(p, size, old, flags);
        return p;
    }
    move(q, p, size, old, caller);
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
    const void *caller = __builtin_return_address(0);
    size_t old, taken;

    if (p == NULL) {
        return kva_malloc(size, mt, flags);
    }
    if (size == 0) {
        kva_free(p, mt);
        return NULL;
    }
    old = kva__malloc_size_of("realloc", (uintptr_t)p);
    look_around(p);
    taken = kva__malloc_taken(size);
    if (taken == old) {
        stay(p, size, old, flags);
        return p;
    }
    return taken != 0 && taken < old ? shrink(p, size, old, mt, flags, caller)
                                     : grow(p, size, old, mt, flags, caller);
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
        __builtin_memset(p, 0, usable("zfree", p));
        /* It is not for nothing, though nobody reads it. */
        __asm__ volatile("" : : "r"(p) : "memory");
    }
    kva_free(p, mt);
}

size_t
kva_malloc_usable_size(const void *p)
{
    return p == NULL ? 0 : usable("malloc_usable_size", p);
}
