/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Debug modes of pools and caches: which there are, and how they are switched
 * on.  docs/debugging.md has what each catches and costs; pool/debug.c how it
 * is done.
 *
 *     kva_boot(&boot);
 *     kva_pool_debug_set("redzone,poison=kmem-*,firewall=inode", NULL);
 *     kva_start();
 *     kmem_init();
 *
 * A cache has the modes that were asked for its name when it was made, and
 * keeps them.  While any is on, each get and put of it goes the long way, past
 * the magazines; caches without run what they run without this header.
 */
#ifndef KVA_POOL_DEBUG_H
#define KVA_POOL_DEBUG_H

#include "pool/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KVA_POOL_REDZONE 0x01u    /* bytes before and behind, seen at put */
#define KVA_POOL_POISON 0x02u     /* free objects are filled, seen at reuse */
#define KVA_POOL_AUDIT 0x04u      /* who allocated and freed, when */
#define KVA_POOL_FIREWALL 0x08u   /* pages of its own, none behind them */
#define KVA_POOL_BEFORE 0x10u     /* ... none before them, instead */
#define KVA_POOL_QUARANTINE 0x20u /* freed objects wait before reuse */

/* What the bytes are filled with. */
#define KVA_POOL_BYTE_REDZONE 0xfdu
#define KVA_POOL_BYTE_FREE 0xdeu /* poison: free */
#define KVA_POOL_BYTE_NEW 0xbau  /* poison: allocated, not written yet */

/*
 * Modes for pools and caches made from now on, in the place of those set
 * before.  spec is a list of MODE or MODE=NAME, separated by commas: redzone,
 * poison, audit, firewall, firewall-before, quarantine, or all (redzone,
 * poison, audit, quarantine).  NAME is a pool's; a * at its end stands for any
 * rest.  Without NAME: every pool.  "" switches all off.
 *
 * Returns 0; KVA_EINVAL: what stands at *where (if not NULL) is not known, too
 * long (KVA_POOL_DEBUG_NAME), or one too many (KVA_POOL_DEBUG_RULES); or
 * KVA_ENOTSUP: the firewall at *where needs an address space (tier 2), or
 * there are no debug modes (KVA_CONFIG_POOL_DEBUG).  Then nothing has changed.
 *
 * A pool has not what its kind rules out: nothing is written into free memory
 * of PR_NOTOUCH; the firewall is for pools over kva_kmem_arena that are not
 * used from interrupts and whose objects are aligned to a page at most.
 *
 * Before there are threads.  Linear in the length of spec.
 */
#define KVA_POOL_DEBUG_RULES 16u
#define KVA_POOL_DEBUG_NAME 31u
int kva_pool_debug_set(const char *spec, size_t *where);

/* How many freed objects, and bytes of them, pools made from now on keep in
 * quarantine, whichever is reached first.  At first 1024 and 4 MiB.  Before
 * there are threads. */
void kva_pool_debug_quarantine(size_t objects, size_t bytes);

/* The modes that are on.  Any context. */
unsigned kva_pool_debug(const struct kva_pool *pp);
unsigned kva_pool_cache_debug(kva_pool_cache_t pc);

/* Return addresses that an event keeps, the caller's first. */
#define KVA_POOL_FRAMES 6u

struct kva_pool_event {
    uint64_t time; /* ns, or 0 without a clock (tier 3) */
    uint32_t cpu;
    uint32_t frames; /* 0: it has not happened */
    uintptr_t frame[KVA_POOL_FRAMES];
};

struct kva_pool_audit {
    const char *pool;
    uintptr_t object; /* its first byte */
    size_t size;
    bool live;
    struct kva_pool_event allocated, freed; /* the last time */
};

/*
 * What the audit knows of the object at addr, which may be any address inside.
 * KVA_ENOENT: no object of a pool with the mode audit.  Any context in which
 * the pool may be used.  Constant work.
 */
int kva_pool_audit_find(const void *addr, struct kva_pool_audit *audit);

#ifdef __cplusplus
}
#endif

#ifndef KVA_NO_NAMES
#include "pool/debug_names.h"
#endif

#endif
