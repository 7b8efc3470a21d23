/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * malloc(9) and kmalloc: freed without a size, counted by type.
 */
#include "kmem/kmem_impl.h"
#include "malloc_compat/kmalloc.h"
#include "tests/unit/tower.h"

static KVA_MALLOC_DEFINE(M_ONE, "one", "the first type");
static KVA_MALLOC_DEFINE(M_TWO, "two", "the second type");
static KVA_MALLOC_DEFINE_LIMIT(M_SCANT, "scant", "a type with a limit", 10000);

static struct kva_malloc_stat
stat_of(struct kva_malloc_type *mt)
{
    struct kva_malloc_stat st;

    kva_malloc_type_stat(mt, &st);
    return st;
}

/* Every size up to three pages is found again at free. */
static void
every_size_is_freed_without_it(struct test_ctx *t)
{
    tower_start(0);
    for (size_t size = 1; size <= 3 * KVA_PAGE_SIZE; size += t->count) {
        void *p = kva_malloc(size, M_ONE, M_WAITOK);
        void *q = kva_malloc(size, M_TWO, M_NOWAIT | M_ZERO);

        CHECK(p != NULL && q != NULL);
        CHECK(tower_intact(q, size, 0));
        CHECK_EQ(stat_of(M_ONE).bytes, kva_malloc_roundup(size));
        CHECK_EQ(stat_of(M_ONE).active, 1);
        tower_fill(p, kva_malloc_roundup(size), 1);
        tower_fill(q, kva_malloc_roundup(size), 2);
        CHECK(tower_intact(p, kva_malloc_roundup(size), 1));
        kva_free(p, M_ONE);
        kva_free(q, M_TWO);
        CHECK_EQ(stat_of(M_ONE).bytes, 0);
        CHECK_EQ(stat_of(M_ONE).active, 0);
    }
    tower_end();
}

/* Whoever allocates, whoever frees: the sums are right. */
static void
counts_are_exact_over_cpus(struct test_ctx *t)
{
    static void *p[2000];
    size_t bytes = 0, peak = 0;
    unsigned n = 0;

    tower_start(0);
    for (unsigned i = 0; i < KVA_COUNT(p); i++) {
        size_t size = 1 + (size_t)test_rand_below(t, 6000);

        CHECK_EQ(kva_posix_cpu_set((unsigned)test_rand_below(t, 4)), 0);
        p[i] = kva_malloc(size, M_ONE, M_WAITOK);
        bytes += kva_malloc_roundup(size);
        peak = bytes > peak ? bytes : peak;
        n++;
        if (test_random_one_in(&t->random, 4)) {
            unsigned k = (unsigned)test_rand_below(t, i + 1);
            size_t before = stat_of(M_ONE).bytes;

            if (p[k] != NULL) {
                CHECK_EQ(kva_posix_cpu_set((unsigned)test_rand_below(t, 4)), 0);
                kva_free(p[k], M_ONE);
                bytes -= before - stat_of(M_ONE).bytes;
                p[k] = NULL;
                n--;
            }
        }
        CHECK_EQ(stat_of(M_ONE).active, n);
        CHECK_EQ(stat_of(M_ONE).bytes, bytes);
    }
    CHECK_EQ(stat_of(M_ONE).requests, KVA_COUNT(p));
    CHECK_EQ(stat_of(M_TWO).requests, 0);
    for (unsigned i = 0; i < KVA_COUNT(p); i++) {
        kva_free(p[i], M_ONE);
    }
    CHECK_EQ(stat_of(M_ONE).bytes, 0);
    CHECK_LE(stat_of(M_ONE).high, peak);
    tower_end();
}

/* The high-water mark, seen by nobody on the way, is right to a window for
 * each CPU. */
static void
high_water_is_near(struct test_ctx *t)
{
    static void *p[4][500];
    size_t total;

    (void)t;
    tower_start(0);
    total = (size_t)4 * 500 * kva_kmem_roundup_size(192);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned cpu = 0; cpu < 4; cpu++) {
            CHECK_EQ(kva_posix_cpu_set(cpu), 0);
            for (unsigned i = 0; i < 500; i++) {
                p[cpu][i] = kva_malloc(192, M_ONE, M_WAITOK);
            }
        }
        for (unsigned cpu = 0; cpu < 4; cpu++) {
            CHECK_EQ(kva_posix_cpu_set(3 - cpu), 0);
            for (unsigned i = 0; i < 500; i++) {
                kva_free(p[cpu][i], M_ONE);
            }
        }
    }
    CHECK_LE(stat_of(M_ONE).high, total);
    CHECK_GE(stat_of(M_ONE).high, total - 4 * KVA_MALLOC_WINDOW);
    tower_end();
}

static void
failures_are_counted(struct test_ctx *t)
{
    void *p;

    (void)t;
    tower_start(0);
    kva_free(kva_malloc(64, M_ONE, M_WAITOK), M_ONE);
    kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
    CHECK(kva_malloc(20000, M_ONE, M_NOWAIT) == NULL);
    CHECK(kva_malloc(3000, M_ONE, M_NOWAIT) == NULL);
    kva_posix_fault_reset();
    CHECK_EQ(stat_of(M_ONE).failures, 2);
    CHECK_EQ(stat_of(M_ONE).requests, 1);
    CHECK_EQ(stat_of(M_ONE).bytes, 0);
    CHECK(kva_malloc(SIZE_MAX - 10, M_ONE, M_NOWAIT) == NULL);
    CHECK(kva_malloc(SIZE_MAX / 4, M_ONE, M_WAITOK | M_CANFAIL) == NULL);
    CHECK_EQ(stat_of(M_ONE).failures, 4);
    p = kva_malloc(0, M_ONE, M_WAITOK);
    CHECK(p != NULL);
    CHECK_EQ(stat_of(M_ONE).bytes, 8);
    kva_free(p, M_ONE);
    kva_free(NULL, M_ONE);
    CHECK_EQ(stat_of(M_ONE).active, 0);
    tower_end();
}

