/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reserve of a pool: slabs of their own, for who is entitled.
 *
 *     get, entitled:   magazine, depot, slabs, a new slab   as for everybody
 *                        | none
 *                        v
 *                      slabs of the reserve --none--> a new one, of the reserve
 *                        |                            of pages (kva/wire.c)
 *                        v
 *                      RESERVED, with the caller
 *                        | put: no LIVE object to the hit path, which misses
 *                        v
 *                      slab of the reserve --empty, and not kept--> its pages
 *
 * A hit path compares one state byte, and an object of a cache's reserve has
 * another one than those it takes; so such an object is in no magazine, and
 * nobody has it who is not entitled.  With checks at flush only a put looks at
 * nothing: then hit paths find no magazines while something of the reserve is
 * out, as those of a cache with a debug mode.  The objects of a plain pool need
 * neither, as each put goes to its slab.
 *
 * A reserve that lacks objects gets slabs with memory that is anybody's, when a
 * get has found some, or in pool_update; never with that of the reserve.
 *
 * An object whose destructor has to wait for readers (PR_PSERIALIZE) waits where
 * others find it, so such pools have no reserve.  Nor have those behind a
 * firewall, where an object is whole pages that are mapped at each get.
 */
#include "pool/debug.h"
#include "pool/pool_impl.h"

#if KVA_RESERVES

static bool
has_reserve(const struct kva_pool *pp)
{
    return (pp->flags & KVA_PR_PSERIALIZE) == 0 &&
           (pp->debug & KVA_POOL_FIREWALL) == 0;
}

void
kva__reserve_changed(struct kva_pool *pp)
{
    if (!KVA_CONFIG_CHECKS && kva__cache_of(pp) != NULL &&
        !kva__pool_debugged(pp)) {
        kva__magcache_hide(&kva__cache_of(pp)->mags, pp->reserve_out != 0);
    }
}

/* ---- get ------------------------------------------------------------- */

/* One object, from a new slab if need be. */
static bool
take(struct kva_pool *pp, struct kva__round *round, uint8_t state)
{
    struct kva__slab *slab = NULL;
    struct kva__mark mark;
    unsigned got, room;
    bool made;
    kva_irq_t irq;

    do {
        made = slab != NULL;
        irq = kva__pool_lock(pp);
        if (made) {
            kva__slab_add(pp, slab);
        }
        room = kva__limit_room(pp, 1);
        got = room == 0 ? 0 : kva__slab_take_reserve(pp, round, state);
        kva__pool_unlock(pp, irq);
        if (got != 0 || room == 0 || made) {
            break;
        }
        mark = kva__reserve_begin();
        slab = kva__pool_new_slab(pp, KVA_PR_NOWAIT | KVA_PR_RESERVE, true);
        kva__reserve_end(mark);
    } while (slab != NULL);
    return got != 0;
}

#if KVA_TIER >= 3

/* How long who waits does not look whether there is memory again: what he
 * queues up for are the pool's objects. */
#define SLICE_NS 10000000u

/*
 * Until an object comes back, or for a while.  False: cancelled, or there is no
 * memory.  He stays in the queue from his first wait on, so that the pagedaemon
 * knows what he wants and for how long that was in vain.
 */
static bool
sleep_for(struct kva_pool *pp, struct kva__waiter *w)
{
    bool none, limited;
    int error = 0;
    kva_irq_t irq;

    irq = kva__pool_lock(pp);
    none = pp->reserve_free == 0;
    limited = kva__limit_room(pp, 1) == 0;
    kva__pool_unlock(pp, irq);
    kva__wait_wants(w, limited ? 0 : pp->slab_bytes);
    if (none || limited) {
        w->deadline = kva__wait_deadline(SLICE_NS);
        error = kva__wait_sleep(w);
    }
    return error == 0 || error == KVA_ETIMEDOUT;
}

/* May it be waited for. */
static bool
may_wait(unsigned flags)
{
    return (flags & (KVA_PR_WAITOK | KVA_PR_LIMITFAIL)) == KVA_PR_WAITOK &&
           kva_port_may_sleep();
}
#endif

/* Those of one who tries what everybody has first. */
static unsigned
plain_flags(unsigned flags)
{
    return (flags & ~(KVA_PR_WAITOK | KVA_PR_RESERVE)) | KVA_PR_NOWAIT;
}

static bool
take_once(struct kva_pool *pp, struct kva__round *round, unsigned flags,
          uint8_t state)
{
    struct kva__mark mark = kva__reserve_hide();
    bool got = kva__pool_take(pp, round, 1, plain_flags(flags), state) != 0;

    kva__reserve_end(mark);
    return got || (has_reserve(pp) && take(pp, round, state));
}

#if KVA_TIER >= 3
/* Not inlined, for the stack of those who do not wait. */
static __attribute__((noinline)) bool
take_waiting(struct kva_pool *pp, struct kva__round *round, unsigned flags,
             uint8_t state)
{
    struct kva__waiter w = { .queue = &pp->waitq };
    bool got;

    kva__wait_join(&w);
    do {
        got = take_once(pp, round, flags, state);
    } while (!got && sleep_for(pp, &w));
    kva__wait_leave(&w, 0, got);
    return got;
}
#endif

