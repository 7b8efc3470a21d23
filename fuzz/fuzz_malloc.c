/* SPDX-License-Identifier: BSD-2-Clause */
/* malloc(9) under libFuzzer, with kmem(9), whose memory it is; see
 * objects.h. */
#include "fuzz/objects.h"

FUZZ_OBJECTS(1u << STOCK_MALLOC | 1u << STOCK_KMEM)
