/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads at one arena: they free what others allocated, are interrupted, and
 * have the magazines drained from under them.  Who has which quantum is noted
 * in a table with atomic exchanges: a range handed out twice is seen at once.
 * For ThreadSanitizer as much as for itself.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kva/kva.h"
#include "tests/harness/test.h"
#include "vmem/vmem_store.h"

#define Q ((size_t)4096)
#define BASE ((uintptr_t)0x40000000)
#define QUANTA 4096u
#define THREADS 4u
#define SLOTS 64u /* where threads leave ranges for each other */
#define HELD 16u
#define SOON_NS 8192 /* to an interrupt: the time of some dozen hits */

/* A range in one word: quanta below 2^8 and the kind in the low bits. */
#define RANGE(addr, n, x) ((addr) | (uintptr_t)(n) << 1 | (uintptr_t)(x))
#define RANGE_ADDR(r) ((r) & ~(uintptr_t)(Q - 1))
#define RANGE_N(r) ((unsigned)((r) & (Q - 1)) >> 1)
#define RANGE_X(r) (((r)&1) != 0)

struct arena {
    vmem_t *vm, *source;
    uintptr_t base;       /* of the table */
    bool memory;          /* ranges are memory, and written to */
    bool sleeping;        /* requests wait */
    unsigned n_max;       /* quanta of a request */
    unsigned n_interrupt; /* and of an interrupt's */
    unsigned long count;
    uint8_t owner[QUANTA];
    uintptr_t slot[SLOTS];
    unsigned running; /* threads at work */
    unsigned long interrupts, refused;
    const char *wrong;          /* seen in an interrupt */
    void *(*beside)(void *arg); /* what drainers do; NULL: drain */
};

struct worker {
    struct arena *a;
    pthread_t thread;
    struct test_random random;
    uint8_t id;
};

/* An interrupt has a range of its own in each thread. */
static struct arena *interrupted;
static __thread uintptr_t interrupt_range;
static __thread bool finished; /* interrupts only free from now on */

/* ---- a range is somebody's, and nobody else's --------------------------- */

static const char *
claim(struct arena *a, uintptr_t range, uint8_t id)
{
    unsigned i = (unsigned)((RANGE_ADDR(range) - a->base) / Q);

    for (unsigned k = 0; k < RANGE_N(range); k++) {
        if (i + k < QUANTA &&
            __atomic_exchange_n(&a->owner[i + k], id, __ATOMIC_RELAXED) != 0) {
            return "a range was handed out, and was live";
        }
        if (a->memory) {
            *(volatile uintptr_t *)(RANGE_ADDR(range) + k * Q) = range;
        }
    }
    return NULL;
}

static const char *
disclaim(struct arena *a, uintptr_t range)
{
    unsigned i = (unsigned)((RANGE_ADDR(range) - a->base) / Q);

    for (unsigned k = 0; k < RANGE_N(range); k++) {
        if (i + k < QUANTA &&
            __atomic_exchange_n(&a->owner[i + k], 0, __ATOMIC_RELAXED) == 0) {
            return "a live range has lost its mark";
        }
        if (a->memory &&
            *(volatile uintptr_t *)(RANGE_ADDR(range) + k * Q) != range) {
            return "somebody wrote to a live range";
        }
    }
    return NULL;
}

static int
range_get(struct arena *a, unsigned n, bool x, vm_flag_t flags,
          uintptr_t *range)
{
    uintptr_t addr = 0;
    int err;

    err = x ? vmem_xalloc(a->vm, n * Q, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                          flags, &addr)
            : vmem_alloc(a->vm, n * Q, flags, &addr);
    *range = RANGE(addr, n, x);
    return err;
}

static void
range_put(struct arena *a, uintptr_t range)
{
    const char *bad = disclaim(a, range);

    if (bad != NULL) {
        FAIL("%s: 0x%zx", bad, (size_t)range);
    }
    if (RANGE_X(range)) {
        vmem_xfree(a->vm, RANGE_ADDR(range), RANGE_N(range) * Q);
    } else {
        vmem_free(a->vm, RANGE_ADDR(range), RANGE_N(range) * Q);
    }
}

/* ---- what threads do ---------------------------------------------------- */

