/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two threads: one allocates without end, one frees what it is asked for.
 * Source: B. Zolnierkiewicz, "User-space shrinkers", LWN, 3 January 2013, on the
 * patches of A. Vorontsov and their example program.
 *
 * What it reports: an application keeps a cache in chunks of a size that it
 * registers, says how many it has more or less, is told how many to free, and
 * adds again what it could not free.  The example's first thread allocates more
 * than there is, in an endless loop; the second frees as it is told.  Ideally
 * there is no out-of-memory.
 *
 *      allocator  chunk chunk chunk ...  add 1 each
 *      pagedaemon      "free 23"  ---->  answerer: frees 23, or 22 and adds 1
 *
 * What is built: a machine of 16 MiB, metadata included, and chunks of 64 KiB of
 * wired memory.  The allocator sleeps for memory, so that out of memory is what
 * it is refused after the pagedaemon has waited long enough for somebody to
 * give something back.  Time is virtual, and stands still while anybody runs
 * (actors.h).
 *
 * Before: the same, and nobody answers; and without a limit, for four times as
 * much as the machine has, where that is what is used.
 *
 * After: as many chunks as are asked for, within the limit and one chunk, and
 * the accounts of both sides agree to the chunk.  Then once more beside a client
 * that registered first, holds a quarter of the machine, and never answers: it
 * is asked for all that it holds, once, and who waits does not wait for it.
 *
 * percent: of 100,000 chunks, at least 1000; at 0 half as many again as there
 * is room for.
 */
#include <pthread.h>
#include <stdlib.h>

#include "bench/reclaim/actors.h"
#include "bench/reclaim/experiment.h"
#include "reclaim/pagedaemon.h"
#include "reclaim/shrinker.h"

#define P KVA_PAGE_SIZE
#define LIMIT ((size_t)16 << 20)
#define CHUNK ((size_t)64 << 10)
#define CHUNKS 100000u
#define LIMIT_CHUNKS (LIMIT / CHUNK)
#define LEAST (LIMIT_CHUNKS * 3 / 2)
/* Tags for 256 ranges and those in the queue for a flush, and what all begins
 * with, are less than 20 pages. */
#define META_BYTES (32 * P)
#define MS ((uint64_t)1000000u)

struct chunk {
    struct chunk *next; /* in its first bytes */
};

/* The application. */
struct client {
    struct kva_shrinker shrinker;
    size_t wanted; /* chunks to allocate */
    bool answers;
    pthread_mutex_t lock;
    struct chunk *chunks; /* (l) */
    size_t live;          /* (l) by its own count */
    size_t had, freed;    /* (l) */
    size_t asked;         /* for so many, in all */
    size_t again;         /* of them added again */
    size_t refused;       /* out of memory */
    uint64_t longest;     /* wait for a chunk, ns */
    bool done;            /* atomic */
};

/* ---- the application's threads ------------------------------------------ */

static void
push(struct client *c, vmem_addr_t va)
{
    struct chunk *chunk = (struct chunk *)va;

    (void)pthread_mutex_lock(&c->lock);
    chunk->next = c->chunks;
    c->chunks = chunk;
    c->live++;
    c->had++;
    (void)pthread_mutex_unlock(&c->lock);
}

