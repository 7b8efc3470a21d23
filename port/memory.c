/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The four functions that a compiler calls unasked, for a kernel that has none
 * (KVA_CONFIG_MEMORY); otherwise this file is empty.  Small, not fast.  The
 * barrier in each loop keeps the compiler from making it a call to itself.
 *
 * Where ARM's EABI rules, clang calls them by the names that this has for them
 * (Run-time ABI for the Arm Architecture, 4.3.4).  Names that end in 4 and 8
 * promise alignment, and memset has its last two arguments the other way round.
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

#ifdef __ARM_EABI__
#define EABI_NAMES(suffix)                                              \
    void __aeabi_memcpy##suffix(void *dst, const void *src, size_t n);  \
    void __aeabi_memmove##suffix(void *dst, const void *src, size_t n); \
    void __aeabi_memset##suffix(void *dst, size_t n, int byte);         \
    void __aeabi_memclr##suffix(void *dst, size_t n);                   \
    void __aeabi_memcpy##suffix(void *dst, const void *src, size_t n)   \
    {                                                                   \
        (void)memcpy(dst, src, n);                                      \
    }                                                                   \
    void __aeabi_memmove##suffix(void *dst, const void *src, size_t n)  \
    {                                                                   \
        (void)memmove(dst, src, n);                                     \
    }                                                                   \
    void __aeabi_memset##suffix(void *dst, size_t n, int byte)          \
    {                                                                   \
        (void)memset(dst, byte, n);                                     \
    }                                                                   \
    void __aeabi_memclr##suffix(void *dst, size_t n)                    \
    {                                                                   \
        (void)memset(dst, 0, n);                                        \
    }                                                                   \
    _Static_assert(sizeof(size_t) == 4, "the EABI of 32 bits")

EABI_NAMES();
EABI_NAMES(4);
EABI_NAMES(8);
#endif
#else
/* An empty file is not C. */
typedef int kva__no_memory_functions;
#endif
