/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bounds of the work of one operation, as the arena's own statistics count it,
 * at 10^3 to 10^6 segments in layouts that are meant to be bad: many holes that
 * are just too short, or long enough and nowhere aligned, between few good
 * ones; all holes of one class, each longer than the next.
 *
 * A layout is a row of holes and busy segments without anything else:
 *
 *      |lead|   hole   |busy|   good   |busy|   hole   |busy| ...
 *
 * Good holes stand at the beginning, in the middle and at the end.
 */
#include <stdlib.h>

#include "tests/harness/test.h"
#include "vmem/meta.h"
#include "vmem/vmem_store.h"

/* Quantum 1: so a row of a million segments fits into any address space. */
#define BASE ((uintptr_t)1 << 20)
#define TOP (~(uintptr_t)0)

#define GOOD 3u

struct layout {
    const char *name;
    size_t lead, hole, busy; /* hole 0: sizes go down */
};

static const struct layout layouts[] = {
    { "alternating", 1, 1, 1 },
    { "just too short", 5, 7, 1 },
    { "misaligned by one quantum", 1, 16, 16 },
    { "going down in one class", 1, 0, 1 },
};
#define MISALIGNED (&layouts[2])
#define DOWN (&layouts[3])

/* Alignment of all requests, and the length of a good hole: enough for any
 * request below at any position. */
#define ALIGN ((size_t)16)
#define GOOD_SIZE(longest) (4 * ((longest) + ALIGN))

struct row {
    vmem_t *vm;
    const struct layout *layout;
    size_t nholes;
    size_t longest;  /* of the holes that are not good */
    uintptr_t *hole; /* where each begins */
    size_t good[GOOD];
    uintptr_t end; /* of the span */
};

/* The sizes of DOWN: a class of 2^13 up has 2^10 of them (class.h). */
#define DOWN_LONGEST ((size_t)(1u << 13) + (1u << 10) - 1)

static size_t
hole_size(const struct row *r, size_t i)
{
    for (unsigned g = 0; g < GOOD; g++) {
        if (r->good[g] == i) {
            return GOOD_SIZE(r->longest);
        }
    }
    return r->layout->hole != 0 ? r->layout->hole
                                : DOWN_LONGEST - (i & ((1u << 10) - 1));
}

static void
take(struct row *r, uintptr_t *pos, size_t size)
{
    uintptr_t addr;

    CHECK_EQ(vmem_xalloc(r->vm, size, 0, 0, 0, 0, TOP, VM_NOSLEEP, &addr), 0);
    CHECK_EQ(addr, *pos);
    *pos += size;
}

/* Taken from the front to the end of the only hole there is, and then the holes
 * are freed. */
static void
row_begin(struct row *r, const struct layout *layout, size_t segments,
          vm_flag_t flags)
{
    size_t bytes = layout->lead;
    uintptr_t pos = BASE;

    r->layout = layout;
    r->nholes = segments / 2;
    r->longest = layout->hole != 0 ? layout->hole : DOWN_LONGEST;
    r->good[0] = 0;
    r->good[1] = r->nholes / 2;
    r->good[2] = r->nholes - 1;
    r->hole = malloc(r->nholes * sizeof(*r->hole));
    CHECK(r->hole != NULL);
    for (size_t i = 0; i < r->nholes; i++) {
        bytes += hole_size(r, i) + layout->busy;
    }
    r->end = BASE + bytes;
    r->vm = vmem_create("row", BASE, bytes, 1, NULL, NULL, NULL, 0,
                        VM_NOSLEEP | flags, KVA_IPL_NONE);
    CHECK(r->vm != NULL);
    take(r, &pos, layout->lead);
    for (size_t i = 0; i < r->nholes; i++) {
        r->hole[i] = pos;
        take(r, &pos, hole_size(r, i));
        take(r, &pos, layout->busy);
    }
    for (size_t i = 0; i < r->nholes; i++) {
        vmem_xfree(r->vm, r->hole[i], hole_size(r, i));
    }
    CHECK_EQ(pos, r->end);
}

static void
row_end(struct row *r)
{
    CHECK_PTR(vmem_check(r->vm), NULL);
    vmem_xfreeall(r->vm);
    vmem_destroy(r->vm);
    free(r->hole);
}

/* ---- visits ----------------------------------------------------------- */

static size_t
visits(vmem_t *vm)
{
    struct kva_vmem_stat st;

    vmem_stat(vm, &st);
    return st.search + st.lookup + st.contains_search;
}

