/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Large pages: those that a kernel's page tables would have.  The host maps as
 * it likes; here is noted what could be mapped so, and seen to it that nobody
 * unmaps a part.
 *
 *      kva_port_map  |.....|====== large ======|====== large ======|...|
 *                    va    a boundary, and one of the frames
 *
 * A large page comes to be when one call maps all of it, to frames that begin
 * at a boundary too; what is mapped piece by piece does not grow together.  It
 * goes in one call as well, or is demoted before: that takes a kernel memory,
 * and unmapping cannot fail.
 */
#include "port/posix/posix_impl.h"

#if KVA_TIER >= 2

/* Without large pages nothing is ever marked. */
#define LARGE (KVA_LARGE_PAGES == 0 ? SIZE_MAX / 2 + 1 : KVA_LARGE_PAGE_SIZE)
#define PAGES (LARGE >> KVA_PAGE_SHIFT)

static uint8_t *is_large; /* (space) per large page of the address space */
static uintptr_t first;   /* (c) where the first begins */
static size_t count;      /* (c) */

int
kva__posix_large_init(void)
{
    uintptr_t end =
        kva__posix.va_base + (kva__posix.va_pages << KVA_PAGE_SHIFT);

    first = kva_round_down(kva__posix.va_base, LARGE);
    count = (end - 1 - first) / LARGE + 1;
    is_large = kva__posix_table(count, sizeof(*is_large));
    return is_large == NULL ? KVA_ENOMEM : 0;
}

void
kva__posix_large_fini(void)
{
    kva__posix_table_free(is_large, count, sizeof(*is_large));
    is_large = NULL;
}

static uint8_t *
mark_of(uintptr_t va)
{
    return &is_large[(va - first) / LARGE];
}

void
kva__posix_large_map(uintptr_t va, kva_pa_t pa, size_t n)
{
    uintptr_t at = kva_round_up(va, LARGE);
    size_t head = (at - va) >> KVA_PAGE_SHIFT;

    if (((pa - va) & (LARGE - 1)) != 0) {
        return;
    }
    for (; at >= va && head < n && n - head >= PAGES; head += PAGES) {
        *mark_of(at) = 1;
        kva__posix.stats.large_pages += PAGES;
        at += LARGE;
    }
}

/* Does a large page lie on both sides of va. */
static bool
lies_across(uintptr_t va)
{
    return (va & (LARGE - 1)) != 0 && *mark_of(va) != 0;
}

static void
unmark(uintptr_t va)
{
    *mark_of(va) = 0;
    kva__posix.stats.large_pages -= PAGES;
}

size_t
kva__posix_large_unmap(uintptr_t va, size_t n)
{
    uintptr_t end = va + (n << KVA_PAGE_SHIFT);
    uintptr_t last = kva_round_down(end - 1, LARGE);

    if (lies_across(va)) {
        return 0;
    }
    if (lies_across(end)) {
        return last > va ? (last - va) >> KVA_PAGE_SHIFT : 0;
    }
    for (uintptr_t at = kva_round_up(va, LARGE); at >= va && at < end;
         at += LARGE) {
        if (*mark_of(at) != 0) {
            unmark(at);
        }
        if (at == last) {
            break;
        }
    }
    return n;
}

#if KVA_DEMOTE
static void
demote(uintptr_t va)
{
    if (lies_across(va)) {
        unmark(va);
        kva__posix.stats.demotes++;
    }
}

int
kva_port_demote(uintptr_t va, size_t n)
{
    kva_irq_t saved;

    posix_yield("demote");
    kva__posix_need(__func__);
    if (((va - kva__posix.va_base) >> KVA_PAGE_SHIFT) + n >
        kva__posix.va_pages) {
        kva__misuse(__func__, "space", "host", va,
                    "expected pages in the address space, found %zu", n);
    }
    if (kva_posix_fault(KVA_POSIX_DEMOTE)) {
        kva__posix_error("demote: injected fault");
        return KVA_ENOMEM;
    }
    saved = kva__posix_enter(&kva__posix_space_lock);
    demote(va);
    demote(va + (n << KVA_PAGE_SHIFT));
    kva__posix_leave(&kva__posix_space_lock, saved);
    if (kva__posix_broken(KVA_POSIX_DEMOTE_LOSES)) {
        kva_port_unmap(va, 1);
    }
    return 0;
}
#endif

#else /* no mappings */

int
kva__posix_large_init(void)
{
    return 0;
}

void
kva__posix_large_fini(void)
{
}

#endif
