/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kernel_map: the pageable ranges, for fault handling.  Wired memory is never
 * here.
 *
 * A range is described in PIECES of up to some two thousand pages, each with a
 * segment of kernel_va_arena of its own and a word for each page: whether it is
 * in use, what accesses it allows, how often it is wired, whether it has a
 * frame.  An ENTRY is a run of pages of a piece with the same accesses and
 * wiring, what other systems have a map entry for.
 *
 *     piece   | rw rw rw rw rw | .. .. | r  r  | r1 r1 r1 | rw |
 *     entries |<---- one ----->|  free |<-two->|<-three-->|four|
 *
 * So entries are not objects.  A change in the middle of one makes three of it,
 * and equal neighbours are one again, by what the words say and without a step
 * of their own; how many there are is counted along.
 *
 * That a free never allocates (A-2 of the discussion on tech-kern, 2011) and
 * needs no reservation:
 *
 *   M1  Every state that the pages of a range can ever be in has its place from
 *       the range's beginning on: a word a page, 1/2048 of what it describes.
 *   M2  After that only kva__map_settle takes memory, and nobody who frees calls
 *       it.  Frees, changes of accesses, wiring, unwiring and faults write words
 *       and nothing else; the treap has no node that was not there before.
 *   M3  A piece whose last page comes free goes back whole: its segment to the
 *       arena, which joins and takes no tag, its block to the store.
 *
 * Nothing is set apart for a later free, so there is nothing to count, to
 * refill, or to run out of.  The price is that addresses in the middle of a
 * piece cannot be other people's at once: for that a segment must be cut, and a
 * cut takes tags.  kva__map_settle does it, when addresses are wanted and not
 * there, and whatever it cannot get memory for stays as it is until the piece
 * is empty, which is eight megabytes at most.
 *
 * The pieces are in a treap (Seidel and Aragon, "Randomized Search Trees",
 * 1996): a search tree by address and a heap by a priority that is a hash of
 * the address, so that it is balanced whatever the order of insertion.
 * Rotations run in loops; depth is logarithmic, expected.
 *
 * Invariants, checked by kva_map_check
 *   P1  pieces do not overlap, and are in the order of the tree and its heap.
 *   P2  a piece counts its pages that are in use and that are busy, and is in
 *       the tree as long as it has any.
 *   P3  a page that is neither in use nor busy has the word 0.
 *   P4  the totals are the sums.
 */
#include "kva/map.h"

#include "vmem/print.h"

struct kva__map kva__map;

#define map kva__map

/* Bytes of a piece: 8, 104, 488 and 1992 pages where a header has 48. */
static const size_t block_bytes[KVA__MAP_CLASSES] = { 64, 256, 1024,
                                                      KVA_META_BLOCK_MAX };

/* ---- pieces ------------------------------------------------------------ */

static size_t
pages_in(size_t bytes)
{
    return (bytes - offsetof(struct kva__piece, page)) / sizeof(uint16_t);
}

size_t
kva__piece_pages_max(void)
{
    return pages_in(KVA_META_BLOCK_MAX);
}

struct kva__piece *
kva__piece_new(size_t npages)
{
    struct kva__piece *p;
    unsigned class = 0;

    while (pages_in(block_bytes[class]) < npages) {
        class ++;
        KVA_ASSERT(class < KVA__MAP_CLASSES);
    }
    p = kva__meta_get(&map.blocks[class]);
    if (p != NULL) {
        p->npages = (uint32_t)npages;
        p->class = (uint16_t) class;
    }
    return p;
}

void
kva__piece_drop(struct kva__piece *p)
{
    kva__meta_put(&map.blocks[p->class], p);
}

uintptr_t
kva__piece_last(const struct kva__piece *p)
{
    return p->first + (((uintptr_t)p->npages << KVA_PAGE_SHIFT) - 1);
}

/* ---- the treap --------------------------------------------------------- */

/* The pointer that leads to p. */
static struct kva__piece **
link_of(struct kva__piece *p)
{
    if (p->up == NULL) {
        return &map.root;
    }
    return p->up->left == p ? &p->up->left : &p->up->right;
}

/* Put b, a child of a, in a's place, and a below it. */
static void
rotate(struct kva__piece *a, struct kva__piece *b)
{
    struct kva__piece *inner;

    *link_of(a) = b;
    b->up = a->up;
    a->up = b;
    if (a->left == b) {
        inner = b->right;
        b->right = a;
        a->left = inner;
    } else {
        inner = b->left;
        b->left = a;
        a->right = inner;
    }
    if (inner != NULL) {
        inner->up = a;
    }
}

