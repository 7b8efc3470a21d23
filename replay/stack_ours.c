/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stack `ours`: the library itself on the host port.
 *
 *     cache objects    a pool_cache for each site
 *     kmalloc          malloc(9), the site as type
 *     areas            VA of heap_va_arena, which has quantum caches; no pages
 *
 * Each call works on the CPU slot that the record names, and time is the
 * load's: what the library does by age does not depend on how fast this
 * machine is.
 *
 * The stack `movers' is the same, but the caches that the command line names
 * have a move callback, and a drain evacuates spans first.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "malloc_compat/malloc.h"
#include "malloc_compat/malloc_store.h"
#include "port/posix/posix.h"
#include "replay/geometry.h"
#include "replay/listing.h"
#include "replay/pattern.h"
#include "replay/where.h"
#include "vmem/meta.h"

struct ours {
    struct stack stack; /* first */
    const struct trace *trace;
    bool pattern;
    bool moves;         /* it is `movers' */
    bool *movable;      /* by site */
    struct where where; /* of movable objects */
    uint64_t nmovable, nmoved, nspans;
    unsigned cpu;                      /* the slot we are on */
    pool_cache_t *cache;               /* by site, or NULL */
    struct kva_malloc_type *type;      /* by site */
    struct kva_pool_allocator *supply; /* by site */
    size_t tags_at_start;
    bool kva_up, kmem_up;
};

/*
 * The machine is started once and stays: the library keeps a reserve of
 * metadata pages from one kva_boot to the next.  Its address space is the
 * port's default, or more if the first load needs more; kva_boot is given as
 * much of it as the models have.  Its CPUs are those of the first load, or two.
 */
#define MACHINE_VA_SMALL ((size_t)1 << 30)
#define MACHINE_VA_LARGE ((size_t)1 << 36)
#define MACHINE_CPUS_MIN 2u
#define NS_PER_MS 1000000u
static unsigned machine_cpus; /* 0: not started */

static bool
fail(struct ours *o, const char *what, const struct thing *th, const char *why)
{
    snprintf(o->stack.reason, sizeof(o->stack.reason),
             "%s of slot %u, size %u: %s", what, (unsigned)th->slot,
             (unsigned)th->size, why);
    return false;
}

static void
on_cpu(struct ours *o, unsigned cpu)
{
    if (cpu != o->cpu && kva_posix_cpu_set(cpu) == 0) {
        o->cpu = cpu;
    }
}

/* ---- objects ---------------------------------------------------------- */

static bool
ours_alloc_object(struct stack *st, struct thing *th, unsigned cpu)
{
    struct ours *o = (struct ours *)st;
    pool_cache_t pc = o->cache[th->site];
    void *p;

    on_cpu(o, cpu);
    p = pc != NULL ? pool_cache_get(pc, PR_NOWAIT)
                   : kva_malloc(th->size, &o->type[th->site], KVA_M_NOWAIT);
    if (p == NULL) {
        return fail(o, "allocation", th, "no memory");
    }
    if (o->pattern) {
        pattern_fill(p, th->size, th->slot, th->generation);
    }
    th->where = (uintptr_t)p;
    if (o->moves && o->movable[th->site]) {
        where_add(&o->where, th);
        o->nmovable++;
    }
    return true;
}

static bool
overwritten(struct ours *o, const struct thing *th, size_t at)
{
    char why[96];

    snprintf(why, sizeof(why),
             "the object at 0x%llx was overwritten at offset %zu",
             (unsigned long long)th->where, at);
    return fail(o, "free", th, why);
}

static bool
ours_free_object(struct stack *st, struct thing *th, unsigned cpu)
{
    struct ours *o = (struct ours *)st;
    pool_cache_t pc = o->cache[th->site];
    void *p = (void *)th->where;

    on_cpu(o, cpu);
    if (o->pattern) {
        size_t at = pattern_check(p, th->size, th->slot, th->generation);

        if (at != th->size) {
            return overwritten(o, th, at);
        }
    }
    if (o->moves && o->movable[th->site]) {
        where_remove(&o->where, th);
        o->nmovable--;
    }
    if (pc != NULL) {
        pool_cache_put(pc, p);
    } else {
        kva_free(p, &o->type[th->site]);
    }
    return true;
}

/* ---- moving objects --------------------------------------------------- */