bool
kva__reserve_take(struct kva_pool *pp, struct kva__round *round, unsigned flags,
                  uint8_t state)
{
    bool got = take_once(pp, round, flags, state);

#if KVA_TIER >= 3
    if (!got && may_wait(flags)) {
        got = take_waiting(pp, round, flags, state);
    }
#endif
    return got;
}

/* An object of the slabs, back with no destructor. */
static void
give(struct kva_pool *pp, const struct kva__round *round, const char *func)
{
    kva__pool_give(pp, round, 1, KVA__OBJECT_RESERVED, func);
}

static bool
construct(struct kva_pool_cache *pc, const struct kva__round *round)
{
    if (pc->ctor == NULL ||
        pc->ctor(pc->arg, (void *)round->object, (int)KVA_PR_NOWAIT) == 0) {
        return true;
    }
    give(&pc->slabs, round, "pool_cache_get");
    return false;
}

static void *
cache_get_once(struct kva_pool_cache *pc, unsigned flags, bool *failed)
{
    struct kva__mark mark = kva__reserve_hide();
    struct kva_pool *pp = &pc->slabs;
    struct kva__round round;
    bool got = kva__mag_get_slow(&pc->mags, plain_flags(flags),
                                 (uintptr_t *)(void *)&round);

    kva__reserve_end(mark);
    *failed = false;
    if (got) {
        return kva__round_revive(&round);
    }
    if (has_reserve(pp) && take(pp, &round, KVA__OBJECT_RESERVED)) {
        *failed = !construct(pc, &round);
        return *failed ? NULL : (void *)round.object;
    }
    return NULL;
}

#if KVA_TIER >= 3
static __attribute__((noinline)) void *
cache_get_waiting(struct kva_pool_cache *pc, unsigned flags)
{
    struct kva__waiter w = { .queue = &pc->slabs.waitq };
    bool failed;
    void *object;

    kva__wait_join(&w);
    do {
        object = cache_get_once(pc, flags, &failed);
    } while (object == NULL && !failed && sleep_for(&pc->slabs, &w));
    kva__wait_leave(&w, 0, object != NULL);
    return object;
}
#endif

void *
kva__reserve_cache_get(struct kva_pool_cache *pc, unsigned flags)
{
    bool failed; /* the constructor did */
    void *object = cache_get_once(pc, flags, &failed);

#if KVA_TIER >= 3
    if (object == NULL && !failed && may_wait(flags)) {
        object = cache_get_waiting(pc, flags);
    }
#endif
    return object;
}

/* ---- put ------------------------------------------------------------- */

void
kva__reserve_cache_put(struct kva_pool_cache *pc, uintptr_t addr,
                       const struct kva__place *place, const char *func)
{
    struct kva__round round = { .object = addr };

    kva__state_set(place->state, KVA__OBJECT_OUT);
    if (pc->dtor != NULL) {
        pc->dtor(pc->arg, (void *)addr);
    }
    kva__pool_give(&pc->slabs, &round, 1, KVA__OBJECT_OUT, func);
}

/* ---- how much is kept ------------------------------------------------ */

int
kva__reserve_fill(struct kva_pool *pp)
{
    struct kva__slab *slab = NULL;
    struct kva__mark mark;
    bool enough;
    kva_irq_t irq;

    for (;;) {
        irq = kva__pool_lock(pp);
        if (slab != NULL) {
            kva__slab_add(pp, slab);
        }
        enough = pp->reserve_free >= pp->reserve;
        kva__pool_unlock(pp, irq);
        if (enough) {
            return 0;
        }
        mark = kva__reserve_hide();
        slab = kva__pool_new_slab(pp, KVA_PR_NOWAIT, true);
        kva__reserve_end(mark);
        if (slab == NULL) {
            return KVA_ENOMEM;
        }
    }
}

int
pool_setreserve(struct kva_pool *pp, int n)
{
    kva_irq_t irq;

    kva__pool_require(pp, "pool_setreserve");
    if (!has_reserve(pp)) {
        return KVA_ENOTSUP;
    }
    irq = kva__pool_lock(pp);
    pp->reserve = n < 0 ? 0 : (size_t)n;
    kva__pool_unlock(pp, irq);
    (void)kva__pool_trim(pp, false, SIZE_MAX);
    return kva__reserve_fill(pp);
}

#else

bool
kva__reserve_take(struct kva_pool *pp, struct kva__round *round, unsigned flags,
                  uint8_t state)
{
    return kva__pool_take(pp, round, 1, flags, state) != 0;
}

void *
kva__reserve_cache_get(struct kva_pool_cache *pc, unsigned flags)
{
    (void)pc;
    (void)flags;
    return NULL;
}

void
kva__reserve_cache_put(struct kva_pool_cache *pc, uintptr_t addr,
                       const struct kva__place *place, const char *func)
{
    (void)pc;
    (void)addr;
    (void)place;
    (void)func;
}

void
kva__reserve_changed(struct kva_pool *pp)
{
    (void)pp;
}

int
kva__reserve_fill(struct kva_pool *pp)
{
    (void)pp;
    return 0;
}

int
pool_setreserve(struct kva_pool *pp, int n)
{
    (void)n;
    kva__pool_require(pp, "pool_setreserve");
    return KVA_ENOTSUP;
}

#endif
