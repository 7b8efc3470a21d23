/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The short ways: what most requests and frees of an arena come to, each in one
 * go under the arena's lock.
 *
 *      alloc   the first hole of the exact class, whole;
 *              else the front of the first hole of the next class there is
 *      at      of a larger size, or with align, phase, nocross: out of the
 *              first hole of its own class, if it does, or of those that are
 *              long enough wherever they start; front and end are cut in one go
 *      free    a segment becomes a hole, with those on either side of it
 *
 * Whatever else it takes (bounds, a fit, tags, an import, a search that walks,
 * a span to be released, a report of misuse) is left to the long way in
 * arena.c, with nothing done here.  The short ways are closed while vm->detour
 * is not 0: a search is suspended, or somebody waits for what is freed.  Who
 * must see every request takes vm->open away, and then nobody comes here.
 * Arenas with an index have short ways of their own, in the second half.
 *
 * The work is a constant number of steps but for the chain of a hash bucket.  A
 * tag is passed on with its reference, since to ask for that costs a cache
 * line, and nothing is touched that the result does not need: of a list, not
 * the second when the first is taken; of the hash, nothing when a hole that is
 * still in it becomes busy again.
 */
#include "vmem/class.h"
#include "vmem/hash.h"
#include "vmem/short.h"

/* ---- the long ways, which stand behind ---------------------------------- */

APART int
long_request(kva_vmem_t *vm, const struct vmem_request *from,
             enum btag_state state, uintptr_t *addr)
{
    return state == BT_ALLOC
               ? kva__long_alloc(vm, from->size, from->flags, addr, NULL)
               : kva__long_xalloc(vm, from, addr, NULL);
}

int
kva__short_long(kva_vmem_t *vm, size_t size, vm_flag_t flags,
                enum btag_state state, uintptr_t *addr)
{
    const struct vmem_request from = { .size = size,
                                       .maxaddr = VMEM_ADDR_MAX,
                                       .flags = flags };

    return long_request(vm, &from, state, addr);
}

void
kva__short_long_free(kva_vmem_t *vm, uintptr_t addr, size_t size,
                     enum btag_state state)
{
    if (state == BT_ALLOC) {
        kva__long_free(vm, addr, size, NULL);
    } else {
        kva__long_xfree(vm, addr, size, NULL);
    }
}

/* ---- of an exact class -------------------------------------------------- */

/*
 * Cut size bytes off the front of the first hole of class c.  The hole's tag,
 * which the hash may have, stands for the front; what is left gets a new one.
 */
static inline void
cut_front(kva_vmem_t *vm, struct kva_vmem_btag *hole, unsigned c, size_t size)
{
    struct kva_vmem_btag *rest = kva__btag_take(vm), *next = bt_next(hole);
    kva__btag_ref_t ref = bt_unused_ref(rest);
    uintptr_t start = hole->start + size;

    (void)class_pop(vm, hole, c);
    rest->start = start;
    bt_set(rest, hole, next, BT_FREE);
    bt_set_next(hole, rest);
    bt_set_prev(next, rest);
    class_insert(vm, rest, ref,
                 class_of((next->start - start) >> vm->quantum_shift));
    vm->nsegments++;
}

/* Arena locked: there is no hole of class c that is in the hash, or the short
 * ways are closed. */
APART int
alloc_other(kva_vmem_t *vm, unsigned c, vm_flag_t flags, enum btag_state state,
            uintptr_t *addr, kva_irq_t irq)
{
    size_t size = (size_t)(c + 1) << vm->quantum_shift;
    kva__btag_ref_t ref = vm->class_head[c];
    struct kva_vmem_btag *bt;
    unsigned from;

    if (vm->detour != 0) {
        goto out;
    }
    if (ref != BT_NONE) {
        bt = bt_at(ref);
        (void)class_pop(vm, bt, c);
        vm->stat.tags_free--;
    } else {
        from = class_next(vm, c + 1);
        if (from == KVA__VMEM_CLASSES || vm->nspare <= vm->reserved) {
            goto out;
        }
        ref = vm->class_head[from];
        bt = bt_at(ref);
        cut_front(vm, bt, from, size);
    }
    if (bt_state(bt) != BT_FREE_HASHED) {
        hash_enter(vm, bt, ref);
    }
    bt_set_state(bt, state);
    *addr = bt->start;
    vm->stat.mem_inuse += size;
    vm->stat.alloc++;
    kva_port_unlock(&vm->lock, irq);
    return 0;
out:
    kva_port_unlock(&vm->lock, irq);
    return kva__short_long(vm, size, flags, state, addr);
}

