/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The index by address: a B+-tree (Bayer and McCreight, "Organization and
 * Maintenance of Large Ordered Indexes", 1972; leaves and inner nodes apart as
 * in Comer, "The Ubiquitous B-Tree", 1979), with the largest hole below each
 * child kept beside it (Cormen et al., "Augmenting data structures").
 *
 *                       | 0x1000: 4096 | 0x9000: 8192 |          inner
 *                           |                   |
 *      | 0x1000 | 0x3000 h | 0x4000 |     | 0x9000 h | 0xb000 | 0xf000 gap |
 *           A        A..0x4000                 ..0xb000
 *
 *  X1  Entries tile what is between the first and the end of the last: an entry
 *      ends where the next begins, be it in the next leaf; the last ends at the
 *      top of the space (0).
 *  X2  A key of an inner node is the first start below its child.
 *  X3  A maximum is the largest hole below its child, by X1.
 *  X4  An inner node has 16 children or more, the root two; a leaf four
 *      entries or more, if its neighbours are near enough for its keys.
 *
 * One look-up leaves the way from the root in step[], the leaf and the slot.
 * All else works from there.  Changes come in two kinds.  What only needs room
 * in the leaf (cut, free) is done in it, and the maximum carried up as long as
 * it changes.  Nodes are split, shared and joined before or after that, while
 * X1 to X3 hold, and since they only move entries from one neighbour to the
 * other, no maximum above the two changes.
 *
 * Nodes.  An operation adds two entries at most, in one place.  A leaf that is
 * split has room for both, so it takes a second leaf only if the first was for
 * an entry out of reach: two leaves.  An inner node is split only when full,
 * and both parts then have room for 16 children, so each level is split once,
 * the root besides bringing a new root: as many inner nodes as there are
 * levels, the leaf's counted, and one for the first two leaves of all.  Of more
 * operations each may be in a place of its own.  Where one brings a new root,
 * the others have a level more but leave the root alone, until it is full
 * again: it starts with two children and gets two from an operation at most, so
 * that is one node more for every 31 operations, and the height serves for all.
 *
 * Fill.  Where entries come one beside the other, as when a hole is used up
 * from one end, a leaf is split at that place and stays nearly full.  Otherwise
 * a full leaf gives to a neighbour that has room, and only then is split.  One
 * with less than 24 entries joins a neighbour if both have 52 at most.
 */
#include "vmem/index_node.h"

#define LEAF_MIN 4u
#define LEAF_LOW 24u
#define LEAF_JOIN 52u
/* A neighbour takes from a full leaf if it has no more than this: then both
 * have room for eight entries at least. */
#define LEAF_TAKES 48u
/* So many in a row, and the leaf is being filled from one end. */
#define LEAF_RUN 4u

#define INNER_MIN 16u
#define INNER_JOIN 48u
/* What stays of a node that is split at its end. */
#define INNER_KEEP_END 48u

void
kva__index_init(struct kva__index *ix, unsigned quantum_shift)
{
    *ix = (struct kva__index){ .shift = quantum_shift };
}

/* ---- looking up --------------------------------------------------------- */

/* The rightmost entry: for the one address that inner_rank does not take. */
static void
descend_last(struct kva__index *ix)
{
    void *node = ix->root;

    for (unsigned d = 0; d + 1 < ix->height; d++) {
        struct index_inner *inner = node;

        ix->step[d].node = inner;
        ix->step[d].slot = (unsigned)inner->n - 1;
        node = *inner_child(inner, ix->step[d].slot);
    }
    ix->leaf = node;
    ix->slot = ix->leaf->n - 1u;
}

/*
 * To the last entry at or before addr, or else to the very first.  The tree is
 * not empty.  Inline where it is most of the work.
 */
static inline __attribute__((always_inline)) void
walk_down(struct kva__index *ix, uintptr_t addr)
{
    struct kva__index_step *step = ix->step, *end = step + (ix->height - 1);
    void *node = ix->root;
    struct index_leaf *leaf;

    ix->at = addr;
    if (KVA_UNLIKELY(addr == UINTPTR_MAX)) {
        descend_last(ix);
        return;
    }
    for (; step != end; step++) {
        step->node = node;
        node = inner_descend(node, addr, &step->slot);
    }
    leaf = node;
    ix->leaf = leaf;
    if (KVA_UNLIKELY(addr < leaf->base)) {
        ix->slot = 0;
    } else {
        ix->slot = leaf_rank(leaf, leaf_offset(leaf, addr, ix->shift));
    }
}

static void
descend(struct kva__index *ix, uintptr_t addr)
{
    walk_down(ix, addr);
}

static inline uintptr_t
start_of(struct kva__index *ix)
{
    return leaf_start(ix->leaf, ix->slot, ix->shift);
}

/* To the entry that begins at start: often the last look-up was for it. */
static inline void
seek(struct kva__index *ix, uintptr_t start)
{
    if (ix->leaf == NULL || ix->at != start) {
        KVA_ASSERT(ix->height != 0);
        descend(ix, start);
    }
    KVA_ASSERT(start_of(ix) == start);
}

/* The first start behind what is below slot of the node at depth d; or 0. */
static uintptr_t
start_behind(const struct kva__index *ix, unsigned d, unsigned slot)
{
    while (slot + 1 >= ix->step[d].node->n) {
        if (d == 0) {
            return 0;
        }
        d--;
        slot = ix->step[d].slot;
    }
    return *inner_key(ix->step[d].node, slot + 1);
}

