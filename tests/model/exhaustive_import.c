/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the same as exhaustive.c for an arena that imports from another of n
 * quanta: a request that no hole of the spans there satisfies is met by a span
 * from below exactly if one comes that does; what comes and does not goes back;
 * a span that is all free goes back; and the source has handed out the spans
 * and nothing else.
 *
 *      below    [span        ] free  [span ] [span ]
 *      top      [busy][ free ]       [busy ] [busy ]
 *
 * Every layout of the source, and in each of its busy parts every tiling of a
 * span that is not all free.  A layout is built with an import function that
 * takes the span that it is told to; operations run with one that asks the
 * source for what the arena wants.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/test.h"
#include "tests/model/book.h"
#include "tests/model/layouts.h"
#include "tests/model/requests.h"

#define N_MAX 8u

/* Quanta outside of every span count as busy. */
struct state {
    struct layout l;
    uint16_t spans;   /* where spans start */
    uint16_t covered; /* by spans */
};

struct tree {
    unsigned n;
    size_t q;
    vm_flag_t flags;
    vmem_t *top, *below;
    uintptr_t addr[N_MAX];
    unsigned number; /* of the layout */
    struct state now;
    uintptr_t rotor; /* where the last next fit ended */
    uint16_t x;      /* parts from vmem_xalloc, by first quantum */
    struct book on_top, under;
    struct state *all;
    struct requests requests;
    unsigned long ops;
    /* import */
    bool told; /* take [told_at, told_at + told_size - 1] */
    unsigned told_at, told_size;
    unsigned calls; /* since the operation began */
    uint16_t got;   /* the span that came, if it is still there */
    /* walks */
    struct state seen;
    struct layout seen_below;
    bool odd;
};

/* For the import function, which knows its source and nothing else. */
static struct tree tree;

static const char *
describe(const struct tree *f)
{
    static char text[128];

    (void)snprintf(text, sizeof(text),
                   "%u quanta of %zu, layout %u (parts 0x%x, busy 0x%x, spans "
                   "0x%x, covering 0x%x)",
                   f->n, f->q, f->number, f->now.l.start, f->now.l.busy,
                   f->now.spans, f->now.covered);
    return text;
}

static unsigned
quantum_at(const struct tree *f, uintptr_t addr)
{
    for (unsigned i = 0; i < f->n; i++) {
        if (f->addr[i] == addr) {
            return i;
        }
    }
    return N_MAX;
}

/* ---- states ------------------------------------------------------------- */

/* Quanta of the span that starts at. */
static unsigned
span_size(const struct state *s, unsigned at)
{
    unsigned size = 1;

    while ((s->covered >> (at + size) & 1) != 0 &&
           (s->spans >> (at + size) & 1) == 0) {
        size++;
    }
    return size;
}

static struct state
with_span(struct state s, unsigned n, unsigned at, unsigned size)
{
    s.spans |= layout_mask(at, 1);
    s.covered |= layout_mask(at, size);
    s.l.busy &= (uint16_t)~layout_mask(at, size);
    s.l.start &= (uint16_t)~layout_mask(at, size);
    s.l.start |= layout_mask(at, 1);
    if (at + size < n) {
        s.l.start |= layout_mask(at + size, 1);
    }
    return s;
}

/* With the part at free, and its span gone if nothing else is busy in it. */
static struct state
without_part(struct state s, unsigned n, unsigned at)
{
    unsigned span = at, size;

    s.l = layout_free(s.l, n, s.spans, at);
    while ((s.spans >> span & 1) == 0) {
        span--;
    }
    size = span_size(&s, span);
    if ((s.l.busy & layout_mask(span, size)) == 0) {
        s.spans &= (uint16_t)~layout_mask(span, 1);
        s.covered &= (uint16_t)~layout_mask(span, size);
        s.l.busy |= layout_mask(span, size);
    }
    return s;
}

/* Is at inside of a part of l, or does a part begin there that may: behind a
 * busy one, or busy itself, or first in its span. */
static bool
may_follow(struct layout below, struct layout l, unsigned at)
{
    bool busy = layout_is_busy(l, at), before;

    if ((below.start & layout_mask(at, 1)) != 0) {
        return true;
    }
    before = layout_is_busy(l, at - 1);
    return (l.start & layout_mask(at, 1)) != 0 ? busy || before
                                               : busy == before;
}

/* Is l a tiling of the spans that below handed out, each with something busy,
 * and one part for each stretch that it did not. */
