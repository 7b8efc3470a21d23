/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: from every layout of a small arena every operation, legal or not, does
 * what it should: it succeeds exactly if some hole satisfies the request, where
 * constraints and fit want it; what it leaves
 * is the layout that follows, with all totals and invariants; a refusal and a
 * report leave what was.
 *
 * A layout is built in an empty arena by claiming its parts from left to right,
 * holes included, and freeing these.  Busy parts are of vmem_alloc and of
 * vmem_xalloc in turn; the next layout begins with the other, so that both
 * stand in all places.
 *
 * Constrained requests.  For an outcome a request is its size, its fit, and the
 * set of places where its constraints let it start; it has no more influence.
 * So requests are sorted by size and places, and each layout tries two of each
 * sort, the next layout the next of them, with the next fits.  every_request
 * tries all of all sorts with every fit from each layout instead.
 *
 * An operation is a row of a table: it does all its cases from the layout given
 * and leaves that layout.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/test.h"
#include "tests/model/book.h"
#include "tests/model/layouts.h"
#include "tests/model/requests.h"

#define N_MAX LAYOUT_QUANTA_MAX

/* What is laid out, and where. */
struct ground {
    unsigned n;
    unsigned shift;    /* log2 of the quantum */
    uintptr_t origin;  /* in quanta */
    uint16_t spans;    /* where spans start */
    bool apart;        /* a quantum between spans */
    bool every;        /* every request, not one of each sort */
    vm_flag_t flags;   /* at creation */
    unsigned nlayouts; /* that there must be */
};

struct field {
    struct ground g;
    vmem_t *vm;
    size_t q;
    uintptr_t addr[N_MAX]; /* of each quantum */
    unsigned number;       /* of the layout */
    struct layout now;
    uintptr_t rotor;  /* where the last next fit ended */
    uint16_t x;       /* parts from vmem_xalloc, by first quantum */
    struct book book; /* for what a bad free reports */
    struct layout *all;
    struct requests requests;
    unsigned long ops;
    /* the walk */
    struct layout seen;
    unsigned nspans;
    bool odd; /* what is no part of a layout */
};

typedef void op_t(struct field *f);

static const char *
describe(const struct field *f)
{
    static char text[128];

    (void)snprintf(text, sizeof(text),
                   "%u quanta of 2^%u from 0x%zx, layout %u (parts 0x%x, busy "
                   "0x%x)",
                   f->g.n, f->g.shift, (size_t)f->addr[0], f->number,
                   f->now.start, f->now.busy);
    return text;
}

/* ---- the arena and the layout ------------------------------------------- */

static unsigned
quantum_at(const struct field *f, uintptr_t addr)
{
    for (unsigned i = 0; i < f->g.n; i++) {
        if (f->addr[i] == addr) {
            return i;
        }
    }
    return N_MAX;
}

static void
see(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    struct field *f = arg;
    unsigned at = quantum_at(f, addr), n = (unsigned)(size / f->q);

    if (at == N_MAX || size % f->q != 0 || n == 0 || n > f->g.n - at) {
        f->odd = true;
    } else if (type == VMEM_SPAN) {
        f->nspans++;
        f->odd |= (f->g.spans >> at & 1) == 0;
    } else {
        f->odd |= ((f->seen.start | f->seen.busy) & layout_mask(at, n)) != 0;
        f->seen.start |= layout_mask(at, 1);
        f->seen.busy |= type == VMEM_ALLOC ? layout_mask(at, n) : 0;
    }
}

static unsigned
spans_of(const struct field *f)
{
    return (unsigned)__builtin_popcount(f->g.spans);
}

