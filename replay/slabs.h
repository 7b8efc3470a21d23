/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slabs for the models: items of one size are handed out of slabs that a
 * supplier gives and takes back.  Pools over pages are such a thing, and so
 * are quantum caches and KVA caches over a map.  Which place in its slab an
 * item has does not matter to any model: a slab only counts.
 *
 * The policy is that of NetBSD's pool(9): the partly used slab that was last
 * touched comes first, then an empty one, then a new one; empty slabs are kept
 * until a drain.
 */
#ifndef REPLAY_SLABS_H
#define REPLAY_SLABS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLAB_NONE UINT32_MAX

/* Take and give back a slab of some pages, at a multiple of align pages;
 * SLAB_NONE: there is none. */
struct slab_supply {
    uint32_t (*take)(void *arg, uint32_t pages, uint32_t align);
    void (*give)(void *arg, uint32_t where, uint32_t pages, uint32_t align);
    void *arg;
};

struct slab {
    uint32_t next, prev; /* in the list of its pool */
    uint32_t where;      /* what the supplier called it */
    uint32_t used;       /* items out */
    uint32_t pool;
};

struct slab_pool {
    uint32_t per_slab; /* items */
    uint32_t pages;    /* of a slab */
    uint32_t align;    /* of a slab, in pages */
    uint32_t partial;  /* heads of lists of slabs */
    uint32_t empty;
};

/* One table of slabs, and the pools that share it. */
struct slabs {
    struct slab_supply supply;
    struct slab *slab;
    uint32_t nslab, room;
    uint32_t unused; /* head of the slabs that are not in use */
    struct slab_pool *pool;
    uint32_t npool;
    uint64_t held; /* slabs, full, partial and empty */
    uint64_t held_pages;
};

void slabs_init(struct slabs *sl, struct slab_supply supply);
void slabs_fini(struct slabs *sl);

/* Add a pool; returns its number, or SLAB_NONE. */
uint32_t
slabs_add(struct slabs *sl, uint32_t per_slab, uint32_t pages, uint32_t align);

/* An item: the number i of its slab, or SLAB_NONE.  A put names the slab. */
uint32_t slabs_get(struct slabs *sl, uint32_t pool);
void slabs_put(struct slabs *sl, uint32_t i);

/* Give the empty slabs back. */
void slabs_drain(struct slabs *sl);

#endif
