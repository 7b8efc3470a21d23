/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loops of one thread.  Definitions: docs/measuring.md.
 */
#include "bench/contest.h"

static void
lifo(struct player *player, size_t pairs)
{
    const struct contestant *who = player->who;

    for (size_t i = 0; i < pairs; i++) {
        who->put(contest_get(who, player->size));
    }
}

/* So many are allocated and freed in reverse order. */
#define BATCH 100u

static void
batch(struct player *player, size_t pairs)
{
    const struct contestant *who = player->who;
    void *object[BATCH];

    for (size_t i = 0; i < pairs; i += BATCH) {
        for (size_t k = 0; k < BATCH; k++) {
            object[k] = contest_get(who, player->size);
        }
        for (size_t k = BATCH; k > 0; k--) {
            who->put(object[k - 1]);
        }
    }
}

static void
random_replacement(struct player *player, size_t pairs)
{
    const struct contestant *who = player->who;
    struct bench_random random = player->random;

    for (size_t i = 0; i < pairs; i++) {
        void **live =
            &player->live[bench_slot(bench_next_of(&random), player->n)];

        who->put(*live);
        *live = contest_get(who, player->size);
    }
    player->random = random;
}

const struct contest contests[] = {
    { "lifo", lifo, "allocate one, free it; N is 0" },
    { "batch", batch, "allocate 100, free them in reverse; N is 0" },
    { "random", random_replacement, "replace a random one of N live" },
    { "exchange", NULL,
      "two threads, each frees what the other allocated; PAIRS batches" },
    { "one-way", NULL,
      "one thread allocates, another one frees; PAIRS batches" },
    { NULL, NULL, NULL },
};
