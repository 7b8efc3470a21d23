/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: a walk visits each segment that is there all the time exactly once, in
 * address order within its span, whatever happens to the others meanwhile; and
 * without locks it sees the same.
 *
 * Shown: the visitor itself changes the arena, one random step at a time, and
 * looks with a locked walk what has stayed; threads allocate and free while a
 * third walks.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "tests/harness/test.h"
#include "vmem/vmem_store.h"

#define Q ((size_t)4096)
#define BASE ((uintptr_t)0x40000000)
#define ALL (VMEM_ALLOC | VMEM_FREE | VMEM_CACHED | VMEM_SPAN)

/* ---- what a walk has seen ----------------------------------------------- */

#define SEEN_MAX 512u

struct seen {
    unsigned n;
    struct {
        uintptr_t addr;
        size_t size;
        unsigned type, visits;
    } at[SEEN_MAX];
};

static void
see(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    struct seen *s = arg;

    CHECK_LT(s->n, SEEN_MAX);
    s->at[s->n].addr = addr;
    s->at[s->n].size = size;
    s->at[s->n].type = type;
    s->at[s->n].visits = 0;
    s->n++;
}

static bool
has(const struct seen *s, uintptr_t addr, size_t size, unsigned type)
{
    for (unsigned i = 0; i < s->n; i++) {
        if (s->at[i].addr == addr && s->at[i].size == size &&
            s->at[i].type == type) {
            return true;
        }
    }
    return false;
}

/* ---- a visitor that changes the arena ----------------------------------- */

#define RANGES 48u

static struct {
    struct test_ctx *t;
    vmem_t *vm, *source;
    unsigned n;
    uintptr_t addr[RANGES];
    size_t size[RANGES];
    struct seen stays; /* what was there at each look so far */
    struct seen now;
    uintptr_t span, span_last; /* the span being walked */
    uintptr_t next;            /* no visit below, in it */
    bool span_end;             /* nothing is left of it */
    unsigned long visits, depth;
} w;

/* Drop what is not there any more from what stays. */
static void
look(void)
{
    unsigned kept = 0;

    w.now.n = 0;
    vmem_walk(w.vm, VMEM_ALLOC | VMEM_FREE | VMEM_SPAN, see, &w.now);
    for (unsigned i = 0; i < w.stays.n; i++) {
        if (has(&w.now, w.stays.at[i].addr, w.stays.at[i].size,
                w.stays.at[i].type)) {
            w.stays.at[kept++] = w.stays.at[i];
        }
    }
    w.stays.n = kept;
}

static void
change(void)
{
    unsigned k = (unsigned)test_rand_below(w.t, RANGES);
    size_t size = (1 + test_rand_below(w.t, 6)) * Q;

    if (k < w.n) {
        vmem_xfree(w.vm, w.addr[k], w.size[k]);
        w.n--;
        w.addr[k] = w.addr[w.n];
        w.size[k] = w.size[w.n];
    } else if (vmem_xalloc(w.vm, size, test_rand_below(w.t, 4) ? 0 : 4 * Q, 0,
                           0, VMEM_ADDR_MIN, VMEM_ADDR_MAX, VM_NOSLEEP,
                           &w.addr[w.n]) == 0) {
        w.size[w.n++] = size;
    }
}

static void
nothing(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    unsigned *n = arg;

    (void)addr;
    (void)size;
    (void)type;
    *n += 1;
}

static void
order_check(uintptr_t addr, size_t size, unsigned type)
{
    if (type == VMEM_SPAN) {
        w.span = w.next = addr;
        w.span_last = addr + (size - 1);
        w.span_end = false;
        return;
    }
    CHECK(!w.span_end);
    CHECK_GE(addr, w.next);
    CHECK_LE(addr + (size - 1), w.span_last);
    w.next = addr + size;
    w.span_end = addr + (size - 1) == w.span_last;
}

static void
visit_and_change(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    unsigned n = 0;

    (void)arg;
    CHECK_EQ(kva_posix_locks_held(), 0);
    order_check(addr, size, type);
    for (unsigned i = 0; i < w.stays.n; i++) {
        if (w.stays.at[i].addr == addr && w.stays.at[i].size == size &&
            w.stays.at[i].type == type) {
            w.stays.at[i].visits++;
        }
    }
    w.visits++;
    for (unsigned i = (unsigned)test_rand_below(w.t, 4); i > 0; i--) {
        change();
        look();
    }
    if (w.depth == 0 && test_rand_below(w.t, 16) == 0) {
        w.depth++; /* another walk inside, which ends before this one */
        vmem_walk(w.vm, VMEM_ALLOC | VMEM_REENTRANT, nothing, &n);
        w.depth--;
    }
    CHECK_PTR(vmem_check(w.vm), NULL);
}

