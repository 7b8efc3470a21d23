/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Wired memory for devices: frames in a row, where the device can reach them.
 */
#ifndef KVA_KVA_CONTIG_H
#define KVA_KVA_CONTIG_H

#include "vmem/vmem.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * size bytes, in whole pages, of contiguous frames: all bytes within [low,
 * high], the first at a multiple of align (0: the page size), and not across a
 * multiple of boundary (0: none); physical addresses, and powers of two.  Mapped
 * readable and writable at *va; *pa is where they are.  It counts as wired.
 * KVA_EINVAL: no frames could ever be so, or two constraints contradict each
 * other; KVA_ENOMEM.  With VM_SLEEP others give back what they hold before it
 * fails; it does not wait for frames, which no free of the library's need bring.
 * The frames come from kva_port_page_contig; from a port without, those that
 * kva_port_page_get happens to give are taken if they will do.
 * From a thread, with no lock held.  Linear in pages, and as the hook.
 * FreeBSD's kmem_alloc_contig, NetBSD's bus_dmamem_alloc.
 */
int kva_contig_alloc(size_t size, kva_pa_t low, kva_pa_t high, kva_pa_t align,
                     kva_pa_t boundary, kva_vm_flag_t flags,
                     kva_vmem_addr_t *va, kva_pa_t *pa);

/* And back, with the same size; all of it at once.  It never allocates or
 * fails.  From a thread, with no lock held.  Linear in pages. */
void kva_contig_free(kva_vmem_addr_t va, size_t size);

#ifdef __cplusplus
}
#endif

#endif
