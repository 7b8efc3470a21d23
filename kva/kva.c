/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tower of arenas: starting, ending, and what it holds.
 *
 * kernel_va_arena is the one allocator of kernel VA; no map has a say in it.
 * It is made first, from donated tags if need be, and never sleeps for anything
 * but itself.  Arenas above import in large pieces: a unit of address space,
 * so that the number of spans, which cannot be joined, stays small.
 *
 * Metadata pages come from the port and not from an arena (port.h, meta_get),
 * so there is no arena for metadata whose tags would need metadata.
 */
#include "kva/kva_impl.h"

#include "kva/sizing.h"
#include "reclaim/pagedaemon.h"
#include "vmem/reserve.h"

kva_vmem_t *kva_kernel_va_arena;
kva_vmem_t *kva_heap_arena;
kva_vmem_t *kva_heap_va_arena;
kva_vmem_t *kva_kmem_arena;
kva_vmem_t *kva_kmem_movable_arena;
kva_vmem_t *kva_kmem_intr_arena;
kva_vmem_t *kva_kmem_permanent_arena;
static kva_vmem_t *reserve_arena;
enum kva_mode kva__mode;

/* Storage of the arenas: they are there before any allocator. */
static struct kva_vmem kernel_va_store, heap_store, heap_va_store, kmem_store,
    movable_store, intr_store, permanent_store, reserve_store;

/* Sizes up to this come from quantum caches: slabs of up to 32 pages. */
#define QCACHE_MAX (32 * KVA_PAGE_SIZE)

static struct {
    size_t unit;          /* address space imported at a time */
    size_t intr_mark;     /* bytes kept wired for interrupts */
    size_t intr_bytes;    /* the same, from kva_boot to kva_start */
    size_t reserve_bytes; /* the same */
    struct kva_cleaner heap_va, kmem, movable, map;
} kva;

/* ---- address space ---------------------------------------------------- */

/* A unit, or several, aligned to a unit; or just what is asked for. */
static int
unit_import(kva_vmem_t *source, const struct kva_vmem_request *rq,
            size_t *actual, uintptr_t *addr)
{
    size_t units = kva_round_up(rq->size, kva.unit);
    bool anywhere = rq->minaddr == VMEM_ADDR_MIN &&
                    rq->maxaddr == VMEM_ADDR_MAX && rq->phase == 0 &&
                    (rq->nocross == 0 || rq->nocross <= kva.unit);

    if (anywhere && units >= rq->size && rq->align <= kva.unit &&
        vmem_xalloc(source, units, kva.unit, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                    rq->flags, addr) == 0) {
        *actual = units;
        return 0;
    }
    *actual = rq->size;
    return vmem_xalloc(source, rq->size, rq->align, rq->phase, rq->nocross,
                       rq->minaddr, rq->maxaddr, rq->flags, addr);
}

static void
unit_release(kva_vmem_t *source, uintptr_t addr, size_t size)
{
    vmem_xfree(source, addr, size);
}

/* ---- starting --------------------------------------------------------- */

/* Addresses that are kept back, where the context allows to unmap: as far as is
 * known a thread's. */
static void
press_lazy(kva_vmem_t *vm, vm_flag_t flags)
{
    bool thread = (flags & VM_SLEEP) != 0;

    (void)vm;
#if KVA_TIER >= 3
    thread = kva_port_may_sleep();
#endif
    if (thread) {
        (void)kva__lazy_press();
    }
}

/*
 * What an arena does when it has nothing left: whoever can wait has the caches
 * above it give back as much as he wants (pools register with reclaim); and if
 * that did not do, and he is in the queue, more (vmem/persist.c).  From there on
 * it is the pagedaemon's too, which sees him only now: what was missing may be
 * addresses, or frames of the port's, which are nobody's event, and the pass that
 * was made for him may have been none, as another one was under way.  For who was
 * turned away by that, all is asked for that there is, unless there is a
 * pagedaemon, which knows how much he wants.  Where there is one, it is also that
 * which goes on when his own pass has looked at enough.
 */
