/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * malloc(9) over kmem: the classes are kmem's, a free finds the size itself.
 *
 * From an address to its size: the map of slabs says where the slab starts that
 * holds it, the slab's header says whose it is.  What is in no slab is a range
 * of pages, which the arena knows.  So a free trusts nothing but what the
 * library wrote itself, and every wrong address gets the same diagnosis as with
 * kmem_free.
 *
 * Sizes between a cache line and a page are aligned to cache lines like kmem's:
 * finer classes for malloc alone would be a second set of half-empty slabs.
 */
#include "malloc_compat/malloc_impl.h"

static inline unsigned
pool_flags(int flags)
{
    return ((flags & KVA_M_NOWAIT) != 0 ? KVA_PR_NOWAIT : KVA_PR_WAITOK) |
           ((flags & KVA_M_ZERO) != 0 ? KVA_PR_ZERO : 0);
}

/* ---- sizes ----------------------------------------------------------- */

unsigned long
malloc_roundup(unsigned long size)
{
    return kva_kmem_roundup_size(size == 0 ? 1 : size);
}

size_t
kva__malloc_taken(size_t size)
{
    return size <= KVA__KMEM_SMALL_MAX ? kva_kmem_roundup_size(size)
                                       : kva__kmem_pages(size);
}

/* The cache of kmem's that has a live object at addr; NULL if addr is in no
 * slab.  Else it is a misuse. */
static struct kva_pool_cache *
cache_of_live(const char *func, uintptr_t addr, struct kva__place *place)
{
    struct kva__slab *slab = kva__slab_of(addr);

    if (slab == NULL || !kva__kmem_owns(slab->owner)) {
        return NULL;
    }
    kva__slab_place(slab->owner, slab, kva__slab_base(slab), addr, place);
    if (!kva__place_is_live(place)) {
        kva__pool_bad_put(func, slab->owner, addr, KVA__OBJECT_LIVE);
    }
    return KVA_CONTAINER(slab->owner, struct kva_pool_cache, slabs);
}

size_t
kva__malloc_size_of(const char *func, uintptr_t addr)
{
    struct kva__place place;
    struct kva_pool_cache *pc = cache_of_live(func, addr, &place);

    return pc != NULL ? pc->slabs.size
                      : kva__kmem_range(func, kva_kmem_arena, addr, 0);
}

/* ---- allocation ------------------------------------------------------ */

/* Refused: count it, and say so where the caller was promised memory. */
void *
kva__malloc_refuse(const char *func, struct kva_malloc_type *mt, size_t size,
                   int flags)
{
    size_t taken = kva__malloc_taken(size);
    size_t limit = __atomic_load_n(&mt->limit, __ATOMIC_RELAXED);
    bool absurd = taken == 0 || (limit != 0 && taken > limit);

    kva__malloc_failed(mt);
    if (absurd && (flags & (KVA_M_NOWAIT | KVA_M_CANFAIL)) == 0) {
        kva__misuse(func, "type", mt->name, 0,
                    "expected a size that can be had or M_CANFAIL, found "
                    "size %zu",
                    size);
    }
    return NULL;
}

void *
kva__malloc_take(size_t size, int flags)
{
    kva_km_flag_t km =
        (flags & KVA_M_NOWAIT) != 0 ? KVA_KM_NOSLEEP : KVA_KM_SLEEP;

    return (flags & KVA_M_ZERO) != 0 ? kva_kmem_zalloc(size, km)
                                     : kva_kmem_alloc(size, km);
}

/* Whole pages, a type with a limit, size 0. */
static __attribute__((noinline)) void *
malloc_slow(size_t size, struct kva_malloc_type *mt, int flags)
{
    bool limited = kva__malloc_is_limited(mt);
    size_t taken;
    void *p;

    size = size == 0 ? 1 : size;
    taken = kva__malloc_taken(size);
    if (taken == 0 || (limited && !kva__malloc_reserve(mt, taken, flags))) {
        return kva__malloc_refuse("malloc", mt, size, flags);
    }
    p = kva__malloc_take(size, flags);
    if (p == NULL) {
        if (limited) {
            kva__malloc_unreserve(mt, taken, true);
        }
        return kva__malloc_refuse("malloc", mt, size, flags);
    }
    if (!limited) {
        kva__malloc_count_up(mt, taken, true);
    }
    return p;
}

void *
kva_malloc(unsigned long size, struct kva_malloc_type *mt, int flags)
{
    struct kva_pool_cache *pc;
    void *p;

    if (KVA_UNLIKELY(size - 1u >= KVA__KMEM_SMALL_MAX) ||
        KVA_UNLIKELY(kva__malloc_is_limited(mt))) {
        return malloc_slow(size, mt, flags);
    }
    pc = &kva__kmem_cache[kva__kmem_class_of(size)];
    p = kva_pool_cache_get(pc, (int)pool_flags(flags));
    if (KVA_UNLIKELY(p == NULL)) {
        return kva__malloc_refuse("malloc", mt, size, flags);
    }
    kva__malloc_count_up(mt, pc->slabs.size, true);
    return p;
}

/* ---- free ------------------------------------------------------------ */

static inline void
count_down(struct kva_malloc_type *mt, size_t bytes)
{
    if (KVA_UNLIKELY(kva__malloc_is_limited(mt))) {
        kva__malloc_unreserve(mt, bytes, false);
    } else {
        kva__malloc_count_up(mt, bytes, false);
    }
}

/* Everything but a live object of kmem's with its header in the slab. */
static __attribute__((noinline)) void
free_slow(uintptr_t addr, struct kva_malloc_type *mt)
{
    struct kva_pool_cache *pc;
    struct kva__place place;
    size_t bytes;

    if (addr == 0) {
        return;
    }
    pc = cache_of_live("free", addr, &place);
    if (pc != NULL) {
        count_down(mt, pc->slabs.size);
        kva__cache_put_place(pc, addr, &place);
    } else {
        bytes = kva__kmem_range("free", kva_kmem_arena, addr, 0);
        count_down(mt, bytes);
        kva_vmem_free(kva_kmem_arena, addr, bytes);
    }
}

/* The cache of a live object with its header in the slab, now retired; or
 * NULL.  Without checks here, what is wrong comes out at its slab. */
static inline struct kva_pool_cache *
free_retire(uintptr_t addr)
{
    const struct kva__slab *slab;
    struct kva_pool *pp;
    uintptr_t base;

    if (KVA_UNLIKELY(kva__slabmap_find(addr, &base) != KVA__SLABMAP_IN)) {
        return NULL;
    }
    slab = (const struct kva__slab *)base;
    pp = slab->owner;
    if (KVA_UNLIKELY(!kva__kmem_owns(pp)) ||
        KVA_UNLIKELY(__atomic_load_n(&pp->key, __ATOMIC_RELAXED) != pp)) {
        return NULL;
    }
    if (KVA_CONFIG_CHECKS &&
        KVA_UNLIKELY(!kva__object_retire_in(pp, base, addr))) {
        return NULL;
    }
    return KVA_CONTAINER(pp, struct kva_pool_cache, slabs);
}

void
kva_free(void *p, struct kva_malloc_type *mt)
{
    uintptr_t addr = (uintptr_t)p;
    struct kva_pool_cache *pc = free_retire(addr);

    if (KVA_UNLIKELY(pc == NULL)) {
        free_slow(addr, mt);
        return;
    }
    count_down(mt, pc->slabs.size);
    kva__cache_put_magazine(pc, addr);
}
