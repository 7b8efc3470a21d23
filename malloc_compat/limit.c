/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Limits of malloc types: so many bytes may be taken of a type at once.
 *
 * A type with a limit is counted in one place, with the lock of types held: an
 * allocation before its memory is taken, a free after it is known to be right.
 * So the sum is never above the limit, whoever comes when.
 *
 *      type    first -> w1 (4096) -> w2 (64) -> w3 (512)      oldest to youngest
 *
 * Who may sleep and does not fit queues up.  A free does not wake sleepers to
 * let them try: it counts for the oldest what he wants, as soon as that fits,
 * and wakes him alone, then the next one.  So each is woken once, when it is
 * done, and in the order in which they came.
 *
 * Others need not queue up while there is room: a grant that passes the oldest
 * is quicker for all.  After PASS_MAX of them nobody is granted anything before
 * him, so that what is freed adds up to what he wants.  (The same number, for
 * the same reason, as the waits for addresses have: vmem/wait.c.)
 *
 * The sleep itself is that of wait queues.  Each sleeper has a queue to himself
 * and so can be woken by name.  No wake-up is lost: a wake marks the waiter
 * under the lock of the queues, before he sleeps or after.  He is on his own
 * stack: who grants wakes him with the lock of types held, and a sleeper takes
 * that lock before he leaves.
 */
#include "malloc_compat/malloc_impl.h"
#include "vmem/wait.h"

#define PASS_MAX 64u

/* On the sleeper's stack.  (t) lock of types. */
struct kva__limit_waiter {
    struct kva__waiter sleeper;
    struct kva__waitq queue; /* of the sleeper alone */
    size_t bytes;            /* (c) wanted */
    enum {
        WAITING,
        GRANTED,                    /* and counted */
        REFUSED                     /* by a new limit */
    } state;                        /* (t) */
    struct kva__limit_waiter *next; /* (t) younger */
};

static bool
fits(const struct kva_malloc_type *mt, size_t used, size_t bytes)
{
    return mt->limit == 0 || (used <= mt->limit && bytes <= mt->limit - used);
}

static void
count_request(struct kva_malloc_type *mt, size_t bytes)
{
    mt->shared.requests++;
    mt->shared.bytes += bytes;
    (void)kva__malloc_sum_locked(mt);
}

#if KVA_TIER >= 3

/* ---- who sleeps; the lock of types is held ------------------------------ */

static void
waiter_append(struct kva_malloc_type *mt, struct kva__limit_waiter *w)
{
    if (mt->first == NULL) {
        mt->first = w;
        mt->passed = 0;
    } else {
        mt->last->next = w;
    }
    mt->last = w;
    mt->waits++;
}

static void
waiter_remove(struct kva_malloc_type *mt, struct kva__limit_waiter *w)
{
    struct kva__limit_waiter *before = NULL;

    if (mt->first == w) {
        mt->first = w->next;
        mt->passed = 0;
    } else {
        before = mt->first;
        while (before->next != w) {
            before = before->next;
        }
        before->next = w->next;
    }
    if (mt->last == w) {
        mt->last = before;
    }
}

/* The oldest ones, as far as there is room; and those who can never be. */
static void
grant(struct kva_malloc_type *mt)
{
    while (mt->first != NULL) {
        struct kva__limit_waiter *w = mt->first;
        bool never = mt->limit != 0 && w->bytes > mt->limit;

        if (!never && !fits(mt, kva__malloc_sum_locked(mt).bytes, w->bytes)) {
            return;
        }
        waiter_remove(mt, w);
        w->state = never ? REFUSED : GRANTED;
        if (!never) {
            count_request(mt, w->bytes);
        }
        kva__wait_wake(&w->queue, 1);
    }
}

/* One that gave up may have stood before others who fit. */
static void
give_up(struct kva_malloc_type *mt, struct kva__limit_waiter *w)
{
    kva_irq_t irq = kva__malloc_lock();

    if (w->state == WAITING) {
        w->state = REFUSED;
        waiter_remove(mt, w);
        grant(mt);
    }
    kva__malloc_unlock(irq);
}

