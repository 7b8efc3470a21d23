/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every misuse of an arena is reported in every build, by a message that names
 * the function, the arena, the address, what was expected and what was found;
 * the arena is as it was, and no lock is held.
 */
#include <stdio.h>
#include <string.h>

#include "tests/harness/test.h"
#include "tests/misuse/digest.h"
#include "vmem/vmem_store.h"

#define Q ((size_t)4096)
#define BASE ((uintptr_t)0x40000000)
#define NOSLEEP VM_NOSLEEP

/* A random number below n. */
static size_t
below(struct test_ctx *t, size_t n)
{
    return (size_t)test_rand_below(t, n);
}

static vmem_t *
plain_arena(void)
{
    vmem_t *vm = vmem_create("plain", BASE, 256 * Q, Q, NULL, NULL, NULL, 0,
                             NOSLEEP, KVA_IPL_NONE);

    CHECK(vm != NULL);
    return vm;
}

static vmem_t *
cached_arena(void)
{
    vmem_t *vm = vmem_create("cached", BASE, 256 * Q, Q, NULL, NULL, NULL,
                             8 * Q, NOSLEEP, KVA_IPL_NONE);

    CHECK(vm != NULL);
    return vm;
}

static uintptr_t
get(vmem_t *vm, size_t size)
{
    uintptr_t addr = 0;

    CHECK_EQ(vmem_alloc(vm, size, NOSLEEP, &addr), 0);
    return addr;
}

static uintptr_t
xget(vmem_t *vm, size_t size)
{
    uintptr_t addr = 0;

    CHECK_EQ(vmem_xalloc(vm, size, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                         NOSLEEP, &addr),
             0);
    return addr;
}

/* ---- frees --------------------------------------------------------------- */

static void
double_free(struct test_ctx *t)
{
    vmem_t *vm;
    uintptr_t a, b, c;

    (void)t;
    PORT(NULL);
    vm = plain_arena();
    a = get(vm, 3 * Q);
    b = get(vm, Q); /* a neighbour stays */
    c = xget(vm, 2 * Q);
    vmem_free(vm, a, 3 * Q);
    CHECK_MISUSE(vm, vmem_free(vm, a, 3 * Q),
                 "vmem_free: arena plain: 0x%lx: "
                 "expected a live range, found a free one",
                 (unsigned long)a);
    vmem_xfree(vm, c, 2 * Q);
    CHECK_MISUSE(vm, vmem_xfree(vm, c, 2 * Q),
                 "vmem_xfree: arena plain: "
                 "0x%lx: expected a live range, found a free one",
                 (unsigned long)c);
    vmem_free(vm, b, Q);
    vmem_destroy(vm);
    vm = cached_arena();
    a = get(vm, 3 * Q);
    vmem_free(vm, a, 3 * Q);
    CHECK_MISUSE(vm, vmem_free(vm, a, 3 * Q),
                 "vmem_free: arena cached: "
                 "0x%lx: expected a live range, found a free one",
                 (unsigned long)a);
    (void)vmem_drain(vm, SIZE_MAX, 0); /* not in a magazine any more */
    CHECK_MISUSE(vm, vmem_free(vm, a, 3 * Q),
                 "vmem_free: arena cached: "
                 "0x%lx: expected a live range, found a free one",
                 (unsigned long)a);
    vmem_destroy(vm);
}

static void
wrong_size(struct test_ctx *t)
{
    static const size_t sizes[] = { 2, 4, 8, 9, 100 };
    vmem_t *vm;
    uintptr_t a, x;

    (void)t;
    PORT(NULL);
    vm = plain_arena();
    a = get(vm, 3 * Q);
    x = xget(vm, 3 * Q);
    for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
        CHECK_MISUSE(vm, vmem_free(vm, a, sizes[i] * Q),
                     "vmem_free: arena plain: 0x%lx: expected size 12288, "
                     "found size %zu",
                     (unsigned long)a, sizes[i] * Q);
        CHECK_MISUSE(vm, vmem_xfree(vm, x, sizes[i] * Q),
                     "vmem_xfree: arena plain: 0x%lx: expected size 12288, "
                     "found size %zu",
                     (unsigned long)x, sizes[i] * Q);
    }
    vmem_free(vm, a, 3 * Q - 5); /* rounds to the same */
    vmem_xfree(vm, x, 3 * Q);
    vmem_destroy(vm);
    vm = cached_arena();
    a = get(vm, 3 * Q);
    x = get(vm, 20 * Q);
    for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
        CHECK_MISUSE(vm, vmem_free(vm, a, sizes[i] * Q),
                     "vmem_free: arena cached: 0x%lx: expected size 12288, "
                     "found size %zu",
                     (unsigned long)a, sizes[i] * Q);
        CHECK_MISUSE(vm, vmem_free(vm, x, sizes[i] * Q),
                     "vmem_free: arena cached: 0x%lx: expected size 81920, "
                     "found size %zu",
                     (unsigned long)x, sizes[i] * Q);
    }
    vmem_free(vm, a, 3 * Q);
    vmem_free(vm, x, 20 * Q);
    vmem_destroy(vm);
}

