/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files of pressure stall information, as text and from a path.
 *
 *      file   = line { line }
 *      line   = NAME { " " NAME "=" value } "\n"
 *
 * A line "some" or "full" has each of avg10, avg60, avg300 and total once; their
 * values are percents with two decimals, and a 64-bit count.  What has another
 * name is passed over up to the next blank.  A file ends behind a newline, so
 * one that is cut anywhere but between lines is found out; "some" is always
 * there, so one that is cut before it, or empty, is too.
 *
 * Linux makes such a file as it is read, whole in one read(2).  A made one may
 * be replaced meanwhile: by rename(2), and what is read is the old one, whole;
 * written in place, and it is cut or empty at some moment, which is an error.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "port/posix/posix_impl.h"
#include "port/posix/pressure.h"

/* How much of a long path is in messages: its end. */
#define NAME_SHOWN 64u

struct scan {
    const char *name;
    const char *text;
    size_t len;
    size_t at;
};

/* ---- complaints -------------------------------------------------------- */

/* The end of a path, which says more than its beginning. */
static const char *
shown(const char *name)
{
    size_t len = strlen(name);

    return len > NAME_SHOWN ? name + (len - NAME_SHOWN) : name;
}

static int
bad(const struct scan *s, size_t at, const char *expected)
{
    const char *name = shown(s->name);
    unsigned char c = at < s->len ? (unsigned char)s->text[at] : 0;

    if (at >= s->len) {
        kva__posix_error("%s, byte %zu: expected %s, found the end", name, at,
                         expected);
    } else if (c == '\n') {
        kva__posix_error("%s, byte %zu: expected %s, found the end of the line",
                         name, at, expected);
    } else if (c < ' ' || c > '~') {
        kva__posix_error("%s, byte %zu: expected %s, found 0x%x", name, at,
                         expected, c);
    } else {
        kva__posix_error("%s, byte %zu: expected %s, found '%c'", name, at,
                         expected, c);
    }
    return KVA_EINVAL;
}

/* ---- words ------------------------------------------------------------- */

static bool
peek_is(const struct scan *s, char c)
{
    return s->at < s->len && s->text[s->at] == c;
}

static int
expect(struct scan *s, char c, const char *expected)
{
    if (!peek_is(s, c)) {
        return bad(s, s->at, expected);
    }
    s->at++;
    return 0;
}

static bool
peek_is_digit(const struct scan *s)
{
    return s->at < s->len && s->text[s->at] >= '0' && s->text[s->at] <= '9';
}

/* Letters, digits and '_', one at least; its length. */
static size_t
name_length(const struct scan *s)
{
    size_t n = 0;

    while (s->at + n < s->len) {
        char c = s->text[s->at + n];

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_') {
            break;
        }
        n++;
    }
    return n;
}

static bool
name_is(const struct scan *s, size_t len, const char *name)
{
    return strlen(name) == len && memcmp(s->text + s->at, name, len) == 0;
}

static int
scan_number(struct scan *s, uint64_t most, uint64_t *value)
{
    size_t begin = s->at;
    uint64_t n = 0;

    if (!peek_is_digit(s)) {
        return bad(s, s->at, "a digit");
    }
    for (; peek_is_digit(s); s->at++) {
        unsigned digit = (unsigned)(s->text[s->at] - '0');

        if (n > (most - digit) / 10) {
            kva__posix_error("%s, byte %zu: expected at most %llu, found more",
                             shown(s->name), begin, (unsigned long long)most);
            return KVA_EINVAL;
        }
        n = n * 10 + digit;
    }
    *value = n;
    return 0;
}

/* In hundredths. */
static int
scan_percent(struct scan *s, unsigned *value)
{
    uint64_t whole = 0;
    size_t begin = s->at;
    unsigned part = 0;
    int err;

    if ((err = scan_number(s, 100, &whole)) != 0 ||
        (err = expect(s, '.', "a '.'")) != 0) {
        return err;
    }
    for (unsigned i = 0; i < 2; i++, s->at++) {
        if (!peek_is_digit(s)) {
            return bad(s, s->at, "two digits behind the '.'");
        }
        part = part * 10 + (unsigned)(s->text[s->at] - '0');
    }
    if (whole == 100 && part != 0) {
        kva__posix_error("%s, byte %zu: expected at most 100.00, found more",
                         shown(s->name), begin);
        return KVA_EINVAL;
    }
    *value = (unsigned)whole * 100 + part;
    return 0;
}

