/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Busy segments by their first address: linear hashing (Litwin, "Linear
 * Hashing", VLDB 1980), so that the table grows and shrinks by one bucket at a
 * time and no operation ever waits for a whole rehash.
 *
 *      bucket      0   1   2   3 | 4   5            hash_mask = 3
 *                  ^ split ^     |  their other halves
 *      address h:  b = h & 7, and if b >= hash_buckets, b = h & 3
 *
 * hash_buckets grows by one when there is more than one segment a bucket, and
 * shrinks when there is less than a half.  A bucket is a reference, a chain
 * runs through the tags.  The first buckets are in the arena; a page of more is
 * asked for when it is needed, and if there is none the chains grow instead: an
 * insertion cannot fail, and an arena with a caller's tags never asks.
 */
#include "vmem/vmem_impl.h"

#define PER_PAGE ((unsigned)(KVA_PAGE_SIZE / sizeof(kva__btag_ref_t)))
#define PAGE_SHIFT (KVA_PAGE_SHIFT - 2u) /* a reference is 4 bytes */
#define PER_DIR ((unsigned)(KVA_PAGE_SIZE / sizeof(void *)))
#define DIR_SHIFT (KVA_PAGE_SHIFT - (KVA_WORD_64 ? 3u : 2u))
#define BUCKETS_MAX \
    ((KVA__HASH_DIRECT + KVA__HASH_INDIRECT * PER_DIR) * PER_PAGE)

_Static_assert(sizeof(kva__btag_ref_t) == 4, "a reference is 4 bytes");

void
kva__hash_init(kva_vmem_t *vm)
{
    vm->hash_buckets = KVA__HASH_INLINE;
    vm->hash_mask = KVA__HASH_INLINE - 1;
    vm->hash_page[0] = vm->hash_inline;
}

/* Where the pointer to page p of the table is; NULL: no directory yet. */
static kva__btag_ref_t **
page_entry(const kva_vmem_t *vm, unsigned p)
{
    unsigned d;

    if (KVA_LIKELY(p < KVA__HASH_DIRECT)) {
        return (kva__btag_ref_t **)&vm->hash_page[p];
    }
    d = (p - KVA__HASH_DIRECT) >> DIR_SHIFT;
    if (vm->hash_dir[d] == NULL) {
        return NULL;
    }
    return &vm->hash_dir[d][(p - KVA__HASH_DIRECT) & (PER_DIR - 1)];
}

static kva__btag_ref_t *
bucket(const kva_vmem_t *vm, unsigned b)
{
    return &(*page_entry(vm, b >> PAGE_SHIFT))[b & (PER_PAGE - 1)];
}

/* Fibonacci hashing: Knuth, TAOCP 3, 6.4; the upper half of the product. */
static inline uint32_t
scramble(const kva_vmem_t *vm, uintptr_t start)
{
#if KVA_WORD_64
    return (uint32_t)(((start >> vm->quantum_shift) * 0x9e3779b97f4a7c15u) >>
                      32);
#else
    uint32_t h = (start >> vm->quantum_shift) * 0x9e3779b1u;

    return h ^ h >> 16;
#endif
}

unsigned
kva__hash_bucket(const kva_vmem_t *vm, uintptr_t start)
{
    uint32_t h = scramble(vm, start);
    unsigned b = h & (vm->hash_mask << 1 | 1);

    return b < vm->hash_buckets ? b : h & vm->hash_mask;
}

kva__btag_ref_t
kva__hash_head(const kva_vmem_t *vm, unsigned b)
{
    return *bucket(vm, b);
}

/*
 * A chain holds tags by pointer, its head by reference: the head costs a look
 * into the directory, the rest of the chain nothing.
 */
static struct kva_vmem_btag *
chain_first(kva__btag_ref_t head)
{
    return head == BT_NONE ? NULL : bt_at(head);
}

static kva__btag_ref_t
ref_or_none(struct kva_vmem_btag *bt)
{
    return bt == NULL ? BT_NONE : bt_ref(bt);
}

/* Memory for bucket b; false if there is none. */
static bool
bucket_ensure(kva_vmem_t *vm, unsigned b)
{
    unsigned p = b >> PAGE_SHIFT;
    bool new_dir = false;
    unsigned d = 0;
    kva__btag_ref_t **entry;

    if (p == 0 && vm->hash_page[0] == vm->hash_inline &&
        b >= KVA__HASH_INLINE) {
        kva__btag_ref_t *page = kva__meta_page_get(KVA_META_HASH);

        if (page == NULL) {
            return false;
        }
        for (unsigned i = 0; i < KVA__HASH_INLINE; i++) {
            page[i] = vm->hash_inline[i];
        }
        vm->hash_page[0] = page;
        return true;
    }
    entry = page_entry(vm, p);
    if (entry == NULL) {
        d = (p - KVA__HASH_DIRECT) >> DIR_SHIFT;
        vm->hash_dir[d] = kva__meta_page_get(KVA_META_HASH);
        if (vm->hash_dir[d] == NULL) {
            return false;
        }
        new_dir = true;
        entry = page_entry(vm, p);
    }
    if (*entry == NULL) {
        *entry = kva__meta_page_get(KVA_META_HASH);
    }
    if (*entry == NULL && new_dir) {
        kva__meta_page_put(vm->hash_dir[d], KVA_META_HASH);
        vm->hash_dir[d] = NULL;
        return false;
    }
    return *entry != NULL;
}

/* The last bucket has gone; its page too if it was the page's first. */
static void
bucket_release(kva_vmem_t *vm, unsigned b)
{
    unsigned p = b >> PAGE_SHIFT;
    kva__btag_ref_t **entry = page_entry(vm, p);

    if (b == KVA__HASH_INLINE && vm->hash_page[0] != vm->hash_inline) {
        for (unsigned i = 0; i < KVA__HASH_INLINE; i++) {
            vm->hash_inline[i] = vm->hash_page[0][i];
        }
        kva__meta_page_put(vm->hash_page[0], KVA_META_HASH);
        vm->hash_page[0] = vm->hash_inline;
        return;
    }
    if ((b & (PER_PAGE - 1)) != 0 || p == 0) {
        return;
    }
    kva__meta_page_put(*entry, KVA_META_HASH);
    *entry = NULL;
    if (p >= KVA__HASH_DIRECT &&
        ((p - KVA__HASH_DIRECT) & (PER_DIR - 1)) == 0) {
        unsigned d = (p - KVA__HASH_DIRECT) >> DIR_SHIFT;

        kva__meta_page_put(vm->hash_dir[d], KVA_META_HASH);
        vm->hash_dir[d] = NULL;
    }
}

/* One more bucket: it takes half of the one that stands hash_mask + 1 below. */
static void
grow(kva_vmem_t *vm)
{
    unsigned high = vm->hash_buckets;
    unsigned low = high & vm->hash_mask;
    struct kva_vmem_btag *bt, *next, *stay = NULL, *move = NULL;

    if (high >= BUCKETS_MAX || (vm->flags & VM_PRIVTAGS) != 0 ||
        !bucket_ensure(vm, high)) {
        return;
    }
    for (bt = chain_first(*bucket(vm, low)); bt != NULL; bt = next) {
        next = bt->u.chain;
        if ((scramble(vm, bt->start) & (vm->hash_mask << 1 | 1)) == high) {
            bt->u.chain = move;
            move = bt;
        } else {
            bt->u.chain = stay;
            stay = bt;
        }
    }
    *bucket(vm, low) = ref_or_none(stay);
    *bucket(vm, high) = ref_or_none(move);
    if (++vm->hash_buckets == (vm->hash_mask << 1) + 2) {
        vm->hash_mask = vm->hash_mask << 1 | 1;
    }
}

/* One bucket less: it joins its other half. */
static void
shrink(kva_vmem_t *vm)
{
    unsigned high = vm->hash_buckets - 1;
    unsigned low;
    struct kva_vmem_btag *bt, *first;

    if (high <= vm->hash_mask) { /* back to the round before */
        vm->hash_mask >>= 1;
    }
    low = high & vm->hash_mask;
    first = chain_first(*bucket(vm, high));
    if (first != NULL) {
        for (bt = first; bt->u.chain != NULL; bt = bt->u.chain) {
        }
        bt->u.chain = chain_first(*bucket(vm, low));
        *bucket(vm, low) = bt_ref(first);
    }
    *bucket(vm, high) = BT_NONE;
    vm->hash_buckets = high;
    bucket_release(vm, high);
}

void
kva__hash_insert(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    kva__btag_ref_t *head;

    if (++vm->hash_count > vm->hash_buckets) {
        grow(vm);
    }
    head = bucket(vm, kva__hash_bucket(vm, bt->start));
    bt->u.chain = chain_first(*head);
    *head = bt_ref(bt);
}

struct kva_vmem_btag *
kva__hash_find(kva_vmem_t *vm, uintptr_t start)
{
    struct kva_vmem_btag *bt;

    bt = chain_first(*bucket(vm, kva__hash_bucket(vm, start)));
    while (bt != NULL && bt->start != start) {
        bt = bt->u.chain;
    }
    vm->stat.lookup++;
    return bt;
}

void
kva__hash_remove(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    kva__btag_ref_t *head = bucket(vm, kva__hash_bucket(vm, bt->start));
    struct kva_vmem_btag *pos = bt_at(*head);

    if (pos == bt) {
        *head = ref_or_none(bt->u.chain);
    } else {
        while (pos->u.chain != bt) {
            pos = pos->u.chain;
        }
        pos->u.chain = bt->u.chain;
    }
    vm->hash_count--;
    /* Two at a time, so that the table keeps pace with one removal each. */
    for (unsigned i = 0; i < 2 && vm->hash_count < vm->hash_buckets / 2 &&
                         vm->hash_buckets > KVA__HASH_INLINE;
         i++) {
        shrink(vm);
    }
}

size_t
kva__hash_bytes(const kva_vmem_t *vm)
{
    unsigned pages = (vm->hash_buckets + PER_PAGE - 1) >> PAGE_SHIFT;
    size_t n = vm->hash_page[0] == vm->hash_inline ? 0 : pages;

    for (unsigned d = 0; d < KVA__HASH_INDIRECT; d++) {
        n += vm->hash_dir[d] != NULL;
    }
    return n << KVA_PAGE_SHIFT;
}

/* The table is empty: pages back. */
void
kva__hash_fini(kva_vmem_t *vm)
{
    while (vm->hash_buckets > KVA__HASH_INLINE) {
        shrink(vm);
    }
}
