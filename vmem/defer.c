/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Freed ranges that are kept back; defer.h has the picture.
 *
 *  D1  A deferred tag is in its ring, in no class and not in the hash.
 *  D2  The arena counts as many as there are (vm->deferred).
 *  D3  It is in one list, or in the hands of who took it out: so what he looks
 *      at is not changed but for its neighbours in the ring.
 *
 * For whoever counts, such a range is allocated until it comes out.
 */
#include "vmem/defer.h"

#include "vmem/audit.h"

/* Arena locked. */
static void
append(struct kva__deferred *list, struct kva_vmem_btag *bt)
{
    bt->u.chain = NULL;
    if (list->last != NULL) {
        list->last->u.chain = bt;
    } else {
        list->first = bt;
    }
    list->last = bt;
    list->count++;
    list->bytes += bt_size(bt);
}

void
kva__vmem_defer(kva_vmem_t *vm, struct kva__deferred *list, uintptr_t addr,
                size_t size, uint64_t now, const char *func)
{
    struct kva_vmem_btag *bt;
    kva_irq_t irq;

    size = kva__vmem_size_verify(vm, func, addr, size);
    kva__qcache_expect_none(vm, addr, size, true, func);
    irq = kva_port_lock(&vm->lock);
    bt = kva__segment_lookup(vm, addr, size, BT_XALLOC);
    if (KVA_UNLIKELY(bt == NULL)) {
        kva_port_unlock(&vm->lock, irq);
        kva__arena_refuse(vm, addr, size, BT_XALLOC, func);
    }
    kva__hash_leave(vm, bt);
    bt_set_state(bt, BT_DEFERRED);
    vm->deferred++;
    if (list->first == NULL) {
        list->since = now;
    }
    append(list, bt);
    kva_port_unlock(&vm->lock, irq);
    audit_note(vm, KVA_VMEM_AUDIT_XFREE, addr, size,
               __builtin_return_address(0));
    KVA_PARANOID(vmem_check(vm));
}

bool
kva__vmem_deferred_take(kva_vmem_t *vm, struct kva__deferred *list,
                        size_t bytes, uint64_t before,
                        struct kva__deferred *batch)
{
    kva_irq_t irq;
    bool due;

    irq = kva_port_lock(&vm->lock);
    due = list->first != NULL && (list->bytes >= bytes || list->since < before);
    if (due) {
        *batch = *list;
        *list = (struct kva__deferred){ NULL, NULL, 0, 0, 0 };
    }
    kva_port_unlock(&vm->lock, irq);
    return due;
}

struct kva_vmem_btag *
kva__vmem_deferred_pop(kva_vmem_t *vm, struct kva__deferred *list, size_t count,
                       size_t bytes)
{
    struct kva_vmem_btag *bt = NULL;
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    if (list->count > count || list->bytes > bytes) {
        bt = list->first;
        list->first = bt->u.chain;
        if (list->first == NULL) {
            list->last = NULL;
        }
        list->count--;
        list->bytes -= bt_size(bt);
    }
    kva_port_unlock(&vm->lock, irq);
    return bt;
}

/* The size is seen from the neighbour, so not without the lock. */
struct kva_vmem_btag *
kva__vmem_deferred_range(kva_vmem_t *vm, const struct kva_vmem_btag *bt,
                         uintptr_t *addr, size_t *size)
{
    struct kva_vmem_btag *next;
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    KVA_ASSERT(bt_state(bt) == BT_DEFERRED);
    *addr = bt->start;
    *size = bt_size(bt);
    next = bt->u.chain;
    kva_port_unlock(&vm->lock, irq);
    return next;
}

void
kva__vmem_deferred_keep(kva_vmem_t *vm, struct kva__deferred *list,
                        struct kva_vmem_btag *bt)
{
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    KVA_ASSERT(bt_state(bt) == BT_DEFERRED);
    append(list, bt);
    kva_port_unlock(&vm->lock, irq);
}

void
kva__vmem_deferred_end(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    KVA_ASSERT(bt_state(bt) == BT_DEFERRED && vm->deferred > 0);
    vm->deferred--;
    kva__segment_give(vm, bt, false, irq);
}

struct kva__deferred
kva__vmem_deferred_stat(kva_vmem_t *vm, const struct kva__deferred *list)
{
    struct kva__deferred copy;
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    copy = *list;
    kva_port_unlock(&vm->lock, irq);
    return copy;
}
