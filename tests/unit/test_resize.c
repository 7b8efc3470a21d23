/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Trim, split, join and extend: every one of them from every layout of a small
 * span, against a row of letters; at random in a large one; at the ends of the
 * address space, in imported spans, with a waiter; every misuse; and with every
 * fault, after which the arena is as it was.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/harness/test.h"
#include "tests/misuse/digest.h"
#include "vmem/index_node.h"
#include "vmem/indexed.h"

#define Q ((size_t)4096)
#define BASE ((uintptr_t)0x40000000)

/* VM_INDEX or 0: of the arenas to come. */
static vm_flag_t index_flag;

static vmem_t *
arena_new(uintptr_t base, size_t size, size_t qcache_max)
{
    vmem_t *vm = vmem_create("test", base, size, Q, NULL, NULL, NULL,
                             qcache_max, VM_NOSLEEP | index_flag, KVA_IPL_NONE);

    CHECK(vm != NULL);
    return vm;
}

/* ---- a span as a row of numbers ----------------------------------------- */

/*
 * id[i]: whose quantum i is; 0: nobody's.  Segments of one row have numbers of
 * their own, so two side by side differ.
 */
#define CELLS_MAX 512u

/* Where cell 0 is, and how long a cell is. */
static uintptr_t origin = BASE;
static size_t cell = Q;

static uintptr_t
at_cell(unsigned i)
{
    return origin + i * cell;
}

struct row {
    unsigned n, last; /* cells; the highest number in use */
    unsigned id[CELLS_MAX];
};

/* Cells from i on that have its number. */
static unsigned
run(const struct row *r, unsigned i)
{
    unsigned len = 1;

    while (i + len < r->n && r->id[i + len] == r->id[i]) {
        len++;
    }
    return len;
}

static void
fill(struct row *r, unsigned i, unsigned len, unsigned id)
{
    for (unsigned k = 0; k < len; k++) {
        r->id[i + k] = id;
    }
}

static bool
all_free(const struct row *r, unsigned i, unsigned len)
{
    for (unsigned k = 0; k < len; k++) {
        if (r->id[i + k] != 0) {
            return false;
        }
    }
    return true;
}

struct seen {
    const struct row *r;
    unsigned at;
    bool wrong;
};

static void
see(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    struct seen *s = arg;
    bool is_free = type == VMEM_FREE;

    if (s->wrong || s->at >= s->r->n || addr != at_cell(s->at) ||
        size != run(s->r, s->at) * cell || is_free != (s->r->id[s->at] == 0)) {
        s->wrong = true;
        return;
    }
    s->at += (unsigned)(size / cell);
}

/* The arena's one span looks like the row, and every count is right. */
static void
row_check(vmem_t *vm, const struct row *r)
{
    size_t busy = 0, holes = 0, bytes = 0;
    struct seen s = { .r = r };
    struct kva_vmem_stat st;

    CHECK_PTR(vmem_check(vm), NULL);
    vmem_walk(vm, VMEM_ALLOC | VMEM_FREE, see, &s);
    CHECK(!s.wrong && s.at == r->n);
    for (unsigned i = 0; i < r->n; i += run(r, i)) {
        busy += r->id[i] != 0;
        holes += r->id[i] == 0;
        bytes += r->id[i] != 0 ? run(r, i) * cell : 0;
    }
    vmem_stat(vm, &st);
    CHECK_EQ(st.tags_busy, busy);
    CHECK_EQ(st.tags_free, holes);
    CHECK_EQ(st.mem_inuse, bytes);
}

/* An arena that looks like the row. */
static vmem_t *
row_build(const struct row *r)
{
    vmem_t *vm = arena_new(BASE, r->n * Q, 0);

    for (unsigned i = 0; i < r->n; i += run(r, i)) {
        if (r->id[i] != 0) {
            CHECK_EQ(
                vmem_xalloc_addr(vm, at_cell(i), run(r, i) * cell, VM_NOSLEEP),
                0);
        }
    }
    return vm;
}

/* ---- an operation on both ----------------------------------------------- */

enum what {
    TRIM,
    EXTEND,
    SPLIT,
    JOIN,
    WHATS
};

/* [i, i + len) becomes [j, j + newlen); a split is before j. */
struct change {
    enum what what;
    unsigned i, len, j, newlen;
};

/* Does it to the row; returns what the arena must answer. */
static int
row_change(struct row *r, const struct change *c)
{
    unsigned id = r->id[c->i], end = c->i + c->len;

    switch (c->what) {
    case TRIM:
        fill(r, c->i, c->len, 0);
        fill(r, c->j, c->newlen, id);
        return 0;
    case EXTEND:
        if (c->j + c->newlen > r->n || !all_free(r, c->j, c->i - c->j) ||
            !all_free(r, end, c->j + c->newlen - end)) {
            return KVA_ENOMEM;
        }
        fill(r, c->j, c->newlen, id);
        return 0;
    case SPLIT:
        fill(r, c->j, end - c->j, ++r->last);
        return 0;
    default:
        fill(r, end, run(r, end), id);
        return 0;
    }
}

