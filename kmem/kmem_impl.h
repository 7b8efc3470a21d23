/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The size classes of kmem, for kmem.c and for malloc_compat/.
 *
 * Up to a cache line: multiples of 8.  Then as fine as an eighth of the power
 * of two below, but never finer than a cache line, because of the alignment
 * that kmem promises:
 *
 *     8 16 24 32 40 48 56 64 | 128 192 256 .. 512 | 576 640 .. 1024 |
 *     1152 1280 .. 2048 | 2304 2560 .. 3840
 *
 * What is above the last one takes whole pages.
 */
#ifndef KVA_KMEM_KMEM_IMPL_H
#define KVA_KMEM_KMEM_IMPL_H

#include "kmem/kmem.h"
#include "pool/pool_impl.h"

#define KVA__KMEM_STEP 8u
#define KVA__LINE_SHIFT ((unsigned)__builtin_ctz(KVA_CACHE_LINE))

/*
 * How many: a line in steps of 8; 2 to 8 lines in steps of a line; eight for
 * each power of two from there to the page, less the page itself.
 */
#define KVA__KMEM_CLASSES                   \
    (KVA_CACHE_LINE / KVA__KMEM_STEP + 7u + \
     8u * (KVA_PAGE_SHIFT - KVA__LINE_SHIFT - 3u) - 1u)

/* The last class, and so the largest request that is not whole pages. */
#define KVA__KMEM_SMALL_MAX (KVA_PAGE_SIZE - (KVA_PAGE_SIZE >> 4))

_Static_assert(KVA_CACHE_LINE <= KVA_PAGE_SIZE / 16,
               "the last step below a page is at least a cache line");

/* The caches of the classes; and behind those, in the same order, the ones of
 * the intr forms. */
extern struct kva_pool_cache kva__kmem_cache[2u * KVA__KMEM_CLASSES];

/* The cache for a request of 8 i + 1 to 8 i + 8 bytes. */
#define KVA__KMEM_STEPS (KVA__KMEM_SMALL_MAX / KVA__KMEM_STEP)
extern struct kva_pool_cache *kva__kmem_of[KVA__KMEM_STEPS];

/* By which of them; KVA__KMEM_STEPS or more: size is 0, or whole pages. */
static inline size_t
kva__kmem_step(size_t size)
{
    return (size - 1u) / KVA__KMEM_STEP;
}

/*
 * What malloc counts lies in the top bits of a word, so that it carries when a
 * window of so many bytes is left (malloc_compat/type.c).  The largest class is
 * less than a quarter of it.
 */
#define KVA__KMEM_WINDOW_SHIFT (KVA_PAGE_SHIFT + 2u)
#define KVA__KMEM_COUNT_SHIFT (KVA__WORD_BITS - KVA__KMEM_WINDOW_SHIFT)

/* Is the pool that of a class of kmem's (not of the intr forms)? */
static inline bool
kva__kmem_owns(const struct kva_pool *pp)
{
    return (uintptr_t)pp - (uintptr_t)kva__kmem_cache <
           sizeof(kva__kmem_cache) / 2u;
}

/*
 * A live object of kmem's at addr, its slab found without a size.  A size of
 * another class misses, if there is one.
 */
static inline bool
kva__kmem_object(uintptr_t addr, uintptr_t reach, const size_t *size,
                 struct kva_pool **pp, uint8_t **state)
{
    struct kva__slab *slab;

    if (!kva__slab_near(addr, reach, &slab)) {
        return false;
    }
    *pp = slab->owner;
    return (size == NULL || KVA_LIKELY(*size - (*pp)->least < (*pp)->span)) &&
           (!KVA_CONFIG_CHECKS || kva__object_is_live(*pp, slab, addr, state));
}

/* One of the caches has a debug mode. */
extern bool kva__kmem_debugged;

/* The pool with a debug mode that has p live, or NULL; and then how many bytes
 * were asked for at p, which are all that may be used (exact.c). */
struct kva_pool *kva__kmem_mode_of(const void *p);
size_t kva__kmem_asked(const void *p);

/* ---- exact.c: only with KVA_CONFIG_DEBUG ------------------------------ */

/* size bytes were asked for at p, which is live.  Nothing for whole pages. */
void kva__exact_note(const void *p, size_t size);
/* Report a size that is of the object's class and not what was asked for. */
void kva__exact_check(const char *func, const void *p, size_t size, bool intr);

/* ---- kmem.c ------------------------------------------------------------ */

/* All of an allocation that is no hit; flags may have PR_ZERO.  caller as for
 * kva__cache_get_slow. */
void *kva__kmem_alloc_slow(size_t size, unsigned flags, const void *caller);

/* size rounded up to pages; 0 if that overflows, or if it is more than the
 * address space that there is, however empty. */
size_t kva__kmem_pages(size_t size);

/* A live range of whole pages that starts at addr: its size.  Else a misuse
 * of func, which asked for size (0: did not say). */
size_t
kva__kmem_range(const char *func, kva_vmem_t *vm, uintptr_t addr, size_t size);

#endif
