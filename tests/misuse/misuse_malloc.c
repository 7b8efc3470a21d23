/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a caller of malloc(9) may do wrong, and what he is told; see
 * misuse_pool.c.
 */
#include "tests/unit/tower.h"

#define UL(p) ((unsigned long)(uintptr_t)(p))

static KVA_MALLOC_DEFINE(M_ANY, "any", "a type");
static KVA_MALLOC_DEFINE_LIMIT(M_SCANT, "scant", "a type with a limit", 10000);

#if KVA_CONFIG_CHECKS
static void
double_free(struct test_ctx *t)
{
    char *p, *q;

    (void)t;
    tower_start(0);
    p = kva_malloc(200, M_ANY, M_WAITOK);
    q = kva_malloc(2048, M_ANY, M_WAITOK);
    kva_free(p, M_ANY);
    kva_free(q, M_ANY);
    CHECK_PANIC(kva_free(p, M_ANY),
                "free: cache kmem-256: 0x%lx: expected a live object, found a "
                "free one (cached)",
                UL(p));
    CHECK_PANIC(kva_free(q, M_ANY),
                "free: cache kmem-2048: 0x%lx: expected a live object, found "
                "a free one (cached)",
                UL(q));
    CHECK_PANIC((void)kva_realloc(p, 10, M_ANY, M_WAITOK),
                "realloc: cache kmem-256: 0x%lx: expected a live object, "
                "found a free one (cached)",
                UL(p));
    tower_end();
}

static void
interior(struct test_ctx *t)
{
    char *p;

    (void)t;
    tower_start(0);
    p = kva_malloc(200, M_ANY, M_WAITOK);
    CHECK_PANIC(kva_free(p + 16, M_ANY),
                "free: cache kmem-256: 0x%lx: expected the start of an "
                "object, found byte 16 of the one at 0x%lx",
                UL(p + 16), UL(p));
    CHECK_PANIC(kva_free(p + 1, M_ANY),
                "free: cache kmem-256: 0x%lx: expected the start of an "
                "object, found byte 1 of the one at 0x%lx",
                UL(p + 1), UL(p));
    kva_free(p, M_ANY);
    tower_end();
}
#endif

static void
foreign(struct test_ctx *t)
{
    static char outside[64];
    pool_cache_t pc;
    char *o, *range, *intr;

    (void)t;
    tower_start(0);
    pc = kva_pool_cache_init(1128, 0, 0, 0, "mine", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    o = kva_pool_cache_get(pc, PR_NOWAIT);
    range = kva_malloc(20000, M_ANY, M_WAITOK);
    intr = kva_kmem_intr_alloc(200, KM_NOSLEEP);
    CHECK_PANIC(kva_free(outside, M_ANY),
                "free: arena kmem: 0x%lx: expected memory of this arena, "
                "found none",
                UL(outside));
    CHECK_PANIC(kva_free(o, M_ANY),
                "free: cache mine: 0x%lx: expected memory of kmem, found an "
                "object of this cache",
                UL(o));
    CHECK_PANIC(kva_free(range + 64, M_ANY),
                "free: arena kmem: 0x%lx: expected the start of a range, "
                "found an address inside the one at 0x%lx",
                UL(range + 64), UL(range));
    CHECK_PANIC(kva_free(intr, M_ANY),
                "free: cache kmem_intr-256: 0x%lx: expected an object of "
                "kmem_alloc, found one of kmem_intr_alloc",
                UL(intr));
    kva_kmem_intr_free(intr, 200);
    kva_free(range, M_ANY);
    kva_pool_cache_put(pc, o);
    kva_pool_cache_destroy(pc);
    tower_end();
}

static void
promises_that_cannot_be_kept(struct test_ctx *t)
{
    void *p;

    (void)t;
    tower_start(0);
    CHECK_PANIC((void)kva_malloc(SIZE_MAX - 5, M_ANY, M_WAITOK),
                "malloc: type any: 0x0: expected a size that can be had or "
                "M_CANFAIL, found size %zu",
                SIZE_MAX - 5);
    CHECK_PANIC((void)kva_malloc((size_t)512 << 20, M_ANY, M_WAITOK),
                "malloc: type any: 0x0: expected a size that can be had or "
                "M_CANFAIL, found size 536870912");
    CHECK_PANIC((void)kva_malloc(12000, M_SCANT, M_WAITOK),
                "malloc: type scant: 0x0: expected a size that can be had or "
                "M_CANFAIL, found size 12000");
    p = kva_malloc(10, M_ANY, M_WAITOK);
    CHECK_PANIC(kva_malloc_type_detach(M_ANY),
                "malloc_type_detach: type any: 0x%lx: expected no live "
                "memory, found 1 allocations of 16 bytes",
                UL(M_ANY));
    kva_free(p, M_ANY);
    kva_malloc_type_detach(M_ANY);
    tower_end();
}

const struct test misuse_malloc_tests[] = {
#if KVA_CONFIG_CHECKS
    TEST("misuse_malloc", double_free), TEST("misuse_malloc", interior),
#endif
    TEST("misuse_malloc", foreign),
    TEST("misuse_malloc", promises_that_cannot_be_kept), TEST_END
};
