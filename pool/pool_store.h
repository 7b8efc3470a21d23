/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The storage of pools and pool caches, for init in place.  The fields are
 * private.  The first ones of a pool are those of the hit paths, and share a
 * cache line.
 */
#ifndef KVA_POOL_POOL_STORE_H
#define KVA_POOL_POOL_STORE_H

#include "pool/pool.h"
#include "reclaim/reclaim.h"
#include "vmem/magazine.h"
#include "vmem/wait.h"

/* Where a slab is filed: lists, and two trees (pool/slab.c). */
enum kva__slab_file {
    KVA__SLAB_FULL,
    KVA__SLAB_PINNED,
    KVA__SLAB_RESERVE_FULL, /* those of the reserve (pool/reserve.c) */
    KVA__SLAB_RESERVE_PARTIAL,
    KVA__SLAB_RESERVE_EMPTY,
    KVA__SLAB_PARTIAL,
    KVA__SLAB_EMPTY,
    KVA__SLAB_FILES
};

/* Levels of slabs whose arena has no windows, by their own fullness. */
#define KVA__POOL_LEVELS 8u

struct kva__slab;

/* Freed objects that wait, by address, in the order of their frees. */
struct kva__quarantine {
    uintptr_t oldest, youngest; /* (s) if there are any */
    size_t count;               /* (s) */
    size_t most;                /* (c) */
    uintptr_t bad; /* one in it that was written to, or 0; no lock */
};

/* (c) constant after init, (s) pool lock, (l) lock of the list of pools. */
struct kva_pool {
    /* Where gets and puts find the cache's magazines, and where those do who
     * do not name the cache (kmem_free, free).  In KVA__MAG_NO_ROWS every one
     * of them misses: so it is for what is no cache, or not one of kmem's, and
     * for a cache whose objects somebody must see each time. */
    struct kva__mag_rows *rows;
    struct kva__mag_rows *sized_rows;
    uint32_t inverse; /* (c) of size >> shift, modulo 2^32 */
    uint32_t nobj;    /* (c) objects in a slab */
    uint32_t shift;   /* (c) size is a multiple of 1 << shift */
    uint32_t least;   /* (c) kmem's: the smallest size of the class, */
    size_t span;      /* (c) and how many it has; 0: not kmem's */
    size_t counted;   /* (c) kmem's: size as malloc counts it, */
    size_t uncounted; /* (c) and what takes it back */
    uint32_t flags;   /* (c) PR_*, and KVA__PR_* */
    uint32_t first;   /* (c) offset of the first object, colour aside */

    size_t size;         /* (c) of an object, with its padding */
    size_t slab_bytes;   /* (c) */
    uint32_t list_scale; /* (c) objects free to level, 16.16 */
    uint32_t map_offset; /* (c) of the map of free ones from the header */

    kva_lock_t lock;
    struct kva__slab *file[KVA__SLAB_FILES]; /* (s) lists and trees */
    uintptr_t sweep_base;                    /* (s) which partial slab was */
    uint8_t sweep_level;                     /* (s) last looked at */
    uint16_t header_bytes;                   /* (c) of a slab */
    uint16_t map_words;                      /* (c) of its map of free ones */
    size_t nslabs;                           /* (s) */
    size_t nslabs_max;                       /* (s) the most there were */
    size_t nempty;                           /* (s) of them, not pinned */
    size_t nfree;                            /* (s) free objects */
    size_t nout;                             /* (s) taken, magazines included */
    size_t nheld;             /* (s) neither: see move.c; else 0 */
    size_t gets, puts, fails; /* (s) */
    size_t released;          /* (s) bytes ever given back */

    size_t lowat;        /* (s) free objects wanted */
    size_t primed;       /* (s) objects whose slabs are kept */
    size_t hiwat;        /* (s) objects whose empty slabs are kept, or none */
    size_t hardlimit;    /* (s) most objects out, or none */
    size_t limit_hits;   /* (s) times it was met */
    size_t reserve;      /* (s) objects to be kept for the entitled */
    size_t reserve_free; /* (s) that are there, beside nfree */
    size_t reserve_out;  /* (s) objects of those slabs, of nout */
    struct kva__waitq waitq; /* who sleep for the limit */
    int ratecap;             /* (s) seconds between messages */
    uint64_t warned;         /* (s) when the last one was printed, ns */
    const char *warning;     /* (s) */
    unsigned nwarned;        /* (s) messages printed */

    size_t stride;                     /* (c) from an object to the next */
    size_t asked;                      /* (c) size at init, without padding */
    uint32_t debug;                    /* (c) KVA_POOL_*, 0: no debug mode */
    uint32_t record_offset;            /* (c) of records from the header */
    uint16_t record_bytes;             /* (c) of one for each object, or 0 */
    size_t front;                      /* (c) of a slot, before the object */
    size_t slot;                       /* (c) the object and what is around */
    struct kva__quarantine quarantine; /* (s) */

    enum kva_ipl ipl;                     /* (c) */
    const char *name;                     /* (c) */
    struct kva_pool_allocator *allocator; /* (c) */
    void (*drain_hook)(void *arg, int flags);
    void *drain_arg;
    struct kva_cleaner cleaner;
    uint32_t colour;       /* (s) of the next slab */
    uint32_t colour_step;  /* (c) the alignment; 0: one colour */
    uint32_t colour_last;  /* (c) */
    uintptr_t alive;       /* (c) kva__pool_magic, or 0 */
    size_t skipped;        /* (s) empty slabs that drains had to leave */
    unsigned pins;         /* (l) who is at it; it stays that long */
    struct kva_pool *next; /* (l) */
    struct kva_pool *prev; /* (l) */
};

/* Objects that wait for the read barrier (pserialize.c). */
struct kva__limbo_page;
struct kva__limbo {
    struct kva__limbo_page *page;  /* (s) the last one that has objects */
    struct kva__limbo_page *spare; /* (s) those that have none */
    size_t count;                  /* (s) objects here */
    size_t wanted;                 /* (s) for which there must be room */
    size_t room;                   /* (s) in all pages */
    bool settling;                 /* (s) somebody works at it */
};

struct kva_pool_cache {
    struct kva_pool slabs; /* first: a pool with KVA__PR_CACHE is in a cache */
    struct kva__magcache mags;
    int (*ctor)(void *arg, void *object, int flags); /* (c) or NULL */
    void (*dtor)(void *arg, void *object);           /* (c) or NULL */
    void *arg;                                       /* (c) */
    struct kva__limbo limbo; /* with PR_PSERIALIZE and a destructor */

    /* For moving (move.c): (m) its lock, (e) whoever evacuates. */
    enum kva_pool_move (*move)(void *arg, void *from, void *to); /* (c) */
    void *move_arg;                                              /* (c) */
    struct kva_pool_allocator movable;       /* (c) the one it has then */
    struct kva_pool_cache *move_next;        /* (m) */
    bool moves;                              /* (m) objects may be moved */
    unsigned npinned;                        /* (m) slabs */
    struct kva_pool_cache *move_next_pinned; /* (e) */
    bool move_full;                          /* (e) no slab is to be had */
    bool move_over;                          /* (e) no room, or no calls left */
    bool move_again;                         /* (e) some were just going */
};

#endif
