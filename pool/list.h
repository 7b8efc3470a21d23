/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Listings of all pools, in the manner of vmstat -m and vmstat -C, and the
 * numbers in them.
 *
 * Exact: everything about slabs, and the misses.  Hits of a cache's magazines
 * are counted nowhere, since that would cost each of them: of a cache,
 * requests and releases are objects that went from the slabs to the magazines
 * and back, and what callers got is at the most a magazine for each miss more.
 * What is in magazines is a sum over slots that others use meanwhile, so in_use
 * and cached are as racy as that, if anybody does.
 */
#ifndef KVA_POOL_LIST_H
#define KVA_POOL_LIST_H

#include "pool/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kva_pool_row {
    const char *name; /* valid as long as the pool */
    bool cache;       /* the rows from cached on are 0 without */
    bool recursive;   /* PR_RECURSIVE: in no totals */
    size_t object_bytes;
    size_t slab_bytes;
    size_t requests;   /* objects that left slabs, ever */
    size_t releases;   /* that came back */
    size_t fails;      /* requests that got nothing */
    size_t limit;      /* most objects out, or KVA_POOL_NO_LIMIT */
    size_t limit_hits; /* times it was met */
    size_t in_use;     /* objects with callers */
    size_t available;  /* objects in slabs and in magazines */
    size_t slabs;
    size_t slabs_empty; /* of them without an object that is out */
    size_t slabs_max;   /* the most there ever were */
    size_t slabs_made;  /* ever */
    size_t slabs_freed; /* ever */
    size_t cached;      /* objects in magazines */
    size_t waiting;     /* PR_PSERIALIZE: objects that wait for readers */
    size_t slots;       /* CPU slots with magazines */
    size_t rounds;      /* that new magazines have */
    size_t rounds_max;  /* to which they may grow */
    size_t depot_full;  /* magazines there */
    size_t depot_empty; /* magazines there */
    size_t misses_get;  /* gets that went to the depot or beyond */
    size_t misses_put;
    size_t magazine_bytes; /* magazines and slots */
};

#define KVA_POOL_NO_LIMIT SIZE_MAX

/*
 * Every pool but those that come or go meanwhile: fn(arg, row), with no lock
 * held.  Thread context.  Linear in pools, their slots and depots.
 */
void
kva_pool_rows(void (*fn)(void *arg, const struct kva_pool_row *row), void *arg);

/*
 * A line for each pool that ever had a slab: size, requests, failures,
 * releases, in use, available, and pages asked for, given back, held, at most
 * held, and idle; then how much of the pages is in use.  A line for each cache:
 * size, slots, rounds of a magazine and the most, full and empty magazines in
 * the depot, cached objects, misses and bytes of magazines.  pr: as for
 * vmem_print; NULL: the port's log.  As kva_pool_rows otherwise.
 */
void kva_pool_listing(kva_vmem_pr_t *pr);
void kva_pool_cache_listing(kva_vmem_pr_t *pr);

#ifdef __cplusplus
}
#endif

#ifndef KVA_NO_NAMES
#include "pool/pool_names.h"
#endif

#endif
