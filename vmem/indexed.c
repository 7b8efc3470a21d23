/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Making and ending the indexes of an arena, and nodes for its operations.
 *
 * An operation needs nodes for one change of the index of segments, and one
 * that brings a span for one of the index of spans besides.  An import needs
 * its own when the span is there, with the lock dropped in between: so as long
 * as imports are on their way, whoever takes nodes leaves theirs.
 *
 * The same goes for operations that were prepared (budget.c).  Those themselves
 * ask for nothing any more: what is left by the last one who asked, for k
 * changes of a tree as it was then (kva__index_inners), serves k changes with
 * frees in between.  For what a free joins comes back, and is kept; and a node
 * that was joined, split or made since has room for 16 more, so that of k
 * changes k / 16 fill it once more, as those do which index.c counts.
 */
#include "vmem/indexed.h"

#include "vmem/meta.h"

static struct kva__meta_store stores;

void
kva__indexed_bootstrap(void)
{
    kva__index_bootstrap();
    kva__meta_store_init(&stores, "indexes",
                         (sizeof(struct kva__indexes) + 7) & ~(size_t)7,
                         KVA_META_OTHER, 0);
}

bool
kva__indexed_init(kva_vmem_t *vm)
{
    vm->index = kva__meta_get(&stores);
    if (vm->index == NULL) {
        return false;
    }
    kva__index_init(&vm->index->segments, vm->quantum_shift);
    kva__index_init(&vm->index->spans, vm->quantum_shift);
    kva__young_init(&vm->index->young);
    vm->detour |= KVA__DETOUR_INDEX;
    return true;
}

void
kva__indexed_fini(kva_vmem_t *vm)
{
    if (vm->index != NULL) {
        kva__index_fini(&vm->index->segments);
        kva__index_fini(&vm->index->spans);
        kva__meta_put(&stores, vm->index);
        vm->index = NULL;
    }
}

/* For nops operations, beside the imports.  A span and what is cut out of it
 * are two changes, and so are the two ends of a trim. */
static bool
nodes_ensure(struct kva__indexes *index, unsigned nops)
{
    nops += index->importing;
    return kva__index_ensure(&index->segments, 2 * nops) &&
           kva__index_ensure(&index->spans, nops);
}

bool
kva__indexed_ensure(kva_vmem_t *vm)
{
    return vm->index == NULL || nodes_ensure(vm->index, vm->promised + 1);
}

bool
kva__indexed_reserve(kva_vmem_t *vm, unsigned promised)
{
    struct kva__indexes *index = vm->index;

    return index == NULL ||
           (nodes_ensure(index, promised) &&
            kva__index_prepare(&index->segments, 2 * promised) &&
            kva__index_prepare(&index->spans, promised));
}

void
kva__indexed_settle(kva_vmem_t *vm, unsigned promised)
{
    struct kva__indexes *index = vm->index;

    if (index != NULL) {
        kva__index_settle(&index->segments, 2 * (promised + index->importing));
        kva__index_settle(&index->spans, promised + index->importing);
    }
}
