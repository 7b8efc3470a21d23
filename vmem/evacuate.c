/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For whoever moves what lies in the windows of the quantum caches, so that
 * what is nearly empty comes to be empty.
 *
 *      window      use (bytes in live objects)
 *       A          1.9 MB
 *       B          1.2 MB
 *       C          0.1 MB   <- the emptiest: shut, its runs one by one, open
 *
 * The arena knows which quanta are in runs; how much of a run is in use only
 * the layer above knows, and counts it in a word of the window.  A window that
 * is SHUT is on no list, so that no run is taken from it; what comes free in it
 * stays free, until a drain gives it back.
 *
 * Windows stay until the arena ends, so a look at all of them takes no lock but
 * the one that guards the counts of each.
 */
#include "vmem/lookup.h"

#include "vmem/qcache.h"

size_t *
kva__vmem_use(kva_vmem_t *vm, uintptr_t addr)
{
    struct window *w;

    if (vm->qcache == NULL) {
        return NULL;
    }
    w = kva__qcache_window(vm->qcache, addr);
    return w == NULL ? NULL : &w->use;
}

/* Does it hold runs, and may they be taken from it.  Locked. */
static bool
may_shut(const struct window *w)
{
    return !w->shut && w->nheld > w->nfree;
}

static bool
may_shut_now(struct kva__qcache *qc, const struct window *w)
{
    kva_irq_t irq;
    bool may;

    irq = kva_port_lock(&qc->lock);
    may = may_shut(w);
    kva_port_unlock(&qc->lock, irq);
    return may;
}

static struct window *
emptiest(struct kva__qcache *qc, uintptr_t skip)
{
    struct window *w, *best = NULL;
    size_t at = 0, use, least = SIZE_MAX;

    while ((w = kva__qcache_next(qc, &at)) != NULL) {
        use = __atomic_load_n(&w->use, __ATOMIC_RELAXED);
        if (w->base != skip && (best == NULL || use < least) &&
            may_shut_now(qc, w)) {
            best = w;
            least = use;
        }
    }
    return best;
}

/* Somebody may shut the same one at the time: then there is one less. */
bool
kva__vmem_shut_emptiest(kva_vmem_t *vm, uintptr_t *base, size_t *bytes)
{
    struct kva__qcache *qc = vm->qcache;
    struct window *w;
    bool done = false;
    kva_irq_t irq;

    while (qc != NULL && !done && (w = emptiest(qc, *base)) != NULL) {
        irq = kva_port_lock(&qc->lock);
        done = may_shut(w);
        if (done) {
            w->shut = true;
            kva__qcache_relist(qc, w);
        }
        kva_port_unlock(&qc->lock, irq);
        if (done) {
            *base = w->base;
            *bytes = (size_t)WINDOW_QUANTA << vm->quantum_shift;
        }
    }
    return done;
}

void
kva__vmem_open(kva_vmem_t *vm, uintptr_t base)
{
    struct window *w = kva__qcache_window(vm->qcache, base);
    kva_irq_t irq;

    KVA_ASSERT(w != NULL && w->base == base);
    irq = kva_port_lock(&vm->qcache->lock);
    w->shut = false;
    kva__qcache_relist(vm->qcache, w);
    kva_port_unlock(&vm->qcache->lock, irq);
}

/* The first quantum of a live run at or behind at; WINDOW_QUANTA: none. */
static unsigned
next_live(const struct window *w, unsigned at, uint8_t *n)
{
    for (; at < WINDOW_QUANTA; at++) {
        *n = state_get(&w->state[at]);
        if (run_is_live(*n)) {
            break;
        }
    }
    return at;
}

bool
kva__vmem_next_run(kva_vmem_t *vm, uintptr_t *at, uintptr_t last, size_t *bytes)
{
    unsigned shift = vm->quantum_shift;
    uintptr_t quantum = (uintptr_t)1 << shift;
    uintptr_t addr = kva_round_up(*at, quantum);
    uintptr_t window = quantum << WINDOW_SHIFT;
    struct window *w;
    unsigned i;
    uint8_t n;

    while (vm->qcache != NULL && addr >= *at && addr <= last) {
        w = kva__qcache_window(vm->qcache, addr);
        if (w != NULL) {
            i = next_live(w, (unsigned)(addr >> shift) & (WINDOW_QUANTA - 1),
                          &n);
            if (i < WINDOW_QUANTA) {
                addr = w->base + ((uintptr_t)i << shift);
                if (addr > last) {
                    return false;
                }
                *at = addr;
                *bytes = (size_t)n << shift;
                return true;
            }
        }
        addr = kva_round_down(addr, window) + window;
    }
    return false;
}