/* ---- limits ------------------------------------------------------------ */

static void
limits_hold(struct test_ctx *t)
{
    void *p[4];

    (void)t;
    tower_start(0);
    p[0] = kva_malloc(4096, M_SCANT, M_WAITOK);
    p[1] = kva_malloc(4096, M_SCANT, M_WAITOK);
    CHECK(kva_malloc(4096, M_SCANT, M_NOWAIT) == NULL);
    p[2] = kva_malloc(1800, M_SCANT, M_NOWAIT); /* 1792 is left, 1920 wanted */
    CHECK(p[2] == NULL);
    p[2] = kva_malloc(1792, M_SCANT, M_NOWAIT);
    CHECK(p[2] != NULL);
    CHECK_EQ(stat_of(M_SCANT).bytes, 2 * 4096 + 1792);
    CHECK_EQ(stat_of(M_SCANT).high, 2 * 4096 + 1792);
    CHECK_EQ(stat_of(M_SCANT).failures, 2);
    CHECK_EQ(stat_of(M_SCANT).limit, 10000);
    CHECK(kva_malloc(20000, M_SCANT, M_WAITOK | M_CANFAIL) == NULL);
    kva_malloc_type_setlimit(M_SCANT, 0);
    p[3] = kva_malloc(20000, M_SCANT, M_NOWAIT);
    CHECK(p[3] != NULL);
    kva_malloc_type_setlimit(M_SCANT, 10000);
    for (unsigned i = 0; i < 4; i++) {
        kva_free(p[i], M_SCANT);
    }
    CHECK_EQ(stat_of(M_SCANT).bytes, 0);
    CHECK_EQ(stat_of(M_SCANT).active, 0);
    tower_end();
}

static void
free_one(void *arg, const void *channel)
{
    void **p = arg;

    (void)channel;
    kva_free(*p, M_SCANT);
    *p = NULL;
}

static void
limits_are_waited_for(struct test_ctx *t)
{
    void *p, *q;

    (void)t;
    tower_start(0);
    kva_posix_wait_hook(free_one, &p);
    p = kva_malloc(8192, M_SCANT, M_WAITOK);
    q = kva_malloc(4096, M_SCANT, M_WAITOK);
    CHECK(p == NULL);
    CHECK(q != NULL);
    CHECK_EQ(stat_of(M_SCANT).bytes, 4096);
    kva_free(q, M_SCANT);
    kva_posix_wait_hook(NULL, NULL);
    tower_end();
}

/* ---- realloc, kmalloc -------------------------------------------------- */

static void
realloc_keeps_what_was_there(struct test_ctx *t)
{
    size_t size = 10;
    char *p;

    tower_start(0);
    p = kva_realloc(NULL, size, M_ONE, M_WAITOK);
    tower_fill(p, size, 1);
    for (unsigned long i = 0; i < t->count; i++) {
        size_t grown = 1 + (size_t)test_rand_below(t, 20000);
        size_t kept = grown < size ? grown : size;

        p = kva_realloc(p, grown, M_ONE, M_WAITOK);
        CHECK(p != NULL);
        CHECK(tower_intact(p, kept, (unsigned)i + 1));
        tower_fill(p, grown, (unsigned)i + 2);
        size = grown;
        CHECK_EQ(stat_of(M_ONE).active, 1);
        CHECK_EQ(stat_of(M_ONE).bytes, kva_malloc_roundup(size));
    }
    kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
    CHECK(kva_realloc(p, (size_t)4 << 20, M_ONE, M_NOWAIT) == NULL);
    kva_posix_fault_reset();
    CHECK(tower_intact(p, size, (unsigned)t->count + 1));
    CHECK(kva_realloc(p, 0, M_ONE, M_WAITOK) == NULL);
    CHECK_EQ(stat_of(M_ONE).active, 0);
    tower_end();
}

static void
kmalloc_has_no_types(struct test_ctx *t)
{
    char *p, *q;

    (void)t;
    tower_start(0);
    p = kmalloc(100);
    q = kzalloc(5000);
    CHECK(p != NULL && q != NULL);
    CHECK(tower_intact(q, 5000, 0));
    tower_fill(p, 100, 3);
    p = krealloc(p, 9000);
    CHECK(tower_intact(p, 100, 3));
    CHECK(kmalloc(SIZE_MAX / 4) == NULL);
    kfree(p);
    kfree(q);
    kfree(NULL);
    tower_end();
}

const struct test malloc_tests[] = {
    TEST_COUNT("malloc", every_size_is_freed_without_it, 7, 1, 1),
    TEST("malloc", counts_are_exact_over_cpus),
    TEST("malloc", high_water_is_near),
    TEST("malloc", failures_are_counted),
    TEST("malloc", limits_hold),
    TEST("malloc", limits_are_waited_for),
    TEST_COUNT("malloc", realloc_keeps_what_was_there, 300, 3000, 30000),
    TEST("malloc", kmalloc_has_no_types),
    TEST_END
};
