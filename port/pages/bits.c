/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bits of frames, looked at and changed a word at a time.
 */
#include "port/pages/pages_impl.h"

/* The bits of a word from at on, below end, which lies behind at. */
static uintptr_t
mask(size_t at, size_t end)
{
    uintptr_t m = ~(uintptr_t)0 << (at & (KVA__BITS_WORD - 1));
    size_t last = at | (KVA__BITS_WORD - 1);

    return end > last ? m
                      : m & ~(~(uintptr_t)0 << (end & (KVA__BITS_WORD - 1)));
}

/* The first bit of the next word. */
static size_t
next_word(size_t at)
{
    return (at | (KVA__BITS_WORD - 1)) + 1;
}

void
kva__bits_fill(uintptr_t *bits, size_t at, size_t n, bool on)
{
    for (size_t end = at + n; at < end; at = next_word(at)) {
        if (on) {
            bits[at >> KVA__BITS_SHIFT] |= mask(at, end);
        } else {
            bits[at >> KVA__BITS_SHIFT] &= ~mask(at, end);
        }
    }
}

size_t
kva__bits_both(const uintptr_t *a, const uintptr_t *b, size_t at, size_t end,
               bool want)
{
    for (; at < end; at = next_word(at)) {
        size_t w = at >> KVA__BITS_SHIFT;
        uintptr_t found = want ? a[w] & b[w] : ~(a[w] & b[w]);

        found &= mask(at, end);
        if (found != 0) {
            return (w << KVA__BITS_SHIFT) + kva_ffs(found);
        }
    }
    return end;
}

size_t
kva__segment_first(const struct kva__frames *f, size_t at)
{
    size_t w = at >> KVA__BITS_SHIFT;
    uintptr_t found = f->first[w] & mask(0, (at & (KVA__BITS_WORD - 1)) + 1);

    while (found == 0) { /* every taken frame has one at or below it */
        found = f->first[--w];
    }
    return (w << KVA__BITS_SHIFT) + kva_fls(found);
}

/* The next segment begins, or there is none. */
size_t
kva__segment_end(const struct kva__frames *f, size_t at)
{
    for (at++; at < f->n; at = next_word(at)) {
        size_t w = at >> KVA__BITS_SHIFT;
        uintptr_t found = (f->first[w] | ~f->taken[w]) & mask(at, f->n);

        if (found != 0) {
            return (w << KVA__BITS_SHIFT) + kva_ffs(found);
        }
    }
    return f->n;
}
