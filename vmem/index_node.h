/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The nodes of the index by address: what lies where in them, and what can be
 * done with one node or two neighbours.  Nothing here knows of the tree.
 *
 * A node has up to 64 entries in eight groups of eight.  The head of a node has
 * the first key of each group but the first, so that a search reads the head
 * and one group, and no more of the node:
 *
 *      leaf, 9 lines:   head  | 8 keys, 8 references | 8 keys, 8 ...
 *      inner, 27 lines: head, 8 maxima | 8 keys | 8 children with maxima | ...
 *
 * Keys of a leaf are 32-bit distances from its base, in quanta; so the starts
 * in a leaf lie within 2^32 quanta of each other.  Keys of an inner node are
 * the first starts below each child, exactly; the maxima, exactly too, the
 * bytes of the largest hole below each child, and of each group in the head.
 *
 * The slots behind the last entry hold the largest key there is, so that a
 * search need not know how many are used.  It compares eight times and adds up
 * what comes out; it never branches on a key.
 */
#ifndef KVA_VMEM_INDEX_NODE_H
#define KVA_VMEM_INDEX_NODE_H

#include "vmem/index.h"
#include "vmem/vmem_impl.h"

#define INDEX_WIDTH 64u
#define INDEX_GROUP 8u
#define INDEX_GROUPS (INDEX_WIDTH / INDEX_GROUP)

/* The largest distance in a leaf, and the key of slots not used. */
#define LEAF_REACH 0xfffffffeu
#define LEAF_PAD 0xffffffffu

struct index_leaf_group {
    uint32_t key[INDEX_GROUP];
    kva__btag_ref_t ref[INDEX_GROUP]; /* BT_NONE: a gap */
};

struct index_leaf {
    uint64_t hole;                /* which entries are holes */
    uintptr_t base;               /* at or below the first start */
    uint32_t first[INDEX_GROUPS]; /* key[0] of each group but the first */
    uint8_t n;                    /* entries */
    uint8_t newest;               /* slot where the last one came to be */
    uint8_t run; /* how many in a row came beside the one before */
    uint8_t unused[64 - sizeof(uintptr_t) - 8 - 32 - 3];
    struct index_leaf_group group[INDEX_GROUPS];
};

struct index_inner_group {
    uintptr_t key[INDEX_GROUP];
    struct {
        void *child;
        uintptr_t max; /* beside it: whoever goes down often writes it then */
    } sub[INDEX_GROUP];
};

struct index_inner {
    uintptr_t first[INDEX_GROUPS]; /* key[0] of each group but the first */
    uintptr_t max[INDEX_GROUPS];   /* of each group */
    uintptr_t n;                   /* children */
    uintptr_t unused[INDEX_GROUPS - 1];
    struct index_inner_group group[INDEX_GROUPS];
};

_Static_assert(sizeof(struct index_leaf) == 576, "seven leaves to 4 KiB");
_Static_assert(sizeof(struct index_inner) <= 1728, "two inner nodes to 4 KiB");

/* ---- searching -------------------------------------------------------- */

/*
 * Which of eight keys is the last at most x, key[0] counting as one that is:
 * three compares that do not wait for each other, and one that does.
 */
static inline size_t
rank_of_offset(const uint32_t *key, uint32_t x)
{
    size_t rank = (size_t)(key[2] <= x);

    rank += (size_t)(key[4] <= x);
    rank += (size_t)(key[6] <= x);
    rank *= 2;
    return rank + (size_t)(key[rank + 1] <= x);
}

static inline size_t
rank_of_start(const uintptr_t *key, uintptr_t x)
{
    size_t rank = (size_t)(key[2] <= x);

    rank += (size_t)(key[4] <= x);
    rank += (size_t)(key[6] <= x);
    rank *= 2;
    return rank + (size_t)(key[rank + 1] <= x);
}

/* The last slot whose key is at most x; 0 if there is none. */
static inline unsigned
leaf_rank(const struct index_leaf *leaf, uint32_t x)
{
    size_t g = rank_of_offset(leaf->first, x);

    return (unsigned)(g * INDEX_GROUP + rank_of_offset(leaf->group[g].key, x));
}

/*
 * The child for x, and its slot.  x is not the largest address, which slots not
 * used hold.
 */
static inline void *
inner_descend(const struct index_inner *node, uintptr_t x, unsigned *slot)
{
    size_t g = rank_of_start(node->first, x);
    size_t j = rank_of_start(node->group[g].key, x);

    *slot = (unsigned)(g * INDEX_GROUP + j);
    return node->group[g].sub[j].child;
}

/* ---- entries ----------------------------------------------------------- */

static inline uint32_t *
leaf_key(struct index_leaf *leaf, unsigned slot)
{
    return &leaf->group[slot / INDEX_GROUP].key[slot % INDEX_GROUP];
}

static inline kva__btag_ref_t *
leaf_ref(struct index_leaf *leaf, unsigned slot)
{
    return &leaf->group[slot / INDEX_GROUP].ref[slot % INDEX_GROUP];
}

