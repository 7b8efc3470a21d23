/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: a span cannot be freed as if it were a range: neither by its start and
 * size, added or imported, nor by the address that its border tag carries, the
 * first one past it.  (If one live range fills the span, that is its free.)
 */
#include "tests/misuse/scene.h"

static bool
free_a_span(struct test_ctx *t, struct scene *s)
{
    struct book *b = &s->top;
    const struct range *span;
    uintptr_t addr;
    size_t size;

    if (b->nspan == 0) {
        return false;
    }
    span = &b->span[test_below(t, b->nspan)];
    addr = span->addr;
    size = span->size;
    if (test_below(t, 2) == 0) {
        addr += size; /* the border tag's */
        size = test_below(t, 2) == 0 ? b->quantum : size;
    }
    return scene_bad_free(s, b, (enum way)test_below(t, WAYS), addr, size);
}

static void
free_of_a_span_at_random(struct test_ctx *t)
{
    scene_instances(t, NULL, free_a_span);
}

static void
free_of_a_span(struct test_ctx *t)
{
    vmem_t *vm, *child;
    uintptr_t a;

    (void)t;
    PORT(NULL);
    vm = plain_arena();
    CHECK_MISUSE(vm, vmem_free(vm, BASE, 256 * Q),
                 "vmem_free: arena plain: "
                 "0x%lx: expected a live range, found a free one",
                 (unsigned long)BASE);
    child = vmem_create("child", 0, 0, Q, vmem_alloc, vmem_free, vm, 0,
                        NOSLEEP | VM_LARGEIMPORT, KVA_IPL_NONE);
    CHECK(child != NULL);
    a = get(child, Q);
    CHECK_MISUSE(child, vmem_free(child, a, 16 * Q),
                 "vmem_free: arena child: "
                 "0x%lx: expected size 4096, found size 65536",
                 (unsigned long)a);
    vmem_free(child, a, Q);
    CHECK_MISUSE(child, vmem_free(child, a, 16 * Q),
                 "vmem_free: arena child: "
                 "0x%lx: expected a live range, found an address outside "
                 "every span",
                 (unsigned long)a);
    vmem_destroy(child);
    vmem_destroy(vm);
}

const struct test vmem_free_span_tests[] = {
    TEST("misuse", free_of_a_span),
    TEST_COUNT("misuse", free_of_a_span_at_random, 500, 10000, 100000), TEST_END
};
