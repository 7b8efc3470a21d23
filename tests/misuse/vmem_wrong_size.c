/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: a free with a size that does not round up to that of the range is
 * reported with both sizes; one with any size that does is legal.
 */
#include "tests/misuse/scene.h"

static bool
free_with_wrong_size(struct test_ctx *t, struct scene *s)
{
    struct book *b = &s->top;
    const struct range *r;
    size_t size;

    if (b->nlive == 0) {
        return false;
    }
    r = &b->live[test_below(t, b->nlive)];
    switch (test_below(t, 4)) {
    case 0: /* a quantum more or less */
        size =
            test_below(t, 2) == 0 ? r->size + b->quantum : r->size - b->quantum;
        break;
    case 1:
        size = (1 + test_below(t, 2 * SCENE_QUANTA)) * b->quantum;
        break;
    default:
        size = (1 + test_below(t, 20)) * b->quantum;
    }
    if (size == 0) {
        return false;
    }
    size -= test_below(t, b->quantum);
    return scene_bad_free(s, b, r->x ? BY_XFREE : BY_FREE, r->addr, size);
}

static void
wrong_size_at_random(struct test_ctx *t)
{
    scene_instances(t, NULL, free_with_wrong_size);
}

static void
wrong_size(struct test_ctx *t)
{
    static const size_t sizes[] = { 2, 4, 8, 9, 100 };
    vmem_t *vm;
    uintptr_t a, x;

    (void)t;
    PORT(NULL);
    vm = plain_arena();
    a = get(vm, 3 * Q);
    x = xget(vm, 3 * Q);
    for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
        CHECK_MISUSE(vm, vmem_free(vm, a, sizes[i] * Q),
                     "vmem_free: arena plain: 0x%lx: expected size 12288, "
                     "found size %zu",
                     (unsigned long)a, sizes[i] * Q);
        CHECK_MISUSE(vm, vmem_xfree(vm, x, sizes[i] * Q),
                     "vmem_xfree: arena plain: 0x%lx: expected size 12288, "
                     "found size %zu",
                     (unsigned long)x, sizes[i] * Q);
    }
    vmem_free(vm, a, 3 * Q - 5); /* rounds to the same */
    vmem_xfree(vm, x, 3 * Q);
    vmem_destroy(vm);
    vm = cached_arena();
    a = get(vm, 3 * Q);
    x = get(vm, 20 * Q);
    for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
        CHECK_MISUSE(vm, vmem_free(vm, a, sizes[i] * Q),
                     "vmem_free: arena cached: 0x%lx: expected size 12288, "
                     "found size %zu",
                     (unsigned long)a, sizes[i] * Q);
        CHECK_MISUSE(vm, vmem_free(vm, x, sizes[i] * Q),
                     "vmem_free: arena cached: 0x%lx: expected size 81920, "
                     "found size %zu",
                     (unsigned long)x, sizes[i] * Q);
    }
    vmem_free(vm, a, 3 * Q);
    vmem_free(vm, x, 20 * Q);
    vmem_destroy(vm);
}

const struct test vmem_wrong_size_tests[] = {
    TEST("misuse", wrong_size),
    TEST_COUNT("misuse", wrong_size_at_random, 500, 10000, 100000), TEST_END
};