static bool
is_state(struct layout below, struct layout l, unsigned n)
{
    uint16_t outside = layout_mask(0, n) & (uint16_t)~below.busy;

    if ((l.start & below.start) != below.start ||
        (l.busy & outside) != outside ||
        (l.start & outside) != (below.start & outside)) {
        return false;
    }
    for (unsigned at = 0; at < n; at++) {
        unsigned size = layout_size(below, n, at);

        if (!may_follow(below, l, at) ||
            ((below.start & layout_mask(at, 1)) != 0 &&
             (l.busy & layout_mask(at, size)) == 0)) {
            return false;
        }
    }
    return true;
}

/* Every state, found by trying all masks on all layouts of the source. */
static struct state *
states_all(unsigned n, unsigned *count)
{
    unsigned nbelow = 0, limit = 1u << n;
    struct layout *below = layouts_all(n, 1, &nbelow);
    struct state *all = malloc(sizeof(*all) * nbelow * limit);

    CHECK(below != NULL && all != NULL);
    *count = 0;
    for (unsigned i = 0; i < nbelow; i++) {
        for (unsigned masks = 0; masks < limit * limit; masks++) {
            struct layout l = { (uint16_t)(masks / limit),
                                (uint16_t)(masks % limit) };

            if (is_state(below[i], l, n)) {
                all[(*count)++] =
                    (struct state){ l, below[i].start & below[i].busy,
                                    below[i].busy };
            }
        }
    }
    free(below);
    return all;
}

/* ---- import ------------------------------------------------------------- */

static void
book_add(struct range *r, unsigned *n, uintptr_t addr, size_t size, bool x)
{
    r[(*n)++] = (struct range){ addr, size, x };
}

static bool
book_drop(struct range *r, unsigned *n, uintptr_t addr)
{
    for (unsigned i = 0; i < *n; i++) {
        if (r[i].addr == addr) {
            bool x = r[i].x;

            memmove(&r[i], &r[i + 1], (--*n - i) * sizeof(*r));
            return x;
        }
    }
    FAIL("0x%zx is released, and was not imported", (size_t)addr);
}

static int
import(vmem_t *source, vmem_size_t size, vmem_size_t *actual, vm_flag_t flags,
       vmem_addr_t *addr)
{
    struct tree *f = &tree;
    int err;

    *actual = size;
    f->calls++;
    if (f->told) {
        *actual = f->told_size * f->q;
        *addr = f->addr[f->told_at];
        err = vmem_xalloc_addr(source, *addr, *actual, flags);
    } else {
        err = vmem_alloc(source, size, flags, addr);
    }
    if (err == 0) {
        f->got = layout_mask(quantum_at(f, *addr), (unsigned)(*actual / f->q));
        book_add(f->on_top.span, &f->on_top.nspan, *addr, *actual, false);
        book_add(f->under.live, &f->under.nlive, *addr, *actual, f->told);
    }
    return err;
}

static void
release(vmem_t *source, vmem_addr_t addr, vmem_size_t size)
{
    struct tree *f = &tree;

    (void)book_drop(f->on_top.span, &f->on_top.nspan, addr);
    if ((f->got >> quantum_at(f, addr) & 1) != 0) {
        f->got = 0;
    }
    if (book_drop(f->under.live, &f->under.nlive, addr)) {
        vmem_xfree(source, addr, size);
    } else {
        vmem_free(source, addr, size);
    }
}

/* ---- the arenas and the state ------------------------------------------- */

static void
see(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    struct tree *f = arg;
    unsigned at = quantum_at(f, addr), n = (unsigned)(size / f->q);

    if (at == N_MAX || size % f->q != 0 || n == 0 || n > f->n - at) {
        f->odd = true;
    } else if (type == VMEM_SPAN) {
        f->odd |= (f->seen.covered & layout_mask(at, n)) != 0;
        f->seen.spans |= layout_mask(at, 1);
        f->seen.covered |= layout_mask(at, n);
    } else {
        f->seen.l.start |= layout_mask(at, 1);
        f->seen.l.busy |= type == VMEM_ALLOC ? layout_mask(at, n) : 0;
    }
}

static void
see_below(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    struct tree *f = arg;
    unsigned at = quantum_at(f, addr);

    if (at == N_MAX || type != VMEM_ALLOC) {
        f->odd = true;
    } else {
        f->seen_below.start |= layout_mask(at, 1);
        f->seen_below.busy |= layout_mask(at, (unsigned)(size / f->q));
    }
}

