/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A book: the spans and the live ranges of an arena as a driver knows them, and
 * what a free must report that does not agree with it.  The library is not
 * asked.
 */
#ifndef TESTS_BOOK_H
#define TESTS_BOOK_H

#include "port/posix/posix.h"
#include "vmem/vmem.h"

#define BOOK_MAX 320u

struct range {
    uintptr_t addr;
    size_t size;
    bool x; /* from vmem_xalloc */
};

struct book {
    vmem_t *vm; /* NULL: there is no such arena */
    const char *name;
    size_t quantum;
    struct range span[BOOK_MAX]; /* in the order they came */
    unsigned nspan;
    struct range live[BOOK_MAX];
    unsigned nlive;
};

/* How a range goes back. */
enum way {
    BY_FREE,
    BY_XFREE,
    WAYS
};

/* The live range, or the span, that holds addr; NULL: none. */
const struct range *book_live(const struct book *b, uintptr_t addr);
const struct range *book_span(const struct book *b, uintptr_t addr);
/* The message that a free must give; false: it is legal. */
bool book_message(const struct book *b, enum way way, uintptr_t addr,
                  size_t size, char text[KVA_MESSAGE_MAX]);

/* Is it the report of an added span that overlaps one in the book; of several,
 * any may be named. */
bool book_is_overlap(const struct book *b, uintptr_t addr, size_t size,
                     const char *message);

#endif
