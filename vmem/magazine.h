/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The magazine layer: per-CPU stacks of fixed-size things over a supplier.
 *
 *       CPU slot 0         CPU slot 1            depot (locked)
 *     +------------+     +------------+     full:  [M]->[M]->[M]
 *     | at  loaded |     | at  loaded |     empty: [ ]->[ ]
 *     |     spare  |     |     spare  |           |
 *     +------------+     +------------+        supplier: slabs, an arena
 *
 * It knows nothing of what the things are: quantum caches put it over an
 * arena, pool caches over slabs.  The idea is Bonwick and Adams, "Magazines
 * and Vmem", 2001; the owner/drainer protocol is ours.
 *
 *            at of an empty one                    at of a full one
 *              |                                        |
 *     | next | (words of) round 0 | round 1 | ... | last round | END |
 *
 * A slot's counter at says how many bytes of rounds are in the loaded magazine,
 * and so where the next one goes.  Where a round cannot go stands END, so a put needs to know
 * nothing of capacities; a get takes the length of a round from at, and has
 * nothing to get if as much is not there.
 *
 *      row of a CPU                       nobody's row
 *     | open | at ... | loaded ... |     | open | at ... | loaded ... |
 *         |  ^                              |  ^               |
 *         +--+ nobody is inside             +--+               +-> sentinel
 *         +------------------------------------+ somebody is
 *
 * The slots of a CPU, one in a row of its own or several that share one, have a
 * word open before them: it says whose slots they are for who comes now.
 *
 * Owner (hit path): take open and leave nobody's row in its place; read at and
 * loaded in the row that was open; pop or push; write at, and open as it was.
 * No lock, no atomic read-modify-write, no interrupt masking, and no test but
 * the one for empty or full.  In nobody's row the sentinel is loaded, in which
 * END is everywhere and a round is longer than any at: whoever interrupts an
 * owner who is inside misses, changes nothing, and leaves open as he found it.
 * That is also why open can be taken in two steps: an interrupt between them
 * may change at and loaded, but open it restores.
 *
 * Drainer (any thread, no lock held): puts the sentinel in the place of loaded,
 * so every hit path misses and changes nothing; asks for an asymmetric barrier
 * on all CPUs; waits, for a bounded time, for open to say that nobody is
 * inside; then the magazine is its own, with as many rounds as at says.  If
 * there is no barrier, or the owner does not get out in time, the magazine
 * stays withheld.
 *
 * An owner whose operation misses does not wait for a drainer.  A magazine that
 * is withheld he hands in, for no hit of his can be at it: to the supplier, or
 * while the drainer is still at the slot to the depot, which a drainer looks
 * through last.  Then he goes on with another one.  So a drainer that is slow,
 * or does not get to run, costs an owner one miss, and not all operations until
 * it comes back.
 *
 * Whoever has no slot (a thread that found none left, a CPU above the number
 * configured, no CPU layer at all) uses nobody's row.
 *
 * Invariants
 *   M1  open and at are written by the owner only, at while he is inside.
 *   M2  loaded is written by the owner while he is inside and with the depot
 *       lock held, or by a drainer with the depot lock held.
 *   M3  spare and held are read and written with the depot lock held only.
 *   M4  a magazine is in one place: loaded, spare, held, full list, empty list,
 *       or in the hands of a drainer.
 *   M5  while held is not 0, but for its mark, the sentinel is loaded.
 *
 * Closed (close.c): while somebody waits for memory, or wants every operation
 * to go the long way, the sentinel stays in all slots of the caches concerned,
 * and neither slots nor depots take anything in.
 */
#ifndef KVA_VMEM_MAGAZINE_H
#define KVA_VMEM_MAGAZINE_H

#include "port/check.h"

struct kva_vmem;

/* No round begins with this word. */
#define KVA__MAG_END (~(uintptr_t)0)
#define KVA__MAG_WORD sizeof(uintptr_t)

/* The largest magazine is a kilobyte: the most words behind its header. */
#define KVA__MAG_WORDS_MAX 126u
/* Rounds that fit, between next and END, if they have that many words. */
#define KVA__MAG_ROUNDS_MAX(words) ((KVA__MAG_WORDS_MAX - 2u) / (words))

