/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every knob of the library, with its meaning, default and range.  Each may
 * be set on the compiler's command line; all files of the library and the
 * port must be built with the same values.
 */
#ifndef KVA_PORT_CONFIG_H
#define KVA_PORT_CONFIG_H

/* Which hooks the port has, see port.h.  0 to 3; each tier includes those
 * below it.  What needs a higher tier is compiled out. */
#ifndef KVA_TIER
#define KVA_TIER 3
#endif

/* log2 of the page size.  12 to 16. */
#ifndef KVA_PAGE_SHIFT
#define KVA_PAGE_SHIFT 12
#endif

/* Bytes of a cache line of the machine.  A power of two, 16 to 256. */
#ifndef KVA_CACHE_LINE
#define KVA_CACHE_LINE 64
#endif

/* Most CPU slots that the port may name.  1 to 256. */
#ifndef KVA_CPU_MAX
#define KVA_CPU_MAX 256
#endif

/* 1: assertions of the library about itself (KVA_ASSERT).  Checks of the
 * caller (misuse) are always on. */
#ifndef KVA_CONFIG_DEBUG
#define KVA_CONFIG_DEBUG 0
#endif

/* 1: check the whole arena after each operation on its tags.  Slow. */
#ifndef KVA_CONFIG_PARANOID
#define KVA_CONFIG_PARANOID 0
#endif

/* 1: cached items are checked at each get and put; 0: only when a magazine
 * meets its slab ("-Dchecks=flush"). */
#ifndef KVA_CONFIG_CHECKS
#define KVA_CONFIG_CHECKS 1
#endif

/* 1: the library brings memset, memcpy, memmove and memcmp, under those names
 * and those of ARM's EABI, for a kernel that has none: compilers emit calls to
 * them unasked. */
#ifndef KVA_CONFIG_MEMORY
#define KVA_CONFIG_MEMORY 0
#endif

/* 1: the port has kva_port_read_barrier, which PR_PSERIALIZE of pool(9) needs.
 * At tier 3 only: it sleeps. */
#ifndef KVA_CONFIG_READ_BARRIER
#define KVA_CONFIG_READ_BARRIER 0
#endif
#define KVA_READ_BARRIER (KVA_TIER >= 3 && KVA_CONFIG_READ_BARRIER)

/* log2 of how many leaves, each a page's worth of pointers to the pages of
 * slabs, are found at the cost of a hit: from the first slab on, or a quarter
 * of it below.  The default has 2 GiB and takes 8 KiB; every step doubles both.
 * Not with 32-bit words, where all addresses are.  2 to 20. */
#ifndef KVA_SLAB_ROOT_SHIFT
#define KVA_SLAB_ROOT_SHIFT 10
#endif

/*
 * Bytes of a large page: what one entry maps at the level of page tables above
 * that of pages.  Wired ranges of so much and more begin at such a boundary,
 * and their frames too if the port has them so; then it may map with large
 * pages.  0: that is of no use.  The default is what a page full of entries of
 * 8 bytes maps: 2 MiB with pages of 4 KiB (x86_64 and PAE, aarch64, riscv64);
 * entries of 4 bytes map twice as much.  Slabs come from ranges of 512 pages at
 * most: with large pages above that only what is asked for in one go is in
 * them.  0, or a power of two and at least two pages.
 */
#ifndef KVA_LARGE_PAGE_SIZE
#define KVA_LARGE_PAGE_SIZE (1ul << (2 * KVA_PAGE_SHIFT - 3))
#endif

/* 1: the port has kva_port_demote, which one that maps with large pages needs
 * unless it has set aside what it takes to map one page by page. */
#ifndef KVA_CONFIG_DEMOTE
#define KVA_CONFIG_DEMOTE 0
#endif
#define KVA_DEMOTE (KVA_TIER >= 2 && KVA_CONFIG_DEMOTE)

/* 1: the port has kva_port_page_contig, for kva_contig_alloc. */
#ifndef KVA_CONFIG_PAGE_CONTIG
#define KVA_CONFIG_PAGE_CONTIG 0
#endif

/* 1: all memory, or a part of it, is mapped in one piece, and the port says
 * where (kva_port_direct): then wired memory whose frames lie in a row there is
 * used through it.  From tier 2 on; below it all memory is identity mapped. */
#ifndef KVA_CONFIG_DIRECT_MAP
#define KVA_CONFIG_DIRECT_MAP 0
#endif
#define KVA_DIRECT_MAP (KVA_TIER >= 2 && KVA_CONFIG_DIRECT_MAP)

