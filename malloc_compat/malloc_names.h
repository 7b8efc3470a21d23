/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The names of malloc(9); see vmem/vmem_names.h.  Those that libc libraries have
 * too are taken only where KVA_MALLOC_NAMES is defined.
 */
#ifndef KVA_MALLOC_COMPAT_MALLOC_NAMES_H
#define KVA_MALLOC_COMPAT_MALLOC_NAMES_H

#define malloc_type kva_malloc_type
#define malloc_stat kva_malloc_stat

#define M_WAITOK KVA_M_WAITOK
#define M_NOWAIT KVA_M_NOWAIT
#define M_ZERO KVA_M_ZERO
#define M_CANFAIL KVA_M_CANFAIL
#define M_USE_RESERVE KVA_M_USE_RESERVE

#define malloc_type_attach kva_malloc_type_attach
#define malloc_type_detach kva_malloc_type_detach
#define malloc_type_setlimit kva_malloc_type_setlimit
#define malloc_type_stat kva_malloc_type_stat
#define malloc_roundup kva_malloc_roundup
#define malloc_fini kva_malloc_fini
#define malloc_rows kva_malloc_rows
#define malloc_listing kva_malloc_listing
#define mallocarray kva_mallocarray
#define zfree kva_zfree

#ifdef KVA_MALLOC_NAMES
#define malloc kva_malloc
#define realloc kva_realloc
#define reallocf kva_reallocf
#define malloc_usable_size kva_malloc_usable_size
#define free kva_free
#endif

#endif
