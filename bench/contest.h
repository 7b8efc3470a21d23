/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of kva-contest share: who takes part, behind one table of
 * function pointers, and the loops that all of them run.
 */
#ifndef BENCH_CONTEST_H
#define BENCH_CONTEST_H

#include "bench/bench.h"

struct contestant {
    const char *name;
    void *(*get)(size_t size); /* NULL: no memory */
    void (*put)(void *object);
    void (*start)(size_t size); /* before there are threads */
    size_t (*wired)(void);      /* bytes wired now; NULL: only Linux knows */
    const char *what;
};

/* NULL at the end (contest_ours.c, contest.c). */
extern const struct contestant contest_ours[];

/* One of the threads at it. */
struct player {
    const struct contestant *who;
    size_t size;
    struct bench_random random;
    void **live; /* n of them */
    size_t n;
    unsigned number, of;
    double cpu, wall; /* ns of the pairs that count */
};

/* What a contest is.  n live objects are there before the first pair. */
struct contest {
    const char *name;
    void (*pairs)(struct player *player, size_t pairs);
    const char *what;
};
extern const struct contest contests[]; /* contest_loops.c */

/* Get one and write its first word. */
static inline void *
contest_get(const struct contestant *who, size_t size)
{
    uintptr_t *object = who->get(size);

    if (object == NULL) {
        bench_fail("out of memory");
    }
    *object = size;
    return object;
}

/* Nanoseconds of this thread, and of the wall's clock. */
double contest_cpu(void);
double contest_wall(void);

/* All players: fill, warm up, meet, do so many pairs each. */
void contest_run(const struct contest *contest, struct player *player,
                 unsigned players, size_t warm, size_t pairs);

/* Two threads, each of which frees what the other allocated, batches in all;
 * prints its figures (contest_exchange.c). */
void contest_exchange(const struct contestant *who, size_t size, size_t batches,
                      bool one_way);

#endif
