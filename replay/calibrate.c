/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The report gives three numbers and little of the machine.  What a model lacks
 * of such a number is printed with the reason we know of; no parameter is
 * turned to make it come out (docs/models.md).
 */
#include "replay/calibrate.h"

#include <stdio.h>
#include <string.h>

#include "replay/model_params.h"
#include "replay/report.h"

struct claim {
    const struct stack_ops *ops;
    uint64_t report, min, max;
    const char *unit;
    const char *low; /* why a model may stay below */
    const char *high;
};

static const struct claim claims[] = {
    { &stack_a, PARAM_REPORT_A, PARAM_REPORT_A_MIN, PARAM_REPORT_A_MAX,
      "entries",
      "Pools of single pages fill their chunks: one entry for 32 pages.  The "
      "report's\n     30,000 are one for 9 pages of its pools, so most of its "
      "entries were for something\n     that this load does not have: ranges "
      "above 16 pages (buffers, exec and pipe maps,\n     u-areas) with an "
      "entry each, or chunks left half empty by a larger past.",
      "More ranges above 16 pages than on the machine of the report." },
    { &stack_b, PARAM_REPORT_B, PARAM_REPORT_B_MIN, PARAM_REPORT_B_MAX, "tags",
      "A slab of 64 pages takes 3 tags, so 1.1 GB of pool pages cannot take "
      "more than some\n     15,000, whatever the workload.  In the report's "
      "vmem version \"malloc(9) is just\n     replaced by some arena\": a tag "
      "for each malloc.  This load has pools and areas only.",
      "More ranges above 16 pages than on the machine of the report." },
    { &stack_c, PARAM_REPORT_C, PARAM_REPORT_C_MIN, PARAM_REPORT_C_MAX, "tags",
      "b is below the report, and c is b and a tag for each page.",
      "More pool pages than 1.1 GB / 4 KiB, or smaller imports." },
};
#define CLAIMS (sizeof(claims) / sizeof(claims[0]))

static void
claim_print(const struct claim *cl, const struct run *run)
{
    uint64_t got = report_count(&run->peak);
    double apart = 100 * ((double)got / (double)cl->report - 1);

    printf("  %-3s %8llu %-8s %9llu  %7llu to %-7llu  %+6.0f %%  %s\n",
           cl->ops->name, (unsigned long long)got, cl->unit,
           (unsigned long long)cl->report, (unsigned long long)cl->min,
           (unsigned long long)cl->max, apart,
           got < cl->min   ? "below"
           : got > cl->max ? "above"
                           : "agrees");
}

static void
reason_print(const struct claim *cl, const struct run *run)
{
    uint64_t got = report_count(&run->peak);

    if (got < cl->min || got > cl->max) {
        printf("  %s: %s\n", cl->ops->name, got < cl->min ? cl->low : cl->high);
    }
}

/* What follows from the load alone, with no model. */
static void
arithmetic_print(const struct run *a, const struct run *b, const struct run *c)
{
    uint64_t pages = a->peak.wired_bytes / TRACE_PAGE;
    uint64_t upper = c->peak.tags - b->peak.tags;
    uint64_t single = b->peak.tags + 2 * pages;

    printf("\n  %llu pool pages: %llu chunks of %u, %llu quantum-cache slabs "
           "of %u; %llu areas live\n",
           (unsigned long long)pages,
           (unsigned long long)(pages / PARAM_CHUNK_PAGES), PARAM_CHUNK_PAGES,
           (unsigned long long)(pages / PARAM_QCACHE_SLAB_PAGES),
           PARAM_QCACHE_SLAB_PAGES, (unsigned long long)a->peak.areas);
    printf("  c above b: %llu tags, %.2f for each pool page (report: 300,000, "
           "1.12 for each page of 1.1 GB)\n",
           (unsigned long long)upper, (double)upper / (double)pages);
    printf("  c with imports of single pages instead of %u: about %llu tags\n",
           PARAM_WIRED_IMPORT_PAGES, (unsigned long long)single);
}

bool
calibrate(const struct trace *t, const struct replay_config *c, char *error,
          size_t error_size)
{
    struct run run[CLAIMS];
    bool ok = true;
    unsigned n = 0;

    memset(run, 0, sizeof(run));
    for (; ok && n < CLAIMS; n++) {
        ok = replay_run(t, claims[n].ops, c, &run[n]);
        if (!ok) {
            snprintf(error, error_size, "stack %s: %s", claims[n].ops->name,
                     run[n].error);
        }
    }
    if (ok) {
        printf("Calibration: %s live in pools of single pages, against "
               "tech-kern 2011\n\n",
               report_bytes(t->peak_live_bytes));
        printf("  %-3s %8s %-8s %9s  %-18s  %8s\n", "", "model", "", "report",
               "range", "apart");
        for (n = 0; n < CLAIMS; n++) {
            claim_print(&claims[n], &run[n]);
        }
        arithmetic_print(&run[0], &run[1], &run[2]);
        for (n = 0; n < CLAIMS; n++) {
            reason_print(&claims[n], &run[n]);
        }
    }
    for (n = 0; n < CLAIMS; n++) {
        run_free(&run[n]);
    }
    return ok;
}
