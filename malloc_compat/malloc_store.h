/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The storage of malloc types, and the macros that define them:
 *
 *     MALLOC_DEFINE(M_MBUF, "mbuf", "network memory");
 *     p = malloc(size, M_MBUF, M_WAITOK);
 *
 * The name of a type is an array of one, as in NetBSD, so that it is passed
 * as a pointer.  A type attaches itself when it is first used.
 */
#ifndef KVA_MALLOC_COMPAT_MALLOC_STORE_H
#define KVA_MALLOC_COMPAT_MALLOC_STORE_H

#include "malloc_compat/malloc.h"
#include "port/check.h"

/*
 * What one CPU slot did.  Written by its owner alone; read by whoever adds up.
 * A free counts where it happens, so bytes may be below 0: a number modulo the
 * word size.
 */
struct kva__malloc_count {
    size_t window; /* bytes above base, in the top bits */
    size_t requests;
    size_t frees;
    size_t base;
    size_t seen; /* bytes when they were last added up */
} __attribute__((aligned(KVA_CACHE_LINE)));

/* Sums of such, and what is counted where all do. */
struct kva__malloc_sum {
    size_t requests;
    size_t frees;
    size_t bytes; /* taken less given back */
};

struct kva__limit_waiter;

/* (t) lock of types, (c) constant after attach. */
struct kva_malloc_type {
    /* What the hit paths look at.  Where something else must be done first (the
     * type is not attached, it has a limit, there is no memory for its
     * counters) no flags are plain, and no address within reach. */
    unsigned plain;  /* (t) flags below this need no thought */
    uintptr_t reach; /* (t) pages in which a free looks for the slab */
    struct kva__malloc_count **count; /* (c) that of CPU n is count[n + 1] */
    const char *name;
    const char *description;
    size_t limit;                    /* (t) bytes, 0: none */
    struct kva__malloc_sum shared;   /* (t) what has no slot, or a limit */
    size_t high;                     /* (t) */
    size_t failures;                 /* (t) */
    size_t waits;                    /* (t) requests that slept for the limit */
    struct kva__limit_waiter *first; /* (t) who sleep for it, the oldest */
    struct kva__limit_waiter *last;  /* (t) */
    unsigned passed;                 /* (t) grants since that one is first */
    unsigned attached;               /* (t) */
    struct kva_malloc_type *next;    /* (t) */
    struct kva_malloc_type *prev;    /* (t) */
};

/* All types in use, for listings. */
extern struct kva_malloc_type *kva_malloc_type_list;

#define KVA_MALLOC_DEFINE_LIMIT(type, shortdesc, longdesc, max)        \
    struct kva_malloc_type type[1] = {                                 \
        { .name = shortdesc, .description = longdesc, .limit = (max) } \
    }
#define KVA_MALLOC_DEFINE(type, shortdesc, longdesc) \
    KVA_MALLOC_DEFINE_LIMIT(type, shortdesc, longdesc, 0)
#define KVA_MALLOC_DECLARE(type) extern struct kva_malloc_type type[1]

#ifndef KVA_NO_NAMES
#define MALLOC_DEFINE_LIMIT KVA_MALLOC_DEFINE_LIMIT
#define MALLOC_DEFINE KVA_MALLOC_DEFINE
#define MALLOC_JUSTDEFINE_LIMIT KVA_MALLOC_DEFINE_LIMIT
#define MALLOC_JUSTDEFINE KVA_MALLOC_DEFINE
#define MALLOC_DECLARE KVA_MALLOC_DECLARE
#endif

#endif
