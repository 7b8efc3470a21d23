/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pieces of the quantum caches that a drain gives back in parts: each quantum
 * that is free, whatever lies beside it; no more than is asked for; all or
 * nothing of a part, with whatever missing; and in the end all is as it was.
 */
#include <stdlib.h>
#include <string.h>

#include "kva/kva.h"
#include "tests/harness/machine.h"
#include "tests/misuse/digest.h"
#include "vmem/meta.h"
#include "vmem/vmem_impl.h"

#define P KVA_PAGE_SIZE
#define PIECE 8u
#define LONG 512u

struct pair {
    kva_vmem_t *source, *vm;
    size_t tags; /* of both when all is back */
};

static size_t
tags_of(kva_vmem_t *vm)
{
    struct kva_vmem_stat st;

    vmem_stat(vm, &st);
    return st.tags_busy + st.tags_free + st.tags_span;
}

static void
check(const struct pair *p)
{
    const char *bad = vmem_check(p->vm);

    bad = bad != NULL ? bad : vmem_check(p->source);
    if (bad != NULL) {
        FAIL("%s", bad);
    }
}

static void
begin(struct pair *p)
{
    PORT(NULL);
    p->source = vmem_create("source", 0x10000000, 16 * LONG * P, P, NULL, NULL,
                            NULL, 0, VM_NOSLEEP, KVA_IPL_NONE);
    p->vm = vmem_create("pieces", 0, 0, P, NULL, NULL, NULL, 32 * P, VM_NOSLEEP,
                        KVA_IPL_NONE);
    CHECK(p->source != NULL && p->vm != NULL);
    vmem_set_rimport(p->vm, vmem_rimport, vmem_xfree, p->source, 0);
    p->tags = tags_of(p->vm) + tags_of(p->source);
}

static void
expect_empty(const struct pair *p)
{
    (void)vmem_drain(p->vm, SIZE_MAX, 0);
    check(p);
    CHECK_EQ(vmem_size(p->source, VMEM_ALLOC), 0);
    CHECK_EQ(vmem_size(p->vm, VMEM_ALLOC | VMEM_FREE), 0);
    CHECK_EQ(tags_of(p->vm) + tags_of(p->source), p->tags);
}

static void
end(struct pair *p)
{
    vmem_destroy(p->vm);
    vmem_destroy(p->source);
}

/* A piece of n quanta with a run of one in each; the first address. */
static uintptr_t
fill(const struct pair *p, unsigned n)
{
    uintptr_t first = 0;
    vmem_addr_t a;

    CHECK(n <= 32);
    CHECK_EQ(vmem_alloc(p->vm, n * P, VM_NOSLEEP, &first), 0);
    vmem_free(p->vm, first, n * P);
    for (unsigned i = 0; i < n; i++) {
        CHECK_EQ(vmem_alloc(p->vm, P, VM_NOSLEEP, &a), 0);
        CHECK(a - first < n * P);
    }
    CHECK_EQ(vmem_size(p->source, VMEM_ALLOC), n * P);
    return first;
}

static unsigned
ones(unsigned set)
{
    unsigned n = 0;

    for (; set != 0; set &= set - 1) {
        n++;
    }
    return n;
}

/* How many stretches of ones. */
static unsigned
stretches(unsigned set)
{
    return ones(set & ~(set << 1));
}

/* For each set of quanta of a piece that are free: just these go back, and what
 * stays is a span for each stretch. */
