/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The test harness.  A test is a row of a table: a plain function and how
 * often it repeats its work at each tier.  Two drivers run the same tables:
 * driver_plain.c, a main() for sanitizers, Valgrind and 32 bits, and
 * driver_criterion.c.  Each test runs in a process of its own, so library and
 * port start fresh, and what a body allocates dies with it.
 *
 *     static void
 *     sum_is_right(struct test_ctx *t)
 *     {
 *         for (unsigned long i = 0; i < t->count; i++) {
 *             CHECK_EQ(2 + 2, 4);
 *         }
 *     }
 *
 *     const struct test sum_tests[] = {
 *         TEST("sum", sum_is_right),
 *         TEST_COUNT("sum", sum_many, 1000, 100000, 10000000),
 *         TEST_END
 *     };
 *
 * and in the file that lists the tables of an executable:
 *
 *     extern const struct test sum_tests[];
 *     const struct test *const test_tables[] = { sum_tests, NULL };
 */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port/posix/posix.h"

struct test_ctx;

struct test {
    const char *suite;
    const char *name;
    void (*body)(struct test_ctx *t);
    /* t->count at each tier; 0: the test does not belong to that tier. */
    unsigned long count_quick;
    unsigned long count_merge;
    unsigned long count_long;
    /* At the tier below quick, for builds where each step is long and only
     * shows them a way: whether it was gone, and not how often.  0: quick's. */
    unsigned long count_least;
    /* Threads meet in it: what it has to find depends on who comes when, so the
     * builds that look for that take its counts, and few elsewhere. */
    bool threads;
};

/* None of them by another: arguments would be expanded before they are
 * strings. */
#define TEST(suite, body)                     \
    {                                         \
        suite, #body, body, 1, 1, 1, 0, false \
    }
#define TEST_COUNT(suite, body, quick, merge, long_)      \
    {                                                     \
        suite, #body, body, quick, merge, long_, 0, false \
    }
#define TEST_LEAST(suite, body, least, quick, merge, long_)   \
    {                                                         \
        suite, #body, body, quick, merge, long_, least, false \
    }
/* A body with threads (tests/house/threads.py); least as above, or 0. */
#define TEST_THREADS(suite, body, least, quick, merge, long_) \
    {                                                         \
        suite, #body, body, quick, merge, long_, least, true  \
    }
#define TEST_END               \
    {                          \
        0, 0, 0, 0, 0, 0, 0, 0 \
    }

/* The tables of the executable, NULL at the end; defined once, by it. */
extern const struct test *const test_tables[];

/* ---- what a body gets -------------------------------------------------- */

/* splitmix64 (Steele, Lea, Flood 2014): one word of state, any seed is good. */
struct test_random {
    uint64_t state;
};

uint64_t test_random(struct test_random *r);
/* Even over 0 .. n - 1; n is not 0. */
uint64_t test_random_below(struct test_random *r, uint64_t n);
/* True once in n. */
bool test_random_one_in(struct test_random *r, unsigned n);

struct test_ctx {
    const struct test *test;
    unsigned long count;       /* how often to repeat */
    uint64_t seed;             /* of this test; depends on the run's and name */
    struct test_random random; /* starts at seed */
    /* The rest is the harness's. */
    struct test_run *run;
};

/* Random numbers of the running test. */
uint64_t test_rand(struct test_ctx *t);
uint64_t test_rand_below(struct test_ctx *t, uint64_t n);

static inline size_t
test_below(struct test_ctx *t, size_t n)
{
    return (size_t)test_rand_below(t, n);
}

/*
 * Call fn(arg) when the body has ended, in whatever way; the last one first.
 * At most 16.  For what outlives a process: files, children.
 */
void test_defer(struct test_ctx *t, void (*fn)(void *arg), void *arg);

/* Start the host port for this test; the harness stops it. */
#define PORT(config) test_port(__FILE__, __LINE__, config)

/* ---- checks ------------------------------------------------------------ */

/*
 * A check that fails ends the body (in a thread of the test's own: that
 * thread) and fails the test, with file and line.
 */
