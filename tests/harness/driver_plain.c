/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The plain driver: a main() that runs the tables.  Each test is a forked
 * process, so that one that crashes or hangs takes no other with it; the
 * child sends its report through a pipe.  It needs nothing but libc, and so
 * serves ThreadSanitizer, MemorySanitizer, Valgrind and 32 bits, where
 * Criterion cannot go.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/harness/harness.h"

static const char usage[] =
    "usage: %s [options] [SUITE | SUITE/TEST]...\n"
    "Run the tests named, or all of this program.\n"
    "  --list          list them and their counts\n"
    "  --suite SUITE   as naming SUITE\n"
    "  --threads       only those with counts in which threads meet\n"
    "  --tier TIER     least, quick, merge or long (KVA_TEST_TIER; quick)\n"
    "  --seed N        of all random numbers (KVA_TEST_SEED; the clock)\n"
    "  --count N       repeat each test N times (KVA_TEST_COUNT; by tier)\n"
    "  --json FILE     write the results there\n"
    "  --timeout S     end a test after S seconds (0: never; 300, 900, 0)\n"
    "  --no-fork       run them in this process, for a debugger\n"
    "  --times         say at the end which took the most processor time\n"
    "  --verbose       a line for each test that passes, too\n";

/* Seconds a test took; of the processors, 0 with --no-fork. */
struct took {
    double wall, cpu;
};

#define SLOWEST 12u

struct driver {
    struct test_options options;
    const char *program;
    const char **pattern; /* into argv */
    size_t npatterns;
    const char *json_path;
    FILE *json;
    bool list, threads, no_fork, verbose, times, timeout_set;
    unsigned timeout;
    unsigned long passed, failed, skipped;
    double cpu; /* of all tests */
    struct {    /* the slowest, in order */
        const struct test *test;
        struct took took;
    } slow[SLOWEST];
    unsigned nslow;
};

/* ---- options ----------------------------------------------------------- */

static _Noreturn void
usage_exit(const struct driver *d, const char *what, const char *value)
{
    (void)fprintf(stderr, "%s: %s%s%s\n", d->program, what,
                  value == NULL ? "" : ": ", value == NULL ? "" : value);
    (void)fprintf(stderr, usage, d->program);
    exit(1);
}

/* Options with a value; false: not one of them. */
static bool
value_option(struct driver *d, const char *name, const char *value)
{
    uint64_t n = 0;
    bool number = value != NULL && test_number_parse(value, &n);
    bool good = true;

    if (strcmp(name, "--suite") == 0) {
        good = value != NULL;
        d->pattern[d->npatterns++] = value;
    } else if (strcmp(name, "--json") == 0) {
        good = value != NULL;
        d->json_path = value;
    } else if (strcmp(name, "--tier") == 0) {
        good = value != NULL && test_tier_parse(value, &d->options.tier);
    } else if (strcmp(name, "--seed") == 0) {
        good = number;
        d->options.seed = n;
    } else if (strcmp(name, "--count") == 0) {
        good = number && n != 0 && n <= (unsigned long)-1;
        d->options.count = (unsigned long)n;
    } else if (strcmp(name, "--timeout") == 0) {
        good = number && n <= (unsigned)-1;
        d->timeout = (unsigned)n;
        d->timeout_set = true;
    } else {
        return false;
    }
    if (!good) {
        usage_exit(d, name, value == NULL ? "value missing" : value);
    }
    return true;
}

static void
options(struct driver *d, int argc, char **argv)
{
    static const unsigned timeouts[] = { 300, 900, 0, 600 };

    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];

        if (strcmp(a, "--help") == 0) {
            (void)printf(usage, d->program);
            exit(0);
        } else if (strcmp(a, "--list") == 0) {
            d->list = true;
        } else if (strcmp(a, "--threads") == 0) {
            d->threads = true;
        } else if (strcmp(a, "--no-fork") == 0) {
            d->no_fork = true;
        } else if (strcmp(a, "--times") == 0) {
            d->times = true;
        } else if (strcmp(a, "--verbose") == 0) {
            d->verbose = true;
        } else if (a[0] != '-') {
            d->pattern[d->npatterns++] = a;
        } else if (value_option(d, a, argv[i + 1])) {
            i++;
        } else {
            usage_exit(d, "unknown option", a);
        }
    }
    if (!d->timeout_set) {
        d->timeout = timeouts[d->options.tier];
    }
}

/* ---- selection --------------------------------------------------------- */

