/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vmem(9): arenas.  An arena hands out segments of any linear resource: it is
 * made of spans, tiled by segments, each described by one boundary tag kept
 * outside the resource.  The interface is NetBSD's; the idea is Bonwick and
 * Adams, "Magazines and Vmem", USENIX 2001.
 *
 * Values.  Intervals are inclusive, so a span may reach the top of the address
 * space; 0 is a legal address, hence addresses come back through a pointer and
 * the return value is 0 or an error of port/types.h.
 *
 * Misuse (a bad argument, a free of what is not allocated) is reported through
 * the port's panic in every build, with nothing changed.  One case cannot be
 * told: a second free when the range has been given out again, of the same size
 * and by the same kind of function.
 *
 * Context.  Unless said otherwise a function may be called at or below the
 * arena's IPL, with any lock of the caller's held when VM_NOSLEEP is given,
 * and with none but sleeping ones when VM_SLEEP is.
 *
 * Work.  Unless said otherwise constant, import functions and chance in the
 * hash aside; logarithmic is so in segments.
 */
#ifndef KVA_VMEM_VMEM_H
#define KVA_VMEM_VMEM_H

#include "port/port.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kva_vmem kva_vmem_t;
typedef uintptr_t kva_vmem_addr_t;
typedef size_t kva_vmem_size_t;
typedef unsigned kva_vm_flag_t;
struct kva_vmem_btag;

/* Flags; the values are NetBSD's. */
#define KVA_VM_SLEEP 0x00000001u       /* wait for what is missing */
#define KVA_VM_NOSLEEP 0x00000002u     /* or fail; exactly one of the two */
#define KVA_VM_RESERVE 0x00000004u     /* it will free more (vmem/reserve.h) */
#define KVA_VM_INSTANTFIT 0x00001000u  /* a good fit in constant work */
#define KVA_VM_BESTFIT 0x00002000u     /* the smallest hole that fits */
#define KVA_VM_FIRSTFIT 0x00004000u    /* the lowest address (VM_INDEX) */
#define KVA_VM_NEXTFIT 0x00008000u     /* past the last one (VM_INDEX) */
#define KVA_VM_ENDALLOC 0x00020000u    /* from the top end */
#define KVA_VM_ONESTEP 0x00800000u     /* KVA_EAGAIN rather than search on */
#define KVA_VM_INDEX 0x00000100u       /* keep an index by address (create) */
#define KVA_VM_BOOTSTRAP 0x00010000u   /* made before kva_boot (create only) */
#define KVA_VM_POPULATING 0x00040000u  /* refills tags: may use the reserve */
#define KVA_VM_LARGEIMPORT 0x00080000u /* import 16 times as much */
#define KVA_VM_XIMPORT 0x00100000u     /* internal: import is a ximport */
#define KVA_VM_PRIVTAGS 0x00200000u    /* tags only from vmem_add_bts */
#define KVA_VM_ABORT 0x00400000u       /* fail at once: no reclaim, no wait */
#define KVA_VM_PREPARED 0x20000000u    /* one of those vmem_prepare was for */

/* Every bound may be left open. */
#define KVA_VMEM_ADDR_MIN ((kva_vmem_addr_t)0)
#define KVA_VMEM_ADDR_MAX (~(kva_vmem_addr_t)0)

/* What vmem_size sums and vmem_walk visits. */
#define KVA_VMEM_ALLOC 0x01u   /* allocated, items in magazines included */
#define KVA_VMEM_FREE 0x02u    /* free */
#define KVA_VMEM_SPAN 0x04u    /* spans themselves (walk) */
#define KVA_VMEM_MAXFREE 0x10u /* size: the largest free segment */
#define KVA_VMEM_CACHED 0x20u  /* size: held by quantum caches, not live */

/* How vmem_walk goes about it. */
#define KVA_VMEM_REENTRANT 0x80000000u /* fn may use the arena */
#define KVA_VMEM_NOLOCK 0x40000000u    /* everything else has stopped */