static inline uintptr_t
leaf_start(struct index_leaf *leaf, unsigned slot, unsigned shift)
{
    return leaf->base + ((uintptr_t)*leaf_key(leaf, slot) << shift);
}

/* The distance of an address at or above the base, or the largest. */
static inline uint32_t
leaf_offset(const struct index_leaf *leaf, uintptr_t addr, unsigned shift)
{
    uintptr_t off = (addr - leaf->base) >> shift;

    return off > LEAF_REACH ? LEAF_REACH : (uint32_t)off;
}

/* Is an address at or above the base near enough for a key. */
static inline bool
leaf_reaches(const struct index_leaf *leaf, uintptr_t addr, unsigned shift)
{
    return (addr - leaf->base) >> shift <= LEAF_REACH;
}

static inline uint64_t
bit_of(unsigned slot)
{
    return (uint64_t)1 << slot;
}

/* The slots below one of 0 to 64, of 1 to 64. */
static inline uint64_t
bits_below(unsigned slot)
{
    return slot < INDEX_WIDTH ? bit_of(slot) - 1 : ~(uint64_t)0;
}

static inline unsigned
bits_first(uint64_t bits)
{
#if KVA_WORD_64
    return kva_ffs(bits);
#else
    return (uint32_t)bits != 0 ? kva_ffs((uint32_t)bits)
                               : 32 + kva_ffs((uint32_t)(bits >> 32));
#endif
}

static inline unsigned
bits_last(uint64_t bits)
{
#if KVA_WORD_64
    return kva_fls(bits);
#else
    return bits >> 32 != 0 ? 32 + kva_fls((uint32_t)(bits >> 32))
                           : kva_fls((uint32_t)bits);
#endif
}

static inline uintptr_t *
inner_key(struct index_inner *node, unsigned slot)
{
    return &node->group[slot / INDEX_GROUP].key[slot % INDEX_GROUP];
}

static inline void **
inner_child(struct index_inner *node, unsigned slot)
{
    return &node->group[slot / INDEX_GROUP].sub[slot % INDEX_GROUP].child;
}

static inline uintptr_t *
inner_max(struct index_inner *node, unsigned slot)
{
    return &node->group[slot / INDEX_GROUP].sub[slot % INDEX_GROUP].max;
}

static inline uintptr_t
larger(uintptr_t a, uintptr_t b)
{
    return a > b ? a : b;
}

/* The largest hole below an inner node, from the maxima of its groups. */
static inline uintptr_t
max_of_node(const struct index_inner *node)
{
    const uintptr_t *max = node->max;
    uintptr_t a = larger(max[0], max[1]), b = larger(max[2], max[3]);

    a = larger(larger(a, max[4]), max[5]);
    b = larger(larger(b, max[6]), max[7]);
    return larger(a, b);
}

static inline uintptr_t
max_of_group(const struct index_inner_group *group)
{
    uintptr_t a = larger(group->sub[0].max, group->sub[1].max);
    uintptr_t b = larger(group->sub[2].max, group->sub[3].max);

    a = larger(larger(a, group->sub[4].max), group->sub[5].max);
    b = larger(larger(b, group->sub[6].max), group->sub[7].max);
    return larger(a, b);
}

/* ---- one leaf (index_node.c) ------------------------------------------- */

/* Room for an entry at slot, which is then not a hole; n is below the width.
 * The key and the reference are not written. */
void kva__leaf_open(struct index_leaf *leaf, unsigned slot);
/* Out with the entry at slot. */
void kva__leaf_close(struct index_leaf *leaf, unsigned slot);
void kva__leaf_set_key(struct index_leaf *leaf, unsigned slot, uint32_t key);
/* Keys from another base, at or below the first start. */
void kva__leaf_rebase(struct index_leaf *leaf, uintptr_t base, unsigned shift);
/* The largest hole, if the last entry ends at end. */
uintptr_t kva__leaf_max(struct index_leaf *leaf, uintptr_t end, unsigned shift);

/* Could the first keep of two neighbours' entries be in one leaf, the others
 * in the other. */
bool kva__leaf_share_fits(struct index_leaf *left, struct index_leaf *right,
                          unsigned keep, unsigned shift);
/* Make it so; right may have been empty, or be empty then. */
void kva__leaf_share(struct index_leaf *left, struct index_leaf *right,
                     unsigned keep, unsigned shift);

/* ---- one inner node ----------------------------------------------------- */

void kva__inner_insert(struct index_inner *node, unsigned slot, uintptr_t key,
                       void *child, uintptr_t max);
void kva__inner_remove(struct index_inner *node, unsigned slot);
void kva__inner_share(struct index_inner *left, struct index_inner *right,
                      unsigned keep);
/* Head and slots not used, from the entries. */
void kva__inner_rebuild(struct index_inner *node);

/* ---- stock -------------------------------------------------------------- */

void *kva__node_take_leaf(struct kva__index *ix);
void *kva__node_take_inner(struct kva__index *ix);
void kva__node_give_leaf(struct kva__index *ix, struct index_leaf *leaf);
void kva__node_give_inner(struct kva__index *ix, struct index_inner *node);
/* All of the stock back to the metadata allocator. */
void kva__node_flush(struct kva__index *ix);

#endif
