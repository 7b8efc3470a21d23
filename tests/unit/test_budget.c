/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The budget of tags.  Each constant of budget.h is exact: with that many tags,
 * and no others to be had, the worst case of the operation succeeds and takes
 * them all, and with one less it fails and changes nothing.  Prepared
 * operations succeed when nobody else finds a tag any more.
 */
#include <pthread.h>
#include <string.h>

#include "tests/harness/test.h"
#include "tests/misuse/digest.h"
#include "vmem/indexed.h"

#define Q ((size_t)4096)
#define BASE ((uintptr_t)0x40000000)

/* ---- arenas with so many tags and no more ------------------------------- */

/* Tags that are kept away from their arena, which must have them at its end. */
struct exact {
    struct kva_vmem store;
    struct kva_vmem_btag bts[KVA_VMEM_BTS_FOR(100)];
    struct kva_vmem_btag *held;
    vmem_t *vm;
};

static void
exact_init(struct exact *e, size_t quantum, vmem_t *source, vm_flag_t flags)
{
    e->held = NULL;
    e->vm = vmem_init(&e->store, "exact", 0, 0, quantum,
                      source == NULL ? NULL : vmem_alloc,
                      source == NULL ? NULL : vmem_free, source, 0,
                      VM_NOSLEEP | VM_PRIVTAGS | flags, KVA_IPL_NONE);
    CHECK_PTR(e->vm, &e->store);
    CHECK_EQ(vmem_add_bts(e->vm, e->bts, KVA_COUNT(e->bts)), 0);
}

/* Leave n tags in stock. */
static void
exact_set(struct exact *e, unsigned n)
{
    struct kva_vmem_btag *bt;
    kva_irq_t irq;

    irq = kva_port_lock(&e->vm->lock);
    while ((bt = e->held) != NULL) {
        e->held = bt->u.chain;
        kva__btag_give(e->vm, bt);
    }
    CHECK_GE(e->vm->nspare, n);
    while (e->vm->nspare > n) {
        bt = kva__btag_take(e->vm);
        bt->u.chain = e->held;
        e->held = bt;
    }
    kva_port_unlock(&e->vm->lock, irq);
}

static void
exact_fini(struct exact *e)
{
    exact_set(e, 0); /* count what there is */
    vmem_xfreeall(e->vm);
    exact_set(e, 0);
    while (e->held != NULL) {
        struct kva_vmem_btag *bt = e->held;
        kva_irq_t irq;

        e->held = bt->u.chain;
        irq = kva_port_lock(&e->vm->lock);
        kva__btag_give(e->vm, bt);
        kva_port_unlock(&e->vm->lock, irq);
    }
    vmem_destroy(e->vm);
}

static size_t
spare(vmem_t *vm)
{
    struct kva_vmem_stat st;

    vmem_stat(vm, &st);
    return st.tags_spare;
}

static size_t
reserved(vmem_t *vm)
{
    struct kva_vmem_stat st;

    vmem_stat(vm, &st);
    return st.tags_reserved;
}

/* ---- each operation ----------------------------------------------------- */

#define AT(i) (BASE + (i)*Q)

/* A span of 32 quanta with x-ranges [0, 4), [4, 8), [8, 12), and [16, 20). */
static void
ranges(vmem_t *vm)
{
    static const unsigned at[] = { 0, 4, 8, 16 };

    CHECK_EQ(vmem_add(vm, BASE, 32 * Q, VM_NOSLEEP), 0);
    for (unsigned i = 0; i < KVA_COUNT(at); i++) {
        CHECK_EQ(vmem_xalloc_addr(vm, AT(at[i]), 4 * Q, VM_NOSLEEP), 0);
    }
}

static int
do_alloc(vmem_t *vm)
{
    uintptr_t a;

    return vmem_alloc(vm, Q, VM_NOSLEEP, &a);
}

static int
do_alloc_best(vmem_t *vm)
{
    uintptr_t a;

    return vmem_alloc(vm, Q, VM_NOSLEEP | VM_BESTFIT, &a);
}

static int
do_xalloc(vmem_t *vm)
{
    uintptr_t a;

    return vmem_xalloc(vm, Q, 4 * Q, Q, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                       VM_NOSLEEP, &a);
}

static int
do_xalloc_addr(vmem_t *vm)
{
    return vmem_xalloc_addr(vm, AT(25), Q, VM_NOSLEEP);
}

static int
do_add(vmem_t *vm)
{
    return vmem_add(vm, AT(100), Q, VM_NOSLEEP);
}

static int
do_xtrim(vmem_t *vm)
{
    return vmem_xtrim(vm, AT(4), 4 * Q, AT(5), 2 * Q);
}

static int
do_xtrim_head(vmem_t *vm)
{
    return vmem_xtrim(vm, AT(4), 4 * Q, AT(5), 3 * Q);
}

static int
do_xtrim_tail(vmem_t *vm)
{
    return vmem_xtrim(vm, AT(4), 4 * Q, AT(4), 3 * Q);
}

/* Holes on both sides take what comes free. */
static int
do_xtrim_beside(vmem_t *vm)
{
    return vmem_xtrim(vm, AT(16), 4 * Q, AT(17), 2 * Q);
}

static int
do_xsplit(vmem_t *vm)
{
    return vmem_xsplit(vm, AT(4), 4 * Q, Q);
}

static int
do_xjoin(vmem_t *vm)
{
    return vmem_xjoin(vm, AT(4), 4 * Q, 4 * Q);
}

