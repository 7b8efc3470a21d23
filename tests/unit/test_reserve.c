/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reserves.
 *
 * Claims: ordinary requests end at the lower limit and entitled ones at the
 * upper, as a sum says, whoever is entitled and how; marks nest, and are no
 * interrupt's; what came from a reserve goes back to it, and nobody gets it who
 * is not entitled; and metadata is kept back likewise.
 */
#include <pthread.h>

#include "kmem/kmem.h"
#include "tests/unit/tower.h"
#include "vmem/reserve.h"

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

    PORT(&config);
    boot.va_base = kva_posix_va_base();
    boot.va_bytes = kva_posix_va_bytes();
    CHECK_EQ(kva_boot(&boot), 0);
    CHECK_EQ(kva_start(), 0);
    kva_kmem_init();
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

const struct test reserve_tests[] = {
    TEST_COUNT("reserve", limits_are_two, 3000, 20000, 200000),
    TEST("reserve", reserve_is_set),
    TEST("reserve", arenas_have_one_behind),
    TEST_COUNT("reserve", marks_nest, 200, 2000, 20000),
    TEST("reserve", metadata_is_kept_back),
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
