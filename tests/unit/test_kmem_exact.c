/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: in debug builds, and in all builds where a cache has a debug mode,
 * kmem_free says when it is told another size than was asked for, by one byte;
 * and a canary stands next to that byte, for malloc(9) too.  What reallocates
 * keeps both right.
 */
#include "malloc_compat/kmalloc.h"
#include "pool/debug_impl.h"
#include "tests/unit/tower.h"

#define UL(p) ((unsigned long)(uintptr_t)(p))

static KVA_MALLOC_DEFINE(M_EXACT, "exact", "of the tests of sizes");

static void
exact_start(const char *spec)
{
    CHECK_EQ(kva_pool_debug_set(spec, NULL), 0);
    tower_start(0);
}

static void
exact_end(void)
{
    tower_end();
}

static const char *
class_name(size_t size)
{
    static char name[16];

    (void)kva__format(name, sizeof(name), "kmem-%u",
                      (unsigned)kva_kmem_roundup_size(size));
    return name;
}

/* Every size of a class but the right one; the right one, after all reports. */
static void
free_wrongly(void *p, size_t size, size_t said)
{
    CHECK_PANIC(kva_kmem_free(p, said),
                "kmem_free: cache %s: 0x%lx: expected size %zu, found size %zu",
                class_name(size), UL(p), size, said);
}

static void
sizes_of(size_t size)
{
    size_t most = kva_kmem_roundup_size(size), least = size;
    void *p = kva_kmem_alloc(size, KM_SLEEP);

    while (least > 1 && kva_kmem_roundup_size(least - 1) == most) {
        least--;
    }
    for (size_t said = least; said <= most; said++) {
        if (said != size && (said - least < 3 || most - said < 3 ||
                             said + 1 == size || said == size + 1)) {
            free_wrongly(p, size, said);
        }
    }
    kva_kmem_free(p, size);
}

static void
exact_sizes(void)
{
    static const size_t some[] = { 1,   2,   7,    8,    9,    60,   61,
                                   63,  64,  65,   66,   128,  129,  200,
                                   500, 577, 1000, 1024, 2049, 3839, 3840 };
    char *p;

    for (unsigned i = 0; i < KVA_COUNT(some); i++) {
        if (some[i] <= KVA_PAGE_SIZE - KVA_PAGE_SIZE / 16) {
            sizes_of(some[i]);
        }
    }
    p = kva_kmem_zalloc(60, KM_SLEEP);
    CHECK(tower_intact(p, 60, 0));
    CHECK_PANIC(kva_kmem_free(p, 61),
                "kmem_free: cache kmem-64: 0x%lx: expected size 60, found "
                "size 61",
                UL(p));
    kva_kmem_free(p, 60);
    p = kva_kmem_intr_alloc(5, KM_NOSLEEP);
    CHECK_PANIC(kva_kmem_intr_free(p, 6),
                "kmem_intr_free: cache kmem_intr-8: 0x%lx: expected size 5, "
                "found size 6",
                UL(p));
    kva_kmem_intr_free(p, 5);
    p = kva_kmem_intr_zalloc(300, KM_NOSLEEP);
    CHECK_PANIC(kva_kmem_intr_free(p, 301),
                "kmem_intr_free: cache kmem_intr-320: 0x%lx: expected size "
                "300, found size 301",
                UL(p));
    kva_kmem_intr_free(p, 300);
    p = kva_kmem_strdup("seven..", KM_SLEEP);
    CHECK_PANIC(kva_kmem_free(p, 7),
                "kmem_free: cache kmem-8: 0x%lx: expected size 8, found size 7",
                UL(p));
    kva_kmem_strfree(p);
}

static void
in_debug_builds(struct test_ctx *t)
{
    (void)t;
    if (!KVA_CONFIG_DEBUG || KVA_CACHE_LINE != 64) {
        SKIP("the sizes are kept in debug builds only");
    }
    exact_start("");
    for (unsigned i = 0; i < 3; i++) { /* out of slabs, and of magazines */
        exact_sizes();
    }
    exact_end();
}

static void
with_a_mode(struct test_ctx *t)
{
    (void)t;
    if (KVA_CACHE_LINE != 64) {
        SKIP("the classes are others");
    }
    exact_start("audit=kmem*");
    exact_sizes();
    exact_end();
}

/* The size that an object has now, after realloc as well. */
static size_t
size_of(const void *p)
{
    struct kva_pool_audit a;

    CHECK_EQ(kva_pool_audit_find(p, &a), 0);
    CHECK_EQ(a.object, UL(p));
    CHECK(a.live);
    return a.size;
}

