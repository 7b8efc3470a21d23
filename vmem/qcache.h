/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hit paths of the quantum caches, inline in vmem_alloc and vmem_free; the
 * theory is at the head of qcache.c.
 *
 *      vm -> gate -> row of the CPU -> at, loaded of the size -> magazine
 *              |
 *              +---> leaf of 256 quanta -> state byte
 *
 * What a free needs to know follows from the state byte: it is the length of a
 * live run, and so the number of its magazine's words in the row; the gate says
 * how many bytes that is.  A byte that is not a live one has a length of 0
 * bytes there, and words in the row that always miss.  A round is the address
 * of the state byte and that of the run, so that a get need not look for the
 * byte.
 */
#ifndef KVA_VMEM_QCACHE_H
#define KVA_VMEM_QCACHE_H

#include "vmem/vmem_impl.h"
#include "vmem/window.h"

/* Windows below a middle page, and middle pages below the root. */
#define MID_SHIFT (KVA_PAGE_SHIFT - (KVA_WORD_64 ? 3u : 2u))
#define MID_ENTRIES (1u << MID_SHIFT)
#define ROOT_SHIFT 7u
#define ROOT_ENTRIES (1u << ROOT_SHIFT)
/* Quanta that can be tracked, from the origin on. */
#define REACH (1ul << (MID_SHIFT + ROOT_SHIFT + WINDOW_SHIFT))

/*
 * hot_origin until there is one.  A free may see the first limit and not yet
 * the origin that belongs to it: no page begins so far from this one that it
 * could be below a limit.
 */
#define KVA__NO_ORIGIN ((uintptr_t)1)

/* The magazines of one size. */
struct qsize {
    struct kva__magcache mc;
    kva_vmem_t *vm;
    unsigned n; /* quanta */
};

struct kva__qcache {
    kva_lock_t lock;
    kva_vmem_t *vm;
    enum kva_ipl ipl;
    size_t max;            /* (c) qcache_max, for the checker */
    unsigned ncpu;         /* set once: rows of the gate */
    unsigned nwindows;     /* (q) */
    uintptr_t origin;      /* fixed with the first span */
    uintptr_t gate_origin; /* set once, with the first window */
    uintptr_t gate_above;  /* set once: by so much above origin */
    uintptr_t gate_limit;  /* set once: quanta, 0: no window yet */
    size_t held;           /* (q) quanta of all pieces */
    size_t nfree;          /* (q) of them in no run */
    size_t given;          /* (q) bytes ever given to the arena */
    unsigned hold;         /* (q) drains by which free pieces are kept */
    bool splitting;        /* (q) a piece, by split.c */
    struct window *list[WINDOW_ORDERS][WINDOW_FILLS]; /* (q) */
    uint32_t list_map[WINDOW_ORDERS];   /* (q) those that are not empty */
    struct qsize *size[RUN_MAX];        /* set once each */
    struct window **root[ROOT_ENTRIES]; /* set once each; see above */
};

/* The window of addr, or NULL. */
struct window *kva__qcache_window(const struct kva__qcache *qc, uintptr_t addr);

/*
 * All windows, one after the other: *at is 0 at first.  NULL: that was all.  No
 * lock; what came after the begin may be left out.
 */
struct window *kva__qcache_next(const struct kva__qcache *qc, size_t *at);
/* The window's free quanta changed, or whether it is shut: to the list where it
 * belongs.  Locked. */
void kva__qcache_relist(struct kva__qcache *qc, struct window *w);

/* What a drain is to do, and what it began with. */
struct kva__qdrain {
    size_t bytes, retain;
    size_t given; /* before it began */
};

/* Bytes it may still give; 0: it is done.  Locked. */
size_t
kva__qdrain_left(const struct kva__qcache *qc, const struct kva__qdrain *d);
/* Free runs within pieces, the longest first (split.c).  No lock held. */
void kva__qcache_split(struct kva__qcache *qc, const struct kva__qdrain *d);

