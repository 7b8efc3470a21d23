/* SPDX-License-Identifier: BSD-2-Clause */
/* See progress.h. */
#include "replay/progress.h"

#include <stdio.h>
#include <unistd.h>

#define BAR 30u

static const char *what_now = "";
static const char *detail_now = "";
static unsigned shown; /* cells of the bar, plus 1; 0: none */

void
progress_begin(const char *what, const char *detail)
{
    what_now = what;
    detail_now = detail;
    shown = 0;
    progress_at(0, 1);
}

void
progress_at(size_t done, size_t total)
{
    static const char full[] = "##############################";
    unsigned cells = total == 0 ? BAR : (unsigned)(done * BAR / total);

    if (shown == cells + 1 || isatty(STDERR_FILENO) == 0) {
        return;
    }
    shown = cells + 1;
    fprintf(stderr, "\r\033[K%-10s %-10s [%.*s%*s] %3u %%", what_now,
            detail_now, (int)cells, full, (int)(BAR - cells), "",
            cells * 100 / BAR);
    fflush(stderr);
}

void
progress_end(void)
{
    if (shown != 0) {
        fprintf(stderr, "\r\033[K");
        fflush(stderr);
    }
    shown = 0;
}
