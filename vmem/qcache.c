/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Quantum caches: sizes of 1 to 32 quanta without a tag for each.
 *
 *      vmem_alloc(3 quanta)
 *           |
 *      magazines of 3-quanta runs, per CPU            magazine.c
 *           | miss
 *      windows: the fullest that has such a run       window.c
 *           | none
 *      a piece from the arena: 4 to 512 quanta, a power of two near an eighth of
 *      what is held, so that a small system takes little and a large one rarely
 *
 * All sizes share the windows; so there is no slab for each size, of which a
 * small system would pay for every one.  A piece costs one tag whatever is in
 * it.  When a piece is all free it goes back, unless what would be left free is
 * less than a thirty-second of what is held.
 *
 * A window is found from an address through two levels of pointers, without a
 * lock: whoever looks owns a run in it, or a range with a tag beside its pieces
 * (the byte there says free), or is wrong, and then finds a byte that tells.
 * So a window stays until the arena ends, even when no piece is left in it.  The
 * addresses of an arena must lie within 2^25 quanta (128 GiB of 4 KiB pages)
 * above its origin to be tracked; what lies beyond is served by tags.
 *
 * Locks: the quantum cache's own, outside the arena's; it is not held while the
 * arena works.
 */
#include "vmem/qcache.h"

#include "vmem/lookup.h"

/* Smallest and largest piece, in quanta. */
#define PIECE_MIN 4u
#define PIECE_MAX WINDOW_QUANTA

/* Windows of a list looked at for the fullest. */
#define LOOK_MAX 8u

/*
 * Magazines hold 4 quanta, and the depot one full one, so that a small system
 * does not lose its memory in them; runs longer than that have none and are
 * taken from the windows each time.  (With magazines for runs of up to 32 quanta
 * the build trace, 4 MB live, kept 96 pages in those of 16 and 32 alone.)
 */
#define MAG_QUANTA 4u
#define MAG_FULL_MAX 1u

static struct kva__meta_store qcaches, qsizes, windows;

static size_t
up8(size_t bytes)
{
    return (bytes + 7) & ~(size_t)7;
}

void
kva__qcache_bootstrap(void)
{
    kva__meta_store_init(&qcaches, "qcaches", up8(sizeof(struct kva__qcache)),
                         KVA_META_QCACHE, 0);
    kva__meta_store_init(&qsizes, "qcache sizes", up8(sizeof(struct qsize)),
                         KVA_META_QCACHE, 0);
    kva__meta_store_init(&windows, "windows", up8(sizeof(struct window)),
                         KVA_META_STATE, 0);
}

/* ---- windows by address ----------------------------------------------- */

static void
list_remove(struct kva__qcache *qc, struct window *w)
{
    if (w->order < 0) {
        return;
    }
    if (w->prev != NULL) {
        w->prev->next = w->next;
    } else {
        qc->list[w->order] = w->next;
    }
    if (w->next != NULL) {
        w->next->prev = w->prev;
    }
    w->order = -1;
}

/* The window's free quanta changed: to the list of its order. */
static void
relist(struct kva__qcache *qc, struct window *w)
{
    int order = kva__window_order(w);

    if (order == w->order) {
        return;
    }
    list_remove(qc, w);
    w->order = order;
    if (order < 0) {
        return;
    }
    w->prev = NULL;
    w->next = qc->list[order];
    if (w->next != NULL) {
        w->next->prev = w;
    }
    qc->list[order] = w;
}

/* The window of addr, made if need be; NULL: no memory, or out of reach. */
static struct window *
window_make(struct kva__qcache *qc, uintptr_t addr)
{
    unsigned shift = qc->vm->quantum_shift;
    size_t bytes = (size_t)WINDOW_QUANTA << shift;
    struct window *w, **mid;
    uintptr_t win;

    w = window_at(qc, shift, addr);
    if (w != NULL) {
        return w;
    }
    win = (addr - qc->origin) >> shift >> WINDOW_SHIFT;
    if (win >> (MID_SHIFT + ROOT_SHIFT) != 0) {
        return NULL;
    }
    mid = qc->root[win >> MID_SHIFT];
    if (mid == NULL) {
        mid = kva__meta_page_get(KVA_META_QCACHE);
        if (mid == NULL) {
            return NULL;
        }
        __atomic_store_n(&qc->root[win >> MID_SHIFT], mid, __ATOMIC_RELEASE);
    }
    w = kva__meta_get(&windows);
    if (w == NULL) {
        return NULL;
    }
    w->base = kva_round_down(addr, bytes);
    w->order = -1;
    qc->nwindows++;
    __atomic_store_n(&mid[win & (MID_ENTRIES - 1)], w, __ATOMIC_RELEASE);
    return w;
}

