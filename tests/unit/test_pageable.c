/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pageable memory: pages of zeros that come when they are touched, entries that
 * come apart and together again, frees that need no memory, and addresses that
 * are others' afterwards.  What random calls do is in model/paging.h.
 */
#include <pthread.h>
#include <string.h>

#include "kva/map.h"
#include "tests/unit/frame_waiter.h"

#define P KVA_PAGE_SIZE
#define R KVA_PROT_READ
#define RW (KVA_PROT_READ | KVA_PROT_WRITE)

static void
boot(size_t va_bytes)
{
    struct kva_posix_config config = { .va_bytes = va_bytes,
                                       .meta_bytes = (size_t)32 << 20 };

    PORT(&config);
    machine_boot((struct kva_boot){ 0 });
}

static vmem_addr_t
pageable(size_t pages, unsigned prot)
{
    vmem_addr_t va = 0;

    CHECK_EQ(kva_pageable_alloc(pages * P, prot, VM_NOSLEEP, &va), 0);
    return va;
}

static struct kva_stat
now(void)
{
    struct kva_stat st;
    const char *bad = kva_map_check();

    if (bad != NULL) {
        FAIL("kva_map_check: %s", bad);
    }
    kva_stat(&st);
    return st;
}

/* All is back. */
static void
end(void)
{
    CHECK_EQ(now().map_entries, 0);
    CHECK_EQ(now().map_entry_bytes, 0);
    CHECK_EQ(machine().frames, 0);
    CHECK_EQ(machine().stale_pages, 0);
    CHECK_EQ(vmem_size(kernel_va_arena, VMEM_ALLOC), 0);
    kva_shutdown();
}

/* ---- faults ------------------------------------------------------------ */

static void
pages_come_when_they_are_touched(struct test_ctx *t)
{
    vmem_addr_t va;
    volatile char *p;

    (void)t;
    boot((size_t)64 << 20);
    va = pageable(8, RW);
    p = (volatile char *)va;
    CHECK_EQ(machine().frames, 0);
    CHECK_EQ(kva_fault(va - 1, KVA_PROT_READ), KVA_EFAULT);
    CHECK_EQ(kva_fault(va + 8 * P, KVA_PROT_READ), KVA_EFAULT);
    CHECK_EQ(kva_fault(va, KVA_PROT_EXEC), KVA_EFAULT);
    CHECK_EQ(machine().frames, 0);
    CHECK_EQ(kva_fault(va + 3 * P + 5, KVA_PROT_WRITE), 0);
    CHECK_EQ(machine().frames, 1);
    for (size_t i = 0; i < P; i++) {
        CHECK_EQ(p[3 * P + i], 0);
    }
    p[3 * P] = 1;
    CHECK_EQ(kva_fault(va + 3 * P, KVA_PROT_READ), 0); /* once more: the same */
    CHECK_EQ(p[3 * P], 1);
    CHECK_EQ(machine().frames, 1);
    CHECK_EQ(now().map_resident_bytes, P);
    CHECK_EQ(kva_pageable_discard(va, 8 * P), P);
    CHECK_EQ(machine().frames, 0);
    CHECK_EQ(kva_fault(va + 3 * P, KVA_PROT_READ), 0);
    CHECK_EQ(p[3 * P], 0);
    kva_pageable_free(va, 8 * P);
    CHECK_EQ(kva_fault(va + 3 * P, KVA_PROT_READ), KVA_EFAULT);
    end();
}

/* No frames, no metadata, no mapping: the fault fails and nothing is lost. */
static void
a_fault_may_fail(struct test_ctx *t)
{
    vmem_addr_t va;

    (void)t;
    boot((size_t)64 << 20);
    va = pageable(4, RW);
    for (int site = KVA_POSIX_PAGE_GET; site <= KVA_POSIX_MAP; site++) {
        kva_posix_fault_arm(site, 1, false);
        CHECK_EQ(kva_fault(va, R), KVA_ENOMEM);
        CHECK_EQ(machine().frames, 0);
        CHECK_EQ(now().map_resident_bytes, 0);
        kva_posix_fault_arm(site, 3, false); /* the third page */
        CHECK_EQ(kva_pageable_wire(va, 4 * P), KVA_ENOMEM);
        CHECK_EQ(now().map_entries, 1);
        CHECK_EQ(machine().frames, 2);
        CHECK_EQ(kva_pageable_discard(va, 4 * P), 2 * P); /* none is wired */
    }
    CHECK_EQ(kva_fault(va, R), 0);
    kva_pageable_free(va, 4 * P);
    end();
}

