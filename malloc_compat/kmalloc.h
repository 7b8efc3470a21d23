/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kmalloc and its kin, for those who have no types: malloc(9) with one type.
 * They never sleep; NULL is returned when there is no memory, and kfree(NULL)
 * is allowed, as kernels that use these names expect.
 */
#ifndef KVA_MALLOC_COMPAT_KMALLOC_H
#define KVA_MALLOC_COMPAT_KMALLOC_H

#include "port/types.h"

#ifdef __cplusplus
extern "C" {
#endif

void *kva_kmalloc(size_t size);
void *kva_kzalloc(size_t size);
void *kva_krealloc(void *p, size_t size);
void kva_kfree(void *p);

#ifdef __cplusplus
}
#endif

#ifndef KVA_NO_NAMES
#define kmalloc kva_kmalloc
#define kzalloc kva_kzalloc
#define krealloc kva_krealloc
#define kfree kva_kfree
#endif

#endif
