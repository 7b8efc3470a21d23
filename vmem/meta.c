/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The metadata allocator; see meta.h.
 *
 * Two levels.  Pages: from the donated region first, then from the port's
 * meta_get (at tiers 0 and 1: from page_get, memory being identity mapped).
 * Donated pages that come back are kept for the next request and never given to
 * the port.  Blocks: each store keeps a list of its pages with a free block; a
 * page's free blocks are linked through their first word, a block is zeroed
 * when it is handed out.
 *
 * Nothing here calls anything of the library but the port, so that every layer
 * may ask for metadata with its own lock held.  Nothing here waits.
 */
#include "port/contract.h"
#include "vmem/meta.h"
#include "vmem/reserve.h"

struct kva__meta_page {
    struct kva__meta_page *next; /* (m) in the store's list */
    struct kva__meta_page *prev;
    void *unused;     /* (m) first free block */
    unsigned nunused; /* (m) */
    unsigned listed;  /* (m) on the list */
};

/* Blocks start behind the header, on a line of their own. */
#define META_FIRST ((size_t)(KVA_CACHE_LINE < 64 ? 64 : KVA_CACHE_LINE))
_Static_assert(sizeof(struct kva__meta_page) <= META_FIRST,
               "a metadata page's header fits a cache line");

/* Most donated regions: vmem_bootstrap's, kva_boot's, and as many again for who
 * ends the tower and starts it anew with arenas of his own left. */
#define REGIONS 4u

static struct {
    kva_lock_t lock;
    bool ready;
    uintptr_t donated; /* the donated region not yet used */
    uintptr_t donated_end;
    struct region {
        uintptr_t first, end;
    } region[REGIONS]; /* the donated regions as they were */
    unsigned nregions;
    uintptr_t *returned; /* donated pages that came back, linked */
    uintptr_t *stock;    /* pages for the entitled, linked */
    size_t nstock, stock_wanted;
    bool port_asleep; /* the port has no pages yet */
    size_t pages[KVA_META_KINDS];
    size_t requests;
} meta;

static size_t refusals; /* atomic */

static void
meta_init_once(void)
{
    if (!meta.ready) {
        kva_port_lock_init(&meta.lock, "metadata", KVA_IPL_VM, KVA_RANK_META);
        meta.ready = true;
    }
}

/* A donated page is to be had again. */
static void
page_return(uintptr_t page)
{
    *(uintptr_t *)page = (uintptr_t)meta.returned;
    meta.returned = (uintptr_t *)page;
}

static bool
is_donated(uintptr_t page)
{
    unsigned i = 0;

    while (i < meta.nregions &&
           (page < meta.region[i].first || page >= meta.region[i].end)) {
        i++;
    }
    return i < meta.nregions;
}

void
kva__meta_donate(void *mem, size_t bytes)
{
    uintptr_t first = kva_round_up((uintptr_t)mem, KVA_PAGE_SIZE);
    uintptr_t end = kva_round_down((uintptr_t)mem + bytes, KVA_PAGE_SIZE);

    meta_init_once();
    if (mem == NULL) {
        meta.donated = meta.donated_end = 0;
        meta.nregions = 0;
        meta.returned = NULL;
        meta.stock = NULL;
        meta.nstock = meta.stock_wanted = 0;
        return;
    }
    if (end <= first || meta.nregions == REGIONS) {
        return;
    }
    for (; meta.donated < meta.donated_end; meta.donated += KVA_PAGE_SIZE) {
        page_return(meta.donated);
    }
    meta.donated = first;
    meta.donated_end = end;
    meta.region[meta.nregions++] = (struct region){ first, end };
}

void
kva__meta_port_ready(bool ready)
{
    meta.port_asleep = !ready;
}

/* Page from the port; no lock of ours held but those of the caller. */
static uintptr_t
page_from_port(void)
{
#if KVA_TIER >= 2
    uintptr_t va;

    return kva_port_meta_get(&va) == 0 ? va : 0;
#else
    unsigned reserve = kva__reserve_entitled(0) ? KVA_PAGE_RESERVE : 0;
    kva_pa_t pa;

    if (kva_port_page_get(1, KVA_PAGE_NOSLEEP | reserve, &pa) != 0) {
        return 0;
    }
    kva__memset((void *)(uintptr_t)pa, 0, KVA_PAGE_SIZE);
    return (uintptr_t)pa;
#endif
}

static void
page_to_port(uintptr_t page)
{
#if KVA_TIER >= 2
    kva_port_meta_put(page);
#else
    kva_port_page_put(1, page);
#endif
}

