/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool(9) and pool_cache(9): where objects lie, when slabs come and go, marks
 * and limits, constructors, and what happens when there is no memory.
 */
#include <stdlib.h>

#include "tests/unit/tower.h"

static size_t
slabs_of(struct kva_pool *pp)
{
    struct kva_pool_stat st;

    kva_pool_stat(pp, &st);
    return st.slabs;
}

/* ---- geometry ---------------------------------------------------------- */

/* Objects of one geometry: as many as fill three slabs, all of them whole,
 * aligned, and nobody else's. */
static void
check_geometry(size_t size, unsigned align, unsigned offset, int flags)
{
    static char *object[3000];
    struct kva_pool pp;
    unsigned n;

    kva_pool_init(&pp, size, align, offset, flags, "geometry", NULL,
                  KVA_IPL_NONE);
    n = pp.nobj * 3 < KVA_COUNT(object) ? pp.nobj * 3
                                        : (unsigned)KVA_COUNT(object);
    for (unsigned i = 0; i < n; i++) {
        object[i] = kva_pool_get(&pp, PR_NOWAIT);
        CHECK(object[i] != NULL);
        if (align != 0 && ((uintptr_t)object[i] + offset) % align != 0) {
            FAIL("size %zu align %u offset %u: object at %p", size, align,
                 offset, (void *)object[i]);
        }
        tower_fill(object[i], size, i);
    }
    CHECK(kva_pool_check(&pp) == NULL);
    for (unsigned i = 0; i < n; i++) {
        if (!tower_intact(object[i], size, i)) {
            FAIL("size %zu align %u: object %u was overwritten", size, align,
                 i);
        }
        kva_pool_put(&pp, object[i]);
    }
    CHECK_LE(slabs_of(&pp), 1);
    kva_pool_destroy(&pp);
}

static void
objects_are_aligned_and_disjoint(struct test_ctx *t)
{
    static const unsigned aligns[] = { 0, 8, 16, 64, 256, 4096 };

    tower_start(0);
    for (size_t size = 1; size <= 3 * KVA_PAGE_SIZE; size += t->count) {
        for (unsigned a = 0; a < KVA_COUNT(aligns); a++) {
            check_geometry(size, aligns[a], 0, 0);
        }
    }
    check_geometry(100, 64, 8, 0);
    check_geometry(100, 64, 40, PR_NOTOUCH);
    check_geometry(500, 512, 0, PR_PHINPAGE);
    check_geometry(4096, 0, 0, PR_PHINPAGE);
    check_geometry(40000, 0, 0, 0);
    check_geometry(200000, 0, 0, 0);
    tower_end();
}

/* Header and rest are small where it matters: the sizes that fill a kernel's
 * memory. */
static void
slabs_waste_little(struct test_ctx *t)
{
    static const struct {
        size_t size;
        size_t objects; /* in so many pages, at least */
        size_t pages;
    } want[] = {
        { 32, 120, 1 },  { 104, 38, 1 }, { 192, 21, 1 }, { 584, 27, 4 },
        { 1128, 28, 8 }, { 1024, 4, 1 }, { 4096, 8, 8 },
    };
    struct kva_pool pp;

    (void)t;
    tower_start(0);
    for (unsigned i = 0; i < KVA_COUNT(want); i++) {
        kva_pool_init(&pp, want[i].size, 0, 0, 0, "waste", NULL, KVA_IPL_NONE);
        CHECK_GE(pp.nobj * want[i].pages * KVA_PAGE_SIZE,
                 want[i].objects * pp.slab_bytes);
        kva_pool_destroy(&pp);
    }
    tower_end();
}

/* The quotient that the library makes without a division. */
static void
division_is_right(struct test_ctx *t)
{
    for (unsigned long i = 0; i < t->count; i++) {
        size_t n = (size_t)(test_rand(t) >> test_rand_below(t, 64));
        size_t d = (size_t)(test_rand(t) >> test_rand_below(t, 63)) | 1;

        CHECK_EQ(kva__pool_divide(n, d), n / d);
    }
}

/* ---- slabs come and go ------------------------------------------------- */

#define MANY 4000

/* Of the slabs in one span the lowest one serves, lowest object first, however
 * full others are; one that is empty serves last. */
static void
lowest_slab_serves(struct test_ctx *t)
{
    struct kva_pool pp;
    char *object[5 * 21], *p;

    (void)t;
    tower_start(0);
    kva_pool_init(&pp, 192, 0, 0, 0, "lowest", NULL, KVA_IPL_NONE);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        object[i] = kva_pool_get(&pp, PR_NOWAIT);
    }
    CHECK_EQ(slabs_of(&pp), 5);
    for (unsigned i = 0; i < 21; i++) { /* slab 0: empty */
        kva_pool_put(&pp, object[i]);
    }
    for (unsigned i = 2 * 21; i < 2 * 21 + 3; i++) { /* slab 2: 3 free */
        kva_pool_put(&pp, object[i]);
    }
    for (unsigned i = 1 * 21; i < 1 * 21 + 15; i++) { /* slab 1: 15 free */
        kva_pool_put(&pp, object[i]);
    }
    for (unsigned i = 1 * 21; i < 1 * 21 + 15; i++) {
        p = kva_pool_get(&pp, PR_NOWAIT);
        CHECK_PTR(p, object[i]);
    }
    for (unsigned i = 2 * 21; i < 2 * 21 + 3; i++) {
        p = kva_pool_get(&pp, PR_NOWAIT);
        CHECK_PTR(p, object[i]);
    }
    for (unsigned i = 0; i < 21; i++) {
        p = kva_pool_get(&pp, PR_NOWAIT);
        CHECK_PTR(p, object[i]);
    }
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        kva_pool_put(&pp, object[i]);
    }
    kva_pool_destroy(&pp);
    tower_end();
}

