/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pieces of the quantum caches that go back in parts, so that one run that
 * stays does not keep all of what it lies in.
 *
 *      piece    |--run--|........ free ........|run|..|     one span
 *               |--run--|                      |run|..|     two
 *                        to the source
 *
 * Only a drain does this, and only if free pieces, which go back whole and cost
 * nothing, were not enough; and a free while somebody waits for memory of a
 * sibling of the arena, whom a run that stays here does not serve.  Each cut in the middle of a piece costs two tags
 * here and as many in the source, as long as what is beside it lives.  So that
 * few are spent, the longest free runs go first, by powers of two; of the last
 * one only as much as is wanted.
 *
 * The part is RESERVED: it looks like runs in a magazine, so that nobody takes
 * it, and the piece does not go.  Then tags are set aside and the source makes
 * it a range of its own; if either cannot be, the part is free as before.  From
 * there nothing fails: the piece of the window and the span of the arena lose
 * the part at once, under both locks, and it is released.
 *
 * A piece is cut only if it is all of its span, which it is unless it was cut
 * out of a hole, and in an arena without an index.  One cut at a time in an
 * arena, so that a span does not change while its source works.
 */
#include "vmem/qcache.h"

/* A part of a piece, in quanta of its window and in addresses. */
struct part {
    struct window *w;
    unsigned at, n;
    unsigned first, len; /* of the piece */
    uintptr_t addr, piece;
    size_t bytes, piece_bytes;
    unsigned ntags;
    struct kva_vmem_btag *tag[KVA_VMEM_TAGS_CUT];
};

/* What is beside it on both sides takes tags. */
static struct part
part_of(const struct kva__qcache *qc, struct window *w, unsigned at, unsigned n)
{
    unsigned shift = qc->vm->quantum_shift;
    struct part p = { .w = w, .at = at, .n = n };

    p.first = kva__window_piece(w, at, &p.len);
    if (p.first != at && p.first + p.len != at + n) {
        p.ntags = KVA_VMEM_TAGS_CUT;
    }
    p.addr = w->base + ((uintptr_t)at << shift);
    p.piece = w->base + ((uintptr_t)p.first << shift);
    p.bytes = (size_t)n << shift;
    p.piece_bytes = (size_t)p.len << shift;
    return p;
}

/* No more than is wanted of a run; from the side where the piece ends, if it
 * does.  Locked. */
static void
part_shorten(const struct kva__qcache *qc, size_t left, unsigned *at,
             unsigned *n)
{
    size_t quanta = (left - 1) >> qc->vm->quantum_shift;

    if (quanta + 1 < *n) {
        *at += *n - (unsigned)(quanta + 1);
        *n = (unsigned)(quanta + 1);
    }
}

/* The tags for it out of the arena's stock; false: it has none, or the piece is
 * not a span. */
static bool
tags_set_aside(kva_vmem_t *vm, struct part *p, bool *refused)
{
    struct kva_vmem_btag *bt;
    kva_irq_t irq;
    bool ok;

    irq = kva_port_lock(&vm->lock);
    bt = kva__segment_lookup(vm, p->piece, p->piece_bytes, BT_PIECE);
    ok = bt != NULL && kva__span_is_piece(vm, bt);
    if (ok) {
        ok = kva__budget_ensure(vm, p->ntags, 0);
        vm->stat.populate_fail += !ok;
        *refused = !ok;
    }
    for (unsigned i = 0; ok && i < p->ntags; i++) {
        p->tag[i] = kva__btag_take(vm);
    }
    kva_port_unlock(&vm->lock, irq);
    return ok;
}

static void
tags_return(kva_vmem_t *vm, const struct part *p)
{
    for (unsigned i = 0; i < p->ntags; i++) {
        kva__btag_give(vm, p->tag[i]);
    }
}

/* It stays, free as it was. */
static void
part_keep(struct kva__qcache *qc, const struct part *p)
{
    kva_irq_t irq;

    irq = kva_port_lock(&qc->lock);
    kva__window_join(p->w, p->at, p->n);
    qc->nfree += p->n;
    kva__qcache_relist(qc, p->w);
    qc->splitting = false;
    kva_port_unlock(&qc->lock, irq);
}