static void
foreign_address(struct test_ctx *t)
{
    static const uintptr_t outside[] = { 0, BASE - Q, BASE + 256 * Q,
                                         (uintptr_t)0 - Q };
    vmem_t *vm[2];
    uintptr_t a;

    (void)t;
    PORT(NULL);
    vm[0] = plain_arena();
    vm[1] = cached_arena();
    for (unsigned k = 0; k < 2; k++) {
        for (unsigned i = 0; i < KVA_COUNT(outside); i++) {
            for (size_t n = 1; n <= 9; n += 8) {
                CHECK_MISUSE(vm[k], vmem_free(vm[k], outside[i], n * Q),
                             "vmem_free: arena %s: 0x%lx: expected a live "
                             "range, found an address outside every span",
                             k == 0 ? "plain" : "cached",
                             (unsigned long)outside[i]);
            }
            CHECK_MISUSE(vm[k], vmem_xfree(vm[k], outside[i], Q),
                         "vmem_xfree: arena %s: 0x%lx: expected a live range, "
                         "found an address outside every span",
                         k == 0 ? "plain" : "cached",
                         (unsigned long)outside[i]);
        }
        CHECK_MISUSE(vm[k], vmem_free(vm[k], BASE + 77 * Q, Q),
                     "vmem_free: arena %s: 0x%lx: expected a live range, "
                     "found a free one",
                     k == 0 ? "plain" : "cached",
                     (unsigned long)(BASE + 77 * Q));
    }
    a = get(vm[0], Q);
    vmem_free(vm[0], a, Q);
    vmem_destroy(vm[0]);
    vmem_destroy(vm[1]);
}

/* A range of one arena is freed to another, one that lies elsewhere and one
 * that has imported the place. */
static void
wrong_arena(struct test_ctx *t)
{
    vmem_t *a, *b, *child;
    uintptr_t addr;

    (void)t;
    PORT(NULL);
    a = plain_arena();
    b = vmem_create("other", BASE + 512 * Q, 64 * Q, Q, NULL, NULL, NULL, 4 * Q,
                    NOSLEEP, KVA_IPL_NONE);
    child = vmem_create("child", 0, 0, Q, vmem_alloc, vmem_free, a, 0,
                        NOSLEEP | VM_LARGEIMPORT, KVA_IPL_NONE);
    CHECK(b != NULL && child != NULL);
    addr = get(a, 2 * Q);
    CHECK_MISUSE(b, vmem_free(b, addr, 2 * Q),
                 "vmem_free: arena other: "
                 "0x%lx: expected a live range, found an address outside "
                 "every span",
                 (unsigned long)addr);
    vmem_free(a, addr, 2 * Q);
    addr = get(child, 2 * Q);
    CHECK_MISUSE(a, vmem_free(a, addr, 2 * Q),
                 "vmem_free: arena plain: "
                 "0x%lx: expected size 131072, found size 8192",
                 (unsigned long)addr);
    vmem_free(child, addr, 2 * Q);
    vmem_destroy(child);
    vmem_destroy(b);
    vmem_destroy(a);
}

static void
interior_address(struct test_ctx *t)
{
    vmem_t *vm;
    uintptr_t a, x;

    (void)t;
    PORT(NULL);
    vm = plain_arena();
    a = get(vm, 10 * Q);
    for (size_t i = 1; i < 10; i++) {
        CHECK_MISUSE(vm, vmem_free(vm, a + i * Q, Q),
                     "vmem_free: arena "
                     "plain: 0x%lx: expected the start of a range, found an "
                     "address inside the one at 0x%lx",
                     (unsigned long)(a + i * Q), (unsigned long)a);
    }
    vmem_free(vm, a, 10 * Q);
    vmem_destroy(vm);
    vm = cached_arena();
    a = get(vm, 5 * Q);
    x = xget(vm, 4 * Q);
    for (size_t i = 1; i < 5; i++) {
        CHECK_MISUSE(vm, vmem_free(vm, a + i * Q, Q),
                     "vmem_free: arena "
                     "cached: 0x%lx: expected the start of a range, found an "
                     "address inside the one at 0x%lx",
                     (unsigned long)(a + i * Q), (unsigned long)a);
    }
    CHECK_MISUSE(vm, vmem_xfree(vm, x + Q, Q),
                 "vmem_xfree: arena cached: "
                 "0x%lx: expected the start of a range, found an address "
                 "inside the one at 0x%lx",
                 (unsigned long)(x + Q), (unsigned long)x);
    vmem_free(vm, a, 5 * Q);
    vmem_xfree(vm, x, 4 * Q);
    vmem_destroy(vm);
}

