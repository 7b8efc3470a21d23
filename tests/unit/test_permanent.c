/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is never freed: its bytes are nobody else's, aligned and zero; it holds
 * nothing but itself, whatever came and went around it; and all of it goes back
 * in the end.
 */
#include <stdio.h>
#include <string.h>

#include "kmem/kmem.h"
#include "kva/kva.h"
#include "pool/pool_store.h"
#include "tests/harness/machine.h"
#include "tests/misuse/digest.h"

#define P KVA_PAGE_SIZE
#define MIB ((size_t)1 << 20)

static void
boot(size_t wired_limit)
{
    machine_boot((struct kva_boot){ .wired_limit = wired_limit });
}

/* ---- what is handed out --------------------------------------------------- */

#define OBJECTS 4000

struct object {
    unsigned char *p;
    size_t size;
    unsigned char byte;
};

static void
expect_byte(const struct object *o)
{
    for (size_t i = 0; i < o->size; i++) {
        if (o->p[i] != o->byte) {
            FAIL("%p: byte %zu of %zu is %u, not %u", (void *)o->p, i, o->size,
                 o->p[i], o->byte);
        }
    }
}

static size_t
random_size(struct test_ctx *t)
{
    switch (test_below(t, 20)) {
    case 0:
        return 1 + test_below(t, 6 * P);
    case 1:
        return P * (1 + test_below(t, 5));
    default:
        return 1 + test_below(t, 300);
    }
}

/* Objects at random: zero, aligned, and full of what was written until the end.
 * What all of it takes is little more than what was asked for. */
static void
bytes_are_nobody_elses(struct test_ctx *t)
{
    static struct object o[OBJECTS];
    size_t asked = 0, align, n = t->count < OBJECTS ? t->count : OBJECTS;

    PORT(NULL);
    boot(0);
    for (size_t i = 0; i < n; i++) {
        align = test_below(t, 3) == 0 ? (size_t)1 << test_below(t, 14) : 0;
        o[i].size = random_size(t);
        o[i].p = kva_permanent_alloc(o[i].size, align, VM_NOSLEEP);
        CHECK(o[i].p != NULL);
        CHECK_EQ((uintptr_t)o[i].p % (align < 16 ? 16 : align), 0);
        o[i].byte = 0;
        expect_byte(&o[i]);
        o[i].byte = (unsigned char)(i % 255 + 1);
        memset(o[i].p, o[i].byte, o[i].size);
        asked += o[i].size + (align < 16 ? 16 : align);
    }
    for (size_t i = 0; i < n; i++) {
        expect_byte(&o[i]);
    }
    CHECK_PTR(vmem_check(kmem_permanent_arena), NULL);
    CHECK_LE(vmem_size(kmem_permanent_arena, VMEM_ALLOC | VMEM_FREE),
             asked + asked / 8 + 64 * P);
    CHECK_EQ(vmem_size(kmem_permanent_arena, VMEM_ALLOC | VMEM_FREE),
             machine().attached_pages * P);
    kva_shutdown();
    CHECK_EQ(machine().frames, 0);
}

/* Small ones lie side by side, over the ends of pages and of what is taken from
 * the arena at a time: only where a span ends is there a gap. */
static void
small_ones_are_packed(struct test_ctx *t)
{
    struct kva_vmem_stat st;
    char *p, *last;
    size_t gaps = 0;

    (void)t;
    PORT(NULL);
    boot(0);
    p = kva_permanent_alloc(48, 0, VM_NOSLEEP);
    CHECK(p != NULL);
    for (size_t i = 1; i < 100 * P / 48; i++) {
        last = p;
        p = kva_permanent_alloc(48, 0, VM_NOSLEEP);
        CHECK(p != NULL);
        gaps += p != last + 48;
    }
    vmem_stat(kmem_permanent_arena, &st);
    CHECK_LE(gaps, st.spans);
    CHECK_LE(machine().attached_pages, 128);
    kva_shutdown();
}

/* Spans are few, and under large pages once those are an eighth of it all. */
static void
spans_grow(struct test_ctx *t)
{
    struct kva_vmem_stat st;
    size_t held = 40 * (size_t)KVA_LARGE_PAGE_SIZE;

    (void)t;
    if (KVA_LARGE_PAGE_SIZE > 2 * MIB) {
        held = 80 * MIB;
    }
    PORT(NULL);
    boot(0);
    for (size_t done = 0; done < held; done += P) {
        CHECK(kva_permanent_alloc(P, 0, VM_NOSLEEP) != NULL);
    }
    vmem_stat(kmem_permanent_arena, &st);
    CHECK_LE(st.spans, 140);
    CHECK_LE(st.mem_total, held + held / 8);
    if (KVA_LARGE_PAGE_SIZE <= 2 * MIB) {
        CHECK_GE(machine().large_pages * P, held / 2);
    }
    kva_shutdown();
    CHECK_EQ(machine().frames, 0);
    CHECK_EQ(machine().large_pages, 0);
}

