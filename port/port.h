/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * port.h: what a kernel supplies.  Plain functions, resolved at link time: a
 * missing one is named by the linker.  They come in tiers (KVA_TIER); a
 * kernel supplies its tier and those below, and needs no stub for the rest.
 *
 *   0  panic, log, locks, pages               bring-up, identity-mapped kernels
 *   1  CPU slots, asymmetric barrier          per-CPU caches on SMP
 *   2  map, unmap, flush, translate, meta     kernel virtual address space
 *   3  may-sleep, wait, wake, clock           VM_SLEEP, the reclaim daemon
 *      (read barrier)                         PR_PSERIALIZE, if there is one
 *      (demote, at tiers 2 and 3)             large pages, if it maps with them
 *      (contiguous frames, at every tier)   devices; if wanted
 *      (direct map, from tier 2 on)          if there is one
 *      (page owner, at every tier)            free without a size, if wanted
 *      (task mark, at every tier)             a task entitled to the reserves
 *
 * Unless a hook says otherwise: it may be called in any context in which the
 * library itself is called, with library locks held, must not call back into
 * the library, and must not sleep.  Panic and log may be called at any time.
 *
 * Addresses are byte addresses, sizes in pages are named n.
 */
#ifndef KVA_PORT_PORT_H
#define KVA_PORT_PORT_H

#include "port/platform.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- tier 0 ---------------------------------------------------------- */

/*
 * Stop the machine; must not return.  msg is a finished line without newline.
 * Called with no library lock held when it reports a misuse by the caller.
 *
 *     void kva_port_panic(const char *msg) { kprintf("%s\n", msg); halt(); }
 */
_Noreturn void kva_port_panic(const char *msg);

/*
 * Print a finished line (no newline in it).  May do nothing.
 *
 *     void kva_port_log(const char *msg) { kprintf("kva: %s\n", msg); }
 */
void kva_port_log(const char *msg);

/*
 * Make a lock.  With ipl at KVA_IPL_VM or above, lock must save and mask
 * interrupts and unlock must restore what lock returned: never enable what the
 * caller had off.  With KVA_IPL_NONE interrupts are left alone.  rank orders
 * locks (a lock may be taken only while all held ones have a smaller rank, or
 * the same rank for arenas stacked on each other); a port may check it or
 * ignore it.  name is a string constant.
 *
 *     kva_irq_t kva_port_lock(kva_lock_t *l)
 *     { kva_irq_t s = l->ipl ? irq_save() : 0; spin(l); return s; }
 */
void kva_port_lock_init(kva_lock_t *lock, const char *name, enum kva_ipl ipl,
                        unsigned rank);
kva_irq_t kva_port_lock(kva_lock_t *lock);
void kva_port_unlock(kva_lock_t *lock, kva_irq_t saved);
void kva_port_lock_fini(kva_lock_t *lock);

/*
 * Take n physically contiguous page frames; *pa is the address of the first.
 * Returns 0 or KVA_ENOMEM, whoever asks: no quota of a task is minded here.  The
 * library halves n and tries again when a run of that length is not to be had.
 * A run may be given back in parts.  flags: KVA_PAGE_*.  At tiers 0 and 1 memory
 * is identity mapped: the frame at pa is used at address pa.  Called with no
 * lock of the library's held but, for metadata, those of arenas and above; from
 * interrupts for arenas that are used there.
 * With KVA_PAGE_LARGE n is a multiple of KVA_LARGE_PAGES, and the run is to be
 * mapped at addresses that are aligned to KVA_LARGE_PAGE_SIZE: give frames that
 * are aligned to it as well if there are any, so that kva_port_map can take
 * large pages.  Any others will do.
 *
 * With KVA_PAGE_ZERO, which comes with tier 2 and one frame at a time, the frame
 * must read as zeros once it is mapped: zero it where the kernel can see it.
 *
 *     int kva_port_page_get(size_t n, unsigned flags, kva_pa_t *pa)
 *     { return (*pa = frames_alloc_run(n)) != 0 ? 0 : KVA_ENOMEM; }
 */
