/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Three designs of 2011, with drains in the middle.  Source: tech-kern, "Re:
 * kmem-pool-uvm", April 2011.
 *
 * What it reports: with 1.1 GB in pools, larger KVA caches in front of two maps
 * (a) came to 30,000 map entries; a heap of boundary tags with quantum caches
 * (b) to 100,000 tags; and b with one more arena that attaches pages on import
 * (c) to 400,000, for which c was dropped.  What is left after memory was given
 * back it does not say.
 *
 * What is built: the models a, b and c of the replay (docs/models.md) and the
 * library, which is a design c, with the same slabs, through the same loads:
 *
 *      synthetic   1.1 GB live; at the peak; with half of the objects freed at
 *                  random and drained; with nine tenths; with all
 *      reclaim     the recorded trace; at the peak, and drained at the end of
 *                  each of its phases
 *
 * Counted are tags (a: map entries) and wired pages, a's and c's before, ours
 * after.  A tag of ours has 32 bytes, theirs 56, a map entry 128.
 *
 * percent: of the 1.1 GB, at least 1 MB.  The trace is replayed whole, from 10
 * percent on, and if it is there; release archives leave it out.
 */
#include <string.h>
#include <unistd.h>

#include "bench/reclaim/experiment.h"
#include "replay/kvt.h"
#include "replay/replay.h"
#include "replay/sidecar.h"
#include "replay/synth.h"

#define TRACE EXPERIMENT_DATA "/reclaim.kvt.xz"
#define TRACE_FROM 10u /* percent */

#define TAGS_AIM 10000
/* What a machine that was just started has in tags, whatever the load. */
#define TAGS_START 300
/* clang-format off */
enum { A, B, C, OURS, STACKS };
/* clang-format on */
static const struct stack_ops *const stack[STACKS] = { &stack_a, &stack_b,
                                                       &stack_c, &stack_ours };

static double
tags(const struct state *s)
{
    return (double)(s->tags != 0 ? s->tags : s->map_entries);
}

static double
pages(const struct state *s)
{
    return (double)(s->wired_bytes / TRACE_PAGE);
}

/* Pages that ours may have above a, which has no magazines: a tenth, and a
 * MiB. */
static double
pages_bound(double a)
{
    return (double)(uint64_t)(a * 1.1) + 256;
}

static void
claim_pair(struct claims *c, const char *load, const char *when,
           const char *what, double before, double after, enum claim_kind kind,
           double bound)
{
    char text[CLAIM_TEXT_MAX];

    (void)snprintf(text, sizeof(text), "%.11s, %.23s: %.20s", load, when, what);
    claim(c, &(struct claim){ text, "", true, before, after, kind, bound });
}

/* The states of a moment, in the order of stack[]. */
struct moment {
    const char *load, *when;
    const struct state *of[STACKS];
};

static void
claim_peak(struct claims *c, const struct moment *m)
{
    double ours = tags(m->of[OURS]);

    claim_pair(c, m->load, m->when, "tags, b", tags(m->of[B]), ours,
               CLAIM_AT_MOST, TAGS_AIM);
    claim_pair(c, m->load, m->when, "tags, c", tags(m->of[C]), ours,
               CLAIM_AT_MOST, tags(m->of[C]));
    claim_pair(c, m->load, m->when, "tags, a's entries", tags(m->of[A]), ours,
               CLAIM_AT_MOST, tags(m->of[A]) + TAGS_START);
    claim_pair(c, m->load, m->when, "pages, a", pages(m->of[A]),
               pages(m->of[OURS]), CLAIM_AT_MOST, pages_bound(pages(m->of[A])));
}

static void
claim_drained(struct claims *c, const struct moment *m)
{
    claim_pair(c, m->load, m->when, "tags, a's entries", tags(m->of[A]),
               tags(m->of[OURS]), CLAIM_SHOWN, 0);
    claim_pair(c, m->load, m->when, "tags, c", tags(m->of[C]),
               tags(m->of[OURS]), CLAIM_SHOWN, 0);
    claim_pair(c, m->load, m->when, "pages, a", pages(m->of[A]),
               pages(m->of[OURS]), CLAIM_AT_MOST, pages_bound(pages(m->of[A])));
    claim_pair(c, m->load, m->when, "pages, c", pages(m->of[C]),
               pages(m->of[OURS]), CLAIM_SHOWN, 0);
}

