/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kmem(9): wired memory by size.  Signatures and flag values are NetBSD's.
 *
 * Alignment: from a page up, page-aligned; between a cache line and a page,
 * cache-line-aligned; below, 8 (4 on 32-bit).  The size given to kmem_free must
 * be the one allocated: another class or page count is a misuse that is
 * reported in every build.  kmem_* not from interrupts; kmem_intr_* anywhere up
 * to KVA_IPL_VM.  A size of 0 and a free of NULL are misuses.
 */
#ifndef KVA_KMEM_KMEM_H
#define KVA_KMEM_KMEM_H

#include "pool/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef unsigned kva_km_flag_t;
#define KVA_KM_SLEEP 0x1u
#define KVA_KM_NOSLEEP 0x2u

/* Called by kva users once, after kva_boot or kva_boot_simple. */
void kva_kmem_init(void);
void kva_kmem_fini(void); /* all must be free; for tests and tools */

void *kva_kmem_alloc(size_t size, kva_km_flag_t flags);
void *kva_kmem_zalloc(size_t size, kva_km_flag_t flags);
void kva_kmem_free(void *p, size_t size);
void *kva_kmem_intr_alloc(size_t size, kva_km_flag_t flags);
void *kva_kmem_intr_zalloc(size_t size, kva_km_flag_t flags);
void kva_kmem_intr_free(void *p, size_t size);

/* The bytes that a request of size takes. */
size_t kva_kmem_roundup_size(size_t size);

/* Empty every size class; returns bytes that reached the arena. */
size_t kva_kmem_drain(void);

#ifdef __cplusplus
}
#endif

#ifndef KVA_NO_NAMES
#include "kmem/kmem_names.h"
#endif

#endif
