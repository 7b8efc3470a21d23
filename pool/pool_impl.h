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
#define KVA__PR_CACHE 0x01000000u    /* the pool is that of a pool_cache */
#define KVA__PR_OFF_SLAB 0x02000000u /* headers are not in the slab */
#define KVA__PR_LIMBO 0x04000000u    /* destructors wait for the barrier */
#define KVA__PR_PUBLIC 0x00ffffffu

/* What pool_init knows. */
#define KVA__PR_INIT                                                        \
    (KVA_PR_WAITOK | KVA_PR_NOWAIT | KVA_PR_PHINPAGE | KVA_PR_RECURSIVE |   \
     KVA_PR_NOTOUCH | KVA_PR_NOALIGN | KVA_PR_LARGECACHE | KVA_PR_USEBMAP | \
     KVA_PR_PSERIALIZE | KVA_PR_PADDR)

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
    struct kva__slab *next; /* (s) of its list or tree */
    struct kva__slab *prev; /* (s) */
    uint16_t nfree;         /* (s) */
    uint16_t magic;         /* (c) */
    uint8_t file;           /* (s) which list or tree */
    uint8_t level;          /* (s) by which it is filed in a tree */
    uint8_t stuck;          /* (s) times that something was not to be moved */
    uint8_t spare;
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
 * Two bits for each page of address space: no slab; a slab starts here, with
 * its header in it, or with its header elsewhere; a slab goes on here.  A put
 * looks here before it reads what may be a header, so that any address may be
 * put: a page that is not mapped, or one full of somebody's data, is never
 * taken for a slab.
 *
 * A chunk's bits fill one metadata page.  Chunks are found through a small
 * hash.  Readers take no lock; chunks are never given back while there are
 * pools.
 */
enum kva__slabmap_code {
    KVA__SLABMAP_NONE = 0,
    KVA__SLABMAP_IN = 1,
    KVA__SLABMAP_OFF = 2,
    KVA__SLABMAP_MORE = 3 /* only in slabs that lie within a word */
};

#define KVA__WORD_SHIFT (KVA_WORD_64 ? 6u : 5u)
#define KVA__SLABMAP_SHIFT \
    (KVA_WORD_64 || KVA_PAGE_SHIFT < 15 ? 2u * KVA_PAGE_SHIFT + 2u : 31u)
#define KVA__SLABMAP_WORDS (KVA_PAGE_SIZE / sizeof(uintptr_t))
#define KVA__SLABMAP_WORD_PAGES (KVA__WORD_BITS / 2u)
#define KVA__SLABMAP_BUCKETS 64u

struct kva__slabmap_chunk {
    uintptr_t number;                /* (c) address >> KVA__SLABMAP_SHIFT */
    struct kva__slabmap_chunk *next; /* (c) of the bucket */
    uintptr_t *word;                 /* (c) */
};

/* The last chunk of every chain is one that has no addresses. */
extern struct kva__slabmap_chunk *kva__slabmap_bucket[KVA__SLABMAP_BUCKETS];

/* The word for addr's page, or NULL. */
static inline uintptr_t *
kva__slabmap_word(uintptr_t addr)
{
    uintptr_t number = addr >> KVA__SLABMAP_SHIFT;
    struct kva__slabmap_chunk *chunk = __atomic_load_n(
        &kva__slabmap_bucket[number & (KVA__SLABMAP_BUCKETS - 1u)],
        __ATOMIC_ACQUIRE);

    while (KVA_UNLIKELY(chunk->number != number)) {
        chunk = chunk->next;
        if (chunk == NULL) {
            return NULL;
        }
    }
    return &chunk->word[(addr >> (KVA_PAGE_SHIFT + KVA__WORD_SHIFT - 1u)) &
                        (KVA__SLABMAP_WORDS - 1u)];
}

/* Where the page's two bits are in its word. */
static inline unsigned
kva__slabmap_bit(uintptr_t addr)
{
    return (unsigned)(addr >> (KVA_PAGE_SHIFT - 1u)) & (KVA__WORD_BITS - 2u);
}