/*
 * The arena gets its first span, at addr: see to it that it can be tracked.
 * Only as long as nobody has found a window by the origin.
 */
void
kva__qcache_expect(kva_vmem_t *vm, uintptr_t addr)
{
    struct kva__qcache *qc = vm->qcache;
    unsigned shift = vm->quantum_shift;
    uintptr_t half = ((uintptr_t)REACH / 2) << shift;

    if (qc == NULL || qc->nwindows != 0 ||
        (addr - qc->origin) >> shift < REACH) {
        return;
    }
    addr = addr > half ? addr - half : 0;
    __atomic_store_n(&qc->origin,
                     kva_round_down(addr, (uintptr_t)WINDOW_QUANTA << shift),
                     __ATOMIC_RELAXED);
}

/* ---- pieces ----------------------------------------------------------- */

static unsigned
pow2_up(unsigned n)
{
    return kva_is_pow2(n) ? n : 2u << kva_fls(n);
}

/* The power of two at or below an eighth of what is held, and room for n. */
static unsigned
piece_wanted(const struct kva__qcache *qc, unsigned n)
{
    size_t eighth = qc->held / 8;
    unsigned want = PIECE_MIN;

    while (want < PIECE_MAX && want * 2 <= eighth) {
        want *= 2;
    }
    return want < pow2_up(n) ? pow2_up(n) : want;
}

/* A piece of size quanta from the arena into its window.  No lock held. */
static int
piece_get(struct kva__qcache *qc, unsigned size, vm_flag_t flags)
{
    unsigned shift = qc->vm->quantum_shift;
    struct kva__vmem_request rq =
        request_plain(qc->vm, (size_t)size << shift, flags);
    struct window *w;
    uintptr_t addr;
    kva_irq_t irq;
    int err;

    if (kva_is_pow2(size)) {
        rq.align = rq.size;
    }
    rq.nocross = (size_t)WINDOW_QUANTA << shift;
    rq.constrained = size != 1;
    rq.optional = true;
    err = kva__arena_take(qc->vm, &rq, BT_PIECE, &addr);
    if (err != 0) {
        return err;
    }
    irq = kva_port_lock(&qc->lock);
    w = window_make(qc, addr);
    if (w != NULL) {
        kva__window_piece_add(
            w, (unsigned)(addr >> shift) & (WINDOW_QUANTA - 1), size);
        qc->held += size;
        qc->nfree += size;
        relist(qc, w);
    }
    kva_port_unlock(&qc->lock, irq);
    if (w == NULL) {
        kva__arena_free(qc->vm, addr, rq.size, BT_PIECE, "vmem_alloc");
        return KVA_ENOMEM;
    }
    return 0;
}

/*
 * More room for a run of n: as much as is thought good, or as can be had.
 * Never less than the next power of two: in a smaller piece the run could not lie at
 * will, and a search by order could miss it.
 */
static int
grow(struct kva__qcache *qc, unsigned n, vm_flag_t flags)
{
    unsigned want;
    kva_irq_t irq;

    irq = kva_port_lock(&qc->lock);
    want = kva__wait_for(qc->vm) ? pow2_up(n) : piece_wanted(qc, n);
    kva_port_unlock(&qc->lock, irq);
    for (; want >= n; want /= 2) {
        if (piece_get(qc, want, flags) == 0) {
            return 0;
        }
    }
    return KVA_ENOMEM;
}

/*
 * If the piece around quantum at is all free and not worth keeping, take it out
 * of its window: its address and size in bytes, to be given to the arena when
 * the lock is dropped; else 0 bytes.
 */
