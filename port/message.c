/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages.  Many kernels have no vprintf, so the library formats its own
 * lines, on the stack, and hands the port a finished string.
 */
#include "port/check.h"

/* What does not fit into buf is counted, but not written. */
struct out {
    char *buf;
    size_t size;
    size_t len;
};

/* A conversion: %[flags][width][.precision][length]letter. */
struct spec {
    bool left, zero, plus, space, alternate;
    bool has_precision;
    unsigned width;
    unsigned precision;
    enum {
        LENGTH_INT,
        LENGTH_CHAR,
        LENGTH_SHORT,
        LENGTH_LONG,
        LENGTH_LONG_LONG,
        LENGTH_SIZE
    } length;
};

/* 64 bits in octal. */
#define DIGITS_MAX 22u

static const char lower_case[] = "0123456789abcdef";

static void
out_char(struct out *o, char c)
{
    if (o->len + 1 < o->size) {
        o->buf[o->len] = c;
    }
    o->len++;
}

static void
out_pad(struct out *o, char c, size_t n)
{
    for (; n > 0 && o->len + 1 < o->size; n--) {
        out_char(o, c);
    }
    o->len += n;
}

static void
out_string(struct out *o, const struct spec *spec, const char *s)
{
    size_t n = 0, pad;

    if (s == NULL) {
        s = "(null)";
    }
    while ((!spec->has_precision || n < spec->precision) && s[n] != '\0') {
        n++;
    }
    pad = spec->width > n ? spec->width - n : 0;
    if (!spec->left) {
        out_pad(o, ' ', pad);
    }
    for (size_t i = 0; i < n; i++) {
        out_char(o, s[i]);
    }
    if (spec->left) {
        out_pad(o, ' ', pad);
    }
}

/*
 * Division by 10 without a division: a 64-bit value on a 32-bit machine would
 * need a helper from libgcc.  Subtract powers of ten instead; at most 9 * 20
 * steps, and only on the way to a panic or a line for people.
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

/* The digits of v, most significant first; none of 0. */
static unsigned
digits_decimal(char *digit, uint64_t v)
{
    unsigned n = 0;

    for (unsigned i = 0; i < KVA_COUNT(powers_of_ten); i++) {
        char c = '0';

        while (v >= powers_of_ten[i]) {
            v -= powers_of_ten[i];
            c++;
        }
        if (n > 0 || c != '0') {
            digit[n++] = c;
        }
    }
    return n;
}

/* The same for 1 << bits as base. */
static unsigned
digits_shift(char *digit, uint64_t v, unsigned bits, const char *alphabet)
{
    unsigned n = 0;

    while (n < DIGITS_MAX && bits * n < 64 && (v >> (bits * n)) != 0) {
        n++;
    }
    for (unsigned i = 0; i < n; i++) {
        digit[i] = alphabet[(v >> (bits * (n - 1 - i))) & ((1u << bits) - 1u)];
    }
    return n;
}

/* prefix: a sign or a base, not counted as digits. */
static void
out_number(struct out *o, const struct spec *spec, const char *prefix,
           const char *digit, unsigned n)
{
    size_t zeros = 0, pad, npre = 0;
    size_t least = spec->has_precision ? spec->precision : 1;

    while (prefix[npre] != '\0') {
        npre++;
    }
    if (n < least) {
        zeros = least - n;
    }
    pad = npre + zeros + n < spec->width ? spec->width - npre - zeros - n : 0;
    if (spec->zero && !spec->left && !spec->has_precision) {
        zeros += pad;
        pad = 0;
    }
    if (!spec->left) {
        out_pad(o, ' ', pad);
    }
    for (size_t i = 0; i < npre; i++) {
        out_char(o, prefix[i]);
    }
    out_pad(o, '0', zeros);
    for (unsigned i = 0; i < n; i++) {
        out_char(o, digit[i]);
    }
    if (spec->left) {
        out_pad(o, ' ', pad);
    }
}

static void
out_signed(struct out *o, const struct spec *spec, int64_t v)
{
    const char *prefix = v < 0         ? "-"
                         : spec->plus  ? "+"
                         : spec->space ? " "
                                       : "";
    char digit[DIGITS_MAX];
    unsigned n = digits_decimal(digit, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);

    out_number(o, spec, prefix, digit, n);
}

static void
out_unsigned(struct out *o, struct spec *spec, char letter, uint64_t v)
{
    const char *prefix = "";
    char digit[DIGITS_MAX];
    unsigned n;

    switch (letter) {
    case 'o':
        n = digits_shift(digit, v, 3, "01234567");
        if (spec->alternate && (!spec->has_precision || spec->precision <= n)) {
            prefix = n > 0 || spec->has_precision ? "0" : "";
        }
        break;
    case 'x':
    case 'X':
        n = digits_shift(digit, v, 4,
                         letter == 'x' ? lower_case : "0123456789ABCDEF");
        if (spec->alternate && v != 0) {
            prefix = letter == 'x' ? "0x" : "0X";
        }
        break;
    default:
        n = digits_decimal(digit, v);
    }
    out_number(o, spec, prefix, digit, n);
}

