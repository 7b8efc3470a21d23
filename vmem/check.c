/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The checker: does everything that an arena keeps twice agree.
 *
 * It may be called on an arena that is damaged, so it trusts nothing: a pointer
 * or reference is looked up among the groups of tags before it is followed, and
 * a list is followed only as far as what is counted says that it goes, which is
 * no more than there are tags.
 *
 *   A1  the arena's constants go together
 *   H1  buckets and mask of the hash go together, H2 and have their pages
 *   I1  neighbours of a free segment are not free
 *   I2  segments tile their span, in order, linked both ways
 *   I3  a segment is in the hash if it is busy or says so, in its class if it
 *       is free, and nothing else is there
 *   S1  the list of spans is linked both ways, S2 a span has a segment, S3 and
 *       one span tag
 *   T1  the stock of tags is counted and unused
 *   T2  what is pointed at is a tag, T3 which knows its slot, T4 in a group
 *       which knows its number; T5 the store's unused tags are counted
 *   T6  the stock has what is reserved
 *   C1  tags are counted, C2 bytes are
 *   D1, D2  what is kept back is not in the hash, and counted (defer.c)
 *   X1, X2  the indexes are in order, and what they say is so
 *   P1  cursors stand at tags of the rings
 *   W1 to W5  windows (window.c); Q1 the quantum cache's counts, Q2 each piece
 *       has its segment
 *
 * What is kept once cannot be checked: where one range ends and the next live
 * one begins but for the fingerprint that it hashes to, and which function a
 * range came from.  A free finds that out, for it names both.
 */
#include "vmem/cursor.h"
#include "vmem/hash.h"
#include "vmem/indexed.h"

/* What is counted on the way, to be compared with the statistics. */
struct tally {
    size_t busy, free, hashed, deferred, spans, imported;
    size_t inuse, total, import;
};

/* ---- the arena itself -------------------------------------------------- */

static const char *
check_arena(const kva_vmem_t *vm)
{
    size_t quanta;
    bool watched;

    if (vm->quantum_shift >= KVA__WORD_BITS) {
        return "A1: the quantum is a power of two that a word holds";
    }
    quanta = vm->qcache_max >> vm->quantum_shift;
    if ((vm->qcache == NULL) != (vm->qcache_max == 0) ||
        quanta > KVA__QCACHE_QUANTA_MAX ||
        quanta << vm->quantum_shift != vm->qcache_max) {
        return "A1: quantum caches serve whole quanta, if there are any";
    }
    watched = vm->mtbf != 0 || vm->audit != NULL || vm->reserve_out != 0;
    if (vm->open != (watched ? 0 : vm->magic)) {
        return "A1: short ways are open unless all requests must be seen";
    }
    if ((vm->audit == NULL) != (vm->audit_n == 0) ||
        (vm->audit_n != 0 && vm->audit_at >= vm->audit_n)) {
        return "A1: the next entry of the audit ring is in the ring";
    }
    return NULL;
}

/* What bounds the loops below is bounded itself. */
static const char *
check_sums(const kva_vmem_t *vm)
{
    size_t total = kva__btag_total();

    if (vm->nsegments > total || vm->stat.tags_free > total ||
        vm->stat.tags_span > total || vm->stat.spans > total ||
        vm->hash_count > total || vm->nspare > total) {
        return "C1: no more tags are counted than there are";
    }
    return NULL;
}

/* In no ring, which deferred ones are; no range starts at its reference. */
static bool
is_unused(struct kva_vmem_btag *bt)
{
    return bt_state(bt) == BT_UNUSED && bt_unused_ref(bt) == bt_ref(bt);
}

static const char *
check_cursors(const kva_vmem_t *vm)
{
    for (const struct kva__cursor *c = vm->cursors; c != NULL; c = c->next) {
        if (c->vm != vm || (c->at != NULL &&
                            (!kva__btag_is_ours(c->at) || is_unused(c->at)))) {
            return "P1: a cursor stands at a tag of a ring";
        }
    }
    return NULL;
}

