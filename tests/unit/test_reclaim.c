/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The round of cleaners: who is asked, for how much, in which order, and that
 * nobody is called when he has left.
 */
#include <pthread.h>

#include "reclaim/reclaim.h"
#include "tests/harness/test.h"

struct owner {
    struct kva_cleaner cleaner;
    size_t has;   /* bytes it can give back */
    size_t asked; /* at its last call */
    unsigned calls;
    unsigned order; /* of its last call */
    bool again;     /* call kva_reclaim from within */
};

static unsigned calls;

static size_t
clean(void *arg, struct kva_want *want)
{
    struct owner *o = arg;
    size_t give = o->has > want->retain ? o->has - want->retain : 0;

    give = give < want->bytes ? give : want->bytes;
    CHECK_EQ(kva_posix_locks_held(), 0);
    o->asked = want->bytes;
    o->calls++;
    o->order = ++calls;
    if (o->again) {
        CHECK_EQ(kva_reclaim(SIZE_MAX), 0); /* one pass at a time */
    }
    o->has -= give;
    return give;
}

static void
owner_add(struct owner *o, size_t has)
{
    *o = (struct owner){ .has = has };
    o->cleaner.clean = clean;
    o->cleaner.arg = o;
    o->cleaner.name = "test";
    kva_reclaim_register(&o->cleaner);
}

static void
cleaners_are_asked_in_turn(struct test_ctx *t)
{
    struct owner o[3];

    (void)t;
    CHECK_EQ(kva_reclaim(100), 0);
    for (unsigned i = 0; i < 3; i++) {
        owner_add(&o[i], 10);
    }
    CHECK_EQ(kva_reclaim(15), 15); /* the first two */
    CHECK_EQ(o[0].asked, 15);
    CHECK_EQ(o[1].asked, 5);
    CHECK_EQ(o[2].calls, 0);
    CHECK_EQ(kva_reclaim(1), 1); /* goes on with the third */
    CHECK_EQ(o[2].calls, 1);
    for (unsigned i = 0; i < 3; i++) {
        o[i].calls = 0;
    }
    CHECK_EQ(kva_reclaim(SIZE_MAX), 14); /* and a round that gives nothing */
    CHECK_LT(o[0].order, o[1].order);
    CHECK_LT(o[1].order, o[2].order);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(o[i].calls, 3); /* the stage is asked twice */
        o[i].calls = 0;
    }
    CHECK_EQ(kva_reclaim(0), 0);
    CHECK_EQ(o[0].calls, 0);
    for (unsigned i = 0; i < 3; i++) {
        kva_reclaim_unregister(&o[i].cleaner);
    }
}

static void
who_left_is_not_called(struct test_ctx *t)
{
    struct owner o[4];

    for (unsigned long n = 0; n < t->count; n++) {
        unsigned gone = (unsigned)test_rand_below(t, 4);

        for (unsigned i = 0; i < 4; i++) {
            owner_add(&o[i], 1);
        }
        (void)kva_reclaim((size_t)test_rand_below(t, 5));
        kva_reclaim_unregister(&o[gone].cleaner);
        for (unsigned i = 0; i < 4; i++) {
            o[i].calls = 0;
        }
        (void)kva_reclaim(SIZE_MAX);
        for (unsigned i = 0; i < 4; i++) {
            CHECK_EQ(o[i].calls != 0, i != gone);
            if (i != gone) {
                kva_reclaim_unregister(&o[i].cleaner);
            }
        }
        CHECK_EQ(kva_reclaim(SIZE_MAX), 0);
    }
}

static void
one_pass_at_a_time(struct test_ctx *t)
{
    struct owner o;

    (void)t;
    owner_add(&o, 10);
    o.again = true;
    CHECK_EQ(kva_reclaim(10), 10);
    CHECK_EQ(o.calls, 1);
    kva_reclaim_unregister(&o.cleaner);
}

/* ---- unregistering waits for a call that runs --------------------------- */

static unsigned entered, leave, left;

static size_t
clean_slowly(void *arg, struct kva_want *want)
{
    (void)arg;
    (void)want;
    __atomic_store_n(&entered, 1, __ATOMIC_RELEASE);
    while (__atomic_load_n(&leave, __ATOMIC_ACQUIRE) == 0) {
        kva_port_relax();
    }
    for (unsigned i = 0; i < 100; i++) {
        kva_port_relax();
    }
    __atomic_store_n(&left, 1, __ATOMIC_RELEASE);
    return 0;
}

static void *
reclaimer(void *arg)
{
    (void)arg;
    (void)kva_reclaim(SIZE_MAX);
    return NULL;
}

static void
unregister_waits_for_the_call(struct test_ctx *t)
{
    for (unsigned long n = 0; n < t->count; n++) {
        struct kva_cleaner cl = { .clean = clean_slowly };
        pthread_t thread;

        entered = leave = left = 0;
        kva_reclaim_register(&cl);
        CHECK_EQ(pthread_create(&thread, NULL, reclaimer, NULL), 0);
        while (__atomic_load_n(&entered, __ATOMIC_ACQUIRE) == 0) {
            kva_port_relax();
        }
        __atomic_store_n(&leave, 1, __ATOMIC_RELEASE);
        kva_reclaim_unregister(&cl);
        CHECK_EQ(__atomic_load_n(&left, __ATOMIC_ACQUIRE), 1);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
}

const struct test reclaim_tests[] = {
    TEST("reclaim", cleaners_are_asked_in_turn),
    TEST_COUNT("reclaim", who_left_is_not_called, 100, 1000, 100000),
    TEST("reclaim", one_pass_at_a_time),
    TEST_COUNT("reclaim", unregister_waits_for_the_call, 10, 200, 2000),
    TEST_END
};
