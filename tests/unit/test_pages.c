/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page supply beside a byte for each frame: frames that it hands out are
 * free, usable, contiguous and as they were asked for; if there are such frames
 * it finds them; what is given back in whatever parts can be had again; and it
 * never asks anybody for memory.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "port/pages/pages_impl.h"
#include "tests/harness/test.h"
#include "vmem/meta.h"

#define P KVA_PAGE_SIZE
#define BASE ((kva_pa_t)1 << 32) /* what a word of 32 bits cannot hold */

static struct kva_pages_stat
stat(void)
{
    struct kva_pages_stat st;

    kva_pages_stat(&st);
    return st;
}

static void
check(void)
{
    const char *bad = kva_pages_check();

    if (bad != NULL) {
        FAIL("%s", bad);
    }
}

static kva_pa_t
get(size_t n)
{
    kva_pa_t pa = 1;

    CHECK_EQ(kva_pages_get(n, 0, &pa), 0);
    CHECK_EQ(pa & KVA_PAGE_MASK, 0);
    return pa;
}

/* ---- boot maps ---------------------------------------------------------- */

struct map_row {
    struct kva_pages_range line[6];
    const char *want; /* the frames, or what the log says */
};

#define U(base, bytes)    \
    {                     \
        base, bytes, true \
    }
#define R(base, bytes)     \
    {                      \
        base, bytes, false \
    }

static const struct map_row maps[] = {
    { { U(0x1000, 0x4000) }, "1+4" },
    { { U(0, 0x3000) }, "0+3" },
    { { U(0x8000, 0x2000), U(0x1000, 0x2000) }, "1+2 8+2" },
    { { U(0x1000, 0x2000), U(0x3000, 0x1000) }, "1+3" },
    { { U(0x1000, 0x3000), U(0x2000, 0x4000) }, "1+5" },
    { { U(0x1000, 0x8000), U(0x2000, 0x1000) }, "1+8" },
    { { U(0x1001, 0x2fff), R(0x9000, 0) }, "2+2" },
    { { U(0x1000, 0x2fff) }, "1+2" },
    { { U(0x1000, 0x5000), R(0x2fff, 2) }, "1+1 4+2" },
    { { R(0x2000, 0x1000), U(0x1000, 0x3000), U(0x2000, 0x800) }, "1+1 3+1" },
    { { U(0x1000, 0x3000), R(0, ~0ull) }, "found none in 6 lines" },
    { { U(0x1000, 0x1000), R(0, ~0ull) }, "expected a usable frame" },
    { { U(0x1000, 0xfff) }, "1+0" },
    { { U(0x1000, ~0ull) }, "line 0: expected a line that does not wrap" },
    { { U(0x1000, 0x1000), R(~0ull, 2) }, "line 1: expected a line that does" },
    { { U(~0ull << 12, 0x1000), U(0x1000, 0x1000) },
      KVA_WORD_64 ? "1+1 "
                    "fffffffffffff+1"
                  : "line 0: expected frames that a word can count" },
};

static void
maps_are_read(struct test_ctx *t)
{
    (void)t;
    PORT(NULL);
    for (size_t i = 0; i < KVA_COUNT(maps); i++) {
        struct kva__frame_map map;
        char text[128] = "1+0";
        size_t len = 0;
        int err = kva__pages_map(maps[i].line, 6, &map);

        for (unsigned k = 0; err == 0 && k < map.n; k++) {
            len += kva__format(
                text + len, sizeof(text) - len, "%s%lx+%zu", k == 0 ? "" : " ",
                (unsigned long)map.range[k].base, map.range[k].n);
        }
        if (strchr(maps[i].want, '+') != NULL) {
            CHECK_STR(text, maps[i].want);
        } else {
            CHECK_EQ(err, KVA_EINVAL);
            CHECK_HAS(kva_posix_log_last(), maps[i].want);
        }
    }
}

