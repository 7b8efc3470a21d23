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
    kva__slab_place(slab->owner, slab, addr, place);
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

static unsigned
pool_flags(int flags)
{
    return ((flags & KVA_M_NOWAIT) != 0 ? KVA_PR_NOWAIT : KVA_PR_WAITOK) |
           ((flags & KVA_M_ZERO) != 0 ? KVA_PR_ZERO : 0) |
           ((flags & KVA_M_USE_RESERVE) != 0 ? KVA_PR_RESERVE : 0);
}

void *
kva__malloc_take(size_t size, int flags, const void *caller)
{
    return kva__kmem_alloc_slow(size, pool_flags(flags), caller);
}

/* Whatever is no hit. */
static __attribute__((noinline)) void *
malloc_slow(size_t size, struct kva_malloc_type *mt, int flags,
            const void *caller)
{
    bool limited = kva__malloc_is_limited(mt);
    size_t taken;
    void *p;

    size = size == 0 ? 1 : size;
    taken = kva__malloc_taken(size);
    if (taken == 0 || (limited && !kva__malloc_reserve(mt, taken, flags))) {
        return kva__malloc_refuse("malloc", mt, size, flags);
    }
    p = kva__malloc_take(size, flags, caller);
    if (p == NULL) {
        if (limited) {
            kva__malloc_unreserve(mt, taken, true);
        }
        return kva__malloc_refuse("malloc", mt, size, flags);
    }
    if (!limited) {
        kva__malloc_count_slow(mt, taken, true);
    }
    return p;
}

/* The magazine had none; nothing but flags that are plain comes here. */
static __attribute__((noinline)) void *
malloc_miss(struct kva_pool *pp, struct kva_malloc_type *mt, int flags,
            const void *caller)
{
    struct kva_pool_cache *pc = KVA_CONTAINER(pp, struct kva_pool_cache, slabs);
    void *p = kva__cache_get_slow(
        pc, flags == KVA_M_NOWAIT ? (int)KVA_PR_NOWAIT : (int)KVA_PR_WAITOK, 0,
        caller);

    if (p == NULL) {
        return kva__malloc_refuse("malloc", mt, pp->size, flags);
    }
    kva__malloc_count_slow(mt, pp->size, true);
    return p;
}

/*
 * A hit counts when it has what it came for, so that a miss need not take
 * anything back.  A CPU with a row in the cache has counters.
 */
void *
kva_malloc(unsigned long size, struct kva_malloc_type *mt, int flags)
{
    size_t step = kva__kmem_step(size);
    struct kva__malloc_count *count;
    struct kva_pool *pp;
    struct kva__round round;
    unsigned cpu;

    KVA__OPAQUE(step);
    if (KVA_UNLIKELY(step >= KVA__KMEM_STEPS) ||
        KVA_UNLIKELY((unsigned)flags >= KVA__MALLOC_READY(mt->plain))) {
        return malloc_slow(size, mt, flags, __builtin_return_address(0));
    }
    pp = &kva__kmem_of[step]->slabs;
    cpu = kva_cpu_enter_hit();
    if (KVA_UNLIKELY(!kva__cache_take(pp, cpu, &round))) {
        void *p;

        kva_cpu_exit(cpu);
        p = malloc_miss(pp, mt, flags, __builtin_return_address(0));
        if (KVA_CONFIG_DEBUG && p != NULL) {
            kva__exact_note(p, size);
        }
        return p;
    }
    KVA__ARGUMENT(1, pp);
    KVA__ARGUMENT(2, mt);
    KVA__ARGUMENT(3, flags);
    KVA__RESULT(round.object);
    if (KVA_CONFIG_DEBUG) {
        kva__exact_note((void *)round.object, size);
    }
    count = mt->count[cpu + 1u];
    kva__malloc_bump(&count->requests);
    if (KVA_UNLIKELY(kva__malloc_add(&count->window, pp->counted))) {
        return kva__malloc_left_up(pp, mt, flags, count, cpu + 1u,
                                   kva__round_revive(&round));
    }
    kva_cpu_exit(cpu);
    return kva__round_revive(&round);
}

/* ---- free ------------------------------------------------------------ */

static void
count_down(struct kva_malloc_type *mt, size_t bytes)
{
    if (KVA_UNLIKELY(kva__malloc_is_limited(mt))) {
        kva__malloc_unreserve(mt, bytes, false);
    } else {
        kva__malloc_count_slow(mt, bytes, false);
    }
}

/* Whatever is no hit. */
static __attribute__((noinline)) void
free_slow(uintptr_t addr, struct kva_malloc_type *mt, const void *caller)
{
    struct kva_pool_cache *pc;
    struct kva__place place;
    size_t bytes;

    KVA__USED(caller);
    if (addr == 0) {
        return;
    }
    pc = cache_of_live("free", addr, &place);
    if (pc != NULL && kva__pool_debugged(&pc->slabs)) {
        if (!kva__debug_put("free", &pc->slabs, addr, 0, caller)) {
            kva__pool_bad_put("free", &pc->slabs, addr, KVA__OBJECT_LIVE);
        }
        count_down(mt, pc->slabs.size); /* a report would have changed that */
    } else if (pc != NULL) {
        count_down(mt, pc->slabs.size);
        kva__cache_put_place(pc, addr, &place);
    } else {
        bytes = kva__kmem_range("free", kva_kmem_arena, addr, 0);
        count_down(mt, bytes);
        kva_vmem_free(kva_kmem_arena, addr, bytes);
    }
}

/* Without checks here, what is wrong comes out at its slab. */
void
kva_free(void *p, struct kva_malloc_type *mt)
{
    uintptr_t addr = (uintptr_t)p;
    struct kva__malloc_count *count;
    uint8_t *state = NULL;
    struct kva_pool *pp;
    unsigned cpu;

    if (KVA_UNLIKELY(!kva__kmem_object(addr, KVA__MALLOC_READY(mt->reach), NULL,
                                       &pp, &state))) {
        free_slow(addr, mt, __builtin_return_address(0));
        return;
    }
    cpu = kva_cpu_enter_hit();
    if (KVA_UNLIKELY(
            !kva__cache_give(KVA__ONCE(pp->sized_rows), cpu, state, addr))) {
        kva_cpu_exit(cpu);
        free_slow(addr, mt, __builtin_return_address(0));
        return;
    }
    KVA__ARGUMENT(1, addr);
    KVA__ARGUMENT(2, mt);
    count = mt->count[cpu + 1u];
    kva__malloc_bump(&count->frees);
    if (KVA_UNLIKELY(!kva__malloc_add(&count->window, pp->uncounted))) {
        kva__malloc_left_down(addr, mt, count, cpu + 1u);
        return;
    }
    kva_cpu_exit(cpu);
}
