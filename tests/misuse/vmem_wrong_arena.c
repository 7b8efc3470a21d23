/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: a range of one arena that is freed to another is reported: to one that
 * lies elsewhere, and to the one that the place was imported from.  (A range
 * that is a whole imported span is, to the source, the very range that it
 * handed out by vmem_alloc; such a free cannot be told from the right one.)
 */
#include "tests/misuse/scene.h"

static bool
free_to_another(struct test_ctx *t, struct scene *s)
{
    struct book *from = &s->top, *to = &s->other;
    const struct range *r;

    if (s->below.vm != NULL && test_below(t, 3) == 0) {
        to = &s->below;
    } else if (test_below(t, 2) == 0) {
        from = &s->other;
        to = &s->top;
    }
    if (from->nlive == 0) {
        return false;
    }
    r = &from->live[test_below(t, from->nlive)];
    return scene_bad_free(s, to, r->x ? BY_XFREE : BY_FREE, r->addr, r->size);
}

static void
wrong_arena_at_random(struct test_ctx *t)
{
    scene_instances(t, NULL, free_to_another);
}

static void
wrong_arena(struct test_ctx *t)
{
    vmem_t *a, *b, *child;
    uintptr_t addr;

    (void)t;
    PORT(NULL);
    a = plain_arena();
    b = vmem_create("other", BASE + 512 * Q, 64 * Q, Q, NULL, NULL, NULL, 4 * Q,
                    NOSLEEP, KVA_IPL_NONE);
    child = vmem_create("child", 0, 0, Q, vmem_alloc, vmem_free, a, 0,
                        NOSLEEP | VM_LARGEIMPORT, KVA_IPL_NONE);
    CHECK(b != NULL && child != NULL);
    addr = get(a, 2 * Q);
    CHECK_MISUSE(b, vmem_free(b, addr, 2 * Q),
                 "vmem_free: arena other: "
                 "0x%lx: expected a live range, found an address outside "
                 "every span",
                 (unsigned long)addr);
    vmem_free(a, addr, 2 * Q);
    addr = get(child, 2 * Q);
    CHECK_MISUSE(a, vmem_free(a, addr, 2 * Q),
                 "vmem_free: arena plain: "
                 "0x%lx: expected size 131072, found size 8192",
                 (unsigned long)addr);
    vmem_free(child, addr, 2 * Q);
    vmem_destroy(child);
    vmem_destroy(b);
    vmem_destroy(a);
}

const struct test vmem_wrong_arena_tests[] = {
    TEST("misuse", wrong_arena),
    TEST_COUNT("misuse", wrong_arena_at_random, 500, 10000, 100000), TEST_END
};
