/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: a free of an address that the arena never handed out is reported, and
 * the report tells an address outside every span from one in a hole.
 */
#include "tests/misuse/scene.h"

/* An address in no live range: far off, next to a span, or in a hole. */
static uintptr_t
foreign(struct test_ctx *t, const struct scene *s)
{
    const struct book *b = &s->top;
    const struct range *span;

    switch (test_below(t, 4)) {
    case 0:
        return (uintptr_t)test_rand(t) & ~(uintptr_t)(b->quantum - 1);
    case 1:
        return s->origin + b->quantum * test_below(t, 3 * SCENE_QUANTA) -
               b->quantum * SCENE_QUANTA;
    default:
        if (b->nspan == 0) {
            return s->origin + b->quantum * test_below(t, SCENE_QUANTA);
        }
        span = &b->span[test_below(t, b->nspan)];
        switch (test_below(t, 4)) {
        case 0:
            return span->addr - b->quantum;
        case 1:
            return span->addr + span->size;
        default:
            return span->addr +
                   b->quantum * test_below(t, span->size / b->quantum);
        }
    }
}

static bool
free_foreign(struct test_ctx *t, struct scene *s)
{
    uintptr_t addr = foreign(t, s);

    return book_live(&s->top, addr) == NULL &&
           scene_bad_free(s, &s->top, (enum way)test_below(t, WAYS), addr,
                          (1 + test_below(t, 20)) * s->top.quantum);
}

static void
foreign_address_at_random(struct test_ctx *t)
{
    scene_instances(t, NULL, free_foreign);
}

static void
foreign_address(struct test_ctx *t)
{
    static const uintptr_t outside[] = { 0, BASE - Q, BASE + 256 * Q,
                                         (uintptr_t)0 - Q };
    vmem_t *vm[2];
    uintptr_t a;

    (void)t;
    PORT(NULL);
    vm[0] = plain_arena();
    vm[1] = cached_arena();
    for (unsigned k = 0; k < 2; k++) {
        for (unsigned i = 0; i < KVA_COUNT(outside); i++) {
            for (size_t n = 1; n <= 9; n += 8) {
                CHECK_MISUSE(vm[k], vmem_free(vm[k], outside[i], n * Q),
                             "vmem_free: arena %s: 0x%lx: expected a live "
                             "range, found an address outside every span",
                             k == 0 ? "plain" : "cached",
                             (unsigned long)outside[i]);
            }
            CHECK_MISUSE(vm[k], vmem_xfree(vm[k], outside[i], Q),
                         "vmem_xfree: arena %s: 0x%lx: expected a live range, "
                         "found an address outside every span",
                         k == 0 ? "plain" : "cached",
                         (unsigned long)outside[i]);
        }
        CHECK_MISUSE(vm[k], vmem_free(vm[k], BASE + 77 * Q, Q),
                     "vmem_free: arena %s: 0x%lx: expected a live range, "
                     "found a free one",
                     k == 0 ? "plain" : "cached",
                     (unsigned long)(BASE + 77 * Q));
    }
    a = get(vm[0], Q);
    vmem_free(vm[0], a, Q);
    vmem_destroy(vm[0]);
    vmem_destroy(vm[1]);
}

const struct test vmem_foreign_tests[] = {
    TEST("misuse", foreign_address),
    TEST_COUNT("misuse", foreign_address_at_random, 500, 10000, 100000),
    TEST_END
};
