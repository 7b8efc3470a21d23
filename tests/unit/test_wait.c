/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Waiting for memory.  Claims: first in, first out; only those are woken whom
 * what became free may serve, and what one leaves over goes to the next; at
 * most 64 younger grants pass the head; waits end in time, or when cancelled;
 * nobody waits for what can never be, nor for an arena that is ended.
 *
 * Sleepers are threads.  The host port counts who is asleep, and a wake takes
 * its sleeper off that count before it returns, so "nobody was woken" can be
 * seen at once.  The clock is virtual where it plays a part; nobody looks again
 * by himself, so a wake that is lost hangs and the harness ends the test.
 */
#include <pthread.h>

#include "tests/misuse/digest.h"
#include "tests/unit/tower.h"
#include "vmem/vmem_store.h"

#define Q ((size_t)4096)
#define BASE ((uintptr_t)0x40000000)
#define QUANTA 64u
#define PASS_MAX 64u /* of vmem/wait.c */

struct sleeper {
    pthread_t thread;
    vmem_t *vm;
    struct vmem_request rq;
    uint64_t timeout_ns;
    const void *cookie;
    bool plain; /* by vmem_alloc */
    int err;
    uintptr_t addr;
    unsigned order; /* of its return */
};

static unsigned returned;

static vmem_t *
arena_new(size_t quanta, size_t qcache_max)
{
    vmem_t *vm = vmem_create("test", BASE, quanta * Q, Q, NULL, NULL, NULL,
                             qcache_max, VM_NOSLEEP, KVA_IPL_NONE);

    CHECK(vm != NULL);
    return vm;
}

static vmem_t *
child_new(vmem_t *source)
{
    vmem_t *vm = vmem_create("child", 0, 0, Q, vmem_alloc, vmem_free, source, 0,
                             VM_NOSLEEP, KVA_IPL_NONE);

    CHECK(vm != NULL);
    return vm;
}

/* Every quantum of an arena taken by itself, at BASE + i * Q. */
static vmem_t *
arena_full(size_t quanta)
{
    vmem_t *vm = arena_new(quanta, 0);

    for (size_t i = 0; i < quanta; i++) {
        CHECK_EQ(vmem_xalloc_addr(vm, BASE + i * Q, Q, VM_NOSLEEP), 0);
    }
    return vm;
}

static void
quanta_free(vmem_t *vm, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++) {
        vmem_xfree(vm, BASE + i * Q, Q);
    }
}

static void
arena_end(vmem_t *vm)
{
    CHECK_PTR(vmem_check(vm), NULL);
    if (vm->qcache_max == 0) {
        vmem_xfreeall(vm);
    }
    vmem_destroy(vm);
}

