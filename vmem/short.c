/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The short ways: what most requests and frees of an arena come to, each in one
 * go under the arena's lock.
 *
 *      alloc   the first hole of the exact class, whole;
 *              else the front of the first hole of the next class there is
 *      at      of a larger size, or with align, phase, nocross: out of the first
 *              hole of its own class, if it does, or of those that are long
 *              enough wherever they start; front and end are cut in one go
 *      free    a segment becomes a hole, with those on either side of it
 *
 * Whatever else it takes (bounds, a fit, tags, an import, a search that walks, a
 * span to be released, a report of misuse) is left to the long way in arena.c,
 * with nothing done here.  The short ways are closed while vm->detour is not 0:
 * a search is suspended, or somebody waits for what is freed.  Who must see every
 * request takes vm->open away, and then nobody comes here.  Arenas with an index
 * have short ways of their own, in the second half.
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

    (void)class_pop(vm, hole, c);
    rest->start = hole->start + size;
    bt_set(rest, hole, next, BT_FREE);
    bt_set_next(hole, rest);
    bt_set_prev(next, rest);
    class_insert(vm, rest, bt_ref(rest), class_of_tag(vm, rest));
    vm->nsegments++;
}

/* One way to wait and perhaps the usual fit. */
static inline bool
flags_are_plain(vm_flag_t flags)
{
    return (flags & ~VM_INSTANTFIT) - 1u < 2u;
}

/* What a request of any size wants, bounds aside; align at least the quantum,
 * nocross 0: none. */
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

/* The first hole of class c, if it does. */
static inline struct kva_vmem_btag *
hole_in(const kva_vmem_t *vm, const struct want *w, unsigned c, uintptr_t *at)
{
    kva__btag_ref_t ref = vm->class_head[c];
    struct kva_vmem_btag *hole = ref == BT_NONE ? NULL : bt_at(ref);

    return hole != NULL && place(w, hole, at) ? hole : NULL;
}

/* A new tag between two of a ring, whose links it takes; not their state. */
static inline struct kva_vmem_btag *
tag_between(kva_vmem_t *vm, struct kva_vmem_btag *prev,
            struct kva_vmem_btag *next, uintptr_t start)
{
    struct kva_vmem_btag *bt = kva__btag_take(vm);

    bt->start = start;
    bt_set(bt, prev, next, BT_FREE);
    bt_set_next(prev, bt);
    bt_set_prev(next, bt);
    vm->nsegments++;
    return bt;
}

/*
 * Cut size bytes at at out of a hole that has left its class.  The hole's tag
 * stands for what is left in front, and stays in the hash; or else for the
 * segment.
 */
static inline void
carve(kva_vmem_t *vm, struct kva_vmem_btag *hole, kva__btag_ref_t ref,
      uintptr_t at, size_t size, enum btag_state state)
{
    struct kva_vmem_btag *bt = hole, *next = bt_next(hole), *rest;
    size_t left = at - hole->start, right = next->start - at - size;

    if (left != 0) {
        class_insert(vm, hole, ref, class_of(left >> vm->quantum_shift));
        vm->stat.tags_free++;
        bt = tag_between(vm, hole, next, at);
        ref = bt_ref(bt);
    }
    if (right != 0) {
        rest = tag_between(vm, bt, next, at + size);
        class_insert(vm, rest, bt_ref(rest),
                     class_of(right >> vm->quantum_shift));
        vm->stat.tags_free++;
    }
    if (bt_state(bt) != BT_FREE_HASHED) {
        hash_enter(vm, bt, ref);
    }
    bt_set_state(bt, state);
}

/*
 * A request of any size and place.  The first hole of its own class, which may
 * do, or else the first of those that are long enough wherever they start: as
 * the search has it (search.c).
 */
static inline bool
short_place(kva_vmem_t *vm, struct want *w, vm_flag_t flags,
            enum btag_state state, uintptr_t *addr)
{
    uintptr_t q = ((w->size - 1) >> vm->quantum_shift) + 1;
    uintptr_t more = (w->align >> vm->quantum_shift) - 1;
    struct kva_vmem_btag *hole;
    unsigned own, sure;
    uintptr_t at;
    kva_irq_t irq;

