/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Searches in an arena with an index: no list is walked but that of an exact
 * class, whose holes are all alike.
 *
 *   anywhere       by size: the first of an exact class, or the smallest of the
 *                  tree of a larger one.  So an instant fit is a best fit.
 *   without bounds by size: one that is long enough for any position
 *   constrained    by address: the hole around the lower bound, then the lowest
 *                  one above it that is long enough for any position; then, as
 *                  a walk, all that are long enough for the size
 *   first fit      the lowest: that walk alone
 *   next fit       the same from where the last one ended, and then from the
 *                  lower bound
 *   from the top   the same downwards
 *   best fit       constrained: holes by size, from the smallest on
 *
 * Each look-up visits at most three nodes a level (index.h).  If the bounds
 * hold a hole that is long enough for any position, two look-ups find it: one
 * that starts below the lower bound is around it, any other is the lowest above
 * or, if that one reaches past the upper bound, there is none behind it.
 * Downwards it is the highest, or the one below if the upper bound cuts that
 * one short.
 */
#include "vmem/indexed.h"
#include "vmem/search.h"

#define POLICIES (VM_FIRSTFIT | VM_NEXTFIT | VM_ENDALLOC)

/* ---- by size ------------------------------------------------------------ */

/* The smallest hole that holds size bytes; NULL: none. */
static struct kva_vmem_btag *
smallest(kva_vmem_t *vm, size_t size)
{
    unsigned own = class_of(size >> vm->quantum_shift);
    unsigned c = class_next(vm, own);
    struct kva_vmem_btag *hole;

    if (c == own && own >= KVA__VMEM_EXACT) {
        hole = kva__order_best(vm->class_head[own], size, &vm->stat.search);
        if (hole != NULL) {
            return hole;
        }
        c = class_next(vm, own + 1);
    }
    if (c == KVA__VMEM_CLASSES) {
        return NULL;
    }
    if (c < KVA__VMEM_EXACT) {
        vm->stat.search++;
        return bt_at(vm->class_head[c]);
    }
    return kva__order_best(vm->class_head[c], 0, &vm->stat.search);
}

/* The next of the tree or list that the search is in; NULL: that was all. */
static struct kva_vmem_btag *
next_in_class(kva_vmem_t *vm, struct kva__search *s)
{
    struct kva_vmem_btag *hole = NULL;
    unsigned c = s->next_class;

    if (s->at != BT_NONE) { /* in the list of an exact class */
        hole = bt_at(s->at);
        s->at = hole->u.link.next;
        vm->stat.search++;
    } else if (c >= KVA__VMEM_EXACT && c < KVA__VMEM_CLASSES &&
               vm->class_head[c] != BT_NONE) {
        hole = kva__order_next(vm->class_head[c], s->size, s->cursor,
                               &vm->stat.search);
        if (hole != NULL) {
            s->size = bt_size(hole);
            s->cursor = hole->start;
        } else {
            s->next_class++;
        }
    }
    return hole;
}

/* The next hole by size; NULL: that was all. */
static struct kva_vmem_btag *
next_by_size(kva_vmem_t *vm, struct kva__search *s)
{
    struct kva_vmem_btag *hole;
    unsigned c;

    while ((hole = next_in_class(vm, s)) == NULL) {
        c = class_next(vm, s->next_class);
        if (c == KVA__VMEM_CLASSES) {
            break;
        }
        s->next_class = c;
        s->size = 0;
        s->cursor = 0;
        if (c < KVA__VMEM_EXACT) {
            s->at = vm->class_head[c];
            s->next_class = c + 1;
        }
    }
    return hole;
}

/* ---- by address --------------------------------------------------------- */

/* The lowest hole from addr on that is long enough, young or not, or the
 * highest down from there. */