/* Small random maps in tenths of a frame, beside a byte for each tenth. */
static void
random_maps_are_read(struct test_ctx *t)
{
    enum {
        FRAMES = 48,
        PARTS = 8
    };
    const size_t part = P / PARTS;

    PORT(NULL);
    for (unsigned long i = 0; i < t->count; i++) {
        struct kva_pages_range line[8];
        unsigned char usable[FRAMES * PARTS] = { 0 }, barred[FRAMES * PARTS];
        bool want[FRAMES], found[FRAMES] = { false };
        struct kva__frame_map map = { .n = 0 };
        size_t n = 1 + test_below(t, 8), any = 0;

        memset(barred, 0, sizeof(barred));
        memset(want, 0, sizeof(want));
        for (size_t k = 0; k < n; k++) {
            size_t at = test_below(t, FRAMES * PARTS - 60),
                   len = test_below(t, 60);

            line[k] = (struct kva_pages_range){ at * part, len * part,
                                                test_below(t, 3) != 0 };
            memset((line[k].usable ? usable : barred) + at, 1, len);
            /* Each line is rounded by itself. */
            for (size_t f = 0; line[k].usable && f < FRAMES; f++) {
                want[f] |= at <= f * PARTS && at + len >= (f + 1) * PARTS;
            }
        }
        for (size_t f = 0; f < FRAMES; f++) {
            want[f] &= memchr(barred + f * PARTS, 1, PARTS) == NULL;
            any += want[f];
        }
        CHECK_EQ(kva__pages_map(line, n, &map), any != 0 ? 0 : KVA_EINVAL);
        for (unsigned k = 0; k < map.n; k++) {
            CHECK(k == 0 || map.range[k].base >
                                map.range[k - 1].base + map.range[k - 1].n);
            for (size_t f = 0; f < map.range[k].n; f++) {
                found[map.range[k].base + f] = true;
            }
        }
        CHECK_EQ(memcmp(want, found, sizeof(want)), 0);
    }
}

static void
bad_settings_are_refused(struct test_ctx *t)
{
    static _Alignas(4096) char small[2 * 4096];
    static struct kva_pages_range many[KVA_PAGES_RANGES + 1];
    struct kva_pages_range map[] = { U(BASE, 64 * P) };
    struct kva_pages_boot b = { .map = map, .nmap = 1 };

    (void)t;
    PORT(NULL);
    CHECK_EQ(kva_pages_init(&b), KVA_EINVAL);
    CHECK_HAS(kva_posix_log_last(), "a direct map or donated memory");
    b.donated = small;
    b.donated_bytes = sizeof(small);
    CHECK_EQ(kva_pages_init(&b), KVA_ENOMEM);
    CHECK_HAS(kva_posix_log_last(), "donated bytes in whole pages, found 8192");
    b.donated = NULL;
    b.direct_bytes = 64 * P;
    b.direct_va = 0x1001;
    CHECK_EQ(kva_pages_init(&b), KVA_EINVAL);
    CHECK_HAS(kva_posix_log_last(), "misaligned");
    b.direct_va = (uintptr_t)small;
    b.direct_pa = BASE + 64 * P; /* beside the memory */
    CHECK_EQ(kva_pages_init(&b), KVA_ENOMEM);
    CHECK_HAS(kva_posix_log_last(), "in the direct map for tables");
    b.low_end = 100;
    CHECK_EQ(kva_pages_init(&b), KVA_EINVAL);
    b.low_end = 0;
    for (unsigned i = 0; i <= KVA_PAGES_RANGES; i++) {
        many[i] = (struct kva_pages_range)U(2 * i * P, P);
    }
    b.map = many;
    b.nmap = KVA_PAGES_RANGES + 1;
    CHECK_EQ(kva_pages_init(&b), KVA_EINVAL);
    CHECK_HAS(kva_posix_log_last(), "at most 64 ranges");
    CHECK_EQ(kva_pages_fini(), 0);
}

/* ---- a machine ---------------------------------------------------------- */

#define FRAMES 2048 /* from BASE on, with two holes */
#define HOLE1 700
#define HOLE2 1500
#define HOLE 20

static struct kva_pages_range memory[] = { U(BASE, FRAMES *P),
                                           R(BASE + HOLE1 * P, HOLE *P),
                                           R(BASE + HOLE2 * P, HOLE *P) };

/* With a direct map of all, of a part, or of nothing. */
enum reach {
    DIRECT,
    PARTLY,
    DONATED,
    REACHES
};

static void *region;

