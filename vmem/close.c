/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All caches with magazines, and which of them are closed.
 *
 * A cache is closed while anybody wants the arena from which it draws closed,
 * or an arena from which that one imports, however far up.  The counts are kept
 * in the arenas; what a cache has is only what follows from them, and follows
 * anew whenever a count changes or a cache comes.
 *
 * Whoever works on a cache with no lock held has it pinned; a cache that goes
 * waits for that.
 */
#include "port/contract.h"
#include "vmem/meta.h"
#include "vmem/magazine.h"
#include "vmem/vmem_store.h"

static struct {
    kva_lock_t lock;
    struct kva__magcache *first; /* (r) the youngest */
} registry;

unsigned kva__mag_closings; /* (r) calls of close with no open yet */

void
kva__mag_registry_bootstrap(void)
{
    kva_port_lock_init(&registry.lock, "magazines", KVA_IPL_VM,
                       KVA_RANK_DEPOT - 1);
}

/* ---- which are closed, registry locked -------------------------------- */

static bool
arena_closed(const kva_vmem_t *vm)
{
    if (vm == NULL) {
        return kva__mag_closings != 0;
    }
    while (vm != NULL && vm->closed_below == 0) {
        vm = vm->source;
    }
    return vm != NULL;
}

static void
follow(struct kva__magcache *mc)
{
    const kva_vmem_t *vm = mc->arena != NULL ? *mc->arena : NULL;

    __atomic_store_n(&mc->closed, arena_closed(vm), __ATOMIC_RELAXED);
}

/* ---- the list --------------------------------------------------------- */

void
kva__mag_register(struct kva__magcache *mc)
{
    kva_irq_t irq;

    irq = kva_port_lock(&registry.lock);
    mc->prev = NULL;
    mc->next = registry.first;
    if (mc->next != NULL) {
        mc->next->prev = mc;
    }
    registry.first = mc;
    follow(mc);
    kva_port_unlock(&registry.lock, irq);
}

/* Somebody else has it pinned: let him go on for a moment.  Nobody has where
 * there are no CPUs and no threads. */
static kva_irq_t
wait_unpinned(kva_irq_t irq)
{
    kva_port_unlock(&registry.lock, irq);
#if KVA_TIER >= 1
    kva_port_relax();
#endif
    return kva_port_lock(&registry.lock);
}

void
kva__mag_unregister(struct kva__magcache *mc)
{
    kva_irq_t irq;

    irq = kva_port_lock(&registry.lock);
    while (mc->pins != 0) {
        irq = wait_unpinned(irq);
    }
    if (mc->next != NULL) {
        mc->next->prev = mc->prev;
    }
    if (mc->prev != NULL) {
        mc->prev->next = mc->next;
    } else {
        registry.first = mc->next;
    }
    kva_port_unlock(&registry.lock, irq);
}

void
kva__mag_visit(void (*fn)(struct kva__magcache *mc, void *arg), void *arg)
{
    struct kva__magcache *mc, *next;
    kva_irq_t irq;

    irq = kva_port_lock(&registry.lock);
    for (mc = registry.first; mc != NULL; mc = next) {
        mc->pins++;
        kva_port_unlock(&registry.lock, irq);
        fn(mc, arg);
        irq = kva_port_lock(&registry.lock);
        next = mc->next;
        mc->pins--;
    }
    kva_port_unlock(&registry.lock, irq);
}

/* ---- closing and opening ---------------------------------------------- */

static void
close_one(struct kva__magcache *mc, void *arg)
{
    bool closed;
    kva_irq_t irq;

    (void)arg;
    irq = kva_port_lock(&registry.lock);
    follow(mc);
    closed = kva__mag_closed(mc);
    kva_port_unlock(&registry.lock, irq);
    if (closed) {
        (void)kva__magcache_drain(mc, 0);
    }
}

/* What is closed changes by one. */
static void
count(kva_vmem_t *root, bool up)
{
    kva_irq_t irq;

    irq = kva_port_lock(&registry.lock);
    if (root != NULL) {
        KVA_ASSERT(up || root->closed_below > 0);
        root->closed_below += up ? 1u : ~0u;
    }
    __atomic_store_n(&kva__mag_closings, kva__mag_closings + (up ? 1u : ~0u),
                     __ATOMIC_RELAXED);
    kva_port_unlock(&registry.lock, irq);
    kva__mag_visit(close_one, NULL);
}

void
kva__mag_close(kva_vmem_t *root)
{
    count(root, true);
}

void
kva__mag_open(kva_vmem_t *root)
{
    count(root, false);
}

bool
kva__mag_arena_closed_now(kva_vmem_t *vm)
{
    kva_irq_t irq;
    bool closed;

    irq = kva_port_lock(&registry.lock);
    closed = arena_closed(vm);
    kva_port_unlock(&registry.lock, irq);
    return closed;
}

/* ---- updates ---------------------------------------------------------- */

static void
update_one(struct kva__magcache *mc, void *arg)
{
    (void)arg;
    kva__magcache_update(mc);
}

void
kva_vmem_update(void)
{
    kva__mag_visit(update_one, NULL);
    kva__meta_stock_fill();
}
