/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Physical addresses of objects.
 *
 * NetBSD keeps one beside each object in a magazine.  Here magazines hold
 * objects alone, so that a hit stays what it is, and a pool that wants them
 * (PR_PADDR) keeps the frame of each page in the header of its slab, behind the
 * map: asked of the port once, when the slab is made.  A pool without it
 * asks the port each time.  Below tier 2, and in a region that was donated, an
 * address is its frame.
 */
#include "kva/kva_impl.h"
#include "pool/pool_impl.h"

size_t
kva__paddr_bytes(unsigned flags, size_t at, size_t slab_bytes)
{
    if ((flags & KVA_PR_PADDR) == 0) {
        return 0;
    }
    return kva_round_up(at, sizeof(kva_pa_t)) - at +
           (slab_bytes >> KVA_PAGE_SHIFT) * sizeof(kva_pa_t);
}

static kva_pa_t *
table_of(const struct kva_pool *pp, struct kva__slab *slab)
{
    uintptr_t end = (uintptr_t)(kva__slab_map(pp, slab) + pp->map_words) +
                    kva__nest_bytes(pp->flags);

    return (kva_pa_t *)kva_round_up(end, sizeof(kva_pa_t));
}

/* What lies at va, for up to n pages: how many in a row, at least one. */
static size_t
translate(uintptr_t va, size_t n, kva_pa_t *pa)
{
#if KVA_TIER >= 2
    if (kva__mode == KVA_MODE_VA) {
        size_t run =
            kva_port_translate(kva_round_down(va, KVA_PAGE_SIZE), n, pa);

        if (run == 0) {
            *pa = KVA_POOL_PADDR_INVALID;
            return 1;
        }
        return run;
    }
#endif
    *pa = kva_round_down(va, KVA_PAGE_SIZE);
    return n;
}

void
kva__paddr_note(struct kva_pool *pp, struct kva__slab *slab)
{
    size_t pages = pp->slab_bytes >> KVA_PAGE_SHIFT, at = 0;
    uintptr_t base = kva__slab_base(slab);
    kva_pa_t *table;

    if ((pp->flags & KVA_PR_PADDR) == 0) {
        return;
    }
    table = table_of(pp, slab);
    while (at < pages) {
        kva_pa_t pa;
        size_t run = translate(base + (at << KVA_PAGE_SHIFT), pages - at, &pa);

        for (size_t i = 0; i < run; i++) {
            table[at + i] = pa == KVA_POOL_PADDR_INVALID
                                ? pa
                                : pa + ((kva_pa_t)i << KVA_PAGE_SHIFT);
        }
        at += run;
    }
}

static kva_pa_t
paddr_of(struct kva_pool *pp, uintptr_t addr)
{
    struct kva__place place;
    kva_pa_t pa;

    if ((pp->flags & KVA_PR_PADDR) != 0 && kva__slab_find(pp, addr, &place)) {
        uintptr_t page = (addr - kva__slab_base(place.slab)) >> KVA_PAGE_SHIFT;

        pa = table_of(pp, place.slab)[page];
    } else {
        (void)translate(addr, 1, &pa);
    }
    return pa == KVA_POOL_PADDR_INVALID ? pa : pa + (addr & KVA_PAGE_MASK);
}

kva_pa_t
pool_paddr(struct kva_pool *pp, const void *object)
{
    return paddr_of(pp, (uintptr_t)object);
}

void *
pool_cache_get_paddr(pool_cache_t pc, int flags, kva_pa_t *pa)
{
    void *object = kva_pool_cache_get(pc, flags);

    if (object != NULL) {
        *pa = paddr_of(&pc->slabs, (uintptr_t)object);
    }
    return object;
}

void
pool_cache_put_paddr(pool_cache_t pc, void *object, kva_pa_t pa)
{
    uintptr_t addr = (uintptr_t)object;
    struct kva__place place;

    /* What is no object of the cache's, put reports. */
    if ((pc->slabs.flags & KVA_PR_PADDR) != 0 &&
        kva__slab_find(&pc->slabs, addr, &place) &&
        paddr_of(&pc->slabs, addr) != pa) {
        kva__misuse("pool_cache_put_paddr", "cache", pc->slabs.name, addr,
                    "expected its physical address 0x%llx, found 0x%llx",
                    (unsigned long long)paddr_of(&pc->slabs, addr),
                    (unsigned long long)pa);
    }
    kva_pool_cache_put(pc, object);
}
