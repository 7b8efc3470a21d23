/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Caches of page ranges by size, as a, b and c have them over their map or
 * arena: one for each number of pages, cut out of chunks.
 */
#ifndef REPLAY_RANGE_CACHE_H
#define REPLAY_RANGE_CACHE_H

#include "replay/slabs.h"

#define RANGE_CACHE_PAGES_MAX 32u

struct range_cache {
    struct slabs chunks;
    uint32_t pages_max;                          /* largest range */
    uint32_t plain[RANGE_CACHE_PAGES_MAX + 1];   /* pools, by pages */
    uint32_t aligned[RANGE_CACHE_PAGES_MAX + 1]; /* powers of two only */
};

/* False: no memory. */
bool range_cache_init(struct range_cache *rc, uint32_t pages_max,
                      uint32_t chunk_pages, struct slab_supply supply);
void range_cache_fini(struct range_cache *rc);

/*
 * The pool that serves such a request, or SLAB_NONE if it is too large.  A
 * range that must be aligned is rounded to a power of two and comes from a
 * chunk that is aligned: stacks of 4 pages and a guard page, for example.
 */
uint32_t
range_cache_pool(const struct range_cache *rc, uint32_t pages, uint32_t align);

#endif
