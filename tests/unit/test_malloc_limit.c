/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Limits of malloc types.  Claims: never is more taken than the limit, whatever
 * threads do, and at rest all counts are exact; sleepers are granted in the
 * order in which they came, each woken once, when what he wants is his; at most
 * 64 younger grants pass the oldest; new limits are for sleepers as well.
 *
 * Sleepers are threads, as in test_wait.c.
 */
#include <pthread.h>
#include <sched.h>

#include "pool/list.h"
#include "tests/unit/tower.h"

#define LIMIT 8192u
#define UNIT 1024u
#define UNITS (LIMIT / UNIT)
#define PASS_MAX 64u /* of malloc_compat/limit.c */

static KVA_MALLOC_DEFINE_LIMIT(M_TIGHT, "tight", "a type with a limit", LIMIT);
static KVA_MALLOC_DEFINE(M_LOOSE, "loose", "a type without");

static struct kva_malloc_stat
stat_of(struct kva_malloc_type *mt)
{
    struct kva_malloc_stat st;

    kva_malloc_type_stat(mt, &st);
    return st;
}

/* ---- sleepers ------------------------------------------------------------ */

struct sleeper {
    pthread_t thread;
    size_t size;
    void *p;
    unsigned order; /* of its return */
};

static unsigned returned;

static void *
sleeper_run(void *arg)
{
    struct sleeper *s = arg;

    s->p = kva_malloc(s->size, M_TIGHT, M_WAITOK | M_CANFAIL);
    s->order = __atomic_fetch_add(&returned, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void
sleeper_start(struct sleeper *s, size_t size)
{
    size_t asleep = kva_posix_waiters();

    s->size = size;
    CHECK_EQ(pthread_create(&s->thread, NULL, sleeper_run, s), 0);
    while (kva_posix_waiters() != asleep + 1) {
        kva_port_relax();
    }
}

static void
sleeper_join(struct sleeper *s, unsigned order)
{
    CHECK_EQ(pthread_join(s->thread, NULL), 0);
    CHECK_EQ(s->order, order);
}

/* The limit taken, in units. */
static void
take_all(void **p)
{
    for (unsigned i = 0; i < UNITS; i++) {
        p[i] = kva_malloc(UNIT, M_TIGHT, M_NOWAIT);
        CHECK(p[i] != NULL);
    }
    CHECK(kva_malloc(1, M_TIGHT, M_NOWAIT) == NULL);
    CHECK_EQ(stat_of(M_TIGHT).bytes, LIMIT);
}

static void
free_units(void **p, unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++) {
        kva_free(p[i], M_TIGHT);
    }
}

/* Nobody else is woken, and the oldest not before all that he wants is there:
 * also for younger ones who want less. */
static void
first_come_first_served(struct test_ctx *t)
{
    struct sleeper s[3];
    void *p[UNITS];

    (void)t;
    tower_start(0);
    take_all(p);
    sleeper_start(&s[0], 2 * UNIT);
    sleeper_start(&s[1], UNIT);
    sleeper_start(&s[2], UNIT);
    free_units(p, 0, 1);
    CHECK_EQ(kva_posix_waiters(), 3);
    free_units(p, 1, 1);
    CHECK_EQ(kva_posix_waiters(), 2);
    CHECK_EQ(stat_of(M_TIGHT).bytes, LIMIT); /* it is his already */
    sleeper_join(&s[0], 0);
    free_units(p, 2, 1);
    CHECK_EQ(kva_posix_waiters(), 1);
    sleeper_join(&s[1], 1);
    free_units(p, 3, 1);
    CHECK_EQ(kva_posix_waiters(), 0);
    sleeper_join(&s[2], 2);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(s[i].p != NULL);
        kva_free(s[i].p, M_TIGHT);
    }
    free_units(p, 4, UNITS - 4);
    CHECK_EQ(stat_of(M_TIGHT).waits, 3);
    CHECK_EQ(stat_of(M_TIGHT).high, LIMIT);
    CHECK_EQ(stat_of(M_TIGHT).active, 0);
    tower_end();
}

