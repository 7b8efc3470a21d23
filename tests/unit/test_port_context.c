/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host port's contexts: locks and what is checked about them, interrupts
 * and their soft mask, CPU slots and the barrier.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/test.h"

#define THREADS 4

static kva_lock_t lock_a, lock_b;

static void
locks_init(enum kva_ipl ipl)
{
    kva_port_lock_init(&lock_a, "a", ipl, KVA_RANK_SLAB);
    kva_port_lock_init(&lock_b, "b", ipl, KVA_RANK_ARENA);
}

static void
run_threads(void *(*fn)(void *), void *arg, unsigned n)
{
    pthread_t thread[64];

    for (unsigned i = 0; i < n; i++) {
        CHECK_EQ(pthread_create(&thread[i], NULL, fn, arg), 0);
    }
    for (unsigned i = 0; i < n; i++) {
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    }
}

/* ---- locks ------------------------------------------------------------- */

struct counted {
    unsigned long rounds;
    unsigned long value; /* by lock_a */
};

static void *
count_up(void *arg)
{
    struct counted *c = arg;

    for (unsigned long i = 0; i < c->rounds; i++) {
        kva_irq_t irq = kva_port_lock(&lock_a);

        c->value++;
        kva_port_unlock(&lock_a, irq);
    }
    return NULL;
}

static void
locks_exclude(struct test_ctx *t)
{
    struct counted c = { .rounds = t->count };

    locks_init(KVA_IPL_VM);
    run_threads(count_up, &c, THREADS);
    CHECK_EQ(c.value, THREADS * t->count);
    kva_port_lock_fini(&lock_a);
}

static void *
unlock_as_stranger(void *arg)
{
    (void)arg;
    CHECK_PANIC(kva_port_unlock(&lock_a, 0),
                "kva_port_unlock: lock a: 0x%lx: expected the lock held by "
                "the caller",
                (unsigned long)&lock_a);
    return NULL;
}

static void
lock_misuse_is_reported(struct test_ctx *t)
{
    unsigned long a = (unsigned long)&lock_a;
    kva_irq_t irq;

    (void)t;
    locks_init(KVA_IPL_NONE);
    CHECK_PANIC(kva_port_unlock(&lock_a, 0),
                "kva_port_unlock: lock a: 0x%lx: expected the lock held by "
                "the caller",
                a);
    irq = kva_port_lock(&lock_a);
    CHECK_EQ(kva_posix_locks_held(), 1);
    run_threads(unlock_as_stranger, NULL, 1);
    CHECK_PANIC((void)kva_port_lock(&lock_a),
                "kva_port_lock: lock a: 0x%lx: expected a free lock, found "
                "it held by the caller",
                a);
    CHECK_PANIC(kva_port_lock_fini(&lock_a),
                "kva_port_lock_fini: lock a: 0x%lx: expected a free lock, "
                "found it held",
                a);
    kva_port_unlock(&lock_a, irq);
    kva_port_lock_fini(&lock_a);
    CHECK_PANIC((void)kva_port_lock(&lock_a),
                "kva_port_lock: lock a: 0x%lx: expected a free lock, found "
                "it ended",
                a);
    CHECK_PANIC(kva_port_lock_fini(&lock_a),
                "kva_port_lock_fini: lock a: 0x%lx: expected a free lock, "
                "found it ended already",
                a);
    CHECK_EQ(kva_posix_locks_held(), 0);
}

static void
ranks_are_checked(struct test_ctx *t)
{
    kva_lock_t c;
    kva_irq_t a, b, other;

    (void)t;
    locks_init(KVA_IPL_VM);
    kva_port_lock_init(&c, "c", KVA_IPL_VM, KVA_RANK_ARENA);
    kva_posix_lock_check(true);
    a = kva_port_lock(&lock_a);
    b = kva_port_lock(&lock_b);
    other = kva_port_lock(&c); /* the same rank: arenas on each other */
    kva_port_unlock(&c, other);
    kva_port_unlock(&lock_b, b);
    kva_port_unlock(&lock_a, a);
    b = kva_port_lock(&lock_b);
    CHECK_PANIC((void)kva_port_lock(&lock_a),
                "kva_port_lock: lock a: 0x%lx: expected rank 50 or above (b "
                "is held), found rank 40",
                (unsigned long)&lock_a);
    CHECK_EQ(kva_posix_locks_held(), 1);
    kva_posix_lock_check(false);
    a = kva_port_lock(&lock_a);
    kva_port_unlock(&lock_a, a);
    kva_port_unlock(&lock_b, b);
    CHECK(kva_posix_irqs_enabled());
}

