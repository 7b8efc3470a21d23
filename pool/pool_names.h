/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The names of pool(9) and pool_cache(9) for the prefixed ones of pool.h; see
 * vmem/vmem_names.h.  `struct pool' is NetBSD's, so the word itself is mapped.
 */
#ifndef KVA_POOL_NAMES_H
#define KVA_POOL_NAMES_H

typedef kva_pool_cache_t pool_cache_t;

#define pool kva_pool
#define pool_cache kva_pool_cache
#define pool_allocator kva_pool_allocator
#define pool_allocator_kmem kva_pool_allocator_kmem
#define pool_allocator_nointr kva_pool_allocator_nointr
#define pool_allocator_intr kva_pool_allocator_intr
#define pool_allocator_meta kva_pool_allocator_meta
#define POOL_PAGE_MAX KVA_POOL_PAGE_MAX
#define POOL_PADDR_INVALID KVA_POOL_PADDR_INVALID

#define PR_WAITOK KVA_PR_WAITOK
#define PR_NOWAIT KVA_PR_NOWAIT
#define PR_RESERVE KVA_PR_RESERVE
#define PR_PHINPAGE KVA_PR_PHINPAGE
#define PR_LIMITFAIL KVA_PR_LIMITFAIL
#define PR_RECURSIVE KVA_PR_RECURSIVE
#define PR_NOTOUCH KVA_PR_NOTOUCH
#define PR_NOALIGN KVA_PR_NOALIGN
#define PR_LARGECACHE KVA_PR_LARGECACHE
#define PR_ZERO KVA_PR_ZERO
#define PR_USEBMAP KVA_PR_USEBMAP
#define PR_PSERIALIZE KVA_PR_PSERIALIZE
#define PR_PADDR KVA_PR_PADDR

#define pool_init kva_pool_init
#define pool_destroy kva_pool_destroy
#define pool_get kva_pool_get
#define pool_put kva_pool_put
#define pool_prime kva_pool_prime
#define pool_setlowat kva_pool_setlowat
#define pool_setreserve kva_pool_setreserve
#define pool_sethiwat kva_pool_sethiwat
#define pool_sethardlimit kva_pool_sethardlimit
#define pool_set_drain_hook kva_pool_set_drain_hook
#define pool_reclaim kva_pool_reclaim
#define pool_drain kva_pool_drain
#define pool_nget kva_pool_nget
#define pool_nput kva_pool_nput
#define pool_totalpages kva_pool_totalpages
#define pool_paddr kva_pool_paddr
#define pool_stat kva_pool_stat
#define pool_check kva_pool_check
#define pool_chk kva_pool_chk
#define pool_printit kva_pool_printit
#define pool_printall kva_pool_printall
#define pool_whatis kva_pool_whatis
#define pool_update kva_pool_update
#define pool_drain_all kva_pool_drain_all
#define pool_evacuate kva_pool_evacuate

#define pool_cache_init kva_pool_cache_init
#define pool_cache_bootstrap kva_pool_cache_bootstrap
#define pool_cache_bootstrap_destroy kva_pool_cache_bootstrap_destroy
#define pool_cache_destroy kva_pool_cache_destroy
#define pool_cache_get kva_pool_cache_get
#define pool_cache_put kva_pool_cache_put
#define pool_cache_get_paddr kva_pool_cache_get_paddr
#define pool_cache_put_paddr kva_pool_cache_put_paddr
#define pool_cache_nget kva_pool_cache_nget
#define pool_cache_nput kva_pool_cache_nput
#define pool_cache_destruct_object kva_pool_cache_destruct_object
#define pool_cache_invalidate kva_pool_cache_invalidate
#define pool_cache_reclaim kva_pool_cache_reclaim
#define pool_cache_set_drain_hook kva_pool_cache_set_drain_hook
#define pool_cache_setlowat kva_pool_cache_setlowat
#define pool_cache_setreserve kva_pool_cache_setreserve
#define pool_cache_sethiwat kva_pool_cache_sethiwat
#define pool_cache_sethardlimit kva_pool_cache_sethardlimit
#define pool_cache_prime kva_pool_cache_prime
#define pool_cache_drain kva_pool_cache_drain
#define pool_cache_stat kva_pool_cache_stat
#define pool_cache_set_move kva_pool_cache_set_move
#define pool_cache_move_notify kva_pool_cache_move_notify

#define pool_row kva_pool_row
#define pool_rows kva_pool_rows
#define pool_listing kva_pool_listing
#define pool_cache_listing kva_pool_cache_listing
#define POOL_NO_LIMIT KVA_POOL_NO_LIMIT

#endif
