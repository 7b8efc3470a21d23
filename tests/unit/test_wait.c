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
#include "vmem/wait.h"

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
    CHECK_EQ(vm->detour, 0); /* who waited has left nothing closed */
    CHECK(!kva__mag_arena_closed(vm));
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

/* So does what lies before what was taken. */
static void
both_sides_go_to_the_next(struct test_ctx *t)
{
    static const size_t quanta[3] = { 2, 6, 8 };
    struct sleeper s[3];
    uintptr_t a = 0;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_full(17);
    quanta_free(vm, 0, 16);
    CHECK_EQ(vmem_alloc(vm, 16 * Q, VM_NOSLEEP, &a), 0);
    for (unsigned i = 0; i < 3; i++) {
        s[i] = sleeper_make(vm, quanta[i]);
        s[i].rq.minaddr = i == 0 ? BASE + 8 * Q : VMEM_ADDR_MIN;
        sleeper_start(&s[i]);
    }
    vmem_free(vm, a, 16 * Q);
    sleeper_join(&s[0], 0);
    CHECK_EQ(s[0].addr, BASE + 8 * Q);
    sleeper_join(&s[1], 0);
    sleeper_join(&s[2], 0);
    check_wakes(vm, 3, 3, 0);
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
    s[1] = sleeper_make(child[0], 4); /* just what will be free */
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
    vmem_xfree(child[0], s[1].addr, 4 * Q);
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

/* A run that is freed while its piece stays is for whom the quantum caches serve,
 * and for nobody else. */
static void
runs_wake_who_is_cached(struct test_ctx *t)
{
    struct sleeper s[2];
    uintptr_t a[33];
    unsigned n = 0;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_new(32, 8 * Q);
    while (vmem_alloc(vm, Q, VM_NOSLEEP, &a[n]) == 0) {
        n++;
    }
    CHECK_GE(n, 4);
    s[0] = sleeper_make(vm, 1); /* of the arena */
    s[1] = sleeper_make(vm, 1);
    s[1].plain = true;
    sleeper_start(&s[0]);
    sleeper_start(&s[1]);
    vmem_free(vm, a[--n], Q);
    CHECK_EQ(kva_posix_waiters(), 1);
    sleeper_join(&s[1], 0);
    CHECK_EQ(s[1].addr, a[n]);
    check_wakes(vm, 1, 1, 0);
    CHECK_EQ(kva_posix_waiters(), 1);
    vmem_free(vm, s[1].addr, Q);
    while (n > 0) {
        vmem_free(vm, a[--n], Q);
    }
    sleeper_join(&s[0], 0);
    check_wakes(vm, 2, 2, 0);
    vmem_xfree(vm, s[0].addr, Q);
    arena_end(vm);
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
    s = sleeper_make(child, 8); /* all of it may be waited for */
    sleeper_start(&s);
    CHECK_EQ(vmem_cancel(child, NULL), 1);
    sleeper_join(&s, KVA_EINTR);
    s = sleeper_make(child, 3);
    sleeper_start(&s);
    for (unsigned i = 0; i < 3; i++) {
        until_asleep(1);
        vmem_free(child, a[i], Q);
    }
    sleeper_join(&s, 0);
    check_wakes(child, 2, 3, 2);
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
    vmem_retry(vm); /* nobody knows why: all may try */
    until_asleep(6);
    larder.have = 13;
    vmem_retry(vm);
    for (unsigned i = 0; i < KVA_COUNT(quanta); i++) {
        if (i != 5) {
            sleeper_join(&s[i], 0);
            CHECK_EQ(s[i].addr & (Q - 1), 0);
        }
    }
    CHECK_EQ(larder.have, 0);
    /* the first: twice in vain; the last too; and once each of them */
    check_wakes(vm, 7, 7 + 2 * 2 + 6, 2 * 2 + 6);
    for (unsigned i = 0; i < KVA_COUNT(quanta); i++) {
        if (i != 5) {
            vmem_xfree(vm, s[i].addr, quanta[i] * Q);
        }
    }
    vmem_destroy(vm);
}

/* An import function that takes more of the stock for who does not want the best
 * fit, and one that takes half. */
static int
import_best(vmem_t *source, vmem_size_t size, vm_flag_t flags,
            vmem_addr_t *addr)
{
    return import_of_stock(source, (flags & VM_BESTFIT) != 0 ? size : 2 * size,
                           flags, addr);
}

static void
release_best(vmem_t *source, vmem_addr_t addr, vmem_size_t size)
{
    release_to_stock(source, addr, size);
}

static int
import_half(vmem_t *source, vmem_size_t size, vm_flag_t flags,
            vmem_addr_t *addr)
{
    return import_of_stock(source, size / 2, flags, addr);
}

static void
release_half(vmem_t *source, vmem_addr_t addr, vmem_size_t size)
{
    release_to_stock(source, addr, size / 2);
}

/* So much comes back to the stock, which is none for the first and is for the
 * second one, who wants as much: in another way. */
static void
denied_and_served(struct sleeper *denied, struct sleeper *served, vmem_t *vm,
                  size_t quanta)
{
    vmem_addr_t a;

    larder.have = quanta;
    CHECK_EQ(vmem_xalloc(vm, quanta * Q, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                         VM_NOSLEEP | VM_BESTFIT, &a),
             0);
    CHECK_EQ(larder.have, 0);
    sleeper_start(denied);
    sleeper_start(served);
    vmem_xfree(vm, a, quanta * Q);
    sleeper_join(served, 0);
    CHECK_GE(vmem_cancel(denied->vm, NULL), 1);
    sleeper_join(denied, KVA_EINTR);
    vmem_xfree(served->vm, served->addr, served->rq.size);
    CHECK_EQ(larder.have, quanta);
}

static void
another_way_is_tried(struct test_ctx *t)
{
    struct sleeper s[2];
    vmem_t *vm, *half;

    (void)t;
    PORT(NULL);
    larder.calls = 0;
    vm = vmem_create("stock", 0, 0, Q, import_best, release_best, NULL, 0,
                     VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(vm != NULL);
    s[0] = sleeper_make(vm, 2);
    s[1] = sleeper_make(vm, 2);
    s[1].rq.flags |= VM_BESTFIT;
    denied_and_served(&s[0], &s[1], vm, 2);
    vmem_destroy(vm);

    vm = vmem_create("stock", 0, 0, Q, import_of_stock, release_to_stock, NULL,
                     0, VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(vm != NULL);
    s[0] = sleeper_make(vm, 2); /* asks for more than it needs */
    s[0].rq.align = 4 * Q;
    s[1] = sleeper_make(vm, 2);
    denied_and_served(&s[0], &s[1], vm, 2);
    half = vmem_create("half", 0, 0, Q, import_half, release_half, vm, 0,
                       VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(half != NULL);
    s[0] = sleeper_make(vm, 4);
    s[1] = sleeper_make(half, 4);
    denied_and_served(&s[0], &s[1], vm, 2);
    vmem_destroy(half);
    vmem_destroy(vm);
}

/* What goes back to where an import function had it from is for those who import
 * so, and not for who waits for addresses. */
static void
releases_wake_who_imports(struct test_ctx *t)
{
    vmem_t *source, *child;
    struct sleeper s;
    vmem_addr_t a;

    (void)t;
    PORT(NULL);
    source = arena_new(QUANTA, 0);
    child = vmem_create("paged", 0, 0, Q, import_paged, vmem_free, source, 0,
                        VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(child != NULL);
    paged.frames = true;
    CHECK_EQ(vmem_alloc(child, Q, VM_NOSLEEP, &a), 0);
    s = sleeper_make(source, QUANTA);
    sleeper_start(&s);
    for (unsigned i = 0; i < 3; i++) {
        vmem_addr_t b;

        CHECK_EQ(vmem_alloc(child, Q, VM_NOSLEEP, &b), 0);
        vmem_free(child, b, Q);
        CHECK_EQ(kva_posix_waiters(), 1);
    }
    vmem_free(child, a, Q);
    sleeper_join(&s, 0);
    check_wakes(source, 1, 1, 0);
    vmem_destroy(child);
    arena_end(source);
}

static void
no_release(vmem_t *source, vmem_addr_t addr, vmem_size_t size)
{
    (void)source;
    (void)addr;
    (void)size;
}

static struct {
    vmem_t *vm;
    uintptr_t own; /* of a span, taken, and free when somebody tries */
    unsigned tries;
} gift;

/* The second time it has what is wanted, and something is freed meanwhile. */
static int
import_and_free(vmem_t *source, vmem_size_t size, vm_flag_t flags,
                vmem_addr_t *addr)
{
    (void)source;
    (void)flags;
    if (size != 8 * Q || --gift.tries != 0) {
        return KVA_ENOMEM;
    }
    vmem_xfree(gift.vm, gift.own, 4 * Q);
    *addr = BASE + 1024 * Q;
    return 0;
}

/* He who tries is offered what comes meanwhile, as the oldest; and passes it on
 * when he does not need it. */
static void
what_comes_meanwhile_is_passed_on(struct test_ctx *t)
{
    struct sleeper s[2];
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = vmem_create("gift", BASE, 4 * Q, Q, import_and_free, no_release, NULL,
                     0, VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(vm != NULL);
    gift.vm = vm;
    gift.tries = 0;
    CHECK_EQ(vmem_xalloc(vm, 4 * Q, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                         VM_NOSLEEP, &gift.own),
             0);
    s[0] = sleeper_make(vm, 8);
    s[0].rq.minaddr = BASE; /* within the bounds of what is freed, too */
    s[1] = sleeper_make(vm, 4);
    sleeper_start(&s[0]);
    sleeper_start(&s[1]);
    gift.tries = 1;
    vmem_retry(vm);
    sleeper_join(&s[0], 0);
    CHECK_EQ(s[0].addr, BASE + 1024 * Q);
    sleeper_join(&s[1], 0);
    CHECK_EQ(s[1].addr, BASE);
    vmem_xfree(vm, s[0].addr, 8 * Q);
    arena_end(vm);
}

/* What his own import takes and gives back does not wake who waits for what else
 * it needs: or he would try for ever. */
static void
ones_own_import_wakes_nobody(struct test_ctx *t)
{
    struct sleeper s;
    vmem_t *source;

    (void)t;
    PORT(NULL);
    source = arena_new(QUANTA, 0);
    paged.vm = vmem_create("paged", 0, 0, Q, import_paged, vmem_free, source, 0,
                           VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(paged.vm != NULL);
    paged.calls = 1000;
    paged.frames = false;
    s = sleeper_make(paged.vm, 4);
    returned = 0;
    CHECK_EQ(pthread_create(&s.thread, NULL, sleeper_run, &s), 0);
    while (kva_posix_waiters() != 1 &&
           __atomic_load_n(&returned, __ATOMIC_RELAXED) == 0) {
        kva_port_relax();
    }
    CHECK_EQ(__atomic_load_n(&returned, __ATOMIC_RELAXED), 0);
    CHECK_GE(paged.calls, 990);
    CHECK_EQ(vmem_cancel(paged.vm, NULL), 1);
    sleeper_join(&s, KVA_EINTR);
    vmem_destroy(paged.vm);
    arena_end(source);
}

/* What all want is a sum that does not wrap. */
static void
much_is_wanted(struct test_ctx *t)
{
    static struct kva_vmem allowed;
    struct sleeper s[3];
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = vmem_create("own", 0, 0, Q, import_if_allowed, release_nowhere,
                     &allowed, 0, VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(vm != NULL);
    allowed.qcache_max = 0;
    for (unsigned i = 0; i < 3; i++) {
        s[i] = sleeper_make(vm, i == 0 ? 2 : SIZE_MAX / Q / 2 + 1);
        sleeper_start(&s[i]);
        CHECK_EQ(kva__wait_wanted(), i == 0   ? 2 * Q
                                     : i == 1 ? s[1].rq.size + 2 * Q
                                              : SIZE_MAX);
    }
    CHECK_EQ(vmem_cancel(vm, NULL), 3);
    for (unsigned i = 0; i < 3; i++) {
        sleeper_join(&s[i], KVA_EINTR);
    }
    CHECK_EQ(kva__wait_wanted(), 0);
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
        CHECK_EQ(vmem_xalloc_addr(stocked, BASE + 1026 * Q, Q, VM_NOSLEEP), 0);
        vmem_xfree(stocked, BASE + 1026 * Q, Q);
    }
    CHECK_EQ(vmem_alloc(source, Q, VM_NOSLEEP, &a), KVA_ENOMEM);
    CHECK_EQ(vmem_alloc(child, Q, VM_NOSLEEP, &a), KVA_ENOMEM);
    CHECK_EQ(vmem_alloc(sibling, Q, VM_NOSLEEP, &a), KVA_ENOMEM);
    CHECK_EQ(vmem_alloc(stocked, Q, VM_NOSLEEP, &a), 0);
    vmem_free(stocked, a, Q);
    CHECK_EQ(vmem_xalloc_addr(stocked, BASE + 1026 * Q, Q, VM_NOSLEEP), 0);
    vmem_xfree(stocked, BASE + 1026 * Q, Q);
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

/* One quantum, which is there, so many times. */
static void
pass(vmem_t *vm, unsigned n)
{
    uintptr_t a;

    for (unsigned i = 0; i < n; i++) {
        CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), 0);
        vmem_free(vm, a, Q);
    }
}

/* Whoever is the head next is passed as often before others are refused. */
static void
each_head_is_passed_64_times(struct test_ctx *t)
{
    static const size_t eights[2] = { 8, 8 };
    struct sleeper s[2];
    uintptr_t a = 0;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_full(16);
    quanta_free(vm, 15, 1);
    for (unsigned i = 0; i < 2; i++) {
        sleepers_start(s, vm, eights, 2);
        pass(vm, PASS_MAX);
        CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), KVA_ENOMEM);
        s[0].cookie = s;
        CHECK_EQ(kva_posix_waiters(), 2);
        quanta_free(vm, 0, 8);
        sleeper_join(&s[0], 0);
        pass(vm, PASS_MAX);
        CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), KVA_ENOMEM);
        vmem_xfree(vm, s[0].addr, 8 * Q);
        sleeper_join(&s[1], 0);
        pass(vm, 2 * PASS_MAX);
        for (unsigned k = 0; k < 8; k++) { /* as it was */
            CHECK_EQ(vmem_xalloc_addr(vm, BASE + k * Q, Q, VM_NOSLEEP),
                     KVA_ENOMEM);
        }
        vmem_xfree(vm, s[1].addr, 8 * Q);
        for (unsigned k = 0; k < 8; k++) {
            CHECK_EQ(vmem_xalloc_addr(vm, BASE + k * Q, Q, VM_NOSLEEP), 0);
        }
    }
    arena_end(vm);
}

static struct {
    vmem_t *vm;
    struct sleeper *head, *next;
} leaver;

/* While somebody's import is under way, which comes to nothing, the head goes, or
 * somebody else comes. */
static int
import_while_head_goes(vmem_t *source, vmem_size_t size, vm_flag_t flags,
                       vmem_addr_t *addr)
{
    (void)source;
    (void)size;
    (void)flags;
    (void)addr;
    if (leaver.head != NULL) {
        struct sleeper *head = leaver.head;

        leaver.head = NULL;
        CHECK_EQ(vmem_cancel(leaver.vm, head), 1);
        sleeper_join(head, KVA_EINTR);
    }
    if (leaver.next != NULL) {
        struct sleeper *next = leaver.next;

        leaver.next = NULL;
        sleeper_start(next);
    }
    return KVA_ENOMEM;
}

static vmem_t *
leaver_new(void)
{
    PORT(NULL);
    leaver.vm = vmem_create("leaver", BASE, 4 * Q, Q, import_while_head_goes,
                            no_release, NULL, 0, VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(leaver.vm != NULL);
    leaver.head = NULL;
    return leaver.vm;
}

/* A grant that failed did not pass the head that there is by now. */
static void
heads_are_told_apart(struct test_ctx *t)
{
    struct sleeper s[2];
    uintptr_t a = 0;
    vmem_t *vm;

    (void)t;
    vm = leaver_new();
    for (unsigned i = 0; i < 2; i++) {
        s[i] = sleeper_make(vm, 8);
        s[i].cookie = &s[i];
        sleeper_start(&s[i]);
    }
    leaver.head = &s[0];
    CHECK_EQ(vmem_alloc(vm, 5 * Q, VM_NOSLEEP, &a), KVA_ENOMEM);
    CHECK_PTR(leaver.head, NULL);
    pass(vm, PASS_MAX);
    CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), KVA_ENOMEM);
    CHECK_EQ(vmem_cancel(vm, NULL), 1);
    sleeper_join(&s[1], KVA_EINTR);
    vmem_destroy(vm);
}

/* What comes to nothing has passed nobody, and who was refused on its account is
 * let in. */
static void
failures_do_not_pass(struct test_ctx *t)
{
    struct sleeper s[2];
    uintptr_t a = 0;
    vmem_t *vm;

    (void)t;
    vm = leaver_new();
    s[0] = sleeper_make(vm, 8);
    sleeper_start(&s[0]);
    pass(vm, PASS_MAX - 1);
    s[1] = sleeper_make(vm, 1);
    leaver.next = &s[1];
    CHECK_EQ(vmem_alloc(vm, 5 * Q, VM_NOSLEEP, &a), KVA_ENOMEM);
    CHECK_EQ(kva_posix_waiters(), 1);
    sleeper_join(&s[1], 0);
    CHECK_GE(held_back(vm), 1);
    CHECK_EQ(vmem_cancel(vm, NULL), 1);
    sleeper_join(&s[0], KVA_EINTR);
    vmem_xfree(vm, s[1].addr, Q);
    vmem_destroy(vm);
}

static unsigned reclaims;
static vm_flag_t reclaim_flags; /* of all calls */

static void
count_reclaims(vmem_t *vm, vm_flag_t flags)
{
    (void)vm;
    reclaims++;
    reclaim_flags |= flags;
}

/* While the head has others give back what they hold nobody is refused for it:
 * they may need some to do so. */
static void
give_by_taking(vmem_t *vm, vm_flag_t flags)
{
    (void)flags;
    if (vmem_size(vm, VMEM_FREE) != 0) {
        pass(vm, 2 * PASS_MAX);
    }
}

static void
who_presses_holds_nobody_up(struct test_ctx *t)
{
    uintptr_t a = 0;
    struct sleeper s;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_full(16);
    quanta_free(vm, 15, 1);
    vmem_set_reclaim(vm, give_by_taking);
    s = sleeper_make(vm, 8);
    sleeper_start(&s);
    vmem_set_reclaim(vm, NULL);
    vmem_set_reclaim(vm, count_reclaims);
    reclaims = 0;
    CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), KVA_ENOMEM); /* but now, */
    CHECK_EQ(reclaims, 0); /* and nobody is asked for what there is */
    CHECK_EQ(vmem_cancel(vm, NULL), 1);
    sleeper_join(&s, KVA_EINTR);
    arena_end(vm);
}