static void
start(struct test_ctx *t, enum reach reach, size_t reserve, kva_pa_t low_end,
      size_t donated)
{
    struct kva_pages_boot b = {
        .map = memory, .nmap = 3, .reserve = reserve, .low_end = low_end
    };
    void *p = NULL;

    if (reach == DONATED) {
        b.donated_bytes = donated != 0 ? donated : KVA_PAGES_DONATE(FRAMES);
        CHECK_EQ(posix_memalign(&p, P, b.donated_bytes), 0);
        b.donated = p;
    } else {
        b.direct_pa = reach == DIRECT ? BASE : BASE + 512 * P;
        b.direct_bytes = reach == DIRECT ? FRAMES * P : 128 * P;
        CHECK_EQ(posix_memalign(&p, P, FRAMES * P), 0);
        b.direct_va = (uintptr_t)p;
    }
    (void)t;
    region = p;
    CHECK_EQ(kva_pages_init(&b), 0);
    check();
}

static void
finish_with(size_t held)
{
    CHECK_EQ(kva_pages_fini(), held);
    free(region);
}

static void
finish(void)
{
    finish_with(0);
}

/* ---- the oracle --------------------------------------------------------- */

enum {
    FREE,
    HELD,
    NONE
};

static unsigned char state[FRAMES];

static void
oracle_begin(void)
{
    memset(state, FREE, sizeof(state));
    memset(state + HOLE1, NONE, HOLE);
    memset(state + HOLE2, NONE, HOLE);
}

/* The supply's own frames: it takes more of them as it goes. */
static void
oracle_own(void)
{
    for (unsigned i = 0; i < kva__pages.nranges; i++) {
        const struct kva__frames *f = &kva__pages.range[i];

        for (size_t k = 0; k < f->n; k++) {
            size_t at = f->base + k - (size_t)(BASE >> KVA_PAGE_SHIFT);

            if (!bits_get(f->taken, k) && bits_get(f->held, k)) {
                CHECK_NE(state[at], HELD);
                state[at] = NONE;
            }
        }
    }
}

struct request {
    size_t n;
    kva_pa_t low, high, align, boundary;
};

static bool
fits(const struct request *rq, size_t at)
{
    kva_pa_t first = BASE + at * P, last = first + rq->n * P - 1;

    if (first < rq->low || last > rq->high ||
        (rq->align != 0 && first % rq->align != 0) ||
        (rq->boundary != 0 && first / rq->boundary != last / rq->boundary)) {
        return false;
    }
    for (size_t i = 0; i < rq->n; i++) {
        if (at + i >= FRAMES || state[at + i] != FREE) {
            return false;
        }
    }
    return true;
}

static bool
somewhere(const struct request *rq)
{
    size_t at = 0;

    while (at < FRAMES && !fits(rq, at)) {
        at++;
    }
    return at < FRAMES;
}

static struct request
random_request(struct test_ctx *t)
{
    struct request rq = { 1, 0, ~(kva_pa_t)0, 0, 0 };

    if (test_below(t, 3) != 0) {
        rq.n = 1 + test_below(t, test_below(t, 4) == 0 ? 300 : 12);
    }
    if (test_below(t, 3) == 0) {
        rq.align = P << test_below(t, 7);
    }
    if (test_below(t, 4) == 0) {
        rq.boundary = P << (4 + test_below(t, 6));
    }
    if (test_below(t, 3) == 0) {
        rq.low = BASE + test_below(t, FRAMES * P);
        rq.high = rq.low + test_below(t, FRAMES * P);
    }
    return rq;
}

static bool
is_plain(const struct request *rq)
{
    return rq->low == 0 && rq->high == ~(kva_pa_t)0 && rq->align == 0 &&
           rq->boundary == 0;
}

