/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole tower for a test of the layers above the arenas: started on the
 * host port, and taken down again with nothing left behind.
 */
#ifndef TESTS_UNIT_TOWER_H
#define TESTS_UNIT_TOWER_H

#include <string.h>

#include "malloc_compat/malloc_store.h"
#include "pool/pool_impl.h"
#include "tests/harness/machine.h"

#define TOWER_INTR_BYTES ((size_t)256 << 10)

static inline void
tower_start_with(const struct kva_posix_config *config, struct kva_boot boot)
{
    PORT(config);
    machine_boot(boot);
    kva_kmem_init();
}

/* page_limit 0: none. */
static inline void
tower_start_on(unsigned cpus, size_t page_limit)
{
    const struct kva_posix_config config = { .va_bytes = (size_t)256 << 20,
                                             .meta_bytes = (size_t)32 << 20,
                                             .page_limit = page_limit,
                                             .cpus = cpus };

    tower_start_with(&config,
                     (struct kva_boot){ .intr_bytes = TOWER_INTR_BYTES });
}

static inline void
tower_start(size_t page_limit)
{
    tower_start_on(4, page_limit);
}

/* The invariants of every pool and of the arena beneath. */
static inline void
tower_check(void)
{
    for (struct kva_pool *pp = kva_pool_list; pp != NULL; pp = pp->next) {
        const char *bad = kva_pool_check(pp);

        if (bad != NULL) {
            FAIL("%s: %s", pp->name, bad);
        }
    }
    if (kva_vmem_check(kva_kmem_arena) != NULL) {
        FAIL("kmem_arena: %s", kva_vmem_check(kva_kmem_arena));
    }
}

/* Everything given back: no page of the arenas' is left attached, and after
 * the end no page of metadata either. */
static inline void
tower_end(void)
{
    tower_check();
    kva_malloc_fini();
    kva_kmem_fini();
    (void)kva_pool_drain_all();
    CHECK_EQ(kva_vmem_size(kva_kmem_arena, VMEM_ALLOC | VMEM_FREE), 0);
    CHECK_EQ(kva__meta_bytes(KVA_META_SLAB_HEADERS), 0);
    kva_shutdown();
    CHECK_EQ(machine().attached_pages, 0);
}

/* Bytes of an object that tell which one it is. */
static inline void
tower_fill(void *p, size_t size, unsigned mark)
{
    memset(p, (int)(mark & 0xffu), size);
}

static inline bool
tower_intact(const void *p, size_t size, unsigned mark)
{
    const unsigned char *byte = p;

    for (size_t i = 0; i < size; i++) {
        if (byte[i] != (mark & 0xffu)) {
            return false;
        }
    }
    return true;
}

#endif
