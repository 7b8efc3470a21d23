/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slabs that are objects of other pools (PR_RECURSIVE).
 *
 * The map of slabs has one header for each page: that of the inner slab, as
 * long as there is one.  Its pages may be in a slab themselves, whose pool wants
 * to find it when the inner slab goes and is put there; so the inner header
 * keeps what the map had before, and the map has it again then.  Meanwhile a
 * put of such pages to their own pool is one of a live object of another pool's,
 * and is reported as that.
 */
#include "pool/pool_impl.h"

size_t
kva__nest_bytes(unsigned flags)
{
    return (flags & KVA__PR_NESTED) != 0 ? sizeof(struct kva__slab *) : 0;
}

static struct kva__slab **
outer_at(const struct kva_pool *pp, struct kva__slab *slab)
{
    return (struct kva__slab **)(kva__slab_map(pp, slab) + pp->map_words);
}

struct kva__slab *
kva__nest_outer(const struct kva_pool *pp, struct kva__slab *slab)
{
    return (pp->flags & KVA__PR_NESTED) != 0 ? *outer_at(pp, slab) : NULL;
}

void
kva__nest_note(const struct kva_pool *pp, struct kva__slab *slab,
               uintptr_t base)
{
    if ((pp->flags & KVA__PR_NESTED) != 0) {
        *outer_at(pp, slab) = kva__slab_of(base);
    }
}

bool
kva__nest_holds(struct kva__slab *slab, uintptr_t addr)
{
    struct kva__slab *inner = kva__slab_of(addr);

    while (inner != NULL && inner != slab) {
        inner = kva__nest_outer(inner->owner, inner);
    }
    return inner != NULL;
}
