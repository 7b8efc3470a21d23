/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The protocol between a slot's owner and those who drain it, searched by
 * Relacy: it runs the threads of a model in all orders that a bound on the
 * switches allows, or in random ones, and lets a load see every value that the
 * C11 memory model allows.
 *
 *      owner 0        owner 1         drainer          drainer
 *      | hit          | hit           | shut
 *      |  interrupt   |               | barrier: an    | shut: nothing
 *      |   hit        | miss          | IPI to each    |   left
 *      |  ...         |  depot lock   | wait, take     |
 *
 * The model follows vmem/magazine.h, magazine.c and magazine_drain.c statement
 * by statement, under their names.  What is left out: spares and the capacity's
 * growth, which the depot lock covers whole; and of the supplier all but who
 * has which thing.
 *
 * A magazine's rounds are plain variables: Relacy reports when two threads are
 * at one with nothing between them that orders it.  Where each thing is, is
 * noted beside that: handed out twice, or given back while somebody has it, is
 * an error at once, and at the end each must be somewhere.
 *
 * The barrier is what magazine.h asks of it and no more: each owner's CPU, at
 * some moment between call and return, runs something that sees what the
 * drainer did before, and that the drainer sees when it goes on.  An interrupt
 * comes between any two accesses of an owner, once in a run, and gets or puts.
 *
 * What is relaxed here is so in the code.  That goes for loaded too: what is in
 * a magazine came to its owner under the depot lock, or is his own doing, and a
 * drainer that puts one back has changed nothing in it.
 *
 * Each variant leaves one thing out or weakens one order by one step, and must
 * fail; the true protocol must not.
 *
 *      slot [quick|merge|long]
 */
#include <relacy/relacy.hpp>

#include <cstdio>
#include <cstring>

