/* SPDX-License-Identifier: BSD-2-Clause */
/* Listings of all pools; list.h says what the numbers are. */
#include "pool/list.h"

#include "pool/pool_impl.h"
#include "vmem/print.h"
#include "vmem/table.h"

/* ---- one pool ------------------------------------------------------------ */

static void
row_of_slabs(struct kva_pool *pp, struct kva_pool_row *row)
{
    kva_irq_t irq = kva__pool_lock(pp);
    size_t freed = kva__pool_divide(pp->released, pp->slab_bytes);

    *row = (struct kva_pool_row){
        .name = pp->name,
        .cache = (pp->flags & KVA__PR_CACHE) != 0,
        .recursive = (pp->flags & KVA_PR_RECURSIVE) != 0,
        .object_bytes = pp->size,
        .slab_bytes = pp->slab_bytes,
        .requests = pp->gets,
        .releases = pp->puts,
        .fails = pp->fails,
        .limit =
            pp->hardlimit == KVA__POOL_NONE ? KVA_POOL_NO_LIMIT : pp->hardlimit,
        .limit_hits = pp->limit_hits,
        .in_use = pp->nout,
        .available = pp->nfree,
        .slabs = pp->nslabs,
        .slabs_empty = pp->nempty,
        .slabs_max = pp->nslabs_max,
        .slabs_made = pp->nslabs + freed,
        .slabs_freed = freed,
    };
    kva__pool_unlock(pp, irq);
}

static void
row_of_magazines(struct kva_pool_cache *pc, struct kva_pool_row *row)
{
    struct kva__mag_stat st;
    size_t idle;

    kva__magcache_stat(&pc->mags, &st);
    row->cached = st.rounds;
    row->waiting = kva__limbo_count(pc);
    idle = st.rounds + row->waiting;
    row->in_use -= idle < row->in_use ? idle : row->in_use;
    row->available += st.rounds;
    row->slots = st.slots;
    row->rounds = st.capacity;
    row->rounds_max = st.capacity_max;
    row->depot_full = st.full;
    row->depot_empty = st.empty;
    row->misses_get = st.misses_get;
    row->misses_put = st.misses_put;
    row->magazine_bytes = st.bytes;
}

struct visit {
    void (*fn)(void *arg, const struct kva_pool_row *row);
    void *arg;
};

static void
visit(struct kva_pool *pp, void *arg)
{
    const struct visit *v = arg;
    struct kva_pool_row row;

    row_of_slabs(pp, &row);
    if (row.cache) {
        row_of_magazines(KVA_CONTAINER(pp, struct kva_pool_cache, slabs), &row);
    }
    v->fn(v->arg, &row);
}

void
pool_rows(void (*fn)(void *arg, const struct kva_pool_row *row), void *arg)
{
    struct visit v = { fn, arg };

    kva__pools_visit(visit, &v);
}

/* ---- as vmstat -m -------------------------------------------------------- */

static const struct kva__column pool_column[] = {
    { "Name", 18 },     { "Size", 6 },  { "Requests", 10 }, { "Fail", 5 },
    { "Releases", 10 }, { "InUse", 8 }, { "Avail", 8 },     { "Pgreq", 7 },
    { "Pgrel", 7 },     { "Npage", 7 }, { "Hiwat", 7 },     { "Idle", 6 },
};

struct sum {
    kva_vmem_pr_t *pr;
    size_t pools, unused;
    size_t used_kib, held_kib; /* PR_RECURSIVE left out */
    size_t used_rest;          /* bytes below a KiB */
    size_t cached, magazine_bytes, misses_get, misses_put;
};

static size_t
pages(const struct kva_pool_row *row, size_t slabs)
{
    return slabs * (row->slab_bytes / KVA_PAGE_SIZE);
}

