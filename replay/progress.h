/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bar on stderr while there is work; nothing if stderr is not a terminal.
 */
#ifndef REPLAY_PROGRESS_H
#define REPLAY_PROGRESS_H

#include <stddef.h>

/* Name the work that begins, done of total before it. */
void progress_begin(const char *what, const char *detail);
void progress_at(size_t done, size_t total);
void progress_end(void);

#endif