static int
do_xextend(vmem_t *vm)
{
    return vmem_xextend(vm, AT(16), 4 * Q, AT(15), 6 * Q);
}

static int
do_xfree(vmem_t *vm)
{
    vmem_xfree(vm, AT(4), 4 * Q);
    return 0;
}

static const struct {
    const char *name;
    unsigned tags;
    int (*run)(vmem_t *vm);
} operations[] = {
    { "alloc", VMEM_TAGS_ALLOC, do_alloc },
    { "alloc, best fit", VMEM_TAGS_ALLOC, do_alloc_best },
    { "xalloc", VMEM_TAGS_XALLOC, do_xalloc },
    { "xalloc_addr", VMEM_TAGS_XALLOC, do_xalloc_addr },
    { "add", VMEM_TAGS_ADD, do_add },
    { "xtrim", VMEM_TAGS_XTRIM, do_xtrim },
    { "xtrim, head", KVA_VMEM_TAGS_XTRIM_END, do_xtrim_head },
    { "xtrim, tail", KVA_VMEM_TAGS_XTRIM_END, do_xtrim_tail },
    { "xtrim beside holes", 0, do_xtrim_beside },
    { "xsplit", VMEM_TAGS_XSPLIT, do_xsplit },
    { "xjoin", VMEM_TAGS_XJOIN, do_xjoin },
    { "xextend", VMEM_TAGS_XEXTEND, do_xextend },
    { "xfree", VMEM_TAGS_FREE, do_xfree },
};

/* The constant is what the worst case takes, and nothing less will do. */
static void
each_constant_is_exact(struct test_ctx *t)
{
    static struct exact e;

    (void)t;
    PORT(NULL);
    for (unsigned i = 0; i < KVA_COUNT(operations); i++) {
        unsigned tags = operations[i].tags;
        uint64_t before;

        exact_init(&e, Q, NULL, 0);
        ranges(e.vm);
        if (tags > 0) {
            exact_set(&e, tags - 1);
            before = digest(e.vm);
            if (operations[i].run(e.vm) != KVA_ENOMEM) {
                FAIL("%s: succeeds with %u tags", operations[i].name, tags - 1);
            }
            CHECK_EQ(digest(e.vm), before);
            CHECK_EQ(spare(e.vm), tags - 1);
        }
        exact_set(&e, tags);
        if (operations[i].run(e.vm) != 0) {
            FAIL("%s: fails with %u tags", operations[i].name, tags);
        }
        if (tags > 0 && spare(e.vm) != 0) {
            FAIL("%s: leaves %zu of %u tags", operations[i].name, spare(e.vm),
                 tags);
        }
        CHECK_PTR(vmem_check(e.vm), NULL);
        exact_fini(&e);
    }
}

/* ---- through a chain of arenas ------------------------------------------ */

#define DEPTH_MAX 4u

static struct exact chain[DEPTH_MAX]; /* 0: who is asked; the last has a span */

/* Told a size only, unlike vmem_alloc itself. */
static int
import_size(vmem_t *source, vmem_size_t size, vm_flag_t flags,
            vmem_addr_t *addr)
{
    return vmem_alloc(source, size, flags, addr);
}

/* Whoever is asked for an address asks below for one more on either side. */
static int
import_around(vmem_t *source, const struct kva_vmem_request *rq,
              vmem_size_t *actual, vmem_addr_t *addr)
{
    *actual = rq->size + 2;
    *addr = rq->minaddr - 1;
    return vmem_xalloc_addr(source, *addr, *actual, rq->flags);
}

enum way {
    PLAIN,  /* vmem_alloc, each import 16 times as large */
    PLAINX, /* vmem_xalloc, from the middle of such an import */
    WHOLE,  /* the request is passed on */
    WAYS
};

static const unsigned way_op[] = { VMEM_TAGS_ALLOC, VMEM_TAGS_XALLOC,
                                   VMEM_TAGS_XALLOC };
static const unsigned way_up[] = { VMEM_TAGS_ALLOC, VMEM_TAGS_ALLOC,
                                   VMEM_TAGS_XALLOC };

/* An arena of quantum 1 over others; the last has half a million quanta. */
static void
chain_init(unsigned depth, enum way way)
{
    for (unsigned i = depth; i-- > 0;) {
        bool last = i == depth - 1;

        exact_init(&chain[i], 1, last ? NULL : chain[i + 1].vm,
                   last || way == WHOLE ? 0 : VM_LARGEIMPORT);
        if (!last && way == WHOLE) {
            vmem_set_rimport(chain[i].vm, import_around, vmem_xfree,
                             chain[i + 1].vm, 0);
        } else if (!last) {
            vmem_set_import(chain[i].vm, import_size, vmem_free,
                            chain[i + 1].vm, 0);
        }
    }
    CHECK_EQ(vmem_add(chain[depth - 1].vm, BASE, 1u << 19, VM_NOSLEEP), 0);
}

static void
chain_fini(unsigned depth)
{
    for (unsigned i = 0; i < depth; i++) {
        exact_fini(&chain[i]);
    }
}

static int
chain_run(enum way way, vm_flag_t flags)
{
    vmem_t *vm = chain[0].vm;
    uintptr_t a;

    switch (way) {
    case PLAIN:
        return vmem_alloc(vm, 1, flags, &a);
    case PLAINX:
        return vmem_xalloc(vm, 1, 4, 1, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX, flags,
                           &a);
    default:
        return vmem_xalloc_addr(vm, BASE + 1000, 1, flags);
    }
}

