/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: whichever hook or constructor fails, at whichever of its chances, once
 * or from then on: who asked gets NULL or an error, what others have stays what
 * it is, and when all is freed and drained, everything is as it was: frames,
 * pages attached, tags, spans, metadata.  A free asks for nothing, so it cannot
 * fail.
 *
 * Each script is run with the nth hit failing, n going up until no fault fires;
 * then sequences at random.
 */
#include "tests/model/stock.h"
#include "tests/unit/tower.h"

#define P KVA_PAGE_SIZE
#define MANY 72u

static KVA_MALLOC_DEFINE(M_FAULT, "fault", "the fault test's");
static KVA_MALLOC_DEFINE_LIMIT(M_SCANT, "scant", "with a limit", 60000);

static int ctor_site;
static unsigned nconstructed;
static bool refused; /* since the last reset */

/* ---- asking and freeing ---------------------------------------------- */

/* Fails the test if p is NULL and no fault fired. */
static void *
asked(void *p)
{
    if (p == NULL) {
        CHECK_GT(kva_posix_fault_fired(KVA_POSIX_ANY), 0);
        refused = true;
    }
    return p;
}

static void
answered(int error)
{
    if (error != 0) {
        CHECK_EQ(error, KVA_ENOMEM);
        CHECK_GT(kva_posix_fault_fired(KVA_POSIX_ANY), 0);
        refused = true;
    }
}

#define FREES(call)                              \
    do {                                         \
        size_t before_ = kva__meta_requests();   \
                                                 \
        call;                                    \
        CHECK_EQ(kva__meta_requests(), before_); \
    } while (0)

static void
mark(void *p, size_t size, unsigned n)
{
    if (p != NULL) {
        tower_fill(p, size, n);
    }
}

static int
construct(void *arg, void *object, int flags)
{
    (void)flags;
    if (kva_posix_fault(ctor_site)) {
        return KVA_ENOMEM;
    }
    nconstructed++;
    tower_fill(object, *(const size_t *)arg, 0x5a);
    return 0;
}

static void
destruct(void *arg, void *object)
{
    nconstructed--;
    CHECK(tower_intact(object, *(const size_t *)arg, 0x5a));
}

/* ---- scripts --------------------------------------------------------- */

struct shape {
    size_t size;
    unsigned align;
    int flags;
    struct kva_pool_allocator *pa;
};

static struct kva_pool_allocator large_slabs = { .arena = &kva_kmem_arena,
                                                 .pa_pagesz = 64 * P };

static const struct shape shapes[] = {
    { 192, 0, 0, NULL },                /* header in the slab */
    { 1128, 0, 0, NULL },               /* slabs of several pages */
    { 2048, 0, 0, NULL },               /* header elsewhere */
    { 584, 64, (int)PR_NOTOUCH, NULL }, /* never written */
    { 20000, 0, 0, NULL },              /* slabs of one object */
    { 1000, 0, 0, &large_slabs },       /* beyond the quantum caches */
};

static void
put_all(struct kva_pool *pp, void **p, size_t size, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (p[i] != NULL) {
            CHECK(tower_intact(p[i], size, i));
            FREES(kva_pool_put(pp, p[i]));
            p[i] = NULL;
        }
    }
}

static void
run_pool(const struct shape *sh)
{
    unsigned most = sh->size > P ? 12 : MANY;
    struct kva_pool pp;
    void *p[MANY];

    CHECK_EQ(kva_pool_init(&pp, sh->size, sh->align, 0, sh->flags, "faulty",
                           sh->pa, KVA_IPL_NONE),
             0);
    for (unsigned i = 0; i < most; i++) {
        p[i] = asked(kva_pool_get(&pp, PR_NOWAIT));
        mark(p[i], sh->size, i);
    }
    put_all(&pp, p, sh->size, most / 2);
    answered(kva_pool_prime(&pp, (int)most / 2));
    kva_pool_setlowat(&pp, (int)most / 4);
    kva_pool_sethiwat(&pp, (int)most);
    kva_pool_sethardlimit(&pp, (int)most, NULL, 0);
    for (unsigned i = 0; i < most / 4; i++) {
        p[i] = asked(kva_pool_get(&pp, PR_NOWAIT | PR_ZERO));
        mark(p[i], sh->size, i);
    }
    CHECK_PTR(kva_pool_check(&pp), NULL);
    (void)kva_pool_reclaim(&pp);
    put_all(&pp, p, sh->size, most);
    FREES(kva_pool_destroy(&pp));
}

