/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a caller did wrong, in words.  All of it runs when the verdict is known
 * already and no lock is held; it only finds out what to call it.
 */
#include "pool/pool_impl.h"

const char *
kva__pool_kind(const struct kva_pool *pp)
{
    return (pp->flags & KVA__PR_CACHE) != 0 ? "cache" : "pool";
}

const char *
kva__pool_init_name(const struct kva_pool *pp)
{
    return (pp->flags & KVA__PR_CACHE) != 0 ? "pool_cache_init" : "pool_init";
}

void
kva__pool_dead(const char *func, const struct kva_pool *pp)
{
    bool cache = func[sizeof("pool_") - 1u] == 'c'; /* "pool_cache_..." */

    kva__misuse(func, cache ? "cache" : "pool", NULL, (uintptr_t)pp,
                "expected a %s, found none, or one that was destroyed",
                cache ? "cache" : "pool");
}

void
kva__pool_check_flags(const char *func, const struct kva_pool *pp,
                      unsigned flags)
{
    unsigned wait = flags & (PR_WAITOK | PR_NOWAIT);

    kva__pool_require(pp, func);
    if (wait != PR_WAITOK && wait != PR_NOWAIT) {
        kva__misuse(func, kva__pool_kind(pp), pp->name, (uintptr_t)pp,
                    "expected PR_WAITOK or PR_NOWAIT, found flags 0x%x", flags);
    }
}

void
kva__pool_check_init(const struct kva_pool *pp, unsigned flags)
{
    flags &= KVA__PR_PUBLIC;
    if ((flags & ~KVA__PR_INIT) != 0) {
        kva__misuse(kva__pool_init_name(pp), kva__pool_kind(pp), pp->name,
                    (uintptr_t)pp, "expected flags of 0x%x, found 0x%x",
                    KVA__PR_INIT, flags);
    }
}

void
kva__pool_check_wait(const char *func, const struct kva_pool *pp)
{
    kva__pool_require(pp, func);
    if (!kva__barrier_possible(pp)) {
        kva__misuse(func, kva__pool_kind(pp), pp->name, (uintptr_t)pp,
                    "expected a thread that may sleep, for PR_PSERIALIZE, "
                    "found one that may not");
    }
}

const char *
kva__object_state_name(uint8_t state)
{
    return state == KVA__OBJECT_FREE       ? "a free one"
           : state == KVA__OBJECT_CACHED   ? "a free one (cached)"
           : state == KVA__OBJECT_LIVE     ? "a live one"
           : state == KVA__OBJECT_RESERVED ? "a live one (reserve)"
                                           : "a state that does not exist";
}

/* addr lies in a slab of the pool. */
static _Noreturn void
bad_in_slab(const char *func, struct kva_pool *pp, uintptr_t addr,
            const struct kva__place *place, uint8_t expected)
{
    const char *kind = kva__pool_kind(pp);
    uintptr_t start = kva__slab_object(place->slab, 0);
    size_t index;

    if (place->state != NULL) {
        if (kva__pool_debugged(pp)) {
            kva__audit_tell(func, pp, place);
        }
        kva__misuse(func, kind, pp->name, addr, "expected %s object, found %s",
                    expected == KVA__OBJECT_LIVE ? "a live" : "a cached",
                    kva__object_state_name(kva__state_get(place->state)));
    }
    if (addr < start) {
        kva__misuse(func, kind, pp->name, addr,
                    "expected an object, found the header of a slab");
    }
    index = kva__pool_divide(addr - start, pp->stride);
    if (index >= pp->nobj) {
        kva__misuse(func, kind, pp->name, addr,
                    "expected an object, found the unused end of a slab");
    }
    start += pp->stride * index;
    kva__misuse(func, kind, pp->name, addr,
                "expected the start of an object, found byte %zu of the one "
                "at 0x%lx",
                (size_t)(addr - start), (unsigned long)start);
}

static _Noreturn void
bad_range(const char *func, struct kva_pool *pp, uintptr_t addr,
          const struct kva_range *range)
{
    const char *kind = kva__pool_kind(pp);

    switch (range->kind) {
    case KVA_RANGE_ALLOC:
    case KVA_RANGE_XALLOC:
        kva__misuse(func, kind, pp->name, addr,
                    "expected an object, found a range of %zu bytes",
                    (size_t)range->size);
    case KVA_RANGE_CACHED:
        kva__misuse(func, kind, pp->name, addr,
                    "expected an object, found free memory");
    case KVA_RANGE_NONE:
    default:
        kva__misuse(func, kind, pp->name, addr,
                    "expected an object, found no slab");
    }
}

void
kva__pool_bad_put(const char *func, struct kva_pool *pp, uintptr_t addr,
                  uint8_t expected)
{
    struct kva__slab *slab;
    struct kva__place place;
    struct kva_range range;

    kva__pool_require(pp, func);
    if (kva__slab_find(pp, addr, &place)) {
        bad_in_slab(func, pp, addr, &place, expected);
    }
    slab = kva__slab_of(addr);
    if (slab != NULL) {
        kva__misuse(func, kva__pool_kind(pp), pp->name, addr,
                    "expected an object of this %s, found one of %s %s",
                    kva__pool_kind(pp), kva__pool_kind(slab->owner),
                    slab->owner->name);
    }
    range.kind = KVA_RANGE_NONE;
    if (kva__pool_arena(pp) != NULL) {
        range.kind = kva__vmem_lookup(kva__pool_arena(pp), addr, &range);
    }
    bad_range(func, pp, addr, &range);
}

/* So many live objects are told of, if it is known who has them. */
#define TELL_MAX 32u

/* The first live object of a slab; n: how many there are in all. */
static void
live_in_slab(const char *func, const struct kva_pool *pp,
             struct kva__slab *slab, uintptr_t *addr, size_t *n)
{
    struct kva__place place = { .slab = slab };

    for (; place.index < pp->nobj; place.index++) {
        place.state = &slab->state[place.index];
        if (kva__place_is_live(&place)) {
            if (*n == 0) {
                *addr = kva__slab_object(slab, place.index);
            }
            if (kva__pool_debugged(pp) && *n < TELL_MAX) {
                kva__audit_tell(func, pp, &place);
            }
            ++*n;
        }
    }
}

/* Name a live object, so that it can be looked at. */
void
kva__pool_bad_destroy(const char *func, struct kva_pool *pp)
{
    uintptr_t addr = 0;
    size_t live = 0;

    for (struct kva__slab *slab = kva__slab_next(pp, NULL); slab != NULL;
         slab = kva__slab_next(pp, slab)) {
        live_in_slab(func, pp, slab, &addr, &live);
    }
    kva__misuse(func, kva__pool_kind(pp), pp->name, addr,
                "expected no live object, found %zu", live);
}
