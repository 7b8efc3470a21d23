/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads at pageable memory: they touch the same pages at once, and others
 * protect, wire, give up and free pages beside them and under them.  No write
 * is lost on a page that was not given up, a page gets one frame however many
 * ask for it, and a wired page stays.  For ThreadSanitizer as much as for
 * itself.
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "kva/kva.h"
#include "tests/harness/machine.h"

#define P KVA_PAGE_SIZE
#define R KVA_PROT_READ
#define RW (KVA_PROT_READ | KVA_PROT_WRITE)
#define THREADS 4u
#define PAGES 24u
#define OWN 16u
#define LANE 16u /* words between what two threads write in a page */

struct worker {
    pthread_t thread;
    struct test_random random;
    unsigned id;
    unsigned long count;
    vmem_addr_t kept, given; /* ranges of all */
    uint32_t writes[PAGES];  /* to kept */
    uint32_t gave[PAGES];    /* to given */
    const char *wrong;
};

static pthread_barrier_t line;

static void
boot(void)
{
    static const struct kva_posix_config config = { .va_bytes = (size_t)64
                                                                << 20,
                                                    .cpus = 8 };

    PORT(&config);
    machine_boot((struct kva_boot){ 0 });
    CHECK_EQ(pthread_barrier_init(&line, NULL, THREADS), 0);
}

static void
end(void)
{
    struct kva_posix_stats st;

    CHECK(kva_map_check() == NULL);
    kva_posix_stats_get(&st);
    CHECK_EQ(st.frames, 0);
    CHECK_EQ(vmem_size(kernel_va_arena, VMEM_ALLOC), 0);
    kva_shutdown();
}

