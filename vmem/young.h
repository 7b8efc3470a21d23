/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Young holes of an arena with an index: those that it has not been told of.
 *
 * What a free leaves is mostly taken again soon, as it is: of ranges of 1 to 16
 * quanta, 10^5 of them live, eight in ten within the next 256 frees.  The index
 * would go down its levels for the free, carry the largest hole up, and do both
 * again for the request.  So a hole that is not too large is written down in a
 * table by where it starts, and nothing else:
 *
 *      quantum q it starts at       entry:  | q ........... | quanta, 6 bits |
 *      set = (q ^ q / 64) mod 64            0: none
 *
 *      set:  | youngest | . | . | oldest |
 *
 *  Y1  An entry is a hole of that start and size, of an exact class.  Its start
 *      is an entry of the index that is not marked as a hole.
 *  Y2  All other holes are marked.
 *
 * The index is told of the oldest of a set when the set is full, and when
 * anything is done with a hole but to take of it or to join it with what is
 * freed beside it.  Whoever looks for holes by address looks at the table too,
 * which is as large as a few nodes; tells the index of some; and has the next
 * frees go straight there.  So an arena in which all requests are constrained
 * has nothing here.
 *
 * Counted, for the same ranges: a request finds its hole gone from here 14
 * times in a hundred, 25 if a set has one entry and there are as many in all.
 */
#ifndef KVA_VMEM_YOUNG_H
#define KVA_VMEM_YOUNG_H

#include "vmem/index.h"
#include "vmem/vmem_impl.h"

#define YOUNG_SHIFT 6u
#define YOUNG_SETS (1u << YOUNG_SHIFT)
#define YOUNG_WAYS 4u

/* The sizes of exact classes, in quanta, take so many bits. */
#define YOUNG_SIZE_BITS 6u
#define YOUNG_SIZE_MASK (((uintptr_t)1 << YOUNG_SIZE_BITS) - 1)
_Static_assert(KVA__VMEM_EXACT <= YOUNG_SIZE_MASK, "a size fits in its bits");

/* What an entry has room for. */
#define YOUNG_LIMIT (~(uintptr_t)0 >> YOUNG_SIZE_BITS)

/* Frees that go straight to the index after a search by address. */
#define YOUNG_HOLD 64u
/* Holes that such a search tells the index of: what was left undone at as many
 * frees, and not counted as what it looks at, no more than at a free. */
#define YOUNG_TELL 16u

/* (a) all of it. */
struct kva__young {
    uintptr_t limit; /* quanta from there on are not written down; or 0 */
    unsigned hold;   /* so many frees until it is not 0 */
    bool used;       /* something may be in the table */
    uintptr_t set[YOUNG_SETS][YOUNG_WAYS];
};

/* That of n quanta from quantum q on. */
static inline uintptr_t
young_entry(uintptr_t q, size_t n)
{
    return q << YOUNG_SIZE_BITS | n;
}

/* The set of what starts at quantum q. */
static inline uintptr_t *
young_set(struct kva__young *young, uintptr_t q)
{
    return young->set[(q ^ q >> YOUNG_SHIFT) & (YOUNG_SETS - 1)];
}

static inline uintptr_t
young_start(const struct kva__index *ix, uintptr_t entry)
{
    return entry >> YOUNG_SIZE_BITS << ix->shift;
}

static inline size_t
young_size(const struct kva__index *ix, uintptr_t entry)
{
    return (entry & YOUNG_SIZE_MASK) << ix->shift;
}

/* A hole of n quanta came to be at quantum q, where an entry of the index
 * is. */
static inline void
young_enter(struct kva__young *young, struct kva__index *ix, uintptr_t q,
            size_t n)
{
    uintptr_t entry = young_entry(q, n), before, *set = young_set(young, q);

    young->used = true;
    for (unsigned i = 0; i < YOUNG_WAYS; i++) {
        before = set[i];
        set[i] = entry;
        if (before == 0) {
            return;
        }
        entry = before;
    }
    kva__index_come(ix, young_start(ix, entry), young_size(ix, entry));
}

/* May a hole of an exact class be young that starts at quantum q. */
static inline bool
young_takes(const struct kva__young *young, uintptr_t q)
{
    return q < young->limit;
}

/* A free of an exact class that was not written down. */
static inline void
young_missed(struct kva__young *young)
{
    if (young->hold != 0 && --young->hold == 0) {
        young->limit = YOUNG_LIMIT;
    }
}

/* The hole of n quanta at quantum q is not young any more; false: it was
 * not. */
static inline bool
young_take(struct kva__young *young, uintptr_t q, size_t n)
{
    uintptr_t entry = young_entry(q, n), *set = young_set(young, q);

    KVA_ASSERT(n <= KVA__VMEM_EXACT);
/* The youngest is asked for most. */
#pragma GCC unroll 4
    for (unsigned i = 0; i < YOUNG_WAYS; i++) {
        if (set[i] == entry && KVA_LIKELY(entry >> YOUNG_SIZE_BITS == q)) {
            set[i] = 0;
            return true;
        }
    }
    return false;
}

/* The same of what starts there, whatever its size. */
static inline bool
young_leave(struct kva__young *young, const struct kva__index *ix,
            uintptr_t start)
{
    uintptr_t q = start >> ix->shift, *set = young_set(young, q);

    for (unsigned i = 0; i < YOUNG_WAYS; i++) {
        if (set[i] >> YOUNG_SIZE_BITS == q && set[i] != 0) {
            set[i] = 0;
            return true;
        }
    }
    return false;
}

/* Have the index know of the hole, whose size that is. */
static inline void
young_settle(struct kva__young *young, struct kva__index *ix, uintptr_t start,
             size_t size)
{
    if (young_leave(young, ix, start)) {
        kva__index_come(ix, start, size);
    }
}

void kva__young_init(struct kva__young *young);
/*
 * A search by address begins: the entry of the lowest young hole of at least
 * size bytes that begins at or behind addr, or of the highest that begins at or
 * before it, or 0.
 */
uintptr_t kva__young_seek(struct kva__young *young, struct kva__index *ix,
                          uintptr_t addr, size_t size, bool up, size_t *visits);
/* Bytes of the largest; is a hole young; how many are. */
size_t
kva__young_max(const struct kva__young *young, const struct kva__index *ix);
bool kva__young_has(const struct kva__young *young, const struct kva__index *ix,
                    uintptr_t start, size_t size);
size_t kva__young_count(const struct kva__young *young);

#endif
