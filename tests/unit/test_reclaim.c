/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The round of cleaners: who is asked, for how much, in which order, and that
 * nobody is called when he has left; floors by name, and the listing; misuse.
 */
#include <pthread.h>

#include "reclaim/reclaim.h"
#include "tests/unit/printed.h"
#include "tests/unit/slow_call.h"
#include "vmem/reserve.h"

struct owner {
    struct kva_cleaner cleaner;
    size_t has;   /* bytes it can give back */
    size_t asked; /* at its last call */
    size_t work;  /* the same */
    enum kva_urgency urgency;
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
    o->work = want->work;
    o->urgency = want->urgency;
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
    CHECK_EQ(o[0].work, KVA_WORK_ALL);
    CHECK_EQ(o[0].urgency, KVA_URGENCY_TRIM);
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

/* ---- work ------------------------------------------------------------------ */

struct worker {
    struct kva_cleaner cleaner;
    size_t uses; /* of what it may do */
    size_t may;  /* at its last call */
    unsigned calls;
};

static size_t
work_in_vain(void *arg, struct kva_want *want)
{
    struct worker *w = arg;

    w->calls++;
    w->may = want->work;
    want->work -= w->uses < want->work ? w->uses : want->work;
    return 0;
}

/* A call costs what it is said to, one at the least, or what it did, if that is
 * more; who is asked when nothing is left of the work is nobody. */
static void
work_is_spent(struct test_ctx *t)
{
    for (unsigned long n = 0; n < t->count; n++) {
        size_t work = (size_t)test_rand_below(t, 20), left = work, cost;
        struct worker w[5];

        for (unsigned i = 0; i < 5; i++) {
            w[i] = (struct worker){
                .cleaner = { .clean = work_in_vain,
                             .arg = &w[i],
                             .cost = (unsigned)test_rand_below(t, 5) },
                .uses = (size_t)test_rand_below(t, 5)
            };
            kva_reclaim_register(&w[i].cleaner);
        }
        CHECK_EQ(kva_reclaim_pass(1, KVA_URGENCY_LOW, &work), 0);
        for (unsigned visit = 0; visit < 2; visit++) { /* caches, twice */
            for (unsigned i = 0; i < 5; i++) {
                if (left == 0) {
                    CHECK_LE(w[i].calls, visit);
                    continue;
                }
                CHECK_GT(w[i].calls, visit);
                CHECK(visit == 0 || w[i].may == left);
                cost = w[i].cleaner.cost != 0 ? w[i].cleaner.cost : 1;
                cost = cost > w[i].uses ? cost : w[i].uses;
                left -= cost < left ? cost : left;
            }
        }
        CHECK_EQ(work, left);
        work = KVA_WORK_ALL;
        CHECK_EQ(kva_reclaim_pass(1, KVA_URGENCY_LOW, &work), 0);
        CHECK_EQ(work, KVA_WORK_ALL);
        for (unsigned i = 0; i < 5; i++) {
            CHECK_EQ(w[i].may, KVA_WORK_ALL);
            kva_reclaim_unregister(&w[i].cleaner);
        }
    }
}

/* ---- whoever comes while a round is under way ----------------------------- */

struct relay {
    struct kva_cleaner cleaner;
    struct relay *other;
    unsigned calls;
};

static size_t
pass_it_on(void *arg, struct kva_want *want)
{
    struct relay *r = arg;

    r->calls++;
    CHECK_LE(r->calls, 100);
    kva_reclaim_register(&r->other->cleaner);
    want->leave = true;
    return 0;
}

/* Who is registered from within a call is asked in the next round and not in
 * this one: two of whom each brings the other in turn end no pass, but for that. */
static void
who_comes_is_asked_later(struct test_ctx *t)
{
    struct relay r[2];

    (void)t;
    for (unsigned i = 0; i < 2; i++) {
        r[i] = (struct relay){ .cleaner = { .clean = pass_it_on,
                                            .arg = &r[i],
                                            .stage = KVA_STAGE_CLIENTS },
                               .other = &r[1 - i] };
    }
    kva_reclaim_register(&r[0].cleaner);
    CHECK_EQ(kva_reclaim(1), 0);
    CHECK_EQ(r[0].calls, 1);
    CHECK_EQ(r[1].calls, 0);
    kva_reclaim_unregister(&r[1].cleaner);
}

/* ---- unregistering waits for a call that runs --------------------------- */

static size_t
clean_slowly(void *arg, struct kva_want *want)
{
    (void)want;
    slow_call_run(arg);
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
        struct slow_call slow = { .left = 0 };
        struct kva_cleaner cl = { .clean = clean_slowly, .arg = &slow };
        pthread_t thread;

        kva_reclaim_register(&cl);
        CHECK_EQ(pthread_create(&thread, NULL, reclaimer, NULL), 0);
        slow_call_let_go(&slow);
        kva_reclaim_unregister(&cl);
        CHECK(slow_call_left(&slow));
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
}

static unsigned
registered(void)
{
    struct kva_reclaim_stat st;

    kva_reclaim_stat(&st);
    return st.cleaners;
}

static unsigned entered;

/* It wants to leave, and is off already when it says so. */
static size_t
leave_too_late(void *arg, struct kva_want *want)
{
    __atomic_store_n(&entered, 1, __ATOMIC_RELEASE);
    while (registered() != *(unsigned *)arg) {
        kva_port_relax();
    }
    want->leave = true;
    return 0;
}

static void
both_take_it_off(struct test_ctx *t)
{
    unsigned before = registered();

    for (unsigned long n = 0; n < t->count; n++) {
        struct kva_cleaner cl = { .clean = leave_too_late, .arg = &before };
        pthread_t thread;

        entered = 0;
        kva_reclaim_register(&cl);
        CHECK_EQ(registered(), before + 1);
        CHECK_EQ(pthread_create(&thread, NULL, reclaimer, NULL), 0);
        while (__atomic_load_n(&entered, __ATOMIC_ACQUIRE) == 0) {
            kva_port_relax();
        }
        kva_reclaim_unregister(&cl);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        CHECK_EQ(registered(), before);
    }
}

/* ---- floors by name, and the listing ------------------------------------- */

/* Those of that name and no others, from the next call on, but not when nothing
 * else is left. */
static void
floors_have_names(struct test_ctx *t)
{
    static const char *const name[] = { "a", "ab", "a", NULL, "" };
    static const size_t kept[] = { 7, 0, 7, 0, 0 };
    size_t work = KVA_WORK_ALL;
    struct owner o[KVA_COUNT(name)];

    (void)t;
    for (unsigned i = 0; i < KVA_COUNT(name); i++) {
        owner_add(&o[i], 10);
        o[i].cleaner.name = name[i];
    }
    CHECK_EQ(kva_reclaim_retain("b", 7), 0);
    CHECK_EQ(kva_reclaim_retain("abc", 7), 0);
    CHECK_EQ(kva_reclaim_retain("a", 7), 2);
    CHECK_EQ(kva_reclaim(SIZE_MAX), 5 * 10 - 2 * 7);
    for (unsigned i = 0; i < KVA_COUNT(name); i++) {
        CHECK_EQ(o[i].has, kept[i]);
    }
    CHECK_EQ(kva_reclaim_pass(SIZE_MAX, KVA_URGENCY_MEDIUM, &work), 0);
    CHECK_EQ(kva_reclaim_retain("a", 3), 2);
    CHECK_EQ(kva_reclaim(SIZE_MAX), 2 * 4);
    CHECK_EQ(kva_reclaim_pass(SIZE_MAX, KVA_URGENCY_OOM, &work), 2 * 3);
    for (unsigned i = 0; i < KVA_COUNT(name); i++) {
        kva_reclaim_unregister(&o[i].cleaner);
    }
}

static void
cleaners_are_listed(struct test_ctx *t)
{
    struct owner o[3];

    (void)t;
    for (unsigned i = 0; i < 3; i++) { /* what came back before is forgotten */
        owner_add(&o[i], ((size_t)3000 << i) + 5000);
        CHECK_EQ(kva_reclaim(5000), 5000);
        kva_reclaim_unregister(&o[i].cleaner);
    }
    o[0].cleaner.name = "last";
    o[0].cleaner.stage = KVA_STAGE_SPANS;
    o[1].cleaner.name = NULL;
    o[1].cleaner.stage = KVA_STAGE_CLIENTS;
    o[1].cleaner.retain = 1000;
    o[2].cleaner.name = "a name that is too long for its column";
    o[2].cleaner.stage = KVA_STAGE_CLIENTS;
    for (unsigned i = 0; i < 3; i++) {
        kva_reclaim_register(&o[i].cleaner);
    }
    CHECK_EQ(kva_reclaim(SIZE_MAX), 3000 + 6000 - 1000 + 12000);
    printed_clear();
    kva_reclaim_listing(print_keep);
    CHECK_STR(printed.text,
              "Name                    Stage          Retain        Freed\n"
              "(unnamed)               clients          1000           4K\n"
              "a name that is too long clients             0          11K\n"
              "last                    spans               0           2K\n");
    for (unsigned i = 0; i < 3; i++) {
        kva_reclaim_unregister(&o[i].cleaner);
    }
}

/* ---- misuse --------------------------------------------------------------- */

static unsigned itself;

static size_t
clean_and_end(void *arg, struct kva_want *want)
{
    struct kva_cleaner *cl = arg;

    (void)want;
    if (kva_reserve_enter() == 0) { /* tasks are known */
        kva_reserve_leave();
        itself++;
        CHECK_PANIC(kva_reclaim_unregister(cl),
                    "kva_reclaim_unregister: cleaner loop: 0x%lx: expected "
                    "another one than who calls, found itself (want->leave is "
                    "for that)",
                    (unsigned long)(uintptr_t)cl);
    }
    return 0;
}

static void
misuse_is_told(struct test_ctx *t)
{
    struct kva_reclaim_stat before, after;
    struct kva_cleaner cl = { .name = "loop", .arg = &cl };
    unsigned long at = (unsigned long)(uintptr_t)&cl;

    (void)t;
    PORT(NULL);
    kva_reclaim_stat(&before);
    CHECK_PANIC(
        kva_reclaim_register(&cl),
        "kva_reclaim_register: cleaner loop: 0x%lx: expected a function "
        "and a stage below 5, found no function",
        at);
    cl.clean = clean_and_end;
    cl.stage = KVA_STAGES + 2;
    CHECK_PANIC(
        kva_reclaim_register(&cl),
        "kva_reclaim_register: cleaner loop: 0x%lx: expected a function "
        "and a stage below 5, found stage 7",
        at);
    cl.stage = KVA_STAGES;
    CHECK_PANIC(
        kva_reclaim_register(&cl),
        "kva_reclaim_register: cleaner loop: 0x%lx: expected a function "
        "and a stage below 5, found stage 5",
        at);
    cl.stage = KVA_STAGE_PAGES;
    CHECK_PANIC(kva_reclaim_unregister(&cl),
                "kva_reclaim_unregister: cleaner loop: 0x%lx: expected one "
                "registered, found it not",
                at);
    kva_reclaim_register(&cl);
    CHECK_PANIC(kva_reclaim_register(&cl),
                "kva_reclaim_register: cleaner loop: 0x%lx: expected one not "
                "registered, found one of the pages",
                at);
    (void)kva_reclaim(1);
    CHECK_EQ(itself, KVA_TASK_MARK ? 1 : 0);
    kva_reclaim_unregister(&cl); /* by another one than itself, and still */
    kva_reclaim_stat(&after);
    CHECK_EQ(after.cleaners, before.cleaners);
}

const struct test reclaim_tests[] = {
    TEST("reclaim", cleaners_are_asked_in_turn),
    TEST_COUNT("reclaim", who_left_is_not_called, 100, 1000, 100000),
    TEST("reclaim", one_pass_at_a_time),
    TEST("reclaim", who_comes_is_asked_later),
    TEST_COUNT("reclaim", work_is_spent, 300, 3000, 100000),
    TEST("reclaim", floors_have_names),
    TEST("reclaim", cleaners_are_listed),
    TEST("reclaim", misuse_is_told),
    TEST_THREADS("reclaim", unregister_waits_for_the_call, 0, 10, 200, 2000),
    TEST_THREADS("reclaim", both_take_it_off, 0, 10, 200, 2000),
    TEST_END
};