static void *
sleeper_run(void *arg)
{
    struct sleeper *s = arg;

    s->err = s->plain ? vmem_alloc(s->vm, s->rq.size, VM_SLEEP, &s->addr)
                      : vmem_xalloc_timed(s->vm, &s->rq, s->timeout_ns,
                                          s->cookie, &s->addr);
    s->order = __atomic_fetch_add(&returned, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void
until_asleep(size_t n)
{
    while (kva_posix_waiters() != n) {
        kva_port_relax();
    }
}

/* Start it, and wait until it sleeps. */
static void
sleeper_start(struct sleeper *s)
{
    size_t asleep = kva_posix_waiters();

    CHECK_EQ(pthread_create(&s->thread, NULL, sleeper_run, s), 0);
    until_asleep(asleep + 1);
}

static struct sleeper
sleeper_make(vmem_t *vm, size_t quanta)
{
    return (struct sleeper){
        .vm = vm,
        .rq = { .size = quanta * Q,
                .maxaddr = VMEM_ADDR_MAX,
                .flags = VM_SLEEP },
    };
}

static void
sleepers_start(struct sleeper *s, vmem_t *vm, const size_t *quanta, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        s[i] = sleeper_make(vm, quanta[i]);
        sleeper_start(&s[i]);
    }
}

static void
sleeper_join(struct sleeper *s, int expected)
{
    CHECK_EQ(pthread_join(s->thread, NULL), 0);
    CHECK_EQ(s->err, expected);
}

static void
check_wakes(vmem_t *vm, size_t waits, size_t wakes, size_t vain)
{
    struct kva_vmem_stat st;

    vmem_stat(vm, &st);
    CHECK_EQ(st.wait, waits);
    CHECK_EQ(st.wakes, wakes);
    CHECK_EQ(st.wakes_vain, vain);
}

/* ---- who is woken ------------------------------------------------------- */

static void
first_in_first_out(struct test_ctx *t)
{
    static const size_t ones[6] = { 1, 1, 1, 1, 1, 1 };
    struct sleeper s[6];
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    returned = 0;
    vm = arena_full(8);
    sleepers_start(s, vm, ones, 6);
    for (unsigned i = 0; i < 6; i++) {
        quanta_free(vm, i, 1);
        sleeper_join(&s[i], 0);
        CHECK_EQ(s[i].order, i);
        CHECK_EQ(s[i].addr, BASE + i * Q);
        CHECK_EQ(kva_posix_waiters(), 5 - i);
    }
    check_wakes(vm, 6, 6, 0);
    arena_end(vm);
}

/* Holes of one and three quanta are nothing for who wants four. */
static void
too_small_wakes_nobody(struct test_ctx *t)
{
    struct sleeper s;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_full(16);
    s = sleeper_make(vm, 4);
    sleeper_start(&s);
    quanta_free(vm, 0, 1);
    quanta_free(vm, 2, 1);
    quanta_free(vm, 4, 1);
    quanta_free(vm, 1, 1);
    CHECK_EQ(kva_posix_waiters(), 1);
    check_wakes(vm, 0, 0, 0);
    quanta_free(vm, 3, 1);
    sleeper_join(&s, 0);
    check_wakes(vm, 1, 1, 0);
    arena_end(vm);
}

/* One free serves all whom it can serve, the oldest first, and only them. */
static void
what_is_left_goes_to_the_next(struct test_ctx *t)
{
    static const size_t quanta[5] = { 2, 9, 3, 3, 1 };
    struct sleeper s[5];
    uintptr_t a = 0;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_full(16);
    quanta_free(vm, 0, 8);
    CHECK_EQ(vmem_alloc(vm, 8 * Q, VM_NOSLEEP, &a), 0);
    sleepers_start(s, vm, quanta, 5);
    vmem_free(vm, a, 8 * Q);
    sleeper_join(&s[0], 0);
    sleeper_join(&s[2], 0);
    sleeper_join(&s[3], 0);
    CHECK_EQ(kva_posix_waiters(), 2); /* all 8 are gone */
    check_wakes(vm, 3, 3, 0);
    quanta_free(vm, 8, 1); /* too little for the older one */
    sleeper_join(&s[4], 0);
    CHECK_EQ(vmem_cancel(vm, NULL), 1);
    sleeper_join(&s[1], KVA_EINTR);
    check_wakes(vm, 5, 4, 0);
    arena_end(vm);
}

/* Only a hole in which the request fits, as it stands. */
static void
constraints_are_looked_at(struct test_ctx *t)
{
    struct sleeper s[4];
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_full(64);
    for (unsigned i = 0; i < 4; i++) {
        s[i] = sleeper_make(vm, 2);
    }
    s[0].rq.minaddr = BASE + 40 * Q;
    s[1].rq.maxaddr = BASE + 20 * Q - 1;
    s[2].rq.align = 8 * Q;
    s[2].rq.minaddr = BASE + 20 * Q;
    s[3].rq.nocross = 4 * Q;
    s[3].rq.minaddr = BASE + 20 * Q;
    s[3].rq.maxaddr = BASE + 40 * Q - 1;
    for (unsigned i = 0; i < 4; i++) {
        sleeper_start(&s[i]);
    }
    quanta_free(vm, 20, 1);
    quanta_free(vm, 27, 2); /* crosses 28, and is not aligned to 8 */
    CHECK_EQ(kva_posix_waiters(), 4);
    quanta_free(vm, 29, 1);
    sleeper_join(&s[3], 0);
    CHECK_EQ(s[3].addr, BASE + 28 * Q);
    quanta_free(vm, 32, 2);
    sleeper_join(&s[2], 0);
    CHECK_EQ(s[2].addr, BASE + 32 * Q);
    quanta_free(vm, 40, 2);
    sleeper_join(&s[0], 0);
    quanta_free(vm, 18, 2);
    sleeper_join(&s[1], 0);
    CHECK_EQ(s[1].addr, BASE + 18 * Q);
    check_wakes(vm, 4, 4, 0);
    arena_end(vm);
}

/* A free in a source, and in a sibling that gives it back there. */
static void
sources_wake_who_imports(struct test_ctx *t)
{
    struct sleeper s[2];
    vmem_t *source, *child[2], *grandchild;
    uintptr_t a = 0, b = 0;

    (void)t;
    PORT(NULL);
    source = arena_new(16, 0);
    child[0] = child_new(source);
    child[1] = child_new(source);
    grandchild = child_new(child[0]);
    CHECK_EQ(vmem_alloc(source, 4 * Q, VM_NOSLEEP, &a), 0);
    CHECK_EQ(vmem_alloc(child[1], 12 * Q, VM_NOSLEEP, &b), 0);
    s[0] = sleeper_make(grandchild, 8);
    s[1] = sleeper_make(child[0], 3);
    sleeper_start(&s[0]);
    sleeper_start(&s[1]);
    vmem_free(source, a, 4 * Q); /* nothing for the older one */
    sleeper_join(&s[1], 0);
    CHECK_EQ(kva_posix_waiters(), 1);
    vmem_free(child[1], b, 12 * Q);
    sleeper_join(&s[0], 0);
    check_wakes(child[0], 1, 1, 0);
    check_wakes(grandchild, 1, 1, 0);
    vmem_xfree(grandchild, s[0].addr, 8 * Q);
    vmem_xfree(child[0], s[1].addr, 3 * Q);
    CHECK_EQ(vmem_size(source, VMEM_ALLOC), 0);
    vmem_destroy(grandchild);
    vmem_destroy(child[0]);
    vmem_destroy(child[1]);
    vmem_destroy(source);
}

/* Frees that magazines and pieces would keep: of every size for every size. */
static void
quantum_caches_keep_nothing(struct test_ctx *t)
{
    uintptr_t a[33];
    struct sleeper s;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    for (size_t size = 1; size <= 8; size++) {
        for (size_t want = 1; want <= 16; want++) {
            unsigned n = 0;

            vm = arena_new(32, 8 * Q);
            while (vmem_alloc(vm, size * Q, VM_NOSLEEP, &a[n]) == 0) {
                n++;
            }
            s = sleeper_make(vm, want);
            s.plain = true;
            if (vmem_alloc(vm, want * Q, VM_NOSLEEP, &a[n]) == 0) {
                vmem_free(vm, a[n], want * Q);
            } else {
                sleeper_start(&s);
                while (n > 0) {
                    vmem_free(vm, a[--n], size * Q);
                }
                sleeper_join(&s, 0);
                vmem_free(vm, s.addr, want * Q);
            }
            while (n > 0) {
                vmem_free(vm, a[--n], size * Q);
            }
            CHECK_PTR(vmem_check(vm), NULL);
            vmem_destroy(vm);
        }
    }
}

/* Of the holes of a source those within the bounds of the request wake. */
static void
imports_are_constrained_too(struct test_ctx *t)
{
    vmem_t *source, *child;
    struct sleeper s;

    (void)t;
    PORT(NULL);
    source = arena_full(32);
    child = child_new(source);
    s = sleeper_make(child, 2);
    s.rq.minaddr = BASE + 20 * Q;
    sleeper_start(&s);
    quanta_free(source, 0, 8);
    CHECK_EQ(kva_posix_waiters(), 1);
    quanta_free(source, 20, 1);
    CHECK_EQ(kva_posix_waiters(), 1);
    quanta_free(source, 21, 1);
    sleeper_join(&s, 0);
    CHECK_EQ(s.addr, BASE + 20 * Q);
    vmem_xfree(child, s.addr, 2 * Q);
    s = sleeper_make(child, 2);
    s.rq.maxaddr = BASE - 1 + 18 * Q;
    s.rq.minaddr = BASE + 15 * Q;
    sleeper_start(&s);
    quanta_free(source, 15, 2);
    sleeper_join(&s, 0);
    CHECK_EQ(s.addr, BASE + 15 * Q);
    check_wakes(child, 2, 2, 0);
    vmem_xfree(child, s.addr, 2 * Q);
    vmem_destroy(child);
    arena_end(source);
}

/*
 * Addresses there are, but the arena may not have so many: spans that go back
 * help, however small each is, and so does a higher limit.
 */
static void
limits_are_waited_for(struct test_ctx *t)
{
    vmem_t *source, *child;
    uintptr_t a[8];
    struct sleeper s;

    (void)t;
    PORT(NULL);
    source = arena_new(64, 0);
    child = child_new(source);
    vmem_set_limit(child, 8 * Q);
    for (unsigned i = 0; i < 8; i++) {
        CHECK_EQ(vmem_alloc(child, Q, VM_NOSLEEP, &a[i]), 0);
    }
    s = sleeper_make(child, 9);
    CHECK_EQ(vmem_xalloc_timed(child, &s.rq, 0, NULL, &s.addr), KVA_ENOMEM);
    s = sleeper_make(child, 3);
    sleeper_start(&s);
    for (unsigned i = 0; i < 3; i++) {
        until_asleep(1);
        vmem_free(child, a[i], Q);
    }
    sleeper_join(&s, 0);
    check_wakes(child, 1, 3, 2);
    vmem_xfree(child, s.addr, 3 * Q);
    CHECK_EQ(vmem_alloc(child, 3 * Q, VM_NOSLEEP, &a[0]), 0);
    s = sleeper_make(child, 2);
    sleeper_start(&s);
    vmem_set_limit(child, 10 * Q);
    sleeper_join(&s, 0);
    vmem_xfree(child, s.addr, 2 * Q);
    vmem_free(child, a[0], 3 * Q);
    for (unsigned i = 3; i < 8; i++) {
        vmem_free(child, a[i], Q);
    }
    vmem_destroy(child);
    vmem_destroy(source);
}

static int
import_if_allowed(vmem_t *allowed, vmem_size_t size, vm_flag_t flags,
                  vmem_addr_t *addr)
{
    CHECK_EQ(flags & VM_NOSLEEP, VM_NOSLEEP);
    *addr = BASE;
    return size <= 16 * Q && allowed->qcache_max != 0 ? 0 : KVA_ENOMEM;
}

static void
release_nowhere(vmem_t *allowed, vmem_addr_t addr, vmem_size_t size)
{
    (void)allowed;
    CHECK_EQ(addr, BASE);
    CHECK_EQ(size, 16 * Q);
}

/* What only the import function knows of: it says that it may succeed now. */
static void
retry_is_told(struct test_ctx *t)
{
    static struct kva_vmem allowed;
    struct sleeper s;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = vmem_create("own", 0, 0, Q, import_if_allowed, release_nowhere,
                     &allowed, 0, VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(vm != NULL);
    s = sleeper_make(vm, 16);
    sleeper_start(&s);
    vmem_retry(vm); /* too early */
    until_asleep(1);
    allowed.qcache_max = 1;
    vmem_retry(vm);
    sleeper_join(&s, 0);
    check_wakes(vm, 1, 2, 1);
    vmem_xfree(vm, s.addr, 16 * Q);
    vmem_destroy(vm);
}

static struct {
    vmem_t *vm;     /* that imports so */
    unsigned calls; /* until frames come, from another CPU */
    bool frames;
} paged;

/* Addresses come first, and go back if there are no frames: they are a hole
 * then.  Frames come right behind that. */
static int
import_paged(vmem_t *source, vmem_size_t size, vm_flag_t flags,
             vmem_addr_t *addr)
{
    int err = vmem_alloc(source, size, flags, addr);

    if (err == 0 && !paged.frames) {
        vmem_free(source, *addr, size);
        if (--paged.calls == 0) {
            paged.frames = true;
            vmem_retry(paged.vm);
        }
        err = KVA_ENOMEM;
    }
    return err;
}

/* Who is woken for addresses while he tries, and finds that those are not what
 * is missing, does not sleep on what came meanwhile. */
static void
another_hole_is_remembered(struct test_ctx *t)
{
    struct sleeper s;
    vmem_t *source;

    (void)t;
    PORT(NULL);
    source = arena_new(QUANTA, 0);
    paged.vm = vmem_create("paged", 0, 0, Q, import_paged, vmem_free, source, 0,
                           VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(paged.vm != NULL);
    paged.calls = 2; /* before he is in the queue, and when he is */
    paged.frames = false;
    s = sleeper_make(paged.vm, 4);
    CHECK_EQ(pthread_create(&s.thread, NULL, sleeper_run, &s), 0);
    sleeper_join(&s, 0);
    check_wakes(paged.vm, 1, 1, 0);
    vmem_xfree(paged.vm, s.addr, 4 * Q);
    vmem_destroy(paged.vm);
    arena_end(source);
}

/* What an import function has of something, each time elsewhere. */
static struct {
    size_t have; /* quanta */
    unsigned calls;
} larder;

static int
import_of_stock(vmem_t *source, vmem_size_t size, vm_flag_t flags,
                vmem_addr_t *addr)
{
    (void)source;
    (void)flags;
    if (size > larder.have * Q) {
        return KVA_ENOMEM;
    }
    larder.have -= size / Q;
    *addr = BASE + larder.calls++ * QUANTA * Q;
    return 0;
}

static void
release_to_stock(vmem_t *source, vmem_addr_t addr, vmem_size_t size)
{
    (void)source;
    (void)addr;
    larder.have += size / Q;
}

/* What the import function denied to one it is not asked for again by those who
 * want the same; but who wants less is woken, and all are when there is more. */
static void
the_same_is_denied_once(struct test_ctx *t)
{
    static const size_t quanta[] = { 2, 2, 2, 2, 2, 1, 3 };
    struct sleeper s[KVA_COUNT(quanta)];
    vmem_addr_t a;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = vmem_create("stock", 0, 0, Q, import_of_stock, release_to_stock, NULL,
                     0, VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(vm != NULL);
    larder.have = 1;
    larder.calls = 0;
    CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), 0);
    sleepers_start(s, vm, quanta, KVA_COUNT(quanta));
    vmem_free(vm, a, Q); /* not for the first, nor for his like */
    sleeper_join(&s[5], 0);
    until_asleep(6);
    check_wakes(vm, 1, 1, 0);
    vmem_xfree(vm, s[5].addr, Q); /* once more, and the last is asked too */
    until_asleep(6);
    CHECK_EQ(larder.have, 1);
    larder.have = 13;
    vmem_retry(vm);
    for (unsigned i = 0; i < KVA_COUNT(quanta); i++) {
        if (i != 5) {
            sleeper_join(&s[i], 0);
            CHECK_EQ(s[i].addr & (Q - 1), 0);
        }
    }
    CHECK_EQ(larder.have, 0);
    /* the first: twice in vain; the last too */
    check_wakes(vm, 7, 7 + 2 * 2, 2 * 2);
    for (unsigned i = 0; i < KVA_COUNT(quanta); i++) {
        if (i != 5) {
            vmem_xfree(vm, s[i].addr, quanta[i] * Q);
        }
    }
    vmem_destroy(vm);
}

/* An arena in whose tree somebody waits cannot be ended, but one that feeds
 * nobody who does can. */
static void
arenas_are_not_ended_under_waiters(struct test_ctx *t)
{
    static struct kva_vmem allowed;
    vmem_t *vm, *child, *beside;
    struct sleeper s[2];

    (void)t;
    PORT(NULL);
    vm = vmem_create("own", 0, 0, Q, import_if_allowed, release_nowhere,
                     &allowed, 0, VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(vm != NULL);
    allowed.qcache_max = 0;
    child = child_new(vm);
    beside = child_new(vm);
    s[0] = sleeper_make(child, 8);
    s[1] = sleeper_make(vm, 16);
    sleeper_start(&s[0]);
    CHECK_MISUSE(vm, vmem_destroy(vm),
                 "vmem_destroy: arena own: 0x%lx: expected nobody who waits "
                 "for memory, found 1 waiting",
                 (unsigned long)(uintptr_t)vm);
    sleeper_start(&s[1]);
    CHECK_MISUSE(vm, vmem_destroy(vm),
                 "vmem_destroy: arena own: 0x%lx: expected nobody who waits "
                 "for memory, found 2 waiting",
                 (unsigned long)(uintptr_t)vm);
    CHECK_MISUSE(child, vmem_destroy(child),
                 "vmem_destroy: arena child: 0x%lx: expected nobody who waits "
                 "for memory, found 1 waiting",
                 (unsigned long)(uintptr_t)child);
    vmem_destroy(beside);
    CHECK_EQ(kva_posix_waiters(), 2);
    CHECK_EQ(vmem_cancel(child, NULL), 1);
    sleeper_join(&s[0], KVA_EINTR);
    vmem_destroy(child);
    CHECK_EQ(vmem_cancel(vm, NULL), 1);
    sleeper_join(&s[1], KVA_EINTR);
    vmem_destroy(vm);
}

/* There is memory, but no tag for it. */
static void
tags_are_waited_for(struct test_ctx *t)
{
    static struct kva_vmem_btag some[8], more[8];
    struct sleeper s;
    unsigned n = 0;
    uintptr_t a;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = vmem_create("private", 0, 0, Q, NULL, NULL, NULL, 0,
                     VM_NOSLEEP | VM_PRIVTAGS, KVA_IPL_NONE);
    CHECK(vm != NULL);
    CHECK_EQ(vmem_add_bts(vm, some, 8), 0);
    CHECK_EQ(vmem_add(vm, BASE, 64 * Q, VM_NOSLEEP), 0);
    while (vmem_alloc(vm, Q, VM_NOSLEEP, &a) == 0) {
        n++;
    }
    CHECK_GT(n, 0);
    CHECK_GT(vmem_size(vm, VMEM_MAXFREE), Q);
    s = sleeper_make(vm, 1);
    sleeper_start(&s);
    CHECK_EQ(vmem_add_bts(vm, more, 8), 0);
    sleeper_join(&s, 0);
    check_wakes(vm, 1, 1, 0);
    arena_end(vm);
}

/* ---- fairness ----------------------------------------------------------- */

static size_t
held_back(vmem_t *vm)
{
    struct kva_vmem_stat st;

    vmem_stat(vm, &st);
    return st.held_back;
}

/* Exactly so many, then nobody but who refills tags, until the head is
 * served. */
static void
head_is_passed_64_times(struct test_ctx *t)
{
    uintptr_t a = 0;
    struct sleeper s;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_full(16);
    s = sleeper_make(vm, 8);
    sleeper_start(&s);
    quanta_free(vm, 0, 1);
    for (unsigned i = 0; i < PASS_MAX; i++) {
        CHECK_EQ(vmem_alloc(vm, 2 * Q, VM_NOSLEEP, &a), KVA_ENOMEM);
        CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), 0);
        vmem_free(vm, a, Q);
    }
    CHECK_EQ(held_back(vm), 0);
    CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), KVA_ENOMEM);
    CHECK_EQ(vmem_xalloc_addr(vm, BASE, Q, VM_NOSLEEP), KVA_ENOMEM);
    CHECK_EQ(held_back(vm), 2);
    CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP | VM_POPULATING, &a), 0);
    vmem_free(vm, a, Q);
    quanta_free(vm, 1, 6);
    CHECK_EQ(kva_posix_waiters(), 1);
    CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), KVA_ENOMEM);
    quanta_free(vm, 7, 1);
    sleeper_join(&s, 0);
    CHECK_EQ(s.addr, BASE);
    check_wakes(vm, 1, 1, 0);
    vmem_xfree(vm, s.addr, 8 * Q);
    CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), 0);
    vmem_free(vm, a, Q);
    arena_end(vm);
}

