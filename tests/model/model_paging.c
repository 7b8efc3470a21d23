/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pageable memory beside its naive model, step by step: no call, misuse and
 * refusals included, has another outcome than the array of pages says.
 */
#include "tests/harness/machine.h"
#include "tests/model/paging.h"

#define STEPS 400ul

static uint32_t
draw(void *arg, uint32_t n)
{
    return (uint32_t)test_rand_below(arg, n);
}

static void
boot(void)
{
    static const struct kva_posix_config config = {
        .va_bytes = PAGING_PAGES * KVA_PAGE_SIZE,
        .meta_bytes = (size_t)8 << 20,
    };

    PORT(&config);
    machine_boot((struct kva_boot){ 0 });
}

static void
run(struct test_ctx *t, bool faults, bool traps)
{
    unsigned long left = t->count;

    boot();
    while (left > 0) {
        struct paging *g = paging_new(draw, t, faults, traps);
        const char *bad = NULL;

        if (g == NULL) {
            SKIP("page faults are not told on this machine");
        }
        for (unsigned long i = 0; i < STEPS && left > 0 && bad == NULL; i++) {
            bad = paging_step(g);
            bad = bad != NULL ? bad : paging_check(g);
            left--;
        }
        bad = bad != NULL ? bad : paging_end(g);
        if (bad != NULL) {
            FAIL("after %lu steps: %s", t->count - left, bad);
        }
    }
    kva_shutdown();
}

static void
pageable_memory(struct test_ctx *t)
{
    run(t, false, false);
}

static void
pageable_memory_with_faults(struct test_ctx *t)
{
    run(t, true, false);
}

/* Accesses in earnest: Valgrind would take them for mistakes. */
static void
pageable_memory_that_traps(struct test_ctx *t)
{
    run(t, true, true);
}

const struct test model_paging_tests[] = {
    TEST_COUNT("model_paging", pageable_memory, 1000, 20000, 1000000),
    TEST_COUNT("model_paging", pageable_memory_with_faults, 1000, 40000,
               2000000),
    TEST_COUNT("model_paging", pageable_memory_that_traps, 0, 20000, 1000000),
    TEST_END
};
