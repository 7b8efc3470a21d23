/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vmem: the public functions, and the theory.
 *
 * Words.  An ARENA hands out a linear resource: addresses, identifiers.  It
 * consists of SPANS, each added by vmem_add or IMPORTED from a SOURCE, which
 * may be another arena.  A span is tiled by SEGMENTS, free or busy, each with
 * one BOUNDARY TAG.  All sizes are multiples of the arena's QUANTUM.  Small
 * sizes are served by QUANTUM CACHES in front of the tags.
 *
 *      vmem_alloc ----> quantum cache ---> windows of state bytes   qcache.c
 *           |             (magazines)             |              magazine.c
 *           | large                               | pieces
 *           v                                     v
 *      vmem_xalloc --> request: reclaim, wait             persist.c, wait.c
 *                         |
 *                      try: find, import                            arena.c
 *                         |            |                  resize.c, budget.c
 *                    segments       spans                 segment.c, span.c
 *                    /      \
 *              classes      hash of segments              class.h, hash.c
 *              (trees)      (or an index)                 order.c, index.c
 *                    \      /
 *                     tags, by pointer and reference               btag.c
 *                        |
 *                     metadata pages                               meta.c
 *
 * Files are listed from the top down; each uses those below it only.
 *
 * The tag (vmem_store.h) has no size and 32 bytes.  A busy tag is found by its
 * address through the hash, a free one by its size through its class, and the
 * neighbours of both through the ring of the span.  A free touches the hash's
 * line, the tag, and its neighbours, which in an arena that was filled in order
 * lie in the same or the next line.
 *
 * Failure.  Every operation takes the tags it may need before it looks for a
 * hole; from there on nothing can fail.  A free takes nothing.  Tags come from
 * the metadata allocator, which asks the port for pages and nobody else, so an
 * arena never waits for itself.  How many an operation may take is its budget
 * (budget.h), which can be reserved for operations to come (budget.c).
 *
 * Misuse is looked for in every build: a free names an address and a size, and
 * the hash either has that very segment, of the right kind, or the caller is
 * wrong.  What exactly is wrong is found out by a walk, which is slow, but only
 * then.
 *
 * Locks.  One for each arena; taken child before source, if at all: an arena's
 * lock is not held while its source works.  The metadata locks are innermost.
 *
 * What is not here: placement by fullest span.  An index by address is an
 * option of the arena (VM_INDEX); without it bounds may take a walk through the
 * holes that are long enough, in steps.
 */
#include "vmem/audit.h"
#include "vmem/qcache.h"
#include "vmem/short.h"

kva_vmem_t *kva_vmem_list;

static struct {
    kva_lock_t lock;
    struct kva__meta_store arenas;
    bool ready;
} vmem;

void
vmem_bootstrap(void *donated, size_t bytes)
{
    if (vmem.ready) {
        return;
    }
    kva__meta_donate(donated, bytes);
    /* Who prints all arenas holds it over their locks, and their caches'. */
    kva_port_lock_init(&vmem.lock, "arenas", KVA_IPL_NONE, KVA_RANK_DEPOT - 1);
    kva__btag_bootstrap();
    kva__wait_bootstrap();
    kva__indexed_bootstrap();
    kva__mag_bootstrap();
    kva__qcache_bootstrap();
    kva__meta_store_init(&vmem.arenas, "arenas",
                         (sizeof(struct kva_vmem) + 7) & ~(size_t)7,
                         KVA_META_OTHER, 0);
    vmem.ready = true;
}

void
vmem_fini(void)
{
    if (kva_vmem_list != NULL) {
        kva__misuse("vmem_fini", "arena", kva_vmem_list->name,
                    (uintptr_t)kva_vmem_list,
                    "expected no arena, found this one");
    }
    if (!vmem.ready) {
        return;
    }
    kva__btag_fini();
    if (kva__meta_bytes(KVA_META_KINDS) != 0) {
        kva__misuse("vmem_fini", "arena", "(none)", 0,
                    "expected no metadata in use, found %zu bytes",
                    kva__meta_bytes(KVA_META_KINDS));
    }
    kva__meta_donate(NULL, 0);
    vmem.ready = false;
}

/* ---- making and ending ------------------------------------------------ */

static void
list_add(kva_vmem_t *vm)
{
    kva_irq_t irq;

    irq = kva_port_lock(&vmem.lock);
    vm->prev = NULL;
    vm->next = kva_vmem_list;
    if (vm->next != NULL) {
        vm->next->prev = vm;
    }
    kva_vmem_list = vm;
    kva_port_unlock(&vmem.lock, irq);
}

