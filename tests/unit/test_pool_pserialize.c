/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PR_PSERIALIZE: what a reader may still look at stays what it was until the
 * read barrier, in its memory and, in a cache, in its constructed state; one
 * barrier does for many slabs and objects; and who may not sleep does not.
 */
#include <pthread.h>
#include <sched.h>

#include "tests/unit/tower.h"

#if KVA_READ_BARRIER

static unsigned long
barriers(void)
{
    struct kva_posix_stats stats;

    kva_posix_stats_get(&stats);
    return stats.read_barriers;
}

static size_t
slabs_of(struct kva_pool *pp)
{
    struct kva_pool_stat st;

    kva_pool_stat(pp, &st);
    return st.slabs;
}

/* Somebody who looks at an object while it is put back: his section ends when
 * the barrier waits for him, and not before it does. */
static struct {
    struct kva_pool *pp;
    unsigned *object;
    unsigned expect;
    unsigned section;
    unsigned waited;
    bool reading;
} reader;

static void
reader_looks(void *arg)
{
    (void)arg;
    reader.waited++;
    CHECK(reader.reading);
    /* Unmapped, given away or destructed, it would not be this. */
    CHECK_EQ(*reader.object, reader.expect);
    kva_posix_read_exit(reader.section);
    reader.reading = false;
}

static void
reader_begins(unsigned *object, unsigned expect)
{
    reader.object = object;
    reader.expect = expect;
    reader.section = kva_posix_read_enter();
    reader.reading = true;
    reader.waited = 0;
    kva_posix_read_wait_hook(reader_looks, NULL);
}

/* Claim: slabs do not go before the barrier, and one does for 64 of them. */
static void
slabs_wait_for_readers(struct test_ctx *t)
{
    static unsigned *object[20000];
    unsigned long before;
    struct kva_pool pp;
    size_t slabs;

    (void)t;
    tower_start(0);
    CHECK_EQ(kva_pool_init(&pp, 192, 0, 0, PR_PSERIALIZE, "read", NULL,
                           KVA_IPL_NONE),
             0);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        object[i] = kva_pool_get(&pp, PR_NOWAIT);
        *object[i] = i;
    }
    slabs = slabs_of(&pp);
    CHECK_GT(slabs, 3 * 64);
    before = barriers();
    reader_begins(object[7], 7);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        kva_pool_put(&pp, object[i]);
    }
    CHECK_EQ(slabs_of(&pp), slabs); /* a put waits for nobody */
    CHECK_EQ(barriers(), before);
    CHECK_EQ(kva_pool_reclaim(&pp), slabs * pp.slab_bytes);
    CHECK_EQ(reader.waited, 1);
    CHECK_EQ(barriers() - before, (slabs + 63) / 64);
    kva_pool_destroy(&pp);
    tower_end();
}

/* From an interrupt, or with a lock held. */
static kva_lock_t outer;

/* Claim: a drain that may not sleep leaves such slabs and counts them; those of
 * other pools it takes. */
static void
drains_that_may_not_sleep_skip(struct test_ctx *t)
{
    struct kva_pool pp, plain;
    struct kva_pool_stat st;
    unsigned long before;
    void *object[100];
    kva_irq_t irq;

    (void)t;
    tower_start(0);
    CHECK_EQ(kva_pool_init(&pp, 192, 0, 0, PR_PSERIALIZE, "read", NULL,
                           KVA_IPL_NONE),
             0);
    CHECK_EQ(kva_pool_init(&plain, 192, 0, 0, 0, "plain", NULL, KVA_IPL_NONE),
             0);
    CHECK_EQ(kva_pool_prime(&plain, 100), 0);
    plain.primed = 0;
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        object[i] = kva_pool_get(&pp, PR_NOWAIT);
    }
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        kva_pool_put(&pp, object[i]);
    }
    before = barriers();
    kva_port_lock_init(&outer, "outer", KVA_IPL_NONE, 1);
    irq = kva_port_lock(&outer);
    CHECK_EQ(kva_pool_reclaim(&pp), 0);
    CHECK_GT(kva_pool_reclaim(&plain), 0);
    kva_port_unlock(&outer, irq);
    CHECK_EQ(barriers(), before);
    kva_pool_stat(&pp, &st);
    CHECK_EQ(st.slabs_skipped, st.slabs);
    CHECK_GT(st.slabs, 0);
    CHECK_GT(kva_pool_reclaim(&pp), 0);
    kva_pool_stat(&pp, &st);
    CHECK_EQ(st.slabs, 0);
    irq = kva_port_lock(&outer);
    CHECK_PANIC(kva_pool_destroy(&pp),
                "pool_destroy: pool read: 0x%lx: expected a thread that may "
                "sleep, for PR_PSERIALIZE, found one that may not",
                (unsigned long)(uintptr_t)&pp);
    kva_port_unlock(&outer, irq);
    kva_port_lock_fini(&outer);
    kva_pool_destroy(&pp);
    kva_pool_destroy(&plain);
    tower_end();
}

