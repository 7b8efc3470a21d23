/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reserves.
 *
 * Claims: ordinary requests end at the lower limit and entitled ones at the
 * upper, as a sum says, whoever is entitled and how; marks nest, and are no
 * interrupt's; what came from a reserve goes back to it, and nobody gets it who
 * is not entitled, whatever is got, put and drained on which CPU slot; a pool's
 * reserve is filled again; metadata is kept back likewise; who is entitled and
 * waits is woken by what comes back, and told if nothing does; each fault fails
 * one request and nothing else; and misuse is told in the same words as ever.
 */
#include <pthread.h>

#include "kmem/kmem.h"
#include "kmem/kmem_names.h"
#include "malloc_compat/malloc.h"
#include "pool/debug.h"
#include "reclaim/pagedaemon.h"
#include "tests/unit/tower.h"
#include "vmem/reserve.h"
#include "vmem/wait.h"

#if KVA_RESERVES

#define P KVA_PAGE_SIZE
#define LIMIT 192u
#define RESERVE 32u

/* Pages that may be wired, and of them the reserve. */
static void
start_with(size_t limit, size_t reserve, unsigned cpus)
{
    struct kva_posix_config config = { .va_bytes = (size_t)256 << 20,
                                       .meta_bytes = (size_t)32 << 20,
                                       .cpus = cpus };
    struct kva_boot boot = { .wired_limit = limit * P,
                             .reserve_bytes = reserve * P,
                             .lazy_bytes = 1 };

    tower_start_with(&config, boot);
}

static void
start(void)
{
    start_with(LIMIT, RESERVE, 4);
}

static size_t
used(void)
{
    struct kva_stat st;

    kva_stat(&st);
    return st.reserve_used;
}

/* Pages that somebody else has. */
struct hoard {
    vmem_addr_t page[LIMIT];
    unsigned n;
};

/* All that ordinary callers can have. */
static void
hoard_all(struct hoard *h)
{
    while (kva_wired_alloc(P, 0, VM_NOSLEEP, &h->page[h->n]) == 0) {
        h->n++;
    }
    CHECK_EQ(used(), 0);
}

static void
hoard_end(struct hoard *h)
{
    while (h->n > 0) {
        kva_wired_free(h->page[--h->n], P);
    }
}

/* ---- the limits --------------------------------------------------------- */

struct holding {
    vmem_addr_t va;
    size_t pages; /* 0: none */
};

/* One of three ways to be entitled, or none. */
static bool
entitle(struct test_ctx *t, unsigned *marks, vm_flag_t *flags)
{
    uint64_t how = test_rand_below(t, 5);

    *marks = how == 0 ? 1 : how == 1 ? 2 : 0;
    *flags = VM_NOSLEEP | (how == 1 || how == 2 ? VM_RESERVE : 0);
    for (unsigned i = 0; i < *marks; i++) {
        CHECK_EQ(kva_reserve_enter(), 0);
    }
    return how <= 2;
}

static void
unmark(unsigned marks)
{
    while (marks-- > 0) {
        kva_reserve_leave();
    }
}

/* Each request against the sum of what is held. */
static void
limits_are_two(struct test_ctx *t)
{
    struct holding held[LIMIT] = { { 0, 0 } };
    size_t sum = 0, reached = 0;

    start();
    for (unsigned long i = 0; i < t->count; i++) {
        struct holding *h = &held[test_rand_below(t, LIMIT)];
        unsigned marks;
        vm_flag_t flags;

        if (h->pages != 0) {
            /* Seldom, so that the limits are met. */
            if (test_rand_below(t, 4) == 0) {
                kva_wired_free(h->va, h->pages * P);
                sum -= h->pages;
                h->pages = 0;
            }
        } else {
            size_t n = (size_t)test_rand_below(t, 4) + 1;
            bool entitled = entitle(t, &marks, &flags);
            size_t most = entitled ? LIMIT : LIMIT - RESERVE;
            int err = kva_wired_alloc(n * P, 0, flags, &h->va);

            unmark(marks);
            CHECK_EQ(err, sum + n <= most ? 0 : KVA_ENOMEM);
            h->pages = err == 0 ? n : 0;
            sum += h->pages;
        }
        CHECK_EQ(used(),
                 (sum > LIMIT - RESERVE ? sum - (LIMIT - RESERVE) : 0) * P);
        reached = used() > reached ? used() : reached;
    }
    CHECK_GT(reached, 0);
    for (unsigned i = 0; i < LIMIT; i++) {
        if (held[i].pages != 0) {
            kva_wired_free(held[i].va, held[i].pages * P);
        }
    }
    CHECK_EQ(used(), 0);
    tower_end();
}

/* At boot, later, too much, and not at all. */
static void
reserve_is_set(struct test_ctx *t)
{
    struct kva_stat st;
    struct hoard h = { .n = 0 };
    vmem_addr_t va;

    (void)t;
    start_with(LIMIT, 0, 1);
    kva_stat(&st);
    CHECK_EQ(st.reserve_bytes, 0);
    CHECK_EQ(st.stock_wanted, 0);
    CHECK_EQ(kva_reserve_set(P + 1), 0);
    kva_stat(&st);
    CHECK_EQ(st.reserve_bytes, 2 * P);
    CHECK_GT(st.stock_wanted, 0);
    CHECK_EQ(st.stock_pages, st.stock_wanted);
    hoard_all(&h);
    CHECK_EQ(h.n, LIMIT - 2);
    CHECK_EQ(kva_wired_alloc(3 * P, 0, VM_NOSLEEP | VM_RESERVE, &va),
             KVA_ENOMEM);
    CHECK_EQ(kva_wired_alloc(2 * P, 0, VM_NOSLEEP | VM_RESERVE, &va), 0);
    kva_wired_free(va, 2 * P);
    /* What is in use beyond it stays. */
    CHECK_EQ(kva_reserve_set(SIZE_MAX / 2), 0);
    kva_stat(&st);
    CHECK_EQ(st.reserve_bytes, LIMIT / 2 * P);
    CHECK_EQ(st.reserve_used, (LIMIT / 2 - 2) * P);
    CHECK_EQ(kva_reserve_set(0), 0);
    kva_stat(&st);
    CHECK_EQ(st.reserve_used, 0);
    CHECK_EQ(st.stock_pages, 0);
    CHECK_EQ(kva_wired_alloc(2 * P, 0, VM_NOSLEEP, &va), 0);
    kva_wired_free(va, 2 * P);
    hoard_end(&h);
    tower_end();
}

/* Through arenas: what they have is anybody's, what comes from behind is not,
 * whatever kind of request it was, and of what length. */