/* ---- free segments by class -------------------------------------------- */

static bool
class_bit(const kva_vmem_t *vm, unsigned c)
{
    return (vm->class_map[c / KVA__WORD_BITS] >> (c % KVA__WORD_BITS) & 1) != 0;
}

/* A tag that is on the list of class c, behind prev. */
static const char *
check_listed(const kva_vmem_t *vm, kva__btag_ref_t ref, kva__btag_ref_t prev,
             unsigned c)
{
    const struct kva_vmem_btag *bt;

    if (!kva__btag_ref_is_ours(ref)) {
        return "T2: what is on the list of a class is a tag";
    }
    bt = bt_at(ref);
    if (!bt_is_free(bt) || !kva__btag_is_ours(bt_next(bt)) ||
        bt_size(bt) >> vm->quantum_shift == 0 || class_of_tag(vm, bt) != c) {
        return "I3: classes hold free segments only, each its own";
    }
    if (prev != BT_NONE && bt->u.link.prev != prev) {
        return "I3: the list of a class is linked both ways";
    }
    return NULL;
}

static const char *
check_class(const kva_vmem_t *vm, unsigned c, size_t *nfree)
{
    kva__btag_ref_t prev = BT_NONE, ref = vm->class_head[c];
    const char *bad;
    size_t n = 0;

    if (class_bit(vm, c) != (ref != BT_NONE)) {
        return "I3: a class has its bit exactly if it is not empty";
    }
    if (class_is_ordered(vm, c)) {
        bad = kva__order_check(ref, &n);
        *nfree += n;
        return bad == NULL ? NULL : "I3: the tree of a class is in order";
    }
    for (; ref != BT_NONE; ref = bt_at(ref)->u.link.next) {
        bad = check_listed(vm, ref, prev, c);
        if (bad != NULL) {
            return bad;
        }
        if (++*nfree > vm->stat.tags_free) {
            return "I3: classes hold no more than the free segments";
        }
        prev = ref;
    }
    return NULL;
}

static const char *
check_classes(const kva_vmem_t *vm)
{
    uintptr_t summary = 0;
    size_t nfree = 0;
    const char *bad;

    for (unsigned w = 0; w < KVA__VMEM_MAP_WORDS; w++) {
        summary |= (uintptr_t)(vm->class_map[w] != 0) << w;
    }
    if (summary != vm->class_summary) {
        return "I3: the summary agrees with the map of classes";
    }
    for (unsigned c = KVA__VMEM_CLASSES;
         c < KVA__VMEM_MAP_WORDS * KVA__WORD_BITS; c++) {
        if (class_bit(vm, c)) {
            return "I3: the map has bits for classes only";
        }
    }
    for (unsigned c = 0; c < KVA__VMEM_CLASSES; c++) {
        bad = check_class(vm, c, &nfree);
        if (bad != NULL) {
            return bad;
        }
    }
    return nfree == vm->stat.tags_free ? NULL
                                       : "I3: each free segment is in a class";
}

/* The tree was found in order: what is in it may be followed. */
static bool
tree_holds(kva__btag_ref_t root, const struct kva_vmem_btag *bt)
{
    size_t size = bt_size(bt), visits = 0;

    return bt == (bt->start == 0
                      ? kva__order_best(root, size, &visits)
                      : kva__order_next(root, size, bt->start - 1, &visits));
}

/*
 * The links of a free segment are those of its list.  The first of a list has
 * no link back (class.h).
 */
static bool
class_holds(const kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    unsigned c = class_of_tag(vm, bt);
    kva__btag_ref_t prev = bt->u.link.prev, next = bt->u.link.next;

    if (class_is_ordered(vm, c)) {
        return tree_holds(vm->class_head[c], bt);
    }
    if (!class_bit(vm, c) ||
        (next != BT_NONE && (!kva__btag_ref_is_ours(next) ||
                             bt_at(next)->u.link.prev != bt_ref(bt)))) {
        return false;
    }
    return vm->class_head[c] == bt_ref(bt) ||
           (kva__btag_ref_is_ours(prev) &&
            bt_at(prev)->u.link.next == bt_ref(bt));
}

