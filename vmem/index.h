/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The index of an arena by address (VM_INDEX): every segment, busy or free, in
 * the order of first addresses, and for each part of it the largest hole
 * inside.  How it is built: index.c.
 *
 * Two uses.  As an index of segments its entries tile the arena: behind each
 * span that no other span follows at once stands an entry for the gap, which
 * has no tag.  Then the size of a hole is the distance to the next entry and no
 * tag need be read for it.  As a plain map (kva__index_insert) its entries are
 * points; spans by their first address, for example.
 *
 * An operation that adds entries takes nodes that kva__index_ensure brought
 * before; nothing else can fail, and nothing but ensure asks for memory.  All
 * under the arena lock.
 *
 * What a look-up visits, nodes and the tag that it returns, it adds to *visits.
 */
#ifndef KVA_VMEM_INDEX_H
#define KVA_VMEM_INDEX_H

#include "vmem/vmem_store.h"

struct index_leaf;
struct index_inner;

/*
 * Levels at most.  An inner node but the root has 16 children or more, the root
 * two, a leaf one entry, and there is an entry for each tag and a gap for each
 * span, which is a tag too: 2^25 entries on a 64-bit machine (btag.c), 2^28 on
 * a 32-bit one, where 24 bytes a tag are all of memory.  With h levels there
 * are 2 * 16^(h - 2) leaves or more: h <= 8 for 2^25 and 2^28 alike.
 */
#define KVA__INDEX_HEIGHT_MAX 8u

/*
 * Entries that one operation adds, next to each other.  Cutting a hole in the
 * middle leaves two segments more; a span brings a segment and a gap.
 */
#define KVA__INDEX_PER_OP 2u

struct kva__index_step {
    struct index_inner *node;
    unsigned slot; /* of the child that is next */
};

/* (a) arena lock, all but what is constant. */
struct kva__index {
    void *root;      /* a leaf if height is 1 */
    unsigned height; /* levels; 0: empty */
    unsigned shift;  /* (c) of the quantum */
    uintptr_t max;   /* bytes of the largest hole; 0: none */
    size_t count;    /* entries, gaps included */
    size_t nleaf;    /* nodes in the tree */
    size_t ninner;
    bool wide; /* a leaf may be nearly empty, its neighbours being too far */

    void *leaf_stock; /* nodes for operations to come */
    void *inner_stock;
    unsigned nleaf_stock;
    unsigned ninner_stock;
    unsigned keep; /* operations that the stock is kept for */

    /* Where the last look-up ended, so that what follows need not look
     * again. */
    struct index_leaf *leaf; /* NULL: nowhere */
    unsigned slot;
    uintptr_t at; /* the entry is what a look-up for this address finds */
    struct kva__index_step step[KVA__INDEX_HEIGHT_MAX - 1];
};

void kva__index_bootstrap(void);
void kva__index_init(struct kva__index *ix, unsigned quantum_shift);
/* Nodes back, whatever is in it. */
void kva__index_fini(struct kva__index *ix);

/*
 * Nodes that so many operations may take, each of which adds at most
 * KVA__INDEX_PER_OP entries in one place.  Proof: index.c.
 */
static inline unsigned
kva__index_leaves(unsigned nops)
{
    return nops * KVA__INDEX_PER_OP;
}

static inline unsigned
kva__index_inners(const struct kva__index *ix, unsigned nops)
{
    return nops * ix->height + nops / 16 + 1;
}

/* Fetch what is lacking for them. */
bool kva__index_fetch(struct kva__index *ix, unsigned nops);

/* Have nodes for so many; false: no memory, and no change but to the stock. */
static inline bool
kva__index_ensure(struct kva__index *ix, unsigned nops)
{
    return KVA_LIKELY(ix->nleaf_stock >= kva__index_leaves(nops) &&
                      ix->ninner_stock >= kva__index_inners(ix, nops)) ||
           kva__index_fetch(ix, nops);
}

/* As ensure, and keep as many in stock from now on when nodes come back. */
bool kva__index_prepare(struct kva__index *ix, unsigned nops);
/* Keep no more than for that many, and give back the surplus. */
void kva__index_settle(struct kva__index *ix, unsigned nops);

