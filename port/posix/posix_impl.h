/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the host port share.  Functions stand under the name of
 * the file that defines them.
 */
#ifndef KVA_POSIX_IMPL_H
#define KVA_POSIX_IMPL_H

#include "port/posix/posix.h"

/* Physical addresses start above 4 GiB, so that a pa squeezed into 32 bits is
 * found out.  At tiers 0 and 1 memory is identity mapped. */
#define POSIX_PA_BASE ((kva_pa_t)1 << 32)
#define POSIX_IDENTITY (KVA_TIER < 2)

/* Most locks that one thread may hold at a time. */
#define POSIX_HELD_MAX 32u

/* The errors' texts; longer ones are cut. */
#define POSIX_ERROR_MAX 160u

/*
 * What the port knows of a thread.  The signal handler of the same thread
 * reads and writes masked, interrupt and pending, hence volatile; no other
 * thread sees any of it.
 */
struct posix_self {
    uint32_t id; /* from 1; 0: none given yet */
    volatile unsigned masked;
    volatile unsigned interrupt;
    volatile unsigned pending;
    unsigned nheld;
    unsigned below; /* in an interrupt: of the thread's own */
    unsigned long lock_waits;
    kva_lock_t *held[POSIX_HELD_MAX];
    kva_irq_t saved[POSIX_HELD_MAX]; /* what lock returned for each */
    struct kva_posix_catch *catch;
    char error[POSIX_ERROR_MAX];
};

extern __thread struct posix_self kva__posix_self
    __attribute__((tls_model("initial-exec")));

/*
 * Its address, through a register: the linker turns the addition that makes a
 * thread-local address into one that sets no flags, and UBSan's test for NULL
 * as gcc 12 compiles it relies on them.
 */
static inline struct posix_self *
posix_self(void)
{
    struct posix_self *self = &kva__posix_self;

    __asm__("" : "+r"(self));
    return self;
}

/*
 * The machine.  The settings are written by kva_posix_init; the counters under
 * the space lock.
 */
struct posix_machine {
    bool up;
    struct kva_posix_config config;
    uintptr_t va_base;
    size_t va_pages;
    uintptr_t meta_base;
    size_t meta_pages;
    struct kva_posix_stats stats;
};

extern struct posix_machine kva__posix;

/* ---- machine.c --------------------------------------------------------- */

/* A small spin lock of the port's own, taken with interrupts masked, so that
 * hooks may be called in any context.  Nothing panics while it is held. */
kva_irq_t kva__posix_enter(uint32_t *lock);
void kva__posix_leave(uint32_t *lock, kva_irq_t saved);

/* Guards the tables of space.c, frames.c and meta.c, and the counters. */
extern uint32_t kva__posix_space_lock;

extern void (*kva__posix_yield)(void *arg, const char *hook);
extern void *kva__posix_yield_arg;

static inline void
posix_yield(const char *hook)
{
    void (*fn)(void *, const char *) =
        __atomic_load_n(&kva__posix_yield, __ATOMIC_ACQUIRE);

    if (KVA_UNLIKELY(fn != NULL)) {
        fn(kva__posix_yield_arg, hook);
    }
}

/* Panic unless the machine runs. */
void kva__posix_need(const char *func);

/* Note why something failed, for kva_posix_last_error. */
void
kva__posix_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same for a system call that left errno; logged once a machine. */
void kva__posix_host_error(const char *call, int error);

/* This thread's number; gives it one. */
uint32_t kva__posix_id(void);

/* ---- breach.c ---------------------------------------------------------- */

/* Is this promise to be broken now? */
bool kva__posix_broken(enum kva_posix_breach what);

/* ---- lock.c ------------------------------------------------------------ */

/* Report it if saved is not what the lock returned; the checks are on. */
void kva__posix_saved_check(const char *func, const kva_lock_t *lock,
                            kva_irq_t saved);

/* ---- proc.c ------------------------------------------------------------ */

/* How many mappings the process has, and may have; 0: unknown. */
unsigned long kva__posix_mappings(void);
unsigned long kva__posix_mapping_limit(void);

/* ---- space.c ----------------------------------------------------------- */

int kva__posix_space_init(void);
void kva__posix_space_fini(void);

/*
 * Reserve room with no access and no memory, and a page on either side that
 * keeps Linux from joining it with a stranger's mapping.  NULL: refused.
 * base: where, if that is free; 0: anywhere.
 */
void *kva__posix_reserve(size_t bytes, uintptr_t base);
void kva__posix_unreserve(uintptr_t base, size_t bytes);
/* A zeroed table that takes memory only where it is written. */
void *kva__posix_table(size_t count, size_t size);
void kva__posix_table_free(void *table, size_t count, size_t size);

/* Give n pages at va memory, or take it away, one operation per range. */
int kva__posix_attach(uintptr_t va, size_t n, int prot);
void kva__posix_detach(uintptr_t va, size_t n);
/* Of a page of the space, the frame that is mapped there, plus one; 0: none.
 * Space locked. */
uint32_t kva__posix_page_entry(size_t page);

/* ---- large.c ----------------------------------------------------------- */

int kva__posix_large_init(void);
void kva__posix_large_fini(void);

/* n pages at va are mapped to the frames from pa on: note the large pages that
 * this takes.  Space lock held. */
void kva__posix_large_map(uintptr_t va, kva_pa_t pa, size_t n);
/* They are about to be unmapped: n; or the first page of a large page that
 * reaches out of them, and nothing is changed.  Space lock held. */
size_t kva__posix_large_unmap(uintptr_t va, size_t n);

/* ---- direct.c ---------------------------------------------------------- */

int kva__posix_direct_init(void);
void kva__posix_direct_fini(void);
/* Frames that nobody uses lose what they have in the direct map. */
void kva__posix_direct_clear(size_t frame, size_t n);

/* ---- frames.c ---------------------------------------------------------- */

enum posix_frame_state {
    POSIX_FRAME_FREE,
    POSIX_FRAME_HELD,   /* given out, not mapped */
    POSIX_FRAME_MAPPED, /* mapped */
    POSIX_FRAME_STALE   /* unmapped, not flushed */
};

/* Who hands out frames, if it is not the port. */
extern struct kva_posix_supply kva__posix_supply;

int kva__posix_frames_init(void);
void kva__posix_frames_fini(void);

kva_pa_t kva__posix_frame_pa(size_t frame);
/* The frame at pa; false: pa is none. */
bool kva__posix_frame_find(kva_pa_t pa, size_t n, size_t *frame);
enum posix_frame_state kva__posix_frame_state(size_t frame);
void kva__posix_frame_set(size_t frame, enum posix_frame_state state);

/* ---- tlb.c ------------------------------------------------------------- */

/* n pages from a page of the space on, in all slots.  Space locked. */
void kva__posix_tlb_flush(size_t page, size_t n);
void kva__posix_tlb_fini(void);

/* ---- meta.c ------------------------------------------------------------ */

int kva__posix_meta_init(void);
void kva__posix_meta_fini(void);

/* ---- owner.c ------------------------------------------------------------ */

void kva__posix_owner_fini(void);

/* ---- the others' parts of fini and reset ------------------------------- */

void kva__posix_cpu_forget(void);      /* cpu.c */
void kva__posix_lock_reset(void);      /* lock.c */
void kva__posix_interrupt_reset(void); /* interrupt.c */
void kva__posix_sleep_reset(void);     /* sleep.c */
void kva__posix_readers_reset(void);   /* readers.c */
void kva__posix_panic_reset(void);     /* panic.c */
void kva__posix_trap_reset(void);      /* trap.c */

#endif