/* To whoever looks at the arena it is laid out as l. */
static void
expect_seen(struct field *f, struct layout l, const char *what)
{
    size_t busy = (size_t)__builtin_popcount(l.busy) * f->q;

    f->seen = (struct layout){ 0, 0 };
    f->nspans = 0;
    f->odd = false;
    vmem_walk(f->vm, VMEM_ALLOC | VMEM_FREE | VMEM_CACHED | VMEM_SPAN, see, f);
    if (f->odd || f->nspans != spans_of(f) || f->seen.start != l.start ||
        f->seen.busy != l.busy) {
        FAIL("%s: %s: parts 0x%x, busy 0x%x, expected 0x%x and 0x%x",
             describe(f), what, f->seen.start, f->seen.busy, l.start, l.busy);
    }
    if (vmem_size(f->vm, VMEM_ALLOC) != busy ||
        vmem_size(f->vm, VMEM_FREE) != f->g.n * f->q - busy ||
        vmem_size(f->vm, VMEM_MAXFREE) != layout_largest(l, f->g.n) * f->q) {
        FAIL("%s: %s: vmem_size is wrong", describe(f), what);
    }
}

/* It is, in every respect. */
static void
expect(struct field *f, struct layout l, const char *what)
{
    const char *bad = vmem_check(f->vm);

    if (bad != NULL) {
        FAIL("%s: %s: vmem_check: %s", describe(f), what, bad);
    }
    expect_seen(f, l, what);
}

static void
claim(struct field *f, unsigned at, unsigned size)
{
    if (vmem_xalloc_addr(f->vm, f->addr[at], size * f->q, VM_NOSLEEP) != 0) {
        FAIL("%s: %u quanta at %u are refused", describe(f), size, at);
    }
}

static void
free_part(struct field *f, unsigned at)
{
    size_t bytes = layout_size(f->now, f->g.n, at) * f->q;

    if ((f->x >> at & 1) != 0) {
        vmem_xfree(f->vm, f->addr[at], bytes);
    } else {
        vmem_free(f->vm, f->addr[at], bytes);
    }
}

/* Lay the arena out as f->now, from empty. */
static void
build(struct field *f)
{
    unsigned n = f->g.n, parts = f->number;
    struct layout l = f->now;

    for (unsigned at = 0; at < n; at++) {
        if ((l.start >> at & 1) != 0) {
            claim(f, at, layout_size(l, n, at));
        }
    }
    f->x = 0;
    f->book.nlive = 0;
    for (unsigned at = 0; at < n; at++) {
        size_t bytes = layout_size(l, n, at) * f->q;
        uintptr_t addr = 0;
        bool x;

        if ((l.start >> at & 1) == 0 || !layout_is_busy(l, at)) {
            continue;
        }
        x = parts++ % 2 == 0;
        if (x) {
            f->x |= layout_mask(at, 1);
        } else { /* the only hole there is */
            vmem_xfree(f->vm, f->addr[at], bytes);
            CHECK_EQ(vmem_alloc(f->vm, bytes, VM_NOSLEEP, &addr), 0);
            CHECK_EQ(addr, f->addr[at]);
        }
        f->book.live[f->book.nlive++] = (struct range){ f->addr[at], bytes, x };
    }
    for (unsigned at = 0; at < n; at++) {
        if ((l.start >> at & 1) != 0 && !layout_is_busy(l, at)) {
            vmem_xfree(f->vm, f->addr[at], layout_size(l, n, at) * f->q);
        }
    }
}

static void
rebuild(struct field *f)
{
    vmem_xfreeall(f->vm);
    expect(f, (struct layout){ .start = f->g.spans }, "vmem_xfreeall");
    build(f);
}

/* ---- requests ----------------------------------------------------------- */

/* The first quantum at or behind the end of the last next fit. */
static unsigned
next_from(const struct field *f)
{
    unsigned at = 0;

    while (at < f->g.n && f->addr[at] < f->rotor) {
        at++;
    }
    return at;
}

/*
 * A request that might have been met at any of starts came back with err and
 * addr: right?  Free what it took.  x: it was of vmem_xalloc.
 */