static void
every_position(struct test_ctx *t)
{
    struct kva_vmem_stat st;
    struct pair p;

    begin(&p);
    for (unsigned live = 0; live < 1u << PIECE; live++) {
        uintptr_t first = fill(&p, PIECE);
        unsigned left = live;

        for (unsigned i = 0; i < PIECE; i++) {
            if ((live >> i & 1) == 0) {
                vmem_free(p.vm, first + i * P, P);
            }
        }
        check(&p);
        CHECK_EQ(vmem_drain(p.vm, SIZE_MAX, 0), (PIECE - ones(live)) * P);
        check(&p);
        vmem_stat(p.vm, &st);
        CHECK_EQ(st.spans, stretches(live));
        CHECK_EQ(st.spans_import, st.spans);
        CHECK_EQ(st.mem_total, ones(live) * P);
        CHECK_EQ(st.mem_import, st.mem_total);
        CHECK_EQ(st.mem_inuse, st.mem_total);
        CHECK_EQ(st.mem_cached, 0);
        CHECK_EQ(st.tags_busy + st.tags_span, 2 * stretches(live));
        CHECK_EQ(vmem_size(p.source, VMEM_ALLOC), ones(live) * P);
        CHECK_EQ(vmem_drain(p.vm, SIZE_MAX, 0), 0);
        while (left != 0) { /* the rest in any order, in one or two goes */
            unsigned i = (unsigned)test_rand_below(t, PIECE);

            if ((left >> i & 1) != 0) {
                vmem_free(p.vm, first + i * P, P);
                left &= ~(1u << i);
                if (test_rand_below(t, 4) == 0) {
                    CHECK(vmem_drain(p.vm, P, 0) >= P);
                    check(&p);
                }
            }
        }
        expect_empty(&p);
    }
    end(&p);
}

/* 16 of 32: a run of 8, and then every other. */
static bool
is_odd_or_run(unsigned i)
{
    return i >= 8 && (i < 16 || i % 2 == 1);
}

/* Those of a piece of 32 for which free_it says so, or does not. */
static void
free_some(const struct pair *p, uintptr_t first, bool (*free_it)(unsigned),
          bool says)
{
    for (unsigned i = 0; i < 32; i++) {
        if (free_it(i) == says) {
            vmem_free(p->vm, first + i * P, P);
        }
    }
}

/* No more than was asked for, and what is to be retained stays. */
static void
drains_are_exact(struct test_ctx *t)
{
    struct pair p;

    (void)t;
    begin(&p);
    for (unsigned i = 0; i < 400; i++) {
        unsigned bytes = 1 + i / 20, retain = i % 20;
        unsigned surplus = retain < 16 ? 16 - retain : 0;
        unsigned want = bytes < surplus ? bytes : surplus;
        uintptr_t first = fill(&p, 32);

        free_some(&p, first, is_odd_or_run, true);
        if (retain == 0) { /* else the magazines may keep some of it */
            CHECK_EQ(vmem_drain(p.vm, bytes * P, 0), want * P);
        } else {
            CHECK(vmem_drain(p.vm, bytes * P, retain * P) <= want * P);
            CHECK(vmem_size(p.vm, VMEM_CACHED) >= retain * P || retain >= 16);
        }
        check(&p);
        free_some(&p, first, is_odd_or_run, false);
        expect_empty(&p);
    }
    end(&p);
}

/* The longest run goes first: one cut where one will do. */
static void
longest_first(struct test_ctx *t)
{
    struct kva_vmem_stat st;
    struct pair p;
    uintptr_t first;

    (void)t;
    begin(&p);
    first = fill(&p, 32);
    for (unsigned i = 1; i < 31; i++) {
        if (i < 16 ? i % 2 == 1 : i > 20) {
            vmem_free(p.vm, first + i * P, P);
        }
    }
    CHECK_EQ(vmem_drain(p.vm, 10 * P, 0), 10 * P);
    vmem_stat(p.vm, &st);
    CHECK_EQ(st.spans, 2);
    CHECK(vmem_contains(p.vm, first, 21 * P));
    CHECK(vmem_contains(p.vm, first + 31 * P, P));
    check(&p);
    for (unsigned i = 0; i < 32; i++) {
        if (i == 0 || i == 31 || (i < 16 ? i % 2 == 0 : i <= 20)) {
            vmem_free(p.vm, first + i * P, P);
        }
    }
    expect_empty(&p);
    end(&p);
}

/* What lies in magazines, in others' pieces and in ranges with tags stays; the
 * source may know quanta that are larger. */
