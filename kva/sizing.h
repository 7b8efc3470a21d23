/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How much of a machine is the heap's, if the kernel does not say.
 */
#ifndef KVA_KVA_SIZING_H
#define KVA_KVA_SIZING_H

#include "port/port.h"

#ifdef __cplusplus
extern "C" {
#endif

/* In bytes; 0: no limit. */
struct kva_sizing {
    uint64_t wired;   /* what the heap may wire */
    uint64_t heap_va; /* the heap's share of address space, whole units */
    uint64_t unit;    /* of address space, in which the heap imports it */
};

/*
 * The rule, for ram bytes of memory (0: not known, so no limits), va bytes of
 * kernel address space and words of word_bits.  sizing.c says why.  A pure
 * function: any context, constant work.
 */
void kva_sizing(uint64_t ram, uint64_t va, unsigned word_bits,
                struct kva_sizing *out);

#ifdef __cplusplus
}
#endif

#endif