#define CHECK(expr)                                              \
    do {                                                         \
        if (!(expr)) {                                           \
            test_fail(__FILE__, __LINE__, "%s is false", #expr); \
        }                                                        \
    } while (0)

/* Integers of any type; shown signed if they are. */
#define CHECK_EQ(got, want) TEST_CMP(got, ==, want)
#define CHECK_NE(got, want) TEST_CMP(got, !=, want)
#define CHECK_LT(got, want) TEST_CMP(got, <, want)
#define CHECK_LE(got, want) TEST_CMP(got, <=, want)
#define CHECK_GT(got, want) TEST_CMP(got, >, want)
#define CHECK_GE(got, want) TEST_CMP(got, >=, want)

#define TEST_CMP(got, op, want)                                            \
    do {                                                                   \
        __typeof__((got) + 0) test_got = (got);                            \
        __typeof__((want) + 0) test_want = (want);                         \
        bool test_got_neg = TEST_NEGATIVE(test_got);                       \
        bool test_want_neg = TEST_NEGATIVE(test_want);                     \
                                                                           \
        if (!test_compare(test_got_neg, (uint64_t)test_got, #op,           \
                          test_want_neg, (uint64_t)test_want)) {           \
            test_fail_cmp(__FILE__, __LINE__, #got " " #op " " #want,      \
                          test_got_neg, (uint64_t)test_got, test_want_neg, \
                          (uint64_t)test_want);                            \
        }                                                                  \
    } while (0)

/* Written so that no compiler warns about an unsigned x. */
#define TEST_NEGATIVE(x) (!((x) > 0) && (x) != 0)

#define CHECK_PTR(got, want)                                                  \
    do {                                                                      \
        const void *test_got = (got);                                         \
        const void *test_want = (want);                                       \
                                                                              \
        if (test_got != test_want) {                                          \
            test_fail(__FILE__, __LINE__, "%s is %p, not %p", #got, test_got, \
                      test_want);                                             \
        }                                                                     \
    } while (0)

#define CHECK_STR(got, want) test_check_str(__FILE__, __LINE__, #got, got, want)
/* The string contains part. */
#define CHECK_HAS(got, part) test_check_has(__FILE__, __LINE__, #got, got, part)

/* Fail with a message of the test's own. */
#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)

/* End the body: it cannot run here, for this reason. */
#define SKIP(reason) test_skip(__FILE__, __LINE__, reason)

/*
 * expr must panic with exactly this message (which may be a printf format
 * with arguments), and with no lock held beyond those held before.
 */
#define CHECK_PANIC(expr, ...)                                                 \
    do {                                                                       \
        struct kva_posix_catch test_catch;                                     \
                                                                               \
        if (KVA_POSIX_TRY(&test_catch)) {                                      \
            expr;                                                              \
            kva_posix_catch_end(&test_catch);                                  \
            test_fail(__FILE__, __LINE__, "%s does not panic", #expr);         \
        }                                                                      \
        test_check_panic(__FILE__, __LINE__, #expr, &test_catch, __VA_ARGS__); \
    } while (0)

/* ---- behind the macros ------------------------------------------------- */

_Noreturn void test_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void
test_fail_cmp(const char *file, int line, const char *expr, bool got_neg,
              uint64_t got, bool want_neg, uint64_t want);
_Noreturn void test_skip(const char *file, int line, const char *reason);
void test_check_str(const char *file, int line, const char *expr,
                    const char *got, const char *want);
void test_check_has(const char *file, int line, const char *expr,
                    const char *got, const char *part);
void
test_port(const char *file, int line, const struct kva_posix_config *config);
void test_check_panic(const char *file, int line, const char *expr,
                      const struct kva_posix_catch *c, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Compare as integers of any size: -1 is below every unsigned number.  Inline,
 * so that a check in a hot loop costs no more than its comparison. */
static inline bool
test_compare(bool got_neg, uint64_t got, const char *op, bool want_neg,
             uint64_t want)
{
    int order =
        got_neg == want_neg ? (got > want) - (got < want) : (got_neg ? -1 : 1);

    switch (op[0]) {
    case '=':
        return order == 0;
    case '!':
        return order != 0;
    case '<':
        return op[1] == '=' ? order <= 0 : order < 0;
    default:
        return op[1] == '=' ? order >= 0 : order > 0;
    }
}

#endif
