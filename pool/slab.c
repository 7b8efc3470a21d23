/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slabs: made from an arena, filled and emptied, put back.
 *
 * Placement decides how much comes back later.  An object is taken from the
 * fullest slab that has a free one, so that the others get a chance to run
 * empty; among slabs of the same eighth of fullness from one near the lowest
 * address; in a slab the lowest one.  Finding it is constant work: a bit for
 * each list that is not empty, a ring for each list whose head is its lowest
 * slab as far as inserting at the ends can tell.
 *
 * Nothing is ever written into a free object.
 *
 * Invariants
 *   S1  a slab is in the list that its count of free objects names.
 *   S2  bit i of the map is set if and only if state i is FREE, and nfree is
 *       the number of such bits.
 *   S3  nslabs * nobj = nfree + nout.
 */
#include "pool/pool_impl.h"

/* ---- lists ----------------------------------------------------------- */

static unsigned
list_of(const struct kva_pool *pp, unsigned nfree)
{
    if (nfree == 0) {
        return KVA__POOL_FULL;
    }
    if (nfree == pp->nobj) {
        return KVA__POOL_EMPTY;
    }
    return 1u + ((nfree - 1u) * pp->list_scale >> 16);
}

static void
list_insert(struct kva_pool *pp, struct kva__slab *slab)
{
    unsigned i = list_of(pp, slab->nfree);
    struct kva__slab *head = pp->list[i];

    slab->list = (uint8_t)i;
    if (head == NULL) {
        slab->next = slab;
        slab->prev = slab;
        pp->list[i] = slab;
        pp->list_map |= 1u << i;
        return;
    }
    slab->next = head;
    slab->prev = head->prev;
    head->prev->next = slab;
    head->prev = slab;
    if (kva__slab_base(slab) < kva__slab_base(head)) {
        pp->list[i] = slab;
    }
}

static void
list_remove(struct kva_pool *pp, struct kva__slab *slab)
{
    unsigned i = slab->list;

    if (slab->next == slab) {
        pp->list[i] = NULL;
        pp->list_map &= ~(1u << i);
        return;
    }
    slab->next->prev = slab->prev;
    slab->prev->next = slab->next;
    if (pp->list[i] == slab) {
        pp->list[i] = slab->next;
    }
}

/* The count of free objects has changed. */
static void
list_update(struct kva_pool *pp, struct kva__slab *slab)
{
    if (list_of(pp, slab->nfree) != slab->list) {
        list_remove(pp, slab);
        list_insert(pp, slab);
    }
}

/* ---- making and unmaking --------------------------------------------- */

/*
 * Quantum caches give ranges aligned to their size.  Where the arena has
 * none for that size, ask for the alignment.
 */
static bool
slab_is_cached(const struct kva_pool *pp, const kva_vmem_t *vm)
{
    return pp->slab_mask == 0 || pp->slab_bytes <= vm->qcache_max ||
           pp->slab_bytes >> vm->quantum_shift <= 1;
}

static int
range_get(const struct kva_pool *pp, unsigned flags, uintptr_t *base)
{
    kva_vmem_t *vm = *pp->allocator->arena;

    flags = (flags & KVA_PR_WAITOK) != 0 ? KVA_VM_SLEEP : KVA_VM_NOSLEEP;
    if (slab_is_cached(pp, vm)) {
        return kva_vmem_alloc(vm, pp->slab_bytes, flags | KVA_VM_INSTANTFIT,
                              base);
    }
    return kva_vmem_xalloc(vm, pp->slab_bytes, pp->slab_bytes, 0, 0,
                           KVA_VMEM_ADDR_MIN, KVA_VMEM_ADDR_MAX,
                           flags | KVA_VM_INSTANTFIT, base);
}

static void
range_put(const struct kva_pool *pp, uintptr_t base)
{
    kva_vmem_t *vm = *pp->allocator->arena;

    if (slab_is_cached(pp, vm)) {
        kva_vmem_free(vm, base, pp->slab_bytes);
    } else {
        kva_vmem_xfree(vm, base, pp->slab_bytes);
    }
}

