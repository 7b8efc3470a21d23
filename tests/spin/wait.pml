/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How requests wait for memory and are woken, as a model for Spin: the protocol
 * of vmem/wait.c and vmem/persist.c, with the short way of a free, a magazine,
 * and the pagedaemon.
 *
 * Claims, for every order of steps:
 *   - no wake-up is lost, and nobody sleeps while there is memory for him: when
 *     nothing can move any more, no sleeper is marked woken, and what is free
 *     serves none of them; but for what is kept for a head that was passed often
 *     enough (quiet, below);
 *   - no deadlock: the only ones that are not at their end then are sleepers
 *     (Spin's invalid end states);
 *   - the oldest of those whom a hole may serve is woken (wake);
 *   - with the pagedaemon, all come to an end, served or refused (all_end, with
 *     weak fairness).
 *
 *      units of one arena    0  1  2        a request is for need of them, in a row
 *      queue                 who waits, oldest first; all else of a waiter by number
 *      arena_lock            vm->lock        wait_lock       wait.lock (wait.c)
 *      daemon_lock           daemon.lock (pagedaemon.c)
 *
 * What each step stands for is said where it is, by the function in C.  What lies
 * between two steps is what others may come in between: a section under a lock is
 * taken, done and let go of in three steps, and what is read without the lock (the
 * count, the detour under the lock of the arena alone) is a step of its own.
 *
 * Not in it: orders of memory, of which wait.c argues that relaxed will do, since
 * the lock of the arena lies between; what tags, imports and constraints do to
 * which hole serves whom (tests/unit/test_wait.c); and how a magazine is closed
 * under its users, which here is one step (tests/interleave/slot.cpp).
 *
 * By -D: WAITERS, UNITS, NEED (of waiter 0; the others want 1), PASS_MAX, TIMED
 * (waiter 0 may time out), CANCEL (somebody cancels waiter 0), PASSER (somebody who
 * does not wait takes and frees), OWNED (units that are in use at first), WHOLE (they
 * are freed at once), STOCK (a magazine), DAEMON (the pagedaemon, with
 * HOARD units to be had from cleaners), IMPORTS (units are what an import function
 * has of something: a free says that there is more, and not how much).  PLANT_x are mistakes, which must be found
 * (tests/spin/check).
 */
#ifndef WAITERS
#define WAITERS 2
#endif
#ifndef UNITS
#define UNITS 2
#endif
#ifndef OWNED
#define OWNED UNITS
#endif
#ifndef NEED
#define NEED 2
#endif
#ifndef PASS_MAX
#define PASS_MAX 1
#endif
#ifndef HOARD
#define HOARD 1
#endif
#ifndef PATIENCE
#define PATIENCE 1 /* passes in vain until somebody is refused */
#endif
#ifndef ROUNDS
#define ROUNDS 1 /* of the passer */
#endif
#define PROCESSES (WAITERS + 5)
#define NONE 255
#define OUT 250 /* a waiter's error, for short */
#define SOME 100 /* of KVA__HOLE_IMPORT: so many as nobody knows */

bit busy[UNITS];
byte detour;      /* vm->detour: waiters for whom the short way is closed */
bit arena_lock;   /* taken */
bit wait_lock;

byte queue[WAITERS];
byte waiting;     /* length of the queue: q->count, kva__waiters */
byte need[WAITERS];
byte despair[WAITERS];
bit woken[WAITERS], cancelled[WAITERS], asleep[WAITERS], open[WAITERS];
byte hole_first[WAITERS], hole_size[WAITERS]; /* w->hole; size 0: ANY */
byte passed;      /* q->passed */
bit ticket[PROCESSES]; /* by process: of this head, ticket->turn == q->turn */
bit held_back;

byte ended;       /* waiters that are through */

#ifdef STOCK
byte stock = NONE; /* the magazine: a unit, still busy for the arena */
byte closed;       /* kva__mag_close: by so many */
#endif

#ifdef DAEMON
bit daemon_lock, daemon_woken, daemon_asleep;
byte hoard;       /* units 0 to hoard - 1 are a cleaner's */
#endif

/*
 * A section under a lock: taken, done and let go of in three steps, with STEPS;
 * else in one, which comes to the same while nobody takes another lock within,
 * since whatever is read without the lock changes once in a section.
 */
#ifdef STEPS
#define ENTER(l) atomic { !l -> l = 1 }; d_step {
#define LEAVE(l) }; l = 0
#define ENTER_LONG(l) atomic { !l -> l = 1 };
#define LEAVE_LONG(l) l = 0
#define SLEEP(l, a) atomic { l = 0; a = 1 }
#define TAKE_AGAIN(l) atomic { !l -> l = 1 }
#else
#define ENTER(l) d_step {
#define LEAVE(l) }
#define ENTER_LONG(l) atomic {
#define LEAVE_LONG(l) }
#define SLEEP(l, a) a = 1
#define TAKE_AGAIN(l) skip
#endif

/* ---- under the lock of the arena, in one go ------------------------------- */

/* The hole that unit u, which is free, lies in: hf, hs. */
inline hole_around(u) {
    hf = u;
    do
    :: hf > 0 && !busy[hf - 1] -> hf--
    :: else -> break
    od;
    hs = 1;
    do
    :: hf + hs < UNITS && !busy[hf + hs] -> hs++
    :: else -> break
    od
}

/* The first hole of n units or more: hf; NONE: there is none. */
inline find(n) {
    hf = 0;
    hs = 0;
    do
    :: hs == n -> break
    :: hs < n && hf + hs >= UNITS -> hf = NONE; break
    :: hs < n && hf + hs < UNITS && !busy[hf + hs] -> hs++
    :: hs < n && hf + hs < UNITS && busy[hf + hs] -> hf = hf + hs + 1; hs = 0
    od
}

/* ---- under the lock of the queues, in one go ------------------------------ */

/* wait.c, wake(), and kva_port_wake: who sleeps comes out of it. */
inline wake(w, f, s) {
    woken[w] = 1;
    hole_first[w] = f;
    hole_size[w] = s;
    asleep[w] = 0
}

/* Was the head passed often enough, and is not open: head_starves(). */
#define STARVES (passed >= PASS_MAX && !open[queue[0]])

/* asks_the_same(): the hole was denied just now to one who needs that many. */
#ifdef PLANT_ALL_ARE_DENIED
#define DENIED(w, s) (s == SOME && denied != 0)
#else
#define DENIED(w, s) (s == SOME && denied == need[w])
#endif

/*
 * wait.c, offer_past(): the hole (size 0: ANY) to the oldest whom it may serve, from
 * place k of the queue on.  Oldest is checked, for the mistake PLANT_YOUNGEST.
 */
inline offer(k, f, s) {
#ifdef PLANT_YOUNGEST
    at = waiting;
    chosen = NONE;
    do
    :: at > k ->
        at--;
        if
        :: !woken[queue[at]] && !cancelled[queue[at]] &&
           (s == 0 || s >= need[queue[at]]) && chosen == NONE ->
            chosen = at
        :: else -> skip
        fi
    :: else -> break
    od;
#else
    at = k;
    chosen = NONE;
    do
    :: at < waiting && chosen == NONE ->
        if
        :: woken[queue[at]] || cancelled[queue[at]] -> skip
        :: else ->
            if
            :: at != 0 && STARVES -> held_back = 1 /* is_kept_for_head() */
            :: !(at != 0 && STARVES) && (s == 0 || s >= need[queue[at]]) &&
               !DENIED(queue[at], s) ->
                chosen = at
            :: else -> skip
            fi
        fi;
        at++
    :: else -> break
    od;
#endif
    if
    :: chosen != NONE ->
        at = k;
        do
        :: at < chosen ->
            assert(woken[queue[at]] || cancelled[queue[at]] ||
                   (at != 0 && STARVES) || (s != 0 && s < need[queue[at]]) ||
                   DENIED(queue[at], s));
            at++
        :: else -> break
        od;
        wake(queue[chosen], f, s)
    :: else -> skip
    fi;
    at = 0;
    chosen = 0
}

/* wait.c, offer_rest(): of hole f, s the n units at a are gone (n 0: none). */
inline offer_rest(k, f, s, a, n) {
    if
    :: s == 0 || s == SOME || n == 0 || a < f || a >= f + s -> offer(k, f, s)
    :: else ->
        if
        :: a > f -> offer(k, f, a - f)
        :: else -> skip
        fi;
        if
        :: f + s > a + n -> offer(k, a + n, f + s - (a + n))
        :: else -> skip
        fi
    fi
}

inline offer_held_back(k) {
    if
    :: held_back -> held_back = 0; offer(k, 0, 0)
    :: else -> skip
    fi
}

/* The place of w in the queue. */
inline place_of(w) {
    place = 0;
    do
    :: queue[place] != w -> place++
    :: else -> break
    od
}

/* There is another head, or none: q->turn++, which makes tickets void. */
inline new_head() {
    passed = 0;
    chosen = 0;
    do
    :: chosen < PROCESSES -> ticket[chosen] = 0; chosen++
    :: else -> break
    od;
    chosen = 0
}

/* wait.c, queue_remove() and count_change(). */
inline take_out(w) {
    place_of(w);
    at = place;
    do
    :: at + 1 < waiting -> queue[at] = queue[at + 1]; at++
    :: else -> break
    od;
    waiting--;
    queue[waiting] = 0;
    at = 0;
    if
    :: place == 0 -> new_head()
    :: else -> skip
    fi
}

/* ---- freeing --------------------------------------------------------------- */

#define LOCALS byte hf, hs, at, chosen, place, seen, denied; bit granted, let_in

/*
 * A free of n units at f.  Short way (short.c): the detour is looked at under the
 * lock of the arena, and if there is none, that was all.  Long way (arena.c): then
 * kva__wait_freed(), which looks at the count without a lock, and hole_freed().
 */
inline free_units(f, n) {
#ifdef PLANT_COUNT_EARLY
    seen = waiting;
#endif
#ifdef PLANT_LOCK_ORDER /* with the lock of the arena held */
    ENTER_LONG(arena_lock)
    d_step { at = 0; busy[f] = 0; hole_around(f) };
    ENTER(wait_lock) at = 0; offer(0, hf, hs); LEAVE(wait_lock);
    LEAVE_LONG(arena_lock);
#else
    ENTER(arena_lock)
        at = 0;
        do
        :: at < n -> busy[f + at] = 0; at++
        :: else -> break
        od;
        hole_around(f);
#ifdef IMPORTS
        hs = SOME;
#endif
        at = detour;
    LEAVE(arena_lock);
    if
    :: at == 0 -> skip
    :: else ->
#ifndef PLANT_COUNT_EARLY
        seen = waiting;
#endif
        if
        :: seen == 0 -> skip
        :: else ->
            ENTER(wait_lock) at = 0; offer(0, hf, hs); LEAVE(wait_lock)
        fi
    fi;
#endif
    d_step { at = 0; hf = 0; hs = 0; seen = 0 }
}

/* What was had is freed: into the magazine, if there is one and it is open. */
inline give_back(f, n) {
#ifdef STOCK
    atomic {
        if
        :: n == 1 && closed == 0 && stock == NONE -> stock = f; seen = 1
        :: else -> seen = 0
        fi
    };
    if
    :: seen -> seen = 0
    :: else -> free_units(f, n)
    fi
#else
    free_units(f, n)
#endif
}

/* ---- a try (persist.c, try()) ---------------------------------------------- */

/* kva__wait_admit(); w NONE: he does not wait.  granted: he is let in. */
inline admit(w) {
    d_step { granted = 1; ticket[_pid] = 0 };
    if
    :: waiting == 0 -> skip
    :: else ->
        ENTER(wait_lock)
            if
            :: waiting == 0 || w == queue[0] -> skip
            :: waiting != 0 && w != queue[0] && STARVES ->
                held_back = 1;
                granted = 0
            :: else ->
                if
                :: passed < PASS_MAX -> passed++; ticket[_pid] = 1
                :: else -> skip
                fi
            fi
        LEAVE(wait_lock)
    fi
}

/* kva__wait_settle(): who had nothing did not pass the head. */
inline settle() {
    if
    :: !granted && ticket[_pid] ->
        ENTER(wait_lock)
            if
            :: ticket[_pid] ->
                passed--;
                offer_held_back(1)
            :: else -> skip
            fi
        LEAVE(wait_lock)
    :: else -> skip
    fi
}

/* The attempt (arena.c): got is the first unit, or NONE. */
inline try(w, n) {
    admit(w);
    let_in = granted;
    if
    :: granted ->
        ENTER(arena_lock)
            find(n);
            got = hf;
            granted = got != NONE;
            at = 0;
            do
            :: granted && at < n -> busy[got + at] = 1; at++
            :: else -> break
            od;
            at = 0;
            hf = 0;
            hs = 0
        LEAVE(arena_lock);
        settle()
    :: else -> got = NONE
    fi;
    d_step { granted = 0; ticket[_pid] = 0 }
}

/* ---- waiting ---------------------------------------------------------------- */

/* detour_change() */
inline detour_by(n) {
    ENTER(arena_lock) detour = detour + n; LEAVE(arena_lock)
}

/* kva__wait_join() */
#define JOIN(w) \
    queue[waiting] = w; \
    if \
    :: waiting == 0 -> new_head() \
    :: else -> skip \
    fi; \
    waiting++

inline join(w) {
#ifdef PLANT_LOCK_ORDER /* the detour with the lock of the queues held */
    ENTER_LONG(wait_lock)
    d_step { JOIN(w) };
    detour_by(1);
    LEAVE_LONG(wait_lock)
#else
    ENTER(wait_lock) JOIN(w); LEAVE(wait_lock)
#endif
}

inline set_open(w, o) {
    ENTER(wait_lock) open[w] = o; LEAVE(wait_lock)
}

#ifdef DAEMON
/* kva_pagedaemon_wake() */
inline wake_daemon() {
    ENTER(daemon_lock)
        if
        :: !daemon_woken -> daemon_woken = 1; daemon_asleep = 0
        :: else -> skip
        fi
    LEAVE(daemon_lock)
}
#endif

/* press(): what is in stock goes to the arena; and the pagedaemon is woken. */
inline press() {
#ifdef STOCK
    atomic { got = stock; stock = NONE };
    if
    :: got != NONE -> free_units(got, 1)
    :: else -> skip
    fi;
    got = NONE;
#endif
#ifdef DAEMON
    wake_daemon();
#endif
    skip
}

#ifdef PLANT_UNLOCKED_CHECK
#define AWAKE(w) seen
#else
#define AWAKE(w) (woken[w] || cancelled[w])
#endif

/* kva__wait_sleep(), with offer_on(); err: 0, or OUT.  tf, ts: w->tried; trying as in C. */
inline sleep(w) {
#ifdef PLANT_UNLOCKED_CHECK
    seen = woken[w] || cancelled[w];
#endif
    ENTER_LONG(wait_lock)
    d_step {
        err = 0;
        if
        :: trying ->
            trying = 0;
#ifndef PLANT_NO_REST_ON_SLEEP
            place_of(w);
            denied = (let_in -> n : 0);
            offer_rest(place + 1, tf, ts, 0, 0);
            denied = 0;
            place = 0
#endif
        :: else -> skip
        fi
    };
    do
    :: !AWAKE(w) && err == 0 ->
        /* kva_port_wait(): lets go of the lock and sleeps in one step */
#ifdef PLANT_PORT_LOSES
        wait_lock = 0;
        asleep[w] = 1;
#else
        SLEEP(wait_lock, asleep[w]);
#endif
end_asleep:
        if
        :: !asleep[w] -> skip
#ifdef TIMED
        :: w == 0 -> asleep[w] = 0; timed_out = 1
#endif
        fi;
        TAKE_AGAIN(wait_lock);
#ifdef PLANT_UNLOCKED_CHECK
        seen = woken[w] || cancelled[w];
#endif
        if
        :: timed_out && !woken[w] && !cancelled[w] -> err = OUT
        :: else -> skip
        fi
    :: else -> break
    od;
    skip; /* a loop does not end on a d_step */
    d_step {
        if
        :: cancelled[w] -> err = OUT
        :: !cancelled[w] && woken[w] ->
            err = 0;
            woken[w] = 0;
            tf = hole_first[w];
            ts = hole_size[w];
            hole_first[w] = 0;
            hole_size[w] = 0;
            trying = 1
        :: else -> skip
        fi
    };
    LEAVE_LONG(wait_lock)
}

/* kva__wait_leave(), with n units at a, or n 0. */
inline leave(w, a, n) {
    ENTER(wait_lock)
        take_out(w);
#ifndef PLANT_NO_REST_ON_LEAVE
        if
        :: trying -> offer_rest(place, tf, ts, a, n)
        :: else -> skip
        fi;
#endif
#ifndef PLANT_WOKEN_IS_DROPPED
        if
        :: woken[w] -> offer_rest(place, hole_first[w], hole_size[w], a, n)
        :: else -> skip
        fi;
#endif
        if
#ifndef PLANT_NO_HELD_BACK
        :: place == 0 && waiting != 0 -> offer_held_back(0)
#endif
        :: else -> skip
        fi;
        woken[w] = 0;
        hole_first[w] = 0;
        hole_size[w] = 0;
        cancelled[w] = 0;
        despair[w] = 0;
        trying = 0;
        err = 0;
        timed_out = 0;
        place = 0;
        tf = 0;
        ts = 0
    LEAVE(wait_lock)
}

/* persist(), wait_for_it(). */
proctype waiter(byte w) {
    LOCALS;
    byte got = NONE, err, tf, ts, n;
    bit trying, timed_out;

    n = need[w];
    try(NONE, n);
    if
    :: got != NONE -> goto served
    :: else -> skip
    fi;
#if defined(DAEMON) && defined(PLANT_DAEMON_EARLY)
    wake_daemon();
#endif
#ifdef PLANT_TRY_EARLY
    try(NONE, n);
    if
    :: got != NONE -> goto served
    :: else -> skip
    fi;
#endif
    join(w);
#if !defined(PLANT_NO_DETOUR) && !defined(PLANT_LOCK_ORDER)
    detour_by(1);
#endif
#ifdef STOCK
#ifndef PLANT_MAG_OPEN
    closed++;
#endif
#endif
    set_open(w, 1);
#ifndef PLANT_DAEMON_EARLY
    press();
#endif
    set_open(w, 0);
#ifndef PLANT_TRY_EARLY
    try(w, n);
#endif
    do
    :: got == NONE ->
        sleep(w);
        if
        :: err != 0 -> break
        :: else -> try(w, n)
        fi
    :: else -> break
    od;
    if
    :: got != NONE -> leave(w, got, n)
    :: else -> leave(w, 0, 0)
    fi;
#ifdef STOCK
#ifndef PLANT_MAG_OPEN
    closed--;
#endif
#endif
#ifndef PLANT_NO_DETOUR
    detour_by(-1);
#endif
served:
    if
    :: got != NONE -> give_back(got, n)
    :: skip /* he keeps it */
    fi;
    d_step { got = NONE; n = 0; ended++ }
}

/* ---- others ----------------------------------------------------------------- */

/* Everything is taken at first; the one who has it frees it, unit by unit, in any
 * order, and may keep some. */
proctype owner() {
    LOCALS;
    byte u, got = NONE;
    bit mine[UNITS];

    d_step {
#ifdef DAEMON
        u = HOARD;
#endif
        do
        :: u < OWNED -> mine[u] = 1; u++
        :: else -> break
        od;
        u = 0
    };
#ifdef WHOLE
    if
    :: free_units(0, OWNED)
    :: skip
    fi
#else
    do
    :: atomic {
            if
            :: mine[0] -> u = 0
#if UNITS > 1
            :: mine[1] -> u = 1
#endif
#if UNITS > 2
            :: mine[2] -> u = 2
#endif
            :: break
            fi;
            mine[u] = 0
        };
        give_back(u, 1)
    od
#endif
}

#ifdef PASSER
/* Somebody who does not wait. */
proctype passer() {
    LOCALS;
    byte got = NONE, rounds;

    do
    :: rounds < ROUNDS ->
        rounds++;
        try(NONE, 1);
        if
        :: got != NONE -> free_units(got, 1)
        :: skip
        fi;
        got = NONE
    :: else -> break
    od
}
#endif

#ifdef CANCEL
/* vmem_cancel(), by a cookie: waiter 0, if he waits now. */
proctype canceller() {
    byte k;

    ENTER(wait_lock)
        do
        :: k < waiting ->
            if
            :: queue[k] == 0 -> cancelled[0] = 1; asleep[0] = 0
            :: else -> skip
            fi;
            k++
        :: else -> break
        od;
        k = 0;
    LEAVE(wait_lock)
}
#endif

#ifdef DAEMON
/* kva__wait_progress() */
inline progress() {
    ENTER(wait_lock)
        do
        :: k < WAITERS -> despair[k] = 0; k++
        :: else -> break
        od;
        k = 0;
    LEAVE(wait_lock)
}

/* kva_pagedaemon_turn() and kva_pagedaemon_wait(): a cleaner's units, one in each
 * pass; when there are none, who waits is refused in time (kva__wait_in_vain). */
proctype pagedaemon() {
    LOCALS;
    byte k;

end_turn:
    do
    :: ENTER(wait_lock)
            k = 0;
            place = 0; /* wanted */
            do
            :: k < waiting ->
                place = place | (1 - cancelled[queue[k]]);
                k++
            :: else -> break
            od;
            k = 0
        LEAVE(wait_lock);
        if
        :: place == 0 ->
            progress();
            ENTER_LONG(daemon_lock)
            do
            :: !daemon_woken ->
                SLEEP(daemon_lock, daemon_asleep);
end_idle:       !daemon_asleep;
                TAKE_AGAIN(daemon_lock)
            :: else -> break
            od;
            daemon_woken = 0;
            LEAVE_LONG(daemon_lock)
        :: place != 0 && hoard != 0 ->
            hoard--;
            free_units(hoard, 1);
            progress()
        :: else ->
            ENTER(wait_lock)
                do
                :: k < waiting ->
                    if
                    :: !open[queue[k]] && despair[queue[k]] < PATIENCE ->
                        despair[queue[k]]++
                    :: else -> skip
                    fi;
                    if
                    :: !open[queue[k]] && despair[queue[k]] == PATIENCE &&
                       !cancelled[queue[k]] && !woken[queue[k]] ->
                        cancelled[queue[k]] = 1;
                        asleep[queue[k]] = 0
                    :: else -> skip
                    fi;
                    k++
                :: else -> break
                od;
                k = 0;
            LEAVE(wait_lock)
        fi;
        place = 0
    od
}
#endif

/* Nothing can move: what was claimed. */
proctype quiet() {
    byte w, u, row;

end_watch:
    timeout;
    d_step {
        do
        :: w < WAITERS ->
            if
            :: asleep[w] ->
#ifdef DAEMON
                assert(false); /* with it nobody sleeps for ever */
#endif
                assert(!woken[w] && !cancelled[w]);
                u = 0;
                row = 0;
                do
                :: u < UNITS ->
                    if
                    :: busy[u] -> row = 0
                    :: else -> row++
                    fi;
                    assert(row < need[w] || (w != queue[0] && STARVES));
                    u++
                :: else -> break
                od
#ifdef STOCK
                ;
                assert(stock == NONE)
#endif
            :: else -> skip
            fi;
            w++
        :: else -> break
        od
    }
}

init {
    byte i;

    atomic {
        do
        :: i < OWNED -> busy[i] = 1; i++
        :: else -> break
        od;
        i = 0;
        do
        :: i < WAITERS ->
            need[i] = (i == 0 -> NEED : 1);
            run waiter(i);
            i++
        :: else -> break
        od;
        i = 0;
#ifdef DAEMON
        hoard = HOARD;
        run pagedaemon();
#endif
        run owner();
#ifdef PASSER
        run passer();
#endif
#ifdef CANCEL
        run canceller();
#endif
        run quiet()
    }
}

#ifdef DAEMON
ltl all_end { <> (ended == WAITERS) }
#endif
