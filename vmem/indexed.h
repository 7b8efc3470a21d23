/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The indexes of one arena made with VM_INDEX: its segments and its spans by
 * address.  Holes above the exact classes are in trees by size (order.h).
 */
#ifndef KVA_VMEM_INDEXED_H
#define KVA_VMEM_INDEXED_H

#include "vmem/class.h"
#include "vmem/index.h"
#include "vmem/order.h"

struct kva__indexes {
    struct kva__index segments;
    struct kva__index spans;
    unsigned importing; /* (a) operations for which nodes are kept */
};

/* Is class c a tree by size and not a list. */
static inline bool
class_is_ordered(const kva_vmem_t *vm, unsigned c)
{
    return vm->index != NULL && c >= KVA__VMEM_EXACT;
}

/* A hole of that size into its class, whatever that is; out of it. */
static inline void
holes_insert(kva_vmem_t *vm, struct kva_vmem_btag *bt, size_t size)
{
    unsigned c = class_of(size >> vm->quantum_shift);

    if (!class_is_ordered(vm, c)) {
        class_insert(vm, bt, bt_ref(bt), c);
        return;
    }
    kva__order_insert(&vm->class_head[c], bt, size);
    class_mark(vm, c);
}

static inline void
holes_remove(kva_vmem_t *vm, struct kva_vmem_btag *bt, size_t size)
{
    unsigned c = class_of(size >> vm->quantum_shift);

    if (!class_is_ordered(vm, c)) {
        (void)class_remove(vm, bt, c);
        return;
    }
    kva__order_remove(&vm->class_head[c], bt, size);
    if (vm->class_head[c] == BT_NONE) {
        class_clear(vm, c);
    }
}

#endif