/* A donated page, or 0.  Locked. */
static uintptr_t
page_from_region(void)
{
    uintptr_t page = (uintptr_t)meta.returned;

    if (page != 0) {
        meta.returned = (uintptr_t *)*meta.returned;
    } else if (meta.donated < meta.donated_end) {
        page = meta.donated;
        meta.donated += KVA_PAGE_SIZE;
    }
    return page;
}

/* A zeroed page, or 0. */
static uintptr_t
page_find(void)
{
    kva_irq_t irq = kva_port_lock(&meta.lock);
    uintptr_t page = page_from_region();

    meta.requests++;
    kva_port_unlock(&meta.lock, irq);
    if (page != 0) {
        kva__memset((void *)page, 0, KVA_PAGE_SIZE);
    } else if (!meta.port_asleep) {
        page = page_from_port();
    }
    return page;
}

/* ---- the stock --------------------------------------------------------- */

/* Locked; false: it has enough. */
static bool
stock_put(uintptr_t page)
{
    if (meta.nstock >= meta.stock_wanted) {
        return false;
    }
    *(uintptr_t *)page = (uintptr_t)meta.stock;
    meta.stock = (uintptr_t *)page;
    meta.nstock++;
    return true;
}

/* Locked; 0: it has none. */
static uintptr_t
stock_take(void)
{
    uintptr_t page = (uintptr_t)meta.stock;

    if (page != 0) {
        meta.stock = (uintptr_t *)*meta.stock;
        meta.nstock--;
    }
    return page;
}

/* A page that is in nobody's use goes where it is missed most. */
static void
page_settle(uintptr_t page)
{
    bool donated = is_donated(page), kept;
    kva_irq_t irq = kva_port_lock(&meta.lock);

    kept = stock_put(page);
    if (!kept && donated) {
        page_return(page);
    }
    kva_port_unlock(&meta.lock, irq);
    if (!kept && !donated) {
        page_to_port(page);
    }
}

void
kva__meta_stock(size_t *pages, size_t *wanted)
{
    kva_irq_t irq = kva_port_lock(&meta.lock);

    *pages = meta.nstock;
    *wanted = meta.stock_wanted;
    kva_port_unlock(&meta.lock, irq);
}

void
kva__meta_stock_fill(void)
{
    size_t have, wanted;
    uintptr_t page = 0;

    do {
        if (page != 0) {
            page_settle(page);
        }
        kva__meta_stock(&have, &wanted);
        page = have < wanted ? page_find() : 0;
    } while (page != 0);
}

void
kva__meta_stock_set(size_t pages)
{
    uintptr_t page;
    kva_irq_t irq;

    meta_init_once();
    do {
        irq = kva_port_lock(&meta.lock);
        meta.stock_wanted = KVA_RESERVES ? pages : 0;
        page = meta.nstock > meta.stock_wanted ? stock_take() : 0;
        kva_port_unlock(&meta.lock, irq);
        if (page != 0) {
            page_settle(page);
        }
    } while (page != 0);
    kva__meta_stock_fill();
}

/* For who is entitled. */
static uintptr_t
page_from_stock(void)
{
    uintptr_t page = 0;
    kva_irq_t irq;

    if (KVA_RESERVES && kva_reserve_marked()) {
        irq = kva_port_lock(&meta.lock);
        page = stock_take();
        kva_port_unlock(&meta.lock, irq);
    }
    if (page != 0) {
        kva__memset((void *)page, 0, KVA_PAGE_SIZE);
    }
    return page;
}

/* ---- pages ------------------------------------------------------------- */

void *
kva__meta_page_get(enum kva_meta_kind kind)
{
    uintptr_t page = page_find();
    kva_irq_t irq;

    if (page == 0) {
        page = page_from_stock();
    }
    if (page == 0) {
        kva__meta_refuse();
        return NULL;
    }
    irq = kva_port_lock(&meta.lock);
    meta.pages[kind]++;
    kva_port_unlock(&meta.lock, irq);
    return (void *)page;
}

void
kva__meta_page_put(void *page, enum kva_meta_kind kind)
{
    kva_irq_t irq;

    irq = kva_port_lock(&meta.lock);
    meta.pages[kind]--;
    kva_port_unlock(&meta.lock, irq);
    page_settle((uintptr_t)page);
}

