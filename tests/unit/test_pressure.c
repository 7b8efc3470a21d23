/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pressure levels.
 *
 * Claims: a level is entered and left where it should be, through every
 * transition in both directions; an event tells what there is now, each listener
 * once, and a level once a second at the most, whoever tells it and when he read
 * the clock; a postponed one is not lost; who stopped listening is not told;
 * bounds are exact for small limits, too; misuse is told.
 */
#include <pthread.h>
#include <string.h>

#include "reclaim/pressure.h"
#include "tests/harness/test.h"
#include "tests/unit/slow_call.h"
#include "vmem/reserve.h"

#define LIMIT ((size_t)1000)
#define SECOND ((uint64_t)1000000000u)

struct ear {
    struct kva_pressure_listener listener;
    unsigned told;
    enum kva_pressure level; /* the last one */
};

static void
hear(void *arg, enum kva_pressure level)
{
    struct ear *ear = arg;

    CHECK_EQ(kva_posix_locks_held(), 0);
    ear->told++;
    ear->level = level;
}

static void
listen_to(struct ear *ear)
{
    *ear = (struct ear){ .listener = { .fn = hear, .arg = ear } };
    kva_pressure_listen(&ear->listener);
}

static void
calm(void)
{
    (void)kva_pressure_update(0, LIMIT);
    (void)kva_pressure_tell(0);
}

/* The level as its definition says. */
static enum kva_pressure
expected(enum kva_pressure level, size_t used)
{
    static const size_t enter[] = { 0, 800, 900, 970 };

    for (unsigned i = KVA_PRESSURE_OOM; i > level; i--) {
        if (used >= enter[i]) {
            return (enum kva_pressure)i;
        }
    }
    for (unsigned i = level; i > 0; i--) {
        if (used >= enter[i] - 30) {
            return (enum kva_pressure)i;
        }
    }
    return KVA_PRESSURE_NONE;
}

static void
every_transition(struct test_ctx *t)
{
    static const size_t used[] = { 0,   769, 770, 799, 800, 869, 870,  899,
                                   900, 939, 940, 969, 970, 999, 1000, 2000 };
    bool seen[KVA_PRESSURES][KVA_PRESSURES] = { { false } };
    unsigned long entered[KVA_PRESSURES] = { 0 };
    enum kva_pressure level = KVA_PRESSURE_NONE;
    struct kva_pressure_stat before, after;

    calm();
    kva_pressure_stat(&before);
    for (unsigned long n = 0; n < t->count; n++) {
        size_t now = used[test_rand_below(t, KVA_COUNT(used))];
        enum kva_pressure next = expected(level, now);

        (void)kva_pressure_update(now, LIMIT);
        CHECK_EQ(kva_pressure(), next);
        seen[level][next] = true;
        for (unsigned i = level + 1; i <= next; i++) {
            entered[i]++; /* those in between, too */
        }
        level = next;
    }
    kva_pressure_stat(&after);
    CHECK_EQ(after.level, level);
    for (unsigned i = 0; i < KVA_PRESSURES; i++) {
        CHECK_EQ(after.entered[i] - before.entered[i], entered[i]);
    }
    for (unsigned i = 0; i < KVA_PRESSURES; i++) {
        for (unsigned j = 0; j < KVA_PRESSURES; j++) {
            CHECK(seen[i][j]);
        }
    }
    (void)kva_pressure_update(5, 0); /* no limit, no pressure */
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_NONE);
    calm();
}

static void
events(struct test_ctx *t)
{
    struct ear a, b;
    uint64_t now = 5 * SECOND, again;

    (void)t;
    calm();
    listen_to(&a);
    listen_to(&b);
    CHECK(!kva_pressure_update(700, LIMIT));
    CHECK_EQ(kva_pressure_tell(now), 0);
    CHECK_EQ(a.told, 0);
    CHECK(kva_pressure_update(910, LIMIT));
    CHECK_EQ(kva_pressure_tell(now), 0);
    CHECK_EQ(a.told, 1);
    CHECK_EQ(b.told, 1);
    CHECK_EQ(a.level, KVA_PRESSURE_MEDIUM);
    CHECK_EQ(kva_pressure_tell(now), 0); /* once */
    CHECK_EQ(a.told, 1);
    kva_pressure_unlisten(&b.listener);
    CHECK(kva_pressure_update(800, LIMIT));
    CHECK_EQ(kva_pressure_tell(now + 1), 0); /* another level, at once */
    CHECK_EQ(a.level, KVA_PRESSURE_LOW);
    CHECK_EQ(b.told, 1);
    CHECK(kva_pressure_update(950, LIMIT));
    again = kva_pressure_tell(now + 2); /* medium a second time: later */
    CHECK_EQ(again, now + SECOND);
    CHECK_EQ(a.told, 2);
    CHECK_EQ(kva_pressure_tell(again), 0); /* and not lost */
    CHECK_EQ(a.told, 3);
    CHECK_EQ(a.level, KVA_PRESSURE_MEDIUM);
    (void)kva_pressure_update(0, LIMIT);
    (void)kva_pressure_update(950, LIMIT); /* came and went: nothing to tell */
    CHECK_EQ(kva_pressure_tell(now + 9 * SECOND), 0);
    CHECK_EQ(a.told, 3);
    kva_pressure_unlisten(&a.listener);
    calm();
}

