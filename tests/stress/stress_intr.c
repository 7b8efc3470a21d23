/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kmem_intr_arena under signals: threads allocate from it and from kmem_arena
 * while signals come at random moments, whose handler allocates and frees from
 * it too, and while another thread refills it to its mark and takes away what
 * is over.
 *
 * Claims: no page is ever had by two (a table of owners, and what is written in
 * the page); from an interrupt nothing is mapped, unmapped or flushed, no frame
 * taken or given back, nobody sleeps; whatever an interrupt is refused is
 * counted, and all it gets goes back; at the end no frame is left.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "kva/kva.h"
#include "tests/harness/test.h"
#include "vmem/vmem_store.h"

#define P KVA_PAGE_SIZE
#define THREADS 3u
#define HELD 12u             /* ranges of a thread, and of its interrupts */
#define PAGES 8192u          /* of address space */
#define MARK (8u * P)        /* wired ahead: mostly too little */
#define LIMIT (1024u * P)    /* that may be wired */
#define SENT_NS 5000         /* between signals */
#define STEPS_PER_SIGNAL 500 /* or they do not get through */

struct range {
    uintptr_t addr; /* 0: none */
    unsigned pages;
    vmem_t *vm;
};

struct worker {
    pthread_t thread;
    struct test_random random;
    struct range held[HELD];
};

static struct {
    uintptr_t base;
    uint8_t owner[PAGES];
    unsigned long count, handled, got, put, refused, idle, left, running;
    const char *wrong; /* seen where no check may end a body */
} all;

static __thread struct range interrupt_held[HELD];
static __thread struct test_random interrupt_random;
static __thread volatile bool working;

static void
wrong(const char *what)
{
    __atomic_store_n(&all.wrong, what, __ATOMIC_RELAXED);
}

static void
count(unsigned long *n)
{
    (void)__atomic_fetch_add(n, 1, __ATOMIC_RELAXED);
}

static void
range_get(struct range *r, vmem_t *vm, unsigned pages)
{
    uintptr_t addr = 0;
    size_t first;

    if (vmem_alloc(vm, pages * P, VM_NOSLEEP, &addr) != 0) {
        r->addr = 0;
        return;
    }
    first = (addr - all.base) / P;
    for (size_t i = 0; i < pages; i++) {
        if (__atomic_exchange_n(&all.owner[first + i], 1, __ATOMIC_RELAXED) !=
            0) {
            wrong("a page was handed out, and was live");
        }
        *(volatile uintptr_t *)(addr + i * P) = addr;
    }
    *r = (struct range){ addr, pages, vm };
}

static void
range_put(struct range *r)
{
    size_t first = (r->addr - all.base) / P;

    for (size_t i = 0; i < r->pages; i++) {
        if (__atomic_exchange_n(&all.owner[first + i], 0, __ATOMIC_RELAXED) ==
            0) {
            wrong("a live page has lost its mark");
        }
        if (*(volatile uintptr_t *)(r->addr + i * P) != r->addr) {
            wrong("somebody wrote to a live page");
        }
    }
    vmem_free(r->vm, r->addr, r->pages * P);
    r->addr = 0;
}

/* ---- interrupts -------------------------------------------------------- */

static void
on_interrupt(void *arg)
{
    unsigned k = (unsigned)test_random_below(&interrupt_random, HELD);
    struct range *r = &interrupt_held[k];

    (void)arg;
    if (!working) {
        count(&all.idle);
    } else if (r->addr != 0) {
        range_put(r);
        count(&all.put);
    } else {
        range_get(r, kmem_intr_arena,
                  1 + (unsigned)test_random_below(&interrupt_random, 4));
        count(r->addr != 0 ? &all.got : &all.refused);
    }
    count(&all.handled);
}

/* The port is called: none of these from an interrupt. */
static void
watch(void *arg, const char *hook)
{
    static const char *const never[] = { "map",      "unmap",    "flush",
                                         "page_get", "page_put", "wait",
                                         "barrier" };

    (void)arg;
    for (unsigned i = 0; kva_posix_in_interrupt() && i < KVA_COUNT(never);
         i++) {
        if (strcmp(hook, never[i]) == 0) {
            wrong(never[i]);
        }
    }
}

/* ---- threads ----------------------------------------------------------- */

