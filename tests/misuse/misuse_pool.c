/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a caller of pools and pool caches may do wrong: each is caught in every
 * build, with the message that is promised, with no lock held, and the pool is
 * afterwards as it was.
 */
#include "tests/unit/tower.h"

#define UL(p) ((unsigned long)(uintptr_t)(p))

/* Two pools and two caches, some of them with headers outside the slab. */
struct zoo {
    struct kva_pool pp, other;
    pool_cache_t pc, pages;
    char *object, *cached, *page;
};

static void
zoo_start(struct zoo *z)
{
    tower_start(0);
    kva_pool_init(&z->pp, 192, 0, 0, 0, "names", NULL, KVA_IPL_NONE);
    kva_pool_init(&z->other, 584, 0, 0, 0, "nodes", NULL, KVA_IPL_NONE);
    z->pc = kva_pool_cache_init(1128, 0, 0, 0, "inodes", NULL, KVA_IPL_NONE,
                                NULL, NULL, NULL);
    z->pages = kva_pool_cache_init(4096, 0, 0, 0, "pages", NULL, KVA_IPL_NONE,
                                   NULL, NULL, NULL);
    z->object = kva_pool_get(&z->pp, PR_NOWAIT);
    z->cached = kva_pool_cache_get(z->pc, PR_NOWAIT);
    z->page = kva_pool_cache_get(z->pages, PR_NOWAIT);
    CHECK(z->object != NULL && z->cached != NULL && z->page != NULL);
}

static void
zoo_end(struct zoo *z)
{
    tower_check();
    kva_pool_put(&z->pp, z->object);
    kva_pool_cache_put(z->pc, z->cached);
    kva_pool_cache_put(z->pages, z->page);
    kva_pool_destroy(&z->pp);
    kva_pool_destroy(&z->other);
    kva_pool_cache_destroy(z->pc);
    kva_pool_cache_destroy(z->pages);
    tower_end();
}

static void
double_put_to_a_pool(struct test_ctx *t)
{
    struct zoo z;
    char *p, *keep;

    (void)t;
    zoo_start(&z);
    p = kva_pool_get(&z.pp, PR_NOWAIT);
    kva_pool_put(&z.pp, p);
    CHECK_PANIC(kva_pool_put(&z.pp, p),
                "pool_put: pool names: 0x%lx: expected a live object, found "
                "a free one",
                UL(p));
    /* The slab has gone back: nothing there says what it was. */
    p = kva_pool_get(&z.other, PR_NOWAIT);
    keep = kva_kmem_alloc(16, KM_SLEEP);
    kva_pool_put(&z.other, p);
    if (KVA_CONFIG_CHECKS) { /* of the quantum caches, where it is now */
        CHECK_PANIC(kva_pool_put(&z.other, p),
                    "pool_put: pool nodes: 0x%lx: expected an object, found "
                    "free memory",
                    UL(p));
    }
    kva_kmem_free(keep, 16);
    zoo_end(&z);
}

#if KVA_CONFIG_CHECKS
static void
double_put_to_a_cache(struct test_ctx *t)
{
    struct zoo z;
    char *p;

    (void)t;
    zoo_start(&z);
    p = kva_pool_cache_get(z.pc, PR_NOWAIT);
    kva_pool_cache_put(z.pc, p);
    CHECK_PANIC(kva_pool_cache_put(z.pc, p),
                "pool_cache_put: cache inodes: 0x%lx: expected a live object, "
                "found a free one (cached)",
                UL(p));
    kva_pool_cache_invalidate(z.pc);
    CHECK_PANIC(kva_pool_cache_put(z.pc, p),
                "pool_cache_put: cache inodes: 0x%lx: expected a live object, "
                "found a free one",
                UL(p));
    CHECK_PANIC(kva_pool_cache_destruct_object(z.pc, p),
                "pool_cache_destruct_object: cache inodes: 0x%lx: expected a "
                "live object, found a free one",
                UL(p));
    p = kva_pool_cache_get(z.pages, PR_NOWAIT);
    kva_pool_cache_put(z.pages, p);
    CHECK_PANIC(kva_pool_cache_put(z.pages, p),
                "pool_cache_put: cache pages: 0x%lx: expected a live object, "
                "found a free one (cached)",
                UL(p));
    zoo_end(&z);
}
#else
/* Found when the object meets its slab for the second time. */
static void
double_put_to_a_cache(struct test_ctx *t)
{
    struct zoo z;
    char *p;

    (void)t;
    zoo_start(&z);
    p = kva_pool_cache_get(z.pc, PR_NOWAIT);
    kva_pool_cache_put(z.pc, p);
    kva_pool_cache_put(z.pc, p);
    CHECK_PANIC(kva_pool_cache_invalidate(z.pc),
                "pool_cache_put: cache inodes: 0x%lx: expected a live object, "
                "found a free one",
                UL(p));
}
#endif

/* What is wrong with an address, the same for pools, and for caches where each
 * put is checked. */
