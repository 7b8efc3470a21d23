/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a caller of kmem may do wrong, and what he is told; see misuse_pool.c.
 */
#include <stdio.h>

#include "tests/unit/tower.h"

#define UL(p) ((unsigned long)(uintptr_t)(p))

/* The smallest size of the class of 256 bytes: classes between a cache line and
 * a page are whole lines. */
#define LEAST (KVA_CACHE_LINE <= 64 ? 193u : 129u)

#if KVA_CONFIG_CHECKS
static void
wrong_size(struct test_ctx *t)
{
    char *p, *q, *r, *s;

    (void)t;
    tower_start(0);
    p = kva_kmem_alloc(200, KM_SLEEP);
    q = kva_kmem_alloc(5, KM_SLEEP);
    r = kva_kmem_alloc(2048, KM_SLEEP);
    s = kva_kmem_intr_alloc(200, KM_NOSLEEP);
    CHECK_PANIC(kva_kmem_free(p, 128),
                "kmem_free: cache kmem-256: 0x%lx: expected size %u to 256, "
                "found size 128",
                UL(p), LEAST);
    CHECK_PANIC(kva_kmem_free(p, 257),
                "kmem_free: cache kmem-256: 0x%lx: expected size %u to 256, "
                "found size 257",
                UL(p), LEAST);
    CHECK_PANIC(kva_kmem_free(p, 8192),
                "kmem_free: cache kmem-256: 0x%lx: expected size %u to 256, "
                "found size 8192",
                UL(p), LEAST);
    CHECK_PANIC(kva_kmem_free(q, 9),
                "kmem_free: cache kmem-8: 0x%lx: expected size 1 to 8, found "
                "size 9",
                UL(q));
    CHECK_PANIC(kva_kmem_free(r, 4096),
                "kmem_free: cache kmem-2048: 0x%lx: expected size 1921 to "
                "2048, found size 4096",
                UL(r));
    CHECK_PANIC(kva_kmem_free(s, 200),
                "kmem_free: cache kmem_intr-256: 0x%lx: expected an object of "
                "kmem_alloc, found one of kmem_intr_alloc",
                UL(s));
    CHECK_PANIC(kva_kmem_intr_free(p, 200),
                "kmem_intr_free: cache kmem-256: 0x%lx: expected an object of "
                "kmem_intr_alloc, found one of kmem_alloc",
                UL(p));
    if (KVA_CONFIG_DEBUG) {
        kva_kmem_free(p, 200);
        kva_kmem_free(q, 5);
        kva_kmem_free(r, 2048);
        kva_kmem_intr_free(s, 200);
    } else { /* any size of the class */
        kva_kmem_free(p, 256);
        kva_kmem_free(q, 1);
        kva_kmem_free(r, 2000);
        kva_kmem_intr_free(s, 250);
    }
    tower_end();
}

static void
double_free(struct test_ctx *t)
{
    char *p, *r, *i;

    (void)t;
    tower_start(0);
    p = kva_kmem_alloc(200, KM_SLEEP);
    r = kva_kmem_alloc(2048, KM_SLEEP);
    i = kva_kmem_intr_alloc(200, KM_NOSLEEP);
    kva_kmem_free(p, 200);
    kva_kmem_free(r, 2048);
    kva_kmem_intr_free(i, 200);
    CHECK_PANIC(kva_kmem_free(p, 200),
                "kmem_free: cache kmem-256: 0x%lx: expected a live object, "
                "found a free one (cached)",
                UL(p));
    CHECK_PANIC(kva_kmem_free(r, 2048),
                "kmem_free: cache kmem-2048: 0x%lx: expected a live object, "
                "found a free one (cached)",
                UL(r));
    CHECK_PANIC(kva_kmem_intr_free(i, 200),
                "kmem_intr_free: cache kmem_intr-256: 0x%lx: expected a live "
                "object, found a free one (cached)",
                UL(i));
    tower_end();
}

static void
not_the_start_of_an_object(struct test_ctx *t)
{
    char *p;

    (void)t;
    tower_start(0);
    p = kva_kmem_alloc(200, KM_SLEEP);
    CHECK_PANIC(kva_kmem_free(p + 8, 200),
                "kmem_free: cache kmem-256: 0x%lx: expected the start of an "
                "object, found byte 8 of the one at 0x%lx",
                UL(p + 8), UL(p));
    CHECK_PANIC(kva_kmem_free(p + 3, 200),
                "kmem_free: cache kmem-256: 0x%lx: expected the start of an "
                "object, found byte 3 of the one at 0x%lx",
                UL(p + 3), UL(p));
    kva_kmem_free(p, 200);
    tower_end();
}

