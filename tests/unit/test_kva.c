/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tower of arenas: it starts, wires and unwires pages, gives everything
 * back, and ends.
 */
#include <stdlib.h>
#include <string.h>

#include "kva/kva.h"
#include "reclaim/reclaim.h"
#include "tests/harness/machine.h"
#include "vmem/vmem_store.h"

#define P KVA_PAGE_SIZE

static void
boot_with(size_t wired_limit, size_t intr_bytes)
{
    machine_boot((struct kva_boot){ .wired_limit = wired_limit,
                                    .intr_bytes = intr_bytes });
}

/* What is attached is what the tower says it wired. */
static void
check_wired(void)
{
    struct kva_stat st;

    kva_stat(&st);
    CHECK_EQ(st.wired_bytes, machine().attached_pages * P);
    CHECK_EQ(st.wired_bytes, machine().frames * P);
    CHECK_EQ(machine().stale_pages, 0);
}

static void
check_arenas(void)
{
    for (vmem_t *vm = kva_vmem_list; vm != NULL; vm = vm->next) {
        const char *bad = vmem_check(vm);

        if (bad != NULL) {
            FAIL("arena %s: %s", vm->name, bad);
        }
    }
}

static void
drain_all(void)
{
    (void)vmem_drain(kmem_arena, SIZE_MAX, 0);
    (void)vmem_drain(heap_va_arena, SIZE_MAX, 0);
}

/* ---- starting and ending ------------------------------------------------ */

static void
boots_and_ends(struct test_ctx *t)
{
    vmem_addr_t a = 0;
    size_t meta = 0;

    (void)t;
    PORT(NULL);
    for (unsigned round = 0; round < 20; round++) {
        boot_with(0, round % 2 == 0 ? 0 : 16 * P);
        CHECK_EQ(vmem_size(kernel_va_arena, VMEM_ALLOC | VMEM_FREE),
                 kva_posix_va_bytes());
        CHECK_EQ(vmem_alloc(kmem_arena, 5 * P, VM_NOSLEEP, &a), 0);
        memset((void *)a, 0x5a, 5 * P);
        check_wired();
        vmem_free(kmem_arena, a, 5 * P);
        kva_shutdown();
        CHECK_EQ(machine().attached_pages, 0);
        CHECK_EQ(machine().frames, 0);
        CHECK_PTR(kva_vmem_list, NULL);
        if (round == 1) {
            meta = machine().meta_pages;
        }
        CHECK(round < 1 || machine().meta_pages == meta);
    }
    kva_shutdown(); /* once more is nothing */
}

/* Before kva_start there are addresses and no pages, and nothing is asked of
 * the port. */
static void
addresses_before_start(struct test_ctx *t)
{
    static _Alignas(4096) char donated[32 * 4096];
    struct kva_boot kb = { .donated = donated,
                           .donated_bytes = sizeof(donated) };
    vmem_addr_t a, b;

    (void)t;
    PORT(NULL);
    kb.va_base = kva_posix_va_base();
    kb.va_bytes = kva_posix_va_bytes();
    CHECK_EQ(kva_boot(&kb), 0);
    CHECK_EQ(vmem_alloc(heap_va_arena, 3 * P, VM_NOSLEEP, &a), 0);
    CHECK_EQ(vmem_alloc(kernel_va_arena, 3 * P, VM_NOSLEEP, &b), 0);
    CHECK_EQ(vmem_alloc(kmem_arena, P, VM_NOSLEEP, &b), KVA_ENOMEM);
    CHECK_EQ(machine().meta_gets, 0);
    CHECK_EQ(machine().page_gets, 0);
    vmem_free(heap_va_arena, a, 3 * P);
    CHECK_EQ(kva_start(), 0);
    CHECK_EQ(vmem_alloc(kmem_arena, P, VM_NOSLEEP, &a), 0);
    *(char *)a = 1;
    vmem_free(kmem_arena, a, P);
    check_arenas();
}

/* ---- wired memory ------------------------------------------------------- */

