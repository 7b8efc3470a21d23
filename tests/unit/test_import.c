/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Imports by request: constraints go down to the root of a tree of arenas, and
 * what comes back satisfies them; limits, import quanta, spans that join and
 * spans that go back.
 *
 * Roots are full but for few holes, so that what a request gets tells what the
 * root was asked for.
 */
#include <string.h>

#include "tests/harness/test.h"
#include "vmem/vmem_store.h"

#define Q ((size_t)4096)
#define BASE ((uintptr_t)0x40000000)
#define TOP (~(uintptr_t)0)
#define LEVELS 3u

static const vm_flag_t kinds[] = { 0, VM_INDEX };

static vmem_t *
arena_new(const char *name, uintptr_t base, size_t size, vm_flag_t flags)
{
    vmem_t *vm = vmem_create(name, base, size, Q, NULL, NULL, NULL, 0,
                             VM_NOSLEEP | flags, KVA_IPL_NONE);

    CHECK(vm != NULL);
    return vm;
}

static size_t
total(vmem_t *vm)
{
    struct kva_vmem_stat st;

    vmem_stat(vm, &st);
    return st.mem_total;
}

/* ---- what satisfies a request, place by place ------------------------- */

static bool
satisfies(const struct vmem_request *rq, uintptr_t at)
{
    uintptr_t last = at + (rq->size - 1);

    return last >= at && at >= rq->minaddr && last <= rq->maxaddr &&
           (rq->align == 0 || at % rq->align == rq->phase) &&
           (rq->nocross == 0 || at / rq->nocross == last / rq->nocross);
}

/* The lowest place in a range, or the highest. */
static bool
place(const struct vmem_request *rq, uintptr_t first, uintptr_t last,
      uintptr_t *start)
{
    bool found = false;

    for (uintptr_t at = first; at <= last && last - at >= rq->size - 1;
         at += Q) {
        if (satisfies(rq, at) && (!found || (rq->flags & VM_ENDALLOC) != 0)) {
            *start = at;
            found = true;
        }
    }
    return found;
}

#define QUANTA 256u

static struct vmem_request
request_random(struct test_ctx *t)
{
    size_t size = 1 + (size_t)test_rand_below(t, 6);
    size_t align = (size_t)1 << test_rand_below(t, 5);
    struct vmem_request rq = {
        .size = size * Q,
        .align = align * Q,
        .maxaddr = TOP,
        .flags = VM_NOSLEEP | (test_rand_below(t, 2) ? VM_ENDALLOC : 0),
    };

    if (test_rand_below(t, 2) == 0) {
        rq.phase = (size_t)test_rand_below(t, align) * Q;
    }
    if (test_rand_below(t, 2) == 0) {
        rq.nocross = Q << (3 + test_rand_below(t, 3));
    }
    if (test_rand_below(t, 2) == 0) {
        rq.minaddr = BASE + (size_t)test_rand_below(t, QUANTA) * Q;
    }
    if (test_rand_below(t, 2) == 0) {
        rq.maxaddr = BASE + (size_t)(test_rand_below(t, QUANTA) + 1) * Q - 1;
    }
    if (rq.maxaddr < rq.minaddr || rq.maxaddr - rq.minaddr < rq.size - 1) {
        rq.minaddr = 0;
        rq.maxaddr = TOP;
    }
    return rq;
}

/* vmem_request_fits agrees with trying every place. */
static void
fits_where_it_says(struct test_ctx *t)
{
    unsigned long yes = 0, no = 0;

    for (unsigned long i = 0; i < t->count; i++) {
        struct vmem_request rq = request_random(t);
        uintptr_t first = BASE + (size_t)test_rand_below(t, QUANTA) * Q;
        uintptr_t last = first + (1 + (size_t)test_rand_below(t, 40)) * Q - 1;
        uintptr_t want = 0, got = 0;
        bool fits = place(&rq, first, last, &want);

        CHECK_EQ(vmem_request_fits(&rq, first, last, &got), fits);
        if (fits) {
            CHECK_EQ(got, want);
        }
        yes += fits;
        no += !fits;
    }
    CHECK_GT(yes, t->count / 10);
    CHECK_GT(no, t->count / 10);
}

