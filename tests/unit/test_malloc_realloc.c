/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * realloc and its kin: what stays, what moves, what is zero, what is counted,
 * and that p is as it was when there is no memory.
 */
#include "kmem/kmem_impl.h"
#include "malloc_compat/kmalloc.h"
#include "tests/unit/tower.h"

static KVA_MALLOC_DEFINE(M_ONE, "one", "the first type");
static KVA_MALLOC_DEFINE_LIMIT(M_SCANT, "scant", "a type with a limit", 10240);

static struct kva_malloc_stat
stat_of(struct kva_malloc_type *mt)
{
    struct kva_malloc_stat st;

    kva_malloc_type_stat(mt, &st);
    return st;
}

/* Within what it takes it stays, from there on it moves; sizes of each class
 * and of pages, to a larger and to a smaller one. */
static void
it_stays_while_it_takes_the_same(struct test_ctx *t)
{
    size_t next;

    (void)t;
    tower_start(0);
    for (size_t all = kva_malloc_roundup(1); all < 4 * KVA_PAGE_SIZE;
         all = next) {
        char *p = kva_malloc(all, M_ONE, M_WAITOK), *q;

        next = kva_malloc_roundup(all + 1);
        tower_fill(p, all, 5);
        CHECK_PTR(kva_realloc(p, all - 1, M_ONE, M_WAITOK), p);
        CHECK_PTR(kva_realloc(p, all, M_ONE, M_NOWAIT), p);
        CHECK_EQ(stat_of(M_ONE).active, 1);
        q = kva_realloc(p, all + 1, M_ONE, M_WAITOK);
        CHECK(q != NULL && q != p);
        CHECK(tower_intact(q, all, 5));
        CHECK_EQ(kva_malloc_usable_size(q), next);
        CHECK_EQ(stat_of(M_ONE).bytes, next);
        q = kva_realloc(q, all, M_ONE, M_WAITOK);
        CHECK(tower_intact(q, all, 5));
        CHECK_EQ(kva_malloc_usable_size(q), all);
        CHECK_EQ(stat_of(M_ONE).bytes, all);
        CHECK_EQ(stat_of(M_ONE).active, 1);
        CHECK(kva_realloc(q, 0, M_ONE, M_WAITOK) == NULL);
        CHECK_EQ(stat_of(M_ONE).active, 0);
    }
    tower_end();
}

/* With M_ZERO each time, whatever it grows by is zero, though it was written
 * to its end before, and though the memory was dirty. */
static void
what_it_grows_by_is_zero(struct test_ctx *t)
{
    size_t size = 1;
    char *p;

    tower_start(0);
    p = kva_realloc(NULL, size, M_ONE, M_WAITOK | M_ZERO);
    CHECK_EQ(p[0], 0);
    tower_fill(p, size, 7);
    for (unsigned long i = 0; i < t->count; i++) {
        size_t most = test_random_one_in(&t->random, 2) ? 300 : 3 * 4096;
        size_t now = 1 + (size_t)test_rand_below(t, most);

        p = kva_realloc(p, now, M_ONE, M_WAITOK | M_ZERO);
        CHECK(tower_intact(p, now < size ? now : size, 7));
        if (now > size) {
            CHECK(tower_intact(p + size, now - size, 0));
        }
        tower_fill(p, now, 7);
        size = now;
    }
    kva_free(p, M_ONE);
    tower_end();
}