static void
arenas_have_one_behind(struct test_ctx *t)
{
    static const size_t pages[] = { 1, 2, 3, 5, 8, 16, 20 };
    vmem_t *arena[2];
    struct hoard h = { .n = 0 };
    vmem_addr_t a, b;

    (void)t;
    start();
    arena[0] = kmem_arena;
    arena[1] = kmem_movable_arena;
    hoard_all(&h);
    for (unsigned i = 0; i < 2 * KVA_COUNT(pages); i++) {
        vmem_t *vm = arena[i & 1u];
        size_t size = pages[i / 2] * P;

        CHECK_EQ(vmem_alloc(vm, size, VM_NOSLEEP, &a), KVA_ENOMEM);
        CHECK_EQ(vmem_alloc(vm, size, VM_NOSLEEP | VM_RESERVE, &a), 0);
        CHECK_EQ(used(), size);
        memset((void *)a, 1, size);
        CHECK_EQ(vmem_alloc(vm, P, VM_NOSLEEP, &b), KVA_ENOMEM);
        CHECK_EQ(kva_reserve_enter(), 0);
        CHECK_EQ(vmem_xalloc(vm, P, 2 * P, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                             VM_NOSLEEP, &b),
                 0);
        kva_reserve_leave();
        CHECK_EQ(b & P, 0);
        CHECK_EQ(used(), size + P);
        vmem_free(vm, a, size);
        CHECK_EQ(used(), P);
        CHECK_EQ(vmem_alloc(vm, size, VM_NOSLEEP, &a), KVA_ENOMEM);
        vmem_xfree(vm, b, P);
        CHECK_EQ(used(), 0);
        CHECK_EQ(vmem_alloc(vm, P, VM_NOSLEEP, &a), KVA_ENOMEM);
    }
    hoard_end(&h);
    tower_end();
}

/* ---- marks --------------------------------------------------------------- */

static bool seen_marked, entered;

static void
leave_without(void *arg)
{
    (void)arg;
    CHECK_PANIC(kva_reserve_leave(),
                "kva_reserve_leave: task current: 0x0: expected a task that is "
                "marked, found none that can be");
    entered = true;
}

static void
look(void *arg)
{
    (void)arg;
    seen_marked = kva_reserve_marked();
    entered = kva_reserve_enter() != KVA_ENOTSUP;
}

static void *
other_thread(void *arg)
{
    look(NULL);
    if (entered) {
        kva_reserve_leave();
    }
    return arg;
}