/* Where the last entry of the leaf ends. */
static uintptr_t
leaf_end(const struct kva__index *ix)
{
    unsigned d = ix->height - 1;

    return d == 0 ? 0 : start_behind(ix, d - 1, ix->step[d - 1].slot);
}

/* Where the entry at slot of the leaf ends. */
static inline uintptr_t
end_at(struct kva__index *ix, unsigned slot)
{
    return slot + 1 < ix->leaf->n ? leaf_start(ix->leaf, slot + 1, ix->shift)
                                  : leaf_end(ix);
}

/* The next leaf, its first entry: how many nodes it took, or 0: none. */
static unsigned
next_leaf(struct kva__index *ix)
{
    unsigned depth = ix->height - 1, d = depth;

    do {
        if (d == 0) {
            return 0;
        }
        d--;
    } while (ix->step[d].slot + 1 >= ix->step[d].node->n);
    ix->step[d].slot++;
    for (unsigned i = d; i < depth; i++) {
        void *node = *inner_child(ix->step[i].node, ix->step[i].slot);

        if (i + 1 < depth) {
            ix->step[i + 1].node = node;
            ix->step[i + 1].slot = 0;
        } else {
            ix->leaf = node;
        }
    }
    ix->slot = 0;
    return 2 * (depth - d);
}

/* The leaf before, its last entry. */
static unsigned
prev_leaf(struct kva__index *ix)
{
    unsigned depth = ix->height - 1, d = depth;

    do {
        if (d == 0) {
            return 0;
        }
        d--;
    } while (ix->step[d].slot == 0);
    ix->step[d].slot--;
    for (unsigned i = d; i < depth; i++) {
        void *node = *inner_child(ix->step[i].node, ix->step[i].slot);

        if (i + 1 < depth) {
            ix->step[i + 1].node = node;
            ix->step[i + 1].slot = (unsigned)ix->step[i + 1].node->n - 1;
        } else {
            ix->leaf = node;
        }
    }
    ix->slot = ix->leaf->n - 1u;
    return 2 * (depth - d);
}

/* The entry behind this one, or before it; nodes visited, and one; 0: none. */
static unsigned
next_entry(struct kva__index *ix)
{
    if (ix->slot + 1 < ix->leaf->n) {
        ix->slot++;
        return 1;
    }
    return next_leaf(ix);
}

static unsigned
prev_entry(struct kva__index *ix)
{
    if (ix->slot > 0) {
        ix->slot--;
        return 1;
    }
    return prev_leaf(ix);
}

/* ---- maxima ------------------------------------------------------------- */

/* Where the maximum of the node at depth d is kept. */
static inline uintptr_t *
max_kept(struct kva__index *ix, unsigned d)
{
    return d == 0 ? &ix->max
                  : inner_max(ix->step[d - 1].node, ix->step[d - 1].slot);
}

/* The leaf's largest hole is max now; up as long as that changes anything. */
static void
set_max(struct kva__index *ix, uintptr_t max)
{
    struct kva__index_step *step = &ix->step[ix->height - 1];

    while (step != ix->step) {
        struct index_inner *node = (--step)->node;
        unsigned g = step->slot / INDEX_GROUP;
        uintptr_t *own = &node->group[g].sub[step->slot % INDEX_GROUP].max;
        uintptr_t *group = &node->max[g], before = *own, all;

        if (max == before) {
            return;
        }
        *own = max;
        if (max > *group) {
            *group = max;
        } else {
            if (before != *group) {
                return;
            }
            *group = max_of_group(&node->group[g]);
            if (*group == before) {
                return;
            }
        }
        /* Did the node's own maximum change: it is kept above. */
        all = step != ix->step ? *inner_max(step[-1].node, step[-1].slot)
                               : ix->max;
        if (max > all) {
            continue;
        }
        if (max > before || before != all) {
            return;
        }
        max = max_of_node(node);
    }
    ix->max = max;
}

/* The leaf has changed: look at all its holes. */
static void
refresh(struct kva__index *ix)
{
    struct index_leaf *leaf = ix->leaf;
    uintptr_t max = 0;

    if (leaf->hole != 0) {
        bool last = leaf->hole >> (leaf->n - 1) != 0;

        max = kva__leaf_max(leaf, last ? leaf_end(ix) : 0, ix->shift);
    }
    set_max(ix, max);
}

/* The leaf begins elsewhere: the last entry of the one before ends there. */
static void
refresh_before(struct kva__index *ix)
{
    unsigned slot = ix->slot;

    if (prev_leaf(ix) != 0) {
        refresh(ix);
        next_leaf(ix);
        ix->slot = slot;
    }
}

/* The first start of the leaf is start now (X2). */
static void
set_first(struct kva__index *ix, uintptr_t start)
{
    for (unsigned d = ix->height - 1; d-- > 0;) {
        unsigned slot = ix->step[d].slot;

        *inner_key(ix->step[d].node, slot) = start;
        if (slot != 0) {
            if (slot % INDEX_GROUP == 0) {
                ix->step[d].node->first[slot / INDEX_GROUP] = start;
            }
            return;
        }
    }
}

/* ---- growing ------------------------------------------------------------ */

