/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Physical frames.  They are numbers with a state: memory appears only when
 * a frame is mapped, and is lost when it is unmapped.  At tiers 0 and 1 there
 * is no mapping and page_get itself attaches the memory, with pa == va.
 *
 * Free frames below the mark unused lie in runs; above it all are free.  A
 * run's length stands at its first and its last frame, so a frame put back
 * finds its neighbours; runs hang on one list per power of two of their length.
 * Of runs that are to be aligned as many are looked at in each list as of those
 * that may be too short; above the mark there is always one, and what lies
 * before it becomes a free run.
 */
#include <sys/mman.h>

#include "port/posix/posix_impl.h"

#define CLASSES 33
#define NONE (~(uint32_t)0)

/* Runs looked at in a class that may hold shorter ones. */
#define LOOK_MAX 16

static size_t frames_max;
static size_t unused;
static uint8_t *state_of; /* enum posix_frame_state */
static uint32_t *run_len, *run_next, *run_prev;
static uint32_t head[CLASSES];
static kva_pa_t last_got; /* by page_get, if it does not fail */

struct kva_posix_supply kva__posix_supply;

int
kva__posix_frames_init(void)
{
    frames_max = kva__posix.va_pages;
    if (kva__posix.config.page_limit > frames_max) {
        kva__posix.config.page_limit = frames_max;
    }
    unused = 0;
    for (unsigned i = 0; i < CLASSES; i++) {
        head[i] = NONE;
    }
    state_of = kva__posix_table(frames_max, sizeof(*state_of));
    run_len = kva__posix_table(frames_max, sizeof(*run_len));
    run_next = kva__posix_table(frames_max, sizeof(*run_next));
    run_prev = kva__posix_table(frames_max, sizeof(*run_prev));
    if (state_of == NULL || run_len == NULL || run_next == NULL ||
        run_prev == NULL) {
        return KVA_ENOMEM;
    }
    return 0;
}

void
kva__posix_frames_fini(void)
{
    kva__posix_table_free(state_of, frames_max, sizeof(*state_of));
    kva__posix_table_free(run_len, frames_max, sizeof(*run_len));
    kva__posix_table_free(run_next, frames_max, sizeof(*run_next));
    kva__posix_table_free(run_prev, frames_max, sizeof(*run_prev));
    state_of = NULL;
    run_len = run_next = run_prev = NULL;
    frames_max = 0;
}

void
kva_posix_supply_set(const struct kva_posix_supply *supply)
{
    const struct kva_posix_supply none = { .get = NULL };

    kva__posix_supply = supply == NULL ? none : *supply;
}

void
kva_posix_frames(kva_pa_t *first, size_t *n)
{
    kva__posix_need(__func__);
    *first = kva__posix_frame_pa(0);
    *n = frames_max;
}

kva_pa_t
kva__posix_frame_pa(size_t frame)
{
    kva_pa_t base = POSIX_IDENTITY ? kva__posix.va_base : POSIX_PA_BASE;

    return base + ((kva_pa_t)frame << KVA_PAGE_SHIFT);
}

bool
kva__posix_frame_find(kva_pa_t pa, size_t n, size_t *frame)
{
    kva_pa_t base = kva__posix_frame_pa(0);
    kva_pa_t number = (pa - base) >> KVA_PAGE_SHIFT;

    if (pa < base || (pa & KVA_PAGE_MASK) != 0 || n == 0 || n > frames_max ||
        number > frames_max - n) {
        return false;
    }
    *frame = (size_t)number;
    return true;
}

enum posix_frame_state
kva__posix_frame_state(size_t frame)
{
    return (enum posix_frame_state)state_of[frame];
}

void
kva__posix_frame_set(size_t frame, enum posix_frame_state state)
{
    state_of[frame] = (uint8_t)state;
}

/* ---- free runs --------------------------------------------------------- */

static void
run_insert(size_t first, size_t n)
{
    unsigned class = kva_fls(n);
    uint32_t run = (uint32_t)first;

    run_len[first] = (uint32_t)n;
    run_len[first + n - 1] = (uint32_t)n;
    run_prev[first] = NONE;
    run_next[first] = head[class];
    if (head[class] != NONE) {
        run_prev[head[class]] = run;
    }
    head[class] = run;
}

static void
run_remove(size_t first)
{
    uint32_t next = run_next[first], prev = run_prev[first];

    if (next != NONE) {
        run_prev[next] = prev;
    }
    if (prev != NONE) {
        run_next[prev] = next;
    } else {
        head[kva_fls(run_len[first])] = next;
    }
}

