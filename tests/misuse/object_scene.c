/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/misuse/object_scene.h"

/* Instances in one scene, and legal operations between two at most. */
#define PER_SCENE 64u
#define STEPS_BETWEEN 6u
/* So many objects live in a scene, about. */
#define LEVEL 300u
/* Tries until a place for an instance turns up; and scenes in a row that may
 * have none: with the shapes drawn there may be no such place. */
#define TRIES_MAX 2000u
#define BARREN_MAX 50u
#define PICKS_MAX 100u

static uint32_t
draw(void *arg, uint32_t n)
{
    return (uint32_t)test_rand_below(arg, n);
}

void
object_expect(const char *bad)
{
    if (bad != NULL) {
        FAIL("%s", bad);
    }
}

void
object_steps(struct stock *s, unsigned n)
{
    for (; n > 0; n--) {
        object_expect(stock_step(s));
    }
}

struct stock *
object_open(struct test_ctx *t)
{
    struct stock *s;

    tower_start(0);
    s = stock_new(draw, t);
    s->level = LEVEL;
    object_steps(s, 3 * LEVEL);
    return s;
}

void
object_close(struct stock *s)
{
    object_expect(stock_end(s));
    tower_end();
    kva_posix_fini();
}

const struct stock_live *
object_pick(struct test_ctx *t, const struct stock *s, unsigned sources)
{
    for (unsigned i = 0; i < PICKS_MAX && s->n > 0; i++) {
        const struct stock_live *l = s->live[object_below(t, s->n)];

        if ((sources >> l->source & 1u) != 0) {
            return l;
        }
    }
    return NULL;
}

void
object_own_way(struct test_ctx *t, const struct stock_live *l, struct blame *b)
{
    bool second = object_below(t, 2) != 0;

    *b = (struct blame){ .which = l->which, .addr = l->addr, .size = l->size };
    switch (l->source) {
    case STOCK_POOL:
        b->way = BY_POOL_PUT;
        break;
    case STOCK_CACHE:
        b->way = second ? BY_DESTRUCT : BY_CACHE_PUT;
        break;
    case STOCK_KMEM:
        b->way = BY_KMEM_FREE;
        break;
    case STOCK_INTR:
        b->way = BY_INTR_FREE;
        break;
    default:
        b->way = second ? BY_REALLOC : BY_MALLOC_FREE;
    }
}

void
object_any_way(struct test_ctx *t, const struct stock *s, struct blame *b)
{
    b->size = 1 + object_below(t, object_below(t, 2) == 0 ? 4000 : 100000);
    b->way = (enum blame_way)object_below(t, BLAME_WAYS);
    switch (b->way) {
    case BY_POOL_PUT:
        b->which = (unsigned)object_below(t, STOCK_POOLS);
        break;
    case BY_CACHE_PUT:
    case BY_DESTRUCT:
        b->which = STOCK_POOLS + (unsigned)object_below(t, STOCK_CACHES);
        break;
    default:
        b->which = (unsigned)object_below(t, STOCK_TYPES);
    }
    CHECK(b->way > BY_DESTRUCT || s->member[b->which].pp != NULL);
}

void
object_put(struct stock *s, const struct stock_live *l)
{
    for (unsigned i = 0; i < s->n; i++) {
        if (s->live[i] == l) {
            object_expect(stock_put(s, i));
            return;
        }
    }
    FAIL("an object to be put is not live");
}

static bool
instance(struct test_ctx *t, struct stock *s, object_one_t *one,
         const char *part)
{
    char text[KVA_MESSAGE_MAX];
    bool done = false;

    object_steps(s, (unsigned)object_below(t, STEPS_BETWEEN));
    for (unsigned n = 0; !done; n++) {
        struct blame b = { .addr = 0 };

        if (n == TRIES_MAX) {
            return false;
        }
        if (!one(t, s, &b)) {
            object_steps(s, 1);
            continue;
        }
        if (blame_message(s, &b, text) && part != NULL) {
            CHECK_HAS(text, part);
        }
        object_expect(blame_try(s, &b, &done));
    }
    return true;
}

void
object_instances(struct test_ctx *t, object_one_t *one, const char *part)
{
    unsigned long done = 0;
    unsigned barren = 0;

    while (done < t->count) {
        struct stock *s = object_open(t);
        unsigned i = 0;

        while (i < PER_SCENE && done + i < t->count &&
               instance(t, s, one, part)) {
            i++;
        }
        done += i;
        barren = i == 0 ? barren + 1 : 0;
        if (barren == BARREN_MAX) {
            FAIL("no place for an instance");
        }
        object_expect(stock_check(s));
        object_close(s);
    }
}