#define BUILT 0x6275696cu

struct builder {
    unsigned built;
    unsigned unbuilt;
    bool may_unbuild;
};

static int
build(void *arg, void *object, int flags)
{
    struct builder *b = arg;

    (void)flags;
    b->built++;
    *(unsigned *)object = BUILT;
    return 0;
}

static void
unbuild(void *arg, void *object)
{
    struct builder *b = arg;

    CHECK(b->may_unbuild);
    CHECK(!reader.reading);
    CHECK_EQ(*(unsigned *)object, BUILT);
    *(unsigned *)object = 0;
    b->unbuilt++;
}

/*
 * Claim: no put destructs, however many objects come back; a get has them again
 * without constructing; a drain destructs them all after one barrier.
 */
static void
destructors_run_after_the_barrier(struct test_ctx *t)
{
    static unsigned *object[3000];
    struct builder b = { 0 };
    struct kva_pool_stat st;
    unsigned long before;
    pool_cache_t pc;

    (void)t;
    tower_start(0);
    pc = kva_pool_cache_init(192, 0, 0, PR_PSERIALIZE, "read", NULL,
                             KVA_IPL_NONE, build, unbuild, &b);
    CHECK(pc != NULL);
    for (unsigned round = 0; round < 3; round++) {
        CHECK_EQ(kva_posix_cpu_set(round), 0);
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            object[i] = kva_pool_cache_get(pc, PR_NOWAIT);
            CHECK_EQ(*object[i], BUILT);
        }
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            kva_pool_cache_put(pc, object[i]);
        }
        CHECK_EQ(b.unbuilt, 0);
        /* What the magazines of another CPU have, and half of one. */
        CHECK_LT(b.built, KVA_COUNT(object) + 1000);
    }
    kva_pool_cache_stat(pc, &st);
    CHECK_EQ(st.objects_waiting + st.objects_cached, st.objects_out);
    CHECK_GT(st.objects_waiting, KVA_COUNT(object) / 2);
    before = barriers();
    reader_begins(object[5], BUILT);
    b.may_unbuild = true;
    kva_pool_cache_invalidate(pc);
    CHECK_EQ(reader.waited, 1);
    CHECK_EQ(barriers() - before, 1);
    CHECK_EQ(b.unbuilt, b.built);
    kva_pool_cache_stat(pc, &st);
    CHECK_EQ(st.objects_out, 0);
    CHECK(kva_pool_cache_reclaim(pc));
    object[0] = kva_pool_cache_get(pc, PR_NOWAIT);
    reader_begins(object[0], BUILT);
    kva_pool_cache_destruct_object(pc, object[0]);
    CHECK_EQ(reader.waited, 1);
    object[0] = kva_pool_cache_get(pc, PR_NOWAIT);
    kva_pool_cache_put(pc, object[0]);
    kva_pool_cache_destroy(pc);
    CHECK_EQ(b.unbuilt, b.built);
    tower_end();
}

/* While the test's only thread sleeps at the limit. */
struct giver {
    pool_cache_t pc;
    void *object;
    kva_irq_t irq;
};