namespace
{

enum variant {
    TRUE_ONE,
    NO_BARRIER,
    BARRIER_IN,
    BARRIER_OUT,
    NO_SENTINEL,
    NO_WAIT,
    NO_CLOSE,
    LOADED_BEFORE_CLOSE,
    AT_BEFORE_CLOSE,
    AT_AFTER_OPEN,
    OPENED_BY_INTERRUPT,
    OWNED_BY_INTERRUPT,
    AT_BEFORE_WAIT,
    NOT_TAKEN,
    KEPT,
    MARK_LOST,
    CLOSED_UNSEEN,
    CLOSED_PASSED,
    LEAVE_RELAXED,
    EXIT_RELAXED,
    WAIT_RELAXED,
    VARIANTS
};

struct {
    const char *name;
    const char *what;
} const names[VARIANTS] = {
    { "true", "the protocol as it is" },
    { "no-barrier", "drainer: no barrier" },
    { "barrier-in", "barrier: owners see, and are not seen" },
    { "barrier-out", "barrier: owners are seen, and do not see" },
    { "no-sentinel", "drainer: what is loaded stays there" },
    { "no-wait", "drainer: does not wait for the owner" },
    { "no-close", "owner: OPEN stays as it is" },
    { "loaded-before-close", "owner: no compiler barrier, loaded first" },
    { "at-before-close", "owner: at is read first" },
    { "at-after-open", "owner: OPEN before at on the way out" },
    { "opened-by-interrupt", "interrupt: opens what it found closed" },
    { "owned-by-interrupt", "interrupt: the slow path of a closed slot" },
    { "at-before-wait", "drainer: reads at before it waits" },
    { "not-taken", "drainer: does not mark what it holds" },
    { "kept", "owner: loads another, and what is withheld stays so" },
    { "mark-lost", "owner: hands in, and the drainer's mark goes too" },
    { "closed-unseen", "owner: hands in to the depot though it is closed" },
    { "closed-passed", "drainer: does not look at a closed slot again" },
    { "leave-relaxed", "kva__mag_leave: release -> relaxed" },
    { "exit-relaxed", "kva__mag_slot_exit: release -> relaxed" },
    { "wait-relaxed", "slot_wait: acquire -> relaxed" },
};

variant now;
bool exhaustive;

bool
is(variant v)
{
    return now == v;
}

rl::memory_order
order(rl::memory_order strong, variant relaxed)
{
    return is(relaxed) ? rl::mo_relaxed : strong;
}

/* Once in n, when schedules are random; else both. */
bool
chance(unsigned n)
{
    return rl::rand(exhaustive ? 2 : n) == 1;
}

/* ---- the model ----------------------------------------------------------- */

const int CAPACITY = 2;
const int SENTINEL = 0; /* of magazines; the others are 1, 2, ... */
const int MAGAZINES = 3;
const int THINGS = 9;
const int NOTHING = -1;
const int TAKEN = 16; /* in held */
const int SPINS = 2;

enum which_row {
    DEAD,
    LIVE
};
enum place {
    SUPPLIER,
    CACHED,
    USER
};

struct magazine {
    rl::var<int> round[CAPACITY];
    rl::var<int> rounds;
};

struct slot {
    rl::atomic<int> open;
    rl::atomic<int> at[2]; /* by row */
    rl::atomic<int> loaded[2];
    rl::var<int> held;
};

/* An owner's thread. */
struct owner {
    int cpu;
    bool interruptible; /* an interrupt is still to come */
    bool masked;
    int thing[THINGS]; /* the user's */
    int nthings;
};

struct entry {
    int live;
    int at;
    int mag;
};

/* CLOSES: the last of the drainers closes the cache. */
template <int OWNERS, int DRAINERS, int OPERATIONS, int CLOSES>
struct search : rl::test_suite<search<OWNERS, DRAINERS, OPERATIONS, CLOSES>,
                               OWNERS + DRAINERS> {
    slot slots[OWNERS];
    magazine mags[MAGAZINES + 1];
    rl::mutex depot_lock;
    rl::var<int> depot[MAGAZINES];
    rl::var<int> ndepot;
    rl::atomic<int> closed;
    rl::atomic<int> line[DRAINERS][OWNERS]; /* of the interrupts to owners */

    /* Not part of the model: what is true at this moment. */
    bool pending[DRAINERS][OWNERS];
    bool finished[OWNERS];
    place where[THINGS];
    owner owners[OWNERS];

    void before();
    void thread(unsigned index);
    void after();

    void own(owner *o);
    void answer(int drainer, int cpu);
    void step(owner *o);
    void interrupt(owner *o);
    void get(owner *o);
    void put(owner *o);

    entry enter(owner *o);
    void leave(owner *o, const entry &e);
    bool hit_get(owner *o, int *thing);
    bool hit_put(owner *o, int thing);

    bool slot_enter(owner *o, entry *e);
    void slot_exit(owner *o, const entry &e, bool in);
    bool is_closed();
    int held_take(slot *s, const entry &e);
    void load(slot *s, entry *e, int mag);
    void unload(slot *s, const entry &e);
    bool slot_get(slot *s, entry *e, int *thing);
    bool slot_put(slot *s, entry *e, int thing);
    bool get_cached(owner *o, int *thing);
    bool put_cached(owner *o, int thing);

    void push(int mag);
    int pop(bool full);
    int supplier_fill();
    void supplier_drain(int thing);
    void empty(int mag);

    void drain(int me);
    void depot_drain();
    bool slots_drain(int me);
    bool shut(slot *s);
    void barrier(int me);
    bool wait(slot *s);
    bool end(slot *s, int verdict, int early);
};

#define SEARCH_OF(type)                                             \
    template <int OWNERS, int DRAINERS, int OPERATIONS, int CLOSES> \
    type search<OWNERS, DRAINERS, OPERATIONS, CLOSES>
#define SEARCH SEARCH_OF(void)

/* ---- things -------------------------------------------------------------- */

/* The supplier has a lock of its own. */
SEARCH_OF(int)::supplier_fill()
{
    for (int t = 0; t < THINGS; t++) {
        if (where[t] == SUPPLIER) {
            where[t] = CACHED;
            return t;
        }
    }
    return NOTHING;
}

SEARCH::supplier_drain(int thing)
{
    RL_ASSERT(where[thing] == CACHED);
    where[thing] = SUPPLIER;
}

/* Depot, locked. */
SEARCH::push(int mag)
{
    int n = ndepot($);

    depot[n]($) = mag;
    ndepot($) = n + 1;
}

/* One with rounds, or one without; SENTINEL: there is none. */
SEARCH_OF(int)::pop(bool full)
{
    int n = ndepot($);

    for (int i = 0; i < n; i++) {
        int mag = depot[i]($);
        int rounds = mags[mag].rounds($);

        if ((rounds != 0) == full) {
            int last = depot[n - 1]($);

            depot[i]($) = last;
            ndepot($) = n - 1;
            return mag;
        }
    }
    return SENTINEL;
}

/* kva__mag_empty: all that is in a magazine which nobody else has. */
SEARCH::empty(int mag)
{
    int n = mags[mag].rounds($);

    for (int i = 0; i < n; i++) {
        supplier_drain(mags[mag].round[i]($));
    }
    mags[mag].rounds($) = 0;
    depot_lock.lock($);
    push(mag);
    depot_lock.unlock($);
}

/* ---- what comes between two accesses of an owner ------------------------- */

/* An owner's side of the barrier. */
SEARCH::answer(int drainer, int cpu)
{
    line[drainer][cpu].fetch_add(1,
                                 is(BARRIER_IN)    ? rl::mo_acquire
                                 : is(BARRIER_OUT) ? rl::mo_release
                                                   : rl::mo_acq_rel,
                                 $);
}

SEARCH::step(owner *o)
{
    for (int d = 0; d < DRAINERS; d++) {
        if (pending[d][o->cpu]) {
            answer(d, o->cpu);
            pending[d][o->cpu] = false;
        }
    }
    if (o->interruptible && !o->masked && chance(4)) {
        o->interruptible = false;
        interrupt(o);
    }
}

SEARCH::interrupt(owner *o)
{
    if (rl::rand(2) == 0) {
        get(o);
    } else {
        put(o);
    }
    if (rl::rand(2) == 0) {
        get(o);
    }
}

/* ---- the hit paths ------------------------------------------------------- */

/* kva__mag_enter */
SEARCH_OF(entry)::enter(owner *o)
{
    slot *s = &slots[o->cpu];
    entry e;

    step(o);
    e.live = s->open.load(rl::mo_relaxed, $);
    step(o);
    if (is(LOADED_BEFORE_CLOSE)) {
        e.mag = s->loaded[e.live].load(rl::mo_relaxed, $);
        step(o);
    }
    if (is(AT_BEFORE_CLOSE)) {
        e.at = s->at[e.live].load(rl::mo_relaxed, $);
        step(o);
    }
    if (!is(NO_CLOSE)) {
        s->open.store(DEAD, rl::mo_relaxed, $);
    }
    step(o);
    if (!is(AT_BEFORE_CLOSE)) {
        e.at = s->at[e.live].load(rl::mo_relaxed, $);
    }
    step(o);
    if (!is(LOADED_BEFORE_CLOSE)) {
        e.mag = s->loaded[e.live].load(rl::mo_relaxed, $);
    }
    step(o);
    return e;
}

/* kva__mag_leave */
SEARCH::leave(owner *o, const entry &e)
{
    slot *s = &slots[o->cpu];
    int live = is(OPENED_BY_INTERRUPT) ? (int)LIVE : e.live;

    step(o);
    if (is(AT_AFTER_OPEN)) {
        s->open.store(live, rl::mo_release, $);
        step(o);
        s->at[e.live].store(e.at, rl::mo_relaxed, $);
    } else {
        s->at[e.live].store(e.at, rl::mo_relaxed, $);
        step(o);
        s->open.store(live, order(rl::mo_release, LEAVE_RELAXED), $);
    }
    step(o);
}

/* kva__mag_get; in the sentinel a round is longer than any at */
SEARCH_OF(bool)::hit_get(owner *o, int *thing)
{
    entry e = enter(o);
    bool hit = e.mag != SENTINEL && e.at > 0;

    if (hit) {
        e.at--;
        *thing = mags[e.mag].round[e.at]($);
    }
    leave(o, e);
    return hit;
}

/* kva__mag_put; in the sentinel END is everywhere */
SEARCH_OF(bool)::hit_put(owner *o, int thing)
{
    entry e = enter(o);
    bool hit = e.mag != SENTINEL && e.at < CAPACITY;

    if (hit) {
        mags[e.mag].round[e.at]($) = thing;
        e.at++;
    }
    leave(o, e);
    return hit;
}

/* ---- the slow path ------------------------------------------------------- */

/* kva__mag_slot_enter: false, if an interrupt finds the slot closed. */
SEARCH_OF(bool)::slot_enter(owner *o, entry *e)
{
    slot *s = &slots[o->cpu];
    bool in;

    step(o);
    e->live = s->open.load(rl::mo_relaxed, $);
    step(o);
    in = e->live == LIVE || is(OWNED_BY_INTERRUPT);
    if (in) {
        if (!is(NO_CLOSE)) {
            s->open.store(DEAD, rl::mo_relaxed, $);
        }
        step(o);
        e->at = s->at[LIVE].load(rl::mo_relaxed, $);
        step(o);
        o->masked = true;
        depot_lock.lock($);
        e->mag = s->loaded[LIVE].load(rl::mo_relaxed, $);
    }
    return in;
}

SEARCH::slot_exit(owner *o, const entry &e, bool in)
{
    slot *s = &slots[o->cpu];

    if (in) {
        depot_lock.unlock($);
        o->masked = false;
        step(o);
        s->at[LIVE].store(e.at, rl::mo_relaxed, $);
        step(o);
        s->open.store(e.live, order(rl::mo_release, EXIT_RELAXED), $);
    }
    step(o);
}

/* kva__mag_closed; owners, with the depot locked */
SEARCH_OF(bool)::is_closed()
{
    return CLOSES && closed.load(rl::mo_relaxed, $) != 0;
}

/* kva__mag_held_take: what a drainer had to leave, or is at. */
SEARCH_OF(int)::held_take(slot *s, const entry &e)
{
    int held = s->held($), mag = held & ~TAKEN;

    if (mag == SENTINEL || ((held & TAKEN) != 0 && is(KEPT))) {
        return SENTINEL;
    }
    s->held($) = is(MARK_LOST) ? 0 : held & TAKEN;
    mags[mag].rounds($) = e.at;
    if ((held & TAKEN) != 0 && (!is_closed() || is(CLOSED_UNSEEN))) {
        push(mag);
        mag = SENTINEL;
    }
    return mag;
}

SEARCH::load(slot *s, entry *e, int mag)
{
    e->at = mags[mag].rounds($);
    e->mag = mag;
    s->loaded[LIVE].store(mag, rl::mo_relaxed, $);
}

/* kva__mag_unload, and to the depot with it. */
SEARCH::unload(slot *s, const entry &e)
{
    if (e.mag != SENTINEL) {
        mags[e.mag].rounds($) = e.at;
        s->loaded[LIVE].store(SENTINEL, rl::mo_relaxed, $);
        push(e.mag);
    }
}

/* slot_for_get, slot_equip, and the round */
SEARCH_OF(bool)::slot_get(slot *s, entry *e, int *thing)
{
    int mag;

    if (is_closed()) {
        return false;
    }
    if (e->mag == SENTINEL || e->at == 0) {
        mag = pop(true);
        if (mag == SENTINEL && e->mag == SENTINEL) {
            mag = pop(false);
        }
        if (mag != SENTINEL) {
            unload(s, *e);
            load(s, e, mag);
        }
    }
    if (e->mag == SENTINEL || e->at == 0) {
        return false;
    }
    e->at--;
    *thing = mags[e->mag].round[e->at]($);
    return true;
}

/* slot_for_put, put_loaded */
SEARCH_OF(bool)::slot_put(slot *s, entry *e, int thing)
{
    int mag;

    if (is_closed()) {
        return false;
    }
    if (e->mag == SENTINEL || e->at == CAPACITY) {
        mag = pop(false);
        if (mag == SENTINEL) {
            return false;
        }
        unload(s, *e);
        load(s, e, mag);
    }
    mags[e->mag].round[e->at]($) = thing;
    e->at++;
    return true;
}

SEARCH_OF(bool)::get_cached(owner *o, int *thing)
{
    int held = SENTINEL;
    bool hit = false, in;
    entry e;

    in = slot_enter(o, &e);
    if (in) {
        held = held_take(&slots[o->cpu], e);
        hit = slot_get(&slots[o->cpu], &e, thing);
    }
    slot_exit(o, e, in);
    if (held != SENTINEL) {
        empty(held);
    }
    return hit;
}

SEARCH_OF(bool)::put_cached(owner *o, int thing)
{
    int held = SENTINEL;
    bool done = false, in;
    entry e;

    in = slot_enter(o, &e);
    if (in) {
        held = held_take(&slots[o->cpu], e);
        done = slot_put(&slots[o->cpu], &e, thing);
    }
    slot_exit(o, e, in);
    if (held != SENTINEL) {
        empty(held);
    }
    return done;
}

/* ---- an owner ------------------------------------------------------------ */

SEARCH::get(owner *o)
{
    int thing = 0;

    if (!hit_get(o, &thing) && !get_cached(o, &thing)) {
        thing = supplier_fill();
        if (thing == NOTHING) {
            return;
        }
    }
    RL_ASSERT(where[thing] == CACHED);
    where[thing] = USER;
    o->thing[o->nthings++] = thing;
}

SEARCH::put(owner *o)
{
    int thing;

    if (o->nthings == 0) {
        return;
    }
    thing = o->thing[--o->nthings];
    RL_ASSERT(where[thing] == USER);
    where[thing] = CACHED;
    if (!hit_put(o, thing) && !put_cached(o, thing)) {
        supplier_drain(thing);
    }
}

SEARCH::own(owner *o)
{
    for (int i = 0; i < OPERATIONS; i++) {
        if (rl::rand(2) == 0) {
            get(o);
        } else {
            put(o);
        }
    }
    step(o);
    for (int d = 0; d < DRAINERS; d++) {
        answer(d, o->cpu);
    }
    finished[o->cpu] = true;
}

/* ---- a drainer ----------------------------------------------------------- */

enum {
    TAKE,
    GIVE_UP,
    RETURN
};

/* slots_shut, one of them */
SEARCH_OF(bool)::shut(slot *s)
{
    bool mine = false;
    int held, mag;

    depot_lock.lock($);
    held = s->held($);
    if ((held & TAKEN) == 0) {
        mag = s->loaded[LIVE].load(rl::mo_relaxed, $);
        if (held == 0 && mag != SENTINEL) {
            held = mag;
            if (!is(NO_SENTINEL)) {
                s->loaded[LIVE].store(SENTINEL, rl::mo_relaxed, $);
            }
        }
        mine = held != 0;
        if (mine) {
            s->held($) = is(NOT_TAKEN) ? held : held | TAKEN;
        }
    }
    depot_lock.unlock($);
    return mine;
}

/* kva_port_barrier */
SEARCH::barrier(int me)
{
    if (is(NO_BARRIER)) {
        return;
    }
    for (int c = 0; c < OWNERS; c++) {
        line[me][c].fetch_add(1, rl::mo_acq_rel, $);
        pending[me][c] = true;
        while (pending[me][c] && !finished[c]) {
            rl::yield(1, $);
        }
        line[me][c].fetch_add(1, rl::mo_acq_rel, $);
    }
}

/* slot_wait; false: not in time */
SEARCH_OF(bool)::wait(slot *s)
{
    rl::memory_order acquire = order(rl::mo_acquire, WAIT_RELAXED);
    bool out = is(NO_WAIT);

    for (int i = 0; i < SPINS && !out; i++) {
        out = s->open.load(acquire, $) == LIVE;
        if (!out) {
            rl::yield(1, $);
        }
    }
    return out;
}

/* slot_end; early: what at was before the wait */
SEARCH_OF(bool)::end(slot *s, int verdict, int early)
{
    int mag = SENTINEL, held;
    bool ended;

    depot_lock.lock($);
    held = s->held($) & ~TAKEN;
    s->held($) = verdict == GIVE_UP ? held : 0;
    if (verdict == RETURN && held != SENTINEL) {
        s->loaded[LIVE].store(held, rl::mo_relaxed, $);
    } else if (verdict == TAKE && held != SENTINEL) {
        mag = held;
        mags[mag].rounds($) =
            is(AT_BEFORE_WAIT) ? early : s->at[LIVE].load(rl::mo_relaxed, $);
    }
    ended = !is_closed() || is(CLOSED_PASSED) ||
            s->loaded[LIVE].load(rl::mo_relaxed, $) == SENTINEL;
    depot_lock.unlock($);
    if (mag != SENTINEL) {
        empty(mag);
    }
    return ended;
}

/* Once over the slots: the barrier may be missing, enough may have come
 * together.  True: there is no need to do it again. */
SEARCH_OF(bool)::slots_drain(int me)
{
    bool mine[OWNERS], any = false, ended = true, barred;

    for (int c = 0; c < OWNERS; c++) {
        mine[c] = shut(&slots[c]);
        any |= mine[c];
    }
    if (!any) {
        return true;
    }
    barred = !chance(8);
    if (barred) {
        barrier(me);
    }
    for (int c = 0; c < OWNERS; c++) {
        int verdict = GIVE_UP, early = 0;

        if (!mine[c]) {
            continue;
        }
        if (is(AT_BEFORE_WAIT)) {
            early = slots[c].at[LIVE].load(rl::mo_relaxed, $);
        }
        if (!is_closed() && chance(4)) {
            verdict = RETURN;
        } else if (barred && wait(&slots[c])) {
            verdict = TAKE;
        }
        ended &= end(&slots[c], verdict, early);
    }
    return ended;
}

/* depot_drain; empty ones stay. */
SEARCH::depot_drain()
{
    int mag;

    do {
        depot_lock.lock($);
        mag = pop(true);
        depot_lock.unlock($);
        if (mag != SENTINEL) {
            empty(mag);
        }
    } while (mag != SENTINEL);
}

/* kva__magcache_drain, which may have enough before the end; and before it,
 * for the one who closes, kva__mag_close. */
SEARCH::drain(int me)
{
    bool closer = CLOSES && me == DRAINERS - 1;

    if (closer) {
        closed.store(1, rl::mo_relaxed, $);
    }
    while (!slots_drain(me)) {
    }
    if (closer || !chance(4)) {
        depot_drain();
    }
}

/* ---- a run --------------------------------------------------------------- */

/* Each owner's magazine is full, so that a put misses, and two things are in
 * its hands; an empty magazine is in the depot; the supplier has the others. */
SEARCH::before()
{
    int next = 0;

    for (int m = 0; m <= MAGAZINES; m++) {
        mags[m].rounds($) = 0;
    }
    ndepot($) = 0;
    closed.store(0, rl::mo_relaxed, $);
    for (int c = 0; c < OWNERS; c++) {
        slot *s = &slots[c];
        owner *o = &owners[c];

        for (int i = 0; i < CAPACITY; i++) {
            mags[c + 1].round[i]($) = next;
            where[next++] = CACHED;
            o->thing[i] = next;
            where[next++] = USER;
        }
        o->nthings = CAPACITY;
        s->open.store(LIVE, rl::mo_relaxed, $);
        s->at[DEAD].store(0, rl::mo_relaxed, $);
        s->at[LIVE].store(CAPACITY, rl::mo_relaxed, $);
        s->loaded[DEAD].store(SENTINEL, rl::mo_relaxed, $);
        s->loaded[LIVE].store(c + 1, rl::mo_relaxed, $);
        s->held($) = 0;
        o->cpu = c;
        o->interruptible = true;
        o->masked = false;
        finished[c] = false;
        for (int d = 0; d < DRAINERS; d++) {
            line[d][c].store(0, rl::mo_relaxed, $);
            pending[d][c] = false;
        }
    }
    push(OWNERS + 1);
    while (next < THINGS) {
        where[next++] = SUPPLIER;
    }
}

SEARCH::thread(unsigned index)
{
    if (index < (unsigned)OWNERS) {
        own(&owners[index]);
    } else {
        drain((int)index - OWNERS);
    }
}

/* Each magazine is in one place, and has in it what is cached; when closed,
 * nothing is where it could be handed out of. */
SEARCH::after()
{
    int cached = 0, seen[THINGS] = { 0 }, at[MAGAZINES + 1] = { 0 };
    int places[MAGAZINES + 1] = { 0 };

    for (int c = 0; c < OWNERS; c++) {
        int mag = slots[c].loaded[LIVE].load(rl::mo_relaxed, $);
        int held = slots[c].held($);

        RL_ASSERT(slots[c].open.load(rl::mo_relaxed, $) == LIVE);
        RL_ASSERT((held & TAKEN) == 0 && (held == 0 || mag == SENTINEL));
        RL_ASSERT(!CLOSES || mag == SENTINEL);
        mag = held != 0 ? held : mag;
        places[mag]++;
        at[mag] = slots[c].at[LIVE].load(rl::mo_relaxed, $);
    }
    for (int i = 0, n = ndepot($); i < n; i++) {
        int mag = depot[i]($);

        places[mag]++;
        at[mag] = mags[mag].rounds($);
        RL_ASSERT(!CLOSES || at[mag] == 0);
    }
    for (int m = 1; m <= OWNERS + 1; m++) {
        RL_ASSERT(places[m] == 1);
        for (int i = 0; i < at[m]; i++) {
            int thing = mags[m].round[i]($);

            RL_ASSERT(where[thing] == CACHED && seen[thing] == 0);
            seen[thing] = 1;
        }
    }
    for (int t = 0; t < THINGS; t++) {
        cached += where[t] == CACHED && seen[t] == 0;
    }
    RL_ASSERT(cached == 0);
}

/* ---- searching ----------------------------------------------------------- */

/*
 * How far each tier goes with the true protocol: so many random schedules of
 * each model, and whether the larger of the complete searches belong to it.
 */
struct tier {
    const char *name;
    unsigned long schedules;
    bool large;
} const tiers[] = {
    { "quick", 50000, false },
    { "merge", 500000, true },
    { "long", 20000000, true },
};

/* Random schedules of each model in which a variant may fail; what they miss,
 * the complete searches must find. */
const unsigned long VARIANT_SCHEDULES = 20000;

struct outcome {
    bool failed;
    unsigned long schedules;
    const char *how;
    rl::string history;
};

/* Random schedules; or, with a bound on the switches of threads that could have
 * gone on, all of them: Relacy ends when it has seen the last. */
template <typename test>
outcome
simulate(unsigned long schedules, unsigned bound)
{
    rl::ostringstream out, progress;
    rl::test_params params;
    outcome o;

    exhaustive = bound != 0;
    params.iteration_count = schedules;
    params.search_type = exhaustive ? rl::sched_bound : rl::sched_random;
    params.context_bound = bound;
    params.output_stream = &out;
    params.progress_stream = &progress;
    o.failed = !rl::simulate<test>(params);
    o.schedules = (unsigned long)params.stop_iteration + (o.failed ? 1 : 0);
    o.how = rl::test_result_str(params.test_result);
    if (o.failed) {
        o.history = out.str();
    }
    return o;
}

/*
 * The models: owners, drainers, and operations of each owner; with random
 * schedules and with all of them within a bound.
 */
struct model {
    const char *name;
    outcome (*simulate)(unsigned long schedules, unsigned bound);
    unsigned bound;
    bool large;
} const models[] = {
    { "1 owner, 1 drainer", simulate<search<1, 1, 3, 0> >, 0, false },
    { "1 owner, 2 drainers", simulate<search<1, 2, 3, 0> >, 0, false },
    { "2 owners, 1 drainer", simulate<search<2, 1, 2, 0> >, 0, false },
    { "1 owner, 1 of 2 closes", simulate<search<1, 2, 3, 1> >, 0, false },
    { "1 owner, 1 drainer, all", simulate<search<1, 1, 1, 0> >, 2, false },
    { "the same, longer", simulate<search<1, 1, 2, 0> >, 1, false },
    { "1 owner, 2 drainers, all", simulate<search<1, 2, 1, 0> >, 1, true },
};
const int MODELS = sizeof(models) / sizeof(models[0]);

int passed, failed;

/* A line of the table.  The history of a failure that was not wanted comes with
 * it. */
void
report(const char *where, bool wanted, const outcome &o)
{
    bool good = o.failed == wanted;

    printf("%s %-20s %-26s %9lu schedules, %s: %s\n", good ? "ok  " : "FAIL",
           names[now].name, where, o.schedules,
           wanted ? "must fail" : "must not fail", o.how);
    if (!good && o.failed) {
        printf("%s\n", o.history.c_str());
    }
    if (!good && !o.failed) {
        printf("     %s: is it needed?\n", names[now].what);
    }
    fflush(stdout);
    *(good ? &passed : &failed) += 1;
}

void
search_true(const tier &t)
{
    now = TRUE_ONE;
    for (int m = 0; m < MODELS; m++) {
        if (t.large || !models[m].large) {
            report(models[m].name, false,
                   models[m].simulate(t.schedules, models[m].bound));
        }
    }
}

/* In one model or another it fails. */
void
search_variant(variant v)
{
    int m = 0;
    outcome o;

    now = v;
    do {
        o = models[m].simulate(VARIANT_SCHEDULES, models[m].bound);
    } while (!o.failed && ++m < MODELS);
    report(o.failed ? models[m].name : "all models", true, o);
}

} // namespace

int
main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "quick";
    const tier *t = 0;

    for (unsigned i = 0; i < sizeof(tiers) / sizeof(tiers[0]); i++) {
        if (strcmp(tiers[i].name, name) == 0) {
            t = &tiers[i];
        }
    }
    if (t == 0 || argc > 2) {
        fprintf(stderr, "usage: %s [quick|merge|long]\n", argv[0]);
        return 2;
    }
    search_true(*t);
    for (int v = TRUE_ONE + 1; v < VARIANTS; v++) {
        search_variant((variant)v);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