static void
wrong_pool(struct test_ctx *t)
{
    struct zoo z;

    (void)t;
    zoo_start(&z);
    CHECK_PANIC(kva_pool_put(&z.other, z.object),
                "pool_put: pool nodes: 0x%lx: expected an object of this pool, "
                "found one of pool names",
                UL(z.object));
    CHECK_PANIC(kva_pool_put(&z.pp, z.cached),
                "pool_put: pool names: 0x%lx: expected an object of this pool, "
                "found one of cache inodes",
                UL(z.cached));
    CHECK_PANIC(kva_pool_put(&z.pp, z.page),
                "pool_put: pool names: 0x%lx: expected an object of this pool, "
                "found one of cache pages",
                UL(z.page));
    if (KVA_CONFIG_CHECKS) {
        CHECK_PANIC(kva_pool_cache_put(z.pages, z.object),
                    "pool_cache_put: cache pages: 0x%lx: expected an object "
                    "of this cache, found one of pool names",
                    UL(z.object));
        CHECK_PANIC(kva_pool_cache_put(z.pc, z.page),
                    "pool_cache_put: cache inodes: 0x%lx: expected an object "
                    "of this cache, found one of cache pages",
                    UL(z.page));
    }
    zoo_end(&z);
}

static void
interior_and_misaligned(struct test_ctx *t)
{
    struct zoo z;
    char *base;

    (void)t;
    zoo_start(&z);
    base = (char *)((uintptr_t)z.object & ~(uintptr_t)4095);
    CHECK_PANIC(kva_pool_put(&z.pp, z.object + 64),
                "pool_put: pool names: 0x%lx: expected the start of an object, "
                "found byte 64 of the one at 0x%lx",
                UL(z.object + 64), UL(z.object));
    CHECK_PANIC(kva_pool_put(&z.pp, z.object + 191),
                "pool_put: pool names: 0x%lx: expected the start of an object, "
                "found byte 191 of the one at 0x%lx",
                UL(z.object + 191), UL(z.object));
    CHECK_PANIC(kva_pool_put(&z.pp, base),
                "pool_put: pool names: 0x%lx: expected an object, found the "
                "header of a slab",
                UL(base));
    CHECK_PANIC(kva_pool_put(&z.pp, z.object + 192),
                "pool_put: pool names: 0x%lx: expected a live object, found "
                "a free one",
                UL(z.object + 192));
    if (KVA_CONFIG_CHECKS) {
        CHECK_PANIC(kva_pool_cache_put(z.pc, z.cached + 1),
                    "pool_cache_put: cache inodes: 0x%lx: expected the start "
                    "of an object, found byte 1 of the one at 0x%lx",
                    UL(z.cached + 1), UL(z.cached));
        base = (char *)((uintptr_t)z.cached & ~(uintptr_t)8191);
        CHECK_PANIC(
            kva_pool_cache_put(z.pc, base + z.pc->slabs.first + 7 * 1128),
            "pool_cache_put: cache inodes: 0x%lx: expected an object, "
            "found the unused end of a slab",
            UL(base + z.pc->slabs.first + 7 * 1128));
        CHECK_PANIC(kva_pool_cache_put(z.pages, z.page + 8),
                    "pool_cache_put: cache pages: 0x%lx: expected the start "
                    "of an object, found byte 8 of the one at 0x%lx",
                    UL(z.page + 8), UL(z.page));
    }
    zoo_end(&z);
}

static void
foreign_addresses(struct test_ctx *t)
{
    static char outside[4096];
    struct zoo z;
    char *range, *hole;

    (void)t;
    zoo_start(&z);
    /* The far end of the address space, where nothing is mapped. */
    hole = (char *)kva_posix_va_base() + kva_posix_va_bytes() - 4096;
    range = kva_kmem_alloc(8192, KM_SLEEP);
    CHECK_PANIC(kva_pool_put(&z.pp, NULL),
                "pool_put: pool names: 0x0: expected an object, found no slab");
    CHECK_PANIC(kva_pool_put(&z.pp, outside),
                "pool_put: pool names: 0x%lx: expected an object, found no "
                "slab",
                UL(outside));
    CHECK_PANIC(kva_pool_put(&z.pp, hole),
                "pool_put: pool names: 0x%lx: expected an object, found no "
                "slab",
                UL(hole));
    CHECK_PANIC(kva_pool_put(&z.pp, range + 64),
                "pool_put: pool names: 0x%lx: expected an object, found a "
                "range of 8192 bytes",
                UL(range + 64));
    if (KVA_CONFIG_CHECKS) {
        CHECK_PANIC(kva_pool_cache_put(z.pc, NULL),
                    "pool_cache_put: cache inodes: 0x0: expected an object, "
                    "found no slab");
        CHECK_PANIC(kva_pool_cache_put(z.pc, hole),
                    "pool_cache_put: cache inodes: 0x%lx: expected an object, "
                    "found no slab",
                    UL(hole));
        CHECK_PANIC(kva_pool_cache_put(z.pages, outside),
                    "pool_cache_put: cache pages: 0x%lx: expected an object, "
                    "found no slab",
                    UL(outside));
    }
    kva_kmem_free(range, 8192);
    zoo_end(&z);
}

