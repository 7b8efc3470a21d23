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
#define KVA_PR_RESERVE 0x04u    /* get: it will free more (vmem/reserve.h) */
#define KVA_PR_PHINPAGE 0x40u   /* header in the slab, whatever it costs */
#define KVA_PR_LIMITFAIL 0x100u /* get: fail at the hard limit, do not wait */
#define KVA_PR_RECURSIVE \
    0x200u                         /* for listings: objects are slabs of other
                                     pools, and counted there */
#define KVA_PR_NOTOUCH 0x400u      /* the slab is never written by the pool */
#define KVA_PR_NOALIGN 0x800u      /* pa_alloc's pages need not be aligned */
#define KVA_PR_LARGECACHE 0x1000u  /* magazines of four times the size */
#define KVA_PR_ZERO 0x8000u        /* get: zero the object */
#define KVA_PR_USEBMAP 0x10000u    /* as PR_NOTOUCH */
#define KVA_PR_PSERIALIZE 0x20000u /* type-stable until the read barrier */
#define KVA_PR_PADDR 0x40000u /* keep physical addresses in the slab header */

/* struct kva_pool and struct kva_pool_cache are in pool/pool_store.h, for init
 * in place. */
struct kva_pool;

/*
 * Where a pool's slabs come from; NULL means kva_pool_allocator_kmem, and from
 * KVA_IPL_VM on kva_pool_allocator_intr.
 *
 * With an arena a slab is taken by vmem_alloc where the arena has quantum
 * caches for its size, else by vmem_xalloc with its size as alignment.
 *
 * With functions, as NetBSD's: pa_alloc returns pa_pagesz bytes, aligned to
 * pa_pagesz, or NULL; flags are PR_WAITOK or PR_NOWAIT.  pa_free takes them
 * back and may not fail.  Both are called with no lock held, in the context of
 * the get, put or drain concerned.  Nothing is known then of who waits for such
 * memory: a pa_alloc that may sleep does so itself.
 */
struct kva_pool_allocator {
    kva_vmem_t **arena; /* looked up at each slab, so it may be set up later */
    size_t pa_pagesz;   /* slab size wanted, a power of two of pages up to
                           KVA_POOL_PAGE_MAX; with PR_NOALIGN any number of
                           pages; 0: the pool chooses, or with functions a
                           page */
    void *(*pa_alloc)(struct kva_pool *pp, int flags); /* NULL: the arena */
    void (*pa_free)(struct kva_pool *pp, void *page);
};
#define KVA_POOL_PAGE_MAX ((size_t)2 << 20) /* a large page */

extern struct kva_pool_allocator kva_pool_allocator_kmem;   /* kmem_arena */
extern struct kva_pool_allocator kva_pool_allocator_nointr; /* the same */
extern struct kva_pool_allocator kva_pool_allocator_intr; /* kmem_intr_arena */
extern struct kva_pool_allocator kva_pool_allocator_meta; /* metadata pages */

/*
 * size, align (0: the machine's word), align_offset: of the objects; the byte
 * at align_offset is aligned.  flags: PR_NOTOUCH, PR_LARGECACHE, PR_PHINPAGE...
 * wchan: the name, kept by pointer.  Returns 0; or KVA_ENOTSUP, and nothing is
 * made: PR_PSERIALIZE where the port has no read barrier.  NetBSD's returns
 * nothing.  Takes no memory.  Thread or boot context; the first pool of all is
 * made before there are threads.  Constant work but for the choice of a
 * geometry.
 */
int kva_pool_init(struct kva_pool *pp, size_t size, unsigned align,
                  unsigned align_offset, int flags, const char *wchan,
                  struct kva_pool_allocator *pa, enum kva_ipl ipl);

/* All slabs back to the arena.  A live object is a misuse.  Nobody else uses
 * the pool any more.  Thread context; with PR_PSERIALIZE it sleeps.  Linear in
 * slabs. */
void kva_pool_destroy(struct kva_pool *pp);

/*
 * flags: PR_WAITOK or PR_NOWAIT, PR_LIMITFAIL, PR_ZERO, PR_RESERVE.  NULL:
 * there is no memory, or the hard limit is met.  With PR_WAITOK it sleeps for
 * memory, and at the limit until an object comes back.  put never allocates.  Constant
 * work, a new slab aside.
 */