/* The names are followed by a comma or the end. */
bool
stack_is_mover(const struct stack_config *c, const char *name)
{
    size_t n = strlen(name);
    const char *at = c->movers;

    while (at != NULL && *at != '\0') {
        size_t length = strcspn(at, ",");

        if (length == n && strncmp(at, name, n) == 0) {
            return true;
        }
        at += length + (at[length] == ',');
    }
    return false;
}

static enum kva_pool_move
ours_move(void *arg, void *from, void *to)
{
    struct ours *o = arg;
    struct thing *th = where_find(&o->where, (uintptr_t)from);

    if (th == NULL) {
        return KVA_MOVE_UNKNOWN;
    }
    memcpy(to, from, th->size);
    where_remove(&o->where, th);
    th->where = (uintptr_t)to;
    where_add(&o->where, th);
    o->nmoved++;
    return KVA_MOVE_YES;
}

/* So many calls of callbacks at a time. */
#define EVACUATE_STEP 65536u

static void
evacuate(struct ours *o)
{
    struct kva_pool_evacuation result;
    bool more;

    do {
        more = kva_pool_evacuate(EVACUATE_STEP, &result);
        o->nspans += result.spans;
    } while (more);
}

/* ---- areas ------------------------------------------------------------ */

/*
 * What to ask for.  A run of 2^k pages from a quantum cache is aligned to its
 * size, so that an aligned area that fits one is asked for as that: a stack of
 * 4 pages and a guard page, aligned to 4, as 8 pages.  It costs address space
 * and saves tags.  0: the arena must see to the alignment.
 */
static size_t
area_bytes(const struct ours *o, const struct thing *th)
{
    size_t size = (size_t)th->size * TRACE_PAGE;
    size_t align = trace_area_align(o->trace, th->site);
    size_t rounded = TRACE_PAGE;

    if (align == TRACE_PAGE) {
        return size;
    }
    while (rounded < size || rounded < align) {
        rounded *= 2;
    }
    return rounded <= 32 * (size_t)TRACE_PAGE ? rounded : 0;
}

static bool
ours_alloc_area(struct stack *st, struct thing *th, unsigned cpu)
{
    struct ours *o = (struct ours *)st;
    size_t size = area_bytes(o, th);
    vmem_addr_t addr;
    int err;

    on_cpu(o, cpu);
    if (size != 0) {
        err = vmem_alloc(kva_heap_va_arena, size, VM_NOSLEEP, &addr);
    } else {
        err = vmem_xalloc(kva_heap_va_arena, (size_t)th->size * TRACE_PAGE,
                          trace_area_align(o->trace, th->site), 0, 0,
                          VMEM_ADDR_MIN, VMEM_ADDR_MAX, VM_NOSLEEP, &addr);
    }
    if (err != 0) {
        return fail(o, "area", th, "no address space");
    }
    th->where = addr;
    return true;
}

static bool
ours_free_area(struct stack *st, struct thing *th, unsigned cpu)
{
    struct ours *o = (struct ours *)st;
    size_t size = area_bytes(o, th);

    on_cpu(o, cpu);
    if (size != 0) {
        vmem_free(kva_heap_va_arena, th->where, size);
    } else {
        vmem_xfree(kva_heap_va_arena, th->where, (size_t)th->size * TRACE_PAGE);
    }
    return true;
}

/* What is freed is free at once. */
static void
ours_purge(struct stack *st)
{
    (void)st;
}

/* As a kernel's timer would. */
static void
ours_tick(struct stack *st, uint32_t ms)
{
    (void)st;
    kva_posix_clock_advance((uint64_t)ms * NS_PER_MS);
    (void)kva_unmap_tick();
}

/* ---- what it holds ---------------------------------------------------- */

_Static_assert((int)META_KINDS == (int)KVA_META_KINDS &&
                   (int)META_OTHER == (int)KVA_META_OTHER,
               "the report has the library's kinds of metadata");

/* Free address space may be in any of the three. */
static size_t
largest_hole(void)
{
    kva_vmem_t *const arena[] = { kva_kernel_va_arena, kva_heap_arena,
                                  kva_heap_va_arena };
    size_t best = 0;

    for (size_t i = 0; i < KVA_COUNT(arena); i++) {
        size_t hole = vmem_size(arena[i], VMEM_MAXFREE);

        best = hole > best ? hole : best;
    }
    return best;
}

