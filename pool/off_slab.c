/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slab headers outside their slabs: for objects so large that a header in the
 * slab would cost one of them, and for memory that must not be written while it
 * is free (PR_NOTOUCH).
 *
 * Headers come in a few sizes, cut from metadata pages, and are found by the
 * slab's address through one hash for all pools.  It grows a bucket at a time
 * (linear hashing, Litwin 1980): no insert ever moves more than one chain, and
 * a page of buckets is asked for each 512 buckets.
 *
 * Lookups take no lock.  That is safe because the memory of headers is never
 * anything else: a reader may follow a chain that changes under it and come
 * to the wrong end, but it only reads headers.  What it looks for stays in its
 * place while it has an object of that slab; what it may miss is a chain that
 * is just being split.  So a miss is looked up again with the lock held.
 *
 * Invariants
 *   O1  a header in use is in the chain of its base's bucket.
 *   O2  a header in no use has base 1, which no page has.
 *   O3  pages of headers and buckets are given back when there is no pool.
 */
#include "pool/pool_impl.h"

/* Sizes of headers: powers of two from 64 bytes on, and the most that fits. */
#define OFF_CLASS_MIN_SHIFT 6u
#define OFF_CLASSES (KVA_PAGE_SHIFT - OFF_CLASS_MIN_SHIFT + 1u)

#define BUCKETS_PER_PAGE (KVA_PAGE_SIZE / sizeof(struct kva__off_slab *))
#define BUCKETS_PER_PAGE_SHIFT (KVA_PAGE_SHIFT - (KVA_WORD_64 ? 3u : 2u))
/* So many there are at first, and need no page. */
#define BUCKETS_STATIC 32u
/* 64 pages: 32,768 buckets, 131,072 slabs at four in a chain, 2 GB of slabs of
 * 16 KiB; beyond that chains grow longer. */
#define BUCKET_PAGES 64u
#define CHAIN_MEAN 4u
/* A reader that has come this far has been led astray. */
#define CHAIN_STEPS_MAX 64u

#define BASE_UNUSED ((uintptr_t)1)

/* The first bytes of a page of headers. */
struct off_page {
    struct off_page *next;
};

/* All under off_lock, but for what readers load. */
static kva_lock_t off_lock;
static struct kva__off_slab *off_unused[OFF_CLASSES];
static struct off_page *off_pages;
static struct kva__off_slab *off_static[BUCKETS_STATIC];
static struct kva__off_slab **off_bucket[BUCKET_PAGES];
static unsigned off_nbuckets;
static size_t off_count;

void
kva__off_bootstrap(void)
{
    kva_port_lock_init(&off_lock, "slab map", KVA_IPL_HIGH, KVA_RANK_SLAB);
    off_bucket[0] = off_static;
    off_nbuckets = BUCKETS_STATIC;
}

kva_irq_t
kva__off_lock(void)
{
    return kva_port_lock(&off_lock);
}

void
kva__off_unlock(kva_irq_t irq)
{
    kva_port_unlock(&off_lock, irq);
}

/* ---- memory for headers ---------------------------------------------- */

static unsigned
off_class(size_t bytes)
{
    size_t total = bytes + offsetof(struct kva__off_slab, slab);

    if (total <= (size_t)1 << OFF_CLASS_MIN_SHIFT) {
        return 0;
    }
    return kva_fls(total - 1) + 1u - OFF_CLASS_MIN_SHIFT;
}

/* The last class is what a page holds beside its first bytes. */
static size_t
off_class_bytes(unsigned class)
{
    if (class == OFF_CLASSES - 1u) {
        return KVA_PAGE_SIZE - KVA_CACHE_LINE;
    }
    return (size_t)1 << (class + OFF_CLASS_MIN_SHIFT);
}

size_t
kva__off_bytes(size_t bytes)
{
    return off_class_bytes(off_class(bytes));
}

static void
off_release(struct kva__off_slab *off, unsigned class)
{
    __atomic_store_n(&off->base, BASE_UNUSED, __ATOMIC_RELAXED);
    __atomic_store_n(&off->chain, off_unused[class], __ATOMIC_RELAXED);
    off_unused[class] = off;
}

static bool
off_refill(unsigned class)
{
    size_t step = off_class_bytes(class);
    char *page = kva__meta_page_get(KVA_META_SLAB_HEADERS);
    size_t at = KVA_CACHE_LINE;

    if (page == NULL) {
        return false;
    }
    ((struct off_page *)(void *)page)->next = off_pages;
    off_pages = (struct off_page *)(void *)page;
    for (; at + step <= KVA_PAGE_SIZE; at += step) {
        off_release((struct kva__off_slab *)(void *)(page + at), class);
    }
    return true;
}

/* ---- the hash -------------------------------------------------------- */

/* Fibonacci hashing of the page number (Knuth 6.4). */
static unsigned
off_hash(uintptr_t base)
{
    uint32_t page = (uint32_t)(base >> KVA_PAGE_SHIFT);

    return (page * 2654435769u) >> 12;
}

static struct kva__off_slab **
off_bucket_of(uintptr_t base)
{
    unsigned n = __atomic_load_n(&off_nbuckets, __ATOMIC_ACQUIRE);
    unsigned mask, b;
    struct kva__off_slab **page;

    mask = (2u << kva_fls(n)) - 1u;
    b = off_hash(base) & mask;
    while (b >= n) {
        mask >>= 1;
        b &= mask;
    }
    page = __atomic_load_n(&off_bucket[b >> BUCKETS_PER_PAGE_SHIFT],
                           __ATOMIC_ACQUIRE);
    return &page[b & (BUCKETS_PER_PAGE - 1u)];
}

