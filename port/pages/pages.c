/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Page frames out of an arena: frames are counted, not addressed, so that its
 * quantum is 1 and 32-bit words reach 2^32 frames.
 *
 *      kva_pages_get(1) ---> stock of single frames --+
 *      kva_pages_get(n) -----------------------------+|  runs
 *      kva_pages_contig -----------------------------++--> arena of frames
 *      kva_pages_meta_get -> stock, or a mapped one --+      |
 *                                                           tags, hash: frames
 *                                                           of the arena itself
 *
 * No recursion.  Tags of arenas come from the port's pages, and the port's
 * pages from here, so this arena must not want tags like any other.  It is one
 * with a caller's tags (VM_PRIVTAGS), which asks nobody: when few are left, a
 * frame is taken out of it, filled with tags and given to it, and from time to
 * time one for its hash.  The few that are always kept serve for that.
 *
 * The arena knows runs as segments; but whoever got a run may give back any
 * part of it, and a run together with its neighbour.  So it is not the arena
 * that tells what is held but bits, three for each frame (pages_impl.h), and a
 * segment is split when a part of it goes.  A bit at its first frame tells where
 * the segment around a frame begins.  The bits also find what is given back
 * twice.
 *
 * A put takes no memory, but may want a tag or two, for what is left on either
 * side.  If there is none, and no frame to make some of, the frames are free all
 * the same, but parked: still in their segment, until somebody finds too few
 * frames.  Then all that is parked is tried again, and if it is tags that are
 * missing, the first parked frame becomes a page of tags.
 *
 * Single frames, of which there are the most, come from a stock that is filled
 * by short runs; a run is a segment, so that sixteen frames cost a tag.
 *
 * Locks.  One, over everything but the giving of tags; below it that of the
 * arena, which has a rank of its own: both are taken with locks of arenas held,
 * and the tag store's is taken after them.
 */
#include "port/pages/pages_impl.h"

/* Tags that are always kept: a batch of the stock that goes takes two for each
 * frame, another operation two, the frame for more of them two; and the two of
 * somebody who comes while tags are given. */
#define TAGS_LOW (2u * STOCK_BATCH + 6u)

struct kva__pages kva__pages;
#define pages kva__pages

/* ---- where frames are --------------------------------------------------- */

/* The range of a frame, or NULL. */
static struct kva__frames *
range_of(uintptr_t frame)
{
    unsigned low = 0, high = pages.nranges;

    while (low < high) { /* the first one that begins above it */
        unsigned mid = (low + high) >> 1;

        if (pages.range[mid].base <= frame) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low == 0 ||
        frame - pages.range[low - 1].base >= pages.range[low - 1].n) {
        return NULL;
    }
    return &pages.range[low - 1];
}

static kva_pa_t
pa_of(uintptr_t frame)
{
    return (kva_pa_t)frame << KVA_PAGE_SHIFT;
}

static bool
is_mapped(uintptr_t frame)
{
    return frame >= pages.mapped_first && frame < pages.mapped_end;
}

static uintptr_t
va_of(uintptr_t frame)
{
    return pages.mapped_va + ((frame - pages.mapped_first) << KVA_PAGE_SHIFT);
}

uintptr_t
kva_pages_direct(kva_pa_t pa)
{
    kva_pa_t frame = pa >> KVA_PAGE_SHIFT;

    if (frame > UINTPTR_MAX || !is_mapped((uintptr_t)frame)) {
        return 0;
    }
    return va_of((uintptr_t)frame) + (uintptr_t)(pa & KVA_PAGE_MASK);
}

/* ---- runs out of the arena, and back; locked ---------------------------- */

/* What a run must be like, in frames. */
struct want {
    size_t n, align, nocross;
    uintptr_t min, max;
};

