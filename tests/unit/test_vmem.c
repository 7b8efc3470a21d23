/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arenas, case by case: the ends of the address space, imports of each kind, a
 * caller's tags, waiting, statistics, walking and printing.  What random
 * operations show better is in tests/model.
 */
#include <stdio.h>
#include <string.h>

#include "tests/harness/test.h"
#include "tests/misuse/digest.h"
#include "vmem/meta.h"
#include "vmem/vmem_store.h"

#define Q ((size_t)4096)
#define BASE ((uintptr_t)0x40000000)
#define TOP (~(uintptr_t)0)

static vmem_t *
arena_new(uintptr_t base, size_t size, size_t quantum, size_t qcache_max)
{
    vmem_t *vm = vmem_create("test", base, size, quantum, NULL, NULL, NULL,
                             qcache_max, VM_NOSLEEP, KVA_IPL_NONE);

    CHECK(vm != NULL);
    return vm;
}

static vmem_t *
child_new(vmem_t *source, size_t qcache_max, vm_flag_t flags)
{
    vmem_t *vm = vmem_create("child", 0, 0, Q, vmem_alloc, vmem_free, source,
                             qcache_max, VM_NOSLEEP | flags, KVA_IPL_NONE);

    CHECK(vm != NULL);
    return vm;
}

/* ---- the ends of the address space -------------------------------------- */

/* All of the address space but one byte is a span; all of it is handed out. */
static void
whole_address_space(struct test_ctx *t)
{
    uintptr_t a = 1, b = 1;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_new(0, TOP, 1, 0);
    CHECK_EQ(vmem_size(vm, VMEM_MAXFREE), TOP);
    CHECK_EQ(vmem_alloc(vm, TOP, VM_NOSLEEP, &a), 0);
    CHECK_EQ(a, 0);
    CHECK_EQ(vmem_alloc(vm, 1, VM_NOSLEEP, &b), KVA_ENOMEM);
    vmem_free(vm, 0, TOP);
    CHECK_EQ(vmem_xalloc_addr(vm, TOP - 1, 1, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xalloc_addr(vm, TOP, 1, VM_NOSLEEP), KVA_ENOMEM);
    CHECK_EQ(
        vmem_xalloc(vm, TOP / 2 + 1, TOP / 2 + 1, 0, 0, 0, TOP, VM_NOSLEEP, &a),
        0);
    CHECK_EQ(a, 0);
    CHECK_EQ(
        vmem_xalloc(vm, 4, TOP / 2 + 1, TOP / 2 - 1, 0, 1, TOP, VM_NOSLEEP, &b),
        KVA_ENOMEM);
    CHECK_PTR(vmem_check(vm), NULL);
    vmem_xfree(vm, a, TOP / 2 + 1);
    vmem_xfree(vm, TOP - 1, 1);
    CHECK_EQ(vmem_size(vm, VMEM_MAXFREE), TOP);
    vmem_destroy(vm);
}

/* A span ends at the last byte of all. */
static void
last_byte_of_all(struct test_ctx *t)
{
    uintptr_t a = 0;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    for (unsigned k = 0; k < 2; k++) {
        vm = arena_new(TOP - (64 * Q - 1), 64 * Q, Q, k * 8 * Q);
        CHECK_EQ(
            vmem_xalloc(vm, Q, 0, 0, 0, TOP - (Q - 1), TOP, VM_NOSLEEP, &a), 0);
        CHECK_EQ(a, TOP - (Q - 1));
        vmem_xfree(vm, a, Q);
        CHECK_EQ(vmem_xalloc(vm, 64 * Q, 0, 0, 64 * Q, 0, TOP, VM_NOSLEEP, &a),
                 0);
        vmem_xfree(vm, a, 64 * Q);
        for (unsigned i = 0; i < 64; i++) {
            CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), 0);
        }
        CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), KVA_ENOMEM);
        CHECK_PTR(vmem_check(vm), NULL);
        for (unsigned i = 0; i < 64; i++) {
            vmem_free(vm, TOP - (Q - 1) - i * Q, Q);
        }
        vmem_destroy(vm);
    }
}

/* ---- searching ---------------------------------------------------------- */

