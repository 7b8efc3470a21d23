/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How large the heap is: the rule as a table, the same for both word sizes;
 * that kva_boot goes by it unless it is told otherwise; and what happens at the
 * limit: KVA_ENOMEM, or a wait that ends when room appears.
 */
#include <stdio.h>
#include <string.h>

#include "kva/kva.h"
#include "kva/sizing.h"
#include "tests/harness/test.h"

#define P KVA_PAGE_SIZE
#define MIB ((uint64_t)1 << 20)

/* ---- the rule ----------------------------------------------------------- */

/* The table of docs/design.md, in MiB. */
static const struct sizing_row {
    unsigned bits;
    uint64_t ram, va, wired, heap_va, unit;
} sizes[] = {
    { 32, 4, 1024, 3, 16, 16 },
    { 32, 16, 1024, 12, 32, 16 },
    { 32, 128, 1024, 96, 192, 16 },
    { 32, 1024, 1024, 448, 512, 16 },
    { 32, 8192, 1024, 448, 512, 16 },
    { 32, 64, 64, 28, 32, 4 },
    { 64, 4, 524288, 3, 1024, 1024 },
    { 64, 128, 524288, 96, 1024, 1024 },
    { 64, 1024, 524288, 768, 6144, 1024 },
    { 64, 16384, 524288, 12288, 98304, 1024 },
    { 64, 1048576, 524288, 229376, 262144, 1024 },
    { 64, 1048576, 67108864, 786432, 6291456, 1024 },
};

static void
table_is_the_rule(struct test_ctx *t)
{
    (void)t;
    printf("bits  RAM MiB    VA MiB  wired MiB  heap VA MiB  unit MiB\n");
    for (size_t i = 0; i < KVA_COUNT(sizes); i++) {
        const struct sizing_row *r = &sizes[i];
        struct kva_sizing s;

        kva_sizing(r->ram * MIB, r->va * MIB, r->bits, &s);
        printf("%4u %8llu %9llu %10llu %12llu %9llu\n", r->bits,
               (unsigned long long)r->ram, (unsigned long long)r->va,
               (unsigned long long)(s.wired / MIB),
               (unsigned long long)(s.heap_va / MIB),
               (unsigned long long)(s.unit / MIB));
        CHECK_EQ(s.wired, r->wired * MIB);
        CHECK_EQ(s.heap_va, r->heap_va * MIB);
        CHECK_EQ(s.unit, r->unit * MIB);
    }
}

/* What holds for any machine. */
static void
rule_makes_sense(struct test_ctx *t)
{
    for (unsigned long i = 0; i < t->count; i++) {
        uint64_t ram = test_rand(t) >> test_rand_below(t, 64);
        uint64_t va = test_rand(t) >> test_rand_below(t, 64);
        unsigned bits = test_rand_below(t, 2) == 0 ? 32 : 64;
        struct kva_sizing s, more;

        kva_sizing(ram, va, bits, &s);
        CHECK(kva_is_pow2((uintptr_t)(s.unit >> 12)));
        CHECK_GE(s.unit, 4 * MIB);
        CHECK_LE(s.unit, 1024 * MIB);
        CHECK_LE(s.heap_va, va / 2);
        CHECK_LE(s.wired, ram);
        CHECK_LE(s.wired, s.heap_va);
        CHECK_EQ(s.heap_va == 0, ram == 0 || va < 2);
        CHECK(s.heap_va % s.unit == 0 || va / 2 < s.unit);
        /* More memory or more addresses are never less of anything. */
        kva_sizing(ram + (ram >> 3), va, bits, &more);
        CHECK(ram + (ram >> 3) < ram ||
              (more.wired >= s.wired && more.heap_va >= s.heap_va));
    }
}

/* ---- at the start ------------------------------------------------------- */

static int
boot(struct kva_boot kb)
{
    kb.va_base = kva_posix_va_base();
    kb.va_bytes = kva_posix_va_bytes();
    CHECK_EQ(kva_boot(&kb), 0);
    return kva_start();
}

/* How many bytes of pages, or of addresses, an arena gives at most. */
static size_t
capacity(vmem_t *vm, size_t piece)
{
    static vmem_addr_t addr[4096];
    size_t n = 0, got;

    while (n < KVA_COUNT(addr) &&
           vmem_xalloc(vm, piece, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                       VM_NOSLEEP, &addr[n]) == 0) {
        n++;
    }
    got = n * piece;
    while (n > 0) {
        vmem_xfree(vm, addr[--n], piece);
    }
    return got;
}

