/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Listings: what is in the rows, that the tables have it, that columns stay
 * where they are whatever the numbers, and what is not counted twice.
 */
#include <stdlib.h>

#include "pool/list.h"
#include "tests/unit/printed.h"
#include "tests/unit/tower.h"
#include "vmem/table.h"

static KVA_MALLOC_DEFINE(M_ALPHA, "alpha", "a type");
static KVA_MALLOC_DEFINE_LIMIT(M_BETA, "beta", "a type with a limit", 100000);

/* ---- tables ---------------------------------------------------------------- */

/* Where line k begins; NULL: there are not as many. */
static const char *
line_at(unsigned k)
{
    const char *s = printed.text;

    for (; k > 0 && s != NULL; k--) {
        s = strchr(s, '\n');
        s = s == NULL ? NULL : s + 1;
    }
    return s == NULL || *s == '\0' ? NULL : s;
}

static size_t
line_length(const char *line)
{
    return (size_t)(strchr(line, '\n') - line);
}

/* Does a line begin so. */
static const char *
line_of(const char *start)
{
    for (unsigned k = 0; line_at(k) != NULL; k++) {
        if (strncmp(line_at(k), start, strlen(start)) == 0) {
            return line_at(k);
        }
    }
    FAIL("no line begins with %s", start);
}

/* The k-th word of a line, from 0. */
static const char *
word_of(const char *line, unsigned k)
{
    static char word[64];
    size_t n = 0;

    while (k-- > 0) {
        line += strcspn(line, " \n");
        line += strspn(line, " ");
    }
    n = strcspn(line, " \n");
    CHECK_LT(n, sizeof(word));
    memcpy(word, line, n);
    word[n] = '\0';
    return word;
}

/* Numbers of every length, and the one that is none: always as wide. */
static void
columns_stay_where_they_are(struct test_ctx *t)
{
    static const struct kva__column column[] = { { "Name", 6 },
                                                 { "One", 5 },
                                                 { "Two", 8 } };
    static const size_t shown[][2] = {
        { 99999, 123456 },
        { 100000, 999999 },
        { (size_t)-9999, (size_t)-10000 },
        { KVA__TABLE_NONE, 0 },
    };
    const char *names[] = { "", "a", "abcdef", "abcdefghij", NULL };

    printed_clear();
    kva__table_head(column, 3, print_keep);
    for (unsigned long i = 0; i < t->count; i++) {
        size_t x = (size_t)(test_rand(t) >> test_rand_below(t, 64));
        const size_t value[] = { x, 0 - x };

        printed_clear();
        kva__table_row(column, 3, names[i % 5], value, print_keep);
        CHECK_EQ(printed.len, 6 + 1 + 5 + 1 + 8 + 1);
        CHECK_EQ(printed.text[6], ' ');
        CHECK_EQ(printed.text[12], ' ');
        CHECK(printed.text[11] != ' ' && printed.text[20] != ' ');
    }
    printed_clear();
    for (unsigned i = 0; i < KVA_COUNT(shown); i++) {
        kva__table_row(column, 3, "a", shown[i], print_keep);
    }
    CHECK_STR(printed.text, "a      99999   123456\n"
                            "a       100k   999999\n"
                            "a      -9999   -10000\n"
                            "a          -        0\n");
}

/* ---- pools ----------------------------------------------------------------- */

struct find {
    const char *name;
    struct kva_pool_row row;
    unsigned n, all;
};

static void
find_row(void *arg, const struct kva_pool_row *row)
{
    struct find *find = arg;

    find->all++;
    if (strcmp(row->name, find->name) == 0) {
        find->row = *row;
        find->n++;
    }
}

static struct kva_pool_row
row_of(const char *name)
{
    struct find find = { .name = name };

    kva_pool_rows(find_row, &find);
    CHECK_EQ(find.n, 1);
    return find.row;
}

