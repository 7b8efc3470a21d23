/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of pool/ share, and what kmem/ and malloc_compat/ use of it.
 *
 *     in the slab     | header | states | map | object | object | ... | rest |
 *     off the slab    | object | object | ...  |      header somewhere else
 *
 * The map has a bit for each free object and is used with the pool lock held.
 * A state byte belongs to whoever holds the object: the hit paths write it with
 * no lock.  Hence two tables for what looks like one fact.
 *
 * From an address to its object:
 *
 *      addr --> page --> header: owner, bias --> index --> state byte
 *
 * A page leads to the header of the slab that it is in, wherever that lies, or
 * to one that nobody owns; so any address may be asked for, and one compare
 * with the owner says that it is in a slab of that pool.  The index follows by
 * a multiplication (kva__object_index), the state byte by an addition.
 */
#ifndef KVA_POOL_POOL_IMPL_H
#define KVA_POOL_POOL_IMPL_H

#include "pool/pool_store.h"
#include "vmem/lookup.h"
#include "vmem/meta.h"
#include "vmem/reserve.h"
#include "vmem/vmem_store.h"
#if KVA_SLABS_BY_HEADER
#include "vmem/qcache.h"
#endif

/* Private flags of a pool, above the public ones. */
#define KVA__PR_CACHE 0x01000000u    /* the pool is that of a pool_cache */
#define KVA__PR_OFF_SLAB 0x02000000u /* headers are not in the slab */
#define KVA__PR_LIMBO 0x04000000u    /* destructors wait for the barrier */
#define KVA__PR_SINGLE 0x08000000u   /* slabs of one object, of any length */
#define KVA__PR_NESTED 0x10000000u   /* slabs may be objects of a pool */
#define KVA__PR_MOVES 0x20000000u    /* its objects may be moved (move.c) */
#define KVA__PR_SIZES 0x40000000u    /* records have the bytes asked for */
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
    KVA__OBJECT_CACHED = 2,  /* in a magazine, constructed */
    KVA__OBJECT_RESERVED = 3 /* live, of a cache's reserve: to hit paths it is
                                nothing that they know (reserve.c) */
};

/* What an object is while the magazines have it: without checks at each get
 * and put nobody tells the two apart. */
#define KVA__OBJECT_OUT \
    ((uint8_t)(KVA_CONFIG_CHECKS ? KVA__OBJECT_CACHED : KVA__OBJECT_LIVE))

#define KVA__SLAB_MAGIC 0x5au
#define KVA__SLAB_MAGIC_RESERVE 0xa5u

/*
 * (s) lock of the pool, (c) constant while the slab is the pool's.  What the
 * hit paths look at lies in one line with the first states.
 */
struct kva__slab {
    struct kva_pool *owner; /* (c) nobody's: this is no slab */
    struct kva__slab *next; /* (s) of its list or tree */
    struct kva__slab *prev; /* (s) */
    uint32_t bias;          /* (c) address of the first object, times inverse */
    uint16_t nfree;         /* (s) */
    uint8_t file;           /* (s) which list or tree */
    uint8_t level;          /* (s) by which it is filed in a tree, and above
                               that how often something was not to be moved */
    uint8_t magic;          /* (c) */
    uint8_t state[];        /* of each object; then the map */
};

/* What lies before a header that is kept elsewhere. */
struct kva__off_slab {
    uintptr_t base; /* (c) of the slab */
    uintptr_t pad;  /* the header begins a line's half, as in a slab */
};

/* A thing in the magazines of a pool cache.  With checks at each get and put
 * it has its state byte with it, so that a get need not look for that. */
struct kva__round {
#if KVA_CONFIG_CHECKS
    uintptr_t state;
#endif
    uintptr_t object;
};
#define KVA__ROUND_WORDS (sizeof(struct kva__round) / sizeof(uintptr_t))

/* ---- where slabs are (slab_map.c) ------------------------------------ */

/*
 * A pointer for each page: the header of the slab that it is in, or nobody's.
 * A leaf, one metadata page, has those of 2 MiB of addresses (4 KiB pages,
 * 64-bit words).  The root names the leaves of the addresses from an origin on,
 * which is placed with the first slab; what lies beyond is found by a longer
 * way (slab_map.c).  A leaf is named by where its entry for page 0 would lie,
 * pages being counted from the origin, so that the whole number of a page leads
 * to its entry.
 *
 * Readers take no lock; leaves are never given back while there are pools.
 */