size_t
kva__press_caches(kva_vmem_t *vm, const struct kva__vmem_request *rq,
                  size_t bytes, bool hard)
{
    enum kva_urgency urgency = hard ? KVA_URGENCY_OOM : KVA_URGENCY_MEDIUM;
    size_t work = KVA_WORK_ALL, got = 0;
    bool attended = false;

    if (!kva__wait_possible(rq->flags)) {
#if KVA_TIER >= 3
        kva_pagedaemon_wake();
#endif
        return 0;
    }
#if KVA_TIER >= 3
    attended = kva__pagedaemon_attended();
    if (attended) {
        work = KVA_PAGEDAEMON_WORK + (bytes >> KVA_PAGE_SHIFT);
    }
#endif
    if (bytes != KVA__PRESS_ALL || !attended) {
        got = kva_reclaim_pass(bytes, urgency, &work);
    }
#if KVA_TIER >= 3
    if (kva__wait_for(vm)) {
        kva_pagedaemon_wake();
    }
#else
    (void)vm;
#endif
    return got;
}

/* The same for addresses: those that were freed within pageable ranges. */
static void
press_map(kva_vmem_t *vm, vm_flag_t flags)
{
    (void)vm;
    if (kva__wait_possible(flags)) {
        kva__map_settle();
    }
    press_lazy(vm, flags);
}

static size_t
arena_clean(void *arg, struct kva_want *want)
{
    kva_vmem_t **vm = arg;

    return vmem_drain(*vm, want->bytes, want->retain);
}

/* Addresses only: no byte reaches the page supply. */
static size_t
map_clean(void *arg, struct kva_want *want)
{
    (void)arg;
    (void)want;
    kva__map_settle();
    return 0;
}

static void
cleaner_begin(struct kva_cleaner *cl, kva_vmem_t **vm, const char *name)
{
    cl->clean = arena_clean;
    cl->arg = vm;
    cl->name = name;
    cl->stage = KVA_STAGE_SPANS;
    kva_reclaim_register(cl);
}

/* An arena whose pages come and go as they are wanted; false: no memory. */
static bool
wired_arena(kva_vmem_t **vm, struct kva_vmem *store, const char *name,
            kva_vmem_t *source)
{
    *vm = vmem_init(store, name, 0, 0, KVA_PAGE_SIZE, NULL, kva__wire_release,
                    source, QCACHE_MAX, VM_NOSLEEP, KVA_IPL_NONE);
    if (*vm != NULL) {
        kva__vmem_set_press(*vm, kva__press_caches);
        vmem_set_rimport(*vm, kva__wire_import, kva__wire_release, source, 0);
        kva__vmem_set_split(*vm, kva__wire_split);
        if (kva__mode == KVA_MODE_VA) {
            kva__vmem_set_settle(*vm, kva__lazy_settle);
            vmem_set_reclaim(*vm, press_lazy);
        }
    }
    return *vm != NULL;
}

/*
 * What the entitled take of the wired arenas when those have nothing.  It has no
 * quantum caches, and a range leaves it when it is freed: nobody else gets what
 * came from the reserve.  For interrupts it has what may be mapped then, which
 * is nothing unless frames are addresses.
 */
static int
reserve_begin(kva_vmem_t *source)
{
    if (!KVA_RESERVES) {
        return 0;
    }
    reserve_arena =
        vmem_init(&reserve_store, "kmem_reserve", 0, 0, KVA_PAGE_SIZE, NULL,
                  kva__wire_release, source, 0, VM_NOSLEEP, KVA_IPL_VM);
    if (reserve_arena == NULL) {
        return KVA_ENOMEM;
    }
    reserve_arena->flags |= KVA__VM_APART;
    vmem_set_rimport(reserve_arena, kva__wire_reserve_import, kva__wire_release,
                     source, 0);
    kva__vmem_set_reserve(kva_kmem_arena, reserve_arena);
    kva__vmem_set_reserve(kva_kmem_movable_arena, reserve_arena);
    kva__vmem_set_reserve(kva_kmem_intr_arena, reserve_arena);
    return 0;
}

/* kmem_arena, its sibling and kmem_intr_arena, whatever is below them.  The
 * sibling costs 3.3 KB of static storage and 1.5 KB of metadata; the rest
 * comes with the first slab in it. */