/* An import function that loses the flags, and so that it is the head's. */
static int
import_forgetful(vmem_t *source, vmem_size_t size, vm_flag_t flags,
                 vmem_addr_t *addr)
{
    (void)flags;
    return import_paged(source, size, VM_NOSLEEP, addr);
}

static int
import_none(vmem_t *source, vmem_size_t size, vm_flag_t flags,
            vmem_addr_t *addr)
{
    (void)source;
    (void)size;
    (void)flags;
    (void)addr;
    return KVA_ENOMEM;
}

/* What is kept for the head is what feeds it: others are told of the rest. */
static void
what_does_not_feed_the_head_is_not_kept(struct test_ctx *t)
{
    vmem_t *source, *child, *beside;
    struct sleeper s[2];

    (void)t;
    PORT(NULL);
    source = arena_full(16);
    child = child_new(source);
    beside = vmem_create("beside", BASE + 1024 * Q, 2 * Q, Q, import_none,
                         no_release, source, 0, VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(beside != NULL);
    CHECK_EQ(vmem_xalloc_addr(beside, BASE + 1024 * Q, 2 * Q, VM_NOSLEEP), 0);
    s[0] = sleeper_make(child, 8);
    s[1] = sleeper_make(beside, 2);
    sleeper_start(&s[0]);
    sleeper_start(&s[1]);
    quanta_free(source, 15, 1);
    pass(source, PASS_MAX);
    until_asleep(2);
    check_wakes(beside, 0, 0, 0);
    vmem_retry(source); /* for both, one after the other */
    until_asleep(2);
    vmem_xfree(beside, BASE + 1024 * Q, 2 * Q);
    sleeper_join(&s[1], 0);
    check_wakes(beside, 1, 2, 1);
    CHECK_EQ(vmem_cancel(child, NULL), 1);
    sleeper_join(&s[0], KVA_EINTR);
    vmem_xfree(beside, s[1].addr, 2 * Q);
    vmem_destroy(beside);
    vmem_destroy(child);
    arena_end(source);
}

/* The head is not refused what it imports, though it was passed often enough that
 * others are. */
static void
head_is_not_refused_for_itself(struct test_ctx *t)
{
    vmem_t *source;
    struct sleeper s;
    uintptr_t a;

    (void)t;
    PORT(NULL);
    source = arena_new(QUANTA, 0);
    paged.vm = vmem_create("paged", 0, 0, Q, import_forgetful, vmem_free,
                           source, 0, VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(paged.vm != NULL);
    paged.calls = 1000;
    paged.frames = false;
    s = sleeper_make(paged.vm, 4);
    sleeper_start(&s);
    for (unsigned i = 0; vmem_alloc(source, Q, VM_NOSLEEP, &a) == 0; i++) {
        CHECK_LT(i, PASS_MAX);
        vmem_free(source, a, Q);
    }
    paged.frames = true;
    vmem_retry(paged.vm);
    sleeper_join(&s, 0);
    vmem_xfree(paged.vm, s.addr, 4 * Q);
    vmem_destroy(paged.vm);
    arena_end(source);
}

/* A hole that is kept for the head is for the next one when the head is gone;
 * and so is what was there, and refused, before. */
static void
what_was_kept_is_offered(struct test_ctx *t)
{
    (void)t;
    PORT(NULL);
    for (unsigned kept = 0; kept < 2; kept++) {
        vmem_t *vm = arena_full(16);
        struct sleeper s[2];

        s[0] = sleeper_make(vm, 8);
        s[1] = sleeper_make(vm, kept ? 2 : 1);
        s[0].cookie = s;
        sleeper_start(&s[0]);
        if (kept) {
            sleeper_start(&s[1]);
        }
        quanta_free(vm, 15, 1);
        pass(vm, PASS_MAX);
        if (kept) {
            quanta_free(vm, 14, 1);
        } else {
            sleeper_start(&s[1]); /* refused */
        }
        CHECK_EQ(kva_posix_waiters(), 2);
        CHECK_EQ(vmem_cancel(vm, s), 1);
        sleeper_join(&s[0], KVA_EINTR);
        CHECK_EQ(kva_posix_waiters(), 0);
        sleeper_join(&s[1], 0);
        check_wakes(vm, 2, 1, 0);
        for (unsigned i = 0; i < 2; i++) { /* nothing is kept any more */
            s[i] = sleeper_make(vm, 8);
            s[i].cookie = &s[i];
            sleeper_start(&s[i]);
        }
        CHECK_EQ(vmem_cancel(vm, &s[0]), 1);
        sleeper_join(&s[0], KVA_EINTR);
        CHECK_EQ(kva_posix_waiters(), 1);
        CHECK_EQ(vmem_cancel(vm, NULL), 1);
        sleeper_join(&s[1], KVA_EINTR);
        check_wakes(vm, 4, 1, 0);
        arena_end(vm);
    }
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

static struct {
    vmem_t *vm;
    enum {
        WOKEN_CANCELLED,
        WOKEN_INTERRUPTED, /* by the port */
        CANCELLED_IN_VAIN,
        WOKEN_IN_VAIN,
        IN_VAIN,
        WAYS
    } way;
} meanwhile;

/* Somebody is about to sleep: he is woken, cancelled, and refused. */
static void
all_at_once(void *arg, const void *channel)
{
    vmem_t *vm = meanwhile.vm;

    (void)arg;
    (void)channel;
    CHECK_EQ(kva__wait_wanted(), Q);
    switch (meanwhile.way) {
    case WOKEN_CANCELLED:
        quanta_free(vm, 0, 1);
        CHECK_EQ(vmem_cancel(vm, NULL), 1);
        CHECK_EQ(vmem_cancel(vm, NULL), 0);
        CHECK_EQ(kva__wait_wanted(), 0);
        break;
    case WOKEN_INTERRUPTED:
        quanta_free(vm, 0, 1);
        (void)kva_posix_cancel_waits();
        break;
    case CANCELLED_IN_VAIN:
        CHECK_EQ(vmem_cancel(vm, NULL), 1);
        CHECK_EQ(kva__wait_in_vain(1), 0);
        break;
    case WOKEN_IN_VAIN:
        quanta_free(vm, 0, 1);
        CHECK_EQ(kva__wait_in_vain(1), 0);
        break;
    default: /* the third time in a row */
        CHECK_EQ(kva__wait_in_vain(0), 0);
        CHECK_EQ(kva__wait_in_vain(3), 0);
        CHECK_EQ(kva__wait_in_vain(3), 0);
        kva__wait_progress();
        CHECK_EQ(kva__wait_in_vain(3), 0);
        CHECK_EQ(kva__wait_in_vain(3), 0);
        CHECK_EQ(kva__wait_in_vain(3), 1);
        CHECK_EQ(kva__wait_in_vain(3), 0);
    }
}

/* Who was cancelled has nothing, though he was woken as well; a port's
 * interruption of a wait is none for who was woken; and who was either is not
 * refused for passes in vain. */
static void
one_end_of_several(struct test_ctx *t)
{
    static const int err[WAYS] = { KVA_EINTR, 0, KVA_EINTR, 0, KVA_ENOMEM };
    uintptr_t a = 0;

    (void)t;
    PORT(NULL);
    for (unsigned i = 0; i < WAYS; i++) {
        meanwhile.vm = arena_full(4);
        meanwhile.way = i;
        kva_posix_wait_hook(all_at_once, NULL);
        CHECK_EQ(vmem_alloc(meanwhile.vm, Q, VM_SLEEP, &a), err[i]);
        kva_posix_wait_hook(NULL, NULL);
        if (i == WOKEN_CANCELLED) {
            CHECK_EQ(vmem_alloc(meanwhile.vm, Q, VM_NOSLEEP, &a), 0);
        }
        CHECK_EQ(a, BASE);
        arena_end(meanwhile.vm);
    }
}

static void
never(void *arg, const void *channel)
{
    (void)arg;
    (void)channel;
    tick.calls++;
    (void)kva_posix_cancel_waits();
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
    kva_posix_wait_hook(never, NULL);
    tick.calls = 0;
    CHECK_EQ(vmem_xalloc_timed(vm, &rq, UINT64_MAX, NULL, &a), KVA_EINTR);
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

static int
xalloc_with(vmem_t *vm, size_t quanta, size_t align, size_t nocross,
            uintptr_t min, uintptr_t max)
{
    uintptr_t a;

    return vmem_xalloc(vm, quanta * Q, align * Q, 0, nocross * Q, min, max,
                       VM_SLEEP, &a);
}

static struct {
    pthread_t who;
    struct sleeper *sleeper;
    unsigned calls;
} presser;

/* Somebody queues up while another one has others give back what they hold. */
static void
press_and_start(vmem_t *vm, vm_flag_t flags)
{
    (void)vm;
    (void)flags;
    if (pthread_equal(pthread_self(), presser.who) != 0 &&
        presser.calls++ == 0) {
        sleeper_start(presser.sleeper);
    }
}

/* He may have been turned away on that account: so it is done once more for him.
 */
static void
who_came_meanwhile_is_pressed_for(struct test_ctx *t)
{
    struct sleeper s;
    uintptr_t a;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_full(4);
    s = sleeper_make(vm, 1);
    presser.who = pthread_self();
    presser.sleeper = &s;
    presser.calls = 0;
    vmem_set_reclaim(vm, press_and_start);
    CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), KVA_ENOMEM);
    CHECK_EQ(presser.calls, 2);
    CHECK_EQ(vmem_cancel(vm, NULL), 1);
    sleeper_join(&s, KVA_EINTR);
    arena_end(vm);
}

/* What quantum caches hold is anybody's who needs it as a whole. */
static void
caches_are_pressed(struct test_ctx *t)
{
    uintptr_t a[64];
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_new(64, 8 * Q);
    for (unsigned i = 0; i < 64; i++) {
        CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a[i]), 0);
    }
    for (unsigned i = 0; i < 64; i++) {
        vmem_free(vm, a[i], Q);
    }
    CHECK_EQ(vmem_xalloc(vm, 64 * Q, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                         VM_NOSLEEP, &a[0]),
             0);
    vmem_xfree(vm, a[0], 64 * Q);
    arena_end(vm);
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

/* A reclaim function has the flags of the request, and no private ones, even if
 * it is for an import of who waits. */
static void
reclaim_has_public_flags(struct test_ctx *t)
{
    vmem_t *source, *child;
    struct sleeper s;

    (void)t;
    PORT(NULL);
    source = arena_full(16);
    child = child_new(source);
    vmem_set_reclaim(source, count_reclaims);
    reclaims = 0;
    reclaim_flags = 0;
    s = sleeper_make(child, 4);
    sleeper_start(&s);
    CHECK_GT(reclaims, 0);
    CHECK_EQ(reclaim_flags & ~(VM_SLEEP | VM_NOSLEEP | VM_INSTANTFIT), 0);
    CHECK_EQ(vmem_cancel(child, NULL), 1);
    sleeper_join(&s, KVA_EINTR);
    vmem_destroy(child);
    arena_end(source);
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
    CHECK_EQ(kva__wait_wanted(), 0); /* no memory */
    CHECK_EQ(kva__wait_in_vain(1), 0);
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
    TEST("wait", both_sides_go_to_the_next),
    TEST("wait", constraints_are_looked_at),
    TEST("wait", sources_wake_who_imports),
    TEST("wait", quantum_caches_keep_nothing),
    TEST("wait", runs_wake_who_is_cached),
    TEST("wait", imports_are_constrained_too),
    TEST("wait", limits_are_waited_for),
    TEST("wait", retry_is_told),
    TEST("wait", another_hole_is_remembered),
    TEST("wait", the_same_is_denied_once),
    TEST("wait", another_way_is_tried),
    TEST("wait", releases_wake_who_imports),
    TEST("wait", what_comes_meanwhile_is_passed_on),
    TEST("wait", ones_own_import_wakes_nobody),
    TEST("wait", much_is_wanted),
    TEST("wait", arenas_are_not_ended_under_waiters),
    TEST("wait", tags_are_waited_for),
    TEST("wait", head_is_passed_64_times),
    TEST("wait", each_head_is_passed_64_times),
    TEST("wait", heads_are_told_apart),
    TEST("wait", failures_do_not_pass),
    TEST("wait", who_presses_holds_nobody_up),
    TEST("wait", what_does_not_feed_the_head_is_not_kept),
    TEST("wait", head_is_not_refused_for_itself),
    TEST("wait", what_was_kept_is_offered),
    TEST("wait", grants_that_feed_the_head_count),
    TEST("wait", who_was_held_back_is_next),
    TEST("wait", waits_time_out),
    TEST("wait", waits_are_cancelled),
    TEST("wait", one_end_of_several),
    TEST("wait", who_came_meanwhile_is_pressed_for),
    TEST("wait", caches_are_pressed),
    TEST("wait", hopeless_ones_fail_at_once),
    TEST("wait", abort_means_at_once),
    TEST("wait", reclaim_has_public_flags),
    TEST("wait", pool_caches_keep_nothing),
    TEST("wait", pool_limits_are_fair),
    TEST_END
};