/* Two spans of its own, and imported ones that come and go. */
static void
visitor_changes(struct test_ctx *t, vm_flag_t index)
{
    unsigned long stayed = 0;

    PORT(NULL);
    w.t = t;
    w.source = vmem_create("source", BASE + 4096 * Q, 256 * Q, Q, NULL, NULL,
                           NULL, 0, VM_NOSLEEP, KVA_IPL_NONE);
    w.vm = vmem_create("walked", BASE, 40 * Q, Q, vmem_alloc, vmem_free,
                       w.source, 0, VM_NOSLEEP | index, KVA_IPL_NONE);
    CHECK(w.source != NULL && w.vm != NULL);
    CHECK_EQ(vmem_add(w.vm, BASE + 1024 * Q, 24 * Q, VM_NOSLEEP), 0);
    for (unsigned long n = 0; n < t->count; n++) {
        for (unsigned i = 0; i < RANGES / 4; i++) {
            change();
        }
        w.stays.n = 0;
        vmem_walk(w.vm, VMEM_ALLOC | VMEM_FREE | VMEM_SPAN, see, &w.stays);
        vmem_walk(w.vm, VMEM_ALLOC | VMEM_FREE | VMEM_SPAN | VMEM_REENTRANT,
                  visit_and_change, NULL);
        for (unsigned i = 0; i < w.stays.n; i++) {
            CHECK_EQ(w.stays.at[i].visits, 1);
        }
        stayed += w.stays.n;
        CHECK_PTR(w.vm->cursors, NULL);
    }
    CHECK_GT(stayed, t->count);
    CHECK_GT(w.visits, stayed);
    vmem_xfreeall(w.vm);
    vmem_destroy(w.vm);
    vmem_destroy(w.source);
}

static void
visitor_changes_the_arena(struct test_ctx *t)
{
    visitor_changes(t, 0);
}

static void
visitor_changes_an_indexed_one(struct test_ctx *t)
{
    visitor_changes(t, VM_INDEX);
}

/* ---- all ways see the same ---------------------------------------------- */

