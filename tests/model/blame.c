/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/model/blame.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vmem/lookup.h"

#define UL(p) ((unsigned long)(p))

/* ---- where an address lies ------------------------------------------- */

static struct blame_place
place_in(struct kva_pool *pp, struct kva__slab *slab, uintptr_t addr)
{
    struct blame_place place = { .pp = pp, .base = kva__slab_base(slab) };
    uintptr_t first = kva__slab_object(slab, 0);
    size_t index;

    if (addr < first) {
        place.part = PART_HEADER;
        return place;
    }
    index = (addr - first) / pp->size;
    if (index >= pp->nobj) {
        place.part = PART_END;
        return place;
    }
    place.start = first + index * pp->size;
    place.part = addr == place.start ? PART_OBJECT : PART_INSIDE;
    place.state = kva__state_get(kva__slab_states(pp, slab) + index);
    return place;
}

struct blame_place
blame_find(uintptr_t addr)
{
    for (struct kva_pool *pp = kva_pool_list; pp != NULL; pp = pp->next) {
        struct kva__slab *slab = kva__slab_next(pp, NULL);

        for (; slab != NULL; slab = kva__slab_next(pp, slab)) {
            if (addr - kva__slab_base(slab) < pp->slab_bytes) {
                return place_in(pp, slab, addr);
            }
        }
    }
    return (struct blame_place){ .pp = NULL };
}

static bool
is_kmem(const struct kva_pool *pp)
{
    return strncmp(pp->name, "kmem-", 5) == 0;
}

static bool
is_intr(const struct kva_pool *pp)
{
    return strncmp(pp->name, "kmem_intr-", 10) == 0;
}

static bool
is_cache(const struct kva_pool *pp)
{
    return (pp->flags & KVA__PR_CACHE) != 0;
}

/* A live range of whole pages, of that arena, with addr in it. */
static const struct stock_live *
pages_at(const struct stock *s, const kva_vmem_t *vm, uintptr_t addr)
{
    const struct stock_live *l = stock_at(s, addr);
    bool intr;

    if (l == NULL || l->source <= STOCK_CACHE || l->taken < KVA_PAGE_SIZE) {
        return NULL;
    }
    intr = l->source == STOCK_INTR;
    return intr == (vm == kva_kmem_intr_arena) ? l : NULL;
}

/*
 * What addr, which is in no slab, is to an arena.  A live range is in the list;
 * but inside one that did not come from the quantum caches an address says
 * nothing.
 */
static enum kva_range_kind
range_at(const struct stock *s, kva_vmem_t *vm, uintptr_t addr,
         struct kva_range *range)
{
    const struct stock_live *l = pages_at(s, vm, addr);
    enum kva_range_kind kind = kva__vmem_lookup(vm, addr, range);

    if (l == NULL) {
        return kind == KVA_RANGE_CACHED ? kind : KVA_RANGE_NONE;
    }
    if (addr != l->addr &&
        (l->taken > vm->qcache_max || kind == KVA_RANGE_NONE)) {
        return KVA_RANGE_NONE;
    }
    range->base = l->addr;
    range->size = l->taken;
    return KVA_RANGE_ALLOC;
}

/* ---- words ----------------------------------------------------------- */

static const char *const functions[BLAME_WAYS] = {
    "pool_put",  "pool_cache_put", "pool_cache_destruct_object",
    "kmem_free", "kmem_intr_free", "free",
    "realloc",
};

struct words {
    char *text;
    const char *func;
    uintptr_t addr;
};

/* Always true: there is something to report. */
static __attribute__((format(printf, 4, 5))) bool
say(const struct words *w, const char *kind, const char *name, const char *fmt,
    ...)
{
    int n = snprintf(w->text, KVA_MESSAGE_MAX, "%s: %s %s: 0x%lx: ", w->func,
                     kind, name, UL(w->addr));
    va_list ap;

    va_start(ap, fmt);
    if (n > 0 && n < KVA_MESSAGE_MAX) {
        (void)vsnprintf(w->text + n, KVA_MESSAGE_MAX - (size_t)n, fmt, ap);
    }
    va_end(ap);
    return true;
}

static const char *
kind_of(const struct kva_pool *pp)
{
    return is_cache(pp) ? "cache" : "pool";
}

