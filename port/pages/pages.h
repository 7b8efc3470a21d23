/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A supply of physical pages, for a kernel that has none: the boot loader's
 * memory map in, page frames out, one by one, in runs, and in runs under the
 * constraints of a device.  The kernel's port forwards its hooks here:
 *
 *     int kva_port_page_get(size_t n, unsigned flags, kva_pa_t *pa)
 *     { return kva_pages_get(n, flags, pa); }
 *     void kva_port_page_put(size_t n, kva_pa_t pa)
 *     { kva_pages_put(n, pa); }
 *     int kva_port_meta_get(uintptr_t *va)
 *     { return kva_pages_meta_get(va); }
 *     void kva_port_meta_put(uintptr_t va)
 *     { kva_pages_meta_put(va); }
 *
 * It is a part of a port, as port/posix is, and optional: nothing of the
 * library refers to it.  It stands on vmem alone.  pages.c has the theory.
 *
 * Physical addresses have 64 bits and frames are counted by uintptr_t: a 32-bit
 * machine may have 2^32 frames, 16 TiB.  Frames need not be mapped anywhere,
 * but for those that the supply uses itself.
 *
 * Unless said otherwise: any context that the port's locks allow, with locks of
 * the library's held or none; nothing sleeps.
 */
#ifndef KVA_PORT_PAGES_H
#define KVA_PORT_PAGES_H

#include "port/port.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A line of the memory map.  bytes 0: nothing. */
struct kva_pages_range {
    kva_pa_t base;
    uint64_t bytes;
    bool usable;
};

/* Most ranges of usable memory, after those that touch have been joined. */
#define KVA_PAGES_RANGES 64u

/*
 * How the machine's memory is.  map: in any order.  What overlaps is joined;
 * where a line that is not usable overlaps one that is, it wins, as loaders
 * mean it; a frame is used if all of it is.
 *
 * What the supply keeps for itself (three bits for each frame, tags, a hash)
 * lies in frames that it takes for it, which it must be able to reach: those at
 * [direct_pa, direct_pa + direct_bytes) are mapped at direct_va from now on, the
 * frame at pa at direct_va + (pa - direct_pa).  On an identity-mapped kernel
 * that is 0 and all there is.  Without any (direct_bytes 0), donated is mapped
 * memory of the caller's for all of it: KVA_PAGES_DONATE of the frames there are
 * suffices for whatever happens; with less, frames are left out of use as long
 * as there are no tags for what lies beside them.  Where only the lower part of
 * memory is mapped, requests for pages take the upper part first.
 *
 * reserve: the last frames, which only KVA_PAGE_RESERVE gets.  low_end: frames
 * below it (a multiple of the page size) are for those who ask for them by
 * kva_pages_contig, and for others when nothing else is left; 0: no such rule.
 */
struct kva_pages_boot {
    const struct kva_pages_range *map;
    size_t nmap;
    uintptr_t direct_va;
    kva_pa_t direct_pa;
    uint64_t direct_bytes;
    void *donated;
    size_t donated_bytes;
    size_t reserve;
    kva_pa_t low_end;
};

/* Bytes to donate for so many frames, in the worst case: a tag for each, its
 * share of the hash, three bits, and what the rounding of each range and of
 * pages costs. */
#define KVA_PAGES_DONATE(frames) ((size_t)(frames)*40u + 24u * KVA_PAGE_SIZE)

/*
 * Start.  Once, before kva_boot, from one thread with no lock held.  0, or with
 * nothing changed and a line in the log that names the line of the map:
 * KVA_EINVAL for a map or a setting that makes no sense (a line that wraps,
 * frames beyond uintptr_t, more than KVA_PAGES_RANGES ranges, no usable frame),
 * KVA_ENOMEM if there is no room for the supply's own tables.  Quadratic in
 * nmap.
 */
int kva_pages_init(const struct kva_pages_boot *boot);

/*
 * The end, for tests and tools: after kva_shutdown.  Returns how many frames
 * are still held by somebody.  What is given back later is ignored.
 */
size_t kva_pages_fini(void);

/*
 * n contiguous frames; *pa is the first one's address.  flags: KVA_PAGE_*; with
 * KVA_PAGE_ZERO out of the direct map, through which they are zeroed.  0 or
 * KVA_ENOMEM.  Any part of a run, and runs that lie side by side, may be
 * given back by one kva_pages_put; frames that are not held are a misuse.  A
 * put needs no memory.
 * Work: a constant, and a logarithm in ranges; for one frame mostly a pop.
 * For more, the bits of n frames; a put also looks for the start of the run,
 * through the bits of a word's frames at a time.  With low_end, a step for
 * each hole below it when there is nothing above.
 */
int kva_pages_get(size_t n, unsigned flags, kva_pa_t *pa);
void kva_pages_put(size_t n, kva_pa_t pa);

/*
 * The same, all bytes within [low, high], the first at a multiple of align (0:
 * the page size), and not across a multiple of boundary (0: none); both powers
 * of two, in bytes.  KVA_EINVAL: no frames can ever meet that.  If there are
 * such frames they are found.  FreeBSD's contigmalloc, NetBSD's uvm_pglistalloc.
 * Work as vmem_xalloc's with bounds: in steps of 64 holes, with the supply
 * locked.
 */
int kva_pages_contig(size_t n, kva_pa_t low, kva_pa_t high, kva_pa_t align,
                     kva_pa_t boundary, unsigned flags, kva_pa_t *pa);

/* Exactly the n frames at pa: for what the loader left there, or a firmware's
 * table that is to be read later.  KVA_ENOMEM: not all of them are free. */
int kva_pages_claim(size_t n, kva_pa_t pa);

/* A zeroed frame that is mapped by the direct map, for metadata; and back.
 * KVA_ENOMEM also if there is no direct map. */
int kva_pages_meta_get(uintptr_t *va);
void kva_pages_meta_put(uintptr_t va);

/* The frame's address in the direct map, 0: not in it. */
uintptr_t kva_pages_direct(kva_pa_t pa);

/* Frames, unless said otherwise. */
struct kva_pages_stat {
    size_t total;    /* of the map */
    size_t own;      /* of these: the supply's own tables and tags */
    size_t held;     /* given out */
    size_t free;     /* total - own - held */
    size_t reserve;  /* of the free ones: only for KVA_PAGE_RESERVE */
    size_t stock;    /* of the free ones: ready to be given out singly */
    size_t parked;   /* of the free ones: for want of tags in nobody's reach */
    size_t held_max; /* the most that were ever given out */
    size_t longest;  /* the longest free run */
    size_t ranges;   /* of memory */
    size_t tags;     /* in use, of the arena beneath */
    size_t gets;     /* calls of get and meta_get; and those that failed */
    size_t fails;
    size_t contigs; /* calls of contig; and those that failed */
    size_t contig_fails;
    size_t puts; /* calls of put and meta_put */
};
void kva_pages_stat(struct kva_pages_stat *st);

/* Check every invariant: NULL, or what does not hold.  Linear in frames. */
const char *kva_pages_check(void);

#ifdef __cplusplus
}
#endif

#endif
