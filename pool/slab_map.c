/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The map of slabs: two bits for each page, in chunks that one metadata page
 * describes (64 MiB of address space with 4 KiB pages).  1 GB of slabs takes 17
 * pages.  See pool_impl.h for why it is there.
 *
 * Locking.  Bits and new chunks are written with the lock of off_slab.c held.
 * Readers take no lock: a chunk is complete before it is linked, is never
 * unlinked while there are pools, and a word is read in one load.  A reader
 * that asks about an object it holds finds the bits that were set before the
 * object was handed out; one that asks about anything else may be told what
 * was true a moment ago.
 */
#include "pool/pool_impl.h"

struct kva__slabmap_chunk *kva__slabmap_bucket[KVA__SLABMAP_BUCKETS];

/* A number that no address has: the shift leaves the top bits clear. */
static struct kva__slabmap_chunk nowhere = { ~(uintptr_t)0, NULL, NULL };

/* Chunks' descriptions: the first few static, 256 MiB of address space; then
 * metadata pages, filled from the front. */
#define CHUNKS_STATIC 4u

struct chunk_page {
    struct chunk_page *next;
    size_t used;
    struct kva__slabmap_chunk chunk[];
};

#define CHUNKS_PER_PAGE                            \
    ((KVA_PAGE_SIZE - sizeof(struct chunk_page)) / \
     sizeof(struct kva__slabmap_chunk))

/* All of this with the lock of off_slab.c held. */
static struct kva__slabmap_chunk chunk_static[CHUNKS_STATIC];
static unsigned chunk_static_used;
static struct chunk_page *chunk_pages;

/* A description that is not in use yet. */
static struct kva__slabmap_chunk *
chunk_describe(void)
{
    struct chunk_page *page = chunk_pages;

    if (chunk_static_used < CHUNKS_STATIC) {
        return &chunk_static[chunk_static_used];
    }
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

static void
chunk_described(void)
{
    if (chunk_static_used < CHUNKS_STATIC) {
        chunk_static_used++;
    } else {
        chunk_pages->used++;
    }
}

static bool
chunk_add(uintptr_t number)
{
    struct kva__slabmap_chunk *chunk = chunk_describe();
    struct kva__slabmap_chunk **bucket =
        &kva__slabmap_bucket[number & (KVA__SLABMAP_BUCKETS - 1u)];
    uintptr_t *word;

    if (chunk == NULL) {
        return false;
    }
    word = kva__meta_page_get(KVA_META_SLAB_HEADERS);
    if (word == NULL) {
        return false; /* the description stays unused, for the next one */
    }
    chunk_described();
    chunk->number = number;
    chunk->word = word;
    chunk->next = *bucket;
    __atomic_store_n(bucket, chunk, __ATOMIC_RELEASE);
    return true;
}

void
kva__slabmap_bootstrap(void)
{
    for (unsigned b = 0; b < KVA__SLABMAP_BUCKETS; b++) {
        kva__slabmap_bucket[b] = &nowhere;
    }
}

/* Slabs of more than a word are entered by their first page alone, and so are
 * those that are not aligned to their size: only a put looks for them, and
 * it knows where they start. */
static uintptr_t
fields_of(uintptr_t base, size_t bytes)
{
    size_t pages = bytes >> KVA_PAGE_SHIFT;

    if (pages > KVA__SLABMAP_WORD_PAGES || (base & (bytes - 1u)) != 0 ||
        !kva_is_pow2(bytes)) {
        pages = 1;
    }
    return ~(uintptr_t)0 >> (KVA__WORD_BITS - 2u * pages)
                                << kva__slabmap_bit(base);
}

bool
kva__slabmap_set(uintptr_t base, size_t bytes, enum kva__slabmap_code code)
{
    uintptr_t fields = fields_of(base, bytes), bits = 0;
    kva_irq_t irq = kva__off_lock();
    uintptr_t *word = kva__slabmap_word(base);

    if (word == NULL && chunk_add(base >> KVA__SLABMAP_SHIFT)) {
        word = kva__slabmap_word(base);
    }
    if (code != KVA__SLABMAP_NONE) {
        /* All ones, and the first two what the start is. */
        bits = fields ^ (uintptr_t)(KVA__SLABMAP_MORE ^ code)
                            << kva__slabmap_bit(base);
    }
    if (word != NULL) {
        KVA_ASSERT(code == KVA__SLABMAP_NONE || (*word & fields) == 0);
        __atomic_store_n(word, (*word & ~fields) | bits, __ATOMIC_RELEASE);
    }
    kva__off_unlock(irq);
    return word != NULL;
}

/* All chunks back; there is no pool and no reader any more. */
void
kva__slabmap_fini(void)
{
    for (unsigned b = 0; b < KVA__SLABMAP_BUCKETS; b++) {
        struct kva__slabmap_chunk *chunk = kva__slabmap_bucket[b];

        for (; chunk != &nowhere; chunk = chunk->next) {
            kva__meta_page_put(chunk->word, KVA_META_SLAB_HEADERS);
        }
        kva__slabmap_bucket[b] = &nowhere;
    }
    chunk_static_used = 0;
    while (chunk_pages != NULL) {
        struct chunk_page *page = chunk_pages;

        chunk_pages = page->next;
        kva__meta_page_put(page, KVA_META_SLAB_HEADERS);
    }
}
