/* SPDX-License-Identifier: BSD-2-Clause */
/* The tables of the programs for tiers 0 and 1. */
#include "tests/harness/test.h"

extern const struct test boot_tests[];
extern const struct test contig_tests[];
extern const struct test exhaustive_import_tests[];
extern const struct test exhaustive_tests[];
extern const struct test budget_tests[];
extern const struct test kva_identity_tests[];
extern const struct test model_vmem_tests[];
extern const struct test port_identity_tests[];
extern const struct test vmem_add_span_tests[];
extern const struct test vmem_arguments_tests[];
extern const struct test vmem_creation_tests[];
extern const struct test vmem_dead_arena_tests[];
extern const struct test vmem_destroy_live_tests[];
extern const struct test vmem_double_free_tests[];
extern const struct test vmem_foreign_tests[];
extern const struct test vmem_free_span_tests[];
extern const struct test vmem_interior_tests[];
extern const struct test vmem_legal_tests[];
extern const struct test vmem_at_flush_tests[];
extern const struct test vmem_misaligned_tests[];
extern const struct test vmem_mixed_pair_tests[];
extern const struct test vmem_wrong_arena_tests[];
extern const struct test vmem_wrong_size_tests[];
extern const struct test resize_tests[];
extern const struct test window_tests[];

/* A line for each, so that one more is one line more. */
/* clang-format off */
const struct test *const test_tables[] = {
    port_identity_tests,
    window_tests,
    resize_tests,
    budget_tests,
    kva_identity_tests,
    contig_tests,
    boot_tests,
    vmem_add_span_tests,
    vmem_arguments_tests,
    vmem_creation_tests,
    vmem_dead_arena_tests,
    vmem_destroy_live_tests,
    vmem_double_free_tests,
    vmem_foreign_tests,
    vmem_free_span_tests,
    vmem_interior_tests,
    vmem_legal_tests,
    vmem_misaligned_tests,
    vmem_at_flush_tests,
    vmem_mixed_pair_tests,
    vmem_wrong_arena_tests,
    vmem_wrong_size_tests,
    exhaustive_tests,
    exhaustive_import_tests,
    model_vmem_tests,
    NULL
};
/* clang-format on */
