/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kvt-cut: the first records of a trace as a trace of their own, plain on
 * standard output or in a file.  What is live at the cut stays live; counts,
 * slots and checksum are made anew.
 */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replay/kvt.h"

struct options {
    const char *in;
    const char *out; /* NULL: standard output */
    uint64_t records;
};

static const struct argp_option argp_options[] = {
    { "records", 'n', "N", 0, "How many records to keep (100000)", 0 },
    { "output", 'o', "FILE", 0, "Write to FILE", 0 },
    { NULL, 0, NULL, 0, NULL, 0 }
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    char *end;

    switch (key) {
    case 'n':
        errno = 0;
        o->records = strtoull(arg, &end, 10);
        if (errno != 0 || end == arg || *end != '\0' || arg[0] == '-') {
            argp_error(state, "%s is not a number", arg);
        }
        break;
    case 'o':
        o->out = arg;
        break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) {
            argp_usage(state);
        }
        o->in = arg;
        break;
    case ARGP_KEY_NO_ARGS:
        argp_usage(state);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .args_doc = "TRACE",
    .doc = "Cut the first records out of a KVT trace, plain or xz."
};

static bool
cut(const struct options *o, const struct trace *t)
{
    FILE *f = o->out == NULL ? stdout : fopen(o->out, "wb");
    const char *name = o->out == NULL ? "standard output" : o->out;
    size_t n = o->records < t->nrecord ? (size_t)o->records : t->nrecord;
    bool ok;

    if (f == NULL) {
        fprintf(stderr, "%s: %s\n", name, strerror(errno));
        return false;
    }
    errno = 0;
    ok = kvt_write(f, t, n);
    if (fclose(f) != 0 || !ok) {
        fprintf(stderr, "%s: %s\n", name, strerror(errno));
        return false;
    }
    return true;
}

int
main(int argc, char **argv)
{
    struct options o = { .records = 100000 };
    struct kvt_error e;
    struct trace t;
    bool ok;

    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (!kvt_read_file(o.in, &t, &e)) {
        fprintf(stderr, "%s: offset %llu: %s\n", o.in,
                (unsigned long long)e.offset, e.reason);
        return 1;
    }
    ok = cut(&o, &t);
    trace_free(&t);
    return ok ? 0 : 1;
}
