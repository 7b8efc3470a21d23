/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The names of vmem(9) for the prefixed ones of vmem.h.  A user who owns some
 * of these names himself defines KVA_NO_NAMES and calls the prefixed ones.
 */
#ifndef KVA_VMEM_NAMES_H
#define KVA_VMEM_NAMES_H

typedef kva_vmem_t vmem_t;
typedef kva_vmem_addr_t vmem_addr_t;
typedef kva_vmem_size_t vmem_size_t;
typedef kva_vm_flag_t vm_flag_t;
typedef kva_vmem_import_t vmem_import_t;
typedef kva_vmem_ximport_t vmem_ximport_t;
typedef kva_vmem_release_t vmem_release_t;
typedef kva_vmem_rimport_t vmem_rimport_t;
typedef kva_vmem_pr_t vmem_pr_t;

#define VM_SLEEP KVA_VM_SLEEP
#define VM_NOSLEEP KVA_VM_NOSLEEP
#define VM_INSTANTFIT KVA_VM_INSTANTFIT
#define VM_BESTFIT KVA_VM_BESTFIT
#define VM_FIRSTFIT KVA_VM_FIRSTFIT
#define VM_NEXTFIT KVA_VM_NEXTFIT
#define VM_ENDALLOC KVA_VM_ENDALLOC
#define VM_ONESTEP KVA_VM_ONESTEP
#define VM_INDEX KVA_VM_INDEX
#define VM_BOOTSTRAP KVA_VM_BOOTSTRAP
#define VM_POPULATING KVA_VM_POPULATING
#define VM_LARGEIMPORT KVA_VM_LARGEIMPORT
#define VM_XIMPORT KVA_VM_XIMPORT
#define VM_PRIVTAGS KVA_VM_PRIVTAGS
#define VM_ABORT KVA_VM_ABORT
#define VM_PREPARED KVA_VM_PREPARED
#define VMEM_ADDR_MIN KVA_VMEM_ADDR_MIN
#define VMEM_ADDR_MAX KVA_VMEM_ADDR_MAX
#define VMEM_ALLOC KVA_VMEM_ALLOC
#define VMEM_FREE KVA_VMEM_FREE
#define VMEM_MAXFREE KVA_VMEM_MAXFREE
#define VMEM_CACHED KVA_VMEM_CACHED
#define VMEM_SPAN KVA_VMEM_SPAN
#define VMEM_REENTRANT KVA_VMEM_REENTRANT
#define VMEM_NOLOCK KVA_VMEM_NOLOCK
#define VMEM_KIND_FREE KVA_VMEM_KIND_FREE
#define VMEM_KIND_ALLOC KVA_VMEM_KIND_ALLOC
#define VMEM_KIND_XALLOC KVA_VMEM_KIND_XALLOC
#define VMEM_KIND_PIECE KVA_VMEM_KIND_PIECE
#define VMEM_KIND_LIVE KVA_VMEM_KIND_LIVE
#define VMEM_KIND_CACHED KVA_VMEM_KIND_CACHED
#define VMEM_AUDIT_ALLOC KVA_VMEM_AUDIT_ALLOC
#define VMEM_AUDIT_XALLOC KVA_VMEM_AUDIT_XALLOC
#define VMEM_AUDIT_FREE KVA_VMEM_AUDIT_FREE
#define VMEM_AUDIT_XFREE KVA_VMEM_AUDIT_XFREE
#define VMEM_AUDIT_XTRIM KVA_VMEM_AUDIT_XTRIM
#define VMEM_AUDIT_XSPLIT KVA_VMEM_AUDIT_XSPLIT
#define VMEM_AUDIT_XJOIN KVA_VMEM_AUDIT_XJOIN
#define VMEM_AUDIT_XEXTEND KVA_VMEM_AUDIT_XEXTEND
#define VMEM_EST_BTCOUNT KVA_VMEM_EST_BTCOUNT
#define VMEM_BTS_FOR KVA_VMEM_BTS_FOR
#define VMEM_BTS_GROUP KVA_VMEM_BTS_GROUP
#define VMEM_TAGS_ALLOC KVA_VMEM_TAGS_ALLOC
#define VMEM_TAGS_XALLOC KVA_VMEM_TAGS_XALLOC
#define VMEM_TAGS_FREE KVA_VMEM_TAGS_FREE
#define VMEM_TAGS_ADD KVA_VMEM_TAGS_ADD
#define VMEM_TAGS_IMPORT KVA_VMEM_TAGS_IMPORT
#define VMEM_TAGS_CHAIN KVA_VMEM_TAGS_CHAIN
#define VMEM_TAGS_XTRIM_END KVA_VMEM_TAGS_XTRIM_END
#define VMEM_TAGS_XTRIM KVA_VMEM_TAGS_XTRIM
#define VMEM_TAGS_XSPLIT KVA_VMEM_TAGS_XSPLIT
#define VMEM_TAGS_XJOIN KVA_VMEM_TAGS_XJOIN
#define VMEM_TAGS_XEXTEND KVA_VMEM_TAGS_XEXTEND
#define VMEM_TAGS_PREPARED KVA_VMEM_TAGS_PREPARED
#define VMEM_TAGS_FOR KVA_VMEM_TAGS_FOR

