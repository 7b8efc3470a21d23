/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A naive model of pageable memory: an array with an element for each page of
 * the address space, in map or not, its accesses, whether it has a frame, how
 * often it is wired, and what was written to it.
 *
 * A driver (random numbers, a fuzzer) takes steps; each is one call on pages
 * drawn at random, which need not be a range as it was allocated.  After it, or
 * after a few, everything is compared: the entries one by one, the statistics, the frames
 * of the machine, what is in memory, and the invariants of map and arena.
 *
 *   faults of the port   are armed for half of the steps, if wanted, the n-th
 *                        or all from it on.  Only allocating, touching and
 *                        wiring may fail then, with nothing changed but that
 *                        pages became resident; what frees asks for no page of
 *                        metadata.
 *   misuse               a step whose pages are not as the call demands must
 *                        be reported, in the words the array has for it, and
 *                        change nothing.
 *
 * The tower must be up, with at most PAGING_PAGES pages of addresses, and
 * nobody else in it.  One at a time.
 */
#ifndef TESTS_PAGING_H
#define TESTS_PAGING_H

#include "kva/kva.h"
#include "port/posix/posix.h"

#define PAGING_PAGES 4096u

struct paging;

/*
 * traps: half of the accesses are made in earnest, and what traps is handled;
 * all others ask kva_fault first.  NULL: traps are not to be had.
 */
struct paging *paging_new(uint32_t (*draw)(void *arg, uint32_t n), void *arg,
                          bool faults, bool traps);

/* NULL, or what was wrong. */
const char *paging_step(struct paging *g);
const char *paging_check(struct paging *g);

/* All is freed, in parts, and must be back. */
const char *paging_end(struct paging *g);

#endif
