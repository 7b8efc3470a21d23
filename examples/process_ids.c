/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Process IDs.  An arena of plain numbers with a quantum of 1; number 0 would
 * be as good as any other.  With next fit (which wants VM_INDEX) a number that
 * is given back is used again as late as can be, so that a stale one does not
 * soon name another process.
 */
#include <stdio.h>

#include "posix.h"
#include "vmem/vmem.h"

#define PID_FIRST 1
#define PID_LAST 8 /* few, so that they come round */

static vmem_t *pids;

static vmem_addr_t
process_begin(void)
{
    vmem_addr_t pid;

    if (vmem_alloc(pids, 1, VM_NOSLEEP | VM_NEXTFIT, &pid) != 0) {
        printf("fork: no process ID is free\n");
        return 0;
    }
    printf("fork: %lu\n", (unsigned long)pid);
    return pid;
}

static void
process_end(vmem_addr_t pid)
{
    printf("exit: %lu\n", (unsigned long)pid);
    vmem_free(pids, pid, 1);
}

int
main(void)
{
    if (kva_posix_init(NULL) != 0) {
        return 1;
    }
    pids = vmem_create("pids", PID_FIRST, PID_LAST - PID_FIRST + 1, 1, NULL,
                       NULL, NULL, 0, VM_SLEEP | VM_INDEX, KVA_IPL_NONE);

    /* The first process is number 1 whatever else happens. */
    if (pids == NULL || vmem_xalloc_addr(pids, 1, 1, VM_NOSLEEP) != 0) {
        return 1;
    }
    for (int i = 0; i < 5; i++) {
        process_begin();
    }
    process_end(3);
    process_end(4);
    process_begin(); /* 7 and 8, though 3 and 4 are free */
    process_begin();
    process_begin(); /* round again: 3 */
    process_begin();
    process_begin(); /* none is left */
    printf("%zu of %zu in use\n", vmem_size(pids, VMEM_ALLOC),
           vmem_size(pids, VMEM_ALLOC | VMEM_FREE));

    vmem_xfreeall(pids);
    vmem_destroy(pids);
    vmem_fini();
    kva_posix_fini();
    return 0;
}
