/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Holes in the order of (size, start): an AVL tree (Adelson-Velsky and Landis,
 * "An algorithm for the organization of information", 1962) without links to
 * parents.  The two references that a free tag has for a list are its left and
 * its right child here; a bit of each that no reference needs says that this
 * side is the higher one:
 *
 *      u.link.prev   | higher | left child  |       higher, 64 bits: bit 31
 *      u.link.next   | higher | right child |       higher, 32 bits: bit 0
 *
 *  O1  Left of a node are smaller ones, right of it larger ones.
 *  O2  The heights of a node's sides differ by one at most; the bit of the
 *      higher side is set, and neither if they are equal.
 *
 * A change goes down once and remembers the way, then goes back up it as far as
 * heights change.  The root's reference is a child's like all others, its bit
 * never set.
 */
#include "vmem/order.h"

#include "vmem/vmem_impl.h"

/* ---- references with a bit ---------------------------------------------- */

#if KVA_WORD_64
#define HIGHER (1u << 31)
_Static_assert(((uint64_t)BT_DIR_TOP << (BT_DIR_SHIFT + BT_SLOT_BITS)) <=
                   HIGHER,
               "no reference has the top bit");

static inline bool
is_higher(kva__btag_ref_t ref)
{
    return (ref & HIGHER) != 0;
}

static inline kva__btag_ref_t
child_of(kva__btag_ref_t ref)
{
    return ref & ~HIGHER;
}

static inline kva__btag_ref_t
with_bit(kva__btag_ref_t child, bool higher)
{
    return child | (higher ? HIGHER : 0);
}
#else
#define HIGHER ((uintptr_t)1)

static inline bool
is_higher(kva__btag_ref_t ref)
{
    return ((uintptr_t)ref & HIGHER) != 0;
}

static inline kva__btag_ref_t
child_of(kva__btag_ref_t ref)
{
    return (kva__btag_ref_t)((uintptr_t)ref & ~HIGHER);
}

static inline kva__btag_ref_t
with_bit(kva__btag_ref_t child, bool higher)
{
    return (kva__btag_ref_t)((uintptr_t)child | (higher ? HIGHER : 0));
}
#endif

/* ---- nodes -------------------------------------------------------------- */

/* The child on a side, with its bit: the right one, or the left. */
static inline kva__btag_ref_t *
side_of(struct kva_vmem_btag *bt, bool right)
{
    return right ? &bt->u.link.next : &bt->u.link.prev;
}

static inline kva__btag_ref_t
child_at(struct kva_vmem_btag *bt, bool right)
{
    return child_of(*side_of(bt, right));
}

/* Another child, the bit staying. */
static inline void
set_child(kva__btag_ref_t *link, kva__btag_ref_t child)
{
    *link = with_bit(child, is_higher(*link));
}

/* Which side is higher. */
enum lean {
    LEFT,
    RIGHT,
    EVEN
};

static inline enum lean
lean_of(const struct kva_vmem_btag *bt)
{
    return is_higher(bt->u.link.prev)   ? LEFT
           : is_higher(bt->u.link.next) ? RIGHT
                                        : EVEN;
}

static inline void
set_lean(struct kva_vmem_btag *bt, enum lean lean)
{
    bt->u.link.prev = with_bit(child_of(bt->u.link.prev), lean == LEFT);
    bt->u.link.next = with_bit(child_of(bt->u.link.next), lean == RIGHT);
}

/* Does the hole come before what has that size and start. */
static inline bool
is_before(const struct kva_vmem_btag *bt, size_t size, uintptr_t start)
{
    size_t own = bt_size(bt);

    return own != size ? own < size : bt->start < start;
}

/* ---- the way down, and back --------------------------------------------- */

/* A step is the node, and with its bit that the way went to the right. */
struct way {
    kva__btag_ref_t *root;
    unsigned n;
    kva__btag_ref_t step[KVA__ORDER_HEIGHT_MAX];
};

static inline struct kva_vmem_btag *
node_at(const struct way *way, unsigned d)
{
    return bt_at(child_of(way->step[d]));
}

static inline bool
went_right(const struct way *way, unsigned d)
{
    return is_higher(way->step[d]);
}

/* The link to the node at depth d of the way. */
static inline kva__btag_ref_t *
link_to(struct way *way, unsigned d)
{
    return d == 0 ? way->root
                  : side_of(node_at(way, d - 1), went_right(way, d - 1));
}

