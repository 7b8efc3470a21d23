/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port to start from.  Copy it into your kernel, keep the functions of your
 * tier, and replace each body with what its comment says.  It links as it is,
 * at every tier, and does the right thing on a machine with one CPU, no
 * interrupts, no paging and PAGES pages of memory: enough to try the library
 * before the kernel has any of these.  port/port.h says what each hook must
 * do and when it is called.
 *
 * Tier 0 is all that a first boot needs: compile the library and this file
 * with -DKVA_TIER=0.
 */
#include "port/port.h"

/* ---- tier 0: panic, log, locks, pages ---------------------------------- */

/*
 * Print the line and stop the machine.  Tell the other CPUs to stop first if
 * there are any; do not take a lock that they may hold.
 */
void
kva_port_panic(const char *msg)
{
    kva_port_log(msg);
    for (;;) {
        __asm__ volatile("" ::: "memory"); /* yours: halt */
    }
}

/* Print the line and a newline.  Empty is fine. */
void
kva_port_log(const char *msg)
{
    (void)msg; /* yours: kprintf("%s\n", msg) */
}

/*
 * kva_lock_t has room for six words: put your spin lock in it, and the ipl,
 * since lock and unlock must know whether to mask interrupts.  If your lock is
 * larger, or should be inline, define KVA_OVERRIDE_PLATFORM (see
 * port/platform.h).
 */
enum {
    LOCK_HELD,
    LOCK_IPL
};

void
kva_port_lock_init(kva_lock_t *lock, const char *name, enum kva_ipl ipl,
                   unsigned rank)
{
    (void)name; /* for your lock statistics, if there are any */
    (void)rank; /* for your lock-order checker, if there is one */
    lock->word[LOCK_HELD] = 0;
    lock->word[LOCK_IPL] = (uintptr_t)ipl;
}

/*
 * From KVA_IPL_VM on, read the interrupt state, mask, and return what was
 * read; only then spin, or an interrupt could take the lock from under you.
 */
kva_irq_t
kva_port_lock(kva_lock_t *lock)
{
    kva_irq_t saved = 0;

    if (lock->word[LOCK_IPL] >= KVA_IPL_VM) {
        saved = 0; /* yours: irq_save() */
    }
    while (__atomic_exchange_n(&lock->word[LOCK_HELD], 1, __ATOMIC_ACQUIRE) !=
           0) {
        /* yours: pause */
    }
    return saved;
}

/* Open, then give the interrupt state back: what it was, not "on". */
void
kva_port_unlock(kva_lock_t *lock, kva_irq_t saved)
{
    __atomic_store_n(&lock->word[LOCK_HELD], 0, __ATOMIC_RELEASE);
    if (lock->word[LOCK_IPL] >= KVA_IPL_VM) {
        (void)saved; /* yours: irq_restore(saved) */
    }
}

/* Optional, see port/config.h: what debug builds ask to see whether the two
 * above do what they should. */
#if KVA_CONFIG_CONTEXT
unsigned
kva_port_context(const kva_lock_t *lock)
{
    /* yours: the owner is this CPU; interrupts are off */
    return lock->word[LOCK_HELD] != 0 ? KVA_CONTEXT_HELD : 0;
}
#endif

/* Optional, see port/config.h: a word in the structure of the task that runs;
 * NULL in an interrupt.  Here there is one task. */
#if KVA_TASK_MARK
unsigned *
kva_port_task_mark(void)
{
    static unsigned mark;

    return &mark;
}
#endif

/* Nothing to do unless your locks are kept in a list. */
void
kva_port_lock_fini(kva_lock_t *lock)
{
    (void)lock;
}

/*
 * Ask your page allocator for n frames in a row.  When it has no such run,
 * return KVA_ENOMEM at once: the library tries with fewer.  Without
 * KVA_PAGE_NOSLEEP the caller may sleep, with KVA_PAGE_RESERVE the last pages
 * may be given.  This one searches a static array, first fit.
 */
#define PAGES 64

static _Alignas(KVA_PAGE_SIZE) unsigned char memory[PAGES][KVA_PAGE_SIZE];
static bool in_use[PAGES];

int
kva_port_page_get(size_t n, unsigned flags, kva_pa_t *pa)
{
    size_t run = 0;

    (void)flags;
    for (size_t i = 0; i < PAGES; i++) {
        run = in_use[i] ? 0 : run + 1;
        if (run == n) {
            for (size_t k = i + 1 - n; k <= i; k++) {
                in_use[k] = true;
            }
            *pa = (uintptr_t)memory[i + 1 - n];
            return 0;
        }
    }
    return KVA_ENOMEM;
}

/* n may be less than was taken in one piece: runs come back in parts. */
void
kva_port_page_put(size_t n, kva_pa_t pa)
{
    size_t first = ((uintptr_t)pa - (uintptr_t)memory) >> KVA_PAGE_SHIFT;

    for (size_t i = first; i < first + n; i++) {
        in_use[i] = false;
    }
}

