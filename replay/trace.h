/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A load in memory: the records of a trace, or of the synthetic generator,
 * and what a first pass over them finds out.  The records are those of the KVT
 * format (replay/data/README.md), in the host's byte order.
 */
#ifndef REPLAY_TRACE_H
#define REPLAY_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_PAGE 4096u

/* Operations; what allocates is even, and its free is the next one. */
enum trace_op {
    OP_TICK = 1,
    OP_CACHE_ALLOC = 2,
    OP_CACHE_FREE = 3,
    OP_KMALLOC = 4,
    OP_KFREE = 5,
    OP_PAGE_ALLOC = 6,
    OP_PAGE_FREE = 7,
    OP_VMAP_ALLOC = 8,
    OP_VMAP_FREE = 9,
    OP_VMAP_PURGE = 10,
    OP_END = 11
};

enum trace_kind {
    KIND_CACHE = 1,
    KIND_KMALLOC,
    KIND_PAGE,
    KIND_VMAP
};

struct record {
    uint8_t op;
    uint8_t cpu;
    uint16_t type;
    uint32_t slot;
    uint32_t a;
    uint32_t b;
};

#define TRACE_NAME 48 /* of a type or a phase, with its NUL */

struct type {
    uint8_t kind;
    uint8_t align_log2; /* 0: not known */
    uint32_t size;      /* cache: asked for; pages and areas: 4096 */
    uint32_t taken;     /* cache: bytes that an object took */
    uint32_t count;     /* allocations of this type */
    char name[TRACE_NAME];
    uint32_t slab_pages; /* of a slab where that is recorded, else 0 */
};

/*
 * A stretch of the load with a name, up to but not with record `end`.  drain:
 * what is empty is to be given back at its end.
 */
struct phase {
    char name[TRACE_NAME];
    uint64_t from_ms;
    size_t end;
    bool drain;
    /* What the recorded kernel held at the end, from the page records. */
    uint64_t recorded_slab_bytes;
    uint64_t recorded_taken_bytes;
};

/*
 * Where objects come from: a cache with one size, or a kmalloc site.  A type
 * that records objects of several sizes becomes several sites.
 */
struct site {
    uint16_t type;
    uint8_t kind;
    uint32_t size;  /* kmalloc: 0 */
    uint32_t align; /* a power of two, at least 8 */
    uint32_t next;  /* another site of the same type, or NO_SITE */
};
#define NO_SITE UINT32_MAX

struct trace {
    char name[64];
    uint8_t header[128]; /* as read; zero for a synthetic load */
    uint64_t duration_us;
    unsigned ncpu;
    uint32_t nslot;

    unsigned ntype;
    struct type *type;
    size_t nrecord; /* END, where there is one, included */
    struct record *record;
    unsigned nphase;
    struct phase *phase;

    /* Filled by trace_scan. */
    unsigned nsite;
    struct site *site;
    uint32_t *first_site; /* by type; NO_SITE for pages and areas */
    size_t peak;          /* first record after which live_bytes is highest */
    uint64_t peak_live_bytes;
    uint64_t peak_taken_bytes; /* of objects */
    uint64_t peak_area_bytes;
    size_t nreplay; /* records of objects, areas and purges */
    size_t ntick;
};

/* Find sites, peak and phase ends.  False: no memory. */
bool trace_scan(struct trace *t);

/* The site of an object of this type and size; it exists. */
static inline uint32_t
trace_site(const struct trace *t, const struct record *r)
{
    uint32_t i = t->first_site[r->type];

    if (r->op == OP_CACHE_ALLOC) {
        while (t->site[i].size != r->a) {
            i = t->site[i].next;
        }
    }
    return i;
}

/* Address space for a run of it, the same for all stacks: a power of two, four
 * times what can be live, so that neither its size nor its end decides
 * anything. */
size_t trace_va_bytes(const struct trace *t);

/* Alignment of an area, in bytes; a power of two, at least a page. */
size_t trace_area_align(const struct trace *t, unsigned type);

void trace_free(struct trace *t);

/* splitmix64, state first: the generator of the README and of every choice
 * made at random.  random_below is the high half of the product. */
uint64_t random_next(uint64_t *state);
uint64_t random_below(uint64_t *state, uint64_t n);

#endif