/*
 * A priority from an address.  One product is not enough: equal strides would
 * come out as a regular sequence, and the tree as deep as a list.
 */
static uint32_t
mix(uintptr_t x)
{
    const unsigned half = (unsigned)sizeof(x) * 4u;

    for (unsigned i = 0; i < 2; i++) {
        x *= (uintptr_t)0x9e3779b97f4a7c15u;
        x ^= x >> half;
    }
    return (uint32_t)((x * (uintptr_t)0x9e3779b97f4a7c15u) >>
                      (sizeof(x) * 8 - 32));
}

void
kva__piece_insert(struct kva__piece *p)
{
    struct kva__piece **link = &map.root, *up = NULL;

    while (*link != NULL) {
        up = *link;
        link = p->first < up->first ? &up->left : &up->right;
    }
    p->priority = mix(p->first >> KVA_PAGE_SHIFT);
    p->left = p->right = NULL;
    p->up = up;
    *link = p;
    while (p->up != NULL && p->up->priority < p->priority) {
        rotate(p->up, p);
    }
    map.npieces++;
    map.bytes += block_bytes[p->class];
}

void
kva__piece_erase(struct kva__piece *p)
{
    while (p->left != NULL && p->right != NULL) {
        rotate(p, p->left->priority > p->right->priority ? p->left : p->right);
    }
    *link_of(p) = p->left != NULL ? p->left : p->right;
    if (p->left != NULL) {
        p->left->up = p->up;
    } else if (p->right != NULL) {
        p->right->up = p->up;
    }
    map.npieces--;
    map.bytes -= block_bytes[p->class];
}

/* The piece that holds va, or the first behind it. */
static struct kva__piece *
find_from(uintptr_t va)
{
    struct kva__piece *p = map.root, *best = NULL;

    while (p != NULL) {
        if (va > kva__piece_last(p)) {
            p = p->right;
        } else {
            best = p;
            if (va >= p->first) {
                break;
            }
            p = p->left;
        }
    }
    return best;
}

struct kva__piece *
kva__piece_find(uintptr_t va)
{
    struct kva__piece *p = find_from(va);

    return p != NULL && va >= p->first ? p : NULL;
}

static struct kva__piece *
next_of(struct kva__piece *p)
{
    uintptr_t last = kva__piece_last(p);

    return last == UINTPTR_MAX ? NULL : find_from(last + 1);
}

/* ---- words and entries ------------------------------------------------- */

/* What pages of an entry have in common; 0: not in use. */
static unsigned
key(unsigned word)
{
    return (word & KVA__PAGE_USED) == 0
               ? 0
               : word & ~(KVA__PAGE_BUSY | KVA__PAGE_RESIDENT);
}

static bool
begins(const struct kva__piece *p, size_t i)
{
    return key(p->page[i]) != 0 &&
           (i == 0 || key(p->page[i]) != key(p->page[i - 1]));
}

/* Entries that begin at the n pages from i on, or at the one behind. */
static size_t
entries_at(const struct kva__piece *p, size_t i, size_t n)
{
    size_t found = 0;

    for (size_t k = i; k <= i + n && k < p->npages; k++) {
        found += begins(p, k);
    }
    return found;
}

void
kva__piece_change(struct kva__piece *p, size_t i, size_t n, unsigned clear,
                  unsigned set, int wires)
{
    size_t before = entries_at(p, i, n), used = p->used, resident = 0;

    for (size_t k = i; k < i + n; k++) {
        unsigned old = p->page[k];
        unsigned new = ((old & ~clear) | set) + (unsigned)wires *KVA__PAGE_WIRE;

        p->page[k] = (uint16_t) new;
        p->used += ((new &KVA__PAGE_USED) != 0) -
                   (unsigned)((old & KVA__PAGE_USED) != 0);
        p->busy += ((new &KVA__PAGE_BUSY) != 0) -
                   (unsigned)((old & KVA__PAGE_BUSY) != 0);
        resident += ((new &KVA__PAGE_RESIDENT) != 0) -
                    (size_t)((old & KVA__PAGE_RESIDENT) != 0);
    }
    map.used += p->used - used;
    map.resident += resident;
    map.entries += entries_at(p, i, n) - before;
}

/* ---- addresses back to the arena --------------------------------------- */

static size_t
free_from(const struct kva__piece *p, size_t i)
{
    size_t n = 0;

    while (i + n < p->npages && (p->page[i + n] & KVA__PAGE_USED) == 0) {
        n++;
    }
    return n;
}

static size_t
segment_bytes(const struct kva__piece *p)
{
    return (size_t)p->npages << KVA_PAGE_SHIFT;
}

