/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pools in print, what an address is of a pool's, physical addresses, and the
 * counts that NetBSD's pool(9) has functions for.
 */
#include "tests/unit/printed.h"
#include "tests/unit/tower.h"

static bool
says(const char *text)
{
    return strstr(printed.text, text) != NULL;
}

static void
totals_are_printed(struct test_ctx *t)
{
    void *object[30];
    struct kva_pool pp;

    (void)t;
    tower_start(0);
    CHECK_EQ(kva_pool_init(&pp, 192, 0, 0, PR_RECURSIVE, "names", NULL,
                           KVA_IPL_NONE),
             0);
    kva_pool_setlowat(&pp, 3);
    kva_pool_sethardlimit(&pp, 30, NULL, 0);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        object[i] = kva_pool_get(&pp, PR_NOWAIT);
    }
    CHECK(kva_pool_get(&pp, PR_NOWAIT) == NULL);
    printed_clear();
    kva_pool_printit(&pp, "", print_keep);
    CHECK(says("pool names at 0x"));
    CHECK(says("size 192, 2 slabs of 4096 bytes, 30 out, 12 free, recursive"));
    CHECK(says("  gets              30  puts               0  fails"));
    CHECK(says("  lowat              3  hiwat              0  primed"));
    CHECK(says("  limit             30  met                1  skipped"));
    CHECK_EQ(printed.lines, 5);
    printed_clear();
    kva_pool_printit(&pp, "s", print_keep);
    CHECK_EQ(printed.lines, 1);
    printed_clear();
    kva_pool_printit(&pp, "sp", print_keep);
    CHECK_EQ(printed.lines, 3);
    CHECK(says("free     0  full"));
    printed_clear();
    kva_pool_printit(&pp, "spl", print_keep);
    CHECK_EQ(printed.lines, 3);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        kva_pool_put(&pp, object[i]);
    }
    CHECK_EQ(kva_pool_nget(&pp), 30);
    CHECK_EQ(kva_pool_nput(&pp), 30);
    kva_pool_destroy(&pp);
    tower_end();
}

/* With the lock held no more than 64 slabs are looked at. */
static void
many_slabs_are_cut(struct test_ctx *t)
{
    struct kva_pool pp;

    (void)t;
    tower_start(0);
    CHECK_EQ(kva_pool_init(&pp, 4096, 0, 0, 0, "many", NULL, KVA_IPL_NONE), 0);
    CHECK_EQ(kva_pool_prime(&pp, 100), 0);
    printed_clear();
    kva_pool_printit(&pp, "sp", print_keep);
    CHECK_EQ(printed.lines, 1 + 64 + 1);
    CHECK(says("... and 36 more"));
    printed_clear();
    kva_pool_printit(&pp, "spl", print_keep);
    CHECK_EQ(printed.lines, 1 + 100);
    kva_pool_destroy(&pp);
    tower_end();
}