/* On the edge, ten changes in a millisecond for ten seconds. */
static void
once_a_second(struct test_ctx *t)
{
    struct kva_pressure_stat before, after;
    uint64_t now = 100 * SECOND;
    struct ear a;

    (void)t;
    calm();
    listen_to(&a);
    kva_pressure_stat(&before);
    for (unsigned ms = 0; ms < 10000; ms++, now += SECOND / 1000) {
        for (unsigned i = 0; i < 10; i++) {
            (void)kva_pressure_update(i % 2 == 0 ? 800 : 769, LIMIT);
        }
        (void)kva_pressure_update(ms % 2 == 0 ? 800 : 769, LIMIT);
        (void)kva_pressure_tell(now);
    }
    kva_pressure_stat(&after);
    CHECK_GE(after.entered[KVA_PRESSURE_LOW] - before.entered[KVA_PRESSURE_LOW],
             10000);
    CHECK_LE(after.told[KVA_PRESSURE_LOW] - before.told[KVA_PRESSURE_LOW], 10);
    CHECK_LE(after.told[KVA_PRESSURE_NONE] - before.told[KVA_PRESSURE_NONE],
             10);
    CHECK_LE(a.told, 20);
    CHECK_GE(a.told, 10);
    kva_pressure_unlisten(&a.listener);
    calm();
}

/*
 * Levels at random moments: what is told is what there is, at once if that level
 * was told a second ago or never, else when its second is over and not later;
 * and from every level to every other one.
 */
struct diary {
    struct kva_pressure_listener listener;
    uint64_t now;
    uint64_t last[KVA_PRESSURES]; /* 0: never */
    enum kva_pressure told;
    bool seen[KVA_PRESSURES][KVA_PRESSURES];
};

static void
write_down(void *arg, enum kva_pressure level)
{
    struct diary *d = arg;

    CHECK_EQ(level, kva_pressure());
    CHECK_NE(level, d->told);
    CHECK(d->last[level] == 0 || d->now - d->last[level] >= SECOND);
    d->seen[d->told][level] = true;
    d->last[level] = d->now;
    d->told = level;
}

static void
pass_on(struct diary *d, unsigned level)
{
    static const size_t used[] = { 0, 850, 930, 1000 };
    uint64_t again;

    (void)kva_pressure_update(used[level], LIMIT);
    CHECK_EQ(kva_pressure(), level);
    again = kva_pressure_tell(d->now);
    if (again == 0) {
        CHECK_EQ(d->told, level);
    } else {
        CHECK_EQ(again, d->last[level] + SECOND);
        CHECK_GT(again, d->now);
        CHECK_NE(d->told, level);
    }
}

static void
events_of_every_transition(struct test_ctx *t)
{
    struct diary d = { .listener = { .fn = write_down, .arg = &d },
                       .now = 1000 * SECOND };

    calm();
    kva_pressure_listen(&d.listener);
    for (unsigned i = 0; i < KVA_PRESSURES; i++) {
        for (unsigned j = 0; j < KVA_PRESSURES; j++) {
            d.now += 2 * SECOND;
            pass_on(&d, i);
            d.now += 2 * SECOND;
            pass_on(&d, j);
            CHECK(i == j || d.seen[i][j]);
        }
    }
    for (unsigned long n = 0; n < t->count; n++) {
        d.now += test_rand_below(t, SECOND / 2);
        pass_on(&d, (unsigned)test_rand_below(t, KVA_PRESSURES));
    }
    kva_pressure_unlisten(&d.listener);
    calm();
}