static void
grow_root(struct kva__index *ix)
{
    struct index_inner *root = kva__node_take_inner(ix);
    uintptr_t first = ix->height == 1 ? leaf_start(ix->root, 0, ix->shift)
                                      : *inner_key(ix->root, 0);

    KVA_ASSERT(ix->height < KVA__INDEX_HEIGHT_MAX);
    kva__inner_insert(root, 0, first, ix->root, ix->max);
    for (unsigned d = ix->height - 1; d > 0; d--) {
        ix->step[d] = ix->step[d - 1];
    }
    ix->step[0].node = root;
    ix->step[0].slot = 0;
    ix->root = root;
    ix->height++;
}

/* The node at depth d is full, the one above is not. */
static void
split_inner(struct kva__index *ix, unsigned d)
{
    struct kva__index_step *above = &ix->step[d - 1], *step = &ix->step[d];
    struct index_inner *left = step->node;
    struct index_inner *right = kva__node_take_inner(ix);
    unsigned keep =
        step->slot == INDEX_WIDTH - 1 ? INNER_KEEP_END : INDEX_WIDTH / 2;

    kva__inner_share(left, right, keep);
    *inner_max(above->node, above->slot) = max_of_node(left);
    kva__inner_insert(above->node, above->slot + 1, *inner_key(right, 0), right,
                      max_of_node(right));
    if (step->slot >= keep) {
        above->slot++;
        step->node = right;
        step->slot -= keep;
    }
}

/* Room for one more leaf beside this one. */
static void
parent_room(struct kva__index *ix)
{
    unsigned d = ix->height - 1;

    while (d > 0 && ix->step[d - 1].node->n == INDEX_WIDTH) {
        d--;
    }
    if (d == 0) {
        grow_root(ix);
        d = 1;
    }
    for (; d + 1 < ix->height; d++) {
        split_inner(ix, d);
    }
}

/*
 * Of the leaves at slot and slot + 1 below the parent, the left one is to have
 * keep entries.  No entry changes, so no maximum above the two does.
 */
static void
share_leaves(struct kva__index *ix, unsigned slot, unsigned keep)
{
    unsigned d = ix->height - 2;
    struct index_inner *node = ix->step[d].node;
    struct index_leaf *left = *inner_child(node, slot);
    struct index_leaf *right = *inner_child(node, slot + 1);
    uintptr_t end = start_behind(ix, d, slot + 1), middle = end;

    kva__leaf_share(left, right, keep, ix->shift);
    if (right->n != 0) {
        middle = leaf_start(right, 0, ix->shift);
        *inner_key(node, slot + 1) = middle;
    }
    *inner_max(node, slot) = kva__leaf_max(left, middle, ix->shift);
    *inner_max(node, slot + 1) = kva__leaf_max(right, end, ix->shift);
    kva__inner_rebuild(node);
}

/* The entry that was at slot of two leaves counted as one. */
static void
follow(struct kva__index *ix, unsigned left, unsigned keep, unsigned slot)
{
    struct kva__index_step *step = &ix->step[ix->height - 2];

    step->slot = slot < keep ? left : left + 1;
    ix->slot = slot < keep ? slot : slot - keep;
    ix->leaf = *inner_child(step->node, step->slot);
}

/* A full leaf gives to a neighbour that has room. */
static bool
give_to_neighbour(struct kva__index *ix)
{
    struct kva__index_step *step = &ix->step[ix->height - 2];
    unsigned slot = step->slot;

    for (unsigned side = 0; side < 2; side++) {
        unsigned left = side == 0 ? slot : slot - 1;
        struct index_leaf *a, *b;
        unsigned keep, at;

        if (side == 0 ? slot + 1 >= step->node->n : slot == 0) {
            continue;
        }
        a = *inner_child(step->node, left);
        b = *inner_child(step->node, left + 1);
        keep = (a->n + b->n) / 2u;
        if (a->n + b->n > INDEX_WIDTH + LEAF_TAKES ||
            !kva__leaf_share_fits(a, b, keep, ix->shift)) {
            continue;
        }
        at = side == 0 ? ix->slot : a->n + ix->slot;
        share_leaves(ix, left, keep);
        follow(ix, left, keep, at);
        return true;
    }
    return false;
}

/*
 * Where to split a leaf, the next entry coming beside slot: where entries come
 * one beside the other there, else in the middle.
 */
static unsigned
split_point(const struct kva__index *ix)
{
    unsigned n = ix->leaf->n, keep = n / 2;

    if (ix->leaf->run >= LEAF_RUN) {
        keep = ix->leaf->newest == ix->slot ? ix->slot : ix->slot + 1;
        keep = keep < LEAF_MIN ? LEAF_MIN : keep;
        keep = keep > n - LEAF_MIN ? n - LEAF_MIN : keep;
    }
    return keep;
}

/* Room in the leaf of the entry at hand for two more. */
static void
make_room(struct kva__index *ix)
{
    struct index_leaf *leaf = ix->leaf, *right;
    struct kva__index_step *step;
    unsigned keep, slot = ix->slot;

    if (leaf->run < LEAF_RUN && ix->height > 1 && give_to_neighbour(ix)) {
        return;
    }
    keep = split_point(ix);
    parent_room(ix);
    step = &ix->step[ix->height - 2];
    right = kva__node_take_leaf(ix);
    kva__inner_insert(step->node, step->slot + 1,
                      leaf_start(leaf, keep, ix->shift), right, 0);
    share_leaves(ix, step->slot, keep);
    follow(ix, step->slot, keep, slot);
}