static void
run(struct worker *w, struct test_ctx *t, void *(*body)(void *arg))
{
    for (unsigned i = 0; i < THREADS; i++) {
        w[i].id = i;
        w[i].count = t->count;
        w[i].random.state = test_rand(t);
        CHECK_EQ(pthread_create(&w[i].thread, NULL, body, &w[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(w[i].thread, NULL), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        if (w[i].wrong != NULL) {
            FAIL("thread %u: %s", i, w[i].wrong);
        }
    }
}

/* ---- one frame for all ------------------------------------------------- */

static void *
fault_all(void *arg)
{
    struct worker *w = arg;

    for (unsigned long i = 0; i < w->count; i++) {
        (void)pthread_barrier_wait(&line);
        if (kva_fault(w->kept + i % PAGES * P, R) != 0) {
            w->wrong = "a fault failed";
        }
        (void)pthread_barrier_wait(&line);
        if (w->id == 0 && i % PAGES == PAGES - 1 &&
            kva_pageable_discard(w->kept, PAGES * P) != PAGES * P) {
            w->wrong = "a page had no frame";
        }
    }
    return NULL;
}

static void
a_page_gets_one_frame(struct test_ctx *t)
{
    static struct worker w[THREADS];
    struct kva_posix_stats st;

    boot();
    CHECK_EQ(kva_pageable_alloc(PAGES * P, RW, VM_NOSLEEP, &w[0].kept), 0);
    for (unsigned i = 1; i < THREADS; i++) {
        w[i].kept = w[0].kept;
    }
    run(w, t, fault_all);
    kva_posix_stats_get(&st);
    CHECK_EQ(st.page_gets, t->count);
    kva_pageable_free(w[0].kept, PAGES * P);
    end();
}

/* ---- everything at once ------------------------------------------------ */

static __thread sigjmp_buf trap_env;

static void
trap_denied(uintptr_t va, unsigned access, int error)
{
    (void)va;
    (void)access;
    (void)error;
    siglongjmp(trap_env, 1);
}

/* Add 1 to the thread's own word of a page; false: it is not to be written. */
static bool
add(const struct worker *w, vmem_addr_t page, uint32_t *value)
{
    uint32_t *word = (uint32_t *)page + w->id * LANE;

    if (sigsetjmp(trap_env, 1) != 0) {
        return false;
    }
    *value = __atomic_add_fetch(word, 1, __ATOMIC_RELAXED);
    return true;
}

/* To pages that keep what is in them, while others change their accesses. */
static void
write_kept(struct worker *w, unsigned i)
{
    uint32_t value = 0;

    if (add(w, w->kept + i * P, &value) && value != ++w->writes[i]) {
        w->wrong = "a write was lost";
    }
}

/* To pages that somebody gives up now and then: they begin anew. */
static void
write_given(struct worker *w, unsigned i)
{
    uint32_t value = 0;

    if (!add(w, w->given + i * P, &value) || value > ++w->gave[i]) {
        w->wrong = "a page that was given up is not blank";
    }
    w->gave[i] = value;
}

/* While it is wired nobody can give it up. */
static void
write_wired(struct worker *w, unsigned i)
{
    vmem_addr_t page = w->given + i * P;
    uint32_t before = 0, value = 0;

    if (kva_pageable_wire(page, P) != 0) {
        w->wrong = "a page was not wired";
        return;
    }
    (void)add(w, page, &before);
    (void)sched_yield();
    (void)add(w, page, &value);
    if (value != before + 1) {
        w->wrong = "a wired page was given up";
    }
    w->gave[i] = value;
    kva_pageable_unwire(page, P);
}

/* A range of the thread's own, freed in three parts. */
static void
use_own(struct worker *w)
{
    size_t n = 3 + (size_t)test_random_below(&w->random, OWN), at;
    vmem_addr_t va = 0;
    uint32_t value = 0;

    if (kva_pageable_alloc(n * P, RW, VM_NOSLEEP, &va) != 0) {
        w->wrong = "no addresses";
        return;
    }
    at = 1 + (size_t)test_random_below(&w->random, n - 2);
    if (!add(w, va + at * P, &value) || value != 1) {
        w->wrong = "a new page is not blank";
    }
    kva_pageable_free(va + at * P, P);
    kva_pageable_free(va, at * P);
    kva_pageable_free(va + (at + 1) * P, (n - at - 1) * P);
}

static void *
do_all(void *arg)
{
    struct worker *w = arg;

    for (unsigned long k = 0; k < w->count && w->wrong == NULL; k++) {
        unsigned i = (unsigned)test_random_below(&w->random, PAGES);
        size_t n = 1 + (size_t)test_random_below(&w->random, PAGES - i);

        switch (test_random_below(&w->random, 16)) {
        case 0:
            kva_pageable_protect(w->kept + i * P, n * P, R);
            break;
        case 1:
        case 2:
            kva_pageable_protect(w->kept + i * P, n * P, RW);
            break;
        case 3:
            (void)kva_pageable_discard(w->given + i * P, n * P);
            break;
        case 4:
            write_wired(w, i);
            break;
        case 5:
        case 6:
            use_own(w);
            break;
        default:
            write_kept(w, i);
            write_given(w, i);
        }
    }
    return NULL;
}

static void
paging_at_once(struct test_ctx *t)
{
    static struct worker w[THREADS];
    vmem_addr_t kept = 0, given = 0;

    boot();
    if (kva_posix_trap_set(kva_fault, trap_denied) != 0) {
        SKIP("page faults are not told on this machine");
    }
    CHECK_EQ(kva_pageable_alloc(PAGES * P, RW, VM_NOSLEEP, &kept), 0);
    CHECK_EQ(kva_pageable_alloc(PAGES * P, RW, VM_NOSLEEP, &given), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        w[i].kept = kept;
        w[i].given = given;
    }
    run(w, t, do_all);
    kva_pageable_protect(kept, PAGES * P, R);
    for (unsigned i = 0; i < THREADS * PAGES; i++) {
        const volatile uint32_t *word =
            (const uint32_t *)(kept + i / THREADS * P) + i % THREADS * LANE;

        CHECK_EQ(*word, w[i % THREADS].writes[i / THREADS]);
    }
    kva_pageable_free(kept, PAGES * P);
    kva_pageable_free(given, PAGES * P);
    CHECK_EQ(kva_posix_trap_set(NULL, NULL), 0);
    end();
}

const struct test stress_paging_tests[] = {
    TEST_THREADS("stress", a_page_gets_one_frame, 0, 240, 2400, 24000),
    TEST_THREADS("stress", paging_at_once, 0, 0, 10000, 400000), TEST_END
};