/* Grants in the source and in a sibling that imports pass the head too, each
 * once; in an arena that cannot feed it they do not, and are not refused. */
static void
grants_that_feed_the_head_count(struct test_ctx *t)
{
    vmem_t *source, *child, *sibling, *stocked;
    uintptr_t a = 0, all = 0, stock = 0;
    struct sleeper s;

    (void)t;
    PORT(NULL);
    source = arena_new(16, 0);
    child = child_new(source);
    sibling = child_new(source);
    stocked = child_new(source);
    CHECK_EQ(vmem_add(stocked, BASE + 1024 * Q, 4 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_alloc(stocked, Q, VM_NOSLEEP, &stock), 0);
    CHECK_EQ(vmem_alloc(source, 12 * Q, VM_NOSLEEP, &all), 0);
    s = sleeper_make(child, 8);
    sleeper_start(&s);
    for (unsigned i = 0; i < PASS_MAX; i++) {
        vmem_t *vm = i % 3 == 0 ? source : i % 3 == 1 ? child : sibling;

        CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), 0);
        vmem_free(vm, a, Q);
        CHECK_EQ(vmem_alloc(stocked, Q, VM_NOSLEEP, &a), 0);
        vmem_free(stocked, a, Q);
    }
    CHECK_EQ(vmem_alloc(source, Q, VM_NOSLEEP, &a), KVA_ENOMEM);
    CHECK_EQ(vmem_alloc(child, Q, VM_NOSLEEP, &a), KVA_ENOMEM);
    CHECK_EQ(vmem_alloc(sibling, Q, VM_NOSLEEP, &a), KVA_ENOMEM);
    CHECK_EQ(vmem_alloc(stocked, Q, VM_NOSLEEP, &a), 0);
    vmem_free(stocked, a, Q);
    vmem_free(source, all, 12 * Q);
    sleeper_join(&s, 0);
    check_wakes(child, 1, 1, 0);
    CHECK_EQ(vmem_alloc(sibling, Q, VM_NOSLEEP, &a), 0);
    vmem_free(sibling, a, Q);
    vmem_free(stocked, stock, Q);
    vmem_xfree(child, s.addr, 8 * Q);
    vmem_destroy(stocked);
    vmem_destroy(sibling);
    vmem_destroy(child);
    vmem_destroy(source);
}

