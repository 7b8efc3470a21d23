/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Does the machine refuse an access?  A byte is touched, for real, and a
 * SIGSEGV comes back to where it was done.  AddressSanitizer does not look at
 * it, and Valgrind, which would report what is meant, is told to look away.
 */
#ifndef TESTS_FAULTS_H
#define TESTS_FAULTS_H

#include <setjmp.h>
#include <signal.h>

#include "tests/harness/test.h"

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifdef VALGRIND_DISABLE_ERROR_REPORTING
#define FAULTS_BEGIN() VALGRIND_DISABLE_ERROR_REPORTING
#define FAULTS_END() VALGRIND_ENABLE_ERROR_REPORTING
#else
#define FAULTS_BEGIN() (void)0
#define FAULTS_END() (void)0
#endif

static sigjmp_buf faults_env;
static uintptr_t faults_va; /* where the last one was */
static volatile char faults_read;

static void
faults_taken(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    faults_va = (uintptr_t)info->si_addr;
    siglongjmp(faults_env, 1);
}

/* Touch one byte: true if the machine refuses. */
static __attribute__((no_sanitize("address"))) bool
touch_faults(uintptr_t va, bool write)
{
    struct sigaction action = { .sa_sigaction = faults_taken,
                                .sa_flags = SA_SIGINFO };
    struct sigaction before;
    volatile bool refused = true;

    CHECK_EQ(sigaction(SIGSEGV, &action, &before), 0);
    FAULTS_BEGIN();
    if (sigsetjmp(faults_env, 1) == 0) {
        volatile char *p = (volatile char *)va;

        if (write) {
            *p = 1;
        } else {
            faults_read = *p; /* or Valgrind leaves the load out */
        }
        refused = false;
    }
    FAULTS_END();
    CHECK_EQ(sigaction(SIGSEGV, &before, NULL), 0);
    return refused;
}

#endif