static void
marks_nest(struct test_ctx *t)
{
    unsigned depth = 0;
    pthread_t thread;

    PORT(NULL);
    kva_posix_interrupt_set(look, NULL);
    for (unsigned long i = 0; i < t->count; i++) {
        if (depth != 0 && test_rand_below(t, 2) == 0) {
            kva_reserve_leave();
            depth--;
        } else {
            CHECK_EQ(kva_reserve_enter(), 0);
            depth++;
        }
        CHECK_EQ(kva_reserve_marked(), depth != 0);
        kva_posix_interrupt();
        CHECK(!seen_marked && !entered);
        CHECK_EQ(kva_reserve_marked(), depth != 0);
    }
    CHECK_EQ(kva_reserve_enter(), 0);
    CHECK_EQ(pthread_create(&thread, NULL, other_thread, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK(!seen_marked && entered);
    for (depth++; depth > 0; depth--) {
        kva_reserve_leave();
    }
    CHECK_PANIC(
        kva_reserve_leave(),
        "kva_reserve_leave: task current: 0x0: expected a task that is marked, "
        "found one that is not");
    entered = false;
    kva_posix_interrupt_set(leave_without, NULL);
    kva_posix_interrupt();
    CHECK(entered);
}

/* ---- metadata ------------------------------------------------------------- */

static void
metadata_is_kept_back(struct test_ctx *t)
{
    struct kva_stat st;
    void *page[256];
    size_t n = 0, stock;

    (void)t;
    start();
    kva_stat(&st);
    stock = st.stock_pages;
    CHECK_GT(stock, 4);
    CHECK_LT(stock, KVA_COUNT(page));
    kva_posix_fault_arm(KVA_POSIX_META_GET, 1, true);
    CHECK_PTR(kva__meta_page_get(KVA_META_OTHER), NULL);
    CHECK_EQ(kva_reserve_enter(), 0);
    while ((page[n] = kva__meta_page_get(KVA_META_OTHER)) != NULL) {
        for (size_t i = 0; i < P; i++) {
            CHECK_EQ(((unsigned char *)page[n])[i], 0);
        }
        memset(page[n], 0xa5, P);
        n++;
    }
    CHECK_EQ(n, stock);
    kva_reserve_leave();
    kva_stat(&st);
    CHECK_EQ(st.stock_pages, 0);
    CHECK_EQ(st.stock_wanted, stock);
    /* What comes back is the stock's first, and so nobody else's. */
    while (n > 1) {
        kva__meta_page_put(page[--n], KVA_META_OTHER);
        CHECK_PTR(kva__meta_page_get(KVA_META_OTHER), NULL);
    }
    kva_posix_fault_disarm(KVA_POSIX_META_GET);
    kva_vmem_update();
    kva_stat(&st);
    CHECK_EQ(st.stock_pages, stock);
    kva__meta_page_put(page[0], KVA_META_OTHER);
    kva_stat(&st);
    CHECK_EQ(st.stock_pages, stock);
    tower_end();
}

/* ---- pools ---------------------------------------------------------------- */

static unsigned built, unbuilt;
static bool ctor_fails;

static int
ctor(void *arg, void *object, int flags)
{
    (void)arg;
    CHECK((flags & (int)(PR_WAITOK | PR_NOWAIT)) != 0);
    if (ctor_fails) {
        return KVA_ENOMEM;
    }
    memset(object, 0x11, 16);
    built++;
    return 0;
}

static void
dtor(void *arg, void *object)
{
    (void)arg;
    CHECK(tower_intact(object, 16, 0x11));
    unbuilt++;
}

static bool
of_reserve(const void *object)
{
    struct kva__slab *slab = kva__slab_of((uintptr_t)object);

    CHECK(slab != NULL);
    return slab->magic == KVA__SLAB_MAGIC_RESERVE;
}

static pool_cache_t
cache(size_t size, bool built_ones)
{
    pool_cache_t pc = pool_cache_init(size, 0, 0, 0, "buffers", NULL,
                                      KVA_IPL_NONE, built_ones ? ctor : NULL,
                                      built_ones ? dtor : NULL, NULL);

    CHECK(pc != NULL);
    return pc;
}

/* All that anybody can have of it; how many. */
static unsigned
exhaust(pool_cache_t pc, void **object, unsigned most)
{
    unsigned n = 0;

    while (n < most && (object[n] = pool_cache_get(pc, PR_NOWAIT)) != NULL) {
        CHECK(!of_reserve(object[n]));
        n++;
    }
    CHECK_LT(n, most);
    return n;
}

static void *object_of[65536];

/* A reserve of n objects and no more is to be had, by the entitled alone; what
 * they put they get again; and it is filled when there is memory. */
static void
pool_keeps_a_reserve(struct test_ctx *t)
{
    static const size_t sizes[] = { 48, 256, 1500, 4096 };
    struct kva_pool_stat st;
    struct hoard h = { .n = 0 };

    (void)t;
    start_with(LIMIT, 0, 2);
    for (unsigned s = 0; s < KVA_COUNT(sizes); s++) {
        pool_cache_t pc = cache(sizes[s], true);
        void *mine[64];
        unsigned n, others;

        CHECK_EQ(pool_cache_setreserve(pc, 20), 0);
        pool_cache_stat(pc, &st);
        CHECK_EQ(st.reserve_wanted, 20);
        CHECK_GE(st.reserve_free, 20);
        CHECK_EQ(st.objects_out, 0);
        hoard_all(&h);
        others = exhaust(pc, object_of, KVA_COUNT(object_of));
        for (unsigned round = 0; round < 3; round++) {
            for (n = 0; n < st.reserve_free; n++) {
                mine[n % 64] = pool_cache_get(pc, PR_NOWAIT | PR_RESERVE);
                CHECK(mine[n % 64] != NULL && of_reserve(mine[n % 64]));
                CHECK_PTR(pool_cache_get(pc, PR_NOWAIT), NULL);
                if (n >= 63) {
                    break;
                }
            }
            if (n < 63) {
                CHECK_PTR(pool_cache_get(pc, PR_NOWAIT | PR_RESERVE), NULL);
            } else {
                n++;
            }
            tower_check();
            while (n > 0) {
                pool_cache_put(pc, mine[--n]);
                CHECK_PTR(pool_cache_get(pc, PR_NOWAIT), NULL);
            }
        }
        /* Those that stay away are made up for. */
        for (n = 0; n < 8; n++) {
            mine[n] = pool_cache_get(pc, PR_NOWAIT | PR_RESERVE);
        }
        hoard_end(&h);
        kva_pool_update();
        pool_cache_stat(pc, &st);
        CHECK_GE(st.reserve_free, 20);
        CHECK_EQ(st.reserve_out, 8);
        while (n > 0) {
            pool_cache_put(pc, mine[--n]);
        }
        pool_cache_stat(pc, &st);
        CHECK_GE(st.reserve_free, 20);
        CHECK_LT(st.reserve_free, 20 + st.objects_per_slab);
        CHECK_EQ(pool_cache_setreserve(pc, 0), 0);
        pool_cache_stat(pc, &st);
        CHECK_EQ(st.reserve_slabs, 0);
        while (others > 0) {
            pool_cache_put(pc, object_of[--others]);
        }
        pool_cache_destroy(pc);
        CHECK_EQ(built, unbuilt);
    }
    tower_end();
}

/* A get that finds memory makes up for what the reserve lacks. */
static void
gets_fill_the_reserve(struct test_ctx *t)
{
    struct kva_pool_stat st;
    struct hoard h = { .n = 0 };
    struct kva_pool pp;
    void *a;

    (void)t;
    start_with(LIMIT, 0, 1);
    CHECK_EQ(pool_init(&pp, 512, 0, 0, 0, "late", NULL, KVA_IPL_NONE), 0);
    hoard_all(&h);
    CHECK_EQ(pool_setreserve(&pp, 4), KVA_ENOMEM);
    CHECK_PTR(pool_get(&pp, PR_NOWAIT | PR_RESERVE), NULL);
    hoard_end(&h);
    a = pool_get(&pp, PR_NOWAIT);
    CHECK(a != NULL && !of_reserve(a));
    pool_stat(&pp, &st);
    CHECK_GE(st.reserve_free, 4);
    pool_put(&pp, a);
    /* Drains leave it. */
    (void)kva_pool_drain_all();
    (void)pool_reclaim(&pp);
    pool_stat(&pp, &st);
    CHECK_GE(st.reserve_free, 4);
    CHECK_EQ(st.slabs, st.reserve_slabs);
    pool_destroy(&pp);
    tower_end();
}

/* Beyond its reserve a pool has that of all pages; and keeps to its limit. */
static void
pools_share_the_pages(struct test_ctx *t)
{
    struct hoard h = { .n = 0 };
    struct kva_pool pp;
    void *mine[LIMIT];
    unsigned n;

    (void)t;
    start();
    CHECK_EQ(pool_init(&pp, 2000, 0, 0, 0, "shares", NULL, KVA_IPL_NONE), 0);
    hoard_all(&h);
    CHECK_PTR(pool_get(&pp, PR_NOWAIT), NULL);
    CHECK_EQ(kva_reserve_enter(), 0);
    for (n = 0; (mine[n] = pool_get(&pp, PR_NOWAIT)) != NULL; n++) {
        memset(mine[n], 1, 2000);
    }
    kva_reserve_leave();
    CHECK_GT(n, RESERVE / 2);
    CHECK_GT(used() + pp.slab_bytes, RESERVE * P);
    tower_check();
    while (n > 0) {
        pool_put(&pp, mine[--n]);
    }
    CHECK_EQ(used(), 0);
    pool_sethardlimit(&pp, 3, NULL, 0);
    while ((mine[n] = pool_get(&pp, PR_NOWAIT | PR_RESERVE)) != NULL) {
        n++;
    }
    CHECK_EQ(n, 3);
    while (n > 0) {
        pool_put(&pp, mine[--n]);
    }
    CHECK_EQ(used(), 0);
    pool_destroy(&pp);
    hoard_end(&h);
    tower_end();
}

static KVA_MALLOC_DEFINE(M_RESERVED, "reserve", "what the test takes");

/* kmem and malloc: small and whole pages, by flag and by mark; free finds the
 * object without being told. */
static void
kmem_and_malloc_too(struct test_ctx *t)
{
    static const size_t sizes[] = { 8, 100, 3000, 4096, 12000, 40000 };
    struct hoard h = { .n = 0 };

    (void)t;
    start();
    kva_malloc_type_attach(M_RESERVED);
    hoard_all(&h);
    for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
        size_t size = sizes[i];
        void *p, *q, *r;
        unsigned others = 0;

        while ((p = kmem_alloc(size, KM_NOSLEEP)) != NULL) {
            object_of[others++] = p;
        }
        p = kmem_alloc(size, KM_NOSLEEP | KM_RESERVE);
        CHECK(p != NULL);
        CHECK_EQ(kva_reserve_enter(), 0);
        q = kmem_zalloc(size, KM_NOSLEEP);
        kva_reserve_leave();
        CHECK(q != NULL && tower_intact(q, size, 0));
        r = kva_malloc(size, M_RESERVED, KVA_M_NOWAIT | KVA_M_USE_RESERVE);
        CHECK(r != NULL);
        CHECK_GT(used(), 0);
        memset(p, 1, size);
        memset(r, 2, size);
        kmem_free(p, size);
        kmem_free(q, size);
        kva_free(r, M_RESERVED);
        CHECK_EQ(used(), 0);
        CHECK_PTR(kmem_alloc(size, KM_NOSLEEP), NULL);
        while (others > 0) {
            kmem_free(object_of[--others], size);
        }
    }
    kva_malloc_type_detach(M_RESERVED);
    hoard_end(&h);
    tower_end();
}

/* ---- who must allocate to free ------------------------------------------- */

/* A page goes when a header was sent for it; headers are of 300 bytes. */
struct sender {
    struct hoard h;
    bool marks;
    unsigned stuck; /* no memory for a header */
};

static size_t
send_pages(void *arg, struct kva_want *want)
{
    struct sender *s = arg;
    bool marked = s->marks && kva_reserve_enter() == 0;
    size_t freed = 0;

    while (freed < want->bytes && s->h.n > 0) {
        void *header = kmem_alloc(300, KM_NOSLEEP);

        if (header == NULL) {
            s->stuck++;
            break;
        }
        kva_wired_free(s->h.page[--s->h.n], P);
        kmem_free(header, 300);
        freed += P;
    }
    if (marked) {
        kva_reserve_leave();
    }
    return freed;
}

/* A cleaner that allocates, with no page left: stuck; marked, it frees what was
 * wanted. */
static void
cleaners_may_allocate(struct test_ctx *t)
{
    static struct sender s;
    struct kva_cleaner cl = { .name = "sender",
                              .clean = send_pages,
                              .arg = &s,
                              .stage = KVA_STAGE_CLIENTS };
    size_t had;

    (void)t;
    start();
    s = (struct sender){ .marks = false };
    hoard_all(&s.h);
    had = s.h.n;
    kva_reclaim_register(&cl);
    CHECK_EQ(kva_reclaim(8 * P), 0);
    CHECK_GT(s.stuck, 0);
    CHECK_EQ(s.h.n, had);
    s.stuck = 0;
    s.marks = true;
    CHECK_GE(kva_reclaim(8 * P), 8 * P);
    CHECK_EQ(s.stuck, 0);
    CHECK_LE(s.h.n, had - 8);
    CHECK_EQ(used(), 0);
    kva_reclaim_unregister(&cl);
    hoard_end(&s.h);
    tower_end();
}

/* A constructor that fails gives the object back, which stays the reserve's. */
static void
constructors_may_fail(struct test_ctx *t)
{
    struct kva_pool_stat st;
    pool_cache_t pc;
    struct hoard h = { .n = 0 };

    (void)t;
    start();
    pc = cache(200, true);
    hoard_all(&h);
    ctor_fails = true;
    CHECK_PTR(pool_cache_get(pc, PR_NOWAIT | PR_RESERVE), NULL);
    pool_cache_stat(pc, &st);
    CHECK_EQ(st.reserve_out, 0);
    CHECK_EQ(st.objects_out, 0);
    CHECK_EQ(used(), 0);
    ctor_fails = false;
    pool_cache_destroy(pc);
    hoard_end(&h);
    tower_end();
}

/* What is kept is anybody's memory and no page of the reserve, whoever asks; less
 * than none is none; and at its limit a pool makes no slabs for nothing. */
static void
reserves_are_not_filled_from_theirs(struct test_ctx *t)
{
    struct hoard h = { .n = 0 };
    struct kva_pool_stat st;
    struct kva_pool pp;
    void *p;

    (void)t;
    start();
    CHECK_EQ(pool_init(&pp, 2000, 0, 0, 0, "empty", NULL, KVA_IPL_NONE), 0);
    hoard_all(&h);
    CHECK_EQ(pool_setreserve(&pp, 4), KVA_ENOMEM);
    CHECK_EQ(kva_reserve_enter(), 0);
    CHECK_EQ(pool_setreserve(&pp, 5), KVA_ENOMEM);
    kva_reserve_leave();
    CHECK_EQ(used(), 0);
    CHECK_EQ(pool_setreserve(&pp, -1), 0);
    pool_stat(&pp, &st);
    CHECK_EQ(st.reserve_wanted, 0);
    CHECK_EQ(st.slabs, 0);
    pool_sethardlimit(&pp, 1, NULL, 0);
    p = pool_get(&pp, PR_NOWAIT | PR_RESERVE);
    CHECK(p != NULL);
    CHECK_PTR(pool_get(&pp, PR_NOWAIT | PR_RESERVE), NULL);
    pool_stat(&pp, &st);
    CHECK_EQ(st.slabs, 1);
    CHECK_EQ(st.objects_out, 1);
    pool_put(&pp, p);
    pool_destroy(&pp);
    hoard_end(&h);
    tower_end();
}

/* Pools that have none say so. */
static void
some_have_no_reserve(struct test_ctx *t)
{
    struct hoard h = { .n = 0 };
    struct kva_pool_stat st;
    pool_cache_t pc, fw = NULL;

    (void)t;
    start();
    pc = pool_cache_init(64, 0, 0, PR_PSERIALIZE, "readers", NULL, KVA_IPL_NONE,
                         NULL, NULL, NULL);
    CHECK(pc != NULL);
    CHECK_EQ(pool_cache_setreserve(pc, 4), KVA_ENOTSUP);
    if (kva_pool_debug_set("firewall=walled", NULL) == 0) {
        fw = pool_cache_init(64, 0, 0, 0, "walled", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
        CHECK(fw != NULL);
        CHECK_EQ(pool_cache_setreserve(fw, 4), KVA_ENOTSUP);
        pool_cache_destroy(fw);
        CHECK_EQ(kva_pool_debug_set("", NULL), 0);
    }
    hoard_all(&h);
    CHECK_PTR(pool_cache_get(pc, PR_NOWAIT | PR_RESERVE), NULL);
    pool_cache_stat(pc, &st);
    CHECK_EQ(st.slabs, 0);
    CHECK_EQ(used(), 0);
    hoard_end(&h);
    pool_cache_destroy(pc);
    tower_end();
}

/* ---- nobody else gets them -------------------------------------------------- */

struct mine {
    void *object;
    bool reserve;
};

/* Random gets and puts by ordinary and entitled callers on four CPU slots, with
 * memory that comes and goes. */
static void
reserve_reaches_nobody_else(struct test_ctx *t)
{
    static struct mine have[4000];
    unsigned long seen = 0;
    struct kva_pool_stat st;
    struct hoard h = { .n = 0 };
    pool_cache_t pc;

    start();
    pc = cache(300, test_rand_below(t, 2) == 0);
    CHECK_EQ(pool_cache_setreserve(pc, (int)test_rand_below(t, 40)), 0);
    hoard_all(&h); /* nothing but reserves, at first */
    for (unsigned long i = 0; i < t->count; i++) {
        struct mine *m = &have[test_rand_below(t, KVA_COUNT(have))];
        bool entitled = test_rand_below(t, 3) == 0;

        CHECK_EQ(kva_posix_cpu_set((unsigned)test_rand_below(t, 4)), 0);
        if (i >= 100 && test_rand_below(t, 500) == 0) {
            switch (test_rand_below(t, 5)) {
            case 0:
                hoard_end(&h);
                break;
            case 1:
                (void)pool_cache_drain(pc, SIZE_MAX, 0);
                break;
            case 2:
                kva_pool_update();
                break;
            default:
                if (used() == 0) {
                    hoard_all(&h);
                }
            }
            tower_check();
        }
        if (m->object != NULL) {
            pool_cache_put(pc, m->object);
            m->object = NULL;
            continue;
        }
        m->object = pool_cache_get(pc, PR_NOWAIT | (entitled ? PR_RESERVE : 0));
        if (m->object != NULL) {
            m->reserve = of_reserve(m->object);
            CHECK(entitled || !m->reserve);
            seen += m->reserve;
        }
    }
    CHECK_GT(seen, 0);
    hoard_end(&h);
    for (unsigned i = 0; i < KVA_COUNT(have); i++) {
        if (have[i].object != NULL) {
            pool_cache_put(pc, have[i].object);
            have[i].object = NULL;
        }
    }
    pool_cache_stat(pc, &st);
    CHECK_EQ(st.reserve_out, 0);
    CHECK_EQ(pool_cache_setreserve(pc, 0), 0);
    pool_cache_destroy(pc);
    tower_end();
}

/* The same with a debug mode, which sees each get and put. */
static void
debug_modes_have_reserves(struct test_ctx *t)
{
    void *mine[16];
    struct kva_pool_stat st;
    struct hoard h = { .n = 0 };
    pool_cache_t pc;
    unsigned others;

    (void)t;
    if (kva_pool_debug_set("redzone=buffers,audit=buffers", NULL) != 0) {
        SKIP("built without debug modes");
    }
    start();
    pc = cache(300, true);
    CHECK_EQ(pool_cache_setreserve(pc, 8), 0);
    hoard_all(&h);
    others = exhaust(pc, object_of, KVA_COUNT(object_of));
    for (unsigned i = 0; i < KVA_COUNT(mine); i++) {
        mine[i] = pool_cache_get(pc, PR_NOWAIT | PR_RESERVE);
        CHECK(mine[i] != NULL && of_reserve(mine[i]));
    }
    tower_check();
    for (unsigned i = 0; i < KVA_COUNT(mine); i++) {
        pool_cache_put(pc, mine[i]);
        CHECK_PTR(pool_cache_get(pc, PR_NOWAIT), NULL);
    }
    pool_cache_stat(pc, &st);
    CHECK_GE(st.reserve_free, 8);
    CHECK_EQ(used(), 0);
    hoard_end(&h);
    while (others > 0) {
        pool_cache_put(pc, object_of[--others]);
    }
    pool_cache_destroy(pc);
    CHECK_EQ(kva_pool_debug_set("", NULL), 0);
    tower_end();
}

/* ---- faults ------------------------------------------------------------------ */

/* What a client does who keeps a reserve; every step may fail. */
static void
client(void)
{
    pool_cache_t pc = pool_cache_init(700, 0, 0, 0, "client", NULL,
                                      KVA_IPL_NONE, NULL, NULL, NULL);
    struct hoard h = { .n = 0 };
    vmem_addr_t a;
    void *object[12];

    if (pc == NULL) {
        return;
    }
    (void)pool_cache_setreserve(pc, 5);
    hoard_all(&h);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        object[i] = pool_cache_get(pc, PR_NOWAIT | PR_RESERVE);
    }
    if (vmem_alloc(kmem_arena, 2 * P, VM_NOSLEEP | VM_RESERVE, &a) == 0) {
        vmem_free(kmem_arena, a, 2 * P);
    }
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        if (object[i] != NULL) {
            pool_cache_put(pc, object[i]);
        }
    }
    tower_check();
    hoard_end(&h);
    pool_cache_destroy(pc);
}

