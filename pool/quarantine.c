/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Quarantine: a freed object waits until so many others have been freed after
 * it.  Meanwhile nobody else has it, so a second put of it is found, whoever
 * has been served since; and a write into it is found when it leaves, if it is
 * poisoned, or at once, behind a firewall.
 *
 *     put --> | youngest | ... | oldest | --> poison as it was left? --> slab
 *
 * First in, first out; linked through the records, for the objects may have no
 * memory.  To the slab an object in quarantine is out, to everybody else free
 * (its state is CACHED).  Under pressure all of it goes back: it counts as
 * cached.  While somebody waits for memory nothing is kept.
 *
 * An object that was written to does not leave.  A put that would have pushed
 * it out reports it, before it has changed anything.  Cleaners do not report:
 * they are in the middle of something.  They leave it there, and the pool's
 * next get or put says so.
 */
#include "pool/debug_impl.h"

#define OBJECTS_USUAL 1024u
#define BYTES_USUAL ((size_t)4 << 20)

static size_t objects_max = OBJECTS_USUAL;
static size_t bytes_max = BYTES_USUAL;

void
pool_debug_quarantine(size_t objects, size_t bytes)
{
    objects_max = objects;
    bytes_max = bytes;
}

void
kva__quarantine_init(struct kva_pool *pp)
{
    struct kva__quarantine *q = &pp->quarantine;

    q->most = objects_max;
    /* Behind a firewall no memory is kept, only addresses. */
    if ((pp->debug & KVA_POOL_FIREWALL) == 0 &&
        kva__pool_divide(bytes_max, pp->slot) < q->most) {
        q->most = kva__pool_divide(bytes_max, pp->slot);
    }
}

static struct kva__record *
record_at(struct kva_pool *pp, uintptr_t addr)
{
    struct kva__place place;

    if (!kva__slab_find(pp, addr, &place) || place.state == NULL) {
        kva__panic("libkva: %s: 0x%lx in quarantine is no object", pp->name,
                   (unsigned long)addr);
    }
    return kva__record_of(pp, &place);
}

/* ---- in and out, pool locked ----------------------------------------- */

static void
append(struct kva_pool *pp, uintptr_t addr)
{
    struct kva__quarantine *q = &pp->quarantine;

    record_at(pp, addr)->next = 0;
    if (q->count == 0) {
        q->oldest = addr;
    } else {
        record_at(pp, q->youngest)->next = addr;
    }
    q->youngest = addr;
    q->count++;
}

static uintptr_t
take_oldest(struct kva_pool *pp)
{
    struct kva__quarantine *q = &pp->quarantine;
    uintptr_t addr = q->oldest;

    q->oldest = record_at(pp, addr)->next;
    q->count--;
    return addr;
}

/* One that may not leave goes back to where it was. */
static void
put_oldest(struct kva_pool *pp, uintptr_t addr)
{
    struct kva__quarantine *q = &pp->quarantine;

    record_at(pp, addr)->next = q->oldest;
    if (q->count == 0) {
        q->youngest = addr;
    }
    q->oldest = addr;
    q->count++;
}

/* ---- leaving --------------------------------------------------------- */

/*
 * Take the oldest out if there are more than most: 0 if not.  If it was written
 * to it goes back, and is *victim.
 */
static uintptr_t
release(struct kva_pool *pp, size_t most, uintptr_t *victim)
{
    kva_irq_t irq = kva__pool_lock(pp);
    uintptr_t addr = 0;
    size_t where;

    *victim = 0;
    if (pp->quarantine.count > most) {
        addr = take_oldest(pp);
    }
    kva__pool_unlock(pp, irq);
    if (addr != 0 && (pp->debug & KVA_POOL_POISON) != 0 &&
        (pp->debug & KVA_POOL_FIREWALL) == 0 &&
        !kva__poison_check(pp, addr, &where)) {
        irq = kva__pool_lock(pp);
        put_oldest(pp, addr);
        kva__pool_unlock(pp, irq);
        *victim = addr;
        addr = 0;
    }
    return addr;
}

static void
give(struct kva_pool *pp, uintptr_t addr, const char *func)
{
    struct kva__round round = { .object = addr };

    kva__pool_give(pp, &round, 1, KVA__OBJECT_CACHED, func);
}

bool
kva__quarantine_room(struct kva_pool *pp, const char *func, uintptr_t *victim)
{
    size_t most = pp->quarantine.most;
    uintptr_t addr;

    *victim = 0;
    while (most != 0 && (addr = release(pp, most - 1u, victim)) != 0) {
        give(pp, addr, func);
    }
    return *victim == 0;
}

bool
kva__quarantine_push(struct kva_pool *pp, uintptr_t addr)
{
    kva_irq_t irq;

    if ((pp->debug & KVA_POOL_QUARANTINE) == 0 || pp->quarantine.most == 0 ||
        kva__mag_arena_closed(kva__pool_arena(pp)) ||
        __atomic_load_n(&pp->waitq.count, __ATOMIC_RELAXED) != 0) {
        return false;
    }
    irq = kva__pool_lock(pp);
    append(pp, addr);
    kva__pool_unlock(pp, irq);
    return true;
}

size_t
kva__quarantine_drain(struct kva_pool *pp, const char *func)
{
    uintptr_t addr, victim = 0;
    size_t n = 0;

    while ((addr = release(pp, 0, &victim)) != 0) {
        give(pp, addr, func);
        n++;
    }
    if (victim != 0) {
        __atomic_store_n(&pp->quarantine.bad, victim, __ATOMIC_RELAXED);
    }
    return n;
}