/* ---- the fullest span -------------------------------------------------- */

#define SPAN ((uintptr_t)512 * KVA_PAGE_SIZE)
#define SPANS 3u
#define SPAN_OBJECTS 18000u /* more than three spans hold */

/* All objects of three whole spans and some more, by address. */
struct scene {
    struct kva_pool pp;
    char *object[SPAN_OBJECTS];
    unsigned n;
    unsigned from[SPANS], to[SPANS]; /* objects of a span */
};

static struct scene scene;

static int
by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t) * (char *const *)a,
              y = (uintptr_t) * (char *const *)b;

    return x < y ? -1 : x > y;
}

/* The spans that are full are those in which as many objects lie as in any. */
static void
scene_set(size_t size)
{
    struct scene *s = &scene;
    unsigned found = 0, most = 0, run = 0;

    kva_pool_init(&s->pp, size, 0, 0, 0, "scene", NULL, KVA_IPL_NONE);
    /* Up to the last of a slab, so that no slab is partial. */
    for (s->n = 0; s->n < SPAN_OBJECTS - s->pp.nobj || s->pp.nfree != 0;
         s->n++) {
        s->object[s->n] = kva_pool_get(&s->pp, PR_NOWAIT);
        CHECK(s->object[s->n] != NULL);
    }
    qsort(s->object, s->n, sizeof(s->object[0]), by_address);
    most = s->pp.nobj * (unsigned)kva__pool_divide(SPAN, s->pp.slab_bytes);
    for (unsigned i = 0; i < s->n && found < SPANS; i++) {
        run++;
        if (i + 1 == s->n || (uintptr_t)s->object[i] / SPAN !=
                                 (uintptr_t)s->object[i + 1] / SPAN) {
            if (run == most) {
                s->from[found] = i + 1 - run;
                s->to[found++] = i + 1;
            }
            run = 0;
        }
    }
    CHECK_EQ(found, SPANS);
}

static void
scene_end(void)
{
    for (unsigned i = 0; i < scene.n; i++) {
        if (scene.object[i] != NULL) {
            kva_pool_put(&scene.pp, scene.object[i]);
        }
    }
    kva_pool_destroy(&scene.pp);
}

/* Put the objects of a span whose number, counted within it, leaves rest. */
static void
scene_thin(unsigned span, unsigned divisor, unsigned rest)
{
    struct scene *s = &scene;

    for (unsigned i = s->from[span]; i < s->to[span]; i++) {
        if ((i - s->from[span]) % divisor == rest) {
            kva_pool_put(&s->pp, s->object[i]);
        }
    }
}

/* What comes next is the lowest of those that were put of a span, and so on. */
static void
scene_expect(unsigned span, unsigned divisor, unsigned rest)
{
    struct scene *s = &scene;

    for (unsigned i = s->from[span]; i < s->to[span]; i++) {
        if ((i - s->from[span]) % divisor == rest) {
            char *p = kva_pool_get(&s->pp, PR_NOWAIT);

            CHECK_PTR(p, s->object[i]);
        }
    }
}

/* Three spans with a third, half and a quarter of their objects put, in this
 * order: a quarter serves first, then the third, then the half. */
static void
fullest_span_serves(struct test_ctx *t)
{
    static const size_t size[] = { 1000, 1128, 2048 };

    (void)t;
    tower_start(0);
    for (unsigned k = 0; k < KVA_COUNT(size); k++) {
        scene_set(size[k]);
        scene_thin(0, 3, 1);
        scene_thin(1, 2, 1);
        scene_thin(2, 4, 1);
        (void)kva_pool_reclaim(&scene.pp);
        scene_expect(2, 4, 1);
        scene_expect(0, 3, 1);
        scene_expect(1, 2, 1);
        tower_check();
        scene_end();
    }
    tower_end();
}

/*
 * The level by which a slab is filed may be old: another pool has filled the
 * span since.  It is found while no more slabs have been filled than the pool
 * has partial ones.
 */
