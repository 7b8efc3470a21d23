/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hash of segments by their first address: lookup, insertion and removal;
 * hash.c has the theory and lets the table grow and shrink.
 *
 *     bucket, 32 bytes:  | ref fp | ref fp | ...  | ref fp | -> tag -> tag
 *                           0        1        6      7, head of a chain
 *
 * A slot holds the reference of a tag and, below it, a fingerprint: some bits
 * of the hash that do not choose the bucket.  A tag is looked at only if those
 * agree, so that a lookup touches the line of its bucket and that of its tag.
 * The last slot heads a chain through the tags for what does not fit.
 *
 * Every busy segment is in it.  One that becomes free stays in its slot, since
 * the next request for its size will want it back there; what is in a chain
 * leaves, as a free tag needs its links for its class.
 */
#ifndef KVA_VMEM_HASH_H
#define KVA_VMEM_HASH_H

#include "vmem/vmem_impl.h"

#define HASH_BUCKET_SHIFT 5u /* 32 bytes */
#define HASH_PAGE_SHIFT (KVA_PAGE_SHIFT - HASH_BUCKET_SHIFT)
#define HASH_PAGE_MASK ((1u << HASH_PAGE_SHIFT) - 1u)
#define HASH_DIR_SHIFT (KVA_PAGE_SHIFT - (KVA_WORD_64 ? 3u : 2u))
#define HASH_DIR_MASK ((1u << HASH_DIR_SHIFT) - 1u)

#if KVA_WORD_64
#define HASH_PRINT_MASK ((kva__hash_slot_t)0xff)
#else
#define HASH_PRINT_MASK ((kva__hash_slot_t)KVA__BTAG_ALIGN - 1)
#endif

/* Fibonacci hashing: Knuth, TAOCP 3, 6.4; the upper half of the product. */
static inline uint32_t
hash_of(const kva_vmem_t *vm, uintptr_t start)
{
#if KVA_WORD_64
    return (uint32_t)(((start >> vm->quantum_shift) * 0x9e3779b97f4a7c15u) >>
                      32);
#else
    uint32_t h = (uint32_t)(start >> vm->quantum_shift) * 0x9e3779b1u;

    return h ^ h >> 16;
#endif
}

/*
 * The low bits of the hash are the fingerprint, never 0, as an empty slot's is;
 * those above choose the bucket: they are the better mixed, and enough for the
 * four million buckets that there may be.
 */
static inline kva__hash_slot_t
hash_print(uint32_t h)
{
    return (h | 1) & HASH_PRINT_MASK;
}

static inline unsigned
hash_number(const kva_vmem_t *vm, uint32_t h)
{
    unsigned b = (h >> 8) & (vm->hash_mask << 1 | 1);

    return b < vm->hash_buckets ? b : b & vm->hash_mask;
}

static inline struct kva__hash_bucket *
hash_bucket(const kva_vmem_t *vm, unsigned b)
{
    unsigned p = b >> HASH_PAGE_SHIFT;

    return &vm->hash_dir[p >> HASH_DIR_SHIFT][p & HASH_DIR_MASK]
                        [b & HASH_PAGE_MASK];
}

static inline kva__hash_slot_t
hash_slot(kva__btag_ref_t ref, kva__hash_slot_t print)
{
#if KVA_WORD_64
    return ref << 8 | print;
#else
    return (uintptr_t)ref | print;
#endif
}

static inline kva__btag_ref_t
hash_slot_ref(kva__hash_slot_t slot)
{
#if KVA_WORD_64
    return slot >> 8;
#else
    return (kva__btag_ref_t)(slot & ~HASH_PRINT_MASK);
#endif
}

static inline bool
hash_slot_has(kva__hash_slot_t slot, kva__hash_slot_t print)
{
#if KVA_WORD_64
    return (uint8_t)slot == (uint8_t)print; /* the mask, said so */
#else
    return (slot & HASH_PRINT_MASK) == print;
#endif
}

/* The tag in a slot, if its fingerprint and its address are these; or NULL. */
static inline struct kva_vmem_btag *
hash_slot_match(kva__hash_slot_t slot, kva__hash_slot_t print, uintptr_t start)
{
    struct kva_vmem_btag *bt;

    if (!hash_slot_has(slot, print)) {
        return NULL;
    }
    bt = bt_at(hash_slot_ref(slot));
    return KVA_LIKELY(bt->start == start) ? bt : NULL;
}

/* The segment that starts at start and the slot of its own that it is in; NULL:
 * it is in none. */
static inline struct kva_vmem_btag *
hash_find_slot(kva_vmem_t *vm, uintptr_t start, kva__hash_slot_t **slot)
{
    uint32_t h = hash_of(vm, start);
    kva__hash_slot_t print = hash_print(h);
    struct kva__hash_bucket *bucket = hash_bucket(vm, hash_number(vm, h));

/* Half of a look-up otherwise. */
#pragma GCC unroll 8
    for (unsigned i = 0; i < KVA__HASH_SLOTS - 1; i++) {
        struct kva_vmem_btag *bt =
            hash_slot_match(bucket->slot[i], print, start);

        if (bt != NULL) {
            *slot = &bucket->slot[i];
            return bt;
        }
    }
    return NULL;
}

/* A free slot of a bucket, or the head of its chain. */
static inline kva__hash_slot_t *
hash_slot_for(struct kva__hash_bucket *bucket)
{
#pragma GCC unroll 8
    for (unsigned i = 0; i < KVA__HASH_SLOTS - 1; i++) {
        if (bucket->slot[i] == 0) {
            return &bucket->slot[i];
        }
    }
    return &bucket->slot[KVA__HASH_SLOTS - 1];
}

/* What is in a slot of its own leaves it. */
static inline void
hash_leave_slot(kva_vmem_t *vm, kva__hash_slot_t *slot)
{
    *slot = 0;
    if (KVA_UNLIKELY(--vm->hash_count < vm->hash_shrink_at)) {
        kva__hash_shrink(vm);
    }
}

static inline bool
hash_slot_is_chain(const struct kva__hash_bucket *bucket,
                   const kva__hash_slot_t *slot)
{
    return slot == &bucket->slot[KVA__HASH_SLOTS - 1];
}

/* A segment that is not in it becomes busy. */
static inline void
hash_enter(kva_vmem_t *vm, struct kva_vmem_btag *bt, kva__btag_ref_t ref)
{
    uint32_t h = hash_of(vm, bt->start);
    struct kva__hash_bucket *bucket;
    kva__hash_slot_t *slot;

    if (KVA_UNLIKELY(++vm->hash_count > vm->hash_grow_at)) {
        kva__hash_grow(vm);
    }
    bucket = hash_bucket(vm, hash_number(vm, h));
    slot = hash_slot_for(bucket);
    if (KVA_UNLIKELY(hash_slot_is_chain(bucket, slot))) {
        bt->u.chain = *slot == 0 ? NULL : bt_at(hash_slot_ref(*slot));
    }
    *slot = hash_slot(ref, hash_print(h));
}

#endif