static void
list_remove(kva_vmem_t *vm)
{
    kva_irq_t irq;

    irq = kva_port_lock(&vmem.lock);
    if (vm->prev != NULL) {
        vm->prev->next = vm->next;
    } else {
        kva_vmem_list = vm->next;
    }
    if (vm->next != NULL) {
        vm->next->prev = vm->prev;
    }
    kva_port_unlock(&vmem.lock, irq);
}

bool
kva__vmem_list_lock(kva_irq_t *irq)
{
    if (vmem.ready) {
        *irq = kva_port_lock(&vmem.lock);
    }
    return vmem.ready;
}

void
kva__vmem_list_unlock(kva_irq_t irq)
{
    kva_port_unlock(&vmem.lock, irq);
}

static void
name_set(kva_vmem_t *vm, const char *name)
{
    size_t i;

    for (i = 0; name[i] != '\0' && i + 1 < KVA__VMEM_NAME_MAX; i++) {
        vm->name[i] = name[i];
    }
    vm->name[i] = '\0';
}

#define CREATE_FLAGS                                                     \
    (VM_SLEEP | VM_NOSLEEP | VM_INSTANTFIT | VM_BESTFIT | VM_BOOTSTRAP | \
     VM_LARGEIMPORT | VM_XIMPORT | VM_PRIVTAGS | VM_INDEX | KVA__VM_OWN_STORE)

/* Whole quanta that do not wrap. */
static void
span_verify(const char *func, const char *name, uintptr_t addr, size_t size,
            size_t quantum)
{
    if (size == 0 || ((addr | size) & (quantum - 1)) != 0) {
        kva__misuse(func, "arena", name, addr,
                    "expected whole quanta of %zu bytes, found size %zu",
                    quantum, size);
    }
    if (addr + (size - 1) < addr) {
        kva__misuse(func, "arena", name, addr,
                    "expected a span that does not wrap, found size %zu", size);
    }
}

static void
init_verify(const char *func, const char *name, uintptr_t base, size_t size,
            size_t quantum, size_t qcache_max, vm_flag_t flags)
{
    if (!kva_is_pow2(quantum)) {
        kva__misuse(func, "arena", name, 0,
                    "expected a quantum that is a power of two, found %zu",
                    quantum);
    }
    if ((qcache_max & (quantum - 1)) != 0 ||
        qcache_max >> kva_ffs(quantum) > KVA__QCACHE_QUANTA_MAX) {
        kva__misuse(func, "arena", name, 0,
                    "expected qcache_max of at most %u quanta, found %zu",
                    KVA__QCACHE_QUANTA_MAX, qcache_max);
    }
    if ((flags & ~CREATE_FLAGS) != 0) {
        kva__misuse(func, "arena", name, 0,
                    "expected flags for an arena, found flags 0x%x", flags);
    }
    if ((flags & (VM_PRIVTAGS | VM_INDEX)) == (VM_PRIVTAGS | VM_INDEX)) {
        kva__misuse(func, "arena", name, 0,
                    "expected VM_PRIVTAGS or VM_INDEX, found both: an index "
                    "takes metadata");
    }
    if ((flags & VM_PRIVTAGS) != 0 && (size != 0 || qcache_max != 0)) {
        kva__misuse(func, "arena", name, 0,
                    "expected no span and no quantum caches with VM_PRIVTAGS, "
                    "found size %zu",
                    size);
    }
    if (size != 0) {
        span_verify(func, name, base, size, quantum);
    }
}

kva_vmem_t *
vmem_init(kva_vmem_t *vm, const char *name, vmem_addr_t base, vmem_size_t size,
          vmem_size_t quantum, vmem_import_t *importfn,
          vmem_release_t *releasefn, kva_vmem_t *source, vmem_size_t qcache_max,
          vm_flag_t flags, enum kva_ipl ipl)
{
    if (!vmem.ready) {
        vmem_bootstrap(NULL, 0);
    }
    init_verify("vmem_init", name, base, size, quantum, qcache_max, flags);
    kva__memset(vm, 0, sizeof(*vm));
    kva_port_lock_init(&vm->lock, "arena", ipl, KVA_RANK_ARENA);
    name_set(vm, name);
    vm->flags = flags;
    vm->quantum_shift = kva_ffs(quantum);
    vm->qcache_max = qcache_max;
    vm->gate = kva__qcache_no_gate;
    kva__import_init(vm, importfn);
    vm->releasefn = releasefn;
    vm->source = source;
    vm->origin = size == 0 && source != NULL ? source->origin : base;
    kva__hash_init(vm);
    vm->magic = KVA__VMEM_MAGIC;
    kva__watch_update(vm);
    if (((flags & VM_INDEX) != 0 && !kva__indexed_init(vm)) ||
        (qcache_max != 0 && kva__qcache_create(vm, ipl) != 0) ||
        (size != 0 && vmem_add(vm, base, size, VM_NOSLEEP) != 0)) {
        kva__qcache_destroy(vm);
        kva__indexed_fini(vm);
        kva__btag_flush(vm);
        kva_port_lock_fini(&vm->lock);
        vm->magic = vm->open = 0;
        return NULL;
    }
    list_add(vm);
    return vm;
}

