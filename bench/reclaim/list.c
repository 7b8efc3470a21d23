/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The experiments, in the order of the documents that they come from.
 */
#include "bench/reclaim/experiment.h"

/* A line for each. */
/* clang-format off */
const struct experiment *const experiments[] = {
    &experiment_nanos,
    &experiment_rump,
    &experiment_contention,
    &experiment_shrinkers,
    &experiment_pfmemalloc,
    &experiment_draining,
#ifdef EXPERIMENTS_REPLAY
    &experiment_three,
#endif
    NULL
};
/* clang-format on */