static size_t
bound(vmem_t *vm)
{
    struct kva_vmem_stat st;
    size_t n, log2 = 0;

    vmem_stat(vm, &st);
    for (n = st.tags_busy + st.tags_free; n > 1; n /= 2) {
        log2++;
    }
    return 4 * log2 + 16;
}

#define BOUNDED(vm, operation)                        \
    do {                                              \
        size_t most = bound(vm), before = visits(vm); \
        operation;                                    \
        CHECK_LE(visits(vm) - before, most);          \
    } while (0)

/* The request is met within [min, max] and the bound, and given back. */
static uintptr_t
met(struct row *r, size_t size, size_t align, size_t phase, size_t nocross,
    uintptr_t min, uintptr_t max, vm_flag_t flags)
{
    uintptr_t addr = 0;

    BOUNDED(r->vm, CHECK_EQ(vmem_xalloc(r->vm, size, align, phase, nocross, min,
                                        max, VM_NOSLEEP | flags, &addr),
                            0));
    CHECK_GE(addr, min);
    CHECK_LE(addr + (size - 1), max);
    if (align != 0) {
        CHECK_EQ(addr % align, phase);
    }
    if (nocross != 0) {
        CHECK_EQ(addr / nocross, (addr + (size - 1)) / nocross);
    }
    BOUNDED(r->vm, vmem_xfree(r->vm, addr, size));
    return addr;
}

static void
refused(struct row *r, size_t size, uintptr_t min, uintptr_t max)
{
    uintptr_t addr;

    BOUNDED(r->vm, CHECK_EQ(vmem_xalloc(r->vm, size, 0, 0, 0, min, max,
                                        VM_NOSLEEP, &addr),
                            KVA_ENOMEM));
}

static size_t
pow2_above(size_t n)
{
    size_t p = 1;

    while (p < n) {
        p *= 2;
    }
    return p;
}

/* Whatever constraint, with a sure hole in the window. */
static void
every_constraint(struct row *r, size_t size, uintptr_t min, uintptr_t max,
                 vm_flag_t flags)
{
    size_t cross = pow2_above(size);

    met(r, size, ALIGN, 0, 0, min, max, flags);
    met(r, size, ALIGN, ALIGN - 1, 0, min, max, flags);
    met(r, size, ALIGN, 0, cross, min, max, flags);
    met(r, size, ALIGN, 1, 4 * cross, min, max, flags);
    if (r->layout != MISALIGNED) {
        met(r, size, 0, 0, cross, min, max, flags);
    }
}

/* Windows that hold the good hole at their lower end, at their upper, with all
 * the bad ones of a side, and that cut it. */
static void
every_window(struct row *r, size_t size, vm_flag_t flags)
{
    for (unsigned g = 0; g < GOOD; g++) {
        uintptr_t first = r->hole[r->good[g]];
        uintptr_t last = first + (GOOD_SIZE(r->longest) - 1);
        uintptr_t below = g == 0 ? BASE : r->hole[r->good[g - 1] + 1];
        uintptr_t above =
            g == GOOD - 1 ? r->end - 1 : r->hole[r->good[g + 1]] - 1;

        every_constraint(r, size, first, last, flags);
        every_constraint(r, size, below, last, flags);
        every_constraint(r, size, first, above, flags);
        every_constraint(r, size, below, above, flags);
        every_constraint(r, size, first + 3, above, flags);
        every_constraint(r, size, below, last - 3, flags);
        every_constraint(r, size, first, TOP, flags);
        every_constraint(r, size, 0, last, flags);
    }
    every_constraint(r, size, 0, TOP, flags);
}

/* A good hole that a bound cuts too short, and another one behind bad ones. */
static void
cut_by_the_bound(struct row *r, size_t size)
{
    uintptr_t first = r->hole[r->good[1]];
    uintptr_t last = first + (GOOD_SIZE(r->longest) - 1);

    every_constraint(r, size, 0, first + (size - 2), VM_ENDALLOC);
    every_constraint(r, size, 0, first + (size - 2), 0);
    every_constraint(r, size, last - (size - 2), TOP, VM_ENDALLOC);
    every_constraint(r, size, last - (size - 2), TOP, 0);
}

