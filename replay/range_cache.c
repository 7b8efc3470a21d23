/* SPDX-License-Identifier: BSD-2-Clause */
/* See range_cache.h. */
#include "replay/range_cache.h"

#include <string.h>

bool
range_cache_init(struct range_cache *rc, uint32_t pages_max,
                 uint32_t chunk_pages, struct slab_supply supply)
{
    bool ok = true;

    memset(rc, 0, sizeof(*rc));
    rc->pages_max = pages_max;
    slabs_init(&rc->chunks, supply);
    for (uint32_t k = 1; ok && k <= pages_max; k++) {
        rc->plain[k] = slabs_add(&rc->chunks, chunk_pages / k, chunk_pages, 1);
        ok = rc->plain[k] != SLAB_NONE;
    }
    for (uint32_t k = 1; ok && k <= pages_max; k *= 2) {
        rc->aligned[k] =
            slabs_add(&rc->chunks, chunk_pages / k, chunk_pages, k);
        ok = rc->aligned[k] != SLAB_NONE;
    }
    return ok;
}

void
range_cache_fini(struct range_cache *rc)
{
    slabs_fini(&rc->chunks);
}

uint32_t
range_cache_pool(const struct range_cache *rc, uint32_t pages, uint32_t align)
{
    uint32_t k = 1;

    if (pages > rc->pages_max || align > rc->pages_max) {
        return SLAB_NONE;
    }
    if (align == 1) {
        return rc->plain[pages];
    }
    while (k < pages || k < align) {
        k *= 2;
    }
    return k <= rc->pages_max ? rc->aligned[k] : SLAB_NONE;
}
