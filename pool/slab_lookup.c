/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From an address to the header of the slab that it is in, by one of two ways
 * (KVA_CONFIG_SLAB_LOOKUP):
 *
 *     table    a pointer for each page, of our own (slab_map.c)
 *     owner    the same, kept by the port (kva_port_page_owner)
 *
 * Both take any address, mapped or not, and say NULL of what is in no slab: so
 * whatever was put wrongly is told in the same words.
 */
#include "pool/pool_impl.h"

struct kva_pool kva__pool_nobodys;
struct kva__slab kva__slab_nobodys = { .owner = &kva__pool_nobodys };

void
kva__lookup_bootstrap(void)
{
    kva__pool_nobodys.rows = KVA__MAG_NO_ROWS;
    kva__pool_nobodys.sized_rows = KVA__MAG_NO_ROWS;
#if !KVA_SLABS_BY_OWNER
    kva__slabmap_bootstrap();
#endif
}

void
kva__lookup_fini(void)
{
#if !KVA_SLABS_BY_OWNER
    kva__slabmap_fini();
#endif
}

#if KVA_SLABS_BY_OWNER

bool
kva__lookup_enter(const struct kva_pool *pp, struct kva__slab *slab,
                  uintptr_t base)
{
    return kva_port_page_owner_set(base, pp->slab_bytes >> KVA_PAGE_SHIFT,
                                   slab) == 0;
}

void
kva__lookup_leave(const struct kva_pool *pp, struct kva__slab *slab,
                  uintptr_t base, struct kva__slab *outer)
{
    (void)slab;
    (void)kva_port_page_owner_set(base, pp->slab_bytes >> KVA_PAGE_SHIFT,
                                  outer);
}

struct kva__slab *
kva__lookup_find(uintptr_t addr)
{
    return kva_port_page_owner(addr);
}

#else

bool
kva__lookup_enter(const struct kva_pool *pp, struct kva__slab *slab,
                  uintptr_t base)
{
    return kva__slabmap_set(base, pp->slab_bytes, slab);
}

void
kva__lookup_leave(const struct kva_pool *pp, struct kva__slab *slab,
                  uintptr_t base, struct kva__slab *outer)
{
    (void)slab;
    (void)kva__slabmap_set(base, pp->slab_bytes, outer);
}

struct kva__slab *
kva__lookup_find(uintptr_t addr)
{
    return kva__slabmap_find(addr);
}

#endif