static void
check(const struct tree *f, vmem_t *vm, const char *what)
{
    const char *bad = vmem_check(vm);

    if (bad != NULL) {
        FAIL("%s: %s: vmem_check: %s", describe(f), what, bad);
    }
}

/* To whoever looks at them both arenas are as s says. */
static void
expect_seen(struct tree *f, struct state s, const char *what)
{
    size_t busy = (size_t)__builtin_popcount(s.l.busy & s.covered) * f->q;
    size_t covered = (size_t)__builtin_popcount(s.covered) * f->q;

    memset(&f->seen, 0, sizeof(f->seen));
    memset(&f->seen_below, 0, sizeof(f->seen_below));
    f->odd = false;
    vmem_walk(f->top, VMEM_ALLOC | VMEM_FREE | VMEM_CACHED | VMEM_SPAN, see, f);
    vmem_walk(f->below, VMEM_ALLOC, see_below, f);
    if (f->odd || f->seen.covered != s.covered || f->seen.spans != s.spans ||
        f->seen.l.start != (s.l.start & s.covered) ||
        f->seen.l.busy != (s.l.busy & s.covered) ||
        f->seen_below.start != s.spans || f->seen_below.busy != s.covered) {
        FAIL("%s: %s: parts 0x%x, busy 0x%x, spans 0x%x, covering 0x%x, below "
             "0x%x and 0x%x",
             describe(f), what, f->seen.l.start, f->seen.l.busy, f->seen.spans,
             f->seen.covered, f->seen_below.start, f->seen_below.busy);
    }
    if (vmem_size(f->top, VMEM_ALLOC) != busy ||
        vmem_size(f->top, VMEM_FREE) != covered - busy ||
        vmem_size(f->top, VMEM_MAXFREE) != layout_largest(s.l, f->n) * f->q ||
        vmem_size(f->below, VMEM_ALLOC) != covered) {
        FAIL("%s: %s: vmem_size is wrong", describe(f), what);
    }
}

/* They are, in every respect. */
static void
expect(struct tree *f, struct state s, const char *what)
{
    check(f, f->top, what);
    check(f, f->below, what);
    expect_seen(f, s, what);
}

static bool
is_part(const struct tree *f, unsigned at)
{
    return (f->now.l.start & f->now.covered & layout_mask(at, 1)) != 0;
}

static size_t
part_bytes(const struct tree *f, unsigned at)
{
    unsigned size = layout_size(f->now.l, f->n, at);

    return size * f->q;
}

/* The span at, whole, its parts claimed one by one.  No other hole is there. */
static void
build_span(struct tree *f, unsigned at)
{
    unsigned size = span_size(&f->now, at);

    f->told = true;
    f->told_at = at;
    f->told_size = size;
    for (unsigned i = at; i < at + size; i++) {
        if (is_part(f, i)) {
            CHECK_EQ(vmem_xalloc_addr(f->top, f->addr[i], part_bytes(f, i),
                                      VM_NOSLEEP),
                     0);
        }
    }
    f->told = false;
}

/* Busy part at goes over to vmem_alloc; its span too, if it is all of it. */
static void
make_plain(struct tree *f, unsigned at)
{
    uintptr_t addr = 0;

    f->told = true;
    f->told_at = at;
    f->told_size = layout_size(f->now.l, f->n, at);
    vmem_xfree(f->top, f->addr[at], part_bytes(f, at));
    CHECK_EQ(vmem_alloc(f->top, part_bytes(f, at), VM_NOSLEEP, &addr), 0);
    CHECK_EQ(addr, f->addr[at]);
    f->told = false;
}

static void
build(struct tree *f)
{
    unsigned parts = f->number;

    f->x = 0;
    f->on_top.nlive = 0;
    for (unsigned at = 0; at < f->n; at++) {
        if ((f->now.spans >> at & 1) != 0) {
            build_span(f, at);
        }
    }
    for (unsigned at = 0; at < f->n; at++) {
        if (!is_part(f, at) || !layout_is_busy(f->now.l, at)) {
            continue;
        }
        if (parts++ % 2 == 0) {
            f->x |= layout_mask(at, 1);
        } else {
            make_plain(f, at);
        }
        book_add(f->on_top.live, &f->on_top.nlive, f->addr[at],
                 part_bytes(f, at), (f->x >> at & 1) != 0);
    }
    for (unsigned at = 0; at < f->n; at++) {
        if (is_part(f, at) && !layout_is_busy(f->now.l, at)) {
            vmem_xfree(f->top, f->addr[at], part_bytes(f, at));
        }
    }
}

