/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Auditing objects: who had the object last, and who gave it back, with time
 * and CPU.  The two events lie in the object's record (debug_impl.h), so that
 * what is known of an object is as old as the object, however much has happened
 * since; an arena's audit (vmem/audit.c) is a ring instead, for tags have no
 * room.
 *
 * Where the port can walk the stack (kva_port_stack) an event has the callers
 * from the one of the interface's function on; where it cannot, that one alone.
 */
#include "pool/debug_impl.h"

/* Frames of our own above the caller's. */
#define FRAMES_OWN 8u

static unsigned
frames_get(uintptr_t *frame, uintptr_t caller)
{
    unsigned n = 1;

    frame[0] = caller;
#if KVA_CONFIG_STACK
    uintptr_t pc[FRAMES_OWN + KVA_POOL_FRAMES];
    size_t depth = kva_port_stack(pc, KVA_COUNT(pc)), at = 0;

    while (at < depth && pc[at] != caller) {
        at++;
    }
    for (at++; at < depth && n < KVA_POOL_FRAMES; at++) {
        frame[n++] = pc[at];
    }
#endif
    return n;
}

void
kva__audit_event(struct kva_pool_event *event, const void *caller)
{
    unsigned cpu = kva_cpu_enter();

    kva_cpu_exit(cpu);
    event->cpu = cpu;
    event->frames = frames_get(event->frame, (uintptr_t)caller);
    event->time = kva__now();
}

/* ---- telling --------------------------------------------------------- */

static void
event_tell(const char *func, const struct kva_pool *pp, uintptr_t addr,
           const struct kva_pool_event *event, const char *what)
{
    /* A space, 0x and the digits of a word for each. */
    char frames[KVA_POOL_FRAMES * (3u + 2u * sizeof(uintptr_t)) + 1u];
    size_t len = 0;

    if (event->frames == 0) {
        return;
    }
    for (unsigned i = 0; i < event->frames; i++) {
        len += kva__format(frames + len, sizeof(frames) - len, " 0x%lx",
                           (unsigned long)event->frame[i]);
    }
    kva__log("%s: %s %s: 0x%lx: %s on CPU %d at %llu ns by%s", func,
             kva__pool_kind(pp), pp->name, (unsigned long)addr, what,
             (int)event->cpu, (unsigned long long)event->time, frames);
}

void
kva__audit_tell(const char *func, const struct kva_pool *pp,
                const struct kva__place *place)
{
    uintptr_t addr = kva__slab_object(place->slab, place->index);
    const struct kva__record *record;

    if ((pp->debug & KVA_POOL_AUDIT) == 0) {
        return;
    }
    record = kva__record_of(pp, place);
    event_tell(func, pp, addr, &record->event[KVA__EVENT_ALLOC], "allocated");
    event_tell(func, pp, addr, &record->event[KVA__EVENT_FREE], "freed");
}

/* ---- asking ---------------------------------------------------------- */

/* The object that addr lies in; false: in none. */
static bool
place_around(const struct kva__slab *slab, uintptr_t addr,
             struct kva__place *place)
{
    const struct kva_pool *pp = slab->owner;
    uintptr_t first = kva__slab_object(slab, 0);

    place->slab = (struct kva__slab *)(uintptr_t)slab;
    place->index = (uint32_t)kva__pool_divide(addr - first, pp->stride);
    if (addr < first || place->index >= pp->nobj ||
        addr - kva__slab_object(slab, place->index) >= pp->size) {
        return false;
    }
    place->state = &place->slab->state[place->index];
    return true;
}

int
pool_audit_find(const void *addr, struct kva_pool_audit *audit)
{
    struct kva__slab *slab = kva__slab_of((uintptr_t)addr);
    const struct kva__record *record;
    struct kva__place place;
    struct kva_pool *pp;
    kva_irq_t irq;

    if (slab == NULL || (slab->owner->debug & KVA_POOL_AUDIT) == 0 ||
        !place_around(slab, (uintptr_t)addr, &place)) {
        return KVA_ENOENT;
    }
    pp = slab->owner;
    record = kva__record_of(pp, &place);
    irq = kva__pool_lock(pp);
    *audit = (struct kva_pool_audit){
        .pool = pp->name,
        .object = kva__slab_object(slab, place.index),
        .size = kva__record_asked(pp, record),
        .live = kva__place_is_live(&place),
        .allocated = record->event[KVA__EVENT_ALLOC],
        .freed = record->event[KVA__EVENT_FREE],
    };
    kva__pool_unlock(pp, irq);
    return 0;
}
