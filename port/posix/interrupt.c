/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupts.  On the host they are signals.  Masking them with sigprocmask
 * would cost two system calls at each lock, so the mask is a variable of the
 * thread: a signal that finds it set leaves a mark and goes, and whoever
 * opens the mask runs the handler then.  The handler runs with interrupts
 * masked and is not nested.
 */
#include <errno.h>
#include <signal.h>

#include "port/posix/posix_impl.h"

static void (*handler_fn)(void *arg);
static void *handler_arg;

/*
 * Run the handler until no interrupt is left.  The mask is open.  Who is
 * interrupted may be about to add a lock that does not mask to his list (it
 * stands there, and the length is not yet changed): it must stand there still.
 */
static void
interrupt_run(struct posix_self *self)
{
    unsigned at = self->nheld < POSIX_HELD_MAX ? self->nheld : 0;
    kva_lock_t *held = self->held[at];
    kva_irq_t state = self->saved[at];
    int error = errno;

    do {
        void (*fn)(void *) = __atomic_load_n(&handler_fn, __ATOMIC_ACQUIRE);

        self->masked = 1;
        self->interrupt = 1;
        self->below = self->nheld;
        self->pending = 0;
        KVA_COMPILER_BARRIER();
        if (fn != NULL) {
            fn(handler_arg);
        }
        KVA_COMPILER_BARRIER();
        self->interrupt = 0;
        self->masked = 0;
        KVA_COMPILER_BARRIER();
    } while (self->pending != 0);
    self->held[at] = held;
    self->saved[at] = state;
    errno = error;
}

void
kva_posix_interrupt(void)
{
    struct posix_self *self = posix_self();

    if (self->masked != 0) {
        self->pending = 1;
    } else {
        interrupt_run(self);
    }
}

static void
on_signal(int number)
{
    (void)number;
    kva_posix_interrupt();
}

int
kva_posix_interrupt_signal(void)
{
    return SIGUSR1;
}

void
kva_posix_interrupt_set(void (*handler)(void *arg), void *arg)
{
    struct sigaction action = { .sa_handler = on_signal,
                                .sa_flags = SA_RESTART };

    (void)sigemptyset(&action.sa_mask);
    handler_arg = arg;
    __atomic_store_n(&handler_fn, handler, __ATOMIC_RELEASE);
    (void)sigaction(SIGUSR1, &action, NULL);
}

void
kva__posix_interrupt_reset(void)
{
    __atomic_store_n(&handler_fn, NULL, __ATOMIC_RELEASE);
    kva__posix_self.pending = 0;
    kva__posix_self.interrupt = 0;
    kva__posix_self.masked = 0;
}

kva_irq_t
kva_posix_irq_save(void)
{
    kva_irq_t saved = kva__posix_self.masked;

    kva__posix_self.masked = 1;
    KVA_COMPILER_BARRIER();
    return saved;
}

void
kva_posix_irq_restore(kva_irq_t saved)
{
    struct posix_self *self = posix_self();

    KVA_COMPILER_BARRIER();
    self->masked = (unsigned)saved;
    KVA_COMPILER_BARRIER();
    if (saved == 0 && KVA_UNLIKELY(self->pending != 0)) {
        interrupt_run(self);
    }
}

bool
kva_posix_irqs_enabled(void)
{
    return kva__posix_self.masked == 0;
}

bool
kva_posix_in_interrupt(void)
{
    return kva__posix_self.interrupt != 0;
}
