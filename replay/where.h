/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which thing lies at an address: for the callbacks by which objects are moved.
 * Open addressing with linear probing (Knuth 6.4, algorithms L and R); the keys
 * are the things' own addresses.
 */
#ifndef REPLAY_WHERE_H
#define REPLAY_WHERE_H

#include "replay/stack.h"

struct where {
    uint32_t *entry; /* slot + 1, or 0 */
    uint32_t mask;
    struct thing *thing; /* by slot */
};

/* Room for n things; false: no memory. */
bool where_init(struct where *w, uint32_t n);
void where_fini(struct where *w);
/* The thing lies at th->where now; it lies nowhere any more. */
void where_add(struct where *w, struct thing *th);
void where_remove(struct where *w, const struct thing *th);
/* NULL: none does. */
struct thing *where_find(const struct where *w, uintptr_t addr);

#endif
