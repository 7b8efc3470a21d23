/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When to reclaim, how much, and when to give up.
 *
 *      turn:  tell the level
 *             wanted = what is in use above where the medium level is left,
 *                      or what those who wait want, if that is more
 *             none?  -> sleep until woken
 *             pass   -> something came back?  the next turn at once
 *                       nothing?  10 ms, 20 ms, ... 640 ms from now, more of it
 *                       the 8th time that somebody who waits sees that in a
 *                       row?  he is refused
 *
 * The bounds of the medium level are the daemon's own: it begins when that is
 * entered (90 % of the limit) and goes on until it is left (87 %), so it has
 * something to do before anybody has to wait, and does not run for each page.
 *
 * Who waits sleeps in the wait queue of his arena (vmem/wait.c), and is woken
 * from there by the free that serves him: the daemon wakes nobody, it only has
 * others free.  It needs no memory itself.
 *
 * A pass that gives nothing will not give more if it is made again at once,
 * whoever wakes the daemon meanwhile, as each request that fails does.  If
 * something comes back beside it, from clients that take their time, that was
 * not in vain.  So it backs off, says so once, and presses harder
 * (KVA_URGENCY_OOM: nothing is retained).  If still nothing comes, nothing ever
 * may: all who wait may hold what the others want.  Then they are refused, and
 * it is theirs to let go of what they have.
 *
 * The work of a pass is bounded, so one that gave nothing may have looked in the
 * wrong place: pages in use, say, ahead of all that could go.  So the next one
 * looks at four times as much, and the last one before anybody is refused at all
 * there is (priorities of scans, in Linux).  One that is turned away, as another
 * one is under way, has looked at nothing and counts all the same: that one may
 * be stuck in a cleaner, and then all would hang.
 *
 * No wake-up is lost: wake sets a flag under the lock, which the sleeper looks
 * at under it.
 */
#include "reclaim/pagedaemon.h"

#include "port/check.h"
#include "vmem/wait.h"

#if KVA_TIER >= 3

static struct {
    kva_lock_t lock;
    bool woken;                      /* (d) */
    bool stop;                       /* (d) */
    bool runs;                       /* (d) somebody is in kva_pagedaemon */
    bool attended;                   /* (d) turns are taken; read without */
    unsigned patience;               /* (d) read without */
    uint64_t not_before;             /* (d) the next pass */
    uint64_t soonest;                /* (d) if something comes back first */
    size_t released;                 /* (d) by the supply, when one was made */
    struct kva_pagedaemon_stat stat; /* (d) */
    bool ready;
} daemon = { .patience = KVA_PAGEDAEMON_PATIENCE };

static void
init_once(void)
{
    if (!daemon.ready) {
        kva_port_lock_init(&daemon.lock, "pagedaemon", KVA_IPL_VM,
                           KVA_RANK_META - 1);
        daemon.ready = true;
    }
}

void
kva__pagedaemon_init(void)
{
    init_once();
    daemon.attended = false;
    daemon.not_before = daemon.soonest = 0; /* of a clock that was */
    daemon.stat.in_vain = 0;
}

bool
kva__pagedaemon_attended(void)
{
    return __atomic_load_n(&daemon.attended, __ATOMIC_RELAXED);
}

void
kva_pagedaemon_set_patience(unsigned passes)
{
    kva_irq_t irq;

    init_once();
    irq = kva_port_lock(&daemon.lock);
    __atomic_store_n(&daemon.patience, passes, __ATOMIC_RELAXED);
    kva_port_unlock(&daemon.lock, irq);
}

/* ---- waking and sleeping ----------------------------------------------- */

void
kva_pagedaemon_wake(void)
{
    kva_irq_t irq;

    init_once();
    irq = kva_port_lock(&daemon.lock);
    if (!daemon.woken) {
        daemon.woken = true;
        kva_port_wake(&daemon);
    }
    kva_port_unlock(&daemon.lock, irq);
}

