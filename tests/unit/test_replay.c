/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The replay.  Claims: the models count what their definitions say, shown on
 * loads small enough to count by hand; the address space and the slabs beneath
 * them agree with naive ones; a cut of a recorded trace goes through every
 * stack and leaves nothing; an object that is overwritten is noticed; the
 * generator makes the same load from the same seed, and a larger one in
 * proportion; and the tool says what is wrong with its files and fails.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "replay/kvt.h"
#include "replay/model.h"
#include "replay/pattern.h"
#include "replay/replay.h"
#include "replay/sidecar.h"
#include "replay/synth.h"
#include "tests/harness/test.h"

/* kvt-cut --records 100000 of replay/data/vmap.kvt.xz, packed again. */
#define CUT TEST_DATA "/vmap-cut.kvt.xz"

static const struct stack_ops *const all_stacks[] = { &stack_map, &stack_merged,
                                                      &stack_a,   &stack_b,
                                                      &stack_c,   &stack_ours };

/* ---- loads by hand ---------------------------------------------------- */

enum {
    T_OBJECT,
    T_SITE,
    T_AREA,
    T_CODE,
    T_TYPES
};

#define OBJECT_BYTES 3000u /* one in a page */
#define HAND_SLOTS 64u

static struct type hand_type[T_TYPES] = {
    { .kind = KIND_CACHE, .size = OBJECT_BYTES, .name = "object" },
    { .kind = KIND_KMALLOC, .name = "site" },
    { .kind = KIND_VMAP, .align_log2 = 12, .name = "vmalloc, align 4 KiB" },
    { .kind = KIND_VMAP, .align_log2 = 12, .name = "code, align 4 KiB" },
};

struct hand {
    struct trace t;
    struct stack *st;
    struct thing thing[HAND_SLOTS];
};

static void
hand_open(struct hand *h, const struct stack_ops *ops)
{
    static struct site site[] = {
        { .type = T_OBJECT,
          .kind = KIND_CACHE,
          .size = OBJECT_BYTES,
          .align = 8,
          .next = NO_SITE },
        { .type = T_SITE, .kind = KIND_KMALLOC, .align = 8, .next = NO_SITE },
    };
    const struct stack_config c = { .slabs = SLABS_SINGLE,
                                    .va_bytes = (size_t)64 << 20,
                                    .pattern = true };
    const char *reason = "";

    memset(h, 0, sizeof(*h));
    h->t.ntype = T_TYPES;
    h->t.type = hand_type;
    h->t.nsite = 2;
    h->t.site = site;
    h->t.nslot = HAND_SLOTS;
    h->t.ncpu = 1;
    h->st = ops->open(&h->t, &c, &reason);
    if (h->st == NULL) {
        FAIL("%s: %s", ops->name, reason);
    }
}

static void
object(struct hand *h, uint32_t slot, uint32_t site, uint32_t size)
{
    h->thing[slot] = (struct thing){ .slot = slot, .site = site, .size = size };
    CHECK(h->st->ops->alloc_object(h->st, &h->thing[slot], 0));
}

static void
object_free(struct hand *h, uint32_t slot)
{
    CHECK(h->st->ops->free_object(h->st, &h->thing[slot], 0));
}

static void
area(struct hand *h, uint32_t slot, uint32_t type, uint32_t pages)
{
    h->thing[slot] =
        (struct thing){ .slot = slot, .site = type, .size = pages };
    CHECK(h->st->ops->alloc_area(h->st, &h->thing[slot], 0));
}

static void
area_free(struct hand *h, uint32_t slot)
{
    CHECK(h->st->ops->free_area(h->st, &h->thing[slot], 0));
}

static struct state
now(struct hand *h)
{
    struct state s;

    memset(&s, 0, sizeof(s));
    h->st->ops->state(h->st, &s);
    return s;
}

static void
hand_close(struct hand *h)
{
    const char *left;

    h->st->ops->drain(h->st);
    left = h->st->ops->leftover(h->st);
    if (left != NULL) {
        FAIL("%s: %s", h->st->ops->name, left);
    }
    h->st->ops->close(h->st);
}

/* Three objects in two slabs, a large kmalloc, two areas: five ranges. */
static void
map_has_an_entry_for_each_range(struct test_ctx *t)
{
    struct hand h;

    (void)t;
    hand_open(&h, &stack_map);
    object(&h, 0, 0, OBJECT_BYTES);
    object(&h, 1, 0, OBJECT_BYTES);
    CHECK_EQ(now(&h).map_entries, 2);
    object(&h, 2, 1, 10000);
    area(&h, 3, T_AREA, 5);
    area(&h, 4, T_AREA, 7);
    CHECK_EQ(now(&h).map_entries, 5);
    CHECK_EQ(now(&h).map_entry_bytes, 5 * 128);
    CHECK_EQ(now(&h).wired_bytes, (2 + 3) * 4096);
    CHECK_EQ(now(&h).busy_runs, 1);
    for (uint32_t i = 0; i < 3; i++) {
        object_free(&h, i);
    }
    area_free(&h, 3);
    area_free(&h, 4);
    hand_close(&h);
}

