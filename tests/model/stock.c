/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/model/stock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kva/kva.h"
#include "tests/model/blame.h"

#define MIB ((size_t)1 << 20)

/* Objects larger than this are few: the tower has 256 MiB. */
#define LARGE ((size_t)16 << 10)
#define LARGE_LIVE 12u

static struct stock stock;

static KVA_MALLOC_DEFINE(M_STOCK, "stock", "the model's");
static KVA_MALLOC_DEFINE(M_LIMITED, "limited", "the model's, with a limit");

static const struct stock_shape shapes[] = {
    { 8, 0, 0, 0, 0, false },
    { 32, 0, 0, PR_NOTOUCH, 0, false },
    { 64, 64, 0, PR_LARGECACHE, 0, false },
    { 100, 64, 8, 0, 0, false },
    { 100, 64, 40, PR_NOTOUCH, 0, false },
    { 192, 0, 0, 0, 0, false },
    { 200, 0, 0, 0, 0, true },
    { 256, 256, 0, PR_USEBMAP, 0, false },
    { 500, 512, 0, PR_PHINPAGE, 0, false },
    { 584, 0, 0, 0, 0, false },
    { 584, 0, 0, 0, 16 * KVA_PAGE_SIZE, false },
    { 1000, 0, 0, 0, 64 * KVA_PAGE_SIZE, false },
    { 1024, 0, 0, 0, 0, false },
    { 1024, 0, 0, PR_NOTOUCH, KVA_PAGE_SIZE, false },
    { 1128, 0, 0, 0, 0, false },
    { 2048, 0, 0, 0, 0, false },
    { 4096, 0, 0, 0, 0, false },
    { 4096, 0, 0, PR_PHINPAGE, 0, false },
    { 3000, 4096, 0, 0, 0, false },
    { 12000, 0, 0, 0, 0, false },
    { 20000, 0, 0, 0, 0, false },
    { 70000, 0, 0, PR_NOTOUCH, 0, false },
    { 200000, 0, 0, 0, 0, false },
};

const char *
stock_text(const char *fmt, ...)
{
    static char text[512];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return text;
}

/* ---- what is written to objects -------------------------------------- */

/* All of a small one; of a large one its ends, and some of each 512 bytes. */
#define PAINT_END 128u
#define PAINT_STEP 512u
#define PAINT_SPOT 8u

static void
paint(void *p, size_t size, unsigned mark)
{
    unsigned char *byte = p;
    int value = (int)(mark % 251u);

    if (size <= 2u * PAINT_END) {
        memset(byte, value, size);
        return;
    }
    memset(byte, value, PAINT_END);
    memset(byte + size - PAINT_END, value, PAINT_END);
    for (size_t at = PAINT_END; at + PAINT_STEP < size; at += PAINT_STEP) {
        memset(byte + at, value, PAINT_SPOT);
    }
}

static bool
all_are(const unsigned char *byte, size_t n, unsigned char value)
{
    return n == 0 || (byte[0] == value && memcmp(byte, byte + 1, n - 1) == 0);
}

static bool
is_painted(const void *p, size_t size, unsigned mark)
{
    const unsigned char *byte = p;
    unsigned char value = (unsigned char)(mark % 251u);

    if (size <= 2u * PAINT_END) {
        return all_are(byte, size, value);
    }
    if (!all_are(byte, PAINT_END, value) ||
        !all_are(byte + size - PAINT_END, PAINT_END, value)) {
        return false;
    }
    for (size_t at = PAINT_END; at + PAINT_STEP < size; at += PAINT_STEP) {
        if (!all_are(byte + at, PAINT_SPOT, value)) {
            return false;
        }
    }
    return true;
}

/* What a constructor writes, which tells the place. */
static unsigned
built_mark(const void *p)
{
    return (unsigned)((uintptr_t)p >> 3) * 2654435769u >> 16;
}

/* ---- the list -------------------------------------------------------- */

