/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slabs from functions of the user's, and what the pool does with them: how
 * large they are, that each comes back, and that of memory which must not be
 * touched (PR_NOTOUCH) no byte is ever written.
 */
#include <stdlib.h>

#include "tests/unit/tower.h"

#define PATTERN 0xa5u

/* The user's memory: a room of large pages, handed out from the bottom, each
 * full of the pattern before anybody has it. */
#define ROOM_BYTES ((size_t)16 << 20)

static struct {
    char *room;
    size_t used;
    size_t page;
    size_t skew;     /* off its natural alignment */
    unsigned live;   /* pages out */
    unsigned gets;   /* calls */
    unsigned refuse; /* the nth call and all later ones fail, 0: none */
    char *page_at[256];
} user;

static void *
user_alloc(struct kva_pool *pp, int flags)
{
    char *p;

    CHECK(flags == (int)PR_NOWAIT || flags == (int)PR_WAITOK);
    CHECK_EQ(kva_posix_locks_held(), 0);
    CHECK_EQ(pp->slab_bytes, user.page);
    user.gets++;
    if (user.refuse != 0 && user.gets >= user.refuse) {
        return NULL;
    }
    if (user.used + user.page + user.skew > ROOM_BYTES) {
        return NULL;
    }
    p = user.room + user.used + user.skew;
    user.used += user.page;
    CHECK(user.live < KVA_COUNT(user.page_at));
    user.page_at[user.live++] = p;
    return p;
}

static void
user_free(struct kva_pool *pp, void *page)
{
    unsigned i = 0;

    (void)pp;
    CHECK_EQ(kva_posix_locks_held(), 0);
    while (user.page_at[i] != page) {
        i++;
        CHECK(i < user.live);
    }
    user.page_at[i] = user.page_at[--user.live];
}

static struct kva_pool_allocator user_pages = { .pa_alloc = user_alloc,
                                                .pa_free = user_free };

static void
user_start(size_t page)
{
    memset(&user, 0, sizeof(user));
    user.page = page;
    user.room = aligned_alloc(KVA_POOL_PAGE_MAX, ROOM_BYTES);
    CHECK(user.room != NULL);
    memset(user.room, (int)PATTERN, ROOM_BYTES);
    user_pages.pa_pagesz = page;
}

static void
user_end(void)
{
    CHECK_EQ(user.live, 0);
    free(user.room);
}

/* Objects of a pool with pages of that size: fill two, give all back. */
static void
one_size(size_t page, size_t size, int flags)
{
    static char *object[2000];
    struct kva_pool_stat st;
    struct kva_pool pp;
    unsigned n = 0;

    user_start(page);
    CHECK_EQ(kva_pool_init(&pp, size, 0, 0, flags, "user", &user_pages,
                           KVA_IPL_NONE),
             0);
    while (n < KVA_COUNT(object) && user.live < 3) {
        object[n] = kva_pool_get(&pp, PR_NOWAIT);
        CHECK(object[n] != NULL);
        tower_fill(object[n], size, n);
        n++;
    }
    kva_pool_stat(&pp, &st);
    CHECK_EQ(st.slab_bytes, page);
    CHECK_EQ(st.slabs, user.live);
    CHECK(kva_pool_check(&pp) == NULL);
    for (unsigned i = 0; i < n; i++) {
        if (!tower_intact(object[i], size, i)) {
            FAIL("page %zu size %zu: object %u was overwritten", page, size, i);
        }
        kva_pool_put(&pp, object[i]);
    }
    CHECK_EQ(user.live, 0);
    kva_pool_destroy(&pp);
    user_end();
}

/* From one page to a large one, each count times the one before, small objects
 * and large. */
static void
pages_of_any_size(struct test_ctx *t)
{
    static const size_t sizes[] = { 24, 200, 1000, 4096 };

    tower_start(0);
    for (size_t page = KVA_PAGE_SIZE; page <= KVA_POOL_PAGE_MAX;
         page *= t->count) {
        for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
            one_size(page, sizes[i], 0);
            one_size(page, sizes[i], PR_NOTOUCH);
        }
        one_size(page, page, 0);
    }
    tower_end();
}