static void
old_levels_are_found(struct test_ctx *t)
{
    struct scene *s = &scene;
    size_t *use;
    unsigned first = 0, all;

    (void)t;
    tower_start(0);
    scene_set(1000);
    scene_thin(0, 4, 1);
    scene_thin(1, 3, 1);
    all = (s->to[0] - s->from[0] + 2) / 4 + (s->to[1] - s->from[1] + 1) / 3;
    /* Another pool of the arena seems to fill the second span. */
    use = kva__vmem_use(kva_kmem_arena, (uintptr_t)s->object[s->from[1]]);
    (void)__atomic_fetch_add(use, SPAN, __ATOMIC_RELAXED);
    for (unsigned n = 1; n <= all; n++) {
        uintptr_t p = (uintptr_t)kva_pool_get(&s->pp, PR_NOWAIT);

        if (first == 0 && p / SPAN == (uintptr_t)s->object[s->from[1]] / SPAN) {
            first = n;
        }
    }
    CHECK_GE(first, 1);
    CHECK_LE(first, 8); /* the very first sweep comes across one */
    (void)__atomic_fetch_sub(use, SPAN, __ATOMIC_RELAXED);
    tower_check();
    scene_end();
    tower_end();
}

/* Empty slabs go back at once, but for one where four are in use. */
static void
empty_slabs_go_back(struct test_ctx *t)
{
    struct kva_pool pp;
    static void *object[MANY];

    (void)t;
    tower_start(0);
    kva_pool_init(&pp, 1128, 0, 0, 0, "empty", NULL, KVA_IPL_NONE);
    for (unsigned i = 0; i < MANY; i++) {
        object[i] = kva_pool_get(&pp, PR_NOWAIT);
        CHECK(object[i] != NULL);
    }
    for (unsigned i = 0; i < MANY; i++) {
        struct kva_pool_stat st;

        kva_pool_put(&pp, object[i]);
        kva_pool_stat(&pp, &st);
        CHECK_LE(st.slabs_empty, st.slabs - st.slabs_empty >= 4 ? 1 : 0);
    }
    CHECK_EQ(slabs_of(&pp), 0);
    kva_pool_destroy(&pp);
    tower_end();
}

static void
low_water_is_kept(struct test_ctx *t)
{
    struct kva_pool_stat st;
    struct kva_pool pp;
    void *object[50];

    (void)t;
    tower_start(0);
    kva_pool_init(&pp, 192, 0, 0, 0, "lowat", NULL, KVA_IPL_NONE);
    kva_pool_setlowat(&pp, 30);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        object[i] = kva_pool_get(&pp, PR_NOWAIT);
        kva_pool_stat(&pp, &st);
        CHECK_GE(st.slabs * st.objects_per_slab - st.objects_out, 30);
    }
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        kva_pool_put(&pp, object[i]);
    }
    (void)kva_pool_reclaim(&pp);
    CHECK_EQ(slabs_of(&pp), 2); /* 42 objects */
    kva_pool_setlowat(&pp, 0);
    CHECK_EQ(kva_pool_reclaim(&pp), 2 * KVA_PAGE_SIZE);
    CHECK_EQ(slabs_of(&pp), 0);
    kva_pool_destroy(&pp);
    tower_end();
}

/* Up to the mark empty slabs stay; above it they go back. */
static void
high_water_acts(struct test_ctx *t)
{
    struct kva_pool pp;
    void *object[210];

    (void)t;
    tower_start(0);
    kva_pool_init(&pp, 192, 0, 0, 0, "hiwat", NULL, KVA_IPL_NONE);
    kva_pool_sethiwat(&pp, 100);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        object[i] = kva_pool_get(&pp, PR_NOWAIT);
    }
    CHECK_EQ(slabs_of(&pp), 10);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        kva_pool_put(&pp, object[i]);
    }
    CHECK_EQ(slabs_of(&pp), 4); /* 84 objects; a fifth slab would be 105 */
    kva_pool_sethiwat(&pp, 21);
    CHECK_EQ(slabs_of(&pp), 1);
    kva_pool_sethiwat(&pp, 0);
    CHECK_EQ(slabs_of(&pp), 0);
    kva_pool_destroy(&pp);
    tower_end();
}

static void
primed_objects_are_there(struct test_ctx *t)
{
    struct kva_pool pp;
    void *object[100];

    (void)t;
    tower_start(0);
    kva_pool_init(&pp, 192, 0, 0, 0, "prime", NULL, KVA_IPL_NONE);
    CHECK_EQ(kva_pool_prime(&pp, 100), 0);
    CHECK_EQ(slabs_of(&pp), 5);
    kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        object[i] = kva_pool_get(&pp, PR_NOWAIT);
        CHECK(object[i] != NULL);
    }
    kva_posix_fault_reset();
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        kva_pool_put(&pp, object[i]);
    }
    CHECK_EQ(slabs_of(&pp), 5);
    CHECK_EQ(kva_pool_reclaim(&pp), 0);
    kva_pool_destroy(&pp);
    tower_end();
}

/* ---- the hard limit ---------------------------------------------------- */

static unsigned lines;

static void
count_line(void *arg, const char *msg)
{
    (void)msg;
    lines += *(unsigned *)arg;
}

