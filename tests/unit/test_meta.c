/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The metadata allocator: blocks are apart, zeroed and aligned; pages come from
 * the donated region first and go back where they came from.
 */
#include <string.h>

#include "tests/harness/test.h"
#include "vmem/meta.h"
#include "vmem/vmem.h"

#define BLOCKS 500

static struct kva__meta_store store;

static size_t
meta_pages(void)
{
    struct kva_posix_stats st;

    kva_posix_stats_get(&st);
    return st.meta_pages;
}

static size_t
alignment_of(size_t block_size)
{
    size_t align = block_size & (0 - block_size);

    return align < KVA_CACHE_LINE ? align : KVA_CACHE_LINE;
}

static void
blocks_are_apart(struct test_ctx *t)
{
    static const size_t sizes[] = { 8,   24,   32,   64,   96,
                                    512, 1000, 1024, 2016, KVA_META_BLOCK_MAX };
    static unsigned char *block[BLOCKS];

    (void)t;
    PORT(NULL);
    for (unsigned s = 0; s < KVA_COUNT(sizes); s++) {
        kva__meta_store_init(&store, "test", sizes[s], KVA_META_OTHER, 0);
        for (unsigned i = 0; i < BLOCKS; i++) {
            block[i] = kva__meta_get(&store);
            CHECK(block[i] != NULL);
            CHECK_EQ((uintptr_t)block[i] % alignment_of(sizes[s]), 0);
            for (size_t k = 0; k < sizes[s]; k++) {
                CHECK_EQ(block[i][k], 0);
            }
            memset(block[i], (int)(i % 255 + 1), sizes[s]);
        }
        CHECK_EQ(store.nused, BLOCKS);
        CHECK_EQ(kva__meta_bytes(KVA_META_OTHER), meta_pages() * 4096);
        for (unsigned i = 0; i < BLOCKS; i++) {
            CHECK_EQ(block[i][0], i % 255 + 1);
            CHECK_EQ(block[i][sizes[s] - 1], i % 255 + 1);
            kva__meta_put(&store, block[i]);
        }
        CHECK_EQ(store.nused, 0);
        CHECK_EQ(meta_pages(), 0);
        CHECK_EQ(kva__meta_bytes(KVA_META_KINDS), 0);
    }
}

/* The reserve of free blocks keeps its page. */
static void
reserve_is_kept(struct test_ctx *t)
{
    void *block[100];

    (void)t;
    PORT(NULL);
    kva__meta_store_init(&store, "test", 512, KVA_META_TAGS, 5);
    for (unsigned i = 0; i < 100; i++) {
        block[i] = kva__meta_get(&store);
        CHECK(block[i] != NULL);
    }
    for (unsigned i = 0; i < 100; i++) {
        kva__meta_put(&store, block[i]);
    }
    CHECK_GE(store.nfree, 5);
    CHECK_EQ(meta_pages(), 1);
    kva_posix_fault_arm(KVA_POSIX_META_GET, 1, true);
    for (unsigned i = 0; i < 5; i++) {
        block[i] = kva__meta_get(&store);
        CHECK(block[i] != NULL);
    }
}

static void
donated_pages_come_first(struct test_ctx *t)
{
    static _Alignas(4096) char mem[5 * 4096];
    char *page[6];

    (void)t;
    PORT(NULL);
    kva__meta_donate(mem + 1, sizeof(mem) - 1); /* four whole pages of it */
    for (unsigned i = 0; i < 4; i++) {
        page[i] = kva__meta_page_get(KVA_META_HASH);
        CHECK(page[i] >= mem + 4096 && page[i] < mem + sizeof(mem));
        memset(page[i], 0xff, 4096);
    }
    CHECK_EQ(meta_pages(), 0);
    kva__meta_port_ready(false);
    CHECK_PTR(kva__meta_page_get(KVA_META_HASH), NULL);
    kva__meta_port_ready(true);
    page[4] = kva__meta_page_get(KVA_META_QCACHE);
    CHECK(page[4] != NULL);
    CHECK_EQ(meta_pages(), 1);
    CHECK_EQ(kva__meta_bytes(KVA_META_HASH), 4 * 4096);
    CHECK_EQ(kva__meta_bytes(KVA_META_QCACHE), 4096);
    CHECK_EQ(kva__meta_bytes(KVA_META_KINDS), 5 * 4096);
    kva__meta_page_put(page[2], KVA_META_HASH); /* kept, not the port's */
    kva__meta_page_put(page[4], KVA_META_QCACHE);
    CHECK_EQ(meta_pages(), 0);
    page[5] = kva__meta_page_get(KVA_META_HASH);
    CHECK_PTR(page[5], page[2]);
    for (unsigned i = 0; i < 4096; i++) {
        CHECK_EQ(page[5][i], 0);
    }
}

/* One donation behind the other, in use or not: none is taken for the port's. */
static void
donations_add_up(struct test_ctx *t)
{
    static _Alignas(4096) char mem[6 * 4096];
    char *page[5];

    (void)t;
    PORT(NULL);
    kva__meta_donate(mem, 3 * 4096);
    page[0] = kva__meta_page_get(KVA_META_HASH);
    kva__meta_donate(mem + 4 * 4096, 2 * 4096);
    kva__meta_port_ready(false);
    for (unsigned i = 1; i < 5; i++) {
        page[i] = kva__meta_page_get(KVA_META_HASH);
        CHECK(page[i] >= mem && page[i] < mem + sizeof(mem));
        CHECK(page[i] != mem + 3 * 4096);
        memset(page[i], 0xff, 4096);
    }
    CHECK_PTR(kva__meta_page_get(KVA_META_HASH), NULL);
    for (unsigned i = 0; i < 5; i++) {
        kva__meta_page_put(page[i], KVA_META_HASH); /* not to the port */
    }
    CHECK_EQ(kva__meta_bytes(KVA_META_KINDS), 0);
    kva__meta_donate(NULL, 0);
    CHECK_PTR(kva__meta_page_get(KVA_META_HASH), NULL);
}

static void
requests_are_counted(struct test_ctx *t)
{
    size_t before;
    void *block;

    (void)t;
    PORT(NULL);
    kva__meta_store_init(&store, "test", 2016, KVA_META_OTHER, 0);
    before = kva__meta_requests();
    block = kva__meta_get(&store);
    CHECK_EQ(kva__meta_requests(), before + 1);
    kva__meta_put(&store, block);
    CHECK_EQ(kva__meta_requests(), before + 1);
    kva_posix_fault_arm(KVA_POSIX_META_GET, 1, true);
    CHECK_PTR(kva__meta_get(&store), NULL);
    CHECK_EQ(kva__meta_requests(), before + 2);
    CHECK_EQ(store.nused, 0);
    CHECK_EQ(store.nfree, 0);
}

const struct test meta_tests[] = {
    TEST("meta", blocks_are_apart),         TEST("meta", reserve_is_kept),
    TEST("meta", donated_pages_come_first), TEST("meta", donations_add_up),
    TEST("meta", requests_are_counted),     TEST_END
};