kva_vmem_t *
vmem_create(const char *name, vmem_addr_t base, vmem_size_t size,
            vmem_size_t quantum, vmem_import_t *importfn,
            vmem_release_t *releasefn, kva_vmem_t *source,
            vmem_size_t qcache_max, vm_flag_t flags, enum kva_ipl ipl)
{
    kva_vmem_t *vm;

    if (!vmem.ready) {
        vmem_bootstrap(NULL, 0);
    }
    init_verify("vmem_create", name, base, size, quantum, qcache_max, flags);
    vm = kva__meta_get(&vmem.arenas);
    if (vm == NULL) {
        return NULL;
    }
    if (vmem_init(vm, name, base, size, quantum, importfn, releasefn, source,
                  qcache_max, flags | KVA__VM_OWN_STORE, ipl) == NULL) {
        kva__meta_put(&vmem.arenas, vm);
        return NULL;
    }
    return vm;
}

kva_vmem_t *
vmem_xcreate(const char *name, vmem_addr_t base, vmem_size_t size,
             vmem_size_t quantum, vmem_ximport_t *importfn,
             vmem_release_t *releasefn, kva_vmem_t *source,
             vmem_size_t qcache_max, vm_flag_t flags, enum kva_ipl ipl)
{
    return vmem_create(name, base, size, quantum,
                       (vmem_import_t *)(void (*)(void))importfn, releasefn,
                       source, qcache_max, flags | VM_XIMPORT, ipl);
}

/* The first segment that a caller has, or NULL. */
static struct kva_vmem_btag *
first_live(kva_vmem_t *vm)
{
    for (kva__btag_ref_t ref = vm->span_first; ref != BT_NONE;) {
        struct kva_vmem_btag *span = bt_at(ref);

        for (struct kva_vmem_btag *bt = bt_next(span); bt != span;
             bt = bt_next(bt)) {
            if (bt_is_busy(bt) && bt_state(bt) != BT_PIECE) {
                return bt;
            }
        }
        ref = span->u.link.next;
    }
    return NULL;
}

/* How many live ranges are named before the report of the first. */
#define LIVE_NAMED 16u

void
kva__arena_expect_idle(kva_vmem_t *vm, const char *func)
{
    unsigned waiting = kva__wait_count(vm);
    struct kva_vmem_btag *bt;
    uintptr_t addr = 0;
    size_t live;

    if (waiting != 0) {
        kva__misuse(func, "arena", vm->name, (uintptr_t)vm,
                    "expected nobody who waits for memory, found %u waiting",
                    waiting);
    }
    if (!KVA_CONFIG_CHECKS && vm->qcache != NULL) {
        /* What is in magazines looks live. */
        kva__qcache_drain(vm, SIZE_MAX, 0, KVA__DRAIN_ALONE);
    }
    bt = first_live(vm);
    if (bt != NULL || (vm->qcache != NULL && kva__qcache_live(vm, &addr) > 0)) {
        (void)vmem_print_live(vm, LIVE_NAMED, NULL);
    }
    if (bt != NULL) {
        kva__misuse(func, "arena", vm->name, bt->start,
                    "expected no live range, found %zu bytes live, the first "
                    "%zu here",
                    vm->stat.mem_inuse - kva__qcache_cached(vm), bt_size(bt));
    }
    live = vm->qcache == NULL ? 0 : kva__qcache_live(vm, &addr);
    if (live != 0) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected no live range, found %zu bytes live in quantum "
                    "caches, the first here",
                    live);
    }
}

