/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The walk over the records.  All tables are made and touched before the stack
 * opens, so that what the process grows by from then on is the stack's.
 *
 * The highest values of a run are looked for at every tick and every 1,024th
 * record; a stack that keeps a high-water mark of its own tells it at the end.
 * Metadata requests are looked at around the frees and drains that come in one
 * go; in between nothing else is asked for.
 */
#include "replay/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "replay/listing.h"
#include "replay/progress.h"

#define LOOK_EVERY 1024u
#define PROGRESS_EVERY (1u << 16)
#define THING_AREA 0x80000000u /* in `site`: an area */
#define THING_NONE UINT32_MAX  /* in `site`: the slot is empty */

struct replay {
    const struct trace *t;
    const struct replay_config *c;
    struct stack *st;
    struct run *run;
    struct thing *thing; /* by slot */
    struct state now;    /* t_ms, live bytes and areas are kept up to date */
    uint32_t unpurged;
    size_t nticks;
    size_t stride; /* ticks to a state of the series */
    bool record_series;
    uint64_t resident_before;
};

/* ---- states ----------------------------------------------------------- */

static void
take_state(struct replay *r, struct state *s)
{
    memset(s, 0, sizeof(*s));
    r->st->ops->state(r->st, s);
    s->t_ms = r->now.t_ms;
    s->live_bytes = r->now.live_bytes;
    s->va_live_bytes = r->now.va_live_bytes;
    s->areas = r->now.areas;
}

static void
raise(uint64_t *max, uint64_t v)
{
    if (v > *max) {
        *max = v;
    }
}

static void
raise_all(struct state *max, const struct state *s)
{
    raise(&max->live_bytes, s->live_bytes);
    raise(&max->va_live_bytes, s->va_live_bytes);
    raise(&max->wired_bytes, s->wired_bytes);
    raise(&max->large_bytes, s->large_bytes);
    raise(&max->tags, s->tags);
    raise(&max->tag_bytes, s->tag_bytes);
    raise(&max->map_entries, s->map_entries);
    raise(&max->map_entry_bytes, s->map_entry_bytes);
    raise(&max->spans, s->spans);
    raise(&max->largest_hole_bytes, s->largest_hole_bytes);
    raise(&max->areas, s->areas);
    raise(&max->busy_runs, s->busy_runs);
    for (unsigned i = 0; i < META_KINDS; i++) {
        raise(&max->meta_bytes[i], s->meta_bytes[i]);
    }
}

static void
look(struct replay *r)
{
    struct state s;

    take_state(r, &s);
    raise_all(&r->run->max, &s);
}

/* ---- one record ------------------------------------------------------- */

static void
at_tick(struct replay *r, uint32_t ms)
{
    struct run *run = r->run;

    if (r->st->ops->tick != NULL) {
        r->st->ops->tick(r->st, ms - (uint32_t)r->now.t_ms);
    }
    r->now.t_ms = ms;
    if (!r->record_series) {
        return;
    }
    run->tick[r->nticks] = (struct tick){ .ms = ms,
                                          .areas = (uint32_t)r->now.areas,
                                          .unpurged = r->unpurged };
    if (r->nticks % r->stride == 0 && run->nseries < RUN_SERIES_MAX) {
        struct state *s = &run->series[run->nseries++];

        take_state(r, s);
        raise_all(&run->max, s);
    }
    r->nticks++;
}

/* An object of no bytes is nothing that could be allocated. */
static bool
object_alloc(struct replay *r, const struct record *rec)
{
    struct thing *th = &r->thing[rec->slot];

    th->site = trace_site(r->t, rec);
    th->size = rec->a;
    th->generation++;
    r->now.live_bytes += rec->a;
    return rec->a == 0 || r->st->ops->alloc_object(r->st, th, rec->cpu);
}

static bool
object_free(struct replay *r, uint32_t slot, unsigned cpu)
{
    struct thing *th = &r->thing[slot];
    bool ok = th->size == 0 || r->st->ops->free_object(r->st, th, cpu);

    r->now.live_bytes -= th->size;
    th->site = THING_NONE;
    return ok;
}