static void
oracle_get(struct test_ctx *t, enum reach reach, size_t reserve)
{
    struct request rq = random_request(t);
    unsigned flags = test_below(t, 8) == 0 ? KVA_PAGE_RESERVE : 0;
    bool plain = is_plain(&rq) && test_below(t, 2) == 0;
    size_t kept = flags == 0 ? reserve : 0, spare = stat().free;
    kva_pa_t pa = 0;
    size_t at;
    int err;

    err = plain ? kva_pages_get(rq.n, flags, &pa)
                : kva_pages_contig(rq.n, rq.low, rq.high, rq.align, rq.boundary,
                                   flags, &pa);
    oracle_own(); /* tags came first */
    if (err == 0) {
        at = (size_t)((pa - BASE) / P);
        CHECK(fits(&rq, at));
        CHECK_GE(stat().free, kept);
        memset(state + at, HELD, rq.n);
    } else if (spare >= rq.n + kept + 2 && somewhere(&rq) &&
               (reach != PARTLY || kva__pages.arena.nspare >= 4)) {
        FAIL("error %d for %zu frames in [0x%llx, 0x%llx] align 0x%llx "
             "boundary 0x%llx, and there are some",
             err, rq.n, (unsigned long long)rq.low, (unsigned long long)rq.high,
             (unsigned long long)rq.align, (unsigned long long)rq.boundary);
    }
}

/* A random part of whatever is held in a row, be it several runs. */
static void
oracle_put(struct test_ctx *t)
{
    size_t at = test_below(t, FRAMES), n = 0;
    size_t most = 1 + test_below(t, test_below(t, 3) == 0 ? 200 : 4);

    while (at < FRAMES && state[at] != HELD) {
        at++;
    }
    while (at + n < FRAMES && state[at + n] == HELD && n < most) {
        n++;
    }
    if (n > 0) {
        kva_pages_put(n, BASE + at * P);
        memset(state + at, FREE, n);
    }
}

static void
put_all(void)
{
    for (size_t at = 0; at < FRAMES; at++) {
        if (state[at] == HELD) {
            kva_pages_put(1, BASE + at * P);
            state[at] = FREE;
        }
    }
}

static void
random_requests(struct test_ctx *t)
{
    PORT(NULL);
    for (unsigned long i = 0; i < t->count; i++) {
        enum reach reach = (enum reach)test_below(t, REACHES);
        size_t reserve = test_below(t, 2) * 64, fill = 2 + test_below(t, 3);
        kva_pa_t low = test_below(t, 2) != 0 ? BASE + 256 * P : 0;
        size_t requests;

        start(t, reach, reserve, low, 0);
        oracle_begin();
        oracle_own();
        requests = kva__meta_requests();
        for (unsigned k = 0; k < 1500; k++) {
            if (test_below(t, 400) == 0) {
                fill = 1 + test_below(t, 4); /* fuller, or emptier */
            }
            if (test_below(t, 4) < fill) {
                oracle_get(t, reach, reserve);
            } else {
                oracle_put(t);
            }
            if (k % 100 == 0) {
                check();
                oracle_own();
            }
        }
        put_all();
        check();
        CHECK_EQ(stat().held, 0);
        CHECK_EQ(kva__meta_requests(), requests);
        CHECK_EQ(stat().free, stat().total - stat().own);
        finish();
    }
}

/* ---- single cases ------------------------------------------------------- */

/* A run goes back in parts, in three orders, and all but the frames that became
 * tags meanwhile can be had again. */
static void
runs_come_back_in_parts(struct test_ctx *t)
{
    PORT(NULL);
    for (unsigned round = 0; round < 6; round++) {
        size_t n = 512, own, again = 0;
        kva_pa_t pa;

        start(t, round % 2 == 0 ? DIRECT : DONATED, 0, 0, 0);
        (void)get(1);
        own = stat().own;
        pa = get(n);
        for (size_t i = 0; i < n; i++) {
            size_t at = round / 2 == 0   ? i
                        : round / 2 == 1 ? n - 1 - i
                                         : i * 77 % n;

            kva_pages_put(1, pa + at * P);
            CHECK_EQ(stat().parked, 0);
        }
        check();
        own = stat().own - own;
        CHECK_LE(own, 6);
        for (size_t i = 0; i < n; i++) {
            again += kva_pages_claim(1, pa + i * P) == 0;
        }
        CHECK_GE(again + own + 4, n);
        finish_with(1 + again);
    }
}

static void
neighbours_go_together(struct test_ctx *t)
{
    kva_pa_t pa[3];

    PORT(NULL);
    start(t, DIRECT, 0, 0, 0);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(kva_pages_claim(40, BASE + (100 + 40 * i) * P), 0);
        pa[i] = BASE + (100 + 40 * i) * P;
    }
    kva_pages_put(80, pa[0] + 20 * P); /* a tail, a whole, a head */
    check();
    CHECK_EQ(stat().held, 40);
    CHECK_EQ(kva_pages_claim(80, pa[0] + 20 * P), 0);
    kva_pages_put(120, pa[0]);
    check();
    finish();
}

