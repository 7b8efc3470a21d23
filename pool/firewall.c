/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Firewall: an object has pages of its own, and behind them, or before them,
 * is a page that is never mapped.
 *
 *     |        page         | not mapped |    (firewall)
 *     | fdfdfd |   object   |            |
 *
 *     | not mapped |        page         |    (firewall-before)
 *                  |   object   | fdfdfd |
 *
 * The object touches the gap as closely as its alignment lets it: an access one
 * byte too far faults there and then.  What the alignment leaves over, and
 * the other side, is redzone, seen at put.  When the object is put its pages go
 * at once, so whoever uses it afterwards faults as well; the addresses are
 * nobody's until the object is handed out again, or while it is in quarantine.
 *
 * A slab is one object: addresses from heap_va_arena with one page more than
 * the object takes, and a header elsewhere.  While the object is not live no
 * page is mapped.  Modelled on memguard(9) and Electric Fence.
 */
#include "pool/debug_impl.h"

#include "kva/kva_impl.h"

bool
kva__firewall_possible_later(void)
{
#if KVA_TIER >= 2
    return kva__mode == KVA_MODE_VA || kva__mode == KVA_MODE_NONE;
#else
    return false;
#endif
}

bool
kva__firewall_possible(void)
{
#if KVA_TIER >= 2
    return kva__mode == KVA_MODE_VA;
#else
    return false;
#endif
}

#if KVA_TIER >= 2

bool
kva__firewall_layout(struct kva_pool *pp, size_t size, size_t align,
                     size_t offset)
{
    size_t room = kva_round_up(size + align, KVA_PAGE_SIZE), first;

    if (align > KVA_PAGE_SIZE || size > SIZE_MAX / 4) {
        return false;
    }
    /* At offset modulo align, in the first page: from the front on, or as
     * far behind as it goes. */
    first = kva_round_up(offset, align) - offset;
    if ((pp->debug & KVA_POOL_BEFORE) == 0) {
        first = kva_round_down(room - size + offset, align) - offset;
        first &= KVA_PAGE_MASK;
    }
    kva__pool_layout_single(pp, size, kva_round_up(first + size, KVA_PAGE_SIZE),
                            first);
    pp->front = first;
    pp->slot = pp->slab_bytes;
    return true;
}

/* ---- addresses ------------------------------------------------------- */

int
kva__firewall_range_get(const struct kva_pool *pp, unsigned flags,
                        uintptr_t *base)
{
    kva_vm_flag_t sleep =
        (flags & KVA_PR_WAITOK) != 0 ? KVA_VM_SLEEP : KVA_VM_NOSLEEP;
    int err = kva_vmem_alloc(kva_heap_va_arena, pp->slab_bytes + KVA_PAGE_SIZE,
                             sleep | KVA_VM_INSTANTFIT, base);

    if (err == 0 && (pp->debug & KVA_POOL_BEFORE) != 0) {
        *base += KVA_PAGE_SIZE;
    }
    return err;
}

void
kva__firewall_range_put(const struct kva_pool *pp, uintptr_t base)
{
    if ((pp->debug & KVA_POOL_BEFORE) != 0) {
        base -= KVA_PAGE_SIZE;
    }
    kva_vmem_free(kva_heap_va_arena, base, pp->slab_bytes + KVA_PAGE_SIZE);
}

/* ---- pages ----------------------------------------------------------- */

/* Wait until as much wired memory was to be had. */
static void
wait_for_pages(size_t bytes)
{
    uintptr_t addr;

    (void)kva_reclaim(SIZE_MAX);
    if (kva_vmem_alloc(kva_kmem_arena, bytes, KVA_VM_SLEEP | KVA_VM_INSTANTFIT,
                       &addr) == 0) {
        kva_vmem_free(kva_kmem_arena, addr, bytes);
        (void)kva_vmem_drain(kva_kmem_arena, SIZE_MAX, 0);
    }
}

/* May a get with these flags wait now? */
static bool
may_wait(unsigned flags)
{
#if KVA_TIER >= 3
    return (flags & KVA_PR_WAITOK) != 0 && kva_port_may_sleep();
#else
    (void)flags;
    return false;
#endif
}

int
kva__firewall_up(const struct kva_pool *pp, uintptr_t addr, unsigned flags)
{
    int err;

    while ((err = kva__wire_attach(addr - pp->front, pp->slab_bytes)) != 0 &&
           may_wait(flags)) {
        wait_for_pages(pp->slab_bytes);
    }
    return err;
}

void
kva__firewall_down(const struct kva_pool *pp, uintptr_t addr)
{
    kva__wire_detach(addr - pp->front, pp->slab_bytes);
    if (kva__mag_arena_closed(kva_kmem_arena)) {
        kva_vmem_retry(kva_kmem_arena); /* somebody waits for pages */
    }
}

#else /* never called: kva__firewall_possible says no */

bool
kva__firewall_layout(struct kva_pool *pp, size_t size, size_t align,
                     size_t offset)
{
    (void)pp;
    (void)size;
    (void)align;
    (void)offset;
    return false;
}

int
kva__firewall_range_get(const struct kva_pool *pp, unsigned flags,
                        uintptr_t *base)
{
    (void)pp;
    (void)flags;
    (void)base;
    return KVA_ENOTSUP;
}

void
kva__firewall_range_put(const struct kva_pool *pp, uintptr_t base)
{
    (void)pp;
    (void)base;
}

int
kva__firewall_up(const struct kva_pool *pp, uintptr_t addr, unsigned flags)
{
    (void)pp;
    (void)addr;
    (void)flags;
    return KVA_ENOTSUP;
}

void
kva__firewall_down(const struct kva_pool *pp, uintptr_t addr)
{
    (void)pp;
    (void)addr;
}

#endif