#define KVA__WORD_SHIFT (KVA_WORD_64 ? 6u : 5u)
#define KVA__LEAF_SHIFT (KVA_PAGE_SHIFT - (KVA_WORD_64 ? 3u : 2u))
#define KVA__LEAF_PAGES ((uintptr_t)1 << KVA__LEAF_SHIFT)
/* With 32-bit words, all addresses. */
#define KVA__ROOT_SHIFT \
    (KVA_WORD_64 ? KVA_SLAB_ROOT_SHIFT : 32u - KVA_PAGE_SHIFT - KVA__LEAF_SHIFT)
#define KVA__ROOT_LEAVES (1u << KVA__ROOT_SHIFT)
/* Pages that the root sees. */
#define KVA__SLAB_REACH ((uintptr_t)KVA__ROOT_LEAVES << KVA__LEAF_SHIFT)

extern uintptr_t kva__slabmap_root[KVA__ROOT_LEAVES];
extern uintptr_t kva__slabmap_origin; /* set once, with the first slab */

/* What nobody's slab belongs to: has no objects, and its magazines none. */
extern struct kva_pool kva__pool_nobodys;
extern struct kva__slab kva__slab_nobodys;

/* The number of addr's page, counted from the origin. */
static inline uintptr_t
kva__slabmap_page(uintptr_t addr)
{
    return (addr - KVA__ONCE(kva__slabmap_origin)) >> KVA_PAGE_SHIFT;
}

/* The header for a page that the root sees. */
static inline struct kva__slab *
kva__slabmap_at(uintptr_t page)
{
    uintptr_t leaf = __atomic_load_n(
        &kva__slabmap_root[page >> KVA__LEAF_SHIFT], __ATOMIC_ACQUIRE);

    return __atomic_load_n(
        (struct kva__slab **)(leaf + page * sizeof(struct kva__slab *)),
        __ATOMIC_ACQUIRE);
}

/* None of these is there if the port keeps the owners of pages. */
void kva__slabmap_bootstrap(void);
/* Enter a slab, or take it out (NULL).  False: no metadata. */
bool kva__slabmap_set(uintptr_t base, size_t bytes, struct kva__slab *slab);
/* The header for addr's page, wherever; nobody's is NULL here. */
struct kva__slab *kva__slabmap_find(uintptr_t addr);
void kva__slabmap_fini(void);

/* ---- which slab an address is in (slab_lookup.c) ----------------------- */

#if KVA_SLABS_BY_HEADER
/* Where hits look for marked slabs: kmem_arena, from its first slab on. */
extern const kva_vmem_t *kva__slab_arena;
#endif

void kva__lookup_bootstrap(void);
void kva__lookup_fini(void);
/* From now on the slab is found by the addresses of its pages.  False: no
 * metadata. */
bool kva__lookup_enter(const struct kva_pool *pp, struct kva__slab *slab,
                       uintptr_t base);
/* No longer; outer, if not NULL, is again, as before the slab was entered. */
void kva__lookup_leave(const struct kva_pool *pp, struct kva__slab *slab,
                       uintptr_t base, struct kva__slab *outer);
/* The header of the slab that addr is in, or NULL.  Any address. */
struct kva__slab *kva__lookup_find(uintptr_t addr);

/* ---- headers off the slab (off_slab.c) ------------------------------- */

void kva__off_bootstrap(void);
/* The lock of such headers and of the map of slabs. */
kva_irq_t kva__off_lock(void);
void kva__off_unlock(kva_irq_t irq);
void kva__off_fini(void);
/* A header of at least bytes for the slab at base; or NULL. */
struct kva__slab *kva__off_create(uintptr_t base, size_t bytes);
void kva__off_destroy(struct kva__slab *slab, size_t bytes);
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
/* The same for slabs of the reserve; with PR_RESERVE the pages may come from the
 * reserve of those. */
