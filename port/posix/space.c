/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The address space.  A large range is reserved once, with no access and no
 * memory; pages are attached and detached in it for real, so that what the
 * library believes to be wired is what Linux counts as resident.
 *
 * Linux keeps one mapping (vm_area) for each run of pages with the same access
 * and allows 65,530 of them, so a range is changed by one call, never page by
 * page.  Two mappings side by side join again only if they hang on the same
 * anon_vma.  One page is therefore touched before the range is first split:
 * the whole range then has its anon_vma, every part inherits it, and parts
 * join whenever their access is equal.  Detaching drops the memory and closes
 * the access but keeps the mapping, for the same reason.
 *
 * A table holds the frame behind each page, for translate and for checks: a
 * page is mapped, stale (unmapped, and maybe still in a TLB) or nothing.
 */
#include <errno.h>
#include <sys/mman.h>

#include "port/posix/posix_impl.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#include <sanitizer/msan_interface.h>
#define POSIX_UNPOISON(p, n) __msan_unpoison(p, n)
#endif
#if __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(address_sanitizer)
#define POSIX_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define POSIX_SANITIZED 1
#endif
#ifndef POSIX_SANITIZED
#define POSIX_SANITIZED 0
#endif
#ifndef POSIX_UNPOISON
#define POSIX_UNPOISON(p, n) ((void)(p), (void)(n))
#endif

/* The same place in each run makes runs repeat to the last address.  The
 * sanitizers have other plans for the address space. */
#if POSIX_SANITIZED
#define DEFAULT_HINT 0u
#elif KVA_WORD_64
#define DEFAULT_HINT 0x100000000000u
#else
#define DEFAULT_HINT 0x80000000u
#endif

#define SPACE_ALIGN ((size_t)4 << 20)

/* ---- memory from the host ---------------------------------------------- */

