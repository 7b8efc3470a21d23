/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hard limit of a pool: how many objects may be out at once.
 *
 * Objects in the magazines of a cache are out: they are in nobody's use, but
 * the slabs cannot hand them to anybody else.  So before a caller who may sleep
 * is refused or put to sleep, the magazines are emptied; and while somebody
 * sleeps, no object may stay in one: the magazines of the pool's tree of arenas
 * are closed meanwhile (vmem/magazine.h).
 *
 * Sleepers queue up (vmem/wait.c), the oldest first: each object that comes
 * back wakes one.  A put gives the object back under the pool's lock and looks
 * at the queue after; a sleeper queues up and looks at the limit under that
 * lock after: so no wake-up is lost.
 */
#include "pool/pool_impl.h"
#include "vmem/vmem_impl.h"

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

/* Print the warning, but not more often than the cap allows.  Without a clock:
 * once, unless there is no cap. */
static void
limit_warn(struct kva_pool *pp)
{
    uint64_t now = kva__now();
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

/* The limit, when the pool is locked. */
static bool
limit_holds(struct kva_pool *pp)
{
    kva_irq_t irq = kva__pool_lock(pp);
    bool met = limit_is_met(pp);

    kva__pool_unlock(pp, irq);
    return met;
}

/* Sleep until something comes back.  False: the wait was cancelled. */
static bool
limit_sleep(struct kva_pool *pp)
{
    const kva_vmem_t *vm = kva__pool_arena(pp);
    kva_vmem_t *root = vm != NULL ? arena_root(vm) : NULL;
    struct kva__waiter w = { .queue = &pp->waitq };
    int error = 0;

    kva__wait_join(&w);
    kva__mag_close(root);
    (void)kva__cache_flush(pp);
    while (error == 0 && limit_holds(pp)) {
        error = kva__wait_sleep(&w);
        if (kva__cache_of(pp) != NULL) {
            (void)kva__limbo_settle(kva__cache_of(pp));
        }
    }
    kva__wait_leave(&w, 0, error == 0);
    kva__mag_open(root);
    return error == 0;
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
kva__limit_wake(struct kva_pool *pp, size_t n)
{
    if (KVA_UNLIKELY(__atomic_load_n(&pp->waitq.count, __ATOMIC_RELAXED) !=
                     0)) {
        kva__wait_wake(&pp->waitq, n);
    }
}
