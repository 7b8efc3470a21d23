/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All layouts of a small arena.  A layout tiles n quanta with parts, each free
 * or busy:
 *
 *      quantum   0   1   2   3   4   5   6   7
 *               [busy ] [free     ] [b] [busy ]
 *      start     1   .   1   .   .   1   1   .
 *      busy      1   1   .   .   .   1   1   1
 *
 * Neighbours of a free part are not free, unless a span ends between them; so
 * both masks together name a layout, and no two pairs name the same.  Layouts
 * are found by going from one to the next: a part of a hole is claimed, or a
 * busy part freed and joined with what is free beside it.
 *
 * One span of n quanta has F(2n + 1) layouts, F being Fibonacci's numbers: let
 * a(n) be those that end busy and b(n) those that end free.  A busy part of any
 * length may follow anything, a free one of any length only a busy one, or the
 * start:  a(n) = sum of a(k) + b(k), b(n) = 1 + sum of a(k), k < n.
 */
#ifndef TESTS_LAYOUTS_H
#define TESTS_LAYOUTS_H

#include <stdbool.h>
#include <stdint.h>

#define LAYOUT_QUANTA_MAX 12u

struct layout {
    uint16_t start; /* where parts start */
    uint16_t busy;
};

/* Quanta [at, at + size - 1] as a mask. */
static inline uint16_t
layout_mask(unsigned at, unsigned size)
{
    return (uint16_t)(((1u << size) - 1) << at);
}

/* Quanta of the part that starts at. */
static inline unsigned
layout_size(struct layout l, unsigned n, unsigned at)
{
    unsigned size = 1;

    while (at + size < n && (l.start >> (at + size) & 1) == 0) {
        size++;
    }
    return size;
}

static inline bool
layout_is_busy(struct layout l, unsigned at)
{
    return (l.busy >> at & 1) != 0;
}

/* Is [at, at + size - 1] within one hole. */
bool layout_is_hole(struct layout l, unsigned n, unsigned at, unsigned size);
/* Where size quanta find room, as a mask; quanta of the hole that at is in; of
 * the smallest hole that has one of those starts in it; of the largest (0: no
 * hole). */
uint16_t layout_places(struct layout l, unsigned n, unsigned size);
unsigned layout_hole(struct layout l, unsigned n, unsigned at);
unsigned layout_smallest(struct layout l, unsigned n, uint16_t starts);
unsigned layout_largest(struct layout l, unsigned n);
/* The layout with that part of a hole busy; with the busy part at free.
 * spans: where spans start. */
struct layout
layout_claim(struct layout l, unsigned n, unsigned at, unsigned size);
struct layout
layout_free(struct layout l, unsigned n, uint16_t spans, unsigned at);

/*
 * Every layout that can be reached from all free, spans starting at those
 * quanta; the caller frees the array.  NULL: no memory.
 */
struct layout *layouts_all(unsigned n, uint16_t spans, unsigned *count);

/* F(2n + 1), by the recurrence above. */
unsigned layouts_count(unsigned n);

#endif