static void
early_opening_is_reported(struct test_ctx *t)
{
    kva_irq_t a, b;

    (void)t;
    locks_init(KVA_IPL_VM);
    kva_posix_lock_check(true);
    a = kva_port_lock(&lock_a);
    b = kva_port_lock(&lock_b);
    CHECK_PANIC(kva_port_unlock(&lock_a, a),
                "kva_port_unlock: lock a: 0x%lx: expected interrupts masked "
                "(b is held), found them opened",
                (unsigned long)&lock_a);
    kva_port_unlock(&lock_a, b); /* hand over hand: the states change hands */
    CHECK(!kva_posix_irqs_enabled());
    kva_port_unlock(&lock_b, a);
    CHECK(kva_posix_irqs_enabled());
}

/* ---- interrupts -------------------------------------------------------- */

static volatile unsigned long handled;
static volatile bool handler_context;

static void
on_interrupt(void *arg)
{
    (void)arg;
    handled++;
    handler_context = kva_posix_in_interrupt() && !kva_posix_irqs_enabled();
}

static void
interrupts_wait_for_the_mask(struct test_ctx *t)
{
    kva_irq_t outer, inner, irq;

    (void)t;
    locks_init(KVA_IPL_VM);
    kva_posix_interrupt_set(on_interrupt, NULL);
    CHECK(kva_posix_irqs_enabled());
    kva_posix_interrupt();
    CHECK_EQ(handled, 1);
    CHECK(handler_context);
    CHECK(!kva_posix_in_interrupt());
    CHECK(kva_posix_irqs_enabled());
    outer = kva_posix_irq_save();
    inner = kva_posix_irq_save();
    irq = kva_port_lock(&lock_a);
    kva_posix_interrupt();
    CHECK_EQ(raise(kva_posix_interrupt_signal()), 0);
    kva_port_unlock(&lock_a, irq); /* was off before the lock: stays off */
    CHECK(!kva_posix_irqs_enabled());
    kva_posix_irq_restore(inner);
    CHECK(!kva_posix_irqs_enabled());
    CHECK_EQ(handled, 1);
    kva_posix_irq_restore(outer);
    CHECK_EQ(handled, 2); /* two came, one mark */
    CHECK_EQ(raise(kva_posix_interrupt_signal()), 0);
    CHECK_EQ(handled, 3);
    irq = kva_port_lock(&lock_a);
    kva_posix_interrupt();
    CHECK_EQ(handled, 3);
    kva_port_unlock(&lock_a, irq);
    CHECK_EQ(handled, 4);
}

static void
lock_none_here(void *arg)
{
    (void)arg;
    (void)kva_port_lock(&lock_a);
}

static void
thread_locks_refuse_interrupts(struct test_ctx *t)
{
    (void)t;
    locks_init(KVA_IPL_NONE);
    kva_posix_lock_check(true);
    kva_posix_interrupt_set(lock_none_here, NULL);
    CHECK_PANIC(kva_posix_interrupt(),
                "kva_port_lock: lock a: 0x%lx: expected a thread (the lock "
                "has KVA_IPL_NONE), found an interrupt",
                (unsigned long)&lock_a);
    CHECK(!kva_posix_in_interrupt());
    CHECK(kva_posix_irqs_enabled());
}

struct storm {
    unsigned long rounds;
    unsigned long shared; /* by lock_a, from threads and interrupts */
    unsigned long own;    /* atomic: additions of interrupts */
    pthread_t target[THREADS];
    unsigned stop;
};

static struct storm storm;

static void
storm_interrupt(void *arg)
{
    kva_irq_t irq;

    (void)arg;
    irq = kva_port_lock(&lock_a);
    storm.shared++;
    kva_port_unlock(&lock_a, irq);
    __atomic_add_fetch(&storm.own, 1, __ATOMIC_RELAXED);
}

static void *
storm_send(void *arg)
{
    pthread_t *target = arg;

    while (__atomic_load_n(&storm.stop, __ATOMIC_RELAXED) == 0) {
        (void)pthread_kill(*target, kva_posix_interrupt_signal());
        kva_port_relax();
    }
    return NULL;
}

