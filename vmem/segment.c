/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segments: finding a hole, cutting it, joining what is free.
 *
 *      span          busy      free            busy   span
 *       |--------------|---------|---------------|------|
 *
 *  I1  Neighbours of a free segment are never free.
 *  I2  Segments tile their span: no gap, no overlap.
 *  I3  A segment is in the hash if it is busy, in the list of its class if it
 *      is free; then its state says whether it is in the hash as well.
 *
 * All of it under the arena lock, and nothing here can fail but the search.
 *
 * The search.  An unconstrained request takes the first segment of a class all
 * of whose segments are long enough; before, the first of its own class, which
 * may be.  A constrained one tries the same with the length that suffices for
 * any position, then every segment from its own class on, so that it is found
 * if there is one.
 */
#include "vmem/class.h"
#include "vmem/hash.h"

/*
 * First address at or above addr that is phase modulo align; may wrap, which
 * the caller sees by the result being below addr.
 */
static uintptr_t
align_up_phase(uintptr_t addr, size_t align, size_t phase)
{
    return kva_round_up(addr - phase, align) + phase;
}

bool
kva__request_fits(const struct kva__vmem_request *rq, uintptr_t first,
                  uintptr_t last, uintptr_t *start)
{
    uintptr_t at;

    if (first < rq->min) {
        first = rq->min;
    }
    if (last > rq->max) {
        last = rq->max;
    }
    if (first > last) {
        return false;
    }
    at = align_up_phase(first, rq->align, rq->phase);
    if (at < first) {
        return false;
    }
    if (rq->nocross != 0 &&
        ((at ^ (at + rq->size - 1)) & ~(rq->nocross - 1)) != 0) {
        uintptr_t edge = kva_round_up(at + 1, rq->nocross);

        at = align_up_phase(edge, rq->align, rq->phase);
        if (edge < first || at < edge ||
            ((at ^ (at + rq->size - 1)) & ~(rq->nocross - 1)) != 0) {
            return false;
        }
    }
    if (at > last || last - at < rq->size - 1) {
        return false;
    }
    *start = at;
    return true;
}

static bool
fits(const struct kva_vmem_btag *hole, const struct kva__vmem_request *rq,
     uintptr_t *start)
{
    return kva__request_fits(rq, hole->start, bt_next(hole)->start - 1, start);
}

/* The first that fits in class c. */
static struct kva_vmem_btag *
search_class(kva_vmem_t *vm, unsigned c, const struct kva__vmem_request *rq,
             uintptr_t *start)
{
    kva__btag_ref_t ref = vm->class_head[c];

    while (ref != BT_NONE) {
        struct kva_vmem_btag *hole = bt_at(ref);

        vm->stat.search++;
        if (fits(hole, rq, start)) {
            return hole;
        }
        ref = hole->u.link.next;
    }
    return NULL;
}

/* The shortest that fits, of the first class that has one. */
static struct kva_vmem_btag *
search_best(kva_vmem_t *vm, unsigned c, const struct kva__vmem_request *rq,
            uintptr_t *start)
{
    struct kva_vmem_btag *best = NULL;

    for (; best == NULL && c < KVA__VMEM_CLASSES; c++) {
        c = class_next(vm, c);
        if (c == KVA__VMEM_CLASSES) {
            break;
        }
        for (kva__btag_ref_t ref = vm->class_head[c]; ref != BT_NONE;) {
            struct kva_vmem_btag *hole = bt_at(ref);
            uintptr_t at;

            vm->stat.search++;
            if ((best == NULL || bt_size(hole) < bt_size(best)) &&
                fits(hole, rq, &at)) {
                best = hole;
                *start = at;
            }
            ref = hole->u.link.next;
        }
    }
    return best;
}

/* The class from which on every segment holds q quanta. */
static unsigned
class_sure(uintptr_t q)
{
    unsigned c = class_of(q);
    unsigned f;

    if (q <= KVA__VMEM_EXACT) {
        return c;
    }
    f = kva_fls(q);
    return (q & (((uintptr_t)1 << (f - KVA__VMEM_STEP_SHIFT)) - 1)) == 0
               ? c
               : c + 1;
}

/* A hole that must do, by its length alone; NULL if there is none. */
static struct kva_vmem_btag *
find_sure(kva_vmem_t *vm, size_t size)
{
    unsigned c = class_next(vm, class_sure(size >> vm->quantum_shift));

    return c == KVA__VMEM_CLASSES ? NULL : bt_at(vm->class_head[c]);
}

static struct kva_vmem_btag *
find_plain(kva_vmem_t *vm, const struct kva__vmem_request *rq, uintptr_t *start)
{
    unsigned own = class_of(rq->size >> vm->quantum_shift);
    kva__btag_ref_t head = vm->class_head[own];
    struct kva_vmem_btag *hole;

    vm->stat.search++;
    if (head != BT_NONE &&
        (own < KVA__VMEM_EXACT || bt_size(bt_at(head)) >= rq->size)) {
        hole = bt_at(head);
    } else {
        hole = find_sure(vm, rq->size);
        if (hole == NULL) { /* the rest of the own class may hold one */
            return search_class(vm, own, rq, start);
        }
    }
    *start = hole->start;
    return hole;
}