#define LIVE 200

struct held {
    vmem_t *vm;
    vmem_addr_t addr;
    size_t size;
    bool x;
};

static void
put(struct held *h)
{
    if (h->vm == kmem_arena) {
        CHECK_EQ(*(vmem_addr_t *)h->addr, h->addr);
        CHECK_EQ(*(char *)(h->addr + h->size - 1), (char)h->size);
    }
    if (h->x) {
        vmem_xfree(h->vm, h->addr, h->size);
    } else {
        vmem_free(h->vm, h->addr, h->size);
    }
    h->vm = NULL;
}

static void
get(struct test_ctx *t, struct held *h)
{
    size_t align = P << test_below(t, 8);
    int err;

    h->vm = test_below(t, 4) == 0 ? heap_va_arena : kmem_arena;
    h->x = test_below(t, 4) == 0;
    h->size = P + test_below(t, test_below(t, 8) == 0 ? 200 * P : 8 * P);
    err = h->x ? vmem_xalloc(h->vm, h->size, align, 0, 0, VMEM_ADDR_MIN,
                             VMEM_ADDR_MAX, VM_NOSLEEP, &h->addr)
               : vmem_alloc(h->vm, h->size, VM_NOSLEEP, &h->addr);
    CHECK_EQ(err, 0);
    CHECK(!h->x || h->addr % align == 0);
    if (h->vm == kmem_arena) {
        *(vmem_addr_t *)h->addr = h->addr;
        *(char *)(h->addr + h->size - 1) = (char)h->size;
    }
}

/* Random use; then all is freed and drained: every span is back in
 * kernel_va_arena, no page is attached, tags are as many as at the start. */
static void
everything_goes_back(struct test_ctx *t)
{
    static struct held held[LIVE];
    struct kva_stat begin, end;

    PORT(NULL);
    boot_with(0, 0);
    kva_stat(&begin);
    memset(held, 0, sizeof(held));
    for (unsigned long i = 0; i < t->count; i++) {
        struct held *h = &held[test_below(t, LIVE)];

        if (h->vm != NULL) {
            put(h);
        } else {
            get(t, h);
        }
        if (i % 64 == 0) {
            check_wired();
            check_arenas();
        }
    }
    for (unsigned i = 0; i < LIVE; i++) {
        if (held[i].vm != NULL) {
            put(&held[i]);
        }
    }
    drain_all();
    check_wired();
    check_arenas();
    CHECK_EQ(machine().attached_pages, 0);
    CHECK_EQ(machine().frames, 0);
    CHECK_EQ(vmem_size(kernel_va_arena, VMEM_ALLOC), 0);
    kva_stat(&end);
    CHECK_EQ(end.tags, begin.tags);
    CHECK_EQ(end.spans, begin.spans);
    CHECK_EQ(end.wired_bytes, 0);
    CHECK_GT(end.wired_max, 0);
    kva_shutdown();
}

/* vmem_drain says how much was unwired. */
static void
drain_returns_bytes(struct test_ctx *t)
{
    vmem_addr_t a[64];
    size_t before, got;

    (void)t;
    PORT(NULL);
    boot_with(0, 0);
    for (unsigned i = 0; i < 64; i++) {
        CHECK_EQ(vmem_alloc(kmem_arena, 2 * P, VM_NOSLEEP, &a[i]), 0);
    }
    for (unsigned i = 0; i < 64; i++) {
        vmem_free(kmem_arena, a[i], 2 * P);
    }
    before = machine().attached_pages;
    CHECK_GT(before, 0);
    CHECK_EQ(vmem_drain(kmem_arena, 0, 0), 0);
    CHECK_EQ(machine().attached_pages, before);
    got = vmem_drain(kmem_arena, SIZE_MAX, 0);
    CHECK_EQ(machine().attached_pages, 0);
    CHECK_EQ(got, before * P);
    /* The cleaners are registered: reclaim does the same. */
    CHECK_EQ(vmem_alloc(kmem_arena, 2 * P, VM_NOSLEEP, &a[0]), 0);
    vmem_free(kmem_arena, a[0], 2 * P);
    before = machine().attached_pages;
    CHECK_GE(kva_reclaim(SIZE_MAX), before * P);
    CHECK_EQ(machine().attached_pages, 0);
    kva_shutdown();
}