/* An object of a slab whose pages are not even mapped any more. */
static void
put_after_the_pages_went(struct test_ctx *t)
{
    struct zoo z;
    char *p;

    (void)t;
    zoo_start(&z);
    p = kva_pool_get(&z.other, PR_NOWAIT);
    kva_pool_put(&z.other, p);
    kva_pool_put(&z.pp, z.object);
    kva_pool_cache_put(z.pc, z.cached);
    kva_pool_cache_put(z.pages, z.page);
    (void)kva_pool_drain_all();
    CHECK_EQ(kva_vmem_size(kva_kmem_arena, VMEM_ALLOC | VMEM_FREE), 0);
    CHECK_PANIC(kva_pool_put(&z.other, p),
                "pool_put: pool nodes: 0x%lx: expected an object, found no "
                "slab",
                UL(p));
    if (KVA_CONFIG_CHECKS) {
        CHECK_PANIC(kva_pool_cache_put(z.pc, z.cached),
                    "pool_cache_put: cache inodes: 0x%lx: expected an object, "
                    "found no slab",
                    UL(z.cached));
    }
    z.object = kva_pool_get(&z.pp, PR_NOWAIT);
    z.cached = kva_pool_cache_get(z.pc, PR_NOWAIT);
    z.page = kva_pool_cache_get(z.pages, PR_NOWAIT);
    zoo_end(&z);
}

static void
destroy_with_live_objects(struct test_ctx *t)
{
    struct zoo z;

    (void)t;
    zoo_start(&z);
    CHECK_PANIC(kva_pool_destroy(&z.pp),
                "pool_destroy: pool names: 0x%lx: expected no live object, "
                "found 1",
                UL(z.object));
    if (KVA_CONFIG_CHECKS) {
        CHECK_PANIC(kva_pool_cache_destroy(z.pc),
                    "pool_cache_destroy: cache inodes: 0x%lx: expected no "
                    "live object, found 1",
                    UL(z.cached));
    }
    zoo_end(&z);
}

static void
bad_arguments(struct test_ctx *t)
{
    static struct kva_pool_allocator odd = { .arena = &kva_kmem_arena,
                                             .pa_pagesz = 12288 };
    struct kva_pool pp;
    struct zoo z;

    (void)t;
    zoo_start(&z);
    CHECK_PANIC(kva_pool_init(&pp, 0, 0, 0, 0, "none", NULL, KVA_IPL_NONE),
                "pool_init: pool none: 0x%lx: expected a size above 0, found "
                "size 0",
                UL(&pp));
    CHECK_PANIC(kva_pool_init(&pp, 64, 48, 0, 0, "none", NULL, KVA_IPL_NONE),
                "pool_init: pool none: 0x%lx: expected a power of two, found "
                "align 48",
                UL(&pp));
    CHECK_PANIC(kva_pool_init(&pp, 64, 0, 0, 0, "none", &odd, KVA_IPL_NONE),
                "pool_init: pool none: 0x%lx: expected a power of two of "
                "pages, found slab size 12288",
                UL(&pp));
    CHECK_PANIC(
        kva_pool_init(&pp, 64, 1 << 20, 0, 0, "none", NULL, KVA_IPL_NONE),
        "pool_init: pool none: 0x%lx: expected objects that fit in a "
        "slab, found size 1048576, align 1048576",
        UL(&pp));
    CHECK_PANIC((void)kva_pool_get(&z.pp, 0),
                "pool_get: pool names: 0x%lx: expected PR_WAITOK or PR_NOWAIT, "
                "found flags 0x0",
                UL(&z.pp));
    CHECK_PANIC((void)kva_pool_get(&z.pp, PR_WAITOK | PR_NOWAIT),
                "pool_get: pool names: 0x%lx: expected PR_WAITOK or PR_NOWAIT, "
                "found flags 0x3",
                UL(&z.pp));
    kva_pool_cache_invalidate(z.pc);
    CHECK_PANIC((void)kva_pool_cache_get(z.pc, 0),
                "pool_cache_get: cache inodes: 0x%lx: expected PR_WAITOK or "
                "PR_NOWAIT, found flags 0x0",
                UL(z.pc));
    zoo_end(&z);
}

const struct test misuse_pool_tests[] = {
    TEST("misuse_pool", double_put_to_a_pool),
    TEST("misuse_pool", double_put_to_a_cache),
    TEST("misuse_pool", wrong_pool),
    TEST("misuse_pool", interior_and_misaligned),
    TEST("misuse_pool", foreign_addresses),
    TEST("misuse_pool", put_after_the_pages_went),
    TEST("misuse_pool", destroy_with_live_objects),
    TEST("misuse_pool", bad_arguments),
    TEST_END
};
