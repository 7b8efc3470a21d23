/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Readers that a barrier waits for.  A kernel knows by its context switches who
 * reads; here readers say so.  They are counted in two groups.  A barrier has
 * those who come from now on go to the other group and waits until the first
 * one is empty; there is one barrier at a time, so the other group was empty
 * before.
 */
#include <sched.h>

#include "port/posix/posix_impl.h"

#if KVA_READ_BARRIER

static uint32_t readers_lock;
static unsigned readers[2];
static unsigned group;
static bool waiting;
static void (*hook_fn)(void *arg);
static void *hook_arg;

unsigned
kva_posix_read_enter(void)
{
    kva_irq_t saved = kva__posix_enter(&readers_lock);
    unsigned section = group;

    readers[section]++;
    kva__posix_leave(&readers_lock, saved);
    return section;
}

void
kva_posix_read_exit(unsigned section)
{
    kva_irq_t saved = kva__posix_enter(&readers_lock);

    readers[section]--;
    kva__posix_leave(&readers_lock, saved);
}

void
kva_posix_read_wait_hook(void (*fn)(void *arg), void *arg)
{
    hook_arg = arg;
    __atomic_store_n(&hook_fn, fn, __ATOMIC_RELEASE);
}

static void
let_others(void)
{
    void (*fn)(void *) = __atomic_load_n(&hook_fn, __ATOMIC_ACQUIRE);

    if (fn != NULL) {
        fn(hook_arg);
    }
    (void)sched_yield();
}

/* The turn of this barrier: the group that it waits for. */
static unsigned
barrier_begin(void)
{
    for (;;) {
        kva_irq_t saved = kva__posix_enter(&readers_lock);
        bool mine = !waiting;
        unsigned old = group;

        if (mine) {
            waiting = true;
            group ^= 1u;
        }
        kva__posix_leave(&readers_lock, saved);
        if (mine) {
            return old;
        }
        (void)sched_yield();
    }
}

static bool
barrier_done(unsigned old)
{
    kva_irq_t saved = kva__posix_enter(&readers_lock);
    bool done = readers[old] == 0;

    if (done) {
        waiting = false;
    }
    kva__posix_leave(&readers_lock, saved);
    return done;
}

void
kva_port_read_barrier(void)
{
    kva_irq_t saved;
    unsigned old;

    posix_yield("read_barrier");
    if (!kva_port_may_sleep()) {
        kva__panic("%s: expected a thread that may sleep, found %u locks held, "
                   "interrupts %s",
                   __func__, posix_self()->nheld,
                   posix_self()->masked != 0 ? "off" : "on");
    }
    saved = kva__posix_enter(&kva__posix_space_lock);
    kva__posix.stats.read_barriers++;
    kva__posix_leave(&kva__posix_space_lock, saved);
    old = barrier_begin();
    while (!barrier_done(old)) {
        let_others();
    }
}

void
kva__posix_readers_reset(void)
{
    readers[0] = readers[1] = 0;
    waiting = false;
    kva_posix_read_wait_hook(NULL, NULL);
}

#else

void
kva__posix_readers_reset(void)
{
}
#endif