static void
wired_limit_holds(struct test_ctx *t)
{
    vmem_addr_t a[256];
    unsigned n = 0;
    struct kva_stat st;

    (void)t;
    PORT(NULL);
    boot_with(64 * P, 0);
    while (vmem_alloc(kmem_arena, P, VM_NOSLEEP, &a[n]) == 0) {
        *(char *)a[n] = 1;
        n++;
        CHECK_LE(machine().attached_pages, 64);
        CHECK_LT(n, 256);
    }
    CHECK_EQ(n, 64); /* the last page can be had */
    CHECK_EQ(vmem_alloc(kmem_arena, 100 * P, VM_NOSLEEP, &a[n]), KVA_ENOMEM);
    CHECK_EQ(vmem_alloc(heap_va_arena, 100 * P, VM_NOSLEEP, &a[n]), 0);
    vmem_free(heap_va_arena, a[n], 100 * P);
    kva_stat(&st);
    CHECK_EQ(st.wired_bytes, 64 * P);
    CHECK_EQ(st.wired_max, 64 * P);
    while (n > 0) {
        vmem_free(kmem_arena, a[--n], P);
    }
    CHECK_EQ(vmem_alloc(kmem_arena, 40 * P, VM_NOSLEEP, &a[0]), 0);
    vmem_free(kmem_arena, a[0], 40 * P);
    drain_all();
    CHECK_EQ(machine().attached_pages, 0);
    kva_shutdown();
}

/* The port has frames in short runs only: wiring takes them all the same. */
static void
wires_short_runs(struct test_ctx *t)
{
    vmem_addr_t a = 0;

    (void)t;
    PORT(NULL);
    boot_with(0, 0);
    for (size_t run = 1; run <= 8; run++) {
        kva_posix_run_max_set(run);
        CHECK_EQ(vmem_alloc(kmem_arena, 100 * P, VM_NOSLEEP, &a), 0);
        memset((void *)a, 1, 100 * P);
        check_wired();
        vmem_free(kmem_arena, a, 100 * P);
        check_wired();
    }
    drain_all();
    CHECK_EQ(machine().frames, 0);
    kva_shutdown();
}

/* Constraints reach kernel_va_arena. */
static void
constraints_travel(struct test_ctx *t)
{
    uintptr_t base, mid;
    vmem_addr_t a = 0;

    (void)t;
    PORT(NULL);
    boot_with(0, 0);
    base = kva_posix_va_base();
    mid = base + kva_posix_va_bytes() / 2;
    for (size_t align = P; align <= (size_t)4 << 20; align *= 2) {
        CHECK_EQ(vmem_xalloc(kmem_arena, 3 * P, align, align / 2 / P * P, 0,
                             mid, mid + ((size_t)16 << 20), VM_NOSLEEP, &a),
                 0);
        CHECK_EQ(a % align, align / 2 / P * P);
        CHECK_GE(a, mid);
        *(char *)a = 1;
        vmem_xfree(kmem_arena, a, 3 * P);
    }
    CHECK_EQ(vmem_xalloc(kmem_arena, P, 0, 0, 0, 0, base - 1, VM_NOSLEEP, &a),
             KVA_ENOMEM);
    CHECK_EQ(vmem_xalloc_addr(kmem_arena, mid + 7 * P, 9 * P, VM_NOSLEEP), 0);
    *(char *)(mid + 7 * P) = 1;
    vmem_xfree(kmem_arena, mid + 7 * P, 9 * P);
    drain_all();
    CHECK_EQ(vmem_size(kernel_va_arena, VMEM_ALLOC), 0);
    kva_shutdown();
}

/* ---- interrupts --------------------------------------------------------- */