/* ---- entries ----------------------------------------------------------- */

/* What is changed in the middle makes three of one, and one again. */
static void
entries_split_and_merge(struct test_ctx *t)
{
    vmem_addr_t va, first, last;

    (void)t;
    boot((size_t)64 << 20);
    va = pageable(30, RW);
    CHECK_EQ(now().map_entries, 1);
    kva_pageable_protect(va + 10 * P, 10 * P, R);
    CHECK_EQ(now().map_entries, 3);
    CHECK(kva_map_lookup(va + 15 * P + 1, &first, &last));
    CHECK_EQ(first, va + 10 * P);
    CHECK_EQ(last, va + 20 * P - 1);
    CHECK_EQ(kva_fault(va + 10 * P, KVA_PROT_WRITE), KVA_EFAULT);
    CHECK_EQ(kva_fault(va + 9 * P, KVA_PROT_WRITE), 0);
    kva_pageable_protect(va + 10 * P, 10 * P, RW);
    CHECK_EQ(now().map_entries, 1);
    CHECK_EQ(kva_pageable_wire(va, 15 * P), 0);
    CHECK_EQ(now().map_entries, 2);
    CHECK_EQ(kva_pageable_wire(va + 14 * P, P), 0);
    CHECK_EQ(now().map_entries, 3);
    kva_pageable_unwire(va + 14 * P, P);
    kva_pageable_unwire(va, 15 * P);
    CHECK_EQ(now().map_entries, 1);
    kva_pageable_free(va + 10 * P, 10 * P);
    CHECK_EQ(now().map_entries, 2);
    CHECK(!kva_map_lookup(va + 15 * P, &first, &last));
    kva_pageable_free(va + 29 * P, P);
    kva_pageable_free(va, P);
    CHECK_EQ(now().map_entries, 2);
    kva_pageable_free(va + P, 9 * P);
    kva_pageable_free(va + 20 * P, 9 * P);
    end();
}

/* A range of many pieces, and calls over several of them and over ranges that
 * lie side by side. */
static void
pieces_are_not_seen(struct test_ctx *t)
{
    size_t n = kva__piece_pages_max(), all = 3 * n + 5;
    vmem_addr_t va, behind;

    (void)t;
    boot((size_t)128 << 20);
    va = pageable(all, RW);
    behind = pageable(3, RW);
    CHECK_EQ(now().map_bytes, (all + 3) * P);
    CHECK_EQ(behind, va + all * P);
    kva_pageable_protect(va + (n - 2) * P, (n + 4) * P, R);
    CHECK_EQ(kva_fault(va + n * P, KVA_PROT_WRITE), KVA_EFAULT);
    CHECK_EQ(kva_fault(va + (2 * n + 2) * P, KVA_PROT_WRITE), 0);
    CHECK_EQ(kva_pageable_wire(va + (3 * n - 1) * P, 9 * P), 0);
    kva_pageable_unwire(va + (3 * n - 1) * P, 9 * P);
    CHECK_EQ(kva_pageable_discard(va, (all + 3) * P), 10 * P);
    kva_pageable_free(va + P, (all + 1) * P); /* all but the ends */
    CHECK_EQ(now().map_bytes, 2 * P);
    /* Pieces in the middle are back at once. */
    CHECK_LE(vmem_size(kernel_va_arena, VMEM_ALLOC), (n + 3) * P);
    kva_pageable_free(va, P);
    kva_pageable_free(behind + 2 * P, P);
    end();
}

/* ---- a free needs no memory -------------------------------------------- */

#define RANGES 64u

