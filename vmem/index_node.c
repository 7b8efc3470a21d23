/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nodes of the index by address; see index_node.h.
 *
 * Opening and closing a slot of a leaf moves what is behind it, group by group,
 * since that is done often.  What is done once in thirty insertions moves entry
 * by entry and builds the head anew.
 */
#include "vmem/index_node.h"

static struct kva__meta_store leaf_store;
static struct kva__meta_store inner_store;

void
kva__index_bootstrap(void)
{
    kva__meta_store_init(&leaf_store, "index leaves", sizeof(struct index_leaf),
                         KVA_META_HASH, 0);
    kva__meta_store_init(&inner_store, "index nodes",
                         sizeof(struct index_inner), KVA_META_HASH, 0);
}

/* ---- one leaf ---------------------------------------------------------- */

/* Of a group's entries all but one move together: as words, in registers. */
#define MOST (INDEX_GROUP - 1)

static inline void
group_move(struct index_leaf_group *group, unsigned from, unsigned to)
{
    struct {
        uint32_t key[MOST];
        kva__btag_ref_t ref[MOST];
    } t;

    __builtin_memcpy(t.key, &group->key[from], sizeof(t.key));
    __builtin_memcpy(t.ref, &group->ref[from], sizeof(t.ref));
    __builtin_memcpy(&group->key[to], t.key, sizeof(t.key));
    __builtin_memcpy(&group->ref[to], t.ref, sizeof(t.ref));
}

void
kva__leaf_open(struct index_leaf *leaf, unsigned slot)
{
    struct index_leaf_group *to = &leaf->group[slot / INDEX_GROUP];
    struct index_leaf_group *group = &leaf->group[leaf->n / INDEX_GROUP];
    uint64_t below = bits_below(slot);

    KVA_ASSERT(leaf->n < INDEX_WIDTH && slot <= leaf->n);
    for (; group != to; group--) {
        uint32_t key = group[-1].key[MOST];

        group_move(group, 0, 1);
        group->key[0] = key;
        group->ref[0] = group[-1].ref[MOST];
        leaf->first[group - leaf->group] = key;
    }
    for (size_t j = MOST; j > slot % INDEX_GROUP; j--) {
        KVA__OPAQUE(j); /* too few for calls of memmove */
        to->key[j] = to->key[j - 1];
        to->ref[j] = to->ref[j - 1];
    }
    leaf->hole = (leaf->hole & below) | (leaf->hole & ~below) << 1;
    leaf->n++;
}

void
kva__leaf_set_key(struct index_leaf *leaf, unsigned slot, uint32_t key)
{
    *leaf_key(leaf, slot) = key;
    if (slot % INDEX_GROUP == 0 && slot != 0) {
        leaf->first[slot / INDEX_GROUP] = key;
    }
}

void
kva__leaf_close(struct index_leaf *leaf, unsigned slot)
{
    struct index_leaf_group *group = &leaf->group[slot / INDEX_GROUP];
    struct index_leaf_group *last = &leaf->group[(leaf->n - 1u) / INDEX_GROUP];
    uint64_t below = bits_below(slot);

    KVA_ASSERT(slot < leaf->n);
    for (size_t j = slot % INDEX_GROUP; j < MOST; j++) {
        KVA__OPAQUE(j); /* too few for calls of memmove */
        group->key[j] = group->key[j + 1];
        group->ref[j] = group->ref[j + 1];
    }
    leaf->first[group - leaf->group] = group->key[0];
    for (; group != last; group++) {
        uint32_t key = group[1].key[0];

        group->key[MOST] = key;
        group->ref[MOST] = group[1].ref[0];
        group_move(group + 1, 1, 0);
        leaf->first[group + 1 - leaf->group] = group[1].key[0];
    }
    group->key[MOST] = LEAF_PAD;
    group->ref[MOST] = BT_NONE;
    leaf->hole = (leaf->hole & below) | (leaf->hole >> 1 & ~below);
    leaf->n--;
}

