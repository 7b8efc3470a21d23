/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A request that is not met at once: how far to go for it.
 *
 *      try ------------------------------------------------------> granted
 *       | no                                                          ^
 *       +-- VM_ABORT, or hopeless: fail                               |
 *       v                                                             |
 *      press, try ----------------------------------------------------+
 *       | no                                                          |
 *       +-- may not sleep: fail                                       |
 *       v                                                             |
 *      queue up, close magazines; press, try, press for more, try ... +
 *       | no            ^                                             |
 *       v               | woken: try ---------------------------------+
 *      sleep -----------+
 *       |
 *       +-- time is up, cancelled: fail
 *
 * PRESSING has those above give back what they hold in stock: the quantum
 * caches of the arena and its sources, and through the arena's reclaim
 * function whoever registered with it.  It is done again when the waiter is in
 * the queue: what was put in stock between the first time and then is seen by
 * nobody else.  He presses for what he wants, and if that came back and did not
 * do (it lies apart, or somebody else took it) for twice as much, and so on: so
 * it ends where there is no more, and what it took beyond what did is no more
 * than that.  Reclaim may turn a caller away because it is at work for another
 * one; so whoever pressed presses once more if somebody has queued up meanwhile.
 *
 * HOPELESS is what no free can ever make possible: a request that does not fit
 * into any span, were they all free, of an arena that imports from nowhere, or
 * from one where it is hopeless too.  It fails at once, whatever it says of
 * sleeping.  (A later vmem_add might have helped; nobody is told to wait for
 * that.)
 *
 * A try is one call of the attempt, which finds memory in its own way (arena.c,
 * qcache.c) and may import.  Around it the wait queue decides whether it may
 * be made now, and counts it (wait.c).
 */
#include "vmem/reserve.h"
#include "vmem/vmem_impl.h"

typedef struct kva__vmem_request request;

/* What a try comes to that was not let in. */
#define REFUSED (-1)

/* A try by a waiter, or by somebody who does not wait (NULL). */
struct
try {
    kva_vmem_t *vm;
    const request *rq;
    enum btag_state state;
    kva__attempt_t *attempt;
    uintptr_t *addr;
};

/* ---- pressing ---------------------------------------------------------- */

void
kva__vmem_set_press(kva_vmem_t *vm, kva__vmem_press_t *fn)
{
    vm->pressfn = fn;
}

/* May it give anything. */
static bool
can_press(const kva_vmem_t *vm)
{
    const kva_vmem_t *from = vm;

    while (from != NULL && from->qcache == NULL) {
        from = from->source;
    }
    return from != NULL || vm->pressfn != NULL || vm->reclaimfn != NULL;
}

/* Bytes that came back from the layer above.  No lock held. */
static size_t
press(kva_vmem_t *vm, const request *rq, size_t bytes, bool hard)
{
    for (kva_vmem_t *from = vm; from != NULL; from = from->source) {
        if (from->qcache != NULL) {
            kva__qcache_drain(from, SIZE_MAX, 0,
                              kva__wait_possible(rq->flags) ? KVA__DRAIN_SLOTS
                                                            : KVA__DRAIN_OWN);
        }
    }
    bytes = vm->pressfn != NULL ? vm->pressfn(vm, rq, bytes, hard) : 0;
    if (vm->reclaimfn != NULL) {
        vm->reclaimfn(vm, rq->flags & ~(KVA__VM_ADMITTED | KVA__VM_LENT));
    }
    return bytes;
}

/* ---- trying ------------------------------------------------------------ */

#if KVA_TIER >= 3
static void
count_held_back(kva_vmem_t *vm)
{
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    vm->stat.held_back++;
    kva_port_unlock(&vm->lock, irq);
}
#endif