/* The first frame from there on with an address aligned to align pages. */
static size_t
frame_align(size_t frame, size_t align)
{
    kva_pa_t number = kva__posix_frame_pa(frame) >> KVA_PAGE_SHIFT;

    return frame + (size_t)((0 - number) & (align - 1));
}

/* A free run of at least n frames, n of them aligned; NONE: there is none to be
 * seen. */
static uint32_t
run_find(size_t n, size_t align)
{
    for (unsigned class = kva_fls(n); class < CLASSES; class ++) {
        unsigned look = 0;

        for (uint32_t r = head[class]; r != NONE && look < LOOK_MAX;
             r = run_next[r], look++) {
            if (frame_align(r, align) + n <= (size_t)r + run_len[r]) {
                return r;
            }
        }
    }
    return NONE;
}

/* Take n contiguous frames, aligned; false: there are none. */
static bool
frames_take(size_t n, size_t align, size_t *frame)
{
    uint32_t run = run_find(n, align);
    size_t at, first, end;

    if (run != NONE) {
        first = run;
        end = first + run_len[run];
        at = frame_align(first, align);
        run_remove(run);
    } else {
        first = unused;
        at = frame_align(first, align);
        end = at + n;
        if (at > frames_max || n > frames_max - at) {
            return false;
        }
        unused = end;
    }
    if (at > first) {
        run_insert(first, at - first);
    }
    if (end > at + n) {
        run_insert(at + n, end - (at + n));
    }
    for (size_t i = 0; i < n; i++) {
        state_of[at + i] = POSIX_FRAME_HELD;
    }
    *frame = at;
    return true;
}

#if KVA_CONFIG_PAGE_CONTIG
/* What a device wants, in bytes. */
struct device {
    size_t n;
    kva_pa_t low, high, align, boundary;
};

/* Do n frames from there on serve. */
static bool
device_serves(const struct device *d, size_t frame)
{
    kva_pa_t first = kva__posix_frame_pa(frame);
    kva_pa_t last = first + ((kva_pa_t)d->n << KVA_PAGE_SHIFT) - 1;

    return first >= d->low && last <= d->high &&
           (d->align == 0 || (first & (d->align - 1)) == 0) &&
           (d->boundary == 0 || ((first ^ last) & ~(d->boundary - 1)) == 0);
}

/* The lowest frame of the free run [first, end) from which on they serve; end:
 * none. */
static size_t
device_find(const struct device *d, size_t first, size_t end)
{
    while (end - first >= d->n && !device_serves(d, first)) {
        first++;
    }
    return end - first >= d->n ? first : end;
}

/* Take them out of the run. */
static void
device_take(const struct device *d, size_t first, size_t end, size_t at)
{
    if (first < unused) {
        run_remove(first);
    } else {
        end = unused = at + d->n;
    }
    if (at > first) {
        run_insert(first, at - first);
    }
    if (end > at + d->n) {
        run_insert(at + d->n, end - (at + d->n));
    }
    for (size_t i = 0; i < d->n; i++) {
        state_of[at + i] = POSIX_FRAME_HELD;
    }
}

/* The lowest frames that serve, by a look at each. */
static bool
device_search(const struct device *d, size_t *frame)
{
    size_t end;

    for (size_t first = 0; first < frames_max; first = end) {
        if (first < unused && state_of[first] != POSIX_FRAME_FREE) {
            end = first + 1;
            continue;
        }
        end = first < unused ? first + run_len[first] : frames_max;
        *frame = device_find(d, first, end);
        if (*frame != end) {
            device_take(d, first, end, *frame);
            return true;
        }
    }
    return false;
}
#endif

static void
frames_give(size_t frame, size_t n)
{
    size_t first = frame, len = n;

    for (size_t i = 0; i < n; i++) {
        state_of[frame + i] = POSIX_FRAME_FREE;
    }
    if (kva__posix_supply.put != NULL) { /* it keeps the books of runs */
        return;
    }
    if (first > 0 && state_of[first - 1] == POSIX_FRAME_FREE) {
        size_t before = run_len[first - 1];

        first -= before;
        len += before;
        run_remove(first);
    }
    if (frame + n < unused && state_of[frame + n] == POSIX_FRAME_FREE) {
        len += run_len[frame + n];
        run_remove(frame + n);
    }
    if (first + len == unused) {
        unused = first;
    } else {
        run_insert(first, len);
    }
}

/* ---- the hooks --------------------------------------------------------- */

