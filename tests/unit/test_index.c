/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The index by address against a sorted array: a small arena of spans and
 * segments, kept once as tags with the index and once as the array, is cut and
 * freed at random and in the orders that are hardest on a tree.  The checker
 * runs after each operation, look-ups are compared with a search of the array,
 * and their visits with 4 log2(segments) + 16.
 */
#include <string.h>

#include "tests/harness/test.h"
#include "vmem/index_node.h"

#define SEGMENTS_MAX 3000

struct toy {
    kva_vmem_t vm; /* for its stock of tags only */
    struct kva__index ix;
    struct kva__index spans;
    unsigned shift;
    struct kva_vmem_btag *seg[SEGMENTS_MAX]; /* in order of addresses */
    size_t nseg;
    bool array; /* seg is kept */
    unsigned leaves_max;
    unsigned inners_max; /* beyond the levels there were */
};

static struct toy toy;

static void
toy_init(unsigned shift, bool array)
{
    static bool started;

    if (!started) {
        started = true;
        PORT(NULL);
        vmem_bootstrap(NULL, 0);
        kva__index_bootstrap();
    }
    memset(&toy, 0, sizeof(toy));
    toy.shift = shift;
    toy.array = array;
    kva__index_init(&toy.ix, shift);
    kva__index_init(&toy.spans, shift);
}

/* All tags back, then both indexes, whatever is in the first. */
static void
toy_fini(void)
{
    struct kva_vmem_btag *span;
    size_t visits = 0;

    while ((span = kva__index_after(&toy.spans, 0, &visits)) != NULL) {
        kva__index_remove(&toy.spans, bt_span_start(span));
        for (struct kva_vmem_btag *bt = bt_next(span), *next; bt != span;
             bt = next) {
            next = bt_next(bt);
            kva__btag_give(&toy.vm, bt);
        }
        kva__btag_give(&toy.vm, span);
    }
    kva__btag_flush(&toy.vm);
    kva__index_fini(&toy.ix);
    kva__index_fini(&toy.spans);
    CHECK_EQ(kva__index_bytes(&toy.ix), 0);
    CHECK_EQ(kva__meta_bytes(KVA_META_HASH), 0);
}

static void
toy_check(void)
{
    const char *bad = kva__index_check(&toy.ix, false, NULL);

    if (bad == NULL) {
        bad = kva__index_check(&toy.spans, true, NULL);
    }
    if (bad != NULL) {
        FAIL("%s", bad);
    }
}

/* ---- the array --------------------------------------------------------- */

