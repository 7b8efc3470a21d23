/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads over caches, kmem and malloc(9): what one allocates another frees,
 * through slots that all exchange; meanwhile everything is drained again and
 * again, and threads end and are made anew.  Each object carries a pattern from
 * its allocation to its free.  For ThreadSanitizer above all.
 */
#include <pthread.h>
#include <sched.h>

#include "tests/unit/tower.h"

#define THREADS 6
#define SHARED 512
#define LIVES 4 /* a thread ends so often and is made again */

/* What lies in front of an object's pattern. */
struct head {
    size_t size;
    unsigned source;
    unsigned mark;
};

struct stress {
    struct test_ctx *t;
    pool_cache_t pc[3];
    struct head *shared[SHARED];
    unsigned running;
    unsigned long steps;
};

static const size_t sizes[3] = { 64, 1128, 4096 };

static KVA_MALLOC_DEFINE(M_STRESS, "stress", "the stress test's");

static struct stress stress;

static void *
take(unsigned source, size_t size)
{
    switch (source) {
    case 3:
        return kva_kmem_alloc(size, KM_NOSLEEP);
    case 4:
        return kva_malloc(size, M_STRESS, M_NOWAIT);
    default:
        return kva_pool_cache_get(stress.pc[source], PR_NOWAIT);
    }
}

static struct head *
object_new(struct test_random *r)
{
    unsigned source = (unsigned)test_random_below(r, 5);
    size_t drawn = sizeof(struct head) + (size_t)test_random_below(r, 9000);
    size_t size = source < 3 ? sizes[source] : drawn;
    struct head *h = take(source, size);

    CHECK(h != NULL);
    h->size = size;
    h->source = source;
    h->mark = (unsigned)test_random(r);
    tower_fill(h + 1, size - sizeof(*h), h->mark);
    return h;
}

static void
object_free(struct head *h)
{
    CHECK(tower_intact(h + 1, h->size - sizeof(*h), h->mark));
    switch (h->source) {
    case 3:
        kva_kmem_free(h, h->size);
        break;
    case 4:
        kva_free(h, M_STRESS);
        break;
    default:
        kva_pool_cache_put(stress.pc[h->source], h);
    }
}

static void *
worker(void *arg)
{
    struct test_random r = { (uintptr_t)arg };

    for (unsigned long i = 0; i < stress.steps; i++) {
        struct head *h = object_new(&r);

        h = __atomic_exchange_n(&stress.shared[test_random_below(&r, SHARED)],
                                h, __ATOMIC_ACQ_REL);
        if (h != NULL) {
            object_free(h);
        }
    }
    __atomic_sub_fetch(&stress.running, 1, __ATOMIC_ACQ_REL);
    return NULL;
}

static void
drain_meanwhile(void)
{
    while (__atomic_load_n(&stress.running, __ATOMIC_ACQUIRE) != 0) {
        kva_pool_cache_invalidate(stress.pc[0]);
        (void)kva_pool_cache_drain(stress.pc[1], 100000, 20000);
        (void)kva_kmem_drain();
        (void)kva_pool_drain_all();
        (void)sched_yield();
    }
}

/* t->count operations of each thread. */
static void
threads_share_everything(struct test_ctx *t)
{
    pthread_t thread[THREADS];

    tower_start(0);
    stress.t = t;
    stress.steps = t->count / LIVES;
    for (unsigned k = 0; k < 3; k++) {
        stress.pc[k] = kva_pool_cache_init(sizes[k], 0, 0, 0, "stress", NULL,
                                           KVA_IPL_NONE, NULL, NULL, NULL);
    }
    for (unsigned life = 0; life < LIVES; life++) {
        stress.running = THREADS;
        for (unsigned i = 0; i < THREADS; i++) {
            CHECK_EQ(pthread_create(&thread[i], NULL, worker,
                                    (void *)(uintptr_t)test_rand(t)),
                     0);
        }
        drain_meanwhile();
        for (unsigned i = 0; i < THREADS; i++) {
            CHECK_EQ(pthread_join(thread[i], NULL), 0);
        }
        tower_check();
    }
    for (unsigned i = 0; i < SHARED; i++) {
        if (stress.shared[i] != NULL) {
            object_free(stress.shared[i]);
        }
    }
    for (unsigned k = 0; k < 3; k++) {
        kva_pool_cache_destroy(stress.pc[k]);
    }
    tower_end();
}

/* ---- the first get of a cache -------------------------------------------- */

static struct {
    pool_cache_t pc;     /* to be drained; NULL: none */
    unsigned long looks; /* of the drainer's; odd: it is at one */
    bool done;
} first;

static void *
first_drainer(void *arg)
{
    (void)arg;
    while (!__atomic_load_n(&first.done, __ATOMIC_ACQUIRE)) {
        pool_cache_t pc;

        (void)__atomic_add_fetch(&first.looks, 1, __ATOMIC_SEQ_CST);
        pc = __atomic_load_n(&first.pc, __ATOMIC_SEQ_CST);
        if (pc != NULL) {
            (void)kva_pool_cache_drain(pc, SIZE_MAX, 0);
        }
        (void)__atomic_add_fetch(&first.looks, 1, __ATOMIC_SEQ_CST);
        if (pc == NULL) {
            (void)sched_yield();
        }
    }
    return NULL;
}

/* Until a look that began before is over. */
static void
first_withdraw(void)
{
    unsigned long look;

    __atomic_store_n(&first.pc, NULL, __ATOMIC_SEQ_CST);
    look = __atomic_load_n(&first.looks, __ATOMIC_SEQ_CST);
    while (look % 2 != 0 &&
           __atomic_load_n(&first.looks, __ATOMIC_SEQ_CST) == look) {
        (void)sched_yield();
    }
}

/* A cache has its rows from its first get on: whoever drains it just then finds
 * them whole. */
static void
rows_come_while_drained(struct test_ctx *t)
{
    pthread_t thread;

    tower_start(0);
    CHECK_EQ(pthread_create(&thread, NULL, first_drainer, NULL), 0);
    for (unsigned long i = 0; i < t->count; i++) {
        pool_cache_t pc = kva_pool_cache_init(64, 0, 0, 0, "first", NULL,
                                              KVA_IPL_NONE, NULL, NULL, NULL);
        void *p;

        __atomic_store_n(&first.pc, pc, __ATOMIC_SEQ_CST);
        for (volatile uint64_t n = test_rand_below(t, 5000); n > 0; n--) {
        }
        p = kva_pool_cache_get(pc, PR_NOWAIT);
        CHECK(p != NULL);
        kva_pool_cache_put(pc, p);
        first_withdraw();
        kva_pool_cache_destroy(pc);
    }
    __atomic_store_n(&first.done, true, __ATOMIC_RELEASE);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    tower_end();
}

const struct test stress_object_tests[] = {
    TEST_THREADS("stress_objects", rows_come_while_drained, 300, 1000, 20000,
                 1000000),
    TEST_THREADS("stress_objects", threads_share_everything, 0, 4000, 20000,
                 1000000),
    TEST_END
};
