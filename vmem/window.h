/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Windows: 512 quanta of an arena, aligned to their size, of which the quantum
 * caches hold some, and the state byte of each quantum.
 *
 *      quantum   0   1   2   3   4   5   6   7   8 ...           511
 *      held      1   1   1   1   1   1   1   1   .   .   .   .   .
 *      piece     1   .   .   .   1   .   .   .        first quantum of a piece
 *      free      .   .   .   1   1   1   .   .
 *      state     1   2  in   F   F   F   C  in   F ...
 *
 * A PIECE is what was taken from the arena in one go, and goes back whole.  A
 * RUN of 1 to 32 quanta is what is handed out.  The state byte of a live run's
 * first quantum is its length, and nothing else has such a byte: one compare on
 * a free checks the address, the size, that the range is live, and that it came
 * from here.  The other quanta of a run say INSIDE, so the length of one that
 * is not live is found by looking on.
 *
 * A state byte is written without a lock by whoever owns the run.
 */
#ifndef KVA_VMEM_WINDOW_H
#define KVA_VMEM_WINDOW_H

#include "vmem/vmem_impl.h"

#define WINDOW_QUANTA 512u
#define WINDOW_SHIFT 9u
#define WINDOW_WORDS (WINDOW_QUANTA / KVA__WORD_BITS)

/* Longest run, in quanta; 1 to 32 as a state byte is a live one that long. */
#define RUN_MAX 32u

enum run_state {
    RUN_FREE = 0,    /* not in a run, or not held at all */
    RUN_INSIDE = 33, /* of a run, but not its first */
    RUN_CACHED = 34, /* first of a run in a magazine */
    RUN_CODES = 35
};

static inline bool
run_is_live(uint8_t state)
{
    return state - 1u < RUN_MAX;
}

/* What a run in the magazines says: without checks at each get and put nobody
 * tells it from a live one. */
static inline uint8_t
run_out(unsigned n)
{
    return (uint8_t)(KVA_CONFIG_CHECKS ? (unsigned)RUN_CACHED : n);
}

/* Orders of the largest aligned free block: 2^0 to 2^5 quanta; full windows
 * are on no list.  And how full: classes of free quanta, two to an octave. */
#define WINDOW_ORDERS 6u
#define WINDOW_FILLS 18u

static inline unsigned
window_fill(unsigned nfree)
{
    unsigned f = kva_fls(nfree);

    return f == 0 ? 0 : 2u * f - 1u + (nfree >> (f - 1u) & 1u);
}

struct window {
    struct window *next; /* (q) of the same order and fill */
    struct window *prev;
    uintptr_t base; /* (c) first address */
    unsigned nfree; /* (q) quanta held and in no run */
    unsigned nheld; /* (q) */
    int order;      /* (q) the list it is on; -1: none */
    unsigned fill;  /* (q) the same */
    bool shut;      /* (q) no run is taken from it (evacuate.c) */
    size_t use;     /* atomic; whoever has the runs counts in it */
    uintptr_t free[WINDOW_WORDS];  /* (q) */
    uintptr_t held[WINDOW_WORDS];  /* (q) */
    uintptr_t piece[WINDOW_WORDS]; /* (q) */
#if KVA_RUN_MARKS
    uintptr_t mark[WINDOW_WORDS]; /* (q) of live runs (mark.c) */
#endif
    uint8_t state[WINDOW_QUANTA]; /* owner of the run */
};

/* The owner's store; who walks the arena reads it meanwhile. */
static inline void
state_set(uint8_t *state, unsigned value)
{
    __atomic_store_n(state, (uint8_t)value, __ATOMIC_RELAXED);
}

static inline uint8_t
state_get(const uint8_t *state)
{
    return __atomic_load_n(state, __ATOMIC_RELAXED);
}

#if KVA_RUN_MARKS
static inline bool
window_is_marked(const struct window *w, unsigned at)
{
    uintptr_t word =
        __atomic_load_n(&w->mark[at / KVA__WORD_BITS], __ATOMIC_ACQUIRE);

    return (word >> at % KVA__WORD_BITS & 1u) != 0;
}
#endif

/* Lowest place for a run of n quanta, a run of 2^k aligned to its size; or
 * WINDOW_QUANTA if there is none. */
unsigned kva__window_find(const struct window *w, unsigned n);
/* Take it out of the free quanta; the state bytes are those of a magazine's. */
void kva__window_carve(struct window *w, unsigned at, unsigned n);
/* Make it free again. */
void kva__window_join(struct window *w, unsigned at, unsigned n);
/* A piece comes, all free; goes. */
void kva__window_piece_add(struct window *w, unsigned at, unsigned n);
void kva__window_piece_remove(struct window *w, unsigned at, unsigned n);
/* So many free quanta, of any number, look like runs in a magazine, until they
 * are joined again; or are cut out of the piece that holds them, and what is
 * beside them are pieces. */
void kva__window_reserve(struct window *w, unsigned at, unsigned n);
void kva__window_piece_cut(struct window *w, unsigned at, unsigned n);
/* The first free run at or behind at, within a piece: its length, or 0. */
unsigned kva__window_hole(const struct window *w, unsigned *at);
/* The piece that holds a quantum: its first, and *n; is it all free. */
unsigned kva__window_piece(const struct window *w, unsigned at, unsigned *n);
bool kva__window_is_free(const struct window *w, unsigned at, unsigned n);
/* The largest order for which there is an aligned free block; -1: none. */
int kva__window_order(const struct window *w);
/* Where the run that has the quantum starts, and its length. */
unsigned kva__window_run(const struct window *w, unsigned at, unsigned *n);
/* The first bit set at or behind at, or WINDOW_QUANTA. */
unsigned kva__window_next(const uintptr_t *bits, unsigned at);
/* NULL, or what does not hold. */
const char *kva__window_check(const struct window *w);

#endif
