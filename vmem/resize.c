/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segments that change where they are: trimmed, split, joined, extended.
 *
 *      busy      segment       free        trim: both ends come free, one as a
 *       |-----|------------|---------|     hole of its own, one joins the hole
 *       |-----|..|------|............|
 *
 *       |-----|------|-----|---------|     split; join is the way back
 *
 *       |-----|--------------|.......|     extend: the hole gets shorter
 *
 * Only segments of vmem_xalloc: whoever has one of vmem_alloc may get it from
 * the quantum caches tomorrow, where a size is a promise about the whole life
 * of an item.  For an item of theirs the answer is KVA_EINVAL, not a report,
 * since a map that holds ranges of both kinds may ask and then do without.
 *
 * Check, ensure, commit: a segment that is not there is reported with the lock
 * dropped; tags are ensured, and neighbours looked at, before the first change;
 * from there on nothing can fail.  The changes themselves are in segment.c.
 */
#include "vmem/audit.h"

/* ---- arguments -------------------------------------------------------- */

/*
 * A range that the caller says is a segment of vmem_xalloc: its size in whole
 * quanta.  False: it is an item of the quantum caches.  Whether there is such a
 * segment is looked up later.
 */
static bool
range_verify(kva_vmem_t *vm, const char *func, uintptr_t addr, size_t *size)
{
    *size = kva__vmem_size_verify(vm, func, addr, *size);
    return !kva__qcache_is_item(vm, addr, *size, func);
}

/* The range it becomes: whole quanta. */
static size_t
new_range_verify(kva_vmem_t *vm, const char *func, uintptr_t addr, size_t size)
{
    size_t quantum = (size_t)1 << vm->quantum_shift;

    size = kva__vmem_size_verify(vm, func, addr, size);
    if ((addr & (quantum - 1)) != 0) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected a multiple of the quantum %zu, found a "
                    "misaligned address",
                    quantum);
    }
    return size;
}

/* Does [outer, outer + outer_size - 1] hold the inner one. */
static bool
holds(uintptr_t outer, size_t outer_size, uintptr_t inner, size_t inner_size)
{
    size_t off = inner - outer;

    return off < outer_size && inner_size <= outer_size - off;
}

/* Of trim and split: there is no such segment.  No error of port/types.h. */
#define NOT_THERE (-1)

/* ---- trimming --------------------------------------------------------- */

static int
trim(kva_vmem_t *vm, uintptr_t addr, size_t size, uintptr_t newaddr,
     size_t newsize, vm_flag_t flags, const void *caller)
{
    struct kva__trimmed holes = { 0, 0, 0, 0 };
    struct kva_vmem_btag *bt;
    unsigned tags;
    kva_irq_t irq;
    int err = KVA_ENOMEM;

    irq = kva_port_lock(&vm->lock);
    bt = kva__segment_lookup(vm, addr, size, BT_XALLOC);
    if (KVA_UNLIKELY(bt == NULL)) {
        kva_port_unlock(&vm->lock, irq);
        return NOT_THERE;
    }
    tags = kva__segment_trim_tags(bt, newaddr, newsize);
    KVA_ASSERT(tags <= KVA_VMEM_TAGS_XTRIM);
    if ((tags == 0 && !kva__segment_moves_far(vm, bt, newaddr, newsize)) ||
        kva__budget_ensure(vm, tags, flags)) {
        kva__segment_trim(vm, bt, newaddr, newsize, &holes);
        audit_resize(vm, KVA_VMEM_AUDIT_XTRIM,
                     (struct kva__audit_change){ addr, newaddr, size, newsize },
                     caller);
        vm->stat.resize++;
        err = 0;
    }
    vm->stat.populate_fail += err != 0;
    kva_port_unlock(&vm->lock, irq);
    KVA_PARANOID(vmem_check(vm));
    if (holes.head_size != 0) {
        kva__wait_freed(vm, holes.head, holes.head_size);
    }
    if (holes.tail_size != 0) {
        kva__wait_freed(vm, holes.tail, holes.tail_size);
    }
    return err;
}