/* ---- segments by address ----------------------------------------------- */

/* A tag that bucket b has; free ones in slots only. */
static const char *
check_hashed(const kva_vmem_t *vm, unsigned b, const struct kva_vmem_btag *bt,
             bool chain, size_t *n)
{
    if (++*n > vm->hash_count) {
        return "I3: the hash holds no more than is counted";
    }
    if ((!bt_is_busy(bt) && (chain || bt_state(bt) != BT_FREE_HASHED)) ||
        hash_number(vm, hash_of(vm, bt->start)) != b) {
        return "I3: the hash holds segments, each in its bucket";
    }
    return NULL;
}

/* The fingerprint is that of the tag, and if it is the first of a chain too. */
static const char *
check_slot(const kva_vmem_t *vm, unsigned b, kva__hash_slot_t slot, bool chain,
           size_t *n)
{
    const struct kva_vmem_btag *bt;
    const char *bad;

    if (!kva__btag_ref_is_ours(hash_slot_ref(slot))) {
        return "T2: what is in a slot of the hash is a tag";
    }
    bt = bt_at(hash_slot_ref(slot));
    if ((slot & HASH_PRINT_MASK) != hash_print(hash_of(vm, bt->start))) {
        return "I3: a slot of the hash has the fingerprint of its segment";
    }
    while (bt != NULL) {
        if (!kva__btag_is_ours(bt)) {
            return "T2: what is in the chain of a bucket is a tag";
        }
        bad = check_hashed(vm, b, bt, chain, n);
        if (bad != NULL) {
            return bad;
        }
        bt = chain ? bt->u.chain : NULL;
    }
    return NULL;
}

static const char *
check_hash(const kva_vmem_t *vm)
{
    const char *bad = kva__hash_check(vm);
    size_t n = 0;

    for (unsigned b = 0; bad == NULL && b < vm->hash_buckets; b++) {
        const struct kva__hash_bucket *bucket = hash_bucket(vm, b);

        for (unsigned i = 0; bad == NULL && i < KVA__HASH_SLOTS; i++) {
            if (bucket->slot[i] != 0) {
                bad = check_slot(vm, b, bucket->slot[i],
                                 hash_slot_is_chain(bucket, &bucket->slot[i]),
                                 &n);
            }
        }
    }
    if (bad == NULL && n != vm->hash_count) {
        bad = "I3: the hash holds as many as is counted";
    }
    return bad;
}

/* The segment that starts there.  The hash was found good: what is in it may be
 * followed, and chains end. */
static struct kva_vmem_btag *
look_up(const kva_vmem_t *vm, uintptr_t start)
{
    const struct kva__hash_bucket *bucket =
        hash_bucket(vm, hash_number(vm, hash_of(vm, start)));
    struct kva_vmem_btag *bt;

    for (unsigned i = 0; i < KVA__HASH_SLOTS - 1; i++) {
        if (bucket->slot[i] != 0) {
            bt = bt_at(hash_slot_ref(bucket->slot[i]));
            if (bt->start == start) {
                return bt;
            }
        }
    }
    if (bucket->slot[KVA__HASH_SLOTS - 1] == 0) {
        return NULL;
    }
    bt = bt_at(hash_slot_ref(bucket->slot[KVA__HASH_SLOTS - 1]));
    while (bt != NULL && bt->start != start) {
        bt = bt->u.chain;
    }
    return bt;
}

/* ---- spans and segments ------------------------------------------------ */

/* The tag behind bt in the ring of span may be followed, and leads back. */
static const char *
check_next(struct kva_vmem_btag *span, struct kva_vmem_btag *bt)
{
    struct kva_vmem_btag *next = bt_next(bt);
    const char *bad = kva__btag_check(next);

    if (bad != NULL) {
        return bad;
    }
    if (bt_prev(next) != bt) {
        return "I2: the ring of a span is linked both ways";
    }
    if (bt_is_span(next) && next != span) {
        return "S3: a ring has one span tag";
    }
    return NULL;
}

