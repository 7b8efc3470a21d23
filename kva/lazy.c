/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lazy unmapping, and quarantine of addresses.
 *
 * To unmap a page is a store; to make sure that no TLB knows it any more takes
 * an interrupt on every CPU.  So wired ranges that are freed stay mapped in a
 * queue, and one flush is for all of them:
 *
 *      free ---> queue ---------------> flush ---> frames to the port
 *                  when it has 4 MiB,     |
 *                  or its first range     +---> addresses free
 *                  is 100 ms old,         |
 *                  or somebody is         +---> quarantine ---> addresses free
 *                  in want                        when N ranges came behind it,
 *                                                 or M bytes are in it, or
 *                                                 somebody is in want
 *
 *  L1  Neither the addresses of a range nor its frames are anybody's between
 *      its free and the flush.
 *  L2  When a free returns, less than the bound is in the queue, and nothing
 *      older than the bound in age; but for what another CPU is at work on.
 *  L3  Freeing takes no memory: the record of a range is its boundary tag, in
 *      heap_va_arena, where it stays allocated meanwhile (vmem/defer.h).
 *
 * Linux flushes vmalloc's freed areas in batches bounded in pages, and gives
 * their pages back before; here those wait too, so that a stray access to what
 * was freed never meets what somebody else keeps there now.
 *
 * Whoever finds something wanting flushes: an import of wired pages that fails
 * (for frames, for the limit, for addresses), and a request to the arenas below
 * that fails, if its context allows to unmap.  If another CPU holds a batch in
 * its hands then, it is waited for, for a while.
 *
 * In quarantine a range has no pages: whoever uses it after it was freed
 * faults, for as long as it lies there.
 */
#include "kva/kva_impl.h"

#include "vmem/defer.h"

#if KVA_TIER >= 2

/*
 * What an arena's users hold back at the most: 4 MiB, a batch worth an
 * interrupt on all CPUs (some hundred frees of common sizes), and no more than
 * a 64th of the addresses, so that a small machine does not live off
 * exhaustion.  Age: what a person does not notice and a timer easily keeps.
 */
#define BYTES_DEFAULT ((size_t)4 << 20)
#define VA_SHIFT 6u
#define MS_DEFAULT 100u
#define NS_PER_MS ((uint64_t)1000000)

/* Polls for a batch in another's hands: some flushes' worth of time. */
#define POLLS 10000u

static struct {
    size_t limit;                  /* (c) bytes in the queue */
    uint64_t age;                  /* (c) of the first in it, ns */
    size_t kept_count, kept_bytes; /* (c) quarantine, 0: none */
    struct kva__deferred queue;    /* (a) of heap_va_arena */
    struct kva__deferred kept;     /* (a) in quarantine */
    kva_lock_t lock;
    size_t flushes; /* (z) of batches */
    size_t ranges;  /* (z) that those were for */
    size_t working; /* (z) batches in somebody's hands */
} lazy;

void
kva__lazy_init(const struct kva_boot *kb)
{
    size_t limit = kb->va_bytes >> VA_SHIFT;

    kva_port_lock_init(&lazy.lock, "lazy", KVA_IPL_VM, KVA_RANK_META);
    lazy.queue = (struct kva__deferred){ NULL, NULL, 0, 0, 0 };
    lazy.kept = lazy.queue;
    lazy.flushes = 0;
    lazy.ranges = 0;
    lazy.working = 0;
    limit = limit < BYTES_DEFAULT ? limit : BYTES_DEFAULT;
    lazy.limit = kb->lazy_bytes != 0 ? kb->lazy_bytes : limit;
    lazy.age =
        NS_PER_MS * (uint64_t)(kb->lazy_ms != 0 ? kb->lazy_ms : MS_DEFAULT);
    lazy.kept_count = kb->quarantine_frees;
    lazy.kept_bytes = kb->quarantine_bytes;
    if (lazy.kept_count == 0 && lazy.kept_bytes != 0) {
        lazy.kept_count = SIZE_MAX;
    } else if (lazy.kept_bytes == 0 && lazy.kept_count != 0) {
        lazy.kept_bytes = SIZE_MAX;
    }
}

/* Not in kva_boot_simple's mode, nor while boot fails. */
static bool
is_on(void)
{
    return kva__mode == KVA_MODE_VA && kva_heap_va_arena != NULL;
}

/* ---- time --------------------------------------------------------------- */

/* Without a clock nothing gets old, and a tick flushes. */
static uint64_t
now(void)
{
#if KVA_TIER >= 3
    return kva_port_clock();
#else
    return UINT64_MAX;
#endif
}

/* What came before this moment is too old; 0: nothing is. */
static uint64_t
too_old(uint64_t at)
{
#if KVA_TIER >= 3
    return at >= lazy.age ? at - lazy.age + 1 : 0;
#else
    (void)at;
    return 0;
#endif
}

/* ---- quarantine --------------------------------------------------------- */

/* Until it has no more than so much. */
static size_t
release_down_to(size_t count, size_t bytes)
{
    struct kva_vmem_btag *bt;
    uintptr_t addr;
    size_t size, done = 0;

    while ((bt = kva__vmem_deferred_pop(kva_heap_va_arena, &lazy.kept, count,
                                        bytes)) != NULL) {
        (void)kva__vmem_deferred_range(kva_heap_va_arena, bt, &addr, &size);
        done += size;
        kva__vmem_deferred_end(kva_heap_va_arena, bt);
    }
    return done;
}