static void
expect_outcome(struct field *f, const char *what, unsigned size, vm_flag_t fit,
               uint16_t starts, int err, uintptr_t addr, bool x)
{
    unsigned at = quantum_at(f, addr);

    f->ops++;
    if (err != (starts == 0 ? KVA_ENOMEM : 0)) {
        FAIL("%s: %s of %u quanta, fit 0x%x, returns %d, and 0x%x are places "
             "for it",
             describe(f), what, size, fit, err, starts);
    }
    if (err != 0) { /* all refusals together are followed by a check */
        expect_seen(f, f->now, what);
        return;
    }
    if (!fit_is_right(f->now, f->g.n, starts, at, fit, next_from(f))) {
        FAIL("%s: %s of %u quanta, fit 0x%x, is at 0x%zx, and 0x%x are places "
             "for it, the next from %u",
             describe(f), what, size, fit, (size_t)addr, starts, next_from(f));
    }
    if ((fit & VM_NEXTFIT) != 0) {
        f->rotor = addr + size * f->q;
    }
    expect(f, layout_claim(f->now, f->g.n, at, size), what);
    if (x) {
        vmem_xfree(f->vm, addr, size * f->q);
    } else {
        vmem_free(f->vm, addr, size * f->q);
    }
}

static unsigned
nfits(const struct field *f)
{
    return (f->g.flags & VM_INDEX) != 0 ? FITS_ALL : FITS_PLAIN;
}

static void
op_alloc(struct field *f)
{
    for (unsigned size = 1; size <= f->g.n + 1; size++) {
        for (unsigned k = 0; k < nfits(f); k++) {
            /* the last byte of the first size, the first of the last */
            size_t bytes = (size - (k == 0)) * f->q + (k == 0);
            vm_flag_t fit = request_fits[k];
            uint16_t starts = layout_places(f->now, f->g.n, size);
            uintptr_t addr = 0;
            int err = vmem_alloc(f->vm, bytes, VM_NOSLEEP | fit, &addr);

            expect_outcome(f, "vmem_alloc", size, fit, starts, err, addr,
                           false);
            addr = 0;
            err = vmem_xalloc(f->vm, bytes, 0, 0, 0, VMEM_ADDR_MIN,
                              VMEM_ADDR_MAX, VM_NOSLEEP | fit, &addr);
            expect_outcome(f, "vmem_xalloc", size, fit, starts, err, addr,
                           true);
        }
    }
    expect(f, f->now, "after all allocations");
}

static void
try_request(struct field *f, const struct request *rq, vm_flag_t fit)
{
    uintptr_t addr = 0;
    int err =
        vmem_xalloc(f->vm, rq->size * f->q, rq->align, rq->phase, rq->nocross,
                    rq->min, rq->max, VM_NOSLEEP | fit, &addr);

    expect_outcome(f, "constrained vmem_xalloc", rq->size, fit,
                   rq->starts & layout_places(f->now, f->g.n, rq->size), err,
                   addr, true);
}

/* One of each sort, with two of the fits, or all with all. */
static void
op_xalloc(struct field *f)
{
    const struct request *rq = f->requests.rq;
    unsigned end, some = f->number;

    for (unsigned i = 0; i < f->requests.count; i = end) {
        end = requests_sort_end(&f->requests, i);
        for (unsigned k = i; f->g.every && k < end; k++) {
            for (unsigned fit = 0; fit < nfits(f); fit++) {
                try_request(f, &rq[k], request_fits[fit]);
            }
        }
        for (unsigned k = 0; !f->g.every && k < 2; k++, some++) {
            try_request(f, &rq[i + some % (end - i)],
                        request_fits[some % nfits(f)]);
        }
    }
    expect(f, f->now, "after all constrained requests");
}

static void
op_xalloc_addr(struct field *f)
{
    for (unsigned at = 0; at < f->g.n; at++) {
        for (unsigned size = 1; size <= f->g.n + 1 - at; size++) {
            uint16_t starts = layout_is_hole(f->now, f->g.n, at, size)
                                  ? layout_mask(at, 1)
                                  : 0;
            int err;

            if (f->addr[at] + (size * f->q - 1) < f->addr[at]) {
                continue; /* wraps: op_bad_arguments */
            }
            err = vmem_xalloc_addr(f->vm, f->addr[at], size * f->q, VM_NOSLEEP);
            expect_outcome(f, "vmem_xalloc_addr", size, 0, starts, err,
                           f->addr[at], true);
        }
    }
    expect(f, f->now, "after all claims");
}

/* Every busy part goes back, each from the whole layout. */
static void
op_free(struct field *f)
{
    for (unsigned at = 0; at < f->g.n; at++) {
        if ((f->now.start >> at & 1) != 0 && layout_is_busy(f->now, at)) {
            free_part(f, at);
            expect(f, layout_free(f->now, f->g.n, f->g.spans, at), "a free");
            f->ops++;
            rebuild(f);
        }
    }
    expect(f, f->now, "after all frees");
}