/* A new leaf before or behind this one, empty as yet. */
static void
attach_leaf(struct kva__index *ix, uintptr_t start, bool before)
{
    struct index_leaf *leaf = kva__node_take_leaf(ix);
    struct kva__index_step *step;

    if (ix->height == 0) {
        ix->root = leaf;
        ix->height = 1;
        ix->max = 0;
    } else {
        parent_room(ix);
        step = &ix->step[ix->height - 2];
        step->slot += before ? 0 : 1;
        kva__inner_insert(step->node, step->slot, start, leaf, 0);
    }
    leaf->base = start;
    ix->leaf = leaf;
    ix->slot = 0;
}

/* ---- shrinking ---------------------------------------------------------- */

/* The node at depth d has lost a child. */
static void
settle_inner(struct kva__index *ix, unsigned d)
{
    for (;; d--) {
        struct index_inner *node = ix->step[d].node, *above, *left, *right;
        unsigned slot, total;

        if (d == 0 && node->n == 1) {
            ix->root = *inner_child(node, 0);
            ix->height--;
            kva__node_give_inner(ix, node);
        }
        if (d == 0 || node->n >= INNER_MIN) {
            return;
        }
        above = ix->step[d - 1].node;
        slot = ix->step[d - 1].slot;
        slot = slot + 1 < above->n ? slot : slot - 1;
        left = *inner_child(above, slot);
        right = *inner_child(above, slot + 1);
        total = (unsigned)(left->n + right->n);
        if (total > INNER_JOIN) {
            kva__inner_share(left, right, total / 2);
            *inner_key(above, slot + 1) = *inner_key(right, 0);
            *inner_max(above, slot) = max_of_node(left);
            *inner_max(above, slot + 1) = max_of_node(right);
            kva__inner_rebuild(above);
            return;
        }
        kva__inner_share(left, right, total);
        *inner_max(above, slot) = max_of_node(left);
        kva__inner_remove(above, slot + 1);
        kva__node_give_inner(ix, right);
    }
}

/* Out with the leaf at slot of the parent; it is empty. */
static void
detach_leaf(struct kva__index *ix, unsigned slot)
{
    struct index_inner *node = ix->step[ix->height - 2].node;
    struct index_leaf *leaf = *inner_child(node, slot);

    kva__inner_remove(node, slot);
    kva__node_give_leaf(ix, leaf);
    settle_inner(ix, ix->height - 2);
}

/* Two neighbours become one, or share evenly; false: they cannot. */
static bool
join_leaves(struct kva__index *ix, unsigned slot, bool even)
{
    struct index_inner *node = ix->step[ix->height - 2].node;
    struct index_leaf *left = *inner_child(node, slot);
    struct index_leaf *right = *inner_child(node, slot + 1);
    unsigned total = left->n + right->n;
    unsigned keep = even ? total / 2 : total;

    if ((even ? total < 2 * LEAF_MIN : total > LEAF_JOIN) ||
        !kva__leaf_share_fits(left, right, keep, ix->shift)) {
        return false;
    }
    share_leaves(ix, slot, keep);
    if (!even) {
        detach_leaf(ix, slot + 1);
    }
    return true;
}

/* The leaf has lost entries and has few.  Nothing is at hand afterwards. */
static void
settle_leaf(struct kva__index *ix)
{
    struct index_leaf *leaf = ix->leaf;
    bool right, left;
    unsigned slot;

    ix->leaf = NULL;
    if (ix->height == 1) {
        if (leaf->n == 0) {
            ix->height = 0;
            ix->root = NULL;
            kva__node_give_leaf(ix, leaf);
        }
        return;
    }
    slot = ix->step[ix->height - 2].slot;
    if (leaf->n == 0) {
        detach_leaf(ix, slot);
        return;
    }
    right = slot + 1 < ix->step[ix->height - 2].node->n;
    left = slot > 0;
    if ((right && join_leaves(ix, slot, false)) ||
        (left && join_leaves(ix, slot - 1, false)) || leaf->n >= LEAF_MIN ||
        (right && join_leaves(ix, slot, true)) ||
        (left && join_leaves(ix, slot - 1, true))) {
        return;
    }
    ix->wide = true;
}

/* ---- one entry more or less, anywhere ----------------------------------- */

/* Remember where the newest entry is, and whether it came beside the one
 * before: at the slot behind it, or at the same, pushing it up. */
static inline void
note_newest(struct index_leaf *leaf, unsigned slot)
{
    if (slot != leaf->newest && slot != leaf->newest + 1u) {
        leaf->run = 0;
    } else if (leaf->run < LEAF_RUN) {
        leaf->run++;
    }
    leaf->newest = (uint8_t)slot;
}

/* Into the leaf at hand, at slot.  The rest is the caller's. */
static inline void
enter(struct kva__index *ix, unsigned slot, uintptr_t start,
      kva__btag_ref_t ref, bool hole)
{
    struct index_leaf *leaf = ix->leaf;

    KVA_ASSERT(start >= leaf->base && leaf_reaches(leaf, start, ix->shift));
    kva__leaf_open(leaf, slot);
    kva__leaf_set_key(leaf, slot, leaf_offset(leaf, start, ix->shift));
    *leaf_ref(leaf, slot) = ref;
    leaf->hole |= (uint64_t)hole << slot;
    ix->count++;
    note_newest(leaf, slot);
}

