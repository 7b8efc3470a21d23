/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tree of holes by size against a sorted array, with the checker after each
 * change: at random, with many of one size, ascending and descending, down to
 * nothing; and how high it gets.
 */
#include <string.h>

#include "tests/harness/test.h"
#include "vmem/order.h"
#include "vmem/vmem_impl.h"

#define HOLES_MAX 2000

/* Every hole is a span of its own, of which only start and end matter. */
static kva_vmem_t toy;                        /* for its stock of tags only */
static struct kva_vmem_btag *hole[HOLES_MAX]; /* by size, then start */
static size_t nhole;
static kva__btag_ref_t root;

static void
toy_init(void)
{
    static bool started;

    if (!started) {
        started = true;
        PORT(NULL);
        vmem_bootstrap(NULL, 0);
        memset(&toy, 0, sizeof(toy));
    }
    root = BT_NONE;
    nhole = 0;
}

static struct kva_vmem_btag *
hole_new(uintptr_t start, size_t size)
{
    struct kva_vmem_btag *bt, *end;

    CHECK(kva__btag_ensure(&toy, 2));
    bt = kva__btag_take(&toy);
    end = kva__btag_take(&toy);
    bt->start = start;
    end->start = start + size;
    bt_set_next(bt, end);
    bt_set_state(bt, BT_FREE);
    bt_set_state(end, BT_ALLOC);
    kva__order_insert(&root, bt, size);
    return bt;
}

static void
hole_delete(struct kva_vmem_btag *bt)
{
    struct kva_vmem_btag *end = bt_next(bt);

    kva__order_remove(&root, bt, bt_size(bt));
    kva__btag_give(&toy, bt);
    kva__btag_give(&toy, end);
}

static size_t
tree_check(void)
{
    size_t count = 0;
    const char *bad = kva__order_check(root, &count);

    if (bad != NULL) {
        FAIL("%s", bad);
    }
    return count;
}

/* How many come before (size, start). */
static size_t
array_below(size_t size, uintptr_t start)
{
    size_t n = 0;

    while (n < nhole && (bt_size(hole[n]) < size || (bt_size(hole[n]) == size &&
                                                     hole[n]->start < start))) {
        n++;
    }
    return n;
}

static void
array_insert(struct kva_vmem_btag *bt)
{
    size_t at = array_below(bt_size(bt), bt->start);

    CHECK_LT(nhole, HOLES_MAX);
    memmove(&hole[at + 1], &hole[at], (nhole - at) * sizeof(hole[0]));
    hole[at] = bt;
    nhole++;
}

static void
array_remove(size_t at)
{
    nhole--;
    memmove(&hole[at], &hole[at + 1], (nhole - at) * sizeof(hole[0]));
}

static void
check_visits(size_t visits)
{
    CHECK_LE(visits, 4 * (nhole > 1 ? kva_fls(nhole) : 0) + 16);
}

static void
compare_at(size_t size, uintptr_t start)
{
    size_t at = array_below(size, 0), visits = 0;

    CHECK_PTR(kva__order_best(root, size, &visits),
              at < nhole ? hole[at] : NULL);
    check_visits(visits);
    visits = 0;
    at = array_below(size, start);
    at += at < nhole && bt_size(hole[at]) == size && hole[at]->start == start;
    CHECK_PTR(kva__order_next(root, size, start, &visits),
              at < nhole ? hole[at] : NULL);
    check_visits(visits);
    visits = 0;
    CHECK_PTR(kva__order_last(root, &visits),
              nhole > 0 ? hole[nhole - 1] : NULL);
    check_visits(visits);
}

/* Sizes from few to many different ones; starts are all different. */
static void
random_sizes(struct test_ctx *t)
{
    toy_init();
    for (unsigned long i = 0; i < t->count; i++) {
        size_t sizes = (size_t)1 << i * 5 / t->count * 4;
        bool up = i * 10 / t->count % 2 == 0;
        size_t size = (size_t)(1 + test_rand_below(t, sizes)) * 4096;
        uintptr_t start;

        if (nhole < HOLES_MAX && test_rand_below(t, 4) < (up ? 3u : 1u)) {
            start = (uintptr_t)(i + 1) << 12;
            start += test_rand_below(t, 2) == 0 ? UINTPTR_MAX / 2 : 0;
            array_insert(hole_new(start, size));
        } else if (nhole > 0) {
            size_t at = (size_t)test_rand_below(t, nhole);
            struct kva_vmem_btag *bt = hole[at];

            array_remove(at);
            hole_delete(bt);
        }
        CHECK_EQ(tree_check(), nhole);
        if (nhole > 0) {
            struct kva_vmem_btag *bt = hole[test_rand_below(t, nhole)];

            compare_at(bt_size(bt), bt->start);
            compare_at(bt_size(bt) + 1, bt->start);
        }
        compare_at(size, (uintptr_t)test_rand(t));
        compare_at(0, 0);
        compare_at(SIZE_MAX, UINTPTR_MAX);
    }
    while (nhole > 0) {
        size_t at = (size_t)test_rand_below(t, nhole);
        struct kva_vmem_btag *bt = hole[at];

        array_remove(at);
        hole_delete(bt);
        CHECK_EQ(tree_check(), nhole);
    }
    CHECK(root == BT_NONE);
}