static void
op_xfreeall(struct field *f)
{
    rebuild(f);
    expect(f, f->now, "rebuilt");
    f->ops++;
}

/* ---- what must be reported ---------------------------------------------- */

#define REPORTED(f, expr, ...)          \
    do {                                \
        CHECK_PANIC(expr, __VA_ARGS__); \
        (f)->ops++;                     \
    } while (0)

/* A free of anything but what is live: near the arena, far off, askew. */
static void
bad_free(struct field *f, enum way way, uintptr_t addr, size_t size)
{
    char text[KVA_MESSAGE_MAX];

    if (book_message(&f->book, way, addr, size, text)) {
        REPORTED(f,
                 way == BY_XFREE ? vmem_xfree(f->vm, addr, size)
                                 : vmem_free(f->vm, addr, size),
                 "%s", text);
        expect_seen(f, f->now, "a bad free");
    }
}

static void
op_bad_free(struct field *f)
{
    for (unsigned way = 0; way < WAYS; way++) {
        for (unsigned size = 1; size <= f->g.n + 1; size++) {
            for (unsigned at = 0; at < f->g.n; at++) {
                bad_free(f, (enum way)way, f->addr[at], size * f->q);
            }
            bad_free(f, (enum way)way, f->addr[0] - f->q, size * f->q);
            bad_free(f, (enum way)way, f->addr[f->g.n - 1] + f->q, size * f->q);
            bad_free(f, (enum way)way, f->addr[0] ^ (uintptr_t)1 << 28,
                     size * f->q);
        }
    }
    expect(f, f->now, "bad frees");
}

static void
op_misaligned(struct field *f)
{
    for (unsigned at = 0; f->q > 1 && at < f->g.n; at++) {
        size_t bytes = layout_size(f->now, f->g.n, at) * f->q;
        uintptr_t addr = f->addr[at] + (at % 2 == 0 ? 1 : f->q / 2);

        bad_free(f, BY_FREE, addr, bytes);
        bad_free(f, BY_XFREE, addr, bytes);
        REPORTED(f, (void)vmem_xalloc_addr(f->vm, addr, f->q, VM_NOSLEEP),
                 "vmem_xalloc_addr: arena top: 0x%lx: expected whole quanta "
                 "that do not wrap, found size %zu",
                 (unsigned long)addr, f->q);
    }
    expect(f, f->now, "misaligned addresses");
}

/* One for each argument that can be wrong; all combinations of them are in
 * tests/misuse/vmem_arguments.c. */
static void
op_bad_arguments(struct field *f)
{
    uintptr_t addr = 0, first = f->addr[0];
    size_t q = f->q;

#define HEAD "vmem_xalloc: arena top: 0x0: expected "
#define XALLOC(size, align, phase, nocross, min, max, flags, ...)            \
    REPORTED(f,                                                              \
             (void)vmem_xalloc(f->vm, size, align, phase, nocross, min, max, \
                               flags, &addr),                                \
             __VA_ARGS__)
    XALLOC(0, 0, 0, 0, 0, VMEM_ADDR_MAX, VM_NOSLEEP,
           HEAD "a size above 0, found size 0");
    XALLOC(q, 3 * q, 0, 0, 0, VMEM_ADDR_MAX, VM_NOSLEEP,
           HEAD "align 0 or a power of two, found align %zu", 3 * q);
    XALLOC(q, q, q, 0, 0, VMEM_ADDR_MAX, VM_NOSLEEP,
           HEAD "phase below align %zu, found phase %zu", q, q);
    XALLOC(2 * q, 0, 0, q, 0, VMEM_ADDR_MAX, VM_NOSLEEP,
           HEAD "nocross of at least size %zu, found nocross %zu", 2 * q, q);
    XALLOC(q, 0, 0, 0, first + 1, first, VM_NOSLEEP,
           "vmem_xalloc: arena top: 0x%lx: expected minaddr at most maxaddr "
           "0x%lx, found more",
           (unsigned long)first + 1, (unsigned long)first);
    XALLOC(q, 0, 0, 0, 0, VMEM_ADDR_MAX, 0,
           HEAD "one of VM_SLEEP and VM_NOSLEEP, found flags 0x0");
    XALLOC(q, 0, 0, 0, 0, VMEM_ADDR_MAX, VM_NOSLEEP | 0x80000000u,
           HEAD "flags for a request, found flags 0x80000002");
    REPORTED(f, (void)vmem_alloc(f->vm, 0, VM_NOSLEEP, &addr),
             "vmem_alloc: arena top: 0x0: expected a size above 0, found size "
             "0");
    REPORTED(f, vmem_free(f->vm, first, 0),
             "vmem_free: arena top: 0x%lx: expected a size above 0, found size "
             "0",
             (unsigned long)first);
    REPORTED(f,
             (void)vmem_xalloc_addr(f->vm, (uintptr_t)0 - q, 2 * q, VM_NOSLEEP),
             "vmem_xalloc_addr: arena top: 0x%lx: expected whole quanta that "
             "do not wrap, found size %zu",
             (unsigned long)((uintptr_t)0 - q), 2 * q);
    expect(f, f->now, "bad arguments");
}

