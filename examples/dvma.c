/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bus addresses for DMA (DVMA).  A device whose address counter has 24 bits
 * must not be given a buffer across a multiple of 16 MiB; another reaches the
 * lower half only.  The space is small, so drivers wait for it, first come
 * first served: here until a transfer ends, or until their patience does.
 */
#include <stdio.h>

#include "posix.h"
#include "vmem/vmem.h"

#define MIB ((vmem_size_t)1 << 20)
#define SPACE ((vmem_addr_t)0xf8800000)
#define COUNTER (16 * MIB)
static vmem_t *dvma;

static vmem_addr_t
map(const char *who, vmem_size_t size, vmem_addr_t last, uint64_t patience_ns)
{
    struct kva_vmem_request rq = { 0 };
    vmem_addr_t addr = 0;
    int err;

    rq.size = size;
    rq.nocross = COUNTER;
    rq.maxaddr = last;
    rq.flags = VM_SLEEP;
    if ((err = vmem_xalloc_timed(dvma, &rq, patience_ns, who, &addr)) != 0) {
        printf("%s: %s\n", who, err == KVA_ETIMEDOUT ? "timed out" : "never");
    } else {
        printf("%s: space + %4zu KiB\n", who, (size_t)(addr - SPACE) / 1024);
    }
    return addr;
}

/* Whoever is about to sleep: meanwhile a transfer ends, or only time passes. */
static void
meanwhile(void *arg, const void *channel)
{
    vmem_addr_t *busy = arg;

    (void)channel;
    if (*busy == 0) {
        kva_posix_clock_advance(1000000);
        return;
    }
    printf("  disk is done\n");
    vmem_xfree(dvma, *busy, 4 * MIB);
    *busy = 0;
}

int
main(void)
{
    vmem_addr_t disk;

    if (kva_posix_init(NULL) != 0) {
        return 1;
    }
    kva_posix_clock_virtual(true);
    kva_posix_wait_hook(meanwhile, &disk);
    dvma = vmem_create("dvma", SPACE, 16 * MIB, 8192, NULL, NULL, NULL, 0,
                       VM_SLEEP, KVA_IPL_NONE);
    if (dvma == NULL) {
        return 1;
    }
    disk = map("disk", 4 * MIB, SPACE + 8 * MIB - 1, 0);
    map("ether", 6 * MIB, VMEM_ADDR_MAX, 0); /* behind the multiple: 8 to 14 */
    map("tape", 6 * MIB, SPACE + 8 * MIB - 1, 0);
    map("sound", 6 * MIB, VMEM_ADDR_MAX, 500000);
    map("frame", 12 * MIB, VMEM_ADDR_MAX, 0); /* no transfer's end can help */

    vmem_xfreeall(dvma);
    vmem_destroy(dvma);
    vmem_fini();
    kva_posix_fini();
    return 0;
}
