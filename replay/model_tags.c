/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Designs b and c of tech-kern 2011: boundary tags.
 *
 *     heap_arena      one map entry, one span
 *       +- heap_va_arena     quantum caches; imports exactly what it needs
 *            +- wired arena  c only: no quantum caches; pages are attached at
 *                            import; a span that is free goes back at once
 *
 * In b pools, malloc and kmem take their ranges from heap_va_arena and wire
 * them themselves; in c they take them from the wired arena, where each range
 * is a segment with a tag of its own.  That is what cost c its 400,000 tags.
 */
#include <stdlib.h>

#include "replay/model.h"
#include "replay/model_params.h"
#include "replay/range_cache.h"

_Static_assert(PARAM_WIRED_IMPORT_PAGES <= 16, "a span's pages are 16 bits");

/* A span of the wired arena. */
struct wspan {
    uint32_t next, prev; /* in the list of its longest hole */
    uint32_t where;      /* in heap_va_arena */
    uint16_t idle;       /* a bit for each free page */
};

#define SPAN_PAGES PARAM_WIRED_IMPORT_PAGES
#define SPAN_IDLE ((uint16_t)((1u << SPAN_PAGES) - 1u))

struct tags {
    struct model model; /* first */
    bool wired;         /* design c */
    struct space *heap;
    struct range_cache qcache;
    uint64_t imports; /* of heap_va_arena, out of the heap */
    /* The wired arena. */
    struct wspan *span;
    uint32_t nspan, span_room, span_unused;
    uint32_t list[SPAN_PAGES + 1]; /* of spans, by longest hole */
    uint64_t wired_spans, wired_pages, segments, holes;
};

/* ---- heap_arena and heap_va_arena ------------------------------------- */

static uint32_t
heap_take(void *arg, uint32_t pages, uint32_t align)
{
    struct tags *tg = arg;
    uint32_t page = space_alloc(tg->heap, pages, align, RANGE_WIRED);

    if (page == SPACE_NONE) {
        return SLAB_NONE;
    }
    tg->imports++;
    return page;
}

static void
heap_give(void *arg, uint32_t where, uint32_t pages, uint32_t align)
{
    struct tags *tg = arg;

    (void)align;
    space_free(tg->heap, where, pages);
    tg->imports--;
}

static uint32_t
va_take(struct tags *tg, uint32_t pages, uint32_t align)
{
    uint32_t pool = range_cache_pool(&tg->qcache, pages, align);

    return pool != SLAB_NONE ? slabs_get(&tg->qcache.chunks, pool)
                             : heap_take(tg, pages, align);
}

static void
va_give(struct tags *tg, uint32_t where, uint32_t pages, uint32_t align)
{
    if (range_cache_pool(&tg->qcache, pages, align) != SLAB_NONE) {
        slabs_put(&tg->qcache.chunks, where);
    } else {
        heap_give(tg, where, pages, align);
    }
}

/* ---- the wired arena -------------------------------------------------- */

static unsigned
longest_hole(uint16_t idle)
{
    unsigned n = 0;

    for (unsigned x = idle; x != 0; x &= x >> 1) {
        n++;
    }
    return n;
}

static unsigned
count_holes(uint16_t idle)
{
    unsigned starts = idle & ~((unsigned)idle << 1);

    return (unsigned)__builtin_popcount(starts);
}

static void
span_link(struct tags *tg, uint32_t i)
{
    struct wspan *w = &tg->span[i];
    uint32_t *head = &tg->list[longest_hole(w->idle)];

    tg->holes += count_holes(w->idle);
    w->prev = SLAB_NONE;
    w->next = *head;
    if (*head != SLAB_NONE) {
        tg->span[*head].prev = i;
    }
    *head = i;
}

static void
span_unlink(struct tags *tg, uint32_t i)
{
    struct wspan *w = &tg->span[i];

    tg->holes -= count_holes(w->idle);
    if (w->prev == SLAB_NONE) {
        tg->list[longest_hole(w->idle)] = w->next;
    } else {
        tg->span[w->prev].next = w->next;
    }
    if (w->next != SLAB_NONE) {
        tg->span[w->next].prev = w->prev;
    }
}

