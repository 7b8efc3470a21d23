/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: an address is found in its segment or item from any byte of it, and
 * named right; in steps, so that others get the lock.
 */
#include "tests/unit/printed.h"
#include "vmem/qcache.h"

#define Q ((size_t)4096)
#define BASE ((uintptr_t)0x40000000)
#define TOP (~(uintptr_t)0)

static void
found(vmem_t *vm, uintptr_t addr, size_t size, enum kva_vmem_kind kind)
{
    const uintptr_t at[] = { addr, addr + size / 2, addr + (size - 1) };
    struct kva_vmem_segment seg;

    for (unsigned i = 0; i < KVA_COUNT(at); i++) {
        memset(&seg, 0x5a, sizeof(seg));
        CHECK_EQ(vmem_find(vm, at[i], &seg), 0);
        CHECK_EQ(seg.addr, addr);
        CHECK_EQ(seg.size, size);
        CHECK_EQ(seg.kind, kind);
        CHECK_LE(seg.span_addr, addr);
        CHECK_GE(seg.span_addr + (seg.span_size - 1), addr + (size - 1));
    }
}

static void
each_kind(vm_flag_t index)
{
    uintptr_t live = 0, cached = 0, big = 0;
    struct kva_vmem_segment seg;
    vmem_t *source, *vm;

    PORT(NULL);
    source = vmem_create("source", BASE, 64 * Q, Q, NULL, NULL, NULL, 0,
                         VM_NOSLEEP, KVA_IPL_NONE);
    vm = vmem_create("found", BASE + 256 * Q, 16 * Q, Q, vmem_alloc, vmem_free,
                     source, 4 * Q, VM_NOSLEEP | index, KVA_IPL_NONE);
    CHECK(source != NULL && vm != NULL);
    CHECK_EQ(vmem_xalloc_addr(vm, BASE + 260 * Q, 2 * Q, VM_NOSLEEP), 0);
    found(vm, BASE + 260 * Q, 2 * Q, VMEM_KIND_XALLOC);
    found(vm, BASE + 256 * Q, 4 * Q, VMEM_KIND_FREE);
    found(vm, BASE + 262 * Q, 10 * Q, VMEM_KIND_FREE);
    CHECK_EQ(vmem_alloc(vm, 20 * Q, VM_NOSLEEP, &big), 0);
    found(vm, big, 20 * Q, VMEM_KIND_ALLOC);
    CHECK_EQ(vmem_find(vm, big, &seg), 0);
    CHECK(seg.imported);
    CHECK_EQ(seg.span_addr, big);
    CHECK_EQ(seg.span_size, 20 * Q);
    CHECK_EQ(vmem_alloc(vm, 3 * Q, VM_NOSLEEP, &live), 0);
    found(vm, live, 3 * Q, VMEM_KIND_LIVE);
    CHECK_EQ(vmem_find(vm, live, &seg), 0);
    CHECK(!seg.imported);
    CHECK_EQ(vmem_find(vm, live + 3 * Q, &seg), 0); /* a piece is 4 at least */
    CHECK_EQ(seg.kind, VMEM_KIND_PIECE);
    CHECK_EQ(seg.addr, live);
    CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &cached), 0);
    vmem_free(vm, cached, Q);
    found(vm, cached, Q, KVA_CONFIG_CHECKS ? VMEM_KIND_CACHED : VMEM_KIND_LIVE);
    CHECK_EQ(vmem_find(vm, BASE + 255 * Q, &seg), KVA_ENOENT);
    CHECK_EQ(vmem_find(vm, BASE + 272 * Q, &seg), KVA_ENOENT);
    CHECK_EQ(vmem_find(vm, 0, &seg), KVA_ENOENT);
    CHECK_EQ(vmem_find(vm, TOP, &seg), KVA_ENOENT);
    vmem_free(vm, live, 3 * Q);
    vmem_free(vm, big, 20 * Q);
    vmem_xfree(vm, BASE + 260 * Q, 2 * Q);
    vmem_destroy(vm);
    vmem_destroy(source);
}

static void
each_kind_is_found(struct test_ctx *t)
{
    (void)t;
    each_kind(0);
}

static void
each_kind_is_found_by_index(struct test_ctx *t)
{
    (void)t;
    each_kind(VM_INDEX);
}

