/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupt vectors.  Some are where the hardware or an old interface wants
 * them and are claimed by number; a device takes one, or with MSI a power of
 * two of them, aligned to their number since it puts the low bits in itself.
 * Urgent ones come from the top, where a local APIC has the high priorities.
 */
#include <stdio.h>

#include "posix.h"
#include "vmem/vmem.h"

#define VECTOR_FIRST 0x20 /* below are the exceptions */
#define VECTORS (0x100 - VECTOR_FIRST)

static vmem_t *vectors;

static void
claim(const char *who, vmem_addr_t vector)
{
    int err = vmem_xalloc_addr(vectors, vector, 1, VM_NOSLEEP);

    printf("%-10s 0x%02lx%s\n", who, (unsigned long)vector,
           err == 0 ? "" : ": taken");
}

static vmem_addr_t
take(const char *who, vmem_size_t n, vm_flag_t flags)
{
    vmem_addr_t v;

    if (vmem_xalloc(vectors, n, n, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                    VM_NOSLEEP | flags, &v) != 0) {
        printf("%-10s no %zu vectors together\n", who, n);
        return 0;
    }
    printf("%-10s 0x%02lx to 0x%02lx\n", who, (unsigned long)v,
           (unsigned long)(v + n - 1));
    return v;
}

int
main(void)
{
    vmem_addr_t nvme;

    if (kva_posix_init(NULL) != 0) {
        return 1;
    }
    vectors = vmem_create("vectors", VECTOR_FIRST, VECTORS, 1, NULL, NULL, NULL,
                          0, VM_SLEEP | VM_INDEX, KVA_IPL_NONE);
    if (vectors == NULL) {
        return 1;
    }
    claim("syscall", 0x80);
    claim("spurious", 0xff);
    claim("int80", 0x80);
    take("ipi", 1, VM_ENDALLOC);
    take("clock", 1, VM_ENDALLOC);
    take("serial", 1, 0);
    nvme = take("nvme", 32, 0);
    take("ether", 8, 0);
    take("greedy", 128, 0);

    printf("nvme goes\n");
    vmem_xfree(vectors, nvme, 32);
    printf("free: %zu, at most %zu together\n", vmem_size(vectors, VMEM_FREE),
           vmem_size(vectors, VMEM_MAXFREE));

    vmem_xfreeall(vectors);
    vmem_destroy(vectors);
    vmem_fini();
    kva_posix_fini();
    return 0;
}