/* A cache over such pages, emptied to the last one. */
static void
caches_over_functions(struct test_ctx *t)
{
    static void *object[3000];
    struct kva_pool_stat st;
    pool_cache_t pc;

    (void)t;
    tower_start(0);
    user_start((size_t)64 << 10);
    pc = kva_pool_cache_init(192, 0, 0, 0, "user", &user_pages, KVA_IPL_NONE,
                             NULL, NULL, NULL);
    for (unsigned round = 0; round < 3; round++) {
        CHECK_EQ(kva_posix_cpu_set(round), 0);
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            object[i] = kva_pool_cache_get(pc, PR_WAITOK);
            CHECK(object[i] != NULL);
        }
        for (unsigned i = 0; i < KVA_COUNT(object); i++) {
            kva_pool_cache_put(pc, object[i]);
        }
        (void)kva_pool_cache_drain(pc, SIZE_MAX, 0);
        CHECK_EQ(user.live, 0);
        user.used = 0;
    }
    kva_pool_cache_stat(pc, &st);
    CHECK_EQ(st.slabs, 0);
    kva_pool_cache_destroy(pc);
    user_end();
    tower_end();
}

/* The function refuses: the get fails, and nothing is lost. */
static void
refusal_is_a_result(struct test_ctx *t)
{
    static void *object[500];
    struct kva_pool pp;
    unsigned n = 0;

    (void)t;
    tower_start(0);
    user_start(KVA_PAGE_SIZE);
    user.refuse = 4;
    CHECK_EQ(
        kva_pool_init(&pp, 192, 0, 0, 0, "user", &user_pages, KVA_IPL_NONE), 0);
    CHECK_EQ(kva_pool_prime(&pp, 500), KVA_ENOMEM);
    while ((object[n] = kva_pool_get(&pp, PR_NOWAIT)) != NULL) {
        n++;
    }
    CHECK_EQ(n, 3 * pp.nobj);
    while (n > 0) {
        kva_pool_put(&pp, object[--n]);
    }
    kva_pool_destroy(&pp);
    user_end();
    tower_end();
}

/* A page that is not aligned to its size: it goes back, and is reported. */
static void
bad_alignment_is_reported(struct test_ctx *t)
{
    struct kva_pool pp;

    (void)t;
    tower_start(0);
    user_start(4 * KVA_PAGE_SIZE);
    user.skew = KVA_PAGE_SIZE;
    CHECK_EQ(
        kva_pool_init(&pp, 192, 0, 0, 0, "user", &user_pages, KVA_IPL_NONE), 0);
    CHECK_PANIC((void)kva_pool_get(&pp, PR_NOWAIT),
                "pa_alloc: pool user: 0x%lx: expected a slab aligned to %zu, "
                "found one that is not",
                (unsigned long)(uintptr_t)(user.room + KVA_PAGE_SIZE),
                4 * KVA_PAGE_SIZE);
    CHECK_EQ(user.live, 0);
    user.skew = 0;
    kva_pool_put(&pp, kva_pool_get(&pp, PR_NOWAIT));
    kva_pool_destroy(&pp);
    user_end();
    tower_end();
}

static void
bad_allocators_are_reported(struct test_ctx *t)
{
    static struct kva_pool_allocator none, half = { .pa_alloc = user_alloc },
                                           odd, large;
    struct kva_pool pp;

    (void)t;
    tower_start(0);
    odd = user_pages;
    odd.pa_pagesz = 3 * KVA_PAGE_SIZE;
    large = user_pages;
    large.pa_pagesz = 2 * KVA_POOL_PAGE_MAX;
    CHECK_PANIC(kva_pool_init(&pp, 64, 0, 0, 0, "bad", &none, KVA_IPL_NONE),
                "pool_init: pool bad: 0x%lx: expected an allocator with an "
                "arena or two functions, found neither",
                (unsigned long)(uintptr_t)&pp);
    CHECK_PANIC(kva_pool_init(&pp, 64, 0, 0, 0, "bad", &half, KVA_IPL_NONE),
                "pool_init: pool bad: 0x%lx: expected an allocator with an "
                "arena or two functions, found neither",
                (unsigned long)(uintptr_t)&pp);
    CHECK_PANIC(kva_pool_init(&pp, 64, 0, 0, 0, "bad", &odd, KVA_IPL_NONE),
                "pool_init: pool bad: 0x%lx: expected a power of two of pages, "
                "found slab size %zu",
                (unsigned long)(uintptr_t)&pp, 3 * KVA_PAGE_SIZE);
    CHECK_PANIC(kva_pool_init(&pp, 64, 0, 0, 0, "bad", &large, KVA_IPL_NONE),
                "pool_init: pool bad: 0x%lx: expected a slab size up to %zu, "
                "found %zu",
                (unsigned long)(uintptr_t)&pp, KVA_POOL_PAGE_MAX,
                2 * KVA_POOL_PAGE_MAX);
    CHECK_PANIC(kva_pool_init(&pp, 64, 0, 0, 0x80, "bad", NULL, KVA_IPL_NONE),
                "pool_init: pool bad: 0x%lx: expected flags of 0x%x, found "
                "0x80",
                (unsigned long)(uintptr_t)&pp, KVA__PR_INIT);
    tower_end();
}

