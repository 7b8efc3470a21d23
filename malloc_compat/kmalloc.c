/* SPDX-License-Identifier: BSD-2-Clause */
/* kmalloc and its kin: malloc(9) with one type, which nobody waits for. */
#include "malloc_compat/kmalloc.h"

#include "malloc_compat/malloc_store.h"

static KVA_MALLOC_DEFINE(kmalloc_type, "kmalloc", "memory without a type");

void *
kmalloc(size_t size)
{
    return kva_malloc(size, kmalloc_type, KVA_M_NOWAIT);
}

void *
kzalloc(size_t size)
{
    return kva_malloc(size, kmalloc_type, KVA_M_NOWAIT | KVA_M_ZERO);
}

void *
krealloc(void *p, size_t size)
{
    return kva_realloc(p, size, kmalloc_type, KVA_M_NOWAIT);
}

void
kfree(void *p)
{
    kva_free(p, kmalloc_type);
}
