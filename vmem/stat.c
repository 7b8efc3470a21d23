/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How much there is: sizes and statistics of an arena.  Nothing is counted here
 * that is not counted where it happens; what would cost a hit path something is
 * put together from what lies about.
 */
#include "vmem/indexed.h"

/* The longest segment of the highest class that has one.  Arena locked. */
static size_t
largest_free(kva_vmem_t *vm)
{
    size_t best = 0;

    if (vm->index != NULL) {
        best = kva__young_max(&vm->index->young, &vm->index->segments);
        return best > vm->index->segments.max ? best : vm->index->segments.max;
    }
    for (unsigned c = KVA__VMEM_CLASSES; c-- > 0 && best == 0;) {
        kva__btag_ref_t ref = vm->class_head[c];

        while (ref != BT_NONE) {
            struct kva_vmem_btag *bt = bt_at(ref);

            if (bt_size(bt) > best) {
                best = bt_size(bt);
            }
            ref = bt->u.link.next;
        }
    }
    return best;
}

vmem_size_t
vmem_size(kva_vmem_t *vm, unsigned typemask)
{
    size_t sum = 0;
    kva_irq_t irq;

    arena_alive(vm, "vmem_size");
    if ((typemask & VMEM_CACHED) != 0) {
        sum += kva__qcache_cached(vm);
    }
    irq = kva_port_lock(&vm->lock);
    if ((typemask & VMEM_ALLOC) != 0) {
        sum += vm->stat.mem_inuse;
    }
    if ((typemask & VMEM_FREE) != 0) {
        sum += vm->stat.mem_total - vm->stat.mem_inuse;
    }
    if ((typemask & VMEM_MAXFREE) != 0) {
        sum += largest_free(vm);
    }
    kva_port_unlock(&vm->lock, irq);
    return sum;
}

void
kva__stat_get(const kva_vmem_t *vm, struct kva_vmem_stat *st)
{
    *st = vm->stat;
    st->vmem_source = vm->source;
    st->tags_spare = vm->nspare;
    st->tags_reserved = vm->reserved;
    st->tags_busy = vm->nsegments - vm->stat.tags_free;
    /* Each grant looked at one at least, each free looked one up. */
    st->search += st->alloc;
    st->lookup += st->free;
    st->hash_bytes = kva__hash_bytes(vm);
    if (vm->index != NULL) {
        st->hash_bytes += kva__index_bytes(&vm->index->segments) +
                          kva__index_bytes(&vm->index->spans);
    }
}

void
vmem_stat(kva_vmem_t *vm, struct kva_vmem_stat *st)
{
    size_t tags;
    kva_irq_t irq;

    arena_alive(vm, "vmem_stat");
    irq = kva_port_lock(&vm->lock);
    kva__stat_get(vm, st);
    kva_port_unlock(&vm->lock, irq);
    kva__qcache_stat(vm, st);
    tags = st->tags_busy + st->tags_free + st->tags_span + st->tags_spare;
    st->tag_bytes = tags * sizeof(struct kva_vmem_btag);
    st->meta_bytes = sizeof(*vm) + st->tag_bytes + st->hash_bytes +
                     st->qcache_bytes + st->state_bytes + st->magazine_bytes;
}
