/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A digest of an arena: its layout and totals, whatever tags, lookups and
 * searches it took.  Equal before and after a failure or a misuse.
 */
#ifndef TESTS_DIGEST_H
#define TESTS_DIGEST_H

#include "tests/harness/test.h"
#include "vmem/vmem.h"

static inline void
digest_add(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    uint64_t *h = arg;
    const uint64_t part[] = { addr, size, type };

    for (unsigned i = 0; i < KVA_COUNT(part); i++) {
        *h = (*h ^ part[i]) * 0x100000001b3u;
        *h ^= *h >> 29;
    }
}

/* Fails the test if the arena's invariants do not hold. */
static inline uint64_t
digest(vmem_t *vm)
{
    uint64_t h = 0xcbf29ce484222325u;
    const char *bad = vmem_check(vm);
    struct kva_vmem_stat st;

    if (bad != NULL) {
        FAIL("vmem_check: %s", bad);
    }
    vmem_walk(vm, VMEM_ALLOC | VMEM_FREE | VMEM_CACHED | VMEM_SPAN, digest_add,
              &h);
    vmem_stat(vm, &st);
    digest_add(&h, st.mem_inuse, st.mem_total, 0);
    digest_add(&h, st.mem_import, st.mem_cached, 0);
    digest_add(&h, st.spans, st.spans_import, 0);
    digest_add(&h, st.tags_busy, st.tags_free, 0);
    return h;
}

/* expr panics with this message, no lock held, and vm is as before. */
#define CHECK_MISUSE(vm, expr, ...)          \
    do {                                     \
        uint64_t test_before = digest(vm);   \
                                             \
        CHECK_PANIC(expr, __VA_ARGS__);      \
        CHECK_EQ(digest(vm), test_before);   \
        CHECK_EQ(kva_posix_locks_held(), 0); \
    } while (0)

#endif
