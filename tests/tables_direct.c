/* SPDX-License-Identifier: BSD-2-Clause */
/* The tables of the program for a machine with a direct map. */
#include "tests/harness/test.h"

extern const struct test boot_tests[];
extern const struct test contig_tests[];
extern const struct test direct_tests[];
extern const struct test kmem_exact_tests[];
extern const struct test kmem_tests[];
extern const struct test kva_identity_tests[];
extern const struct test malloc_tests[];
extern const struct test pool_tests[];

/* A line for each, so that one more is one line more. */
/* clang-format off */
const struct test *const test_tables[] = {
    direct_tests,
    kva_identity_tests,
    contig_tests,
    boot_tests,
    pool_tests,
    kmem_tests,
    kmem_exact_tests,
    malloc_tests,
    NULL
};
/* clang-format on */