static void
one_free_may_serve_many(struct test_ctx *t)
{
    struct sleeper s[4];
    void *p;

    (void)t;
    tower_start(0);
    p = kva_malloc(LIMIT, M_TIGHT, M_NOWAIT);
    for (unsigned i = 0; i < 4; i++) {
        sleeper_start(&s[i], 3 * UNIT);
    }
    kva_free(p, M_TIGHT);
    CHECK_EQ(kva_posix_waiters(), 2);
    CHECK_EQ(stat_of(M_TIGHT).bytes, 2 * kva_malloc_roundup(3 * UNIT));
    CHECK_EQ(pthread_join(s[0].thread, NULL), 0);
    CHECK_EQ(pthread_join(s[1].thread, NULL), 0);
    kva_free(s[0].p, M_TIGHT);
    sleeper_join(&s[2], 2);
    kva_free(s[1].p, M_TIGHT);
    sleeper_join(&s[3], 3);
    kva_free(s[2].p, M_TIGHT);
    kva_free(s[3].p, M_TIGHT);
    CHECK_EQ(stat_of(M_TIGHT).bytes, 0);
    tower_end();
}

/* The oldest is passed, but not for ever. */
static void
few_pass_the_oldest(struct test_ctx *t)
{
    struct sleeper s;
    void *p[UNITS], *q;

    (void)t;
    tower_start(0);
    take_all(p);
    sleeper_start(&s, 2 * UNIT);
    free_units(p, 0, 1);
    for (unsigned i = 0; i < PASS_MAX; i++) {
        q = kva_malloc(UNIT, M_TIGHT, M_NOWAIT);
        CHECK(q != NULL);
        kva_free(q, M_TIGHT);
    }
    CHECK(kva_malloc(UNIT, M_TIGHT, M_NOWAIT) == NULL);
    CHECK_EQ(kva_posix_waiters(), 1);
    free_units(p, 1, 1);
    sleeper_join(&s, 0);
    CHECK(s.p != NULL);
    free_units(p, 2, 1);
    q = kva_malloc(UNIT, M_TIGHT, M_NOWAIT); /* and nobody waits any more */
    CHECK(q != NULL);
    kva_free(q, M_TIGHT);
    kva_free(s.p, M_TIGHT);
    free_units(p, 3, UNITS - 3);
    tower_end();
}

static void
a_new_limit_is_for_sleepers_too(struct test_ctx *t)
{
    struct sleeper s[3];
    void *p[UNITS];

    (void)t;
    tower_start(0);
    take_all(p);
    sleeper_start(&s[0], 4 * UNIT);
    sleeper_start(&s[1], UNIT);
    kva_malloc_type_setlimit(M_TIGHT, 2 * UNIT); /* too little for the first */
    sleeper_join(&s[0], 0);
    CHECK(s[0].p == NULL);
    CHECK_EQ(kva_posix_waiters(), 1);
    free_units(p, 0, UNITS - 2); /* two units are live: still all of it */
    CHECK_EQ(kva_posix_waiters(), 1);
    kva_malloc_type_setlimit(M_TIGHT, 3 * UNIT);
    sleeper_join(&s[1], 1);
    CHECK(s[1].p != NULL);
    sleeper_start(&s[2], UNIT);
    kva_malloc_type_setlimit(M_TIGHT, 0);
    sleeper_join(&s[2], 2);
    CHECK(s[2].p != NULL);
    kva_free(s[1].p, M_TIGHT);
    kva_free(s[2].p, M_TIGHT);
    free_units(p, UNITS - 2, 2);
    kva_malloc_type_setlimit(M_TIGHT, LIMIT);
    CHECK_EQ(stat_of(M_TIGHT).bytes, 0);
    CHECK_EQ(stat_of(M_TIGHT).active, 0);
    tower_end();
}

