/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages of a page cache among strangers.  Source: Nanos, pull request 1757 of
 * 2022, "Pagecache: use an objcache as page heap".
 *
 * What it reports: pages of 4 KiB that a page cache takes straight from the
 * heap of physical memory leave that in pieces, and later requests for 2 MiB
 * fail even when the page cache was drained to nothing.  The cure there, and
 * here: the page cache has its pages from an object cache whose slabs are 2 MiB,
 * and what else lives long has its own.
 *
 * What is built: an arena of physical addresses, 512 MiB.  It is identity: an
 * object's address is where it lies, and nothing is mapped or touched, as
 * caches with PR_NOTOUCH have their headers elsewhere.  A page cache takes page
 * after page, and after every 64 somebody else takes one that stays, until
 * there is no more.  Pages are evicted at random, half of them and then all;
 * after each the caches are drained, and the 2 MiB blocks counted that can be
 * had (aligned, as slabs are).
 *
 *      before   |ppp..pps|ppp..pps|ppp..pps|   s somewhere in each block
 *      after    |pppppppp|pppppppp|ssssssss|
 *
 * Retain: a drain that may keep n pages keeps n, no more and no less.
 *
 * I/O that needs memory in order to free memory: each page is dirty, and to
 * write it takes a buffer.  At 0 free pages somebody wants one more page, and
 * another, as many as there are.  Before: the buffers' cache is drained like any
 * other; what comes of it is taken at once, and from there on no page can be
 * written, so none freed.  After: the buffers' slab is kept, by pool_prime.
 *
 * percent: of the 512 MiB, at least 8 MiB.
 */
#include <stdlib.h>

#include "bench/reclaim/experiment.h"
#include "pool/pool_store.h"
#include "reclaim/lru.h"

#define P KVA_PAGE_SIZE
#define BLOCK ((size_t)2 << 20)
#define BLOCK_PAGES (BLOCK / P)
#define BLOCKS 256u
#define BLOCKS_MIN 4u
#define STRANGER_EVERY 64u
#define BUFFER 512u /* bytes, of a request to a disk */
#define BUFFERS 32

/* The arena of physical addresses, and how pages come from it. */
struct memory {
    vmem_t *vm;
    size_t blocks;
    vmem_addr_t base;
    uint64_t random;
    bool cached;            /* by caches with slabs of 2 MiB */
    pool_cache_t pages;     /* if cached */
    pool_cache_t strangers; /* if cached */
    vmem_addr_t *page;      /* of the page cache */
    size_t npages;
    vmem_addr_t *stranger;
    size_t nstrangers;
};

static vmem_t *phys; /* of the allocator's */
static struct kva_pool_allocator phys_allocator = { .arena = &phys,
                                                    .pa_pagesz = BLOCK };

/* ---- the memory -------------------------------------------------------- */

static pool_cache_t
cache(const char *name, size_t size)
{
    return pool_cache_init(size, 0, 0, PR_NOTOUCH, name, &phys_allocator,
                           KVA_IPL_NONE, NULL, NULL, NULL);
}

static bool
memory_up(struct memory *m, size_t blocks, uint64_t seed)
{
    size_t most = blocks * BLOCK_PAGES;

    *m = (struct memory){ .blocks = blocks, .random = seed };
    if (vmem_xalloc(kernel_va_arena, blocks * BLOCK, BLOCK, 0, 0, VMEM_ADDR_MIN,
                    VMEM_ADDR_MAX, VM_NOSLEEP, &m->base) != 0) {
        return experiment_failed("nanos", "no addresses");
    }
    m->vm = phys = vmem_create("phys", m->base, blocks * BLOCK, P, NULL, NULL,
                               NULL, 0, VM_NOSLEEP, KVA_IPL_NONE);
    m->page = calloc(most, sizeof(*m->page));
    m->stranger = calloc(most / STRANGER_EVERY + 1, sizeof(*m->stranger));
    m->pages = cache("pages", P);
    m->strangers = cache("strangers", P);
    if (m->vm == NULL || m->page == NULL || m->stranger == NULL ||
        m->pages == NULL || m->strangers == NULL) {
        return experiment_failed("nanos", "no memory");
    }
    return true;
}