/* Optional: a run for a device, here with a look at one position after the
 * other. */
#if KVA_CONFIG_PAGE_CONTIG
static bool
run_serves(size_t at, size_t n, kva_pa_t align, kva_pa_t boundary)
{
    kva_pa_t first = (uintptr_t)memory[at];
    kva_pa_t last = first + ((kva_pa_t)n << KVA_PAGE_SHIFT) - 1;

    for (size_t i = at; i < at + n; i++) {
        if (in_use[i]) {
            return false;
        }
    }
    return (align == 0 || (first & (align - 1)) == 0) &&
           (boundary == 0 || ((first ^ last) & ~(boundary - 1)) == 0);
}

int
kva_port_page_contig(size_t n, kva_pa_t low, kva_pa_t high, kva_pa_t align,
                     kva_pa_t boundary, unsigned flags, kva_pa_t *pa)
{
    (void)flags;
    for (size_t at = 0; n <= PAGES && at <= PAGES - n; at++) {
        *pa = (uintptr_t)memory[at];
        if (*pa >= low && *pa + ((kva_pa_t)n << KVA_PAGE_SHIFT) - 1 <= high &&
            run_serves(at, n, align, boundary)) {
            for (size_t i = at; i < at + n; i++) {
                in_use[i] = true;
            }
            return 0;
        }
    }
    return KVA_ENOMEM;
}
#endif

/* Optional, see port/config.h: a word for each page of address space.  Best kept
 * with what the kernel has for each page already.  Here: for the first PAGES of
 * those that ever had an owner. */
#if KVA_SLABS_BY_OWNER
static struct {
    uintptr_t page;
    void *owner;
} owned[PAGES];

/* The entry of a page, or the first one in no use, or PAGES. */
static size_t
owned_find(uintptr_t page)
{
    size_t i = 0;

    while (i < PAGES && owned[i].page != page && owned[i].page != 0) {
        i++;
    }
    return i;
}

void *
kva_port_page_owner(uintptr_t va)
{
    size_t i = owned_find(va >> KVA_PAGE_SHIFT);

    return i < PAGES ? owned[i].owner : NULL;
}

/* All or nothing: make sure of the entries before the first owner is set. */
int
kva_port_page_owner_set(uintptr_t va, size_t n, void *owner)
{
    uintptr_t page = va >> KVA_PAGE_SHIFT;

    for (size_t k = 0; k < n && owner != NULL; k++) {
        size_t i = owned_find(page + k);

        if (i == PAGES) {
            return KVA_ENOMEM; /* entries without an owner stay for later */
        }
        owned[i].page = page + k;
    }
    for (size_t k = 0; k < n; k++) {
        size_t i = owned_find(page + k);

        if (i < PAGES) {
            owned[i].owner = owner;
        }
    }
    return 0;
}
#endif

/* ---- tier 1: CPU slots and the barrier --------------------------------- */
#if KVA_TIER >= 1

/* The number of CPUs that are or may come online. */
unsigned
kva_port_cpu_count(void)
{
    return 1;
}

/* Turn preemption off and say which CPU this is; and on again.  Interrupts
 * stay on.  On the hot path: make it inline (port/platform.h) when it works. */
unsigned
kva_port_cpu_enter(void)
{
    return 0; /* yours: preempt_disable(), cpu_id() */
}

void
kva_port_cpu_exit(unsigned cpu)
{
    (void)cpu; /* yours: preempt_enable() */
}

/*
 * Send an interrupt to all other CPUs that executes a full memory barrier, and
 * wait until all have.  With one CPU there is nobody to wait for.
 */
int
kva_port_barrier(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return 0; /* KVA_ENOTSUP if you have no cross-call */
}

void
kva_port_relax(void)
{
    __asm__ volatile("" ::: "memory"); /* yours: pause, or yield() */
}
#endif

/* ---- tier 2: kernel virtual address space ------------------------------ */
#if KVA_TIER >= 2

/*
 * In place of page tables: what is mapped where.  Yours walk and write the
 * real ones.
 */
static struct {
    uintptr_t va;
    kva_pa_t pa;
    bool valid;
} entry[PAGES];

static size_t
entry_find(uintptr_t va)
{
    size_t i = 0;

    while (i < PAGES && !(entry[i].valid && entry[i].va == va)) {
        i++;
    }
    return i;
}

/* A free entry, found like one that maps. */
static size_t
entry_free(void)
{
    size_t i = 0;

    while (i < PAGES && entry[i].valid) {
        i++;
    }
    return i;
}

/*
 * Enter n translations.  Get the pages for page tables before the first one
 * is written, so that KVA_ENOMEM leaves nothing behind, or take back what was
 * done, as here.  No flush: nothing was mapped there.
 */