/* Who is held back gets what is there as soon as the head is gone, whether it
 * was served, timed out or was cancelled. */
static void
who_was_held_back_is_next(struct test_ctx *t)
{
    uintptr_t a = 0;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    kva_posix_clock_virtual(true);
    for (unsigned end = 0; end < 3; end++) {
        struct sleeper s[3];
        unsigned pairs = PASS_MAX;

        vm = arena_full(16);
        s[0] = sleeper_make(vm, 8);
        s[0].timeout_ns = 1000;
        sleeper_start(&s[0]);
        for (quanta_free(vm, 15, 1); pairs > 0; pairs--) {
            CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), 0);
            vmem_free(vm, a, Q);
        }
        for (unsigned i = 1; i < 3; i++) { /* refused, and queue up */
            s[i] = sleeper_make(vm, 1);
            sleeper_start(&s[i]);
        }
        quanta_free(vm, 13, 1);
        CHECK_EQ(kva_posix_waiters(), 3);
        if (end == 0) {
            quanta_free(vm, 0, 8);
        } else if (end == 1) {
            kva_posix_clock_advance(1000);
        } else {
            CHECK_EQ(vmem_cancel(vm, NULL) >= 1, true);
        }
        sleeper_join(&s[0], end == 0   ? 0
                            : end == 1 ? KVA_ETIMEDOUT
                                       : KVA_EINTR);
        sleeper_join(&s[1], end == 2 ? KVA_EINTR : 0);
        sleeper_join(&s[2], end == 2 ? KVA_EINTR : 0);
        CHECK_EQ(held_back(vm) >= 2, true);
        arena_end(vm);
    }
}

