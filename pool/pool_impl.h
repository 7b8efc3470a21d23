/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of pool/ share, and what kmem/ and malloc_compat/ use of it.
 *
 *     in the slab     | header | map | states | object | object | ... | rest |
 *     off the slab    | object | object | ...  |       header somewhere else
 *
 * The map has a bit for each free object and is used with the pool lock held.
 * A state byte belongs to whoever holds the object: the hit paths write it with
 * no lock.  Hence two tables for what looks like one fact.
 */
#ifndef KVA_POOL_POOL_IMPL_H
#define KVA_POOL_POOL_IMPL_H

#include "pool/pool_store.h"
#include "vmem/lookup.h"
#include "vmem/meta.h"
#include "vmem/vmem_store.h"

/* Private flags of a pool, above the public ones. */
#define KVA__PR_CACHE 0x01000000u     /* the pool is that of a pool_cache */
#define KVA__PR_OFF_SLAB 0x02000000u  /* headers are not in the slab */
#define KVA__PR_OWN_STORE 0x04000000u /* the struct came from us */

#define KVA__POOL_NONE (~(size_t)0) /* no mark set */

/* What the state byte of an object says. */
enum kva__object_state {
    KVA__OBJECT_FREE = 0,
    KVA__OBJECT_LIVE = 1,
    KVA__OBJECT_CACHED = 2 /* in a magazine, constructed */
};

/* What an object is while the magazines have it: without checks at each get
 * and put nobody tells the two apart. */
#define KVA__OBJECT_OUT \
    ((uint8_t)(KVA_CONFIG_CHECKS ? KVA__OBJECT_CACHED : KVA__OBJECT_LIVE))

#define KVA__SLAB_MAGIC 0x51abu

/* (s) lock of the pool, (c) constant while the slab is the pool's. */
struct kva__slab {
    struct kva_pool *owner; /* (c) NULL: this is no slab */
    struct kva__slab *next; /* (s) ring of its list */
    struct kva__slab *prev; /* (s) */
    uint16_t nfree;         /* (s) */
    uint16_t magic;         /* (c) */
    uint8_t list;           /* (s) */
    uint8_t spare[3];
    /* The map follows: a bit for each free object; then the states. */
};

/* The header of a slab that is kept elsewhere.  (o) lock of off_slab.c. */
struct kva__off_slab {
    uintptr_t base;              /* (o) of the slab; 1: in no use */
    struct kva__off_slab *chain; /* (o) of the hash, or of unused headers */
    struct kva__slab slab;
};

/* ---- where slabs are (slab_map.c) ------------------------------------ */

/*
 * Two bits for each page of address space: a slab starts here, with its header
 * in it, or with its header elsewhere.  A put looks here before it reads what
 * may be a header, so that any address may be put: a page that is not mapped,
 * or one full of somebody's data, is never taken for a slab.
 *
 * A chunk's two maps fill one metadata page.  Chunks are found through a small
 * hash.  Readers take no lock; chunks are never given back while there are
 * pools.
 */
#define KVA__WORD_SHIFT (KVA_WORD_64 ? 6u : 5u)
#define KVA__MAP_SHIFT \
    (KVA_WORD_64 || KVA_PAGE_SHIFT < 15 ? 2u * KVA_PAGE_SHIFT + 2u : 31u)
#define KVA__MAP_HALF (KVA_PAGE_SIZE / sizeof(uintptr_t) / 2u)
#define KVA__MAP_BUCKETS 64u

struct kva__map_chunk {
    uintptr_t number;            /* (c) address >> KVA__MAP_SHIFT */
    struct kva__map_chunk *next; /* (c) of the bucket */
    uintptr_t *bits;             /* (c) in-slab half, then off-slab half */
};

extern struct kva__map_chunk *kva__map_bucket[KVA__MAP_BUCKETS];

enum kva__map_half {
    KVA__MAP_IN = 0,
    KVA__MAP_OFF = 1
};

static inline uintptr_t *
kva__map_word(uintptr_t addr, enum kva__map_half half)
{
    uintptr_t number = addr >> KVA__MAP_SHIFT;
    struct kva__map_chunk *chunk =
        __atomic_load_n(&kva__map_bucket[number & (KVA__MAP_BUCKETS - 1u)],
                        __ATOMIC_ACQUIRE);

    while (chunk != NULL && KVA_UNLIKELY(chunk->number != number)) {
        chunk = chunk->next;
    }
    if (KVA_UNLIKELY(chunk == NULL)) {
        return NULL;
    }
    return &chunk->bits[(size_t)half * KVA__MAP_HALF +
                        ((addr >> (KVA_PAGE_SHIFT + KVA__WORD_SHIFT)) &
                         (KVA__MAP_HALF - 1u))];
}

/* Does a slab of that kind start in the page of addr? */
static inline bool
kva__map_test(uintptr_t addr, enum kva__map_half half)
{
    const uintptr_t *word = kva__map_word(addr, half);

    return KVA_LIKELY(word != NULL) &&
           (__atomic_load_n(word, __ATOMIC_RELAXED) >>
                ((addr >> KVA_PAGE_SHIFT) & (KVA__WORD_BITS - 1u)) &
            1u) != 0;
}

