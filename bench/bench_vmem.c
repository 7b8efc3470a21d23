/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workloads of arenas whose pairs are counted.  Definitions: docs/measuring.md.
 */
#include <pthread.h>
#include <stdlib.h>

#include "bench/bench.h"

static vmem_t *
arena(size_t span, size_t qcache_max, vm_flag_t flags)
{
    vmem_t *vm =
        vmem_create("bench", BENCH_BASE, span, BENCH_QUANTUM, NULL, NULL, NULL,
                    qcache_max, VM_NOSLEEP | flags, KVA_IPL_NONE);

    if (vm == NULL) {
        bench_fail("no arena");
    }
    return vm;
}

static uintptr_t
get(vmem_t *vm, size_t size)
{
    uintptr_t addr;

    if (vmem_alloc(vm, size, VM_NOSLEEP | VM_INSTANTFIT, &addr) != 0) {
        bench_fail("no room");
    }
    return addr;
}

/* ---- 1 to 16 quanta --------------------------------------------------- */

static void
range_get(vmem_t *vm, struct bench_range *r)
{
    r->size = bench_range_size(bench_next());
    r->addr = get(vm, r->size);
}

void
bench_range_fill(vmem_t *vm, struct bench_range *live, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        range_get(vm, &live[i]);
    }
}

void
bench_range_churn(vmem_t *vm, struct bench_range *live, size_t n, size_t pairs)
{
    for (size_t i = 0; i < pairs; i++) {
        struct bench_range *r = &live[bench_slot(bench_next(), n)];

        vmem_free(vm, r->addr, r->size);
        range_get(vm, r);
    }
}

static void
run_range_with(size_t n, size_t pairs, vm_flag_t flags)
{
    struct bench_range *live = bench_table(n, sizeof(*live));
    vmem_t *vm = arena(bench_span(n * 34), 0, flags);

    bench_range_fill(vm, live, n);
    bench_range_churn(vm, live, n, pairs);
    free(live);
}

static void
run_range(size_t n, size_t pairs)
{
    run_range_with(n, pairs, 0);
}

static void
run_range_index(size_t n, size_t pairs)
{
    run_range_with(n, pairs, VM_INDEX);
}

/* ---- sizes over three orders of magnitude ----------------------------- */

static void
log_get(vmem_t *vm, struct bench_range *r)
{
    uint64_t random = bench_next();
    unsigned k = (unsigned)((random >> 40) % 10);

    r->size = BENCH_QUANTUM *
              (size_t)((1u << k) + ((random >> 20) & ((1u << k) - 1)));
    r->addr = get(vm, r->size);
}

static void
run_log_with(size_t n, size_t pairs, vm_flag_t flags)
{
    struct bench_range *live = bench_table(n, sizeof(*live));
    vmem_t *vm = arena(bench_span(n * 400), 0, flags);

    for (size_t i = 0; i < n; i++) {
        log_get(vm, &live[i]);
    }
    for (size_t i = 0; i < pairs; i++) {
        struct bench_range *r = &live[bench_slot(bench_next(), n)];

        vmem_free(vm, r->addr, r->size);
        log_get(vm, r);
    }
    free(live);
}

static void
run_log(size_t n, size_t pairs)
{
    run_log_with(n, pairs, 0);
}

static void
run_log_index(size_t n, size_t pairs)
{
    run_log_with(n, pairs, VM_INDEX);
}

/* ---- constraints ------------------------------------------------------ */

struct constraint {
    size_t align, nocross;
    bool bounded; /* to the middle half of the span */
};

#define ALIGN_64K ((size_t)65536)
#define NOCROSS_1M ((size_t)1 << 20)

static const struct constraint none = { 0, 0, false };
static const struct constraint aligned = { ALIGN_64K, 0, false };
static const struct constraint nocross = { 0, NOCROSS_1M, false };
static const struct constraint bounded = { 0, 0, true };
static const struct constraint all_three = { ALIGN_64K, NOCROSS_1M, true };

static void
constrained_get(vmem_t *vm, struct bench_range *r, const struct constraint *c,
                uintptr_t min, uintptr_t max)
{
    uintptr_t last;

    r->size = bench_range_size(bench_next());
    if (vmem_xalloc(vm, r->size, c->align, 0, c->nocross, min, max, VM_NOSLEEP,
                    &r->addr) != 0) {
        bench_fail("no room");
    }
    last = r->addr + (r->size - 1);
    if (r->addr < min || last > max ||
        (c->align != 0 && r->addr % c->align != 0) ||
        (c->nocross != 0 && r->addr / c->nocross != last / c->nocross)) {
        bench_fail("a constraint is violated");
    }
}

static void
run_constrained(size_t n, size_t pairs, const struct constraint *c,
                vm_flag_t flags)
{
    struct bench_range *live = bench_table(n, sizeof(*live));
    size_t span = bench_span(n * 68);
    uintptr_t min = c->bounded ? BENCH_BASE + span / 4 : VMEM_ADDR_MIN;
    uintptr_t max = c->bounded ? BENCH_BASE + span / 4 * 3 - 1 : VMEM_ADDR_MAX;
    vmem_t *vm = arena(span, 0, flags);

    for (size_t i = 0; i < n; i++) {
        constrained_get(vm, &live[i], c, min, max);
    }
    for (size_t i = 0; i < pairs; i++) {
        struct bench_range *r = &live[bench_slot(bench_next(), n)];

        vmem_xfree(vm, r->addr, r->size);
        constrained_get(vm, r, c, min, max);
    }
    free(live);
}

