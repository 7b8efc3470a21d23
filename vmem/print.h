/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lines for people: what print.c and whatis.c share.
 */
#ifndef KVA_VMEM_PRINT_H
#define KVA_VMEM_PRINT_H

#include "vmem/vmem_impl.h"

/* A line, to pr with a newline behind it, or to the port's log. */
void kva__print_line(kva_vmem_pr_t *pr, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void kva__print_event(const struct kva_vmem_audit *event, const char *before,
                      kva_vmem_pr_t *pr);

#endif