static void
boot_goes_by_the_rule(struct test_ctx *t)
{
    struct kva_posix_config config = { .va_bytes = 256 * MIB };
    struct kva_sizing s;
    struct kva_stat st;
    const size_t M = (size_t)MIB;
    size_t wired;

    (void)t;
    PORT(&config);
    kva_sizing(8 * MIB, 256 * MIB, sizeof(void *) * 8, &s);
    CHECK_EQ(boot((struct kva_boot){ .ram_bytes = 8 * MIB }), 0);
    kva_stat(&st);
    CHECK_EQ(st.reserve_bytes, KVA_RESERVES ? (size_t)s.wired / 64 : 0);
    wired = ((size_t)s.wired - st.reserve_bytes) & ~(M / 16 - 1);
    CHECK_EQ(capacity(kmem_arena, M / 16), wired);
    CHECK_EQ(capacity(kmem_movable_arena, M / 16), wired);
    CHECK_EQ(capacity(heap_va_arena, M), (size_t)s.heap_va);
    kva_shutdown();
    /* Each is what the kernel says instead. */
    CHECK_EQ(boot((struct kva_boot){ .ram_bytes = 8 * MIB,
                                     .wired_limit = 3 * M,
                                     .reserve_bytes = KVA_NO_RESERVE }),
             0);
    CHECK_EQ(capacity(kmem_arena, M / 16), 3 * M);
    CHECK_EQ(capacity(heap_va_arena, M), (size_t)s.heap_va);
    kva_shutdown();
    CHECK_EQ(
        boot((struct kva_boot){ .ram_bytes = 8 * MIB, .heap_bytes = 30 * M }),
        0);
    CHECK_EQ(capacity(heap_va_arena, M), 32 * M); /* whole units */
    kva_shutdown();
    CHECK_EQ(boot((struct kva_boot){ .ram_bytes = 8 * MIB,
                                     .wired_limit = KVA_NO_LIMIT,
                                     .heap_bytes = KVA_NO_LIMIT }),
             0);
    CHECK_GE(capacity(heap_va_arena, M), 250 * M);
    CHECK_GE(capacity(kmem_arena, M / 16), 16 * M);
    kva_shutdown();
    CHECK_EQ(boot((struct kva_boot){ .ram_bytes = 0 }), 0);
    CHECK_GE(capacity(heap_va_arena, M), 250 * M);
    CHECK_GE(capacity(kmem_arena, M / 16), 16 * M);
    kva_shutdown();
}

/* ---- at the limit ------------------------------------------------------- */

#define LIMIT 64

static struct waiting {
    vmem_addr_t held[LIMIT];
    unsigned n;
    unsigned waits;
    vmem_t *vm; /* of what is held */
} waiting;

/* Whoever waits is about to sleep: a page comes free each time. */
static void
free_one(void *arg, const void *channel)
{
    struct waiting *w = arg;

    (void)channel;
    CHECK_LT(w->waits++, 100);
    CHECK_GT(w->n, 0);
    vmem_xfree(w->vm, w->held[--w->n], P);
}

static void
fill(vmem_t *vm)
{
    waiting.vm = vm;
    waiting.waits = 0;
    waiting.n = 0;
    while (waiting.n < LIMIT &&
           vmem_xalloc(vm, P, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX, VM_NOSLEEP,
                       &waiting.held[waiting.n]) == 0) {
        waiting.n++;
    }
    CHECK_EQ(waiting.n, LIMIT);
}

static void
unfill(void)
{
    while (waiting.n > 0) {
        vmem_xfree(waiting.vm, waiting.held[--waiting.n], P);
    }
}

/* At the limit of what may be wired: refused, or woken by the frees that make
 * room, in whichever arena they are. */
