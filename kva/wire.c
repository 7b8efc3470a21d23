/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Wiring: pages are attached when an arena imports a span, and detached when
 * the span goes back whole.  Nothing above kmem_arena knows of pages.
 *
 * Attaching takes frames in runs as long as the port has them, halving what it
 * asks for on refusal (as Nanos' vmem heap does); all or nothing: when a later
 * run cannot be had or mapped, the earlier ones are detached again.
 *
 * Large pages: a range that has room for one begins at such a boundary, if such
 * addresses are to be had, and its runs are whole large pages as far as they
 * go.  Most are the 2 MiB that the quantum caches take at a time, once a large
 * page is an eighth of what they hold.  A span goes back whole, and large pages
 * with it.  Only a drain takes parts; then the port demotes what lies across
 * the ends before anything is changed (kva__wire_split), and if it cannot the
 * part stays.
 *
 * Detaching: what is freed waits for a flush that many share (lazy.c); what
 * must go now is unmapped and flushed at once (unmap.c).
 *
 * Addresses come from heap_va_arena past its quantum caches, so that a span can
 * go back in parts: a tag for each, and whoever wires a page here and there
 * needs few spans (vmem/qcache.c).
 */
#include "kva/kva_impl.h"
#include "reclaim/pagedaemon.h"
#include "vmem/reserve.h"

#define LARGE_PAGES (KVA__LARGE >> KVA_PAGE_SHIFT)

static struct {
    kva_lock_t lock;
    size_t bytes;       /* (w) attached */
    size_t gone;        /* (w) ever detached; may wrap */
    size_t max;         /* (w) most there ever was */
    size_t limit;       /* (c) 0: none */
    size_t reserve;     /* (w) bytes of it that only the entitled get */
    bool started;       /* (c) from kva_start on */
    unsigned importing; /* (w) attempts under way */
    bool crowded;       /* (w) one failed beside another */
} wired;

/* For everybody. */
static size_t
wire_limit(void)
{
    return wired.limit - __atomic_load_n(&wired.reserve, __ATOMIC_RELAXED);
}

size_t
kva__wire_gone(void)
{
    return __atomic_load_n(&wired.gone, __ATOMIC_RELAXED);
}

static const struct kva_supply wired_supply = { .used = kva__wire_bytes,
                                                .limit = wire_limit,
                                                .released = kva__wire_gone };

/* While a pass is under way, free pieces of both arenas go as it asks. */
static void
wire_hold(bool on)
{
    if (kva_kmem_movable_arena != NULL) { /* the later one */
        kva__qcache_hold(kva_kmem_arena, on);
        kva__qcache_hold(kva_kmem_movable_arena, on);
    }
}

void
kva__wire_fini(void)
{
    kva_reclaim_set_supply(NULL);
    kva__reclaim_set_hold(NULL);
    (void)kva_pressure_update(0, 0);
}

void
kva__wire_init(size_t limit)
{
    kva_port_lock_init(&wired.lock, "wired", KVA_IPL_VM, KVA_RANK_META);
    wired.bytes = 0;
    wired.max = 0;
    wired.limit = limit;
    wired.reserve = 0;
    wired.started = false;
    kva_reclaim_set_supply(&wired_supply);
    kva__reclaim_set_hold(wire_hold);
    wired.importing = 0;
    wired.crowded = false;
    (void)kva_pressure_update(0, 0); /* its lock, before there are threads */
#if KVA_TIER >= 3
    kva__pagedaemon_init(); /* the same */
#endif
}

void
kva__wire_start(void)
{
    wired.started = true;
}

size_t
kva__wire_bytes(void)
{
    return __atomic_load_n(&wired.bytes, __ATOMIC_RELAXED);
}

size_t
kva__wire_max(void)
{
    return __atomic_load_n(&wired.max, __ATOMIC_RELAXED);
}

/* Pages came or went, or were refused: is it time to reclaim. */
static void
note_pressure(bool refused)
{
    bool news = kva_pressure_update(kva__wire_bytes(), wire_limit());

#if KVA_TIER >= 3
    if (news || refused) {
        kva_pagedaemon_wake();
    }
#else
    (void)news;
    (void)refused;
#endif
}

size_t
kva__wire_reserve_set(size_t bytes, size_t whole)
{
    size_t limit;
    kva_irq_t irq;

    irq = kva_port_lock(&wired.lock);
    if (wired.limit == 0) {
        wired.limit = whole;
    }
    if (bytes > wired.limit / 2) {
        bytes = wired.limit / 2 & ~KVA_PAGE_MASK;
    }
    __atomic_store_n(&wired.reserve, bytes, __ATOMIC_RELAXED);
    limit = wired.limit - bytes;
    kva_port_unlock(&wired.lock, irq);
    note_pressure(false);
    return limit;
}

void
kva__wire_reserve(size_t *bytes, size_t *used)
{
    kva_irq_t irq;

    irq = kva_port_lock(&wired.lock);
    *bytes = wired.reserve;
    *used = wired.limit != 0 && wired.bytes > wired.limit - wired.reserve
                ? wired.bytes - (wired.limit - wired.reserve)
                : 0;
    kva_port_unlock(&wired.lock, irq);
}

/* Account for size bytes before they are attached, for who has these flags;
 * false: over his limit. */
static bool
account(size_t size, vm_flag_t flags)
{
    size_t limit;
    bool ok;
    kva_irq_t irq;

    irq = kva_port_lock(&wired.lock);
    limit = wired.limit - ((flags & VM_RESERVE) != 0 ? 0 : wired.reserve);
    ok = limit == 0 || (size <= limit && wired.bytes <= limit - size);
    if (ok) {
        __atomic_store_n(&wired.bytes, wired.bytes + size, __ATOMIC_RELAXED);
        if (wired.bytes > wired.max) {
            __atomic_store_n(&wired.max, wired.bytes, __ATOMIC_RELAXED);
        }
    }
    kva_port_unlock(&wired.lock, irq);
    note_pressure(!ok);
    return ok;
}

bool
kva__wire_account(size_t size, vm_flag_t flags)
{
    return wired.started && account(size, flags);
}

static void
unaccount(size_t size)
{
    kva_irq_t irq;

    irq = kva_port_lock(&wired.lock);
    KVA_ASSERT(wired.bytes >= size);
    __atomic_store_n(&wired.bytes, wired.bytes - size, __ATOMIC_RELAXED);
    __atomic_store_n(&wired.gone, wired.gone + size, __ATOMIC_RELAXED);
    kva_port_unlock(&wired.lock, irq);
    note_pressure(false);
}

void
kva__wire_unaccount(size_t size)
{
    unaccount(size);
}

/*
 * Two attempts may each take what the other lacks, and both fail and give it
 * back, with nobody left who would wake them.  So one that fails beside another
 * says so, and if that fails too whoever waits tries again.  It comes to an end:
 * who fails alone wakes nobody.
 */
void
kva__wire_attempt_begin(void)
{
    kva_irq_t irq;

    irq = kva_port_lock(&wired.lock);
    wired.importing++;
    kva_port_unlock(&wired.lock, irq);
}

void
kva__wire_attempt_end(bool failed)
{
    bool wake = false;
    kva_irq_t irq;

    irq = kva_port_lock(&wired.lock);
    wired.importing--;
    if (failed) {
        wake = wired.crowded;
        wired.crowded = wired.importing != 0;
    }
    kva_port_unlock(&wired.lock, irq);
    if (wake) {
        kva__wait_more(kva_kmem_arena);
    }
}

/* What the port is told of a request's flags. */
static unsigned
page_flags(vm_flag_t flags)
{
    return (flags & VM_RESERVE) != 0 ? KVA_PAGE_NOSLEEP | KVA_PAGE_RESERVE
                                     : KVA_PAGE_NOSLEEP;
}

/* ---- frames as addresses ---------------------------------------------- */

/* Where frames are used: at their own addresses, or in the direct map; false:
 * they are not in it. */
static bool
frames_at(kva_pa_t pa, size_t n, uintptr_t *va)
{
#if KVA_DIRECT_MAP
    if (kva__mode == KVA_MODE_VA) {
        return kva_port_direct(pa, n, va);
    }
#endif
    (void)n;
    *va = (uintptr_t)pa;
    return true;
}

/*
 * Frames whose addresses satisfy the request: contiguous, and more of them
 * than needed if the first come out misaligned; what is over goes back.
 */
static int
frames_import(const struct kva_vmem_request *rq, uintptr_t *addr)
{
    size_t more = rq->size + (rq->align - KVA_PAGE_SIZE), size = rq->size;
    unsigned flags = page_flags(rq->flags);
    uintptr_t base, end;
    kva_pa_t pa;

    if (kva_port_page_get(size >> KVA_PAGE_SHIFT, flags, &pa) != 0) {
        return KVA_ENOMEM;
    }
    if (!frames_at(pa, size >> KVA_PAGE_SHIFT, &base) ||
        !vmem_request_fits(rq, base, base + (size - 1), addr)) {
        kva_port_page_put(size >> KVA_PAGE_SHIFT, pa);
        size = more;
        if (more < rq->size ||
            kva_port_page_get(size >> KVA_PAGE_SHIFT, flags, &pa) != 0) {
            return KVA_ENOMEM;
        }
        if (!frames_at(pa, size >> KVA_PAGE_SHIFT, &base) ||
            !vmem_request_fits(rq, base, base + (size - 1), addr)) {
            kva_port_page_put(size >> KVA_PAGE_SHIFT, pa);
            return KVA_ENOMEM;
        }
    }
    end = *addr + rq->size;
    if (*addr != base) {
        kva_port_page_put((*addr - base) >> KVA_PAGE_SHIFT, pa);
    }
    if (end != base + size) {
        kva_port_page_put((base + size - end) >> KVA_PAGE_SHIFT,
                          pa + (end - base));
    }
    return 0;
}

/* ---- frames under addresses ------------------------------------------- */

#if KVA_TIER >= 2

static void
detach(uintptr_t va, size_t n)
{
    struct kva__unmap u;

    kva__unmap_begin(&u);
    kva__unmap_add(&u, va, n);
    kva__unmap_end(&u);
}

/* No more than whole large pages, if that is one or more. */
static size_t
large_only(size_t n)
{
    return n < LARGE_PAGES ? n : n - (n & (LARGE_PAGES - 1));
}

/*
 * How many of the n pages at va are to be one run of at most `most' frames: up
 * to the boundary of a large page, if one fits behind it; from there whole
 * large pages, *large; then the rest.
 */
static size_t
run_length(uintptr_t va, size_t n, size_t most, bool *large)
{
    size_t head = ((0 - va) & (KVA__LARGE - 1)) >> KVA_PAGE_SHIFT;
    bool fits = n >= LARGE_PAGES && n - LARGE_PAGES >= head;

    if (fits && head != 0) {
        n = head;
    }
    n = n < most ? n : most;
    *large = fits && head == 0 && n >= LARGE_PAGES;
    return *large ? large_only(n) : n;
}

/* One run of at most n frames at va; how many, 0: none to be had. */
static size_t
attach_run(uintptr_t va, size_t n, unsigned flags, bool large)
{
    kva_pa_t pa;

    while (kva_port_page_get(n, large ? flags | KVA_PAGE_LARGE : flags, &pa) !=
           0) {
        n /= 2;
        if (n == 0) {
            return 0;
        }
        large = large && n >= LARGE_PAGES;
        n = large ? large_only(n) : n;
    }
    if (kva_port_map(va, pa, n, KVA_PROT_READ | KVA_PROT_WRITE) != 0) {
        kva_port_page_put(n, pa);
        return 0;
    }
    return n;
}

static int
attach(uintptr_t va, size_t n, unsigned flags)
{
    size_t done = 0, most = n;

    while (done < n) {
        uintptr_t at = va + (done << KVA_PAGE_SHIFT);
        bool large;
        size_t want = run_length(at, n - done, most, &large);
        size_t run = attach_run(at, want, flags, large);

        if (run == 0) {
            detach(va, done);
            return KVA_ENOMEM;
        }
        most = run < want ? run : most; /* longer ones are not to be had */
        done += run;
    }
    return 0;
}

/* Is it memory that is used through the direct map; the frame behind it. */
bool
kva__wire_direct(uintptr_t va, kva_pa_t *pa)
{
#if KVA_DIRECT_MAP
    return kva_port_direct_pa(va, pa);
#else
    (void)va;
    *pa = 0;
    return false;
#endif
}

/*
 * With a direct map: frames in a row that lie in it need neither addresses nor
 * a page table, and no flush when they go.  Other runs are mapped.
 */
static bool
direct_import(const struct kva_vmem_request *rq, uintptr_t *addr)
{
    return KVA_DIRECT_MAP && rq->minaddr == VMEM_ADDR_MIN &&
           rq->maxaddr == VMEM_ADDR_MAX && frames_import(rq, addr) == 0;
}

static int
va_import(const struct kva_vmem_request *rq, uintptr_t *addr)
{
    int err;

    if (direct_import(rq, addr)) {
        return 0;
    }
    err = kva__wire_addresses(kva_heap_va_arena, rq, addr);
    if (err == 0) {
        err = attach(*addr, rq->size >> KVA_PAGE_SHIFT, page_flags(rq->flags));
        if (err != 0) {
            vmem_xfree(kva_heap_va_arena, *addr, rq->size);
        }
    }
    return err;
}

static void
va_release(uintptr_t addr, size_t size, const char *func)
{
    kva_pa_t pa;

    if (kva__wire_direct(addr, &pa)) {
        kva_port_page_put(size >> KVA_PAGE_SHIFT, pa);
        unaccount(size);
    } else {
        kva__lazy_free(addr, size, func);
    }
}

static int
attach_accounted(uintptr_t va, size_t bytes)
{
    int err;

    if (!account(bytes, 0)) {
        return KVA_ENOMEM;
    }
    err = attach(va, bytes >> KVA_PAGE_SHIFT, KVA_PAGE_NOSLEEP);
    if (err != 0) {
        unaccount(bytes);
    }
    return err;
}

int
kva__wire_attach(uintptr_t va, size_t bytes)
{
    int err;

    if (!wired.started) {
        return KVA_ENOMEM;
    }
    kva__wire_attempt_begin();
    err = attach_accounted(va, bytes);
    if (err != 0 && kva__lazy_press()) {
        err = attach_accounted(va, bytes);
    }
    kva__wire_attempt_end(err != 0);
    return err;
}

void
kva__wire_detach(uintptr_t va, size_t bytes)
{
    detach(va, bytes >> KVA_PAGE_SHIFT);
    kva__wire_unaccount(bytes);
}

#else /* no address space: never called */

bool
kva__wire_direct(uintptr_t va, kva_pa_t *pa)
{
    (void)va;
    *pa = 0;
    return false;
}

static int
va_import(const struct kva_vmem_request *rq, uintptr_t *addr)
{
    (void)rq;
    (void)addr;
    return KVA_ENOTSUP;
}

static void
va_release(uintptr_t addr, size_t size, const char *func)
{
    (void)addr;
    (void)size;
    (void)func;
}

#endif

/* ---- what the arenas call --------------------------------------------- */

static int
import(const struct kva_vmem_request *rq, uintptr_t *addr)
{
    int err;

    if (!account(rq->size, rq->flags)) {
        return KVA_ENOMEM;
    }
    switch (kva__mode) {
    case KVA_MODE_REGION:
        err =
            vmem_xalloc(kva_kernel_va_arena, rq->size, rq->align, rq->phase,
                        rq->nocross, rq->minaddr, rq->maxaddr, rq->flags, addr);
        break;
    case KVA_MODE_FRAMES:
        err = frames_import(rq, addr);
        break;
    default:
        err = va_import(rq, addr);
    }
    if (err != 0) {
        kva__wire_unaccount(rq->size);
    }
    return err;
}

/* What fails for want of frames, of addresses, or at the limit, may do when all
 * that was freed is so. */
static int
import_pressed(const struct kva_vmem_request *rq, size_t *actual,
               uintptr_t *addr)
{
    int err;

    if (!wired.started) {
        return KVA_ENOMEM;
    }
    *actual = rq->size;
    kva__wire_attempt_begin();
    err = import(rq, addr);
    if (err != 0 && kva__lazy_press()) {
        err = import(rq, addr);
    }
    kva__wire_attempt_end(err != 0);
    return err;
}

/* What these arenas have is anybody's. */
int
kva__wire_import(kva_vmem_t *source, const struct kva_vmem_request *rq,
                 size_t *actual, uintptr_t *addr)
{
    struct kva_vmem_request plain = *rq;

    (void)source;
    plain.flags &= ~(vm_flag_t)VM_RESERVE;
    return import_pressed(&plain, actual, addr);
}

void
kva__wire_free(uintptr_t va, size_t size, const char *func)
{
    switch (kva__mode) {
    case KVA_MODE_REGION:
        kva__wire_unaccount(size);
        vmem_xfree(kva_kernel_va_arena, va, size);
        break;
    case KVA_MODE_FRAMES:
        kva_port_page_put(size >> KVA_PAGE_SHIFT, va);
        kva__wire_unaccount(size);
        break;
    default:
        va_release(va, size, func);
    }
}

void
kva__wire_release(kva_vmem_t *source, uintptr_t addr, size_t size)
{
    (void)source;
    kva__wire_free(addr, size, "vmem_free");
}

#if KVA_DEMOTE
/* May a large page lie across va: only if it is all in the span.  If an earlier
 * cut took some of it, it was demoted then. */
static bool
lies_across(uintptr_t va, uintptr_t addr, size_t size)
{
    size_t within = (va & ~(KVA__LARGE - 1)) - addr;

    return (va & (KVA__LARGE - 1)) != 0 && size >= KVA__LARGE &&
           within <= size - KVA__LARGE;
}

/* What lies across the ends of a part of a span comes to be single pages;
 * false: it cannot. */
static bool
demote(uintptr_t addr, size_t size, uintptr_t part, size_t part_size)
{
    return (!lies_across(part, addr, size) &&
            !lies_across(part + part_size, addr, size)) ||
           kva_port_demote(part, part_size >> KVA_PAGE_SHIFT) == 0;
}
#endif

/*
 * Frames go back one by one, whatever they came with.  What is demoted for a
 * cut that then fails stays so.  Another answer than KVA_ENOMEM, since parts
 * elsewhere may do without.
 */
int
kva__wire_split(kva_vmem_t *source, uintptr_t addr, size_t size, uintptr_t part,
                size_t part_size)
{
    kva_pa_t pa;

    (void)source;
    switch (kva__mode) {
    case KVA_MODE_REGION:
        return kva__vmem_rsplit(kva_kernel_va_arena, addr, size, part,
                                part_size);
    case KVA_MODE_FRAMES:
        return 0;
    default:
        if (kva__wire_direct(addr, &pa)) {
            return 0;
        }
#if KVA_DEMOTE
        if (!demote(addr, size, part, part_size)) {
            return KVA_EBUSY;
        }
#endif
        return kva__vmem_rsplit(kva_heap_va_arena, addr, size, part, part_size);
    }
}

/* May the caller map?  At tier 2 nobody can tell; without an address space there
 * is nothing to map, and frames are to be had in any context. */
static bool
may_map(void)
{
#if KVA_TIER >= 3
    return kva__mode != KVA_MODE_VA || kva_port_may_sleep();
#else
    return kva__mode != KVA_MODE_VA;
#endif
}

/* For kmem_reserve, whose ranges go back at once: with VM_RESERVE up to the
 * limit that the entitled have. */
int
kva__wire_reserve_import(kva_vmem_t *source, const struct kva_vmem_request *rq,
                         size_t *actual, uintptr_t *addr)
{
    (void)source;
    return may_map() ? import_pressed(rq, actual, addr) : KVA_ENOMEM;
}

/*
 * The arena for interrupts imports in thread context only: nothing is mapped
 * from an interrupt.  In between it lives on what kva_intr_refill put there,
 * which says so (VM_POPULATING): at boot no caller may sleep yet.
 */
int
kva__wire_intr_import(kva_vmem_t *source, const struct kva_vmem_request *rq,
                      size_t *actual, uintptr_t *addr)
{
    if ((rq->flags & VM_POPULATING) == 0 && !may_map()) {
        return KVA_ENOMEM;
    }
    return kva__wire_import(source, rq, actual, addr);
}