static void
hard_limit_holds_and_says_so(struct test_ctx *t)
{
    struct kva_pool_stat st;
    struct kva_pool pp;
    unsigned one = 1;
    void *object[10];

    (void)t;
    tower_start(0);
    kva_posix_clock_virtual(true);
    kva_posix_log_set(count_line, &one);
    lines = 0;
    kva_pool_init(&pp, 192, 0, 0, 0, "limit", NULL, KVA_IPL_NONE);
    kva_pool_sethardlimit(&pp, 10, "too many", 5);
    for (unsigned i = 0; i < 10; i++) {
        object[i] = kva_pool_get(&pp, PR_NOWAIT);
        CHECK(object[i] != NULL);
    }
    for (unsigned i = 0; i < 7; i++) { /* seconds 0, 1, ... 6 */
        CHECK(kva_pool_get(&pp, PR_WAITOK | PR_LIMITFAIL) == NULL);
        CHECK(kva_pool_get(&pp, PR_NOWAIT) == NULL);
        kva_posix_clock_advance(1000000000);
    }
    CHECK_EQ(lines, 2);
    CHECK_STR(kva_posix_log_last(), "pool limit: too many");
    kva_pool_stat(&pp, &st);
    CHECK_EQ(st.limit_hits, 14);
    CHECK_EQ(st.objects_out, 10);
    kva_pool_put(&pp, object[0]);
    object[0] = kva_pool_get(&pp, PR_NOWAIT);
    CHECK(object[0] != NULL);
    kva_pool_sethardlimit(&pp, -1, NULL, 0);
    kva_pool_put(&pp, kva_pool_get(&pp, PR_NOWAIT));
    for (unsigned i = 0; i < 10; i++) {
        kva_pool_put(&pp, object[i]);
    }
    kva_pool_destroy(&pp);
    kva_posix_log_set(NULL, NULL);
    tower_end();
}

struct giver {
    struct kva_pool *pp;
    pool_cache_t pc;
    void *object;
    unsigned calls;
};

/* While the test's only thread is asleep: put an object. */
static void
give_one(void *arg, const void *channel)
{
    struct giver *g = arg;

    (void)channel;
    g->calls++;
    if (g->object == NULL) {
        return;
    }
    if (g->pc != NULL) {
        kva_pool_cache_put(g->pc, g->object);
    } else {
        kva_pool_put(g->pp, g->object);
    }
    g->object = NULL;
}

static void
limit_waits_for_a_put(struct test_ctx *t)
{
    struct kva_pool pp;
    struct giver g = { .pp = &pp };
    void *p;

    (void)t;
    tower_start(0);
    kva_posix_wait_hook(give_one, &g);
    kva_pool_init(&pp, 192, 0, 0, 0, "waits", NULL, KVA_IPL_NONE);
    kva_pool_sethardlimit(&pp, 1, NULL, 0);
    g.object = kva_pool_get(&pp, PR_WAITOK);
    p = kva_pool_get(&pp, PR_WAITOK);
    CHECK(p != NULL);
    CHECK_EQ(g.calls, 1);
    kva_pool_put(&pp, p);
    kva_pool_destroy(&pp);
    kva_posix_wait_hook(NULL, NULL);
    tower_end();
}

/*
 * In a cache: what other CPUs' magazines hold is fetched before anybody sleeps,
 * and what is put while somebody sleeps does not end up in a magazine.
 */
