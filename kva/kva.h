/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kva: the kernel's address space as a stack of arenas.
 *
 *     kernel_va_arena    all kernel VA; no quantum caches; one static span
 *       +- heap_arena            the heap's share, imported in large pieces
 *       |    +- heap_va_arena    VA only; quantum caches
 *       |         +- kmem_arena  wired: pages are attached when a span is
 *       |         |              imported and detached when it is released
 *       |         +- kmem_movable_arena   the same, for objects that can be
 *       |                        moved: they share no span with others
 *       +- kmem_intr_arena       wired in advance, for interrupt context
 *       +- kmem_permanent_arena  wired, for what is never freed
 *       +- kernel_map            the few pageable ranges, for fault handling
 *
 * After NetBSD's kmem_arena / kmem_va_arena and the discussion of 2011 on
 * tech-kern; the wiring arena is what that thread called option c.
 *
 * At tiers 0 and 1 there is no address space to manage: kernel_va_arena is
 * the donated region, or empty and fed by page_get, and an address is its
 * frame.
 */
#ifndef KVA_KVA_KVA_H
#define KVA_KVA_KVA_H

#include "vmem/vmem.h"

#ifdef __cplusplus
extern "C" {
#endif

extern kva_vmem_t *kva_kernel_va_arena;
extern kva_vmem_t *kva_heap_arena;
extern kva_vmem_t *kva_heap_va_arena;
extern kva_vmem_t *kva_kmem_arena;
extern kva_vmem_t *kva_kmem_movable_arena;
extern kva_vmem_t *kva_kmem_intr_arena;
extern kva_vmem_t *kva_kmem_permanent_arena;

/*
 * What a working kmem needs, from one donated, mapped region, page-aligned
 * inside: call kva_kmem_init next.  Nothing else of the port is needed than
 * panic, log and locks.  Frames are addresses.
 * KVA_BOOT_SIMPLE_META bytes of it, and of a large one more, are metadata: a
 * first object of each kind is to be had then.  Structures fill whole cache
 * lines, so lines above 64 bytes take a quarter more.
 * Returns 0, or KVA_EINVAL if bytes is below KVA_BOOT_SIMPLE_MIN.
 */
#define KVA_BOOT_SIMPLE_META ((KVA_CACHE_LINE > 64 ? 20 : 16) * KVA_PAGE_SIZE)
#define KVA_BOOT_SIMPLE_MIN (KVA_BOOT_SIMPLE_META + 16 * KVA_PAGE_SIZE)
int kva_boot_simple(void *base, size_t bytes);

/*
 * The full start.  Called once, before threads or interrupts; kva_start() when
 * paging and the port's other tiers are up.  Between the two the arenas hand
 * out addresses, with metadata from the donated memory only (if there is any);
 * wired memory is to be had from kva_start on.
 */
struct kva_boot {
    uintptr_t va_base; /* the kernel's address range, page-aligned */
    size_t va_bytes;
    void *donated; /* mapped memory for the first metadata, or NULL */
    size_t donated_bytes;
    size_t wired_limit; /* bytes that may be wired, see below */
    size_t intr_bytes;  /* kept wired ahead for kmem_intr_arena */
    unsigned ncpu;      /* CPU slots to use, 0: what the port says */
    size_t heap_bytes;  /* of addresses that are the heap's, see below */
    uint64_t ram_bytes; /* how much memory the machine has, 0: not said */
    /* Lazy unmapping: the most bytes in the queue (0: 4 MiB, or a 64th of the
     * addresses; 1: each free flushes), and how old the first may get (0: 100).
     */
    size_t lazy_bytes;
    unsigned lazy_ms;
    /* Quarantine: after the flush the addresses of what was wired stay unused
     * and unmapped until so many ranges came behind, or so many bytes are in
     * it; first in, first out.  0 and 0: none; one 0: no such bound.  Costs the
     * addresses, and a tag of 32 bytes for each range. */
    size_t quarantine_frees;
    size_t quarantine_bytes;
    /* Bytes of wired_limit that only the entitled get (vmem/reserve.h), and as
     * many pages of metadata as go with it.  0: a 64th of it, up to 16 MiB, if
     * ram_bytes are said, else none.  KVA_NO_RESERVE is none in any case. */
    size_t reserve_bytes;
};
#define KVA_NO_RESERVE SIZE_MAX

/*
 * With ram_bytes, wired_limit and heap_bytes that are 0 are found by the rule
 * of kva_sizing (kva/sizing.h); without, 0 is no limit.  KVA_NO_LIMIT is none in
 * any case.  heap_bytes is rounded up to units.  At a limit a request fails with
 * KVA_ENOMEM; with VM_SLEEP it has others give back what they hold, then waits,
 * and fails only if it is larger than the limit.
 */
#define KVA_NO_LIMIT SIZE_MAX
int kva_boot(const struct kva_boot *kb);
int kva_start(void);

/*
 * So many bytes, rounded up to pages, of what may be wired are a reserve from
 * now on, and no more than half of it; what ordinary callers have beyond stays
 * theirs.  kva_start does so with kva_boot.reserve_bytes.  Without a limit only
 * metadata is kept back: pages are then the port's to refuse, which is told who
 * is entitled (KVA_PAGE_RESERVE).  0; KVA_ENOTSUP: the library is built without
 * reserves.  Thread or boot context, after kva_start; linear in the pages of
 * metadata.
 */
int kva_reserve_set(size_t bytes);

/*
 * Undo kva_boot and kva_start, or kva_boot_simple: all must be free, kmem ended
 * (kva_kmem_fini).  Donated memory is its owner's again, unless he has arenas
 * of his own left.  For tests and tools.
 */
void kva_shutdown(void);

/*
 * Wired pages to kmem_intr_arena until its free bytes reach the mark again.
 * Nothing is mapped from an interrupt: what is asked for there beyond what is
 * free is refused.  So call this now and then, where requests may have been;
 * a request from a thread maps for itself (at tier 3, where the port can tell).
 * Without an address space nothing is mapped, and any request takes frames.
 * Thread context.
 */
int kva_intr_refill(void);

/* Spans of kmem_intr_arena that are all free go back, but for the mark.
 * Returns bytes.  Thread context. */
size_t kva_intr_drain(void);

/*
 * Wired ranges: size bytes of addresses, rounded to pages, with pages attached
 * that need not be contiguous; aligned to align (a power of two, or 0: a page).
 * What vmap, vmalloc and uvm_km_alloc are for; small things come cheaper from
 * kmem.  One boundary tag each.  flags: VM_SLEEP or VM_NOSLEEP, and no others.
 * Returns 0 or KVA_ENOMEM; with VM_SLEEP it waits, as a request to kmem_arena.
 * Thread context; linear in the runs of frames.
 *
 * Freeing takes no memory.  The range stays mapped in a queue, with its pages,
 * until one flush of the TLBs is worth it: until kva_boot.lazy_bytes are in the
 * queue, its first is lazy_ms old, or somebody is in want; neither addresses
 * nor frames are used anew before.  What arenas of wired memory give back goes
 * the same way.  At most that one flush; whoever comes at the bound does it for
 * all.
 */
int kva_wired_alloc(size_t size, size_t align, kva_vm_flag_t flags,
                    kva_vmem_addr_t *va);
void kva_wired_free(kva_vmem_addr_t va, size_t size);

/*
 * Flush the queue now; or if its first range is too old, which is looked at
 * when something is freed, so a kernel calls this from a timer's thread every
 * lazy_ms or so (at tier 2, without a clock, it flushes whatever there is).
 * Both return the bytes whose frames went back.  Thread context, no lock held:
 * they interrupt other CPUs.
 */
size_t kva_unmap_flush(void);
size_t kva_unmap_tick(void);

/*
 * size bytes that are never freed, zeroed: tables, descriptors of devices, what
 * lives as long as the kernel.  align: a power of two; 0: that of any type, 16.
 * They lie side by side in pages where nothing else does, without header or
 * tag, and so hold nothing that comes and goes.  There is no free; kva_shutdown
 * takes all back.  flags: VM_NOSLEEP or VM_SLEEP.  NULL: no memory.  Size 0 or
 * another align is a misuse.  Thread context.  Constant work, a new range
 * aside.  (FreeBSD's M_NEVERFREED; its arenas for that.)
 *
 * Pools whose slabs are never freed take them from kmem_permanent_arena
 * (struct kva_pool_allocator).  It gives nothing back to its source, what is
 * freed there serves the next; so kva_shutdown asks nobody for what is live.
 */
void *kva_permanent_alloc(size_t size, size_t align, kva_vm_flag_t flags);

/*
 * Pageable ranges: addresses from kernel_va_arena, described in kernel_map,
 * which is kept for fault handling only.  A page has a frame, of zeros, from
 * the first fault on.  prot and access are of KVA_PROT_*.  Sizes in bytes,
 * rounded up to pages; but for alloc a range may be any pages that are
 * pageable, parts of ranges or several side by side.  Thread context, no lock
 * held; all may sleep for a moment where a port can, linear in pages.
 *
 * alloc: KVA_ENOMEM, or KVA_ENOTSUP without an address space (tiers 0 and 1,
 * kva_boot_simple).  Metadata is not waited for, VM_SLEEP or not.
 * free: frames go back, and addresses as soon as it takes no memory.  Wired
 * pages are a misuse.  Never allocates.
 */
int kva_pageable_alloc(size_t size, unsigned prot, kva_vm_flag_t flags,
                       kva_vmem_addr_t *va);
void kva_pageable_free(kva_vmem_addr_t va, size_t size);

/* Other accesses from now on; 0: none.  Neither allocates nor fails. */
void kva_pageable_protect(kva_vmem_addr_t va, size_t size, unsigned prot);

/*
 * wire: every page gets a frame, and keeps it until it was unwired as often.
 * All or nothing: KVA_ENOMEM, or KVA_EAGAIN for a page that is wired 1023 times.
 */
int kva_pageable_wire(kva_vmem_addr_t va, size_t size);
void kva_pageable_unwire(kva_vmem_addr_t va, size_t size);

/* Frames of pages that are not wired are given back, and what was in them is
 * lost: the next access finds zeros.  For who reclaims.  Returns bytes. */
size_t kva_pageable_discard(kva_vmem_addr_t va, size_t size);

/*
 * What a kernel's handler asks when an access to va trapped.  0: make it once
 * more; KVA_EFAULT: nothing pageable there, or not for such accesses;
 * KVA_ENOMEM: no frame.  access 0: whatever the page allows.  Logarithmic.
 */
int kva_fault(kva_vmem_addr_t va, unsigned access);

/* A run of pages with the same accesses and wiring; what other systems have a
 * map entry for. */
struct kva_map_entry {
    kva_vmem_addr_t first;
    kva_vmem_addr_t last; /* inclusive */
    unsigned prot;        /* of KVA_PROT_* */
    unsigned wired;       /* how often */
    size_t resident;      /* bytes that have frames */
};

/* The entry that holds va, or the first one behind it; false: there is none.
 * Logarithmic, and the length of the entry. */
bool kva_map_next(kva_vmem_addr_t va, struct kva_map_entry *entry);

/* The entry that holds va: true and its bounds, or false. */
bool kva_map_lookup(kva_vmem_addr_t va, kva_vmem_addr_t *first,
                    kva_vmem_addr_t *last);

/* All entries in print; pr as for vmem_print. */
void kva_map_print(kva_vmem_pr_t *pr);

/* NULL, or which invariant of kernel_map does not hold.  Linear in pages. */
const char *kva_map_check(void);

/* What the tower holds now, in bytes unless said otherwise. */
struct kva_stat {
    size_t wired_bytes;   /* attached by arenas */
    size_t wired_max;     /* its high-water mark */
    size_t reserve_bytes; /* of what may be wired, for the entitled */
    size_t reserve_used;  /* of those */
    size_t stock_pages;   /* of metadata, for the entitled */
    size_t stock_wanted;  /* that there should be */
    size_t map_entries;   /* in kernel_map */
    size_t map_entry_bytes;
    size_t map_bytes;          /* pageable */
    size_t map_resident_bytes; /* of them with frames */
    size_t tags;               /* of all arenas: busy, free and span */
    size_t tag_bytes;          /* of those */
    size_t spans;
    size_t meta_pages_bytes;  /* all metadata pages */
    size_t meta_bytes[8];     /* by enum kva_meta_kind */
    size_t lazy_bytes;        /* freed, and queued for a flush: still wired */
    size_t lazy_ranges;       /* so many ranges */
    size_t lazy_flushes;      /* flushes of queued ranges since kva_boot */
    size_t lazy_flushed;      /* ranges that those were for */
    size_t quarantine_bytes;  /* addresses in quarantine */
    size_t quarantine_ranges; /* so many ranges */
};
void kva_stat(struct kva_stat *st);

#ifdef __cplusplus
}
#endif

#ifndef KVA_NO_NAMES
#include "kva/kva_names.h"
#endif

#endif
