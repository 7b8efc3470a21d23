/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: an address that is not a multiple of the quantum is reported as that,
 * before anything else about it, by every function that takes one.
 */
#include "tests/misuse/scene.h"

#include <stdio.h>

static bool
has_a_quantum(const struct shape *shape)
{
    return shape->shift > 0;
}

/* In a live range, in a hole, or outside of the arena. */
static uintptr_t
misaligned(struct test_ctx *t, const struct scene *s)
{
    const struct book *b = &s->top;
    uintptr_t addr = s->origin + b->quantum * test_below(t, SCENE_QUANTA + 16) -
                     8 * b->quantum;

    if (b->nlive > 0 && test_below(t, 2) == 0) {
        addr = b->live[test_below(t, b->nlive)].addr;
    }
    return addr + 1 + test_below(t, b->quantum - 1);
}

static void
claim_misaligned(struct scene *s, uintptr_t addr, size_t size)
{
    uint64_t before = scene_digest(s);

    CHECK_PANIC((void)vmem_xalloc_addr(s->top.vm, addr, size, NOSLEEP),
                "vmem_xalloc_addr: arena top: 0x%lx: expected whole quanta "
                "that do not wrap, found size %zu",
                (unsigned long)addr, size);
    CHECK_EQ(scene_digest(s), before);
}

static bool
use_misaligned(struct test_ctx *t, struct scene *s)
{
    uintptr_t addr = misaligned(t, s);
    size_t size = s->top.quantum * (1 + test_below(t, 20));

    if (test_below(t, 4) == 0) {
        claim_misaligned(s, addr, size);
        return true;
    }
    return scene_bad_free(s, &s->top, (enum way)test_below(t, WAYS), addr,
                          size);
}

static void
misaligned_address_at_random(struct test_ctx *t)
{
    scene_instances(t, has_a_quantum, use_misaligned);
}

static void
misaligned_address(struct test_ctx *t)
{
    static const size_t off[] = { 1, 8, 4095, 2048 };
    vmem_t *vm;
    uintptr_t a, b;

    (void)t;
    PORT(NULL);
    vm = cached_arena();
    a = get(vm, Q);
    b = get(vm, 20 * Q);
    for (unsigned i = 0; i < KVA_COUNT(off); i++) {
        CHECK_MISUSE(vm, vmem_free(vm, a + off[i], Q),
                     "vmem_free: arena "
                     "cached: 0x%lx: expected a multiple of the quantum 4096, "
                     "found a misaligned address",
                     (unsigned long)(a + off[i]));
        CHECK_MISUSE(vm, vmem_free(vm, b + off[i], 20 * Q),
                     "vmem_free: "
                     "arena cached: 0x%lx: expected a multiple of the quantum "
                     "4096, found a misaligned address",
                     (unsigned long)(b + off[i]));
        CHECK_MISUSE(vm, (void)vmem_xalloc_addr(vm, BASE + off[i], Q, NOSLEEP),
                     "vmem_xalloc_addr: arena cached: 0x%lx: expected whole "
                     "quanta that do not wrap, found size 4096",
                     (unsigned long)(BASE + off[i]));
    }
    vmem_free(vm, a, Q);
    vmem_free(vm, b, 20 * Q);
    vmem_destroy(vm);
}

const struct test vmem_misaligned_tests[] = {
    TEST("misuse", misaligned_address),
    TEST_COUNT("misuse", misaligned_address_at_random, 500, 10000, 100000),
    TEST_END
};
