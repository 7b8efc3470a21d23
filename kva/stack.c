/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stacks with guard pages.
 *
 *      slot, a power of two               slot
 *     |g| stack |.............|   |g| stack |g|.........|     one guard; both
 *      ^ never mapped    ^ nor this
 *
 * A stack and its guards lie in a slot, and a set of stacks is an arena of
 * slots: its quantum is a slot, and what it imports is wired as kmem_arena's
 * imports are, but for the guards and the rest of each slot.  So everything
 * else is there already: the quantum caches are the cache per CPU, and their
 * magazines keep freed stacks mapped; their state bytes tell a double free, a
 * wrong base and a stack of another set; a drain gives pieces back, and cuts
 * them if it must (vmem/qcache.c).  No stack costs a tag.  Addresses for slots
 * come from heap_va_arena by way of an arena that is the set's too: an import
 * function knows its source and nothing else, and so knows the set.
 *
 * The price is address space: up to half of a slot is nothing, and more where
 * a stack is as short as its guards.  It is also what a guard is better for:
 * below a slot's guard lies the rest of the slot before it, so that a frame
 * larger than a page does not step over into a neighbour's stack at once.
 *
 * Where addresses are frames nothing can be unmapped.  There a set has no arena
 * of its own and takes from kmem_arena.
 *
 * Invariant: of a slot that the arena has, exactly the stack is mapped.
 */
#include "kva/stack.h"

#include "kva/kva_impl.h"
#include "vmem/lookup.h"

static struct {
    kva_lock_t lock;
    struct kva_stacks *first; /* (l), read without it by fault handlers */
    bool said;                /* that there are no guards */
} sets;

void
kva__stacks_boot(void)
{
    kva_port_lock_init(&sets.lock, "stacks", KVA_IPL_NONE, KVA_RANK_DRAIN);
    sets.first = NULL;
    sets.said = false;
}

void
kva__stacks_expect_none(const char *func)
{
    const struct kva_stacks *ks = sets.first;

    if (ks != NULL) {
        kva__misuse(func, "stacks", ks->name, (uintptr_t)ks,
                    "expected no set of stacks, found one not ended");
    }
}

/* ---- slots ------------------------------------------------------------- */

static size_t
slot_bytes(const struct kva_stacks *ks)
{
    return (size_t)1 << ks->slot_shift;
}

static uintptr_t
slot_of(const struct kva_stacks *ks, uintptr_t va)
{
    return kva_round_down(va, slot_bytes(ks));
}

#if KVA_TIER >= 2

/* The stacks of a range of slots lose their pages. */
static void
stacks_detach(const struct kva_stacks *ks, uintptr_t addr, size_t size)
{
    for (size_t at = 0; at < size; at += slot_bytes(ks)) {
        kva__wire_detach(addr + at + ks->guard, ks->bytes);
    }
}

/* They get pages: all, or none. */
static int
stacks_attach(const struct kva_stacks *ks, uintptr_t addr, size_t size)
{
    int err = 0;

    for (size_t at = 0; at < size && err == 0; at += slot_bytes(ks)) {
        err = kva__wire_attach(addr + at + ks->guard, ks->bytes);
        if (err != 0) {
            stacks_detach(ks, addr, at);
        }
    }
    return err;
}

static int
slots_import(kva_vmem_t *va, const struct kva_vmem_request *rq, size_t *actual,
             uintptr_t *addr)
{
    int err;

    err = vmem_xalloc(va, rq->size, rq->align, rq->phase, rq->nocross,
                      rq->minaddr, rq->maxaddr, rq->flags, addr);
    if (err == 0) {
        err = stacks_attach(KVA_CONTAINER(va, struct kva_stacks, va), *addr,
                            rq->size);
        if (err != 0) {
            vmem_xfree(va, *addr, rq->size);
        }
    }
    *actual = rq->size;
    return err;
}