static void
ours_state(struct stack *st, struct state *s)
{
    struct ours *o = (struct ours *)st;
    struct kva_posix_stats port;
    struct kva_stat now;

    kva_stat(&now);
    kva_posix_stats_get(&port);
    s->large_bytes = (uint64_t)port.large_pages << KVA_PAGE_SHIFT;
    s->movable_objects = o->nmovable;
    s->moves = o->nmoved;
    s->spans_emptied = o->nspans;
    s->wired_bytes = now.wired_bytes;
    s->tags = now.tags;
    s->tag_bytes = now.tag_bytes;
    s->map_entries = now.map_entries;
    s->map_entry_bytes = now.map_entry_bytes;
    s->spans = now.spans;
    s->largest_hole_bytes = largest_hole();
    for (unsigned i = 0; i < META_KINDS; i++) {
        s->meta_bytes[i] = now.meta_bytes[i];
    }
}

static void
ours_totals(struct stack *st, struct totals *t)
{
    struct kva_stat now;

    (void)st;
    kva_stat(&now);
    t->wired_max = now.wired_max;
    t->meta_requests = kva__meta_requests();
}

static void
ours_holding(struct stack *st, struct holding *h)
{
    struct kva_posix_stats port;

    (void)st;
    kva_posix_stats_get(&port);
    h->attached_pages = port.attached_pages;
    h->va_bytes = vmem_size(kva_kernel_va_arena, VMEM_ALLOC);
}

static struct listing *
ours_listing(struct stack *st)
{
    (void)st;
    return listing_take();
}

static void
ours_drain(struct stack *st)
{
    if (((struct ours *)st)->moves) {
        evacuate((struct ours *)st);
    }
    kva_pool_drain_all();
    vmem_drain(kva_heap_va_arena, SIZE_MAX, 0);
}

static const char *
ours_leftover(struct stack *st)
{
    struct ours *o = (struct ours *)st;
    struct holding held;
    struct kva_stat now;

    kva_stat(&now);
    ours_holding(st, &held);
    if (held.va_bytes != 0) {
        snprintf(st->reason, sizeof(st->reason),
                 "%llu bytes of kernel_va_arena are not back",
                 (unsigned long long)held.va_bytes);
    } else if (held.attached_pages != 0 || now.wired_bytes != 0) {
        snprintf(st->reason, sizeof(st->reason),
                 "%llu pages are attached, %zu bytes wired",
                 (unsigned long long)held.attached_pages, now.wired_bytes);
    } else if (now.tags != o->tags_at_start) {
        snprintf(st->reason, sizeof(st->reason),
                 "%zu tags in use, %zu at the start", now.tags,
                 o->tags_at_start);
    } else {
        return NULL;
    }
    return st->reason;
}

/* ---- start and end ---------------------------------------------------- */

static void
machine_down(struct ours *o)
{
    for (unsigned i = 0; o->cache != NULL && i < o->trace->nsite; i++) {
        if (o->cache[i] != NULL) {
            pool_cache_destroy(o->cache[i]);
        } else if (o->type[i].attached != 0) {
            kva_malloc_type_detach(&o->type[i]);
        }
    }
    if (o->kmem_up) {
        kva_kmem_fini();
    }
    if (o->kva_up) {
        kva_shutdown();
    }
    kva_posix_clock_virtual(false);
}

/* After a failure objects are still live, and to end the arenas would be a
 * misuse; the process is about to end instead. */
static void
ours_close(struct stack *st)
{
    struct ours *o = (struct ours *)st;

    if (!st->failed) {
        machine_down(o);
    }
    free(o->cache);
    free(o->type);
    free(o->supply);
    free(o->movable);
    where_fini(&o->where);
    free(o);
}

static void
ours_abandon(struct ours *o, const char **reason, const char *why)
{
    *reason = why;
    ours_close(&o->stack);
}

static bool
machine_up(struct ours *o, const struct stack_config *c)
{
    struct kva_posix_config port = { .cpus = MACHINE_CPUS_MIN };
    struct kva_boot boot = { .va_bytes = c->va_bytes, .ncpu = o->trace->ncpu };

    if (machine_cpus == 0) {
        if (o->trace->ncpu > port.cpus) {
            port.cpus = o->trace->ncpu;
        }
        if (c->va_bytes > MACHINE_VA_SMALL) {
            port.va_bytes =
                c->va_bytes > MACHINE_VA_LARGE ? c->va_bytes : MACHINE_VA_LARGE;
        }
        if (kva_posix_init(&port) != 0) {
            return false;
        }
        machine_cpus = port.cpus;
    }
    if (c->va_bytes > kva_posix_va_bytes() || o->trace->ncpu > machine_cpus) {
        return false;
    }
    boot.va_base = kva_posix_va_base();
    kva_posix_clock_virtual(true);
    o->kva_up = kva_boot(&boot) == 0 && kva_start() == 0;
    if (o->kva_up) {
        kva_kmem_init();
        o->kmem_up = true;
    }
    return o->kva_up && kva_posix_cpu_set(0) == 0;
}

