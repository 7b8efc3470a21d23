/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For whoever empties windows: the emptiest is found and shut, a shut one hands
 * nothing out, live runs are found one by one; and objects that can be moved
 * have an arena of their own.
 */
#include <string.h>

#include "tests/unit/tower.h"
#include "vmem/lookup.h"
#include "vmem/window.h"

#define P KVA_PAGE_SIZE
#define WINDOW_BYTES ((size_t)WINDOW_QUANTA * P)
#define WINDOWS 4u
#define RUNS (WINDOWS * WINDOW_QUANTA / 8u)
#define LAST ((WINDOWS + 2) * WINDOW_BYTES - 1)
#define NOBODY ((uintptr_t)1)

static void
check(kva_vmem_t *vm)
{
    const char *bad = vmem_check(vm);

    if (bad != NULL) {
        FAIL("%s", bad);
    }
}

static kva_vmem_t *
arena_of_windows(void)
{
    kva_vmem_t *vm;

    PORT(NULL);
    vm = vmem_create("windows", WINDOW_BYTES, (WINDOWS + 1) * WINDOW_BYTES, P,
                     NULL, NULL, NULL, 32 * P, VM_NOSLEEP, KVA_IPL_NONE);

    CHECK(vm != NULL);
    return vm;
}

/* Runs of 8 until WINDOWS windows have some. */
static unsigned
fill(kva_vmem_t *vm, vmem_addr_t run[RUNS], uintptr_t base[WINDOWS])
{
    unsigned n = 0, windows = 0;

    while (n < RUNS) {
        uintptr_t at;
        bool seen = false;

        CHECK_EQ(vmem_alloc(vm, 8 * P, VM_NOSLEEP, &run[n]), 0);
        at = kva_round_down(run[n++], WINDOW_BYTES);
        for (unsigned i = 0; i < windows; i++) {
            seen = seen || base[i] == at;
        }
        if (!seen) {
            base[windows++] = at;
        }
        if (windows == WINDOWS) {
            break;
        }
    }
    CHECK_EQ(windows, WINDOWS);
    return n;
}

/* Each base, and how much is in use there: chosen by use, once each. */
static void
emptiest_is_shut_first(struct test_ctx *t)
{
    static const size_t use[WINDOWS] = { 700, 30, 5000, 200 };
    static const unsigned order[WINDOWS] = { 1, 3, 0, 2 };
    kva_vmem_t *vm = arena_of_windows();
    vmem_addr_t run[RUNS];
    uintptr_t base[WINDOWS], at;
    size_t bytes;
    unsigned n;

    (void)t;
    at = NOBODY;
    CHECK(!kva__vmem_shut_emptiest(vm, &at, &bytes));
    n = fill(vm, run, base);
    CHECK_PTR(kva__vmem_use(vm, 0), NULL);
    for (unsigned i = 0; i < WINDOWS; i++) {
        size_t *word = kva__vmem_use(vm, base[i] + 5 * P + 1);

        CHECK(word != NULL && *word == 0);
        CHECK_PTR(word, kva__vmem_use(vm, base[i]));
        *word = use[i];
    }
    at = base[1];
    CHECK(kva__vmem_shut_emptiest(vm, &at, &bytes));
    CHECK_EQ(at, base[3]);
    CHECK_EQ(bytes, WINDOW_BYTES);
    kva__vmem_open(vm, at);
    for (unsigned i = 0; i < WINDOWS; i++) {
        at = NOBODY;
        CHECK(kva__vmem_shut_emptiest(vm, &at, &bytes));
        CHECK_EQ(at, base[order[i]]);
        check(vm);
    }
    at = NOBODY;
    CHECK(!kva__vmem_shut_emptiest(vm, &at, &bytes));
    for (unsigned i = 0; i < WINDOWS; i++) {
        kva__vmem_open(vm, base[i]);
    }
    while (n > 0) {
        vmem_free(vm, run[--n], 8 * P);
    }
    (void)vmem_drain(vm, SIZE_MAX, 0);
    at = NOBODY; /* windows that hold no run are not worth it */
    CHECK(!kva__vmem_shut_emptiest(vm, &at, &bytes));
    check(vm);
    vmem_destroy(vm);
}

/* What is freed in a shut window stays there, and others get theirs
 * elsewhere. */
