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
#include "vmem/cursor.h"
#include "vmem/hash.h"
#include "vmem/indexed.h"
#include "vmem/search.h"

/* A free segment, whose state says whether it is in the hash, into its class. */
static void
hole_enter(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    holes_insert(vm, bt, bt_size(bt));
    vm->stat.tags_free++;
    search_came(vm, bt);
}

/* Before its ring changes. */
static void
hole_leave(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    search_left(vm, bt);
    holes_remove(vm, bt, bt_size(bt));
    vm->stat.tags_free--;
}

/* A free segment that is in no class becomes busy. */
static void
busy_enter(kva_vmem_t *vm, struct kva_vmem_btag *bt, enum btag_state state)
{
    if (bt_state(bt) == BT_FREE && vm->index == NULL) {
        hash_enter(vm, bt, bt_ref(bt));
    }
    bt_set_state(bt, state);
}

/* A new tag behind pos, free, for what starts at start. */
static struct kva_vmem_btag *
tag_behind(kva_vmem_t *vm, struct kva_vmem_btag *pos, uintptr_t start)
{
    struct kva_vmem_btag *bt = kva__btag_take(vm);

    bt->start = start;
    bt_set_state(bt, BT_FREE);
    bt_insert_after(pos, bt);
    vm->nsegments++;
    return bt;
}

/*
 * A free segment's tag leaves its ring, and the hash if it is there.  The table
 * may shrink by that, and let others go: their states say so.
 */
static void
tag_drop(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    if (bt_state(bt) == BT_FREE_HASHED) {
        kva__hash_leave(vm, bt);
    }
    cursor_pass(vm, bt);
    bt_remove(bt);
    kva__btag_give(vm, bt);
    vm->nsegments--;
}

struct kva_vmem_btag *
kva__segment_at(kva_vmem_t *vm, uintptr_t addr, bool *hashed)
{
    if (vm->index == NULL) {
        return kva__hash_find(vm, addr, hashed);
    }
    *hashed = true; /* nothing is to be done about the hash */
    vm->stat.lookup++;
    return kva__index_find(&vm->index->segments, addr, &vm->stat.search);
}

/*
 * The hole as a whole, its front, its end or its middle.  With an index a hole
 * whose front goes keeps its tag; without, the front does, which the hash may
 * have.
 */
struct kva_vmem_btag *
kva__segment_cut(kva_vmem_t *vm, struct kva_vmem_btag *hole, uintptr_t start,
                 size_t size, enum btag_state state)
{
    size_t left = start - hole->start;
    size_t right = bt_size(hole) - left - size;
    struct kva_vmem_btag *bt = hole, *rest = NULL;

    hole_leave(vm, hole);
    if (left != 0) {
        bt = tag_behind(vm, hole, start);
        hole_enter(vm, hole);
    } else if (right != 0 && vm->index != NULL) {
        hole->start += size;
        bt = tag_behind(vm, bt_prev(hole), start);
        hole_enter(vm, hole);
        right = 0;
    }
    if (right != 0) {
        rest = tag_behind(vm, bt, start + size);
        hole_enter(vm, rest);
    }
    busy_enter(vm, bt, state);
    vm->stat.mem_inuse += size;
    if (vm->index != NULL) {
        kva__index_cut(&vm->index->segments, hole, bt, rest);
    }
    return bt;
}

/* Beside the hole that stays go the tags of bt and of the hole behind. */
static struct kva_vmem_btag *
free_hashed(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    struct kva_vmem_btag *prev = bt_prev(bt), *next = bt_next(bt);

    if (bt_is_free(next)) {
        hole_leave(vm, next);
        tag_drop(vm, next);
    }
    if (bt_is_free(prev)) {
        hole_leave(vm, prev);
        tag_drop(vm, bt);
        bt = prev;
    }
    hole_enter(vm, bt);
    return bt;
}

/* The same as the index has it: without a hole before, the one behind stays. */
static struct kva_vmem_btag *
free_indexed(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    struct kva_vmem_btag *prev = bt_prev(bt), *next = bt_next(bt), *stay = bt;
    bool join_prev = bt_is_free(prev), join_next = bt_is_free(next);
    uintptr_t start = bt->start;

    if (join_next) {
        hole_leave(vm, next);
        stay = next;
    }
    if (join_prev) {
        hole_leave(vm, prev);
        stay = prev;
    }
    if (stay == next) {
        cursor_pass(vm, next);
    }
    if (stay != bt) {
        tag_drop(vm, bt);
    }
    if (join_prev && join_next) {
        tag_drop(vm, next);
    } else if (join_next) {
        next->start = start;
    }
    hole_enter(vm, stay);
    kva__index_free(&vm->index->segments, start, stay, join_prev, join_next);
    return stay;
}

struct kva_vmem_btag *
kva__segment_free(kva_vmem_t *vm, struct kva_vmem_btag *bt, bool hashed)
{
    vm->stat.mem_inuse -= bt_size(bt);
    if (vm->index != NULL) {
        bt_set_state(bt, BT_FREE);
        return free_indexed(vm, bt);
    }
    bt_set_state(bt, hashed ? BT_FREE_HASHED : BT_FREE);
    return free_hashed(vm, bt);
}

/* ---- at the ends of a span, without an index ------------------------------ */

struct kva_vmem_btag *
kva__segment_append(kva_vmem_t *vm, struct kva_vmem_btag *span, size_t size)
{
    struct kva_vmem_btag *last = bt_prev(span);
    uintptr_t addr = span->start;

    if (bt_is_free(last)) {
        hole_leave(vm, last);
        span->start += size;
    } else {
        span->start += size;
        last = tag_behind(vm, last, addr);
    }
    hole_enter(vm, last);
    return last;
}

struct kva_vmem_btag *
kva__segment_prepend(kva_vmem_t *vm, struct kva_vmem_btag *span, size_t size)
{
    struct kva_vmem_btag *first = bt_next(span);
    uintptr_t addr = first->start - size;

    if (bt_is_free(first)) {
        hole_leave(vm, first);
        if (bt_state(first) == BT_FREE_HASHED) {
            kva__hash_leave(vm, first);
            bt_set_state(first, BT_FREE);
        }
        first->start = addr;
    } else {
        first = tag_behind(vm, span, addr);
    }
    hole_enter(vm, first);
    return first;
}
