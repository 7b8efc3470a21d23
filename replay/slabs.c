/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slabs are rows of one growing table, chained by number.  A full slab is on no
 * list.
 */
#include <stdlib.h>
#include <string.h>

#include "replay/slabs.h"

void
slabs_init(struct slabs *sl, struct slab_supply supply)
{
    memset(sl, 0, sizeof(*sl));
    sl->supply = supply;
    sl->unused = SLAB_NONE;
}

void
slabs_fini(struct slabs *sl)
{
    free(sl->slab);
    free(sl->pool);
}

uint32_t
slabs_add(struct slabs *sl, uint32_t per_slab, uint32_t pages, uint32_t align)
{
    struct slab_pool *p =
        realloc(sl->pool, ((size_t)sl->npool + 1) * sizeof(*p));

    if (p == NULL) {
        return SLAB_NONE;
    }
    sl->pool = p;
    p[sl->npool] = (struct slab_pool){ .per_slab = per_slab,
                                       .pages = pages,
                                       .align = align,
                                       .partial = SLAB_NONE,
                                       .empty = SLAB_NONE };
    return sl->npool++;
}

static void
list_add(struct slabs *sl, uint32_t *head, uint32_t i)
{
    struct slab *s = &sl->slab[i];

    s->prev = SLAB_NONE;
    s->next = *head;
    if (*head != SLAB_NONE) {
        sl->slab[*head].prev = i;
    }
    *head = i;
}

static void
list_remove(struct slabs *sl, uint32_t *head, uint32_t i)
{
    struct slab *s = &sl->slab[i];

    if (s->prev == SLAB_NONE) {
        *head = s->next;
    } else {
        sl->slab[s->prev].next = s->next;
    }
    if (s->next != SLAB_NONE) {
        sl->slab[s->next].prev = s->prev;
    }
}

/* An unused row of the table. */
static uint32_t
row_take(struct slabs *sl)
{
    uint32_t i = sl->unused;

    if (i != SLAB_NONE) {
        sl->unused = sl->slab[i].next;
        return i;
    }
    if (sl->nslab == sl->room) {
        uint32_t room = sl->room == 0 ? 1024 : sl->room * 2;
        struct slab *s = realloc(sl->slab, (size_t)room * sizeof(*s));

        if (s == NULL) {
            return SLAB_NONE;
        }
        sl->slab = s;
        sl->room = room;
    }
    return sl->nslab++;
}

static void
row_put(struct slabs *sl, uint32_t i)
{
    sl->slab[i].next = sl->unused;
    sl->unused = i;
}

/* A new slab, on its pool's empty list. */
static bool
slab_new(struct slabs *sl, uint32_t pool)
{
    struct slab_pool *p = &sl->pool[pool];
    uint32_t i = row_take(sl);
    uint32_t where;

    if (i == SLAB_NONE) {
        return false;
    }
    where = sl->supply.take(sl->supply.arg, p->pages, p->align);
    if (where == SLAB_NONE) {
        row_put(sl, i);
        return false;
    }
    sl->slab[i].where = where;
    sl->slab[i].used = 0;
    sl->slab[i].pool = pool;
    list_add(sl, &p->empty, i);
    sl->held++;
    sl->held_pages += p->pages;
    return true;
}

uint32_t
slabs_get(struct slabs *sl, uint32_t pool)
{
    struct slab_pool *p = &sl->pool[pool];
    uint32_t i = p->partial;

    if (i == SLAB_NONE) {
        if (p->empty == SLAB_NONE && !slab_new(sl, pool)) {
            return SLAB_NONE;
        }
        i = p->empty;
        list_remove(sl, &p->empty, i);
        list_add(sl, &p->partial, i);
    }
    if (++sl->slab[i].used == p->per_slab) {
        list_remove(sl, &p->partial, i);
    }
    return i;
}

void
slabs_put(struct slabs *sl, uint32_t i)
{
    struct slab *s = &sl->slab[i];
    struct slab_pool *p = &sl->pool[s->pool];

    if (s->used == p->per_slab) {
        list_add(sl, &p->partial, i);
    }
    if (--s->used == 0) {
        list_remove(sl, &p->partial, i);
        list_add(sl, &p->empty, i);
    }
}

void
slabs_drain(struct slabs *sl)
{
    for (uint32_t k = 0; k < sl->npool; k++) {
        struct slab_pool *p = &sl->pool[k];

        while (p->empty != SLAB_NONE) {
            uint32_t i = p->empty;

            list_remove(sl, &p->empty, i);
            sl->held--;
            sl->held_pages -= p->pages;
            sl->supply.give(sl->supply.arg, sl->slab[i].where, p->pages,
                            p->align);
            row_put(sl, i);
        }
    }
}
