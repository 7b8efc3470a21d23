/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reclaim experiments (bench/reclaim), at a size that is a test's.
 *
 * Claim: each runs, and everything that it claims holds, whatever the seed.  The
 * count is the percent of the size that the documents give.
 */
#include "bench/reclaim/experiment.h"
#include "tests/harness/test.h"

/* The least that an experiment does. */
#define LEAST 1

static void
holds(struct test_ctx *t, const struct experiment *e)
{
    static struct claims c;

    c = (struct claims){ .experiment = e->name };
    if (!e->run(&c, t->count == LEAST ? 0 : (unsigned)t->count, t->seed)) {
        FAIL("%s could not run", e->name);
    }
    CHECK_GT(c.n, 0);
    for (size_t i = 0; i < c.n; i++) {
        char bound[40];

        if (!c.kept[i].held) {
            claim_bound(&c.kept[i].claim, bound, sizeof(bound));
            FAIL("%s: %s: %.3f, not %s", e->name, c.kept[i].what,
                 c.kept[i].claim.after, bound);
        }
    }
}

/* A claim that does not hold is known for one that does not. */
static void
a_claim_can_be_missed(struct test_ctx *t)
{
    static const struct {
        enum claim_kind kind;
        double after;
        bool held;
    } row[] = {
        { CLAIM_AT_LEAST, 9, false }, { CLAIM_AT_LEAST, 10, true },
        { CLAIM_AT_MOST, 10, true },  { CLAIM_AT_MOST, 11, false },
        { CLAIM_EQUALS, 9, false },   { CLAIM_EQUALS, 10, true },
        { CLAIM_EQUALS, 11, false },  { CLAIM_SHOWN, 0, true },
    };
    static struct claims c;
    size_t missed = 0;

    (void)t;
    for (size_t i = 0; i < KVA_COUNT(row); i++) {
        claim(&c, &(struct claim){ "of ten", "", false, 0, row[i].after,
                                   row[i].kind, 10 });
        missed += row[i].held ? 0 : 1;
        CHECK_EQ(c.kept[i].held, row[i].held);
        CHECK_EQ(c.n, i + 1);
        CHECK_EQ(c.missed, missed);
    }
}

static void
nanos(struct test_ctx *t)
{
    holds(t, &experiment_nanos);
}

static void
rump(struct test_ctx *t)
{
    holds(t, &experiment_rump);
}

static void
contention(struct test_ctx *t)
{
    holds(t, &experiment_contention);
}

static void
shrinkers(struct test_ctx *t)
{
    holds(t, &experiment_shrinkers);
}

static void
pfmemalloc(struct test_ctx *t)
{
    if (!KVA_RESERVES) {
        SKIP("built without reserves");
    }
    holds(t, &experiment_pfmemalloc);
}

static void
draining(struct test_ctx *t)
{
    holds(t, &experiment_draining);
}

#if defined(TEST_REPLAY) && !defined(TEST_NO_LZMA)
static void
three(struct test_ctx *t)
{
    holds(t, &experiment_three);
}
#endif

/* clang-format off */
const struct test experiment_tests[] = {
    TEST("experiments", a_claim_can_be_missed),
    TEST_COUNT("experiments", nanos, LEAST, 10, 100),
    TEST_COUNT("experiments", rump, LEAST, 2, 1000),
    TEST_COUNT("experiments", contention, LEAST, 6, 100),
    TEST_COUNT("experiments", shrinkers, LEAST, 4, 100),
    TEST_COUNT("experiments", pfmemalloc, LEAST, 100, 1000),
    TEST_COUNT("experiments", draining, LEAST, 5, 50),
#if defined(TEST_REPLAY) && !defined(TEST_NO_LZMA)
    TEST_COUNT("experiments", three, LEAST, 5, 100),
#endif
    TEST_END
};
/* clang-format on */