/* Holes of 40 and of 43 quanta are of one class.  The one that was freed last
 * stands first, and a request for 42 must look behind it. */
static void
own_class_is_searched(struct test_ctx *t)
{
    static const size_t holes[] = { 43, 40, 41, 40 };
    uintptr_t at = BASE, a = 0;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    for (unsigned best = 0; best < 2; best++) {
        vm = arena_new(BASE, (43 + 40 + 41 + 40 + 4) * Q, Q, 0);
        at = BASE;
        for (unsigned i = 0; i < KVA_COUNT(holes); i++) {
            CHECK_EQ(vmem_xalloc_addr(vm, at + holes[i] * Q, Q, VM_NOSLEEP), 0);
            at += (holes[i] + 1) * Q;
        }
        CHECK_EQ(
            vmem_alloc(vm, 42 * Q, VM_NOSLEEP | (best ? VM_BESTFIT : 0), &a),
            0);
        CHECK_EQ(a, BASE);
        vmem_free(vm, a, 42 * Q);
        CHECK_EQ(vmem_alloc(vm, 41 * Q, VM_NOSLEEP | VM_BESTFIT, &a), 0);
        CHECK_EQ(a, BASE + (43 + 40 + 2) * Q);
        vmem_free(vm, a, 41 * Q);
        CHECK_EQ(vmem_alloc(vm, 44 * Q, VM_NOSLEEP, &a), KVA_ENOMEM);
        vmem_xfreeall(vm);
        vmem_destroy(vm);
    }
}

/* ---- imports ------------------------------------------------------------ */

/* Spans come with the first request and go with the last free. */
static void
spans_come_and_go(struct test_ctx *t)
{
    struct kva_vmem_stat st;
    vmem_t *source, *vm;
    uintptr_t a, b;

    (void)t;
    PORT(NULL);
    source = arena_new(BASE, 1024 * Q, Q, 0);
    vm = child_new(source, 0, 0);
    CHECK_EQ(vmem_alloc(vm, 5 * Q, VM_NOSLEEP, &a), 0);
    CHECK_EQ(vmem_alloc(vm, 7 * Q, VM_NOSLEEP, &b), 0);
    vmem_stat(vm, &st);
    CHECK_EQ(st.spans, 2);
    CHECK_EQ(st.spans_import, 2);
    CHECK_EQ(st.mem_import, 12 * Q);
    CHECK_EQ(vmem_size(source, VMEM_ALLOC), 12 * Q);
    vmem_free(vm, a, 5 * Q);
    CHECK_EQ(vmem_size(source, VMEM_ALLOC), 7 * Q);
    vmem_free(vm, b, 7 * Q);
    vmem_stat(vm, &st);
    CHECK_EQ(st.spans, 0);
    CHECK_EQ(vmem_size(source, VMEM_ALLOC), 0);
    CHECK_EQ(vmem_alloc(vm, 1025 * Q, VM_NOSLEEP, &a), KVA_ENOMEM);
    CHECK_EQ(vmem_size(source, VMEM_ALLOC), 0);
    vmem_destroy(vm);
    vmem_destroy(source);
}

/* VM_LARGEIMPORT takes 16 times as much, or what there is. */
static void
large_imports(struct test_ctx *t)
{
    vmem_t *source, *vm;
    uintptr_t a, b;

    (void)t;
    PORT(NULL);
    source = arena_new(BASE, 40 * Q, Q, 0);
    vm = child_new(source, 0, VM_LARGEIMPORT);
    CHECK_EQ(vmem_alloc(vm, 2 * Q, VM_NOSLEEP, &a), 0);
    CHECK_EQ(vmem_size(source, VMEM_ALLOC), 32 * Q);
    CHECK_EQ(vmem_alloc(vm, 31 * Q, VM_NOSLEEP, &b), KVA_ENOMEM);
    CHECK_EQ(vmem_alloc(vm, 30 * Q, VM_NOSLEEP, &b), 0);
    vmem_free(vm, a, 2 * Q);
    CHECK_EQ(vmem_alloc(vm, 8 * Q, VM_NOSLEEP, &a), 0);
    CHECK_EQ(vmem_size(source, VMEM_ALLOC), 40 * Q);
    vmem_free(vm, a, 8 * Q);
    vmem_free(vm, b, 30 * Q);
    CHECK_EQ(vmem_size(source, VMEM_ALLOC), 0);
    vmem_destroy(vm);
    vmem_destroy(source);
}