/* Signals rain on a thread that takes the lock its handler takes: without the
 * mask it would hang or lose an addition. */
static void
interrupts_do_not_deadlock(struct test_ctx *t)
{
    pthread_t sender, self = pthread_self();

    storm = (struct storm){ .rounds = t->count };
    locks_init(KVA_IPL_VM);
    kva_posix_interrupt_set(storm_interrupt, NULL);
    CHECK_EQ(pthread_create(&sender, NULL, storm_send, &self), 0);
    for (unsigned long i = 0; i < t->count; i++) {
        kva_irq_t irq = kva_port_lock(&lock_a);

        storm.shared++;
        kva_port_unlock(&lock_a, irq);
    }
    while (__atomic_load_n(&storm.own, __ATOMIC_RELAXED) == 0) {
        kva_port_relax();
    }
    __atomic_store_n(&storm.stop, 1, __ATOMIC_RELAXED);
    CHECK_EQ(pthread_join(sender, NULL), 0);
    CHECK_EQ(storm.shared,
             t->count + __atomic_load_n(&storm.own, __ATOMIC_RELAXED));
}

/* ---- CPU slots --------------------------------------------------------- */

static unsigned slot_users[8]; /* atomic */
static pthread_barrier_t together;

static void *
use_slot(void *arg)
{
    unsigned *without = arg;
    unsigned cpu = kva_cpu_enter();

    if (cpu == KVA_CPU_NONE) {
        __atomic_add_fetch(without, 1, __ATOMIC_RELAXED);
    } else {
        CHECK_LT(cpu, kva_port_cpu_count());
        __atomic_add_fetch(&slot_users[cpu], 1, __ATOMIC_RELAXED);
        kva_cpu_exit(cpu);
        CHECK_EQ(kva_cpu_enter(), cpu);
        kva_cpu_exit(cpu);
    }
    (void)pthread_barrier_wait(&together);
    return NULL;
}

static void
slots_have_one_owner(struct test_ctx *t)
{
    const struct kva_posix_config c = { .va_bytes = 1 << 22, .cpus = 3 };
    unsigned without = 0;

    PORT(&c);
    CHECK_EQ(kva_port_cpu_count(), 3);
    CHECK_EQ(pthread_barrier_init(&together, NULL, 5), 0);
    for (unsigned long i = 0; i < t->count; i++) {
        memset(slot_users, 0, sizeof(slot_users));
        without = 0;
        run_threads(use_slot, &without, 5);
        CHECK_EQ(without, 2); /* and all come back when the threads end */
        for (unsigned k = 0; k < 3; k++) {
            CHECK_EQ(slot_users[k], 1);
        }
    }
}

static void *
set_slot_1(void *arg)
{
    int *error = arg;

    error[0] = kva_posix_cpu_set(1);
    error[1] = kva_posix_cpu_set(0);
    return NULL;
}

static void
driver_names_its_slot(struct test_ctx *t)
{
    const struct kva_posix_config c = { .va_bytes = 1 << 22, .cpus = 256 };
    int error[2];

    PORT(&c);
    for (unsigned long i = 0; i < t->count; i++) {
        unsigned cpu = (unsigned)test_rand_below(t, 256);

        CHECK_EQ(kva_posix_cpu_set(cpu), 0);
        CHECK_EQ(kva_cpu_enter(), cpu);
        kva_cpu_exit(cpu);
    }
    CHECK_EQ(kva_posix_cpu_set(256), KVA_EINVAL);
    CHECK_STR(kva_posix_last_error(), "cpu_set: cpu 256 of 256");
    CHECK_EQ(kva_posix_cpu_set(1), 0);
    run_threads(set_slot_1, error, 1);
    CHECK_EQ(error[0], KVA_EBUSY);
    CHECK_EQ(error[1], 0);
    CHECK_EQ(kva_posix_cpu_set(0), 0);
    kva_posix_cpu_release();
    CHECK_EQ(kva_cpu_enter(), 0);
}

/* ---- barrier ----------------------------------------------------------- */