void
kva_pagedaemon_wait(uint64_t ns)
{
    uint64_t end = kva_port_clock() + ns, now = 0;
    int err = 0;
    kva_irq_t irq;

    init_once();
    irq = kva_port_lock(&daemon.lock);
    while (!daemon.woken && !daemon.stop && err == 0) {
        err = kva_port_wait(&daemon, &daemon.lock, &irq, ns);
        now = kva_port_clock();
        if (ns != 0 && now >= end) {
            break;
        }
        ns = ns != 0 ? end - now : 0;
    }
    daemon.woken = false;
    kva_port_unlock(&daemon.lock, irq);
}

/* ---- a turn ------------------------------------------------------------ */

/* Bytes in use above where the medium level is left, once it was entered. */
static size_t
excess(void)
{
    const struct kva_supply *supply = kva__reclaim_supply();
    size_t used, floor;

    if (supply == NULL || kva__pressure_of_pages() < KVA_PRESSURE_MEDIUM) {
        return 0;
    }
    used = supply->used();
    floor = kva__pressure_floor(KVA_PRESSURE_MEDIUM);
    return used >= floor ? used - floor + 1u : 0;
}

static size_t
wanted(void)
{
    size_t by_level = excess(), by_waiters = kva__wait_wanted();

    return by_level > by_waiters ? by_level : by_waiters;
}

static enum kva_urgency
urgency(unsigned in_vain)
{
    if (in_vain != 0 || kva_pressure() == KVA_PRESSURE_OOM) {
        return KVA_URGENCY_OOM;
    }
    return KVA_URGENCY_MEDIUM;
}

static void
say_stuck(size_t bytes)
{
    const struct kva_supply *supply = kva__reclaim_supply();

    if (supply != NULL) {
        kva__log("pagedaemon: %zu bytes wanted, none came back; %zu of %zu in "
                 "use",
                 bytes, supply->used(), supply->limit());
    } else {
        kva__log("pagedaemon: %zu bytes wanted, none came back", bytes);
    }
}

/* After a pass that gave nothing.  How long until the next one. */
static uint64_t
back_off(size_t bytes, uint64_t now)
{
    uint64_t pause = KVA_PAGEDAEMON_BACKOFF;
    unsigned n, patience;
    size_t refused;
    kva_irq_t irq;

    irq = kva_port_lock(&daemon.lock);
    n = ++daemon.stat.in_vain;
    daemon.stat.stuck += n == 1u;
    patience = daemon.patience;
    kva_port_unlock(&daemon.lock, irq);
    if (n == 1u) {
        say_stuck(bytes);
    }
    for (; n > 1u && pause < KVA_PAGEDAEMON_BACKOFF_MAX; n--) {
        pause *= 2u;
    }
    refused = kva__wait_in_vain(patience);
    irq = kva_port_lock(&daemon.lock);
    daemon.stat.refused += refused;
    daemon.not_before = now + pause;
    daemon.soonest = now + KVA_PAGEDAEMON_BACKOFF;
    kva_port_unlock(&daemon.lock, irq);
    return pause;
}

/* Bytes came back, or none are wanted. */
static void
note_progress(bool passed)
{
    kva_irq_t irq = kva_port_lock(&daemon.lock);
    bool in_vain = daemon.stat.in_vain != 0;

    daemon.stat.in_vain = 0;
    daemon.stat.passes += passed;
    daemon.not_before = daemon.soonest;
    kva_port_unlock(&daemon.lock, irq);
    if (in_vain) {
        kva__wait_progress();
    }
}

/* How many passes were in vain so far; none if something came back since, and
 * how long the pause takes yet. */
