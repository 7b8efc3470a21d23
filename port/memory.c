/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The four functions that a compiler calls unasked, for a kernel that has none
 * (KVA_CONFIG_MEMORY); otherwise this file is empty.  Small, not fast.  The
 * barrier in each loop keeps the compiler from making it a call to itself.
 */
#include "port/check.h"

#if KVA_CONFIG_MEMORY
void *memset(void *dst, int byte, size_t n);
void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
int memcmp(const void *a, const void *b, size_t n);

void *
memset(void *dst, int byte, size_t n)
{
    unsigned char *d = dst;

    while (n-- > 0) {
        *d++ = (unsigned char)byte;
        KVA_COMPILER_BARRIER();
    }
    return dst;
}

void *
memcpy(void *dst, const void *src, size_t n)
{
    unsigned char *d = dst;
    const unsigned char *s = src;

    while (n-- > 0) {
        *d++ = *s++;
        KVA_COMPILER_BARRIER();
    }
    return dst;
}

void *
memmove(void *dst, const void *src, size_t n)
{
    unsigned char *d = dst;
    const unsigned char *s = src;

    if ((uintptr_t)d - (uintptr_t)s >= n) {
        return memcpy(dst, src, n);
    }
    while (n-- > 0) {
        d[n] = s[n];
        KVA_COMPILER_BARRIER();
    }
    return dst;
}

int
memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *x = a, *y = b;

    for (; n > 0; n--, x++, y++) {
        if (*x != *y) {
            return *x < *y ? -1 : 1;
        }
        KVA_COMPILER_BARRIER();
    }
    return 0;
}
#else
/* An empty file is not C. */
typedef int kva__no_memory_functions;
#endif