static void
every_fault(struct test_ctx *t)
{
    unsigned long nth = 1;
    bool fired;

    (void)t;
    start_with(40, 16, 2);
    do {
        kva_posix_fault_arm(KVA_POSIX_ANY, nth++, false);
        client();
        fired = kva_posix_fault_fired(KVA_POSIX_ANY) != 0;
        kva_posix_fault_reset();
        CHECK_EQ(used(), 0);
        kva_vmem_update();
    } while (fired);
    CHECK_GT(nth, 20);
    tower_end();
}

/* ---- misuse ------------------------------------------------------------------ */

static void
misuse_is_told(struct test_ctx *t)
{
    struct hoard h = { .n = 0 };
    pool_cache_t pc, other;
    vmem_addr_t a;
    char *p;

    (void)t;
    start();
    pc = cache(256, false);
    other = cache(512, false);
    hoard_all(&h);
    p = pool_cache_get(pc, PR_NOWAIT | PR_RESERVE);
    CHECK(p != NULL && of_reserve(p));
    CHECK_PANIC(pool_cache_put(pc, p + 8),
                "pool_cache_put: cache buffers: 0x%lx: expected the start of "
                "an object, found byte 8 of the one at 0x%lx",
                (unsigned long)(uintptr_t)p + 8, (unsigned long)(uintptr_t)p);
    if (KVA_CONFIG_CHECKS) {
        CHECK_PANIC(pool_cache_put(other, p),
                    "pool_cache_put: cache buffers: 0x%lx: expected an object "
                    "of this cache, found one of cache buffers",
                    (unsigned long)(uintptr_t)p);
    }
    CHECK_PANIC(pool_cache_destroy(pc),
                "pool_cache_destroy: cache buffers: 0x%lx: expected no live "
                "object, found 1",
                (unsigned long)(uintptr_t)p);
    CHECK_PANIC(kva_free(p, M_RESERVED),
                "free: cache buffers: 0x%lx: expected memory of kmem, found an "
                "object of this cache",
                (unsigned long)(uintptr_t)p);
    CHECK_EQ(pool_cache_setreserve(pc, 1), 0); /* keep the slab */
    pool_cache_put(pc, p);
    if (KVA_CONFIG_CHECKS) {
        CHECK_PANIC(pool_cache_put(pc, p),
                    "pool_cache_put: cache buffers: 0x%lx: expected a live "
                    "object, found a free one",
                    (unsigned long)(uintptr_t)p);
    }
    tower_check();
    CHECK_EQ(vmem_alloc(kmem_arena, 2 * P, VM_NOSLEEP | VM_RESERVE, &a), 0);
    CHECK_PANIC(vmem_free(kmem_arena, a, P),
                "vmem_free: arena kmem_reserve: 0x%lx: expected size %zu, "
                "found size %zu",
                (unsigned long)a, 2 * P, P);
    CHECK_PANIC(vmem_xfree(kmem_arena, a, 2 * P),
                "vmem_xfree: arena kmem_reserve: 0x%lx: expected a range of "
                "vmem_xalloc, found one of vmem_alloc",
                (unsigned long)a);
    CHECK_PANIC(vmem_free(kmem_arena, a + P, P),
                "vmem_free: arena kmem_reserve: 0x%lx: expected the start of "
                "a range, found an address inside the one at 0x%lx",
                (unsigned long)(a + P), (unsigned long)a);
    vmem_free(kmem_arena, a, 2 * P);
    if (KVA_CONFIG_CHECKS) {
        CHECK_PANIC(
            vmem_free(kmem_arena, a, 2 * P),
            "vmem_free: arena kmem: 0x%lx: expected a live range, found "
            "an address outside every span",
            (unsigned long)a);
    }
    hoard_end(&h);
    pool_cache_destroy(pc);
    pool_cache_destroy(other);
    tower_end();
}

