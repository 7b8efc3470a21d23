/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Waiting for memory.  One queue, first in first out, for all arenas: a sleeper
 * says which arena it wants how much of, and a free wakes those for which the
 * hole that came to be may do, in that arena or in one that it imports from.
 *
 * No wake-up is lost: a request queues up first, then tries once more, and only
 * then sleeps; a free changes the arena first and looks at the queue after.
 */
#include "vmem/vmem_impl.h"

static struct {
    kva_lock_t lock;
    struct kva__waiter *first; /* (w) the oldest */
    struct kva__waiter *last;
} queue;

#if KVA_TIER >= 3
unsigned kva__waiters; /* (w) in the queue; read without it by frees */
#endif

void
kva__wait_bootstrap(void)
{
    kva_port_lock_init(&queue.lock, "waiters", KVA_IPL_VM, KVA_RANK_META - 2);
}

bool
kva__wait_possible(kva_vm_flag_t flags)
{
#if KVA_TIER >= 3
    return (flags & VM_SLEEP) != 0 && kva_port_may_sleep();
#else
    (void)flags;
    return false;
#endif
}

#if KVA_TIER >= 3
void
kva__wait_prepare(struct kva__waiter *w, kva_vmem_t *vm, size_t size)
{
    kva_irq_t irq;

    w->vm = vm;
    w->size = size;
    w->woken = false;
    w->next = NULL;
    irq = kva_port_lock(&queue.lock);
    w->prev = queue.last;
    if (queue.last != NULL) {
        queue.last->next = w;
    } else {
        queue.first = w;
    }
    queue.last = w;
    __atomic_store_n(&kva__waiters, kva__waiters + 1, __ATOMIC_SEQ_CST);
    kva_port_unlock(&queue.lock, irq);
}

/*
 * What is freed into magazines above the arenas (pool caches) makes no hole and
 * wakes nobody, so a sleeper looks again by itself, and has what is cached
 * given back, after this long.
 */
#define LOOK_AGAIN_NS 10000000u

int
kva__wait_sleep(struct kva__waiter *w)
{
    kva_irq_t irq;
    int err = 0;

    irq = kva_port_lock(&queue.lock);
    while (!w->woken && err == 0) {
        err = kva_port_wait(w, &queue.lock, &irq, LOOK_AGAIN_NS);
    }
    if (w->woken) {
        err = 0;
    }
    w->woken = false;
    kva_port_unlock(&queue.lock, irq);
    return err;
}

void
kva__wait_finish(struct kva__waiter *w)
{
    kva_irq_t irq;

    irq = kva_port_lock(&queue.lock);
    if (w->prev != NULL) {
        w->prev->next = w->next;
    } else {
        queue.first = w->next;
    }
    if (w->next != NULL) {
        w->next->prev = w->prev;
    } else {
        queue.last = w->prev;
    }
    __atomic_store_n(&kva__waiters, kva__waiters - 1, __ATOMIC_SEQ_CST);
    kva_port_unlock(&queue.lock, irq);
}

/* Does memory that is free in vm serve a request to wanted. */
static bool
feeds(const kva_vmem_t *vm, const kva_vmem_t *wanted)
{
    while (wanted != NULL && wanted != vm) {
        wanted = wanted->source;
    }
    return wanted == vm;
}

void
kva__wait_freed(kva_vmem_t *vm, size_t hole)
{
    kva_irq_t irq;

    if (KVA_LIKELY(__atomic_load_n(&kva__waiters, __ATOMIC_SEQ_CST) == 0)) {
        return;
    }
    irq = kva_port_lock(&queue.lock);
    for (struct kva__waiter *w = queue.first; w != NULL; w = w->next) {
        if (!w->woken && w->size <= hole && feeds(vm, w->vm)) {
            w->woken = true;
            kva_port_wake(w);
        }
    }
    kva_port_unlock(&queue.lock, irq);
}
#else
void
kva__wait_freed(kva_vmem_t *vm, size_t hole)
{
    (void)vm;
    (void)hole;
}

void
kva__wait_prepare(struct kva__waiter *w, kva_vmem_t *vm, size_t size)
{
    (void)w;
    (void)vm;
    (void)size;
}

int
kva__wait_sleep(struct kva__waiter *w)
{
    (void)w;
    return KVA_ENOTSUP;
}

void
kva__wait_finish(struct kva__waiter *w)
{
    (void)w;
}
#endif