void
vmem_destroy(kva_vmem_t *vm)
{
    arena_alive(vm, "vmem_destroy");
    kva__arena_expect_idle(vm, "vmem_destroy");
    if (vm->qcache != NULL) {
        kva__qcache_drain(vm, SIZE_MAX, 0, KVA__DRAIN_ALONE);
    }
    kva__budget_fini(vm);
    list_remove(vm);
    kva__qcache_destroy(vm);
    while (vm->span_first != BT_NONE) {
        struct kva_vmem_btag *span = bt_at(vm->span_first);
        uintptr_t start = bt_span_start(span);
        size_t size = bt_span_size(span);
        bool imported = bt_state(span) == BT_SPAN_IMPORT;

        kva__span_remove(vm, span);
        if (imported) {
            vm->releasefn(vm->source, start, size);
        }
    }
    kva__hash_fini(vm);
    kva__indexed_fini(vm);
    kva__btag_flush(vm);
    kva__btag_disown(vm);
    kva_port_lock_fini(&vm->lock);
    vm->magic = vm->open = 0;
    vm->qcache_max = 0;
    vm->hot_sizes = vm->hot_limit = 0;
    if ((vm->flags & KVA__VM_OWN_STORE) != 0) {
        kva__meta_put(&vmem.arenas, vm);
    }
}

/* ---- arguments -------------------------------------------------------- */

void
kva__vmem_dead(kva_vmem_t *vm, const char *func)
{
    kva__misuse(func, "arena", NULL, (uintptr_t)vm,
                "expected an arena, found none, or one that was destroyed");
}

size_t
kva__vmem_size_verify(kva_vmem_t *vm, const char *func, uintptr_t addr,
                      size_t size)
{
    size_t quantum, rounded;

    arena_alive(vm, func);
    quantum = (size_t)1 << vm->quantum_shift;
    rounded = kva_round_up(size, quantum);
    if (KVA_UNLIKELY(size == 0)) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected a size above 0, found size 0");
    }
    if (KVA_UNLIKELY(rounded == 0)) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected a size that can be rounded up to the quantum "
                    "%zu, found size %zu",
                    quantum, size);
    }
    return rounded;
}

#define FIT_FLAGS \
    (VM_INSTANTFIT | VM_BESTFIT | VM_FIRSTFIT | VM_NEXTFIT | VM_ENDALLOC)
#define ALLOC_FLAGS                                                   \
    (VM_SLEEP | VM_NOSLEEP | FIT_FLAGS | VM_POPULATING | VM_ONESTEP | \
     VM_ABORT | VM_RESERVE | KVA__VM_ADMITTED)
/* Of requests that are not for the hit path (budget.c). */
#define BUDGET_FLAGS (VM_PREPARED | KVA__VM_LENT)

static void
flags_verify(kva_vmem_t *vm, const char *func, vm_flag_t flags)
{
    vm_flag_t sleep = flags & (VM_SLEEP | VM_NOSLEEP);
    vm_flag_t fit = flags & FIT_FLAGS;

    if (KVA_UNLIKELY(sleep == 0 || sleep == (VM_SLEEP | VM_NOSLEEP))) {
        kva__misuse(func, "arena", vm->name, 0,
                    "expected one of VM_SLEEP and VM_NOSLEEP, found flags "
                    "0x%x",
                    flags);
    }
    if (KVA_UNLIKELY((fit & ~VM_ENDALLOC) == (VM_INSTANTFIT | VM_BESTFIT))) {
        kva__misuse(func, "arena", vm->name, 0,
                    "expected one of VM_INSTANTFIT and VM_BESTFIT, found "
                    "flags 0x%x",
                    flags);
    }
    if (KVA_UNLIKELY((fit & (fit - 1)) != 0 &&
                     fit != (VM_INSTANTFIT | VM_ENDALLOC) &&
                     fit != (VM_BESTFIT | VM_ENDALLOC))) {
        kva__misuse(func, "arena", vm->name, 0,
                    "expected one kind of fit, found flags 0x%x", flags);
    }
    if (KVA_UNLIKELY((fit & (VM_FIRSTFIT | VM_NEXTFIT)) != 0 &&
                     vm->index == NULL)) {
        kva__misuse(func, "arena", vm->name, 0,
                    "expected an arena with VM_INDEX for first and next fit, "
                    "found flags 0x%x",
                    flags);
    }
    if (KVA_UNLIKELY((flags & ~(ALLOC_FLAGS | BUDGET_FLAGS)) != 0 ||
                     ((flags & KVA__VM_LENT) != 0 && !kva__budget_lends(vm)))) {
        kva__misuse(func, "arena", vm->name, 0,
                    "expected flags for a request, found flags 0x%x", flags);
    }
    if (KVA_UNLIKELY((flags & VM_PREPARED) != 0)) {
        kva__budget_expect(vm, func);
    }
}

/* ---- allocating and freeing ------------------------------------------- */

static int
request_take(kva_vmem_t *vm, const struct kva__vmem_request *rq,
             enum btag_state state, uintptr_t *addr, const char *func)
{
    return KVA_UNLIKELY((rq->flags & VM_PREPARED) != 0)
               ? kva__budget_take(vm, rq, state, addr, func)
               : kva__arena_take(vm, rq, state, addr);
}

