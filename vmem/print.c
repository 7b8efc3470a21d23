/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arenas in print, for people and for debuggers.  The interface is NetBSD's,
 * the histogram of free sizes FreeBSD's DDB has.
 *
 * With "l" in modif no lock is taken: for a machine that has stopped, maybe
 * with a lock held or in the midst of a change.  Then tags are looked at before
 * they are followed, and lists end where they must have ended by count.
 */
#include "vmem/print.h"

#include "vmem/audit.h"
#include "vmem/cursor.h"
#include "vmem/indexed.h"

#if KVA_WORD_64
#define ADDR "0x%016lx"
#else
#define ADDR "0x%08lx"
#endif

void
kva__print_line(kva_vmem_pr_t *pr, const char *fmt, ...)
{
    char buf[KVA_MESSAGE_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)kva__vformat(buf, sizeof(buf), fmt, ap);
    va_end(ap);
    if (pr != NULL) {
        pr("%s\n", buf);
    } else {
        kva_port_log(buf);
    }
}

static bool
has(const char *modif, char c)
{
    for (; modif != NULL && *modif != '\0'; modif++) {
        if (*modif == c) {
            return true;
        }
    }
    return false;
}

/* ---- totals ------------------------------------------------------------ */

static void
print_totals(const kva_vmem_t *vm, size_t cached, kva_vmem_pr_t *pr)
{
    struct kva_vmem_stat stat, *st = &stat;

    kva__stat_get(vm, st);
    kva__print_line(pr, "arena %s at 0x%lx: quantum %zu, quantum caches to %zu",
                    vm->name, (unsigned long)(uintptr_t)vm,
                    (size_t)1 << vm->quantum_shift, vm->qcache_max);
    if (vm->source != NULL) {
        kva__print_line(pr, "  imports from arena %s", vm->source->name);
    }
    kva__print_line(pr, "  in use  %12zu  of      %12zu  cached   %12zu",
                    st->mem_inuse, st->mem_total, cached);
    kva__print_line(pr, "  spans   %12zu  imported%12zu  in bytes %12zu",
                    st->spans, st->spans_import, st->mem_import);
    kva__print_line(pr, "  busy    %12zu  free    %12zu  spare    %12zu",
                    st->tags_busy, st->tags_free, st->tags_spare);
    kva__print_line(pr, "  allocs  %12zu  frees   %12zu  waits    %12zu",
                    st->alloc, st->free, st->wait);
    kva__print_line(pr, "  fails   %12zu  no tags %12zu  injected %12zu",
                    st->fail, st->populate_fail, st->injected);
    kva__print_line(pr, "  lookups %12zu  searches%12zu  contains %12zu",
                    st->lookup, st->search, st->contains);
}

/* ---- spans and segments ------------------------------------------------ */

static void
sum_live(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    size_t *live = arg;

    (void)addr;
    (void)type;
    *live += size;
}

static const char *
state_name(enum btag_state state)
{
    switch (state) {
    case BT_FREE:
    case BT_FREE_HASHED:
        return "free  ";
    case BT_ALLOC:
        return "alloc ";
    case BT_XALLOC:
        return "xalloc";
    case BT_PIECE:
        return "qcache";
    case BT_DEFERRED:
        return "defer ";
    default:
        return "?     ";
    }
}

static void
print_tag(kva_vmem_t *vm, struct kva_vmem_btag *bt, kva_vmem_pr_t *pr)
{
    unsigned long first = (unsigned long)bt->start;
    size_t live = 0;

    if (bt_is_span(bt)) {
        first = (unsigned long)bt_span_start(bt);
        kva__print_line(pr, "  span     " ADDR " - " ADDR "%12zu%s", first,
                        (unsigned long)(bt->start - 1), bt_span_size(bt),
                        bt_state(bt) == BT_SPAN_IMPORT ? "  imported" : "");
    } else if (bt_state(bt) == BT_PIECE && vm->qcache != NULL) {
        kva__qcache_walk(vm, bt->start, bt_size(bt), VMEM_ALLOC, sum_live,
                         &live);
        kva__print_line(pr, "    qcache " ADDR " - " ADDR "%12zu  live %zu",
                        first, (unsigned long)(bt_next(bt)->start - 1),
                        bt_size(bt), live);
    } else {
        kva__print_line(pr, "    %s " ADDR " - " ADDR "%12zu",
                        state_name(bt_state(bt)), first,
                        (unsigned long)(bt_next(bt)->start - 1), bt_size(bt));
    }
}