/* Three areas side by side are one entry; the middle one's free makes two,
 * and has to allocate for it.  Another region does not join. */
static void
merged_joins_and_splits(struct test_ctx *t)
{
    struct totals totals = { .free_allocates = 0 };
    struct hand h;

    (void)t;
    hand_open(&h, &stack_merged);
    for (uint32_t i = 0; i < 3; i++) {
        area(&h, i, T_AREA, 4);
    }
    CHECK_EQ(now(&h).map_entries, 1);
    area(&h, 3, T_CODE, 4);
    CHECK_EQ(now(&h).map_entries, 2);
    area_free(&h, 1);
    CHECK_EQ(now(&h).map_entries, 3);
    area_free(&h, 0);
    CHECK_EQ(now(&h).map_entries, 2);
    h.st->ops->totals(h.st, &totals);
    CHECK_EQ(totals.free_allocates, 1);
    area_free(&h, 2);
    area_free(&h, 3);
    hand_close(&h);
}

/* Chunks of 32 pages: six areas of 5 pages fill one, the seventh takes another;
 * 17 pages have an entry of their own; wired memory does not share. */
static void
a_has_an_entry_for_each_chunk(struct test_ctx *t)
{
    struct hand h;

    (void)t;
    hand_open(&h, &stack_a);
    for (uint32_t i = 0; i < 6; i++) {
        area(&h, i, T_AREA, 5);
    }
    CHECK_EQ(now(&h).map_entries, 1);
    area(&h, 6, T_AREA, 5);
    CHECK_EQ(now(&h).map_entries, 2);
    area(&h, 7, T_AREA, 17);
    CHECK_EQ(now(&h).map_entries, 3);
    object(&h, 8, 0, OBJECT_BYTES);
    CHECK_EQ(now(&h).map_entries, 4);
    object_free(&h, 8);
    for (uint32_t i = 0; i < 8; i++) {
        area_free(&h, i);
    }
    hand_close(&h);
}

/* The heap's span and its hole are 2; a slab of 64 pages and a large area are
 * imports of 3 tags each. */
static void
b_has_three_tags_for_each_import(struct test_ctx *t)
{
    struct hand h;

    (void)t;
    hand_open(&h, &stack_b);
    CHECK_EQ(now(&h).tags, 2);
    CHECK_EQ(now(&h).map_entries, 1);
    for (uint32_t i = 0; i < 12; i++) {
        area(&h, i, T_AREA, 5);
    }
    CHECK_EQ(now(&h).tags, 5);
    area(&h, 12, T_AREA, 5);
    CHECK_EQ(now(&h).tags, 8);
    area(&h, 13, T_AREA, 17);
    CHECK_EQ(now(&h).tags, 11);
    CHECK_EQ(now(&h).tag_bytes, 11 * 56);
    CHECK_EQ(now(&h).spans, 4);
    for (uint32_t i = 0; i < 14; i++) {
        area_free(&h, i);
    }
    hand_close(&h);
}

/* On top of b: a span of 16 pages with its hole, and a tag for each page. */
static void
c_has_a_tag_for_each_slab(struct test_ctx *t)
{
    struct hand h;

    (void)t;
    hand_open(&h, &stack_c);
    object(&h, 0, 0, OBJECT_BYTES);
    CHECK_EQ(now(&h).tags, 5 + 3);
    CHECK_EQ(now(&h).wired_bytes, 16 * 4096);
    for (uint32_t i = 1; i < 16; i++) {
        object(&h, i, 0, OBJECT_BYTES);
    }
    CHECK_EQ(now(&h).tags, 5 + 1 + 16);
    object(&h, 16, 0, OBJECT_BYTES);
    CHECK_EQ(now(&h).tags, 5 + 1 + 16 + 3);
    object_free(&h, 3);
    object_free(&h, 5);
    h.st->ops->drain(h.st);
    CHECK_EQ(now(&h).tags, 5 + 1 + 14 + 2 + 3);
    for (uint32_t i = 0; i < 17; i++) {
        if (i != 3 && i != 5) {
            object_free(&h, i);
        }
    }
    hand_close(&h);
}

/* A stack of 4 pages and a guard page is aligned, in every stack. */
static void
aligned_areas_are_aligned(struct test_ctx *t)
{
    struct hand h;

    (void)t;
    hand_type[T_AREA].align_log2 = 14;
    hand_open(&h, &stack_ours);
    for (uint32_t i = 0; i < 20; i++) {
        area(&h, i, T_AREA, i < 10 ? 5 : 40);
        CHECK_EQ(h.thing[i].where % (4 * 4096), 0);
    }
    for (uint32_t i = 0; i < 20; i++) {
        area_free(&h, i);
    }
    hand_close(&h);
    hand_type[T_AREA].align_log2 = 12;
}

