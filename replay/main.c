/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kva-replay: allocation traces through our stack and through models of what a
 * kernel did before it.
 */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replay/calibrate.h"
#include "replay/kvt.h"
#include "replay/listing.h"
#include "replay/report.h"
#include "replay/synth.h"

static const struct stack_ops *const stacks[REPORT_STACKS_MAX] = {
    &stack_map, &stack_merged, &stack_a, &stack_b, &stack_c, &stack_ours
};

struct options {
    const char *json_path;
    bool use[REPORT_STACKS_MAX];
    bool any_stack;
    bool synthetic;
    bool calibrate;
    uint64_t synthetic_bytes;
    uint64_t seed;
    uint64_t limit;
    struct replay_config replay;
    char **trace;
    int ntrace;
};

/* ---- options ---------------------------------------------------------- */

enum {
    OPT_SYNTHETIC = 1,
    OPT_SEED,
    OPT_NO_PATTERN,
    OPT_SLABS,
    OPT_LIMIT,
    OPT_LISTING,
    OPT_CALIBRATE,
    OPT_MOVERS
};

/* The caches that the aims are about. */
#define MOVERS_DEFAULT \
    "ext4_inode_cache,dentry,buffer_head,lsm_inode_cache,radix_tree_node"

static const struct argp_option argp_options[] = {
    { "json", 'j', "FILE", 0, "Write the runs to FILE as well", 0 },
    { "stack", 's', "NAME", 0,
      "ours, a, b, c, map, merged, or all (the default); may be repeated", 0 },
    { "synthetic", OPT_SYNTHETIC, "BYTES", 0,
      "Replay the synthetic load with BYTES live (k, M and G: times 1000)", 0 },
    { "seed", OPT_SEED, "N", 0,
      "Of the synthetic load and of the random frees (1)", 0 },
    { "slabs", OPT_SLABS, "RULE", 0,
      "Slab sizes: pool (as our pools choose, the default), recorded (as the "
      "recorded kernel had them), single (one page)",
      0 },
    { "no-pattern", OPT_NO_PATTERN, NULL, 0,
      "Do not fill objects and check them at free", 0 },
    { "limit", OPT_LIMIT, "N", 0, "Only the first N records of each load", 0 },
    { "listing", OPT_LISTING, NULL, 0,
      "Print the library's listings (as vmstat -m and -C) as they are at the "
      "end of each load",
      0 },
    { "calibrate", OPT_CALIBRATE, NULL, 0,
      "First compare the models a, b and c with the report of 2011", 0 },
    { "movers", OPT_MOVERS, "NAME[,NAME...]", OPTION_ARG_OPTIONAL,
      "Show what memory comes back when the objects of these caches are moved "
      "(" MOVERS_DEFAULT ")",
      0 },
    { NULL, 0, NULL, 0, NULL, 0 }
};

static uint64_t
number(struct argp_state *state, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    uint64_t v, scale = 1;

    errno = 0;
    v = strtoull(text, &end, 10);
    if (end == text || text[0] == '-' || errno != 0) {
        argp_error(state, "%s is not a number", text);
    }
    if (*end == 'k') {
        scale = 1000;
    } else if (*end == 'M') {
        scale = 1000000;
    } else if (*end == 'G') {
        scale = 1000000000;
    }
    end += scale > 1;
    if (*end != '\0') {
        argp_error(state, "%s is not a number", text);
    }
    if (v > max / scale || v * scale < min) {
        argp_error(state, "%s is not between %llu and %llu", text,
                   (unsigned long long)min, (unsigned long long)max);
    }
    return v * scale;
}

static void
choose_stack(struct argp_state *state, struct options *o, const char *name)
{
    bool found = false;

    for (unsigned i = 0; i < REPORT_STACKS_MAX; i++) {
        if (strcmp(name, "all") == 0 || strcmp(name, stacks[i]->name) == 0) {
            o->use[i] = true;
            found = true;
        }
    }
    o->any_stack = true;
    if (!found) {
        argp_error(state, "there is no stack %s", name);
    }
}