static enum kva__slabmap_code
code_of(const struct kva_pool *pp)
{
    return (pp->flags & KVA__PR_OFF_SLAB) != 0 ? KVA__SLABMAP_OFF
                                               : KVA__SLABMAP_IN;
}

/* All objects free.  The states of a new slab follow its map. */
static void
slab_format(struct kva_pool *pp, struct kva__slab *slab)
{
    uint8_t *states = kva__slab_states(pp, slab);
    uintptr_t *map = kva__slab_map(slab);
    unsigned left = pp->nobj;

    for (unsigned i = 0; i < pp->map_words; i++) {
        map[i] = left >= KVA__WORD_BITS ? ~(uintptr_t)0
                                        : ((uintptr_t)1 << left) - 1u;
        left -= left >= KVA__WORD_BITS ? KVA__WORD_BITS : left;
    }
    for (unsigned i = 0; i < pp->nobj; i++) {
        kva__state_set(&states[i], KVA__OBJECT_FREE);
    }
    slab->nfree = (uint16_t)pp->nobj;
    slab->magic = KVA__SLAB_MAGIC;
    slab->owner = pp;
}

struct kva__slab *
kva__slab_create(struct kva_pool *pp, unsigned flags)
{
    bool off_slab = (pp->flags & KVA__PR_OFF_SLAB) != 0;
    struct kva__slab *slab;
    uintptr_t base;

    if (range_get(pp, flags, &base) != 0) {
        return NULL;
    }
    slab = off_slab ? kva__off_create(base, pp->header_bytes)
                    : (struct kva__slab *)base;
    if (slab == NULL) {
        range_put(pp, base);
        return NULL;
    }
    slab_format(pp, slab);
    if (!kva__slabmap_set(base, pp->slab_bytes, code_of(pp))) {
        slab->owner = NULL;
        if (off_slab) {
            kva__off_destroy(slab, pp->header_bytes);
        }
        range_put(pp, base);
        return NULL;
    }
    return slab;
}

void
kva__slab_destroy(struct kva_pool *pp, struct kva__slab *slab)
{
    uintptr_t base = kva__slab_base(slab);

    KVA_ASSERT(slab->nfree == pp->nobj);
    (void)kva__slabmap_set(base, pp->slab_bytes, KVA__SLABMAP_NONE);
    slab->owner = NULL;
    slab->magic = 0;
    if ((pp->flags & KVA__PR_OFF_SLAB) != 0) {
        kva__off_destroy(slab, pp->header_bytes);
    }
    range_put(pp, base);
}

/* ---- with the pool lock held ----------------------------------------- */

void
kva__slab_add(struct kva_pool *pp, struct kva__slab *slab)
{
    list_insert(pp, slab);
    pp->nslabs++;
    pp->nempty++;
    pp->nfree += pp->nobj;
}

/* Up to n objects out of one slab. */
static unsigned
slab_take(struct kva_pool *pp, struct kva__slab *slab, uintptr_t *object,
          unsigned n, uint8_t state)
{
    uint8_t *states = kva__slab_states(pp, slab);
    uintptr_t start = kva__slab_base(slab) + pp->first;
    uintptr_t *map = kva__slab_map(slab);
    unsigned got = 0;

    for (unsigned w = 0; w < pp->map_words && got < n; w++) {
        while (map[w] != 0 && got < n) {
            unsigned i = (w << KVA__WORD_SHIFT) + kva_ffs(map[w]);

            map[w] &= map[w] - 1u;
            KVA_ASSERT(states[i] == KVA__OBJECT_FREE);
            kva__state_set(&states[i], state);
            object[got++] = start + pp->size * i;
        }
    }
    slab->nfree = (uint16_t)(slab->nfree - got);
    return got;
}