/*
 * Import takes a span of at least size bytes from arg (the source arena, if
 * the arena was made with one); release gives exactly such a span back.
 * Called with no arena lock held.  flags: VM_SLEEP or VM_NOSLEEP and the fit;
 * to be handed on as they are, since they also say what a request below may
 * use.  Must not call into the arena itself, nor answer one thread otherwise
 * than another: what one was denied it is not asked for again, until there is
 * more, for others who wait for the same.  ximport says in *actual how much it
 * took, at least size and a multiple of the quantum.
 */
typedef int kva_vmem_import_t(kva_vmem_t *arg, kva_vmem_size_t size,
                              kva_vm_flag_t flags, kva_vmem_addr_t *addr);
typedef int kva_vmem_ximport_t(kva_vmem_t *arg, kva_vmem_size_t size,
                               kva_vmem_size_t *actual, kva_vm_flag_t flags,
                               kva_vmem_addr_t *addr);
typedef void
kva_vmem_release_t(kva_vmem_t *arg, kva_vmem_addr_t addr, kva_vmem_size_t size);

/*
 * A request as a whole: what vmem_xalloc takes.  An import function of this
 * kind brings a span of at least rq->size bytes, all of it within the
 * constraints (vmem_request_fits with the span's bounds is true); rq->flags
 * has VM_NOSLEEP.
 */
struct kva_vmem_request {
    kva_vmem_size_t size, align, phase, nocross;
    kva_vmem_addr_t minaddr, maxaddr;
    kva_vm_flag_t flags;
};
typedef int
kva_vmem_rimport_t(kva_vmem_t *arg, const struct kva_vmem_request *rq,
                   kva_vmem_size_t *actual, kva_vmem_addr_t *addr);

/*
 * Ready the tag store and the list of arenas.  Idempotent; kva_boot calls it.
 * donated, bytes: memory for the first tags, or NULL and 0 when pages are to
 * come from the port at once.  Not thread-safe: call it before there are
 * threads.
 */
void kva_vmem_bootstrap(void *donated, size_t bytes);

/*
 * The opposite, with no arena left: every page goes back to the port, and the
 * donated memory is its owner's again.  A misuse while there is an arena.
 */
void kva_vmem_fini(void);

/*
 * Make an arena.  name: up to 23 characters, copied.  base, size: a first span
 * (size 0: none).  quantum: a power of two, the unit of all addresses and
 * sizes.  importfn, releasefn, source: where spans come from and go to, or
 * NULL; releasefn NULL: imported spans stay.  qcache_max: sizes up to this are
 * served by quantum caches (0: none; at most 32 quanta).  source: an arena or
 * NULL.  flags: VM_INDEX, VM_LARGEIMPORT, VM_PRIVTAGS; VM_BOOTSTRAP, VM_SLEEP,
 * VM_NOSLEEP and the fits have no effect here.  ipl: the highest level from
 * which the arena is used.
 * vmem_create returns NULL when there is no memory; vmem_init uses the storage
 * given (sizeof in vmem_store.h) and returns it, or NULL if the first span
 * finds no tags.  With VM_PRIVTAGS size must be 0: add tags, then the span.
 * From a thread, with no lock held.
 */
kva_vmem_t *
kva_vmem_create(const char *name, kva_vmem_addr_t base, kva_vmem_size_t size,
                kva_vmem_size_t quantum, kva_vmem_import_t *importfn,
                kva_vmem_release_t *releasefn, kva_vmem_t *source,
                kva_vmem_size_t qcache_max, kva_vm_flag_t flags,
                enum kva_ipl ipl);
kva_vmem_t *
kva_vmem_xcreate(const char *name, kva_vmem_addr_t base, kva_vmem_size_t size,
                 kva_vmem_size_t quantum, kva_vmem_ximport_t *importfn,
                 kva_vmem_release_t *releasefn, kva_vmem_t *source,
                 kva_vmem_size_t qcache_max, kva_vm_flag_t flags,
                 enum kva_ipl ipl);
kva_vmem_t *
kva_vmem_init(kva_vmem_t *store, const char *name, kva_vmem_addr_t base,
              kva_vmem_size_t size, kva_vmem_size_t quantum,
              kva_vmem_import_t *importfn, kva_vmem_release_t *releasefn,
              kva_vmem_t *source, kva_vmem_size_t qcache_max,
              kva_vm_flag_t flags, enum kva_ipl ipl);