static void
source_of_other_quanta(struct test_ctx *t)
{
    struct pair p;
    uintptr_t first;
    vmem_addr_t large;

    (void)t;
    PORT(NULL);
    p.source = vmem_create("source", 0x10000000, 16 * LONG * P, 4 * P, NULL,
                           NULL, NULL, 0, VM_NOSLEEP, KVA_IPL_NONE);
    p.vm = vmem_create("pieces", 0, 0, P, NULL, NULL, NULL, 32 * P, VM_NOSLEEP,
                       KVA_IPL_NONE);
    CHECK(p.source != NULL && p.vm != NULL);
    vmem_set_rimport(p.vm, vmem_rimport, vmem_xfree, p.source, 0);
    p.tags = tags_of(p.vm) + tags_of(p.source);
    CHECK_EQ(vmem_alloc(p.vm, 100 * P, VM_NOSLEEP, &large), 0);
    vmem_free(p.vm, large, 100 * P);
    CHECK_EQ(vmem_size(p.source, VMEM_ALLOC), 0);
    first = fill(&p, 32);
    for (unsigned i = 0; i < 32; i++) {
        if (i >= 8 && i != 16) { /* 8 to 15 go, 17 to 31 but for the ends */
            vmem_free(p.vm, first + i * P, P);
        }
    }
    CHECK_EQ(vmem_drain(p.vm, SIZE_MAX, 0), 8 * P);
    check(&p);
    for (unsigned i = 0; i < 32; i++) {
        if (i < 8 || i == 16) {
            vmem_free(p.vm, first + i * P, P);
        }
    }
    expect_empty(&p);
    end(&p);
}

/* ---- what is missing ---------------------------------------------------- */

#define OWN_TAGS 64u

/* Tags that are taken out of an arena's stock for a while. */
struct taken {
    struct kva_vmem_btag *tag[OWN_TAGS];
    unsigned n;
};

static void
tags_take(kva_vmem_t *vm, unsigned keep, struct taken *taken)
{
    taken->n = 0;
    while (vm->nspare > keep) {
        taken->tag[taken->n++] = kva__btag_take(vm);
    }
}

static void
tags_give(kva_vmem_t *vm, struct taken *taken)
{
    while (taken->n > 0) {
        kva__btag_give(vm, taken->tag[--taken->n]);
    }
}

/* The source has tags of its own, and none come from elsewhere. */
static void
begin_private(struct pair *p)
{
    static struct kva_vmem_btag tags[OWN_TAGS];

    begin(p);
    vmem_destroy(p->vm);
    vmem_destroy(p->source);
    p->source = vmem_create("source", 0, 0, P, NULL, NULL, NULL, 0,
                            VM_PRIVTAGS | VM_NOSLEEP, KVA_IPL_NONE);
    p->vm = vmem_create("pieces", 0, 0, P, NULL, NULL, NULL, 32 * P, VM_NOSLEEP,
                        KVA_IPL_NONE);
    CHECK(p->source != NULL && p->vm != NULL);
    CHECK_EQ(vmem_add_bts(p->source, tags, OWN_TAGS), 0);
    CHECK_EQ(vmem_add(p->source, 0x10000000, 16 * LONG * P, VM_NOSLEEP), 0);
    vmem_set_rimport(p->vm, vmem_rimport, vmem_xfree, p->source, 0);
    p->tags = tags_of(p->vm) + tags_of(p->source);
}

/* All tags that nobody uses are this one's, and there is no page for more. */
static kva_vmem_t *
hold_tags(void)
{
    kva_vmem_t *hold = vmem_create("hold", 0, 0, P, NULL, NULL, NULL, 0,
                                   VM_NOSLEEP, KVA_IPL_NONE);

    CHECK(hold != NULL);
    kva_posix_fault_arm(KVA_POSIX_META_GET, 1, true);
    CHECK(!kva__btag_ensure(hold, 1u << 20));
    return hold;
}

/*
 * The middle of a piece is free, and both arenas have so many tags left, from
 * none to more than enough: it goes, or all is as it was, and it goes later.
 */