static void
misaligned_address(struct test_ctx *t)
{
    static const size_t off[] = { 1, 8, 4095, 2048 };
    vmem_t *vm;
    uintptr_t a, b;

    (void)t;
    PORT(NULL);
    vm = cached_arena();
    a = get(vm, Q);
    b = get(vm, 20 * Q);
    for (unsigned i = 0; i < KVA_COUNT(off); i++) {
        CHECK_MISUSE(vm, vmem_free(vm, a + off[i], Q),
                     "vmem_free: arena "
                     "cached: 0x%lx: expected a multiple of the quantum 4096, "
                     "found a misaligned address",
                     (unsigned long)(a + off[i]));
        CHECK_MISUSE(vm, vmem_free(vm, b + off[i], 20 * Q),
                     "vmem_free: "
                     "arena cached: 0x%lx: expected a multiple of the quantum "
                     "4096, found a misaligned address",
                     (unsigned long)(b + off[i]));
        CHECK_MISUSE(vm, (void)vmem_xalloc_addr(vm, BASE + off[i], Q, NOSLEEP),
                     "vmem_xalloc_addr: arena cached: 0x%lx: expected whole "
                     "quanta that do not wrap, found size 4096",
                     (unsigned long)(BASE + off[i]));
    }
    vmem_free(vm, a, Q);
    vmem_free(vm, b, 20 * Q);
    vmem_destroy(vm);
}

/* What vmem_alloc gave goes back by vmem_free, vmem_xalloc's by vmem_xfree,
 * at sizes below and above the quantum caches. */
static void
mixed_pair(struct test_ctx *t)
{
    static const size_t sizes[] = { 1, 4, 8, 9, 20 };

    (void)t;
    PORT(NULL);
    for (unsigned k = 0; k < 2; k++) {
        vmem_t *vm = k == 0 ? plain_arena() : cached_arena();

        for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
            size_t size = sizes[i] * Q;
            uintptr_t a = get(vm, size), x = xget(vm, size);

            CHECK_MISUSE(vm, vmem_xfree(vm, a, size),
                         "vmem_xfree: arena "
                         "%s: 0x%lx: expected a range of vmem_xalloc, found "
                         "one of vmem_alloc",
                         k == 0 ? "plain" : "cached", (unsigned long)a);
            CHECK_MISUSE(vm, vmem_free(vm, x, size),
                         "vmem_free: arena %s: "
                         "0x%lx: expected a range of vmem_alloc, found one of "
                         "vmem_xalloc",
                         k == 0 ? "plain" : "cached", (unsigned long)x);
            vmem_free(vm, a, size);
            vmem_xfree(vm, x, size);
        }
        vmem_destroy(vm);
    }
}

static void
free_of_a_span(struct test_ctx *t)
{
    vmem_t *vm, *child;
    uintptr_t a;

    (void)t;
    PORT(NULL);
    vm = plain_arena();
    CHECK_MISUSE(vm, vmem_free(vm, BASE, 256 * Q),
                 "vmem_free: arena plain: "
                 "0x%lx: expected a live range, found a free one",
                 (unsigned long)BASE);
    child = vmem_create("child", 0, 0, Q, vmem_alloc, vmem_free, vm, 0,
                        NOSLEEP | VM_LARGEIMPORT, KVA_IPL_NONE);
    CHECK(child != NULL);
    a = get(child, Q);
    CHECK_MISUSE(child, vmem_free(child, a, 16 * Q),
                 "vmem_free: arena child: "
                 "0x%lx: expected size 4096, found size 65536",
                 (unsigned long)a);
    vmem_free(child, a, Q);
    CHECK_MISUSE(child, vmem_free(child, a, 16 * Q),
                 "vmem_free: arena child: "
                 "0x%lx: expected a live range, found an address outside "
                 "every span",
                 (unsigned long)a);
    vmem_destroy(child);
    vmem_destroy(vm);
}

/* ---- arguments ----------------------------------------------------------- */