static int
arena_change(vmem_t *vm, const struct row *r, const struct change *c)
{
    uintptr_t addr = at_cell(c->i), newaddr = at_cell(c->j);
    size_t size = c->len * cell, newsize = c->newlen * cell;

    switch (c->what) {
    case TRIM:
        return vmem_xtrim(vm, addr, size, newaddr, newsize);
    case EXTEND:
        return vmem_xextend(vm, addr, size, newaddr, newsize);
    case SPLIT:
        return vmem_xsplit(vm, addr, size, newaddr - addr);
    default:
        return vmem_xjoin(vm, addr, size, run(r, c->i + c->len) * cell);
    }
}

/* Tags it must take, or give if negative. */
static long
tags_taken(const struct row *before, const struct row *after)
{
    long n = 0;

    for (unsigned i = 0; i < after->n; i += run(after, i)) {
        n++;
    }
    for (unsigned i = 0; i < before->n; i += run(before, i)) {
        n--;
    }
    return n;
}

/* ---- every layout ------------------------------------------------------- */

/* One change of a fresh arena, then everything comes free again. */
static void
try_change(const struct row *before, const struct change *c)
{
    vmem_t *vm = row_build(before);
    struct kva_vmem_stat st;
    struct row r = *before;
    size_t spare;
    int err;

    vmem_stat(vm, &st);
    spare = st.tags_spare;
    err = arena_change(vm, before, c);
    CHECK_EQ(err, row_change(&r, c));
    row_check(vm, &r);
    vmem_stat(vm, &st);
    CHECK_EQ(st.resize, err == 0);
    CHECK_EQ((long)spare - (long)st.tags_spare, tags_taken(before, &r));
    for (unsigned i = 0; i < r.n; i += run(&r, i)) {
        if (r.id[i] != 0) {
            vmem_xfree(vm, at_cell(i), run(&r, i) * cell);
        }
    }
    CHECK_EQ(vmem_size(vm, VMEM_MAXFREE), before->n * Q);
    vmem_destroy(vm);
}

/* Every change of the segment at i, so many. */
static unsigned long
each_change(const struct row *r, unsigned i)
{
    unsigned len = run(r, i), end = i + len;
    struct change c = { TRIM, i, len, 0, 0 };
    unsigned long n = 0;

    for (c.j = i; c.j < end; c.j++) {
        for (c.newlen = 1; c.j + c.newlen <= end; c.newlen++, n++) {
            try_change(r, &c);
        }
    }
    c.what = SPLIT;
    for (c.j = i + 1; c.j < end; c.j++, n++) {
        try_change(r, &c);
    }
    c.what = EXTEND; /* up to one past the span */
    for (c.j = 0; c.j <= i; c.j++) {
        for (c.newlen = end - c.j; c.j + c.newlen <= r->n + 1;
             c.newlen++, n++) {
            try_change(r, &c);
        }
    }
    c.what = JOIN;
    if (end < r->n && r->id[end] != 0) {
        try_change(r, &c);
        n++;
    }
    return n;
}

/*
 * Row number k of n cells: two bits for each cell, of which the low one says
 * busy and the high one that a busy cell goes on.  False: no row, or one that
 * has another number too.
 */
static bool
row_make(struct row *r, unsigned n, unsigned long k)
{
    memset(r, 0, sizeof(*r));
    r->n = n;
    for (unsigned i = 0; i < n; i++, k >>= 2) {
        switch (k & 3) {
        case 0:
            r->id[i] = 0;
            break;
        case 1:
            r->id[i] = ++r->last;
            break;
        case 3:
            if (i == 0 || r->id[i - 1] == 0) {
                return false;
            }
            r->id[i] = r->id[i - 1];
            break;
        default:
            return false;
        }
    }
    return true;
}

/* Every layout of t->count quanta: 5, 13, 34, 89, 233 ... from two quanta on,
 * every second Fibonacci number. */
static void
each_layout(struct test_ctx *t)
{
    unsigned long layouts = 0, changes = 0, fib[2] = { 1, 2 };

    for (unsigned long k = 0; k >> (2 * t->count) == 0; k++) {
        struct row r;

        if (!row_make(&r, (unsigned)t->count, k)) {
            continue;
        }
        layouts++;
        for (unsigned i = 0; i < r.n; i += run(&r, i)) {
            changes += r.id[i] != 0 ? each_change(&r, i) : 0;
        }
    }
    for (unsigned long i = 1; i < t->count; i++) {
        fib[0] += fib[1];
        fib[1] += fib[0];
    }
    CHECK_EQ(layouts, fib[1]);
    CHECK_GT(changes, layouts);
}

static void
every_layout(struct test_ctx *t)
{
    PORT(NULL);
    each_layout(t);
    index_flag = VM_INDEX;
    each_layout(t);
}

