/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Marks on runs, and what they are for.
 *
 * Claims: what is marked is found from each address of the run and from none
 * beside it, whatever comes and goes around it; nothing but a live run takes a
 * mark; slabs of kmem's arenas with their headers in them are found by that and
 * are in no table, all others are in the table.
 */
#include <string.h>

#include "kmem/kmem.h"
#include "pool/pool_impl.h"
#include "tests/unit/tower.h"
#include "vmem/lookup.h"

#if KVA_RUN_MARKS

#define P KVA_PAGE_SIZE
#define RUNS 64u
#define ARENA_PAGES 2048u

struct run {
    vmem_addr_t addr;
    size_t bytes; /* 0: none */
    bool marked;
};

static void
look(kva_vmem_t *vm, struct test_ctx *t, const struct run *run)
{
    uintptr_t base = 0, addr = run->addr + test_rand_below(t, run->bytes);

    CHECK_EQ(kva__vmem_marked(vm, addr, &base), run->marked);
    if (run->marked) {
        CHECK_EQ(base, run->addr);
    }
}

static void
change(kva_vmem_t *vm, struct test_ctx *t, struct run *run)
{
    uintptr_t base;

    if (run->bytes == 0) {
        run->bytes = (1 + test_rand_below(t, 32)) * P;
        if (vmem_alloc(vm, run->bytes, VM_NOSLEEP, &run->addr) != 0) {
            run->bytes = 0;
        }
    } else if (test_rand_below(t, 2) == 0) {
        run->marked = !run->marked;
        CHECK(kva__vmem_mark(vm, run->addr, run->marked));
        CHECK(run->bytes == P || !kva__vmem_mark(vm, run->addr + P, true));
    } else {
        if (run->marked) {
            CHECK(kva__vmem_mark(vm, run->addr, false));
        }
        vmem_free(vm, run->addr, run->bytes);
        CHECK(!kva__vmem_marked(vm, run->addr, &base));
        run->bytes = 0;
        run->marked = false;
    }
}

static void
runs_are_marked(struct test_ctx *t)
{
    struct run run[RUNS] = { { 0 } };
    kva_vmem_t *vm;
    uintptr_t base;

    PORT(NULL);
    vm = vmem_create("marks", 512 * P, ARENA_PAGES * P, P, NULL, NULL, NULL,
                     32 * P, VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(vm != NULL);
    CHECK(!kva__vmem_marked(vm, 0, &base));
    CHECK(!kva__vmem_marked(vm, 600 * P, &base));
    CHECK(!kva__vmem_mark(vm, 600 * P, true));
    for (unsigned n = 0; n < t->count; n++) {
        change(vm, t, &run[test_rand_below(t, RUNS)]);
        for (unsigned i = 0; i < RUNS; i++) {
            if (run[i].bytes != 0) {
                look(vm, t, &run[i]);
            }
        }
        if (n % 64 == 0) {
            const char *bad = vmem_check(vm);

            CHECK(bad == NULL);
        }
    }
    for (unsigned i = 0; i < RUNS; i++) {
        while (run[i].bytes != 0) {
            change(vm, t, &run[i]);
        }
    }
    vmem_destroy(vm);
}

/* Is addr's slab found by its mark? */
static bool
by_mark(const void *p)
{
    uintptr_t addr = (uintptr_t)p, base;
    bool marked = kva__vmem_marked(kva_kmem_arena, addr, &base) ||
                  kva__vmem_marked(kva_kmem_intr_arena, addr, &base);
    const struct kva__slab *slab = kva__slab_of(addr);

    CHECK(slab != NULL);
    CHECK_PTR(kva__slabmap_find(addr), marked ? NULL : slab);
    CHECK(!marked || base == (uintptr_t)slab);
    return marked;
}

static void
slabs_are_marked(struct test_ctx *t)
{
    static const struct {
        size_t size;
        const char *what;
        bool marked;
    } cases[] = {
        { 8, "the smallest", true },
        { 100, "small", true },
        { KVA_PAGE_SIZE, "objects that may hold slabs", false },
    };
    static struct kva_pool_cache pc;
    void *p;

    (void)t;
    tower_start(0);
    for (size_t i = 0; i < KVA_COUNT(cases); i++) {
        CHECK_EQ(pool_cache_bootstrap(&pc, cases[i].size, 0, 0, 0,
                                      cases[i].what, NULL, KVA_IPL_VM, NULL,
                                      NULL, NULL),
                 0);
        p = pool_cache_get(&pc, PR_NOWAIT);
        CHECK(p != NULL);
        if (by_mark(p) != cases[i].marked) {
            FAIL("%s: expected %d", cases[i].what, cases[i].marked);
        }
        pool_cache_put(&pc, p);
        pool_cache_bootstrap_destroy(&pc);
    }
    p = kmem_alloc(200, KM_NOSLEEP);
    CHECK(by_mark(p));
    kmem_free(p, 200);
    p = kmem_intr_alloc(200, KM_NOSLEEP);
    CHECK(p == NULL || by_mark(p));
    if (p != NULL) {
        kmem_intr_free(p, 200);
    }
    tower_end();
}

#else

static void
runs_are_marked(struct test_ctx *t)
{
    (void)t;
    SKIP("slabs are not found by headers in this build");
}

static void
slabs_are_marked(struct test_ctx *t)
{
    runs_are_marked(t);
}

#endif

const struct test mark_tests[] = {
    TEST_COUNT("mark", runs_are_marked, 3000, 20000, 1000000),
    TEST("mark", slabs_are_marked),
    TEST_END,
};
