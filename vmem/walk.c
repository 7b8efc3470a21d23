/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Walking an arena: each segment once, and of what the quantum caches hold each
 * item.  cursor.c says what a walk sees of an arena that changes meanwhile.
 *
 * Items come and go without the arena lock, so that of a piece only the start
 * and the size are taken from its tag, and the state bytes are read as they are
 * at the moment: an item that is there all the time has its byte all the time,
 * and whatever else is seen does not overlap with it.
 */
#include "vmem/cursor.h"

/* What a tag says, copied while the arena is locked. */
struct seen {
    uintptr_t addr;
    size_t size;
    enum btag_state state;
};

static struct seen
seen_of(const struct kva_vmem_btag *bt)
{
    struct seen seen = { .state = bt_state(bt) };

    if (bt_is_span(bt)) {
        seen.addr = bt_span_start(bt);
        seen.size = bt_span_size(bt);
    } else {
        seen.addr = bt->start;
        seen.size = bt_size(bt);
    }
    return seen;
}

static unsigned
type_of(enum btag_state state)
{
    switch (state) {
    case BT_FREE:
    case BT_FREE_HASHED:
        return VMEM_FREE;
    case BT_SPAN:
    case BT_SPAN_IMPORT:
        return VMEM_SPAN;
    case BT_PIECE:
        return VMEM_ALLOC | VMEM_CACHED;
    default:
        return VMEM_ALLOC;
    }
}

typedef void visit_fn(void *, vmem_addr_t, vmem_size_t, unsigned);

static void
visit(kva_vmem_t *vm, const struct seen *seen, unsigned typemask, visit_fn *fn,
      void *arg)
{
    if (seen->state == BT_PIECE) {
        kva__qcache_walk(vm, seen->addr, seen->size, typemask, fn, arg);
    } else {
        fn(arg, seen->addr, seen->size, type_of(seen->state));
    }
}

static void
walk_unlocked(kva_vmem_t *vm, unsigned typemask, visit_fn *fn, void *arg)
{
    struct kva_vmem_btag *bt;
    struct kva__cursor c;
    struct seen seen;

    kva__cursor_begin_wary(&c, vm);
    while ((bt = kva__cursor_step(&c)) != NULL) {
        seen = seen_of(bt);
        if ((type_of(seen.state) & typemask) != 0) {
            visit(vm, &seen, typemask, fn, arg);
        }
    }
}

void
vmem_walk(kva_vmem_t *vm, unsigned typemask, visit_fn *fn, void *arg)
{
    bool reentrant = (typemask & VMEM_REENTRANT) != 0;
    struct kva_vmem_btag *bt;
    struct kva__cursor c;
    unsigned steps = 0;
    struct seen seen;
    kva_irq_t irq;

    arena_alive(vm, "vmem_walk");
    if ((typemask & VMEM_NOLOCK) != 0) {
        walk_unlocked(vm, typemask, fn, arg);
        return;
    }
    irq = kva_port_lock(&vm->lock);
    kva__cursor_begin(&c, vm);
    while ((bt = kva__cursor_step(&c)) != NULL) {
        bool wanted;

        seen = seen_of(bt);
        wanted = (type_of(seen.state) & typemask) != 0;
        if (reentrant && (wanted || ++steps == KVA__CURSOR_STEP)) {
            kva_port_unlock(&vm->lock, irq);
            if (wanted) {
                visit(vm, &seen, typemask, fn, arg);
            }
            steps = 0;
            irq = kva_port_lock(&vm->lock);
        } else if (wanted) {
            visit(vm, &seen, typemask, fn, arg);
        }
    }
    kva__cursor_end(&c);
    kva_port_unlock(&vm->lock, irq);
}