static int
place_aligned(kva_vmem_t *vm, size_t size, size_t align, vm_flag_t flags,
              uintptr_t *addr, enum btag_state state);

/* A request of size bytes, state what its segment will be. */
INLINE int
short_alloc(kva_vmem_t *vm, size_t size, vm_flag_t flags, enum btag_state state,
            uintptr_t *addr)
{
    uintptr_t c = (size - 1) >> vm->quantum_shift;
    struct kva_vmem_btag *bt;
    kva__btag_ref_t ref;
    kva_irq_t irq;

    if (KVA_UNLIKELY(c >= KVA__VMEM_EXACT)) {
        return place_aligned(vm, size, (size_t)1 << vm->quantum_shift, flags,
                             addr, state);
    }
    if (KVA_UNLIKELY(!short_flags(flags))) {
        return kva__short_long(vm, size, flags, state, addr);
    }
    irq = kva_port_lock(&vm->lock);
    ref = vm->class_head[c];
    if (KVA_UNLIKELY(vm->detour != 0 || ref == BT_NONE)) {
        return alloc_other(vm, (unsigned)c, flags, state, addr, irq);
    }
    bt = bt_at(ref);
    if (KVA_UNLIKELY(bt_state(bt) != BT_FREE_HASHED)) {
        return alloc_other(vm, (unsigned)c, flags, state, addr, irq);
    }
    (void)class_pop(vm, bt, (unsigned)c);
    bt_change_state(bt, BT_FREE_HASHED, state);
    *addr = bt->start;
    vm->stat.tags_free--;
    vm->stat.mem_inuse += (size_t)(c + 1) << vm->quantum_shift;
    vm->stat.alloc++;
    kva_port_unlock(&vm->lock, irq);
    return 0;
}

/* ---- of any size and place ---------------------------------------------- */

/* Bounds aside; align at least the quantum, nocross 0: none. */
struct want {
    size_t size;
    size_t align;
    size_t phase;
    size_t nocross;
};

static inline bool
crosses(const struct want *w, uintptr_t at)
{
    return w->nocross != 0 &&
           ((at ^ (at + (w->size - 1))) & ~(w->nocross - 1)) != 0;
}

/*
 * The lowest place in the hole, if it has one.  What wraps at the top of the
 * space is farther from the hole's start than its end is.
 */
static inline bool
place(const struct want *w, const struct kva_vmem_btag *hole, uintptr_t *at)
{
    size_t length = bt_size(hole);

    *at = kva_round_up(hole->start - w->phase, w->align) + w->phase;
    if (crosses(w, *at)) {
        *at = kva_round_up(*at + 1, w->nocross);
        *at = kva_round_up(*at - w->phase, w->align) + w->phase;
        if (crosses(w, *at)) {
            return false;
        }
    }
    return length >= w->size && *at - hole->start <= length - w->size;
}

/*
 * The first hole of class c, the request's own, if it does.  One of an exact
 * class does as it is or not at all.
 */
static inline struct kva_vmem_btag *
hole_own(const kva_vmem_t *vm, const struct want *w, unsigned c, uintptr_t *at)
{
    kva__btag_ref_t ref = vm->class_head[c];
    struct kva_vmem_btag *hole;

    if (ref == BT_NONE) {
        return NULL;
    }
    hole = bt_at(ref);
    if (c < KVA__VMEM_EXACT) {
        *at = hole->start;
        return ((*at - w->phase) & (w->align - 1)) == 0 && !crosses(w, *at)
                   ? hole
                   : NULL;
    }
    return place(w, hole, at) ? hole : NULL;
}