/* Pages that are free at either end go back; false: no tags for it. */
static bool
piece_trim(struct kva__piece *p, size_t head, size_t tail)
{
    size_t n = p->npages - head - tail;
    uintptr_t first = p->first + (head << KVA_PAGE_SHIFT);

    if (vmem_xtrim(kva_kernel_va_arena, p->first, segment_bytes(p), first,
                   n << KVA_PAGE_SHIFT) != 0) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        p->page[i] = p->page[head + i];
    }
    p->first = first;
    p->npages = (uint32_t)n;
    return true;
}

/* What is behind a hole becomes a piece of its own, from page at on. */
static bool
piece_split(struct kva__piece *p, size_t at)
{
    size_t n = p->npages - at;
    struct kva__piece *q = kva__piece_new(n);

    if (q == NULL) {
        return false;
    }
    if (vmem_xsplit(kva_kernel_va_arena, p->first, segment_bytes(p),
                    at << KVA_PAGE_SHIFT) != 0) {
        kva__piece_drop(q);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        q->page[i] = p->page[at + i];
        q->used += (q->page[i] & KVA__PAGE_USED) != 0;
    }
    q->first = p->first + (at << KVA_PAGE_SHIFT);
    p->npages = (uint32_t)at;
    p->used -= q->used;
    kva__piece_insert(q);
    return true;
}

/* One step towards a piece that is in use throughout; false: it is, or there
 * is no memory for it.  Pages of it are in use, and none is busy. */
static bool
piece_settle(struct kva__piece *p)
{
    size_t head = free_from(p, 0), tail = 0, hole = head;

    while ((p->page[p->npages - 1 - tail] & KVA__PAGE_USED) == 0) {
        tail++;
    }
    if (head != 0 || tail != 0) {
        return piece_trim(p, head, tail);
    }
    while (hole < p->npages && free_from(p, hole) == 0) {
        hole++;
    }
    return hole < p->npages && piece_split(p, hole + free_from(p, hole));
}

/* Arena and metadata have locks behind this one, so it is held throughout. */
void
kva__map_settle(void)
{
    kva_irq_t irq;

    irq = kva_port_lock(&map.lock);
    for (struct kva__piece *p = find_from(0); p != NULL; p = next_of(p)) {
        while (p->busy == 0 && p->used < p->npages && piece_settle(p)) {
        }
    }
    kva_port_unlock(&map.lock, irq);
}

/* ---- starting, ending, asking ------------------------------------------ */

void
kva__map_init(void)
{
    kva_port_lock_init(&map.lock, "kernel_map", KVA_IPL_NONE, KVA_RANK_CACHE);
    for (unsigned i = 0; i < KVA__MAP_CLASSES; i++) {
        kva__meta_store_init(&map.blocks[i], "map pieces", block_bytes[i],
                             KVA_META_OTHER, 0);
    }
    map.root = NULL;
    map.npieces = map.bytes = map.entries = map.used = map.resident = 0;
    map.waiters = 0;
    map.started = false;
}

void
kva__map_start(void)
{
    map.started = true;
}

void
kva__map_fini(void)
{
    struct kva__piece *p = find_from(0);

    if (p != NULL) {
        kva__misuse("kva_shutdown", "arena", "kernel_map",
                    p->first + (free_from(p, 0) << KVA_PAGE_SHIFT),
                    "expected no pageable range, found %zu", map.entries);
    }
}

void
kva__map_stat(struct kva_stat *st)
{
    kva_irq_t irq;

    irq = kva_port_lock(&map.lock);
    st->map_entries = map.entries;
    st->map_entry_bytes = map.bytes;
    st->map_bytes = map.used << KVA_PAGE_SHIFT;
    st->map_resident_bytes = map.resident << KVA_PAGE_SHIFT;
    kva_port_unlock(&map.lock, irq);
}

/* The entry that page i of p is in, which is in use. */
static void
entry_tell(const struct kva__piece *p, size_t i, struct kva_map_entry *e)
{
    size_t first = i, end = i;

    while (!begins(p, first)) {
        first--;
    }
    e->resident = 0;
    for (end = first; end < p->npages && (end == first || !begins(p, end)) &&
                      key(p->page[end]) != 0;
         end++) {
        e->resident +=
            (p->page[end] & KVA__PAGE_RESIDENT) != 0 ? KVA_PAGE_SIZE : 0;
    }
    e->first = p->first + (first << KVA_PAGE_SHIFT);
    e->last = p->first + ((end << KVA_PAGE_SHIFT) - 1);
    e->prot = p->page[first] & KVA__PAGE_PROT;
    e->wired = p->page[first] / KVA__PAGE_WIRE;
}