static void
bad_size(struct test_ctx *t)
{
    vmem_t *vm;
    uintptr_t addr = 0;

    (void)t;
    PORT(NULL);
    for (unsigned k = 0; k < 2; k++) {
        vm = k == 0 ? plain_arena() : cached_arena();
#define BAD(func, expr, at, size, what)                                        \
    CHECK_MISUSE(vm, expr,                                                     \
                 "%s: arena %s: 0x%lx: expected a size %s, found "             \
                 "size %zu",                                                   \
                 func, k == 0 ? "plain" : "cached", (unsigned long)(at), what, \
                 (size_t)(size))
#define EACH(size, what)                                                     \
    BAD("vmem_alloc", (void)vmem_alloc(vm, size, NOSLEEP, &addr), 0, size,   \
        what);                                                               \
    BAD("vmem_free", vmem_free(vm, BASE, size), BASE, size, what);           \
    BAD("vmem_xalloc",                                                       \
        (void)vmem_xalloc(vm, size, 0, 0, 0, 0, VMEM_ADDR_MAX, NOSLEEP,      \
                          &addr),                                            \
        0, size, what);                                                      \
    BAD("vmem_xalloc_addr", (void)vmem_xalloc_addr(vm, BASE, size, NOSLEEP), \
        BASE, size, what);                                                   \
    BAD("vmem_xfree", vmem_xfree(vm, BASE, size), BASE, size, what)
        EACH(0, "above 0");
        EACH(SIZE_MAX, "that can be rounded up to the quantum 4096");
        EACH(SIZE_MAX - Q + 2, "that can be rounded up to the quantum 4096");
        /* The largest that can be rounded is legal, and refused. */
        CHECK_EQ(vmem_alloc(vm, SIZE_MAX - Q + 1, NOSLEEP, &addr), KVA_ENOMEM);
        CHECK_MISUSE(
            vm, (void)vmem_xalloc_addr(vm, BASE, SIZE_MAX - Q + 1, NOSLEEP),
            "vmem_xalloc_addr: arena %s: 0x%lx: expected whole "
            "quanta that do not wrap, found size %zu",
            k == 0 ? "plain" : "cached", (unsigned long)BASE, SIZE_MAX - Q + 1);
        vmem_destroy(vm);
    }
}

static void
bad_constraints(struct test_ctx *t)
{
    vmem_t *vm;
    uintptr_t addr = 0;

    (void)t;
    PORT(NULL);
    vm = cached_arena();
#define XBAD(size, align, phase, nocross, min, max, ...)                      \
    CHECK_MISUSE(vm,                                                          \
                 (void)vmem_xalloc(vm, size, align, phase, nocross, min, max, \
                                   NOSLEEP, &addr),                           \
                 __VA_ARGS__)
#define HEAD "vmem_xalloc: arena cached: 0x0: expected "
    XBAD(Q, 3 * Q, 0, 0, 0, VMEM_ADDR_MAX,
         HEAD "align 0 or a power of two, found align 12288");
    XBAD(Q, Q + 1, 0, 0, 0, VMEM_ADDR_MAX,
         HEAD "align 0 or a power of two, found align 4097");
    XBAD(Q, SIZE_MAX, 0, 0, 0, VMEM_ADDR_MAX,
         HEAD "align 0 or a power of two, found align %zu", SIZE_MAX);
    XBAD(Q, 2 * Q, 2 * Q, 0, 0, VMEM_ADDR_MAX,
         HEAD "phase below align 8192, found phase 8192");
    XBAD(Q, 0, Q, 0, 0, VMEM_ADDR_MAX,
         HEAD "phase below align 4096, found phase 4096");
    XBAD(Q, 2 * Q, SIZE_MAX, 0, 0, VMEM_ADDR_MAX,
         HEAD "phase below align 8192, found phase %zu", SIZE_MAX);
    XBAD(Q, 2 * Q, 7, 0, 0, VMEM_ADDR_MAX,
         HEAD "phase a multiple of the quantum 4096, found phase 7");
    XBAD(Q, 0, 0, 3 * Q, 0, VMEM_ADDR_MAX,
         HEAD "nocross 0 or a power of two, found nocross 12288");
    XBAD(2 * Q, 0, 0, Q, 0, VMEM_ADDR_MAX,
         HEAD "nocross of at least size 8192, found nocross 4096");
    XBAD(Q + 1, 0, 0, Q, 0, VMEM_ADDR_MAX,
         HEAD "nocross of at least size 8192, found nocross 4096");
    XBAD(Q, 0, 0, 1, 0, VMEM_ADDR_MAX,
         HEAD "nocross of at least size 4096, found nocross 1");
    XBAD(Q, 0, 0, 0, BASE + 1, BASE,
         "vmem_xalloc: arena cached: 0x%lx: expected minaddr at most maxaddr "
         "0x%lx, found more",
         (unsigned long)(BASE + 1), (unsigned long)BASE);
    XBAD(Q, 0, 0, 0, VMEM_ADDR_MAX, 0,
         "vmem_xalloc: arena cached: 0x%lx: expected minaddr at most maxaddr "
         "0x0, found more",
         (unsigned long)VMEM_ADDR_MAX);
    /* At the edge and legal: refused for want of room, or granted. */
    CHECK_EQ(vmem_xalloc(vm, Q, 0, 0, 0, 7, 7, NOSLEEP, &addr), KVA_ENOMEM);
    CHECK_EQ(vmem_xalloc(vm, Q, 16, 0, Q, BASE, BASE + Q - 1, NOSLEEP, &addr),
             0);
    CHECK_EQ(addr, BASE);
    vmem_xfree(vm, addr, Q);
    vmem_destroy(vm);
}

