/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A naive model of objects: pools, caches with and without constructors, kmem,
 * kmem_intr and malloc(9), beside a list of all that is live, in the order of
 * its addresses.
 *
 * A driver (random numbers, a fuzzer, a test of misuse) takes steps; each is
 * one call, and a comparison of its outcome with what the list and the marks
 * set so far demand:
 *
 *   all         what is handed out is aligned, and nobody else's; what was
 *               written to it is there when it goes back; a request is refused
 *               for a limit, a constructor or a fault, and for nothing else
 *   pool        objects out are those in the list, never more than the hard
 *               limit; no slab is made while an object is free; after a get
 *               the low-water mark is kept; empty slabs stay as far as the
 *               marks say, and no further; what was primed is there for good
 *   cache       an object is constructed once, and destructed once after that;
 *               it comes as the constructor left it
 *   malloc      each type's counts are exact; limits hold; realloc keeps what
 *               was written
 *
 * Steps cover marks, limits and primes; drains, reclaims, invalidations and
 * drain hooks; CPU slots; pools ended and made anew in another shape; faults,
 * constructors that fail among them; and misuse, which must be reported in the
 * words that blame.h has for it and change nothing.  Numbers drawn behind the
 * end of an input are 0; every list of choices begins with what leads to an
 * end.
 *
 * The tower must be up, with 4 CPU slots.  One stock at a time.
 */
#ifndef TESTS_STOCK_H
#define TESTS_STOCK_H

#include "malloc_compat/malloc_store.h"
#include "pool/pool_impl.h"
#include "port/posix/posix.h"

#define STOCK_LIVE 4096u
#define STOCK_BUILT (2u * STOCK_LIVE)
#define STOCK_POOLS 4u
#define STOCK_CACHES 4u
#define STOCK_MEMBERS (STOCK_POOLS + STOCK_CACHES)
#define STOCK_TYPES 2u
#define STOCK_CPUS 4u
#define STOCK_NONE SIZE_MAX

/* A number below n, n at least 1. */
typedef uint32_t stock_draw_t(void *arg, uint32_t n);

/* Whose an object is. */
enum stock_source {
    STOCK_POOL,
    STOCK_CACHE,
    STOCK_KMEM,
    STOCK_INTR,
    STOCK_MALLOC,
    STOCK_SOURCES
};

struct stock_live {
    uintptr_t addr;
    size_t size;  /* asked for */
    size_t taken; /* what nobody else may have */
    enum stock_source source;
    unsigned which; /* member, or type */
    unsigned mark;  /* what was written to it */
};

/* What a pool is made of. */
struct stock_shape {
    size_t size;
    unsigned align, offset;
    int flags;
    size_t slab_bytes; /* 0: the pool chooses */
    bool intr;
};

/* A pool or a cache, and what was asked of it. */
struct stock_member {
    const struct stock_shape *shape;
    struct kva_pool *pp; /* NULL: it is not made */
    kva_pool_cache_t pc; /* NULL: a pool */
    struct kva_pool store;
    struct kva_pool_cache cache_store;
    bool in_place; /* the cache is in cache_store */
    bool built;    /* the cache has a constructor */
    char name[12];
    size_t live;
    size_t lowat, hiwat, hard, primed; /* hiwat, hard: or STOCK_NONE */
    size_t limit_hits, fails;
    bool hook;
    unsigned hook_calls;
    uintptr_t object[STOCK_BUILT]; /* constructed ones, by address */
    unsigned nobject;
};

struct stock_type {
    struct kva_malloc_type *mt;
    size_t requests, active, bytes, failures, limit;
    size_t peak, tried; /* of bytes; with what was reserved and not had */
};

/* How often each came up. */
enum stock_outcome {
    STOCK_GOT,
    STOCK_REFUSED,
    STOCK_LIMITED, /* refused at a hard limit, or a type's */
    STOCK_PUT,
    STOCK_MOVED,   /* realloc */
    STOCK_GIVEN,   /* drains and the like */
    STOCK_MARKED,  /* marks, limits, primes */
    STOCK_REMADE,  /* pools ended and made */
    STOCK_BUILD,   /* constructors that ran */
    STOCK_UNBUILT, /* and failed */
    STOCK_MISUSED, /* reports that were right */
    STOCK_FAULTED, /* faults armed */
    STOCK_OUTCOMES
};

struct stock {
    stock_draw_t *draw;
    void *arg;
    unsigned level;   /* live objects to go for */
    unsigned sources; /* a bit for each that is asked */
    bool faults, misuse;
    bool armed; /* a fault may fire */
    int ctor_site;
    unsigned long fired; /* faults, when the step began */
    struct stock_member member[STOCK_MEMBERS];
    struct stock_type type[STOCK_TYPES];
    struct stock_live *live[STOCK_LIVE]; /* by address */
    struct stock_live slot[STOCK_LIVE];
    unsigned n;
    unsigned spare[STOCK_LIVE]; /* slots in no use */
    unsigned nspare;
    unsigned marks;
    const char *wrong; /* found in a callback */
    unsigned long count[STOCK_OUTCOMES];
};

/* Makes pools and caches of shapes that are drawn.  Never NULL. */
struct stock *stock_new(stock_draw_t *draw, void *arg);
/* One step.  NULL, or what is wrong. */
const char *stock_step(struct stock *s);
/* Free everything and end all; all faults are disarmed. */
const char *stock_end(struct stock *s);

/* Only get or put, as the level has it. */
const char *stock_trade(struct stock *s);
const char *stock_get(struct stock *s);
const char *stock_put(struct stock *s, unsigned i);

/* Every pool's and arena's invariants, and every count against the list. */
const char *stock_check(struct stock *s);

/* The live object that has addr in it, or NULL. */
const struct stock_live *stock_at(const struct stock *s, uintptr_t addr);

/* How slabs, objects' states, magazines and the arenas below are: equal before
 * and after what must change nothing. */
uint64_t stock_digest(void);

/* Text that stays until the next one. */
const char *
stock_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static inline uint32_t
stock_below(struct stock *s, uint32_t n)
{
    return s->draw(s->arg, n);
}

#endif
