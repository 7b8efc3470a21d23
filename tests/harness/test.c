/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The harness under both drivers: checks, random numbers, and running a body
 * so that a failed check, a skip or a panic ends it and nothing else.
 */
#include "tests/harness/test.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/harness/harness.h"

#define DEFER_MAX 16

struct deferred {
    void (*fn)(void *arg);
    void *arg;
};

/* A body on its way.  The first failure of any thread counts. */
struct test_run {
    sigjmp_buf env;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards report */
    struct test_report *report;
    struct deferred deferred[DEFER_MAX];
    unsigned ndeferred;
};

/* The innermost: tests of the harness itself nest. */
static struct test_run *running;

/* ---- random numbers ---------------------------------------------------- */

uint64_t
test_random(struct test_random *r)
{
    uint64_t z;

    r->state += 0x9e3779b97f4a7c15u;
    z = r->state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Numbers of the last, incomplete round of n are thrown away. */
uint64_t
test_random_below(struct test_random *r, uint64_t n)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    uint64_t x;

    do {
        x = test_random(r);
    } while (x >= limit);
    return x % n;
}

bool
test_random_one_in(struct test_random *r, unsigned n)
{
    return test_random_below(r, n) == 0;
}

uint64_t
test_rand(struct test_ctx *t)
{
    return test_random(&t->random);
}

uint64_t
test_rand_below(struct test_ctx *t, uint64_t n)
{
    return test_random_below(&t->random, n);
}

/* ---- checks ------------------------------------------------------------ */

/* Note the result, unless there is one, and leave the body or the thread. */
static _Noreturn void
end_body(enum test_result result, const char *text)
{
    struct test_run *run = running;

    if (run == NULL) {
        (void)fprintf(stderr, "check outside of a test: %s\n", text);
        abort();
    }
    (void)pthread_mutex_lock(&run->mutex);
    if (run->report->result == TEST_PASSED) {
        run->report->result = result;
        (void)snprintf(run->report->text, sizeof(run->report->text), "%s",
                       text);
    }
    (void)pthread_mutex_unlock(&run->mutex);
    if (!pthread_equal(run->thread, pthread_self())) {
        pthread_exit(NULL);
    }
    siglongjmp(run->env, 1);
}

void
test_fail(const char *file, int line, const char *fmt, ...)
{
    char text[TEST_TEXT_MAX];
    int len = snprintf(text, sizeof(text), "%s:%d: ", file, line);
    va_list ap;

    va_start(ap, fmt);
    if (len > 0 && (size_t)len < sizeof(text)) {
        (void)vsnprintf(text + len, sizeof(text) - (size_t)len, fmt, ap);
    }
    va_end(ap);
    end_body(TEST_FAILED, text);
}

void
test_skip(const char *file, int line, const char *reason)
{
    char text[TEST_TEXT_MAX];

    (void)snprintf(text, sizeof(text), "%s:%d: %s", file, line, reason);
    end_body(TEST_SKIPPED, text);
}

static void
show(char *buf, size_t size, bool negative, uint64_t value)
{
    if (negative) {
        (void)snprintf(buf, size, "-%" PRIu64, 0 - value);
    } else if (value < 4096) {
        (void)snprintf(buf, size, "%" PRIu64, value);
    } else {
        (void)snprintf(buf, size, "%" PRIu64 " (0x%" PRIx64 ")", value, value);
    }
}

void
test_fail_cmp(const char *file, int line, const char *expr, bool got_neg,
              uint64_t got, bool want_neg, uint64_t want)
{
    char a[48], b[48];

    show(a, sizeof(a), got_neg, got);
    show(b, sizeof(b), want_neg, want);
    test_fail(file, line, "%s is false: %s and %s", expr, a, b);
}

void
test_check_str(const char *file, int line, const char *expr, const char *got,
               const char *want)
{
    if (got == NULL || strcmp(got, want) != 0) {
        test_fail(file, line, "%s is \"%s\", not \"%s\"", expr,
                  got == NULL ? "(null)" : got, want);
    }
}

void
test_check_has(const char *file, int line, const char *expr, const char *got,
               const char *part)
{
    if (got == NULL || strstr(got, part) == NULL) {
        test_fail(file, line, "%s is \"%s\", without \"%s\"", expr,
                  got == NULL ? "(null)" : got, part);
    }
}