static bool
selected(const struct driver *d, const struct test *test)
{
    bool named = d->npatterns == 0;

    for (size_t i = 0; i < d->npatterns; i++) {
        named = named || test_matches(test, d->pattern[i]);
    }
    return named && (test->threads || !d->threads) &&
           test_count(test, &d->options) != 0;
}

/* A name that no row has is an error, not an empty success. */
static void
check_patterns(const struct driver *d)
{
    for (size_t i = 0; i < d->npatterns; i++) {
        const struct test *test;
        bool found = false;

        for (size_t n = 0; (test = test_at(n)) != NULL; n++) {
            found = found || test_matches(test, d->pattern[i]);
        }
        if (!found) {
            (void)fprintf(stderr, "%s: no suite or test %s (see --list)\n",
                          d->program, d->pattern[i]);
            exit(1);
        }
    }
}

static void
list(const struct driver *d)
{
    const struct test *test;

    for (size_t n = 0; (test = test_at(n)) != NULL; n++) {
        if (selected(d, test)) {
            (void)printf("%s/%s %lu %lu %lu\n", test->suite, test->name,
                         test->count_quick, test->count_merge,
                         test->count_long);
        }
    }
}

/* ---- one test ---------------------------------------------------------- */

static void
child(const struct driver *d, const struct test *test, int fd)
{
    struct test_report report;
    const char *at = (const char *)&report;
    size_t left = sizeof(report);

    (void)alarm(d->timeout);
    test_run(test, &d->options, &report);
    (void)alarm(0);
    while (left > 0) {
        ssize_t n = write(fd, at, left);

        if (n < 0 && errno != EINTR) {
            break;
        }
        at += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    (void)close(fd);
    exit(0); /* with the handlers: leak check, coverage */
}

static bool
read_report(int fd, struct test_report *report)
{
    char *at = (char *)report;
    size_t left = sizeof(*report);

    while (left > 0) {
        ssize_t n = read(fd, at, left);

        if (n == 0 || (n < 0 && errno != EINTR)) {
            return false;
        }
        at += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

static void
failed(struct test_report *report, const char *what, int number,
       const char *name)
{
    report->result = TEST_FAILED;
    (void)snprintf(report->text, sizeof(report->text), "%s %d%s%s%s", what,
                   number, *name != '\0' ? " (" : "", name,
                   *name != '\0' ? ")" : "");
}

static void
run_forked(const struct driver *d, const struct test *test,
           struct test_report *report)
{
    int fd[2], status = 0;
    bool got;
    pid_t pid;

    (void)fflush(NULL);
    if (pipe(fd) != 0 || (pid = fork()) < 0) {
        failed(report, "no process: error", errno, "");
        return;
    }
    if (pid == 0) {
        (void)close(fd[0]);
        child(d, test, fd[1]);
    }
    (void)close(fd[1]);
    got = read_report(fd[0], report);
    (void)close(fd[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
        failed(report, "killed by signal", WTERMSIG(status),
               WTERMSIG(status) == SIGALRM ? "timed out"
                                           : strsignal(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) != 0 &&
               (!got || report->result != TEST_FAILED)) {
        failed(report, "exit status", WEXITSTATUS(status),
               "a sanitizer's report?");
    } else if (!got) {
        failed(report, "ended without a report, exit status", 0, "");
    }
}

/* ---- results ----------------------------------------------------------- */

static void
json_string(FILE *f, const char *s)
{
    (void)fputc('"', f);
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\') {
            (void)fprintf(f, "\\%c", *s);
        } else if ((unsigned char)*s < ' ') {
            (void)fprintf(f, "\\u%04x", (unsigned)*s);
        } else {
            (void)fputc(*s, f);
        }
    }
    (void)fputc('"', f);
}

static void
json_result(struct driver *d, const struct test *test,
            const struct test_report *report, const struct took *took)
{
    static const char *const names[] = { "passed", "failed", "skipped" };
    bool first = d->passed + d->failed + d->skipped == 1;

    (void)fprintf(d->json, "%s{\"suite\": ", first ? "" : ",\n ");
    json_string(d->json, test->suite);
    (void)fprintf(d->json, ", \"test\": ");
    json_string(d->json, test->name);
    (void)fprintf(d->json,
                  ", \"result\": \"%s\", \"count\": %lu, \"seed\": "
                  "\"0x%" PRIx64 "\", \"seconds\": %.3f, \"cpu\": %.3f, "
                  "\"text\": ",
                  names[report->result], test_count(test, &d->options),
                  d->options.seed, took->wall, took->cpu);
    json_string(d->json, report->text);
    (void)fprintf(d->json, "}");
}

static void
result(struct driver *d, const struct test *test,
       const struct test_report *report, const struct took *took)
{
    char replay[512];

    switch (report->result) {
    case TEST_PASSED:
        d->passed++;
        if (d->verbose) {
            (void)printf("ok   %s/%s %.3f s\n", test->suite, test->name,
                         took->wall);
        }
        break;
    case TEST_SKIPPED:
        d->skipped++;
        (void)printf("SKIP %s/%s: %s\n", test->suite, test->name, report->text);
        break;
    default:
        d->failed++;
        test_replay(replay, sizeof(replay), d->program, test, &d->options);
        (void)printf("FAIL %s/%s: %s\n     again: %s\n", test->suite,
                     test->name, report->text, replay);
    }
    if (d->json != NULL) {
        json_result(d, test, report, took);
    }
}

/* Remember it, if it is among the slowest so far. */
static void
times_add(struct driver *d, const struct test *test, const struct took *took)
{
    unsigned i;

    d->cpu += took->cpu;
    for (i = d->nslow; i > 0 && d->slow[i - 1].took.cpu < took->cpu; i--) {
        if (i < SLOWEST) {
            d->slow[i] = d->slow[i - 1];
        }
    }
    if (i < SLOWEST) {
        d->slow[i].test = test;
        d->slow[i].took = *took;
        d->nslow += d->nslow < SLOWEST ? 1 : 0;
    }
}

static void
times_print(const struct driver *d)
{
    (void)printf("%.1f s of the processors, most of it:\n", d->cpu);
    for (unsigned i = 0; i < d->nslow; i++) {
        (void)printf("  %7.2f s %s/%s\n", d->slow[i].took.cpu,
                     d->slow[i].test->suite, d->slow[i].test->name);
    }
}

static double
now(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Of all processors, for the processes that have ended. */
static double
cpu_now(void)
{
    struct rusage u;

    (void)getrusage(RUSAGE_CHILDREN, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void
run_all(struct driver *d)
{
    const struct test *test;

    for (size_t n = 0; (test = test_at(n)) != NULL; n++) {
        struct test_report report = { .result = TEST_PASSED };
        struct took took = { now(), cpu_now() };

        if (!selected(d, test)) {
            continue;
        }
        if (d->no_fork) {
            test_run(test, &d->options, &report);
        } else {
            run_forked(d, test, &report);
        }
        took.wall = now() - took.wall;
        took.cpu = cpu_now() - took.cpu;
        result(d, test, &report, &took);
        times_add(d, test, &took);
    }
}

static void
json_open(struct driver *d)
{
    if (d->json_path == NULL) {
        return;
    }
    d->json = fopen(d->json_path, "w");
    if (d->json == NULL) {
        (void)fprintf(stderr, "%s: %s: %s\n", d->program, d->json_path,
                      strerror(errno));
        exit(1);
    }
    (void)fprintf(d->json, "[");
}

static bool
json_close(struct driver *d)
{
    if (d->json == NULL) {
        return true;
    }
    (void)fprintf(d->json, "]\n");
    if ((ferror(d->json) | fclose(d->json)) != 0) {
        (void)fprintf(stderr, "%s: %s: cannot be written\n", d->program,
                      d->json_path);
        return false;
    }
    return true;
}

int
main(int argc, char **argv)
{
    struct driver d = { .program = argv[0] };
    bool written;

    d.pattern = calloc((size_t)argc + 1, sizeof(*d.pattern));
    if (d.pattern == NULL || !test_options_init(&d.options)) {
        return 1;
    }
    options(&d, argc, argv);
    check_patterns(&d);
    if (d.list) {
        list(&d);
        free(d.pattern);
        return 0;
    }
    (void)printf("seed 0x%" PRIx64 ", tier %s\n", d.options.seed,
                 test_tier_name(d.options.tier));
    json_open(&d);
    run_all(&d);
    written = json_close(&d);
    if (d.times) {
        times_print(&d);
    }
    (void)printf("%lu passed, %lu failed", d.passed, d.failed);
    if (d.skipped != 0) {
        (void)printf(", %lu skipped", d.skipped);
    }
    (void)printf("\n");
    free(d.pattern);
    return d.failed == 0 && written ? 0 : 1;
}
