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
 *      is free; then its state says whether it is in the hash as well.  With an
 *      index all are in that, too.
 *
 * All of it under the arena lock, and nothing here can fail.  Searches that
 * are suspended meanwhile (search.c) are told of each hole that comes, grows or
 * goes.
 */
#include "vmem/cursor.h"
#include "vmem/hash.h"
#include "vmem/indexed.h"
#include "vmem/search.h"

/* A free segment, whose state says whether it is in the hash, into its
 * class. */
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
    indexed_settle(vm, bt);
    holes_remove(vm, bt, bt_size(bt));
    vm->stat.tags_free--;
}

/* A free segment that is in no class becomes busy. */
static void
busy_enter(kva_vmem_t *vm, struct kva_vmem_btag *bt, enum btag_state state)
{
    if (bt_state(bt) == BT_FREE) {
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
    return kva__hash_find(vm, addr, hashed);
}

/* The hole as a whole, its front, its end or its middle.  The tag stays with
 * the front, which the hash may have. */
struct kva_vmem_btag *
kva__segment_cut(kva_vmem_t *vm, struct kva_vmem_btag *hole, uintptr_t start,
                 size_t size, enum btag_state state)
{
    size_t left = start - hole->start;
    size_t right = bt_size(hole) - left - size;
    struct kva_vmem_btag *bt = hole, *rest = NULL;
    bool whole, young;

    whole = left == 0 && right == 0;
    young = indexed_leave(vm, hole);
    hole_leave(vm, hole);
    if (left != 0) {
        bt = tag_behind(vm, hole, start);
        hole_enter(vm, hole);
    }
    if (right != 0) {
        rest = tag_behind(vm, bt, start + size);
        hole_enter(vm, rest);
    }
    busy_enter(vm, bt, state);
    vm->stat.mem_inuse += size;
    if (vm->index != NULL && !whole) {
        kva__index_cut(&vm->index->segments, hole, bt, rest);
    } else if (vm->index != NULL && !young) {
        kva__index_go(&vm->index->segments, start, size);
    }
    return bt;
}

/* A segment that is free by its state, and in no class: joined with what is
 * free beside it.  Beside the hole that stays go the tags of bt and of the hole
 * behind. */
static struct kva_vmem_btag *
join_free(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    struct kva_vmem_btag *prev = bt_prev(bt), *next = bt_next(bt);
    bool join_prev = bt_is_free(prev), join_next = bt_is_free(next);
    uintptr_t start = bt->start;

    if (join_next) {
        (void)indexed_leave(vm, next);
        hole_leave(vm, next);
        tag_drop(vm, next);
    }
    if (join_prev) {
        (void)indexed_leave(vm, prev);
        hole_leave(vm, prev);
        tag_drop(vm, bt);
        bt = prev;
    }
    hole_enter(vm, bt);
    if (vm->index != NULL && (join_prev || join_next)) {
        indexed_join(vm, start, bt, join_prev, join_next);
    } else if (vm->index != NULL) {
        indexed_come(vm, start, bt_size(bt));
    }
    return bt;
}

struct kva_vmem_btag *
kva__segment_free(kva_vmem_t *vm, struct kva_vmem_btag *bt, bool hashed)
{
    vm->stat.mem_inuse -= bt_size(bt);
    bt_set_state(bt, hashed ? BT_FREE_HASHED : BT_FREE);
    return join_free(vm, bt);
}

/* ---- at the ends of a span ---------------------------------------------- */

/*
 * What came to the span behind pos, up to end, with an index: it comes in as
 * the index has a span come, as if somebody had it, and is freed.
 */
static struct kva_vmem_btag *
arrive_indexed(kva_vmem_t *vm, struct kva_vmem_btag *pos, uintptr_t start)
{
    struct kva_vmem_btag *bt = tag_behind(vm, pos, start);

    kva__index_span_add(&vm->index->segments, bt);
    kva__index_mark(&vm->index->segments, start, false);
    return join_free(vm, bt);
}

struct kva_vmem_btag *
kva__segment_append(kva_vmem_t *vm, struct kva_vmem_btag *span, size_t size)
{
    struct kva_vmem_btag *last = bt_prev(span);
    uintptr_t addr = span->start;

    if (vm->index != NULL) {
        span->start += size;
        return arrive_indexed(vm, last, addr);
    }
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

    if (vm->index != NULL) {
        return arrive_indexed(vm, span, addr);
    }
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

/* ---- busy segments that change ---------------------------------------- */

struct kva_vmem_btag *
kva__segment_lookup(kva_vmem_t *vm, uintptr_t addr, size_t size,
                    enum btag_state state)
{
    struct kva_vmem_btag *bt;
    bool hashed;

    bt = kva__segment_at(vm, addr, &hashed);
    return bt != NULL && bt_state(bt) == state && bt_size(bt) == size ? bt
                                                                      : NULL;
}

/*
 * A busy segment borders on a hole, on a busy segment, or on its span's tag.
 * An end that moves moves the hole beside it too, if there is one: then the
 * hole's tag serves on, or goes when nothing is left of it.  Only what becomes
 * free beside something busy needs a tag, and only what splits.
 *
 *      tail:  | bt | hole |     the hole's start moves
 *      head:  | hole | bt |     that of bt moves
 *
 * Where the index takes a start that moves in its place, that needs no node.
 * Where it does not (the leaf does not reach so far), it is one change of the
 * index, as is each start that comes: two in all, for the two ends.
 */

static struct kva__index *
segment_index(kva_vmem_t *vm)
{
    return vm->index == NULL ? NULL : &vm->index->segments;
}

/* A busy segment that starts elsewhere, or is none: out of the hash. */
static void
busy_leave(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    kva__hash_leave(vm, bt);
    bt_set_state(bt, BT_FREE);
}

/*
 * A start moves, of a segment that is not in the hash.  When it moves down, who
 * stands there has visited what it takes in, and goes on to the next.
 */
static void
tag_move(kva_vmem_t *vm, struct kva_vmem_btag *bt, uintptr_t start)
{
    struct kva__index *ix = segment_index(vm);
    uintptr_t from = bt->start;

    if (start < from) {
        cursor_pass(vm, bt);
    }
    bt->start = start;
    if (ix != NULL) {
        kva__index_move(ix, from, start);
    }
}

/* A hole that is in no class starts elsewhere. */
static void
hole_move(kva_vmem_t *vm, struct kva_vmem_btag *hole, uintptr_t start)
{
    if (bt_state(hole) == BT_FREE_HASHED) {
        kva__hash_leave(vm, hole);
        bt_set_state(hole, BT_FREE);
    }
    tag_move(vm, hole, start);
}

/* A new tag for what starts at start, within bt. */
static struct kva_vmem_btag *
tag_within(kva_vmem_t *vm, struct kva_vmem_btag *bt, uintptr_t start, bool hole)
{
    struct kva__index *ix = segment_index(vm);
    struct kva_vmem_btag *second = tag_behind(vm, bt, start);

    if (ix != NULL) {
        kva__index_insert(ix, start, second, hole);
    }
    return second;
}

/* The start of a segment, free as far as its state goes, and its tag. */
static void
tag_without(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    struct kva__index *ix = segment_index(vm);

    if (ix != NULL) {
        kva__index_remove(ix, bt->start);
    }
    tag_drop(vm, bt);
}

/* What starts there became a hole, or busy. */
static void
index_mark(kva_vmem_t *vm, struct kva_vmem_btag *bt, bool hole)
{
    struct kva__index *ix = segment_index(vm);

    if (ix != NULL) {
        kva__index_mark(ix, bt->start, hole);
    }
}

unsigned
kva__segment_trim_tags(const struct kva_vmem_btag *bt, uintptr_t start,
                       size_t size)
{
    bool head = bt->start != start && !bt_is_free(bt_prev(bt));
    bool tail = bt_next(bt)->start != start + size && !bt_is_free(bt_next(bt));

    return (unsigned)head + (unsigned)tail;
}

bool
kva__segment_moves_far(kva_vmem_t *vm, const struct kva_vmem_btag *bt,
                       uintptr_t start, size_t size)
{
    const struct kva_vmem_btag *prev = bt_prev(bt), *next = bt_next(bt);
    struct kva__index *ix = segment_index(vm);
    uintptr_t end = start + size;

    if (ix == NULL) {
        return false;
    }
    if (start < bt->start && end > next->start && kva__index_is_wide(ix)) {
        return true; /* what the one does to a leaf the other may not fit in */
    }
    return (bt->start != start && bt_is_free(prev) && prev->start != start &&
            !kva__index_move_stays(ix, bt->start, start)) ||
           (next->start != end && bt_is_free(next) &&
            bt_next(next)->start != end &&
            !kva__index_move_stays(ix, next->start, end));
}

/* What lies below start becomes free; returns the hole. */
static struct kva_vmem_btag *
trim_head(kva_vmem_t *vm, struct kva_vmem_btag *bt, uintptr_t start)
{
    struct kva_vmem_btag *prev = bt_prev(bt), *kept;
    enum btag_state state = bt_state(bt);

    vm->stat.mem_inuse -= start - bt->start;
    if (bt_is_free(prev)) {
        hole_leave(vm, prev);
        busy_leave(vm, bt);
        tag_move(vm, bt, start);
        busy_enter(vm, bt, state);
        hole_enter(vm, prev);
        return prev;
    }
    busy_leave(vm, bt);
    kept = tag_within(vm, bt, start, false);
    busy_enter(vm, kept, state);
    index_mark(vm, bt, true);
    hole_enter(vm, bt);
    return bt;
}

/* The same of what lies from end on. */
static struct kva_vmem_btag *
trim_tail(kva_vmem_t *vm, struct kva_vmem_btag *bt, uintptr_t end)
{
    struct kva_vmem_btag *next = bt_next(bt);

    vm->stat.mem_inuse -= next->start - end;
    if (bt_is_free(next)) {
        hole_leave(vm, next);
        hole_move(vm, next, end);
    } else {
        next = tag_within(vm, bt, end, true);
    }
    hole_enter(vm, next);
    return next;
}

void
kva__segment_trim(kva_vmem_t *vm, struct kva_vmem_btag *bt, uintptr_t start,
                  size_t size, struct kva__trimmed *holes)
{
    uintptr_t end = start + size;
    struct kva_vmem_btag *hole;

    *holes = (struct kva__trimmed){ 0, 0, 0, 0 };
    if (bt_next(bt)->start != end) {
        hole = trim_tail(vm, bt, end);
        holes->tail = hole->start;
        holes->tail_size = bt_size(hole);
    }
    if (bt->start != start) { /* last, since bt may end as the hole */
        hole = trim_head(vm, bt, start);
        holes->head = hole->start;
        holes->head_size = bt_size(hole);
    }
}

void
kva__segment_split(kva_vmem_t *vm, struct kva_vmem_btag *bt, uintptr_t at)
{
    busy_enter(vm, tag_within(vm, bt, at, false), bt_state(bt));
}

void
kva__segment_join(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    struct kva_vmem_btag *second = bt_next(bt);

    busy_leave(vm, second);
    tag_without(vm, second);
}

bool
kva__segment_can_extend(const struct kva_vmem_btag *bt, uintptr_t start,
                        size_t size)
{
    const struct kva_vmem_btag *prev = bt_prev(bt), *next = bt_next(bt);
    size_t below = bt->start - start;
    size_t above = size - below - bt_size(bt);

    return (below == 0 || (bt_is_free(prev) && bt_size(prev) >= below)) &&
           (above == 0 || (bt_is_free(next) && bt_size(next) >= above));
}

/* Down to start, out of the hole before; the tag that starts there goes on. */
static void
extend_head(kva_vmem_t *vm, struct kva_vmem_btag *bt, uintptr_t start)
{
    enum btag_state state = bt_state(bt);
    struct kva_vmem_btag *hole = bt_prev(bt);

    vm->stat.mem_inuse += bt->start - start;
    hole_leave(vm, hole);
    busy_leave(vm, bt);
    if (hole->start == start) {
        tag_without(vm, bt);
        busy_enter(vm, hole, state);
        index_mark(vm, hole, false);
    } else {
        tag_move(vm, bt, start);
        busy_enter(vm, bt, state);
        hole_enter(vm, hole);
    }
}

/* Up to below end, out of the hole behind. */
static void
extend_tail(kva_vmem_t *vm, struct kva_vmem_btag *bt, uintptr_t end)
{
    struct kva_vmem_btag *hole = bt_next(bt);

    vm->stat.mem_inuse += end - hole->start;
    hole_leave(vm, hole);
    if (bt_next(hole)->start == end) {
        tag_without(vm, hole);
    } else {
        hole_move(vm, hole, end);
        hole_enter(vm, hole);
    }
}

void
kva__segment_extend(kva_vmem_t *vm, struct kva_vmem_btag *bt, uintptr_t start,
                    size_t size)
{
    uintptr_t end = start + size;

    KVA_ASSERT(kva__segment_can_extend(bt, start, size));
    if (bt_next(bt)->start != end) {
        extend_tail(vm, bt, end);
    }
    if (bt->start != start) { /* last, since bt may go */
        extend_head(vm, bt, start);
    }
}
