/* SPDX-License-Identifier: BSD-2-Clause */
/* See where.h. */
#include "replay/where.h"

#include <stdlib.h>

/* Half full at the most. */
bool
where_init(struct where *w, uint32_t n)
{
    uint32_t room = 16;

    while (room / 2 < n && room < (uint32_t)1 << 31) {
        room *= 2;
    }
    w->mask = room - 1;
    w->thing = NULL;
    w->entry = calloc(room, sizeof(*w->entry));
    return w->entry != NULL;
}

void
where_fini(struct where *w)
{
    free(w->entry);
    w->entry = NULL;
}

/* Fibonacci hashing (Knuth 6.4); objects are aligned to 8 bytes. */
static uint32_t
home(const struct where *w, uintptr_t addr)
{
    return (uint32_t)((uint64_t)(addr >> 3) * 0x9e3779b97f4a7c15u >> 32) &
           w->mask;
}

void
where_add(struct where *w, struct thing *th)
{
    uint32_t i = home(w, th->where);

    w->thing = th - th->slot;
    while (w->entry[i] != 0) {
        i = (i + 1) & w->mask;
    }
    w->entry[i] = th->slot + 1;
}

static uint32_t
entry_of(const struct where *w, uintptr_t addr)
{
    uint32_t i = home(w, addr);

    while (w->entry[i] != 0 && w->thing[w->entry[i] - 1].where != addr) {
        i = (i + 1) & w->mask;
    }
    return i;
}

/* What comes behind it moves up, unless it is at home there already. */
void
where_remove(struct where *w, const struct thing *th)
{
    uint32_t hole = entry_of(w, th->where), i = hole;

    for (;;) {
        uint32_t at;

        i = (i + 1) & w->mask;
        if (w->entry[i] == 0) {
            break;
        }
        at = home(w, w->thing[w->entry[i] - 1].where);
        if (((i - at) & w->mask) >= ((i - hole) & w->mask)) {
            w->entry[hole] = w->entry[i];
            hole = i;
        }
    }
    w->entry[hole] = 0;
}

struct thing *
where_find(const struct where *w, uintptr_t addr)
{
    uint32_t e = w->entry[entry_of(w, addr)];

    return e == 0 ? NULL : &w->thing[e - 1];
}
