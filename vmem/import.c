/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Spans from a source, and back.
 *
 *      request -> size -> import function -> span -> serves? -> joins the arena
 *                  |                                   |
 *                  | units of the import quantum,      no: back to the source
 *                  | 16 times with VM_LARGEIMPORT
 *
 * Kinds of import functions:
 *   request   gets the whole request and brings a span that satisfies it
 *   ximport   gets a size, and says how much it brought
 *   plain     gets a size
 * The last two know nothing of constraints, so they are asked for as much more
 * as any position may cost.  vmem_alloc itself as the import function, which
 * is how arenas have always been stacked, is as good as the first kind: a
 * constrained request goes to the source as it is.
 *
 * Import functions never sleep for the arena: whoever can wait does so in the
 * arena he asked, where frees of all sources wake him (wait.c).
 *
 * While a span is on its way somebody may free what the request needs; then
 * that is taken and the span goes back.  Spans that cannot go back (no release
 * function) join a neighbour, as if they were one: so adjacent imports can
 * serve what is larger than each (FreeBSD r364819).
 *
 * The arena lock is not held while the source works.  Tags for the span and for
 * what is cut out of it are set aside before: behind the import nothing fails.
 */
#include "vmem/audit.h"
#include "vmem/indexed.h"
#include "vmem/search.h"

/* With VM_LARGEIMPORT, how much more is imported: NetBSD's number. */
#define LARGE_SHIFT 4u

#define IMPORT_TAGS KVA_VMEM_TAGS_IMPORT(KVA_VMEM_TAGS_XALLOC)

/* ---- asking the source -------------------------------------------------- */

/* What importfn brings is made of whole quanta and does not wrap. */
static bool
import_is_good(const kva_vmem_t *vm, uintptr_t addr, size_t size, size_t wanted)
{
    uintptr_t low = ((uintptr_t)1 << vm->quantum_shift) - 1;

    return ((addr | size) & low) == 0 && size >= wanted &&
           addr + (size - 1) >= addr;
}

/* The request as the source is to see it. */
static struct kva__vmem_request
request_for_source(const kva_vmem_t *vm, const struct kva__vmem_request *rq,
                   size_t size)
{
    struct kva__vmem_request ask = *rq;

    ask.size = size;
    ask.flags = (rq->flags & ~(VM_SLEEP | VM_ONESTEP)) | VM_NOSLEEP;
    if (vm->source == NULL || (vm->source->flags & VM_INDEX) == 0) {
        ask.flags &= ~(VM_FIRSTFIT | VM_NEXTFIT);
    }
    if (size > rq->nocross) { /* more than one: it need not be in one piece */
        ask.nocross = 0;
    }
    return ask;
}

static int
ask_by_request(kva_vmem_t *vm, const struct kva__vmem_request *rq, size_t size,
               size_t *actual, uintptr_t *addr)
{
    struct kva__vmem_request ask = request_for_source(vm, rq, size);
    struct kva_vmem_request public = {
        .size = ask.size,
        .align = ask.align,
        .phase = ask.phase,
        .nocross = ask.nocross,
        .minaddr = ask.min,
        .maxaddr = ask.max,
        .flags = ask.flags,
    };

    *actual = size;
    return vm->rimportfn(vm->source, &public, actual, addr);
}

/*
 * The request in quanta of the source, which may be larger than the arena's:
 * from whole quanta to whole quanta around what is wanted, which begins phase
 * modulo the quantum into it.  The bounds are put to where that range may
 * start, so that what is wanted keeps to them.  A nocross may then not hold
 * for all of the range, so whoever imports looks whether it serves.
 */
static struct kva_vmem_request
request_widen(const kva_vmem_t *source, const struct kva_vmem_request *rq)
{
    size_t low = ((size_t)1 << source->quantum_shift) - 1;
    size_t within = rq->phase & low, span = within + (rq->size - 1);
    struct kva_vmem_request wide = *rq;
    uintptr_t first, last;

    wide.size = (span | low) + 1;
    wide.align = rq->align > low ? rq->align : low + 1;
    wide.phase = rq->phase & ~low;
    wide.nocross = rq->nocross < wide.size ? 0 : rq->nocross;
    first = rq->minaddr > within ? rq->minaddr - within : 0;
    last = (rq->maxaddr - span) & ~low;
    wide.minaddr = (first + low) & ~low;
    wide.maxaddr = last + (wide.size - 1);
    if (span < within || wide.size == 0 || rq->maxaddr < span ||
        wide.minaddr < first || wide.minaddr > last) {
        wide.size = 0; /* it does not exist */
    }
    return wide;
}

