/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tables for the terminal.  Every table has a stack to a row or to a column, in
 * the order in which they ran.
 */
#include "replay/report.h"

#include <stdio.h>
#include <string.h>

const char *
report_bytes(uint64_t v)
{
    static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    static char text[8][16];
    static unsigned next;
    char *s = text[next++ % 8];
    double d = (double)v;
    unsigned u = 0;

    while (d >= 1024 && u + 1 < sizeof(unit) / sizeof(unit[0])) {
        d /= 1024;
        u++;
    }
    snprintf(s, sizeof(text[0]), u == 0 || d >= 100 ? "%.0f %s" : "%.2f %s", d,
             unit[u]);
    return s;
}

uint64_t
report_count(const struct state *s)
{
    return s->tags > 0 ? s->tags : s->map_entries;
}

uint64_t
report_meta(const struct state *s)
{
    uint64_t sum = s->map_entry_bytes;

    for (unsigned i = 0; i < META_KINDS; i++) {
        sum += s->meta_bytes[i];
    }
    return sum;
}

static double
ratio(uint64_t a, uint64_t b)
{
    return b == 0 ? 0 : (double)a / (double)b;
}

/* ---- the tables of a trace -------------------------------------------- */

static void
peak_table(const struct run *run, unsigned n)
{
    printf("\n  at the peak\n");
    printf("  %-7s %9s %6s %9s %9s %10s %8s %11s %9s %9s %6s\n", "stack",
           "wired", "/live", "tags", "entries", "books", "spans", "large. hole",
           "max tags", "max ent.", "Mrec/s");
    for (unsigned i = 0; i < n; i++) {
        const struct run *r = &run[i];
        const struct state *p = &r->peak;

        printf("  %-7s %9s %6.3f %9llu %9llu %10s %8llu %11s %9llu %9llu "
               "%6.2f\n",
               r->ops->name, report_bytes(p->wired_bytes),
               ratio(p->wired_bytes, p->live_bytes),
               (unsigned long long)p->tags, (unsigned long long)p->map_entries,
               report_bytes(report_meta(p)), (unsigned long long)p->spans,
               report_bytes(p->largest_hole_bytes),
               (unsigned long long)r->max.tags,
               (unsigned long long)r->max.map_entries,
               (double)r->trace->nreplay / r->seconds / 1e6);
    }
    printf("  max tags, max ent.: sampled, at every tick and every 1,024th "
           "record\n");
}

static void
freed_table(const struct run *run, unsigned n, const char *title, size_t before,
            size_t after)
{
    printf("\n  %s\n", title);
    printf("  %-7s %10s %10s   %10s %10s   %10s %10s\n", "stack", "wired",
           "drained", "tags, ent.", "drained", "books", "drained");
    for (unsigned i = 0; i < n; i++) {
        const struct state *b =
            (const struct state *)(const void *)((const char *)&run[i] +
                                                 before);
        const struct state *a =
            (const struct state *)(const void *)((const char *)&run[i] + after);

        printf("  %-7s %10s %10s   %10llu %10llu   %10s %10s\n",
               run[i].ops->name, report_bytes(b->wired_bytes),
               report_bytes(a->wired_bytes),
               (unsigned long long)report_count(b),
               (unsigned long long)report_count(a),
               report_bytes(report_meta(b)), report_bytes(report_meta(a)));
    }
}

static void
drained_line(const struct run *run, unsigned n)
{
    printf("\n  all freed and drained: ");
    for (unsigned i = 0; i < n; i++) {
        const struct state *d = &run[i].drained;

        printf("%s%s %llu (%s wired)", i == 0 ? "" : ", ", run[i].ops->name,
               (unsigned long long)report_count(d),
               report_bytes(d->wired_bytes));
    }
    printf("\n");
}

enum phase_column {
    PHASE_WIRED,
    PHASE_WIRED_DRAINED,
    PHASE_COUNT_DRAINED
};

static void
phase_cell(const struct run *run, unsigned p, enum phase_column what)
{
    const struct state *s =
        what == PHASE_WIRED ? &run->phase[p] : &run->phase_drained[p];

    if (what == PHASE_COUNT_DRAINED) {
        printf(" %9llu", (unsigned long long)report_count(s));
    } else {
        printf(" %9s", report_bytes(s->wired_bytes));
    }
}

static void
phase_table(const struct trace *t, const struct run *run, unsigned n,
            enum phase_column what)
{
    static const char *const title[] = { "wired", "wired, after a drain",
                                         "tags or entries, after a drain" };