/* A pool: all numbers are exact. */
static void
a_pool_is_listed(struct test_ctx *t)
{
    struct kva_pool_row row;
    struct kva_pool pp;
    size_t per_slab, slab_pages;
    void *p[100];

    (void)t;
    tower_start(0);
    kva_pool_init(&pp, 1000, 0, 0, 0, "hundred", NULL, KVA_IPL_NONE);
    kva_pool_sethardlimit(&pp, 100, NULL, 0);
    for (unsigned i = 0; i < 100; i++) {
        p[i] = kva_pool_get(&pp, PR_NOWAIT);
    }
    CHECK(kva_pool_get(&pp, PR_NOWAIT) == NULL);
    row = row_of("hundred");
    per_slab = pp.nobj;
    slab_pages = row.slab_bytes / KVA_PAGE_SIZE;
    CHECK(!row.cache && !row.recursive);
    CHECK_EQ(row.object_bytes, 1000);
    CHECK_EQ(row.requests, 100);
    CHECK_EQ(row.fails, 1);
    CHECK_EQ(row.limit, 100);
    CHECK_EQ(row.limit_hits, 1);
    CHECK_EQ(row.in_use, 100);
    CHECK_EQ(row.slabs, (100 + per_slab - 1) / per_slab);
    CHECK_EQ(row.available, row.slabs * per_slab - 100);
    CHECK_EQ(row.slabs_max, row.slabs);
    for (unsigned i = 0; i < 60; i++) {
        kva_pool_put(&pp, p[i]);
    }
    (void)kva_pool_reclaim(&pp);
    row = row_of("hundred");
    CHECK_EQ(row.releases, 60);
    CHECK_EQ(row.in_use, 40);
    CHECK_EQ(row.slabs_max, (100 + per_slab - 1) / per_slab);
    CHECK_EQ(row.slabs_made, row.slabs_max);
    CHECK_EQ(row.slabs_made, row.slabs + row.slabs_freed);
    CHECK_GT(row.slabs_freed, 0);

    printed_clear();
    kva_pool_listing(print_keep);
    CHECK_EQ(atol(word_of(line_of("hundred "), 1)), 1000);
    CHECK_EQ(atol(word_of(line_of("hundred "), 2)), 100);
    CHECK_EQ(atol(word_of(line_of("hundred "), 3)), 1);
    CHECK_EQ(atol(word_of(line_of("hundred "), 4)), 60);
    CHECK_EQ(atol(word_of(line_of("hundred "), 5)), 40);
    CHECK_EQ(atol(word_of(line_of("hundred "), 7)),
             row.slabs_made * slab_pages);
    CHECK_EQ(atol(word_of(line_of("hundred "), 8)),
             row.slabs_freed * slab_pages);
    CHECK_EQ(atol(word_of(line_of("hundred "), 9)), row.slabs * slab_pages);
    CHECK_EQ(atol(word_of(line_of("hundred "), 10)),
             row.slabs_max * slab_pages);
    for (unsigned i = 60; i < 100; i++) {
        kva_pool_put(&pp, p[i]);
    }
    kva_pool_destroy(&pp);
    tower_end();
}

