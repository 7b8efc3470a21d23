/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sleep and the clock.  A thread that waits puts itself on the queue of its
 * channel's bucket before it lets go of the caller's lock, so no wake is lost;
 * it sleeps on a futex word of its own, and whoever changes that word (a wake,
 * a cancellation, the virtual clock) has taken it off the queue.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "port/posix/posix_impl.h"

#if KVA_TIER >= 3

#define BUCKETS 64u
#define NS_PER_S 1000000000u

/* Longest sleep in one system call; the rest follows in the next. */
#define SLICE_NS ((uint64_t)60 * NS_PER_S)

enum wait_state {
    WAITING,
    WOKEN,
    CANCELLED,
    TIMED_OUT
};

struct waiter {
    struct waiter *next, **link;
    const void *channel;
    uint64_t deadline; /* 0: none */
    bool is_virtual;
    uint32_t state;
};

/* One lock for all: waiting is not what the host port is measured by. */
static uint32_t sleep_lock;
static struct waiter *bucket[BUCKETS];
static size_t nwaiters;
static bool clock_virtual;
static uint64_t clock_now;
static bool threadless;
static void (*hook_fn)(void *arg, const void *channel);
static void *hook_arg;

static struct waiter **
bucket_of(const void *channel)
{
    uint32_t h = (uint32_t)((uintptr_t)channel >> 3) * 2654435761u;

    return &bucket[h >> 26];
}

/* ---- clock ------------------------------------------------------------- */

static uint64_t
clock_real(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t
kva_port_clock(void)
{
    kva_irq_t saved;
    uint64_t now;

    posix_yield("clock");
    if (!__atomic_load_n(&clock_virtual, __ATOMIC_RELAXED)) {
        return clock_real();
    }
    saved = kva__posix_enter(&sleep_lock);
    now = clock_now;
    kva__posix_leave(&sleep_lock, saved);
    return now;
}

/* ---- the queue --------------------------------------------------------- */

static void
futex(uint32_t *word, int op, uint32_t value, const struct timespec *timeout)
{
    int error = errno;

    (void)syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, timeout,
                  NULL, 0);
    errno = error;
}

static void
waiter_add(struct waiter *w)
{
    struct waiter **at = bucket_of(w->channel);

    while (*at != NULL) {
        at = &(*at)->next;
    }
    w->next = NULL;
    w->link = at;
    *at = w;
    nwaiters++;
}

/* Off the queue, with the reason.  The futex word may be gone before the wake
 * reaches it, which then does nothing. */
static void
waiter_end(struct waiter *w, enum wait_state state)
{
    uint32_t *word = &w->state;

    *w->link = w->next;
    if (w->next != NULL) {
        w->next->link = w->link;
    }
    nwaiters--;
    __atomic_store_n(word, (uint32_t)state, __ATOMIC_RELEASE);
    futex(word, FUTEX_WAKE, 1, NULL);
}

/* End all waiters that match; how many. */
static size_t
waiters_end(const void *channel, uint64_t now, enum wait_state state)
{
    size_t n = 0;

    for (unsigned i = 0; i < BUCKETS; i++) {
        struct waiter *w = bucket[i], *next;

        for (; w != NULL; w = next) {
            next = w->next;
            if ((channel == NULL || w->channel == channel) &&
                (state != TIMED_OUT ||
                 (w->is_virtual && w->deadline != 0 && w->deadline <= now))) {
                waiter_end(w, state);
                n++;
            }
        }
    }
    return n;
}

/* Sleep until the state changes or the real deadline comes. */
static void
waiter_sleep(struct waiter *w)
{
    struct timespec ts, *timeout;
    uint64_t left;
    kva_irq_t saved;

    while (__atomic_load_n(&w->state, __ATOMIC_ACQUIRE) == WAITING) {
        timeout = NULL;
        if (w->deadline != 0 && !w->is_virtual) {
            uint64_t now = clock_real();

            if (now >= w->deadline) {
                saved = kva__posix_enter(&sleep_lock);
                if (__atomic_load_n(&w->state, __ATOMIC_RELAXED) == WAITING) {
                    waiter_end(w, TIMED_OUT);
                }
                kva__posix_leave(&sleep_lock, saved);
                return;
            }
            left = w->deadline - now;
            left = left > SLICE_NS ? SLICE_NS : left;
            ts.tv_sec = (time_t)(left / NS_PER_S);
            ts.tv_nsec = (long)(left % NS_PER_S);
            timeout = &ts;
        }
        futex(&w->state, FUTEX_WAIT, WAITING, timeout);
    }
}

/* ---- the hooks --------------------------------------------------------- */

bool
kva_port_may_sleep(void)
{
    const struct posix_self *self = posix_self();

    posix_yield("may_sleep");
    return self->interrupt == 0 && self->masked == 0 && self->nheld == 0 &&
           !__atomic_load_n(&threadless, __ATOMIC_RELAXED);
}

