/* SPDX-License-Identifier: BSD-2-Clause */
/* kmem(9), both forms, under libFuzzer, over pools whose slabs lie among its
 * own; see objects.h. */
#include "fuzz/objects.h"

FUZZ_OBJECTS(1u << STOCK_KMEM | 1u << STOCK_INTR | 1u << STOCK_POOL)
