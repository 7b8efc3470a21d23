/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: with every debug mode on, of pools, caches, kmem and malloc(9), what is
 * legal is served as without, nothing is complained of, and nobody's object is
 * written to by the modes.
 *
 * Shown against a hash of all that is live, by address, each filled whole with
 * a pattern of its own: random gets, puts and reallocs on all CPU slots, with
 * drains between, and with requests of the port's that fail.  stock.h has more
 * of what the pools themselves promise.
 */
#include <stdlib.h>

#include <uthash.h>

#include "pool/debug.h"
#include "tests/unit/tower.h"

enum source {
    FROM_POOL,
    FROM_CACHE,
    FROM_KMEM,
    FROM_INTR,
    FROM_MALLOC,
    SOURCES
};

struct live {
    uintptr_t addr; /* the key */
    size_t size;
    size_t taken; /* of malloc's: what it counts */
    enum source source;
    unsigned which; /* pool or cache */
    unsigned mark;
    unsigned index; /* in the vector */
    UT_hash_handle hh;
};

#define KINDS 6
#define LIVE_MAX 4000

static const size_t sizes[KINDS] = { 8, 32, 192, 584, 1128, 4096 };

struct world {
    struct test_ctx *t;
    struct kva_pool pp[KINDS];
    pool_cache_t pc[KINDS];
    struct live *by_addr;
    struct live *vector[LIVE_MAX];
    unsigned n;
    unsigned marks;
    unsigned refused;
    unsigned long bytes; /* of malloc's type, as it should count them */
};

static KVA_MALLOC_DEFINE(M_MODEL, "model_debug", "the model's");

static void
world_start(struct world *w, struct test_ctx *t)
{
    memset(w, 0, sizeof(*w));
    w->t = t;
    CHECK_EQ(kva_pool_debug_set("all,firewall=kmem-1*,firewall-before=kmem-2*",
                                NULL),
             0);
    tower_start(16384);
    for (unsigned k = 0; k < KINDS; k++) {
        kva_pool_init(&w->pp[k], sizes[k], 0, 0, k % 2 ? PR_NOTOUCH : 0,
                      "model", NULL, KVA_IPL_NONE);
        w->pc[k] = kva_pool_cache_init(sizes[k], 0, 0, 0, "model", NULL,
                                       KVA_IPL_NONE, NULL, NULL, NULL);
        CHECK(w->pc[k] != NULL);
    }
}

/* Mostly small, up to 100 kB. */
static size_t
draw_size(struct test_ctx *t)
{
    unsigned bits = 1 + (unsigned)test_rand_below(t, 16);

    return 1 + (size_t)test_rand_below(t, ((uint64_t)3 << bits) / 2);
}

static void *
take(struct world *w, struct live *l)
{
    struct test_ctx *t = w->t;

    l->source = (enum source)test_rand_below(t, SOURCES);
    l->which = (unsigned)test_rand_below(t, KINDS);
    l->size = sizes[l->which];
    switch (l->source) {
    case FROM_POOL:
        return kva_pool_get(&w->pp[l->which], PR_NOWAIT);
    case FROM_CACHE:
        return kva_pool_cache_get(w->pc[l->which], PR_NOWAIT);
    case FROM_KMEM:
        l->size = draw_size(t);
        return kva_kmem_alloc(l->size, KM_NOSLEEP);
    case FROM_INTR:
        l->size = 1 + (size_t)test_rand_below(t, 300);
        return kva_kmem_intr_alloc(l->size, KM_NOSLEEP);
    default:
        l->size = draw_size(t);
        return kva_malloc(l->size, M_MODEL, M_NOWAIT);
    }
}

static void
give(struct world *w, const struct live *l)
{
    void *p = (void *)l->addr;

    switch (l->source) {
    case FROM_POOL:
        kva_pool_put(&w->pp[l->which], p);
        break;
    case FROM_CACHE:
        kva_pool_cache_put(w->pc[l->which], p);
        break;
    case FROM_KMEM:
        kva_kmem_free(p, l->size);
        break;
    case FROM_INTR:
        kva_kmem_intr_free(p, l->size);
        break;
    default:
        kva_free(p, M_MODEL);
        w->bytes -= l->taken;
    }
}

static void
world_get(struct world *w)
{
    struct live *l = calloc(1, sizeof(*l)), *other;
    void *p = take(w, l);

    if (p == NULL) {
        free(l);
        w->refused++;
        return;
    }
    l->addr = (uintptr_t)p;
    HASH_FIND(hh, w->by_addr, &l->addr, sizeof(l->addr), other);
    CHECK(other == NULL);
    l->mark = w->marks++;
    l->index = w->n;
    w->vector[w->n++] = l;
    HASH_ADD(hh, w->by_addr, addr, sizeof(l->addr), l);
    tower_fill(p, l->size, l->mark);
    if (l->source == FROM_MALLOC) {
        l->taken = kva_malloc_roundup(l->size);
        w->bytes += l->taken;
    }
}

static void
world_put(struct world *w, unsigned i)
{
    struct live *l = w->vector[i];

    if (!tower_intact((void *)l->addr, l->size, l->mark)) {
        FAIL("source %d, size %zu at 0x%lx: overwritten while live", l->source,
             l->size, (unsigned long)l->addr);
    }
    HASH_DEL(w->by_addr, l);
    w->n--;
    w->vector[i] = w->vector[w->n];
    w->vector[i]->index = i;
    give(w, l);
    free(l);
}

