/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pageable memory: addresses of kernel_va_arena whose pages get a frame of
 * zeros when they are first touched, and lose it when they are freed or given
 * up.  kernel_map (map.c) says what there is.
 *
 * The port maps, unmaps and hands out frames with no lock held, so whoever
 * changes pages marks them BUSY under the map's lock, works without it, and
 * clears the mark; all others wait for that.  Each operation takes its whole
 * range at once, so nobody waits with busy pages of his own.
 *
 *      lock: all there and none busy?  mark      unlock   frames   lock: unmark
 *
 *   Q1  A page's frame, and whether it has one, changes only while it is busy,
 *       by the one who marked it.
 *   Q2  A page that is freed is no longer in use when it is marked, so a fault
 *       does not wait for it, but its addresses are not the arena's before its
 *       frame is gone and the TLBs are flushed.
 *   Q3  A wired page is resident, but while the call that wires it runs.  It is
 *       neither given up nor freed.
 *
 * Check, reserve, commit: a wrong range is reported before anything is marked.
 * Only allocating, wiring and faults may fail; what frees, gives up, unwires
 * or changes accesses writes words that are there (map.c says why that is
 * enough).
 *
 * At tiers 0 and 1, and in one donated region, nothing can be mapped: there is
 * no pageable memory, and kernel_map is empty.
 */
#include "kva/map.h"
#include "vmem/reserve.h"

#define map kva__map

/* A caller's range, and the lock while it is held. */
struct range {
    uintptr_t va;
    size_t n; /* pages */
    kva_irq_t irq;
    bool may_sleep;
};

/* What an operation asks of each page of its range. */
enum need {
    NEED_USED,
    NEED_WIRED,
    NEED_UNWIRED
};

/* ---- pages of a range -------------------------------------------------- */

/* As much of a range as lies in one piece. */
struct part {
    struct kva__piece *p; /* NULL: in none */
    size_t i, n;
};

static struct part
part_at(uintptr_t va, size_t n)
{
    struct part part = { kva__piece_find(va), 0, 0 };

    if (part.p != NULL) {
        part.i = (va - part.p->first) >> KVA_PAGE_SHIFT;
        part.n = part.p->npages - part.i;
        if (part.n > n) {
            part.n = n;
        }
    }
    return part;
}

/* The same change to all pages, which are there. */
static void
range_change(const struct range *r, unsigned clear, unsigned set, int wires)
{
    uintptr_t va = r->va;
    size_t left = r->n;

    while (left > 0) {
        struct part part = part_at(va, left);

        KVA_ASSERT(part.p != NULL);
        kva__piece_change(part.p, part.i, part.n, clear, set, wires);
        va += part.n << KVA_PAGE_SHIFT;
        left -= part.n;
    }
}

static const char *
word_refuse(unsigned word, enum need need)
{
    if ((word & KVA__PAGE_USED) == 0) {
        return "none";
    }
    if (need == NEED_WIRED && word < KVA__PAGE_WIRE) {
        return "one that is not wired";
    }
    if (need == NEED_UNWIRED && word >= KVA__PAGE_WIRE) {
        return "a wired one";
    }
    return NULL;
}

/* What is found that must not be, at *bad, or NULL.  *all is every bit that is
 * set in a word, and *most the highest word. */
static const char *
range_scan(const struct range *r, enum need need, uintptr_t *bad, unsigned *all,
           unsigned *most)
{
    size_t left = r->n;

    *bad = r->va;
    *all = *most = 0;
    while (left > 0) {
        struct part part = part_at(*bad, left);

        if (part.p == NULL) {
            return "none";
        }
        for (size_t k = 0; k < part.n; k++) {
            unsigned word = part.p->page[part.i + k];
            const char *found = word_refuse(word, need);

            if (found != NULL) {
                *bad += k << KVA_PAGE_SHIFT;
                return found;
            }
            *all |= word;
            *most = word > *most ? word : *most;
        }
        *bad += part.n << KVA_PAGE_SHIFT;
        left -= part.n;
    }
    return NULL;
}

static bool
may_sleep(void)
{
#if KVA_TIER >= 3
    return kva_port_may_sleep();
#else
    return false;
#endif
}

