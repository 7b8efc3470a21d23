/* SPDX-License-Identifier: BSD-2-Clause */
/* The names of debug modes for the prefixed ones of debug.h; see
 * vmem/vmem_names.h. */
#ifndef KVA_POOL_DEBUG_NAMES_H
#define KVA_POOL_DEBUG_NAMES_H

#define POOL_REDZONE KVA_POOL_REDZONE
#define POOL_POISON KVA_POOL_POISON
#define POOL_AUDIT KVA_POOL_AUDIT
#define POOL_FIREWALL KVA_POOL_FIREWALL
#define POOL_BEFORE KVA_POOL_BEFORE
#define POOL_QUARANTINE KVA_POOL_QUARANTINE
#define POOL_BYTE_REDZONE KVA_POOL_BYTE_REDZONE
#define POOL_BYTE_FREE KVA_POOL_BYTE_FREE
#define POOL_BYTE_NEW KVA_POOL_BYTE_NEW
#define pool_debug_set kva_pool_debug_set
#define pool_debug_quarantine kva_pool_debug_quarantine
#define pool_debug kva_pool_debug
#define pool_cache_debug kva_pool_cache_debug
#define pool_audit_find kva_pool_audit_find

#endif
