/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pressure on the host: files of pressure stall information, and the eventfd.
 *
 * Claims: a file that is in the format is read to the digit, whatever else is in
 * it; one that is not is refused, and the message names file, byte and reason,
 * wherever it is cut; a file that is replaced while it is read gives the old
 * values, the new ones or an error, and an error leaves the level as it is;
 * levels go through every transition by a file alone, an event each on the
 * eventfd; and Linux takes a trigger.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "port/posix/pressure.h"
#include "tests/harness/test.h"

#define SECOND ((uint64_t)1000000000u)
#define LIVE "/proc/pressure/memory"

static int
parse(const char *text, struct kva_posix_psi *psi)
{
    size_t len = strlen(text);
    char *exact = malloc(len + 1); /* so that a byte too far is seen */
    int err;

    CHECK(exact != NULL);
    memcpy(exact + 1, text, len);
    err = kva_posix_psi_parse("f", exact + 1, len, psi);
    free(exact);
    return err;
}

static void
check_line(const struct kva_posix_psi_line *line, unsigned avg10,
           unsigned avg60, unsigned avg300, uint64_t total)
{
    CHECK(line->there);
    CHECK_EQ(line->avg10, avg10);
    CHECK_EQ(line->avg60, avg60);
    CHECK_EQ(line->avg300, avg300);
    CHECK_EQ(line->total, total);
}

/* ---- text --------------------------------------------------------------- */

#define ZERO "avg10=0.00 avg60=0.00 avg300=0.00 total=0"

static void
good_text(struct test_ctx *t)
{
    struct kva_posix_psi psi;

    (void)t;
    CHECK_EQ(parse("some avg10=0.00 avg60=1.05 avg300=99.99 total=0\n"
                   "full avg10=100.00 avg60=0.50 avg300=10.00 "
                   "total=18446744073709551615\n",
                   &psi),
             0);
    check_line(&psi.some, 0, 105, 9999, 0);
    check_line(&psi.full, 10000, 50, 1000, UINT64_MAX);
    CHECK_EQ(parse("some " ZERO "\n", &psi), 0); /* as of old kernels' */
    CHECK(psi.some.there && !psi.full.there);
    CHECK_EQ(parse("full " ZERO "\nsome " ZERO "\n", &psi), 0);
    CHECK_EQ(parse("some total=7 avg300=3.00 avg60=2.00 avg10=1.00\n", &psi),
             0);
    check_line(&psi.some, 100, 200, 300, 7);
    /* What may come to it. */
    CHECK_EQ(
        parse("some " ZERO " avg900=x.1 peak=1\nmost avg10=y\nnone\n", &psi),
        0);
    check_line(&psi.some, 0, 0, 0, 0);
}

static void
bad_text(struct test_ctx *t)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        { "", "f, byte 0: expected a name, found the end" },
        { "\n", "f, byte 0: expected a name, found the end of the line" },
        { "some", "f, byte 4: expected avg10, found the end" },
        { "some\n", "f, byte 4: expected avg10, found the end of the line" },
        { "Some", "f, byte 0: expected a name, found 'S'" },
        { "some avg10", "f, byte 10: expected a '=', found the end" },
        { "some avg10=", "f, byte 11: expected a digit, found the end" },
        { "some avg10=x", "f, byte 11: expected a digit, found 'x'" },
        { "some avg10=-1.00", "f, byte 11: expected a digit, found '-'" },
        { "some avg10=1", "f, byte 12: expected a '.', found the end" },
        { "some avg10=1,00", "f, byte 12: expected a '.', found ','" },
        { "some avg10=1.0 ",
          "f, byte 14: expected two digits behind the '.', found ' '" },
        { "some avg10=1.000", "f, byte 15: expected avg60, found '0'" },
        { "some avg10=100.01",
          "f, byte 11: expected at most 100.00, found more" },
        { "some avg10=101.00", "f, byte 11: expected at most 100, found more" },
        { "some avg10=99999999999999999999999999.00",
          "f, byte 11: expected at most 100, found more" },
        { "some avg10=0.00  avg60=0.00",
          "f, byte 16: expected a name, found ' '" },
        { "some avg10=0.00\tavg60=0.00",
          "f, byte 15: expected avg60, found 0x9" },
        { "some avg10=0.00 avg10=0.00",
          "f, byte 16: expected avg10 once, found it twice" },
        { "some avg10=0.00 avg60=0.00 total=0\n",
          "f, byte 34: expected avg300, found the end of the line" },
        { "some avg10=0.00 avg60=0.00 avg300=0.00 "
          "total=18446744073709551616\n",
          "f, byte 45: expected at most 18446744073709551615, found more" },
        { "some avg10=0.00 avg60=0.00 avg300=0.00 total=1e9\n",
          "f, byte 46: expected a blank or a newline, found 'e'" },
        { "some " ZERO, "f, byte 46: expected a blank or a newline, found the "
                        "end" },
        { "some " ZERO "\r\n", "f, byte 46: expected a blank or a newline, "
                               "found 0xd" },
        { "full " ZERO "\n",
          "f, byte 47: expected a line some, found the end" },
        { "some " ZERO "\nsome " ZERO "\n",
          "f, byte 47: expected another line than before, found 's'" },
        { "some " ZERO "\n\xff", "f, byte 47: expected a name, found 0xff" },
    };
    struct kva_posix_psi psi, was;

    (void)t;
    memset(&psi, 0x5a, sizeof(psi));
    was = psi;
    for (size_t i = 0; i < KVA_COUNT(cases); i++) {
        CHECK_EQ(parse(cases[i].text, &psi), KVA_EINVAL);
        CHECK_STR(kva_posix_last_error(), cases[i].why);
        CHECK_EQ(memcmp(&psi, &was, sizeof(psi)), 0);
    }
}

