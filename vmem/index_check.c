/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The checker of the index by address: X1 to X4 (index.c), what node heads say,
 * the counts, and that entries and tags agree.  Level by level, from the root
 * down, along the ways from the root: no recursion, and nothing is changed but
 * where the last look-up ended.
 */
#include "vmem/index_node.h"
#include "vmem/young.h"

/* What it has found so far. */
struct census {
    size_t nleaf;
    size_t ninner;
    size_t count;
    uintptr_t last; /* start of the entry before */
    bool gap;       /* and that was a gap */
    size_t nyoung;
    const struct kva__young *young; /* holes it does not know of, or NULL */
};

/* Down from depth d along first children, to depth to. */
static void
go_down(struct kva__index *ix, unsigned d, unsigned to)
{
    for (; d < to; d++) {
        void *node =
            d == 0 ? ix->root
                   : *inner_child(ix->step[d - 1].node, ix->step[d - 1].slot);

        ix->step[d].node = node;
        ix->step[d].slot = 0;
    }
}

/* The next node at depth d; false: that was the last. */
static bool
go_next(struct kva__index *ix, unsigned d)
{
    unsigned up = d;

    do {
        if (up == 0) {
            return false;
        }
        up--;
    } while (ix->step[up].slot + 1 >= ix->step[up].node->n);
    ix->step[up].slot++;
    go_down(ix, up + 1, d);
    return true;
}

/* The node at depth d at the end of the way. */
static void *
node_at(struct kva__index *ix, unsigned d)
{
    return d == 0 ? ix->root
                  : *inner_child(ix->step[d - 1].node, ix->step[d - 1].slot);
}

static uintptr_t
end_below(struct kva__index *ix, unsigned d)
{
    while (d-- > 0) {
        unsigned slot = ix->step[d].slot + 1;

        if (slot < ix->step[d].node->n) {
            return *inner_key(ix->step[d].node, slot);
        }
    }
    return 0;
}

/* What the node above says of the one at depth d. */
static const char *
check_above(struct kva__index *ix, unsigned d, uintptr_t first, uintptr_t max)
{
    if (d == 0) {
        return ix->max == max ? NULL : "index: largest hole of all is wrong";
    }
    if (*inner_key(ix->step[d - 1].node, ix->step[d - 1].slot) != first) {
        return "index: key of a child is not its first start";
    }
    if (*inner_max(ix->step[d - 1].node, ix->step[d - 1].slot) != max) {
        return "index: largest hole of a child is wrong";
    }
    return NULL;
}

static const char *
check_inner_slots(struct index_inner *node)
{
    for (unsigned i = 0; i < node->n; i++) {
        if (*inner_child(node, i) == NULL) {
            return "index: slots of an inner node";
        }
        if (i > 0 && *inner_key(node, i) <= *inner_key(node, i - 1)) {
            return "index: order of an inner node";
        }
    }
    for (unsigned i = (unsigned)node->n; i < INDEX_WIDTH; i++) {
        if (*inner_child(node, i) != NULL || *inner_max(node, i) != 0 ||
            *inner_key(node, i) != UINTPTR_MAX) {
            return "index: slots of an inner node";
        }
    }
    return NULL;
}

static const char *
check_inner(struct kva__index *ix, unsigned d, struct index_inner *node)
{
    const char *bad;

    if (node->n < (d == 0 ? 2u : 16u) || node->n > INDEX_WIDTH) {
        return "index: number of children";
    }
    bad = check_inner_slots(node);
    if (bad != NULL) {
        return bad;
    }
    for (unsigned g = 0; g < INDEX_GROUPS; g++) {
        if ((g > 0 && node->first[g] != node->group[g].key[0]) ||
            node->max[g] != max_of_group(&node->group[g])) {
            return "index: head of an inner node";
        }
    }
    return check_above(ix, d, *inner_key(node, 0), max_of_node(node));
}

