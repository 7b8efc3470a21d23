/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Debug modes: the long way that objects of a cache with any of them go.
 *
 *     get: slab --> poison, redzone as left? --> pages --> fill, note, ctor
 *     put: live? --> size, redzone as asked? --> room in quarantine?
 *              --> dtor, note --> poison, or pages off --> quarantine or slab
 *
 * Everything is looked at before anything is changed: a report leaves the pool
 * as it was before the call.  What is being looked at is the looker's alone: a
 * put first turns the object's state from LIVE to CACHED, with the pool locked,
 * and back if it has to report; so of two puts of one object one sees that it
 * is not live, though neither holds a lock while it compares bytes.
 *
 * That such a cache goes this way costs others nothing: it has no magazines, so
 * gets miss; and no slab names its key as owner, so the test of a put for an
 * object of the cache fails.  From there, on the way that is slow anyway, it is
 * asked for its modes.
 *
 * Invariants
 *   D1  an object that is free, or in quarantine, is filled with the byte for
 *       free ones (KVA_POOL_POISON), or has no pages (KVA_POOL_FIREWALL).
 *   D2  the slot around a live object is redzone from the bytes asked for on,
 *       that around a free one from the object's end on (KVA_POOL_REDZONE,
 *       KVA_POOL_FIREWALL while it is live).
 *   D3  an object in quarantine is CACHED; so is one that somebody looks at.
 */
#include "pool/debug_impl.h"

#define MODES_WALLED (KVA_POOL_REDZONE | KVA_POOL_FIREWALL)

static struct kva_pool_cache *
cache_of(struct kva_pool *pp)
{
    return (pp->flags & KVA__PR_CACHE) != 0
               ? KVA_CONTAINER(pp, struct kva_pool_cache, slabs)
               : NULL;
}

/* ---- reports, with nothing changed ----------------------------------- */

static void
tell(const char *func, struct kva_pool *pp, uintptr_t addr)
{
    struct kva__place place;

    if (kva__slab_find(pp, addr, &place) && place.state != NULL) {
        kva__audit_tell(func, pp, &place);
    }
}

void
kva__debug_bad_poison(const char *func, struct kva_pool *pp, uintptr_t addr)
{
    size_t where;

    (void)kva__poison_check(pp, addr, &where);
    tell(func, pp, addr);
    kva__misuse(func, kva__pool_kind(pp), pp->name, addr,
                "expected a free object as it was left, found 0x%02x at byte "
                "%zu",
                ((const unsigned char *)addr)[where], where);
}

static _Noreturn void
bad_redzone(const char *func, struct kva_pool *pp, uintptr_t addr, bool live,
            ptrdiff_t where)
{
    tell(func, pp, addr);
    kva__misuse(func, kva__pool_kind(pp), pp->name, addr,
                "expected the redzone %s %s, found 0x%02x at byte %ld",
                where < 0 ? "before" : "behind",
                live ? "the object" : "a free object",
                *(const unsigned char *)(addr + (size_t)where), (long)where);
}

static _Noreturn void
bad_size(const char *func, struct kva_pool *pp, uintptr_t addr, size_t asked,
         size_t size)
{
    tell(func, pp, addr);
    kva__misuse(func, kva__pool_kind(pp), pp->name, addr,
                "expected size %zu, found size %zu", asked, size);
}

/* What a drain has found and could not say. */
static void
expect_no_victim(const char *func, struct kva_pool *pp)
{
    uintptr_t bad = __atomic_load_n(&pp->quarantine.bad, __ATOMIC_RELAXED);
    size_t where;

    if (KVA_UNLIKELY(bad != 0)) {
        if (!kva__poison_check(pp, bad, &where)) {
            kva__debug_bad_poison(func, pp, bad);
        }
        /* It was mended meanwhile. */
        __atomic_store_n(&pp->quarantine.bad, 0, __ATOMIC_RELAXED);
    }
}

/* ---- making ---------------------------------------------------------- */

static void
debug_lay_out(struct kva_pool *pp, size_t size, size_t align, size_t offset,
              size_t page_bytes)
{
    size_t front, slot;

    if ((pp->debug & KVA_POOL_FIREWALL) != 0) {
        if (kva__firewall_layout(pp, size, align, offset)) {
            return;
        }
        pp->debug &= ~(KVA_POOL_FIREWALL | KVA_POOL_BEFORE);
    }
    if ((pp->debug & KVA_POOL_REDZONE) != 0) {
        slot = kva_round_up(kva__redzone_slot(size, &front), align);
        if (kva__pool_layout_fits(
                pp, slot, align, (offset + front) & (align - 1u), page_bytes)) {
            pp->size = size;
            pp->front = front;
            pp->first += (uint32_t)front;
            pp->slot = slot;
            return;
        }
        pp->debug &= ~KVA_POOL_REDZONE;
    }
    kva__pool_layout(pp, size, align, offset, page_bytes);
    pp->slot = pp->size;
}

