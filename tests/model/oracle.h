/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A naive model of an arena, beside the arena itself: a map with an entry for
 * each quantum.  A driver (random numbers, a fuzzer) takes steps; each step is
 * one operation on both, a comparison of its outcome, and a check of all there
 * is: the arena's own invariants, its walk against the map, and all totals.
 *
 * The map is small, so the model may try every position: when the arena says
 * that there is no room, the model looks at all of it.
 */
#ifndef TESTS_ORACLE_H
#define TESTS_ORACLE_H

#include "vmem/vmem.h"

enum model_kind {
    MODEL_PLAIN,
    MODEL_QCACHE,  /* quantum caches */
    MODEL_IMPORT,  /* spans from another arena */
    MODEL_LARGE,   /* the same with VM_LARGEIMPORT */
    MODEL_STACK,   /* three arenas; the middle one has quantum caches */
    MODEL_PRIVATE, /* a caller's tags; no metadata is asked for */
    MODEL_KINDS
};

/* Where the map lies in the address space. */
enum model_place {
    MODEL_ZERO,
    MODEL_MIDDLE,
    MODEL_TOP,
    MODEL_PLACES
};

#define MODEL_QUANTA_MAX 1024u
#define MODEL_LIVE_MAX 192u
#define MODEL_SLOTS 8u /* parts of the map that are added as spans */

struct model_config {
    enum model_kind kind;
    enum model_place place;
    unsigned shift;    /* log2 of the quantum */
    unsigned quanta;   /* of the map, a multiple of 2 * MODEL_SLOTS */
    unsigned live_max; /* ranges at a time */
    bool index;        /* made with VM_INDEX */
};

/* How often each outcome came up: a test sees that it was not in vain. */
enum model_outcome {
    MODEL_ALLOC_DONE,
    MODEL_ALLOC_FULL,
    MODEL_XALLOC_DONE,
    MODEL_XALLOC_FULL,
    MODEL_ADDR_DONE,
    MODEL_ADDR_FULL,
    MODEL_FREE,
    MODEL_XFREE,
    MODEL_ADD,
    MODEL_DRAIN,
    MODEL_FREE_ALL,
    MODEL_BEST, /* a best fit was compared with the smallest hole */
    MODEL_OUTCOMES
};

struct model;

/* A number below n, n at least 1. */
typedef uint32_t model_draw_t(void *arg, uint32_t n);

/* NULL: no memory. */
struct model *model_new(const struct model_config *cf);

/* One operation.  NULL, or what is wrong. */
const char *model_step(struct model *m, model_draw_t *draw, void *arg);

/* Compare everything.  NULL, or what is wrong. */
const char *model_check(struct model *m);

/* Free everything and end the arenas.  NULL, or what is wrong. */
const char *model_end(struct model *m);

/* Let the arena refuse what the model would grant: faults are about. */
void model_allow_refusal(struct model *m, bool allow);

unsigned long model_count(const struct model *m, enum model_outcome outcome);

#endif
