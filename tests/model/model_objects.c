/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: pools, caches, kmem and malloc(9) do what the naive model of stock.h
 * does, in random sequences of all that can be asked of them, on all CPU slots;
 * with faults, which refuse some of it and lose nothing; and with misuse, which
 * changes nothing.
 */
#include "tests/model/stock.h"
#include "tests/unit/tower.h"

static uint32_t
draw(void *arg, uint32_t n)
{
    return (uint32_t)test_rand_below(arg, n);
}

static void
expect(const char *bad)
{
    if (bad != NULL) {
        FAIL("%s", bad);
    }
}

/* each: steps from one check of all to the next. */
static struct stock *
run(struct test_ctx *t, bool faults, bool misuse, unsigned long each)
{
    struct stock *s;

    tower_start(0);
    s = stock_new(draw, t);
    s->faults = faults;
    s->misuse = misuse;
    for (unsigned long i = 0; i < t->count; i++) {
        expect(stock_step(s));
        if (i % each == 0) {
            expect(stock_check(s));
        }
    }
    return s;
}

static void
end(struct stock *s)
{
    expect(stock_end(s));
    tower_end();
}

static void
objects_random(struct test_ctx *t)
{
    struct stock *s = run(t, false, false, 1024);

    CHECK_GT(s->count[STOCK_GOT], t->count / 10);
    CHECK_GT(s->count[STOCK_PUT], t->count / 10);
    CHECK_GT(s->count[STOCK_BUILD], 0);
    CHECK_GT(s->count[STOCK_LIMITED], 0);
    CHECK_GT(s->count[STOCK_MOVED], 0);
    end(s);
}

static void
objects_random_with_faults(struct test_ctx *t)
{
    struct stock *s = run(t, true, false, 1024);

    CHECK_GT(s->count[STOCK_FAULTED], 0);
    CHECK_GT(s->count[STOCK_REFUSED], 0);
    CHECK_GT(s->count[STOCK_UNBUILT], 0);
    end(s);
}

/* Everything at once, and everything looked at after each step. */
static void
objects_checked_at_each_step(struct test_ctx *t)
{
    struct stock *s = run(t, true, true, 1);

    CHECK_GT(s->count[STOCK_MISUSED], 0);
    end(s);
}

const struct test model_object_tests[] = {
    TEST_LEAST("model_objects", objects_random, 40000, 100000, 1000000,
               20000000),
    TEST_LEAST("model_objects", objects_random_with_faults, 40000, 100000,
               1000000, 20000000),
    TEST_COUNT("model_objects", objects_checked_at_each_step, 1000, 20000,
               1000000),
    TEST_END
};