/* ---- three levels ----------------------------------------------------- */

/* How an arena is stacked on the one below it. */
enum stacking {
    BY_ALLOC,   /* vmem_alloc and vmem_free */
    BY_REQUEST, /* vmem_rimport and vmem_xfree */
    STACKINGS
};

struct tree {
    vmem_t *level[LEVELS]; /* the root first */
    bool busy[QUANTA];     /* of the root, each by itself */
};

static void
tree_new(struct tree *tr, unsigned stacking, vm_flag_t flags)
{
    memset(tr->busy, true, sizeof(tr->busy));
    tr->level[0] = arena_new("root", BASE, QUANTA * Q, flags);
    for (unsigned i = 0; i < QUANTA; i++) {
        CHECK_EQ(vmem_xalloc_addr(tr->level[0], BASE + i * Q, Q, VM_NOSLEEP),
                 0);
    }
    for (unsigned i = 1; i < LEVELS; i++) {
        tr->level[i] = arena_new("child", 0, 0, flags);
        if ((stacking >> (i - 1) & 1) == BY_ALLOC) {
            vmem_set_import(tr->level[i], vmem_alloc, vmem_free,
                            tr->level[i - 1], 0);
        } else {
            vmem_set_rimport(tr->level[i], vmem_rimport, vmem_xfree,
                             tr->level[i - 1], 0);
        }
    }
}

static void
tree_end(struct tree *tr)
{
    for (unsigned i = LEVELS; i-- > 1;) {
        CHECK_PTR(vmem_check(tr->level[i]), NULL);
        CHECK_EQ(total(tr->level[i]), 0); /* every span went back */
        vmem_destroy(tr->level[i]);
    }
    for (unsigned i = 0; i < QUANTA; i++) {
        if (tr->busy[i]) {
            vmem_xfree(tr->level[0], BASE + i * Q, Q);
        }
    }
    CHECK_PTR(vmem_check(tr->level[0]), NULL);
    CHECK_EQ(vmem_size(tr->level[0], VMEM_ALLOC), 0);
    vmem_destroy(tr->level[0]);
}

/* A hole of n quanta in the root, which borders on no other; false: no room. */
static bool
hole_make(struct tree *tr, unsigned at, unsigned n)
{
    for (unsigned i = at == 0 ? 0 : at - 1; i <= at + n && i < QUANTA; i++) {
        if (!tr->busy[i]) {
            return false;
        }
    }
    if (at + n > QUANTA) {
        return false;
    }
    for (unsigned i = at; i < at + n; i++) {
        vmem_xfree(tr->level[0], BASE + i * Q, Q);
        tr->busy[i] = false;
    }
    return true;
}

/* The place that the request is to get, by the holes of the root. */
static bool
place_in_holes(const struct tree *tr, const struct vmem_request *rq,
               uintptr_t *start)
{
    bool found = false;

    for (unsigned i = 0, end; i < QUANTA; i = end + 1) {
        uintptr_t at;

        for (end = i; end < QUANTA && !tr->busy[end]; end++) {
        }
        if (end > i && place(rq, BASE + i * Q, BASE + end * Q - 1, &at)) {
            *start = at;
            found = true;
        }
    }
    return found;
}

/* Few holes, most of them as long as the request and none too short for it. */
static bool
tree_open_up(struct test_ctx *t, struct tree *tr, const struct vmem_request *rq)
{
    unsigned n = (unsigned)(rq->size / Q);
    uintptr_t start;

    for (unsigned i = 0; i < 12; i++) {
        (void)hole_make(tr, (unsigned)test_rand_below(t, QUANTA),
                        n + (i % 4 == 0));
    }
    return place_in_holes(tr, rq, &start);
}

/* Every constraint reaches the root: the top of three levels gets what the root
 * has, and is refused only if the root has nothing. */
