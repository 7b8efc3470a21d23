/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kva-bench: the workloads by which allocators of address ranges and objects
 * were measured before (docs/measuring.md has their definitions), run so that
 * counts can be taken by differences: one process does a fixed part and then
 * PAIRS pairs, and the difference of two runs is what the pairs cost.
 *
 *     kva-bench range 10000 200000     200,000 pairs over 10,000 live ranges
 *
 * count.py runs it under callgrind and cachegrind and prints the table.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kmem/kmem.h"
#include "malloc_compat/kmalloc.h"
#include "posix.h"

static uint64_t random_state = 88172645463325252u;

/* xorshift64 with shifts 13, 7, 17 (Marsaglia 2003), as the peers were run. */
static uint64_t
next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* A slot among n from a random number, without a division. */
static size_t
slot_of(uint64_t r, size_t n)
{
    uint64_t high = (r >> 32) * (uint64_t)n;
    uint64_t low = (r & 0xffffffffu) * (uint64_t)n;

    return (size_t)((high + (low >> 32)) >> 32);
}

static void
fail(const char *what)
{
    fprintf(stderr, "kva-bench: %s\n", what);
    exit(1);
}

static void *
table(size_t n, size_t size)
{
    void *p = calloc(n, size);

    if (p == NULL) {
        fail("out of memory");
    }
    return p;
}

/* ---- ranges ----------------------------------------------------------- */

struct range {
    uintptr_t addr;
    size_t size;
};

#define BASE ((uintptr_t)1 << 40)

static void
range_get(vmem_t *vm, struct range *r)
{
    r->size = 4096 * (1 + ((next() >> 33) & 15));
    if (vmem_alloc(vm, r->size, VM_NOSLEEP | VM_INSTANTFIT, &r->addr) != 0) {
        fail("no room");
    }
}

/* 1 to 16 pages at random over n live. */
static void
run_range_with(size_t n, size_t pairs, vm_flag_t flags)
{
    struct range *live = table(n, sizeof(*live));
    size_t span = 1;
    vmem_t *vm;

    while (span < n * 34) {
        span *= 2;
    }
    vm = vmem_create("range", BASE, span * 4096, 4096, NULL, NULL, NULL, 0,
                     VM_NOSLEEP | flags, KVA_IPL_NONE);
    for (size_t i = 0; i < n; i++) {
        range_get(vm, &live[i]);
    }
    for (size_t i = 0; i < pairs; i++) {
        struct range *r = &live[slot_of(next(), n)];

        vmem_free(vm, r->addr, r->size);
        range_get(vm, r);
    }
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

/* One page, allocated and freed. */
static void
run_quantum(size_t n, size_t pairs)
{
    vmem_t *vm = vmem_create("quantum", BASE, (size_t)1 << 36, 4096, NULL, NULL,
                             NULL, 16 * 4096, VM_NOSLEEP, KVA_IPL_NONE);
    uintptr_t addr;

    (void)n;
    for (size_t i = 0; i < pairs; i++) {
        if (vmem_alloc(vm, 4096, VM_NOSLEEP, &addr) != 0) {
            fail("no room");
        }
        vmem_free(vm, addr, 4096);
    }
}

/* ---- objects ---------------------------------------------------------- */

static void
tower(void)
{
    struct kva_boot boot = {
        .va_base = kva_posix_va_base(),
        .va_bytes = kva_posix_va_bytes(),
    };

    if (kva_boot(&boot) != 0 || kva_start() != 0) {
        fail("the tower does not start");
    }
    kva_kmem_init();
}

/* 64-byte objects from a cache, last in, first out. */
static void
run_cache(size_t n, size_t pairs)
{
    pool_cache_t pc;

    (void)n;
    tower();
    pc = pool_cache_init(64, 0, 0, 0, "bench", NULL, KVA_IPL_NONE, NULL, NULL,
                         NULL);
    for (size_t i = 0; i < pairs; i++) {
        uintptr_t *object = pool_cache_get(pc, PR_NOWAIT);

        *object = i;
        pool_cache_put(pc, object);
    }
}

/* The same over n live, replaced at random. */
static void
run_cache_random(size_t n, size_t pairs)
{
    uintptr_t **live = table(n, sizeof(*live));
    pool_cache_t pc;

    tower();
    pc = pool_cache_init(64, 0, 0, 0, "bench", NULL, KVA_IPL_NONE, NULL, NULL,
                         NULL);
    for (size_t i = 0; i < n; i++) {
        live[i] = pool_cache_get(pc, PR_NOWAIT);
    }
    for (size_t i = 0; i < pairs; i++) {
        uintptr_t **object = &live[slot_of(next(), n)];

        pool_cache_put(pc, *object);
        *object = pool_cache_get(pc, PR_NOWAIT);
        **object = i;
    }
    free(live);
}

static void
run_kmem(size_t n, size_t pairs)
{
    tower();
    for (size_t i = 0; i < pairs; i++) {
        uintptr_t *object = kmem_alloc(n, KM_NOSLEEP);

        *object = i;
        kmem_free(object, n);
    }
}

static void
run_kmalloc(size_t n, size_t pairs)
{
    tower();
    for (size_t i = 0; i < pairs; i++) {
        uintptr_t *object = kmalloc(n);

        *object = i;
        kfree(object);
    }
}

/* ---- the program ------------------------------------------------------ */

static const struct workload {
    const char *name;
    void (*run)(size_t n, size_t pairs);
    const char *n_is;
} workloads[] = {
    { "range", run_range, "live ranges" },
    { "range-index", run_range_index, "live ranges" },
    { "quantum", run_quantum, "not used" },
    { "cache", run_cache, "not used" },
    { "cache-random", run_cache_random, "live objects" },
    { "kmem", run_kmem, "bytes" },
    { "kmalloc", run_kmalloc, "bytes" },
};

static const char *word[3];

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case ARGP_KEY_ARG:
        if (state->arg_num >= 3) {
            argp_usage(state);
        }
        word[state->arg_num] = arg;
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num != 3) {
            argp_usage(state);
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static size_t
number(const char *s)
{
    char *end;
    unsigned long n = strtoul(s, &end, 10);

    if (*s < '0' || *s > '9' || *end != '\0') {
        fprintf(stderr, "kva-bench: %s is not a number\n", s);
        exit(1);
    }
    return n;
}

int
main(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "WORKLOAD N PAIRS",
        .doc = "Run PAIRS pairs of allocation and free.\v"
               "Workloads, and what N is: range, range-index (live ranges), "
               "quantum, cache "
               "(not used), cache-random (live objects), kmem, kmalloc "
               "(bytes).",
    };
    struct timespec start, end;

    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    if (kva_posix_init(NULL) != 0) {
        fail(kva_posix_last_error());
    }
    for (size_t i = 0; i < KVA_COUNT(workloads); i++) {
        if (strcmp(workloads[i].name, word[0]) == 0) {
            size_t pairs = number(word[2]);

            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
            workloads[i].run(number(word[1]), pairs);
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
            printf("%s %s %s: %.3f s\n", word[0], word[1], word[2],
                   (double)(end.tv_sec - start.tv_sec) +
                       (double)(end.tv_nsec - start.tv_nsec) / 1e9);
            return 0;
        }
    }
    fprintf(stderr, "kva-bench: there is no workload %s; see --help\n",
            word[0]);
    return 1;
}