static void
run_cache(const struct shape *sh)
{
    unsigned most = sh->size > P ? 12 : MANY;
    size_t size = sh->size;
    pool_cache_t pc;
    void *p[MANY];

    pc = asked(kva_pool_cache_init(size, sh->align, 0, sh->flags, "faulty",
                                   sh->pa, KVA_IPL_NONE, construct, destruct,
                                   &size));
    if (pc == NULL) {
        return;
    }
    for (unsigned i = 0; i < most; i++) {
        CHECK_EQ(kva_posix_cpu_set(i % 4), 0);
        p[i] = asked(kva_pool_cache_get(pc, PR_NOWAIT));
        CHECK(p[i] == NULL || tower_intact(p[i], size, 0x5a));
    }
    for (unsigned i = 0; i < most / 2; i++) {
        CHECK_EQ(kva_posix_cpu_set((i + 1) % 4), 0);
        if (p[i] != NULL && i % 8 == 7) {
            FREES(kva_pool_cache_destruct_object(pc, p[i]));
        } else if (p[i] != NULL) {
            FREES(kva_pool_cache_put(pc, p[i]));
        }
        p[i] = NULL;
    }
    kva_pool_cache_invalidate(pc);
    answered(kva_pool_cache_prime(pc, (int)most / 2));
    kva_pool_cache_setlowat(pc, 4);
    for (unsigned i = 0; i < most / 4; i++) {
        p[i] = asked(kva_pool_cache_get(pc, PR_NOWAIT));
    }
    (void)kva_pool_cache_drain(pc, SIZE_MAX, 4 * size);
    CHECK_PTR(kva_pool_check(&pc->slabs), NULL);
    for (unsigned i = 0; i < most; i++) {
        if (p[i] != NULL) {
            FREES(kva_pool_cache_put(pc, p[i]));
        }
    }
    (void)kva_pool_cache_reclaim(pc);
    kva_pool_cache_destroy(pc);
    CHECK_EQ(nconstructed, 0);
}

static const size_t sizes[] = { 1,    8,     100,    200,    1000,
                                2048, 3000,  P,      2 * P,  3 * P,
                                5000, 7 * P, 31 * P, 33 * P, 100000,
                                40,   64,    500,    200 * P };

static void
run_kmem(const struct shape *sh)
{
    void *p[KVA_COUNT(sizes)], *q[KVA_COUNT(sizes)];

    (void)sh;
    for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
        CHECK_EQ(kva_posix_cpu_set(i % 4), 0);
        p[i] = asked(i % 2 == 0 ? kva_kmem_alloc(sizes[i], KM_NOSLEEP)
                                : kva_kmem_zalloc(sizes[i], KM_NOSLEEP));
        CHECK(p[i] == NULL || i % 2 == 0 || tower_intact(p[i], sizes[i], 0));
        mark(p[i], sizes[i], i);
        q[i] = sizes[i] > 3 * P
                   ? NULL
                   : asked(kva_kmem_intr_alloc(sizes[i], KM_NOSLEEP));
        mark(q[i], sizes[i], i + 100);
    }
    (void)kva_kmem_drain();
    for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
        if (p[i] != NULL) {
            CHECK(tower_intact(p[i], sizes[i], i));
            FREES(kva_kmem_free(p[i], sizes[i]));
        }
        if (q[i] != NULL) {
            CHECK(tower_intact(q[i], sizes[i], i + 100));
            FREES(kva_kmem_intr_free(q[i], sizes[i]));
        }
    }
}

