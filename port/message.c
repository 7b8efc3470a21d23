/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages.  Many kernels have no vprintf, so the library formats its own
 * lines, on the stack, and hands the port a finished string.
 */
#include "port/check.h"

struct out {
    char *buf;
    size_t size;
    size_t len;
};

static void
out_char(struct out *o, char c)
{
    if (o->len + 1 < o->size) {
        o->buf[o->len++] = c;
    }
}

static void
out_string(struct out *o, const char *s)
{
    if (s == NULL) {
        s = "(null)";
    }
    while (*s != '\0') {
        out_char(o, *s++);
    }
}

/*
 * Division by 10 without a division: a 64-bit value on a 32-bit machine would
 * need a helper from libgcc.  Subtract powers of ten instead; at most 9 * 20
 * steps, and only on the way to a panic or a log line.
 */
static const uint64_t powers_of_ten[] = { 10000000000000000000ull,
                                          1000000000000000000ull,
                                          100000000000000000ull,
                                          10000000000000000ull,
                                          1000000000000000ull,
                                          100000000000000ull,
                                          10000000000000ull,
                                          1000000000000ull,
                                          100000000000ull,
                                          10000000000ull,
                                          1000000000ull,
                                          100000000ull,
                                          10000000ull,
                                          1000000ull,
                                          100000ull,
                                          10000ull,
                                          1000ull,
                                          100ull,
                                          10ull,
                                          1ull };

static void
out_decimal(struct out *o, uint64_t v, unsigned width, char pad)
{
    char digit[KVA_COUNT(powers_of_ten)];
    unsigned n = 0;

    for (unsigned i = 0; i < KVA_COUNT(powers_of_ten); i++) {
        char c = '0';

        while (v >= powers_of_ten[i]) {
            v -= powers_of_ten[i];
            c++;
        }
        if (n > 0 || c != '0' || i + 1 == KVA_COUNT(powers_of_ten)) {
            digit[n++] = c;
        }
    }
    for (; width > n; width--) {
        out_char(o, pad);
    }
    for (unsigned i = 0; i < n; i++) {
        out_char(o, digit[i]);
    }
}

static void
out_hex(struct out *o, uint64_t v, unsigned width, char pad)
{
    unsigned n = 1;

    while (n < 16 && (v >> (4 * n)) != 0) {
        n++;
    }
    for (; width > n; width--) {
        out_char(o, pad);
    }
    while (n-- > 0) {
        out_char(o, "0123456789abcdef"[(v >> (4 * n)) & 15]);
    }
}

/* Fetch an unsigned argument of the length that was given. */
static uint64_t
fetch(va_list *ap, unsigned longs, bool size)
{
    if (longs >= 2) {
        return va_arg(*ap, unsigned long long);
    }
    if (size) {
        return va_arg(*ap, size_t);
    }
    if (longs == 1) {
        return va_arg(*ap, unsigned long);
    }
    return va_arg(*ap, unsigned);
}

static int64_t
fetch_signed(va_list *ap, unsigned longs, bool size)
{
    if (longs >= 2) {
        return va_arg(*ap, long long);
    }
    if (size || longs == 1) {
        return va_arg(*ap, long);
    }
    return va_arg(*ap, int);
}

/* One conversion; fmt stands behind the %.  Returns where it ends. */
static const char *
out_conversion(struct out *o, const char *fmt, va_list *ap)
{
    unsigned width = 0, longs = 0;
    bool size = false;
    char pad = ' ';
    int64_t i;

    if (*fmt == '0') {
        pad = '0';
        fmt++;
    }
    for (; *fmt >= '0' && *fmt <= '9'; fmt++) {
        width = width * 10 + (unsigned)(*fmt - '0');
    }
    for (; *fmt == 'l' || *fmt == 'z'; fmt++) {
        size |= *fmt == 'z';
        longs += *fmt == 'l';
    }
    switch (*fmt) {
    case 's':
        out_string(o, va_arg(*ap, const char *));
        break;
    case 'c':
        out_char(o, (char)va_arg(*ap, int));
        break;
    case 'd':
        i = fetch_signed(ap, longs, size);
        if (i < 0) {
            out_char(o, '-');
        }
        out_decimal(o, i < 0 ? 0 - (uint64_t)i : (uint64_t)i, width, pad);
        break;
    case 'u':
        out_decimal(o, fetch(ap, longs, size), width, pad);
        break;
    case 'x':
        out_hex(o, fetch(ap, longs, size), width, pad);
        break;
    case 'p':
        out_string(o, "0x");
        out_hex(o, (uintptr_t)va_arg(*ap, void *), 0, ' ');
        break;
    case '\0':
        return fmt;
    default:
        out_char(o, *fmt);
    }
    return fmt + 1;
}

size_t
kva__vformat(char *buf, size_t size, const char *fmt, va_list ap)
{
    struct out o = { buf, size, 0 };
    va_list copy;

    va_copy(copy, ap);
    while (*fmt != '\0') {
        if (*fmt == '%') {
            fmt = out_conversion(&o, fmt + 1, &copy);
        } else {
            out_char(&o, *fmt++);
        }
    }
    va_end(copy);
    if (size > 0) {
        buf[o.len] = '\0';
    }
    return o.len;
}

size_t
kva__format(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    size_t len;

    va_start(ap, fmt);
    len = kva__vformat(buf, size, fmt, ap);
    va_end(ap);
    return len;
}

void
kva__panic(const char *fmt, ...)
{
    char buf[KVA_MESSAGE_MAX];
    va_list ap;

    va_start(ap, fmt);
    kva__vformat(buf, sizeof(buf), fmt, ap);
    va_end(ap);
    kva_port_panic(buf);
}

void
kva__log(const char *fmt, ...)
{
    char buf[KVA_MESSAGE_MAX];
    va_list ap;

    va_start(ap, fmt);
    kva__vformat(buf, sizeof(buf), fmt, ap);
    va_end(ap);
    kva_port_log(buf);
}

void
kva__misuse(const char *func, const char *kind, const char *name,
            uintptr_t addr, const char *fmt, ...)
{
    char buf[KVA_MESSAGE_MAX];
    va_list ap;
    size_t len;

    len = kva__format(buf, sizeof(buf), "%s: %s %s: 0x%lx: ", func, kind,
                      name == NULL ? "(unnamed)" : name, (unsigned long)addr);
    va_start(ap, fmt);
    kva__vformat(buf + len, sizeof(buf) - len, fmt, ap);
    va_end(ap);
    kva_port_panic(buf);
}
