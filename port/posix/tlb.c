/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A TLB for each CPU slot, for tests of what is unmapped: the host's own is
 * kept right by Linux, so a flush too few would never be seen.
 *
 *      access ---> in the slot's TLB? --- yes ---> the frame that it names:
 *                        | no                      is it the one mapped now?
 *                        v                             no: STALE
 *                  page table --- nothing: FAULT
 *                        |
 *                        +---> into the TLB
 *
 * A translation stays until a flush takes it out; unlike a real one it is never
 * lost by chance, so whether a stale one is met depends on the test alone.
 * Only what goes through kva_posix_access is seen.
 *
 * A table for each slot that made an access, of a word for each page.
 */
#include <string.h>

#include "port/posix/posix_impl.h"

#if KVA_TIER >= 2

/* Guarded by the space lock. */
static uint32_t *tlb[KVA_CPU_MAX]; /* frame + 1, 0: not in it */
static bool tlb_on, flush_removed;

bool
kva_posix_tlb_enable(bool enable)
{
    kva__posix_need("kva_posix_tlb_enable");
    tlb_on = enable;
    if (!enable) {
        return true;
    }
    for (unsigned i = 0; i < kva__posix.config.cpus; i++) {
        if (tlb[i] == NULL) {
            tlb[i] = kva__posix_table(kva__posix.va_pages, sizeof(*tlb[i]));
        }
        if (tlb[i] == NULL) {
            return false;
        }
    }
    return true;
}

void
kva_posix_flush_remove(bool remove)
{
    kva_irq_t saved = kva__posix_enter(&kva__posix_space_lock);

    flush_removed = remove;
    kva__posix_leave(&kva__posix_space_lock, saved);
}

/* What an access by this slot meets.  Space locked. */
static enum kva_posix_access
look_up(unsigned cpu, size_t page)
{
    uint32_t mapped = kva__posix_page_entry(page);

    if (tlb[cpu][page] != 0) {
        return tlb[cpu][page] == mapped ? KVA_POSIX_ACCESS_OK
                                        : KVA_POSIX_ACCESS_STALE;
    }
    tlb[cpu][page] = mapped;
    return mapped != 0 ? KVA_POSIX_ACCESS_OK : KVA_POSIX_ACCESS_FAULT;
}

enum kva_posix_access
kva_posix_access(uintptr_t va)
{
    enum kva_posix_access result = KVA_POSIX_ACCESS_FAULT;
    size_t page = (va - kva__posix.va_base) >> KVA_PAGE_SHIFT;
    unsigned cpu = kva_cpu_enter();
    kva_irq_t saved;

    if (!tlb_on || cpu == KVA_CPU_NONE) {
        kva__misuse(__func__, "space", "host", va,
                    "expected TLBs and a slot of the caller's, found %s",
                    tlb_on ? "no slot" : "them off");
    }
    if (va >= kva__posix.va_base && page < kva__posix.va_pages) {
        saved = kva__posix_enter(&kva__posix_space_lock);
        result = look_up(cpu, page);
        kva__posix_leave(&kva__posix_space_lock, saved);
    }
    kva_cpu_exit(cpu);
    return result;
}

void
kva__posix_tlb_flush(size_t page, size_t n)
{
    if (!tlb_on || flush_removed) {
        return;
    }
    for (unsigned i = 0; i < kva__posix.config.cpus; i++) {
        memset(tlb[i] + page, 0, n * sizeof(*tlb[i]));
    }
}

void
kva__posix_tlb_fini(void)
{
    for (unsigned i = 0; i < KVA_CPU_MAX; i++) {
        kva__posix_table_free(tlb[i], kva__posix.va_pages, sizeof(*tlb[i]));
        tlb[i] = NULL;
    }
    tlb_on = false;
    flush_removed = false;
}

#else

void
kva__posix_tlb_fini(void)
{
}

#endif