static enum slab_rule
choose_slabs(struct argp_state *state, const char *name)
{
    static const char *const rule[] = { "pool", "recorded", "single" };

    for (unsigned i = 0; i < sizeof(rule) / sizeof(rule[0]); i++) {
        if (strcmp(name, rule[i]) == 0) {
            return (enum slab_rule)i;
        }
    }
    argp_error(state, "there is no slab rule %s", name);
    return SLABS_POOL;
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'j':
        o->json_path = arg;
        break;
    case 's':
        choose_stack(state, o, arg);
        break;
    case OPT_SYNTHETIC:
        o->synthetic = true;
        o->synthetic_bytes =
            number(state, arg, SYNTH_BYTES_MIN, SYNTH_BYTES_MAX);
        break;
    case OPT_SEED:
        o->seed = number(state, arg, 0, UINT64_MAX);
        break;
    case OPT_SLABS:
        o->replay.stack.slabs = choose_slabs(state, arg);
        break;
    case OPT_NO_PATTERN:
        o->replay.stack.pattern = false;
        break;
    case OPT_LIMIT:
        o->limit = number(state, arg, 1, UINT64_MAX);
        break;
    case OPT_LISTING:
        o->replay.listing = true;
        break;
    case OPT_CALIBRATE:
        o->calibrate = true;
        break;
    case OPT_MOVERS:
        o->replay.stack.movers = arg != NULL ? arg : MOVERS_DEFAULT;
        break;
    case ARGP_KEY_ARGS:
        o->trace = state->argv + state->next;
        o->ntrace = state->argc - state->next;
        break;
    case ARGP_KEY_END:
        if (o->ntrace == 0 && !o->synthetic && !o->calibrate) {
            argp_usage(state);
        }
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .args_doc = "[TRACE...]",
    .doc = "Replay recorded kernel allocations through libkva and through "
           "models of kernel maps, and count boundary tags and map entries."
           "\vTRACE is a KVT file, version 1, plain or xz "
           "(docs/trace-format.md in the sources); the repository has some in "
           "replay/data, a release archive has none.  NAME.samples.csv, "
           "NAME.slabinfo.csv and NAME.phases.csv beside it are used if they "
           "are there.  Without a trace, --synthetic makes a load.  Exit "
           "status: 0, 1 for bad input or a replay that failed, 2 for wrong "
           "use."
};

/* ---- loads ------------------------------------------------------------ */

struct output {
    struct json json;
    struct report_row *row;
    unsigned nrow;
};

static bool
complain(const char *what, const char *reason)
{
    fprintf(stderr, "%s: %s\n", what, reason);
    return false;
}

/* Cut a load short; its phases and peak follow in the scan. */
static void
limit_records(struct trace *t, uint64_t limit)
{
    if (limit == 0 || t->nrecord <= limit) {
        return;
    }
    t->nrecord = (size_t)limit;
    for (unsigned i = 0; i < t->nphase; i++) {
        if (t->phase[i].end > t->nrecord) {
            t->phase[i].end = t->nrecord;
        }
    }
}

/* Fewer areas than this say nothing of flushes. */
#define AREAS_FOR_SHOOTDOWNS 500u

/* The library's machine runs when it has run the load. */
static bool
count_shootdowns(const struct trace *t, size_t va, struct run *run)
{
    const char *reason;

    if (run->ops != &stack_ours || run->max.areas < AREAS_FOR_SHOOTDOWNS) {
        return true;
    }
    if (!shootdowns_run(t, va, run->shootdowns, &reason)) {
        fprintf(stderr, "%s, flushes: %s\n", t->name, reason);
        return false;
    }
    run->nshootdowns = SHOOTDOWN_ROWS;
    return true;
}

static unsigned
run_stacks(const struct options *o, const struct trace *t, struct run *run)
{
    struct replay_config c = o->replay;
    unsigned n = 0;

    c.seed = o->seed;
    c.verify = true;
    c.stack.va_bytes = trace_va_bytes(t);
    for (unsigned i = 0; i < REPORT_STACKS_MAX; i++) {
        if (!o->use[i]) {
            continue;
        }
        if (!replay_run(t, stacks[i], &c, &run[n++])) {
            fprintf(stderr, "%s, stack %s: %s\n", t->name, stacks[i]->name,
                    run[n - 1].error);
            for (unsigned k = 0; k < n; k++) {
                run_free(&run[k]);
            }
            return 0;
        }
        if (!count_shootdowns(t, c.stack.va_bytes, &run[n - 1])) {
            for (unsigned k = 0; k < n; k++) {
                run_free(&run[k]);
            }
            return 0;
        }
    }
    return n;
}

static void
print_areas(const struct run *run, unsigned n, const struct samples *samples)
{
    for (unsigned i = 0; i < n; i++) {
        if (run[i].ops == &stack_map && samples->n > 0) {
            report_areas(&run[i], samples);
        }
    }
}

static void
print_listings(const struct run *run, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (run[i].listing != NULL) {
            printf("\n%s, stack %s, at its end\n\n", run[i].trace->name,
                   run[i].ops->name);
            listing_print(run[i].listing, stdout);
        }
    }
}

/* Has the load a cache whose objects are to be moved? */
static bool
has_movers(const struct options *o, const struct trace *t)
{
    for (unsigned i = 0; i < t->nsite; i++) {
        if (t->site[i].kind == KIND_CACHE &&
            stack_is_mover(&o->replay.stack, t->type[t->site[i].type].name)) {
            return true;
        }
    }
    return false;
}

/* Once more through the library, with move callbacks. */
static bool
replay_moving(const struct options *o, const struct trace *t,
              const struct run *run, unsigned n, struct output *out)
{
    struct replay_config c = o->replay;
    const struct run *ours = NULL;
    struct run movers;
    bool ok;

    for (unsigned i = 0; i < n; i++) {
        ours = run[i].ops == &stack_ours ? &run[i] : ours;
    }
    c.seed = o->seed;
    c.verify = true;
    c.listing = false;
    c.back = true;
    c.stack.va_bytes = trace_va_bytes(t);
    ok = replay_run(t, &stack_movers, &c, &movers);
    if (!ok) {
        fprintf(stderr, "%s, stack movers: %s\n", t->name, movers.error);
    } else {
        report_back(ours, &movers);
        if (out->json.f != NULL) {
            report_json(&out->json, &movers);
        }
    }
    run_free(&movers);
    return ok;
}