/* Every byte that the user's function handed out is as it was, whatever was
 * done with the pool. */
static void
check_untouched(void)
{
    CHECK(tower_intact(user.room, ROOM_BYTES, PATTERN));
}

/*
 * Claim: with PR_NOTOUCH, and with PR_USEBMAP, no byte of a slab is written,
 * neither by gets and puts, nor when slabs are made ahead, drained or
 * destroyed.  The objects' owners write nothing here, so all must stay.
 */
static void
untouched_in(unsigned flag)
{
    static void *object[600];
    struct kva_pool pp;
    pool_cache_t pc;

    user_start(8 * KVA_PAGE_SIZE);
    CHECK_EQ(kva_pool_init(&pp, 64, 0, 0, (int)flag, "notouch", &user_pages,
                           KVA_IPL_NONE),
             0);
    CHECK_EQ(kva_pool_prime(&pp, 1000), 0);
    kva_pool_setlowat(&pp, 1500);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        object[i] = kva_pool_get(&pp, PR_NOWAIT);
    }
    for (unsigned i = 0; i < KVA_COUNT(object); i += 2) {
        kva_pool_put(&pp, object[i]);
    }
    for (unsigned i = 1; i < KVA_COUNT(object); i += 2) {
        kva_pool_put(&pp, object[i]);
    }
    kva_pool_setlowat(&pp, 0);
    (void)kva_pool_reclaim(&pp);
    CHECK_GT(user.live, 0); /* primed */
    check_untouched();
    kva_pool_destroy(&pp);
    check_untouched();
    user.used = 0;
    pc = kva_pool_cache_init(64, 0, 0, (int)flag, "notouch", &user_pages,
                             KVA_IPL_NONE, NULL, NULL, NULL);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        object[i] = kva_pool_cache_get(pc, PR_NOWAIT);
    }
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        kva_pool_cache_put(pc, object[i]);
    }
    (void)kva_pool_cache_drain(pc, SIZE_MAX, 64 * 5);
    kva_pool_cache_invalidate(pc);
    (void)kva_pool_cache_reclaim(pc);
    check_untouched();
    kva_pool_cache_destroy(pc);
    check_untouched();
    user_end();
}

static void
free_bytes_are_never_written(struct test_ctx *t)
{
    (void)t;
    tower_start(0);
    untouched_in(PR_NOTOUCH);
    untouched_in(PR_USEBMAP);
    untouched_in(PR_NOTOUCH | PR_USEBMAP | PR_PHINPAGE);
    tower_end();
}

/* The check above can fail: a header in the slab is seen. */
static void
headers_in_the_slab_are_seen(struct test_ctx *t)
{
    struct kva_pool pp;

    (void)t;
    tower_start(0);
    user_start(8 * KVA_PAGE_SIZE);
    CHECK_EQ(kva_pool_init(&pp, 4096, 0, 0, PR_PHINPAGE, "inpage", &user_pages,
                           KVA_IPL_NONE),
             0);
    kva_pool_put(&pp, kva_pool_get(&pp, PR_NOWAIT));
    CHECK(!tower_intact(user.room, ROOM_BYTES, PATTERN));
    CHECK((pp.flags & KVA__PR_OFF_SLAB) == 0);
    CHECK_EQ(pp.nobj, 7);
    kva_pool_destroy(&pp);
    user_end();
    tower_end();
}

