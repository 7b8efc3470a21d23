/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Listing of malloc types, in the manner of vmstat -m.
 *
 * Types are numbered from the oldest one on, which is last in the list: new
 * ones do not change a number.  So the list may be left for each line, and no
 * lock is held while somebody prints.
 */
#include "malloc_compat/malloc_impl.h"
#include "vmem/print.h"
#include "vmem/table.h"

/* The n-th oldest type, or NULL.  Lock of types held. */
static struct kva_malloc_type *
type_at(size_t n)
{
    struct kva_malloc_type *mt = kva_malloc_type_list;

    while (mt != NULL && mt->next != NULL) {
        mt = mt->next;
    }
    for (; mt != NULL && n > 0; n--) {
        mt = mt->prev;
    }
    return mt;
}

static bool
stat_at(size_t n, struct kva_malloc_stat *st)
{
    kva_irq_t irq = kva__malloc_lock();
    struct kva_malloc_type *mt = type_at(n);

    if (mt != NULL) {
        kva__malloc_stat_locked(mt, st);
    }
    kva__malloc_unlock(irq);
    return mt != NULL;
}

void
malloc_rows(void (*fn)(void *arg, const struct kva_malloc_stat *st), void *arg)
{
    struct kva_malloc_stat st;

    for (size_t n = 0; stat_at(n, &st); n++) {
        fn(arg, &st);
    }
}

static const struct kva__column column[] = {
    { "Type", 18 },  { "InUse", 8 },     { "MemUse", 10 }, { "HighUse", 10 },
    { "Limit", 10 }, { "Requests", 12 }, { "Fail", 8 },    { "Waits", 8 },
};

struct sum {
    kva_vmem_pr_t *pr;
    size_t types;
    struct kva_malloc_stat all;
};

static void
line(kva_vmem_pr_t *pr, const struct kva_malloc_stat *st, size_t limit,
     size_t high)
{
    const size_t value[] = { st->active,   st->bytes,    high,     limit,
                             st->requests, st->failures, st->waits };

    kva__table_row(column, KVA_COUNT(column), st->name, value, pr);
}

static void
type_line(void *arg, const struct kva_malloc_stat *st)
{
    struct sum *sum = arg;

    line(sum->pr, st, st->limit == 0 ? KVA__TABLE_NONE : st->limit, st->high);
    sum->types++;
    sum->all.active += st->active;
    sum->all.bytes += st->bytes;
    sum->all.requests += st->requests;
    sum->all.failures += st->failures;
    sum->all.waits += st->waits;
}

void
malloc_listing(kva_vmem_pr_t *pr)
{
    struct sum sum = { .pr = pr, .all = { .name = "Totals" } };

    kva__table_head(column, KVA_COUNT(column), pr);
    malloc_rows(type_line, &sum);
    line(pr, &sum.all, KVA__TABLE_NONE, KVA__TABLE_NONE);
    kva__print_line(pr, "%zu types", sum.types);
}