static void
reserve_is_kept(struct test_ctx *t)
{
    kva_pa_t pa;
    size_t n = 0;

    PORT(NULL);
    start(t, DONATED, 10, 0, 0);
    while (kva_pages_get(1, KVA_PAGE_NOSLEEP, &pa) == 0) {
        n++;
    }
    CHECK_EQ(n, FRAMES - 2 * HOLE - 10);
    CHECK_EQ(kva_pages_contig(1, 0, ~0ull, 0, 0, 0, &pa), KVA_ENOMEM);
    for (unsigned i = 0; i < 10; i++) {
        CHECK_EQ(kva_pages_get(1, KVA_PAGE_RESERVE, &pa), 0);
    }
    CHECK_EQ(kva_pages_get(1, KVA_PAGE_RESERVE, &pa), KVA_ENOMEM);
    CHECK_EQ(stat().free, 0);
    CHECK_EQ(stat().fails, 2);
    CHECK_EQ(stat().contig_fails, 1);
    finish_with(FRAMES - 2 * HOLE);
}

/* Frames below low_end go last, and there for who asks. */
static void
low_memory_is_spared(struct test_ctx *t)
{
    kva_pa_t low = BASE + 256 * P, pa;
    size_t n = 0;

    PORT(NULL);
    start(t, DIRECT, 0, low, 0);
    CHECK_EQ(kva_pages_contig(4, 0, low - 1, 0, 0, 0, &pa), 0);
    CHECK_LT(pa, low);
    while (kva_pages_get(1 + n % 5, 0, &pa) == 0 && pa >= low) {
        n++;
    }
    CHECK_GT(n, 500);
    CHECK_GE(stat().free, 200); /* nearly all that is low */
    CHECK_EQ(kva_pages_contig(100, 0, low - 1, 0, 0, 0, &pa), 0);
    finish_with(stat().held);
}

static void
impossible_constraints(struct test_ctx *t)
{
    kva_pa_t pa;

    PORT(NULL);
    start(t, DIRECT, 0, 0, 0);
    CHECK_EQ(kva_pages_contig(0, 0, ~0ull, 0, 0, 0, &pa), KVA_EINVAL);
    CHECK_EQ(kva_pages_contig(1, 0, ~0ull, 3 * P, 0, 0, &pa), KVA_EINVAL);
    CHECK_EQ(kva_pages_contig(1, 0, ~0ull, 0, 3 * P, 0, &pa), KVA_EINVAL);
    CHECK_EQ(kva_pages_contig(5, 0, ~0ull, 0, 4 * P, 0, &pa), KVA_EINVAL);
    CHECK_EQ(kva_pages_contig(1, 0, ~0ull, 0, P / 2, 0, &pa), KVA_EINVAL);
    CHECK_EQ(kva_pages_contig(1, BASE + 1, BASE + 2 * P - 2, 0, 0, 0, &pa),
             KVA_EINVAL);
    CHECK_EQ(kva_pages_contig(1, BASE + P, BASE, 0, 0, 0, &pa), KVA_EINVAL);
    CHECK_EQ(kva_pages_contig(1, 0, BASE - 1, 0, 0, 0, &pa), KVA_ENOMEM);
    CHECK_EQ(kva_pages_claim(1, BASE + 1), KVA_EINVAL);
    CHECK_EQ(kva_pages_claim(1, BASE + HOLE1 * P), KVA_ENOMEM);
    /* Within a byte. */
    CHECK_EQ(kva_pages_contig(1, BASE + 1, BASE + 2 * P - 1, 0, 0, 0, &pa), 0);
    CHECK_EQ(pa, BASE + P);
    CHECK_EQ(kva_pages_contig(4, 0, ~0ull, 0, 4 * P, 0, &pa), 0);
    CHECK_EQ(pa % (4 * P), 0);
    finish_with(stat().held);
}

