/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hard limit of a pool: how many objects may be out at once.
 *
 * Objects in the magazines of a cache are out: they are in nobody's use, but
 * the slabs cannot hand them to anybody else.  So before a caller who may sleep
 * is refused or put to sleep, the magazines are emptied; and while somebody
 * sleeps, no object may go into one.  The hit path has no test for that: the
 * pool's key, which it compares with each slab's owner, is taken away, so that
 * every put finds itself unusual and goes the long way.  A put that compared
 * just before may still slip by, and so does every put where checks are made at
 * flush only.  Therefore one who waits for a cache looks again from time to
 * time.
 */
#include "pool/pool_impl.h"

#define RECHECK_NS 100000000ull
#define NS_PER_SECOND 1000000000ull

unsigned
kva__limit_room(const struct kva_pool *pp, unsigned n)
{
    size_t room;

    if (KVA_LIKELY(pp->hardlimit == KVA__POOL_NONE)) {
        return n;
    }
    room = pp->nout >= pp->hardlimit ? 0 : pp->hardlimit - pp->nout;
    /* One at a time: what a magazine holds in stock others cannot have. */
    return room == 0 ? 0 : 1;
}

static uint64_t
now_ns(void)
{
#if KVA_TIER >= 3
    return kva_port_clock();
#else
    return 0;
#endif
}

/* Print the warning, but not more often than the cap allows.  Without a clock:
 * once, unless there is no cap. */
static void
limit_warn(struct kva_pool *pp)
{
    uint64_t now = now_ns();
    const char *warning;
    kva_irq_t irq = kva__pool_lock(pp);
    uint64_t cap = pp->ratecap <= 0 ? 0 : (uint64_t)pp->ratecap;

    pp->limit_hits++;
    warning = pp->warning;
    if (pp->nwarned != 0 && cap != 0 &&
        now - pp->warned < cap * NS_PER_SECOND) {
        warning = NULL;
    }
    if (warning != NULL) {
        pp->warned = now;
        pp->nwarned++;
    }
    kva__pool_unlock(pp, irq);
    if (warning != NULL) {
        kva__log("%s %s: %s", kva__pool_kind(pp), pp->name, warning);
    }
}

#if KVA_TIER >= 3
static bool
limit_is_met(const struct kva_pool *pp)
{
    return pp->hardlimit != KVA__POOL_NONE && pp->nout >= pp->hardlimit;
}

/* Sleep until something comes back.  False: the wait was cancelled. */
static bool
limit_sleep(struct kva_pool *pp)
{
    bool cache = (pp->flags & KVA__PR_CACHE) != 0;
    int error = 0;
    kva_irq_t irq = kva__pool_lock(pp);

    pp->waiters++;
    __atomic_store_n(&pp->key, NULL, __ATOMIC_RELAXED);
    kva__pool_unlock(pp, irq);
    (void)kva__cache_flush(pp);
    irq = kva__pool_lock(pp);
    if (limit_is_met(pp)) {
        error = kva_port_wait(pp, &pp->lock, &irq, cache ? RECHECK_NS : 0);
    }
    pp->waiters--;
    if (pp->waiters == 0) {
        __atomic_store_n(&pp->key, pp, __ATOMIC_RELAXED);
    }
    kva__pool_unlock(pp, irq);
    return error != KVA_EINTR;
}
#endif

bool
kva__limit_wait(struct kva_pool *pp, unsigned flags)
{
#if KVA_TIER >= 3
    bool sleep = (flags & KVA_PR_WAITOK) != 0 && kva_port_may_sleep();

    if (sleep && kva__cache_flush(pp) != 0) {
        return true;
    }
    limit_warn(pp);
    return sleep && (flags & KVA_PR_LIMITFAIL) == 0 && limit_sleep(pp);
#else
    (void)flags;
    limit_warn(pp);
    return false;
#endif
}

void
kva__limit_wake(struct kva_pool *pp)
{
#if KVA_TIER >= 3
    kva_port_wake(pp);
#else
    (void)pp;
#endif
}
