/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The storage of pools and pool caches, for init in place.  The fields are
 * private.  The first ones of a pool are those of the hit path: they share
 * a cache line and do not change while the pool lives.
 *
 * A slab's list is by how full it is: 0 full, then partial ones from the
 * fullest to the emptiest, then empty ones.  An object is taken from the first
 * list that has a slab with one.
 */
#ifndef KVA_POOL_POOL_STORE_H
#define KVA_POOL_POOL_STORE_H

#include "pool/pool.h"
#include "reclaim/reclaim.h"
#include "vmem/magazine.h"
#include "vmem/wait.h"

/* Lists of partial slabs; each holds an eighth of the range of fullness. */
#define KVA__POOL_PARTIAL 8u
#define KVA__POOL_FULL 0u
#define KVA__POOL_EMPTY (KVA__POOL_PARTIAL + 1u)
#define KVA__POOL_LISTS (KVA__POOL_PARTIAL + 2u)

struct kva__slab;

/* (c) constant after init, (s) pool lock, (l) lock of the list of pools. */
struct kva_pool {
    struct kva_pool *key;  /* (c) what slabs name as owner: the pool itself */
    uintptr_t slab_mask;   /* (c) slab size - 1, 0: slabs of one object */
    uint32_t inverse;      /* (c) of size >> shift, modulo 2^32 */
    uint32_t first;        /* (c) offset of the first object */
    uint32_t nobj;         /* (c) objects in a slab */
    uint16_t shift;        /* (c) size is a multiple of 1 << shift */
    uint16_t state_offset; /* (c) of the state bytes from the slab header */
    uint32_t flags;        /* (c) PR_*, and KVA__PR_* */
    uint32_t list_scale;   /* (c) objects free to list, 16.16 */
    size_t size;           /* (c) of an object, with its padding */
    size_t slab_bytes;     /* (c) */

    kva_lock_t lock;
    struct kva__slab *list[KVA__POOL_LISTS]; /* (s) rings, or NULL */
    uint32_t list_map;                       /* (s) lists that are not empty */
    uint16_t header_bytes;                   /* (c) of a slab */
    uint16_t map_words;                      /* (c) of its map of free ones */
    size_t nslabs;                           /* (s) */
    size_t nempty;                           /* (s) of them */
    size_t nfree;                            /* (s) free objects */
    size_t nout;                             /* (s) taken, magazines included */
    size_t gets, puts, fails;                /* (s) */
    size_t released;                         /* (s) bytes ever given back */

    size_t lowat;      /* (s) free objects wanted */
    size_t primed;     /* (s) objects whose slabs are kept */
    size_t hiwat;      /* (s) objects whose empty slabs are kept, or none */
    size_t hardlimit;  /* (s) most objects out, or none */
    size_t limit_hits; /* (s) times it was met */
    struct kva__waitq waitq; /* who sleep for the limit */
    int ratecap;             /* (s) seconds between messages */
    uint64_t warned;         /* (s) when the last one was printed, ns */
    const char *warning;     /* (s) */
    unsigned nwarned;        /* (s) messages printed */

    enum kva_ipl ipl;                     /* (c) */
    const char *name;                     /* (c) */
    struct kva_pool_allocator *allocator; /* (c) */
    void (*drain_hook)(void *arg, int flags);
    void *drain_arg;
    struct kva_cleaner cleaner;
    struct kva_pool *next; /* (l) */
    struct kva_pool *prev; /* (l) */
};

struct kva_pool_cache {
    struct kva_pool slabs; /* first: a pool with KVA__PR_CACHE is in a cache */
    struct kva__magcache mags;
    int (*ctor)(void *arg, void *object, int flags); /* (c) or NULL */
    void (*dtor)(void *arg, void *object);           /* (c) or NULL */
    void *arg;                                       /* (c) */
};

#endif