/* ---- overlap ---------------------------------------------------------- */

/* A second object laid over the first, as an allocator would that hands the
 * same memory out twice: the first one's free sees it. */
static void
overlap_is_noticed(struct test_ctx *t)
{
    struct hand h;

    (void)t;
    hand_open(&h, &stack_ours);
    for (uint32_t at = 0; at < OBJECT_BYTES; at += 8) {
        char *p;

        object(&h, 0, 0, OBJECT_BYTES);
        p = (char *)h.thing[0].where;
        pattern_fill(p + at, 8, 1, 0);
        CHECK(!h.st->ops->free_object(h.st, &h.thing[0], 0));
        CHECK_HAS(h.st->reason, "was overwritten at offset");
        pattern_fill(p, OBJECT_BYTES, 0, 0);
        object_free(&h, 0);
    }
    hand_close(&h);
}

/* Set by overlap_fails_the_run: stack_ours with what is below. */
static struct stack_ops planted;

static struct stack *
open_planted(const struct trace *t, const struct stack_config *c,
             const char **reason)
{
    struct stack *st = stack_ours.open(t, c, reason);

    if (st != NULL) {
        st->ops = &planted;
    }
    return st;
}

/* Every second object comes where the one before it is: its own memory goes to
 * waste. */
static bool
alloc_twice(struct stack *st, struct thing *th, unsigned cpu)
{
    static uintptr_t before;
    static bool second;

    if (!stack_ours.alloc_object(st, th, cpu)) {
        return false;
    }
    if (second) {
        th->where = before;
        pattern_fill((char *)before, th->size, th->slot, th->generation);
    }
    before = th->where;
    second = !second;
    return true;
}

/* Records 1 and 2 get the same memory; the free of the first is record 4. */
static void
overlap_fails_the_run(struct test_ctx *t)
{
    static const struct record rec[] = {
        { .op = OP_TICK },
        { .op = OP_CACHE_ALLOC, .slot = 0, .a = 100, .b = 128 },
        { .op = OP_CACHE_ALLOC, .slot = 1, .a = 100, .b = 128 },
        { .op = OP_TICK, .a = 100 },
        { .op = OP_CACHE_FREE, .slot = 0 },
        { .op = OP_CACHE_FREE, .slot = 1 },
        { .op = OP_END },
    };
    const struct replay_config c = { .stack = { .va_bytes = (size_t)64 << 20,
                                                .pattern = true },
                                     .verify = true };
    struct trace tr = { .ntype = 1, .nslot = 2, .ncpu = 1 };
    struct run run;

    (void)t;
    tr.nrecord = KVA_COUNT(rec);
    tr.record = malloc(sizeof(rec));
    memcpy(tr.record, rec, sizeof(rec));
    tr.type = calloc(1, sizeof(*tr.type));
    tr.type[0] = (struct type){ .kind = KIND_CACHE, .size = 100, .name = "x" };
    CHECK(trace_scan(&tr));
    planted = stack_ours;
    planted.open = open_planted;
    planted.alloc_object = alloc_twice;
    CHECK(!replay_run(&tr, &planted, &c, &run));
    CHECK_HAS(run.error, "record 4: free of slot 0, size 100: the object at ");
    run_free(&run);
    trace_free(&tr);
}

/* Any byte, at any size; slots and generations are told apart by a word. */
static void
pattern_sees_every_byte(struct test_ctx *t)
{
    _Alignas(8) unsigned char buf[64];

    (void)t;
    for (size_t size = 1; size <= sizeof(buf); size++) {
        pattern_fill(buf, size, 7, 3);
        CHECK_EQ(pattern_check(buf, size, 7, 3), size);
        if (size >= 8) {
            CHECK_LT(pattern_check(buf, size, 7, 4), 8);
            CHECK_LT(pattern_check(buf, size, 6, 3), 8);
        }
        for (size_t i = 0; i < size; i++) {
            buf[i] ^= 0x10;
            CHECK_EQ(pattern_check(buf, size, 7, 3), i);
            buf[i] ^= 0x10;
        }
    }
}

/* ---- beneath the models ----------------------------------------------- */

#define NAIVE_PAGES 256u

struct naive {
    uint8_t kind[NAIVE_PAGES];
};

static uint32_t
naive_alloc(struct naive *nv, uint32_t n, uint32_t align, uint8_t kind)
{
    uint32_t want = n + align - 1, run = 0;

    for (uint32_t i = 0; i < NAIVE_PAGES; i++) {
        run = nv->kind[i] == 0 ? run + 1 : 0;
        if (run == want) {
            uint32_t first = i + 1 - want;

            first = (first + align - 1) / align * align;
            memset(&nv->kind[first], kind, n);
            return first;
        }
    }
    return SPACE_NONE;
}