static size_t
piece_spare(struct kva__qcache *qc, struct window *w, unsigned at, bool all,
            uintptr_t *addr)
{
    unsigned shift = qc->vm->quantum_shift;
    unsigned n;

    at = kva__window_piece(w, at, &n);
    if (!kva__window_is_free(w, at, n) ||
        (!all && qc->nfree - n < qc->held / 32 + PIECE_MIN)) {
        return 0;
    }
    *addr = w->base + ((uintptr_t)at << shift);
    kva__window_piece_remove(w, at, n);
    qc->held -= n;
    qc->nfree -= n;
    qc->given += (size_t)n << shift;
    relist(qc, w);
    return (size_t)n << shift;
}

/* ---- the supplier of the magazines ------------------------------------ */

/* The fullest of the first windows of a list that has a run of n. */
static struct window *
list_look(struct window *w, unsigned n, bool sure, unsigned *at)
{
    struct window *best = NULL;

    for (unsigned i = 0; w != NULL && i < LOOK_MAX; w = w->next, i++) {
        if ((best == NULL || w->nfree < best->nfree) &&
            (sure || kva__window_find(w, n) < WINDOW_QUANTA)) {
            best = w;
        }
    }
    if (best != NULL) {
        *at = kva__window_find(best, n);
    }
    return best;
}

/* A run of n quanta: its address.  Locked. */
static bool
run_take(struct kva__qcache *qc, unsigned n, uintptr_t *addr)
{
    unsigned order = kva_fls(n), at = 0;
    struct window *w = NULL;

    if (!kva_is_pow2(n)) { /* unaligned runs may be in smaller orders */
        w = list_look(qc->list[order], n, false, &at);
        order++;
    }
    for (; w == NULL && order < WINDOW_ORDERS; order++) {
        w = list_look(qc->list[order], n, true, &at);
    }
    if (w == NULL) {
        return false;
    }
    kva__window_carve(w, at, n);
    qc->nfree -= n;
    relist(qc, w);
    *addr = w->base + ((uintptr_t)at << qc->vm->quantum_shift);
    return true;
}

static unsigned
runs_fill(void *arg, uintptr_t *round, unsigned n, unsigned flags)
{
    struct qsize *qs = arg;
    struct kva__qcache *qc = qs->vm->qcache;
    unsigned got = 0;
    kva_irq_t irq;

    do {
        irq = kva_port_lock(&qc->lock);
        while (got < n && run_take(qc, qs->n, &round[got])) {
            got++;
        }
        kva_port_unlock(&qc->lock, irq);
    } while (got == 0 && grow(qc, qs->n, flags) == 0);
    return got;
}

/* Waiters are told of all that is free around quantum at, in its piece. */
static void
run_offer(kva_vmem_t *vm, const struct window *w, unsigned at)
{
    unsigned shift = vm->quantum_shift, n, lo, hi;
    unsigned first = kva__window_piece(w, at, &n);

    for (lo = at; lo > first && kva__window_is_free(w, lo - 1, 1); lo--) {
    }
    for (hi = at + 1; hi < first + n && kva__window_is_free(w, hi, 1); hi++) {
    }
    kva__wait_freed_run(vm, w->base + ((uintptr_t)lo << shift),
                        (size_t)(hi - lo) << shift);
}

static void
runs_drain(void *arg, uintptr_t *round, unsigned n)
{
    struct qsize *qs = arg;
    kva_vmem_t *vm = qs->vm;
    struct kva__qcache *qc = vm->qcache;
    unsigned shift = vm->quantum_shift;

    for (unsigned i = 0; i < n; i++) {
        struct window *w = window_at(qc, shift, round[i]);
        unsigned at = (unsigned)(round[i] >> shift) & (WINDOW_QUANTA - 1);
        bool wanted;
        uintptr_t addr;
        size_t bytes;
        kva_irq_t irq;

        irq = kva_port_lock(&qc->lock);
        KVA_ASSERT(w->state[at] == (RUN_CACHED | (qs->n - 1)));
        kva__window_join(w, at, qs->n);
        qc->nfree += qs->n;
        relist(qc, w);
        wanted = kva__wait_for(vm);
        bytes = piece_spare(qc, w, at, wanted, &addr);
        if (bytes == 0 && wanted) {
            run_offer(vm, w, at);
        }
        kva_port_unlock(&qc->lock, irq);
        if (bytes > 0) {
            kva__arena_free(vm, addr, bytes, BT_PIECE, "vmem_free");
        }
    }
}

