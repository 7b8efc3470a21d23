/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the library's listings say at one moment, kept for later: the text for
 * people and the rows for JSON.
 */
#ifndef REPLAY_LISTING_H
#define REPLAY_LISTING_H

#include "replay/json.h"

struct listing;

/* Of the library as it is now; NULL: out of memory.  Names in it are those of
 * the pools and types, and must last. */
struct listing *listing_take(void);
void listing_print(const struct listing *l, FILE *f);
/* Members "pools", "types" of the object that is open. */
void listing_json(struct json *j, const struct listing *l);
void listing_free(struct listing *l);

#endif