/* Slabs of metadata pages: nothing of the arenas is used. */
static void
metadata_pages_serve(struct test_ctx *t)
{
    static char *object[300];
    size_t before, wired;
    struct kva_stat st;
    struct kva_pool pp;

    (void)t;
    tower_start(0);
    CHECK_EQ(kva_pool_init(&pp, 100, 0, 0, 0, "meta", &pool_allocator_meta,
                           KVA_IPL_NONE),
             0);
    kva_stat(&st);
    wired = st.wired_bytes;
    before = kva__meta_bytes(KVA_META_OTHER);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        object[i] = kva_pool_get(&pp, PR_NOWAIT);
        tower_fill(object[i], 100, i);
    }
    CHECK_EQ(kva__meta_bytes(KVA_META_OTHER) - before,
             pp.nslabs * KVA_PAGE_SIZE);
    kva_stat(&st);
    CHECK_EQ(st.wired_bytes, wired);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        CHECK(tower_intact(object[i], 100, i));
        kva_pool_put(&pp, object[i]);
    }
    CHECK_EQ(kva__meta_bytes(KVA_META_OTHER), before);
    kva_pool_destroy(&pp);
    tower_end();
}

/* ---- slabs that are objects ------------------------------------------------ */

static struct kva_pool slab_pool;

static void *
slab_from_pool(struct kva_pool *pp, int flags)
{
    (void)pp;
    return kva_pool_get(&slab_pool, flags);
}

static void
slab_to_pool(struct kva_pool *pp, void *page)
{
    (void)pp;
    kva_pool_put(&slab_pool, page);
}

/*
 * Claim: a pool's objects may be the slabs of another one.  Each pool finds its
 * own; pages in use as a slab cannot be put; in a sum they count once.
 */
static void
slabs_may_be_objects(struct test_ctx *t)
{
    static struct kva_pool_allocator from_pool = {
        .pa_pagesz = 2 * KVA_PAGE_SIZE,
        .pa_alloc = slab_from_pool,
        .pa_free = slab_to_pool,
    };
    static void *object[500];
    struct kva_pool pp;
    uintptr_t page;
    int before;

    (void)t;
    tower_start(0);
    before = kva_pool_totalpages();
    CHECK_EQ(kva_pool_init(&slab_pool, 2 * KVA_PAGE_SIZE, 2 * KVA_PAGE_SIZE, 0,
                           PR_RECURSIVE, "slabs", NULL, KVA_IPL_NONE),
             0);
    CHECK_EQ(
        kva_pool_init(&pp, 192, 0, 0, 0, "objects", &from_pool, KVA_IPL_NONE),
        0);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        object[i] = kva_pool_get(&pp, PR_NOWAIT);
        CHECK(object[i] != NULL);
    }
    CHECK_EQ(kva_pool_totalpages() - before, 2 * (int)pp.nslabs);
    CHECK_EQ(slab_pool.nout, pp.nslabs);
    CHECK(kva_pool_check(&pp) == NULL);
    CHECK(kva_pool_check(&slab_pool) == NULL);
    page = kva_round_down((uintptr_t)object[7], 2 * KVA_PAGE_SIZE);
    CHECK_PANIC(kva_pool_put(&slab_pool, (void *)page),
                "pool_put: pool slabs: 0x%lx: expected an object of this pool, "
                "found one of pool objects",
                (unsigned long)page);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        kva_pool_put(&pp, object[i]);
    }
    CHECK_EQ(slab_pool.nout, 0);
    CHECK(kva_pool_check(&slab_pool) == NULL);
    kva_pool_destroy(&pp);
    kva_pool_destroy(&slab_pool);
    tower_end();
}

/* ---- pages that are not aligned ---------------------------------------------- */

/*
 * Claim: with PR_NOALIGN pages of any number of machine pages will do, wherever
 * they begin; without it, and for what is to be aligned by more than a page,
 * they will not.
 */
