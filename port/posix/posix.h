/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host port, seen from the host's side: how a test, a fuzzer or the replay
 * sets the simulated machine up, turns its knobs and reads its counters.  The
 * library itself sees port/port.h alone.
 *
 * The machine: a reserved range of address space to which pages are attached
 * for real, frames that are numbers, CPU slots that threads own, interrupts
 * that are signals with a soft mask, and a clock that may be virtual.
 *
 * Functions return 0 or an error of port/types.h unless said otherwise.  Build
 * everything that includes this with -DKVA_OVERRIDE_PLATFORM -Iport/posix.
 */
#ifndef KVA_POSIX_H
#define KVA_POSIX_H

#include <setjmp.h>

#include "port/check.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the machine ------------------------------------------------------- */

/* The address space where the user does not say, in MiB.  Valgrind keeps books
 * of each 64 KiB and wants less. */
#ifndef KVA_POSIX_VA_MIB
#define KVA_POSIX_VA_MIB (KVA_WORD_64 ? 65536u : 512u)
#endif

struct kva_posix_config {
    size_t va_bytes;      /* address space; 0: KVA_POSIX_VA_MIB */
    size_t meta_bytes;    /* room for metadata pages; 0: 4 GiB, or 128 MiB */
    uintptr_t va_hint;    /* where to put it; 0: a fixed place if it is free */
    size_t page_limit;    /* most frames in use at once; 0: as many as fit */
    bool meta_counts;     /* of page_limit, which metadata pages are part of */
    size_t reserve_pages; /* the last of them, for KVA_PAGE_RESERVE only */
    size_t run_max;       /* longest contiguous run given out; 0: any */
    unsigned cpus;        /* slots, 1 to KVA_CPU_MAX; 0: 2 */
    bool huge_pages;      /* let Linux use huge pages (faster, less exact) */
    bool log_stderr;      /* print the library's log lines */
    bool no_membarrier;   /* kva_port_barrier answers KVA_ENOTSUP */
    bool relax_stays;     /* kva_port_relax keeps the processor: where what is
                             waited for never comes */
};

/*
 * Reserve the address space and start the machine; config NULL: all defaults.
 * KVA_EBUSY if it runs already, KVA_EINVAL for a bad value, KVA_ENOMEM if the
 * host refuses; kva_posix_last_error says why.  Locks, interrupts, panic and
 * the clock work without it; what deals in pages panics.
 */
int kva_posix_init(const struct kva_posix_config *config);

/* Unmap all of it and forget every setting.  No other thread may use it. */
void kva_posix_fini(void);

/* The address space, for kva_boot.  Its base is aligned to 4 MiB. */
uintptr_t kva_posix_va_base(void);
size_t kva_posix_va_bytes(void);

/*
 * Why the last call of this thread failed: a line without newline, "" if none
 * did.  "mprotect: the host's limit of 65530 mappings is reached", for example.
 */
const char *kva_posix_last_error(void);

/* Change page_limit and reserve_pages while running (page_limit 0: none). */
void kva_posix_limit_set(size_t page_limit, size_t reserve_pages);

/* Change run_max while running (0: any). */
void kva_posix_run_max_set(size_t pages);

/* From now on pages are booked, and have no memory: nothing may touch them.
 * For loads of which only the books are of interest; while nothing is mapped. */
void kva_posix_memory_off(bool off);

struct kva_posix_stats {
    size_t attached_pages; /* pages with memory in the address space */
    size_t attached_peak;
    size_t frames; /* frames in use, mapped or not */
    size_t frames_peak;
    size_t stale_pages; /* unmapped and not flushed yet */
    size_t large_pages; /* of attached_pages, those that large pages map */
    size_t meta_pages;
    size_t meta_peak;
    size_t waiters;          /* threads asleep in kva_port_wait */
    unsigned long page_gets; /* calls, failed ones included */
    unsigned long page_puts;
    unsigned long meta_gets;
    unsigned long meta_puts;
    unsigned long maps;
    unsigned long unmaps;
    unsigned long
        unmaps_soft; /* kept their access: the host was at its limit */
    unsigned long protects;
    unsigned long protects_soft; /* the same of kva_port_protect */
    unsigned long demotes;       /* large pages that came to be mapped singly */
    unsigned long flushes;
    unsigned long barriers;
    unsigned long read_barriers;
    unsigned long waits;
    unsigned long wakes;
    unsigned long logs;
};