/* Until somebody has unmarked pages, or for a moment.  The lock is dropped. */
static void
wait_unmarked(struct range *r)
{
#if KVA_TIER >= 3
    if (r->may_sleep) {
        map.waiters++;
        (void)kva_port_wait(&map, &map.lock, &r->irq, 0);
        map.waiters--;
        return;
    }
#endif
    kva_port_unlock(&map.lock, r->irq);
#if KVA_TIER >= 1
    kva_port_relax();
#endif
    r->irq = kva_port_lock(&map.lock);
}

static void
wake_waiters(void)
{
#if KVA_TIER >= 3
    if (map.waiters > 0) {
        kva_port_wake(&map);
    }
#endif
}

/* The caller's range in pages; or it is reported. */
static struct range
range_of(const char *func, uintptr_t va, size_t size)
{
    struct range r = { va, 0, 0, may_sleep() };
    size_t bytes = kva_round_up(size, KVA_PAGE_SIZE);

    if ((va & KVA_PAGE_MASK) != 0) {
        kva__misuse(func, "arena", "kernel_map", va,
                    "expected a multiple of the page size %zu, found a "
                    "misaligned address",
                    (size_t)KVA_PAGE_SIZE);
    }
    if (bytes == 0) {
        kva__misuse(func, "arena", "kernel_map", va,
                    "expected a size above 0 that can be rounded up to pages, "
                    "found size %zu",
                    size);
    }
    r.n = bytes >> KVA_PAGE_SHIFT;
    return r;
}

/* Lock the map with no page of the range busy and all as the operation needs
 * them; or it is reported.  Returns all bits that are set in words. */
static unsigned
range_lock(struct range *r, const char *func, enum need need, unsigned *most)
{
    unsigned all;
    uintptr_t bad;

    r->irq = kva_port_lock(&map.lock);
    for (;;) {
        const char *found = range_scan(r, need, &bad, &all, most);

        if (found != NULL) {
            kva_port_unlock(&map.lock, r->irq);
            kva__misuse(func, "arena", "kernel_map", bad,
                        "expected a pageable page%s, of the range from 0x%lx "
                        "on of %zu bytes, found %s",
                        need == NEED_UNWIRED ? " that is not wired"
                        : need == NEED_WIRED ? " that is wired"
                                             : "",
                        (unsigned long)r->va, r->n << KVA_PAGE_SHIFT, found);
        }
        if ((all & KVA__PAGE_BUSY) == 0) {
            return all;
        }
        wait_unmarked(r);
    }
}

static void
range_unlock(const struct range *r)
{
    kva_port_unlock(&map.lock, r->irq);
}

static void
range_lock_again(struct range *r)
{
    r->irq = kva_port_lock(&map.lock);
}

/* ---- frames ------------------------------------------------------------ */

#if KVA_TIER >= 2

/* Runs of frames noted before a flush; they lie on the stack, 128 bytes. */
#define RUNS 8u

static bool
frame_get(kva_pa_t *pa)
{
    unsigned reserve = kva__reserve_entitled(0) ? KVA_PAGE_RESERVE : 0;

    return kva_port_page_get(1, KVA_PAGE_NOSLEEP | KVA_PAGE_ZERO | reserve,
                             pa) == 0;
}

/* A frame of zeros under the page at va: 0 or KVA_ENOMEM.  If there is none,
 * frames may wait for a flush. */
static int
frame_in(uintptr_t va, unsigned prot)
{
    kva_pa_t pa;

    if (!map.started ||
        (!frame_get(&pa) && !(kva__lazy_press() && frame_get(&pa)))) {
        return KVA_ENOMEM;
    }
    if (kva_port_map(va, pa, 1, prot) != 0) {
        kva_port_page_put(1, pa);
        return KVA_ENOMEM;
    }
    return 0;
}

/* The frames of n pages, all of which have one, are the port's again; not
 * before a flush, or a stale translation would still lead to them. */
static void
frames_out(uintptr_t va, size_t n)
{
    kva_pa_t pa[RUNS];
    size_t len[RUNS];

    while (n > 0) {
        uintptr_t first = va;
        unsigned runs = 0;

        while (n > 0 && runs < RUNS) {
            len[runs] = kva_port_translate(va, n, &pa[runs]);
            if (len[runs] == 0) {
                kva__panic("kva: 0x%lx: expected a resident page, found none",
                           (unsigned long)va);
            }
            kva_port_unmap(va, len[runs]);
            va += len[runs] << KVA_PAGE_SHIFT;
            n -= len[runs++];
        }
        kva_port_flush(first, (va - first) >> KVA_PAGE_SHIFT);
        while (runs > 0) {
            runs--;
            kva_port_page_put(len[runs], pa[runs]);
        }
    }
}

