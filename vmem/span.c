/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Spans: the ranges that an arena consists of, each a ring of tags closed by
 * the span's own (vmem_store.h).  Spans are listed in the order they came.
 */
#include "vmem/cursor.h"
#include "vmem/hash.h"
#include "vmem/indexed.h"
#include "vmem/search.h"

static void
list_append(kva_vmem_t *vm, struct kva_vmem_btag *span)
{
    kva__btag_ref_t self = bt_ref(span);

    span->u.link.prev = vm->span_last;
    span->u.link.next = BT_NONE;
    if (vm->span_last != BT_NONE) {
        bt_at(vm->span_last)->u.link.next = self;
    } else {
        vm->span_first = self;
    }
    vm->span_last = self;
}

/* The same behind one that is on the list. */
static void
list_insert(kva_vmem_t *vm, struct kva_vmem_btag *pos,
            struct kva_vmem_btag *span)
{
    kva__btag_ref_t self = bt_ref(span), next = pos->u.link.next;

    span->u.link.prev = bt_ref(pos);
    span->u.link.next = next;
    pos->u.link.next = self;
    if (next != BT_NONE) {
        bt_at(next)->u.link.prev = self;
    } else {
        vm->span_last = self;
    }
}

static void
list_remove(kva_vmem_t *vm, struct kva_vmem_btag *span)
{
    kva__btag_ref_t prev = span->u.link.prev, next = span->u.link.next;

    if (prev != BT_NONE) {
        bt_at(prev)->u.link.next = next;
    } else {
        vm->span_first = next;
    }
    if (next != BT_NONE) {
        bt_at(next)->u.link.prev = prev;
    } else {
        vm->span_last = prev;
    }
}

/* Arena locked, two tags ensured: the span, and one free segment in it. */
static struct kva_vmem_btag *
span_insert(kva_vmem_t *vm, uintptr_t addr, size_t size, enum btag_state state)
{
    struct kva_vmem_btag *span = kva__btag_take(vm);
    struct kva_vmem_btag *bt = kva__btag_take(vm);

    span->start = addr + size;
    bt_set_state(span, state);
    bt->start = addr;
    bt_set_prev(span, bt);
    bt_set_next(span, bt);
    bt_set_prev(bt, span);
    bt_set_next(bt, span);
    bt_set_state(bt, BT_FREE);
    vm->nsegments++;
    holes_insert(vm, bt, size);
    if (vm->index != NULL) {
        kva__index_span_add(&vm->index->segments, bt);
        kva__index_insert(&vm->index->spans, addr, span, false);
    }
    list_append(vm, span);
    vm->stat.tags_free++;
    vm->stat.tags_span++;
    vm->stat.spans++;
    vm->stat.mem_total += size;
    if (state == BT_SPAN_IMPORT) {
        vm->stat.spans_import++;
        vm->stat.mem_import += size;
    }
    search_came(vm, bt);
    return bt;
}

/* Spans looked at without an index, from the youngest on, for one to join: what
 * is imported piece by piece joins the last or the one before. */
#define JOIN_LOOK 16u

static bool
ends_at(const struct kva_vmem_btag *span, uintptr_t addr)
{
    return bt_state(span) == BT_SPAN && span->start == addr && addr != 0;
}

static bool
begins_at(const struct kva_vmem_btag *span, uintptr_t addr)
{
    return bt_state(span) == BT_SPAN && bt_span_start(span) == addr &&
           addr != 0;
}

/* A span that [addr, addr + size - 1] borders on, at its end or its beginning;
 * NULL: none was found. */
static struct kva_vmem_btag *
span_beside(kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    kva__btag_ref_t ref = vm->span_last;
    struct kva_vmem_btag *span;

    if (vm->index != NULL) {
        struct kva__index *spans = &vm->index->spans;

        span = kva__index_before(spans, addr, &vm->stat.search);
        if (span != NULL && ends_at(span, addr)) {
            return span;
        }
        span = kva__index_find(spans, addr + size, &vm->stat.search);
        return span != NULL && begins_at(span, addr + size) ? span : NULL;
    }
    for (unsigned i = 0; i < JOIN_LOOK && ref != BT_NONE; i++) {
        span = bt_at(ref);
        if (ends_at(span, addr) || begins_at(span, addr + size)) {
            return span;
        }
        ref = span->u.link.prev;
    }
    return NULL;
}

/* The hole in a span that [addr, addr + size - 1] borders on, grown by it;
 * NULL: there is none. */
static struct kva_vmem_btag *
join_beside(kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    struct kva_vmem_btag *span = span_beside(vm, addr, size);

    if (span == NULL) {
        return NULL;
    }
    vm->stat.mem_total += size;
    if (ends_at(span, addr)) {
        return kva__segment_append(vm, span, size);
    }
    if (vm->index != NULL) {
        kva__index_move(&vm->index->spans, addr + size, addr);
    }
    return kva__segment_prepend(vm, span, size);
}

