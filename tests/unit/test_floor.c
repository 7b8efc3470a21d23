/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How small a machine may be.
 *
 * Claims: what the tower and kmem take of metadata before anybody has asked for
 * anything is no more than 32 KiB with one CPU slot, and 4 KiB for each further
 * one (printed by kinds); and on a machine of 4 MB in all, metadata included,
 * kmem serves what must fit there, says no when there is no more, and gives all
 * of it back, as often as one likes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/tower.h"
#include "vmem/meta.h"

#define FIXED_MAX ((size_t)32 << 10)
#define SLOT_MAX ((size_t)4 << 10)
#define P KVA_PAGE_SIZE

static const char *const kinds[KVA_META_KINDS] = {
    [KVA_META_TAGS] = "tags",
    [KVA_META_HASH] = "hash",
    [KVA_META_QCACHE] = "quantum caches",
    [KVA_META_SLAB_HEADERS] = "slab headers",
    [KVA_META_STATE] = "states",
    [KVA_META_MAGAZINES] = "magazines",
    [KVA_META_OTHER] = "other",
};

/* ---- before anybody has asked ------------------------------------------ */

static void
boot(unsigned cpus)
{
    struct kva_posix_config config = { .va_bytes = (size_t)256 << 20,
                                       .meta_bytes = (size_t)32 << 20,
                                       .cpus = cpus };

    tower_start_with(&config, (struct kva_boot){ 0 });
}

/* Bytes with so many slots. */
static size_t
fixed_bytes(unsigned cpus)
{
    struct kva_stat st;

    boot(cpus);
    kva_stat(&st);
    printf("%3u slots: %zu bytes of metadata (", cpus, st.meta_pages_bytes);
    for (unsigned k = 0; k < KVA_META_KINDS; k++) {
        printf("%s%s %zu", k == 0 ? "" : ", ", kinds[k], st.meta_bytes[k]);
    }
    printf(")\n");
    tower_end();
    kva_posix_fini();
    return st.meta_pages_bytes;
}

static void
fixed_metadata(struct test_ctx *t)
{
    static const unsigned slots[] = { 2, 4, 16, 64, KVA_CPU_MAX };
    size_t one = fixed_bytes(1);

    (void)t;
    CHECK_LE(one, FIXED_MAX);
    for (size_t i = 0; i < KVA_COUNT(slots); i++) {
        CHECK_LE(fixed_bytes(slots[i]), one + (slots[i] - 1) * SLOT_MAX);
    }
}

/* ---- 4 MB in all -------------------------------------------------------- */

#define MACHINE_PAGES ((size_t)1024)
#define OBJECTS_MAX 200000u

struct object {
    void *p;
    size_t size;
};

/* A request that cannot sleep takes nothing from other sizes' stock; what it
 * wakes in a kernel, the pagedaemon, is done here. */
static void *
get(size_t size)
{
    void *p = kva_kmem_alloc(size, KVA_KM_NOSLEEP);
    size_t work = KVA_WORK_ALL;

    if (p == NULL) {
        (void)kva_reclaim_pass(SIZE_MAX, KVA_URGENCY_OOM, &work);
        p = kva_kmem_alloc(size, KVA_KM_NOSLEEP);
    }
    return p;
}

/*
 * Objects of 1 to 4,096 bytes until there is no memory, each filled; then all
 * are looked at, and go.  Bytes there were.  The first that is refused may be a
 * large one for which there is no slab, while smaller ones have room in theirs:
 * it goes on with half the size, until there is no byte.
 */
static size_t
use_up(struct test_ctx *t, struct object *o)
{
    size_t n = 0, bytes = 0, cap = 4096;

    while (cap != 0) {
        uint64_t most = test_rand_below(t, 8) == 0 ? 4096 : 256;

        CHECK_LT(n, OBJECTS_MAX);
        o[n].size = (size_t)(1 + test_rand_below(t, most < cap ? most : cap));
        o[n].p = get(o[n].size);
        if (o[n].p == NULL) {
            cap = o[n].size / 2;
            continue;
        }
        tower_fill(o[n].p, o[n].size, (unsigned)n);
        bytes += o[n++].size;
    }
    tower_check();
    for (size_t i = 0; i < n; i++) {
        CHECK(tower_intact(o[i].p, o[i].size, (unsigned)i));
        kva_kmem_free(o[i].p, o[i].size);
    }
    return bytes;
}

static void
four_megabytes(struct test_ctx *t)
{
    struct kva_posix_config config = { .va_bytes = (size_t)64 << 20,
                                       .meta_bytes = MACHINE_PAGES * P,
                                       .page_limit = MACHINE_PAGES,
                                       .meta_counts = true,
                                       .cpus = 1 };
    struct kva_boot kb = { .va_base = 0 };
    struct object *o = calloc(OBJECTS_MAX, sizeof(*o));
    struct kva_posix_stats stats;
    struct test_random again;
    size_t first = 0;

    CHECK(o != NULL);
    tower_start_with(&config, kb);
    again = t->random;
    for (unsigned i = 0; i < t->count; i++) {
        size_t bytes;

        t->random = again; /* the same sizes, to be compared */
        bytes = use_up(t, o);
        if (i == 0) {
            first = bytes;
            kva_posix_stats_get(&stats);
            printf("4 MB: %zu bytes of objects, %zu pages wired and %zu of "
                   "metadata at most\n",
                   bytes, stats.frames_peak, stats.meta_peak);
        }
        CHECK_GE(bytes * 100, MACHINE_PAGES * P * 60);
        CHECK_GE(bytes * 100, first * 95);
    }
    tower_end();
    kva_posix_stats_get(&stats);
    CHECK_EQ(stats.frames, 0);
    CHECK_EQ(stats.meta_pages, 0);
    free(o);
}

const struct test floor_tests[] = {
    TEST("floor", fixed_metadata),
    TEST_COUNT("floor", four_megabytes, 3, 20, 200), TEST_END
};