/* ---- how waits end ------------------------------------------------------ */

static struct {
    unsigned calls;
    uint64_t step;
} tick;

/* Time goes by, and the sleeper is woken for nothing. */
static void
tick_and_wake(void *arg, const void *channel)
{
    (void)arg;
    tick.calls++;
    kva_posix_clock_advance(tick.step);
    kva_port_wake(channel);
}

/* The moment is fixed at the start: waking up does not put it off. */
static void
waits_time_out(struct test_ctx *t)
{
    struct vmem_request rq = { .size = Q, .maxaddr = VMEM_ADDR_MAX };
    uintptr_t a = 0;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    kva_posix_clock_virtual(true);
    kva_posix_clock_advance(77);
    kva_posix_wait_hook(tick_and_wake, NULL);
    vm = arena_full(4);
    rq.flags = VM_SLEEP;
    tick.step = 400;
    CHECK_EQ(vmem_xalloc_timed(vm, &rq, 1000, NULL, &a), KVA_ETIMEDOUT);
    CHECK_EQ(tick.calls, 3);
    CHECK_EQ(kva_port_clock(), 77 + 1200);
    tick.calls = 0;
    tick.step = 1000;
    CHECK_EQ(vmem_xalloc_timed(vm, &rq, 1000, NULL, &a), KVA_ETIMEDOUT);
    CHECK_EQ(tick.calls, 1);
    check_wakes(vm, 2, 0, 0);
    rq.flags = VM_NOSLEEP; /* has no patience at all */
    CHECK_EQ(vmem_xalloc_timed(vm, &rq, 1000, NULL, &a), KVA_ENOMEM);
    CHECK_EQ(tick.calls, 1);
    quanta_free(vm, 0, 1);
    CHECK_EQ(vmem_xalloc_timed(vm, &rq, 1000, NULL, &a), 0);
    CHECK_EQ(a, BASE);
    kva_posix_wait_hook(NULL, NULL);
    arena_end(vm);
}

