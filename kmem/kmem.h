/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kmem(9): wired memory by size.  Signatures and flag values are NetBSD's.
 *
 * Alignment: from a page up, page-aligned; between a cache line and a page,
 * cache-line-aligned; below, 8 (4 on 32-bit).  The size given to kmem_free must
 * be the one allocated: another class or page count is a misuse that is
 * reported in every build; another size of the same class is in debug builds,
 * and where the cache has a debug mode (pool/debug.h).  kmem_* not from
 * interrupts; kmem_intr_* anywhere up to KVA_IPL_VM.  A size of 0 and a free of
 * NULL are misuses.
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
#define KVA_KM_RESERVE 0x4u /* it will free more (vmem/reserve.h) */

/* Called by kva users once, after kva_boot or kva_boot_simple. */
void kva_kmem_init(void);
void kva_kmem_fini(void); /* all must be free; for tests and tools */

/*
 * flags: KM_SLEEP or KM_NOSLEEP.  With KM_SLEEP NULL means that the size could
 * never be had, or that the port cannot wait.  zalloc zeroes all that the
 * request takes (kva_kmem_roundup_size).  Constant work; a new slab, a sleep
 * and the zeroing aside.
 */
void *kva_kmem_alloc(size_t size, kva_km_flag_t flags);
void *kva_kmem_zalloc(size_t size, kva_km_flag_t flags);
void kva_kmem_free(void *p, size_t size);
void *kva_kmem_intr_alloc(size_t size, kva_km_flag_t flags);
void *kva_kmem_intr_zalloc(size_t size, kva_km_flag_t flags);
void kva_kmem_intr_free(void *p, size_t size);

/* The bytes that a request of size takes. */
size_t kva_kmem_roundup_size(size_t size);

/*
 * With KM_SLEEP an object of a larger class, if there is one without waiting,
 * rather than to wait for one of the right class.  *taken is what to free it
 * with.  If there is none, a kmem_alloc of size.  One try for each class from
 * size's on.  After illumos.
 */
void *kva_kmem_alloc_tryhard(size_t size, size_t *taken, kva_km_flag_t flags);

/*
 * Strings, with their NUL.  NULL: there is no memory.  *size (may be NULL) is
 * what the copy takes, to be freed with; kmem_strfree looks at the string for
 * that, so it must be as long as it was; it allows NULL.  strndup: at most so
 * many characters.  asprintf sleeps; its conversions are those of kva__format
 * (port/check.h), and no argument may change meanwhile.  Context as for
 * kmem_alloc and kmem_free.  Linear in the string.
 */
char *kva_kmem_strdupsize(const char *str, size_t *size, kva_km_flag_t flags);
char *kva_kmem_strdup(const char *str, kva_km_flag_t flags);
char *kva_kmem_strndup(const char *str, size_t most, kva_km_flag_t flags);
void kva_kmem_strfree(char *str);
char *
kva_kmem_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *kva_kmem_vasprintf(const char *fmt, va_list ap)
    __attribute__((format(printf, 1, 0)));

/* The caller's buffer if size fits into it (0 does), else a kmem_alloc; and
 * its end.  As kmem_alloc and kmem_free.  After NetBSD. */
void *kva_kmem_tmpbuf_alloc(size_t size, void *stack, size_t stack_bytes,
                            kva_km_flag_t flags);
void kva_kmem_tmpbuf_free(void *buf, size_t size, void *stack);

/* Empty every size class; returns bytes that reached the arena. */
size_t kva_kmem_drain(void);

#ifdef __cplusplus
}
#endif

#ifndef KVA_NO_NAMES
#include "kmem/kmem_names.h"
#endif

#endif