/* An arena with pieces, in which nothing happens. */
static void
all_ways_see_the_same(struct test_ctx *t)
{
    static struct seen locked, reentrant, nolock;
    uintptr_t a[60];
    kva_irq_t irq;
    vmem_t *vm;

    PORT(NULL);
    vm = vmem_create("still", BASE, 512 * Q, Q, NULL, NULL, NULL, 8 * Q,
                     VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(vm != NULL);
    for (unsigned i = 0; i < KVA_COUNT(a); i++) {
        CHECK_EQ(vmem_alloc(vm, (1 + i % 12) * Q, VM_NOSLEEP, &a[i]), 0);
    }
    for (unsigned i = 0; i < KVA_COUNT(a); i += 1 + i % 3) {
        vmem_free(vm, a[i], (1 + i % 12) * Q);
        a[i] = 0;
    }
    (void)t;
    vmem_walk(vm, ALL, see, &locked);
    vmem_walk(vm, ALL | VMEM_REENTRANT, see, &reentrant);
    irq = kva_port_lock(&vm->lock); /* by whoever has crashed */
    vmem_walk(vm, ALL | VMEM_NOLOCK, see, &nolock);
    kva_port_unlock(&vm->lock, irq);
    CHECK_GT(locked.n, KVA_COUNT(a) / 2);
    CHECK_EQ(memcmp(&locked, &reentrant, sizeof(locked)), 0);
    CHECK_EQ(memcmp(&locked, &nolock, sizeof(locked)), 0);
    for (unsigned i = 0; i < KVA_COUNT(a); i++) {
        if (a[i] != 0) {
            CHECK(has(&locked, a[i], (1 + i % 12) * Q, VMEM_ALLOC));
            vmem_free(vm, a[i], (1 + i % 12) * Q);
        }
    }
    vmem_destroy(vm);
}

/* ---- threads ------------------------------------------------------------ */

#define THREADS 2u
#define KEPT 64u
#define HELD 24u

static struct {
    vmem_t *vm, *source;
    unsigned running;
    unsigned long count;
    uintptr_t kept[KEPT];
    size_t kept_size[KEPT];
    unsigned kept_visits[KEPT];
    uintptr_t next, last;
} s;

struct worker {
    pthread_t thread;
    struct test_random random;
};

static void *
worker_run(void *arg)
{
    struct worker *me = arg;
    uintptr_t held[HELD] = { 0 };
    size_t size[HELD];
    bool x[HELD];

    for (unsigned long i = 0; i < s.count; i++) {
        unsigned k = (unsigned)test_random_below(&me->random, HELD);

        if (held[k] != 0) {
            (x[k] ? vmem_xfree : vmem_free)(s.vm, held[k], size[k]);
            held[k] = 0;
            continue;
        }
        size[k] = (1 + test_random_below(&me->random, 12)) * Q;
        x[k] = test_random_one_in(&me->random, 4);
        if ((x[k] ? vmem_xalloc(s.vm, size[k], 0, 0, 0, VMEM_ADDR_MIN,
                                VMEM_ADDR_MAX, VM_NOSLEEP, &held[k])
                  : vmem_alloc(s.vm, size[k], VM_NOSLEEP, &held[k])) != 0) {
            held[k] = 0;
        }
    }
    for (unsigned k = 0; k < HELD; k++) {
        if (held[k] != 0) {
            (x[k] ? vmem_xfree : vmem_free)(s.vm, held[k], size[k]);
        }
    }
    (void)__atomic_fetch_sub(&s.running, 1, __ATOMIC_ACQ_REL);
    return NULL;
}

static void
visit_kept(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    uintptr_t fresh = 0;

    (void)arg;
    if (type == VMEM_SPAN) {
        s.next = addr;
        s.last = addr + (size - 1);
        return;
    }
    CHECK_GE(addr, s.next);
    CHECK_LE(addr + (size - 1), s.last);
    s.next = addr + size;
    for (unsigned i = 0; i < KEPT; i++) {
        if (s.kept[i] == addr && type == VMEM_ALLOC) {
            CHECK_EQ(size, s.kept_size[i]);
            s.kept_visits[i]++;
        }
    }
    if (vmem_alloc(s.vm, 3 * Q, VM_NOSLEEP, &fresh) == 0) {
        vmem_free(s.vm, fresh, 3 * Q);
    }
}

/* Ask for what is kept while others change what lies around it. */
static void
look_up_kept(unsigned i)
{
    struct kva_vmem_segment seg;
    uintptr_t inside = s.kept[i] + s.kept_size[i] - 1;

    CHECK(vmem_contains(s.vm, s.kept[i], s.kept_size[i]));
    CHECK_EQ(vmem_find(s.vm, inside, &seg), 0);
    CHECK_EQ(seg.addr, s.kept[i]);
    CHECK_EQ(seg.size, s.kept_size[i]);
    CHECK(seg.kind == VMEM_KIND_LIVE || seg.kind == VMEM_KIND_ALLOC ||
          seg.kind == VMEM_KIND_XALLOC);
}

static void
walk_among_threads(struct test_ctx *t)
{
    struct worker worker[THREADS];
    unsigned long walks = 0;

    PORT(&(struct kva_posix_config){ .cpus = 4 });
    s.source = vmem_create("source", BASE, 4096 * Q, Q, NULL, NULL, NULL, 0,
                           VM_NOSLEEP, KVA_IPL_VM);
    s.vm = vmem_create("walked", BASE + 8192 * Q, 512 * Q, Q, vmem_alloc,
                       vmem_free, s.source, 8 * Q, VM_NOSLEEP, KVA_IPL_VM);
    CHECK(s.source != NULL && s.vm != NULL);
    for (unsigned i = 0; i < KEPT; i++) {
        s.kept_size[i] = (1 + i % 14) * Q;
        CHECK_EQ(vmem_alloc(s.vm, s.kept_size[i], VM_NOSLEEP, &s.kept[i]), 0);
    }
    s.running = THREADS;
    s.count = t->count / THREADS + 1;
    for (unsigned i = 0; i < THREADS; i++) {
        worker[i].random.state = test_rand(t);
        CHECK_EQ(
            pthread_create(&worker[i].thread, NULL, worker_run, &worker[i]), 0);
    }
    do {
        memset(s.kept_visits, 0, sizeof(s.kept_visits));
        vmem_walk(s.vm, ALL | VMEM_REENTRANT, visit_kept, NULL);
        for (unsigned i = 0; i < KEPT; i++) {
            CHECK_EQ(s.kept_visits[i], 1);
        }
        look_up_kept((unsigned)(walks % KEPT));
        CHECK_PTR(vmem_check(s.vm), NULL);
        walks++;
    } while (__atomic_load_n(&s.running, __ATOMIC_ACQUIRE) > 0);
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(worker[i].thread, NULL), 0);
    }
    for (unsigned i = 0; i < KEPT; i++) {
        vmem_free(s.vm, s.kept[i], s.kept_size[i]);
    }
    CHECK_GE(walks, 1);
    vmem_destroy(s.vm);
    vmem_destroy(s.source);
}

const struct test walk_tests[] = {
    TEST_COUNT("walk", visitor_changes_the_arena, 60, 2000, 50000),
    TEST_COUNT("walk", visitor_changes_an_indexed_one, 60, 2000, 50000),
    TEST("walk", all_ways_see_the_same),
    TEST_THREADS("walk", walk_among_threads, 2000, 20000, 400000, 10000000),
    TEST_END
};
