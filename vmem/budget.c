/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operations that are prepared: tags set apart for them, so that they cannot
 * fail for want of tags, whatever others do meanwhile.
 *
 *      spare  |<---- free to all ---->|<---- reserved ---->|
 *                                      unit unit unit unit
 *                                      begun | prepared here, or in an arena
 *                                              that imports from here
 *
 * A UNIT is the most tags that one operation takes in the arena (budget.h).
 * vmem_prepare sets a unit apart for each operation in the arena and in each of
 * its source chain; the tags stay in the stock, there is only more of it.
 *
 *  B1  While nothing is begun, nspare >= reserved.  In between an operation
 *      that began lacks at most its own unit: nspare >= reserved - begun *
 *      unit.
 *  B2  Whoever has not prepared takes n tags only where nspare >= reserved + n
 *      (kva__budget_ensure), and the stock is not trimmed below (btag.c).
 *  B3  reserved = unit * promised, and promised = prepared here and in arenas
 *      above, begun or not.
 *
 * So a prepared operation finds its unit.  It begins in the arena that was
 * asked and in the whole chain, then works with KVA__VM_LENT in its flags,
 * which import functions hand down.  When it ends well, its unit is no longer
 * reserved, in the whole chain, even where nothing was imported: what it did
 * not take is free to all.  When it fails, all tags are back by then, and it
 * is prepared as before.  For that, no import may leave a span behind that is
 * not used (import_is_sure in import.c).
 *
 * An arena with an index needs nodes as well as tags.  They are reserved with
 * the tags, and left alone by others in the same way (indexed.c).
 *
 * The unit depends on whether the arena imports, and the chain on its source,
 * so neither may change while something is reserved.
 */
#include "vmem/vmem_impl.h"

_Static_assert(KVA_VMEM_TAGS_PREPARED(false) >= KVA_VMEM_TAGS_ALLOC &&
                   KVA_VMEM_TAGS_PREPARED(false) >= KVA_VMEM_TAGS_XALLOC &&
                   KVA_VMEM_TAGS_PREPARED(false) >= KVA_VMEM_TAGS_ADD &&
                   KVA_VMEM_TAGS_PREPARED(false) >= KVA_VMEM_TAGS_XTRIM &&
                   KVA_VMEM_TAGS_PREPARED(false) >= KVA_VMEM_TAGS_XSPLIT,
               "a unit covers each operation");
_Static_assert(KVA_VMEM_TAGS_PREPARED(true) >=
                       KVA_VMEM_TAGS_IMPORT(KVA_VMEM_TAGS_XALLOC) &&
                   KVA_VMEM_TAGS_PREPARED(true) >= KVA_VMEM_TAGS_XTRIM,
               "a unit covers each operation and its import");
_Static_assert(KVA_VMEM_BTS_GROUP ==
                   BT_GROUP_BYTES / sizeof(struct kva_vmem_btag),
               "as many tags in a group as budget.h says");

/* Tags that are reserved in one arena, at most: their number stays far from
 * wrapping, whatever is added to it. */
#define RESERVED_MAX (1u << 30)

static unsigned
unit_of(const kva_vmem_t *vm)
{
    return KVA_VMEM_TAGS_PREPARED(arena_imports(vm));
}

/* ---- reserving -------------------------------------------------------- */

/* What nops operations may take in this arena alone; false, nothing done. */
static bool
reserve(kva_vmem_t *vm, unsigned nops)
{
    unsigned more = nops * unit_of(vm);
    kva_irq_t irq;
    bool ok;

    irq = kva_port_lock(&vm->lock);
    ok = more <= RESERVED_MAX - vm->reserved &&
         kva__btag_ensure(vm, vm->reserved + more) &&
         kva__indexed_reserve(vm, vm->promised + nops);
    if (ok) {
        vm->reserved += more;
        vm->promised += nops;
    }
    vm->stat.populate_fail += !ok;
    kva_port_unlock(&vm->lock, irq);
    return ok;
}

/* The opposite, in vm and its sources up to but not including end. */
static void
unreserve(kva_vmem_t *vm, const kva_vmem_t *end, unsigned nops)
{
    for (; vm != end; vm = vm->source) {
        kva_irq_t irq;

        irq = kva_port_lock(&vm->lock);
        KVA_ASSERT(vm->promised >= nops && vm->reserved >= nops * unit_of(vm));
        vm->reserved -= nops * unit_of(vm);
        vm->promised -= nops;
        kva__btag_settle(vm);
        kva__indexed_settle(vm, vm->promised);
        kva_port_unlock(&vm->lock, irq);
    }
}

static void
prepared_add(kva_vmem_t *vm, unsigned nops)
{
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    vm->prepared += nops;
    kva_port_unlock(&vm->lock, irq);
}