void
kva__qcache_yield(struct qsize *qs)
{
    (void)kva__magcache_drain_own(&qs->mc);
}

static const struct kva__mag_supplier supplier = { runs_fill, runs_drain };

/* ---- making and ending ------------------------------------------------ */

int
kva__qcache_create(kva_vmem_t *vm, enum kva_ipl ipl)
{
    struct kva__qcache *qc = kva__meta_get(&qcaches);

    if (qc == NULL) {
        return KVA_ENOMEM;
    }
    kva_port_lock_init(&qc->lock, "qcache", ipl, KVA_RANK_SLAB);
    qc->vm = vm;
    qc->ipl = ipl;
    qc->origin = kva_round_down(vm->origin,
                                (uintptr_t)WINDOW_QUANTA << vm->quantum_shift);
    vm->qcache = qc;
    return 0;
}

void
kva__qcache_destroy(kva_vmem_t *vm)
{
    struct kva__qcache *qc = vm->qcache;

    if (qc == NULL) {
        return;
    }
    for (unsigned i = 0; i < KVA__QCACHE_QUANTA_MAX; i++) {
        if (qc->size[i] != NULL) {
            kva__magcache_fini(&qc->size[i]->mc);
            kva__meta_put(&qsizes, qc->size[i]);
        }
    }
    for (unsigned i = 0; i < ROOT_ENTRIES; i++) {
        for (unsigned m = 0; qc->root[i] != NULL && m < MID_ENTRIES; m++) {
            if (qc->root[i][m] != NULL) {
                kva__meta_put(&windows, qc->root[i][m]);
            }
        }
        if (qc->root[i] != NULL) {
            kva__meta_page_put(qc->root[i], KVA_META_QCACHE);
        }
    }
    kva_port_lock_fini(&qc->lock);
    vm->qcache = NULL;
    kva__meta_put(&qcaches, qc);
}

/* The magazines of a size are made when it is first asked for. */
static struct qsize *
qsize_make(struct kva__qcache *qc, unsigned n)
{
    struct qsize *qs = kva__meta_get(&qsizes), *other;
    unsigned capacity = n > MAG_QUANTA ? 0 : MAG_QUANTA >> kva_fls(n);
    kva_irq_t irq;

    if (qs == NULL) {
        return NULL;
    }
    qs->vm = qc->vm;
    qs->n = n;
    kva__magcache_init(&qs->mc, "qcache depot", qc->ipl, capacity, MAG_FULL_MAX,
                       &supplier, qs);
    irq = kva_port_lock(&qc->lock);
    other = qc->size[n - 1];
    if (other == NULL) {
        __atomic_store_n(&qc->size[n - 1], qs, __ATOMIC_RELEASE);
    }
    kva_port_unlock(&qc->lock, irq);
    if (other != NULL) { /* somebody was faster */
        kva__magcache_fini(&qs->mc);
        kva__meta_put(&qsizes, qs);
        qs = other;
    }
    return qs;
}

/* ---- allocating and freeing ------------------------------------------- */

/* What the windows cannot serve, tags may: out of reach, or no metadata. */
static int
alloc_by_tag(kva_vmem_t *vm, const struct kva__vmem_request *rq,
             enum btag_state state, uintptr_t *addr)
{
    struct kva__vmem_request by_tag = *rq;

    by_tag.optional = true;
    return kva__arena_take(vm, &by_tag, state, addr);
}

static int
attempt(kva_vmem_t *vm, const struct kva__vmem_request *rq,
        enum btag_state state, uintptr_t *addr)
{
    struct kva__qcache *qc = vm->qcache;
    unsigned shift = vm->quantum_shift;
    unsigned n = (unsigned)(rq->size >> shift);
    struct qsize *qs = __atomic_load_n(&qc->size[n - 1], __ATOMIC_ACQUIRE);