unsigned
kva__slab_take(struct kva_pool *pp, uintptr_t *object, unsigned n,
               uint8_t state)
{
    unsigned got = 0;

    while (got < n && pp->nfree > got) {
        uint32_t lists = pp->list_map & ~(1u << KVA__POOL_FULL);
        struct kva__slab *slab = pp->list[kva_ffs(lists)];

        if (slab->list == KVA__POOL_EMPTY) {
            if (got != 0) {
                break; /* leave a slab empty rather than fill a magazine */
            }
            pp->nempty--;
        }
        got += slab_take(pp, slab, object + got, n - got, state);
        list_update(pp, slab);
    }
    pp->nfree -= got;
    pp->nout += got;
    pp->gets += got;
    return got;
}

void
kva__slab_give(struct kva_pool *pp, const struct kva__place *place)
{
    struct kva__slab *slab = place->slab;

    kva__state_set(place->state, KVA__OBJECT_FREE);
    kva__slab_map(slab)[place->index >> KVA__WORD_SHIFT] |=
        (uintptr_t)1 << (place->index & (KVA__WORD_BITS - 1u));
    slab->nfree++;
    pp->nfree++;
    pp->nout--;
    pp->puts++;
    if (slab->nfree == pp->nobj) {
        pp->nempty++;
    }
    list_update(pp, slab);
}

/*
 * How many empty slabs a pool keeps: what the marks ask for; without marks one,
 * against making and unmaking the same slab, once the pool is large enough for
 * one not to matter.
 */
#define SLABS_WORTH_A_SPARE 4u

static bool
slab_is_surplus(const struct kva_pool *pp, bool all)
{
    size_t objects = (pp->nslabs - 1u) * pp->nobj;

    if (pp->nfree - pp->nobj < pp->lowat || objects < pp->primed) {
        return false;
    }
    if (all || kva__wait_for(*pp->allocator->arena)) {
        return true;
    }
    if (pp->hiwat != KVA__POOL_NONE) {
        return objects + pp->nobj > pp->hiwat;
    }
    return pp->nempty > 1 || pp->nslabs - pp->nempty < SLABS_WORTH_A_SPARE;
}

struct kva__slab *
kva__slab_surplus(struct kva_pool *pp, bool all)
{
    struct kva__slab *slab = pp->list[KVA__POOL_EMPTY];

    if (slab == NULL || !slab_is_surplus(pp, all)) {
        return NULL;
    }
    /* The highest one goes, as far as the ring knows. */
    slab = slab->prev;
    list_remove(pp, slab);
    pp->nslabs--;
    pp->nempty--;
    pp->nfree -= pp->nobj;
    pp->released += pp->slab_bytes;
    return slab;
}

/* ---- finding --------------------------------------------------------- */

bool
kva__slab_find(struct kva_pool *pp, uintptr_t addr, struct kva__place *place)
{
    uintptr_t base = addr & ~pp->slab_mask;
    struct kva__slab *slab;

    if (kva__slabmap_get(base) != code_of(pp)) {
        return false;
    }
    slab = (pp->flags & KVA__PR_OFF_SLAB) != 0 ? kva__off_find(base)
                                               : (struct kva__slab *)base;
    if (slab == NULL || slab->owner != pp) {
        return false;
    }
    kva__slab_place(pp, slab, base, addr, place);
    return true;
}

struct kva__slab *
kva__slab_of(uintptr_t addr)
{
    struct kva__slab *slab = NULL;
    uintptr_t base;

    switch (kva__slabmap_find(addr, &base)) {
    case KVA__SLABMAP_IN:
        slab = (struct kva__slab *)base;
        break;
    case KVA__SLABMAP_OFF:
        slab = kva__off_find(base);
        break;
    case KVA__SLABMAP_NONE:
    case KVA__SLABMAP_MORE:
    default:
        break;
    }
    /* A slab that is just going has no owner any more. */
    return slab == NULL || slab->owner == NULL ? NULL : slab;
}
