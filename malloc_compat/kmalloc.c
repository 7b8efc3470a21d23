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
kcalloc(size_t n, size_t size)
{
    return kva_mallocarray(n, size, kmalloc_type, KVA_M_NOWAIT | KVA_M_ZERO);
}

void *
kmalloc_array(size_t n, size_t size)
{
    return kva_mallocarray(n, size, kmalloc_type, KVA_M_NOWAIT);
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

void
kfree_sensitive(void *p)
{
    kva_zfree(p, kmalloc_type);
}

size_t
ksize(const void *p)
{
    return kva_malloc_usable_size(p);
}

char *
kstrndup(const char *str, size_t most)
{
    size_t len = 0;
    char *copy;

    if (str == NULL) {
        return NULL;
    }
    while (len < most && str[len] != '\0') {
        len++;
    }
    copy = kmalloc(len + 1);
    if (copy != NULL) {
        __builtin_memcpy(copy, str, len);
        copy[len] = '\0';
    }
    return copy;
}

char *
kstrdup(const char *str)
{
    return kstrndup(str, SIZE_MAX);
}