/* NULL if n more frames are within the limits, else why not. */
static const char *
limit_check(size_t n, unsigned flags)
{
    const struct kva_posix_config *c = &kva__posix.config;
    size_t limit = c->page_limit == 0 ? frames_max : c->page_limit;
    size_t used = kva__posix.stats.frames +
                  (c->meta_counts ? kva__posix.stats.meta_pages : 0);

    if (c->run_max != 0 && n > c->run_max) {
        return "page_get: no run of this length (run_max)";
    }
    if ((flags & KVA_PAGE_RESERVE) == 0) {
        limit = limit > c->reserve_pages ? limit - c->reserve_pages : 0;
    }
    if (n > limit || used > limit - n) {
        return "page_get: the limit of pages is reached";
    }
    return NULL;
}

static void
frames_count(size_t n)
{
    struct kva_posix_stats *s = &kva__posix.stats;

    s->frames += n;
    if (s->frames > s->frames_peak) {
        s->frames_peak = s->frames;
    }
}

/* Take n frames from the tables, with the counts. */
static const char *
frames_get(size_t n, unsigned flags, size_t *frame)
{
    const char *why;

    kva__posix.stats.page_gets++;
    why = limit_check(n, flags);
    if (why != NULL || kva__posix_supply.get != NULL) {
        return why;
    }
    if ((KVA_LARGE_PAGE_SIZE == 0 || (flags & KVA_PAGE_LARGE) == 0 ||
         !frames_take(n, KVA_LARGE_PAGES, frame)) &&
        !frames_take(n, 1, frame)) {
        return "page_get: no contiguous run of this length";
    }
    frames_count(n);
    return NULL;
}

/* What the supply gave; it was asked with nothing locked. */
static void
supply_enter(size_t n, kva_pa_t pa, size_t *frame)
{
    bool good = true;
    kva_irq_t saved;

    if (!kva__posix_frame_find(pa, n, frame)) {
        kva__panic("page_get: expected frames of the machine from the supply, "
                   "found pa 0x%llx",
                   (unsigned long long)pa);
    }
    saved = kva__posix_enter(&kva__posix_space_lock);
    for (size_t i = 0; i < n; i++) {
        good &= state_of[*frame + i] == POSIX_FRAME_FREE;
        state_of[*frame + i] = POSIX_FRAME_HELD;
    }
    frames_count(n);
    kva__posix_leave(&kva__posix_space_lock, saved);
    if (!good) {
        kva__panic("page_get: expected free frames from the supply, found one "
                   "in use");
    }
}

static const char *
supply_get(size_t n, unsigned flags, size_t *frame)
{
    kva_pa_t pa;

    if (kva__posix_supply.get(n, flags, &pa) != 0) {
        return "page_get: the supply has no such run";
    }
    supply_enter(n, pa, frame);
    return NULL;
}

/* Tiers 0 and 1: the frames are memory. */
static int
identity_attach(size_t frame, size_t n)
{
    struct kva_posix_stats *s = &kva__posix.stats;
    uintptr_t va = (uintptr_t)kva__posix_frame_pa(frame);
    int error = kva__posix_attach(va, n, PROT_READ | PROT_WRITE);
    kva_irq_t saved = kva__posix_enter(&kva__posix_space_lock);

    if (error != 0) {
        frames_give(frame, n);
        s->frames -= n;
    } else {
        s->attached_pages += n;
        if (s->attached_pages > s->attached_peak) {
            s->attached_peak = s->attached_pages;
        }
    }
    kva__posix_leave(&kva__posix_space_lock, saved);
    return error;
}

int
kva_port_page_get(size_t n, unsigned flags, kva_pa_t *pa)
{
    const char *why;
    size_t frame = 0;
    kva_irq_t saved;

    posix_yield("page_get");
    kva__posix_need(__func__);
    if (n == 0) {
        kva__panic("%s: expected 1 page or more, found 0", __func__);
    }
    if (kva_posix_fault(KVA_POSIX_PAGE_GET)) {
        kva__posix_error("page_get: injected fault");
        return KVA_ENOMEM;
    }
    if (kva__posix_broken(KVA_POSIX_PAGE_TWICE)) {
        *pa = last_got;
        return 0;
    }
    saved = kva__posix_enter(&kva__posix_space_lock);
    why = frames_get(n, flags, &frame);
    last_got = kva__posix_frame_pa(frame);
    kva__posix_leave(&kva__posix_space_lock, saved);
    if (why == NULL && kva__posix_supply.get != NULL) {
        why = supply_get(n, flags, &frame);
    }
    if (why != NULL) {
        kva__posix_error("%s", why);
        return KVA_ENOMEM;
    }
    if (POSIX_IDENTITY && identity_attach(frame, n) != 0) {
        if (kva__posix_supply.put != NULL) {
            kva__posix_supply.put(n, kva__posix_frame_pa(frame));
        }
        return KVA_ENOMEM;
    }
    *pa = kva__posix_frame_pa(frame);
    *pa += kva__posix_broken(KVA_POSIX_PAGE_ODD) ? KVA_PAGE_SIZE / 2 : 0;
    return 0;
}

