/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that comes back: what is wired against what is live, without move
 * callbacks and with them, beside what the recorded kernel held and what is
 * aimed at.
 */
#include <stdio.h>
#include <string.h>

#include "replay/report.h"

/* With so much live a phase is to be below the aim. */
#define LIVE_MIN 25000000u
#define AIM_PHASE 1.25
#define AIM_FREED 1.7
#define AIM_FREED_STRETCH 1.5
#define AIM_MOVES 1.0
#define AIM_SECONDS 1.0

static double
ratio(uint64_t a, uint64_t b)
{
    return b == 0 ? 0 : (double)a / (double)b;
}

static double
wired_ratio(const struct state *s)
{
    return ratio(s->wired_bytes, s->live_bytes);
}

static void
at_most(const char *what, double got, double aim)
{
    printf("  %-7s %-52s %11.4g, aim %.4g\n", got <= aim ? "reached" : "MISSED",
           what, got, aim);
}

/* ---- nine tenths freed ------------------------------------------------ */

static void
freed_row(const char *name, const struct run *run)
{
    const struct state *d = &run->free90_drained;
    uint64_t moves = d->moves - run->free90.moves;

    printf("  %-14s %10s %10s %6.3f %9llu %9.3f %7llu %8.3f\n", name,
           report_bytes(d->live_bytes), report_bytes(d->wired_bytes),
           wired_ratio(d), (unsigned long long)moves,
           ratio(moves, d->movable_objects),
           (unsigned long long)(d->spans_emptied - run->free90.spans_emptied),
           (double)d->drain_us / 1e6);
}

static void
freed_table(const struct run *ours, const struct run *movers)
{
    const struct state *d = &movers->free90_drained;

    printf("  nine tenths of the objects freed at random, then a drain\n");
    printf("  %-14s %10s %10s %6s %9s %9s %7s %8s\n", "", "live", "wired",
           "/live", "moves", "/survivor", "spans", "seconds");
    if (ours != NULL) {
        freed_row("ours", ours);
    }
    freed_row("with movers", movers);
    if (strcmp(movers->trace->name, "files") == 0) {
        at_most("wired / live with movers", wired_ratio(d), AIM_FREED);
        at_most("the same, a stretch", wired_ratio(d), AIM_FREED_STRETCH);
        at_most("moves for each surviving movable object",
                ratio(d->moves - movers->free90.moves, d->movable_objects),
                AIM_MOVES);
    }
}

/* ---- phases ----------------------------------------------------------- */

static void
phase_row(const struct phase *p, const struct state *ours,
          const struct state *movers, uint64_t moves)
{
    printf("  %-24.24s %10s %9s %6.3f", p->name,
           report_bytes(movers->live_bytes),
           report_bytes(p->recorded_slab_bytes),
           ratio(p->recorded_slab_bytes, p->recorded_taken_bytes));
    if (ours != NULL) {
        printf(" %9s %6.3f", report_bytes(ours->wired_bytes),
               wired_ratio(ours));
    } else {
        printf(" %9s %6s", "-", "-");
    }
    printf(" %9s %6.3f %8llu %6.3f\n", report_bytes(movers->wired_bytes),
           wired_ratio(movers), (unsigned long long)moves,
           (double)movers->drain_us / 1e6);
}

static void
phase_table(const struct run *ours, const struct run *movers)
{
    const struct trace *t = movers->trace;
    uint64_t before = 0;

    printf("  after a drain at the end of each phase\n");
    printf("  %-24s %10s %9s %6s %9s %6s %9s %6s %8s %6s\n", "phase", "live",
           "kernel", "/taken", "ours", "/live", "movers", "/live", "moves",
           "s");
    for (unsigned i = 0; i < t->nphase; i++) {
        const struct state *m = &movers->phase_drained[i];

        phase_row(&t->phase[i], ours == NULL ? NULL : &ours->phase_drained[i],
                  m, m->moves - before);
        before = m->moves;
    }
}

/* The phases that the recorded kernel is looked at in. */
static bool
is_aimed_at(const char *name)
{
    static const char *const aimed[] = { "2a ", "2c ", "2d ", "3b ", "4 " };

    for (size_t i = 0; i < sizeof(aimed) / sizeof(aimed[0]); i++) {
        if (strncmp(name, aimed[i], strlen(aimed[i])) == 0) {
            return true;
        }
    }
    return false;
}

static void
phase_aims(const struct run *ours, const struct run *movers)
{
    const struct trace *t = movers->trace;
    char what[96];

    for (unsigned i = 0; i < t->nphase; i++) {
        const struct phase *p = &t->phase[i];
        const struct state *m = &movers->phase_drained[i];

        if (ours != NULL && is_aimed_at(p->name)) {
            /* The same objects in both, measured by the same bytes. */
            snprintf(what, sizeof(what), "%.24s: wired / taken, as the kernel",
                     p->name);
            at_most(what,
                    ratio(ours->phase_drained[i].wired_bytes,
                          p->recorded_taken_bytes),
                    ratio(p->recorded_slab_bytes, p->recorded_taken_bytes));
        }
        if (m->live_bytes >= LIVE_MIN && p->recorded_slab_bytes != 0) {
            snprintf(what, sizeof(what), "%.24s: wired / live with movers",
                     p->name);
            at_most(what, wired_ratio(m), AIM_PHASE);
        }
    }
}

void
report_back(const struct run *ours, const struct run *movers)
{
    printf("\n  memory that comes back\n");
    if (movers->trace->nphase > 0) {
        phase_table(ours, movers);
        phase_aims(ours, movers);
    } else {
        freed_table(ours, movers);
    }
    if (ours != NULL && ours->peak.live_bytes >= 1000000000u) {
        at_most("seconds of the drain when all is freed",
                (double)ours->drained.drain_us / 1e6, AIM_SECONDS);
    }
}