/*
 * Where an arena's spans come from and go to, when it has none yet (FreeBSD's
 * vmem_set_import).  import_quantum: imports are multiples of it (a power of
 * two, 0: the quantum).  vmem_set_rimport: by whole requests, so that
 * constrained ones import as well as others.  An arena stacked on another by
 * vmem_alloc and vmem_free passes constraints on too.  Not while others use
 * the arena.
 */
void kva_vmem_set_import(kva_vmem_t *vm, kva_vmem_import_t *importfn,
                         kva_vmem_release_t *releasefn, kva_vmem_t *source,
                         kva_vmem_size_t import_quantum);
void kva_vmem_set_rimport(kva_vmem_t *vm, kva_vmem_rimport_t *importfn,
                          kva_vmem_release_t *releasefn, kva_vmem_t *source,
                          kva_vmem_size_t import_quantum);

/*
 * Ready-made for vmem_set_rimport: the span comes from the source by
 * vmem_xalloc and goes back by vmem_xfree, which is the releasefn to give.
 * Errors, context and work of vmem_xalloc.
 */
int kva_vmem_rimport(kva_vmem_t *source, const struct kva_vmem_request *rq,
                     kva_vmem_size_t *actual, kva_vmem_addr_t *addr);

/*
 * Does [first, last] have room for the request; sets *start to the first byte
 * (with VM_ENDALLOC of the highest place).  For import functions.
 */
bool
kva_vmem_request_fits(const struct kva_vmem_request *rq, kva_vmem_addr_t first,
                      kva_vmem_addr_t last, kva_vmem_addr_t *start);

/*
 * Imports stop where all spans together would exceed limit bytes (0: no limit).
 * What is there stays.  FreeBSD's vmem_set_limit.  Any context.
 */
void kva_vmem_set_limit(kva_vmem_t *vm, kva_vmem_size_t limit);

/*
 * End an arena: drains its quantum caches, releases imported spans, gives the
 * tags back.  Live ranges are a misuse, and so is a request that waits for
 * memory of the arena or of one that imports from it.  The caller sees to it
 * that nobody else uses the arena any more.  May not be called from an
 * interrupt.  Linear in tags.
 */
void kva_vmem_destroy(kva_vmem_t *vm);

/*
 * Allocate size bytes (rounded up to the quantum).  flags: VM_SLEEP or
 * VM_NOSLEEP; at most one of VM_INSTANTFIT (the default), VM_BESTFIT,
 * VM_FIRSTFIT and VM_NEXTFIT; VM_ENDALLOC, VM_ABORT, VM_ONESTEP,
 * VM_POPULATING, VM_PREPARED, VM_RESERVE.  Sets *addr.  KVA_ENOMEM when there
 * is none; with VM_SLEEP it waits for it, first in first out, and says so only
 * if no free can help; KVA_EINTR when the wait was cancelled; KVA_EAGAIN by
 * VM_ONESTEP.  A range of 2^k quanta, up to qcache_max, is aligned to its
 * size, whoever serves it.  Constant work, import aside; with VM_INDEX, past
 * the quantum caches, logarithmic; best fit without an index in steps of 64
 * tags with the lock dropped in between.
 * vmem_free takes the size that was allocated (or any that rounds to the
 * same); it never allocates or fails.  Constant work, logarithmic with
 * VM_INDEX; it looks through those who wait, if anybody does.
 */
int kva_vmem_alloc(kva_vmem_t *vm, kva_vmem_size_t size, kva_vm_flag_t flags,
                   kva_vmem_addr_t *addr);
void kva_vmem_free(kva_vmem_t *vm, kva_vmem_addr_t addr, kva_vmem_size_t size);

/*
 * Allocate under constraints, past the quantum caches: the first byte at phase
 * modulo align (align 0: the quantum), not crossing a multiple of nocross (0:
 * none), all bytes in [minaddr, maxaddr].  vmem_xalloc_addr claims exactly
 * [addr, addr + size - 1].  What comes from vmem_xalloc goes back by
 * vmem_xfree.  Flags, errors and context of vmem_alloc, and of vmem_free.  If
 * any hole serves it is found.  Constant work without bounds if there is a
 * hole long enough for any position, size + align - quantum (nocross: and size
 * - quantum; phase: and align); with VM_INDEX logarithmic, bounds and
 * addresses too, if such a hole lies within the bounds.  Otherwise in steps of
 * 64 tags, with the lock dropped in between.
 */