void *kva_pool_get(struct kva_pool *pp, int flags);
void kva_pool_put(struct kva_pool *pp, void *object);

/* See to it that n objects are free now, and keep their slabs until the pool is
 * destroyed or primed anew.  0, or KVA_ENOMEM; does not wait.  Linear in the
 * slabs that it makes. */
int kva_pool_prime(struct kva_pool *pp, int n);

/*
 * Low water: so many objects are kept free; a get that leaves less makes slabs,
 * without waiting, and what it could not make kva_pool_update makes up for.
 * High water: empty slabs stay as long as the pool has no more than n objects
 * in all; those beyond go back at once.  Without it an empty slab goes back at
 * once, but for one where there are four in use.
 */
void kva_pool_setlowat(struct kva_pool *pp, int n);
void kva_pool_sethiwat(struct kva_pool *pp, int n);

/*
 * Reserve: so many objects are kept that only who is entitled gets, by
 * PR_RESERVE or the mark of his task (vmem/reserve.h), and when there are no
 * others; in slabs of their own, to which they go back.  It is filled at once,
 * and again by what is put, and with memory that is anybody's by later gets and
 * pool_update.  Beyond it the entitled get slabs from the reserve of pages.
 * They keep to the hard limit.  With PR_WAITOK they wait for an object of the
 * reserve as well as for memory.  0; KVA_ENOMEM: less than that is there by now;
 * KVA_ENOTSUP, and nothing is kept: a pool with PR_PSERIALIZE or behind a
 * firewall, or a library without reserves.  Thread or boot context, no lock
 * held.  Linear in the slabs that it makes or gives back.  The idea is that of
 * Linux' mempools.
 */
int kva_pool_setreserve(struct kva_pool *pp, int n);

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
 * Returns the bytes given back.  Thread context; a pool with PR_PSERIALIZE
 * gives nothing back where the caller may not sleep.  Linear in empty slabs, no
 * more than 64 of them between two moments at which the lock is dropped. */
size_t kva_pool_reclaim(struct kva_pool *pp);

/*
 * Reclaim one pool, a cache with its magazines; the next one at the next call.
 * True if anything was given back; *ppp, unless NULL, is the pool, for its name
 * only.  Thread context, no lock held.
 */
bool kva_pool_drain(struct kva_pool **ppp);

/* Objects that were got and put, past the magazines; they wrap. */
unsigned kva_pool_nget(struct kva_pool *pp);
unsigned kva_pool_nput(struct kva_pool *pp);

/* Pages of all pools' slabs, PR_RECURSIVE ones left out: their pages are those
 * of other pools.  Thread context; linear in pools. */
int kva_pool_totalpages(void);

/* Where an object lies in physical memory, or KVA_POOL_PADDR_INVALID; see
 * kva_pool_cache_get_paddr. */
#define KVA_POOL_PADDR_INVALID (~(kva_pa_t)0)
kva_pa_t kva_pool_paddr(struct kva_pool *pp, const void *object);

/*
 * Objects of a cache keep what ctor made of them from one get to the next; a
 * put object must be as ctor left it.  ctor returns 0 or an error: then the
 * object goes back and get returns NULL.  It is called with no lock held, at
 * the get that finds the magazines empty, for as many objects as a magazine
 * takes; dtor when objects go back to their slabs.
 * pool_cache_init returns NULL when there is no memory for the cache itself, or
 * no read barrier for PR_PSERIALIZE; pool_cache_bootstrap makes one in the
 * caller's storage and returns as pool_init does.
 *
 * With PR_PSERIALIZE objects stay constructed, and their memory what it is,
 * until the port's read barrier: dtor is called by drains, invalidate and
 * pool_update only, after a barrier for all of them.  Where the caller may not
 * sleep, drains pass over empty slabs and count them.
 */
kva_pool_cache_t
kva_pool_cache_init(size_t size, unsigned align, unsigned align_offset,
                    int flags, const char *name, struct kva_pool_allocator *pa,
                    enum kva_ipl ipl,
                    int (*ctor)(void *arg, void *object, int flags),
                    void (*dtor)(void *arg, void *object), void *arg);