static void
foreign_objects(struct test_ctx *t)
{
    static char outside[256];
    pool_cache_t pc;
    char *o, *range;

    (void)t;
    tower_start(0);
    pc = kva_pool_cache_init(256, 64, 0, 0, "mine", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    o = kva_pool_cache_get(pc, PR_NOWAIT);
    range = kva_kmem_alloc(8192, KM_SLEEP);
    CHECK_PANIC(kva_kmem_free(NULL, 200),
                "kmem_free: cache kmem-256: 0x0: expected an object, found no "
                "slab");
    CHECK_PANIC(kva_kmem_free(outside, 200),
                "kmem_free: cache kmem-256: 0x%lx: expected an object, found "
                "no slab",
                UL(outside));
    CHECK_PANIC(kva_kmem_free(o, 200),
                "kmem_free: cache mine: 0x%lx: expected memory of kmem, found "
                "an object of this cache",
                UL(o));
    CHECK_PANIC(kva_kmem_free(range, 200),
                "kmem_free: cache kmem-256: 0x%lx: expected an object, found "
                "a range of 8192 bytes",
                UL(range));
    kva_kmem_free(range, 8192);
    kva_pool_cache_put(pc, o);
    kva_pool_cache_destroy(pc);
    tower_end();
}
#endif

/* Whole pages, within the quantum caches and past them. */
static void
wrong_ranges(struct test_ctx *t)
{
    static char outside[8192];
    char *p, *q;

    (void)t;
    tower_start(0);
    p = kva_kmem_alloc(8192, KM_SLEEP);
    q = kva_kmem_alloc(400000, KM_SLEEP);
    CHECK_PANIC(kva_kmem_free(p, 4096),
                "kmem_free: arena kmem: 0x%lx: expected size 4097 to 8192, "
                "found size 4096",
                UL(p));
    CHECK_PANIC(kva_kmem_free(p, 8193),
                "kmem_free: arena kmem: 0x%lx: expected size 4097 to 8192, "
                "found size 8193",
                UL(p));
    CHECK_PANIC(kva_kmem_free(p + 4096, 4096),
                "kmem_free: arena kmem: 0x%lx: expected the start of a range, "
                "found an address inside the one at 0x%lx",
                UL(p + 4096), UL(p));
    CHECK_PANIC(kva_kmem_free(p + 1, 8192),
                "kmem_free: arena kmem: 0x%lx: expected the start of a range, "
                "found an address inside the one at 0x%lx",
                UL(p + 1), UL(p));
    CHECK_PANIC(kva_kmem_free(q, 300000),
                "kmem_free: arena kmem: 0x%lx: expected size 397313 to "
                "401408, found size 300000",
                UL(q));
    CHECK_PANIC(kva_kmem_free(q + 4096, 400000),
                "kmem_free: arena kmem: 0x%lx: expected memory of this arena, "
                "found none",
                UL(q + 4096));
    CHECK_PANIC(kva_kmem_free(outside, 8192),
                "kmem_free: arena kmem: 0x%lx: expected memory of this arena, "
                "found none",
                UL(outside));
    CHECK_PANIC(kva_kmem_free(NULL, 8192),
                "kmem_free: arena kmem: 0x0: expected memory of this arena, "
                "found none");
    kva_kmem_free(p, 8000);
    if (KVA_CONFIG_CHECKS) {
        CHECK_PANIC(kva_kmem_free(p, 8192),
                    "kmem_free: arena kmem: 0x%lx: expected live memory, "
                    "found free memory",
                    UL(p));
    }
    kva_kmem_free(q, 400000);
    CHECK_PANIC(kva_kmem_free(q, 400000),
                "kmem_free: arena kmem: 0x%lx: expected memory of this arena, "
                "found none",
                UL(q));
    tower_end();
}

static void
sizes_that_cannot_be(struct test_ctx *t)
{
    char *p;

    (void)t;
    tower_start(0);
    p = kva_kmem_alloc(200, KM_SLEEP);
    CHECK_PANIC((void)kva_kmem_alloc(0, KM_SLEEP),
                "kmem_alloc: arena kmem: 0x0: expected a size above 0, found "
                "size 0");
    CHECK_PANIC((void)kva_kmem_zalloc(0, KM_SLEEP),
                "kmem_zalloc: arena kmem: 0x0: expected a size above 0, found "
                "size 0");
    CHECK_PANIC((void)kva_kmem_intr_alloc(0, KM_NOSLEEP),
                "kmem_intr_alloc: arena kmem_intr: 0x0: expected a size above "
                "0, found size 0");
    CHECK_PANIC(kva_kmem_free(p, 0),
                "kmem_free: arena kmem: 0x%lx: expected a size above 0, found "
                "size 0",
                UL(p));
    CHECK_PANIC((void)kva_kmem_alloc(SIZE_MAX - 200, KM_NOSLEEP),
                "kmem_alloc: arena kmem: 0x0: expected a size that can be "
                "rounded up to pages, found size %zu",
                SIZE_MAX - 200);
    CHECK_PANIC(kva_kmem_free(p, SIZE_MAX - 200),
                "kmem_free: arena kmem: 0x%lx: expected a size that can be "
                "rounded up to pages, found size %zu",
                UL(p), SIZE_MAX - 200);
    CHECK_PANIC((void)kva_kmem_alloc(8192, 0),
                "kmem_alloc: arena kmem: 0x0: expected KM_SLEEP or "
                "KM_NOSLEEP, found flags 0x0");
    kva_kmem_free(p, 200);
    tower_end();
}

/* Neither flag, both, or others: whole pages and classes, hits too. */
static void
flags_that_cannot_be(struct test_ctx *t)
{
    static const unsigned row[] = { 0, KM_SLEEP | KM_NOSLEEP, 4, 0x100 };
    static const size_t size[] = { 100, 3000, 100000 };
    struct kva_posix_catch c;
    char found[32];

    (void)t;
    tower_start(0);
    kva_kmem_free(kva_kmem_alloc(100, KM_SLEEP), 100);
    for (unsigned i = 0; i < KVA_COUNT(row) * KVA_COUNT(size); i++) {
        unsigned flags = row[i % KVA_COUNT(row)];

        if (KVA_POSIX_TRY(&c)) {
            (void)kva_kmem_alloc(size[i / KVA_COUNT(row)], flags);
            kva_posix_catch_end(&c);
            FAIL("flags 0x%x are taken", flags);
        }
        (void)snprintf(found, sizeof(found), "found flags 0x%x", flags);
        CHECK_HAS(c.message, found);
        CHECK_HAS(c.message, "kmem_alloc: ");
        CHECK_EQ(c.locks, 0);
    }
    tower_end();
}

/* What is no hit takes a lock that does not mask interrupts, and the port sees
 * who does.  It is the port that stops, in the midst of something: nothing is
 * to be used after that. */
static void
alloc_in_interrupt(void *arg)
{
    (void)arg;
    (void)kva_kmem_alloc(100, KM_NOSLEEP);
}

static void
pages_in_interrupt(void *arg)
{
    (void)arg;
    (void)kva_kmem_alloc(100000, KM_NOSLEEP);
}

static void
interrupts_have_their_own(struct test_ctx *t)
{
    void (*const row[])(void *arg) = { alloc_in_interrupt, pages_in_interrupt };
    struct kva_posix_catch c;

    (void)t;
    tower_start(0);
    kva_posix_lock_check(true);
    for (unsigned i = 0; i < KVA_COUNT(row); i++) {
        kva_posix_interrupt_set(row[i], NULL);
        if (KVA_POSIX_TRY(&c)) {
            kva_posix_interrupt();
            kva_posix_catch_end(&c);
            FAIL("nobody noticed");
        }
        CHECK_HAS(c.message, "expected a thread (the lock has KVA_IPL_NONE), "
                             "found an interrupt");
    }
}

const struct test misuse_kmem_tests[] = {
#if KVA_CONFIG_CHECKS
    TEST("misuse_kmem", wrong_size),
    TEST("misuse_kmem", double_free),
    TEST("misuse_kmem", not_the_start_of_an_object),
    TEST("misuse_kmem", foreign_objects),
#endif
    TEST("misuse_kmem", wrong_ranges),
    TEST("misuse_kmem", sizes_that_cannot_be),
    TEST("misuse_kmem", flags_that_cannot_be),
    TEST("misuse_kmem", interrupts_have_their_own),
    TEST_END
};
