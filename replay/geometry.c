/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shapes are not a copy of what the library does but its own answer: a
 * model that had larger or tighter slabs than the library would win or lose
 * tags by that alone.
 */
#include "replay/geometry.h"

#include "kmem/kmem.h"
#include "pool/pool_impl.h"

uint32_t
geometry_slab_bytes(enum slab_rule rule, uint32_t size,
                    uint32_t recorded_pages)
{
    uint32_t bytes = 0;

    if (rule == SLABS_SINGLE) {
        bytes = TRACE_PAGE;
    } else if (rule == SLABS_RECORDED) {
        bytes = recorded_pages * TRACE_PAGE;
    }
    return size <= bytes && kva_is_pow2(bytes) ? bytes : 0;
}

struct shape
geometry_shape(enum slab_rule rule, uint32_t size, uint32_t align,
               uint32_t recorded_pages)
{
    struct kva_pool pool = { .name = "geometry" };
    uint32_t bytes = geometry_slab_bytes(rule, size, recorded_pages);

    kva__pool_layout(&pool, kva_round_up(size, align), align, 0, bytes);
    return (struct shape){ .pages = (uint32_t)(pool.slab_bytes / TRACE_PAGE),
                           .objects = pool.nobj };
}

uint32_t
geometry_class(uint32_t size)
{
    return (uint32_t)kmem_roundup_size(size);
}