/* It goes.  Both locks, so that whoever checks finds each piece a segment. */
static void
part_give(struct kva__qcache *qc, const struct part *p)
{
    kva_vmem_t *vm = qc->vm;
    struct kva_vmem_btag *bt;
    kva_irq_t irq, inner;

    irq = kva_port_lock(&qc->lock);
    inner = kva_port_lock(&vm->lock);
    tags_return(vm, p);
    bt = kva__segment_lookup(vm, p->piece, p->piece_bytes, BT_PIECE);
    kva__span_cut(vm, bt, p->addr, p->bytes);
    vm->released += p->bytes;
    kva__window_piece_cut(p->w, p->at, p->n);
    qc->held -= p->n;
    qc->given += p->bytes;
    qc->splitting = false;
    kva_port_unlock(&vm->lock, inner);
    kva_port_unlock(&qc->lock, irq);
    KVA_PARANOID(vmem_check(vm));
    kva__import_return(vm, p->addr, p->bytes);
}

/* A reserved part to the source.  KVA_ENOMEM: no tags. */
static int
part_release(struct kva__qcache *qc, struct part *p)
{
    kva_vmem_t *vm = qc->vm;
    bool refused = false;
    kva_irq_t irq;
    int err;

    if (!tags_set_aside(vm, p, &refused)) {
        part_keep(qc, p);
        return refused ? KVA_ENOMEM : KVA_EINVAL;
    }
    err = vm->splitfn(vm->source, p->piece, p->piece_bytes, p->addr, p->bytes);
    if (err != 0) {
        irq = kva_port_lock(&vm->lock);
        tags_return(vm, p);
        kva_port_unlock(&vm->lock, irq);
        part_keep(qc, p);
        return err;
    }
    part_give(qc, p);
    return 0;
}

/* The part is somebody's to release, and he is the only one.  Locked. */
static void
part_reserve(struct kva__qcache *qc, const struct part *p)
{
    kva__window_reserve(p->w, p->at, p->n);
    qc->nfree -= p->n;
    kva__qcache_relist(qc, p->w);
    qc->splitting = true;
}

/*
 * The next free run of least quanta or more at or behind *at that is not all of
 * a piece: reserved.  False: there is none, or no more is wanted.  Of shorter
 * ones *longest is to know.
 */
static bool
part_find(struct kva__qcache *qc, const struct kva__qdrain *d, struct window *w,
          unsigned *at, unsigned least, unsigned *longest, struct part *p)
{
    size_t left;
    unsigned n;
    kva_irq_t irq;
    bool found = false;

    irq = kva_port_lock(&qc->lock);
    left = qc->splitting ? 0 : kva__qdrain_left(qc, d);
    while (left != 0 && !found && (n = kva__window_hole(w, at)) != 0) {
        unsigned from = *at;

        *at += n;
        if (n < least) {
            *longest = n > *longest ? n : *longest;
            continue;
        }
        part_shorten(qc, left, &from, &n);
        *p = part_of(qc, w, from, n);
        found = n < p->len;
    }
    if (found) {
        part_reserve(qc, p);
    }
    kva_port_unlock(&qc->lock, irq);
    return found;
}

/* All of one window.  False: there are no tags. */
static bool
window_split(struct kva__qcache *qc, const struct kva__qdrain *d,
             struct window *w, unsigned least, unsigned *longest)
{
    unsigned at = 0;
    struct part p;

    while (part_find(qc, d, w, &at, least, longest, &p)) {
        if (part_release(qc, &p) == KVA_ENOMEM) {
            return false;
        }
    }
    return true;
}

/* A pass over all windows for each power of two that has something. */
void
kva__qcache_split(struct kva__qcache *qc, const struct kva__qdrain *d)
{
    unsigned least = WINDOW_QUANTA / 2, longest;
    struct window *w;
    size_t at;

    do {
        longest = 0;
        at = 0;
        while ((w = kva__qcache_next(qc, &at)) != NULL) {
            if (!window_split(qc, d, w, least, &longest)) {
                return;
            }
        }
        least = longest == 0 ? 0 : 1u << kva_fls(longest);
    } while (least != 0);
}

void
kva__qcache_split_at(struct kva__qcache *qc, struct window *w, unsigned at)
{
    unsigned first, n, len;
    struct part p;
    kva_irq_t irq;
    bool found;

    irq = kva_port_lock(&qc->lock);
    found = !qc->splitting && kva__window_is_free(w, at, 1);
    if (found) {
        first = kva__window_piece(w, at, &len);
        while (at > first && kva__window_is_free(w, at - 1, 1)) {
            at--;
        }
        n = kva__window_hole(w, &at);
        p = part_of(qc, w, at, n);
        found = n < len;
    }
    if (found) {
        part_reserve(qc, &p);
    }
    kva_port_unlock(&qc->lock, irq);
    if (found) {
        (void)part_release(qc, &p);
    }
}
