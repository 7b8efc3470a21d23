/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the magazine layer share: a slot's words, and how counters
 * and rounds go over into each other.
 */
#ifndef KVA_VMEM_MAGAZINE_IMPL_H
#define KVA_VMEM_MAGAZINE_IMPL_H

#include "vmem/magazine.h"
#include "vmem/meta.h"

/* Blocks of the stores for magazines. */
#define MAG_BYTES_MAX 1024u

/* In HELD: a drainer is at the slot, and will be back to end with it.  Alone: the
 * owner has handed in what was withheld, and may have loaded another one. */
#define HELD_TAKEN ((uintptr_t)1)

/* Both empty and full: every hit path misses.  Never written. */
extern struct kva__magazine *kva__mag_sentinel;

/* Who is in a slot the slow way. */
struct mag_entry {
    uintptr_t *row;
    uintptr_t *open; /* as in struct kva__mag_hit */
    size_t at;       /* what the counter will be on exit */
    unsigned cpu;
    kva_irq_t irq;
    bool in; /* it is the caller's, and the depot is locked */
};

/* Rows in use, which are whole from then on (the counterpart of this load is the
 * store that makes them more than 0).  A quantum cache has none before it is known
 * to be the only one of its size, and may be looked at then. */
static inline unsigned
slots_of(const struct kva__magcache *mc)
{
    return __atomic_load_n(&mc->ncpu, __ATOMIC_ACQUIRE);
}

static inline uintptr_t *
part(const struct kva__magcache *mc, uintptr_t *row, enum kva__mag_part p)
{
    return &row[mc->part[p]];
}

static inline size_t
at_now(const struct kva__magcache *mc, uintptr_t *row)
{
    return __atomic_load_n(part(mc, row, KVA__MAG_AT), __ATOMIC_RELAXED);
}

/* The counter when so many rounds are in, and back; a round has one word or
 * two. */
static inline size_t
at_of(const struct kva__magcache *mc, size_t rounds)
{
    return (rounds << (mc->words - 1u)) * KVA__MAG_WORD;
}

static inline size_t
rounds_of(const struct kva__magcache *mc, size_t at)
{
    return at / KVA__MAG_WORD >> (mc->words - 1u);
}

static inline struct kva__magazine *
loaded(const struct kva__magcache *mc, uintptr_t *row)
{
    return (struct kva__magazine *)*part(mc, row, KVA__MAG_LOADED);
}

/* It is read by the hit path without the lock. */
static inline void
loaded_set(const struct kva__magcache *mc, uintptr_t *row,
           struct kva__magazine *mag)
{
    __atomic_store_n(part(mc, row, KVA__MAG_LOADED), (uintptr_t)mag,
                     __ATOMIC_RELAXED);
}

static inline struct kva__magazine *
spare(const struct kva__magcache *mc, uintptr_t *row)
{
    return (struct kva__magazine *)*part(mc, row, KVA__MAG_SPARE);
}

static inline void
spare_set(const struct kva__magcache *mc, uintptr_t *row,
          struct kva__magazine *mag)
{
    *part(mc, row, KVA__MAG_SPARE) = (uintptr_t)mag;
}

/* ---- magazine.c -------------------------------------------------------- */

bool kva__mag_slot_enter(struct kva__magcache *mc, struct mag_entry *e);
void kva__mag_slot_exit(struct kva__magcache *mc, struct mag_entry *e);
/* With the slot entered: what is loaded, or withheld from the owner, comes out;
 * NULL if nothing is. */
struct kva__magazine *
kva__mag_unload(struct kva__magcache *mc, struct mag_entry *e);
struct kva__magazine *
kva__mag_held_take(struct kva__magcache *mc, struct mag_entry *e);

/* The depot, locked. */
void kva__mag_push(struct kva__magcache *mc, struct kva__magazine *mag);
struct kva__magazine *kva__mag_pop_full(struct kva__magcache *mc);
struct kva__magazine *kva__mag_pop_empty(struct kva__magcache *mc);
void kva__mag_free(struct kva__magcache *mc, struct kva__magazine *mag);
/* All of it was drained: it is as small as at first. */
void kva__mag_depot_reset(struct kva__magcache *mc);

/* Rounds back to the supplier.  No lock held. */
void kva__mag_give(struct kva__magcache *mc, uintptr_t *round, unsigned n);

/* ---- magazine_drain.c -------------------------------------------------- */

/*
 * Up to most rounds of a magazine, which nobody else has, to the supplier; what
 * is left goes to the depot, an empty magazine is freed.  All of them, if the
 * cache is closed.  No lock held.
 */
size_t kva__mag_empty(struct kva__magcache *mc, struct kva__magazine *mag,
                      size_t most);

#endif
