/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When memory is short, a larger class may have an object in a magazine or in
 * a slab while the right one would need a new slab.  Whoever would rather have
 * too much than nothing takes that.  The idea and the interface are illumos'.
 */
#include "kmem/kmem_impl.h"

void *
kmem_alloc_tryhard(size_t size, size_t *taken, km_flag_t flags)
{
    void *p;

    *taken = size;
    while (*taken - 1u < KVA__KMEM_SMALL_MAX) {
        *taken = kmem_roundup_size(*taken);
        p = kmem_alloc(*taken, KM_NOSLEEP);
        if (p != NULL) {
            return p;
        }
        *taken += 1;
    }
    *taken = size;
    return kmem_alloc(size, flags);
}
