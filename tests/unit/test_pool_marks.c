/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Marks that act: each test here fails if the mark does nothing.  (For four
 * years NetBSD's high-water mark did nothing, and nobody noticed.)  For pools
 * and for caches; and the upkeep of magazines, without which a cache would keep
 * what it once had.
 */
#include <pthread.h>
#include <sched.h>

#include "tests/unit/tower.h"

static size_t
slabs_of(struct kva_pool *pp)
{
    struct kva_pool_stat st;

    kva_pool_stat(pp, &st);
    return st.slabs;
}

static size_t
free_of(struct kva_pool *pp)
{
    struct kva_pool_stat st;

    kva_pool_stat(pp, &st);
    return st.slabs * st.objects_per_slab - st.objects_out;
}

/* ---- high water ---------------------------------------------------------- */

/* Slabs that come and go while objects do, between none and 210. */
static unsigned
churn(struct kva_pool *pp)
{
    static void *object[210];
    struct kva_posix_stats before, after;

    kva_posix_stats_get(&before);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            object[i] = kva_pool_get(pp, PR_NOWAIT);
            CHECK(object[i] != NULL);
        }
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            kva_pool_put(pp, object[i]);
        }
        if (pp->hiwat != KVA__POOL_NONE) {
            CHECK_LE(slabs_of(pp) * pp->nobj, pp->hiwat);
        }
    }
    kva_posix_stats_get(&after);
    return (unsigned)(after.page_gets - before.page_gets);
}

/*
 * Claim: under churn a pool keeps what the mark allows, and no more; with a
 * mark as high as the churn nothing comes or goes; without one almost all does,
 * so the mark is what did it.
 */
static void
high_water_holds_under_churn(struct test_ctx *t)
{
    struct kva_pool pp;
    size_t kept;

    (void)t;
    tower_start(0);
    CHECK_EQ(kva_pool_init(&pp, 192, 0, 0, 0, "churn", NULL, KVA_IPL_NONE), 0);
    kva_pool_sethiwat(&pp, 100);
    (void)churn(&pp);
    CHECK_EQ(slabs_of(&pp), 4);
    kva_pool_sethiwat(&pp, 210);
    (void)churn(&pp);
    kept = slabs_of(&pp);
    CHECK_EQ(kept, 10);
    {
        size_t released = kva__pool_released(&pp);

        (void)churn(&pp);
        CHECK_EQ(kva__pool_released(&pp), released);
        kva_pool_sethiwat(&pp, 0);
        CHECK_EQ(slabs_of(&pp), 0);
        (void)churn(&pp);
        CHECK_EQ(kva__pool_released(&pp) - released,
                 (10 + 20 * 10) * pp.slab_bytes);
    }
    kva_pool_destroy(&pp);
    tower_end();
}

/* A cache's too: what leaves its magazines meets the mark. */
static void
high_water_of_a_cache(struct test_ctx *t)
{
    static void *object[2100];
    pool_cache_t pc;

    (void)t;
    tower_start(0);
    pc = kva_pool_cache_init(192, 0, 0, 0, "hiwat", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    for (int mark = 0; mark <= 1050; mark += 525) {
        kva_pool_cache_sethiwat(pc, mark);
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            object[i] = kva_pool_cache_get(pc, PR_NOWAIT);
            CHECK(object[i] != NULL);
        }
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            kva_pool_cache_put(pc, object[i]);
        }
        kva_pool_cache_invalidate(pc);
        CHECK_EQ(slabs_of(&pc->slabs), (unsigned)mark / pc->slabs.nobj);
    }
    kva_pool_cache_destroy(pc);
    tower_end();
}

/* ---- low water and prime ---------------------------------------------------- */

/*
 * Claim: where memory is short the mark cannot be held, and no get fails for
 * it; when memory is back, the next get, or pool_update, makes up for it.
 */
static void
low_water_is_made_up_for(struct test_ctx *t)
{
    struct kva_pool pp;
    void *object[50];

    (void)t;
    tower_start(0);
    CHECK_EQ(kva_pool_init(&pp, 192, 0, 0, 0, "lowat", NULL, KVA_IPL_NONE), 0);
    kva_pool_setlowat(&pp, 60);
    CHECK_GE(free_of(&pp), 60);
    for (unsigned update = 0; update < 2; update++) {
        (void)kva_pool_drain_all(); /* nothing in store below */
        kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            object[i] = kva_pool_get(&pp, PR_NOWAIT);
            CHECK(object[i] != NULL);
        }
        CHECK_LT(free_of(&pp), 60);
        kva_posix_fault_reset();
        if (update != 0) {
            kva_pool_update();
            CHECK_GE(free_of(&pp), 60);
        }
        kva_pool_put(&pp, object[0]);
        object[0] = kva_pool_get(&pp, PR_NOWAIT);
        CHECK_GE(free_of(&pp), 60);
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            kva_pool_put(&pp, object[i]);
        }
    }
    kva_pool_destroy(&pp);
    tower_end();
}

