/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looking at arenas: sizes, statistics, walking, checking, printing.  Nothing
 * here changes an arena.
 */
#include "vmem/hash.h"
#include "vmem/indexed.h"

/* The longest segment of the highest class that has one.  Arena locked. */
static size_t
largest_free(kva_vmem_t *vm)
{
    size_t best = 0;

    if (vm->index != NULL) {
        return vm->index->segments.max;
    }
    for (unsigned c = KVA__VMEM_CLASSES; c-- > 0 && best == 0;) {
        kva__btag_ref_t ref = vm->class_head[c];

        while (ref != BT_NONE) {
            struct kva_vmem_btag *bt = bt_at(ref);

            if (bt_size(bt) > best) {
                best = bt_size(bt);
            }
            ref = bt->u.link.next;
        }
    }
    return best;
}

vmem_size_t
vmem_size(kva_vmem_t *vm, unsigned typemask)
{
    size_t sum = 0;
    kva_irq_t irq;

    arena_alive(vm, "vmem_size");
    if ((typemask & VMEM_CACHED) != 0) {
        sum += kva__qcache_cached(vm);
    }
    irq = kva_port_lock(&vm->lock);
    if ((typemask & VMEM_ALLOC) != 0) {
        sum += vm->stat.mem_inuse;
    }
    if ((typemask & VMEM_FREE) != 0) {
        sum += vm->stat.mem_total - vm->stat.mem_inuse;
    }
    if ((typemask & VMEM_MAXFREE) != 0) {
        sum += largest_free(vm);
    }
    kva_port_unlock(&vm->lock, irq);
    return sum;
}

void
vmem_stat(kva_vmem_t *vm, struct kva_vmem_stat *st)
{
    kva_irq_t irq;

    arena_alive(vm, "vmem_stat");
    irq = kva_port_lock(&vm->lock);
    *st = vm->stat;
    st->tags_spare = vm->nspare;
    st->tags_busy = vm->nsegments - vm->stat.tags_free;
    /* Each grant looked at one at least, each free looked one up. */
    st->search += st->alloc;
    st->lookup += st->free;
    st->hash_bytes = kva__hash_bytes(vm);
    if (vm->index != NULL) {
        st->hash_bytes += kva__index_bytes(&vm->index->segments) +
                          kva__index_bytes(&vm->index->spans);
    }
    kva_port_unlock(&vm->lock, irq);
    kva__qcache_stat(vm, st);
}

/* ---- walking ---------------------------------------------------------- */

static void
walk_segment(kva_vmem_t *vm, struct kva_vmem_btag *bt, unsigned typemask,
             void (*fn)(void *, vmem_addr_t, vmem_size_t, unsigned), void *arg)
{
    unsigned type = bt_is_free(bt) ? VMEM_FREE : VMEM_ALLOC;

    if (bt_state(bt) == BT_PIECE) {
        kva__qcache_walk(vm, bt->start, bt_size(bt), typemask, fn, arg);
    } else if ((typemask & type) != 0) {
        fn(arg, bt->start, bt_size(bt), type);
    }
}

void
vmem_walk(kva_vmem_t *vm, unsigned typemask,
          void (*fn)(void *arg, vmem_addr_t addr, vmem_size_t size,
                     unsigned type),
          void *arg)
{
    kva_irq_t irq;

    arena_alive(vm, "vmem_walk");
    irq = kva_port_lock(&vm->lock);
    for (kva__btag_ref_t ref = vm->span_first; ref != BT_NONE;) {
        struct kva_vmem_btag *span = bt_at(ref);

        if ((typemask & VMEM_SPAN) != 0) {
            fn(arg, bt_span_start(span), bt_span_size(span), VMEM_SPAN);
        }
        for (struct kva_vmem_btag *bt = bt_next(span); bt != span;
             bt = bt_next(bt)) {
            walk_segment(vm, bt, typemask, fn, arg);
        }
        ref = span->u.link.next;
    }
    kva_port_unlock(&vm->lock, irq);
}

/* ---- checking --------------------------------------------------------- */

/* What a walk over the rings counts, to be compared with the statistics. */
struct tally {
    size_t busy, free, spans, imported;
    size_t inuse, total;
};

static bool
class_holds(const kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    unsigned c = class_of_tag(vm, bt);
    kva__btag_ref_t prev = bt->u.link.prev, next = bt->u.link.next;
    size_t visits = 0;

    if (class_is_ordered(vm, c)) {
        struct kva_vmem_btag *found =
            bt->start == 0
                ? kva__order_best(vm->class_head[c], bt_size(bt), &visits)
                : kva__order_next(vm->class_head[c], bt_size(bt), bt->start - 1,
                                  &visits);

        return found == bt;
    }

    return (vm->class_map[c / KVA__WORD_BITS] >> (c % KVA__WORD_BITS) & 1) !=
               0 &&
           (vm->class_head[c] == bt_ref(bt) ||
            bt_at(prev)->u.link.next == bt_ref(bt)) &&
           (next == BT_NONE || bt_at(next)->u.link.prev == bt_ref(bt));
}