/* What arena i of so many takes. */
static unsigned
chain_tags(unsigned i, unsigned depth, enum way way)
{
    unsigned cut = i == 0 ? way_op[way] : way_up[way];

    return i == depth - 1 ? cut : VMEM_TAGS_IMPORT(cut);
}

/* One tag too few in arena i, and nothing happens anywhere. */
static void
chain_short(unsigned i, unsigned depth, enum way way)
{
    uint64_t before[DEPTH_MAX];

    exact_set(&chain[i], chain_tags(i, depth, way) - 1);
    for (unsigned k = 0; k < depth; k++) {
        before[k] = digest(chain[k].vm);
    }
    CHECK_EQ(chain_run(way, VM_NOSLEEP), KVA_ENOMEM);
    for (unsigned k = 0; k < depth; k++) {
        CHECK_EQ(digest(chain[k].vm), before[k]);
    }
    exact_set(&chain[i], chain_tags(i, depth, way));
}

static void
chains_are_exact(struct test_ctx *t)
{
    (void)t;
    PORT(NULL);
    for (enum way way = PLAIN; way < WAYS; way++) {
        for (unsigned depth = 1; depth <= DEPTH_MAX; depth++) {
            unsigned sum = 0;

            chain_init(depth, way);
            for (unsigned i = 0; i < depth; i++) {
                exact_set(&chain[i], chain_tags(i, depth, way));
                sum += chain_tags(i, depth, way);
            }
            CHECK_EQ(sum, VMEM_TAGS_CHAIN(way_op[way], way_up[way], depth));
            for (unsigned i = 0; i < depth; i++) {
                chain_short(i, depth, way);
            }
            CHECK_EQ(chain_run(way, VM_NOSLEEP), 0);
            for (unsigned i = 0; i < depth; i++) {
                CHECK_EQ(spare(chain[i].vm), 0);
                CHECK_PTR(vmem_check(chain[i].vm), NULL);
            }
            chain_fini(depth);
        }
    }
}

/* ---- how many to give --------------------------------------------------- */

#define TAGS_MAX 700u
static struct kva_vmem_btag many[KVA_VMEM_BTS_FOR(TAGS_MAX)];
static struct kva_vmem many_store;

static vmem_t *
many_init(unsigned n)
{
    vmem_t *vm = vmem_init(&many_store, "many", 0, 0, Q, NULL, NULL, NULL, 0,
                           VM_NOSLEEP | VM_PRIVTAGS, KVA_IPL_NONE);

    CHECK(vm != NULL);
    CHECK_LE(n, KVA_COUNT(many));
    if (n >= 2) {
        CHECK_EQ(vmem_add_bts(vm, many, n), 0);
    }
    return vm;
}

/* BTS_FOR(n) gives n tags to use, and one less gives less. */
static void
headers_are_counted(struct test_ctx *t)
{
    (void)t;
    PORT(NULL);
    for (unsigned n = 1; n <= TAGS_MAX; n++) {
        vmem_t *vm = many_init(VMEM_BTS_FOR(n));

        CHECK_EQ(spare(vm), n);
        vmem_destroy(vm);
        vm = many_init(VMEM_BTS_FOR(n) - 1);
        CHECK_LT(spare(vm), n);
        vmem_destroy(vm);
    }
}

/* So many spans, and so many ranges in them with holes everywhere; returns how
 * many ranges there are tags for. */
static unsigned
many_fill(vmem_t *vm, unsigned spans, unsigned allocs)
{
    unsigned n = 0;

    for (unsigned i = 0; i < spans; i++) {
        if (vmem_add(vm, BASE + i * 1024 * Q, 512 * Q, VM_NOSLEEP) != 0) {
            return 0;
        }
    }
    while (n < allocs && vmem_xalloc_addr(vm,
                                          BASE + n % spans * 1024 * Q +
                                              (n / spans * 2 + 1) * Q,
                                          Q, VM_NOSLEEP) == 0) {
        n++;
    }
    return n;
}

/* EST_BTCOUNT is enough for the worst of layouts, all of it in use then, and
 * one less is not enough. */
static void
the_estimate_is_exact(struct test_ctx *t)
{
    static const unsigned counts[] = { 1,  2,  3,   30,  62,  63,
                                       64, 83, 125, 126, 127, 200 };

    (void)t;
    PORT(NULL);
    for (unsigned spans = 1; spans <= 5; spans++) {
        for (unsigned i = 0; i < KVA_COUNT(counts); i++) {
            unsigned n = VMEM_EST_BTCOUNT(spans, counts[i]);
            vmem_t *vm = many_init(n);

            CHECK_EQ(many_fill(vm, spans, counts[i]), counts[i]);
            CHECK_EQ(spare(vm), 0);
            CHECK_PTR(vmem_check(vm), NULL);
            vmem_xfreeall(vm);
            vmem_destroy(vm);
            vm = many_init(n - 1);
            CHECK_LT(many_fill(vm, spans, counts[i]), counts[i]);
            vmem_xfreeall(vm);
            vmem_destroy(vm);
        }
    }
}

