/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All pools: the list of them, and what is done to one after the other.
 *
 * Whoever works on a pool that he has from the list has it pinned, with the
 * lock of the list dropped; a pool that goes leaves the list, so that nobody
 * else comes, and waits for those.
 */
#include "kva/kva.h"
#include "pool/pool_impl.h"

struct kva_pool *kva_pool_list;

static kva_lock_t pools_lock;       /* of kva_pool_list */
static struct kva_pool *drain_turn; /* (l) whose it is; NULL: the first */

void
kva__pools_bootstrap(void)
{
    kva_port_lock_init(&pools_lock, "pools", KVA_IPL_NONE, KVA_RANK_CACHE);
    drain_turn = NULL;
}

void
kva__pools_shutdown(void)
{
    KVA_ASSERT(kva_pool_list == NULL);
    kva_port_lock_fini(&pools_lock);
}

void
kva__pools_link(struct kva_pool *pp)
{
    kva_irq_t irq = kva_port_lock(&pools_lock);

    pp->pins = 0;
    pp->prev = NULL;
    pp->next = kva_pool_list;
    if (pp->next != NULL) {
        pp->next->prev = pp;
    }
    kva_pool_list = pp;
    kva_port_unlock(&pools_lock, irq);
}

/* Let who has it pinned go on for a moment. */
static kva_irq_t
wait_unpinned(kva_irq_t irq)
{
    kva_port_unlock(&pools_lock, irq);
#if KVA_TIER >= 1
    kva_port_relax();
#endif
    return kva_port_lock(&pools_lock);
}

void
kva__pools_unlink(struct kva_pool *pp)
{
    kva_irq_t irq = kva_port_lock(&pools_lock);

    while (pp->pins != 0) {
        irq = wait_unpinned(irq);
    }
    if (drain_turn == pp) {
        drain_turn = pp->next;
    }
    if (pp->next != NULL) {
        pp->next->prev = pp->prev;
    }
    if (pp->prev != NULL) {
        pp->prev->next = pp->next;
    } else {
        kva_pool_list = pp->next;
    }
    kva_port_unlock(&pools_lock, irq);
}

void
kva__pools_visit(void (*fn)(struct kva_pool *pp, void *arg), void *arg)
{
    struct kva_pool *pp, *next;
    kva_irq_t irq;

    kva__pool_bootstrap();
    irq = kva_port_lock(&pools_lock);
    for (pp = kva_pool_list; pp != NULL; pp = next) {
        pp->pins++;
        kva_port_unlock(&pools_lock, irq);
        fn(pp, arg);
        irq = kva_port_lock(&pools_lock);
        next = pp->next;
        pp->pins--;
    }
    kva_port_unlock(&pools_lock, irq);
}

/* ---- giving back ------------------------------------------------------- */

bool
pool_drain(struct kva_pool **ppp)
{
    struct kva_pool *pp;
    bool any = false;
    kva_irq_t irq;

    kva__pool_bootstrap();
    irq = kva_port_lock(&pools_lock);
    pp = drain_turn != NULL ? drain_turn : kva_pool_list;
    if (pp != NULL) {
        drain_turn = pp->next;
        pp->pins++;
    }
    kva_port_unlock(&pools_lock, irq);
    if (pp != NULL) {
        any = kva__cache_of(pp) != NULL
                  ? kva_pool_cache_reclaim(kva__cache_of(pp))
                  : kva_pool_reclaim(pp) != 0;
        irq = kva_port_lock(&pools_lock);
        pp->pins--;
        kva_port_unlock(&pools_lock, irq);
    }
    if (ppp != NULL) {
        *ppp = pp;
    }
    return any;
}

size_t
pool_drain_all(void)
{
    /* Cleaners run in no particular order: arenas may have come before the
     * pools above them.  Not all of them exist at every tier. */
    kva_vmem_t *arena[] = { kva_kmem_arena, kva_kmem_movable_arena,
                            kva_heap_va_arena, kva_heap_arena };
    struct kva_stat before, after;

    kva_stat(&before);
    (void)kva_reclaim(SIZE_MAX);
    (void)kva_intr_drain();
    for (unsigned i = 0; i < KVA_COUNT(arena); i++) {
        if (arena[i] != NULL) {
            (void)vmem_drain(arena[i], SIZE_MAX, 0);
        }
    }
    kva_stat(&after);
    return before.wired_bytes > after.wired_bytes
               ? before.wired_bytes - after.wired_bytes
               : 0;
}

/* ---- keeping house ------------------------------------------------------ */

/* Low water, and what waits for the read barrier. */
static void
update_one(struct kva_pool *pp, void *arg)
{
    kva_irq_t irq = kva__pool_lock(pp);
    size_t lowat = pp->lowat;

    (void)arg;
    kva__pool_unlock(pp, irq);
    (void)kva__pool_grow_to(pp, lowat);
    (void)kva__reserve_fill(pp);
    if (kva__cache_of(pp) != NULL) {
        (void)kva__limbo_settle(kva__cache_of(pp));
    }
}

void
pool_update(void)
{
    kva_vmem_update();
    kva__pools_visit(update_one, NULL);
}

/* ---- how much there is --------------------------------------------------- */

static void
add_pages(struct kva_pool *pp, void *arg)
{
    size_t *pages = arg;
    struct kva_pool_stat st;

    if ((pp->flags & KVA_PR_RECURSIVE) == 0) {
        kva_pool_stat(pp, &st);
        *pages += st.slabs * (st.slab_bytes >> KVA_PAGE_SHIFT);
    }
}

int
pool_totalpages(void)
{
    size_t pages = 0;

    kva__pools_visit(add_pages, &pages);
    return pages > INT32_MAX ? INT32_MAX : (int)pages;
}
