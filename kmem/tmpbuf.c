/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A buffer for a short time: on the caller's stack if it fits, else of kmem's.
 *
 *     char stack[128], *buf;
 *
 *     buf = kmem_tmpbuf_alloc(size, stack, sizeof(stack), KM_SLEEP);
 *     ...
 *     kmem_tmpbuf_free(buf, size, stack);
 *
 * The interface is NetBSD's.
 */
#include "kmem/kmem_impl.h"

void *
kmem_tmpbuf_alloc(size_t size, void *stack, size_t stack_bytes, km_flag_t flags)
{
    return size <= stack_bytes ? stack : kmem_alloc(size, flags);
}

void
kmem_tmpbuf_free(void *buf, size_t size, void *stack)
{
    if (buf != stack) {
        kmem_free(buf, size);
    }
}