static void
rebuild(struct tree *f)
{
    struct state none = { { 1, layout_mask(0, f->n) }, 0, 0 };

    vmem_xfreeall(f->top);
    expect(f, none, "vmem_xfreeall");
    build(f);
}

/* ---- operations --------------------------------------------------------- */

static void
begin(struct tree *f)
{
    f->calls = 0;
    f->got = 0;
}

/* Quanta of a mask of one stretch, and where it starts. */
static unsigned
stretch(uint16_t mask, unsigned *at)
{
    *at = (unsigned)__builtin_ctz(mask);
    return (unsigned)__builtin_popcount(mask);
}

/* The state after a request of size quanta at; it may have come with a span. */
static struct state
after_request(const struct tree *f, unsigned at, unsigned size, bool imported)
{
    struct state s = f->now;
    unsigned span;

    if (imported) {
        unsigned quanta = stretch(f->got, &span);

        s = with_span(s, f->n, span, quanta);
    }
    s.l = layout_claim(s.l, f->n, at, size);
    return s;
}

/* Where a request that may start at starts can be: in the holes there are, or
 * else in what came for it. */
static uint16_t
good_places(const struct tree *f, unsigned size, uint16_t starts)
{
    uint16_t here = starts & layout_places(f->now.l, f->n, size), good = 0;
    unsigned span, quanta;

    if (here != 0 || f->got == 0) {
        return here;
    }
    quanta = stretch(f->got, &span);
    for (unsigned i = span; i + size <= span + quanta; i++) {
        good |= starts & layout_mask(i, 1);
    }
    return good;
}

/* The first quantum at or behind the end of the last next fit. */
static unsigned
next_from(const struct tree *f)
{
    unsigned at = 0;

    while (at < f->n && f->addr[at] < f->rotor) {
        at++;
    }
    return at;
}

static unsigned
nfits(const struct tree *f)
{
    return (f->flags & VM_INDEX) != 0 ? FITS_ALL : FITS_PLAIN;
}

static void
give_back(struct tree *f, unsigned at, unsigned size, bool x)
{
    if (x) {
        vmem_xfree(f->top, f->addr[at], size * f->q);
    } else {
        vmem_free(f->top, f->addr[at], size * f->q);
    }
    expect_seen(f, f->now, "the free behind it");
}

/* A request for size quanta that may start at starts came back.  In what came
 * for it there is one hole, all of it. */
static void
expect_outcome(struct tree *f, const char *what, unsigned size, vm_flag_t fit,
               uint16_t starts, int err, uintptr_t addr, bool x)
{
    uint16_t here = starts & layout_places(f->now.l, f->n, size);
    uint16_t good = good_places(f, size, starts);
    unsigned at = quantum_at(f, addr);

    f->ops++;
    if (here != 0 && f->calls != 0) {
        FAIL("%s: %s of %u quanta imports, and has 0x%x", describe(f), what,
             size, here);
    }
    if (err != (good == 0 ? KVA_ENOMEM : 0) ||
        (err == 0 && (at == N_MAX || (good >> at & 1) == 0))) {
        FAIL("%s: %s of %u quanta returns %d, 0x%zx, and 0x%x are places for "
             "it, span 0x%x",
             describe(f), what, size, err, (size_t)addr, good, f->got);
    }
    if (err != 0) { /* all refusals together are followed by a check */
        expect_seen(f, f->now, what);
        return;
    }
    if (here != 0 &&
        !fit_is_right(f->now.l, f->n, here, at, fit, next_from(f))) {
        FAIL("%s: %s of %u quanta, fit 0x%x, is at %u, and 0x%x are places for "
             "it, the next from %u",
             describe(f), what, size, fit, at, here, next_from(f));
    }
    if (here != 0 && (fit & VM_NEXTFIT) != 0) {
        f->rotor = addr + size * f->q;
    }
    expect(f, after_request(f, at, size, here == 0), what);
    give_back(f, at, size, x);
}

/* The source as a layout: what is outside of all spans is free. */
static struct layout
source_layout(const struct tree *f)
{
    struct layout l = { f->now.l.start, f->now.covered };

    for (unsigned at = 1; at < f->n; at++) { /* parts of the source only */
        bool edge =
            (f->now.covered >> at & 1) != (f->now.covered >> (at - 1) & 1);

        if ((f->now.spans >> at & 1) == 0 && !edge) {
            l.start &= (uint16_t)~layout_mask(at, 1);
        }
    }
    return l;
}