static void *
host_map(uintptr_t base, size_t bytes, int prot, int flags)
{
    void *p = mmap((void *)base, bytes, prot,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* Reserve more than asked for and cut to the alignment and the guards. */
static uintptr_t
reserve_anywhere(size_t bytes)
{
    size_t more = SPACE_ALIGN + 2 * KVA_PAGE_SIZE;
    uintptr_t raw, first, end;

    raw = (uintptr_t)host_map(0, bytes + more, PROT_NONE, 0);
    if (raw == 0) {
        return 0;
    }
    first = kva_round_up(raw + KVA_PAGE_SIZE, SPACE_ALIGN) - KVA_PAGE_SIZE;
    end = first + bytes + 2 * KVA_PAGE_SIZE;
    if (first > raw) {
        (void)munmap((void *)raw, first - raw);
    }
    if (raw + bytes + more > end) {
        (void)munmap((void *)end, raw + bytes + more - end);
    }
    return first + KVA_PAGE_SIZE;
}

/* The same at a place of our choice; 0: it is taken. */
static uintptr_t
reserve_at(uintptr_t base, size_t bytes)
{
    uintptr_t first = base - KVA_PAGE_SIZE;
    void *p = host_map(first, bytes + 2 * KVA_PAGE_SIZE, PROT_NONE,
                       MAP_FIXED_NOREPLACE);

    if (p != NULL && p != (void *)first) {
        (void)munmap(p, bytes + 2 * KVA_PAGE_SIZE); /* Linux before 4.17 */
        return 0;
    }
    return p == NULL ? 0 : base;
}

void *
kva__posix_reserve(size_t bytes, uintptr_t base)
{
    uintptr_t p = 0;

    if (base != 0 && (base & (SPACE_ALIGN - 1)) == 0) {
        p = reserve_at(base, bytes);
    }
    if (p == 0) {
        p = reserve_anywhere(bytes);
    }
    if (p == 0) {
        kva__posix_host_error("mmap", errno);
    } else {
        (void)madvise((void *)p, bytes,
                      kva__posix.config.huge_pages ? MADV_HUGEPAGE
                                                   : MADV_NOHUGEPAGE);
    }
    return (void *)p;
}

void
kva__posix_unreserve(uintptr_t base, size_t bytes)
{
    if (base != 0) {
        (void)munmap((void *)(base - KVA_PAGE_SIZE), bytes + 2 * KVA_PAGE_SIZE);
    }
}

/* The last page of the table may be shared with nothing, so sizes in bytes
 * need no rounding. */
void *
kva__posix_table(size_t count, size_t size)
{
    void *p = host_map(0, count * size, PROT_READ | PROT_WRITE, 0);

    if (p == NULL) {
        kva__posix_host_error("mmap", errno);
    } else {
        (void)madvise(p, count * size, MADV_NOHUGEPAGE);
    }
    return p;
}

void
kva__posix_table_free(void *table, size_t count, size_t size)
{
    if (table != NULL) {
        (void)munmap(table, count * size);
    }
}

/* For a Linux before 5.14. */
static void
touch(uintptr_t va, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        *(volatile char *)(va + (i << KVA_PAGE_SHIFT)) = 0;
    }
}

static int
populate(void *p, size_t bytes)
{
    int result;

    do {
        result = madvise(p, bytes, MADV_POPULATE_WRITE);
    } while (result != 0 && (errno == EINTR || errno == EAGAIN));
    if (result != 0 && errno == EINVAL) {
        touch((uintptr_t)p, bytes >> KVA_PAGE_SHIFT);
        return 0;
    }
    return result;
}

int
kva__posix_attach(uintptr_t va, size_t n, int prot)
{
    size_t bytes = n << KVA_PAGE_SHIFT;
    const char *call = "mprotect";
    int error = errno, failed = 0;

    if (mprotect((void *)va, bytes, PROT_READ | PROT_WRITE) != 0) {
        failed = errno;
    } else if (populate((void *)va, bytes) != 0) {
        call = "madvise";
        failed = errno;
    } else if (prot != (PROT_READ | PROT_WRITE) &&
               mprotect((void *)va, bytes, prot) != 0) {
        failed = errno;
    }
    if (failed != 0) {
        kva__posix_detach(va, n);
        kva__posix_host_error(call, failed);
        errno = error;
        return KVA_ENOMEM;
    }
    POSIX_UNPOISON((void *)va, bytes);
    errno = error;
    return 0;
}

/*
 * First the access, then the memory: who touches the page meanwhile gets a
 * fault and no page that nobody knows of.
 * Closing the access in the middle of a mapping makes two more, and at the
 * host's limit that is refused.  The memory is given back all the same; the
 * range stays open until it is next attached.
 */
void
kva__posix_detach(uintptr_t va, size_t n)
{
    size_t bytes = n << KVA_PAGE_SHIFT;
    int error = errno;
    kva_irq_t saved;

    if (mprotect((void *)va, bytes, PROT_NONE) != 0) {
        saved = kva__posix_enter(&kva__posix_space_lock);
        kva__posix.stats.unmaps_soft++;
        kva__posix_leave(&kva__posix_space_lock, saved);
    }
    (void)madvise((void *)va, bytes, MADV_DONTNEED);
    errno = error;
}

/* ---- start and stop ---------------------------------------------------- */

static uint32_t *frame_of; /* per page: 0 or frame + 1, and the mark below */
#define ENTRY_STALE ((uint32_t)1 << 31)

int
kva__posix_space_init(void)
{
    size_t bytes = kva__posix.config.va_bytes;
    uintptr_t hint = kva__posix.config.va_hint;
    void *p;

    p = kva__posix_reserve(bytes, hint != 0 ? hint : DEFAULT_HINT);
    if (p == NULL) {
        return KVA_ENOMEM;
    }
    kva__posix.va_base = (uintptr_t)p;
    kva__posix.va_pages = bytes >> KVA_PAGE_SHIFT;
    if (!POSIX_IDENTITY) {
        frame_of = kva__posix_table(kva__posix.va_pages, sizeof(*frame_of));
        if (frame_of == NULL) {
            return KVA_ENOMEM;
        }
    }
    if (kva__posix_attach(kva__posix.va_base, 1, PROT_READ | PROT_WRITE) != 0) {
        return KVA_ENOMEM;
    }
    kva__posix_detach(kva__posix.va_base, 1);
    return 0;
}

void
kva__posix_space_fini(void)
{
    kva__posix_table_free(frame_of, kva__posix.va_pages, sizeof(*frame_of));
    frame_of = NULL;
    kva__posix_unreserve(kva__posix.va_base,
                         kva__posix.va_pages << KVA_PAGE_SHIFT);
    kva__posix.va_base = 0;
    kva__posix.va_pages = 0;
}

/* ---- the hooks --------------------------------------------------------- */
#if KVA_TIER >= 2

/* The range must lie in the address space; sets its first page. */
static void
range_check(const char *func, uintptr_t va, size_t n, size_t *page)
{
    kva__posix_need(func);
    if ((va & KVA_PAGE_MASK) != 0) {
        kva__misuse(func, "space", "host", va, "expected a page boundary");
    }
    *page = (va - kva__posix.va_base) >> KVA_PAGE_SHIFT;
    if (va < kva__posix.va_base || n == 0 || n > kva__posix.va_pages ||
        *page > kva__posix.va_pages - n) {
        kva__misuse(func, "space", "host", va,
                    "expected 1 or more pages in the address space, found %zu",
                    n);
    }
}

/* Enter the mapping in the tables; NULL or what is wrong at page *bad. */
static const char *
enter_mapping(size_t page, size_t frame, size_t n, size_t *bad)
{
    for (size_t i = 0; i < n; i++) {
        *bad = i;
        if (frame_of[page + i] != 0) {
            return (frame_of[page + i] & ENTRY_STALE) != 0
                       ? "expected an unmapped page, found one not flushed"
                       : "expected an unmapped page, found a mapped one";
        }
        if (kva__posix_frame_state(frame + i) != POSIX_FRAME_HELD) {
            return "expected a frame that is allocated and mapped nowhere";
        }
    }
    for (size_t i = 0; i < n; i++) {
        frame_of[page + i] = (uint32_t)(frame + i) + 1;
        kva__posix_frame_set(frame + i, POSIX_FRAME_MAPPED);
    }
    return NULL;
}

static void
leave_mapping(size_t page, size_t frame, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        frame_of[page + i] = 0;
        kva__posix_frame_set(frame + i, POSIX_FRAME_HELD);
    }
}