static int
print_line(char *buf, size_t size, const char *name,
           const struct kva_posix_psi_line *l)
{
    return snprintf(buf, size,
                    "%s avg10=%u.%02u avg60=%u.%02u avg300=%u.%02u "
                    "total=%llu\n",
                    name, l->avg10 / 100, l->avg10 % 100, l->avg60 / 100,
                    l->avg60 % 100, l->avg300 / 100, l->avg300 % 100,
                    (unsigned long long)l->total);
}

static struct kva_posix_psi_line
random_line(struct test_ctx *t)
{
    return (struct kva_posix_psi_line){
        .there = true,
        .avg10 = (unsigned)test_rand_below(t, 10001),
        .avg60 = (unsigned)test_rand_below(t, 10001),
        .avg300 = (unsigned)test_rand_below(t, 10001),
        .total = test_rand(t) >> test_rand_below(t, 64),
    };
}

/* As Linux prints it: read to the digit, cut refused at the cut, damaged
 * refused or within bounds. */
static void
any_text(struct test_ctx *t)
{
    char text[256], why[64];

    for (unsigned long n = 0; n < t->count; n++) {
        struct kva_posix_psi_line some = random_line(t), full = random_line(t);
        struct kva_posix_psi psi;
        size_t first, len, cut;
        char *hit;

        first = (size_t)print_line(text, sizeof(text), "some", &some);
        len = first + (size_t)print_line(text + first, sizeof(text) - first,
                                         "full", &full);
        CHECK_EQ(parse(text, &psi), 0);
        check_line(&psi.some, some.avg10, some.avg60, some.avg300, some.total);
        check_line(&psi.full, full.avg10, full.avg60, full.avg300, full.total);
        hit = &text[test_rand_below(t, len)];
        *hit = (char)(1 + test_rand_below(t, 255));
        if (parse(text, &psi) == 0) {
            CHECK_LE(psi.some.avg10, 10000);
            CHECK_LE(psi.some.avg60, 10000);
            CHECK_LE(psi.some.avg300, 10000);
        }
        (void)print_line(text, sizeof(text), "some", &some);
        (void)print_line(text + first, sizeof(text) - first, "full", &full);
        cut = (size_t)test_rand_below(t, len);
        text[cut] = '\0';
        CHECK_EQ(parse(text, &psi), cut == first ? 0 : KVA_EINVAL);
        if (cut != first) {
            (void)snprintf(why, sizeof(why), "f, byte %zu: expected ", cut);
            CHECK_HAS(kva_posix_last_error(), why);
            CHECK_HAS(kva_posix_last_error(), "found the end");
        }
    }
}

/* ---- files -------------------------------------------------------------- */

/* A file of this test's own, and another one beside it. */
static char path[] = P_tmpdir "/kva-pressure-XXXXXX";
static char path_next[sizeof(path) + 5];

static void
files_remove(void *arg)
{
    (void)arg;
    (void)unlink(path);
    (void)unlink(path_next);
}

static void
put(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    CHECK_EQ(close(fd), 0);
}

static void
put_share(const char *name, unsigned share)
{
    const struct kva_posix_psi_line some = { .avg10 = share, .total = share },
                                    full = { .avg10 = share / 2 };
    char text[256];
    int first = print_line(text, sizeof(text), "some", &some);

    (void)print_line(text + first, sizeof(text) - (size_t)first, "full", &full);
    put(name, text);
}

