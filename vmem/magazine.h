/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The magazine layer: per-CPU stacks of fixed-size things over a supplier.
 *
 *        CPU slot 0        CPU slot 1            depot (locked)
 *     +-------------+   +-------------+    full:  [M]->[M]->[M]
 *     | busy loaded |   | busy loaded |    empty: [ ]->[ ]
 *     |      spare  |   |      spare  |          |
 *     +-------------+   +-------------+       supplier: slabs, an arena
 *
 * It knows nothing of what the things are: quantum caches put it over an
 * arena, pool caches over slabs.  The idea is Bonwick and Adams, "Magazines
 * and Vmem", 2001; the owner/drainer protocol is ours.
 *
 * Owner (hit path): enter the CPU slot; if the slot is busy, an interrupt came
 * between, go the slow way; busy = 1; pop or push on the loaded magazine, whose
 * count lives in it; busy = 0; leave.  No lock, no atomic read-modify-write, no
 * interrupt masking.
 *
 * Drainer (any thread, no lock held): puts a sentinel in the place of the
 * loaded magazine, which is both empty and full (rounds 0, capacity 0), so that
 * every hit path misses; asks for an asymmetric barrier on all CPUs; waits for
 * busy = 0 for a bounded time; then the magazine is its own.  If the owner does
 * not get out in time the magazine is put back and the slot counts as skipped.
 *
 * Invariants
 *   M1  loaded is written by the owner with busy set and the depot lock held,
 *       or by the drainer with the depot lock held.
 *   M2  spare is read and written with the depot lock held only.
 *   M3  a magazine is in one place: loaded, spare, full list, empty list, or
 *       in the hands of a drainer.
 */
#ifndef KVA_VMEM_MAGAZINE_H
#define KVA_VMEM_MAGAZINE_H

#include "port/check.h"

/*
 * Slots come in blocks of up to a kilobyte, what a block of the metadata store
 * may have at the most: 16 slots, or fewer where cache lines are long.
 */
#define KVA__MAG_BLOCK_SHIFT \
    (KVA_CACHE_LINE <= 64 ? 4u : KVA_CACHE_LINE == 128 ? 3u : 2u)
#define KVA__MAG_BLOCKS \
    ((KVA_CPU_MAX + (1u << KVA__MAG_BLOCK_SHIFT) - 1u) >> KVA__MAG_BLOCK_SHIFT)

struct kva__magazine {
    unsigned rounds;            /* how many are in it */
    unsigned capacity;          /* how many it holds */
    struct kva__magazine *next; /* (d) in a depot list */
    uintptr_t round[];
};

struct kva__magslot {
    unsigned busy;                /* the owner is inside */
    unsigned draining;            /* (d) a drainer has put the sentinel up */
    struct kva__magazine *loaded; /* M1; never NULL */
    struct kva__magazine *spare;  /* (d) a second one, or NULL */
    struct kva__magazine *held;   /* (d) in the drainer's hands meanwhile */
} __attribute__((aligned(KVA_CACHE_LINE)));

/*
 * Where things come from and go to.  fill puts up to n things in round and
 * returns how many (0: none); the first may cost an import, the others only
 * what is at hand.  flags are those of the get.  drain takes n back and cannot
 * fail.  Both are called with no lock of this layer held.
 */
struct kva__mag_supplier {
    unsigned (*fill)(void *arg, uintptr_t *round, unsigned n, unsigned flags);
    void (*drain)(void *arg, uintptr_t *round, unsigned n);
};

/* (c) constant after init, (d) depot lock. */
struct kva__magcache {
    struct kva__magslot
        *slot[KVA__MAG_BLOCKS]; /* (c) blocks of 2^slot_shift slots */
    unsigned ncpu;              /* (c) slots in use, 0: no CPU layer */
    unsigned slot_shift;        /* (c) */
    const struct kva__mag_supplier *supplier; /* (c) */
    void *arg;                                /* (c) for the supplier */
    kva_lock_t lock;                          /* the depot's */
    struct kva__magazine *full;               /* (d) */
    struct kva__magazine *empty;              /* (d) */
    unsigned nfull, nempty;                   /* (d) */
    unsigned full_max;             /* (d) full magazines kept at most */
    unsigned capacity;             /* (d) of new magazines */
    unsigned nmags;                /* (d) in existence */
    size_t misses_get, misses_put; /* (d) slow-path entries */
};

/*
 * Make the layer.  capacity: rounds per magazine, up to KVA__MAG_ROUNDS_MAX; 0:
 * no magazines, every request goes to the supplier.
 * Magazines are made on the way of a get only, so a put never allocates.
 * full_max: how many full magazines the depot keeps; further ones go back to
 * the supplier.  Works without CPU slots when there is no memory for them: then
 * every request goes to the supplier.
 */