static const char *
check_segment(kva_vmem_t *vm, struct kva_vmem_btag *bt, struct tally *t)
{
    uintptr_t low = ((uintptr_t)1 << vm->quantum_shift) - 1;
    struct kva_vmem_btag *next = bt_next(bt);
    bool own;

    if (bt_prev(next) != bt) {
        return "I2: the ring of a span is linked both ways";
    }
    if ((bt->start & low) != 0 || bt_size(bt) == 0) {
        return "I2: segments are whole quanta, at least one";
    }
    if (!bt_is_span(next) && next->start <= bt->start) {
        return "I2: segments are in address order";
    }
    if (bt_is_free(bt)) {
        t->free++;
        if (bt_is_free(next)) {
            return "I1: neighbours of a free segment are not free";
        }
        return class_holds(vm, bt) ? NULL
                                   : "I3: a free segment is in its class";
    }
    if (!bt_is_busy(bt)) {
        return "I2: a segment is free or busy";
    }
    t->busy++;
    t->inuse += bt_size(bt);
    if (kva__segment_at(vm, bt->start, &own) != bt) {
        return "I3: a busy segment is in the hash, or the index";
    }
    return NULL;
}

static const char *
check_span(kva_vmem_t *vm, struct kva_vmem_btag *span, struct tally *t)
{
    const char *bad;

    if (!bt_is_span(span)) {
        return "S1: the list of spans holds spans";
    }
    t->spans++;
    t->imported += bt_state(span) == BT_SPAN_IMPORT;
    t->total += bt_span_size(span);
    if (bt_span_size(span) == 0 || bt_next(span) == span) {
        return "S2: a span has a segment";
    }
    for (struct kva_vmem_btag *bt = bt_next(span); bt != span;
         bt = bt_next(bt)) {
        if (bt_is_span(bt)) {
            return "S3: a ring has one span tag";
        }
        bad = check_segment(vm, bt, t);
        if (bad != NULL) {
            return bad;
        }
    }
    return bt_prev(bt_next(span)) == span
               ? NULL
               : "I2: the ring of a span is linked both ways";
}

/* Every span, and every segment in it, in list order. */
static const char *
check_spans(kva_vmem_t *vm, struct tally *t)
{
    kva__btag_ref_t prev = BT_NONE;

    for (kva__btag_ref_t ref = vm->span_first; ref != BT_NONE;) {
        struct kva_vmem_btag *span = bt_at(ref);
        const char *bad = check_span(vm, span, t);

        if (bad != NULL) {
            return bad;
        }
        if (span->u.link.prev != prev) {
            return "S1: the list of spans is linked both ways";
        }
        prev = ref;
        ref = span->u.link.next;
    }
    return vm->span_last == prev ? NULL
                                 : "S1: the list of spans ends where it should";
}

static const char *
check_stock(kva_vmem_t *vm)
{
    size_t n = 0;

    for (struct kva_vmem_btag *bt = vm->spare; bt != NULL; bt = bt->u.chain) {
        if (bt_state(bt) != BT_UNUSED) {
            return "T1: spare tags are unused";
        }
        n++;
    }
    return n == vm->nspare ? NULL : "T1: the stock of tags is counted";
}

static const char *
check_counts(const kva_vmem_t *vm, const struct tally *t)
{
    if (t->busy + t->free != vm->nsegments) {
        return "C1: segments are counted";
    }
    if (t->free != vm->stat.tags_free || t->spans != vm->stat.tags_span ||
        t->spans != vm->stat.spans || t->imported != vm->stat.spans_import) {
        return "C1: free tags and spans are counted";
    }
    if (t->inuse != vm->stat.mem_inuse || t->total != vm->stat.mem_total) {
        return "C2: bytes are counted";
    }
    return NULL;
}

static const char *
check_locked(kva_vmem_t *vm)
{
    struct tally t = { 0, 0, 0, 0, 0, 0 };
    const char *bad;

    bad = check_spans(vm, &t);
    if (bad == NULL) {
        bad = check_stock(vm);
    }
    return bad != NULL ? bad : check_counts(vm, &t);
}

