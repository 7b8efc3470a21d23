/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kmem(9): sizes, alignment, what a request takes, and that all of it comes
 * back.
 */
#include "kmem/kmem_impl.h"
#include "tests/unit/tower.h"

/* The alignment that kmem promises for a size. */
static size_t
alignment_of(size_t size)
{
    if (size >= KVA_PAGE_SIZE) {
        return KVA_PAGE_SIZE;
    }
    return size >= KVA_CACHE_LINE ? KVA_CACHE_LINE : 8;
}

/* Every size up to three pages: three at a time, aligned, whole, disjoint. */
static void
every_size_is_aligned_and_disjoint(struct test_ctx *t)
{
    tower_start(0);
    for (size_t size = 1; size <= 3 * KVA_PAGE_SIZE; size += t->count) {
        void *p[3];

        for (unsigned i = 0; i < 3; i++) {
            p[i] = i == 1 ? kva_kmem_zalloc(size, KM_SLEEP)
                          : kva_kmem_alloc(size, KM_SLEEP);
            CHECK(p[i] != NULL);
            CHECK_EQ((uintptr_t)p[i] % alignment_of(size), 0);
            CHECK(i != 1 || tower_intact(p[i], size, 0));
            tower_fill(p[i], kva_kmem_roundup_size(size), i + 1);
        }
        for (unsigned i = 0; i < 3; i++) {
            CHECK(tower_intact(p[i], kva_kmem_roundup_size(size), i + 1));
            kva_kmem_free(p[i], size);
        }
    }
    tower_end();
}

/* The same of the arena that is wired ahead. */
static void
every_intr_size_is_aligned(struct test_ctx *t)
{
    tower_start(0);
    for (size_t size = 1; size <= 3 * KVA_PAGE_SIZE; size += t->count) {
        void *p = kva_kmem_intr_alloc(size, KM_NOSLEEP);
        void *q = kva_kmem_intr_zalloc(size, KM_NOSLEEP);

        CHECK(p != NULL && q != NULL);
        CHECK_EQ((uintptr_t)p % alignment_of(size), 0);
        CHECK_EQ((uintptr_t)q % alignment_of(size), 0);
        CHECK(tower_intact(q, size, 0));
        tower_fill(p, size, 1);
        tower_fill(q, size, 2);
        CHECK(tower_intact(p, size, 1));
        kva_kmem_intr_free(p, size);
        kva_kmem_intr_free(q, size);
        (void)kva_kmem_drain();
    }
    tower_end();
}

/* What a request takes: exact steps up to a line, then at most an eighth more
 * or a line, then pages. */
static void
sizes_round_up_little(struct test_ctx *t)
{
    (void)t;
    tower_start(0);
    for (size_t size = 1; size <= 4 * KVA_PAGE_SIZE; size++) {
        size_t taken = kva_kmem_roundup_size(size);
        size_t slack = size <= KVA_CACHE_LINE      ? 7
                       : size < 8 * KVA_CACHE_LINE ? KVA_CACHE_LINE - 1
                                                   : size / 8;

        CHECK_GE(taken, size);
        if (size > KVA__KMEM_SMALL_MAX) {
            slack = KVA_PAGE_SIZE - 1;
            CHECK_EQ(taken % KVA_PAGE_SIZE, 0);
        }
        CHECK_LE(taken - size, slack);
        CHECK_EQ(kva_kmem_roundup_size(taken), taken);
    }
    CHECK_EQ(kva_kmem_roundup_size(1), 8);
    CHECK_EQ(kva_kmem_roundup_size(KVA_CACHE_LINE + 1),
             (size_t)2 * KVA_CACHE_LINE);
    CHECK_EQ(kva_kmem_roundup_size(3840), 3840);
    CHECK_EQ(kva_kmem_roundup_size(3841), 4096);
    CHECK_EQ(kva_kmem_roundup_size(4097), 8192);
    tower_end();
}

/* Large ones, past the quantum caches. */
static void
large_ranges_come_and_go(struct test_ctx *t)
{
    char *p[8];

    (void)t;
    tower_start(0);
    for (unsigned i = 0; i < 8; i++) {
        p[i] = kva_kmem_alloc((size_t)(i + 1) * 100000, KM_SLEEP);
        CHECK(p[i] != NULL);
        CHECK_EQ((uintptr_t)p[i] % KVA_PAGE_SIZE, 0);
        tower_fill(p[i], (size_t)(i + 1) * 100000, i);
    }
    for (unsigned i = 0; i < 8; i++) {
        CHECK(tower_intact(p[i], (size_t)(i + 1) * 100000, i));
        kva_kmem_free(p[i], (size_t)(i + 1) * 100000);
    }
    tower_end();
}

/* A request that no address space could hold is refused, not waited for. */
static void
absurd_sizes_are_refused(struct test_ctx *t)
{
    (void)t;
    tower_start(0);
    CHECK(kva_kmem_alloc(SIZE_MAX / 4, KM_SLEEP) == NULL);
    CHECK(kva_kmem_alloc(SIZE_MAX / 2, KM_SLEEP) == NULL);
    CHECK(kva_kmem_zalloc((size_t)256 << 20, KM_NOSLEEP) == NULL);
    tower_end();
}

/* What the drain says is what the arena got; after it and the arena's own no
 * page is wired. */
