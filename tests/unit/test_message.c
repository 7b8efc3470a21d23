/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages: the formatter of the core against the host's own printf, the
 * shape of a report, and the helpers of check.h.
 */
#include <stdio.h>
#include <string.h>

#include "tests/harness/test.h"

/* Both formatters, with the same arguments. */
#define SAME(...)                                                  \
    do {                                                           \
        char ours[128], theirs[128];                               \
        size_t len = kva__format(ours, sizeof(ours), __VA_ARGS__); \
                                                                   \
        (void)snprintf(theirs, sizeof(theirs), __VA_ARGS__);       \
        CHECK_STR(ours, theirs);                                   \
        CHECK_EQ(len, strlen(theirs));                             \
    } while (0)

/* Some widths and precisions, -1 for none. */
static void
numbers_agree(struct test_ctx *t, long long x)
{
    int w = (int)test_rand_below(t, 30);
    int p = (int)test_rand_below(t, 26) - 1;
    unsigned long long u = (unsigned long long)x;

    SAME("%*.*lld|%-*.*lld|%+*.*lld", w, p, x, w, p, x, w, p, x);
    SAME("%*.*llu|%-*.*llX|%#*.*llx", w, p, u, w, p, u, w, p, u);
    SAME("%*.*llo|%#*.*llo|%-#*.*llo", w, p, u, w, p, u, w, p, u);
    SAME("%0*lld|%0*llx|%#0*llx|%#0*llo", w, x, w, u, w, u, w, u);
}

/* How long it would be, without a place to put it. */
static size_t
measured(const char *fmt, ...)
{
    va_list ap;
    size_t len;

    va_start(ap, fmt);
    len = kva__vformat_length(fmt, ap);
    va_end(ap);
    return len;
}

static void
format_agrees_with_printf(struct test_ctx *t)
{
    SAME("plain 100%%");
    SAME("%s|%c|%s", "text", 'x', "");
    SAME("%d %d %d", 0, -1, 2147483647);
    SAME("%d %u %x", -2147483647 - 1, 4294967295u, 0xdeadbeefu);
    SAME("%5d|%05d|%5u|%08x|%3x", 42, 42, 42u, 0xbeefu, 0xbeefu);
    SAME("%zu %zx", (size_t)-1, (size_t)-1);
    SAME("%p|%12p|%-12p|", (void *)(uintptr_t)0x1234, (void *)(uintptr_t)0x1234,
         (void *)(uintptr_t)0x1234);
    SAME("%i|%+d|% d|%-6d|%+05d|%-+6d|", -5, 5, 5, -42, 42, 7);
    SAME("%X|%#x|%#X|%#010x|%o|%#o|%#o", 0xbeefu, 0xbeefu, 0xbeefu, 0xbeefu,
         0777u, 0777u, 0u);
    SAME("%8s|%-8s|%.2s|%8.3s|%.0s|%.9s|%3s", "abc", "abc", "abc", "abcdef",
         "abc", "abc", "abcdef");
    SAME("%*d|%-*d|%*d|%.*s|%.*s|", 5, 42, 5, 42, -5, 42, 2, "abc", -1, "abc");
    SAME("%.5d|%8.5d|%-8.5d|%.0d|%.0u|%.0x|", -42, 42, 42, 0, 0u, 0u);
    SAME("%#.0o|%#.3o|%#5o|%.4x|%#.4x|", 0u, 5u, 5u, 0xabu, 0xabu);
    SAME("%3c|%-3c|", 'x', 'y');
    SAME("%hhd %hhu %hd %hu", (signed char)-3, (unsigned char)250,
         (short)-30000, (unsigned short)60000);
    SAME("%jd %ju %td %zd", (intmax_t)-9, (uintmax_t)9, (ptrdiff_t)-9,
         (ptrdiff_t)-7);
    SAME("%.3s", (const char[]){ 'a', 'b', 'c' }); /* no NUL to be looked for */
    for (unsigned long i = 0; i < t->count; i++) {
        unsigned shift = (unsigned)test_rand_below(t, 64);
        uint64_t x = test_rand(t) >> shift;

        SAME("%lu %lx %ld", (unsigned long)x, (unsigned long)x, (long)x);
        SAME("%llu %llx %lld", (unsigned long long)x, (unsigned long long)x,
             (long long)x);
        SAME("%10u|%010u|%016llx", (unsigned)x, (unsigned)x,
             (unsigned long long)x);
        numbers_agree(t, (long long)x);
        numbers_agree(t, -(long long)x);
    }
}