    printf("\n  at the end of each phase: %s\n", title[what]);
    printf("  %-26s %10s %12s", "phase", "live", "kernel slabs");
    for (unsigned i = 0; i < n; i++) {
        printf(" %9s", run[i].ops->name);
    }
    printf("\n");
    for (unsigned p = 0; p < t->nphase; p++) {
        uint64_t slabs = t->phase[p].recorded_slab_bytes;

        printf("  %-26.26s %10s %12s", t->phase[p].name,
               report_bytes(run[0].phase[p].live_bytes),
               slabs == 0 ? "-" : report_bytes(slabs));
        for (unsigned i = 0; i < n; i++) {
            phase_cell(&run[i], p, what);
        }
        printf("\n");
    }
}

/* What large pages map, where the stack has real pages. */
static void
large_line(const struct run *r)
{
    const struct state *s[] = { &r->peak, &r->free50_drained,
                                &r->free90_drained };
    static const char *const when[] = { "at the peak", "half freed, drained",
                                        "nine tenths" };

    printf("  %s: wired under large pages:", r->ops->name);
    for (unsigned i = 0; i < 3; i++) {
        printf("%s %s %.2f %% (%s)", i == 0 ? "" : ",", when[i],
               100 * ratio(s[i]->large_bytes, s[i]->wired_bytes),
               report_bytes(s[i]->large_bytes));
    }
    printf("\n");
}

static void
own_lines(const struct run *run, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const struct run *r = &run[i];

        if (r->max.busy_runs > 0) {
            printf("\n  %s: %llu runs of adjacent ranges at the peak, at most "
                   "%llu: the least that merging could reach\n",
                   r->ops->name, (unsigned long long)r->peak.busy_runs,
                   (unsigned long long)r->max.busy_runs);
        }
        if (r->totals.free_allocates > 0) {
            printf("  %s: %llu frees had to allocate an entry\n", r->ops->name,
                   (unsigned long long)r->totals.free_allocates);
        }
        if (r->ops->resident) {
            large_line(r);
        }
        if (r->resident_bytes > 0) {
            uint64_t want = r->peak.wired_bytes + report_meta(&r->peak);

            printf("  %s: seen from outside, the process grew by %s up to "
                   "the peak; wired and bookkeeping are %s (%+.2f %%)\n",
                   r->ops->name, report_bytes(r->resident_bytes),
                   report_bytes(want),
                   100 * (ratio(r->resident_bytes, want) - 1));
        }
    }
}

void
report_trace(const struct trace *t, const struct run *run, unsigned n)
{
    printf(
        "\n%s: %zu records, %zu of them replayed; at the peak %s live in "
        "objects, %s in %llu areas (at %.1f s)\n",
        t->name, t->nrecord, t->nreplay, report_bytes(run[0].peak.live_bytes),
        report_bytes(run[0].peak.va_live_bytes),
        (unsigned long long)run[0].peak.areas, (double)run[0].peak.t_ms / 1000);
    peak_table(run, n);
    own_lines(run, n);
    freed_table(run, n, "half of the objects freed at random",
                offsetof(struct run, free50),
                offsetof(struct run, free50_drained));
    freed_table(run, n, "nine tenths of the objects freed",
                offsetof(struct run, free90),
                offsetof(struct run, free90_drained));
    drained_line(run, n);
    for (unsigned k = PHASE_WIRED; t->nphase > 0 && k <= PHASE_COUNT_DRAINED;
         k++) {
        phase_table(t, run, n, (enum phase_column)k);
    }
    for (unsigned i = 0; i < n; i++) {
        shootdowns_print(run[i].shootdowns, run[i].nshootdowns);
    }
}

/* ---- the last table --------------------------------------------------- */

void
report_row(struct report_row *row, const struct run *run, unsigned n)
{
    memset(row, 0, sizeof(*row));
    snprintf(row->trace, sizeof(row->trace), "%s", run[0].trace->name);
    row->live_bytes = run[0].peak.live_bytes;
    row->n = n;
    for (unsigned i = 0; i < n; i++) {
        row->cell[i].stack = run[i].ops->name;
        row->cell[i].count = report_count(&run[i].peak);
    }
}

void
report_summary(const struct report_row *row, unsigned n)
{
    printf("\nWhat each stack keeps at the peak: map entries of 128 bytes "
           "(map, merged, a), boundary tags (b, c, ours)\n");
    printf("  %-12s %10s", "trace", "live");
    for (unsigned i = 0; n > 0 && i < row[0].n; i++) {
        printf(" %9s", row[0].cell[i].stack);
    }
    printf("\n");
    for (unsigned k = 0; k < n; k++) {
        printf("  %-12s %10s", row[k].trace, report_bytes(row[k].live_bytes));
        for (unsigned i = 0; i < row[k].n; i++) {
            printf(" %9llu", (unsigned long long)row[k].cell[i].count);
        }
        printf("\n");
    }
}
