/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stack, as glibc walks it: with the unwind tables that every program has,
 * so it does not matter whether frame pointers were left out.
 */
#include <execinfo.h>

#include "port/posix/posix_impl.h"

size_t
kva_port_stack(uintptr_t *pc, size_t n)
{
    void *frame[64];
    int depth =
        backtrace(frame, n < KVA_COUNT(frame) ? (int)n : (int)KVA_COUNT(frame));

    for (int i = 0; i < depth; i++) {
        pc[i] = (uintptr_t)frame[i];
    }
    return (size_t)depth;
}