static void
bad_flags(struct test_ctx *t)
{
    static const struct {
        vm_flag_t flags;
        const char *what;
    } bad[] = {
        { 0, "one of VM_SLEEP and VM_NOSLEEP" },
        { VM_SLEEP | VM_NOSLEEP, "one of VM_SLEEP and VM_NOSLEEP" },
        { VM_BESTFIT, "one of VM_SLEEP and VM_NOSLEEP" },
        { VM_NOSLEEP | VM_BESTFIT | VM_INSTANTFIT,
          "one of VM_INSTANTFIT and VM_BESTFIT" },
        { VM_NOSLEEP | VM_PRIVTAGS, "flags for a request" },
        { VM_NOSLEEP | 0x80000000u, "flags for a request" },
        { VM_NOSLEEP | 4, "flags for a request" },
    };
    uintptr_t addr = 0;

    (void)t;
    PORT(NULL);
    for (unsigned i = 0; i < KVA_COUNT(bad); i++) {
        vmem_t *vm = cached_arena();

        for (size_t n = 1; n <= 9; n += 4) { /* cached, and not */
            vmem_free(vm, get(vm, n * Q), n * Q);
            CHECK_MISUSE(vm, (void)vmem_alloc(vm, n * Q, bad[i].flags, &addr),
                         "vmem_alloc: arena cached: 0x0: expected %s, found "
                         "flags 0x%x",
                         bad[i].what, bad[i].flags);
        }
        CHECK_MISUSE(vm,
                     (void)vmem_xalloc(vm, Q, 0, 0, 0, 0, VMEM_ADDR_MAX,
                                       bad[i].flags, &addr),
                     "vmem_xalloc: arena cached: 0x0: expected %s, found "
                     "flags 0x%x",
                     bad[i].what, bad[i].flags);
        CHECK_MISUSE(vm, (void)vmem_xalloc_addr(vm, BASE, Q, bad[i].flags),
                     "vmem_xalloc_addr: arena cached: 0x0: expected %s, "
                     "found flags 0x%x",
                     bad[i].what, bad[i].flags);
        vmem_destroy(vm);
    }
}

/* ---- spans and arenas ---------------------------------------------------- */

static void
bad_span(struct test_ctx *t)
{
    static const struct {
        uintptr_t addr;
        size_t size;
    } overlap[] = {
        { BASE, 256 * Q },         { BASE + 255 * Q, Q }, { BASE - Q, 2 * Q },
        { BASE + 255 * Q, 2 * Q }, { BASE + 10 * Q, Q },  { BASE - Q, 300 * Q },
    };
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = plain_arena();
    for (unsigned i = 0; i < KVA_COUNT(overlap); i++) {
        CHECK_MISUSE(
            vm, (void)vmem_add(vm, overlap[i].addr, overlap[i].size, NOSLEEP),
            "vmem_add: arena plain: 0x%lx: expected a span apart "
            "from all others, found it overlaps 0x%lx of %zu bytes",
            (unsigned long)overlap[i].addr, (unsigned long)BASE, 256 * Q);
    }
    CHECK_MISUSE(vm, (void)vmem_add(vm, (uintptr_t)0 - Q, 2 * Q, NOSLEEP),
                 "vmem_add: arena plain: 0x%lx: expected a span that does not "
                 "wrap, found size 8192",
                 (unsigned long)((uintptr_t)0 - Q));
    CHECK_MISUSE(vm, (void)vmem_add(vm, 0, 0, NOSLEEP),
                 "vmem_add: arena "
                 "plain: 0x0: expected whole quanta of 4096 bytes, found size "
                 "0");
    CHECK_MISUSE(vm, (void)vmem_add(vm, 1, Q, NOSLEEP),
                 "vmem_add: arena "
                 "plain: 0x1: expected whole quanta of 4096 bytes, found size "
                 "4096");
    CHECK_MISUSE(vm, (void)vmem_add(vm, 0, Q + 1, NOSLEEP),
                 "vmem_add: arena "
                 "plain: 0x0: expected whole quanta of 4096 bytes, found size "
                 "4097");
    /* Next to each other, and at both ends of the address space, is legal. */
    CHECK_EQ(vmem_add(vm, BASE - Q, Q, NOSLEEP), 0);
    CHECK_EQ(vmem_add(vm, BASE + 256 * Q, Q, NOSLEEP), 0);
    CHECK_EQ(vmem_add(vm, 0, Q, NOSLEEP), 0);
    CHECK_EQ(vmem_add(vm, (uintptr_t)0 - Q, Q, NOSLEEP), 0);
    CHECK_MISUSE(vm, (void)vmem_add(vm, (uintptr_t)0 - 2 * Q, 2 * Q, NOSLEEP),
                 "vmem_add: arena plain: 0x%lx: expected a span apart from "
                 "all others, found it overlaps 0x%lx of 4096 bytes",
                 (unsigned long)((uintptr_t)0 - 2 * Q),
                 (unsigned long)((uintptr_t)0 - Q));
    vmem_destroy(vm);
}