static inline enum kva__slabmap_code
kva__slabmap_get(uintptr_t addr)
{
    const uintptr_t *word = kva__slabmap_word(addr);

    if (KVA_UNLIKELY(word == NULL)) {
        return KVA__SLABMAP_NONE;
    }
    return (enum kva__slabmap_code)(
        __atomic_load_n(word, __ATOMIC_RELAXED) >> kva__slabmap_bit(addr) & 3u);
}

/*
 * How the slab starts that holds addr, and where; or KVA__SLABMAP_NONE.  Where
 * a slab goes on, the nearest start below is its own: the two bits of a start
 * differ, those of the other codes do not.
 */
static inline enum kva__slabmap_code
kva__slabmap_find(uintptr_t addr, uintptr_t *base)
{
    const uintptr_t *word = kva__slabmap_word(addr);
    unsigned bit = kva__slabmap_bit(addr), start = bit;
    uintptr_t w, starts;

    if (KVA_UNLIKELY(word == NULL)) {
        return KVA__SLABMAP_NONE;
    }
    w = __atomic_load_n(word, __ATOMIC_RELAXED);
    if ((w >> bit & 3u) == KVA__SLABMAP_MORE) {
        starts =
            (w ^ w >> 1) & (~(uintptr_t)0 / 3u) & (((uintptr_t)1 << bit) - 1u);
        if (KVA_UNLIKELY(starts == 0)) {
            return KVA__SLABMAP_NONE; /* it went just now */
        }
        start = kva_fls(starts);
    }
    *base = kva_round_down(addr, KVA_PAGE_SIZE) -
            ((uintptr_t)(bit - start) << (KVA_PAGE_SHIFT - 1u));
    return (enum kva__slabmap_code)(w >> start & 3u);
}

void kva__slabmap_bootstrap(void);
/* Enter a slab with that code, or take it out (NONE).  False: no metadata. */
bool
kva__slabmap_set(uintptr_t base, size_t bytes, enum kva__slabmap_code code);
void kva__slabmap_fini(void);

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

/* ---- where slabs come from (allocator.c) ------------------------------ */

/* Slab size that an allocator insists on; 0: the pool chooses. */
size_t kva__allocator_page(const struct kva_pool_allocator *pa);
/* The arena of the pool's slabs, or NULL: they come from functions. */
kva_vmem_t *kva__pool_arena(const struct kva_pool *pp);
int kva__range_get(struct kva_pool *pp, unsigned flags, uintptr_t *base);
void kva__range_put(struct kva_pool *pp, uintptr_t base);

/* Somebody waits for what the pool might give back. */
static inline bool
kva__pool_wanted(const struct kva_pool *pp)
{
    const kva_vmem_t *vm = kva__wait_any() ? kva__pool_arena(pp) : NULL;

    return vm != NULL && kva__wait_for(vm);
}

/* ---- physical addresses (paddr.c) -------------------------------------- */

/* Bytes of a header for the frames of a slab, behind at bytes of it. */
size_t kva__paddr_bytes(unsigned flags, size_t at, size_t slab_bytes);
/* A new slab: note where its pages lie. */
void kva__paddr_note(struct kva_pool *pp, struct kva__slab *slab);

/* ---- the read barrier (pserialize.c) ----------------------------------- */

/* May slabs of the pool go, and destructors run, in this context: always but
 * where the barrier would have to be waited for. */
bool kva__barrier_possible(const struct kva_pool *pp);
/* Wait for readers, if the pool has any. */
void kva__barrier(const struct kva_pool *pp);
/* Room for so many more objects that may come to wait; or less again. */
bool kva__limbo_reserve(struct kva_pool *pp, size_t n);
void kva__limbo_release(struct kva_pool *pp, size_t n);
void
kva__limbo_push(struct kva_pool_cache *pc, const uintptr_t *object, unsigned n);
/* Up to n of them out again, as constructed as they were. */
unsigned
kva__limbo_pop(struct kva_pool_cache *pc, uintptr_t *object, unsigned n);
size_t kva__limbo_count(struct kva_pool_cache *pc);
/* Destruct those that wait, if the caller may; how many. */
size_t kva__limbo_settle(struct kva_pool_cache *pc);

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
    const char *at = (const char *)slab;

    if ((slab->owner->flags & KVA__PR_OFF_SLAB) != 0) {
        at -= offsetof(struct kva__off_slab, slab);
        return ((const struct kva__off_slab *)(const void *)at)->base;
    }
    return (uintptr_t)at;
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

