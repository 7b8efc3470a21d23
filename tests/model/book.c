/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/model/book.h"

#include <stdio.h>
#include <string.h>

static const struct range *
holder(const struct range *r, unsigned n, uintptr_t addr)
{
    for (unsigned i = 0; i < n; i++) {
        if (addr >= r[i].addr && addr <= r[i].addr + (r[i].size - 1)) {
            return &r[i];
        }
    }
    return NULL;
}

const struct range *
book_live(const struct book *b, uintptr_t addr)
{
    return holder(b->live, b->nlive, addr);
}

const struct range *
book_span(const struct book *b, uintptr_t addr)
{
    return holder(b->span, b->nspan, addr);
}

/* Exactly one thing is reported, the first in this order. */
bool
book_message(const struct book *b, enum way way, uintptr_t addr, size_t size,
             char text[KVA_MESSAGE_MAX])
{
    const struct range *l = book_live(b, addr);
    bool x = way == BY_XFREE;
    char what[128];

    size = (size + b->quantum - 1) / b->quantum * b->quantum;
    if (addr % b->quantum != 0) {
        (void)snprintf(what, sizeof(what),
                       "a multiple of the quantum %zu, found a misaligned "
                       "address",
                       b->quantum);
    } else if (book_span(b, addr) == NULL) {
        (void)snprintf(what, sizeof(what),
                       "a live range, found an address outside every span");
    } else if (l == NULL) {
        (void)snprintf(what, sizeof(what), "a live range, found a free one");
    } else if (l->x != x) {
        (void)snprintf(what, sizeof(what),
                       "a range of vmem_%salloc, found one of vmem_%salloc",
                       x ? "x" : "", l->x ? "x" : "");
    } else if (l->addr != addr) {
        (void)snprintf(what, sizeof(what),
                       "the start of a range, found an address inside the "
                       "one at 0x%lx",
                       (unsigned long)l->addr);
    } else if (l->size != size) {
        (void)snprintf(what, sizeof(what), "size %zu, found size %zu", l->size,
                       size);
    } else {
        return false;
    }
    (void)snprintf(text, KVA_MESSAGE_MAX,
                   "vmem_%sfree: arena %s: 0x%lx: expected %s", x ? "x" : "",
                   b->name, (unsigned long)addr, what);
    return true;
}

bool
book_is_overlap(const struct book *b, uintptr_t addr, size_t size,
                const char *message)
{
    char text[KVA_MESSAGE_MAX];
    uintptr_t last = addr + (size - 1);

    for (unsigned i = 0; i < b->nspan; i++) {
        const struct range *span = &b->span[i];

        (void)snprintf(text, sizeof(text),
                       "vmem_add: arena %s: 0x%lx: expected a span apart from "
                       "all others, found it overlaps 0x%lx of %zu bytes",
                       b->name, (unsigned long)addr, (unsigned long)span->addr,
                       span->size);
        if (span->addr <= last && span->addr + (span->size - 1) >= addr &&
            strcmp(text, message) == 0) {
            return true;
        }
    }
    return false;
}