struct kva_vmem_btag *
kva__span_join(kva_vmem_t *vm, uintptr_t addr, size_t size,
               enum btag_state state)
{
    struct kva_vmem_btag *hole = NULL;

    if (vm->span_first == BT_NONE) {
        kva__qcache_expect(vm, addr);
    } else if (state == BT_SPAN && (vm->flags & KVA__VM_APART) == 0) {
        hole = join_beside(vm, addr, size);
    }
    return hole != NULL ? hole : span_insert(vm, addr, size, state);
}

static bool
overlaps(struct kva_vmem_btag *span, uintptr_t addr, size_t size)
{
    uintptr_t start = bt_span_start(span);

    return addr - start < bt_span_size(span) || start - addr < size;
}

struct kva_vmem_btag *
kva__span_overlapping(kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    struct kva_vmem_btag *span;

    if (vm->index != NULL) {
        /* Spans are apart, so it is the last that starts at or before the
         * end. */
        span = kva__index_before(&vm->index->spans, addr + (size - 1),
                                 &vm->stat.search);
        return span != NULL && overlaps(span, addr, size) ? span : NULL;
    }
    for (kva__btag_ref_t ref = vm->span_first; ref != BT_NONE;
         ref = span->u.link.next) {
        span = bt_at(ref);
        if (overlaps(span, addr, size)) {
            return span;
        }
    }
    return NULL;
}

void
kva__span_add(kva_vmem_t *vm, uintptr_t addr, size_t size,
              enum btag_state state)
{
    if (vm->span_first == BT_NONE) {
        kva__qcache_expect(vm, addr);
    }
    (void)span_insert(vm, addr, size, state);
}

/* The span is one free segment: out with both tags. */
void
kva__span_remove(kva_vmem_t *vm, struct kva_vmem_btag *span)
{
    struct kva_vmem_btag *bt = bt_next(span);
    size_t size = bt_span_size(span);

    KVA_ASSERT(bt_is_free(bt) && bt_next(bt) == span);
    search_left(vm, bt);
    cursor_span_gone(vm, span);
    holes_remove(vm, bt, size);
    (void)indexed_leave(vm, bt);
    if (vm->index != NULL) {
        kva__index_span_remove(&vm->index->segments, bt);
        kva__index_remove(&vm->index->spans, bt->start);
    }
    if (bt_state(bt) == BT_FREE_HASHED) {
        kva__hash_leave(vm, bt);
    }
    vm->nsegments--;
    list_remove(vm, span);
    vm->stat.tags_free--;
    vm->stat.tags_span--;
    vm->stat.spans--;
    vm->stat.mem_total -= size;
    if (bt_state(span) == BT_SPAN_IMPORT) {
        vm->stat.spans_import--;
        vm->stat.mem_import -= size;
    }
    kva__btag_give(vm, bt);
    kva__btag_give(vm, span);
}

/* ---- a part of a span goes ---------------------------------------------- */

bool
kva__span_is_piece(const kva_vmem_t *vm, const struct kva_vmem_btag *bt)
{
    const struct kva_vmem_btag *span = bt_next(bt);

    return vm->index == NULL && bt_prev(bt) == span &&
           bt_state(span) == BT_SPAN_IMPORT;
}

/* A busy segment with a span of its own, behind the one there is. */
static void
span_behind(kva_vmem_t *vm, struct kva_vmem_btag *pos, uintptr_t start,
            enum btag_state state)
{
    struct kva_vmem_btag *span = kva__btag_take(vm);
    struct kva_vmem_btag *bt = kva__btag_take(vm);

    span->start = pos->start;
    bt->start = start;
    bt_set(span, bt, bt, bt_state(pos));
    bt_set(bt, span, span, state);
    hash_enter(vm, bt, bt_ref(bt));
    list_insert(vm, pos, span);
    kva__cursor_span_split(vm, pos, span);
    vm->nsegments++;
    vm->stat.tags_span++;
    vm->stat.spans++;
    vm->stat.spans_import++;
}

/*
 *      span |-------------- bt --------------|
 *           |--- bt ---|    goes    |--------|  rest, behind it on the list
 */
void
kva__span_cut(kva_vmem_t *vm, struct kva_vmem_btag *bt, uintptr_t start,
              size_t size)
{
    struct kva_vmem_btag *span = bt_next(bt);
    uintptr_t end = start + size;
    enum btag_state state = bt_state(bt);

    KVA_ASSERT(kva__span_is_piece(vm, bt));
    if (start != bt->start) {
        if (end != span->start) {
            span_behind(vm, span, end, state);
        }
        span->start = start;
    } else {
        KVA_ASSERT(end != span->start);
        kva__hash_leave(vm, bt);
        bt->start = end;
        hash_enter(vm, bt, bt_ref(bt));
    }
    vm->stat.mem_inuse -= size;
    vm->stat.mem_total -= size;
    vm->stat.mem_import -= size;
    vm->stat.resize++;
}