/*
 * every range comes apart into single pages while metadata, frames
 * and mappings are refused and nothing was set apart: what the map has, in
 * bytes, is the same before a free in the middle and after it.  No piece is of a
 * single page, which would go as a whole.
 */
static void
free_needs_no_memory(struct test_ctx *t)
{
    static vmem_addr_t va[RANGES];
    static size_t n[RANGES];
    size_t asked, bytes;

    boot((size_t)256 << 20);
    for (unsigned long done = 0; done < t->count; done++) {
        for (unsigned i = 0; i < RANGES; i++) {
            n[i] = 1 + test_rand_below(t, i == 0 ? 5000 : 90);
            n[i] += n[i] % kva__piece_pages_max() == 1;
            va[i] = pageable(n[i], RW);
            CHECK_EQ(kva_fault(va[i] + P * test_rand_below(t, n[i]), R), 0);
        }
        bytes = now().map_entry_bytes;
        asked = kva__meta_requests();
        kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
        for (unsigned i = 0; i < RANGES; i++) {
            kva_pageable_protect(va[i] + n[i] / 2 * P, P, R);
            for (size_t k = 1; k < n[i]; k += 2) {
                kva_pageable_free(va[i] + k * P, P);
            }
        }
        CHECK_EQ(now().map_entry_bytes, bytes);
        for (unsigned i = 0; i < RANGES; i++) {
            for (size_t k = 0; k < n[i]; k += 2) {
                kva_pageable_free(va[i] + k * P, P);
            }
        }
        CHECK_EQ(kva__meta_requests(), asked);
        CHECK_EQ(kva_posix_fault_fired(KVA_POSIX_ANY), 0);
        kva_posix_fault_reset();
        CHECK_EQ(now().map_bytes, 0);
        CHECK_EQ(vmem_size(kernel_va_arena, VMEM_ALLOC), 0);
    }
    end();
}

/* ---- addresses --------------------------------------------------------- */

/* Addresses from within a range are somebody else's when none are left; as
 * long as there are no tags for that they stay, and nothing else happens. */
static void
freed_addresses_serve_others(struct test_ctx *t)
{
    size_t all = ((size_t)16 << 20) / P, n = all / 2;
    vmem_addr_t va, more, a, b = 0;
    size_t live = 0;

    (void)t;
    boot(all * P);
    va = pageable(n, RW);
    more = pageable(all - n, RW);
    for (size_t i = 1; i < n; i += 2) {
        kva_pageable_free(va + i * P, P);
    }
    kva_posix_fault_arm(KVA_POSIX_META_GET, 1, true);
    while (kva_pageable_alloc(P, RW, VM_NOSLEEP, &b) == 0) {
        CHECK_EQ((b - va) / P % 2, 1); /* as far as tags and blocks go */
        live++;
    }
    CHECK_LT(live, n / 2);
    kva_posix_fault_disarm(KVA_POSIX_META_GET);
    for (; live < n / 2; live++) {
        a = pageable(1, RW);
        CHECK_EQ((a - va) / P % 2, 1);
    }
    CHECK_EQ(kva_pageable_alloc(P, RW, VM_NOSLEEP, &b), KVA_ENOMEM);
    CHECK_EQ(vmem_size(kernel_va_arena, VMEM_FREE), 0);
    kva_pageable_free(va, n * P); /* whoever has them */
    kva_pageable_free(more, (all - n) * P);
    end();
}

/* The heap's import may wait, so it gets them too. */
static void
freed_addresses_serve_the_heap(struct test_ctx *t)
{
    size_t all = ((size_t)16 << 20) / P;
    vmem_addr_t va, a = 0;

    (void)t;
    boot(all * P);
    va = pageable(all, RW);
    CHECK_EQ(vmem_alloc(heap_va_arena, 64 * P, VM_NOSLEEP, &a), KVA_ENOMEM);
    kva_pageable_free(va + 100 * P, 64 * P);
    CHECK_EQ(vmem_alloc(heap_va_arena, 64 * P, VM_SLEEP, &a), 0);
    CHECK_EQ(a, va + 100 * P);
    vmem_free(heap_va_arena, a, 64 * P);
    (void)vmem_drain(heap_va_arena, SIZE_MAX, 0);
    kva_pageable_free(va, 100 * P);
    kva_pageable_free(va + 164 * P, (all - 164) * P);
    end();
}

