/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an address is, of any arena: a range, an arena, a tag.  All answers are
 * given, for arenas lie upon each other.
 */
#include "vmem/print.h"

static const char *
kind_name(enum kva_vmem_kind kind)
{
    switch (kind) {
    case KVA_VMEM_KIND_ALLOC:
        return "allocated";
    case KVA_VMEM_KIND_XALLOC:
        return "allocated by vmem_xalloc";
    case KVA_VMEM_KIND_PIECE:
        return "held by quantum caches";
    case KVA_VMEM_KIND_LIVE:
        return "allocated, from a quantum cache";
    case KVA_VMEM_KIND_CACHED:
        return "free, in a quantum cache";
    case KVA_VMEM_KIND_KEPT:
        return "freed and kept back";
    default:
        return "free";
    }
}

/* How often it is something of this arena. */
static unsigned
of_arena(kva_vmem_t *vm, uintptr_t addr, kva_vmem_pr_t *pr)
{
    struct kva_vmem_segment seg;
    struct kva_vmem_audit event;
    unsigned found = 0;

    if (addr - (uintptr_t)vm < sizeof(*vm)) {
        kva__print_line(pr, "0x%lx is 0x%lx+%zu, arena %s itself",
                        (unsigned long)addr, (unsigned long)(uintptr_t)vm,
                        (size_t)(addr - (uintptr_t)vm), vm->name);
        found++;
    }
    if (vmem_find(vm, addr, &seg) != 0) {
        return found;
    }
    kva__print_line(pr,
                    "0x%lx is 0x%lx+%zu in arena %s, of %zu bytes, %s; in the "
                    "span 0x%lx - 0x%lx%s",
                    (unsigned long)addr, (unsigned long)seg.addr,
                    (size_t)(addr - seg.addr), vm->name, seg.size,
                    kind_name(seg.kind), (unsigned long)seg.span_addr,
                    (unsigned long)(seg.span_addr + (seg.span_size - 1)),
                    seg.imported ? ", imported" : "");
    if (vmem_audit_find(vm, addr, &event) == 0) {
        kva__print_event(&event, "  last event ", pr);
    }
    return found + 1;
}

static bool
of_tags(uintptr_t addr, kva_vmem_pr_t *pr)
{
    static const char *const name[] = {
        [BT_FREE] = "of a free segment",
        [BT_FREE_HASHED] = "of a free segment",
        [BT_SPAN] = "of a span",
        [BT_SPAN_IMPORT] = "of an imported span",
        [BT_ALLOC] = "of a range from vmem_alloc",
        [BT_XALLOC] = "of a range from vmem_xalloc",
        [BT_PIECE] = "of the quantum caches",
        [BT_UNUSED] = "not in use, or of a range that is kept back",
    };
    struct kva_vmem_btag *bt;
    enum btag_state state = BT_UNUSED;
    uintptr_t start = 0;
    kva_irq_t irq;

    irq = kva__btag_freeze();
    bt = kva__btag_around(addr);
    if (bt != NULL) { /* its arena is not locked: it may change meanwhile */
        state = (enum btag_state)(
            __atomic_load_n(&bt->prev_bits, __ATOMIC_RELAXED) & BT_STATE_MASK);
        start = __atomic_load_n(&bt->start, __ATOMIC_RELAXED);
    }
    kva__btag_thaw(irq);
    if (bt != NULL) {
        kva__print_line(pr, "0x%lx is 0x%lx+%zu, a tag %s, at 0x%lx",
                        (unsigned long)addr, (unsigned long)(uintptr_t)bt,
                        (size_t)(addr - (uintptr_t)bt), name[state],
                        (unsigned long)start);
    }
    return bt != NULL;
}

void
vmem_whatis(uintptr_t addr, kva_vmem_pr_t *pr)
{
    unsigned found = 0;
    kva_irq_t irq;

    if (!kva__vmem_list_lock(&irq)) {
        return;
    }
    for (kva_vmem_t *vm = kva_vmem_list; vm != NULL; vm = vm->next) {
        found += of_arena(vm, addr, pr);
    }
    kva__vmem_list_unlock(irq);
    if (!of_tags(addr, pr) && found == 0) {
        kva__print_line(pr, "0x%lx is nothing of an arena's",
                        (unsigned long)addr);
    }
}
