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
 * is not 0: somebody waits for what is freed.  Who must see every request takes
 * vm->open away, and then nobody comes here.  Arenas with an index have short
 * ways of their own, in the second half.
 *
 * The work is a constant number of steps but for the chain of a hash bucket.  A
 * tag is passed on with its reference, since to ask for that costs a cache
 * line, and nothing is touched that the result does not need: of a list, not the
 * second when the first is taken; of the hash, nothing when a hole that is still
 * in it becomes busy again.
 */
#include "vmem/hash.h"
#include "vmem/indexed.h"

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
    if ((flags & ~VM_INSTANTFIT) - 1u >= 2u) {
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
        if (c == KVA__VMEM_CLASSES || vm->nspare <= vm->reserved) {
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

static inline bool
short_free(kva_vmem_t *vm, uintptr_t addr, size_t size, enum btag_state state)
{
    struct kva_vmem_btag *bt, *next;
    kva__btag_ref_t ref;
    kva_irq_t irq;
    uintptr_t q1;

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

/* ---- with an index -------------------------------------------------------- */

/* The hole of exactly that size, or the front of the next larger one that is
 * still of an exact class; NULL: neither, or no tag or nodes for the front. */
static struct kva_vmem_btag *
take_exact(kva_vmem_t *vm, unsigned c, size_t size)
{
    struct kva_vmem_btag *hole, *bt;

    c = class_next(vm, c);
    if (c >= KVA__VMEM_EXACT) {
        return NULL;
    }
    hole = bt_at(vm->class_head[c]);
    if (bt_size(hole) == size) {
        class_pop(vm, hole, c);
        vm->stat.tags_free--;
        bt = hole;
    } else {
        if (vm->nspare == 0 || !kva__index_ensure(&vm->index->segments, 1)) {
            return NULL;
        }
        class_pop(vm, hole, c);
        bt = kva__btag_take(vm);
        bt->start = hole->start;
        hole->start += size;
        bt_insert_after(bt_prev(hole), bt);
        class_insert(vm, hole, bt_ref(hole), class_of_tag(vm, hole));
        vm->nsegments++;
    }
    kva__index_cut(&vm->index->segments, hole, bt, NULL);
    return bt;
}

/* May the short ways of an index be gone. */
static inline bool
index_is_open(const kva_vmem_t *vm)
{
    return vm->detour == 0 && vm->index->importing == 0 && vm->promised == 0;
}

static bool
short_alloc_index(kva_vmem_t *vm, size_t size, vm_flag_t flags,
                  enum btag_state state, uintptr_t *addr)
{
    uintptr_t q1 = (size - 1) >> vm->quantum_shift;
    struct kva_vmem_btag *bt = NULL;
    kva_irq_t irq;

    if ((flags & ~VM_INSTANTFIT) - 1u >= 2u || q1 >= KVA__VMEM_EXACT) {
        return false;
    }
    size = (size_t)(q1 + 1) << vm->quantum_shift;
    irq = kva_port_lock(&vm->lock);
    if (KVA_LIKELY(index_is_open(vm))) {
        bt = take_exact(vm, (unsigned)q1, size);
    }
    if (KVA_LIKELY(bt != NULL)) {
        bt_set_state(bt, state);
        *addr = bt->start;
        vm->stat.mem_inuse += size;
        vm->stat.alloc++;
    }
    kva_port_unlock(&vm->lock, irq);
    return bt != NULL;
}

static bool
short_free_index(kva_vmem_t *vm, uintptr_t addr, size_t size,
                 enum btag_state state)
{
    struct kva__index *ix = &vm->index->segments;
    uintptr_t q1 = (size - 1) >> vm->quantum_shift;
    struct kva_vmem_btag *bt, *next;
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    bt = kva__index_find(ix, addr, &vm->stat.search);
    if (KVA_UNLIKELY(bt == NULL || bt_state(bt) != state ||
                     !index_is_open(vm))) {
        goto out;
    }
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
    bt_set_state(bt, BT_FREE);
    holes_insert(vm, bt, size);
    kva__index_free(ix, addr, bt, false, false);
    vm->stat.tags_free++;
    vm->stat.mem_inuse -= size;
    vm->stat.free++;
    kva_port_unlock(&vm->lock, irq);
    return true;
out:
    kva_port_unlock(&vm->lock, irq);
    return false;
}

/* ---- which ------------------------------------------------------------------ */

static inline bool
request(kva_vmem_t *vm, size_t size, vm_flag_t flags, enum btag_state state,
        uintptr_t *addr)
{
    return KVA_LIKELY(vm->index == NULL)
               ? short_alloc(vm, size, flags, state, addr)
               : short_alloc_index(vm, size, flags, state, addr);
}

static inline bool
give(kva_vmem_t *vm, uintptr_t addr, size_t size, enum btag_state state)
{
    return KVA_LIKELY(vm->index == NULL)
               ? short_free(vm, addr, size, state)
               : short_free_index(vm, addr, size, state);
}

int
kva__short_alloc(kva_vmem_t *vm, size_t size, vm_flag_t flags, uintptr_t *addr)
{
    return KVA_LIKELY(request(vm, size, flags, BT_ALLOC, addr))
               ? 0
               : kva__long_alloc(vm, size, flags, addr, NULL);
}

bool
kva__short_xalloc(kva_vmem_t *vm, size_t size, vm_flag_t flags, uintptr_t *addr)
{
    return request(vm, size, flags, BT_XALLOC, addr);
}

void
kva__short_free(kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    if (KVA_UNLIKELY(!give(vm, addr, size, BT_ALLOC))) {
        kva__long_free(vm, addr, size, NULL);
    }
}

void
kva__short_xfree(kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    if (KVA_UNLIKELY(!give(vm, addr, size, BT_XALLOC))) {
        kva__long_xfree(vm, addr, size, NULL);
    }
}