/* At the limit, ranges come and go and are changed, none refused. */
static void
the_estimate_holds(struct test_ctx *t)
{
    enum {
        SPANS = 3,
        RANGES = 60
    };
    static uintptr_t a[RANGES];
    static size_t size[RANGES];
    vmem_t *vm;

    PORT(NULL);
    vm = many_init(VMEM_EST_BTCOUNT(SPANS, RANGES));
    for (unsigned i = 0; i < SPANS; i++) {
        CHECK_EQ(vmem_add(vm, BASE + i * 1024 * Q, 512 * Q, VM_NOSLEEP), 0);
    }
    memset(size, 0, sizeof(size));
    for (unsigned long n = 0; n < t->count; n++) {
        unsigned i = (unsigned)test_rand_below(t, RANGES);
        size_t off, left;

        if (size[i] == 0) {
            size[i] = (1 + (size_t)test_rand_below(t, 8)) * Q;
            CHECK_EQ(vmem_xalloc(
                         vm, size[i], 8 * Q, (size_t)test_rand_below(t, 8) * Q,
                         0, VMEM_ADDR_MIN, VMEM_ADDR_MAX, VM_NOSLEEP, &a[i]),
                     0);
        } else if (test_random_one_in(&t->random, 2)) {
            vmem_xfree(vm, a[i], size[i]);
            size[i] = 0;
        } else {
            off = (size_t)test_rand_below(t, size[i] / Q) * Q;
            left = size[i] - off;
            left = (1 + (size_t)test_rand_below(t, left / Q)) * Q;
            CHECK_EQ(vmem_xtrim(vm, a[i], size[i], a[i] + off, left), 0);
            a[i] += off;
            size[i] = left;
        }
    }
    CHECK_PTR(vmem_check(vm), NULL);
    vmem_xfreeall(vm);
    vmem_destroy(vm);
}

/* ---- prepared operations ------------------------------------------------ */

/* Three arenas, each importing from the next; [2] has a span. */
static vmem_t *tower[3];

static void
tower_init(size_t quanta, size_t qcache_max, vmem_import_t *importfn,
           vm_flag_t index)
{
    for (unsigned i = 3; i-- > 0;) {
        vmem_t *source = i == 2 ? NULL : tower[i + 1];

        tower[i] = vmem_create(i == 0 ? "high" : "low", i == 2 ? BASE : 0,
                               i == 2 ? quanta * Q : 0, Q,
                               source == NULL ? NULL : importfn,
                               source == NULL ? NULL : vmem_free, source,
                               qcache_max, VM_NOSLEEP | index, KVA_IPL_NONE);
        CHECK(tower[i] != NULL);
    }
}

static void
tower_fini(void)
{
    for (unsigned i = 0; i < 3; i++) {
        vmem_destroy(tower[i]);
    }
}

static void
tower_check(void)
{
    for (unsigned i = 0; i < 3; i++) {
        CHECK_PTR(vmem_check(tower[i]), NULL);
    }
}

/* What was allocated to get rid of tags, of all three. */
static struct {
    uintptr_t addr[2048];
    unsigned n[3];
} eaten;

/* Every tag that anybody can get who has not prepared: with pages refused, out
 * of the store and out of each arena's stock.  One may be left, too few for a
 * segment under constraints or a span. */
static void
tags_eaten(vmem_t *eater)
{
    unsigned n = 0;

    kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
    while (vmem_add(eater, (uintptr_t)n++ * 2 * Q, Q, VM_NOSLEEP) == 0) {
        CHECK_LT(n, 10000);
    }
    n = 0;
    for (unsigned i = 0; i < 3; i++) {
        eaten.n[i] = n;
        while (vmem_xalloc(tower[i], Q, 2 * Q, 0, 0, VMEM_ADDR_MIN,
                           VMEM_ADDR_MAX, VM_NOSLEEP, &eaten.addr[n]) == 0) {
            CHECK_LT(++n, KVA_COUNT(eaten.addr));
        }
        eaten.n[i] = n - eaten.n[i];
    }
    for (unsigned i = 0; i < 3; i++) { /* what an import could not use */
        for (n = 0;
             vmem_add(tower[i], (i * 64 + n) * 2 * Q, Q, VM_NOSLEEP) == 0;
             n++) {
            CHECK_LT(n, 64);
        }
        /* With an index nodes may have been wanting first. */
        CHECK(tower[i]->index != NULL ||
              spare(tower[i]) <= reserved(tower[i]) + 1);
    }
}

static void
eaten_free(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < 3; i++) {
        for (unsigned k = 0; k < eaten.n[i]; k++) {
            vmem_xfree(tower[i], eaten.addr[n++], Q);
        }
    }
}

static vmem_t *
eater_new(void)
{
    vmem_t *vm = vmem_create("eater", 0, 0, Q, NULL, NULL, NULL, 0, VM_NOSLEEP,
                             KVA_IPL_NONE);

    CHECK(vm != NULL);
    return vm;
}

/* Request number i of those that were prepared; each imports through all. */
static int
prepared_run(unsigned i, uintptr_t *addr, size_t *size)
{
    *size = (3 + i % 5) * Q;
    return i % 2 == 0
               ? vmem_alloc(tower[0], *size, VM_NOSLEEP | VM_PREPARED, addr)
               : vmem_xalloc(tower[0], *size, 8 * Q, Q, 0, VMEM_ADDR_MIN,
                             VMEM_ADDR_MAX, VM_NOSLEEP | VM_PREPARED, addr);
}

#define NOPS 24u

