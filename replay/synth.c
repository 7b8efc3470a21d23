/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The generator.  A bundle stands for one cached file: an inode, its names and
 * what hangs on them.  Bundles are born, turned over, thrown out by directories
 * and born again, while areas of address space come and go between them.
 *
 * Where the README leaves something open, this is what we do:
 *   - every birth of a bundle, in phases 2, 3 and 5, has its transient objects,
 *     and counts for the areas;
 *   - of two names the second is drawn right after the first; draws are in the
 *     order of the README's table, then the four lives of the transients;
 *   - the k-th of the oldest eighth is the k-th live bundle by birth, and
 *     groups are 64 births, whoever of them is still alive;
 *   - in the drain, objects and areas are shuffled together;
 *   - the trace's time: one millisecond for each 64 bundles born or freed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay/synth.h"

#define BOOT_POOLS 200u
#define GROUP 64u /* bundles in a directory */
#define AREAS_MAX 7000u
#define LIFE_MAX 16u  /* of a transient object, in bundles */
#define SMALLS 6u     /* sizes of the small objects: 8 << 0 to 8 << 5 */
#define BUNDLE_MAX 7u /* objects in a bundle */

enum {
    T_INODE = BOOT_POOLS,
    T_NAME,
    T_LABEL,
    T_BUFFER,
    T_NODE,
    T_PATH,
    T_FILE,
    T_POLL,
    T_AREA,
    T_SMALL,
    T_COUNT = T_SMALL + SMALLS
};

static const struct {
    unsigned type;
    const char *name;
    uint32_t size;
    uint32_t pages; /* of a slab, as the README has them */
} fixed[] = {
    { T_INODE, "inode", 1128, 4 },   { T_NAME, "name", 192, 1 },
    { T_LABEL, "label", 32, 1 },     { T_BUFFER, "buffer", 104, 1 },
    { T_NODE, "tree-node", 584, 2 }, { T_PATH, "path", 4096, 1 },
    { T_FILE, "file", 192, 1 },      { T_POLL, "poll", 64, 1 },
};

struct bundle {
    uint32_t slot[BUNDLE_MAX];
    uint8_t n;
};

/* A growing array of slots. */
struct list {
    uint32_t *v;
    size_t n, room;
};

struct synth {
    struct trace *t;
    uint64_t rng;
    size_t room;      /* records */
    bool failed;      /* out of memory */
    struct list idle; /* free slots, the last freed on top */
    struct {
        uint16_t type;
        uint32_t size;
    } * slot;
    size_t slot_room;
    uint64_t live, target;
    struct bundle *bundle; /* by birth */
    uint32_t *alive;       /* Fenwick tree over births: how many are live */
    size_t capacity;       /* births that both have room for; 2^k */
    size_t born, nlive;
    uint64_t steps;
    struct list due[LIFE_MAX + 1]; /* transients, by the birth they die at */
    struct list area;
    unsigned small_in_8; /* a small object with this chance in 8 */
};

/* ---- records and slots ------------------------------------------------ */

static bool
list_push(struct synth *s, struct list *l, uint32_t v)
{
    if (l->n == l->room) {
        size_t room = l->room == 0 ? 64 : l->room * 2;
        uint32_t *p = realloc(l->v, room * sizeof(*p));

        if (p == NULL) {
            s->failed = true;
            return false;
        }
        l->v = p;
        l->room = room;
    }
    l->v[l->n++] = v;
    return true;
}

static void
emit(struct synth *s, unsigned op, unsigned type, uint32_t slot, uint32_t a,
     uint32_t b)
{
    struct trace *t = s->t;

    if (t->nrecord == s->room) {
        size_t room = s->room == 0 ? 1 << 16 : s->room * 2;
        struct record *r = realloc(t->record, room * sizeof(*r));

        if (r == NULL) {
            s->failed = true;
            return;
        }
        t->record = r;
        s->room = room;
    }
    t->record[t->nrecord++] = (struct record){
        .op = (uint8_t)op, .type = (uint16_t)type, .slot = slot, .a = a, .b = b
    };
}

