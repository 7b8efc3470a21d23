/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How near the models a, b and c come to the report of 2011 on a load like its
 * own: 1.1 GB in pools of single pages.
 */
#ifndef REPLAY_CALIBRATE_H
#define REPLAY_CALIBRATE_H

#include "replay/replay.h"

/* Run the three models over a synthetic load and print what they keep beside
 * what the report has.  False: *error says why it could not be done. */
bool calibrate(const struct trace *t, const struct replay_config *c,
               char *error, size_t error_size);

#endif