/* ---- waiting, and threads ----------------------------------------------------- */

#if KVA_TIER >= 3

static pool_cache_t waited_for;

static void *
getter(void *arg)
{
    (void)arg;
    return pool_cache_get(waited_for, PR_WAITOK | PR_RESERVE);
}

/* Who waits is served by an object of the reserve that is put, at once: the
 * clock stands. */
static void
a_put_wakes(struct test_ctx *t)
{
    struct hoard h = { .n = 0 };
    pthread_t thread;
    void *p, *q;
    unsigned n;

    (void)t;
    start_with(40, 0, 4);
    kva_posix_clock_virtual(true);
    waited_for = cache(3000, false);
    CHECK_EQ(pool_cache_setreserve(waited_for, 1), 0);
    hoard_all(&h);
    n = exhaust(waited_for, object_of, KVA_COUNT(object_of));
    object_of[n] = pool_cache_get(waited_for, PR_NOWAIT | PR_RESERVE);
    do {
        p = object_of[n++];
        object_of[n] = pool_cache_get(waited_for, PR_NOWAIT | PR_RESERVE);
    } while (object_of[n] != NULL);
    CHECK(p != NULL && of_reserve(p));
    CHECK_EQ(pthread_create(&thread, NULL, getter, NULL), 0);
    while (kva_posix_waiters() == 0) {
        kva_port_relax();
    }
    pool_cache_put(waited_for, p);
    CHECK_EQ(pthread_join(thread, &q), 0);
    CHECK_PTR(q, p);
    while (n > 0) {
        pool_cache_put(waited_for, object_of[--n]);
    }
    hoard_end(&h);
    pool_cache_destroy(waited_for);
    kva_posix_clock_virtual(false);
    tower_end();
}

