/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: an address inside an object, aligned or not, is reported with the
 * number of the byte and where the object starts; one in a slab's header or in
 * its unused end as such.
 */
#include "tests/misuse/object_scene.h"

static bool
inside(struct test_ctx *t, struct stock *s, struct blame *b, size_t unit)
{
    const struct stock_live *l = object_pick(t, s, FROM_ANY);

    if (l == NULL || l->taken <= unit) {
        return false;
    }
    object_own_way(t, l, b);
    b->addr += unit * (1 + object_below(t, (l->taken - 1) / unit));
    return true;
}

static bool
interior(struct test_ctx *t, struct stock *s, struct blame *b)
{
    return inside(t, s, b, sizeof(void *));
}

static bool
misaligned(struct test_ctx *t, struct stock *s, struct blame *b)
{
    const struct stock_live *l = object_pick(t, s, FROM_ANY);

    if (l == NULL || l->taken <= sizeof(void *)) {
        return false;
    }
    object_own_way(t, l, b);
    b->addr += 1 + object_below(t, sizeof(void *) - 1);
    return true;
}

static bool
any_byte(struct test_ctx *t, struct stock *s, struct blame *b)
{
    return inside(t, s, b, 1);
}

static void
interior_of_an_object(struct test_ctx *t)
{
    object_instances(t, interior, "expected ");
}

static void
misaligned_object(struct test_ctx *t)
{
    object_instances(t, misaligned, "expected the start of ");
}

static void
any_byte_of_an_object(struct test_ctx *t)
{
    object_instances(t, any_byte, "expected ");
}

/* A part of a slab that is no object, of the pool that is asked or another. */
static bool
part_of_slab(struct test_ctx *t, struct stock *s, struct blame *b,
             enum blame_part part)
{
    const struct stock_live *l = object_pick(t, s, FROM_ANY);
    struct blame_place place;
    uintptr_t at;

    if (l == NULL) {
        return false;
    }
    place = blame_find(l->addr);
    if (place.pp == NULL) {
        return false;
    }
    object_own_way(t, l, b);
    at = place.base;
    if (part == PART_END) {
        at += place.pp->slab_bytes - 1;
    }
    place = blame_find(at);
    if (place.part != part) {
        return false;
    }
    b->addr = at;
    if (part == PART_HEADER) {
        b->addr += object_below(t, 3) * sizeof(void *);
    }
    return blame_find(b->addr).part == part;
}

static bool
in_header(struct test_ctx *t, struct stock *s, struct blame *b)
{
    return part_of_slab(t, s, b, PART_HEADER);
}

static bool
in_end(struct test_ctx *t, struct stock *s, struct blame *b)
{
    return part_of_slab(t, s, b, PART_END);
}

static void
header_of_a_slab(struct test_ctx *t)
{
    object_instances(t, in_header, "found the header of a slab");
}

static void
unused_end_of_a_slab(struct test_ctx *t)
{
    object_instances(t, in_end, "found the unused end of a slab");
}

const struct test object_interior_tests[] = {
    TEST_COUNT("misuse_objects", interior_of_an_object, 200, 2000, 10000),
    TEST_COUNT("misuse_objects", misaligned_object, 200, 2000, 10000),
    TEST_COUNT("misuse_objects", any_byte_of_an_object, 200, 2000, 10000),
    TEST_COUNT("misuse_objects", header_of_a_slab, 100, 1000, 10000),
    TEST_COUNT("misuse_objects", unused_end_of_a_slab, 100, 1000, 10000),
    TEST_END
};