static unsigned given;

static int
import_double(vmem_t *source, vmem_size_t size, vmem_size_t *actual,
              vm_flag_t flags, vmem_addr_t *addr)
{
    (void)flags;
    CHECK_PTR(source, NULL);
    *actual = 2 * size;
    *addr = BASE + given * 64 * Q;
    given++;
    return 0;
}

/* An import function of one's own that says how much it took, and nobody to
 * release to: spans stay. */
static void
own_import_function(struct test_ctx *t)
{
    struct kva_vmem_stat st;
    uintptr_t a, b, c;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    given = 0;
    vm = vmem_xcreate("own", 0, 0, Q, import_double, NULL, NULL, 0, VM_NOSLEEP,
                      KVA_IPL_NONE);
    CHECK(vm != NULL);
    CHECK_EQ(vmem_alloc(vm, 3 * Q, VM_NOSLEEP, &a), 0);
    CHECK_EQ(vmem_alloc(vm, 3 * Q, VM_NOSLEEP, &b), 0);
    CHECK_EQ(given, 1);
    CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &c), 0);
    CHECK_EQ(given, 2);
    vmem_free(vm, a, 3 * Q);
    vmem_free(vm, b, 3 * Q);
    vmem_free(vm, c, Q);
    vmem_stat(vm, &st);
    CHECK_EQ(st.mem_total, 8 * Q);
    CHECK_EQ(st.mem_import, 0);
    vmem_destroy(vm);
}

/* A span that does not serve goes back; where it cannot, it stays. */
static void
imports_that_do_not_serve(struct test_ctx *t)
{
    struct kva_vmem_stat st;
    vmem_t *source, *vm;
    uintptr_t a = 0;

    (void)t;
    PORT(NULL);
    source = arena_new(BASE, 64 * Q, Q, 0);
    vm = child_new(source, 0, 0);
    CHECK_EQ(vmem_xalloc(vm, Q, 0, 0, 0, 0, BASE - 1, VM_NOSLEEP, &a),
             KVA_ENOMEM);
    CHECK_EQ(vmem_size(source, VMEM_ALLOC), 0);
    vmem_stat(vm, &st);
    CHECK_EQ(st.spans, 0);
    CHECK_EQ(st.fail, 1);
    vmem_destroy(vm);
    vmem_destroy(source);
    given = 0;
    vm = vmem_xcreate("own", 0, 0, Q, import_double, NULL, NULL, 0, VM_NOSLEEP,
                      KVA_IPL_NONE);
    CHECK(vm != NULL);
    CHECK_EQ(vmem_xalloc(vm, Q, 0, 0, 0, 0, BASE - 1, VM_NOSLEEP, &a),
             KVA_ENOMEM);
    CHECK_EQ(vmem_alloc(vm, 2 * Q, VM_NOSLEEP, &a), 0);
    CHECK_EQ(given, 1);
    vmem_free(vm, a, 2 * Q);
    vmem_destroy(vm);
}