/* Fetch an argument of the length that was given. */
static uint64_t
fetch(const struct spec *spec, va_list *ap)
{
    switch (spec->length) {
    case LENGTH_CHAR:
        return (unsigned char)va_arg(*ap, unsigned);
    case LENGTH_SHORT:
        return (unsigned short)va_arg(*ap, unsigned);
    case LENGTH_LONG:
        return va_arg(*ap, unsigned long);
    case LENGTH_LONG_LONG:
        return va_arg(*ap, unsigned long long);
    case LENGTH_SIZE:
        return va_arg(*ap, size_t);
    default:
        return va_arg(*ap, unsigned);
    }
}

static int64_t
fetch_signed(const struct spec *spec, va_list *ap)
{
    switch (spec->length) {
    case LENGTH_CHAR:
        return (signed char)va_arg(*ap, int);
    case LENGTH_SHORT:
        return (short)va_arg(*ap, int);
    case LENGTH_LONG:
        return va_arg(*ap, long);
    case LENGTH_LONG_LONG:
        return va_arg(*ap, long long);
    case LENGTH_SIZE:
        return va_arg(*ap, ptrdiff_t);
    default:
        return va_arg(*ap, int);
    }
}

/* A number of the format, or an argument for *; below 0: *negative. */
static const char *
parse_number(const char *fmt, va_list *ap, unsigned *value, bool *negative)
{
    *negative = false;
    *value = 0;
    if (*fmt == '*') {
        int v = va_arg(*ap, int);

        *negative = v < 0;
        *value = v < 0 ? 0u - (unsigned)v : (unsigned)v;
        return fmt + 1;
    }
    for (; *fmt >= '0' && *fmt <= '9'; fmt++) {
        *value = *value * 10 + (unsigned)(*fmt - '0');
    }
    return fmt;
}

static const char *
parse_flags(const char *fmt, struct spec *spec)
{
    for (;; fmt++) {
        switch (*fmt) {
        case '-':
            spec->left = true;
            break;
        case '0':
            spec->zero = true;
            break;
        case '+':
            spec->plus = true;
            break;
        case ' ':
            spec->space = true;
            break;
        case '#':
            spec->alternate = true;
            break;
        default:
            return fmt;
        }
    }
}

static const char *
parse_length(const char *fmt, struct spec *spec)
{
    for (;; fmt++) {
        switch (*fmt) {
        case 'h':
            spec->length =
                spec->length == LENGTH_SHORT ? LENGTH_CHAR : LENGTH_SHORT;
            break;
        case 'l':
            spec->length =
                spec->length == LENGTH_LONG ? LENGTH_LONG_LONG : LENGTH_LONG;
            break;
        case 'j':
            spec->length = LENGTH_LONG_LONG;
            break;
        case 't':
        case 'z':
            spec->length = LENGTH_SIZE;
            break;
        default:
            return fmt;
        }
    }
}

/* What is between % and the letter. */
static const char *
parse_spec(const char *fmt, struct spec *spec, va_list *ap)
{
    bool negative;

    fmt = parse_flags(fmt, spec);
    fmt = parse_number(fmt, ap, &spec->width, &negative);
    spec->left |= negative;
    if (*fmt == '.') {
        fmt = parse_number(fmt + 1, ap, &spec->precision, &negative);
        spec->has_precision = !negative;
    }
    return parse_length(fmt, spec);
}

/* One conversion; fmt stands behind the %.  Returns where it ends. */
static const char *
out_conversion(struct out *o, const char *fmt, va_list *ap)
{
    struct spec spec = { .length = LENGTH_INT };
    char c[2] = { 0, 0 }, digit[DIGITS_MAX];
    unsigned n;

    fmt = parse_spec(fmt, &spec, ap);
    switch (*fmt) {
    case 's':
        out_string(o, &spec, va_arg(*ap, const char *));
        break;
    case 'c':
        c[0] = (char)va_arg(*ap, int);
        spec.has_precision = false;
        out_string(o, &spec, c);
        break;
    case 'd':
    case 'i':
        out_signed(o, &spec, fetch_signed(&spec, ap));
        break;
    case 'o':
    case 'u':
    case 'x':
    case 'X':
        out_unsigned(o, &spec, *fmt, fetch(&spec, ap));
        break;
    case 'p':
        n = digits_shift(digit, (uintptr_t)va_arg(*ap, void *), 4, lower_case);
        out_number(o, &spec, "0x", digit, n);
        break;
    case '\0':
        return fmt;
    default:
        out_char(o, *fmt);
    }
    return fmt + 1;
}

static void
out_format(struct out *o, const char *fmt, va_list ap)
{
    va_list copy;

    va_copy(copy, ap);
    while (*fmt != '\0') {
        if (*fmt == '%') {
            fmt = out_conversion(o, fmt + 1, &copy);
        } else {
            out_char(o, *fmt++);
        }
    }
    va_end(copy);
}

size_t
kva__vformat_length(const char *fmt, va_list ap)
{
    char none[1];
    struct out o = { none, 0, 0 };

    out_format(&o, fmt, ap);
    return o.len;
}

size_t
kva__vformat(char *buf, size_t size, const char *fmt, va_list ap)
{
    struct out o = { buf, size, 0 };
    size_t len;

    out_format(&o, fmt, ap);
    if (size == 0) {
        return 0;
    }
    len = o.len < size ? o.len : size - 1;
    buf[len] = '\0';
    return len;
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
