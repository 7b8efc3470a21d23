/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cursors.  Who looks at all segments of an arena, and drops its lock now and
 * then, leaves a cursor behind: it is on a list in the arena, and whoever
 * changes a ring moves the cursors that the change concerns.  With none, that
 * costs one load and a branch where segments join and where spans go.
 *
 *      span -> [ A ] -> [ B ] -> [ C ] -> [ D ] -> span      next span ...
 *              visited  visited  ^ at
 *
 *  P1  span is on the arena's list, at or before last; or NULL, and the cursor
 *      is at the end.
 *  P2  at is a segment of the ring of span; or the span's own tag, all segments
 *      having been visited; or NULL, not even the span having been.
 *  P3  at begins behind the end of every segment that was visited in the span.
 *  P4  A segment that was there when the cursor was placed, is unchanged, and
 *      was not visited, is at or behind it: in its ring, or in a span behind.
 *
 * From P3: no two visits overlap, in address order.  From P4: what stays is
 * visited once.  What changes rings, and what it does to P2 to P4:
 *
 *  A segment is cut in parts, or begins to be something else.  Its tag stays
 *  in the ring and keeps its start; other parts get new tags behind it.
 *  A segment joins the one before it.  Its tag leaves the ring, and what is one
 *  now began before the cursor if the cursor was there (P3): it goes on to the
 *  next.  The tag before keeps its start.
 *  A hole takes the segment before it in, and begins where that did (with an
 *  index): whoever is at the hole goes on to the next, and then, whoever is at
 *  the segment, to the hole.
 *  A span grows at an end.  In front of it nothing was visited; behind it the
 *  cursor may be at the span's own tag, and what is new is left out.
 *  A span goes.  It is one hole by then.  Cursors in it go to the next span.
 *  A span comes.  It is behind last.
 *  A span of one segment loses what lies in its middle, and what is left behind
 *  that is a span of its own, next on the list.  Who has visited the segment
 *  has visited all that, and goes on behind it; and if the span was last, the
 *  new one is.
 *
 * last is the last span of when the cursor was placed, so that a walk ends
 * however many come; if it goes, the one before it takes its place.
 */
#include "vmem/cursor.h"

static void
place(struct kva__cursor *c, kva_vmem_t *vm)
{
    c->vm = vm;
    c->next = c->prev = NULL;
    c->at = NULL;
    c->span = vm->span_first == BT_NONE ? NULL : bt_at(vm->span_first);
    c->last = vm->span_last == BT_NONE ? NULL : bt_at(vm->span_last);
    c->left = 0;
    c->wary = false;
}

void
kva__cursor_begin(struct kva__cursor *c, kva_vmem_t *vm)
{
    place(c, vm);
    c->next = vm->cursors;
    if (c->next != NULL) {
        c->next->prev = c;
    }
    vm->cursors = c;
}

/*
 * With no lock nothing can be relied on: there are no more steps than tags, and
 * a reference or pointer is looked at before it is followed.
 */
void
kva__cursor_begin_wary(struct kva__cursor *c, kva_vmem_t *vm)
{
    c->vm = vm;
    c->next = c->prev = NULL;
    c->at = c->last = NULL;
    c->span =
        kva__btag_ref_is_ours(vm->span_first) ? bt_at(vm->span_first) : NULL;
    c->left = kva__btag_total();
    c->wary = true;
}

void
kva__cursor_end(struct kva__cursor *c)
{
    if (c->wary) {
        return;
    }
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        c->vm->cursors = c->next;
    }
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
}

/* To the front of the next span, unless this was the last. */
static void
leave_span(struct kva__cursor *c)
{
    kva__btag_ref_t ref = c->span->u.link.next;

    if (c->span == c->last || ref == BT_NONE ||
        (c->wary && !kva__btag_ref_is_ours(ref))) {
        c->span = NULL;
    } else {
        c->span = bt_at(ref);
    }
    c->at = NULL;
}

void
kva__cursor_skip_span(struct kva__cursor *c)
{
    if (c->span != NULL && c->at != NULL) {
        leave_span(c);
    }
}

/* One step of one that looks first; a tag in use has its ring, both ways. */
static bool
may_follow(struct kva_vmem_btag *bt)
{
    struct kva_vmem_btag *next = bt_next(bt);

    return kva__btag_is_ours(next) && bt_prev(next) == bt;
}

struct kva_vmem_btag *
kva__cursor_step(struct kva__cursor *c)
{
    struct kva_vmem_btag *bt;

    if (c->span != NULL && c->at == c->span) {
        leave_span(c);
    }
    if (c->span == NULL) {
        return NULL;
    }
    bt = c->at == NULL ? c->span : c->at;
    if (c->wary && (c->left-- == 0 || !may_follow(bt))) {
        c->span = NULL;
        return NULL;
    }
    c->at = bt_next(bt);
    return bt;
}

void
kva__cursor_pass(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    for (struct kva__cursor *c = vm->cursors; c != NULL; c = c->next) {
        if (c->at == bt) {
            c->at = bt_next(bt);
        }
    }
}

void
kva__cursor_span_gone(kva_vmem_t *vm, struct kva_vmem_btag *span)
{
    kva__btag_ref_t prev = span->u.link.prev;

    for (struct kva__cursor *c = vm->cursors; c != NULL; c = c->next) {
        if (c->span == span) {
            leave_span(c);
        }
        if (c->last == span) { /* then the cursor is before it, or at the end */
            c->last = prev == BT_NONE ? NULL : bt_at(prev);
        }
    }
}

void
kva__cursor_span_split(kva_vmem_t *vm, struct kva_vmem_btag *span,
                       struct kva_vmem_btag *rest)
{
    for (struct kva__cursor *c = vm->cursors; c != NULL; c = c->next) {
        if (c->span == span && c->at == span) {
            c->span = c->at = rest;
        }
        if (c->last == span) {
            c->last = rest;
        }
    }
}