static unsigned
depth_of(const struct kva__piece *p)
{
    unsigned depth = 0;

    for (; p != NULL; p = p->up) {
        depth++;
    }
    return depth;
}

/* Ranges that come in the order of their addresses make no list of the tree:
 * twice what is expected, 1.4 log2 n, and a few for chance. */
static void
lookup_is_logarithmic(struct test_ctx *t)
{
    vmem_addr_t va = 0;
    unsigned deepest = 0, log2 = 0;

    boot((size_t)256 << 20);
    for (unsigned long i = 0; i < t->count; i++) {
        va = pageable(1, RW);
        CHECK_EQ(va, kva_posix_va_base() + i * P);
    }
    while (t->count >> log2 != 0) {
        log2++;
    }
    for (unsigned long i = 0; i < t->count; i++) {
        unsigned depth = depth_of(kva__piece_find(kva_posix_va_base() + i * P));

        CHECK_GT(depth, 0);
        deepest = depth > deepest ? depth : deepest;
    }
    CHECK_LE(deepest, 3 * log2 + 6);
    kva_pageable_free(kva_posix_va_base(), t->count * P);
    end();
}

/* ---- wiring ------------------------------------------------------------ */

static void
wired_pages_stay(struct test_ctx *t)
{
    vmem_addr_t va;
    char *p;

    (void)t;
    boot((size_t)64 << 20);
    va = pageable(6, RW);
    p = (char *)va;
    CHECK_EQ(kva_pageable_wire(va + P, 2 * P), 0);
    CHECK_EQ(kva_pageable_wire(va + 2 * P, 2 * P), 0);
    CHECK_EQ(machine().frames, 3);
    memset(p + P, 0x5a, 3 * P);
    CHECK_EQ(kva_pageable_discard(va, 6 * P), 0);
    kva_pageable_unwire(va + P, 3 * P);
    CHECK_EQ(kva_pageable_discard(va, 6 * P), 2 * P);
    CHECK_EQ(p[2 * P], 0x5a);
    kva_pageable_protect(va, 6 * P, 0); /* and what is in it */
    kva_pageable_protect(va, 6 * P, R);
    CHECK_EQ(p[3 * P - 1], 0x5a);
    kva_pageable_unwire(va + 2 * P, P);
    for (unsigned i = 0; i < KVA__PAGE_WIRES_MAX; i++) {
        CHECK_EQ(kva_pageable_wire(va, P), 0);
    }
    CHECK_EQ(kva_pageable_wire(va, 2 * P), KVA_EAGAIN);
    CHECK_EQ(now().map_entries, 2);
    for (unsigned i = 0; i < KVA__PAGE_WIRES_MAX; i++) {
        kva_pageable_unwire(va, P);
    }
    kva_pageable_free(va, 6 * P);
    end();
}

/* ---- modes ------------------------------------------------------------- */

static void
addresses_before_frames(struct test_ctx *t)
{
    static _Alignas(4096) char region[KVA_BOOT_SIMPLE_MIN];
    struct kva_boot kb = { .va_base = 0 };
    vmem_addr_t va = 0;

    (void)t;
    PORT(NULL);
    kb.va_base = kva_posix_va_base();
    kb.va_bytes = kva_posix_va_bytes();
    CHECK_EQ(kva_boot(&kb), 0);
    va = pageable(3, RW);
    CHECK_EQ(kva_fault(va, R), KVA_ENOMEM);
    CHECK_EQ(machine().page_gets, 0);
    CHECK_EQ(kva_start(), 0);
    CHECK_EQ(kva_fault(va, R), 0);
    kva_pageable_free(va, 3 * P);
    end();
    CHECK_EQ(kva_boot_simple(region, sizeof(region)), 0);
    CHECK_EQ(kva_pageable_alloc(P, RW, VM_NOSLEEP, &va), KVA_ENOTSUP);
    CHECK_EQ(kva_fault((uintptr_t)region, R), KVA_EFAULT);
    kva_shutdown();
}