static uint32_t
slot_take(struct synth *s)
{
    if (s->idle.n > 0) {
        return s->idle.v[--s->idle.n];
    }
    if (s->t->nslot == s->slot_room) {
        size_t room = s->slot_room == 0 ? 1 << 12 : s->slot_room * 2;
        void *p = realloc(s->slot, room * sizeof(*s->slot));

        if (p == NULL) {
            s->failed = true;
            return 0;
        }
        s->slot = p;
        s->slot_room = room;
    }
    return s->t->nslot++;
}

/* A is what the record says: bytes, or pages of an area. */
static uint32_t
take(struct synth *s, unsigned op, unsigned type, uint32_t a)
{
    uint32_t slot = slot_take(s);

    if (s->failed) {
        return 0;
    }
    s->slot[slot].type = (uint16_t)type;
    s->slot[slot].size = a;
    s->t->type[type].count++;
    emit(s, op, type, slot, a, op == OP_VMAP_ALLOC ? UINT32_MAX : a);
    s->live += op == OP_VMAP_ALLOC ? 0 : a;
    return slot;
}

static uint32_t
object(struct synth *s, unsigned type)
{
    return take(s, OP_CACHE_ALLOC, type, s->t->type[type].size);
}

static void
drop(struct synth *s, uint32_t slot)
{
    unsigned type = s->slot[slot].type;

    if (s->t->type[type].kind == KIND_VMAP) {
        emit(s, OP_VMAP_FREE, type, slot, 0, 0);
    } else {
        emit(s, OP_CACHE_FREE, type, slot, 0, 0);
        s->live -= s->slot[slot].size;
    }
    list_push(s, &s->idle, slot);
}

static uint64_t
below(struct synth *s, uint64_t n)
{
    return random_below(&s->rng, n);
}

/* ---- live bundles by birth -------------------------------------------- */

static bool
births_grow(struct synth *s)
{
    size_t old = s->capacity;
    size_t cap = old == 0 ? 1 << 12 : old * 2;
    struct bundle *b = realloc(s->bundle, cap * sizeof(*b));
    uint32_t *f = b == NULL ? NULL : realloc(s->alive, (cap + 1) * sizeof(*f));

    s->bundle = b != NULL ? b : s->bundle;
    s->alive = f != NULL ? f : s->alive;
    if (b == NULL || f == NULL) {
        s->failed = true;
        return false;
    }
    memset(f + old + 1, 0, (cap - old) * sizeof(*f));
    if (old == 0) {
        f[0] = 0;
    }
    /* The new root covers the whole old half. */
    f[cap] = (uint32_t)s->nlive;
    s->capacity = cap;
    return true;
}

static void
births_add(struct synth *s, size_t birth, bool up)
{
    for (size_t i = birth + 1; i <= s->capacity; i += i & (~i + 1)) {
        s->alive[i] += up ? 1u : UINT32_MAX;
    }
    s->nlive += up ? 1 : (size_t)-1;
}

/* The k-th live bundle, from 0, by birth. */
static size_t
births_find(const struct synth *s, size_t k)
{
    size_t at = 0;

    for (size_t step = s->capacity; step > 0; step /= 2) {
        if (at + step <= s->capacity && s->alive[at + step] <= k) {
            at += step;
            k -= s->alive[at];
        }
    }
    return at;
}

/* ---- the parts of the load -------------------------------------------- */

static void
step(struct synth *s)
{
    if (++s->steps % GROUP == 0) {
        emit(s, OP_TICK, 0, 0, (uint32_t)(s->steps / GROUP), 0);
    }
}

static void
area_drop_any(struct synth *s)
{
    size_t i = (size_t)below(s, s->area.n);

    drop(s, s->area.v[i]);
    s->area.v[i] = s->area.v[--s->area.n];
}

static uint32_t
area_pages(struct synth *s)
{
    uint64_t k;

    if (below(s, 100) < 28) {
        return 5;
    }
    if (below(s, 100) < 45) {
        return 2 + (uint32_t)below(s, 3);
    }
    k = 2 + below(s, 8);
    return 1 + (1u << k) + (uint32_t)below(s, UINT64_C(1) << k);
}