/* A run that is the arena's no more; the caller says what it is. */
static bool
run_find(const struct want *w, uintptr_t *frame)
{
    return vmem_xalloc(&pages.arena, w->n, w->align, 0, w->nocross, w->min,
                       w->max, VM_NOSLEEP, frame) == 0;
}

/* The same from min on, if that is a bound; false: it is none, or no use. */
static bool
run_find_from(const struct want *w, uintptr_t min, uintptr_t *frame)
{
    struct want high = *w;

    high.min = min;
    return min > w->min && min <= w->max && w->max - min >= w->n - 1 &&
           run_find(&high, frame);
}

/* The same, frames that others may need last: those that are mapped, for tags
 * and metadata, and low ones. */
static bool
run_find_high(const struct want *w, uintptr_t *frame)
{
    return run_find_from(w, pages.high, frame) ||
           run_find_from(w, pages.low, frame) || run_find(w, frame);
}

/* Its bits: a segment, and given out or not. */
static void
run_mark(uintptr_t frame, size_t n, bool held)
{
    struct kva__frames *f = range_of(frame);
    size_t at = frame - f->base;

    bits_put(f->first, at, true);
    kva__bits_fill(f->taken, at, n, true);
    kva__bits_fill(f->held, at, n, held);
}

/* [at, end) of the segment [first, last) leaves it for the arena; false: there
 * are no tags.  At most two, and none beside a hole. */
static bool
part_free(struct kva__frames *f, size_t first, size_t last, size_t at,
          size_t end)
{
    uintptr_t base = f->base;

    if (at > first && end < last) {
        if (vmem_xsplit(&pages.arena, base + first, last - first,
                        end - first) != 0) {
            return false;
        }
        bits_put(f->first, end, true);
        last = end;
    }
    if (at > first) {
        if (vmem_xtrim(&pages.arena, base + first, last - first, base + first,
                       at - first) != 0) {
            return false;
        }
    } else if (end < last) {
        if (vmem_xtrim(&pages.arena, base + first, last - first, base + end,
                       last - end) != 0) {
            return false;
        }
        bits_put(f->first, end, true);
    } else {
        vmem_xfree(&pages.arena, base + first, last - first);
    }
    kva__bits_fill(f->taken, at, end - at, false);
    bits_put(f->first, at, false);
    return true;
}

/* Frames that are taken and not held go to the arena; how many could not. */
static size_t
run_free(struct kva__frames *f, size_t at, size_t end)
{
    size_t parked = 0;

    while (at < end) {
        size_t first = kva__segment_first(f, at);
        size_t last = kva__segment_end(f, at);
        size_t to = last < end ? last : end;

        parked += part_free(f, first, last, at, to) ? 0 : to - at;
        at = to;
    }
    return parked;
}

/* ---- the stock, locked -------------------------------------------------- */

/* The n oldest of the stock to the arena. */
static void
stock_shrink(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct kva__frames *f = range_of(pages.stock[i]);
        size_t at = pages.stock[i] - f->base;

        pages.stat.parked += run_free(f, at, at + 1);
    }
    pages.nstock -= n;
    for (unsigned i = 0; i < pages.nstock; i++) {
        pages.stock[i] = pages.stock[i + n];
    }
}

/* A run of some frames for it. */
static void
stock_fill(void)
{
    struct want w = { STOCK_BATCH, 0, 0, 0, UINTPTR_MAX };
    uintptr_t frame;

    while (!run_find_high(&w, &frame)) {
        w.n >>= 1;
        if (w.n == 0) {
            return;
        }
    }
    run_mark(frame, w.n, false);
    while (w.n > 0) {
        pages.stock[pages.nstock++] = frame + --w.n;
    }
}

static void
stock_push(uintptr_t frame)
{
    if (pages.nstock == STOCK_MAX) {
        stock_shrink(STOCK_BATCH);
    }
    pages.stock[pages.nstock++] = frame;
}