static void
give_one(void *arg, const void *channel)
{
    struct giver *g = arg;

    (void)channel;
    if (g->object != NULL) {
        kva_pool_cache_put(g->pc, g->object);
        g->object = NULL;
    }
}

/* Claim: whoever sleeps for the limit has an object that was put meanwhile,
 * though it may not be destructed by who put it. */
static void
limit_reaches_what_waits(struct test_ctx *t)
{
    struct builder b = { .may_unbuild = true };
    struct giver g = { 0 };
    void *p;

    (void)t;
    tower_start(0);
    reader.reading = false;
    g.pc = kva_pool_cache_init(192, 0, 0, PR_PSERIALIZE, "read", NULL,
                               KVA_IPL_NONE, build, unbuild, &b);
    kva_pool_cache_sethardlimit(g.pc, 1, NULL, 0);
    kva_posix_wait_hook(give_one, &g);
    g.object = kva_pool_cache_get(g.pc, PR_WAITOK);
    p = kva_pool_cache_get(g.pc, PR_WAITOK);
    CHECK(p != NULL);
    CHECK(g.object == NULL);
    kva_posix_wait_hook(NULL, NULL);
    kva_pool_cache_put(g.pc, p);
    kva_pool_cache_destroy(g.pc);
    CHECK_EQ(b.built, b.unbuilt);
    tower_end();
}

/* Claim: a put has room for what waits whatever page is refused: room is
 * reserved before there are objects. */
static void
refused_pages_lose_nothing(struct test_ctx *t)
{
    static void *object[4000];
    unsigned long fired, nth = 1;

    tower_start(0);
    do {
        struct builder b = { .may_unbuild = true };
        struct kva_pool_stat st;
        pool_cache_t pc;
        unsigned n = 0;

        pc = kva_pool_cache_init(192, 0, 0, PR_PSERIALIZE, "read", NULL,
                                 KVA_IPL_NONE, build, unbuild, &b);
        CHECK(pc != NULL);
        kva_posix_fault_arm(KVA_POSIX_ANY, nth, true);
        while (n < KVA_COUNT(object) &&
               (object[n] = kva_pool_cache_get(pc, PR_NOWAIT)) != NULL) {
            n++;
        }
        fired = kva_posix_fault_fired(KVA_POSIX_ANY);
        while (n > 0) {
            kva_pool_cache_put(pc, object[--n]);
        }
        kva_pool_cache_stat(pc, &st);
        CHECK_EQ(st.objects_waiting + st.objects_cached, st.objects_out);
        kva_posix_fault_reset();
        kva_pool_cache_destroy(pc);
        CHECK_EQ(b.built, b.unbuilt);
        nth += t->count;
    } while (fired != 0);
    tower_end();
}

/* ---- with threads ---------------------------------------------------------- */

#define SLOTS 64
#define READERS 2
#define WRITERS 2

static struct {
    pool_cache_t pc;
    unsigned *slot[SLOTS]; /* objects that readers may come to */
    unsigned long changes; /* of each writer */
    unsigned writing;
} shared;

/* What the constructor made of it is there as long as a reader is. */
static void *
read_objects(void *arg)
{
    unsigned i = *(unsigned *)arg;

    while (__atomic_load_n(&shared.writing, __ATOMIC_ACQUIRE) != 0) {
        unsigned section = kva_posix_read_enter();

        for (unsigned n = 0; n < 16; n++) {
            unsigned *object =
                __atomic_load_n(&shared.slot[++i % SLOTS], __ATOMIC_ACQUIRE);

            if (object != NULL) {
                CHECK_EQ(__atomic_load_n(object, __ATOMIC_RELAXED), BUILT);
            }
        }
        kva_posix_read_exit(section);
    }
    return NULL;
}

