/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workloads of objects whose pairs are counted.  Definitions:
 * docs/measuring.md.
 */
#include <stdlib.h>

#include "bench/bench.h"
#include "kmem/kmem.h"
#include "malloc_compat/kmalloc.h"
#include "pool/debug.h"
#include "posix.h"

static void
tower(void)
{
    struct kva_boot boot = {
        .va_base = kva_posix_va_base(),
        .va_bytes = kva_posix_va_bytes(),
    };
    const char *modes = getenv("KVA_BENCH_DEBUG");

    if (modes != NULL && kva_pool_debug_set(modes, NULL) != 0) {
        bench_fail("KVA_BENCH_DEBUG has unknown debug modes");
    }
    if (kva_boot(&boot) != 0 || kva_start() != 0) {
        bench_fail("the tower does not start");
    }
    kva_kmem_init();
}

static pool_cache_t
cache_64(void)
{
    return pool_cache_init(64, 0, 0, 0, "bench", NULL, KVA_IPL_NONE, NULL, NULL,
                           NULL);
}

/* 64-byte objects from a cache, last in, first out. */
static void
run_cache(size_t n, size_t pairs)
{
    pool_cache_t pc;

    (void)n;
    tower();
    pc = cache_64();
    for (size_t i = 0; i < pairs; i++) {
        uintptr_t *object = pool_cache_get(pc, PR_NOWAIT);

        *object = i;
        pool_cache_put(pc, object);
    }
}

/* The same over n live, replaced at random. */
static void
run_cache_random(size_t n, size_t pairs)
{
    uintptr_t **live = bench_table(n, sizeof(*live));
    pool_cache_t pc;

    tower();
    pc = cache_64();
    for (size_t i = 0; i < n; i++) {
        live[i] = pool_cache_get(pc, PR_NOWAIT);
    }
    for (size_t i = 0; i < pairs; i++) {
        uintptr_t **object = &live[bench_slot(bench_next(), n)];

        pool_cache_put(pc, *object);
        *object = pool_cache_get(pc, PR_NOWAIT);
        **object = i;
    }
    free(live);
}

static void
run_kmem(size_t n, size_t pairs)
{
    tower();
    for (size_t i = 0; i < pairs; i++) {
        uintptr_t *object = kmem_alloc(n, KM_NOSLEEP);

        *object = i;
        kmem_free(object, n);
    }
}

static void
run_kmalloc(size_t n, size_t pairs)
{
    tower();
    for (size_t i = 0; i < pairs; i++) {
        uintptr_t *object = kmalloc(n);

        *object = i;
        kfree(object);
    }
}

const struct workload bench_objects[] = {
    { "cache", run_cache, "pool_cache_get and put, 64 bytes" },
    { "cache-random", run_cache_random, "the same over N live" },
    { "kmem", run_kmem, "kmem_alloc and free of N bytes" },
    { "kmalloc", run_kmalloc, "kmalloc and kfree of N bytes" },
    { NULL, NULL, NULL },
};
