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
 *      a piece from the arena: 4 to 512 quanta, a power of two near an eighth
 *      of what is held, so that a small system takes little and a large one
 *      rarely
 *
 * All sizes share the windows; so there is no slab for each size, of which a
 * small system would pay for every one.  A piece costs one tag whatever is in
 * it.  When a piece is all free it goes back, unless what would be left free is
 * less than a thirty-second of what is held.  While somebody drains, it is held:
 * he gives as many as are wanted, one by one, or all that his caches' last runs
 * are in would go at once.  A drain that wants more than that has pieces go in
 * parts (split.c).
 *
 * A window is found from an address through one level of pointers in the gate,
 * or, outside its reach, through two, without a lock: whoever looks owns a run
 * in it, or a range with a tag beside its pieces (the byte there says free), or
 * is wrong, and then finds a byte that tells.  So a window stays until the
 * arena ends, even when no piece is left in it.  The addresses of an arena must
 * lie within 2^25 quanta (128 GiB of 4 KiB pages) above its origin to be
 * tracked; what lies beyond is served by tags.
 *
 * With -Dchecks=flush a run in the magazines looks like a live one.  What is
 * wrong with a free is found when it comes back from the magazines; ranges
 * that are served by tags come that way too then, and go on to the arena.
 *
 * Locks: the quantum cache's own, outside the arena's; it is not held while the
 * arena works.
 */
#include "vmem/qcache.h"

#include "vmem/lookup.h"
#include "vmem/reserve.h"

/* Smallest and largest piece, in quanta. */
#define PIECE_MIN 4u
#define PIECE_MAX WINDOW_QUANTA

/* Windows of a list looked at for the fullest, which differ by a third. */
#define LOOK_MAX 8u

/*
 * Magazines hold 4 quanta at first, and the depot one full one, so that a small
 * system does not lose its memory in them; runs longer than that have none and
 * are taken from the windows each time.  (With magazines for runs of up to 32
 * quanta the build trace, 4 MB live, kept 96 pages in those of 16 and 32
 * alone.) With traffic, and enough that is live, they come to be, and grow to
 * 16 quanta. (With 32 the reclaim trace, 254 MB live, wired one 2 MiB piece
 * more.)
 */
#define MAG_QUANTA 4u
#define MAG_QUANTA_MAX 16u
#define MAG_FULL_MAX 1u

static struct kva__meta_store qcaches, qsizes, windows, gates, rows;

/* What an arena without quantum caches of its own has, or one whose caches
 * nobody has used yet: a gate that nothing gets through. */
static struct gate_block no_gate;
static struct window no_window;
struct kva__gate *const kva__qcache_no_gate = &no_gate.gate;

static size_t
up8(size_t bytes)
{
    return (bytes + 7) & ~(size_t)7;
}

/* The byte for a quantum in no window; never written. */
static uintptr_t
leaf_of_none(unsigned leaf)
{
    return (uintptr_t)&no_window.state[(leaf & 1u) << LEAF_SHIFT] -
           ((uintptr_t)leaf << LEAF_SHIFT);
}

static void
gate_init(struct kva__gate *gate, unsigned shift)
{
    kva__mag_row_init(gate->nobodys, ROW_WIDTH);
    for (unsigned n = 1; shift != 0 && n <= RUN_MAX; n++) {
        gate->size[n] = (size_t)n << shift;
    }
    for (unsigned i = 0; i < GATE_LEAVES; i++) {
        gate->leaf[i] = leaf_of_none(i);
    }
    for (unsigned i = 0; i <= KVA_CPU_MAX; i++) {
        gate->row[i] = gate->nobodys;
    }
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
    kva__meta_store_init(&gates, "gates", up8(sizeof(struct gate_block)),
                         KVA_META_QCACHE, 0);
    /* Whole cache lines, so that a CPU's row is its own. */
    kva__meta_store_init(
        &rows, "gate rows",
        kva_round_up((1u + ROW_WORDS) * sizeof(uintptr_t), KVA_CACHE_LINE),
        KVA_META_QCACHE, 0);
    gate_init(&no_gate.gate, 0);
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
        qc->list[w->order][w->fill] = w->next;
        qc->list_map[w->order] &= ~((uint32_t)(w->next == NULL) << w->fill);
    }
    if (w->next != NULL) {
        w->next->prev = w->prev;
    }
    w->order = -1;
}