/* By turns an allocation and a free; no check may end a body from here. */
static void
on_interrupt(void *arg)
{
    struct arena *a = interrupted;
    uintptr_t range;
    const char *bad = NULL;

    (void)arg;
    if (a == NULL) {
        return;
    }
    if (interrupt_range != 0) {
        range = interrupt_range;
        interrupt_range = 0;
        bad = disclaim(a, range);
        vmem_free(a->vm, RANGE_ADDR(range), RANGE_N(range) * Q);
    } else if (!finished &&
               range_get(a, a->n_interrupt, false, VM_NOSLEEP, &range) == 0) {
        bad = claim(a, range, 0xff);
        interrupt_range = range;
    }
    if (bad != NULL) {
        __atomic_store_n(&a->wrong, bad, __ATOMIC_RELAXED);
    }
    (void)__atomic_fetch_add(&a->interrupts, 1, __ATOMIC_RELAXED);
}

static void
step(struct worker *w, uintptr_t held[HELD])
{
    struct arena *a = w->a;
    unsigned k = (unsigned)test_random_below(&w->random, HELD);
    unsigned s = (unsigned)test_random_below(&w->random, SLOTS);
    unsigned n = 1 + (unsigned)test_random_below(&w->random, a->n_max);
    const char *bad;

    if (held[k] == 0) {
        if (range_get(a, n, test_random_one_in(&w->random, 8),
                      a->sleeping ? VM_SLEEP : VM_NOSLEEP, &held[k]) != 0) {
            held[k] = 0;
            CHECK(!a->sleeping);
            (void)__atomic_fetch_add(&a->refused, 1, __ATOMIC_RELAXED);
            return;
        }
        bad = claim(a, held[k], (uint8_t)(w->id + 1));
        if (bad != NULL) {
            FAIL("%s: 0x%zx", bad, (size_t)held[k]);
        }
    } else { /* change it for what somebody left there, and free that */
        held[k] = __atomic_exchange_n(&a->slot[s], held[k], __ATOMIC_ACQ_REL);
        if (held[k] != 0) {
            range_put(a, held[k]);
            held[k] = 0;
        }
    }
}

static void
worker_end(void *arg)
{
    struct worker *w = arg;

    (void)__atomic_fetch_sub(&w->a->running, 1, __ATOMIC_ACQ_REL);
}

static void *
worker_run(void *arg)
{
    struct worker *w = arg;
    uintptr_t held[HELD] = { 0 };

    pthread_cleanup_push(worker_end, w); /* a failed check ends the thread */
    for (unsigned long i = 0; i < w->a->count; i++) {
        step(w, held);
        if (interrupted != NULL && test_random_one_in(&w->random, 16)) {
            kva_posix_interrupt();
        }
    }
    for (unsigned k = 0; k < HELD; k++) {
        if (held[k] != 0) {
            range_put(w->a, held[k]);
        }
    }
    finished = true;
    if (interrupted != NULL) {
        kva_posix_interrupt();
    }
    pthread_cleanup_pop(1);
    return NULL;
}

/* An interrupt of this thread at a time, by the clock. */
static timer_t
timer_make(void)
{
    struct sigevent event;
    timer_t timer;

    memset(&event, 0, sizeof(event));
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = kva_posix_interrupt_signal();
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    return timer;
}

/* Soon, and once: where handlers are slow they still leave time between. */
static void
timer_set(timer_t timer, struct test_random *random)
{
    struct itimerspec once = { .it_value = { .tv_nsec = 1 } };

    once.it_value.tv_nsec += (long)test_random_below(random, SOON_NS);
    CHECK_EQ(timer_settime(timer, 0, &once, NULL), 0);
}

/*
 * One size, that of the interrupts, and as little as can be between one hit and
 * the next, until as many interrupts have come; or they do not get through.
 */
static void *
hot_run(void *arg)
{
    struct worker *w = arg;
    struct arena *a = w->a;
    uintptr_t held[2] = { 0, 0 };
    timer_t timer = timer_make();

    pthread_cleanup_push(worker_end, w);
    for (unsigned long i = 0;
         i < a->count * 100 &&
         __atomic_load_n(&a->interrupts, __ATOMIC_RELAXED) < a->count;
         i++) {
        uintptr_t *range = &held[i % 2];
        const char *bad;

        if (i % 32 == 0) {
            timer_set(timer, &w->random);
        }
        if (*range != 0) {
            range_put(a, *range);
        }
        CHECK_EQ(range_get(a, a->n_interrupt, false, VM_NOSLEEP, range), 0);
        bad = claim(a, *range, (uint8_t)(w->id + 1));
        if (bad != NULL) {
            FAIL("%s: 0x%zx", bad, (size_t)*range);
        }
    }
    CHECK_EQ(timer_delete(timer), 0);
    for (unsigned k = 0; k < 2; k++) {
        if (held[k] != 0) {
            range_put(a, held[k]);
        }
    }
    finished = true;
    kva_posix_interrupt();
    pthread_cleanup_pop(1);
    return NULL;
}