int
kva__reserve_range_get(struct kva_pool *pp, unsigned flags, uintptr_t *base);
void kva__reserve_range_put(struct kva_pool *pp, uintptr_t base);

/* Somebody waits for what the pool might give back. */
static inline bool
kva__pool_wanted(const struct kva_pool *pp)
{
    const kva_vmem_t *vm = kva__wait_any() ? kva__pool_arena(pp) : NULL;

    return vm != NULL && kva__wait_for(vm);
}

/* ---- colours (colour.c) ------------------------------------------------ */

/* Where the objects of the next slab begin, beyond the first place. */
uint32_t kva__colour_next(struct kva_pool *pp);
/* By the waste of a slab and the alignment of objects. */
void kva__colour_init(struct kva_pool *pp, size_t waste, size_t align);

/* ---- slabs in objects (nest.c) ----------------------------------------- */

/*
 * A slab that comes from a function may be an object of another pool, whose
 * slab the map then has to give again: behind the free map there is a word for
 * its header, or NULL.
 */
size_t kva__nest_bytes(unsigned flags);
struct kva__slab *
kva__nest_outer(const struct kva_pool *pp, struct kva__slab *slab);
void kva__nest_note(const struct kva_pool *pp, struct kva__slab *slab,
                    uintptr_t base);
/* Is a slab what the map says of addr, or does it hold what that is in? */
bool kva__nest_holds(struct kva__slab *slab, uintptr_t addr);

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
void kva__limbo_push(struct kva_pool_cache *pc, const struct kva__round *round,
                     unsigned n);
/* Up to n of them out again, as constructed as they were. */
unsigned
kva__limbo_pop(struct kva_pool_cache *pc, struct kva__round *round, unsigned n);
size_t kva__limbo_count(struct kva_pool_cache *pc);
/* Destruct those that wait, if the caller may; how many. */
size_t kva__limbo_settle(struct kva_pool_cache *pc);

/* ---- geometry (layout.c) --------------------------------------------- */

void kva__pool_layout(struct kva_pool *pp, size_t size, size_t align,
                      size_t offset, size_t slab_bytes);
/* The same, but false if they fit in no slab. */
bool kva__pool_layout_fits(struct kva_pool *pp, size_t size, size_t align,
                           size_t offset, size_t slab_bytes);
/* One object first bytes into each slab, which is no longer than that. */
void kva__pool_layout_single(struct kva_pool *pp, size_t size,
                             size_t slab_bytes, size_t first);
/* Quotient without a division instruction; d is not 0.  Not for hot paths. */
size_t kva__pool_divide(size_t n, size_t d);

/*
 * Which object starts at addr, in a slab with that bias: a number below nobj,
 * or something larger if none does.  A multiple of an odd number, times its
 * inverse modulo 2^32, is the quotient, and nothing else maps to a number that
 * small; the bits below the power of two rotate to the top.  (Hacker's Delight,
 * 10-17.)  The bias is the first object's address times the inverse: where that
 * lies may differ from slab to slab.
 */
static inline uint32_t
kva__object_index(const struct kva_pool *pp, uint32_t bias, uintptr_t addr)
{
    uint32_t q = (uint32_t)addr * pp->inverse - bias;

    return q >> (pp->shift & 31u) | q << (-pp->shift & 31u);
}

/* ---- slabs (slab.c) -------------------------------------------------- */

static inline uintptr_t *
kva__slab_map(const struct kva_pool *pp, struct kva__slab *slab)
{
    return (uintptr_t *)((uintptr_t)slab + pp->map_offset);
}

static inline uint8_t *
kva__slab_states(const struct kva_pool *pp, struct kva__slab *slab)
{
    (void)pp;
    return slab->state;
}

/* What is kept of an object beside its state, record_bytes of it. */
static inline void *
kva__slab_record(const struct kva_pool *pp, struct kva__slab *slab,
                 uint32_t index)
{
    return (char *)slab + pp->record_offset + (size_t)index * pp->record_bytes;
}

static inline uintptr_t
kva__slab_base(const struct kva__slab *slab)
{
    const struct kva__off_slab *off =
        (const struct kva__off_slab *)(const void *)slab - 1;

    return (slab->owner->flags & KVA__PR_OFF_SLAB) != 0 ? off->base
                                                        : (uintptr_t)slab;
}