static void
constraints_reach_the_root(struct test_ctx *t)
{
    unsigned long met = 0, refused = 0;

    PORT(NULL);
    for (unsigned long i = 0; i < t->count; i++) {
        struct vmem_request rq = request_random(t);
        struct tree tr;
        uintptr_t addr = 0;
        size_t before;
        bool there;
        int err;

        tree_new(&tr, (unsigned)(i % (STACKINGS * STACKINGS)),
                 kinds[test_rand_below(t, 2)]);
        there = tree_open_up(t, &tr, &rq);
        before = vmem_size(tr.level[0], VMEM_FREE);
        err = vmem_xalloc(tr.level[2], rq.size, rq.align, rq.phase, rq.nocross,
                          rq.minaddr, rq.maxaddr, rq.flags, &addr);
        CHECK_EQ(err, there ? 0 : KVA_ENOMEM);
        if (there) {
            CHECK(satisfies(&rq, addr));
            CHECK_EQ(vmem_size(tr.level[0], VMEM_FREE), before - rq.size);
            CHECK_EQ(total(tr.level[2]), rq.size);
            vmem_xfree(tr.level[2], addr, rq.size);
        }
        CHECK_EQ(vmem_size(tr.level[0], VMEM_FREE), before);
        tree_end(&tr);
        met += there;
        refused += !there;
    }
    CHECK_GT(met, t->count / 10);
    CHECK_GT(refused, t->count / 10);
}

/* ---- a function of requests ------------------------------------------- */

/* Brings what was asked for from the middle of nowhere, and remembers it. */
struct asked {
    struct vmem_request last;
    unsigned times;
    uintptr_t at;
    size_t released;
};
static struct asked asked;

static int
remember(vmem_t *arg, const struct vmem_request *rq, vmem_size_t *actual,
         vmem_addr_t *addr)
{
    (void)arg;
    asked.last = *rq;
    asked.times++;
    *actual = rq->size;
    *addr = asked.at;
    return 0;
}

static void
forget(vmem_t *arg, vmem_addr_t addr, vmem_size_t size)
{
    (void)arg;
    (void)addr;
    asked.released += size;
}

/* The whole request, and VM_NOSLEEP whatever the caller may. */
static void
the_request_is_passed_on(struct test_ctx *t)
{
    (void)t;
    PORT(NULL);
    for (unsigned k = 0; k < KVA_COUNT(kinds); k++) {
        vmem_t *vm = arena_new("child", 0, 0, kinds[k]);
        uintptr_t addr;

        asked = (struct asked){ .at = BASE + 5 * Q };
        vmem_set_rimport(vm, remember, forget, NULL, 0);
        CHECK_EQ(vmem_xalloc(vm, 3 * Q, 16 * Q, 5 * Q, 8 * Q, BASE,
                             BASE + 64 * Q - 1, VM_SLEEP | VM_BESTFIT, &addr),
                 0);
        CHECK_EQ(addr, BASE + 5 * Q);
        CHECK_EQ(asked.times, 1);
        CHECK_EQ(asked.last.size, 3 * Q);
        CHECK_EQ(asked.last.align, 16 * Q);
        CHECK_EQ(asked.last.phase, 5 * Q);
        CHECK_EQ(asked.last.nocross, 8 * Q);
        CHECK_EQ(asked.last.minaddr, BASE);
        CHECK_EQ(asked.last.maxaddr, BASE + 64 * Q - 1);
        CHECK_EQ(asked.last.flags, VM_NOSLEEP | VM_BESTFIT);
        vmem_xfree(vm, addr, 3 * Q);
        CHECK_EQ(asked.released, 3 * Q);
        vmem_destroy(vm);
    }
}

/* What such a function brings and does not serve goes back, and the request is
 * refused. */
