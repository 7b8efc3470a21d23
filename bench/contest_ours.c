/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Our allocators as contestants.  The functions between are one instruction or
 * two and a jump.
 */
#include "bench/contest.h"
#include "kmem/kmem.h"
#include "malloc_compat/malloc_store.h"
#include "posix.h"

static size_t object_size;
static pool_cache_t cache;
static KVA_MALLOC_DEFINE(M_BENCH, "bench", "objects of the benchmark");

static void
tower(size_t size)
{
    struct kva_posix_config config = { .cpus = 2 };
    struct kva_boot boot = { 0 };

    object_size = size;
    if (kva_posix_init(&config) != 0) {
        bench_fail(kva_posix_last_error());
    }
    boot.va_base = kva_posix_va_base();
    boot.va_bytes = kva_posix_va_bytes();
    if (kva_boot(&boot) != 0 || kva_start() != 0) {
        bench_fail("the tower does not start");
    }
    kmem_init();
    kva_posix_cpu_release(); /* a slot for each of the threads to come */
}

static void
cache_start(size_t size)
{
    tower(size);
    cache = pool_cache_init(size, 0, 0, 0, "bench", NULL, KVA_IPL_NONE, NULL,
                            NULL, NULL);
    if (cache == NULL) {
        bench_fail("no cache");
    }
}

static void *
cache_get(size_t size)
{
    (void)size;
    return pool_cache_get(cache, PR_NOWAIT);
}

static void
cache_put(void *object)
{
    pool_cache_put(cache, object);
}

static void *
kmem_get(size_t size)
{
    return kmem_alloc(size, KM_NOSLEEP);
}

static void
kmem_put(void *object)
{
    kmem_free(object, object_size);
}

static void
malloc_start(size_t size)
{
    tower(size);
    kva_malloc_type_attach(M_BENCH);
}

static void *
malloc_get(size_t size)
{
    return kva_malloc(size, M_BENCH, M_NOWAIT);
}

static void
malloc_put(void *object)
{
    kva_free(object, M_BENCH);
}

/* Pages attached, and metadata. */
static size_t
wired(void)
{
    struct kva_stat st;

    kva_stat(&st);
    return st.wired_bytes + st.meta_pages_bytes;
}

const struct contestant contest_ours[] = {
    { "pool_cache", cache_get, cache_put, cache_start, wired,
      "pool_cache_get and put" },
    { "kmem", kmem_get, kmem_put, tower, wired, "kmem_alloc and free" },
    { "malloc9", malloc_get, malloc_put, malloc_start, wired,
      "malloc(9) and free, without a size" },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