/* Another size for memory of malloc's, which keeps what was written to it. */
static void
world_realloc(struct world *w, unsigned i)
{
    struct live *l = w->vector[i];
    size_t size = draw_size(w->t), kept = size < l->size ? size : l->size;
    void *p;

    if (l->source != FROM_MALLOC) {
        return;
    }
    p = kva_realloc((void *)l->addr, size, M_MODEL, M_NOWAIT);
    if (p == NULL) {
        w->refused++;
        return;
    }
    CHECK(tower_intact(p, kept, l->mark));
    w->bytes -= l->taken;
    if ((uintptr_t)p != l->addr) { /* else it may have had to stay */
        l->taken = kva_malloc_roundup(size);
    }
    w->bytes += l->taken;
    HASH_DEL(w->by_addr, l);
    l->addr = (uintptr_t)p;
    l->size = size;
    HASH_ADD(hh, w->by_addr, addr, sizeof(l->addr), l);
    tower_fill(p, l->size, l->mark);
}

/* What the library counts is what the oracle holds. */
static void
world_check(struct world *w)
{
    size_t live[2][KINDS] = { { 0 } };
    struct kva_malloc_stat ms;
    struct kva_pool_stat st;

    tower_check();
    for (unsigned i = 0; i < w->n; i++) {
        if (w->vector[i]->source <= FROM_CACHE) {
            live[w->vector[i]->source][w->vector[i]->which]++;
        }
    }
    for (unsigned k = 0; k < KINDS; k++) {
        kva_pool_stat(&w->pp[k], &st);
        CHECK_EQ(st.objects_out - st.objects_cached, live[FROM_POOL][k]);
        kva_pool_cache_stat(w->pc[k], &st);
        CHECK_EQ(st.objects_out - st.objects_cached, live[FROM_CACHE][k]);
    }
    kva_malloc_type_stat(M_MODEL, &ms);
    CHECK_EQ(ms.bytes, w->bytes);
}

static void
world_end(struct world *w)
{
    while (w->n > 0) {
        world_put(w, (unsigned)test_rand_below(w->t, w->n));
    }
    world_check(w);
    for (unsigned k = 0; k < KINDS; k++) {
        kva_pool_destroy(&w->pp[k]);
        kva_pool_cache_destroy(w->pc[k]);
    }
    tower_end();
}

/* One step: mostly up to a level that itself moves, then down again. */
static void
world_step(struct world *w, unsigned level)
{
    struct test_ctx *t = w->t;

    if (test_random_one_in(&t->random, 8)) {
        CHECK_EQ(kva_posix_cpu_set((unsigned)test_rand_below(t, 4)), 0);
    }
    if (test_random_one_in(&t->random, 5000)) {
        (void)kva_pool_drain_all();
    }
    if (w->n < LIVE_MAX &&
        (w->n == 0 || test_rand_below(t, 100) < (w->n < level ? 60 : 40))) {
        world_get(w);
    } else if (test_random_one_in(&t->random, 8)) {
        world_realloc(w, (unsigned)test_rand_below(t, w->n));
    } else {
        world_put(w, (unsigned)test_rand_below(t, w->n));
    }
}

static void
legal(struct test_ctx *t)
{
    static struct world w;
    unsigned level = 0;

    world_start(&w, t);
    for (unsigned long i = 0; i < t->count; i++) {
        if (i % 4096 == 0) {
            level = (unsigned)test_rand_below(t, LIVE_MAX);
        }
        world_step(&w, level);
        if (i % 1024 == 0) {
            world_check(&w);
        }
    }
    CHECK_EQ(w.refused, 0);
    world_end(&w);
}

/* The same with a port that refuses now and then, for a while. */
static void
legal_with_faults(struct test_ctx *t)
{
    static struct world w;
    unsigned long fired = 0;
    unsigned level = 0;

    world_start(&w, t);
    for (unsigned long i = 0; i < t->count; i++) {
        if (i % 512 == 0) {
            level = (unsigned)test_rand_below(t, LIVE_MAX);
            fired += kva_posix_fault_fired(KVA_POSIX_ANY);
            kva_posix_fault_reset();
            if (test_random_one_in(&t->random, 2)) {
                (void)kva_pool_drain_all(); /* or it may need nothing */
                kva_posix_fault_arm((int)test_rand_below(t, KVA_POSIX_WAIT),
                                    1 + (unsigned long)test_rand_below(t, 4),
                                    test_random_one_in(&t->random, 2));
            }
        }
        world_step(&w, level);
        if (i % 1024 == 0) {
            world_check(&w);
        }
    }
    fired += kva_posix_fault_fired(KVA_POSIX_ANY);
    kva_posix_fault_reset();
    /* One refusal for certain, at any count, in the world as it is now. */
    kva_posix_fault_arm(KVA_POSIX_PAGE_GET, 1, true);
    CHECK(kmem_alloc((size_t)64 << 20, KM_NOSLEEP) == NULL);
    CHECK_GT(kva_posix_fault_fired(KVA_POSIX_PAGE_GET), 0);
    kva_posix_fault_reset();
    world_check(&w);
    /* Many a fault is made good by asking for less; but some must fire, and in
     * a long run some request of the random ones must have been refused. */
    CHECK(t->count < 100000 || fired > 0);
    CHECK(t->count < 1000000 || w.refused > 0);
    world_end(&w);
}

const struct test model_debug_tests[] = {
    TEST_LEAST("model_debug", legal, 2000, 10000, 200000, 2000000),
    TEST_LEAST("model_debug", legal_with_faults, 2000, 10000, 200000, 2000000),
    TEST_END
};