/* Levels, along what best looks at when all are smaller. */
static size_t
levels_right(void)
{
    size_t visits = 0;

    CHECK_PTR(kva__order_best(root, SIZE_MAX, &visits), NULL);
    return visits / 2;
}

/*
 * n holes come ascending or descending by size, or all of one size with starts
 * in that order; half of them leave from one end.
 */
static void
in_order(struct test_ctx *t)
{
    for (unsigned how = 0; how < 4; how++) {
        bool up = how % 2 == 0, equal = how >= 2;
        size_t n = t->count, log2 = kva_fls(n);
        struct kva_vmem_btag *bt;

        toy_init();
        for (size_t i = 0; i < n; i++) {
            size_t k = up ? i + 1 : n - i;

            hole_new((uintptr_t)k * 64, equal ? 64 : k);
        }
        nhole = n;
        CHECK_EQ(tree_check(), n);
        CHECK_LE(levels_right(), log2 + 2);
        for (size_t i = 0; i < n; i++) {
            size_t visits = 0;

            bt = i < n / 2 ? kva__order_best(root, 0, &visits)
                           : kva__order_last(root, &visits);
            CHECK_EQ(bt->start, (i < n / 2 ? i + 1 : n - (i - n / 2)) * 64);
            check_visits(visits);
            hole_delete(bt);
            nhole--;
            if (i % (n / 16 + 1) == 0) {
                CHECK_EQ(tree_check(), nhole);
            }
        }
        CHECK(root == BT_NONE);
    }
}

/* All are a byte too short; then one is not. */
static void
just_too_small(struct test_ctx *t)
{
    size_t n = t->count, visits = 0;
    struct kva_vmem_btag *bt;

    toy_init();
    for (size_t i = 0; i < n; i++) {
        hole_new((uintptr_t)(i + 1) * 8192, 4095);
    }
    nhole = n;
    CHECK_PTR(kva__order_best(root, 4096, &visits), NULL);
    check_visits(visits);
    bt = hole_new((uintptr_t)(n / 2) * 8192 + 4096, 4096);
    visits = 0;
    CHECK_PTR(kva__order_best(root, 4096, &visits), bt);
    check_visits(visits);
    visits = 0;
    CHECK_EQ(kva__order_best(root, 1, &visits)->start, 8192);
    check_visits(visits);
    CHECK_EQ(tree_check(), n + 1);
}

/* What was changed behind the tree's back is found. */
static void
checker_sees(struct test_ctx *t)
{
    struct kva_vmem_btag *bt[7];
    kva__btag_ref_t link;
    uintptr_t start;
    size_t count;

    (void)t;
    toy_init();
    for (unsigned i = 0; i < KVA_COUNT(bt); i++) {
        bt[i] = hole_new((uintptr_t)(i + 1) * 64, i + 1);
    }
    CHECK_EQ(tree_check(), 7);
    bt_set_state(bt[2], BT_ALLOC);
    CHECK_STR(kva__order_check(root, &count), "order: a node that is no hole");
    bt_set_state(bt[2], BT_FREE);
    start = bt_next(bt[4])->start;
    bt_next(bt[4])->start = start + 2;
    CHECK_STR(kva__order_check(root, &count), "order: holes are not in order");
    bt_next(bt[4])->start = start;
    link = bt_at(root)->u.link.next;
    bt_at(root)->u.link.next = BT_NONE;
    CHECK_STR(kva__order_check(root, &count), "order: heights of two sides");
    bt_at(root)->u.link.next = link;
    CHECK_EQ(tree_check(), 7);
}

const struct test order_tests[] = {
    TEST("order", checker_sees),
    TEST_COUNT("order", random_sizes, 3000, 30000, 300000),
    TEST_COUNT("order", in_order, 10000, 100000, 1000000),
    TEST_COUNT("order", just_too_small, 10000, 100000, 1000000), TEST_END
};