/* Cancelled by the port: refused, and out of the way of others. */
static void
a_wait_can_be_cancelled(struct test_ctx *t)
{
    struct sleeper s[2];
    unsigned granted;
    void *p[UNITS];

    (void)t;
    tower_start(0);
    take_all(p);
    kva_posix_fault_arm(KVA_POSIX_WAIT, 1, false);
    CHECK(kva_malloc(UNIT, M_TIGHT, M_WAITOK) == NULL);
    CHECK_EQ(stat_of(M_TIGHT).failures, 2);
    sleeper_start(&s[0], 2 * UNIT);
    sleeper_start(&s[1], UNIT);
    free_units(p, 0, 1);
    CHECK_EQ(kva_posix_cancel_waits(), 2);
    CHECK_EQ(pthread_join(s[0].thread, NULL), 0);
    CHECK_EQ(pthread_join(s[1].thread, NULL), 0);
    /* The second one may have been granted when the first one left. */
    CHECK(s[0].p == NULL);
    granted = s[1].p != NULL ? 1 : 0;
    CHECK_EQ(stat_of(M_TIGHT).bytes, LIMIT - UNIT + granted * UNIT);
    CHECK_EQ(stat_of(M_TIGHT).failures, 4 - granted);
    kva_free(s[1].p, M_TIGHT);
    free_units(p, 1, UNITS - 1);
    CHECK_EQ(stat_of(M_TIGHT).active, 0);
    tower_end();
}

/* ---- threads --------------------------------------------------------------- */

#define THREADS 4
#define HELD 6
#define SHARED 64

static struct {
    struct test_ctx *t;
    size_t limit;
    size_t taken; /* of the tight type, as its callers know */
    size_t requests, failures;
    void *shared[SHARED]; /* of the loose type */
    unsigned running;
} stress;

static void
account(size_t bytes)
{
    size_t now = __atomic_add_fetch(&stress.taken, bytes, __ATOMIC_RELAXED);

    CHECK_LE(now, stress.limit);
}

static void
unaccount(size_t bytes)
{
    __atomic_sub_fetch(&stress.taken, bytes, __ATOMIC_RELAXED);
}

