/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All constrained requests on a few quanta: each size, align and phase, nocross
 * and window, with either fit.  Requests of one SORT have the same size, the
 * same fit, and may start at the same places: no arena can tell them apart.
 */
#ifndef TESTS_REQUESTS_H
#define TESTS_REQUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct request {
    size_t align, phase, nocross; /* bytes */
    uintptr_t min, max;
    uint16_t starts; /* quanta at which it may start, holes aside */
    uint8_t size;    /* quanta */
    bool best;
};

struct requests {
    struct request *rq; /* sort by sort */
    unsigned count;
};

/*
 * n quanta of that many bytes at these addresses.  Windows begin and end with a
 * quantum; inner: also a byte behind and before that, which cuts them off.
 */
void requests_make(struct requests *rs, unsigned n, const uintptr_t *addr,
                   size_t quantum, bool inner);
void requests_free(struct requests *rs);
/* The first request of the next sort. */
unsigned requests_sort_end(const struct requests *rs, unsigned i);

#endif
