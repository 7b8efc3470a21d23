/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine all of whose frames are mapped for good (KVA_CONFIG_DIRECT_MAP).
 * The map is a range of its own, with memory for each frame that is touched
 * there, and loses it when the frame is given back.  A frame that is mapped
 * elsewhere as well has other memory there: nobody may rely on both at a time.
 */
#include <sys/mman.h>

#include "port/posix/posix_impl.h"

#if KVA_DIRECT_MAP
static uintptr_t base;

static size_t
map_bytes(void)
{
    return kva__posix.va_pages << KVA_PAGE_SHIFT;
}

int
kva__posix_direct_init(void)
{
    base = (uintptr_t)kva__posix_reserve(map_bytes(), 0);
    if (base == 0 ||
        mprotect((void *)base, map_bytes(), PROT_READ | PROT_WRITE) != 0) {
        return KVA_ENOMEM;
    }
    return 0;
}

void
kva__posix_direct_fini(void)
{
    kva__posix_unreserve(base, map_bytes());
    base = 0;
}

void
kva__posix_direct_clear(size_t frame, size_t n)
{
    (void)madvise((void *)(base + (frame << KVA_PAGE_SHIFT)),
                  n << KVA_PAGE_SHIFT, MADV_DONTNEED);
}

bool
kva_port_direct(kva_pa_t pa, size_t n, uintptr_t *va)
{
    size_t frame;

    posix_yield("direct");
    if (!kva__posix_frame_find(pa & ~(kva_pa_t)KVA_PAGE_MASK, n, &frame)) {
        return false;
    }
    *va = base + (frame << KVA_PAGE_SHIFT) + (uintptr_t)(pa & KVA_PAGE_MASK);
    return true;
}

bool
kva_port_direct_pa(uintptr_t va, kva_pa_t *pa)
{
    *pa = kva__posix_frame_pa(0) + (va - base);
    return base != 0 && va - base < map_bytes();
}

#else

int
kva__posix_direct_init(void)
{
    return 0;
}

void
kva__posix_direct_fini(void)
{
}

void
kva__posix_direct_clear(size_t frame, size_t n)
{
    (void)frame;
    (void)n;
}
#endif