#define INTR 64

struct intr {
    vmem_addr_t addr[INTR];
    unsigned n;
};

static void
intr_alloc(void *arg)
{
    struct intr *in = arg;

    while (in->n < INTR &&
           vmem_alloc(kmem_intr_arena, P, VM_NOSLEEP, &in->addr[in->n]) == 0) {
        *(char *)in->addr[in->n] = 1;
        in->n++;
    }
}

static void
intr_free(void *arg)
{
    struct intr *in = arg;

    while (in->n > 0) {
        vmem_free(kmem_intr_arena, in->addr[--in->n], P);
    }
}

/* An interrupt gets what was wired ahead, no more, and maps nothing. */
static void
interrupts_are_served(struct test_ctx *t)
{
    static struct intr in;
    struct kva_posix_stats before;

    (void)t;
    PORT(NULL);
    boot_with(0, 32 * P);
    for (unsigned round = 0; round < 5; round++) {
        in.n = 0;
        before = machine();
        kva_posix_interrupt_set(intr_alloc, &in);
        kva_posix_interrupt();
        CHECK_GE(in.n, 24);
        CHECK_LE(in.n, 40);
        CHECK_EQ(machine().page_gets, before.page_gets);
        CHECK_EQ(machine().maps, before.maps);
        CHECK_EQ(kva_intr_refill(), 0);
        CHECK_GT(machine().attached_pages, before.attached_pages);
        kva_posix_interrupt_set(intr_free, &in);
        kva_posix_interrupt();
        CHECK_EQ(in.n, 0);
        (void)kva_intr_drain();
        CHECK_GE(machine().attached_pages, 32);
        CHECK_LE(machine().attached_pages, 64);
        check_wired();
        check_arenas();
    }
    kva_posix_interrupt_set(NULL, NULL);
    kva_shutdown();
    CHECK_EQ(machine().frames, 0);
}

/* ---- kernel_map --------------------------------------------------------- */

#define RANGES 64

static void
map_is_searched(struct test_ctx *t)
{
    struct {
        vmem_addr_t addr;
        size_t size;
    } r[RANGES] = { { 0, 0 } };
    vmem_addr_t first, last, va;
    struct kva_stat st;
    size_t live = 0;

    PORT(NULL);
    boot_with(0, 0);
    for (unsigned long i = 0; i < t->count; i++) {
        unsigned k = (unsigned)test_below(t, RANGES);

        if (r[k].size != 0) {
            kva_pageable_free(r[k].addr, r[k].size);
            CHECK(!kva_map_lookup(r[k].addr, &first, &last));
            r[k].size = 0;
            live--;
        } else {
            r[k].size = 1 + test_below(t, 20 * P);
            CHECK_EQ(kva_pageable_alloc(r[k].size, KVA_PROT_READ, VM_NOSLEEP,
                                        &r[k].addr),
                     0);
            live++;
        }
        k = (unsigned)test_below(t, RANGES);
        if (r[k].size != 0) {
            va = r[k].addr + test_below(t, r[k].size);
            CHECK(kva_map_lookup(va, &first, &last));
            CHECK_EQ(first, r[k].addr);
            CHECK_EQ(last, r[k].addr + (r[k].size + P - 1) / P * P - 1);
        }
        kva_stat(&st);
        CHECK_EQ(st.map_entries, live);
    }
    for (unsigned k = 0; k < RANGES; k++) {
        if (r[k].size != 0) {
            kva_pageable_free(r[k].addr, r[k].size);
        }
    }
    CHECK(!kva_map_lookup(kva_posix_va_base(), &first, &last));
    CHECK_EQ(vmem_size(kernel_va_arena, VMEM_ALLOC), 0);
    kva_shutdown();
}

/* ---- one donated region ------------------------------------------------- */