/* Sums of bytes may not fit into 32 bits. */
static void
add_bytes(struct sum *sum, size_t bytes)
{
    sum->used_rest += bytes % 1024u;
    sum->used_kib += bytes / 1024u + sum->used_rest / 1024u;
    sum->used_rest %= 1024u;
}

static void
pool_line(void *arg, const struct kva_pool_row *row)
{
    struct sum *sum = arg;
    const size_t value[] = { row->object_bytes,
                             row->requests,
                             row->fails,
                             row->releases,
                             row->in_use,
                             row->available,
                             pages(row, row->slabs_made),
                             pages(row, row->slabs_freed),
                             pages(row, row->slabs),
                             pages(row, row->slabs_max),
                             pages(row, row->slabs_empty) };

    sum->pools++;
    if (row->slabs_made == 0 && row->requests == 0 && row->fails == 0) {
        sum->unused++;
        return;
    }
    kva__table_row(pool_column, KVA_COUNT(pool_column), row->name, value,
                   sum->pr);
    if (!row->recursive) {
        add_bytes(sum, row->in_use * row->object_bytes);
        sum->held_kib += pages(row, row->slabs) * (KVA_PAGE_SIZE / 1024u);
    } else {
        kva__print_line(sum->pr, "  (recursive: not in the totals)");
    }
}

void
pool_listing(kva_vmem_pr_t *pr)
{
    struct sum sum = { .pr = pr };
    size_t percent = 0;

    kva__table_head(pool_column, KVA_COUNT(pool_column), pr);
    pool_rows(pool_line, &sum);
    if (sum.held_kib >= 100) {
        percent =
            kva__pool_divide(sum.used_kib, kva__pool_divide(sum.held_kib, 100));
    }
    kva__print_line(pr, "%zu pools, %zu of them never used", sum.pools,
                    sum.unused);
    kva__print_line(pr, "In use %zuK, slabs %zuK; utilization %zu%%",
                    sum.used_kib, sum.held_kib, percent);
}

/* ---- as vmstat -C -------------------------------------------------------- */

static const struct kva__column cache_column[] = {
    { "Name", 18 },    { "Size", 6 },     { "CPUs", 5 },  { "Rounds", 6 },
    { "Most", 5 },     { "Full", 5 },     { "Empty", 5 }, { "Cached", 8 },
    { "GetMiss", 10 }, { "PutMiss", 10 }, { "Bytes", 8 },
};

static void
cache_line(void *arg, const struct kva_pool_row *row)
{
    struct sum *sum = arg;
    const size_t value[] = { row->object_bytes, row->slots,
                             row->rounds,       row->rounds_max,
                             row->depot_full,   row->depot_empty,
                             row->cached,       row->misses_get,
                             row->misses_put,   row->magazine_bytes };

    if (!row->cache) {
        return;
    }
    sum->pools++;
    if (row->misses_get == 0 && row->misses_put == 0) {
        sum->unused++;
        return;
    }
    kva__table_row(cache_column, KVA_COUNT(cache_column), row->name, value,
                   sum->pr);
    sum->cached += row->cached;
    sum->misses_get += row->misses_get;
    sum->misses_put += row->misses_put;
    sum->magazine_bytes += row->magazine_bytes;
}

static void
cache_totals(const struct sum *sum)
{
    const size_t none = KVA__TABLE_NONE;
    const size_t value[] = { none,
                             none,
                             none,
                             none,
                             none,
                             none,
                             sum->cached,
                             sum->misses_get,
                             sum->misses_put,
                             sum->magazine_bytes };

    kva__table_row(cache_column, KVA_COUNT(cache_column), "Totals", value,
                   sum->pr);
}

void
pool_cache_listing(kva_vmem_pr_t *pr)
{
    struct sum sum = { .pr = pr };

    kva__table_head(cache_column, KVA_COUNT(cache_column), pr);
    pool_rows(cache_line, &sum);
    cache_totals(&sum);
    kva__print_line(pr, "%zu caches, %zu of them never used", sum.pools,
                    sum.unused);
}
