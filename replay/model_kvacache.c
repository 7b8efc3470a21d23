/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Design a of tech-kern 2011: kernel_map and kmem_map as they were, with larger
 * KVA caches in front.  A cache takes a chunk of the map, one entry, and cuts
 * it into ranges of its size; what is too large for the caches has an entry of
 * its own.  Entries are not merged: the report counts allocated ones, and an
 * entry that was merged away was kept aside for the free that needs it back.
 */
#include <stdlib.h>

#include "replay/model.h"
#include "replay/model_params.h"
#include "replay/range_cache.h"

enum {
    MAP_KMEM,
    MAP_KERNEL
};
_Static_assert(PARAM_CHUNK_MAPS == 2, "kmem_map and kernel_map");

struct kvacache {
    struct model model; /* first */
    struct space *space;
    struct range_cache cache[PARAM_CHUNK_MAPS];
    uint64_t entries;
};

static uint32_t
entry_take(void *arg, uint32_t pages, uint32_t align)
{
    struct kvacache *kc = arg;
    uint32_t page = space_alloc(kc->space, pages, align, RANGE_WIRED);

    if (page == SPACE_NONE) {
        return SLAB_NONE;
    }
    kc->entries++;
    return page;
}

static void
entry_give(void *arg, uint32_t where, uint32_t pages, uint32_t align)
{
    struct kvacache *kc = arg;

    (void)align;
    space_free(kc->space, where, pages);
    kc->entries--;
}

static struct range_cache *
cache_of(struct kvacache *kc, uint8_t kind)
{
    return &kc->cache[kind == RANGE_WIRED ? MAP_KMEM : MAP_KERNEL];
}

static uint32_t
kvacache_take(struct model *m, uint32_t pages, uint32_t align, uint8_t kind)
{
    struct kvacache *kc = (struct kvacache *)m;
    struct range_cache *rc = cache_of(kc, kind);
    uint32_t pool = range_cache_pool(rc, pages, align);

    return pool != SLAB_NONE ? slabs_get(&rc->chunks, pool)
                             : entry_take(kc, pages, align);
}

static void
kvacache_give(struct model *m, uint32_t where, uint32_t pages, uint32_t align,
              uint8_t kind)
{
    struct kvacache *kc = (struct kvacache *)m;
    struct range_cache *rc = cache_of(kc, kind);

    if (range_cache_pool(rc, pages, align) != SLAB_NONE) {
        slabs_put(&rc->chunks, where);
    } else {
        entry_give(kc, where, pages, align);
    }
}

static void
kvacache_close(struct stack *st)
{
    struct kvacache *kc = (struct kvacache *)st;

    if (kc->space != NULL) {
        space_destroy(kc->space);
    }
    for (unsigned i = 0; i < PARAM_CHUNK_MAPS; i++) {
        range_cache_fini(&kc->cache[i]);
    }
    model_fini(&kc->model);
    free(kc);
}

static struct stack *
kvacache_open(const struct trace *t, const struct stack_config *c,
              const char **reason)
{
    static const struct model_ops calls = { kvacache_take, kvacache_give };
    struct kvacache *kc = calloc(1, sizeof(*kc));
    struct slab_supply supply = { entry_take, entry_give, kc };
    bool ok;

    *reason = "out of memory";
    if (kc == NULL) {
        return NULL;
    }
    kc->space = model_space(c);
    ok = model_init(&kc->model, &stack_a, &calls, t, c) && kc->space != NULL;
    for (unsigned i = 0; i < PARAM_CHUNK_MAPS; i++) {
        ok = range_cache_init(&kc->cache[i], PARAM_CACHED_PAGES,
                              PARAM_CHUNK_PAGES, supply) &&
             ok;
    }
    if (!ok) {
        kvacache_close(&kc->model.stack);
        return NULL;
    }
    return &kc->model.stack;
}

static void
kvacache_state(struct stack *st, struct state *s)
{
    struct kvacache *kc = (struct kvacache *)st;

    s->map_entries = kc->entries;
    s->map_entry_bytes = kc->entries * MODEL_MAP_ENTRY_BYTES;
    s->wired_bytes = model_wired_pages(&kc->model) * TRACE_PAGE;
    s->largest_hole_bytes =
        (uint64_t)space_largest_hole(kc->space) * TRACE_PAGE;
    for (unsigned i = 0; i < PARAM_CHUNK_MAPS; i++) {
        s->meta_bytes[META_QCACHE] +=
            kc->cache[i].chunks.held * MODEL_SLAB_HEADER_BYTES;
    }
}

static void
kvacache_totals(struct stack *st, struct totals *t)
{
    (void)st;
    (void)t;
}

static void
kvacache_drain(struct stack *st)
{
    struct kvacache *kc = (struct kvacache *)st;

    model_drain(st);
    for (unsigned i = 0; i < PARAM_CHUNK_MAPS; i++) {
        slabs_drain(&kc->cache[i].chunks);
    }
}

static const char *
kvacache_leftover(struct stack *st)
{
    return ((struct kvacache *)st)->entries == 0 ? NULL : "entries are left";
}

const struct stack_ops stack_a = {
    .name = "a",
    .about = "KVA caches over the maps, one entry a chunk",
    .open = kvacache_open,
    MODEL_CALLS,
    .state = kvacache_state,
    .totals = kvacache_totals,
    .drain = kvacache_drain,
    .leftover = kvacache_leftover,
    .close = kvacache_close,
};