bool
kva_map_next(vmem_addr_t va, struct kva_map_entry *entry)
{
    struct kva__piece *p;
    kva_irq_t irq;
    size_t i = 0;
    bool found = false;

    irq = kva_port_lock(&map.lock);
    p = find_from(va);
    if (p != NULL && va > p->first) {
        i = (va - p->first) >> KVA_PAGE_SHIFT;
    }
    while (p != NULL && !found) {
        i += free_from(p, i);
        if (i < p->npages) {
            entry_tell(p, i, entry);
            found = true;
        } else { /* a piece that is being freed may have none */
            p = next_of(p);
            i = 0;
        }
    }
    kva_port_unlock(&map.lock, irq);
    return found;
}

bool
kva_map_lookup(vmem_addr_t va, vmem_addr_t *first, vmem_addr_t *last)
{
    struct kva_map_entry e;

    if (!kva_map_next(va, &e) || va < e.first) {
        return false;
    }
    *first = e.first;
    *last = e.last;
    return true;
}

void
kva_map_print(kva_vmem_pr_t *pr)
{
    struct kva_stat st;
    struct kva_map_entry e;
    uintptr_t va = 0;

    kva__map_stat(&st);
    kva__print_line(pr, "kernel_map: %zu entries, %zu bytes of %zu resident",
                    st.map_entries, st.map_resident_bytes, st.map_bytes);
    while (kva_map_next(va, &e)) {
        kva__print_line(pr, "  0x%lx - 0x%lx %c%c%c wired %u resident %zu",
                        (unsigned long)e.first, (unsigned long)e.last,
                        (e.prot & KVA__PROT_READ) != 0 ? 'r' : '-',
                        (e.prot & KVA__PROT_WRITE) != 0 ? 'w' : '-',
                        (e.prot & KVA__PROT_EXEC) != 0 ? 'x' : '-', e.wired,
                        e.resident);
        if (e.last == UINTPTR_MAX) {
            break;
        }
        va = e.last + 1;
    }
}

/* ---- checking ---------------------------------------------------------- */

/* Sums of pieces: they must be the totals of the map. */
struct sums {
    size_t pieces, entries, used, resident, bytes;
};

static const char *
words_check(const struct kva__piece *p, struct sums *sum)
{
    size_t used = 0, busy = 0;

    for (size_t i = 0; i < p->npages; i++) {
        unsigned word = p->page[i];

        if ((word & (KVA__PAGE_USED | KVA__PAGE_BUSY)) == 0 && word != 0) {
            return "P3: a free page is not blank";
        }
        used += (word & KVA__PAGE_USED) != 0;
        busy += (word & KVA__PAGE_BUSY) != 0;
        sum->resident += (word & KVA__PAGE_RESIDENT) != 0;
        sum->entries += begins(p, i);
    }
    if (used != p->used || busy != p->busy || used + busy == 0) {
        return "P2: a piece's counts are wrong";
    }
    sum->used += used;
    sum->bytes += block_bytes[p->class];
    sum->pieces++;
    return NULL;
}

static const char *
tree_check(const struct kva__piece *p, const struct kva__piece *before)
{
    const struct kva__piece *child[2] = { p->left, p->right };

    if (p->npages == 0 || kva__piece_last(p) < p->first ||
        (before != NULL && kva__piece_last(before) >= p->first)) {
        return "P1: pieces overlap or are out of order";
    }
    for (unsigned i = 0; i < 2; i++) {
        if (child[i] != NULL &&
            (child[i]->up != p || child[i]->priority > p->priority)) {
            return "P1: the treap is not linked as it must be";
        }
    }
    return NULL;
}

const char *
kva_map_check(void)
{
    struct sums sum = { 0, 0, 0, 0, 0 };
    const struct kva__piece *before = NULL;
    const char *bad = NULL;
    kva_irq_t irq;

    irq = kva_port_lock(&map.lock);
    for (struct kva__piece *p = find_from(0); p != NULL && bad == NULL;
         before = p, p = next_of(p)) {
        bad = tree_check(p, before);
        bad = bad != NULL ? bad : words_check(p, &sum);
    }
    if (bad == NULL &&
        (sum.pieces != map.npieces || sum.entries != map.entries ||
         sum.used != map.used || sum.resident != map.resident ||
         sum.bytes != map.bytes)) {
        bad = "P4: the totals are not the sums";
    }
    kva_port_unlock(&map.lock, irq);
    return bad;
}