void kva_posix_stats_get(struct kva_posix_stats *stats);

/* Forget the peaks and the counts of calls. */
void kva_posix_stats_reset(void);

/*
 * Resident bytes as Linux counts them (/proc/self/smaps), of the address space
 * and of the metadata room.  Either pointer may be NULL.
 */
int kva_posix_resident(size_t *va_bytes, size_t *meta_bytes);

/*
 * Somebody else hands out the machine's frames, whose addresses are known; NULL:
 * the port does.  Set before the first frame is given out.  What the hooks
 * promise is checked, limits and faults are as ever.  meta_get and meta_put may
 * be NULL, for the port's own room; without contig devices get nothing.
 */
struct kva_posix_supply {
    int (*get)(size_t n, unsigned flags, kva_pa_t *pa);
    void (*put)(size_t n, kva_pa_t pa);
    int (*meta_get)(uintptr_t *va);
    void (*meta_put)(uintptr_t va);
#if KVA_CONFIG_PAGE_CONTIG
    int (*contig)(size_t n, kva_pa_t low, kva_pa_t high, kva_pa_t align,
                  kva_pa_t boundary, unsigned flags, kva_pa_t *pa);
#endif
};
void kva_posix_supply_set(const struct kva_posix_supply *supply);
void kva_posix_frames(kva_pa_t *first, size_t *n);

/* ---- CPU slots --------------------------------------------------------- */

/*
 * A thread gets the lowest free slot at its first use and keeps it until it
 * exits.  A single-threaded driver that plays several CPUs names the slot it
 * works on: kva_posix_cpu_set gives up the one it had.  KVA_EBUSY: another
 * thread owns it; KVA_EINVAL: there is no such slot.
 */
#if KVA_TIER >= 1
int kva_posix_cpu_set(unsigned cpu);
void kva_posix_cpu_release(void);

/* Turn membarrier(2) off or on again. */
void kva_posix_barrier_enable(bool enable);
#endif

/* ---- TLBs -------------------------------------------------------------- */
#if KVA_TIER >= 2

/*
 * A simulated TLB for each CPU slot, which keeps every translation until
 * kva_port_flush.  What a test means to touch it asks for first, as the slot it
 * is on: OK, it may touch it; FAULT: nothing is mapped; STALE: this slot still
 * knows another frame there, or one where nothing is.  enable returns false if
 * the host has no memory.  Off from kva_posix_init on.
 */
enum kva_posix_access {
    KVA_POSIX_ACCESS_OK,
    KVA_POSIX_ACCESS_FAULT,
    KVA_POSIX_ACCESS_STALE
};
bool kva_posix_tlb_enable(bool enable);
enum kva_posix_access kva_posix_access(uintptr_t va);

/* A port without a flush: the call is counted, and TLBs stay as they are. */
void kva_posix_flush_remove(bool remove);
#endif

/* ---- context: interrupts and locks ------------------------------------- */

/*
 * Mask this thread's interrupts and restore what was.  Interrupts that come
 * meanwhile run at the restore that opens them.
 */
kva_irq_t kva_posix_irq_save(void);
void kva_posix_irq_restore(kva_irq_t saved);
bool kva_posix_irqs_enabled(void);
bool kva_posix_in_interrupt(void);

/*
 * What an interrupt does; NULL: nothing.  It arrives when kva_posix_interrupt
 * is called, or as the signal kva_posix_interrupt_signal() (SIGUSR1), which a
 * timer or another thread may send.
 */
void kva_posix_interrupt_set(void (*handler)(void *arg), void *arg);
void kva_posix_interrupt(void);
int kva_posix_interrupt_signal(void);

/* Locks that this thread holds; and how often it came to one that was held by
 * somebody else, ever. */
unsigned kva_posix_locks_held(void);
unsigned long kva_posix_lock_waits(void);