static void
limit_of_a_cache_sees_through_magazines(struct test_ctx *t)
{
    struct giver g = { 0 };
    pool_cache_t pc;
    void *object[4], *p;

    (void)t;
    tower_start(0);
    kva_posix_wait_hook(give_one, &g);
    pc = kva_pool_cache_init(192, 0, 0, 0, "waits", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    kva_pool_cache_sethardlimit(pc, 4, NULL, 0);
    CHECK_EQ(kva_posix_cpu_set(0), 0);
    for (unsigned i = 0; i < 4; i++) {
        object[i] = kva_pool_cache_get(pc, PR_NOWAIT);
        CHECK(object[i] != NULL);
    }
    for (unsigned i = 0; i < 3; i++) {
        kva_pool_cache_put(pc, object[i]);
    }
    CHECK_EQ(kva_posix_cpu_set(1), 0);
    for (unsigned i = 0; i < 3; i++) {
        object[i] = kva_pool_cache_get(pc, PR_WAITOK);
        CHECK(object[i] != NULL);
    }
    CHECK_EQ(g.calls, 0);
    g.pc = pc;
    g.object = object[3];
    p = kva_pool_cache_get(pc, PR_WAITOK);
    CHECK(p != NULL);
    CHECK_EQ(g.calls, 1);
    kva_pool_cache_put(pc, p);
    for (unsigned i = 0; i < 3; i++) {
        kva_pool_cache_put(pc, object[i]);
    }
    kva_pool_cache_destroy(pc);
    kva_posix_wait_hook(NULL, NULL);
    tower_end();
}

/* ---- hooks, constructors ----------------------------------------------- */

struct hook {
    struct kva_pool *pp;
    void *object;
};

static void
put_held(void *arg, int flags)
{
    struct hook *h = arg;

    CHECK_EQ(flags, (int)PR_NOWAIT);
    CHECK_EQ(kva_posix_locks_held(), 0);
    if (h->object != NULL) {
        kva_pool_put(h->pp, h->object);
        h->object = NULL;
    }
}

static void
drain_hook_is_called(struct test_ctx *t)
{
    struct kva_pool pp;
    struct hook h = { .pp = &pp };

    (void)t;
    tower_start(0);
    kva_pool_init(&pp, 192, 0, 0, 0, "hook", NULL, KVA_IPL_NONE);
    kva_pool_set_drain_hook(&pp, put_held, &h);
    h.object = kva_pool_get(&pp, PR_NOWAIT);
    CHECK_EQ(kva_pool_reclaim(&pp), KVA_PAGE_SIZE);
    h.object = kva_pool_get(&pp, PR_NOWAIT);
    (void)kva_reclaim(SIZE_MAX); /* the pool's cleaner */
    CHECK(h.object == NULL);
    CHECK_EQ(slabs_of(&pp), 0);
    kva_pool_destroy(&pp);
    tower_end();
}

static void
put_cached(void *arg, int flags)
{
    void **object = arg;

    (void)flags;
    if (object[1] != NULL) {
        kva_pool_cache_put(object[0], object[1]);
        object[1] = NULL;
    }
}

static void
drain_hook_of_a_cache(struct test_ctx *t)
{
    void *object[2];
    pool_cache_t pc;

    (void)t;
    tower_start(0);
    pc = kva_pool_cache_init(192, 0, 0, 0, "hook", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    CHECK(pc != NULL);
    object[0] = pc;
    pool_cache_set_drain_hook(pc, put_cached, object);
    object[1] = kva_pool_cache_get(pc, PR_NOWAIT);
    CHECK(object[1] != NULL);
    CHECK(pool_cache_reclaim(pc));
    CHECK_PTR(object[1], NULL);
    object[1] = kva_pool_cache_get(pc, PR_NOWAIT);
    CHECK(object[1] != NULL);
    (void)kva_reclaim(SIZE_MAX); /* the cache's cleaner */
    CHECK_PTR(object[1], NULL);
    CHECK_EQ(slabs_of(&pc->slabs), 0);
    kva_pool_cache_destroy(pc);
    tower_end();
}

/* What is wanted is given, in whole slabs, and no more; where empty slabs do,
 * magazines keep what they have. */
static void
no_more_than_is_wanted(struct test_ctx *t)
{
    static void *object[2000];
    struct kva_pool_stat before, after;
    struct kva_pool pp;
    pool_cache_t pc;
    size_t slabs;

    (void)t;
    tower_start(0);
    kva_pool_init(&pp, 192, 0, 0, 0, "pool", NULL, KVA_IPL_NONE);
    pc = kva_pool_cache_init(192, 0, 0, 0, "cache", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    CHECK(pc != NULL);
    kva_pool_sethiwat(&pp, KVA_COUNT(object));
    kva_pool_cache_sethiwat(pc, KVA_COUNT(object));
    for (unsigned k = 0; k < 2; k++) {
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            object[i] = k == 0 ? kva_pool_get(&pp, PR_NOWAIT)
                               : kva_pool_cache_get(pc, PR_NOWAIT);
            CHECK(object[i] != NULL);
        }
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            if (k == 0) {
                kva_pool_put(&pp, object[i]);
            } else {
                kva_pool_cache_put(pc, object[i]);
            }
        }
    }
    slabs = slabs_of(&pp);
    CHECK_GT(slabs, 50);
    kva_pool_cache_stat(pc, &before);
    CHECK_GT(before.slabs_empty, 50);
    CHECK_GT(before.objects_cached, 0);
    CHECK_EQ(pool_cache_drain(pc, 1, 0), pp.slab_bytes);
    kva_pool_cache_stat(pc, &after);
    CHECK_EQ(after.slabs, before.slabs - 1);
    CHECK_EQ(after.objects_cached, before.objects_cached);
    CHECK_GE(kva_reclaim(2 * pp.slab_bytes), 2 * pp.slab_bytes);
    kva_pool_cache_stat(pc, &after);
    CHECK_GE(slabs_of(&pp) + after.slabs + 8, slabs + before.slabs);
    kva_pool_destroy(&pp);
    kva_pool_cache_destroy(pc);
    tower_end();
}

/* What is kept by marks goes with the pool. */
static void
marks_end_with_the_pool(struct test_ctx *t)
{
    struct kva_pool pp;
    pool_cache_t pc;

    (void)t;
    tower_start(0);
    kva_pool_init(&pp, 192, 0, 0, 0, "marked", NULL, KVA_IPL_NONE);
    pc = kva_pool_cache_init(192, 0, 0, 0, "marked", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    CHECK(pc != NULL);
    kva_pool_setlowat(&pp, 100);
    kva_pool_cache_setlowat(pc, 100);
    kva_pool_update();
    CHECK_GT(slabs_of(&pp), 1);
    CHECK_GT(slabs_of(&pc->slabs), 1);
    kva_pool_destroy(&pp);
    kva_pool_cache_destroy(pc);
    tower_end();
}

#define BUILT 0x6275696cu

struct builder {
    unsigned built;
    unsigned unbuilt;
    unsigned refuse; /* the nth call fails, 0: none */
    unsigned calls;
};

static int
build(void *arg, void *object, int flags)
{
    struct builder *b = arg;

    CHECK(flags == (int)PR_NOWAIT || flags == (int)PR_WAITOK);
    CHECK_EQ(kva_posix_locks_held(), 0);
    b->calls++;
    if (b->calls == b->refuse) {
        return KVA_ENOMEM;
    }
    b->built++;
    *(unsigned *)object = BUILT;
    return 0;
}

static void
unbuild(void *arg, void *object)
{
    struct builder *b = arg;

    CHECK_EQ(kva_posix_locks_held(), 0);
    CHECK_EQ(*(unsigned *)object, BUILT);
    *(unsigned *)object = 0;
    b->unbuilt++;
}

/* Each object is constructed once for its time outside the slab, and keeps
 * that state through any number of gets and puts. */
static void
constructed_state_is_kept(struct test_ctx *t)
{
    struct builder b = { 0 };
    pool_cache_t pc;
    void *object[100];

    (void)t;
    tower_start(0);
    pc = kva_pool_cache_init(192, 0, 0, 0, "built", NULL, KVA_IPL_NONE, build,
                             unbuild, &b);
    for (unsigned round = 0; round < 20; round++) {
        CHECK_EQ(kva_posix_cpu_set(round % 4), 0);
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            object[i] = kva_pool_cache_get(pc, PR_NOWAIT);
            CHECK_EQ(*(unsigned *)object[i], BUILT);
        }
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            kva_pool_cache_put(pc, object[i]);
        }
    }
    CHECK_LT(b.built, 20 * KVA_COUNT(object));
    CHECK_LT(b.unbuilt, b.built);
    kva_pool_cache_invalidate(pc);
    CHECK_EQ(b.unbuilt, b.built);
    object[0] = kva_pool_cache_get(pc, PR_WAITOK);
    kva_pool_cache_destruct_object(pc, object[0]);
    kva_pool_cache_destroy(pc);
    CHECK_EQ(b.unbuilt, b.built);
    tower_end();
}

