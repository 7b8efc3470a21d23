/* SPDX-License-Identifier: BSD-2-Clause */
/* See pattern.h.  Objects are aligned to 8 bytes; the rest of the last word is
 * written and compared byte by byte. */
#include "replay/pattern.h"

#include <string.h>

/* Neither step loses anything, so words differ if slots or generations do; the
 * shift brings the generation down to the low bytes, for small objects. */
static uint64_t
word_of(uint32_t slot, uint32_t generation)
{
    uint64_t w = ((uint64_t)generation << 32 | slot) * 0x9e3779b97f4a7c15u;

    return w ^ w >> 32;
}

void
pattern_fill(void *p, size_t size, uint32_t slot, uint32_t generation)
{
    uint64_t word = word_of(slot, generation);
    uint64_t *w = p;
    size_t n = size / sizeof(word);

    for (size_t i = 0; i < n; i++) {
        w[i] = word;
    }
    memcpy(w + n, &word, size % sizeof(word));
}

static size_t
first_wrong(const void *p, size_t size, uint64_t word)
{
    const unsigned char *got = p;
    unsigned char want[sizeof(word)];
    size_t i = 0;

    memcpy(want, &word, sizeof(word));
    while (i < size && got[i] == want[i % sizeof(word)]) {
        i++;
    }
    return i;
}

size_t
pattern_check(const void *p, size_t size, uint32_t slot, uint32_t generation)
{
    uint64_t word = word_of(slot, generation), wrong = 0;
    const uint64_t *w = p;
    size_t n = size / sizeof(word);

    for (size_t i = 0; i < n; i++) {
        wrong |= w[i] ^ word;
    }
    if (wrong == 0 && memcmp(w + n, &word, size % sizeof(word)) == 0) {
        return size;
    }
    return first_wrong(p, size, word);
}
