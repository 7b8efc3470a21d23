/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: what is no object at all is reported, whatever is there and whether
 * or not it can be read: the stack, static data, code, nothing mapped, address
 * space that the arenas have free, metadata, ranges of pages, pages that are
 * free, and no address.  Nothing behind such an address is read to find out.
 */
#include "tests/misuse/object_scene.h"

static uintptr_t
outside(struct test_ctx *t)
{
    static uint64_t data[512];
    uint64_t local[4];
    volatile uintptr_t at; /* compilers warn of an address that they see */

    switch (object_below(t, 4)) {
    case 0:
        at = (uintptr_t)&local[object_below(t, 4)];
        return at;
    case 1:
        return (uintptr_t)&data[object_below(t, 512)];
    case 2:
        return (uintptr_t)&object_instances & ~(uintptr_t)7;
    default: /* low, high, and between */
        return (uintptr_t)test_rand(t) >> object_below(t, KVA__WORD_BITS);
    }
}

static bool
of_nobody(struct test_ctx *t, struct stock *s, struct blame *b)
{
    object_any_way(t, s, b);
    b->addr = outside(t);
    return b->addr != 0 &&
           b->addr - kva_posix_va_base() >= kva_posix_va_bytes();
}

static void
foreign_to_the_library(struct test_ctx *t)
{
    object_instances(t, of_nobody, "found no");
}

/* Anywhere in the address space of the arenas. */
static bool
in_arenas(struct test_ctx *t, struct stock *s, struct blame *b)
{
    object_any_way(t, s, b);
    b->addr = kva_posix_va_base() + object_below(t, kva_posix_va_bytes());
    if (object_below(t, 2) == 0) {
        b->addr &= ~(uintptr_t)(KVA_PAGE_SIZE - 1);
    }
    return stock_at(s, b->addr) == NULL;
}

static void
foreign_in_the_arenas(struct test_ctx *t)
{
    object_instances(t, in_arenas, "expected ");
}

/* A page of metadata: a header that is not in its slab, a magazine. */
static bool
in_metadata(struct test_ctx *t, struct stock *s, struct blame *b)
{
    struct kva__slab *slab;
    struct kva_pool *pp;

    object_any_way(t, s, b);
    for (unsigned k = 0; k < STOCK_MEMBERS; k++) {
        pp = s->member[(k + b->which) % STOCK_MEMBERS].pp;
        if (object_below(t, 4) == 0) { /* the pool itself */
            b->addr = (uintptr_t)pp;
            return true;
        }
        slab = kva__slab_next(pp, NULL);
        if (slab != NULL && (pp->flags & KVA__PR_OFF_SLAB) != 0) {
            b->addr = (uintptr_t)slab;
            return true;
        }
    }
    return false;
}

static void
foreign_in_metadata(struct test_ctx *t)
{
    object_instances(t, in_metadata, "found no");
}

/* Whole pages, live and free, to who has objects. */
static bool
in_pages(struct test_ctx *t, struct stock *s, struct blame *b)
{
    const struct stock_live *l = object_pick(
        t, s, FROM(STOCK_KMEM) | FROM(STOCK_INTR) | FROM(STOCK_MALLOC));

    if (l == NULL || l->taken < KVA_PAGE_SIZE) {
        return false;
    }
    object_any_way(t, s, b);
    b->addr = l->addr + object_below(t, l->taken);
    if (object_below(t, 2) == 0) {
        object_put(s, l);
    }
    return b->way <= BY_DESTRUCT;
}

static void
foreign_pages(struct test_ctx *t)
{
    object_instances(t, in_pages, "expected an object");
}

static bool
at_null(struct test_ctx *t, struct stock *s, struct blame *b)
{
    object_any_way(t, s, b);
    b->addr = 0;
    return b->way != BY_MALLOC_FREE && b->way != BY_REALLOC;
}

static void
foreign_null(struct test_ctx *t)
{
    object_instances(t, at_null, "0x0: expected ");
}

/* The one that is allowed. */
static void
free_of_null(struct test_ctx *t)
{
    struct stock *s = object_open(t);
    uint64_t before = stock_digest();

    for (unsigned k = 0; k < STOCK_TYPES; k++) {
        kva_free(NULL, s->type[k].mt);
    }
    CHECK_EQ(stock_digest(), before);
    object_close(s);
}

const struct test object_foreign_tests[] = {
    TEST("misuse_objects", free_of_null),
    TEST_COUNT("misuse_objects", foreign_to_the_library, 200, 2000, 10000),
    TEST_COUNT("misuse_objects", foreign_in_the_arenas, 200, 2000, 10000),
    TEST_COUNT("misuse_objects", foreign_in_metadata, 100, 1000, 10000),
    TEST_COUNT("misuse_objects", foreign_pages, 100, 1000, 10000),
    TEST_COUNT("misuse_objects", foreign_null, 64, 500, 10000),
    TEST_END
};