static bool
sites_up(struct ours *o, const struct stack_config *c)
{
    enum slab_rule rule = c->slabs;
    const struct trace *t = o->trace;
    size_t n = (size_t)t->nsite + 1;

    o->cache = calloc(n, sizeof(pool_cache_t));
    o->supply = calloc(n, sizeof(*o->supply));
    o->type = calloc(n, sizeof(*o->type));
    o->movable = calloc(n, sizeof(*o->movable));
    if (o->cache == NULL || o->supply == NULL || o->type == NULL ||
        o->movable == NULL) {
        return false;
    }
    for (unsigned i = 0; i < t->nsite; i++) {
        const struct site *s = &t->site[i];
        const struct type *ty = &t->type[s->type];
        uint32_t size = s->size == 0 ? 1 : s->size;

        o->type[i].name = ty->name;
        if (s->kind != KIND_CACHE) {
            continue;
        }
        o->supply[i].arena = &kva_kmem_arena;
        o->supply[i].pa_pagesz =
            geometry_slab_bytes(rule, size, ty->slab_pages);
        o->cache[i] =
            pool_cache_init(size, s->align, 0, 0, ty->name, &o->supply[i],
                            KVA_IPL_NONE, NULL, NULL, NULL);
        if (o->cache[i] == NULL) {
            return false;
        }
        o->movable[i] = o->moves && stack_is_mover(c, ty->name);
        if (o->movable[i] &&
            pool_cache_set_move(o->cache[i], ours_move, o) != 0) {
            return false;
        }
    }
    return !o->moves || where_init(&o->where, t->nslot);
}

static struct stack *
open_as(const struct trace *t, const struct stack_config *c,
        const char **reason, bool moves)
{
    struct ours *o = calloc(1, sizeof(*o));
    struct kva_stat now;

    if (o == NULL) {
        *reason = "out of memory";
        return NULL;
    }
    o->stack.ops = moves ? &stack_movers : &stack_ours;
    o->moves = moves;
    o->trace = t;
    o->pattern = c->pattern;
    if (!machine_up(o, c)) {
        ours_abandon(o, reason,
                     "the library or its machine did not start, or "
                     "the first trace had fewer CPUs");
        return NULL;
    }
    if (!sites_up(o, c)) {
        ours_abandon(o, reason, "no memory for the caches");
        return NULL;
    }
    kva_stat(&now);
    o->tags_at_start = now.tags;
    return &o->stack;
}

static struct stack *
ours_open(const struct trace *t, const struct stack_config *c,
          const char **reason)
{
    return open_as(t, c, reason, false);
}

static struct stack *
movers_open(const struct trace *t, const struct stack_config *c,
            const char **reason)
{
    return open_as(t, c, reason, true);
}

const struct stack_ops stack_ours = {
    .name = "ours",
    .about = "libkva",
    .resident = true,
    .open = ours_open,
    .alloc_object = ours_alloc_object,
    .free_object = ours_free_object,
    .alloc_area = ours_alloc_area,
    .free_area = ours_free_area,
    .tick = ours_tick,
    .purge = ours_purge,
    .state = ours_state,
    .totals = ours_totals,
    .holding = ours_holding,
    .listing = ours_listing,
    .drain = ours_drain,
    .leftover = ours_leftover,
    .close = ours_close,
};

const struct stack_ops stack_movers = {
    .name = "movers",
    .about = "libkva, objects are moved",
    .resident = true,
    .open = movers_open,
    .alloc_object = ours_alloc_object,
    .free_object = ours_free_object,
    .alloc_area = ours_alloc_area,
    .free_area = ours_free_area,
    .tick = ours_tick,
    .purge = ours_purge,
    .state = ours_state,
    .totals = ours_totals,
    .holding = ours_holding,
    .drain = ours_drain,
    .leftover = ours_leftover,
    .close = ours_close,
};