void
kva__qcache_relist(struct kva__qcache *qc, struct window *w)
{
    int order = w->shut ? -1 : kva__window_order(w);
    unsigned fill = order < 0 ? 0 : window_fill(w->nfree);
    struct window **head;

    if (order == w->order && fill == w->fill) {
        return;
    }
    list_remove(qc, w);
    w->order = order;
    w->fill = fill;
    if (order < 0) {
        return;
    }
    head = &qc->list[order][fill];
    w->prev = NULL;
    w->next = *head;
    if (w->next != NULL) {
        w->next->prev = w;
    }
    *head = w;
    qc->list_map[order] |= (uint32_t)1 << fill;
}

/* The window through which quantum q of the gate is seen, or NULL. */
static struct window *
gate_window(const struct kva__gate *gate, uintptr_t q)
{
    unsigned leaf = (unsigned)(q >> LEAF_SHIFT);
    uintptr_t bytes = __atomic_load_n(&gate->leaf[leaf], __ATOMIC_ACQUIRE),
              first;

    if (bytes == leaf_of_none(leaf)) {
        return NULL;
    }
    first = bytes + (q & ~(uintptr_t)(WINDOW_QUANTA - 1));
    return KVA_CONTAINER((uint8_t *)first, struct window, state);
}

/* Where addr's window is: through the gate (true), *q being its quantum there;
 * or through the tables, *q counted from the origin. */
static bool
in_gate(const struct kva__qcache *qc, uintptr_t addr, uintptr_t *q)
{
    unsigned shift = qc->vm->quantum_shift;
    uintptr_t limit = __atomic_load_n(&qc->gate_limit, __ATOMIC_ACQUIRE);

    if (limit != 0) {
        *q = (addr - qc->gate_origin) >> shift;
        if (*q < limit) {
            return true;
        }
    }
    *q = (addr - __atomic_load_n(&qc->origin, __ATOMIC_RELAXED)) >> shift;
    return false;
}

struct window *
kva__qcache_window(const struct kva__qcache *qc, uintptr_t addr)
{
    struct window **mid;
    uintptr_t q, win;

    if (in_gate(qc, addr, &q)) {
        return gate_window(qc->vm->gate, q);
    }
    win = q >> WINDOW_SHIFT;
    if (KVA_UNLIKELY(win >> (MID_SHIFT + ROOT_SHIFT) != 0)) {
        return NULL;
    }
    mid = __atomic_load_n(&qc->root[win >> MID_SHIFT], __ATOMIC_ACQUIRE);
    if (KVA_UNLIKELY(mid == NULL)) {
        return NULL;
    }
    return __atomic_load_n(&mid[win & (MID_ENTRIES - 1)], __ATOMIC_ACQUIRE);
}

static uint8_t *
state_at(struct window *w, unsigned shift, uintptr_t addr)
{
    return &w->state[(addr >> shift) & (WINDOW_QUANTA - 1)];
}

/* What the byte for addr says; free, if there is none. */
static uint8_t
state_of(const struct kva__qcache *qc, uintptr_t addr)
{
    struct window *w = kva__qcache_window(qc, addr);

    return w == NULL ? RUN_FREE
                     : __atomic_load_n(state_at(w, qc->vm->quantum_shift, addr),
                                       __ATOMIC_RELAXED);
}

/*
 * What the hit paths of vm may serve, as it now is.  Whoever changes what it
 * follows from (the gate, its limit, or open) comes here afterwards; of two at
 * once the one who sees the other's change has the last word.
 */
void
kva__qcache_hits(kva_vmem_t *vm)
{
    struct kva__qcache *qc = vm->qcache;
    bool open;

    do {
        size_t sizes, limit;

        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        open = arena_is_open(vm);
        sizes = limit = 0;
        if (open && qc != NULL && vm->quantum_shift == KVA_PAGE_SHIFT &&
            __atomic_load_n(&vm->gate, __ATOMIC_ACQUIRE) != &no_gate.gate) {
            sizes = (vm->qcache_max >> KVA_PAGE_SHIFT) + 1u;
            limit = __atomic_load_n(&qc->gate_limit, __ATOMIC_ACQUIRE);
        }
        __atomic_store_n(&vm->hot_sizes, sizes, __ATOMIC_RELEASE);
        __atomic_store_n(&vm->hot_limit, limit, __ATOMIC_RELEASE);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    } while (arena_is_open(vm) != open);
}

/*
 * The first window comes to be, at addr: from where on the gate is to see.
 * From the origin, if that leaves half of what it sees for more; else from a
 * quarter of that below.
 */
