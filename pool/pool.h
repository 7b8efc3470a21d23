/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool(9) and pool_cache(9): objects of one size out of slabs.  A pool hands
 * out memory; a pool_cache keeps objects constructed, with per-CPU magazines in
 * front (vmem/magazine.h).  Signatures and flag values are NetBSD's; the slab
 * is Bonwick's, "The Slab Allocator", USENIX 1994.
 *
 * A slab is one range of the pool's arena, a power of two of pages aligned to
 * its size.  One state byte for each object, in the slab's header, tells a live
 * object from a free or cached one: every put is checked, in every build.
 */
#ifndef KVA_POOL_POOL_H
#define KVA_POOL_POOL_H

#include "kva/kva.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kva_pool_cache *kva_pool_cache_t;

#define KVA_PR_WAITOK 0x01u
#define KVA_PR_NOWAIT 0x02u
#define KVA_PR_PHINPAGE 0x40u     /* header in the slab, whatever it costs */
#define KVA_PR_LIMITFAIL 0x100u   /* get: fail at the hard limit, do not wait */
#define KVA_PR_RECURSIVE 0x200u   /* for listings: objects are slabs */
#define KVA_PR_NOTOUCH 0x400u     /* the slab is never written by the pool */
#define KVA_PR_NOALIGN 0x800u     /* accepted; slabs are aligned in any case */
#define KVA_PR_LARGECACHE 0x1000u /* magazines of four times the size */
#define KVA_PR_ZERO 0x8000u       /* get: zero the object */
#define KVA_PR_USEBMAP 0x10000u   /* as PR_NOTOUCH */

/*
 * Where a pool's slabs come from; NULL means kva_pool_allocator_kmem, and from
 * KVA_IPL_VM on kva_pool_allocator_intr.  A slab is taken by vmem_alloc where
 * the arena has quantum caches for its size, else by vmem_xalloc with its size
 * as alignment.
 */
struct kva_pool_allocator {
    kva_vmem_t **arena; /* looked up at each slab, so it may be set up later */
    size_t page_bytes;  /* slab size wanted, a power of two of pages; 0: the
                           pool chooses */
};
extern struct kva_pool_allocator kva_pool_allocator_kmem;   /* kmem_arena */
extern struct kva_pool_allocator kva_pool_allocator_nointr; /* the same */
extern struct kva_pool_allocator kva_pool_allocator_intr; /* kmem_intr_arena */

/* struct kva_pool and struct kva_pool_cache are in pool/pool_store.h, for init
 * in place. */
struct kva_pool;

/*
 * size, align (0: the machine's word), align_offset: of the objects; the byte
 * at align_offset is aligned.  flags: PR_NOTOUCH, PR_LARGECACHE, PR_PHINPAGE...
 * wchan: the name, kept by pointer.  Cannot fail; takes no memory.  The first
 * pool of all is made before there are threads.
 */
void kva_pool_init(struct kva_pool *pp, size_t size, unsigned align,
                   unsigned align_offset, int flags, const char *wchan,
                   struct kva_pool_allocator *pa, enum kva_ipl ipl);

/* All slabs back to the arena.  A live object is a misuse.  Nobody else uses
 * the pool any more.  Thread context. */
void kva_pool_destroy(struct kva_pool *pp);

/*
 * flags: PR_WAITOK or PR_NOWAIT, PR_LIMITFAIL, PR_ZERO.  NULL: there is no
 * memory, or the hard limit is met.  With PR_WAITOK it sleeps for memory, and
 * at the limit until an object comes back.  put never allocates.  Constant
 * work, a new slab aside.
 */
void *kva_pool_get(struct kva_pool *pp, int flags);
void kva_pool_put(struct kva_pool *pp, void *object);

/* See to it that n objects are free now, and keep their slabs. KVA_ENOMEM. */
int kva_pool_prime(struct kva_pool *pp, int n);

/*
 * Low water: so many objects are kept free; a get that leaves less makes slabs,
 * without waiting.  High water: empty slabs stay as long as the pool has no
 * more than n objects in all; those beyond go back at once.  Without it an
 * empty slab goes back at once, but for one where there are four in use.
 */
void kva_pool_setlowat(struct kva_pool *pp, int n);
void kva_pool_sethiwat(struct kva_pool *pp, int n);

/*
 * At most n objects out (below 0: no limit).  A get that meets the limit
 * prints warnmess, unless NULL, but not within ratecap seconds of the last time
 * (0: always; without a clock: once).
 */