    if (qs == NULL) {
        qs = qsize_make(qc, n);
    }
    if (qs == NULL || !kva__mag_get_slow(&qs->mc, rq->flags, addr)) {
        return alloc_by_tag(vm, rq, state, addr);
    }
    if (kva__wait_for(vm)) { /* more may have come than was asked for */
        kva__qcache_yield(qs);
    }
    state_set(state_at(window_at(qc, shift, *addr), shift, *addr),
              RUN_LIVE | (n - 1));
    return 0;
}

/* The hit path missed. */
int
kva__qcache_alloc(kva_vmem_t *vm, size_t size, vm_flag_t flags, uintptr_t *addr)
{
    struct kva__vmem_request rq = request_plain(vm, size, flags);

    if (kva_is_pow2(size)) {
        rq.align = size;
        rq.constrained = size != (size_t)1 << vm->quantum_shift;
    }
    return kva__arena_persist(vm, &rq, BT_ALLOC, addr, attempt);
}

/*
 * The byte at addr is one of a run, and the free is wrong: how, in the order in
 * which a free of a tag is looked at.  x: it is vmem_xfree.
 */
static _Noreturn void
bad_free(kva_vmem_t *vm, uintptr_t addr, size_t size, bool x, const char *func)
{
    unsigned shift = vm->quantum_shift;
    size_t quantum = (size_t)1 << shift;
    uintptr_t start = kva_round_down(addr, quantum);
    struct window *w = window_at(vm->qcache, shift, addr);
    uint8_t state = *state_at(w, shift, addr);

    if ((state & RUN_STATE_MASK) == RUN_INSIDE) {
        start -= (state & RUN_LENGTH_MASK) * quantum;
        state = *state_at(w, shift, start);
    }
    if ((addr & (quantum - 1)) != 0) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected a multiple of the quantum %zu, found a "
                    "misaligned address",
                    quantum);
    }
    if ((state & RUN_STATE_MASK) < RUN_LIVE) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected a live range, found a free one");
    }
    if (x) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected a range of vmem_xalloc, found one of vmem_alloc");
    }
    if (start != addr) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected the start of a range, found an address inside "
                    "the one at 0x%lx",
                    (unsigned long)start);
    }
    kva__misuse(func, "arena", vm->name, addr,
                "expected size %zu, found size %zu",
                ((state & RUN_LENGTH_MASK) + 1u) * quantum, size);
}

void
kva__qcache_expect_none(kva_vmem_t *vm, uintptr_t addr, size_t size, bool x,
                        const char *func)
{
    struct window *w;

    if (vm->qcache == NULL) {
        return;
    }
    w = window_at(vm->qcache, vm->quantum_shift, addr);
    if (w != NULL && *state_at(w, vm->quantum_shift, addr) != RUN_FREE) {
        bad_free(vm, addr, size, x, func);
    }
}

/* ---- draining --------------------------------------------------------- */

typedef void visit_fn(struct kva__qcache *qc, struct window *w, void *arg);

/* Every window, in address order.  Locked. */
static void
windows_visit(struct kva__qcache *qc, visit_fn *fn, void *arg)
{
    for (unsigned r = 0; r < ROOT_ENTRIES; r++) {
        for (unsigned m = 0; qc->root[r] != NULL && m < MID_ENTRIES; m++) {
            if (qc->root[r][m] != NULL) {
                fn(qc, qc->root[r][m], arg);
            }
        }
    }
}

/* The free pieces of one window to the arena; the lock is dropped for each. */
static void
window_drain(struct kva__qcache *qc, struct window *w, kva_irq_t *irq)
{
    for (unsigned at = 0; (at = kva__window_next(w->piece, at)) < WINDOW_QUANTA;
         at++) {
        uintptr_t addr;
        size_t bytes = piece_spare(qc, w, at, true, &addr);

        if (bytes == 0) {
            continue;
        }
        kva_port_unlock(&qc->lock, *irq);
        kva__arena_free(qc->vm, addr, bytes, BT_PIECE, "vmem_drain");
        *irq = kva_port_lock(&qc->lock);
    }
}

