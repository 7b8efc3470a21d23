/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The areas alone, as wired ranges without their guard page, each time with
 * other bounds.  Their pages are booked by the port and have no memory: nothing
 * here touches them, and some loads have gigabytes of them.
 *
 * A load's clock ticks every 100 ms; in between time stands still, so that what
 * is freed in a tick is flushed at the next one if the bound of its age is as
 * much as that, which is when a kernel's timer would have done it.
 */
#include "replay/shootdowns.h"

#include <stdio.h>
#include <stdlib.h>

#include "kva/kva.h"
#include "port/posix/posix.h"

#define NS_PER_MS 1000000u
#define MS_NEVER 100000000u

static const struct {
    size_t bytes;
    unsigned ms;
} bounds[SHOOTDOWN_ROWS] = {
    { 1, MS_NEVER },
    { (size_t)4 << 20, 100 },
    { (size_t)4 << 20, MS_NEVER },
    { (size_t)64 << 20, 100 },
    { (size_t)64 << 20, 1000 },
    { (size_t)64 << 20, MS_NEVER },
};

struct area {
    vmem_addr_t va;
    size_t bytes; /* 0: none */
};

static size_t
area_bytes(const struct record *r)
{
    return (size_t)(r->a > 1 ? r->a - 1 : r->a) * KVA_PAGE_SIZE;
}

static void
area_free(struct shootdowns *s, struct area *a)
{
    struct kva_stat st;

    if (a->bytes != 0) {
        kva_wired_free(a->va, a->bytes);
        s->frees++;
        s->freed_bytes += a->bytes;
        a->bytes = 0;
        kva_stat(&st);
        if (st.lazy_bytes > s->queued_max_bytes) {
            s->queued_max_bytes = st.lazy_bytes;
        }
    }
}

static bool
area_alloc(const struct trace *t, const struct record *r, struct area *a)
{
    a->bytes = area_bytes(r);
    if (a->bytes != 0 && kva_wired_alloc(a->bytes, trace_area_align(t, r->type),
                                         VM_NOSLEEP, &a->va) != 0) {
        a->bytes = 0;
        return false;
    }
    return true;
}

static bool
replay_areas(const struct trace *t, struct area *area, struct shootdowns *s)
{
    uint32_t ms = 0;

    for (size_t i = 0; i < t->nrecord; i++) {
        const struct record *r = &t->record[i];

        if (r->op == OP_TICK) {
            kva_posix_clock_advance((uint64_t)(r->a - ms) * NS_PER_MS);
            ms = r->a;
            (void)kva_unmap_tick();
        } else if (r->op == OP_VMAP_ALLOC &&
                   !area_alloc(t, r, &area[r->slot])) {
            return false;
        } else if (r->op == OP_VMAP_FREE) {
            area_free(s, &area[r->slot]);
        }
    }
    return true;
}

/* What is live at the end was not freed by the load, and does not count. */
static void
rest_free(const struct trace *t, struct area *area)
{
    struct shootdowns rest = { .frees = 0 };

    for (uint32_t i = 0; i < t->nslot; i++) {
        area_free(&rest, &area[i]);
    }
}

static bool
row_run(const struct trace *t, size_t va_bytes, struct area *area,
        struct shootdowns *s)
{
    struct kva_boot boot = { .va_bytes = va_bytes,
                             .ncpu = t->ncpu,
                             .lazy_bytes = (size_t)s->bound_bytes,
                             .lazy_ms = (unsigned)s->bound_ms };
    struct kva_stat st;
    bool ok;

    boot.va_base = kva_posix_va_base();
    if (kva_boot(&boot) != 0) {
        return false;
    }
    ok = kva_start() == 0 && replay_areas(t, area, s);
    kva_stat(&st);
    s->flushes = st.lazy_flushes;
    rest_free(t, area);
    kva_shutdown();
    return ok;
}

bool
shootdowns_run(const struct trace *t, size_t va_bytes,
               struct shootdowns row[SHOOTDOWN_ROWS], const char **reason)
{
    struct area *area = calloc((size_t)t->nslot + 1, sizeof(*area));
    bool ok = area != NULL;

    kva_posix_clock_virtual(true);
    kva_posix_memory_off(true);
    for (unsigned i = 0; ok && i < SHOOTDOWN_ROWS; i++) {
        row[i] = (struct shootdowns){ .bound_bytes = bounds[i].bytes,
                                      .bound_ms = bounds[i].ms };
        ok = row_run(t, va_bytes, area, &row[i]);
    }
    kva_posix_memory_off(false);
    kva_posix_clock_virtual(false);
    free(area);
    *reason = "no memory for the areas as wired ranges";
    return ok;
}

double
shootdowns_rate(const struct shootdowns *s)
{
    return s->frees == 0 ? 0 : 1000 * (double)s->flushes / (double)s->frees;
}
