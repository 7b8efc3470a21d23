/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From an address to the header of the slab that it is in, by one of three
 * ways (KVA_CONFIG_SLAB_LOOKUP):
 *
 *     table    a pointer for each page, of our own (slab_map.c)
 *     owner    the same, kept by the port (kva_port_page_owner)
 *     header   the run of pages that the slab is begins with the header
 *
 * All take any address, mapped or not, and say NULL of what is in no slab: so
 * whatever was put wrongly is told in the same words.
 *
 * By header: memory may be looked at only if it is known to be a slab's.  That
 * says the arena, whose windows have a mark for each run that is one (vmem/
 * mark.c); nothing is read but of slabs, and a slab has no word more for it.
 * Asked are the arenas of kmem, which are there as long as there are pools; so
 * nobody asks one that is being destroyed.  What is not to be found so is in the
 * table:
 *
 *     headers off the slab
 *     slabs from functions and from the arenas of users
 *     slabs of movable objects, whose evacuation asks for the runs of others
 *     slabs of objects of a page or more: there may be slabs in these (nest.c)
 *
 * Invariant: a slab is either marked or in the table.
 */
#include "pool/pool_impl.h"

struct kva_pool kva__pool_nobodys;
struct kva__slab kva__slab_nobodys = { .owner = &kva__pool_nobodys };

#if KVA_SLABS_BY_HEADER
/* One without gate; what hits look at until kmem_arena has a slab. */
static kva_vmem_t no_arena;
const kva_vmem_t *kva__slab_arena = &no_arena;
#endif

void
kva__lookup_bootstrap(void)
{
    kva__pool_nobodys.rows = KVA__MAG_NO_ROWS;
    kva__pool_nobodys.sized_rows = KVA__MAG_NO_ROWS;
#if KVA_SLABS_BY_HEADER
    kva__slab_arena = &no_arena;
#endif
#if !KVA_SLABS_BY_OWNER
    kva__slabmap_bootstrap();
#endif
}

void
kva__lookup_fini(void)
{
#if KVA_SLABS_BY_HEADER
    kva__slab_arena = &no_arena;
#endif
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

#elif KVA_SLABS_BY_HEADER

static bool
has_its_place(const struct kva_pool *pp)
{
    const kva_vmem_t *vm = kva__pool_arena(pp);

    return (pp->flags & KVA__PR_OFF_SLAB) == 0 && vm != NULL &&
           (vm == kva_kmem_arena || vm == kva_kmem_intr_arena) &&
           pp->size < KVA_PAGE_SIZE;
}

/* An arena may have had to serve the slab without its quantum caches. */
bool
kva__lookup_enter(const struct kva_pool *pp, struct kva__slab *slab,
                  uintptr_t base)
{
    if (has_its_place(pp) && kva__vmem_mark(kva__pool_arena(pp), base, true)) {
        __atomic_store_n(&kva__slab_arena, kva_kmem_arena, __ATOMIC_RELEASE);
        return true;
    }
    return kva__slabmap_set(base, pp->slab_bytes, slab);
}

void
kva__lookup_leave(const struct kva_pool *pp, struct kva__slab *slab,
                  uintptr_t base, struct kva__slab *outer)
{
    uintptr_t start;

    (void)slab;
    if (has_its_place(pp) &&
        kva__vmem_marked(kva__pool_arena(pp), base, &start)) {
        (void)kva__vmem_mark(kva__pool_arena(pp), base, false);
    } else {
        (void)kva__slabmap_set(base, pp->slab_bytes, outer);
    }
}

static struct kva__slab *
marked_slab(const kva_vmem_t *vm, uintptr_t addr)
{
    uintptr_t base;

    return vm != NULL && kva__vmem_marked(vm, addr, &base)
               ? (struct kva__slab *)base
               : NULL;
}

struct kva__slab *
kva__lookup_find(uintptr_t addr)
{
    struct kva__slab *slab = marked_slab(kva_kmem_arena, addr);

    if (slab == NULL) {
        slab = marked_slab(kva_kmem_intr_arena, addr);
    }
    return slab != NULL ? slab : kva__slabmap_find(addr);
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