static int
try(const struct try *t, struct kva__waiter *w)
{
#if KVA_TIER >= 3
    struct kva__ticket ticket;
    request rq;
    int err;

    if (KVA_UNLIKELY(kva__wait_any())) {
        if (!kva__wait_admit(t->vm, t->rq->flags, w, &ticket)) {
            count_held_back(t->vm);
            return REFUSED;
        }
        rq = *t->rq;
        rq.flags |= ticket.admitted ? KVA__VM_ADMITTED : 0;
        err = t->attempt(t->vm, &rq, t->state, t->addr);
        kva__wait_settle(w, &ticket, err == 0);
        return err;
    }
#else
    (void)w;
#endif
    return t->attempt(t->vm, t->rq, t->state, t->addr);
}

/* What the arena has not, who is entitled may find in a reserve (reserve.c).  Not
 * within a try, whose stack it need not stand on. */
static inline int
from_reserve(const struct try *t, int err)
{
    return KVA_RESERVES && (err == KVA_ENOMEM || err == REFUSED) &&
                   kva__reserve_entitled(t->rq->flags) &&
                   kva__reserve_try(t->vm, t->rq, t->state, t->addr,
                                    t->attempt) == 0
               ? 0
               : err;
}

#if KVA_TIER >= 3

/* Does the request fit into a span of vm, were it all free.  Linear in the
 * number of spans. */
static bool
fits_a_span(kva_vmem_t *vm, const request *rq)
{
    bool fits = false;
    uintptr_t at;
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    for (kva__btag_ref_t ref = vm->span_first; ref != BT_NONE && !fits;) {
        struct kva_vmem_btag *span = bt_at(ref);

        fits = kva__request_fits(rq, bt_span_start(span), span->start - 1, &at);
        ref = span->u.link.next;
    }
    kva_port_unlock(&vm->lock, irq);
    return fits;
}

static bool
limit_forbids(const kva_vmem_t *vm, size_t size)
{
    size_t limit = __atomic_load_n(&vm->limit, __ATOMIC_RELAXED);

    return limit != 0 && size > limit;
}

static bool
is_hopeless(kva_vmem_t *vm, const request *rq)
{
    for (; vm != NULL; vm = vm->source) {
        if (fits_a_span(vm, rq)) {
            return false;
        }
        if (!arena_imports(vm) || limit_forbids(vm, rq->size)) {
            return true;
        }
        if (!arena_is_transparent(vm)) {
            return false;
        }
    }
    return false;
}

/* ---- waiting ----------------------------------------------------------- */

/*
 * What feeds vm goes the long way while somebody waits, so that frees look at
 * the queue and grants are counted.
 */
static void
detour_change(kva_vmem_t *vm, unsigned by)
{
    for (; vm != NULL; vm = vm->source) {
        kva_irq_t irq = kva_port_lock(&vm->lock);

        vm->detour += by * KVA__DETOUR_WAITER;
        kva_port_unlock(&vm->lock, irq);
    }
}

/* The try of one who is in the queue. */
static int
try_waiting(const struct try *t, struct kva__waiter *w)
{
    bool again;
    int err;

    do {
        size_t refused = kva__meta_refused(), failed = kva__wait_failures(w);

        err = try(t, w);
        again = err != 0 && err != REFUSED &&
                kva__wait_lacks(w, kva__meta_refused() != refused,
                                kva__wait_failures(w) == failed);
    } while (again);
    w->denied = err == KVA_ENOMEM;
    return err;
}

/* May the quantum caches serve it. */
static bool
is_cached(const struct try *t)
{
    return t->state == BT_ALLOC && t->rq->size <= t->vm->qcache_max;
}

/* Two with the same way, arena, size and flags are tried alike; 0: who knows.
 * The attempt for what is cached is that of the quantum caches. */
static unsigned char
way_of(const struct try *t)
{
    if (t->attempt == kva__take_or_import) {
        return (unsigned char)(t->state + 1u);
    }
    return is_cached(t) ? BT_STATE_MASK + 2u : 0;
}