static int
wired_arenas(kva_vmem_t *source)
{
    if (!wired_arena(&kva_kmem_arena, &kmem_store, "kmem", source) ||
        !wired_arena(&kva_kmem_movable_arena, &movable_store, "kmem_movable",
                     source)) {
        return KVA_ENOMEM;
    }
    kva_kmem_intr_arena =
        vmem_init(&intr_store, "kmem_intr", 0, 0, KVA_PAGE_SIZE, NULL, NULL,
                  source, QCACHE_MAX, VM_NOSLEEP, KVA_IPL_VM);
    if (kva_kmem_intr_arena == NULL) {
        return KVA_ENOMEM;
    }
    /* What is imported ahead stays, but its owner may give it back. */
    kva_kmem_intr_arena->flags |= KVA__VM_APART;
    vmem_set_rimport(kva_kmem_intr_arena, kva__wire_intr_import, NULL, source,
                     0);
    if (!kva__permanent_init(&permanent_store,
                             source != NULL ? kva_kernel_va_arena : NULL)) {
        return KVA_ENOMEM;
    }
    cleaner_begin(&kva.kmem, &kva_kmem_arena, "kmem_arena");
    cleaner_begin(&kva.movable, &kva_kmem_movable_arena, "kmem_movable_arena");
    return reserve_begin(source);
}

static int
heap_arenas(void)
{
    kva_heap_arena =
        vmem_init(&heap_store, "heap", 0, 0, KVA_PAGE_SIZE, NULL, unit_release,
                  kva_kernel_va_arena, 0, VM_NOSLEEP, KVA_IPL_VM);
    kva_heap_va_arena = vmem_init(
        &heap_va_store, "heap_va", 0, 0, KVA_PAGE_SIZE, NULL, unit_release,
        kva_heap_arena, QCACHE_MAX, VM_NOSLEEP, KVA_IPL_VM);
    if (kva_heap_arena == NULL || kva_heap_va_arena == NULL) {
        return KVA_ENOMEM;
    }
    vmem_set_reclaim(kva_heap_arena, press_lazy);
    vmem_set_reclaim(kva_heap_va_arena, press_lazy);
    kva__vmem_set_press(kva_heap_va_arena, kva__press_caches);
    vmem_set_rimport(kva_heap_arena, unit_import, unit_release,
                     kva_kernel_va_arena, 0);
    vmem_set_rimport(kva_heap_va_arena, unit_import, unit_release,
                     kva_heap_arena, 0);
    kva_heap_arena->flags |= KVA__VM_SAME;
    kva_heap_va_arena->flags |= KVA__VM_SAME;
    cleaner_begin(&kva.heap_va, &kva_heap_va_arena, "heap_va_arena");
    kva.map.clean = map_clean;
    kva.map.name = "kernel_map";
    kva.map.stage = KVA_STAGE_SPANS;
    kva_reclaim_register(&kva.map);
    return 0;
}

/* Report what is live in an arena; what is only cached goes back. */
static void
arena_idle(kva_vmem_t *vm)
{
    if (vm == NULL) {
        return;
    }
    kva__arena_expect_idle(vm, "kva_shutdown");
    if (vm->qcache != NULL) {
        kva__qcache_drain(vm, SIZE_MAX, 0, KVA__DRAIN_ALONE);
    }
}

static void
cleaner_end(struct kva_cleaner *cl)
{
    if (cl->clean != NULL) {
        kva_reclaim_unregister(cl);
        cl->clean = NULL;
    }
}

static void
arena_end(kva_vmem_t **vm)
{
    if (*vm != NULL) {
        vmem_destroy(*vm);
        *vm = NULL;
    }
}

/* Arenas to nothing again, in the reverse order of their making; but first all
 * are looked at, so that a live range is reported before anything is ended. */
