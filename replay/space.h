/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stretch of address space in pages, for the models: first fit at the lowest
 * address, and the counts that follow from who lies beside whom.
 */
#ifndef REPLAY_SPACE_H
#define REPLAY_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPACE_NONE UINT32_MAX

struct space;

/* npages: a power of two.  NULL: no memory. */
struct space *space_create(uint32_t npages);
void space_destroy(struct space *sp);

/*
 * Take n pages at a multiple of align (a power of two), marked with a kind
 * from 1 to 254.  Returns the first page, or SPACE_NONE.
 */
uint32_t
space_alloc(struct space *sp, uint32_t n, uint32_t align, uint8_t kind);
void space_free(struct space *sp, uint32_t page, uint32_t n);

/* The kind of a page; 0 if it is free or does not exist. */
uint8_t space_kind(const struct space *sp, uint32_t page);

uint32_t space_largest_hole(const struct space *sp); /* pages */
uint64_t space_busy_pages(const struct space *sp);
uint64_t space_holes(const struct space *sp); /* maximal free runs */
/* Maximal runs of busy pages of one kind. */
uint64_t space_runs(const struct space *sp);

#endif
