/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which span, segment or item an address lies in.
 *
 * An arena with an index looks there.  Others keep no order of spans and none
 * of segments by address: look at one after the other, with a cursor that keeps
 * the place while the lock is dropped.  Meanwhile the cursor may be moved past
 * the address; then the tag is found in front of it.
 */
#include "vmem/locate.h"

#include "vmem/cursor.h"
#include "vmem/indexed.h"

/* One more tag was looked at: give others the lock after each 64. */
static void
pause_at(kva_vmem_t *vm, unsigned *steps, kva_irq_t *irq)
{
    vm->stat.contains_search++;
    if (++*steps == KVA__CURSOR_STEP) {
        *steps = 0;
        kva_port_unlock(&vm->lock, *irq);
        *irq = kva_port_lock(&vm->lock);
    }
}

static bool
span_has(const struct kva_vmem_btag *span, uintptr_t addr)
{
    return addr - bt_span_start(span) < bt_span_size(span);
}

/* The cursor to behind the tag of the span that holds addr. */
static struct kva_vmem_btag *
seek_span(struct kva__cursor *c, uintptr_t addr, unsigned *steps,
          kva_irq_t *irq)
{
    struct kva_vmem_btag *span;

    while ((span = kva__cursor_step(c)) != NULL) {
        if (span_has(span, addr)) {
            c->vm->stat.contains_search++;
            return span;
        }
        kva__cursor_skip_span(c);
        pause_at(c->vm, steps, irq);
    }
    return NULL;
}

/* With an index, in one step: the last span that begins at or before addr. */
static struct kva_vmem_btag *
indexed_span(kva_vmem_t *vm, uintptr_t addr)
{
    struct kva_vmem_btag *span =
        kva__index_before(&vm->index->spans, addr, &vm->stat.contains_search);

    return span != NULL && span_has(span, addr) ? span : NULL;
}

struct kva_vmem_btag *
kva__span_holding(kva_vmem_t *vm, uintptr_t addr, kva_irq_t *irq)
{
    struct kva_vmem_btag *span;
    struct kva__cursor c;
    unsigned steps = 0;

    vm->stat.contains++;
    if (vm->index != NULL) {
        return indexed_span(vm, addr);
    }
    kva__cursor_begin(&c, vm);
    span = seek_span(&c, addr, &steps, irq);
    kva__cursor_end(&c);
    return span;
}

/*
 * The cursor stands in the span that holds addr, or has been moved out of it.
 * The last address of a segment is compared, since the last of all has none
 * behind it.
 */
static struct kva_vmem_btag *
seek_segment(struct kva__cursor *c, struct kva_vmem_btag *span, uintptr_t addr,
             unsigned *steps, kva_irq_t *irq)
{
    struct kva_vmem_btag *bt = NULL;

    while (c->span == span && c->at != NULL) {
        bt = c->at;
        if (bt != span && bt_next(bt)->start - 1 < addr) {
            (void)kva__cursor_step(c);
            pause_at(c->vm, steps, irq);
            continue;
        }
        while (bt == span || bt->start > addr) { /* it was moved past it */
            bt = bt_prev(bt);
            c->vm->stat.contains_search++;
        }
        return bt;
    }
    return NULL;
}

struct kva_vmem_btag *
kva__segment_holding(kva_vmem_t *vm, uintptr_t addr,
                     struct kva_vmem_btag **span, kva_irq_t *irq)
{
    struct kva_vmem_btag *bt = NULL;
    struct kva__cursor c;
    unsigned steps = 0;

    vm->stat.contains++;
    if (vm->index != NULL) {
        *span = indexed_span(vm, addr);
        return *span == NULL ? NULL
                             : kva__index_at(&vm->index->segments, addr,
                                             &vm->stat.contains_search);
    }
    kva__cursor_begin(&c, vm);
    *span = seek_span(&c, addr, &steps, irq);
    if (*span != NULL) {
        bt = seek_segment(&c, *span, addr, &steps, irq);
    }
    kva__cursor_end(&c);
    return bt;
}

/* ---- the public functions --------------------------------------------- */

bool
vmem_contains(kva_vmem_t *vm, vmem_addr_t addr, vmem_size_t size)
{
    struct kva_vmem_btag *span;
    bool inside = false;
    kva_irq_t irq;

    arena_alive(vm, "vmem_contains");
    if (size == 0) {
        kva__misuse("vmem_contains", "arena", vm->name, addr,
                    "expected a size above 0, found size 0");
    }
    irq = kva_port_lock(&vm->lock);
    span = kva__span_holding(vm, addr, &irq);
    if (span != NULL) {
        /* What is left of the span from addr on, which it has. */
        inside = size - 1 <= span->start - 1 - addr;
    }
    kva_port_unlock(&vm->lock, irq);
    return inside;
}

/* Addresses come and go, an item stays while it is live: so no lock here. */
static void
describe_item(kva_vmem_t *vm, uintptr_t addr, struct kva_vmem_segment *seg)
{
    uintptr_t base = 0;
    size_t size = 0;
    unsigned type = kva__qcache_item(vm, addr, &base, &size);

    if (type != 0 && base - seg->addr < seg->size &&
        size <= seg->size - (base - seg->addr)) {
        seg->addr = base;
        seg->size = size;
        seg->kind =
            type == VMEM_ALLOC ? KVA_VMEM_KIND_LIVE : KVA_VMEM_KIND_CACHED;
    }
}

static enum kva_vmem_kind
kind_of(enum btag_state state)
{
    switch (state) {
    case BT_ALLOC:
        return KVA_VMEM_KIND_ALLOC;
    case BT_XALLOC:
        return KVA_VMEM_KIND_XALLOC;
    case BT_PIECE:
        return KVA_VMEM_KIND_PIECE;
    case BT_DEFERRED:
        return KVA_VMEM_KIND_KEPT;
    default:
        return KVA_VMEM_KIND_FREE;
    }
}

int
vmem_find(kva_vmem_t *vm, vmem_addr_t addr, struct kva_vmem_segment *seg)
{
    struct kva_vmem_btag *span, *bt;
    kva_irq_t irq;

    arena_alive(vm, "vmem_find");
    irq = kva_port_lock(&vm->lock);
    bt = kva__segment_holding(vm, addr, &span, &irq);
    if (bt != NULL) {
        seg->addr = bt->start;
        seg->size = bt_size(bt);
        seg->kind = kind_of(bt_state(bt));
        seg->span_addr = bt_span_start(span);
        seg->span_size = bt_span_size(span);
        seg->imported = bt_state(span) == BT_SPAN_IMPORT;
    }
    kva_port_unlock(&vm->lock, irq);
    if (bt == NULL) {
        return KVA_ENOENT;
    }
    if (seg->kind == KVA_VMEM_KIND_PIECE) {
        describe_item(vm, addr, seg);
    }
    return 0;
}
