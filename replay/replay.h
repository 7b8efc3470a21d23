/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A run: one load through one stack, twice.
 *
 * Pass 1 replays every record, looks at the stack again and again, and at the
 * end frees what is live and drains.  Pass 2 replays up to the peak, and there
 * frees objects at random: half, drain, nine tenths, drain, the rest.
 */
#ifndef REPLAY_REPLAY_H
#define REPLAY_REPLAY_H

#include "replay/shootdowns.h"
#include "replay/stack.h"

#define RUN_SERIES_MAX 600u

/* Areas at a tick; unpurged: freed since the recorded kernel last purged. */
struct tick {
    uint32_t ms;
    uint32_t areas;
    uint32_t unpurged;
};

struct run {
    const struct trace *trace;
    const struct stack_ops *ops;
    double seconds; /* pass 1: records only */
    struct state peak, max;
    struct state free50, free50_drained, free90, free90_drained;
    struct state drained;
    struct state *series;
    unsigned nseries;
    struct state *phase; /* trace->nphase states, each at the end of one */
    struct state *phase_drained; /* after the drain that the phase asks for */
    struct tick *tick;           /* trace->ntick */
    struct totals totals;
    uint64_t start_tags;
    struct holding holding; /* beside `drained` */
    /* The frees at the end of pass 1 and at random, and the drains: how many,
     * and the metadata pages that were asked for meanwhile; and the wired pages
     * that the drains gave back. */
    uint64_t frees, free_requests;
    uint64_t drains, drain_requests, drain_pages;
    double drain_seconds; /* of a processor, the longest drain */
    /* Stacks with real memory: how the process grew up to the peak. */
    uint64_t resident_bytes;
    /* ours, if there are areas enough: their flushes as wired ranges */
    struct shootdowns shootdowns[SHOOTDOWN_ROWS];
    unsigned nshootdowns;
    struct listing *listing; /* at the end of pass 1, or NULL */
    char error[512];
};

struct replay_config {
    struct stack_config stack;
    uint64_t seed; /* of the random frees */
    bool verify;   /* complain if anything is left after the last drain */
    bool listing;  /* keep the library's listings at the end of pass 1 */
    bool back;     /* only what memory comes back: pass 1 if there are phases,
                      else pass 2 without the drain at half */
};

/* False: run->error says why.  run_free in any case. */
bool replay_run(const struct trace *t, const struct stack_ops *ops,
                const struct replay_config *c, struct run *run);
void run_free(struct run *run);

#endif
