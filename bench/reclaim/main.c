/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kva-reclaim: run the reclaim experiments and print a line for each claim.
 *
 *     kva-reclaim                       all of them, at full size
 *     kva-reclaim nanos --percent 10    one, at a tenth
 *
 * Exit status 1 if a claim is missed or an experiment could not run.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/reclaim/experiment.h"
#include "replay/json.h"

enum {
    OPTION_LIST = 256
};

static struct {
    const struct experiment *chosen[16];
    size_t nchosen;
    unsigned percent;
    uint64_t seed;
    const char *json;
    bool list;
} arguments = { .percent = 100, .seed = 1 };

static const struct argp_option options[] = {
    { "percent", 'p', "N", 0,
      "Size: 100 (the default) is what the documents give, 0 the least", 0 },
    { "seed", 's', "N", 0, "Of the random numbers (default 1)", 0 },
    { "json", 'j', "FILE", 0, "Write the same there", 0 },
    { "list", OPTION_LIST, NULL, 0, "List the experiments", 0 },
    { NULL, 0, NULL, 0, NULL, 0 },
};

static const struct experiment *
experiment_named(const char *name)
{
    for (size_t i = 0; experiments[i] != NULL; i++) {
        if (strcmp(experiments[i]->name, name) == 0) {
            return experiments[i];
        }
    }
    return NULL;
}

/* A number of all of arg, or an end with a reason. */
static uint64_t
number(struct argp_state *state, const char *arg, uint64_t least, uint64_t most)
{
    unsigned long long n;
    char *end;

    errno = 0;
    n = strtoull(arg, &end, 0);
    if (errno != 0 || end == arg || *end != '\0' || *arg == '-' || n < least ||
        n > most) {
        argp_error(state, "%s is no number from %" PRIu64 " to %" PRIu64, arg,
                   least, most);
    }
    return n;
}

static void
choose(struct argp_state *state, const char *name)
{
    const struct experiment *e = experiment_named(name);

    if (e == NULL) {
        argp_error(state, "there is no experiment %s; see --list", name);
    }
    if (arguments.nchosen == KVA_COUNT(arguments.chosen)) {
        argp_error(state, "too many experiments");
    }
    arguments.chosen[arguments.nchosen++] = e;
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case 'p':
        arguments.percent = (unsigned)number(state, arg, 0, 1000);
        return 0;
    case 's':
        arguments.seed = number(state, arg, 0, UINT64_MAX);
        return 0;
    case 'j':
        arguments.json = arg;
        return 0;
    case OPTION_LIST:
        arguments.list = true;
        return 0;
    case ARGP_KEY_ARG:
        choose(state, arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- one experiment, in a process of its own --------------------------- */

static _Noreturn void
child(const struct experiment *e, struct claims *c)
{
    bool ran = e->run(c, arguments.percent, arguments.seed);

    if (ran && c->n == 0) {
        ran = experiment_failed(e->name, "no claim was made");
    }
    exit(ran ? 0 : 1);
}

/* What it claimed is in *c, which both processes see; false: it could not run,
 * or did not end well. */
static bool
run(const struct experiment *e, struct claims *c)
{
    int status = 0;
    pid_t pid;

    memset(c, 0, sizeof(*c));
    c->experiment = e->name;
    c->out = stdout;
    (void)fflush(NULL);
    if ((pid = fork()) < 0) {
        return experiment_failed(e->name, strerror(errno));
    }
    if (pid == 0) {
        child(e, c);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0) {
        c->n = c->missed = 0;
        return experiment_failed(e->name, "it did not come to its end");
    }
    return true;
}

/* ---- all of them ------------------------------------------------------- */

static void
json_claim(struct json *j, const struct claim_kept *kept)
{
    static const char *const kind[] = { [CLAIM_AT_LEAST] = "at least",
                                        [CLAIM_AT_MOST] = "at most",
                                        [CLAIM_EQUALS] = "equals",
                                        [CLAIM_SHOWN] = "shown" };

    json_object(j, NULL);
    json_string(j, "claim", kept->what);
    json_string(j, "unit", kept->unit);
    if (kept->claim.has_before) {
        json_decimal(j, "before", kept->claim.before);
    }
    json_decimal(j, "after", kept->claim.after);
    json_string(j, "kind", kind[kept->claim.kind]);
    if (kept->claim.kind != CLAIM_SHOWN) {
        json_decimal(j, "bound", kept->claim.bound);
        json_string(j, "result", kept->held ? "held" : "missed");
    }
    json_end_object(j);
}

static void
json_experiment(struct json *j, const struct experiment *e,
                const struct claims *c, bool ran)
{
    json_object(j, NULL);
    json_string(j, "experiment", e->name);
    json_string(j, "about", e->about);
    json_string(j, "ran", ran ? "yes" : "no");
    json_array(j, "claims");
    for (size_t i = 0; i < c->n; i++) {
        json_claim(j, &c->kept[i]);
    }
    json_end_array(j);
    json_end_object(j);
}

/* Returns how many claims were missed, and experiments could not run. */
static size_t
run_all(struct json *j)
{
    struct claims *c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    size_t bad = 0;

    if (c == MAP_FAILED) {
        (void)experiment_failed("claims", strerror(errno));
        return 1;
    }
    claims_heading(stdout);
    for (size_t n = 0; n < arguments.nchosen; n++) {
        bool ran = run(arguments.chosen[n], c);

        bad += c->missed + (ran ? 0 : 1);
        if (j->f != NULL) {
            json_experiment(j, arguments.chosen[n], c, ran);
        }
    }
    (void)munmap(c, sizeof(*c));
    return bad;
}

static bool
json_close(struct json *j)
{
    bool bad = ferror(j->f) != 0;

    if (fclose(j->f) != 0 || bad) {
        (void)fprintf(stderr, "kva-reclaim: %s: it cannot be written\n",
                      arguments.json);
        return false;
    }
    return true;
}

static void
list(void)
{
    for (size_t i = 0; experiments[i] != NULL; i++) {
        printf("%-12s %s\n", experiments[i]->name, experiments[i]->about);
    }
}

static int
run_chosen(void)
{
    struct json j = { .f = NULL };
    size_t bad;

    if (arguments.json != NULL && (j.f = fopen(arguments.json, "w")) == NULL) {
        (void)fprintf(stderr, "kva-reclaim: %s: %s\n", arguments.json,
                      strerror(errno));
        return 1;
    }
    if (j.f != NULL) {
        json_object(&j, NULL);
        json_number(&j, "percent", arguments.percent);
        json_number(&j, "seed", arguments.seed);
        json_array(&j, "experiments");
    }
    bad = run_all(&j);
    if (j.f != NULL) {
        json_end_array(&j);
        json_end_object(&j);
        bad += json_close(&j) ? 0 : 1;
    }
    printf("%s\n", bad == 0 ? "every claim held" : "not every claim held");
    return bad == 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "[NAME...]",
        .doc = "Run the reclaim experiments, all or those named, and print a "
               "line for each claim: without and with what it is about, and "
               "the bound for the latter.",
    };

    argp_err_exit_status = 1;
    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    if (arguments.list) {
        list();
        return 0;
    }
    for (size_t i = 0; arguments.nchosen == i && experiments[i] != NULL; i++) {
        arguments.chosen[arguments.nchosen++] = experiments[i];
    }
    return run_chosen();
}