int
kva_port_map(uintptr_t va, kva_pa_t pa, size_t n, unsigned prot)
{
    (void)prot; /* yours: KVA_PROT_READ, _WRITE, _EXEC */
    for (size_t i = 0; i < n; i++) {
        size_t e = entry_free();

        if (e == PAGES) {
            kva_port_unmap(va, i);
            return KVA_ENOMEM;
        }
        entry[e].va = va + (i << KVA_PAGE_SHIFT);
        entry[e].pa = pa + ((kva_pa_t)i << KVA_PAGE_SHIFT);
        entry[e].valid = true;
    }
    return 0;
}

/* Remove n translations and leave the TLBs alone. */
void
kva_port_unmap(uintptr_t va, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t e = entry_find(va + (i << KVA_PAGE_SHIFT));

        if (e < PAGES) {
            entry[e].valid = false;
        }
    }
}

/* Throw the range out of this CPU's TLB and all others'; above a few dozen
 * pages a full flush is cheaper.  Pages that were not mapped may be among
 * them. */
void
kva_port_flush(uintptr_t va, size_t n)
{
    (void)va;
    (void)n;
}

/* Other accesses for n pages; yours, as in kva_port_map. */
void
kva_port_protect(uintptr_t va, size_t n, unsigned prot)
{
    (void)va;
    (void)n;
    (void)prot;
}

/* Walk the tables: how many pages from va on lie in frames in a row. */
size_t
kva_port_translate(uintptr_t va, size_t n, kva_pa_t *pa)
{
    size_t found = 0;

    for (; found < n; found++) {
        size_t e = entry_find(va + (found << KVA_PAGE_SHIFT));

        if (e == PAGES) {
            break;
        }
        if (found == 0) {
            *pa = entry[e].pa;
        } else if (entry[e].pa != *pa + ((kva_pa_t)found << KVA_PAGE_SHIFT)) {
            break;
        }
    }
    return found;
}

/* Optional, see port/config.h: map the large pages at both ends of the range
 * page by page, if they reach out of it.  Here none are mapped. */
#if KVA_DIRECT_MAP
/* Optional: where all memory is mapped.  Here it is the array itself. */
bool
kva_port_direct(kva_pa_t pa, size_t n, uintptr_t *va)
{
    (void)n; /* yours: does the map reach that far */
    *va = (uintptr_t)pa;
    return true;
}

bool
kva_port_direct_pa(uintptr_t va, kva_pa_t *pa)
{
    *pa = va;
    return va - (uintptr_t)memory < sizeof(memory);
}
#endif

#if KVA_DEMOTE
int
kva_port_demote(uintptr_t va, size_t n)
{
    (void)va;
    (void)n;
    return 0; /* yours: KVA_ENOMEM if there is no page for the page table */
}
#endif

/*
 * One page that is mapped already: with a direct map, any frame at its place
 * there.  It must be zeroed.  It must not come from libkva.
 */
int
kva_port_meta_get(uintptr_t *va)
{
    kva_pa_t pa;
    int error = kva_port_page_get(1, KVA_PAGE_NOSLEEP, &pa);

    if (error == 0) {
        uintptr_t *word = (uintptr_t *)(uintptr_t)pa;

        for (size_t i = 0; i < KVA_PAGE_SIZE / sizeof(*word); i++) {
            word[i] = 0;
        }
        *va = (uintptr_t)pa;
    }
    return error;
}

void
kva_port_meta_put(uintptr_t va)
{
    kva_port_page_put(1, va);
}
#endif

/* ---- tier 3: sleep and time -------------------------------------------- */
#if KVA_TIER >= 3

/* True in a thread with interrupts and preemption on and no spin lock held.
 * False is always safe: then VM_SLEEP fails like VM_NOSLEEP. */
bool
kva_port_may_sleep(void)
{
    return false;
}

/*
 * Put the thread on the sleep queue of the channel, then unlock, then switch
 * away; in this order, or a wake in between is lost.  Lock again before
 * returning.  A condition variable or a wait queue does all of it.  Here
 * nobody may sleep, so a wait is over at once.
 */
int
kva_port_wait(const void *channel, kva_lock_t *lock, kva_irq_t *irq,
              uint64_t timeout_ns)
{
    (void)channel;
    (void)timeout_ns;
    kva_port_unlock(lock, *irq);
    *irq = kva_port_lock(lock);
    return KVA_EINTR;
}

/* Make all threads on the channel's queue runnable. */
void
kva_port_wake(const void *channel)
{
    (void)channel;
}

/* Read the machine's clock; here it ticks when it is read. */
uint64_t
kva_port_clock(void)
{
    static uint64_t ns;

    ns += 1000;
    return ns;
}

/* Optional, see port/config.h: wait for all readers of lock-free structures
 * that have begun.  With one CPU and no preemption there are none. */
#if KVA_READ_BARRIER
void
kva_port_read_barrier(void)
{
    /* yours: synchronize_rcu() */
}
#endif
#endif
