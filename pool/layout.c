/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Geometry: how large the slabs of a pool are, whether the header lies in
 * them, and where the objects lie.
 *
 * A pool has slabs of one size, a power of two of pages.  Two wastes pull in
 * opposite directions.  In each slab: header and rest.  Over the pool: on
 * average half a slab is not full, which matters when the pool is small, and
 * most pools are.
 * So each candidate is given the share of memory that it would waste in a pool
 * of 128 KiB (half a slab is a 64th of that for each page), and the cheapest
 * wins:
 *
 *     object   slab, KiB   objects   header and rest, %
 *         32           4       122       4.7
 *        104           4        38       3.5
 *        192           4        21       1.6
 *        512           8        15       6.2
 *        584          16        27       3.8
 *       1024           4         4       1.6  (header elsewhere)
 *       1128           8         7       3.6
 *       2048           4         2       1.6  (header elsewhere)
 *       4096           4         1       1.6  (header elsewhere)
 *
 * A header elsewhere costs a line more at each get and put, which is counted as
 * another 9 %.  With this the recorded kernel of 1.35 GB live in pools takes
 * 1.04 times that in slabs, the one of 4.5 MB 1.21 times.
 */
#include "pool/pool_impl.h"

/* Slabs are up to 8 pages unless a single object needs more; then up to 32,
 * which is as far as quantum caches go. */
#define SLAB_SHIFT_USUAL 3u
#define SLAB_SHIFT_MAX 5u

/* Costs are in 1/1024 of the memory. */
#define COST_SHIFT 10u
#define COST_OF_PAGE 16u
#define COST_OF_LOOKUP 90u
#define COST_NONE (~(size_t)0)

struct layout {
    size_t slab_bytes;
    size_t nobj;
    size_t first;
    size_t header_bytes;
    size_t map_words;
    size_t record_bytes;
    bool off_slab;
    bool single;
    unsigned flags; /* of the pool */
    size_t cost;
};

size_t
kva__pool_divide(size_t n, size_t d)
{
    size_t quotient = 0;
    unsigned shift = 0;

    while (shift < KVA__WORD_BITS - 1u && (d << shift) <= (n >> 1)) {
        shift++;
    }
    for (; d <= n; shift--) {
        if ((d << shift) <= n) {
            n -= d << shift;
            quotient |= (size_t)1 << shift;
        }
        if (shift == 0) {
            break;
        }
    }
    return quotient;
}

static size_t
map_words(size_t nobj)
{
    return (nobj + KVA__WORD_BITS - 1u) >> KVA__WORD_SHIFT;
}

static size_t
map_offset(size_t nobj)
{
    return kva_round_up(offsetof(struct kva__slab, state) + nobj,
                        sizeof(uintptr_t));
}

static size_t
header_bytes(const struct layout *lo, size_t nobj)
{
    size_t bytes = map_offset(nobj) + map_words(nobj) * sizeof(uintptr_t) +
                   kva__nest_bytes(lo->flags);

    bytes += kva__paddr_bytes(lo->flags, bytes, lo->slab_bytes);
    if (lo->record_bytes != 0) {
        bytes = kva_round_up(bytes, 8) + nobj * lo->record_bytes;
    }
    return bytes;
}

/* Where the first object lies at or after from: at offset modulo align. */
static size_t
first_after(size_t from, size_t align, size_t offset)
{
    return kva_round_up(from + offset, align) - offset;
}

/* Each object takes a byte and a bit of the header at least.  What of a large
 * slab is beyond that is not used. */
static size_t
most_objects(const struct layout *lo)
{
    size_t bytes = lo->off_slab ? KVA__OFF_HEADER_MAX : UINT16_MAX;

    return bytes - (bytes >> 4);
}

/*
 * The most objects that a slab holds.  The loop runs once for each object that
 * header and states displace: an eighth of them at most.
 */
static void
layout_fill(struct layout *lo, size_t size, size_t align, size_t offset)
{
    size_t n = kva__pool_divide(lo->slab_bytes, size);

    if (n > most_objects(lo)) {
        n = most_objects(lo);
    }
    for (; n > 0; n--) {
        lo->header_bytes = header_bytes(lo, n);
        lo->first =
            first_after(lo->off_slab ? 0 : lo->header_bytes, align, offset);
        if (lo->header_bytes >
            (lo->off_slab ? KVA__OFF_HEADER_MAX : UINT16_MAX)) {
            continue;
        }
        if (lo->first + n * size <= lo->slab_bytes) {
            break;
        }
    }
    lo->nobj = n;
    lo->map_words = map_words(n);
}

static void
layout_cost(struct layout *lo, size_t size)
{
    size_t waste = lo->slab_bytes - lo->nobj * size;
    size_t pages = lo->slab_bytes >> KVA_PAGE_SHIFT;

    if (lo->nobj == 0) {
        lo->cost = COST_NONE;
        return;
    }
    if (lo->off_slab) {
        waste += kva__off_bytes(lo->header_bytes);
    }
    lo->cost = kva__pool_divide(waste << COST_SHIFT, lo->slab_bytes) +
               pages * COST_OF_PAGE + (lo->off_slab ? COST_OF_LOOKUP : 0);
}

