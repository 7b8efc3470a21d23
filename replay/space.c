/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A complete binary tree over the pages.  Each node knows of its stretch the
 * longest free run, and the free runs at its two ends; so the lowest place
 * for n pages is found in one walk from the root, and a change of n pages
 * costs n and the way up.
 *
 *     node 1 is the root; node i has the children 2i and 2i + 1; the page p is
 *     the leaf npages + p
 */
#include <stdlib.h>

#include "replay/space.h"

struct run {
    uint32_t left;  /* free pages at the low end */
    uint32_t right; /* at the high end */
    uint32_t best;
};

struct space {
    uint32_t npages;
    uint64_t busy, holes, runs;
    struct run *node;
    uint8_t *kind;
};

struct space *
space_create(uint32_t npages)
{
    struct space *sp = calloc(1, sizeof(*sp));

    if (sp == NULL) {
        return NULL;
    }
    sp->npages = npages;
    sp->holes = 1;
    sp->node = malloc(2 * (size_t)npages * sizeof(*sp->node));
    sp->kind = calloc(npages, 1);
    if (sp->node == NULL || sp->kind == NULL) {
        space_destroy(sp);
        return NULL;
    }
    for (uint32_t first = 1, len = npages; len > 0; first *= 2, len /= 2) {
        for (uint32_t i = first; i < 2 * first; i++) {
            sp->node[i] = (struct run){ len, len, len };
        }
    }
    return sp;
}

void
space_destroy(struct space *sp)
{
    free(sp->node);
    free(sp->kind);
    free(sp);
}

uint8_t
space_kind(const struct space *sp, uint32_t page)
{
    return page < sp->npages ? sp->kind[page] : 0;
}

/* A node from its children, each len pages long. */
static void
node_join(struct run *n, const struct run *l, const struct run *r, uint32_t len)
{
    uint32_t middle = l->right + r->left;

    n->left = l->left == len ? len + r->left : l->left;
    n->right = r->right == len ? len + l->right : r->right;
    n->best = l->best > r->best ? l->best : r->best;
    n->best = middle > n->best ? middle : n->best;
}

static void
mark(struct space *sp, uint32_t page, uint32_t n, uint8_t kind)
{
    uint32_t lo = sp->npages + page, hi = lo + n - 1;
    uint32_t leaf = kind == 0 ? 1 : 0;

    for (uint32_t i = 0; i < n; i++) {
        sp->kind[page + i] = kind;
        sp->node[lo + i] = (struct run){ leaf, leaf, leaf };
    }
    for (uint32_t len = 1; lo > 1; len *= 2) {
        lo /= 2;
        hi /= 2;
        for (uint32_t i = lo; i <= hi; i++) {
            node_join(&sp->node[i], &sp->node[2 * i], &sp->node[2 * i + 1],
                      len);
        }
    }
}

/*
 * The lowest run of n free pages; the root says that there is one.  Going down,
 * the left child comes first, then the run across the middle.
 */
static uint32_t
find(const struct space *sp, uint32_t n)
{
    uint32_t i = 1, first = 0, len = sp->npages;

    while (len > 1) {
        const struct run *l = &sp->node[2 * i];

        len /= 2;
        if (l->best >= n) {
            i = 2 * i;
        } else if (l->right + sp->node[2 * i + 1].left >= n) {
            return first + len - l->right;
        } else {
            i = 2 * i + 1;
            first += len;
        }
    }
    return first;
}

static bool
is_free(const struct space *sp, uint32_t page)
{
    return page < sp->npages && sp->kind[page] == 0;
}

uint32_t
space_alloc(struct space *sp, uint32_t n, uint32_t align, uint8_t kind)
{
    /* Any run this long holds an aligned place. */
    uint32_t want = n + (align - 1);
    uint32_t page;
    bool below, above;

    if (n == 0 || want < n || want > sp->node[1].best) {
        return SPACE_NONE;
    }
    page = find(sp, want);
    page = (page + align - 1) & ~(align - 1);
    below = page > 0 && is_free(sp, page - 1);
    above = is_free(sp, page + n);
    sp->holes = sp->holes - 1 + below + above;
    mark(sp, page, n, kind);
    sp->busy += n;
    sp->runs += 1;
    sp->runs -= page > 0 && sp->kind[page - 1] == kind;
    sp->runs -= space_kind(sp, page + n) == kind;
    return page;
}

void
space_free(struct space *sp, uint32_t page, uint32_t n)
{
    uint8_t kind = sp->kind[page];
    bool below = page > 0 && is_free(sp, page - 1);
    bool above = is_free(sp, page + n);

    sp->holes = sp->holes + 1 - below - above;
    sp->runs -= 1;
    sp->runs += page > 0 && sp->kind[page - 1] == kind;
    sp->runs += space_kind(sp, page + n) == kind;
    mark(sp, page, n, 0);
    sp->busy -= n;
}

uint32_t
space_largest_hole(const struct space *sp)
{
    return sp->node[1].best;
}

uint64_t
space_busy_pages(const struct space *sp)
{
    return sp->busy;
}

uint64_t
space_holes(const struct space *sp)
{
    return sp->holes;
}

uint64_t
space_runs(const struct space *sp)
{
    return sp->runs;
}
