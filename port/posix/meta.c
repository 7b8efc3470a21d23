/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages for the library's own bookkeeping: a room of its own, opened for access
 * in steps from its beginning, where a page takes memory when it is first
 * written.  A page that comes back loses its memory at once, so the next one
 * who gets it finds zeros and the resident size follows.  The room is two
 * mappings at most, the open part and the rest.
 */
#include <errno.h>
#include <sys/mman.h>

#include "port/posix/posix_impl.h"

#if KVA_TIER >= 2
/* Pages opened in one step. */
#define STEP ((size_t)1024)

static uint32_t *free_page; /* a stack of pages that came back */
static size_t nfree;
static size_t unused; /* from here on never given out */
static size_t opened; /* pages with access */
static uint8_t *in_use;

int
kva__posix_meta_init(void)
{
    size_t bytes = kva__posix.config.meta_bytes;
    void *p = kva__posix_reserve(bytes, 0);

    if (p == NULL) {
        return KVA_ENOMEM;
    }
    kva__posix.meta_base = (uintptr_t)p;
    kva__posix.meta_pages = bytes >> KVA_PAGE_SHIFT;
    nfree = unused = opened = 0;
    free_page = kva__posix_table(kva__posix.meta_pages, sizeof(*free_page));
    in_use = kva__posix_table(kva__posix.meta_pages, sizeof(*in_use));
    if (free_page == NULL || in_use == NULL) {
        return KVA_ENOMEM;
    }
    return 0;
}

void
kva__posix_meta_fini(void)
{
    kva__posix_table_free(free_page, kva__posix.meta_pages, sizeof(*free_page));
    kva__posix_table_free(in_use, kva__posix.meta_pages, sizeof(*in_use));
    free_page = NULL;
    in_use = NULL;
    kva__posix_unreserve(kva__posix.meta_base,
                         kva__posix.meta_pages << KVA_PAGE_SHIFT);
    kva__posix.meta_base = 0;
    kva__posix.meta_pages = 0;
}

enum meta_result {
    META_GOT,
    META_FULL,
    META_REFUSED
};

/* Give access to more of the room. */
static enum meta_result
meta_open(void)
{
    size_t n = kva__posix.meta_pages - opened;
    int error = errno;
    enum meta_result result = META_GOT;

    if (n == 0) {
        return META_FULL;
    }
    n = n > STEP ? STEP : n;
    if (mprotect((void *)(kva__posix.meta_base + (opened << KVA_PAGE_SHIFT)),
                 n << KVA_PAGE_SHIFT, PROT_READ | PROT_WRITE) != 0) {
        result = META_REFUSED;
    } else {
        opened += n;
    }
    errno = error;
    return result;
}

/* A page's number, taken from the tables. */
static enum meta_result
meta_take(size_t *page)
{
    struct kva_posix_stats *s = &kva__posix.stats;
    enum meta_result result = META_GOT;

    s->meta_gets++;
    if (kva__posix.config.meta_counts &&
        s->frames + s->meta_pages >= kva__posix.config.page_limit) {
        return META_FULL;
    }
    if (nfree > 0) {
        *page = free_page[--nfree];
    } else {
        if (unused == opened) {
            result = meta_open();
        }
        if (result != META_GOT) {
            return result;
        }
        *page = unused++;
    }
    in_use[*page] = 1;
    s->meta_pages++;
    if (s->meta_pages > s->meta_peak) {
        s->meta_peak = s->meta_pages;
    }
    return META_GOT;
}

/* One more page, or one less. */
static void
meta_count(int by)
{
    struct kva_posix_stats *s = &kva__posix.stats;

    s->meta_gets += by > 0;
    s->meta_puts += by < 0;
    s->meta_pages += (size_t)by;
    if (s->meta_pages > s->meta_peak) {
        s->meta_peak = s->meta_pages;
    }
}

#if KVA_DIRECT_MAP
/* A frame, where all are mapped; it is zeroed when it was given back. */
static int
direct_get(uintptr_t *va)
{
    kva_pa_t pa;
    kva_irq_t saved;

    if (kva_port_page_get(1, KVA_PAGE_NOSLEEP, &pa) != 0) {
        return KVA_ENOMEM;
    }
    (void)kva_port_direct(pa, 1, va);
    saved = kva__posix_enter(&kva__posix_space_lock);
    meta_count(1);
    kva__posix_leave(&kva__posix_space_lock, saved);
    return 0;
}