static void
print_segments(kva_vmem_t *vm, bool locked, kva_vmem_pr_t *pr)
{
    struct kva_vmem_btag *bt;
    struct kva__cursor c;

    if (locked) {
        kva__cursor_begin(&c, vm);
    } else {
        kva__cursor_begin_wary(&c, vm);
    }
    while ((bt = kva__cursor_step(&c)) != NULL) {
        print_tag(vm, bt, pr);
    }
    kva__cursor_end(&c);
}

/* ---- free sizes -------------------------------------------------------- */

struct tally {
    size_t count, bytes;
    size_t left; /* tags until there cannot be more */
};

static void
tally_list(const kva_vmem_t *vm, unsigned c, struct tally *t)
{
    kva__btag_ref_t ref = vm->class_head[c];

    while (ref != BT_NONE && t->left > 0 && kva__btag_ref_is_ours(ref)) {
        struct kva_vmem_btag *bt = bt_at(ref);

        if (!kva__btag_is_ours(bt_next(bt))) {
            return;
        }
        t->left--;
        t->count++;
        t->bytes += bt_size(bt);
        ref = bt->u.link.next;
    }
}

static void
tally_tree(const kva_vmem_t *vm, unsigned c, struct tally *t)
{
    size_t visits = 0;
    struct kva_vmem_btag *bt = kva__order_best(vm->class_head[c], 0, &visits);

    for (; bt != NULL; bt = kva__order_next(vm->class_head[c], bt_size(bt),
                                            bt->start, &visits)) {
        t->count++;
        t->bytes += bt_size(bt);
    }
}

/* A row for each power of two: it is whole classes. */
static void
print_histogram(const kva_vmem_t *vm, bool locked, kva_vmem_pr_t *pr)
{
    struct tally t = { 0, 0, kva__btag_total() };
    unsigned bits = KVA__WORD_BITS - vm->quantum_shift;

    kva__print_line(pr, "  free segments of quanta          "
                        "       count         bytes");
    if (vm->index != NULL && !locked) {
        kva__print_line(pr, "    (in trees, not to be read without the lock)");
        return;
    }
    for (unsigned p = 0; p < bits; p++) {
        uintptr_t low = (uintptr_t)1 << p;
        uintptr_t high = low + (low - 1);

        t.count = t.bytes = 0;
        for (unsigned c = class_of(low); c <= class_of(high); c++) {
            (class_is_ordered(vm, c) ? tally_tree : tally_list)(vm, c, &t);
        }
        if (t.count != 0) {
            kva__print_line(pr, "    %12zu - %12zu    %12zu  %12zu",
                            (size_t)low, (size_t)high, t.count, t.bytes);
        }
    }
}

/* ---- the audit ring ---------------------------------------------------- */

void
kva__print_event(const struct kva_vmem_audit *event, const char *before,
                 kva_vmem_pr_t *pr)
{
    kva__print_line(
        pr, "%s%zu: %s " ADDR " of %zu bytes by " ADDR ", cpu %d, %llu ns",
        before, event->number, kva__audit_op_name(event->op),
        (unsigned long)event->addr, event->size,
        (unsigned long)(uintptr_t)event->caller, (int)event->cpu,
        (unsigned long long)event->time);
    if (event->part_size != 0) {
        kva__print_line(pr, "%s%zu:   part " ADDR " of %zu bytes", before,
                        event->number, (unsigned long)event->part_addr,
                        event->part_size);
    }
}