/*
 * Cut size bytes at at out of a hole that has left its class.  The hole's tag
 * stands for what is left in front, and stays in the hash; or else for the
 * segment.
 *
 *      hole                            hole  |   bt    |  rest
 *      |-----------------------|       |-----|---------|-------|
 *                                            at        at + size
 */
INLINE void
carve(kva_vmem_t *vm, struct kva_vmem_btag *hole, kva__btag_ref_t ref,
      uintptr_t at, size_t size, enum btag_state state)
{
    struct kva_vmem_btag *bt = hole, *next = bt_next(hole), *last = next, *rest;
    size_t left = at - hole->start, right = next->start - at - size;
    unsigned shift = vm->quantum_shift, taken = 0;
    kva__btag_ref_t rest_ref;

    if (left != 0) {
        class_insert(vm, hole, ref, class_of(left >> shift));
        bt = vm->spare;
        vm->spare = bt->u.chain;
        ref = bt_unused_ref(bt);
        bt->start = at;
        taken++;
    }
    if (right != 0) {
        rest = vm->spare;
        vm->spare = rest->u.chain;
        rest_ref = bt_unused_ref(rest);
        rest->start = at + size;
        bt_set(rest, bt, next, BT_FREE);
        bt_set_prev(next, rest);
        class_insert(vm, rest, rest_ref, class_of(right >> shift));
        last = rest;
        taken++;
    }
    vm->nspare -= taken;
    vm->nsegments += taken;
    vm->stat.tags_free += taken - (size_t)1;
    if (left != 0) {
        bt_set_next(hole, bt);
        bt_set(bt, hole, last, state);
        if (right == 0) {
            bt_set_prev(next, bt);
        }
        hash_enter(vm, bt, ref);
    } else {
        bt_set_next(bt, last);
        if (bt_state(bt) != BT_FREE_HASHED) {
            hash_enter(vm, bt, ref);
        }
        bt_set_state(bt, state);
    }
}

/*
 * The first hole of the own class, which may do, or else the first of those
 * that are long enough wherever they start, by more quanta: as the search has
 * it (search.c).  False: the long way.
 */
INLINE bool
short_place(kva_vmem_t *vm, const struct want *w, uintptr_t more,
            enum btag_state state, uintptr_t *addr)
{
    uintptr_t q = w->size >> vm->quantum_shift;
    unsigned c = class_of(q), sure = class_sure(q + more);
    struct kva_vmem_btag *hole;
    uintptr_t at;
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    if (KVA_UNLIKELY(vm->detour != 0 || vm->nspare < vm->reserved + 2)) {
        goto out;
    }
    hole = hole_own(vm, w, c, &at);
    if (hole == NULL) {
        c = class_next(vm, sure);
        if (c == KVA__VMEM_CLASSES) {
            goto out;
        }
        hole = bt_at(vm->class_head[c]);
        if (KVA_UNLIKELY(!place(w, hole, &at))) {
            goto out;
        }
    }
    *addr = at;
    carve(vm, hole, class_pop(vm, hole, c), at, w->size, state);
    vm->stat.mem_inuse += w->size;
    vm->stat.alloc++;
    kva_port_unlock(&vm->lock, irq);
    return true;
out:
    kva_port_unlock(&vm->lock, irq);
    return false;
}

/* Neither phase nor nocross; align a power of two, the quantum or more. */
static int
place_aligned(kva_vmem_t *vm, size_t size, size_t align, vm_flag_t flags,
              uintptr_t *addr, enum btag_state state)
{
    unsigned shift = vm->quantum_shift;
    struct want w = { (((size - 1) >> shift) + 1) << shift, align, 0, 0 };

    if (KVA_LIKELY(short_flags(flags) && w.size != 0 && vm->index == NULL &&
                   w.size + align > align) &&
        short_place(vm, &w, (align >> shift) - 1, state, addr)) {
        return 0;
    }
    return long_request(vm,
                        &(struct vmem_request){ .size = size,
                                                .align = align,
                                                .maxaddr = VMEM_ADDR_MAX,
                                                .flags = flags },
                        state, addr);
}