static void
direct_put(uintptr_t va)
{
    kva_pa_t pa;
    kva_irq_t saved;

    if (!kva_port_direct_pa(va, &pa) || (va & KVA_PAGE_MASK) != 0) {
        kva__misuse("kva_port_meta_put", "space", "meta", va,
                    "expected a metadata page");
    }
    saved = kva__posix_enter(&kva__posix_space_lock);
    meta_count(-1);
    kva__posix_leave(&kva__posix_space_lock, saved);
    kva_port_page_put(1, pa);
}
#endif

static int
supply_get(uintptr_t *va)
{
    int error = kva__posix_supply.meta_get(va);
    kva_irq_t saved;

    saved = kva__posix_enter(&kva__posix_space_lock);
    meta_count(error == 0 ? 1 : 0);
    kva__posix_leave(&kva__posix_space_lock, saved);
    if (error != 0) {
        kva__posix_error("meta_get: the supply has no page");
    }
    return error;
}

static void
supply_put(uintptr_t va)
{
    kva_irq_t saved;

    saved = kva__posix_enter(&kva__posix_space_lock);
    meta_count(-1);
    kva__posix_leave(&kva__posix_space_lock, saved);
    kva__posix_supply.meta_put(va);
}

int
kva_port_meta_get(uintptr_t *va)
{
    enum meta_result result;
    size_t page = 0;
    kva_irq_t saved;

    posix_yield("meta_get");
    kva__posix_need(__func__);
    if (kva_posix_fault(KVA_POSIX_META_GET)) {
        kva__posix_error("meta_get: injected fault");
        return KVA_ENOMEM;
    }
#if KVA_DIRECT_MAP
    return direct_get(va);
#endif
    if (kva__posix_supply.meta_get != NULL) {
        return supply_get(va);
    }
    saved = kva__posix_enter(&kva__posix_space_lock);
    result = meta_take(&page);
    kva__posix_leave(&kva__posix_space_lock, saved);
    if (result == META_REFUSED) {
        kva__posix_host_error("mprotect", ENOMEM);
        return KVA_ENOMEM;
    }
    if (result == META_FULL) {
        kva__posix_error("meta_get: the room for metadata is full");
        return KVA_ENOMEM;
    }
    *va = kva__posix.meta_base + (page << KVA_PAGE_SHIFT);
    if (kva__posix_broken(KVA_POSIX_META_DIRTY)) {
        ((unsigned char *)*va)[KVA_PAGE_SIZE - 1] = 1;
    }
    *va += kva__posix_broken(KVA_POSIX_META_ODD) ? 64 : 0;
    return 0;
}

void
kva_port_meta_put(uintptr_t va)
{
    size_t page = (va - kva__posix.meta_base) >> KVA_PAGE_SHIFT;
    int error = errno;
    kva_irq_t saved;
    bool used;

    posix_yield("meta_put");
    kva__posix_need(__func__);
#if KVA_DIRECT_MAP
    direct_put(va);
    return;
#endif
    if (kva__posix_supply.meta_put != NULL) {
        supply_put(va);
        return;
    }
    if (va < kva__posix.meta_base || page >= kva__posix.meta_pages ||
        (va & KVA_PAGE_MASK) != 0) {
        kva__misuse(__func__, "space", "meta", va, "expected a metadata page");
    }
    saved = kva__posix_enter(&kva__posix_space_lock);
    kva__posix.stats.meta_puts++;
    used = in_use[page] != 0;
    if (used) {
        in_use[page] = 0;
        (void)madvise((void *)va, KVA_PAGE_SIZE, MADV_DONTNEED);
        free_page[nfree++] = (uint32_t)page;
        kva__posix.stats.meta_pages--;
    }
    kva__posix_leave(&kva__posix_space_lock, saved);
    errno = error;
    if (!used) {
        kva__misuse(__func__, "space", "meta", va,
                    "expected a page in use, found a free one");
    }
}

#else /* no metadata pages at the lower tiers */

int
kva__posix_meta_init(void)
{
    return 0;
}

void
kva__posix_meta_fini(void)
{
}
#endif
