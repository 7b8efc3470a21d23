/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A callback that stays until it may leave, so that whoever takes it off
 * meanwhile has to wait: left tells whether he did.
 */
#ifndef TESTS_UNIT_SLOW_CALL_H
#define TESTS_UNIT_SLOW_CALL_H

#include "port/port.h"

struct slow_call {
    unsigned entered, leave, left;
};

static inline void
slow_call_run(struct slow_call *c)
{
    __atomic_store_n(&c->entered, 1, __ATOMIC_RELEASE);
    while (__atomic_load_n(&c->leave, __ATOMIC_ACQUIRE) == 0) {
        kva_port_relax();
    }
    for (unsigned i = 0; i < 100; i++) {
        kva_port_relax();
    }
    __atomic_store_n(&c->left, 1, __ATOMIC_RELEASE);
}

/* It runs, and may leave from now on. */
static inline void
slow_call_let_go(struct slow_call *c)
{
    while (__atomic_load_n(&c->entered, __ATOMIC_ACQUIRE) == 0) {
        kva_port_relax();
    }
    __atomic_store_n(&c->leave, 1, __ATOMIC_RELEASE);
}

static inline bool
slow_call_left(const struct slow_call *c)
{
    return __atomic_load_n(&c->left, __ATOMIC_ACQUIRE) != 0;
}

#endif
