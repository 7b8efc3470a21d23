/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Page faults.  On the host they are SIGSEGV: the kernel says where and, in the
 * machine's own error code, what access it was.  The handler runs on the stack
 * of the thread that made the access, as a kernel's does, and when it returns
 * the access is made once more.
 */
#include <errno.h>
#include <signal.h>
#include <ucontext.h>

#include "port/posix/posix_impl.h"

static int (*trap_fn)(uintptr_t va, unsigned access);
static void (*trap_denied)(uintptr_t va, unsigned access, int error);
static struct sigaction before;
static bool installed;

#if KVA_TIER >= 2 && (defined(__x86_64__) || defined(__i386__))

/* Bits of the error code that the processor pushes (Intel SDM vol. 3, 4.7). */
#define ERR_WRITE 0x2u
#define ERR_FETCH 0x10u

static unsigned
access_of(const ucontext_t *uc)
{
    unsigned long err = (unsigned long)uc->uc_mcontext.gregs[REG_ERR];

    if ((err & ERR_FETCH) != 0) {
        return KVA_PROT_EXEC;
    }
    return (err & ERR_WRITE) != 0 ? KVA_PROT_WRITE : KVA_PROT_READ;
}

static bool
is_ours(uintptr_t va)
{
    return kva__posix.up && va >= kva__posix.va_base &&
           (va - kva__posix.va_base) >> KVA_PAGE_SHIFT < kva__posix.va_pages;
}

static void
on_trap(int number, siginfo_t *info, void *context)
{
    int (*fn)(uintptr_t, unsigned) =
        __atomic_load_n(&trap_fn, __ATOMIC_ACQUIRE);
    uintptr_t va = (uintptr_t)info->si_addr;
    unsigned access = access_of(context);
    int error, saved = errno;

    if (fn != NULL && is_ours(va)) {
        error = fn(va, access);
        errno = saved;
        if (error == 0) {
            return;
        }
        if (trap_denied != NULL) {
            trap_denied(va, access, error);
        }
    }
    /* Made once more, it meets who was there before us. */
    (void)sigaction(number, &before, NULL);
    __atomic_store_n(&installed, false, __ATOMIC_RELAXED);
}

int
kva_posix_trap_set(int (*fn)(uintptr_t va, unsigned access),
                   void (*denied)(uintptr_t va, unsigned access, int error))
{
    struct sigaction action = { .sa_sigaction = on_trap,
                                .sa_flags = SA_SIGINFO };

    trap_denied = denied;
    __atomic_store_n(&trap_fn, fn, __ATOMIC_RELEASE);
    if (fn != NULL && !installed) {
        (void)sigemptyset(&action.sa_mask);
        if (sigaction(SIGSEGV, &action, &before) != 0) {
            kva__posix_error("sigaction: error %d", errno);
            return KVA_ENOTSUP;
        }
        installed = true;
    }
    return 0;
}

#else

int
kva_posix_trap_set(int (*fn)(uintptr_t va, unsigned access),
                   void (*denied)(uintptr_t va, unsigned access, int error))
{
    (void)fn;
    (void)denied;
    kva__posix_error("page faults: not on this machine");
    return KVA_ENOTSUP;
}
#endif

/* The signal is again whose it was. */
void
kva__posix_trap_reset(void)
{
    __atomic_store_n(&trap_fn, NULL, __ATOMIC_RELEASE);
    trap_denied = NULL;
    if (installed) {
        (void)sigaction(SIGSEGV, &before, NULL);
        installed = false;
    }
}
