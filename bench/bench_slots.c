/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How often objects miss the magazines, with N CPU slots that one thread plays.
 * A pair is a get and a put; PAIRS of them warm up, PAIRS are counted.
 * Definitions: docs/measuring.md.
 */
#include <stdlib.h>

#include "bench/bench.h"
#include "pool/pool_store.h"
#include "posix.h"

#define LIVE 100000u
/* Of batches, and the longest. */
#define BATCH 4096u
#define BATCH_MAX (2u * BATCH)

static pool_cache_t cache;
static size_t slots;
static size_t operations; /* gets and puts */

static void
tower(size_t n)
{
    struct kva_posix_config config = { .cpus = (unsigned)n };
    struct kva_boot boot = { 0 };

    kva_posix_fini();
    if (n == 0 || n > KVA_CPU_MAX || kva_posix_init(&config) != 0) {
        bench_fail("1 to 256 slots");
    }
    boot.va_base = kva_posix_va_base();
    boot.va_bytes = kva_posix_va_bytes();
    if (kva_boot(&boot) != 0 || kva_start() != 0) {
        bench_fail("the tower does not start");
    }
    cache = pool_cache_init(64, 0, 0, 0, "bench", NULL, KVA_IPL_NONE, NULL,
                            NULL, NULL);
    slots = n;
}

static void
slot_set(size_t slot)
{
    if (kva_posix_cpu_set((unsigned)(slot % slots)) != 0) {
        bench_fail(kva_posix_last_error());
    }
}

static void
slot_random(void)
{
    slot_set(bench_slot(bench_next(), slots));
}

static void *
get(void)
{
    void *object = pool_cache_get(cache, PR_NOWAIT);

    if (object == NULL) {
        bench_fail("out of memory");
    }
    return object;
}

static void **
live_of(size_t n)
{
    void **live = bench_table(n, sizeof(*live));

    for (size_t i = 0; i < n; i++) {
        slot_random();
        live[i] = get();
    }
    return live;
}

static size_t
misses(void)
{
    return cache->mags.misses_get + cache->mags.misses_put;
}

/* Warm up and count; what one entry is to be rarer than: M operations. */
static void
count(void (*pairs)(void **live, size_t pairs), void **live, size_t n)
{
    size_t before;

    pairs(live, n);
    operations = 0;
    before = misses();
    pairs(live, n);
    bench_figure("entries", (double)(misses() - before) / (double)operations);
    bench_figure("rounds", cache->mags.capacity);
    bench_figure("depot", cache->mags.full_max);
    bench_figure("cached", (double)kva__magcache_rounds(&cache->mags));
}

static void
lifo(void **live, size_t pairs)
{
    (void)live;
    for (size_t i = 0; i < pairs; i++) {
        slot_random();
        pool_cache_put(cache, get());
    }
    operations += 2 * pairs;
}

static void
replace(void **live, size_t pairs)
{
    for (size_t i = 0; i < pairs; i++) {
        void **object = &live[bench_slot(bench_next(), LIVE)];

        slot_random();
        pool_cache_put(cache, *object);
        *object = get();
    }
    operations += 2 * pairs;
}

/* What one CPU frees another one allocates. */
static void
migrate(void **live, size_t pairs)
{
    for (size_t i = 0; i < pairs; i++) {
        void **object = &live[bench_slot(bench_next(), LIVE)];

        slot_random();
        pool_cache_put(cache, *object);
        slot_random();
        *object = get();
    }
    operations += 2 * pairs;
}

/* A batch of any length is allocated on one CPU and freed on the next one,
 * which does the same to the one after it. */
static void
hand_over(void **live, size_t pairs)
{
    for (size_t i = 0, slot = 0; i < pairs; i += BATCH, slot++) {
        size_t n = 1 + bench_slot(bench_next(), BATCH_MAX);

        slot_set(slot);
        for (size_t k = 0; k < n; k++) {
            live[k] = get();
        }
        slot_set(slot + 1);
        for (size_t k = 0; k < n; k++) {
            pool_cache_put(cache, live[k]);
        }
        operations += 2 * n;
    }
}

/* The even CPUs allocate, the odd ones free: nothing ever comes back by
 * itself. */
static void
one_way(void **live, size_t pairs)
{
    for (size_t i = 0, slot = 0; i < pairs; i += BATCH, slot += 2) {
        for (size_t k = 0; k < BATCH; k++) {
            slot_set(slot & ~(size_t)1);
            live[k] = get();
            slot_set(slot | 1);
            pool_cache_put(cache, live[k]);
        }
        operations += 2 * BATCH;
    }
}

#define WORKLOAD(name, pairs_fn, filled)                                       \
    static void run_##name(size_t n, size_t pairs)                             \
    {                                                                          \
        void **live;                                                           \
                                                                               \
        tower(n);                                                              \
        live = filled ? live_of(LIVE) : bench_table(BATCH_MAX, sizeof(*live)); \
        count(pairs_fn, live, pairs);                                          \
        free(live);                                                            \
    }

WORKLOAD(lifo, lifo, false)
WORKLOAD(replace, replace, true)
WORKLOAD(migrate, migrate, true)
WORKLOAD(hand_over, hand_over, false)
WORKLOAD(one_way, one_way, false)

const struct workload bench_slots[] = {
    { "slots-lifo", run_lifo, "misses of N CPU slots: get and put on any" },
    { "slots-random", run_replace, "10^5 live, replaced on any CPU" },
    { "slots-migrate", run_migrate,
      "the same, put on one CPU, got on another" },
    { "slots-batch", run_hand_over,
      "1 to 8192 allocated on one CPU, freed on the next" },
    { "slots-one-way", run_one_way,
      "each allocated on an even CPU, freed on an odd one" },
    { NULL, NULL, NULL },
};
