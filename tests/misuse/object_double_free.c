/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: an object that goes back twice is reported, whatever went on between:
 * nothing; others' operations; drains, until its slab is gone.  Only if the
 * same address was handed out again there is nothing to tell the two apart.
 */
#include "tests/misuse/object_scene.h"

static bool
twice(struct test_ctx *t, struct stock *s, struct blame *b, unsigned steps)
{
    const struct stock_live *l = object_pick(t, s, FROM_ANY);

    if (l == NULL) {
        return false;
    }
    object_own_way(t, l, b);
    object_put(s, l);
    object_steps(s, steps);
    return stock_at(s, b->addr) == NULL &&
           (b->way > BY_DESTRUCT || s->member[b->which].pp != NULL);
}

static bool
at_once(struct test_ctx *t, struct stock *s, struct blame *b)
{
    return twice(t, s, b, 0);
}

static bool
later(struct test_ctx *t, struct stock *s, struct blame *b)
{
    return twice(t, s, b, 1 + (unsigned)object_below(t, 20));
}

static bool
after_a_drain(struct test_ctx *t, struct stock *s, struct blame *b)
{
    bool place = twice(t, s, b, 0);

    (void)kva_pool_drain_all();
    return place;
}

/* In each scene nearly all goes, so that slabs and their pages do. */
static bool
after_its_pages_went(struct test_ctx *t, struct stock *s, struct blame *b)
{
    bool place = twice(t, s, b, 0);

    while (s->n > 4) {
        object_expect(stock_put(s, s->n - 1));
    }
    (void)kva_pool_drain_all();
    return place;
}

static void
double_free_at_once(struct test_ctx *t)
{
    object_instances(t, at_once, NULL);
}

static void
double_free_later(struct test_ctx *t)
{
    object_instances(t, later, NULL);
}

static void
double_free_after_a_drain(struct test_ctx *t)
{
    object_instances(t, after_a_drain, NULL);
}

static void
double_free_after_its_pages_went(struct test_ctx *t)
{
    object_instances(t, after_its_pages_went, NULL);
}

/* Handed out again it is the new owner's, and goes through; his own is the
 * second then. */
static void
undecided_when_handed_out_again(struct test_ctx *t)
{
    struct kva_pool pp;
    char *p;

    (void)t;
    tower_start(0);
    kva_pool_init(&pp, 584, 0, 0, 0, "nodes", NULL, KVA_IPL_NONE);
    p = kva_pool_get(&pp, PR_NOWAIT);
    CHECK_EQ(kva_pool_prime(&pp, 1), 0);
    kva_pool_put(&pp, p);
    CHECK_PTR(kva_pool_get(&pp, PR_NOWAIT), p);
    kva_pool_put(&pp, p);
    CHECK_PANIC(kva_pool_put(&pp, p),
                "pool_put: pool nodes: 0x%lx: expected a live object, found a "
                "free one",
                (unsigned long)(uintptr_t)p);
    kva_pool_destroy(&pp);
    tower_end();
}

const struct test object_double_free_tests[] = {
    TEST("misuse_objects", undecided_when_handed_out_again),
    TEST_COUNT("misuse_objects", double_free_at_once, 200, 2000, 10000),
    TEST_COUNT("misuse_objects", double_free_later, 200, 2000, 10000),
    TEST_COUNT("misuse_objects", double_free_after_a_drain, 100, 1000, 10000),
    TEST_COUNT("misuse_objects", double_free_after_its_pages_went, 64, 500,
               10000),
    TEST_END
};