void
test_check_panic(const char *file, int line, const char *expr,
                 const struct kva_posix_catch *c, const char *fmt, ...)
{
    char want[KVA_MESSAGE_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(want, sizeof(want), fmt, ap);
    va_end(ap);
    if (strcmp(c->message, want) != 0) {
        test_fail(file, line, "%s panics with \"%s\", not \"%s\"", expr,
                  c->message, want);
    }
    if (c->locks != 0) {
        test_fail(file, line, "%s panics with %u locks held, %s innermost",
                  expr, c->locks, c->lock);
    }
}

void
test_port(const char *file, int line, const struct kva_posix_config *config)
{
    if (kva_posix_init(config) != 0) {
        test_fail(file, line, "kva_posix_init: %s", kva_posix_last_error());
    }
}

void
test_defer(struct test_ctx *t, void (*fn)(void *arg), void *arg)
{
    if (t->run->ndeferred == DEFER_MAX) {
        FAIL("more than %d calls of test_defer", DEFER_MAX);
    }
    t->run->deferred[t->run->ndeferred++] = (struct deferred){ fn, arg };
}

/* ---- options ----------------------------------------------------------- */

static const char *const tier_names[] = { "quick", "merge", "long", "least" };

bool
test_tier_parse(const char *s, enum test_tier *tier)
{
    for (unsigned i = 0; i < KVA_COUNT(tier_names); i++) {
        if (strcmp(s, tier_names[i]) == 0) {
            *tier = (enum test_tier)i;
            return true;
        }
    }
    return false;
}

const char *
test_tier_name(enum test_tier tier)
{
    return tier_names[tier];
}

bool
test_number_parse(const char *s, uint64_t *number)
{
    char *end;

    if (s[0] < '0' || s[0] > '9') {
        return false;
    }
    *number = strtoull(s, &end, 0);
    return *end == '\0';
}

static uint64_t
seed_from_clock(void)
{
    struct timespec ts;
    struct test_random r;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    r.state = ((uint64_t)ts.tv_sec << 30) ^ (uint64_t)ts.tv_nsec ^
              ((uint64_t)getpid() << 44);
    return test_random(&r) >> 16; /* short enough to type */
}

bool
test_options_init(struct test_options *o)
{
    const char *tier = getenv("KVA_TEST_TIER");
    const char *seed = getenv("KVA_TEST_SEED");
    const char *count = getenv("KVA_TEST_COUNT");
    uint64_t n = 0;

    *o = (struct test_options){ .tier = TEST_QUICK };
    o->seed = seed_from_clock();
    if (tier != NULL && !test_tier_parse(tier, &o->tier)) {
        (void)fprintf(stderr,
                      "KVA_TEST_TIER=%s: not least, quick, merge or long\n",
                      tier);
        return false;
    }
    if (seed != NULL && !test_number_parse(seed, &o->seed)) {
        (void)fprintf(stderr, "KVA_TEST_SEED=%s: not a number\n", seed);
        return false;
    }
    if (count != NULL && !test_number_parse(count, &n)) {
        (void)fprintf(stderr, "KVA_TEST_COUNT=%s: not a number\n", count);
        return false;
    }
    o->count = (unsigned long)n;
    return true;
}

unsigned long
test_count(const struct test *test, const struct test_options *o)
{
    const unsigned long tier_count[] = {
        test->count_quick, test->count_merge, test->count_long,
        test->count_least != 0 ? test->count_least : test->count_quick
    };

    return o->count != 0 ? o->count : tier_count[o->tier];
}

bool
test_matches(const struct test *test, const char *pattern)
{
    size_t len = strlen(test->suite);

    if (strncmp(pattern, test->suite, len) != 0) {
        return false;
    }
    return pattern[len] == '\0' ||
           (pattern[len] == '/' && strcmp(pattern + len + 1, test->name) == 0);
}

const struct test *
test_at(size_t number)
{
    for (size_t i = 0; test_tables[i] != NULL; i++) {
        const struct test *row = test_tables[i];

        for (; row->suite != NULL; row++) {
            if (number-- == 0) {
                return row;
            }
        }
    }
    return NULL;
}

void
test_replay(char *buf, size_t size, const char *program,
            const struct test *test, const struct test_options *o)
{
    char count[40] = "";

    if (o->count != 0) {
        (void)snprintf(count, sizeof(count), "--count %lu ", o->count);
    }
    (void)snprintf(buf, size, "%s --tier %s --seed 0x%" PRIx64 " %s%s/%s",
                   program, test_tier_name(o->tier), o->seed, count,
                   test->suite, test->name);
}

/* ---- running ----------------------------------------------------------- */

/* The seed of a test depends on its name and not on which others run: FNV-1a
 * over both. */
static uint64_t
test_seed(const struct test *test, uint64_t seed)
{
    const char *part[] = { test->suite, "/", test->name };
    uint64_t h = 0xcbf29ce484222325u ^ seed;

    for (unsigned i = 0; i < KVA_COUNT(part); i++) {
        for (const char *s = part[i]; *s != '\0'; s++) {
            h = (h ^ (unsigned char)*s) * 0x100000001b3u;
        }
    }
    return h;
}

/* A panic that the body did not expect fails it. */
static void
run_body(struct test_run *run, struct test_ctx *t)
{
    struct kva_posix_catch c;

    if (KVA_POSIX_TRY(&c)) {
        if (sigsetjmp(run->env, 1) == 0) {
            t->test->body(t);
        }
        kva_posix_catch_end(&c);
    } else if (run->report->result == TEST_PASSED) {
        run->report->result = TEST_FAILED;
        (void)snprintf(run->report->text, sizeof(run->report->text),
                       "panic: %s", c.message);
    }
}

void
test_run(const struct test *test, const struct test_options *o,
         struct test_report *report)
{
    struct test_run run = { .report = report, .ndeferred = 0 };
    struct test_ctx t = { .test = test,
                          .count = test_count(test, o),
                          .seed = test_seed(test, o->seed),
                          .run = &run };
    struct test_run *outer = running;

    t.random.state = t.seed;
    run.thread = pthread_self();
    (void)pthread_mutex_init(&run.mutex, NULL);
    *report = (struct test_report){ .result = TEST_PASSED };
    running = &run;
    run_body(&run, &t);
    while (run.ndeferred > 0) {
        const struct deferred *d = &run.deferred[--run.ndeferred];

        d->fn(d->arg);
    }
    running = outer;
    kva_posix_reset();
    kva_posix_fini();
    (void)pthread_mutex_destroy(&run.mutex);
}
