/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The CSV files beside a trace NAME.kvt.xz: what the recorded kernel said of
 * itself, and the phases of the recording.  A file that is not there is no
 * error; one that cannot be understood is.
 */
#ifndef REPLAY_SIDECAR_H
#define REPLAY_SIDECAR_H

#include "replay/trace.h"

/* A line of NAME.samples.csv. */
struct sample {
    uint64_t t_ms;
    uint64_t vmap_areas;
    uint64_t slab_bytes;
};

struct samples {
    struct sample *v;
    size_t n;
};

/*
 * Take the trace's name from its path: without directory, .xz and .kvt.
 */
void sidecar_name(const char *path, char *name, size_t size);

/*
 * NAME.phases.csv (from_ms,phase) becomes t->phase; NAME.slabinfo.csv gives the
 * pages of the slabs of each cache (t->type.slab_pages).  Call before
 * trace_scan.  False: error says why.
 */
bool
sidecar_load(const char *path, struct trace *t, char *error, size_t error_size);

/* NAME.samples.csv; s->n is 0 if there is none.  free(s->v). */
bool sidecar_samples(const char *path, struct samples *s, char *error,
                     size_t error_size);

#endif