/* One range at a time, and wait for it if need be: nobody waits for ever. */
static void *
sleeper_run(void *arg)
{
    struct worker *w = arg;
    struct arena *a = w->a;

    pthread_cleanup_push(worker_end, w);
    for (unsigned long i = 0; i < a->count; i++) {
        unsigned n = 1 + (unsigned)test_random_below(&w->random, a->n_max);
        uintptr_t range;
        const char *bad;

        CHECK_EQ(range_get(a, n, test_random_one_in(&w->random, 4), VM_SLEEP,
                           &range),
                 0);
        bad = claim(a, range, (uint8_t)(w->id + 1));
        if (bad != NULL) {
            FAIL("%s: 0x%zx", bad, (size_t)range);
        }
        if (test_random_one_in(&w->random, 4)) {
            (void)sched_yield();
        }
        range_put(a, range);
    }
    pthread_cleanup_pop(1);
    return NULL;
}

static void *
drainer_run(void *arg)
{
    struct worker *w = arg;

    while (__atomic_load_n(&w->a->running, __ATOMIC_ACQUIRE) > 0) {
        (void)vmem_drain(w->a->vm, SIZE_MAX,
                         (size_t)test_random_below(&w->random, 3) * 16 * Q);
        (void)vmem_size(w->a->vm, VMEM_CACHED);
        (void)sched_yield();
    }
    return NULL;
}

/* Asks for what is there, while others wait for more. */
static void *
pusher_run(void *arg)
{
    struct worker *w = arg;
    struct arena *a = w->a;

    while (__atomic_load_n(&a->running, __ATOMIC_ACQUIRE) > 0) {
        struct vmem_request rq = { .size = Q, .maxaddr = VMEM_ADDR_MAX };
        bool timed = test_random_one_in(&w->random, 2);
        uintptr_t addr = 0;
        const char *bad;
        int err;

        rq.flags = timed ? VM_SLEEP : VM_NOSLEEP;
        err = vmem_xalloc_timed(a->vm, &rq, timed ? 1000 : 0, a, &addr);
        if (err != 0) {
            CHECK(err == KVA_ENOMEM || (timed && err == KVA_EINTR) ||
                  (timed && err == KVA_ETIMEDOUT));
            (void)__atomic_fetch_add(&a->refused, 1, __ATOMIC_RELAXED);
        } else {
            bad = claim(a, RANGE(addr, 1, true), (uint8_t)(w->id + 1));
            if (bad != NULL) {
                FAIL("%s: 0x%zx", bad, (size_t)addr);
            }
            range_put(a, RANGE(addr, 1, true));
        }
        kva_posix_clock_advance(test_random_below(&w->random, 800));
        if (test_random_one_in(&w->random, 8)) {
            (void)vmem_cancel(a->vm, a);
        }
    }
    return NULL;
}

/* Sends interrupts to the workers as signals. */
static void *
pinger_run(void *arg)
{
    struct worker *w = arg;
    struct worker *workers = w - w->id;

    while (__atomic_load_n(&w->a->running, __ATOMIC_ACQUIRE) > 0) {
        (void)pthread_kill(
            workers[test_random_below(&w->random, THREADS)].thread,
            kva_posix_interrupt_signal());
        (void)sched_yield();
    }
    return NULL;
}

/* ---- running ------------------------------------------------------------ */

/* THREADS workers, drainers beside them, and with interrupts one who sends
 * them; workers are joined last, so that signals have a thread to go to. */
static void
run(struct test_ctx *t, struct arena *a, void *(*fn)(void *), unsigned drainers,
    bool interrupts)
{
    struct worker w[THREADS + 3];
    unsigned n = THREADS + drainers + (interrupts ? 1 : 0);
    void *(*beside)(void *) = a->beside != NULL ? a->beside : drainer_run;

    a->running = THREADS;
    a->count = t->count / THREADS + 1;
    interrupted = interrupts ? a : NULL;
    kva_posix_interrupt_set(interrupts ? on_interrupt : NULL, NULL);
    for (unsigned i = 0; i < n; i++) {
        w[i] = (struct worker){ .a = a, .id = (uint8_t)i };
        w[i].random.state = test_rand(t);
    }
    for (unsigned i = 0; i < n; i++) {
        CHECK_EQ(pthread_create(&w[i].thread, NULL,
                                i < THREADS              ? fn
                                : i < THREADS + drainers ? beside
                                                         : pinger_run,
                                &w[i]),
                 0);
    }
    for (unsigned i = n; i-- > 0;) {
        CHECK_EQ(pthread_join(w[i].thread, NULL), 0);
    }
    interrupted = NULL;
    if (a->wrong != NULL) {
        FAIL("in an interrupt: %s", a->wrong);
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        if (a->slot[i] != 0) {
            range_put(a, a->slot[i]);
        }
    }
}

