/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: whoever ends a pool, a cache, a type or all of kmem while something
 * of it is live is told so, with how much it is and an object of it; nothing
 * has changed, and all goes on.
 */
#include "tests/misuse/object_scene.h"

#include <stdio.h>
#include <string.h>

static void
destroy(const struct stock_member *m)
{
    if (m->pc == NULL) {
        kva_pool_destroy(m->pp);
    } else if (m->in_place) {
        kva_pool_cache_bootstrap_destroy(m->pc);
    } else {
        kva_pool_cache_destroy(m->pc);
    }
}

/* "... 0xADDR: expected no live object, found N": any live one may be named. */
static void
check_report(const struct stock *s, unsigned which, const char *message)
{
    const struct stock_member *m = &s->member[which];
    const char *func = m->pc == NULL ? "pool_destroy"
                       : m->in_place ? "pool_cache_bootstrap_destroy"
                                     : "pool_cache_destroy";
    char text[KVA_MESSAGE_MAX];
    const struct stock_live *l;
    unsigned long addr;
    const char *at = strstr(message, "0x");

    CHECK(at != NULL && sscanf(at, "0x%lx", &addr) == 1);
    l = stock_at(s, addr);
    CHECK(l != NULL && l->addr == addr && l->which == which &&
          l->source <= STOCK_CACHE);
    (void)snprintf(text, sizeof(text),
                   "%s: %s %s: 0x%lx: expected no live object, found %zu", func,
                   m->pc == NULL ? "pool" : "cache", m->name, addr, m->live);
    CHECK_STR(message, text);
}

static void
destroy_one(struct stock *s, unsigned which)
{
    struct kva_posix_catch c;
    uint64_t before = stock_digest();

    if (KVA_POSIX_TRY(&c)) {
        destroy(&s->member[which]);
        kva_posix_catch_end(&c);
        FAIL("%s: ended with %zu live", s->member[which].name,
             s->member[which].live);
    }
    check_report(s, which, c.message);
    CHECK_EQ(c.locks, 0);
    CHECK_EQ(stock_digest(), before);
}

static void
destroy_with_live_objects(struct test_ctx *t)
{
    unsigned long done = 0;

    while (done < t->count) {
        struct stock *s = object_open(t);

        for (unsigned i = 0; i < 500 && done < t->count; i++) {
            unsigned which = (unsigned)object_below(
                t, KVA_CONFIG_CHECKS ? STOCK_MEMBERS : STOCK_POOLS);

            object_steps(s, 2);
            if (s->member[which].pp != NULL && s->member[which].live > 0) {
                destroy_one(s, which);
                done++;
            }
        }
        object_close(s);
    }
}

static void
detach_with_live_memory(struct test_ctx *t)
{
    struct stock *s = object_open(t);

    for (unsigned long done = 0; done < t->count; done++) {
        const struct stock_type *type = &s->type[object_below(t, STOCK_TYPES)];
        uint64_t before = stock_digest();

        if (type->active > 0) {
            CHECK_PANIC(kva_malloc_type_detach(type->mt),
                        "malloc_type_detach: type %s: 0x%lx: expected no live "
                        "memory, found %zu allocations of %zu bytes",
                        type->mt->name, (unsigned long)(uintptr_t)type->mt,
                        type->active, type->bytes);
            CHECK_EQ(stock_digest(), before);
        }
        object_steps(s, 10);
    }
    object_close(s);
}

#if KVA_CONFIG_CHECKS
static void
end_of_kmem_with_live_objects(struct test_ctx *t)
{
    struct stock *s = object_open(t);

    for (unsigned long done = 0; done < t->count; done++) {
        const struct stock_live *l =
            object_pick(t, s, FROM(STOCK_KMEM) | FROM(STOCK_INTR));
        struct kva_posix_catch c;
        uint64_t before = stock_digest();

        if (l != NULL && l->taken < KVA_PAGE_SIZE) {
            if (KVA_POSIX_TRY(&c)) {
                kva_kmem_fini();
                kva_posix_catch_end(&c);
                FAIL("kmem ended");
            }
            CHECK_HAS(c.message, "kmem_fini: cache kmem");
            CHECK_HAS(c.message, ": expected no live object, found ");
            CHECK_EQ(stock_digest(), before);
        }
        object_steps(s, 10);
    }
    object_close(s);
}
#endif

const struct test object_destroy_live_tests[] = {
    TEST_COUNT("misuse_objects", destroy_with_live_objects, 100, 1000, 10000),
    TEST_COUNT("misuse_objects", detach_with_live_memory, 100, 1000, 10000),
#if KVA_CONFIG_CHECKS
    TEST_COUNT("misuse_objects", end_of_kmem_with_live_objects, 50, 500, 10000),
#endif
    TEST_END
};