int
kva__short_aligned(kva_vmem_t *vm, size_t size, size_t align, vm_flag_t flags,
                   uintptr_t *addr)
{
    size_t quantum = (size_t)1 << vm->quantum_shift;

    if (KVA_UNLIKELY((align & (align - 1)) != 0)) {
        return long_request(vm,
                            &(struct vmem_request){ .size = size,
                                                    .align = align,
                                                    .maxaddr = VMEM_ADDR_MAX,
                                                    .flags = flags },
                            BT_XALLOC, addr);
    }
    return place_aligned(vm, size, align > quantum ? align : quantum, flags,
                         addr, BT_XALLOC);
}

/* What the constraints add to the length that is sure, in quanta.  False: one
 * of them is out of order, or a sum might wrap. */
static bool
wants_more(const kva_vmem_t *vm, const struct want *w, uintptr_t *more)
{
    unsigned shift = vm->quantum_shift;
    uintptr_t q = w->size >> shift, sum = (w->align >> shift) - 1;

    if (w->size == 0 || (w->nocross & (w->nocross - 1)) != 0 ||
        (w->nocross != 0 && w->nocross < w->size) || w->phase >= w->align ||
        (w->phase & (((size_t)1 << shift) - 1)) != 0) {
        return false;
    }
    sum += w->nocross != 0 ? q - 1 : 0;
    sum += w->phase != 0 ? w->align >> shift : 0;
    *more = sum;
    return ((w->align | w->size) & ~(~(size_t)0 >> 2)) == 0;
}

int
kva__short_placed(kva_vmem_t *vm, const struct vmem_request *from,
                  uintptr_t *addr)
{
    unsigned shift = vm->quantum_shift;
    size_t quantum = (size_t)1 << shift;
    const struct want w = { (((from->size - 1) >> shift) + 1) << shift,
                            from->align > quantum ? from->align : quantum,
                            from->phase, from->nocross };
    uintptr_t more;

    return short_flags(from->flags) && vm->index == NULL &&
                   (from->align & (from->align - 1)) == 0 &&
                   wants_more(vm, &w, &more) &&
                   short_place(vm, &w, more, BT_XALLOC, addr)
               ? 0
               : long_request(vm, from, BT_XALLOC, addr);
}

/* ---- frees -------------------------------------------------------------- */

/*
 * Free bt, whose reference is ref; slot: where the hash has it, NULL: it has
 * left. False: its span goes, or somebody stands in its ring.
 *
 *      before   [prev]   bt   [next]   behind
 *               |<- holes, if any ->|
 *
 * The tag of the first of the three stays, for the hole that is all of them.
 */
static bool
short_join(kva_vmem_t *vm, struct kva_vmem_btag *bt, kva__btag_ref_t ref,
           kva__hash_slot_t *slot)
{
    struct kva_vmem_btag *before = bt_prev(bt), *next = bt_next(bt);
    struct kva_vmem_btag *behind = next, *hole = bt;
    bool join_prev = bt_is_free(before), join_next = bt_is_free(next);
    unsigned shift = vm->quantum_shift, gone = 0;
    uintptr_t start = bt->start, middle = next->start;

    if (join_prev) {
        hole = before;
        before = bt_prev(hole);
    }
    if (join_next) {
        behind = bt_next(next);
    }
    if (KVA_UNLIKELY(vm->cursors != NULL ||
                     (before == behind && vm->releasefn != NULL))) {
        return false;
    }
    if (join_prev) {
        kva__btag_ref_t own = ref;

        ref = class_remove(vm, hole, class_of((start - hole->start) >> shift));
        if (slot != NULL) {
            hash_leave_slot(vm, slot);
        }
        bt_retire(vm, bt, own);
        gone++;
    } else {
        bt_set_state(bt, slot != NULL ? BT_FREE_HASHED : BT_FREE);
    }
    if (join_next) {
        kva__btag_ref_t own =
            class_remove(vm, next, class_of((behind->start - middle) >> shift));

        if (bt_state(next) == BT_FREE_HASHED) {
            kva__hash_leave(vm, next);
        }
        bt_retire(vm, next, own);
        gone++;
    }
    bt_set_next(hole, behind);
    bt_set_prev(behind, hole);
    class_insert(vm, hole, ref,
                 class_of((behind->start - hole->start) >> shift));
    short_joined(vm, middle - start, gone);
    return true;
}

