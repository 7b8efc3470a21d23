/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a person reads, and the same as JSON (docs/report-format.md).
 */
#ifndef REPLAY_REPORT_H
#define REPLAY_REPORT_H

#include "replay/json.h"
#include "replay/replay.h"
#include "replay/sidecar.h"

#define REPORT_STACKS_MAX 6

/* What stays of a trace when its runs are gone: for the last table. */
struct report_row {
    char trace[64];
    uint64_t live_bytes;
    unsigned n;
    struct {
        const char *stack;
        uint64_t count; /* tags, or map entries where there are no tags */
    } cell[REPORT_STACKS_MAX];
};

/* Tags if the stack has any, else map entries: what it keeps in its books. */
uint64_t report_count(const struct state *s);
/* Bytes of all bookkeeping. */
uint64_t report_meta(const struct state *s);

/* The tables of one trace. */
void report_trace(const struct trace *t, const struct run *run, unsigned n);

/* The recorded kernel's count of areas beside the model `map`. */
void report_areas(const struct run *run, const struct samples *samples);

/* Which of the aims that this trace speaks to were reached.  Whether objects
 * were filled decides what can be said of speed and residence. */
void report_aims(const struct run *run, unsigned n, bool pattern);

/* What memory comes back without move callbacks and with them; ours: NULL if it
 * did not run. */
void report_back(const struct run *ours, const struct run *movers);

void report_row(struct report_row *row, const struct run *run, unsigned n);
void report_summary(const struct report_row *row, unsigned n);

void report_json(struct json *j, const struct run *run);

/* "1.25 GiB"; the result is good until the eighth call after. */
const char *report_bytes(uint64_t v);

#endif