static void
slots_release(kva_vmem_t *va, uintptr_t addr, size_t size)
{
    stacks_detach(KVA_CONTAINER(va, struct kva_stacks, va), addr, size);
    vmem_xfree(va, addr, size);
}

/* The two arenas; false: no memory, and neither is there. */
static bool
arenas_make(struct kva_stacks *ks)
{
    size_t slot = slot_bytes(ks);

    if (vmem_init(&ks->va, ks->name, 0, 0, slot, NULL, vmem_xfree,
                  kva_heap_va_arena, 0, VM_NOSLEEP, KVA_IPL_NONE) == NULL) {
        return false;
    }
    vmem_set_rimport(&ks->va, vmem_rimport, vmem_xfree, kva_heap_va_arena, 0);
    ks->vm = vmem_init(&ks->slots, ks->name, 0, 0, slot, NULL, slots_release,
                       &ks->va, slot, VM_NOSLEEP, KVA_IPL_NONE);
    if (ks->vm == NULL) {
        vmem_destroy(&ks->va);
        return false;
    }
    vmem_set_rimport(ks->vm, slots_import, slots_release, &ks->va, 0);
    kva__vmem_set_split(ks->vm, kva__vmem_rsplit);
    kva__vmem_set_press(ks->vm, kva__press_caches);
    return true;
}

#else /* never asked for */

static bool
arenas_make(struct kva_stacks *ks)
{
    (void)ks;
    return false;
}
#endif

/* ---- sets -------------------------------------------------------------- */

static size_t
stacks_clean(void *arg, struct kva_want *want)
{
    return kva_stacks_drain(arg, want->bytes, want->retain);
}

static void
set_link(struct kva_stacks *ks)
{
    kva_irq_t irq;

    irq = kva_port_lock(&sets.lock);
    ks->next = sets.first;
    __atomic_store_n(&sets.first, ks, __ATOMIC_RELEASE);
    kva_port_unlock(&sets.lock, irq);
}

static void
set_unlink(struct kva_stacks *ks)
{
    struct kva_stacks **link = &sets.first;
    kva_irq_t irq;

    irq = kva_port_lock(&sets.lock);
    while (*link != ks) {
        link = &(*link)->next;
    }
    __atomic_store_n(link, ks->next, __ATOMIC_RELEASE);
    kva_port_unlock(&sets.lock, irq);
}

/* No guards are to be had. */
static int
without_guards(struct kva_stacks *ks, unsigned flags)
{
    if ((flags & KVA_STACK_GUARDED) != 0) {
        return KVA_ENOTSUP;
    }
    if (!sets.said) {
        sets.said = true;
        kva__log("kva: stacks have no guard pages: addresses are frames");
    }
    ks->vm = kva_kmem_arena;
    ks->guard = 0;
    return 0;
}

int
kva_stacks_init(struct kva_stacks *ks, const char *name, size_t bytes,
                unsigned flags)
{
    size_t guards = (flags & KVA_STACK_BOTH) != 0 ? 2 : 1;
    int err = 0;

    if (kva__mode == KVA_MODE_NONE) {
        kva__misuse("kva_stacks_init", "stacks", name, (uintptr_t)ks,
                    "expected a tower that was booted, found none");
    }
    /* The largest slot is half of all addresses. */
    if (bytes == 0 || bytes > SIZE_MAX / 4) {
        return KVA_EINVAL;
    }
    kva__memset(ks, 0, sizeof(*ks));
    (void)kva__format(ks->name, sizeof(ks->name), "%s", name);
    ks->bytes = kva_round_up(bytes, KVA_PAGE_SIZE);
    if (kva__mode != KVA_MODE_VA) {
        err = without_guards(ks, flags);
    } else {
        ks->guard = KVA_PAGE_SIZE;
        ks->slot_shift = kva_fls(ks->bytes + guards * KVA_PAGE_SIZE - 1) + 1;
        err = arenas_make(ks) ? 0 : KVA_ENOMEM;
    }
    if (err != 0) {
        return err;
    }
    set_link(ks);
    if (ks->guard != 0) {
        ks->cleaner.clean = stacks_clean;
        ks->cleaner.arg = ks;
        ks->cleaner.name = ks->name;
        kva_reclaim_register(&ks->cleaner);
    }
    return 0;
}