/* Where it is, and that it is whole. */
static const char *
check_bounds_of(const kva_vmem_t *vm, const struct kva_vmem_btag *span,
                const struct kva_vmem_btag *bt)
{
    uintptr_t low = ((uintptr_t)1 << vm->quantum_shift) - 1;
    const struct kva_vmem_btag *next = bt_next(bt);

    if (((bt->start | next->start) & low) != 0 || bt_size(bt) == 0) {
        return "I2: segments are whole quanta, at least one";
    }
    if (next != span ? next->start <= bt->start
                     : span->start - 1 < bt->start) { /* 0 is past the last */
        return "I2: segments are in address order";
    }
    return NULL;
}

static const char *
check_free(const kva_vmem_t *vm, struct kva_vmem_btag *bt, struct tally *t)
{
    t->free++;
    if (bt_is_free(bt_next(bt))) {
        return "I1: neighbours of a free segment are not free";
    }
    return class_holds(vm, bt) ? NULL : "I3: a free segment is in its class";
}

static const char *
check_busy(const kva_vmem_t *vm, const struct kva_vmem_btag *bt,
           struct tally *t)
{
    if (bt_state(bt) == BT_DEFERRED) {
        t->deferred++;
    } else if (!bt_is_busy(bt) ||
               (bt_state(bt) == BT_PIECE && vm->qcache == NULL)) {
        return "I2: a segment is free or busy";
    }
    t->busy++;
    t->inuse += bt_size(bt);
    return NULL;
}

static const char *
check_segment(kva_vmem_t *vm, struct kva_vmem_btag *span,
              struct kva_vmem_btag *bt, struct tally *t)
{
    const char *bad = check_next(span, bt);

    if (bad == NULL) {
        bad = check_bounds_of(vm, span, bt);
    }
    if (bad != NULL) {
        return bad;
    }
    if (bt_state(bt) != BT_FREE && bt_state(bt) != BT_DEFERRED) {
        t->hashed++;
        if (look_up(vm, bt->start) != bt) {
            return "I3: a segment is in the hash if it says so";
        }
    }
    return bt_is_free(bt) ? check_free(vm, bt, t) : check_busy(vm, bt, t);
}

static const char *
check_span(kva_vmem_t *vm, struct kva_vmem_btag *span, struct tally *t)
{
    size_t left = vm->nsegments;
    const char *bad = check_next(span, span);

    if (bad != NULL) {
        return bad;
    }
    if (bt_next(span) == span) {
        return "S2: a span has a segment";
    }
    t->spans++;
    t->total += bt_span_size(span);
    if (bt_state(span) == BT_SPAN_IMPORT) {
        t->imported++;
        t->import += bt_span_size(span);
    }
    for (struct kva_vmem_btag *bt = bt_next(span); bt != span;
         bt = bt_next(bt)) {
        if (left-- == 0) {
            return "C1: a ring has no more segments than are counted";
        }
        bad = check_segment(vm, span, bt, t);
        if (bad != NULL) {
            return bad;
        }
    }
    return NULL;
}

/* Every span, and every segment in it, in list order. */
static const char *
check_spans(kva_vmem_t *vm, struct tally *t)
{
    kva__btag_ref_t prev = BT_NONE, ref = vm->span_first;
    const char *bad;

    for (; ref != BT_NONE; ref = bt_at(ref)->u.link.next) {
        struct kva_vmem_btag *span;

        if (!kva__btag_ref_is_ours(ref)) {
            return "T2: what is on the list of spans is a tag";
        }
        span = bt_at(ref);
        bad = kva__btag_check(span);
        if (bad != NULL) {
            return bad;
        }
        if (bt_state(span) != BT_SPAN && bt_state(span) != BT_SPAN_IMPORT) {
            return "S1: the list of spans holds spans";
        }
        if (span->u.link.prev != prev || t->spans == vm->stat.spans) {
            return "S1: the list of spans is linked both ways, and counted";
        }
        bad = check_span(vm, span, t);
        if (bad != NULL) {
            return bad;
        }
        prev = ref;
    }
    return vm->span_last == prev ? NULL
                                 : "S1: the list of spans ends where it should";
}