/* Arguments of a trim; false: an item of the quantum caches. */
static bool
trim_verify(kva_vmem_t *vm, const char *func, uintptr_t addr, size_t *size,
            uintptr_t newaddr, size_t *newsize)
{
    if (!range_verify(vm, func, addr, size)) {
        return false;
    }
    *newsize = new_range_verify(vm, func, newaddr, *newsize);
    if (!holds(addr, *size, newaddr, *newsize)) {
        kva__misuse(func, "arena", vm->name, newaddr,
                    "expected a range within 0x%lx of %zu bytes, found size "
                    "%zu",
                    (unsigned long)addr, *size, *newsize);
    }
    return true;
}

int
vmem_xtrim(kva_vmem_t *vm, vmem_addr_t addr, vmem_size_t size,
           vmem_addr_t newaddr, vmem_size_t newsize)
{
    static const char func[] = "vmem_xtrim";
    int err;

    if (!trim_verify(vm, func, addr, &size, newaddr, &newsize)) {
        return KVA_EINVAL;
    }
    err =
        trim(vm, addr, size, newaddr, newsize, 0, __builtin_return_address(0));
    if (KVA_UNLIKELY(err == NOT_THERE)) {
        kva__arena_refuse(vm, addr, size, BT_XALLOC, func);
    }
    return err;
}

int
vmem_xtrim_prepared(kva_vmem_t *vm, vmem_addr_t addr, vmem_size_t size,
                    vmem_addr_t newaddr, vmem_size_t newsize)
{
    static const char func[] = "vmem_xtrim_prepared";
    int err;

    if (!trim_verify(vm, func, addr, &size, newaddr, &newsize)) {
        return KVA_EINVAL;
    }
    kva__budget_begin(vm, func);
    err = trim(vm, addr, size, newaddr, newsize, KVA__VM_LENT,
               __builtin_return_address(0));
    kva__budget_end(vm, err == 0);
    if (KVA_UNLIKELY(err == NOT_THERE)) {
        kva__arena_refuse(vm, addr, size, BT_XALLOC, func);
    }
    return err;
}

/* ---- splitting and joining -------------------------------------------- */

/* First bytes of a split: whole quanta, and something is left. */
static void
first_verify(kva_vmem_t *vm, const char *func, uintptr_t addr, size_t size,
             size_t first)
{
    size_t quantum = (size_t)1 << vm->quantum_shift;

    if (first == 0 || (first & (quantum - 1)) != 0 || first >= size) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected first of whole quanta below size %zu, found "
                    "first %zu",
                    size, first);
    }
}

static int
split(kva_vmem_t *vm, uintptr_t addr, size_t size, size_t first,
      vm_flag_t flags, const void *caller)
{
    struct kva_vmem_btag *bt;
    kva_irq_t irq;
    int err = KVA_ENOMEM;

    irq = kva_port_lock(&vm->lock);
    bt = kva__segment_lookup(vm, addr, size, BT_XALLOC);
    if (KVA_UNLIKELY(bt == NULL)) {
        kva_port_unlock(&vm->lock, irq);
        return NOT_THERE;
    }
    if (kva__budget_ensure(vm, KVA_VMEM_TAGS_XSPLIT, flags)) {
        kva__segment_split(vm, bt, addr + first);
        audit_resize(vm, KVA_VMEM_AUDIT_XSPLIT,
                     (struct kva__audit_change){ addr, addr, size, first },
                     caller);
        vm->stat.resize++;
        err = 0;
    }
    vm->stat.populate_fail += err != 0;
    kva_port_unlock(&vm->lock, irq);
    KVA_PARANOID(vmem_check(vm));
    return err;
}

int
vmem_xsplit(kva_vmem_t *vm, vmem_addr_t addr, vmem_size_t size,
            vmem_size_t first)
{
    static const char func[] = "vmem_xsplit";
    int err;

    if (!range_verify(vm, func, addr, &size)) {
        return KVA_EINVAL;
    }
    first_verify(vm, func, addr, size, first);
    err = split(vm, addr, size, first, 0, __builtin_return_address(0));
    if (KVA_UNLIKELY(err == NOT_THERE)) {
        kva__arena_refuse(vm, addr, size, BT_XALLOC, func);
    }
    return err;
}

