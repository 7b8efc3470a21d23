/* SPDX-License-Identifier: BSD-2-Clause */
/* A run as JSON; docs/report-format.md has the schema. */
#include "replay/listing.h"
#include "replay/report.h"

static const char *const meta_name[META_KINDS] = {
    "tags", "hash", "qcache", "slab_headers", "state", "magazines", "other"
};

/* The members of a state, in the object that is open. */
static void
state_members(struct json *j, const struct state *s)
{
    json_number(j, "live_bytes", s->live_bytes);
    json_number(j, "va_live_bytes", s->va_live_bytes);
    json_number(j, "wired_bytes", s->wired_bytes);
    json_number(j, "large_bytes", s->large_bytes);
    json_number(j, "tags", s->tags);
    json_number(j, "tag_bytes", s->tag_bytes);
    json_number(j, "map_entries", s->map_entries);
    json_number(j, "map_entry_bytes", s->map_entry_bytes);
    json_number(j, "spans", s->spans);
    json_number(j, "largest_hole_bytes", s->largest_hole_bytes);
    json_object(j, "meta_bytes");
    for (unsigned i = 0; i < META_KINDS; i++) {
        json_number(j, meta_name[i], s->meta_bytes[i]);
    }
    json_end_object(j);
    json_number(j, "areas", s->areas);
    if (s->drain_us > 0) {
        json_number(j, "drain_us", s->drain_us);
    }
    if (s->movable_objects > 0) {
        json_number(j, "movable_objects", s->movable_objects);
        json_number(j, "moves", s->moves);
        json_number(j, "spans_emptied", s->spans_emptied);
    }
    if (s->busy_runs > 0) {
        json_number(j, "busy_runs", s->busy_runs);
    }
}

static void
state(struct json *j, const char *key, const struct state *s)
{
    json_object(j, key);
    state_members(j, s);
    json_end_object(j);
}

static void
series(struct json *j, const struct run *run)
{
    json_array(j, "series");
    for (unsigned i = 0; i < run->nseries; i++) {
        json_object(j, NULL);
        json_number(j, "t_ms", run->series[i].t_ms);
        state_members(j, &run->series[i]);
        json_end_object(j);
    }
    json_end_array(j);
}

static void
phases(struct json *j, const struct run *run)
{
    json_array(j, "phases");
    for (unsigned i = 0; i < run->trace->nphase; i++) {
        const struct phase *p = &run->trace->phase[i];

        json_object(j, NULL);
        json_string(j, "phase", p->name);
        json_number(j, "from_ms", p->from_ms);
        json_number(j, "recorded_slab_bytes", p->recorded_slab_bytes);
        json_number(j, "recorded_taken_bytes", p->recorded_taken_bytes);
        json_number(j, "t_ms", run->phase[i].t_ms);
        state_members(j, &run->phase[i]);
        state(j, "after_drain", &run->phase_drained[i]);
        json_end_object(j);
    }
    json_end_array(j);
}

static void
shootdowns(struct json *j, const struct run *run)
{
    json_array(j, "shootdowns");
    for (unsigned i = 0; i < run->nshootdowns; i++) {
        const struct shootdowns *s = &run->shootdowns[i];

        json_object(j, NULL);
        json_number(j, "bound_bytes", s->bound_bytes);
        json_number(j, "bound_ms", s->bound_ms);
        json_number(j, "frees", s->frees);
        json_number(j, "freed_bytes", s->freed_bytes);
        json_number(j, "flushes", s->flushes);
        json_number(j, "queued_max_bytes", s->queued_max_bytes);
        json_end_object(j);
    }
    json_end_array(j);
}

void
report_json(struct json *j, const struct run *run)
{
    json_object(j, NULL);
    json_string(j, "trace", run->trace->name);
    json_string(j, "stack", run->ops->name);
    json_number(j, "records", run->trace->nrecord);
    json_number(j, "records_replayed", run->trace->nreplay);
    json_decimal(j, "seconds", run->seconds);
    state(j, "peak", &run->peak);
    state(j, "max", &run->max);
    state(j, "free50", &run->free50);
    state(j, "free50_drained", &run->free50_drained);
    state(j, "free90", &run->free90);
    state(j, "free90_drained", &run->free90_drained);
    state(j, "drained", &run->drained);
    json_number(j, "free_allocates", run->totals.free_allocates);
    if (run->ops->resident) {
        json_number(j, "resident_bytes", run->resident_bytes);
    }
    if (run->trace->nphase > 0) {
        phases(j, run);
    }
    series(j, run);
    if (run->nshootdowns > 0) {
        shootdowns(j, run);
    }
    if (run->listing != NULL) {
        json_object(j, "listing");
        listing_json(j, run->listing);
        json_end_object(j);
    }
    json_end_object(j);
}