static void
off_insert(struct kva__off_slab *off)
{
    struct kva__off_slab **bucket = off_bucket_of(off->base);

    __atomic_store_n(&off->chain, *bucket, __ATOMIC_RELAXED);
    __atomic_store_n(bucket, off, __ATOMIC_RELEASE);
}

static void
off_remove(struct kva__off_slab *off)
{
    struct kva__off_slab **link = off_bucket_of(off->base);

    while (*link != off) {
        link = &(*link)->chain;
    }
    __atomic_store_n(link, off->chain, __ATOMIC_RELEASE);
}

/*
 * The page that bucket n is to lie in; the static buckets move to the first
 * page.  A reader that still looks at them may miss, and looks again.
 */
static bool
off_page_for(unsigned n)
{
    unsigned page = n >> BUCKETS_PER_PAGE_SHIFT;
    struct kva__off_slab **p;

    if (page >= BUCKET_PAGES) {
        return false;
    }
    if (off_bucket[page] != NULL && off_bucket[page] != off_static) {
        return true;
    }
    p = kva__meta_page_get(KVA_META_SLAB_HEADERS);
    if (p == NULL) {
        return false;
    }
    for (unsigned i = 0; page == 0 && i < BUCKETS_STATIC; i++) {
        p[i] = off_static[i];
    }
    __atomic_store_n(&off_bucket[page], p, __ATOMIC_RELEASE);
    return true;
}

/*
 * One more bucket: its buddy's chain is shared out.  Without a page for it the
 * chains just grow.
 */
static void
off_split(void)
{
    unsigned n = off_nbuckets;
    struct kva__off_slab **buddy, *off;

    if (!off_page_for(n)) {
        return;
    }
    n -= 1u << kva_fls(n);
    buddy =
        &off_bucket[n >> BUCKETS_PER_PAGE_SHIFT][n & (BUCKETS_PER_PAGE - 1u)];
    off = *buddy;
    __atomic_store_n(buddy, NULL, __ATOMIC_RELAXED);
    __atomic_store_n(&off_nbuckets, off_nbuckets + 1u, __ATOMIC_RELEASE);
    while (off != NULL) {
        struct kva__off_slab *next = off->chain;

        off_insert(off);
        off = next;
    }
}

/* ---- for slab.c ------------------------------------------------------ */

struct kva__slab *
kva__off_create(uintptr_t base, size_t bytes)
{
    unsigned class = off_class(bytes);
    kva_irq_t irq = kva__off_lock();
    struct kva__off_slab *off;

    if (off_count >= (size_t)off_nbuckets * CHAIN_MEAN) {
        off_split();
    }
    if (off_unused[class] == NULL && !off_refill(class)) {
        kva__off_unlock(irq);
        return NULL;
    }
    off = off_unused[class];
    off_unused[class] = off->chain;
    __atomic_store_n(&off->base, base, __ATOMIC_RELAXED);
    off_insert(off);
    off_count++;
    kva__off_unlock(irq);
    return &off->slab;
}

void
kva__off_destroy(struct kva__slab *slab, size_t bytes)
{
    struct kva__off_slab *off = KVA_CONTAINER(slab, struct kva__off_slab, slab);
    kva_irq_t irq = kva__off_lock();

    off_remove(off);
    off_release(off, off_class(bytes));
    off_count--;
    kva__off_unlock(irq);
}

static struct kva__slab *
off_search(uintptr_t base)
{
    struct kva__off_slab *off =
        __atomic_load_n(off_bucket_of(base), __ATOMIC_ACQUIRE);

    for (unsigned i = 0; off != NULL && i < CHAIN_STEPS_MAX; i++) {
        if (__atomic_load_n(&off->base, __ATOMIC_RELAXED) == base) {
            return &off->slab;
        }
        off = __atomic_load_n(&off->chain, __ATOMIC_ACQUIRE);
    }
    return NULL;
}

/* With the lock held, chains do not change, and their length is what it is. */
static struct kva__slab *
off_search_locked(uintptr_t base)
{
    struct kva__off_slab *off = *off_bucket_of(base);

    while (off != NULL && off->base != base) {
        off = off->chain;
    }
    return off == NULL ? NULL : &off->slab;
}

struct kva__slab *
kva__off_find(uintptr_t base)
{
    struct kva__slab *slab = off_search(base);

    if (slab == NULL) {
        kva_irq_t irq = kva__off_lock();

        slab = off_search_locked(base);
        kva__off_unlock(irq);
    }
    return slab;
}

void
kva__off_fini(void)
{
    KVA_ASSERT(off_count == 0);
    for (unsigned i = 0; i < BUCKET_PAGES; i++) {
        if (off_bucket[i] != NULL && off_bucket[i] != off_static) {
            kva__meta_page_put(off_bucket[i], KVA_META_SLAB_HEADERS);
        }
        off_bucket[i] = NULL;
    }
    for (unsigned i = 0; i < BUCKETS_STATIC; i++) {
        off_static[i] = NULL;
    }
    off_nbuckets = 0;
    for (unsigned i = 0; i < OFF_CLASSES; i++) {
        off_unused[i] = NULL;
    }
    while (off_pages != NULL) {
        struct off_page *page = off_pages;

        off_pages = page->next;
        kva__meta_page_put(page, KVA_META_SLAB_HEADERS);
    }
    kva_port_lock_fini(&off_lock);
}
