/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every live object is full of a word that no other object has: made of its
 * slot and the generation of the slot.  If two objects overlap, or the library
 * writes into a live one, the word is gone at the free.
 */
#ifndef REPLAY_PATTERN_H
#define REPLAY_PATTERN_H

#include <stddef.h>
#include <stdint.h>

void pattern_fill(void *p, size_t size, uint32_t slot, uint32_t generation);

/* The offset of the first byte that is not as it was filled, or size. */
size_t
pattern_check(const void *p, size_t size, uint32_t slot, uint32_t generation);

#endif
