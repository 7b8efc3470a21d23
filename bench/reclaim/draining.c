/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Allocating while a drain runs.
 *
 * A drain that keeps a lock for as long as it works stalls all who come to that
 * lock meanwhile.  Here it keeps one for 64 slabs or 512 objects at the most
 * (pool/slab.c), and hits take none.
 *
 *      two threads   get put get put get ...      over live sets of their own
 *      the drainer   get 100,000, put them        |  drain of everything
 *                    (others work beside: before) | (after)  ... and again
 *
 * The pool keeps its empty slabs until then, some 25 MB of them.
 * Counted by those two: operations, and how often one came to a lock that was
 * held; by what the drainer was doing when the operation began.  So both figures
 * are of one run, with as many threads.  percent scales the drains, 40 at 100.
 * How often two meet is the host's affair, so only at full size the ratio has a
 * bound.
 */
#include <pthread.h>
#include <stdlib.h>

#include "bench/reclaim/experiment.h"
#include "pool/pool.h"
#include "reclaim/reclaim.h"

#define OBJECT 256u
#define WORKERS 2u
#define LIVE 20000u
#define GARBAGE 100000u
#define DRAINS 40u
#define TIMES_AT_MOST 3

enum phase {
    FILLING,
    DRAINING,
    PHASES,
    OVER = PHASES
};

static kva_pool_cache_t cache;
static enum phase phase; /* atomic */

struct worker {
    pthread_t thread;
    uint64_t random;
    unsigned cpu;
    size_t ops[PHASES], waits[PHASES], failed;
    void *live[LIVE];
};

static void
work_once(struct worker *w)
{
    void **place = &w->live[experiment_below(&w->random, LIVE)];

    if (*place != NULL) {
        kva_pool_cache_put(cache, *place);
        *place = NULL;
        return;
    }
    *place = kva_pool_cache_get(cache, KVA_PR_NOWAIT);
    w->failed += *place == NULL;
}

static void *
work(void *arg)
{
    struct worker *w = arg;
    enum phase now;

    (void)kva_posix_cpu_set(w->cpu);
    while ((now = __atomic_load_n(&phase, __ATOMIC_RELAXED)) != OVER) {
        unsigned long before = kva_posix_lock_waits();

        work_once(w);
        w->ops[now]++;
        w->waits[now] += kva_posix_lock_waits() - before;
    }
    for (unsigned i = 0; i < LIVE; i++) {
        if (w->live[i] != NULL) {
            kva_pool_cache_put(cache, w->live[i]);
        }
    }
    return NULL;
}

static void
enter(enum phase next)
{
    __atomic_store_n(&phase, next, __ATOMIC_RELAXED);
}

/* Free objects, and a drain of everything; bytes that came back. */
static size_t
fill_and_drain(void **garbage)
{
    size_t n = 0, bytes;

    enter(FILLING);
    while (n < GARBAGE &&
           (garbage[n] = kva_pool_cache_get(cache, KVA_PR_NOWAIT)) != NULL) {
        n++;
    }
    while (n > 0) {
        kva_pool_cache_put(cache, garbage[--n]);
    }
    enter(DRAINING);
    bytes = kva_reclaim(SIZE_MAX);
    enter(FILLING);
    return bytes;
}

static double
per_thousand(const struct worker *w, enum phase p)
{
    size_t ops = 0, waits = 0;

    for (unsigned i = 0; i < WORKERS; i++) {
        ops += w[i].ops[p];
        waits += w[i].waits[p];
    }
    return ops == 0 ? 0 : 1000.0 * (double)waits / (double)ops;
}

static void
claims_of(struct claims *c, const struct worker *w, size_t least,
          enum claim_kind kind)
{
    double before = per_thousand(w, FILLING), after = per_thousand(w, DRAINING);
    size_t failed = 0, during = 0;

    for (unsigned i = 0; i < WORKERS; i++) {
        failed += w[i].failed;
        during += w[i].ops[DRAINING];
    }
    claim(c, &(struct claim){ "allocations that failed", "", false, 0,
                              (double)failed, CLAIM_EQUALS, 0 });
    claim(c, &(struct claim){ "came back in each drain, at the least", "kB",
                              false, 0, (double)(least >> 10), CLAIM_AT_LEAST,
                              (double)(GARBAGE / 2 * OBJECT >> 10) });
    claim(c, &(struct claim){ "operations while a drain ran", "", false, 0,
                              (double)during, CLAIM_SHOWN, 0 });
    claim(c, &(struct claim){ "waits for a lock, per 1000 operations", "", true,
                              before, after, CLAIM_SHOWN, 0 });
    claim(c, &(struct claim){ "the same, times those without", "times", false,
                              0, before > 0 ? after / before : 0, kind,
                              TIMES_AT_MOST });
}

static bool
run_workers(struct claims *c, unsigned drains, struct worker *w, void **garbage)
{
    size_t least = SIZE_MAX;
    unsigned started = 0;

    enter(FILLING);
    for (; started < WORKERS; started++) {
        w[started].cpu = started + 1;
        if (pthread_create(&w[started].thread, NULL, work, &w[started]) != 0) {
            break;
        }
    }
    for (unsigned i = 0; started == WORKERS && i < drains; i++) {
        size_t bytes = fill_and_drain(garbage);

        least = bytes < least ? bytes : least;
    }
    enter(OVER);
    for (unsigned i = 0; i < started; i++) {
        (void)pthread_join(w[i].thread, NULL);
    }
    if (started < WORKERS) {
        return experiment_failed("draining", "the host has no thread left");
    }
    claims_of(c, w, least, drains < DRAINS ? CLAIM_SHOWN : CLAIM_AT_MOST);
    return true;
}

static bool
run(struct claims *c, unsigned percent, uint64_t seed)
{
    const struct kva_posix_config config = { .cpus = WORKERS + 1 };
    struct kva_boot kb = { .va_base = 0 };
    struct worker *w = calloc(WORKERS, sizeof(*w));
    void **garbage = calloc(GARBAGE, sizeof(*garbage));
    unsigned drains = DRAINS * percent / 100;
    bool ok = w != NULL && garbage != NULL;

    if (!ok) {
        (void)experiment_failed("draining", "out of memory");
    } else if ((ok = experiment_start(&config, &kb))) {
        cache = kva_pool_cache_init(OBJECT, 0, 0, 0, "drained", NULL,
                                    KVA_IPL_NONE, NULL, NULL, NULL);
        kva_pool_cache_sethiwat(cache, GARBAGE + WORKERS * LIVE);
        for (unsigned i = 0; i < WORKERS; i++) {
            w[i].random = seed + i;
        }
        ok = run_workers(c, drains == 0 ? 1 : drains, w, garbage);
        kva_pool_cache_destroy(cache);
        experiment_end();
    }
    free(garbage);
    free(w);
    return ok;
}

const struct experiment experiment_draining = {
    "draining", "Allocating while a drain runs: waits for locks", run
};
