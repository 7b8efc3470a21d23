/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Free segments by size: a list for each class, a bit for each list that is not
 * empty, a bit for each word of those.  Lists are last in, first out: the
 * segment freed last is the one whose tag is still in the cache.
 *
 * The first of a list is told by the list's head; its own prev is not kept, so
 * that taking it does not touch the next one.
 */
#ifndef KVA_VMEM_CLASS_H
#define KVA_VMEM_CLASS_H

#include "vmem/vmem_impl.h"

static inline void
class_mark(kva_vmem_t *vm, unsigned c)
{
    vm->class_map[c / KVA__WORD_BITS] |= (uintptr_t)1 << (c % KVA__WORD_BITS);
    vm->class_summary |= (uintptr_t)1 << (c / KVA__WORD_BITS);
}

static inline void
class_clear(kva_vmem_t *vm, unsigned c)
{
    unsigned w = c / KVA__WORD_BITS;

    vm->class_map[w] &= ~((uintptr_t)1 << (c % KVA__WORD_BITS));
    if (vm->class_map[w] == 0) {
        vm->class_summary &= ~((uintptr_t)1 << w);
    }
}

/* ref is bt's own reference, here and below. */
static inline void
class_insert(kva_vmem_t *vm, struct kva_vmem_btag *bt, kva__btag_ref_t ref,
             unsigned c)
{
    kva__btag_ref_t head = vm->class_head[c];

    bt->u.link.next = head;
    if (head != BT_NONE) {
        bt_at(head)->u.link.prev = ref;
    } else {
        class_mark(vm, c);
    }
    vm->class_head[c] = ref;
}

/* The first of a class; its reference. */
static inline kva__btag_ref_t
class_pop(kva_vmem_t *vm, struct kva_vmem_btag *first, unsigned c)
{
    kva__btag_ref_t ref = vm->class_head[c], next = first->u.link.next;

    vm->class_head[c] = next;
    if (next == BT_NONE) {
        class_clear(vm, c);
    }
    return ref;
}

/* Any of a class.  Its reference, which the list has: to ask the group for it
 * would cost a cache line. */
static inline kva__btag_ref_t
class_remove(kva_vmem_t *vm, struct kva_vmem_btag *bt, unsigned c)
{
    kva__btag_ref_t ref = vm->class_head[c], prev, next;
    struct kva_vmem_btag *before;

    if (bt_may_be_at(bt, ref) && bt_at(ref) == bt) {
        return class_pop(vm, bt, c);
    }
    prev = bt->u.link.prev;
    next = bt->u.link.next;
    before = bt_at(prev);
    ref = before->u.link.next;
    before->u.link.next = next;
    if (next != BT_NONE) {
        bt_at(next)->u.link.prev = prev;
    }
    return ref;
}

/* The class from which on every segment holds q quanta. */
static inline unsigned
class_sure(uintptr_t q)
{
    unsigned c = class_of(q), f;

    if (KVA_LIKELY(q <= KVA__VMEM_EXACT)) {
        return c;
    }
    f = kva_fls(q);
    return (q & (((uintptr_t)1 << (f - KVA__VMEM_STEP_SHIFT)) - 1)) == 0
               ? c
               : c + 1;
}

/* The first class from c on that is not empty, or KVA__VMEM_CLASSES. */
static inline unsigned
class_next(const kva_vmem_t *vm, unsigned c)
{
    unsigned w = c / KVA__WORD_BITS;
    uintptr_t bits, words;

    if (KVA_UNLIKELY(c >= KVA__VMEM_CLASSES)) {
        return KVA__VMEM_CLASSES;
    }
    bits = vm->class_map[w] & (~(uintptr_t)0 << (c % KVA__WORD_BITS));
    if (bits == 0) {
        words = vm->class_summary & (~(uintptr_t)1 << w);
        if (words == 0) {
            return KVA__VMEM_CLASSES;
        }
        w = kva_ffs(words);
        bits = vm->class_map[w];
    }
    return w * KVA__WORD_BITS + kva_ffs(bits);
}

#endif
