/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The model of a tree of arenas.  Nothing here uses a function of the library
 * to decide what is right: positions are tried one by one, with divisions.
 */
#include "tests/model/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port/posix/posix.h"
#include "tests/model/book.h"
#include "vmem/vmem_store.h"

#define UNITS_MAX 512u
#define ARENAS_MAX 4u
#define LIVE_MAX 64u /* of each arena */
#define SLOTS 8u     /* parts of the addresses that are added as spans */
#define ALIGN 64u
#define TEXT_MAX 256u
#define BTS KVA_VMEM_EST_BTCOUNT(4, 24)
#define QCACHE 8u /* quanta */
#define RING 8u   /* entries of an audit ring */
/* How far the clock goes at a time, while somebody sleeps. */
#define STEP_NS UINT64_C(20000000)
/* What a sleeper's friends do for him until he is cancelled. */
#define FRIENDS_MAX 200u

enum kind {
    KIND_ROOT,    /* spans are added */
    KIND_DIRECT,  /* imports by vmem_alloc itself */
    KIND_PLAIN,   /* by a function of ours, which may be told to fail */
    KIND_ROUNDED, /* by one that brings more than asked for */
    KIND_LARGE,   /* VM_LARGEIMPORT */
    KIND_KEEPS,   /* never gives back */
    KIND_REQUEST, /* by whole requests, through vmem_rimport */
    KINDS
};

/* What a unit is to an arena. */
struct unit {
    uint16_t span; /* number of its span + 1 as the walk came by; 0: in none */
    bool live;     /* allocated, by somebody or an importer */
    bool added;    /* its span was added, not imported */
    bool cached;   /* held by quantum caches */
};

struct live {
    uintptr_t addr;
    size_t size; /* whole quanta */
    bool x;      /* from vmem_xalloc */
};

struct arena {
    vmem_t *vm;
    enum kind kind;
    int source; /* -1: none */
    unsigned shift;
    size_t quantum;
    bool cached;
    bool private_tags;
    bool indexed;
    size_t import_quantum; /* 0: none */
    size_t limit;          /* 0: none */
    size_t spanned;        /* bytes of spans at the last check */
    bool added;            /* a span, since */
    bool audited;
    struct kva_vmem_audit ring[RING];
    uintptr_t rotor; /* where the last next fit ended */
    bool rotor_known;
    unsigned prepared; /* operations */
    struct unit map[UNITS_MAX];
    struct live live[LIVE_MAX];
    unsigned nlive;
    /* the walk */
    struct unit seen[UNITS_MAX];
    uint16_t start[UNITS_MAX]; /* units of the ALLOC segment that starts here */
    unsigned nspans, nalloc;
    size_t bytes[4]; /* span, free, alloc, cached */
    size_t max_free;
    uintptr_t next, end;
    unsigned last;
};

struct request {
    size_t size, align, phase, nocross;
    uintptr_t min, max;
    vm_flag_t flags;
    uint64_t timeout; /* 0: none, and no vmem_xalloc_timed */
};

struct world {
    struct kva_vmem_btag bts[BTS];
    struct kva_vmem store;
    struct arena arena[ARENAS_MAX];
    unsigned narenas;
    unsigned shift; /* log2 of a unit */
    size_t unit;
    unsigned units;
    uintptr_t origin;
    uint8_t slot[SLOTS]; /* arena it was added to + 1 */
    world_draw_t *draw;
    void *arg;
    bool faults;
    bool no_barrier; /* one failed */
    unsigned long count[WORLD_OUTCOMES];
    size_t spans_before;
    unsigned long walks;
    /* the sleeper */
    struct arena *waiter;
    const struct request *wanted;
    uint64_t began;
    unsigned friends;
    bool cancelled;
    bool lenient;  /* a request may be refused in this step */
    bool prepared; /* the operation is one of those prepared */
    char text[TEXT_MAX];
    bool wrong;
};

/* For callbacks, which know arenas only. */
static struct world *now;

