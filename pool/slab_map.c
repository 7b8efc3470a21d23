/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The map of slabs: two bits for each page, in chunks that one metadata page
 * describes (64 MiB of address space with 4 KiB pages).  1 GB of slabs takes 17
 * pages.  See pool_impl.h for why it is there.
 *
 * Locking.  Bits and new chunks are written with the lock of off_slab.c held.  Readers take
 * no lock: a chunk is complete before it is linked, is never unlinked while
 * there are pools, and a bit is read in one load.  A reader that asks about an
 * object it holds finds the bit that was set before the object was handed out;
 * one that asks about anything else may be told what was true a moment ago.
 */
#include "pool/pool_impl.h"

struct kva__map_chunk *kva__map_bucket[KVA__MAP_BUCKETS];

/* Chunks' descriptions fill metadata pages from the front. */
struct chunk_page {
    struct chunk_page *next;
    size_t used;
    struct kva__map_chunk chunk[];
};

#define CHUNKS_PER_PAGE                             \
    ((KVA_PAGE_SIZE - sizeof(struct chunk_page)) /  \
     sizeof(struct kva__map_chunk))

static struct chunk_page *chunk_pages;

/* Both with the lock of off_slab.c held, which all of this file uses. */
static struct kva__map_chunk *
chunk_describe(void)
{
    struct chunk_page *page = chunk_pages;

    if (page == NULL || page->used == CHUNKS_PER_PAGE) {
        page = kva__meta_page_get(KVA_META_SLAB_HEADERS);
        if (page == NULL) {
            return NULL;
        }
        page->next = chunk_pages;
        chunk_pages = page;
    }
    return &page->chunk[page->used];
}

static bool
chunk_add(uintptr_t number)
{
    struct kva__map_chunk *chunk = chunk_describe();
    struct kva__map_chunk **bucket =
        &kva__map_bucket[number & (KVA__MAP_BUCKETS - 1u)];
    uintptr_t *bits;

    if (chunk == NULL) {
        return false;
    }
    bits = kva__meta_page_get(KVA_META_SLAB_HEADERS);
    if (bits == NULL) {
        return false; /* the description stays unused, for the next one */
    }
    chunk_pages->used++;
    chunk->number = number;
    chunk->bits = bits;
    chunk->next = *bucket;
    __atomic_store_n(bucket, chunk, __ATOMIC_RELEASE);
    return true;
}

static uintptr_t
bit_of(uintptr_t base)
{
    return (uintptr_t)1 << ((base >> KVA_PAGE_SHIFT) & (KVA__WORD_BITS - 1u));
}

/* False: no metadata page for a new chunk. */
bool
kva__map_set(uintptr_t base, enum kva__map_half half)
{
    kva_irq_t irq = kva__off_lock();
    uintptr_t *word = kva__map_word(base, half);

    if (word == NULL && chunk_add(base >> KVA__MAP_SHIFT)) {
        word = kva__map_word(base, half);
    }
    if (word != NULL) {
        KVA_ASSERT((*word & bit_of(base)) == 0);
        __atomic_store_n(word, *word | bit_of(base), __ATOMIC_RELEASE);
    }
    kva__off_unlock(irq);
    return word != NULL;
}

void
kva__map_clear(uintptr_t base, enum kva__map_half half)
{
    kva_irq_t irq = kva__off_lock();
    uintptr_t *word = kva__map_word(base, half);

    KVA_ASSERT(word != NULL && (*word & bit_of(base)) != 0);
    __atomic_store_n(word, *word & ~bit_of(base), __ATOMIC_RELEASE);
    kva__off_unlock(irq);
}

/*
 * A slab of up to 32 pages is aligned to its size, so it does not cross a word
 * of the map, and the nearest bit at or below a page is its slab's.
 */
uintptr_t
kva__map_before(uintptr_t addr, enum kva__map_half half)
{
    const uintptr_t *word = kva__map_word(addr, half);
    unsigned page = (unsigned)(addr >> KVA_PAGE_SHIFT) & (KVA__WORD_BITS - 1u);
    uintptr_t bits;

    if (word == NULL) {
        return 0;
    }
    bits = __atomic_load_n(word, __ATOMIC_RELAXED) &
           (~(uintptr_t)0 >> (KVA__WORD_BITS - 1u - page));
    if (bits == 0) {
        return 0;
    }
    return kva_round_down(addr, KVA_PAGE_SIZE) -
           ((uintptr_t)(page - kva_fls(bits)) << KVA_PAGE_SHIFT);
}

/* All chunks back; there is no pool and no reader any more. */
void
kva__map_fini(void)
{
    for (unsigned b = 0; b < KVA__MAP_BUCKETS; b++) {
        struct kva__map_chunk *chunk = kva__map_bucket[b];

        for (; chunk != NULL; chunk = chunk->next) {
            kva__meta_page_put(chunk->bits, KVA_META_SLAB_HEADERS);
        }
        kva__map_bucket[b] = NULL;
    }
    while (chunk_pages != NULL) {
        struct chunk_page *page = chunk_pages;

        chunk_pages = page->next;
        kva__meta_page_put(page, KVA_META_SLAB_HEADERS);
    }
}