static void
skip_value(struct scan *s)
{
    while (s->at < s->len && s->text[s->at] != ' ' && s->text[s->at] != '\n') {
        s->at++;
    }
}

/* ---- lines ------------------------------------------------------------- */

static const char *const fields[] = { "avg10", "avg60", "avg300", "total" };

enum {
    FIELD_TOTAL = 3,
    FIELDS
};

/* One NAME=value.  seen: a bit for each field; NULL: of a line that is not
 * known. */
static int
scan_field(struct scan *s, struct kva_posix_psi_line *line, unsigned *seen)
{
    unsigned *const percent[] = { &line->avg10, &line->avg60, &line->avg300 };
    size_t len = name_length(s), begin = s->at;
    unsigned i = 0;
    int err;

    if (len == 0) {
        return bad(s, s->at, "a name");
    }
    while (i < FIELDS && !name_is(s, len, fields[i])) {
        i++;
    }
    s->at += len;
    if ((err = expect(s, '=', "a '='")) != 0) {
        return err;
    }
    if (i == FIELDS || seen == NULL) {
        skip_value(s);
        return 0;
    }
    if ((*seen & 1u << i) != 0) {
        kva__posix_error("%s, byte %zu: expected %s once, found it twice",
                         shown(s->name), begin, fields[i]);
        return KVA_EINVAL;
    }
    *seen |= 1u << i;
    return i == FIELD_TOTAL ? scan_number(s, UINT64_MAX, &line->total)
                            : scan_percent(s, percent[i]);
}

static int
scan_fields(struct scan *s, struct kva_posix_psi_line *line, bool known)
{
    unsigned seen = 0;
    int err;

    while (peek_is(s, ' ')) {
        s->at++;
        if ((err = scan_field(s, line, known ? &seen : NULL)) != 0) {
            return err;
        }
    }
    for (unsigned i = 0; known && i < FIELDS; i++) {
        if ((seen & 1u << i) == 0) {
            return bad(s, s->at, fields[i]);
        }
    }
    return expect(s, '\n', "a blank or a newline");
}

static int
scan_line(struct scan *s, struct kva_posix_psi *psi)
{
    struct kva_posix_psi_line other = { .there = false }, *line = &other;
    size_t len = name_length(s);

    if (len == 0) {
        return bad(s, s->at, "a name");
    }
    if (name_is(s, len, "some")) {
        line = &psi->some;
    } else if (name_is(s, len, "full")) {
        line = &psi->full;
    }
    if (line->there) {
        return bad(s, s->at, "another line than before");
    }
    s->at += len;
    line->there = true;
    return scan_fields(s, line, line != &other);
}

int
kva_posix_psi_parse(const char *name, const char *text, size_t len,
                    struct kva_posix_psi *psi)
{
    struct scan s = { .name = name, .text = text, .len = len };
    struct kva_posix_psi got = { .some = { .there = false } };
    int err;

    do {
        if ((err = scan_line(&s, &got)) != 0) {
            return err;
        }
    } while (s.at < len);
    if (!got.some.there) {
        return bad(&s, s.at, "a line some");
    }
    *psi = got;
    return 0;
}

/* ---- from a path ------------------------------------------------------- */

/* All of it, or KVA_EINVAL. */
static int
read_whole(int fd, const char *path, char *buf, size_t size, size_t *len)
{
    ssize_t got;

    *len = 0;
    do {
        got = read(fd, buf + *len, size - *len);
        if (got < 0 && errno != EINTR) {
            kva__posix_error("%s, byte %zu: read: %s", shown(path), *len,
                             strerror(errno));
            return KVA_EINVAL;
        }
        *len += got > 0 ? (size_t)got : 0;
    } while (got != 0 && *len < size);
    if (*len == size) {
        kva__posix_error("%s, byte %zu: expected the end, found more",
                         shown(path), size - 1);
        return KVA_EINVAL;
    }
    return 0;
}

int
kva_posix_psi_read(const char *path, struct kva_posix_psi *psi)
{
    char buf[KVA_POSIX_PSI_MAX + 1];
    int err, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t len;

    if (fd < 0) {
        kva__posix_error("%s: open: %s", shown(path), strerror(errno));
        return KVA_ENOENT;
    }
    posix_yield("psi_read");
    err = read_whole(fd, path, buf, sizeof(buf), &len);
    (void)close(fd);
    return err != 0 ? err : kva_posix_psi_parse(path, buf, len, psi);
}