static void
prepared_run_all(void)
{
    unsigned units = NOPS * VMEM_TAGS_PREPARED(true);
    uintptr_t addr[NOPS], last;
    size_t size[NOPS];

    for (unsigned i = 0; i < NOPS; i++) {
        CHECK_EQ(reserved(tower[0]), units - i * VMEM_TAGS_PREPARED(true));
        CHECK_EQ(reserved(tower[1]), reserved(tower[0]));
        CHECK_EQ(reserved(tower[2]), (NOPS - i) * VMEM_TAGS_PREPARED(false));
        CHECK_EQ(prepared_run(i, &addr[i], &size[i]), 0);
        tower_check();
    }
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(reserved(tower[i]), 0);
    }
    CHECK_PANIC((void)vmem_alloc(tower[0], Q, VM_NOSLEEP | VM_PREPARED, &last),
                "vmem_alloc: arena high: 0x0: expected a prepared operation, "
                "found none left");
    CHECK_PANIC(
        (void)vmem_xalloc_addr(tower[1], BASE, Q, VM_NOSLEEP | VM_PREPARED),
        "vmem_xalloc_addr: arena low: 0x0: expected a prepared "
        "operation, found none left");
    for (unsigned i = 0; i < NOPS; i++) {
        if (i % 2 == 0) {
            vmem_free(tower[0], addr[i], size[i]);
        } else {
            vmem_xfree(tower[0], addr[i], size[i]);
        }
    }
}

/* With every page refused and every other tag taken, so many succeed, through
 * three arenas; with quantum caches and without. */
static void
prepared_requests_succeed(struct test_ctx *t)
{
    (void)t;
    PORT(NULL);
    for (unsigned i = 0; i < 8; i++) {
        vmem_t *eater = eater_new();

        tower_init(65536, i % 4 < 2 ? 0 : 8 * Q,
                   i % 2 == 0 ? vmem_alloc : import_size, i < 4 ? 0 : VM_INDEX);
        CHECK_EQ(vmem_prepare(tower[0], NOPS, VM_NOSLEEP), 0);
        tags_eaten(eater);
        prepared_run_all();
        /* Used up, so everybody's again. */
        CHECK_EQ(vmem_xalloc_addr(tower[2], BASE + 60000 * Q, Q, VM_NOSLEEP),
                 0);
        vmem_xfree(tower[2], BASE + 60000 * Q, Q);
        kva_posix_fault_disarm(KVA_POSIX_ANY);
        eaten_free();
        tower_check();
        tower_fini();
        vmem_destroy(eater);
    }
}

/* A unit of each arena is enough for the worst case through the chain, whoever
 * imports and how, and there for nobody else. */
static void
a_unit_is_enough(struct test_ctx *t)
{
    (void)t;
    PORT(NULL);
    for (enum way way = PLAIN; way < WAYS; way++) {
        for (unsigned depth = 1; depth <= DEPTH_MAX; depth++) {
            chain_init(depth, way);
            for (unsigned i = 0; i < depth; i++) {
                exact_set(&chain[i], VMEM_TAGS_PREPARED(i < depth - 1));
            }
            CHECK_EQ(vmem_prepare(chain[0].vm, 1, VM_NOSLEEP), 0);
            CHECK_EQ(chain_run(way, VM_NOSLEEP), KVA_ENOMEM);
            CHECK_EQ(chain_run(way, VM_NOSLEEP | VM_PREPARED), 0);
            for (unsigned i = 0; i < depth; i++) {
                CHECK_EQ(reserved(chain[i].vm), 0);
                CHECK_EQ(spare(chain[i].vm), VMEM_TAGS_PREPARED(i < depth - 1) -
                                                 chain_tags(i, depth, way));
                CHECK_PTR(vmem_check(chain[i].vm), NULL);
            }
            chain_fini(depth);
        }
    }
}

