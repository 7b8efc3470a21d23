/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Windows: bit arithmetic over 512 quanta; window.h has the picture.
 *
 * Invariants, checked by kva__window_check:
 *   W1  free is within held, piece is within held
 *   W2  the first quantum held behind one not held starts a piece
 *   W3  a quantum's state is FREE exactly if it is free or not held
 *   W4  behind the first quantum of a run of n follow n - 1 INSIDE ones within
 *       the same piece, and no more
 *   W5  nfree and nheld are the numbers of bits
 */
#include "vmem/window.h"

#define BITS KVA__WORD_BITS

/* Every bit whose number is a multiple of 2^k, k up to 5. */
static const uintptr_t aligned_bits[WINDOW_ORDERS] = {
    ~(uintptr_t)0,
    ~(uintptr_t)0 / 3u,
    ~(uintptr_t)0 / 15u,
    ~(uintptr_t)0 / 255u,
    ~(uintptr_t)0 / 65535u,
#if KVA_WORD_64
    (uintptr_t)0x0000000100000001u
#else
    (uintptr_t)1
#endif
};

static bool
bit_get(const uintptr_t *bits, unsigned i)
{
    return (bits[i / BITS] >> (i % BITS) & 1) != 0;
}

/* The bits of [at, at + n) that lie in word w. */
static uintptr_t
word_mask(unsigned w, unsigned at, unsigned n)
{
    unsigned low = w * BITS, from, to;

    from = at > low ? at - low : 0;
    to = at + n < low + BITS ? at + n - low : BITS;
    return (~(uintptr_t)0 << from) & (~(uintptr_t)0 >> (BITS - to));
}

static void
bits_set(uintptr_t *bits, unsigned at, unsigned n)
{
    for (unsigned w = at / BITS; w * BITS < at + n; w++) {
        bits[w] |= word_mask(w, at, n);
    }
}

static void
bits_clear(uintptr_t *bits, unsigned at, unsigned n)
{
    for (unsigned w = at / BITS; w * BITS < at + n; w++) {
        bits[w] &= ~word_mask(w, at, n);
    }
}

unsigned
kva__window_next(const uintptr_t *bits, unsigned at)
{
    unsigned w = at / BITS;
    uintptr_t word;

    if (at >= WINDOW_QUANTA) {
        return WINDOW_QUANTA;
    }
    word = bits[w] & (~(uintptr_t)0 << (at % BITS));
    while (word == 0) {
        if (++w == WINDOW_WORDS) {
            return WINDOW_QUANTA;
        }
        word = bits[w];
    }
    return w * BITS + kva_ffs(word);
}

/*
 * Blocks of 2^(k + 1) quanta from those of 2^k: two that follow each other with
 * no piece starting at the second.
 */
static uintptr_t
pair_up(uintptr_t blocks, uintptr_t piece, unsigned k)
{
    return blocks & ((blocks & ~piece) >> (1u << k)) & aligned_bits[k + 1];
}

/* A power of two is found within a word: an aligned run never straddles. */
static unsigned
find_aligned(const struct window *w, unsigned order)
{
    for (unsigned i = 0; i < WINDOW_WORDS; i++) {
        uintptr_t word = w->free[i];

        for (unsigned k = 0; k < order; k++) {
            word = pair_up(word, w->piece[i], k);
        }
        if (word != 0) {
            return i * BITS + kva_ffs(word);
        }
    }
    return WINDOW_QUANTA;
}

unsigned
kva__window_find(const struct window *w, unsigned n)
{
    unsigned at = 0, end;

    if (kva_is_pow2(n)) {
        return find_aligned(w, kva_ffs(n));
    }
    while ((at = kva__window_next(w->free, at)) < WINDOW_QUANTA) {
        for (end = at + 1; end < at + n && end < WINDOW_QUANTA &&
                           bit_get(w->free, end) && !bit_get(w->piece, end);
             end++) {
        }
        if (end == at + n) {
            return at;
        }
        at = end;
    }
    return WINDOW_QUANTA;
}

void
kva__window_carve(struct window *w, unsigned at, unsigned n)
{
    bits_clear(w->free, at, n);
    w->nfree -= n;
    state_set(&w->state[at], run_out(n));
    for (unsigned i = 1; i < n; i++) {
        state_set(&w->state[at + i], RUN_INSIDE);
    }
}

void
kva__window_join(struct window *w, unsigned at, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        state_set(&w->state[at + i], RUN_FREE);
    }
    bits_set(w->free, at, n);
    w->nfree += n;
}

void
kva__window_piece_add(struct window *w, unsigned at, unsigned n)
{
    bits_set(w->held, at, n);
    bits_set(w->free, at, n);
    bits_set(w->piece, at, 1);
    w->nheld += n;
    w->nfree += n;
}

void
kva__window_piece_remove(struct window *w, unsigned at, unsigned n)
{
    bits_clear(w->held, at, n);
    bits_clear(w->free, at, n);
    bits_clear(w->piece, at, 1);
    w->nheld -= n;
    w->nfree -= n;
}

void
kva__window_reserve(struct window *w, unsigned at, unsigned n)
{
    bits_clear(w->free, at, n);
    w->nfree -= n;
    for (unsigned i = 0; i < n; i++) {
        state_set(&w->state[at + i],
                  i % RUN_MAX == 0 ? RUN_CACHED : RUN_INSIDE);
    }
}

