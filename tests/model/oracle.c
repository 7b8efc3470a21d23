/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The model.  Nothing here uses a function of the library to decide what is
 * right: positions are tried one by one, with divisions.
 */
#include "tests/model/oracle.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmem/vmem_store.h"

#define BTS KVA_VMEM_EST_BTCOUNT(MODEL_SLOTS, MODEL_LIVE_MAX)
#define MODEL_ALIGN 64
#define TEXT_MAX 256

struct live {
    uintptr_t addr;
    size_t size; /* whole quanta */
    bool x;      /* from vmem_xalloc */
};

/* What a quantum is. */
struct quantum {
    uint16_t span; /* number of its span + 1; 0: in none */
    uint16_t live; /* number of its live range + 1 */
    bool cached;   /* held by quantum caches */
};

struct request {
    size_t size, align, phase, nocross;
    uintptr_t min, max;
    bool best;
};

struct model {
    struct kva_vmem_btag bts[BTS];
    struct kva_vmem store;
    struct model_config cf;
    vmem_t *vm;       /* what is tested */
    vmem_t *below[2]; /* its source, and that one's */
    unsigned nbelow;
    bool dynamic; /* spans come and go by import */
    bool cached;  /* there are quantum caches in vm */
    bool refusal;
    size_t quantum;
    uintptr_t origin;
    bool added[MODEL_SLOTS];
    struct quantum map[MODEL_QUANTA_MAX];
    struct live live[MODEL_LIVE_MAX];
    unsigned nlive;
    unsigned long count[MODEL_OUTCOMES];
    /* the walk of a check */
    struct quantum seen[MODEL_QUANTA_MAX];
    unsigned nspans, nfree, nalloc;
    size_t bytes_span, bytes_free, bytes_alloc, bytes_cached, max_free;
    size_t parent_bytes;
    uintptr_t next; /* where the next segment must start */
    uintptr_t end;  /* first address past the span */
    unsigned last;  /* type of the segment before */
    char text[TEXT_MAX];
    bool wrong;
};

