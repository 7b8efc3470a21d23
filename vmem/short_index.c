/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The short ways of arenas with an index: as those of short.c, but the index is
 * to be told.  Of a hole that is young (young.h) it need not be.
 *
 *      alloc   the first hole of the exact class, whole;
 *              else the front of the first hole of the next exact class there
 *              is
 *      free    a segment becomes a hole, with those on either side of it
 *
 * Only a front that is cut off takes a tag and nodes; so that is left to the
 * long way as long as imports are on their way or operations prepared, which
 * may want what there is.
 */
#include "vmem/short.h"

#include "vmem/hash.h"
#include "vmem/indexed.h"

/* ---- requests ----------------------------------------------------------- */

/*
 * The front of the first hole above class own, which is empty, that is still of
 * an exact class; *ref: its reference.  NULL: there is none, or no tag or
 * nodes.
 */
static struct kva_vmem_btag *
take_front(kva_vmem_t *vm, unsigned own, size_t size, kva__btag_ref_t *ref)
{
    struct kva__index *ix = &vm->index->segments;
    struct kva_vmem_btag *hole, *rest, *next;
    unsigned c = class_next(vm, own + 1);
    kva__btag_ref_t rest_ref;

    if (c >= KVA__VMEM_EXACT || vm->nspare == 0 || vm->promised != 0 ||
        vm->index->importing != 0 || !kva__index_ensure(ix, 1)) {
        return NULL;
    }
    hole = bt_at(vm->class_head[c]);
    *ref = class_pop(vm, hole, c);
    (void)young_take(&vm->index->young, hole->start >> vm->quantum_shift,
                     (size_t)c + 1);
    rest = kva__btag_take(vm);
    rest_ref = bt_unused_ref(rest);
    next = bt_next(hole);
    rest->start = hole->start + size;
    bt_set(rest, hole, next, BT_FREE);
    bt_set_next(hole, rest);
    bt_set_prev(next, rest);
    class_insert(vm, rest, rest_ref, c - own - 1);
    vm->nsegments++;
    vm->stat.tags_free++;
    kva__index_cut(ix, hole, hole, rest);
    return hole;
}

/* Arena locked: there is no hole of class c that is in the hash, or the short
 * ways are closed. */
APART int
alloc_other(kva_vmem_t *vm, unsigned c, vm_flag_t flags, enum btag_state state,
            uintptr_t *addr, kva_irq_t irq)
{
    size_t size = (size_t)(c + 1) << vm->quantum_shift;
    kva__btag_ref_t ref = vm->class_head[c];
    struct kva_vmem_btag *bt = NULL;

    if (vm->detour != KVA__DETOUR_INDEX) {
        goto out;
    }
    if (ref != BT_NONE) {
        bt = bt_at(ref);
        (void)class_pop(vm, bt, c);
        indexed_go(vm, bt->start, (size_t)c + 1);
    } else {
        bt = take_front(vm, c, size, &ref);
        if (bt == NULL) {
            goto out;
        }
    }
    if (bt_state(bt) != BT_FREE_HASHED) {
        hash_enter(vm, bt, ref);
    }
    bt_set_state(bt, state);
    *addr = bt->start;
    vm->stat.tags_free--;
    vm->stat.mem_inuse += size;
    vm->stat.alloc++;
    kva_port_unlock(&vm->lock, irq);
    return 0;
out:
    kva_port_unlock(&vm->lock, irq);
    return kva__short_long(vm, size, flags, state, addr);
}

/* A request of size bytes, state what its segment will be. */
INLINE int
request(kva_vmem_t *vm, size_t size, vm_flag_t flags, enum btag_state state,
        uintptr_t *addr)
{
    uintptr_t c = (size - 1) >> vm->quantum_shift;
    struct kva_vmem_btag *bt;
    kva__btag_ref_t ref;
    kva_irq_t irq;

    /* One way to wait and perhaps the usual fit; an exact class. */
    if (KVA_UNLIKELY(!short_flags(flags) || c >= KVA__VMEM_EXACT)) {
        return kva__short_long(vm, size, flags, state, addr);
    }
    irq = kva_port_lock(&vm->lock);
    ref = vm->class_head[c];
    if (KVA_UNLIKELY(vm->detour != KVA__DETOUR_INDEX || ref == BT_NONE)) {
        return alloc_other(vm, (unsigned)c, flags, state, addr, irq);
    }
    bt = bt_at(ref);
    if (KVA_UNLIKELY(bt_state(bt) != BT_FREE_HASHED)) {
        return alloc_other(vm, (unsigned)c, flags, state, addr, irq);
    }
    (void)class_pop(vm, bt, (unsigned)c);
    bt_set_state(bt, state);
    *addr = bt->start;
    vm->stat.tags_free--;
    vm->stat.mem_inuse += (size_t)(c + 1) << vm->quantum_shift;
    vm->stat.alloc++;
    indexed_go(vm, bt->start, c + 1);
    kva_port_unlock(&vm->lock, irq);
    return 0;
}

/* ---- frees -------------------------------------------------------------- */

/* A hole, of that size, leaves its class and is not young any more; its
 * reference. */
static inline kva__btag_ref_t
leave(kva_vmem_t *vm, struct kva_vmem_btag *hole, size_t size)
{
    uintptr_t q = size >> vm->quantum_shift;

    if (KVA_LIKELY(q <= KVA__VMEM_EXACT)) {
        (void)young_take(&vm->index->young, hole->start >> vm->quantum_shift,
                         q);
        return class_remove(vm, hole, (unsigned)q - 1);
    }
    holes_remove(vm, hole, size);
    return bt_ref(hole);
}

