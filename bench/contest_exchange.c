/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two threads, each of which frees what the other one allocated.
 *
 *     thread 0 --[ batch | batch | ... ]--> thread 1
 *              <--[ batch | batch | ... ]--
 *
 * A ring has one writer and one reader, and no lock.  A batch is filled where
 * it lies in the ring, and emptied there.  Who can neither fill nor empty one
 * sleeps for a moment: waiting is not what is measured.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/contest.h"

/* As many objects to a batch as xmalloc-test has. */
#define BATCH 4096u
#define SLOTS 8u

struct ring {
    size_t filled __attribute__((aligned(64)));  /* the writer's */
    size_t emptied __attribute__((aligned(64))); /* the reader's */
    void *object[SLOTS][BATCH];
};

/* What is looked at as the run goes on. */
#define LOOKS 16u

struct side {
    const struct contestant *who;
    size_t size, fill, empty; /* batches to do */
    struct ring *out, *in;
    pthread_barrier_t *barrier;
    bool looks;
    size_t resident[LOOKS], wired[LOOKS];
    double cpu, wall;
};

static size_t
resident_bytes(void)
{
    unsigned long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    if (f == NULL || fscanf(f, "%lu %lu", &pages, &resident) != 2) {
        bench_fail("no /proc/self/statm");
    }
    (void)fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static bool
fill(struct side *side)
{
    struct ring *ring = side->out;
    void **object;

    if (ring->filled - __atomic_load_n(&ring->emptied, __ATOMIC_ACQUIRE) ==
        SLOTS) {
        return false;
    }
    object = ring->object[ring->filled % SLOTS];
    for (size_t i = 0; i < BATCH; i++) {
        object[i] = contest_get(side->who, side->size);
    }
    __atomic_store_n(&ring->filled, ring->filled + 1, __ATOMIC_RELEASE);
    return true;
}

static bool
empty(struct side *side)
{
    struct ring *ring = side->in;
    void **object;

    if (ring->emptied == __atomic_load_n(&ring->filled, __ATOMIC_ACQUIRE)) {
        return false;
    }
    object = ring->object[ring->emptied % SLOTS];
    for (size_t i = 0; i < BATCH; i++) {
        side->who->put(object[i]);
    }
    __atomic_store_n(&ring->emptied, ring->emptied + 1, __ATOMIC_RELEASE);
    return true;
}

static void
look(struct side *side, size_t done, size_t batches)
{
    size_t i = done * LOOKS / batches;

    if (side->looks && i < LOOKS && side->resident[i] == 0) {
        side->resident[i] = resident_bytes();
        if (side->who->wired != NULL) {
            side->wired[i] = side->who->wired();
        }
    }
}

static void *
play(void *arg)
{
    static const struct timespec moment = { 0, 20000 };
    struct side *side = arg;
    size_t batches = side->fill + side->empty, filled = 0, emptied = 0;
    double cpu, wall;

    (void)pthread_barrier_wait(side->barrier);
    wall = contest_wall();
    cpu = contest_cpu();
    while (filled < side->fill || emptied < side->empty) {
        bool done = false;

        if (filled < side->fill && fill(side)) {
            filled++;
            done = true;
        }
        if (emptied < side->empty && empty(side)) {
            emptied++;
            done = true;
        }
        if (!done) {
            (void)nanosleep(&moment, NULL);
        }
        look(side, filled + emptied, batches);
    }
    side->cpu = contest_cpu() - cpu;
    side->wall = contest_wall() - wall;
    return NULL;
}

static size_t
most(const size_t *value, size_t from, size_t to)
{
    size_t found = 0;

    for (size_t i = from; i < to; i++) {
        found = value[i] > found ? value[i] : found;
    }
    return found;
}

static void
figures(const struct side side[2], size_t batches, size_t before)
{
    const struct side *eye = &side[side[0].looks ? 0 : 1];
    double cpu = side[0].cpu + side[1].cpu;

    bench_figure("frees_per_cpu_s", (double)batches * BATCH / cpu * 1e9);
    bench_figure("cpu_ns", cpu / (double)(batches * BATCH));
    bench_figure("wall_ns",
                 (side[0].wall + side[1].wall) / (double)(batches * BATCH));
    bench_figure("rss_early",
                 (double)most(eye->resident, 1, LOOKS / 2) - (double)before);
    bench_figure("rss_late", (double)most(eye->resident, LOOKS / 2, LOOKS) -
                                 (double)before);
    bench_figure("wired_early", (double)most(eye->wired, 1, LOOKS / 2));
    bench_figure("wired_late", (double)most(eye->wired, LOOKS / 2, LOOKS));
}

void
contest_exchange(const struct contestant *who, size_t size, size_t batches,
                 bool one_way)
{
    static struct ring ring[2];
    struct side side[2];
    pthread_barrier_t barrier;
    pthread_t thread[2];
    size_t before, half = batches / 2;

    if (half < LOOKS) {
        bench_fail("too few batches");
    }
    memset(ring, 1, sizeof(ring)); /* resident before anybody looks */
    ring[0].filled = ring[0].emptied = ring[1].filled = ring[1].emptied = 0;
    before = resident_bytes();
    (void)pthread_barrier_init(&barrier, NULL, 2);
    for (unsigned i = 0; i < 2; i++) {
        side[i] = (struct side){
            .who = who,
            .size = size,
            .fill = !one_way ? half
                    : i == 0 ? 2 * half
                             : 0,
            .empty = !one_way ? half
                     : i == 1 ? 2 * half
                              : 0,
            .out = &ring[i],
            .in = &ring[1 - i],
            .barrier = &barrier,
            .looks = i == 0,
        };
        if (pthread_create(&thread[i], NULL, play, &side[i]) != 0) {
            bench_fail("no thread");
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        (void)pthread_join(thread[i], NULL);
    }
    figures(side, 2 * half, before);
}
