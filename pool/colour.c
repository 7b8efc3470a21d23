/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Colours.  Slabs are aligned, so the n-th object of each would lie at the same
 * offset of a page, and so in the same few sets of a cache, whichever slab it is
 * in.  What a slab has left over is put before the objects instead of behind
 * them, a multiple of their alignment more for each slab than for the one made
 * before, and then from the start again (Bonwick 1994, 4.3).
 *
 *     | header | object | object | object |    rest     |
 *     | header |  4  | object | object | object | rest  |
 *     | header |    8    | object | object | object | r |
 *
 * A slab that is one object of whole pages has none: it begins a page.
 */
#include "pool/pool_impl.h"

void
kva__colour_init(struct kva_pool *pp, size_t waste, size_t align)
{
    pp->colour = 0;
    pp->colour_step = 0;
    if ((pp->flags & KVA__PR_SINGLE) == 0 && waste >= align) {
        pp->colour_step = (uint32_t)align;
        pp->colour_last = (uint32_t)kva_round_down(waste, align);
    }
}

uint32_t
kva__colour_next(struct kva_pool *pp)
{
    kva_irq_t irq;
    uint32_t colour;

    if (pp->colour_step == 0) {
        return 0;
    }
    irq = kva__pool_lock(pp);
    colour = pp->colour;
    pp->colour = colour == pp->colour_last ? 0 : colour + pp->colour_step;
    kva__pool_unlock(pp, irq);
    return colour;
}