static unsigned
begin_turn(uint64_t now, uint64_t *left)
{
    const struct kva_supply *supply = kva__reclaim_supply();
    size_t released = supply != NULL ? supply->released() : 0;
    kva_irq_t irq = kva_port_lock(&daemon.lock);
    unsigned in_vain = daemon.stat.in_vain;

    daemon.stat.turns++;
    __atomic_store_n(&daemon.attended, true, __ATOMIC_RELAXED);
    if (released != daemon.released) {
        daemon.released = released;
        daemon.not_before = daemon.soonest;
        in_vain = 0;
    }
    *left = now < daemon.not_before ? daemon.not_before - now : 0;
    kva_port_unlock(&daemon.lock, irq);
    return in_vain;
}

/* Work of a pass after so many in vain. */
static size_t
work_after(unsigned in_vain)
{
    unsigned patience = __atomic_load_n(&daemon.patience, __ATOMIC_RELAXED);
    size_t work = KVA_PAGEDAEMON_WORK;

    if (patience != 0 && in_vain + 1u >= patience) {
        return KVA_WORK_ALL;
    }
    while (in_vain-- != 0 && work <= KVA_WORK_ALL / 8u) {
        work *= 4u;
    }
    return work;
}

/* The pass of a turn; returns how long until the next one. */
static uint64_t
reclaim(size_t bytes, unsigned in_vain, uint64_t now)
{
    size_t work = work_after(in_vain);

    if (kva_reclaim_pass(bytes, urgency(in_vain), &work) != 0) {
        note_progress(true);
        return 1;
    }
    return back_off(bytes, now);
}

uint64_t
kva_pagedaemon_turn(void)
{
    uint64_t now, tell_at, left;
    unsigned in_vain;
    size_t bytes;

    init_once();
    now = kva_port_clock();
    in_vain = begin_turn(now, &left);
    tell_at = kva_pressure_tell(now);
    tell_at = tell_at != 0 ? tell_at - now : 0;
    bytes = wanted();
    if (bytes == 0 || in_vain == 0) {
        note_progress(false);
    }
    if (bytes == 0) {
        return tell_at;
    }
    if (left == 0) {
        left = reclaim(bytes, in_vain, now);
    }
    return tell_at != 0 && tell_at < left ? tell_at : left;
}

/* ---- the thread -------------------------------------------------------- */

static bool
set_runs(bool runs)
{
    kva_irq_t irq = kva_port_lock(&daemon.lock);
    bool ran = daemon.runs;

    daemon.runs = runs;
    kva_port_unlock(&daemon.lock, irq);
    return ran;
}

static bool
is_stopped(void)
{
    kva_irq_t irq = kva_port_lock(&daemon.lock);
    bool stop = daemon.stop;

    kva_port_unlock(&daemon.lock, irq);
    return stop;
}

void
kva_pagedaemon(void)
{
    init_once();
    if (set_runs(true)) {
        kva__misuse("kva_pagedaemon", "thread", "pagedaemon", 0,
                    "expected one, found another one running");
    }
    while (!is_stopped()) {
        uint64_t ns = kva_pagedaemon_turn();

        if (ns != 1) {
            kva_pagedaemon_wait(ns);
        }
    }
    (void)set_runs(false);
}

void
kva_pagedaemon_stop(void)
{
    kva_irq_t irq;

    init_once();
    irq = kva_port_lock(&daemon.lock);
    daemon.stop = true;
    while (daemon.runs) {
        kva_port_wake(&daemon);
        kva_port_unlock(&daemon.lock, irq);
        kva_port_relax();
        irq = kva_port_lock(&daemon.lock);
    }
    daemon.stop = false;
    __atomic_store_n(&daemon.attended, false, __ATOMIC_RELAXED);
    kva_port_unlock(&daemon.lock, irq);
}

void
kva_pagedaemon_stat(struct kva_pagedaemon_stat *st)
{
    kva_irq_t irq;

    init_once();
    irq = kva_port_lock(&daemon.lock);
    *st = daemon.stat;
    kva_port_unlock(&daemon.lock, irq);
}

#endif
