/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Poison: a free object is filled with one byte, a new one with another.
 *
 *     put --> dededede ... --> get: still the same? --> babababa ...
 *
 * So who reads what he has freed, or has never written, finds a value that is
 * no pointer and not zero; and who writes into what he has freed is found when
 * the object is handed out again, or leaves the quarantine.  Where he writes
 * the byte that was there, he is not.
 *
 * Objects with a constructor are poisoned like all others: in a cache with a
 * debug mode they are constructed at each get and destructed at each put, which
 * pool_cache(9) allows at any time.  (illumos does the same.)
 */
#include "pool/debug_impl.h"

void
kva__poison_free(const struct kva_pool *pp, uintptr_t addr)
{
    __builtin_memset((void *)addr, KVA_POOL_BYTE_FREE, pp->size);
}

void
kva__poison_new(const struct kva_pool *pp, uintptr_t addr)
{
    __builtin_memset((void *)addr, KVA_POOL_BYTE_NEW, pp->size);
}

bool
kva__poison_check(const struct kva_pool *pp, uintptr_t addr, size_t *where)
{
    *where = kva__pattern_check(addr, pp->size, KVA_POOL_BYTE_FREE);
    return *where == pp->size;
}
