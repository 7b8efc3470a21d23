/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kva-bench: the workloads by which allocators of address ranges and objects
 * were measured before (docs/measuring.md has their definitions).
 *
 *     kva-bench range 10000 200000     200,000 pairs over 10,000 live ranges
 *
 * vmem.py and pool.py run it and print tables.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/bench.h"
#include "posix.h"

struct bench_random bench_random = { BENCH_SEED };

static const struct workload *const tables[] = { bench_vmem, bench_footprint,
                                                 bench_objects, bench_slots };

void
bench_fail(const char *what)
{
    fprintf(stderr, "kva-bench: %s\n", what);
    exit(1);
}

void *
bench_table(size_t n, size_t size)
{
    void *p = calloc(n, size);

    if (p == NULL) {
        bench_fail("out of memory");
    }
    return p;
}

void
bench_figure(const char *name, double value)
{
    printf("figure %s %.4f\n", name, value);
}

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

/* The list of workloads, behind the options. */
static char *
help_filter(int key, const char *text, void *input)
{
    size_t size = 0;
    char *list = NULL;
    FILE *f;

    (void)input;
    if (key != ARGP_KEY_HELP_POST_DOC ||
        (f = open_memstream(&list, &size)) == NULL) {
        return (char *)(uintptr_t)text;
    }
    fputs("Workloads:\n", f);
    for (size_t i = 0; i < KVA_COUNT(tables); i++) {
        for (const struct workload *w = tables[i]; w->name != NULL; w++) {
            fprintf(f, "  %-20s %s\n", w->name, w->what);
        }
    }
    (void)fclose(f);
    return list;
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

static const struct workload *
workload_named(const char *name)
{
    for (size_t i = 0; i < KVA_COUNT(tables); i++) {
        for (const struct workload *w = tables[i]; w->name != NULL; w++) {
            if (strcmp(w->name, name) == 0) {
                return w;
            }
        }
    }
    fprintf(stderr, "kva-bench: there is no workload %s; see --help\n", name);
    exit(1);
}

int
main(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "WORKLOAD N PAIRS",
        .doc = "Run PAIRS pairs of allocation and free.\v ",
        .help_filter = help_filter,
    };
    const struct workload *w;
    struct timespec start, end;
    size_t n, pairs;

    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    w = workload_named(word[0]);
    n = number(word[1]);
    pairs = number(word[2]);
    if (kva_posix_init(NULL) != 0) {
        bench_fail(kva_posix_last_error());
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    w->run(n, pairs);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    printf("%s %s %s: %.3f s\n", word[0], word[1], word[2],
           (double)(end.tv_sec - start.tv_sec) +
               (double)(end.tv_nsec - start.tv_nsec) / 1e9);
    return 0;
}
