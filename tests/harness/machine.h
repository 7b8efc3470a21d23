/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host machine as tests see it, and the tower started on it.
 */
#ifndef TESTS_HARNESS_MACHINE_H
#define TESTS_HARNESS_MACHINE_H

#include "kva/kva.h"
#include "tests/harness/test.h"

static inline struct kva_posix_stats
machine(void)
{
    struct kva_posix_stats st;

    kva_posix_stats_get(&st);
    return st;
}

/* The machine is there (PORT).  The addresses are filled in, if it has any. */
static inline void
machine_boot(struct kva_boot kb)
{
#if KVA_TIER >= 2
    kb.va_base = kva_posix_va_base();
    kb.va_bytes = kva_posix_va_bytes();
#endif
    CHECK_EQ(kva_boot(&kb), 0);
    CHECK_EQ(kva_start(), 0);
}

#endif