int kva_pool_cache_bootstrap(kva_pool_cache_t pc, size_t size, unsigned align,
                             unsigned align_offset, int flags, const char *name,
                             struct kva_pool_allocator *pa, enum kva_ipl ipl,
                             int (*ctor)(void *arg, void *object, int flags),
                             void (*dtor)(void *arg, void *object), void *arg);
void kva_pool_cache_bootstrap_destroy(kva_pool_cache_t pc);
void kva_pool_cache_destroy(kva_pool_cache_t pc);
void *kva_pool_cache_get(kva_pool_cache_t pc, int flags);
void kva_pool_cache_put(kva_pool_cache_t pc, void *object);
/*
 * The same with the physical address of the object's first byte:
 * KVA_POOL_PADDR_INVALID if nothing is mapped there.  A cache with PR_PADDR has
 * it from the slab's header, and put_paddr reports another one as a misuse;
 * without, the port is asked at each get.  An object that crosses pages is
 * contiguous only if its slab is.  Below tier 2 the address itself.  Context
 * and work as get and put.
 */
void *kva_pool_cache_get_paddr(kva_pool_cache_t pc, int flags, kva_pa_t *pa);
void kva_pool_cache_put_paddr(kva_pool_cache_t pc, void *object, kva_pa_t pa);
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
int kva_pool_cache_setreserve(kva_pool_cache_t pc, int n);

/*
 * Give empty slabs back, and then empty magazines into slabs, until bytes
 * reached the arena; retain bytes of objects stay cached.  Returns the bytes
 * given back: less than asked only if no more is to be had, and less than a
 * slab beyond.  Others may get and put meanwhile.  Thread context, no lock.
 */
size_t kva_pool_cache_drain(kva_pool_cache_t pc, size_t bytes, size_t retain);

/*
 * Moving objects, so that memory goes back in whole spans.  After illumos'
 * kmem_cache_set_move (Bonwick's slab allocator consolidated, 2008).
 *
 * fn(arg, from, to) is called in thread context with no library lock held.
 * from is an object of the cache that was live a moment ago; to is one that
 * nobody has, constructed (the constructor got PR_NOWAIT).  It answers
 *
 *   KVA_MOVE_YES      from was copied to to, and all that led to from leads to
 *                     to: from is as a put object must be, and the library puts
 *                     it.  to is the client's.
 *   KVA_MOVE_NO       from is not to be moved.  Its slab, and so its span, is
 *                     not tried again until an object of that slab is freed, or
 *                     pool_cache_move_notify says that one has become movable.
 *   KVA_MOVE_LATER    not now: it is locked, say.  The third time in one slab is
 *                     a no.
 *   KVA_MOVE_GONE     the client has put it meanwhile, or is about to.
 *   KVA_MOVE_UNKNOWN  the client does not know it: not yet, or not any more.
 *
 * With any answer but yes, to must be as it was given.
 *
 * Meanwhile others run.  from may be put, and got again, by another CPU at any
 * time; it stays an object of the cache while the callback runs, so it can be
 * looked at: it is constructed, or in use.  A client that cannot tell from what
 * it reads there whether he still has the object must find that out by a lock
 * of his own, or by looking it up; and must not answer yes unless nobody else
 * can put from any more.  As soon as others can find to, they may put it.
 *
 * An object in a magazine is known by its state, and no callback is called for
 * it.  With -Dchecks=flush it looks live: magazines are emptied before, but
 * what is put during an evacuation may be asked for, and the client answers
 * KVA_MOVE_GONE or KVA_MOVE_UNKNOWN.
 *
 * Evacuation may be called for by an allocation that may sleep (reclaim), so
 * the callback must not wait for a lock that is held across one: it tries, and
 * answers KVA_MOVE_LATER.  It may get and put, but not destroy the cache.
 */
enum kva_pool_move {
    KVA_MOVE_YES,
    KVA_MOVE_NO,
    KVA_MOVE_LATER,
    KVA_MOVE_GONE,
    KVA_MOVE_UNKNOWN
};

