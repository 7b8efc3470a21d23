/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What arenas leave in memory: windows of 2 MiB that hold live ranges while a
 * load of ranges grows and shrinks, and bytes of metadata.  Definitions:
 * docs/measuring.md.  The arenas are made as by default; nothing is tuned.
 */
#include <stdlib.h>

#include "bench/bench.h"
#include "vmem/meta.h"

#define WINDOW ((size_t)2 << 20)

/* A load of ranges, in an arena with one span or one that imports windows. */
struct load {
    vmem_t *vm;
    vmem_t *source; /* or NULL */
    struct bench_range *live;
    size_t n;
    unsigned char *window; /* a mark for each */
    size_t windows;
};

static vmem_t *
arena(const char *name, size_t span, size_t quantum, vm_flag_t flags)
{
    vmem_t *vm =
        vmem_create(name, span == 0 ? 0 : BENCH_BASE, span, quantum, NULL, NULL,
                    NULL, 0, VM_NOSLEEP | flags, KVA_IPL_NONE);

    if (vm == NULL) {
        bench_fail("no arena");
    }
    return vm;
}

static void
load_begin(struct load *l, size_t n, bool import, vm_flag_t flags)
{
    size_t span = bench_span(n * 34);

    *l = (struct load){ .n = n, .windows = span / WINDOW };
    l->live = bench_table(n, sizeof(*l->live));
    l->window = bench_table(l->windows, 1);
    if (!import) {
        l->vm = arena("bench", span, BENCH_QUANTUM, flags);
        return;
    }
    l->source = arena("source", span, BENCH_QUANTUM, 0);
    l->vm = arena("bench", 0, BENCH_QUANTUM, flags);
    vmem_set_import(l->vm, vmem_alloc, vmem_free, l->source, WINDOW);
}

/* Windows with live ranges, or spans held. */
static size_t
held(struct load *l)
{
    size_t sum = 0;

    if (l->source != NULL) {
        return vmem_size(l->source, VMEM_ALLOC) / WINDOW;
    }
    for (size_t i = 0; i < l->windows; i++) {
        l->window[i] = 0;
    }
    for (size_t i = 0; i < l->n; i++) {
        const struct bench_range *r = &l->live[i];
        size_t first = (r->addr - BENCH_BASE) / WINDOW;
        size_t last = (r->addr + (r->size - 1) - BENCH_BASE) / WINDOW;

        l->window[first] = l->window[last] = 1;
    }
    for (size_t i = 0; i < l->windows; i++) {
        sum += l->window[i];
    }
    return sum;
}

static double
ideal(const struct load *l)
{
    size_t bytes = 0;

    for (size_t i = 0; i < l->n; i++) {
        bytes += l->live[i].size;
    }
    return (double)((bytes + (WINDOW - 1)) / WINDOW);
}

static void
report(struct load *l, const char *name, const char *ratio)
{
    bench_figure(name, (double)held(l));
    bench_figure(ratio, (double)held(l) / ideal(l));
}

static void
shuffle(struct load *l)
{
    for (size_t i = l->n - 1; i > 0; i--) {
        size_t j = (size_t)(bench_next() % (i + 1));
        struct bench_range r = l->live[i];

        l->live[i] = l->live[j];
        l->live[j] = r;
    }
}

static void
load_shrink(struct load *l, size_t n)
{
    while (l->n > n) {
        l->n--;
        vmem_free(l->vm, l->live[l->n].addr, l->live[l->n].size);
    }
}

/* 10 pairs a range with all live, then PAIRS over a tenth of them, then down to
 * a hundredth. */
static void
shrink(size_t n, size_t pairs, bool import, vm_flag_t flags)
{
    double peak = 0;
    struct load l;

    load_begin(&l, n, import, flags);
    bench_range_fill(l.vm, l.live, n);
    for (unsigned i = 0; i < 10; i++) {
        double now = (double)held(&l) / ideal(&l);

        peak = now > peak ? now : peak;
        bench_range_churn(l.vm, l.live, n, n);
    }
    report(&l, "peak", "peak-ratio");
    bench_figure("highest-ratio", peak);
    shuffle(&l);
    load_shrink(&l, n / 10);
    report(&l, "freed-90", "freed-90-ratio");
    bench_range_churn(l.vm, l.live, l.n, pairs);
    report(&l, "shrunk", "shrunk-ratio");
    load_shrink(&l, n / 100);
    report(&l, "freed-99", "freed-99-ratio");
    if (vmem_check(l.vm) != NULL) {
        bench_fail(vmem_check(l.vm));
    }
    free(l.live);
    free(l.window);
}

static void
run_shrink(size_t n, size_t pairs)
{
    shrink(n, pairs, false, 0);
}

static void
run_shrink_index(size_t n, size_t pairs)
{
    shrink(n, pairs, false, VM_INDEX);
}

static void
run_shrink_import(size_t n, size_t pairs)
{
    shrink(n, pairs, true, 0);
}

static void
run_shrink_import_index(size_t n, size_t pairs)
{
    shrink(n, pairs, true, VM_INDEX);
}

/* ---- metadata --------------------------------------------------------- */

static void
metadata(size_t n, size_t pairs, vm_flag_t flags)
{
    struct bench_range *live = bench_table(n, sizeof(*live));
    vmem_t *vm = arena("bench", bench_span(n * 34), BENCH_QUANTUM, flags);

    bench_range_fill(vm, live, n);
    bench_figure("fill", (double)kva__meta_bytes(KVA_META_KINDS) / (double)n);
    bench_range_churn(vm, live, n, pairs);
    bench_figure("churn", (double)kva__meta_bytes(KVA_META_KINDS) / (double)n);
    free(live);
}

static void
run_metadata(size_t n, size_t pairs)
{
    metadata(n, pairs, 0);
}

static void
run_metadata_index(size_t n, size_t pairs)
{
    metadata(n, pairs, VM_INDEX);
}

const struct workload bench_footprint[] = {
    { "shrink", run_shrink, "windows held from N live to N / 100" },
    { "shrink-index", run_shrink_index, "the same with an index" },
    { "shrink-import", run_shrink_import, "windows imported instead" },
    { "shrink-import-index", run_shrink_import_index, "with an index" },
    { "metadata", run_metadata, "bytes a live range, of N" },
    { "metadata-index", run_metadata_index, "the same with an index" },
    { NULL, NULL, NULL },
};
