/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The short ways of arenas with an index, which short.c leads to: the same
 * functions for them.
 */
#ifndef KVA_VMEM_SHORT_INDEX_H
#define KVA_VMEM_SHORT_INDEX_H

#include "vmem/vmem_store.h"

int kva__short_index_alloc(kva_vmem_t *vm, size_t size, kva_vm_flag_t flags,
                           uintptr_t *addr);
int kva__short_index_xalloc(kva_vmem_t *vm, size_t size, kva_vm_flag_t flags,
                            uintptr_t *addr);
void kva__short_index_free(kva_vmem_t *vm, uintptr_t addr, size_t size);
void kva__short_index_xfree(kva_vmem_t *vm, uintptr_t addr, size_t size);

#endif
