/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arenas against the model of oracle.h: every kind of arena, at both ends of
 * the address space, with quanta of a byte and of a page, everything checked
 * after each operation.
 */
#include "tests/harness/test.h"
#include "tests/model/oracle.h"
#include "tests/model/world.h"
#include "vmem/meta.h"

/* An arena lives for that many operations, then another is made. */
#define STEPS 2000

/*
 * Operations in which an outcome is sure to come up.  The rare ones come once in
 * 2,000 to 3,000 (means of 60 runs; all freed: 2,048) and stay away from 50,000
 * once in 10^7 runs; all others come at least once in 900.
 */
#define SURE_STEPS 20000ul
#define SURE_STEPS_RARE 50000ul

static uint32_t
draw(void *arg, uint32_t n)
{
    return (uint32_t)test_rand_below(arg, n);
}

static struct model_config
draw_config(struct test_ctx *t, enum model_kind kind)
{
    static const unsigned shifts[] = { 0, 4, 12 };
    struct model_config cf = { .kind = kind };

    cf.place = (enum model_place)test_below(t, MODEL_PLACES);
    cf.shift = shifts[test_below(t, KVA_COUNT(shifts))];
    cf.quanta = 2 * MODEL_SLOTS << test_below(t, test_below(t, 4) == 0 ? 7 : 5);
    cf.live_max = 1 + (unsigned)test_below(t, MODEL_LIVE_MAX);
    cf.index = kind != MODEL_PRIVATE && test_below(t, 2) != 0;
    return cf;
}

static void
run(struct test_ctx *t, const struct model_config *cf, unsigned long steps,
    unsigned long count[MODEL_OUTCOMES])
{
    struct model *m = model_new(cf);
    const char *bad = NULL;

    CHECK(m != NULL);
    for (unsigned long i = 0; i < steps && bad == NULL; i++) {
        bad = model_step(m, draw, t);
        if (bad != NULL) {
            FAIL("kind %d, index %d, place %d, quantum 2^%u, %u quanta, "
                 "operation %lu: %s",
                 cf->kind, cf->index, cf->place, cf->shift, cf->quanta, i, bad);
        }
    }
    for (unsigned i = 0; i < MODEL_OUTCOMES; i++) {
        count[i] += model_count(m, (enum model_outcome)i);
    }
    bad = model_end(m);
    if (bad != NULL) {
        FAIL("kind %d, place %d, quantum 2^%u, %u quanta, at the end: %s",
             cf->kind, cf->place, cf->shift, cf->quanta, bad);
    }
}

/* Must an outcome come up. */
static bool
must_come_to(unsigned outcome, enum model_kind kind, unsigned long steps)
{
    switch (outcome) {
    case MODEL_ADD:
        return steps >= SURE_STEPS && kind != MODEL_IMPORT &&
               kind != MODEL_LARGE && kind != MODEL_STACK;
    case MODEL_FREE_ALL:
        return steps >= SURE_STEPS_RARE;
    default:
        return steps >= SURE_STEPS;
    }
}

/* t->count operations; each outcome that the kind can have came up. */
static void
run_kind(struct test_ctx *t, enum model_kind kind)
{
    unsigned long count[MODEL_OUTCOMES] = { 0 };

    PORT(NULL);
    for (unsigned long done = 0; done < t->count; done += STEPS) {
        struct model_config cf = draw_config(t, kind);

        run(t, &cf, t->count - done < STEPS ? t->count - done : STEPS, count);
    }
    for (unsigned i = 0; i < MODEL_OUTCOMES; i++) {
        if (count[i] == 0 && must_come_to(i, kind, t->count)) {
            FAIL("outcome %u never came up in %lu operations", i, t->count);
        }
    }
}

static void
plain(struct test_ctx *t)
{
    run_kind(t, MODEL_PLAIN);
}

static void
qcache(struct test_ctx *t)
{
    run_kind(t, MODEL_QCACHE);
}

static void
import(struct test_ctx *t)
{
    run_kind(t, MODEL_IMPORT);
}

static void
large_import(struct test_ctx *t)
{
    run_kind(t, MODEL_LARGE);
}

static void
stacked_import(struct test_ctx *t)
{
    run_kind(t, MODEL_STACK);
}

/* No page of metadata is there, and none is missed. */
static void
private_tags(struct test_ctx *t)
{
    size_t asked = kva__meta_requests();

    run_kind(t, MODEL_PRIVATE);
    CHECK_EQ(kva__meta_requests(), asked);
}

/* A drain without the barrier leaves other CPUs' magazines to their owners: at
 * random it is met a few times in 10^5 steps, and in some runs not at all. */
static void
drain_without_barrier(void)
{
    vmem_t *vm =
        vmem_create("barrier", 0, 64 * KVA_PAGE_SIZE, KVA_PAGE_SIZE, NULL, NULL,
                    NULL, 4 * KVA_PAGE_SIZE, VM_NOSLEEP, KVA_IPL_NONE);
    vmem_addr_t addr;

    CHECK(vm != NULL);
    CHECK_EQ(vmem_alloc(vm, KVA_PAGE_SIZE, VM_NOSLEEP, &addr), 0);
    vmem_free(vm, addr, KVA_PAGE_SIZE);
    kva_posix_fault_arm(KVA_POSIX_BARRIER, 1, true);
    (void)vmem_drain(vm, SIZE_MAX, 0);
    kva_posix_fault_disarm(KVA_POSIX_ANY);
    CHECK(vmem_check(vm) == NULL);
    vmem_destroy(vm);
}