static void
frames_protect(uintptr_t va, size_t n, unsigned prot, bool flush)
{
    kva_port_protect(va, n, prot);
    if (flush) {
        kva_port_flush(va, n);
    }
}

#else /* nothing is mapped, and kernel_map is empty */

static int
frame_in(uintptr_t va, unsigned prot)
{
    (void)va;
    (void)prot;
    return KVA_ENOMEM;
}

static void
frames_out(uintptr_t va, size_t n)
{
    (void)va;
    (void)n;
}

static void
frames_protect(uintptr_t va, size_t n, unsigned prot, bool flush)
{
    (void)va;
    (void)n;
    (void)prot;
    (void)flush;
}

#endif

/*
 * The next resident pages of a range that the caller has marked: how many, in
 * one piece, from *va on; 0: there are no more.  What it passed over is taken
 * off *left.
 */
static size_t
resident_run(uintptr_t *va, size_t *left, bool wired_too)
{
    size_t run = 0;
    kva_irq_t irq;

    irq = kva_port_lock(&map.lock);
    while (*left > 0 && run == 0) {
        struct part part = part_at(*va, *left);

        for (size_t k = 0; k < part.n; k++) {
            unsigned word = part.p->page[part.i + k];

            if ((word & KVA__PAGE_RESIDENT) != 0 &&
                (wired_too || word < KVA__PAGE_WIRE)) {
                run++;
            } else if (run > 0) {
                break;
            } else {
                *va += KVA_PAGE_SIZE;
                --*left;
            }
        }
    }
    kva_port_unlock(&map.lock, irq);
    return run;
}

/* All frames of a marked range, or those of pages that are not wired.  Returns
 * how many. */
static size_t
range_frames_out(const struct range *r, bool wired_too)
{
    uintptr_t va = r->va;
    size_t left = r->n, done = 0, run;

    while ((run = resident_run(&va, &left, wired_too)) > 0) {
        frames_out(va, run);
        va += run << KVA_PAGE_SHIFT;
        left -= run;
        done += run;
    }
    return done;
}

/* Somebody may wait for them who wants wired memory. */
static void
frames_are_back(size_t n)
{
    if (n != 0) {
        kva__wait_released(kva_kmem_arena);
    }
}

/* ---- allocating -------------------------------------------------------- */

static void
segment_free(uintptr_t va, size_t npages)
{
    vmem_xfree(kva_kernel_va_arena, va, npages << KVA_PAGE_SHIFT);
}

/* Pieces out of the tree to where they came from, addresses and all. */
static void
pieces_end(struct kva__piece *list)
{
    while (list != NULL) {
        struct kva__piece *p = list;

        list = p->up;
        segment_free(p->first, p->npages);
        kva__piece_drop(p);
    }
}

/* Pieces for a segment of addresses, each with its own part of it; NULL: no
 * memory, and the segment is freed. */
static struct kva__piece *
pieces_new(uintptr_t va, size_t npages)
{
    struct kva__piece *list = NULL, *p;

    while (npages > 0) {
        size_t n = kva__piece_pages_max();

        n = n < npages ? n : npages;
        p = kva__piece_new(n);
        if (p == NULL ||
            (n < npages &&
             vmem_xsplit(kva_kernel_va_arena, va, npages << KVA_PAGE_SHIFT,
                         n << KVA_PAGE_SHIFT) != 0)) {
            if (p != NULL) {
                kva__piece_drop(p);
            }
            segment_free(va, npages);
            pieces_end(list);
            return NULL;
        }
        p->first = va;
        p->up = list;
        list = p;
        va += n << KVA_PAGE_SHIFT;
        npages -= n;
    }
    return list;
}