struct kva__magazine {
    size_t step;       /* (c) bytes of a round; SIZE_MAX: the sentinel */
    uint16_t capacity; /* (c) rounds that it holds */
    uint16_t rounds;   /* (d) in it while it is not loaded */
    uintptr_t word[];  /* next in a depot list; rounds; END */
};

/* A row is named by the word behind open; and the words of a slot in it: the
 * owner's two, and (d). */
#define KVA__MAG_OPEN (-1)
enum kva__mag_part {
    KVA__MAG_AT,
    KVA__MAG_LOADED, /* never NULL */
    KVA__MAG_SPARE,  /* a second one, or 0 */
    KVA__MAG_HELD, /* what a drainer withholds, or 0; + 1: it is at the slot */
    KVA__MAG_PARTS
};

/*
 * Where things come from and go to.  fill puts up to n things in round, in as
 * many words as the cache has for each, and returns how many (0: none); the
 * first may cost an import, the others only what is at hand.  flags are those
 * of the get.  drain takes n back and cannot fail.  Both are called with no
 * lock of this layer held.
 */
struct kva__mag_supplier {
    unsigned (*fill)(void *arg, uintptr_t *round, unsigned n, unsigned flags);
    void (*drain)(void *arg, uintptr_t *round, unsigned n);
};

/*
 * The rows of a cache that has its own, and before them nobody's, so that who
 * has the one has the other at hand.  A word before all of it is nobody's open.
 */
struct kva__mag_rows {
    uintptr_t nobodys[KVA__MAG_PARTS];
    uintptr_t *row[]; /* that of CPU n is row[n + 1]; row[0] is nobody's */
};

/* In which all rows are nobody's: every hit path misses. */
extern uintptr_t kva__mag_no_rows[1u + KVA__MAG_PARTS + KVA_CPU_MAX + 1u];
#define KVA__MAG_NO_ROWS ((struct kva__mag_rows *)(void *)&kva__mag_no_rows[1])

/* (c) constant after init, (d) depot lock, (r) lock of the registry. */
struct kva__magcache {
    /* (c) the row of CPU n is row[n + 1]; row[0] is nobody's */
    uintptr_t **row;
    uintptr_t *nobodys;            /* (c) */
    struct kva__mag_rows *rows;    /* (c) its own ones, or NULL */
    struct kva__mag_rows **hit[2]; /* (c) where hit paths find them, or NULL */
    uint16_t part[KVA__MAG_PARTS]; /* (c) where in a row its words are */
    uint16_t words;                /* (c) of a round */
    uint16_t ncpu;   /* rows in use, 0: no CPU layer, or none yet; grows once */
    uint16_t ntable; /* (c) pointers in a table of its own */
    bool own_rows;   /* (c) */
    const struct kva__mag_supplier *supplier; /* (c) */
    void *arg;                                /* (c) for the supplier */
    kva_lock_t lock;                          /* the depot's */
    struct kva__magazine *full;               /* (d) */
    struct kva__magazine *empty;              /* (d) */
    unsigned nfull, nempty;                   /* (d) */
    unsigned nfull_min, nempty_min;           /* (d) since the last update */
    unsigned full_max;     /* (d) full magazines kept at most */
    unsigned full_min;     /* (c) with which it started */
    unsigned full_limit;   /* (c) to which it may rise */
    unsigned spilled;      /* (d) magazines emptied for want of room */
    unsigned regrets;      /* (d) times when one was filled after that */
    unsigned capacity;     /* (d) of new magazines */
    unsigned capacity_min; /* (c) with which it started */
    unsigned capacity_max; /* (c) */
    unsigned traffic;      /* (d) slow-path entries since the last change */
    size_t out;            /* (d) things that the supplier has given */
    size_t bytes;          /* (d) of magazines in existence */
    size_t misses_get;     /* (d) slow-path entries */
    size_t misses_put;     /* (d) */
    unsigned closed;       /* (r) nothing is kept; read without the lock */
    unsigned pins;         /* (r) who is at it; it stays that long */
    struct kva_vmem *const *arena; /* (c) from which it draws, or NULL */
    struct kva__magcache *next;    /* (r) all caches */
    struct kva__magcache *prev;    /* (r) */
};

