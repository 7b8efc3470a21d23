/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI windows.  The host bridge has address space in units of 1 MiB.  The bus
 * behind a bridge imports from it by whole requests (vmem_rimport): when a BAR
 * wants an address that is aligned to its size and below 4 GiB, so does the
 * window that is opened for it.  When the last BAR in a window goes, the
 * window goes back to the host bridge.
 */
#include <stdio.h>

#include "posix.h"
#include "vmem/vmem.h"

#define KIB ((vmem_size_t)1024)
#define MIB (1024 * KIB)
#define BELOW_4G ((vmem_addr_t)0xffffffff)

static vmem_t *host, *bus;

/* Naturally aligned, as a BAR is decoded. */
static vmem_addr_t
bar(const char *name, vmem_size_t size)
{
    vmem_addr_t addr = 0;

    if (vmem_xalloc(bus, size, size, 0, 0, VMEM_ADDR_MIN, BELOW_4G, VM_NOSLEEP,
                    &addr) != 0) {
        printf("%s: no room\n", name);
    }
    return addr;
}

static void
show(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    (void)arg;
    printf("  %s0x%08lx %6zu KiB\n", type == VMEM_SPAN ? "window " : "  bar  ",
           (unsigned long)addr, size / KIB);
}

int
main(void)
{
    vmem_addr_t vga, ether, rom;

    if (kva_posix_init(NULL) != 0) {
        return 1;
    }
    host = vmem_create("pci host", 0xc0100000, 255 * MIB, MIB, NULL, NULL, NULL,
                       0, VM_SLEEP | VM_INDEX, KVA_IPL_NONE);
    bus = vmem_create("pci bus 1", 0, 0, 4 * KIB, NULL, NULL, NULL, 0,
                      VM_SLEEP | VM_INDEX, KVA_IPL_NONE);
    if (host == NULL || bus == NULL) {
        return 1;
    }
    vmem_set_rimport(bus, vmem_rimport, vmem_xfree, host, MIB);

    ether = bar("ether", 128 * KIB);
    vga = bar("vga", 16 * MIB);
    /* The card's decoder adds within 256 KiB: the ROM must not cross that. */
    if (vmem_xalloc(bus, 192 * KIB, 64 * KIB, 0, 256 * KIB, VMEM_ADDR_MIN,
                    BELOW_4G, VM_NOSLEEP, &rom) != 0) {
        return 1;
    }
    bar("huge", 256 * MIB);
    vmem_walk(bus, VMEM_SPAN | VMEM_ALLOC, show, NULL);

    vmem_xfree(bus, vga, 16 * MIB);
    printf("vga is gone: %zu MiB of windows\n",
           vmem_size(host, VMEM_ALLOC) / MIB);
    vmem_xfree(bus, ether, 128 * KIB);
    vmem_xfree(bus, rom, 192 * KIB);
    printf("all are: %zu MiB\n", vmem_size(host, VMEM_ALLOC) / MIB);
    vmem_destroy(bus);
    vmem_destroy(host);
    vmem_fini();
    kva_posix_fini();
    return 0;
}