static void
waits_are_cancelled(struct test_ctx *t)
{
    static const size_t quanta[4] = { 1, 1, 1, 2 };
    static const char cookie[4];
    struct sleeper s[4];
    vmem_t *vm, *other;

    (void)t;
    PORT(NULL);
    vm = arena_full(4);
    other = child_new(vm);
    for (unsigned i = 0; i < 4; i++) {
        s[i] = sleeper_make(i == 3 ? other : vm, quanta[i]);
        s[i].cookie = &cookie[i];
        sleeper_start(&s[i]);
    }
    CHECK_EQ(vmem_cancel(vm, &cookie[3]), 0); /* waits for another arena */
    CHECK_EQ(vmem_cancel(vm, &cookie[1]), 1);
    sleeper_join(&s[1], KVA_EINTR);
    CHECK_EQ(vmem_cancel(vm, &cookie[1]), 0);
    quanta_free(vm, 0, 1); /* goes to who is left, in order */
    sleeper_join(&s[0], 0);
    CHECK_EQ(vmem_cancel(vm, NULL), 1);
    sleeper_join(&s[2], KVA_EINTR);
    CHECK_EQ(kva_posix_cancel_waits(), 1);
    sleeper_join(&s[3], KVA_EINTR);
    s[0] = sleeper_make(vm, 1);
    s[0].plain = true;
    sleeper_start(&s[0]);
    CHECK_EQ(kva_posix_cancel_waits(), 1);
    sleeper_join(&s[0], KVA_EINTR);
    check_wakes(vm, 4, 1, 0);
    vmem_destroy(other);
    arena_end(vm);
}

