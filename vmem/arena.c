/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arenas: one try of a request, and frees.
 *
 * A try takes these steps, the second only if the first did not do:
 *   1  a hole in the spans there are
 *   2  a new span from the source, added and searched with one lock held
 * What follows if both fail is in persist.c.
 *
 * The arena lock is dropped for all that is foreign: import and release,
 * reclaim, waiting.  Tags are ensured before a hole is looked for, so once one
 * is found nothing can fail.
 */
#include "vmem/indexed.h"
#include "vmem/locate.h"
#include "vmem/search.h"

/* ---- requests -------------------------------------------------------- */

/*
 * Step 1.  Arena locked, but not from one step of a long search to the next:
 * tags are ensured anew for each.
 */
static int
take_locked(kva_vmem_t *vm, const struct kva__vmem_request *rq,
            enum btag_state state, uintptr_t *addr, kva_irq_t *irq)
{
    enum kva__search_result result;
    struct kva__search search;

    kva__search_begin(&search, rq);
    for (;;) {
        if (!kva__budget_ensure(vm, request_tags(rq), rq->flags)) {
            vm->stat.populate_fail++;
            return KVA_ENOMEM;
        }
        result = kva__search_step(vm, &search);
        if (result != KVA__SEARCH_MORE) {
            break;
        }
        if ((rq->flags & VM_ONESTEP) != 0) {
            return KVA_EAGAIN;
        }
        kva__search_suspend(vm, &search);
        kva_port_unlock(&vm->lock, *irq);
        *irq = kva_port_lock(&vm->lock);
        kva__search_resume(vm, &search);
    }
    if (result == KVA__SEARCH_NONE) {
        return KVA_ENOMEM;
    }
    kva__segment_cut(vm, search.hole, search.start, rq->size, state);
    vm->stat.alloc++;
    if ((rq->flags & VM_NEXTFIT) != 0) {
        vm->rotor = search.start + rq->size;
    }
    *addr = search.start;
    return 0;
}

/* Steps 1 and 2. */
int
kva__take_or_import(kva_vmem_t *vm, const struct kva__vmem_request *rq,
                    enum btag_state state, uintptr_t *addr)
{
    kva_irq_t irq;
    int err;

    irq = kva_port_lock(&vm->lock);
    err = take_locked(vm, rq, state, addr, &irq);
    kva_port_unlock(&vm->lock, irq);
    if (err == KVA_ENOMEM && kva__import(vm, rq, state, addr) == 0) {
        err = 0;
    }
    KVA_PARANOID(vmem_check(vm));
    return err;
}

int
kva__arena_take(kva_vmem_t *vm, const struct kva__vmem_request *rq,
                enum btag_state state, uintptr_t *addr)
{
    return rq->optional
               ? kva__arena_try(vm, rq, state, addr, kva__take_or_import)
               : kva__arena_persist(vm, rq, state, addr, kva__take_or_import);
}

/* ---- frees ----------------------------------------------------------- */

static const char *
owner_name(enum btag_state state)
{
    switch (state) {
    case BT_ALLOC:
        return "vmem_alloc";
    case BT_XALLOC:
        return "vmem_xalloc";
    case BT_PIECE:
        return "a quantum cache";
    default:
        return "nobody";
    }
}

/* What the caller names is not there: find out what is, and say so. */
void
kva__arena_refuse(kva_vmem_t *vm, uintptr_t addr, size_t size,
                  enum btag_state state, const char *func)
{
    size_t quantum = (size_t)1 << vm->quantum_shift;
    enum btag_state found = BT_FREE;
    uintptr_t start = 0;
    size_t found_size = 0;
    struct kva_vmem_btag *bt, *span;
    kva_irq_t irq;

    if (vm->reserve != NULL && vmem_contains(vm->reserve, addr, 1)) {
        vm = vm->reserve; /* it knows what is wrong */
    }
    irq = kva_port_lock(&vm->lock);
    bt = kva__segment_holding(vm, addr, &span, &irq);
    if (bt != NULL) {
        found = bt_state(bt);
        start = bt->start;
        found_size = bt_size(bt);
    }
    kva_port_unlock(&vm->lock, irq);
    if ((addr & (quantum - 1)) != 0) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected a multiple of the quantum %zu, found a "
                    "misaligned address",
                    quantum);
    }
    if (bt == NULL) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected a live range, found an address outside every "
                    "span");
    }
    switch (found) {
    case BT_DEFERRED:
        kva__misuse(func, "arena", vm->name, addr,
                    "expected a live range, found one that was freed and is "
                    "kept back");
    case BT_FREE:
    case BT_FREE_HASHED:
    case BT_PIECE: /* a live range there would have been seen before */
        kva__misuse(func, "arena", vm->name, addr,
                    "expected a live range, found a free one");
    default:
        break;
    }
    if (found != state) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected a range of %s, found one of %s",
                    owner_name(state), owner_name(found));
    }
    if (start != addr) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected the start of a range, found an address inside "
                    "the one at 0x%lx",
                    (unsigned long)start);
    }
    kva__misuse(func, "arena", vm->name, addr,
                "expected size %zu, found size %zu", found_size, size);
}

/* A hole that is a whole imported span leaves the arena.  Arena locked. */
static bool
span_is_free(kva_vmem_t *vm, struct kva_vmem_btag *hole)
{
    struct kva_vmem_btag *span = bt_prev(hole);

    return vm->releasefn != NULL && span == bt_next(hole) &&
           bt_state(span) == BT_SPAN_IMPORT;
}

void
kva__segment_give(kva_vmem_t *vm, struct kva_vmem_btag *bt, bool hashed,
                  kva_irq_t irq)
{
    struct kva_vmem_btag *hole = kva__segment_free(vm, bt, hashed);
    uintptr_t start = hole->start;
    size_t size = bt_size(hole);
    bool release = span_is_free(vm, hole);

    vm->stat.free++;
    if (release) {
        kva__span_remove(vm, bt_prev(hole));
        vm->released += size;
    }
    kva_port_unlock(&vm->lock, irq);
    KVA_PARANOID(vmem_check(vm));
    if (release) {
        kva__import_return(vm, start, size);
    } else {
        kva__wait_freed(vm, start, size);
    }
}

void
kva__arena_free(kva_vmem_t *vm, uintptr_t addr, size_t size,
                enum btag_state state, const char *func)
{
    kva_vmem_t *from = NULL;
    struct kva_vmem_btag *bt;
    kva_irq_t irq;
    bool own;

    irq = kva_port_lock(&vm->lock);
    bt = kva__segment_at(vm, addr, &own);
    if (KVA_UNLIKELY(bt == NULL) && vm->reserve != NULL) {
        kva_port_unlock(&vm->lock, irq);
        from = vm;
        vm = vm->reserve;
        irq = kva_port_lock(&vm->lock);
        bt = kva__segment_at(vm, addr, &own);
    }
    if (KVA_UNLIKELY(bt == NULL || bt_state(bt) != state ||
                     bt_size(bt) != size)) {
        kva_port_unlock(&vm->lock, irq);
        kva__arena_refuse(from != NULL ? from : vm, addr, size, state, func);
    }
    if (!own) {
        kva__hash_leave(vm, bt);
    }
    kva__segment_give(vm, bt, own, irq);
    if (from != NULL) {
        kva__reserve_returned(from, size);
    }
}