int kva_vmem_xalloc(kva_vmem_t *vm, kva_vmem_size_t size, kva_vmem_size_t align,
                    kva_vmem_size_t phase, kva_vmem_size_t nocross,
                    kva_vmem_addr_t minaddr, kva_vmem_addr_t maxaddr,
                    kva_vm_flag_t flags, kva_vmem_addr_t *addr);
int kva_vmem_xalloc_addr(kva_vmem_t *vm, kva_vmem_addr_t addr,
                         kva_vmem_size_t size, kva_vm_flag_t flags);
void kva_vmem_xfree(kva_vmem_t *vm, kva_vmem_addr_t addr, kva_vmem_size_t size);

/*
 * The same request in one piece, with an end to its patience: timeout_ns is
 * how long it waits at the most (0: no end), cookie a name by which
 * vmem_cancel finds it.  Sets *addr.  KVA_ENOMEM: there is none and there will
 * be none, or the caller may not sleep; KVA_ETIMEDOUT; KVA_EINTR: cancelled,
 * by vmem_cancel or by the port.  VM_SLEEP without a port that can wait is
 * VM_NOSLEEP.  Context and work of vmem_xalloc.
 */
int kva_vmem_xalloc_timed(kva_vmem_t *vm, const struct kva_vmem_request *rq,
                          uint64_t timeout_ns, const void *cookie,
                          kva_vmem_addr_t *addr);

/*
 * End the waits for memory of this arena that have the cookie, NULL: all.
 * Returns how many; of these one that is not asleep just now, since it was
 * woken or has only begun to wait, may still succeed with the try it is at.
 * Any context.  Linear in the number of waiters.
 */
unsigned kva_vmem_cancel(kva_vmem_t *vm, const void *cookie);

/*
 * Whoever waits in the tree of this arena tries again, one after the other:
 * for an import function that may succeed now (frames were freed, a quota was
 * raised), of which the library cannot know.  Any context.
 */
void kva_vmem_retry(kva_vmem_t *vm);

/*
 * Change in place a segment that came from vmem_xalloc:
 * [addr, addr + size - 1], the size as for vmem_xfree.  Each is done whole or
 * not at all, and never moves, imports, waits or asks for more memory than a
 * tag.  The results go back by vmem_xfree, or are changed again.
 *
 * vmem_xtrim keeps [newaddr, newaddr + newsize - 1], which lies within; what
 * is beyond either end becomes free, and requests that wait are woken as by a
 * free.  An imported span cannot come free by it, since something stays.
 * vmem_xsplit makes two segments, of first bytes and of the rest; first is
 * whole quanta and less than size.
 * vmem_xjoin makes one of two segments, the second right behind the first:
 * what was split, or was got piece by piece, goes back by one vmem_xfree
 * again.
 * vmem_xextend makes it [newaddr, newaddr + newsize - 1], which holds the old
 * one; what is added at either end has to be free.
 *
 * Sizes are rounded up to the quantum, addresses are multiples of it.  Returns
 * 0 or an error, with nothing changed:
 *   KVA_ENOMEM  trim, split: no tags.  Split takes one, trim one for each end
 *               that moves and whose neighbour is not free; beside a free one
 *               it cannot fail.  Extend: what is to be added is not free, or
 *               not of the same span; it never fails for want of tags.  With
 *               VM_INDEX any of these, if a start moves where 2^32 quanta lie
 *               between it and others near it, or both do in an arena that is
 *               so wide, and there are no nodes.
 *   KVA_EINVAL  the range is an item of the quantum caches, live and of that
 *               size, which has no tag of its own; join: the two are of two
 *               spans.
 * A range that is not a live one of vmem_xalloc is a misuse, as with
 * vmem_xfree.  At or below the arena's IPL; constant work, logarithmic with
 * VM_INDEX.  The idea is that of munmap and mremap, which NetBSD's vmem leaves
 * to the map above it.
 *
 * vmem_xtrim_prepared and vmem_xsplit_prepared use up one prepared operation
 * (vmem_prepare), so KVA_ENOMEM cannot be.
 */