void kva_pool_sethardlimit(struct kva_pool *pp, int n, const char *warnmess,
                           int ratecap);

/* fn(arg, PR_NOWAIT) is called, with no lock held, before a reclaim of the
 * pool: it may put objects back. */
void kva_pool_set_drain_hook(struct kva_pool *pp,
                             void (*fn)(void *arg, int flags), void *arg);

/* Give empty slabs back, all but those the low-water mark and pool_prime want.
 * Returns the bytes given back.  Thread context. */
size_t kva_pool_reclaim(struct kva_pool *pp);

/*
 * Objects of a cache keep what ctor made of them from one get to the next; a
 * put object must be as ctor left it.  ctor returns 0 or an error: then the
 * object goes back and get returns NULL.  It is called with no lock held, at
 * the get that finds the magazines empty, for as many objects as a magazine
 * takes; dtor when objects go back to their slabs.
 * pool_cache_init returns NULL when there is no memory for the cache itself;
 * pool_cache_bootstrap makes one in the caller's storage and cannot fail.
 */
kva_pool_cache_t
kva_pool_cache_init(size_t size, unsigned align, unsigned align_offset,
                    int flags, const char *name, struct kva_pool_allocator *pa,
                    enum kva_ipl ipl,
                    int (*ctor)(void *arg, void *object, int flags),
                    void (*dtor)(void *arg, void *object), void *arg);
void
kva_pool_cache_bootstrap(kva_pool_cache_t pc, size_t size, unsigned align,
                         unsigned align_offset, int flags, const char *name,
                         struct kva_pool_allocator *pa, enum kva_ipl ipl,
                         int (*ctor)(void *arg, void *object, int flags),
                         void (*dtor)(void *arg, void *object), void *arg);
void kva_pool_cache_bootstrap_destroy(kva_pool_cache_t pc);
void kva_pool_cache_destroy(kva_pool_cache_t pc);
void *kva_pool_cache_get(kva_pool_cache_t pc, int flags);
void kva_pool_cache_put(kva_pool_cache_t pc, void *object);
/* Put an object, but not into a magazine: destruct it now. */
void kva_pool_cache_destruct_object(kva_pool_cache_t pc, void *object);
/* Destruct all cached objects; those live keep their state.  reclaim: the same,
 * empty slabs go back as well; true if any did.  Thread context. */
void kva_pool_cache_invalidate(kva_pool_cache_t pc);
bool kva_pool_cache_reclaim(kva_pool_cache_t pc);
void kva_pool_cache_set_drain_hook(kva_pool_cache_t pc,
                                   void (*fn)(void *arg, int flags), void *arg);
void kva_pool_cache_setlowat(kva_pool_cache_t pc, int n);
void kva_pool_cache_sethiwat(kva_pool_cache_t pc, int n);
void kva_pool_cache_sethardlimit(kva_pool_cache_t pc, int n,
                                 const char *warnmess, int ratecap);
int kva_pool_cache_prime(kva_pool_cache_t pc, int n);

/*
 * Empty magazines into slabs and give whole slabs back, until bytes reached
 * the arena; retain bytes of objects stay cached.  Thread context, no lock.
 */
size_t kva_pool_cache_drain(kva_pool_cache_t pc, size_t bytes, size_t retain);

struct kva_pool_stat {
    size_t object_bytes; /* size of an object as laid out */
    size_t slab_bytes;   /* size of a slab */
    size_t objects_per_slab;
    size_t slabs;             /* now */
    size_t slabs_empty;       /* of them without a live or cached object */
    size_t objects_out;       /* live, or in magazines */
    size_t objects_cached;    /* in magazines (a racy count) */
    size_t gets, puts, fails; /* objects, past the magazines */
    size_t limit_hits;        /* times the hard limit was met */
    size_t header_bytes; /* in-slab and off-slab headers with state bytes */
};
void kva_pool_stat(struct kva_pool *pp, struct kva_pool_stat *st);
void kva_pool_cache_stat(kva_pool_cache_t pc, struct kva_pool_stat *st);

/* Check the invariants: NULL, or what does not hold.  Linear. */
const char *kva_pool_check(struct kva_pool *pp);

/* All pools, for a debugger and for draining all. */
extern struct kva_pool *kva_pool_list;

/* Drain every pool, then the quantum caches below.  Returns bytes. */
size_t kva_pool_drain_all(void);

#ifdef __cplusplus
}
#endif

#ifndef KVA_NO_NAMES
#include "pool/pool_names.h"
#endif

#endif