/* What a cache is made of. */
struct kva__mag_config {
    const char *name;
    enum kva_ipl ipl;
    unsigned words;        /* of a round: the thing, or a word and the thing */
    unsigned capacity;     /* rounds of the first magazines, 0: none so far */
    unsigned capacity_max; /* up to which they may grow; 0: no magazines */
    unsigned full_max;     /* full ones that the depot keeps at first */
    unsigned full_limit;   /* up to which it may learn; 0: it does not */
    const struct kva__mag_supplier *supplier;
    void *arg;
    /* Where the arena is named from which the things come in the end, or NULL:
     * not known, closed with any. */
    struct kva_vmem *const *arena;
    struct kva__mag_rows **hit; /* where hit paths find its rows, or NULL */
    /* Rows to share with other caches (qcache.c), and which word of each part
     * is this one's; NULL: rows of its own. */
    uintptr_t **row;
    uintptr_t *nobodys;
    unsigned ncpu;
    uint16_t part[KVA__MAG_PARTS];
};

/*
 * Make the layer.  Rows of its own and magazines are made on the way of a get
 * only, so a put never allocates, and a cache that is not used is small.  Works without CPU slots when there is no memory for them: then
 * every request goes to the supplier.
 */
void kva__mag_bootstrap(void);
void kva__magcache_init(struct kva__magcache *mc,
                        const struct kva__mag_config *config);

/* One place more where hit paths find the rows of a cache.  Nobody uses it. */
void kva__magcache_show(struct kva__magcache *mc, struct kva__mag_rows **hit);
/* Hit paths find no rows from now on, or find them again. */
void kva__magcache_hide(struct kva__magcache *mc, bool hidden);

/* Everything back to the supplier, slots and magazines freed; nobody else may
 * use the cache any more. */
void kva__magcache_fini(struct kva__magcache *mc);

/*
 * Rows for a cache or several.  table has room for one more and is full of
 * nobody's; store has blocks of a row and open.  A row has width counters first,
 * then as many magazines.  Hit paths may be at the table already: they find
 * nobody's or a row that is ready.  False, and nothing done, if there is no
 * memory for all.
 */
struct kva__meta_store;
bool kva__mag_rows_make(uintptr_t **table, struct kva__meta_store *store,
                        unsigned width, unsigned ncpu);
void kva__mag_rows_free(uintptr_t **table, struct kva__meta_store *store,
                        uintptr_t *nobodys, unsigned ncpu);
/* A row's first words: open, nothing in any slot. */
void kva__mag_row_init(uintptr_t *row, unsigned width);

/*
 * The slow path of a get: true and the round, or false if the supplier has
 * none. flags are handed to the supplier.
 */
bool
kva__mag_get_slow(struct kva__magcache *mc, unsigned flags, uintptr_t *round);
void kva__mag_put_slow(struct kva__magcache *mc, const uintptr_t *round);

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

/* Trim the depot to what was used since the last time, and fit the capacity. */
void kva__magcache_update(struct kva__magcache *mc);

/* Rounds cached now (a racy sum); and bytes of magazines and slots, with the
 * depot's lock held. */
size_t kva__magcache_rounds(struct kva__magcache *mc);
size_t kva__magcache_bytes(struct kva__magcache *mc);

/* For listings (magazine_stat.c). */
struct kva__mag_stat {
    size_t rounds; /* cached now, a racy sum */
    size_t bytes;  /* of magazines and slots */
    unsigned slots, capacity, capacity_max;
    unsigned full, empty; /* magazines in the depot */
    size_t misses_get, misses_put;
};
void kva__magcache_stat(struct kva__magcache *mc, struct kva__mag_stat *st);

/* CPU slots that caches made from now on will have; 0: no CPU layer.  Before
 * there are threads. */
void kva__mag_set_ncpu(unsigned ncpu);
unsigned kva__mag_ncpu(void);

/* ---- closing (close.c) ------------------------------------------------ */

/*
 * Close and open the magazines of all caches that draw from an arena or from
 * one that it feeds; NULL: those of which no arena is known.  Calls nest.  What
 * they hold goes to their suppliers, and until they are opened nothing stays in
 * them.  Thread context, no lock held.
 */