static void
a_span_that_does_not_serve_goes_back(struct test_ctx *t)
{
    (void)t;
    PORT(NULL);
    for (unsigned k = 0; k < KVA_COUNT(kinds); k++) {
        vmem_t *vm = arena_new("child", 0, 0, kinds[k]);
        uintptr_t addr;

        asked = (struct asked){ .at = BASE + 5 * Q };
        vmem_set_rimport(vm, remember, forget, NULL, 0);
        CHECK_EQ(
            vmem_xalloc(vm, 3 * Q, 16 * Q, 0, 0, 0, TOP, VM_NOSLEEP, &addr),
            KVA_ENOMEM);
        CHECK_GE(asked.times, 1);
        CHECK_EQ(asked.released, asked.times * 3 * Q);
        CHECK_EQ(total(vm), 0);
        vmem_destroy(vm);
    }
}

/* ---- waiting for the root --------------------------------------------- */

#if KVA_TIER >= 3
struct sleeper {
    struct tree tree;
    unsigned hole;
    unsigned times;
};

static void
free_in_the_root(void *arg, const void *channel)
{
    struct sleeper *s = arg;

    (void)channel;
    kva_posix_wait_hook(NULL, NULL);
    s->times++;
    CHECK(hole_make(&s->tree, s->hole + 40, 2)); /* long enough, not aligned */
    CHECK(hole_make(&s->tree, s->hole, 2));
}

/* A constrained request of the top sleeps until the root has what serves it. */
static void
constrained_sleeps_for_the_root(struct test_ctx *t)
{
    PORT(NULL);
    for (unsigned i = 0; i < STACKINGS * STACKINGS * KVA_COUNT(kinds); i++) {
        struct sleeper s = { .times = 0 };
        uintptr_t addr = 0;

        tree_new(&s.tree, i / KVA_COUNT(kinds), kinds[i % KVA_COUNT(kinds)]);
        s.hole = 16 * (unsigned)test_rand_below(t, 10);
        kva_posix_wait_hook(free_in_the_root, &s);
        CHECK_EQ(vmem_xalloc(s.tree.level[2], 2 * Q, 16 * Q, 0, 0, 0, TOP,
                             VM_SLEEP, &addr),
                 0);
        CHECK_EQ(addr, BASE + s.hole * Q);
        CHECK_EQ(s.times, 1);
        vmem_xfree(s.tree.level[2], addr, 2 * Q);
        tree_end(&s.tree);
    }
}

static void
never(void *arg, const void *channel)
{
    bool *slept = arg;

    (void)channel;
    *slept = true;
    (void)kva_posix_cancel_waits();
}

/* What no free in the root can ever make possible is refused at once. */
static void
unsatisfiable_fails_at_once(struct test_ctx *t)
{
    static const struct vmem_request requests[] = {
        { (QUANTA + 1) * Q, 0, 0, 0, 0, TOP, VM_SLEEP },
        { Q, 0, 0, 0, BASE + QUANTA * Q, TOP, VM_SLEEP },
        { Q, 0, 0, 0, 0, BASE - 1, VM_SLEEP },
        { 2 * Q, 16 * Q, 0, 0, BASE + Q, BASE + 17 * Q - 1, VM_SLEEP },
        { 2 * Q, 16 * Q, 7 * Q, 8 * Q, 0, TOP, VM_SLEEP },
    };

    (void)t;
    PORT(NULL);
    for (unsigned i = 0; i < KVA_COUNT(requests) * KVA_COUNT(kinds); i++) {
        const struct vmem_request *rq = &requests[i / KVA_COUNT(kinds)];
        bool slept = false;
        struct tree tr;
        uintptr_t addr;

        tree_new(&tr, i % (STACKINGS * STACKINGS), kinds[i % KVA_COUNT(kinds)]);
        kva_posix_wait_hook(never, &slept);
        CHECK_EQ(vmem_xalloc(tr.level[2], rq->size, rq->align, rq->phase,
                             rq->nocross, rq->minaddr, rq->maxaddr, rq->flags,
                             &addr),
                 KVA_ENOMEM);
        kva_posix_wait_hook(NULL, NULL);
        CHECK(!slept);
        tree_end(&tr);
    }
}
#endif