/* ---- tags and counts --------------------------------------------------- */

static const char *
check_stock(const kva_vmem_t *vm)
{
    const char *bad;
    size_t n = 0;

    for (struct kva_vmem_btag *bt = vm->spare; bt != NULL; bt = bt->u.chain) {
        bad = kva__btag_check(bt);
        if (bad != NULL) {
            return bad;
        }
        if (bt_state(bt) != BT_UNUSED || bt_unused_ref(bt) != bt_ref(bt) ||
            n++ == vm->nspare) {
            return "T1: the stock of tags is counted, and unused";
        }
    }
    if (vm->begun == 0 && n < vm->reserved) { /* those begun hold some */
        return "T6: the stock has what is reserved";
    }
    return n == vm->nspare ? NULL
                           : "T1: the stock of tags is counted, and unused";
}

static const char *
check_counts(const kva_vmem_t *vm, const struct tally *t)
{
    if (t->busy + t->free != vm->nsegments || t->hashed != vm->hash_count) {
        return "C1: segments are counted";
    }
    if (t->deferred != vm->deferred) {
        return "D2: ranges that are kept back are counted";
    }
    if (t->free != vm->stat.tags_free || t->spans != vm->stat.tags_span ||
        t->spans != vm->stat.spans || t->imported != vm->stat.spans_import) {
        return "C1: free tags and spans are counted";
    }
    if (t->inuse != vm->stat.mem_inuse || t->total != vm->stat.mem_total ||
        t->import != vm->stat.mem_import) {
        return "C2: bytes are counted";
    }
    return NULL;
}

/* Last: all tags that the indexes name were found good, if they name those. */
static const char *
check_indexes(const kva_vmem_t *vm)
{
    if (vm->index == NULL) {
        return NULL;
    }
    return kva__index_check(&vm->index->segments, false, &vm->index->young) !=
                   NULL
               ? "X1: the index of segments is in order"
           : kva__index_check(&vm->index->spans, true, NULL) != NULL
               ? "X2: the index of spans is in order"
               : NULL;
}

/* ---- all of it --------------------------------------------------------- */

/* Classes and hash first: the walk over the rings looks into them. */
static const char *
check_locked(kva_vmem_t *vm)
{
    struct tally t = { .busy = 0 };
    const char *bad = check_arena(vm);

    if (bad == NULL) {
        bad = check_sums(vm);
    }
    if (bad == NULL) {
        bad = check_classes(vm);
    }
    if (bad == NULL) {
        bad = check_hash(vm);
    }
    if (bad == NULL) {
        bad = check_spans(vm, &t);
    }
    if (bad == NULL) {
        bad = check_stock(vm);
    }
    if (bad == NULL) {
        bad = check_cursors(vm);
    }
    if (bad == NULL) {
        bad = check_counts(vm, &t);
    }
    return bad != NULL ? bad : check_indexes(vm);
}

/* A piece that the quantum caches have is a segment of theirs. */
static bool
piece_is_held(kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    struct kva_vmem_btag *bt = look_up(vm, addr);

    return bt != NULL && bt_state(bt) == BT_PIECE && bt_size(bt) == size;
}

const char *
vmem_check(kva_vmem_t *vm)
{
    const char *bad;
    kva_irq_t qirq, irq, tirq;

    arena_alive(vm, "vmem_check");
    qirq = kva__qcache_lock(vm);
    irq = kva_port_lock(&vm->lock);
    tirq = kva__btag_freeze();
    bad = check_locked(vm);
    if (bad == NULL) {
        bad = kva__btag_store_check();
    }
    if (bad == NULL) {
        bad = kva__qcache_check(vm, piece_is_held);
    }
    kva__btag_thaw(tirq);
    kva_port_unlock(&vm->lock, irq);
    kva__qcache_unlock(vm, qirq);
    return bad;
}
