/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Holes in the order of their sizes, and of their first addresses among equals:
 * a balanced tree inside the tags of the holes themselves, so that the best fit
 * is found, and kept, in a logarithm of their number.  How: order.c.
 *
 * A tree is a reference to its root, BT_NONE if there is none, and may take the
 * place of a list of free segments.  A hole's size is what its ring says; so it
 * is taken out before that changes and put in when it has, and size is the size
 * that it has in the tree.  All under the arena lock; nothing can fail.
 *
 * What is looked at is added to *visits: a hole, and the tag behind it.
 */
#ifndef KVA_VMEM_ORDER_H
#define KVA_VMEM_ORDER_H

#include "vmem/vmem_store.h"

/*
 * Levels at most.  An AVL tree of n nodes has less than
 * 1.4405 log2(n + 2) - 0.327 levels (Knuth, TAOCP 3, 6.2.3, theorem A).  There
 * are 2^24 tags at most on a 64-bit machine (btag.c): 34; less than 2^28 on a
 * 32-bit one, of 24 bytes each: 40.
 */
#define KVA__ORDER_HEIGHT_MAX 40u

/* Work: a path from the root, O(log n). */
void
kva__order_insert(kva__btag_ref_t *root, struct kva_vmem_btag *bt, size_t size);
void
kva__order_remove(kva__btag_ref_t *root, struct kva_vmem_btag *bt, size_t size);

/* The smallest hole of at least size bytes, the lowest of equal ones; NULL:
 * none.  kva__order_best(root, 0, ...) is the smallest of all. */
struct kva_vmem_btag *
kva__order_best(kva__btag_ref_t root, size_t size, size_t *visits);
/* The next in order behind a hole of that size and start, which need not be
 * there; NULL: none. */
struct kva_vmem_btag *kva__order_next(kva__btag_ref_t root, size_t size,
                                      uintptr_t start, size_t *visits);
/* The largest; NULL: none. */
struct kva_vmem_btag *kva__order_last(kva__btag_ref_t root, size_t *visits);

/* NULL, or what does not hold; *count: how many there are. */
const char *kva__order_check(kva__btag_ref_t root, size_t *count);

#endif