static void
areas(struct synth *s)
{
    if (s->born % 64 == 0) {
        uint32_t pages = area_pages(s);

        if (s->area.n >= AREAS_MAX) {
            area_drop_any(s);
        }
        list_push(s, &s->area, take(s, OP_VMAP_ALLOC, T_AREA, pages));
    }
    if (s->born % 96 == 0 && s->area.n > 0) {
        area_drop_any(s);
    }
}

static void
transient(struct synth *s, unsigned type)
{
    size_t at = (s->born + 1 + below(s, LIFE_MAX)) % (LIFE_MAX + 1);

    list_push(s, &s->due[at], object(s, type));
}

static void
transients(struct synth *s)
{
    struct list *now = &s->due[s->born % (LIFE_MAX + 1)];

    while (now->n > 0 && !s->failed) {
        drop(s, now->v[--now->n]);
    }
    transient(s, T_PATH);
    transient(s, T_FILE);
    transient(s, T_POLL);
    transient(s, T_POLL);
}

static void
bundle_put(struct synth *s, struct bundle *b, unsigned type)
{
    b->slot[b->n++] = object(s, type);
}

static void
bundle_born(struct synth *s)
{
    struct bundle b = { .n = 0 };

    if (s->born == s->capacity && !births_grow(s)) {
        return;
    }
    bundle_put(s, &b, T_INODE);
    bundle_put(s, &b, T_NAME);
    if (below(s, 16) == 0) {
        bundle_put(s, &b, T_NAME);
    }
    bundle_put(s, &b, T_LABEL);
    if (below(s, 100) < 55) {
        bundle_put(s, &b, T_BUFFER);
    }
    if (below(s, 100) < 5) {
        bundle_put(s, &b, T_NODE);
    }
    if (below(s, 8) < s->small_in_8) {
        bundle_put(s, &b, T_SMALL + (unsigned)below(s, SMALLS));
    }
    s->bundle[s->born] = b;
    births_add(s, s->born, true);
    s->born++;
    transients(s);
    areas(s);
    step(s);
}

static void
bundle_free(struct synth *s, size_t birth)
{
    struct bundle *b = &s->bundle[birth];

    for (unsigned i = 0; i < b->n; i++) {
        drop(s, b->slot[i]);
    }
    b->n = 0;
    births_add(s, birth, false);
    step(s);
}

/* ---- phases ----------------------------------------------------------- */

static void
boot(struct synth *s)
{
    for (unsigned i = 0; i < BOOT_POOLS; i++) {
        struct type *ty = &s->t->type[i];

        ty->kind = KIND_CACHE;
        ty->size = 16 + 8 * (uint32_t)below(s, 256);
        ty->taken = ty->size;
        ty->slab_pages = 1;
        snprintf(ty->name, sizeof(ty->name), "boot-%03u", i);
        for (uint64_t n = 1 + below(s, 64); n > 0; n--) {
            object(s, i);
        }
    }
}

static void
grow(struct synth *s)
{
    while (s->live < s->target && !s->failed) {
        bundle_born(s);
    }
}

static void
turn_over(struct synth *s)
{
    for (size_t n = 2 * s->nlive; n > 0 && !s->failed; n--) {
        size_t among = s->nlive;

        if (below(s, 10) < 7 && among >= 8) {
            among /= 8;
        }
        bundle_free(s, births_find(s, (size_t)below(s, among)));
        bundle_born(s);
    }
}

/* Directory by directory; those with nobody left draw nothing. */
static void
shrink(struct synth *s)
{
    for (size_t g = 0; g < s->born; g += GROUP) {
        size_t end = g + GROUP < s->born ? g + GROUP : s->born;
        int all = -1;

        for (size_t i = g; i < end; i++) {
            if (s->bundle[i].n == 0) {
                continue;
            }
            if (all < 0) {
                all = below(s, 2) == 0;
            }
            if (all != 0 || below(s, 4) == 0) {
                bundle_free(s, i);
            }
        }
    }
}

static void
regrow(struct synth *s)
{
    s->small_in_8 *= 3;
    grow(s);
}