static void
naive_compare(const struct naive *nv, const struct space *sp)
{
    uint64_t holes = 0, runs = 0, busy = 0;
    uint32_t longest = 0, run = 0;

    for (uint32_t i = 0; i < NAIVE_PAGES; i++) {
        uint8_t before = i == 0 ? 255 : nv->kind[i - 1];

        CHECK_EQ(space_kind(sp, i), nv->kind[i]);
        run = nv->kind[i] == 0 ? run + 1 : 0;
        longest = run > longest ? run : longest;
        busy += nv->kind[i] != 0;
        holes += nv->kind[i] == 0 && before != 0;
        runs += nv->kind[i] != 0 && before != nv->kind[i];
    }
    CHECK_EQ(space_largest_hole(sp), longest);
    CHECK_EQ(space_busy_pages(sp), busy);
    CHECK_EQ(space_holes(sp), holes);
    CHECK_EQ(space_runs(sp), runs);
}

static void
space_agrees_with_a_naive_one(struct test_ctx *t)
{
    struct {
        uint32_t page, n;
    } live[64];
    struct naive nv = { .kind = { 0 } };
    struct space *sp = space_create(NAIVE_PAGES);
    unsigned nlive = 0;

    for (unsigned long i = 0; i < t->count; i++) {
        if (nlive < 64 && test_rand_below(t, 2) == 0) {
            uint32_t n = 1 + (uint32_t)test_rand_below(t, 20);
            uint32_t align = 1u << test_rand_below(t, 4);
            uint8_t kind = (uint8_t)(1 + test_rand_below(t, 3));
            uint32_t page = space_alloc(sp, n, align, kind);

            CHECK_EQ(page, naive_alloc(&nv, n, align, kind));
            if (page != SPACE_NONE) {
                live[nlive].page = page;
                live[nlive++].n = n;
            }
        } else if (nlive > 0) {
            unsigned k = (unsigned)test_rand_below(t, nlive);

            space_free(sp, live[k].page, live[k].n);
            memset(&nv.kind[live[k].page], 0, live[k].n);
            live[k] = live[--nlive];
        }
        naive_compare(&nv, sp);
    }
    space_destroy(sp);
}

static uint32_t
count_take(void *arg, uint32_t pages, uint32_t align)
{
    unsigned *n = arg;

    (void)align;
    CHECK_EQ(pages, 4);
    return ++*n <= 50 ? *n : SLAB_NONE;
}

static void
count_give(void *arg, uint32_t where, uint32_t pages, uint32_t align)
{
    unsigned *n = arg;

    (void)where;
    (void)pages;
    (void)align;
    --*n;
}

/* Items come from slabs that are in use before new ones; only empty slabs go
 * back; when the supplier has no more the answer is none. */
static void
slabs_fill_before_they_grow(struct test_ctx *t)
{
    unsigned supplied = 0;
    struct slabs sl;
    uint32_t pool, item[400];

    (void)t;
    slabs_init(&sl, (struct slab_supply){ count_take, count_give, &supplied });
    pool = slabs_add(&sl, 7, 4, 1);
    for (uint32_t i = 0; i < 350; i++) {
        item[i] = slabs_get(&sl, pool);
        CHECK_EQ(sl.held, i / 7 + 1);
    }
    CHECK_EQ(slabs_get(&sl, pool), SLAB_NONE);
    supplied--; /* the refused one was counted */
    for (uint32_t i = 0; i < 350; i += 2) {
        slabs_put(&sl, item[i]);
    }
    slabs_drain(&sl);
    CHECK_EQ(sl.held, 50);
    for (uint32_t i = 0; i < 350; i += 2) {
        item[i] = slabs_get(&sl, pool);
        CHECK_NE(item[i], SLAB_NONE);
    }
    for (uint32_t i = 0; i < 350; i++) {
        slabs_put(&sl, item[i]);
    }
    CHECK_EQ(sl.held, 50);
    slabs_drain(&sl);
    CHECK_EQ(sl.held, 0);
    CHECK_EQ(supplied, 0);
    slabs_fini(&sl);
}

/* ---- whole loads ------------------------------------------------------ */

static void
replay_through(const struct trace *t, const struct stack_ops *ops,
               struct run *run)
{
    const struct replay_config c = { .stack = { .slabs = SLABS_POOL,
                                                .va_bytes = (size_t)1 << 30,
                                                .pattern = true },
                                     .seed = 7,
                                     .verify = true };