/*
 * Check the order of locks and the interrupt state at each lock and unlock;
 * on from the start when KVA_CONFIG_DEBUG is set.  Unlock must be given what
 * lock returned.  Unlock by a stranger and recursion are reported in any case.
 */
void kva_posix_lock_check(bool enable);

/* ---- page faults ------------------------------------------------------- */

/*
 * What is asked when an access to the machine's address space traps (SIGSEGV),
 * in the thread that made it: kva_fault, or NULL for nobody.  access is one of
 * KVA_PROT_*.  0: the access is made once more.  Anything else goes to denied,
 * which may leave by siglongjmp; if it returns or is NULL, and for all other
 * addresses, the signal does what it did before.
 * KVA_ENOTSUP where the port cannot tell what access it was.
 */
int
kva_posix_trap_set(int (*fn)(uintptr_t va, unsigned access),
                   void (*denied)(uintptr_t va, unsigned access, int error));

/* ---- sleep and the clock ----------------------------------------------- */
#if KVA_TIER >= 3

/* Threads asleep; and wake them all with KVA_EINTR.  Returns how many. */
size_t kva_posix_waiters(void);
size_t kva_posix_cancel_waits(void);

/* false: there are no threads yet, and nobody may sleep. */
void kva_posix_threads(bool there);

/*
 * Called by kva_port_wait when the caller is on its queue and its lock has
 * been released, before it sleeps: a test with one thread wakes it, or moves
 * the clock, from here.
 */
void kva_posix_wait_hook(void (*fn)(void *arg, const void *channel), void *arg);

/*
 * A virtual clock starts at 0 and moves only by kva_posix_clock_advance, which
 * lets the waits time out whose moment has come.
 */
void kva_posix_clock_virtual(bool enable);
void kva_posix_clock_advance(uint64_t ns);
#endif

/* ---- readers ----------------------------------------------------------- */
#if KVA_READ_BARRIER

/*
 * A read section, for kva_port_read_barrier: enter says which one it is.  The
 * barrier waits for those that were entered before it.  fn is called whenever
 * it finds one still there: a test with one thread leaves it from here.
 */
unsigned kva_posix_read_enter(void);
void kva_posix_read_exit(unsigned section);
void kva_posix_read_wait_hook(void (*fn)(void *arg), void *arg);
#endif

/* ---- faults ------------------------------------------------------------ */

/*
 * Every hook that may fail is a site with a name.  Tests add sites of their
 * own (for an import function, say).
 */
enum kva_posix_site {
    KVA_POSIX_PAGE_GET, /* "page_get": KVA_ENOMEM */
    KVA_POSIX_MAP,      /* "map": KVA_ENOMEM */
    KVA_POSIX_META_GET, /* "meta_get": KVA_ENOMEM */
    KVA_POSIX_WAIT,     /* "wait": KVA_EINTR */
    KVA_POSIX_BARRIER,  /* "barrier": KVA_ENOTSUP */
#if KVA_CONFIG_PAGE_CONTIG
    KVA_POSIX_PAGE_CONTIG, /* "page_contig": KVA_ENOMEM */
#endif
#if KVA_DEMOTE
    KVA_POSIX_DEMOTE, /* "demote": KVA_ENOMEM */
#endif
#if KVA_SLABS_BY_OWNER
    KVA_POSIX_OWNER, /* "page_owner": KVA_ENOMEM */
#endif
    KVA_POSIX_SITES, /* the first of the added ones */
    KVA_POSIX_ANY = -1
};

/* Let the nth hit from now (1: the next) fail: that one only, or all from it
 * on (sticky).  Each arming of a site replaces the one before. */
void kva_posix_fault_arm(int site, unsigned long nth, bool sticky);
void kva_posix_fault_disarm(int site); /* ANY: all, and ANY itself */

/* Hits and faults fired since the start or the last reset; ANY: all sites. */
unsigned long kva_posix_fault_hits(int site);
unsigned long kva_posix_fault_fired(int site);
void kva_posix_fault_reset(void); /* disarm, counts to 0, added ones kept */

/* How many sites there are; the name of one; add one (-1: no more room). */
int kva_posix_fault_sites(void);
const char *kva_posix_fault_name(int site);
int kva_posix_fault_add(const char *name);

