/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tables of suites that could not be built here, a row each that says what
 * they lack: what is not there is counted as skipped, and does not just not
 * appear.  A suite that the builder left out on purpose (-Dreplay=disabled) has
 * no row.
 */
#include "tests/harness/test.h"

#ifdef TEST_NO_LZMA
static void
needs_liblzma(struct test_ctx *t)
{
    (void)t;
    SKIP("liblzma was not there when this was configured (liblzma-dev)");
}

extern const struct test trace_tests[];
extern const struct test replay_tests[];

const struct test trace_tests[] = { TEST("trace", needs_liblzma), TEST_END };
const struct test replay_tests[] = { TEST("replay", needs_liblzma), TEST_END };
#endif