    if (!replay_run(t, ops, &c, run)) {
        FAIL("%s, %s: %s", t->name, ops->name, run->error);
    }
    CHECK_EQ(run->peak.live_bytes, t->peak_live_bytes);
    CHECK_EQ(run->max.live_bytes, t->peak_live_bytes);
    CHECK_GE(run->max.wired_bytes, run->peak.wired_bytes);
    CHECK_GE(run->peak.wired_bytes, run->peak.live_bytes);
    CHECK_LE(run->peak.large_bytes, run->peak.wired_bytes);
    CHECK_LE(run->free90_drained.large_bytes, run->free90_drained.wired_bytes);
    CHECK_EQ(run->drained.large_bytes, 0);
    CHECK_LE(run->free50_drained.wired_bytes, run->free50.wired_bytes);
    CHECK_LE(run->free90_drained.wired_bytes, run->free90.wired_bytes);
    CHECK_LT(run->free90.live_bytes, run->free50.live_bytes);
    CHECK_EQ(run->drained.wired_bytes, 0);
    CHECK_EQ(run->drained.live_bytes, 0);
    CHECK_EQ(run->drained.va_live_bytes, 0);
    CHECK_LE(run->nseries, RUN_SERIES_MAX);
    CHECK_GT(run->nseries, 0);
}

static void
cut_goes_through_every_stack(struct test_ctx *t)
{
    struct kvt_error e;
    struct trace tr;
    struct run run;

    (void)t;
    if (!kvt_read_file(CUT, &tr, &e)) {
        FAIL("%s: %s", CUT, e.reason);
    }
    CHECK(trace_scan(&tr));
    for (size_t i = 0; i < KVA_COUNT(all_stacks); i++) {
        replay_through(&tr, all_stacks[i], &run);
        run_free(&run);
    }
    trace_free(&tr);
}

static void
synthetic_goes_through_every_stack(struct test_ctx *t)
{
    struct trace tr;
    struct run run;

    (void)t;
    CHECK(synth_make(&tr, 9000000, 3));
    CHECK(trace_scan(&tr));
    for (size_t i = 0; i < KVA_COUNT(all_stacks); i++) {
        replay_through(&tr, all_stacks[i], &run);
        CHECK_EQ(run.phase[5].live_bytes, 0);
        run_free(&run);
    }
    trace_free(&tr);
}

/* ---- the generator ---------------------------------------------------- */

/* The first outputs for seed 0, as published with the algorithm. */
static void
splitmix_is_splitmix(struct test_ctx *t)
{
    uint64_t s = 0;

    (void)t;
    CHECK_EQ(random_next(&s), 0xe220a8397b1dcdafu);
    CHECK_EQ(random_next(&s), 0x6e789e6aa1b965f4u);
    CHECK_EQ(random_next(&s), 0x06c45d188009454fu);
    for (uint64_t n = 1; n < 1000; n++) {
        uint64_t before = s, x;

        CHECK_LT(random_below(&s, n), n);
        x = random_next(&before);
        /* n is small: the high half, computed another way. */
        CHECK_EQ(random_below(&(uint64_t){ before - 0x9e3779b97f4a7c15u }, n),
                 ((x >> 32) * n + ((x & 0xffffffffu) * n >> 32)) >> 32);
    }
}

static uint64_t
digest(const struct trace *t)
{
    uint64_t h = 1469598103934665603u;

    for (size_t i = 0; i < t->nrecord; i++) {
        const struct record *r = &t->record[i];

        h = (h ^ r->op ^ (uint64_t)r->type << 8) * 1099511628211u;
        h = (h ^ r->slot ^ (uint64_t)r->a << 32) * 1099511628211u;
    }
    return h;
}

/* Allocations and frees match, and the target is reached and hardly passed. */
static void
synth_check(const struct trace *t, uint64_t bytes)
{
    uint8_t *live = calloc(t->nslot, 1);
    size_t n = 0;

    for (size_t i = 0; i < t->nrecord; i++) {
        const struct record *r = &t->record[i];

        if (r->op == OP_TICK || r->op == OP_END) {
            continue;
        }
        CHECK_LT(r->slot, t->nslot);
        CHECK_EQ(live[r->slot], r->op & 1);
        live[r->slot] ^= 1;
        n += (r->op & 1) != 0 ? (size_t)-1 : 1;
    }
    CHECK_EQ(n, 0);
    CHECK_GE(t->peak_live_bytes, bytes);
    CHECK_LE(t->peak_live_bytes, bytes + bytes / 20);
    free(live);
}

static void
synth_follows_its_seed(struct test_ctx *t)
{
    struct trace a, b;

    (void)t;
    CHECK(synth_make(&a, 9000000, 42));
    CHECK(synth_make(&b, 9000000, 42));
    CHECK_EQ(digest(&a), digest(&b));
    trace_free(&b);
    CHECK(synth_make(&b, 9000000, 43));
    CHECK_NE(digest(&a), digest(&b));
    trace_free(&a);
    trace_free(&b);
}