static void
check_empty(struct arena *a)
{
    const char *bad;

    bad = vmem_check(a->vm);
    if (bad != NULL) {
        FAIL("vmem_check: %s", bad);
    }
    CHECK_EQ(vmem_size(a->vm, VMEM_ALLOC), vmem_size(a->vm, VMEM_CACHED));
    (void)vmem_drain(a->vm, SIZE_MAX, 0);
    CHECK_EQ(vmem_size(a->vm, VMEM_ALLOC), 0);
}

static void
arena_make(struct arena *a, size_t quanta, size_t qcache_max)
{
    memset(a, 0, sizeof(*a));
    a->base = BASE;
    a->n_max = 12;
    a->n_interrupt = 2;
    a->source = vmem_create("source", BASE, quanta * Q, Q, NULL, NULL, NULL, 0,
                            VM_NOSLEEP, KVA_IPL_VM);
    a->vm = vmem_create("stress", 0, 0, Q, vmem_alloc, vmem_free, a->source,
                        qcache_max * Q, VM_NOSLEEP, KVA_IPL_VM);
    CHECK(a->source != NULL && a->vm != NULL);
}

/* What it imports goes back in parts as well. */
static void
arena_of_parts(struct arena *a, size_t quanta, size_t qcache_max)
{
    arena_make(a, quanta, qcache_max);
    vmem_set_rimport(a->vm, vmem_rimport, vmem_xfree, a->source, 0);
}

static void
arena_end(struct arena *a)
{
    check_empty(a);
    vmem_destroy(a->vm);
    CHECK_EQ(vmem_size(a->source, VMEM_ALLOC), 0);
    vmem_destroy(a->source);
}

static struct arena arena;

static void
quantum_caches(struct test_ctx *t)
{
    PORT(&(struct kva_posix_config){ .cpus = 4 });
    arena_make(&arena, QUANTA, 8);
    run(t, &arena, worker_run, 2, false);
    arena_end(&arena);
}

/* Every other quantum is free, and a drain takes it: at random that is rare. */
static void
cut_a_piece(struct arena *a)
{
    vmem_addr_t addr[16];

    for (unsigned i = 0; i < KVA_COUNT(addr); i++) {
        CHECK_EQ(vmem_alloc(a->vm, Q, VM_NOSLEEP, &addr[i]), 0);
    }
    for (unsigned i = 0; i < KVA_COUNT(addr); i += 2) {
        vmem_free(a->vm, addr[i], Q);
    }
    (void)vmem_drain(a->vm, SIZE_MAX, 0);
    for (unsigned i = 1; i < KVA_COUNT(addr); i += 2) {
        vmem_free(a->vm, addr[i], Q);
    }
}

/* Pieces are cut in parts all the time. */
static void
pieces_in_parts(struct test_ctx *t)
{
    struct kva_vmem_stat st;

    PORT(&(struct kva_posix_config){ .cpus = 4 });
    arena_of_parts(&arena, QUANTA, 8);
    run(t, &arena, worker_run, 2, false);
    cut_a_piece(&arena);
    vmem_stat(arena.vm, &st);
    CHECK_GT(st.resize, 0);
    arena_end(&arena);
}

/* More threads than slots; the others take the locked path. */
static void
too_few_slots(struct test_ctx *t)
{
    PORT(&(struct kva_posix_config){ .cpus = 1 });
    arena_make(&arena, QUANTA, 8);
    run(t, &arena, worker_run, 1, false);
    arena_end(&arena);
}

/* So little that many requests are refused. */
static void
scarce_memory(struct test_ctx *t)
{
    PORT(&(struct kva_posix_config){ .cpus = 4 });
    arena_make(&arena, 64, 8);
    run(t, &arena, worker_run, 1, false);
    CHECK(t->count < 10000 || arena.refused > 0);
    arena_end(&arena);
}

static void
without_quantum_caches(struct test_ctx *t)
{
    PORT(&(struct kva_posix_config){ .cpus = 4 });
    arena_make(&arena, QUANTA, 0);
    run(t, &arena, worker_run, 0, false);
    arena_end(&arena);
}

static void
interrupts(struct test_ctx *t)
{
    PORT(&(struct kva_posix_config){ .cpus = 4 });
    arena_make(&arena, QUANTA, 8);
    run(t, &arena, worker_run, 1, true);
    CHECK_GT(arena.interrupts, 0);
    arena_end(&arena);
}