static size_t
meta_pages(void)
{
    struct kva_posix_stats st;

    kva_posix_stats_get(&st);
    return st.meta_pages;
}

static void
bad_create(struct test_ctx *t)
{
    size_t before;

    (void)t;
    PORT(NULL);
    vmem_destroy(plain_arena());
    before = meta_pages();
#define CBAD(base, size, quantum, qmax, flags, ...)                       \
    CHECK_PANIC((void)vmem_create("new", base, size, quantum, NULL, NULL, \
                                  NULL, qmax, flags, KVA_IPL_NONE),       \
                "vmem_create: arena new: " __VA_ARGS__)
    CBAD(0, 0, 0, 0, NOSLEEP,
         "0x0: expected a quantum that is a power of two, found 0");
    CBAD(0, 0, 4097, 0, NOSLEEP,
         "0x0: expected a quantum that is a power of two, found 4097");
    CBAD(0, 0, Q, 33 * Q, NOSLEEP,
         "0x0: expected qcache_max of at most 32 quanta, found 135168");
    CBAD(0, 0, Q, Q + 1, NOSLEEP,
         "0x0: expected qcache_max of at most 32 quanta, found 4097");
    CBAD(0, Q, Q, 0, NOSLEEP | VM_PRIVTAGS,
         "0x0: expected no span and no quantum caches with VM_PRIVTAGS, "
         "found size 4096");
    CBAD(0, 0, Q, 0, NOSLEEP | 0x40000000u,
         "0x0: expected flags for an arena, found flags 0x40000002");
    CBAD(1, Q, Q, 0, NOSLEEP,
         "0x1: expected whole quanta of 4096 bytes, found size 4096");
    CBAD(0, Q / 2, Q, 4 * Q, NOSLEEP,
         "0x0: expected whole quanta of 4096 bytes, found size 2048");
    CBAD((uintptr_t)0 - Q, 2 * Q, Q, 4 * Q, NOSLEEP,
         "0x%lx: expected a span that does not wrap, found size 8192",
         (unsigned long)((uintptr_t)0 - Q));
    CHECK_EQ(meta_pages(), before);
    CHECK_PTR(kva_vmem_list, NULL);
}

static void
destroy_with_live_ranges(struct test_ctx *t)
{
    vmem_t *vm;
    uintptr_t a, x;

    (void)t;
    PORT(NULL);
    vm = plain_arena();
    a = get(vm, 3 * Q);
    x = xget(vm, Q);
    CHECK_MISUSE(vm, vmem_destroy(vm),
                 "vmem_destroy: arena plain: 0x%lx: "
                 "expected no live range, found 16384 bytes live, the first "
                 "12288 here",
                 (unsigned long)a);
    vmem_free(vm, a, 3 * Q);
    CHECK_MISUSE(vm, vmem_destroy(vm),
                 "vmem_destroy: arena plain: 0x%lx: "
                 "expected no live range, found 4096 bytes live, the first "
                 "4096 here",
                 (unsigned long)x);
    vmem_xfree(vm, x, Q);
    vmem_destroy(vm);
    vm = cached_arena();
    a = get(vm, 3 * Q);
    x = get(vm, 3 * Q);
    vmem_free(vm, x, 3 * Q); /* in a magazine */
    CHECK_MISUSE(vm, vmem_destroy(vm),
                 "vmem_destroy: arena cached: 0x%lx: "
                 "expected no live range, found 12288 bytes live in quantum "
                 "caches, the first here",
                 (unsigned long)a);
    vmem_free(vm, a, 3 * Q);
    vmem_destroy(vm);
    CHECK_PTR(kva_vmem_list, NULL);
}

static void
xfreeall_with_quantum_caches(struct test_ctx *t)
{
    vmem_t *vm;
    uintptr_t a;

    (void)t;
    PORT(NULL);
    vm = cached_arena();
    a = xget(vm, Q);
    CHECK_MISUSE(vm, vmem_xfreeall(vm),
                 "vmem_xfreeall: arena cached: 0x0: "
                 "expected an arena without quantum caches, found one with "
                 "them");
    vmem_xfree(vm, a, Q);
    vmem_destroy(vm);
}