/* In all of the chain, or in none.  *nops is how many. */
static int
attempt(kva_vmem_t *vm, const struct kva__vmem_request *rq,
        enum btag_state state, uintptr_t *nops)
{
    (void)rq;
    (void)state;
    for (kva_vmem_t *at = vm; at != NULL; at = at->source) {
        if (!reserve(at, (unsigned)*nops)) {
            unreserve(vm, at, (unsigned)*nops);
            return KVA_ENOMEM;
        }
    }
    prepared_add(vm, (unsigned)*nops);
    return 0;
}

int
vmem_prepare(kva_vmem_t *vm, unsigned nops, vm_flag_t flags)
{
    uintptr_t n = nops;
    struct kva__vmem_request rq;

    arena_alive(vm, "vmem_prepare");
    if (flags != VM_SLEEP && flags != VM_NOSLEEP) {
        kva__misuse("vmem_prepare", "arena", vm->name, 0,
                    "expected one of VM_SLEEP and VM_NOSLEEP, found flags "
                    "0x%x",
                    flags);
    }
    if (nops > RESERVED_MAX / KVA_VMEM_TAGS_PREPARED(true)) {
        return KVA_ENOMEM;
    }
    /* Like a request for anything: any free may bring tags. */
    rq = request_plain(vm, (size_t)1 << vm->quantum_shift, flags);
    return kva__arena_persist(vm, &rq, BT_FREE, &n, attempt);
}

void
vmem_unprepare(kva_vmem_t *vm, unsigned nops)
{
    unsigned prepared;
    kva_irq_t irq;

    arena_alive(vm, "vmem_unprepare");
    irq = kva_port_lock(&vm->lock);
    prepared = vm->prepared;
    if (nops <= prepared) {
        vm->prepared -= nops;
    }
    kva_port_unlock(&vm->lock, irq);
    if (nops > prepared) {
        kva__misuse("vmem_unprepare", "arena", vm->name, 0,
                    "expected at most the %u operations that are prepared, "
                    "found %u",
                    prepared, nops);
    }
    unreserve(vm, NULL, nops);
    kva__wait_more(vm); /* who waits for tags may have them */
}

void
kva__budget_fini(kva_vmem_t *vm)
{
    if (vm->prepared != 0) {
        vmem_unprepare(vm, vm->prepared);
    }
}

void
kva__budget_expect_none(kva_vmem_t *vm, const char *func)
{
    if (vm->reserved != 0) {
        kva__misuse(func, "arena", vm->name, 0,
                    "expected no prepared operation, found %u tags reserved",
                    vm->reserved);
    }
}

/* ---- using ------------------------------------------------------------ */

bool
kva__budget_lends(kva_vmem_t *vm)
{
    kva_irq_t irq;
    bool lends;

    irq = kva_port_lock(&vm->lock);
    lends = vm->begun != 0;
    kva_port_unlock(&vm->lock, irq);
    return lends;
}

static _Noreturn void
none_left(kva_vmem_t *vm, const char *func)
{
    kva__misuse(func, "arena", vm->name, 0,
                "expected a prepared operation, found none left");
}

void
kva__budget_expect(kva_vmem_t *vm, const char *func)
{
    kva_irq_t irq;
    bool left;

    irq = kva_port_lock(&vm->lock);
    left = vm->prepared != 0;
    kva_port_unlock(&vm->lock, irq);
    if (!left) {
        none_left(vm, func);
    }
}

void
kva__budget_begin(kva_vmem_t *vm, const char *func)
{
    kva_irq_t irq;
    bool left;

    irq = kva_port_lock(&vm->lock);
    left = vm->prepared != 0;
    vm->prepared -= left;
    vm->begun += left;
    kva_port_unlock(&vm->lock, irq);
    if (!left) {
        none_left(vm, func);
    }
    while ((vm = vm->source) != NULL) {
        irq = kva_port_lock(&vm->lock);
        vm->begun++;
        kva_port_unlock(&vm->lock, irq);
    }
}

void
kva__budget_end(kva_vmem_t *vm, bool used)
{
    if (!used) {
        prepared_add(vm, 1);
    }
    for (kva_vmem_t *at = vm; at != NULL; at = at->source) {
        kva_irq_t irq;

        irq = kva_port_lock(&at->lock);
        KVA_ASSERT(at->begun != 0);
        at->begun--;
        if (used) {
            KVA_ASSERT(at->promised != 0 && at->reserved >= unit_of(at));
            at->reserved -= unit_of(at);
            at->promised--;
        }
        kva_port_unlock(&at->lock, irq);
    }
    if (used) {
        kva__wait_more(vm); /* what was not taken is everybody's now */
    }
}

int
kva__budget_take(kva_vmem_t *vm, const struct kva__vmem_request *rq,
                 enum btag_state state, uintptr_t *addr, const char *func)
{
    struct kva__vmem_request lent = *rq;
    int err;

    lent.flags = (rq->flags & ~VM_PREPARED) | KVA__VM_LENT;
    kva__budget_begin(vm, func);
    err = kva__arena_take(vm, &lent, state, addr);
    kva__budget_end(vm, err == 0);
    return err;
}
