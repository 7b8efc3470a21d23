/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A naive model of a tree of arenas, beside the arenas themselves: for each a
 * map with an entry for each unit of the addresses that all of them share.
 *
 *      0   root, spans added                 |======|   |====|
 *      +-- 1   imports from 0                   |==| |=|
 *      |   +-- 2   imports from 1, cached       |=|
 *      +-- 3   imports from 0                  |        |==|
 *
 * A driver (random numbers, a fuzzer) takes steps; each is one operation on
 * arenas and maps, a comparison of its outcome, and a check of all there is:
 * every arena's invariants, its walk against its map, its totals, and that what
 * a source has handed out is what others live in or import.
 *
 * Steps cover the interface: requests of every kind, with either fit and any
 * constraint, waiting included; frees; ranges trimmed, split, joined and
 * extended; operations prepared, which then find room for tags whatever fails;
 * spans and tags added; limits, drains, reclaim, CPU slots; what an address is;
 * audit and injected failures; misuse, which must be reported and change
 * nothing; faults; arenas ended and made anew in another shape.  Numbers drawn
 * behind the end of an input are 0; every list of choices begins with what
 * leads to an end.
 */
#ifndef TESTS_WORLD_H
#define TESTS_WORLD_H

#include "vmem/vmem.h"

/* A number below n, n at least 1. */
typedef uint32_t world_draw_t(void *arg, uint32_t n);

/* How often each outcome came up. */
enum world_outcome {
    WORLD_DONE,     /* requests met */
    WORLD_FULL,     /* refused, and rightly */
    WORLD_BEST,     /* best fits compared with the smallest hole */
    WORLD_IMPORTED, /* spans that came */
    WORLD_RELEASED, /* and went */
    WORLD_FREED,
    WORLD_WAITED, /* requests that slept */
    WORLD_WOKEN,  /* and were met then */
    WORLD_CANCELLED,
    WORLD_TIMED, /* the clock moved while one slept */
    WORLD_RECLAIMED,
    WORLD_MISUSED, /* reports that were right */
    WORLD_ADDED,
    WORLD_REMADE,
    WORLD_FAULTED, /* steps with a fault armed */
    WORLD_LIMITED,
    WORLD_INJECTED,
    WORLD_AUDITED,
    WORLD_LOOKED, /* addresses looked up that are in a span */
    WORLD_TRIMMED,
    WORLD_SPLIT,
    WORLD_JOINED,
    WORLD_EXTENDED,
    WORLD_UNCHANGED, /* joins and extensions refused, and rightly */
    WORLD_PREPARED,  /* operations that succeeded as prepared, without tags */
    WORLD_UNPREPARED,
    WORLD_CUT, /* drains that gave parts of pieces */
    WORLD_OUTCOMES
};

struct world;

/* Starts with a draw of the shape of all; NULL: no memory.  One at a time. */
struct world *world_new(world_draw_t *draw, void *arg);
/* One operation.  NULL, or what is wrong. */
const char *world_step(struct world *w);
/* Free everything and end all arenas.  NULL, or what is wrong. */
const char *world_end(struct world *w);

unsigned long world_count(const struct world *w, enum world_outcome outcome);
/* Let any hook and import fail at any time. */
void world_faults(struct world *w, bool faults);

#endif