static void
use_after_destroy(struct test_ctx *t)
{
    static struct kva_vmem store;
    struct kva_vmem_stat st;
    vmem_t *vm;
    uintptr_t addr = 0;

    (void)t;
    PORT(NULL);
    for (unsigned k = 0; k < 3; k++) { /* ended, never begun, none at all */
        memset(&store, k == 0 ? 0 : 0x5a, sizeof(store));
        store.qcache_max = 0;
        vm = k == 2 ? NULL : &store;
        if (k == 0) {
            CHECK_PTR(vmem_init(&store, "gone", BASE, 16 * Q, Q, NULL, NULL,
                                NULL, 4 * Q, NOSLEEP, KVA_IPL_NONE),
                      vm);
            vmem_free(vm, get(vm, Q), Q);
            vmem_destroy(vm);
        }
#define DEAD(func, expr)                                             \
    CHECK_PANIC(expr,                                                \
                func ": arena (unnamed): 0x%lx: expected an arena, " \
                     "found none, or one that was destroyed",        \
                (unsigned long)(uintptr_t)vm)
        DEAD("vmem_alloc", (void)vmem_alloc(vm, Q, NOSLEEP, &addr));
        DEAD("vmem_alloc", (void)vmem_alloc(vm, 9 * Q, NOSLEEP, &addr));
        DEAD("vmem_free", vmem_free(vm, BASE, Q));
        DEAD("vmem_xalloc", (void)vmem_xalloc(vm, Q, 0, 0, 0, 0, VMEM_ADDR_MAX,
                                              NOSLEEP, &addr));
        DEAD("vmem_xalloc_addr", (void)vmem_xalloc_addr(vm, BASE, Q, NOSLEEP));
        DEAD("vmem_xfree", vmem_xfree(vm, BASE, Q));
        DEAD("vmem_xfreeall", vmem_xfreeall(vm));
        DEAD("vmem_add", (void)vmem_add(vm, BASE, Q, NOSLEEP));
        DEAD("vmem_add_bts", (void)vmem_add_bts(vm, NULL, 0));
        DEAD("vmem_destroy", vmem_destroy(vm));
        DEAD("vmem_drain", (void)vmem_drain(vm, SIZE_MAX, 0));
        DEAD("vmem_size", (void)vmem_size(vm, VMEM_ALLOC));
        DEAD("vmem_stat", vmem_stat(vm, &st));
        DEAD("vmem_walk", vmem_walk(vm, VMEM_ALLOC, NULL, NULL));
        DEAD("vmem_check", (void)vmem_check(vm));
        DEAD("vmem_print", vmem_print(vm));
        DEAD("vmem_roundup_size", (void)vmem_roundup_size(vm, 1));
        DEAD("vmem_set_reclaim", vmem_set_reclaim(vm, NULL));
    }
}

static void
bad_tags(struct test_ctx *t)
{
    static struct kva_vmem_btag bts[8];
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = vmem_create("tags", 0, 0, Q, NULL, NULL, NULL, 0,
                     NOSLEEP | VM_PRIVTAGS, KVA_IPL_NONE);
    CHECK(vm != NULL);
    CHECK_MISUSE(
        vm,
        (void)vmem_add_bts(vm, (struct kva_vmem_btag *)((char *)bts + 4), 4),
        "vmem_add_bts: arena tags: 0x%lx: expected tags aligned to "
        "%u bytes, found 4 over",
        (unsigned long)(uintptr_t)((char *)bts + 4), (unsigned)KVA__BTAG_ALIGN);
    CHECK_EQ(vmem_add_bts(vm, bts, 1), KVA_ENOMEM); /* a header and no tag */
    CHECK_EQ(vmem_add(vm, 0, Q, NOSLEEP), KVA_ENOMEM);
    CHECK_EQ(vmem_add_bts(vm, bts, 8), 0);
    CHECK_EQ(vmem_add(vm, 0, Q, NOSLEEP), 0);
    vmem_destroy(vm);
}

static int
import_askew(vmem_t *source, vmem_size_t size, vm_flag_t flags,
             vmem_addr_t *addr)
{
    (void)source;
    (void)size;
    (void)flags;
    *addr = BASE + 1;
    return 0;
}

static int
import_little(vmem_t *source, vmem_size_t size, vmem_size_t *actual,
              vm_flag_t flags, vmem_addr_t *addr)
{
    (void)source;
    (void)flags;
    *actual = size - Q;
    *addr = BASE;
    return 0;
}

