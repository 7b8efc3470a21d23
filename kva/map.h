/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kernel_map inside: its pieces, and the words of their pages.  map.c keeps
 * them, pageable.c has what is done with pages.
 */
#ifndef KVA_KVA_MAP_H
#define KVA_KVA_MAP_H

#include "kva/kva_impl.h"
#include "vmem/meta.h"

/* The word of a page.  The accesses are those of the port, KVA_PROT_*. */
#define KVA__PAGE_PROT 0x7u
#define KVA__PAGE_USED 0x8u      /* it is somebody's */
#define KVA__PAGE_BUSY 0x10u     /* somebody changes it with no lock held */
#define KVA__PAGE_RESIDENT 0x20u /* it has a frame */
#define KVA__PAGE_WIRE 0x40u     /* how often it is wired: the bits from here */
#define KVA__PAGE_WIRES_MAX (0xffffu / KVA__PAGE_WIRE)

/* A tier without paging has no KVA_PROT_* either. */
#define KVA__PROT_READ 0x1u
#define KVA__PROT_WRITE 0x2u
#define KVA__PROT_EXEC 0x4u
#if KVA_TIER >= 2
_Static_assert(KVA__PROT_READ == KVA_PROT_READ &&
                   KVA__PROT_WRITE == KVA_PROT_WRITE &&
                   KVA__PROT_EXEC == KVA_PROT_EXEC,
               "accesses are those of the port");
#endif

/* (k) the map's lock, (c) constant. */
struct kva__piece {
    struct kva__piece *left; /* (k) */
    struct kva__piece *right;
    struct kva__piece *up;
    uintptr_t first;   /* (k) */
    uint32_t npages;   /* (k) of its segment of kernel_va_arena */
    uint32_t used;     /* (k) pages in use */
    uint32_t busy;     /* (k) busy pages */
    uint32_t priority; /* (c) */
    uint16_t class;    /* (c) of its block */
    uint16_t page[];   /* (k) */
};

#define KVA__MAP_CLASSES 4u

struct kva__map {
    kva_lock_t lock;
    struct kva__piece *root; /* (k) */
    size_t npieces;          /* (k) */
    size_t bytes;            /* (k) of their blocks */
    size_t entries;          /* (k) */
    size_t used;             /* (k) pages */
    size_t resident;         /* (k) pages with a frame, busy ones too */
    unsigned waiters;        /* (k) for a page that is busy */
    bool started;            /* (c) from kva_start on */
    struct kva__meta_store blocks[KVA__MAP_CLASSES];
};

extern struct kva__map kva__map;

/* Blank, for that many pages and not in the tree; NULL: no memory. */
struct kva__piece *kva__piece_new(size_t npages);
void kva__piece_drop(struct kva__piece *p);
size_t kva__piece_pages_max(void);
uintptr_t kva__piece_last(const struct kva__piece *p);

/* With the lock held. */
void kva__piece_insert(struct kva__piece *p);
void kva__piece_erase(struct kva__piece *p);
struct kva__piece *kva__piece_find(uintptr_t va);

/*
 * The only way to change words: in those of the n pages from i on, bits are
 * cleared, then set, then the count of wirings changed by wires.  All counts
 * follow.  With the lock held.
 */
void kva__piece_change(struct kva__piece *p, size_t i, size_t n, unsigned clear,
                       unsigned set, int wires);

#endif