/* The free run that quantum at of the window lies in, if the piece can be cut:
 * somebody else has more use for it.  No lock held. */
void
kva__qcache_split_at(struct kva__qcache *qc, struct window *w, unsigned at);

/* Words of a row: counters, magazines, spares, what is held, each by size. */
#define ROW_WIDTH RUN_CODES
#define ROW_WORDS (2u * ROW_WIDTH + 2u * RUN_MAX)

/*
 * Quanta of a leaf, whose number so is the second byte of an offset; and how
 * many leaves a gate has: what is left of a metadata block, 60 MiB to 256 MiB
 * of 4 KiB pages.  What lies beyond is looked up the long way.
 */
#define LEAF_SHIFT 8u
#define GATE_ROOM                                             \
    ((4096u - (KVA_CACHE_LINE < 64 ? 64u : KVA_CACHE_LINE)) / \
         (unsigned)sizeof(uintptr_t) -                        \
     (KVA_CPU_MAX + 1u) - RUN_CODES - (1u + 2u * ROW_WIDTH))
#define GATE_LEAVES (GATE_ROOM < 256u ? GATE_ROOM & ~1u : 256u)
#define GATE_QUANTA ((uintptr_t)GATE_LEAVES << LEAF_SHIFT)

/* A gate begins with nobody's row, so that this is always at hand. */
struct kva__gate {
    uintptr_t nobodys[2u * ROW_WIDTH];
    size_t size[RUN_CODES];          /* (c) bytes of a run, by state byte */
    uintptr_t leaf[GATE_LEAVES];     /* set once each: see leaf_at */
    uintptr_t *row[KVA_CPU_MAX + 1]; /* (c) */
};

struct gate_block {
    uintptr_t open; /* of nobody's row */
    struct kva__gate gate;
};

_Static_assert(GATE_LEAVES >= 64u, "a gate reaches far enough to be worth it");

#define ONCE(word) KVA__ONCE(word)

static inline uintptr_t
rotate_right(uintptr_t x, unsigned shift)
{
    return x >> shift | x << ((KVA__WORD_BITS - shift) & (KVA__WORD_BITS - 1));
}

static inline uintptr_t
rotate_left(uintptr_t x, unsigned shift)
{
    return x << shift | x >> ((KVA__WORD_BITS - shift) & (KVA__WORD_BITS - 1));
}

/*
 * The state byte of quantum q, counted from the gate's origin: a leaf is the
 * address of its bytes less the number of its first quantum.
 */
static inline uint8_t *
leaf_at(const struct kva__gate *gate, uintptr_t q)
{
    return (uint8_t *)(ONCE(gate->leaf[(q >> LEAF_SHIFT) & 0xff]) + q);
}

#if KVA_RUN_MARKS
/* The same as kva__vmem_marked if addr lies in the first quantum of the run, and
 * the gate of vm, whose quantum is a page, sees it; else false. */
static inline bool
qcache_marked_first(const kva_vmem_t *vm, uintptr_t addr, uintptr_t *base)
{
    const uint8_t *state;
    uintptr_t q;

    *base = addr & ~(uintptr_t)KVA_PAGE_MASK;
    q = rotate_right(*base - ONCE(vm->hot_origin), KVA_PAGE_SHIFT);
    if (KVA_UNLIKELY(q >= ONCE(vm->hot_limit))) {
        return false;
    }
    state = leaf_at(ONCE(vm->gate), q);
    q &= WINDOW_QUANTA - 1u;
    return window_is_marked(
        (const struct window *)(const void *)(state - q -
                                              offsetof(struct window, state)),
        (unsigned)q);
}
#endif

/*
 * A run of *quanta from the caller's magazine: 1 to RUN_MAX, or 0, which
 * misses. The state byte is set.  *quanta stays what it is.
 */
