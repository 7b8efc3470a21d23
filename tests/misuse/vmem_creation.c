/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: an arena cannot be made with a quantum, a span, quantum caches or
 * flags that make no sense, and what its creator gives it later (tags, spans
 * that its import function brings) is looked at as well.  Nothing is taken or
 * kept by a creation that was reported.
 */
#include "tests/misuse/scene.h"

#include <stdio.h>

static size_t
meta_pages(void)
{
    struct kva_posix_stats st;

    kva_posix_stats_get(&st);
    return st.meta_pages;
}

static void
bad_create(struct test_ctx *t)
{
    size_t before;

    (void)t;
    PORT(NULL);
    vmem_destroy(plain_arena());
    before = meta_pages();
#define CBAD(base, size, quantum, qmax, flags, ...)                       \
    CHECK_PANIC((void)vmem_create("new", base, size, quantum, NULL, NULL, \
                                  NULL, qmax, flags, KVA_IPL_NONE),       \
                "vmem_create: arena new: " __VA_ARGS__)
    CBAD(0, 0, 0, 0, NOSLEEP,
         "0x0: expected a quantum that is a power of two, found 0");
    CBAD(0, 0, 4097, 0, NOSLEEP,
         "0x0: expected a quantum that is a power of two, found 4097");
    CBAD(0, 0, Q, 33 * Q, NOSLEEP,
         "0x0: expected qcache_max of at most 32 quanta, found 135168");
    CBAD(0, 0, Q, Q + 1, NOSLEEP,
         "0x0: expected qcache_max of at most 32 quanta, found 4097");
    CBAD(0, Q, Q, 0, NOSLEEP | VM_PRIVTAGS,
         "0x0: expected no span and no quantum caches with VM_PRIVTAGS, "
         "found size 4096");
    CBAD(0, 0, Q, 0, NOSLEEP | 0x40000000u,
         "0x0: expected flags for an arena, found flags 0x40000002");
    CBAD(1, Q, Q, 0, NOSLEEP,
         "0x1: expected whole quanta of 4096 bytes, found size 4096");
    CBAD(0, Q / 2, Q, 4 * Q, NOSLEEP,
         "0x0: expected whole quanta of 4096 bytes, found size 2048");
    CBAD((uintptr_t)0 - Q, 2 * Q, Q, 4 * Q, NOSLEEP,
         "0x%lx: expected a span that does not wrap, found size 8192",
         (unsigned long)((uintptr_t)0 - Q));
    CHECK_EQ(meta_pages(), before);
    CHECK_PTR(kva_vmem_list, NULL);
}

/* ---- at random ---------------------------------------------------------- */

#define CREATE_FLAGS                                                     \
    (VM_SLEEP | VM_NOSLEEP | VM_INSTANTFIT | VM_BESTFIT | VM_BOOTSTRAP | \
     VM_LARGEIMPORT | VM_XIMPORT | VM_PRIVTAGS | VM_INDEX)

struct creation {
    uintptr_t base;
    size_t size, quantum, qcache_max;
    vm_flag_t flags;
};

#define TEXT_MAX 160

/* What is wrong with an arena of a caller's tags. */
static bool
tags_text(const struct creation *c, char text[TEXT_MAX])
{
    if ((c->flags & VM_INDEX) != 0) {
        (void)snprintf(text, TEXT_MAX,
                       "VM_PRIVTAGS or VM_INDEX, found both: an index takes "
                       "metadata");
        return true;
    }
    if (c->size != 0 || c->qcache_max != 0) {
        (void)snprintf(text, TEXT_MAX,
                       "no span and no quantum caches with VM_PRIVTAGS, found "
                       "size %zu",
                       c->size);
        return true;
    }
    return false;
}

static bool
create_text(const struct creation *c, char what[KVA_MESSAGE_MAX])
{
    uintptr_t at = 0;
    char text[TEXT_MAX];
    size_t q = c->quantum;

    if (q == 0 || (q & (q - 1)) != 0) {
        (void)snprintf(text, sizeof(text),
                       "a quantum that is a power of two, found %zu", q);
    } else if (c->qcache_max % q != 0 || c->qcache_max / q > 32) {
        (void)snprintf(text, sizeof(text),
                       "qcache_max of at most 32 quanta, found %zu",
                       c->qcache_max);
    } else if ((c->flags & ~CREATE_FLAGS) != 0) {
        (void)snprintf(text, sizeof(text),
                       "flags for an arena, found flags 0x%x", c->flags);
    } else if ((c->flags & VM_PRIVTAGS) != 0 && tags_text(c, text)) {
        at = 0;
    } else if (c->size != 0 && (c->size % q != 0 || c->base % q != 0)) {
        at = c->base;
        (void)snprintf(text, sizeof(text),
                       "whole quanta of %zu bytes, found size %zu", q, c->size);
    } else if (c->size != 0 && c->base + (c->size - 1) < c->base) {
        at = c->base;
        (void)snprintf(text, sizeof(text),
                       "a span that does not wrap, found size %zu", c->size);
    } else {
        return false;
    }
    (void)snprintf(what, KVA_MESSAGE_MAX,
                   "vmem_create: arena new: 0x%lx: expected %s",
                   (unsigned long)at, text);
    return true;
}

static size_t
some_size(struct test_ctx *t, size_t quantum)
{
    switch (test_below(t, 4)) {
    case 0:
        return 0;
    case 1:
        return (size_t)test_rand(t) >> test_below(t, sizeof(size_t) * 8);
    default:
        return quantum * test_below(t, 40);
    }
}

