/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Locks: test-and-set on a word that names the owner, so that an unlock by a
 * stranger and a lock by its own holder are found without further cost.  The
 * thread keeps a list of what it holds: for may-sleep, for a caught panic,
 * and for the checks of rank and interrupt state, which may be off.
 */
#include <sched.h>

#include "port/posix/posix_impl.h"

/* The owner of a lock that was ended. */
#define OWNER_GONE (~(uint32_t)0)

static bool check = KVA_CONFIG_DEBUG;

void
kva_posix_lock_check(bool enable)
{
    __atomic_store_n(&check, enable, __ATOMIC_RELAXED);
}

unsigned
kva_posix_locks_held(void)
{
    return kva__posix_self.nheld;
}

unsigned long
kva_posix_lock_waits(void)
{
    return kva__posix_self.lock_waits;
}

void
kva__posix_lock_reset(void)
{
    kva__posix_self.nheld = 0;
    kva_posix_lock_check(KVA_CONFIG_DEBUG);
}

void
kva_port_lock_init(kva_lock_t *lock, const char *name, enum kva_ipl ipl,
                   unsigned rank)
{
    lock->name = name;
    lock->ipl = (uint8_t)ipl;
    lock->rank = (uint16_t)rank;
    __atomic_store_n(&lock->owner, 0, __ATOMIC_RELEASE);
}

void
kva_port_lock_fini(kva_lock_t *lock)
{
    uint32_t owner = __atomic_load_n(&lock->owner, __ATOMIC_RELAXED);

    if (owner != 0) {
        kva__misuse(__func__, "lock", lock->name, (uintptr_t)lock,
                    "expected a free lock, found it %s",
                    owner == OWNER_GONE ? "ended already" : "held");
    }
    __atomic_store_n(&lock->owner, OWNER_GONE, __ATOMIC_RELEASE);
}

/*
 * Rank 0 stands outside the order.  So does in an interrupt what the thread
 * holds: interrupts were on, so it masks none, and no interrupt takes it.
 */
static void
check_lock(const kva_lock_t *lock)
{
    const struct posix_self *self = posix_self();

    if (lock->ipl < KVA_IPL_VM && self->interrupt != 0) {
        kva__misuse("kva_port_lock", "lock", lock->name, (uintptr_t)lock,
                    "expected a thread (the lock has KVA_IPL_NONE), "
                    "found an interrupt");
    }
    for (unsigned i = self->interrupt != 0 ? self->below : 0; i < self->nheld;
         i++) {
        const kva_lock_t *held = self->held[i];

        if (held != lock && lock->rank != 0 && held->rank > lock->rank) {
            kva__misuse("kva_port_lock", "lock", lock->name, (uintptr_t)lock,
                        "expected rank %u or above (%s is held), "
                        "found rank %u",
                        (unsigned)held->rank, held->name, (unsigned)lock->rank);
        }
    }
}

/* Opening interrupts while a lock that masks them is held is a way into a
 * deadlock with the handler. */
static void
check_unlock(const kva_lock_t *lock)
{
    const struct posix_self *self = posix_self();

    for (unsigned i = 0; i < self->nheld; i++) {
        const kva_lock_t *held = self->held[i];

        if (held != lock && held->ipl >= KVA_IPL_VM) {
            kva__misuse("kva_port_unlock", "lock", lock->name, (uintptr_t)lock,
                        "expected interrupts masked (%s is held), "
                        "found them opened",
                        held->name);
        }
    }
}

