/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names and paths of devices: strings of kmem(9), and buffers that are on the
 * stack while they are short.  The kernel here has one region of memory and
 * nothing else: kva_boot_simple.
 */
#include <stdio.h>
#include <string.h>

#include "kmem/kmem.h"
#include "kva/kva.h"
#include "pool/pool.h"
#include "posix.h"

#define REGION_BYTES ((size_t)1 << 20)

static char region[REGION_BYTES]
    __attribute__((aligned(4096))); /* what the boot loader left us */

/* "/dev/NAME", in a buffer that is on the stack unless NAME is long. */
static void
open_device(const char *name)
{
    char stack[32], *path;
    size_t size = strlen("/dev/") + strlen(name) + 1;

    path = kmem_tmpbuf_alloc(size, stack, sizeof(stack), KM_SLEEP);
    if (path == NULL) {
        printf("open: no memory for %zu bytes\n", size);
        return;
    }
    (void)snprintf(path, size, "/dev/%s", name);
    printf("open %s (%zu bytes, %s)\n", path, size,
           path == stack ? "on the stack" : "of kmem");
    kmem_tmpbuf_free(path, size, stack);
}

int
main(void)
{
    char *disk, *part, *label;
    size_t bytes;

    if (kva_posix_init(NULL) != 0 ||
        kva_boot_simple(region, sizeof(region)) != 0) {
        return 1;
    }
    kmem_init();

    disk = kmem_asprintf("%s%u", "sd", 0u);
    part = kmem_asprintf("%s%c", disk, 'a');
    printf("%s takes %zu bytes, %s takes %zu\n", disk,
           kmem_roundup_size(strlen(disk) + 1), part,
           kmem_roundup_size(strlen(part) + 1));
    open_device(part);
    open_device("by-label/the-disk-with-the-long-name");

    label = kmem_strdupsize("the-disk", &bytes, KM_SLEEP);
    printf("label %s, to be freed with %zu\n", label, bytes);
    kmem_free(label, bytes);
    label = kmem_strndup("serial:0123456789", 10, KM_SLEEP);
    printf("label %s\n", label);
    kmem_strfree(label);

    /* A size that was computed, and is absurd: not waited for. */
    printf("%s\n", kmem_alloc((size_t)-1 / 4, KM_SLEEP) == NULL
                       ? "no memory for a quarter of all addresses"
                       : "what?");
    kmem_strfree(part);
    kmem_strfree(disk);
    kmem_fini();
    (void)kva_pool_drain_all();
    kva_shutdown();
    kva_posix_fini();
    return 0;
}
