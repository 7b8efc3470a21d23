/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The round of cleaners.
 *
 *      first -> A -> B -> C        a pass starts at first, asks each cleaner at
 *                                  most once, and moves the one it asked to the
 *                                  end: so the next pass begins where this one
 *                                  stopped.
 *
 * A cleaner is called without the lock; calls_running says that it is.
 * Unregistering takes it off the list and waits until no call of it runs, so
 * that its owner may go (a module may be unloaded) when it returns.
 */
#include "reclaim/reclaim.h"

#include "port/contract.h"

static struct {
    kva_lock_t lock;
    struct kva_cleaner *first; /* (r) */
    struct kva_cleaner *last;  /* (r) */
    unsigned count;            /* (r) */
    bool running;              /* (r) a pass is under way */
    bool ready;
} cleaners;

static void
init_once(void)
{
    if (!cleaners.ready) {
        kva_port_lock_init(&cleaners.lock, "reclaim", KVA_IPL_NONE,
                           KVA_RANK_DRAIN);
        cleaners.ready = true;
    }
}

static void
append(struct kva_cleaner *cl)
{
    cl->next = NULL;
    cl->prev = cleaners.last;
    if (cleaners.last != NULL) {
        cleaners.last->next = cl;
    } else {
        cleaners.first = cl;
    }
    cleaners.last = cl;
    cleaners.count++;
}

static void
detach(struct kva_cleaner *cl)
{
    if (cl->prev != NULL) {
        cl->prev->next = cl->next;
    } else {
        cleaners.first = cl->next;
    }
    if (cl->next != NULL) {
        cl->next->prev = cl->prev;
    } else {
        cleaners.last = cl->prev;
    }
    cleaners.count--;
}

void
kva_reclaim_register(struct kva_cleaner *cl)
{
    kva_irq_t irq;

    init_once();
    cl->calls_running = 0;
    irq = kva_port_lock(&cleaners.lock);
    append(cl);
    kva_port_unlock(&cleaners.lock, irq);
}

void
kva_reclaim_unregister(struct kva_cleaner *cl)
{
    kva_irq_t irq;

    irq = kva_port_lock(&cleaners.lock);
    detach(cl);
    while (cl->calls_running != 0) {
        kva_port_unlock(&cleaners.lock, irq);
#if KVA_TIER >= 1
        kva_port_relax();
#endif
        irq = kva_port_lock(&cleaners.lock);
    }
    kva_port_unlock(&cleaners.lock, irq);
}

size_t
kva_reclaim(size_t bytes)
{
    size_t done = 0;
    unsigned left;
    kva_irq_t irq;

    init_once();
    irq = kva_port_lock(&cleaners.lock);
    if (cleaners.running) {
        kva_port_unlock(&cleaners.lock, irq);
        return 0;
    }
    cleaners.running = true;
    for (left = cleaners.count;
         left > 0 && done < bytes && cleaners.first != NULL; left--) {
        struct kva_cleaner *cl = cleaners.first;

        detach(cl);
        append(cl);
        cl->calls_running = 1;
        kva_port_unlock(&cleaners.lock, irq);
        done += cl->clean(cl->arg, bytes - done, 0);
        irq = kva_port_lock(&cleaners.lock);
        cl->calls_running = 0;
    }
    cleaners.running = false;
    kva_port_unlock(&cleaners.lock, irq);
    return done;
}