static void
bounds_of_ones_own(struct test_ctx *t)
{
    static const unsigned good[2][4] = { { 0, 50, 60, 70 }, { 0, 40, 55, 65 } };
    static const unsigned full[2][4] = { { 0, 50, 60, 100 }, { 0, 1, 2, 65 } };
    static const unsigned usual[2][4] = { { 0, 80, 90, 97 },
                                          { 0, 77, 87, 94 } };
    static const unsigned bad[][2][4] = {
        { { 0, 50, 60, 70 }, { 0, 50, 55, 65 } },  /* left where entered */
        { { 0, 50, 50, 70 }, { 0, 40, 45, 65 } },  /* two at once */
        { { 0, 50, 60, 70 }, { 0, 45, 44, 65 } },  /* left out of order */
        { { 0, 50, 60, 70 }, { 0, 45, 45, 65 } },  /* two at once */
        { { 0, 50, 60, 101 }, { 0, 40, 55, 65 } }, /* never */
    };

    (void)t;
    calm();
    for (unsigned i = 0; i < KVA_COUNT(bad); i++) {
        CHECK_EQ(kva_pressure_configure(bad[i][0], bad[i][1]), KVA_EINVAL);
    }
    CHECK_EQ(kva_pressure_configure(good[0], good[1]), 0);
    (void)kva_pressure_update(500, LIMIT);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_LOW);
    (void)kva_pressure_update(400, LIMIT);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_LOW);
    (void)kva_pressure_update(399, LIMIT);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_NONE);
    CHECK_EQ(kva_pressure_configure(full[0], full[1]), 0);
    (void)kva_pressure_update(LIMIT - 1, LIMIT);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_MEDIUM);
    (void)kva_pressure_update(LIMIT, LIMIT);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_OOM);
    CHECK_EQ(kva_pressure_configure(usual[0], usual[1]), 0);
    calm();
}

/* Percent of any limit, to the unit: a level is entered by n percent and left
 * by less than that. */
static void
small_limits(struct test_ctx *t)
{
    static const size_t in[] = { 0, 80, 90, 97 }, out[] = { 0, 77, 87, 94 };

    (void)t;
    for (size_t limit = 1; limit <= 230; limit++) {
        size_t level = 0;

        calm();
        for (size_t n = 0; n <= 2 * limit; n++) { /* up, and down again */
            size_t used = n <= limit ? n : 2 * limit - n;

            while (level < 3 && used * 100 >= in[level + 1] * limit) {
                level++;
            }
            while (level > 0 && used * 100 < out[level] * limit) {
                level--;
            }
            (void)kva_pressure_update(used, limit);
            CHECK_EQ(kva_pressure(), level);
        }
    }
    { /* and for one of which a percent is more than half a word */
        size_t percent = SIZE_MAX / 100;

        calm();
        for (unsigned i = 1; i < 4; i++) {
            (void)kva_pressure_update(in[i] * percent - 1, 100 * percent);
            CHECK_EQ(kva_pressure(), i - 1);
            (void)kva_pressure_update(in[i] * percent, 100 * percent);
            CHECK_EQ(kva_pressure(), i);
        }
        calm();
    }
    (void)kva_pressure_outside(0, 3); /* nobody waits */
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_NONE);
    (void)kva_pressure_outside(1, 3);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_MEDIUM);
    CHECK_EQ(kva__pressure_of_pages(), KVA_PRESSURE_NONE);
    (void)kva_pressure_outside(0, 0);
    calm();
}

/* Who read the clock first and tells last does not tell it twice a second. */
static void
clocks_are_read_before(struct test_ctx *t)
{
    uint64_t now = 5000 * SECOND;
    struct ear a;

    (void)t;
    calm();
    listen_to(&a);
    (void)kva_pressure_update(850, LIMIT);
    CHECK_EQ(kva_pressure_tell(now), 0);
    (void)kva_pressure_update(0, LIMIT);
    CHECK_EQ(kva_pressure_tell(now), 0);
    (void)kva_pressure_update(850, LIMIT);
    CHECK_EQ(kva_pressure_tell(now - 5), now + SECOND);
    CHECK_EQ(a.told, 2);
    CHECK_EQ(kva_pressure_tell(now + SECOND - 1), now + SECOND);
    CHECK_EQ(a.told, 2);
    CHECK_EQ(kva_pressure_tell(now + SECOND), 0);
    CHECK_EQ(a.told, 3);
    kva_pressure_unlisten(&a.listener);
    calm();
}

/* Who is told takes another one off, which is not told any more. */
static void
unlisten_other(void *arg, enum kva_pressure level)
{
    (void)level;
    kva_pressure_unlisten(arg);
}