void
kva__leaf_rebase(struct index_leaf *leaf, uintptr_t base, unsigned shift)
{
    /* The difference of two distances is right modulo 2^32 either way. */
    uint32_t delta = base <= leaf->base
                         ? (uint32_t)((leaf->base - base) >> shift)
                         : 0u - (uint32_t)((base - leaf->base) >> shift);

    for (unsigned i = 0; i < leaf->n; i++) {
        kva__leaf_set_key(leaf, i, *leaf_key(leaf, i) + delta);
    }
    leaf->base = base;
}

uintptr_t
kva__leaf_max(struct index_leaf *leaf, uintptr_t end, unsigned shift)
{
    uint64_t bits = leaf->hole, last;
    uint32_t widest = 0;
    uintptr_t max = 0;

    if (bits == 0) {
        return 0;
    }
    last = bits & bit_of(leaf->n - 1u);
    for (bits -= last; bits != 0; bits &= bits - 1) {
        unsigned i = bits_first(bits);
        uint32_t width = *leaf_key(leaf, i + 1) - *leaf_key(leaf, i);

        widest = width > widest ? width : widest;
    }
    max = (uintptr_t)widest << shift;
    if (last != 0) {
        max = larger(max, end - leaf_start(leaf, leaf->n - 1u, shift));
    }
    return max;
}

/* Slots not used, and the head. */
static void
leaf_rebuild(struct index_leaf *leaf)
{
    for (unsigned i = leaf->n; i < INDEX_WIDTH; i++) {
        *leaf_key(leaf, i) = LEAF_PAD;
        *leaf_ref(leaf, i) = BT_NONE;
    }
    for (unsigned g = 1; g < INDEX_GROUPS; g++) {
        leaf->first[g] = leaf->group[g].key[0];
    }
    leaf->run = 0;
}

/* ---- two leaves --------------------------------------------------------- */

bool
kva__leaf_share_fits(struct index_leaf *left, struct index_leaf *right,
                     unsigned keep, unsigned shift)
{
    unsigned total = left->n + right->n;
    uintptr_t first = leaf_start(left, 0, shift);
    uintptr_t until = keep > left->n
                          ? leaf_start(right, keep - left->n - 1u, shift)
                          : leaf_start(left, keep - 1, shift);
    uintptr_t from, last;

    if ((until - first) >> shift > LEAF_REACH) {
        return false;
    }
    if (keep == total) {
        return true;
    }
    from = keep < left->n ? leaf_start(left, keep, shift)
                          : leaf_start(right, keep - left->n, shift);
    last = leaf_start(right, right->n - 1u, shift);
    return (last - from) >> shift <= LEAF_REACH;
}

/* The last count entries of left come before those of right. */
static void
share_up(struct index_leaf *left, struct index_leaf *right, unsigned count,
         unsigned shift)
{
    unsigned from = left->n - count;
    uintptr_t first = leaf_start(left, from, shift);

    if (right->n == 0) {
        right->base = first;
    } else if (first < right->base) {
        kva__leaf_rebase(right, first, shift);
    }
    for (unsigned i = right->n; i-- > 0;) {
        *leaf_key(right, i + count) = *leaf_key(right, i);
        *leaf_ref(right, i + count) = *leaf_ref(right, i);
    }
    for (unsigned i = 0; i < count; i++) {
        *leaf_key(right, i) =
            (uint32_t)((leaf_start(left, from + i, shift) - right->base) >>
                       shift);
        *leaf_ref(right, i) = *leaf_ref(left, from + i);
    }
    right->hole = right->hole << count | left->hole >> from;
    left->hole &= bits_below(from);
}