static void
simple_boot_uses_the_region_alone(struct test_ctx *t)
{
    size_t bytes = 200 * P + 100;
    char *region = malloc(bytes);
    vmem_addr_t a[256];
    unsigned n = 0;

    (void)t;
    PORT(NULL);
    CHECK(region != NULL);
    CHECK_EQ(kva_boot_simple(region + 1, KVA_BOOT_SIMPLE_MIN - 1), KVA_EINVAL);
    CHECK_EQ(kva_boot_simple(region + 1, bytes - 1), 0);
    while (vmem_alloc(kmem_arena, P, VM_NOSLEEP, &a[n]) == 0) {
        CHECK_GE(a[n], (uintptr_t)region);
        CHECK_LE(a[n] + P, (uintptr_t)region + bytes);
        memset((void *)a[n], (int)n, P);
        n++;
    }
    CHECK_GE(n, 196 - KVA_BOOT_SIMPLE_META / P); /* and the edges */
    for (unsigned i = 0; i < n; i++) {
        CHECK_EQ(*(unsigned char *)a[i], i % 256);
    }
    check_arenas();
    CHECK_EQ(machine().page_gets, 0);
    CHECK_EQ(machine().meta_gets, 0);
    CHECK_EQ(machine().maps, 0);
    while (n > 0) {
        vmem_free(kmem_arena, a[--n], P);
    }
    (void)vmem_drain(kmem_arena, SIZE_MAX, 0);
    CHECK_EQ(vmem_size(kernel_va_arena, VMEM_ALLOC), 0);
    CHECK_EQ(vmem_alloc(kmem_arena, 150 * P, VM_NOSLEEP, &a[0]), 0);
    vmem_free(kmem_arena, a[0], 150 * P);
    kva_shutdown();
    free(region);
}

static void
simple_boot_from_the_least(struct test_ctx *t)
{
    static _Alignas(4096) char region[KVA_BOOT_SIMPLE_MIN];
    vmem_addr_t a = 0;

    (void)t;
    PORT(NULL);
    CHECK_EQ(kva_boot_simple(region, sizeof(region)), 0);
    for (size_t n = 1; n <= 8; n++) {
        CHECK_EQ(vmem_alloc(kmem_arena, n * P, VM_NOSLEEP, &a), 0);
        memset((void *)a, 1, n * P);
        vmem_free(kmem_arena, a, n * P);
    }
    check_arenas();
    CHECK_EQ(machine().meta_gets, 0);
    kva_shutdown();
}

/* Nothing is mapped there, so an interrupt has what is free in the region. */
static void
simple_boot_serves_interrupts(struct test_ctx *t)
{
    static _Alignas(4096) char region[128 * P];
    static struct intr in;

    (void)t;
    PORT(NULL);
    CHECK_EQ(kva_boot_simple(region, sizeof(region)), 0);
    CHECK_EQ(kva_intr_refill(), 0); /* there is no mark */
    CHECK_EQ(vmem_size(kmem_intr_arena, VMEM_FREE | VMEM_CACHED), 0);
    kva_posix_interrupt_set(intr_alloc, &in);
    kva_posix_interrupt();
    CHECK_EQ(in.n, INTR);
    kva_posix_interrupt_set(intr_free, &in);
    kva_posix_interrupt();
    CHECK_EQ(in.n, 0);
    kva_posix_interrupt_set(NULL, NULL);
    (void)kva_intr_drain();
    kva_shutdown();
}

const struct test kva_tests[] = {
    TEST("kva", boots_and_ends),
    TEST("kva", addresses_before_start),
    TEST_LEAST("kva", everything_goes_back, 500, 3000, 100000, 2000000),
    TEST("kva", drain_returns_bytes),
    TEST("kva", wired_limit_holds),
    TEST("kva", wires_short_runs),
    TEST("kva", constraints_travel),
    TEST("kva", interrupts_are_served),
    TEST_COUNT("kva", map_is_searched, 2000, 100000, 1000000),
    TEST("kva", simple_boot_uses_the_region_alone),
    TEST("kva", simple_boot_from_the_least),
    TEST("kva", simple_boot_serves_interrupts),
    TEST_END
};
