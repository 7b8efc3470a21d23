/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segments: cutting a hole, joining what is free.
 *
 *      span          busy      free            busy   span
 *       |--------------|---------|---------------|------|
 *
 *  I1  Neighbours of a free segment are never free.
 *  I2  Segments tile their span: no gap, no overlap.
 *  I3  A segment is in the hash if it is busy, in the list of its class if it
 *      is free; then its state says whether it is in the hash as well.
 *
 * All of it under the arena lock, and nothing here can fail.  Searches that
 * are suspended meanwhile (search.c) are told of each hole that comes, grows or
 * goes.
 */
#include "vmem/class.h"
#include "vmem/hash.h"
#include "vmem/search.h"

static void
hole_enter(kva_vmem_t *vm, struct kva_vmem_btag *bt, bool hashed)
{
    bt_set_state(bt, hashed ? BT_FREE_HASHED : BT_FREE);
    class_insert(vm, bt, bt_ref(bt), class_of_tag(vm, bt));
    vm->stat.tags_free++;
    search_came(vm, bt);
}

static void
hole_leave(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    search_left(vm, bt);
    class_remove(vm, bt, bt_ref(bt), class_of_tag(vm, bt));
    vm->stat.tags_free--;
}

/* A free segment's end changes; move it only if its class does. */
static void
reclass(kva_vmem_t *vm, struct kva_vmem_btag *bt, unsigned before)
{
    unsigned after = class_of_tag(vm, bt);

    search_left(vm, bt);
    if (after != before) {
        kva__btag_ref_t ref = bt_ref(bt);

        class_remove(vm, bt, ref, before);
        class_insert(vm, bt, ref, after);
    }
    search_came(vm, bt);
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

/* ---- at the ends of a span ---------------------------------------------- */

struct kva_vmem_btag *
kva__segment_append(kva_vmem_t *vm, struct kva_vmem_btag *span, size_t size)
{
    struct kva_vmem_btag *last = bt_prev(span);
    uintptr_t addr = span->start;
    unsigned before = class_of_tag(vm, last);

    span->start += size;
    if (bt_is_free(last)) {
        reclass(vm, last, before);
        return last;
    }
    last = tag_behind(vm, last, addr);
    hole_enter(vm, last, false);
    return last;
}

struct kva_vmem_btag *
kva__segment_prepend(kva_vmem_t *vm, struct kva_vmem_btag *span, size_t size)
{
    struct kva_vmem_btag *first = bt_next(span);
    uintptr_t addr = first->start - size;
    unsigned before = class_of_tag(vm, first);

    if (bt_is_free(first)) {
        if (bt_state(first) == BT_FREE_HASHED) {
            kva__hash_leave(vm, first);
            bt_set_state(first, BT_FREE);
        }
        first->start = addr;
        reclass(vm, first, before);
        return first;
    }
    first = tag_behind(vm, span, addr);
    hole_enter(vm, first, false);
    return first;
}