static void
all_pools_are_printed(struct test_ctx *t)
{
    pool_cache_t pc;
    char line[64];

    (void)t;
    tower_start(0);
    pc = kva_pool_cache_init(584, 0, 0, 0, "inodes", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    kva_pool_cache_put(pc, kva_pool_cache_get(pc, PR_NOWAIT));
    printed_clear();
    kva_pool_printall("s", print_keep);
    CHECK(says("cache inodes at "));
    CHECK(says("cache kmem-64 at "));
    (void)snprintf(line, sizeof(line), "%d pages of slabs in all\n",
                   kva_pool_totalpages());
    CHECK(says(line));
    printed_clear();
    kva_pool_printall("sl", print_keep);
    CHECK(says("cache inodes at "));
    printed_clear();
    kva_pool_printit(&pc->slabs, "", print_keep);
    CHECK(says("  cached "));
    CHECK_EQ(kva_pool_cache_nget(pc) - kva_pool_cache_nput(pc), pc->slabs.nout);
    kva_pool_cache_destroy(pc);
    tower_end();
}

static void
check_whatis(uintptr_t addr, const char *text)
{
    printed_clear();
    kva_pool_whatis(addr, print_keep);
    CHECK_EQ(printed.lines, 1);
    if (!says(text)) {
        FAIL("0x%lx: expected '%s', found '%s'", (unsigned long)addr, text,
             printed.text);
    }
}

static void
addresses_are_named(struct test_ctx *t)
{
    pool_cache_t pc;
    struct kva_pool pp;
    char *p, *q, *big, text[80];

    (void)t;
    tower_start(0);
    CHECK_EQ(kva_pool_init(&pp, 192, 0, 0, 0, "names", NULL, KVA_IPL_NONE), 0);
    pc = kva_pool_cache_init(4096, 0, 0, 0, "pages", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    p = kva_pool_get(&pp, PR_NOWAIT);
    q = kva_pool_get(&pp, PR_NOWAIT);
    big = kva_pool_cache_get(pc, PR_NOWAIT);
    kva_pool_put(&pp, q);
    (void)snprintf(text, sizeof(text), "0x%lx+7 in pool names, a live one",
                   (unsigned long)(uintptr_t)p);
    check_whatis((uintptr_t)p + 7, text);
    check_whatis((uintptr_t)q, "+0 in pool names, a free one\n");
    check_whatis((uintptr_t)p & ~(pp.slab_bytes - 1u),
                 "in a slab of pool names, in no object");
    check_whatis((uintptr_t)big + 4095, "+4095 in cache pages, a live one");
    kva_pool_cache_put(pc, big);
    if (KVA_CONFIG_CHECKS) {
        check_whatis((uintptr_t)big, "in cache pages, a free one (cached)");
    }
    check_whatis((uintptr_t)&pp + 1, "+1, pool names itself");
    check_whatis((uintptr_t)&text, "is nothing of a pool's");
    kva_pool_put(&pp, p);
    kva_pool_destroy(&pp);
    kva_pool_cache_destroy(pc);
    tower_end();
}

/* The checker's word for it, in the manner of NetBSD's. */
static void
chk_says_what_is_wrong(struct test_ctx *t)
{
    struct kva_pool pp;
    void *p;

    (void)t;
    tower_start(0);
    CHECK_EQ(kva_pool_init(&pp, 192, 0, 0, 0, "names", NULL, KVA_IPL_NONE), 0);
    p = kva_pool_get(&pp, PR_NOWAIT);
    CHECK_EQ(kva_pool_chk(&pp, "test"), 0);
    pp.nfree++;
    CHECK_EQ(kva_pool_chk(&pp, "test"), 1);
    CHECK_STR(kva_posix_log_last(),
              "test: pool names: the slabs do not add up to the pool's counts");
    pp.nfree--;
    kva_pool_put(&pp, p);
    kva_pool_destroy(&pp);
    tower_end();
}

/* One pool in turn, and no call twice at the same one while there are others. */
static void
pools_are_drained_in_turn(struct test_ctx *t)
{
    struct kva_pool *drained, *first;
    unsigned pools = 0, gave = 0, mine = 0;
    struct kva_pool pp;

    (void)t;
    tower_start(0);
    CHECK_EQ(kva_pool_init(&pp, 192, 0, 0, 0, "turn", NULL, KVA_IPL_NONE), 0);
    CHECK_EQ(kva_pool_prime(&pp, 100), 0);
    pp.primed = 0;
    (void)kva_pool_drain(&first);
    CHECK(first != NULL);
    if (first == &pp) {
        gave++;
        mine++;
    }
    do {
        bool any = kva_pool_drain(&drained);

        pools++;
        mine += drained == &pp;
        gave += any && drained == &pp;
    } while (drained != first);
    CHECK_GT(pools, 10);
    CHECK_LE(mine, 2);
    CHECK_EQ(gave, 1);
    CHECK_EQ(pp.nslabs, 0);
    (void)kva_pool_drain(NULL);
    kva_pool_destroy(&pp);
    tower_end();
}

/* ---- physical addresses --------------------------------------------------- */

static void
paddr_of_cache(int flags, size_t size)
{
    static char *object[200];
    static kva_pa_t pa[200];
    struct kva_posix_stats before, after;
    pool_cache_t pc;
    kva_pa_t frame;

    pc = kva_pool_cache_init(size, 0, 0, flags, "device", NULL, KVA_IPL_NONE,
                             NULL, NULL, NULL);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        object[i] = kva_pool_cache_get_paddr(pc, PR_NOWAIT, &pa[i]);
        CHECK(object[i] != NULL);
        CHECK_EQ(kva_port_translate((uintptr_t)object[i] & ~KVA_PAGE_MASK, 1,
                                    &frame),
                 1);
        CHECK(pa[i] == frame + ((uintptr_t)object[i] & KVA_PAGE_MASK));
        CHECK(kva_pool_paddr(&pc->slabs, object[i]) == pa[i]);
    }
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        kva_pool_cache_put_paddr(pc, object[i], pa[i]);
    }
    kva_posix_stats_get(&before);
    object[0] = kva_pool_cache_get_paddr(pc, PR_NOWAIT, &pa[0]);
    kva_posix_stats_get(&after);
    if ((flags & (int)PR_PADDR) != 0) {
        CHECK_PANIC(kva_pool_cache_put_paddr(pc, object[0], pa[0] + 1),
                    "pool_cache_put_paddr: cache device: 0x%lx: expected its "
                    "physical address 0x%llx, found 0x%llx",
                    (unsigned long)(uintptr_t)object[0],
                    (unsigned long long)pa[0], (unsigned long long)pa[0] + 1);
    }
    kva_pool_cache_put_paddr(pc, object[0], pa[0]);
    CHECK(kva_pool_check(&pc->slabs) == NULL);
    kva_pool_cache_destroy(pc);
}

/* Claim: it is the frame's, whether kept with the slab or asked for, and
 * whichever runs of frames a slab is made of. */
static void
physical_addresses_are_kept(struct test_ctx *t)
{
    static const size_t sizes[] = { 64, 584, 4096, 10000, 40000 };

    (void)t;
    tower_start(0);
    for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
        for (size_t run = 0; run < 3; run++) {
            kva_posix_run_max_set(run);
            paddr_of_cache(0, sizes[i]);
            paddr_of_cache(PR_PADDR, sizes[i]);
            paddr_of_cache(PR_PADDR | PR_NOTOUCH, sizes[i]);
            (void)kva_pool_drain_all();
        }
    }
    tower_end();
}

const struct test pool_print_tests[] = {
    TEST("pool_print", totals_are_printed),
    TEST("pool_print", many_slabs_are_cut),
    TEST("pool_print", all_pools_are_printed),
    TEST("pool_print", addresses_are_named),
    TEST("pool_print", chk_says_what_is_wrong),
    TEST("pool_print", pools_are_drained_in_turn),
    TEST("pool_print", physical_addresses_are_kept),
    TEST_END
};