static void
claim_end(struct claims *c, const struct moment *m)
{
    claim_pair(c, m->load, m->when, "tags, c", tags(m->of[C]),
               tags(m->of[OURS]), CLAIM_AT_MOST, 2);
    claim_pair(c, m->load, m->when, "pages, c", pages(m->of[C]),
               pages(m->of[OURS]), CLAIM_EQUALS, 0);
}

#define MOMENT(name, run, state)                                           \
    ((struct moment){ (name),                                              \
                      NULL,                                                \
                      { &(run)[A].state, &(run)[B].state, &(run)[C].state, \
                        &(run)[OURS].state } })

static void
claim_at(struct claims *c, struct moment m, const char *when,
         void (*claims)(struct claims *c, const struct moment *m))
{
    m.when = when;
    claims(c, &m);
}

static void
claim_load(struct claims *c, const struct trace *t, const struct run *run)
{
    claim_at(c, MOMENT(t->name, run, peak), "at the peak", claim_peak);
    if (strcmp(t->name, "synthetic") == 0) {
        claim_at(c, MOMENT(t->name, run, free50_drained), "half freed",
                 claim_drained);
        claim_at(c, MOMENT(t->name, run, free90_drained), "9/10 freed",
                 claim_drained);
    } else {
        for (unsigned i = 1; i < t->nphase; i++) {
            claim_at(c, MOMENT(t->name, run, phase_drained[i]),
                     t->phase[i].name, claim_drained);
        }
    }
    claim_at(c, MOMENT(t->name, run, drained), "all freed", claim_end);
}

/* The load through all four; it is ready but for the scan. */
static bool
compare(struct claims *c, struct trace *t, uint64_t seed)
{
    struct replay_config config = { .seed = seed, .verify = true };
    struct run run[STACKS];
    unsigned n = 0;
    bool ok = trace_scan(t) || experiment_failed("three", "out of memory");

    config.stack.va_bytes = ok ? trace_va_bytes(t) : 0;
    while (ok && n < STACKS) {
        ok = replay_run(t, stack[n], &config, &run[n]) ||
             experiment_failed("three", run[n].error);
        n++;
    }
    if (ok) {
        claim_load(c, t, run);
    }
    while (n > 0) {
        run_free(&run[--n]);
    }
    return ok;
}

static bool
compare_synthetic(struct claims *c, unsigned percent, uint64_t seed)
{
    uint64_t bytes = SYNTH_BYTES_DEFAULT * percent / 100;
    struct trace t;
    bool ok;

    bytes = bytes < SYNTH_BYTES_MIN ? SYNTH_BYTES_MIN : bytes;
    if (!synth_make(&t, bytes, seed)) {
        return experiment_failed("three", "out of memory");
    }
    ok = compare(c, &t, seed);
    trace_free(&t);
    return ok;
}

static bool
compare_trace(struct claims *c, uint64_t seed)
{
    struct kvt_error e;
    char error[1024] = "";
    struct trace t;
    bool ok;

    if (access(TRACE, R_OK) != 0) {
        (void)experiment_failed("three", "without the trace " TRACE);
        return true;
    }
    if (!kvt_read_file(TRACE, &t, &e)) {
        return experiment_failed("three", e.reason);
    }
    sidecar_name(TRACE, t.name, sizeof(t.name));
    ok = sidecar_load(TRACE, &t, error, sizeof(error)) ||
         experiment_failed("three", error);
    ok = ok && compare(c, &t, seed);
    trace_free(&t);
    return ok;
}

static bool
run_three(struct claims *c, unsigned percent, uint64_t seed)
{
    return compare_synthetic(c, percent, seed) &&
           (percent < TRACE_FROM || compare_trace(c, seed));
}

const struct experiment experiment_three = {
    "three", "designs a, b, c of 2011 and ours: tags and pages after drains",
    run_three
};