static bool
area_alloc(struct replay *r, const struct record *rec)
{
    struct thing *th = &r->thing[rec->slot];
    bool ok;

    th->site = rec->type;
    th->size = rec->a;
    th->generation++;
    r->now.va_live_bytes += (uint64_t)rec->a * TRACE_PAGE;
    r->now.areas++;
    ok = rec->a == 0 || r->st->ops->alloc_area(r->st, th, rec->cpu);
    th->site |= THING_AREA;
    return ok;
}

static bool
area_free(struct replay *r, uint32_t slot, unsigned cpu)
{
    struct thing *th = &r->thing[slot];
    bool ok;

    th->site &= ~THING_AREA;
    ok = th->size == 0 || r->st->ops->free_area(r->st, th, cpu);
    r->now.va_live_bytes -= (uint64_t)th->size * TRACE_PAGE;
    r->now.areas--;
    r->unpurged++;
    th->site = THING_NONE;
    return ok;
}

static void
purge(struct replay *r, uint32_t areas)
{
    r->unpurged = r->unpurged > areas ? r->unpurged - areas : 0;
    r->st->ops->purge(r->st);
}

static bool
apply(struct replay *r, const struct record *rec)
{
    switch (rec->op) {
    case OP_TICK:
        at_tick(r, rec->a);
        return true;
    case OP_CACHE_ALLOC:
    case OP_KMALLOC:
        return object_alloc(r, rec);
    case OP_CACHE_FREE:
    case OP_KFREE:
        return object_free(r, rec->slot, rec->cpu);
    case OP_VMAP_ALLOC:
        return area_alloc(r, rec);
    case OP_VMAP_FREE:
        return area_free(r, rec->slot, rec->cpu);
    case OP_VMAP_PURGE:
        purge(r, rec->a);
        return true;
    default:
        return true; /* pages lie under the objects */
    }
}

static bool
failed(struct replay *r, const char *where, size_t i)
{
    snprintf(r->run->error, sizeof(r->run->error), "%s %zu: %s", where, i,
             r->st->reason);
    return false;
}

/* Records [from, to). */
static bool
replay_range(struct replay *r, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        if (!apply(r, &r->t->record[i])) {
            return failed(r, "record", i);
        }
        if (i % LOOK_EVERY == 0 && r->record_series) {
            look(r);
            if (i % PROGRESS_EVERY == 0) {
                progress_at(i, r->t->nrecord);
            }
        }
    }
    return true;
}

/* ---- freeing ---------------------------------------------------------- */

static uint64_t
requests_now(struct replay *r)
{
    struct totals t = { .meta_requests = 0 };

    r->st->ops->totals(r->st, &t);
    return t.meta_requests;
}

static bool
free_slot(struct replay *r, uint32_t slot)
{
    unsigned cpu = slot % r->t->ncpu;

    r->run->frees++;
    return (r->thing[slot].site & THING_AREA) != 0 ? area_free(r, slot, cpu)
                                                   : object_free(r, slot, cpu);
}

static bool
free_all(struct replay *r)
{
    uint64_t before = requests_now(r);

    for (uint32_t i = 0; i < r->t->nslot; i++) {
        if (r->thing[i].site != THING_NONE && !free_slot(r, i)) {
            return failed(r, "free of slot", i);
        }
    }
    r->run->free_requests += requests_now(r) - before;
    return true;
}

static double
seconds_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* What is still there when nothing should be. */
static bool
check_empty(struct replay *r)
{
    const char *left;

    if (!r->c->verify) {
        return true;
    }
    left = r->st->ops->leftover(r->st);
    if (left != NULL) {
        snprintf(r->run->error, sizeof(r->run->error),
                 "after all is freed and drained: %s", left);
    }
    return left == NULL;
}