/* The youngest one, or the youngest that is mapped; false: there is none. */
static bool
stock_pop(bool mapped, uintptr_t *frame)
{
    for (unsigned i = pages.nstock; i > 0; i--) {
        if (!mapped || is_mapped(pages.stock[i - 1])) {
            *frame = pages.stock[i - 1];
            pages.stock[i - 1] = pages.stock[--pages.nstock];
            return true;
        }
    }
    return false;
}

/* ---- tags for the arena ------------------------------------------------- */

/* A frame is the supply's own from now on: it is a segment. */
static void
own_mark(uintptr_t frame)
{
    struct kva__frames *f = range_of(frame);
    size_t at = frame - f->base;

    bits_put(f->first, at, true);
    bits_put(f->taken, at, false);
    bits_put(f->held, at, true);
    pages.stat.own++;
}

/* Not locked, but pages.adding: the directory of tags may want a page from
 * here.  False: it did, and got none. */
static bool
own_use(uintptr_t va, bool hash)
{
    if (hash) {
        vmem_add_hash(&pages.arena, (void *)va);
        return true;
    }
    return vmem_add_bts(&pages.arena, (struct kva_vmem_btag *)va, PAGE_BTS) ==
           0;
}

/* A frame that is idle, in the midst of a segment perhaps, becomes one of its
 * own; there are tags now. */
static void
idle_split(uintptr_t frame)
{
    struct kva__frames *f = range_of(frame);
    size_t at = frame - f->base;
    size_t first = kva__segment_first(f, at), last = kva__segment_end(f, at);
    int err = 0;

    if (last > at + 1) {
        err |= vmem_xsplit(&pages.arena, f->base + first, last - first,
                           at + 1 - first);
        bits_put(f->first, at + 1, true);
    }
    if (at > first) {
        err |= vmem_xsplit(&pages.arena, f->base + first, at + 1 - first,
                           at - first);
    }
    KVA_ASSERT(err == 0);
    (void)err;
}

/* The first frame from at on that is in a segment and nobody's; f->n: none. */
static size_t
idle_next(const struct kva__frames *f, size_t at)
{
    while (at < f->n) {
        size_t w = at >> KVA__BITS_SHIFT;
        uintptr_t idle = f->taken[w] & ~f->held[w] &
                         ~(uintptr_t)0 << (at & (KVA__BITS_WORD - 1));

        if (idle != 0) {
            return (w << KVA__BITS_SHIFT) + kva_ffs(idle);
        }
        at = (w + 1) << KVA__BITS_SHIFT;
    }
    return f->n;
}

/* A parked frame that is mapped; the stock is empty. */
static bool
parked_find(uintptr_t *frame)
{
    for (unsigned i = 0; i < pages.nranges; i++) {
        const struct kva__frames *f = &pages.range[i];
        size_t at = idle_next(f, 0);

        while (at < f->n && !is_mapped(f->base + at)) {
            at = idle_next(f, at + 1);
        }
        if (at < f->n) {
            *frame = f->base + at;
            return true;
        }
    }
    return false;
}

/* An idle frame that is mapped: it is held from now on. */
static bool
idle_take(uintptr_t *frame)
{
    bool found = stock_pop(true, frame);
    struct kva__frames *f;

    if (!found && pages.stat.parked != 0 && pages.nstock == 0) {
        found = parked_find(frame);
        pages.stat.parked -= found ? 1u : 0u;
    }
    if (found) {
        f = range_of(*frame);
        bits_put(f->held, *frame - f->base, true);
    }
    return found;
}

/*
 * More tags, or more hash, before they are missed: a free frame, which takes
 * tags to be had; or, if there is none, an idle one, which is made into tags
 * where it is and leaves its segment then.  Locked, but not while they are
 * given; whoever comes meanwhile finds some tags still.
 */
