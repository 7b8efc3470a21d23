/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where slabs come from: an arena, or a pair of functions of the user's.
 *
 *     arena       any power of two of pages, aligned to its size: by vmem_alloc
 *                 where the arena has quantum caches for it, else by vmem_xalloc
 *     functions   pages of pa_pagesz, as NetBSD's pool_allocator has them;
 *                 aligned to it, unless the pool has PR_NOALIGN
 *
 * A function that hands out what does not lie as it must is its author's
 * misuse; it gets back what it gave first.
 */
#include "kva/kva_impl.h"
#include "pool/debug.h"
#include "pool/pool_impl.h"

/* For arenas the size says nothing: the pool chooses. */
struct kva_pool_allocator kva_pool_allocator_kmem = { .arena =
                                                          &kva_kmem_arena };
struct kva_pool_allocator kva_pool_allocator_nointr = { .arena =
                                                            &kva_kmem_arena };
struct kva_pool_allocator kva_pool_allocator_intr = {
    .arena = &kva_kmem_intr_arena
};

/* ---- metadata pages ----------------------------------------------------- */

static void *
meta_alloc(struct kva_pool *pp, int flags)
{
    (void)pp;
    (void)flags;
    return kva__meta_page_get(KVA_META_OTHER);
}

static void
meta_free(struct kva_pool *pp, void *page)
{
    (void)pp;
    kva__meta_page_put(page, KVA_META_OTHER);
}

struct kva_pool_allocator kva_pool_allocator_meta = {
    .pa_pagesz = KVA_PAGE_SIZE,
    .pa_alloc = meta_alloc,
    .pa_free = meta_free,
};

/* ---- asking ------------------------------------------------------------- */

size_t
kva__allocator_page(const struct kva_pool_allocator *pa)
{
    return pa->pa_alloc != NULL && pa->pa_pagesz == 0 ? KVA_PAGE_SIZE
                                                      : pa->pa_pagesz;
}

kva_vmem_t *
kva__pool_arena(const struct kva_pool *pp)
{
    return pp->allocator->pa_alloc != NULL ? NULL : *pp->allocator->arena;
}

/* ---- slabs --------------------------------------------------------------- */

/*
 * Quantum caches give ranges aligned to their size.  Where the arena has
 * none for that size, ask for the alignment.
 */
static bool
range_is_cached(const struct kva_pool *pp, const kva_vmem_t *vm)
{
    return (pp->flags & KVA__PR_SINGLE) != 0 ||
           pp->slab_bytes <= vm->qcache_max ||
           pp->slab_bytes >> vm->quantum_shift <= 1;
}

static int
arena_get(const struct kva_pool *pp, unsigned flags, uintptr_t *base)
{
    kva_vmem_t *vm = *pp->allocator->arena;

    flags = (flags & KVA_PR_WAITOK) != 0 ? KVA_VM_SLEEP : KVA_VM_NOSLEEP;
    if (range_is_cached(pp, vm)) {
        return kva_vmem_alloc(vm, pp->slab_bytes, flags | KVA_VM_INSTANTFIT,
                              base);
    }
    return kva_vmem_xalloc(vm, pp->slab_bytes, pp->slab_bytes, 0, 0,
                           KVA_VMEM_ADDR_MIN, KVA_VMEM_ADDR_MAX,
                           flags | KVA_VM_INSTANTFIT, base);
}

static int
function_get(struct kva_pool *pp, unsigned flags, uintptr_t *base)
{
    int wait = (int)((flags & KVA_PR_WAITOK) != 0
                         ? KVA_PR_WAITOK
                         : KVA_PR_NOWAIT | (flags & KVA_PR_RESERVE));
    void *page = pp->allocator->pa_alloc(pp, wait);
    uintptr_t mask =
        (pp->flags & KVA_PR_NOALIGN) != 0 ? KVA_PAGE_MASK : pp->slab_bytes - 1u;

    *base = (uintptr_t)page;
    if (page != NULL && (*base & mask) != 0) {
        pp->allocator->pa_free(pp, page);
        kva__misuse("pa_alloc", kva__pool_kind(pp), pp->name, *base,
                    "expected a slab aligned to %zu, found one that is not",
                    (size_t)mask + 1u);
    }
    return page != NULL ? 0 : KVA_ENOMEM;
}

/* Its addresses come from elsewhere, and have pages only while it is in use. */
static bool
range_is_walled(const struct kva_pool *pp)
{
    return kva__pool_debugged(pp) && (pp->debug & KVA_POOL_FIREWALL) != 0;
}

int
kva__range_get(struct kva_pool *pp, unsigned flags, uintptr_t *base)
{
    if (range_is_walled(pp)) {
        return kva__firewall_range_get(pp, flags, base);
    }
    return pp->allocator->pa_alloc != NULL ? function_get(pp, flags, base)
                                           : arena_get(pp, flags, base);
}

void
kva__range_put(struct kva_pool *pp, uintptr_t base)
{
    kva_vmem_t *vm = kva__pool_arena(pp);

    if (range_is_walled(pp)) {
        kva__firewall_range_put(pp, base);
    } else if (vm == NULL) {
        pp->allocator->pa_free(pp, (void *)base);
    } else if (range_is_cached(pp, vm)) {
        kva_vmem_free(vm, base, pp->slab_bytes);
    } else {
        kva_vmem_xfree(vm, base, pp->slab_bytes);
    }
}

/* ---- slabs of a reserve -------------------------------------------------- */

static kva_vmem_t *
reserve_arena(const struct kva_pool *pp)
{
    kva_vmem_t *vm = kva__pool_arena(pp);

    return vm == NULL ? NULL : vm->reserve;
}

/* From the arena behind the pool's, which has no caches and gives what is freed
 * back; where there is none, as any slab. */
int
kva__reserve_range_get(struct kva_pool *pp, unsigned flags, uintptr_t *base)
{
    kva_vmem_t *vm = reserve_arena(pp);
    size_t align = (pp->flags & KVA__PR_SINGLE) != 0 ? 0 : pp->slab_bytes;

    flags = KVA_PR_NOWAIT | (flags & KVA_PR_RESERVE);
    if (range_is_walled(pp)) {
        return KVA_ENOTSUP;
    }
    if (vm == NULL) {
        return pp->allocator->pa_alloc != NULL ? function_get(pp, flags, base)
                                               : arena_get(pp, flags, base);
    }
    return kva_vmem_xalloc(
        vm, pp->slab_bytes, align, 0, 0, KVA_VMEM_ADDR_MIN, KVA_VMEM_ADDR_MAX,
        KVA_VM_NOSLEEP | ((flags & KVA_PR_RESERVE) != 0 ? KVA_VM_RESERVE : 0),
        base);
}

void
kva__reserve_range_put(struct kva_pool *pp, uintptr_t base)
{
    kva_vmem_t *vm = reserve_arena(pp);

    if (vm == NULL) {
        kva__range_put(pp, base);
    } else {
        kva_vmem_xfree(vm, base, pp->slab_bytes);
    }
}