/* A constructor that refuses: that get may fail, but nothing is lost. */
static void
refused_construction_loses_nothing(struct test_ctx *t)
{
    (void)t;
    tower_start(0);
    for (unsigned nth = 1; nth <= 60; nth++) {
        struct builder b = { .refuse = nth };
        struct kva_pool_stat st;
        pool_cache_t pc;
        void *object[60];
        unsigned n = 0, failed = 0;

        pc = kva_pool_cache_init(584, 0, 0, 0, "refused", NULL, KVA_IPL_NONE,
                                 build, unbuild, &b);
        while (n < KVA_COUNT(object)) {
            object[n] = kva_pool_cache_get(pc, PR_NOWAIT);
            if (object[n] == NULL) {
                failed++;
                CHECK_LE(failed, 1);
            } else {
                n++;
            }
        }
        kva_pool_cache_stat(pc, &st);
        CHECK_EQ(st.objects_out - st.objects_cached, n);
        CHECK_EQ(b.built - b.unbuilt, st.objects_out);
        CHECK(kva_pool_check(&pc->slabs) == NULL);
        while (n > 0) {
            kva_pool_cache_put(pc, object[--n]);
        }
        kva_pool_cache_destroy(pc);
        CHECK_EQ(b.unbuilt, b.built);
    }
    tower_end();
}

static void
zeroed_on_request(struct test_ctx *t)
{
    pool_cache_t pc;
    struct kva_pool pp;
    void *p;

    (void)t;
    tower_start(0);
    pc = kva_pool_cache_init(200, 0, 0, 0, "zero", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    kva_pool_init(&pp, 200, 0, 0, 0, "zero", NULL, KVA_IPL_NONE);
    for (unsigned i = 0; i < 50; i++) {
        p = kva_pool_cache_get(pc, PR_NOWAIT | PR_ZERO);
        CHECK(tower_intact(p, 200, 0));
        tower_fill(p, 200, 0xff);
        kva_pool_cache_put(pc, p);
        p = kva_pool_get(&pp, PR_NOWAIT | PR_ZERO);
        CHECK(tower_intact(p, 200, 0));
        tower_fill(p, 200, 0xff);
        kva_pool_put(&pp, p);
    }
    kva_pool_cache_destroy(pc);
    kva_pool_destroy(&pp);
    tower_end();
}

/* Nothing in a PR_NOTOUCH slab changes but by its users. */
static void
notouch_is_not_touched(struct test_ctx *t)
{
    struct kva_pool pp;
    char *object[64];
    char *base;

    (void)t;
    tower_start(0);
    kva_pool_init(&pp, 64, 0, 0, PR_NOTOUCH, "notouch", NULL, KVA_IPL_NONE);
    CHECK_EQ(pp.nobj, 64);
    object[0] = kva_pool_get(&pp, PR_NOWAIT);
    base = (char *)((uintptr_t)object[0] & ~(pp.slab_bytes - 1));
    tower_fill(base, pp.slab_bytes, 0x5a);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 1; i < 64; i++) {
            object[i] = kva_pool_get(&pp, PR_NOWAIT);
        }
        for (unsigned i = 1; i < 64; i++) {
            kva_pool_put(&pp, object[i]);
        }
        CHECK(tower_intact(base, pp.slab_bytes, 0x5a));
    }
    kva_pool_put(&pp, object[0]);
    kva_pool_destroy(&pp);
    tower_end();
}