int
kva__long_alloc(kva_vmem_t *vm, size_t size, vm_flag_t flags, vmem_addr_t *addr,
                const void *caller)
{
    struct kva__vmem_request rq;
    int err;

    size = kva__vmem_size_verify(vm, "vmem_alloc", 0, size);
    flags_verify(vm, "vmem_alloc", flags);
    if (size <= vm->qcache_max && (flags & BUDGET_FLAGS) == 0) {
        err = kva__qcache_alloc(vm, size, flags, addr);
    } else {
        rq = request_plain(vm, size, flags);
        if (size <= vm->qcache_max && kva_is_pow2(size)) {
            rq.align = size; /* as from the caches */
            rq.constrained = true;
        }
        err = request_take(vm, &rq, BT_ALLOC, addr, "vmem_alloc");
    }
    if (err == 0) {
        audit_note(vm, KVA_VMEM_AUDIT_ALLOC, *addr, size, caller);
    }
    return err;
}

void
kva__long_free(kva_vmem_t *vm, vmem_addr_t addr, size_t size,
               const void *caller)
{
    struct kva__audit_ticket ticket;

    size = kva__vmem_size_verify(vm, "vmem_free", addr, size);
    ticket = audit_free_begin(vm);
    /* Hit paths may not have been asked. */
    if (size > vm->qcache_max || !kva__qcache_free(vm, addr, size)) {
        kva__qcache_expect_none(vm, addr, size, false, "vmem_free");
        kva__arena_free(vm, addr, size, BT_ALLOC, "vmem_free");
    }
    audit_free_end(vm, ticket, KVA_VMEM_AUDIT_FREE, addr, size, caller);
}

/*
 * Whatever is no hit, with what it costs to tell kept out of the hits.  An
 * arena that is not alive, or all of whose requests somebody must see, is not
 * open, and a size of 0 is as large as can be once 1 is taken from it, too
 * large for the short ways: these take the long way, which knows who called,
 * and reports.
 */
static inline int
other_alloc(kva_vmem_t *vm, vmem_size_t size, vm_flag_t flags,
            vmem_addr_t *addr, const void *caller)
{
    if (size - 1 >= vm->qcache_max && KVA_LIKELY(arena_is_open(vm))) {
        return vm->index == NULL
                   ? kva__short_alloc(vm, size, flags, addr)
                   : kva__short_index_alloc(vm, size, flags, addr);
    }
    return kva__long_alloc(vm, size, flags, addr, caller);
}

static inline void
other_free(kva_vmem_t *vm, vmem_addr_t addr, vmem_size_t size,
           const void *caller)
{
    if (vm != NULL && size - 1 >= vm->qcache_max &&
        KVA_LIKELY(arena_is_open(vm))) {
        if (vm->index == NULL) {
            kva__short_free(vm, addr, size);
        } else {
            kva__short_index_free(vm, addr, size);
        }
    } else {
        kva__long_free(vm, addr, size, caller);
    }
}

/* Where it is needed, which is not on the hit path. */
#define CALLER __builtin_return_address(0)

/*
 * The hit paths.  One way to wait and no fit but the usual one; all else
 * misses. The number of quanta takes the size's place, from which it comes
 * back, and what is left of the flags, which is 0, is the result.
 */
int
vmem_alloc(kva_vmem_t *vm, vmem_size_t size, vm_flag_t flags, vmem_addr_t *addr)
{
    unsigned other = (flags - 1u) & ~(VM_INSTANTFIT | 1u);
    size_t n;

    if (KVA_UNLIKELY(vm == NULL)) {
        return kva__long_alloc(vm, size, flags, addr, CALLER);
    }
    n = rotate_right(size, KVA_PAGE_SHIFT);
    KVA__OPAQUE(n);
    if (n >= ONCE(vm->hot_sizes)) {
        return other_alloc(vm, rotate_left(n, KVA_PAGE_SHIFT), flags, addr,
                           CALLER);
    }
    if (KVA_UNLIKELY(other != 0)) {
        return kva__long_alloc(vm, rotate_left(n, KVA_PAGE_SHIFT), flags, addr,
                               CALLER);
    }
    KVA__RESULT(other);
    KVA__ARGUMENT(3, flags);
    KVA__ARGUMENT(4, addr);
    if (KVA_UNLIKELY(!gate_get(ONCE(vm->gate), &n, addr))) {
        return kva__long_alloc(vm, rotate_left(n, KVA_PAGE_SHIFT), flags, addr,
                               CALLER);
    }
    return (int)other;
}