void
kva__debug_layout(struct kva_pool *pp, size_t size, size_t align, size_t offset,
                  size_t page_bytes)
{
    debug_lay_out(pp, size, align, offset, page_bytes);
    if (pp->debug != 0) {
        kva__quarantine_init(pp);
    }
}

void
kva__debug_format(const struct kva_pool *pp, struct kva__slab *slab)
{
    struct kva__place place = { .slab = slab };

    for (; place.index < pp->nobj; place.index++) {
        uintptr_t addr = kva__slab_object(slab, place.index);

        __builtin_memset(kva__record_of(pp, &place), 0, pp->record_bytes);
        if ((pp->debug & KVA_POOL_FIREWALL) != 0) {
            continue;
        }
        if ((pp->debug & KVA_POOL_REDZONE) != 0) {
            kva__redzone_write(pp, addr, pp->size);
        }
        if ((pp->debug & KVA_POOL_POISON) != 0) {
            kva__poison_free(pp, addr);
        }
    }
}

/* ---- get ------------------------------------------------------------- */

static void
give_back(struct kva_pool *pp, uintptr_t addr, const char *func)
{
    struct kva__round round = { .object = addr };

    kva__pool_give(pp, &round, 1, KVA__OBJECT_CACHED, func);
}

/* A free object, or none that is as it was left. */
static void
expect_untouched(const char *func, struct kva_pool *pp, uintptr_t addr)
{
    ptrdiff_t around;
    size_t where;

    if ((pp->debug & KVA_POOL_FIREWALL) != 0) {
        return;
    }
    if ((pp->debug & KVA_POOL_POISON) != 0 &&
        !kva__poison_check(pp, addr, &where)) {
        give_back(pp, addr, func);
        kva__debug_bad_poison(func, pp, addr);
    }
    if ((pp->debug & KVA_POOL_REDZONE) != 0 &&
        !kva__redzone_check(pp, addr, pp->size, &around)) {
        give_back(pp, addr, func);
        bad_redzone(func, pp, addr, false, around);
    }
}

/* Back to what a free object is. */
static void
retire(struct kva_pool *pp, uintptr_t addr)
{
    if ((pp->debug & KVA_POOL_FIREWALL) != 0) {
        kva__firewall_down(pp, addr);
        return;
    }
    if ((pp->debug & KVA_POOL_REDZONE) != 0) {
        kva__redzone_behind(pp, addr, pp->size);
    }
    if ((pp->debug & KVA_POOL_POISON) != 0) {
        kva__poison_free(pp, addr);
    }
}

/* What a new object is, before its constructor. */
static void
equip(const struct kva_pool *pp, uintptr_t addr, size_t asked)
{
    if ((pp->debug & KVA_POOL_POISON) != 0) {
        kva__poison_new(pp, addr);
    }
    if ((pp->debug & MODES_WALLED) != 0) {
        kva__redzone_write(pp, addr, asked);
    }
}

static struct kva__record *
record_at(struct kva_pool *pp, uintptr_t addr, struct kva__place *place)
{
    if (!kva__slab_find(pp, addr, place) || place->state == NULL) {
        kva__panic("libkva: %s: 0x%lx was taken and is no object", pp->name,
                   (unsigned long)addr);
    }
    return kva__record_of(pp, place);
}

static bool
construct(struct kva_pool *pp, uintptr_t addr, unsigned flags)
{
    struct kva_pool_cache *pc = cache_of(pp);

    return pc == NULL || pc->ctor == NULL ||
           pc->ctor(pc->arg, (void *)addr,
                    (int)(flags & (KVA_PR_WAITOK | KVA_PR_NOWAIT))) == 0;
}

