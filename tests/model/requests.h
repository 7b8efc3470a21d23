/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All constrained requests on a few quanta: each size, align and phase, nocross
 * and window.  Requests of one SORT have the same size and may start at the
 * same places: but for its fit an arena has nothing to tell them apart by.
 *
 * And where each fit has to put a request:
 *   first     at the lowest place of all
 *   next      at the lowest from where the last one ended, or of all
 *   best      in the smallest hole that has a place
 *   instant   in any
 * the last two at the lowest place in that hole, or the highest with
 * VM_ENDALLOC.
 */
#ifndef TESTS_REQUESTS_H
#define TESTS_REQUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/model/layouts.h"
#include "vmem/vmem.h"

struct request {
    size_t align, phase, nocross; /* bytes */
    uintptr_t min, max;
    uint16_t starts; /* quanta at which it may start, holes aside */
    uint8_t size;    /* quanta */
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

/* Each kind of fit; those behind FITS_PLAIN take an arena with VM_INDEX. */
#define FITS_PLAIN 6u
#define FITS_ALL 8u
extern const vm_flag_t request_fits[FITS_ALL];

/*
 * Is it at, with that fit, that a request must be which may be at starts,
 * places in the holes of l?  next: the first quantum for next fit.
 */
bool fit_is_right(struct layout l, unsigned n, uint16_t starts, unsigned at,
                  vm_flag_t fit, unsigned next);

#endif