#define KVA_PAGE_NOSLEEP 0x1u /* the caller cannot wait */
#define KVA_PAGE_RESERVE 0x2u /* may dip into the kernel's emergency pages */
#define KVA_PAGE_ZERO 0x4u    /* for pageable memory: it must be zeroed */
#define KVA_PAGE_LARGE 0x8u   /* aligned to a large page, if it can be */
int kva_port_page_get(size_t n, unsigned flags, kva_pa_t *pa);
void kva_port_page_put(size_t n, kva_pa_t pa);

#if KVA_CONFIG_PAGE_CONTIG
/*
 * The same for a device: all of the n frames within [low, high], the first at a
 * multiple of align (0: any), and not across a multiple of boundary (0: none),
 * all in bytes, powers of two.  KVA_EINVAL if no frames could ever be so.  They
 * go back by kva_port_page_put.  Optional: without KVA_CONFIG_PAGE_CONTIG it is
 * not referred to.  No lock held.  kva_pages_contig of port/pages does it.
 */
int kva_port_page_contig(size_t n, kva_pa_t low, kva_pa_t high, kva_pa_t align,
                         kva_pa_t boundary, unsigned flags, kva_pa_t *pa);
#endif

#if KVA_SLABS_BY_OWNER
/*
 * A word for each page of address space, for kernels that keep something for
 * each page anyway.  Optional: without KVA_CONFIG_SLAB_LOOKUP that asks for it
 * it is not referred to.
 *
 * What was last set for the page that va is in, NULL if nothing ever was.  Any
 * address may be asked for, mapped or not.  It takes no lock, or the hits of
 * put and free have one; a port may have it inline: in kva_platform.h, with
 * KVA_PAGE_OWNER_INLINE defined (port/platform.h).
 *
 *     void *kva_port_page_owner(uintptr_t va)
 *     { struct page *p = va_to_page(va); return p != NULL ? p->owner : NULL; }
 */
#ifndef KVA_PAGE_OWNER_INLINE
void *kva_port_page_owner(uintptr_t va);
#endif

/*
 * Set it for the n pages at va, which is the start of a page; NULL: nobody's
 * any more.  Everybody sees it who is handed an address of these pages later.
 * Returns 0, or KVA_ENOMEM with nothing changed.  NULL never fails, nor another
 * owner for pages that all have one.  Not called twice at once for a page.
 *
 *     int kva_port_page_owner_set(uintptr_t va, size_t n, void *owner)
 *     { while (n-- > 0) { va_to_page(va)->owner = owner; va += PAGE_SIZE; }
 *       return 0; }
 */
int kva_port_page_owner_set(uintptr_t va, size_t n, void *owner);
#endif

#if KVA_TASK_MARK
/*
 * A word in the structure of the current task, 0 when the task is made; nobody
 * but the task itself looks at it.  NULL: there is no task, as in an interrupt,
 * which has no part in what the task that it interrupts may do.  Optional:
 * without KVA_CONFIG_TASK_MARK it is not referred to.  Asked on slow paths only,
 * in any context.
 *
 *     unsigned *kva_port_task_mark(void)
 *     { return in_interrupt() ? NULL : &current->kva_mark; }
 */
unsigned *kva_port_task_mark(void);
#endif

/* ---- tier 1 ---------------------------------------------------------- */
#if KVA_TIER >= 1

/*
 * How many CPU slots there are, 1 to KVA_CPU_MAX.  Asked at vmem_bootstrap and
 * kva_boot, before there are threads; CPUs may come up later.
 *
 *     unsigned kva_port_cpu_count(void) { return acpi_cpus; }
 */
unsigned kva_port_cpu_count(void);

/*
 * cpu_enter pins the caller to its CPU (preemption off) and returns the slot's
 * number below cpu_count, or KVA_CPU_NONE if the caller has none of its own.
 * cpu_exit unpins.  Declared in platform.h, where they may be inline.  In any
 * context, interrupts included; they nest.
 *
 *     unsigned kva_port_cpu_enter(void) { preempt_off(); return cpu_id(); }
 *     void kva_port_cpu_exit(unsigned cpu) { preempt_on(); }
 */

/*
 * Asymmetric barrier: when it returns, every other CPU has executed a full
 * memory barrier since the call (an IPI to all; membarrier(2) on Linux).
 * Called with no lock held and interrupts on.  Returns 0, or KVA_ENOTSUP if
 * there is no such thing: then only a slot's owner ever empties it.
 *
 *     int kva_port_barrier(void) { ipi_all_and_wait(nop); return 0; }
 */
