/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The map of slabs: a pointer for each page, in leaves of one metadata page.
 * pool_impl.h says what it is for and how it is read.
 *
 *      root (static)                  far
 *     | leaf | leaf | ... |        | bucket | ... |
 *         |                            +--> middle page --> leaf
 *         +--> | header of page 0 | page 1 | ... |
 *
 * With 4 KiB pages and 64-bit words a leaf sees 2 MiB, and the root 2 GiB, a
 * quarter of it below the first slab.  What lies beyond is found through middle
 * pages, each of 1 GiB, by a small hash; puts there take a few dozen
 * instructions more.  1 GB of slabs takes 512 pages, an eighth of a percent;
 * a root entry without a leaf names one that is all nobody's, so that reading
 * takes no test.
 *
 * Locking.  All is written with the lock of off_slab.c held.  Readers take
 * none: a leaf is complete before it is named, and stays.  A reader that asks
 * about an object it holds finds the entry that was made before the object was
 * handed out; one that asks about anything else may be told what was true a
 * moment ago.
 */
#include "pool/pool_impl.h"

#if !KVA_SLABS_BY_OWNER

uintptr_t kva__slabmap_root[KVA__ROOT_LEAVES];
uintptr_t kva__slabmap_origin;

static struct kva__slab *no_leaf[KVA__LEAF_PAGES];

/* Leaves that the root has; the first is to place the origin. */
static unsigned nleaves;

#define ENTRY sizeof(struct kva__slab *)

/* How the root names a leaf as its n-th. */
static uintptr_t
leaf_name(struct kva__slab **leaf, uintptr_t n)
{
    return (uintptr_t)leaf - (n << KVA__LEAF_SHIFT) * ENTRY;
}

static void
leaf_fill(struct kva__slab **leaf)
{
    for (unsigned i = 0; i < KVA__LEAF_PAGES; i++) {
        leaf[i] = &kva__slab_nobodys;
    }
}

static struct kva__slab **
leaf_new(void)
{
    struct kva__slab **leaf = kva__meta_page_get(KVA_META_SLAB_HEADERS);

    if (leaf != NULL) {
        leaf_fill(leaf);
    }
    return leaf;
}

void
kva__slabmap_bootstrap(void)
{
    leaf_fill(no_leaf);
    for (unsigned n = 0; n < KVA__ROOT_LEAVES; n++) {
        kva__slabmap_root[n] = leaf_name(no_leaf, n);
    }
}

/* ---- beyond the root -------------------------------------------------- */

#if KVA_WORD_64
#define FAR_SHIFT (KVA_PAGE_SHIFT + 2u * KVA__LEAF_SHIFT)
#define FAR_BUCKETS 64u
#define FAR_STATIC 4u /* descriptions that need no page */

/* A middle page: the leaves of the addresses with one number. */
struct far {
    uintptr_t number; /* address >> FAR_SHIFT */
    struct far *next; /* of the bucket */
    struct kva__slab ***leaf;
};

struct far_page {
    struct far_page *next;
    size_t used;
    struct far far[];
};
#define FARS_PER_PAGE \
    ((KVA_PAGE_SIZE - sizeof(struct far_page)) / sizeof(struct far))

static struct far *far_bucket[FAR_BUCKETS];
static struct far far_static[FAR_STATIC];
static unsigned far_static_used;
static struct far_page *far_pages;

static struct far *
far_of(uintptr_t addr)
{
    uintptr_t number = addr >> FAR_SHIFT;
    struct far *far =
        __atomic_load_n(&far_bucket[number % FAR_BUCKETS], __ATOMIC_ACQUIRE);

    while (far != NULL && far->number != number) {
        far = far->next;
    }
    return far;
}

/* A description that is not in use yet, and is none until it is counted. */
static struct far *
far_describe(size_t **used)
{
    struct far_page *page = far_pages;

    if (page == NULL || page->used == FARS_PER_PAGE) {
        page = kva__meta_page_get(KVA_META_SLAB_HEADERS);
        if (page == NULL) {
            return NULL;
        }
        page->next = far_pages;
        far_pages = page;
    }
    *used = &page->used;
    return &page->far[page->used];
}

static struct far *
far_make(uintptr_t addr)
{
    uintptr_t number = addr >> FAR_SHIFT;
    struct far **bucket = &far_bucket[number % FAR_BUCKETS], *far;
    size_t ignored, *used = &ignored;
    struct kva__slab ***leaf;

    far = far_static_used < FAR_STATIC ? &far_static[far_static_used]
                                       : far_describe(&used);
    if (far == NULL) {
        return NULL;
    }
    leaf = kva__meta_page_get(KVA_META_SLAB_HEADERS);
    if (leaf == NULL) {
        return NULL; /* the description stays unused, for the next one */
    }
    if (far_static_used < FAR_STATIC) {
        far_static_used++;
    } else {
        ++*used;
    }
    *far = (struct far){ number, *bucket, leaf };
    __atomic_store_n(bucket, far, __ATOMIC_RELEASE);
    return far;
}

/* Where addr's leaf is named; NULL: nowhere, or there is no page for it. */
static struct kva__slab ***
far_leaf(uintptr_t addr, bool make)
{
    struct far *far = far_of(addr);

    if (far == NULL && make) {
        far = far_make(addr);
    }
    return far == NULL ? NULL
                       : &far->leaf[addr >> (KVA_PAGE_SHIFT + KVA__LEAF_SHIFT) &
                                    (KVA__LEAF_PAGES - 1u)];
}

