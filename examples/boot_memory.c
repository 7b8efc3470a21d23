/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A kernel without a page allocator: the boot loader's memory map goes to
 * port/pages, and single frames, runs and frames for devices come out.  The
 * machine has 4 MiB; the loader's lines overlap, as they do.  Here its memory
 * is an array, in which frame 0 stands first: the direct map.
 */
#include <stdio.h>

#include "port/pages/pages.h"
#include "posix.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

static _Alignas(KVA_PAGE_SIZE) char memory[4 * MIB];

static const struct kva_pages_range loader_map[] = {
    { 0, 640 * KIB, true },            /* conventional memory */
    { 0, 4 * KIB, false },             /* vectors */
    { 1 * MIB, 3 * MIB, true },        /* the rest */
    { 1 * MIB, 300 * KIB, false },     /* the kernel itself */
    { 1 * MIB + 298 * KIB, 9, false }, /* its command line */
    { 3 * MIB + 512 * KIB, 64 * KIB, false },
};

static void
show(const char *what)
{
    struct kva_pages_stat st;

    kva_pages_stat(&st);
    printf("%-14s %3zu held, %3zu free, the longest run %3zu\n", what, st.held,
           st.free, st.longest);
}

int
main(void)
{
    const struct kva_pages_boot boot = { .map = loader_map,
                                         .nmap = KVA_COUNT(loader_map),
                                         .direct_va = (uintptr_t)memory,
                                         .direct_bytes = sizeof(memory),
                                         .reserve = 8,
                                         .low_end = 1 * MIB };
    struct kva_pages_stat st;
    kva_pa_t dma, run, frame;
    uintptr_t table;

    if (kva_posix_init(NULL) != 0 || kva_pages_init(&boot) != 0) {
        return 1;
    }
    kva_pages_stat(&st);
    printf("%zu frames in %zu ranges, %zu of them for tables\n", st.total,
           st.ranges, st.own);
    show("at first");

    /* A floppy's buffer: below 1 MiB, and not across 64 KiB. */
    if (kva_pages_contig(8, 0, MIB - 1, 0, 64 * KIB, 0, &dma) == 0) {
        printf("the floppy's buffer is below 1 MiB: %s\n",
               dma + 32 * KIB <= MIB ? "yes" : "no");
    }
    /* A run for a frame buffer, aligned as the card wants it. */
    if (kva_pages_contig(64, 0, ~(kva_pa_t)0, 256 * KIB, 0, 0, &run) == 0) {
        printf("the frame buffer is at %llu KiB\n",
               (unsigned long long)(run / KIB));
    }
    /* A page table: a zeroed frame that is mapped. */
    if (kva_pages_meta_get(&table) == 0) {
        printf("a page table is %s\n", *(int *)table == 0 ? "zeroed" : "not");
        kva_pages_meta_put(table);
    }
    show("with buffers");

    kva_pages_put(32, run + 128 * KIB); /* half of it is enough */
    show("half back");
    while (kva_pages_get(1, KVA_PAGE_NOSLEEP, &frame) == 0) {
    }
    show("used up");
    if (kva_pages_get(1, KVA_PAGE_RESERVE, &frame) == 0) {
        show("in need");
    }
    kva_posix_fini();
    return 0;
}
