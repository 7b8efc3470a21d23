/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Panic and log.  A test catches a panic of its own thread: the message is
 * kept, the thread's locks and interrupt mask go back to what they were at
 * the try, and control with them.
 */
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "port/posix/posix_impl.h"

static void (*log_fn)(void *arg, const char *msg);
static void *log_arg;
static char log_last[KVA_MESSAGE_MAX];
static uint32_t log_lock;

/* A line on stderr by one system call: whole, and good in any context. */
static void
print(const char *prefix, const char *msg)
{
    struct iovec part[3] = {
        { .iov_base = (void *)(uintptr_t)prefix },
        { .iov_base = (void *)(uintptr_t)msg },
        { .iov_base = (void *)(uintptr_t) "\n", .iov_len = 1 },
    };

    while (prefix[part[0].iov_len] != '\0') {
        part[0].iov_len++;
    }
    while (msg[part[1].iov_len] != '\0') {
        part[1].iov_len++;
    }
    if (writev(STDERR_FILENO, part, 3) < 0) {
        return; /* nobody left to tell */
    }
}

/* ---- catch ------------------------------------------------------------- */

void
kva_posix_catch_begin(struct kva_posix_catch *c)
{
    struct posix_self *self = posix_self();

    c->message[0] = '\0';
    c->lock[0] = '\0';
    c->locks = 0;
    c->held_before = self->nheld;
    c->masked_before = self->masked != 0;
    c->interrupt_before = self->interrupt != 0;
    c->outer = self->catch;
    self->catch = c;
}

void
kva_posix_catch_end(struct kva_posix_catch *c)
{
    kva__posix_self.catch = c->outer;
}

void
kva_posix_catch_forget(void)
{
    kva__posix_self.catch = NULL;
}

/* Locks taken since the try are opened, so that what follows can go on. */
static void
locks_break(struct kva_posix_catch *c)
{
    struct posix_self *self = posix_self();

    if (self->nheld > c->held_before) {
        c->locks = self->nheld - c->held_before;
        (void)kva__format(c->lock, sizeof(c->lock), "%s",
                          self->held[self->nheld - 1]->name);
    }
    while (self->nheld > c->held_before) {
        self->nheld--;
        __atomic_store_n(&self->held[self->nheld]->owner, 0, __ATOMIC_RELEASE);
    }
}

void
kva_port_panic(const char *msg)
{
    struct posix_self *self = posix_self();
    struct kva_posix_catch *c = self->catch;

    if (c == NULL) {
        print("panic: ", msg);
        abort();
    }
    self->catch = c->outer;
    (void)kva__format(c->message, sizeof(c->message), "%s", msg);
    locks_break(c);
    self->interrupt = c->interrupt_before;
    kva_posix_irq_restore(c->masked_before);
    siglongjmp(c->env, 1);
}

/* ---- log --------------------------------------------------------------- */

void
kva_port_log(const char *msg)
{
    void (*fn)(void *, const char *);
    void *arg;
    kva_irq_t saved = kva__posix_enter(&log_lock);

    (void)kva__format(log_last, sizeof(log_last), "%s", msg);
    fn = log_fn;
    arg = log_arg;
    kva__posix_leave(&log_lock, saved);
    saved = kva__posix_enter(&kva__posix_space_lock);
    kva__posix.stats.logs++;
    kva__posix_leave(&kva__posix_space_lock, saved);
    if (kva__posix.config.log_stderr) {
        print("", msg);
    }
    if (fn != NULL) {
        fn(arg, msg);
    }
}

void
kva_posix_log_set(void (*fn)(void *arg, const char *msg), void *arg)
{
    kva_irq_t saved = kva__posix_enter(&log_lock);

    log_fn = fn;
    log_arg = arg;
    kva__posix_leave(&log_lock, saved);
}

/* Read it when no other thread logs. */
const char *
kva_posix_log_last(void)
{
    return log_last;
}

void
kva__posix_panic_reset(void)
{
    kva_posix_log_set(NULL, NULL);
    log_last[0] = '\0';
}
