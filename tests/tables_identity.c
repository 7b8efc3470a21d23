/* SPDX-License-Identifier: BSD-2-Clause */
/* The tables of the programs for tiers 0 and 1. */
#include "tests/harness/test.h"

extern const struct test port_identity_tests[];

const struct test *const test_tables[] = {
    port_identity_tests,
    NULL
};
