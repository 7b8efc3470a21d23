/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The Criterion driver: every row of the tables becomes a test of its own in
 * Criterion's list, with its suite and name, run in a process of its own and
 * several at a time.  Which rows, how often and with which seed is settled
 * before the processes start, and reaches them through the environment.
 *
 * Options are Criterion's (--help), and --suite NAME, where NAME is a suite or
 * suite/test; it may be given several times.  The tier, the seed and the count
 * come from KVA_TEST_TIER, KVA_TEST_SEED and KVA_TEST_COUNT.
 */
#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness/harness.h"

/* What Criterion keeps of a row until the process ends. */
struct row {
    struct criterion_test test;
    struct criterion_test_extra_data data;
    char identifier[128];
    struct row *next;
};

static struct row *rows;
static bool in_body;

static const struct test *
row_find(const char *suite, const char *name)
{
    const struct test *test;

    for (size_t n = 0; (test = test_at(n)) != NULL; n++) {
        if (strcmp(test->suite, suite) == 0 && strcmp(test->name, name) == 0) {
            return test;
        }
    }
    return NULL;
}

/* Criterion takes a body that calls exit(0) for one that passed. */
static void
on_exit_in_body(void)
{
    if (in_body) {
        _exit(99);
    }
}

/* The body of all tests; Criterion says which one it is. */
static void
run_row(void)
{
    const struct test *test = row_find(criterion_current_test->category,
                                       criterion_current_test->name);
    struct test_report report;
    struct test_options o;

    if (test == NULL || !test_options_init(&o)) {
        cr_assert_fail("no row of the tables, or bad KVA_TEST_ variables");
    }
    in_body = true;
    (void)atexit(on_exit_in_body);
    test_run(test, &o, &report);
    in_body = false;
    if (report.result == TEST_SKIPPED) {
        cr_skip_test("%s", report.text);
    } else if (report.result == TEST_FAILED) {
        cr_assert_fail("%s", report.text);
    }
}

static void
run_row_in_criterion(void)
{
    criterion_internal_test_setup();
    criterion_internal_test_main(run_row);
    criterion_internal_test_teardown();
}

static void
row_register(struct criterion_test_set *set, const struct test *test,
             enum test_tier tier)
{
    static const double timeouts[] = { 300, 900, 0, 600 };
    struct row *row = calloc(1, sizeof(*row));
    struct criterion_test *t;
    struct criterion_test_extra_data *data;

    if (row == NULL) {
        (void)fprintf(stderr, "out of memory\n");
        exit(1);
    }
    row->next = rows;
    rows = row;
    t = &row->test;
    data = &row->data;
    (void)snprintf(row->identifier, sizeof(row->identifier), "%s/%s",
                   test->suite, test->name);
    data->lang_ = CR_LANG_C;
    data->kind_ = CR_TEST_NORMAL;
    data->identifier_ = row->identifier;
    data->file_ = test->suite;
    data->timeout = timeouts[tier];
    t->name = test->name;
    t->category = test->suite;
    t->test = run_row_in_criterion;
    t->data = data;
    criterion_register_test(set, t);
}

/* Why a test failed, in words. */
static void
reason(const struct criterion_test_stats *t, char *buf, size_t size)
{
    const struct criterion_assert_stats *a = t->asserts;

    while (a != NULL && a->passed) {
        a = a->next;
    }
    if (t->timed_out) {
        (void)snprintf(buf, size, "timed out after %.0f s",
                       t->test->data->timeout);
    } else if (a != NULL) {
        (void)snprintf(buf, size, "%s", a->message);
    } else if (t->signal != 0) {
        (void)snprintf(buf, size, "killed by signal %d (%s)", t->signal,
                       strsignal(t->signal));
    } else {
        (void)snprintf(buf, size, "exit status %d (a sanitizer's report?)",
                       t->exit_code);
    }
}

/* The plain driver's program, which has the same tests. */
static char plain[256];