static void
tags_run_out_anywhere(struct test_ctx *t)
{
    unsigned stayed = 0;
    struct pair p;

    (void)t;
    begin_private(&p);
    for (unsigned i = 0; i < 16; i++) {
        unsigned here = i / 4, there = i % 4;
        bool goes = here >= KVA_VMEM_TAGS_CUT && there >= 2;
        uintptr_t first = fill(&p, PIECE);
        struct taken own, source;
        uint64_t before[2];
        kva_vmem_t *hold;

        for (unsigned k = 2; k < 6; k++) {
            vmem_free(p.vm, first + k * P, P);
        }
        kva__qcache_drain(p.vm, SIZE_MAX, 0, KVA__DRAIN_ALONE);
        before[0] = digest(p.vm);
        before[1] = digest(p.source);
        tags_take(p.vm, here, &own);
        tags_take(p.source, there, &source);
        hold = hold_tags();
        CHECK_EQ(vmem_drain(p.vm, SIZE_MAX, 0), goes ? 4 * P : 0);
        check(&p);
        kva_posix_fault_disarm(KVA_POSIX_META_GET);
        vmem_destroy(hold);
        tags_give(p.vm, &own);
        tags_give(p.source, &source);
        if (!goes) {
            CHECK_EQ(digest(p.vm), before[0]);
            CHECK_EQ(digest(p.source), before[1]);
            stayed++;
            CHECK_EQ(vmem_drain(p.vm, SIZE_MAX, 0), 4 * P);
        }
        CHECK_EQ(vmem_size(p.source, VMEM_ALLOC), 4 * P);
        for (unsigned k = 0; k < PIECE; k++) {
            if (k < 2 || k >= 6) {
                vmem_free(p.vm, first + k * P, P);
            }
        }
        expect_empty(&p);
    }
    CHECK_EQ(stayed, 12);
    end(&p);
}

/* ---- wired memory ------------------------------------------------------- */

#define RUNS 6000u

static size_t
attached(void)
{
    struct kva_posix_stats st;

    kva_posix_stats_get(&st);
    return (size_t)st.attached_pages;
}

static void
check_tower(void)
{
    for (kva_vmem_t *vm = kva_vmem_list; vm != NULL; vm = vm->next) {
        const char *bad = vmem_check(vm);

        if (bad != NULL) {
            FAIL("%s: %s", vm->name, bad);
        }
    }
}

static uint64_t
digest_tower(void)
{
    uint64_t h = 0;

    for (kva_vmem_t *vm = kva_vmem_list; vm != NULL; vm = vm->next) {
        h = h * 31 + digest(vm);
    }
    return h;
}

/* The number of quanta of run i, and what its pages hold. */
static unsigned
length_of(unsigned i)
{
    return 1 + i * 7 % 5;
}

static void
write_run(const vmem_addr_t run[], unsigned i)
{
    for (unsigned k = 0; k < length_of(i); k++) {
        *(unsigned *)(run[i] + k * P) = i;
    }
}

static void
read_run(const vmem_addr_t run[], unsigned i)
{
    for (unsigned k = 0; k < length_of(i); k++) {
        CHECK_EQ(*(unsigned *)(run[i] + k * P), i);
    }
}

static void
tower(void)
{
    struct kva_posix_config config = { .va_bytes = (size_t)256 << 20,
                                       .meta_bytes = (size_t)32 << 20 };

    PORT(&config);
    machine_boot((struct kva_boot){ 0 });
}

/*
 * Runs in large pieces, freed at random.  Of what is left little more is wired
 * than is live (pieces of up to 32 pages stay whole), and the pages of what is
 * live are still there.
 */
