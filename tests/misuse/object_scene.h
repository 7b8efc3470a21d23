/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scenes for misuse of objects: the naive model of tests/model/stock.h with
 * some hundred objects live in pools, caches, kmem and malloc, slabs of all
 * geometries.  What a bad free must say is found by tests/model/blame.h.
 */
#ifndef TESTS_OBJECT_SCENE_H
#define TESTS_OBJECT_SCENE_H

#include "tests/model/blame.h"
#include "tests/unit/tower.h"

/* One instance of a misuse.  False: there is no place for it right now. */
typedef bool object_one_t(struct test_ctx *t, struct stock *s, struct blame *b);

/*
 * t->count instances, with legal operations between them: each is reported in
 * the words of blame.h, which have part in them (NULL: any), and changes
 * nothing.  What is not found at the call in this build is no instance.
 */
void object_instances(struct test_ctx *t, object_one_t *one, const char *part);

struct stock *object_open(struct test_ctx *t);
void object_close(struct stock *s);
void object_expect(const char *bad);
/* Some legal operations. */
void object_steps(struct stock *s, unsigned n);

/* A live object, of those sources; NULL: after some tries there was none. */
#define FROM(source) (1u << (source))
#define FROM_ANY (~0u)
const struct stock_live *
object_pick(struct test_ctx *t, const struct stock *s, unsigned sources);
/* A way by which it could go back as it should; b->addr is its address. */
void
object_own_way(struct test_ctx *t, const struct stock_live *l, struct blame *b);
/* Any way at all. */
void object_any_way(struct test_ctx *t, const struct stock *s, struct blame *b);
/* Put it back as it should be. */
void object_put(struct stock *s, const struct stock_live *l);

static inline size_t
object_below(struct test_ctx *t, size_t n)
{
    return (size_t)test_rand_below(t, n);
}

#endif