int kva_vmem_xtrim(kva_vmem_t *vm, kva_vmem_addr_t addr, kva_vmem_size_t size,
                   kva_vmem_addr_t newaddr, kva_vmem_size_t newsize);
int kva_vmem_xsplit(kva_vmem_t *vm, kva_vmem_addr_t addr, kva_vmem_size_t size,
                    kva_vmem_size_t first);
int kva_vmem_xjoin(kva_vmem_t *vm, kva_vmem_addr_t addr, kva_vmem_size_t size1,
                   kva_vmem_size_t size2);
int kva_vmem_xextend(kva_vmem_t *vm, kva_vmem_addr_t addr, kva_vmem_size_t size,
                     kva_vmem_addr_t newaddr, kva_vmem_size_t newsize);
int kva_vmem_xtrim_prepared(kva_vmem_t *vm, kva_vmem_addr_t addr,
                            kva_vmem_size_t size, kva_vmem_addr_t newaddr,
                            kva_vmem_size_t newsize);
int kva_vmem_xsplit_prepared(kva_vmem_t *vm, kva_vmem_addr_t addr,
                             kva_vmem_size_t size, kva_vmem_size_t first);

/*
 * Free every range there is; a misuse with quantum caches.  Nobody else uses
 * the arena meanwhile.  Linear in segments.
 */
void kva_vmem_xfreeall(kva_vmem_t *vm);

/*
 * Add the span [addr, addr + size - 1], whole quanta, apart from all others.
 * flags: VM_PREPARED, or none of importance.  KVA_ENOMEM: no tags.  Any
 * context.  Linear in spans, logarithmic with VM_INDEX.
 */
int kva_vmem_add(kva_vmem_t *vm, kva_vmem_addr_t addr, kva_vmem_size_t size,
                 kva_vm_flag_t flags);

/*
 * Give the arena n tags in the caller's memory, anywhere, aligned as struct
 * kva_vmem_btag (vmem_store.h).  One of each KVA_VMEM_BTS_GROUP is used as a
 * header.  KVA_VMEM_EST_BTCOUNT(spans, allocs) suffice for that many, given in
 * one call (budget.h).  They are the caller's again after vmem_destroy.
 * KVA_ENOMEM: no tag could be made of them.  Any context.  Linear in n.  The
 * idea is NetBSD's (VM_PRIVTAGS).
 */
int kva_vmem_add_bts(kva_vmem_t *vm, struct kva_vmem_btag *bts, unsigned n);

/*
 * Give an arena with VM_PRIVTAGS a page of the caller's, KVA_PAGE_SIZE bytes
 * and aligned so, for its hash of addresses.  With one for each
 * KVA_VMEM_HASH_TAGS tags in use a look-up is constant work; without, the few
 * buckets in the arena itself have to do, and their chains grow.  The first
 * page of its directory takes one more, when there are eight.  They are the
 * caller's again after vmem_destroy.  Any context.
 */
void kva_vmem_add_hash(kva_vmem_t *vm, void *page);

/*
 * Reserve what nops operations of the arena may take in tags, here and in every
 * arena that it imports from, so that they cannot fail for want of them.  An
 * operation is a vmem_alloc, vmem_xalloc, vmem_xalloc_addr or vmem_add with
 * VM_PREPARED among its flags, a vmem_xtrim_prepared or a vmem_xsplit_prepared.
 * Each that succeeds uses up one; one that fails (there is no memory) does not.
 * Other requests never take from the reservation, whoever makes them, and more
 * prepared operations than there are is a misuse.  Frees, vmem_xextend and
 * vmem_xjoin take no tags and need not be prepared.
 *
 * What is held: KVA_VMEM_TAGS_PREPARED tags an operation for an arena that
 * imports, KVA_VMEM_TAGS_ADD for one that does not, the source's likewise,
 * until they are used up, vmem_unprepare gives up nops of them, or
 * vmem_destroy all.  With VM_PRIVTAGS they are the caller's tags.
 *
 * A prepared vmem_alloc goes past the quantum caches, whatever its size: an
 * item of theirs takes no tag, but a page of state when it is the first
 * somewhere.  An import function of the caller's own has to hand its flags on.
 * With minaddr or maxaddr, one that is told a size only, and so may bring what
 * does not serve, is not called.
 *
 * flags: VM_NOSLEEP or VM_SLEEP, which waits for frees.  KVA_ENOMEM: no tags,
 * and nothing is reserved.  Context: at or below the arena's IPL, sleeping as
 * vmem_alloc.  Work: as many tags as are reserved.
 */
