/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Large pages: what is wired in ranges of a large page and more lies under
 * large pages, each whole one of them and nothing else, whatever was freed,
 * drained and cut meanwhile; a part of one is never unmapped; and a port that
 * cannot demote keeps what it has.
 */
#include <string.h>

#include "kva/kva.h"
#include "tests/harness/machine.h"
#include "tests/misuse/digest.h"
#include "vmem/vmem_store.h"

#define P KVA_PAGE_SIZE
#define L ((size_t)KVA_LARGE_PAGE_SIZE)
#define LP KVA_LARGE_PAGES
#define RW (KVA_PROT_READ | KVA_PROT_WRITE)

/* Pieces of the quantum caches are 512 pages at most. */
#define PIECES_ARE_LARGE (LP <= 512)

/* ---- the port ------------------------------------------------------------ */

static kva_pa_t
frames(size_t n, unsigned flags)
{
    kva_pa_t pa;

    CHECK_EQ(kva_port_page_get(n, flags, &pa), 0);
    return pa;
}

static void
unmap(uintptr_t va, size_t n)
{
    kva_port_unmap(va, n);
    kva_port_flush(va, n);
}

/* Aligned frames are to be had beside any others, and none is lost for it. */
static void
frames_are_aligned(struct test_ctx *t)
{
    kva_pa_t low, pa, gap;

    (void)t;
    PORT(NULL);
    low = frames(3, 0);
    pa = frames(2 * LP, KVA_PAGE_LARGE);
    CHECK_EQ(pa % L, 0);
    CHECK_GT(pa, low);
    gap = frames(LP - 3, 0); /* what was left out before them */
    CHECK_EQ(gap, low + 3 * P);
    CHECK_EQ(frames(1, 0), pa + 2 * L);
    kva_port_page_put(2 * LP, pa);
    CHECK_EQ(frames(LP, KVA_PAGE_LARGE), pa);
    kva_port_page_put(1, low + P); /* no room in the first large page */
    CHECK_EQ(frames(LP, KVA_PAGE_LARGE), pa + L);
    CHECK_EQ(frames(1, 0), low + P);
}

/* Where there are none, any will do. */
static void
frames_that_cannot_be_aligned(struct test_ctx *t)
{
    const struct kva_posix_config c = { .va_bytes = 2 * L - P };
    kva_pa_t first;

    (void)t;
    PORT(&c);
    first = frames(1, 0);
    CHECK_EQ(frames(LP, KVA_PAGE_LARGE), first + P);
}

static void
mappings_are_large(struct test_ctx *t)
{
    uintptr_t va;
    kva_pa_t pa;

    (void)t;
    PORT(NULL);
    va = kva_posix_va_base();
    pa = frames(3 * LP, KVA_PAGE_LARGE);
    CHECK_EQ(kva_port_map(va, pa, 3 * LP, RW), 0);
    CHECK_EQ(machine().large_pages, 3 * LP);
    unmap(va + L, LP); /* a whole one out of the middle */
    CHECK_EQ(machine().large_pages, 2 * LP);
    for (size_t i = 0; i < LP; i++) { /* in single pages it is none */
        CHECK_EQ(kva_port_map(va + L + i * P, pa + L + i * P, 1, RW), 0);
    }
    CHECK_EQ(machine().large_pages, 2 * LP);
    unmap(va, 3 * LP);
    CHECK_EQ(machine().large_pages, 0);
    /* Two pages before the boundary, five behind the large page. */
    CHECK_EQ(kva_port_map(va + L - 2 * P, pa + L - 2 * P, LP + 7, RW), 0);
    CHECK_EQ(machine().large_pages, LP);
    unmap(va + L - 2 * P, 2);
    unmap(va + 2 * L, 5);
    CHECK_EQ(machine().large_pages, LP);
    unmap(va + L, LP);
    CHECK_EQ(machine().large_pages, 0);
    /* A boundary of one of the two only. */
    CHECK_EQ(kva_port_map(va, pa + P, LP, RW), 0);
    CHECK_EQ(kva_port_map(va + L + P, pa + L + P, LP, RW), 0);
    CHECK_EQ(machine().large_pages, 0);
    unmap(va, LP);
    unmap(va + L + P, LP);
    CHECK_EQ(kva_port_map(va + P, pa, LP - 1, RW), 0);
    CHECK_EQ(machine().large_pages, 0);
    unmap(va + P, LP - 1);
    kva_port_page_put(3 * LP, pa);
    CHECK_EQ(machine().attached_pages, 0);
}