static void
drain_returns_everything(struct test_ctx *t)
{
    struct kva_stat st;
    size_t bytes;

    (void)t;
    tower_start(0);
    for (unsigned cpu = 0; cpu < 4; cpu++) {
        CHECK_EQ(kva_posix_cpu_set(cpu), 0);
        for (size_t size = 1; size < KVA_PAGE_SIZE; size += 8) {
            void *p = kva_kmem_alloc(size, KM_SLEEP);
            void *q = kva_kmem_alloc(size, KM_SLEEP);

            kva_kmem_free(p, size);
            kva_kmem_free(q, size);
        }
    }
    bytes = kva_kmem_drain();
    CHECK_GE(bytes, KVA__KMEM_CLASSES * KVA_PAGE_SIZE);
    CHECK_EQ(bytes % KVA_PAGE_SIZE, 0);
    CHECK_EQ(kva_kmem_drain(), 0);
    (void)kva_pool_drain_all();
    kva_stat(&st);
    CHECK_LE(st.wired_bytes, TOWER_INTR_BYTES);
    tower_end();
}

/* No page to be had: NULL, nothing changed; and it works again afterwards. */
static void
no_memory_is_a_result(struct test_ctx *t)
{
    void *p[600];
    unsigned n = 0;

    (void)t;
    tower_start(256);
    while (n < KVA_COUNT(p)) {
        size_t size = 1 + n * 37 % 9000;

        p[n] = kva_kmem_alloc(size, KM_NOSLEEP);
        if (p[n] == NULL) {
            break;
        }
        tower_fill(p[n], size, n);
        n++;
    }
    CHECK_LT(n, KVA_COUNT(p));
    CHECK_GT(n, 20);
    CHECK(kva_kmem_zalloc(100000, KM_NOSLEEP) == NULL);
    for (unsigned i = 0; i < n; i++) {
        CHECK(tower_intact(p[i], 1 + i * 37 % 9000, i));
        kva_kmem_free(p[i], 1 + i * 37 % 9000);
    }
    (void)kva_pool_drain_all();
    p[0] = kva_kmem_alloc(100000, KM_NOSLEEP);
    CHECK(p[0] != NULL);
    kva_kmem_free(p[0], 100000);
    tower_end();
}

/* One life: every kind of request, some refused; all frees. */
static void
short_life(void)
{
    void *p[3][40];

    for (unsigned i = 0; i < 40; i++) {
        p[0][i] = kva_kmem_alloc(1 + i * 100, KM_NOSLEEP);
        p[1][i] = kva_kmem_intr_alloc(1 + i * 100, KM_NOSLEEP);
        p[2][i] = kva_kmem_alloc(5000 + i * 4000, KM_NOSLEEP);
    }
    tower_check();
    for (unsigned i = 0; i < 40; i++) {
        if (p[0][i] != NULL) {
            kva_kmem_free(p[0][i], 1 + i * 100);
        }
        if (p[1][i] != NULL) {
            kva_kmem_intr_free(p[1][i], 1 + i * 100);
        }
        if (p[2][i] != NULL) {
            kva_kmem_free(p[2][i], 5000 + i * 4000);
        }
    }
}

static void
faults_lose_nothing(struct test_ctx *t)
{
    struct kva_stat after;
    unsigned long fired;

    tower_start(0);
    for (unsigned sticky = 0; sticky < 2; sticky++) {
        unsigned long nth = 1;

        do {
            kva_posix_fault_arm(KVA_POSIX_ANY, nth, sticky != 0);
            short_life();
            fired = kva_posix_fault_fired(KVA_POSIX_ANY);
            kva_posix_fault_reset();
            (void)kva_pool_drain_all();
            (void)kva_intr_refill();
            kva_stat(&after);
            CHECK_EQ(kva_vmem_size(kva_kmem_arena, VMEM_ALLOC | VMEM_FREE), 0);
            CHECK_LE(after.wired_bytes, 2 * TOWER_INTR_BYTES);
            nth += t->count;
        } while (fired != 0);
    }
    tower_end();
}

/* Interrupt context: the intr forms work there, with whatever was cut off. */
static void
in_interrupt(void *arg)
{
    void **p = arg;

    if (*p == NULL) {
        *p = kva_kmem_intr_alloc(200, KM_NOSLEEP);
        CHECK(*p != NULL);
        tower_fill(*p, 200, 7);
    } else {
        CHECK(tower_intact(*p, 200, 7));
        kva_kmem_intr_free(*p, 200);
        *p = NULL;
    }
}

static void
interrupts_allocate(struct test_ctx *t)
{
    void *held = NULL;

    (void)t;
    tower_start(0);
    kva_posix_interrupt_set(in_interrupt, &held);
    for (unsigned i = 0; i < 100; i++) {
        void *p = kva_kmem_intr_alloc(200, KM_NOSLEEP);

        kva_posix_interrupt();
        kva_kmem_intr_free(p, 200);
    }
    CHECK(held == NULL);
    kva_posix_interrupt_set(NULL, NULL);
    tower_end();
}

const struct test kmem_tests[] = {
    TEST_COUNT("kmem", every_size_is_aligned_and_disjoint, 7, 1, 1),
    TEST_COUNT("kmem", every_intr_size_is_aligned, 61, 7, 1),
    TEST("kmem", sizes_round_up_little),
    TEST("kmem", large_ranges_come_and_go),
    TEST("kmem", absurd_sizes_are_refused),
    TEST("kmem", drain_returns_everything),
    TEST("kmem", no_memory_is_a_result),
    TEST_COUNT("kmem", faults_lose_nothing, 7, 1, 1),
    TEST("kmem", interrupts_allocate),
    TEST_END
};