void
kva__window_piece_cut(struct window *w, unsigned at, unsigned n)
{
    unsigned len, first = kva__window_piece(w, at, &len);

    KVA_ASSERT(n < len && at + n <= first + len);
    for (unsigned i = 0; i < n; i++) {
        state_set(&w->state[at + i], RUN_FREE);
    }
    bits_clear(w->held, at, n);
    bits_clear(w->piece, at, 1);
    w->nheld -= n;
    if (at + n < first + len) {
        bits_set(w->piece, at + n, 1);
    }
}

unsigned
kva__window_hole(const struct window *w, unsigned *at)
{
    unsigned first = kva__window_next(w->free, *at), end = first + 1;

    *at = first;
    if (first == WINDOW_QUANTA) {
        return 0;
    }
    while (end < WINDOW_QUANTA && bit_get(w->free, end) &&
           !bit_get(w->piece, end)) {
        end++;
    }
    return end - first;
}

unsigned
kva__window_piece(const struct window *w, unsigned at, unsigned *n)
{
    unsigned end = at + 1;

    while (!bit_get(w->piece, at)) {
        at--;
    }
    while (end < WINDOW_QUANTA && bit_get(w->held, end) &&
           !bit_get(w->piece, end)) {
        end++;
    }
    *n = end - at;
    return at;
}

bool
kva__window_is_free(const struct window *w, unsigned at, unsigned n)
{
    for (unsigned i = at / BITS; i * BITS < at + n; i++) {
        uintptr_t mask = word_mask(i, at, n);

        if ((w->free[i] & mask) != mask) {
            return false;
        }
    }
    return true;
}

int
kva__window_order(const struct window *w)
{
    int best = -1;

    for (unsigned i = 0; i < WINDOW_WORDS; i++) {
        uintptr_t word = w->free[i];
        int order = -1;

        while (word != 0) {
            if (++order + 1 == (int)WINDOW_ORDERS) {
                break;
            }
            word = pair_up(word, w->piece[i], (unsigned)order);
        }
        if (order > best) {
            best = order;
        }
    }
    return best;
}

/* Bytes of other runs may change meanwhile; what is found lies in the
 * window. */
unsigned
kva__window_run(const struct window *w, unsigned at, unsigned *n)
{
    unsigned end = at + 1;

    while (at > 0 && state_get(&w->state[at]) == RUN_INSIDE) {
        at--;
    }
    while (end < WINDOW_QUANTA && state_get(&w->state[end]) == RUN_INSIDE) {
        end++;
    }
    *n = end - at;
    return at;
}

/* ---- checking --------------------------------------------------------- */

/* Of the run's quanta only the first may be marked, and only if it is live. */
static bool
check_marks(const struct window *w, unsigned at, unsigned n)
{
#if KVA_RUN_MARKS
    for (unsigned i = 0; i < n; i++) {
        if (bit_get(w->mark, at + i) &&
            (i != 0 || !run_is_live(state_get(&w->state[at])))) {
            return false;
        }
    }
#else
    (void)w;
    (void)at;
    (void)n;
#endif
    return true;
}

static const char *
check_run(const struct window *w, unsigned at, unsigned n)
{
    uint8_t state = state_get(&w->state[at]); /* its owner may write it */

    for (unsigned i = 1; i < n; i++) {
        if (bit_get(w->piece, at + i)) {
            return "W4: a run is whole and within its piece";
        }
    }
    if (n > RUN_MAX || state >= RUN_CODES ||
        (run_is_live(state) && state != n)) {
        return "W4: a run is as long as it says";
    }
    if (!check_marks(w, at, n)) {
        return "W6: what is marked is the first of a live run";
    }
    return NULL;
}

/* One quantum, by its bits. */
static const char *
check_quantum(const struct window *w, unsigned i)
{
    bool held = bit_get(w->held, i), is_free = bit_get(w->free, i);
    bool first = bit_get(w->piece, i);

    if ((is_free || first) && !held) {
        return "W1: what is free or starts a piece is held";
    }
    if (held && !first && (i == 0 || !bit_get(w->held, i - 1))) {
        return "W2: a piece has a first quantum";
    }
    if ((state_get(&w->state[i]) == RUN_FREE) != (is_free || !held)) {
        return "W3: state bytes agree with the free quanta";
    }
    return NULL;
}

const char *
kva__window_check(const struct window *w)
{
    unsigned nfree = 0, nheld = 0, n;
    const char *bad;

    for (unsigned i = 0; i < WINDOW_QUANTA; i++) {
        bad = check_quantum(w, i);
        if (bad != NULL) {
            return bad;
        }
        nheld += bit_get(w->held, i);
        nfree += bit_get(w->free, i);
    }
    for (unsigned i = 0; i < WINDOW_QUANTA; i += n) {
        n = 1;
        if (state_get(&w->state[i]) == RUN_FREE) {
            continue;
        }
        if (state_get(&w->state[i]) == RUN_INSIDE) {
            return "W4: a run has a first quantum";
        }
        (void)kva__window_run(w, i, &n);
        bad = check_run(w, i, n);
        if (bad != NULL) {
            return bad;
        }
    }
    return nfree == w->nfree && nheld == w->nheld ? NULL
                                                  : "W5: counts are right";
}