static void
plain_name(const char *program)
{
    static const char ending[] = "-criterion";
    size_t n = strlen(program), cut = sizeof(ending) - 1;

    if (n > cut && strcmp(program + n - cut, ending) == 0) {
        n -= cut;
    }
    (void)snprintf(plain, sizeof(plain), "%.*s", (int)n, program);
}

/* As the plain driver says it.  Criterion has said it too, but in its own way
 * and among all that other tests print. */
static void
print_failure(const struct criterion_test_stats *t)
{
    const struct test *test = row_find(t->test->category, t->test->name);
    char why[TEST_TEXT_MAX], replay[512];
    struct test_options o;

    if (test != NULL && test_options_init(&o)) {
        reason(t, why, sizeof(why));
        test_replay(replay, sizeof(replay), plain, test, &o);
        (void)printf("FAIL %s/%s: %s\n     again: %s\n", test->suite,
                     test->name, why, replay);
    }
}

/* Criterion owns the counts and drops them before it returns. */
static size_t passed, failed, skipped;

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
    (void)fflush(stderr);
    for (const struct criterion_suite_stats *s = stats->suites; s != NULL;
         s = s->next) {
        for (const struct criterion_test_stats *t = s->tests; t != NULL;
             t = t->next) {
            if (t->test_status == CR_STATUS_FAILED || t->crashed ||
                t->timed_out) {
                print_failure(t);
            }
        }
    }
    passed = stats->tests_passed;
    failed = stats->tests_failed; /* those that crashed among them */
    skipped = stats->tests_skipped;
}

static void
print_counts(void)
{
    (void)fflush(stderr);
    (void)printf("%zu passed, %zu failed", passed, failed);
    if (skipped != 0) {
        (void)printf(", %zu skipped", skipped);
    }
    (void)printf("\n");
}

/* Take the --suite options out of argv; how many there are.  pattern has room
 * for all of argv. */
static size_t
take_patterns(int *argc, char **argv, const char **pattern)
{
    size_t npatterns = 0;
    int kept = 1;

    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--suite") != 0) {
            argv[kept++] = argv[i];
        } else if (i + 1 < *argc) {
            pattern[npatterns++] = argv[++i];
        } else {
            (void)fprintf(stderr, "%s: --suite: value missing\n", argv[0]);
            exit(1);
        }
    }
    argv[kept] = NULL;
    *argc = kept;
    return npatterns;
}

/* Register the rows of the tier that match; a pattern without any row is an
 * error. */
static void
register_all(struct criterion_test_set *set, const struct test_options *o,
             const char **pattern, size_t npatterns)
{
    const struct test *test;
    size_t k = 0;

    do {
        bool found = npatterns == 0;

        for (size_t n = 0; (test = test_at(n)) != NULL; n++) {
            if (npatterns != 0 && !test_matches(test, pattern[k])) {
                continue;
            }
            found = true;
            if (test_count(test, o) != 0) {
                row_register(set, test, o->tier);
            }
        }
        if (!found) {
            (void)fprintf(stderr, "no suite or test %s\n", pattern[k]);
            exit(1);
        }
    } while (++k < npatterns);
}

int
main(int argc, char **argv)
{
    struct criterion_test_set *set = criterion_initialize();
    const char **pattern = calloc((size_t)argc + 1, sizeof(*pattern));
    struct test_options o;
    char seed[24];
    size_t npatterns;
    int good = 1;

    if (pattern == NULL || !test_options_init(&o)) {
        return 1;
    }
    (void)snprintf(seed, sizeof(seed), "0x%" PRIx64, o.seed);
    (void)setenv("KVA_TEST_SEED", seed, 1);
    plain_name(argv[0]);
    npatterns = take_patterns(&argc, argv, pattern);
    register_all(set, &o, pattern, npatterns);
    if (criterion_handle_args(argc, argv, true) != 0) {
        (void)printf("seed %s, tier %s\n", seed, test_tier_name(o.tier));
        (void)fflush(stdout);
        good = criterion_run_all_tests(set);
        print_counts();
    }
    criterion_finalize(set);
    while (rows != NULL) {
        struct row *row = rows;

        rows = row->next;
        free(row);
    }
    free(pattern);
    return good != 0 ? 0 : 1;
}
