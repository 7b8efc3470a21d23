/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The first pass over a load.  It knows nothing of any allocator: it follows
 * what is live, finds the record at which most bytes are asked for, gives
 * each cache and kmalloc site a number, and sums up what the recorded kernel
 * itself held at the end of each phase.
 */
#include <stdlib.h>
#include <string.h>

#include "replay/trace.h"

uint64_t
random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The product is made of 32-bit halves: no compiler extension is needed. */
uint64_t
random_below(uint64_t *state, uint64_t n)
{
    uint64_t x = random_next(state);
    uint64_t xl = x & 0xffffffffu, xh = x >> 32;
    uint64_t nl = n & 0xffffffffu, nh = n >> 32;
    uint64_t mid = xh * nl + ((xl * nl) >> 32);
    uint64_t low = xl * nh + (mid & 0xffffffffu);

    return xh * nh + (mid >> 32) + (low >> 32);
}

size_t
trace_area_align(const struct trace *t, unsigned type)
{
    size_t align = (size_t)1 << t->type[type].align_log2;

    return align < TRACE_PAGE ? TRACE_PAGE : align;
}

/* ---- sites ------------------------------------------------------------ */

/*
 * Alignment of objects.  An unknown one is what a C compiler expects; beyond a
 * page a pool cannot go.
 */
static uint32_t
site_align(const struct type *ty)
{
    uint32_t log2 = ty->align_log2;

    if (log2 < 3) {
        log2 = 3;
    }
    return (uint32_t)1 << (log2 > 12 ? 12 : log2);
}

static bool
site_add(struct trace *t, unsigned type, uint32_t size)
{
    struct site *s;

    if ((t->nsite & (t->nsite - 1)) == 0) {
        size_t room = t->nsite == 0 ? 1 : (size_t)t->nsite * 2;

        s = realloc(t->site, room * sizeof(*s));
        if (s == NULL) {
            return false;
        }
        t->site = s;
    }
    s = &t->site[t->nsite];
    s->type = (uint16_t)type;
    s->kind = t->type[type].kind;
    s->size = size;
    s->align = site_align(&t->type[type]);
    s->next = t->first_site[type];
    t->first_site[type] = t->nsite++;
    return true;
}

/* The site of a record, made at its first object. */
static bool
site_note(struct trace *t, const struct record *r)
{
    uint32_t size = r->op == OP_CACHE_ALLOC ? r->a : 0;
    uint32_t i = t->first_site[r->type];

    while (i != NO_SITE && t->site[i].size != size) {
        i = t->site[i].next;
    }
    return i != NO_SITE || site_add(t, r->type, size);
}

/* ---- the pass --------------------------------------------------------- */

struct slot {
    uint32_t a;
    uint32_t b;
};

struct scan {
    struct slot *slot;
    uint64_t live, taken, areas, slabs;
    unsigned phase; /* the first one whose end is not known */
    struct {
        size_t i;
        uint64_t taken, slabs;
    } tick; /* how it was at the last tick */
};

static void
scan_object(struct trace *t, struct scan *s, size_t i)
{
    const struct record *r = &t->record[i];
    struct slot *sl = &s->slot[r->slot];

    t->nreplay++;
    if ((r->op & 1) != 0) {
        s->live -= sl->a;
        s->taken -= sl->b;
        return;
    }
    sl->a = r->a;
    sl->b = r->b;
    s->live += r->a;
    s->taken += r->b;
    if (s->live > t->peak_live_bytes) {
        t->peak_live_bytes = s->live;
        t->peak = i;
    }
    if (s->taken > t->peak_taken_bytes) {
        t->peak_taken_bytes = s->taken;
    }
}

static void
scan_area(struct trace *t, struct scan *s, const struct record *r)
{
    t->nreplay++;
    if (r->op == OP_VMAP_FREE) {
        s->areas -= (uint64_t)s->slot[r->slot].a * TRACE_PAGE;
        return;
    }
    s->slot[r->slot].a = r->a;
    s->areas += (uint64_t)r->a * TRACE_PAGE;
    if (s->areas > t->peak_area_bytes) {
        t->peak_area_bytes = s->areas;
    }
}

