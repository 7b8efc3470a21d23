/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Offsets in a file, or on a disk: extents of whole sectors.  Best fit keeps
 * long holes long; when no hole does, the import function makes the file
 * longer, and as nothing is ever given back at its end, what was added joins
 * what was there.  An extent that grows does so in place if what lies behind it
 * is free, and is moved only if not.  Offsets have the width of an address;
 * where that is 32 bits, a larger file would count in sectors.
 */
#include <stdio.h>

#include "posix.h"
#include "vmem/vmem.h"

#define SECTOR 512u
#define BEGIN ((vmem_addr_t)1 << (KVA_WORD_64 ? 41 : 31)) /* of the data */
#define ROOM (1u << 20)                                   /* from there on */

static vmem_addr_t file_end = BEGIN;

static int
file_grow(vmem_t *arg, vmem_size_t size, vm_flag_t flags, vmem_addr_t *addr)
{
    (void)arg;
    (void)flags;
    *addr = file_end;
    file_end += size;
    printf("  the file grows to begin + %zu\n", (size_t)(file_end - BEGIN));
    return 0;
}

static vmem_addr_t
extent(vmem_t *file, vmem_size_t bytes)
{
    vmem_addr_t addr = 0;

    if (vmem_xalloc(file, bytes, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                    VM_NOSLEEP | VM_BESTFIT, &addr) != 0) {
        printf("%7zu bytes: the file is full\n", bytes);
    } else {
        printf("%7zu bytes at begin + %zu\n", bytes, (size_t)(addr - BEGIN));
    }
    return addr;
}

/* Where the extent is, once it has more bytes than before. */
static vmem_addr_t
extent_grow(vmem_t *file, vmem_addr_t addr, vmem_size_t bytes, vmem_size_t more)
{
    vmem_addr_t moved;

    if (vmem_xextend(file, addr, bytes, addr, more) == 0) {
        printf("%7zu bytes now, still at begin + %zu\n", more,
               (size_t)(addr - BEGIN));
        return addr;
    }
    moved = extent(file, more); /* and the data is copied */
    vmem_xfree(file, addr, bytes);
    return moved;
}

int
main(void)
{
    vmem_addr_t a, b, c, d;
    vmem_t *file;

    if (kva_posix_init(NULL) != 0) {
        return 1;
    }
    file = vmem_create("file", 0, 0, SECTOR, NULL, NULL, NULL, 0, VM_SLEEP,
                       KVA_IPL_NONE);
    if (file == NULL) {
        return 1;
    }
    vmem_set_import(file, file_grow, NULL, NULL, 64 * 1024);
    vmem_set_limit(file, ROOM);
    a = extent(file, 20000);
    b = extent(file, 3000);
    c = extent(file, 30000);
    d = extent(file, 1000);
    vmem_xfree(file, a, 20000);
    vmem_xfree(file, c, 30000);
    a = extent(file, 15000); /* the hole of a, not the longer one of c */
    extent(file, 100000); /* in no hole: longer file, one piece with its end */
    extent(file, 2000000);
    b = extent_grow(file, b, 3000, 20000);  /* into the hole of c */
    a = extent_grow(file, a, 15000, 20000); /* up to b, and no further */
    a = extent_grow(file, a, 20000, 30000);
    vmem_xfree(file, a, 30000);
    vmem_xfree(file, b, 20000);
    vmem_xfree(file, d, 1000);
    printf("largest hole: %zu\n", vmem_size(file, VMEM_MAXFREE));

    vmem_xfreeall(file);
    vmem_destroy(file);
    vmem_fini();
    kva_posix_fini();
    return 0;
}