static void
memory_down(struct memory *m)
{
    pool_cache_destroy(m->pages);
    pool_cache_destroy(m->strangers);
    vmem_destroy(m->vm);
    vmem_xfree(kernel_va_arena, m->base, m->blocks * BLOCK);
    free(m->page);
    free(m->stranger);
}

static bool
page_get(struct memory *m, pool_cache_t pc, vmem_addr_t *page)
{
    void *object;

    if (!m->cached) {
        return vmem_alloc(m->vm, P, VM_NOSLEEP, page) == 0;
    }
    object = pool_cache_get(pc, PR_NOWAIT);
    *page = (vmem_addr_t)(uintptr_t)object;
    return object != NULL;
}

static void
page_put(struct memory *m, pool_cache_t pc, vmem_addr_t page)
{
    if (m->cached) {
        pool_cache_put(pc, (void *)page);
    } else {
        vmem_free(m->vm, page, P);
    }
}

/* Pages and strangers until there is no more. */
static void
fill(struct memory *m)
{
    m->npages = m->nstrangers = 0;
    while (page_get(m, m->pages, &m->page[m->npages])) {
        m->npages++;
        if (m->npages % STRANGER_EVERY == 0 &&
            page_get(m, m->strangers, &m->stranger[m->nstrangers])) {
            m->nstrangers++;
        }
    }
}

/* Pages at random, until so many are left; what caches have is kept. */
static void
evict(struct memory *m, size_t left)
{
    while (m->npages > left) {
        size_t i = experiment_below(&m->random, m->npages);

        page_put(m, m->pages, m->page[i]);
        m->page[i] = m->page[--m->npages];
    }
}

static void
drain(struct memory *m)
{
    (void)pool_cache_drain(m->pages, SIZE_MAX, 0);
    (void)pool_cache_drain(m->strangers, SIZE_MAX, 0);
}

static void
strangers_go(struct memory *m)
{
    while (m->nstrangers > 0) {
        page_put(m, m->strangers, m->stranger[--m->nstrangers]);
    }
}

/* The 2 MiB blocks that can be had now; they are given back. */
static size_t
blocks_obtainable(struct memory *m)
{
    static vmem_addr_t block[BLOCKS * 10];
    size_t n = 0, found;

    while (n < KVA_COUNT(block) &&
           vmem_xalloc(m->vm, BLOCK, BLOCK, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                       VM_NOSLEEP, &block[n]) == 0) {
        n++;
    }
    for (found = n; n > 0; n--) {
        vmem_xfree(m->vm, block[n - 1], BLOCK);
    }
    return found;
}

/* ---- fragmentation ----------------------------------------------------- */

struct counts {
    size_t half, all, strangers;
};

static struct counts
fragmentation(struct memory *m, bool cached)
{
    struct counts n;

    m->cached = cached;
    fill(m);
    n.strangers = m->nstrangers;
    evict(m, m->npages / 2);
    drain(m);
    n.half = blocks_obtainable(m);
    evict(m, 0);
    drain(m);
    n.all = blocks_obtainable(m);
    strangers_go(m);
    drain(m);
    return n;
}