/* Somebody is about to sleep: 10 ms go by, and the pagedaemon has a turn. */
static struct {
    unsigned naps;
    size_t wanted; /* at most */
    void *object;  /* comes back in the nap before the next one */
    pool_cache_t pc;
} nap;

static void
take_a_nap(void *arg, const void *channel)
{
    size_t wanted = kva__wait_wanted();

    (void)arg;
    (void)channel;
    nap.wanted = wanted > nap.wanted ? wanted : nap.wanted;
    if (++nap.naps > 1000) {
        FAIL("who waits is neither served nor refused");
    }
    kva_posix_clock_advance(10000000);
    (void)kva_pagedaemon_turn();
    if (nap.object != NULL && nap.naps == 4) {
        pool_cache_put(nap.pc, nap.object);
    }
}

/* Whoever is entitled and waits, by flag or by mark, is refused as others are when
 * nothing comes back, the reserve included; and has what does. */
static void
the_entitled_are_refused(struct test_ctx *t)
{
    struct hoard h = { .n = 0 }, last = { .n = 0 };
    struct kva_pool pp;
    pool_cache_t pc;
    void *mine;
    unsigned n = 0;

    (void)t;
    start_with(40, 8, 1);
    kva_posix_clock_virtual(true);
    kva_posix_clock_advance(1000000000);
    pc = cache(3000, false);
    CHECK_EQ(pool_init(&pp, 2000, 0, 0, 0, "plain", NULL, KVA_IPL_NONE), 0);
    hoard_all(&h);
    mine = pool_cache_get(pc, PR_NOWAIT | PR_RESERVE);
    CHECK(mine != NULL);
    while (kva_wired_alloc(P, 0, VM_NOSLEEP | VM_RESERVE, &last.page[last.n]) ==
           0) {
        last.n++;
    }
    while ((object_of[n] = pool_cache_get(pc, PR_NOWAIT | PR_RESERVE)) !=
           NULL) {
        n++; /* the rest of the slabs */
    }
    kva_posix_wait_hook(take_a_nap, NULL);
    nap.pc = pc;
    for (unsigned way = 0; way < 4; way++) {
        nap.naps = 0;
        nap.wanted = 0;
        nap.object = way == 3 ? mine : NULL;
        if (way == 0) {
            CHECK_PTR(pool_get(&pp, PR_WAITOK | PR_RESERVE), NULL);
        } else if (way == 1) {
            CHECK_EQ(kva_reserve_enter(), 0);
            CHECK_PTR(kmem_alloc(300, KM_SLEEP), NULL);
            kva_reserve_leave();
        } else {
            CHECK_PTR(pool_cache_get(pc, PR_WAITOK | PR_RESERVE), nap.object);
        }
        CHECK_GT(nap.naps, 2);
        CHECK_GE(nap.wanted, P);
        CHECK_EQ(kva__wait_wanted(), 0);
    }
    kva_posix_wait_hook(NULL, NULL);
    pool_cache_put(pc, mine);
    while (n > 0) {
        pool_cache_put(pc, object_of[--n]);
    }
    hoard_end(&h);
    hoard_end(&last);
    pool_destroy(&pp);
    pool_cache_destroy(pc);
    kva_posix_clock_virtual(false);
    tower_end();
}