static uint32_t
span_row(struct tags *tg)
{
    uint32_t i = tg->span_unused;

    if (i != SLAB_NONE) {
        tg->span_unused = tg->span[i].next;
        return i;
    }
    if (tg->nspan == tg->span_room) {
        uint32_t room = tg->span_room == 0 ? 1024 : tg->span_room * 2;
        struct wspan *w = realloc(tg->span, (size_t)room * sizeof(*w));

        if (w == NULL) {
            return SLAB_NONE;
        }
        tg->span = w;
        tg->span_room = room;
    }
    return tg->nspan++;
}

static uint32_t
span_import(struct tags *tg)
{
    uint32_t i = span_row(tg);

    if (i == SLAB_NONE) {
        return SLAB_NONE;
    }
    tg->span[i].where = va_take(tg, SPAN_PAGES, 1);
    if (tg->span[i].where == SLAB_NONE) {
        tg->span[i].next = tg->span_unused;
        tg->span_unused = i;
        return SLAB_NONE;
    }
    tg->span[i].idle = SPAN_IDLE;
    tg->wired_spans++;
    tg->wired_pages += SPAN_PAGES;
    span_link(tg, i);
    return i;
}

static void
span_release(struct tags *tg, uint32_t i)
{
    span_unlink(tg, i);
    va_give(tg, tg->span[i].where, SPAN_PAGES, 1);
    tg->wired_spans--;
    tg->wired_pages -= SPAN_PAGES;
    tg->span[i].next = tg->span_unused;
    tg->span_unused = i;
}

/* The tightest hole there is, low in its span; else a new span.  The handle
 * is span and page. */
static uint32_t
segment_take(struct tags *tg, uint32_t pages)
{
    uint32_t k = pages, i;
    unsigned x, at;

    while (k <= SPAN_PAGES && tg->list[k] == SLAB_NONE) {
        k++;
    }
    i = k <= SPAN_PAGES ? tg->list[k] : span_import(tg);
    if (i == SLAB_NONE) {
        return SLAB_NONE;
    }
    x = tg->span[i].idle;
    for (uint32_t n = 1; n < pages; n++) {
        x &= x >> 1;
    }
    at = (unsigned)__builtin_ctz(x);
    span_unlink(tg, i);
    tg->span[i].idle &= (uint16_t) ~(((1u << pages) - 1u) << at);
    span_link(tg, i);
    tg->segments++;
    return i * SPAN_PAGES + at;
}

static void
segment_give(struct tags *tg, uint32_t where, uint32_t pages)
{
    uint32_t i = where / SPAN_PAGES;

    span_unlink(tg, i);
    tg->span[i].idle |=
        (uint16_t)(((1u << pages) - 1u) << (where % SPAN_PAGES));
    span_link(tg, i);
    tg->segments--;
    if (tg->span[i].idle == SPAN_IDLE) {
        span_release(tg, i);
    }
}

static uint32_t
wired_take(struct tags *tg, uint32_t pages)
{
    uint32_t where;

    if (pages <= SPAN_PAGES) {
        return segment_take(tg, pages);
    }
    where = va_take(tg, pages, 1);
    if (where != SLAB_NONE) {
        tg->wired_spans++;
        tg->segments++;
        tg->wired_pages += pages;
    }
    return where;
}

static void
wired_give(struct tags *tg, uint32_t where, uint32_t pages)
{
    if (pages <= SPAN_PAGES) {
        segment_give(tg, where, pages);
        return;
    }
    tg->wired_spans--;
    tg->segments--;
    tg->wired_pages -= pages;
    va_give(tg, where, pages, 1);
}

/* ---- the model -------------------------------------------------------- */

static uint32_t
tags_take(struct model *m, uint32_t pages, uint32_t align, uint8_t kind)
{
    struct tags *tg = (struct tags *)m;

    return tg->wired && kind == RANGE_WIRED ? wired_take(tg, pages)
                                            : va_take(tg, pages, align);
}

static void
tags_give(struct model *m, uint32_t where, uint32_t pages, uint32_t align,
          uint8_t kind)
{
    struct tags *tg = (struct tags *)m;

    if (tg->wired && kind == RANGE_WIRED) {
        wired_give(tg, where, pages);
    } else {
        va_give(tg, where, pages, align);
    }
}