/* Publish an object in the place of another one, which goes at once. */
static void *
write_objects(void *arg)
{
    unsigned i = *(unsigned *)arg;

    for (unsigned long n = 0; n < shared.changes; n++) {
        unsigned *object = kva_pool_cache_get(shared.pc, PR_WAITOK), *old;

        CHECK(object != NULL);
        CHECK_EQ(__atomic_load_n(object, __ATOMIC_RELAXED), BUILT);
        i = i * 1103515245u + 12345u;
        old = __atomic_exchange_n(&shared.slot[(i >> 16) % SLOTS], object,
                                  __ATOMIC_ACQ_REL);
        if (old != NULL) {
            kva_pool_cache_put(shared.pc, old);
        }
        if (n % 64 == 0) {
            (void)sched_yield(); /* let the drainer come in between */
        }
    }
    (void)__atomic_fetch_sub(&shared.writing, 1, __ATOMIC_RELEASE);
    return NULL;
}

static int
build_shared(void *arg, void *object, int flags)
{
    (void)flags;
    (void)__atomic_fetch_add((unsigned long *)arg, 1, __ATOMIC_RELAXED);
    __atomic_store_n((unsigned *)object, BUILT, __ATOMIC_RELAXED);
    return 0;
}

static void
unbuild_shared(void *arg, void *object)
{
    (void)__atomic_fetch_sub((unsigned long *)arg, 1, __ATOMIC_RELAXED);
    CHECK_EQ(__atomic_load_n((unsigned *)object, __ATOMIC_RELAXED), BUILT);
    __atomic_store_n((unsigned *)object, 0, __ATOMIC_RELAXED);
}

/*
 * Claim: while objects come and go and slabs are drained, whoever reads one in a
 * read section finds it constructed, and its page there.
 */
static void
readers_find_what_was_made(struct test_ctx *t)
{
    pthread_t thread[READERS + WRITERS];
    unsigned number[READERS + WRITERS];
    unsigned long live = 0;

    tower_start(0);
    memset(&shared, 0, sizeof(shared));
    shared.pc =
        kva_pool_cache_init(1128, 0, 0, PR_PSERIALIZE, "shared", NULL,
                            KVA_IPL_NONE, build_shared, unbuild_shared, &live);
    CHECK(shared.pc != NULL);
    shared.changes = t->count;
    shared.writing = WRITERS;
    for (unsigned i = 0; i < READERS + WRITERS; i++) {
        number[i] = i * 977u + (unsigned)test_rand_below(t, 1000);
        CHECK_EQ(pthread_create(&thread[i], NULL,
                                i < READERS ? read_objects : write_objects,
                                &number[i]),
                 0);
    }
    while (__atomic_load_n(&shared.writing, __ATOMIC_ACQUIRE) != 0) {
        (void)kva_pool_cache_drain(shared.pc, SIZE_MAX, 0);
        kva_pool_cache_invalidate(shared.pc);
        kva_pool_update();
        (void)sched_yield();
    }
    for (unsigned i = 0; i < READERS + WRITERS; i++) {
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        if (shared.slot[i] != NULL) {
            kva_pool_cache_put(shared.pc, shared.slot[i]);
        }
    }
    kva_pool_cache_destroy(shared.pc);
    CHECK_EQ(live, 0);
    tower_end();
}

#else

static void
slabs_wait_for_readers(struct test_ctx *t)
{
    struct kva_pool pp;

    (void)t;
    tower_start(0);
    CHECK_EQ(kva_pool_init(&pp, 192, 0, 0, PR_PSERIALIZE, "read", NULL,
                           KVA_IPL_NONE),
             KVA_ENOTSUP);
    CHECK(kva_pool_cache_init(192, 0, 0, PR_PSERIALIZE, "read", NULL,
                              KVA_IPL_NONE, NULL, NULL, NULL) == NULL);
    tower_end();
}
#endif

const struct test pool_pserialize_tests[] = {
    TEST("pool_pserialize", slabs_wait_for_readers),
#if KVA_READ_BARRIER
    TEST("pool_pserialize", drains_that_may_not_sleep_skip),
    TEST("pool_pserialize", destructors_run_after_the_barrier),
    TEST("pool_pserialize", limit_reaches_what_waits),
    TEST_COUNT("pool_pserialize", refused_pages_lose_nothing, 5, 1, 1),
    TEST_THREADS("pool_pserialize", readers_find_what_was_made, 0, 3000, 100000,
                 1000000),
#endif
    TEST_END
};