static bool
enough(void)
{
    return __atomic_load_n(&all.handled, __ATOMIC_RELAXED) >= all.count;
}

static void
worker_end(void *arg)
{
    (void)arg;
    (void)__atomic_fetch_sub(&all.running, 1, __ATOMIC_ACQ_REL);
}

static void *
worker_run(void *arg)
{
    struct worker *w = arg;

    pthread_cleanup_push(worker_end, NULL);
    interrupt_random.state = test_random(&w->random);
    working = true;
    for (unsigned long i = 0; i < all.count * STEPS_PER_SIGNAL && !enough();
         i++) {
        struct range *r = &w->held[test_random_below(&w->random, HELD)];

        if (r->addr != 0) {
            range_put(r);
        } else {
            range_get(r,
                      test_random_one_in(&w->random, 16) ? kmem_intr_arena
                                                         : kmem_arena,
                      1 + (unsigned)test_random_below(&w->random, 6));
        }
    }
    working = false; /* interrupts do nothing from here on */
    for (unsigned k = 0; k < HELD; k++) {
        if (w->held[k].addr != 0) {
            range_put(&w->held[k]);
        }
        if (interrupt_held[k].addr != 0) {
            range_put(&interrupt_held[k]);
            count(&all.left);
        }
    }
    pthread_cleanup_pop(1);
    return NULL;
}

static void *
sender_run(void *arg)
{
    struct worker *w = arg;
    struct timespec pause = { .tv_nsec = SENT_NS };

    for (unsigned i = 0; __atomic_load_n(&all.running, __ATOMIC_ACQUIRE) != 0;
         i = (i + 1) % THREADS) {
        (void)pthread_kill(w[i].thread, kva_posix_interrupt_signal());
        (void)nanosleep(&pause, NULL);
    }
    return NULL;
}

/* Thread context: to the mark, and now and then what is over goes. */
static void
refill(void)
{
    unsigned long n = 0;

    while (__atomic_load_n(&all.running, __ATOMIC_ACQUIRE) != 0) {
        (void)kva_intr_refill(); /* fails at the limit */
        if (++n % 8 == 0) {
            (void)kva_intr_drain();
        }
        (void)sched_yield();
    }
}

static void
reserve_under_signals(struct test_ctx *t)
{
    static struct worker w[THREADS];
    struct kva_posix_config config = { .cpus = THREADS + 2,
                                       .va_bytes = PAGES * P };
    struct kva_boot kb = { .wired_limit = LIMIT, .intr_bytes = MARK };
    struct kva_posix_stats st;
    pthread_t sender;

    PORT(&config);
    kb.va_base = all.base = kva_posix_va_base();
    kb.va_bytes = PAGES * P;
    CHECK_EQ(kva_boot(&kb), 0);
    CHECK_EQ(kva_start(), 0);
    all.count = t->count;
    all.running = THREADS;
    kva_posix_interrupt_set(on_interrupt, NULL);
    kva_posix_yield_set(watch, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        w[i].random.state = test_rand(t);
        CHECK_EQ(pthread_create(&w[i].thread, NULL, worker_run, &w[i]), 0);
    }
    CHECK_EQ(pthread_create(&sender, NULL, sender_run, w), 0);
    refill();
    CHECK_EQ(pthread_join(sender, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(w[i].thread, NULL), 0);
    }
    kva_posix_yield_set(NULL, NULL);
    if (all.wrong != NULL) {
        FAIL("from an interrupt, or by two: %s", all.wrong);
    }
    CHECK_GT(all.got, 0);
    CHECK_EQ(all.handled, all.got + all.put + all.refused + all.idle);
    CHECK_EQ(all.got, all.put + all.left);
    CHECK_EQ(kva_intr_refill(), 0);
    CHECK_GE(vmem_size(kmem_intr_arena, VMEM_FREE | VMEM_CACHED), MARK);
    CHECK(vmem_check(kmem_intr_arena) == NULL);
    kva_posix_interrupt_set(NULL, NULL);
    kva_shutdown();
    kva_posix_stats_get(&st);
    CHECK_EQ(st.frames, 0);
}

const struct test stress_intr_tests[] = {
    TEST_THREADS("stress_intr", reserve_under_signals, 0, 2000, 60000, 3000000),
    TEST_END
};