#define PART "expected all of a large page or none, found a part"

static void
parts_are_demoted_first(struct test_ctx *t)
{
    uintptr_t va;
    kva_pa_t pa;

    (void)t;
    PORT(NULL);
    va = kva_posix_va_base();
    pa = frames(3 * LP, KVA_PAGE_LARGE);
    CHECK_EQ(kva_port_map(va, pa, 3 * LP, RW), 0);
    CHECK_PANIC(kva_port_unmap(va, 1),
                "kva_port_unmap: space host: 0x%lx: " PART, (unsigned long)va);
    CHECK_PANIC(kva_port_unmap(va + L - P, 1),
                "kva_port_unmap: space host: 0x%lx: " PART,
                (unsigned long)(va + L - P));
    CHECK_PANIC(kva_port_unmap(va, LP + 1),
                "kva_port_unmap: space host: 0x%lx: " PART,
                (unsigned long)(va + L));
    CHECK_EQ(machine().large_pages, 3 * LP);
    CHECK_EQ(machine().stale_pages, 0);
    kva_posix_fault_arm(KVA_POSIX_DEMOTE, 1, false);
    CHECK_EQ(kva_port_demote(va + P, 1), KVA_ENOMEM);
    CHECK_EQ(kva_port_demote(va, 2 * LP), 0); /* nothing lies across */
    CHECK_EQ(machine().large_pages, 3 * LP);
    CHECK_EQ(machine().demotes, 0);
    CHECK_EQ(kva_port_demote(va + P, LP), 0); /* both */
    CHECK_EQ(machine().large_pages, LP);
    CHECK_EQ(machine().demotes, 2);
    unmap(va + P, LP);
    CHECK_EQ(kva_port_demote(va + 2 * L, LP - 1), 0);
    CHECK_EQ(machine().demotes, 3);
    CHECK_EQ(machine().large_pages, 0);
    unmap(va, 1);
    unmap(va + L + P, 2 * LP - 1);
    CHECK_PANIC((void)kva_port_demote(va + kva_posix_va_bytes(), 1),
                "kva_port_demote: space host: 0x%lx: expected pages in the "
                "address space, found 1",
                (unsigned long)(va + kva_posix_va_bytes()));
    kva_port_page_put(3 * LP, pa);
}

/* ---- the tower ----------------------------------------------------------- */

static void
boot(void)
{
    struct kva_boot kb = { .va_base = kva_posix_va_base(),
                           .va_bytes = kva_posix_va_bytes(),
                           .lazy_bytes = 1 /* what is freed goes at once */ };

    CHECK_EQ(kva_boot(&kb), 0);
    CHECK_EQ(kva_start(), 0);
}

/* Whole large pages in a span, and what the port has there. */
static void
span_is_large(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    uintptr_t at = addr + ((0 - addr) & (L - 1));
    size_t *pages = arg;
    kva_pa_t pa;

    CHECK_EQ(type, VMEM_SPAN);
    for (; at - addr < size && size - (at - addr) >= L; at += L) {
        CHECK_EQ(kva_port_translate(at, LP, &pa), LP);
        CHECK_EQ(pa % L, 0);
        *pages += LP;
    }
}

/* Whole large pages in spans of wired arenas, and no other, are large. */
static void
check_large(void)
{
    vmem_t *const wired[] = { kmem_arena, kmem_movable_arena, kmem_intr_arena };
    struct kva_stat st;
    size_t pages = 0;

    for (unsigned i = 0; i < KVA_COUNT(wired); i++) {
        vmem_walk(wired[i], VMEM_SPAN, span_is_large, &pages);
    }
    CHECK_EQ(machine().large_pages, pages);
    kva_stat(&st);
    CHECK_EQ(st.wired_bytes, machine().attached_pages * P);
    CHECK_EQ(st.wired_bytes, machine().frames * P);
    CHECK_EQ(machine().stale_pages, 0);
}

