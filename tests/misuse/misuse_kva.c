/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Misuse of the tower: starting twice, ending it with memory in use, wrong
 * frees of pageable ranges and of wired memory.
 */
#include "kva/kva.h"
#include "tests/harness/test.h"
#include "tests/misuse/digest.h"

#define P KVA_PAGE_SIZE

static struct kva_boot
machine(void)
{
    struct kva_boot kb = { .va_base = kva_posix_va_base(),
                           .va_bytes = kva_posix_va_bytes() };

    return kb;
}

static void
boot_here(void)
{
    struct kva_boot kb = machine();

    CHECK_EQ(kva_boot(&kb), 0);
    CHECK_EQ(kva_start(), 0);
}

static void
boot(void)
{
    PORT(NULL);
    boot_here();
}

static void
booting_in_the_wrong_order(struct test_ctx *t)
{
    static _Alignas(4096) char region[KVA_BOOT_SIMPLE_MIN];
    struct kva_boot kb;

    (void)t;
    PORT(NULL);
    kb = machine();
    CHECK_PANIC((void)kva_start(), "kva_start: arena kernel_va: 0x0: expected "
                                   "a tower that was booted, found none");
    kb.va_base++;
    CHECK_PANIC((void)kva_boot(&kb),
                "vmem_init: arena kernel_va: 0x%lx: "
                "expected whole quanta of 4096 bytes, found size %zu",
                (unsigned long)kb.va_base, kb.va_bytes);
    CHECK_PTR(kva_vmem_list, NULL);
    kb.va_base--;
    CHECK_EQ(kva_boot(&kb), 0);
    CHECK_MISUSE(kernel_va_arena, (void)kva_boot(&kb),
                 "kva_boot: arena "
                 "kernel_va: 0x0: expected a tower not yet booted, found it "
                 "booted");
    CHECK_MISUSE(kernel_va_arena, (void)kva_boot_simple(region, sizeof(region)),
                 "kva_boot_simple: arena kernel_va: 0x0: expected a tower not "
                 "yet booted, found it booted");
    CHECK_EQ(kva_start(), 0);
    kva_shutdown();
}

/* What is said of a page of a range. */
#define BAD(call, func, at, demand, addr, size, found)                  \
    CHECK_MISUSE(kernel_va_arena, call,                                 \
                 func ": arena kernel_map: 0x%lx: expected a pageable " \
                      "page" demand ", of the range from 0x%lx on of "  \
                      "%zu bytes, found " found,                        \
                 (unsigned long)(at), (unsigned long)(addr), (size_t)(size))

static void
pages_are_not_as_demanded(vmem_addr_t a)
{
    BAD(kva_pageable_free(a, 5 * P), "kva_pageable_free", a + 4 * P,
        " that is not wired", a, 5 * P, "none");
    BAD(kva_pageable_free(a - P, 2 * P), "kva_pageable_free", a - P,
        " that is not wired", a - P, 2 * P, "none");
    BAD(kva_pageable_free(0, 1), "kva_pageable_free", 0, " that is not wired",
        0, P, "none");
    BAD((void)kva_pageable_discard(a + 4 * P, P), "kva_pageable_discard",
        a + 4 * P, "", a + 4 * P, P, "none");
    BAD((void)kva_pageable_wire(a + 3 * P, 3 * P), "kva_pageable_wire",
        a + 4 * P, "", a + 3 * P, 3 * P, "none");
    BAD(kva_pageable_protect(a, 6 * P, 0), "kva_pageable_protect", a + 4 * P,
        "", a, 6 * P, "none");
    BAD(kva_pageable_unwire(a, P), "kva_pageable_unwire", a, " that is wired",
        a, P, "one that is not wired");
    CHECK_EQ(kva_pageable_wire(a + P, P), 0);
    BAD(kva_pageable_free(a, 4 * P), "kva_pageable_free", a + P,
        " that is not wired", a, 4 * P, "a wired one");
    kva_pageable_unwire(a + P, P);
    CHECK_EQ(kva_pageable_discard(a, 4 * P), P);
}

