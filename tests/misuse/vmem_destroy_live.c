/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: an arena with live ranges cannot be ended; the report counts their
 * bytes and names one of them.  An arena whose ranges are all free, some of
 * them in magazines, can.
 */
#include "tests/misuse/scene.h"

#include <stdio.h>
#include <string.h>

static size_t
live_bytes(const struct book *b)
{
    size_t sum = 0;

    for (unsigned i = 0; i < b->nlive; i++) {
        sum += b->live[i].size;
    }
    return sum;
}

/* The first live range, spans in the order they came. */
static const struct range *
first_live(const struct book *b)
{
    for (unsigned i = 0; i < b->nspan; i++) {
        for (size_t at = 0; at < b->span[i].size; at += b->quantum) {
            const struct range *r = book_live(b, b->span[i].addr + at);

            if (r != NULL) {
                return r;
            }
        }
    }
    return NULL;
}

static void
ranged_text(const struct book *b, const struct range *r, bool cached,
            char text[KVA_MESSAGE_MAX])
{
    int n = snprintf(text, KVA_MESSAGE_MAX,
                     "vmem_destroy: arena %s: 0x%lx: expected no live range, "
                     "found %zu bytes live",
                     b->name, (unsigned long)r->addr, live_bytes(b));

    if (cached) {
        (void)snprintf(text + n, KVA_MESSAGE_MAX - (size_t)n,
                       " in quantum caches, the first here");
    } else {
        (void)snprintf(text + n, KVA_MESSAGE_MAX - (size_t)n,
                       ", the first %zu here", r->size);
    }
}

/*
 * Without quantum caches the first range is known.  With them the book does
 * not know which ranges they served: any that they may have, or the first of
 * the others.
 */
static bool
is_message(const struct scene *s, const char *message)
{
    const struct book *b = &s->top;
    char text[KVA_MESSAGE_MAX];

    if (!s->shape->cached) {
        ranged_text(b, first_live(b), false, text);
        return strcmp(message, text) == 0;
    }
    for (unsigned i = 0; i < b->nlive; i++) {
        const struct range *r = &b->live[i];
        bool small = !r->x && r->size <= SCENE_QCACHE * b->quantum;

        ranged_text(b, r, false, text);
        if (strcmp(message, text) == 0) {
            return true;
        }
        ranged_text(b, r, true, text);
        if (small && strcmp(message, text) == 0) {
            return true;
        }
    }
    return false;
}

static bool
destroy_live(struct test_ctx *t, struct scene *s)
{
    uint64_t before = scene_digest(s);
    struct kva_posix_catch c;

    (void)t;
    if (s->top.nlive == 0) {
        return false;
    }
    if (KVA_POSIX_TRY(&c)) {
        vmem_destroy(s->top.vm);
        kva_posix_catch_end(&c);
        FAIL("%s: ended with %u live ranges", s->shape->name, s->top.nlive);
    }
    if (!is_message(s, c.message)) {
        FAIL("%s: %s", s->shape->name, c.message);
    }
    CHECK_EQ(c.locks, 0);
    CHECK_EQ(scene_digest(s), before);
    return true;
}

static void
destroy_live_at_random(struct test_ctx *t)
{
    scene_instances(t, NULL, destroy_live);
}

static void
destroy_with_live_ranges(struct test_ctx *t)
{
    vmem_t *vm;
    uintptr_t a, x;

    (void)t;
    PORT(NULL);
    vm = plain_arena();
    a = get(vm, 3 * Q);
    x = xget(vm, Q);
    CHECK_MISUSE(vm, vmem_destroy(vm),
                 "vmem_destroy: arena plain: 0x%lx: "
                 "expected no live range, found 16384 bytes live, the first "
                 "12288 here",
                 (unsigned long)a);
    vmem_free(vm, a, 3 * Q);
    CHECK_MISUSE(vm, vmem_destroy(vm),
                 "vmem_destroy: arena plain: 0x%lx: "
                 "expected no live range, found 4096 bytes live, the first "
                 "4096 here",
                 (unsigned long)x);
    vmem_xfree(vm, x, Q);
    vmem_destroy(vm);
    vm = cached_arena();
    if (vm->qcache == NULL) { /* see scene.c */
        vmem_destroy(vm);
        return;
    }
    a = get(vm, 3 * Q);
    x = get(vm, 3 * Q);
    vmem_free(vm, x, 3 * Q); /* in a magazine */
    CHECK_MISUSE(vm, vmem_destroy(vm),
                 "vmem_destroy: arena cached: 0x%lx: "
                 "expected no live range, found 12288 bytes live in quantum "
                 "caches, the first here",
                 (unsigned long)a);
    vmem_free(vm, a, 3 * Q);
    vmem_destroy(vm);
    CHECK_PTR(kva_vmem_list, NULL);
}

const struct test vmem_destroy_live_tests[] = {
    TEST("misuse", destroy_with_live_ranges),
    TEST_COUNT("misuse", destroy_live_at_random, 500, 10000, 100000), TEST_END
};
