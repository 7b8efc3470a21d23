/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PR_PSERIALIZE: objects that readers look at without a lock or a reference.
 *
 * A reader finds an object, and by the time he looks at it somebody may have
 * put it back, and somebody else may have got it.  That is all right as long
 * as it is still an object of this pool: he looks whether it is the one that he
 * wants, and tries again if not.  So the memory of a slab must stay what it is,
 * and a constructed object constructed, until every reader has left who may
 * have come to it: the port's read barrier waits for them.  After NetBSD's
 * PR_PSERIALIZE; the idea is that of type-stable memory (Greenwald and
 * Cheriton, 1996).
 *
 * A barrier sleeps, and a put may not.  So an empty slab stays until a drain
 * that may sleep; one barrier does for all slabs that a hold of the lock takes
 * out.  And an object that comes out of the magazines goes into LIMBO, still
 * constructed: a get that misses takes it from there, with no constructor; a
 * drain destructs it after the barrier.
 *
 *     put -> magazine -> depot --full--> limbo --barrier, dtor--> slab
 *     get <- magazine <- depot <-empty-- limbo   <-ctor-          slab
 *
 * Limbo is a stack of pointers, in pages of metadata: nothing may be written
 * into the objects.  A put never allocates, so there is always room for all
 * objects of all slabs: it is reserved before a slab is made.  With one page
 * more, whoever settles takes away all pages that have objects, and what comes
 * meanwhile, which that barrier did not cover, still has room.
 *
 * Invariants
 *   P1  room >= wanted, and a page more from the first reservation on.
 *   P2  count <= wanted = objects of all slabs.
 *   P3  one settles at a time.
 */
#include "pool/pool_impl.h"

struct kva__limbo_page {
    struct kva__limbo_page *next; /* in the stack, or of spare ones */
    size_t used;
    uintptr_t object[];
};

#define PER_PAGE \
    ((KVA_PAGE_SIZE - sizeof(struct kva__limbo_page)) / sizeof(uintptr_t))

/* Objects that are given to the slabs at a time. */
#define SETTLE_BATCH 16u

bool
kva__barrier_possible(const struct kva_pool *pp)
{
#if KVA_READ_BARRIER
    return (pp->flags & KVA_PR_PSERIALIZE) == 0 || kva_port_may_sleep();
#else
    (void)pp;
    return true;
#endif
}

void
kva__barrier(const struct kva_pool *pp)
{
#if KVA_READ_BARRIER
    if ((pp->flags & KVA_PR_PSERIALIZE) != 0) {
        kva_port_read_barrier();
    }
#else
    (void)pp;
#endif
}

static struct kva__limbo *
limbo_of(struct kva_pool *pp)
{
    return (pp->flags & KVA__PR_LIMBO) == 0 ? NULL : &kva__cache_of(pp)->limbo;
}

/* ---- room --------------------------------------------------------------- */

/* A page that is not needed any more, or NULL.  Pool lock held. */
static struct kva__limbo_page *
page_over(struct kva__limbo *limbo)
{
    size_t need = limbo->wanted == 0 ? 0 : limbo->wanted + PER_PAGE;
    struct kva__limbo_page *page = limbo->spare;

    if (page == NULL || limbo->room - PER_PAGE < need) {
        return NULL;
    }
    limbo->spare = page->next;
    limbo->room -= PER_PAGE;
    return page;
}

void
kva__limbo_release(struct kva_pool *pp, size_t n)
{
    struct kva__limbo *limbo = limbo_of(pp);
    struct kva__limbo_page *page = NULL;

    if (limbo == NULL) {
        return;
    }
    do {
        kva_irq_t irq = kva__pool_lock(pp);

        limbo->wanted -= n;
        n = 0;
        page = page_over(limbo);
        kva__pool_unlock(pp, irq);
        if (page != NULL) {
            kva__meta_page_put(page, KVA_META_OTHER);
        }
    } while (page != NULL);
}

bool
kva__limbo_reserve(struct kva_pool *pp, size_t n)
{
    struct kva__limbo *limbo = limbo_of(pp);

    while (limbo != NULL) {
        kva_irq_t irq = kva__pool_lock(pp);
        bool enough = limbo->room >= limbo->wanted + n + PER_PAGE;
        struct kva__limbo_page *page;

        if (enough) {
            limbo->wanted += n;
        }
        kva__pool_unlock(pp, irq);
        if (enough) {
            break;
        }
        page = kva__meta_page_get(KVA_META_OTHER);
        if (page == NULL) {
            kva__limbo_release(pp, 0); /* of one that came before */
            return false;
        }
        irq = kva__pool_lock(pp);
        page->next = limbo->spare;
        limbo->spare = page;
        limbo->room += PER_PAGE;
        kva__pool_unlock(pp, irq);
    }
    return true;
}