/* ---- print ------------------------------------------------------------- */

static char printed[1024];

static void
print(const char *fmt, ...)
{
    size_t at = strlen(printed);
    va_list ap;

    va_start(ap, fmt);
    (void)kva__vformat(printed + at, sizeof(printed) - at, fmt, ap);
    va_end(ap);
}

#define L(i) ((unsigned long)(va + (i)*P))

static void
entries_are_printed(struct test_ctx *t)
{
    char want[1024];
    vmem_addr_t va;

    (void)t;
    boot((size_t)64 << 20);
    va = pageable(10, RW);
    kva_pageable_protect(va + 2 * P, 3 * P, R);
    CHECK_EQ(kva_pageable_wire(va + 8 * P, P), 0);
    kva_pageable_free(va + 6 * P, P);
    printed[0] = '\0';
    kva_map_print(print);
    (void)kva__format(want, sizeof(want),
                      "kernel_map: 6 entries, %zu bytes of %zu resident\n"
                      "  0x%lx - 0x%lx rw- wired 0 resident 0\n"
                      "  0x%lx - 0x%lx r-- wired 0 resident 0\n"
                      "  0x%lx - 0x%lx rw- wired 0 resident 0\n"
                      "  0x%lx - 0x%lx rw- wired 0 resident 0\n"
                      "  0x%lx - 0x%lx rw- wired 1 resident %zu\n"
                      "  0x%lx - 0x%lx rw- wired 0 resident 0\n",
                      P, 9 * P, L(0), L(2) - 1, L(2), L(5) - 1, L(5), L(6) - 1,
                      L(7), L(8) - 1, L(8), L(9) - 1, P, L(9), L(10) - 1);
    CHECK_STR(printed, want);
    kva_pageable_unwire(va + 8 * P, P);
    kva_pageable_free(va, 6 * P);
    kva_pageable_free(va + 7 * P, 3 * P);
    end();
}

#define FRAMES ((size_t)20)

/* Who waits for frames is woken when pageable ranges give them back. */
static void
who_waits_for_frames_is_woken(struct test_ctx *t)
{
    const struct kva_posix_config config = { .va_bytes = (size_t)64 << 20,
                                             .page_limit = FRAMES };

    (void)t;
    PORT(&config);
    machine_boot((struct kva_boot){ .wired_limit = 0 });
    for (unsigned discard = 0; discard < 2; discard++) {
        vmem_addr_t va = pageable(FRAMES, RW);
        struct frame_waiter w;

        for (size_t i = 0; i < FRAMES; i++) {
            CHECK_EQ(kva_fault(va + i * P, KVA_PROT_WRITE), 0);
        }
        frame_waiter_start(&w, FRAMES / 2 * P);
        if (discard != 0) {
            CHECK_EQ(kva_pageable_discard(va, FRAMES * P), FRAMES * P);
            frame_waiter_end(&w);
            kva_pageable_free(va, FRAMES * P);
        } else {
            kva_pageable_free(va, FRAMES * P);
            frame_waiter_end(&w);
        }
    }
    (void)kva_unmap_flush();
    CHECK_EQ(machine().frames, 0);
    kva_shutdown();
}

const struct test pageable_tests[] = {
    TEST("pageable", pages_come_when_they_are_touched),
    TEST("pageable", a_fault_may_fail),
    TEST("pageable", entries_split_and_merge),
    TEST("pageable", pieces_are_not_seen),
    TEST_COUNT("pageable", free_needs_no_memory, 1, 20, 500),
    TEST("pageable", freed_addresses_serve_others),
    TEST("pageable", freed_addresses_serve_the_heap),
    TEST_COUNT("pageable", lookup_is_logarithmic, 1000, 20000, 50000),
    TEST("pageable", wired_pages_stay),
    TEST("pageable", addresses_before_frames),
    TEST("pageable", entries_are_printed),
    TEST("pageable", who_waits_for_frames_is_woken),
    TEST_END
};