static void
wired_limit_refuses_or_waits(struct test_ctx *t)
{
    vmem_addr_t a = 0;

    (void)t;
    PORT(NULL);
    CHECK_EQ(boot((struct kva_boot){ .wired_limit = LIMIT * P }), 0);
    for (unsigned round = 0; round < 2; round++) {
        fill(round == 0 ? kmem_arena : kmem_movable_arena);
        CHECK_EQ(vmem_alloc(kmem_arena, P, VM_NOSLEEP, &a), KVA_ENOMEM);
        CHECK_EQ(vmem_alloc(kmem_arena, 40 * P, VM_NOSLEEP, &a), KVA_ENOMEM);
        kva_posix_wait_hook(free_one, &waiting);
        CHECK_EQ(vmem_xalloc(kmem_arena, P, 0, 0, 0, VMEM_ADDR_MIN,
                             VMEM_ADDR_MAX, VM_SLEEP, &a),
                 0);
        CHECK_GE(waiting.waits, 1);
        CHECK_LE(waiting.waits, 2);
        kva_posix_wait_hook(NULL, NULL);
        vmem_xfree(kmem_arena, a, P);
        unfill();
        (void)vmem_drain(kmem_arena, SIZE_MAX, 0);
        (void)vmem_drain(kmem_movable_arena, SIZE_MAX, 0);
    }
    /* Several pages, each of them from another free. */
    fill(kmem_movable_arena);
    kva_posix_wait_hook(free_one, &waiting);
    CHECK_EQ(vmem_xalloc(kmem_arena, 20 * P, 0, 0, 0, VMEM_ADDR_MIN,
                         VMEM_ADDR_MAX, VM_SLEEP, &a),
             0);
    CHECK_EQ(waiting.waits, 20);
    kva_posix_wait_hook(NULL, NULL);
    vmem_xfree(kmem_arena, a, 20 * P);
    unfill();
    /* More than the limit can never be: no wait. */
    CHECK_EQ(vmem_alloc(kmem_arena, (LIMIT + 1) * P, VM_SLEEP, &a), KVA_ENOMEM);
    kva_shutdown();
}

/* The same at the limit of the heap's addresses. */
static void
heap_limit_refuses_or_waits(struct test_ctx *t)
{
    struct kva_posix_config config = { .va_bytes = 256 * MIB };
    const size_t piece = 4u << 20;
    vmem_addr_t a[9];

    (void)t;
    PORT(&config);
    CHECK_EQ(boot((struct kva_boot){ .heap_bytes = 8 * piece }), 0);
    for (unsigned i = 0; i < 8; i++) {
        CHECK_EQ(vmem_alloc(heap_va_arena, piece, VM_NOSLEEP, &a[i]), 0);
    }
    CHECK_EQ(vmem_alloc(heap_va_arena, P, VM_NOSLEEP, &a[8]), KVA_ENOMEM);
    CHECK_EQ(vmem_alloc(kernel_va_arena, piece, VM_NOSLEEP, &a[8]), 0);
    vmem_free(kernel_va_arena, a[8], piece);
    waiting = (struct waiting){ .held = { 0 }, .vm = heap_va_arena };
    for (unsigned i = 0; i < 8; i++) {
        vmem_free(heap_va_arena, a[i], piece);
    }
    for (unsigned i = 0; i < LIMIT; i++) { /* the same in small pieces */
        CHECK_EQ(vmem_xalloc(heap_va_arena, i == 0 ? 8 * piece - 63 * P : P, 0,
                             0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX, VM_NOSLEEP,
                             &waiting.held[i]),
                 0);
    }
    waiting.n = LIMIT;
    kva_posix_wait_hook(free_one, &waiting);
    CHECK_EQ(vmem_xalloc(heap_va_arena, P, 0, 0, 0, VMEM_ADDR_MIN,
                         VMEM_ADDR_MAX, VM_SLEEP, &a[8]),
             0);
    CHECK_EQ(waiting.waits, 1);
    kva_posix_wait_hook(NULL, NULL);
    CHECK_EQ(vmem_alloc(heap_va_arena, 9 * piece, VM_SLEEP, &a[0]), KVA_ENOMEM);
    vmem_xfree(heap_va_arena, a[8], P);
    while (waiting.n > 1) {
        vmem_xfree(heap_va_arena, waiting.held[--waiting.n], P);
    }
    vmem_xfree(heap_va_arena, waiting.held[0], 8 * piece - 63 * P);
    kva_shutdown();
}

const struct test sizing_tests[] = {
    TEST("sizing", table_is_the_rule),
    TEST_COUNT("sizing", rule_makes_sense, 10000, 1000000, 20000000),
    TEST("sizing", boot_goes_by_the_rule),
    TEST("sizing", wired_limit_refuses_or_waits),
    TEST("sizing", heap_limit_refuses_or_waits),
    TEST_END
};