static const char *wrong(struct model *m, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static const char *
wrong(struct model *m, const char *fmt, ...)
{
    va_list ap;

    if (!m->wrong) {
        va_start(ap, fmt);
        (void)vsnprintf(m->text, sizeof(m->text), fmt, ap);
        va_end(ap);
        m->wrong = true;
    }
    return m->text;
}

void
model_allow_refusal(struct model *m, bool allow)
{
    m->refusal = allow;
}

unsigned long
model_count(const struct model *m, enum model_outcome outcome)
{
    return m->count[outcome];
}

static unsigned
index_of(const struct model *m, uintptr_t addr)
{
    return (unsigned)((addr - m->origin) / m->quantum);
}

static uintptr_t
address_of(const struct model *m, unsigned i)
{
    return m->origin + i * m->quantum;
}

/* ---- making ------------------------------------------------------------- */

static uintptr_t
origin_for(const struct model_config *cf)
{
    uintptr_t bytes = (uintptr_t)cf->quanta << cf->shift;

    switch (cf->place) {
    case MODEL_ZERO:
        return 0;
    case MODEL_TOP:
        return 0 - bytes;
    default: /* aligned to nothing but the quantum */
        return ((uintptr_t)0x30003 << cf->shift) & ~(bytes / bytes - 1);
    }
}

static vmem_t *
make_source(const struct model *m, const char *name, vmem_t *source,
            size_t qcache_max)
{
    size_t bytes = source == NULL ? m->cf.quanta * m->quantum : 0;

    return vmem_create(name, source == NULL ? m->origin : 0, bytes, m->quantum,
                       source == NULL ? NULL : vmem_alloc,
                       source == NULL ? NULL : vmem_free, source, qcache_max,
                       VM_NOSLEEP, KVA_IPL_NONE);
}

static bool
make_private(struct model *m)
{
    m->vm = vmem_init(&m->store, "model", 0, 0, m->quantum, NULL, NULL, NULL, 0,
                      VM_NOSLEEP | VM_PRIVTAGS, KVA_IPL_NONE);
    return m->vm != NULL && vmem_add_bts(m->vm, m->bts, BTS) == 0;
}

/* The arena with what is below it; false: no memory. */
static bool
make(struct model *m)
{
    vm_flag_t flags = VM_NOSLEEP;
    size_t qcache_max = m->cached ? 8 * m->quantum : 0;
    bool large = m->cf.kind == MODEL_LARGE;
    vmem_t *source = NULL;

    if (m->cf.kind == MODEL_PRIVATE) {
        return make_private(m);
    }
    if (m->dynamic) {
        m->below[0] = source = make_source(m, "below", NULL, 0);
        m->nbelow = source != NULL;
    }
    if (m->cf.kind == MODEL_STACK && source != NULL) {
        m->below[1] = source = make_source(m, "middle", source, 4 * m->quantum);
        m->nbelow += source != NULL;
    }
    if (m->dynamic && source == NULL) {
        return false;
    }
    flags |= large ? VM_LARGEIMPORT : 0;
    flags |= m->cf.index ? VM_INDEX : 0;
    m->vm = vmem_create(
        "model", m->origin, 0, m->quantum, m->dynamic ? vmem_alloc : NULL,
        m->dynamic ? vmem_free : NULL, source, qcache_max, flags, KVA_IPL_NONE);
    if (m->vm != NULL && m->dynamic && !large) {
        /* More than is asked for, so that there are holes. */
        vmem_set_import(m->vm, vmem_alloc, vmem_free, source, 8 * m->quantum);
    }
    return m->vm != NULL;
}

static void
unmake(struct model *m)
{
    if (m->vm != NULL) {
        vmem_destroy(m->vm);
    }
    while (m->nbelow > 0) {
        vmem_destroy(m->below[--m->nbelow]);
    }
}

struct model *
model_new(const struct model_config *cf)
{
    size_t bytes =
        (sizeof(struct model) + MODEL_ALIGN - 1) / MODEL_ALIGN * MODEL_ALIGN;
    struct model *m = aligned_alloc(MODEL_ALIGN, bytes);

    if (m == NULL) {
        return NULL;
    }
    memset(m, 0, bytes);
    m->cf = *cf;
    m->quantum = (size_t)1 << cf->shift;
    m->origin = origin_for(cf);
    m->dynamic = cf->kind == MODEL_IMPORT || cf->kind == MODEL_LARGE ||
                 cf->kind == MODEL_STACK;
    m->cached = cf->kind == MODEL_QCACHE;
    if (!make(m)) {
        unmake(m);
        free(m);
        return NULL;
    }
    return m;
}

/* ---- checking ----------------------------------------------------------- */

static void
see_span(struct model *m, uintptr_t addr, size_t size)
{
    if (m->next != m->end) {
        (void)wrong(m, "the segments before 0x%zx do not fill their span",
                    (size_t)addr);
    }
    m->next = addr;
    m->end = addr + size;
    m->last = VMEM_SPAN;
    m->nspans++;
    m->bytes_span += size;
}

static void
count_segment(struct model *m, size_t size, unsigned type)
{
    if (type == VMEM_FREE) {
        m->nfree++;
        m->bytes_free += size;
        m->max_free = size > m->max_free ? size : m->max_free;
    } else if (type == VMEM_ALLOC) {
        m->nalloc++;
        m->bytes_alloc += size;
    } else {
        m->bytes_cached += size;
    }
}

/* With checks at flush what is in magazines looks live. */
static unsigned
type_seen(const struct model *m, unsigned i, unsigned type)
{
    if (!KVA_CONFIG_CHECKS && type == VMEM_ALLOC && i < m->cf.quanta &&
        m->map[i].live == 0) {
        return VMEM_CACHED;
    }
    return type;
}

/* A segment of the walk: into what is seen. */
static void
see(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    struct model *m = arg;
    unsigned i = index_of(m, addr), n = (unsigned)(size / m->quantum);

    type = type_seen(m, i, type);

    if (size == 0 || size % m->quantum != 0 || i >= m->cf.quanta ||
        n > m->cf.quanta - i) {
        (void)wrong(m, "the walk shows 0x%zx of %zu", (size_t)addr, size);
        return;
    }
    if (type == VMEM_SPAN) {
        see_span(m, addr, size);
        for (; n > 0; n--, i++) {
            if (m->seen[i].span != 0) {
                (void)wrong(m, "spans overlap at 0x%zx", (size_t)addr);
            }
            m->seen[i].span = (uint16_t)m->nspans;
        }
        return;
    }
    if (addr != m->next || (type == VMEM_FREE && m->last == VMEM_FREE)) {
        (void)wrong(m, "segment 0x%zx of type %u follows 0x%zx of type %u",
                    (size_t)addr, type, (size_t)m->next, m->last);
    }
    m->next = addr + size;
    m->last = type;
    count_segment(m, size, type);
    for (unsigned k = 0; k < n; k++) {
        m->seen[i + k].cached = type == VMEM_CACHED;
        m->seen[i + k].live = type == VMEM_ALLOC ? (uint16_t)(k + 1) : 0;
    }
}

/* The walk has the live ranges, and nothing else: seen.live holds distances
 * from the first quantum, so that two ranges do not look like one. */
static const char *
check_live(struct model *m)
{
    if (m->nalloc != m->nlive) {
        return wrong(m, "%u ranges are live, and the walk shows %u", m->nlive,
                     m->nalloc);
    }
    for (unsigned k = 0; k < m->nlive; k++) {
        const struct live *l = &m->live[k];
        unsigned i = index_of(m, l->addr);
        unsigned n = (unsigned)(l->size / m->quantum);

        for (unsigned j = 0; j < n; j++) {
            if (m->seen[i + j].live != j + 1) {
                return wrong(m, "0x%zx of %zu is live and not in the walk",
                             (size_t)l->addr, l->size);
            }
        }
    }
    return NULL;
}

/* Spans are those added; imported ones are taken over, but none is all free
 * (it would have been released). */
static const char *
check_spans(struct model *m)
{
    for (unsigned i = 0; i < m->cf.quanta; i++) {
        bool first = i == 0 || m->seen[i].span != m->seen[i - 1].span;

        if (!m->dynamic && (m->seen[i].span != 0) != (m->map[i].span != 0)) {
            return wrong(m, "0x%zx is %sin a span", (size_t)address_of(m, i),
                         m->map[i].span != 0 ? "not " : "");
        }
        if (!m->dynamic || m->seen[i].span == 0 || !first) {
            continue;
        }
        for (unsigned k = i; m->seen[k].live == 0; k++) {
            if (k + 1 == m->cf.quanta ||
                m->seen[k + 1].span != m->seen[i].span) {
                return wrong(m, "the span at 0x%zx is free and still there",
                             (size_t)address_of(m, i));
            }
        }
    }
    return NULL;
}

static const char *
check_totals(struct model *m)
{
    struct kva_vmem_stat st;

    vmem_stat(m->vm, &st);
    if (vmem_size(m->vm, VMEM_ALLOC) != m->bytes_alloc + m->bytes_cached ||
        vmem_size(m->vm, VMEM_FREE) != m->bytes_free ||
        vmem_size(m->vm, VMEM_CACHED) != m->bytes_cached ||
        vmem_size(m->vm, VMEM_MAXFREE) != m->max_free) {
        return wrong(m, "vmem_size does not agree with the walk");
    }
    if (st.mem_inuse != m->bytes_alloc + m->bytes_cached ||
        st.mem_total != m->bytes_span || st.mem_cached != m->bytes_cached ||
        st.mem_import != (m->dynamic ? m->bytes_span : 0)) {
        return wrong(m, "bytes of vmem_stat do not agree with the walk");
    }
    if (st.spans != m->nspans || st.tags_span != m->nspans ||
        st.tags_free != m->nfree || (!m->cached && st.tags_busy != m->nalloc)) {
        return wrong(m, "tags of vmem_stat do not agree with the walk");
    }
    return NULL;
}

static void
see_parent(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    struct model *m = arg;
    unsigned i = index_of(m, addr);

    (void)type;
    if (!KVA_CONFIG_CHECKS && i < m->cf.quanta && m->seen[i].span == 0) {
        return; /* in a magazine below */
    }
    m->parent_bytes += size;
    if (i >= m->cf.quanta || m->seen[i].span == 0 ||
        (i > 0 && m->seen[i].span == m->seen[i - 1].span)) {
        (void)wrong(m, "0x%zx is allocated below and starts no span",
                    (size_t)addr);
    }
}

/* Everything the source handed out is a span here, and the other way round. */
static const char *
check_below(struct model *m)
{
    for (unsigned k = 0; k < m->nbelow; k++) {
        const char *bad = vmem_check(m->below[k]);

        if (bad != NULL) {
            return wrong(m, "below: %s", bad);
        }
    }
    if (m->nbelow == 0) {
        return NULL;
    }
    m->parent_bytes = 0;
    vmem_walk(m->below[m->nbelow - 1], VMEM_ALLOC, see_parent, m);
    if (m->parent_bytes != m->bytes_span) {
        return wrong(m, "%zu bytes are allocated below, and spans have %zu",
                     m->parent_bytes, m->bytes_span);
    }
    return m->wrong ? m->text : NULL;
}

const char *
model_check(struct model *m)
{
    const char *bad = vmem_check(m->vm);

    if (bad != NULL) {
        return wrong(m, "vmem_check: %s", bad);
    }
    memset(m->seen, 0, m->cf.quanta * sizeof(m->seen[0]));
    m->nspans = m->nfree = m->nalloc = 0;
    m->bytes_span = m->bytes_free = m->bytes_alloc = m->bytes_cached = 0;
    m->max_free = 0;
    m->next = m->end = 0;
    vmem_walk(m->vm, VMEM_ALLOC | VMEM_FREE | VMEM_CACHED | VMEM_SPAN, see, m);
    if (m->next != m->end) {
        return wrong(m, "the last segments do not fill their span");
    }
    if (m->wrong || check_live(m) != NULL || check_spans(m) != NULL ||
        check_totals(m) != NULL || check_below(m) != NULL) {
        return m->text;
    }
    for (unsigned i = 0; i < m->cf.quanta; i++) {
        m->map[i].cached = m->seen[i].cached;
        if (m->dynamic) {
            m->map[i].span = m->seen[i].span;
        }
    }
    return NULL;
}

/* ---- what the map says -------------------------------------------------- */

static bool
is_free(const struct model *m, unsigned i)
{
    return m->map[i].span != 0 && m->map[i].live == 0 && !m->map[i].cached;
}

/* Quanta of the hole that starts at i. */
static unsigned
hole_at(const struct model *m, unsigned i)
{
    unsigned n = 0;

    while (i + n < m->cf.quanta && is_free(m, i + n) &&
           m->map[i + n].span == m->map[i].span) {
        n++;
    }
    return n;
}

/* The range at addr keeps to the request, wherever holes are. */
static bool
obeys(const struct request *rq, uintptr_t addr)
{
    uintptr_t last = addr + (rq->size - 1);

    return last >= addr && addr >= rq->min && last <= rq->max &&
           addr % rq->align == rq->phase &&
           (rq->nocross == 0 || addr / rq->nocross == last / rq->nocross);
}

/* Bytes of the smallest hole that serves the request, every position tried;
 * 0: none does. */
static size_t
smallest_hole(const struct model *m, const struct request *rq)
{
    unsigned need = (unsigned)(rq->size / m->quantum), best = 0;

    for (unsigned i = 0; i < m->cf.quanta; i++) {
        unsigned n = hole_at(m, i);

        for (unsigned k = 0; n >= need && k <= n - need; k++) {
            if ((best == 0 || n < best) && obeys(rq, address_of(m, i + k))) {
                best = n;
            }
        }
        i += n > 0 ? n - 1 : 0;
    }
    return best * m->quantum;
}

/* Bytes of the hole around addr. */
static size_t
hole_around(const struct model *m, uintptr_t addr)
{
    unsigned i = index_of(m, addr);

    while (i > 0 && is_free(m, i - 1) && m->map[i - 1].span == m->map[i].span) {
        i--;
    }
    return hole_at(m, i) * m->quantum;
}

/* ---- live ranges -------------------------------------------------------- */

static void
mark(struct model *m, const struct live *l, unsigned number)
{
    unsigned i = index_of(m, l->addr);

    for (unsigned n = (unsigned)(l->size / m->quantum); n > 0; n--) {
        m->map[i++].live = (uint16_t)number;
    }
}

/* The arena handed a range out: it must be in the map and nobody's. */
static const char *
add_live(struct model *m, uintptr_t addr, size_t size, bool x)
{
    struct live *l = &m->live[m->nlive];
    unsigned i = index_of(m, addr), n = (unsigned)(size / m->quantum);

    if (addr % m->quantum != 0 || i >= m->cf.quanta || n > m->cf.quanta - i) {
        return wrong(m, "0x%zx of %zu was handed out", (size_t)addr, size);
    }
    for (unsigned k = 0; k < n; k++) {
        if (m->map[i + k].live != 0) {
            return wrong(m, "0x%zx of %zu was handed out, and is live",
                         (size_t)addr, size);
        }
    }
    *l = (struct live){ addr, size, x };
    mark(m, l, ++m->nlive);
    return NULL;
}

static void
drop_live(struct model *m, unsigned k)
{
    mark(m, &m->live[k], 0);
    m->live[k] = m->live[--m->nlive];
    if (k < m->nlive) {
        mark(m, &m->live[k], k + 1);
    }
}

/* ---- operations --------------------------------------------------------- */

/* A hole of the map serves the request, and still it was refused. */
static const char *
refused(struct model *m, const struct request *rq, const char *what)
{
    if (m->refusal || smallest_hole(m, rq) == 0) {
        return NULL;
    }
    return wrong(m,
                 "%s refuses %zu (align %zu, phase %zu, nocross %zu, "
                 "0x%zx to 0x%zx), and there is room",
                 what, rq->size, rq->align, rq->phase, rq->nocross,
                 (size_t)rq->min, (size_t)rq->max);
}

/* A best fit comes from the smallest hole that will do. */
static const char *
check_best(struct model *m, const struct request *rq, uintptr_t addr)
{
    size_t want = smallest_hole(m, rq), got;

    if (!rq->best || want == 0) { /* 0: a span was imported for it */
        return NULL;
    }
    m->count[MODEL_BEST]++;
    got = hole_around(m, addr);
    if (got != want) {
        return wrong(m,
                     "best fit of %zu is in a hole of %zu, and there is "
                     "one of %zu",
                     rq->size, got, want);
    }
    return NULL;
}

static size_t
draw_quanta(struct model *m, model_draw_t *draw, void *arg)
{
    switch (draw(arg, 8)) {
    case 0:
        return 1 + draw(arg, m->cf.quanta / 4);
    case 1:
    case 2:
        return 1 + draw(arg, 32);
    default:
        return 1 + draw(arg, 8);
    }
}

/* Any of the sizes that round up to these quanta. */
static size_t
ragged(struct model *m, size_t size, model_draw_t *draw, void *arg)
{
    return size - draw(arg, (uint32_t)m->quantum);
}

static const char *
step_alloc(struct model *m, model_draw_t *draw, void *arg)
{
    struct request rq = { .align = m->quantum, .max = UINTPTR_MAX };
    uintptr_t addr = 0;
    int err;

    rq.size = draw_quanta(m, draw, arg) * m->quantum;
    rq.best = draw(arg, 2) != 0;
    if (m->cached && rq.size <= 8 * m->quantum &&
        (rq.size & (rq.size - 1)) == 0) {
        rq.align = rq.size; /* quantum caches align, and refuse what is not */
    }
    err =
        vmem_alloc(m->vm, ragged(m, rq.size, draw, arg),
                   VM_NOSLEEP | (rq.best ? VM_BESTFIT : VM_INSTANTFIT), &addr);
    if (err != 0) {
        m->count[MODEL_ALLOC_FULL]++;
        return err != KVA_ENOMEM ? wrong(m, "vmem_alloc returns %d", err)
                                 : refused(m, &rq, "vmem_alloc");
    }
    m->count[MODEL_ALLOC_DONE]++;
    if (!obeys(&rq, addr)) {
        return wrong(m, "0x%zx of %zu is not aligned to %zu", (size_t)addr,
                     rq.size, rq.align);
    }
    if (!m->cached && check_best(m, &rq, addr) != NULL) {
        return m->text;
    }
    return add_live(m, addr, rq.size, false);
}

/* Each constraint is there half of the time. */
static struct request
draw_request(struct model *m, model_draw_t *draw, void *arg)
{
    struct request rq = { .align = m->quantum, .max = UINTPTR_MAX };
    uintptr_t a, b;

    rq.size = draw_quanta(m, draw, arg) * m->quantum;
    if (draw(arg, 2) != 0) {
        rq.align = m->quantum << draw(arg, 7);
    }
    if (draw(arg, 2) != 0) {
        rq.phase = m->quantum * draw(arg, (uint32_t)(rq.align / m->quantum));
    }
    if (draw(arg, 2) != 0) {
        rq.nocross = m->quantum;
        while (rq.nocross < rq.size) {
            rq.nocross *= 2;
        }
        rq.nocross <<= draw(arg, 4);
    }
    if (draw(arg, 2) != 0) { /* anywhere, not on quanta */
        a = m->origin + draw(arg, m->cf.quanta) * m->quantum +
            draw(arg, (uint32_t)m->quantum);
        b = m->origin + draw(arg, m->cf.quanta) * m->quantum +
            draw(arg, (uint32_t)m->quantum);
        rq.min = a < b ? a : b;
        rq.max = a < b ? b : a;
    }
    rq.best = draw(arg, 2) != 0;
    return rq;
}

static const char *
step_xalloc(struct model *m, model_draw_t *draw, void *arg)
{
    struct request rq = draw_request(m, draw, arg);
    uintptr_t addr = 0;
    int err;

    err = vmem_xalloc(
        m->vm, ragged(m, rq.size, draw, arg),
        rq.align == m->quantum ? 0 : rq.align, rq.phase, rq.nocross, rq.min,
        rq.max, VM_NOSLEEP | (rq.best ? VM_BESTFIT : VM_INSTANTFIT), &addr);
    if (err != 0) {
        m->count[MODEL_XALLOC_FULL]++;
        return err != KVA_ENOMEM ? wrong(m, "vmem_xalloc returns %d", err)
                                 : refused(m, &rq, "vmem_xalloc");
    }
    m->count[MODEL_XALLOC_DONE]++;
    if (!obeys(&rq, addr)) {
        return wrong(m,
                     "0x%zx of %zu is not as asked for (align %zu, phase "
                     "%zu, nocross %zu, 0x%zx to 0x%zx)",
                     (size_t)addr, rq.size, rq.align, rq.phase, rq.nocross,
                     (size_t)rq.min, (size_t)rq.max);
    }
    if (check_best(m, &rq, addr) != NULL) {
        return m->text;
    }
    return add_live(m, addr, rq.size, true);
}

static const char *
step_addr(struct model *m, model_draw_t *draw, void *arg)
{
    unsigned i = draw(arg, m->cf.quanta);
    unsigned n = 1 + draw(arg, m->cf.quanta - i < 16 ? m->cf.quanta - i : 16);
    struct request rq = { .size = n * m->quantum,
                          .align = m->quantum,
                          .min = address_of(m, i) };
    int err;

    rq.max = rq.min + (rq.size - 1);
    err = vmem_xalloc_addr(m->vm, rq.min, ragged(m, rq.size, draw, arg),
                           VM_NOSLEEP);
    if (err != 0) {
        m->count[MODEL_ADDR_FULL]++;
        return err != KVA_ENOMEM ? wrong(m, "vmem_xalloc_addr returns %d", err)
                                 : refused(m, &rq, "vmem_xalloc_addr");
    }
    m->count[MODEL_ADDR_DONE]++;
    return add_live(m, rq.min, rq.size, true);
}

static void
free_live(struct model *m, unsigned k, size_t size)
{
    const struct live *l = &m->live[k];

    if (l->x) {
        vmem_xfree(m->vm, l->addr, size);
    } else {
        vmem_free(m->vm, l->addr, size);
    }
    m->count[l->x ? MODEL_XFREE : MODEL_FREE]++;
    drop_live(m, k);
}

/* A span in a slot that has none: all of it, or a part. */
static const char *
step_add(struct model *m, model_draw_t *draw, void *arg)
{
    unsigned slot = draw(arg, MODEL_SLOTS);
    unsigned each = m->cf.quanta / MODEL_SLOTS;
    unsigned first = slot * each, n = each;

    if (m->dynamic || m->added[slot]) {
        return NULL;
    }
    if (draw(arg, 2) != 0) {
        first += draw(arg, each / 2);
        n = 1 + draw(arg, each / 2);
    }
    if (vmem_add(m->vm, address_of(m, first), n * m->quantum, VM_NOSLEEP) !=
        0) {
        return m->refusal ? NULL : wrong(m, "vmem_add has no tags");
    }
    m->added[slot] = true;
    m->count[MODEL_ADD]++;
    for (unsigned i = 0; i < n; i++) {
        m->map[first + i].span = (uint16_t)(slot + 1);
    }
    return NULL;
}

static const char *
step_drain(struct model *m)
{
    (void)vmem_drain(m->vm, SIZE_MAX, 0);
    for (unsigned k = m->nbelow; k-- > 0;) {
        (void)vmem_drain(m->below[k], SIZE_MAX, 0);
    }
    m->count[MODEL_DRAIN]++;
    return NULL;
}

/* All free and drained: no segment is left but free spans, and below none. */
static const char *
free_all(struct model *m)
{
    while (m->nlive > 0) {
        free_live(m, m->nlive - 1, m->live[m->nlive - 1].size);
    }
    (void)step_drain(m);
    m->count[MODEL_FREE_ALL]++;
    if (!m->refusal && vmem_size(m->vm, VMEM_ALLOC) != 0) {
        return wrong(m, "all is free and drained, and %zu bytes are not",
                     vmem_size(m->vm, VMEM_ALLOC));
    }
    for (unsigned k = 0; k < m->nbelow && !m->refusal; k++) {
        if (vmem_size(m->below[k], VMEM_ALLOC) != 0) {
            return wrong(m,
                         "all is free and drained, and %zu bytes below "
                         "are not",
                         vmem_size(m->below[k], VMEM_ALLOC));
        }
    }
    return NULL;
}

static const char *
step(struct model *m, model_draw_t *draw, void *arg)
{
    bool room = m->nlive < m->cf.live_max;
    uint32_t op = draw(arg, 32);
    unsigned k;

    if (op < 7) {
        return room ? step_alloc(m, draw, arg) : NULL;
    }
    if (op < 13) {
        return room ? step_xalloc(m, draw, arg) : NULL;
    }
    if (op < 16) {
        return room ? step_addr(m, draw, arg) : NULL;
    }
    if (op == 16) {
        return step_add(m, draw, arg);
    }
    if (op == 17) {
        switch (draw(arg, 64)) {
        case 0:
            return free_all(m);
        case 1:
        case 2:
            return step_drain(m);
        default:
            break;
        }
    }
    if (m->nlive > 0) {
        k = draw(arg, m->nlive);
        free_live(m, k, ragged(m, m->live[k].size, draw, arg));
    }
    return NULL;
}

const char *
model_step(struct model *m, model_draw_t *draw, void *arg)
{
    const char *bad = step(m, draw, arg);

    return bad != NULL ? bad : model_check(m);
}

const char *
model_end(struct model *m)
{
    static char text[TEXT_MAX];
    const char *bad = free_all(m);

    if (bad == NULL) {
        bad = model_check(m);
    }
    if (bad != NULL) {
        (void)snprintf(text, sizeof(text), "%s", bad);
        free(m); /* the arenas stay as they are, to be looked at */
        return text;
    }
    unmake(m);
    free(m);
    return NULL;
}