void
kva_stacks_fini(struct kva_stacks *ks)
{
    if (ks->guard != 0) {
        kva__arena_expect_idle(ks->vm, "kva_stacks_fini");
        kva_reclaim_unregister(&ks->cleaner);
        vmem_destroy(ks->vm);
        vmem_destroy(&ks->va);
    }
    set_unlink(ks);
    ks->vm = NULL;
}

/* ---- stacks ------------------------------------------------------------ */

int
kva_stack_alloc(struct kva_stacks *ks, vm_flag_t flags, uintptr_t *base)
{
    size_t size = ks->guard != 0 ? slot_bytes(ks) : ks->bytes;
    int err = vmem_alloc(ks->vm, size, flags, base);

    if (err == 0) {
        *base += ks->guard;
    }
    return err;
}

/* The set whose slot va lies in, whatever is in the slot; NULL: none's. */
static struct kva_stacks *
set_holding(uintptr_t va)
{
    struct kva_stacks *ks = __atomic_load_n(&sets.first, __ATOMIC_ACQUIRE);
    uintptr_t base;
    size_t size;

    while (ks != NULL && (ks->guard == 0 || ks->vm->qcache == NULL ||
                          kva__qcache_item(ks->vm, va, &base, &size) == 0)) {
        ks = __atomic_load_n(&ks->next, __ATOMIC_ACQUIRE);
    }
    return ks;
}

/* Report a free of what is no stack in use. */
static _Noreturn void
refuse(struct kva_stacks *ks, uintptr_t base, enum kva_range_kind kind)
{
    const struct kva_stacks *other = set_holding(base);

    if (other != NULL && other != ks) {
        kva__misuse("kva_stack_free", "stacks", ks->name, base,
                    "expected a stack of %zu bytes of this set, found one of "
                    "%zu bytes of %s",
                    ks->bytes, other->bytes, other->name);
    }
    kva__misuse("kva_stack_free", "stacks", ks->name, base,
                "expected a stack in use, found %s",
                kind == KVA_RANGE_NONE     ? "none"
                : kind == KVA_RANGE_CACHED ? "a free one"
                                           : "an address that is not its base");
}

void
kva_stack_free(struct kva_stacks *ks, uintptr_t base)
{
    uintptr_t start = ks->guard != 0 ? slot_of(ks, base) : base;
    size_t size = ks->guard != 0 ? slot_bytes(ks) : ks->bytes;
    struct kva_range range;

    (void)kva__vmem_lookup(ks->vm, start, &range);
    if (range.kind != KVA_RANGE_ALLOC || range.base != start ||
        range.size != size || base - start != ks->guard) {
        refuse(ks, base, range.kind);
    }
    vmem_free(ks->vm, start, size);
}

/*
 * A slot counts for more in its arena than the pages in it, so what an arena
 * says it gave may have to be asked for again.
 */
size_t
kva_stacks_drain(struct kva_stacks *ks, size_t bytes, size_t retain)
{
    size_t done = 0, slots = 0;

    if (ks->guard == 0) {
        return 0; /* they are kmem_arena's */
    }
    do {
        slots = vmem_drain(ks->vm, bytes - done, retain) >> ks->slot_shift;
        done += slots * ks->bytes;
    } while (slots != 0 && done < bytes);
    return done;
}

struct kva_stacks *
kva_stack_overflow(uintptr_t va, uintptr_t *base)
{
    struct kva_stacks *ks = set_holding(va);
    uintptr_t slot;
    size_t size;

    if (ks == NULL ||
        kva__qcache_item(ks->vm, va, &slot, &size) != VMEM_ALLOC ||
        va - slot - ks->guard < ks->bytes) {
        return NULL;
    }
    *base = slot + ks->guard;
    return ks;
}