/* An arena of bytes above one of pages. */
static void
quanta_may_differ(struct test_ctx *t)
{
    vmem_t *source, *vm;
    uintptr_t a, b;

    (void)t;
    PORT(NULL);
    source = arena_new(BASE, 64 * Q, Q, 0);
    vm = vmem_create("bytes", 0, 0, 1, vmem_alloc, vmem_free, source, 0,
                     VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(vm != NULL);
    CHECK_EQ(vmem_alloc(vm, 100, VM_NOSLEEP, &a), 0);
    CHECK_EQ(vmem_alloc(vm, 5000, VM_NOSLEEP, &b), 0);
    CHECK_EQ(vmem_size(source, VMEM_ALLOC), 3 * Q);
    vmem_free(vm, a, 100);
    vmem_free(vm, b, 5000);
    CHECK_EQ(vmem_size(source, VMEM_ALLOC), 0);
    vmem_destroy(vm);
    vmem_destroy(source);
}

/* Constraints that are finer than the source's quantum: what is imported holds
 * the place, in whole quanta of the source. */
static void
constraints_within_a_quantum(struct test_ctx *t)
{
    static const struct {
        size_t size, align, phase, nocross;
    } fine[] = {
        { 1, 2 * Q, 5, 0 },     { 100, 0, 0, 128 },  { Q, 2 * Q, Q + 8, 0 },
        { 16, 16, 0, 16 },      { 10, 4 * Q, 7, Q }, { Q, 64, 63, 0 },
        { 3 * Q, Q, 1, 8 * Q },
    };
    vmem_t *source, *vm;
    uintptr_t a;

    (void)t;
    PORT(NULL);
    source = arena_new(BASE, 64 * Q, Q, 0);
    vm = vmem_create("bytes", 0, 0, 1, vmem_alloc, vmem_free, source, 0,
                     VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(vm != NULL);
    for (unsigned i = 0; i < KVA_COUNT(fine); i++) {
        size_t align = fine[i].align == 0 ? 1 : fine[i].align;

        CHECK_EQ(vmem_xalloc(vm, fine[i].size, fine[i].align, fine[i].phase,
                             fine[i].nocross, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                             VM_NOSLEEP, &a),
                 0);
        CHECK_EQ(a % align, fine[i].phase);
        CHECK(fine[i].nocross == 0 ||
              a / fine[i].nocross == (a + fine[i].size - 1) / fine[i].nocross);
        CHECK_PTR(vmem_check(source), NULL);
        CHECK_PTR(vmem_check(vm), NULL);
        vmem_xfree(vm, a, fine[i].size);
        CHECK_EQ(vmem_size(source, VMEM_ALLOC), 0);
    }
    vmem_destroy(vm);
    vmem_destroy(source);
}

/* Spans far from each other, and below the first: those that the quantum caches
 * cannot track are served by tags. */
static void
spans_far_apart(struct test_ctx *t)
{
    static const uintptr_t at[] = { TOP / 2 + 1, 0x10000000, TOP - 0xffffff,
                                    TOP / 4 + 1 };
    uintptr_t a[200], b;
    unsigned n = 0;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_new(0, 0, Q, 8 * Q);
    for (unsigned i = 0; i < KVA_COUNT(at); i++) {
        CHECK_EQ(vmem_add(vm, at[i], 32 * Q, VM_NOSLEEP), 0);
    }
    while (vmem_alloc(vm, Q, VM_NOSLEEP, &b) == 0) {
        a[n++] = b;
        CHECK_PTR(vmem_check(vm), NULL);
    }
    CHECK_EQ(n, 4 * 32);
    while (n > 0) {
        vmem_free(vm, a[--n], Q);
        if (KVA_CONFIG_CHECKS) {
            CHECK_PANIC(vmem_free(vm, a[n], Q),
                        "vmem_free: arena test: 0x%lx: "
                        "expected a live range, found a free one",
                        (unsigned long)a[n]);
        }
    }
    vmem_destroy(vm);
}

/* ---- a caller's tags ---------------------------------------------------- */

/* As many tags as the macro says, and no metadata at all, serve so many ranges
 * at a time, wherever they lie. */
static void
private_tags_suffice(struct test_ctx *t)
{
    enum {
        SPANS = 3,
        RANGES = 300
    };
    static struct kva_vmem_btag bts[KVA_VMEM_EST_BTCOUNT(SPANS, RANGES)];
    static struct kva_vmem store;
    static uintptr_t a[RANGES];
    vmem_t *vm;

    PORT(NULL);
    kva_posix_fault_arm(KVA_POSIX_META_GET, 1, true);
    vm = vmem_init(&store, "private", 0, 0, Q, NULL, NULL, NULL, 0,
                   VM_NOSLEEP | VM_PRIVTAGS, KVA_IPL_NONE);
    CHECK_PTR(vm, &store);
    CHECK_EQ(vmem_add(vm, 0, Q, VM_NOSLEEP), KVA_ENOMEM);
    CHECK_EQ(vmem_add_bts(vm, bts, KVA_COUNT(bts)), 0);
    for (unsigned i = 0; i < SPANS; i++) {
        CHECK_EQ(vmem_add(vm, BASE + i * 4096 * Q, 1024 * Q, VM_NOSLEEP), 0);
    }
    for (unsigned i = 0; i < RANGES; i++) { /* each with holes around it */
        CHECK_EQ(vmem_xalloc_addr(vm,
                                  BASE + (i % SPANS) * 4096 * Q +
                                      (i / SPANS * 4 + 1) * Q,
                                  Q, VM_NOSLEEP),
                 0);
        a[i] = BASE + (i % SPANS) * 4096 * Q + (i / SPANS * 4 + 1) * Q;
    }
    CHECK_PTR(vmem_check(vm), NULL);
    for (unsigned i = 0; i < 3000; i++) {
        unsigned k = (unsigned)test_rand_below(t, RANGES);

        vmem_xfree(vm, a[k], Q);
        CHECK_EQ(vmem_xalloc(vm, Q, 2 * Q, Q, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                             VM_NOSLEEP, &a[k]),
                 0);
    }
    CHECK_EQ(kva__meta_bytes(KVA_META_KINDS), 0);
    vmem_xfreeall(vm);
    CHECK_EQ(vmem_size(vm, VMEM_ALLOC), 0);
    vmem_destroy(vm);
    CHECK_EQ(kva__meta_bytes(KVA_META_KINDS), 0);
}

/* An arena with tags of its own may also take some of a caller's. */
static void
tags_of_both_kinds(struct test_ctx *t)
{
    static struct kva_vmem_btag bts[300];
    uintptr_t a[500];
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    for (unsigned round = 0; round < 3; round++) {
        vm = arena_new(BASE, 4096 * Q, Q, 0);
        for (unsigned i = 0; i < 500; i++) {
            if (i == 100) {
                CHECK_EQ(vmem_add_bts(vm, bts, KVA_COUNT(bts)), 0);
            }
            CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a[i]), 0);
        }
        for (unsigned i = 0; i < 500; i++) {
            vmem_free(vm, a[i * 7 % 500], Q);
        }
        CHECK_PTR(vmem_check(vm), NULL);
        vmem_destroy(vm);
        memset(bts, 0xa5, sizeof(bts)); /* they are the caller's again */
    }
}

