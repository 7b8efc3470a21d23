/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the workloads of kva-bench share.  A workload does a fixed part and then
 * PAIRS pairs, in a process of its own, so that the difference of two runs is
 * what the pairs cost; or it looks at what is left in memory, and prints that
 * in lines "figure NAME VALUE".
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdint.h>
#include <stddef.h>

struct workload {
    const char *name;
    void (*run)(size_t n, size_t pairs);
    const char *what; /* for --help: what a pair is, and what N is */
};

/* Tables, NULL at the end of each. */
extern const struct workload bench_vmem[];
extern const struct workload bench_footprint[];
extern const struct workload bench_objects[];
extern const struct workload bench_slots[];

_Noreturn void bench_fail(const char *what);
void *bench_table(size_t n, size_t size);
void bench_figure(const char *name, double value);

/* Random numbers; all workloads draw from the same sequence. */
struct bench_random {
    uint64_t state;
};
#define BENCH_SEED 88172645463325252u
extern struct bench_random bench_random;

/* xorshift64 with shifts 13, 7, 17 (Marsaglia 2003), as the peers were run. */
static inline uint64_t
bench_next_of(struct bench_random *r)
{
    r->state ^= r->state << 13;
    r->state ^= r->state >> 7;
    r->state ^= r->state << 17;
    return r->state;
}

static inline uint64_t
bench_next(void)
{
    return bench_next_of(&bench_random);
}

/* A slot among n from a random number, without a division. */
static inline size_t
bench_slot(uint64_t r, size_t n)
{
    uint64_t high = (r >> 32) * (uint64_t)n;
    uint64_t low = (r & 0xffffffffu) * (uint64_t)n;

    return (size_t)((high + (low >> 32)) >> 32);
}

/* ---- ranges (bench_vmem.c) -------------------------------------------- */

#include "vmem/vmem.h"

#define BENCH_QUANTUM ((size_t)4096)
#define BENCH_BASE ((uintptr_t)1 << 40)

struct bench_range {
    uintptr_t addr;
    size_t size;
};

/* Bytes of the span of a range workload: the next power of two of that many
 * quanta. */
static inline size_t
bench_span(size_t quanta)
{
    size_t span = 1;

    while (span < quanta) {
        span *= 2;
    }
    return span * BENCH_QUANTUM;
}

/* 1 to 16 quanta from a random number. */
static inline size_t
bench_range_size(uint64_t r)
{
    return BENCH_QUANTUM * (1 + ((r >> 33) & 15));
}

/* A range workload: n slots filled, then each pair frees one at random and
 * allocates anew. */
void bench_range_fill(vmem_t *vm, struct bench_range *live, size_t n);
void
bench_range_churn(vmem_t *vm, struct bench_range *live, size_t n, size_t pairs);

#endif
