/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: eight threads that trade objects of every kind, a million operations
 * each, end with every count exact, whatever is done to pools and caches
 * meanwhile: drains, invalidations, reclaims, marks, limits, and questions; and
 * though threads end and others take their place.  For ThreadSanitizer.
 *
 *      thread --get--> object --exchange--> shelf --> object --put--> library
 *
 * An operation is a get, an exchange with what somebody left on the shelf, and
 * a put of that; so most objects are freed by another thread than the one that
 * got them.  Bodies are lean: an object has a few words written at its start
 * and one at its end.
 *
 * The second test has interrupts come at any instant, which trade in what they
 * may: kmem_intr, and a cache and a pool of their level.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "tests/unit/tower.h"

#define THREADS 8u
#define SHELF 256u
#define LIVES 20u /* a thread ends so often and another is made */

enum kind {
    PLAIN, /* a cache */
    BUILT, /* one with constructor and destructor */
    POOL,
    LIMITED_POOL,
    KMEM,
    INTR,
    MALLOC,
    LIMITED, /* malloc with a limit */
    KINDS
};

/* What an object begins with, behind what a constructor wrote. */
struct head {
    uintptr_t built;
    uint32_t size;
    uint16_t kind;
    uint16_t mark;
};

static const size_t sizes[] = { 64, 200, 584, 1024 };

static struct {
    pool_cache_t plain, built;
    struct kva_pool pool, limited;
    struct head *shelf[SHELF];
    unsigned running;
    unsigned long steps;
    unsigned long constructed, destructed;
    unsigned long gets[KINDS], puts[KINDS], refused[KINDS];
    bool intr_only;
} x;

static KVA_MALLOC_DEFINE(M_TRADE, "trade", "traded");
static KVA_MALLOC_DEFINE(M_SCARCE, "scarce", "traded, with a limit");

struct trader {
    struct test_random random;
    unsigned long gets[KINDS], puts[KINDS], refused[KINDS];
};

/* ---- objects --------------------------------------------------------- */

static uintptr_t
built_word(const void *p)
{
    return (uintptr_t)p ^ (uintptr_t)0x5a5a5a5au;
}

static int
construct(void *arg, void *object, int flags)
{
    (void)arg;
    (void)flags;
    *(uintptr_t *)object = built_word(object);
    (void)__atomic_fetch_add(&x.constructed, 1, __ATOMIC_RELAXED);
    return 0;
}

static void
destruct(void *arg, void *object)
{
    (void)arg;
    CHECK_EQ(*(uintptr_t *)object, built_word(object));
    *(uintptr_t *)object = 0;
    (void)__atomic_fetch_add(&x.destructed, 1, __ATOMIC_RELAXED);
}

static uint32_t
tail_word(const struct head *h)
{
    return (uint32_t)(uintptr_t)h * 2654435769u ^ h->mark;
}

static uint32_t *
tail_of(struct head *h)
{
    return (uint32_t *)(void *)((char *)h + (h->size & ~3u) - 4u);
}

/* Mostly small; one in 64 is of whole pages. */
static size_t
draw_size(uint64_t r)
{
    return (r & 63u) == 0 ? 4096 + (r >> 6 & 0x3fffu)
                          : sizeof(struct head) + 8 + (r >> 6 & 0x1ffu);
}

static void *
take(enum kind kind, size_t size)
{
    switch (kind) {
    case PLAIN:
        return kva_pool_cache_get(x.plain, PR_NOWAIT);
    case BUILT:
        return kva_pool_cache_get(x.built, PR_NOWAIT);
    case POOL:
        return kva_pool_get(&x.pool, PR_NOWAIT);
    case LIMITED_POOL:
        return kva_pool_get(&x.limited, PR_NOWAIT);
    case KMEM:
        return kva_kmem_alloc(size, KM_NOSLEEP);
    case INTR:
        return kva_kmem_intr_alloc(size, KM_NOSLEEP);
    case MALLOC:
        return kva_malloc(size, M_TRADE, M_NOWAIT);
    default:
        return kva_malloc(size, M_SCARCE, M_NOWAIT);
    }
}

/* What may be refused: where there is a limit, or memory that is scarce. */
static bool
may_refuse(enum kind kind)
{
    return kind == LIMITED_POOL || kind == LIMITED || kind == INTR ||
           x.intr_only;
}