void
vmem_free(kva_vmem_t *vm, vmem_addr_t addr, vmem_size_t size)
{
    if (KVA_UNLIKELY(vm == NULL) || !qcache_hit_free(vm, addr, size)) {
        KVA__OPAQUE(vm);
        other_free(vm, addr, size, CALLER);
    }
}

/* The constraints of xalloc, each with a report of its own. */
static void
request_verify(kva_vmem_t *vm, const char *func,
               const struct kva__vmem_request *rq)
{
    size_t low = ((size_t)1 << vm->quantum_shift) - 1;

    if (!kva_is_pow2(rq->align)) {
        kva__misuse(func, "arena", vm->name, 0,
                    "expected align 0 or a power of two, found align %zu",
                    rq->align);
    }
    if (rq->phase >= rq->align && rq->phase != 0) {
        kva__misuse(func, "arena", vm->name, 0,
                    "expected phase below align %zu, found phase %zu",
                    rq->align, rq->phase);
    }
    if ((rq->phase & low) != 0) {
        kva__misuse(func, "arena", vm->name, 0,
                    "expected phase a multiple of the quantum %zu, found "
                    "phase %zu",
                    low + 1, rq->phase);
    }
    if (rq->nocross != 0 && !kva_is_pow2(rq->nocross)) {
        kva__misuse(func, "arena", vm->name, 0,
                    "expected nocross 0 or a power of two, found nocross %zu",
                    rq->nocross);
    }
    if (rq->nocross != 0 && rq->nocross < rq->size) {
        kva__misuse(func, "arena", vm->name, 0,
                    "expected nocross of at least size %zu, found nocross "
                    "%zu",
                    rq->size, rq->nocross);
    }
    if (rq->min > rq->max) {
        kva__misuse(func, "arena", vm->name, rq->min,
                    "expected minaddr at most maxaddr 0x%lx, found more",
                    (unsigned long)rq->max);
    }
}

/* The caller's request, verified, in whole quanta. */
static struct kva__vmem_request
request_make(kva_vmem_t *vm, const char *func, const struct vmem_request *from)
{
    size_t size = kva__vmem_size_verify(vm, func, 0, from->size);
    size_t quantum = (size_t)1 << vm->quantum_shift;
    struct kva__vmem_request rq;

    flags_verify(vm, func, from->flags);
    rq = request_plain(vm, size, from->flags);
    if (from->align != 0) {
        rq.align = from->align;
    }
    rq.phase = from->phase;
    rq.nocross = from->nocross;
    rq.min = from->minaddr;
    rq.max = from->maxaddr;
    request_verify(vm, func, &rq);
    if (rq.align < quantum) {
        rq.align = quantum;
    }
    rq.constrained = rq.align != quantum || rq.phase != 0 || rq.nocross != 0 ||
                     rq.min != VMEM_ADDR_MIN || rq.max != VMEM_ADDR_MAX;
    return rq;
}

int
kva__long_xalloc(kva_vmem_t *vm, const struct vmem_request *from,
                 vmem_addr_t *addr, const void *caller)
{
    struct kva__vmem_request rq = request_make(vm, "vmem_xalloc", from);
    int err;

    err = request_take(vm, &rq, BT_XALLOC, addr, "vmem_xalloc");
    if (err == 0) {
        audit_note(vm, KVA_VMEM_AUDIT_XALLOC, *addr, rq.size, caller);
    }
    return err;
}

static __attribute__((noinline)) int
xalloc_from(kva_vmem_t *vm, const struct vmem_request *from, vmem_addr_t *addr,
            const void *caller)
{
    return vm != NULL && arena_is_open(vm) &&
                   (from->minaddr | ~from->maxaddr) == 0
               ? kva__short_placed(vm, from, addr)
               : kva__long_xalloc(vm, from, addr, caller);
}

/* Nothing is kept on the way to the short ones: they end the call. */
int
vmem_xalloc(kva_vmem_t *vm, vmem_size_t size, vmem_size_t align,
            vmem_size_t phase, vmem_size_t nocross, vmem_addr_t minaddr,
            vmem_addr_t maxaddr, vm_flag_t flags, vmem_addr_t *addr)
{
    struct vmem_request from;

    if ((phase | nocross | minaddr | ~maxaddr) == 0 &&
        KVA_LIKELY(vm != NULL && arena_is_open(vm))) {
        return align == 0 ? kva__short_xalloc(vm, size, flags, addr)
                          : kva__short_aligned(vm, size, align, flags, addr);
    }
    from = (struct vmem_request){ size,    align,   phase, nocross,
                                  minaddr, maxaddr, flags };
    return xalloc_from(vm, &from, addr, __builtin_return_address(0));
}