static void
bump(size_t *counter)
{
    __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

/* Who holds nothing may wait; else all might, for each other. */
static void *
tight_new(struct test_random *r, bool wait)
{
    size_t size = 1 + (size_t)test_random_below(r, 6000);
    void *p = kva_malloc(size, M_TIGHT, wait ? M_WAITOK : M_NOWAIT);

    CHECK(p != NULL || !wait);
    bump(p != NULL ? &stress.requests : &stress.failures);
    if (p != NULL) {
        account(kva_malloc_roundup(size));
    }
    return p;
}

static void
tight_free(void *p)
{
    unaccount(kva_malloc_usable_size(p));
    kva_free(p, M_TIGHT);
}

static void *
tight_resize(struct test_random *r, void *p)
{
    size_t old = kva_malloc_usable_size(p);
    size_t size = 1 + (size_t)test_random_below(r, 6000);
    size_t now = kva_malloc_roundup(size);
    void *q;

    if (now < old) {
        unaccount(old - now);
    }
    q = kva_realloc(p, size, M_TIGHT, M_NOWAIT);
    if (q == NULL) {
        CHECK_GT(now, old);
        bump(&stress.failures);
        return p;
    }
    CHECK_EQ(kva_malloc_usable_size(q), now);
    if (now > old) {
        account(now - old);
    }
    if (now != old) {
        bump(&stress.requests);
    }
    return q;
}

static void
loose_step(struct test_random *r)
{
    void *p = kva_malloc(1 + test_random_below(r, 3000), M_LOOSE, M_NOWAIT);

    CHECK(p != NULL);
    p = __atomic_exchange_n(&stress.shared[test_random_below(r, SHARED)], p,
                            __ATOMIC_ACQ_REL);
    kva_free(p, M_LOOSE);
}

static void *
worker(void *arg)
{
    struct test_random r = { (uintptr_t)arg };
    void *held[HELD];
    unsigned n = 0;

    for (unsigned long i = 0; i < stress.t->count; i++) {
        if (n == HELD || test_random_one_in(&r, 8)) {
            while (n > 0) {
                tight_free(held[--n]);
            }
        } else if (n > 0 && test_random_one_in(&r, 3)) {
            held[n - 1] = tight_resize(&r, held[n - 1]);
        } else {
            held[n] = tight_new(&r, n == 0);
            n += held[n] != NULL;
        }
        loose_step(&r);
    }
    while (n > 0) {
        tight_free(held[--n]);
    }
    __atomic_sub_fetch(&stress.running, 1, __ATOMIC_ACQ_REL);
    return NULL;
}

static void
pool_seen(void *arg, const struct kva_pool_row *row)
{
    (void)arg;
    CHECK_LE(row->slabs, row->slabs_max);
    CHECK_LE(row->slabs_max, row->slabs_made);
    CHECK_LE(row->releases, row->requests);
}

static void
type_seen(void *arg, const struct kva_malloc_stat *st)
{
    unsigned *n = arg;

    CHECK(strcmp(st->name, "tight") != 0 || st->bytes <= stress.limit);
    ++*n;
}

/* What the statistics say meanwhile: of a type with a limit all is exact at any
 * moment, and so are a pool's slabs. */
static void
watch(void)
{
    unsigned types = 0;

    while (__atomic_load_n(&stress.running, __ATOMIC_ACQUIRE) != 0) {
        struct kva_malloc_stat st = stat_of(M_TIGHT);

        CHECK_LE(st.bytes, stress.limit);
        CHECK_LE(st.high, stress.limit);
        CHECK_LE(st.active, THREADS * (HELD + 1));
        kva_pool_rows(pool_seen, NULL);
        kva_malloc_rows(type_seen, &types);
        (void)sched_yield();
    }
}

static void
rest(unsigned long count)
{
    struct kva_malloc_stat st = stat_of(M_TIGHT);
    size_t n = 0, bytes = 0;

    CHECK_EQ(stress.taken, 0);
    CHECK_EQ(st.bytes, 0);
    CHECK_EQ(st.active, 0);
    CHECK_EQ(st.requests, stress.requests);
    CHECK_EQ(st.failures, stress.failures);
    for (unsigned i = 0; i < SHARED; i++) {
        n += stress.shared[i] != NULL;
        bytes += kva_malloc_usable_size(stress.shared[i]);
    }
    st = stat_of(M_LOOSE);
    CHECK_EQ(st.requests, THREADS * count);
    CHECK_EQ(st.active, n);
    CHECK_EQ(st.bytes, bytes);
    for (unsigned i = 0; i < SHARED; i++) {
        kva_free(stress.shared[i], M_LOOSE);
    }
    CHECK_EQ(stat_of(M_LOOSE).bytes, 0);
}

static void
threads_never_pass_the_limit(struct test_ctx *t)
{
    pthread_t thread[THREADS];

    tower_start(0);
    stress.t = t;
    stress.limit = 3 * LIMIT;
    kva_malloc_type_setlimit(M_TIGHT, stress.limit);
    stress.running = THREADS;
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_create(&thread[i], NULL, worker,
                                (void *)(uintptr_t)test_rand(t)),
                 0);
    }
    watch();
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    }
    rest(t->count);
    kva_malloc_type_setlimit(M_TIGHT, LIMIT);
    tower_end();
}

const struct test malloc_limit_tests[] = {
    TEST("malloc_limit", first_come_first_served),
    TEST("malloc_limit", one_free_may_serve_many),
    TEST("malloc_limit", few_pass_the_oldest),
    TEST("malloc_limit", a_new_limit_is_for_sleepers_too),
    TEST("malloc_limit", a_wait_can_be_cancelled),
    TEST_THREADS("malloc_limit", threads_never_pass_the_limit, 0, 2000, 50000,
                 1000000),
    TEST_END
};
