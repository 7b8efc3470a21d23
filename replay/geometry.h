/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How objects are cut into slabs: one answer for all stacks of a run, so that
 * they differ only in how the address space under the slabs is kept.
 */
#ifndef REPLAY_GEOMETRY_H
#define REPLAY_GEOMETRY_H

#include "replay/stack.h"

struct shape {
    uint32_t pages;   /* of a slab */
    uint32_t objects; /* in a slab */
};

/*
 * The slab size that a rule wants for a pool, for struct kva_pool_allocator: 0
 * leaves the choice to the pool.  recorded_pages: 0 if not known.
 */
uint32_t geometry_slab_bytes(enum slab_rule rule, uint32_t size,
                             uint32_t recorded_pages);

/* What becomes of it.  size is not 0; align is a power of two. */
struct shape geometry_shape(enum slab_rule rule, uint32_t size, uint32_t align,
                            uint32_t recorded_pages);

/* kmalloc: objects up to this come from pools of the size classes of kmem(9),
 * larger ones are ranges of pages of their own. */
#define GEOMETRY_KMALLOC_MAX 8192u

/*
 * The class of a size that is not 0 and at most GEOMETRY_KMALLOC_MAX.  The
 * first call starts kmem and ends it again, so kmem must not be up then.
 */
uint32_t geometry_class(uint32_t size);

#endif
