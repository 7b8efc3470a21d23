/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Taking pages off addresses with few flushes.
 *
 *      unmap run, unmap run, ..., flush, give the frames back
 *
 * A frame must not be somebody else's while a stale translation still leads to
 * it, so frames are noted run by run as they are unmapped, and given back when
 * the TLBs are flushed.  Once it is unmapped nothing else knows where a run
 * was: notes full means a flush before the next.  A flush covers all addresses
 * from the lowest to the highest that were unmapped since the last one.
 *
 * Notes are static, since who frees must not need memory; one unmapping at a
 * time has them.  Who comes meanwhile makes do with a few on his stack.
 */
#include "kva/kva_impl.h"

#if KVA_TIER >= 2

/*
 * Runs, of which a range has one or more.  A batch of single pages still takes
 * a flush for 320 of them, 3 for a thousand.  3.75 KiB of storage.
 */
#define NOTES 320u

static kva_pa_t notes_pa[NOTES];
static uint32_t notes_n[NOTES];
static bool notes_taken; /* atomic */

void
kva__unmap_begin(struct kva__unmap *u)
{
    u->n = 0;
    u->first = 0;
    u->last = 0;
    u->flushes = 0;
    if (!__atomic_exchange_n(&notes_taken, true, __ATOMIC_ACQUIRE)) {
        u->run_pa = notes_pa;
        u->run_n = notes_n;
        u->max = NOTES;
    } else {
        u->run_pa = u->few_pa;
        u->run_n = u->few_n;
        u->max = KVA__UNMAP_FEW;
    }
}

static void
flush(struct kva__unmap *u)
{
    if (u->n == 0) {
        return;
    }
    kva_port_flush(u->first, ((u->last - u->first) >> KVA_PAGE_SHIFT) + 1);
    u->flushes++;
    for (unsigned i = 0; i < u->n; i++) {
        kva_port_page_put(u->run_n[i], u->run_pa[i]);
    }
    u->n = 0;
}

/* A run of n pages at va was unmapped. */
static void
note(struct kva__unmap *u, uintptr_t va, size_t n, kva_pa_t pa)
{
    uintptr_t last = va + ((n << KVA_PAGE_SHIFT) - 1);

    if (u->n == 0) {
        u->first = va;
        u->last = last;
    }
    u->first = va < u->first ? va : u->first;
    u->last = last > u->last ? last : u->last;
    u->run_pa[u->n] = pa;
    u->run_n[u->n] = (uint32_t)n;
    u->n++;
}

void
kva__unmap_add(struct kva__unmap *u, uintptr_t va, size_t n)
{
    kva_pa_t pa;
    size_t len;

    while (n > 0) {
        if (u->n == u->max) {
            flush(u);
        }
        len = kva_port_translate(va, n, &pa);
        if (len == 0) {
            kva__panic("kva: 0x%lx: expected an attached page, found none",
                       (unsigned long)va);
        }
        kva_port_unmap(va, len);
        note(u, va, len, pa);
        va += len << KVA_PAGE_SHIFT;
        n -= len;
    }
}

void
kva__unmap_end(struct kva__unmap *u)
{
    flush(u);
    if (u->run_pa == notes_pa) {
        __atomic_store_n(&notes_taken, false, __ATOMIC_RELEASE);
    }
}

#endif
