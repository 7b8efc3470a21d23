/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CPU slots and the barrier.  A kernel turns preemption off while it works on
 * its CPU's slot; a process cannot, so each thread owns a slot of its own and
 * a thread that finds none left takes the library's slow path.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "port/posix/posix_impl.h"

#if KVA_TIER >= 1

/* <linux/membarrier.h> */
#define CMD_PRIVATE_EXPEDITED (1 << 3)
#define CMD_REGISTER_PRIVATE_EXPEDITED (1 << 4)

__thread unsigned kva_posix_slot __attribute__((tls_model("local-exec")));

static uint32_t owner_of[KVA_CPU_MAX]; /* thread number, 0: free */
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

unsigned
kva_port_cpu_count(void)
{
    if (kva__posix_broken(KVA_POSIX_CPUS_MANY)) {
        return KVA_CPU_MAX + 1;
    }
    return kva__posix_broken(KVA_POSIX_CPUS_NONE) ? 0 : kva__posix.config.cpus;
}

void
kva_posix_cpu_release(void)
{
    unsigned slot = kva_posix_slot;
    uint32_t id = kva__posix_id();

    kva_posix_slot = 0;
    if (slot != 0) {
        /* After a fini and another init the slot may be someone else's. */
        (void)__atomic_compare_exchange_n(&owner_of[slot - 1], &id, 0, false,
                                          __ATOMIC_RELEASE, __ATOMIC_RELAXED);
    }
}

static void
on_thread_exit(void *arg)
{
    (void)arg;
    kva_posix_cpu_release();
}

static void
make_exit_key(void)
{
    (void)pthread_key_create(&exit_key, on_thread_exit);
}

static bool
slot_take(unsigned cpu)
{
    uint32_t free = 0;

    if (__atomic_load_n(&owner_of[cpu], __ATOMIC_RELAXED) != 0 ||
        !__atomic_compare_exchange_n(&owner_of[cpu], &free, kva__posix_id(),
                                     false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED)) {
        return false;
    }
    kva_posix_slot = cpu + 1;
    return true;
}

/* An interrupt in the middle must not claim a second slot. */
unsigned
kva_posix_cpu_claim(void)
{
    kva_irq_t saved = kva_posix_irq_save();
    unsigned cpu = 0;

    while (cpu < kva__posix.config.cpus && !slot_take(cpu)) {
        cpu++;
    }
    if (cpu == kva__posix.config.cpus) {
        cpu = KVA_CPU_NONE;
    } else {
        (void)pthread_once(&exit_once, make_exit_key);
        (void)pthread_setspecific(exit_key, &kva_posix_slot);
    }
    kva_posix_irq_restore(saved);
    return cpu;
}

/* A driver calls this for each record that it replays: two atomic operations
 * at most, and none when the slot stays the same. */
int
kva_posix_cpu_set(unsigned cpu)
{
    unsigned before = kva_posix_slot;
    kva_irq_t saved;
    bool taken;

    if (before == cpu + 1) {
        return 0;
    }
    if (cpu >= kva__posix.config.cpus) {
        kva__posix_error("cpu_set: cpu %u of %u", cpu, kva__posix.config.cpus);
        return KVA_EINVAL;
    }
    saved = kva_posix_irq_save();
    taken = slot_take(cpu);
    if (taken && before != 0) {
        __atomic_store_n(&owner_of[before - 1], 0, __ATOMIC_RELEASE);
    } else if (taken) {
        (void)pthread_once(&exit_once, make_exit_key);
        (void)pthread_setspecific(exit_key, &kva_posix_slot);
    }
    kva_posix_irq_restore(saved);
    if (!taken) {
        kva__posix_error("cpu_set: another thread owns cpu %u", cpu);
        return KVA_EBUSY;
    }
    return 0;
}

void
kva__posix_cpu_forget(void)
{
    for (unsigned i = 0; i < KVA_CPU_MAX; i++) {
        __atomic_store_n(&owner_of[i], 0, __ATOMIC_RELAXED);
    }
    kva_posix_slot = 0;
}

void
kva_posix_barrier_enable(bool enable)
{
    __atomic_store_n(&kva__posix.config.no_membarrier, !enable,
                     __ATOMIC_RELAXED);
}

/* Registration is per process; a second one costs a system call, no more. */
static int
membarrier(void)
{
    if (syscall(SYS_membarrier, CMD_PRIVATE_EXPEDITED, 0, 0) == 0) {
        return 0;
    }
    if (syscall(SYS_membarrier, CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0 ||
        syscall(SYS_membarrier, CMD_PRIVATE_EXPEDITED, 0, 0) != 0) {
        kva__posix_error("barrier: membarrier(2) is not available");
        return KVA_ENOTSUP;
    }
    return 0;
}

int
kva_port_barrier(void)
{
    kva_irq_t saved;

    posix_yield("barrier");
    /* Who has no barrier asks nothing of the caller's interrupts. */
    if (kva__posix_self.nheld != 0 ||
        (kva__posix_self.masked != 0 &&
         !__atomic_load_n(&kva__posix.config.no_membarrier,
                          __ATOMIC_RELAXED))) {
        kva__panic("%s: expected no lock held and interrupts on, "
                   "found %u locks, interrupts %s",
                   __func__, kva__posix_self.nheld,
                   kva__posix_self.masked != 0 ? "off" : "on");
    }
    saved = kva__posix_enter(&kva__posix_space_lock);
    kva__posix.stats.barriers++;
    kva__posix_leave(&kva__posix_space_lock, saved);
    if (kva_posix_fault(KVA_POSIX_BARRIER)) {
        kva__posix_error("barrier: injected fault");
        return KVA_ENOTSUP;
    }
    if (__atomic_load_n(&kva__posix.config.no_membarrier, __ATOMIC_RELAXED)) {
        kva__posix_error("barrier: turned off");
        return KVA_ENOTSUP;
    }
    return membarrier();
}

void
kva_port_relax(void)
{
    posix_yield("relax");
    if (!kva__posix.config.relax_stays) {
        (void)sched_yield();
    }
}

#else

void
kva__posix_cpu_forget(void)
{
}
#endif
