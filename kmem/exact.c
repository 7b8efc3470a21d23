/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The exact size at free, in debug builds.
 *
 * Every build finds the size of another class: it is another pool's.  To know
 * which size of the class it was takes two bytes for each object; they lie in
 * the slab's header behind the states, where a pool's debug modes keep more
 * (KVA__PR_SIZES), and are written at each allocation, hits included, which is
 * why it is for debug builds alone.  In other builds a cache with a debug mode
 * knows its sizes as well (pool/debug.c), since there is no hit there.
 *
 * An object that came from malloc(9) is noted like one of kmem's.
 */
#include "kmem/kmem_impl.h"

_Static_assert(KVA__KMEM_SMALL_MAX <= UINT16_MAX, "a size fits in two bytes");

/* A live object of a kmem cache; false: it is something else. */
static bool
place_of(const void *p, struct kva__place *place)
{
    struct kva__slab *slab = kva__slab_of((uintptr_t)p);

    if (slab == NULL || (slab->owner->flags & KVA__PR_SIZES) == 0) {
        return false;
    }
    kva__slab_place(slab->owner, slab, (uintptr_t)p, place);
    return place->state != NULL;
}

void
kva__exact_note(const void *p, size_t size)
{
    struct kva__place place;

    if (size <= KVA__KMEM_SMALL_MAX && place_of(p, &place)) {
        *kva__slab_asked(place.slab->owner, &place) = (uint16_t)size;
    }
}

void
kva__exact_check(const char *func, const void *p, size_t size, bool intr)
{
    struct kva__place place;
    const struct kva_pool *pp;
    size_t asked;

    if (!place_of(p, &place) || !kva__place_is_live(&place) ||
        kva__pool_debugged(place.slab->owner)) {
        return; /* there is more to say than the size */
    }
    pp = place.slab->owner;
    asked = *kva__slab_asked(pp, &place);
    /* The other form's object is more than a wrong size. */
    if (size != asked && size - pp->least < pp->span &&
        kva__kmem_owns(pp) != intr) {
        kva__misuse(func, "cache", pp->name, (uintptr_t)p,
                    "expected size %zu, found size %zu", asked, size);
    }
}

/* ---- where there is a mode, in all builds ----------------------------- */

struct kva_pool *
kva__kmem_mode_of(const void *p)
{
    struct kva__place place;

    if (!KVA_CONFIG_POOL_DEBUG || !kva__kmem_debugged || !place_of(p, &place) ||
        !kva__pool_debugged(place.slab->owner)) {
        return NULL;
    }
    return place.slab->owner;
}

size_t
kva__kmem_asked(const void *p)
{
    struct kva__place place;

    return place_of(p, &place) ? *kva__slab_asked(place.slab->owner, &place)
                               : 0;
}