static void
gate_place(struct kva__qcache *qc, uintptr_t addr)
{
    kva_vmem_t *vm = qc->vm;
    unsigned shift = vm->quantum_shift;
    uintptr_t from = qc->origin;

    if ((addr - from) >> shift >= GATE_QUANTA / 2) {
        from = kva_round_down(addr - ((GATE_QUANTA / 4) << shift),
                              (uintptr_t)WINDOW_QUANTA << shift);
    }
    qc->gate_origin = from;
    qc->gate_above = from - qc->origin;
    __atomic_store_n(&qc->gate_limit, GATE_QUANTA, __ATOMIC_RELEASE);
    __atomic_store_n(&vm->hot_origin, from, __ATOMIC_RELAXED);
    kva__qcache_hits(vm);
}

/* Where the tables name the window of quantum q, or NULL. */
static struct window **
table_entry(struct kva__qcache *qc, uintptr_t q)
{
    uintptr_t win = q >> WINDOW_SHIFT;
    struct window **mid;

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
    return &mid[win & (MID_ENTRIES - 1)];
}

/* The window of addr, made if need be; NULL: no memory, or out of reach. */
static struct window *
window_make(struct kva__qcache *qc, uintptr_t addr)
{
    struct kva__gate *gate = qc->vm->gate;
    struct window *w, **entry = NULL;
    bool seen;
    uintptr_t q;

    w = kva__qcache_window(qc, addr);
    if (w != NULL) {
        return w;
    }
    if (qc->gate_limit == 0) {
        gate_place(qc, addr);
    }
    seen = in_gate(qc, addr, &q);
    if (!seen) {
        entry = table_entry(qc, q);
        if (entry == NULL) {
            return NULL;
        }
    }
    w = kva__meta_get(&windows);
    if (w == NULL) {
        return NULL;
    }
    w->base =
        kva_round_down(addr, (uintptr_t)WINDOW_QUANTA << qc->vm->quantum_shift);
    w->order = -1;
    qc->nwindows++;
    if (seen) {
        unsigned leaf = (unsigned)(q >> WINDOW_SHIFT) << 1;
        uintptr_t bytes = (uintptr_t)w->state - ((uintptr_t)leaf << LEAF_SHIFT);

        __atomic_store_n(&gate->leaf[leaf], bytes, __ATOMIC_RELEASE);
        __atomic_store_n(&gate->leaf[leaf + 1], bytes, __ATOMIC_RELEASE);
    } else {
        __atomic_store_n(entry, w, __ATOMIC_RELEASE);
    }
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

/* The windows that the gate sees are numbered from 0, then those of the
 * tables. */
#define GATE_WINDOWS (GATE_LEAVES / 2u)

struct window *
kva__qcache_next(const struct kva__qcache *qc, size_t *at)
{
    struct window *w = NULL, **mid;
    size_t i = *at;

    if (__atomic_load_n(&qc->gate_limit, __ATOMIC_ACQUIRE) == 0) {
        return NULL; /* there is no window yet */
    }
    for (; w == NULL && i < GATE_WINDOWS; i++) {
        w = gate_window(qc->vm->gate, (uintptr_t)i << WINDOW_SHIFT);
    }
    while (w == NULL && i < GATE_WINDOWS + ROOT_ENTRIES * MID_ENTRIES) {
        size_t n = i - GATE_WINDOWS;

        mid = __atomic_load_n(&qc->root[n >> MID_SHIFT], __ATOMIC_ACQUIRE);
        if (mid == NULL) {
            i += MID_ENTRIES - (n & (MID_ENTRIES - 1u));
            continue;
        }
        w = __atomic_load_n(&mid[n & (MID_ENTRIES - 1u)], __ATOMIC_ACQUIRE);
        i++;
    }
    *at = i;
    return w;
}

typedef void visit_fn(struct kva__qcache *qc, struct window *w, void *arg);

static void
windows_visit(struct kva__qcache *qc, visit_fn *fn, void *arg)
{
    struct window *w;
    size_t at = 0;

    while ((w = kva__qcache_next(qc, &at)) != NULL) {
        fn(qc, w, arg);
    }
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
        w->shut = false; /* or nothing would be had from it */
        qc->held += size;
        qc->nfree += size;
        kva__qcache_relist(qc, w);
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
 * Never less than the next power of two: in a smaller piece the run could not
 * lie at will, and a search by order could miss it.
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
    kva__qcache_relist(qc, w);
    return (size_t)n << shift;
}

/* ---- misuse ----------------------------------------------------------- */

/*
 * The byte at addr is one of a run, and the free is wrong: how, in the order in
 * which a free of a tag is looked at.  x: it is vmem_xfree.
 */
static _Noreturn void
bad_free(kva_vmem_t *vm, uintptr_t addr, size_t size, bool x, const char *func)
{
    unsigned shift = vm->quantum_shift, n;
    size_t quantum = (size_t)1 << shift;
    struct window *w = kva__qcache_window(vm->qcache, addr);
    unsigned first =
        kva__window_run(w, (unsigned)(addr >> shift) & (WINDOW_QUANTA - 1), &n);
    uintptr_t start = w->base + ((uintptr_t)first << shift);

    if ((addr & (quantum - 1)) != 0) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected a multiple of the quantum %zu, found a "
                    "misaligned address",
                    quantum);
    }
    if (!run_is_live(state_get(&w->state[first]))) {
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
                "expected size %zu, found size %zu", n * quantum, size);
}

