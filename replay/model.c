/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects of the models.  A cache has a pool, kmalloc has one for each size
 * class; a slab is a range of pages that the model takes, and so are large
 * kmallocs and areas.
 */
#include "replay/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLASS_UNIT 8u
#define CLASSES (GEOMETRY_KMALLOC_MAX / CLASS_UNIT + 1)

static uint32_t
slab_take(void *arg, uint32_t pages, uint32_t align)
{
    struct model *m = arg;

    return m->ops->take(m, pages, align, RANGE_WIRED);
}

static void
slab_give(void *arg, uint32_t where, uint32_t pages, uint32_t align)
{
    struct model *m = arg;

    m->ops->give(m, where, pages, align, RANGE_WIRED);
}

static uint32_t
pool_add(struct model *m, const struct stack_config *c, uint32_t size,
         uint32_t align, uint32_t recorded_pages)
{
    struct shape sh =
        geometry_shape(c->slabs, size == 0 ? 1 : size, align, recorded_pages);

    return slabs_add(&m->objects, sh.objects, sh.pages, 1);
}

static bool
pools_make(struct model *m, const struct stack_config *c)
{
    const struct trace *t = m->trace;
    uint32_t last = 0, pool = SLAB_NONE;

    for (unsigned i = 0; i < t->nsite; i++) {
        const struct site *s = &t->site[i];

        if (s->kind != KIND_CACHE) {
            continue;
        }
        m->site_pool[i] =
            pool_add(m, c, s->size, s->align, t->type[s->type].slab_pages);
        if (m->site_pool[i] == SLAB_NONE) {
            return false;
        }
    }
    for (uint32_t i = 1; i < CLASSES; i++) {
        uint32_t size = geometry_class(i * CLASS_UNIT);

        if (size != last) {
            pool = pool_add(m, c, size, CLASS_UNIT, 0);
            last = size;
        }
        m->class_pool[i] = pool;
        if (pool == SLAB_NONE) {
            return false;
        }
    }
    return true;
}

/* Areas of one region are of one kind: the name of a type is the region, a
 * comma, and the alignment. */
static void
area_kinds(struct model *m)
{
    const struct trace *t = m->trace;
    unsigned kinds = 0;

    for (unsigned i = 0; i < t->ntype; i++) {
        const char *name = t->type[i].name;
        unsigned k = 0;

        if (t->type[i].kind != KIND_VMAP) {
            continue;
        }
        while (k < i &&
               (t->type[k].kind != KIND_VMAP ||
                strcspn(name, ",") != strcspn(t->type[k].name, ",") ||
                strncmp(name, t->type[k].name, strcspn(name, ",")) != 0)) {
            k++;
        }
        if (k == i && kinds < RANGE_KINDS_MAX) {
            kinds++;
        }
        m->area_kind[i] =
            k < i ? m->area_kind[k] : (uint8_t)(RANGE_AREA + kinds - 1);
    }
}

bool
model_init(struct model *m, const struct stack_ops *stack_ops,
           const struct model_ops *ops, const struct trace *t,
           const struct stack_config *c)
{
    m->stack.ops = stack_ops;
    m->ops = ops;
    m->trace = t;
    slabs_init(
        &m->objects,
        (struct slab_supply){ .take = slab_take, .give = slab_give, .arg = m });
    m->site_pool = calloc((size_t)t->nsite + 1, sizeof(*m->site_pool));
    m->class_pool = calloc(CLASSES, sizeof(*m->class_pool));
    m->area_kind = calloc((size_t)t->ntype + 1, sizeof(*m->area_kind));
    if (m->site_pool == NULL || m->class_pool == NULL || m->area_kind == NULL ||
        !pools_make(m, c)) {
        return false;
    }
    area_kinds(m);
    return true;
}

void
model_fini(struct model *m)
{
    slabs_fini(&m->objects);
    free(m->site_pool);
    free(m->class_pool);
    free(m->area_kind);
}

struct space *
model_space(const struct stack_config *c)
{
    return space_create((uint32_t)(c->va_bytes / TRACE_PAGE));
}

uint64_t
model_wired_pages(const struct model *m)
{
    return m->objects.held_pages + m->large_pages;
}

/* ---- calls ------------------------------------------------------------ */

static bool
exhausted(struct model *m, const char *what, uint64_t bytes)
{
    snprintf(m->stack.reason, sizeof(m->stack.reason),
             "no address space or memory for %s of %llu bytes", what,
             (unsigned long long)bytes);
    return false;
}

static bool
is_large(const struct model *m, const struct thing *th)
{
    return m->trace->site[th->site].kind == KIND_KMALLOC &&
           th->size > GEOMETRY_KMALLOC_MAX;
}

static uint32_t
large_pages(const struct thing *th)
{
    return (uint32_t)(((uint64_t)th->size + TRACE_PAGE - 1) / TRACE_PAGE);
}

static uint32_t
pool_of(const struct model *m, const struct thing *th)
{
    if (m->trace->site[th->site].kind == KIND_CACHE) {
        return m->site_pool[th->site];
    }
    return m->class_pool[(th->size + CLASS_UNIT - 1) / CLASS_UNIT];
}

bool
model_alloc_object(struct stack *st, struct thing *th, unsigned cpu)
{
    struct model *m = (struct model *)st;
    uint32_t where;

    (void)cpu;
    if (is_large(m, th)) {
        where = m->ops->take(m, large_pages(th), 1, RANGE_WIRED);
        m->large_pages += where == SLAB_NONE ? 0 : large_pages(th);
    } else {
        where = slabs_get(&m->objects, pool_of(m, th));
    }
    th->where = where;
    return where != SLAB_NONE || exhausted(m, "an object", th->size);
}

bool
model_free_object(struct stack *st, struct thing *th, unsigned cpu)
{
    struct model *m = (struct model *)st;

    (void)cpu;
    if (is_large(m, th)) {
        m->large_pages -= large_pages(th);
        m->ops->give(m, (uint32_t)th->where, large_pages(th), 1, RANGE_WIRED);
    } else {
        slabs_put(&m->objects, (uint32_t)th->where);
    }
    return true;
}

bool
model_alloc_area(struct stack *st, struct thing *th, unsigned cpu)
{
    struct model *m = (struct model *)st;
    size_t align = trace_area_align(m->trace, th->site) / TRACE_PAGE;
    uint32_t where =
        m->ops->take(m, th->size, (uint32_t)align, m->area_kind[th->site]);

    (void)cpu;
    th->where = where;
    return where != SLAB_NONE ||
           exhausted(m, "an area", (uint64_t)th->size * TRACE_PAGE);
}

bool
model_free_area(struct stack *st, struct thing *th, unsigned cpu)
{
    struct model *m = (struct model *)st;
    size_t align = trace_area_align(m->trace, th->site) / TRACE_PAGE;

    (void)cpu;
    m->ops->give(m, (uint32_t)th->where, th->size, (uint32_t)align,
                 m->area_kind[th->site]);
    return true;
}

/* What is freed is free at once. */
void
model_purge(struct stack *st)
{
    (void)st;
}

void
model_drain(struct stack *st)
{
    slabs_drain(&((struct model *)st)->objects);
}