#define vmem_bootstrap kva_vmem_bootstrap
#define vmem_fini kva_vmem_fini
#define vmem_create kva_vmem_create
#define vmem_xcreate kva_vmem_xcreate
#define vmem_init kva_vmem_init
#define vmem_set_import kva_vmem_set_import
#define vmem_set_rimport kva_vmem_set_rimport
#define vmem_rimport kva_vmem_rimport
#define vmem_request_fits kva_vmem_request_fits
#define vmem_set_limit kva_vmem_set_limit
#define vmem_destroy kva_vmem_destroy
#define vmem_alloc kva_vmem_alloc
#define vmem_free kva_vmem_free
#define vmem_xalloc kva_vmem_xalloc
#define vmem_xalloc_addr kva_vmem_xalloc_addr
#define vmem_segment kva_vmem_segment
#define vmem_audit kva_vmem_audit
#define vmem_request kva_vmem_request
#define vmem_xalloc_timed kva_vmem_xalloc_timed
#define vmem_cancel kva_vmem_cancel
#define vmem_retry kva_vmem_retry
#define vmem_xfree kva_vmem_xfree
#define vmem_xfreeall kva_vmem_xfreeall
#define vmem_xtrim kva_vmem_xtrim
#define vmem_xtrim_prepared kva_vmem_xtrim_prepared
#define vmem_xsplit kva_vmem_xsplit
#define vmem_xsplit_prepared kva_vmem_xsplit_prepared
#define vmem_xjoin kva_vmem_xjoin
#define vmem_xextend kva_vmem_xextend
#define vmem_add kva_vmem_add
#define vmem_add_bts kva_vmem_add_bts
#define vmem_prepare kva_vmem_prepare
#define vmem_unprepare kva_vmem_unprepare
#define vmem_roundup_size kva_vmem_roundup_size
#define vmem_size kva_vmem_size
#define vmem_walk kva_vmem_walk
#define vmem_drain kva_vmem_drain
#define vmem_set_reclaim kva_vmem_set_reclaim
#define vmem_update kva_vmem_update
#define vmem_stat kva_vmem_stat
#define vmem_check kva_vmem_check
#define vmem_print kva_vmem_print
#define vmem_printall kva_vmem_printall
#define vmem_print_live kva_vmem_print_live
#define vmem_whatis kva_vmem_whatis
#define vmem_contains kva_vmem_contains
#define vmem_find kva_vmem_find
#define vmem_set_mtbf kva_vmem_set_mtbf
#define vmem_set_mtbf_random kva_vmem_set_mtbf_random
#define vmem_set_audit kva_vmem_set_audit
#define vmem_audit_find kva_vmem_audit_find

#endif