static inline bool
gate_get(struct kva__gate *gate, size_t *quanta, uintptr_t *addr)
{
    unsigned cpu = kva_cpu_enter_hit();
    struct kva__mag_hit hit = { .row = gate->row[cpu + 1u], .at = *quanta };
    struct kva__magazine *mag;
    uint8_t *state;
    uintptr_t got;

    mag = kva__mag_enter(&hit, gate->nobodys, ROW_WIDTH * KVA__MAG_WORD);
    *quanta = hit.at;
    if (KVA_UNLIKELY(__builtin_sub_overflow(hit.pos, mag->step, &hit.pos))) {
        KVA__OPAQUE(hit.pos);
        KVA__OPAQUE(mag);
        hit.pos += mag->step;
        kva__mag_leave(&hit);
        kva_cpu_exit(cpu);
        return false;
    }
    state = (uint8_t *)*kva__mag_round(mag, hit.pos);
    KVA__OPAQUE(mag);
    got = *kva__mag_round(mag, hit.pos + KVA__MAG_WORD);
    kva__mag_leave(&hit);
    kva_cpu_exit(cpu);
    if (KVA_CONFIG_CHECKS) {
        __atomic_store_n(state, (uint8_t)hit.at, __ATOMIC_RELAXED);
    }
    *addr = got;
    return true;
}

/*
 * A run into the caller's magazine: n is what its state byte said, and is put
 * in it again if there is no room.
 */
static inline bool
gate_put(struct kva__gate *gate, size_t n, uint8_t *state, uintptr_t addr)
{
    unsigned cpu = kva_cpu_enter_hit();
    struct kva__mag_hit hit = { .row = gate->row[cpu + 1u], .at = n };
    struct kva__magazine *mag;

    mag = kva__mag_enter(&hit, gate->nobodys, ROW_WIDTH * KVA__MAG_WORD);
    if (KVA_UNLIKELY(*kva__mag_round(mag, hit.pos) == KVA__MAG_END)) {
        kva__mag_leave(&hit);
        kva_cpu_exit(cpu);
        return false;
    }
    hit.pos += 2u * KVA__MAG_WORD;
    KVA__OPAQUE(hit.pos);
    if (KVA_CONFIG_CHECKS) {
        __atomic_store_n(state, (uint8_t)RUN_CACHED, __ATOMIC_RELAXED);
        *kva__mag_round(mag, hit.pos - 2u * KVA__MAG_WORD) = (uintptr_t)state;
        KVA__OPAQUE(mag);
    }
    *kva__mag_round(mag, hit.pos - KVA__MAG_WORD) = addr;
    kva__mag_leave(&hit);
    kva_cpu_exit(cpu);
    return true;
}

/*
 * The hit paths for arenas whose quantum is a page: no shift count to be
 * loaded, and what is not whole pages rotates into a number that is too large.
 * An arena that is dead, has another quantum, or no gate yet has a hot_sizes
 * and a hot_limit of 0.  False: nothing done.
 */
static inline bool
qcache_hit_free(kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    struct kva__gate *gate;
    uint8_t *state = NULL;
    uintptr_t n;

    if (KVA_CONFIG_CHECKS) {
        uintptr_t q = rotate_right(addr - ONCE(vm->hot_origin), KVA_PAGE_SHIFT);

        KVA__RESULT(q);
        if (KVA_UNLIKELY(q >= ONCE(vm->hot_limit))) {
            return false;
        }
        gate = ONCE(vm->gate);
        KVA__ARGUMENT(2, addr);
        KVA__ARGUMENT(3, size);
        state = leaf_at(gate, q);
        n = __atomic_load_n(state, __ATOMIC_RELAXED);
        if (KVA_UNLIKELY(gate->size[n] != size)) {
            return false;
        }
    } else {
        n = rotate_right(size, KVA_PAGE_SHIFT);
        if (KVA_UNLIKELY(n >= ONCE(vm->hot_sizes))) {
            return false;
        }
        gate = ONCE(vm->gate);
    }
    return gate_put(gate, n, state, addr);
}

#endif
