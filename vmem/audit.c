/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Auditing: who allocated and freed what, in a ring of the caller's.  The idea
 * is illumos' vmem_audit, which keeps it in the segment, and so forgets the
 * frees.
 *
 *      entry      0     1     2     3     4     5
 *      number   [ 7 ] [ 8 ] [ 9 ] [ 4 ] [ 5 ] [ 6 ]
 *                                   ^ audit_at, the oldest
 *
 * Numbers are in the order of events on any one range: an allocation takes its
 * number when it has the range, a free while it still has it.  But what a free
 * names is looked at in the course of the free, and if it is not there the free
 * does not return: so it takes a number first (a ticket), and writes the entry
 * with that number when it is done.  What is refused leaves an old entry where
 * its own would have been.
 *
 * What changes in place (resize.c) takes its number and writes its entry while
 * the arena is locked for the change itself.  Its entry is found by all
 * addresses concerned, so it has the longer range of before and after.
 */
#include "vmem/audit.h"

void
vmem_set_audit(kva_vmem_t *vm, struct kva_vmem_audit *ring, size_t n)
{
    kva_irq_t irq;

    arena_alive(vm, "vmem_set_audit");
    if ((ring == NULL) != (n == 0)) {
        kva__misuse("vmem_set_audit", "arena", vm->name, (uintptr_t)ring,
                    "expected a ring and its length, or NULL and 0, found "
                    "length %zu",
                    n);
    }
    for (size_t i = 0; i < n; i++) {
        ring[i].number = 0;
    }
    irq = kva_port_lock(&vm->lock);
    __atomic_store_n(&vm->audit, ring, __ATOMIC_RELAXED);
    vm->audit_n = n;
    vm->audit_at = 0;
    kva__watch_update(vm);
    kva_port_unlock(&vm->lock, irq);
}

/* The next entry and the next number.  Arena locked. */
static struct kva__audit_ticket
ticket_take(kva_vmem_t *vm)
{
    struct kva__audit_ticket ticket = { NULL, 0 };

    if (vm->audit != NULL) {
        ticket.entry = &vm->audit[vm->audit_at];
        ticket.number = ++vm->audit_events;
        vm->audit_at = vm->audit_at + 1 == vm->audit_n ? 0 : vm->audit_at + 1;
    }
    return ticket;
}

struct kva__audit_ticket
kva__audit_begin(kva_vmem_t *vm)
{
    struct kva__audit_ticket ticket;
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    ticket = ticket_take(vm);
    kva_port_unlock(&vm->lock, irq);
    return ticket;
}

/* The entry of a ticket, unless the ring is another by now, or has come round;
 * or NULL.  Arena locked. */
static struct kva_vmem_audit *
entry_write(kva_vmem_t *vm, struct kva__audit_ticket ticket,
            enum kva_vmem_event op, uintptr_t addr, size_t size,
            const void *caller)
{
    struct kva_vmem_audit *entry = ticket.entry;
    unsigned cpu;

    if (vm->audit == NULL || entry < vm->audit ||
        entry >= vm->audit + vm->audit_n || entry->number > ticket.number) {
        return NULL;
    }
    cpu = kva_cpu_enter();
    kva_cpu_exit(cpu);
    *entry = (struct kva_vmem_audit){ .addr = addr,
                                      .size = size,
                                      .caller = caller,
                                      .number = ticket.number,
                                      .cpu = cpu,
                                      .op = op,
                                      .time = kva__now() };
    return entry;
}

void
kva__audit_end(kva_vmem_t *vm, struct kva__audit_ticket ticket,
               enum kva_vmem_event op, uintptr_t addr, size_t size,
               const void *caller)
{
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    (void)entry_write(vm, ticket, op, addr, size, caller);
    kva_port_unlock(&vm->lock, irq);
}

void
kva__audit_write(kva_vmem_t *vm, enum kva_vmem_event op, uintptr_t addr,
                 size_t size, const void *caller)
{
    struct kva__audit_ticket ticket;
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    ticket = ticket_take(vm);
    if (ticket.entry != NULL) {
        (void)entry_write(vm, ticket, op, addr, size, caller);
    }
    kva_port_unlock(&vm->lock, irq);
}

void
kva__audit_resize(kva_vmem_t *vm, enum kva_vmem_event op,
                  const struct kva__audit_change *change, const void *caller)
{
    struct kva_vmem_audit *entry = entry_write(
        vm, ticket_take(vm), op, change->addr, change->size, caller);

    if (entry != NULL) {
        entry->part_addr = change->part_addr;
        entry->part_size = change->part_size;
    }
}

const struct kva_vmem_audit *
kva__audit_last(const kva_vmem_t *vm, uintptr_t addr)
{
    const struct kva_vmem_audit *best = NULL;

    for (size_t i = 0; vm->audit != NULL && i < vm->audit_n; i++) {
        const struct kva_vmem_audit *entry = &vm->audit[i];

        if (entry->number != 0 && addr - entry->addr < entry->size &&
            (best == NULL || entry->number > best->number)) {
            best = entry;
        }
    }
    return best;
}

int
vmem_audit_find(kva_vmem_t *vm, vmem_addr_t addr, struct kva_vmem_audit *event)
{
    const struct kva_vmem_audit *entry;
    kva_irq_t irq;

    arena_alive(vm, "vmem_audit_find");
    irq = kva_port_lock(&vm->lock);
    entry = kva__audit_last(vm, addr);
    if (entry != NULL) {
        *event = *entry;
    }
    kva_port_unlock(&vm->lock, irq);
    return entry != NULL ? 0 : KVA_ENOENT;
}

const char *
kva__audit_op_name(enum kva_vmem_event op)
{
    switch (op) {
    case KVA_VMEM_AUDIT_ALLOC:
        return "alloc ";
    case KVA_VMEM_AUDIT_XALLOC:
        return "xalloc";
    case KVA_VMEM_AUDIT_FREE:
        return "free  ";
    case KVA_VMEM_AUDIT_XFREE:
        return "xfree ";
    case KVA_VMEM_AUDIT_XTRIM:
        return "trim  ";
    case KVA_VMEM_AUDIT_XSPLIT:
        return "split ";
    case KVA_VMEM_AUDIT_XJOIN:
        return "join  ";
    default:
        return "extend";
    }
}
