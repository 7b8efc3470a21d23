/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The indexes of one arena made with VM_INDEX: its segments and its spans by
 * address, and the holes that the former has not been told of (young.h).  Holes
 * above the exact classes are in trees by size (order.h).
 */
#ifndef KVA_VMEM_INDEXED_H
#define KVA_VMEM_INDEXED_H

#include "vmem/class.h"
#include "vmem/index.h"
#include "vmem/order.h"
#include "vmem/young.h"

struct kva__indexes {
    struct kva__index segments;
    struct kva__index spans;
    struct kva__young young; /* holes that segments does not know of */
    unsigned importing;      /* (a) operations for which nodes are kept */
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

/* Whatever happens to the hole, the index is to know of it. */
static inline void
indexed_settle(kva_vmem_t *vm, const struct kva_vmem_btag *hole)
{
    if (vm->index != NULL) {
        young_settle(&vm->index->young, &vm->index->segments, hole->start,
                     bt_size(hole));
    }
}

/* A segment of n quanta, as in an exact class, became a hole, joined with none;
 * one of any size did. */
static inline void
indexed_come_exact(kva_vmem_t *vm, uintptr_t start, size_t n)
{
    struct kva__young *young = &vm->index->young;
    struct kva__index *ix = &vm->index->segments;
    uintptr_t q = start >> vm->quantum_shift;

    if (KVA_LIKELY(young_takes(young, q))) {
        young_enter(young, ix, q, n);
    } else {
        young_missed(young);
        kva__index_come(ix, start, n << vm->quantum_shift);
    }
}

static inline void
indexed_come(kva_vmem_t *vm, uintptr_t start, size_t size)
{
    size_t n = size >> vm->quantum_shift;

    if (n <= KVA__VMEM_EXACT) {
        indexed_come_exact(vm, start, n);
    } else {
        kva__index_come(&vm->index->segments, start, size);
    }
}

/* A hole of n quanta, as in an exact class, is taken as a whole. */
static inline void
indexed_go(kva_vmem_t *vm, uintptr_t start, size_t n)
{
    if (!young_take(&vm->index->young, start >> vm->quantum_shift, n)) {
        kva__index_go(&vm->index->segments, start, n << vm->quantum_shift);
    }
}

/* The one that began at start did, joined with the hole before or behind it. */
static inline void
indexed_join(kva_vmem_t *vm, uintptr_t start, struct kva_vmem_btag *hole,
             bool join_prev, bool join_next)
{
    struct kva__young *young = &vm->index->young;
    struct kva__index *ix = &vm->index->segments;
    size_t n = bt_size(hole) >> vm->quantum_shift;
    uintptr_t q = hole->start >> vm->quantum_shift;
    bool enters = n <= KVA__VMEM_EXACT && young_takes(young, q);

    kva__index_free(ix, start, hole, join_prev, join_next, !enters);
    if (enters) {
        young_enter(young, ix, q, n);
    }
}

/* A hole is about to be cut, or joined with what is freed beside it. */
static inline bool
indexed_leave(kva_vmem_t *vm, const struct kva_vmem_btag *hole)
{
    return vm->index != NULL &&
           young_leave(&vm->index->young, &vm->index->segments, hole->start);
}

#endif