/* Through the magazines: what they take counts as got. */
static void
low_water_of_a_cache(struct test_ctx *t)
{
    static void *object[500];
    pool_cache_t pc;

    (void)t;
    tower_start(0);
    pc = kva_pool_cache_init(192, 0, 0, 0, "lowat", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    kva_pool_cache_setlowat(pc, 100);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        object[i] = kva_pool_cache_get(pc, PR_NOWAIT);
        CHECK_GE(free_of(&pc->slabs), 100);
    }
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        kva_pool_cache_put(pc, object[i]);
    }
    (void)kva_pool_cache_reclaim(pc);
    CHECK_GE(free_of(&pc->slabs), 100);
    CHECK_LT(free_of(&pc->slabs), 100 + pc->slabs.nobj);
    kva_pool_cache_destroy(pc);
    tower_end();
}

/* Primed objects are there when there is no memory; after a drain, too. */
static void
primed_cache_needs_no_memory(struct test_ctx *t)
{
    static void *object[200];
    pool_cache_t pc;

    (void)t;
    tower_start(0);
    pc = kva_pool_cache_init(192, 0, 0, 0, "prime", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    CHECK_EQ(kva_pool_cache_prime(pc, KVA_COUNT(object)), 0);
    for (unsigned round = 0; round < 2; round++) {
        kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            object[i] = kva_pool_cache_get(pc, PR_NOWAIT);
            CHECK(object[i] != NULL);
        }
        kva_posix_fault_reset();
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            kva_pool_cache_put(pc, object[i]);
        }
        (void)kva_pool_cache_reclaim(pc);
        CHECK_GE(free_of(&pc->slabs), KVA_COUNT(object));
    }
    kva_pool_cache_destroy(pc);
    tower_end();
}

/* ---- the hard limit ------------------------------------------------------------ */

#define WAITERS 5

static struct {
    struct kva_pool pp;
    pthread_t thread[WAITERS];
    unsigned order[WAITERS];
    unsigned served;
} turns;

/* Whoever has the only object is alone. */
static void *
wait_for_turn(void *arg)
{
    void *p = kva_pool_get(&turns.pp, PR_WAITOK);

    CHECK(p != NULL);
    turns.order[turns.served++] = *(unsigned *)arg;
    kva_pool_put(&turns.pp, p);
    return NULL;
}

/* Claim: an object that comes back is for the oldest who waits. */
static void
limit_serves_the_oldest(struct test_ctx *t)
{
    unsigned number[WAITERS];
    void *only;

    (void)t;
    tower_start(0);
    CHECK_EQ(
        kva_pool_init(&turns.pp, 192, 0, 0, 0, "turns", NULL, KVA_IPL_NONE), 0);
    kva_pool_sethardlimit(&turns.pp, 1, NULL, 0);
    only = kva_pool_get(&turns.pp, PR_NOWAIT);
    for (unsigned i = 0; i < WAITERS; i++) {
        number[i] = i;
        CHECK_EQ(
            pthread_create(&turns.thread[i], NULL, wait_for_turn, &number[i]),
            0);
        while (kva_posix_waiters() != i + 1) {
            (void)sched_yield();
        }
    }
    kva_pool_put(&turns.pp, only);
    for (unsigned i = 0; i < WAITERS; i++) {
        CHECK_EQ(pthread_join(turns.thread[i], NULL), 0);
    }
    CHECK_EQ(turns.served, WAITERS);
    for (unsigned i = 0; i < WAITERS; i++) {
        CHECK_EQ(turns.order[i], i);
    }
    kva_pool_destroy(&turns.pp);
    tower_end();
}

static unsigned lines;

static void
count_line(void *arg, const char *msg)
{
    (void)arg;
    (void)msg;
    lines++;
}