int kva_port_barrier(void);

/*
 * Let others run for a moment while the caller polls.  No lock held.
 *
 *     void kva_port_relax(void) { __builtin_ia32_pause(); }
 */
void kva_port_relax(void);
#endif

/* ---- tier 2 ---------------------------------------------------------- */
#if KVA_TIER >= 2

#define KVA_PROT_READ 0x1u
#define KVA_PROT_WRITE 0x2u
#define KVA_PROT_EXEC 0x4u

/*
 * Map the n contiguous frames at pa to va.  All or nothing: on KVA_ENOMEM (no
 * page for a page table, or the host has no more mappings) nothing is mapped.
 * The range was not mapped before.  No flush follows.  No lock held.
 * It may use large pages where addresses and frames allow: what it maps in one
 * call goes in one piece, or see kva_port_demote.
 *
 *     int kva_port_map(uintptr_t va, kva_pa_t pa, size_t n, unsigned prot)
 *     { return pt_reserve(va, n) ? pt_fill(va, pa, n, prot), 0 : KVA_ENOMEM; }
 */
int kva_port_map(uintptr_t va, kva_pa_t pa, size_t n, unsigned prot);

/*
 * Remove the translations of the n pages at va.  Stale ones may stay in TLBs
 * until kva_port_flush, which is called once for a batch; the frames are given
 * back after it.  The batch of what was freed lately (kva/lazy.c) lies here and
 * there in the n pages at va, and what is mapped between stays: if n is large,
 * flush all.  Neither can fail.  No lock held.
 *
 *     void kva_port_unmap(uintptr_t va, size_t n) { pt_clear(va, n); }
 *     void kva_port_flush(uintptr_t va, size_t n) { tlb_shootdown(va, n); }
 */
void kva_port_unmap(uintptr_t va, size_t n);
void kva_port_flush(uintptr_t va, size_t n);

/*
 * Change what accesses the n pages at va allow; prot 0: none, and they stay
 * mapped.  All are mapped, each by a call of kva_port_map of its own, so that
 * no larger translation has to be cut; hence it cannot fail.  The old accesses
 * may stay in TLBs until kva_port_flush, which follows when one was taken away.
 * Called for pageable memory alone.  No lock held.
 *
 *     void kva_port_protect(uintptr_t va, size_t n, unsigned prot)
 *     { for (; n-- > 0; va += PAGE_SIZE) { pt_protect(va, prot); } }
 */
void kva_port_protect(uintptr_t va, size_t n, unsigned prot);

/*
 * What is mapped at va: sets *pa and returns how many pages from there on (at
 * most n) lie in contiguous frames; 0 if va is not mapped.  No lock held.  One
 * page at a time will do: return 1.  But of a large page all that is asked for,
 * since what this returns is unmapped in one call.
 *
 *     size_t kva_port_translate(uintptr_t va, size_t n, kva_pa_t *pa)
 *     { return (*pa = pt_lookup(va)) != 0; }
 */
size_t kva_port_translate(uintptr_t va, size_t n, kva_pa_t *pa);

#if KVA_DIRECT_MAP
/*
 * Where the n frames at pa are mapped for good, readable and writable, in a row:
 * sets *va; false: nowhere, or not all of them.  kva_port_direct_pa is the way
 * back: the frame behind va, which may be any address; false: va is not in that
 * map.  Optional: without KVA_CONFIG_DIRECT_MAP they are not referred to.  In
 * any context.
 *
 *     bool kva_port_direct(kva_pa_t pa, size_t n, uintptr_t *va)
 *     { *va = DIRECT_MAP + pa; return pa + n * PAGE_SIZE <= DIRECT_BYTES; }
 *     bool kva_port_direct_pa(uintptr_t va, kva_pa_t *pa)
 *     { *pa = va - DIRECT_MAP; return *pa < DIRECT_BYTES; }
 */
bool kva_port_direct(kva_pa_t pa, size_t n, uintptr_t *va);
bool kva_port_direct_pa(uintptr_t va, kva_pa_t *pa);
#endif