    w->size = (size_t)q << vm->quantum_shift;
    if (!flags_are_plain(flags) || w->size == 0) {
        return false;
    }
    more += w->nocross != 0 ? q - 1 : 0;
    more += w->phase != 0 ? w->align >> vm->quantum_shift : 0;
    if (q + more < q) {
        return false;
    }
    own = class_of(q);
    sure = class_sure(q + more);
    irq = kva_port_lock(&vm->lock);
    if (KVA_UNLIKELY(vm->detour != 0 || vm->nspare < vm->reserved + 2)) {
        goto out;
    }
    hole = hole_in(vm, w, own, &at);
    if (hole == NULL) {
        own = class_next(vm, sure);
        hole = own == KVA__VMEM_CLASSES ? NULL : hole_in(vm, w, own, &at);
    }
    if (hole == NULL) {
        goto out;
    }
    carve(vm, hole, class_pop(vm, hole, own), at, w->size, state);
    vm->stat.tags_free--;
    vm->stat.mem_inuse += w->size;
    vm->stat.alloc++;
    kva_port_unlock(&vm->lock, irq);
    *addr = at;
    return true;
out:
    kva_port_unlock(&vm->lock, irq);
    return false;
}

/* No constraints, but a size that has no exact class. */
static __attribute__((noinline)) bool
short_large(kva_vmem_t *vm, size_t size, vm_flag_t flags, enum btag_state state,
            uintptr_t *addr)
{
    struct want w = { size, (size_t)1 << vm->quantum_shift, 0, 0 };

    return short_place(vm, &w, flags, state, addr);
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

    q1 = (size - 1) >> vm->quantum_shift;
    if (q1 >= KVA__VMEM_EXACT) {
        return short_large(vm, size, flags, state, addr);
    }
    if (!flags_are_plain(flags)) {
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
        (void)class_pop(vm, bt, c);
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

/* A tag that is in no class leaves its arena; its neighbours know already. */
static inline void
tag_gone(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    kva__btag_give(vm, bt);
    vm->nsegments--;
    vm->stat.tags_free--;
}

/*
 * Free bt, beside a hole or an end of its span; slot: where the hash has it,
 * NULL: it has left.  False: its span goes, or somebody stands in its ring.
 *
 *      before   [prev]   bt   [next]   behind
 *               |<- holes, if any ->|
 *
 * The tag of the first of the three stays, for the hole that is all of them.
 */
static bool
short_join(kva_vmem_t *vm, struct kva_vmem_btag *bt, kva__hash_slot_t *slot)
{
    struct kva_vmem_btag *prev = bt_prev(bt), *next = bt_next(bt);
    bool join_prev = bt_is_free(prev), join_next = bt_is_free(next);
    struct kva_vmem_btag *before = join_prev ? bt_prev(prev) : prev;
    struct kva_vmem_btag *behind = join_next ? bt_next(next) : next;
    unsigned shift = vm->quantum_shift;
    kva__btag_ref_t ref;

    if (KVA_UNLIKELY(vm->cursors != NULL ||
                     (before == behind && vm->releasefn != NULL))) {
        return false;
    }
    vm->stat.mem_inuse -= next->start - bt->start;
    if (join_prev) {
        ref = class_remove(vm, prev,
                           class_of((bt->start - prev->start) >> shift));
        if (slot != NULL) {
            hash_leave_slot(vm, slot);
        }
        before = prev;
    } else {
        ref = slot != NULL ? hash_slot_ref(*slot) : bt_ref(bt);
        bt_set_state(bt, slot != NULL ? BT_FREE_HASHED : BT_FREE);
        before = bt;
    }
    if (join_next) {
        (void)class_remove(vm, next,
                           class_of((behind->start - next->start) >> shift));
        if (bt_state(next) == BT_FREE_HASHED) {
            kva__hash_leave(vm, next);
        }
        tag_gone(vm, next);
    }
    if (join_prev) {
        tag_gone(vm, bt);
    }
    bt_set_next(before, behind);
    bt_set_prev(behind, before);
    class_insert(vm, before, ref,
                 class_of((behind->start - before->start) >> shift));
    vm->stat.tags_free++;
    vm->stat.free++;
    return true;
}

/* What the hash has in a chain.  Unlocks the arena. */
static __attribute__((noinline)) bool
free_chained(kva_vmem_t *vm, uintptr_t addr, size_t size, enum btag_state state,
             kva_irq_t irq)
{
    uintptr_t q1 = (size - 1) >> vm->quantum_shift;
    struct kva_vmem_btag *bt;
    bool own;

    bt = kva__hash_find(vm, addr, &own);
    if (bt == NULL || bt_state(bt) != state || vm->detour != 0 ||
        bt_size(bt) != (size_t)(q1 + 1) << vm->quantum_shift) {
        kva_port_unlock(&vm->lock, irq);
        return false;
    }
    kva__hash_leave(vm, bt);
    if (!short_join(vm, bt, NULL)) {
        kva__segment_give(vm, bt, false, irq);
        return true;
    }
    kva_port_unlock(&vm->lock, irq);
    return true;
}

static inline bool
short_free(kva_vmem_t *vm, uintptr_t addr, size_t size, enum btag_state state)
{
    struct kva_vmem_btag *bt, *next;
    kva__hash_slot_t *slot;
    kva_irq_t irq;
    uintptr_t q1;

    irq = kva_port_lock(&vm->lock);
    bt = hash_find_slot(vm, addr, &slot);
    if (KVA_UNLIKELY(bt == NULL)) {
        return free_chained(vm, addr, size, state, irq);
    }
    if (KVA_UNLIKELY(bt_state(bt) != state || vm->detour != 0)) {
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
        if (!short_join(vm, bt, slot)) {
            kva__segment_give(vm, bt, true, irq);
            return true;
        }
    } else {
        bt_set_state(bt, BT_FREE_HASHED);
        class_insert(vm, bt, hash_slot_ref(*slot), class_of(q1 + 1));
        vm->stat.tags_free++;
        vm->stat.mem_inuse -= size;
        vm->stat.free++;
    }
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
        (void)class_pop(vm, hole, c);
        vm->stat.tags_free--;
        bt = hole;
    } else {
        if (vm->nspare == 0 || !kva__index_ensure(&vm->index->segments, 1)) {
            return NULL;
        }
        (void)class_pop(vm, hole, c);
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

static __attribute__((noinline)) int
long_xalloc(kva_vmem_t *vm, const struct want *w, vm_flag_t flags,
            uintptr_t *addr)
{
    const struct vmem_request from = { w->size,    w->align,      w->phase,
                                       w->nocross, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                                       flags };

    return kva__long_xalloc(vm, &from, addr, NULL);
}

int
kva__short_xalloc(kva_vmem_t *vm, size_t size, vm_flag_t flags, uintptr_t *addr)
{
    return KVA_LIKELY(request(vm, size, flags, BT_XALLOC, addr))
               ? 0
               : long_xalloc(vm, &(struct want){ size, 0, 0, 0 }, flags, addr);
}

int
kva__short_xalloc_at(kva_vmem_t *vm, size_t size, size_t align, size_t phase,
                     size_t nocross, vm_flag_t flags, uintptr_t *addr)
{
    size_t quantum = (size_t)1 << vm->quantum_shift;
    struct want w = { size, align > quantum ? align : quantum, phase, nocross };

    if (KVA_LIKELY((w.align & (w.align - 1)) == 0 && vm->index == NULL)) {
        if (KVA_LIKELY((phase | nocross) == 0)) {
            w.phase = w.nocross = 0;
            if (short_place(vm, &w, flags, BT_XALLOC, addr)) {
                return 0;
            }
        } else if (phase < w.align && (phase & (quantum - 1)) == 0 &&
                   (nocross & (nocross - 1)) == 0 &&
                   (nocross == 0 || nocross - 1 >= size - 1) &&
                   short_place(vm, &w, flags, BT_XALLOC, addr)) {
            return 0;
        }
    }
    return long_xalloc(vm, &(struct want){ size, align, phase, nocross }, flags,
                       addr);
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