/* A span that covers any quanta of one there is; the report names one. */
static void
op_bad_add(struct field *f)
{
    struct kva_posix_catch c;

    for (unsigned i = 0; i < f->g.n * f->g.n; i++) {
        uintptr_t addr = f->addr[i % f->g.n];
        size_t bytes = (1 + i / f->g.n) * f->q;

        if (i % f->g.n + i / f->g.n >= f->g.n) {
            continue;
        }
        if (KVA_POSIX_TRY(&c)) {
            (void)vmem_add(f->vm, addr, bytes, VM_NOSLEEP);
            kva_posix_catch_end(&c);
            FAIL("%s: a span added over another", describe(f));
        }
        if (!book_is_overlap(&f->book, addr, bytes, c.message)) {
            FAIL("%s: %s", describe(f), c.message);
        }
        CHECK_EQ(c.locks, 0);
        f->ops++;
    }
    expect(f, f->now, "overlapping spans");
}

static void
op_destroy_live(struct field *f)
{
    uintptr_t addr;
    unsigned at = 0;

    if (f->now.busy == 0) {
        return;
    }
    while (!layout_is_busy(f->now, at)) {
        at++;
    }
    addr = f->addr[at];
    REPORTED(f, vmem_destroy(f->vm),
             "vmem_destroy: arena top: 0x%lx: expected no live range, found "
             "%zu bytes live, the first %zu here",
             (unsigned long)addr,
             (size_t)__builtin_popcount(f->now.busy) * f->q,
             layout_size(f->now, f->g.n, at) * f->q);
    expect(f, f->now, "the end of an arena with live ranges");
}

static op_t *const ops[] = {
    op_alloc,    op_xalloc,     op_xalloc_addr,   op_free,    op_xfreeall,
    op_bad_free, op_misaligned, op_bad_arguments, op_bad_add, op_destroy_live,
};

/* ---- running ------------------------------------------------------------ */

/* The spans, in the order of their addresses. */
static void
make_spans(struct field *f)
{
    uintptr_t addr = f->g.origin << f->g.shift;

    for (unsigned at = 0; at < f->g.n; at++) {
        unsigned size = 1;

        addr += f->g.apart && at > 0 && (f->g.spans >> at & 1) != 0 ? f->q : 0;
        f->addr[at] = addr;
        addr += f->q;
        if ((f->g.spans >> at & 1) == 0) {
            continue;
        }
        while (at + size < f->g.n && (f->g.spans >> (at + size) & 1) == 0) {
            size++;
        }
        CHECK_EQ(vmem_add(f->vm, f->addr[at], size * f->q, VM_NOSLEEP), 0);
        f->book.span[f->book.nspan++] =
            (struct range){ f->addr[at], size * f->q, false };
    }
}