/* Ranges that begin, end, or lie outside; the ends of the address space. */
static void
whole_ranges(vm_flag_t index)
{
    vmem_t *vm;

    PORT(NULL);
    vm = vmem_create("whole", BASE, 8 * Q, Q, NULL, NULL, NULL, 0,
                     VM_NOSLEEP | index, KVA_IPL_NONE);
    CHECK(vm != NULL);
    CHECK_EQ(vmem_add(vm, BASE + 8 * Q, 8 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_add(vm, 0, 4 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_add(vm, TOP - (4 * Q - 1), 4 * Q, VM_NOSLEEP), 0);
    CHECK(vmem_contains(vm, BASE, 8 * Q));
    CHECK(vmem_contains(vm, BASE + 8 * Q - 1, 1));
    CHECK(!vmem_contains(vm, BASE, 8 * Q + 1)); /* two spans that touch */
    CHECK(vmem_contains(vm, BASE + 8 * Q, 8 * Q));
    CHECK(!vmem_contains(vm, BASE - 1, 2));
    CHECK(!vmem_contains(vm, BASE - 1, 1));
    CHECK(vmem_contains(vm, 0, 4 * Q));
    CHECK(!vmem_contains(vm, 0, TOP));
    CHECK(vmem_contains(vm, TOP - (4 * Q - 1), 4 * Q));
    CHECK(vmem_contains(vm, TOP, 1));
    CHECK(!vmem_contains(vm, TOP, 2)); /* it wraps */
    CHECK(!vmem_contains(vm, TOP - (4 * Q - 1), TOP));
    found(vm, TOP - (4 * Q - 1), 4 * Q, VMEM_KIND_FREE);
    found(vm, 0, 4 * Q, VMEM_KIND_FREE);
    CHECK_PANIC((void)vmem_contains(vm, BASE, 0),
                "vmem_contains: arena whole: 0x%lx: expected a size above 0, "
                "found size 0",
                (unsigned long)BASE);
    vmem_destroy(vm);
}

static void
contains_whole_ranges(struct test_ctx *t)
{
    (void)t;
    whole_ranges(0);
}

static void
contains_by_index(struct test_ctx *t)
{
    (void)t;
    whole_ranges(VM_INDEX);
}

/* Thousands of segments: each found, with the visits that a walk needs, or,
 * with an index, with 4 log2(segments) + 16. */
static void
many(struct test_ctx *t, vm_flag_t index)
{
    const unsigned n = 1000, spans = 100;
    struct kva_vmem_stat before, after;
    struct kva_vmem_segment seg;
    vmem_t *vm;

    PORT(NULL);
    vm = vmem_create("many", BASE, 2 * n * Q, Q, NULL, NULL, NULL, 0,
                     VM_NOSLEEP | index, KVA_IPL_NONE);
    CHECK(vm != NULL);
    for (unsigned i = 0; i < spans; i++) {
        CHECK_EQ(vmem_add(vm, BASE + (4 * n + 2 * i) * Q, Q, VM_NOSLEEP), 0);
    }
    for (unsigned i = 0; i < n; i++) {
        CHECK_EQ(vmem_xalloc_addr(vm, BASE + 2 * i * Q, Q, VM_NOSLEEP), 0);
    }
    vmem_stat(vm, &before);
    CHECK_EQ(before.contains, 0);
    CHECK_EQ(before.contains_search, 0);
    for (unsigned i = 0; i < 100; i++) {
        unsigned k = (unsigned)test_rand_below(t, 2 * n);

        vmem_stat(vm, &before);
        found(vm, BASE + k * Q, Q,
              k % 2 == 0 ? VMEM_KIND_XALLOC : VMEM_KIND_FREE);
        vmem_stat(vm, &after);
        CHECK_EQ(after.contains - before.contains, 3);
        if (index != 0) {
            CHECK_LE(after.contains_search - before.contains_search,
                     3 * (4 * 10 + 16));
        } else {
            CHECK_EQ(after.contains_search - before.contains_search,
                     3 * (k + 1));
        }
    }
    CHECK_EQ(vmem_find(vm, BASE + (4 * n + 2 * spans - 2) * Q, &seg), 0);
    CHECK_EQ(vmem_find(vm, BASE + (4 * n + 2 * spans - 1) * Q, &seg),
             KVA_ENOENT);
    vmem_xfreeall(vm);
    vmem_destroy(vm);
}

static void
among_many(struct test_ctx *t)
{
    many(t, 0);
}

static void
among_many_by_index(struct test_ctx *t)
{
    many(t, VM_INDEX);
}

static void
whatis_names_it(struct test_ctx *t)
{
    static struct kva_vmem_audit ring[4];
    char expected[256];
    uintptr_t a = 0;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    printed_clear();
    vmem_whatis(BASE, print_keep); /* before there is anything */
    CHECK_EQ(printed.lines, 0);
    vm = vmem_create("named", BASE, 16 * Q, Q, NULL, NULL, NULL, 0, VM_NOSLEEP,
                     KVA_IPL_NONE);
    CHECK(vm != NULL);
    vmem_whatis(BASE + 100, print_keep);
    CHECK_STR(printed.text,
              "0x40000064 is 0x40000000+100 in arena named, of 65536 bytes, "
              "free; in the span 0x40000000 - 0x4000ffff\n");
    printed_clear();
    vmem_whatis(BASE - 1, print_keep);
    CHECK_STR(printed.text, "0x3fffffff is nothing of an arena's\n");
    printed_clear();
    vmem_whatis((uintptr_t)vm + 1, print_keep);
    (void)snprintf(
        expected, sizeof(expected), "0x%lx is 0x%lx+1, arena named itself\n",
        (unsigned long)(uintptr_t)vm + 1, (unsigned long)(uintptr_t)vm);
    CHECK_STR(printed.text, expected);
    printed_clear();
    vmem_whatis((uintptr_t)bt_at(vm->span_first) + 9, print_keep);
    (void)snprintf(expected, sizeof(expected),
                   "0x%lx is 0x%lx+9, a tag of a span, at 0x40010000\n",
                   (unsigned long)(uintptr_t)bt_at(vm->span_first) + 9,
                   (unsigned long)(uintptr_t)bt_at(vm->span_first));
    CHECK_STR(printed.text, expected);
    printed_clear();
    vmem_set_audit(vm, ring, KVA_COUNT(ring));
    CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), 0);
    kva_posix_log_set(log_keep, NULL);
    vmem_whatis(a, NULL);
    kva_posix_log_set(NULL, NULL);
    CHECK_EQ(printed.lines, 2);
    CHECK_HAS(printed.text, "+0 in arena named, of 4096 bytes, allocated;");
    CHECK_HAS(printed.text, "\n  last event 1: alloc  0x");
    vmem_free(vm, a, Q);
    vmem_destroy(vm);
}

const struct test whatis_tests[] = { TEST("whatis", each_kind_is_found),
                                     TEST("whatis", contains_whole_ranges),
                                     TEST("whatis",
                                          each_kind_is_found_by_index),
                                     TEST("whatis", contains_by_index),
                                     TEST("whatis", among_many),
                                     TEST("whatis", among_many_by_index),
                                     TEST("whatis", whatis_names_it),
                                     TEST_END };