static void
what_is_free_is_unwired(struct test_ctx *t)
{
    static vmem_addr_t run[RUNS];
    struct kva_stat begun, st;
    size_t live = 0;

    tower();
    kva_stat(&begun);
    for (unsigned long round = 0; round < t->count; round++) {
        live = 0;
        for (unsigned i = 0; i < RUNS; i++) {
            CHECK_EQ(vmem_alloc(kva_kmem_arena, length_of(i) * P, VM_NOSLEEP,
                                &run[i]),
                     0);
            write_run(run, i);
        }
        for (unsigned i = 0; i < RUNS; i++) {
            if (test_rand_below(t, 10) != 0) {
                vmem_free(kva_kmem_arena, run[i], length_of(i) * P);
                run[i] = 0;
            } else {
                live += length_of(i);
            }
        }
        (void)vmem_drain(kva_kmem_arena, SIZE_MAX, 0);
        check_tower();
        kva_stat(&st);
        CHECK_EQ(st.wired_bytes, attached() * P);
        CHECK(attached() >= live);
        CHECK(attached() - live < 1024);
        for (unsigned i = 0; i < RUNS; i++) {
            if (run[i] != 0) {
                read_run(run, i);
                vmem_free(kva_kmem_arena, run[i], length_of(i) * P);
            }
        }
        (void)vmem_drain(kva_kmem_arena, SIZE_MAX, 0);
        (void)vmem_drain(kva_heap_va_arena, SIZE_MAX, 0);
        kva_stat(&st);
        CHECK_EQ(st.wired_bytes, 0);
        CHECK_EQ(st.tags, begun.tags);
        CHECK_EQ(vmem_size(kva_kernel_va_arena, VMEM_ALLOC), 0);
    }
    kva_shutdown();
}

/* Each hook that may fail does so at its nth chance in such a drain: what went
 * is away, what stayed is there, and a drain without a fault has the rest go.
 * In a tower, where a cut is one of addresses as well as one of pages.  The
 * count is the part of all runs that take part. */
static void
faults_in_a_drain(struct test_ctx *t)
{
    static vmem_addr_t run[RUNS];
    struct kva_stat begun, st;
    unsigned long nth = 0, fired = 1;
    size_t least = 0;

    tower();
    kva_stat(&begun);
    while (fired > 0) {
        unsigned n = RUNS / (KVA_CONFIG_PARANOID ? 16u : (unsigned)t->count);

        for (unsigned i = 0; i < n; i++) {
            CHECK_EQ(vmem_alloc(kva_kmem_arena, length_of(i) * P, VM_NOSLEEP,
                                &run[i]),
                     0);
        }
        for (unsigned i = 0; i < n; i += 2) {
            vmem_free(kva_kmem_arena, run[i], length_of(i) * P);
        }
        kva_posix_fault_reset();
        nth++;
        kva_posix_fault_arm(KVA_POSIX_ANY, nth, nth % 2 == 0);
        (void)vmem_drain(kva_kmem_arena, SIZE_MAX, 0);
        fired = kva_posix_fault_fired(KVA_POSIX_ANY);
        kva_posix_fault_disarm(KVA_POSIX_ANY);
        check_tower();
        kva_stat(&st);
        CHECK_EQ(st.wired_bytes, attached() * P);
        (void)digest_tower();
        (void)vmem_drain(kva_kmem_arena, SIZE_MAX, 0);
        check_tower();
        least = nth == 1 ? attached() : least;
        CHECK_EQ(attached(), least);
        for (unsigned i = 1; i < n; i += 2) {
            vmem_free(kva_kmem_arena, run[i], length_of(i) * P);
        }
        (void)vmem_drain(kva_kmem_arena, SIZE_MAX, 0);
        (void)vmem_drain(kva_heap_va_arena, SIZE_MAX, 0);
        kva_stat(&st);
        CHECK_EQ(st.wired_bytes, 0);
        CHECK_EQ(st.tags, begun.tags);
    }
    CHECK_GT(nth, 3);
    kva_shutdown();
}

const struct test split_tests[] = {
    TEST("split", every_position),
    TEST("split", drains_are_exact),
    TEST("split", longest_first),
    TEST("split", source_of_other_quanta),
    TEST("split", tags_run_out_anywhere),
    TEST_COUNT("split", what_is_free_is_unwired, 1, 20, 200),
    TEST_LEAST("split", faults_in_a_drain, 16, 2, 2, 2),
    TEST_END,
};