static void
own_add(bool hash, kva_irq_t *irq)
{
    struct want w = { 1, 0, 0, pages.mapped_first, pages.mapped_end - 1 };
    bool idle = false, used;
    uintptr_t frame;

    if (!run_find_high(&w, &frame)) {
        idle = !hash && idle_take(&frame);
        if (!idle) {
            return;
        }
    } else {
        run_mark(frame, 1, true);
    }
    pages.adding = true;
    kva_port_unlock(&pages.lock, *irq);
    used = own_use(va_of(frame), hash);
    *irq = kva_port_lock(&pages.lock);
    pages.adding = false;
    if (!used) {
        struct kva__frames *f = range_of(frame);

        bits_put(f->held, frame - f->base, false);
        pages.stat.parked += run_free(f, frame - f->base, frame - f->base + 1);
        return;
    }
    if (idle) {
        idle_split(frame);
    }
    own_mark(frame);
    pages.hash_room += hash ? KVA_VMEM_HASH_TAGS : 0;
    pages.tags += hash ? 0 : PAGE_BTS - 1;
}

static void
own_ensure(kva_irq_t *irq)
{
    if (pages.adding || pages.mapped_first == pages.mapped_end) {
        return;
    }
    if (pages.arena.nspare < TAGS_LOW) {
        own_add(false, irq);
    } else if (pages.tags > pages.hash_room) {
        own_add(true, irq);
    }
}

/* All that is parked, and the stock, to the arena.  Linear in frames if
 * anything is parked. */
static void
gather(void)
{
    stock_shrink(pages.nstock);
    if (pages.stat.parked == 0) {
        return;
    }
    pages.stat.parked = 0;
    for (unsigned i = 0; i < pages.nranges; i++) {
        struct kva__frames *f = &pages.range[i];

        for (size_t at = idle_next(f, 0); at < f->n; at = idle_next(f, at)) {
            size_t end = at + 1;

            while (end < f->n && bits_get(f->taken, end) &&
                   !bits_get(f->held, end)) {
                end++;
            }
            pages.stat.parked += run_free(f, at, end);
            at = end;
        }
    }
}

/* ---- getting ------------------------------------------------------------ */

static size_t
count_free(void)
{
    return pages.stat.total - pages.stat.own - pages.stat.held;
}

/* May n more be held. */
static bool
reserve_allows(size_t n, unsigned flags)
{
    size_t spare = count_free();

    if ((flags & KVA_PAGE_RESERVE) == 0) {
        spare = spare > pages.stat.reserve ? spare - pages.stat.reserve : 0;
    }
    return n <= spare;
}

static void
count_held(size_t n)
{
    pages.stat.held += n;
    if (pages.stat.held > pages.stat.held_max) {
        pages.stat.held_max = pages.stat.held;
    }
}

/* Hold a run of the arena's; all that is free there is tried. */
static bool
run_hold(const struct want *w, uintptr_t *frame)
{
    bool found = run_find_high(w, frame);

    if (!found && (pages.nstock != 0 || pages.stat.parked != 0)) {
        gather();
        found = run_find_high(w, frame);
    }
    if (found) {
        run_mark(*frame, w->n, true);
        count_held(w->n);
    }
    return found;
}

/* Hold a single one, of those that are mapped or of all. */
static bool
single_hold(bool mapped, uintptr_t *frame)
{
    struct want w = { 1, 0, 0, 0, UINTPTR_MAX };
    struct kva__frames *f;

    if (!mapped && pages.nstock == 0) {
        stock_fill();
    }
    if (stock_pop(mapped, frame)) {
        f = range_of(*frame);
        bits_put(f->held, *frame - f->base, true);
        count_held(1);
        return true;
    }
    if (mapped) {
        w.min = pages.mapped_first;
        w.max = pages.mapped_end - 1;
    }
    return run_hold(&w, frame);
}

static void
up_verify(const char *func)
{
    if (!pages.up) {
        kva__misuse(func, "pages", "physical", 0,
                    "expected a supply that was started, found none");
    }
}