/* The place of addr in a slab at base, which holds it. */
static inline void
kva__slab_place(const struct kva_pool *pp, struct kva__slab *slab,
                uintptr_t base, uintptr_t addr, struct kva__place *place)
{
    place->slab = slab;
    place->index = kva__object_index(pp, (uint32_t)(addr - base) - pp->first);
    place->state = NULL;
    if (place->index < pp->nobj) {
        place->state = kva__slab_states(pp, slab) + place->index;
    }
}

/* Does a live object start there? */
static inline bool
kva__place_is_live(const struct kva__place *place)
{
    return place->state != NULL &&
           kva__state_get(place->state) == KVA__OBJECT_LIVE;
}

/* The place of addr in a slab of the pool: false if it is in none. */
bool
kva__slab_find(struct kva_pool *pp, uintptr_t addr, struct kva__place *place);

/* A new slab, in no list; NULL: no memory.  No lock held. */
struct kva__slab *kva__slab_create(struct kva_pool *pp, unsigned flags);
void kva__slab_destroy(struct kva_pool *pp, struct kva__slab *slab);

/* ---- where slabs are filed (slab.c, slab_tree.c) --------------------- */

/* A slab in none of pp->file[]: new, or about to go. */
#define KVA__SLAB_APART KVA__SLAB_FILES
#define KVA__SLAB_IN_TREE(file) ((file) >= KVA__SLAB_PARTIAL)

/* All slabs one after the other, from NULL on.  Logarithmic.  Pool lock held. */
struct kva__slab *kva__slab_next(struct kva_pool *pp, struct kva__slab *slab);

/* root: the slab at the top, or where it is named.  Logarithmic on average. */
void kva__slab_tree_insert(struct kva__slab **link, struct kva__slab *slab);
void kva__slab_tree_remove(struct kva__slab **link, struct kva__slab *slab);
struct kva__slab *kva__slab_tree_first(struct kva__slab *root);
struct kva__slab *kva__slab_tree_last(struct kva__slab *root);
/* The last one that would serve before one of that level and address. */
struct kva__slab *
kva__slab_tree_before(struct kva__slab *root, unsigned level, uintptr_t base);
/* A slab and those right below it: NULL, or what does not hold. */
const char *kva__slab_tree_check(const struct kva__slab *slab);

/* With the pool lock held: add a new slab; take up to n objects from the
 * slabs there are, in the state given; put one back, which must not be free;
 * take an empty slab out that need not be kept, or NULL. */
void kva__slab_add(struct kva_pool *pp, struct kva__slab *slab);
unsigned kva__slab_take(struct kva_pool *pp, uintptr_t *object, unsigned n,
                        uint8_t state);
void kva__slab_give(struct kva_pool *pp, const struct kva__place *place);
struct kva__slab *kva__slab_surplus(struct kva_pool *pp, bool all);
/* Look at up to n partial slabs, in turn, whether they are filed by what their
 * span is; false: all were looked at.  Pool lock held. */
bool kva__slab_sweep(struct kva_pool *pp, unsigned n);

/* ---- all pools (pools.c) --------------------------------------------- */

void kva__pools_bootstrap(void);
void kva__pools_shutdown(void);
void kva__pools_link(struct kva_pool *pp);
/* When it returns nobody is at the pool by the list. */
void kva__pools_unlink(struct kva_pool *pp);
/* Every pool but those that go meanwhile; no lock is held for fn. */
void kva__pools_visit(void (*fn)(struct kva_pool *pp, void *arg), void *arg);