/*
 * Can start become the first of the leaf.  A base that is too high goes down as
 * far as leaves half of the reach that is left, so that it is not for each.
 */
static bool
front_reaches(struct kva__index *ix, uintptr_t start)
{
    struct index_leaf *leaf = ix->leaf;
    uintptr_t width =
        (leaf_start(leaf, leaf->n - 1u, ix->shift) - start) >> ix->shift;
    uintptr_t slack;

    if (width > LEAF_REACH) {
        return false;
    }
    if (start < leaf->base) {
        slack = (LEAF_REACH - width) / 2;
        slack = slack < start >> ix->shift ? slack : start >> ix->shift;
        kva__leaf_rebase(leaf, start - (slack << ix->shift), ix->shift);
    }
    return true;
}

/* Can it become the last. */
static bool
back_reaches(struct kva__index *ix, uintptr_t start)
{
    struct index_leaf *leaf = ix->leaf;

    if (!leaf_reaches(leaf, start, ix->shift)) {
        uintptr_t first = leaf_start(leaf, 0, ix->shift);

        if ((start - first) >> ix->shift > LEAF_REACH) {
            return false;
        }
        kva__leaf_rebase(leaf, first, ix->shift);
    }
    return true;
}

/* To the leaf for a new start, and the slot there; with room for it. */
static unsigned
find_place(struct kva__index *ix, uintptr_t start)
{
    bool before, fits;

    if (ix->height == 0) {
        attach_leaf(ix, start, false);
        return 0;
    }
    descend(ix, start);
    before = start_of(ix) > start;
    KVA_ASSERT(start_of(ix) != start);
    if (before) {
        fits = front_reaches(ix, start);
    } else if (ix->slot + 1 < ix->leaf->n || back_reaches(ix, start)) {
        fits = true;
    } else if (next_leaf(ix) == 0) {
        fits = false;
    } else if (front_reaches(ix, start)) {
        before = true;
        fits = true;
    } else {
        prev_leaf(ix);
        fits = false;
    }
    if (!fits) {
        ix->wide = true;
        attach_leaf(ix, start, before);
        return 0;
    }
    if (ix->leaf->n == INDEX_WIDTH) {
        make_room(ix);
    }
    if (before) {
        return ix->slot;
    }
    if (ix->slot + 1 == ix->leaf->n && !back_reaches(ix, start)) {
        /* What start is behind went to a neighbour that begins too low. */
        next_leaf(ix);
        front_reaches(ix, start);
        return 0;
    }
    return ix->slot + 1;
}

static void
put(struct kva__index *ix, uintptr_t start, kva__btag_ref_t ref, bool hole)
{
    unsigned slot = find_place(ix, start);

    enter(ix, slot, start, ref, hole);
    ix->slot = slot;
    if (slot == 0) {
        set_first(ix, start);
    }
    refresh(ix);
    if (slot == 0) {
        refresh_before(ix);
    }
    ix->at = start;
}

/* Out with the entry at hand; nothing is at hand afterwards. */
static void
erase(struct kva__index *ix)
{
    struct index_leaf *leaf = ix->leaf;
    unsigned slot = ix->slot;

    kva__leaf_close(leaf, slot);
    ix->count--;
    if (slot == 0) {
        /* An empty leaf stands for the next one's first start. */
        set_first(ix,
                  leaf->n != 0 ? leaf_start(leaf, 0, ix->shift) : leaf_end(ix));
    }
    refresh(ix);
    if (slot == 0) {
        refresh_before(ix);
    }
    if (leaf->n < LEAF_LOW) {
        settle_leaf(ix);
    }
    ix->leaf = NULL;
}

/* Another tag at the entry at hand, or another state. */
static void
change(struct kva__index *ix, kva__btag_ref_t ref, bool hole)
{
    struct index_leaf *leaf = ix->leaf;

    *leaf_ref(leaf, ix->slot) = ref;
    leaf->hole &= ~bit_of(ix->slot);
    leaf->hole |= (uint64_t)hole << ix->slot;
    refresh(ix);
}

static inline bool
is_gap(struct kva__index *ix)
{
    return *leaf_ref(ix->leaf, ix->slot) == BT_NONE;
}

void
kva__index_insert(struct kva__index *ix, uintptr_t start,
                  struct kva_vmem_btag *bt, bool hole)
{
    put(ix, start, bt_ref(bt), hole);
}

void
kva__index_remove(struct kva__index *ix, uintptr_t start)
{
    seek(ix, start);
    erase(ix);
}

/* Can the entry at hand begin at to, no other being in between, in this
 * leaf. */
static bool
move_reaches(struct kva__index *ix, uintptr_t to)
{
    struct index_leaf *leaf = ix->leaf;

    if (ix->slot != 0) {
        return leaf_reaches(leaf, to, ix->shift);
    }
    return leaf->n == 1 || (leaf_start(leaf, leaf->n - 1u, ix->shift) - to) >>
                               ix->shift <= LEAF_REACH;
}

bool
kva__index_move_stays(struct kva__index *ix, uintptr_t from, uintptr_t to)
{
    seek(ix, from);
    return move_reaches(ix, to);
}

