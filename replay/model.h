/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the models have in common: objects in slabs of the shared geometry.  A
 * model proper only says where ranges of pages come from.
 */
#ifndef REPLAY_MODEL_H
#define REPLAY_MODEL_H

#include "replay/geometry.h"
#include "replay/slabs.h"
#include "replay/space.h"

/* Kinds of ranges: wired memory, and areas of one region each. */
enum range_kind {
    RANGE_WIRED = 1,
    RANGE_AREA = 2,
    RANGE_KINDS_MAX = 200
};

/* Sizes: NetBSD's, compiled for LP64. */
#define MODEL_MAP_ENTRY_BYTES 128u  /* struct vm_map_entry */
#define MODEL_TAG_BYTES 56u         /* struct vmem_btag */
#define MODEL_SLAB_HEADER_BYTES 56u /* struct pool_item_header */
#define MODEL_HASH_BUCKET_BYTES 8u

struct model;

struct model_ops {
    /* Range of pages at a multiple of align pages; SLAB_NONE: none. */
    uint32_t (*take)(struct model *m, uint32_t pages, uint32_t align,
                     uint8_t kind);
    void (*give)(struct model *m, uint32_t where, uint32_t pages,
                 uint32_t align, uint8_t kind);
};

struct model {
    struct stack stack; /* first */
    const struct trace *trace;
    const struct model_ops *ops;
    struct slabs objects;
    uint32_t *site_pool;  /* by site of a cache */
    uint32_t *class_pool; /* by size of a kmalloc, in units of 8 bytes */
    uint8_t *area_kind;   /* by type */
    uint64_t large_pages; /* of kmalloc ranges */
};

/* Ready the common part of a zeroed model; false: no memory (stack.reason). */
bool model_init(struct model *m, const struct stack_ops *stack_ops,
                const struct model_ops *ops, const struct trace *t,
                const struct stack_config *c);
void model_fini(struct model *m);

/* The calls of struct stack_ops that all models share. */
bool model_alloc_object(struct stack *st, struct thing *th, unsigned cpu);
bool model_free_object(struct stack *st, struct thing *th, unsigned cpu);
bool model_alloc_area(struct stack *st, struct thing *th, unsigned cpu);
bool model_free_area(struct stack *st, struct thing *th, unsigned cpu);
void model_purge(struct stack *st);
void model_drain(struct stack *st);

/* Pages in slabs and kmalloc ranges. */
uint64_t model_wired_pages(const struct model *m);

/* Address space of all models: c->va_bytes; NULL: no memory. */
struct space *model_space(const struct stack_config *c);

#define MODEL_CALLS                                                       \
    .alloc_object = model_alloc_object, .free_object = model_free_object, \
    .alloc_area = model_alloc_area, .free_area = model_free_area,         \
    .purge = model_purge

#endif
