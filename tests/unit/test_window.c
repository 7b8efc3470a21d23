/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Windows of the quantum caches against a naive picture of 512 quanta.
 */
#include <string.h>

#include "tests/harness/test.h"
#include "vmem/window.h"

struct naive {
    int piece[WINDOW_QUANTA]; /* number of its piece; -1: not held */
    bool used[WINDOW_QUANTA];
};

static struct window window;
static struct naive naive;

/* n quanta from at on lie free in one piece. */
static bool
room_at(unsigned at, unsigned n)
{
    for (unsigned i = at; i < at + n; i++) {
        if (i >= WINDOW_QUANTA || naive.piece[i] < 0 || naive.used[i] ||
            naive.piece[i] != naive.piece[at]) {
            return false;
        }
    }
    return true;
}

/* The lowest place; a power of two lies aligned to itself. */
static unsigned
naive_find(unsigned n)
{
    unsigned step = (n & (n - 1)) == 0 ? n : 1;

    for (unsigned at = 0; at < WINDOW_QUANTA; at += step) {
        if (room_at(at, n)) {
            return at;
        }
    }
    return WINDOW_QUANTA;
}

static int
naive_order(void)
{
    int order = -1;

    for (int k = 0; k < (int)WINDOW_ORDERS; k++) {
        if (naive_find(1u << k) < WINDOW_QUANTA) {
            order = k;
        }
    }
    return order;
}

static void
compare(void)
{
    const char *bad = kva__window_check(&window);

    if (bad != NULL) {
        FAIL("%s", bad);
    }
    CHECK_EQ(kva__window_order(&window), naive_order());
    for (unsigned n = 1; n <= KVA__QCACHE_QUANTA_MAX; n++) {
        CHECK_EQ(kva__window_find(&window, n), naive_find(n));
    }
}

static void
add_piece(struct test_ctx *t, int number)
{
    unsigned at = (unsigned)test_rand_below(t, WINDOW_QUANTA);
    unsigned n = 1 + (unsigned)test_rand_below(t, 40);

    for (unsigned i = at; i < at + n; i++) {
        if (i >= WINDOW_QUANTA || naive.piece[i] >= 0) {
            return;
        }
    }
    kva__window_piece_add(&window, at, n);
    for (unsigned i = at; i < at + n; i++) {
        naive.piece[i] = number;
    }
}

/* The bounds of the piece around at; it goes if all of it is free. */
static void
drop_piece(unsigned at)
{
    unsigned first = at, last = at, n = 0;
    bool all_free = true;

    if (naive.piece[at] < 0) {
        return;
    }
    while (first > 0 && naive.piece[first - 1] == naive.piece[at]) {
        first--;
    }
    while (last + 1 < WINDOW_QUANTA &&
           naive.piece[last + 1] == naive.piece[at]) {
        last++;
    }
    for (unsigned i = first; i <= last; i++) {
        all_free = all_free && !naive.used[i];
    }
    CHECK_EQ(kva__window_piece(&window, at, &n), first);
    CHECK_EQ(n, last - first + 1);
    CHECK_EQ(kva__window_is_free(&window, first, n), all_free);
    if (all_free) {
        kva__window_piece_remove(&window, first, n);
        for (unsigned i = first; i <= last; i++) {
            naive.piece[i] = -1;
        }
    }
}

#define RUNS 64

struct run {
    unsigned at, n;
};

static void
change_run(struct test_ctx *t, struct run *run)
{
    if (run->n == 0) {
        unsigned n = 1 + (unsigned)test_rand_below(t, 32);

        run->at = kva__window_find(&window, n);
        if (run->at == WINDOW_QUANTA) {
            return;
        }
        CHECK(room_at(run->at, n));
        kva__window_carve(&window, run->at, n);
        run->n = n;
    } else {
        kva__window_join(&window, run->at, run->n);
    }
    for (unsigned i = 0; i < run->n; i++) {
        naive.used[run->at + i] = !naive.used[run->at + i];
    }
    if (!naive.used[run->at]) {
        run->n = 0;
    }
}

static void
window_agrees_with_a_naive_one(struct test_ctx *t)
{
    struct run run[RUNS] = { { 0, 0 } };

    memset(&window, 0, sizeof(window));
    memset(&naive, 0, sizeof(naive));
    for (unsigned i = 0; i < WINDOW_QUANTA; i++) {
        naive.piece[i] = -1;
    }
    compare();
    for (unsigned long i = 0; i < t->count; i++) {
        switch (test_rand_below(t, 4)) {
        case 0:
            add_piece(t, (int)(i & 0xffffff));
            break;
        case 1:
            drop_piece((unsigned)test_rand_below(t, WINDOW_QUANTA));
            break;
        default:
            change_run(t, &run[test_rand_below(t, RUNS)]);
            break;
        }
        if (i % 8 == 0) {
            compare();
        }
    }
}

static void
next_bit_is_found(struct test_ctx *t)
{
    uintptr_t bits[WINDOW_WORDS];

    (void)t;
    for (unsigned i = 0; i < WINDOW_QUANTA; i++) {
        memset(bits, 0, sizeof(bits));
        bits[i / KVA__WORD_BITS] = (uintptr_t)1 << (i % KVA__WORD_BITS);
        CHECK_EQ(kva__window_next(bits, 0), i);
        CHECK_EQ(kva__window_next(bits, i), i);
        CHECK_EQ(kva__window_next(bits, i + 1), WINDOW_QUANTA);
    }
}

/* The checker sees each kind of damage. */
static void
damage_is_seen(struct test_ctx *t)
{
    struct window good;

    (void)t;
    memset(&window, 0, sizeof(window));
    kva__window_piece_add(&window, 8, 16);
    kva__window_carve(&window, 10, 3);
    CHECK_PTR(kva__window_check(&window), NULL);
    good = window;
#define DAMAGE(statement, what)                      \
    do {                                             \
        window = good;                               \
        statement;                                   \
        CHECK_HAS(kva__window_check(&window), what); \
    } while (0)
    DAMAGE(window.free[0] |= 1, "W1");
    DAMAGE(window.piece[0] |= 1, "W1");
    DAMAGE(window.held[0] |= 1, "W2");
    DAMAGE(window.piece[0] = 0, "W2");
    DAMAGE(window.state[9] = RUN_CACHED, "W3");
    DAMAGE(window.state[10] = RUN_FREE, "W3");
    DAMAGE(window.free[0] |= (uintptr_t)1 << 10, "W3");
    DAMAGE(window.state[10] = RUN_INSIDE, "W4");
    DAMAGE(window.state[12] = RUN_CODES, "W4");
    DAMAGE(window.state[10] = 5, "W4");
    DAMAGE(window.piece[0] |= (uintptr_t)1 << 11, "W4");
    DAMAGE(window.nfree++, "W5");
    DAMAGE(window.nheld--, "W5");
}

const struct test window_tests[] = {
    TEST_COUNT("window", window_agrees_with_a_naive_one, 3000, 100000, 2000000),
    TEST("window", next_bit_is_found), TEST("window", damage_is_seen), TEST_END
};
