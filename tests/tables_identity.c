/* SPDX-License-Identifier: BSD-2-Clause */
/* The tables of the programs for tiers 0 and 1. */
#include "tests/harness/test.h"

extern const struct test boot_tests[];
extern const struct test kva_identity_tests[];
extern const struct test misuse_vmem_tests[];
extern const struct test model_vmem_tests[];
extern const struct test port_identity_tests[];
extern const struct test window_tests[];

/* A line for each, so that one more is one line more. */
/* clang-format off */
const struct test *const test_tables[] = {
    port_identity_tests,
    window_tests,
    kva_identity_tests,
    boot_tests,
    misuse_vmem_tests,
    model_vmem_tests,
    NULL
};
/* clang-format on */