static struct head *
get(struct trader *tr, enum kind kind)
{
    uint64_t r = test_random(&tr->random);
    size_t size = kind < KMEM    ? sizes[kind]
                  : kind == INTR ? 32 + (r >> 6 & 0x7fu)
                                 : draw_size(r);
    struct head *h = take(kind, size);

    if (h == NULL) {
        CHECK(may_refuse(kind));
        tr->refused[kind]++;
        return NULL;
    }
    if (kind == BUILT) {
        CHECK_EQ(h->built, built_word(h));
        h->built = 0;
    }
    h->size = (uint32_t)size;
    h->kind = (uint16_t)kind;
    h->mark = (uint16_t)(r >> 48);
    *tail_of(h) = tail_word(h);
    tr->gets[kind]++;
    return h;
}

static void
put(struct trader *tr, struct head *h)
{
    enum kind kind = (enum kind)h->kind;

    CHECK_EQ(*tail_of(h), tail_word(h));
    tr->puts[kind]++;
    switch (kind) {
    case PLAIN:
        kva_pool_cache_put(x.plain, h);
        break;
    case BUILT:
        h->built = built_word(h);
        kva_pool_cache_put(x.built, h);
        break;
    case POOL:
        kva_pool_put(&x.pool, h);
        break;
    case LIMITED_POOL:
        kva_pool_put(&x.limited, h);
        break;
    case KMEM:
        kva_kmem_free(h, h->size);
        break;
    case INTR:
        kva_kmem_intr_free(h, h->size);
        break;
    case MALLOC:
        kva_free(h, M_TRADE);
        break;
    default:
        kva_free(h, M_SCARCE);
    }
}

/* ---- threads --------------------------------------------------------- */

/* Leave an object for somebody, and free what was left for us. */
static void
trade(struct trader *tr)
{
    uint64_t r = test_random(&tr->random);
    /* An interrupt may not use what is not of its level, nor may a thread that
     * it comes to have such an object half in hand: so only those. */
    enum kind kind =
        x.intr_only ? ((r & 1u) != 0 ? PLAIN : INTR) : (enum kind)(r % KINDS);
    struct head *h = get(tr, kind);

    if (h != NULL) {
        h = __atomic_exchange_n(&x.shelf[(r >> 32) % SHELF], h,
                                __ATOMIC_ACQ_REL);
    }
    if (h != NULL) {
        put(tr, h);
    }
}

static void
add_up(const struct trader *tr)
{
    for (unsigned k = 0; k < KINDS; k++) {
        (void)__atomic_fetch_add(&x.gets[k], tr->gets[k], __ATOMIC_RELAXED);
        (void)__atomic_fetch_add(&x.puts[k], tr->puts[k], __ATOMIC_RELAXED);
        (void)__atomic_fetch_add(&x.refused[k], tr->refused[k],
                                 __ATOMIC_RELAXED);
    }
}

static void *
life(void *arg)
{
    struct trader tr = { .random = { *(uint64_t *)arg } };

    for (unsigned long i = 0; i < x.steps; i++) {
        trade(&tr);
    }
    *(uint64_t *)arg = tr.random.state;
    add_up(&tr);
    return NULL;
}

static void
ended(void *arg)
{
    (void)arg;
    (void)__atomic_fetch_sub(&x.running, 1, __ATOMIC_ACQ_REL);
}