static void
run_malloc(const struct shape *sh)
{
    void *p[KVA_COUNT(sizes)];
    struct kva_malloc_stat st;
    unsigned failed = 0;

    (void)sh;
    for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
        CHECK_EQ(kva_posix_cpu_set(i % 4), 0);
        p[i] = asked(kva_malloc(sizes[i], M_FAULT, M_NOWAIT));
        failed += p[i] == NULL;
        mark(p[i], sizes[i], i);
    }
    /* Each to the size of the next but one. */
    for (unsigned i = 0; i + 2 < KVA_COUNT(sizes); i++) {
        size_t kept = sizes[i] < sizes[i + 2] ? sizes[i] : sizes[i + 2];
        void *q =
            p[i] == NULL
                ? NULL
                : asked(kva_realloc(p[i], sizes[i + 2], M_FAULT, M_NOWAIT));

        if (p[i] != NULL) {
            failed += q == NULL;
            CHECK(tower_intact(q == NULL ? p[i] : q, kept, i));
            p[i] = q == NULL ? p[i] : q;
        }
    }
    kva_malloc_type_stat(M_FAULT, &st);
    CHECK_EQ(st.failures, failed);
    for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
        FREES(kva_free(p[i], M_FAULT));
    }
    kva_malloc_type_stat(M_FAULT, &st);
    CHECK_EQ(st.active, 0);
    CHECK_EQ(st.bytes, 0);
    for (unsigned i = 0; i < 12; i++) {
        p[i] = asked(kva_malloc(5000, M_SCANT, M_NOWAIT));
        if (p[i] == NULL) {
            break;
        }
        FREES(kva_free(p[i], M_SCANT));
    }
    kva_malloc_type_stat(M_SCANT, &st);
    CHECK_EQ(st.bytes, 0);
    kva_malloc_type_detach(M_FAULT);
    kva_malloc_type_detach(M_SCANT);
}

struct script {
    const char *name;
    void (*run)(const struct shape *sh);
    unsigned nshapes;
};

static const struct script scripts[] = {
    { "a pool", run_pool, KVA_COUNT(shapes) },
    { "a cache", run_cache, KVA_COUNT(shapes) },
    { "kmem", run_kmem, 1 },
    { "malloc", run_malloc, 1 },
};

/* ---- at rest --------------------------------------------------------- */

struct rest {
    size_t attached, frames, meta, tags, spans, wired;
};

static struct rest
at_rest(void)
{
    struct kva_posix_stats machine;
    struct kva_stat st;

    (void)kva_kmem_drain();
    (void)kva_pool_drain_all();
    tower_check();
    kva_posix_stats_get(&machine);
    kva_stat(&st);
    return (struct rest){ machine.attached_pages,
                          machine.frames,
                          machine.meta_pages,
                          st.tags,
                          st.spans,
                          st.wired_bytes };
}

/* Which pages of metadata are needed depends on the order in which things come
 * and go.  So many more there may be in all the runs of a test; one that is
 * lost at each fault is soon seen. */
#define META_SLACK 8u

static void
expect_rest(const struct rest *want, const char *name, unsigned long nth)
{
    struct rest is = at_rest();

    if (is.attached != want->attached || is.frames != want->frames ||
        is.tags != want->tags || is.spans != want->spans ||
        is.wired != want->wired || is.meta > want->meta + META_SLACK) {
        FAIL("%s, fault %lu: %zu pages attached, %zu frames, %zu metadata, "
             "%zu tags, %zu spans; before: %zu, %zu, %zu, %zu, %zu",
             name, nth, is.attached, is.frames, is.meta, is.tags, is.spans,
             want->attached, want->frames, want->meta, want->tags, want->spans);
    }
}

/* ---- each site, at each chance --------------------------------------- */

static unsigned long fired_at[2][KVA_POSIX_SITES + 2];

static bool
run_one(const struct script *sc, unsigned shape, int site, unsigned long nth,
        bool sticky, const struct rest *rest)
{
    unsigned long fired;

    kva_posix_fault_reset();
    kva_posix_fault_arm(site, nth, sticky);
    refused = false;
    sc->run(&shapes[shape]);
    fired = kva_posix_fault_fired(KVA_POSIX_ANY);
    for (int k = 0; k < KVA_POSIX_SITES; k++) {
        fired_at[sticky][k] += kva_posix_fault_fired(k);
    }
    fired_at[sticky][KVA_POSIX_SITES] += kva_posix_fault_fired(ctor_site);
    fired_at[sticky][KVA_POSIX_SITES + 1] += refused;
    kva_posix_fault_reset();
    expect_rest(rest, sc->name, nth);
    return fired > 0;
}