static void
synth_scales(struct test_ctx *t)
{
    size_t records[2];

    (void)t;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t bytes = i == 0 ? 8000000 : 64000000;
        struct trace tr;

        CHECK(synth_make(&tr, bytes, 1));
        CHECK(trace_scan(&tr));
        CHECK_EQ(tr.nphase, 6);
        synth_check(&tr, bytes);
        records[i] = tr.nrecord;
        trace_free(&tr);
    }
    /* Boot's objects are 6.5 MB of either. */
    CHECK_GT(records[1], 20 * records[0]);
}

/* ---- phases ----------------------------------------------------------- */

/* A phase ends at the last tick that is not after the start of the next: what
 * the next one frees is still held. */
static void
phase_ends_before_the_next(struct test_ctx *t)
{
    static struct record rec[] = {
        { .op = OP_TICK },
        { .op = OP_PAGE_ALLOC, .type = 1, .slot = 1, .a = 1 },
        { .op = OP_CACHE_ALLOC, .slot = 0, .a = 100, .b = 128 },
        { .op = OP_TICK, .a = 100 },
        { .op = OP_CACHE_FREE, .slot = 0 },
        { .op = OP_PAGE_FREE, .type = 1, .slot = 1 },
        { .op = OP_TICK, .a = 200 },
        { .op = OP_END },
    };
    struct trace tr = { .ntype = 2, .nslot = 2, .ncpu = 1, .nphase = 2 };

    (void)t;
    tr.nrecord = KVA_COUNT(rec);
    tr.record = malloc(sizeof(rec));
    memcpy(tr.record, rec, sizeof(rec));
    tr.type = calloc(2, sizeof(*tr.type));
    tr.type[0].kind = KIND_CACHE;
    tr.type[1].kind = KIND_PAGE;
    memcpy(tr.type[1].name, "slab", 5);
    tr.phase = calloc(2, sizeof(*tr.phase));
    tr.phase[1].from_ms = 150;
    CHECK(trace_scan(&tr));
    CHECK_EQ(tr.phase[0].end, 3);
    CHECK_EQ(tr.phase[0].recorded_slab_bytes, 2 * 4096);
    CHECK_EQ(tr.phase[0].recorded_taken_bytes, 128);
    CHECK_EQ(tr.phase[1].end, tr.nrecord);
    CHECK_EQ(tr.phase[1].recorded_slab_bytes, 0);
    trace_free(&tr);
}

/* What the recording's own description says of its phases, in KiB. */
static void
recorded_phases_are_right(struct test_ctx *t)
{
    static const struct {
        uint64_t live, slabs;
    } want[] = {
        { 262897, 264140 }, { 167157, 254604 }, { 178443, 202312 },
        { 114461, 195048 }, { 29904, 94228 },   { 186817, 222104 },
        { 169153, 222080 }, { 137060, 201752 }, { 2238, 6552 },
    };
    const char *path = TEST_DATA "/../../replay/data/reclaim.kvt.xz";
    struct trace tr;
    struct kvt_error e;
    char error[256];

    (void)t;
    if (access(path, R_OK) != 0) {
        SKIP("replay/data is not here: this is a release archive");
    }
    CHECK(kvt_read_file(path, &tr, &e));
    CHECK(sidecar_load(path, &tr, error, sizeof(error)));
    CHECK(trace_scan(&tr));
    CHECK_EQ(tr.nphase, KVA_COUNT(want) + 1);
    for (size_t i = 0; i < KVA_COUNT(want); i++) {
        const struct phase *p = &tr.phase[i + 1];

        CHECK_EQ(p->recorded_slab_bytes / 1024, want[i].slabs);
        /* Its figures are those of a moment before the tick, or after. */
        CHECK_LE(p->recorded_taken_bytes / 1024, want[i].live + 64);
        CHECK_GE(p->recorded_taken_bytes / 1024 + 64, want[i].live);
    }
    trace_free(&tr);
}

/* ---- the files beside a trace ----------------------------------------- */

static void
names_lose_their_suffixes(struct test_ctx *t)
{
    static const struct {
        const char *path, *name;
    } row[] = {
        { "dir.x/files.kvt.xz", "files" },
        { "files.kvt", "files" },
        { "/a/b/c", "c" },
        { "x.kvt.xz.kvt", "x.kvt.xz" },
        { ".kvt", ".kvt" },
        { "", "" },
    };
    char name[64];

    (void)t;
    for (size_t i = 0; i < KVA_COUNT(row); i++) {
        sidecar_name(row[i].path, name, sizeof(name));
        CHECK_STR(name, row[i].name);
    }
}

/* ---- the tool --------------------------------------------------------- */

/* Run the tool; what: its arguments for a shell.  Returns the exit status, and
 * the first line it wrote on stderr. */
