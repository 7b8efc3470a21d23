/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shapes are not a copy of what the library does but its own answer: a
 * model that had larger or tighter slabs than the library would win or lose
 * tags by that alone.
 */
#include "replay/geometry.h"

#include "kmem/kmem.h"
#include "pool/pool_impl.h"

uint32_t
geometry_slab_bytes(enum slab_rule rule, uint32_t size, uint32_t recorded_pages)
{
    uint32_t bytes = 0;

    if (rule == SLABS_SINGLE) {
        bytes = TRACE_PAGE;
    } else if (rule == SLABS_RECORDED) {
        bytes = recorded_pages * TRACE_PAGE;
    }
    return size <= bytes && kva_is_pow2(bytes) ? bytes : 0;
}

struct shape
geometry_shape(enum slab_rule rule, uint32_t size, uint32_t align,
               uint32_t recorded_pages)
{
    struct kva_pool pool = { .name = "geometry" };
    uint32_t bytes = geometry_slab_bytes(rule, size, recorded_pages);

    kva__pool_layout(&pool, kva_round_up(size, align), align, 0, bytes);
    return (struct shape){ .pages = (uint32_t)(pool.slab_bytes / TRACE_PAGE),
                           .objects = pool.nobj };
}

/* ---- kmalloc ---------------------------------------------------------- */

#define CLASS_UNIT 8u
static uint32_t class_bytes[GEOMETRY_KMALLOC_MAX / CLASS_UNIT + 1];

/* kmem knows its classes once it is up, for which it needs no memory. */
static void
classes_ask(void)
{
    kmem_init();
    for (uint32_t i = 1; i < KVA_COUNT(class_bytes); i++) {
        class_bytes[i] = (uint32_t)kmem_roundup_size(i * (size_t)CLASS_UNIT);
    }
    kmem_fini();
}

uint32_t
geometry_class(uint32_t size)
{
    if (class_bytes[1] == 0) {
        classes_ask();
    }
    return class_bytes[(size + CLASS_UNIT - 1) / CLASS_UNIT];
}