static void
lock_contended(kva_lock_t *lock, uint32_t id)
{
    uint32_t owner;
    unsigned spins = 0;

    posix_self()->lock_waits++;
    for (;;) {
        owner = __atomic_load_n(&lock->owner, __ATOMIC_RELAXED);
        if (owner == 0 &&
            __atomic_compare_exchange_n(&lock->owner, &owner, id, false,
                                        __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
            return;
        }
        if (owner == id || owner == OWNER_GONE) {
            kva__misuse("kva_port_lock", "lock", lock->name, (uintptr_t)lock,
                        "expected a free lock, found it %s",
                        owner == id ? "held by the caller" : "ended");
        }
        posix_yield("lock");
        if (++spins >= 100) {
            (void)sched_yield();
            spins = 0;
        }
    }
}

kva_irq_t
kva_port_lock(kva_lock_t *lock)
{
    struct posix_self *self = posix_self();
    uint32_t id = kva__posix_id();
    kva_irq_t saved = 0;
    uint32_t free = 0;

    posix_yield("lock");
    if (KVA_UNLIKELY(__atomic_load_n(&check, __ATOMIC_RELAXED))) {
        check_lock(lock);
    }
    if (kva__posix_broken(KVA_POSIX_LOCK_NOT)) {
        return self->masked;
    }
    if (self->nheld == POSIX_HELD_MAX) {
        kva__misuse(__func__, "lock", lock->name, (uintptr_t)lock,
                    "expected fewer than %u locks held", POSIX_HELD_MAX);
    }
    if (lock->ipl >= KVA_IPL_VM) {
        saved = kva_posix_irq_save();
    }
    if (!__atomic_compare_exchange_n(&lock->owner, &free, id, false,
                                     __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        lock_contended(lock, id);
    }
    self->held[self->nheld] = lock;
    self->saved[self->nheld] = saved;
    KVA_COMPILER_BARRIER();
    self->nheld++;
    if (kva__posix_broken(KVA_POSIX_LOCK_OPENS)) {
        self->masked = 0;
    }
    return saved;
}

/* Where the lock is on the list, from 1; 0: nowhere. */
static unsigned
held_at(const struct posix_self *self, const kva_lock_t *lock)
{
    unsigned i = self->nheld;

    while (i > 0 && self->held[i - 1] != lock) {
        i--;
    }
    return i;
}

/*
 * Who lets go of locks in another order than he took them may give each the
 * state of another that he holds: they change hands.
 */
void
kva__posix_saved_check(const char *func, const kva_lock_t *lock,
                       kva_irq_t saved)
{
    struct posix_self *self = posix_self();
    unsigned at = held_at(self, lock), other = 0;

    if (at == 0 || self->saved[at - 1] == saved ||
        !__atomic_load_n(&check, __ATOMIC_RELAXED)) {
        return;
    }
    while (other < self->nheld && self->saved[other] != saved) {
        other++;
    }
    if (other == self->nheld) {
        kva__misuse(func, "lock", lock->name, (uintptr_t)lock,
                    "expected the interrupt state %u that lock returned, "
                    "found %u",
                    (unsigned)self->saved[at - 1], (unsigned)saved);
    }
    self->saved[other] = self->saved[at - 1];
    self->saved[at - 1] = saved;
}

/* Take the lock off the list; mostly it is the last. */
static void
held_remove(struct posix_self *self, const kva_lock_t *lock)
{
    unsigned i = held_at(self, lock);

    for (; i > 0 && i < self->nheld; i++) {
        self->held[i - 1] = self->held[i];
        self->saved[i - 1] = self->saved[i];
    }
    if (i > 0) {
        self->nheld--;
    }
}

void
kva_port_unlock(kva_lock_t *lock, kva_irq_t saved)
{
    struct posix_self *self = posix_self();

    posix_yield("unlock");
    if (__atomic_load_n(&lock->owner, __ATOMIC_RELAXED) != kva__posix_id()) {
        kva__misuse(__func__, "lock", lock->name, (uintptr_t)lock,
                    "expected the lock held by the caller");
    }
    if (KVA_UNLIKELY(__atomic_load_n(&check, __ATOMIC_RELAXED))) {
        if (lock->ipl >= KVA_IPL_VM && saved == 0) {
            check_unlock(lock);
        }
        kva__posix_saved_check(__func__, lock, saved);
    }
    if (kva__posix_broken(KVA_POSIX_UNLOCK_NOT)) {
        return;
    }
    held_remove(self, lock);
    __atomic_store_n(&lock->owner, 0, __ATOMIC_RELEASE);
    if (lock->ipl >= KVA_IPL_VM) {
        kva_posix_irq_restore(
            kva__posix_broken(KVA_POSIX_UNLOCK_OPENS) ? 0 : saved);
    }
}

#if KVA_CONFIG_CONTEXT
unsigned
kva_port_context(const kva_lock_t *lock)
{
    const struct posix_self *self = posix_self();
    uint32_t owner = __atomic_load_n(&lock->owner, __ATOMIC_RELAXED);

    return (owner != 0 && owner == self->id ? KVA_CONTEXT_HELD : 0u) |
           (self->masked != 0 ? KVA_CONTEXT_MASKED : 0u);
}
#endif