/*
 * Before the first get: KVA_EBUSY after it, or if there is a callback.  From
 * then on the cache's slabs come from kmem_movable_arena.  KVA_EINVAL: the
 * cache is used in interrupts, its allocator is not one of kmem_arena, or it has
 * PR_PSERIALIZE, whose readers hold what nobody could tell of.  KVA_ENOTSUP:
 * there is no such arena.
 */
int kva_pool_cache_set_move(kva_pool_cache_t pc,
                            enum kva_pool_move (*fn)(void *arg, void *from,
                                                     void *to),
                            void *arg);

/* A live object of which fn said no, or later, can be moved now. */
void kva_pool_cache_move_notify(kva_pool_cache_t pc, void *object);

struct kva_pool_evacuation {
    size_t spans; /* that ran empty */
    size_t bytes; /* that went back from the arena then */
    size_t calls; /* of callbacks */
    size_t moves; /* that said yes; the others: */
    size_t no, later, gone, unknown;
    size_t failed; /* constructors that failed */
};

/*
 * Empty the emptiest spans of kmem_movable_arena, one after the other, by moving
 * what is in them into others, as long as there is room in those, and with at
 * most moves_max calls of callbacks; then give back what is free.  A span that
 * cannot be emptied is left alone for the next few calls.  True: the number of
 * calls ended it, and another call goes on.  Limits and marks hold.  One at a
 * time, a second caller does nothing.  Thread context, no lock held.  A pass of
 * reclaim, and so pool_drain_all, does so with at most 4,096 calls.
 */
bool kva_pool_evacuate(size_t moves_max, struct kva_pool_evacuation *result);

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
    size_t header_bytes;  /* in-slab and off-slab headers with state bytes */
    size_t slabs_skipped; /* empty, left by drains that might not sleep */
    /* Of the reserve. */
    size_t reserve_wanted; /* objects that are to be kept */
    size_t reserve_free;   /* that are there now */
    size_t reserve_out;    /* with the entitled, of those out */
    size_t reserve_slabs;  /* of slabs */
    /* Of a cache. */
    size_t objects_waiting; /* for the read barrier, of those out */
    size_t objects_per_magazine;
    size_t magazine_bytes; /* of magazines and CPU slots */
    unsigned flags;        /* PR_*, of pool_init */
};
void kva_pool_stat(struct kva_pool *pp, struct kva_pool_stat *st);
void kva_pool_cache_stat(kva_pool_cache_t pc, struct kva_pool_stat *st);

unsigned kva_pool_cache_nget(kva_pool_cache_t pc);
unsigned kva_pool_cache_nput(kva_pool_cache_t pc);

/* Check the invariants: NULL, or what does not hold.  Linear, with the lock
 * held.  pool_chk says it to the port's log as "label: pool NAME: ...", and
 * returns 1 instead of 0. */
const char *kva_pool_check(struct kva_pool *pp);
int kva_pool_chk(struct kva_pool *pp, const char *label);

/*
 * For people and debuggers: a pool, or all of them with a sum; what an address
 * is of a pool's.  pr is handed lines that end in a newline; NULL: the port's
 * log.  modif: "s" one line only, "p" slabs too (64 of them, with "l" all), "l"
 * take no lock, for a machine that has stopped.
 */
void
kva_pool_printit(struct kva_pool *pp, const char *modif, kva_vmem_pr_t *pr);
void kva_pool_printall(const char *modif, kva_vmem_pr_t *pr);
void kva_pool_whatis(uintptr_t addr, kva_vmem_pr_t *pr);

/* All pools, for a debugger and for draining all. */
extern struct kva_pool *kva_pool_list;

/* Drain every pool, then the quantum caches below.  Returns bytes.  Thread
 * context, no lock held. */
size_t kva_pool_drain_all(void);

/*
 * Keep house for all: vmem_update, which trims the magazines of all caches; low
 * water where a get could not make it; objects that wait for the read barrier.
 * To be called about every 15 seconds, or never.  Thread context, no lock held;
 * with PR_PSERIALIZE it may sleep.  Linear in caches, and in what it gives
 * back.
 */
void kva_pool_update(void);

#ifdef __cplusplus
}
#endif

#ifndef KVA_NO_NAMES
#include "pool/pool_names.h"
#endif

#endif