static const char *wrong(struct world *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The first thing that is wrong counts. */
static const char *
wrong(struct world *w, const char *fmt, ...)
{
    va_list ap;

    if (!w->wrong) {
        va_start(ap, fmt);
        (void)vsnprintf(w->text, sizeof(w->text), fmt, ap);
        va_end(ap);
        w->wrong = true;
    }
    return w->text;
}

static uint32_t
draw(struct world *w, uint32_t n)
{
    return n < 2 ? 0 : w->draw(w->arg, n);
}

unsigned long
world_count(const struct world *w, enum world_outcome outcome)
{
    return w->count[outcome];
}

void
world_faults(struct world *w, bool faults)
{
    w->faults = faults;
    if (!faults) {
        kva_posix_fault_reset();
    }
}

static unsigned
number(const struct world *w, const struct arena *a)
{
    return (unsigned)(a - w->arena);
}

static unsigned
unit_of(const struct world *w, uintptr_t addr)
{
    return (unsigned)((addr - w->origin) / w->unit);
}

static uintptr_t
address_of(const struct world *w, unsigned i)
{
    return w->origin + i * w->unit;
}

static unsigned
units_in(const struct world *w, size_t size)
{
    return (unsigned)(size / w->unit);
}

/* ---- import ------------------------------------------------------------- */

/* A site of our own among those of the port. */
static bool
import_fails(void)
{
    static int site = -1;

    if (site < 0) {
        site = kva_posix_fault_add("import");
    }
    if (kva_posix_locks_held() != 0) {
        (void)wrong(now, "import with a lock held");
    }
    return kva_posix_fault(site);
}

static int
import_plain(vmem_t *source, vmem_size_t size, vm_flag_t flags,
             vmem_addr_t *addr)
{
    if ((flags & VM_SLEEP) != 0) {
        (void)wrong(now, "an import that may sleep");
    }
    return import_fails() ? KVA_ENOMEM : vmem_alloc(source, size, flags, addr);
}

static int
import_rounded(vmem_t *source, vmem_size_t size, vmem_size_t *actual,
               vm_flag_t flags, vmem_addr_t *addr)
{
    *actual = (size + 4 * now->unit - 1) / (4 * now->unit) * (4 * now->unit);
    return import_fails() ? KVA_ENOMEM
                          : vmem_alloc(source, *actual, flags, addr);
}

static void
release(vmem_t *source, vmem_addr_t addr, vmem_size_t size)
{
    if (kva_posix_locks_held() != 0) {
        (void)wrong(now, "release with a lock held");
    }
    vmem_free(source, addr, size);
}

/* ---- making ------------------------------------------------------------- */

static uintptr_t
draw_origin(struct world *w)
{
    uintptr_t bytes = (uintptr_t)w->units << w->shift;

    switch (draw(w, 3)) {
    case 0: /* aligned to four units, the largest quantum */
        return (uintptr_t)0x3000c << w->shift;
    case 1:
        return 0;
    default:
        return 0 - bytes;
    }
}

static const char *const names[ARENAS_MAX] = { "zero", "one", "two", "three" };

/* From where it imports, and how. */
static void
set_import(struct world *w, struct arena *a)
{
    vmem_t *source = w->arena[a->source].vm;

    switch (a->kind) {
    case KIND_REQUEST:
        vmem_set_rimport(a->vm, vmem_rimport, vmem_xfree, source,
                         a->import_quantum);
        break;
    case KIND_DIRECT:
        vmem_set_import(a->vm, vmem_alloc, vmem_free, source,
                        a->import_quantum);
        break;
    case KIND_PLAIN:
        vmem_set_import(a->vm, import_plain, release, source,
                        a->import_quantum);
        break;
    default: /* was said at its creation */
        break;
    }
}

static bool
arena_make(struct world *w, struct arena *a)
{
    const char *name = names[number(w, a)];
    vmem_t *source = a->source < 0 ? NULL : w->arena[a->source].vm;
    size_t qcache_max = a->cached ? QCACHE * a->quantum : 0;
    vm_flag_t flags = VM_NOSLEEP | (a->indexed ? VM_INDEX : 0);

    switch (a->kind) {
    case KIND_ROUNDED:
        a->vm = vmem_xcreate(name, 0, 0, a->quantum, import_rounded, release,
                             source, qcache_max, flags, KVA_IPL_NONE);
        break;
    case KIND_KEEPS:
        a->vm = vmem_create(name, 0, 0, a->quantum, import_plain, NULL, source,
                            qcache_max, flags, KVA_IPL_NONE);
        break;
    case KIND_LARGE:
        a->vm =
            vmem_create(name, 0, 0, a->quantum, vmem_alloc, vmem_free, source,
                        qcache_max, flags | VM_LARGEIMPORT, KVA_IPL_NONE);
        break;
    default:
        if (a->private_tags) {
            a->vm = vmem_init(&w->store, name, 0, 0, a->quantum, NULL, NULL,
                              NULL, 0, flags | VM_PRIVTAGS, KVA_IPL_NONE);
            return a->vm != NULL && vmem_add_bts(a->vm, w->bts, BTS) == 0;
        }
        a->vm = vmem_create(name, w->origin, 0, a->quantum, NULL, NULL, NULL,
                            qcache_max, flags, KVA_IPL_NONE);
    }
    if (a->vm != NULL && a->source >= 0) {
        set_import(w, a);
    }
    return a->vm != NULL;
}

/* What it shall be; a source has quanta as large as those of its importers. */
static void
arena_draw(struct world *w, struct arena *a)
{
    unsigned i = number(w, a);
    unsigned most = 2;

    memset(a, 0, sizeof(*a));
    a->source = i == 0 ? -1 : (int)draw(w, i);
    a->kind = i == 0 ? KIND_ROOT : (enum kind)(1 + draw(w, KINDS - 1));
    if (i > 0 && draw(w, 8) == 7) {
        a->source = -1;
        a->kind = KIND_ROOT;
    }
    if (a->source >= 0) {
        most = w->arena[a->source].shift - w->shift;
    }
    /* Requests for a source are in its quanta. */
    a->shift =
        w->shift + most - (a->kind == KIND_REQUEST ? 0 : draw(w, most + 1));
    a->quantum = (size_t)1 << a->shift;
    /* What is in magazines would look live. */
    a->cached = draw(w, 2) != 0 && KVA_CONFIG_CHECKS != 0;
    a->private_tags = i == 0 && !a->cached && draw(w, 4) == 3;
    a->indexed = !a->private_tags && draw(w, 2) != 0;
    a->rotor_known = true;
    if (a->kind == KIND_DIRECT || a->kind == KIND_PLAIN ||
        a->kind == KIND_REQUEST) {
        a->import_quantum = draw(w, 4) == 3 ? 8 * a->quantum : 0;
    }
}

static void
unmake(struct world *w)
{
    while (w->narenas > 0) {
        struct arena *a = &w->arena[--w->narenas];

        if (a->vm != NULL) {
            vmem_destroy(a->vm);
        }
    }
}

static void on_reclaim(vmem_t *vm, vm_flag_t flags);
#if KVA_TIER >= 3
static void on_wait(void *arg, const void *channel);
#endif

struct world *
world_new(world_draw_t *draw_fn, void *arg)
{
    size_t bytes = (sizeof(struct world) + ALIGN - 1) / ALIGN * ALIGN;
    struct world *w = aligned_alloc(ALIGN, bytes);
    static const unsigned shifts[] = { 0, 4, 12 };

    if (w == NULL) {
        return NULL;
    }
    memset(w, 0, bytes);
    now = w;
    w->draw = draw_fn;
    w->arg = arg;
    w->shift = shifts[draw(w, KVA_COUNT(shifts))];
    w->unit = (size_t)1 << w->shift;
    w->units = 64u << draw(w, 4);
    w->origin = draw_origin(w);
    for (unsigned n = 1 + draw(w, ARENAS_MAX); w->narenas < n;) {
        struct arena *a = &w->arena[w->narenas];

        arena_draw(w, a);
        w->narenas++;
        if (!arena_make(w, a)) {
            unmake(w);
            free(w);
            return NULL;
        }
        if (draw(w, 4) == 3) {
            vmem_set_reclaim(a->vm, on_reclaim);
        }
    }
#if KVA_TIER >= 3
    kva_posix_clock_virtual(true);
    kva_posix_wait_hook(on_wait, w);
#endif
    return w;
}

/* ---- checking ----------------------------------------------------------- */

enum {
    BYTES_SPAN,
    BYTES_FREE,
    BYTES_ALLOC,
    BYTES_CACHED
};

static void
see_span(struct world *w, struct arena *a, uintptr_t addr, size_t size)
{
    if (a->next != a->end) {
        (void)wrong(w, "%u: segments before 0x%zx do not fill their span",
                    number(w, a), (size_t)addr);
    }
    a->next = addr;
    a->end = addr + size;
    a->last = VMEM_SPAN;
    a->nspans++;
    a->bytes[BYTES_SPAN] += size;
    for (unsigned i = unit_of(w, addr), n = units_in(w, size); n > 0;
         n--, i++) {
        if (a->seen[i].span != 0) {
            (void)wrong(w, "%u: spans overlap at 0x%zx", number(w, a),
                        (size_t)addr);
        }
        a->seen[i].span = (uint16_t)a->nspans;
    }
}

struct see {
    struct world *w;
    struct arena *a;
};

/* A segment of the walk: into what is seen. */
static void
see(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    struct see *s = arg;
    struct world *w = s->w;
    struct arena *a = s->a;
    unsigned i = unit_of(w, addr), n = units_in(w, size);

    if (size == 0 || size % a->quantum != 0 || i >= w->units ||
        n > w->units - i) {
        (void)wrong(w, "%u: the walk shows 0x%zx of %zu", number(w, a),
                    (size_t)addr, size);
        return;
    }
    if (type == VMEM_SPAN) {
        see_span(w, a, addr, size);
        return;
    }
    if (addr != a->next || (type == VMEM_FREE && a->last == VMEM_FREE)) {
        (void)wrong(w, "%u: 0x%zx of type %u follows 0x%zx of type %u",
                    number(w, a), (size_t)addr, type, (size_t)a->next, a->last);
    }
    a->next = addr + size;
    a->last = type;
    if (type == VMEM_FREE) {
        a->bytes[BYTES_FREE] += size;
        a->max_free = size > a->max_free ? size : a->max_free;
        return;
    }
    if (type == VMEM_ALLOC) {
        a->nalloc++;
        a->start[i] = (uint16_t)n;
    }
    a->bytes[type == VMEM_ALLOC ? BYTES_ALLOC : BYTES_CACHED] += size;
    for (unsigned k = 0; k < n; k++) {
        a->seen[i + k].cached = type == VMEM_CACHED;
        a->seen[i + k].live = type == VMEM_ALLOC;
    }
}

static void
walk(struct world *w, struct arena *a)
{
    struct see s = { w, a };

    memset(a->seen, 0, w->units * sizeof(a->seen[0]));
    memset(a->start, 0, w->units * sizeof(a->start[0]));
    memset(a->bytes, 0, sizeof(a->bytes));
    a->nspans = a->nalloc = 0;
    a->max_free = 0;
    a->next = a->end = 0;
    vmem_walk(a->vm,
              VMEM_ALLOC | VMEM_FREE | VMEM_CACHED | VMEM_SPAN |
                  (w->walks++ % 4 == 0 ? VMEM_REENTRANT : 0),
              see, &s);
    if (a->next != a->end) {
        (void)wrong(w, "%u: the last segments do not fill their span",
                    number(w, a));
    }
}

static void
check_totals(struct world *w, struct arena *a)
{
    size_t busy = a->bytes[BYTES_ALLOC] + a->bytes[BYTES_CACHED];
    struct kva_vmem_stat st;

    vmem_stat(a->vm, &st);
    if (vmem_size(a->vm, VMEM_ALLOC) != busy ||
        vmem_size(a->vm, VMEM_FREE) != a->bytes[BYTES_FREE] ||
        vmem_size(a->vm, VMEM_CACHED) != a->bytes[BYTES_CACHED] ||
        vmem_size(a->vm, VMEM_MAXFREE) != a->max_free) {
        (void)wrong(w, "%u: vmem_size does not agree with the walk",
                    number(w, a));
    }
    if (st.mem_inuse != busy || st.mem_total != a->bytes[BYTES_SPAN] ||
        st.mem_cached != a->bytes[BYTES_CACHED] || st.spans != a->nspans) {
        (void)wrong(w, "%u: vmem_stat does not agree with the walk",
                    number(w, a));
    }
}

/* The live ranges are there, each as one segment. */
static unsigned
check_live(struct world *w, const struct arena *a)
{
    for (unsigned k = 0; k < a->nlive; k++) {
        const struct live *l = &a->live[k];

        if (a->start[unit_of(w, l->addr)] != units_in(w, l->size)) {
            (void)wrong(w, "%u: 0x%zx of %zu is live and not in the walk",
                        number(w, a), (size_t)l->addr, l->size);
        }
    }
    return a->nlive;
}

/* Units from i on that are of one span, or all of none. */
static unsigned
stretch(const struct world *w, const struct unit *map, unsigned i)
{
    unsigned n = 1;

    while (i + n < w->units && map[i + n].span == map[i].span) {
        n++;
    }
    return n;
}

/* So are the spans that c imported, rounded to the quanta of the source.  Those
 * that are kept join, also with what was added. */
static unsigned
check_child(struct world *w, const struct arena *a, const struct arena *c)
{
    unsigned q = units_in(w, a->quantum), count = 0;

    for (unsigned i = 0, n, at; i < w->units; i += n) {
        for (n = 1;
             i + n < w->units && c->seen[i + n].span == c->seen[i].span &&
             c->map[i + n].added == c->map[i].added;
             n++) {
        }
        if (c->seen[i].span == 0 || c->map[i].added) {
            continue;
        }
        for (at = i; at < i + n && a->start[at] != 0; at += a->start[at]) {
            count++;
        }
        if (at != (i + n + q - 1) / q * q ||
            (c->kind != KIND_KEEPS && a->start[i] < n)) {
            (void)wrong(w,
                        "%u: the span at 0x%zx of %u units is not the "
                        "source's; there are %u units of it",
                        number(w, c), (size_t)address_of(w, i), n, a->start[i]);
        }
    }
    return count;
}

/* Added spans are there; imported ones are taken over, but none is all free
 * if it could have been released. */
static void
check_spans(struct world *w, struct arena *a)
{
    bool gives = a->kind != KIND_ROOT && a->kind != KIND_KEEPS;

    for (unsigned i = 0, n; i < w->units; i += n) {
        bool in = a->seen[i].span != 0, busy = !in || !gives;

        n = stretch(w, a->seen, i);
        for (unsigned k = i; k < i + n; k++) {
            busy |= a->seen[k].live || a->seen[k].cached || a->map[k].added;
            if ((a->map[k].added || a->kind == KIND_ROOT) &&
                in != a->map[k].added) {
                (void)wrong(w, "%u: 0x%zx is %sin a span", number(w, a),
                            (size_t)address_of(w, k), in ? "" : "not ");
            }
        }
        if (!busy) {
            (void)wrong(w, "%u: the span at 0x%zx is free and still there",
                        number(w, a), (size_t)address_of(w, i));
        }
    }
}

/* What the arena handed out is somebody's, and its map is as what was seen. */
static void
check_map(struct world *w, struct arena *a)
{
    unsigned count = check_live(w, a);

    check_spans(w, a);
    if (a->limit != 0 && a->bytes[BYTES_SPAN] > a->limit &&
        a->bytes[BYTES_SPAN] > a->spanned && !a->added) {
        (void)wrong(w, "%u: spans of %zu, and the limit is %zu", number(w, a),
                    a->bytes[BYTES_SPAN], a->limit);
    }
    a->spanned = a->bytes[BYTES_SPAN];
    a->added = false;
    for (unsigned c = number(w, a) + 1; c < w->narenas; c++) {
        if (w->arena[c].source == (int)number(w, a)) {
            count += check_child(w, a, &w->arena[c]);
        }
    }
    if (count != a->nalloc) {
        (void)wrong(w, "%u: %u segments are somebody's, and the walk has %u",
                    number(w, a), count, a->nalloc);
    }
    for (unsigned i = 0; i < w->units; i++) {
        a->map[i].span = a->seen[i].span;
        a->map[i].cached = a->seen[i].cached;
        a->map[i].live = a->seen[i].live;
    }
}

/* Everything against everything.  NULL, or what is wrong. */
static const char *
check(struct world *w)
{
    size_t spans = 0, before = w->spans_before;

    for (unsigned k = 0; k < w->narenas && !w->wrong; k++) {
        struct arena *a = &w->arena[k];
        const char *bad = vmem_check(a->vm);

        if (bad != NULL) {
            return wrong(w, "%u: vmem_check: %s", k, bad);
        }
        walk(w, a);
        check_totals(w, a);
        spans += a->source < 0 ? 0 : a->nspans;
    }
    for (unsigned k = 0; k < w->narenas && !w->wrong; k++) {
        check_map(w, &w->arena[k]);
    }
    w->count[WORLD_IMPORTED] += spans > before ? spans - before : 0;
    w->count[WORLD_RELEASED] += spans < before ? before - spans : 0;
    w->spans_before = spans;
    return w->wrong ? w->text : NULL;
}

/* ---- what the maps say -------------------------------------------------- */

static bool
is_free(const struct arena *a, unsigned i)
{
    return a->map[i].span != 0 && !a->map[i].live && !a->map[i].cached;
}

static unsigned
hole_at(const struct world *w, const struct arena *a, unsigned i)
{
    unsigned n = 0;

    while (i + n < w->units && is_free(a, i + n) &&
           a->map[i + n].span == a->map[i].span) {
        n++;
    }
    return n;
}

static bool
obeys(const struct request *rq, uintptr_t addr)
{
    uintptr_t last = addr + (rq->size - 1);

    return last >= addr && addr >= rq->min && last <= rq->max &&
           addr % rq->align == rq->phase &&
           (rq->nocross == 0 || addr / rq->nocross == last / rq->nocross);
}

/* Bytes of the smallest hole of the map that serves; 0: none does. */
static size_t
smallest_hole(const struct world *w, const struct arena *a,
              const struct request *rq)
{
    unsigned need = units_in(w, rq->size), best = 0;

    for (unsigned i = 0; i < w->units; i++) {
        unsigned n = hole_at(w, a, i);

        for (unsigned k = 0; n >= need && k <= n - need; k++) {
            if ((best == 0 || n < best) && obeys(rq, address_of(w, i + k))) {
                best = n;
            }
        }
        i += n > 0 ? n - 1 : 0;
    }
    return best * w->unit;
}

static size_t
hole_around(const struct world *w, const struct arena *a, uintptr_t addr)
{
    unsigned i = unit_of(w, addr);

    while (i > 0 && is_free(a, i - 1) && a->map[i - 1].span == a->map[i].span) {
        i--;
    }
    return hole_at(w, a, i) * w->unit;
}

static size_t
rounded(size_t size, size_t to)
{
    return to == 0 ? size : (size + to - 1) / to * to;
}

/* A request of size bytes without constraints. */
static struct request
wholly_open(const struct arena *a, size_t size)
{
    return (struct request){ .size = rounded(size, a->quantum),
                             .align = a->quantum,
                             .max = UINTPTR_MAX };
}

/* The same, as vmem_alloc of a would see it. */
static struct request
plain(const struct arena *a, size_t size)
{
    struct request rq = wholly_open(a, size);

    if (a->cached && rq.size <= QCACHE * a->quantum &&
        (rq.size & (rq.size - 1)) == 0) {
        rq.align = rq.size; /* quantum caches refuse what is not aligned */
    }
    return rq;
}

/* May a span of size bytes come: the arena stays within its limit. */
static bool
may_grow(const struct arena *a, size_t size)
{
    return a->limit == 0 || (a->bytes[BYTES_SPAN] <= a->limit &&
                             size <= a->limit - a->bytes[BYTES_SPAN]);
}

/* No constraint at all. */
static bool
is_open(const struct arena *a, const struct request *rq)
{
    return rq->align == a->quantum && rq->phase == 0 && rq->nocross == 0 &&
           rq->min == 0 && rq->max == UINTPTR_MAX;
}

/*
 * Is there room for the request, here or in an arena below?  Constraints are
 * passed on where the source is as fine as the arena and its whole answer is
 * what was asked for; else a span from below need not serve, and does not
 * count.
 */
static bool
has_room(const struct world *w, const struct arena *a, struct request rq)
{
    while (smallest_hole(w, a, &rq) == 0) {
        bool open = is_open(a, &rq);
        bool passed = (a->kind == KIND_DIRECT || a->kind == KIND_REQUEST) &&
                      a->import_quantum == 0;
        const struct arena *source;

        if (a->source < 0) {
            return false;
        }
        source = &w->arena[a->source];
        rq.size = rounded(rq.size, a->kind == KIND_ROUNDED ? 4 * w->unit
                                                           : a->import_quantum);
        if (!may_grow(a, rq.size) ||
            (!open && (!passed || source->quantum != a->quantum))) {
            return false;
        }
        if (open) {
            rq = a->kind == KIND_REQUEST ? wholly_open(source, rq.size)
                                         : plain(source, rq.size);
        }
        a = source;
    }
    return true;
}

/* ---- live ranges -------------------------------------------------------- */

/* The arena handed a range out: none that it has handed out before.  That it is
 * none of an importer's either, the next check will see. */
static void
add_live(struct world *w, struct arena *a, uintptr_t addr, size_t size, bool x)
{
    unsigned i = unit_of(w, addr), n = units_in(w, size);

    if (addr % a->quantum != 0 || i >= w->units || n > w->units - i) {
        (void)wrong(w, "%u: 0x%zx of %zu was handed out", number(w, a),
                    (size_t)addr, size);
        return;
    }
    for (unsigned k = 0; k < a->nlive; k++) {
        const struct live *l = &a->live[k];

        if (l->addr <= addr + (size - 1) && addr <= l->addr + (l->size - 1)) {
            (void)wrong(w, "%u: 0x%zx of %zu was handed out, and is live",
                        number(w, a), (size_t)addr, size);
        }
    }
    while (n-- > 0) {
        a->map[i + n].live = true;
    }
    a->live[a->nlive++] = (struct live){ addr, size, x };
}

/* The newest entry of the ring is this. */
static void
expect_noted(struct world *w, struct arena *a, const struct live *l,
             enum kva_vmem_event op)
{
    struct kva_vmem_audit event = { .number = 0 };

    if (a->audited &&
        (vmem_audit_find(a->vm, l->addr, &event) != 0 ||
         event.addr != l->addr || event.size != l->size || event.op != op)) {
        (void)wrong(w, "%u: the ring has 0x%zx of %zu, event %u", number(w, a),
                    (size_t)event.addr, event.size, event.op);
    }
}

static void
free_live(struct world *w, struct arena *a, unsigned k)
{
    const struct live l = a->live[k];
    unsigned i = unit_of(w, l.addr);
    size_t size = l.size - draw(w, (uint32_t)a->quantum); /* rounds up to it */

    a->live[k] = a->live[--a->nlive];
    for (unsigned n = units_in(w, l.size); n > 0; n--) {
        a->map[i++].live = false;
    }
    if (l.x) {
        vmem_xfree(a->vm, l.addr, size);
    } else {
        vmem_free(a->vm, l.addr, size);
    }
    expect_noted(w, a, &l, l.x ? KVA_VMEM_AUDIT_XFREE : KVA_VMEM_AUDIT_FREE);
    w->count[WORLD_FREED]++;
}

/* A live range of any arena goes; false: there is none. */
static bool
free_any(struct world *w)
{
    unsigned k = draw(w, w->narenas);

    for (unsigned n = 0; n < w->narenas; n++) {
        struct arena *a = &w->arena[(k + n) % w->narenas];

        if (a->nlive > 0) {
            free_live(w, a, draw(w, a->nlive));
            return true;
        }
    }
    return false;
}

static void
on_reclaim(vmem_t *vm, vm_flag_t flags)
{
    struct world *w = now;

    if (kva_posix_locks_held() != 0 || (flags & (VM_SLEEP | VM_NOSLEEP)) == 0) {
        (void)wrong(w, "reclaim with a lock held, or without flags");
    }
    for (unsigned k = 0; k < w->narenas; k++) {
        struct arena *a = &w->arena[k];

        if (a->vm == vm && a->nlive > 0) {
            free_live(w, a, a->nlive - 1);
            w->count[WORLD_RECLAIMED]++;
        }
    }
}

/* ---- ranges changed in place -------------------------------------------- */

/* Tags are few here, or in an arena below. */
static bool
may_lack_tags(const struct world *w, const struct arena *a)
{
    while (!a->private_tags && a->source >= 0) {
        a = &w->arena[a->source];
    }
    return w->faults || a->private_tags;
}

/* A prepared operation is used up. */
static void
spend(struct world *w, struct arena *a)
{
    if (w->prepared) {
        a->prepared--;
        w->count[WORLD_PREPARED]++;
    }
}

static void
mark(struct world *w, struct arena *a, const struct live *l, bool live)
{
    unsigned i = unit_of(w, l->addr);

    for (unsigned n = units_in(w, l->size); n > 0; n--) {
        a->map[i++].live = live;
    }
}

/* A range of vmem_xalloc, the first from some on; NULL: there is none. */
static struct live *
draw_x(struct world *w, struct arena *a)
{
    unsigned k = draw(w, a->nlive);

    for (unsigned n = 0; n < a->nlive; n++) {
        struct live *l = &a->live[(k + n) % a->nlive];

        if (l->x) {
            return l;
        }
    }
    return NULL;
}

/* Any size that rounds up to it. */
static size_t
draw_bytes(struct world *w, const struct arena *a, size_t size)
{
    return size - draw(w, (uint32_t)a->quantum);
}

/* A change that takes tags was done; false: it was not, for want of them. */
static bool
was_changed(struct world *w, struct arena *a, const char *what, int err)
{
    bool lenient = !w->prepared && (w->waiter != NULL || may_lack_tags(w, a));

    if (err == 0) {
        spend(w, a);
    } else if (err != KVA_ENOMEM || !lenient) {
        (void)wrong(w, "%u: %s: %d", number(w, a), what, err);
    }
    return err == 0;
}

static const char *
step_trim(struct world *w, struct arena *a)
{
    struct live *l = draw_x(w, a);
    struct live to;
    unsigned n, from;
    size_t old;
    int err;

    if (l == NULL) {
        return NULL;
    }
    n = units_in(w, l->size) / units_in(w, a->quantum);
    from = draw(w, n);
    to.addr = l->addr + from * a->quantum;
    to.size = (1 + draw(w, n - from)) * a->quantum;
    to.x = true;
    old = draw_bytes(w, a, l->size);
    err = w->prepared ? vmem_xtrim_prepared(a->vm, l->addr, old, to.addr,
                                            draw_bytes(w, a, to.size))
                      : vmem_xtrim(a->vm, l->addr, old, to.addr,
                                   draw_bytes(w, a, to.size));
    if (was_changed(w, a, "vmem_xtrim", err)) {
        mark(w, a, l, false);
        mark(w, a, &to, true);
        *l = to;
        w->count[WORLD_TRIMMED]++;
    }
    return NULL;
}

static const char *
step_split(struct world *w, struct arena *a)
{
    struct live *l = draw_x(w, a);
    size_t first, old;
    int err;

    if (l == NULL || l->size == a->quantum || a->nlive == LIVE_MAX) {
        return NULL;
    }
    first = (1 + draw(w, (uint32_t)(l->size / a->quantum) - 1)) * a->quantum;
    old = draw_bytes(w, a, l->size);
    err = w->prepared ? vmem_xsplit_prepared(a->vm, l->addr, old, first)
                      : vmem_xsplit(a->vm, l->addr, old, first);
    if (was_changed(w, a, "vmem_xsplit", err)) {
        a->live[a->nlive++] =
            (struct live){ l->addr + first, l->size - first, true };
        l->size = first;
        w->count[WORLD_SPLIT]++;
    }
    return NULL;
}

/* A range with one right behind it; both of vmem_xalloc. */
static const char *
step_join(struct world *w, struct arena *a)
{
    struct live *l = draw_x(w, a), *behind = NULL;
    int err, want;

    for (unsigned k = 0; l != NULL && k < a->nlive; k++) {
        if (a->live[k].x && a->live[k].addr == l->addr + l->size) {
            behind = &a->live[k];
        }
    }
    if (behind == NULL) {
        return NULL;
    }
    want = a->map[unit_of(w, l->addr)].span ==
                   a->map[unit_of(w, behind->addr)].span
               ? 0
               : KVA_EINVAL;
    err = vmem_xjoin(a->vm, l->addr, l->size, draw_bytes(w, a, behind->size));
    if (err != want) {
        return wrong(w, "%u: vmem_xjoin of %zu at 0x%zx and %zu: %d, not %d",
                     number(w, a), l->size, (size_t)l->addr, behind->size, err,
                     want);
    }
    w->count[err == 0 ? WORLD_JOINED : WORLD_UNCHANGED]++;
    if (err == 0) {
        l->size += behind->size;
        *behind = a->live[--a->nlive];
    }
    return NULL;
}

/* Units around a range that are free, and of its span. */
static bool
is_room_around(const struct world *w, const struct arena *a,
               const struct live *l, const struct live *to)
{
    unsigned first = unit_of(w, to->addr), own = unit_of(w, l->addr);

    for (unsigned i = first; i < first + units_in(w, to->size); i++) {
        if (i - own >= units_in(w, l->size) &&
            (!is_free(a, i) || a->map[i].span != a->map[own].span)) {
            return false;
        }
    }
    return true;
}

/* At both ends; it takes no tags. */
static const char *
step_extend(struct world *w, struct arena *a)
{
    struct live *l = draw_x(w, a);
    unsigned before, behind, q = units_in(w, a->quantum);
    struct live to;
    size_t old;
    int err, want;

    if (l == NULL) {
        return NULL;
    }
    before = draw(w, 4) * q;
    behind = draw(w, 4) * q;
    if (before > unit_of(w, l->addr) ||
        behind > w->units - unit_of(w, l->addr) - units_in(w, l->size)) {
        return NULL;
    }
    to.addr = l->addr - before * w->unit;
    to.size = l->size + (before + behind) * w->unit;
    to.x = true;
    want = is_room_around(w, a, l, &to) ? 0 : KVA_ENOMEM;
    old = draw_bytes(w, a, l->size);
    err = vmem_xextend(a->vm, l->addr, old, to.addr, draw_bytes(w, a, to.size));
    if (err != want) {
        return wrong(w,
                     "%u: vmem_xextend of %zu at 0x%zx to %zu at 0x%zx: %d, "
                     "not %d",
                     number(w, a), l->size, (size_t)l->addr, to.size,
                     (size_t)to.addr, err, want);
    }
    w->count[err == 0 ? WORLD_EXTENDED : WORLD_UNCHANGED]++;
    if (err == 0) {
        mark(w, a, &to, true);
        *l = to;
    }
    return NULL;
}

/* ---- waiting ------------------------------------------------------------ */

#if KVA_TIER >= 3
/* Nobody can help him any more, or has the patience. */
static void
give_up(struct world *w)
{
    w->cancelled = true;
    w->count[WORLD_CANCELLED]++;
    if (draw(w, 2) == 0) {
        (void)kva_posix_cancel_waits();
    } else if (vmem_cancel(w->waiter->vm, w) != 0 || /* nobody's cookie */
               vmem_cancel(w->waiter->vm,
                           w->wanted->timeout != 0 ? w->wanted : NULL) != 1) {
        (void)wrong(w, "%u: who waits is not found to be cancelled",
                    number(w, w->waiter));
        (void)kva_posix_cancel_waits();
    }
}

/* Who waits may be using a prepared operation; his friend does not. */
static void
friend_trims(struct world *w)
{
    bool prepared = w->prepared;

    w->prepared = false;
    (void)step_trim(w, &w->arena[draw(w, w->narenas)]);
    w->prepared = prepared;
}

/*
 * A request is about to sleep; what others do meanwhile is done here.  He must
 * not sleep while there is room, and tags for it, and be woken once there are.
 */
static void
on_wait(void *arg, const void *channel)
{
    struct world *w = arg;
    bool first = true;

    (void)channel;
    w->count[WORLD_WAITED]++;
    while (kva_posix_waiters() > 0 && !w->wrong) {
        if (check(w) == NULL && !may_lack_tags(w, w->waiter) &&
            has_room(w, w->waiter, *w->wanted)) {
            (void)wrong(w, "%u: a request for %zu sleeps %s, and there is room",
                        number(w, w->waiter), w->wanted->size,
                        first ? "at once" : "on");
        }
        first = false;
        if (w->friends++ == FRIENDS_MAX || !free_any(w)) {
            give_up(w);
        } else if (draw(w, 16) == 15) {
            kva_posix_clock_advance(STEP_NS);
            w->count[WORLD_TIMED]++;
        } else if (draw(w, 16) == 15) {
            vmem_retry(w->waiter->vm);
        } else if (draw(w, 8) == 7) {
            friend_trims(w);
        }
    }
    if (w->wrong) {
        (void)kva_posix_cancel_waits();
    }
}
#endif

/* ---- requests ----------------------------------------------------------- */

static size_t
draw_size(struct world *w, const struct arena *a)
{
    uint32_t most = w->units / units_in(w, a->quantum);

    switch (draw(w, 8)) {
    case 0:
        return (1 + draw(w, most / 4)) * a->quantum;
    case 1:
    case 2:
        return (1 + draw(w, 32)) * a->quantum;
    default:
        return (1 + draw(w, 8)) * a->quantum;
    }
}

/* May a constrained request wait: not where an import on the way may bring and
 * take back what does not serve, over and over: a function of the caller's own
 * is told a size only, and a source with larger quanta not all. */
static bool
may_wait(const struct world *w, const struct arena *a)
{
    for (;;) {
        if (a->kind == KIND_PLAIN || a->kind == KIND_ROUNDED ||
            a->kind == KIND_KEEPS) {
            return false;
        }
        if (a->source < 0) {
            return true;
        }
        if (a->quantum != w->arena[a->source].quantum) {
            return false;
        }
        a = &w->arena[a->source];
    }
}

static vm_flag_t
draw_flags(struct world *w, const struct arena *a, bool open)
{
    static const vm_flag_t fits[] = {
        0,
        VM_INSTANTFIT,
        VM_BESTFIT,
        VM_ENDALLOC,
        VM_BESTFIT | VM_ENDALLOC,
        VM_FIRSTFIT,
        VM_NEXTFIT,
    };
    vm_flag_t flags =
        fits[draw(w, (uint32_t)KVA_COUNT(fits) - (a->indexed ? 0 : 2))];

    flags |= w->prepared ? VM_PREPARED : 0;
    switch (draw(w, 16)) {
    case 15:
    case 14:
        return flags | (open || may_wait(w, a) ? VM_SLEEP : VM_NOSLEEP);
    case 13:
        return flags | VM_NOSLEEP | VM_ABORT;
    case 12:
        return flags | VM_NOSLEEP | VM_ONESTEP;
    default:
        return flags | VM_NOSLEEP;
    }
}

/* Each constraint is there half of the time. */
static struct request
draw_request(struct world *w, const struct arena *a)
{
    struct request rq = { .align = a->quantum, .max = UINTPTR_MAX };
    uintptr_t first, last;

    rq.size = draw_size(w, a);
    if (draw(w, 2) != 0) {
        rq.align = a->quantum << draw(w, 7);
    }
    if (draw(w, 2) != 0) {
        rq.phase = a->quantum * draw(w, (uint32_t)(rq.align / a->quantum));
    }
    if (draw(w, 2) != 0) {
        rq.nocross = a->quantum;
        while (rq.nocross < rq.size) {
            rq.nocross *= 2;
        }
        rq.nocross <<= draw(w, 4);
    }
    if (draw(w, 2) != 0) { /* anywhere, not on quanta */
        first = address_of(w, draw(w, w->units)) + draw(w, (uint32_t)w->unit);
        last = address_of(w, draw(w, w->units)) + draw(w, (uint32_t)w->unit);
        rq.min = first < last ? first : last;
        rq.max = first < last ? last : first;
    }
    return rq;
}

/* Where the map would put the request with that fit; false: anywhere. */
static bool
place_for(const struct world *w, const struct arena *a,
          const struct request *rq, uintptr_t *place)
{
    struct request from = *rq;

    if ((rq->flags & VM_NEXTFIT) != 0 && !a->rotor_known) {
        return false;
    }
    if ((rq->flags & VM_NEXTFIT) != 0 && a->rotor > rq->min &&
        a->rotor <= rq->max) {
        from.min = a->rotor;
        if (smallest_hole(w, a, &from) == 0) {
            from.min = rq->min;
        }
    } else if ((rq->flags & (VM_FIRSTFIT | VM_NEXTFIT)) == 0) {
        return false;
    }
    for (unsigned i = 0; i < w->units; i++) {
        if (hole_at(w, a, i) >= units_in(w, rq->size) &&
            obeys(&from, address_of(w, i))) {
            *place = address_of(w, i);
            return true;
        }
    }
    return false;
}

/* What the maps say before a request. */
struct forecast {
    size_t smallest; /* hole that serves, 0: none */
    bool placed;
    uintptr_t place;
};

static unsigned
holes(const struct world *w, const struct arena *a)
{
    unsigned count = 0;

    for (unsigned i = 0; i < w->units; i++) {
        count += is_free(a, i) && (i == 0 || !is_free(a, i - 1) ||
                                   a->map[i - 1].span != a->map[i].span);
    }
    return count;
}

/* It gave up, since it was told to or its time had come. */
static bool
gave_up(const struct world *w, int err)
{
    return err == KVA_EINTR && (w->cancelled || w->faults);
}

static bool
timed_out(const struct world *w, const struct request *rq, int err)
{
#if KVA_TIER >= 3
    return err == KVA_ETIMEDOUT && rq->timeout != 0 &&
           kva_port_clock() - w->began >= rq->timeout;
#else
    (void)w;
    (void)rq;
    (void)err;
    return false;
#endif
}

/* A request was refused: rightly? */
static const char *
judge_refusal(struct world *w, struct arena *a, const struct request *rq,
              int err)
{
    bool lenient = !w->prepared && (w->lenient || may_lack_tags(w, a));

    if (check(w) != NULL) {
        return w->text;
    }
    w->count[WORLD_FULL]++;
    if (err == KVA_EAGAIN) { /* it may have looked at so many */
        return (rq->flags & VM_ONESTEP) != 0 && holes(w, a) >= 64
                   ? NULL
                   : wrong(w, "%u: one step, and %u holes", number(w, a),
                           holes(w, a));
    }
    if (gave_up(w, err)) {
        return NULL;
    }
    if (timed_out(w, rq, err)) {
        err = KVA_ENOMEM;
    }
    if (err != KVA_ENOMEM || (!lenient && has_room(w, a, *rq))) {
        return wrong(w,
                     "%u: %zu (align %zu, phase %zu, nocross %zu, 0x%zx to "
                     "0x%zx, flags 0x%x) is refused with %d",
                     number(w, a), rq->size, rq->align, rq->phase, rq->nocross,
                     (size_t)rq->min, (size_t)rq->max, rq->flags, err);
    }
    return NULL;
}

static bool
was_free(const struct world *w, const struct arena *a, uintptr_t addr,
         size_t size)
{
    unsigned first = unit_of(w, addr), n = units_in(w, size);

    for (unsigned i = 0; i < n; i++) {
        if (!is_free(a, first + i)) {
            return false;
        }
    }
    return true;
}

/* It was met: as it should be? */
static const char *
judge_place(struct world *w, struct arena *a, const struct request *rq,
            uintptr_t addr, const struct forecast *f)
{
    w->count[WORLD_DONE]++;
    if (!obeys(rq, addr)) {
        return wrong(w,
                     "%u: 0x%zx of %zu is not as asked for (align %zu, phase "
                     "%zu, nocross %zu, 0x%zx to 0x%zx)",
                     number(w, a), (size_t)addr, rq->size, rq->align, rq->phase,
                     rq->nocross, (size_t)rq->min, (size_t)rq->max);
    }
    if (w->faults && !was_free(w, a, addr, rq->size)) {
        return NULL; /* a span came, since holes could not be cut */
    }
    if (f->placed && addr != f->place) {
        return wrong(w, "%u: flags 0x%x put %zu at 0x%zx, not at 0x%zx",
                     number(w, a), rq->flags, rq->size, (size_t)addr,
                     (size_t)f->place);
    }
    if ((rq->flags & VM_BESTFIT) != 0 && f->smallest != 0) {
        w->count[WORLD_BEST]++;
        if (hole_around(w, a, addr) != f->smallest) {
            return wrong(w,
                         "%u: best fit of %zu (align %zu, phase %zu, nocross "
                         "%zu, 0x%zx to 0x%zx, flags 0x%x) is in a hole of "
                         "%zu, and there is one of %zu",
                         number(w, a), rq->size, rq->align, rq->phase,
                         rq->nocross, (size_t)rq->min, (size_t)rq->max,
                         rq->flags, hole_around(w, a, addr), f->smallest);
        }
    }
    return NULL;
}

enum call {
    CALL_ALLOC,
    CALL_XALLOC,
    CALL_ADDR
};

/* A next fit has ended there if there was a hole for it at once.  Otherwise an
 * import may have been one in a source, and a reclaim may have made room. */
static void
note_rotor(struct world *w, struct arena *a, uintptr_t end, bool known)
{
    a->rotor = end;
    a->rotor_known = known;
    while (!known && a->source >= 0) {
        a = &w->arena[a->source];
        a->rotor_known = false;
    }
}

static int
call_it(struct arena *a, enum call call, const struct request *rq, size_t size,
        uintptr_t *addr)
{
    struct vmem_request timed = {
        .size = size,
        .align = rq->align,
        .phase = rq->phase,
        .nocross = rq->nocross,
        .minaddr = rq->min,
        .maxaddr = rq->max,
        .flags = rq->flags,
    };

    if (call == CALL_ALLOC) {
        return vmem_alloc(a->vm, size, rq->flags, addr);
    }
    if (call == CALL_ADDR) {
        return vmem_xalloc_addr(a->vm, rq->min, size, rq->flags);
    }
    if (rq->timeout != 0) {
        return vmem_xalloc_timed(a->vm, &timed, rq->timeout, rq, addr);
    }
    return vmem_xalloc(a->vm, size, rq->align == a->quantum ? 0 : rq->align,
                       rq->phase, rq->nocross, rq->min, rq->max, rq->flags,
                       addr);
}

/* Since the counts were so: a fault fired, and others gave what they could; or
 * it had room, and no tags, and so reclaimed. */
static bool
took_another_way(const struct world *w, const struct arena *a,
                 unsigned long fired, unsigned long reclaimed)
{
    return fired != kva_posix_fault_fired(KVA_POSIX_ANY) ||
           (reclaimed != w->count[WORLD_RECLAIMED] && may_lack_tags(w, a));
}

static const char *
request(struct world *w, struct arena *a, enum call call,
        const struct request *rq)
{
    size_t size = rq->size - draw(w, (uint32_t)a->quantum);
    bool served = call == CALL_ALLOC && a->cached && !w->prepared &&
                  rq->size <= QCACHE * a->quantum;
    unsigned long waited = w->count[WORLD_WAITED];
    unsigned long reclaimed = w->count[WORLD_RECLAIMED];
    unsigned long fired = kva_posix_fault_fired(KVA_POSIX_ANY);
    struct forecast f = { 0, false, 0 };
    uintptr_t addr = rq->min;
    const char *bad;
    int err;

    if (!served) {
        f.smallest = smallest_hole(w, a, rq);
        f.placed = place_for(w, a, rq, &f.place);
    }
    w->waiter = a;
    w->wanted = rq;
    w->friends = 0;
    w->cancelled = false;
#if KVA_TIER >= 3
    w->began = kva_port_clock();
#endif
    err = call_it(a, call, rq, size, &addr);
    w->waiter = NULL;
    if (waited != w->count[WORLD_WAITED]) {
        w->count[WORLD_WOKEN] += err == 0;
        f = (struct forecast){ 0, false, 0 }; /* others were busy meanwhile */
    }
    if (took_another_way(w, a, fired, reclaimed)) {
        f = (struct forecast){ 0, false, 0 };
    }
    if (w->wrong) {
        return w->text;
    }
    if ((rq->flags & VM_NEXTFIT) != 0) {
        note_rotor(w, a, addr + rq->size, err == 0 && f.smallest != 0);
    }
    if (err != 0) {
        return judge_refusal(w, a, rq, err);
    }
    bad = judge_place(w, a, rq, addr, &f);
    if (bad != NULL) {
        return bad;
    }
    spend(w, a);
    add_live(w, a, addr, rq->size, call != CALL_ALLOC);
    expect_noted(w, a, &a->live[a->nlive - 1],
                 call == CALL_ALLOC ? KVA_VMEM_AUDIT_ALLOC
                                    : KVA_VMEM_AUDIT_XALLOC);
    return w->wrong ? w->text : NULL;
}

static const char *
step_alloc(struct world *w, struct arena *a)
{
    struct request rq = plain(a, draw_size(w, a));

    rq.flags = draw_flags(w, a, true);
    return request(w, a, CALL_ALLOC, &rq);
}

static const char *
step_xalloc(struct world *w, struct arena *a)
{
    struct request rq = draw_request(w, a);

    rq.flags = draw_flags(w, a, false);
    rq.timeout = draw(w, 4) == 3 ? 1 + draw(w, 3) * STEP_NS : 0;
    return request(w, a, CALL_XALLOC, &rq);
}

static const char *
step_addr(struct world *w, struct arena *a)
{
    unsigned q = units_in(w, a->quantum), most = w->units / q;
    unsigned i = draw(w, most);
    unsigned n = 1 + draw(w, most - i < 16 ? most - i : 16);
    struct request rq = { .size = n * a->quantum, .align = a->quantum };

    rq.min = address_of(w, i * q);
    rq.max = rq.min + (rq.size - 1);
    rq.flags = draw_flags(w, a, false);
    return request(w, a, CALL_ADDR, &rq);
}

/* ---- other steps -------------------------------------------------------- */

static const char *
step_free(struct world *w, struct arena *a)
{
    if (a->nlive > 0) {
        free_live(w, a, draw(w, a->nlive));
    } else {
        (void)free_any(w);
    }
    return NULL;
}

/* A span in a slot that nobody has: all of it, or a part. */
static const char *
step_add(struct world *w, struct arena *a)
{
    unsigned slot = draw(w, SLOTS), q = units_in(w, a->quantum);
    unsigned each = w->units / SLOTS, first = 0, n = each;
    int err;

    if (w->slot[slot] != 0) {
        return NULL;
    }
    if (draw(w, 2) != 0) {
        first = draw(w, each / 2 / q) * q;
        n = (1 + draw(w, each / 2 / q)) * q;
    }
    first += slot * each;
    /* Elsewhere it may be a span that was imported. */
    for (unsigned i = first; i < first + n; i++) {
        if (a->map[i].span != 0) {
            return NULL;
        }
    }
    err = vmem_add(a->vm, address_of(w, first), n * w->unit,
                   VM_NOSLEEP | (w->prepared ? VM_PREPARED : 0));
    if (err != 0) {
        return !w->prepared && may_lack_tags(w, a)
                   ? NULL
                   : wrong(w, "vmem_add: %d", err);
    }
    spend(w, a);
    w->slot[slot] = (uint8_t)(number(w, a) + 1);
    w->count[WORLD_ADDED]++;
    a->added = true;
    for (unsigned i = first; i < first + n; i++) {
        a->map[i].added = true;
    }
    return NULL;
}

static const char *
step_drain(struct world *w, struct arena *a)
{
    bool all = draw(w, 2) == 0;
    struct kva_vmem_stat before, after;

    vmem_stat(a->vm, &before);
    (void)vmem_drain(a->vm, all ? SIZE_MAX : draw(w, 64) * a->quantum,
                     all ? 0 : draw(w, 64) * a->quantum);
    vmem_stat(a->vm, &after);
    w->count[WORLD_CUT] += after.resize != before.resize;
    return NULL;
}

static const char *
step_cpu(struct world *w, struct arena *a)
{
    (void)a;
#if KVA_TIER >= 1
    if (kva_posix_cpu_set(draw(w, 2)) != 0) {
        return wrong(w, "no slot");
    }
#else
    (void)w;
#endif
    return NULL;
}

static void
book_of(const struct world *w, const struct arena *a, struct book *b)
{
    b->vm = a->vm;
    b->name = names[number(w, a)];
    b->quantum = a->quantum;
    b->nspan = b->nlive = 0;
    for (unsigned i = 0; i < w->units; i++) {
        if (a->map[i].span == 0) {
            continue;
        }
        if (i > 0 && a->map[i].span == a->map[i - 1].span) {
            b->span[b->nspan - 1].size += w->unit;
        } else {
            b->span[b->nspan++] =
                (struct range){ address_of(w, i), w->unit, false };
        }
    }
    for (unsigned k = 0; k < a->nlive; k++) {
        b->live[b->nlive++] =
            (struct range){ a->live[k].addr, a->live[k].size, a->live[k].x };
    }
}

/* Imports stop at a limit; what is there stays. */
static const char *
step_limit(struct world *w, struct arena *a)
{
    if (a->source >= 0) {
        a->limit = draw(w, 2) == 0 ? 0 : draw(w, w->units) * w->unit;
        vmem_set_limit(a->vm, a->limit);
        w->count[WORLD_LIMITED]++;
    }
    return NULL;
}

/* A request while every nth is let fail. */
static const char *
step_inject(struct world *w, struct arena *a)
{
    unsigned n = 1 + draw(w, 3);
    const char *bad;

    vmem_set_mtbf(a->vm, n);
    w->lenient = true;
    bad = step_alloc(w, a);
    if (bad == NULL) {
        bad = check(w);
    }
    if (bad == NULL && a->nlive < LIVE_MAX) {
        bad = step_xalloc(w, a);
    }
    w->lenient = false;
    vmem_set_mtbf(a->vm, 0);
    w->count[WORLD_INJECTED]++;
    return bad;
}

static const char *
step_audit(struct world *w, struct arena *a)
{
    a->audited = !a->audited;
    w->count[WORLD_AUDITED] += a->audited;
    memset(a->ring, 0, sizeof(a->ring));
    vmem_set_audit(a->vm, a->audited ? a->ring : NULL, a->audited ? RING : 0);
    return NULL;
}

/* The kind of segment that the map has at unit i. */
static bool
is_kind(const struct world *w, const struct arena *a, unsigned i,
        const struct kva_vmem_segment *seg)
{
    const struct live *l = NULL;

    for (unsigned k = 0; k < a->nlive; k++) {
        if (address_of(w, i) - a->live[k].addr < a->live[k].size) {
            l = &a->live[k];
        }
    }
    if (l != NULL) {
        return seg->addr == l->addr && seg->size == l->size &&
               (seg->kind ==
                    (l->x ? KVA_VMEM_KIND_XALLOC : KVA_VMEM_KIND_ALLOC) ||
                (!l->x && seg->kind == KVA_VMEM_KIND_LIVE));
    }
    if (a->map[i].cached) {
        return seg->kind == KVA_VMEM_KIND_PIECE ||
               seg->kind == KVA_VMEM_KIND_CACHED;
    }
    if (!a->map[i].live) {
        return seg->kind == KVA_VMEM_KIND_FREE &&
               seg->addr + seg->size ==
                   address_of(w, i) + hole_at(w, a, i) * w->unit;
    }
    return a->start[unit_of(w, seg->addr)] == units_in(w, seg->size);
}

/* What an address is, and whether a range is in one span. */
static const char *
step_look(struct world *w, struct arena *a)
{
    unsigned i = draw(w, w->units), n = 1 + draw(w, w->units - i), last = i;
    uintptr_t addr = address_of(w, i);
    struct kva_vmem_segment seg;
    bool in;
    int err = vmem_find(a->vm, addr + draw(w, (uint32_t)w->unit), &seg);

    if (err != (a->map[i].span != 0 ? 0 : KVA_ENOENT) ||
        (err == 0 &&
         (addr - seg.addr >= seg.size || !is_kind(w, a, i, &seg) ||
          addr - seg.span_addr >= seg.span_size ||
          (!a->map[i].added && a->kind != KIND_KEEPS) != seg.imported))) {
        return wrong(w, "%u: vmem_find of 0x%zx: %d", number(w, a),
                     (size_t)addr, err);
    }
    w->count[WORLD_LOOKED] += err == 0;
    while (last + 1 < i + n && a->map[last + 1].span == a->map[i].span) {
        last++;
    }
    in = a->map[i].span != 0 && last == i + n - 1;
    if (vmem_contains(a->vm, addr, n * w->unit) != in) {
        return wrong(w, "%u: vmem_contains of 0x%zx, %u units", number(w, a),
                     (size_t)addr, n);
    }
    return NULL;
}

/* ---- prepared operations ------------------------------------------------ */

static const char *
prepare(struct world *w, struct arena *a)
{
    unsigned n = 1 + draw(w, 3);
    int err = vmem_prepare(a->vm, n, VM_NOSLEEP);

    if (err == 0) {
        a->prepared = n;
    } else if (err != KVA_ENOMEM || !may_lack_tags(w, a)) {
        return wrong(w, "%u: vmem_prepare of %u: %d", number(w, a), n, err);
    }
    return NULL;
}

static void
note_barrier(struct world *w)
{
    w->no_barrier |= kva_posix_fault_fired(KVA_POSIX_BARRIER) > 0;
}

/* One of those prepared, with no page of metadata to be had: it may find no
 * room, but not no tags. */
static const char *
step_prepared(struct world *w, struct arena *a)
{
    static const struct {
        const char *(*step)(struct world *w, struct arena *a);
    } uses[] = {
        { step_alloc }, { step_xalloc }, { step_addr },
        { step_add },   { step_trim },   { step_split },
    };
    const char *bad;

    if (a->prepared == 0) {
        return prepare(w, a);
    }
    if (draw(w, 8) == 7) {
        unsigned n = 1 + draw(w, a->prepared);

        vmem_unprepare(a->vm, n);
        a->prepared -= n;
        w->count[WORLD_UNPREPARED]++;
        return NULL;
    }
    note_barrier(w);
    kva_posix_fault_reset();
    kva_posix_fault_arm(KVA_POSIX_META_GET, 1, true);
    w->prepared = true;
    bad = uses[draw(w, KVA_COUNT(uses))].step(w, a);
    w->prepared = false;
    kva_posix_fault_disarm(KVA_POSIX_META_GET);
    return bad;
}

/* ---- misuse and the rest ------------------------------------------------ */

/* A free that is wrong, or not; if it is, the book knows the report. */
static const char *
step_misuse(struct world *w, struct arena *a)
{
    static struct book book;
    enum way way = (enum way)draw(w, WAYS);
    uintptr_t addr = address_of(w, draw(w, w->units));
    size_t size = draw_size(w, a);
    char text[KVA_MESSAGE_MAX];
    struct kva_posix_catch c;
    unsigned unit;

    if (a->nlive > 0 && draw(w, 2) != 0) {
        const struct live *l = &a->live[draw(w, a->nlive)];

        addr = l->addr + draw(w, (uint32_t)l->size);
        size = l->size;
    }
    book_of(w, a, &book);
    unit = unit_of(w, addr);
    if ((unit < w->units && a->map[unit].live &&
         book_live(&book, addr) == NULL) || /* an importer's: as if right */
        !book_message(&book, way, addr, size, text)) {
        return NULL;
    }
    if (KVA_POSIX_TRY(&c)) {
        if (way == BY_XFREE) {
            vmem_xfree(a->vm, addr, size);
        } else {
            vmem_free(a->vm, addr, size);
        }
        kva_posix_catch_end(&c);
        return wrong(w, "not reported: %s", text);
    }
    w->count[WORLD_MISUSED]++;
    if (strcmp(c.message, text) != 0 || c.locks != 0) {
        return wrong(w, "%u locks: %s, expected: %.*s", c.locks, c.message, 100,
                     text);
    }
    return NULL;
}

static bool
has_importers(const struct world *w, const struct arena *a)
{
    for (unsigned c = 0; c < w->narenas; c++) {
        if (w->arena[c].source == (int)number(w, a)) {
            return true;
        }
    }
    return false;
}

static const char *
step_free_all(struct world *w, struct arena *a)
{
    if (!a->cached && !has_importers(w, a) && draw(w, 2) != 0) {
        vmem_xfreeall(a->vm);
        a->nlive = 0;
    }
    while (a->nlive > 0) {
        free_live(w, a, a->nlive - 1);
    }
    return NULL;
}

/* What an arena that never gives back has kept goes back behind its end. */
static void
destroy(struct world *w, struct arena *a)
{
    struct arena *source = a->source < 0 ? NULL : &w->arena[a->source];

    vmem_destroy(a->vm);
    a->vm = NULL;
    for (unsigned i = 0; a->kind == KIND_KEEPS && i < w->units; i++) {
        if (a->map[i].span != 0 && !a->map[i].added && source->start[i] != 0) {
            vmem_free(source->vm, address_of(w, i), source->start[i] * w->unit);
        }
    }
    for (unsigned s = 0; s < SLOTS; s++) {
        if (w->slot[s] == number(w, a) + 1) {
            w->slot[s] = 0;
        }
    }
}

/* The last arena, from which nobody imports, in another shape. */
static const char *
step_remake(struct world *w, struct arena *a)
{
    a = &w->arena[w->narenas - 1];
    if (w->faults) { /* an arena that cannot be made is no more */
        return NULL;
    }
    (void)step_free_all(w, a);
    if (check(w) != NULL) {
        return w->text;
    }
    destroy(w, a);
    arena_draw(w, a);
    if (!arena_make(w, a)) {
        w->narenas--;
        return wrong(w, "an arena cannot be made again");
    }
    w->count[WORLD_REMADE]++;
    return NULL;
}

typedef const char *step_t(struct world *w, struct arena *a);

/* One after the other is as likely as it has rows. */
static step_t *const steps[] = {
    step_free,     step_free,     step_free,  step_free,   step_free,
    step_free,     step_free,     step_free,  step_alloc,  step_alloc,
    step_alloc,    step_alloc,    step_alloc, step_alloc,  step_xalloc,
    step_xalloc,   step_xalloc,   step_addr,  step_addr,   step_add,
    step_add,      step_drain,    step_cpu,   step_misuse, step_misuse,
    step_trim,     step_split,    step_join,  step_extend, step_extend,
    step_prepared, step_prepared,
};
static step_t *const rare[] = {
    step_drain, step_free_all, step_remake, step_limit,
    step_look,  step_look,     step_inject, step_audit,
};

static void
arm_fault(struct world *w)
{
    int site = (int)draw(w, (uint32_t)kva_posix_fault_sites());

    if (site != KVA_POSIX_WAIT || draw(w, 2) != 0) {
        kva_posix_fault_arm(site, 1 + draw(w, 4), draw(w, 2) != 0);
        w->count[WORLD_FAULTED]++;
    }
}

const char *
world_step(struct world *w)
{
    uint32_t op = draw(w, (uint32_t)KVA_COUNT(steps) + 1);
    struct arena *a = &w->arena[draw(w, w->narenas)];
    step_t *step = op < KVA_COUNT(steps)
                       ? steps[op]
                       : rare[draw(w, (uint32_t)KVA_COUNT(rare))];
    bool takes = step == step_alloc || step == step_xalloc ||
                 step == step_addr || step == step_inject ||
                 step == step_prepared;
    const char *bad;

    if (takes && a->nlive == LIVE_MAX) {
        step = step_free;
    }
    if (w->faults) {
        arm_fault(w);
    }
    bad = step(w, a);
    if (w->faults) {
        note_barrier(w);
        kva_posix_fault_reset();
    }
    return bad != NULL ? bad : check(w);
}

/* From any CPU; but one that has not answered a barrier once is not asked for
 * its magazines again, and has to do it itself. */
static void
drain_all(struct world *w)
{
    for (unsigned cpu = 0; cpu < (w->no_barrier ? 2u : 1u); cpu++) {
#if KVA_TIER >= 1
        if (w->no_barrier && kva_posix_cpu_set(cpu) != 0) {
            (void)wrong(w, "no slot");
        }
#endif
        for (unsigned k = w->narenas; k-- > 0;) {
            (void)vmem_drain(w->arena[k].vm, SIZE_MAX, 0);
        }
    }
}

const char *
world_end(struct world *w)
{
    static char text[TEXT_MAX];

    world_faults(w, false);
    while (!w->wrong && free_any(w)) {
    }
    while (!w->wrong && w->narenas > 0) {
        struct arena *a = &w->arena[w->narenas - 1];

        drain_all(w); /* also what an arena that ended gave back */
        if (check(w) == NULL &&
            a->bytes[BYTES_ALLOC] + a->bytes[BYTES_CACHED] != 0) {
            (void)wrong(w, "%u: all is free and drained, and %zu bytes are not",
                        number(w, a),
                        a->bytes[BYTES_ALLOC] + a->bytes[BYTES_CACHED]);
        }
        if (w->wrong) {
            break;
        }
        destroy(w, a);
        w->narenas--;
    }
#if KVA_TIER >= 3
    kva_posix_wait_hook(NULL, NULL);
#endif
    if (w->wrong) {
        memcpy(text, w->text, sizeof(text));
        free(w); /* the arenas stay as they are, to be looked at */
        return text;
    }
    free(w);
    return NULL;
}