static int
tool(const char *what, char *line, size_t size)
{
    char command[1024];
    FILE *f;
    int status;

    snprintf(command, sizeof(command), "'%s' %s", TEST_TOOL, what);
    f = popen(command, "r");
    CHECK(f != NULL);
    if (fgets(line, (int)size, f) == NULL) {
        line[0] = '\0';
    }
    line[strcspn(line, "\n")] = '\0';
    while (fgetc(f) != EOF) {
    }
    status = pclose(f);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* A file of this process's own, removed at the end. */
static const char *
scratch(struct test_ctx *t, const void *bytes, size_t n)
{
    static char name[] = P_tmpdir "/kva-replay-XXXXXX";
    int fd = mkstemp(name);

    test_defer(t, (void (*)(void *))(void (*)(void))unlink, name);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, bytes, n), (ssize_t)n);
    CHECK_EQ(close(fd), 0);
    return name;
}

static void
complains(const char *args, int status, const char *line)
{
    char got[512];

    CHECK_EQ(tool(args, got, sizeof(got)), status);
    CHECK_STR(got, line);
}

static void
missing_file(struct test_ctx *t)
{
    (void)t;
    complains("no/such/file.kvt 2>&1 >/dev/null", 1,
              "no/such/file.kvt: offset 0: No such file or directory");
}

static void
empty_file(struct test_ctx *t)
{
    char args[128], line[128];
    const char *name = scratch(t, "", 0);

    snprintf(args, sizeof(args), "%s 2>&1 >/dev/null", name);
    snprintf(line, sizeof(line), "%s: offset 0: the file is empty", name);
    complains(args, 1, line);
}

static void
directory_as_file(struct test_ctx *t)
{
    (void)t;
    complains("/ 2>&1 >/dev/null", 1, "/: offset 0: Is a directory");
}

/* The first half of the cut, compressed as it is. */
static void
truncated_xz_file(struct test_ctx *t)
{
    static char bytes[256 * 1024];
    char args[128], got[512];
    FILE *f = fopen(CUT, "rb");
    size_t n;

    CHECK(f != NULL);
    n = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    snprintf(args, sizeof(args), "%s 2>&1 >/dev/null",
             scratch(t, bytes, n / 2));
    CHECK_EQ(tool(args, got, sizeof(got)), 1);
    CHECK_HAS(got, ": the xz stream is truncated");
}

/* What comes back with objects that are moved: a table, and a run in JSON. */
static void
movers_are_compared(struct test_ctx *t)
{
    const char *json = scratch(t, "", 0);
    char args[512], got[512];

    snprintf(args, sizeof(args),
             "--stack ours --movers=dentry,filp --json %s %s 2>&1 | "
             "grep 'with movers  '; grep -q '\"movers\"' %s",
             json, CUT, json);
    CHECK_EQ(tool(args, got, sizeof(got)), 0);
    CHECK_HAS(got, "with movers");
}

/* All three listings, in text; and their rows in JSON, for ours alone. */
static void
listings_at_the_end(struct test_ctx *t)
{
    static const char *const find[] = { "^Name .*Pgreq", "^Name .*GetMiss",
                                        "^Type .*HighUse", "slabs_made",
                                        "magazine_bytes" };
    const char *json = scratch(t, "", 0);
    char args[512], got[512];

    for (size_t i = 0; i < KVA_COUNT(find); i++) {
        snprintf(args, sizeof(args),
                 "--listing --stack ours --limit 5000 --json %s %s "
                 "2>/dev/null | %s '%s' %s",
                 json, CUT, i < 3 ? "grep" : "cat >/dev/null; grep", find[i],
                 i < 3 ? "" : json);
        CHECK_EQ(tool(args, got, sizeof(got)), 0);
    }
    snprintf(args, sizeof(args),
             "--listing --stack map --limit 5000 --json %s %s >/dev/null 2>&1; "
             "grep slabs_made %s",
             json, CUT, json);
    CHECK_EQ(tool(args, got, sizeof(got)), 1);
}

static void
full_disk_for_json(struct test_ctx *t)
{
    (void)t;
    complains("--json /dev/full --stack map --limit 1000 " CUT
              " 2>&1 >/dev/null",
              1, "/dev/full: No space left on device");
}

static void
no_place_for_json(struct test_ctx *t)
{
    (void)t;
    complains("--json /no/such/dir/x --stack map --limit 1000 " CUT
              " 2>&1 >/dev/null",
              1, "/no/such/dir/x: No such file or directory");
}

static void
full_disk_for_tables(struct test_ctx *t)
{
    (void)t;
    complains("--stack map --limit 1000 " CUT " 2>&1 >/dev/full", 1,
              "standard output: No space left on device");
}

static void
bad_csv(struct test_ctx *t)
{
    char args[128], line[256], csv[64];
    const char *name = scratch(t, "", 0);
    FILE *f;

    /* An empty trace comes first, so give it the cut's bytes. */
    snprintf(args, sizeof(args), "cp '%s' %s", CUT, name);
    CHECK_EQ(system(args), 0);
    snprintf(csv, sizeof(csv), "%s.phases.csv", name);
    f = fopen(csv, "w");
    CHECK(f != NULL);
    CHECK_GT(fprintf(f, "from_ms,phase\n0,a\nsoon,b\n"), 0);
    CHECK_EQ(fclose(f), 0);
    snprintf(args, sizeof(args), "%s 2>&1 >/dev/null", name);
    snprintf(line, sizeof(line), "%s: %s: line 3: not a number: soon", name,
             csv);
    CHECK_EQ(tool(args, args, sizeof(args)), 1);
    unlink(csv);
    CHECK_HAS(args, ": line 3: not a number: soon");
}