static void
one_takes_another_off(struct test_ctx *t)
{
    struct kva_pressure_listener l = { .fn = unlisten_other };
    struct ear a;

    (void)t;
    PORT(NULL);
    calm();
    listen_to(&a);
    l.arg = &a.listener;
    kva_pressure_listen(&l); /* it is told first */
    (void)kva_pressure_update(850, LIMIT);
    CHECK_EQ(kva_pressure_tell(0), 0);
    CHECK_EQ(a.told, 0);
    kva_pressure_unlisten(&l);
    calm();
}

/* Who is told has another one listen, whose first event is the next one. */
static void
listen_too(void *arg, enum kva_pressure level)
{
    (void)level;
    kva_pressure_listen(arg);
}

static void
who_comes_is_told_the_next(struct test_ctx *t)
{
    struct kva_pressure_listener l;
    struct ear a = { .listener = { .fn = hear, .arg = &a } };

    (void)t;
    calm();
    memset(&l, 1, sizeof(l)); /* what is private may be anything */
    l.fn = listen_too;
    l.arg = &a.listener;
    kva_pressure_listen(&l);
    kva_pressure_unlisten(&l); /* does not wait for what never ran */
    kva_pressure_listen(&l);
    (void)kva_pressure_update(850, LIMIT);
    CHECK_EQ(kva_pressure_tell(0), 0);
    CHECK_EQ(a.told, 0);
    kva_pressure_unlisten(&l);
    (void)kva_pressure_update(950, LIMIT);
    CHECK_EQ(kva_pressure_tell(0), 0);
    CHECK_EQ(a.told, 1);
    CHECK_EQ(a.level, KVA_PRESSURE_MEDIUM);
    kva_pressure_unlisten(&a.listener);
    calm();
}

/* While it is told, the level changes once more, and somebody tells that: he is
 * not let in, and who tells goes on. */
static void
change_and_tell(void *arg, enum kva_pressure level)
{
    struct ear *ear = arg;
    unsigned told = ear->told + 1;

    hear(arg, level);
    if (level == KVA_PRESSURE_LOW) {
        (void)kva_pressure_update(950, LIMIT);
        CHECK_EQ(kva_pressure_tell(0), 0);
        CHECK_EQ(ear->told, told);
    }
}

static void
levels_change_meanwhile(struct test_ctx *t)
{
    struct kva_pressure_stat before, after;
    struct ear a;

    (void)t;
    calm();
    kva_pressure_stat(&before);
    a = (struct ear){ .listener = { .fn = change_and_tell, .arg = &a } };
    kva_pressure_listen(&a.listener);
    (void)kva_pressure_update(850, LIMIT);
    CHECK_EQ(kva_pressure_tell(0), 0);
    CHECK_EQ(a.told, 2);
    CHECK_EQ(a.level, KVA_PRESSURE_MEDIUM);
    kva_pressure_stat(&after);
    for (unsigned i = 0; i < KVA_PRESSURES; i++) {
        CHECK_EQ(after.told[i] - before.told[i],
                 i == KVA_PRESSURE_LOW || i == KVA_PRESSURE_MEDIUM ? 1 : 0);
    }
    kva_pressure_unlisten(&a.listener);
    calm();
}

/* The first event comes at once, however early; and without a clock all do. */
static void
pauses_are_of_the_clock(struct test_ctx *t)
{
    struct ear a;

    (void)t;
    listen_to(&a);
    (void)kva_pressure_update(850, LIMIT);
    CHECK_EQ(kva_pressure_tell(5), 0);
    CHECK_EQ(a.told, 1);
    (void)kva_pressure_update(0, LIMIT);
    CHECK_EQ(kva_pressure_tell(6), 0);
    CHECK_EQ(a.told, 2);
    (void)kva_pressure_update(850, LIMIT);
    CHECK_EQ(kva_pressure_tell(7), SECOND + 5);
    CHECK_EQ(a.told, 2);
    CHECK_EQ(kva_pressure_tell(0), 0);
    CHECK_EQ(a.told, 3);
    kva_pressure_unlisten(&a.listener);
    calm();
}

static unsigned itself;

static void
unlisten_itself(void *arg, enum kva_pressure level)
{
    struct kva_pressure_listener *l = arg;

    (void)level;
    if (kva_reserve_enter() == 0) { /* tasks are known */
        kva_reserve_leave();
        itself++;
        CHECK_PANIC(kva_pressure_unlisten(l),
                    "kva_pressure_unlisten: listener pressure: 0x%lx: expected "
                    "another one than who calls, found itself",
                    (unsigned long)(uintptr_t)l);
    }
}