/* t->count: from one n to the next at most. */
static void
run_script(struct test_ctx *t, const struct script *sc, unsigned shape,
           int site, size_t meta)
{
    struct rest rest;

    kva_posix_fault_reset();
    refused = false;
    sc->run(&shapes[shape]);
    CHECK(!refused);
    rest = at_rest();
    rest.meta = meta;
    for (unsigned sticky = 0; sticky < 2; sticky++) {
        unsigned long nth = 1;

        while (run_one(sc, shape, site, nth, sticky != 0, &rest)) {
            CHECK_LT(nth, 100000);
            nth += 1 + (unsigned long)test_rand_below(t, t->count);
        }
    }
}

/* Sites that no object comes to.  Nobody waits; in runs of 3 nothing is large,
 * so there is nothing to demote (test_large.c and test_split.c have that fail);
 * and contiguous frames are for devices (test_contig.c). */
static bool
not_of_objects(int site)
{
#if KVA_CONFIG_PAGE_CONTIG
    if (site == KVA_POSIX_PAGE_CONTIG) {
        return true;
    }
#endif
    return site == KVA_POSIX_WAIT || site == KVA_POSIX_DEMOTE;
}

static void
objects_fail_at_each_site(struct test_ctx *t)
{
    size_t meta;

    tower_start(0);
    ctor_site = kva_posix_fault_add("constructor");
    CHECK_GE(ctor_site, 0);
    kva_posix_run_max_set(3); /* so that wiring fails in the middle too */
    for (unsigned i = 0; i < KVA_COUNT(scripts); i++) {
        for (unsigned shape = 0; shape < scripts[i].nshapes; shape++) {
            scripts[i].run(&shapes[shape]);
        }
    }
    meta = at_rest().meta;
    for (unsigned i = 0; i < KVA_COUNT(scripts); i++) {
        const int site[] = {
            KVA_POSIX_ANY,
            KVA_POSIX_PAGE_GET,
            KVA_POSIX_MAP,
            KVA_POSIX_META_GET,
            KVA_POSIX_BARRIER,
#if KVA_SLABS_BY_OWNER
            KVA_POSIX_OWNER,
#endif
            ctor_site
        };

        for (unsigned k = 0; k < scripts[i].nshapes * KVA_COUNT(site); k++) {
            run_script(t, &scripts[i], k / (unsigned)KVA_COUNT(site),
                       site[k % KVA_COUNT(site)], meta);
        }
    }
    /* Every site of objects was made to fail, both ways: see not_of_objects. */
    for (unsigned sticky = 0; sticky < 2; sticky++) {
        for (int k = 0; k < KVA_POSIX_SITES + 2; k++) {
            if (!not_of_objects(k) && fired_at[sticky][k] == 0) {
                FAIL("nothing failed at site %d", k);
            }
        }
    }
    tower_end();
}

/* ---- at random ------------------------------------------------------- */

#define STEPS 400u

static uint32_t
draw(void *arg, uint32_t n)
{
    return (uint32_t)test_rand_below(arg, n);
}

static void
expect(const char *bad)
{
    if (bad != NULL) {
        FAIL("%s", bad);
    }
}

/* t->count sequences in one tower, each of which leaves it as it was. */
static void
random_sequences_lose_nothing(struct test_ctx *t)
{
    unsigned long faulted = 0, unbuilt = 0, refusals = 0;
    struct rest rest = { 0, 0, 0, 0, 0, 0 };

    tower_start(0);
    for (unsigned long i = 0; i < t->count; i++) {
        struct stock *s = stock_new(draw, t);

        s->faults = true;
        for (unsigned k = 0; k < STEPS; k++) {
            expect(stock_step(s));
        }
        expect(stock_check(s));
        faulted += s->count[STOCK_FAULTED];
        unbuilt += s->count[STOCK_UNBUILT];
        refusals += s->count[STOCK_REFUSED];
        expect(stock_end(s));
        kva_malloc_fini();
        if (i < 8) { /* metadata grows to its peak */
            rest = at_rest();
        } else {
            expect_rest(&rest, "a sequence at random", i);
        }
    }
    CHECK_GT(faulted, 0);
    CHECK_GT(refusals, 0);
    CHECK(t->count < 100 || unbuilt > 0);
    tower_end();
}

const struct test fault_object_tests[] = {
    TEST_LEAST("fault_objects", objects_fail_at_each_site, 96, 24, 8, 1),
    TEST_COUNT("fault_objects", random_sequences_lose_nothing, 40, 400, 20000),
    TEST_END
};