/* A cache: what is in magazines is in nobody's use. */
static void
a_cache_is_listed(struct test_ctx *t)
{
    struct kva_pool_row row;
    pool_cache_t pc;
    void *p[50];

    (void)t;
    tower_start(0);
    pc = kva_pool_cache_init(200, 0, 0, 0, "fifty", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    for (unsigned i = 0; i < 50; i++) {
        p[i] = kva_pool_cache_get(pc, PR_NOWAIT);
    }
    row = row_of("fifty");
    CHECK(row.cache);
    CHECK_EQ(row.in_use, 50);
    CHECK_GE(row.requests, 50);
    CHECK_EQ(row.requests - row.releases, 50 + row.cached);
    CHECK_GT(row.misses_get, 0);
    CHECK_EQ(row.slots, 4);
    CHECK_GT(row.rounds, 1);
    CHECK_GE(row.rounds_max, row.rounds);
    CHECK_EQ(row.in_use + row.available, row.slabs * pc->slabs.nobj);
    for (unsigned i = 0; i < 50; i++) {
        kva_pool_cache_put(pc, p[i]);
    }
    row = row_of("fifty");
    CHECK_EQ(row.in_use, 0);
    CHECK_GT(row.cached, 0);
    CHECK_EQ(row.available, row.slabs * pc->slabs.nobj);

    printed_clear();
    kva_pool_cache_listing(print_keep);
    CHECK_EQ(atol(word_of(line_of("fifty "), 2)), 4);
    CHECK_EQ(atol(word_of(line_of("fifty "), 3)), row.rounds);
    CHECK_EQ(atol(word_of(line_of("fifty "), 7)), row.cached);
    CHECK_EQ(atol(word_of(line_of("fifty "), 8)), row.misses_get);
    CHECK_EQ(atol(word_of(line_of("fifty "), 9)), row.misses_put);
    CHECK_EQ(line_length(line_at(0)), line_length(line_of("fifty ")));
    CHECK_EQ(line_length(line_at(0)), line_length(line_of("Totals ")));
    kva_pool_cache_destroy(pc);
    tower_end();
}

/* What the last line of the pools says is in use, in KiB. */
static unsigned long
kib_in_use(void)
{
    printed_clear();
    kva_pool_listing(print_keep);
    return strtoul(line_of("In use ") + strlen("In use "), NULL, 10);
}

/* Objects that are slabs of others are not in the totals. */
static void
recursive_pools_count_once(struct test_ctx *t)
{
    struct kva_pool plain, slabs;
    unsigned long before;
    void *p, *q;

    (void)t;
    tower_start(0);
    before = kib_in_use();
    kva_pool_init(&plain, 65536, 0, 0, 0, "plain", NULL, KVA_IPL_NONE);
    kva_pool_init(&slabs, 65536, 0, 0, KVA_PR_RECURSIVE, "slabs", NULL,
                  KVA_IPL_NONE);
    p = kva_pool_get(&plain, PR_NOWAIT);
    CHECK_EQ(kib_in_use() - before, 64);
    q = kva_pool_get(&slabs, PR_NOWAIT);
    CHECK(row_of("slabs").recursive);
    CHECK_EQ(kib_in_use() - before, 64);
    kva_pool_put(&plain, p);
    kva_pool_put(&slabs, q);
    kva_pool_destroy(&plain);
    kva_pool_destroy(&slabs);
    tower_end();
}

/* ---- malloc types ----------------------------------------------------------- */

static void
types_are_listed(struct test_ctx *t)
{
    void *p, *q, *r;

    (void)t;
    tower_start(0);
    p = kva_malloc(128, M_ALPHA, M_WAITOK); /* a class of any line */
    q = kva_malloc(5000, M_BETA, M_WAITOK);
    r = kva_malloc(50000, M_BETA, M_WAITOK);
    kva_free(r, M_BETA);
    CHECK(kva_malloc(200000, M_BETA, M_NOWAIT) == NULL);
    printed_clear();
    kva_malloc_listing(print_keep);
    CHECK_STR(
        line_at(0),
        "Type                  InUse     MemUse    HighUse      Limit     "
        "Requests     Fail    Waits\n"
        "alpha                     1        128        128          -     "
        "       1        0        0\n"
        "beta                      1       8192      61440     100000     "
        "       2        1        0\n"
        "Totals                    2       8320          -          -     "
        "       3        1        0\n"
        "2 types\n");
    kva_free(p, M_BETA); /* of another type: below 0 there */
    printed_clear();
    kva_malloc_listing(print_keep);
    CHECK_STR(word_of(line_of("beta "), 1), "0");
    CHECK_STR(word_of(line_of("Totals "), 1), "1");
    kva_free(q, M_ALPHA);
    printed_clear();
    kva_malloc_listing(print_keep);
    CHECK_STR(word_of(line_of("alpha "), 2), "-8064");
    CHECK_STR(word_of(line_of("beta "), 2), "8064");
    CHECK_STR(word_of(line_of("Totals "), 2), "0");
    tower_end();
}

/* To the log where nobody gives a function. */
static void
without_a_function_it_is_logged(struct test_ctx *t)
{
    (void)t;
    tower_start(0);
    printed_clear();
    kva_posix_log_set(log_keep, NULL);
    kva_pool_listing(NULL);
    kva_pool_cache_listing(NULL);
    kva_malloc_listing(NULL);
    kva_posix_log_set(NULL, NULL);
    CHECK_EQ(strncmp(line_at(0), "Name ", 5), 0);
    (void)line_of("0 types");
    tower_end();
}

const struct test listing_tests[] = {
    TEST_COUNT("listing", columns_stay_where_they_are, 2000, 20000, 1000000),
    TEST("listing", a_pool_is_listed),
    TEST("listing", a_cache_is_listed),
    TEST("listing", recursive_pools_count_once),
    TEST("listing", types_are_listed),
    TEST("listing", without_a_function_it_is_logged),
    TEST_END
};
