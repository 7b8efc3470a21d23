/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * malloc(9): memory by size and type, freed without a size.  Statistics are
 * kept per type and CPU slot, without a shared counter on the hot path.
 * Signatures are NetBSD's.  The memory is kmem's: the same classes, the same
 * alignment, and not from interrupts.
 *
 * The names malloc, realloc and free are mapped only where KVA_MALLOC_NAMES is
 * defined: many programs that include this have their own.
 */
#ifndef KVA_MALLOC_COMPAT_MALLOC_H
#define KVA_MALLOC_COMPAT_MALLOC_H

#include "kmem/kmem.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KVA_M_WAITOK 0x0000
#define KVA_M_NOWAIT 0x0001
#define KVA_M_ZERO 0x0002
#define KVA_M_CANFAIL 0x0004
#define KVA_M_USE_RESERVE 0x0400 /* it will free more (vmem/reserve.h) */

struct kva_malloc_type;

/*
 * bytes are those taken, that is, sizes rounded up to their class: what was
 * asked for is not kept anywhere.  requests, active and bytes are exact when
 * nobody allocates meanwhile.  high is exact where the type has a limit;
 * otherwise the true mark lies above it by less than KVA_MALLOC_WINDOW (16 KiB
 * with 4 KiB pages) for each CPU slot.
 */
#define KVA_MALLOC_WINDOW ((size_t)4 << KVA_PAGE_SHIFT)

struct kva_malloc_stat {
    const char *name;
    size_t requests; /* met, ever */
    size_t active;   /* allocations now */
    size_t bytes;    /* taken now */
    size_t high;     /* high-water mark of bytes */
    size_t failures; /* requests refused */
    size_t limit;    /* 0: none */
    size_t waits;    /* requests that slept for the limit */
};

/*
 * All storage is in struct kva_malloc_type (malloc_compat/malloc_store.h); a
 * zeroed one with a name is ready for use.  attach makes its counters, which
 * the first allocation does otherwise.  Live memory at detach is a misuse.
 * Thread or boot context.
 */
void kva_malloc_type_attach(struct kva_malloc_type *mt);
void kva_malloc_type_detach(struct kva_malloc_type *mt);

/* Detach all types; before kmem_fini, for tests and tools. */
void kva_malloc_fini(void);

/*
 * At most so many bytes, as malloc_roundup counts them; 0: no limit.  More than
 * that may be live already: then nothing is granted until enough was freed.
 * Who waits for more than the new limit fails.  A type with a limit is counted
 * under a lock.  Between no limit and one, what runs meanwhile may be counted
 * late: set it before there is traffic.  Thread or boot context.
 */
void kva_malloc_type_setlimit(struct kva_malloc_type *mt, unsigned long bytes);
void
kva_malloc_type_stat(struct kva_malloc_type *mt, struct kva_malloc_stat *st);

/*
 * Every type in use, the oldest first, but those that come or go meanwhile:
 * fn(arg, statistics), with no lock held.  And a line for each, in the manner of
 * vmstat -m: allocations and bytes now, high-water mark, limit, requests,
 * failures, waits; then the sums.  Which sizes a type has is not known: they are
 * counted nowhere.  pr: as for vmem_print; NULL: the port's log.  Thread
 * context.  Quadratic in types (a step each), linear in their CPU slots.
 */
void kva_malloc_rows(void (*fn)(void *arg, const struct kva_malloc_stat *st),
                     void *arg);
void kva_malloc_listing(kva_vmem_pr_t *pr);

/*
 * flags: M_NOWAIT fails where M_WAITOK sleeps: for memory, or at the type's
 * limit for frees, the oldest first.  A size that no address space could hold,
 * or that is above the limit, cannot be waited for: with M_WAITOK it is a
 * misuse unless M_CANFAIL is given, else NULL.  Size 0 is served as 1.  M_ZERO
 * zeroes all that the request takes.  Where the port cannot wait, M_WAITOK is
 * M_NOWAIT.  Constant work; a new slab, a sleep, and the zeroing aside.
 */
void *kva_malloc(unsigned long size, struct kva_malloc_type *mt, int flags);

/* n times size; a product that does not fit into a word is a size that no
 * address space could hold.  As malloc.  After FreeBSD. */
void *
kva_mallocarray(size_t n, size_t size, struct kva_malloc_type *mt, int flags);

/*
 * A new size for p: at p while it takes the same (kva_malloc_roundup), else at
 * another place.  p NULL: a malloc; size 0: a free, and NULL.  It is counted as
 * one request and one free; at a limit only what it grows by must fit.  When
 * it fails, NULL, and p is as it was; to make p smaller does not fail: when
 * nothing smaller is to be had, p stays.  M_ZERO: what p grows by is zero, if
 * M_ZERO was given whenever p changed its size, and at its malloc.  Linear in
 * bytes where it moves.
 *
 * reallocf: the same, but p is freed when it fails.  After FreeBSD.
 */
void *
kva_realloc(void *p, unsigned long size, struct kva_malloc_type *mt, int flags);
void *kva_reallocf(void *p, unsigned long size, struct kva_malloc_type *mt,
                   int flags);

/*
 * free: NULL is allowed.  Never allocates nor sleeps.  mt is the type of the
 * malloc; a free as another type is counted for that one, so that the sum over
 * both is right, and either is reported when it is detached.  zfree zeroes all
 * that p takes before.  Constant work, or for zfree linear in bytes.
 */
void kva_free(void *p, struct kva_malloc_type *mt);
void kva_zfree(void *p, struct kva_malloc_type *mt);

/* What a live allocation takes, all of which may be used; 0 for NULL.  After
 * FreeBSD.  Constant work. */
size_t kva_malloc_usable_size(const void *p);

/* The bytes that a request of size takes. */
unsigned long kva_malloc_roundup(unsigned long size);

#ifdef __cplusplus
}
#endif

#ifndef KVA_NO_NAMES
#include "malloc_compat/malloc_names.h"
#endif

#endif
