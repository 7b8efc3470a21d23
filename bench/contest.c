/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kva-contest: one loop for our allocators and for others, behind the same
 * function pointers.
 *
 *     kva-contest pool_cache random 100000 1000000
 *     LD_PRELOAD=libjemalloc.so.2 kva-contest malloc random 100000 1000000
 *
 * pool.py runs it, all contestants in turns, and prints tables.
 */
#include <argp.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/contest.h"

#define PLAYERS_MAX 64u

void
bench_fail(const char *what)
{
    fprintf(stderr, "kva-contest: %s\n", what);
    exit(1);
}

void
bench_figure(const char *name, double value)
{
    printf("figure %s %.4f\n", name, value);
}

static double
clock_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

double
contest_cpu(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

double
contest_wall(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* ---- who takes part beside us ----------------------------------------- */

/*
 * A stack of pointers for each thread, one comparison and nothing else: what
 * the machine and the loop cost.  It is no allocator, for nothing comes back.
 */
#define BARE_OBJECTS 16384u
static __thread struct {
    size_t n;
    void *object[BARE_OBJECTS];
} bare;

static __attribute__((noinline)) void *
bare_refill(size_t size)
{
    char *chunk = calloc(64, size);

    for (size_t i = 63; chunk != NULL && i > 0; i--) {
        bare.object[bare.n++] = chunk + i * size;
    }
    return chunk;
}

static void *
bare_get(size_t size)
{
    return bare.n == 0 ? bare_refill(size) : bare.object[--bare.n];
}

static void
bare_put(void *object)
{
    bare.object[bare.n++ & (BARE_OBJECTS - 1u)] = object;
}

/* Whose malloc it is, for who preloads another. */
static void
libc_start(size_t size)
{
    Dl_info info;

    (void)size;
    if (dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) == 0) {
        bench_fail("malloc is nobody's");
    }
    printf("from %s\n", info.dli_fname);
}

static const struct contestant others[] = {
    { "malloc", malloc, free, libc_start, NULL,
      "the C library's, or the one preloaded" },
    { "bare", bare_get, bare_put, NULL, NULL,
      "a stack of pointers for each thread: a floor" },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const struct contestant *
contestant_named(const char *name)
{
    for (const struct contestant *c = contest_ours; c->name != NULL; c++) {
        if (strcmp(c->name, name) == 0) {
            return c;
        }
    }
    for (const struct contestant *c = others; c->name != NULL; c++) {
        if (strcmp(c->name, name) == 0) {
            return c;
        }
    }
    fprintf(stderr, "kva-contest: nobody is %s; see --help\n", name);
    exit(1);
}

/* ---- words ------------------------------------------------------------ */

static struct arguments {
    const char *word[2];
    size_t number[2]; /* n, pairs */
    size_t threads, size, warm;
} arguments = { .threads = 1, .size = 64 };

static const struct argp_option options[] = {
    { "threads", 't', "T", 0, "so many at it, each with N live (1)", 0 },
    { "size", 's', "BYTES", 0, "of an object (64)", 0 },
    { "warm", 'w', "PAIRS", 0, "before those that are timed (PAIRS / 2)", 0 },
    { NULL, 0, NULL, 0, NULL, 0 },
};

static size_t
number(const char *s)
{
    char *end;
    unsigned long n = strtoul(s, &end, 10);

    if (*s < '0' || *s > '9' || *end != '\0') {
        fprintf(stderr, "kva-contest: %s is not a number\n", s);
        exit(1);
    }
    return n;
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case 't':
        arguments.threads = number(arg);
        return 0;
    case 's':
        arguments.size = number(arg);
        return 0;
    case 'w':
        arguments.warm = number(arg);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num < 2) {
            arguments.word[state->arg_num] = arg;
        } else if (state->arg_num < 4) {
            arguments.number[state->arg_num - 2] = number(arg);
        } else {
            argp_usage(state);
        }
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num != 4 || arguments.threads < 1 ||
            arguments.threads > PLAYERS_MAX ||
            arguments.size < sizeof(uintptr_t)) {
            argp_usage(state);
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The lists, behind the options. */
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
    fputs("Contestants:\n", f);
    for (const struct contestant *c = contest_ours; c->name != NULL; c++) {
        fprintf(f, "  %-12s %s\n", c->name, c->what);
    }
    for (const struct contestant *c = others; c->name != NULL; c++) {
        fprintf(f, "  %-12s %s\n", c->name, c->what);
    }
    fputs("\nContests:\n", f);
    for (const struct contest *c = contests; c->name != NULL; c++) {
        fprintf(f, "  %-12s %s\n", c->name, c->what);
    }
    (void)fclose(f);
    return list;
}

/* ---- threads ---------------------------------------------------------- */

struct seat {
    struct player *player;
    const struct contest *contest;
    pthread_barrier_t *barrier;
    size_t warm, pairs;
};

static void *
play(void *arg)
{
    struct seat *seat = arg;
    struct player *player = seat->player;
    double cpu, wall;

    for (size_t i = 0; i < player->n; i++) {
        player->live[i] = contest_get(player->who, player->size);
    }
    seat->contest->pairs(player, seat->warm);
    (void)pthread_barrier_wait(seat->barrier);
    wall = contest_wall();
    cpu = contest_cpu();
    seat->contest->pairs(player, seat->pairs);
    player->cpu = contest_cpu() - cpu;
    player->wall = contest_wall() - wall;
    return NULL;
}

void
contest_run(const struct contest *contest, struct player *player,
            unsigned players, size_t warm, size_t pairs)
{
    struct seat seat[PLAYERS_MAX];
    pthread_t thread[PLAYERS_MAX];
    pthread_barrier_t barrier;

    (void)pthread_barrier_init(&barrier, NULL, players);
    for (unsigned i = 0; i < players; i++) {
        seat[i] = (struct seat){ &player[i], contest, &barrier, warm, pairs };
        if (pthread_create(&thread[i], NULL, play, &seat[i]) != 0) {
            bench_fail("no thread");
        }
    }
    for (unsigned i = 0; i < players; i++) {
        (void)pthread_join(thread[i], NULL);
    }
    (void)pthread_barrier_destroy(&barrier);
}

static void
contest_play(const struct contest *contest, const struct contestant *who)
{
    unsigned players = (unsigned)arguments.threads;
    size_t n = arguments.number[0], pairs = arguments.number[1];
    struct player player[PLAYERS_MAX];
    double cpu = 0, wall = 0;

    for (unsigned i = 0; i < players; i++) {
        player[i] = (struct player){
            .who = who,
            .size = arguments.size,
            .random = { BENCH_SEED + i },
            .live = calloc(n + 1, sizeof(void *)),
            .n = n,
            .number = i,
            .of = players,
        };
        if (player[i].live == NULL) {
            bench_fail("out of memory");
        }
    }
    contest_run(contest, player, players,
                arguments.warm != 0 ? arguments.warm : pairs / 2, pairs);
    for (unsigned i = 0; i < players; i++) {
        cpu += player[i].cpu / (double)(pairs * players);
        wall += player[i].wall / (double)(pairs * players);
    }
    bench_figure("cpu_ns", cpu);
    bench_figure("wall_ns", wall);
}

int
main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "CONTESTANT CONTEST N PAIRS",
        .doc = "Time PAIRS pairs of allocation and free.\v ",
        .help_filter = help_filter,
    };
    const struct contest *contest = contests;
    const struct contestant *who;

    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    who = contestant_named(arguments.word[0]);
    while (contest->name != NULL &&
           strcmp(contest->name, arguments.word[1]) != 0) {
        contest++;
    }
    if (contest->name == NULL) {
        bench_fail("there is no such contest; see --help");
    }
    if (who->start != NULL) {
        who->start(arguments.size);
    }
    if (contest->pairs != NULL) {
        contest_play(contest, who);
    } else {
        contest_exchange(who, arguments.size, arguments.number[1],
                         strcmp(contest->name, "one-way") == 0);
    }
    return 0;
}