/* A run for page_get: under a large page's alignment if it can be, and where it
 * can be zeroed if it must. */
static bool
pages_hold(size_t n, unsigned flags, uintptr_t *frame)
{
    struct want w = { n, 0, 0, 0, UINTPTR_MAX };
    bool mapped = (flags & KVA_PAGE_ZERO) != 0;

    if (mapped && pages.mapped_first == pages.mapped_end) {
        return false;
    }
    if (n == 1) {
        return single_hold(mapped, frame);
    }
    if (mapped) {
        w.min = pages.mapped_first;
        w.max = pages.mapped_end - 1;
    }
    if ((flags & KVA_PAGE_LARGE) != 0 && KVA_LARGE_PAGES != 0) {
        w.align = KVA_LARGE_PAGES;
        if (run_hold(&w, frame)) {
            return true;
        }
        w.align = 0;
    }
    return run_hold(&w, frame);
}

int
kva_pages_get(size_t n, unsigned flags, kva_pa_t *pa)
{
    uintptr_t frame = 0;
    bool ok = false;
    kva_irq_t irq;

    up_verify("kva_pages_get");
    irq = kva_port_lock(&pages.lock);
    own_ensure(&irq);
    if (n != 0 && reserve_allows(n, flags)) {
        ok = pages_hold(n, flags, &frame);
    }
    pages.stat.gets++;
    pages.stat.fails += ok ? 0 : 1u;
    kva_port_unlock(&pages.lock, irq);
    if (ok && (flags & KVA_PAGE_ZERO) != 0) {
        kva__memset((void *)va_of(frame), 0, n << KVA_PAGE_SHIFT);
    }
    *pa = pa_of(frame);
    return ok ? 0 : KVA_ENOMEM;
}

int
kva_pages_meta_get(uintptr_t *va)
{
    uintptr_t frame = 0;
    bool ok = false;
    kva_irq_t irq;

    up_verify("kva_pages_meta_get");
    irq = kva_port_lock(&pages.lock);
    own_ensure(&irq);
    if (pages.mapped_first != pages.mapped_end && reserve_allows(1, 0)) {
        ok = single_hold(true, &frame);
    }
    pages.stat.gets++;
    pages.stat.fails += ok ? 0 : 1u;
    kva_port_unlock(&pages.lock, irq);
    if (!ok) {
        return KVA_ENOMEM;
    }
    *va = va_of(frame);
    kva__memset((void *)*va, 0, KVA_PAGE_SIZE);
    return 0;
}

/* ---- under constraints -------------------------------------------------- */

/* In frames; false: no run can be like that. */
static bool
want_make(struct want *w, kva_pa_t low, kva_pa_t high, kva_pa_t align,
          kva_pa_t boundary)
{
    kva_pa_t min = (low >> KVA_PAGE_SHIFT) + ((low & KVA_PAGE_MASK) != 0);
    kva_pa_t end =
        (high >> KVA_PAGE_SHIFT) + ((high & KVA_PAGE_MASK) == KVA_PAGE_MASK);

    if ((align & (align - 1)) != 0 || (boundary & (boundary - 1)) != 0) {
        return false;
    }
    align >>= KVA_PAGE_SHIFT;
    end = end > UINTPTR_MAX ? UINTPTR_MAX : end;
    if (w->n == 0 || min >= end || w->n > end - min || align > UINTPTR_MAX ||
        (boundary != 0 && w->n > boundary >> KVA_PAGE_SHIFT)) {
        return false;
    }
    boundary >>= KVA_PAGE_SHIFT;
    w->align = (uintptr_t)align;
    w->nocross = boundary > UINTPTR_MAX ? 0 : (uintptr_t)boundary;
    w->min = (uintptr_t)min;
    w->max = (uintptr_t)end - 1;
    return true;
}

