/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of flushes by the bounds of lazy unmapping. */
#include "replay/report.h"

#include <stdio.h>

void
shootdowns_print(const struct shootdowns *row, unsigned n)
{
    if (n == 0 || row[0].frees == 0) {
        return;
    }
    printf("\n  areas as wired ranges: %llu frees, %s in all\n",
           (unsigned long long)row[0].frees, report_bytes(row[0].freed_bytes));
    printf("  %-24s %10s %10s %16s %12s\n", "flush at", "flushes", "for 1,000",
           "frees for each", "most queued");
    for (unsigned i = 0; i < n; i++) {
        const struct shootdowns *s = &row[i];
        bool aged = s->bound_ms < 1000000;
        char what[48], age[24] = "";

        if (aged) {
            snprintf(age, sizeof(age), ", %llu ms",
                     (unsigned long long)s->bound_ms);
        }
        snprintf(what, sizeof(what), "%s%s",
                 s->bound_bytes == 1 ? "each free"
                                     : report_bytes(s->bound_bytes),
                 age);
        printf("  %-24s %10llu %10.1f %16.1f %12s\n", what,
               (unsigned long long)s->flushes, shootdowns_rate(s),
               s->flushes == 0 ? 0 : (double)s->frees / (double)s->flushes,
               report_bytes(s->queued_max_bytes));
    }
}
