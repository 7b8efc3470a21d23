/* SPDX-License-Identifier: BSD-2-Clause */
/* The names of kmem(9); see vmem/vmem_names.h. */
#ifndef KVA_KMEM_NAMES_H
#define KVA_KMEM_NAMES_H

typedef kva_km_flag_t km_flag_t;

#define KM_SLEEP KVA_KM_SLEEP
#define KM_NOSLEEP KVA_KM_NOSLEEP
#define KM_RESERVE KVA_KM_RESERVE

#define kmem_init kva_kmem_init
#define kmem_fini kva_kmem_fini
#define kmem_alloc kva_kmem_alloc
#define kmem_zalloc kva_kmem_zalloc
#define kmem_free kva_kmem_free
#define kmem_intr_alloc kva_kmem_intr_alloc
#define kmem_intr_zalloc kva_kmem_intr_zalloc
#define kmem_intr_free kva_kmem_intr_free
#define kmem_roundup_size kva_kmem_roundup_size
#define kmem_drain kva_kmem_drain
#define kmem_alloc_tryhard kva_kmem_alloc_tryhard
#define kmem_strdupsize kva_kmem_strdupsize
#define kmem_strdup kva_kmem_strdup
#define kmem_strndup kva_kmem_strndup
#define kmem_strfree kva_kmem_strfree
#define kmem_asprintf kva_kmem_asprintf
#define kmem_vasprintf kva_kmem_vasprintf
#define kmem_tmpbuf_alloc kva_kmem_tmpbuf_alloc
#define kmem_tmpbuf_free kva_kmem_tmpbuf_free

#endif