/* What a limit of 2 says in 60 seconds of a get each second. */
static unsigned
lines_in_a_minute(int cap, bool waiting)
{
    struct kva_pool_stat st;
    struct kva_pool pp;
    void *object[2];
    int flags = waiting ? (int)(PR_WAITOK | PR_LIMITFAIL) : (int)PR_NOWAIT;

    lines = 0;
    CHECK_EQ(kva_pool_init(&pp, 192, 0, 0, 0, "limit", NULL, KVA_IPL_NONE), 0);
    kva_pool_sethardlimit(&pp, 2, "enough", cap);
    object[0] = kva_pool_get(&pp, PR_NOWAIT);
    object[1] = kva_pool_get(&pp, PR_NOWAIT);
    for (unsigned s = 0; s < 60; s++) {
        CHECK(kva_pool_get(&pp, flags) == NULL);
        kva_posix_clock_advance(1000000000);
    }
    kva_pool_stat(&pp, &st);
    CHECK_EQ(st.limit_hits, 60);
    CHECK_EQ(st.fails, 60);
    kva_pool_put(&pp, object[0]);
    kva_pool_put(&pp, object[1]);
    kva_pool_destroy(&pp);
    return lines;
}

/* Claim: the message comes at most once in so many seconds, and each time
 * without a cap; failing under PR_LIMITFAIL says it too. */
static void
limit_message_is_capped(struct test_ctx *t)
{
    (void)t;
    tower_start(0);
    kva_posix_clock_virtual(true);
    kva_posix_log_set(count_line, NULL);
    CHECK_EQ(lines_in_a_minute(0, false), 60);
    CHECK_EQ(lines_in_a_minute(1, false), 60);
    CHECK_EQ(lines_in_a_minute(7, false), 9);
    CHECK_EQ(lines_in_a_minute(60, true), 1);
    kva_posix_log_set(NULL, NULL);
    tower_end();
}

/* PR_LIMITFAIL against waiting: the same get sleeps without it. */
static unsigned slept;

static void
give_up(void *arg, const void *channel)
{
    (void)arg;
    (void)channel;
    slept++;
    (void)kva_posix_cancel_waits();
}