size_t
kva__meta_bytes(enum kva_meta_kind kind)
{
    size_t pages = 0;
    kva_irq_t irq;

    irq = kva_port_lock(&meta.lock);
    for (unsigned k = 0; k < KVA_META_KINDS; k++) {
        if (kind == KVA_META_KINDS || kind == (enum kva_meta_kind)k) {
            pages += meta.pages[k];
        }
    }
    kva_port_unlock(&meta.lock, irq);
    return pages << KVA_PAGE_SHIFT;
}

size_t
kva__meta_refused(void)
{
    return __atomic_load_n(&refusals, __ATOMIC_RELAXED);
}

void
kva__meta_refuse(void)
{
    (void)__atomic_fetch_add(&refusals, 1, __ATOMIC_RELAXED);
}

size_t
kva__meta_requests(void)
{
    size_t n;
    kva_irq_t irq;

    irq = kva_port_lock(&meta.lock);
    n = meta.requests;
    kva_port_unlock(&meta.lock, irq);
    return n;
}

/* ---- blocks ---------------------------------------------------------- */

void
kva__meta_store_init(struct kva__meta_store *ms, const char *name,
                     size_t block_size, enum kva_meta_kind kind,
                     unsigned reserve)
{
    size_t room = KVA_PAGE_SIZE - META_FIRST;
    unsigned n = 0;

    meta_init_once();
    KVA_ASSERT(block_size <= KVA_META_BLOCK_MAX && block_size % 8 == 0);
    kva_port_lock_init(&ms->lock, name, KVA_IPL_VM, KVA_RANK_META);
    while (room >= block_size) { /* a division, done once */
        room -= block_size;
        n++;
    }
    ms->partial = NULL;
    ms->block_size = block_size;
    ms->blocks_per_page = n;
    ms->kind = kind;
    ms->npages = 0;
    ms->nfree = 0;
    ms->nused = 0;
    ms->reserve = reserve;
}

static void
page_list(struct kva__meta_store *ms, struct kva__meta_page *page)
{
    page->prev = NULL;
    page->next = ms->partial;
    if (page->next != NULL) {
        page->next->prev = page;
    }
    ms->partial = page;
    page->listed = 1;
}

static void
page_unlist(struct kva__meta_store *ms, struct kva__meta_page *page)
{
    if (page->prev != NULL) {
        page->prev->next = page->next;
    } else {
        ms->partial = page->next;
    }
    if (page->next != NULL) {
        page->next->prev = page->prev;
    }
    page->listed = 0;
}

/* A page joins the store, all its blocks free.  Store locked. */
static void
page_join(struct kva__meta_store *ms, struct kva__meta_page *page)
{
    char *block = (char *)page + META_FIRST;

    page->unused = NULL;
    for (unsigned i = 0; i < ms->blocks_per_page; i++) {
        *(void **)(void *)block = page->unused;
        page->unused = block;
        block += ms->block_size;
    }
    page->nunused = ms->blocks_per_page;
    ms->npages++;
    ms->nfree += ms->blocks_per_page;
    page_list(ms, page);
}

void *
kva__meta_get(struct kva__meta_store *ms)
{
    struct kva__meta_page *page;
    void *block;
    kva_irq_t irq;

    irq = kva_port_lock(&ms->lock);
    if (ms->partial == NULL) {
        kva_port_unlock(&ms->lock, irq);
        page = kva__meta_page_get(ms->kind);
        if (page == NULL) {
            return NULL;
        }
        irq = kva_port_lock(&ms->lock);
        page_join(ms, page);
    }
    page = ms->partial;
    block = page->unused;
    page->unused = *(void **)block;
    if (--page->nunused == 0) {
        page_unlist(ms, page);
    }
    ms->nfree--;
    ms->nused++;
    kva_port_unlock(&ms->lock, irq);
    kva__memset(block, 0, ms->block_size);
    return block;
}

void
kva__meta_put(struct kva__meta_store *ms, void *block)
{
    struct kva__meta_page *page = (struct kva__meta_page *)kva_round_down(
        (uintptr_t)block, KVA_PAGE_SIZE);
    bool give = false;
    kva_irq_t irq;

    irq = kva_port_lock(&ms->lock);
    *(void **)block = page->unused;
    page->unused = block;
    page->nunused++;
    ms->nfree++;
    ms->nused--;
    if (!page->listed) {
        page_list(ms, page);
    }
    if (page->nunused == ms->blocks_per_page &&
        ms->nfree >= ms->blocks_per_page + ms->reserve) {
        page_unlist(ms, page);
        ms->nfree -= ms->blocks_per_page;
        ms->npages--;
        give = true;
    }
    kva_port_unlock(&ms->lock, irq);
    if (give) {
        kva__meta_page_put(page, ms->kind);
    }
}
