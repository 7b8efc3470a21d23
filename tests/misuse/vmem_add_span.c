/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: a span that overlaps one that is there, that wraps, or that is not
 * made of whole quanta is reported, and so are flags that mean nothing there;
 * one that only touches others is added.
 */
#include "tests/misuse/scene.h"

#include <stdio.h>

enum wrong {
    RIGHT,
    NOT_WHOLE,
    WRAPS,
    OVERLAPS
};

static enum wrong
what_is_wrong(const struct book *b, uintptr_t addr, size_t size)
{
    uintptr_t last = addr + (size - 1);

    if (size == 0 || size % b->quantum != 0 || addr % b->quantum != 0) {
        return NOT_WHOLE;
    }
    if (last < addr) {
        return WRAPS;
    }
    for (unsigned i = 0; i < b->nspan; i++) {
        const struct range *span = &b->span[i];

        if (span->addr <= last && span->addr + (span->size - 1) >= addr) {
            return OVERLAPS;
        }
    }
    return RIGHT;
}

static void
expect_message(const struct book *b, enum wrong wrong, uintptr_t addr,
               size_t size, const char *message)
{
    char text[KVA_MESSAGE_MAX];

    if (wrong == OVERLAPS) {
        if (!book_is_overlap(b, addr, size, message)) {
            FAIL("0x%lx of %zu: %s", (unsigned long)addr, size, message);
        }
        return;
    }
    if (wrong == WRAPS) {
        (void)snprintf(text, sizeof(text),
                       "vmem_add: arena %s: 0x%lx: expected a span that does "
                       "not wrap, found size %zu",
                       b->name, (unsigned long)addr, size);
    } else {
        (void)snprintf(text, sizeof(text),
                       "vmem_add: arena %s: 0x%lx: expected whole quanta of "
                       "%zu bytes, found size %zu",
                       b->name, (unsigned long)addr, b->quantum, size);
    }
    CHECK_STR(message, text);
}

static bool
add_bad_span(struct test_ctx *t, struct scene *s)
{
    struct book *b = &s->top;
    uintptr_t addr = s->origin + b->quantum * test_below(t, SCENE_QUANTA + 32) -
                     16 * b->quantum;
    size_t size =
        b->quantum * (1 + test_below(t, test_below(t, 2) == 0 ? 300 : 8));
    struct kva_posix_catch c;
    enum wrong wrong;
    uint64_t before;

    switch (test_below(t, 6)) {
    case 0:
        addr += test_below(t, b->quantum);
        break;
    case 1:
        size -= test_below(t, b->quantum + 1);
        break;
    case 2: /* wraps */
        addr = 0 - b->quantum * test_below(t, 4);
        break;
    default:
        break;
    }
    wrong = what_is_wrong(b, addr, size);
    if (wrong == RIGHT) {
        return false;
    }
    before = scene_digest(s);
    if (KVA_POSIX_TRY(&c)) {
        (void)vmem_add(b->vm, addr, size, NOSLEEP);
        kva_posix_catch_end(&c);
        FAIL("added: 0x%lx of %zu", (unsigned long)addr, size);
    }
    expect_message(b, wrong, addr, size, c.message);
    CHECK_EQ(c.locks, 0);
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

/* Flags of arenas, of searches and of nobody, each by itself. */
static void
bad_span_flags(struct test_ctx *t)
{
    const vm_flag_t good = VM_SLEEP | VM_NOSLEEP | VM_INSTANTFIT | VM_BESTFIT |
                           VM_FIRSTFIT | VM_NEXTFIT | VM_ENDALLOC |
                           VM_POPULATING | VM_ABORT | VM_BOOTSTRAP |
                           VM_PREPARED;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = plain_arena();
    for (vm_flag_t flag = 1; flag != 0; flag <<= 1) {
        if ((good & flag) == 0) {
            CHECK_MISUSE(vm, (void)vmem_add(vm, 0, Q, NOSLEEP | flag),
                         "vmem_add: arena plain: 0x0: expected flags for a "
                         "span, found flags 0x%x",
                         NOSLEEP | flag);
        }
    }
    CHECK_EQ(vmem_add(vm, 0, Q, good & ~VM_PREPARED), 0);
    vmem_destroy(vm);
}

const struct test vmem_add_span_tests[] = {
    TEST("misuse", bad_span), TEST("misuse", bad_span_flags),
    TEST_COUNT("misuse", bad_span_at_random, 500, 10000, 100000), TEST_END
};