static struct kva_vmem_btag *
hole_from(kva_vmem_t *vm, uintptr_t addr, size_t size, bool up)
{
    struct kva__index *ix = &vm->index->segments;
    size_t *visits = &vm->stat.search;
    uintptr_t young =
        kva__young_seek(&vm->index->young, ix, addr, size, up, visits);
    struct kva_vmem_btag *bt =
        up ? kva__index_hole_up(ix, addr, size, visits)
           : kva__index_hole_down(ix, addr, size, visits);

    if (young != 0) {
        uintptr_t start = young_start(ix, young);

        if (bt == NULL || (up ? start < bt->start : start > bt->start)) {
            bt = kva__index_find(ix, start, visits);
        }
    }
    return bt;
}

/* What is sure: around the lower bound, or above it. */
static bool
find_sure(kva_vmem_t *vm, struct kva__search *s)
{
    const struct kva__vmem_request *rq = s->rq;
    struct kva__index *ix = &vm->index->segments;
    size_t *visits = &vm->stat.search, size = kva__search_sure(vm, rq);
    bool down = (rq->flags & VM_ENDALLOC) != 0;

    if (!down) {
        s->hole = kva__index_at(ix, rq->min, visits);
        if (s->hole != NULL && bt_is_free(s->hole) &&
            kva__search_fits(s->hole, rq, &s->start)) {
            return true;
        }
    }
    s->hole = NULL;
    if (size != 0) {
        s->hole = hole_from(vm, down ? rq->max : rq->min, size, !down);
    }
    if (down && s->hole != NULL && s->hole->start > rq->min &&
        !kva__search_fits(s->hole, rq, &s->start)) { /* the bound cuts it */
        s->hole = hole_from(vm, s->hole->start - 1, size, false);
    }
    if (s->hole != NULL && !kva__search_fits(s->hole, rq, &s->start)) {
        s->hole = NULL;
    }
    return s->hole != NULL;
}

/* The next hole on the way down; NULL: that was all. */
static struct kva_vmem_btag *
next_down(kva_vmem_t *vm, struct kva__search *s)
{
    struct kva_vmem_btag *hole;

    if (s->wrapped) {
        return NULL;
    }
    hole = hole_from(vm, s->cursor, s->rq->size, false);
    if (hole != NULL) {
        s->wrapped = hole->start <= s->rq->min;
        s->cursor = hole->start - 1;
    }
    return hole;
}

/* Next fit has come to the end: from the lower bound, once. */
static bool
wrap(struct kva__search *s)
{
    if (s->wrapped || s->from == s->rq->min) {
        return false;
    }
    s->wrapped = true;
    s->from = s->cursor = s->rq->min;
    s->around = true;
    s->end = false;
    return true;
}

/* The next hole on the way up; NULL: that was all. */
static struct kva_vmem_btag *
next_up(kva_vmem_t *vm, struct kva__search *s)
{
    struct kva__index *ix = &vm->index->segments;
    struct kva_vmem_btag *hole;

    do {
        if (s->around) {
            s->around = false;
            hole = kva__index_at(ix, s->cursor, &vm->stat.search);
            if (hole != NULL && bt_is_free(hole) && hole->start < s->cursor) {
                return hole;
            }
        }
        hole = s->end ? NULL : hole_from(vm, s->cursor, s->rq->size, true);
        if (hole != NULL && hole->start <= s->rq->max) {
            s->cursor = hole->start + 1;
            s->end = s->cursor == 0;
            return hole;
        }
    } while (wrap(s));
    return NULL;
}

/* ---- the step ----------------------------------------------------------- */

static void
walk_begin(kva_vmem_t *vm, struct kva__search *s)
{
    const struct kva__vmem_request *rq = s->rq;

    s->walking = true;
    s->wrapped = false;
    s->end = false;
    s->at = BT_NONE;
    s->size = 0;
    s->next_class = class_of(rq->size >> vm->quantum_shift);
    s->from = rq->min;
    if ((rq->flags & VM_NEXTFIT) != 0 && vm->rotor > rq->min &&
        vm->rotor <= rq->max) {
        s->from = vm->rotor;
    }
    if ((rq->flags & VM_BESTFIT) != 0) {
        s->cursor = 0;
        return;
    }
    s->cursor = (rq->flags & VM_ENDALLOC) != 0 ? rq->max : s->from;
    s->around = true;
}

