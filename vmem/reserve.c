/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who is entitled, and the way of an entitled request when its arena has
 * nothing: to the arena behind it, which has a limit of its own.
 *
 *     vm          try --none--> reserve: try, metadata from the stock --none-->
 *                                              press, wait as everybody does
 *     free to vm  not in vm --> reserve
 *
 * A range of the arena behind is a segment of the same kind as it would be in
 * vm, so all that is checked of a free is checked there.  Where free runs are
 * not checked (KVA_CONFIG_CHECKS 0) vm's magazines would take such a range as
 * theirs: then hits of vm are off as long as one is out.
 */
#include "vmem/reserve.h"
#include "vmem/vmem_impl.h"

#if KVA_TASK_MARK

static unsigned *
task_word(void)
{
    return kva_port_task_mark();
}

#else

static unsigned *
task_word(void)
{
    return NULL;
}

#endif

const void *
kva__task(void)
{
    return task_word();
}

int
kva_reserve_enter(void)
{
    unsigned *word = task_word();

    if (word == NULL) {
        return KVA_ENOTSUP;
    }
    ++*word;
    return 0;
}

void
kva_reserve_leave(void)
{
    unsigned *word = task_word();

    if (word == NULL || *word == 0) {
        kva__misuse("kva_reserve_leave", "task", "current", 0,
                    "expected a task that is marked, found %s",
                    word == NULL ? "none that can be" : "one that is not");
    }
    --*word;
}

bool
kva_reserve_marked(void)
{
    const unsigned *word = task_word();

    return word != NULL && *word != 0;
}

static struct kva__mark
mark_set(bool marked)
{
    struct kva__mark mark = { task_word(), 0 };

    if (mark.word != NULL) {
        mark.was = *mark.word;
        *mark.word = marked ? mark.was + 1u : 0;
    }
    return mark;
}

struct kva__mark
kva__reserve_begin(void)
{
    return mark_set(true);
}

struct kva__mark
kva__reserve_hide(void)
{
    return mark_set(false);
}

void
kva__reserve_end(struct kva__mark mark)
{
    if (mark.word != NULL) {
        *mark.word = mark.was;
    }
}

/* ---- the arena behind -------------------------------------------------- */

void
kva__vmem_set_reserve(kva_vmem_t *vm, kva_vmem_t *reserve)
{
    vm->reserve = KVA_RESERVES ? reserve : NULL;
}

/* One range more of the arena behind, or less, may come to a free that asks
 * nobody. */
static void
reserve_out(kva_vmem_t *vm, size_t size, unsigned by)
{
    kva_irq_t irq;

    if (!KVA_CONFIG_CHECKS && size <= vm->qcache_max) {
        irq = kva_port_lock(&vm->lock);
        __atomic_store_n(&vm->reserve_out, vm->reserve_out + by,
                         __ATOMIC_RELAXED);
        kva__watch_update(vm);
        kva_port_unlock(&vm->lock, irq);
    }
}

/* A flag that no arena knows is everybody's mark: what was tried without it may
 * have lacked metadata alone. */
int
kva__reserve_try(kva_vmem_t *vm, const struct kva__vmem_request *rq,
                 enum btag_state state, uintptr_t *addr,
                 kva__attempt_t *attempt)
{
    bool behind = vm->reserve != NULL && !rq->apart &&
                  (state == BT_ALLOC || state == BT_XALLOC);
    struct kva__vmem_request mine = *rq;
    struct kva__mark mark;
    int err;

    if (!behind && !rq->apart && kva_reserve_marked()) {
        return KVA_ENOMEM; /* it had all that it may have */
    }
    mine.flags |= KVA_VM_RESERVE | KVA__VM_ADMITTED;
    mark = kva__reserve_begin();
    if (behind) {
        err = kva__take_or_import(vm->reserve, &mine, state, addr);
    } else {
        err = attempt(vm, &mine, state, addr);
    }
    kva__reserve_end(mark);
    if (err == 0 && behind) {
        reserve_out(vm, rq->size, 1u);
    }
    return err;
}

kva_vmem_t *
kva__reserve_owner(kva_vmem_t *vm, uintptr_t addr)
{
    kva_vmem_t *reserve = KVA_RESERVES ? vm->reserve : NULL;
    struct kva_vmem_btag *bt;
    bool hashed, live;
    kva_irq_t irq;

    if (reserve == NULL) {
        return NULL;
    }
    irq = kva_port_lock(&reserve->lock);
    bt = kva__segment_at(reserve, addr, &hashed);
    live = bt != NULL && bt_is_busy(bt);
    kva_port_unlock(&reserve->lock, irq);
    return live ? reserve : NULL;
}

void
kva__reserve_returned(kva_vmem_t *vm, size_t size)
{
    reserve_out(vm, size, -1u);
}