static int
host_prot(unsigned prot)
{
    return ((prot & KVA_PROT_READ) != 0 ? PROT_READ : 0) |
           ((prot & KVA_PROT_WRITE) != 0 ? PROT_WRITE : 0) |
           ((prot & KVA_PROT_EXEC) != 0 ? PROT_EXEC : 0);
}

static bool memory_off;

void
kva_posix_memory_off(bool off)
{
    memory_off = off;
}

/* Attach what the tables hold; take it out of them again if that fails. */
static int
map_attach(uintptr_t va, size_t page, size_t frame, size_t n, unsigned prot)
{
    struct kva_posix_stats *s = &kva__posix.stats;
    int error = memory_off ? 0 : kva__posix_attach(va, n, host_prot(prot));
    kva_irq_t saved = kva__posix_enter(&kva__posix_space_lock);

    if (error != 0) {
        leave_mapping(page, frame, n);
    } else {
        kva__posix_large_map(va, kva__posix_frame_pa(frame), n);
        s->attached_pages += n;
        if (s->attached_pages > s->attached_peak) {
            s->attached_peak = s->attached_pages;
        }
    }
    kva__posix_leave(&kva__posix_space_lock, saved);
    return error;
}

int
kva_port_map(uintptr_t va, kva_pa_t pa, size_t n, unsigned prot)
{
    const char *wrong;
    size_t page, frame, bad;
    kva_irq_t saved;
    int error;

    posix_yield("map");
    range_check(__func__, va, n, &page);
    if (!kva__posix_frame_find(pa, n, &frame)) {
        kva__misuse(__func__, "space", "host", va,
                    "expected frames, found pa 0x%llx", (unsigned long long)pa);
    }
    if (kva_posix_fault(KVA_POSIX_MAP)) {
        kva__posix_error("map: injected fault");
        return KVA_ENOMEM;
    }
    n = kva__posix_broken(KVA_POSIX_MAP_HALF)    ? (n + 1) / 2
        : kva__posix_broken(KVA_POSIX_MAP_SHORT) ? n - 1
                                                 : n;
    saved = kva__posix_enter(&kva__posix_space_lock);
    kva__posix.stats.maps++;
    wrong = enter_mapping(page, frame, n, &bad);
    kva__posix_leave(&kva__posix_space_lock, saved);
    if (wrong != NULL) {
        kva__misuse(__func__, "space", "host", va + (bad << KVA_PAGE_SHIFT),
                    "%s", wrong);
    }
    error = n == 0 ? 0 : map_attach(va, page, frame, n, prot);
    return kva__posix_broken(KVA_POSIX_MAP_HALF) ? KVA_ENOMEM : error;
}

/* Mark n pages stale; n, or the first that is not mapped. */
static size_t
mark_stale(size_t page, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (frame_of[page + i] == 0 ||
            (frame_of[page + i] & ENTRY_STALE) != 0) {
            return i;
        }
    }
    for (size_t i = 0; i < n; i++) {
        kva__posix_frame_set(frame_of[page + i] - 1, POSIX_FRAME_STALE);
        frame_of[page + i] |= ENTRY_STALE;
    }
    kva__posix.stats.stale_pages += n;
    kva__posix.stats.attached_pages -= n;
    return n;
}