int
vmem_xalloc_timed(kva_vmem_t *vm, const struct vmem_request *from,
                  uint64_t timeout_ns, const void *cookie, vmem_addr_t *addr)
{
    struct kva__vmem_request rq = request_make(vm, "vmem_xalloc_timed", from);
    int err;

    rq.timeout_ns = timeout_ns;
    rq.cookie = cookie;
    err = request_take(vm, &rq, BT_XALLOC, addr, "vmem_xalloc_timed");
    if (err == 0) {
        audit_note(vm, KVA_VMEM_AUDIT_XALLOC, *addr, rq.size,
                   __builtin_return_address(0));
    }
    return err;
}

int
vmem_xalloc_addr(kva_vmem_t *vm, vmem_addr_t addr, vmem_size_t size,
                 vm_flag_t flags)
{
    struct kva__vmem_request rq;
    vmem_addr_t got;
    int err;

    size = kva__vmem_size_verify(vm, "vmem_xalloc_addr", addr, size);
    flags_verify(vm, "vmem_xalloc_addr", flags);
    if ((addr & (((size_t)1 << vm->quantum_shift) - 1)) != 0 ||
        addr + (size - 1) < addr) {
        kva__misuse("vmem_xalloc_addr", "arena", vm->name, addr,
                    "expected whole quanta that do not wrap, found size %zu",
                    size);
    }
    rq = request_plain(vm, size, flags);
    rq.min = addr;
    rq.max = addr + (size - 1);
    rq.constrained = true;
    err = request_take(vm, &rq, BT_XALLOC, &got, "vmem_xalloc_addr");
    if (err == 0) {
        audit_note(vm, KVA_VMEM_AUDIT_XALLOC, addr, size,
                   __builtin_return_address(0));
    }
    return err;
}

void
kva__long_xfree(kva_vmem_t *vm, vmem_addr_t addr, vmem_size_t size,
                const void *caller)
{
    struct kva__audit_ticket ticket;

    size = kva__vmem_size_verify(vm, "vmem_xfree", addr, size);
    ticket = audit_free_begin(vm);
    kva__qcache_expect_none(vm, addr, size, true, "vmem_xfree");
    kva__arena_free(vm, addr, size, BT_XALLOC, "vmem_xfree");
    audit_free_end(vm, ticket, KVA_VMEM_AUDIT_XFREE, addr, size, caller);
}

void
vmem_xfree(kva_vmem_t *vm, vmem_addr_t addr, vmem_size_t size)
{
    if (KVA_LIKELY(vm != NULL && arena_is_open(vm))) {
        kva__short_xfree(vm, addr, size);
    } else {
        kva__long_xfree(vm, addr, size, __builtin_return_address(0));
    }
}

void
vmem_xfreeall(kva_vmem_t *vm)
{
    struct kva_vmem_btag *bt;
    uintptr_t addr;
    size_t size;

    arena_alive(vm, "vmem_xfreeall");
    if (vm->qcache != NULL) {
        kva__misuse("vmem_xfreeall", "arena", vm->name, 0,
                    "expected an arena without quantum caches, found one "
                    "with them");
    }
    while ((bt = first_live(vm)) != NULL) {
        addr = bt->start;
        size = bt_size(bt);
        kva__arena_free(vm, addr, size, bt_state(bt), "vmem_xfreeall");
        audit_note(vm, KVA_VMEM_AUDIT_FREE, addr, size,
                   __builtin_return_address(0));
    }
}

/* ---- spans and tags --------------------------------------------------- */

/* Of those of requests, what has a meaning for a span; but for the last it is
 * none of importance. */
#define ADD_FLAGS                                                   \
    (VM_SLEEP | VM_NOSLEEP | FIT_FLAGS | VM_POPULATING | VM_ABORT | \
     VM_BOOTSTRAP | VM_PREPARED)