static void
wrong_options(struct test_ctx *t)
{
    char line[256];

    (void)t;
    CHECK_EQ(tool("2>&1", line, sizeof(line)), 2);
    CHECK_EQ(tool("--stack none x 2>&1", line, sizeof(line)), 2);
    CHECK_HAS(line, "there is no stack none");
    CHECK_EQ(tool("--synthetic 12q 2>&1", line, sizeof(line)), 2);
    CHECK_HAS(line, "12q is not a number");
    CHECK_EQ(tool("--synthetic 5 2>&1", line, sizeof(line)), 2);
    CHECK_HAS(line, "is not between");
    CHECK_EQ(tool("--help", line, sizeof(line)), 0);
    CHECK_HAS(line, "Usage:");
}

/* The JSON file holds a run for each stack, and every member of a state. */
static void
json_is_written(struct test_ctx *t)
{
    static const char *const member[] = { "\"trace\": \"vmap-cut\"",
                                          "\"stack\": \"ours\"",
                                          "\"records\"",
                                          "\"seconds\"",
                                          "\"peak\"",
                                          "\"max\"",
                                          "\"free50\"",
                                          "\"free50_drained\"",
                                          "\"free90\"",
                                          "\"free90_drained\"",
                                          "\"drained\"",
                                          "\"series\"",
                                          "\"t_ms\"",
                                          "\"live_bytes\"",
                                          "\"va_live_bytes\"",
                                          "\"wired_bytes\"",
                                          "\"large_bytes\"",
                                          "\"tags\"",
                                          "\"tag_bytes\"",
                                          "\"map_entries\"",
                                          "\"map_entry_bytes\"",
                                          "\"spans\"",
                                          "\"largest_hole_bytes\"",
                                          "\"meta_bytes\"",
                                          "\"hash\"",
                                          "\"qcache\"",
                                          "\"slab_headers\"",
                                          "\"state\"",
                                          "\"magazines\"",
                                          "\"other\"" };
    const char *name = scratch(t, "", 0);
    char args[256];
    char *text;
    FILE *f;
    size_t n;

    snprintf(args, sizeof(args),
             "--json %s --limit 20000 " CUT " 2>&1 >/dev/null", name);
    complains(args, 0, "");
    f = fopen(name, "r");
    CHECK(f != NULL);
    text = calloc(1, (size_t)1 << 20);
    n = fread(text, 1, ((size_t)1 << 20) - 1, f);
    fclose(f);
    CHECK_GT(n, 1000);
    CHECK_EQ(text[0], '[');
    CHECK_STR(text + n - 3, "\n]\n");
    for (size_t i = 0; i < KVA_COUNT(member); i++) {
        CHECK_HAS(text, member[i]);
    }
    free(text);
}

const struct test replay_tests[] = {
    TEST("replay", map_has_an_entry_for_each_range),
    TEST("replay", merged_joins_and_splits),
    TEST("replay", a_has_an_entry_for_each_chunk),
    TEST("replay", b_has_three_tags_for_each_import),
    TEST("replay", c_has_a_tag_for_each_slab),
    TEST("replay", aligned_areas_are_aligned),
    TEST("replay", overlap_is_noticed),
    TEST("replay", overlap_fails_the_run),
    TEST("replay", pattern_sees_every_byte),
    TEST_COUNT("replay", space_agrees_with_a_naive_one, 2000, 20000, 500000),
    TEST("replay", slabs_fill_before_they_grow),
    TEST("replay", cut_goes_through_every_stack),
    TEST("replay", synthetic_goes_through_every_stack),
    TEST("replay", splitmix_is_splitmix),
    TEST("replay", synth_follows_its_seed),
    TEST("replay", synth_scales),
    TEST("replay", phase_ends_before_the_next),
    TEST_COUNT("replay", recorded_phases_are_right, 1, 1, 1),
    TEST("replay", names_lose_their_suffixes),
    TEST("replay", missing_file),
    TEST("replay", empty_file),
    TEST("replay", directory_as_file),
    TEST("replay", truncated_xz_file),
    TEST("replay", movers_are_compared),
    TEST("replay", listings_at_the_end),
    TEST("replay", full_disk_for_json),
    TEST("replay", no_place_for_json),
    TEST("replay", full_disk_for_tables),
    TEST("replay", bad_csv),
    TEST("replay", wrong_options),
    TEST("replay", json_is_written),
    TEST_END
};