/* Of this process, so that it does not count what else the machine does. */
static double
processor_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
drain(struct replay *r, struct state *s)
{
    uint64_t before = requests_now(r);
    struct state first;
    double took;

    take_state(r, &first);
    took = -processor_now();
    r->st->ops->drain(r->st);
    took += processor_now();
    r->run->drain_seconds =
        took > r->run->drain_seconds ? took : r->run->drain_seconds;
    r->run->drain_requests += requests_now(r) - before;
    r->run->drains++;
    take_state(r, s);
    r->run->drain_pages += (first.wired_bytes - s->wired_bytes) / TRACE_PAGE;
    s->drain_us = (uint64_t)(took * 1e6);
}

/* The live objects in a random order (Fisher and Yates); areas stay. */
static uint32_t *
live_objects(struct replay *r, size_t *n)
{
    uint32_t *v = malloc(((size_t)r->t->nslot + 1) * sizeof(*v));
    uint64_t rng = r->c->seed;
    size_t k = 0;

    if (v == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < r->t->nslot; i++) {
        if ((r->thing[i].site & THING_AREA) == 0) {
            v[k++] = i;
        }
    }
    for (size_t i = k; i > 1; i--) {
        size_t j = (size_t)random_below(&rng, i);
        uint32_t swap = v[j];

        v[j] = v[i - 1];
        v[i - 1] = swap;
    }
    *n = k;
    return v;
}

static bool
free_some(struct replay *r, const uint32_t *v, size_t from, size_t to)
{
    uint64_t before = requests_now(r);

    for (size_t i = from; i < to; i++) {
        if (!free_slot(r, v[i])) {
            return failed(r, "free of slot", v[i]);
        }
    }
    r->run->free_requests += requests_now(r) - before;
    return true;
}

static bool
free_at_random(struct replay *r)
{
    struct run *run = r->run;
    size_t n = 0;
    uint32_t *v = live_objects(r, &n);
    size_t half = n / 2, most = n / 10 * 9 + n % 10 * 9 / 10;
    bool ok;

    if (v == NULL) {
        snprintf(run->error, sizeof(run->error), "out of memory");
        return false;
    }
    ok = free_some(r, v, 0, half);
    if (ok) {
        take_state(r, &run->free50);
        if (r->c->back) {
            run->free50_drained = run->free50;
        } else {
            drain(r, &run->free50_drained);
        }
        ok = free_some(r, v, half, most);
    }
    if (ok) {
        take_state(r, &run->free90);
        drain(r, &run->free90_drained);
        ok = free_all(r);
    }
    free(v);
    return ok;
}

/* ---- passes ----------------------------------------------------------- */

/* Resident bytes of this process, as seen from outside; 0: not known. */
static uint64_t
resident_now(void)
{
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    unsigned long long kb = 0;
    char line[256];

    if (f == NULL) {
        return 0;
    }
    while (fgets(line, sizeof(line), f) != NULL &&
           sscanf(line, "Rss: %llu", &kb) != 1) {
    }
    fclose(f);
    return kb * 1024;
}

/* The end of the phase that record i belongs to, or of the trace. */
static size_t
stop_after(const struct replay *r, unsigned phase)
{
    return phase < r->t->nphase ? r->t->phase[phase].end : r->t->nrecord;
}

static void
phase_ends(struct replay *r, unsigned phase)
{
    take_state(r, &r->run->phase[phase]);
    if (r->t->phase[phase].drain) {
        drain(r, &r->run->phase_drained[phase]);
    } else {
        take_state(r, &r->run->phase_drained[phase]);
    }
}

/* Replay all, with a stop at each phase's end and after the peak. */
static bool
replay_all(struct replay *r)
{
    size_t at = 0, peak = r->t->peak + 1;
    unsigned phase = 0;

    while (at < r->t->nrecord || phase < r->t->nphase) {
        size_t stop = stop_after(r, phase);
        bool is_peak = at < peak && peak <= stop;

        if (!replay_range(r, at, is_peak ? peak : stop)) {
            return false;
        }
        at = is_peak ? peak : stop;
        if (is_peak) {
            look(r);
        }
        if (phase < r->t->nphase && at == stop) {
            phase_ends(r, phase++);
        }
    }
    return true;
}

