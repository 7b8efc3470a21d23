/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: what vmem_alloc gave goes back by vmem_free only, and vmem_xalloc's by
 * vmem_xfree only; the reverse is reported, for ranges of the quantum caches
 * and for those beside them.
 */
#include "tests/misuse/scene.h"

static bool
free_the_other_way(struct test_ctx *t, struct scene *s)
{
    struct book *b = test_below(t, 4) == 0 ? &s->other : &s->top;
    const struct range *r;

    if (b->nlive == 0) {
        return false;
    }
    r = &b->live[test_below(t, b->nlive)];
    return scene_bad_free(s, b, r->x ? BY_FREE : BY_XFREE, r->addr,
                          r->size - test_below(t, b->quantum));
}

static void
mixed_pair_at_random(struct test_ctx *t)
{
    scene_instances(t, NULL, free_the_other_way);
}

/* Another size, or an address inside, and the wrong function as well: the
 * function is what is reported, cached or not. */
static bool
free_the_other_way_and_wrong(struct test_ctx *t, struct scene *s)
{
    struct book *b = &s->top;
    const struct range *r;

    if (b->nlive == 0) {
        return false;
    }
    r = &b->live[test_below(t, b->nlive)];
    return scene_bad_free(s, b, r->x ? BY_FREE : BY_XFREE,
                          r->addr +
                              b->quantum * test_below(t, r->size / b->quantum),
                          (1 + test_below(t, 20)) * b->quantum);
}

static void
mixed_pair_and_more_at_random(struct test_ctx *t)
{
    scene_instances(t, NULL, free_the_other_way_and_wrong);
}

static void
mixed_pair(struct test_ctx *t)
{
    static const size_t sizes[] = { 1, 4, 8, 9, 20 };

    (void)t;
    PORT(NULL);
    for (unsigned k = 0; k < 2; k++) {
        vmem_t *vm = k == 0 ? plain_arena() : cached_arena();

        for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
            size_t size = sizes[i] * Q;
            uintptr_t a = get(vm, size), x = xget(vm, size);

            CHECK_MISUSE(vm, vmem_xfree(vm, a, size),
                         "vmem_xfree: arena "
                         "%s: 0x%lx: expected a range of vmem_xalloc, found "
                         "one of vmem_alloc",
                         k == 0 ? "plain" : "cached", (unsigned long)a);
            CHECK_MISUSE(vm, vmem_free(vm, x, size),
                         "vmem_free: arena %s: "
                         "0x%lx: expected a range of vmem_alloc, found one of "
                         "vmem_xalloc",
                         k == 0 ? "plain" : "cached", (unsigned long)x);
            vmem_free(vm, a, size);
            vmem_xfree(vm, x, size);
        }
        vmem_destroy(vm);
    }
}

const struct test vmem_mixed_pair_tests[] = {
    TEST("misuse", mixed_pair),
    TEST_COUNT("misuse", mixed_pair_at_random, 500, 10000, 100000),
    TEST_COUNT("misuse", mixed_pair_and_more_at_random, 500, 10000, 100000),
    TEST_END
};
