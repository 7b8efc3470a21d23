/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a free must say that is not one.  Where slabs are is found by walking
 * the lists of all pools, which object an address is in by a division: the
 * library's own ways from an address to its slab are not asked, so each of them
 * must come to the words that are found here.
 */
#ifndef TESTS_BLAME_H
#define TESTS_BLAME_H

#include "tests/model/stock.h"

/* How an object goes back. */
enum blame_way {
    BY_POOL_PUT,
    BY_CACHE_PUT,
    BY_DESTRUCT,
    BY_KMEM_FREE,
    BY_INTR_FREE,
    BY_MALLOC_FREE,
    BY_REALLOC,
    BLAME_WAYS
};

struct blame {
    enum blame_way way;
    unsigned which; /* member, or type */
    uintptr_t addr;
    size_t size; /* for kmem */
};

/* What an address is to a pool's objects. */
enum blame_part {
    PART_OBJECT,
    PART_INSIDE,
    PART_HEADER,
    PART_END /* behind the last object of a slab */
};

struct blame_place {
    struct kva_pool *pp; /* NULL: it is in no slab */
    uintptr_t base;      /* of the slab */
    enum blame_part part;
    uintptr_t start; /* of the object */
    uint8_t state;   /* of the object */
};

struct blame_place blame_find(uintptr_t addr);

/* Is it found at the call, or when a magazine meets its slab? */
bool blame_is_immediate(const struct stock *s, const struct blame *b);

/* The message; false: the call is legal. */
bool blame_message(const struct stock *s, const struct blame *b,
                   char text[KVA_MESSAGE_MAX]);

/*
 * Do it: NULL if it is reported in these words, with no lock held and nothing
 * changed; or what is wrong.  *done false: it is legal, or is not found at the
 * call in this build, and was not done.
 */
const char *blame_try(const struct stock *s, const struct blame *b, bool *done);

#endif