/* What stands for vmem_alloc as the import function: a range that vmem_free
 * takes back. */
static int
import_stacked(kva_vmem_t *source, const struct kva_vmem_request *rq,
               vmem_size_t *actual, vmem_addr_t *addr)
{
    struct kva_vmem_request wide = request_widen(source, rq);
    struct kva__vmem_request ask = {
        .size = wide.size,
        .align = wide.align,
        .phase = wide.phase,
        .nocross = wide.nocross,
        .min = wide.minaddr,
        .max = wide.maxaddr,
        .flags = wide.flags,
        .constrained = true,
        .optional = true,
    };

    *actual =
        rq->size + (rq->phase & (((size_t)1 << source->quantum_shift) - 1));
    if (wide.size == 0 || inject(source, ask.flags) ||
        kva__arena_take(source, &ask, BT_ALLOC, addr) != 0) {
        kva__wait_failed(source);
        return KVA_ENOMEM;
    }
    audit_note(source, KVA_VMEM_AUDIT_ALLOC, *addr, ask.size,
               __builtin_return_address(0));
    return 0;
}

/* Bytes above the size that any position may cost; false: too many. */
static bool
slack(const kva_vmem_t *vm, const struct kva__vmem_request *rq, size_t *size)
{
    size_t before = *size;

    if (rq->constrained) {
        *size += rq->align - ((size_t)1 << vm->quantum_shift);
        *size += rq->phase != 0 ? rq->align : 0;
        *size += rq->nocross != 0 ? rq->size : 0;
    }
    return *size >= before;
}

/* Does the source see the request as it is, or only a size. */
static bool
import_by_request(const kva_vmem_t *vm, const struct kva__vmem_request *rq)
{
    return vm->rimportfn != NULL && (rq->constrained || vm->importfn == NULL);
}

/* One span of size bytes or more for the request. */
static int
ask(kva_vmem_t *vm, const struct kva__vmem_request *rq, size_t size,
    size_t *actual, uintptr_t *addr)
{
    kva_vm_flag_t flags =
        (rq->flags & (VM_INSTANTFIT | VM_BESTFIT | VM_POPULATING | VM_ENDALLOC |
                      VM_RESERVE | KVA__VM_ADMITTED | KVA__VM_LENT)) |
        VM_NOSLEEP;

    if (import_by_request(vm, rq)) {
        return ask_by_request(vm, rq, size, actual, addr);
    }
    *actual = size;
    if ((vm->flags & VM_XIMPORT) != 0) {
        kva_vmem_ximport_t *ximport =
            (kva_vmem_ximport_t *)(void (*)(void))vm->importfn;

        return ximport(vm->source, size, actual, flags, addr);
    }
    return vm->importfn(vm->source, size, flags, addr);
}

/* May the arena grow by size bytes beside what is on its way.  Locked. */
static bool
limit_holds(const kva_vmem_t *vm, size_t size)
{
    return vm->limit == 0 ||
           (size <= vm->limit &&
            vm->stat.mem_total + vm->importing <= vm->limit - size);
}

/* May the arena grow by size bytes; if so they are counted as on their way. */
static bool
limit_allows(kva_vmem_t *vm, size_t size)
{
    bool ok;
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    ok = limit_holds(vm, size);
    vm->importing += ok ? size : 0;
    vm->crowded |= !ok && vm->importing != 0;
    kva_port_unlock(&vm->lock, irq);
    return ok;
}

/* What did not come does not count; who found no room beside it tries again. */
static void
limit_return(kva_vmem_t *vm, size_t size)
{
    kva_irq_t irq;
    bool crowded;

    irq = kva_port_lock(&vm->lock);
    vm->importing -= size;
    crowded = vm->crowded;
    vm->crowded = false;
    kva_port_unlock(&vm->lock, irq);
    if (crowded) {
        kva__wait_more(vm);
    }
}