/* How many begin below addr. */
static size_t
array_below(uintptr_t addr)
{
    size_t low = 0, high = toy.nseg;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (toy.seg[mid]->start < addr) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static void
array_insert(struct kva_vmem_btag *bt)
{
    size_t at;

    if (!toy.array) {
        toy.nseg++;
        return;
    }
    at = array_below(bt->start);
    CHECK_LT(toy.nseg, SEGMENTS_MAX);
    memmove(&toy.seg[at + 1], &toy.seg[at],
            (toy.nseg - at) * sizeof(toy.seg[0]));
    toy.seg[at] = bt;
    toy.nseg++;
}

static void
array_remove(struct kva_vmem_btag *bt)
{
    size_t at = 0;

    toy.nseg--;
    if (!toy.array) {
        return;
    }
    while (toy.seg[at] != bt) {
        at++;
    }
    memmove(&toy.seg[at], &toy.seg[at + 1],
            (toy.nseg - at) * sizeof(toy.seg[0]));
}

/* ---- operations as vmem does them --------------------------------------- */

static size_t nleaf_before, ninner_before;
static unsigned height_before;

static void
op_begin(void)
{
    CHECK(kva__btag_ensure(&toy.vm, 2));
    CHECK(kva__index_ensure(&toy.ix, 1));
    CHECK(kva__index_ensure(&toy.spans, 1));
    nleaf_before = toy.ix.nleaf;
    ninner_before = toy.ix.ninner;
    height_before = toy.ix.height > 1 ? toy.ix.height : 1;
}

/* The worst case that ensure stands for, and what is never left at hand. */
static void
op_end(void)
{
    if (toy.ix.nleaf > nleaf_before &&
        toy.ix.nleaf - nleaf_before > toy.leaves_max) {
        toy.leaves_max = (unsigned)(toy.ix.nleaf - nleaf_before);
    }
    if (toy.ix.ninner > ninner_before) {
        CHECK_LE(toy.ix.ninner - ninner_before, height_before);
    }
    CHECK_LE(toy.leaves_max, KVA__INDEX_PER_OP);
}

/* Returns the span's tag. */
static struct kva_vmem_btag *
span_add(uintptr_t start, size_t size)
{
    struct kva_vmem_btag *span, *bt;

    op_begin();
    span = kva__btag_take(&toy.vm);
    bt = kva__btag_take(&toy.vm);
    span->start = start + size;
    bt->start = start;
    bt_set_prev(span, bt);
    bt_set_next(span, bt);
    bt_set_prev(bt, span);
    bt_set_next(bt, span);
    bt_set_state(span, BT_SPAN);
    bt_set_state(bt, BT_FREE);
    kva__index_span_add(&toy.ix, bt);
    kva__index_insert(&toy.spans, start, span, false);
    array_insert(bt);
    op_end();
    return span;
}

static void
span_remove(struct kva_vmem_btag *span)
{
    struct kva_vmem_btag *bt = bt_next(span);

    kva__index_span_remove(&toy.ix, bt);
    kva__index_remove(&toy.spans, bt->start);
    array_remove(bt);
    kva__btag_give(&toy.vm, bt);
    kva__btag_give(&toy.vm, span);
}

/* Cut [start, start + size - 1] out of the hole, whose tag stays with its
 * front. */
static struct kva_vmem_btag *
cut(struct kva_vmem_btag *hole, uintptr_t start, size_t size)
{
    size_t left = start - hole->start;
    size_t right = bt_size(hole) - left - size;
    struct kva_vmem_btag *bt = hole, *rest = NULL;

    op_begin();
    if (left != 0) {
        bt = kva__btag_take(&toy.vm);
        bt->start = start;
        bt_insert_after(hole, bt);
    }
    if (right != 0) {
        rest = kva__btag_take(&toy.vm);
        rest->start = start + size;
        bt_insert_after(bt, rest);
        bt_set_state(rest, BT_FREE);
    }
    bt_set_state(bt, BT_ALLOC);
    if (bt == hole && rest == NULL) {
        kva__index_go(&toy.ix, start, size);
    } else {
        kva__index_cut(&toy.ix, hole, bt, rest);
    }
    if (bt != hole) {
        array_insert(bt);
    }
    if (rest != NULL) {
        array_insert(rest);
    }
    op_end();
    return bt;
}

/* The hole that comes to be. */
static struct kva_vmem_btag *
release(struct kva_vmem_btag *bt)
{
    struct kva_vmem_btag *prev = bt_prev(bt), *next = bt_next(bt), *hole = bt;
    bool join_prev = bt_state(prev) == BT_FREE;
    bool join_next = bt_state(next) == BT_FREE;
    uintptr_t start = bt->start;

    op_begin();
    if (join_next) {
        array_remove(next);
        bt_remove(next);
    }
    if (join_prev) {
        hole = prev;
        array_remove(bt);
        bt_remove(bt);
    }
    bt_set_state(hole, BT_FREE);
    if (join_prev || join_next) {
        kva__index_free(&toy.ix, start, hole, join_prev, join_next, true);
    } else {
        kva__index_come(&toy.ix, start, bt_size(hole));
    }
    if (join_prev) {
        kva__btag_give(&toy.vm, bt);
    }
    if (join_next) {
        kva__btag_give(&toy.vm, next);
    }
    op_end();
    return hole;
}

/* ---- look-ups ----------------------------------------------------------- */

static size_t visits_worst; /* beyond 4 log2(n), in the test that runs */

static void
check_visits(size_t visits)
{
    unsigned log2 = toy.nseg > 1 ? kva_fls(toy.nseg) : 0;

    CHECK_LE(visits, 4 * log2 + 16);
    if (visits > visits_worst) {
        visits_worst = visits;
    }
}

static bool
is_hole(const struct kva_vmem_btag *bt, size_t size)
{
    return bt_state(bt) == BT_FREE && bt_size(bt) >= size;
}

static struct kva_vmem_btag *
naive_hole_up(uintptr_t addr, size_t size)
{
    for (size_t i = array_below(addr); i < toy.nseg; i++) {
        if (is_hole(toy.seg[i], size)) {
            return toy.seg[i];
        }
    }
    return NULL;
}

static struct kva_vmem_btag *
naive_hole_down(uintptr_t addr, size_t size)
{
    for (size_t i = toy.nseg; i-- > 0;) {
        if (toy.seg[i]->start <= addr && is_hole(toy.seg[i], size)) {
            return toy.seg[i];
        }
    }
    return NULL;
}

/* All look-ups for one address and size. */
static void
compare_at(uintptr_t addr, size_t size)
{
    size_t at = array_below(addr), v[6] = { 0 };
    bool exact = at < toy.nseg && toy.seg[at]->start == addr;
    struct kva_vmem_btag *after = at < toy.nseg ? toy.seg[at] : NULL;
    struct kva_vmem_btag *before =
        exact ? after : (at > 0 ? toy.seg[at - 1] : NULL);
    bool inside = before != NULL && addr - before->start <= bt_size(before) - 1;

    CHECK_PTR(kva__index_find(&toy.ix, addr, &v[0]), exact ? after : NULL);
    CHECK_PTR(kva__index_at(&toy.ix, addr, &v[1]), inside ? before : NULL);
    CHECK_PTR(kva__index_after(&toy.ix, addr, &v[2]), after);
    CHECK_PTR(kva__index_before(&toy.ix, addr, &v[3]), before);
    CHECK_PTR(kva__index_hole_up(&toy.ix, addr, size, &v[4]),
              naive_hole_up(addr, size));
    CHECK_PTR(kva__index_hole_down(&toy.ix, addr, size, &v[5]),
              naive_hole_down(addr, size));
    for (unsigned i = 0; i < 6; i++) {
        check_visits(v[i]);
    }
}

static void
compare_random(struct test_ctx *t)
{
    size_t size = ((size_t)1 + test_rand_below(t, 40)) << toy.shift;
    struct kva_vmem_btag *bt;

    if (toy.nseg == 0) {
        compare_at((uintptr_t)test_rand(t), size);
        return;
    }
    bt = toy.seg[test_rand_below(t, toy.nseg)];
    compare_at(bt->start, bt_size(bt) + (size_t)test_rand_below(t, 2));
    compare_at(bt->start + test_rand_below(t, bt_size(bt)), size);
    compare_at(bt->start - 1, bt_size(bt));
    compare_at((uintptr_t)test_rand(t), size);
    compare_at(0, size);
    compare_at(UINTPTR_MAX, size);
}

/* ---- random ------------------------------------------------------------- */

/* A number of quanta from 1 to max, each length of number alike. */
static size_t
rand_quanta(struct test_ctx *t, size_t max)
{
    size_t n = (size_t)test_rand(t) >> test_rand_below(t, KVA__WORD_BITS);

    return n >= max ? max : n + 1;
}

static void
cut_at_random(struct test_ctx *t, struct kva_vmem_btag *hole)
{
    size_t q = bt_size(hole) >> toy.shift;
    size_t n = test_rand_below(t, 3) == 0 ? rand_quanta(t, q)
                                          : rand_quanta(t, q < 16 ? q : 16);
    size_t left = 0;

    switch (test_rand_below(t, 4)) {
    case 0:
        left = q - n;
        break;
    case 1:
        left = (size_t)test_rand_below(t, q - n + 1);
        break;
    case 2:
        left = rand_quanta(t, q - n + 1) - 1;
        break;
    default:
        break;
    }
    cut(hole, hole->start + (left << toy.shift), n << toy.shift);
}

static void
step_at_random(struct test_ctx *t, unsigned cuts_in_ten)
{
    struct kva_vmem_btag *bt;

    if (toy.nseg == 0) {
        return;
    }
    bt = toy.seg[test_rand_below(t, toy.nseg)];
    if (bt_state(bt) == BT_FREE && test_rand_below(t, 10) < cuts_in_ten &&
        toy.nseg < SEGMENTS_MAX - 2) {
        cut_at_random(t, bt);
    } else if (bt_state(bt) == BT_ALLOC &&
               test_rand_below(t, 10) >= cuts_in_ten) {
        release(bt);
    }
}

/* A span at some place that is not taken, now and then beside another. */
static void
span_at_random(struct test_ctx *t, size_t quanta_max)
{
    size_t size = rand_quanta(t, quanta_max) << toy.shift;
    uintptr_t start = (uintptr_t)test_rand(t) >> toy.shift << toy.shift;
    size_t at;

    if (toy.nseg > 0 && test_rand_below(t, 2) == 0) {
        struct kva_vmem_btag *bt = toy.seg[test_rand_below(t, toy.nseg)];

        start =
            test_rand_below(t, 2) == 0 ? bt_next(bt)->start : bt->start - size;
    }
    if (start + size - 1 < start || toy.nseg > SEGMENTS_MAX - 2) {
        return;
    }
    at = array_below(start);
    if ((at < toy.nseg && toy.seg[at]->start - start < size) ||
        (at > 0 && start - toy.seg[at - 1]->start < bt_size(toy.seg[at - 1]))) {
        return;
    }
    span_add(start, size);
}

static void
span_away_at_random(struct test_ctx *t)
{
    size_t first = (size_t)test_rand_below(t, toy.nseg + 1);

    for (size_t i = first; i < toy.nseg; i++) {
        struct kva_vmem_btag *bt = toy.seg[i];

        if (bt_state(bt) == BT_FREE && bt_next(bt) == bt_prev(bt)) {
            span_remove(bt_next(bt));
            return;
        }
    }
}

static void
churn(struct test_ctx *t, size_t span_quanta)
{
    visits_worst = 0;
    for (unsigned long i = 0; i < t->count; i++) {
        /* Up, even, down, in turns. */
        unsigned cuts = (unsigned)(i * 6 / t->count) % 3;
        uint64_t what = test_rand_below(t, 64);

        if (what < 2 || toy.nseg == 0) {
            span_at_random(t, span_quanta);
        } else if (what < 3) {
            span_away_at_random(t);
        } else {
            step_at_random(t, cuts == 0 ? 9 : cuts == 1 ? 5 : 1);
        }
        toy_check();
        compare_random(t);
    }
    while (toy.nseg > 0) { /* to nothing */
        size_t at = (size_t)test_rand_below(t, toy.nseg);

        if (bt_state(toy.seg[at]) == BT_ALLOC) {
            release(toy.seg[at]);
        } else {
            span_away_at_random(t);
        }
        toy_check();
    }
    CHECK_EQ(toy.ix.count, 0);
    CHECK_EQ(toy.ix.height, 0);
    compare_random(t);
    toy_fini();
}

/* Pages, spans of up to 2^14, whatever place they have. */
static void
random_pages(struct test_ctx *t)
{
    toy_init(12, true);
    churn(t, 1u << 14);
}

/* Bytes, and spans as large as can be: starts are out of a leaf's reach. */
static void
random_wide(struct test_ctx *t)
{
    toy_init(0, true);
    churn(t, UINTPTR_MAX / 4);
}

/* One span that is all of the space but its first byte. */
static void
random_whole_space(struct test_ctx *t)
{
    toy_init(0, true);
    CHECK(span_add(1, UINTPTR_MAX) != NULL);
    toy_check();
    for (unsigned long i = 0; i < t->count; i++) {
        step_at_random(t, i * 2 < t->count ? 9 : 2);
        toy_check();
        compare_random(t);
    }
    toy_fini();
}

/* ---- parts: insert, remove, move, mark ---------------------------------- */

/*
 * As vmem_xtrim, vmem_xsplit and vmem_xextend use them: segments are split
 * without regard to their state, boundaries move, states change.
 */
static void
part_at_random(struct test_ctx *t)
{
    struct kva_vmem_btag *bt = toy.seg[test_rand_below(t, toy.nseg)];
    struct kva_vmem_btag *prev = bt_prev(bt), *more;
    size_t q = bt_size(bt) >> toy.shift;
    uintptr_t start = bt->start;

    op_begin();
    switch (test_rand_below(t, 5)) {
    case 0:
    case 1:
        if (q > 1 && toy.nseg < SEGMENTS_MAX - 2) {
            more = kva__btag_take(&toy.vm);
            more->start = start + (rand_quanta(t, q - 1) << toy.shift);
            bt_insert_after(bt, more);
            bt_set_state(more, bt_state(bt));
            array_insert(more);
            kva__index_insert(&toy.ix, more->start, more,
                              bt_state(more) == BT_FREE);
        }
        break;
    case 2:
        if (!bt_is_span(prev)) {
            array_remove(bt);
            bt_remove(bt);
            kva__index_remove(&toy.ix, start);
            kva__btag_give(&toy.vm, bt);
        }
        break;
    case 3:
        if (!bt_is_span(prev)) {
            q = (start + bt_size(bt) - prev->start) >> toy.shift;
            bt->start = prev->start + (rand_quanta(t, q - 1) << toy.shift);
            kva__index_move(&toy.ix, start, bt->start);
        }
        break;
    default:
        bt_set_state(bt, bt_state(bt) == BT_FREE ? BT_ALLOC : BT_FREE);
        kva__index_mark(&toy.ix, start, bt_state(bt) == BT_FREE);
        break;
    }
    op_end();
}

static void
parts(struct test_ctx *t)
{
    for (unsigned shift = 0; shift <= 12; shift += 12) {
        toy_init(shift, true);
        CHECK(span_add((uintptr_t)1 << shift,
                       UINTPTR_MAX >> 1 >> shift << shift) != NULL);
        for (unsigned long i = 0; i < t->count; i++) {
            part_at_random(t);
            toy_check();
            compare_random(t);
        }
        toy_fini();
    }
}

/* ---- filling from one end, and how full nodes are ----------------------- */

#define Q ((size_t)4096)
#define BASE ((uintptr_t)1 << 30)

/* Bytes of leaves and inner nodes in the tree, times 100, for each entry. */
static size_t
bytes_each(void)
{
    return kva__index_bytes(&toy.ix) * 100 / toy.ix.count;
}

/* A span of n quanta cut into busy ones of one, from below or from above. */
static struct kva_vmem_btag *
fill(size_t n, bool up)
{
    struct kva_vmem_btag *span = span_add(BASE, n * Q), *hole = bt_next(span);

    for (size_t i = 0; i + 1 < n; i++) {
        if (up) {
            hole = bt_next(cut(hole, hole->start, Q));
        } else {
            cut(hole, hole->start + bt_size(hole) - Q, Q);
        }
    }
    cut(hole, hole->start, Q);
    return span;
}

static void
sequential_is_dense(struct test_ctx *t)
{
    for (unsigned up = 0; up < 2; up++) {
        toy_init(12, false);
        CHECK(fill(t->count, up != 0) != NULL);
        toy_check();
        CHECK_EQ(toy.ix.count, t->count + 1);
        CHECK_LE(bytes_each(), 1200);
        toy_fini();
    }
}

/* In the middle of what is full already: a hole used up from its lower end. */
static void
sequential_in_the_middle(struct test_ctx *t)
{
    struct kva_vmem_btag *busy, *low, *high, *hole;

    (void)t;
    toy_init(12, true);
    hole = bt_next(span_add(BASE, 4096 * Q));
    busy = cut(hole, BASE + 600 * Q, 2000 * Q);
    low = bt_prev(busy);
    high = bt_next(busy);
    for (size_t i = 0; i < 400; i++) {
        low = bt_next(cut(low, low->start, Q));
        high = bt_next(cut(high, high->start, Q));
    }
    hole = release(busy);
    for (size_t i = 0; i < 1500; i++) {
        hole = bt_next(cut(hole, hole->start, Q));
    }
    toy_check();
    CHECK_LE(bytes_each(), 1400);
    toy_fini();
}

/* Freed from below, from above, from the middle outwards, to one hole. */
static void
emptied_in_order(struct test_ctx *t)
{
    for (unsigned how = 0; how < 3; how++) {
        struct kva_vmem_btag *span;
        size_t n = 2000;

        (void)t;
        toy_init(12, true);
        span = fill(n, true);
        for (size_t i = 0; i < n; i++) {
            struct kva_vmem_btag *bt = how == 0   ? bt_prev(span)
                                       : how == 1 ? bt_next(span)
                                                  : toy.seg[toy.nseg / 2];

            for (int k = 0; bt_state(bt) != BT_ALLOC; k++) {
                bt = how == 0 || (how == 2 && i % 2 == 0) ? bt_prev(bt)
                                                          : bt_next(bt);
                if (bt == span) {
                    bt = how == 0 ? bt_prev(bt) : bt_next(bt);
                }
            }
            release(bt);
            toy_check();
        }
        CHECK_EQ(toy.ix.count, 2);
        CHECK_EQ(toy.ix.height, 1);
        CHECK_EQ(toy.ix.max, n * Q);
        span_remove(span);
        CHECK_EQ(toy.ix.count, 0);
        toy_fini();
    }
}

/* A quantum out of any hole. */
static void
cut_one(struct test_ctx *t)
{
    struct kva_vmem_btag *bt = toy.seg[test_rand_below(t, toy.nseg)];

    if (bt_state(bt) == BT_FREE) {
        cut(bt, bt->start + (size_t)test_rand_below(t, bt_size(bt) / Q) * Q, Q);
    }
}

/* Cut at random places until there are many, then churned: nodes stay 60 %
 * full, which is 15 bytes an entry. */
static void
random_is_dense_enough(struct test_ctx *t)
{
    toy_init(12, true);
    CHECK(span_add(BASE, (size_t)1 << 30) != NULL);
    for (unsigned round = 0; round < 4; round++) {
        while (toy.nseg < 2600) {
            cut_one(t);
        }
        toy_check();
        CHECK_LE(bytes_each(), 1900);
        while (toy.nseg > 1600) {
            step_at_random(t, 3);
        }
        toy_check();
    }
    toy_fini();
}

/* ---- visits ------------------------------------------------------------- */

/* n segments of a quantum, every second one free, but where said one of two. */
static struct kva_vmem_btag *
comb(size_t n, size_t two_at)
{
    struct kva_vmem_btag *span = fill(n, true), *bt = bt_next(span);

    for (size_t i = 0; i + 1 < n && bt != span; i++) {
        struct kva_vmem_btag *next = bt_next(bt);

        if (i % 2 == 0 || i == two_at) {
            next = bt_next(release(bt));
        }
        bt = next;
    }
    return span;
}

static void
check_hole(bool up, uintptr_t addr, size_t size, uintptr_t want)
{
    size_t visits = 0;
    struct kva_vmem_btag *bt =
        up ? kva__index_hole_up(&toy.ix, addr, size, &visits)
           : kva__index_hole_down(&toy.ix, addr, size, &visits);

    check_visits(visits);
    if (want == 0) {
        CHECK_PTR(bt, NULL);
    } else {
        CHECK(bt != NULL);
        CHECK_EQ(bt->start, want);
    }
}

/* One hole is long enough, and all others just are not. */
static void
visits_are_bounded(struct test_ctx *t)
{
    size_t most = (UINTPTR_MAX - BASE) / Q; /* there are */

    for (size_t n = 1000; n <= t->count && n <= most; n *= 10) {
        for (unsigned at = 0; at < 3; at++) {
            size_t two = (at == 0 ? 1 : at == 1 ? n / 2 + 1 : n - 3) | 1;
            uintptr_t place = BASE + (two - 1) * Q, end = BASE + n * Q;

            toy_init(12, false);
            comb(n, two);
            toy_check();
            visits_worst = 0;
            for (unsigned i = 0; i < 2000; i++) {
                uintptr_t addr = BASE + (uintptr_t)test_rand_below(t, n * Q);

                check_hole(true, addr, 2 * Q, addr <= place ? place : 0);
                check_hole(false, addr, 2 * Q, addr >= place ? place : 0);
                check_hole(true, addr, 3 * Q + 1, 0);
            }
            check_hole(true, 0, 2 * Q, place);
            check_hole(false, UINTPTR_MAX, 2 * Q, place);
            check_hole(true, end, 1, 0);
            check_hole(false, BASE - 1, 1, 0);
            for (unsigned i = 0; i < 2000; i++) {
                uintptr_t addr = BASE + (uintptr_t)test_rand_below(t, n * Q);
                size_t v[3] = { 0 };
                struct kva_vmem_btag *bt = kva__index_at(&toy.ix, addr, &v[0]);

                CHECK(bt != NULL && bt->start <= addr);
                CHECK_PTR(kva__index_find(&toy.ix, bt->start, &v[1]), bt);
                CHECK_PTR(kva__index_before(&toy.ix, addr, &v[2]), bt);
                check_visits(v[0]);
                check_visits(v[1]);
                check_visits(v[2]);
            }
            toy_fini();
        }
    }
}

#if KVA_WORD_64
/* A leaf reaches over 2^32 - 2 quanta: exactly from so many on it is told that a
 * start which moves may not stay. */
static void
wide_from_a_leaf_s_reach_on(struct test_ctx *t)
{
    const uintptr_t reach = 0xfffffffe - 1; /* a span ends with an entry */

    (void)t;
    for (unsigned more = 0; more < 2; more++) {
        toy_init(12, false);
        CHECK(span_add(BASE, Q) != NULL);
        CHECK(!kva__index_is_wide(&toy.ix));
        CHECK(span_add(BASE + (reach + more) * Q, Q) != NULL);
        CHECK_EQ(kva__index_is_wide(&toy.ix), more);
        toy_check();
        toy_fini();
    }
}
#endif

/* A span for each hole, all but one too short: no tag is read to learn so. */
static void
visits_over_spans(struct test_ctx *t)
{
    size_t n = t->count, big = n / 3;

    toy_init(12, false);
    for (size_t i = 0; i < n; i++) {
        CHECK(span_add(BASE + i * 4 * Q, i == big ? 2 * Q : Q) != NULL);
    }
    toy_check();
    for (size_t i = 0; i < 2000; i++) {
        uintptr_t addr = BASE + (uintptr_t)test_rand_below(t, 4 * n * Q);
        uintptr_t place = BASE + big * 4 * Q;
        size_t visits = 0;

        check_hole(true, addr, 2 * Q, addr <= place ? place : 0);
        check_hole(false, addr, 2 * Q, addr >= place ? place : 0);
        kva__index_before(&toy.spans, addr, &visits);
        check_visits(visits);
    }
    toy_fini();
}

/* ---- the ends of the space ---------------------------------------------- */

static void
top_of_the_space(struct test_ctx *t)
{
    struct kva_vmem_btag *span, *other, *bt;
    size_t visits = 0;

    (void)t;
    toy_init(0, true);
    span = span_add(UINTPTR_MAX - 99, 100);
    CHECK_EQ(span->start, 0);
    toy_check();
    CHECK_EQ(toy.ix.count, 1); /* no gap */
    CHECK_EQ(toy.ix.max, 100);
    bt = cut(bt_next(span), UINTPTR_MAX, 1);
    toy_check();
    CHECK_PTR(kva__index_find(&toy.ix, UINTPTR_MAX, &visits), bt);
    compare_at(UINTPTR_MAX, 1);
    compare_at(UINTPTR_MAX - 1, 99);
    other = span_add(0, 100);
    toy_check();
    CHECK_EQ(toy.ix.count, 4);
    compare_at(UINTPTR_MAX, 100);
    compare_at(0, 100);
    compare_at(100, 1);
    /* The gap between is filled, and is again. */
    span_add(100, UINTPTR_MAX - 199);
    toy_check();
    CHECK_EQ(toy.ix.count, 4);
    span_remove(bt_prev(toy.seg[1]));
    toy_check();
    release(bt);
    toy_check();
    span_remove(other);
    toy_check();
    span_remove(span);
    toy_check();
    toy_fini();
}

/* ---- no memory ---------------------------------------------------------- */

static void
stock_exhausted(struct test_ctx *t)
{
    struct kva_vmem_btag *span;
    size_t visits = 0;

    (void)t;
    toy_init(12, true);
    kva_posix_fault_arm(KVA_POSIX_META_GET, 1, true);
    CHECK(!kva__index_ensure(&toy.ix, 1));
    CHECK_EQ(kva__index_bytes(&toy.ix), 0);
    CHECK_PTR(kva__index_find(&toy.ix, BASE, &visits), NULL);
    kva_posix_fault_arm(KVA_POSIX_META_GET, 0, false);
    span = fill(1000, true);
    CHECK(kva__index_ensure(&toy.ix, 1));
    kva_posix_fault_arm(KVA_POSIX_META_GET, 1, true);
    CHECK(!kva__index_ensure(&toy.ix, 1000));
    CHECK(!kva__index_prepare(&toy.ix, 1000));
    CHECK_EQ(toy.ix.keep, 0);
    toy_check();
    CHECK(kva__index_ensure(&toy.ix, 1)); /* still there */
    release(bt_next(bt_next(span)));
    toy_check();
    CHECK_EQ(toy.ix.count, 1001);
    kva_posix_fault_arm(KVA_POSIX_META_GET, 0, false);
    toy_fini();
}

/* What is prepared is enough wherever the operations are, and stays. */
static void
prepared_is_enough(struct test_ctx *t)
{
    const unsigned nops = 100;

    (void)t;
    toy_init(12, true);
    CHECK(span_add(BASE, (size_t)1 << 30) != NULL);
    while (toy.nseg < 2600) {
        cut_one(t);
    }
    CHECK(kva__index_prepare(&toy.ix, nops));
    CHECK(kva__btag_ensure(&toy.vm, 2 * nops));
    kva_posix_fault_arm(KVA_POSIX_META_GET, 1, true);
    for (unsigned i = 0; i < nops; i++) {
        struct kva_vmem_btag *hole = naive_hole_up(
            BASE + (uintptr_t)test_rand_below(t, (uint64_t)1 << 29), 3 * Q);

        if (hole != NULL) {
            cut(hole, hole->start + Q, Q);
        }
        toy_check();
    }
    kva_posix_fault_arm(KVA_POSIX_META_GET, 0, false);
    toy_fini();
}

/* ---- the checker -------------------------------------------------------- */

/* With something changed the checker says what; changed back, nothing. */
#define CHECK_SEES(what, wrong, text)                                      \
    do {                                                                   \
        __typeof__(what) *test_at = &(what);                               \
        __typeof__(what) test_was = *test_at;                              \
                                                                           \
        *test_at = (wrong);                                                \
        CHECK_STR(kva__index_check(&toy.ix, false, NULL), "index: " text); \
        *test_at = test_was;                                               \
        CHECK_PTR(kva__index_check(&toy.ix, false, NULL), NULL);           \
    } while (0)

static void
checker_sees(struct test_ctx *t)
{
    struct index_inner *root;
    struct index_leaf *leaf, *last;
    struct kva_vmem_btag *bt;

    (void)t;
    toy_init(12, true);
    release(bt_next(bt_next(fill(1000, true))));
    toy_check();
    CHECK_EQ(toy.ix.height, 2);
    root = toy.ix.root;
    leaf = *inner_child(root, 0);
    last = *inner_child(root, (unsigned)root->n - 1);
    bt = bt_at(*leaf_ref(leaf, 2));

    CHECK_SEES(toy.ix.max, Q + 1, "largest hole of all is wrong");
    CHECK_SEES(toy.ix.count, 1000, "counts");
    CHECK_SEES(toy.ix.nleaf, 1, "counts");
    CHECK_SEES(toy.ix.ninner, 0, "counts");
    CHECK_SEES(toy.ix.height, 9, "height");

    CHECK_SEES(root->n, 1, "number of children");
    CHECK_SEES(root->n, root->n - 1, "slots of an inner node");
    CHECK_SEES(*inner_child(root, 3), NULL, "slots of an inner node");
    CHECK_SEES(*inner_max(root, 63), 1, "slots of an inner node");
    CHECK_SEES(*inner_key(root, 63), 1, "slots of an inner node");
    CHECK_SEES(*inner_key(root, 3), 0, "order of an inner node");
    CHECK_SEES(*inner_key(root, 0), *inner_key(root, 0) + 1,
               "key of a child is not its first start");
    CHECK_SEES(*inner_key(root, 3), *inner_key(root, 3) + 1,
               "end and tag differ");
    CHECK_SEES(root->first[1], 0, "head of an inner node");
    CHECK_SEES(root->max[0], 0, "head of an inner node");
    CHECK_SEES(root->max[1], 1, "head of an inner node");

    CHECK_SEES(leaf->n, 3, "number of entries of a leaf");
    CHECK_SEES(leaf->n, leaf->n - 1, "slots of a leaf");
    CHECK_SEES(last->hole, bit_of(63), "holes behind the last entry");
    CHECK_SEES(leaf->first[2], 0, "head of a leaf");
    CHECK_SEES(*leaf_key(leaf, 2), *leaf_key(leaf, 1), "end and tag differ");
    CHECK_SEES(*leaf_key(leaf, 0), LEAF_PAD, "order of a leaf");
    CHECK_SEES(*leaf_ref(leaf, 2), *leaf_ref(leaf, 3), "start and tag differ");
    CHECK_SEES(*leaf_ref(leaf, 1), BT_NONE, "a hole without a tag");
    CHECK_SEES(*leaf_ref(leaf, 0), BT_NONE, "a gap that is none");
    CHECK_SEES(leaf->hole, 0, "state and tag differ");
    CHECK_SEES(leaf->hole, 3, "state and tag differ");
    CHECK_SEES(leaf->base, leaf->base - Q, "start and tag differ");
    CHECK_SEES(bt->start, bt->start + 1, "end and tag differ");
    CHECK_EQ(*inner_max(root, 0), Q);
    *inner_max(root, 0) = root->max[0] = toy.ix.max = 2 * Q;
    CHECK_STR(kva__index_check(&toy.ix, false, NULL),
              "index: largest hole of a child is wrong");
    *inner_max(root, 0) = root->max[0] = toy.ix.max = Q;
    toy_fini();
}

const struct test index_tests[] = {
    TEST("index", checker_sees),
    TEST("index", top_of_the_space),
    TEST("index", stock_exhausted),
    TEST("index", prepared_is_enough),
    TEST("index", emptied_in_order),
    TEST("index", sequential_in_the_middle),
    TEST("index", random_is_dense_enough),
    TEST_COUNT("index", sequential_is_dense, 10000, 100000, 1000000),
    TEST_COUNT("index", random_pages, 3000, 30000, 300000),
    TEST_COUNT("index", random_wide, 3000, 30000, 300000),
    TEST_COUNT("index", random_whole_space, 2000, 20000, 200000),
    TEST_COUNT("index", parts, 2000, 20000, 200000),
    TEST_COUNT("index", visits_are_bounded, 10000, 1000000, 1000000),
#if KVA_WORD_64
    TEST("index", wide_from_a_leaf_s_reach_on),
#endif
    TEST_COUNT("index", visits_over_spans, 3000, 30000, 300000),
    TEST_END
};
