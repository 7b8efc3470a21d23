/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From an address to the span and the segment that it lies in.
 */
#ifndef KVA_VMEM_LOCATE_H
#define KVA_VMEM_LOCATE_H

#include "vmem/vmem_impl.h"

/*
 * The span that addr lies in, or NULL; and the segment, with its span.  Arena
 * locked, with *irq what the lock gave; the lock is dropped after each 64 tags
 * looked at, and *irq renewed.  What is returned is so when they return.
 */
struct kva_vmem_btag *
kva__span_holding(kva_vmem_t *vm, uintptr_t addr, kva_irq_t *irq);
struct kva_vmem_btag *
kva__segment_holding(kva_vmem_t *vm, uintptr_t addr,
                     struct kva_vmem_btag **span, kva_irq_t *irq);

#endif