static void
never(void *arg, const void *channel)
{
    (void)arg;
    (void)channel;
    nap.naps++;
    (void)kva_posix_cancel_waits();
}

/* Who may wait does not when there is something, takes one, and neither waits for
 * a constructor that fails, nor at a limit at which he said that he would not. */
static void
waits_are_not_for_nothing(struct test_ctx *t)
{
    struct hoard h = { .n = 0 };
    struct kva_pool_stat st;
    struct kva_pool pp;
    pool_cache_t pc;
    void *p;

    (void)t;
    start();
    kva_posix_clock_virtual(true);
    pc = cache(200, true);
    CHECK_EQ(pool_init(&pp, 2000, 0, 0, 0, "limited", NULL, KVA_IPL_NONE), 0);
    hoard_all(&h);
    nap.naps = 0;
    kva_posix_wait_hook(never, NULL);
    ctor_fails = true;
    CHECK_PTR(pool_cache_get(pc, PR_WAITOK | PR_RESERVE), NULL);
    ctor_fails = false;
    CHECK_EQ(nap.naps, 0);
    p = pool_get(&pp, PR_WAITOK | PR_RESERVE);
    CHECK(p != NULL && of_reserve(p));
    pool_stat(&pp, &st);
    CHECK_EQ(st.objects_out, 1);
    pool_sethardlimit(&pp, 1, NULL, 0);
    CHECK_PTR(pool_get(&pp, PR_WAITOK | PR_LIMITFAIL | PR_RESERVE), NULL);
    CHECK_EQ(nap.naps, 0);
    CHECK_PTR(pool_get(&pp, PR_WAITOK | PR_RESERVE), NULL);
    CHECK_EQ(nap.naps, 1);
    kva_posix_wait_hook(NULL, NULL);
    pool_put(&pp, p);
    pool_destroy(&pp);
    pool_cache_destroy(pc);
    hoard_end(&h);
    kva_posix_clock_virtual(false);
    tower_end();
}

/* At the hard limit, with objects in the reserve: asleep until a put, and not
 * refused, as it is not memory that is missing. */
static void
put_late(void *arg, const void *channel)
{
    (void)channel;
    kva_posix_clock_advance(10000000);
    (void)kva_pagedaemon_turn();
    CHECK_EQ(kva__wait_wanted(), 0);
    if (++nap.naps == 500) {
        pool_put(arg, nap.object);
    }
}

static void
the_limit_is_slept_at(struct test_ctx *t)
{
    struct kva_pool pp;
    void *p;

    (void)t;
    start();
    kva_posix_clock_virtual(true);
    CHECK_EQ(pool_init(&pp, 2000, 0, 0, 0, "limited", NULL, KVA_IPL_NONE), 0);
    CHECK_EQ(pool_setreserve(&pp, 4), 0);
    pool_sethardlimit(&pp, 1, NULL, 0);
    nap.object = pool_get(&pp, PR_NOWAIT);
    nap.naps = 0;
    kva_posix_wait_hook(put_late, &pp);
    p = pool_get(&pp, PR_WAITOK | PR_RESERVE);
    kva_posix_wait_hook(NULL, NULL);
    CHECK(p != NULL);
    CHECK_EQ(nap.naps, 500);
    pool_put(&pp, p);
    pool_destroy(&pp);
    kva_posix_clock_virtual(false);
    tower_end();
}

/* One that sleeps for a page. */
struct sleeper {
    pthread_t thread;
    size_t bytes;
    vm_flag_t flags;
    bool mark; /* its task is marked */
    vmem_addr_t va;
    int err;
    bool done;
};

static void *
sleep_for_page(void *arg)
{
    struct sleeper *s = arg;

    if (s->mark) {
        CHECK_EQ(kva_reserve_enter(), 0);
    }
    s->err = vmem_alloc(kmem_arena, s->bytes, VM_SLEEP | s->flags, &s->va);
    if (s->mark) {
        kva_reserve_leave();
    }
    __atomic_store_n(&s->done, true, __ATOMIC_RELEASE);
    return NULL;
}

static void
sleeper_begin_for(struct sleeper *s, vm_flag_t flags, bool mark, size_t bytes)
{
    size_t before = kva_posix_waiters();

    *s = (struct sleeper){ .bytes = bytes, .flags = flags, .mark = mark };
    CHECK_EQ(pthread_create(&s->thread, NULL, sleep_for_page, s), 0);
    while (kva_posix_waiters() == before) {
        kva_port_relax();
    }
}

static void
sleeper_begin(struct sleeper *s, vm_flag_t flags, bool mark)
{
    sleeper_begin_for(s, flags, mark, P);
}

static void
sleeper_end(struct sleeper *s)
{
    CHECK_EQ(pthread_join(s->thread, NULL), 0);
    CHECK_EQ(s->err, 0);
    vmem_free(kmem_arena, s->va, s->bytes);
}

/* A page of the reserve that is freed is for the entitled one of those who wait
 * for pages, behind whom of the others he may be; these get what is everybody's. */
static void
free_for_the_entitled(bool mark)
{
    struct hoard h = { .n = 0 };
    struct sleeper ordinary, entitled;
    vmem_addr_t mine[8];

    start_with(40, KVA_COUNT(mine), 4);
    kva_posix_clock_virtual(true);
    hoard_all(&h);
    for (unsigned i = 0; i < KVA_COUNT(mine); i++) {
        CHECK_EQ(vmem_alloc(kmem_arena, P, VM_NOSLEEP | VM_RESERVE, &mine[i]),
                 0);
    }
    sleeper_begin(&ordinary, 0, false);
    sleeper_begin(&entitled, mark ? 0 : VM_RESERVE, mark);
    vmem_free(kmem_arena, mine[0], P);
    CHECK_EQ(pthread_join(entitled.thread, NULL), 0);
    CHECK_EQ(entitled.err, 0);
    CHECK(!__atomic_load_n(&ordinary.done, __ATOMIC_ACQUIRE));
    CHECK_EQ(used(), KVA_COUNT(mine) * P);
    mine[0] = entitled.va;
    for (unsigned i = 0; i < KVA_COUNT(mine); i++) {
        vmem_free(kmem_arena, mine[i], P);
    }
    hoard_end(&h);
    sleeper_end(&ordinary);
    kva_posix_clock_virtual(false);
    tower_end();
}

