/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the reclaim experiments share.  Each rebuilds the situation that one
 * document reports, and counts what comes of it without and with what the
 * document, or this library, does about it: a figure before, one after, and
 * often a bound for the one after.  A claim is such a line.
 *
 * An experiment has a process of its own, as the host machine is started once
 * in a process.  docs/experiments.md tells what was found.
 */
#ifndef BENCH_RECLAIM_EXPERIMENT_H
#define BENCH_RECLAIM_EXPERIMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "kva/kva.h"
#include "port/posix/posix.h"

enum claim_kind {
    CLAIM_AT_LEAST,
    CLAIM_AT_MOST,
    CLAIM_EQUALS,
    CLAIM_SHOWN /* no bound */
};

struct claim {
    const char *what; /* "2 MiB blocks obtainable, all evicted" */
    const char *unit; /* "of 256", "kB", "" */
    bool has_before;
    double before, after; /* without and with what the experiment is about */
    enum claim_kind kind;
    double bound; /* for `after` */
};

struct claims;

/* Print it, and keep it: copies the strings. */
void claim(struct claims *c, const struct claim *cl);

struct experiment {
    const char *name, *about; /* "nanos", one line */
    /*
     * percent: 100 is the size that the documents give, 0 the least that says
     * something; what it scales is said at the head of the experiment's file.
     * Tests run less; every claim holds at any percent and for any seed.
     * false: it could not run, and said why on stderr.
     */
    bool (*run)(struct claims *c, unsigned percent, uint64_t seed);
};

/* All of them, NULL at the end. */
extern const struct experiment *const experiments[];

extern const struct experiment experiment_nanos, experiment_rump;
extern const struct experiment experiment_contention, experiment_shrinkers;
extern const struct experiment experiment_pfmemalloc, experiment_draining;
extern const struct experiment experiment_three; /* with the replay only */

/* ---- what runs them ---------------------------------------------------- */

#define CLAIMS_MAX 64
#define CLAIM_TEXT_MAX 80

struct claim_kept {
    char what[CLAIM_TEXT_MAX];
    char unit[24];
    struct claim claim; /* its strings are those above, once it is kept */
    bool held;
};

/* All 0 but for these two, to begin with. */
struct claims {
    const char *experiment;
    FILE *out; /* a line for each claim, or NULL */
    size_t n, missed;
    struct claim_kept kept[CLAIMS_MAX];
};

void claims_heading(FILE *out);
bool claim_holds(const struct claim *cl);
/* ">= 251": the bound in words, "" if there is none. */
void claim_bound(const struct claim *cl, char *text, size_t size);
/* One line: experiment, claim, before, after, bound, held or MISSED. */
void claim_print(FILE *out, const char *name, const struct claim_kept *kept);

/* ---- for the experiments ----------------------------------------------- */

/*
 * The host machine, and kva_boot, kva_start and kmem on it; the address fields
 * of kb are filled in.  false: said why on stderr.
 */
bool
experiment_start(const struct kva_posix_config *config, struct kva_boot *kb);
/* All was freed. */
void experiment_end(void);

/* "kva-reclaim: NAME: what" on stderr; false, to be returned. */
bool experiment_failed(const char *name, const char *what);

/* splitmix64 (Steele, Lea, Flood 2014). */
static inline uint64_t
experiment_random(uint64_t *state)
{
    uint64_t z;

    *state += 0x9e3779b97f4a7c15u;
    z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Below n, which is not 0; as good as even for n far below 2^64. */
static inline size_t
experiment_below(uint64_t *state, size_t n)
{
    return (size_t)(experiment_random(state) % n);
}

#endif
