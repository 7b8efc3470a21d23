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
    size_t held; /* free, in slabs that are pinned */
    size_t reserve_free;
    size_t reserve_out;
};

static const char *
check_objects(const struct kva_pool *pp, struct kva__slab *slab)
{
    const uintptr_t *map = kva__slab_map(pp, slab);
    unsigned nfree = 0;

    for (unsigned i = 0; i < pp->nobj; i++) {
        bool marked =
            (map[i >> KVA__WORD_SHIFT] >> (i & (KVA__WORD_BITS - 1u)) & 1u) !=
            0;
        uint8_t state = kva__state_get(&slab->state[i]);

        if (marked != (state == KVA__OBJECT_FREE)) {
            return "S2: an object is free in the map or by its state, but not "
                   "both";
        }
        if (state > KVA__OBJECT_RESERVED) {
            return "S2: an object has a state that does not exist";
        }
        if (state == KVA__OBJECT_RESERVED && !kva__slab_is_reserve(slab)) {
            return "S4: an object of the reserve is in another slab";
        }
        nfree += marked;
    }
    if (nfree != slab->nfree) {
        return "S2: a slab does not have as many free objects as it counts";
    }
    return NULL;
}

static const char *
check_slab(const struct kva_pool *pp, struct kva__slab *slab)
{
    uintptr_t base;

    if (slab->owner != pp ||
        (slab->magic != KVA__SLAB_MAGIC && !kva__slab_is_reserve(slab))) {
        return "a slab in a list is not the pool's";
    }
    base = kva__slab_base(slab);
    if (slab->file != kva__slab_file_of(pp, slab) &&
        slab->file != KVA__SLAB_PINNED) {
        return "S1: a slab is in the wrong list or tree";
    }
    if (!KVA__SLAB_IN_TREE(slab->file) &&
        slab !=
            (slab->prev == NULL ? pp->file[slab->file] : slab->prev->next)) {
        return "a list of slabs is broken";
    }
    if (!kva__nest_holds(slab, base) ||
        !kva__nest_holds(slab, base + pp->slab_bytes - 1u)) {
        return "a slab is not found by its addresses";
    }
    return check_objects(pp, slab);
}

/* One after the other; a tree that is broken has fewer or more of them than
 * the pool counts. */
static const char *
check_slabs(struct kva_pool *pp, struct sums *sums)
{
    struct kva__slab *slab = kva__slab_next(pp, NULL);
    const char *wrong = NULL;

    while (slab != NULL && sums->slabs <= pp->nslabs && wrong == NULL) {
        bool pinned = slab->file == KVA__SLAB_PINNED;

        wrong = check_slab(pp, slab);
        if (wrong == NULL && KVA__SLAB_IN_TREE(slab->file)) {
            wrong = kva__slab_tree_check(slab);
        }
        sums->slabs++;
        if (kva__slab_is_reserve(slab)) {
            sums->reserve_free += slab->nfree;
            sums->reserve_out += pp->nobj - slab->nfree;
        } else {
            sums->nfree += pinned ? 0 : slab->nfree;
        }
        sums->held += pinned ? slab->nfree : 0;
        sums->empty += slab->file == KVA__SLAB_EMPTY;
        slab = kva__slab_next(pp, slab);
    }
    return wrong;
}

const char *
pool_check(struct kva_pool *pp)
{
    struct sums sums = { .slabs = 0 };
    kva_irq_t irq = kva__pool_lock(pp);
    const char *wrong = check_slabs(pp, &sums);

    if (wrong == NULL && sums.slabs != pp->nslabs) {
        wrong = "the lists do not hold as many slabs as the pool counts";
    }
    if (wrong == NULL &&
        (sums.nfree != pp->nfree || sums.empty != pp->nempty)) {
        wrong = "the slabs do not add up to the pool's counts";
    }
    if (wrong == NULL && (sums.reserve_free != pp->reserve_free ||
                          sums.reserve_out != pp->reserve_out)) {
        wrong = "S4: the slabs of the reserve do not add up to its counts";
    }
    if (wrong == NULL &&
        (pp->nslabs * pp->nobj !=
             pp->nfree + pp->nout + pp->nheld + pp->reserve_free ||
         pp->nheld < sums.held)) {
        wrong = "S3: free, taken and held objects are not all objects";
    }
    kva__pool_unlock(pp, irq);
    return wrong;
}
