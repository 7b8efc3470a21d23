/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The models `map` and `merged`: all address space comes straight from a kernel
 * map, at the lowest address that fits.
 *
 * map: one entry for each range.  This is what a kernel pays that does nothing
 * about it.
 *
 * merged: neighbours of one kind (wired memory, or areas of one region) share
 * an entry, so the entries are the maximal runs of pages of one kind.  The
 * price: to free a range that has neighbours of its kind on both sides is to
 * cut an entry in two, and so to allocate one.  We count those: they are
 * problem A-2 of tech-kern 2011.
 */
#include <stdlib.h>

#include "replay/model.h"

struct map {
    struct model model; /* first */
    struct space *space;
    uint64_t ranges;
    uint64_t free_allocates;
    bool merge;
};

/* `map` does not tell kinds apart: there the runs are what a map would come to
 * that merged whatever is adjacent. */
static uint8_t
mark_of(const struct map *map, uint8_t kind)
{
    return map->merge ? kind : RANGE_WIRED;
}

static uint32_t
map_take(struct model *m, uint32_t pages, uint32_t align, uint8_t kind)
{
    struct map *map = (struct map *)m;
    uint32_t page = space_alloc(map->space, pages, align, mark_of(map, kind));

    map->ranges += page != SPACE_NONE;
    return page == SPACE_NONE ? SLAB_NONE : page;
}

static void
map_give(struct model *m, uint32_t where, uint32_t pages, uint32_t align,
         uint8_t kind)
{
    struct map *map = (struct map *)m;
    uint64_t before = space_runs(map->space);

    (void)align;
    (void)kind;
    space_free(map->space, where, pages);
    map->ranges--;
    map->free_allocates += space_runs(map->space) > before;
}

static void
map_close(struct stack *st)
{
    struct map *map = (struct map *)st;

    if (map->space != NULL) {
        space_destroy(map->space);
    }
    model_fini(&map->model);
    free(map);
}

static struct stack *
map_open(const struct stack_ops *ops, const struct trace *t,
         const struct stack_config *c, bool merge, const char **reason)
{
    static const struct model_ops calls = { map_take, map_give };
    struct map *map = calloc(1, sizeof(*map));

    *reason = "out of memory";
    if (map == NULL) {
        return NULL;
    }
    map->merge = merge;
    map->space = model_space(c);
    if (!model_init(&map->model, ops, &calls, t, c) || map->space == NULL) {
        map_close(&map->model.stack);
        return NULL;
    }
    return &map->model.stack;
}

static struct stack *
plain_open(const struct trace *t, const struct stack_config *c,
           const char **reason)
{
    return map_open(&stack_map, t, c, false, reason);
}

static struct stack *
merged_open(const struct trace *t, const struct stack_config *c,
            const char **reason)
{
    return map_open(&stack_merged, t, c, true, reason);
}

static void
map_state(struct stack *st, struct state *s)
{
    struct map *map = (struct map *)st;
    uint64_t runs = space_runs(map->space);

    s->map_entries = map->merge ? runs : map->ranges;
    s->map_entry_bytes = s->map_entries * MODEL_MAP_ENTRY_BYTES;
    s->wired_bytes = model_wired_pages(&map->model) * TRACE_PAGE;
    s->largest_hole_bytes =
        (uint64_t)space_largest_hole(map->space) * TRACE_PAGE;
    s->busy_runs = map->merge ? 0 : runs;
}

static void
map_totals(struct stack *st, struct totals *t)
{
    struct map *map = (struct map *)st;

    t->free_allocates = map->merge ? map->free_allocates : 0;
}

static const char *
map_leftover(struct stack *st)
{
    struct map *map = (struct map *)st;

    return map->ranges == 0 && space_busy_pages(map->space) == 0
               ? NULL
               : "ranges are left in the map";
}

const struct stack_ops stack_map = {
    .name = "map",
    .about = "a map entry for each range",
    .open = plain_open,
    MODEL_CALLS,
    .state = map_state,
    .totals = map_totals,
    .drain = model_drain,
    .leftover = map_leftover,
    .close = map_close,
};

const struct stack_ops stack_merged = {
    .name = "merged",
    .about = "a map entry for each run of one kind",
    .open = merged_open,
    MODEL_CALLS,
    .state = map_state,
    .totals = map_totals,
    .drain = model_drain,
    .leftover = map_leftover,
    .close = map_close,
};
