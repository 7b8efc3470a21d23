/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thread that waits for wired memory, for tests of those who give frames
 * back.  The clock is virtual and stands still, so nobody looks again by
 * himself, and a wake that is lost hangs.
 */
#ifndef TESTS_UNIT_FRAME_WAITER_H
#define TESTS_UNIT_FRAME_WAITER_H

#include <pthread.h>

#include "tests/harness/machine.h"

#if KVA_TIER >= 3

struct frame_waiter {
    pthread_t thread;
    size_t bytes;
    kva_vmem_addr_t va;
};

static inline void *
frame_waiter_run(void *arg)
{
    struct frame_waiter *w = arg;

    CHECK_EQ(kva_wired_alloc(w->bytes, 0, KVA_VM_SLEEP, &w->va), 0);
    return NULL;
}

/* There are not so many: it sleeps when this returns. */
static inline void
frame_waiter_start(struct frame_waiter *w, size_t bytes)
{
    kva_posix_clock_virtual(true);
    w->bytes = bytes;
    CHECK_EQ(pthread_create(&w->thread, NULL, frame_waiter_run, w), 0);
    while (kva_posix_waiters() == 0) {
        kva_port_relax();
    }
}

/* It is woken, has them, and they are freed. */
static inline void
frame_waiter_end(struct frame_waiter *w)
{
    CHECK_EQ(pthread_join(w->thread, NULL), 0);
    kva_wired_free(w->va, w->bytes);
}

#endif
#endif
