/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The boot loader's memory map, in whatever order and state loaders leave it.
 *
 *      usable      |------------|      |-------|
 *      usable            |---------|
 *      not                         |--|       |----|
 *      frames       1111111111111111    11111          rounded inwards, and
 *                                                      outwards what is not
 *
 * One sweep over the places where a line begins or ends: between two of them
 * all is usable or nothing.  Lines are few, so each place is found by going
 * through all of them: no room for a sorted copy is needed.
 */
#include "port/pages/pages_impl.h"

/* What cannot be counted.  Frame numbers and their ends are below it. */
#define FRAMES_MAX ((uint64_t)UINTPTR_MAX)

/* The frames of a line: [first, end), empty if it has none. */
struct line {
    uint64_t first, end;
};

static struct line
line_frames(const struct kva_pages_range *r)
{
    uint64_t last = r->base + (r->bytes - 1);
    struct line l = { 0, 0 };

    if (r->bytes == 0) {
        return l;
    }
    if (r->usable) {
        l.first = (r->base >> KVA_PAGE_SHIFT) +
                  ((r->base & KVA_PAGE_MASK) != 0 ? 1 : 0);
        l.end = (last >> KVA_PAGE_SHIFT) +
                ((last & KVA_PAGE_MASK) == KVA_PAGE_MASK ? 1 : 0);
    } else {
        l.first = r->base >> KVA_PAGE_SHIFT;
        l.end = (last >> KVA_PAGE_SHIFT) + 1;
    }
    if (l.end < l.first) {
        l.end = l.first;
    }
    return l;
}

/* Is every line one that can be meant. */
static int
lines_verify(const struct kva_pages_range *map, size_t nmap)
{
    for (size_t i = 0; i < nmap; i++) {
        const struct kva_pages_range *r = &map[i];
        const char *wrong = NULL;

        if (r->bytes != 0 && r->base + (r->bytes - 1) < r->base) {
            wrong = "expected a line that does not wrap";
        } else if (r->usable && line_frames(r).end > FRAMES_MAX) {
            wrong = "expected frames that a word can count";
        }
        if (wrong != NULL) {
            kva__log("kva_pages_init: line %zu: %s, found 0x%llx bytes at "
                     "0x%llx",
                     i, wrong, (unsigned long long)r->bytes,
                     (unsigned long long)r->base);
            return KVA_EINVAL;
        }
    }
    return 0;
}

/* Is frame f usable, and at which frame may that change. */
static bool
frame_is_usable(const struct kva_pages_range *map, size_t nmap, uint64_t f,
                uint64_t *until)
{
    bool usable = false, barred = false;

    *until = UINT64_MAX;
    for (size_t i = 0; i < nmap; i++) {
        struct line l = line_frames(&map[i]);

        if (l.first == l.end) {
            continue;
        }
        if (l.first <= f && f < l.end) {
            usable |= map[i].usable;
            barred |= !map[i].usable;
        }
        if (l.first > f && l.first < *until) {
            *until = l.first;
        }
        if (l.end > f && l.end < *until) {
            *until = l.end;
        }
    }
    return usable && !barred;
}

/* [first, end) joins the range that ends there, or begins another; false: there
 * are too many. */
static bool
range_append(struct kva__frame_map *out, uint64_t first, uint64_t end)
{
    unsigned n = out->n;

    if (n != 0 && out->range[n - 1].base + out->range[n - 1].n == first) {
        out->range[n - 1].n += (size_t)(end - first);
        return true;
    }
    if (n == KVA_PAGES_RANGES) {
        return false;
    }
    out->range[n].base = (uintptr_t)first;
    out->range[n].n = (size_t)(end - first);
    out->n++;
    return true;
}

int
kva__pages_map(const struct kva_pages_range *map, size_t nmap,
               struct kva__frame_map *out)
{
    uint64_t until;

    out->n = 0;
    if (lines_verify(map, nmap) != 0) {
        return KVA_EINVAL;
    }
    for (uint64_t f = 0; f != UINT64_MAX; f = until) {
        if (frame_is_usable(map, nmap, f, &until) &&
            !range_append(out, f, until)) {
            kva__log("kva_pages_init: expected at most %u ranges of usable "
                     "memory, found another one at 0x%llx",
                     KVA_PAGES_RANGES, (unsigned long long)f << KVA_PAGE_SHIFT);
            return KVA_EINVAL;
        }
    }
    if (out->n == 0) {
        kva__log("kva_pages_init: expected a usable frame, found none in %zu "
                 "lines",
                 nmap);
        return KVA_EINVAL;
    }
    return 0;
}