void
kva_shutdown(void)
{
    if (kva__mode == KVA_MODE_NONE) {
        return;
    }
    kva__stacks_expect_none("kva_shutdown");
    kva__map_fini();
    cleaner_end(&kva.kmem);
    cleaner_end(&kva.movable);
    cleaner_end(&kva.heap_va);
    cleaner_end(&kva.map);
    arena_idle(kva_kmem_intr_arena);
    if (kva_kmem_intr_arena != NULL) {
        kva__import_trim(kva_kmem_intr_arena, 0, kva__wire_release);
    }
    arena_idle(kva_kmem_arena);
    arena_idle(kva_kmem_movable_arena);
    arena_idle(reserve_arena);
    kva__permanent_fini();
    (void)kva__lazy_press();
    arena_idle(kva_heap_va_arena);
    arena_idle(kva_heap_arena);
    arena_idle(kva_kernel_va_arena);
    arena_end(&kva_kmem_permanent_arena);
    arena_end(&kva_kmem_intr_arena);
    arena_end(&kva_kmem_arena);
    arena_end(&kva_kmem_movable_arena);
    arena_end(&reserve_arena);
    arena_end(&kva_heap_va_arena);
    arena_end(&kva_heap_arena);
    arena_end(&kva_kernel_va_arena);
    kva__wire_fini();
    kva__meta_stock_set(0);
    kva__mode = KVA_MODE_NONE;
    kva__meta_port_ready(true);
    if (kva_vmem_list == NULL) { /* the caller may have arenas of his own */
        vmem_fini();
    }
}

static void
boot_verify(const char *func)
{
    if (kva__mode != KVA_MODE_NONE) {
        kva__misuse(func, "arena", "kernel_va", 0,
                    "expected a tower not yet booted, found it booted");
    }
}

/* What a port of a lower tier goes without, for the log. */
static void
say_what_is_off(void)
{
    if (KVA_TIER < 1) {
        kva__log("kva: tier 0: no CPU slots, every request takes a lock");
    }
    if (KVA_TIER < 3) {
        kva__log("kva: tier %d: nothing waits, VM_SLEEP fails as VM_NOSLEEP",
                 KVA_TIER);
    }
}

int
kva_boot_simple(void *base, size_t bytes)
{
    uintptr_t first = kva_round_up((uintptr_t)base, KVA_PAGE_SIZE);
    uintptr_t end = kva_round_down((uintptr_t)base + bytes, KVA_PAGE_SIZE);
    size_t meta;

    boot_verify("kva_boot_simple");
    if (bytes < KVA_BOOT_SIMPLE_MIN) {
        return KVA_EINVAL;
    }
    /*
     * For metadata: a 64th of the region, which is what tags, windows and slab
     * headers take when it is full; and what the caches of kmem take however
     * small it is, 256 KiB, but no more than a 16th.
     */
    meta = (end - first) / 16;
    if (meta > (size_t)256 << 10) {
        meta = (size_t)256 << 10;
    }
    meta = kva_round_up(meta + (end - first) / 64, KVA_PAGE_SIZE);
    if (meta < KVA_BOOT_SIMPLE_META) {
        meta = KVA_BOOT_SIMPLE_META;
    }
    vmem_bootstrap(NULL, 0);
    kva__meta_donate((void *)first, meta);
    kva__meta_port_ready(false); /* nothing of the port but locks and panic */
    kva__wire_init(0);
    kva.reserve_bytes = 0;
    kva.intr_mark = 0;
    kva__map_init();
    kva__stacks_boot();
    kva__mode = KVA_MODE_REGION;
    kva_kernel_va_arena = vmem_init(&kernel_va_store, "kernel_va", first + meta,
                                    end - first - meta, KVA_PAGE_SIZE, NULL,
                                    NULL, NULL, 0, VM_NOSLEEP, KVA_IPL_VM);
    if (kva_kernel_va_arena == NULL || wired_arenas(kva_kernel_va_arena) != 0) {
        kva_shutdown();
        return KVA_ENOMEM;
    }
    kva__wire_start();
    say_what_is_off();
    return 0;
}

/* ---- limits ------------------------------------------------------------ */

static size_t
as_size(uint64_t x)
{
    return x > SIZE_MAX ? SIZE_MAX : (size_t)x;
}

/* What the kernel says, or else the rule, which is no limit if it does not know
 * how much memory there is. */