/* If there are none, those that are free within pieces. */
static int
addresses_get(size_t size, vm_flag_t flags, uintptr_t *va)
{
    vm_flag_t at_once = (flags & ~VM_SLEEP) | VM_NOSLEEP;
    int err = vmem_xalloc(kva_kernel_va_arena, size, 0, 0, 0, VMEM_ADDR_MIN,
                          VMEM_ADDR_MAX, at_once, va);

    if (err != 0) {
        kva__map_settle();
        err = vmem_xalloc(kva_kernel_va_arena, size, 0, 0, 0, VMEM_ADDR_MIN,
                          VMEM_ADDR_MAX, flags, va);
    }
    return err;
}

static void
prot_verify(const char *func, uintptr_t va, unsigned prot)
{
    if ((prot & ~KVA__PAGE_PROT) != 0) {
        kva__misuse(func, "arena", "kernel_map", va,
                    "expected accesses of KVA_PROT_*, found 0x%x", prot);
    }
}

int
kva_pageable_alloc(size_t size, unsigned prot, vm_flag_t flags, vmem_addr_t *va)
{
    struct kva__piece *list;
    kva_irq_t irq;
    uintptr_t first = 0;
    int err;

    prot_verify("kva_pageable_alloc", 0, prot);
    if (kva__mode != KVA_MODE_VA) {
        return KVA_ENOTSUP;
    }
    err = addresses_get(size, flags, &first);
    if (err != 0) {
        return err;
    }
    list =
        pieces_new(first, kva_round_up(size, KVA_PAGE_SIZE) >> KVA_PAGE_SHIFT);
    if (list == NULL) {
        return KVA_ENOMEM;
    }
    irq = kva_port_lock(&map.lock);
    while (list != NULL) {
        struct kva__piece *p = list;

        list = p->up;
        kva__piece_insert(p);
        kva__piece_change(p, 0, p->npages, 0, KVA__PAGE_USED | prot, 0);
    }
    kva_port_unlock(&map.lock, irq);
    *va = first;
    return 0;
}

/* ---- freeing and giving up --------------------------------------------- */

/* A freed range is unmarked.  Returns the pieces that are empty now, out of
 * the tree. */
static struct kva__piece *
range_leave(const struct range *r)
{
    struct kva__piece *empty = NULL;
    uintptr_t va = r->va;
    size_t left = r->n;

    while (left > 0) {
        struct part part = part_at(va, left);

        kva__piece_change(part.p, part.i, part.n,
                          KVA__PAGE_BUSY | KVA__PAGE_RESIDENT, 0, 0);
        va += part.n << KVA_PAGE_SHIFT;
        left -= part.n;
        if (part.p->used == 0 && part.p->busy == 0) {
            kva__piece_erase(part.p);
            part.p->up = empty;
            empty = part.p;
        }
    }
    return empty;
}

void
kva_pageable_free(vmem_addr_t va, size_t size)
{
    static const char func[] = "kva_pageable_free";
    struct range r = range_of(func, va, size);
    struct kva__piece *empty;
    unsigned most;
    size_t gone;

    (void)range_lock(&r, func, NEED_UNWIRED, &most);
    range_change(&r, KVA__PAGE_USED | KVA__PAGE_PROT, KVA__PAGE_BUSY, 0);
    range_unlock(&r);
    gone = range_frames_out(&r, true);
    range_lock_again(&r);
    empty = range_leave(&r);
    wake_waiters();
    range_unlock(&r);
    pieces_end(empty);
    frames_are_back(gone);
}

/* A range of which the frames of pages that are not wired are gone. */
static void
range_unmark_given(const struct range *r)
{
    uintptr_t va = r->va;

    for (size_t k = 0; k < r->n; k++, va += KVA_PAGE_SIZE) {
        struct part part = part_at(va, 1);
        bool wired = part.p->page[part.i] >= KVA__PAGE_WIRE;

        kva__piece_change(part.p, part.i, 1,
                          KVA__PAGE_BUSY | (wired ? 0 : KVA__PAGE_RESIDENT), 0,
                          0);
    }
}

size_t
kva_pageable_discard(vmem_addr_t va, size_t size)
{
    static const char func[] = "kva_pageable_discard";
    struct range r = range_of(func, va, size);
    unsigned most;
    size_t gone;

    (void)range_lock(&r, func, NEED_USED, &most);
    range_change(&r, 0, KVA__PAGE_BUSY, 0);
    range_unlock(&r);
    gone = range_frames_out(&r, false);
    range_lock_again(&r);
    range_unmark_given(&r);
    wake_waiters();
    range_unlock(&r);
    frames_are_back(gone);
    return gone << KVA_PAGE_SHIFT;
}

