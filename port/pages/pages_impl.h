/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the page supply share.
 */
#ifndef KVA_PORT_PAGES_IMPL_H
#define KVA_PORT_PAGES_IMPL_H

#include "port/check.h"
#include "port/pages/pages.h"
#include "vmem/vmem_store.h"

/*
 * A range of memory and three bits for each of its frames.  (p) lock of the
 * supply, (c) constant after init.
 *
 *      first taken held
 *        0     0     0    free, in a hole of the arena
 *        x     1     1    given out
 *        x     1     0    free, but in a segment of the arena: stock, or parked
 *        1     0     1    the supply's own
 *
 * first is set where a busy segment of the arena begins.
 */
struct kva__frames {
    uintptr_t base;   /* (c) number of the first frame */
    size_t n;         /* (c) */
    uintptr_t *first; /* (p) */
    uintptr_t *taken; /* (p) */
    uintptr_t *held;  /* (p) */
};

/* Frames of one boot map: usable, sorted, disjoint and not adjacent. */
struct kva__frame_map {
    unsigned n;
    struct {
        uintptr_t base;
        size_t n;
    } range[KVA_PAGES_RANGES];
};

/* What the stock holds at most, and what goes to and fro at a time: enough that
 * a pop costs a sixteenth of a request, and too few to be missed elsewhere. */
#define STOCK_MAX 32u
#define STOCK_BATCH 16u

/* Tags in a page of them, headers included. */
#define PAGE_BTS ((unsigned)(KVA_PAGE_SIZE / sizeof(struct kva_vmem_btag)))

/* The supply; there is one. */
struct kva__pages {
    kva_lock_t lock;
    bool up;
    bool adding;           /* (p) tags are being given to the arena */
    struct kva_vmem arena; /* of frame numbers */
    struct kva__frames range[KVA_PAGES_RANGES]; /* (c) sorted */
    unsigned nranges;                           /* (c) */

    /* [first, end) are mapped, frame f at va + ((f - first) << shift). */
    uintptr_t mapped_first, mapped_end, mapped_va; /* (c) */
    uintptr_t low;  /* (c) frames below are for those who ask, 0: none */
    uintptr_t high; /* (c) from here on none is mapped, 0: there is none */

    uintptr_t stock[STOCK_MAX]; /* (p) */
    unsigned nstock;            /* (p) */
    size_t hash_room;           /* (p) segments that the hash is made for */
    size_t tags;                /* (p) tags given to the arena */
    struct kva_pages_stat stat; /* (p) but what is computed when asked for */
};

extern struct kva__pages kva__pages;

/* ---- map.c ------------------------------------------------------------- */

/* What is usable of a boot map; 0, or KVA_EINVAL and a line in the log. */
int kva__pages_map(const struct kva_pages_range *map, size_t nmap,
                   struct kva__frame_map *out);

/* ---- bits.c ------------------------------------------------------------ */

#define KVA__BITS_SHIFT (KVA_WORD_64 ? 6u : 5u)
#define KVA__BITS_WORD ((size_t)1 << KVA__BITS_SHIFT)

/* Words for n bits. */
static inline size_t
bits_words(size_t n)
{
    return (n + (KVA__BITS_WORD - 1)) >> KVA__BITS_SHIFT;
}

static inline bool
bits_get(const uintptr_t *bits, size_t at)
{
    return (bits[at >> KVA__BITS_SHIFT] >> (at & (KVA__BITS_WORD - 1)) & 1) !=
           0;
}

static inline void
bits_put(uintptr_t *bits, size_t at, bool on)
{
    uintptr_t bit = (uintptr_t)1 << (at & (KVA__BITS_WORD - 1));

    if (on) {
        bits[at >> KVA__BITS_SHIFT] |= bit;
    } else {
        bits[at >> KVA__BITS_SHIFT] &= ~bit;
    }
}

/* Set or clear n of them. */
void kva__bits_fill(uintptr_t *bits, size_t at, size_t n, bool on);
/* The lowest one from at on, below end, at which both are set, or either is not
 * (want: false); or end. */
size_t kva__bits_both(const uintptr_t *a, const uintptr_t *b, size_t at,
                      size_t end, bool want);

/* The segment around a frame that is taken: where it begins, and ends. */
size_t kva__segment_first(const struct kva__frames *f, size_t at);
size_t kva__segment_end(const struct kva__frames *f, size_t at);

#endif
