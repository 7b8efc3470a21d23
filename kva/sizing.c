/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rule for the heap's address space and for what it may wire.
 *
 *      unit      va / 64, a power of two from 4 MiB to 1 GiB
 *      wired     ram - ram / 4
 *      heap_va   2 * wired, with words of 64 bits 8 * wired; up to whole units;
 *                at most va / 2
 *      wired     once more: at most heap_va - heap_va / 8
 *
 * Why.  A quarter of memory is beyond the heap's reach, so that one who
 * allocates without end is refused, or waits, while the kernel still has frames
 * for page tables, users and whoever frees memory.  (NetBSD lets the heap have
 * a quarter with a direct map and two thirds without, FreeBSD a third or all of
 * it; what is given to one use is what others lack.)  Addresses must be more
 * than what is wired: ranges that are freed and not yet flushed, quarantine,
 * guard pages and stacks have addresses and no memory, and address space
 * fragments like memory; where addresses are many, they are no reason to refuse
 * anybody.  Half of them are left for others, devices and pageable memory; and
 * what could not be wired for want of an eighth of addresses is not promised.
 *
 * A unit is coarse enough that a gigabyte of heap is a few spans, fine enough
 * that others keep room.
 */
#include "kva/sizing.h"

#include "port/check.h"

#define UNIT_MIN ((uint64_t)4 << 20)
#define UNIT_MAX ((uint64_t)1 << 30)

/* x << shift, or as much as there is. */
static uint64_t
times(uint64_t x, unsigned shift)
{
    return x > UINT64_MAX >> shift ? UINT64_MAX : x << shift;
}

static uint64_t
least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Whole units: up, unless that is more than half of va. */
static uint64_t
heap_share(uint64_t wanted, uint64_t va, uint64_t unit)
{
    uint64_t most = (va >> 1) & ~(unit - 1);
    uint64_t up = least(wanted, UINT64_MAX - unit) + (unit - 1);

    if (most == 0) { /* less than two units in all */
        return va >> 1;
    }
    return least(up & ~(unit - 1), most);
}

void
kva_sizing(uint64_t ram, uint64_t va, unsigned word_bits,
           struct kva_sizing *out)
{
    out->unit = UNIT_MIN;
    while (out->unit < UNIT_MAX && out->unit < va >> 6) {
        out->unit <<= 1;
    }
    out->wired = ram - (ram >> 2);
    out->heap_va = 0;
    if (ram != 0) {
        out->heap_va = heap_share(times(out->wired, word_bits == 64 ? 3 : 1),
                                  va, out->unit);
        out->wired = least(out->wired, out->heap_va - (out->heap_va >> 3));
    }
}