/* The magazines of all sizes, the longest first, to the windows. */
static void
magazines_drain(kva_vmem_t *vm, size_t retain, enum kva__drain how)
{
    for (unsigned i = KVA__QCACHE_QUANTA_MAX; i-- > 0;) {
        struct qsize *qs =
            __atomic_load_n(&vm->qcache->size[i], __ATOMIC_ACQUIRE);

        if (qs == NULL) {
            continue;
        }
        if (how == KVA__DRAIN_ALONE) {
            kva__magcache_empty(&qs->mc);
        } else if (how == KVA__DRAIN_OWN) {
            (void)kva__magcache_drain_own(&qs->mc);
        } else if (retain == 0 || kva__qcache_cached(vm) > retain) {
            (void)kva__magcache_drain(&qs->mc, 0);
        }
    }
}

static void
windows_drain(struct kva__qcache *qc, size_t bytes, size_t retain)
{
    kva_irq_t irq;
    size_t given;

    irq = kva_port_lock(&qc->lock);
    given = qc->given;
    for (unsigned r = 0; r < ROOT_ENTRIES; r++) {
        for (unsigned m = 0; qc->root[r] != NULL && m < MID_ENTRIES; m++) {
            if (qc->nfree << qc->vm->quantum_shift <= retain ||
                qc->given - given >= bytes) {
                break;
            }
            if (qc->root[r][m] != NULL) {
                window_drain(qc, qc->root[r][m], &irq);
            }
        }
    }
    kva_port_unlock(&qc->lock, irq);
}

/*
 * What is retained may be what somebody has queued up for meanwhile, who did
 * not find it, since it was on its way.
 */
void
kva__qcache_drain(kva_vmem_t *vm, size_t bytes, size_t retain,
                  enum kva__drain how)
{
    magazines_drain(vm, retain, how);
    windows_drain(vm->qcache, bytes, retain);
    if (kva__wait_for(vm) && (retain > 0 || bytes < SIZE_MAX)) {
        magazines_drain(vm, 0, how);
        windows_drain(vm->qcache, SIZE_MAX, 0);
    }
}

/* ---- looking ---------------------------------------------------------- */

size_t
kva__qcache_cached(kva_vmem_t *vm)
{
    struct kva__qcache *qc = vm->qcache;
    size_t quanta;
    kva_irq_t irq;

    if (qc == NULL) {
        return 0;
    }
    irq = kva_port_lock(&qc->lock);
    quanta = qc->nfree;
    kva_port_unlock(&qc->lock, irq);
    for (unsigned i = 0; i < KVA__QCACHE_QUANTA_MAX; i++) {
        struct qsize *qs = __atomic_load_n(&qc->size[i], __ATOMIC_ACQUIRE);

        if (qs != NULL) {
            quanta += kva__magcache_rounds(&qs->mc) * qs->n;
        }
    }
    return quanta << vm->quantum_shift;
}

void
kva__qcache_stat(kva_vmem_t *vm, struct kva_vmem_stat *st)
{
    struct kva__qcache *qc = vm->qcache;
    kva_irq_t irq;

    if (qc == NULL) {
        return;
    }
    st->mem_cached = kva__qcache_cached(vm);
    irq = kva_port_lock(&qc->lock);
    st->qcache_bytes =
        sizeof(*qc) + qc->nwindows * offsetof(struct window, state);
    st->state_bytes = (size_t)qc->nwindows * WINDOW_QUANTA;
    for (unsigned i = 0; i < ROOT_ENTRIES; i++) {
        st->qcache_bytes += qc->root[i] != NULL ? KVA_PAGE_SIZE : 0;
    }
    kva_port_unlock(&qc->lock, irq);
    for (unsigned i = 0; i < KVA__QCACHE_QUANTA_MAX; i++) {
        struct qsize *qs = __atomic_load_n(&qc->size[i], __ATOMIC_ACQUIRE);

        if (qs != NULL) {
            st->qcache_bytes += sizeof(*qs);
            irq = kva_port_lock(&qs->mc.lock);
            st->magazine_bytes += kva__magcache_bytes(&qs->mc);
            st->qcache_alloc += qs->mc.misses_get;
            st->qcache_free += qs->mc.misses_put;
            kva_port_unlock(&qs->mc.lock, irq);
        }
    }
}