/* No memory at all: growing fails and leaves p, shrinking succeeds at p. */
static void
failure_leaves_it_alone(struct test_ctx *t)
{
    struct kva_malloc_stat before, after;
    static void *full[5000];
    unsigned n = 0;
    char *p, *q;

    (void)t;
    tower_start(0);
    p = kva_malloc(1000, M_ONE, M_WAITOK | M_ZERO);
    tower_fill(p, 1000, 3);
    kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
    while ((q = kva_kmem_alloc(100, KM_NOSLEEP)) != NULL) {
        CHECK_LT(n, KVA_COUNT(full));
        full[n++] = q;
    }
    before = stat_of(M_ONE);
    CHECK(kva_realloc(p, 100000, M_ONE, M_NOWAIT) == NULL);
    CHECK(tower_intact(p, 1000, 3));
    CHECK_PTR(kva_realloc(p, 100, M_ONE, M_NOWAIT | M_ZERO), p);
    CHECK(tower_intact(p, 100, 3));
    CHECK(tower_intact(p + 100, kva_malloc_usable_size(p) - 100, 0));
    after = stat_of(M_ONE);
    CHECK_EQ(after.failures, before.failures + 1);
    CHECK_EQ(after.requests, before.requests);
    CHECK_EQ(after.bytes, before.bytes);
    CHECK(kva_reallocf(p, 100000, M_ONE, M_NOWAIT) == NULL); /* and frees p */
    CHECK_EQ(stat_of(M_ONE).active, 0);
    kva_posix_fault_reset();
    while (n > 0) {
        kva_kmem_free(full[--n], 100);
    }
    /* A size that cannot be: refused, or a misuse of who would not hear it. */
    p = kva_malloc(10, M_ONE, M_WAITOK);
    CHECK(kva_realloc(p, SIZE_MAX - 7, M_ONE, M_WAITOK | M_CANFAIL) == NULL);
    CHECK_PANIC((void)kva_realloc(p, SIZE_MAX - 7, M_ONE, M_WAITOK),
                "realloc: type one: 0x0: expected a size that can be had or "
                "M_CANFAIL, found size %zu",
                SIZE_MAX - 7);
    kva_free(p, M_ONE);
    tower_end();
}

/* At a limit only the difference must fit; and a failure gives it back. */
static void
limits_see_the_difference(struct test_ctx *t)
{
    char *p;

    (void)t;
    tower_start(0);
    p = kva_malloc(6144, M_SCANT, M_WAITOK); /* takes 8192 of 10240 */
    CHECK_EQ(stat_of(M_SCANT).bytes, 8192);
    CHECK(kva_realloc(p, 12000, M_SCANT, M_NOWAIT) == NULL);
    kva_malloc_type_setlimit(M_SCANT, 12288);
    p = kva_realloc(p, 12000, M_SCANT, M_WAITOK);
    CHECK(p != NULL);
    CHECK_EQ(stat_of(M_SCANT).bytes, 12288);
    CHECK_EQ(stat_of(M_SCANT).high, 12288);
    CHECK_EQ(stat_of(M_SCANT).active, 1);
    p = kva_realloc(p, 500, M_SCANT, M_NOWAIT);
    CHECK_EQ(stat_of(M_SCANT).bytes, 512);
    kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
    kva_malloc_type_setlimit(M_SCANT, (unsigned long)8 << 20);
    CHECK(kva_realloc(p, (size_t)4 << 20, M_SCANT, M_NOWAIT) == NULL);
    kva_posix_fault_reset();
    CHECK_EQ(stat_of(M_SCANT).bytes, 512);
    CHECK_EQ(stat_of(M_SCANT).requests, 3);
    CHECK_EQ(stat_of(M_SCANT).failures, 2);
    kva_free(p, M_SCANT);
    CHECK_EQ(stat_of(M_SCANT).active, 0);
    kva_malloc_type_setlimit(M_SCANT, 10240);
    tower_end();
}

