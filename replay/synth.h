/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The synthetic load of replay/data/README.md ("A synthetic load that scales"):
 * everything follows from a seed and a number of live bytes.
 */
#ifndef REPLAY_SYNTH_H
#define REPLAY_SYNTH_H

#include "replay/trace.h"

#define SYNTH_BYTES_DEFAULT UINT64_C(1100000000)
#define SYNTH_BYTES_MIN UINT64_C(1000000)
#define SYNTH_BYTES_MAX UINT64_C(64000000000)

/* Make the load that aims at `bytes` live.  False: no memory. */
bool synth_make(struct trace *t, uint64_t bytes, uint64_t seed);

#endif