/* addr is in a slab of the pool that it is given to. */
static bool
say_place(const struct words *w, const struct blame_place *place)
{
    const struct kva_pool *pp = place->pp;
    const char *kind = kind_of(pp);

    switch (place->part) {
    case PART_OBJECT:
        if (place->state == KVA__OBJECT_LIVE) {
            return false;
        }
        return say(w, kind, pp->name, "expected a live object, found %s",
                   place->state == KVA__OBJECT_FREE ? "a free one"
                                                    : "a free one (cached)");
    case PART_INSIDE:
        return say(w, kind, pp->name,
                   "expected the start of an object, found byte %zu of the one "
                   "at 0x%lx",
                   (size_t)(w->addr - place->start), UL(place->start));
    case PART_HEADER:
        return say(w, kind, pp->name,
                   "expected an object, found the header of a slab");
    default:
        return say(w, kind, pp->name,
                   "expected an object, found the unused end of a slab");
    }
}

/* Given to a pool. */
static bool
say_pool(const struct stock *s, const struct words *w, struct kva_pool *pp,
         const struct blame_place *place)
{
    struct kva_range range;

    if (place->pp == pp) {
        return say_place(w, place);
    }
    if (place->pp != NULL) {
        return say(w, kind_of(pp), pp->name,
                   "expected an object of this %s, found one of %s %s",
                   kind_of(pp), kind_of(place->pp), place->pp->name);
    }
    switch (range_at(s, *pp->allocator->arena, w->addr, &range)) {
    case KVA_RANGE_ALLOC:
        return say(w, kind_of(pp), pp->name,
                   "expected an object, found a range of %zu bytes",
                   (size_t)range.size);
    case KVA_RANGE_CACHED:
        return say(w, kind_of(pp), pp->name,
                   "expected an object, found free memory");
    default:
        return say(w, kind_of(pp), pp->name,
                   "expected an object, found no slab");
    }
}

/* Given to kmem or malloc, and in a slab that it cannot be in. */
static bool
say_slab(const struct words *w, bool intr, size_t size,
         const struct blame_place *place)
{
    const struct kva_pool *pp = place->pp;
    size_t least;

    if (!is_kmem(pp) && !is_intr(pp)) {
        return say(w, kind_of(pp), pp->name,
                   "expected memory of kmem, found an object of this %s",
                   kind_of(pp));
    }
    if (is_intr(pp) != intr) {
        return say(w, "cache", pp->name,
                   "expected an object of kmem_%salloc, found one of "
                   "kmem_%salloc",
                   intr ? "intr_" : "", intr ? "" : "intr_");
    }
    least = pp->size;
    while (least > 1 && kva_kmem_roundup_size(least - 1) == pp->size) {
        least--;
    }
    return say(w, "cache", pp->name, "expected size %zu to %zu, found size %zu",
               least, pp->size, size);
}

/* Given as whole pages; size 0: without a size. */
static bool
say_pages(const struct stock *s, const struct words *w, bool intr, size_t size)
{
    kva_vmem_t *vm = intr ? kva_kmem_intr_arena : kva_kmem_arena;
    struct kva_range range;

    switch (range_at(s, vm, w->addr, &range)) {
    case KVA_RANGE_ALLOC:
        break;
    case KVA_RANGE_CACHED:
        return say(w, "arena", vm->name,
                   "expected live memory, found free memory");
    default:
        return say(w, "arena", vm->name,
                   "expected memory of this arena, found none");
    }
    if (range.base != w->addr) {
        return say(w, "arena", vm->name,
                   "expected the start of a range, found an address inside "
                   "the one at 0x%lx",
                   UL(range.base));
    }
    if (size != 0 && kva_round_up(size, KVA_PAGE_SIZE) != range.size) {
        return say(
            w, "arena", vm->name, "expected size %zu to %zu, found size %zu",
            (size_t)range.size - KVA_PAGE_SIZE + 1u, (size_t)range.size, size);
    }
    return false;
}

/* The class of that many bytes. */
static struct kva_pool *
class_at(size_t size, bool intr)
{
    char name[24];

    (void)snprintf(name, sizeof(name), "kmem%s-%zu", intr ? "_intr" : "",
                   kva_kmem_roundup_size(size));
    for (struct kva_pool *pp = kva_pool_list; pp != NULL; pp = pp->next) {
        if (strcmp(pp->name, name) == 0) {
            return pp;
        }
    }
    return NULL;
}

static bool
say_kmem(const struct stock *s, const struct words *w, bool intr, size_t size,
         const struct blame_place *place)
{
    const char *arena = intr ? "kmem_intr" : "kmem";
    struct kva_pool *class;

    if (size == 0) {
        return say(w, "arena", arena, "expected a size above 0, found size 0");
    }
    if (kva_round_up(size, KVA_PAGE_SIZE) < size) {
        return say(w, "arena", arena,
                   "expected a size that can be rounded up to pages, found "
                   "size %zu",
                   size);
    }
    if (kva_kmem_roundup_size(size) >= KVA_PAGE_SIZE) {
        return place->pp != NULL ? say_slab(w, intr, size, place)
                                 : say_pages(s, w, intr, size);
    }
    class = class_at(size, intr);
    if (place->pp != NULL && place->pp != class) {
        return say_slab(w, intr, size, place);
    }
    return say_pool(s, w, class, place);
}