/* ---- in and out ---------------------------------------------------------- */

void
kva__limbo_push(struct kva_pool_cache *pc, const struct kva__round *round,
                unsigned n)
{
    struct kva__limbo *limbo = &pc->limbo;
    kva_irq_t irq = kva__pool_lock(&pc->slabs);

    for (unsigned i = 0; i < n; i++) {
        struct kva__limbo_page *page = limbo->page;

        if (page == NULL || page->used == PER_PAGE) {
            page = limbo->spare;
            KVA_ASSERT(page != NULL);
            limbo->spare = page->next;
            page->next = limbo->page;
            page->used = 0;
            limbo->page = page;
        }
        page->object[page->used++] = round[i].object;
        limbo->count++;
    }
    kva__pool_unlock(&pc->slabs, irq);
    kva__limit_wake(&pc->slabs, n);
}

/* One off a stack, or 0; a page that has run empty becomes a spare one. */
static uintptr_t
stack_pop(struct kva__limbo_page **stack, struct kva__limbo_page **spare)
{
    struct kva__limbo_page *page = *stack;
    uintptr_t object;

    if (page == NULL) {
        return 0;
    }
    object = page->object[--page->used];
    if (page->used == 0) {
        *stack = page->next;
        page->next = *spare;
        *spare = page;
    }
    return object;
}

unsigned
kva__limbo_pop(struct kva_pool_cache *pc, struct kva__round *round, unsigned n)
{
    struct kva__limbo *limbo = &pc->limbo;
    unsigned got = 0;
    kva_irq_t irq;

    if (KVA_LIKELY((pc->slabs.flags & KVA__PR_LIMBO) == 0)) {
        return 0;
    }
    irq = kva__pool_lock(&pc->slabs);
    while (got < n && limbo->page != NULL) {
        round[got].object = stack_pop(&limbo->page, &limbo->spare);
        kva__round_complete(&pc->slabs, &round[got++]);
        limbo->count--;
    }
    kva__pool_unlock(&pc->slabs, irq);
    return got;
}

size_t
kva__limbo_count(struct kva_pool_cache *pc)
{
    kva_irq_t irq = kva__pool_lock(&pc->slabs);
    size_t count = pc->limbo.count;

    kva__pool_unlock(&pc->slabs, irq);
    return count;
}

/* ---- settling ------------------------------------------------------------ */

/* All that is there, for us alone; or NULL. */
static struct kva__limbo_page *
settle_begin(struct kva_pool_cache *pc)
{
    struct kva__limbo *limbo = &pc->limbo;
    kva_irq_t irq = kva__pool_lock(&pc->slabs);
    struct kva__limbo_page *stack = NULL;

    if (!limbo->settling && limbo->page != NULL) {
        limbo->settling = true;
        stack = limbo->page;
        limbo->page = NULL;
    }
    kva__pool_unlock(&pc->slabs, irq);
    return stack;
}

/* Up to n of ours.  Pages that run empty are of use again. */
static unsigned
settle_take(struct kva_pool_cache *pc, struct kva__limbo_page **stack,
            struct kva__round *round, unsigned n)
{
    struct kva__limbo *limbo = &pc->limbo;
    unsigned got = 0;
    kva_irq_t irq = kva__pool_lock(&pc->slabs);

    while (got < n && *stack != NULL) {
        round[got++].object = stack_pop(stack, &limbo->spare);
        limbo->count--;
    }
    if (got == 0) {
        limbo->settling = false;
    }
    kva__pool_unlock(&pc->slabs, irq);
    return got;
}

size_t
kva__limbo_settle(struct kva_pool_cache *pc)
{
    struct kva__limbo_page *stack;
    struct kva__round round[SETTLE_BATCH];
    size_t done = 0;
    unsigned n;

    if ((pc->slabs.flags & KVA__PR_LIMBO) == 0 ||
        !kva__barrier_possible(&pc->slabs)) {
        return 0;
    }
    stack = settle_begin(pc);
    if (stack == NULL) {
        return 0;
    }
    kva__barrier(&pc->slabs);
    while ((n = settle_take(pc, &stack, round, SETTLE_BATCH)) != 0) {
        for (unsigned i = 0; i < n; i++) {
            pc->dtor(pc->arg, (void *)round[i].object);
        }
        kva__pool_give(&pc->slabs, round, n, KVA__OBJECT_OUT, "pool_cache_put");
        done += n;
    }
    return done;
}
