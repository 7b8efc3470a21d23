/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Free segments by size: a list for each class, a bit for each list that is not
 * empty, a bit for each word of those.  Lists are last in, first out: the
 * segment freed last is the one whose tag is still in the cache.
 */
#include "vmem/vmem_impl.h"

void
kva__class_insert(kva_vmem_t *vm, struct kva_vmem_btag *bt, unsigned c)
{
    kva__btag_ref_t head = vm->class_head[c];
    kva__btag_ref_t self = bt_ref(bt);

    bt->u.link.prev = BT_NONE;
    bt->u.link.next = head;
    if (head != BT_NONE) {
        bt_at(head)->u.link.prev = self;
    } else {
        vm->class_map[c / KVA__WORD_BITS] |= (uintptr_t)1
                                             << (c % KVA__WORD_BITS);
        vm->class_summary |= (uintptr_t)1 << (c / KVA__WORD_BITS);
    }
    vm->class_head[c] = self;
}

void
kva__class_remove(kva_vmem_t *vm, struct kva_vmem_btag *bt, unsigned c)
{
    kva__btag_ref_t prev = bt->u.link.prev, next = bt->u.link.next;

    if (next != BT_NONE) {
        bt_at(next)->u.link.prev = prev;
    }
    if (prev != BT_NONE) {
        bt_at(prev)->u.link.next = next;
        return;
    }
    vm->class_head[c] = next;
    if (next == BT_NONE) {
        unsigned w = c / KVA__WORD_BITS;

        vm->class_map[w] &= ~((uintptr_t)1 << (c % KVA__WORD_BITS));
        if (vm->class_map[w] == 0) {
            vm->class_summary &= ~((uintptr_t)1 << w);
        }
    }
}

unsigned
kva__class_next(const kva_vmem_t *vm, unsigned c)
{
    unsigned w = c / KVA__WORD_BITS;
    uintptr_t bits;

    if (c >= KVA__VMEM_CLASSES) {
        return KVA__VMEM_CLASSES;
    }
    bits = vm->class_map[w] & (~(uintptr_t)0 << (c % KVA__WORD_BITS));
    if (bits == 0) {
        uintptr_t words = vm->class_summary & (~(uintptr_t)1 << w);

        if (words == 0) {
            return KVA__VMEM_CLASSES;
        }
        w = kva_ffs(words);
        bits = vm->class_map[w];
    }
    return w * KVA__WORD_BITS + kva_ffs(bits);
}
