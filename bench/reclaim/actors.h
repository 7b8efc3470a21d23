/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Actors: threads on the virtual clock, which stands still while one of them
 * runs.  So what happens at one moment of it is over before the next begins,
 * however the host schedules, and nothing depends on how fast the host is.
 *
 *      driver:   settle -> advance -> settle -> advance ...
 *                   |                    |
 *                   until all actors sleep in kva_port_wait, or have ended
 *
 * All calls but actor_sleep and actor_now are the driver's, one thread's.
 */
#ifndef BENCH_RECLAIM_ACTORS_H
#define BENCH_RECLAIM_ACTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The clock is virtual from now on, and at 1 s.  Room for max actors; false: no
 * memory. */
bool actors_begin(size_t max);

/* fn(arg) in a thread.  false: the host has no thread left. */
bool actor_start(void (*fn)(void *arg), void *arg);

/* Sleep until that moment, in ns; by an actor. */
void actor_sleep(uint64_t until);
uint64_t actor_now(void);

/* Until each actor sleeps or has ended; and how many have not. */
void actors_settle(void);
size_t actors_live(void);

/* Up to that moment at once: who sleeps until a moment before or at it wakes. */
void actors_advance(uint64_t to);

/* All have ended, or will without the clock: join them.  The clock is real
 * again. */
void actors_end(void);

#endif