/* The first one that ends behind addr. */
static unsigned
list_search(const struct stock *s, uintptr_t addr)
{
    unsigned lo = 0, hi = s->n;

    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;

        if (s->live[mid]->addr + (s->live[mid]->taken - 1) < addr) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

const struct stock_live *
stock_at(const struct stock *s, uintptr_t addr)
{
    unsigned i = list_search(s, addr);

    return i < s->n && s->live[i]->addr <= addr ? s->live[i] : NULL;
}

static const char *
list_add(struct stock *s, const struct stock_live *l)
{
    unsigned i = list_search(s, l->addr);
    struct stock_live *slot;

    if (i < s->n && s->live[i]->addr <= l->addr + (l->taken - 1)) {
        return stock_text("source %d hands out 0x%lx of %zu bytes, where 0x%lx "
                          "of %zu is live",
                          l->source, (unsigned long)l->addr, l->taken,
                          (unsigned long)s->live[i]->addr, s->live[i]->taken);
    }
    slot = &s->slot[s->spare[--s->nspare]];
    *slot = *l;
    memmove(&s->live[i + 1], &s->live[i], (s->n - i) * sizeof(s->live[0]));
    s->live[i] = slot;
    s->n++;
    return NULL;
}

static void
list_drop(struct stock *s, unsigned i)
{
    s->spare[s->nspare++] = (unsigned)(s->live[i] - s->slot);
    s->n--;
    memmove(&s->live[i], &s->live[i + 1], (s->n - i) * sizeof(s->live[0]));
}

/* ---- constructors ---------------------------------------------------- */

static unsigned
built_search(const struct stock_member *m, uintptr_t addr)
{
    unsigned lo = 0, hi = m->nobject;

    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;

        if (m->object[mid] < addr) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static bool
is_built(const struct stock_member *m, uintptr_t addr)
{
    unsigned i = built_search(m, addr);

    return i < m->nobject && m->object[i] == addr;
}

static int
construct(void *arg, void *object, int flags)
{
    struct stock_member *m = arg;
    unsigned i = built_search(m, (uintptr_t)object);

    if (flags != PR_WAITOK && flags != PR_NOWAIT) {
        stock.wrong = "a constructor has flags that nobody gave";
    }
    if (is_built(m, (uintptr_t)object)) {
        stock.wrong = "an object is constructed twice";
        return 0;
    }
    if (m->nobject == STOCK_BUILT) {
        stock.wrong = "more objects are constructed than can be live";
        return -1;
    }
    if (kva_posix_fault(stock.ctor_site)) {
        stock.count[STOCK_UNBUILT]++;
        return KVA_ENOMEM;
    }
    memmove(&m->object[i + 1], &m->object[i],
            (m->nobject - i) * sizeof(m->object[0]));
    m->object[i] = (uintptr_t)object;
    m->nobject++;
    stock.count[STOCK_BUILD]++;
    paint(object, m->shape->size, built_mark(object));
    return 0;
}

static void
destruct(void *arg, void *object)
{
    struct stock_member *m = arg;
    unsigned i = built_search(m, (uintptr_t)object);

    if (!is_built(m, (uintptr_t)object)) {
        stock.wrong = "an object is destructed that is not constructed";
        return;
    }
    if (!is_painted(object, m->shape->size, built_mark(object))) {
        stock.wrong = "an object is not destructed as it was put";
    }
    m->nobject--;
    memmove(&m->object[i], &m->object[i + 1],
            (m->nobject - i) * sizeof(m->object[0]));
}

/* ---- pools and caches: making, marks --------------------------------- */

static struct kva_pool_stat
stat_of(const struct stock_member *m)
{
    struct kva_pool_stat st;

    if (m->pc != NULL) {
        kva_pool_cache_stat(m->pc, &st);
    } else {
        kva_pool_stat(m->pp, &st);
    }
    return st;
}

static size_t
objects_of(const struct kva_pool_stat *st)
{
    return st->slabs * st->objects_per_slab;
}

/* Has a fault fired since the step began? */
static bool
has_fired(void)
{
    return kva_posix_fault_fired(KVA_POSIX_ANY) != stock.fired;
}

/* Puts some of the member's objects back. */
static void
drain_hook(void *arg, int flags)
{
    struct stock_member *m = arg;
    unsigned which = (unsigned)(m - stock.member), left = 2;

    m->hook_calls++;
    if (flags != PR_NOWAIT) {
        stock.wrong = "a drain hook has flags that are not promised";
    }
    for (unsigned i = 0; i < stock.n && left > 0; i++) {
        const struct stock_live *l = stock.live[i];

        if (l->source <= STOCK_CACHE && l->which == which) {
            const char *bad = stock_put(&stock, i);

            stock.wrong = bad != NULL ? bad : stock.wrong;
            left--;
        }
    }
}

static struct kva_pool_allocator *
allocator_for(const struct stock_shape *shape)
{
    static struct kva_pool_allocator some[8];
    unsigned k = 0;

    if (shape->slab_bytes == 0) {
        return NULL;
    }
    while (KVA_PAGE_SIZE << k < shape->slab_bytes) {
        k++;
    }
    some[k] = (struct kva_pool_allocator){ .arena = &kva_kmem_arena,
                                           .pa_pagesz = shape->slab_bytes };
    return &some[k];
}

static void
member_clear(struct stock_member *m)
{
    m->live = m->lowat = m->primed = 0;
    m->hiwat = m->hard = STOCK_NONE;
    m->limit_hits = m->fails = 0;
    m->hook = false;
    m->hook_calls = m->nobject = 0;
}

static const char *
member_make(struct stock *s, struct stock_member *m)
{
    const struct stock_shape *shape =
        &shapes[stock_below(s, KVA_COUNT(shapes))];
    struct kva_pool_allocator *pa = allocator_for(shape);
    enum kva_ipl ipl = shape->intr ? KVA_IPL_VM : KVA_IPL_NONE;
    unsigned kind = stock_below(s, 4);

    member_clear(m);
    m->shape = shape;
    m->pc = NULL;
    m->pp = &m->store;
    if (m < &s->member[STOCK_POOLS]) {
        kva_pool_init(m->pp, shape->size, shape->align, shape->offset,
                      shape->flags, m->name, pa, ipl);
        return NULL;
    }
    m->built = kind % 2 != 0;
    m->in_place = kind >= 2;
    if (m->in_place) {
        m->pc = &m->cache_store;
        kva_pool_cache_bootstrap(m->pc, shape->size, shape->align,
                                 shape->offset, shape->flags, m->name, pa, ipl,
                                 m->built ? construct : NULL,
                                 m->built ? destruct : NULL, m);
    } else {
        m->pc = kva_pool_cache_init(
            shape->size, shape->align, shape->offset, shape->flags, m->name, pa,
            ipl, m->built ? construct : NULL, m->built ? destruct : NULL, m);
    }
    m->pp = m->pc == NULL ? NULL : &m->pc->slabs;
    return m->pc != NULL || has_fired() ? NULL : "a cache could not be made";
}

/* What the marks want kept is kept: do not count what fails now. */
static const char *
check_kept(const struct stock_member *m)
{
    struct kva_pool_stat st = stat_of(m);

    if (objects_of(&st) < m->primed) {
        return stock_text("%s: %zu objects, and %zu were primed", m->name,
                          objects_of(&st), m->primed);
    }
    return NULL;
}

/* Is there an empty slab that no mark wants?  all: for a drain. */
static const char *
check_surplus(const struct stock_member *m, bool all)
{
    struct kva_pool_stat st = stat_of(m);
    size_t objects = objects_of(&st), nfree = objects - st.objects_out;
    bool keep;

    if (st.slabs_empty == 0 || nfree - st.objects_per_slab < m->lowat ||
        objects - st.objects_per_slab < m->primed) {
        return NULL;
    }
    if (all) {
        keep = false;
    } else if (m->hiwat != STOCK_NONE) {
        keep = objects <= m->hiwat;
    } else {
        keep = st.slabs_empty == 1 && st.slabs - st.slabs_empty >= 4;
    }
    return keep ? NULL
                : stock_text("%s: %zu of %zu slabs stay empty, %zu objects "
                             "free, low water %zu, high water %zd, primed %zu",
                             m->name, st.slabs_empty, st.slabs, nfree, m->lowat,
                             (ptrdiff_t)m->hiwat, m->primed);
}

/* Counts that must agree with the list whenever nothing is under way. */
static const char *
check_counts(const struct stock_member *m)
{
    struct kva_pool_stat st = stat_of(m);
    size_t live = st.objects_out - st.objects_cached;

    if (live != m->live) {
        return stock_text("%s: %zu objects are out, %zu of them cached, and "
                          "%zu live",
                          m->name, st.objects_out, st.objects_cached, m->live);
    }
    if (st.gets - st.puts != st.objects_out) {
        return stock_text("%s: %zu gets and %zu puts, and %zu objects out",
                          m->name, st.gets, st.puts, st.objects_out);
    }
    if (m->pc != NULL && m->built && m->nobject != st.objects_out) {
        return stock_text("%s: %u objects are constructed, and %zu out",
                          m->name, m->nobject, st.objects_out);
    }
    if (st.limit_hits != m->limit_hits) {
        return stock_text("%s: the limit was met %zu times, counted %zu",
                          m->name, m->limit_hits, st.limit_hits);
    }
    return check_kept(m);
}

static void
set_lowat(struct stock_member *m, int n)
{
    m->lowat = n < 0 ? 0 : (size_t)n;
    if (m->pc != NULL) {
        kva_pool_cache_setlowat(m->pc, n);
    } else {
        kva_pool_setlowat(m->pp, n);
    }
}

static void
set_hiwat(struct stock_member *m, int n)
{
    m->hiwat = n < 0 ? 0 : (size_t)n;
    if (m->pc != NULL) {
        kva_pool_cache_sethiwat(m->pc, n);
    } else {
        kva_pool_sethiwat(m->pp, n);
    }
}

static void
set_hard(struct stock_member *m, int n)
{
    m->hard = n < 0 ? STOCK_NONE : (size_t)n;
    if (m->pc != NULL) {
        kva_pool_cache_sethardlimit(m->pc, n, "the limit was met", 3600);
    } else {
        kva_pool_sethardlimit(m->pp, n, "the limit was met", 3600);
    }
}

static int
prime(const struct stock_member *m, int n)
{
    return m->pc != NULL ? kva_pool_cache_prime(m->pc, n)
                         : kva_pool_prime(m->pp, n);
}

static const char *
check_lowat(const struct stock_member *m, const char *when)
{
    struct kva_pool_stat st = stat_of(m);
    size_t nfree = objects_of(&st) - st.objects_out;

    if (nfree < m->lowat && !has_fired() && !m->shape->intr) {
        return stock_text("%s: %zu objects are free after %s, and %zu are "
                          "wanted",
                          m->name, nfree, when, m->lowat);
    }
    return NULL;
}

/* So many objects that they fit in a megabyte, or one. */
static int
draw_mark(struct stock *s, const struct stock_member *m)
{
    uint32_t most = (uint32_t)(MIB / m->shape->size);

    most = m->shape->intr ? 32 : most == 0 ? 1 : most < 200 ? most : 200;
    return (int)stock_below(s, most + 1);
}

static const char *
step_prime(struct stock_member *m, int n)
{
    int error = prime(m, n);
    struct kva_pool_stat st = stat_of(m);
    size_t nfree = objects_of(&st) - st.objects_out;

    if (error != 0 && !has_fired() && !m->shape->intr) {
        return stock_text("%s: prime of %d: error %d", m->name, n, error);
    }
    if (error == 0 && nfree < (size_t)n) {
        return stock_text("%s: prime of %d, and %zu are free", m->name, n,
                          nfree);
    }
    m->primed = objects_of(&st);
    return NULL;
}

static const char *
step_marks(struct stock *s)
{
    struct stock_member *m = &s->member[stock_below(s, STOCK_MEMBERS)];
    int n;

    if (m->pp == NULL) {
        return NULL;
    }
    n = draw_mark(s, m);
    s->count[STOCK_MARKED]++;
    switch (stock_below(s, 6)) {
    case 0:
        set_hard(m, -1);
        return NULL;
    case 1:
        set_hard(m, n);
        return NULL;
    case 2:
        set_hiwat(m, n);
        return m->pc == NULL ? check_surplus(m, false) : NULL;
    case 3:
        return step_prime(m, n / 4);
    case 4:
        set_lowat(m, 0);
        return NULL;
    default:
        set_lowat(m, n / 4);
        return check_lowat(m, "setlowat");
    }
}

/* ---- gets ------------------------------------------------------------ */

static int
draw_flags(struct stock *s, const struct stock_member *m, bool *zero)
{
    int flags = PR_NOWAIT;

    /* Nobody would wake a sleeper. */
    if (!s->armed && !m->shape->intr && stock_below(s, 4) == 3) {
        flags = PR_WAITOK | PR_LIMITFAIL;
    }
    *zero = (m->pc == NULL || !m->built) && stock_below(s, 4) == 3;
    return *zero ? flags | (int)PR_ZERO : flags;
}

/* Refused: for which of the reasons there are? */
static const char *
check_refusal(struct stock *s, struct stock_member *m, int flags,
              const struct kva_pool_stat *before)
{
    struct kva_pool_stat after = stat_of(m);
    bool limit = before->objects_out >= m->hard;

    s->count[STOCK_REFUSED]++;
    if (limit && ((unsigned)flags & PR_WAITOK) != 0 && m->live < m->hard) {
        return stock_text("%s: refused with %zu live, the limit is %zu, and "
                          "magazines could be emptied",
                          m->name, m->live, m->hard);
    }
    if (limit) {
        s->count[STOCK_LIMITED]++;
        m->limit_hits++;
        return after.limit_hits == m->limit_hits && after.fails > before->fails
                   ? NULL
                   : stock_text("%s: the limit was met, and is not counted",
                                m->name);
    }
    if (!m->shape->intr && !has_fired()) {
        return stock_text("%s: refused, with %zu live", m->name, m->live);
    }
    return NULL;
}

static const char *
check_got(struct stock_member *m, const struct kva_pool_stat *before)
{
    struct kva_pool_stat after = stat_of(m);
    size_t nfree = objects_of(before) - before->objects_out;
    bool taken = after.gets != before->gets;

    if (after.objects_out > m->hard && taken) {
        return stock_text("%s: %zu objects are out, the limit is %zu", m->name,
                          after.objects_out, m->hard);
    }
    /* A magazine takes more than one. */
    if (after.slabs > before->slabs && nfree > m->lowat &&
        (m->pc == NULL || m->lowat == 0)) {
        return stock_text("%s: a slab was made, with %zu objects free, low "
                          "water %zu",
                          m->name, nfree, m->lowat);
    }
    m->limit_hits = after.limit_hits; /* met, and room was made */
    return taken ? check_lowat(m, "a get") : NULL;
}

static const char *
check_object(const struct stock_member *m, const struct stock_live *l,
             bool zero)
{
    const void *p = (const void *)l->addr;
    unsigned align = m->shape->align;

    align = align == 0 ? (unsigned)sizeof(void *) : align;
    if (((l->addr + m->shape->offset) & (align - 1u)) != 0) {
        return stock_text("%s: 0x%lx is not aligned to %u", m->name,
                          (unsigned long)l->addr, align);
    }
    if (zero && !all_are(p, l->size, 0)) {
        return stock_text("%s: PR_ZERO, and it is not zero", m->name);
    }
    if (m->pc != NULL && m->built) {
        if (!is_built(m, l->addr)) {
            return stock_text("%s: an object is not constructed", m->name);
        }
        if (!is_painted(p, l->size, built_mark(p))) {
            return stock_text("%s: an object is not as constructed", m->name);
        }
    }
    return NULL;
}

static const char *
get_member(struct stock *s, struct stock_live *l)
{
    struct stock_member *m = &s->member[l->which];
    struct kva_pool_stat before;
    const char *bad;
    bool zero;
    int flags;
    void *p;

    if (m->pp == NULL || (m->shape->size > LARGE && m->live >= LARGE_LIVE) ||
        (m->nobject + 256 > STOCK_BUILT)) {
        return NULL;
    }
    flags = draw_flags(s, m, &zero);
    before = stat_of(m);
    p = m->pc != NULL ? kva_pool_cache_get(m->pc, flags)
                      : kva_pool_get(m->pp, flags);
    if (p == NULL) {
        return check_refusal(s, m, flags, &before);
    }
    l->addr = (uintptr_t)p;
    l->size = l->taken = m->shape->size;
    m->live++;
    bad = check_got(m, &before);
    return bad != NULL ? bad : check_object(m, l, zero);
}

/* Mostly small, up to 100 kB. */
static size_t
draw_size(struct stock *s)
{
    unsigned bits = 1 + stock_below(s, 16);

    return 1 + stock_below(s, (3u << bits) / 2);
}

static const char *
check_block(const struct stock_live *l, bool zero)
{
    size_t align = l->size >= KVA_PAGE_SIZE    ? KVA_PAGE_SIZE
                   : l->size >= KVA_CACHE_LINE ? KVA_CACHE_LINE
                                               : sizeof(void *);

    if ((l->addr & (align - 1)) != 0) {
        return stock_text("0x%lx of %zu bytes is not aligned to %zu",
                          (unsigned long)l->addr, l->size, align);
    }
    if (l->taken < l->size || kva_kmem_roundup_size(l->taken) != l->taken) {
        return stock_text("%zu bytes are rounded up to %zu", l->size, l->taken);
    }
    if (zero && !all_are((const void *)l->addr, l->size, 0)) {
        return stock_text("%zu bytes are not zeroed", l->size);
    }
    return NULL;
}

static const char *
get_kmem(struct stock *s, struct stock_live *l)
{
    bool intr = l->source == STOCK_INTR, zero = stock_below(s, 4) == 3;
    kva_km_flag_t flags =
        !s->armed && stock_below(s, 4) == 3 ? KM_SLEEP : KM_NOSLEEP;
    void *p;

    l->size = draw_size(s);
    if (intr) {
        flags = KM_NOSLEEP;
        l->size = l->size % (2 * KVA_PAGE_SIZE) + 1;
        p = zero ? kva_kmem_intr_zalloc(l->size, flags)
                 : kva_kmem_intr_alloc(l->size, flags);
    } else {
        p = zero ? kva_kmem_zalloc(l->size, flags)
                 : kva_kmem_alloc(l->size, flags);
    }
    if (p == NULL) {
        s->count[STOCK_REFUSED]++;
        return intr || has_fired() ? NULL
                                   : stock_text("%zu bytes refused", l->size);
    }
    l->addr = (uintptr_t)p;
    l->taken = kva_kmem_roundup_size(l->size);
    return check_block(l, zero);
}

/* ---- malloc ---------------------------------------------------------- */

static bool
type_has_room(const struct stock_type *t, size_t taken)
{
    return t->limit == 0 ||
           (t->bytes <= t->limit && taken <= t->limit - t->bytes);
}

static void
type_up(struct stock_type *t, size_t taken)
{
    t->requests++;
    t->active++;
    t->bytes += taken;
    t->peak = t->bytes > t->peak ? t->bytes : t->peak;
}

static void
type_down(struct stock_type *t, size_t taken)
{
    t->active--;
    t->bytes -= taken;
}

static const char *
check_type(const struct stock_type *t)
{
    struct kva_malloc_stat st;

    kva_malloc_type_stat(t->mt, &st);
    if (st.requests != t->requests || st.active != t->active ||
        st.bytes != t->bytes || st.failures != t->failures ||
        st.limit != t->limit) {
        return stock_text("%s: counted %zu requests, %zu active, %zu bytes, "
                          "%zu failures; it was %zu, %zu, %zu, %zu",
                          st.name, st.requests, st.active, st.bytes,
                          st.failures, t->requests, t->active, t->bytes,
                          t->failures);
    }
    if (st.high > (t->peak > t->tried ? t->peak : t->tried) ||
        st.high + STOCK_CPUS * KVA_MALLOC_WINDOW < t->peak) {
        return stock_text("%s: high water %zu, and it was %zu", st.name,
                          st.high, t->peak);
    }
    return NULL;
}

/* A request of a type was answered with p. */
static const char *
malloc_answered(struct stock *s, struct stock_type *t, size_t taken,
                const void *p)
{
    bool room = type_has_room(t, taken);

    if (p != NULL) {
        type_up(t, taken);
        return room ? NULL
                    : stock_text("%zu bytes beyond the limit of %zu", taken,
                                 t->limit);
    }
    t->failures++;
    if (room && t->limit != 0 && t->bytes + taken > t->tried) {
        t->tried = t->bytes + taken; /* they were reserved first */
    }
    s->count[room ? STOCK_REFUSED : STOCK_LIMITED]++;
    return !room || has_fired() ? NULL
                                : stock_text("malloc of %zu refused", taken);
}

static int
malloc_flags(struct stock *s, const struct stock_type *t, bool *zero)
{
    /* Who waits at the limit waits for ever. */
    bool wait = !s->armed && t->limit == 0 && stock_below(s, 4) == 3;

    *zero = stock_below(s, 4) == 3;
    return (wait ? M_WAITOK : M_NOWAIT) | (*zero ? M_ZERO : 0);
}

static const char *
get_malloc(struct stock *s, struct stock_live *l)
{
    struct stock_type *t;
    const char *bad;
    bool zero;
    int flags;
    void *p;

    l->which = stock_below(s, STOCK_TYPES);
    t = &s->type[l->which];
    l->size = draw_size(s);
    flags = malloc_flags(s, t, &zero);
    p = kva_malloc(l->size, t->mt, flags);
    l->taken = kva_malloc_roundup(l->size);
    bad = malloc_answered(s, t, l->taken, p);
    l->addr = (uintptr_t)p;
    return bad != NULL || p == NULL ? bad : check_block(l, zero);
}

/* Requests that cannot be met, whatever is free. */
static const char *
malloc_absurd(struct stock *s)
{
    struct stock_type *t = &s->type[stock_below(s, STOCK_TYPES)];
    size_t size =
        stock_below(s, 2) ? SIZE_MAX - stock_below(s, 4096) : (size_t)1 << 30;
    int flags = stock_below(s, 2) ? M_NOWAIT : M_WAITOK | M_CANFAIL;

    t->failures++;
    s->count[STOCK_REFUSED]++;
    return kva_malloc(size, t->mt, flags) == NULL
               ? NULL
               : stock_text("malloc of %zu bytes is met", size);
}

static const char *
step_limit(struct stock *s)
{
    struct stock_type *t = &s->type[1];

    t->limit = stock_below(s, 2) == 0 ? 0 : (size_t)stock_below(s, 256) << 12;
    kva_malloc_type_setlimit(t->mt, t->limit);
    s->count[STOCK_MARKED]++;
    return malloc_absurd(s);
}

/* ---- get, put, realloc ----------------------------------------------- */

const char *
stock_get(struct stock *s)
{
    struct stock_live l = { .which = stock_below(s, STOCK_MEMBERS) };
    const char *bad;

    if (s->n == STOCK_LIVE) {
        return NULL;
    }
    l.source = (enum stock_source)stock_below(s, STOCK_SOURCES);
    while ((s->sources >> l.source & 1u) == 0) {
        l.source = (enum stock_source)((l.source + 1u) % STOCK_SOURCES);
    }
    switch (l.source) {
    case STOCK_POOL:
        l.which %= STOCK_POOLS;
        bad = get_member(s, &l);
        break;
    case STOCK_CACHE:
        l.which = STOCK_POOLS + l.which % STOCK_CACHES;
        bad = get_member(s, &l);
        break;
    case STOCK_KMEM:
    case STOCK_INTR:
        bad = get_kmem(s, &l);
        break;
    default:
        bad = get_malloc(s, &l);
    }
    if (bad != NULL || l.addr == 0) {
        return bad;
    }
    l.mark = s->marks++;
    paint((void *)l.addr, l.size, l.mark);
    s->count[STOCK_GOT]++;
    return list_add(s, &l);
}

static const char *
put_member(struct stock *s, struct stock_member *m, void *p)
{
    struct kva_pool_stat before = stat_of(m), after;

    m->live--;
    if (m->pc != NULL && m->built) {
        paint(p, m->shape->size, built_mark(p));
    }
    if (m->pc != NULL && stock_below(s, 16) == 15) {
        kva_pool_cache_destruct_object(m->pc, p);
        return NULL;
    }
    if (m->pc != NULL) {
        kva_pool_cache_put(m->pc, p);
        return NULL;
    }
    kva_pool_put(m->pp, p);
    after = stat_of(m);
    if (m->hiwat != STOCK_NONE && objects_of(&before) <= m->hiwat &&
        after.slabs != before.slabs) {
        return stock_text("%s: a slab went, with %zu objects, high water %zu",
                          m->name, objects_of(&before), m->hiwat);
    }
    return check_surplus(m, false);
}

/* A free asks for no metadata, so that it cannot fail. */
const char *
stock_put(struct stock *s, unsigned i)
{
    struct stock_live l = *s->live[i];
    size_t asked = kva__meta_requests();
    void *p = (void *)l.addr;
    const char *bad = NULL;

    if (!is_painted(p, l.size, l.mark)) {
        return stock_text("source %d, size %zu at 0x%lx: written to while live",
                          l.source, l.size, (unsigned long)l.addr);
    }
    list_drop(s, i);
    s->count[STOCK_PUT]++;
    switch (l.source) {
    case STOCK_POOL:
    case STOCK_CACHE:
        bad = put_member(s, &s->member[l.which], p);
        break;
    case STOCK_KMEM:
        kva_kmem_free(p, l.size);
        break;
    case STOCK_INTR:
        kva_kmem_intr_free(p, l.size);
        break;
    default:
        kva_free(p, s->type[l.which].mt);
        type_down(&s->type[l.which], l.taken);
    }
    if (bad == NULL && kva__meta_requests() != asked) {
        bad = stock_text("a free of source %d asks for metadata", l.source);
    }
    return bad;
}

static const char *
check_moved(const struct stock_live *old, const struct stock_live *l)
{
    size_t kept = old->size < l->size ? old->size : l->size;
    unsigned char value = (unsigned char)(old->mark % 251u);

    kept = kept < PAINT_END ? kept : PAINT_END;
    return all_are((const void *)l->addr, kept, value)
               ? NULL
               : stock_text("realloc from %zu to %zu loses what was there",
                            old->size, l->size);
}

/* With a limit the difference counts, without one both for a moment. */
static const char *
resized(struct stock *s, struct stock_type *t, const struct stock_live *old,
        const struct stock_live *l)
{
    size_t both = t->bytes + l->taken - old->taken;
    bool room = t->limit == 0 || l->taken < old->taken || both <= t->limit;
    size_t peak = t->limit == 0 ? t->bytes + l->taken : both;

    if (l->addr == 0) {
        t->failures++;
        s->count[room ? STOCK_REFUSED : STOCK_LIMITED]++;
        if (room && t->limit != 0 && both > t->tried) {
            t->tried = both;
        }
        return !room || has_fired()
                   ? NULL
                   : stock_text("realloc from %zu to %zu refused", old->size,
                                l->size);
    }
    t->requests++;
    t->bytes = both;
    t->peak = peak > t->peak ? peak : t->peak;
    return room ? NULL
                : stock_text("realloc to %zu bytes beyond the limit of %zu",
                             l->taken, t->limit);
}

/* Where there is no memory to make it smaller it stays as it is. */
static const char *
step_realloc(struct stock *s)
{
    unsigned i = stock_below(s, s->n == 0 ? 1 : s->n);
    struct stock_live old, l;
    const char *bad = NULL;
    bool same;

    if (s->n == 0 || s->live[i]->source != STOCK_MALLOC) {
        return NULL;
    }
    l = old = *s->live[i];
    l.size = draw_size(s);
    l.taken = kva_malloc_roundup(l.size);
    l.addr = (uintptr_t)kva_realloc((void *)old.addr, l.size,
                                    s->type[l.which].mt, M_NOWAIT);
    same = l.addr == old.addr;
    if (same && l.taken < old.taken && has_fired()) {
        l.taken = old.taken;
    }
    if (same != (l.taken == old.taken)) {
        return stock_text("realloc from %zu to %zu %s", old.size, l.size,
                          same ? "stays" : "moves");
    }
    bad = same ? NULL : resized(s, &s->type[l.which], &old, &l);
    if (bad != NULL || l.addr == 0) {
        return bad;
    }
    list_drop(s, i);
    l.mark = s->marks++;
    bad = check_moved(&old, &l);
    paint((void *)l.addr, l.size, l.mark);
    s->count[STOCK_MOVED]++;
    return bad != NULL ? bad : list_add(s, &l);
}

const char *
stock_trade(struct stock *s)
{
    bool put = stock_below(s, 100) < (s->n < s->level ? 40u : 60u);

    if (s->n != 0 && (put || s->n == STOCK_LIVE)) {
        return stock_put(s, stock_below(s, s->n));
    }
    return stock_get(s);
}

/* ---- giving back ----------------------------------------------------- */

/* bytes: what a call says went back. */
static const char *
check_given(struct stock_member *m, const struct kva_pool_stat *before,
            size_t bytes, unsigned hook_calls)
{
    struct kva_pool_stat after = stat_of(m);
    size_t gone = (before->slabs - after.slabs) * before->slab_bytes;

    if (m->hook && m->hook_calls != hook_calls) {
        return stock_text("%s: the drain hook was called %u times", m->name,
                          m->hook_calls - hook_calls);
    }
    if (bytes != STOCK_NONE && bytes != gone) {
        return stock_text("%s: %zu bytes are said to be given back, %zu were",
                          m->name, bytes, gone);
    }
    return NULL;
}

static const char *
reclaim_pool(struct stock_member *m)
{
    struct kva_pool_stat before = stat_of(m);
    unsigned calls = m->hook_calls + 1;
    size_t bytes = kva_pool_reclaim(m->pp);
    const char *bad = check_given(m, &before, bytes, calls);

    return bad != NULL ? bad : check_surplus(m, true);
}

static const char *
give_cache(struct stock *s, struct stock_member *m)
{
    struct kva_pool_stat before = stat_of(m), after;
    unsigned calls = m->hook_calls, how = stock_below(s, 4);
    size_t bytes = STOCK_NONE, retain = 0;
    const char *bad;
    bool any;

    switch (how) {
    case 0:
        kva_pool_cache_invalidate(m->pc);
        break;
    case 1:
        any = kva_pool_cache_reclaim(m->pc);
        calls++;
        bytes = stat_of(m).slabs == before.slabs ? 0 : STOCK_NONE;
        if (any != (bytes != 0)) {
            return stock_text("%s: reclaim answers %d", m->name, any);
        }
        break;
    case 2:
        bytes = kva_pool_cache_drain(m->pc, 1 + stock_below(s, 65536), 0);
        break;
    default:
        retain = stock_below(s, 65536);
        bytes = kva_pool_cache_drain(m->pc, SIZE_MAX, retain);
    }
    bad = check_given(m, &before, bytes, calls);
    after = stat_of(m);
    if (bad == NULL && how != 2 && !has_fired() &&
        after.objects_cached > retain / m->shape->size) {
        bad = stock_text("%s: %zu objects stay cached, %zu bytes are to",
                         m->name, after.objects_cached, retain);
    }
    if (bad == NULL && !has_fired() && (how == 1 || how == 3)) {
        bad = check_surplus(m, true);
    }
    return bad;
}

static const char *
step_give(struct stock *s)
{
    struct stock_member *m = &s->member[stock_below(s, STOCK_MEMBERS)];

    s->count[STOCK_GIVEN]++;
    switch (stock_below(s, 16)) {
    case 13:
        (void)kva_kmem_drain();
        return NULL;
    case 14:
        (void)kva_reclaim((size_t)stock_below(s, 256) << 12);
        return NULL;
    case 15:
        (void)kva_pool_drain_all();
        return NULL;
    default:
        break;
    }
    if (m->pp == NULL) {
        return NULL;
    }
    return m->pc != NULL ? give_cache(s, m) : reclaim_pool(m);
}

/* ---- ending ---------------------------------------------------------- */

static const char *
member_empty(struct stock *s, unsigned which)
{
    for (unsigned i = s->n; i-- > 0;) {
        if (s->live[i]->source <= STOCK_CACHE && s->live[i]->which == which) {
            const char *bad = stock_put(s, i);

            if (bad != NULL) {
                return bad;
            }
        }
    }
    return NULL;
}

static const char *
member_end(struct stock *s, unsigned which)
{
    struct stock_member *m = &s->member[which];
    const char *bad;

    if (m->pp == NULL) {
        return NULL;
    }
    bad = member_empty(s, which);
    bad = bad != NULL ? bad : check_counts(m);
    if (bad != NULL) {
        return bad;
    }
    if (m->pc == NULL) {
        kva_pool_destroy(m->pp);
    } else if (m->in_place) {
        kva_pool_cache_bootstrap_destroy(m->pc);
    } else {
        kva_pool_cache_destroy(m->pc);
    }
    m->pp = NULL;
    return m->nobject == 0 ? NULL
                           : stock_text("%s: %u objects stay constructed",
                                        m->name, m->nobject);
}

static const char *
step_remake(struct stock *s)
{
    unsigned which = stock_below(s, STOCK_MEMBERS);
    const char *bad = member_end(s, which);

    s->count[STOCK_REMADE]++;
    s->level = stock_below(s, STOCK_LIVE);
    return bad != NULL ? bad : member_make(s, &s->member[which]);
}

static const char *
step_hook(struct stock *s)
{
    struct stock_member *m = &s->member[stock_below(s, STOCK_MEMBERS)];

    if (m->pp != NULL) {
        m->hook = stock_below(s, 2) != 0;
        if (m->pc != NULL) {
            kva_pool_cache_set_drain_hook(m->pc, m->hook ? drain_hook : NULL,
                                          m);
        } else {
            kva_pool_set_drain_hook(m->pp, m->hook ? drain_hook : NULL, m);
        }
    }
    return NULL;
}

/* ---- faults and misuse ----------------------------------------------- */

static const char *
step_fault(struct stock *s)
{
    unsigned site;

    kva_posix_fault_reset();
    s->armed = false;
    if (!s->faults || stock_below(s, 2) == 0) {
        return NULL;
    }
    site = stock_below(s, KVA_POSIX_SITES + 1);
    kva_posix_fault_arm(site == KVA_POSIX_SITES ? s->ctor_site : (int)site,
                        1 + stock_below(s, 6), stock_below(s, 2) != 0);
    s->armed = true;
    s->count[STOCK_FAULTED]++;
    return NULL;
}

/* An address near one that is live, or near one that was. */
static uintptr_t
draw_address(struct stock *s)
{
    const struct stock_live *l;
    uintptr_t addr;

    if (s->n == 0) {
        return 0;
    }
    l = s->live[stock_below(s, s->n)];
    addr = l->addr;
    switch (stock_below(s, 8)) {
    case 0:
        return addr;
    case 1:
        return addr + 1 + stock_below(s, (uint32_t)l->taken);
    case 2:
        return addr + l->taken;
    case 3:
        return addr - l->taken;
    case 4:
        return addr & ~(uintptr_t)(KVA_PAGE_SIZE - 1);
    case 5:
        return (addr | (KVA_PAGE_SIZE - 1)) + 1 - 8 * stock_below(s, 64);
    case 6: /* an object that was in its slab */
        return addr ^ (uintptr_t)8 << stock_below(s, 9);
    default:
        return kva_posix_va_base() +
               stock_below(s, (uint32_t)kva_posix_va_bytes());
    }
}

static const char *
step_misuse(struct stock *s)
{
    struct blame b = { .way = (enum blame_way)stock_below(s, BLAME_WAYS) };
    const char *bad;
    bool done;

    b.which = stock_below(s, STOCK_POOLS);
    b.size = stock_below(s, 8) == 7 ? 0 : draw_size(s);
    b.addr = draw_address(s);
    if (b.way == BY_CACHE_PUT || b.way == BY_DESTRUCT) {
        b.which += STOCK_POOLS;
    } else if (b.way >= BY_MALLOC_FREE) {
        b.which %= STOCK_TYPES;
    }
    if (b.way <= BY_DESTRUCT && s->member[b.which].pp == NULL) {
        return NULL;
    }
    bad = blame_try(s, &b, &done);
    s->count[STOCK_MISUSED] += done;
    return bad;
}

/* ---- steps ----------------------------------------------------------- */

static const char *
step(struct stock *s)
{
    uint32_t op = stock_below(s, 128);

    if (op < 100) {
        return stock_trade(s);
    }
    if (op < 105) {
        return step_realloc(s);
    }
    if (op < 112) {
        return kva_posix_cpu_set(stock_below(s, STOCK_CPUS)) == 0
                   ? NULL
                   : "a CPU slot is not to be had";
    }
    if (op < 116) {
        return step_marks(s);
    }
    if (op < 119) {
        return step_give(s);
    }
    switch (op) {
    case 119:
    case 120:
        return step_fault(s);
    case 121:
        return step_limit(s);
    case 122:
        return step_hook(s);
    case 123:
        return stock_below(s, 8) == 0 ? step_remake(s) : NULL;
    default:
        return s->misuse ? step_misuse(s) : NULL;
    }
}

const char *
stock_step(struct stock *s)
{
    const char *bad;

    s->fired = kva_posix_fault_fired(KVA_POSIX_ANY);
    bad = step(s);
    return s->wrong != NULL ? s->wrong : bad;
}

const char *
stock_check(struct stock *s)
{
    const char *bad;

    for (struct kva_pool *pp = kva_pool_list; pp != NULL; pp = pp->next) {
        bad = kva_pool_check(pp);
        if (bad != NULL) {
            return stock_text("%s: %s", pp->name, bad);
        }
    }
    for (unsigned k = 0; k < STOCK_MEMBERS; k++) {
        bad = s->member[k].pp == NULL ? NULL : check_counts(&s->member[k]);
        if (bad != NULL) {
            return bad;
        }
    }
    for (unsigned k = 0; k < STOCK_TYPES; k++) {
        bad = check_type(&s->type[k]);
        if (bad != NULL) {
            return bad;
        }
    }
    bad = kva_vmem_check(kva_kmem_arena);
    return bad != NULL ? bad : kva_vmem_check(kva_kmem_intr_arena);
}

struct stock *
stock_new(stock_draw_t *draw, void *arg)
{
    struct stock *s = &stock;
    int site = s->ctor_site;

    /* All but the constructed objects, which the counts say nothing of. */
    memset(s, 0, offsetof(struct stock, member));
    memset(s->count, 0, sizeof(s->count));
    s->draw = draw;
    s->arg = arg;
    s->sources = ~0u;
    s->ctor_site = site != 0 ? site : kva_posix_fault_add("constructor");
    s->n = s->marks = 0;
    s->wrong = NULL;
    s->nspare = STOCK_LIVE;
    for (unsigned i = 0; i < STOCK_LIVE; i++) {
        s->spare[i] = i;
    }
    s->type[0] = (struct stock_type){ .mt = M_STOCK };
    s->type[1] = (struct stock_type){ .mt = M_LIMITED };
    kva_malloc_type_setlimit(M_LIMITED, 0);
    s->level = stock_below(s, STOCK_LIVE);
    for (unsigned k = 0; k < STOCK_MEMBERS; k++) {
        struct stock_member *m = &s->member[k];

        (void)snprintf(m->name, sizeof(m->name), "%s-%u",
                       k < STOCK_POOLS ? "pool" : "cache", k);
        (void)member_make(s, m);
    }
    return s;
}

const char *
stock_end(struct stock *s)
{
    const char *bad;

    kva_posix_fault_reset();
    s->armed = false;
    s->fired = 0;
    while (s->n > 0) {
        bad = stock_put(s, s->n - 1);
        if (bad != NULL) {
            return bad;
        }
    }
    bad = stock_check(s);
    for (unsigned k = 0; k < STOCK_MEMBERS && bad == NULL; k++) {
        bad = member_end(s, k);
    }
    return s->wrong != NULL ? s->wrong : bad;
}

/* ---- the digest ------------------------------------------------------ */

static void
digest_word(uint64_t *h, uint64_t word)
{
    *h = (*h ^ word) * 0x100000001b3u;
    *h ^= *h >> 29;
}

static void
digest_range(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    digest_word(arg, addr);
    digest_word(arg, size);
    digest_word(arg, type);
}

static void
digest_slab(uint64_t *h, const struct kva_pool *pp, struct kva__slab *slab)
{
    const uint8_t *state = kva__slab_states(pp, slab);

    digest_word(h, kva__slab_base(slab));
    digest_word(h, slab->nfree);
    for (unsigned i = 0; i < pp->nobj; i++) {
        digest_word(h, kva__state_get(&state[i]));
    }
}

static void
digest_pool(uint64_t *h, struct kva_pool *pp)
{
    struct kva_pool_stat st;

    kva_pool_stat(pp, &st);
    digest_word(h, st.gets);
    digest_word(h, st.puts);
    digest_word(h, st.fails);
    digest_word(h, st.limit_hits);
    digest_word(h, st.slabs);
    if ((pp->flags & KVA__PR_CACHE) != 0) {
        digest_word(
            h, kva__magcache_rounds(
                   &KVA_CONTAINER(pp, struct kva_pool_cache, slabs)->mags));
    }
    for (struct kva__slab *slab = kva__slab_next(pp, NULL); slab != NULL;
         slab = kva__slab_next(pp, slab)) {
        digest_slab(h, pp, slab);
    }
}

uint64_t
stock_digest(void)
{
    kva_vmem_t *arena[] = { kva_kmem_arena, kva_kmem_intr_arena };
    uint64_t h = 0xcbf29ce484222325u, sum = 0;

    /* In whatever order they are listed. */
    for (struct kva_pool *pp = kva_pool_list; pp != NULL; pp = pp->next) {
        uint64_t of_pool = (uintptr_t)pp;

        digest_pool(&of_pool, pp);
        sum += of_pool;
    }
    digest_word(&h, sum);
    for (unsigned i = 0; i < KVA_COUNT(arena); i++) {
        kva_vmem_walk(arena[i],
                      VMEM_ALLOC | VMEM_FREE | VMEM_CACHED | VMEM_SPAN,
                      digest_range, &h);
    }
    for (unsigned k = 0; k < STOCK_TYPES; k++) {
        struct kva_malloc_stat st;

        kva_malloc_type_stat(stock.type[k].mt, &st);
        digest_word(&h, st.requests);
        digest_word(&h, st.bytes);
        digest_word(&h, st.failures);
    }
    return h;
}