/* ---- many segments ------------------------------------------------------ */

/* A cell at random that begins a segment (or a hole); it and its length. */
static unsigned
pick(struct test_ctx *t, const struct row *r)
{
    unsigned i = (unsigned)test_rand_below(t, r->n);

    while (i > 0 && r->id[i - 1] == r->id[i]) {
        i--;
    }
    return i;
}

/* A change of the segment at i at random; false: there is none of that kind. */
static bool
change_make(struct test_ctx *t, const struct row *r, unsigned i,
            struct change *c)
{
    unsigned len = run(r, i), end = i + len, below, above;

    *c =
        (struct change){ (enum what)test_rand_below(t, WHATS), i, len, i, len };
    switch (c->what) {
    case TRIM:
        c->j = i + (unsigned)test_rand_below(t, len);
        c->newlen = 1 + (unsigned)test_rand_below(t, end - c->j);
        return true;
    case EXTEND:
        below = (unsigned)test_rand_below(t, 4);
        above = (unsigned)test_rand_below(t, 4);
        c->j = below > i ? 0 : i - below;
        c->newlen = end + above - c->j;
        return true;
    case SPLIT:
        c->j = i + 1 + (unsigned)test_rand_below(t, len);
        return c->j < end;
    default:
        return end < r->n && r->id[end] != 0;
    }
}

/* What the index has in stock goes. */
static void
stock_empty(vmem_t *vm)
{
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    if (vm->index != NULL) {
        kva__node_flush(&vm->index->segments);
    }
    kva_port_unlock(&vm->lock, irq);
}

/* Allocate, free and change at random, so often.  faults: one change in four is
 * made with no memory to be had, and may be refused for that. */
static void
changes(struct test_ctx *t, vmem_t *vm, bool faults)
{
    unsigned long done[WHATS] = { 0 }, refused = 0;
    static struct row r, after;

    memset(&r, 0, sizeof(r));
    r.n = CELLS_MAX;
    for (unsigned long n = 0; n < t->count; n++) {
        unsigned i = pick(t, &r), len = run(&r, i);
        struct change c;

        if (r.id[i] == 0) {
            len = 1 + (unsigned)test_rand_below(t, len < 9 ? len : 9);
            CHECK_EQ(vmem_xalloc_addr(vm, at_cell(i), len * cell, VM_NOSLEEP),
                     0);
            fill(&r, i, len, ++r.last);
        } else if (test_random_one_in(&t->random, 6)) {
            vmem_xfree(vm, at_cell(i), len * cell);
            fill(&r, i, len, 0);
        } else if (change_make(t, &r, i, &c)) {
            bool faulty = faults && test_random_one_in(&t->random, 4);
            int err, want;

            after = r;
            want = row_change(&after, &c);
            if (faulty) {
                stock_empty(vm);
                kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
            }
            err = arena_change(vm, &r, &c);
            kva_posix_fault_disarm(KVA_POSIX_ANY);
            CHECK(err == want || (faulty && err == KVA_ENOMEM));
            if (err == 0) {
                r = after;
                done[c.what]++;
            } else {
                refused++;
            }
        }
        if (n % 256 == 0 || (faults && n % 16 == 0)) {
            row_check(vm, &r);
        }
    }
    row_check(vm, &r);
    for (unsigned what = 0; what < WHATS; what++) {
        CHECK_GT(done[what], t->count / 200);
    }
    CHECK_GT(refused, 0);
    vmem_xfreeall(vm);
    CHECK_EQ(vmem_size(vm, VMEM_MAXFREE), CELLS_MAX * cell);
    vmem_destroy(vm);
}

static void
random_changes(struct test_ctx *t)
{
    PORT(NULL);
    changes(t, arena_new(BASE, CELLS_MAX * Q, 0), false);
    index_flag = VM_INDEX;
    changes(t, arena_new(BASE, CELLS_MAX * Q, 0), false);
}

static void
random_changes_with_faults(struct test_ctx *t)
{
    PORT(NULL);
    changes(t, arena_new(BASE, CELLS_MAX * Q, 0), true);
    index_flag = VM_INDEX;
    changes(t, arena_new(BASE, CELLS_MAX * Q, 0), true);
}

#if KVA_WORD_64

/* Segments so far apart that a leaf of the index does not reach them all: cells
 * of 2^26 to 2^35 quanta. */
static void
far_apart(struct test_ctx *t)
{
    PORT(NULL);
    origin = (uintptr_t)1 << 46;
    for (unsigned shift = 26; shift <= 35; shift++) {
        vmem_t *vm;

        cell = (size_t)1 << shift;
        vm = vmem_create("far", origin, CELLS_MAX * cell, 1, NULL, NULL, NULL,
                         0, VM_NOSLEEP | VM_INDEX, KVA_IPL_NONE);
        CHECK(vm != NULL);
        changes(t, vm, true);
    }
}
#endif