#if KVA_CONFIG_PAGE_CONTIG
int
kva_port_page_contig(size_t n, kva_pa_t low, kva_pa_t high, kva_pa_t align,
                     kva_pa_t boundary, unsigned flags, kva_pa_t *pa)
{
    const struct device d = { n, low, high, align, boundary };
    bool found = false;
    size_t frame = 0;
    kva_irq_t saved;

    posix_yield("page_contig");
    kva__posix_need(__func__);
    if (kva_posix_fault(KVA_POSIX_PAGE_CONTIG)) {
        kva__posix_error("page_contig: injected fault");
        return KVA_ENOMEM;
    }
    saved = kva__posix_enter(&kva__posix_space_lock);
    kva__posix.stats.page_gets++;
    found = limit_check(n, flags) == NULL;
    if (found && kva__posix_supply.get == NULL) {
        found = device_search(&d, &frame);
        frames_count(found ? n : 0);
    }
    kva__posix_leave(&kva__posix_space_lock, saved);
    if (found && kva__posix_supply.get != NULL) {
        found = kva__posix_supply.contig != NULL &&
                kva__posix_supply.contig(n, low, high, align, boundary, flags,
                                         pa) == 0;
        if (found) {
            supply_enter(n, *pa, &frame);
        }
    }
    if (!found || (POSIX_IDENTITY && identity_attach(frame, n) != 0)) {
        kva__posix_error("page_contig: no such run");
        return KVA_ENOMEM;
    }
    *pa = kva__posix_frame_pa(frame);
    return 0;
}
#endif

/* The first of n frames that is not in this state; n if all are. */
static size_t
frames_all(size_t frame, size_t n, enum posix_frame_state state)
{
    size_t i = 0;

    while (i < n && state_of[frame + i] == state) {
        i++;
    }
    return i;
}

static void
frames_put(size_t frame, size_t n)
{
    kva__posix_direct_clear(frame, n);
    frames_give(frame, n);
    kva__posix.stats.frames -= n;
    kva__posix.stats.attached_pages -= POSIX_IDENTITY ? n : 0;
}

/* Tiers 0 and 1: the memory goes while the frames are nobody's. */
static void
identity_detach(size_t frame, size_t n)
{
    kva_irq_t saved;

    kva__posix_detach((uintptr_t)kva__posix_frame_pa(frame), n);
    saved = kva__posix_enter(&kva__posix_space_lock);
    frames_put(frame, n);
    kva__posix_leave(&kva__posix_space_lock, saved);
}

static _Noreturn void
put_panic(size_t frame, unsigned state)
{
    static const char *const name[] = { "a free one", "a held one",
                                        "a mapped one", "one not flushed" };

    kva__panic("kva_port_page_put: pa 0x%llx: expected an allocated, unmapped "
               "frame, found %s",
               (unsigned long long)kva__posix_frame_pa(frame), name[state]);
}

/* Any part of a run may be put back. */
void
kva_port_page_put(size_t n, kva_pa_t pa)
{
    size_t frame, good;
    unsigned state = 0;
    kva_irq_t saved;

    posix_yield("page_put");
    kva__posix_need(__func__);
    if (!kva__posix_frame_find(pa, n, &frame)) {
        kva__panic("%s: pa 0x%llx: expected %zu frames of the machine",
                   __func__, (unsigned long long)pa, n);
    }
    saved = kva__posix_enter(&kva__posix_space_lock);
    kva__posix.stats.page_puts++;
    good = frames_all(frame, n, POSIX_FRAME_HELD);
    if (good < n) {
        state = state_of[frame + good];
    } else if (!POSIX_IDENTITY) {
        frames_put(frame, n);
    } else {
        for (size_t i = 0; i < n; i++) {
            state_of[frame + i] = POSIX_FRAME_STALE;
        }
    }
    kva__posix_leave(&kva__posix_space_lock, saved);
    if (good < n) {
        put_panic(frame + good, state);
    } else if (POSIX_IDENTITY) {
        identity_detach(frame, n);
    }
    if (kva__posix_supply.put != NULL) {
        kva__posix_supply.put(n, pa);
    }
}