static void
a_free_wakes_the_entitled(struct test_ctx *t)
{
    (void)t;
    free_for_the_entitled(false);
    kva_posix_fini();
    free_for_the_entitled(true);
}

/* Others are held back for who has waited long, but not who is entitled: he has
 * what was never meant for that one. */
static void
the_entitled_pass_the_head(struct test_ctx *t)
{
    struct hoard h = { .n = 0 };
    struct sleeper ordinary;
    unsigned passed = 0;
    vmem_addr_t a;

    (void)t;
    start_with(40, 8, 4);
    kva_posix_clock_virtual(true);
    hoard_all(&h);
    sleeper_begin_for(&ordinary, 0, false, 4 * P);
    a = h.page[--h.n];
    do {
        kva_wired_free(a, P);
        while (kva_posix_waiters() == 0) { /* it looks, and sleeps again */
            kva_port_relax();
        }
        CHECK_LT(passed++, 100);
    } while (kva_wired_alloc(P, 0, VM_NOSLEEP, &a) == 0);
    CHECK_EQ(vmem_alloc(kmem_arena, P, VM_NOSLEEP, &a), KVA_ENOMEM);
    CHECK_EQ(vmem_alloc(kmem_arena, P, VM_NOSLEEP | VM_RESERVE, &a), 0);
    vmem_free(kmem_arena, a, P);
    hoard_end(&h);
    sleeper_end(&ordinary);
    kva_posix_clock_virtual(false);
    tower_end();
}

struct worker {
    pthread_t thread;
    struct test_ctx *t;
    unsigned long count;
    uint64_t seed;
    bool entitled;
    unsigned long wrong;
};

static void *
work(void *arg)
{
    struct worker *w = arg;
    struct test_random r = { w->seed };
    void *have[24] = { NULL };

    for (unsigned long i = 0; i < w->count; i++) {
        void **p = &have[test_random_below(&r, KVA_COUNT(have))];

        if (*p != NULL) {
            w->wrong += !tower_intact(*p, 200, (unsigned)(uintptr_t)p >> 3);
            pool_cache_put(waited_for, *p);
            *p = NULL;
            continue;
        }
        if (w->entitled && test_random_one_in(&r, 2)) {
            (void)kva_reserve_enter();
            *p = pool_cache_get(waited_for, PR_NOWAIT);
            kva_reserve_leave();
        } else {
            *p = pool_cache_get(waited_for, w->entitled ? PR_NOWAIT | PR_RESERVE
                                                        : PR_NOWAIT);
        }
        if (*p != NULL) {
            w->wrong += !w->entitled && of_reserve(*p);
            tower_fill(*p, 200, (unsigned)(uintptr_t)p >> 3);
        }
    }
    for (unsigned i = 0; i < KVA_COUNT(have); i++) {
        if (have[i] != NULL) {
            pool_cache_put(waited_for, have[i]);
        }
    }
    return NULL;
}

static void
threads_share_a_cache(struct test_ctx *t)
{
    struct worker w[4];
    struct hoard h = { .n = 0 };
    struct kva_pool_stat st;

    start_with(LIMIT, 8, 4);
    waited_for = cache(200, false);
    CHECK_EQ(pool_cache_setreserve(waited_for, 16), 0);
    hoard_all(&h);
    for (unsigned i = 0; i < 2; i++) { /* some memory for everybody */
        kva_wired_free(h.page[--h.n], P);
    }
    for (unsigned i = 0; i < KVA_COUNT(w); i++) {
        w[i] = (struct worker){ .t = t,
                                .count = t->count,
                                .seed = test_rand(t),
                                .entitled = (i & 1u) != 0 };
        CHECK_EQ(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
    for (unsigned i = 0; i < KVA_COUNT(w); i++) {
        CHECK_EQ(pthread_join(w[i].thread, NULL), 0);
        CHECK_EQ(w[i].wrong, 0);
    }
    tower_check();
    pool_cache_stat(waited_for, &st);
    CHECK_EQ(st.reserve_out, 0);
    CHECK_GE(st.reserve_free, 16);
    CHECK_EQ(used(), 0);
    hoard_end(&h);
    pool_cache_destroy(waited_for);
    tower_end();
}
#endif

const struct test reserve_tests[] = {
    TEST_COUNT("reserve", limits_are_two, 3000, 20000, 200000),
    TEST("reserve", reserve_is_set),
    TEST("reserve", arenas_have_one_behind),
    TEST_THREADS("reserve", marks_nest, 0, 200, 2000, 20000),
    TEST("reserve", metadata_is_kept_back),
    TEST("reserve", pool_keeps_a_reserve),
    TEST("reserve", gets_fill_the_reserve),
    TEST("reserve", pools_share_the_pages),
    TEST("reserve", kmem_and_malloc_too),
    TEST("reserve", cleaners_may_allocate),
    TEST("reserve", constructors_may_fail),
    TEST("reserve", reserves_are_not_filled_from_theirs),
    TEST("reserve", some_have_no_reserve),
    TEST_COUNT("reserve", reserve_reaches_nobody_else, 20000, 100000, 1000000),
    TEST("reserve", debug_modes_have_reserves),
    TEST("reserve", every_fault),
    TEST("reserve", misuse_is_told),
#if KVA_TIER >= 3
    TEST("reserve", a_put_wakes),
    TEST("reserve", the_entitled_are_refused),
    TEST("reserve", waits_are_not_for_nothing),
    TEST("reserve", the_limit_is_slept_at),
    TEST("reserve", a_free_wakes_the_entitled),
    TEST("reserve", the_entitled_pass_the_head),
    TEST_THREADS("reserve", threads_share_a_cache, 0, 2000, 20000, 200000),
#endif
    TEST_END
};

#else

static void
there_are_none(struct test_ctx *t)
{
    (void)t;
    PORT(NULL);
    CHECK_EQ(kva_reserve_enter(), KVA_ENOTSUP);
    CHECK(!kva_reserve_marked());
}

const struct test reserve_tests[] = { TEST("reserve", there_are_none),
                                      TEST_END };

#endif