/* All that hangs on bucket b belongs there; counts it. */
static bool
bucket_holds(kva_vmem_t *vm, unsigned b, size_t *n)
{
    const struct kva__hash_bucket *bucket = hash_bucket(vm, b);

    for (unsigned i = 0; i < KVA__HASH_SLOTS; i++) {
        bool chain = hash_slot_is_chain(bucket, &bucket->slot[i]);
        struct kva_vmem_btag *bt =
            bucket->slot[i] == 0 ? NULL : bt_at(hash_slot_ref(bucket->slot[i]));

        for (; bt != NULL; bt = chain ? bt->u.chain : NULL) {
            bool fits =
                bt_is_busy(bt) || (!chain && bt_state(bt) == BT_FREE_HASHED);

            if (++*n > vm->hash_count || !fits ||
                hash_number(vm, hash_of(vm, bt->start)) != b) {
                return false;
            }
        }
    }
    return true;
}

/* Every class and hash entry is a segment of the rings: by number. */
static const char *
check_index(kva_vmem_t *vm)
{
    size_t nfree = 0, nhash = 0, n = 0;

    for (unsigned c = 0; c < KVA__VMEM_CLASSES; c++) {
        bool bit = (vm->class_map[c / KVA__WORD_BITS] >> (c % KVA__WORD_BITS) &
                    1) != 0;

        if (bit != (vm->class_head[c] != BT_NONE)) {
            return "I3: a class has its bit exactly if it is not empty";
        }
        if (class_is_ordered(vm, c)) {
            const char *bad = kva__order_check(vm->class_head[c], &n);

            if (bad != NULL) {
                return bad;
            }
            nfree += n;
            continue;
        }
        for (kva__btag_ref_t ref = vm->class_head[c]; ref != BT_NONE;
             ref = bt_at(ref)->u.link.next) {
            if (++nfree > vm->stat.tags_free) {
                return "I3: classes hold free segments only";
            }
        }
    }
    for (unsigned w = 0; w < KVA__VMEM_MAP_WORDS; w++) {
        if (((vm->class_summary >> w & 1) != 0) != (vm->class_map[w] != 0)) {
            return "I3: the summary agrees with the map of classes";
        }
    }
    for (unsigned b = 0; b < vm->hash_buckets; b++) {
        if (!bucket_holds(vm, b, &nhash)) {
            return "I3: the hash holds segments, each in its bucket";
        }
    }
    return nfree == vm->stat.tags_free && nhash == vm->hash_count
               ? NULL
               : "I3: every segment is in the hash or a class";
}

const char *
vmem_check(kva_vmem_t *vm)
{
    const char *bad;
    kva_irq_t irq;

    arena_alive(vm, "vmem_check");
    irq = kva_port_lock(&vm->lock);
    bad = check_locked(vm);
    if (bad == NULL) {
        bad = check_index(vm);
    }
    if (bad == NULL && vm->index != NULL) {
        bad = kva__index_check(&vm->index->segments, false);
    }
    if (bad == NULL && vm->index != NULL) {
        bad = kva__index_check(&vm->index->spans, true);
    }
    kva_port_unlock(&vm->lock, irq);
    return bad != NULL ? bad : kva__qcache_check(vm);
}

/* ---- printing --------------------------------------------------------- */

static const char *
state_name(enum btag_state state)
{
    switch (state) {
    case BT_FREE:
    case BT_FREE_HASHED:
        return "free";
    case BT_ALLOC:
        return "alloc";
    case BT_XALLOC:
        return "xalloc";
    case BT_PIECE:
        return "qcache";
    default:
        return "?";
    }
}

void
vmem_print(kva_vmem_t *vm)
{
    kva_irq_t irq;

    arena_alive(vm, "vmem_print");
    irq = kva_port_lock(&vm->lock);
    kva__log("arena %s: quantum %zu, %zu bytes in use of %zu, %zu spans, "
             "%zu busy and %zu free tags",
             vm->name, (size_t)1 << vm->quantum_shift, vm->stat.mem_inuse,
             vm->stat.mem_total, vm->stat.spans,
             vm->nsegments - vm->stat.tags_free, vm->stat.tags_free);
    for (kva__btag_ref_t ref = vm->span_first; ref != BT_NONE;) {
        struct kva_vmem_btag *span = bt_at(ref);

        kva__log("  span 0x%lx - 0x%lx%s", (unsigned long)bt_span_start(span),
                 (unsigned long)(span->start - 1),
                 bt_state(span) == BT_SPAN_IMPORT ? ", imported" : "");
        for (struct kva_vmem_btag *bt = bt_next(span); bt != span;
             bt = bt_next(bt)) {
            kva__log("    %6s 0x%lx, %zu bytes", state_name(bt_state(bt)),
                     (unsigned long)bt->start, bt_size(bt));
        }
        ref = span->u.link.next;
    }
    kva_port_unlock(&vm->lock, irq);
}