static void
nothing_is_taken_from_a_shut_window(struct test_ctx *t)
{
    kva_vmem_t *vm = arena_of_windows();
    vmem_addr_t run[RUNS], more[64];
    uintptr_t base[WINDOWS], at = NOBODY;
    size_t bytes;
    unsigned n, taken = 0;

    (void)t;
    n = fill(vm, run, base);
    *kva__vmem_use(vm, base[0]) = 1;
    *kva__vmem_use(vm, base[1]) = 1;
    *kva__vmem_use(vm, base[2]) = 0;
    *kva__vmem_use(vm, base[3]) = 1;
    (void)vmem_drain(vm, SIZE_MAX, 0);
    CHECK(kva__vmem_shut_emptiest(vm, &at, &bytes));
    CHECK_EQ(at, base[2]);
    for (unsigned i = 0; i < n; i++) { /* one of two, there */
        if (run[i] - at < bytes && i % 2 == 0) {
            vmem_free(vm, run[i], 8 * P);
            run[i] = 0;
        }
    }
    check(vm);
    while (taken < KVA_COUNT(more) &&
           vmem_alloc(vm, 8 * P, VM_NOSLEEP, &more[taken]) == 0) {
        CHECK(more[taken] - at >= bytes);
        taken++;
    }
    CHECK(taken != 0);
    check(vm);
    kva__vmem_open(vm, at);
    check(vm);
    while (taken > 0) {
        vmem_free(vm, more[--taken], 8 * P);
    }
    CHECK_EQ(vmem_alloc(vm, 16 * P, VM_NOSLEEP, &more[0]), 0);
    vmem_free(vm, more[0], 16 * P);
    for (unsigned i = 0; i < n; i++) {
        if (run[i] != 0) {
            vmem_free(vm, run[i], 8 * P);
        }
    }
    (void)vmem_drain(vm, SIZE_MAX, 0);
    CHECK_EQ(vmem_size(vm, VMEM_ALLOC), 0);
    vmem_destroy(vm);
}

/* Against what was handed out: each live run once, in order, and no other. */
static void
live_runs_are_found(struct test_ctx *t)
{
    kva_vmem_t *vm = arena_of_windows();
    static size_t len[(WINDOWS + 2) * WINDOW_QUANTA];
    struct kva_vmem_segment seg;
    size_t live = 0, bytes;
    uintptr_t at, first = 0;
    vmem_addr_t a;

    memset(len, 0, sizeof(len));
    for (unsigned long i = 0; i < t->count; i++) {
        unsigned n = 1 + (unsigned)test_rand_below(t, 32);

        if (vmem_alloc(vm, n * P, VM_NOSLEEP, &a) == 0) {
            CHECK_EQ(vmem_find(vm, a, &seg), 0);
            if (seg.kind == KVA_VMEM_KIND_LIVE) { /* it may have a tag */
                len[a / P] = n;
                live++;
            } else {
                vmem_free(vm, a, n * P);
            }
        }
        at = test_rand_below(t, KVA_COUNT(len)) * P;
        if (len[at / P] != 0) {
            vmem_free(vm, at, len[at / P] * P);
            len[at / P] = 0;
            live--;
        }
    }
    (void)vmem_drain(vm, SIZE_MAX, 0); /* for checks when magazines empty */
    for (at = 0; live > 0; at += bytes, live--) {
        CHECK(kva__vmem_next_run(vm, &at, LAST, &bytes));
        CHECK_EQ(len[at / P] * P, bytes);
        CHECK(at >= first);
        first = at + bytes;
    }
    CHECK(!kva__vmem_next_run(vm, &at, LAST, &bytes));
    for (at = 0; kva__vmem_next_run(vm, &at, LAST, &bytes); at += bytes) {
        uintptr_t again = at;

        CHECK(kva__vmem_next_run(vm, &again, at, &bytes) && again == at);
        again = at + 1;
        CHECK(!kva__vmem_next_run(vm, &again, at + bytes - 1, &bytes));
        vmem_free(vm, at, bytes);
    }
    (void)vmem_drain(vm, SIZE_MAX, 0);
    CHECK_EQ(vmem_size(vm, VMEM_ALLOC), 0);
    vmem_destroy(vm);
}

/* Both count as wired, nothing of the one lies in a span of the other, and all
 * is back in the end. */
static void
movable_slabs_have_an_arena(struct test_ctx *t)
{
    struct kva_vmem_segment a, b;
    vmem_addr_t movable, other;
    struct kva_stat before, now;

    (void)t;
    tower_start(0);
    kva_stat(&before);
    CHECK_EQ(vmem_alloc(kmem_movable_arena, P, VM_NOSLEEP, &movable), 0);
    CHECK_EQ(vmem_alloc(kmem_arena, P, VM_NOSLEEP, &other), 0);
    CHECK_EQ(vmem_find(kmem_movable_arena, movable, &a), 0);
    CHECK_EQ(vmem_find(kmem_arena, other, &b), 0);
    CHECK(a.span_addr + a.span_size <= b.span_addr ||
          b.span_addr + b.span_size <= a.span_addr);
    kva_stat(&now);
    CHECK_EQ(now.wired_bytes, before.wired_bytes + a.span_size + b.span_size);
    memset((void *)movable, 1, P);
    vmem_free(kmem_movable_arena, movable, P);
    vmem_free(kmem_arena, other, P);
    (void)kva_pool_drain_all();
    kva_stat(&now);
    CHECK_EQ(now.wired_bytes, before.wired_bytes);
    CHECK_EQ(vmem_size(kmem_movable_arena, VMEM_ALLOC | VMEM_FREE), 0);
    tower_end();
}

const struct test evacuate_tests[] = {
    TEST("evacuate", emptiest_is_shut_first),
    TEST("evacuate", nothing_is_taken_from_a_shut_window),
    TEST_COUNT("evacuate", live_runs_are_found, 2000, 20000, 200000),
    TEST("evacuate", movable_slabs_have_an_arena),
    TEST_END,
};