#if KVA_DEMOTE
/*
 * The n pages at va are to be unmapped alone, without all that was mapped with
 * them: where a large page lies partly in the range, which is so at its ends at
 * most, map it page by page, to the same frames.  Who holds the rest uses it
 * meanwhile.  Returns 0, or an error with nothing changed (no page for a page
 * table, or a machine that cannot change the size under a page in use): then
 * the range stays mapped.  Optional: without KVA_CONFIG_DEMOTE it is not
 * referred to, for a port that maps no large pages or sets a page for the page
 * table aside with each, and demotes in kva_port_unmap.  No lock held.
 *
 *     int kva_port_demote(uintptr_t va, size_t n)
 *     { return pt_split(va) && pt_split(va + n * PAGE_SIZE) ? 0 : KVA_ENOMEM; }
 */
int kva_port_demote(uintptr_t va, size_t n);
#endif

/*
 * One mapped, zeroed page for the library's own bookkeeping (tags, magazines,
 * slab headers), aligned to its size.  It must not come from the library.
 * Kernels with a direct map return the page there; others keep a small window.
 * Called with locks of arenas and above held, and from interrupts.
 *
 *     int kva_port_meta_get(uintptr_t *va)
 *     { kva_pa_t pa = frame_alloc_zeroed();
 *       *va = DIRECT_MAP + pa; return pa != 0 ? 0 : KVA_ENOMEM; }
 */
int kva_port_meta_get(uintptr_t *va);
void kva_port_meta_put(uintptr_t va);
#endif

/* ---- tier 3 ---------------------------------------------------------- */
#if KVA_TIER >= 3

/*
 * True if the caller may sleep now: a thread, no interrupt, no spin lock held.
 *
 *     bool kva_port_may_sleep(void) { return current && !preempt_count(); }
 */
bool kva_port_may_sleep(void);

/*
 * Sleep on channel.  The lock is held with state *irq; it is released while
 * asleep and held again on return, with *irq renewed.  A wake between the
 * release and the sleep must not be lost.  timeout_ns 0: no timeout.  Returns
 * 0, KVA_ETIMEDOUT, or KVA_EINTR if the wait was cancelled.  wake is called
 * with that lock held, maybe from an interrupt; it wakes all who wait on
 * channel.
 *
 *     void kva_port_wake(const void *channel) { wakeup(channel); }
 */
int kva_port_wait(const void *channel, kva_lock_t *lock, kva_irq_t *irq,
                  uint64_t timeout_ns);
void kva_port_wake(const void *channel);

/*
 * Nanoseconds since some fixed moment; never goes back.  In any context.
 *
 *     uint64_t kva_port_clock(void) { return ticks * NS_PER_TICK; }
 */
uint64_t kva_port_clock(void);

#if KVA_READ_BARRIER
/*
 * Wait until every reader has left that was in a read section when the call
 * began: a section in which a thread may look at an object that somebody else
 * puts back meanwhile.  Optional: without KVA_CONFIG_READ_BARRIER it is not
 * referred to.  Sleeps; called in thread context with no lock held.
 *
 *     void kva_port_read_barrier(void) { pserialize_perform(psz); }
 */
void kva_port_read_barrier(void);
#endif
#endif

/* ---- for debugging, at any tier -------------------------------------- */
#if KVA_CONFIG_CONTEXT

/*
 * Does the caller hold the lock, and are interrupts masked on this CPU?  Asked
 * in debug builds only (port/contract.c).  In any context.
 *
 *     unsigned kva_port_context(const kva_lock_t *l)
 *     { return (l->owner == cpu_id() ? KVA_CONTEXT_HELD : 0) |
 *              (irqs_off() ? KVA_CONTEXT_MASKED : 0); }
 */
#define KVA_CONTEXT_HELD 0x1u
#define KVA_CONTEXT_MASKED 0x2u
unsigned kva_port_context(const kva_lock_t *lock);
#endif

#if KVA_CONFIG_STACK

/*
 * Return addresses on the caller's stack, the innermost first, at most n;
 * returns how many.  The first ones are the library's own.  In any context.
 *
 *     size_t kva_port_stack(uintptr_t *pc, size_t n)
 *     { for (i = 0, fp = __builtin_frame_address(0);
 *            i < n && on_kernel_stack(fp); fp = fp->next) {
 *           pc[i++] = fp->return_address;
 *       }
 *       return i; }
 */
size_t kva_port_stack(uintptr_t *pc, size_t n);
#endif

#ifdef __cplusplus
}
#endif

#endif
