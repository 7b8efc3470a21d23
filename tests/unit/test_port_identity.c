/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host port at tiers 0 and 1: there is no mapping, and a frame is memory
 * at its own address.  A program of its own, since the tier is settled when
 * port and library are compiled.
 */
#include <string.h>

#include "tests/harness/test.h"

#if KVA_TIER >= 2
#error "build this test with KVA_TIER 0 or 1"
#endif

#define MIB ((size_t)1 << 20)
#define RUNS 64

static struct kva_posix_stats
stats(void)
{
    struct kva_posix_stats s;

    kva_posix_stats_get(&s);
    return s;
}

/* Random runs: real, separate, resident while they are held and no longer. */
static void
frames_are_memory(struct test_ctx *t)
{
    const struct kva_posix_config c = { .va_bytes = 64 * MIB };
    struct {
        kva_pa_t pa;
        size_t n;
        char tag;
    } run[RUNS] = { 0 };
    size_t held = 0, bytes;

    PORT(&c);
    for (unsigned long i = 0; i < t->count; i++) {
        size_t r = (size_t)test_rand_below(t, RUNS);
        char *p;

        if (run[r].n == 0) {
            run[r].n = 1 + (size_t)test_rand_below(t, 100);
            CHECK_EQ(kva_port_page_get(run[r].n, 0, &run[r].pa), 0);
            CHECK_GE(run[r].pa, kva_posix_va_base());
            p = (char *)(uintptr_t)run[r].pa;
            run[r].tag = (char)test_rand(t);
            memset(p, run[r].tag, run[r].n << KVA_PAGE_SHIFT);
            held += run[r].n;
        } else {
            p = (char *)(uintptr_t)run[r].pa;
            CHECK_EQ(p[0], run[r].tag);
            CHECK_EQ(p[(run[r].n << KVA_PAGE_SHIFT) - 1], run[r].tag);
            kva_port_page_put(run[r].n, run[r].pa);
            held -= run[r].n;
            run[r].n = 0;
        }
        CHECK_EQ(stats().attached_pages, held);
        CHECK_EQ(stats().frames, held);
        if (i % 64 == 0) {
            CHECK_EQ(kva_posix_resident(&bytes, NULL), 0);
            CHECK_EQ(bytes, held << KVA_PAGE_SHIFT);
        }
    }
}

static void
frames_end(struct test_ctx *t)
{
    const struct kva_posix_config c = { .va_bytes = MIB, .page_limit = 10 };
    kva_pa_t a = 0, b = 0;

    (void)t;
    PORT(&c);
    CHECK_EQ(kva_port_page_get(10, 0, &a), 0);
    CHECK_EQ(kva_port_page_get(1, 0, &b), KVA_ENOMEM);
    kva_port_page_put(4, a);
    CHECK_EQ(kva_port_page_get(4, 0, &b), 0);
    CHECK_EQ(b, a);
    kva_port_page_put(10, a);
    CHECK_PANIC(kva_port_page_put(1, a),
                "kva_port_page_put: pa 0x%llx: expected an allocated, "
                "unmapped frame, found a free one",
                (unsigned long long)a);
    CHECK_EQ(stats().attached_pages, 0);
    kva_posix_fault_arm(KVA_POSIX_PAGE_GET, 1, false);
    CHECK_EQ(kva_port_page_get(1, 0, &a), KVA_ENOMEM);
    CHECK_EQ(kva_port_page_get(1, 0, &a), 0);
}

static void
slots_follow_the_tier(struct test_ctx *t)
{
    unsigned cpu = kva_cpu_enter();

    (void)t;
    CHECK_EQ(cpu, KVA_TIER == 0 ? KVA_CPU_NONE : 0);
    kva_cpu_exit(cpu);
}

const struct test port_identity_tests[] = {
    TEST_COUNT("identity", frames_are_memory, 1000, 10000, 100000),
    TEST("identity", frames_end), TEST("identity", slots_follow_the_tier),
    TEST_END
};