/* ---- what it holds -------------------------------------------------------- */

#define LOAD 20000u

enum where {
    NOWHERE,
    AMONG_ALL,
    APART
};

struct left {
    size_t wired, spans, tags, va; /* when all else is freed and drained */
    size_t permanent;              /* bytes of it, as asked for */
};

/* The same load with the same permanent objects in different places: sizes up
 * to half a page and some of many pages; one in 200 stays. */
static struct left
load_and_free(struct test_ctx *t, enum where where)
{
    static void *p[LOAD];
    static size_t size[LOAD];
    struct test_random same = { 88172645463325252u };
    struct kva_vmem_stat st;
    struct kva_stat now;
    struct left left = { 0 };

    (void)t;
    boot(0);
    kva_kmem_init();
    for (unsigned i = 0; i < LOAD; i++) {
        size_t n = (size_t)16 << test_random_below(&same, 8);
        bool stays = test_random_one_in(&same, 200);

        n += (size_t)test_random_below(&same, n);
        n = !stays && test_random_one_in(&same, 40) ? n * 16 : n;
        size[i] = stays ? 0 : n;
        if (!stays || where == AMONG_ALL) {
            p[i] = kva_kmem_alloc(n, KM_NOSLEEP);
            CHECK(p[i] != NULL);
        } else if (where == APART) {
            CHECK(kva_permanent_alloc(n, 0, VM_NOSLEEP) != NULL);
        }
        left.permanent += stays ? n : 0;
    }
    for (unsigned i = 0; i < LOAD; i++) {
        if (size[i] != 0) {
            kva_kmem_free(p[i], size[i]);
        }
    }
    kva_pool_drain_all();
    (void)vmem_drain(heap_va_arena, SIZE_MAX, 0);
    vmem_stat(kmem_arena, &st);
    kva_stat(&now);
    left.spans = st.spans;
    left.wired = now.wired_bytes;
    left.tags = now.tags;
    left.va = vmem_size(heap_va_arena, VMEM_ALLOC);
    return left;
}

static void
say(const char *what, const struct left *l)
{
    printf("  %-28s wired %8zu, spans of kmem_arena %4zu, tags %5zu, heap "
           "addresses %8zu\n",
           what, l->wired, l->spans, l->tags, l->va);
}

/* With a place of its own it holds what it takes and nothing of the others';
 * without, hundreds of pages, each with a span and its tags. */
static void
nothing_else_is_held(struct test_ctx *t)
{
    struct left none, among, apart;

    PORT(NULL);
    none = load_and_free(t, NOWHERE);
    kva_kmem_fini();
    kva_shutdown();
    apart = load_and_free(t, APART);
    CHECK_EQ(apart.spans, none.spans);
    CHECK_EQ(apart.va, none.va);
    CHECK_EQ(apart.wired - none.wired,
             vmem_size(kmem_permanent_arena, VMEM_ALLOC | VMEM_FREE));
    CHECK_LE(apart.wired - none.wired,
             apart.permanent + apart.permanent / 4 + 8 * P);
    kva_kmem_fini();
    kva_shutdown();
    CHECK_EQ(machine().frames, 0);
    among = load_and_free(t, AMONG_ALL);
    printf("%zu bytes never freed, all else freed and drained:\n",
           among.permanent);
    say("none of them", &none);
    say("in a place of their own", &apart);
    say("from kmem, among all", &among);
    CHECK_GT(among.spans, none.spans + 20);
    CHECK_GT(among.wired - none.wired, 2 * (apart.wired - none.wired));
    CHECK_GT(among.tags, apart.tags);
}

/* ---- limits and failures --------------------------------------------------- */

/* The last page of the limit is to be had. */
static void
the_limit_holds(struct test_ctx *t)
{
    size_t n = 0;

    (void)t;
    PORT(NULL);
    boot(61 * P);
    while (kva_permanent_alloc(P, P, VM_NOSLEEP) != NULL) {
        n++;
        CHECK_LE(n, 61);
    }
    CHECK_EQ(n, 61);
    CHECK_PTR(kva_permanent_alloc(1, 0, VM_NOSLEEP), NULL);
    CHECK_EQ(machine().frames, 61);
    kva_shutdown();
    CHECK_EQ(machine().frames, 0);
}