/* The same, with as much more as the arena is meant to import at a time. */
static int
ask_amplified(kva_vmem_t *vm, const struct kva__vmem_request *rq,
              size_t *counted, size_t *actual, uintptr_t *addr)
{
    size_t least = rq->size, most;
    int err = KVA_ENOMEM;

    if (vm->import_quantum != 0) {
        least = kva_round_up(least, vm->import_quantum);
    }
    if (least < rq->size) {
        return KVA_ENOMEM;
    }
    most = (vm->flags & VM_LARGEIMPORT) != 0 ? least << LARGE_SHIFT : least;
    if (most >> LARGE_SHIFT != least) {
        most = least;
    }
    for (; err != 0; most = least) {
        size_t size = most;

        if ((import_by_request(vm, rq) || slack(vm, rq, &size)) &&
            limit_allows(vm, size)) {
            err = ask(vm, rq, size, actual, addr);
            *counted = size;
            if (err == 0) {
                break;
            }
            limit_return(vm, size);
        }
        if (most == least) {
            break;
        }
    }
    return err;
}

/* ---- joining the arena -------------------------------------------------- */

static bool
tags_set_aside(kva_vmem_t *vm, const struct kva__vmem_request *rq,
               struct kva_vmem_btag *tags[IMPORT_TAGS], unsigned n)
{
    kva_irq_t irq;
    bool ok;

    irq = kva_port_lock(&vm->lock);
    ok = kva__budget_ensure(vm, n, rq->flags);
    if (ok && vm->index != NULL && !budget_is_lent(rq->flags)) {
        vm->index->importing++;
    }
    for (unsigned i = 0; ok && i < n; i++) {
        tags[i] = kva__btag_take(vm);
    }
    vm->stat.populate_fail += !ok;
    kva_port_unlock(&vm->lock, irq);
    return ok;
}

/* What came, or the hole that holds it, and what is to be done with it. */
struct arrival {
    uintptr_t start;
    size_t size;
    bool served; /* the request has its range */
    bool joined; /* the span is the arena's */
};

/* Has somebody freed what the request needs.  Arena locked. */
static bool
served_meanwhile(kva_vmem_t *vm, const struct kva__vmem_request *rq,
                 enum btag_state state, uintptr_t *addr)
{
    struct kva__search search;

    kva__search_begin(&search, rq);
    if (kva__search_step(vm, &search) != KVA__SEARCH_FOUND) {
        return false;
    }
    kva__segment_cut(vm, search.hole, search.start, rq->size, state);
    vm->stat.alloc++;
    *addr = search.start;
    return true;
}

/*
 * The span joins the arena if it serves the request, or if it cannot be given
 * back.  Without addr it is imported ahead of need, and always joins.  Arena
 * locked, tags in the stock.
 */
static void
arrive(kva_vmem_t *vm, const struct kva__vmem_request *rq,
       enum btag_state state, uintptr_t *addr, struct arrival *a)
{
    bool keep = vm->releasefn == NULL;
    struct kva_vmem_btag *hole;
    uintptr_t at = 0;

    a->served = addr == NULL;
    a->joined = true;
    if (!keep && addr != NULL) {
        a->served = served_meanwhile(vm, rq, state, addr);
        a->joined =
            !a->served && limit_holds(vm, a->size) &&
            kva__request_fits(rq, a->start, a->start + (a->size - 1), &at);
    }
    if (!a->joined) {
        return;
    }
    hole =
        kva__span_join(vm, a->start, a->size, keep ? BT_SPAN : BT_SPAN_IMPORT);
    a->start = hole->start;
    a->size = bt_size(hole);
    if (addr != NULL &&
        kva__request_fits(rq, hole->start, bt_next(hole)->start - 1, &at)) {
        kva__segment_cut(vm, hole, at, rq->size, state);
        vm->stat.alloc++;
        *addr = at;
        a->served = true;
    }
}

void
kva__import_return(kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    vm->releasefn(vm->source, addr, size);
    kva__wait_released(vm); /* a source that is an arena wakes by itself */
}

/* With the lock dropped: what does not stay goes, what is over may serve
 * others.
 */
static int
arrival_end(kva_vmem_t *vm, size_t over, const struct arrival *a)
{
    if (!a->joined) {
        kva__import_return(vm, a->start, a->size);
    } else if (!a->served || over != 0) {
        kva__wait_freed(vm, a->start, a->size);
    }
    return a->served ? 0 : KVA_ENOMEM;
}

/*
 * A prepared request imports only what serves for certain: a span that came in
 * vain, and cannot be given back, would cost tags, here and below, and leave
 * the request prepared all the same.  An import function that is told a size
 * makes up for alignment (slack) but not for bounds.
 */
