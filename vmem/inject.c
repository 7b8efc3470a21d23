/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Failure injection: every nth request that may fail does, by count, so that a
 * run with the same requests fails at the same places.  The question is put
 * once for each request on the long way; while there is something to inject
 * hit paths and short ways are closed, at no cost to them: vm->open, where
 * they look for the magic of a living arena, has none, and what the hit paths
 * compare a request with follows from it (kva__qcache_hits).
 *
 * This is not what closes ways for those who wait or search (vm->detour): these
 * must be seen with the arena locked, so that none is in the short way already,
 * and have no quarrel with a hit that takes nothing from the arena.
 */
#include "vmem/vmem_impl.h"

void
kva__watch_update(kva_vmem_t *vm)
{
    bool watched = vm->mtbf != 0 || vm->audit != NULL || vm->reserve_out != 0;

    __atomic_store_n(&vm->open, watched ? 0 : vm->magic, __ATOMIC_RELAXED);
    kva__qcache_hits(vm);
}

/* splitmix64 (Steele, Lea, Flood 2014): any state will do but 0, our "off". */
static uint32_t
random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    if (z == 0) {
        z = *state = 0x9e3779b97f4a7c15u;
    }
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}

/* Requests to the next failure, that one included: n, or 1 to 2n - 1. */
static unsigned
spacing(kva_vmem_t *vm)
{
    uint64_t range = 2 * (uint64_t)vm->mtbf - 1;

    if (vm->mtbf_random == 0 || vm->mtbf == 0) {
        return vm->mtbf;
    }
    if (range > UINT32_MAX) {
        range = UINT32_MAX;
    }
    return (unsigned)(random_next(&vm->mtbf_random) * range >> 32) + 1;
}

void
vmem_set_mtbf_random(kva_vmem_t *vm, unsigned n, uint64_t seed)
{
    kva_irq_t irq;

    arena_alive(vm, "vmem_set_mtbf");
    irq = kva_port_lock(&vm->lock);
    vm->mtbf_random = seed;
    __atomic_store_n(&vm->mtbf, n, __ATOMIC_RELAXED);
    vm->mtbf_left = spacing(vm);
    kva__watch_update(vm);
    kva_port_unlock(&vm->lock, irq);
    kva__wait_more(vm); /* who sleeps may have been refused an import */
}

void
vmem_set_mtbf(kva_vmem_t *vm, unsigned n)
{
    vmem_set_mtbf_random(vm, n, 0);
}

bool
kva__inject(kva_vmem_t *vm)
{
    bool fire = false;
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    if (vm->mtbf != 0 && --vm->mtbf_left == 0) {
        vm->mtbf_left = spacing(vm);
        vm->stat.fail++;
        vm->stat.injected++;
        fire = true;
    }
    kva_port_unlock(&vm->lock, irq);
    return fire;
}