bool kva__map_set(uintptr_t base, enum kva__map_half half);
void kva__map_clear(uintptr_t base, enum kva__map_half half);
/* The start of the last slab at or before addr that lies in the same group of
 * pages (a word of the map), or 0. */
uintptr_t kva__map_before(uintptr_t addr, enum kva__map_half half);
void kva__map_fini(void);

/* ---- headers off the slab (off_slab.c) ------------------------------- */

void kva__off_bootstrap(void);
/* The lock of the hash and of the map of slabs. */
kva_irq_t kva__off_lock(void);
void kva__off_unlock(kva_irq_t irq);
void kva__off_fini(void);
/* A header of at least bytes, known under base; or NULL. */
struct kva__slab *kva__off_create(uintptr_t base, size_t bytes);
void kva__off_destroy(struct kva__slab *slab, size_t bytes);
/* The header of the slab at base, or NULL.  No lock is needed if the caller
 * has a live object of the slab. */
struct kva__slab *kva__off_find(uintptr_t base);
/* The most bytes that a header off the slab may have. */
#define KVA__OFF_HEADER_MAX (KVA_PAGE_SIZE - 2u * KVA_CACHE_LINE)
/* Bytes that a header of that many takes. */
size_t kva__off_bytes(size_t bytes);

/* ---- geometry (layout.c) --------------------------------------------- */

void kva__pool_layout(struct kva_pool *pp, size_t size, size_t align,
                      size_t offset, size_t slab_bytes);
/* Quotient without a division instruction; d is not 0.  Not for hot paths. */
size_t kva__pool_divide(size_t n, size_t d);

/*
 * Which object starts d bytes after the first one: a number below nobj, or
 * something larger if none does.  A multiple of an odd number, times its
 * inverse modulo 2^32, is the quotient, and nothing else maps to a number that
 * small; the bits below the power of two rotate to the top.  (Hacker's Delight,
 * 10-17.)
 */
static inline uint32_t
kva__object_index(const struct kva_pool *pp, uint32_t d)
{
    uint32_t q = d * pp->inverse;

    return q >> pp->shift | q << (-pp->shift & 31);
}

/* ---- slabs (slab.c) -------------------------------------------------- */

static inline uintptr_t *
kva__slab_map(struct kva__slab *slab)
{
    return (uintptr_t *)(void *)(slab + 1);
}

static inline uint8_t *
kva__slab_states(const struct kva_pool *pp, struct kva__slab *slab)
{
    return (uint8_t *)slab + pp->state_offset;
}

static inline uintptr_t
kva__slab_base(const struct kva__slab *slab)
{
    if ((slab->owner->flags & KVA__PR_OFF_SLAB) != 0) {
        return ((const struct kva__off_slab *)(const void *)((const char *)
                    slab - offsetof(struct kva__off_slab, slab)))->base;
    }
    return (uintptr_t)slab;
}

static inline uintptr_t
kva__slab_object(const struct kva__slab *slab, uint32_t index)
{
    return kva__slab_base(slab) + slab->owner->first +
           slab->owner->size * index;
}

static inline uint8_t
kva__state_get(const uint8_t *state)
{
    return __atomic_load_n(state, __ATOMIC_RELAXED);
}

static inline void
kva__state_set(uint8_t *state, uint8_t value)
{
    __atomic_store_n(state, value, __ATOMIC_RELAXED);
}

/* Where an object lies. */
struct kva__place {
    struct kva__slab *slab;
    uint32_t index; /* nobj or more: no object starts there */
    uint8_t *state; /* if one does */
};

/* The slab that holds addr, whosever it is, of up to 32 pages; or NULL. */
struct kva__slab *kva__slab_of(uintptr_t addr);

/* The place of addr in a slab of the pool: false if it is in none. */
bool kva__slab_find(struct kva_pool *pp, uintptr_t addr,
                    struct kva__place *place);

/* A new slab, in no list; NULL: no memory.  No lock held. */
struct kva__slab *kva__slab_create(struct kva_pool *pp, unsigned flags);
void kva__slab_destroy(struct kva_pool *pp, struct kva__slab *slab);

/* With the pool lock held: add a new slab; take up to n objects from the
 * slabs there are, in the state given; put one back, which must not be free;
 * take an empty slab out that need not be kept, or NULL. */
void kva__slab_add(struct kva_pool *pp, struct kva__slab *slab);
unsigned kva__slab_take(struct kva_pool *pp, uintptr_t *object, unsigned n,
                        uint8_t state);
void kva__slab_give(struct kva_pool *pp, const struct kva__place *place);
struct kva__slab *kva__slab_surplus(struct kva_pool *pp, bool all);

/* ---- pools (pool.c, limit.c) ----------------------------------------- */

static inline kva_irq_t
kva__pool_lock(struct kva_pool *pp)
{
    return kva_port_lock(&pp->lock);
}

static inline void
kva__pool_unlock(struct kva_pool *pp, kva_irq_t irq)
{
    kva_port_unlock(&pp->lock, irq);
}

