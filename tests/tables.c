/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tables of tests in the order in which they run: the port first, since
 * all else stands on it, then up the tower, then what takes long.
 */
#include "tests/harness/test.h"

extern const struct test message_tests[];
extern const struct test port_context_tests[];
extern const struct test port_memory_tests[];
extern const struct test port_seam_tests[];
extern const struct test port_sleep_tests[];

const struct test *const test_tables[] = {
    message_tests,
    port_memory_tests,
    port_context_tests,
    port_sleep_tests,
    port_seam_tests,
    NULL
};