/* ---- walks meanwhile ---------------------------------------------------- */

/* A walk that lets others in. */
struct stroll {
    struct test_ctx *t;
    vmem_t *vm;
    struct row r;
    unsigned at; /* cells before this were seen */
    unsigned long changed;
};

static void
change_one(struct stroll *s)
{
    unsigned i = pick(s->t, &s->r);
    struct change c;
    int err;

    if (s->r.id[i] != 0 && change_make(s->t, &s->r, i, &c)) {
        err = arena_change(s->vm, &s->r, &c);
        CHECK_EQ(err, row_change(&s->r, &c));
        s->changed += err == 0;
    }
}

static void
see_and_change(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    struct stroll *s = arg;
    unsigned i = (unsigned)((addr - origin) / cell);

    (void)type;
    CHECK_GE(i, s->at);
    s->at = i + (unsigned)(size / cell);
    for (unsigned n = 0; n < 8; n++) {
        change_one(s);
    }
}

/* It goes up, and sees no address twice, whatever changes. */
static void
walks_see_nothing_twice(struct test_ctx *t)
{
    static struct stroll s;

    PORT(NULL);
    for (unsigned k = 0; k < 2; k++) {
        index_flag = k == 0 ? 0 : VM_INDEX;
        for (unsigned long n = 0; n < t->count; n++) {
            memset(&s, 0, sizeof(s));
            s.t = t;
            s.r.n = 200;
            for (unsigned i = 0; i < 200; i += 5) {
                fill(&s.r, i, 1 + i / 5 % 4, ++s.r.last);
            }
            s.vm = row_build(&s.r);
            vmem_walk(s.vm, VMEM_ALLOC | VMEM_FREE | VMEM_REENTRANT,
                      see_and_change, &s);
            CHECK_GT(s.changed, 10);
            row_check(s.vm, &s.r);
            vmem_xfreeall(s.vm);
            vmem_destroy(s.vm);
        }
    }
}

/* ---- ends, spans, rounding ---------------------------------------------- */