void
kva__qcache_expect_none(kva_vmem_t *vm, uintptr_t addr, size_t size, bool x,
                        const char *func)
{
    if (vm->qcache != NULL && state_of(vm->qcache, addr) != RUN_FREE) {
        bad_free(vm, addr, size, x, func);
    }
}

bool
kva__qcache_is_item(kva_vmem_t *vm, uintptr_t addr, size_t size,
                    const char *func)
{
    unsigned shift = vm->quantum_shift;
    uint8_t state;

    state = vm->qcache == NULL ? RUN_FREE : state_of(vm->qcache, addr);
    if (state == RUN_FREE) {
        return false;
    }
    if ((addr & (((uintptr_t)1 << shift) - 1)) != 0 || state != size >> shift) {
        bad_free(vm, addr, size, false, func);
    }
    return true;
}

/* ---- the supplier of the magazines ------------------------------------ */

/* The fullest of the windows with an aligned block of 2^order or more. */
static struct window *
fullest(const struct kva__qcache *qc, unsigned order)
{
    struct window *best = NULL, *w;
    uint32_t fills = 0;
    unsigned fill;

    for (unsigned o = order; o < WINDOW_ORDERS; o++) {
        fills |= qc->list_map[o];
    }
    if (fills == 0) {
        return NULL;
    }
    fill = kva_ffs(fills);
    for (unsigned o = order; o < WINDOW_ORDERS; o++) {
        w = qc->list[o][fill];
        for (unsigned i = 0; w != NULL && i < LOOK_MAX; w = w->next, i++) {
            best = best == NULL || w->nfree < best->nfree ? w : best;
        }
    }
    return best;
}

/* A window as full as that, or fuller (NULL: any), of smaller blocks, which may
 * have an unaligned run of n all the same. */
static struct window *
fuller_by_chance(const struct kva__qcache *qc, unsigned n,
                 const struct window *than)
{
    unsigned order = kva_fls(n), looks = 0;
    uint32_t fills = qc->list_map[order];

    while (fills != 0 && (than == NULL || kva_ffs(fills) <= than->fill)) {
        struct window *w = qc->list[order][kva_ffs(fills)];

        for (; w != NULL && looks < LOOK_MAX; w = w->next, looks++) {
            if (kva__window_find(w, n) < WINDOW_QUANTA) {
                return w;
            }
        }
        fills &= fills - 1u;
    }
    return NULL;
}

/* A run of n quanta: its address.  Locked. */
static bool
run_take(struct kva__qcache *qc, unsigned n, uintptr_t *addr)
{
    bool aligned = kva_is_pow2(n);
    struct window *w = fullest(qc, kva_fls(n) + !aligned), *other = NULL;
    unsigned at;

    if (!aligned) {
        other = fuller_by_chance(qc, n, w);
    }
    w = other != NULL ? other : w;
    if (w == NULL) {
        return false;
    }
    at = kva__window_find(w, n);
    kva__window_carve(w, at, n);
    qc->nfree -= n;
    kva__qcache_relist(qc, w);
    *addr = w->base + ((uintptr_t)at << qc->vm->quantum_shift);
    return true;
}