/* Pass a site: true if it must fail now. */
bool kva_posix_fault(int site);

/* ---- a port that breaks its promises ------------------------------------ */

/*
 * What port.h promises, broken on purpose from now on: for tests of what finds
 * it (port/contract.c).  One at a time.
 */
enum kva_posix_breach {
    KVA_POSIX_KEEPS_ALL,
    KVA_POSIX_PAGE_TWICE,    /* page_get gives the last run once more */
    KVA_POSIX_PAGE_ODD,      /* page_get gives no page boundary */
    KVA_POSIX_MAP_HALF,      /* map maps the first half, and fails */
    KVA_POSIX_MAP_SHORT,     /* map leaves the last page out */
    KVA_POSIX_UNMAP_SHORT,   /* unmap leaves the last page mapped */
    KVA_POSIX_DEMOTE_LOSES,  /* demote leaves the first page unmapped */
    KVA_POSIX_META_ODD,      /* meta_get gives no page boundary */
    KVA_POSIX_META_DIRTY,    /* meta_get gives what is not all zeros */
    KVA_POSIX_CPUS_MANY,     /* cpu_count is above KVA_CPU_MAX */
    KVA_POSIX_CPUS_NONE,     /* cpu_count is 0 */
    KVA_POSIX_LOCK_NOT,      /* lock comes back without the lock */
    KVA_POSIX_LOCK_OPENS,    /* lock opens interrupts */
    KVA_POSIX_UNLOCK_NOT,    /* unlock keeps the lock */
    KVA_POSIX_UNLOCK_OPENS,  /* unlock opens interrupts, whatever was */
    KVA_POSIX_WAIT_UNLOCKED, /* wait comes back without the lock */
    KVA_POSIX_WAIT_ERROR     /* wait returns another error */
};
void kva_posix_break(enum kva_posix_breach what);

/* ---- panic and log ----------------------------------------------------- */

/*
 * Catch a panic of this thread:
 *
 *     struct kva_posix_catch c;
 *
 *     if (KVA_POSIX_TRY(&c)) {
 *         vmem_free(vm, addr, size);
 *         kva_posix_catch_end(&c);
 *     } else {
 *         ... c.message, c.locks ...
 *     }
 *
 * They nest.  Locks taken since KVA_POSIX_TRY are broken open and counted in
 * c.locks (the library must hold none when it reports a misuse); the soft
 * interrupt mask is as it was at KVA_POSIX_TRY.  Without a catch a panic prints
 * "panic: MESSAGE" on stderr and aborts.  Variables that change between try
 * and catch must be volatile.
 */
struct kva_posix_catch {
    sigjmp_buf env;
    char message[KVA_MESSAGE_MAX];
    char lock[32];  /* the innermost lock held at the panic, "" if none */
    unsigned locks; /* locks held at the panic and not at the try */
    struct kva_posix_catch *outer;
    unsigned held_before;
    bool masked_before;
    bool interrupt_before;
};

#define KVA_POSIX_TRY(c) (kva_posix_catch_begin(c), sigsetjmp((c)->env, 1) == 0)

void kva_posix_catch_begin(struct kva_posix_catch *c);
void kva_posix_catch_end(struct kva_posix_catch *c);
/* End all of this thread's: from now on a panic aborts. */
void kva_posix_catch_forget(void);

/*
 * Called with each line that the library logs; NULL: none.  The last line is
 * kept in any case ("" if there was none).
 */
void kva_posix_log_set(void (*fn)(void *arg, const char *msg), void *arg);
const char *kva_posix_log_last(void);

/* ---- interleavings ----------------------------------------------------- */

/*
 * Called at the entry of each hook with its name ("lock", "map", ...), before
 * it does anything, and while a lock spins; NULL: none.  Not in cpu_enter and
 * cpu_exit, which are inline.
 */
void kva_posix_yield_set(void (*fn)(void *arg, const char *hook), void *arg);

/*
 * All seams back to their defaults: faults, yield, hooks, clock, interrupts,
 * log, limits of init, and this thread's held locks.  Pages stay.
 */
void kva_posix_reset(void);

#ifdef __cplusplus
}
#endif

#endif
