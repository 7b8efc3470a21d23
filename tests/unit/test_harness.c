/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The harness itself: a check that fails is seen, with its place and values;
 * what should pass passes.  Rows are run inside of a running test.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "tests/harness/harness.h"

static char trace[64];

static void
trace_add(void *arg)
{
    strncat(trace, arg, sizeof(trace) - strlen(trace) - 1);
}

/* Run a body as a test of its own; what it reports. */
static struct test_report
run(void (*body)(struct test_ctx *))
{
    const struct test row = { "inner", "row", body, 1, 2, 3, 0, false };
    const struct test_options o = { .tier = TEST_MERGE, .seed = 7 };
    struct test_report report;

    trace[0] = '\0';
    test_run(&row, &o, &report);
    return report;
}

static void
expect(void (*body)(struct test_ctx *), enum test_result result,
       const char *text)
{
    struct test_report report = run(body);

    CHECK_EQ(report.result, result);
    CHECK_HAS(report.text, text);
    if (result != TEST_PASSED) {
        CHECK_HAS(report.text, "test_harness.c:");
    }
}

/* ---- bodies ------------------------------------------------------------ */

static int seven = 7;
static unsigned zero;

static void
all_true(struct test_ctx *t)
{
    CHECK(t->count == 2);
    CHECK_EQ(seven, 7);
    CHECK_EQ(seven - 8, -1);
    CHECK_LT(seven - 8, zero);
    CHECK_GT(UINT64_MAX, seven - 8);
    CHECK_GE((uint8_t)255, 255);
    CHECK_LE(INT64_MIN, INT64_MIN);
    CHECK_NE(true, zero);
    CHECK_STR("a", "a");
    CHECK_HAS("abc", "b");
    CHECK_PTR(t, t);
    CHECK_PANIC(kva__panic("n is %d", 5), "n is %d", 5);
}

static void
check_false(struct test_ctx *t)
{
    (void)t;
    CHECK(seven == 8);
}

static void
not_equal(struct test_ctx *t)
{
    (void)t;
    CHECK_EQ(seven - 9, UINT64_MAX);
}

static void
wrong_string(struct test_ctx *t)
{
    (void)t;
    CHECK_STR("left", "right");
}

static void
no_panic(struct test_ctx *t)
{
    (void)t;
    CHECK_PANIC(seven = 7, "never");
}

static void
other_panic(struct test_ctx *t)
{
    (void)t;
    CHECK_PANIC(kva__panic("this"), "that");
}

static void
panic_with_lock(struct test_ctx *t)
{
    kva_lock_t lock;

    (void)t;
    kva_port_lock_init(&lock, "mine", KVA_IPL_VM, 1);
    CHECK_PANIC(
        {
            (void)kva_port_lock(&lock);
            kva__panic("this");
        },
        "this");
}

static void
unexpected_panic(struct test_ctx *t)
{
    (void)t;
    kva__panic("out of the blue");
}

static void
skips(struct test_ctx *t)
{
    (void)t;
    SKIP("no such thing here");
}

static void
defers(struct test_ctx *t)
{
    static char one[] = "1", two[] = "2", three[] = "3";

    test_defer(t, trace_add, one);
    test_defer(t, trace_add, two);
    test_defer(t, trace_add, three);
    FAIL("after %d", 3);
}

static void *
fail_in_thread(void *arg)
{
    CHECK_STR("thread", "body");
    return arg;
}