static bool
say_malloc(const struct stock *s, const struct words *w,
           const struct blame_place *place)
{
    if (w->addr == 0) {
        return false; /* allowed, and for realloc a malloc */
    }
    if (place->pp == NULL) {
        return say_pages(s, w, false, 0);
    }
    return is_kmem(place->pp) ? say_place(w, place)
                              : say_slab(w, false, 0, place);
}

/* ---- the verdict ----------------------------------------------------- */

/*
 * With checks at flush, what lies in a magazine looks live, whether its object
 * is in the list or not; nor does a put look at what it is given, unless it
 * goes to a slab at once.
 */
bool
blame_is_immediate(const struct stock *s, const struct blame *b)
{
    struct blame_place place = blame_find(b->addr);
    struct kva_range range;

    if (KVA_CONFIG_CHECKS) {
        return true;
    }
    if (place.part == PART_OBJECT && place.state == KVA__OBJECT_LIVE &&
        stock_at(s, b->addr) == NULL) {
        return false;
    }
    if (place.pp == NULL && stock_at(s, b->addr) == NULL &&
        (kva__vmem_lookup(kva_kmem_arena, b->addr, &range) != KVA_RANGE_NONE ||
         kva__vmem_lookup(kva_kmem_intr_arena, b->addr, &range) !=
             KVA_RANGE_NONE)) {
        return false;
    }
    switch (b->way) {
    case BY_POOL_PUT:
    case BY_DESTRUCT:
    case BY_REALLOC:
        return true;
    case BY_KMEM_FREE:
    case BY_INTR_FREE:
        return b->size == 0 || kva_kmem_roundup_size(b->size) >= KVA_PAGE_SIZE;
    case BY_MALLOC_FREE:
        return place.pp == NULL || !is_kmem(place.pp);
    default:
        return false;
    }
}

bool
blame_message(const struct stock *s, const struct blame *b,
              char text[KVA_MESSAGE_MAX])
{
    struct words w = { .text = text,
                       .func = functions[b->way],
                       .addr = b->addr };
    struct blame_place place = blame_find(b->addr);

    switch (b->way) {
    case BY_POOL_PUT:
    case BY_CACHE_PUT:
    case BY_DESTRUCT:
        return say_pool(s, &w, s->member[b->which].pp, &place);
    case BY_KMEM_FREE:
    case BY_INTR_FREE:
        return say_kmem(s, &w, b->way == BY_INTR_FREE, b->size, &place);
    default:
        return say_malloc(s, &w, &place);
    }
}

static void
give(const struct stock *s, const struct blame *b)
{
    const struct stock_member *m = &s->member[b->which];
    void *p = (void *)b->addr;

    switch (b->way) {
    case BY_POOL_PUT:
        kva_pool_put(m->pp, p);
        break;
    case BY_CACHE_PUT:
        kva_pool_cache_put(m->pc, p);
        break;
    case BY_DESTRUCT:
        kva_pool_cache_destruct_object(m->pc, p);
        break;
    case BY_KMEM_FREE:
        kva_kmem_free(p, b->size);
        break;
    case BY_INTR_FREE:
        kva_kmem_intr_free(p, b->size);
        break;
    case BY_MALLOC_FREE:
        kva_free(p, s->type[b->which].mt);
        break;
    default:
        (void)kva_realloc(p, 100, s->type[b->which].mt, M_NOWAIT);
    }
}

const char *
blame_try(const struct stock *s, const struct blame *b, bool *done)
{
    char text[KVA_MESSAGE_MAX];
    struct kva_posix_catch c;
    uint64_t before;

    *done = blame_is_immediate(s, b) && blame_message(s, b, text);
    if (!*done) {
        return NULL;
    }
    before = stock_digest();
    if (KVA_POSIX_TRY(&c)) {
        give(s, b);
        kva_posix_catch_end(&c);
        return stock_text("not reported: %s", text);
    }
    if (strcmp(c.message, text) != 0) {
        return stock_text("reported: %s\n    expected: %s", c.message, text);
    }
    if (c.locks != 0 || kva_posix_locks_held() != 0) {
        return stock_text("a lock is held: %s", text);
    }
    return stock_digest() == before ? NULL
                                    : stock_text("something changed: %s", text);
}
