/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kmalloc and its kin, for those who have no types: malloc(9) with one type.
 * They never sleep; NULL is returned when there is no memory, and kfree(NULL)
 * is allowed, as kernels that use these names expect.  For the rest see
 * malloc.h: kcalloc and kmalloc_array are mallocarray, with and without zeroes;
 * krealloc is realloc; ksize is malloc_usable_size; kfree_sensitive is zfree.
 */
#ifndef KVA_MALLOC_COMPAT_KMALLOC_H
#define KVA_MALLOC_COMPAT_KMALLOC_H

#include "port/types.h"

#ifdef __cplusplus
extern "C" {
#endif

void *kva_kmalloc(size_t size);
void *kva_kzalloc(size_t size);
void *kva_kcalloc(size_t n, size_t size);
void *kva_kmalloc_array(size_t n, size_t size);
void *kva_krealloc(void *p, size_t size);
void kva_kfree(void *p);
void kva_kfree_sensitive(void *p);
size_t kva_ksize(const void *p);
/* A copy with its NUL, of at most so many characters; NULL for NULL. */
char *kva_kstrdup(const char *str);
char *kva_kstrndup(const char *str, size_t most);

#ifdef __cplusplus
}
#endif

#ifndef KVA_NO_NAMES
#define kmalloc kva_kmalloc
#define kzalloc kva_kzalloc
#define kcalloc kva_kcalloc
#define kmalloc_array kva_kmalloc_array
#define krealloc kva_krealloc
#define kfree kva_kfree
#define kfree_sensitive kva_kfree_sensitive
#define ksize kva_ksize
#define kstrdup kva_kstrdup
#define kstrndup kva_kstrndup
#endif

#endif