int kva_vmem_prepare(kva_vmem_t *vm, unsigned nops, kva_vm_flag_t flags);
void kva_vmem_unprepare(kva_vmem_t *vm, unsigned nops);

/* The size in whole quanta; 0 if that overflows.  Any context. */
kva_vmem_size_t kva_vmem_roundup_size(kva_vmem_t *vm, kva_vmem_size_t size);

/*
 * Bytes, summed over the kinds in typemask: ALLOC, FREE, CACHED (of the
 * allocated ones), MAXFREE (the largest hole, FreeBSD's).  Any context.
 * Constant work; CACHED is linear in CPUs and windows, MAXFREE without an
 * index in the holes of one class.
 */
kva_vmem_size_t kva_vmem_size(kva_vmem_t *vm, unsigned typemask);

/*
 * Call fn for each segment of the kinds in typemask (ALLOC, FREE, CACHED,
 * SPAN), in address order within a span, spans in the order they came.
 * Linear, and so is the time for which the arena is locked: fn must not use it.
 *
 * With VMEM_REENTRANT the arena is not locked while fn runs, nor for more than
 * 64 segments on end; fn and everybody else may allocate and free meanwhile,
 * and what fn is told may have changed.  A segment that is there all the time
 * is visited exactly once, no two visits of a span overlap, and spans that
 * come after the walk began are left out.  fn must return, and not end the
 * arena.
 * With VMEM_NOLOCK no lock is taken, for when nobody else runs any more (a
 * crash dump): pointers are looked at before they are followed, and the walk
 * ends at the first that is bad.  The idea is illumos' VMEM_REENTRANT.
 */
void kva_vmem_walk(kva_vmem_t *vm, unsigned typemask,
                   void (*fn)(void *arg, kva_vmem_addr_t addr,
                              kva_vmem_size_t size, unsigned type),
                   void *arg);

/* What a segment is, or an item of the quantum caches. */
enum kva_vmem_kind {
    KVA_VMEM_KIND_FREE,   /* a hole */
    KVA_VMEM_KIND_ALLOC,  /* from vmem_alloc, with a tag of its own */
    KVA_VMEM_KIND_XALLOC, /* from vmem_xalloc */
    KVA_VMEM_KIND_PIECE,  /* the quantum caches have it, in no item */
    KVA_VMEM_KIND_LIVE,   /* from vmem_alloc, an item of a quantum cache */
    KVA_VMEM_KIND_CACHED, /* such an item, freed */
    KVA_VMEM_KIND_KEPT    /* freed, and kept back for a while (kva.h) */
};

struct kva_vmem_segment {
    kva_vmem_addr_t addr; /* first address */
    kva_vmem_size_t size;
    enum kva_vmem_kind kind;
    bool imported;             /* the span was, and may go back */
    kva_vmem_addr_t span_addr; /* the span that it lies in */
    kva_vmem_size_t span_size;
};

/*
 * Does all of [addr, addr + size - 1] lie in one span.  With VM_INDEX a
 * logarithm; else linear in spans, in steps of at most 64 with the lock
 * dropped in between.
 */
bool
kva_vmem_contains(kva_vmem_t *vm, kva_vmem_addr_t addr, kva_vmem_size_t size);

/*
 * The segment, or item of a quantum cache, that addr lies in, its first address
 * or any other.  KVA_ENOENT: no span has it.  With VM_INDEX a logarithm; else
 * linear in the spans and in the segments of one, in such steps.
 */
int kva_vmem_find(kva_vmem_t *vm, kva_vmem_addr_t addr,
                  struct kva_vmem_segment *seg);