static void
drain_all(void)
{
    (void)vmem_drain(kmem_arena, SIZE_MAX, 0);
    (void)vmem_drain(heap_va_arena, SIZE_MAX, 0);
}

static void
expect_empty(void)
{
    drain_all();
    check_large();
    CHECK_EQ(machine().large_pages, 0);
    CHECK_EQ(machine().frames, 0);
    CHECK_EQ(vmem_size(kernel_va_arena, VMEM_ALLOC), 0);
    kva_shutdown();
}

/* What is asked for in one go. */
static void
imports_are_large(struct test_ctx *t)
{
    const size_t sizes[] = { L,         L + P,         2 * L - P, 2 * L,
                             5 * L / 2, 3 * L + 7 * P, L - P };
    vmem_addr_t a = 0;

    (void)t;
    PORT(NULL);
    boot();
    for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
        CHECK_EQ(vmem_alloc(kmem_arena, sizes[i], VM_NOSLEEP, &a), 0);
        CHECK_EQ(machine().large_pages, sizes[i] / L * LP);
        CHECK_EQ(machine().attached_pages, sizes[i] / P);
        *(char *)a = *(char *)(a + sizes[i] - 1) = 1;
        check_large();
        vmem_free(kmem_arena, a, sizes[i]);
        check_large();
        CHECK_EQ(machine().large_pages, 0);
    }
    expect_empty();
}

/* Where a boundary is out of the question, what lies between two is large. */
static void
constraints_come_first(struct test_ctx *t)
{
    uintptr_t base;
    vmem_addr_t a = 0;

    (void)t;
    PORT(NULL);
    boot();
    base = kva_posix_va_base() + kva_posix_va_bytes() / 2;
    CHECK_EQ(vmem_xalloc_addr(kmem_arena, base + 5 * P, 2 * L, VM_NOSLEEP), 0);
    CHECK_EQ(machine().large_pages, LP);
    check_large();
    vmem_xfree(kmem_arena, base + 5 * P, 2 * L);
    CHECK_EQ(vmem_xalloc(kmem_arena, 2 * L - P, 2 * L, P, 0, VMEM_ADDR_MIN,
                         VMEM_ADDR_MAX, VM_NOSLEEP, &a),
             0);
    CHECK_EQ(a % (2 * L), P);
    CHECK_EQ(machine().large_pages, LP);
    check_large();
    vmem_xfree(kmem_arena, a, 2 * L - P);
    /* Room for it, but not at a boundary. */
    CHECK_EQ(vmem_xalloc(kmem_arena, L, 0, 0, 0, base + P, base + 2 * L - 2,
                         VM_NOSLEEP, &a),
             0);
    CHECK_NE(a % L, 0);
    CHECK_EQ(machine().large_pages, 0);
    check_large();
    vmem_xfree(kmem_arena, a, L);
    expect_empty();
}

/* The port has no runs as long as that: then there are no large pages, or as
 * many as it has. */
static void
frames_in_short_runs(struct test_ctx *t)
{
    const size_t runs[] = { 1, 7, LP - 1, LP, LP + LP / 2, 2 * LP };
    vmem_addr_t a = 0;

    (void)t;
    PORT(NULL);
    boot();
    for (unsigned i = 0; i < KVA_COUNT(runs); i++) {
        kva_posix_run_max_set(runs[i]);
        CHECK_EQ(vmem_alloc(kmem_arena, 3 * L + 5 * P, VM_NOSLEEP, &a), 0);
        CHECK_EQ(machine().attached_pages, 3 * LP + 5);
        CHECK_EQ(machine().large_pages, runs[i] < LP ? 0 : 3 * LP);
        memset((void *)a, 1, 3 * L + 5 * P);
        vmem_free(kmem_arena, a, 3 * L + 5 * P);
        CHECK_EQ(machine().attached_pages, 0);
    }
    expect_empty();
}