struct live {
    size_t bytes;
    uintptr_t first;
};

static void
window_live(struct kva__qcache *qc, struct window *w, void *arg)
{
    struct live *live = arg;

    for (unsigned i = 0; i < WINDOW_QUANTA; i++) {
        if ((w->state[i] & RUN_STATE_MASK) >= RUN_LIVE) {
            if (live->bytes == 0) {
                live->first = w->base + ((uintptr_t)i << qc->vm->quantum_shift);
            }
            live->bytes += ((size_t)(w->state[i] & RUN_LENGTH_MASK) + 1)
                           << qc->vm->quantum_shift;
        }
    }
}

size_t
kva__qcache_live(kva_vmem_t *vm, uintptr_t *addr)
{
    struct live live = { 0, 0 };
    kva_irq_t irq;

    irq = kva_port_lock(&vm->qcache->lock);
    windows_visit(vm->qcache, window_live, &live);
    kva_port_unlock(&vm->qcache->lock, irq);
    *addr = live.first;
    return live.bytes;
}

struct check {
    kva__piece_held_t *is_held;
    size_t held, nfree;
    unsigned windows;
    const char *bad;
};

/* Each piece of the window is a segment. */
static const char *
pieces_check(struct kva__qcache *qc, struct window *w,
             kva__piece_held_t *is_held)
{
    unsigned shift = qc->vm->quantum_shift, n;

    for (unsigned at = 0; (at = kva__window_next(w->piece, at)) < WINDOW_QUANTA;
         at++) {
        (void)kva__window_piece(w, at, &n);
        if (!is_held(qc->vm, w->base + ((uintptr_t)at << shift),
                     (size_t)n << shift)) {
            return "Q2: a piece of a window is a segment of the arena";
        }
    }
    return NULL;
}

static void
window_check(struct kva__qcache *qc, struct window *w, void *arg)
{
    struct check *check = arg;
    const char *bad = kva__window_check(w);

    check->held += w->nheld;
    check->nfree += w->nfree;
    check->windows++;
    if (bad == NULL &&
        (w != window_at(qc, qc->vm->quantum_shift, w->base) ||
         (w->base &
          (((uintptr_t)WINDOW_QUANTA << qc->vm->quantum_shift) - 1)) != 0)) {
        bad = "Q1: a window is found by its address";
    }
    if (bad == NULL && w->order != kva__window_order(w)) {
        bad = "Q1: a window is on the list of its order";
    }
    if (bad == NULL) {
        bad = pieces_check(qc, w, check->is_held);
    }
    if (check->bad == NULL) {
        check->bad = bad;
    }
}

kva_irq_t
kva__qcache_lock(kva_vmem_t *vm)
{
    return vm->qcache != NULL ? kva_port_lock(&vm->qcache->lock) : 0;
}

void
kva__qcache_unlock(kva_vmem_t *vm, kva_irq_t irq)
{
    if (vm->qcache != NULL) {
        kva_port_unlock(&vm->qcache->lock, irq);
    }
}

const char *
kva__qcache_check(kva_vmem_t *vm, kva__piece_held_t *is_held)
{
    struct kva__qcache *qc = vm->qcache;
    struct check check = { is_held, 0, 0, 0, NULL };

    if (qc == NULL) {
        return NULL;
    }
    if (qc->vm != vm ||
        (qc->origin & (((uintptr_t)WINDOW_QUANTA << vm->quantum_shift) - 1)) !=
            0) {
        return "Q1: the quantum caches know their arena, and where it begins";
    }
    windows_visit(qc, window_check, &check);
    if (check.bad == NULL &&
        (check.held != qc->held || check.nfree != qc->nfree ||
         check.windows != qc->nwindows)) {
        check.bad = "Q1: the quantum cache's counts are those of its windows";
    }
    return check.bad;
}