/* Signals at random instants of the hot path, whose handler takes and frees
 * what the thread does. */
static void
interrupts_in_hits(struct test_ctx *t)
{
    PORT(&(struct kva_posix_config){ .cpus = 4 });
    arena_make(&arena, QUANTA, 8);
    arena.n_interrupt = 1;
    run(t, &arena, hot_run, 1, true);
    CHECK_GT(arena.interrupts, 0);
    arena_end(&arena);
}

/* Every thread has at most one range, all sizes fit: whoever waits is woken.
 * The clock stands still, so that nobody looks again by himself: a wake that is
 * lost hangs, and the harness ends the test. */
static void
sleepers(struct test_ctx *t)
{
    PORT(&(struct kva_posix_config){ .cpus = 4 });
    kva_posix_clock_virtual(true);
    arena_make(&arena, 16, 4);
    arena.n_max = 10;
    run(t, &arena, sleeper_run, 0, false);
    arena_end(&arena);
}

static void
sleepers_and_drainers(struct test_ctx *t)
{
    PORT(&(struct kva_posix_config){ .cpus = 4 });
    kva_posix_clock_virtual(true);
    arena_make(&arena, 16, 8);
    arena.n_max = 8;
    run(t, &arena, sleeper_run, 1, false);
    arena_end(&arena);
}

static void
sleepers_and_parts(struct test_ctx *t)
{
    PORT(&(struct kva_posix_config){ .cpus = 4 });
    kva_posix_clock_virtual(true);
    arena_of_parts(&arena, 16, 8);
    arena.n_max = 8;
    run(t, &arena, sleeper_run, 1, false);
    arena_end(&arena);
}

/*
 * Two who ask for one quantum over and over, as often as not with little
 * patience: the sleepers, who want up to all there is, are served all the same.
 * Without quantum caches and with them.
 */
static void
sleepers_and_pushers(struct test_ctx *t)
{
    PORT(&(struct kva_posix_config){ .cpus = 4 });
    kva_posix_clock_virtual(true);
    for (size_t qcache_max = 0; qcache_max <= 4; qcache_max += 4) {
        arena_make(&arena, 16, qcache_max);
        arena.n_max = 16;
        arena.beside = pusher_run;
        run(t, &arena, sleeper_run, 2, false);
        arena_end(&arena);
    }
}

/* kmem_arena: real pages, attached and detached all the time. */
static void
wired_memory(struct test_ctx *t)
{
    struct kva_boot kb = { .wired_limit = 0 };
    struct kva_posix_stats st;

    PORT(&(struct kva_posix_config){ .cpus = 4 });
    kb.va_base = kva_posix_va_base();
    kb.va_bytes = kva_posix_va_bytes();
    CHECK_EQ(kva_boot(&kb), 0);
    CHECK_EQ(kva_start(), 0);
    memset(&arena, 0, sizeof(arena));
    arena.vm = kmem_arena;
    arena.base = kb.va_base;
    arena.memory = true;
    arena.n_max = 40;
    run(t, &arena, worker_run, 2, false);
    check_empty(&arena);
    kva_posix_stats_get(&st);
    CHECK_EQ(st.attached_pages, 0);
    CHECK_EQ(st.frames, 0);
    kva_shutdown();
}

const struct test stress_vmem_tests[] = {
    TEST_THREADS("stress", quantum_caches, 0, 40000, 1000000, 20000000),
    TEST_THREADS("stress", pieces_in_parts, 0, 40000, 1000000, 20000000),
    TEST_THREADS("stress", too_few_slots, 0, 20000, 400000, 10000000),
    TEST_THREADS("stress", scarce_memory, 2000, 20000, 400000, 10000000),
    TEST_THREADS("stress", without_quantum_caches, 0, 20000, 400000, 10000000),
    TEST_THREADS("stress", interrupts, 0, 20000, 400000, 10000000),
    TEST_THREADS("stress", interrupts_in_hits, 0, 20000, 400000, 10000000),
    TEST_THREADS("stress", sleepers, 0, 4000, 100000, 2000000),
    TEST_THREADS("stress", sleepers_and_drainers, 0, 4000, 100000, 2000000),
    TEST_THREADS("stress", sleepers_and_parts, 0, 4000, 100000, 2000000),
    TEST_THREADS("stress", sleepers_and_pushers, 500, 2000, 40000, 500000),
    TEST_THREADS("stress", wired_memory, 2000, 20000, 300000, 5000000),
    TEST_END
};