static void
claim_fragmentation(struct claims *c, struct memory *m)
{
    struct counts before = fragmentation(m, false);
    struct counts after = fragmentation(m, true);
    double blocks = (double)m->blocks;
    size_t lost = (after.strangers + BLOCK_PAGES - 1) / BLOCK_PAGES;
    char unit[24];

    (void)snprintf(unit, sizeof(unit), "of %zu", m->blocks);
    claim(c, &(struct claim){ "strangers among the pages", "", true,
                              (double)before.strangers, (double)after.strangers,
                              CLAIM_AT_LEAST,
                              (blocks - (double)lost - 1) * BLOCK_PAGES /
                                  STRANGER_EVERY });
    claim(c, &(struct claim){ "2 MiB blocks obtainable, half evicted", unit,
                              true, (double)before.half, (double)after.half,
                              CLAIM_SHOWN, 0 });
    /* What the strangers fill, and one. */
    claim(c, &(struct claim){ "2 MiB blocks obtainable, all evicted", unit,
                              true, (double)before.all, (double)after.all,
                              CLAIM_AT_LEAST, blocks - (double)lost - 1 });
    claim(c,
          &(struct claim){ "the same straight from the arena", unit, false, 0,
                           (double)before.all, CLAIM_AT_MOST, blocks / 4 });
}

/* ---- retain ------------------------------------------------------------ */

/* What the cache has in stock. */
static size_t
stock(struct memory *m)
{
    struct kva_pool_stat st;

    kva_pool_cache_stat(m->pages, &st);
    return st.objects_cached;
}

static void
claim_retain(struct claims *c, struct memory *m)
{
    size_t before, retain, after;

    m->cached = true;
    fill(m);
    evict(m, 0);
    before = stock(m);
    retain = before / 2 + 1;
    (void)pool_cache_drain(m->pages, SIZE_MAX, retain * P);
    after = stock(m);
    claim(c, &(struct claim){ "kept by a drain that may retain so much", "kB",
                              true, (double)(before * P) / 1024,
                              (double)(after * P) / 1024, CLAIM_EQUALS,
                              (double)(retain * P) / 1024 });
    strangers_go(m);
    drain(m);
}

/* ---- I/O that needs memory in order to free memory --------------------- */

/* A page of the cache; all are of one file. */
struct page {
    struct kva_lru_page lru;
    vmem_addr_t addr;
};

struct disk {
    struct memory *m;
    pool_cache_t buffers;
    struct kva_lru lru;
    struct kva_lru_object file;
    struct page *page;
    struct page **spare; /* records of pages that were written and freed */
    size_t nspare;
    size_t writes, starved;
};

/* Slabs alone come and go meanwhile, so this counts what came back. */
static size_t
phys_released(void)
{
    struct kva_vmem_stat st;

    vmem_stat(phys, &st);
    return st.free * BLOCK;
}

static size_t
phys_used(void)
{
    return vmem_size(phys, VMEM_ALLOC);
}

static size_t
phys_limit(void)
{
    return vmem_size(phys, VMEM_ALLOC | VMEM_FREE);
}

static const struct kva_supply phys_supply = { phys_used, phys_limit,
                                               phys_released };

static bool
file_trylock(void *arg, struct kva_lru_object *file)
{
    (void)arg;
    (void)file;
    return true;
}

static void
file_unlock(void *arg, struct kva_lru_object *file)
{
    (void)arg;
    (void)file;
}

/* Write the page, for which there must be a buffer, and free it. */
static size_t
page_release(void *arg, struct kva_lru_page *lru)
{
    struct disk *d = arg;
    struct page *page = KVA_CONTAINER(lru, struct page, lru);
    void *buffer = pool_cache_get(d->buffers, PR_NOWAIT);

    if (buffer == NULL) {
        d->starved++;
        kva_lru_insert(&d->lru, lru);
        return 0;
    }
    d->writes++;
    pool_cache_put(d->buffers, buffer);
    pool_cache_put(d->m->pages, (void *)page->addr);
    d->spare[d->nspare++] = page;
    return P;
}