/* All but the objects of boot, whose slots are the lowest; then those. */
static void
drain(struct synth *s)
{
    struct list all = { .v = NULL };
    uint32_t boot_objects = 0;

    for (unsigned i = 0; i < BOOT_POOLS; i++) {
        boot_objects += s->t->type[i].count;
    }
    for (unsigned i = 0; i <= LIFE_MAX; i++) {
        for (size_t k = 0; k < s->due[i].n; k++) {
            list_push(s, &all, s->due[i].v[k]);
        }
    }
    for (size_t i = 0; i < s->born; i++) {
        for (unsigned k = 0; k < s->bundle[i].n; k++) {
            list_push(s, &all, s->bundle[i].slot[k]);
        }
    }
    for (size_t i = 0; i < s->area.n; i++) {
        list_push(s, &all, s->area.v[i]);
    }
    for (size_t i = all.n; i > 0 && !s->failed; i--) {
        size_t k = (size_t)below(s, i);
        uint32_t slot = all.v[k];

        all.v[k] = all.v[i - 1];
        drop(s, slot);
        if (i % BUNDLE_MAX == 0) {
            step(s);
        }
    }
    free(all.v);
    for (uint32_t i = 0; i < boot_objects && !s->failed; i++) {
        drop(s, i);
    }
}

static const struct {
    const char *name;
    void (*run)(struct synth *s);
    bool drain;
} phases[] = {
    { "1 boot", boot, false },           { "2 grow", grow, false },
    { "3 turn over", turn_over, false }, { "4 shrink", shrink, true },
    { "5 regrow", regrow, false },       { "6 drain", drain, true },
};
#define PHASES (sizeof(phases) / sizeof(phases[0]))

/* ---- the whole -------------------------------------------------------- */

static void
types_make(struct trace *t)
{
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        struct type *ty = &t->type[fixed[i].type];

        ty->kind = KIND_CACHE;
        ty->size = ty->taken = fixed[i].size;
        ty->slab_pages = fixed[i].pages;
        snprintf(ty->name, sizeof(ty->name), "%s", fixed[i].name);
    }
    for (unsigned i = 0; i < SMALLS; i++) {
        struct type *ty = &t->type[T_SMALL + i];

        ty->kind = KIND_CACHE;
        ty->size = ty->taken = 8u << i;
        ty->slab_pages = 1;
        snprintf(ty->name, sizeof(ty->name), "small-%u", 8u << i);
    }
    t->type[T_AREA].kind = KIND_VMAP;
    t->type[T_AREA].align_log2 = 12;
    t->type[T_AREA].size = TRACE_PAGE;
    snprintf(t->type[T_AREA].name, TRACE_NAME, "area");
}

static void
run(struct synth *s)
{
    for (size_t i = 0; i < PHASES && !s->failed; i++) {
        struct phase *p = &s->t->phase[i];

        snprintf(p->name, sizeof(p->name), "%s", phases[i].name);
        p->from_ms = s->steps / GROUP;
        phases[i].run(s);
        p->end = s->t->nrecord;
        p->drain = phases[i].drain;
    }
    s->t->duration_us = s->steps / GROUP * 1000;
    emit(s, OP_END, 0, 0, 0, 0);
}

static void
cleanup(struct synth *s)
{
    for (unsigned i = 0; i <= LIFE_MAX; i++) {
        free(s->due[i].v);
    }
    free(s->idle.v);
    free(s->area.v);
    free(s->slot);
    free(s->bundle);
    free(s->alive);
}

bool
synth_make(struct trace *t, uint64_t bytes, uint64_t seed)
{
    struct synth s = { .t = t, .rng = seed, .target = bytes, .small_in_8 = 1 };

    memset(t, 0, sizeof(*t));
    snprintf(t->name, sizeof(t->name), "synthetic");
    t->ncpu = 1;
    t->ntype = T_COUNT;
    t->nphase = PHASES;
    t->type = calloc(T_COUNT, sizeof(*t->type));
    t->phase = calloc(PHASES, sizeof(*t->phase));
    s.failed = t->type == NULL || t->phase == NULL;
    if (!s.failed) {
        types_make(t);
        run(&s);
    }
    cleanup(&s);
    if (s.failed) {
        trace_free(t);
        return false;
    }
    return true;
}
