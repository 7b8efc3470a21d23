/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The checker: walks every slab of a pool and answers with the first thing
 * that does not hold.  Objects in use may change state meanwhile, so states are
 * compared with FREE only.
 */
#include "pool/pool_impl.h"

struct sums {
    size_t slabs;
    size_t empty;
    size_t nfree;
};

static const char *
check_objects(const struct kva_pool *pp, struct kva__slab *slab)
{
    const uint8_t *states = kva__slab_states(pp, slab);
    const uintptr_t *map = kva__slab_map(slab);
    unsigned nfree = 0;

    for (unsigned i = 0; i < pp->nobj; i++) {
        bool marked =
            (map[i >> KVA__WORD_SHIFT] >> (i & (KVA__WORD_BITS - 1u)) & 1u) !=
            0;
        uint8_t state = kva__state_get(&states[i]);

        if (marked != (state == KVA__OBJECT_FREE)) {
            return "S2: an object is free in the map or by its state, but not "
                   "both";
        }
        if (state > KVA__OBJECT_CACHED) {
            return "S2: an object has a state that does not exist";
        }
        nfree += marked;
    }
    if (nfree != slab->nfree) {
        return "S2: a slab does not have as many free objects as it counts";
    }
    return NULL;
}

static const char *
check_slab(const struct kva_pool *pp, struct kva__slab *slab, unsigned list)
{
    unsigned want = slab->nfree == 0 ? KVA__POOL_FULL
                    : slab->nfree == pp->nobj
                        ? KVA__POOL_EMPTY
                        : 1u + ((slab->nfree - 1u) * pp->list_scale >> 16);
    bool off = (pp->flags & KVA__PR_OFF_SLAB) != 0;

    if (slab->owner != pp || slab->magic != KVA__SLAB_MAGIC) {
        return "a slab in a list is not the pool's";
    }
    if (slab->list != list || want != list) {
        return "S1: a slab is in the wrong list";
    }
    if (slab->next->prev != slab || slab->prev->next != slab) {
        return "a ring of slabs is broken";
    }
    if (kva__slabmap_get(kva__slab_base(slab)) !=
        (off ? KVA__SLABMAP_OFF : KVA__SLABMAP_IN)) {
        return "a slab is not in the map of slabs";
    }
    return check_objects(pp, slab);
}

static const char *
check_list(const struct kva_pool *pp, unsigned list, struct sums *sums)
{
    struct kva__slab *slab = pp->list[list];

    if ((slab != NULL) != ((pp->list_map >> list & 1u) != 0)) {
        return "the map of lists disagrees with the lists";
    }
    while (slab != NULL && sums->slabs <= pp->nslabs) {
        const char *wrong = check_slab(pp, slab, list);

        if (wrong != NULL) {
            return wrong;
        }
        sums->slabs++;
        sums->nfree += slab->nfree;
        sums->empty += list == KVA__POOL_EMPTY;
        slab = slab->next == pp->list[list] ? NULL : slab->next;
    }
    return NULL;
}

const char *
pool_check(struct kva_pool *pp)
{
    struct sums sums = { 0, 0, 0 };
    const char *wrong = NULL;
    kva_irq_t irq = kva__pool_lock(pp);

    for (unsigned i = 0; i < KVA__POOL_LISTS && wrong == NULL; i++) {
        wrong = check_list(pp, i, &sums);
    }
    if (wrong == NULL && sums.slabs != pp->nslabs) {
        wrong = "the lists do not hold as many slabs as the pool counts";
    }
    if (wrong == NULL &&
        (sums.nfree != pp->nfree || sums.empty != pp->nempty)) {
        wrong = "the slabs do not add up to the pool's counts";
    }
    if (wrong == NULL && pp->nslabs * pp->nobj != pp->nfree + pp->nout) {
        wrong = "S3: free and taken objects are not all objects";
    }
    kva__pool_unlock(pp, irq);
    return wrong;
}
