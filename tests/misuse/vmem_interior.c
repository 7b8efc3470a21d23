/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: a free of an address inside a live range is reported, and the report
 * names where the range starts, whatever size is given.
 */
#include "tests/misuse/scene.h"

static bool
free_interior(struct test_ctx *t, struct scene *s)
{
    struct book *b = &s->top;
    const struct range *r;
    size_t at, size;

    if (b->nlive == 0) {
        return false;
    }
    r = &b->live[test_below(t, b->nlive)];
    if (r->size == b->quantum) {
        return false;
    }
    at = b->quantum * (1 + test_below(t, r->size / b->quantum - 1));
    switch (test_below(t, 3)) {
    case 0:
        size = r->size - at; /* the rest */
        break;
    case 1:
        size = r->size;
        break;
    default:
        size = b->quantum * (1 + test_below(t, 20));
    }
    return scene_bad_free(s, b, r->x ? BY_XFREE : BY_FREE, r->addr + at, size);
}

static void
interior_address_at_random(struct test_ctx *t)
{
    scene_instances(t, NULL, free_interior);
}

static void
interior_address(struct test_ctx *t)
{
    vmem_t *vm;
    uintptr_t a, x;

    (void)t;
    PORT(NULL);
    vm = plain_arena();
    a = get(vm, 10 * Q);
    for (size_t i = 1; i < 10; i++) {
        CHECK_MISUSE(vm, vmem_free(vm, a + i * Q, Q),
                     "vmem_free: arena "
                     "plain: 0x%lx: expected the start of a range, found an "
                     "address inside the one at 0x%lx",
                     (unsigned long)(a + i * Q), (unsigned long)a);
    }
    vmem_free(vm, a, 10 * Q);
    vmem_destroy(vm);
    vm = cached_arena();
    a = get(vm, 5 * Q);
    x = xget(vm, 4 * Q);
    for (size_t i = 1; i < 5; i++) {
        CHECK_MISUSE(vm, vmem_free(vm, a + i * Q, Q),
                     "vmem_free: arena "
                     "cached: 0x%lx: expected the start of a range, found an "
                     "address inside the one at 0x%lx",
                     (unsigned long)(a + i * Q), (unsigned long)a);
    }
    CHECK_MISUSE(vm, vmem_xfree(vm, x + Q, Q),
                 "vmem_xfree: arena cached: "
                 "0x%lx: expected the start of a range, found an address "
                 "inside the one at 0x%lx",
                 (unsigned long)(x + Q), (unsigned long)x);
    vmem_free(vm, a, 5 * Q);
    vmem_xfree(vm, x, 4 * Q);
    vmem_destroy(vm);
}

const struct test vmem_interior_tests[] = {
    TEST("misuse", interior_address),
    TEST_COUNT("misuse", interior_address_at_random, 500, 10000, 100000),
    TEST_END
};