/* One comes of that size. */
static inline void
enter(kva_vmem_t *vm, struct kva_vmem_btag *hole, kva__btag_ref_t ref,
      size_t size)
{
    uintptr_t q = size >> vm->quantum_shift;

    if (KVA_LIKELY(q <= KVA__VMEM_EXACT)) {
        class_insert(vm, hole, ref, (unsigned)q - 1);
    } else {
        holes_insert(vm, hole, size);
    }
}

/*
 * A segment with a hole beside it, or two, becomes free; slot: where the hash
 * has it, NULL: it has left.  False: its span may go, or somebody stands in its
 * ring.
 *
 *      before   [prev]   bt   [next]   behind
 *               |<- holes, if any ->|
 */
static bool
join(kva_vmem_t *vm, struct kva_vmem_btag *bt, kva__hash_slot_t *slot)
{
    struct kva_vmem_btag *prev = bt_prev(bt), *next = bt_next(bt);
    struct kva_vmem_btag *behind = next, *hole = bt;
    bool join_prev = bt_is_free(prev), join_next = bt_is_free(next);
    kva__btag_ref_t ref = slot != NULL ? hash_slot_ref(*slot) : bt_ref(bt);
    uintptr_t start = bt->start, middle = next->start;
    unsigned gone = 0;

    if (bt_is_span(prev) || bt_is_span(next) || vm->cursors != NULL) {
        return false;
    }
    if (join_next) {
        behind = bt_next(next);
    }
    if (join_prev) {
        kva__btag_ref_t own = ref;

        if (bt_prev(prev) == behind) {
            return false;
        }
        hole = prev;
        ref = leave(vm, hole, start - hole->start);
        if (slot != NULL) {
            hash_leave_slot(vm, slot);
        }
        bt_retire(vm, bt, own);
        gone++;
    } else { /* first, as the hash may let go of it when others leave */
        bt_set_state(bt, slot != NULL ? BT_FREE_HASHED : BT_FREE);
    }
    if (join_next) {
        kva__btag_ref_t own = leave(vm, next, behind->start - middle);

        if (bt_state(next) == BT_FREE_HASHED) {
            kva__hash_leave(vm, next);
        }
        bt_retire(vm, next, own);
        gone++;
    }
    bt_set_next(hole, behind);
    bt_set_prev(behind, hole);
    enter(vm, hole, ref, behind->start - hole->start);
    short_joined(vm, middle - start, gone);
    if (gone != 0) {
        indexed_join(vm, start, hole, join_prev, join_next);
    } else {
        indexed_come(vm, start, middle - start);
    }
    return true;
}

/* Unlocks the arena. */
APART void
free_joining(kva_vmem_t *vm, struct kva_vmem_btag *bt, kva__hash_slot_t *slot,
             kva_irq_t irq)
{
    if (KVA_UNLIKELY(!join(vm, bt, slot))) {
        kva__segment_give(vm, bt, slot != NULL, irq);
        return;
    }
    kva_port_unlock(&vm->lock, irq);
    KVA_PARANOID(vmem_check(vm));
}

/* Arena locked: no slot has it, or it is not what goes, or the short ways are
 * closed. */
APART void
free_other(kva_vmem_t *vm, uintptr_t addr, size_t size, enum btag_state state,
           kva_irq_t irq)
{
    struct kva_vmem_btag *bt;
    bool own;

    if (vm->detour == KVA__DETOUR_INDEX) {
        bt = kva__hash_find(vm, addr, &own);
        if (bt != NULL && !own && short_is_it(vm, bt, size, state)) {
            kva__hash_leave(vm, bt);
            free_joining(vm, bt, NULL, irq);
            return;
        }
    }
    kva_port_unlock(&vm->lock, irq);
    kva__short_long_free(vm, addr, size, state);
}

INLINE void
give(kva_vmem_t *vm, uintptr_t addr, size_t size, enum btag_state state)
{
    struct kva_vmem_btag *bt;
    kva__hash_slot_t *slot;
    kva_irq_t irq;
    uintptr_t q;

    irq = kva_port_lock(&vm->lock);
    if (KVA_UNLIKELY(vm->detour != KVA__DETOUR_INDEX)) {
        free_other(vm, addr, size, state, irq);
        return;
    }
    bt = hash_find_slot(vm, addr, &slot);
    if (KVA_UNLIKELY(bt == NULL || !short_is_it(vm, bt, size, state))) {
        free_other(vm, addr, size, state, irq);
        return;
    }
    q = ((size - 1) >> vm->quantum_shift) + 1;
    if (KVA_UNLIKELY((bt_prev(bt)->prev_bits & bt_next(bt)->prev_bits &
                      BT_BUSY_BIT) == 0 ||
                     q > KVA__VMEM_EXACT)) {
        free_joining(vm, bt, slot, irq);
        return;
    }
    bt_set_state(bt, BT_FREE_HASHED);
    class_insert(vm, bt, hash_slot_ref(*slot), (unsigned)q - 1);
    vm->stat.tags_free++;
    vm->stat.mem_inuse -= (size_t)q << vm->quantum_shift;
    vm->stat.free++;
    indexed_come_exact(vm, addr, q);
    kva_port_unlock(&vm->lock, irq);
}

/* ---- who comes ---------------------------------------------------------- */

int
kva__short_index_alloc(kva_vmem_t *vm, size_t size, vm_flag_t flags,
                       uintptr_t *addr)
{
    return request(vm, size, flags, BT_ALLOC, addr);
}

int
kva__short_index_xalloc(kva_vmem_t *vm, size_t size, vm_flag_t flags,
                        uintptr_t *addr)
{
    return request(vm, size, flags, BT_XALLOC, addr);
}

void
kva__short_index_free(kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    give(vm, addr, size, BT_ALLOC);
}

void
kva__short_index_xfree(kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    give(vm, addr, size, BT_XALLOC);
}
