/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tower where there is no address space to manage: frames are used at
 * their own addresses, kmem_arena takes them from the port as it needs them.
 * The same where all of them are mapped, beside an address space.
 */
#include <string.h>

#include "kva/kva.h"
#include "kva/stack.h"
#include "tests/harness/test.h"
#include "vmem/vmem_store.h"

#if KVA_TIER >= 2 && !KVA_DIRECT_MAP
#error "build this test with KVA_TIER 0 or 1, or with a direct map"
#endif

#define P KVA_PAGE_SIZE
#define LIVE 100

/* Metadata comes from the same frames; what is wired is the arena's. */
static void
check_wired(void)
{
    struct kva_posix_stats machine;
    struct kva_stat st;

    kva_posix_stats_get(&machine);
    kva_stat(&st);
    CHECK_EQ(machine.frames * P, st.wired_bytes + st.meta_pages_bytes);
}

static void
boot(size_t wired_limit)
{
    struct kva_boot kb = { .wired_limit = wired_limit };

    PORT(NULL);
#if KVA_TIER >= 2 /* a direct map, beside an address space */
    kb.va_base = kva_posix_va_base();
    kb.va_bytes = kva_posix_va_bytes();
#endif
    CHECK_EQ(kva_boot(&kb), 0);
    CHECK_EQ(kva_start(), 0);
}

struct held {
    vmem_addr_t addr;
    size_t size;
    bool x;
};

static void
get(struct test_ctx *t, struct held *h)
{
    size_t align = P << test_rand_below(t, 4);

    h->size = (1 + (size_t)test_rand_below(t, 12)) * P;
    h->x = test_rand_below(t, 3) == 0;
    if (h->x) {
        CHECK_EQ(vmem_xalloc(kmem_arena, h->size, align, 0, 0, VMEM_ADDR_MIN,
                             VMEM_ADDR_MAX, VM_NOSLEEP, &h->addr),
                 0);
        CHECK_EQ(h->addr % align, 0);
    } else {
        CHECK_EQ(vmem_alloc(kmem_arena, h->size, VM_NOSLEEP, &h->addr), 0);
    }
    memset((void *)h->addr, (int)(h->addr >> 12), h->size);
}

static void
put(struct held *h)
{
    unsigned char tag = (unsigned char)(h->addr >> 12);

    CHECK_EQ(*(unsigned char *)h->addr, tag);
    CHECK_EQ(*(unsigned char *)(h->addr + h->size - 1), tag);
    if (h->x) {
        vmem_xfree(kmem_arena, h->addr, h->size);
    } else {
        vmem_free(kmem_arena, h->addr, h->size);
    }
    h->size = 0;
}

static void
frames_come_and_go(struct test_ctx *t)
{
    static struct held held[LIVE];
    struct kva_stat st;

    boot(0);
    memset(held, 0, sizeof(held));
    for (unsigned long i = 0; i < t->count; i++) {
        struct held *h = &held[test_rand_below(t, LIVE)];

        if (h->size != 0) {
            put(h);
        } else {
            get(t, h);
        }
        if (i % 64 == 0) {
            check_wired();
            CHECK_PTR(vmem_check(kmem_arena), NULL);
        }
    }
    for (unsigned i = 0; i < LIVE; i++) {
        if (held[i].size != 0) {
            put(&held[i]);
        }
    }
    (void)vmem_drain(kmem_arena, SIZE_MAX, 0);
    check_wired();
    kva_stat(&st);
    CHECK_EQ(st.wired_bytes, 0);
    CHECK_EQ(st.spans, KVA_TIER < 2 ? 0 : 1); /* of kernel_va_arena */
    kva_shutdown();
}

static void
limit_holds(struct test_ctx *t)
{
    vmem_addr_t a[65];
    unsigned n = 0;

    (void)t;
    boot(64 * P);
    while (n < 65 && vmem_alloc(kmem_arena, P, VM_NOSLEEP, &a[n]) == 0) {
        n++;
    }
    CHECK_EQ(n, 64);
    while (n > 0) {
        vmem_free(kmem_arena, a[--n], P);
    }
    kva_shutdown();
}

