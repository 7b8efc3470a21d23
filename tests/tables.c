/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tables of tests in the order in which they run: the harness and the port
 * first, since all else stands on them, then up the tower, then what takes
 * long.
 */
#include "tests/harness/test.h"

extern const struct test audit_tests[];
extern const struct test boot_order_tests[];
extern const struct test boot_tests[];
extern const struct test bounds_tests[];
extern const struct test check_tests[];
extern const struct test contract_tests[];
extern const struct test contig_tests[];
extern const struct test evacuate_tests[];
extern const struct test exhaustive_import_tests[];
extern const struct test experiment_tests[];
extern const struct test exhaustive_tests[];
extern const struct test budget_tests[];
extern const struct test fault_kva_tests[];
extern const struct test fault_object_tests[];
extern const struct test fault_vmem_tests[];
extern const struct test floor_tests[];
extern const struct test footprint_tests[];
extern const struct test harness_tests[];
extern const struct test import_tests[];
extern const struct test index_tests[];
extern const struct test interrupts_off_tests[];
extern const struct test kmem_size_tests[];
extern const struct test kmem_string_tests[];
extern const struct test kmem_exact_tests[];
extern const struct test kmem_tests[];
extern const struct test kva_tests[];
extern const struct test large_tests[];
extern const struct test lazy_tests[];
extern const struct test listing_tests[];
extern const struct test magazine_tests[];
extern const struct test mark_tests[];
extern const struct test malloc_limit_tests[];
extern const struct test malloc_realloc_tests[];
extern const struct test malloc_tests[];
extern const struct test message_tests[];
extern const struct test meta_tests[];
extern const struct test misuse_kmem_tests[];
extern const struct test misuse_kva_tests[];
extern const struct test misuse_malloc_tests[];
extern const struct test misuse_pool_tests[];
extern const struct test model_debug_tests[];
extern const struct test model_object_tests[];
extern const struct test model_paging_tests[];
extern const struct test model_vmem_tests[];
extern const struct test mtbf_tests[];
extern const struct test object_dead_tests[];
extern const struct test object_destroy_live_tests[];
extern const struct test object_double_free_tests[];
extern const struct test object_foreign_tests[];
extern const struct test object_interior_tests[];
extern const struct test object_wrong_owner_tests[];
extern const struct test object_wrong_size_tests[];
extern const struct test order_tests[];
extern const struct test pages_tests[];
extern const struct test pageable_tests[];
extern const struct test permanent_tests[];
extern const struct test pool_allocator_tests[];
extern const struct test pool_marks_tests[];
extern const struct test reserve_tests[];
extern const struct test pool_print_tests[];
extern const struct test pool_pserialize_tests[];
extern const struct test move_tests[];
extern const struct test pool_debug_tests[];
extern const struct test pool_tests[];
extern const struct test port_context_tests[];
extern const struct test port_memory_tests[];
extern const struct test port_seam_tests[];
extern const struct test port_sleep_tests[];
extern const struct test print_tests[];
extern const struct test pressure_file_tests[];
extern const struct test pressure_tests[];
extern const struct test shrinker_tests[];
extern const struct test lru_tests[];
extern const struct test pagedaemon_tests[];
extern const struct test reclaim_tests[];
extern const struct test cleaners_tests[];
extern const struct test resize_tests[];
extern const struct test single_step_tests[];
extern const struct test sizing_tests[];
extern const struct test split_tests[];
extern const struct test stack_tests[];
extern const struct test steps_tests[];
extern const struct test supply_tests[];
extern const struct test stress_intr_tests[];
extern const struct test stress_lazy_tests[];
extern const struct test stress_object_tests[];
extern const struct test stress_paging_tests[];
extern const struct test stress_trade_tests[];
extern const struct test stress_vmem_tests[];
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
extern const struct test vmem_tests[];
extern const struct test wait_tests[];
extern const struct test vmem_wrong_arena_tests[];
extern const struct test vmem_wrong_size_tests[];
extern const struct test walk_tests[];
extern const struct test whatis_tests[];
extern const struct test window_tests[];
extern const struct test young_tests[];
#ifdef TEST_REPLAY
extern const struct test replay_tests[];
extern const struct test trace_tests[];
#endif

/* A line for each, so that one more is one line more. */
/* clang-format off */
const struct test *const test_tables[] = {
    harness_tests,
    message_tests,
    port_memory_tests,
    port_context_tests,
    port_sleep_tests,
    port_seam_tests,
    contract_tests,
    meta_tests,
    index_tests,
    order_tests,
    magazine_tests,
    vmem_tests,
    young_tests,
    import_tests,
    bounds_tests,
    steps_tests,
    footprint_tests,
    wait_tests,
    check_tests,
    walk_tests,
    whatis_tests,
    print_tests,
    mtbf_tests,
    audit_tests,
    resize_tests,
    budget_tests,
    window_tests,
    evacuate_tests,
    mark_tests,
    split_tests,
    pressure_tests,
    pressure_file_tests,
    shrinker_tests,
    lru_tests,
    pagedaemon_tests,
    reclaim_tests,
    cleaners_tests,
    pages_tests,
    kva_tests,
    sizing_tests,
    contig_tests,
    stack_tests,
    large_tests,
    pageable_tests,
    lazy_tests,
    permanent_tests,
    boot_tests,
    boot_order_tests,
    move_tests,
    pool_tests,
    pool_allocator_tests,
    pool_marks_tests,
    reserve_tests,
    pool_print_tests,
    pool_pserialize_tests,
    pool_debug_tests,
    kmem_tests,
    kmem_exact_tests,
    kmem_size_tests,
    kmem_string_tests,
    malloc_tests,
    malloc_limit_tests,
    floor_tests,
    malloc_realloc_tests,
    listing_tests,
    supply_tests,
    interrupts_off_tests,
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
    misuse_kva_tests,
    misuse_pool_tests,
    misuse_kmem_tests,
    misuse_malloc_tests,
    object_dead_tests,
    object_destroy_live_tests,
    object_double_free_tests,
    object_foreign_tests,
    object_interior_tests,
    object_wrong_owner_tests,
    object_wrong_size_tests,
    fault_vmem_tests,
    fault_kva_tests,
    fault_object_tests,
#ifdef TEST_REPLAY
    trace_tests,
    replay_tests,
#endif
    experiment_tests,
    exhaustive_tests,
    exhaustive_import_tests,
    model_vmem_tests,
    model_object_tests,
    model_debug_tests,
    model_paging_tests,
    single_step_tests,
    stress_vmem_tests,
    stress_lazy_tests,
    stress_object_tests,
    stress_intr_tests,
    stress_paging_tests,
    stress_trade_tests,
    NULL
};
/* clang-format on */