/* Bounds on the address alone; the holes that are not good are too short. */
static void
bounds_alone(struct row *r, size_t size)
{
    static const vm_flag_t policies[] = { 0, VM_ENDALLOC, VM_FIRSTFIT,
                                          VM_NEXTFIT };

    for (unsigned g = 0; g < GOOD; g++) {
        uintptr_t first = r->hole[r->good[g]];
        uintptr_t last = first + (GOOD_SIZE(r->longest) - 1);
        uintptr_t below = g == 0 ? BASE : r->hole[r->good[g - 1] + 1];

        for (unsigned p = 0; p < KVA_COUNT(policies); p++) {
            CHECK_EQ(
                met(r, size, 0, 0, 0, below, first + (size - 1), policies[p]),
                first);
            CHECK_EQ(
                met(r, size, 0, 0, 0, last - (size - 1), last, policies[p]),
                last - (size - 1));
            met(r, size, 0, 0, 0, first, TOP, policies[p]);
            met(r, size, 0, 0, 0, 0, last, policies[p]);
        }
        if (g > 0) {
            refused(r, size, below, first + (size - 2));
        }
        BOUNDED(
            r->vm,
            CHECK_EQ(vmem_xalloc_addr(r->vm, first + 1, size, VM_NOSLEEP), 0));
        BOUNDED(r->vm, vmem_xfree(r->vm, first + 1, size));
        BOUNDED(r->vm, CHECK_EQ(vmem_xalloc_addr(r->vm, last, 2, VM_NOSLEEP),
                                KVA_ENOMEM));
    }
}

/* What an address is in, be it the first of a segment or not. */
static void
looked_at(struct row *r)
{
    struct kva_vmem_segment seg;

    for (unsigned i = 0; i < 64; i++) {
        size_t n = i < GOOD ? r->good[i] : (r->nholes - 1) * i / 64;
        uintptr_t first = r->hole[n], last = first + hole_size(r, n) - 1;

        BOUNDED(r->vm, CHECK_EQ(vmem_find(r->vm, last, &seg), 0));
        CHECK_EQ(seg.addr, first);
        BOUNDED(r->vm, CHECK_EQ(vmem_find(r->vm, last + 1, &seg), 0));
        CHECK_EQ(seg.addr, last + 1);
        BOUNDED(r->vm, CHECK(vmem_contains(r->vm, first, r->end - first)));
        BOUNDED(r->vm, CHECK(!vmem_contains(r->vm, first, r->end - first + 1)));
    }
    BOUNDED(r->vm, CHECK_EQ(vmem_find(r->vm, r->end, &seg), KVA_ENOENT));
}

static void
unconstrained(struct row *r, size_t size)
{
    static const vm_flag_t policies[] = { VM_INSTANTFIT, VM_BESTFIT,
                                          VM_FIRSTFIT, VM_NEXTFIT,
                                          VM_ENDALLOC };
    uintptr_t addr;

    for (unsigned p = 0; p < KVA_COUNT(policies); p++) {
        met(r, size, 0, 0, 0, 0, TOP, policies[p]);
        BOUNDED(r->vm, CHECK_EQ(vmem_alloc(r->vm, size,
                                           VM_NOSLEEP | policies[p], &addr),
                                0));
        BOUNDED(r->vm, vmem_free(r->vm, addr, size));
    }
    refused(r, GOOD_SIZE(r->longest) + 1, 0, TOP);
}

/* With an index: 4 log2(segments) + 16 visits, always, for whatever the
 * holes that are not good are too short for. */
static void
bounded_with_an_index(struct test_ctx *t)
{
    struct row r;

    PORT(NULL);
    for (unsigned i = 0; i < KVA_COUNT(layouts); i++) {
        row_begin(&r, &layouts[i], t->count, VM_INDEX);
        looked_at(&r);
        unconstrained(&r, r.longest + 1);
        bounds_alone(&r, r.longest + 1);
        every_window(&r, r.longest + 1, 0);
        every_window(&r, r.longest + 1, VM_ENDALLOC);
        row_end(&r);
    }
}

/* The others are long enough for the size, and nowhere aligned. */
static void
bounded_past_misaligned_holes(struct test_ctx *t)
{
    struct row r;

    PORT(NULL);
    row_begin(&r, MISALIGNED, t->count, VM_INDEX);
    every_window(&r, 16, 0);
    every_window(&r, 16, VM_ENDALLOC);
    cut_by_the_bound(&r, 16);
    row_end(&r);
}

/* Best fit among holes of one class: the very smallest that does, by the size
 * of what is found. */