/*
 * Live runs of the piece one by one, and what lies between them as cached.
 * Runs come and go meanwhile; what is shown stays within the piece.
 */
void
kva__qcache_walk(kva_vmem_t *vm, uintptr_t addr, size_t size, unsigned typemask,
                 void (*fn)(void *, vmem_addr_t, vmem_size_t, unsigned),
                 void *arg)
{
    unsigned shift = vm->quantum_shift;
    struct window *w = window_at(vm->qcache, shift, addr);
    size_t left = 0, bytes;

    if (w != NULL) { /* a piece ends with its window, whatever a tag says */
        left = ((size_t)WINDOW_QUANTA << shift) - (addr - w->base);
        left = size < left ? size : left;
    }
    for (; left > 0; addr += bytes, left -= bytes) {
        uint8_t state = state_get(state_at(w, shift, addr));
        unsigned what = state & RUN_STATE_MASK;
        unsigned type = what >= RUN_LIVE ? VMEM_ALLOC : VMEM_CACHED;

        bytes = (size_t)1 << shift;
        if (what >= RUN_CACHED) {
            bytes *= (state & RUN_LENGTH_MASK) + 1u;
        }
        bytes = bytes < left ? bytes : left;
        if ((typemask & type) != 0) {
            fn(arg, addr, bytes, type);
        }
    }
}

unsigned
kva__qcache_item(kva_vmem_t *vm, uintptr_t addr, uintptr_t *base, size_t *size)
{
    unsigned shift = vm->quantum_shift;
    struct window *w = window_at(vm->qcache, shift, addr);
    uint8_t state;

    if (w == NULL) {
        return 0;
    }
    *base = kva_round_down(addr, (uintptr_t)1 << shift);
    state = state_get(state_at(w, shift, *base));
    if ((state & RUN_STATE_MASK) == RUN_INSIDE) {
        *base -= (uintptr_t)(state & RUN_LENGTH_MASK) << shift;
        state = state_get(state_at(w, shift, *base));
    }
    *size = ((size_t)(state & RUN_LENGTH_MASK) + 1) << shift;
    if ((state & RUN_STATE_MASK) < RUN_CACHED || addr - *base >= *size) {
        return 0;
    }
    return (state & RUN_STATE_MASK) == RUN_CACHED ? VMEM_CACHED : VMEM_ALLOC;
}

/* ---- for the allocators above ----------------------------------------- */

enum kva_range_kind
kva__vmem_lookup(kva_vmem_t *vm, vmem_addr_t addr, struct kva_range *range)
{
    unsigned shift = vm->quantum_shift;
    struct window *w =
        vm->qcache == NULL ? NULL : window_at(vm->qcache, shift, addr);
    struct kva_vmem_btag *bt;
    uint8_t state;
    kva_irq_t irq;
    bool own;

    range->kind = KVA_RANGE_NONE;
    state = w == NULL ? RUN_FREE : *state_at(w, shift, addr);
    if (state != RUN_FREE) {
        range->base = kva_round_down(addr, (uintptr_t)1 << shift);
        if ((state & RUN_STATE_MASK) == RUN_INSIDE) {
            range->base -= (uintptr_t)(state & RUN_LENGTH_MASK) << shift;
            state = *state_at(w, shift, range->base);
        }
        range->size = ((size_t)(state & RUN_LENGTH_MASK) + 1) << shift;
        range->kind = (state & RUN_STATE_MASK) == RUN_CACHED ? KVA_RANGE_CACHED
                                                             : KVA_RANGE_ALLOC;
        return range->kind;
    }
    irq = kva_port_lock(&vm->lock);
    bt = kva__segment_at(vm, addr, &own);
    if (bt != NULL && bt_is_busy(bt) && bt_state(bt) != BT_PIECE) {
        range->base = addr;
        range->size = bt_size(bt);
        range->kind =
            bt_state(bt) == BT_ALLOC ? KVA_RANGE_ALLOC : KVA_RANGE_XALLOC;
    }
    kva_port_unlock(&vm->lock, irq);
    return range->kind;
}