static struct kva__slab **
far_entry(uintptr_t addr, bool make)
{
    struct kva__slab ***at = far_leaf(addr, make), **leaf;

    if (at == NULL) {
        return NULL;
    }
    leaf = __atomic_load_n(at, __ATOMIC_ACQUIRE);
    if (leaf == NULL && make) {
        leaf = leaf_new();
        __atomic_store_n(at, leaf, __ATOMIC_RELEASE);
    }
    return leaf == NULL
               ? NULL
               : &leaf[addr >> KVA_PAGE_SHIFT & (KVA__LEAF_PAGES - 1u)];
}

static void
far_fini(void)
{
    for (unsigned b = 0; b < FAR_BUCKETS; b++) {
        for (struct far *far = far_bucket[b]; far != NULL; far = far->next) {
            for (unsigned i = 0; i < KVA__LEAF_PAGES; i++) {
                if (far->leaf[i] != NULL) {
                    kva__meta_page_put(far->leaf[i], KVA_META_SLAB_HEADERS);
                }
            }
            kva__meta_page_put(far->leaf, KVA_META_SLAB_HEADERS);
        }
        far_bucket[b] = NULL;
    }
    far_static_used = 0;
    while (far_pages != NULL) {
        struct far_page *page = far_pages;

        far_pages = page->next;
        kva__meta_page_put(page, KVA_META_SLAB_HEADERS);
    }
}
#else
static struct kva__slab **
far_entry(uintptr_t addr, bool make)
{
    (void)addr;
    (void)make;
    return NULL;
}

static void
far_fini(void)
{
}
#endif

/* ---- entries ----------------------------------------------------------- */

/* The first slab is to be entered, at addr: from where on the root is to see.
 * From address 0, if that will do; else from a quarter of its reach below. */
static void
origin_place(uintptr_t addr)
{
    uintptr_t leaf_bytes = KVA__LEAF_PAGES << KVA_PAGE_SHIFT;
    uintptr_t origin = 0;

    if (addr >> KVA_PAGE_SHIFT >= KVA__SLAB_REACH / 2) {
        origin = kva_round_down(addr - (KVA__SLAB_REACH / 4 << KVA_PAGE_SHIFT),
                                leaf_bytes);
    }
    __atomic_store_n(&kva__slabmap_origin, KVA_WORD_64 ? origin : 0,
                     __ATOMIC_RELEASE);
}

/* The entry of a page that the root sees, its leaf made if need be. */
static struct kva__slab **
near_entry(uintptr_t page, bool make)
{
    uintptr_t n = page >> KVA__LEAF_SHIFT;
    uintptr_t name = __atomic_load_n(&kva__slabmap_root[n], __ATOMIC_ACQUIRE);

    if (make && name == leaf_name(no_leaf, n)) {
        struct kva__slab **leaf = leaf_new();

        if (leaf == NULL) {
            return NULL;
        }
        name = leaf_name(leaf, n);
        __atomic_store_n(&kva__slabmap_root[n], name, __ATOMIC_RELEASE);
        nleaves++;
    }
    return (struct kva__slab **)(name + page * ENTRY);
}

static struct kva__slab **
entry_of(uintptr_t addr, bool make)
{
    uintptr_t page = kva__slabmap_page(addr);

    return page < KVA__SLAB_REACH ? near_entry(page, make)
                                  : far_entry(addr, make);
}

/* The leaves of a range, all or some of them. */
static bool
leaves_make(uintptr_t base, size_t bytes)
{
    size_t step = (size_t)KVA__LEAF_PAGES << KVA_PAGE_SHIFT;

    if (nleaves == 0) {
        origin_place(base);
    }
    for (size_t at = 0; at < bytes; at += step) {
        if (entry_of(base + at, true) == NULL) {
            return false;
        }
    }
    return entry_of(base + bytes - KVA_PAGE_SIZE, true) != NULL;
}

bool
kva__slabmap_set(uintptr_t base, size_t bytes, struct kva__slab *slab)
{
    kva_irq_t irq = kva__off_lock();
    bool ready = true;

    if (slab != NULL) {
        ready = leaves_make(base, bytes);
    }
    for (size_t done = 0; ready && done < bytes; done += KVA_PAGE_SIZE) {
        struct kva__slab **entry = entry_of(base + done, false);

        KVA_ASSERT(slab == NULL || *entry == &kva__slab_nobodys ||
                   (*entry)->owner != slab->owner);
        __atomic_store_n(entry, slab != NULL ? slab : &kva__slab_nobodys,
                         __ATOMIC_RELEASE);
    }
    kva__off_unlock(irq);
    return ready;
}

struct kva__slab *
kva__slabmap_find(uintptr_t addr)
{
    struct kva__slab **entry = entry_of(addr, false),
                     *slab = &kva__slab_nobodys;

    if (entry != NULL) {
        slab = __atomic_load_n(entry, __ATOMIC_ACQUIRE);
    }
    return slab == &kva__slab_nobodys ? NULL : slab;
}

/* All leaves back; there is no pool and no reader any more. */
void
kva__slabmap_fini(void)
{
    for (unsigned n = 0; n < KVA__ROOT_LEAVES; n++) {
        uintptr_t name = kva__slabmap_root[n];

        if (name != leaf_name(no_leaf, n)) {
            kva__meta_page_put(
                (void *)(name + ((uintptr_t)n << KVA__LEAF_SHIFT) * ENTRY),
                KVA_META_SLAB_HEADERS);
            kva__slabmap_root[n] = leaf_name(no_leaf, n);
        }
    }
    nleaves = 0;
    kva__slabmap_origin = 0;
    far_fini();
}

#endif