/* With all that is live at the end. */
static bool
take_listing(struct replay *r)
{
    if (!r->c->listing || r->st->ops->listing == NULL) {
        return true;
    }
    r->run->listing = r->st->ops->listing(r->st);
    if (r->run->listing == NULL) {
        snprintf(r->run->error, sizeof(r->run->error), "out of memory");
    }
    return r->run->listing != NULL;
}

static bool
pass_all(struct replay *r)
{
    double start = seconds_now();

    r->record_series = true;
    if (!replay_all(r)) {
        return false;
    }
    r->run->seconds = seconds_now() - start;
    r->st->ops->totals(r->st, &r->run->totals);
    raise(&r->run->max.wired_bytes, r->run->totals.wired_max);
    if (!take_listing(r) || !free_all(r)) {
        return false;
    }
    drain(r, &r->run->drained);
    if (r->st->ops->resident) {
        r->st->ops->holding(r->st, &r->run->holding);
    }
    return check_empty(r);
}

static bool
pass_peak(struct replay *r)
{
    struct state end;

    r->record_series = false;
    if (!replay_range(r, 0, r->t->peak + 1)) {
        return false;
    }
    take_state(r, &r->run->peak);
    if (r->st->ops->resident) {
        r->run->resident_bytes = resident_now() - r->resident_before;
    }
    if (!free_at_random(r)) {
        return false;
    }
    drain(r, &end);
    return check_empty(r);
}

static void
things_reset(struct replay *r)
{
    for (uint32_t i = 0; i < r->t->nslot; i++) {
        r->thing[i] = (struct thing){ .slot = i, .site = THING_NONE };
    }
    memset(&r->now, 0, sizeof(r->now));
    r->unpurged = 0;
}

static bool
pass(struct replay *r, const struct stack_ops *ops,
     bool (*body)(struct replay *r))
{
    const char *reason = "";
    struct state start;
    bool ok;

    things_reset(r);
    r->resident_before = ops->resident ? resident_now() : 0;
    r->st = ops->open(r->t, &r->c->stack, &reason);
    if (r->st == NULL) {
        snprintf(r->run->error, sizeof(r->run->error), "cannot start: %s",
                 reason);
        return false;
    }
    take_state(r, &start);
    r->run->start_tags = start.tags;
    ok = body(r);
    r->st->failed = !ok;
    r->st->ops->close(r->st);
    return ok;
}

static bool
run_alloc(struct run *run, struct replay *r)
{
    const struct trace *t = r->t;

    run->series = calloc(RUN_SERIES_MAX, sizeof(*run->series));
    run->phase = calloc((size_t)t->nphase + 1, sizeof(*run->phase));
    run->phase_drained =
        calloc((size_t)t->nphase + 1, sizeof(*run->phase_drained));
    run->tick = calloc(t->ntick + 1, sizeof(*run->tick));
    r->thing = calloc((size_t)t->nslot + 1, sizeof(*r->thing));
    return run->series != NULL && run->phase != NULL &&
           run->phase_drained != NULL && run->tick != NULL && r->thing != NULL;
}

bool
replay_run(const struct trace *t, const struct stack_ops *ops,
           const struct replay_config *c, struct run *run)
{
    struct replay r = { .t = t, .c = c, .run = run };
    bool ok;

    memset(run, 0, sizeof(*run));
    run->trace = t;
    run->ops = ops;
    r.stride = (t->ntick + RUN_SERIES_MAX - 1) / RUN_SERIES_MAX;
    r.stride = r.stride == 0 ? 1 : r.stride;
    progress_begin(t->name, ops->name);
    ok = run_alloc(run, &r);
    if (!ok) {
        snprintf(run->error, sizeof(run->error), "out of memory");
    }
    if (c->back) {
        ok = ok && pass(&r, ops, t->nphase > 0 ? pass_all : pass_peak);
    } else {
        ok = ok && pass(&r, ops, pass_all) && pass(&r, ops, pass_peak);
    }
    progress_end();
    free(r.thing);
    return ok;
}

void
run_free(struct run *run)
{
    free(run->series);
    free(run->phase);
    free(run->phase_drained);
    free(run->tick);
    listing_free(run->listing);
}
