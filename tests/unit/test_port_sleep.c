/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host port's sleep and clock: wakes reach the right channel and are never
 * lost, waits time out on either clock and can be cancelled, and who may sleep.
 */
#include <pthread.h>
#include <sched.h>

#include "tests/harness/test.h"

static kva_lock_t lock;
static int channel_a, channel_b;

static void
start(enum kva_ipl ipl)
{
    PORT(&(struct kva_posix_config){ .va_bytes = 1 << 22 });
    kva_port_lock_init(&lock, "sleep", ipl, KVA_RANK_ARENA);
}

/* Wait once on the channel, alone under the lock. */
static int
wait_on(const void *channel, uint64_t timeout_ns)
{
    kva_irq_t irq = kva_port_lock(&lock);
    int error = kva_port_wait(channel, &lock, &irq, timeout_ns);

    kva_port_unlock(&lock, irq);
    return error;
}

static void
until_waiters(size_t n)
{
    while (kva_posix_waiters() != n) {
        kva_port_relax();
    }
}

struct sleeper {
    pthread_t thread;
    const void *channel;
    uint64_t timeout_ns;
    int error;
};

static void *
sleeper_run(void *arg)
{
    struct sleeper *s = arg;

    s->error = wait_on(s->channel, s->timeout_ns);
    return NULL;
}

static void
sleeper_start(struct sleeper *s, const void *channel, uint64_t timeout_ns)
{
    *s = (struct sleeper){ .channel = channel,
                           .timeout_ns = timeout_ns,
                           .error = -1 };
    CHECK_EQ(pthread_create(&s->thread, NULL, sleeper_run, s), 0);
}

static int
sleeper_end(struct sleeper *s)
{
    CHECK_EQ(pthread_join(s->thread, NULL), 0);
    return s->error;
}

static void
wake_reaches_its_channel(struct test_ctx *t)
{
    struct sleeper a[2], b;

    (void)t;
    start(KVA_IPL_VM);
    sleeper_start(&a[0], &channel_a, 0);
    sleeper_start(&a[1], &channel_a, 0);
    sleeper_start(&b, &channel_b, 0);
    until_waiters(3);
    kva_port_wake(&channel_a);
    CHECK_EQ(sleeper_end(&a[0]), 0);
    CHECK_EQ(sleeper_end(&a[1]), 0);
    CHECK_EQ(kva_posix_waiters(), 1);
    kva_port_wake(&channel_b);
    CHECK_EQ(sleeper_end(&b), 0);
    kva_port_wake(&channel_b); /* nobody there: nothing happens */
}

/* ---- no wake is lost --------------------------------------------------- */

struct pingpong {
    unsigned long rounds;
    unsigned long turn; /* by lock: even, one thread; odd, the other */
};

static void
play(struct pingpong *p, unsigned long mine)
{
    for (unsigned long i = 0; i < p->rounds; i++) {
        kva_irq_t irq = kva_port_lock(&lock);

        while (p->turn % 2 != mine) {
            CHECK_EQ(kva_port_wait(p, &lock, &irq, 0), 0);
        }
        p->turn++;
        kva_port_wake(p);
        kva_port_unlock(&lock, irq);
    }
}

static void *
play_odd(void *arg)
{
    play(arg, 1);
    return NULL;
}