/* Headers outside their slabs, enough for the hash to grow over pages. */
static void
off_slab_headers_by_the_thousand(struct test_ctx *t)
{
    pool_cache_t pc;
    static void *object[10000];

    (void)t;
    tower_start(0);
    pc = kva_pool_cache_init(4096, 0, 0, 0, "pages", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    CHECK((pc->slabs.flags & KVA__PR_OFF_SLAB) != 0);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            object[i] = kva_pool_cache_get(pc, PR_NOWAIT);
            CHECK(object[i] != NULL);
            *(unsigned *)object[i] = i;
        }
        CHECK(kva_pool_check(&pc->slabs) == NULL);
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            CHECK_EQ(*(unsigned *)object[i], i);
            kva_pool_cache_put(pc, object[i]);
        }
    }
    kva_pool_cache_destroy(pc);
    tower_end();
}

/* ---- giving back ------------------------------------------------------- */

/* From a thousand objects in magazines to no page at all; what is to be
 * retained is. */
static void
drain_returns_whole_slabs(struct test_ctx *t)
{
    struct kva_pool_stat st;
    struct kva_stat kva;
    pool_cache_t pc;
    static void *object[1000];

    (void)t;
    tower_start(0);
    pc = kva_pool_cache_init(192, 0, 0, 0, "drain", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    for (unsigned cpu = 0; cpu < 4; cpu++) {
        CHECK_EQ(kva_posix_cpu_set(cpu), 0);
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            object[i] = kva_pool_cache_get(pc, PR_NOWAIT);
        }
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            kva_pool_cache_put(pc, object[i]);
        }
    }
    kva_pool_cache_stat(pc, &st);
    CHECK_GT(st.objects_cached, 4 * 14);
    CHECK_EQ(st.objects_cached, st.objects_out);
    (void)kva_pool_cache_drain(pc, SIZE_MAX, 20 * 192);
    kva_pool_cache_stat(pc, &st);
    CHECK_EQ(st.objects_cached, 20);
    CHECK_EQ(st.slabs_empty, 0);
    CHECK(kva_pool_cache_reclaim(pc));
    kva_pool_cache_stat(pc, &st);
    CHECK_EQ(st.slabs, 0);
    CHECK_EQ(st.objects_out, 0);
    CHECK(!kva_pool_cache_reclaim(pc));
    (void)kva_pool_drain_all();
    kva_stat(&kva);
    CHECK_LE(kva.wired_bytes, TOWER_INTR_BYTES);
    kva_pool_cache_destroy(pc);
    tower_end();
}

/* Frees never ask for metadata, whatever they give back. */
static void
free_takes_no_metadata(struct test_ctx *t)
{
    static const size_t sizes[] = { 32, 192, 1128, 4096 };
    static void *object[4][8000];
    pool_cache_t pc[4];
    size_t requests;
    unsigned frees = 0;

    tower_start(0);
    for (unsigned k = 0; k < 4; k++) {
        pc[k] = kva_pool_cache_init(sizes[k], 0, 0, 0, "metadata", NULL,
                                    KVA_IPL_NONE, NULL, NULL, NULL);
    }
    while (frees < t->count) {
        for (unsigned k = 0; k < 4; k++) {
            CHECK_EQ(kva_posix_cpu_set(k), 0);
            for (unsigned i = 0; i < 8000; i++) {
                object[k][i] = kva_pool_cache_get(pc[k], PR_NOWAIT);
                CHECK(object[k][i] != NULL);
            }
        }
        requests = kva__meta_requests();
        kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
        for (unsigned i = 0; i < 8000; i++) {
            for (unsigned k = 0; k < 4; k++) {
                kva_pool_cache_put(pc[k], object[k][i]);
                frees++;
            }
        }
        for (unsigned k = 0; k < 4; k++) {
            (void)kva_pool_cache_drain(pc[k], SIZE_MAX, 0);
        }
        kva_posix_fault_reset();
        CHECK_EQ(kva__meta_requests(), requests);
    }
    for (unsigned k = 0; k < 4; k++) {
        kva_pool_cache_destroy(pc[k]);
    }
    tower_end();
}

/* ---- no memory --------------------------------------------------------- */

