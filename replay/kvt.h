/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * KVT version 1, the format of recorded allocation traces: described in
 * docs/trace-format.md.  The reader takes a file, plain or xz, or a piece of
 * memory, and refuses whatever breaks a rule of the format.
 */
#ifndef REPLAY_KVT_H
#define REPLAY_KVT_H

#include <stdio.h>

#include "replay/trace.h"

#define KVT_HEADER 128u
#define KVT_TYPE 64u
#define KVT_RECORD 16u
#define KVT_SLOTS_MAX (1u << 28) /* slots are fewer */

/* Why a trace was refused, and where: bytes from the start of the trace, which
 * for an xz file is the text that it holds. */
struct kvt_error {
    uint64_t offset;
    char reason[160];
};

/*
 * Read a trace into *t, which need not be initialised.  True if it is good:
 * then trace_free releases it.  False: *e says why, and nothing is held.
 * Neither reads a byte past what it was given.
 */
bool kvt_read_file(const char *path, struct trace *t, struct kvt_error *e);
bool kvt_read_memory(const void *bytes, size_t size, struct trace *t,
                     struct kvt_error *e);

/*
 * Write the first n records of a trace as a trace of their own, with END,
 * counts and checksum made anew.  t->header is carried over.  False: f has an
 * error.
 */
bool kvt_write(FILE *f, const struct trace *t, size_t n);

#endif
