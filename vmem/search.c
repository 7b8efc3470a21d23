/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Searches: which hole serves a request.
 *
 * SURE.  A request of size s has room in every hole of
 *
 *      s + (align - quantum) + (nocross: s - quantum) + (phase: align)
 *
 * bytes, wherever the hole starts.  Classes above the one of that length hold
 * nothing shorter, so their first hole does, in constant work.  Unconstrained,
 * that is s itself, and the first hole of the own class may do as well.
 *
 * Bounds on the address make all lengths unsure; but the first holes of these
 * classes are tried all the same, of up to FIRSTS of them.
 *
 * WALK.  If none of that does, or the smallest hole is wanted, the holes from
 * the own class on are visited one by one until one fits: if there is a hole
 * that serves the request, it is found.  That may be long, so it goes in steps
 * of KVA__SEARCH_STEP holes, and the arena is unlocked between them.
 *
 *      class c      h1 -> h2 -> h3 -> h4      class c+1    h5 -> ...
 *                   visited     ^ at                       to be visited
 *
 * With an index the walk goes through holes by address or by size, and only
 * where the search for what is sure, which takes no steps, has found nothing
 * (search_index.c).
 *
 * A search that is suspended is known to the arena.  A hole that comes or grows
 * meanwhile is shown to it, since it might stand where the walk has been; one
 * that goes takes the walk to the next.  So at each moment every hole has been
 * visited as it is, or will be.  The short ways of requests and frees are
 * closed meanwhile (short.c), so that none escapes.
 */
#include "vmem/class.h"
#include "vmem/search.h"

/* ---- where in a hole ---------------------------------------------------- */

/*
 * First address at or above addr that is phase modulo align, and last at or
 * below; both may wrap, which the caller sees by the result being on the other
 * side of addr.
 */
static uintptr_t
align_up_phase(uintptr_t addr, size_t align, size_t phase)
{
    return kva_round_up(addr - phase, align) + phase;
}

static uintptr_t
align_down_phase(uintptr_t addr, size_t align, size_t phase)
{
    return kva_round_down(addr - phase, align) + phase;
}

static bool
crosses(const struct kva__vmem_request *rq, uintptr_t at)
{
    return rq->nocross != 0 &&
           ((at ^ (at + rq->size - 1)) & ~(rq->nocross - 1)) != 0;
}

/* The lowest place in [first, last], which is within the request's bounds. */
static bool
lowest(const struct kva__vmem_request *rq, uintptr_t first, uintptr_t last,
       uintptr_t *start)
{
    uintptr_t at = align_up_phase(first, rq->align, rq->phase);

    if (at < first) {
        return false;
    }
    if (crosses(rq, at)) {
        uintptr_t edge = kva_round_up(at + 1, rq->nocross);

        at = align_up_phase(edge, rq->align, rq->phase);
        if (edge < first || at < edge || crosses(rq, at)) {
            return false;
        }
    }
    if (at > last || last - at < rq->size - 1) {
        return false;
    }
    *start = at;
    return true;
}

/* The highest.  last - first is at least the size - 1. */
static bool
highest(const struct kva__vmem_request *rq, uintptr_t first, uintptr_t last,
        uintptr_t *start)
{
    uintptr_t top = last - (rq->size - 1), edge;
    uintptr_t at = align_down_phase(top, rq->align, rq->phase);

    if (at > top || at < first) {
        return false;
    }
    if (crosses(rq, at)) {
        edge = kva_round_down(at + (rq->size - 1), rq->nocross);
        top = edge - rq->size;
        at = align_down_phase(top, rq->align, rq->phase);
        if (top > edge || at > top || at < first || crosses(rq, at)) {
            return false;
        }
    }
    *start = at;
    return true;
}

bool
kva__request_fits(const struct kva__vmem_request *rq, uintptr_t first,
                  uintptr_t last, uintptr_t *start)
{
    if (first < rq->min) {
        first = rq->min;
    }
    if (last > rq->max) {
        last = rq->max;
    }
    if (first > last || last - first < rq->size - 1) {
        return false;
    }
    return (rq->flags & VM_ENDALLOC) != 0 ? highest(rq, first, last, start)
                                          : lowest(rq, first, last, start);
}

bool
kva__search_fits(const struct kva_vmem_btag *hole,
                 const struct kva__vmem_request *rq, uintptr_t *start)
{
    return kva__request_fits(rq, hole->start, bt_next(hole)->start - 1, start);
}

/* ---- what is sure ------------------------------------------------------- */

size_t
kva__search_sure(const kva_vmem_t *vm, const struct kva__vmem_request *rq)
{
    size_t quantum = (size_t)1 << vm->quantum_shift;
    size_t more = rq->align - quantum;

    if (rq->nocross != 0) {
        more += rq->size - quantum;
    }
    if (rq->phase != 0) {
        more += rq->align;
    }
    return rq->size + more < rq->size ? 0 : rq->size + more;
}

/* Within bounds no length is sure, but the first of a class may do; so many
 * classes are asked before holes are walked, half a step. */