#define KVA__MAG_ROUNDS_MAX 126u
void kva__mag_bootstrap(void);
void kva__magcache_init(struct kva__magcache *mc, const char *name,
                        enum kva_ipl ipl, unsigned capacity, unsigned full_max,
                        const struct kva__mag_supplier *supplier, void *arg);

/* Everything back to the supplier, slots and magazines freed; nobody else may
 * use the cache any more. */
void kva__magcache_fini(struct kva__magcache *mc);

/*
 * The slow path of a get: true and *thing, or false if the supplier has none.
 * flags are handed to the supplier.
 */
bool
kva__mag_get_slow(struct kva__magcache *mc, unsigned flags, uintptr_t *thing);
void kva__mag_put_slow(struct kva__magcache *mc, uintptr_t thing);

/*
 * Give rounds back to the supplier until at most retain remain cached: depot
 * first, then every CPU slot.  Thread context, no lock held.  Returns how many
 * went back.
 */
size_t kva__magcache_drain(struct kva__magcache *mc, size_t retain);

/* All of it, with nobody else at the cache: needs no barrier. */
void kva__magcache_empty(struct kva__magcache *mc);

/* The depot and the caller's own slot: for who may not wait for other CPUs. */
size_t kva__magcache_drain_own(struct kva__magcache *mc);

/* Rounds cached now (a racy sum), and bytes of magazines and slots. */
size_t kva__magcache_rounds(struct kva__magcache *mc);
size_t kva__magcache_bytes(struct kva__magcache *mc);

/*
 * Somebody waits for memory of that tree of arenas: what is in its magazines
 * goes back, and nothing is put into them until as many openings came.
 */
struct kva_vmem;
void kva__mag_close(struct kva_vmem *root);
void kva__mag_open(struct kva_vmem *root);

/* CPU slots that caches made from now on will have; 0: no CPU layer. */
void kva__mag_set_ncpu(unsigned ncpu);
unsigned kva__mag_ncpu(void);

static inline struct kva__magslot *
kva__mag_slot(struct kva__magcache *mc, unsigned cpu)
{
    return &mc->slot[cpu >> mc->slot_shift]
                    [cpu & ((1u << mc->slot_shift) - 1u)];
}

/*
 * The hit paths.  The stores to busy stay where they are written; between CPUs
 * the drainer's barrier does the ordering.  rounds is stored atomically only
 * because kva__magcache_rounds may look at it meanwhile.
 */
static inline bool
kva__mag_get(struct kva__magcache *mc, uintptr_t *thing)
{
    unsigned cpu = kva_cpu_enter();
    struct kva__magslot *slot;
    struct kva__magazine *mag;
    bool hit = false;
    unsigned n;

    if (KVA_LIKELY(cpu < mc->ncpu)) {
        slot = kva__mag_slot(mc, cpu);
        if (KVA_LIKELY(__atomic_load_n(&slot->busy, __ATOMIC_RELAXED) == 0)) {
            __atomic_store_n(&slot->busy, 1, __ATOMIC_RELAXED);
            KVA_COMPILER_BARRIER();
            mag = __atomic_load_n(&slot->loaded, __ATOMIC_ACQUIRE);
            n = mag->rounds;
            if (KVA_LIKELY(n != 0)) {
                *thing = mag->round[n - 1];
                __atomic_store_n(&mag->rounds, n - 1, __ATOMIC_RELAXED);
                hit = true;
            }
            __atomic_store_n(&slot->busy, 0, __ATOMIC_RELEASE);
        }
    }
    kva_cpu_exit(cpu);
    return hit;
}

static inline bool
kva__mag_put(struct kva__magcache *mc, uintptr_t thing)
{
    unsigned cpu = kva_cpu_enter();
    struct kva__magslot *slot;
    struct kva__magazine *mag;
    bool hit = false;
    unsigned n;

    if (KVA_LIKELY(cpu < mc->ncpu)) {
        slot = kva__mag_slot(mc, cpu);
        if (KVA_LIKELY(__atomic_load_n(&slot->busy, __ATOMIC_RELAXED) == 0)) {
            __atomic_store_n(&slot->busy, 1, __ATOMIC_RELAXED);
            KVA_COMPILER_BARRIER();
            mag = __atomic_load_n(&slot->loaded, __ATOMIC_ACQUIRE);
            n = mag->rounds;
            if (KVA_LIKELY(n < mag->capacity)) {
                mag->round[n] = thing;
                __atomic_store_n(&mag->rounds, n + 1, __ATOMIC_RELAXED);
                hit = true;
            }
            __atomic_store_n(&slot->busy, 0, __ATOMIC_RELEASE);
        }
    }
    kva_cpu_exit(cpu);
    return hit;
}

#endif