bool
kva__index_is_wide(struct kva__index *ix)
{
    uintptr_t first, last;

    walk_down(ix, 0);
    first = start_of(ix);
    walk_down(ix, UINTPTR_MAX);
    last = start_of(ix);
    ix->leaf = NULL;
    return (last - first) >> ix->shift > LEAF_REACH;
}

void
kva__index_move(struct kva__index *ix, uintptr_t from, uintptr_t to)
{
    struct index_leaf *leaf;
    kva__btag_ref_t ref;
    unsigned slot;
    bool hole;

    seek(ix, from);
    leaf = ix->leaf;
    slot = ix->slot;
    if (!move_reaches(ix, to)) {
        ref = *leaf_ref(leaf, slot);
        hole = (leaf->hole & bit_of(slot)) != 0;
        erase(ix);
        put(ix, to, ref, hole);
        return;
    }
    if (slot == 0 && leaf->n == 1) {
        leaf->base = to;
    } else if (slot == 0) {
        front_reaches(ix, to);
    }
    kva__leaf_set_key(leaf, slot, leaf_offset(leaf, to, ix->shift));
    if (slot == 0) {
        set_first(ix, to);
    }
    refresh(ix);
    if (slot == 0) {
        refresh_before(ix);
    }
    ix->at = to;
}

void
kva__index_mark(struct kva__index *ix, uintptr_t start, bool hole)
{
    seek(ix, start);
    change(ix, *leaf_ref(ix->leaf, ix->slot), hole);
}

/* ---- spans -------------------------------------------------------------- */

void
kva__index_span_add(struct kva__index *ix, struct kva_vmem_btag *bt)
{
    uintptr_t start = bt->start, end = bt_next(bt)->start;

    if (ix->height != 0) {
        descend(ix, start);
    }
    if (ix->height != 0 && start_of(ix) == start) { /* a span ends here */
        KVA_ASSERT(is_gap(ix));
        change(ix, bt_ref(bt), true);
    } else {
        KVA_ASSERT(ix->height == 0 || start_of(ix) > start || is_gap(ix));
        put(ix, start, bt_ref(bt), true);
    }
    if (end_at(ix, ix->slot) != end) {
        put(ix, end, BT_NONE, false);
    }
}

void
kva__index_span_remove(struct kva__index *ix, struct kva_vmem_btag *bt)
{
    uintptr_t start = bt->start;

    descend(ix, start);
    if (next_entry(ix) != 0 && is_gap(ix)) {
        erase(ix);
    }
    descend(ix, start);
    if (prev_entry(ix) != 0 && !is_gap(ix)) { /* a span ends here */
        descend(ix, start);
        change(ix, BT_NONE, false);
        return;
    }
    descend(ix, start);
    erase(ix);
}

/* ---- cutting ------------------------------------------------------------ */

/* The next start is out of the leaf's reach: one change after the other. */
static void
cut_wide(struct kva__index *ix, struct kva_vmem_btag *hole,
         struct kva_vmem_btag *bt, struct kva_vmem_btag *rest)
{
    change(ix, bt_ref(hole), bt != hole);
    if (bt != hole) {
        put(ix, bt->start, bt_ref(bt), false);
    }
    if (rest != NULL) {
        put(ix, rest->start, bt_ref(rest), true);
    }
}

/*
 * Room in the leaf behind the hole at hand; false: far is out of its reach, or
 * of that of the neighbour which the hole was given to, and no node was taken.
 */
static inline bool
cut_room(struct kva__index *ix, uintptr_t far)
{
    if (ix->slot + 1 == ix->leaf->n &&
        !leaf_reaches(ix->leaf, far, ix->shift)) {
        return false;
    }
    if (KVA_LIKELY(ix->leaf->n <= INDEX_WIDTH - KVA__INDEX_PER_OP)) {
        return true;
    }
    make_room(ix);
    return ix->slot + 1 < ix->leaf->n || leaf_reaches(ix->leaf, far, ix->shift);
}

void
kva__index_cut(struct kva__index *ix, struct kva_vmem_btag *hole,
               struct kva_vmem_btag *bt, struct kva_vmem_btag *rest)
{
    struct kva_vmem_btag *far = rest != NULL ? rest : bt;
    uintptr_t start = hole->start, left = 0;
    unsigned slot;
    bool known;

    seek(ix, start);
    if (!cut_room(ix, far->start)) {
        cut_wide(ix, hole, bt, rest);
        return;
    }
    ix->at = start;
    slot = ix->slot;
    known = (ix->leaf->hole & bit_of(slot)) != 0;
    if (bt != hole) {
        left = bt->start - start;
        ix->leaf->hole |= bit_of(slot);
        enter(ix, ++slot, bt->start, bt_ref(bt), false);
    } else {
        ix->leaf->hole &= ~bit_of(slot);
    }
    if (rest != NULL) {
        left = larger(left, bt_size(rest));
        enter(ix, slot + 1, rest->start, bt_ref(rest), true);
    }
    if (!known) {
        if (left > *max_kept(ix, ix->height - 1)) {
            set_max(ix, left);
        }
    } else if (bt_next(far)->start - start == *max_kept(ix, ix->height - 1)) {
        refresh(ix); /* the largest became smaller */
    }
}

