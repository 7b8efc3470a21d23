/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The figures that the library set itself for these loads.  Each is printed
 * with what came out; a figure that needs a stack which did not run is left
 * out.
 */
#include "replay/report.h"

#include <stdio.h>
#include <string.h>

static const struct run *
find(const struct run *run, unsigned n, const struct stack_ops *ops)
{
    for (unsigned i = 0; i < n; i++) {
        if (run[i].ops == ops) {
            return &run[i];
        }
    }
    return NULL;
}

static void
at_most(const char *what, double got, double aim, const char *unit)
{
    printf("  %-7s %-52s %11.7g%s, aim %.7g%s\n",
           got <= aim ? "reached" : "MISSED", what, got, unit, aim, unit);
}

static void
at_least(const char *what, double got, double aim, const char *unit)
{
    printf("  %-7s %-52s %11.7g%s, aim %.7g%s\n",
           got >= aim ? "reached" : "MISSED", what, got, unit, aim, unit);
}

static double
wired_ratio(const struct run *r)
{
    return r->peak.live_bytes == 0
               ? 0
               : (double)r->peak.wired_bytes / (double)r->peak.live_bytes;
}

static void
aims_synthetic(const struct run *ours)
{
    const uint64_t *m = ours->peak.meta_bytes;
    uint64_t own = m[META_TAGS] + m[META_HASH] + m[META_QCACHE] + m[META_STATE];

    at_most("tags at the peak", (double)ours->peak.tags, 10000, "");
    at_most("tags, hash, qcache and state, MB", (double)own / 1e6, 1.0, "");
    printf("          all bookkeeping: tags %s, hash %s, qcache %s, slab "
           "headers %s,\n          state %s, magazines %s, other %s\n",
           report_bytes(m[META_TAGS]), report_bytes(m[META_HASH]),
           report_bytes(m[META_QCACHE]), report_bytes(m[META_SLAB_HEADERS]),
           report_bytes(m[META_STATE]), report_bytes(m[META_MAGAZINES]),
           report_bytes(m[META_OTHER]));
}

static void
aims_files(const struct run *ours, const struct run *a, const struct run *map,
           bool pattern)
{
    if (a != NULL) {
        at_most("tags at the peak, below a's entries", (double)ours->peak.tags,
                (double)a->peak.map_entries - 1, "");
    }
    if (map != NULL) {
        at_most("tags at the peak, a tenth of map's entries",
                (double)ours->peak.tags, (double)map->peak.map_entries / 10,
                "");
    }
    at_most("wired / live at the peak", wired_ratio(ours), 1.10, "");
    at_least("wired memory under large pages at the peak",
             100 * (double)ours->peak.large_bytes /
                 (double)ours->peak.wired_bytes,
             90, " %");
    if (!pattern) {
        at_least("million records a second",
                 (double)ours->trace->nreplay / ours->seconds / 1e6, 3, "");
    }
}

/* By how many per cent the resident size and some bytes are apart. */
static double
resident_apart(const struct run *ours, uint64_t bytes)
{
    double apart =
        bytes == 0 ? 0 : (double)ours->resident_bytes / (double)bytes - 1;

    return 100 * (apart < 0 ? -apart : apart);
}

/* The library's books are resident as well, and no page under objects.  Beside
 * a small live set they are more than the aim allows for. */
static void
aim_resident(const struct run *ours)
{
    uint64_t wired = ours->peak.wired_bytes;
    uint64_t books = report_meta(&ours->peak);
    double apart = resident_apart(ours, wired);

    at_most("resident size apart from wired, %", apart, 2, "");
    if (apart > 2) {
        printf("          the books alone, %s, are %.2f %% of the %s wired\n",
               report_bytes(books),
               wired == 0 ? 0 : 100 * (double)books / (double)wired,
               report_bytes(wired));
    }
    at_most("resident size apart from wired and books, %",
            resident_apart(ours, wired + books), 2, "");
}

/*
 * Tags for what is cut off a span: four at the most for a page or more that
 * goes, and 127 to a page.
 */
static void
aim_drain_requests(const struct run *ours)
{
    char what[80];

    snprintf(what, sizeof(what), "metadata pages in %llu drains, %% of %llu",
             (unsigned long long)ours->drains,
             (unsigned long long)ours->drain_pages);
    at_most(what,
            ours->drain_pages == 0 ? (double)ours->drain_requests
                                   : 100 * (double)ours->drain_requests /
                                         (double)ours->drain_pages,
            100 * 4 / 127.0, "");
}

static void
aims_drained(const struct run *ours)
{
    char what[64];

    printf("  %-7s all freed and drained: %llu tags, %llu at the start; pages "
           "attached %llu;\n          bytes out of kernel_va_arena %llu\n",
           ours->drained.tags == ours->start_tags &&
                   ours->holding.attached_pages == 0 &&
                   ours->holding.va_bytes == 0
               ? "reached"
               : "MISSED",
           (unsigned long long)ours->drained.tags,
           (unsigned long long)ours->start_tags,
           (unsigned long long)ours->holding.attached_pages,
           (unsigned long long)ours->holding.va_bytes);
    snprintf(what, sizeof(what), "metadata pages asked for in %llu frees",
             (unsigned long long)ours->frees);
    at_most(what, (double)ours->free_requests, 0, "");
    aim_drain_requests(ours);
    at_most("processor seconds of the longest drain", ours->drain_seconds, 1,
            "");
}

/* With the library's own bounds, and with the widest that were tried. */
static void
aim_shootdowns(const struct run *ours)
{
    if (ours->nshootdowns > 1) {
        at_most("flushes for a thousand frees of areas",
                shootdowns_rate(&ours->shootdowns[1]), 5, "");
        at_most("the same with 64 MiB queued, of any age",
                shootdowns_rate(&ours->shootdowns[ours->nshootdowns - 1]), 5,
                "");
    }
}

void
report_aims(const struct run *run, unsigned n, bool pattern)
{
    const struct run *ours = find(run, n, &stack_ours);
    const char *name = run[0].trace->name;

    if (ours == NULL) {
        return;
    }
    printf("\n  aims\n");
    if (strcmp(name, "synthetic") == 0) {
        aims_synthetic(ours);
    } else if (strcmp(name, "files") == 0) {
        aims_files(ours, find(run, n, &stack_a), find(run, n, &stack_map),
                   pattern);
    } else if (strcmp(name, "vmap") == 0) {
        at_most("tags at the peak", (double)ours->peak.tags, 3483, "");
        at_most("tags at most, sampled", (double)ours->max.tags, 3483, "");
        at_most("wired / live at the peak", wired_ratio(ours), 1.2, "");
        aim_shootdowns(ours);
    } else if (strcmp(name, "build") == 0) {
        at_most("wired / live at the peak", wired_ratio(ours), 1.35, "");
    }
    aims_drained(ours);
    if (pattern) {
        aim_resident(ours);
    }
}