static bool
pop_and_free(struct client *c)
{
    struct chunk *chunk;

    (void)pthread_mutex_lock(&c->lock);
    chunk = c->chunks;
    if (chunk != NULL) {
        c->chunks = chunk->next;
        c->live--;
        c->freed++;
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (chunk != NULL) {
        kva_wired_free((vmem_addr_t)chunk, CHUNK);
    }
    return chunk != NULL;
}

static void
allocate(void *arg)
{
    struct client *c = arg;

    for (size_t n = 0; n < c->wanted && c->refused == 0; n++) {
        uint64_t began = actor_now(), took;
        vmem_addr_t va;

        if (kva_wired_alloc(CHUNK, 0, VM_SLEEP, &va) != 0) {
            c->refused++;
        } else {
            push(c, va);
            kva_shrinker_add(&c->shrinker, 1);
        }
        took = actor_now() - began;
        c->longest = took > c->longest ? took : c->longest;
    }
    __atomic_store_n(&c->done, true, __ATOMIC_RELEASE);
}

/* Of each 16th request one chunk is in use. */
static void
answer(void *arg)
{
    struct client *c = arg;
    size_t requests = 0, n;

    while (kva_shrinker_wait(&c->shrinker, 0, &n) == 0) {
        c->asked += n;
        if (++requests % 16 == 0) {
            kva_shrinker_add(&c->shrinker, 1);
            c->again++;
            n--;
        }
        while (n > 0 && pop_and_free(c)) {
            n--;
        }
        c->asked -= n; /* none, or the accounts do not agree */
    }
}

static void
daemon_run(void *arg)
{
    (void)arg;
    kva_pagedaemon();
}

/* ---- a run --------------------------------------------------------------- */

static bool
machine_start(bool limited)
{
    struct kva_posix_config config = {
        .va_bytes = (size_t)256 << 20,
        .meta_bytes = (size_t)8 << 20,
        .page_limit = limited ? (LIMIT + CHUNK) / P : 0,
        .meta_counts = limited,
    };
    struct kva_boot kb = { .wired_limit =
                               limited ? LIMIT - META_BYTES : KVA_NO_LIMIT };

    return experiment_start(&config, &kb);
}

/* Time passes, ten milliseconds at a time, while all sleep; an hour at most. */
static bool
until_done(struct client *c)
{
    uint64_t end = actor_now() + 3600 * 1000 * MS;

    for (;;) {
        actors_settle();
        if (__atomic_load_n(&c->done, __ATOMIC_ACQUIRE)) {
            return true;
        }
        if (actor_now() >= end) {
            (void)vmem_cancel(kmem_arena, NULL);
            end = UINT64_MAX;
        }
        actors_advance(actor_now() + 10 * MS);
    }
}

/* Do the client's own count and the library's agree; by how much not. */
static size_t
accounts_off(struct client *c)
{
    size_t held, asked;

    kva_shrinker_count(&c->shrinker, &held, &asked);
    if (c->had - c->freed != c->live) {
        return c->live + 1;
    }
    held += asked;
    return held > c->live ? held - c->live : c->live - held;
}

static size_t
footprint_kb(void)
{
    struct kva_posix_stats st;

    kva_posix_stats_get(&st);
    return (st.frames_peak + st.meta_peak) * P >> 10;
}

struct result {
    struct client client;
    size_t off;   /* chunks */
    size_t freed; /* chunks, as it was told */
    size_t kb;    /* most there were */
    size_t dead_held, dead_asked;
};

/* With all the actors; dead: beside a client that never answers. */
static bool
run_actors(struct client *c, struct kva_shrinker *dead)
{
    bool ok = actors_begin(3);

    if (!ok) {
        return false;
    }
    if (dead != NULL) {
        kva_shrinker_register(dead);
        kva_shrinker_add(dead, LIMIT_CHUNKS / 4);
    }
    kva_shrinker_register(&c->shrinker);
    ok = actor_start(daemon_run, NULL);
    actors_settle(); /* it runs before it is stopped */
    ok = ok && (!c->answers || actor_start(answer, c)) &&
         actor_start(allocate, c);
    if (ok) {
        (void)until_done(c);
    }
    kva_pagedaemon_stop();
    kva_shrinker_unregister(&c->shrinker);
    if (dead != NULL) {
        kva_shrinker_unregister(dead);
    }
    actors_end();
    return ok;
}

static bool
run_client(size_t wanted, bool limited, bool answers, bool beside_dead,
           struct result *r)
{
    struct kva_shrinker dead = { .chunk = CHUNK, .name = "dead" };
    vmem_addr_t pages[LIMIT_CHUNKS / 4];
    size_t n = 0;
    bool ok = machine_start(limited);

    *r = (struct result){ .client = {
                              .shrinker = { .chunk = CHUNK, .name = "client" },
                              .wanted = wanted,
                              .answers = answers,
                              .lock = PTHREAD_MUTEX_INITIALIZER } };
    while (ok && beside_dead && n < KVA_COUNT(pages)) {
        ok = kva_wired_alloc(CHUNK, 0, VM_NOSLEEP, &pages[n]) == 0;
        n += ok;
    }
    ok = ok && run_actors(&r->client, beside_dead ? &dead : NULL);
    if (!ok) {
        return experiment_failed("shrinkers", "it could not start");
    }
    r->off = accounts_off(&r->client);
    r->freed = r->client.freed;
    r->kb = footprint_kb();
    if (beside_dead) {
        kva_shrinker_count(&dead, &r->dead_held, &r->dead_asked);
        kva_shrinker_fini(&dead);
    }
    kva_shrinker_fini(&r->client.shrinker);
    while (pop_and_free(&r->client)) {
    }
    while (n > 0) {
        kva_wired_free(pages[--n], CHUNK);
    }
    experiment_end();
    return true;
}

/* ---- claims -------------------------------------------------------------- */

static bool
run(struct claims *c, unsigned percent, uint64_t seed)
{
    size_t wanted = (size_t)CHUNKS * percent / 100;
    struct result mute, endless, after, beside;

    (void)seed; /* nothing is drawn */
    wanted = percent == 0 ? LEAST : wanted < 1000 ? 1000 : wanted;
    if (!run_client(wanted, true, false, false, &mute) ||
        !run_client(4 * LIMIT_CHUNKS, false, false, false, &endless) ||
        !run_client(wanted, true, true, false, &after) ||
        !run_client(wanted, true, true, true, &beside)) {
        return false;
    }
    claim(c, &(struct claim){ "chunks had, one after the other", "chunks", true,
                              (double)mute.client.had, (double)after.client.had,
                              CLAIM_EQUALS, (double)wanted });
    claim(c, &(struct claim){ "out of memory", "times", true,
                              (double)mute.client.refused,
                              (double)after.client.refused, CLAIM_EQUALS, 0 });
    claim(c, &(struct claim){ "in use at most, metadata included", "kB", true,
                              (double)endless.kb, (double)after.kb,
                              CLAIM_AT_MOST, (double)((LIMIT + CHUNK) >> 10) });
    claim(c, &(struct claim){ "the two sides' accounts differ by", "chunks",
                              false, 0, (double)after.off, CLAIM_EQUALS, 0 });
    claim(c, &(struct claim){ "chunks asked for", "chunks", false, 0,
                              (double)after.client.asked, CLAIM_EQUALS,
                              (double)(after.freed + after.client.again) });
    claim(c, &(struct claim){ "beside one that never answers: chunks had",
                              "chunks", false, 0, (double)beside.client.had,
                              CLAIM_EQUALS, (double)wanted });
    claim(c, &(struct claim){
                 "beside it: accounts of the two differ by", "chunks", false, 0,
                 (double)(beside.off + (LIMIT_CHUNKS / 4 - beside.dead_held -
                                        beside.dead_asked)),
                 CLAIM_EQUALS, 0 });
    claim(c,
          &(struct claim){ "beside it: longest wait for a chunk", "ms", true,
                           (double)(after.client.longest / MS),
                           (double)(beside.client.longest / MS), CLAIM_AT_MOST,
                           (double)(KVA_SHRINKER_PATIENCE / MS) });
    return true;
}

const struct experiment experiment_shrinkers = {
    .name = "shrinkers",
    .about = "one thread allocates without end, one shrinks; LWN, 2013",
    .run = run,
};
