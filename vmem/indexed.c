/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Making and ending the indexes of an arena, and nodes for its operations.
 *
 * An operation needs nodes for one change of the index of segments, and one
 * that brings a span for one of the index of spans besides.  An import needs its
 * own when the span is there, with the lock dropped in between: so as long as
 * imports are on their way, whoever takes nodes leaves theirs.
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

bool
kva__indexed_ensure(kva_vmem_t *vm)
{
    unsigned importing;

    if (vm->index == NULL) {
        return true;
    }
    importing = vm->index->importing;
    /* A span and what is cut out of it are two changes. */
    return kva__index_ensure(&vm->index->segments, 2 * importing + 2) &&
           kva__index_ensure(&vm->index->spans, importing + 1);
}