static void
simple_boot(struct test_ctx *t)
{
    static _Alignas(4096) char region[64 * KVA_PAGE_SIZE];
    struct kva_posix_stats machine;
    vmem_addr_t a[64];
    unsigned n = 0;

    (void)t;
    PORT(NULL);
    CHECK_EQ(kva_boot_simple(region, sizeof(region)), 0);
    while (n < 64 && vmem_alloc(kmem_arena, P, VM_NOSLEEP, &a[n]) == 0) {
        CHECK(a[n] - (uintptr_t)region < sizeof(region));
        n++;
    }
    CHECK_EQ(n, 64 - KVA_BOOT_SIMPLE_META / P);
    while (n > 0) {
        vmem_free(kmem_arena, a[--n], P);
    }
    kva_posix_stats_get(&machine);
    CHECK_EQ(machine.page_gets, 0);
    kva_shutdown();
}

/* Every page_get that may fail does. */
static void
faults_lose_nothing(struct test_ctx *t)
{
    struct kva_posix_stats before, after;
    struct held h;

    boot(0);
    get(t, &h);
    put(&h);
    (void)vmem_drain(kmem_arena, SIZE_MAX, 0);
    for (unsigned long i = 0; i < t->count; i++) {
        vmem_addr_t a = 0;

        kva_posix_stats_get(&before);
        kva_posix_fault_arm(KVA_POSIX_PAGE_GET,
                            1 + (unsigned long)test_rand_below(t, 6),
                            test_rand_below(t, 2) != 0);
        if (vmem_xalloc(kmem_arena, 5 * P, 8 * P, 0, 0, VMEM_ADDR_MIN,
                        VMEM_ADDR_MAX, VM_NOSLEEP, &a) == 0) {
            vmem_xfree(kmem_arena, a, 5 * P);
        }
        kva_posix_fault_disarm(KVA_POSIX_PAGE_GET);
        (void)kva_unmap_flush(); /* what is not in the direct map waits */
        kva_posix_stats_get(&after);
        CHECK_EQ(after.frames, before.frames);
        check_wired();
    }
    kva_shutdown();
}

#if KVA_TIER < 2
/* Nothing can be unmapped: stacks are kmem_arena's memory, without guards. */
static void
stacks_without_guards(struct test_ctx *t)
{
    static struct kva_stacks ks;
    uintptr_t base[8];

    (void)t;
    boot(0);
    CHECK_EQ(kva_stacks_init(&ks, "s", 3 * P, KVA_STACK_GUARDED), KVA_ENOTSUP);
    CHECK_EQ(kva_stacks_init(&ks, "s", 3 * P, KVA_STACK_BOTH), 0);
    for (unsigned i = 0; i < 8; i++) {
        CHECK_EQ(kva_stack_alloc(&ks, VM_NOSLEEP, &base[i]), 0);
        memset((void *)base[i], (int)i, 3 * P);
    }
    check_wired();
    for (unsigned i = 0; i < 8; i++) {
        CHECK_EQ(*(char *)base[i], i);
        CHECK_EQ(*(char *)(base[i] + 3 * P - 1), i);
        kva_stack_free(&ks, base[i]);
    }
    kva_stacks_fini(&ks);
    kva_shutdown();
}
#endif

/* What is never freed, in frames of its own, or in the region. */
static void
permanent_memory(struct test_ctx *t)
{
    static _Alignas(4096) char region[KVA_BOOT_SIMPLE_MIN + 64 * P];
    char *p, *last = NULL;

    (void)t;
    for (unsigned simple = 0; simple < 2; simple++) {
        if (simple == 0) {
            boot(40 * P);
        } else {
            CHECK_EQ(kva_boot_simple(region, sizeof(region)), 0);
        }
        while ((p = kva_permanent_alloc(200, 64, VM_NOSLEEP)) != NULL) {
            CHECK_EQ((uintptr_t)p % 64, 0);
            for (unsigned i = 0; i < 200; i++) {
                CHECK_EQ(p[i], 0);
            }
            memset(p, 0x5a, 200);
            last = p;
        }
        CHECK(last != NULL);
        CHECK_GE(vmem_size(kmem_permanent_arena, VMEM_ALLOC), 40 * P);
        CHECK_PTR(vmem_check(kmem_permanent_arena), NULL);
        CHECK_PTR(vmem_check(kmem_arena), NULL);
        kva_shutdown();
    }
}

const struct test kva_identity_tests[] = {
    TEST_COUNT("kva", frames_come_and_go, 2000, 50000, 1000000),
    TEST("kva", limit_holds),
    TEST("kva", simple_boot),
    TEST("kva", permanent_memory),
    TEST_COUNT("kva", faults_lose_nothing, 200, 5000, 100000),
#if KVA_TIER < 2
    TEST("kva", stacks_without_guards),
#endif
    TEST_END
};