static void
tags_close(struct stack *st)
{
    struct tags *tg = (struct tags *)st;

    if (tg->heap != NULL) {
        space_destroy(tg->heap);
    }
    range_cache_fini(&tg->qcache);
    model_fini(&tg->model);
    free(tg->span);
    free(tg);
}

static struct stack *
tags_open(const struct stack_ops *ops, const struct trace *t,
          const struct stack_config *c, bool wired, const char **reason)
{
    static const struct model_ops calls = { tags_take, tags_give };
    struct tags *tg = calloc(1, sizeof(*tg));
    struct slab_supply supply = { heap_take, heap_give, tg };
    bool ok;

    *reason = "out of memory";
    if (tg == NULL) {
        return NULL;
    }
    tg->wired = wired;
    tg->span_unused = SLAB_NONE;
    for (unsigned k = 0; k <= SPAN_PAGES; k++) {
        tg->list[k] = SLAB_NONE;
    }
    tg->heap = model_space(c);
    ok = model_init(&tg->model, ops, &calls, t, c) && tg->heap != NULL;
    ok = range_cache_init(&tg->qcache, PARAM_CACHED_PAGES,
                          PARAM_QCACHE_SLAB_PAGES, supply) &&
         ok;
    if (!ok) {
        tags_close(&tg->model.stack);
        return NULL;
    }
    return &tg->model.stack;
}

static struct stack *
b_open(const struct trace *t, const struct stack_config *c, const char **reason)
{
    return tags_open(&stack_b, t, c, false, reason);
}

static struct stack *
c_open(const struct trace *t, const struct stack_config *c, const char **reason)
{
    return tags_open(&stack_c, t, c, true, reason);
}

/* A hash over n busy tags has the next power of two buckets. */
static uint64_t
hash_bytes(uint64_t n)
{
    uint64_t buckets = 1;

    while (buckets < n) {
        buckets *= 2;
    }
    return buckets * MODEL_HASH_BUCKET_BYTES;
}

static void
tags_state(struct stack *st, struct state *s)
{
    struct tags *tg = (struct tags *)st;

    s->map_entries = 1;
    s->map_entry_bytes = MODEL_MAP_ENTRY_BYTES;
    s->tags = 1 + space_holes(tg->heap) + tg->imports * PARAM_TAGS_PER_IMPORT +
              tg->wired_spans + tg->segments + tg->holes;
    s->tag_bytes = s->tags * MODEL_TAG_BYTES;
    s->spans = 1 + tg->imports + tg->wired_spans;
    s->wired_bytes =
        (tg->wired ? tg->wired_pages : model_wired_pages(&tg->model)) *
        TRACE_PAGE;
    s->largest_hole_bytes = (uint64_t)space_largest_hole(tg->heap) * TRACE_PAGE;
    s->meta_bytes[META_TAGS] = s->tag_bytes;
    s->meta_bytes[META_HASH] = 2 * hash_bytes(tg->imports) +
                               (tg->wired ? hash_bytes(tg->segments) : 0);
    s->meta_bytes[META_QCACHE] =
        tg->qcache.chunks.held * MODEL_SLAB_HEADER_BYTES;
}

static void
tags_totals(struct stack *st, struct totals *t)
{
    (void)st;
    (void)t;
}

static void
tags_drain(struct stack *st)
{
    model_drain(st);
    slabs_drain(&((struct tags *)st)->qcache.chunks);
}

static const char *
tags_leftover(struct stack *st)
{
    struct tags *tg = (struct tags *)st;

    if (tg->segments != 0 || tg->wired_spans != 0 || tg->wired_pages != 0) {
        return "segments are left in the wired arena";
    }
    return tg->imports == 0 ? NULL : "spans are left in heap_va_arena";
}

const struct stack_ops stack_b = {
    .name = "b",
    .about = "tags, quantum caches, wiring by the users",
    .open = b_open,
    MODEL_CALLS,
    .state = tags_state,
    .totals = tags_totals,
    .drain = tags_drain,
    .leftover = tags_leftover,
    .close = tags_close,
};

const struct stack_ops stack_c = {
    .name = "c",
    .about = "b and an arena above that wires at import",
    .open = c_open,
    MODEL_CALLS,
    .state = tags_state,
    .totals = tags_totals,
    .drain = tags_drain,
    .leftover = tags_leftover,
    .close = tags_close,
};