static void
misuse_is_told(struct test_ctx *t)
{
    struct kva_pressure_listener l = { .arg = &l }, other = { .fn = hear };
    unsigned long at = (unsigned long)(uintptr_t)&l;

    (void)t;
    PORT(NULL);
    calm();
    CHECK_PANIC(kva_pressure_listen(&l),
                "kva_pressure_listen: listener pressure: 0x%lx: expected a "
                "function and one that does not listen, found no function",
                at);
    CHECK_PANIC(kva_pressure_unlisten(&l),
                "kva_pressure_unlisten: listener pressure: 0x%lx: expected one "
                "that listens, found it not",
                at);
    l.fn = unlisten_itself;
    kva_pressure_listen(&l);
    other.arg = &(struct ear){ .told = 0 };
    kva_pressure_listen(&other);
    CHECK_PANIC(kva_pressure_listen(&l),
                "kva_pressure_listen: listener pressure: 0x%lx: expected a "
                "function and one that does not listen, found it listening",
                at);
    (void)kva_pressure_update(850, LIMIT);
    CHECK_EQ(kva_pressure_tell(0), 0); /* and comes to an end */
    CHECK_EQ(itself, KVA_TASK_MARK ? 1 : 0);
    kva_pressure_unlisten(&l);
    kva_pressure_unlisten(&other);
    calm();
}

/* ---- threads ------------------------------------------------------------ */

static unsigned stop;

static void *
teller(void *arg)
{
    (void)arg;
    while (__atomic_load_n(&stop, __ATOMIC_RELAXED) == 0) {
        (void)kva_pressure_tell(0);
    }
    return NULL;
}

static void
hear_slowly(void *arg, enum kva_pressure level)
{
    (void)level;
    slow_call_run(arg);
}

static void *
tell_once(void *arg)
{
    (void)arg;
    (void)kva_pressure_tell(0);
    return NULL;
}

static void
unlisten_waits_for_the_call(struct test_ctx *t)
{
    calm();
    for (unsigned long n = 0; n < t->count; n++) {
        struct slow_call slow = { .left = 0 };
        struct kva_pressure_listener l = { .fn = hear_slowly, .arg = &slow };
        pthread_t thread;

        kva_pressure_listen(&l);
        (void)kva_pressure_update(990, LIMIT);
        CHECK_EQ(pthread_create(&thread, NULL, tell_once, NULL), 0);
        slow_call_let_go(&slow);
        kva_pressure_unlisten(&l);
        CHECK(slow_call_left(&slow));
        CHECK_EQ(pthread_join(thread, NULL), 0);
        calm();
    }
}

struct counted {
    struct kva_pressure_listener listener;
    unsigned live; /* 0: must not be called */
};

static void
hear_if_live(void *arg, enum kva_pressure level)
{
    struct counted *c = arg;

    (void)level;
    CHECK_EQ(__atomic_load_n(&c->live, __ATOMIC_RELAXED), 1);
    kva_port_relax();
}

static void
unlisten_while_told(struct test_ctx *t)
{
    struct counted c = { .listener = { .fn = hear_if_live, .arg = &c } };
    pthread_t thread;

    calm();
    stop = 0;
    CHECK_EQ(pthread_create(&thread, NULL, teller, NULL), 0);
    for (unsigned long n = 0; n < t->count; n++) {
        __atomic_store_n(&c.live, 1, __ATOMIC_RELAXED);
        kva_pressure_listen(&c.listener);
        (void)kva_pressure_update(n % 2 == 0 ? 990 : 0, LIMIT);
        kva_pressure_unlisten(&c.listener);
        __atomic_store_n(&c.live, 0, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    calm();
}

const struct test pressure_tests[] = {
    TEST_COUNT("pressure", every_transition, 3000, 100000, 1000000),
    TEST("pressure", events),
    TEST("pressure", once_a_second),
    TEST_COUNT("pressure", events_of_every_transition, 3000, 100000, 10000000),
    TEST("pressure", bounds_of_ones_own),
    TEST("pressure", small_limits),
    TEST("pressure", clocks_are_read_before),
    TEST("pressure", one_takes_another_off),
    TEST("pressure", levels_change_meanwhile),
    TEST("pressure", pauses_are_of_the_clock),
    TEST("pressure", who_comes_is_told_the_next),
    TEST("pressure", misuse_is_told),
    TEST_THREADS("pressure", unlisten_waits_for_the_call, 0, 10, 200, 2000),
    TEST_THREADS("pressure", unlisten_while_told, 0, 300, 10000, 1000000),
    TEST_END,
};