static void
arguments_are_wrong(vmem_addr_t a)
{
    vmem_addr_t b = 0;

    CHECK_MISUSE(kernel_va_arena, kva_pageable_free(a + 1, P),
                 "kva_pageable_free: arena kernel_map: 0x%lx: expected a "
                 "multiple of the page size 4096, found a misaligned address",
                 (unsigned long)a + 1);
    CHECK_MISUSE(kernel_va_arena, kva_pageable_free(a, 0),
                 "kva_pageable_free: arena kernel_map: 0x%lx: expected a size "
                 "above 0 that can be rounded up to pages, found size 0",
                 (unsigned long)a);
    CHECK_MISUSE(kernel_va_arena, (void)kva_pageable_wire(a, SIZE_MAX),
                 "kva_pageable_wire: arena kernel_map: 0x%lx: expected a size "
                 "above 0 that can be rounded up to pages, found size %zu",
                 (unsigned long)a, SIZE_MAX);
    CHECK_MISUSE(kernel_va_arena, kva_pageable_protect(a, P, 8),
                 "kva_pageable_protect: arena kernel_map: 0x%lx: expected "
                 "accesses of KVA_PROT_*, found 0x8",
                 (unsigned long)a);
    CHECK_MISUSE(kernel_va_arena,
                 (void)kva_pageable_alloc(P, 16, VM_NOSLEEP, &b),
                 "kva_pageable_alloc: arena kernel_map: 0x0: expected "
                 "accesses of KVA_PROT_*, found 0x10");
    CHECK_MISUSE(kernel_va_arena,
                 (void)kva_pageable_alloc(0, KVA_PROT_READ, VM_NOSLEEP, &b),
                 "vmem_xalloc: arena kernel_va: 0x0: expected a size above 0, "
                 "found size 0");
    CHECK_MISUSE(
        kernel_va_arena,
        (void)kva_pageable_alloc(SIZE_MAX, KVA_PROT_READ, VM_NOSLEEP, &b),
        "vmem_xalloc: arena kernel_va: 0x0: expected a size that can be "
        "rounded up to the quantum 4096, found size %zu",
        SIZE_MAX);
}

static void
pageable_ranges(struct test_ctx *t)
{
    vmem_addr_t a = 0;
    struct kva_stat before, after;

    (void)t;
    boot();
    CHECK_EQ(kva_pageable_alloc(4 * P, KVA_PROT_READ, VM_NOSLEEP, &a), 0);
    kva_stat(&before);
    pages_are_not_as_demanded(a);
    arguments_are_wrong(a);
    kva_stat(&after);
    CHECK_EQ(after.map_entries, 1);
    CHECK_EQ(after.map_bytes, 4 * P);
    CHECK_EQ(after.meta_pages_bytes, before.meta_pages_bytes);
    CHECK(kva_map_check() == NULL);
    kva_pageable_free(a, P);
    CHECK_MISUSE(kernel_va_arena, kva_shutdown(),
                 "kva_shutdown: arena "
                 "kernel_map: 0x%lx: expected no pageable range, found 1",
                 (unsigned long)(a + P));
    kva_pageable_free(a + P, 3 * P);
    BAD(kva_pageable_free(a, 4 * P), "kva_pageable_free", a,
        " that is not wired", a, 4 * P, "none");
    kva_shutdown();
}

/* Nothing is ended while somebody has something. */
static void
ending_in_use(struct test_ctx *t)
{
    vmem_t **vm[] = { &kernel_va_arena, &heap_arena,         &heap_va_arena,
                      &kmem_arena,      &kmem_movable_arena, &kmem_intr_arena };
    static const char *const names[] = { "kernel_va",    "heap",
                                         "heap_va",      "kmem",
                                         "kmem_movable", "kmem_intr" };
    vmem_addr_t a = 0;

    (void)t;
    boot();
    for (unsigned i = 0; i < KVA_COUNT(vm); i++) {
        for (size_t size = P; size <= 64 * P; size += 63 * P) {
            bool cached = i >= 2 && size == P;

            CHECK_EQ(vmem_alloc(*vm[i], size, VM_NOSLEEP, &a), 0);
            if (cached) {
                CHECK_PANIC(kva_shutdown(),
                            "kva_shutdown: arena %s: 0x%lx: "
                            "expected no live range, found %zu bytes live in "
                            "quantum caches, the first here",
                            names[i], (unsigned long)a, size);
            } else {
                CHECK_PANIC(kva_shutdown(),
                            "kva_shutdown: arena %s: 0x%lx: "
                            "expected no live range, found %zu bytes live, "
                            "the first %zu here",
                            names[i], (unsigned long)a, size, size);
            }
            CHECK_EQ(vmem_size(*vm[i], VMEM_ALLOC) -
                         vmem_size(*vm[i], VMEM_CACHED),
                     size);
            vmem_free(*vm[i], a, size); /* it still works */
        }
    }
    kva_shutdown();
    CHECK_PTR(kva_vmem_list, NULL);
}

/* kmem_arena and what is below it do not take each other's. */
static void
frees_to_the_wrong_floor(struct test_ctx *t)
{
    vmem_addr_t a = 0, b = 0;

    (void)t;
    boot();
    CHECK_EQ(vmem_alloc(kmem_arena, 64 * P, VM_NOSLEEP, &a), 0);
    CHECK_EQ(vmem_alloc(heap_va_arena, 64 * P, VM_NOSLEEP, &b), 0);
    CHECK_MISUSE(heap_va_arena, vmem_free(heap_va_arena, a, 64 * P),
                 "vmem_free: arena heap_va: 0x%lx: expected a range of "
                 "vmem_alloc, found one of vmem_xalloc",
                 (unsigned long)a);
    CHECK_MISUSE(kmem_arena, vmem_free(kmem_arena, b, 64 * P),
                 "vmem_free: arena kmem: 0x%lx: expected a live range, found "
                 "an address outside every span",
                 (unsigned long)b);
    vmem_free(kmem_arena, a, 64 * P);
    vmem_free(heap_va_arena, b, 64 * P);
    kva_shutdown();
}