void kva__mag_close(struct kva_vmem *root);
void kva__mag_open(struct kva_vmem *root);
/* Is what comes back to be passed on at once: magazines over vm are closed. */
bool kva__mag_arena_closed_now(struct kva_vmem *vm);
extern unsigned kva__mag_closings; /* of all arenas */

static inline bool
kva__mag_arena_closed(struct kva_vmem *vm)
{
    return KVA_UNLIKELY(__atomic_load_n(&kva__mag_closings, __ATOMIC_RELAXED) !=
                        0) &&
           kva__mag_arena_closed_now(vm);
}

static inline bool
kva__mag_closed(const struct kva__magcache *mc)
{
    return __atomic_load_n(&mc->closed, __ATOMIC_RELAXED) != 0;
}

/* ---- the registry (close.c) ------------------------------------------- */

void kva__mag_registry_bootstrap(void);
void kva__mag_register(struct kva__magcache *mc);
void kva__mag_unregister(struct kva__magcache *mc);
/* Every cache but those that go meanwhile; no lock is held for fn. */
void kva__mag_visit(void (*fn)(struct kva__magcache *mc, void *arg), void *arg);

/* ---- the hit paths ---------------------------------------------------- */

/*
 * What x is, the compiler may not know.  So it does not keep the sums of row
 * and number in registers of their own, but leaves them to the addressing
 * modes.
 */
#define KVA__OPAQUE(x) __asm__("" : "+r"(x))

/*
 * x is the n-th argument, or the result, and is best left in the register that
 * the calling convention has for it: gcc would rather have that for something
 * passing, and moves x away first.  Nowhere is it more than a hint.
 */
#if defined(__x86_64__)
#define KVA__RESULT(x) __asm__("" : "+a"(x))
#define KVA__ARGUMENT(n, x) __asm__("" : : KVA__REGISTER_##n(x))
#define KVA__REGISTER_1 "D"
#define KVA__REGISTER_2 "S"
#define KVA__REGISTER_3 "d"
#define KVA__REGISTER_4 "c"
#else
#define KVA__RESULT(x) KVA__OPAQUE(x)
#define KVA__ARGUMENT(n, x) ((void)(x))
#endif

/*
 * A word that is written once, before anybody can need it.  ThreadSanitizer
 * wants to be told; for the compiler an atomic load is one that cannot be part
 * of another instruction.
 */
#if defined(__SANITIZE_THREAD__)
#define KVA__ONCE(word) __atomic_load_n(&(word), __ATOMIC_ACQUIRE)
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KVA__ONCE(word) __atomic_load_n(&(word), __ATOMIC_ACQUIRE)
#endif
#endif
#ifdef KVA__ONCE
#define KVA__WATCHED 1 /* by ThreadSanitizer */
#else
#define KVA__ONCE(word) (word)
#define KVA__WATCHED 0
#endif

/* Rounds begin behind next. */
static inline uintptr_t *
kva__mag_round(struct kva__magazine *mag, size_t at)
{
    return (uintptr_t *)((uintptr_t)mag + at +
                         offsetof(struct kva__magazine, word[1]));
}

/* Who is in a slot on the hit path. */
struct kva__mag_hit {
    uintptr_t *row;  /* the CPU's */
    uintptr_t *open; /* the row that was open: the same, or nobody's */
    size_t at;       /* which of its words is the counter */
    size_t pos;      /* what that says, and will say */
};

/*
 * Into slot hit->at of hit->row: its magazine, and where in it; loaded is so
 * many bytes behind at.  The store stays before the loads behind it; between
 * CPUs the drainer's barrier does the ordering.
 */
static inline struct kva__magazine *
kva__mag_enter(struct kva__mag_hit *hit, uintptr_t *nobodys, size_t bytes)
{
    uintptr_t mag;

    hit->open = (uintptr_t *)__atomic_load_n(&hit->row[KVA__MAG_OPEN],
                                             __ATOMIC_RELAXED);
    __atomic_store_n(&hit->row[KVA__MAG_OPEN], (uintptr_t)nobodys,
                     __ATOMIC_RELAXED);
    KVA_COMPILER_BARRIER();
    KVA__OPAQUE(hit->open);
    KVA__OPAQUE(hit->at);
    hit->pos = __atomic_load_n(&hit->open[hit->at], __ATOMIC_RELAXED);
    KVA__OPAQUE(hit->open);
    KVA__OPAQUE(hit->at);
    mag = __atomic_load_n(
        (uintptr_t *)((uintptr_t)hit->open + hit->at * KVA__MAG_WORD + bytes),
        __ATOMIC_RELAXED);
    KVA__OPAQUE(hit->open);
    KVA__OPAQUE(hit->at);
    return (struct kva__magazine *)mag;
}

