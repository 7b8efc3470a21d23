/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: an object that is given to another pool or cache than it came from is
 * reported with the names of both; and one that goes back by another interface
 * than it came by, with what it is.
 */
#include "tests/misuse/object_scene.h"

static bool
wrong_owner(struct test_ctx *t, struct stock *s, struct blame *b)
{
    const struct stock_live *l =
        object_pick(t, s, FROM(STOCK_POOL) | FROM(STOCK_CACHE));

    if (l == NULL) {
        return false;
    }
    object_any_way(t, s, b);
    b->addr = l->addr;
    return b->way <= BY_DESTRUCT && b->which != l->which;
}

static void
wrong_pool_or_cache(struct test_ctx *t)
{
    object_instances(t, wrong_owner, "expected an object of this ");
}

/* kmem's and malloc's are the same memory: what one gave the other may take,
 * if the size is right. */
static bool
mixed(struct test_ctx *t, struct stock *s, struct blame *b)
{
    const struct stock_live *l = object_pick(t, s, FROM_ANY);
    struct blame own;

    if (l == NULL) {
        return false;
    }
    object_own_way(t, l, &own);
    object_any_way(t, s, b);
    b->addr = l->addr;
    b->size = l->size;
    return b->way != own.way && (b->way > BY_DESTRUCT || own.way > BY_DESTRUCT);
}

static void
mixed_pair_of_objects(struct test_ctx *t)
{
    object_instances(t, mixed, NULL);
}

#if KVA_CONFIG_CHECKS
/* A slab is a range of its arena, and an object of whole pages one of vmem's:
 * vmem says what it finds, and takes it for no reason from whose it is. */
static void
whole_pages_by_vmem(struct test_ctx *t)
{
    char *p;

    (void)t;
    tower_start(0);
    p = kva_kmem_alloc(3 * KVA_PAGE_SIZE, KM_SLEEP);
    CHECK_PANIC(kva_vmem_xfree(kva_kmem_arena, (uintptr_t)p, 3 * KVA_PAGE_SIZE),
                "vmem_xfree: arena kmem: 0x%lx: expected a range of "
                "vmem_xalloc, found one of vmem_alloc",
                (unsigned long)(uintptr_t)p);
    CHECK_PANIC(kva_vmem_free(kva_kmem_arena, (uintptr_t)p, KVA_PAGE_SIZE),
                "vmem_free: arena kmem: 0x%lx: expected size 12288, found "
                "size 4096",
                (unsigned long)(uintptr_t)p);
    kva_kmem_free(p, 3 * KVA_PAGE_SIZE);
    tower_end();
}
#endif

#if KVA_CONFIG_DEBUG && KVA_CONFIG_CHECKS
/* In debug builds to the byte, whether the magazines had the object or not; but
 * whose it is comes before how long it is. */
static void
exact_sizes_of_others(struct test_ctx *t)
{
    static KVA_MALLOC_DEFINE(M_OTHER, "other", "a type");
    char *p, *q;

    (void)t;
    tower_start(0);
    for (unsigned i = 0; i < 3; i++) {
        p = kva_malloc(419 - i, M_OTHER, M_WAITOK);
        q = kva_kmem_alloc(419 - i, KM_SLEEP);
        CHECK_PANIC(kva_kmem_free(p, 420),
                    "kmem_free: cache kmem-%zu: 0x%lx: expected size %u, "
                    "found size 420",
                    kva_kmem_roundup_size(420), (unsigned long)(uintptr_t)p,
                    419 - i);
        CHECK_PANIC(kva_kmem_intr_free(q, 420),
                    "kmem_intr_free: cache kmem-%zu: 0x%lx: expected an object "
                    "of kmem_intr_alloc, found one of kmem_alloc",
                    kva_kmem_roundup_size(420), (unsigned long)(uintptr_t)q);
        kva_free(p, M_OTHER);
        kva_kmem_free(q, 419 - i);
    }
    tower_end();
}
#endif

const struct test object_wrong_owner_tests[] = {
#if KVA_CONFIG_DEBUG && KVA_CONFIG_CHECKS
    TEST("misuse_objects", exact_sizes_of_others),
#endif
#if KVA_CONFIG_CHECKS
    TEST("misuse_objects", whole_pages_by_vmem),
#endif
    TEST_COUNT("misuse_objects", wrong_pool_or_cache, 200, 2000, 10000),
    TEST_COUNT("misuse_objects", mixed_pair_of_objects, 200, 2000, 10000),
    TEST_END
};
