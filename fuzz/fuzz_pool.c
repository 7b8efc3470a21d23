/* SPDX-License-Identifier: BSD-2-Clause */
/* pool(9) and pool_cache(9) under libFuzzer; see objects.h. */
#include "fuzz/objects.h"

FUZZ_OBJECTS(1u << STOCK_POOL | 1u << STOCK_CACHE)
