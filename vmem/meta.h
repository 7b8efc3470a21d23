/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The metadata allocator: fixed-size blocks out of pages that the port hands
 * out.  Everything the library keeps for itself (tags, magazines, windows,
 * slab headers) comes from here and never from the allocators above, so that
 * no operation can recurse into itself.
 *
 *     page:  | header 32 B | block | block | ... | block |
 *
 * A page belongs to one store.  A page whose last block comes back is returned,
 * but for the store's reserve.  Pages come from the donated region first, then
 * from the port.
 */
#ifndef KVA_VMEM_META_H
#define KVA_VMEM_META_H

#include "port/check.h"

/* What the pages are for; the order is that of the reports. */
enum kva_meta_kind {
    KVA_META_TAGS,
    KVA_META_HASH,
    KVA_META_QCACHE,
    KVA_META_SLAB_HEADERS,
    KVA_META_STATE,
    KVA_META_MAGAZINES,
    KVA_META_OTHER,
    KVA_META_KINDS
};

struct kva__meta_page;

/* A store of blocks of one size. (m) lock. */
struct kva__meta_store {
    kva_lock_t lock;
    struct kva__meta_page *partial; /* (m) pages with a free block */
    size_t block_size;              /* (c) */
    unsigned blocks_per_page;       /* (c) */
    enum kva_meta_kind kind;        /* (c) */
    size_t npages;                  /* (m) */
    size_t nfree;                   /* (m) free blocks in them */
    size_t nused;                   /* (m) */
    unsigned reserve;               /* (c) free blocks kept back from giving
                                       pages away */
    struct kva__meta_store *next;   /* all stores */
};

/*
 * block_size: up to KVA_META_BLOCK_MAX, a multiple of 8.  Blocks are aligned to
 * the largest power of two that divides block_size, but no more than a cache
 * line.  reserve: free blocks that are not given away with their pages.
 */
#define KVA_META_BLOCK_MAX \
    (KVA_PAGE_SIZE - (KVA_CACHE_LINE < 64 ? 64 : KVA_CACHE_LINE))
void kva__meta_store_init(struct kva__meta_store *ms, const char *name,
                          size_t block_size, enum kva_meta_kind kind,
                          unsigned reserve);

/* A zeroed block, or NULL. */
void *kva__meta_get(struct kva__meta_store *ms);
void kva__meta_put(struct kva__meta_store *ms, void *block);

/* A whole zeroed page, or NULL. */
void *kva__meta_page_get(enum kva_meta_kind kind);
void kva__meta_page_put(void *page, enum kva_meta_kind kind);

/* Bytes of pages held for a kind (KVA_META_KINDS: all). */
size_t kva__meta_bytes(enum kva_meta_kind kind);

/* Pages ever asked for: a free path must not move this. */
size_t kva__meta_requests(void);

/* How often metadata was refused, for whatever; whoever fails looks whether
 * that was why.  kva__meta_refuse counts one more. */
size_t kva__meta_refused(void);
void kva__meta_refuse(void);

/* Memory for pages before the port is asked, beside what was donated before;
 * NULL: forget all that was.  Boot context. */
void kva__meta_donate(void *mem, size_t bytes);

/*
 * The stock: so many pages are kept, which only who is entitled gets
 * (vmem/reserve.h), when there are no others.  set: from now on, and at once as
 * many as are to be had; pages that come back are the stock's first.  fill: ask
 * again for what is missing.  Pages that are there now; most that there should
 * be.
 */
void kva__meta_stock_set(size_t pages);
void kva__meta_stock_fill(void);
void kva__meta_stock(size_t *pages, size_t *wanted);

/* Whether the port may be asked for pages; true from the start. */
void kva__meta_port_ready(bool ready);

#endif