static void
barrier_can_be_missing(struct test_ctx *t)
{
    const struct kva_posix_config c = { .va_bytes = 1 << 22,
                                        .no_membarrier = true };
    struct kva_posix_stats s;
    kva_irq_t irq;

    (void)t;
    PORT(&c);
    locks_init(KVA_IPL_NONE);
    CHECK_EQ(kva_port_barrier(), KVA_ENOTSUP);
    CHECK_STR(kva_posix_last_error(), "barrier: turned off");
    kva_posix_barrier_enable(true);
    if (kva_port_barrier() != 0) {
        SKIP(kva_posix_last_error());
    }
    CHECK_EQ(kva_port_barrier(), 0);
    kva_posix_stats_get(&s);
    CHECK_EQ(s.barriers, 3);
    irq = kva_port_lock(&lock_a);
    CHECK_PANIC((void)kva_port_barrier(),
                "kva_port_barrier: expected no lock held and interrupts on, "
                "found 1 locks, interrupts on");
    kva_port_unlock(&lock_a, irq);
    irq = kva_posix_irq_save();
    CHECK_PANIC((void)kva_port_barrier(),
                "kva_port_barrier: expected no lock held and interrupts on, "
                "found 0 locks, interrupts off");
    kva_posix_irq_restore(irq);
}

/*
 * Two threads each store to a variable of their own and read the other's;
 * with the barrier on one side only, never do both read 0.  Each word has a
 * cache line of its own and both sides start after a random moment.  A failure
 * is proof; a pass is not: what the hook does besides takes longer than x86
 * holds a store back, so there even an empty barrier mostly passes.
 */
struct dekker {
    _Alignas(256) unsigned long round;
    _Alignas(256) unsigned long done;
    _Alignas(256) unsigned a;
    _Alignas(256) unsigned b;
    _Alignas(256) unsigned seen_b;
    unsigned long rounds;
    struct test_random random;
};

static struct dekker dekker;

static void
dekker_pause(struct test_random *r)
{
    for (uint64_t n = test_random(r) % 256; n > 0; n--) {
        KVA_COMPILER_BARRIER();
    }
}

/* Tight at first, so that both sides set off together. */
static void
dekker_until(const unsigned long *word, unsigned long value)
{
    unsigned spins = 0;

    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) {
        if (++spins > 10000) {
            kva_port_relax();
        }
    }
}

static void *
dekker_fast(void *arg)
{
    (void)arg;
    for (unsigned long i = 1; i <= dekker.rounds; i++) {
        dekker_until(&dekker.round, i);
        dekker_pause(&dekker.random);
        __atomic_store_n(&dekker.a, 1, __ATOMIC_RELAXED);
        KVA_COMPILER_BARRIER();
        dekker.seen_b = __atomic_load_n(&dekker.b, __ATOMIC_RELAXED);
        __atomic_store_n(&dekker.done, i, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void
barrier_orders_the_other_side(struct test_ctx *t)
{
    pthread_t thread;

    if (kva_port_barrier() != 0) {
        SKIP(kva_posix_last_error());
    }
    dekker = (struct dekker){ .rounds = t->count, .random = { t->seed } };
    CHECK_EQ(pthread_create(&thread, NULL, dekker_fast, NULL), 0);
    for (unsigned long i = 1; i <= t->count; i++) {
        unsigned seen_a;

        __atomic_store_n(&dekker.a, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&dekker.b, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&dekker.round, i, __ATOMIC_RELEASE);
        dekker_pause(&t->random);
        __atomic_store_n(&dekker.b, 1, __ATOMIC_RELAXED);
        CHECK_EQ(kva_port_barrier(), 0);
        seen_a = __atomic_load_n(&dekker.a, __ATOMIC_RELAXED);
        dekker_until(&dekker.done, i);
        CHECK(seen_a != 0 || dekker.seen_b != 0);
    }
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

const struct test port_context_tests[] = {
    TEST_THREADS("port", locks_exclude, 0, 10000, 100000, 10000000),
    TEST("port", lock_misuse_is_reported),
    TEST("port", ranks_are_checked),
    TEST("port", early_opening_is_reported),
    TEST("port", interrupts_wait_for_the_mask),
    TEST("port", thread_locks_refuse_interrupts),
    TEST_THREADS("port", interrupts_do_not_deadlock, 0, 10000, 300000,
                 30000000),
    TEST_THREADS("port", slots_have_one_owner, 0, 10, 100, 10000),
    TEST_THREADS("port", driver_names_its_slot, 0, 1000, 100000, 10000000),
    TEST("port", barrier_can_be_missing),
    TEST_THREADS("port", barrier_orders_the_other_side, 0, 300, 3000, 1000000),
    TEST_END
};