/* Take the library's own locks and lists into use; idempotent. */
void kva__pool_bootstrap(void);
/* Give the metadata of slabs back; there must be no pool any more. */
void kva__pool_shutdown(void);

void kva__pool_setup(struct kva_pool *pp, size_t size, unsigned align,
                     unsigned align_offset, unsigned flags, const char *name,
                     struct kva_pool_allocator *pa, enum kva_ipl ipl);
/* func is named if there are live objects. */
void kva__pool_teardown(struct kva_pool *pp, const char *func);
/* Objects for a caller or for magazines; as many as there are without another
 * slab, at least one if there is memory for it. */
unsigned kva__pool_take(struct kva_pool *pp, uintptr_t *object, unsigned n,
                        unsigned flags, uint8_t state);
/* Objects back, which are in that state; func is named if one is not. */
void kva__pool_give(struct kva_pool *pp, const uintptr_t *object, unsigned n,
                    uint8_t state, const char *func);
/* Destroy slabs that need not be kept (all: hysteresis aside); bytes. */
size_t kva__pool_trim(struct kva_pool *pp, bool all);
int kva__pool_grow_to(struct kva_pool *pp, size_t free_wanted);
/* Call the drain hook, if there is one.  Bytes ever given back. */
void kva__pool_call_hook(struct kva_pool *pp);
size_t kva__pool_released(struct kva_pool *pp);

/* How many of n may be taken.  Pool lock held. */
unsigned kva__limit_room(const struct kva_pool *pp, unsigned n);
/* The limit was met: say so, wait if that is wanted.  False: fail.  Pool lock
 * not held. */
bool kva__limit_wait(struct kva_pool *pp, unsigned flags);
/* Something was given back: wake who waits.  Pool lock not held. */
void kva__limit_wake(struct kva_pool *pp);

/* What a cache's magazines hold, back to its slabs: how many objects. */
size_t kva__cache_flush(struct kva_pool *pp);

/* ---- misuse (misuse.c) ----------------------------------------------- */

/* What addr is, and why it cannot be put; does not return. */
_Noreturn void kva__pool_bad_put(const char *func, struct kva_pool *pp,
                                 uintptr_t addr, uint8_t expected);
_Noreturn void kva__pool_bad_destroy(const char *func, struct kva_pool *pp);
void kva__pool_check_flags(const char *func, const struct kva_pool *pp,
                           unsigned flags);
/* "pool" or "cache"; "pool_init" or "pool_cache_init". */
const char *kva__pool_kind(const struct kva_pool *pp);
const char *kva__pool_init_name(const struct kva_pool *pp);

/* ---- the hit paths' own part ----------------------------------------- */

/* The second half of retiring: addr's slab is known, and is the pool's. */
static inline bool
kva__object_retire_in(struct kva_pool *pp, uintptr_t base, uintptr_t addr)
{
    uint32_t index =
        kva__object_index(pp, (uint32_t)(addr - base) - pp->first);
    uint8_t *state = (uint8_t *)base + pp->state_offset + index;

    if (KVA_UNLIKELY(index >= pp->nobj) ||
        KVA_UNLIKELY(kva__state_get(state) != KVA__OBJECT_LIVE)) {
        return false;
    }
    kva__state_set(state, KVA__OBJECT_CACHED);
    return true;
}

/*
 * Make a live object a cached one.  False if anything is unusual: it is not
 * an object of the pool, not live, its header is off the slab, or puts are
 * to take the long way.
 */
static inline bool
kva__object_retire(struct kva_pool *pp, uintptr_t addr)
{
    uintptr_t base = addr & ~pp->slab_mask;
    const struct kva__slab *slab = (const struct kva__slab *)base;

    return KVA_LIKELY(kva__map_test(base, KVA__MAP_IN)) &&
           KVA_LIKELY(slab->owner ==
                      __atomic_load_n(&pp->key, __ATOMIC_RELAXED)) &&
           kva__object_retire_in(pp, base, addr);
}

/* Make an object from a magazine live. */
static inline void
kva__object_revive(struct kva_pool *pp, uintptr_t addr)
{
    uintptr_t base = addr & ~pp->slab_mask;
    struct kva__slab *slab = (struct kva__slab *)base;
    uint32_t index;

    if (KVA_UNLIKELY((pp->flags & KVA__PR_OFF_SLAB) != 0)) {
        slab = kva__off_find(base);
    }
    index = kva__object_index(pp, (uint32_t)(addr - base) - pp->first);
    kva__state_set(kva__slab_states(pp, slab) + index, KVA__OBJECT_LIVE);
}

/*
 * A put that the hit path did not take: a header off the slab, somebody who
 * waits for objects, or a misuse, for which func is named (cache.c).
 */
void kva__cache_put_unusual(struct kva_pool_cache *pc, uintptr_t object,
                            const char *func);

/* A retired object into a magazine. */
static inline void
kva__cache_put_magazine(struct kva_pool_cache *pc, uintptr_t object)
{
    if (KVA_UNLIKELY(!kva__mag_put(&pc->mags, object))) {
        kva__mag_put_slow(&pc->mags, object);
    }
}

#endif