/* ---- flushing ----------------------------------------------------------- */

static void
work_begin(void)
{
    kva_irq_t irq;

    irq = kva_port_lock(&lazy.lock);
    __atomic_store_n(&lazy.working, lazy.working + 1, __ATOMIC_RELAXED);
    kva_port_unlock(&lazy.lock, irq);
}

static void
work_end(size_t flushes, size_t ranges)
{
    kva_irq_t irq;

    irq = kva_port_lock(&lazy.lock);
    lazy.flushes += flushes;
    lazy.ranges += ranges;
    __atomic_store_n(&lazy.working, lazy.working - 1, __ATOMIC_RELEASE);
    kva_port_unlock(&lazy.lock, irq);
}

/* The pages off a batch; how many flushes that took. */
static size_t
unmap_batch(const struct kva__deferred *batch)
{
    const struct kva_vmem_btag *bt = batch->first;
    struct kva__unmap u;
    uintptr_t addr;
    size_t size;

    kva__unmap_begin(&u);
    while (bt != NULL) {
        bt = kva__vmem_deferred_range(kva_heap_va_arena, bt, &addr, &size);
        kva__unmap_add(&u, addr, size >> KVA_PAGE_SHIFT);
    }
    kva__unmap_end(&u);
    return u.flushes;
}

/* No TLB knows it any more: its addresses, in the order in which they came. */
static void
release_batch(const struct kva__deferred *batch)
{
    struct kva_vmem_btag *bt = batch->first, *next;
    uintptr_t addr;
    size_t size;

    for (; bt != NULL; bt = next) {
        next = kva__vmem_deferred_range(kva_heap_va_arena, bt, &addr, &size);
        if (lazy.kept_count != 0) {
            kva__vmem_deferred_keep(kva_heap_va_arena, &lazy.kept, bt);
            (void)release_down_to(lazy.kept_count, lazy.kept_bytes);
        } else {
            kva__vmem_deferred_end(kva_heap_va_arena, bt);
        }
    }
}

/*
 * What is in the queue, if it has so many bytes or something so old; returns
 * bytes.  Accounts are settled before the first range is free, which wakes who
 * waits for the limit; at the end whoever waits for frames.
 */
static size_t
flush_queue(size_t bytes, uint64_t before)
{
    struct kva__deferred batch;
    size_t flushes;

    work_begin();
    if (!kva__vmem_deferred_take(kva_heap_va_arena, &lazy.queue, bytes, before,
                                 &batch)) {
        work_end(0, 0);
        return 0;
    }
    flushes = unmap_batch(&batch);
    kva__wire_unaccount(batch.bytes);
    release_batch(&batch);
    work_end(flushes, batch.count);
    kva__wait_released(kva_kmem_arena);
    return batch.bytes;
}

void
kva__lazy_free(uintptr_t va, size_t size, const char *func)
{
    uint64_t at = now();

    kva__vmem_defer(kva_heap_va_arena, &lazy.queue, va, size, at, func);
    (void)flush_queue(lazy.limit, too_old(at));
}

/* Others' batches come to an end; but not for ever, as they may be those of
 * whom the caller keeps from running. */
static void
wait_for_others(void)
{
#if KVA_TIER >= 3
    for (unsigned i = 0; i < POLLS && kva_port_may_sleep() &&
                         __atomic_load_n(&lazy.working, __ATOMIC_ACQUIRE) != 0;
         i++) {
        kva_port_relax();
    }
#endif
}

bool
kva__lazy_press(void)
{
    bool others = __atomic_load_n(&lazy.working, __ATOMIC_RELAXED) != 0;
    size_t done;

    if (!is_on()) {
        return false;
    }
    done = flush_queue(0, 0);
    done += release_down_to(0, 0);
    if (others) {
        wait_for_others();
    }
    return others || done != 0;
}

size_t
kva_unmap_flush(void)
{
    return is_on() ? flush_queue(0, 0) : 0;
}

size_t
kva_unmap_tick(void)
{
    return !is_on() ? 0
                    : flush_queue(KVA_TIER >= 3 ? SIZE_MAX : 0, too_old(now()));
}

size_t
kva__lazy_settle(bool now)
{
    if (now) {
        (void)flush_queue(0, 0);
    }
    return kva__wire_gone();
}

void
kva__lazy_stat(struct kva_stat *st)
{
    struct kva__deferred list;
    kva_irq_t irq;

    if (!is_on()) {
        return;
    }
    list = kva__vmem_deferred_stat(kva_heap_va_arena, &lazy.queue);
    st->lazy_ranges = list.count;
    st->lazy_bytes = list.bytes;
    list = kva__vmem_deferred_stat(kva_heap_va_arena, &lazy.kept);
    st->quarantine_ranges = list.count;
    st->quarantine_bytes = list.bytes;
    irq = kva_port_lock(&lazy.lock);
    st->lazy_flushes = lazy.flushes;
    st->lazy_flushed = lazy.ranges;
    kva_port_unlock(&lazy.lock, irq);
}

#else /* no addresses that anything would be unmapped from */

bool
kva__lazy_press(void)
{
    return false;
}

size_t
kva__lazy_settle(bool now)
{
    (void)now;
    return 0;
}

size_t
kva_unmap_flush(void)
{
    return 0;
}

size_t
kva_unmap_tick(void)
{
    return 0;
}

void
kva__lazy_init(const struct kva_boot *kb)
{
    (void)kb;
}

void
kva__lazy_stat(struct kva_stat *st)
{
    (void)st;
}

#endif
