/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes that are all the same, which is what redzones and poison are made of:
 * a byte is what it should be wherever it lies, so neither an object's size nor
 * its alignment matters, and a report can name the byte that is wrong.
 */
#include "pool/debug_impl.h"

/* A word at a time where it can be. */
size_t
kva__pattern_check(uintptr_t addr, size_t n, unsigned byte)
{
    const unsigned char *p = (const unsigned char *)addr;
    uintptr_t want = ~(uintptr_t)0 / 0xffu * byte, word;
    size_t i = 0;

    while (i < n) {
        if (n - i >= sizeof(word)) {
            __builtin_memcpy(&word, p + i, sizeof(word));
            if (word == want) {
                i += sizeof(word);
                continue;
            }
        }
        if (p[i] != byte) {
            break;
        }
        i++;
    }
    return i;
}