/* In the queue: for more each time, until it is granted or there is no more. */
static int
press_and_try(const struct try *t, struct kva__waiter *w)
{
    bool hard = t->vm->pressfn == NULL, enough, last;
    size_t bytes = t->rq->size;
    int err;

    do {
        kva__wait_open(w, true);
        enough = press(t->vm, t->rq, bytes, hard) >= bytes;
        kva__wait_open(w, false);
        err = from_reserve(t, try_waiting(t, w));
        last = hard && !enough;
        hard = hard || !enough;
        bytes = enough && bytes <= SIZE_MAX / 4 ? bytes * 2 : bytes;
    } while (err != 0 && !last);
    return err;
}

/* Queue up and wait until it is granted, or for as long as it is told to.  Not
 * inlined, for the stack of those who do not wait. */
static __attribute__((noinline)) int
wait_for_it(const struct try *t)
{
    kva_vmem_t *vm = t->vm, *root = arena_root(vm);
    struct kva__waiter w = {
        .queue = &root->waitq,
        .vm = vm,
        .rq = t->rq,
        .cookie = t->rq->cookie,
        .deadline = kva__wait_deadline(t->rq->timeout_ns),
        .cached = is_cached(t),
        .entitled = kva__reserve_entitled(t->rq->flags),
        .way = way_of(t),
    };
    kva_irq_t irq;
    int err;

    kva__wait_join(&w);
    detour_change(vm, 1u);
    kva__mag_close(root);
    err = press_and_try(t, &w);
    while (err != 0 && (err = kva__wait_sleep(&w)) == 0) {
        err = from_reserve(t, try_waiting(t, &w));
    }
    if (err == 0 && t->state != BT_FREE) {
        kva__wait_leave(&w, *t->addr, t->rq->size);
    } else { /* with nothing, or with tags alone */
        kva__wait_leave(&w, 0, 0);
    }
    kva__mag_open(root);
    detour_change(vm, -1u);
    irq = kva_port_lock(&vm->lock);
    vm->stat.wait++;
    vm->stat.wakes += w.wakes;
    vm->stat.wakes_vain += w.vain;
    kva_port_unlock(&vm->lock, irq);
    return err;
}

#endif

/* What to do when the first try has failed with err. */
static int
persist(const struct try *t, int err)
{
    vm_flag_t flags = t->rq->flags;

    if ((flags & VM_ABORT) != 0) {
        return err;
    }
#if KVA_TIER >= 3
    if ((flags & VM_SLEEP) != 0 && is_hopeless(t->vm, t->rq)) {
        return err;
    }
#endif
    if (err != REFUSED && can_press(t->vm)) {
        (void)press(t->vm, t->rq, t->rq->size, false);
        err = try(t, NULL);
        if (kva__wait_for(t->vm)) {
            (void)press(t->vm, t->rq, KVA__PRESS_ALL, true);
        }
    }
#if KVA_TIER >= 3
    if (err != 0 && kva__wait_possible(flags)) {
        return wait_for_it(t);
    }
#endif
    return err;
}

int
kva__arena_try(kva_vmem_t *vm, const request *rq, enum btag_state state,
               uintptr_t *addr, kva__attempt_t *attempt)
{
    const struct try t = { vm, rq, state, attempt, addr };
    int err = try(&t, NULL);

    return err == REFUSED ? KVA_ENOMEM : err;
}

int
kva__arena_persist(kva_vmem_t *vm, const request *rq, enum btag_state state,
                   uintptr_t *addr, kva__attempt_t *attempt)
{
    const struct try t = { vm, rq, state, attempt, addr };
    kva_irq_t irq;
    int err;

    if (inject(vm, rq->flags)) {
        kva__wait_failed(vm);
        return KVA_ENOMEM;
    }
    err = try(&t, NULL);
    if (KVA_LIKELY(err == 0)) {
        return 0;
    }
    err = from_reserve(&t, err);
    if (err == 0) {
        return 0;
    }
    if (err == KVA_ENOMEM || err == REFUSED) {
        err = persist(&t, err);
    }
    err = err == REFUSED ? KVA_ENOMEM : err;
    if (err != 0) {
        irq = kva_port_lock(&vm->lock);
        vm->stat.fail++;
        kva_port_unlock(&vm->lock, irq);
        kva__wait_failed(vm);
    }
    return err;
}
