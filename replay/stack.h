/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stack is what a load is replayed through: our library, or a model of a
 * kernel's way to do the same.  All answer the same questions.
 */
#ifndef REPLAY_STACK_H
#define REPLAY_STACK_H

#include "replay/trace.h"

/* What the library's metadata is for; the order is that of the report. */
enum meta_kind {
    META_TAGS,
    META_HASH,
    META_QCACHE,
    META_SLAB_HEADERS,
    META_STATE,
    META_MAGAZINES,
    META_OTHER,
    META_KINDS
};

/* A moment.  All but t_ms are levels, of which a maximum makes sense. */
struct state {
    uint64_t t_ms;
    uint64_t live_bytes;    /* of objects, as asked for */
    uint64_t va_live_bytes; /* of areas */
    uint64_t wired_bytes;
    uint64_t large_bytes; /* of those, under large pages */
    uint64_t tags;        /* all arenas: busy, free, span */
    uint64_t tag_bytes;
    uint64_t map_entries;
    uint64_t map_entry_bytes;
    uint64_t spans;
    uint64_t largest_hole_bytes;
    uint64_t meta_bytes[META_KINDS];
    uint64_t areas; /* live ones */
    /* After a drain: how long it took; with move callbacks the movable objects
     * that are live, and, since the start, those moved and spans emptied. */
    uint64_t drain_us;
    uint64_t movable_objects, moves, spans_emptied;
    uint64_t busy_runs; /* model map: maximal runs of adjacent busy pages */
};

/* Things that only ever go up, and what a stack alone has to say. */
struct totals {
    uint64_t free_allocates; /* frees that had to make an entry or tag */
    uint64_t wired_max;      /* 0: look at the samples */
    uint64_t meta_requests;  /* metadata pages that ours asked for */
};

/* What a stack with real memory holds of its machine. */
struct holding {
    uint64_t attached_pages;
    uint64_t va_bytes; /* out of kernel_va_arena */
};

/* How slabs are cut: the same for every stack of a run. */
enum slab_rule {
    SLABS_POOL,     /* as our pools choose them */
    SLABS_RECORDED, /* as the recorded kernel had them (slabinfo.csv) */
    SLABS_SINGLE    /* one page, or as many as one object needs */
};

struct stack_config {
    enum slab_rule slabs;
    size_t va_bytes;    /* address space for all stacks alike; 2^n */
    bool pattern;       /* ours: fill objects and check them */
    const char *movers; /* movers: caches with a callback, "a,b,c" */
};

/* Is the cache of that name one of them? */
bool stack_is_mover(const struct stack_config *c, const char *name);

/*
 * A live thing, known by the slot that the trace gave it.  The replay fills in
 * what it is, the stack where it is.
 */
struct thing {
    uint32_t slot;
    uint32_t generation; /* how often the slot was used before */
    uint32_t site;       /* of an object; of an area: its type */
    uint32_t size;       /* bytes asked for; of an area: pages */
    uintptr_t where;
};

struct stack;
struct listing;

/*
 * What a stack can do.  Calls that return bool report failure by false, after
 * which stack->reason says why; open returns NULL and sets *reason.  cpu: the
 * slot to work on.
 */
struct stack_ops {
    const char *name;
    const char *about;
    bool resident; /* holds real memory, which can be seen from outside */
    struct stack *(*open)(const struct trace *t, const struct stack_config *c,
                          const char **reason);
    bool (*alloc_object)(struct stack *st, struct thing *th, unsigned cpu);
    bool (*free_object)(struct stack *st, struct thing *th, unsigned cpu);
    bool (*alloc_area)(struct stack *st, struct thing *th, unsigned cpu);
    bool (*free_area)(struct stack *st, struct thing *th, unsigned cpu);
    /* The load's clock moved on by that much; or NULL. */
    void (*tick)(struct stack *st, uint32_t ms);
    /* The recorded kernel gave its lazily freed areas back. */
    void (*purge)(struct stack *st);
    /* Fill in what the stack holds: not t_ms, live bytes, areas. */
    void (*state)(struct stack *st, struct state *s);
    void (*totals)(struct stack *st, struct totals *t);
    void (*holding)(struct stack *st, struct holding *h); /* if resident */
    struct listing *(*listing)(struct stack *st); /* or NULL: it has none */
    /* Give back what holds nothing. */
    void (*drain)(struct stack *st);
    /* All is freed and drained: NULL, or what is still held. */
    const char *(*leftover)(struct stack *st);
    /* After a failure, when things may still be live: st->failed is set. */
    void (*close)(struct stack *st);
};

/* The first member of every stack. */
struct stack {
    const struct stack_ops *ops;
    bool failed;
    char reason[256];
};

extern const struct stack_ops stack_map;
extern const struct stack_ops stack_merged;
extern const struct stack_ops stack_a;
extern const struct stack_ops stack_b;
extern const struct stack_ops stack_c;
extern const struct stack_ops stack_ours;
extern const struct stack_ops stack_movers; /* ours, objects are moved */

#endif