static size_t
limit_of(size_t said, uint64_t rule)
{
    if (said == 0) {
        said = as_size(rule) & ~KVA_PAGE_MASK;
    }
    return said >= SIZE_MAX - KVA_PAGE_MASK ? 0 : said;
}

/* The limits of the heap's addresses and of what is wired, 0: none.  Sets the
 * unit, too. */
static void
limits_find(const struct kva_boot *kb, size_t *heap, size_t *wired)
{
    uint64_t va = KVA_TIER < 2 ? UINT64_MAX : kb->va_bytes;
    struct kva_sizing rule;

    kva_sizing(kb->ram_bytes, va, (unsigned)sizeof(uintptr_t) * 8u, &rule);
    kva.unit = (size_t)rule.unit;
    *wired = limit_of(kb->wired_limit, rule.wired);
    *heap = limit_of(kb->heap_bytes, rule.heap_va);
    if (*heap != 0 && kva_round_up(*heap, kva.unit) != 0) {
        *heap = kva_round_up(*heap, kva.unit);
    }
}

/* wire.c counts what all arenas wire; told to each of them, the limit lets a
 * request fail that could never be met, however long it waited. */
static void
limits_set(size_t heap, size_t wired)
{
    if (KVA_TIER >= 2) {
        vmem_set_limit(kva_heap_arena, heap);
    }
    vmem_set_limit(kva_kmem_arena, wired);
    vmem_set_limit(kva_kmem_movable_arena, wired);
    vmem_set_limit(kva_kmem_permanent_arena, wired);
}

/*
 * Of what may be wired a 64th, as long as that is no more than 16 MiB: what
 * Linux keeps (min_free_kbytes, the root of the memory) is between a 64th of 16
 * MiB and 16 MiB of 16 GiB.
 */
#define RESERVE_SHIFT 6u
#define RESERVE_MOST ((size_t)16 << 20)

static size_t
reserve_of(const struct kva_boot *kb, size_t wired)
{
    size_t bytes = wired >> RESERVE_SHIFT;

    if (kb->reserve_bytes != 0 || kb->ram_bytes == 0) {
        return kb->reserve_bytes == KVA_NO_RESERVE ? 0 : kb->reserve_bytes;
    }
    return kva_round_up(bytes < RESERVE_MOST ? bytes : RESERVE_MOST,
                        KVA_PAGE_SIZE);
}

/*
 * Pages of metadata to go with a reserve: a range of it takes up to seven tags,
 * a slab perhaps a header, which is less than a page for 16 ranges of a page; a
 * page of the table of slabs is for 512, and a few are a group of tags or a
 * page of headers begun.
 */
#define STOCK_SHIFT 4u
#define STOCK_LEAST 4u

int
kva_reserve_set(size_t bytes)
{
    size_t limit, whole = 0;

    if (!KVA_RESERVES) {
        return KVA_ENOTSUP;
    }
    if (kva__mode == KVA_MODE_NONE) {
        kva__misuse("kva_reserve_set", "arena", "kmem", 0,
                    "expected a tower that was booted, found none");
    }
    bytes = kva_round_up(bytes, KVA_PAGE_SIZE);
    if (kva__mode == KVA_MODE_REGION) { /* the region is all there is */
        whole = vmem_size(kva_kernel_va_arena, VMEM_ALLOC | VMEM_FREE);
    }
    limit = kva__wire_reserve_set(bytes, whole);
    vmem_set_limit(kva_kmem_arena, limit);
    vmem_set_limit(kva_kmem_movable_arena, limit);
    vmem_set_limit(kva_kmem_permanent_arena, limit);
    kva__meta_stock_set(bytes == 0 ? 0
                                   : (bytes >> KVA_PAGE_SHIFT >> STOCK_SHIFT) +
                                         STOCK_LEAST);
    return 0;
}

