/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What was printed, for tests that look at text.
 */
#ifndef TESTS_PRINTED_H
#define TESTS_PRINTED_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/harness/test.h"

static struct {
    char text[16384];
    size_t len;
    unsigned lines;
} printed;

static inline void
printed_clear(void)
{
    memset(&printed, 0, sizeof(printed));
}

/* As the function that a debugger hands in. */
static inline void __attribute__((format(printf, 1, 2)))
print_keep(const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(printed.text + printed.len,
                  sizeof(printed.text) - printed.len, fmt, ap);
    va_end(ap);
    CHECK(n > 0 && (size_t)n < sizeof(printed.text) - printed.len);
    printed.len += (size_t)n;
    printed.lines++;
    CHECK_EQ(printed.text[printed.len - 1], '\n');
}

/* As the port's log. */
static inline void
log_keep(void *arg, const char *msg)
{
    (void)arg;
    print_keep("%s\n", msg);
}

#endif
