/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Actors are settled when as many threads sleep in the port as live.  One that
 * goes to sleep, or ends, is counted first and says so then (the semaphore), so
 * the driver does not miss the last one.  One that is woken is off the port's
 * count before its waker goes on.  live is read before the sleepers are: one
 * that ends in between makes the driver look once more, and none is counted
 * twice.
 */
#include "bench/reclaim/actors.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

#include "port/posix/posix.h"

/* What sanitizers need of a thread; a thousand of them are 256 MiB. */
#define STACK_BYTES ((size_t)256 << 10)
#define CLOCK_START ((uint64_t)1000000000u)

struct actor {
    pthread_t thread;
    void (*fn)(void *arg);
    void *arg;
};

static struct {
    struct actor *actor;
    size_t n, max;
    size_t live; /* atomic */
    sem_t news;
    kva_lock_t lock;
} actors;

static void
on_wait(void *arg, const void *channel)
{
    (void)arg;
    (void)channel;
    (void)sem_post(&actors.news);
}

bool
actors_begin(size_t max)
{
    actors.actor = calloc(max, sizeof(*actors.actor));
    if (actors.actor == NULL || sem_init(&actors.news, 0, 0) != 0) {
        free(actors.actor);
        return false;
    }
    actors.n = 0;
    actors.max = max;
    actors.live = 0;
    kva_port_lock_init(&actors.lock, "actors", KVA_IPL_NONE, KVA_RANK_DRAIN);
    kva_posix_clock_virtual(true);
    kva_posix_clock_advance(CLOCK_START);
    kva_posix_wait_hook(on_wait, NULL);
    return true;
}

static void *
run(void *arg)
{
    struct actor *a = arg;

    a->fn(a->arg);
    (void)__atomic_sub_fetch(&actors.live, 1, __ATOMIC_RELEASE);
    (void)sem_post(&actors.news);
    return NULL;
}

bool
actor_start(void (*fn)(void *arg), void *arg)
{
    struct actor *a = &actors.actor[actors.n];
    pthread_attr_t attr;
    bool ok;

    if (actors.n == actors.max || pthread_attr_init(&attr) != 0) {
        return false;
    }
    *a = (struct actor){ .fn = fn, .arg = arg };
    (void)__atomic_add_fetch(&actors.live, 1, __ATOMIC_RELAXED);
    ok = pthread_attr_setstacksize(&attr, STACK_BYTES) == 0 &&
         pthread_create(&a->thread, &attr, run, a) == 0;
    (void)pthread_attr_destroy(&attr);
    if (ok) {
        actors.n++;
    } else {
        (void)__atomic_sub_fetch(&actors.live, 1, __ATOMIC_RELAXED);
    }
    return ok;
}

uint64_t
actor_now(void)
{
    return kva_port_clock();
}

void
actor_sleep(uint64_t until)
{
    kva_irq_t irq = kva_port_lock(&actors.lock);
    int nobody; /* wakes it */

    while (kva_port_clock() < until) {
        (void)kva_port_wait(&nobody, &actors.lock, &irq,
                            until - kva_port_clock());
    }
    kva_port_unlock(&actors.lock, irq);
}

size_t
actors_live(void)
{
    return __atomic_load_n(&actors.live, __ATOMIC_ACQUIRE);
}

void
actors_settle(void)
{
    for (;;) {
        size_t live = actors_live();

        if (kva_posix_waiters() == live) {
            return;
        }
        while (sem_wait(&actors.news) != 0) {
        }
    }
}

void
actors_advance(uint64_t to)
{
    uint64_t now = kva_port_clock();

    if (to > now) {
        kva_posix_clock_advance(to - now);
    }
}

void
actors_end(void)
{
    while (actors.n > 0) {
        (void)pthread_join(actors.actor[--actors.n].thread, NULL);
    }
    kva_posix_wait_hook(NULL, NULL);
    kva_posix_clock_virtual(false);
    kva_port_lock_fini(&actors.lock);
    (void)sem_destroy(&actors.news);
    free(actors.actor);
}
