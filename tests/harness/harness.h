/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the drivers share: options, the selection of rows, and running one
 * body in this process.
 */
#ifndef TESTS_HARNESS_H
#define TESTS_HARNESS_H

#include "tests/harness/test.h"

enum test_tier {
    TEST_QUICK,
    TEST_MERGE,
    TEST_LONG,
    TEST_LEAST_OF_ALL
};

enum test_result {
    TEST_PASSED,
    TEST_FAILED,
    TEST_SKIPPED
};

#define TEST_TEXT_MAX 1024

struct test_report {
    enum test_result result;
    char text[TEST_TEXT_MAX]; /* FILE:LINE: why; "" if passed */
};

struct test_options {
    enum test_tier tier;
    uint64_t seed;
    unsigned long count; /* 0: the tier's */
};

/*
 * Defaults: tier quick, a seed from the clock; then KVA_TEST_TIER,
 * KVA_TEST_SEED and KVA_TEST_COUNT.  False: a value is not understood, and
 * stderr says which.
 */
bool test_options_init(struct test_options *o);
bool test_tier_parse(const char *s, enum test_tier *tier);
const char *test_tier_name(enum test_tier tier);
/* Decimal or 0x...; false: not a number. */
bool test_number_parse(const char *s, uint64_t *number);

/* How often the test repeats; 0: not part of this tier. */
unsigned long test_count(const struct test *test, const struct test_options *o);

/* pattern is a suite, or suite/name. */
bool test_matches(const struct test *test, const char *pattern);

/* The row with this number over all tables; NULL behind the last. */
const struct test *test_at(size_t number);

/* Run one body here; the port is stopped behind it. */
void test_run(const struct test *test, const struct test_options *o,
              struct test_report *report);

/* The command that repeats the test. */
void test_replay(char *buf, size_t size, const char *program,
                 const struct test *test, const struct test_options *o);

#endif