/* In place of what is there, in one step. */
static void
replace_share(unsigned share)
{
    put_share(path_next, share);
    CHECK_EQ(rename(path_next, path), 0);
}

static void
files_begin(struct test_ctx *t)
{
    int fd = mkstemp(path);

    test_defer(t, files_remove, NULL);
    CHECK(fd >= 0);
    CHECK_EQ(close(fd), 0);
    (void)snprintf(path_next, sizeof(path_next), "%s-next", path);
}

static const struct kva_posix_pressure_source source = { .path = path };

static void
complains(const char *name, int err, const char *fmt)
{
    const struct kva_posix_pressure_source s = { .path = name };
    char why[160];

    (void)snprintf(why, sizeof(why), fmt, name);
    CHECK_EQ(kva_posix_pressure_look(&s), err);
    CHECK_STR(kva_posix_last_error(), why);
}

static void
bad_files(struct test_ctx *t)
{
    char longer[KVA_POSIX_PSI_MAX + 2];
    const struct kva_posix_pressure_source full = { .path = path,
                                                    .full = true };

    files_begin(t);
    put_share(path, 2500);
    CHECK_EQ(kva_posix_pressure_look(&source), 0);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_MEDIUM);
    complains("no/such/file", KVA_ENOENT,
              "%s: open: No such file or directory");
    complains("/", KVA_EINVAL, "%s, byte 0: read: Is a directory");
    complains("/dev/zero", KVA_EINVAL,
              "%s, byte 1024: expected the end, found more");
    put(path, "");
    complains(path, KVA_EINVAL, "%s, byte 0: expected a name, found the end");
    put(path, "some " ZERO);
    complains(path, KVA_EINVAL,
              "%s, byte 46: expected a blank or a newline, found the end");
    put(path, "some " ZERO "\n");
    CHECK_EQ(kva_posix_pressure_look(&full), KVA_EINVAL);
    CHECK_HAS(kva_posix_last_error(), "expected a line full, found none");
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_MEDIUM); /* nobody said otherwise */
    memset(longer, 'x', sizeof(longer) - 1);
    memcpy(longer, "some " ZERO "\n", 47);
    longer[sizeof(longer) - 1] = '\0';
    longer[KVA_POSIX_PSI_MAX - 1] = '\n';
    longer[KVA_POSIX_PSI_MAX] = '\0';
    put(path, longer); /* as long as may be */
    CHECK_EQ(kva_posix_pressure_look(&source), 0);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_NONE);
    longer[KVA_POSIX_PSI_MAX] = 'x';
    put(path, longer);
    complains(path, KVA_EINVAL, "%s, byte 1024: expected the end, found more");
    (void)kva_pressure_outside(0, 0);
}

/* What happens between open and read. */
static void (*meanwhile)(void);

static void
at_read(void *arg, const char *hook)
{
    (void)arg;
    if (meanwhile != NULL && strcmp(hook, "psi_read") == 0) {
        void (*fn)(void) = meanwhile;

        meanwhile = NULL;
        fn();
    }
}

static void
rename_meanwhile(void)
{
    replace_share(2500);
}

static void
truncate_meanwhile(void)
{
    CHECK_EQ(truncate(path, 20), 0);
}

static void
rewrite_meanwhile(void)
{
    put_share(path, 9000);
}

static void
replaced_while_read(struct test_ctx *t)
{
    files_begin(t);
    kva_posix_yield_set(at_read, NULL);
    put_share(path, 1000);
    meanwhile = rename_meanwhile;
    CHECK_EQ(kva_posix_pressure_look(&source), 0); /* the one it opened */
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_LOW);
    CHECK_EQ(kva_posix_pressure_look(&source), 0);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_MEDIUM);
    meanwhile = truncate_meanwhile;
    CHECK_EQ(kva_posix_pressure_look(&source), KVA_EINVAL);
    CHECK_HAS(kva_posix_last_error(), ", byte 20: expected a '='");
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_MEDIUM);
    meanwhile = rewrite_meanwhile;
    CHECK_EQ(kva_posix_pressure_look(&source), 0);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_OOM);
    kva_posix_yield_set(NULL, NULL);
    (void)kva_pressure_outside(0, 0);
}

/* The same by threads: whoever comes when, what is read is one of the two. */

static unsigned stop;

static void *
replacer(void *arg)
{
    for (unsigned n = 0; __atomic_load_n(&stop, __ATOMIC_RELAXED) == 0; n++) {
        replace_share(n % 2 == 0 ? 1234 : 9876);
    }
    return arg;
}

