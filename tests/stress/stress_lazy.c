/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that take wired ranges and free each other's, while the queue is
 * flushed by its bound, by age, on want and on demand: no access meets a stale
 * translation, no page is somebody else's too early, all comes back, and who
 * waits for frames is woken.  For ThreadSanitizer above all.
 */
#include <pthread.h>
#include <sched.h>

#include "kva/kva.h"
#include "tests/harness/test.h"

#define P KVA_PAGE_SIZE
#define MS ((uint64_t)1000000)
#define THREADS 4u
#define SHARED 32u
#define PAGES_MAX 12u

/* At the start of a range; the mark stands on each page. */
struct head {
    uint64_t mark;
    size_t pages;
};

static struct stress {
    struct test_ctx *t;
    struct head *shared[SHARED];
    unsigned long count;
    unsigned running;
    bool alone; /* a thread keeps its range to itself, and waits for it */
} stress;

static void
touch(const struct head *h, size_t pages)
{
    for (size_t i = 0; i < pages; i++) {
        CHECK_EQ(kva_posix_access((uintptr_t)h + i * P), KVA_POSIX_ACCESS_OK);
    }
}

static struct head *
range_new(struct test_random *r)
{
    size_t pages = 1 + (size_t)test_random_below(r, PAGES_MAX);
    struct head *h;
    vmem_addr_t va;
    int err = kva_wired_alloc(pages * P, 0,
                              stress.alone ? VM_SLEEP : VM_NOSLEEP, &va);

    if (err != 0) {
        CHECK(!stress.alone && err == KVA_ENOMEM);
        return NULL;
    }
    h = (struct head *)va;
    touch(h, pages);
    h->mark = test_random(r);
    h->pages = pages;
    for (size_t i = 1; i < pages; i++) {
        *(uint64_t *)(va + i * P) = h->mark;
    }
    return h;
}

static void
range_free(struct head *h)
{
    if (h != NULL) {
        touch(h, h->pages);
        for (size_t i = 1; i < h->pages; i++) {
            CHECK_EQ(*(uint64_t *)((uintptr_t)h + i * P), h->mark);
        }
        kva_wired_free((vmem_addr_t)(uintptr_t)h, h->pages * P);
    }
}

static void *
worker(void *arg)
{
    struct test_random r = { .state = stress.t->seed + (uintptr_t)arg };

    for (unsigned long i = 0; i < stress.count; i++) {
        struct head **place = &stress.shared[test_random_below(&r, SHARED)];
        struct head *h = range_new(&r);

        if (!stress.alone) {
            h = __atomic_exchange_n(place, h, __ATOMIC_ACQ_REL);
        }
        range_free(h);
    }
    (void)__atomic_fetch_sub(&stress.running, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* Time passes, and somebody flushes; with both arenas at work too. */
static void
beside(void)
{
    for (unsigned long i = 0;
         __atomic_load_n(&stress.running, __ATOMIC_ACQUIRE) != 0; i++) {
        vmem_addr_t a;

        kva_posix_clock_advance(MS);
        (void)kva_unmap_tick();
        if (i % 64 == 0) {
            (void)kva_unmap_flush();
        }
        if (i % 16 == 0 &&
            vmem_alloc(kmem_arena, 40 * P, VM_NOSLEEP, &a) == 0) {
            vmem_free(kmem_arena, a, 40 * P);
        }
        (void)sched_yield();
    }
}

static void
run(struct test_ctx *t, size_t page_limit, bool alone, struct kva_boot kb)
{
    const struct kva_posix_config config = { .va_bytes = (size_t)64 << 20,
                                             .page_limit = page_limit,
                                             .cpus = THREADS + 1 };
    struct kva_posix_stats st;
    pthread_t thread[THREADS];

    PORT(&config);
    kva_posix_clock_virtual(true);
    CHECK(kva_posix_tlb_enable(true));
    kb.va_base = kva_posix_va_base();
    kb.va_bytes = kva_posix_va_bytes();
    CHECK_EQ(kva_boot(&kb), 0);
    CHECK_EQ(kva_start(), 0);
    stress = (struct stress){
        .t = t, .count = t->count / THREADS, .running = THREADS, .alone = alone
    };
    for (uintptr_t i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_create(&thread[i], NULL, worker, (void *)i), 0);
    }
    if (!alone) {
        beside();
    }
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    }
    for (unsigned i = 0; i < SHARED; i++) {
        range_free(stress.shared[i]);
    }
    (void)vmem_drain(kmem_arena, SIZE_MAX, 0);
    kva_posix_stats_get(&st);
    CHECK_EQ(st.frames, 0);
    CHECK_PTR(kva_vmem_check(heap_va_arena), NULL);
    kva_shutdown();
    kva_posix_stats_get(&st);
    CHECK_EQ(st.attached_pages, 0);
}

static void
threads_free_lazily(struct test_ctx *t)
{
    run(t, 0, false, (struct kva_boot){ .lazy_bytes = 100 * P, .lazy_ms = 20 });
}

/* Frames are wanting, too, and addresses lie in quarantine. */
static void
threads_in_want(struct test_ctx *t)
{
    run(t, 150, false,
        (struct kva_boot){ .lazy_bytes = 100 * P, .quarantine_frees = 50 });
}

/* Each has one range at most and all fit, so who waits is woken.  The clock
 * stands still: nobody looks again by himself, and a wake that is lost hangs. */
static void
waiters_are_woken(struct test_ctx *t)
{
    run(t, 2 * PAGES_MAX, true, (struct kva_boot){ .lazy_bytes = 64 * P });
}

const struct test stress_lazy_tests[] = {
    TEST_THREADS("stress_lazy", threads_free_lazily, 500, 4000, 100000,
                 2000000),
    TEST_THREADS("stress_lazy", threads_in_want, 500, 4000, 100000, 2000000),
    TEST_THREADS("stress_lazy", waiters_are_woken, 300, 2000, 40000, 500000),
    TEST_END
};