/* The last byte of all, and the first. */
static void
ends_of_the_address_space(struct test_ctx *t)
{
    uintptr_t top = 0 - 8 * Q;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_new(top, 8 * Q, 0);
    CHECK_EQ(vmem_xalloc_addr(vm, top, 8 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xtrim(vm, top, 8 * Q, top + 2 * Q, 4 * Q), 0);
    CHECK_EQ(vmem_size(vm, VMEM_FREE), 4 * Q);
    CHECK_EQ(vmem_xextend(vm, top + 2 * Q, 4 * Q, top + 2 * Q, 6 * Q), 0);
    CHECK_EQ(vmem_xtrim(vm, top + 2 * Q, 6 * Q, 0 - Q, Q), 0);
    CHECK_EQ(vmem_xextend(vm, 0 - Q, Q, top, 8 * Q), 0);
    CHECK_EQ(vmem_xsplit(vm, top, 8 * Q, 7 * Q), 0);
    vmem_xfree(vm, top, 7 * Q);
    CHECK_EQ(vmem_xextend(vm, 0 - Q, Q, top - Q, 9 * Q), KVA_ENOMEM);
    CHECK_MISUSE(vm, (void)vmem_xextend(vm, 0 - Q, Q, 0 - Q, 2 * Q),
                 "vmem_xextend: arena test: 0x%lx: expected a range that holds "
                 "0x%lx of 4096 bytes and does not wrap, found size 8192",
                 (unsigned long)(0 - Q), (unsigned long)(0 - Q));
    vmem_xfree(vm, 0 - Q, Q);
    CHECK_EQ(vmem_size(vm, VMEM_MAXFREE), 8 * Q);
    vmem_destroy(vm);
    vm = arena_new(0, 8 * Q, 0);
    CHECK_EQ(vmem_xalloc_addr(vm, 0, 8 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xtrim(vm, 0, 8 * Q, 7 * Q, Q), 0);
    CHECK_EQ(vmem_xextend(vm, 7 * Q, Q, 0, 8 * Q), 0);
    CHECK_EQ(vmem_xtrim(vm, 0, 8 * Q, 0, Q), 0);
    vmem_xfree(vm, 0, Q);
    vmem_destroy(vm);
}

/* Sizes are rounded up as those of vmem_xfree are; nothing to do is done. */
static void
sizes_are_rounded(struct test_ctx *t)
{
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_new(BASE, 16 * Q, 0);
    CHECK_EQ(vmem_xalloc_addr(vm, BASE, 6 * Q - 1, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xtrim(vm, BASE, 6 * Q - 5, BASE + Q, 3 * Q + 1), 0);
    CHECK_EQ(vmem_size(vm, VMEM_ALLOC), 4 * Q);
    CHECK_EQ(vmem_xtrim(vm, BASE + Q, 4 * Q, BASE + Q, 4 * Q - 1), 0);
    CHECK_EQ(vmem_xextend(vm, BASE + Q, 4 * Q, BASE + Q, 3 * Q + 1), 0);
    CHECK_EQ(vmem_xsplit(vm, BASE + Q, 3 * Q + 1, 2 * Q), 0);
    CHECK_EQ(vmem_xjoin(vm, BASE + Q, 2 * Q - 1, 2 * Q - 1), 0);
    CHECK_EQ(vmem_xextend(vm, BASE + Q, 4 * Q, BASE, 7 * Q + 1), 0);
    CHECK_EQ(vmem_size(vm, VMEM_ALLOC), 8 * Q);
    vmem_xfree(vm, BASE, 8 * Q);
    CHECK_EQ(vmem_size(vm, VMEM_MAXFREE), 16 * Q);
    vmem_destroy(vm);
}

/* A span that was imported stays while something is in it, and then goes. */
static void
imported_spans(struct test_ctx *t)
{
    vmem_t *source, *vm;
    uintptr_t a = 0;

    (void)t;
    PORT(NULL);
    source = arena_new(BASE, 64 * Q, 0);
    vm = vmem_create("child", 0, 0, Q, vmem_alloc, vmem_free, source, 0,
                     VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(vm != NULL);
    CHECK_EQ(vmem_xalloc(vm, 8 * Q, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                         VM_NOSLEEP, &a),
             0);
    CHECK_EQ(vmem_xtrim(vm, a, 8 * Q, a + 3 * Q, Q), 0);
    CHECK_EQ(vmem_size(source, VMEM_ALLOC), 8 * Q);
    CHECK_EQ(vmem_size(vm, VMEM_FREE), 7 * Q);
    vmem_xfree(vm, a + 3 * Q, Q);
    CHECK_EQ(vmem_size(source, VMEM_ALLOC), 0);
    vmem_destroy(vm);
    vmem_destroy(source);
}

/* Two spans side by side: segments do not reach from one into the other. */
static void
neighbouring_spans(struct test_ctx *t)
{
    vmem_t *vm;
    uint64_t before;

    (void)t;
    PORT(NULL);
    vm = arena_new(BASE, 8 * Q, 0);
    CHECK_EQ(vmem_add(vm, BASE + 8 * Q, 8 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xalloc_addr(vm, BASE + 6 * Q, 2 * Q, VM_NOSLEEP), 0);
    before = digest(vm);
    CHECK_EQ(vmem_xextend(vm, BASE + 6 * Q, 2 * Q, BASE + 6 * Q, 3 * Q),
             KVA_ENOMEM);
    CHECK_EQ(vmem_xextend(vm, BASE + 6 * Q, 2 * Q, BASE + 5 * Q, 4 * Q),
             KVA_ENOMEM);
    CHECK_EQ(digest(vm), before);
    CHECK_EQ(vmem_xalloc_addr(vm, BASE + 8 * Q, Q, VM_NOSLEEP), 0);
    before = digest(vm);
    CHECK_EQ(vmem_xjoin(vm, BASE + 6 * Q, 2 * Q, Q), KVA_EINVAL);
    CHECK_EQ(digest(vm), before);
    CHECK_EQ(vmem_xextend(vm, BASE + 6 * Q, 2 * Q, BASE, 8 * Q), 0);
    CHECK_EQ(vmem_xextend(vm, BASE + 8 * Q, Q, BASE + 8 * Q, 8 * Q), 0);
    CHECK_EQ(vmem_size(vm, VMEM_FREE), 0);
    vmem_xfreeall(vm);
    vmem_destroy(vm);
}

#if KVA_TIER >= 3
static vmem_t *waited;

/* Whoever is not woken by it goes on without. */
static void
trim_while_waiting(void *arg, const void *channel)
{
    (void)arg;
    (void)channel;
    CHECK_EQ(vmem_xtrim(waited, BASE, 16 * Q, BASE + 6 * Q, 7 * Q), 0);
    (void)kva_posix_cancel_waits();
}

/* What a trim frees at either end wakes who waits for as much. */
static void
trim_wakes(struct test_ctx *t)
{
    static const size_t wanted[] = { 6, 3, 7 };

    (void)t;
    PORT(NULL);
    kva_posix_clock_virtual(true); /* nobody looks again by himself */
    kva_posix_wait_hook(trim_while_waiting, NULL);
    for (unsigned i = 0; i < KVA_COUNT(wanted); i++) {
        struct kva_vmem_stat st;
        uintptr_t a = 0;

        waited = arena_new(BASE, 16 * Q, 0);
        CHECK_EQ(vmem_xalloc_addr(waited, BASE, 16 * Q, VM_NOSLEEP), 0);
        CHECK_EQ(vmem_alloc(waited, wanted[i] * Q, VM_SLEEP, &a),
                 wanted[i] <= 6 ? 0 : KVA_EINTR);
        vmem_stat(waited, &st);
        CHECK_EQ(st.wait, 1);
        vmem_xfreeall(waited);
        vmem_destroy(waited);
    }
}
#endif

/* ---- misuse ------------------------------------------------------------- */

/* The four, on a range that is wrong in itself; what follows is the report. */
#define EACH(vm, addr, size, ...)                                    \
    CHECK_MISUSE(vm, (void)vmem_xtrim(vm, addr, size, addr, size),   \
                 "vmem_xtrim: arena " __VA_ARGS__);                  \
    CHECK_MISUSE(vm, (void)vmem_xextend(vm, addr, size, addr, size), \
                 "vmem_xextend: arena " __VA_ARGS__);                \
    CHECK_MISUSE(vm, (void)vmem_xjoin(vm, addr, size, Q),            \
                 "vmem_xjoin: arena " __VA_ARGS__)
#define EACH_AND_SPLIT(vm, addr, size, ...)                \
    EACH(vm, addr, size, __VA_ARGS__);                     \
    CHECK_MISUSE(vm, (void)vmem_xsplit(vm, addr, size, Q), \
                 "vmem_xsplit: arena " __VA_ARGS__)

/* What vmem_xfree would report of the range, each of the four does. */
static void
ranges_that_are_not_there(struct test_ctx *t)
{
    unsigned long at = BASE;
    uintptr_t a = 0;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_new(BASE, 64 * Q, 0);
    CHECK_EQ(vmem_xalloc_addr(vm, BASE + 8 * Q, 4 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xalloc_addr(vm, BASE, 4 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_alloc(vm, 4 * Q, VM_NOSLEEP, &a), 0);
    EACH_AND_SPLIT(vm, BASE, 3 * Q,
                   "test: 0x%lx: expected size 16384, found size 12288", at);
    EACH_AND_SPLIT(vm, BASE, 5 * Q,
                   "test: 0x%lx: expected size 16384, found size 20480", at);
    EACH_AND_SPLIT(vm, BASE + Q, 3 * Q,
                   "test: 0x%lx: expected the start of a range, found an "
                   "address inside the one at 0x%lx",
                   at + Q, at);
    EACH_AND_SPLIT(vm, BASE + 40 * Q, 3 * Q,
                   "test: 0x%lx: expected a live range, found a free one",
                   at + 40 * Q);
    EACH_AND_SPLIT(vm, BASE + 80 * Q, 3 * Q,
                   "test: 0x%lx: expected a live range, found an address "
                   "outside every span",
                   at + 80 * Q);
    EACH_AND_SPLIT(vm, a, 4 * Q,
                   "test: 0x%lx: expected a range of vmem_xalloc, found one of "
                   "vmem_alloc",
                   (unsigned long)a);
    EACH_AND_SPLIT(vm, BASE, 0,
                   "test: 0x%lx: expected a size above 0, found size 0", at);
    EACH_AND_SPLIT(vm, BASE, SIZE_MAX,
                   "test: 0x%lx: expected a size that can be rounded up to the "
                   "quantum 4096, found size %zu",
                   at, SIZE_MAX);
    CHECK_MISUSE(vm, (void)vmem_xsplit(vm, BASE + 1, 4 * Q, Q),
                 "vmem_xsplit: arena test: 0x%lx: expected a multiple of the "
                 "quantum 4096, found a misaligned address",
                 at + 1);
    CHECK_MISUSE(vm, (void)vmem_xtrim(vm, BASE + 1, 4 * Q, BASE + Q, Q),
                 "vmem_xtrim: arena test: 0x%lx: expected a multiple of the "
                 "quantum 4096, found a misaligned address",
                 at + 1);
    CHECK_MISUSE(vm, (void)vmem_xextend(vm, BASE + 1, 4 * Q, BASE, 5 * Q),
                 "vmem_xextend: arena test: 0x%lx: expected a multiple of the "
                 "quantum 4096, found a misaligned address",
                 at + 1);
    vmem_free(vm, a, 4 * Q);
    vmem_xfreeall(vm);
    vmem_destroy(vm);
    CHECK_PANIC(
        (void)vmem_xtrim(NULL, BASE, Q, BASE, Q),
        "vmem_xtrim: arena (unnamed): 0x0: expected an arena, found none, "
        "or one that was destroyed");
}

/* The new range does not suit the old one; the second of a join is not
 * there. */
static void
results_that_cannot_be(struct test_ctx *t)
{
    unsigned long at = BASE + 4 * Q;
    uintptr_t a = BASE + 4 * Q;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_new(BASE, 16 * Q, 0);
    CHECK_EQ(vmem_xalloc_addr(vm, a, 4 * Q, VM_NOSLEEP), 0);
#define OUTSIDE(newaddr, newsize)                                          \
    CHECK_MISUSE(vm, (void)vmem_xtrim(vm, a, 4 * Q, newaddr, newsize),     \
                 "vmem_xtrim: arena test: 0x%lx: expected a range within " \
                 "0x%lx of 16384 bytes, found size %zu",                   \
                 (unsigned long)(newaddr), at, (size_t)(newsize))
    OUTSIDE(a - Q, Q);
    OUTSIDE(a, 5 * Q);
    OUTSIDE(a + 3 * Q, 2 * Q);
    OUTSIDE(a + 4 * Q, Q);
    OUTSIDE(a + Q, 0 - Q);
#define WITHIN(newaddr, newsize)                                             \
    CHECK_MISUSE(vm, (void)vmem_xextend(vm, a, 4 * Q, newaddr, newsize),     \
                 "vmem_xextend: arena test: 0x%lx: expected a range that "   \
                 "holds 0x%lx of 16384 bytes and does not wrap, found size " \
                 "%zu",                                                      \
                 (unsigned long)(newaddr), at, (size_t)(newsize))
    WITHIN(a + Q, 4 * Q);
    WITHIN(a, 3 * Q);
    WITHIN(a - Q, 4 * Q);
    WITHIN(a, 0 - Q);
#define MISALIGNED(func, newaddr, newsize)                                \
    CHECK_MISUSE(vm, (void)func(vm, a, 4 * Q, newaddr, newsize),          \
                 #func ": arena test: 0x%lx: expected a multiple of the " \
                       "quantum 4096, found a misaligned address",        \
                 (unsigned long)(newaddr))
    MISALIGNED(vmem_xtrim, a + 1, Q);
    MISALIGNED(vmem_xextend, a - 1, 5 * Q);
#define FIRST(first)                                                        \
    CHECK_MISUSE(vm, (void)vmem_xsplit(vm, a, 4 * Q, first),                \
                 "vmem_xsplit: arena test: 0x%lx: expected first of whole " \
                 "quanta below size 16384, found first %zu",                \
                 at, (size_t)(first))
    FIRST(0);
    FIRST(1);
    FIRST(Q + 1);
    FIRST(4 * Q);
    FIRST(5 * Q);
    CHECK_MISUSE(vm, (void)vmem_xjoin(vm, a, 4 * Q, 2 * Q),
                 "vmem_xjoin: arena test: 0x%lx: expected a live range, found "
                 "a free one",
                 at + 4 * Q);
    CHECK_EQ(vmem_xsplit(vm, a, 4 * Q, 2 * Q), 0);
    CHECK_MISUSE(vm, (void)vmem_xjoin(vm, a, 2 * Q, Q),
                 "vmem_xjoin: arena test: 0x%lx: expected size 8192, found "
                 "size 4096",
                 at + 2 * Q);
    vmem_xfreeall(vm);
    vmem_destroy(vm);
}

/* A live item of the quantum caches answers, with nothing changed; one that was
 * freed, or of another size, is a misuse. */
static void
items_answer(struct test_ctx *t)
{
    unsigned long at;
    uintptr_t a = 0;
    uint64_t before;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_new(BASE, 256 * Q, 8 * Q);
    CHECK_EQ(vmem_alloc(vm, 4 * Q, VM_NOSLEEP, &a), 0);
    at = (unsigned long)a;
    before = digest(vm);
    CHECK_EQ(vmem_xtrim(vm, a, 4 * Q, a, Q), KVA_EINVAL);
    CHECK_EQ(vmem_xsplit(vm, a, 4 * Q, Q), KVA_EINVAL);
    CHECK_EQ(vmem_xjoin(vm, a, 4 * Q, Q), KVA_EINVAL);
    CHECK_EQ(vmem_xextend(vm, a, 4 * Q, a, 5 * Q), KVA_EINVAL);
    CHECK_EQ(digest(vm), before);
    EACH_AND_SPLIT(vm, a, 3 * Q,
                   "test: 0x%lx: expected size 16384, found size 12288", at);
    EACH_AND_SPLIT(vm, a, 9 * Q,
                   "test: 0x%lx: expected size 16384, found size 36864", at);
    EACH_AND_SPLIT(vm, a + Q, 3 * Q,
                   "test: 0x%lx: expected the start of a range, found an "
                   "address inside the one at 0x%lx",
                   at + Q, at);
    EACH_AND_SPLIT(vm, a + 1, 4 * Q,
                   "test: 0x%lx: expected a multiple of the quantum 4096, "
                   "found a misaligned address",
                   at + 1);
    vmem_free(vm, a, 4 * Q);
#if KVA_CONFIG_CHECKS
    EACH_AND_SPLIT(vm, a, 4 * Q,
                   "test: 0x%lx: expected a live range, found a free one", at);
#endif
    (void)vmem_drain(vm, SIZE_MAX, 0);
    EACH_AND_SPLIT(vm, a, 4 * Q,
                   "test: 0x%lx: expected a live range, found a free one", at);
    /* Right beside the caches' windows, segments are as everywhere. */
    CHECK_EQ(vmem_alloc(vm, 4 * Q, VM_NOSLEEP, &a), 0);
    CHECK_EQ(vmem_xalloc_addr(vm, BASE + 128 * Q, 4 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xtrim(vm, BASE + 128 * Q, 4 * Q, BASE + 129 * Q, Q), 0);
    vmem_xfree(vm, BASE + 129 * Q, Q);
    vmem_free(vm, a, 4 * Q);
    vmem_destroy(vm);
}

/* ---- faults ------------------------------------------------------------- */

/* No tag is to be had but from a new page: neither in vm nor in the store. */
static void
tags_gone(vmem_t *vm, vmem_t *eater)
{
    unsigned n = 0;
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    kva__btag_flush(vm);
    kva_port_unlock(&vm->lock, irq);
    kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
    while (vmem_add(eater, (uintptr_t)n++ * 2 * Q, Q, VM_NOSLEEP) == 0) {
        CHECK_LT(n, 10000);
    }
    kva_posix_fault_disarm(KVA_POSIX_ANY);
}

/* busy 2 | what changes 4 | hole 2 | busy 2 | hole 6 */
static const struct {
    struct change c;
    bool wants; /* a tag */
} faulted[] = {
    { { TRIM, 2, 4, 2, 1 }, false },    /* the tail joins the hole behind */
    { { TRIM, 2, 4, 3, 3 }, true },     /* the head is a hole of its own */
    { { TRIM, 2, 4, 3, 1 }, true },     /* both */
    { { TRIM, 8, 2, 9, 1 }, false },    /* the head joins the hole before */
    { { SPLIT, 2, 4, 3, 0 }, true },    /* */
    { { EXTEND, 2, 4, 2, 5 }, false },  /* */
    { { EXTEND, 8, 2, 6, 10 }, false }, /* */
    { { JOIN, 0, 2, 0, 0 }, false },    /* */
};

/* One run with the fault at its nth chance; false when none fired. */
static bool
fault_one(unsigned which, unsigned long nth, bool sticky)
{
    const struct change *c = &faulted[which].c;
    static struct row r, before;
    unsigned long fired;
    vmem_t *vm, *eater;
    uint64_t was;
    int err;

    memset(&r, 0, sizeof(r));
    r.n = 16;
    r.last = 3;
    fill(&r, 0, 2, 1);
    fill(&r, 2, 4, 2);
    fill(&r, 8, 2, 3);
    before = r;
    vm = row_build(&r);
    eater = arena_new(0, 0, 0);
    tags_gone(vm, eater);
    was = digest(vm);
    kva_posix_fault_reset();
    kva_posix_fault_arm(KVA_POSIX_ANY, nth, sticky);
    err = arena_change(vm, &r, c);
    fired = kva_posix_fault_fired(KVA_POSIX_ANY);
    kva_posix_fault_disarm(KVA_POSIX_ANY);
    if (err != 0) {
        CHECK_EQ(err, KVA_ENOMEM);
        CHECK(faulted[which].wants && fired != 0);
        CHECK_EQ(digest(vm), was);
        row_check(vm, &before);
        CHECK_EQ(arena_change(vm, &r, c), 0); /* and now it works */
    }
    CHECK_EQ(row_change(&r, c), 0);
    row_check(vm, &r);
    CHECK_EQ(vmem_check(eater) == NULL, true);
    vmem_xfreeall(vm);
    vmem_destroy(vm);
    vmem_destroy(eater);
    return fired != 0;
}

/* What wants a tag fails, once and for good, and nothing has changed; what
 * wants none passes no place where anything can fail. */
static void
every_fault(struct test_ctx *t)
{
    (void)t;
    PORT(NULL);
    for (unsigned i = 0; i < KVA_COUNT(faulted); i++) {
        unsigned long n = 0;

        for (unsigned sticky = 0; sticky < 2; sticky++) {
            for (unsigned long nth = 1; fault_one(i, nth, sticky != 0); nth++) {
                CHECK_LT(nth, 100);
                n++;
            }
        }
        CHECK_EQ(n != 0, faulted[i].wants);
    }
    CHECK_PTR(kva_vmem_list, NULL);
}

const struct test resize_tests[] = {
    TEST_LEAST("resize", every_layout, 4, 5, 6, 8),
    TEST_COUNT("resize", random_changes, 20000, 200000, 5000000),
    TEST_COUNT("resize", random_changes_with_faults, 4000, 40000, 500000),
#if KVA_WORD_64
    TEST_COUNT("resize", far_apart, 4000, 20000, 200000),
#endif
    TEST_COUNT("resize", walks_see_nothing_twice, 20, 500, 10000),
    TEST("resize", ends_of_the_address_space),
    TEST("resize", sizes_are_rounded),
    TEST("resize", imported_spans),
    TEST("resize", neighbouring_spans),
#if KVA_TIER >= 3
    TEST("resize", trim_wakes),
#endif
    TEST("resize", ranges_that_are_not_there),
    TEST("resize", results_that_cannot_be),
    TEST("resize", items_answer),
    TEST("resize", every_fault),
    TEST_END
};