/* ---- accesses ---------------------------------------------------------- */

void
kva_pageable_protect(vmem_addr_t va, size_t size, unsigned prot)
{
    static const char func[] = "kva_pageable_protect";
    struct range r = range_of(func, va, size);
    uintptr_t at = va;
    size_t left = r.n, run;
    unsigned all, most;

    prot_verify(func, va, prot);
    all = range_lock(&r, func, NEED_USED, &most);
    range_change(&r, KVA__PAGE_PROT, KVA__PAGE_BUSY | prot, 0);
    range_unlock(&r);
    while ((run = resident_run(&at, &left, true)) > 0) {
        frames_protect(at, run, prot, (all & KVA__PAGE_PROT & ~prot) != 0);
        at += run << KVA_PAGE_SHIFT;
        left -= run;
    }
    range_lock_again(&r);
    range_change(&r, KVA__PAGE_BUSY, 0, 0);
    wake_waiters();
    range_unlock(&r);
}

/* ---- faults and wiring ------------------------------------------------- */

/* What a fault finds, with the lock held and the page not busy: KVA_EFAULT, 0:
 * there is nothing to do, or KVA_EAGAIN: it wants a frame. */
static int
fault_look(struct range *r, unsigned access, struct part *part)
{
    for (;;) {
        unsigned word;

        *part = part_at(r->va, 1);
        word = part->p != NULL ? part->p->page[part->i] : 0;
        if ((word & KVA__PAGE_USED) == 0) {
            return KVA_EFAULT;
        }
        if ((word & KVA__PAGE_BUSY) == 0) {
            return (word & access) != access          ? KVA_EFAULT
                   : (word & KVA__PAGE_RESIDENT) != 0 ? 0
                                                      : KVA_EAGAIN;
        }
        wait_unmarked(r);
    }
}

int
kva_fault(vmem_addr_t va, unsigned access)
{
    struct range r = { kva_round_down(va, KVA_PAGE_SIZE), 1, 0, may_sleep() };
    struct part part;
    unsigned prot = 0;
    int err;

    range_lock_again(&r);
    err = fault_look(&r, access & KVA__PAGE_PROT, &part);
    if (err == KVA_EAGAIN) {
        prot = part.p->page[part.i] & KVA__PAGE_PROT;
        kva__piece_change(part.p, part.i, 1, 0, KVA__PAGE_BUSY, 0);
    }
    range_unlock(&r);
    if (err != KVA_EAGAIN) {
        return err;
    }
    err = frame_in(r.va, prot);
    range_lock_again(&r);
    range_change(&r, KVA__PAGE_BUSY, err == 0 ? KVA__PAGE_RESIDENT : 0, 0);
    wake_waiters();
    range_unlock(&r);
    return err;
}

/* One wiring less. */
static void
range_unwire(struct range *r, const char *func)
{
    unsigned most;

    (void)range_lock(r, func, NEED_WIRED, &most);
    range_change(r, 0, 0, -1);
    range_unlock(r);
}

/* Counted first, so that none of the pages is given up meanwhile. */
int
kva_pageable_wire(vmem_addr_t va, size_t size)
{
    static const char func[] = "kva_pageable_wire";
    struct range r = range_of(func, va, size);
    unsigned most;
    int err = 0;

    (void)range_lock(&r, func, NEED_USED, &most);
    if (most / KVA__PAGE_WIRE == KVA__PAGE_WIRES_MAX) {
        range_unlock(&r);
        return KVA_EAGAIN;
    }
    range_change(&r, 0, 0, 1);
    range_unlock(&r);
    for (size_t k = 0; k < r.n && err == 0; k++) {
        err = kva_fault(va + (k << KVA_PAGE_SHIFT), 0);
    }
    if (err != 0) {
        range_unwire(&r, func);
    }
    return err;
}

void
kva_pageable_unwire(vmem_addr_t va, size_t size)
{
    static const char func[] = "kva_pageable_unwire";
    struct range r = range_of(func, va, size);

    range_unwire(&r, func);
}
