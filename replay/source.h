/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes to read, in order: from a plain file, an xz file, or memory.
 */
#ifndef REPLAY_SOURCE_H
#define REPLAY_SOURCE_H

#include <stddef.h>
#include <stdint.h>

struct source;

/* Both return NULL and set *reason if they cannot.  The memory stays the
 * caller's and must outlive the source. */
struct source *source_open_file(const char *path, const char **reason);
struct source *
source_open_memory(const void *bytes, size_t size, const char **reason);

/*
 * Up to n bytes; fewer only at the end or at an error, which source_reason
 * then names (NULL at a plain end).
 */
size_t source_read(struct source *s, void *buf, size_t n);
const char *source_reason(const struct source *s);

void source_close(struct source *s);

#endif