static void
wait_check(const kva_lock_t *lock, kva_irq_t irq)
{
    const struct posix_self *self = posix_self();
    bool open = lock->ipl >= KVA_IPL_VM ? irq == 0 : self->masked == 0;

    if (__atomic_load_n(&lock->owner, __ATOMIC_RELAXED) != self->id ||
        self->id == 0) {
        kva__misuse("kva_port_wait", "lock", lock->name, (uintptr_t)lock,
                    "expected the lock held by the caller");
    }
    if (self->nheld != 1 || self->interrupt != 0 || !open) {
        kva__misuse("kva_port_wait", "lock", lock->name, (uintptr_t)lock,
                    "expected a thread with interrupts on and no other lock, "
                    "found %u locks, interrupts %s",
                    self->nheld,
                    self->interrupt != 0 ? "running" : (open ? "on" : "off"));
    }
}

static void
wait_begin(struct waiter *w, const void *channel, uint64_t timeout_ns)
{
    kva_irq_t saved = kva__posix_enter(&sleep_lock);

    w->channel = channel;
    w->is_virtual = clock_virtual;
    w->state = WAITING;
    w->deadline = 0;
    if (timeout_ns != 0) {
        w->deadline = (clock_virtual ? clock_now : clock_real()) + timeout_ns;
        if (w->deadline < timeout_ns) {
            w->deadline = UINT64_MAX;
        }
    }
    waiter_add(w);
    kva__posix_leave(&sleep_lock, saved);
    saved = kva__posix_enter(&kva__posix_space_lock);
    kva__posix.stats.waits++;
    kva__posix_leave(&kva__posix_space_lock, saved);
}

int
kva_port_wait(const void *channel, kva_lock_t *lock, kva_irq_t *irq,
              uint64_t timeout_ns)
{
    void (*fn)(void *, const void *);
    struct waiter w;

    posix_yield("wait");
    wait_check(lock, *irq);
    kva__posix_saved_check(__func__, lock, *irq);
    if (kva_posix_fault(KVA_POSIX_WAIT)) {
        kva__posix_error("wait: injected fault");
        return KVA_EINTR;
    }
    wait_begin(&w, channel, timeout_ns);
    kva_port_unlock(lock, *irq);
    fn = __atomic_load_n(&hook_fn, __ATOMIC_ACQUIRE);
    if (fn != NULL) {
        fn(hook_arg, channel);
    }
    waiter_sleep(&w);
    if (kva__posix_broken(KVA_POSIX_WAIT_UNLOCKED)) {
        return 0;
    }
    *irq = kva_port_lock(lock);
    if (kva__posix_broken(KVA_POSIX_WAIT_ERROR)) {
        return KVA_EINVAL;
    }
    switch (__atomic_load_n(&w.state, __ATOMIC_ACQUIRE)) {
    case CANCELLED:
        return KVA_EINTR;
    case TIMED_OUT:
        return KVA_ETIMEDOUT;
    default:
        return 0;
    }
}

void
kva_port_wake(const void *channel)
{
    struct waiter *w, *next;
    kva_irq_t saved;

    posix_yield("wake");
    saved = kva__posix_enter(&sleep_lock);
    for (w = *bucket_of(channel); w != NULL; w = next) {
        next = w->next;
        if (w->channel == channel) {
            waiter_end(w, WOKEN);
        }
    }
    kva__posix_leave(&sleep_lock, saved);
    saved = kva__posix_enter(&kva__posix_space_lock);
    kva__posix.stats.wakes++;
    kva__posix_leave(&kva__posix_space_lock, saved);
}

/* ---- for tests --------------------------------------------------------- */

size_t
kva_posix_waiters(void)
{
    kva_irq_t saved = kva__posix_enter(&sleep_lock);
    size_t n = nwaiters;

    kva__posix_leave(&sleep_lock, saved);
    return n;
}

size_t
kva_posix_cancel_waits(void)
{
    kva_irq_t saved = kva__posix_enter(&sleep_lock);
    size_t n = waiters_end(NULL, 0, CANCELLED);

    kva__posix_leave(&sleep_lock, saved);
    return n;
}

void
kva_posix_threads(bool there)
{
    __atomic_store_n(&threadless, !there, __ATOMIC_RELAXED);
}

void
kva_posix_wait_hook(void (*fn)(void *arg, const void *channel), void *arg)
{
    hook_arg = arg;
    __atomic_store_n(&hook_fn, fn, __ATOMIC_RELEASE);
}

void
kva_posix_clock_virtual(bool enable)
{
    kva_irq_t saved = kva__posix_enter(&sleep_lock);

    __atomic_store_n(&clock_virtual, enable, __ATOMIC_RELAXED);
    clock_now = 0;
    kva__posix_leave(&sleep_lock, saved);
}

void
kva_posix_clock_advance(uint64_t ns)
{
    kva_irq_t saved = kva__posix_enter(&sleep_lock);

    clock_now += ns;
    (void)waiters_end(NULL, clock_now, TIMED_OUT);
    kva__posix_leave(&sleep_lock, saved);
}

void
kva__posix_sleep_reset(void)
{
    kva_posix_clock_virtual(false);
    kva_posix_threads(true);
    kva_posix_wait_hook(NULL, NULL);
}

#else

void
kva__posix_sleep_reset(void)
{
}
#endif
