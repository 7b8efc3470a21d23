/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segments by their first address: linear hashing (Litwin, "Linear
 * Hashing", VLDB 1980), so that the table grows and shrinks by one bucket at a
 * time and no operation ever waits for a whole rehash.
 *
 *      bucket      0   1   2   3 | 4   5            hash_mask = 3
 *                  ^ split ^     |  their other halves
 *      address h:  b = h & 7, and if b >= hash_buckets, b = h & 3
 *
 * A bucket has eight slots (hash.h).  hash_buckets grows by one while there are
 * more than five segments a bucket, which costs 6.4 bytes a segment and leaves
 * a twelfth of them in chains (counted: half a round behind, buckets not yet
 * split have six and more), and shrinks while there are less than five halves.
 * Four slots at the same cost leave a sixth there and touch 0.4 lines more a
 * pair. The first buckets are in the arena; a page of more is asked for when it
 * is needed, and if there is none the chains grow instead: an insertion cannot
 * fail.  An arena with a caller's tags never asks: it has a stock of the
 * caller's pages (vmem_add_hash), in which it grows and shrinks.
 */
#include "vmem/hash.h"

#define BUCKETS_MAX (KVA__HASH_DIRS << HASH_DIR_SHIFT << HASH_PAGE_SHIFT)

_Static_assert(sizeof(struct kva__hash_bucket) == 1u << HASH_BUCKET_SHIFT,
               "a bucket is 32 bytes");

/* An arena with a caller's tags has no memory for one more bucket. */
static bool
is_stuck(const kva_vmem_t *vm)
{
    return (vm->flags & VM_PRIVTAGS) != 0 && vm->hash_stock == NULL &&
           ((vm->hash_buckets & HASH_PAGE_MASK) == 0 ||
            vm->hash_page[0] == vm->hash_inline);
}

/* When to grow and to shrink next. */
static size_t
grow_at(const kva_vmem_t *vm)
{
    size_t n = vm->hash_buckets;

    return n >= BUCKETS_MAX || is_stuck(vm) ? SIZE_MAX : n * 5;
}

static size_t
shrink_at(const kva_vmem_t *vm)
{
    size_t n = vm->hash_buckets;

    return n <= KVA__HASH_INLINE ? 0 : (n * 5) >> 1;
}

static void
thresholds_set(kva_vmem_t *vm)
{
    vm->hash_grow_at = grow_at(vm);
    vm->hash_shrink_at = shrink_at(vm);
}

void
kva__hash_init(kva_vmem_t *vm)
{
    vm->hash_buckets = KVA__HASH_INLINE;
    vm->hash_mask = KVA__HASH_INLINE - 1;
    vm->hash_page[0] = vm->hash_inline;
    vm->hash_dir[0] = vm->hash_page;
    thresholds_set(vm);
}

/* ---- memory for buckets ----------------------------------------------- */

/* A zeroed page, or NULL. */
static void *
page_get(kva_vmem_t *vm)
{
    void **page = vm->hash_stock;

    if ((vm->flags & VM_PRIVTAGS) == 0) {
        return kva__meta_page_get(KVA_META_HASH);
    }
    if (page != NULL) {
        vm->hash_stock = *page;
        kva__memset(page, 0, KVA_PAGE_SIZE);
    }
    return page;
}

static void
page_put(kva_vmem_t *vm, void *page)
{
    if ((vm->flags & VM_PRIVTAGS) == 0) {
        kva__meta_page_put(page, KVA_META_HASH);
    } else {
        *(void **)page = vm->hash_stock;
        vm->hash_stock = page;
    }
}

void
kva__hash_adopt(kva_vmem_t *vm, void *page)
{
    page_put(vm, page);
    thresholds_set(vm);
}

/* The first page takes the place of the buckets in the arena. */
static bool
inline_leave(kva_vmem_t *vm)
{
    struct kva__hash_bucket *page = page_get(vm);

    if (page == NULL) {
        return false;
    }
    for (unsigned i = 0; i < KVA__HASH_INLINE; i++) {
        page[i] = vm->hash_inline[i];
    }
    vm->hash_page[0] = page;
    return true;
}

static void
inline_return(kva_vmem_t *vm)
{
    struct kva__hash_bucket *page = vm->hash_page[0];

    for (unsigned i = 0; i < KVA__HASH_INLINE; i++) {
        vm->hash_inline[i] = page[i];
    }
    vm->hash_page[0] = vm->hash_inline;
    page_put(vm, page);
}

/* The same for the first directory, whose first entries are in the arena. */
static bool
dir_leave(kva_vmem_t *vm)
{
    struct kva__hash_bucket **dir = page_get(vm);

    if (dir == NULL) {
        return false;
    }
    for (unsigned i = 0; i < KVA__HASH_PAGES; i++) {
        dir[i] = vm->hash_page[i];
    }
    vm->hash_dir[0] = dir;
    return true;
}

static void
dir_return(kva_vmem_t *vm)
{
    struct kva__hash_bucket **dir = vm->hash_dir[0];

    for (unsigned i = 0; i < KVA__HASH_PAGES; i++) {
        vm->hash_page[i] = dir[i];
    }
    vm->hash_dir[0] = vm->hash_page;
    page_put(vm, dir);
}

/* A directory for page p. */
static bool
dir_ensure(kva_vmem_t *vm, unsigned p)
{
    unsigned d = p >> HASH_DIR_SHIFT;

    if (p == KVA__HASH_PAGES && vm->hash_dir[0] == vm->hash_page) {
        return dir_leave(vm);
    }
    if (vm->hash_dir[d] == NULL) {
        vm->hash_dir[d] = page_get(vm);
    }
    return vm->hash_dir[d] != NULL;
}

/* The directory of page p if no page is left in it. */
static void
dir_release(kva_vmem_t *vm, unsigned p)
{
    unsigned d = p >> HASH_DIR_SHIFT;

    if (p == KVA__HASH_PAGES && vm->hash_dir[0] != vm->hash_page) {
        dir_return(vm);
    } else if (d > 0 && (p & HASH_DIR_MASK) == 0) {
        page_put(vm, vm->hash_dir[d]);
        vm->hash_dir[d] = NULL;
    }
}

/* Memory for bucket b, one past the last; false if there is none. */
static bool
bucket_ensure(kva_vmem_t *vm, unsigned b)
{
    unsigned p = b >> HASH_PAGE_SHIFT;
    struct kva__hash_bucket **entry;

    if (p == 0 && vm->hash_page[0] == vm->hash_inline) {
        return inline_leave(vm);
    }
    if ((b & HASH_PAGE_MASK) != 0) {
        return true;
    }
    if (!dir_ensure(vm, p)) {
        return false;
    }
    entry = &vm->hash_dir[p >> HASH_DIR_SHIFT][p & HASH_DIR_MASK];
    if (*entry == NULL) {
        *entry = page_get(vm);
    }
    if (*entry == NULL) {
        dir_release(vm, p);
        return false;
    }
    return true;
}

/* The last bucket has gone; its page too if it was the page's first. */
static void
bucket_release(kva_vmem_t *vm, unsigned b)
{
    unsigned p = b >> HASH_PAGE_SHIFT;
    struct kva__hash_bucket **entry;

    if (b == KVA__HASH_INLINE && vm->hash_page[0] != vm->hash_inline) {
        inline_return(vm);
    } else if (p > 0 && (b & HASH_PAGE_MASK) == 0) {
        entry = &vm->hash_dir[p >> HASH_DIR_SHIFT][p & HASH_DIR_MASK];
        page_put(vm, *entry);
        *entry = NULL;
        dir_release(vm, p);
    }
}

/* ---- growing and shrinking -------------------------------------------- */

/* What was in a bucket. */
struct content {
    struct kva_vmem_btag *own[KVA__HASH_SLOTS - 1]; /* in slots, or NULL */
    struct kva_vmem_btag *chain;
};

static void
bucket_take(struct kva__hash_bucket *bucket, struct content *content)
{
    kva__hash_slot_t *slot = bucket->slot;

    for (unsigned i = 0; i < KVA__HASH_SLOTS - 1; i++, slot++) {
        content->own[i] = *slot == 0 ? NULL : bt_at(hash_slot_ref(*slot));
        *slot = 0;
    }
    content->chain = *slot == 0 ? NULL : bt_at(hash_slot_ref(*slot));
    *slot = 0;
}

/* A tag to where it belongs now; a free one for which there is no slot is let
 * go. */
static void
put(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    uint32_t h = hash_of(vm, bt->start);
    struct kva__hash_bucket *bucket = hash_bucket(vm, hash_number(vm, h));
    kva__hash_slot_t *slot = hash_slot_for(bucket);

    if (hash_slot_is_chain(bucket, slot)) {
        if (bt_is_free(bt)) {
            bt_set_state(bt, BT_FREE);
            vm->hash_count--;
            return;
        }
        bt->u.chain = *slot == 0 ? NULL : bt_at(hash_slot_ref(*slot));
    }
    *slot = hash_slot(bt_ref(bt), hash_print(h));
}

static void
put_all(kva_vmem_t *vm, const struct content *content)
{
    struct kva_vmem_btag *bt = content->chain, *next;

    for (unsigned i = 0; i < KVA__HASH_SLOTS - 1; i++) {
        if (content->own[i] != NULL) {
            put(vm, content->own[i]);
        }
    }
    for (; bt != NULL; bt = next) {
        next = bt->u.chain;
        put(vm, bt);
    }
}

/* One more bucket: it takes half of the one that stands hash_mask + 1 below. */
void
kva__hash_grow(kva_vmem_t *vm)
{
    unsigned high = vm->hash_buckets;
    struct content content;

    if (!bucket_ensure(vm, high)) {
        return;
    }
    bucket_take(hash_bucket(vm, high & vm->hash_mask), &content);
    if (++vm->hash_buckets == (vm->hash_mask << 1) + 2) {
        vm->hash_mask = vm->hash_mask << 1 | 1;
    }
    thresholds_set(vm);
    put_all(vm, &content);
}

/* One bucket less: it joins its other half. */
void
kva__hash_shrink(kva_vmem_t *vm)
{
    unsigned high = vm->hash_buckets - 1;
    struct content content;

    bucket_take(hash_bucket(vm, high), &content);
    if (high <= vm->hash_mask) { /* back to the round before */
        vm->hash_mask >>= 1;
    }
    vm->hash_buckets = high;
    put_all(vm, &content);
    bucket_release(vm, high);
    thresholds_set(vm);
}

/* Whether page p is where it should be; p is at most one past the last. */
static bool
page_is_there(const kva_vmem_t *vm, unsigned p, unsigned pages)
{
    unsigned d = p >> HASH_DIR_SHIFT;

    if (pages <= KVA__HASH_PAGES && p >= KVA__HASH_PAGES) {
        return false; /* the first directory is in the arena, and shorter */
    }
    return d < KVA__HASH_DIRS && vm->hash_dir[d] != NULL &&
           vm->hash_dir[d][p & HASH_DIR_MASK] != NULL;
}

static const char *
pages_check(const kva_vmem_t *vm)
{
    unsigned pages = (vm->hash_buckets + HASH_PAGE_MASK) >> HASH_PAGE_SHIFT;

    if (vm->hash_dir[0] == NULL ||
        (vm->hash_dir[0] == vm->hash_page) != (pages <= KVA__HASH_PAGES) ||
        (vm->hash_dir[0][0] == vm->hash_inline) !=
            (vm->hash_buckets == KVA__HASH_INLINE)) {
        return "H2: the first buckets are in the arena, more in a page";
    }
    for (unsigned p = 0; p <= pages; p++) {
        if (page_is_there(vm, p, pages) != (p < pages)) {
            return "H2: the hash has the pages that its buckets need";
        }
    }
    return NULL;
}

const char *
kva__hash_check(const kva_vmem_t *vm)
{
    unsigned round = vm->hash_mask + 1;

    if (!kva_is_pow2(round) || vm->hash_buckets < round ||
        vm->hash_buckets - round >= round ||
        vm->hash_buckets < KVA__HASH_INLINE || vm->hash_buckets > BUCKETS_MAX) {
        return "H1: buckets and mask of the hash go together";
    }
    if (vm->hash_grow_at != grow_at(vm) ||
        vm->hash_shrink_at != shrink_at(vm)) {
        return "H1: the hash grows and shrinks when it should";
    }
    return pages_check(vm);
}

/* The table is empty: pages back. */
void
kva__hash_fini(kva_vmem_t *vm)
{
    while (vm->hash_buckets > KVA__HASH_INLINE) {
        kva__hash_shrink(vm);
    }
    vm->hash_stock = NULL; /* the caller's */
}

/* ---- looking up and leaving -------------------------------------------- */

struct kva_vmem_btag *
kva__hash_find(kva_vmem_t *vm, uintptr_t start, bool *own)
{
    kva__hash_slot_t *slot;
    struct kva_vmem_btag *bt = hash_find_slot(vm, start, &slot);

    vm->stat.lookup++;
    *own = bt != NULL;
    return bt != NULL ? bt : kva__hash_find_chained(vm, start, &slot);
}

struct kva_vmem_btag *
kva__hash_find_chained(kva_vmem_t *vm, uintptr_t start, kva__hash_slot_t **head)
{
    struct kva__hash_bucket *bucket =
        hash_bucket(vm, hash_number(vm, hash_of(vm, start)));
    struct kva_vmem_btag *bt = NULL;

    *head = &bucket->slot[KVA__HASH_SLOTS - 1];
    if (**head != 0) {
        bt = bt_at(hash_slot_ref(**head));
        while (bt != NULL && bt->start != start) {
            bt = bt->u.chain;
        }
    }
    return bt;
}

/* Out of the chain. */
static kva__btag_ref_t
chain_leave(kva_vmem_t *vm, kva__hash_slot_t *head, struct kva_vmem_btag *bt)
{
    struct kva_vmem_btag *next = bt->u.chain;
    kva__btag_ref_t ref = hash_slot_ref(*head);
    struct kva_vmem_btag *pos = bt_at(ref);

    if (pos != bt) {
        while (pos->u.chain != bt) {
            pos = pos->u.chain;
        }
        pos->u.chain = next;
        return bt_ref(bt);
    }
    *head = next == NULL
                ? 0
                : hash_slot(bt_ref(next), hash_print(hash_of(vm, next->start)));
    return ref;
}

kva__btag_ref_t
kva__hash_leave_chain(kva_vmem_t *vm, kva__hash_slot_t *head,
                      struct kva_vmem_btag *bt)
{
    kva__btag_ref_t ref = chain_leave(vm, head, bt);

    if (--vm->hash_count < vm->hash_shrink_at) {
        kva__hash_shrink(vm);
    }
    return ref;
}

void
kva__hash_leave(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    uint32_t h = hash_of(vm, bt->start);
    struct kva__hash_bucket *bucket = hash_bucket(vm, hash_number(vm, h));
    kva__hash_slot_t mine = hash_slot(bt_ref(bt), hash_print(h));
    kva__hash_slot_t *slot = bucket->slot;

    while (!hash_slot_is_chain(bucket, slot) && *slot != mine) {
        slot++;
    }
    if (hash_slot_is_chain(bucket, slot)) {
        (void)chain_leave(vm, slot, bt);
    } else {
        *slot = 0;
    }
    if (--vm->hash_count < vm->hash_shrink_at) {
        kva__hash_shrink(vm);
    }
}

size_t
kva__hash_bytes(const kva_vmem_t *vm)
{
    unsigned pages = (vm->hash_buckets + HASH_PAGE_MASK) >> HASH_PAGE_SHIFT;
    size_t n = vm->hash_page[0] == vm->hash_inline ? 0 : pages;

    for (unsigned d = 0; d < KVA__HASH_DIRS; d++) {
        n += vm->hash_dir[d] != NULL && vm->hash_dir[d] != vm->hash_page;
    }
    return n << KVA_PAGE_SHIFT;
}