void
kva__index_go(struct kva__index *ix, uintptr_t start, size_t size)
{
    if (ix->leaf == NULL || ix->at != start) {
        walk_down(ix, start);
    }
    KVA_ASSERT(start_of(ix) == start &&
               (ix->leaf->hole & bit_of(ix->slot)) != 0);
    ix->leaf->hole &= ~bit_of(ix->slot);
    if (size == *max_kept(ix, ix->height - 1)) {
        refresh(ix);
    }
}

/* ---- freeing ------------------------------------------------------------ */

/* The entry at hand is a hole of that size.  Whatever it was joined with was
 * smaller, so no maximum goes down. */
static inline void
become_hole(struct kva__index *ix, size_t size)
{
    ix->leaf->hole |= bit_of(ix->slot);
    if (size > *max_kept(ix, ix->height - 1)) {
        set_max(ix, size);
    }
}

void
kva__index_come(struct kva__index *ix, uintptr_t start, size_t size)
{
    if (ix->leaf == NULL || ix->at != start) {
        walk_down(ix, start);
    }
    KVA_ASSERT(start_of(ix) == start);
    become_hole(ix, size);
}

/* What is joined lies in two leaves: one change after the other. */
static void
free_across(struct kva__index *ix, uintptr_t start, bool join_prev,
            bool join_next)
{
    if (join_next) {
        next_entry(ix);
        erase(ix);
        seek(ix, start);
    }
    if (join_prev) {
        erase(ix);
    }
}

/* Bytes of an entry of the leaf that is marked as a hole; 0: it is not. */
static inline uintptr_t
hole_known(struct kva__index *ix, unsigned slot)
{
    return (ix->leaf->hole & bit_of(slot)) == 0
               ? 0
               : end_at(ix, slot) - leaf_start(ix->leaf, slot, ix->shift);
}

void
kva__index_free(struct kva__index *ix, uintptr_t start,
                struct kva_vmem_btag *hole, bool join_prev, bool join_next,
                bool mark)
{
    struct index_leaf *leaf;
    uintptr_t known = 0;

    seek(ix, start);
    leaf = ix->leaf;
    KVA_ASSERT((leaf->hole & bit_of(ix->slot)) == 0);
    if ((join_prev && ix->slot == 0) ||
        (join_next && ix->slot + 1u == leaf->n)) {
        free_across(ix, start, join_prev, join_next);
        seek(ix, hole->start);
        change(ix, *leaf_ref(ix->leaf, ix->slot), mark);
        return;
    }
    if (join_next) {
        known = hole_known(ix, ix->slot + 1);
        kva__leaf_close(leaf, ix->slot + 1);
        ix->count--;
    }
    if (join_prev) {
        known = larger(known, hole_known(ix, ix->slot - 1));
        kva__leaf_close(leaf, ix->slot);
        ix->count--;
        ix->slot--;
        ix->at = hole->start;
    }
    if (mark) {
        become_hole(ix, bt_size(hole));
    } else {
        leaf->hole &= ~bit_of(ix->slot);
        if (known != 0 && known == *max_kept(ix, ix->height - 1)) {
            refresh(ix);
        }
    }
    if (leaf->n < LEAF_LOW) {
        settle_leaf(ix);
    }
}

/* ---- look-ups ----------------------------------------------------------- */

/* The tag of the entry at hand, which what follows need not look up. */
static inline struct kva_vmem_btag *
tag_of(struct kva__index *ix, uintptr_t start, size_t *visits)
{
    kva__btag_ref_t ref = *leaf_ref(ix->leaf, ix->slot);

    if (ref == BT_NONE) {
        return NULL;
    }
    ix->at = start;
    ++*visits;
    return bt_at(ref);
}

static struct kva_vmem_btag *
tag_here(struct kva__index *ix, size_t *visits)
{
    return tag_of(ix, start_of(ix), visits);
}

struct kva_vmem_btag *
kva__index_find(struct kva__index *ix, uintptr_t addr, size_t *visits)
{
    *visits += ix->height;
    if (KVA_UNLIKELY(ix->height == 0)) {
        return NULL;
    }
    walk_down(ix, addr);
    return start_of(ix) == addr ? tag_of(ix, addr, visits) : NULL;
}

struct kva_vmem_btag *
kva__index_at(struct kva__index *ix, uintptr_t addr, size_t *visits)
{
    *visits += ix->height;
    if (ix->height == 0) {
        return NULL;
    }
    walk_down(ix, addr);
    return start_of(ix) <= addr ? tag_here(ix, visits) : NULL;
}

struct kva_vmem_btag *
kva__index_after(struct kva__index *ix, uintptr_t addr, size_t *visits)
{
    unsigned nodes = 1;

    *visits += ix->height;
    if (ix->height == 0) {
        return NULL;
    }
    descend(ix, addr);
    if (start_of(ix) < addr) {
        nodes = next_entry(ix);
        *visits += nodes;
    }
    if (nodes != 0 && is_gap(ix)) { /* no two gaps are neighbours */
        nodes = next_entry(ix);
        *visits += nodes;
    }
    if (nodes == 0) {
        ix->leaf = NULL;
        return NULL;
    }
    return tag_here(ix, visits);
}