/* Keep the cheaper one. */
static void
layout_try(struct layout *best, size_t slab_bytes, bool off_slab, size_t size,
           size_t align, size_t offset)
{
    struct layout lo = { .slab_bytes = slab_bytes,
                         .record_bytes = best->record_bytes,
                         .off_slab = off_slab,
                         .flags = best->flags };

    if (align > slab_bytes) {
        return;
    }
    layout_fill(&lo, size, align, offset);
    layout_cost(&lo, size);
    if (lo.cost < best->cost) {
        *best = lo;
    }
}

/* A slab that is one object, of whole pages: nothing to round up to a power
 * of two.  Only where its waste would be large. */
static void
layout_try_single(struct layout *best, size_t size, size_t align, size_t offset)
{
    struct layout lo = { .record_bytes = best->record_bytes,
                         .off_slab = true,
                         .single = true,
                         .nobj = 1,
                         .flags = best->flags };

    if (size <= KVA_PAGE_SIZE << (SLAB_SHIFT_USUAL - 1u) ||
        align > KVA_PAGE_SIZE || offset != 0) {
        return;
    }
    lo.slab_bytes = kva_round_up(size, KVA_PAGE_SIZE);
    lo.header_bytes = header_bytes(&lo, 1);
    lo.map_words = map_words(1);
    layout_cost(&lo, size);
    if (lo.cost < best->cost) {
        *best = lo;
    }
}

static void
layout_choose(struct layout *best, size_t size, size_t align, size_t offset)
{
    unsigned flags = best->flags;
    bool never_in = (flags & (KVA_PR_NOTOUCH | KVA_PR_USEBMAP)) != 0;
    bool never_off = (flags & KVA_PR_PHINPAGE) != 0 && !never_in;

    for (unsigned k = 0; k <= SLAB_SHIFT_MAX; k++) {
        if (k > SLAB_SHIFT_USUAL && best->cost != COST_NONE) {
            break;
        }
        if (!never_in) {
            layout_try(best, KVA_PAGE_SIZE << k, false, size, align, offset);
        }
        if (!never_off) {
            layout_try(best, KVA_PAGE_SIZE << k, true, size, align, offset);
        }
    }
    if (!never_off) {
        layout_try_single(best, size, align, offset);
    }
}

/* The inverse of an odd number modulo 2^32, by Newton's iteration: each step
 * doubles the number of right bits, and x itself has three. */
static uint32_t
inverse_of(uint32_t x)
{
    uint32_t y = x;

    for (unsigned bits = 3; bits < 32; bits *= 2) {
        y *= 2u - x * y;
    }
    return y;
}

static void
layout_enter(struct kva_pool *pp, const struct layout *lo, size_t size)
{
    pp->size = size;
    pp->stride = size;
    pp->shift = kva_ffs(size);
    pp->inverse = inverse_of((uint32_t)(size >> pp->shift));
    pp->slab_bytes = lo->slab_bytes;
    pp->nobj = (uint32_t)lo->nobj;
    pp->first = (uint32_t)lo->first;
    pp->header_bytes = (uint16_t)lo->header_bytes;
    pp->map_words = (uint16_t)lo->map_words;
    pp->map_offset = (uint32_t)map_offset(lo->nobj);
    pp->record_offset =
        (uint32_t)(lo->header_bytes - lo->nobj * lo->record_bytes);
    if (lo->off_slab) {
        pp->flags |= KVA__PR_OFF_SLAB;
    }
    if (lo->single) {
        pp->flags |= KVA__PR_SINGLE;
    }
    pp->list_scale =
        (uint32_t)kva__pool_divide((size_t)KVA__POOL_LEVELS << 16, lo->nobj);
}

/* slab_bytes 0: choose.  size and align were checked. */
bool
kva__pool_layout_fits(struct kva_pool *pp, size_t size, size_t align,
                      size_t offset, size_t slab_bytes)
{
    struct layout lo = { .record_bytes = pp->record_bytes,
                         .flags = pp->flags,
                         .cost = COST_NONE };

    if (slab_bytes == 0) {
        layout_choose(&lo, size, align, offset);
    } else {
        bool off = (pp->flags & (KVA_PR_NOTOUCH | KVA_PR_USEBMAP)) != 0;

        layout_try(&lo, slab_bytes, off, size, align, offset);
        if ((pp->flags & KVA_PR_PHINPAGE) == 0) {
            layout_try(&lo, slab_bytes, true, size, align, offset);
        }
    }
    if (lo.cost == COST_NONE || lo.nobj > UINT16_MAX) {
        return false;
    }
    layout_enter(pp, &lo, size);
    kva__colour_init(pp, lo.slab_bytes - lo.first - lo.nobj * size, align);
    return true;
}

/* Objects that fit in no slab are the caller's misuse. */
void
kva__pool_layout(struct kva_pool *pp, size_t size, size_t align, size_t offset,
                 size_t slab_bytes)
{
    if (!kva__pool_layout_fits(pp, size, align, offset, slab_bytes)) {
        kva__misuse(kva__pool_init_name(pp), kva__pool_kind(pp), pp->name,
                    (uintptr_t)pp,
                    "expected objects that fit in a slab, found size %zu, "
                    "align %zu",
                    size, align);
    }
}

void
kva__pool_layout_single(struct kva_pool *pp, size_t size, size_t slab_bytes,
                        size_t first)
{
    struct layout lo = { .slab_bytes = slab_bytes,
                         .nobj = 1,
                         .first = first,
                         .map_words = map_words(1),
                         .record_bytes = pp->record_bytes,
                         .off_slab = true,
                         .single = true };

    lo.header_bytes = header_bytes(&lo, 1);
    layout_enter(pp, &lo, size);
}
