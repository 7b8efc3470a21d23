/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every size: how kmem_alloc, kmem_intr_alloc and malloc(9) align it, how much
 * of it is there, and that zeroed means all of what is there, in memory that
 * had been used before.
 */
#include "kmem/kmem_impl.h"
#include "tests/unit/tower.h"

static KVA_MALLOC_DEFINE(M_SIZE, "size", "sizes");

static size_t
alignment_of(size_t size)
{
    if (size >= KVA_PAGE_SIZE) {
        return KVA_PAGE_SIZE;
    }
    return size >= KVA_CACHE_LINE ? KVA_CACHE_LINE : 8;
}

/* The three ways to memory. */
enum way {
    BY_KMEM,
    BY_INTR,
    BY_MALLOC,
    WAYS
};

static void *
take(enum way way, size_t size, bool zero)
{
    switch (way) {
    case BY_KMEM:
        return zero ? kva_kmem_zalloc(size, KM_NOSLEEP)
                    : kva_kmem_alloc(size, KM_NOSLEEP);
    case BY_INTR:
        return zero ? kva_kmem_intr_zalloc(size, KM_NOSLEEP)
                    : kva_kmem_intr_alloc(size, KM_NOSLEEP);
    default:
        return kva_malloc(size, M_SIZE, zero ? M_NOWAIT | M_ZERO : M_NOWAIT);
    }
}

static void
give(enum way way, void *p, size_t size)
{
    switch (way) {
    case BY_KMEM:
        kva_kmem_free(p, size);
        break;
    case BY_INTR:
        kva_kmem_intr_free(p, size);
        break;
    default:
        kva_free(p, M_SIZE);
    }
}

static size_t
taken_by(enum way way, size_t size)
{
    return way == BY_MALLOC ? kva_malloc_roundup(size)
                            : kva_kmem_roundup_size(size);
}

/* Two of a size, both aligned; all that the size takes can be written. */
static void
try_size(enum way way, size_t size)
{
    size_t all = taken_by(way, size);
    char *p = take(way, size, false), *q = take(way, size, false);

    CHECK(p != NULL && q != NULL);
    CHECK_EQ((uintptr_t)p % alignment_of(size), 0);
    CHECK_EQ((uintptr_t)q % alignment_of(size), 0);
    CHECK_GE(all, size);
    p[0] = q[0] = 1;
    p[all - 1] = 2;
    q[all - 1] = 3;
    CHECK_EQ(p[all - 1], 2);
    give(way, p, size);
    give(way, q, size);
}

/* Every single size up to four pages, at every tier; and beyond, some. */
static void
all_are_aligned(struct test_ctx *t)
{
    tower_start(0);
    for (enum way way = BY_KMEM; way < WAYS; way++) {
        for (size_t size = 1; size <= 4 * KVA_PAGE_SIZE; size++) {
            try_size(way, size);
        }
        for (unsigned long i = 0; i < t->count; i++) {
            size_t most = (way == BY_INTR ? 24 : 100) * KVA_PAGE_SIZE;

            try_size(way,
                     4 * KVA_PAGE_SIZE + 1 + (size_t)test_rand_below(t, most));
        }
    }
    tower_end();
}

/* What a size is rounded up to is what it takes: it is freed by any size down
 * to one above the next smaller one, and counted with that. */
static void
rounding_is_what_is_taken(struct test_ctx *t)
{
    struct kva_malloc_stat st;
    size_t below = 0;

    (void)t;
    tower_start(0);
    for (size_t size = 1; size <= 4 * KVA_PAGE_SIZE; size++) {
        size_t all = kva_kmem_roundup_size(size);
        void *p;

        CHECK_EQ(kva_malloc_roundup(size), all);
        if (all == size) {
            p = kva_kmem_alloc(below + 1, KM_NOSLEEP);
            CHECK_EQ(kva_kmem_roundup_size(below + 1), all);
            kva_kmem_free(p, below + 1);
            below = size;
        }
    }
    CHECK_EQ(kva_malloc_roundup(0), kva_malloc_roundup(1));
    for (size_t size = 1; size <= 4 * KVA_PAGE_SIZE; size += 13) {
        void *p = kva_malloc(size, M_SIZE, M_NOWAIT);

        kva_malloc_type_stat(M_SIZE, &st);
        CHECK_EQ(st.bytes, kva_malloc_roundup(size));
        kva_free(p, M_SIZE);
    }
    tower_end();
}

/* Each class, dirty to the last byte, then taken again and again. */
static void
zeroed_means_all_of_it(struct test_ctx *t)
{
    void *p[8];

    tower_start(0);
    for (enum way way = BY_KMEM; way < WAYS; way++) {
        for (size_t size = 1; size <= 4 * KVA_PAGE_SIZE;
             size = taken_by(way, size) + 1) {
            size_t all = taken_by(way, size);

            for (unsigned round = 0; round < 2 + t->count; round++) {
                for (unsigned i = 0; i < KVA_COUNT(p); i++) {
                    p[i] = take(way, size, round > 0);
                    CHECK(p[i] != NULL);
                    CHECK(round == 0 || tower_intact(p[i], all, 0));
                    tower_fill(p[i], all, 0xa5);
                }
                for (unsigned i = 0; i < KVA_COUNT(p); i++) {
                    give(way, p[i], size);
                }
            }
        }
    }
    tower_end();
}

const struct test kmem_size_tests[] = {
    TEST_COUNT("kmem_size", all_are_aligned, 100, 3000, 30000),
    TEST("kmem_size", rounding_is_what_is_taken),
    TEST_COUNT("kmem_size", zeroed_means_all_of_it, 1, 10, 100), TEST_END
};