static void
replaced_at_once(struct test_ctx *t)
{
    struct kva_posix_psi psi;
    pthread_t thread;

    files_begin(t);
    put_share(path, 1234);
    stop = 0;
    CHECK_EQ(pthread_create(&thread, NULL, replacer, NULL), 0);
    for (unsigned long n = 0; n < t->count; n++) {
        CHECK_EQ(kva_posix_psi_read(path, &psi), 0);
        CHECK(psi.some.avg10 == 1234 || psi.some.avg10 == 9876);
        CHECK_EQ(psi.some.total, psi.some.avg10);
        CHECK_EQ(psi.full.avg10, psi.some.avg10 / 2);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* ---- levels ------------------------------------------------------------- */

static bool
is_readable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    CHECK_GE(poll(&p, 1, 0), 0);
    return (p.revents & POLLIN) != 0;
}

static eventfd_t
events(int fd)
{
    eventfd_t n = 0;

    if (eventfd_read(fd, &n) != 0) {
        CHECK_EQ(errno, EAGAIN);
    }
    return n;
}

static enum kva_pressure
expected(enum kva_pressure level, unsigned share)
{
    static const unsigned enter[] = { 0, 700, 2000, 7000 };

    for (unsigned i = KVA_PRESSURE_OOM; i > level; i--) {
        if (share >= enter[i]) {
            return (enum kva_pressure)i;
        }
    }
    for (unsigned i = level; i > 0; i--) {
        if (share >= enter[i] - 300) {
            return (enum kva_pressure)i;
        }
    }
    return KVA_PRESSURE_NONE;
}

struct walk {
    struct kva_posix_pressure_events ev;
    enum kva_pressure level;
};

/* A second later the file has another share. */
static void
walk_to(struct walk *w, unsigned share, enum kva_pressure next)
{
#if KVA_TIER >= 3
    kva_posix_clock_advance(SECOND);
#endif
    put_share(path, share);
    CHECK_EQ(kva_posix_pressure_look(&source), 0);
    CHECK_EQ(kva_pressure(), next);
    CHECK_EQ(is_readable(w->ev.fd), next != w->level);
    CHECK_EQ(events(w->ev.fd), next != w->level); /* one for each change */
    w->level = next;
}

static void
levels_by_a_file(struct test_ctx *t)
{
    static const unsigned bounds[] = { 399,  400,  699,  700,  1699, 1700,
                                       1999, 2000, 6699, 6700, 6999, 7000 };
    static const unsigned within[] = { 0, 1000, 3000, 10000 };
    struct walk w = { .level = KVA_PRESSURE_NONE };

    files_begin(t);
#if KVA_TIER >= 3
    kva_posix_clock_virtual(true);
#endif
    CHECK_EQ(kva_posix_pressure_open(&w.ev), 0);
    for (unsigned i = 0; i < KVA_PRESSURES; i++) {
        for (unsigned j = 0; j < KVA_PRESSURES; j++) {
            walk_to(&w, within[i], (enum kva_pressure)i);
            walk_to(&w, within[j], (enum kva_pressure)j);
        }
    }
    for (unsigned long n = 0; n < t->count; n++) {
        unsigned share = bounds[test_rand_below(t, KVA_COUNT(bounds))];

        walk_to(&w, share, expected(w.level, share));
    }
    kva_posix_pressure_close(&w.ev);
    (void)kva_pressure_outside(0, 0);
}

/* The higher of the pages' and the file's. */
static void
the_higher_one(struct test_ctx *t)
{
    static const unsigned enter[] = { 0, 5, 6, 7 }, leave[] = { 0, 2, 3, 4 };
    static const unsigned usual[2][4] = { { 0, 7, 20, 70 }, { 0, 4, 17, 67 } };
    struct kva_posix_pressure_source other = source;
    struct kva_posix_pressure_events ev;

    files_begin(t);
#if KVA_TIER >= 3
    kva_posix_clock_virtual(true); /* at 0: no pause is kept */
#endif
    CHECK_EQ(kva_posix_pressure_open(&ev), 0);
    put_share(path, 2500);
    CHECK_EQ(kva_posix_pressure_look(&source), 0);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_MEDIUM);
    CHECK_EQ(events(ev.fd), 1);
    CHECK(!kva_pressure_update(850, 1000)); /* low */
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_MEDIUM);
    CHECK(kva_pressure_update(970, 1000));
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_OOM);
    put_share(path, 0);
    CHECK_EQ(kva_posix_pressure_look(&source), 0);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_OOM);
    CHECK(kva_pressure_update(0, 1000));
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_NONE);
    /* The other line, the other windows, other bounds. */
    put(path, "some avg10=90.00 avg60=8.00 avg300=1.00 total=0\n"
              "full avg10=0.00 avg60=1.00 avg300=21.00 total=0\n");
    other.window = KVA_POSIX_AVG60;
    CHECK_EQ(kva_posix_pressure_look(&other), 0);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_LOW);
    other.full = true;
    CHECK_EQ(kva_posix_pressure_look(&other), 0);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_NONE);
    other.window = KVA_POSIX_AVG300;
    CHECK_EQ(kva_posix_pressure_look(&other), 0);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_MEDIUM);
    CHECK_EQ(kva_pressure_configure_outside(leave, enter), KVA_EINVAL);
    CHECK_EQ(kva_pressure_configure_outside(enter, leave), 0);
    CHECK_EQ(kva_posix_pressure_look(&other), 0);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_OOM);
    CHECK(kva_pressure_outside(0, 0)); /* nobody says any more */
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_NONE);
    CHECK_EQ(kva_pressure_configure_outside(usual[0], usual[1]), 0);
    (void)kva_pressure_update(0, 0);
    kva_posix_pressure_close(&ev);
}