int
kva_boot(const struct kva_boot *kb)
{
    size_t heap, wired;

    boot_verify("kva_boot");
    vmem_bootstrap(NULL, 0);
    if (kb->donated != NULL) {
        kva__meta_donate(kb->donated, kb->donated_bytes);
        kva__meta_port_ready(false);
    }
#if KVA_TIER >= 1
    kva__mag_set_ncpu(kb->ncpu != 0 ? kb->ncpu : kva_port_cpu_count());
#endif
    limits_find(kb, &heap, &wired);
    kva.reserve_bytes = reserve_of(kb, wired);
    kva__wire_init(wired);
    kva__map_init();
    kva__stacks_boot();
    kva.intr_mark = 0; /* until kva_start */
    kva__lazy_init(kb);
    kva.intr_bytes = kb->intr_bytes;
    if (KVA_TIER < 2) {
        kva__mode = KVA_MODE_FRAMES;
        kva_kernel_va_arena =
            vmem_init(&kernel_va_store, "kernel_va", 0, 0, KVA_PAGE_SIZE, NULL,
                      NULL, NULL, 0, VM_NOSLEEP, KVA_IPL_VM);
        if (kva_kernel_va_arena == NULL || wired_arenas(NULL) != 0) {
            kva_shutdown();
            return KVA_ENOMEM;
        }
        limits_set(heap, wired);
        return 0;
    }
    kva_kernel_va_arena =
        vmem_init(&kernel_va_store, "kernel_va", kb->va_base, kb->va_bytes,
                  KVA_PAGE_SIZE, NULL, NULL, NULL, 0, VM_NOSLEEP, KVA_IPL_VM);
    kva__mode = KVA_MODE_VA;
    if (kva_kernel_va_arena != NULL) {
        vmem_set_reclaim(kva_kernel_va_arena, press_map);
    }
    if (kva_kernel_va_arena == NULL || heap_arenas() != 0 ||
        wired_arenas(kva_heap_va_arena) != 0) {
        kva_shutdown();
        return KVA_ENOMEM;
    }
    limits_set(heap, wired);
    return 0;
}

int
kva_start(void)
{
    if (kva__mode == KVA_MODE_NONE) {
        kva__misuse("kva_start", "arena", "kernel_va", 0,
                    "expected a tower that was booted, found none");
    }
    kva__meta_port_ready(true);
    kva__wire_start();
    kva__map_start();
    say_what_is_off();
    if (KVA_RESERVES && kva.reserve_bytes != 0) {
        (void)kva_reserve_set(kva.reserve_bytes);
    }
    kva.intr_mark = kva.intr_bytes;
    return kva_intr_refill();
}

int
kva_intr_refill(void)
{
    size_t have = vmem_size(kva_kmem_intr_arena, VMEM_FREE | VMEM_CACHED);

    if (have >= kva.intr_mark) {
        return 0;
    }
    return kva__import_ahead(kva_kmem_intr_arena,
                             kva_round_up(kva.intr_mark - have, KVA_PAGE_SIZE));
}

size_t
kva_intr_drain(void)
{
    size_t done;

    (void)vmem_drain(kva_kmem_intr_arena, SIZE_MAX, 0);
    done =
        kva__import_trim(kva_kmem_intr_arena, kva.intr_mark, kva__wire_release);
    (void)kva_unmap_flush();
    return done;
}

/* ---- what it holds ---------------------------------------------------- */

void
kva_stat(struct kva_stat *st)
{
    kva__memset(st, 0, sizeof(*st));
    st->wired_bytes = kva__wire_bytes();
    st->wired_max = kva__wire_max();
    kva__wire_reserve(&st->reserve_bytes, &st->reserve_used);
    kva__meta_stock(&st->stock_pages, &st->stock_wanted);
    kva__map_stat(st);
    kva__lazy_stat(st);
    for (kva_vmem_t *vm = kva_vmem_list; vm != NULL; vm = vm->next) {
        struct kva_vmem_stat vs;

        vmem_stat(vm, &vs);
        st->tags += vs.tags_busy + vs.tags_free + vs.tags_span;
        st->spans += vs.spans;
    }
    st->tag_bytes = st->tags * sizeof(struct kva_vmem_btag);
    for (unsigned k = 0; k < KVA_META_KINDS; k++) {
        st->meta_bytes[k] = kva__meta_bytes((enum kva_meta_kind)k);
        st->meta_pages_bytes += st->meta_bytes[k];
    }
}
