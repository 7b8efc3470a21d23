/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What Linux tells of this process in /proc: how many mappings it has and may
 * have, and how much memory lies in them.  Read with nothing but system calls
 * and a buffer on the stack: at the limit of mappings malloc fails too, and an
 * interrupt may be asking.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "port/posix/posix_impl.h"

#define LINE_MAX_BYTES 256

/* Call fn with each line, without its newline and cut to fit. */
static int
proc_lines(const char *path, void (*fn)(void *arg, const char *line), void *arg)
{
    char buf[4096], line[LINE_MAX_BYTES];
    size_t len = 0;
    ssize_t got;
    int error = errno, fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        errno = error;
        return KVA_ENOTSUP;
    }
    while ((got = read(fd, buf, sizeof(buf))) > 0) {
        for (ssize_t i = 0; i < got; i++) {
            if (buf[i] == '\n') {
                line[len] = '\0';
                fn(arg, line);
                len = 0;
            } else if (len < sizeof(line) - 1) {
                line[len++] = buf[i];
            }
        }
    }
    (void)close(fd);
    errno = error;
    return 0;
}

/* A number at *s, in base 10 or 16; *s moves behind it. */
static unsigned long
number(const char **s, unsigned base)
{
    unsigned long n = 0;

    for (;; (*s)++) {
        char c = **s;

        if (c >= '0' && c <= '9') {
            n = n * base + (unsigned long)(c - '0');
        } else if (base == 16 && c >= 'a' && c <= 'f') {
            n = n * base + (unsigned long)(c - 'a') + 10;
        } else {
            return n;
        }
    }
}

static void
count_line(void *arg, const char *line)
{
    (void)line;
    ++*(unsigned long *)arg;
}

unsigned long
kva__posix_mappings(void)
{
    unsigned long n = 0;

    (void)proc_lines("/proc/self/maps", count_line, &n);
    return n;
}

static void
number_line(void *arg, const char *line)
{
    *(unsigned long *)arg = number(&line, 10);
}

unsigned long
kva__posix_mapping_limit(void)
{
    unsigned long n = 0;

    (void)proc_lines("/proc/sys/vm/max_map_count", number_line, &n);
    return n;
}

/* ---- resident size ----------------------------------------------------- */

struct room {
    uintptr_t base;
    size_t bytes;
    size_t resident;
};

struct smaps {
    struct room room[2];
    struct room *in; /* the one that the current mapping lies in */
};

/* "FIRST-END rwxp ..." opens a mapping; NULL: another line, or elsewhere. */
static struct room *
smaps_room(struct smaps *s, const char *line, bool *header)
{
    uintptr_t first = number(&line, 16), end;

    *header = *line == '-';
    if (!*header) {
        return NULL;
    }
    line++;
    end = number(&line, 16);
    for (unsigned i = 0; i < 2; i++) {
        struct room *r = &s->room[i];

        if (first >= r->base && first - r->base < r->bytes &&
            end - r->base <= r->bytes) {
            return r;
        }
    }
    return NULL;
}

/* "Rss:    123 kB" belongs to the mapping above it. */
static void
smaps_line(void *arg, const char *line)
{
    struct smaps *s = arg;
    bool header;
    struct room *r = smaps_room(s, line, &header);

    if (header) {
        s->in = r;
    } else if (s->in != NULL && line[0] == 'R' && line[1] == 's' &&
               line[2] == 's' && line[3] == ':') {
        line += 4;
        while (*line == ' ') {
            line++;
        }
        s->in->resident += (size_t)number(&line, 10) * 1024;
    }
}

int
kva_posix_resident(size_t *va_bytes, size_t *meta_bytes)
{
    struct smaps s = {
        .room = { { kva__posix.va_base, kva__posix.config.va_bytes, 0 },
                  { kva__posix.meta_base,
                    kva__posix.meta_pages << KVA_PAGE_SHIFT, 0 } },
        .in = NULL,
    };

    kva__posix_need("kva_posix_resident");
    if (proc_lines("/proc/self/smaps", smaps_line, &s) != 0) {
        kva__posix_error("/proc/self/smaps cannot be read");
        return KVA_ENOTSUP;
    }
    if (va_bytes != NULL) {
        *va_bytes = s.room[0].resident;
    }
    if (meta_bytes != NULL) {
        *meta_bytes = s.room[1].resident;
    }
    return 0;
}