static void
arrays_do_not_wrap(struct test_ctx *t)
{
    size_t root = (size_t)1 << (sizeof(size_t) * 4);
    char *p;

    (void)t;
    tower_start(0);
    CHECK(kva_mallocarray(root, root, M_ONE, M_NOWAIT) == NULL);
    CHECK(kva_mallocarray(root + 1, root, M_ONE, M_WAITOK | M_CANFAIL) == NULL);
    CHECK(kva_mallocarray(SIZE_MAX / 8 + 1, 8, M_ONE, M_NOWAIT) == NULL);
    CHECK_PANIC((void)kva_mallocarray(root, root, M_ONE, M_WAITOK),
                "malloc: type one: 0x0: expected a size that can be had or "
                "M_CANFAIL, found size %zu",
                SIZE_MAX);
    p = kva_mallocarray(100, 7, M_ONE, M_WAITOK | M_ZERO);
    CHECK(tower_intact(p, 700, 0));
    CHECK_EQ(kva_malloc_usable_size(p), kva_malloc_roundup(700));
    kva_free(p, M_ONE);
    p = kva_mallocarray(0, 7, M_ONE, M_WAITOK);
    CHECK(p != NULL);
    kva_free(p, M_ONE);
    CHECK(kcalloc(root, root) == NULL);
    CHECK(kmalloc_array(root, root) == NULL);
    p = kcalloc(50, 9);
    CHECK(tower_intact(p, 450, 0));
    kfree(p);
    p = kmalloc_array(50, 9);
    CHECK_EQ(ksize(p), kva_malloc_roundup(450));
    kfree(p);
    tower_end();
}

/* What was in it is gone, to the end of what it takes. */
static void
zfree_leaves_nothing(struct test_ctx *t)
{
    char *p, *q;

    (void)t;
    tower_start(0);
    for (size_t size = 40; size < 3000; size += 331) {
        p = kva_malloc(size, M_ONE, M_WAITOK);
        tower_fill(p, kva_malloc_usable_size(p), 0xee);
        kva_zfree(p, M_ONE);
        q = kva_malloc(size, M_ONE, M_WAITOK);
        CHECK_PTR(q, p); /* from the magazine */
        CHECK(tower_intact(q, kva_malloc_usable_size(q), 0));
        tower_fill(q, size, 0xee);
        kva_free(q, M_ONE);
    }
    p = kmalloc(30000);
    tower_fill(p, 30000, 1);
    kfree_sensitive(p);
    kva_zfree(NULL, M_ONE);
    CHECK_EQ(kva_malloc_usable_size(NULL), 0);
    tower_end();
}

static void
strings_are_copied(struct test_ctx *t)
{
    char *s;

    (void)t;
    tower_start(0);
    s = kstrdup("what is this");
    CHECK_STR(s, "what is this");
    kfree(s);
    s = kstrndup("what is this", 4);
    CHECK_STR(s, "what");
    kfree(s);
    CHECK(kstrdup(NULL) == NULL);
    tower_end();
}

/* Freed as another type: the sum is right, and each is told when it goes. */
static void
a_free_counts_for_the_type_it_names(struct test_ctx *t)
{
    static KVA_MALLOC_DEFINE(M_OTHER, "other", "another type");
    void *p, *q;

    (void)t;
    tower_start(0);
    p = kva_malloc(100, M_ONE, M_WAITOK);
    kva_free(p, M_OTHER);
    CHECK_EQ(stat_of(M_ONE).active, 1);
    CHECK_EQ(stat_of(M_OTHER).active, SIZE_MAX);
    CHECK_EQ(stat_of(M_ONE).bytes + stat_of(M_OTHER).bytes, 0);
    CHECK_PANIC(kva_malloc_type_detach(M_OTHER),
                "malloc_type_detach: type other: 0x%lx: expected no more "
                "frees than allocations, found 1 more",
                (unsigned long)(uintptr_t)M_OTHER);
    q = kva_malloc(100, M_OTHER, M_WAITOK);
    kva_free(q, M_ONE);
    CHECK_EQ(stat_of(M_ONE).active, 0);
    CHECK_EQ(stat_of(M_OTHER).bytes, 0);
    tower_end();
}

const struct test malloc_realloc_tests[] = {
    TEST("malloc_realloc", it_stays_while_it_takes_the_same),
    TEST_COUNT("malloc_realloc", what_it_grows_by_is_zero, 500, 20000, 1000000),
    TEST("malloc_realloc", failure_leaves_it_alone),
    TEST("malloc_realloc", limits_see_the_difference),
    TEST("malloc_realloc", arrays_do_not_wrap),
    TEST("malloc_realloc", zfree_leaves_nothing),
    TEST("malloc_realloc", strings_are_copied),
    TEST("malloc_realloc", a_free_counts_for_the_type_it_names),
    TEST_END
};