/*
 * Give back what quantum caches hold, down to retain bytes, and with it whole
 * spans to the source, until bytes have been given back.  Returns the bytes
 * of spans released.  Called with no lock held, at KVA_IPL_NONE.
 *
 * In an arena without an index, with vmem_rimport and vmem_xfree, and in the
 * wired ones of kva.h, what whole free spans do not give is cut out of others,
 * the longest free runs first and no more than is wanted: for each up to two
 * tags here (KVA_VMEM_TAGS_CUT) and two in the source.  Without tags it stays.
 * Linear in what is held; no lock for longer than 512 quanta take.
 */
size_t kva_vmem_drain(kva_vmem_t *vm, size_t bytes, size_t retain);

/*
 * Call fn(vm, flags) when a request cannot be met, before waiting or failing;
 * NULL: nobody.  fn is called in the context of the request with no arena's
 * lock held, and may free to the arena.  Any context.  FreeBSD's
 * vmem_set_reclaim.
 */
void kva_vmem_set_reclaim(kva_vmem_t *vm,
                          void (*fn)(kva_vmem_t *vm, kva_vm_flag_t flags));

/*
 * Keep house: per-CPU magazines, those of pool caches included, give back what
 * has lain unused since the last call, and are made smaller where little goes
 * through them.  To be called about every 15 seconds, or never.  From a
 * thread, with no lock held, at KVA_IPL_NONE.  Linear in the number of caches.
 * The idea is Bonwick and Adams' (depot working sets), 2001.
 */
void kva_vmem_update(void);

/*
 * Statistics, named as illumos' fourteen kstats, and what metadata costs; bytes
 * unless said otherwise.  Counters wrap.
 *
 * Hits of the quantum caches are in no counter: they do nothing but hit.
 * alloc and free count segments: requests met past the quantum caches, and
 * pieces for these.  qcache_alloc and qcache_free count the requests that the
 * magazines could not serve alone; of the others there are at most a magazine's
 * rounds for each.
 */
struct kva_vmem_stat {
    size_t mem_inuse;        /* allocated, magazines included */
    size_t mem_import;       /* imported and not released */
    size_t mem_total;        /* all spans */
    size_t mem_cached;       /* of mem_inuse: in quantum caches, not live */
    kva_vmem_t *vmem_source; /* the arena that spans come from, or NULL */
    size_t alloc;            /* segments made, see above */
    size_t free;             /* segments freed */
    size_t wait;             /* times a request slept */
    size_t fail;             /* requests refused, injected ones included */
    size_t wakes;            /* times a waiter was woken */
    size_t wakes_vain;       /* and found nothing */
    size_t held_back;       /* refused in favour of a waiter passed too often */
    size_t lookup;          /* tags looked up by address */
    size_t search;          /* tags looked at for a fit */
    size_t populate_wait;   /* waits for tags */
    size_t populate_fail;   /* requests refused for want of tags */
    size_t contains;        /* calls of vmem_contains and vmem_find */
    size_t contains_search; /* tags looked at by them */
    size_t injected;        /* requests that vmem_set_mtbf let fail */
    size_t qcache_alloc;    /* requests past the magazines */
    size_t qcache_free;     /* frees past them */
    size_t tags_busy, tags_free, tags_span; /* tags in use */
    size_t tags_spare;                      /* tags in the arena's own stock */
    size_t tags_reserved; /* of them, for prepared operations */
    size_t resize;        /* trims, splits, joins, extensions, cuts */
    size_t spans;         /* spans, and of them imported ones */
    size_t spans_import;
    size_t tag_bytes;      /* all those tags */
    size_t hash_bytes;     /* pages of the hash, nodes of the indexes */
    size_t qcache_bytes;   /* windows of the quantum caches */
    size_t state_bytes;    /* state bytes of the quantum caches */
    size_t magazine_bytes; /* magazines and CPU slots */
    size_t meta_bytes;     /* all of these, and the arena itself */
};
void kva_vmem_stat(kva_vmem_t *vm, struct kva_vmem_stat *st);

