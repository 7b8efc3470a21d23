/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CSV without quotes: a line of column names, then lines of values.  Columns
 * are found by name, so that a file may have more of them, in any order.
 */
#include "replay/sidecar.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 1024
#define COLUMNS_MAX 8

struct csv {
    FILE *f;
    char path[512];
    const char *const *want;  /* column names, NULL at the end */
    unsigned at[COLUMNS_MAX]; /* where each of them is */
    unsigned line;
    char text[LINE_MAX_BYTES];
    const char *value[COLUMNS_MAX]; /* of the line, by wanted column */
    char *error;
    size_t error_size;
};

void
sidecar_name(const char *path, char *name, size_t size)
{
    const char *base = strrchr(path, '/');
    size_t n;

    base = base == NULL ? path : base + 1;
    n = strlen(base);
    if (n > 3 && strcmp(base + n - 3, ".xz") == 0) {
        n -= 3;
    }
    if (n > 4 && strncmp(base + n - 4, ".kvt", 4) == 0) {
        n -= 4;
    }
    snprintf(name, size, "%.*s", (int)n, base);
}

static bool
complain(struct csv *c, const char *what, const char *detail)
{
    snprintf(c->error, c->error_size, "%s: line %u: %s%s", c->path, c->line,
             what, detail);
    return false;
}

/* Split the line in place; n-th value to where the n-th column is wanted. */
static bool
csv_split(struct csv *c, bool heading)
{
    unsigned found = 0, wanted = 0, column = 0;
    char *rest = c->text, *field;

    while (c->want[wanted] != NULL) {
        wanted++;
    }
    while ((field = strsep(&rest, ",")) != NULL) {
        for (unsigned i = 0; i < wanted; i++) {
            if (heading && strcmp(field, c->want[i]) == 0) {
                c->at[i] = column;
                found++;
            } else if (!heading && c->at[i] == column) {
                c->value[i] = field;
                found++;
            }
        }
        column++;
    }
    if (found == wanted) {
        return true;
    }
    return complain(c, heading ? "a column is missing" : "too few values", "");
}

/* The next line into c->text: 1, or 0 at the end, or -1. */
static int
csv_line(struct csv *c)
{
    size_t n;

    if (fgets(c->text, sizeof(c->text), c->f) == NULL) {
        return ferror(c->f) && !complain(c, strerror(errno), "") ? -1 : 0;
    }
    c->line++;
    n = strlen(c->text);
    if (n > 0 && c->text[n - 1] == '\n') {
        c->text[n - 1] = '\0';
    } else if (!feof(c->f)) {
        complain(c, "the line is too long", "");
        return -1;
    }
    return 1;
}

/* 1: open; 0: there is no such file; -1: error. */
static int
csv_open(struct csv *c, const char *trace_path, const char *suffix,
         const char *const *want, char *error, size_t error_size)
{
    char name[64];
    const char *slash = strrchr(trace_path, '/');
    int dir = slash == NULL ? 0 : (int)(slash - trace_path) + 1;

    memset(c, 0, sizeof(*c));
    c->want = want;
    c->error = error;
    c->error_size = error_size;
    sidecar_name(trace_path, name, sizeof(name));
    snprintf(c->path, sizeof(c->path), "%.*s%s%s", dir, trace_path, name,
             suffix);
    c->f = fopen(c->path, "r");
    if (c->f == NULL) {
        if (errno == ENOENT) {
            return 0;
        }
        snprintf(error, error_size, "%s: %s", c->path, strerror(errno));
        return -1;
    }
    if (csv_line(c) != 1 || !csv_split(c, true)) {
        if (c->line == 0) {
            complain(c, "the file is empty", "");
        }
        fclose(c->f);
        return -1;
    }
    return 1;
}

/* 1: a line, its values in c->value; 0: the end; -1: error. */
static int
csv_next(struct csv *c)
{
    int got = csv_line(c);

    return got == 1 && !csv_split(c, false) ? -1 : got;
}

static bool
csv_number(struct csv *c, unsigned column, uint64_t *v)
{
    char *end;

    errno = 0;
    *v = strtoull(c->value[column], &end, 10);
    if (errno != 0 || end == c->value[column] || *end != '\0') {
        return complain(c, "not a number: ", c->value[column]);
    }
    return true;
}

/* Read all lines; each: what to do with one. */
static bool
csv_each(const char *trace_path, const char *suffix, const char *const *want,
         bool (*each)(struct csv *c, void *arg), void *arg, char *error,
         size_t error_size)
{
    struct csv c;
    int got = csv_open(&c, trace_path, suffix, want, error, error_size);

    if (got <= 0) {
        return got == 0;
    }
    while ((got = csv_next(&c)) == 1) {
        if (!each(&c, arg)) {
            got = -1;
            break;
        }
    }
    fclose(c.f);
    return got == 0;
}

/* ---- the files -------------------------------------------------------- */

static bool
phase_line(struct csv *c, void *arg)
{
    struct trace *t = arg;
    struct phase *p = realloc(t->phase, ((size_t)t->nphase + 1) * sizeof(*p));

    if (p == NULL) {
        return complain(c, "out of memory", "");
    }
    t->phase = p;
    p += t->nphase;
    memset(p, 0, sizeof(*p));
    snprintf(p->name, sizeof(p->name), "%s", c->value[1]);
    p->drain = true;
    if (!csv_number(c, 0, &p->from_ms)) {
        return false;
    }
    if (t->nphase > 0 && p->from_ms <= p[-1].from_ms) {
        return complain(c, "phases must be in order of time", "");
    }
    t->nphase++;
    return true;
}

/* A cache is known by its name; the first of several lines counts. */
static bool
slab_line(struct csv *c, void *arg)
{
    struct trace *t = arg;
    uint64_t pages;

    if (!csv_number(c, 1, &pages)) {
        return false;
    }
    for (unsigned i = 0; i < t->ntype; i++) {
        struct type *ty = &t->type[i];

        if (ty->kind == KIND_CACHE && ty->slab_pages == 0 &&
            strcmp(ty->name, c->value[0]) == 0 && pages <= 1024) {
            ty->slab_pages = (uint32_t)pages;
        }
    }
    return true;
}

static bool
sample_line(struct csv *c, void *arg)
{
    struct samples *s = arg;
    struct sample *v = realloc(s->v, (s->n + 1) * sizeof(*v));

    if (v == NULL) {
        return complain(c, "out of memory", "");
    }
    s->v = v;
    v += s->n;
    if (!csv_number(c, 0, &v->t_ms) || !csv_number(c, 1, &v->vmap_areas) ||
        !csv_number(c, 2, &v->slab_bytes)) {
        return false;
    }
    v->slab_bytes *= 1024;
    s->n++;
    return true;
}

bool
sidecar_load(const char *path, struct trace *t, char *error, size_t error_size)
{
    static const char *const phase[] = { "from_ms", "phase", NULL };
    static const char *const slab[] = { "cache", "pages_per_slab", NULL };

    return csv_each(path, ".phases.csv", phase, phase_line, t, error,
                    error_size) &&
           csv_each(path, ".slabinfo.csv", slab, slab_line, t, error,
                    error_size);
}

bool
sidecar_samples(const char *path, struct samples *s, char *error,
                size_t error_size)
{
    static const char *const want[] = { "t_ms", "vmap_areas", "slab_kb", NULL };

    s->v = NULL;
    s->n = 0;
    return csv_each(path, ".samples.csv", want, sample_line, s, error,
                    error_size);
}
