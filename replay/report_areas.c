/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The recorded kernel counted its areas once a second, those of before the
 * recording and those freed but not yet purged included.  The model counts what
 * the trace allocated.  Beside each other, from the same start, they must have
 * the same shape; what remains apart is said in numbers.
 */
#include "replay/report.h"

#include <math.h>
#include <stdio.h>

/* Fewer areas than this are not worth a table. */
#define AREAS_FOR_A_TABLE 500u

struct pair {
    double kernel; /* above its count at the start */
    double model;
};

struct fit {
    unsigned n;
    double sum_k, sum_m, sum_kk, sum_mm, sum_km;
    double apart, apart_max;
};

static void
fit_add(struct fit *f, double kernel, double model)
{
    double apart = fabs(kernel - model);

    f->n++;
    f->sum_k += kernel;
    f->sum_m += model;
    f->sum_kk += kernel * kernel;
    f->sum_mm += model * model;
    f->sum_km += kernel * model;
    f->apart += apart;
    f->apart_max = apart > f->apart_max ? apart : f->apart_max;
}

static double
fit_correlation(const struct fit *f)
{
    double n = f->n;
    double kk = n * f->sum_kk - f->sum_k * f->sum_k;
    double mm = n * f->sum_mm - f->sum_m * f->sum_m;

    return kk <= 0 || mm <= 0
               ? 0
               : (n * f->sum_km - f->sum_k * f->sum_m) / sqrt(kk * mm);
}

static void
fit_print(const char *what, const struct fit *f, uint64_t peak)
{
    printf("  %-34s correlation %.4f, apart by %.0f on average and %.0f at "
           "most (%.1f %% and %.1f %% of the peak)\n",
           what, fit_correlation(f), f->apart / f->n, f->apart_max,
           100 * f->apart / f->n / (double)peak,
           100 * f->apart_max / (double)peak);
}

/* The tick at or after a time, or NULL. */
static const struct tick *
tick_at(const struct run *run, uint64_t ms, size_t *at)
{
    while (*at < run->trace->ntick && run->tick[*at].ms < ms) {
        ++*at;
    }
    return *at < run->trace->ntick ? &run->tick[*at] : NULL;
}

void
report_areas(const struct run *run, const struct samples *samples)
{
    bool table = run->max.areas >= AREAS_FOR_A_TABLE;
    struct fit live = { .n = 0 }, lazy = { .n = 0 };
    uint64_t start = 0;
    size_t at = 0;

    if (run->trace->ntick == 0 || run->max.areas == 0) {
        return;
    }
    printf("\n  areas: the recorded kernel's count, second by second, beside "
           "the model map\n");
    if (table) {
        printf("  %8s %10s %12s %8s %8s %14s\n", "ms", "kernel", "since start",
               "map", "apart", "map + unpurged");
    }
    for (size_t i = 0; i < samples->n; i++) {
        const struct sample *s = &samples->v[i];
        const struct tick *tk = tick_at(run, s->t_ms, &at);
        double kernel, model;

        if (tk == NULL || s->t_ms < run->tick[0].ms) {
            continue;
        }
        if (live.n == 0) {
            start = s->vmap_areas - tk->areas;
        }
        kernel = (double)s->vmap_areas - (double)start;
        model = tk->areas;
        fit_add(&live, kernel, model);
        fit_add(&lazy, kernel, model + tk->unpurged);
        if (table) {
            printf("  %8llu %10llu %12.0f %8u %8.0f %14u\n",
                   (unsigned long long)s->t_ms,
                   (unsigned long long)s->vmap_areas, kernel, tk->areas,
                   kernel - model, tk->areas + tk->unpurged);
        }
    }
    if (live.n > 0) {
        fit_print("map:", &live, run->max.areas);
        fit_print("map and areas not yet purged:", &lazy, run->max.areas);
    }
}