static void
bad_create_at_random(struct test_ctx *t)
{
    unsigned long done = 0;
    size_t before;

    PORT(NULL);
    vmem_destroy(plain_arena());
    before = meta_pages();
    while (done < t->count) {
        struct creation c = { .flags = NOSLEEP };
        char text[KVA_MESSAGE_MAX];

        c.quantum = test_below(t, 4) == 0 ? (size_t)test_rand(t)
                                          : (size_t)1 << test_below(t, 13);
        c.base = test_below(t, 2) == 0 ? (uintptr_t)test_rand(t)
                                       : 0 - c.quantum * test_below(t, 8);
        c.size = some_size(t, c.quantum);
        c.qcache_max = some_size(t, c.quantum);
        c.flags |=
            test_below(t, 2) == 0 ? 0 : (vm_flag_t)1 << test_below(t, 24);
        c.flags |= test_below(t, 8) == 0 ? VM_PRIVTAGS | VM_INDEX : 0;
        if (create_text(&c, text)) {
            CHECK_PANIC((void)vmem_create("new", c.base, c.size, c.quantum,
                                          NULL, NULL, NULL, c.qcache_max,
                                          c.flags, KVA_IPL_NONE),
                        "%s", text);
            CHECK_EQ(meta_pages(), before);
            CHECK_PTR(kva_vmem_list, NULL);
            done++;
        }
    }
}

/* ---- what comes later --------------------------------------------------- */

static void
bad_tags(struct test_ctx *t)
{
    static struct kva_vmem_btag bts[8];
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = vmem_create("tags", 0, 0, Q, NULL, NULL, NULL, 0,
                     NOSLEEP | VM_PRIVTAGS, KVA_IPL_NONE);
    CHECK(vm != NULL);
    CHECK_MISUSE(
        vm,
        (void)vmem_add_bts(vm, (struct kva_vmem_btag *)((char *)bts + 4), 4),
        "vmem_add_bts: arena tags: 0x%lx: expected tags aligned to "
        "%u bytes, found 4 over",
        (unsigned long)(uintptr_t)((char *)bts + 4), (unsigned)KVA__BTAG_ALIGN);
    CHECK_EQ(vmem_add_bts(vm, bts, 1), KVA_ENOMEM); /* a header and no tag */
    CHECK_EQ(vmem_add(vm, 0, Q, NOSLEEP), KVA_ENOMEM);
    CHECK_EQ(vmem_add_bts(vm, bts, 8), 0);
    CHECK_EQ(vmem_add(vm, 0, Q, NOSLEEP), 0);
    vmem_destroy(vm);
}

static int
import_askew(vmem_t *source, vmem_size_t size, vm_flag_t flags,
             vmem_addr_t *addr)
{
    (void)source;
    (void)size;
    (void)flags;
    *addr = BASE + 1;
    return 0;
}

static int
import_little(vmem_t *source, vmem_size_t size, vmem_size_t *actual,
              vm_flag_t flags, vmem_addr_t *addr)
{
    (void)source;
    (void)flags;
    *actual = size - Q;
    *addr = BASE;
    return 0;
}

static void
bad_import(struct test_ctx *t)
{
    vmem_t *vm;
    uintptr_t addr = 0;

    (void)t;
    PORT(NULL);
    vm = vmem_create("askew", 0, 0, Q, import_askew, NULL, NULL, 0, NOSLEEP,
                     KVA_IPL_NONE);
    CHECK(vm != NULL);
    CHECK_MISUSE(vm, (void)vmem_alloc(vm, 2 * Q, NOSLEEP, &addr),
                 "importfn: arena askew: 0x%lx: expected whole quanta of at "
                 "least 8192 bytes, found 8192",
                 (unsigned long)(BASE + 1));
    vmem_destroy(vm);
    vm = vmem_xcreate("little", 0, 0, Q, import_little, NULL, NULL, 0, NOSLEEP,
                      KVA_IPL_NONE);
    CHECK(vm != NULL);
    CHECK_MISUSE(vm, (void)vmem_alloc(vm, 2 * Q, NOSLEEP, &addr),
                 "importfn: arena little: 0x%lx: expected whole quanta of at "
                 "least 8192 bytes, found 4096",
                 (unsigned long)BASE);
    vmem_destroy(vm);
}

static void
xfreeall_with_quantum_caches(struct test_ctx *t)
{
    vmem_t *vm;
    uintptr_t a;

    (void)t;
    PORT(NULL);
    vm = vmem_create("cached", BASE, 256 * Q, Q, NULL, NULL, NULL, 8 * Q,
                     NOSLEEP, KVA_IPL_NONE);
    a = xget(vm, Q);
    CHECK_MISUSE(vm, vmem_xfreeall(vm),
                 "vmem_xfreeall: arena cached: 0x0: "
                 "expected an arena without quantum caches, found one with "
                 "them");
    vmem_xfree(vm, a, Q);
    vmem_destroy(vm);
}

const struct test vmem_creation_tests[] = {
    TEST("misuse", bad_create),
    TEST("misuse", bad_tags),
    TEST("misuse", bad_import),
    TEST("misuse", xfreeall_with_quantum_caches),
    TEST_COUNT("misuse", bad_create_at_random, 500, 10000, 100000),
    TEST_END
};