/* ---- looking ------------------------------------------------------------ */

struct line {
    char text[512];
};

static void
walk_line(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    struct line *line = arg;
    size_t len = strlen(line->text);

    (void)snprintf(line->text + len, sizeof(line->text) - len, "%u:%zu+%zu ",
                   type, (size_t)(addr - BASE) / Q, size / Q);
}

static void
walks_and_sizes(struct test_ctx *t)
{
    struct line line = { "" };
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_new(BASE + 64 * Q, 16 * Q, Q, 0);
    CHECK_EQ(vmem_add(vm, BASE, 8 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xalloc_addr(vm, BASE + 2 * Q, 3 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xalloc_addr(vm, BASE + 64 * Q, Q, VM_NOSLEEP), 0);
    vmem_walk(vm, VMEM_ALLOC | VMEM_FREE | VMEM_SPAN, walk_line, &line);
    CHECK_STR(line.text, "4:64+16 1:64+1 2:65+15 4:0+8 2:0+2 1:2+3 2:5+3 ");
    line.text[0] = '\0';
    vmem_walk(vm, VMEM_ALLOC, walk_line, &line);
    CHECK_STR(line.text, "1:64+1 1:2+3 ");
    CHECK_EQ(vmem_size(vm, VMEM_ALLOC), 4 * Q);
    CHECK_EQ(vmem_size(vm, VMEM_FREE), 20 * Q);
    CHECK_EQ(vmem_size(vm, VMEM_ALLOC | VMEM_FREE), 24 * Q);
    CHECK_EQ(vmem_size(vm, VMEM_MAXFREE), 15 * Q);
    CHECK_EQ(vmem_size(vm, VMEM_CACHED), 0);
    CHECK_EQ(vmem_roundup_size(vm, 1), Q);
    CHECK_EQ(vmem_roundup_size(vm, Q), Q);
    vmem_xfreeall(vm);
    CHECK_EQ(vmem_size(vm, VMEM_FREE), 24 * Q);
    vmem_destroy(vm);
}

/* All arenas are on one list. */
static void
arenas_are_listed(struct test_ctx *t)
{
    vmem_t *vm[3];

    (void)t;
    PORT(NULL);
    for (unsigned i = 0; i < 3; i++) {
        vm[i] = arena_new(BASE, Q, Q, 0);
        CHECK_PTR(kva_vmem_list, vm[i]);
    }
    vmem_destroy(vm[1]);
    CHECK_PTR(kva_vmem_list, vm[2]);
    CHECK_PTR(vm[2]->next, vm[0]);
    CHECK_PTR(vm[0]->prev, vm[2]);
    vmem_destroy(vm[2]);
    vmem_destroy(vm[0]);
    CHECK_PTR(kva_vmem_list, NULL);
}

/* ---- reclaim and waiting ------------------------------------------------ */

static struct {
    vmem_t *vm;
    uintptr_t addr;
    size_t size;
    unsigned calls;
    vm_flag_t flags;
} aside;

static void
give_back(vmem_t *vm, vm_flag_t flags)
{
    aside.calls++;
    aside.flags = flags;
    CHECK_PTR(vm, aside.vm);
    CHECK_EQ(kva_posix_locks_held(), 0);
    if (aside.size != 0) {
        vmem_free(vm, aside.addr, aside.size);
        aside.size = 0;
    }
}

static void
reclaim_is_asked_first(struct test_ctx *t)
{
    uintptr_t a = 0;

    (void)t;
    PORT(NULL);
    aside.vm = arena_new(BASE, 16 * Q, Q, 0);
    aside.size = 16 * Q;
    aside.calls = 0;
    vmem_set_reclaim(aside.vm, give_back);
    CHECK_EQ(vmem_alloc(aside.vm, 16 * Q, VM_NOSLEEP, &aside.addr), 0);
    CHECK_EQ(aside.calls, 0);
    CHECK_EQ(vmem_alloc(aside.vm, Q, VM_NOSLEEP, &a), 0);
    CHECK_EQ(aside.calls, 1);
    CHECK_EQ(aside.flags, VM_NOSLEEP);
    CHECK_EQ(vmem_alloc(aside.vm, 16 * Q, VM_NOSLEEP, &aside.addr), KVA_ENOMEM);
    CHECK_EQ(aside.calls, 2);
    vmem_free(aside.vm, a, Q);
    vmem_set_reclaim(aside.vm, NULL);
    vmem_destroy(aside.vm);
}

static void
free_while_waiting(void *arg, const void *channel)
{
    (void)arg;
    (void)channel;
    aside.calls++;
    if (aside.size != 0) {
        vmem_free(aside.vm, aside.addr, aside.size);
        aside.size = 0;
    } else {
        (void)kva_posix_cancel_waits();
    }
}

/* The request wants want quanta of vm; all that would do is have quanta that
 * are freed to aside.vm when it sleeps. */
static void
wait_for(vmem_t *vm, size_t want, size_t have, int expected)
{
    struct kva_vmem_stat before, after;
    uintptr_t a = 0;
    int err;

    vmem_stat(vm, &before);
    aside.size = have * Q;
    aside.calls = 0;
    CHECK(have == 0 ||
          vmem_alloc(aside.vm, aside.size, VM_NOSLEEP, &aside.addr) == 0);
    err = vmem_alloc(vm, want * Q, VM_SLEEP, &a);
    CHECK_EQ(err, expected);
    CHECK_GE(aside.calls, 1);
    vmem_stat(vm, &after);
    CHECK_EQ(after.wait, before.wait + 1);
    CHECK_EQ(after.fail, before.fail + (expected != 0));
    CHECK_EQ(kva_posix_waiters(), 0);
    if (err == 0) {
        vmem_free(vm, a, want * Q);
    }
    (void)vmem_drain(vm, SIZE_MAX, 0);
}

static void
frees_wake_who_waits(struct test_ctx *t)
{
    vmem_t *source, *plain, *cached;
    uintptr_t a = 0;

    (void)t;
    PORT(NULL);
    kva_posix_wait_hook(free_while_waiting, NULL);
    source = arena_new(BASE, 16 * Q, Q, 0);
    plain = child_new(source, 0, 0);
    cached = child_new(source, 8 * Q, 0);
    aside.vm = plain;
    wait_for(plain, 16, 16, 0);
    wait_for(plain, 1, 16, 0);
    wait_for(cached, 8, 16, 0); /* what one releases the other imports */
    wait_for(cached, 16, 16, 0);
    wait_for(cached, 1, 16, 0);
    aside.vm = source;
    wait_for(plain, 10, 16, 0);
    wait_for(cached, 3, 16, 0);
    CHECK_EQ(vmem_size(source, VMEM_ALLOC), 0);
    CHECK_EQ(vmem_alloc(source, 16 * Q, VM_NOSLEEP, &a), 0);
    wait_for(plain, 16, 0, KVA_EINTR); /* the wait is cancelled */
    vmem_free(source, a, 16 * Q);
    vmem_destroy(cached);
    vmem_destroy(plain);
    vmem_destroy(source);
}

/* A small free would stay in a magazine: not when somebody waits. */
static void
frees_to_magazines_wake_too(struct test_ctx *t)
{
    uintptr_t a[16];
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    kva_posix_wait_hook(free_while_waiting, NULL);
    for (size_t size = 1; size <= 4; size++) {
        for (size_t want = 1; want <= 4; want++) {
            unsigned n = 0;

            vm = arena_new(BASE, 4 * Q, Q, 4 * Q);
            while (vmem_alloc(vm, size * Q, VM_NOSLEEP, &a[n]) == 0) {
                n++;
            }
            for (; want > size && n > 1; n--) { /* one is not enough */
                vmem_free(vm, a[n - 1], size * Q);
            }
            aside.vm = vm;
            aside.addr = a[n - 1];
            aside.size = size * Q;
            aside.calls = 0;
            n--;
            CHECK_EQ(vmem_alloc(vm, want * Q, VM_SLEEP, &a[n]), 0);
            CHECK_EQ(aside.calls <= 1, true);
            vmem_free(vm, a[n], want * Q);
            if (aside.size != 0) {
                vmem_free(vm, aside.addr, aside.size);
            }
            while (n > 0) {
                vmem_free(vm, a[--n], size * Q);
            }
            vmem_destroy(vm);
        }
    }
}

/* Who may not sleep gets an error. */
static void
sleep_where_one_may_not(struct test_ctx *t)
{
    uintptr_t a = 0, b = 0;
    kva_lock_t lock;
    kva_irq_t irq;
    vmem_t *vm;
    int err;

    (void)t;
    PORT(NULL);
    vm = arena_new(BASE, Q, Q, 0);
    CHECK_EQ(vmem_alloc(vm, Q, VM_SLEEP, &a), 0);
    kva_port_lock_init(&lock, "mine", KVA_IPL_NONE, 1);
    irq = kva_port_lock(&lock);
    err = vmem_alloc(vm, Q, VM_SLEEP, &b);
    kva_port_unlock(&lock, irq);
    CHECK_EQ(err, KVA_ENOMEM);
    vmem_free(vm, a, Q);
    vmem_destroy(vm);
}

const struct test vmem_tests[] = { TEST("vmem", whole_address_space),
                                   TEST("vmem", last_byte_of_all),
                                   TEST("vmem", own_class_is_searched),
                                   TEST("vmem", spans_come_and_go),
                                   TEST("vmem", large_imports),
                                   TEST("vmem", own_import_function),
                                   TEST("vmem", imports_that_do_not_serve),
                                   TEST("vmem", quanta_may_differ),
                                   TEST("vmem", constraints_within_a_quantum),
                                   TEST("vmem", spans_far_apart),
                                   TEST("vmem", private_tags_suffice),
                                   TEST("vmem", tags_of_both_kinds),
                                   TEST("vmem", walks_and_sizes),
                                   TEST("vmem", arenas_are_listed),
                                   TEST("vmem", reclaim_is_asked_first),
                                   TEST("vmem", frees_wake_who_waits),
                                   TEST("vmem", frees_to_magazines_wake_too),
                                   TEST("vmem", sleep_where_one_may_not),
                                   TEST_END };
