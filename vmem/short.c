/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The short ways: what most requests and frees of an arena come to, each in one
 * go under the arena's lock.
 *
 *      alloc   the first hole of the exact class, whole;
 *              else the front of the first hole of the next class there is
 *      free    a segment between busy neighbours becomes a hole
 *
 * Whatever else it takes (constraints, a fit, tags, an import, neighbours to be
 * joined, a span to be released, a report of misuse) is left to the long way in
 * arena.c, with nothing done here.  The short ways are closed while vm->detour
 * is not 0: somebody must see every request, or waits for what is freed.
 *
 * The work is a constant number of steps but for the chain of a hash bucket.  A
 * tag is passed on with its reference, since to ask for that costs a cache
 * line, and nothing is touched that the result does not need: of a list, not the
 * second when the first is taken; of the hash, nothing when a hole that is still
 * in it becomes busy again.
 */
#include "vmem/class.h"
#include "vmem/hash.h"

/*
 * Cut size bytes off the front of the first hole of class c.  The hole's tag,
 * which the hash may have, stands for the front; what is left gets a new one.
 */
static inline void
cut_front(kva_vmem_t *vm, struct kva_vmem_btag *hole, unsigned c, size_t size)
{
    struct kva_vmem_btag *rest = kva__btag_take(vm), *next = bt_next(hole);

    class_pop(vm, hole, c);
    rest->start = hole->start + size;
    bt_set(rest, hole, next, BT_FREE);
    bt_set_next(hole, rest);
    bt_set_prev(next, rest);
    class_insert(vm, rest, bt_ref(rest), class_of_tag(vm, rest));
    vm->nsegments++;
}

/* A request of size bytes, state what its segment will be. */
static inline bool
short_alloc(kva_vmem_t *vm, size_t size, vm_flag_t flags, enum btag_state state,
            uintptr_t *addr)
{
    struct kva_vmem_btag *bt;
    kva__btag_ref_t ref;
    kva_irq_t irq;
    uintptr_t q1;
    unsigned c;

    /* One way to wait and perhaps the usual fit; an exact class. */
    if ((flags & ~VM_INSTANTFIT) - 1u >= 2u || vm->magic != KVA__VMEM_MAGIC) {
        return false;
    }
    q1 = (size - 1) >> vm->quantum_shift;
    if (q1 >= KVA__VMEM_EXACT) {
        return false;
    }
    c = (unsigned)q1;
    irq = kva_port_lock(&vm->lock);
    ref = vm->class_head[c];
    if (KVA_UNLIKELY(vm->detour != 0)) {
        goto out;
    }
    size = (size_t)(q1 + 1) << vm->quantum_shift;
    if (KVA_LIKELY(ref != BT_NONE)) {
        bt = bt_at(ref);
        class_pop(vm, bt, c);
        vm->stat.tags_free--;
    } else {
        c = class_next(vm, c + 1);
        if (c == KVA__VMEM_CLASSES || vm->nspare == 0) {
            goto out;
        }
        ref = vm->class_head[c];
        bt = bt_at(ref);
        cut_front(vm, bt, c, size);
    }
    if (KVA_UNLIKELY(bt_state(bt) != BT_FREE_HASHED)) {
        hash_enter(vm, bt, ref);
    }
    bt_set_state(bt, state);
    *addr = bt->start;
    vm->stat.mem_inuse += size;
    vm->stat.alloc++;
    kva_port_unlock(&vm->lock, irq);
    return true;
out:
    kva_port_unlock(&vm->lock, irq);
    return false;
}

int
kva__short_alloc(kva_vmem_t *vm, size_t size, vm_flag_t flags, uintptr_t *addr)
{
    return KVA_LIKELY(short_alloc(vm, size, flags, BT_ALLOC, addr))
               ? 0
               : kva__long_alloc(vm, size, flags, addr);
}

bool
kva__short_xalloc(kva_vmem_t *vm, size_t size, vm_flag_t flags, uintptr_t *addr)
{
    return short_alloc(vm, size, flags, BT_XALLOC, addr);
}

static inline bool
short_free(kva_vmem_t *vm, uintptr_t addr, size_t size, enum btag_state state)
{
    struct kva_vmem_btag *bt, *next;
    kva__btag_ref_t ref;
    kva_irq_t irq;
    uintptr_t q1;

    if (vm->magic != KVA__VMEM_MAGIC) {
        return false;
    }
    irq = kva_port_lock(&vm->lock);
    bt = hash_find_slot(vm, addr, &ref);
    if (KVA_UNLIKELY(bt == NULL || bt_state(bt) != state || vm->detour != 0)) {
        goto out;
    }
    q1 = (size - 1) >> vm->quantum_shift;
    next = bt_next(bt);
    size = next->start - bt->start;
    if (KVA_UNLIKELY(size != (size_t)(q1 + 1) << vm->quantum_shift)) {
        goto out;
    }
    if (KVA_UNLIKELY((bt_prev(bt)->prev_bits & next->prev_bits & BT_BUSY_BIT) ==
                     0)) {
        kva__segment_give(vm, bt, true, irq);
        return true;
    }
    bt_set_state(bt, BT_FREE_HASHED);
    class_insert(vm, bt, ref, class_of(q1 + 1));
    vm->stat.tags_free++;
    vm->stat.mem_inuse -= size;
    vm->stat.free++;
    kva_port_unlock(&vm->lock, irq);
    return true;
out:
    kva_port_unlock(&vm->lock, irq);
    return false;
}

void
kva__short_free(kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    if (KVA_UNLIKELY(!short_free(vm, addr, size, BT_ALLOC))) {
        kva__long_free(vm, addr, size);
    }
}

void
kva__short_xfree(kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    if (KVA_UNLIKELY(!short_free(vm, addr, size, BT_XALLOC))) {
        kva__long_xfree(vm, addr, size);
    }
}