/* ---- pools (pool.c, limit.c) ----------------------------------------- */

/* Slabs that one hold of a lock takes out; and objects that it moves.  What
 * holds a lock does no more work than that. */
#define KVA__HOLD_SLABS 64u
#define KVA__HOLD_OBJECTS 512u

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
void kva__cache_bootstrap(void);
/* Give the metadata of slabs back; there must be no pool any more. */
void kva__pool_shutdown(void);

/* KVA_ENOTSUP, and nothing done: PR_PSERIALIZE without the port's barrier. */
int kva__pool_setup(struct kva_pool *pp, size_t size, unsigned align,
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
/* Destroy slabs that need not be kept (all: hysteresis aside), until so many
 * bytes went; how many did. */
size_t kva__pool_trim(struct kva_pool *pp, bool all, size_t bytes);
/* File all partial slabs by what their spans are now. */
void kva__pool_settle(struct kva_pool *pp);
int kva__pool_grow_to(struct kva_pool *pp, size_t free_wanted);
/* Call the drain hook, if there is one.  Bytes ever given back. */
void kva__pool_call_hook(struct kva_pool *pp);
size_t kva__pool_released(struct kva_pool *pp);

/* How many of n may be taken.  Pool lock held. */
unsigned kva__limit_room(const struct kva_pool *pp, unsigned n);
/* The limit was met: say so, wait if that is wanted.  False: fail.  Pool lock
 * not held. */
bool kva__limit_wait(struct kva_pool *pp, unsigned flags);
/* n objects were given back: wake who waits.  Pool lock not held. */
void kva__limit_wake(struct kva_pool *pp, size_t n);

/* What a cache's magazines hold, back to its slabs: how many objects. */
size_t kva__cache_flush(struct kva_pool *pp);
/* The cache that a pool is in, or NULL. */
static inline struct kva_pool_cache *
kva__cache_of(struct kva_pool *pp)
{
    return (pp->flags & KVA__PR_CACHE) == 0
               ? NULL
               : KVA_CONTAINER(pp, struct kva_pool_cache, slabs);
}

/* ---- misuse (misuse.c) ----------------------------------------------- */

/* What addr is, and why it cannot be put; does not return. */
_Noreturn void kva__pool_bad_put(const char *func, struct kva_pool *pp,
                                 uintptr_t addr, uint8_t expected);
_Noreturn void kva__pool_bad_destroy(const char *func, struct kva_pool *pp);
/* Report flags that func does not know, or a context that may not wait. */
void kva__pool_check_init(const struct kva_pool *pp, unsigned flags);
void kva__pool_check_wait(const char *func, const struct kva_pool *pp);
const char *kva__object_state_name(uint8_t state);
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
    uint32_t index = kva__object_index(pp, (uint32_t)(addr - base) - pp->first);
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
 * an object of the pool, not live, or its header is off the slab.
 */
static inline bool
kva__object_retire(struct kva_pool *pp, uintptr_t addr)
{
    uintptr_t base = addr & ~pp->slab_mask;
    const struct kva__slab *slab = (const struct kva__slab *)base;

    return KVA_LIKELY(kva__slabmap_get(base) == KVA__SLABMAP_IN) &&
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
 * A put that the hit path did not take: a header off the slab.  False: it is
 * a misuse (cache.c).
 */
bool kva__cache_put_long(struct kva_pool_cache *pc, uintptr_t object);
/* The same for one that was found to be live. */
void kva__cache_put_place(struct kva_pool_cache *pc, uintptr_t object,
                          const struct kva__place *place);

/* A retired object into a magazine. */
static inline void
kva__cache_put_magazine(struct kva_pool_cache *pc, uintptr_t object)
{
    if (KVA_UNLIKELY(!kva__mag_put(&pc->mags, object))) {
        kva__mag_put_slow(&pc->mags, &object);
    }
}

/* Report what is live in a cache; nobody uses it meanwhile (cache.c). */
void kva__pool_cache_expect_idle(struct kva_pool_cache *pc, const char *func);

#endif