static bool
import_is_sure(const kva_vmem_t *vm, const struct kva__vmem_request *rq)
{
    return vm->rimportfn != NULL ||
           (rq->min == VMEM_ADDR_MIN && rq->max == VMEM_ADDR_MAX);
}

static bool
import_is_tried(const kva_vmem_t *vm, const struct kva__vmem_request *rq)
{
    return arena_imports(vm) &&
           (!budget_is_lent(rq->flags) || import_is_sure(vm, rq));
}

int
kva__import(kva_vmem_t *vm, const struct kva__vmem_request *rq,
            enum btag_state state, uintptr_t *addr)
{
    unsigned n = KVA_VMEM_TAGS_IMPORT(addr == NULL ? 0 : request_tags(rq));
    struct kva_vmem_btag *tags[IMPORT_TAGS];
    struct arrival a = { 0, 0, false, false };
    size_t counted = 0;
    bool good = true;
    kva_irq_t irq;
    int err;

    if (!import_is_tried(vm, rq) || !tags_set_aside(vm, rq, tags, n)) {
        return KVA_ENOMEM;
    }
    err = ask_amplified(vm, rq, &counted, &a.size, &a.start);
    irq = kva_port_lock(&vm->lock);
    for (unsigned i = 0; i < n; i++) {
        kva__btag_give(vm, tags[i]);
    }
    if (vm->index != NULL && !budget_is_lent(rq->flags)) {
        vm->index->importing--;
    }
    if (err == 0) {
        vm->importing -= counted;
        good = import_is_good(vm, a.start, a.size, rq->size);
    }
    if (err == 0 && good) {
        arrive(vm, rq, state, addr, &a);
    }
    kva_port_unlock(&vm->lock, irq);
    if (!good) {
        kva__misuse("importfn", "arena", vm->name, a.start,
                    "expected whole quanta of at least %zu bytes, found %zu",
                    rq->size, a.size);
    }
    return err != 0
               ? err
               : arrival_end(vm, a.size - (addr != NULL ? rq->size : 0), &a);
}

int
kva__import_ahead(kva_vmem_t *vm, size_t size)
{
    struct kva__vmem_request rq =
        request_plain(vm, size, VM_NOSLEEP | VM_POPULATING);

    return kva__import(vm, &rq, BT_FREE, NULL);
}

/* ---- and back ----------------------------------------------------------- */

/* The first imported span that is all free, taken out.  Arena locked. */
static bool
free_span_remove(kva_vmem_t *vm, size_t keep, uintptr_t *addr, size_t *size)
{
    for (kva__btag_ref_t ref = vm->span_first; ref != BT_NONE;) {
        struct kva_vmem_btag *span = bt_at(ref);
        struct kva_vmem_btag *bt = bt_next(span);

        ref = span->u.link.next;
        if (bt_is_free(bt) && bt_next(bt) == span &&
            vm->stat.mem_total - vm->stat.mem_inuse >=
                keep + bt_span_size(span)) {
            *addr = bt->start;
            *size = bt_span_size(span);
            kva__span_remove(vm, span);
            return true;
        }
    }
    return false;
}

size_t
kva__import_trim(kva_vmem_t *vm, size_t keep, vmem_release_t *fn)
{
    size_t done = 0, size = 0;
    uintptr_t addr = 0;
    kva_irq_t irq;
    bool more;

    do {
        irq = kva_port_lock(&vm->lock);
        more = free_span_remove(vm, keep, &addr, &size);
        kva_port_unlock(&vm->lock, irq);
        if (more) {
            fn(vm->source, addr, size);
            kva__wait_released(vm);
            done += size;
        }
    } while (more);
    return done;
}

/* ---- the functions of the interface ------------------------------------- */