int
vmem_xsplit_prepared(kva_vmem_t *vm, vmem_addr_t addr, vmem_size_t size,
                     vmem_size_t first)
{
    static const char func[] = "vmem_xsplit_prepared";
    int err;

    if (!range_verify(vm, func, addr, &size)) {
        return KVA_EINVAL;
    }
    first_verify(vm, func, addr, size, first);
    kva__budget_begin(vm, func);
    err =
        split(vm, addr, size, first, KVA__VM_LENT, __builtin_return_address(0));
    kva__budget_end(vm, err == 0);
    if (KVA_UNLIKELY(err == NOT_THERE)) {
        kva__arena_refuse(vm, addr, size, BT_XALLOC, func);
    }
    return err;
}

/*
 * Two segments side by side may still be of two spans, which came to be
 * neighbours by chance of imports; a caller cannot know, so it is an answer and
 * no report.
 */
int
vmem_xjoin(kva_vmem_t *vm, vmem_addr_t addr, vmem_size_t size1,
           vmem_size_t size2)
{
    static const char func[] = "vmem_xjoin";
    struct kva_vmem_btag *bt, *second;
    uintptr_t behind;
    kva_irq_t irq;
    int err = KVA_EINVAL;

    if (!range_verify(vm, func, addr, &size1)) {
        return KVA_EINVAL;
    }
    behind = addr + size1;
    if (!range_verify(vm, func, behind, &size2)) {
        return KVA_EINVAL;
    }
    irq = kva_port_lock(&vm->lock);
    bt = kva__segment_lookup(vm, addr, size1, BT_XALLOC);
    second = kva__segment_lookup(vm, behind, size2, BT_XALLOC);
    if (KVA_UNLIKELY(bt == NULL || second == NULL)) {
        kva_port_unlock(&vm->lock, irq);
        if (bt == NULL) {
            kva__arena_refuse(vm, addr, size1, BT_XALLOC, func);
        }
        kva__arena_refuse(vm, behind, size2, BT_XALLOC, func);
    }
    if (bt_next(bt) == second) {
        kva__segment_join(vm, bt);
        audit_resize(
            vm, KVA_VMEM_AUDIT_XJOIN,
            (struct kva__audit_change){ addr, addr, size1 + size2, size1 },
            __builtin_return_address(0));
        vm->stat.resize++;
        err = 0;
    }
    kva_port_unlock(&vm->lock, irq);
    KVA_PARANOID(vmem_check(vm));
    return err;
}

/* ---- extending -------------------------------------------------------- */

int
vmem_xextend(kva_vmem_t *vm, vmem_addr_t addr, vmem_size_t size,
             vmem_addr_t newaddr, vmem_size_t newsize)
{
    static const char func[] = "vmem_xextend";
    struct kva_vmem_btag *bt;
    kva_irq_t irq;
    int err = KVA_ENOMEM;

    if (!range_verify(vm, func, addr, &size)) {
        return KVA_EINVAL;
    }
    newsize = new_range_verify(vm, func, newaddr, newsize);
    if (!holds(newaddr, newsize, addr, size) ||
        newaddr + (newsize - 1) < newaddr) {
        kva__misuse(func, "arena", vm->name, newaddr,
                    "expected a range that holds 0x%lx of %zu bytes and does "
                    "not wrap, found size %zu",
                    (unsigned long)addr, size, newsize);
    }
    irq = kva_port_lock(&vm->lock);
    bt = kva__segment_lookup(vm, addr, size, BT_XALLOC);
    if (KVA_UNLIKELY(bt == NULL)) {
        kva_port_unlock(&vm->lock, irq);
        kva__arena_refuse(vm, addr, size, BT_XALLOC, func);
    }
    if (kva__segment_can_extend(bt, newaddr, newsize) &&
        (!kva__segment_moves_far(vm, bt, newaddr, newsize) ||
         kva__budget_ensure(vm, KVA_VMEM_TAGS_XEXTEND, 0))) {
        kva__segment_extend(vm, bt, newaddr, newsize);
        audit_resize(vm, KVA_VMEM_AUDIT_XEXTEND,
                     (struct kva__audit_change){ newaddr, addr, newsize, size },
                     __builtin_return_address(0));
        vm->stat.resize++;
        err = 0;
    }
    kva_port_unlock(&vm->lock, irq);
    KVA_PARANOID(vmem_check(vm));
    return err;
}