/* ---- sleeping; no lock held --------------------------------------------- */

/* Once more, now that a wake would be noticed; else in line. */
static bool
try_or_queue(struct kva_malloc_type *mt, struct kva__limit_waiter *w)
{
    kva_irq_t irq = kva__malloc_lock();

    if (mt->first == NULL &&
        fits(mt, kva__malloc_sum_locked(mt).bytes, w->bytes)) {
        w->state = GRANTED;
        count_request(mt, w->bytes);
    } else {
        waiter_append(mt, w);
    }
    kva__malloc_unlock(irq);
    return w->state == GRANTED;
}

static int
state_of(const struct kva__limit_waiter *w)
{
    kva_irq_t irq = kva__malloc_lock();
    int state = (int)w->state;

    kva__malloc_unlock(irq);
    return state;
}

static bool
limit_sleep(struct kva_malloc_type *mt, size_t bytes)
{
    struct kva__limit_waiter w = { .bytes = bytes, .state = WAITING };
    bool granted;

    w.sleeper.queue = &w.queue;
    kva__wait_join(&w.sleeper);
    if (!try_or_queue(mt, &w)) {
        while (state_of(&w) == WAITING) {
            if (kva__wait_sleep(&w.sleeper) != 0) {
                give_up(mt, &w); /* unless he was granted meanwhile */
            }
        }
    }
    granted = w.state == GRANTED;
    kva__wait_leave(&w.sleeper, 0, 0);
    return granted;
}

/* May this caller wait for a free?  No lock held. */
static bool
may_wait(int flags)
{
    return (flags & KVA_M_NOWAIT) == 0 && kva_port_may_sleep();
}

#else /* nobody waits */

static void
grant(struct kva_malloc_type *mt)
{
    (void)mt;
}

static bool
limit_sleep(struct kva_malloc_type *mt, size_t bytes)
{
    (void)mt;
    (void)bytes;
    return false;
}

static bool
may_wait(int flags)
{
    (void)flags;
    return false;
}

#endif

/* ---- for the rest of malloc_compat/ -------------------------------------- */

bool
kva__malloc_reserve(struct kva_malloc_type *mt, size_t bytes, int flags)
{
    bool wait = may_wait(flags), granted;
    kva_irq_t irq = kva__malloc_lock();

    kva__malloc_attach_locked(mt);
    granted = fits(mt, kva__malloc_sum_locked(mt).bytes, bytes) &&
              (mt->first == NULL || mt->passed < PASS_MAX);
    if (granted) {
        mt->passed += mt->first != NULL;
        count_request(mt, bytes);
    }
    wait = wait && (mt->limit == 0 || bytes <= mt->limit);
    kva__malloc_unlock(irq);
    return granted || (wait && limit_sleep(mt, bytes));
}

void
kva__malloc_unreserve(struct kva_malloc_type *mt, size_t bytes, bool cancel)
{
    kva_irq_t irq = kva__malloc_lock();

    if (cancel) {
        mt->shared.requests--;
    } else {
        mt->shared.frees++;
    }
    mt->shared.bytes -= bytes;
    grant(mt);
    kva__malloc_unlock(irq);
}

void
kva__malloc_shrunk(struct kva_malloc_type *mt, size_t bytes)
{
    kva_irq_t irq = kva__malloc_lock();

    mt->shared.requests++;
    mt->shared.frees++;
    mt->shared.bytes -= bytes;
    grant(mt);
    kva__malloc_unlock(irq);
}

void
malloc_type_setlimit(struct kva_malloc_type *mt, unsigned long bytes)
{
    kva_irq_t irq = kva__malloc_lock();

    __atomic_store_n(&mt->limit, (size_t)bytes, __ATOMIC_RELAXED);
    kva__malloc_hits_locked(mt);
    grant(mt);
    kva__malloc_unlock(irq);
}