static void
closed_and_full(struct test_ctx *t)
{
    struct kva_posix_pressure_events ev, other;
    int fd;

    (void)t;
    CHECK_EQ(kva_posix_pressure_open(&ev), 0);
    CHECK_EQ(kva_posix_pressure_open(&other), 0);
    CHECK_EQ(eventfd_write(ev.fd, UINT64_MAX - 1), 0); /* nobody reads it */
    fd = dup(other.fd);
    CHECK(fd >= 0);
    (void)kva_pressure_update(990, 1000);
    CHECK_EQ(kva_pressure_tell(0), 0); /* and blocks nobody */
    CHECK_EQ(events(fd), 1);
    kva_posix_pressure_close(&other);
    (void)kva_pressure_update(0, 1000);
    (void)kva_pressure_tell(0);
    CHECK_EQ(events(fd), 0);
    CHECK_EQ(close(fd), 0);
    kva_posix_pressure_close(&ev);
}

/* ---- Linux -------------------------------------------------------------- */

static void
live_trigger(struct test_ctx *t)
{
    const struct kva_posix_pressure_source live = { .path = LIVE };
    struct kva_posix_psi psi;
    struct pollfd p = { .events = POLLPRI };
    int err;

    (void)t;
    CHECK_EQ(kva_posix_pressure_trigger("no/such/file", "some 1 2", &p.fd),
             KVA_ENOTSUP);
    CHECK_STR(kva_posix_last_error(),
              "no/such/file: open: No such file or directory");
    err = kva_posix_pressure_trigger(LIVE, "some 150000 1000000", &p.fd);
    if (err == KVA_ENOTSUP || err == KVA_EPERM) {
        SKIP(kva_posix_last_error());
    }
    if (err == KVA_EINVAL) { /* without CAP_SYS_RESOURCE */
        err = kva_posix_pressure_trigger(LIVE, "some 150000 2000000", &p.fd);
    }
    CHECK_EQ(err, 0);
    /* Whatever this machine does now, Linux watches: an error would be told. */
    CHECK_GE(poll(&p, 1, 0), 0);
    CHECK_EQ(p.revents & (POLLERR | POLLNVAL | POLLHUP), 0);
    CHECK_EQ(kva_posix_psi_read(LIVE, &psi), 0);
    CHECK_EQ(kva_posix_pressure_look(&live), 0);
    CHECK_EQ(close(p.fd), 0);
    /* A stall longer than the window is no trigger. */
    CHECK_EQ(kva_posix_pressure_trigger(LIVE, "some 2000000 1000000", &p.fd),
             KVA_EINVAL);
    CHECK_HAS(kva_posix_last_error(), "Invalid argument");
    (void)kva_pressure_outside(0, 0);
}

const struct test pressure_file_tests[] = {
    TEST("pressure_file", good_text),
    TEST("pressure_file", bad_text),
    TEST_COUNT("pressure_file", any_text, 300, 10000, 1000000),
    TEST("pressure_file", bad_files),
    TEST("pressure_file", replaced_while_read),
    TEST_THREADS("pressure_file", replaced_at_once, 0, 100, 3000, 100000),
    TEST_COUNT("pressure_file", levels_by_a_file, 100, 3000, 100000),
    TEST("pressure_file", the_higher_one),
    TEST("pressure_file", closed_and_full),
    TEST("pressure_file", live_trigger),
    TEST_END,
};