/* ---- limits, quanta --------------------------------------------------- */

/* Up to the limit and not beyond, although imports are 16 times what is needed;
 * the last ones are less. */
static void
the_limit_is_kept(struct test_ctx *t)
{
    const size_t limit = 100 * Q;

    (void)t;
    PORT(NULL);
    for (unsigned k = 0; k < KVA_COUNT(kinds); k++) {
        vmem_t *root = arena_new("root", BASE, 1024 * Q, 0);
        vmem_t *vm = arena_new("child", 0, 0, kinds[k] | VM_LARGEIMPORT);
        uintptr_t addr[100], more;

        vmem_set_import(vm, vmem_alloc, vmem_free, root, 4 * Q);
        vmem_set_limit(vm, limit);
        for (unsigned i = 0; i < KVA_COUNT(addr); i++) {
            CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &addr[i]), 0);
            CHECK_LE(total(vm), limit);
            CHECK_EQ(i != 0 || total(vm) == 64 * Q, true);
        }
        CHECK_EQ(total(vm), limit);
        CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &more), KVA_ENOMEM);
        CHECK_EQ(vmem_xalloc(vm, Q, 2 * Q, 0, 0, 0, TOP, VM_NOSLEEP, &more),
                 KVA_ENOMEM);
        vmem_set_limit(vm, limit + 3 * Q); /* less than an import quantum */
        CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &more), KVA_ENOMEM);
        vmem_set_limit(vm, 0);
        CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &more), 0);
        vmem_free(vm, more, Q);
        for (unsigned i = 0; i < KVA_COUNT(addr); i++) {
            vmem_free(vm, addr[i], Q);
        }
        CHECK_EQ(total(vm), 0);
        CHECK_EQ(vmem_size(root, VMEM_ALLOC), 0);
        vmem_destroy(vm);
        vmem_destroy(root);
    }
}

#define IMPORT_QUANTUM (8 * Q)

static void
span_is_whole(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    unsigned *spans = arg;

    (void)addr;
    CHECK_EQ(type, VMEM_SPAN);
    CHECK_EQ(size % IMPORT_QUANTUM, 0);
    (*spans)++;
}

/* Spans are multiples of the import quantum, constrained requests' as well. */
static void
imports_are_whole_quanta(struct test_ctx *t)
{
    PORT(NULL);
    for (unsigned k = 0; k < KVA_COUNT(kinds); k++) {
        vmem_t *root = arena_new("root", BASE, 4096 * Q, 0);
        vmem_t *vm = arena_new("child", 0, 0, kinds[k]);
        unsigned spans = 0;

        vmem_set_import(vm, vmem_alloc, vmem_free, root, IMPORT_QUANTUM);
        for (unsigned i = 0; i < 40; i++) {
            size_t size = Q * (1 + (size_t)test_rand_below(t, 30));
            size_t align = Q << test_rand_below(t, 6);
            uintptr_t addr;

            CHECK_EQ(vmem_xalloc(vm, size, i % 2 == 0 ? 0 : align, 0, 0, 0, TOP,
                                 VM_NOSLEEP, &addr),
                     0);
            CHECK_EQ(i % 2 == 0 ? 0 : addr % align, 0);
        }
        vmem_walk(vm, VMEM_SPAN, span_is_whole, &spans);
        CHECK_GT(spans, 5);
        vmem_xfreeall(vm);
        CHECK_EQ(vmem_size(root, VMEM_ALLOC), 0);
        vmem_destroy(vm);
        vmem_destroy(root);
    }
}

/* ---- spans that stay -------------------------------------------------- */

/* Spans one beside the other, upwards or down. */
static uintptr_t break_at;
static bool break_down;
static unsigned breaks;

static int
brk(vmem_t *arg, vmem_size_t size, vm_flag_t flags, vmem_addr_t *addr)
{
    (void)arg;
    (void)flags;
    break_at -= break_down ? size : 0;
    *addr = break_at;
    break_at += break_down ? 0 : size;
    breaks++;
    return 0;
}