/* What fails for want of memory is prepared as before. */
static void
a_failure_uses_nothing(struct test_ctx *t)
{
    uintptr_t a, all = 0;
    size_t before[3];
    vmem_t *eater;

    (void)t;
    PORT(NULL);
    tower_init(64, 0, import_size, 0);
    eater = eater_new();
    CHECK_EQ(vmem_prepare(tower[0], 2, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xalloc(tower[2], 62 * Q, 0, 0, 0, VMEM_ADDR_MIN,
                         VMEM_ADDR_MAX, VM_NOSLEEP, &all),
             0);
    for (unsigned i = 0; i < 3; i++) {
        before[i] = reserved(tower[i]);
    }
    for (unsigned n = 0; n < 100; n++) {
        CHECK_EQ(vmem_alloc(tower[0], 3 * Q, VM_NOSLEEP | VM_PREPARED, &a),
                 KVA_ENOMEM);
        CHECK_EQ(vmem_xalloc(tower[0], Q, 4 * Q, 0, 0, VMEM_ADDR_MIN,
                             VMEM_ADDR_MAX, VM_NOSLEEP | VM_PREPARED, &a),
                 KVA_ENOMEM);
        /* A plain import would not know where: it is not even asked. */
        CHECK_EQ(vmem_xalloc_addr(tower[0], all + 62 * Q, Q,
                                  VM_NOSLEEP | VM_PREPARED),
                 KVA_ENOMEM);
        for (unsigned i = 0; i < 3; i++) {
            CHECK_EQ(reserved(tower[i]), before[i]);
        }
    }
    tower_check();
    vmem_xfree(tower[2], all, 62 * Q);
    for (unsigned n = 0; n < 2; n++) {
        CHECK_EQ(vmem_alloc(tower[0], 3 * Q, VM_NOSLEEP | VM_PREPARED, &a), 0);
        vmem_free(tower[0], a, 3 * Q);
    }
    CHECK_EQ(reserved(tower[2]), 0);
    vmem_destroy(eater);
    tower_fini();
}

/* The caller's own tags are reserved likewise: others get what is left. */
static void
private_tags_are_reserved(struct test_ctx *t)
{
    static struct exact e;
    uintptr_t a;

    (void)t;
    PORT(NULL);
    exact_init(&e, Q, NULL, 0);
    ranges(e.vm);
    exact_set(&e, 3 * VMEM_TAGS_PREPARED(false) + 3);
    CHECK_EQ(vmem_prepare(e.vm, 5, VM_NOSLEEP), KVA_ENOMEM);
    CHECK_EQ(reserved(e.vm), 0);
    CHECK_EQ(vmem_prepare(e.vm, 2, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_prepare(e.vm, 1, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xsplit(e.vm, AT(8), 4 * Q, Q), 0);
    CHECK_EQ(vmem_xtrim(e.vm, AT(4), 4 * Q, AT(5), 2 * Q), 0);
    CHECK_EQ(spare(e.vm), reserved(e.vm));
    CHECK_EQ(vmem_xsplit(e.vm, AT(16), 4 * Q, Q), KVA_ENOMEM);
    CHECK_EQ(vmem_xtrim(e.vm, AT(9), 3 * Q, AT(10), Q), KVA_ENOMEM);
    CHECK_EQ(vmem_alloc(e.vm, 2 * Q, VM_NOSLEEP, &a), KVA_ENOMEM);
    CHECK_EQ(do_add(e.vm), KVA_ENOMEM);
    CHECK_EQ(do_alloc(e.vm), 0); /* a whole hole takes none */
    CHECK_EQ(vmem_xtrim_prepared(e.vm, AT(9), 3 * Q, AT(10), Q), 0);
    CHECK_EQ(vmem_xsplit_prepared(e.vm, AT(16), 4 * Q, Q), 0);
    CHECK_EQ(vmem_add(e.vm, AT(100), Q, VM_NOSLEEP | VM_PREPARED), 0);
    CHECK_EQ(reserved(e.vm), 0);
    CHECK_EQ(spare(e.vm), 2); /* the split took one of two, the trim too */
    CHECK_MISUSE(e.vm, (void)vmem_xtrim_prepared(e.vm, AT(16), Q, AT(16), Q),
                 "vmem_xtrim_prepared: arena exact: 0x0: expected a prepared "
                 "operation, found none left");
    CHECK_MISUSE(e.vm, (void)vmem_xsplit_prepared(e.vm, AT(17), 3 * Q, Q),
                 "vmem_xsplit_prepared: arena exact: 0x0: expected a prepared "
                 "operation, found none left");
    CHECK_MISUSE(e.vm,
                 (void)vmem_add(e.vm, AT(200), Q, VM_NOSLEEP | VM_PREPARED),
                 "vmem_add: arena exact: 0x0: expected a prepared operation, "
                 "found none left");
    exact_fini(&e);
}

/* A misuse in the middle of a prepared operation leaves it prepared. */
static void
misuse_uses_nothing(struct test_ctx *t)
{
    static struct exact e;

    (void)t;
    PORT(NULL);
    exact_init(&e, Q, NULL, 0);
    ranges(e.vm);
    CHECK_EQ(vmem_prepare(e.vm, 1, VM_NOSLEEP), 0);
    CHECK_MISUSE(e.vm, (void)vmem_xtrim_prepared(e.vm, AT(1), 3 * Q, AT(1), Q),
                 "vmem_xtrim_prepared: arena exact: 0x%lx: expected the start "
                 "of a range, found an address inside the one at 0x%lx",
                 (unsigned long)AT(1), (unsigned long)AT(0));
    CHECK_MISUSE(e.vm, (void)vmem_xsplit_prepared(e.vm, AT(4), 3 * Q, Q),
                 "vmem_xsplit_prepared: arena exact: 0x%lx: expected size "
                 "16384, found size 12288",
                 (unsigned long)AT(4));
    CHECK_MISUSE(e.vm, (void)vmem_add(e.vm, AT(3), Q, VM_NOSLEEP | VM_PREPARED),
                 "vmem_add: arena exact: 0x%lx: expected a span apart from all "
                 "others, found it overlaps 0x%lx of 131072 bytes",
                 (unsigned long)AT(3), (unsigned long)AT(0));
    CHECK_EQ(e.vm->begun, 0);
    CHECK_EQ(reserved(e.vm), VMEM_TAGS_PREPARED(false));
    CHECK_EQ(vmem_xsplit_prepared(e.vm, AT(4), 4 * Q, Q), 0);
    CHECK_EQ(reserved(e.vm), 0);
    exact_fini(&e);
}

/* All of the chain is reserved or nothing, and all of it is given up. */
static void
the_chain_is_one(struct test_ctx *t)
{
    unsigned had;

    (void)t;
    PORT(NULL);
    chain_init(3, PLAIN);
    exact_set(&chain[2], 2 * VMEM_TAGS_PREPARED(false) - 1);
    had = (unsigned)spare(chain[0].vm);
    CHECK_EQ(vmem_prepare(chain[0].vm, 2, VM_NOSLEEP), KVA_ENOMEM);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(reserved(chain[i].vm), 0);
    }
    CHECK_EQ(spare(chain[0].vm), had);
    CHECK_EQ(vmem_prepare(chain[0].vm, 1, VM_NOSLEEP), 0);
    CHECK_MISUSE(chain[0].vm, vmem_unprepare(chain[0].vm, 2),
                 "vmem_unprepare: arena exact: 0x0: expected at most the 1 "
                 "operations that are prepared, found 2");
    CHECK_MISUSE(chain[1].vm, vmem_unprepare(chain[1].vm, 1),
                 "vmem_unprepare: arena exact: 0x0: expected at most the 0 "
                 "operations that are prepared, found 1");
    CHECK_MISUSE(
        chain[1].vm,
        vmem_set_import(chain[1].vm, import_size, vmem_free, chain[2].vm, 0),
        "vmem_set_import: arena exact: 0x0: expected no prepared "
        "operation, found 4 tags reserved");
    CHECK_MISUSE(chain[0].vm,
                 vmem_set_rimport(chain[0].vm, import_around, vmem_xfree,
                                  chain[1].vm, 0),
                 "vmem_set_rimport: arena exact: 0x0: expected no prepared "
                 "operation, found 4 tags reserved");
    vmem_unprepare(chain[0].vm, 1);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(reserved(chain[i].vm), 0);
    }
    CHECK_EQ(vmem_prepare(chain[0].vm, 1, VM_NOSLEEP), 0);
    exact_fini(&chain[0]); /* with what it has prepared */
    CHECK_EQ(reserved(chain[1].vm), 0);
    CHECK_EQ(reserved(chain[2].vm), 0);
    exact_fini(&chain[1]);
    exact_fini(&chain[2]);
}

/* What is given up goes back to where it came from; too much is refused. */
static void
surplus_goes_back(struct test_ctx *t)
{
    vmem_t *vm = NULL;

    (void)t;
    PORT(NULL);
    vm = vmem_create("low", BASE, 64 * Q, Q, NULL, NULL, NULL, 0, VM_NOSLEEP,
                     KVA_IPL_NONE);
    CHECK(vm != NULL);
    for (unsigned n = 1; n < 3000; n += 499) {
        CHECK_EQ(vmem_prepare(vm, n, VM_NOSLEEP), 0);
        CHECK_GE(spare(vm), n * VMEM_TAGS_PREPARED(false));
        CHECK_PTR(vmem_check(vm), NULL);
        vmem_unprepare(vm, n);
        CHECK_LE(spare(vm), 64);
    }
    CHECK_EQ(vmem_prepare(vm, 0, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_prepare(vm, ~0u, VM_NOSLEEP), KVA_ENOMEM);
    CHECK_EQ(reserved(vm), 0);
    CHECK_MISUSE(vm, (void)vmem_prepare(vm, 1, 0),
                 "vmem_prepare: arena low: 0x0: expected one of VM_SLEEP and "
                 "VM_NOSLEEP, found flags 0x0");
    CHECK_MISUSE(vm, (void)vmem_prepare(vm, 1, VM_SLEEP | VM_NOSLEEP),
                 "vmem_prepare: arena low: 0x0: expected one of VM_SLEEP and "
                 "VM_NOSLEEP, found flags 0x3");
    vmem_destroy(vm);
}

/* ---- nodes of a large index --------------------------------------------- */

/* Fewer where each operation is followed by a check of the whole arena. */
#define PLACES (KVA_CONFIG_PARANOID ? 400u : 20000u)

/* With all the tags one can want, but no page for a node: until nobody gets one
 * any more, by long ways and by short ones. */
static void
nodes_eaten(vmem_t *vm, uint8_t *cut)
{
    unsigned i = 0;
    uintptr_t a;

    while (vmem_xalloc_addr(vm, AT(4 * i + 2), Q, VM_NOSLEEP) == 0) {
        cut[i++] = 1;
        CHECK_LT(i, PLACES);
    }
    while (vmem_xalloc(vm, 2 * Q, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                       VM_NOSLEEP, &a) == 0) {
        cut[(a - BASE) / Q / 4] = 2; /* stays */
        CHECK_LT(i++, PLACES);
    }
}

/* Cut the middle out of holes of three quanta, all over a large tree whose
 * nodes are full: as many as were prepared, while frees join nodes again and no
 * page is to be had. */
static void
nodes_are_enough(struct test_ctx *t)
{
    static struct kva_vmem_btag bts[4 * PLACES];
    static uint8_t cut[PLACES];
    unsigned long nops = KVA_CONFIG_PARANOID ? 60 : t->count;
    vmem_t *vm;

    PORT(NULL);
    vm = vmem_create("wide", BASE, PLACES * 4 * Q, Q, NULL, NULL, NULL, 0,
                     VM_NOSLEEP | VM_INDEX, KVA_IPL_NONE);
    CHECK(vm != NULL);
    CHECK_EQ(vmem_add_bts(vm, bts, KVA_COUNT(bts)), 0);
    for (unsigned i = 0; i < PLACES; i++) { /* one beside the other: full */
        CHECK_EQ(vmem_xalloc_addr(vm, AT(4 * i), Q, VM_NOSLEEP), 0);
    }
    memset(cut, 0, sizeof(cut));
    CHECK_EQ(vmem_prepare(vm, (unsigned)nops, VM_NOSLEEP), 0);
    kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
    nodes_eaten(vm, cut);
    /* Leaves are not shared out: two for each of two changes an operation. */
    CHECK_GE(vm->index->segments.nleaf_stock, 4 * nops);
    for (unsigned long left = nops; left > 0;) {
        unsigned i = (unsigned)test_rand_below(t, PLACES);
        vm_flag_t prepared =
            test_random_one_in(&t->random, 2) ? VM_PREPARED : 0;

        if (cut[i] == 1) {
            vmem_xfree(vm, AT(4 * i + 2), Q);
            cut[i] = 0;
        } else if (cut[i] == 0 &&
                   vmem_xalloc_addr(vm, AT(4 * i + 2), Q,
                                    VM_NOSLEEP | prepared) == 0) {
            cut[i] = 1;
            left -= prepared != 0;
        } else {
            CHECK(cut[i] == 2 || prepared == 0);
        }
    }
    kva_posix_fault_disarm(KVA_POSIX_ANY);
    CHECK_EQ(reserved(vm), 0);
    CHECK_PTR(vmem_check(vm), NULL);
    vmem_xfreeall(vm);
    vmem_destroy(vm);
}

/* ---- with threads ------------------------------------------------------- */
#if KVA_TIER >= 3

static struct exact waited;

static void
free_while_waiting(void *arg, const void *channel)
{
    (void)arg;
    (void)channel;
    vmem_xfree(waited.vm, AT(16), 4 * Q); /* two holes and a range make one */
}

/* VM_SLEEP waits until frees bring the tags. */
static void
prepare_waits(struct test_ctx *t)
{
    (void)t;
    PORT(NULL);
    kva_posix_clock_virtual(true);
    exact_init(&waited, Q, NULL, 0);
    ranges(waited.vm);
    exact_set(&waited, 0);
    CHECK_EQ(vmem_prepare(waited.vm, 1, VM_NOSLEEP), KVA_ENOMEM);
    kva_posix_wait_hook(free_while_waiting, NULL);
    CHECK_EQ(vmem_prepare(waited.vm, 1, VM_SLEEP), 0);
    CHECK_EQ(do_xalloc_addr(waited.vm), KVA_ENOMEM);
    CHECK_EQ(vmem_xalloc_addr(waited.vm, AT(25), Q, VM_NOSLEEP | VM_PREPARED),
             0);
    exact_fini(&waited);
}

#define HELD 32u

/* Requests of others, as many as they get, until the test is over. */
static void *
others(void *arg)
{
    bool *over = arg;
    uintptr_t a[HELD];

    while (!__atomic_load_n(over, __ATOMIC_ACQUIRE)) {
        unsigned n = 0;

        for (unsigned i = 0; i < HELD; i++) {
            if (vmem_xalloc(tower[i % 3], 2 * Q, 4 * Q, Q, 0, VMEM_ADDR_MIN,
                            VMEM_ADDR_MAX, VM_NOSLEEP, &a[n]) == 0) {
                a[n++] |= i % 3;
            }
        }
        while (n > 0) {
            n--;
            vmem_xfree(tower[a[n] & 3], a[n] & ~(uintptr_t)3, 2 * Q);
        }
    }
    return NULL;
}

/* While another thread takes every tag it can get, and no page comes, what was
 * prepared succeeds: four at a time, again and again. */
static void
eat_at_the_reserve(struct test_ctx *t, vm_flag_t index)
{
    bool over = false;
    pthread_t thread;
    uintptr_t a[4];
    vmem_t *eater;
    int err = 0;

    tower_init(65536, 0, vmem_alloc, index);
    eater = eater_new();
    CHECK_EQ(vmem_prepare(tower[0], 4 * (unsigned)t->count, VM_NOSLEEP), 0);
    kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
    for (unsigned n = 0;
         vmem_add(eater, (uintptr_t)n * 2 * Q, Q, VM_NOSLEEP) == 0; n++) {
    }
    CHECK_EQ(pthread_create(&thread, NULL, others, &over), 0);
    for (unsigned long round = 0; round < t->count && err == 0; round++) {
        unsigned n = 0;

        while (n < 4 && err == 0) {
            err = vmem_xalloc(tower[0], 4 * Q, 8 * Q, Q, 0, VMEM_ADDR_MIN,
                              VMEM_ADDR_MAX, VM_NOSLEEP | VM_PREPARED, &a[n]);
            n += err == 0;
        }
        while (n > 0) {
            vmem_xfree(tower[0], a[--n], 4 * Q);
        }
    }
    __atomic_store_n(&over, true, __ATOMIC_RELEASE);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(err, 0);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(reserved(tower[i]), 0);
    }
    kva_posix_fault_disarm(KVA_POSIX_ANY);
    tower_check();
    tower_fini();
    vmem_destroy(eater);
}

static void
nobody_eats_the_reserve(struct test_ctx *t)
{
    PORT(NULL);
    eat_at_the_reserve(t, 0);
}

static void
nobody_eats_the_nodes(struct test_ctx *t)
{
    PORT(NULL);
    eat_at_the_reserve(t, VM_INDEX);
}
#endif

const struct test budget_tests[] = {
    TEST("budget", each_constant_is_exact),
    TEST("budget", chains_are_exact),
    TEST("budget", headers_are_counted),
    TEST("budget", the_estimate_is_exact),
    TEST_COUNT("budget", the_estimate_holds, 20000, 200000, 5000000),
    TEST("budget", prepared_requests_succeed),
    TEST("budget", a_unit_is_enough),
    TEST("budget", a_failure_uses_nothing),
    TEST("budget", private_tags_are_reserved),
    TEST("budget", misuse_uses_nothing),
    TEST("budget", the_chain_is_one),
    TEST("budget", surplus_goes_back),
    TEST_COUNT("budget", nodes_are_enough, 3000, 10000, 15000),
#if KVA_TIER >= 3
    TEST("budget", prepare_waits),
    TEST_THREADS("budget", nobody_eats_the_reserve, 0, 1000, 5000, 20000),
    TEST_THREADS("budget", nobody_eats_the_nodes, 0, 300, 1000, 5000),
#endif
    TEST_END
};