/* Of page blocks only the slabs count: in those the objects lie. */
static void
scan_page(const struct trace *t, struct scan *s, const struct record *r)
{
    if (strcmp(t->type[r->type].name, "slab") != 0) {
        return;
    }
    if (r->op == OP_PAGE_FREE) {
        s->slabs -= (uint64_t)TRACE_PAGE << s->slot[r->slot].a;
        return;
    }
    s->slot[r->slot].a = r->a;
    s->slabs += (uint64_t)TRACE_PAGE << r->a;
}

static void
phase_end(struct trace *t, struct scan *s)
{
    struct phase *p = &t->phase[s->phase++];

    p->end = s->tick.i;
    p->recorded_slab_bytes = s->tick.slabs;
    p->recorded_taken_bytes = s->tick.taken;
}

/*
 * A phase ends at the last tick that is not after the start of the next one:
 * what begins there (a drop of all caches, say) can be over by the next tick.
 * The phases of the generator have ends already.
 */
static void
scan_tick(struct trace *t, struct scan *s, size_t i, uint64_t ms)
{
    t->ntick++;
    while (s->phase + 1 < t->nphase && t->phase[s->phase].end == 0 &&
           t->phase[s->phase + 1].from_ms < ms) {
        phase_end(t, s);
    }
    s->tick.i = i;
    s->tick.taken = s->taken;
    s->tick.slabs = s->slabs;
}

/* The phases that are left end with the trace. */
static void
scan_end(struct trace *t, struct scan *s)
{
    s->tick.i = t->nrecord;
    s->tick.taken = s->taken;
    s->tick.slabs = s->slabs;
    while (s->phase < t->nphase && t->phase[s->phase].end == 0) {
        phase_end(t, s);
    }
}

static bool
scan_record(struct trace *t, struct scan *s, size_t i)
{
    const struct record *r = &t->record[i];

    switch (r->op) {
    case OP_TICK:
        scan_tick(t, s, i, r->a);
        break;
    case OP_CACHE_ALLOC:
    case OP_KMALLOC:
        if (!site_note(t, r)) {
            return false;
        }
        scan_object(t, s, i);
        break;
    case OP_CACHE_FREE:
    case OP_KFREE:
        scan_object(t, s, i);
        break;
    case OP_PAGE_ALLOC:
    case OP_PAGE_FREE:
        scan_page(t, s, r);
        break;
    case OP_VMAP_ALLOC:
    case OP_VMAP_FREE:
        scan_area(t, s, r);
        break;
    default:
        break;
    }
    return true;
}

bool
trace_scan(struct trace *t)
{
    struct scan s = { .slot = calloc((size_t)t->nslot + 1, sizeof(*s.slot)) };
    bool ok = s.slot != NULL;

    t->first_site = malloc(((size_t)t->ntype + 1) * sizeof(*t->first_site));
    ok = ok && t->first_site != NULL;
    for (unsigned i = 0; ok && i < t->ntype; i++) {
        t->first_site[i] = NO_SITE;
    }
    for (size_t i = 0; ok && i < t->nrecord; i++) {
        ok = scan_record(t, &s, i);
    }
    if (ok) {
        scan_end(t, &s);
    }
    free(s.slot);
    return ok;
}

void
trace_free(struct trace *t)
{
    free(t->type);
    free(t->record);
    free(t->phase);
    free(t->site);
    free(t->first_site);
    memset(t, 0, sizeof(*t));
}

size_t
trace_va_bytes(const struct trace *t)
{
    uint64_t want = 4 * (t->peak_taken_bytes + t->peak_area_bytes);
    size_t va = (size_t)64 << 20;

    while (va < want && va < (size_t)1 << 42) {
        va *= 2;
    }
    return va;
}
