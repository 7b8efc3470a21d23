/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slabs in the order in which they serve: by level, the highest first, and by
 * address, the lowest first.
 *
 * A treap (Seidel and Aragon 1996): a search tree by that order, and a heap by
 * a priority that is a hash of the address, so that it is as if slabs came in
 * random order, whatever order they come in.  With n slabs a path is 1.4 log2 n
 * long on average.  It needs two words of a slab and none for the priority, and
 * both insertion and removal go down one path once.
 *
 *            (level 20, 0x5000)            prev: those that serve before
 *              /            \              next: those that serve after
 *     (20, 0x2000)      (7, 0x1000)
 *
 * The level is what slab->level says.  It may be old; slab.c sees to that.
 *
 * Invariants, checked by pool/check.c
 *   T1  what is below prev serves before a slab, what is below next after it.
 *   T2  no slab has a higher priority than the one above it.
 */
#include "pool/pool_impl.h"

/* The finalizer of MurmurHash3 (Appleby 2008): each bit of the number of the
 * page changes half of the bits of the result. */
static uint32_t
priority(const struct kva__slab *slab)
{
    uint32_t h = (uint32_t)(kva__slab_base(slab) >> KVA_PAGE_SHIFT);

    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return h ^ h >> 16;
}

/* Does a slab serve before any at that level and address? */
static bool
before(const struct kva__slab *slab, unsigned level, uintptr_t base)
{
    unsigned own = kva__slab_level(slab);

    return own != level ? own > level : kva__slab_base(slab) < base;
}

void
kva__slab_tree_insert(struct kva__slab **link, struct kva__slab *slab)
{
    struct kva__slab **low = &slab->prev, **high = &slab->next, *at;
    uintptr_t base = kva__slab_base(slab);
    unsigned level = kva__slab_level(slab);
    uint32_t prio = priority(slab);

    while (*link != NULL && priority(*link) >= prio) {
        link = before(*link, level, base) ? &(*link)->next : &(*link)->prev;
    }
    at = *link;
    *link = slab;
    while (at != NULL) { /* what was below there goes to either side */
        if (before(at, level, base)) {
            *low = at;
            low = &at->next;
            at = *low;
        } else {
            *high = at;
            high = &at->prev;
            at = *high;
        }
    }
    *low = NULL;
    *high = NULL;
}

void
kva__slab_tree_remove(struct kva__slab **link, struct kva__slab *slab)
{
    struct kva__slab *low = slab->prev, *high = slab->next;
    uintptr_t base = kva__slab_base(slab);
    unsigned level = kva__slab_level(slab);

    while (*link != slab) {
        KVA_ASSERT(*link != NULL);
        link = before(*link, level, base) ? &(*link)->next : &(*link)->prev;
    }
    while (low != NULL && high != NULL) {
        if (priority(low) >= priority(high)) {
            *link = low;
            link = &low->next;
            low = *link;
        } else {
            *link = high;
            link = &high->prev;
            high = *link;
        }
    }
    *link = low != NULL ? low : high;
}

struct kva__slab *
kva__slab_tree_first(struct kva__slab *root)
{
    while (root != NULL && root->prev != NULL) {
        root = root->prev;
    }
    return root;
}

struct kva__slab *
kva__slab_tree_last(struct kva__slab *root)
{
    while (root != NULL && root->next != NULL) {
        root = root->next;
    }
    return root;
}

struct kva__slab *
kva__slab_tree_before(struct kva__slab *root, unsigned level, uintptr_t base)
{
    struct kva__slab *best = NULL;

    while (root != NULL) {
        if (before(root, level, base)) {
            best = root;
            root = root->next;
        } else {
            root = root->prev;
        }
    }
    return best;
}

const char *
kva__slab_tree_check(const struct kva__slab *slab)
{
    const struct kva__slab *low = slab->prev, *high = slab->next;
    uintptr_t base = kva__slab_base(slab);
    unsigned level = kva__slab_level(slab);

    if ((low != NULL && !before(low, level, base)) ||
        (high != NULL && before(high, level, base))) {
        return "T1: slabs serve in the order of the tree";
    }
    if ((low != NULL && priority(low) > priority(slab)) ||
        (high != NULL && priority(high) > priority(slab))) {
        return "T2: a slab has no higher priority than the one above it";
    }
    return NULL;
}
