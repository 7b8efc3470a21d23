/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/model/layouts.h"

#include <stdlib.h>

bool
layout_is_hole(struct layout l, unsigned n, unsigned at, unsigned size)
{
    /* No part starts behind the first quantum. */
    return at + size <= n && (l.busy & layout_mask(at, size)) == 0 &&
           (l.start & layout_mask(at + 1, size - 1)) == 0;
}

uint16_t
layout_places(struct layout l, unsigned n, unsigned size)
{
    uint16_t mask = 0;

    for (unsigned at = 0; at + size <= n; at++) {
        if (layout_is_hole(l, n, at, size)) {
            mask |= layout_mask(at, 1);
        }
    }
    return mask;
}

unsigned
layout_hole(struct layout l, unsigned n, unsigned at)
{
    while ((l.start >> at & 1) == 0) {
        at--;
    }
    return layout_size(l, n, at);
}

unsigned
layout_smallest(struct layout l, unsigned n, uint16_t starts)
{
    unsigned best = n + 1;

    for (unsigned at = 0; at < n; at++) {
        if ((starts >> at & 1) != 0 && layout_hole(l, n, at) < best) {
            best = layout_hole(l, n, at);
        }
    }
    return best;
}

unsigned
layout_largest(struct layout l, unsigned n)
{
    unsigned best = 0;

    for (unsigned at = 0; at < n; at++) {
        unsigned size = layout_size(l, n, at);

        if ((l.start >> at & 1) != 0 && !layout_is_busy(l, at) && size > best) {
            best = size;
        }
    }
    return best;
}

struct layout
layout_claim(struct layout l, unsigned n, unsigned at, unsigned size)
{
    l.busy |= layout_mask(at, size);
    l.start |= layout_mask(at, 1);
    if (at + size < n) {
        l.start |= layout_mask(at + size, 1);
    }
    return l;
}

struct layout
layout_free(struct layout l, unsigned n, uint16_t spans, unsigned at)
{
    unsigned size = layout_size(l, n, at), end = at + size;

    l.busy &= (uint16_t)~layout_mask(at, size);
    if (end < n && !layout_is_busy(l, end) && (spans >> end & 1) == 0) {
        l.start &= (uint16_t)~layout_mask(end, 1);
    }
    if (at > 0 && !layout_is_busy(l, at - 1) && (spans >> at & 1) == 0) {
        l.start &= (uint16_t)~layout_mask(at, 1);
    }
    return l;
}

struct search {
    struct layout *queue;
    unsigned count;
    uint8_t *seen; /* a bit for each pair of masks */
    unsigned n;
};

static void
reach(struct search *s, struct layout l)
{
    uint32_t key = (uint32_t)l.start << s->n | l.busy;

    if ((s->seen[key / 8] >> key % 8 & 1) == 0) {
        s->seen[key / 8] |= (uint8_t)(1u << key % 8);
        s->queue[s->count++] = l;
    }
}

/* All that one operation makes of a layout. */
static void
reach_neighbours(struct search *s, struct layout l, uint16_t spans)
{
    for (unsigned at = 0; at < s->n; at++) {
        if (layout_is_busy(l, at)) {
            if ((l.start >> at & 1) != 0) {
                reach(s, layout_free(l, s->n, spans, at));
            }
            continue;
        }
        for (unsigned size = 1; layout_is_hole(l, s->n, at, size); size++) {
            reach(s, layout_claim(l, s->n, at, size));
        }
    }
}

struct layout *
layouts_all(unsigned n, uint16_t spans, unsigned *count)
{
    struct search s = { .n = n };

    /* Spans take layouts away, so one span has the most. */
    s.queue = malloc(layouts_count(n) * sizeof(*s.queue));
    s.seen = calloc(1, ((size_t)1 << 2 * n) / 8 + 1);
    if (s.queue == NULL || s.seen == NULL) {
        free(s.queue);
        free(s.seen);
        return NULL;
    }
    reach(&s, (struct layout){ .start = spans });
    for (unsigned i = 0; i < s.count; i++) {
        reach_neighbours(&s, s.queue[i], spans);
    }
    free(s.seen);
    *count = s.count;
    return s.queue;
}

unsigned
layouts_count(unsigned n)
{
    unsigned ends_busy = 0, ends_free = 0; /* of the length before */
    unsigned sum_busy = 0, sum_all = 1;    /* over all lengths before, 0 too */

    for (unsigned i = 1; i <= n; i++) {
        ends_busy = sum_all;
        ends_free = 1 + sum_busy;
        sum_busy += ends_busy;
        sum_all += ends_busy + ends_free;
    }
    return ends_busy + ends_free;
}