/* Without a release function neighbours join, so that together they serve what
 * is larger than each. */
static void
adjacent_imports_join(struct test_ctx *t)
{
    (void)t;
    PORT(NULL);
    for (unsigned k = 0; k < 4; k++) {
        vmem_t *vm =
            vmem_create("break", 0, 0, Q, NULL, NULL, NULL, 0,
                        VM_NOSLEEP | (k >= 2 ? VM_INDEX : 0), KVA_IPL_NONE);
        uintptr_t addr[8], whole;
        struct vmem_stat st;

        CHECK(vm != NULL);
        break_at = BASE;
        break_down = k % 2 != 0;
        breaks = 0;
        vmem_set_import(vm, brk, NULL, NULL, 0);
        for (unsigned i = 0; i < KVA_COUNT(addr); i++) {
            CHECK_EQ(vmem_alloc(vm, 4 * Q, VM_NOSLEEP, &addr[i]), 0);
            CHECK_PTR(vmem_check(vm), NULL);
        }
        CHECK_EQ(breaks, KVA_COUNT(addr));
        vmem_stat(vm, &st);
        CHECK_EQ(st.spans, 1);
        CHECK_EQ(st.tags_busy, KVA_COUNT(addr));
        CHECK_EQ(st.tags_free, 0);
        for (unsigned i = 0; i < KVA_COUNT(addr); i++) {
            vmem_free(vm, addr[i], 4 * Q);
        }
        CHECK_EQ(vmem_size(vm, VMEM_MAXFREE), 32 * Q);
        CHECK_EQ(vmem_alloc(vm, 32 * Q, VM_NOSLEEP, &whole), 0);
        CHECK_EQ(whole, k % 2 == 0 ? BASE : BASE - 32 * Q);
        CHECK_EQ(breaks, KVA_COUNT(addr));
        CHECK_PTR(vmem_check(vm), NULL);
        vmem_free(vm, whole, 32 * Q);
        vmem_destroy(vm);
    }
}

/* Pieces of a range in any order, some of them added: those that are kept join
 * what ends or begins where they do, be that free or not, and the rest stays
 * apart. */
static uintptr_t piece_at;

static int
piece_import(vmem_t *arg, vmem_size_t size, vm_flag_t flags, vmem_addr_t *addr)
{
    (void)arg;
    (void)flags;
    *addr = piece_at;
    return size == 4 * Q ? 0 : KVA_ENOMEM;
}

static void
pieces_join_in_any_order(struct test_ctx *t)
{
    enum {
        PIECES = 24
    };

    PORT(NULL);
    for (unsigned n = 0; n < t->count; n++) {
        bool indexed = test_rand_below(t, 4) != 0, live[PIECES] = { false };
        unsigned order[PIECES];
        uintptr_t got;
        vmem_t *vm;

        vm = vmem_create("pieces", 0, 0, Q, piece_import, NULL, NULL, 0,
                         VM_NOSLEEP | (indexed ? VM_INDEX : 0), KVA_IPL_NONE);
        CHECK(vm != NULL);
        for (unsigned i = 0; i < PIECES; i++) {
            unsigned k = (unsigned)test_rand_below(t, i + 1);

            order[i] = order[k];
            order[k] = i;
        }
        for (unsigned i = 0; i < PIECES; i++) {
            uintptr_t at = BASE + order[i] * 4 * Q;

            piece_at = at;
            if (test_rand_below(t, 4) == 0) {
                CHECK_EQ(vmem_add(vm, at, 4 * Q, VM_NOSLEEP), 0);
                continue;
            }
            CHECK_EQ(vmem_xalloc(vm, 4 * Q, 0, 0, 0, at, at + 4 * Q - 1,
                                 VM_NOSLEEP, &got),
                     0);
            CHECK_EQ(got, at);
            live[order[i]] = test_rand_below(t, 2) == 0;
            if (!live[order[i]]) {
                vmem_xfree(vm, at, 4 * Q);
            }
            CHECK_PTR(vmem_check(vm), NULL);
        }
        for (unsigned i = 0; i < PIECES; i++) {
            CHECK(vmem_contains(vm, BASE + i * 4 * Q, 4 * Q));
            if (live[i]) {
                vmem_xfree(vm, BASE + i * 4 * Q, 4 * Q);
            }
            CHECK_PTR(vmem_check(vm), NULL);
        }
        CHECK_EQ(vmem_size(vm, VMEM_FREE), PIECES * 4 * Q);
        vmem_destroy(vm);
    }
}