static void
limitfail_does_not_wait(struct test_ctx *t)
{
    pool_cache_t pc;
    struct kva_pool pp;
    void *p, *q;

    (void)t;
    tower_start(0);
    CHECK_EQ(kva_pool_init(&pp, 192, 0, 0, 0, "limit", NULL, KVA_IPL_NONE), 0);
    pc = kva_pool_cache_init(192, 0, 0, 0, "limit", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    kva_pool_sethardlimit(&pp, 1, NULL, 0);
    kva_pool_cache_sethardlimit(pc, 1, NULL, 0);
    p = kva_pool_get(&pp, PR_WAITOK);
    q = kva_pool_cache_get(pc, PR_WAITOK);
    slept = 0;
    kva_posix_wait_hook(give_up, NULL);
    CHECK(kva_pool_get(&pp, PR_WAITOK | PR_LIMITFAIL) == NULL);
    CHECK(kva_pool_cache_get(pc, PR_WAITOK | PR_LIMITFAIL) == NULL);
    CHECK_EQ(slept, 0);
    CHECK(kva_pool_get(&pp, PR_WAITOK) == NULL);
    CHECK_EQ(slept, 1);
    CHECK(kva_pool_cache_get(pc, PR_WAITOK) == NULL);
    CHECK_EQ(slept, 2);
    kva_posix_wait_hook(NULL, NULL);
    kva_pool_put(&pp, p);
    kva_pool_cache_put(pc, q);
    kva_pool_destroy(&pp);
    kva_pool_cache_destroy(pc);
    tower_end();
}

/* ---- upkeep -------------------------------------------------------------------- */

/* Objects through the depot: CPU 0 gets what CPU 1 puts. */
static void
pass_on(pool_cache_t pc, unsigned n)
{
    static void *object[40000];

    CHECK_LE(n, KVA_COUNT(object));
    CHECK_EQ(kva_posix_cpu_set(0), 0);
    for (unsigned i = 0; i < n; i++) {
        object[i] = kva_pool_cache_get(pc, PR_NOWAIT);
        CHECK(object[i] != NULL);
    }
    CHECK_EQ(kva_posix_cpu_set(1), 0);
    for (unsigned i = 0; i < n; i++) {
        kva_pool_cache_put(pc, object[i]);
    }
}

/*
 * Claim: magazines grow while many objects go through them, and where little
 * does, each update halves them; what lay in the depot from one update to the
 * next goes back to the slabs.
 */
static void
magazines_follow_traffic(struct test_ctx *t)
{
    struct kva_pool_stat st;
    pool_cache_t pc;
    size_t small, large;

    (void)t;
    tower_start(0);
    pc = kva_pool_cache_init(192, 0, 0, 0, "traffic", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    kva_pool_cache_stat(pc, &st);
    small = st.objects_per_magazine;
    for (unsigned i = 0; i < 4; i++) {
        pass_on(pc, 40000);
    }
    kva_pool_cache_stat(pc, &st);
    large = st.objects_per_magazine;
    CHECK_GE(large, 4 * small);
    CHECK_GT(pc->mags.nfull, 0);
    kva_pool_update(); /* begins an interval */
    for (unsigned i = 0; i < 5; i++) {
        kva_pool_update();
    }
    kva_pool_cache_stat(pc, &st);
    CHECK_EQ(pc->mags.nfull, 0);
    CHECK_EQ(pc->mags.nempty, 0);
    CHECK_EQ(st.objects_per_magazine, small);
    kva_pool_cache_destroy(pc);
    tower_end();
}

/* Claim: what was of use in an interval stays in the depot. */
static void
working_set_stays(struct test_ctx *t)
{
    pool_cache_t pc;
    size_t rounds;

    (void)t;
    tower_start(0);
    pc = kva_pool_cache_init(192, 0, 0, 0, "set", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    for (unsigned i = 0; i < 3; i++) {
        pass_on(pc, 100);
    }
    CHECK_EQ(pc->mags.nfull, 2);
    kva_pool_update();
    pass_on(pc, 100); /* both went and came */
    kva_pool_update();
    CHECK_EQ(pc->mags.nfull, 2);
    rounds = kva__magcache_rounds(&pc->mags);
    kva_pool_update(); /* nobody came */
    CHECK_EQ(pc->mags.nfull, 0);
    CHECK_LT(kva__magcache_rounds(&pc->mags), rounds);
    kva_pool_cache_destroy(pc);
    tower_end();
}

/* ---- drain by bytes --------------------------------------------------------------- */

/*
 * Claim: a drain of so many bytes gives back that much, less than a slab more,
 * and leaves the rest; and what is to be retained in magazines is, to the
 * object, wherever it lies.
 */
static void
drains_are_exact(struct test_ctx *t)
{
    pool_cache_t pc;
    struct kva_pool_stat st;

    tower_start(0);
    pc = kva_pool_cache_init(192, 0, 0, 0, "drain", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    for (unsigned long i = 0; i < t->count; i++) {
        size_t bytes = (size_t)test_rand_below(t, 100) * 1000 + 1, done;
        size_t keep = (size_t)test_rand_below(t, 120), slabs, had;

        kva_pool_cache_sethiwat(pc, 4000); /* empty slabs to choose from */
        pass_on(pc, 3000);
        slabs = slabs_of(&pc->slabs);
        done = kva_pool_cache_drain(pc, bytes, SIZE_MAX);
        CHECK_GE(done, bytes);
        CHECK_LT(done, bytes + pc->slabs.slab_bytes);
        CHECK_EQ((slabs - slabs_of(&pc->slabs)) * pc->slabs.slab_bytes, done);
        had = kva__magcache_rounds(&pc->mags);
        (void)kva_pool_cache_drain(pc, SIZE_MAX, keep * 192);
        kva_pool_cache_stat(pc, &st);
        CHECK_EQ(st.objects_cached, keep < had ? keep : had);
        CHECK_EQ(st.slabs_empty, 0);
        CHECK_EQ(kva_pool_cache_drain(pc, 0, 0), 0);
    }
    kva_pool_cache_destroy(pc);
    tower_end();
}

const struct test pool_marks_tests[] = {
    TEST("pool_marks", high_water_holds_under_churn),
    TEST("pool_marks", high_water_of_a_cache),
    TEST("pool_marks", low_water_is_made_up_for),
    TEST("pool_marks", low_water_of_a_cache),
    TEST("pool_marks", primed_cache_needs_no_memory),
    TEST("pool_marks", limit_serves_the_oldest),
    TEST("pool_marks", limit_message_is_capped),
    TEST("pool_marks", limitfail_does_not_wait),
    TEST("pool_marks", magazines_follow_traffic),
    TEST("pool_marks", working_set_stays),
    TEST_COUNT("pool_marks", drains_are_exact, 20, 300, 3000),
    TEST_END
};