static void
wakes_are_not_lost(struct test_ctx *t)
{
    struct pingpong p = { .rounds = t->count };
    pthread_t thread;

    start(KVA_IPL_VM);
    CHECK_EQ(pthread_create(&thread, NULL, play_odd, &p), 0);
    play(&p, 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(p.turn, 2 * t->count);
    CHECK_EQ(kva_posix_waiters(), 0);
}

/* The waker spins on the lock that the wait releases, and wakes the moment it
 * gets it: a thread that queued only after the release would sleep on. */
struct race {
    unsigned long rounds;
    unsigned long ready; /* atomic: the round whose lock is held */
};

static void *
race_to_wake(void *arg)
{
    struct race *r = arg;

    for (unsigned long i = 1; i <= r->rounds; i++) {
        kva_irq_t irq;

        /* Who spins on where both have one processor keeps the other off. */
        for (unsigned n = 1; __atomic_load_n(&r->ready, __ATOMIC_ACQUIRE) != i;
             n++) {
            if (n % 1000 == 0) {
                (void)sched_yield();
            }
        }
        irq = kva_port_lock(&lock);
        kva_port_wake(r);
        kva_port_unlock(&lock, irq);
    }
    return NULL;
}

static void
wake_meets_the_release(struct test_ctx *t)
{
    struct race r = { .rounds = t->count };
    pthread_t thread;

    start(KVA_IPL_VM);
    CHECK_EQ(pthread_create(&thread, NULL, race_to_wake, &r), 0);
    for (unsigned long i = 1; i <= t->count; i++) {
        kva_irq_t irq = kva_port_lock(&lock);
        uint64_t linger = test_rand_below(t, 500);

        __atomic_store_n(&r.ready, i, __ATOMIC_RELEASE);
        for (; linger > 0; linger--) {
            KVA_COMPILER_BARRIER();
        }
        CHECK_EQ(kva_port_wait(&r, &lock, &irq, 0), 0);
        kva_port_unlock(&lock, irq);
    }
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* ---- clocks ------------------------------------------------------------ */

static void
real_clock_times_out(struct test_ctx *t)
{
    uint64_t before, after;

    (void)t;
    start(KVA_IPL_NONE);
    before = kva_port_clock();
    CHECK_EQ(wait_on(&channel_a, 3000000), KVA_ETIMEDOUT);
    after = kva_port_clock();
    CHECK_GE(after - before, 3000000);
    CHECK_EQ(kva_posix_waiters(), 0);
}

static void
virtual_clock_times_out(struct test_ctx *t)
{
    struct sleeper a, b, c;

    (void)t;
    start(KVA_IPL_VM);
    kva_posix_clock_virtual(true);
    CHECK_EQ(kva_port_clock(), 0);
    sleeper_start(&a, &channel_a, 1000);
    sleeper_start(&b, &channel_a, 2000000000);
    sleeper_start(&c, &channel_a, 0);
    until_waiters(3);
    kva_posix_clock_advance(999);
    CHECK_EQ(kva_posix_waiters(), 3);
    kva_posix_clock_advance(1);
    CHECK_EQ(kva_port_clock(), 1000);
    CHECK_EQ(sleeper_end(&a), KVA_ETIMEDOUT);
    CHECK_EQ(kva_posix_waiters(), 2);
    kva_posix_clock_advance(UINT64_C(5000000000));
    CHECK_EQ(sleeper_end(&b), KVA_ETIMEDOUT);
    kva_port_wake(&channel_a);
    CHECK_EQ(sleeper_end(&c), 0);
}

static void
waits_can_be_cancelled(struct test_ctx *t)
{
    struct sleeper a, b;

    (void)t;
    start(KVA_IPL_VM);
    CHECK_EQ(kva_posix_cancel_waits(), 0);
    sleeper_start(&a, &channel_a, 0);
    sleeper_start(&b, &channel_b, UINT64_MAX);
    until_waiters(2);
    CHECK_EQ(kva_posix_cancel_waits(), 2);
    CHECK_EQ(sleeper_end(&a), KVA_EINTR);
    CHECK_EQ(sleeper_end(&b), KVA_EINTR);
}

/* ---- one thread is enough ---------------------------------------------- */

static void
hook_wakes(void *arg, const void *channel)
{
    unsigned *calls = arg;

    CHECK_EQ(kva_posix_waiters(), 1);
    CHECK_EQ(kva_posix_locks_held(), 0);
    switch ((*calls)++) {
    case 0:
        kva_port_wake(channel);
        break;
    case 1:
        kva_posix_clock_advance(50);
        break;
    default:
        (void)kva_posix_cancel_waits();
    }
}

static void
hook_stands_in_for_others(struct test_ctx *t)
{
    unsigned calls = 0;

    (void)t;
    start(KVA_IPL_VM);
    kva_posix_clock_virtual(true);
    kva_posix_wait_hook(hook_wakes, &calls);
    CHECK_EQ(wait_on(&channel_a, 0), 0);
    CHECK_EQ(wait_on(&channel_a, 50), KVA_ETIMEDOUT);
    CHECK_EQ(wait_on(&channel_a, 50), KVA_EINTR);
    CHECK_EQ(calls, 3);
    kva_posix_fault_arm(KVA_POSIX_WAIT, 1, false);
    CHECK_EQ(wait_on(&channel_a, 0), KVA_EINTR);
    CHECK_EQ(calls, 3);
}

/* ---- who may sleep ----------------------------------------------------- */

static bool may_in_handler;

static void
ask_in_handler(void *arg)
{
    (void)arg;
    may_in_handler = kva_port_may_sleep();
}

static void
may_sleep_knows_the_context(struct test_ctx *t)
{
    kva_irq_t irq;

    (void)t;
    start(KVA_IPL_NONE);
    CHECK(kva_port_may_sleep());
    irq = kva_posix_irq_save();
    CHECK(!kva_port_may_sleep());
    kva_posix_irq_restore(irq);
    irq = kva_port_lock(&lock);
    CHECK(!kva_port_may_sleep());
    kva_port_unlock(&lock, irq);
    may_in_handler = true;
    kva_posix_interrupt_set(ask_in_handler, NULL);
    kva_posix_interrupt();
    CHECK(!may_in_handler);
    CHECK(kva_port_may_sleep());
}

static void
wait_misuse_is_reported(struct test_ctx *t)
{
    unsigned long at = (unsigned long)&lock;
    kva_lock_t other;
    volatile kva_irq_t irq_other;
    kva_irq_t irq = 0;

    (void)t;
    start(KVA_IPL_VM);
    kva_port_lock_init(&other, "other", KVA_IPL_NONE, KVA_RANK_CACHE);
    CHECK_PANIC((void)kva_port_wait(&channel_a, &lock, &irq, 0),
                "kva_port_wait: lock sleep: 0x%lx: expected the lock held by "
                "the caller",
                at);
    irq_other = kva_port_lock(&other);
    irq = kva_port_lock(&lock);
    CHECK_PANIC((void)kva_port_wait(&channel_a, &lock, &irq, 0),
                "kva_port_wait: lock sleep: 0x%lx: expected a thread with "
                "interrupts on and no other lock, found 2 locks, interrupts "
                "on",
                at);
    kva_port_unlock(&lock, irq);
    kva_port_unlock(&other, irq_other);
    irq_other = kva_posix_irq_save();
    irq = kva_port_lock(&lock);
    CHECK_PANIC((void)kva_port_wait(&channel_a, &lock, &irq, 0),
                "kva_port_wait: lock sleep: 0x%lx: expected a thread with "
                "interrupts on and no other lock, found 1 locks, interrupts "
                "off",
                at);
    kva_port_unlock(&lock, irq);
    kva_posix_irq_restore(irq_other);
}

const struct test port_sleep_tests[] = {
    TEST("port", wake_reaches_its_channel),
    TEST_THREADS("port", wakes_are_not_lost, 0, 1000, 20000, 1000000),
    TEST_THREADS("port", wake_meets_the_release, 200, 2000, 10000, 500000),
    TEST("port", real_clock_times_out),
    TEST("port", virtual_clock_times_out),
    TEST("port", waits_can_be_cancelled),
    TEST("port", hook_stands_in_for_others),
    TEST("port", may_sleep_knows_the_context),
    TEST("port", wait_misuse_is_reported),
    TEST_END
};