/* ---- somebody frees meanwhile ----------------------------------------- */

/* The import function says that it has been called; where the arena is locked
 * next, its span being on its way, a range of the arena is freed. */
struct race {
    vmem_t *vm;
    uintptr_t addr;
    size_t released;
    bool came;
};
static struct race race;

static int
race_import(vmem_t *source, vmem_size_t size, vm_flag_t flags,
            vmem_addr_t *addr)
{
    int err = vmem_alloc(source, size, flags, addr);

    race.came = race.vm != NULL;
    return err;
}

static void
race_release(vmem_t *source, vmem_addr_t addr, vmem_size_t size)
{
    race.released += size;
    vmem_free(source, addr, size);
}

static void
race_free(void *arg, const char *hook)
{
    (void)arg;
    if (race.came && strcmp(hook, "lock") == 0 && kva_posix_locks_held() == 0) {
        race.came = false;
        vmem_free(race.vm, race.addr, 4 * Q);
    }
}

/* What was freed is taken, and the span goes back unused. */
static void
span_goes_back_if_not_needed(struct test_ctx *t)
{
    (void)t;
    PORT(NULL);
    for (unsigned k = 0; k < KVA_COUNT(kinds); k++) {
        vmem_t *root = arena_new("root", BASE, 1024 * Q, 0);
        vmem_t *vm = arena_new("child", 0, 0, kinds[k]);
        uintptr_t rest, addr;

        race = (struct race){ .vm = NULL };
        vmem_set_import(vm, race_import, race_release, root, 16 * Q);
        CHECK_EQ(vmem_alloc(vm, 4 * Q, VM_NOSLEEP, &race.addr), 0);
        CHECK_EQ(vmem_alloc(vm, 12 * Q, VM_NOSLEEP, &rest), 0);
        CHECK_EQ(total(vm), 16 * Q);
        race.vm = vm;
        kva_posix_yield_set(race_free, NULL);
        CHECK_EQ(vmem_alloc(vm, 4 * Q, VM_NOSLEEP, &addr), 0);
        kva_posix_yield_set(NULL, NULL);
        CHECK_EQ(addr, race.addr);
        CHECK_EQ(race.released, 16 * Q);
        CHECK_EQ(total(vm), 16 * Q);
        CHECK_EQ(vmem_size(root, VMEM_ALLOC), 16 * Q);
        CHECK_PTR(vmem_check(vm), NULL);
        vmem_free(vm, addr, 4 * Q);
        vmem_free(vm, rest, 12 * Q);
        CHECK_EQ(total(vm), 0);
        vmem_destroy(vm);
        vmem_destroy(root);
    }
}

const struct test import_tests[] = {
    TEST_COUNT("import", fits_where_it_says, 10000, 100000, 1000000),
    TEST_COUNT("import", constraints_reach_the_root, 300, 3000, 100000),
    TEST("import", the_request_is_passed_on),
    TEST("import", a_span_that_does_not_serve_goes_back),
#if KVA_TIER >= 3
    TEST("import", constrained_sleeps_for_the_root),
    TEST("import", unsatisfiable_fails_at_once),
#endif
    TEST("import", the_limit_is_kept),
    TEST("import", imports_are_whole_quanta),
    TEST("import", adjacent_imports_join),
    TEST_LEAST("import", pieces_join_in_any_order, 40, 200, 2000, 20000),
    TEST("import", span_goes_back_if_not_needed),
    TEST_END
};
