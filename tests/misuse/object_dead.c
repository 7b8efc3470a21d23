/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: every function reports a pool or a cache that is no more, and a pool
 * that never was, whatever bytes its storage has, or is not given.  (A cache
 * that never was has no magazines: a hit path that looked whether there are any
 * would do it each time.)
 */
#include "tests/unit/tower.h"

#include <stdio.h>

static struct kva_pool store;
static struct kva_pool_cache cache_store;
static uint64_t words[16];

enum dead {
    DEAD_ZERO,
    DEAD_GARBAGE,
    DEAD_DESTROYED,
    DEAD_COPY, /* of one that lives */
    DEAD_NULL,
    DEADS
};

static struct kva_pool *
dead_pool(struct test_ctx *t, enum dead how, const struct kva_pool *living)
{
    unsigned char *byte = (unsigned char *)&store;

    memset(&store, 0, sizeof(store));
    switch (how) {
    case DEAD_NULL:
        return NULL;
    case DEAD_GARBAGE:
        for (size_t i = 0; i < sizeof(store); i++) {
            byte[i] = (unsigned char)test_rand(t);
        }
        break;
    case DEAD_COPY:
        memcpy(&store, living, sizeof(store));
        break;
    case DEAD_DESTROYED:
        CHECK_EQ(
            kva_pool_init(&store, 192, 0, 0, 0, "gone", NULL, KVA_IPL_NONE), 0);
        kva_pool_put(&store, kva_pool_get(&store, PR_NOWAIT));
        kva_pool_destroy(&store);
        break;
    default:
        break;
    }
    return &store;
}

struct row {
    const char *name;
    void (*call)(void *p);
};

#define ROW(name, type, ...)         \
    static void call_##name(void *v) \
    {                                \
        type p = v;                  \
                                     \
        __VA_ARGS__;                 \
    }

/* clang-format off */
ROW(pool_get, struct kva_pool *, (void)kva_pool_get(p, PR_NOWAIT))
ROW(pool_put, struct kva_pool *, kva_pool_put(p, words))
ROW(pool_prime, struct kva_pool *, (void)kva_pool_prime(p, 1))
ROW(pool_setlowat, struct kva_pool *, kva_pool_setlowat(p, 1))
ROW(pool_sethiwat, struct kva_pool *, kva_pool_sethiwat(p, 1))
ROW(pool_sethardlimit, struct kva_pool *,
    kva_pool_sethardlimit(p, 1, NULL, 0))
ROW(pool_set_drain_hook, struct kva_pool *,
    kva_pool_set_drain_hook(p, NULL, NULL))
ROW(pool_reclaim, struct kva_pool *, (void)kva_pool_reclaim(p))
ROW(pool_stat, struct kva_pool *, struct kva_pool_stat st;
    kva_pool_stat(p, &st))
ROW(pool_destroy, struct kva_pool *, kva_pool_destroy(p))
ROW(pool_cache_get, pool_cache_t, (void)kva_pool_cache_get(p, PR_NOWAIT))
#if KVA_CONFIG_CHECKS
ROW(pool_cache_put, pool_cache_t, kva_pool_cache_put(p, words))
#endif
ROW(pool_cache_destruct_object, pool_cache_t,
    kva_pool_cache_destruct_object(p, words))
ROW(pool_cache_invalidate, pool_cache_t, kva_pool_cache_invalidate(p))
ROW(pool_cache_reclaim, pool_cache_t, (void)kva_pool_cache_reclaim(p))
ROW(pool_cache_drain, pool_cache_t, (void)kva_pool_cache_drain(p, 1, 0))
ROW(pool_cache_stat, pool_cache_t, struct kva_pool_stat st;
    kva_pool_cache_stat(p, &st))
ROW(pool_cache_bootstrap_destroy, pool_cache_t,
    kva_pool_cache_bootstrap_destroy(p))
/* clang-format on */

#define NAME(suffix)           \
    {                          \
#suffix, call_##suffix \
    }

static const struct row pool_rows[] = {
    NAME(pool_get),
    NAME(pool_put),
    NAME(pool_prime),
    NAME(pool_setlowat),
    NAME(pool_sethiwat),
    NAME(pool_sethardlimit),
    NAME(pool_set_drain_hook),
    NAME(pool_reclaim),
    NAME(pool_stat),
    NAME(pool_destroy),
};

static const struct row cache_rows[] = {
    NAME(pool_cache_get),
#if KVA_CONFIG_CHECKS
    NAME(pool_cache_put),
#endif
    NAME(pool_cache_destruct_object),
    NAME(pool_cache_invalidate),
    NAME(pool_cache_reclaim),
    NAME(pool_cache_drain),
    NAME(pool_cache_stat),
    NAME(pool_cache_bootstrap_destroy),
};

static void
expect_dead(const struct row *row, const char *kind, void *p)
{
    struct kva_posix_catch c;
    char text[KVA_MESSAGE_MAX];

    (void)snprintf(text, sizeof(text),
                   "%s: %s (unnamed): 0x%lx: expected a %s, found none, or one "
                   "that was destroyed",
                   row->name, kind, (unsigned long)(uintptr_t)p, kind);
    if (KVA_POSIX_TRY(&c)) {
        row->call(p);
        kva_posix_catch_end(&c);
        FAIL("%s does not report a dead %s", row->name, kind);
    }
    CHECK_STR(c.message, text);
    CHECK_EQ(c.locks, 0);
}

static void
dead_pools(struct test_ctx *t)
{
    struct kva_pool living;

    tower_start(0);
    CHECK_EQ(kva_pool_init(&living, 192, 0, 0, 0, "living", NULL, KVA_IPL_NONE),
             0);
    for (unsigned long i = 0; i < t->count; i++) {
        enum dead how = (enum dead)test_rand_below(t, DEADS);
        const struct row *row =
            &pool_rows[test_rand_below(t, KVA_COUNT(pool_rows))];

        expect_dead(row, "pool", dead_pool(t, how, &living));
    }
    kva_pool_destroy(&living);
    tower_end();
}

static void
dead_caches(struct test_ctx *t)
{
    tower_start(0);
    for (unsigned long i = 0; i < t->count; i++) {
        const struct row *row =
            &cache_rows[test_rand_below(t, KVA_COUNT(cache_rows))];
        pool_cache_t pc = &cache_store;

        if (i % 16 == 0) {
            CHECK_EQ(kva_pool_cache_bootstrap(pc, 192, 0, 0, 0, "gone", NULL,
                                              KVA_IPL_NONE, NULL, NULL, NULL),
                     0);
            kva_pool_cache_put(pc, kva_pool_cache_get(pc, PR_NOWAIT));
            kva_pool_cache_bootstrap_destroy(pc);
        }
        expect_dead(row, "cache", pc);
    }
    tower_end();
}

const struct test object_dead_tests[] = {
    TEST_COUNT("misuse_objects", dead_pools, 500, 2000, 10000),
    TEST_COUNT("misuse_objects", dead_caches, 500, 2000, 10000), TEST_END
};