/* As much is asked for as any position may cost, so that what comes serves if
 * the window is open. */
static void
expect_sure(const struct tree *f, const struct request *rq)
{
    unsigned align = rq->align == 0 ? 1 : (unsigned)(rq->align / f->q);
    unsigned sure = rq->size + (align - 1) + (rq->phase == 0 ? 0 : align) +
                    (rq->nocross == 0 ? 0 : rq->size);

    if (rq->min == VMEM_ADDR_MIN && rq->max == VMEM_ADDR_MAX) {
        CHECK_LT(layout_largest(source_layout(f), f->n), sure);
    }
}

/* Without constraints a span comes if the source has room, and serves. */
static void
op_alloc(struct tree *f)
{
    uint16_t all = layout_mask(0, f->n);
    struct layout below = source_layout(f);

    for (unsigned size = 1; size <= f->n + 1; size++) {
        for (unsigned k = 0; k < nfits(f); k++) {
            bool room = layout_places(f->now.l, f->n, size) != 0 ||
                        layout_places(below, f->n, size) != 0;
            uintptr_t addr = 0;
            int err;

            begin(f);
            err = vmem_alloc(f->top, size * f->q, VM_NOSLEEP | request_fits[k],
                             &addr);
            CHECK_EQ(err, room ? 0 : KVA_ENOMEM);
            expect_outcome(f, "vmem_alloc", size, request_fits[k], all, err,
                           addr, false);
            begin(f);
            addr = 0;
            err =
                vmem_xalloc(f->top, size * f->q, 0, 0, 0, VMEM_ADDR_MIN,
                            VMEM_ADDR_MAX, VM_NOSLEEP | request_fits[k], &addr);
            CHECK_EQ(err, room ? 0 : KVA_ENOMEM);
            expect_outcome(f, "vmem_xalloc", size, request_fits[k], all, err,
                           addr, true);
        }
    }
    expect(f, f->now, "after all requests");
}

static void
op_xalloc(struct tree *f)
{
    unsigned end, some = f->number;

    for (unsigned i = 0; i < f->requests.count; i = end) {
        const struct request *rq = &f->requests.rq[i];
        vm_flag_t fit = request_fits[some % nfits(f)];
        uintptr_t addr = 0;
        int err;

        end = requests_sort_end(&f->requests, i);
        rq += some++ % (end - i);
        begin(f);
        err =
            vmem_xalloc(f->top, rq->size * f->q, rq->align, rq->phase,
                        rq->nocross, rq->min, rq->max, VM_NOSLEEP | fit, &addr);
        if (err != 0) {
            expect_sure(f, rq);
        }
        expect_outcome(f, "constrained vmem_xalloc", rq->size, fit, rq->starts,
                       err, addr, true);
    }
    expect(f, f->now, "after all requests");
}

static void
op_xalloc_addr(struct tree *f)
{
    for (unsigned at = 0; at < f->n; at++) {
        for (unsigned size = 1; size <= f->n + 1 - at; size++) {
            int err;

            begin(f);
            err =
                vmem_xalloc_addr(f->top, f->addr[at], size * f->q, VM_NOSLEEP);
            expect_outcome(f, "vmem_xalloc_addr", size, 0, layout_mask(at, 1),
                           err, f->addr[at], true);
        }
    }
    expect(f, f->now, "after all requests");
}

static void
op_free(struct tree *f)
{
    for (unsigned at = 0; at < f->n; at++) {
        if (!is_part(f, at) || !layout_is_busy(f->now.l, at)) {
            continue;
        }
        if ((f->x >> at & 1) != 0) {
            vmem_xfree(f->top, f->addr[at], part_bytes(f, at));
        } else {
            vmem_free(f->top, f->addr[at], part_bytes(f, at));
        }
        expect(f, without_part(f->now, f->n, at), "a free");
        f->ops++;
        rebuild(f);
    }
    expect(f, f->now, "after all frees");
}

/* Any free that is wrong, to the arena and to its source. */
static void
op_bad_free(struct tree *f)
{
    const struct book *books[] = { &f->on_top, &f->under };
    char text[KVA_MESSAGE_MAX];

    for (unsigned k = 0; k < 2 * WAYS; k++) {
        const struct book *b = books[k / WAYS];
        enum way way = (enum way)(k % WAYS);

        for (unsigned i = 0; i < f->n * (f->n + 1); i++) {
            uintptr_t addr = f->addr[i % f->n];
            size_t bytes = (1 + i / f->n) * f->q;

            if (!book_message(b, way, addr, bytes, text)) {
                continue;
            }
            CHECK_PANIC(way == BY_XFREE ? vmem_xfree(b->vm, addr, bytes)
                                        : vmem_free(b->vm, addr, bytes),
                        "%s", text);
            f->ops++;
        }
    }
    expect(f, f->now, "bad frees");
}