static void
unaligned_pages_serve(struct test_ctx *t)
{
    static char *object[1500];
    struct kva_pool pp;

    (void)t;
    tower_start(0);
    for (size_t pages = 1; pages <= 512; pages += pages < 9 ? 1 : 101) {
        unsigned n = 0;

        user_start(pages * KVA_PAGE_SIZE);
        user.skew = KVA_PAGE_SIZE;
        CHECK_EQ(kva_pool_init(&pp, 320, 64, 0,
                               pages % 2 != 0 ? (int)PR_NOALIGN
                                              : (int)(PR_NOALIGN | PR_NOTOUCH),
                               "unaligned", &user_pages, KVA_IPL_NONE),
                 0);
        while (n < KVA_COUNT(object) && user.live < 3) {
            object[n] = kva_pool_get(&pp, PR_NOWAIT);
            CHECK(object[n] != NULL);
            CHECK_EQ((uintptr_t)object[n] % 64, 0);
            tower_fill(object[n], 320, n);
            n++;
        }
        CHECK(kva_pool_check(&pp) == NULL);
        CHECK_PANIC(kva_pool_put(&pp, object[0] + 64),
                    "pool_put: pool unaligned: 0x%lx: expected the start of an "
                    "object, found byte 64 of the one at 0x%lx",
                    (unsigned long)(uintptr_t)(object[0] + 64),
                    (unsigned long)(uintptr_t)object[0]);
        for (unsigned i = 0; i < n; i++) {
            CHECK(tower_intact(object[i], 320, i));
            kva_pool_put(&pp, object[i]);
        }
        kva_pool_destroy(&pp);
        user_end();
    }
    CHECK_PANIC(kva_pool_init(&pp, 320, 2 * KVA_PAGE_SIZE, 0, PR_NOALIGN,
                              "unaligned", &user_pages, KVA_IPL_NONE),
                "pool_init: pool unaligned: 0x%lx: expected an align up to a "
                "page, with PR_NOALIGN, found align %zu",
                (unsigned long)(uintptr_t)&pp, 2 * KVA_PAGE_SIZE);
    tower_end();
}

/* ---- colours ------------------------------------------------------------------ */

/*
 * Claim: successive slabs begin their objects at successive multiples of the
 * alignment, all that the slab's rest has room for, equally often.
 */
static void
colours_of(size_t size, unsigned align, int flags)
{
    unsigned used[KVA_PAGE_SIZE / 8] = { 0 }, colours, rounds = 3;
    static void *object[4000];
    struct kva_pool pp;
    size_t rest;
    unsigned n = 0;

    user_start(KVA_PAGE_SIZE);
    CHECK_EQ(kva_pool_init(&pp, size, align, 0, flags, "colour", &user_pages,
                           KVA_IPL_NONE),
             0);
    rest = KVA_PAGE_SIZE - pp.first - pp.nobj * pp.size;
    colours = (unsigned)(rest / align) + 1;
    for (unsigned slab = 0; slab < rounds * colours; slab++) {
        uintptr_t low = UINTPTR_MAX;

        for (unsigned i = 0; i < pp.nobj; i++, n++) {
            CHECK_LT(n, KVA_COUNT(object));
            object[n] = kva_pool_get(&pp, PR_NOWAIT);
            CHECK_EQ((uintptr_t)object[n] % align, 0);
            tower_fill(object[n], size, n);
            low = (uintptr_t)object[n] < low ? (uintptr_t)object[n] : low;
        }
        CHECK_EQ(pp.nfree, 0);
        low = (low & KVA_PAGE_MASK) - pp.first;
        CHECK_EQ(low, slab % colours * align);
        used[low / align]++;
    }
    for (unsigned i = 0; i < colours; i++) {
        CHECK_EQ(used[i], rounds);
    }
    CHECK(kva_pool_check(&pp) == NULL);
    for (unsigned i = 0; i < n; i++) {
        CHECK(tower_intact(object[i], size, i));
        kva_pool_put(&pp, object[i]);
    }
    kva_pool_destroy(&pp);
    user_end();
}

static void
slabs_have_colours(struct test_ctx *t)
{
    (void)t;
    tower_start(0);
    colours_of(1000, 8, 0);
    colours_of(1000, 8, PR_NOTOUCH);
    colours_of(704, 64, 0);
    colours_of(600, 8, PR_NOTOUCH);
    colours_of(1024, 64, PR_NOTOUCH); /* no rest: one colour */
    tower_end();
}

const struct test pool_allocator_tests[] = {
    TEST_LEAST("pool_allocator", pages_of_any_size, 8, 2, 2, 2),
    TEST("pool_allocator", caches_over_functions),
    TEST("pool_allocator", refusal_is_a_result),
    TEST("pool_allocator", bad_alignment_is_reported),
    TEST("pool_allocator", bad_allocators_are_reported),
    TEST("pool_allocator", free_bytes_are_never_written),
    TEST("pool_allocator", headers_in_the_slab_are_seen),
    TEST("pool_allocator", metadata_pages_serve),
    TEST("pool_allocator", slabs_may_be_objects),
    TEST("pool_allocator", unaligned_pages_serve),
    TEST("pool_allocator", slabs_have_colours),
    TEST_END
};