struct kva_vmem_btag *
kva__index_before(struct kva__index *ix, uintptr_t addr, size_t *visits)
{
    *visits += ix->height;
    if (ix->height == 0) {
        return NULL;
    }
    descend(ix, addr);
    if (start_of(ix) > addr) {
        return NULL;
    }
    if (is_gap(ix)) { /* and never the first */
        *visits += prev_entry(ix);
    }
    return tag_here(ix, visits);
}

/* The first of the leaf's entries in bits, or the last, that is long enough. */
static bool
leaf_hole(struct kva__index *ix, uint64_t bits, size_t size, bool up)
{
    bits &= ix->leaf->hole;
    while (bits != 0) {
        unsigned slot = up ? bits_first(bits) : bits_last(bits);

        if (end_at(ix, slot) - leaf_start(ix->leaf, slot, ix->shift) >= size) {
            ix->slot = slot;
            return true;
        }
        bits &= ~bit_of(slot);
    }
    return false;
}

/* The first child from slot on with such a hole, or INDEX_WIDTH. */
static unsigned
inner_up(const struct index_inner *node, unsigned slot, size_t size)
{
    while (slot < INDEX_WIDTH) {
        const struct index_inner_group *group =
            &node->group[slot / INDEX_GROUP];

        if (node->max[slot / INDEX_GROUP] >= size) {
            for (unsigned j = slot % INDEX_GROUP; j < INDEX_GROUP; j++) {
                if (group->sub[j].max >= size) {
                    return slot - slot % INDEX_GROUP + j;
                }
            }
        }
        slot = (slot / INDEX_GROUP + 1) * INDEX_GROUP;
    }
    return INDEX_WIDTH;
}

/* The last one below slot, or INDEX_WIDTH. */
static unsigned
inner_down(const struct index_inner *node, unsigned slot, size_t size)
{
    while (slot > 0) {
        unsigned g = (slot - 1) / INDEX_GROUP;

        if (node->max[g] >= size) {
            while (slot-- > g * INDEX_GROUP) {
                if (node->group[g].sub[slot % INDEX_GROUP].max >= size) {
                    return slot;
                }
            }
        }
        slot = g * INDEX_GROUP;
    }
    return INDEX_WIDTH;
}

/*
 * The leaf at hand has nothing more.  Up until a child beside the way has such
 * a hole, and down to it.
 */
static struct kva_vmem_btag *
leave_for_hole(struct kva__index *ix, size_t size, bool up, size_t *visits)
{
    unsigned depth = ix->height - 1, d = depth, slot;
    void *node;

    do {
        if (d == 0) {
            ix->leaf = NULL;
            return NULL;
        }
        d--;
        ++*visits;
        slot = ix->step[d].slot;
        slot = up ? inner_up(ix->step[d].node, slot + 1, size)
                  : inner_down(ix->step[d].node, slot, size);
    } while (slot == INDEX_WIDTH);
    ix->step[d].slot = slot;
    node = *inner_child(ix->step[d].node, slot);
    while (++d < depth) {
        ++*visits;
        ix->step[d].node = node;
        slot =
            up ? inner_up(node, 0, size) : inner_down(node, INDEX_WIDTH, size);
        ix->step[d].slot = slot;
        node = *inner_child(node, slot);
    }
    ++*visits;
    ix->leaf = node;
    leaf_hole(ix, ~(uint64_t)0, size, up);
    return tag_here(ix, visits);
}

struct kva_vmem_btag *
kva__index_hole_up(struct kva__index *ix, uintptr_t addr, size_t size,
                   size_t *visits)
{
    unsigned slot;

    if (ix->height == 0 || ix->max < size) {
        return NULL;
    }
    descend(ix, addr);
    *visits += ix->height;
    slot = start_of(ix) < addr ? ix->slot + 1 : ix->slot;
    if (leaf_hole(ix, ~bits_below(slot), size, true)) {
        return tag_here(ix, visits);
    }
    return leave_for_hole(ix, size, true, visits);
}

struct kva_vmem_btag *
kva__index_hole_down(struct kva__index *ix, uintptr_t addr, size_t size,
                     size_t *visits)
{
    if (ix->height == 0 || ix->max < size) {
        return NULL;
    }
    descend(ix, addr);
    *visits += ix->height;
    if (start_of(ix) > addr) { /* before all that is there */
        return NULL;
    }
    if (leaf_hole(ix, bits_below(ix->slot + 1), size, false)) {
        return tag_here(ix, visits);
    }
    return leave_for_hole(ix, size, false, visits);
}

/* ---- the end ------------------------------------------------------------ */

/* Leaf by leaf from the right; a node goes when its last child has. */
void
kva__index_fini(struct kva__index *ix)
{
    ix->keep = 0;
    while (ix->height > 1) {
        struct kva__index_step *step;

        descend_last(ix);
        step = &ix->step[ix->height - 2];
        for (unsigned n = (unsigned)step->node->n; n > 0; n--) {
            kva__node_give_leaf(ix, *inner_child(step->node, n - 1));
        }
        step->node->n = 0;
        for (unsigned d = ix->height - 1;
             d-- > 0 && ix->step[d].node->n == 0;) {
            kva__node_give_inner(ix, ix->step[d].node);
            if (d == 0) {
                ix->height = 0;
            } else {
                ix->step[d - 1].node->n--;
            }
        }
    }
    if (ix->height == 1) {
        kva__node_give_leaf(ix, ix->root);
    }
    kva__node_flush(ix);
    kva__index_init(ix, ix->shift);
}