int
kva_pages_contig(size_t n, kva_pa_t low, kva_pa_t high, kva_pa_t align,
                 kva_pa_t boundary, unsigned flags, kva_pa_t *pa)
{
    struct want w = { n, 0, 0, 0, 0 };
    uintptr_t frame = 0;
    bool ok = false;
    kva_irq_t irq;

    up_verify("kva_pages_contig");
    if (!want_make(&w, low, high, align, boundary)) {
        return KVA_EINVAL;
    }
    irq = kva_port_lock(&pages.lock);
    own_ensure(&irq);
    if (reserve_allows(n, flags)) {
        ok = run_hold(&w, &frame);
    }
    pages.stat.contigs++;
    pages.stat.contig_fails += ok ? 0 : 1u;
    kva_port_unlock(&pages.lock, irq);
    *pa = pa_of(frame);
    return ok ? 0 : KVA_ENOMEM;
}

int
kva_pages_claim(size_t n, kva_pa_t pa)
{
    kva_pa_t got;
    uint64_t bytes = (uint64_t)n << KVA_PAGE_SHIFT;

    if (n == 0 || (pa & KVA_PAGE_MASK) != 0 || pa + (bytes - 1) < pa) {
        return KVA_EINVAL;
    }
    return kva_pages_contig(n, pa, pa + (bytes - 1), 0, 0, KVA_PAGE_RESERVE,
                            &got);
}

/* ---- putting ------------------------------------------------------------ */

/* All n frames are held; or *bad is the first that is not, of those there are.
 */
static struct kva__frames *
held_verify(size_t n, kva_pa_t pa, kva_pa_t *bad)
{
    kva_pa_t first = pa >> KVA_PAGE_SHIFT;
    struct kva__frames *f = NULL;
    size_t at, good;

    *bad = pa;
    if (n == 0 || (pa & KVA_PAGE_MASK) != 0 || first > UINTPTR_MAX ||
        (f = range_of((uintptr_t)first)) == NULL) {
        return NULL;
    }
    at = (uintptr_t)first - f->base;
    if (n > f->n - at) {
        *bad = pa_of(f->base + f->n);
        return NULL;
    }
    good = kva__bits_both(f->taken, f->held, at, at + n, false);
    *bad = pa_of(f->base + good);
    return good == at + n ? f : NULL;
}

void
kva_pages_put(size_t n, kva_pa_t pa)
{
    uintptr_t frame = (uintptr_t)(pa >> KVA_PAGE_SHIFT);
    struct kva__frames *f;
    kva_pa_t bad;
    kva_irq_t irq;

    irq = kva_port_lock(&pages.lock);
    if (pages.up) {
        own_ensure(&irq);
    }
    f = held_verify(n, pa, &bad);
    if (f == NULL) {
        kva_port_unlock(&pages.lock, irq);
        kva__misuse("kva_pages_put", "pages", "physical", (uintptr_t)pa,
                    "expected %zu frames that are held, found 0x%llx not held",
                    n, (unsigned long long)bad);
    }
    kva__bits_fill(f->held, frame - f->base, n, false);
    pages.stat.held -= n;
    pages.stat.puts++;
    if (!pages.up) { /* the arena is gone */
        kva__bits_fill(f->taken, frame - f->base, n, false);
    } else if (n == 1) {
        stock_push(frame);
    } else {
        pages.stat.parked += run_free(f, frame - f->base, frame - f->base + n);
    }
    kva_port_unlock(&pages.lock, irq);
}

void
kva_pages_meta_put(uintptr_t va)
{
    uintptr_t frame =
        pages.mapped_first + ((va - pages.mapped_va) >> KVA_PAGE_SHIFT);

    if (va < pages.mapped_va || (va & KVA_PAGE_MASK) != 0 ||
        !is_mapped(frame)) {
        kva__misuse("kva_pages_meta_put", "pages", "physical", va,
                    "expected a page of the direct map, found another address");
    }
    kva_pages_put(1, pa_of(frame));
}
