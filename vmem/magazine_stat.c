/* SPDX-License-Identifier: BSD-2-Clause */
/* What a magazine cache is at, for listings. */
#include "vmem/magazine_impl.h"

void
kva__magcache_stat(struct kva__magcache *mc, struct kva__mag_stat *st)
{
    kva_irq_t irq;

    *st = (struct kva__mag_stat){ .rounds = kva__magcache_rounds(mc),
                                  .slots = slots_of(mc) };
    irq = kva_port_lock(&mc->lock);
    st->bytes = kva__magcache_bytes(mc);
    st->capacity = mc->capacity;
    st->capacity_max = mc->capacity_max;
    st->full = mc->nfull;
    st->empty = mc->nempty;
    st->misses_get = mc->misses_get;
    st->misses_put = mc->misses_put;
    kva_port_unlock(&mc->lock, irq);
}
