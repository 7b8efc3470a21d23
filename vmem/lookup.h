/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What lies at an address of an arena: for allocators above that free without
 * a size and find a slab from an object's address.
 */
#ifndef KVA_VMEM_LOOKUP_H
#define KVA_VMEM_LOOKUP_H

#include "vmem/vmem.h"

enum kva_range_kind {
    KVA_RANGE_NONE,   /* not in a live range, or not found by its start */
    KVA_RANGE_ALLOC,  /* from vmem_alloc */
    KVA_RANGE_XALLOC, /* from vmem_xalloc; only found by its first byte */
    KVA_RANGE_CACHED  /* freed, held by a quantum cache */
};

struct kva_range {
    kva_vmem_addr_t base;
    kva_vmem_size_t size;
    enum kva_range_kind kind;
};

/*
 * The range at addr.  Ranges of the quantum caches are found from any address
 * inside, with no lock, in constant work; larger ones from their first byte,
 * under the arena lock.
 */
enum kva_range_kind
kva__vmem_lookup(kva_vmem_t *vm, kva_vmem_addr_t addr, struct kva_range *range);

#if KVA_RUN_MARKS
/* ---- marks (mark.c) ---------------------------------------------------- */

/*
 * Mark the live run of the quantum caches that begins at addr, or take the mark
 * away, which is done before the run is freed.  False: no such run is there.
 * Whose run it is calls this; it takes the lock of the quantum caches.
 */
bool kva__vmem_mark(kva_vmem_t *vm, uintptr_t addr, bool set);

/*
 * Is addr in a marked run?  *base: where that begins.  Any address; no lock, in
 * constant work; what is not the caller's may have changed.
 */
bool kva__vmem_marked(const kva_vmem_t *vm, uintptr_t addr, uintptr_t *base);
#endif

/* ---- emptying what is nearly empty (evacuate.c) ----------------------- */

/*
 * The word in which whoever lays slabs into the window of addr counts bytes in
 * live objects there (relaxed atomics); NULL: addr is in no window.  Valid
 * until the arena ends.  No lock, constant work.
 */
size_t *kva__vmem_use(kva_vmem_t *vm, uintptr_t addr);

/*
 * Of the windows that hold runs, the one with the smallest use that is not shut
 * and does not begin at *base: shut it, and tell its range.  False: there is
 * none.  (To skip none, have in *base what is no window's: 1.)  From then on no
 * run is taken from it until it is opened, and runs that are freed go back to
 * it as ever.  But a run of it in a magazine may still be handed out: drain the
 * magazines before (vmem_drain).  Linear in the windows; no lock held.
 */
bool kva__vmem_shut_emptiest(kva_vmem_t *vm, uintptr_t *base, size_t *bytes);

/*
 * Runs may be taken again from the window at base, also if it was open: it
 * opens by itself when the arena, having no more room, imports a piece there.
 */
void kva__vmem_open(kva_vmem_t *vm, uintptr_t base);

/*
 * The next live run that begins in [*at, last]: true, *at its start, *bytes its
 * length.  No lock; what is not the caller's may have changed.  With checks
 * when magazines are emptied a run in a magazine looks live.  Linear in the
 * quanta from *at to there.
 */
bool kva__vmem_next_run(kva_vmem_t *vm, uintptr_t *at, uintptr_t last,
                        size_t *bytes);

#endif