static unsigned
runs_fill(void *arg, uintptr_t *round, unsigned n, unsigned flags)
{
    struct qsize *qs = arg;
    struct kva__qcache *qc = qs->vm->qcache;
    unsigned shift = qs->vm->quantum_shift, got = 0;
    uintptr_t addr;
    kva_irq_t irq;

    do {
        irq = kva_port_lock(&qc->lock);
        while (got < n && run_take(qc, qs->n, &addr)) {
            round[2 * got] =
                (uintptr_t)state_at(kva__qcache_window(qc, addr), shift, addr);
            round[2 * got + 1] = addr;
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

/* A run back to its window.  False if there is no such run in the magazines. */
static bool
run_give(struct qsize *qs, uintptr_t addr)
{
    kva_vmem_t *vm = qs->vm;
    struct kva__qcache *qc = vm->qcache;
    unsigned shift = vm->quantum_shift;
    struct window *w = kva__qcache_window(qc, addr);
    unsigned at = (unsigned)(addr >> shift) & (WINDOW_QUANTA - 1);
    bool ours, wanted = false, all;
    size_t bytes = 0;
    uintptr_t piece;
    kva_irq_t irq;

    if (w == NULL || (addr & (((uintptr_t)1 << shift) - 1)) != 0) {
        return false;
    }
    irq = kva_port_lock(&qc->lock);
    ours = state_get(&w->state[at]) == run_out(qs->n);
    if (KVA_LIKELY(ours)) {
        kva__window_join(w, at, qs->n);
        qc->nfree += qs->n;
        kva__qcache_relist(qc, w);
        wanted = kva__wait_for(vm);
        all = wanted || kva__mag_closed(&qs->mc);
        if (all || qc->hold == 0) {
            bytes = piece_spare(qc, w, at, all, &piece);
        }
        if (bytes == 0 && wanted) {
            run_offer(vm, w, at);
        }
    }
    kva_port_unlock(&qc->lock, irq);
    if (bytes > 0) {
        kva__arena_free(vm, piece, bytes, BT_PIECE, "vmem_free");
    } else if (wanted && vm->splitfn != NULL && kva__wait_count(vm) == 0) {
        kva__qcache_split_at(qc, w, at); /* nobody of those waits for it here */
    }
    return ours;
}

/* With checks at each free all of them are runs of ours. */
static void
runs_drain(void *arg, uintptr_t *round, unsigned n)
{
    struct qsize *qs = arg;
    size_t size = (size_t)qs->n << qs->vm->quantum_shift;

    for (unsigned i = 0; i < n; i++) {
        uintptr_t addr = round[2 * i + 1];

        if (!run_give(qs, addr)) {
            KVA_ASSERT(!KVA_CONFIG_CHECKS);
            kva__qcache_expect_none(qs->vm, addr, size, false, "vmem_free");
            kva__arena_free(qs->vm, addr, size, BT_ALLOC, "vmem_free");
        }
    }
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
    vm->hot_origin = KVA__NO_ORIGIN;
    qc->max = vm->qcache_max;
    qc->origin = kva_round_down(vm->origin,
                                (uintptr_t)WINDOW_QUANTA << vm->quantum_shift);
    vm->qcache = qc;
    return 0;
}

static void
window_end(struct kva__qcache *qc, struct window *w, void *arg)
{
    (void)qc;
    (void)arg;
    kva__meta_put(&windows, w);
}

static void
gate_end(struct kva__gate *gate, unsigned ncpu)
{
    if (gate != &no_gate.gate) {
        kva__mag_rows_free(gate->row, &rows, gate->nobodys, ncpu);
        kva__meta_put(&gates, KVA_CONTAINER(gate, struct gate_block, gate));
    }
}

void
kva__qcache_destroy(kva_vmem_t *vm)
{
    struct kva__qcache *qc = vm->qcache;

    if (qc == NULL) {
        return;
    }
    for (unsigned i = 0; i < RUN_MAX; i++) {
        if (qc->size[i] != NULL) {
            kva__magcache_fini(&qc->size[i]->mc);
            kva__meta_put(&qsizes, qc->size[i]);
        }
    }
    windows_visit(qc, window_end, NULL);
    for (unsigned i = 0; i < ROOT_ENTRIES; i++) {
        if (qc->root[i] != NULL) {
            kva__meta_page_put(qc->root[i], KVA_META_QCACHE);
        }
    }
    gate_end(vm->gate, qc->ncpu);
    vm->gate = &no_gate.gate;
    kva_port_lock_fini(&qc->lock);
    vm->qcache = NULL;
    kva__meta_put(&qcaches, qc);
}

/* The gate is made with the first size: false if there is no memory. */
static bool
gate_make(struct kva__qcache *qc)
{
    kva_vmem_t *vm = qc->vm;
    struct gate_block *block;
    struct kva__gate *gate;
    unsigned ncpu = kva__mag_ncpu();
    kva_irq_t irq;
    bool first;

    if (__atomic_load_n(&vm->gate, __ATOMIC_ACQUIRE) != &no_gate.gate) {
        return true;
    }
    block = kva__meta_get(&gates);
    if (block == NULL) {
        return false;
    }
    gate = &block->gate;
    gate_init(gate, vm->quantum_shift);
    if (!kva__mag_rows_make(gate->row, &rows, ROW_WIDTH, ncpu)) {
        ncpu = 0;
    }
    irq = kva_port_lock(&qc->lock);
    first = vm->gate == &no_gate.gate;
    if (first) {
        qc->ncpu = ncpu;
        __atomic_store_n(&vm->gate, gate, __ATOMIC_RELEASE);
    }
    kva_port_unlock(&qc->lock, irq);
    if (!first) {
        gate_end(gate, ncpu);
    } else {
        kva__qcache_hits(vm);
    }
    return true;
}

/* The magazines of a size are made when it is first asked for. */
static struct qsize *
qsize_make(struct kva__qcache *qc, unsigned n)
{
    struct qsize *qs, *other;
    struct kva__mag_config config = {
        .name = "qcache depot",
        .ipl = qc->ipl,
        .words = 2,
        .capacity = n > MAG_QUANTA ? 0 : MAG_QUANTA >> kva_fls(n),
        .capacity_max = MAG_QUANTA_MAX >> kva_fls(n),
        .full_max = MAG_FULL_MAX,
        .supplier = &supplier,
        .part = { (uint16_t)n, (uint16_t)(ROW_WIDTH + n),
                  (uint16_t)(2u * ROW_WIDTH + n - 1u),
                  (uint16_t)(2u * ROW_WIDTH + RUN_MAX + n - 1u) },
    };
    kva_irq_t irq;

    if (!gate_make(qc)) {
        return NULL;
    }
    qs = kva__meta_get(&qsizes);
    if (qs == NULL) {
        return NULL;
    }
    qs->vm = qc->vm;
    qs->n = n;
    config.arg = qs;
    config.arena = &qs->vm;
    config.row = qc->vm->gate->row;
    config.nobodys = qc->vm->gate->nobodys;
    /* The rows are not this one's before it is known to be the first: what is
     * in them may be the other's. */
    config.ncpu = 0;
    kva__magcache_init(&qs->mc, &config);
    irq = kva_port_lock(&qc->lock);
    other = qc->size[n - 1];
    if (other == NULL) {
        __atomic_store_n(&qs->mc.ncpu, (uint16_t)qc->ncpu, __ATOMIC_RELEASE);
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
    unsigned n = (unsigned)(rq->size >> vm->quantum_shift);
    struct qsize *qs = __atomic_load_n(&qc->size[n - 1], __ATOMIC_ACQUIRE);
    uintptr_t round[2];

    if (qs == NULL) {
        qs = qsize_make(qc, n);
    }
    if (qs == NULL || !kva__mag_get_slow(&qs->mc, rq->flags, round)) {
        return alloc_by_tag(vm, rq, state, addr);
    }
    if (KVA_CONFIG_CHECKS) {
        __atomic_store_n((uint8_t *)round[0], (uint8_t)n, __ATOMIC_RELAXED);
    }
    *addr = round[1];
    return 0;
}

/* The hit path for pages missed, or the quantum is not a page. */
int
kva__qcache_alloc(kva_vmem_t *vm, size_t size, vm_flag_t flags, uintptr_t *addr)
{
    struct kva__gate *gate = __atomic_load_n(&vm->gate, __ATOMIC_ACQUIRE);
    size_t n = size >> vm->quantum_shift;
    struct kva__vmem_request rq;

    /* Not if somebody must see every request. */
    if (arena_is_open(vm) && gate_get(gate, &n, addr)) {
        return 0;
    }
    rq = request_plain(vm, size, flags);
    if (kva_is_pow2(size)) {
        rq.align = size;
        rq.constrained = size != (size_t)1 << vm->quantum_shift;
    }
    return kva__arena_persist(vm, &rq, BT_ALLOC, addr, attempt);
}

/* Without checks the magazines take anything, if there are any: no run of a
 * size that nobody has asked for can be live. */
static bool
free_unchecked(kva_vmem_t *vm, struct qsize *qs, unsigned n, uintptr_t addr)
{
    uintptr_t round[2] = { 0, addr };

    if (qs == NULL ||
        (__atomic_load_n(&vm->reserve_out, __ATOMIC_RELAXED) != 0 &&
         kva__reserve_owner(vm, addr) != NULL)) {
        return false;
    }
    if (!gate_put(vm->gate, n, NULL, addr)) {
        kva__mag_put_slow(&qs->mc, round);
    }
    return true;
}

bool
kva__qcache_free(kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    struct kva__qcache *qc = vm->qcache;
    unsigned shift = vm->quantum_shift, n = (unsigned)(size >> shift);
    struct qsize *qs = __atomic_load_n(&qc->size[n - 1], __ATOMIC_ACQUIRE);
    uintptr_t round[2];
    struct window *w;
    uint8_t *state;

    if (!KVA_CONFIG_CHECKS) {
        return free_unchecked(vm, qs, n, addr);
    }
    w = kva__qcache_window(qc, addr);
    if (w == NULL) {
        return false;
    }
    state = state_at(w, shift, addr);
    if (__atomic_load_n(state, __ATOMIC_RELAXED) != n ||
        (addr & (((uintptr_t)1 << shift) - 1)) != 0) {
        return false;
    }
    if (!gate_put(vm->gate, n, state, addr)) {
        __atomic_store_n(state, (uint8_t)RUN_CACHED, __ATOMIC_RELAXED);
        round[0] = (uintptr_t)state;
        round[1] = addr;
        kva__mag_put_slow(&qs->mc, round);
    }
    return true;
}

/* ---- draining --------------------------------------------------------- */

size_t
kva__qdrain_left(const struct kva__qcache *qc, const struct kva__qdrain *d)
{
    size_t cached = qc->nfree << qc->vm->quantum_shift;
    size_t done = qc->given - d->given;

    if (done >= d->bytes || cached <= d->retain) {
        return 0;
    }
    cached -= d->retain;
    return d->bytes - done < cached ? d->bytes - done : cached;
}

/* The free pieces of one window to the arena; the lock is dropped for each. */
static void
window_drain(struct kva__qcache *qc, struct window *w, void *arg)
{
    const struct kva__qdrain *d = arg;
    unsigned at = 0;
    kva_irq_t irq;

    irq = kva_port_lock(&qc->lock);
    while ((at = kva__window_next(w->piece, at)) < WINDOW_QUANTA &&
           kva__qdrain_left(qc, d) != 0) {
        uintptr_t addr;
        size_t bytes = piece_spare(qc, w, at++, true, &addr);

        if (bytes != 0) {
            kva_port_unlock(&qc->lock, irq);
            kva__arena_free(qc->vm, addr, bytes, BT_PIECE, "vmem_drain");
            irq = kva_port_lock(&qc->lock);
        }
    }
    kva_port_unlock(&qc->lock, irq);
}

/* The magazines of all sizes, the longest first, to the windows. */
static void
magazines_drain(kva_vmem_t *vm, size_t retain, enum kva__drain how)
{
    for (unsigned i = RUN_MAX; i-- > 0;) {
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

/* What is to be had whole; then, if that was not enough, parts of pieces, but
 * not for who is in a hurry. */
static void
windows_drain(struct kva__qcache *qc, size_t bytes, size_t retain,
              enum kva__drain how)
{
    struct kva__qdrain d = { bytes, retain, 0 };
    kva_irq_t irq;

    irq = kva_port_lock(&qc->lock);
    d.given = qc->given;
    kva_port_unlock(&qc->lock, irq);
    windows_visit(qc, window_drain, &d);
    if (qc->vm->splitfn != NULL && how == KVA__DRAIN_SLOTS) {
        kva__qcache_split(qc, &d);
    }
}

void
kva__qcache_hold(kva_vmem_t *vm, bool on)
{
    struct kva__qcache *qc = vm->qcache;
    kva_irq_t irq;

    if (qc != NULL) {
        irq = kva_port_lock(&qc->lock);
        KVA_ASSERT(on || qc->hold != 0);
        qc->hold += on ? 1u : -1u;
        kva_port_unlock(&qc->lock, irq);
    }
}

/* While magazines are closed nothing is retained: somebody waits for it. */
void
kva__qcache_drain(kva_vmem_t *vm, size_t bytes, size_t retain,
                  enum kva__drain how)
{
    if (kva__mag_arena_closed(vm) || kva__wait_for(vm)) {
        bytes = SIZE_MAX;
        retain = 0;
    }
    kva__qcache_hold(vm, true);
    magazines_drain(vm, retain, how);
    kva__qcache_hold(vm, false);
    windows_drain(vm->qcache, bytes, retain, how);
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
    for (unsigned i = 0; i < RUN_MAX; i++) {
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
    st->qcache_bytes +=
        vm->gate != &no_gate.gate ? sizeof(struct gate_block) : 0;
    st->qcache_bytes += qc->ncpu * (1u + ROW_WORDS) * sizeof(uintptr_t);
    kva_port_unlock(&qc->lock, irq);
    for (unsigned i = 0; i < RUN_MAX; i++) {
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
        if (run_is_live(w->state[i])) {
            if (live->bytes == 0) {
                live->first = w->base + ((uintptr_t)i << qc->vm->quantum_shift);
            }
            live->bytes += (size_t)w->state[i] << qc->vm->quantum_shift;
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
        (w != kva__qcache_window(qc, w->base) ||
         (w->base &
          (((uintptr_t)WINDOW_QUANTA << qc->vm->quantum_shift) - 1)) != 0)) {
        bad = "Q1: a window is found by its address";
    }
    if (bad == NULL && (w->order != (w->shut ? -1 : kva__window_order(w)) ||
                        (w->order >= 0 && w->fill != window_fill(w->nfree)))) {
        bad = "Q1: a window is on the list of its order and fill";
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
    uintptr_t low = ((uintptr_t)WINDOW_QUANTA << vm->quantum_shift) - 1;

    if (qc == NULL) {
        return NULL;
    }
    if (qc->vm != vm || qc->max != vm->qcache_max || (qc->origin & low) != 0 ||
        (qc->gate_limit != 0 &&
         qc->gate_origin - qc->origin != qc->gate_above)) {
        return "Q1: the quantum caches know their arena, its sizes and origin";
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
    unsigned shift = vm->quantum_shift, n;
    struct window *w = kva__qcache_window(vm->qcache, addr);
    size_t left = 0, bytes;

    if (w != NULL) { /* a piece ends with its window, whatever a tag says */
        left = ((size_t)WINDOW_QUANTA << shift) - (addr - w->base);
        left = size < left ? size : left;
    }
    for (; left > 0; addr += bytes, left -= bytes) {
        uint8_t state = state_get(state_at(w, shift, addr));
        unsigned type = run_is_live(state) ? VMEM_ALLOC : VMEM_CACHED;

        n = state;
        if (state == RUN_CACHED) {
            (void)kva__window_run(
                w, (unsigned)(addr >> shift) & (WINDOW_QUANTA - 1), &n);
        } else if (!run_is_live(state)) {
            n = 1;
        }
        bytes = (size_t)n << shift;
        bytes = bytes < left ? bytes : left;
        if ((typemask & type) != 0) {
            fn(arg, addr, bytes, type);
        }
    }
}

/* Runs next to it may change meanwhile. */
unsigned
kva__qcache_item(kva_vmem_t *vm, uintptr_t addr, uintptr_t *base, size_t *size)
{
    unsigned shift = vm->quantum_shift, at, first, n;
    struct window *w = kva__qcache_window(vm->qcache, addr);
    uint8_t state;

    if (w == NULL) {
        return 0;
    }
    at = (unsigned)(addr >> shift) & (WINDOW_QUANTA - 1);
    first = kva__window_run(w, at, &n);
    state = state_get(&w->state[first]);
    if (run_is_live(state)) {
        n = state;
    }
    if (state == RUN_FREE || at - first >= n) {
        return 0;
    }
    *base = w->base + ((uintptr_t)first << shift);
    *size = (size_t)n << shift;
    return run_is_live(state) ? VMEM_ALLOC : VMEM_CACHED;
}

/* ---- for the allocators above ----------------------------------------- */

enum kva_range_kind
kva__vmem_lookup(kva_vmem_t *vm, vmem_addr_t addr, struct kva_range *range)
{
    struct kva_vmem_btag *bt;
    unsigned type = 0;
    kva_irq_t irq;
    bool own;

    range->kind = KVA_RANGE_NONE;
    if (vm->qcache != NULL) {
        type = kva__qcache_item(vm, addr, &range->base, &range->size);
    }
    if (type != 0) {
        range->kind = type == VMEM_ALLOC ? KVA_RANGE_ALLOC : KVA_RANGE_CACHED;
        return range->kind;
    }
    if (kva__reserve_owner(vm, addr) != NULL) {
        vm = vm->reserve;
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