/* Run all stacks over a load and report; the load is the caller's. */
static bool
replay_load(const struct options *o, const struct trace *t,
            const struct samples *samples, struct output *out)
{
    struct run run[REPORT_STACKS_MAX];
    unsigned n = run_stacks(o, t, run);
    bool ok = true;

    if (n == 0) {
        return false;
    }
    report_trace(t, run, n);
    print_areas(run, n, samples);
    report_aims(run, n, o->replay.stack.pattern);
    print_listings(run, n);
    report_row(&out->row[out->nrow++], run, n);
    for (unsigned i = 0; i < n; i++) {
        if (out->json.f != NULL) {
            report_json(&out->json, &run[i]);
        }
    }
    if (has_movers(o, t)) {
        ok = replay_moving(o, t, run, n, out);
    }
    for (unsigned i = 0; i < n; i++) {
        run_free(&run[i]);
    }
    fflush(stdout);
    return ok;
}

static bool
replay_file(const struct options *o, const char *path, struct output *out)
{
    struct samples samples = { .v = NULL };
    struct kvt_error e;
    struct trace t;
    char error[1024] = "out of memory";
    bool ok;

    if (!kvt_read_file(path, &t, &e)) {
        fprintf(stderr, "%s: offset %llu: %s\n", path,
                (unsigned long long)e.offset, e.reason);
        return false;
    }
    sidecar_name(path, t.name, sizeof(t.name));
    ok = sidecar_load(path, &t, error, sizeof(error));
    limit_records(&t, o->limit);
    ok = ok && sidecar_samples(path, &samples, error, sizeof(error)) &&
         trace_scan(&t);
    if (!ok) {
        complain(path, error);
    }
    ok = ok && replay_load(o, &t, &samples, out);
    free(samples.v);
    trace_free(&t);
    return ok;
}

static bool
replay_synthetic(const struct options *o, struct output *out)
{
    const struct samples none = { .v = NULL };
    struct trace t;
    bool ok;

    if (!synth_make(&t, o->synthetic_bytes, o->seed)) {
        return complain("synthetic", "out of memory");
    }
    limit_records(&t, o->limit);
    ok = trace_scan(&t) || complain("synthetic", "out of memory");
    ok = ok && replay_load(o, &t, &none, out);
    trace_free(&t);
    return ok;
}

static bool
run_calibration(const struct options *o)
{
    struct replay_config c = o->replay;
    char error[1024] = "out of memory";
    struct trace t;
    bool ok;

    if (!synth_make(&t, o->synthetic_bytes, o->seed)) {
        return complain("synthetic", error);
    }
    ok = trace_scan(&t);
    c.seed = o->seed;
    c.verify = true;
    c.stack.va_bytes = trace_va_bytes(&t);
    c.stack.slabs = SLABS_SINGLE;
    ok = ok && calibrate(&t, &c, error, sizeof(error));
    trace_free(&t);
    return ok || complain("calibration", error);
}

/* ---- the whole -------------------------------------------------------- */

static bool
replay_loads(const struct options *o, struct output *out)
{
    for (int i = 0; i < o->ntrace; i++) {
        if (!replay_file(o, o->trace[i], out)) {
            return false;
        }
    }
    if (o->synthetic && !replay_synthetic(o, out)) {
        return false;
    }
    if (out->nrow > 0) {
        report_summary(out->row, out->nrow);
    }
    return true;
}

static bool
replay_with_json(const struct options *o, struct output *out)
{
    FILE *f = fopen(o->json_path, "w");
    bool ok;

    if (f == NULL) {
        return complain(o->json_path, strerror(errno));
    }
    out->json.f = f;
    json_array(&out->json, NULL);
    ok = replay_loads(o, out);
    json_end_array(&out->json);
    if (fflush(f) != 0 || ferror(f)) {
        ok = complain(o->json_path, strerror(errno == 0 ? EIO : errno));
    }
    if (fclose(f) != 0 && ok) {
        ok = complain(o->json_path, strerror(errno));
    }
    return ok;
}

int
main(int argc, char **argv)
{
    struct options o = { .seed = 1,
                         .synthetic_bytes = SYNTH_BYTES_DEFAULT,
                         .replay.stack.pattern = true };
    struct output out = { .nrow = 0 };
    bool ok;

    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (!o.any_stack) {
        memset(o.use, 1, sizeof(o.use));
    }
    if (o.calibrate && !run_calibration(&o)) {
        return 1;
    }
    out.row = calloc((size_t)o.ntrace + 1, sizeof(*out.row));
    if (out.row == NULL) {
        return complain("kva-replay", "out of memory") ? 0 : 1;
    }
    ok = o.json_path != NULL ? replay_with_json(&o, &out)
                             : replay_loads(&o, &out);
    free(out.row);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        ok = complain("standard output", strerror(errno));
    }
    return ok ? 0 : 1;
}