#define FIRSTS (KVA__SEARCH_STEP / 2)

/* A hole that must do by its length; of the own class, the first may. */
static bool
find_sure(kva_vmem_t *vm, struct kva__search *s)
{
    const struct kva__vmem_request *rq = s->rq;
    size_t size = kva__search_sure(vm, rq);
    unsigned own = class_of(rq->size >> vm->quantum_shift), c;

    if (!rq->constrained && vm->class_head[own] != BT_NONE) {
        s->hole = bt_at(vm->class_head[own]);
        if (kva__search_fits(s->hole, rq, &s->start)) {
            return true;
        }
    }
    c = size == 0 ? KVA__VMEM_CLASSES
                  : class_next(vm, class_sure(size >> vm->quantum_shift));
    for (unsigned i = 0; i < FIRSTS && c < KVA__VMEM_CLASSES; i++) {
        s->hole = bt_at(vm->class_head[c]);
        vm->stat.search++;
        if (kva__search_fits(s->hole, rq, &s->start)) {
            return true;
        }
        c = class_next(vm, c + 1);
    }
    s->hole = NULL;
    return false;
}

/* ---- the walk ----------------------------------------------------------- */

void
kva__search_begin(struct kva__search *s, const struct kva__vmem_request *rq)
{
    *s = (struct kva__search){ .rq = rq, .at = BT_NONE };
}

/* To the first hole of the next class that has one. */
static bool
walk_on(kva_vmem_t *vm, struct kva__search *s)
{
    unsigned c = class_next(vm, s->next_class);

    if (c == KVA__VMEM_CLASSES) {
        return false;
    }
    s->at = vm->class_head[c];
    s->next_class = c + 1;
    return true;
}

/* The hole serves: is it the one to take. */
static void
consider(struct kva__search *s, struct kva_vmem_btag *hole, uintptr_t start)
{
    bool best = (s->rq->flags & VM_BESTFIT) != 0;

    s->passed |= s->hole != NULL && s->hole != hole;
    if (s->hole == NULL || (best && bt_size(hole) < bt_size(s->hole))) {
        s->hole = hole;
        s->start = start;
    }
}

enum kva__search_result
kva__search_step(kva_vmem_t *vm, struct kva__search *s)
{
    bool best = (s->rq->flags & VM_BESTFIT) != 0;
    uintptr_t start;
    size_t before;

    if (vm->index != NULL) {
        return kva__search_index(vm, s);
    }
    before = vm->stat.search;
    if (!s->walking) {
        if (!best && find_sure(vm, s)) {
            return KVA__SEARCH_FOUND;
        }
        s->walking = true;
        s->next_class = class_of(s->rq->size >> vm->quantum_shift);
    }
    while (vm->stat.search - before < KVA__SEARCH_STEP) {
        struct kva_vmem_btag *hole;

        if (s->hole != NULL && (!best || s->at == BT_NONE)) {
            return KVA__SEARCH_FOUND;
        }
        if (s->at == BT_NONE && !walk_on(vm, s)) {
            return KVA__SEARCH_NONE;
        }
        hole = bt_at(s->at);
        s->at = hole->u.link.next;
        vm->stat.search++;
        if (kva__search_fits(hole, s->rq, &start)) {
            consider(s, hole, start);
        }
    }
    return KVA__SEARCH_MORE;
}

/* ---- suspended ---------------------------------------------------------- */

void
kva__search_suspend(kva_vmem_t *vm, struct kva__search *s)
{
    s->next = vm->searches;
    vm->searches = s;
    vm->detour |= KVA__DETOUR_SEARCH;
}

void
kva__search_resume(kva_vmem_t *vm, struct kva__search *s)
{
    struct kva__search **pos = &vm->searches;

    while (*pos != s) {
        pos = &(*pos)->next;
    }
    *pos = s->next;
    if (vm->searches == NULL) {
        vm->detour &= ~KVA__DETOUR_SEARCH;
    }
}

void
kva__search_came(kva_vmem_t *vm, struct kva_vmem_btag *hole)
{
    uintptr_t start;

    for (struct kva__search *s = vm->searches; s != NULL; s = s->next) {
        if (kva__search_fits(hole, s->rq, &start)) {
            consider(s, hole, start);
        }
    }
}

/* The one to take has gone.  The walk goes on, or begins anew if another was
 * passed over for it. */
static void
walk_again(kva_vmem_t *vm, struct kva__search *s)
{
    s->hole = NULL;
    if (!s->passed) {
        return;
    }
    s->passed = false;
    s->walking = vm->index == NULL;
    s->at = BT_NONE;
    s->next_class = class_of(s->rq->size >> vm->quantum_shift);
}

void
kva__search_left(kva_vmem_t *vm, struct kva_vmem_btag *hole)
{
    kva__btag_ref_t ref = bt_ref(hole);

    for (struct kva__search *s = vm->searches; s != NULL; s = s->next) {
        if (s->at == ref) {
            s->at = hole->u.link.next;
        }
        if (s->hole == hole) {
            walk_again(vm, s);
        }
    }
}