int
vmem_add(kva_vmem_t *vm, vmem_addr_t addr, vmem_size_t size, vm_flag_t flags)
{
    bool prepared = (flags & VM_PREPARED) != 0;
    struct kva_vmem_btag *span;
    int err = KVA_ENOMEM;
    uintptr_t start;
    size_t bytes;
    kva_irq_t irq;

    arena_alive(vm, "vmem_add");
    span_verify("vmem_add", vm->name, addr, size,
                (size_t)1 << vm->quantum_shift);
    if ((flags & ~ADD_FLAGS) != 0) {
        kva__misuse("vmem_add", "arena", vm->name, addr,
                    "expected flags for a span, found flags 0x%x", flags);
    }
    if (prepared) {
        kva__budget_begin(vm, "vmem_add");
    }
    irq = kva_port_lock(&vm->lock);
    span = kva__span_overlapping(vm, addr, size);
    if (span != NULL) {
        start = bt_span_start(span);
        bytes = bt_span_size(span);
        kva_port_unlock(&vm->lock, irq);
        if (prepared) {
            kva__budget_end(vm, false);
        }
        kva__misuse("vmem_add", "arena", vm->name, addr,
                    "expected a span apart from all others, found it "
                    "overlaps 0x%lx of %zu bytes",
                    (unsigned long)start, bytes);
    }
    if (vm->span_first == BT_NONE && vm->source == NULL) {
        vm->origin = addr;
    }
    if (kva__budget_ensure(vm, KVA_VMEM_TAGS_ADD,
                           prepared ? KVA__VM_LENT : 0)) {
        kva__span_add(vm, addr, size, BT_SPAN);
        err = 0;
    }
    kva_port_unlock(&vm->lock, irq);
    if (prepared) {
        kva__budget_end(vm, err == 0);
    }
    if (err == 0) {
        kva__wait_freed(vm, addr, size);
    }
    return err;
}

int
vmem_add_bts(kva_vmem_t *vm, struct kva_vmem_btag *bts, unsigned n)
{
    uintptr_t low = (uintptr_t)bts & (KVA__BTAG_ALIGN - 1);
    unsigned made = 0;
    kva_irq_t irq;

    arena_alive(vm, "vmem_add_bts");
    if (low != 0) {
        kva__misuse("vmem_add_bts", "arena", vm->name, (uintptr_t)bts,
                    "expected tags aligned to %u bytes, found %zu over",
                    (unsigned)KVA__BTAG_ALIGN, (size_t)low);
    }
    for (unsigned take; n > 0; n -= take, bts += take) {
        take = n < KVA_VMEM_BTS_GROUP ? n : KVA_VMEM_BTS_GROUP;
        kva__btag_room(); /* may ask for a page, so not with the arena locked */
        irq = kva_port_lock(&vm->lock);
        made += kva__btag_adopt(vm, bts, take);
        kva_port_unlock(&vm->lock, irq);
    }
    kva__wait_more(vm);
    return made != 0 ? 0 : KVA_ENOMEM;
}

void
vmem_add_hash(kva_vmem_t *vm, void *page)
{
    kva_irq_t irq;

    arena_alive(vm, "vmem_add_hash");
    if (((uintptr_t)page & KVA_PAGE_MASK) != 0 ||
        (vm->flags & VM_PRIVTAGS) == 0) {
        kva__misuse("vmem_add_hash", "arena", vm->name, (uintptr_t)page,
                    "expected a whole page and an arena with VM_PRIVTAGS, "
                    "found %s",
                    (vm->flags & VM_PRIVTAGS) == 0 ? "one without it"
                                                   : "a misaligned address");
    }
    irq = kva_port_lock(&vm->lock);
    kva__hash_adopt(vm, page);
    kva_port_unlock(&vm->lock, irq);
}

vmem_size_t
vmem_roundup_size(kva_vmem_t *vm, vmem_size_t size)
{
    arena_alive(vm, "vmem_roundup_size");
    return kva_round_up(size, (size_t)1 << vm->quantum_shift);
}

static size_t
released(kva_vmem_t *vm)
{
    size_t bytes;
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    bytes = vm->released;
    kva_port_unlock(&vm->lock, irq);
    return bytes;
}

/* Where what was released arrives at last; now: without delay. */
static size_t
arrived(kva_vmem_t *vm, bool now)
{
    return vm->settlefn != NULL ? vm->settlefn(now) : released(vm);
}

size_t
vmem_drain(kva_vmem_t *vm, size_t bytes, size_t retain)
{
    size_t before;

    arena_alive(vm, "vmem_drain");
    if (vm->qcache == NULL || bytes == 0) {
        return 0;
    }
    before = arrived(vm, false);
    kva__qcache_drain(vm, bytes, retain, KVA__DRAIN_SLOTS);
    return arrived(vm, true) - before;
}

void
vmem_set_reclaim(kva_vmem_t *vm, void (*fn)(kva_vmem_t *vm, vm_flag_t flags))
{
    kva_irq_t irq;

    arena_alive(vm, "vmem_set_reclaim");
    irq = kva_port_lock(&vm->lock);
    vm->reclaimfn = fn;
    kva_port_unlock(&vm->lock, irq);
}