/* Any hook fails at any time: requests may be refused, and that is all. */
static void
with_faults(struct test_ctx *t)
{
    PORT(NULL);
    for (unsigned long done = 0; done < t->count; done += STEPS) {
        struct model_config cf =
            draw_config(t, (enum model_kind)(done / STEPS % MODEL_KINDS));
        struct model *m = model_new(&cf);
        const char *bad = NULL;

        CHECK(m != NULL);
        model_allow_refusal(m, true);
        for (unsigned i = 0; i < STEPS && bad == NULL; i++) {
            kva_posix_fault_arm(KVA_POSIX_BARRIER, 1, true);
            kva_posix_fault_arm(KVA_POSIX_ANY, 1 + test_below(t, 4),
                                test_below(t, 2) != 0);
            bad = model_step(m, draw, t);
        }
        kva_posix_fault_disarm(KVA_POSIX_ANY);
        if (bad == NULL) {
            model_allow_refusal(m, false);
            bad = model_end(m);
        }
        if (bad != NULL) {
            FAIL("kind %d, place %d, quantum 2^%u, %u quanta: %s", cf.kind,
                 cf.place, cf.shift, cf.quanta, bad);
        }
    }
    CHECK(t->count < 50 * STEPS || kva_posix_fault_fired(KVA_POSIX_ANY) > 0);
    drain_without_barrier();
    CHECK(KVA_TIER < 1 || kva_posix_fault_fired(KVA_POSIX_BARRIER) > 0);
}

/* ---- trees -------------------------------------------------------------- */

/* Steps of one tree, as of a fuzzer's input. */
#define TREE_STEPS 500

static void
run_tree(struct test_ctx *t, bool faults, unsigned long count[WORLD_OUTCOMES])
{
    struct world *w = world_new(draw, t);
    const char *bad = NULL;

    CHECK(w != NULL);
    world_faults(w, faults);
    for (unsigned i = 0; i < TREE_STEPS && bad == NULL; i++) {
        bad = world_step(w);
        if (bad != NULL) {
            FAIL("operation %u: %s", i, bad);
        }
    }
    for (unsigned i = 0; i < WORLD_OUTCOMES; i++) {
        count[i] += world_count(w, (enum world_outcome)i);
    }
    bad = world_end(w);
    if (bad != NULL) {
        FAIL("at the end: %s", bad);
    }
}

/* Operations in which a piece is sure to be cut: it is once in some 70,000. */
#define CUT_STEPS 4000000ul

/* Must an outcome come up. */
static bool
must_come(unsigned outcome, bool faults, unsigned long steps)
{
    switch (outcome) {
    case WORLD_CUT:
        return steps >= CUT_STEPS;
    case WORLD_WAITED:
    case WORLD_CANCELLED:
        return KVA_TIER >= 3 && steps >= SURE_STEPS;
    case WORLD_WOKEN:
    case WORLD_TIMED:
        return KVA_TIER >= 3 && steps >= SURE_STEPS_RARE;
    case WORLD_JOINED:
        return steps >= SURE_STEPS_RARE;
    case WORLD_FAULTED:
        return faults && steps >= SURE_STEPS;
    case WORLD_REMADE:
        return !faults && steps >= SURE_STEPS;
    default:
        return steps >= SURE_STEPS;
    }
}

static void
run_trees(struct test_ctx *t, bool faults)
{
    unsigned long count[WORLD_OUTCOMES] = { 0 };

    PORT(NULL);
    for (unsigned long done = 0; done < t->count; done += TREE_STEPS) {
        run_tree(t, faults, count);
    }
    for (unsigned i = 0; i < WORLD_OUTCOMES; i++) {
        if (count[i] == 0 && must_come(i, faults, t->count)) {
            FAIL("outcome %u never came up in %lu operations", i, t->count);
        }
    }
}

static void
trees(struct test_ctx *t)
{
    run_trees(t, false);
}

static void
trees_with_faults(struct test_ctx *t)
{
    run_trees(t, true);
}

const struct test model_vmem_tests[] = {
    TEST_LEAST("model", plain, 2000, 20000, 300000, 10000000),
    TEST_LEAST("model", qcache, 2000, 20000, 200000, 10000000),
    TEST_LEAST("model", import, 2000, 20000, 150000, 10000000),
    TEST_LEAST("model", large_import, 2000, 20000, 50000, 5000000),
    TEST_LEAST("model", stacked_import, 2000, 20000, 150000, 10000000),
    TEST_LEAST("model", private_tags, 2000, 20000, 150000, 10000000),
    TEST_LEAST("model", trees, 2000, 20000, 200000, 10000000),
    TEST_LEAST("model", trees_with_faults, 2000, 20000, 100000, 5000000),
    TEST_LEAST("model", with_faults, 2000, 20000, 100000, 5000000),
    TEST_END
};