/* One life of a pool and two caches; gets may fail. */
static void
short_life(void)
{
    static void *object[3][200];
    struct kva_pool pp;
    pool_cache_t pc[2] = { NULL, NULL };

    memset(object, 0, sizeof(object));
    kva_pool_init(&pp, 1128, 0, 0, 0, "life", NULL, KVA_IPL_NONE);
    pc[0] = kva_pool_cache_init(192, 0, 0, 0, "life", NULL, KVA_IPL_NONE, NULL,
                                NULL, NULL);
    pc[1] = kva_pool_cache_init(4096, 0, 0, 0, "life", NULL, KVA_IPL_NONE, NULL,
                                NULL, NULL);
    for (unsigned i = 0; i < 200; i++) {
        object[0][i] = kva_pool_get(&pp, PR_NOWAIT);
        for (unsigned k = 0; k < 2; k++) {
            if (pc[k] != NULL) {
                object[k + 1][i] = kva_pool_cache_get(pc[k], PR_NOWAIT);
            }
        }
    }
    tower_check();
    for (unsigned i = 0; i < 200; i++) {
        if (object[0][i] != NULL) {
            kva_pool_put(&pp, object[0][i]);
        }
        for (unsigned k = 0; k < 2; k++) {
            if (object[k + 1][i] != NULL) {
                kva_pool_cache_put(pc[k], object[k + 1][i]);
            }
        }
    }
    CHECK_EQ(slabs_of(&pp), 0);
    kva_pool_destroy(&pp);
    for (unsigned k = 0; k < 2; k++) {
        if (pc[k] != NULL) {
            kva_pool_cache_destroy(pc[k]);
        }
    }
}

/* Claim: whichever request of the port's fails, once or from then on, nothing
 * is lost: everything goes back. */
static void
faults_lose_nothing(struct test_ctx *t)
{
    struct kva_stat before, after;
    unsigned long fired;

    tower_start(0);
    short_life(); /* what is kept for good is there after this */
    (void)kva_pool_drain_all();
    kva_stat(&before);
    for (unsigned sticky = 0; sticky < 2; sticky++) {
        unsigned long nth = 1;

        do {
            kva_posix_fault_arm(KVA_POSIX_ANY, nth, sticky != 0);
            short_life();
            fired = kva_posix_fault_fired(KVA_POSIX_ANY);
            kva_posix_fault_reset();
            (void)kva_pool_drain_all();
            kva_stat(&after);
            CHECK_EQ(after.wired_bytes, before.wired_bytes);
            CHECK_EQ(after.tags, before.tags);
            nth += t->count;
        } while (fired != 0);
    }
    tower_end();
}

/* A machine without a cross-call: a cache can be used and destroyed, although
 * nobody can empty another CPU's magazines. */
static void
caches_end_without_a_barrier(struct test_ctx *t)
{
    struct kva_pool_stat st;
    pool_cache_t pc;
    void *object[20];

    (void)t;
    tower_start(0);
    kva_posix_barrier_enable(false);
    pc = kva_pool_cache_init(192, 0, 0, 0, "alone", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    for (unsigned cpu = 0; cpu < 4; cpu++) {
        CHECK_EQ(kva_posix_cpu_set(cpu), 0);
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            object[i] = kva_pool_cache_get(pc, PR_NOWAIT);
        }
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            kva_pool_cache_put(pc, object[i]);
        }
    }
    kva_pool_cache_stat(pc, &st);
    CHECK_GT(st.objects_cached, 0);
    kva_pool_cache_destroy(pc);
    kva_posix_barrier_enable(true);
    tower_end();
}

const struct test pool_tests[] = {
    TEST_COUNT("pool", objects_are_aligned_and_disjoint, 331, 37, 1),
    TEST("pool", slabs_waste_little),
    TEST_COUNT("pool", division_is_right, 100000, 1000000, 10000000),
    TEST("pool", lowest_slab_serves),
    TEST("pool", fullest_span_serves),
    TEST("pool", old_levels_are_found),
    TEST("pool", empty_slabs_go_back),
    TEST("pool", low_water_is_kept),
    TEST("pool", high_water_acts),
    TEST("pool", primed_objects_are_there),
    TEST("pool", hard_limit_holds_and_says_so),
    TEST("pool", limit_waits_for_a_put),
    TEST("pool", limit_of_a_cache_sees_through_magazines),
    TEST("pool", drain_hook_is_called),
    TEST("pool", drain_hook_of_a_cache),
    TEST("pool", no_more_than_is_wanted),
    TEST("pool", marks_end_with_the_pool),
    TEST("pool", constructed_state_is_kept),
    TEST("pool", refused_construction_loses_nothing),
    TEST("pool", zeroed_on_request),
    TEST("pool", notouch_is_not_touched),
    TEST("pool", off_slab_headers_by_the_thousand),
    TEST("pool", drain_returns_whole_slabs),
    TEST_LEAST("pool", free_takes_no_metadata, 10000, 100000, 100000, 1000000),
    TEST_COUNT("pool", faults_lose_nothing, 7, 1, 1),
    TEST("pool", caches_end_without_a_barrier),
    TEST_END
};