/* Pages for metadata are mapped, zeroed, and the supply's own. */
static void
metadata_is_mapped(struct test_ctx *t)
{
    uintptr_t va[120];
    size_t n = 0;

    PORT(NULL);
    start(t, PARTLY, 0, 0, 0);
    while (n < 120 && kva_pages_meta_get(&va[n]) == 0) {
        size_t at = (va[n] - (uintptr_t)region) / P;

        CHECK_LT(at, 128);
        CHECK_EQ(kva_pages_direct(BASE + (512 + at) * P), va[n]);
        for (size_t i = 0; i < P; i++) {
            CHECK_EQ(((unsigned char *)va[n])[i], 0);
        }
        memset((void *)va[n], 0x5a, P);
        n++;
    }
    CHECK_GT(n, 100);
    CHECK_EQ(kva_pages_direct(BASE), 0);
    CHECK_EQ(kva_pages_direct(BASE + 640 * P), 0);
    while (n > 0) {
        kva_pages_meta_put(va[--n]);
    }
    check();
    CHECK_PANIC(kva_pages_meta_put((uintptr_t)region + 128 * P),
                "kva_pages_meta_put: pages physical: 0x%lx: expected a page of "
                "the direct map, found another address",
                (unsigned long)((uintptr_t)region + 128 * P));
    finish();
}

/* Zeroed where they can be; aligned to a large page if that can be. */
static void
flags_are_heeded(struct test_ctx *t)
{
    kva_pa_t pa, large = KVA_LARGE_PAGES * P;
    size_t n = 0;

    PORT(NULL);
    start(t, PARTLY, 0, 0, 0);
    for (size_t k = 1; k <= 8; k++) {
        CHECK_EQ(kva_pages_get(k, KVA_PAGE_ZERO, &pa), 0);
        CHECK(kva_pages_direct(pa) != 0);
        for (size_t i = 0; i < k * P; i++) {
            CHECK_EQ(((char *)kva_pages_direct(pa))[i], 0);
        }
        memset((void *)kva_pages_direct(pa), 0x5a, k * P);
        kva_pages_put(k, pa);
    }
    check();
    finish();
    start(t, DONATED, 0, 0, 0);
    CHECK_EQ(kva_pages_get(1, KVA_PAGE_ZERO, &pa), KVA_ENOMEM);
    (void)get(1);
    while (KVA_LARGE_PAGES != 0 && n < 4 &&
           kva_pages_get(KVA_LARGE_PAGES, KVA_PAGE_LARGE, &pa) == 0 &&
           pa % large == 0) {
        n++;
    }
    CHECK(KVA_LARGE_PAGES != 512 || (n >= 1 && n <= 2)); /* two have holes */
    finish_with(stat().held);
}

/*
 * Donated tags for very few segments: what is put back then is free, though it
 * cannot all be reached; and it can when there is room again.
 */
static void
few_tags_lose_nothing(struct test_ctx *t)
{
    kva_pa_t pa;
    size_t n = FRAMES - HOLE2 - HOLE, held = 0;

    PORT(NULL);
    start(t, DONATED, 0, 0, 4 * P);
    CHECK_EQ(kva_pages_claim(n, BASE + (HOLE2 + HOLE) * P), 0);
    pa = BASE + (HOLE2 + HOLE) * P;
    for (size_t i = 0; i + 2 < n; i += 4) { /* every second pair */
        kva_pages_put(2, pa + i * P);
    }
    check();
    CHECK_GT(stat().parked, 0);
    CHECK_EQ(stat().free, FRAMES - 2 * HOLE - stat().held);
    held = stat().held;
    for (size_t i = 2; i < n; i += 4) {
        size_t k = i + 4 >= n ? n - i : 2;

        kva_pages_put(k, pa + i * P);
        held -= k;
        CHECK_EQ(stat().held, held);
    }
    CHECK_EQ(held, 0);
    check();
    CHECK_EQ(kva_pages_claim(n, pa), 0); /* all of it is gathered */
    CHECK_EQ(stat().parked, 0);
    check();
    kva_pages_put(n, pa);
    finish();
}