/* Out of it; whoever sees it, sees the rounds and their number as they are. */
static inline void
kva__mag_leave(const struct kva__mag_hit *hit)
{
    __atomic_store_n(&hit->open[hit->at], hit->pos, __ATOMIC_RELAXED);
    __atomic_store_n(&hit->row[KVA__MAG_OPEN], (uintptr_t)hit->open,
                     __ATOMIC_RELEASE);
}

static inline uintptr_t *
kva__mag_row(const struct kva__magcache *mc, unsigned cpu)
{
    return KVA__ONCE(mc->row[cpu + 1u]);
}

/* The same for caches with rows of their own, where at is a row's first word
 * and loaded the second. */
static inline struct kva__magazine *
kva__mag_enter_own(struct kva__mag_hit *hit, struct kva__mag_rows *rows,
                   unsigned cpu)
{
    uintptr_t mag;

    hit->row = KVA__ONCE(rows->row[cpu + 1u]);
    hit->at = KVA__MAG_AT;
    hit->open = (uintptr_t *)__atomic_load_n(&hit->row[KVA__MAG_OPEN],
                                             __ATOMIC_RELAXED);
    __atomic_store_n(&hit->row[KVA__MAG_OPEN], (uintptr_t)rows->nobodys,
                     __ATOMIC_RELAXED);
    KVA_COMPILER_BARRIER();
    hit->pos = __atomic_load_n(&hit->open[KVA__MAG_AT], __ATOMIC_RELAXED);
    mag = __atomic_load_n(&hit->open[KVA__MAG_LOADED], __ATOMIC_RELAXED);
    return (struct kva__magazine *)mag;
}

/*
 * A round of one word or two from the magazine of the CPU that the caller is
 * pinned to.  False: nothing done.
 */
static inline bool
kva__mag_get(struct kva__mag_rows *rows, unsigned cpu, unsigned words,
             uintptr_t *round)
{
    struct kva__mag_hit hit;
    struct kva__magazine *mag = kva__mag_enter_own(&hit, rows, cpu);

    if (KVA_UNLIKELY(__builtin_sub_overflow(hit.pos, mag->step, &hit.pos))) {
        KVA__OPAQUE(hit.pos);
        KVA__OPAQUE(mag);
        hit.pos += mag->step;
        kva__mag_leave(&hit);
        return false;
    }
    round[0] = *kva__mag_round(mag, hit.pos);
    if (words == 2) {
        KVA__OPAQUE(mag);
        round[1] = *kva__mag_round(mag, hit.pos + KVA__MAG_WORD);
    }
    kva__mag_leave(&hit);
    return true;
}

/*
 * A thing into it.  If a round has two words, the first is the address of the
 * byte that says what the thing is, and that says cached from now on.
 */
static inline bool
kva__mag_put(struct kva__mag_rows *rows, unsigned cpu, unsigned words,
             uint8_t *state, uint8_t cached, uintptr_t thing)
{
    struct kva__mag_hit hit;
    struct kva__magazine *mag = kva__mag_enter_own(&hit, rows, cpu);

    if (KVA_UNLIKELY(*kva__mag_round(mag, hit.pos) == KVA__MAG_END)) {
        kva__mag_leave(&hit);
        return false;
    }
    hit.pos += words * KVA__MAG_WORD;
    KVA__OPAQUE(hit.pos);
    if (words == 2) {
        __atomic_store_n(state, cached, __ATOMIC_RELAXED);
        *kva__mag_round(mag, hit.pos - 2u * KVA__MAG_WORD) = (uintptr_t)state;
        KVA__OPAQUE(mag);
    }
    *kva__mag_round(mag, hit.pos - KVA__MAG_WORD) = thing;
    kva__mag_leave(&hit);
    return true;
}

#endif
