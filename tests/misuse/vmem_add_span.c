/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: a span that overlaps one that is there, that wraps, or that is not
 * made of whole quanta is reported; one that only touches others is added.
 */
#include "tests/misuse/scene.h"

#include <stdio.h>

/* What vmem_add must say; false: the span is fine. */
static bool
add_text(const struct book *b, uintptr_t addr, size_t size,
         char text[KVA_MESSAGE_MAX])
{
    char what[128];
    uintptr_t last = addr + (size - 1);
    const struct range *first = NULL;

    for (unsigned i = 0; i < b->nspan && first == NULL; i++) {
        const struct range *span = &b->span[i];

        if (span->addr <= last && span->addr + (span->size - 1) >= addr) {
            first = span;
        }
    }
    if (size == 0 || size % b->quantum != 0 || addr % b->quantum != 0) {
        (void)snprintf(what, sizeof(what),
                       "whole quanta of %zu bytes, found size %zu", b->quantum,
                       size);
    } else if (last < addr) {
        (void)snprintf(what, sizeof(what),
                       "a span that does not wrap, found size %zu", size);
    } else if (first != NULL) {
        (void)snprintf(what, sizeof(what),
                       "a span apart from all others, found it overlaps 0x%lx "
                       "of %zu bytes",
                       (unsigned long)first->addr, first->size);
    } else {
        return false;
    }
    (void)snprintf(text, KVA_MESSAGE_MAX,
                   "vmem_add: arena %s: 0x%lx: expected %s", b->name,
                   (unsigned long)addr, what);
    return true;
}

static bool
add_bad_span(struct test_ctx *t, struct scene *s)
{
    struct book *b = &s->top;
    uintptr_t addr =
        s->origin + b->quantum * below(t, SCENE_QUANTA + 32) - 16 * b->quantum;
    size_t size = b->quantum * (1 + below(t, below(t, 2) == 0 ? 300 : 8));
    char text[KVA_MESSAGE_MAX];
    uint64_t before;

    switch (below(t, 6)) {
    case 0:
        addr += below(t, b->quantum);
        break;
    case 1:
        size -= below(t, b->quantum + 1);
        break;
    case 2: /* wraps */
        addr = 0 - b->quantum * below(t, 4);
        break;
    default:
        break;
    }
    if (!add_text(b, addr, size, text)) {
        return false;
    }
    before = scene_digest(s);
    CHECK_PANIC((void)vmem_add(b->vm, addr, size, NOSLEEP), "%s", text);
    CHECK_EQ(scene_digest(s), before);
    return true;
}

static void
bad_span_at_random(struct test_ctx *t)
{
    scene_instances(t, NULL, add_bad_span);
}

static void
bad_span(struct test_ctx *t)
{
    static const struct {
        uintptr_t addr;
        size_t size;
    } overlap[] = {
        { BASE, 256 * Q },         { BASE + 255 * Q, Q }, { BASE - Q, 2 * Q },
        { BASE + 255 * Q, 2 * Q }, { BASE + 10 * Q, Q },  { BASE - Q, 300 * Q },
    };
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = plain_arena();
    for (unsigned i = 0; i < KVA_COUNT(overlap); i++) {
        CHECK_MISUSE(
            vm, (void)vmem_add(vm, overlap[i].addr, overlap[i].size, NOSLEEP),
            "vmem_add: arena plain: 0x%lx: expected a span apart "
            "from all others, found it overlaps 0x%lx of %zu bytes",
            (unsigned long)overlap[i].addr, (unsigned long)BASE, 256 * Q);
    }
    CHECK_MISUSE(vm, (void)vmem_add(vm, (uintptr_t)0 - Q, 2 * Q, NOSLEEP),
                 "vmem_add: arena plain: 0x%lx: expected a span that does not "
                 "wrap, found size 8192",
                 (unsigned long)((uintptr_t)0 - Q));
    CHECK_MISUSE(vm, (void)vmem_add(vm, 0, 0, NOSLEEP),
                 "vmem_add: arena "
                 "plain: 0x0: expected whole quanta of 4096 bytes, found size "
                 "0");
    CHECK_MISUSE(vm, (void)vmem_add(vm, 1, Q, NOSLEEP),
                 "vmem_add: arena "
                 "plain: 0x1: expected whole quanta of 4096 bytes, found size "
                 "4096");
    CHECK_MISUSE(vm, (void)vmem_add(vm, 0, Q + 1, NOSLEEP),
                 "vmem_add: arena "
                 "plain: 0x0: expected whole quanta of 4096 bytes, found size "
                 "4097");
    /* Next to each other, and at both ends of the address space, is legal. */
    CHECK_EQ(vmem_add(vm, BASE - Q, Q, NOSLEEP), 0);
    CHECK_EQ(vmem_add(vm, BASE + 256 * Q, Q, NOSLEEP), 0);
    CHECK_EQ(vmem_add(vm, 0, Q, NOSLEEP), 0);
    CHECK_EQ(vmem_add(vm, (uintptr_t)0 - Q, Q, NOSLEEP), 0);
    CHECK_MISUSE(vm, (void)vmem_add(vm, (uintptr_t)0 - 2 * Q, 2 * Q, NOSLEEP),
                 "vmem_add: arena plain: 0x%lx: expected a span apart from "
                 "all others, found it overlaps 0x%lx of 4096 bytes",
                 (unsigned long)((uintptr_t)0 - 2 * Q),
                 (unsigned long)((uintptr_t)0 - Q));
    vmem_destroy(vm);
}

const struct test vmem_add_span_tests[] = {
    TEST("misuse", bad_span),
    TEST_COUNT("misuse", bad_span_at_random, 500, 10000, 100000), TEST_END
};