/* Length that has room for the request wherever a hole starts; 0: none has. */
static size_t
sure_size(const kva_vmem_t *vm, const struct kva__vmem_request *rq)
{
    size_t quantum = (size_t)1 << vm->quantum_shift;
    size_t size = rq->size + (rq->align - quantum);

    if (rq->nocross != 0) {
        size += rq->size - quantum;
    }
    if (rq->phase != 0) {
        size += rq->align;
    }
    if (rq->min != VMEM_ADDR_MIN || rq->max != VMEM_ADDR_MAX ||
        size < rq->size) {
        return 0;
    }
    return size;
}

struct kva_vmem_btag *
kva__segment_find(kva_vmem_t *vm, const struct kva__vmem_request *rq,
                  uintptr_t *start)
{
    unsigned c = class_of(rq->size >> vm->quantum_shift);
    struct kva_vmem_btag *hole;
    size_t sure;

    if ((rq->flags & VM_BESTFIT) != 0) {
        return search_best(vm, c, rq, start);
    }
    if (!rq->constrained) {
        return find_plain(vm, rq, start);
    }
    sure = sure_size(vm, rq);
    if (sure != 0) {
        hole = find_sure(vm, sure);
        vm->stat.search++;
        if (hole != NULL && fits(hole, rq, start)) {
            return hole;
        }
    }
    while ((c = class_next(vm, c)) < KVA__VMEM_CLASSES) {
        hole = search_class(vm, c, rq, start);
        if (hole != NULL) {
            return hole;
        }
        c++;
    }
    return NULL;
}

/* ---- cutting and joining --------------------------------------------- */

static void
hole_enter(kva_vmem_t *vm, struct kva_vmem_btag *bt, bool hashed)
{
    bt_set_state(bt, hashed ? BT_FREE_HASHED : BT_FREE);
    class_insert(vm, bt, bt_ref(bt), class_of_tag(vm, bt));
    vm->stat.tags_free++;
}

static void
hole_leave(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    class_remove(vm, bt, bt_ref(bt), class_of_tag(vm, bt));
    vm->stat.tags_free--;
}

/* A free segment's end changes; move it only if its class does. */
static void
reclass(kva_vmem_t *vm, struct kva_vmem_btag *bt, unsigned before)
{
    unsigned after = class_of_tag(vm, bt);

    if (after != before) {
        kva__btag_ref_t ref = bt_ref(bt);

        class_remove(vm, bt, ref, before);
        class_insert(vm, bt, ref, after);
    }
}

/* A segment that was no hole before, or no longer is one, becomes busy. */
static void
busy_enter(kva_vmem_t *vm, struct kva_vmem_btag *bt, bool hashed,
           enum btag_state state)
{
    bt_set_state(bt, state);
    if (!hashed) {
        hash_enter(vm, bt, bt_ref(bt));
    }
}

/* A new tag behind pos, for what starts at start. */
static struct kva_vmem_btag *
tag_behind(kva_vmem_t *vm, struct kva_vmem_btag *pos, uintptr_t start)
{
    struct kva_vmem_btag *bt = kva__btag_take(vm);

    bt->start = start;
    bt_insert_after(pos, bt);
    vm->nsegments++;
    return bt;
}

/* A tag leaves its ring, and the hash if it is there. */
static void
tag_drop(kva_vmem_t *vm, struct kva_vmem_btag *bt, bool hashed)
{
    if (hashed) {
        kva__hash_leave(vm, bt);
    }
    bt_remove(bt);
    kva__btag_give(vm, bt);
    vm->nsegments--;
}

struct kva_vmem_btag *
kva__segment_cut(kva_vmem_t *vm, struct kva_vmem_btag *hole, uintptr_t start,
                 size_t size, enum btag_state state)
{
    unsigned before = class_of_tag(vm, hole);
    bool hashed = bt_state(hole) == BT_FREE_HASHED;
    size_t left = start - hole->start;
    size_t right = bt_size(hole) - left - size;
    struct kva_vmem_btag *bt = hole;

    if (left == 0) { /* the hole becomes the segment */
        hole_leave(vm, hole);
    } else {
        bt = tag_behind(vm, hole, start);
        hashed = false;
        reclass(vm, hole, before);
    }
    if (right != 0) {
        hole_enter(vm, tag_behind(vm, bt, start + size), false);
    }
    busy_enter(vm, bt, hashed, state);
    vm->stat.mem_inuse += size;
    return bt;
}

struct kva_vmem_btag *
kva__segment_free(kva_vmem_t *vm, struct kva_vmem_btag *bt, bool hashed)
{
    struct kva_vmem_btag *prev = bt_prev(bt), *next = bt_next(bt);
    unsigned before;

    vm->stat.mem_inuse -= next->start - bt->start;
    if (bt_is_free(next)) {
        hole_leave(vm, next);
        tag_drop(vm, next, bt_state(next) == BT_FREE_HASHED);
    }
    if (!bt_is_free(prev)) {
        hole_enter(vm, bt, hashed);
        return bt;
    }
    before = class_of_tag(vm, prev);
    tag_drop(vm, bt, hashed);
    reclass(vm, prev, before);
    return prev;
}