static void
malloc_keeps_its_size(struct test_ctx *t)
{
    char *p, *q, *other;

    (void)t;
    if (KVA_CACHE_LINE != 64) {
        SKIP("the classes are others");
    }
    exact_start("redzone,audit");
    other = kva_malloc(64, M_EXACT, M_WAITOK); /* so that the slab stays */
    p = kva_malloc(60, M_EXACT, M_WAITOK);
    CHECK_EQ(size_of(p), 60);
    tower_fill(p, 60, 1);
    p[60] = 1;
    CHECK_PANIC(kva_free(p, M_EXACT),
                "free: cache kmem-64: 0x%lx: expected the redzone behind the "
                "object, found 0x01 at byte 60",
                UL(p));
    CHECK_PANIC((void)kva_realloc(p, 62, M_EXACT, M_WAITOK),
                "realloc: cache kmem-64: 0x%lx: expected the redzone behind "
                "the object, found 0x01 at byte 60",
                UL(p));
    p[60] = (char)POOL_BYTE_REDZONE;
    /* In place, larger and smaller. */
    CHECK_PTR(kva_realloc(p, 62, M_EXACT, M_WAITOK), p);
    CHECK_EQ(size_of(p), 62);
    CHECK(tower_intact(p, 60, 1));
    p[61] = 1;
    CHECK_PTR(kva_realloc(p, 57, M_EXACT, M_WAITOK), p);
    CHECK_EQ(size_of(p), 57);
    CHECK(tower_intact(p, 57, 1));
    p[57] = 1;
    CHECK_PANIC(kva_free(p, M_EXACT),
                "free: cache kmem-64: 0x%lx: expected the redzone behind the "
                "object, found 0x01 at byte 57",
                UL(p));
    p[57] = (char)POOL_BYTE_REDZONE;
    /* Elsewhere. */
    q = kva_realloc(p, 1000, M_EXACT, M_WAITOK);
    CHECK_EQ(size_of(q), 1000);
    CHECK(tower_intact(q, 57, 1));
    CHECK_PANIC(kva_free(p, M_EXACT),
                "free: cache kmem-64: 0x%lx: expected a live object, found a "
                "free one",
                UL(p));
    q = kva_realloc(q, 3, M_EXACT, M_NOWAIT | M_ZERO);
    CHECK_EQ(size_of(q), 3);
    CHECK(tower_intact(q, 3, 1));
    kva_free(q, M_EXACT);
    p = kva_kmalloc(10);
    p = kva_krealloc(p, 13);
    CHECK_EQ(size_of(p), 13);
    p = kva_krealloc(p, 300);
    CHECK_EQ(size_of(p), 300);
    kva_kfree(p);
    p = kva_kzalloc(31);
    CHECK(tower_intact(p, 31, 0));
    CHECK_EQ(size_of(p), 31);
    kva_kfree(p);
    p = kva_malloc(0, M_EXACT, M_WAITOK);
    CHECK_EQ(size_of(p), 1);
    kva_free(p, M_EXACT);
    kva_free(other, M_EXACT);
    exact_end();
}

/* One byte too far and one too low, for random sizes. */
static void
canaries_at_random(struct test_ctx *t)
{
    static const size_t edges[] = { 1, 8, 64, 65, 128, 3840 };

    exact_start("all,redzone=kmem*");
    for (unsigned long i = 0; i < t->count; i++) {
        size_t size = i < KVA_COUNT(edges)
                          ? edges[i]
                          : 1 + (size_t)test_rand_below(t, 3840);
        bool before = test_random_one_in(&t->random, 2);
        long at = before ? -1 : (long)size;
        char *p = kva_kmem_alloc(size, KM_SLEEP);

        tower_fill(p, size, 7);
        p[at] ^= 0x40;
        CHECK_PANIC(kva_kmem_free(p, size),
                    "kmem_free: cache %s: 0x%lx: expected the redzone %s the "
                    "object, found 0xbd at byte %ld",
                    class_name(size), UL(p), before ? "before" : "behind", at);
        p[at] ^= 0x40;
        kva_kmem_free(p, size);
    }
    exact_end();
}

const struct test kmem_exact_tests[] = {
    TEST("kmem_exact", in_debug_builds), TEST("kmem_exact", with_a_mode),
    TEST("kmem_exact", malloc_keeps_its_size),
    TEST_COUNT("kmem_exact", canaries_at_random, 500, 3000, 10000), TEST_END
};