static unsigned long
run(const struct ground *g)
{
    static struct field field;
    struct field *f = &field;
    unsigned count = 0;

    memset(f, 0, sizeof(*f));
    f->g = *g;
    f->q = (size_t)1 << g->shift;
    f->vm = vmem_create("top", 0, 0, f->q, NULL, NULL, NULL, 0,
                        VM_NOSLEEP | g->flags, KVA_IPL_NONE);
    CHECK(f->vm != NULL);
    f->book.vm = f->vm;
    f->book.name = "top";
    f->book.quantum = f->q;
    make_spans(f);
    requests_make(&f->requests, g->n, f->addr, f->q, !g->every);
    f->all = layouts_all(g->n, g->spans, &count);
    CHECK(f->all != NULL);
    CHECK_EQ(count, g->nlayouts);
    for (f->number = 0; f->number < count; f->number++) {
        f->now = f->all[f->number];
        build(f);
        expect(f, f->now, "built");
        for (unsigned i = 0; i < KVA_COUNT(ops); i++) {
            ops[i](f);
        }
        vmem_xfreeall(f->vm);
    }
    vmem_destroy(f->vm);
    free(f->all);
    requests_free(&f->requests);
    return f->ops;
}

/* Flags at creation, each with everything. */
static const vm_flag_t flag_rows[] = {
    0,
    VM_INDEX,
};

static void
run_rows(struct ground g)
{
    for (unsigned i = 0; i < KVA_COUNT(flag_rows); i++) {
        g.flags = flag_rows[i];
        CHECK_GT(run(&g), 0);
    }
}

/* Not aligned to anything, but where alignment and nocross make a difference
 * in the middle. */
#define MIDDLE ((uintptr_t)0x30005)

/* Fibonacci's numbers for the lengths that tests ask for. */
static unsigned
layouts_of(unsigned long n)
{
    static const unsigned fibonacci[N_MAX + 1] = {
        1, 2, 5, 13, 34, 89, 233, 610, 1597, 4181, 10946, 28657, 75025
    };

    CHECK_LE(n, N_MAX);
    CHECK_EQ(layouts_count((unsigned)n), fibonacci[n]);
    return fibonacci[n];
}

static void
run_one_span(struct test_ctx *t, unsigned shift, uintptr_t origin, bool every)
{
    PORT(NULL);
    run_rows((struct ground){
        .n = (unsigned)t->count,
        .shift = shift,
        .origin = origin,
        .spans = 1,
        .every = every,
        .nlayouts = layouts_of(t->count),
    });
}

static void
one_span_of_pages(struct test_ctx *t)
{
    run_one_span(t, 12, MIDDLE, false);
}

static void
one_span_of_bytes(struct test_ctx *t)
{
    run_one_span(t, 0, MIDDLE, false);
}

static void
one_span_at_zero(struct test_ctx *t)
{
    run_one_span(t, 12, 0, false);
}

static void
one_span_at_the_top(struct test_ctx *t)
{
    run_one_span(t, 12, (UINTPTR_MAX >> 12) - (t->count - 1), false);
}

static void
every_request(struct test_ctx *t)
{
    run_one_span(t, 12, MIDDLE, true);
}

/* Two spans: the product of what each of them may be, also if they touch. */
static void
two_spans(struct test_ctx *t)
{
    unsigned n = (unsigned)t->count;

    PORT(NULL);
    for (unsigned first = 1; first < n; first++) {
        for (unsigned apart = 0; apart < 2; apart++) {
            run_rows((struct ground){
                .n = n,
                .shift = apart == 0 ? 12 : 0,
                .origin = MIDDLE,
                .spans = (uint16_t)(1u | 1u << first),
                .apart = apart != 0,
                .nlayouts = layouts_of(first) * layouts_of(n - first),
            });
        }
    }
}

/* t->count is the number of quanta. */
const struct test exhaustive_tests[] = {
    TEST_LEAST("model", one_span_of_pages, 4, 6, 8, 12),
    TEST_LEAST("model", one_span_of_bytes, 4, 5, 7, 12),
    TEST_COUNT("model", one_span_at_zero, 4, 6, 8),
    TEST_COUNT("model", one_span_at_the_top, 4, 6, 8),
    TEST_LEAST("model", every_request, 2, 3, 4, 6),
    TEST_LEAST("model", two_spans, 2, 3, 6, 8),
    TEST_END
};