/* Unlocks the arena. */
APART void
free_joining(kva_vmem_t *vm, struct kva_vmem_btag *bt, kva__btag_ref_t ref,
             kva__hash_slot_t *slot, kva_irq_t irq)
{
    if (KVA_UNLIKELY(!short_join(vm, bt, ref, slot))) {
        kva__segment_give(vm, bt, slot != NULL, irq);
        return;
    }
    kva_port_unlock(&vm->lock, irq);
    KVA_PARANOID(vmem_check(vm));
}

/* Arena locked: no slot has it, or the short ways are closed. */
APART void
free_other(kva_vmem_t *vm, uintptr_t addr, size_t size, enum btag_state state,
           kva_irq_t irq)
{
    struct kva_vmem_btag *bt;
    kva__hash_slot_t *head;

    bt = vm->detour != 0 ? NULL : kva__hash_find_chained(vm, addr, &head);
    if (bt != NULL && short_is_it(vm, bt, size, state)) {
        free_joining(vm, bt, kva__hash_leave_chain(vm, head, bt), NULL, irq);
        return;
    }
    kva_port_unlock(&vm->lock, irq);
    kva__short_long_free(vm, addr, size, state);
}

INLINE void
short_free(kva_vmem_t *vm, uintptr_t addr, size_t size, enum btag_state state)
{
    struct kva_vmem_btag *bt;
    kva__hash_slot_t *slot;
    kva_irq_t irq;
    uintptr_t q;

    irq = kva_port_lock(&vm->lock);
    if (KVA_UNLIKELY(vm->detour != 0)) {
        free_other(vm, addr, size, state, irq);
        return;
    }
    bt = hash_find_slot(vm, addr, &slot);
    if (KVA_UNLIKELY(bt == NULL || !short_is_it(vm, bt, size, state))) {
        free_other(vm, addr, size, state, irq);
        return;
    }
    if (KVA_UNLIKELY((bt_prev(bt)->prev_bits & bt_next(bt)->prev_bits &
                      BT_BUSY_BIT) == 0)) {
        free_joining(vm, bt, hash_slot_ref(*slot), slot, irq);
        return;
    }
    q = ((size - 1) >> vm->quantum_shift) + 1;
    bt_change_state(bt, state, BT_FREE_HASHED);
    class_insert(vm, bt, hash_slot_ref(*slot), class_of(q));
    vm->stat.tags_free++;
    vm->stat.mem_inuse -= (size_t)q << vm->quantum_shift;
    vm->stat.free++;
    kva_port_unlock(&vm->lock, irq);
}

/* ---- who comes ---------------------------------------------------------- */

int
kva__short_alloc(kva_vmem_t *vm, size_t size, vm_flag_t flags, uintptr_t *addr)
{
    return short_alloc(vm, size, flags, BT_ALLOC, addr);
}

int
kva__short_xalloc(kva_vmem_t *vm, size_t size, vm_flag_t flags, uintptr_t *addr)
{
    return vm->index == NULL ? short_alloc(vm, size, flags, BT_XALLOC, addr)
                             : kva__short_index_xalloc(vm, size, flags, addr);
}

void
kva__short_free(kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    short_free(vm, addr, size, BT_ALLOC);
}

void
kva__short_xfree(kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    if (vm->index == NULL) {
        short_free(vm, addr, size, BT_XALLOC);
    } else {
        kva__short_index_xfree(vm, addr, size);
    }
}