#define CONSTRAINED(name, constraint, flags)               \
    static void run_##name(size_t n, size_t pairs)         \
    {                                                      \
        run_constrained(n, pairs, &(constraint), (flags)); \
    }

CONSTRAINED(xalloc, none, 0)
CONSTRAINED(xalloc_index, none, VM_INDEX)
CONSTRAINED(align, aligned, 0)
CONSTRAINED(align_index, aligned, VM_INDEX)
CONSTRAINED(nocross, nocross, 0)
CONSTRAINED(nocross_index, nocross, VM_INDEX)
CONSTRAINED(bounds, bounded, 0)
CONSTRAINED(bounds_index, bounded, VM_INDEX)
CONSTRAINED(all, all_three, 0)
CONSTRAINED(all_index, all_three, VM_INDEX)

/* ---- one quantum ------------------------------------------------------ */

#define ONE_SPAN ((size_t)1 << 36)
#define QCACHE_MAX (16 * BENCH_QUANTUM)

static void
lifo(size_t qcache_max, size_t pairs)
{
    vmem_t *vm = arena(ONE_SPAN, qcache_max, 0);

    for (size_t i = 0; i < pairs; i++) {
        vmem_free(vm, get(vm, BENCH_QUANTUM), BENCH_QUANTUM);
    }
}

static void
run_quantum(size_t n, size_t pairs)
{
    (void)n;
    lifo(QCACHE_MAX, pairs);
}

static void
run_one(size_t n, size_t pairs)
{
    (void)n;
    lifo(0, pairs);
}

/* One thread's part of a random workload over n live quanta of its own. */
struct one_random {
    vmem_t *vm;
    size_t n, pairs;
    struct bench_random random;
    pthread_t thread;
};

static void *
one_random(void *arg)
{
    struct one_random *w = arg;
    uintptr_t *live = bench_table(w->n, sizeof(*live));

    for (size_t i = 0; i < w->n; i++) {
        live[i] = get(w->vm, BENCH_QUANTUM);
    }
    for (size_t i = 0; i < w->pairs; i++) {
        uintptr_t *at = &live[bench_slot(bench_next_of(&w->random), w->n)];

        vmem_free(w->vm, *at, BENCH_QUANTUM);
        *at = get(w->vm, BENCH_QUANTUM);
    }
    free(live);
    return NULL;
}

static void
run_one_random(size_t n, size_t pairs)
{
    struct one_random w = { arena(ONE_SPAN, 0, 0), n, pairs, bench_random, 0 };

    (void)one_random(&w);
}

static void
run_quantum_random(size_t n, size_t pairs)
{
    struct one_random w = { arena(ONE_SPAN, QCACHE_MAX, 0), n, pairs,
                            bench_random, 0 };

    (void)one_random(&w);
}

/* So many threads, 1000 live quanta and PAIRS pairs each, one arena. */
static void
run_threads(size_t n, size_t pairs)
{
    struct one_random *w = bench_table(n, sizeof(*w));
    vmem_t *vm = arena(ONE_SPAN, QCACHE_MAX, 0);

    for (size_t i = 0; i < n; i++) {
        w[i] = (struct one_random){ vm, 1000, pairs, { BENCH_SEED + i }, 0 };
        if (pthread_create(&w[i].thread, NULL, one_random, &w[i]) != 0) {
            bench_fail("no thread");
        }
    }
    for (size_t i = 0; i < n; i++) {
        (void)pthread_join(w[i].thread, NULL);
    }
    free(w);
}

const struct workload bench_vmem[] = {
    { "range", run_range, "1 to 16 quanta over N live" },
    { "range-index", run_range_index, "the same with an index" },
    { "log", run_log, "1 to 1023 quanta, log-uniform, over N live" },
    { "log-index", run_log_index, "the same with an index" },
    { "xalloc", run_xalloc, "vmem_xalloc without constraints over N live" },
    { "xalloc-index", run_xalloc_index, "the same with an index" },
    { "align", run_align, "aligned to 64 KiB" },
    { "align-index", run_align_index, "the same with an index" },
    { "nocross", run_nocross, "not crossing 1 MiB" },
    { "nocross-index", run_nocross_index, "the same with an index" },
    { "bounds", run_bounds, "in the middle half of the span" },
    { "bounds-index", run_bounds_index, "the same with an index" },
    { "all", run_all, "all three" },
    { "all-index", run_all_index, "the same with an index" },
    { "quantum", run_quantum, "one quantum through the quantum cache" },
    { "quantum-random", run_quantum_random, "the same over N live" },
    { "one", run_one, "one quantum without quantum caches" },
    { "one-random", run_one_random, "the same over N live" },
    { "threads", run_threads,
      "one quantum over 1000 live in each of N threads" },
    { NULL, NULL, NULL },
};