/*
 * Check every invariant of the arena.  Returns NULL, or what does not hold.
 * Linear in the number of tags; the arena is locked meanwhile.  No pointer of
 * the arena's is followed before it is known to lead to a tag, so this is safe
 * on one that is damaged.
 */
const char *kva_vmem_check(kva_vmem_t *vm);

/*
 * Failure injection: from now on every nth request with VM_NOSLEEP fails with
 * KVA_ENOMEM (n 1: each; 0: none any more).  With seed not 0 the spacing is
 * pseudo-random, 1 to 2n - 1, n on the average.  All hit paths miss while it is
 * on, so that requests to quantum caches are counted too.  Constant work.  The
 * idea is illumos' vmem_mtbf.
 */
void kva_vmem_set_mtbf(kva_vmem_t *vm, unsigned n);
void kva_vmem_set_mtbf_random(kva_vmem_t *vm, unsigned n, uint64_t seed);

enum kva_vmem_event {
    KVA_VMEM_AUDIT_ALLOC = 1,
    KVA_VMEM_AUDIT_XALLOC,
    KVA_VMEM_AUDIT_FREE,
    KVA_VMEM_AUDIT_XFREE,
    KVA_VMEM_AUDIT_XTRIM,
    KVA_VMEM_AUDIT_XSPLIT,
    KVA_VMEM_AUDIT_XJOIN,
    KVA_VMEM_AUDIT_XEXTEND
};

/* What happened to an address: an entry of the audit ring. */
struct kva_vmem_audit {
    kva_vmem_addr_t addr;
    kva_vmem_size_t size; /* of a range that changed: the longer one */
    /* Of the range: what a trim kept, what was extended, the first of the two
     * that were split or joined.  0 for all else. */
    kva_vmem_addr_t part_addr;
    kva_vmem_size_t part_size;
    const void *caller; /* the return address of the call */
    uint64_t time;      /* kva_port_clock; below tier 3: 0 */
    size_t number;      /* counts up; 0: nothing was written here yet */
    unsigned cpu;       /* slot, or KVA_CPU_NONE */
    enum kva_vmem_event op;
};

/*
 * Write each allocation, change in place and free of the arena into ring, n
 * entries of the caller's, the newest over the oldest; ring NULL: no more.
 * All hit paths miss meanwhile.  What fails, or is refused as misuse, leaves
 * no entry.  The ring must stay until it is taken away again, with no request
 * under way.  Any context.  Linear in n.  The idea is illumos' vmem_audit.
 */
void kva_vmem_set_audit(kva_vmem_t *vm, struct kva_vmem_audit *ring, size_t n);

/*
 * The newest entry whose range addr lies in, copied to *event.  KVA_ENOENT: the
 * ring has none.  Linear in the ring.
 */
int kva_vmem_audit_find(kva_vmem_t *vm, kva_vmem_addr_t addr,
                        struct kva_vmem_audit *event);

/*
 * Print for debugging, NetBSD's interface.  pr is called with whole lines and
 * locks held, and must not use arenas; NULL: the port's log.
 *
 * vmem_whatis: what addr is: in which arena's which segment, or an arena, or a
 * tag, and the last event of the address in an arena with an audit ring.
 * vmem_print: the arena at addr; vmem_printall: all of them.  modif, which may
 * be NULL: "t" totals only, "a" the audit ring too, "l" take no lock.
 * vmem_print_live: each live range, who allocated it if that is known, and
 * nothing else; at most max.  Returns how many there are.
 */
typedef void
kva_vmem_pr_t(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void kva_vmem_whatis(uintptr_t addr, kva_vmem_pr_t *pr);
void kva_vmem_print(uintptr_t addr, const char *modif, kva_vmem_pr_t *pr);
void kva_vmem_printall(const char *modif, kva_vmem_pr_t *pr);
size_t kva_vmem_print_live(kva_vmem_t *vm, size_t max, kva_vmem_pr_t *pr);

/* All arenas, linked by kva_vmem.next: where a debugger starts. */
extern kva_vmem_t *kva_vmem_list;

#ifdef __cplusplus
}
#endif

#include "vmem/budget.h"

#ifndef KVA_NO_NAMES
#include "vmem/vmem_names.h"
#endif

#endif