/* Each hook fails at its nth chance: what was there is there, and with the next
 * try it works. */
static void
fails_at_each_site(struct test_ctx *t)
{
    unsigned long nth = 0, fired = 1;
    struct object kept[64];

    (void)t;
    PORT(NULL);
    while (fired > 0) {
        unsigned n = 0;

        boot(0);
        kva_posix_fault_reset();
        nth++;
        kva_posix_fault_arm(KVA_POSIX_ANY, nth, nth % 2 == 0);
        while (n < KVA_COUNT(kept)) {
            struct object *o = &kept[n];

            o->size = 700 * (n % 5 + 1);
            o->byte = (unsigned char)(n + 1);
            o->p = kva_permanent_alloc(o->size, 0, VM_NOSLEEP);
            if (o->p == NULL) {
                CHECK_GT(kva_posix_fault_fired(KVA_POSIX_ANY), 0);
                kva_posix_fault_disarm(KVA_POSIX_ANY);
                continue;
            }
            memset(o->p, o->byte, o->size);
            n++;
        }
        fired = kva_posix_fault_fired(KVA_POSIX_ANY);
        kva_posix_fault_disarm(KVA_POSIX_ANY);
        while (n > 0) {
            expect_byte(&kept[--n]);
        }
        CHECK_EQ(machine().frames * P,
                 vmem_size(kmem_permanent_arena, VMEM_ALLOC | VMEM_FREE));
        kva_shutdown();
        CHECK_EQ(machine().frames, 0);
    }
    CHECK_GT(nth, 8);
}

static void
misuse_is_told(struct test_ctx *t)
{
    (void)t;
    PORT(NULL);
    CHECK_PANIC((void)kva_permanent_alloc(8, 0, VM_NOSLEEP),
                "kva_permanent_alloc: arena kmem_permanent: 0x0: expected a "
                "tower that was booted, found none");
    boot(0);
    CHECK_PANIC((void)kva_permanent_alloc(0, 0, VM_NOSLEEP),
                "kva_permanent_alloc: arena kmem_permanent: 0x0: expected a "
                "size of 1 to %zu, found size 0",
                SIZE_MAX / 2);
    CHECK_PANIC((void)kva_permanent_alloc(8, 24, VM_NOSLEEP),
                "kva_permanent_alloc: arena kmem_permanent: 0x0: expected "
                "align 0 or a power of two, found align 24");
    kva_shutdown();
}

/* Pools may have their slabs there, and take and give as ever; what they give
 * back serves the next and is wired all the same. */
static void
pools_may_have_slabs_there(struct test_ctx *t)
{
    static struct kva_pool_allocator supply;
    static struct kva_pool pool;
    size_t wired;
    void *p[64];

    (void)t;
    PORT(NULL);
    boot(0);
    kva_kmem_init();
    supply.arena = &kva_kmem_permanent_arena;
    supply.pa_pagesz = P;
    kva_pool_init(&pool, 512, 0, 0, 0, "permanent", &supply, KVA_IPL_NONE);
    for (unsigned i = 0; i < KVA_COUNT(p); i++) {
        p[i] = kva_pool_get(&pool, KVA_PR_NOWAIT);
        CHECK(p[i] != NULL);
        CHECK(vmem_contains(kmem_permanent_arena, (uintptr_t)p[i], 512));
    }
    for (unsigned i = 0; i < KVA_COUNT(p); i++) {
        kva_pool_put(&pool, p[i]);
    }
    wired = vmem_size(kmem_permanent_arena, VMEM_ALLOC | VMEM_FREE);
    CHECK_GT(wired, 0);
    kva_pool_destroy(&pool);
    CHECK_EQ(vmem_size(kmem_permanent_arena, VMEM_FREE), wired);
    kva_kmem_fini();
    kva_shutdown();
    CHECK_EQ(machine().frames, 0);
}

const struct test permanent_tests[] = {
    TEST_COUNT("permanent", bytes_are_nobody_elses, 600, 4000, 4000),
    TEST("permanent", small_ones_are_packed),
    TEST("permanent", spans_grow),
    TEST("permanent", nothing_else_is_held),
    TEST("permanent", the_limit_holds),
    TEST("permanent", fails_at_each_site),
    TEST("permanent", misuse_is_told),
    TEST("permanent", pools_may_have_slabs_there),
    TEST_END
};