/* ---- what segments do; the ring is already as it is to be ------------- */

/* A span comes that is one hole, bt, no other span being there; it goes. */
void kva__index_span_add(struct kva__index *ix, struct kva_vmem_btag *bt);
void kva__index_span_remove(struct kva__index *ix, struct kva_vmem_btag *bt);
/*
 * The busy segment bt was cut out of the hole, and is not all of it: the same
 * tag if its front was taken, else one behind it.  rest is the hole that is
 * left behind bt, or NULL.  The index need not have known of the hole.
 */
void kva__index_cut(struct kva__index *ix, struct kva_vmem_btag *hole,
                    struct kva_vmem_btag *bt, struct kva_vmem_btag *rest);
/*
 * The busy segment that began at start is free, joined with the hole before it,
 * the one behind it, or both; hole is what came of it, the tag that of the
 * first of them.  The index need not have known that those were holes, and is
 * to know of this one if mark is set.
 */
void kva__index_free(struct kva__index *ix, uintptr_t start,
                     struct kva_vmem_btag *hole, bool join_prev, bool join_next,
                     bool mark);

/* The segment that begins at start, of size bytes, is a hole now and is joined
 * with none; it is busy now, as a whole. */
void kva__index_come(struct kva__index *ix, uintptr_t start, size_t size);
void kva__index_go(struct kva__index *ix, uintptr_t start, size_t size);

/* ---- parts of it, for whatever else happens to segments ---------------- */

/* A segment begins at bt->start, where one was that ends there from now on;
 * as a plain map: an entry. */
void kva__index_insert(struct kva__index *ix, uintptr_t start,
                       struct kva_vmem_btag *bt, bool hole);
/* It does not begin any more, what was before it going on. */
void kva__index_remove(struct kva__index *ix, uintptr_t start);
/* What began at from begins at to; no other start is between. */
void kva__index_move(struct kva__index *ix, uintptr_t from, uintptr_t to);
/* Does that change nothing but the start, and so takes no node. */
bool kva__index_move_stays(struct kva__index *ix, uintptr_t from, uintptr_t to);
/* Are its first and its last start so far apart that no leaf could reach from
 * the one to the other; if not, a start that moves down, what is behind it
 * having changed, still stays.  Not empty. */
bool kva__index_is_wide(struct kva__index *ix);
/* What begins at start is a hole, or is not. */
void kva__index_mark(struct kva__index *ix, uintptr_t start, bool hole);

/* ---- look-ups, each of at most three nodes a level ---------------------- */

/* The segment that begins at addr, or NULL. */
struct kva_vmem_btag *
kva__index_find(struct kva__index *ix, uintptr_t addr, size_t *visits);
/* The segment that addr is in, or NULL; of a map, the one before a gap never
 * being known, the same as kva__index_before. */
struct kva_vmem_btag *
kva__index_at(struct kva__index *ix, uintptr_t addr, size_t *visits);
/* The first that begins at or behind addr, the last at or before it. */
struct kva_vmem_btag *
kva__index_after(struct kva__index *ix, uintptr_t addr, size_t *visits);
struct kva_vmem_btag *
kva__index_before(struct kva__index *ix, uintptr_t addr, size_t *visits);
/* The lowest hole of at least size bytes that begins at or behind addr, the
 * highest that begins at or before it.  size is not 0. */
struct kva_vmem_btag *kva__index_hole_up(struct kva__index *ix, uintptr_t addr,
                                         size_t size, size_t *visits);
struct kva_vmem_btag *
kva__index_hole_down(struct kva__index *ix, uintptr_t addr, size_t size,
                     size_t *visits);

/* Bytes of its nodes, those in stock too; pages are KVA_META_HASH. */
size_t kva__index_bytes(const struct kva__index *ix);

/*
 * NULL, or what does not hold: order, links, maxima, fill, counts, and that
 * entries and tags say the same.  map: entries are spans by first address.
 * young: holes that the index does not know of (young.h), or NULL.
 */
struct kva__young;
const char *kva__index_check(struct kva__index *ix, bool map,
                             const struct kva__young *young);

#endif
