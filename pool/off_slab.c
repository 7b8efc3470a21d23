/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slab headers outside their slabs: for objects so large that a header in the
 * slab would cost one of them, and for memory that must not be written while it
 * is free (PR_NOTOUCH).
 *
 * Headers come in a few sizes, cut from metadata pages, which are given back
 * when there is no pool.  The map of slabs leads to them.
 */
#include "pool/pool_impl.h"

/* Sizes of headers: powers of two from 64 bytes on, and the most that fits. */
#define OFF_CLASS_MIN_SHIFT 6u
#define OFF_CLASSES (KVA_PAGE_SHIFT - OFF_CLASS_MIN_SHIFT + 1u)

/* The first bytes of a page of headers. */
struct off_page {
    struct off_page *next;
};

/* A header in no use. */
struct off_unused {
    struct off_unused *next;
};

static kva_lock_t off_lock; /* of all below, and of slab_map.c */
static struct off_unused *off_unused[OFF_CLASSES];
static struct off_page *off_pages;
static size_t off_count;

void
kva__off_bootstrap(void)
{
    kva_port_lock_init(&off_lock, "slab map", KVA_IPL_HIGH, KVA_RANK_SLAB);
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

static unsigned
off_class(size_t bytes)
{
    size_t total = bytes + sizeof(struct kva__off_slab);

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
off_release(void *block, unsigned class)
{
    struct off_unused *unused = block;

    unused->next = off_unused[class];
    off_unused[class] = unused;
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
        off_release(page + at, class);
    }
    return true;
}

struct kva__slab *
kva__off_create(uintptr_t base, size_t bytes)
{
    unsigned class = off_class(bytes);
    kva_irq_t irq = kva__off_lock();
    struct kva__off_slab *off = NULL;

    if (off_unused[class] != NULL || off_refill(class)) {
        off = (struct kva__off_slab *)(void *)off_unused[class];
        off_unused[class] = off_unused[class]->next;
        off_count++;
    }
    kva__off_unlock(irq);
    if (off == NULL) {
        return NULL;
    }
    off->base = base;
    return (struct kva__slab *)(void *)(off + 1);
}

void
kva__off_destroy(struct kva__slab *slab, size_t bytes)
{
    kva_irq_t irq = kva__off_lock();

    off_release((struct kva__off_slab *)(void *)slab - 1, off_class(bytes));
    off_count--;
    kva__off_unlock(irq);
}

void
kva__off_fini(void)
{
    KVA_ASSERT(off_count == 0);
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
