/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Marks on runs of the quantum caches, with which a layer above says of its own
 * runs what only it knows: that a slab begins there, say.
 *
 *      state     3  in  in   1   F   F   2  in
 *      mark      1   .   .   .   .   .   1   .
 *
 * The window has a bit for each quantum, set for the first of a marked run.  So
 * memory that is marked is there, and of whoever looks at an address that he was
 * given it can be asked without reading what lies there.
 *
 * Invariant (W6): what is marked is the first quantum of a live run.
 *
 * A mark is written under the lock of the quantum caches, as other runs have
 * their bits in the same word, and read without.
 */
#include "vmem/lookup.h"

#include "vmem/qcache.h"

#if KVA_RUN_MARKS

bool
kva__vmem_mark(kva_vmem_t *vm, uintptr_t addr, bool set)
{
    struct kva__qcache *qc = vm->qcache;
    struct window *w = qc != NULL ? kva__qcache_window(qc, addr) : NULL;
    unsigned at = (unsigned)(addr >> vm->quantum_shift) & (WINDOW_QUANTA - 1);
    uintptr_t bit = (uintptr_t)1 << at % KVA__WORD_BITS, *word;
    kva_irq_t irq;

    if (w == NULL || !run_is_live(state_get(&w->state[at]))) {
        return false;
    }
    word = &w->mark[at / KVA__WORD_BITS];
    irq = kva_port_lock(&qc->lock);
    __atomic_store_n(word, set ? *word | bit : *word & ~bit, __ATOMIC_RELEASE);
    kva_port_unlock(&qc->lock, irq);
    return true;
}

bool
kva__vmem_marked(const kva_vmem_t *vm, uintptr_t addr, uintptr_t *base)
{
    const struct window *w =
        vm->qcache != NULL ? kva__qcache_window(vm->qcache, addr) : NULL;
    unsigned at = (unsigned)(addr >> vm->quantum_shift) & (WINDOW_QUANTA - 1);
    unsigned first = at, floor = at > RUN_MAX ? at - RUN_MAX : 0;

    if (w == NULL) {
        return false;
    }
    while (first > floor && state_get(&w->state[first]) == RUN_INSIDE) {
        first--;
    }
    if (!window_is_marked(w, first)) {
        return false;
    }
    *base = w->base + ((uintptr_t)first << vm->quantum_shift);
    return true;
}

#endif