static bool
disk_up(struct disk *d, struct memory *m, bool keep)
{
    size_t most = m->blocks * BLOCK_PAGES;
    void *buffer;

    *d = (struct disk){ .m = m,
                        .lru = { .name = "pages",
                                 .trylock = file_trylock,
                                 .unlock = file_unlock,
                                 .release = page_release,
                                 .arg = d } };
    d->buffers = cache("buffers", BUFFER);
    d->page = calloc(most, sizeof(*d->page));
    d->spare = calloc(most, sizeof(*d->spare));
    if (d->buffers == NULL || d->page == NULL || d->spare == NULL ||
        (keep && pool_cache_prime(d->buffers, BUFFERS) != 0)) {
        return experiment_failed("nanos", "no memory");
    }
    for (; d->nspare < most; d->nspare++) {
        d->spare[d->nspare] = &d->page[d->nspare];
        d->page[d->nspare].lru.object = &d->file;
    }
    kva_lru_init(&d->lru);
    /* The disk was used before, so that there are buffers in any case. */
    buffer = pool_cache_get(d->buffers, PR_NOWAIT);
    if (buffer == NULL) {
        return experiment_failed("nanos", "no buffer");
    }
    pool_cache_put(d->buffers, buffer);
    return true;
}

/* One page more, dirty. */
static bool
page_read(struct disk *d)
{
    void *object = pool_cache_get(d->m->pages, PR_NOWAIT);
    struct page *page;

    if (object == NULL) {
        return false;
    }
    page = d->spare[--d->nspare];
    page->addr = (vmem_addr_t)object;
    kva_lru_insert(&d->lru, &page->lru);
    return true;
}

static void
disk_down(struct disk *d)
{
    for (size_t i = 0; i < d->m->blocks * BLOCK_PAGES; i++) {
        if (d->page[i].lru.listed) {
            kva_lru_remove(&d->lru, &d->page[i].lru);
            pool_cache_put(d->m->pages, (void *)d->page[i].addr);
        }
    }
    kva_lru_fini(&d->lru);
    pool_cache_destroy(d->buffers);
    drain(d->m);
    free(d->page);
    free(d->spare);
}

/* How many of the pages that are wanted at 0 free are had. */
static bool
pages_at_zero(struct memory *m, bool keep, size_t want, size_t *had)
{
    struct disk d;
    size_t work = KVA_WORK_ALL;

    if (!disk_up(&d, m, keep)) {
        return false;
    }
    while (page_read(&d)) {
    }
    for (*had = 0; *had < want; ++*had) {
        if (page_read(&d)) {
            continue;
        }
        work = KVA_WORK_ALL;
        (void)kva_reclaim_pass(P, KVA_URGENCY_OOM, &work);
        if (!page_read(&d)) {
            break;
        }
    }
    disk_down(&d);
    return true;
}

static bool
claim_io(struct claims *c, struct memory *m)
{
    size_t want = 2 * m->blocks * BLOCK_PAGES, before, after;
    bool ok;

    kva_reclaim_set_supply(&phys_supply);
    ok = pages_at_zero(m, false, want, &before) &&
         pages_at_zero(m, true, want, &after);
    kva_reclaim_set_supply(NULL);
    if (ok) {
        claim(c, &(struct claim){ "pages had at 0 free, each for one written",
                                  "", true, (double)before, (double)after,
                                  CLAIM_EQUALS, (double)want });
        claim(c, &(struct claim){ "the same with buffers drained: it sticks",
                                  "", false, 0, (double)before, CLAIM_AT_MOST,
                                  (double)want / 4 });
    }
    return ok;
}

static bool
run(struct claims *c, unsigned percent, uint64_t seed)
{
    size_t blocks = (size_t)BLOCKS * percent / 100;
    struct kva_posix_config config = { .va_bytes = 0 };
    struct kva_boot kb = { .va_bytes = 0 };
    struct memory m;
    bool ok;

    blocks = blocks < BLOCKS_MIN ? BLOCKS_MIN : blocks;
    if (!experiment_start(&config, &kb) || !memory_up(&m, blocks, seed)) {
        return false;
    }
    claim_fragmentation(c, &m);
    claim_retain(c, &m);
    ok = claim_io(c, &m);
    memory_down(&m);
    experiment_end();
    return ok;
}

const struct experiment experiment_nanos = {
    "nanos", "a page cache among strangers: 2 MiB blocks after it is drained",
    run
};