static inline void
go(struct way *way, kva__btag_ref_t ref, bool right)
{
    KVA_ASSERT(way->n < KVA__ORDER_HEIGHT_MAX);
    way->step[way->n++] = with_bit(ref, right);
}

/*
 * The side of a node at the link is higher by two; true: the whole is lower by
 * one now than it was at that.
 *
 *      a                 b          a                   c
 *    x   b      ->     a   z      x   b       ->      a   b
 *       y z           x y            c z             x y y' z
 *                                   y y'
 */
static bool
rotate(kva__btag_ref_t *link, bool right)
{
    enum lean heavy = right ? RIGHT : LEFT, light = right ? LEFT : RIGHT;
    kva__btag_ref_t a_ref = child_of(*link);
    struct kva_vmem_btag *a = bt_at(a_ref);
    kva__btag_ref_t b_ref = child_at(a, right);
    struct kva_vmem_btag *b = bt_at(b_ref), *c;
    enum lean lean = lean_of(b);
    kva__btag_ref_t c_ref;

    if (lean != light) {
        set_child(side_of(a, right), child_at(b, !right));
        set_child(side_of(b, !right), a_ref);
        set_child(link, b_ref);
        set_lean(a, lean == EVEN ? heavy : EVEN);
        set_lean(b, lean == EVEN ? light : EVEN);
        return lean != EVEN;
    }
    c_ref = child_at(b, !right);
    c = bt_at(c_ref);
    lean = lean_of(c);
    set_child(side_of(a, right), child_at(c, !right));
    set_child(side_of(b, !right), child_at(c, right));
    set_child(side_of(c, !right), a_ref);
    set_child(side_of(c, right), b_ref);
    set_child(link, c_ref);
    set_lean(a, lean == heavy ? light : EVEN);
    set_lean(b, lean == light ? heavy : EVEN);
    set_lean(c, EVEN);
    return true;
}

/* Where the way ends a node came to be: the side it is on became higher. */
static void
rise(struct way *way)
{
    for (unsigned d = way->n; d-- > 0;) {
        struct kva_vmem_btag *bt = node_at(way, d);
        bool right = went_right(way, d);
        enum lean grown = right ? RIGHT : LEFT, lean = lean_of(bt);

        if (lean == grown) {
            rotate(link_to(way, d), right);
            return;
        }
        set_lean(bt, lean == EVEN ? grown : EVEN);
        if (lean != EVEN) {
            return;
        }
    }
}

/* Where the way ends the side became lower. */
static void
sink(struct way *way)
{
    for (unsigned d = way->n; d-- > 0;) {
        struct kva_vmem_btag *bt = node_at(way, d);
        bool right = went_right(way, d);
        enum lean other = right ? LEFT : RIGHT, lean = lean_of(bt);

        if (lean == other) {
            if (!rotate(link_to(way, d), !right)) {
                return;
            }
        } else {
            set_lean(bt, lean == EVEN ? other : EVEN);
            if (lean == EVEN) {
                return;
            }
        }
    }
}

void
kva__order_insert(kva__btag_ref_t *root, struct kva_vmem_btag *bt, size_t size)
{
    struct way way;
    kva__btag_ref_t ref = *root;

    way.root = root;
    way.n = 0;
    while (ref != BT_NONE) {
        struct kva_vmem_btag *node = bt_at(ref);
        bool right = is_before(node, size, bt->start);

        go(&way, ref, right);
        ref = child_at(node, right);
    }
    bt->u.link.prev = BT_NONE;
    bt->u.link.next = BT_NONE;
    set_child(link_to(&way, way.n), bt_ref(bt));
    rise(&way);
}

/*
 * A node with two children changes places with the one before it, the last of
 * its left side, which has one at most.
 */