static void
format_cuts(struct test_ctx *t)
{
    const char *volatile null = NULL; /* hidden from the compiler's check */
    char buf[8] = "zzzzzzz";

    (void)t;
    CHECK_EQ(kva__format(buf, 5, "%s", "abcdefgh"), 4);
    CHECK_STR(buf, "abcd");
    CHECK_EQ(buf[5], 'z');
    CHECK_EQ(kva__format(buf, 1, "%u", 12345u), 0);
    CHECK_STR(buf, "");
    buf[0] = 'q';
    CHECK_EQ(kva__format(buf, 0, "abc"), 0);
    CHECK_EQ(buf[0], 'q');
    CHECK_EQ(measured("%s-%05d", "abcdefgh", 7), 14);
    CHECK_EQ(measured("%300d|", 1), 301);
    CHECK_EQ(measured(""), 0);
    CHECK_EQ(kva__format(buf, sizeof(buf), "%s", null), 6);
    CHECK_STR(buf, "(null)");
}

static void
misuse_has_its_shape(struct test_ctx *t)
{
    (void)t;
    CHECK_PANIC(kva__misuse("vmem_free", "arena", "heap_va", 0x7000,
                            "expected size %zu, found size %zu", (size_t)4096,
                            (size_t)8192),
                "vmem_free: arena heap_va: 0x7000: expected size 4096, "
                "found size 8192");
    CHECK_PANIC(kva__misuse("f", "cache", NULL, 0, "x"),
                "f: cache (unnamed): 0x0: x");
}

static void
long_message_is_cut(struct test_ctx *t)
{
    char text[2 * KVA_MESSAGE_MAX];
    struct kva_posix_catch c;

    (void)t;
    memset(text, 'm', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    if (KVA_POSIX_TRY(&c)) {
        kva__panic("%s", text);
    }
    CHECK_EQ(strlen(c.message), KVA_MESSAGE_MAX - 1);
    if (KVA_POSIX_TRY(&c)) {
        kva__misuse(text, "arena", text, 1, "%s", text);
    }
    CHECK_EQ(strlen(c.message), KVA_MESSAGE_MAX - 1);
}

static void
bit_helpers(struct test_ctx *t)
{
    for (unsigned i = 0; i < sizeof(uintptr_t) * 8; i++) {
        uintptr_t x = (uintptr_t)1 << i;

        CHECK_EQ(kva_fls(x), i);
        CHECK_EQ(kva_ffs(x), i);
        CHECK_EQ(kva_fls(x | (x - 1)), i);
        CHECK_EQ(kva_ffs(~(x - 1)), i);
        CHECK(kva_is_pow2(x));
        CHECK_EQ(kva_is_pow2(x | 1), i == 0);
    }
    CHECK(!kva_is_pow2(0));
    for (unsigned long i = 0; i < t->count; i++) {
        uintptr_t x = (uintptr_t)test_rand(t) >> 8;
        uintptr_t align = (uintptr_t)1 << test_rand_below(t, 20);

        CHECK_EQ(kva_round_down(x, align), x - x % align);
        CHECK_EQ(kva_round_up(x, align),
                 x % align == 0 ? x : x - x % align + align);
    }
    CHECK_EQ(kva_round_up(UINTPTR_MAX, 4096), 0);
}

const struct test message_tests[] = {
    TEST_COUNT("message", format_agrees_with_printf, 1000, 100000, 10000000),
    TEST("message", format_cuts),
    TEST("message", misuse_has_its_shape),
    TEST("message", long_message_is_cut),
    TEST_COUNT("message", bit_helpers, 1000, 100000, 10000000),
    TEST_END
};