/* The first count entries of right come behind those of left. */
static void
share_down(struct index_leaf *left, struct index_leaf *right, unsigned count,
           unsigned shift)
{
    unsigned to = left->n;

    if (!leaf_reaches(left, leaf_start(right, count - 1, shift), shift)) {
        kva__leaf_rebase(left, leaf_start(left, 0, shift), shift);
    }
    for (unsigned i = 0; i < count; i++) {
        *leaf_key(left, to + i) =
            (uint32_t)((leaf_start(right, i, shift) - left->base) >> shift);
        *leaf_ref(left, to + i) = *leaf_ref(right, i);
    }
    for (unsigned i = count; i < right->n; i++) {
        *leaf_key(right, i - count) = *leaf_key(right, i);
        *leaf_ref(right, i - count) = *leaf_ref(right, i);
    }
    left->hole |= (right->hole & bits_below(count)) << to;
    right->hole >>= count;
}

void
kva__leaf_share(struct index_leaf *left, struct index_leaf *right,
                unsigned keep, unsigned shift)
{
    unsigned total = left->n + right->n;

    /* At least one entry stays where it is: no shift by all 64 bits. */
    KVA_ASSERT(keep > 0 && keep <= INDEX_WIDTH && total - keep < INDEX_WIDTH);
    if (keep < left->n) {
        share_up(left, right, left->n - keep, shift);
    } else if (keep > left->n) {
        share_down(left, right, keep - left->n, shift);
    }
    left->n = (uint8_t)keep;
    right->n = (uint8_t)(total - keep);
    leaf_rebuild(left);
    leaf_rebuild(right);
}

/* ---- inner nodes -------------------------------------------------------- */

static void
inner_copy(struct index_inner *to, unsigned slot, struct index_inner *from,
           unsigned source)
{
    *inner_key(to, slot) = *inner_key(from, source);
    *inner_child(to, slot) = *inner_child(from, source);
    *inner_max(to, slot) = *inner_max(from, source);
}

void
kva__inner_rebuild(struct index_inner *node)
{
    for (unsigned i = (unsigned)node->n; i < INDEX_WIDTH; i++) {
        *inner_key(node, i) = UINTPTR_MAX;
        *inner_child(node, i) = NULL;
        *inner_max(node, i) = 0;
    }
    node->max[0] = max_of_group(&node->group[0]);
    for (unsigned g = 1; g < INDEX_GROUPS; g++) {
        node->first[g] = node->group[g].key[0];
        node->max[g] = max_of_group(&node->group[g]);
    }
}

void
kva__inner_insert(struct index_inner *node, unsigned slot, uintptr_t key,
                  void *child, uintptr_t max)
{
    KVA_ASSERT(node->n < INDEX_WIDTH && slot <= node->n);
    for (unsigned i = (unsigned)node->n; i > slot; i--) {
        inner_copy(node, i, node, i - 1);
    }
    *inner_key(node, slot) = key;
    *inner_child(node, slot) = child;
    *inner_max(node, slot) = max;
    node->n++;
    kva__inner_rebuild(node);
}

void
kva__inner_remove(struct index_inner *node, unsigned slot)
{
    KVA_ASSERT(slot < node->n);
    node->n--;
    for (unsigned i = slot; i < node->n; i++) {
        inner_copy(node, i, node, i + 1);
    }
    kva__inner_rebuild(node);
}

void
kva__inner_share(struct index_inner *left, struct index_inner *right,
                 unsigned keep)
{
    unsigned nleft = (unsigned)left->n, nright = (unsigned)right->n;
    unsigned total = nleft + nright;

    KVA_ASSERT(keep <= INDEX_WIDTH && total - keep <= INDEX_WIDTH);
    if (keep < nleft) {
        unsigned count = nleft - keep;

        for (unsigned i = nright; i-- > 0;) {
            inner_copy(right, i + count, right, i);
        }
        for (unsigned i = 0; i < count; i++) {
            inner_copy(right, i, left, keep + i);
        }
    } else {
        unsigned count = keep - nleft;

        for (unsigned i = 0; i < count; i++) {
            inner_copy(left, nleft + i, right, i);
        }
        for (unsigned i = count; i < nright; i++) {
            inner_copy(right, i - count, right, i);
        }
    }
    left->n = keep;
    right->n = total - keep;
    kva__inner_rebuild(left);
    kva__inner_rebuild(right);
}

/* ---- stock -------------------------------------------------------------- */