static void
op_destroy_live(struct tree *f)
{
    for (unsigned i = 0; i < f->on_top.nspan; i++) {
        const struct range *span = &f->on_top.span[i];

        for (size_t at = 0; at < span->size; at += f->q) {
            const struct range *r = book_live(&f->on_top, span->addr + at);

            if (r == NULL) {
                continue;
            }
            CHECK_PANIC(vmem_destroy(f->top),
                        "vmem_destroy: arena top: 0x%lx: expected no live "
                        "range, found %zu bytes live, the first %zu here",
                        (unsigned long)r->addr, vmem_size(f->top, VMEM_ALLOC),
                        r->size);
            f->ops++;
            expect(f, f->now, "the end of an arena with live ranges");
            return;
        }
    }
}

typedef void op_t(struct tree *f);

static op_t *const ops[] = {
    op_alloc, op_xalloc, op_xalloc_addr, op_free, op_bad_free, op_destroy_live,
};

/* ---- running ------------------------------------------------------------ */

static void
make(struct tree *f, unsigned n, unsigned shift, vm_flag_t flags)
{
    memset(f, 0, sizeof(*f));
    f->n = n;
    f->q = (size_t)1 << shift;
    f->flags = flags;
    for (unsigned i = 0; i < n; i++) { /* aligned in the middle only */
        f->addr[i] = ((uintptr_t)0x30005 + i) << shift;
    }
    f->below = vmem_create("below", f->addr[0], n * f->q, f->q, NULL, NULL,
                           NULL, 0, VM_NOSLEEP | flags, KVA_IPL_NONE);
    CHECK(f->below != NULL);
    f->top = vmem_xcreate("top", 0, 0, f->q, import, release, f->below, 0,
                          VM_NOSLEEP | flags, KVA_IPL_NONE);
    CHECK(f->top != NULL);
    f->on_top.vm = f->top;
    f->on_top.name = "top";
    f->under.vm = f->below;
    f->under.name = "below";
    f->on_top.quantum = f->under.quantum = f->q;
    book_add(f->under.span, &f->under.nspan, f->addr[0], n * f->q, false);
    requests_make(&f->requests, n, f->addr, f->q, true);
}

/* By the recurrence: a span of k quanta has F(2k + 1) - 1 tilings, and a
 * stretch outside of any length follows a span or nothing. */
static const unsigned nstates[N_MAX + 1] = { 1,   2,    8,     36,   161,
                                             716, 3180, 14121, 62705 };

static void
run(unsigned n, unsigned shift, vm_flag_t flags)
{
    struct tree *f = &tree;
    unsigned count = 0;

    make(f, n, shift, flags);
    f->all = states_all(n, &count);
    CHECK_EQ(count, nstates[n]);
    for (f->number = 0; f->number < count; f->number++) {
        f->now = f->all[f->number];
        build(f);
        expect(f, f->now, "built");
        for (unsigned i = 0; i < KVA_COUNT(ops); i++) {
            ops[i](f);
        }
        vmem_xfreeall(f->top);
    }
    CHECK_GT(f->ops, 0);
    vmem_destroy(f->top);
    vmem_destroy(f->below);
    free(f->all);
    requests_free(&f->requests);
}

/* Flags at creation of both arenas, each with everything. */
static const vm_flag_t flag_rows[] = {
    0,
    VM_INDEX,
};

/* t->count is the number of quanta of the source. */
static void
import_of_pages(struct test_ctx *t)
{
    PORT(NULL);
    for (unsigned i = 0; i < KVA_COUNT(flag_rows); i++) {
        run((unsigned)t->count, 12, flag_rows[i]);
    }
}

static void
import_of_bytes(struct test_ctx *t)
{
    PORT(NULL);
    for (unsigned i = 0; i < KVA_COUNT(flag_rows); i++) {
        run((unsigned)t->count, 0, flag_rows[i]);
    }
}

const struct test exhaustive_import_tests[] = {
    TEST_LEAST("model", import_of_pages, 3, 4, 6, 7),
    TEST_LEAST("model", import_of_bytes, 2, 3, 5, 7), TEST_END
};