void
kva_port_unmap(uintptr_t va, size_t n)
{
    size_t page, done, whole;
    kva_irq_t saved;

    posix_yield("unmap");
    range_check(__func__, va, n, &page);
    n -= kva__posix_broken(KVA_POSIX_UNMAP_SHORT) ? 1 : 0;
    saved = kva__posix_enter(&kva__posix_space_lock);
    kva__posix.stats.unmaps++;
    whole = kva__posix_large_unmap(va, n);
    done = whole < n ? n : mark_stale(page, n);
    kva__posix_leave(&kva__posix_space_lock, saved);
    if (whole < n) {
        kva__misuse(__func__, "space", "host", va + (whole << KVA_PAGE_SHIFT),
                    "expected all of a large page or none, found a part");
    }
    if (done < n) {
        kva__misuse(__func__, "space", "host", va + (done << KVA_PAGE_SHIFT),
                    "expected a mapped page, found an unmapped one");
    }
    if (n > 0 && !memory_off) {
        kva__posix_detach(va, n);
    }
}

uint32_t
kva__posix_page_entry(size_t page)
{
    return (frame_of[page] & ENTRY_STALE) != 0 ? 0 : frame_of[page];
}

/* The flush may cover more than was unmapped: a batch with holes. */
void
kva_port_flush(uintptr_t va, size_t n)
{
    struct kva_posix_stats *s = &kva__posix.stats;
    size_t page;
    kva_irq_t saved;

    posix_yield("flush");
    range_check(__func__, va, n, &page);
    saved = kva__posix_enter(&kva__posix_space_lock);
    s->flushes++;
    kva__posix_tlb_flush(page, n);
    for (size_t i = page; i < page + n && s->stale_pages > 0; i++) {
        if ((frame_of[i] & ENTRY_STALE) != 0) {
            kva__posix_frame_set((frame_of[i] & ~ENTRY_STALE) - 1,
                                 POSIX_FRAME_HELD);
            frame_of[i] = 0;
            s->stale_pages--;
        }
    }
    kva__posix_leave(&kva__posix_space_lock, saved);
}

/* How many of n pages are mapped, from the first on. */
static size_t
mapped_pages(size_t page, size_t n)
{
    size_t i = 0;

    while (i < n && frame_of[page + i] != 0 &&
           (frame_of[page + i] & ENTRY_STALE) == 0) {
        i++;
    }
    return i;
}

/* At the host's limit of mappings the pages keep the accesses they had. */
void
kva_port_protect(uintptr_t va, size_t n, unsigned prot)
{
    int error = errno;
    size_t page, good;
    kva_irq_t saved;
    bool soft;

    posix_yield("protect");
    range_check(__func__, va, n, &page);
    saved = kva__posix_enter(&kva__posix_space_lock);
    good = mapped_pages(page, n);
    kva__posix_leave(&kva__posix_space_lock, saved);
    if (good < n) {
        kva__misuse(__func__, "space", "host", va + (good << KVA_PAGE_SHIFT),
                    "expected a mapped page, found an unmapped one");
    }
    soft = mprotect((void *)va, n << KVA_PAGE_SHIFT, host_prot(prot)) != 0;
    saved = kva__posix_enter(&kva__posix_space_lock);
    kva__posix.stats.protects++;
    kva__posix.stats.protects_soft += soft;
    kva__posix_leave(&kva__posix_space_lock, saved);
    errno = error;
}

size_t
kva_port_translate(uintptr_t va, size_t n, kva_pa_t *pa)
{
    size_t page, found = 0;
    uint32_t first;
    kva_irq_t saved;

    posix_yield("translate");
    kva__posix_need(__func__);
    page = (va - kva__posix.va_base) >> KVA_PAGE_SHIFT;
    if (va < kva__posix.va_base || page >= kva__posix.va_pages) {
        return 0;
    }
    if (n > kva__posix.va_pages - page) {
        n = kva__posix.va_pages - page;
    }
    saved = kva__posix_enter(&kva__posix_space_lock);
    first = frame_of[page];
    if (first != 0 && (first & ENTRY_STALE) == 0) {
        while (found < n && frame_of[page + found] == first + found) {
            found++;
        }
    }
    kva__posix_leave(&kva__posix_space_lock, saved);
    if (found > 0) {
        *pa = kva__posix_frame_pa(first - 1) + (va & KVA_PAGE_MASK);
    }
    return found;
}
#endif