void
kva__order_remove(kva__btag_ref_t *root, struct kva_vmem_btag *bt, size_t size)
{
    kva__btag_ref_t own = *root, ref, right;
    struct kva_vmem_btag *node, *last;
    struct way way;
    unsigned d;

    way.root = root;
    way.n = 0;
    for (node = bt_at(own); node != bt; node = bt_at(own)) {
        bool up = is_before(node, size, bt->start);

        go(&way, own, up);
        own = child_at(node, up);
        KVA_ASSERT(own != BT_NONE);
    }
    ref = child_at(bt, false);
    right = child_at(bt, true);
    if (ref == BT_NONE || right == BT_NONE) {
        set_child(link_to(&way, way.n), ref == BT_NONE ? right : ref);
        sink(&way);
        return;
    }
    d = way.n;
    go(&way, own, false);
    last = bt_at(ref);
    while ((right = child_at(last, true)) != BT_NONE) {
        go(&way, ref, true);
        ref = right;
        last = bt_at(ref);
    }
    set_child(link_to(&way, way.n), child_at(last, false));
    set_child(link_to(&way, d), ref);
    last->u.link = bt->u.link;
    way.step[d] = with_bit(ref, false);
    sink(&way);
}

/* ---- look-ups ----------------------------------------------------------- */

/* The first that does not come before (size, start). */
static struct kva_vmem_btag *
first_from(kva__btag_ref_t ref, size_t size, uintptr_t start, size_t *visits)
{
    struct kva_vmem_btag *found = NULL;

    while (ref != BT_NONE) {
        struct kva_vmem_btag *bt = bt_at(ref);
        bool right = is_before(bt, size, start);

        *visits += 2;
        if (!right) {
            found = bt;
        }
        ref = child_at(bt, right);
    }
    return found;
}

struct kva_vmem_btag *
kva__order_best(kva__btag_ref_t root, size_t size, size_t *visits)
{
    return first_from(root, size, 0, visits);
}

struct kva_vmem_btag *
kva__order_next(kva__btag_ref_t root, size_t size, uintptr_t start,
                size_t *visits)
{
    if (start != UINTPTR_MAX) {
        return first_from(root, size, start + 1, visits);
    }
    /* Behind the last address are those that are larger. */
    return size != UINTPTR_MAX ? first_from(root, size + 1, 0, visits) : NULL;
}

struct kva_vmem_btag *
kva__order_last(kva__btag_ref_t root, size_t *visits)
{
    struct kva_vmem_btag *bt = NULL;

    while (root != BT_NONE) {
        ++*visits;
        bt = bt_at(root);
        root = child_at(bt, true);
    }
    return bt;
}

/* ---- the checker -------------------------------------------------------- */

/* From O2 at a node, whose sides have those heights. */
static bool
leans_right(const struct kva_vmem_btag *bt, unsigned left, unsigned right)
{
    switch (lean_of(bt)) {
    case LEFT:
        return left == right + 1 && !is_higher(bt->u.link.next);
    case RIGHT:
        return right == left + 1;
    default:
        return left == right;
    }
}

/*
 * From the left to the right: a node on the way is left once with the height
 * of its left side known, and again with that of the right one.
 */
const char *
kva__order_check(kva__btag_ref_t root, size_t *count)
{
    unsigned left[KVA__ORDER_HEIGHT_MAX], height = 0;
    struct kva_vmem_btag *last = NULL;
    kva__btag_ref_t ref = root;
    struct way way;

    way.root = &root;
    way.n = 0;
    *count = 0;
    if (is_higher(root)) {
        return "order: the root's bit";
    }
    for (;;) {
        struct kva_vmem_btag *bt;

        while (ref != BT_NONE) {
            if (way.n == KVA__ORDER_HEIGHT_MAX) {
                return "order: too high";
            }
            if (!kva__btag_ref_is_ours(ref) ||
                !kva__btag_is_ours(bt_next(bt_at(ref)))) {
                return "order: a child that is no tag";
            }
            go(&way, ref, false);
            ref = child_at(bt_at(ref), false);
        }
        height = 0;
        while (way.n > 0 && went_right(&way, way.n - 1)) {
            way.n--;
            if (!leans_right(node_at(&way, way.n), left[way.n], height)) {
                return "order: heights of two sides";
            }
            height += 1;
            height = left[way.n] >= height ? left[way.n] + 1 : height;
        }
        if (way.n == 0) {
            return NULL;
        }
        bt = node_at(&way, way.n - 1);
        if (!bt_is_free(bt)) {
            return "order: a node that is no hole";
        }
        if (last != NULL && !is_before(last, bt_size(bt), bt->start)) {
            return "order: holes are not in order";
        }
        last = bt;
        ++*count;
        left[way.n - 1] = height;
        way.step[way.n - 1] = with_bit(child_of(way.step[way.n - 1]), true);
        ref = child_at(bt, true);
    }
}