/* Nodes in stock are linked through their first word. */
static void
stock_push(void **stock, void *node)
{
    *(void **)node = *stock;
    *stock = node;
}

static void *
stock_pop(void **stock)
{
    void *node = *stock;

    KVA_ASSERT(node != NULL);
    *stock = *(void **)node;
    return node;
}

bool
kva__index_fetch(struct kva__index *ix, unsigned nops)
{
    while (ix->nleaf_stock < kva__index_leaves(nops)) {
        void *leaf = kva__meta_get(&leaf_store);

        if (leaf == NULL) {
            return false;
        }
        stock_push(&ix->leaf_stock, leaf);
        ix->nleaf_stock++;
    }
    while (ix->ninner_stock < kva__index_inners(ix, nops)) {
        void *node = kva__meta_get(&inner_store);

        if (node == NULL) {
            return false;
        }
        stock_push(&ix->inner_stock, node);
        ix->ninner_stock++;
    }
    return true;
}

bool
kva__index_prepare(struct kva__index *ix, unsigned nops)
{
    if (nops != 0 && !kva__index_ensure(ix, nops)) {
        return false;
    }
    ix->keep = nops;
    return true;
}

/* A leaf without an entry, an inner node without a child. */
void *
kva__node_take_leaf(struct kva__index *ix)
{
    struct index_leaf *leaf = stock_pop(&ix->leaf_stock);

    ix->nleaf_stock--;
    ix->nleaf++;
    leaf->base = 0;
    leaf->hole = 0;
    leaf->n = 0;
    leaf->newest = 0;
    leaf_rebuild(leaf);
    return leaf;
}

void *
kva__node_take_inner(struct kva__index *ix)
{
    struct index_inner *node = stock_pop(&ix->inner_stock);

    ix->ninner_stock--;
    ix->ninner++;
    node->n = 0;
    kva__inner_rebuild(node);
    return node;
}

/* Twice what the next operation may need stays, or what was prepared. */
static unsigned
stock_kept(const struct kva__index *ix)
{
    return ix->keep > 2 ? ix->keep : 2;
}

void
kva__node_give_leaf(struct kva__index *ix, struct index_leaf *leaf)
{
    ix->nleaf--;
    if (ix->nleaf_stock >= kva__index_leaves(stock_kept(ix))) {
        kva__meta_put(&leaf_store, leaf);
        return;
    }
    stock_push(&ix->leaf_stock, leaf);
    ix->nleaf_stock++;
}

void
kva__node_give_inner(struct kva__index *ix, struct index_inner *node)
{
    ix->ninner--;
    if (ix->ninner_stock >= kva__index_inners(ix, stock_kept(ix))) {
        kva__meta_put(&inner_store, node);
        return;
    }
    stock_push(&ix->inner_stock, node);
    ix->ninner_stock++;
}

void
kva__index_settle(struct kva__index *ix, unsigned nops)
{
    ix->keep = nops;
    for (nops = stock_kept(ix); ix->nleaf_stock > kva__index_leaves(nops);
         ix->nleaf_stock--) {
        kva__meta_put(&leaf_store, stock_pop(&ix->leaf_stock));
    }
    for (; ix->ninner_stock > kva__index_inners(ix, nops); ix->ninner_stock--) {
        kva__meta_put(&inner_store, stock_pop(&ix->inner_stock));
    }
}

void
kva__node_flush(struct kva__index *ix)
{
    while (ix->leaf_stock != NULL) {
        kva__meta_put(&leaf_store, stock_pop(&ix->leaf_stock));
    }
    while (ix->inner_stock != NULL) {
        kva__meta_put(&inner_store, stock_pop(&ix->inner_stock));
    }
    ix->nleaf_stock = 0;
    ix->ninner_stock = 0;
}

size_t
kva__index_bytes(const struct kva__index *ix)
{
    return (ix->nleaf + ix->nleaf_stock) * sizeof(struct index_leaf) +
           (ix->ninner + ix->ninner_stock) * sizeof(struct index_inner);
}