static void
never(void *arg, const void *channel)
{
    (void)arg;
    (void)channel;
    tick.calls++;
    (void)kva_posix_cancel_waits();
}

static int
xalloc_with(vmem_t *vm, size_t quanta, size_t align, size_t nocross,
            uintptr_t min, uintptr_t max)
{
    uintptr_t a;

    return vmem_xalloc(vm, quanta * Q, align * Q, 0, nocross * Q, min, max,
                       VM_SLEEP, &a);
}

/* What no free can make possible. */
static void
hopeless_ones_fail_at_once(struct test_ctx *t)
{
    struct kva_vmem_stat st;
    uintptr_t a = 0;
    vmem_t *vm[3];

    (void)t;
    PORT(NULL);
    tick.calls = 0;
    kva_posix_wait_hook(never, NULL);
    vm[0] = vmem_create("odd", BASE + Q, 15 * Q, Q, NULL, NULL, NULL, 0,
                        VM_NOSLEEP, KVA_IPL_NONE);
    vm[1] = child_new(vm[0]);
    vm[2] = child_new(vm[1]);
    CHECK_EQ(vmem_alloc(vm[0], 15 * Q, VM_NOSLEEP, &a), 0);
    for (unsigned i = 0; i < 3; i++) {
        uintptr_t top = VMEM_ADDR_MAX;

        CHECK_EQ(xalloc_with(vm[i], 16, 0, 0, 0, top), KVA_ENOMEM);
        CHECK_EQ(xalloc_with(vm[i], 1, 16, 0, 0, top), KVA_ENOMEM);
        CHECK_EQ(xalloc_with(vm[i], 9, 0, 16, 0, BASE + 8 * Q), KVA_ENOMEM);
        CHECK_EQ(xalloc_with(vm[i], 1, 0, 0, 0, BASE + 2 * Q - 2), KVA_ENOMEM);
        CHECK_EQ(xalloc_with(vm[i], 1, 0, 0, BASE + 16 * Q, top), KVA_ENOMEM);
        CHECK_EQ(tick.calls, 0);
        CHECK_EQ(xalloc_with(vm[i], 15, 0, 0, 0, top), KVA_EINTR);
        CHECK_EQ(tick.calls, 1);
        tick.calls = 0;
        vmem_stat(vm[i], &st);
        CHECK_EQ(st.wait, 1);
        CHECK_EQ(st.fail, 6);
    }
    kva_posix_wait_hook(NULL, NULL);
    vmem_free(vm[0], a, 15 * Q);
    vmem_destroy(vm[2]);
    vmem_destroy(vm[1]);
    vmem_destroy(vm[0]);
}

static unsigned reclaims;

static void
count_reclaims(vmem_t *vm, vm_flag_t flags)
{
    (void)vm;
    (void)flags;
    reclaims++;
}

static void
abort_means_at_once(struct test_ctx *t)
{
    uintptr_t a = 0;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    tick.calls = 0;
    kva_posix_wait_hook(never, NULL);
    vm = arena_full(4);
    reclaims = 0;
    vmem_set_reclaim(vm, count_reclaims);
    CHECK_EQ(vmem_alloc(vm, Q, VM_SLEEP | VM_ABORT, &a), KVA_ENOMEM);
    CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP | VM_ABORT, &a), KVA_ENOMEM);
    CHECK_EQ(reclaims, 0);
    CHECK_EQ(tick.calls, 0);
    CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), KVA_ENOMEM);
    CHECK_EQ(reclaims, 1);
    quanta_free(vm, 2, 1);
    CHECK_EQ(vmem_alloc(vm, Q, VM_SLEEP | VM_ABORT, &a), 0);
    kva_posix_wait_hook(NULL, NULL);
    arena_end(vm);
}