static void
wired_requests(struct test_ctx *t)
{
    vmem_addr_t a = 0;

    (void)t;
    PORT(NULL);
    CHECK_PANIC((void)kva_wired_alloc(P, 0, VM_NOSLEEP, &a),
                "kva_wired_alloc: arena heap_va: 0x0: expected a tower that "
                "was booted, found none");
    CHECK_PANIC(kva_wired_free(P, P),
                "kva_wired_free: arena heap_va: 0x1000: expected a tower that "
                "was booted, found none");
    boot_here();
    CHECK_MISUSE(heap_va_arena, (void)kva_wired_alloc(P, 0, VM_BESTFIT, &a),
                 "kva_wired_alloc: arena heap_va: 0x0: expected either "
                 "VM_SLEEP or VM_NOSLEEP, found flags 0x%x",
                 VM_BESTFIT);
    CHECK_MISUSE(heap_va_arena, (void)kva_wired_alloc(P, 3 * P, VM_NOSLEEP, &a),
                 "kva_wired_alloc: arena heap_va: 0x0: expected a power of "
                 "two for the alignment, found %zu",
                 3 * P);
    CHECK_MISUSE(heap_va_arena, (void)kva_wired_alloc(0, 0, VM_NOSLEEP, &a),
                 "kva_wired_alloc: arena kmem: 0x0: expected a size above 0, "
                 "found size 0");
    kva_shutdown();
}

/* What was freed is told apart while it is queued, and when it lies in
 * quarantine; nothing of it is lost by that. */
static void
wired_frees(struct test_ctx *t)
{
    vmem_addr_t a = 0, b = 0, c = 0;

    (void)t;
    boot();
#define BAD_WIRED(addr, size, ...)                          \
    CHECK_MISUSE(heap_va_arena, kva_wired_free(addr, size), \
                 "kva_wired_free: arena heap_va: 0x%lx: "   \
                 "expected " __VA_ARGS__)
    CHECK_EQ(kva_wired_alloc(4 * P, 0, VM_NOSLEEP, &a), 0);
    CHECK_EQ(vmem_alloc(kmem_arena, 64 * P, VM_NOSLEEP, &b), 0);
    CHECK_EQ(vmem_alloc(heap_va_arena, 64 * P, VM_NOSLEEP, &c), 0);
    BAD_WIRED(a, 3 * P, "size 16384, found size 12288", (unsigned long)a);
    BAD_WIRED(a + P, P,
              "the start of a range, found an address inside the one at 0x%lx",
              (unsigned long)(a + P), (unsigned long)a);
    BAD_WIRED(b, 64 * P, "a range of kva_wired_alloc, found one of arena kmem",
              (unsigned long)b);
    BAD_WIRED(c, 64 * P, "a range of vmem_xalloc, found one of vmem_alloc",
              (unsigned long)c);
    kva_wired_free(a, 4 * P);
    BAD_WIRED(a, 4 * P,
              "a live range, found one that was freed and is kept back",
              (unsigned long)a);
    BAD_WIRED(a + P, P,
              "a live range, found one that was freed and is kept back",
              (unsigned long)(a + P));
    CHECK_MISUSE(heap_va_arena, vmem_xfree(heap_va_arena, a, 4 * P),
                 "vmem_xfree: arena heap_va: 0x%lx: expected a live range, "
                 "found one that was freed and is kept back",
                 (unsigned long)a);
    CHECK_EQ(kva_unmap_flush(), 4 * P);
    BAD_WIRED(a, 4 * P, "a live range, found a free one", (unsigned long)a);
    vmem_free(kmem_arena, b, 64 * P);
    vmem_free(heap_va_arena, c, 64 * P);
    CHECK_EQ(kva_wired_alloc(4 * P, 0, VM_NOSLEEP, &a), 0);
    CHECK_PANIC(kva_shutdown(),
                "kva_shutdown: arena heap_va: 0x%lx: expected no live range, "
                "found 16384 bytes live, the first 16384 here",
                (unsigned long)a);
    kva_wired_free(a, 4 * P);
    kva_shutdown();
}

const struct test misuse_kva_tests[] = {
    TEST("misuse", booting_in_the_wrong_order),
    TEST("misuse", pageable_ranges),
    TEST("misuse", ending_in_use),
    TEST("misuse", frees_to_the_wrong_floor),
    TEST("misuse", wired_requests),
    TEST("misuse", wired_frees),
    TEST_END
};