/* Where the first object lies, from the bias: the inverse's inverse is the odd
 * part of the size. */
static inline uintptr_t
kva__slab_first(const struct kva__slab *slab)
{
    uintptr_t base = kva__slab_base(slab);
    uint32_t odd = (uint32_t)(slab->owner->stride >> slab->owner->shift);

    return base + (uint32_t)(slab->bias * odd - (uint32_t)base);
}

static inline uintptr_t
kva__slab_object(const struct kva__slab *slab, uint32_t index)
{
    return kva__slab_first(slab) + slab->owner->stride * index;
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

/* The slab that holds addr, whosever it is, or NULL. */
struct kva__slab *kva__slab_of(uintptr_t addr);

/* The place of addr in a slab that holds it. */
static inline void
kva__slab_place(const struct kva_pool *pp, struct kva__slab *slab,
                uintptr_t addr, struct kva__place *place)
{
    place->slab = slab;
    place->index = kva__object_index(pp, slab->bias, addr);
    place->state = NULL;
    if (place->index < pp->nobj) {
        place->state = &slab->state[place->index];
    }
}

/* A round of which the object is known: one of the pool's, not free. */
static inline void
kva__round_complete(const struct kva_pool *pp, struct kva__round *round)
{
#if KVA_CONFIG_CHECKS
    struct kva__slab *slab = kva__slab_of(round->object);

    round->state =
        (uintptr_t)&slab
            ->state[kva__object_index(pp, slab->bias, round->object)];
#else
    (void)pp;
    (void)round;
#endif
}

/* Does a live object start there? */
static inline bool
kva__place_is_live(const struct kva__place *place)
{
    uint8_t state = place->state != NULL ? kva__state_get(place->state)
                                         : (uint8_t)KVA__OBJECT_FREE;

    return state == KVA__OBJECT_LIVE ||
           (KVA_RESERVES && state == KVA__OBJECT_RESERVED);
}

/* Is it one of the reserve's? */
static inline bool
kva__slab_is_reserve(const struct kva__slab *slab)
{
    return KVA_RESERVES && slab->magic == KVA__SLAB_MAGIC_RESERVE;
}

/* The place of addr in a slab of the pool: false if it is in none. */
bool
kva__slab_find(struct kva_pool *pp, uintptr_t addr, struct kva__place *place);

/* Where a slab belongs by its free objects, unless it is pinned. */
unsigned
kva__slab_file_of(const struct kva_pool *pp, const struct kva__slab *slab);

/* A new slab, in no list, for the reserve or for all; NULL: no memory.  No lock
 * held. */
struct kva__slab *
kva__slab_create(struct kva_pool *pp, unsigned flags, bool reserve);
void kva__slab_destroy(struct kva_pool *pp, struct kva__slab *slab);

/* ---- where slabs are filed (slab.c, slab_tree.c) --------------------- */

/* A slab in none of pp->file[]: new, or about to go. */
#define KVA__SLAB_APART KVA__SLAB_FILES
#define KVA__SLAB_IN_TREE(file) ((file) >= KVA__SLAB_PARTIAL)

/* Six bits of level; two of how often the slab's objects were not to be moved,
 * as far as KVA__SLAB_STUCK. */
#define KVA__SLAB_LEVEL_BITS 6u
#define KVA__SLAB_STUCK 3u

static inline unsigned
kva__slab_level(const struct kva__slab *slab)
{
    return slab->level & ((1u << KVA__SLAB_LEVEL_BITS) - 1u);
}

static inline unsigned
kva__slab_stuck(const struct kva__slab *slab)
{
    return slab->level >> KVA__SLAB_LEVEL_BITS;
}

static inline void
kva__slab_set_level(struct kva__slab *slab, unsigned level)
{
    slab->level =
        (uint8_t)(kva__slab_stuck(slab) << KVA__SLAB_LEVEL_BITS | level);
}

static inline void
kva__slab_set_stuck(struct kva__slab *slab, unsigned n)
{
    slab->level = (uint8_t)(n << KVA__SLAB_LEVEL_BITS | kva__slab_level(slab));
}

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
unsigned kva__slab_take(struct kva_pool *pp, struct kva__round *round,
                        unsigned n, uint8_t state);
void kva__slab_give(struct kva_pool *pp, const struct kva__place *place);
struct kva__slab *kva__slab_surplus(struct kva_pool *pp, bool all);
/* The same of the reserve: one object, 0 or 1; an empty slab that it can do
 * without; whether it has one. */
unsigned kva__slab_take_reserve(struct kva_pool *pp, struct kva__round *round,
                                uint8_t state);
struct kva__slab *kva__slab_reserve_surplus(struct kva_pool *pp);
bool kva__slab_reserve_has_surplus(const struct kva_pool *pp);
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

/*
 * For evacuation, with the pool lock held.  Pin a slab, so that it serves
 * nobody: false if it is new, or about to go.  Unpin it: true if it is to be
 * destroyed.  An object to which another one will be moved, or 0; it was not
 * used after all; it was, and what was moved lies where it was no more.
 */
bool kva__slab_pin(struct kva_pool *pp, struct kva__slab *slab);
bool kva__slab_unpin(struct kva_pool *pp, struct kva__slab *slab);
uintptr_t kva__slab_target(struct kva_pool *pp);
void kva__slab_untarget(struct kva_pool *pp, const struct kva__place *place);
void kva__slab_moved(struct kva_pool *pp, const struct kva__place *place);

/* ---- moving objects (move.c) ----------------------------------------- */

void kva__move_bootstrap(void);
void kva__move_fini(void);
/* With it held a slab of a movable cache neither comes nor goes. */
kva_irq_t kva__move_lock(void);
void kva__move_unlock(kva_irq_t irq);
/* The cache's objects are moved no more; waits until none is. */
void kva__move_end(struct kva_pool_cache *pc);

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
unsigned kva__pool_take(struct kva_pool *pp, struct kva__round *round,
                        unsigned n, unsigned flags, uint8_t state);
/* Objects back, which are in that state; func is named if one is not. */
void kva__pool_give(struct kva_pool *pp, const struct kva__round *round,
                    unsigned n, uint8_t state, const char *func);
/* A new slab, with all that the pool needs for it; NULL: no memory. */
struct kva__slab *
kva__pool_new_slab(struct kva_pool *pp, unsigned flags, bool reserve);
/* Destroy slabs that need not be kept (all: hysteresis aside), until so many
 * bytes went; how many did. */
size_t kva__pool_trim(struct kva_pool *pp, bool all, size_t bytes);
/* Bytes of the empty slabs beyond those for so many objects; SIZE_MAX if none is
 * to stay. */
size_t kva__pool_spare(struct kva_pool *pp, size_t keep);
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

/* With KVA__PR_SIZES: the bytes asked for, the first thing in a record. */
static inline uint16_t *
kva__slab_asked(const struct kva_pool *pp, const struct kva__place *place)
{
    return kva__slab_record(pp, place->slab, place->index);
}

/* ---- reserves (reserve.c) --------------------------------------------- */

/* One object by one who is entitled, in that state: false if there is none. */
bool kva__reserve_take(struct kva_pool *pp, struct kva__round *round,
                       unsigned flags, uint8_t state);
/* The same from a cache whose magazine had none: constructed, or NULL. */
void *kva__reserve_cache_get(struct kva_pool_cache *pc, unsigned flags);
/* A live object, state and all, past the magazines to its slab. */
void kva__reserve_cache_put(struct kva_pool_cache *pc, uintptr_t addr,
                            const struct kva__place *place, const char *func);
/* Slabs for what the reserve lacks, as far as there is memory for everybody. */
int kva__reserve_fill(struct kva_pool *pp);
/* Objects of the reserve went out, or came back.  Pool lock held. */
void kva__reserve_changed(struct kva_pool *pp);

/* An object for a caller, past all magazines. */
static inline bool
kva__pool_take_one(struct kva_pool *pp, struct kva__round *round,
                   unsigned flags, uint8_t state)
{
    return KVA_UNLIKELY(kva__reserve_entitled(flags))
               ? kva__reserve_take(pp, round, flags, state)
               : kva__pool_take(pp, round, 1, flags, state) != 0;
}

/* ---- debug modes (debug.c, debug_spec.c) ----------------------------- */

/* Does the pool have any?  Where there are none to have the compiler knows. */
static inline bool
kva__pool_debugged(const struct kva_pool *pp)
{
    return KVA_CONFIG_POOL_DEBUG && KVA_UNLIKELY(pp->debug != 0);
}

/* The modes for a pool that is being made, and what they make of its slabs. */
void kva__debug_setup(struct kva_pool *pp);
void kva__debug_layout(struct kva_pool *pp, size_t size, size_t align,
                       size_t offset, size_t page_bytes);
void kva__debug_format(const struct kva_pool *pp, struct kva__slab *slab);

/*
 * Get and put of a pool or cache with a debug mode; flags have been checked.
 * asked, size: bytes, for a pool with KVA__PR_SIZES; 0: the caller did not say.
 * caller: where to, of the interface's function.  False: it is no live object
 * of the pool, and that is all that is wrong.  No lock held.
 */
void *kva__debug_get(const char *func, struct kva_pool *pp, unsigned flags,
                     size_t asked, const void *caller);
bool kva__debug_put(const char *func, struct kva_pool *pp, uintptr_t addr,
                    size_t size, const void *caller);
/* A live object stays where it is, and has another size from now on. */
void kva__debug_resize(const char *func, struct kva_pool *pp, uintptr_t addr,
                       size_t size);
/* All that is in quarantine goes back: how many.  And report, before the end,
 * what cannot. */
size_t kva__debug_flush(struct kva_pool *pp, const char *func);
void kva__debug_expect_clean(struct kva_pool *pp, const char *func);
/* Log who had an object, if that is known. */
void kva__audit_tell(const char *func, const struct kva_pool *pp,
                     const struct kva__place *place);
/* Addresses for a slab of one object with a gap beside it. */
int kva__firewall_range_get(const struct kva_pool *pp, unsigned flags,
                            uintptr_t *base);
void kva__firewall_range_put(const struct kva_pool *pp, uintptr_t base);

/* ---- misuse (misuse.c) ----------------------------------------------- */

/* What addr is, and why it cannot be put; does not return. */
_Noreturn void kva__pool_bad_put(const char *func, struct kva_pool *pp,
                                 uintptr_t addr, uint8_t expected);
_Noreturn void kva__pool_bad_destroy(const char *func, struct kva_pool *pp);
/* Report flags that func does not know, or a context that may not wait. */
void kva__pool_check_init(const struct kva_pool *pp, unsigned flags);
void kva__pool_check_wait(const char *func, const struct kva_pool *pp);
const char *kva__object_state_name(uint8_t state);
/* What only a pool has that was made and not ended: not its copy, either. */
static inline uintptr_t
kva__pool_magic(const struct kva_pool *pp)
{
    return (uintptr_t)pp ^ (uintptr_t)0x9001a11eu;
}

_Noreturn void kva__pool_dead(const char *func, const struct kva_pool *pp);

/* Report a pool that there is not.  Not for hits: the magazines of a cache that
 * was ended have nothing, and take nothing that was not looked at. */
static inline void
kva__pool_require(const struct kva_pool *pp, const char *func)
{
    if (KVA_UNLIKELY(pp == NULL || pp->alive != kva__pool_magic(pp))) {
        kva__pool_dead(func, pp);
    }
}

void kva__pool_check_flags(const char *func, const struct kva_pool *pp,
                           unsigned flags);
/* "pool" or "cache"; "pool_init" or "pool_cache_init". */
const char *kva__pool_kind(const struct kva_pool *pp);
const char *kva__pool_init_name(const struct kva_pool *pp);

/* ---- the hit paths --------------------------------------------------- */

/*
 * Small and flat: nothing is pushed, and each way out is a tail call of who
 * begins anew, so what misses has changed nothing.
 */

/*
 * The slab that addr is in, if the first pages of the map are to be looked at:
 * KVA__SLAB_REACH of them, or 0.  False: look longer.  The port's owners are
 * looked at wherever they are; headers, if they begin the page that addr is in.
 */
static inline bool
kva__slab_near(uintptr_t addr, uintptr_t reach, struct kva__slab **slab)
{
#if KVA_SLABS_BY_OWNER
    if (KVA_UNLIKELY(reach == 0)) {
        return false;
    }
    *slab = kva_port_page_owner(addr);
    return KVA_LIKELY(*slab != NULL);
#elif KVA_SLABS_BY_HEADER
    uintptr_t base;

    if (KVA_UNLIKELY(
            reach == 0 ||
            !qcache_marked_first(KVA__ONCE(kva__slab_arena), addr, &base))) {
        return false;
    }
    *slab = (struct kva__slab *)base;
    return true;
#else
    uintptr_t page = kva__slabmap_page(addr);

    if (KVA_UNLIKELY(page >= reach)) {
        return false;
    }
    *slab = kva__slabmap_at(page);
    return true;
#endif
}

/* An object from the magazine of the CPU that the caller is pinned to. */
static inline bool
kva__cache_take(const struct kva_pool *pp, unsigned cpu,
                struct kva__round *round)
{
    return kva__mag_get(KVA__ONCE(pp->rows), cpu, KVA__ROUND_WORDS,
                        (uintptr_t *)(void *)round);
}

/* Make it live. */
static inline void *
kva__round_revive(const struct kva__round *round)
{
#if KVA_CONFIG_CHECKS
    kva__state_set((uint8_t *)round->state, KVA__OBJECT_LIVE);
#endif
    return (void *)round->object;
}

/* Is a live object of the pool's at addr, in that slab of its?  Its state. */
static inline bool
kva__object_is_live(const struct kva_pool *pp, struct kva__slab *slab,
                    uintptr_t addr, uint8_t **state)
{
    uint32_t index = kva__object_index(pp, slab->bias, addr);

    if (KVA_UNLIKELY(index >= pp->nobj)) {
        return false;
    }
    *state = &slab->state[index];
    return KVA_LIKELY(KVA__ONCE(**state) == KVA__OBJECT_LIVE);
}

/* The whole of a put that hits, by rows of the pool's. */
static inline bool
kva__cache_give(struct kva__mag_rows *rows, unsigned cpu, uint8_t *state,
                uintptr_t addr)
{
    return kva__mag_put(rows, cpu, KVA__ROUND_WORDS, state, KVA__OBJECT_CACHED,
                        addr);
}

static inline bool
kva__cache_hit_put(struct kva_pool *pp, uintptr_t addr)
{
    struct kva__slab *slab;
    uint8_t *state = NULL;
    unsigned cpu;
    bool put;

    if (KVA_CONFIG_CHECKS && (!kva__slab_near(addr, KVA__SLAB_REACH, &slab) ||
                              KVA_UNLIKELY(slab->owner != pp) ||
                              !kva__object_is_live(pp, slab, addr, &state))) {
        return false;
    }
    cpu = kva_cpu_enter_hit();
    put = kva__cache_give(KVA__ONCE(pp->rows), cpu, state, addr);
    kva_cpu_exit(cpu);
    return put;
}

/* ---- ways out of them (cache.c) -------------------------------------- */

/*
 * All of a get, and of a put; the put is false, and nothing done, if there is
 * no live object of the cache there.  For a cache with a debug mode: how many
 * bytes were asked for, or are said to have been, where that is known, else 0;
 * and where the interface's function returns to.
 */
void *kva__cache_get_slow(struct kva_pool_cache *pc, int flags, size_t asked,
                          const void *caller);
bool kva__cache_put_slow(const char *func, struct kva_pool_cache *pc,
                         uintptr_t addr, size_t size, const void *caller);

/* What a hit path hands on for debug modes is used: then it is the same code
 * whether there are any. */
#define KVA__USED(x) __asm__ volatile("" : : "g"(x))
/* A live object, found already, to the magazines. */
void kva__cache_put_place(struct kva_pool_cache *pc, uintptr_t addr,
                          const struct kva__place *place);
/* Let those free into a cache who do not name it. */
void kva__cache_show(struct kva_pool_cache *pc);

/* Report what is live in a cache; nobody uses it meanwhile (cache.c). */
void kva__pool_cache_expect_idle(struct kva_pool_cache *pc, const char *func);

#endif