static void
source_set(kva_vmem_t *vm, const char *func, vmem_release_t *releasefn,
           kva_vmem_t *source, vmem_size_t import_quantum)
{
    uintptr_t low = ((uintptr_t)1 << vm->quantum_shift) - 1;

    kva__budget_expect_none(vm, func);
    if (vm->span_first != BT_NONE) {
        kva__misuse(func, "arena", vm->name, (uintptr_t)vm,
                    "expected an arena without spans, found %zu bytes in them",
                    vm->stat.mem_total);
    }
    if (import_quantum != 0 &&
        (!kva_is_pow2(import_quantum) || (import_quantum & low) != 0)) {
        kva__misuse(func, "arena", vm->name, (uintptr_t)vm,
                    "expected an import quantum of 0 or a power of two from "
                    "%zu, found %zu",
                    (size_t)low + 1, import_quantum);
    }
    vm->releasefn = releasefn;
    vm->source = source;
    vm->import_quantum = import_quantum;
    vm->flags &= ~(VM_XIMPORT | KVA__VM_SAME);
}

/* At creation, or later. */
void
kva__import_init(kva_vmem_t *vm, vmem_import_t *importfn)
{
    bool stacked = importfn == vmem_alloc && (vm->flags & VM_XIMPORT) == 0;

    vm->importfn = importfn;
    vm->rimportfn = stacked ? import_stacked : NULL;
    vm->splitfn = NULL;
}

void
vmem_set_import(kva_vmem_t *vm, vmem_import_t *importfn,
                vmem_release_t *releasefn, kva_vmem_t *source,
                vmem_size_t import_quantum)
{
    arena_alive(vm, "vmem_set_import");
    source_set(vm, "vmem_set_import", releasefn, source, import_quantum);
    kva__import_init(vm, importfn);
}

void
vmem_set_rimport(kva_vmem_t *vm, vmem_rimport_t *importfn,
                 vmem_release_t *releasefn, kva_vmem_t *source,
                 vmem_size_t import_quantum)
{
    arena_alive(vm, "vmem_set_rimport");
    source_set(vm, "vmem_set_rimport", releasefn, source, import_quantum);
    vm->importfn = NULL;
    vm->rimportfn = importfn;
    vm->splitfn =
        importfn == (vmem_rimport_t *)vmem_rimport && releasefn == vmem_xfree
            ? kva__vmem_rsplit
            : NULL;
}

void
kva__vmem_set_split(kva_vmem_t *vm, kva__vmem_split_t *splitfn)
{
    vm->splitfn = splitfn;
}

void
kva__vmem_set_settle(kva_vmem_t *vm, size_t (*fn)(bool now))
{
    vm->settlefn = fn;
}

int
vmem_rimport(kva_vmem_t *source, const struct kva_vmem_request *rq,
             vmem_size_t *actual, vmem_addr_t *addr)
{
    struct kva_vmem_request wide = request_widen(source, rq);

    *actual = wide.size;
    return wide.size == 0 ? KVA_ENOMEM
                          : vmem_xalloc(source, wide.size, wide.align,
                                        wide.phase, wide.nocross, wide.minaddr,
                                        wide.maxaddr, wide.flags, addr);
}

/* One cut before the part and one behind it; the first is undone if the second
 * cannot be. */
int
kva__vmem_rsplit(kva_vmem_t *source, uintptr_t addr, size_t size,
                 uintptr_t part, size_t part_size)
{
    size_t low = ((size_t)1 << source->quantum_shift) - 1, head = part - addr;
    int err = 0;

    if (((part | part_size) & low) != 0) {
        return KVA_EINVAL;
    }
    if (head != 0) {
        err = vmem_xsplit(source, addr, size, head);
    }
    if (err == 0 && part_size != size - head) {
        err = vmem_xsplit(source, part, size - head, part_size);
        if (err != 0 && head != 0) {
            (void)vmem_xjoin(source, addr, head, size - head);
        }
    }
    return err;
}

bool
vmem_request_fits(const struct kva_vmem_request *rq, vmem_addr_t first,
                  vmem_addr_t last, vmem_addr_t *start)
{
    const struct kva__vmem_request ask = {
        .size = rq->size,
        .align = rq->align != 0 ? rq->align : 1,
        .phase = rq->phase,
        .nocross = rq->nocross,
        .min = rq->minaddr,
        .max = rq->maxaddr,
        .flags = rq->flags,
    };

    return kva__request_fits(&ask, first, last, start);
}

void
vmem_set_limit(kva_vmem_t *vm, vmem_size_t limit)
{
    kva_irq_t irq;

    arena_alive(vm, "vmem_set_limit");
    irq = kva_port_lock(&vm->lock);
    __atomic_store_n(&vm->limit, limit, __ATOMIC_RELAXED);
    kva_port_unlock(&vm->lock, irq);
    kva__wait_more(vm);
}
