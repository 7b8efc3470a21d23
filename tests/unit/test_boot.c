/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Starting the tower, using kmem on it, ending it, and starting again.
 *
 * Claims: kva_boot_simple makes a working kmem of one region, at every tier,
 * and hands the region back; what a region holds is limited by its size, not by
 * metadata; the tower can be started again, on another machine too; and no free
 * of kmem or malloc asks for metadata, whatever is refused meanwhile.
 */
#include <stdlib.h>
#include <string.h>

#include "kmem/kmem.h"
#include "malloc_compat/malloc_store.h"
#include "tests/harness/test.h"
#include "vmem/meta.h"

#define OBJECT 100u
#define OBJECTS_MAX 60000u

/* Objects until there is none, each filled; back again.  Bytes there were. */
static size_t
use_up(void)
{
    static unsigned char *object[OBJECTS_MAX];
    size_t n = 0;

    while (n < OBJECTS_MAX) {
        object[n] = kmem_alloc(OBJECT, KM_NOSLEEP);
        if (object[n] == NULL) {
            break;
        }
        memset(object[n], (int)(n & 0xff), OBJECT);
        n++;
    }
    CHECK(n < OBJECTS_MAX);
    for (size_t i = 0; i < n; i++) {
        CHECK_EQ(object[i][0], i & 0xff);
        CHECK_EQ(object[i][OBJECT - 1], i & 0xff);
        kmem_free(object[i], OBJECT);
    }
    return n * OBJECT;
}

static void
region(struct test_ctx *t)
{
    /* Bytes of a region, and the least share of it, in percent, that objects
     * of 100 bytes must get. */
    static const struct {
        size_t bytes;
        unsigned percent;
    } regions[] = {
        { KVA_BOOT_SIMPLE_MIN, 25 },
        { (size_t)256 << 10, 40 },
        { (size_t)1 << 20, 60 },
        { (size_t)4 << 20, 65 },
    };

    (void)t;
    for (size_t i = 0; i < KVA_COUNT(regions); i++) {
        size_t bytes = regions[i].bytes;
        void *memory = malloc(bytes);

        CHECK(memory != NULL);
        for (int again = 0; again < 3; again++) {
            struct kva_stat st;

            memset(memory, 0xa5, bytes); /* nobody counts on what was there */
            CHECK_EQ(kva_boot_simple(memory, bytes), 0);
            kva_kmem_init();
            CHECK_GE(use_up() * 100, bytes * regions[i].percent);
            CHECK_GE(use_up() * 100, bytes * regions[i].percent);
            kva_kmem_fini();
            kva_shutdown();
            kva_stat(&st);
            CHECK_EQ(st.tags, 0);
            CHECK_EQ(st.meta_pages_bytes, 0);
        }
        free(memory);
    }
    CHECK_EQ(kva_boot_simple(NULL, KVA_BOOT_SIMPLE_MIN - 1), KVA_EINVAL);
}

#if KVA_TIER >= 2
static void
start(void)
{
    struct kva_boot boot = { .va_base = kva_posix_va_base(),
                             .va_bytes = kva_posix_va_bytes() };

    CHECK_EQ(kva_boot(&boot), 0);
    CHECK_EQ(kva_start(), 0);
    kva_kmem_init();
}

static void
end(void)
{
    struct kva_posix_stats stats;

    kva_malloc_fini();
    kva_kmem_fini();
    kva_shutdown();
    kva_posix_stats_get(&stats);
    CHECK_EQ(stats.attached_pages, 0);
    CHECK_EQ(stats.frames, 0);
    CHECK_EQ(stats.meta_pages, 0);
}

/* On the same machine, and on a new one. */
static void
again(struct test_ctx *t)
{
    (void)t;
    for (int machine = 0; machine < 3; machine++) {
        CHECK_EQ(kva_posix_init(NULL), 0);
        for (int i = 0; i < 3; i++) {
            void *p;

            start();
            p = kmem_alloc(5000, KM_SLEEP);
            memset(p, 1, 5000);
            kmem_free(p, 5000);
            end();
        }
        kva_posix_fini();
    }
}

#define HELD 512u
MALLOC_DEFINE(M_BOOT, "boot", "of a test");

/*
 * Sizes from 8 bytes to 40 pages by kmem and malloc.  Before every eighth free
 * a request is refused, the port having neither pages nor metadata.
 */
static void
free_asks_for_nothing(struct test_ctx *t)
{
    static struct {
        void *p;
        size_t size;
        bool typed;
    } held[HELD];
    unsigned long frees = 0, refused = 0;
    size_t asked = 0;

    PORT(NULL);
    start();
    while (frees < t->count) {
        for (size_t i = 0; i < HELD; i++) {
            held[i].size =
                test_rand_below(t, 4) != 0
                    ? 8 + (size_t)test_rand_below(t, 4000)
                    : KVA_PAGE_SIZE * (1 + (size_t)test_rand_below(t, 40));
            held[i].typed = test_rand_below(t, 2) != 0;
            held[i].p = held[i].typed
                            ? kva_malloc(held[i].size, M_BOOT, KVA_M_WAITOK)
                            : kmem_alloc(held[i].size, KM_SLEEP);
            CHECK(held[i].p != NULL);
        }
        kva_posix_fault_arm(KVA_POSIX_PAGE_GET, 1, true);
        kva_posix_fault_arm(KVA_POSIX_META_GET, 1, true);
        for (size_t i = 0; i < HELD; i++) {
            if (i % 8 == 0) {
                CHECK(kmem_alloc((size_t)64 << 20, KM_NOSLEEP) == NULL);
                refused++;
            }
            asked = kva__meta_requests();
            if (held[i].typed) {
                kva_free(held[i].p, M_BOOT);
            } else {
                kmem_free(held[i].p, held[i].size);
            }
            CHECK_EQ(kva__meta_requests(), asked);
            frees++;
        }
        kva_posix_fault_reset();
    }
    CHECK_GE(refused * 8, frees);
    end();
}
#endif

const struct test boot_tests[] = { TEST("boot", region),
#if KVA_TIER >= 2
                                   TEST("boot", again),
                                   TEST_LEAST("boot", free_asks_for_nothing,
                                              2000, 20000, 200000, 2000000),
#endif
                                   TEST_END };