/* ---- quantum caches ------------------------------------------------------ */

/* So much that most comes in pieces of a large page. */
#define FULL ((size_t)64 << 20)
#define RUN 16u

static vmem_addr_t run[FULL / (RUN * P)];

static void
fill(void)
{
    for (size_t i = 0; i < KVA_COUNT(run); i++) {
        CHECK_EQ(vmem_alloc(kmem_arena, RUN * P, VM_NOSLEEP, &run[i]), 0);
    }
}

/* Those runs of which `stays' says so stay. */
static void
thin(unsigned one_in)
{
    for (size_t i = 0; i < KVA_COUNT(run); i++) {
        if (i % one_in != 0 && run[i] != 0) {
            vmem_free(kmem_arena, run[i], RUN * P);
            run[i] = 0;
        }
    }
}

static void
empty(void)
{
    for (size_t i = 0; i < KVA_COUNT(run); i++) {
        if (run[i] != 0) {
            vmem_free(kmem_arena, run[i], RUN * P);
        }
    }
}

/* Pieces are large as soon as an eighth of what is held is a large page; cut,
 * they are not, and go back all the same. */
static void
pieces_are_large(struct test_ctx *t)
{
    size_t small = 8 * L + L;

    (void)t;
    if (!PIECES_ARE_LARGE) {
        SKIP("large pages are larger than any piece");
    }
    PORT(NULL);
    boot();
    fill();
    check_large();
    CHECK_GE(machine().large_pages * P, FULL - small);
    CHECK_EQ(machine().demotes, 0);
    thin(9);
    drain_all();
    check_large();
    CHECK_GT(machine().demotes, 0);
    CHECK_LE(machine().attached_pages * P, FULL / 9 + RUN * P);
    empty();
    expect_empty();
}

/* Nothing can be demoted: what is free whole goes back, what is in pieces with
 * a run that stays, and under large pages, is there until something can. */
static void
nothing_can_be_demoted(struct test_ctx *t)
{
    size_t large;

    (void)t;
    if (!PIECES_ARE_LARGE) {
        SKIP("large pages are larger than any piece");
    }
    PORT(NULL);
    boot();
    fill();
    thin(9);
    large = machine().large_pages;
    kva_posix_fault_arm(KVA_POSIX_DEMOTE, 1, true);
    drain_all();
    check_large();
    CHECK_EQ(machine().large_pages, large);
    CHECK_GT(kva_posix_fault_fired(KVA_POSIX_DEMOTE), 0);
    CHECK_PTR(vmem_check(kmem_arena), NULL);
    kva_posix_fault_disarm(KVA_POSIX_DEMOTE);
    drain_all();
    check_large();
    CHECK_LT(machine().large_pages, large);
    CHECK_LE(machine().attached_pages * P, FULL / 9 + RUN * P);
    empty();
    expect_empty();
}

/* Single pieces, smaller than large pages, are cut while demoting fails. */
static void
small_pieces_are_cut_all_the_same(struct test_ctx *t)
{
    vmem_addr_t a[8];

    (void)t;
    PORT(NULL);
    boot();
    for (unsigned i = 0; i < KVA_COUNT(a); i++) {
        CHECK_EQ(vmem_alloc(kmem_arena, RUN * P, VM_NOSLEEP, &a[i]), 0);
    }
    CHECK_EQ(machine().large_pages, 0);
    for (unsigned i = 1; i < KVA_COUNT(a); i++) {
        vmem_free(kmem_arena, a[i], RUN * P);
    }
    drain_all();
    CHECK_EQ(machine().attached_pages, RUN);
    CHECK_EQ(machine().demotes, 0);
    vmem_free(kmem_arena, a[0], RUN * P);
    expect_empty();
}

/* ---- at random ----------------------------------------------------------- */

#define LIVE 24u

struct held {
    vmem_addr_t addr;
    size_t size;
    bool x;
};

