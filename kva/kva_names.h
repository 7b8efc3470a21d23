/* SPDX-License-Identifier: BSD-2-Clause */
/* Short names of the arenas; see vmem/vmem_names.h. */
#ifndef KVA_KVA_NAMES_H
#define KVA_KVA_NAMES_H

#define kernel_va_arena kva_kernel_va_arena
#define heap_arena kva_heap_arena
#define heap_va_arena kva_heap_va_arena
#define kmem_arena kva_kmem_arena
#define kmem_movable_arena kva_kmem_movable_arena
#define kmem_intr_arena kva_kmem_intr_arena
#define kmem_permanent_arena kva_kmem_permanent_arena

#endif