/* 1: pools can have debug modes (pool/debug.h).  They cost nothing while they
 * are off; 0 leaves out what would be asked for them on slow paths. */
#ifndef KVA_CONFIG_POOL_DEBUG
#define KVA_CONFIG_POOL_DEBUG 1
#endif

/* 1: the port has kva_port_stack. */
#ifndef KVA_CONFIG_STACK
#define KVA_CONFIG_STACK 0
#endif

/* 1: the port has kva_port_context, by which debug builds see whether it keeps
 * its promises about locks and interrupts (port/contract.c). */
#ifndef KVA_CONFIG_CONTEXT
#define KVA_CONFIG_CONTEXT 0
#endif

/* 1: there are reserves for who must allocate in order to free (vmem/reserve.h).
 * They cost a hit nothing, and nothing at all while nobody is entitled; 0 leaves
 * out what would be asked for them on slow paths. */
#ifndef KVA_CONFIG_RESERVES
#define KVA_CONFIG_RESERVES 1
#endif
#define KVA_RESERVES KVA_CONFIG_RESERVES

/* 1: the port has kva_port_task_mark, for kva_reserve_enter. */
#ifndef KVA_CONFIG_TASK_MARK
#define KVA_CONFIG_TASK_MARK 0
#endif
#define KVA_TASK_MARK (KVA_RESERVES && KVA_CONFIG_TASK_MARK)

/* How the slab of an address is found: by the table of the library's own; by
 * the port's hook kva_port_page_owner; or by the header that a run of pages
 * begins with.  docs/design.md says what each costs. */
#define KVA_LOOKUP_TABLE 0
#define KVA_LOOKUP_OWNER 1
#define KVA_LOOKUP_HEADER 2
#ifndef KVA_CONFIG_SLAB_LOOKUP
#define KVA_CONFIG_SLAB_LOOKUP KVA_LOOKUP_TABLE
#endif
#define KVA_SLABS_BY_OWNER (KVA_CONFIG_SLAB_LOOKUP == KVA_LOOKUP_OWNER)
#define KVA_SLABS_BY_HEADER (KVA_CONFIG_SLAB_LOOKUP == KVA_LOOKUP_HEADER)
/* Runs of the quantum caches may be marked (vmem/mark.c). */
#define KVA_RUN_MARKS KVA_SLABS_BY_HEADER

#define KVA_PAGE_SIZE ((size_t)1 << KVA_PAGE_SHIFT)
#define KVA_PAGE_MASK (KVA_PAGE_SIZE - 1)
#define KVA_LARGE_PAGES ((size_t)(KVA_LARGE_PAGE_SIZE) >> KVA_PAGE_SHIFT)

_Static_assert(KVA_TIER >= 0 && KVA_TIER <= 3, "KVA_TIER is 0 to 3");
_Static_assert(KVA_PAGE_SHIFT >= 12 && KVA_PAGE_SHIFT <= 16,
               "KVA_PAGE_SHIFT is 12 to 16");
_Static_assert(KVA_LARGE_PAGE_SIZE == 0 ||
                   ((KVA_LARGE_PAGE_SIZE >> KVA_PAGE_SHIFT) >= 2 &&
                    (KVA_LARGE_PAGE_SIZE & (KVA_LARGE_PAGE_SIZE - 1)) == 0),
               "KVA_LARGE_PAGE_SIZE is 0, or a power of two above a page");
_Static_assert(KVA_CACHE_LINE >= 16 && KVA_CACHE_LINE <= 256 &&
                   (KVA_CACHE_LINE & (KVA_CACHE_LINE - 1)) == 0,
               "KVA_CACHE_LINE is a power of two, 16 to 256");
_Static_assert(KVA_SLAB_ROOT_SHIFT >= 2 && KVA_SLAB_ROOT_SHIFT <= 20,
               "KVA_SLAB_ROOT_SHIFT is 2 to 20");
_Static_assert(KVA_CONFIG_SLAB_LOOKUP >= KVA_LOOKUP_TABLE &&
                   KVA_CONFIG_SLAB_LOOKUP <= KVA_LOOKUP_HEADER,
               "KVA_CONFIG_SLAB_LOOKUP is 0 to 2");
_Static_assert(KVA_CPU_MAX >= 1 && KVA_CPU_MAX <= 256,
               "KVA_CPU_MAX is 1 to 256");

#endif