static void
put(struct held *h)
{
    CHECK_EQ(*(size_t *)h->addr, h->size);
    if (h->x) {
        vmem_xfree(kmem_arena, h->addr, h->size);
    } else {
        vmem_free(kmem_arena, h->addr, h->size);
    }
    h->size = 0;
}

static void
get(struct test_ctx *t, struct held *h)
{
    size_t align = P << test_below(t, 11), whole = test_below(t, 3) * (L / P);

    h->x = test_below(t, 3) == 0;
    h->size = (1 + test_below(t, 60) + whole * (test_below(t, 4) == 0)) * P;
    if (h->x) {
        CHECK_EQ(vmem_xalloc(kmem_arena, h->size, align,
                             test_below(t, 2) * (align / 2 / P * P), 0,
                             VMEM_ADDR_MIN, VMEM_ADDR_MAX, VM_NOSLEEP,
                             &h->addr),
                 0);
    } else {
        CHECK_EQ(vmem_alloc(kmem_arena, h->size, VM_NOSLEEP, &h->addr), 0);
    }
    *(size_t *)h->addr = h->size;
    *(char *)(h->addr + h->size - 1) = 1;
}

static void
random_use(struct test_ctx *t)
{
    static struct held held[LIVE];

    PORT(NULL);
    boot();
    memset(held, 0, sizeof(held));
    if (PIECES_ARE_LARGE && test_below(t, 2) == 0) {
        fill(); /* from here on pieces are large */
        thin(40);
    }
    for (unsigned long i = 0; i < t->count; i++) {
        struct held *h = &held[test_below(t, LIVE)];

        if (h->size != 0) {
            put(h);
        } else {
            get(t, h);
        }
        if (test_below(t, 8) == 0) {
            (void)vmem_drain(kmem_arena, test_below(t, 64) * P, 0);
        }
        check_large();
    }
    for (unsigned i = 0; i < LIVE; i++) {
        if (held[i].size != 0) {
            put(&held[i]);
        }
    }
    empty();
    expect_empty();
}

/* ---- failures ------------------------------------------------------------ */

/* Each hook fails at its nth chance while two large pages and a rest are wired
 * in a run each: all is as before. */
static void
wiring_fails_at_each_site(struct test_ctx *t)
{
    const size_t size = 2 * L + 3 * P;
    vmem_addr_t a = 0;
    uint64_t before;
    unsigned long nth = 0, fired = 1;

    (void)t;
    PORT(NULL);
    boot();
    kva_posix_run_max_set(LP);
    before = digest(kmem_arena);
    while (fired > 0) {
        kva_posix_fault_reset();
        nth++;
        kva_posix_fault_arm(KVA_POSIX_ANY, nth, nth % 2 == 0);
        if (vmem_alloc(kmem_arena, size, VM_NOSLEEP, &a) == 0) {
            kva_posix_fault_disarm(KVA_POSIX_ANY);
            vmem_free(kmem_arena, a, size);
        }
        fired = kva_posix_fault_fired(KVA_POSIX_ANY);
        kva_posix_fault_disarm(KVA_POSIX_ANY);
        check_large();
        CHECK_EQ(machine().frames, 0);
        CHECK_EQ(machine().large_pages, 0);
        CHECK_EQ(digest(kmem_arena), before);
    }
    CHECK_GE(nth, 6); /* three runs, each of a frame hook and a map hook */
    expect_empty();
}

const struct test large_tests[] = {
    TEST("large", frames_are_aligned),
    TEST("large", frames_that_cannot_be_aligned),
    TEST("large", mappings_are_large),
    TEST("large", parts_are_demoted_first),
    TEST("large", imports_are_large),
    TEST("large", constraints_come_first),
    TEST("large", frames_in_short_runs),
    TEST("large", pieces_are_large),
    TEST("large", nothing_can_be_demoted),
    TEST("large", small_pieces_are_cut_all_the_same),
    TEST_COUNT("large", random_use, 200, 4000, 60000),
    TEST("large", wiring_fails_at_each_site),
    TEST_END
};