static const char *
check_leaf_slots(struct kva__index *ix, struct index_leaf *leaf)
{
    if (leaf->n == 0 || leaf->n > INDEX_WIDTH ||
        (ix->height > 1 && leaf->n < 4 && !ix->wide)) {
        return "index: number of entries of a leaf";
    }
    if ((leaf->hole & ~bits_below(leaf->n)) != 0) {
        return "index: holes behind the last entry";
    }
    for (unsigned i = leaf->n; i < INDEX_WIDTH; i++) {
        if (*leaf_key(leaf, i) != LEAF_PAD || *leaf_ref(leaf, i) != BT_NONE) {
            return "index: slots of a leaf";
        }
    }
    for (unsigned g = 1; g < INDEX_GROUPS; g++) {
        if (leaf->first[g] != leaf->group[g].key[0]) {
            return "index: head of a leaf";
        }
    }
    return NULL;
}

/* One entry, from start to end, against its tag. */
static const char *
check_entry(struct kva__index *ix, struct census *seen, kva__btag_ref_t ref,
            bool hole, bool map, uintptr_t start, uintptr_t end)
{
    struct kva_vmem_btag *bt;

    if (ref == BT_NONE) {
        return hole || map ? "index: a hole without a tag" : NULL;
    }
    bt = bt_at(ref);
    if (map) {
        return bt_is_span(bt) && bt_span_start(bt) == start
                   ? NULL
                   : "index: start and span differ";
    }
    if (bt->start != start || bt_is_span(bt)) {
        return "index: start and tag differ";
    }
    if (!hole && seen->young != NULL &&
        kva__young_has(seen->young, ix, start, end - start)) {
        seen->nyoung++;
        hole = true;
    }
    if (hole != bt_is_free(bt)) {
        return "index: state and tag differ";
    }
    return bt_next(bt)->start == end ? NULL : "index: end and tag differ";
}

static const char *
check_leaf(struct kva__index *ix, unsigned d, bool map, struct census *seen)
{
    struct index_leaf *leaf = node_at(ix, d);
    uintptr_t behind = end_below(ix, d);
    const char *bad = check_leaf_slots(ix, leaf);

    for (unsigned i = 0; bad == NULL && i < leaf->n; i++) {
        uintptr_t start = leaf_start(leaf, i, ix->shift);
        uintptr_t end =
            i + 1 < leaf->n ? leaf_start(leaf, i + 1, ix->shift) : behind;
        bool gap = *leaf_ref(leaf, i) == BT_NONE;

        if (*leaf_key(leaf, i) > LEAF_REACH || start < leaf->base ||
            (seen->count > 0 && start <= seen->last)) {
            return "index: order of a leaf";
        }
        if (gap && (seen->gap || seen->count == 0)) {
            return "index: a gap that is none";
        }
        bad = check_entry(ix, seen, *leaf_ref(leaf, i),
                          (leaf->hole & bit_of(i)) != 0, map, start, end);
        seen->last = start;
        seen->gap = gap;
        seen->count++;
    }
    return bad != NULL ? bad
                       : check_above(ix, d, leaf_start(leaf, 0, ix->shift),
                                     kva__leaf_max(leaf, behind, ix->shift));
}

const char *
kva__index_check(struct kva__index *ix, bool map,
                 const struct kva__young *young)
{
    struct census seen = { .young = young };
    const char *bad = NULL;

    ix->leaf = NULL;
    if (ix->height > KVA__INDEX_HEIGHT_MAX) {
        return "index: height";
    }
    for (unsigned d = 0; bad == NULL && d < ix->height; d++) {
        go_down(ix, 0, d);
        do {
            if (d + 1 < ix->height) {
                bad = check_inner(ix, d, node_at(ix, d));
                seen.ninner++;
            } else {
                bad = check_leaf(ix, d, map, &seen);
                seen.nleaf++;
            }
        } while (bad == NULL && go_next(ix, d));
    }
    if (bad == NULL && (seen.nleaf != ix->nleaf || seen.ninner != ix->ninner ||
                        seen.count != ix->count)) {
        bad = "index: counts";
    }
    if (bad == NULL && young != NULL &&
        seen.nyoung != kva__young_count(young)) {
        bad = "index: a young hole that is none";
    }
    return bad;
}