void *
kva__debug_get(const char *func, struct kva_pool *pp, unsigned flags,
               size_t asked, const void *caller)
{
    struct kva__record *record;
    struct kva__place place;
    struct kva__round round;
    uintptr_t addr;

    expect_no_victim(func, pp);
    if (!kva__pool_take_one(pp, &round, flags, KVA__OBJECT_CACHED)) {
        return NULL;
    }
    addr = round.object;
    expect_untouched(func, pp, addr);
    record = record_at(pp, addr, &place);
    asked = (pp->flags & KVA__PR_SIZES) == 0 ? pp->asked
            : asked == 0                     ? pp->size
                                             : asked;
    if ((pp->debug & KVA_POOL_FIREWALL) != 0 &&
        kva__firewall_up(pp, addr, flags) != 0) {
        give_back(pp, addr, func);
        return NULL;
    }
    equip(pp, addr, asked);
    if (!construct(pp, addr, flags)) {
        retire(pp, addr);
        give_back(pp, addr, func);
        return NULL;
    }
    if ((flags & KVA_PR_ZERO) != 0) {
        __builtin_memset((void *)addr, 0, asked);
    }
    record->asked = (uint16_t)asked;
    if ((pp->debug & KVA_POOL_AUDIT) != 0) {
        kva__audit_event(&record->event[KVA__EVENT_ALLOC], caller);
    }
    kva__state_set(place.state, KVA__OBJECT_LIVE);
    return (void *)addr;
}

/* ---- put ------------------------------------------------------------- */

/* A live object becomes ours; false: there is none. */
static bool
claim(struct kva_pool *pp, uintptr_t addr, struct kva__place *place)
{
    kva_irq_t irq = kva__pool_lock(pp);
    bool live = kva__slab_find(pp, addr, place) && kva__place_is_live(place);

    if (live) {
        kva__state_set(place->state, KVA__OBJECT_CACHED);
    }
    kva__pool_unlock(pp, irq);
    return live;
}

/* All that can be wrong with the put of an object that is ours.  It is live
 * again before it is said. */
static void
expect_whole(const char *func, struct kva_pool *pp, uintptr_t addr, size_t size,
             const struct kva__place *place)
{
    size_t asked = kva__record_asked(pp, kva__record_of(pp, place));
    ptrdiff_t where;
    uintptr_t victim;

    if (size != 0 && size != asked) {
        kva__state_set(place->state, KVA__OBJECT_LIVE);
        bad_size(func, pp, addr, asked, size);
    }
    if ((pp->debug & MODES_WALLED) != 0 &&
        !kva__redzone_check(pp, addr, asked, &where)) {
        kva__state_set(place->state, KVA__OBJECT_LIVE);
        bad_redzone(func, pp, addr, true, where);
    }
    if ((pp->debug & KVA_POOL_QUARANTINE) != 0 &&
        !kva__quarantine_room(pp, func, &victim)) {
        kva__state_set(place->state, KVA__OBJECT_LIVE);
        kva__debug_bad_poison(func, pp, victim);
    }
}

bool
kva__debug_put(const char *func, struct kva_pool *pp, uintptr_t addr,
               size_t size, const void *caller)
{
    struct kva_pool_cache *pc = cache_of(pp);
    struct kva__record *record;
    struct kva__place place;

    expect_no_victim(func, pp);
    if (!claim(pp, addr, &place)) {
        return false;
    }
    expect_whole(func, pp, addr, size, &place);
    if (pc != NULL && pc->dtor != NULL) {
        pc->dtor(pc->arg, (void *)addr);
    }
    record = kva__record_of(pp, &place);
    if ((pp->debug & KVA_POOL_AUDIT) != 0) {
        kva__audit_event(&record->event[KVA__EVENT_FREE], caller);
    }
    retire(pp, addr);
    if (!kva__quarantine_push(pp, addr)) {
        give_back(pp, addr, func);
    } else if (kva__mag_arena_closed(kva__pool_arena(pp)) ||
               __atomic_load_n(&pp->waitq.count, __ATOMIC_RELAXED) != 0) {
        /* Somebody began to wait just now, and may have drained before. */
        (void)kva__quarantine_drain(pp, func);
    }
    return true;
}

/* ---- in place -------------------------------------------------------- */

/* What it has grown by is redzone still: its owner's to write. */
void
kva__debug_resize(const char *func, struct kva_pool *pp, uintptr_t addr,
                  size_t size)
{
    struct kva__record *record;
    struct kva__place place;
    ptrdiff_t where;

    record = record_at(pp, addr, &place);
    if ((pp->debug & MODES_WALLED) != 0) {
        if (!kva__redzone_check(pp, addr, kva__record_asked(pp, record),
                                &where)) {
            bad_redzone(func, pp, addr, true, where);
        }
        kva__redzone_behind(pp, addr, size);
    }
    record->asked = (uint16_t)size;
}

size_t
kva__debug_flush(struct kva_pool *pp, const char *func)
{
    if ((pp->debug & KVA_POOL_QUARANTINE) == 0) {
        return 0;
    }
    return kva__quarantine_drain(pp, func);
}

void
kva__debug_expect_clean(struct kva_pool *pp, const char *func)
{
    (void)kva__debug_flush(pp, func);
    expect_no_victim(func, pp);
}
