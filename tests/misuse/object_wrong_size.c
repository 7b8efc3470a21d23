/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: kmem_free and kmem_intr_free with a size of another class, or of
 * another number of pages, are reported with the sizes that would have been
 * right; and sizes that no request could have had, before anything is looked
 * up.
 */
#include "tests/misuse/object_scene.h"

static bool
pick_sized(struct test_ctx *t, struct stock *s, struct blame *b,
           const struct stock_live **l)
{
    *l = object_pick(t, s, FROM(STOCK_KMEM) | FROM(STOCK_INTR));
    if (*l != NULL) {
        object_own_way(t, *l, b);
    }
    return *l != NULL;
}

static bool
wrong_size(struct test_ctx *t, struct stock *s, struct blame *b)
{
    const struct stock_live *l;

    if (!pick_sized(t, s, b, &l)) {
        return false;
    }
    switch (object_below(t, 4)) {
    case 0: /* by one, where that makes a difference */
        b->size = l->taken + 1;
        break;
    case 1:
        b->size = 1 + object_below(t, 64);
        break;
    case 2:
        b->size = 1 + object_below(t, 4096);
        break;
    default:
        b->size = 1 + object_below(t, (size_t)1 << 20);
    }
    return kva_kmem_roundup_size(b->size) != l->taken;
}

/* A range of pages that is given back as a small object is no object. */
static void
wrong_class_or_page_count(struct test_ctx *t)
{
    object_instances(t, wrong_size, "expected ");
}

static bool
no_size(struct test_ctx *t, struct stock *s, struct blame *b)
{
    const struct stock_live *l;

    if (!pick_sized(t, s, b, &l)) {
        return false;
    }
    b->size = object_below(t, 2) == 0
                  ? 0
                  : SIZE_MAX - object_below(t, KVA_PAGE_SIZE - 1);
    return true;
}

static void
size_that_cannot_be(struct test_ctx *t)
{
    object_instances(t, no_size, "expected a size ");
}

const struct test object_wrong_size_tests[] = {
    TEST_COUNT("misuse_objects", wrong_class_or_page_count, 200, 2000, 10000),
    TEST_COUNT("misuse_objects", size_that_cannot_be, 100, 1000, 10000),
    TEST_END
};