static void
bounded_best_fit(struct test_ctx *t)
{
    struct row r;

    PORT(NULL);
    row_begin(&r, DOWN, t->count, VM_INDEX);
    for (unsigned k = 0; k < 1000; k++) {
        size_t i = (size_t)test_rand_below(t, r.nholes), found = 0;
        size_t size = hole_size(&r, i);
        uintptr_t addr;

        BOUNDED(r.vm,
                CHECK_EQ(vmem_alloc(r.vm, size, VM_NOSLEEP | VM_BESTFIT, &addr),
                         0));
        for (size_t low = 0, high = r.nholes; high - low > 0;) {
            size_t middle = low + (high - low) / 2;

            if (r.hole[middle] <= addr) {
                found = middle;
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        CHECK_EQ(r.hole[found], addr);
        CHECK_EQ(hole_size(&r, found), size);
        BOUNDED(r.vm, vmem_free(r.vm, addr, size));
    }
    row_end(&r);
}

/* Without an index and constraints: a constant, whatever there is. */
static void
constant_without_constraints(struct test_ctx *t)
{
    uintptr_t addr;
    size_t before;
    struct row r;

    PORT(NULL);
    for (unsigned i = 0; i < KVA_COUNT(layouts); i++) {
        row_begin(&r, &layouts[i], t->count, 0);
        for (size_t size = 1; size <= r.longest + 1; size += 1 + size / 8) {
            before = visits(r.vm);
            CHECK_EQ(vmem_alloc(r.vm, size, VM_NOSLEEP, &addr), 0);
            CHECK_LE(visits(r.vm) - before, 2);
            before = visits(r.vm);
            vmem_free(r.vm, addr, size);
            CHECK_LE(visits(r.vm) - before, 2);
        }
        row_end(&r);
    }
}

/* ---- growth ----------------------------------------------------------- */

/* The most that one operation asks of the host: pages for a group of tags, for
 * its place in the directory, and for a page of buckets and its place; or, with
 * an index, for two leaves and an inner node. */
#define PAGES_MOST 4u

struct growth {
    vmem_t *vm;
    size_t requests, buckets;
};

static void
growth_begin(struct growth *g)
{
    g->requests = kva__meta_requests();
    g->buckets = g->vm->hash_buckets;
}

static void
growth_expect(const struct growth *g, size_t pages)
{
    size_t now = g->vm->hash_buckets;

    CHECK_LE(kva__meta_requests() - g->requests, pages);
    CHECK_LE(now > g->buckets ? now - g->buckets : g->buckets - now, 2);
}

/* From nothing to count segments and back, no operation does much more than any
 * other: a few pages, a bucket split or two joined.  A free asks for none. */
static void
growth_is_gradual(struct test_ctx *t)
{
    uintptr_t *addr = malloc(t->count * sizeof(*addr));

    CHECK(addr != NULL);
    PORT(NULL);
    for (unsigned k = 0; k < 2; k++) {
        struct growth g;
        size_t at;

        g.vm = vmem_create("growth", BASE, t->count, 1, NULL, NULL, NULL, 0,
                           VM_NOSLEEP | (k != 0 ? VM_INDEX : 0), KVA_IPL_NONE);
        CHECK(g.vm != NULL);
        for (size_t i = 0; i < t->count; i++) {
            growth_begin(&g);
            CHECK_EQ(vmem_alloc(g.vm, 1, VM_NOSLEEP, &addr[i]), 0);
            growth_expect(&g, PAGES_MOST);
        }
        CHECK(k != 0 || g.vm->hash_buckets > t->count / 8);
        for (size_t i = t->count; i-- > 0;) {
            at = (size_t)test_rand_below(t, i + 1);
            growth_begin(&g);
            vmem_free(g.vm, addr[at], 1);
            growth_expect(&g, 0);
            addr[at] = addr[i];
        }
        CHECK_PTR(vmem_check(g.vm), NULL);
        vmem_destroy(g.vm);
    }
    free(addr);
}

const struct test bounds_tests[] = {
    TEST_COUNT("bounds", bounded_with_an_index, 1000, 100000, 1000000),
    TEST_COUNT("bounds", bounded_past_misaligned_holes, 1000, 100000, 1000000),
    TEST_COUNT("bounds", bounded_best_fit, 1000, 100000, 1000000),
    TEST_COUNT("bounds", constant_without_constraints, 1000, 100000, 1000000),
    TEST_LEAST("bounds", growth_is_gradual, 3000, 10000, 100000, 1000000),
    TEST_END
};
