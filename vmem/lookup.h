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

#endif
