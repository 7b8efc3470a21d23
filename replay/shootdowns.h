/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How many TLB flushes a load's areas take, by the bounds of lazy unmapping.
 */
#ifndef REPLAY_SHOOTDOWNS_H
#define REPLAY_SHOOTDOWNS_H

#include "replay/trace.h"

/* The areas of a load through kva_wired_alloc and kva_wired_free, once. */
struct shootdowns {
    uint64_t bound_bytes; /* of what is queued; 1: each free flushes */
    uint64_t bound_ms;    /* of its age */
    uint64_t frees, freed_bytes;
    uint64_t flushes;
    uint64_t queued_max_bytes;
};
#define SHOOTDOWN_ROWS 6u

/*
 * A row for each pair of bounds: what the library has by default is the second,
 * behind the one without lazy unmapping.  Time is that of the load's ticks.
 * The library's machine runs, and the library does not.  False: *reason.
 */
bool shootdowns_run(const struct trace *t, size_t va_bytes,
                    struct shootdowns row[SHOOTDOWN_ROWS], const char **reason);

/* Flushes for a thousand frees. */
double shootdowns_rate(const struct shootdowns *s);

void shootdowns_print(const struct shootdowns *row, unsigned n);

#endif