static void
misuse_is_reported(struct test_ctx *t)
{
    static const char fmt[] = "kva_pages_put: pages physical: 0x%lx: expected "
                              "%zu frames that are held, found 0x%llx not held";
    kva_pa_t pa;

    PORT(NULL);
    CHECK_PANIC(
        kva_pages_get(1, 0, &pa),
        "kva_pages_get: pages physical: 0x0: expected a supply that was "
        "started, found none");
    start(t, DIRECT, 0, 0, 0);
    pa = get(8);
#define BAD(n, at, first)                                                    \
    CHECK_PANIC(kva_pages_put(n, at), fmt, (unsigned long)(at), (size_t)(n), \
                (unsigned long long)(first))
    BAD(9, pa, pa + 8 * P);
    BAD(1, pa + 1, pa + 1);
    BAD(0, pa, pa);
    BAD(1, BASE - P, BASE - P);
    BAD(1, BASE + HOLE1 * P, BASE + HOLE1 * P);
    BAD(1, ~(kva_pa_t)0 << 12, ~(kva_pa_t)0 << 12);
    kva_pages_put(1, pa + 3 * P);
    BAD(1, pa + 3 * P, pa + 3 * P); /* it is in the stock */
    BAD(8, pa, pa + 3 * P);
    kva_pages_put(3, pa);
    kva_pages_put(4, pa + 4 * P);
    BAD(2, pa + 4 * P, pa + 4 * P);
#undef BAD
    check();
    finish();
}

/* Only the supply's own frames pay for what it does, and it does so by itself:
 * single frames held here and there, of which each is a segment. */
static void
tags_come_from_frames(struct test_ctx *t)
{
    size_t requests, own;

    PORT(NULL);
    start(t, DIRECT, 0, 0, 0);
    requests = kva__meta_requests();
    own = stat().own;
    for (size_t i = 0; i < FRAMES; i += 2) {
        if (kva_pages_claim(1, BASE + i * P) != 0) {
            CHECK(i >= HOLE1 - 20); /* a hole, or the supply's own */
        }
    }
    check();
    CHECK_EQ(kva__meta_requests(), requests);
    CHECK_GT(stat().own, own + 10);
    CHECK_LE(stat().own, own + 10 + stat().tags / 100);
    CHECK_GE(stat().tags, 1900);
    finish_with(stat().held);
}

/* ---- several threads ---------------------------------------------------- */

#define THREADS 4

static void *
thread_main(void *arg)
{
    struct test_random r = { (uint64_t)(uintptr_t)arg };
    kva_pa_t pa[32];
    size_t n[32] = { 0 };

    for (unsigned i = 0; i < 3000; i++) {
        unsigned k = (unsigned)test_random_below(&r, 32);

        if (n[k] != 0) {
            size_t half = n[k] / 2;

            if (half != 0) {
                kva_pages_put(half, pa[k] + (n[k] - half) * P);
            }
            kva_pages_put(n[k] - half, pa[k]);
            n[k] = 0;
        } else {
            n[k] = 1 + (size_t)test_random_below(&r, 9);
            if (kva_pages_get(n[k], 0, &pa[k]) != 0) {
                n[k] = 0;
            }
        }
    }
    for (unsigned k = 0; k < 32; k++) {
        if (n[k] != 0) {
            kva_pages_put(n[k], pa[k]);
        }
    }
    return NULL;
}

static void
threads_share_it(struct test_ctx *t)
{
    pthread_t thread[THREADS];

    PORT(NULL);
    start(t, DIRECT, 8, BASE + 256 * P, 0);
    for (uintptr_t i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_create(&thread[i], NULL, thread_main, (void *)(i + 1)),
                 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    }
    check();
    CHECK_EQ(stat().held, 0);
    finish();
}

const struct test pages_tests[] = {
    TEST("pages", maps_are_read),
    TEST_COUNT("pages", random_maps_are_read, 300, 10000, 200000),
    TEST("pages", bad_settings_are_refused),
    TEST_COUNT("pages", random_requests, 3, 100, 2000),
    TEST("pages", runs_come_back_in_parts),
    TEST("pages", neighbours_go_together),
    TEST("pages", reserve_is_kept),
    TEST("pages", low_memory_is_spared),
    TEST("pages", impossible_constraints),
    TEST("pages", metadata_is_mapped),
    TEST("pages", flags_are_heeded),
    TEST("pages", few_tags_lose_nothing),
    TEST("pages", misuse_is_reported),
    TEST("pages", tags_come_from_frames),
    TEST("pages", threads_share_it),
    TEST_END
};