static void
thread_fails(struct test_ctx *t)
{
    pthread_t thread;

    (void)t;
    CHECK_EQ(pthread_create(&thread, NULL, fail_in_thread, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void
leaves_port_running(struct test_ctx *t)
{
    (void)t;
    PORT(&(struct kva_posix_config){ .va_bytes = 1 << 22 });
    kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
    (void)kva_posix_irq_save();
}

/* ---- tests ------------------------------------------------------------- */

static void
checks_tell_what_is_wrong(struct test_ctx *t)
{
    (void)t;
    expect(all_true, TEST_PASSED, "");
    expect(check_false, TEST_FAILED, "seven == 8 is false");
    expect(not_equal, TEST_FAILED,
           "is false: -2 and 18446744073709551615 (0xffffffffffffffff)");
    expect(wrong_string, TEST_FAILED, "\"left\" is \"left\", not \"right\"");
    expect(no_panic, TEST_FAILED, "seven = 7 does not panic");
    expect(other_panic, TEST_FAILED,
           "kva__panic(\"this\") panics with \"this\", not \"that\"");
    expect(panic_with_lock, TEST_FAILED, "with 1 locks held, mine innermost");
    expect(skips, TEST_SKIPPED, "no such thing here");
    expect(thread_fails, TEST_FAILED, "\"thread\" is \"thread\", not \"body\"");
    CHECK_STR(run(unexpected_panic).text, "panic: out of the blue");
    expect(all_true, TEST_PASSED, "");
}

static void
deferred_calls_always_run(struct test_ctx *t)
{
    (void)t;
    expect(defers, TEST_FAILED, "after 3");
    CHECK_STR(trace, "321");
}

static void
tests_start_fresh(struct test_ctx *t)
{
    (void)t;
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(run(leaves_port_running).result, TEST_PASSED);
        CHECK(kva_posix_irqs_enabled());
    }
}

static void
counts_follow_the_tier(struct test_ctx *t)
{
    const struct test row = TEST_COUNT("s", NULL, 3, 20, 0);
    const struct test row_least = TEST_LEAST("s", NULL, 2, 3, 20, 0);
    struct test_options o = { .tier = TEST_QUICK };

    (void)t;
    CHECK_EQ(test_count(&row, &o), 3);
    CHECK_EQ(test_count(&row_least, &o), 3);
    o.tier = TEST_MERGE;
    CHECK_EQ(test_count(&row, &o), 20);
    o.tier = TEST_LONG;
    CHECK_EQ(test_count(&row, &o), 0);
    o.tier = TEST_LEAST_OF_ALL;
    CHECK_EQ(test_count(&row, &o), 3);
    CHECK_EQ(test_count(&row_least, &o), 2);
    o.count = 5;
    CHECK_EQ(test_count(&row, &o), 5);
}

static void
replay_names_all(struct test_ctx *t)
{
    const struct test row = { .suite = "s", .name = "n" };
    struct test_options o = { .tier = TEST_LONG, .seed = 255, .count = 9 };
    char buf[128];

    (void)t;
    test_replay(buf, sizeof(buf), "./prog", &row, &o);
    CHECK_STR(buf, "./prog --tier long --seed 0xff --count 9 s/n");
    CHECK(test_matches(&row, "s"));
    CHECK(test_matches(&row, "s/n"));
    CHECK(!test_matches(&row, "s/"));
    CHECK(!test_matches(&row, "s/nn"));
    CHECK(!test_matches(&row, "t"));
}

static void
random_numbers_repeat(struct test_ctx *t)
{
    /* The first outputs of splitmix64 from seed 1234567. */
    static const uint64_t known[] = { UINT64_C(6457827717110365317),
                                      UINT64_C(3203168211198807973),
                                      UINT64_C(9817491932198370423) };
    struct test_random r = { 1234567 };
    unsigned seen[10] = { 0 };

    for (unsigned i = 0; i < KVA_COUNT(known); i++) {
        CHECK_EQ(test_random(&r), known[i]);
    }
    for (unsigned long i = 0; i < t->count; i++) {
        uint64_t x = test_rand_below(t, 10);

        CHECK_LT(x, 10);
        seen[x]++;
    }
    for (unsigned i = 0; i < 10; i++) {
        CHECK_GT(seen[i], t->count / 10 - t->count / 30);
        CHECK_LT(seen[i], t->count / 10 + t->count / 30);
    }
    CHECK_EQ(test_random_below(&r, 1), 0);
}

const struct test harness_tests[] = {
    TEST("harness", checks_tell_what_is_wrong),
    TEST("harness", deferred_calls_always_run),
    TEST("harness", tests_start_fresh),
    TEST("harness", counts_follow_the_tier),
    TEST("harness", replay_names_all),
    TEST_COUNT("harness", random_numbers_repeat, 10000, 10000, 10000),
    TEST_END
};