/* One thread after the other. */
static void *
lives(void *arg)
{
    pthread_cleanup_push(ended, NULL);
    for (unsigned i = 0; i < LIVES; i++) {
        pthread_t thread;

        CHECK_EQ(pthread_create(&thread, NULL, life, arg), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
    pthread_cleanup_pop(1);
    return NULL;
}

/* ---- meanwhile ------------------------------------------------------- */

static void
set_marks(struct test_ctx *t)
{
    int n = (int)test_rand_below(t, 400);

    kva_pool_setlowat(&x.pool, n / 8);
    kva_pool_sethiwat(&x.pool, n);
    kva_pool_cache_setlowat(x.plain, n / 8);
    kva_pool_cache_sethiwat(x.built, n);
    kva_pool_sethardlimit(&x.limited, n % 8 == 0 ? -1 : 8 + n / 8, NULL, 0);
    kva_malloc_type_setlimit(M_SCARCE, (unsigned long)(1 + n) << 9);
}

static void
ask(void)
{
    struct kva_malloc_stat ms;
    struct kva_pool_stat st;
    struct kva_stat all;

    kva_pool_stat(&x.pool, &st);
    CHECK_LE(st.objects_out, st.slabs * st.objects_per_slab);
    kva_pool_cache_stat(x.plain, &st);
    kva_malloc_type_stat(M_TRADE, &ms);
    kva_malloc_type_stat(M_SCARCE, &ms);
    kva_stat(&all);
    CHECK_PTR(kva_pool_check(&x.pool), NULL);
    CHECK_PTR(kva_pool_check(&x.plain->slabs), NULL);
}

static void
disturb(struct test_ctx *t)
{
    switch (test_rand_below(t, 10)) {
    case 0:
        kva_pool_cache_invalidate(x.built);
        break;
    case 1:
        (void)kva_pool_cache_drain(x.plain, 100000, 10000);
        break;
    case 2:
        (void)kva_pool_cache_reclaim(x.built);
        break;
    case 3:
        (void)kva_pool_reclaim(&x.pool);
        (void)kva_pool_reclaim(&x.limited);
        break;
    case 4:
        (void)kva_kmem_drain();
        break;
    case 5:
        (void)kva_pool_drain_all();
        break;
    case 6:
    case 7:
        set_marks(t);
        break;
    default:
        ask();
    }
}

/* ---- exactly --------------------------------------------------------- */

static void
expect_none_out(struct kva_pool *pp, size_t cached)
{
    struct kva_pool_stat st;

    kva_pool_stat(pp, &st);
    CHECK_EQ(st.objects_out, cached);
    CHECK_EQ(st.gets - st.puts, cached);
}

static void
expect_type(struct kva_malloc_type *mt, enum kind kind)
{
    struct kva_malloc_stat st;

    kva_malloc_type_stat(mt, &st);
    CHECK_EQ(st.active, 0);
    CHECK_EQ(st.bytes, 0);
    CHECK_EQ(st.requests, x.gets[kind]);
    CHECK_EQ(st.failures, x.refused[kind]);
}

static void
begin(unsigned long steps, enum kva_ipl ipl)
{
    memset(&x, 0, sizeof(x));
    x.steps = steps;
    x.intr_only = ipl != KVA_IPL_NONE;
    x.plain = kva_pool_cache_init(sizes[PLAIN], 0, 0, 0, "plain", NULL, ipl,
                                  NULL, NULL, NULL);
    x.built = kva_pool_cache_init(sizes[BUILT], 0, 0, 0, "built", NULL,
                                  KVA_IPL_NONE, construct, destruct, NULL);
    CHECK(x.plain != NULL && x.built != NULL);
    CHECK_EQ(kva_pool_init(&x.pool, sizes[POOL], 0, 0, 0, "traded", NULL,
                           KVA_IPL_NONE),
             0);
    CHECK_EQ(kva_pool_init(&x.limited, sizes[LIMITED_POOL], 0, 0, 0, "scarce",
                           NULL, KVA_IPL_NONE),
             0);
    kva_malloc_type_setlimit(M_SCARCE, 50000);
}

static void
finish(void)
{
    struct trader tr = { .random = { 0 } };

    for (unsigned i = 0; i < SHELF; i++) {
        if (x.shelf[i] != NULL) {
            put(&tr, x.shelf[i]);
        }
    }
    add_up(&tr);
    for (unsigned k = 0; k < KINDS; k++) {
        CHECK_EQ(x.gets[k], x.puts[k]);
    }
    expect_type(M_TRADE, MALLOC);
    expect_type(M_SCARCE, LIMITED);
    kva_pool_cache_invalidate(x.plain);
    kva_pool_cache_invalidate(x.built);
    expect_none_out(&x.plain->slabs, 0);
    expect_none_out(&x.built->slabs, 0);
    expect_none_out(&x.pool, 0);
    expect_none_out(&x.limited, 0);
    CHECK_EQ(x.constructed, x.destructed);
    kva_pool_cache_destroy(x.plain);
    kva_pool_cache_destroy(x.built);
    kva_pool_destroy(&x.pool);
    kva_pool_destroy(&x.limited);
    tower_end();
}

/* t->count operations of each thread. */
static void
threads_trade_objects(struct test_ctx *t)
{
    pthread_t thread[THREADS];
    uint64_t seed[THREADS];

    tower_start_on(THREADS, 0);
    begin((t->count + LIVES - 1) / LIVES, KVA_IPL_NONE);
    x.running = THREADS;
    for (unsigned i = 0; i < THREADS; i++) {
        seed[i] = test_rand(t);
        CHECK_EQ(pthread_create(&thread[i], NULL, lives, &seed[i]), 0);
    }
    while (__atomic_load_n(&x.running, __ATOMIC_ACQUIRE) != 0) {
        disturb(t);
        (void)sched_yield();
    }
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    }
    for (unsigned k = 0; k < KINDS; k++) {
        CHECK_GT(x.gets[k], 0);
    }
    tower_check();
    finish();
}

/* ---- interrupts ------------------------------------------------------ */

static unsigned long interrupts;
static const char *wrong; /* a check may not end a body from an interrupt */
static __thread struct head *in_hand;
static __thread bool done;

/* By turns a get and a put, of either kind. */
static void
on_interrupt(void *arg)
{
    unsigned long n = __atomic_fetch_add(&interrupts, 1, __ATOMIC_RELAXED);
    struct head *h = in_hand;

    (void)arg;
    if (h != NULL) {
        in_hand = NULL;
        if (*tail_of(h) != tail_word(h)) {
            __atomic_store_n(&wrong, "written to while live", __ATOMIC_RELAXED);
        }
        if (h->kind == PLAIN) {
            kva_pool_cache_put(x.plain, h);
        } else {
            kva_kmem_intr_free(h, h->size);
        }
    } else if (!done) {
        h = n % 2 != 0 ? kva_pool_cache_get(x.plain, PR_NOWAIT)
                       : kva_kmem_intr_alloc(sizes[PLAIN], KM_NOSLEEP);
        if (h != NULL) {
            h->size = (uint32_t)sizes[PLAIN];
            h->kind = n % 2 != 0 ? PLAIN : INTR;
            h->mark = (uint16_t)n;
            *tail_of(h) = tail_word(h);
            in_hand = h;
        }
    }
}

static void *
interrupted_life(void *arg)
{
    struct trader tr = { .random = { *(uint64_t *)arg } };

    pthread_cleanup_push(ended, NULL);
    for (unsigned long i = 0; i < x.steps; i++) {
        trade(&tr);
        if (i % 16 == 0) {
            kva_posix_interrupt();
        }
    }
    done = true;
    if (in_hand != NULL) {
        kva_posix_interrupt();
    }
    add_up(&tr);
    pthread_cleanup_pop(1);
    return NULL;
}

static void
interrupts_trade_objects(struct test_ctx *t)
{
    pthread_t thread[THREADS];
    uint64_t seed[THREADS];

    tower_start_on(THREADS, 0);
    begin((t->count + THREADS - 1) / THREADS, KVA_IPL_VM);
    interrupts = 0;
    kva_posix_interrupt_set(on_interrupt, NULL);
    x.running = THREADS;
    for (unsigned i = 0; i < THREADS; i++) {
        seed[i] = test_rand(t);
        CHECK_EQ(pthread_create(&thread[i], NULL, interrupted_life, &seed[i]),
                 0);
    }
    done = true; /* of this thread */
    while (__atomic_load_n(&x.running, __ATOMIC_ACQUIRE) != 0) {
        (void)pthread_kill(thread[test_rand_below(t, THREADS)],
                           kva_posix_interrupt_signal());
        if (test_random_one_in(&t->random, 8)) {
            disturb(t);
        }
        (void)sched_yield();
    }
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    }
    kva_posix_interrupt_set(NULL, NULL);
    CHECK_GT(interrupts, 0);
    if (wrong != NULL) {
        FAIL("in an interrupt: %s", wrong);
    }
    finish();
}

const struct test stress_trade_tests[] = {
    TEST_THREADS("stress_objects", threads_trade_objects, 0, 4000, 1000000,
                 10000000),
    TEST_THREADS("stress_objects", interrupts_trade_objects, 0, 20000, 400000,
                 10000000),
    TEST_END
};