static void
bad_import(struct test_ctx *t)
{
    vmem_t *vm;
    uintptr_t addr = 0;

    (void)t;
    PORT(NULL);
    vm = vmem_create("askew", 0, 0, Q, import_askew, NULL, NULL, 0, NOSLEEP,
                     KVA_IPL_NONE);
    CHECK(vm != NULL);
    CHECK_MISUSE(vm, (void)vmem_alloc(vm, 2 * Q, NOSLEEP, &addr),
                 "importfn: arena askew: 0x%lx: expected whole quanta of at "
                 "least 8192 bytes, found 8192",
                 (unsigned long)(BASE + 1));
    vmem_destroy(vm);
    vm = vmem_xcreate("little", 0, 0, Q, import_little, NULL, NULL, 0, NOSLEEP,
                      KVA_IPL_NONE);
    CHECK(vm != NULL);
    CHECK_MISUSE(vm, (void)vmem_alloc(vm, 2 * Q, NOSLEEP, &addr),
                 "importfn: arena little: 0x%lx: expected whole quanta of at "
                 "least 8192 bytes, found 4096",
                 (unsigned long)BASE);
    vmem_destroy(vm);
}

/* ---- at random ----------------------------------------------------------- */

#define LIVE 24

struct held {
    uintptr_t addr;
    size_t size;
    bool x;
};

static void
fill(struct test_ctx *t, vmem_t *vm, struct held *held)
{
    for (unsigned i = 0; i < LIVE; i++) {
        held[i].x = below(t, 3) == 0;
        held[i].size = (1 + below(t, 12)) * Q;
        held[i].addr =
            held[i].x ? xget(vm, held[i].size) : get(vm, held[i].size);
    }
}

/* A free of some other kind than the one that is right: the message begins as
 * it must, the arena is as it was. */
static void
bad_free_one(struct test_ctx *t, vmem_t *vm, const struct held *h, bool freed)
{
    uintptr_t addr = h->addr;
    size_t size = h->size;
    bool x = h->x;
    struct kva_posix_catch c;
    uint64_t before = digest(vm);
    char head[64];

    switch (freed ? 4 : below(t, 4)) {
    case 0:
        size += Q * (1 + below(t, 20));
        break;
    case 1:
        addr += 1 + below(t, Q - 1);
        break;
    case 2:
        x = !x;
        break;
    case 3:
        if (h->size == Q) {
            return;
        }
        addr += Q * (1 + below(t, h->size / Q - 1));
        break;
    default: /* it was freed before */
        break;
    }
    (void)snprintf(head, sizeof(head), "%s: arena random: 0x%lx: expected ",
                   x ? "vmem_xfree" : "vmem_free", (unsigned long)addr);
    if (KVA_POSIX_TRY(&c)) {
        if (x) {
            vmem_xfree(vm, addr, size);
        } else {
            vmem_free(vm, addr, size);
        }
        kva_posix_catch_end(&c);
        FAIL("a bad free went through: 0x%lx of %zu", (unsigned long)addr,
             size);
    }
    CHECK_EQ(strncmp(c.message, head, strlen(head)), 0);
    CHECK_EQ(c.locks, 0);
    CHECK_EQ(digest(vm), before);
}

static void
bad_frees_at_random(struct test_ctx *t)
{
    struct held held[LIVE];
    vmem_t *vm;

    PORT(NULL);
    for (unsigned long n = 0; n < t->count; n += LIVE) {
        vm = vmem_create("random", BASE, 1024 * Q, Q, NULL, NULL, NULL,
                         below(t, 2) * 8 * Q, NOSLEEP, KVA_IPL_NONE);
        CHECK(vm != NULL);
        fill(t, vm, held);
        for (unsigned i = 0; i < LIVE; i++) {
            bad_free_one(t, vm, &held[i], false);
        }
        for (unsigned i = 0; i < LIVE; i++) {
            if (held[i].x) {
                vmem_xfree(vm, held[i].addr, held[i].size);
            } else {
                vmem_free(vm, held[i].addr, held[i].size);
            }
            bad_free_one(t, vm, &held[i], true);
        }
        vmem_destroy(vm);
    }
}

const struct test misuse_vmem_tests[] = {
    TEST("misuse", double_free),
    TEST("misuse", wrong_size),
    TEST("misuse", foreign_address),
    TEST("misuse", wrong_arena),
    TEST("misuse", interior_address),
    TEST("misuse", misaligned_address),
    TEST("misuse", mixed_pair),
    TEST("misuse", free_of_a_span),
    TEST("misuse", bad_size),
    TEST("misuse", bad_constraints),
    TEST("misuse", bad_flags),
    TEST("misuse", bad_span),
    TEST("misuse", bad_create),
    TEST("misuse", destroy_with_live_ranges),
    TEST("misuse", xfreeall_with_quantum_caches),
    TEST("misuse", use_after_destroy),
    TEST("misuse", bad_tags),
    TEST("misuse", bad_import),
    TEST_COUNT("misuse", bad_frees_at_random, 1000, 40000, 400000),
    TEST_END
};