static struct kva_vmem_btag *
walk_next(kva_vmem_t *vm, struct kva__search *s)
{
    if ((s->rq->flags & VM_BESTFIT) != 0) {
        return next_by_size(vm, s);
    }
    return (s->rq->flags & VM_ENDALLOC) != 0 ? next_down(vm, s)
                                             : next_up(vm, s);
}

/* The request with the bound that next fit puts to it. */
static bool
fits_from(struct kva__search *s, const struct kva_vmem_btag *hole)
{
    struct kva__vmem_request rq = *s->rq;

    rq.min = s->from;
    return kva__search_fits(hole, &rq, &s->start);
}

static enum kva__search_result
take_smallest(kva_vmem_t *vm, struct kva__search *s)
{
    s->hole = smallest(vm, s->rq->size);
    if (s->hole == NULL) {
        return KVA__SEARCH_NONE;
    }
    s->start = s->hole->start;
    return KVA__SEARCH_FOUND;
}

/*
 * Constrained, but not by bounds: a hole that is long enough wherever it
 * starts, the first of its class; or before, the first of the request's own,
 * which may do.
 */
static bool
find_by_size(kva_vmem_t *vm, struct kva__search *s)
{
    size_t sure = kva__search_sure(vm, s->rq), size = s->rq->size;
    unsigned own = class_of(size >> vm->quantum_shift);

    if (own < KVA__VMEM_EXACT && vm->class_head[own] != BT_NONE) {
        vm->stat.search++;
        s->hole = bt_at(vm->class_head[own]);
        if (kva__search_fits(s->hole, s->rq, &s->start)) {
            return true;
        }
    }
    s->hole = sure != 0 ? smallest(vm, sure) : NULL;
    if (s->hole != NULL && !kva__search_fits(s->hole, s->rq, &s->start)) {
        s->hole = NULL;
    }
    return s->hole != NULL;
}

/* Without a walk, if that says where: by size, or what is sure by address. */
static bool
find_at_once(kva_vmem_t *vm, struct kva__search *s)
{
    const struct kva__vmem_request *rq = s->rq;

    if ((rq->flags & (VM_BESTFIT | VM_FIRSTFIT | VM_NEXTFIT)) != 0) {
        return false;
    }
    if ((rq->flags & VM_ENDALLOC) == 0 && rq->min == VMEM_ADDR_MIN &&
        rq->max == VMEM_ADDR_MAX && find_by_size(vm, s)) {
        return true;
    }
    return find_sure(vm, s);
}

enum kva__search_result
kva__search_index(kva_vmem_t *vm, struct kva__search *s)
{
    const struct kva__vmem_request *rq = s->rq;
    bool best = (rq->flags & VM_BESTFIT) != 0;
    struct kva_vmem_btag *hole;
    size_t before;

    if (!rq->constrained && (rq->flags & POLICIES) == 0) {
        return take_smallest(vm, s);
    }
    if (!s->walking) {
        if (find_at_once(vm, s)) {
            return KVA__SEARCH_FOUND;
        }
        walk_begin(vm, s);
    }
    before = vm->stat.search;
    while (vm->stat.search - before < KVA__SEARCH_STEP) {
        if (s->hole != NULL && !best) { /* it came while we were away */
            return KVA__SEARCH_FOUND;
        }
        hole = walk_next(vm, s);
        if (s->hole != NULL &&
            (hole == NULL || bt_size(hole) >= bt_size(s->hole))) {
            return KVA__SEARCH_FOUND;
        }
        if (hole == NULL) {
            return KVA__SEARCH_NONE;
        }
        if (fits_from(s, hole)) {
            s->hole = hole;
            return KVA__SEARCH_FOUND;
        }
    }
    return KVA__SEARCH_MORE;
}