/* Was it this event by which [addr, addr + size - 1] came to be a range. */
static bool
event_made(const struct kva_vmem_audit *event, uintptr_t addr, size_t size)
{
    bool whole = event->addr == addr && event->size == size;
    bool part = event->part_addr == addr && event->part_size == size;

    switch (event->op) {
    case KVA_VMEM_AUDIT_FREE:
    case KVA_VMEM_AUDIT_XFREE:
        return false;
    case KVA_VMEM_AUDIT_XTRIM:
        return part;
    case KVA_VMEM_AUDIT_XSPLIT:
        return part || (addr == event->addr + event->part_size &&
                        size == event->size - event->part_size);
    default:
        return whole;
    }
}

static void
print_audit(const kva_vmem_t *vm, kva_vmem_pr_t *pr)
{
    size_t at = vm->audit_at;

    if (vm->audit == NULL) {
        kva__print_line(pr, "  no audit ring");
        return;
    }
    kva__print_line(pr, "  events, the oldest first");
    for (size_t i = 0; i < vm->audit_n; i++) {
        if (vm->audit[at].number != 0) {
            kva__print_event(&vm->audit[at], "    event ", pr);
        }
        at = at + 1 == vm->audit_n ? 0 : at + 1;
    }
}

/* ---- the public functions ---------------------------------------------- */

static void
print_arena(kva_vmem_t *vm, const char *modif, kva_vmem_pr_t *pr)
{
    bool locked = !has(modif, 'l');
    size_t cached = locked ? kva__qcache_cached(vm) : 0;
    kva_irq_t irq = 0;

    if (vm->quantum_shift >= KVA__WORD_BITS) {
        kva__print_line(pr, "arena at 0x%lx: damaged, quantum 2^%u",
                        (unsigned long)(uintptr_t)vm, vm->quantum_shift);
        return;
    }
    if (locked) {
        irq = kva_port_lock(&vm->lock);
    }
    print_totals(vm, cached, pr);
    if (!has(modif, 't')) {
        print_segments(vm, locked, pr);
        print_histogram(vm, locked, pr);
    }
    if (has(modif, 'a')) {
        print_audit(vm, pr);
    }
    if (locked) {
        kva_port_unlock(&vm->lock, irq);
    }
}

void
vmem_print(uintptr_t addr, const char *modif, kva_vmem_pr_t *pr)
{
    kva_vmem_t *vm = (kva_vmem_t *)addr;

    arena_alive(vm, "vmem_print");
    print_arena(vm, modif, pr);
}

void
vmem_printall(const char *modif, kva_vmem_pr_t *pr)
{
    bool locked = !has(modif, 'l');
    kva_irq_t irq = 0;

    if (locked && !kva__vmem_list_lock(&irq)) {
        return;
    }
    for (kva_vmem_t *vm = kva_vmem_list; vm != NULL; vm = vm->next) {
        print_arena(vm, modif, pr);
    }
    if (locked) {
        kva__vmem_list_unlock(irq);
    }
}

struct live {
    kva_vmem_t *vm;
    kva_vmem_pr_t *pr;
    size_t count, max;
};

static void
print_range(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    const struct kva_vmem_audit *event;
    struct live *live = arg;

    (void)type;
    if (live->count++ >= live->max) {
        return;
    }
    event = kva__audit_last(live->vm, addr);
    if (event == NULL || !event_made(event, addr, size)) {
        kva__print_line(live->pr, "arena %s: live " ADDR " of %zu bytes",
                        live->vm->name, (unsigned long)addr, size);
    } else {
        kva__print_line(live->pr,
                        "arena %s: live " ADDR " of %zu bytes, event %zu by "
                        "" ADDR,
                        live->vm->name, (unsigned long)addr, size,
                        event->number, (unsigned long)(uintptr_t)event->caller);
    }
}

size_t
vmem_print_live(kva_vmem_t *vm, size_t max, kva_vmem_pr_t *pr)
{
    struct live live = { vm, pr, 0, max };

    arena_alive(vm, "vmem_print_live");
    vmem_walk(vm, VMEM_ALLOC, print_range, &live);
    return live.count;
}