/* ---- what lies above ---------------------------------------------------- */

static struct {
    pool_cache_t pc;
    void *object[64];
    unsigned n, calls;
} above;

static void
put_all(void *arg, const void *channel)
{
    (void)arg;
    (void)channel;
    above.calls++;
    while (above.n > 0) {
        kva_pool_cache_put(above.pc, above.object[--above.n]);
    }
}

/*
 * What is put into a pool cache while somebody waits for pages goes through its
 * magazines and its spare slab down to the pages.
 */
static void
pool_caches_keep_nothing(struct test_ctx *t)
{
    static uintptr_t page[4096];
    unsigned n = 0;
    uintptr_t a = 0;

    (void)t;
    tower_start(512);
    above.calls = 0;
    above.pc = kva_pool_cache_init(512, 0, 0, 0, "above", NULL, KVA_IPL_NONE,
                                   NULL, NULL, NULL);
    for (above.n = 0; above.n < 64; above.n++) {
        above.object[above.n] = kva_pool_cache_get(above.pc, PR_NOWAIT);
        CHECK(above.object[above.n] != NULL);
    }
    while (vmem_alloc(kmem_arena, Q, VM_NOSLEEP, &page[n]) == 0) {
        n++;
    }
    CHECK_GT(n, 0);
    kva_posix_wait_hook(put_all, NULL);
    CHECK_EQ(vmem_alloc(kmem_arena, Q, VM_SLEEP, &a), 0);
    CHECK_EQ(above.calls, 1);
    kva_posix_wait_hook(NULL, NULL);
    vmem_free(kmem_arena, a, Q);
    while (n > 0) {
        vmem_free(kmem_arena, page[--n], Q);
    }
    kva_pool_cache_destroy(above.pc);
    tower_end();
}

struct getter {
    pthread_t thread;
    struct kva_pool *pp;
    void *object;
};

static void *
getter_run(void *arg)
{
    struct getter *g = arg;

    g->object = kva_pool_get(g->pp, PR_WAITOK);
    return NULL;
}

/* Each object that comes back is for the one who has waited longest. */
static void
pool_limits_are_fair(struct test_ctx *t)
{
    struct getter g[4];
    struct kva_pool pp;
    void *object[4];

    (void)t;
    tower_start(0);
    kva_pool_init(&pp, 192, 0, 0, 0, "fair", NULL, KVA_IPL_NONE);
    kva_pool_sethardlimit(&pp, 4, NULL, 0);
    for (unsigned i = 0; i < 4; i++) {
        object[i] = kva_pool_get(&pp, PR_NOWAIT);
    }
    for (unsigned i = 0; i < 4; i++) {
        g[i] = (struct getter){ .pp = &pp };
        CHECK_EQ(pthread_create(&g[i].thread, NULL, getter_run, &g[i]), 0);
        until_asleep(i + 1);
    }
    for (unsigned i = 0; i < 3; i++) {
        kva_pool_put(&pp, object[i]);
        CHECK_EQ(kva_posix_waiters(), 3 - i);
        CHECK_EQ(pthread_join(g[i].thread, NULL), 0);
        CHECK(g[i].object != NULL);
    }
    CHECK_EQ(kva_posix_cancel_waits(), 1);
    CHECK_EQ(pthread_join(g[3].thread, NULL), 0);
    CHECK(g[3].object == NULL);
    kva_pool_put(&pp, object[3]);
    for (unsigned i = 0; i < 3; i++) {
        kva_pool_put(&pp, g[i].object);
    }
    kva_pool_destroy(&pp);
    tower_end();
}

const struct test wait_tests[] = {
    TEST("wait", first_in_first_out),
    TEST("wait", too_small_wakes_nobody),
    TEST("wait", what_is_left_goes_to_the_next),
    TEST("wait", constraints_are_looked_at),
    TEST("wait", sources_wake_who_imports),
    TEST("wait", quantum_caches_keep_nothing),
    TEST("wait", imports_are_constrained_too),
    TEST("wait", limits_are_waited_for),
    TEST("wait", retry_is_told),
    TEST("wait", another_hole_is_remembered),
    TEST("wait", the_same_is_denied_once),
    TEST("wait", arenas_are_not_ended_under_waiters),
    TEST("wait", tags_are_waited_for),
    TEST("wait", head_is_passed_64_times),
    TEST("wait", grants_that_feed_the_head_count),
    TEST("wait", who_was_held_back_is_next),
    TEST("wait", waits_time_out),
    TEST("wait", waits_are_cancelled),
    TEST("wait", hopeless_ones_fail_at_once),
    TEST("wait", abort_means_at_once),
    TEST("wait", pool_caches_keep_nothing),
    TEST("wait", pool_limits_are_fair),
    TEST_END
};
