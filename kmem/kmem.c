/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kmem(9): a pool cache for each size class, and whole pages from the arena.
 *
 * The caller says the size at free, so that the class is known without looking
 * at the memory; the cache then checks that the object is one of its own.  A
 * range of pages is looked up before it is freed, because a slab is one too:
 * its first byte with a plausible size must not take it away from its pool.
 *
 * The intr forms have caches of their own, with locks that mask interrupts,
 * over the arena that was wired ahead.
 */
#include "kmem/kmem_impl.h"

struct kva_pool_cache kva__kmem_cache[2u * KVA__KMEM_CLASSES];
struct kva_pool_cache *kva__kmem_of[KVA__KMEM_STEPS];

bool kva__kmem_debugged;

static struct kva_pool_cache *const intr_cache =
    kva__kmem_cache + KVA__KMEM_CLASSES;

/* "kmem_intr-3840" and its NUL; 64 KiB pages need one more digit. */
#define NAME_MAX 16u
static char names[2u * KVA__KMEM_CLASSES][NAME_MAX];

/* Requests of this and more are compared with the address space there is. */
#define LARGE_ENOUGH ((size_t)1 << 20)

/* ---- classes --------------------------------------------------------- */

/* From a class to the next one. */
static size_t
class_step(size_t size)
{
    size_t eighth = ((size_t)1 << kva_fls(size)) >> 3;

    if (size < KVA_CACHE_LINE) {
        return KVA__KMEM_STEP;
    }
    return eighth < KVA_CACHE_LINE ? KVA_CACHE_LINE : eighth;
}

static void
class_init(struct kva_pool_cache *pc, char *name, const char *prefix,
           size_t size, struct kva_pool_allocator *pa, enum kva_ipl ipl)
{
    unsigned align =
        size < KVA_CACHE_LINE ? KVA__KMEM_STEP : (unsigned)KVA_CACHE_LINE;

    kva__format(name, NAME_MAX, "%s-%u", prefix, (unsigned)size);
    pool_cache_bootstrap(pc, size, align, 0, (int)KVA__PR_SIZES, name, pa, ipl,
                         NULL, NULL, NULL);
    if (kva__pool_debugged(&pc->slabs)) {
        kva__kmem_debugged = true;
    }
}

/* Which sizes it is for: those above the largest of the class below. */
static void
sizes_set(struct kva_pool *pp, size_t below)
{
    pp->least = (uint32_t)below + 1u;
    pp->span = pp->size - below;
    pp->counted = pp->size << KVA__KMEM_COUNT_SHIFT;
    pp->uncounted = 0u - pp->counted;
}

void
kmem_init(void)
{
    size_t size = KVA__KMEM_STEP, step = 0;
    unsigned i;

    kva__kmem_debugged = false;
    for (i = 0; size <= KVA__KMEM_SMALL_MAX; i++) {
        KVA_ASSERT(i < KVA__KMEM_CLASSES);
        class_init(&kva__kmem_cache[i], names[i], "kmem", size,
                   &pool_allocator_kmem, KVA_IPL_NONE);
        class_init(&intr_cache[i], names[KVA__KMEM_CLASSES + i], "kmem_intr",
                   size, &pool_allocator_intr, KVA_IPL_VM);
        sizes_set(&kva__kmem_cache[i].slabs, step * KVA__KMEM_STEP);
        sizes_set(&intr_cache[i].slabs, step * KVA__KMEM_STEP);
        kva__cache_show(&kva__kmem_cache[i]);
        for (; step < size / KVA__KMEM_STEP; step++) {
            kva__kmem_of[step] = &kva__kmem_cache[i];
        }
        size += class_step(size);
    }
    KVA_ASSERT(i == KVA__KMEM_CLASSES);
}

void
kmem_fini(void)
{
    /* All are looked at before the first is ended. */
    for (unsigned i = 0; i < KVA__KMEM_CLASSES; i++) {
        kva__pool_cache_expect_idle(&kva__kmem_cache[i], "kmem_fini");
        kva__pool_cache_expect_idle(&intr_cache[i], "kmem_fini");
    }
    for (unsigned i = 0; i < KVA__KMEM_CLASSES; i++) {
        pool_cache_bootstrap_destroy(&kva__kmem_cache[i]);
        pool_cache_bootstrap_destroy(&intr_cache[i]);
    }
    if (kva_pool_list == NULL) {
        kva__pool_shutdown();
    }
}

size_t
kmem_roundup_size(size_t size)
{
    if (size - 1u < KVA__KMEM_SMALL_MAX) {
        return kva__kmem_of[kva__kmem_step(size)]->slabs.size;
    }
    return kva_round_up(size, KVA_PAGE_SIZE);
}

size_t
kmem_drain(void)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < KVA__KMEM_CLASSES; i++) {
        bytes += pool_cache_drain(&kva__kmem_cache[i], SIZE_MAX, 0);
        bytes += pool_cache_drain(&intr_cache[i], SIZE_MAX, 0);
    }
    return bytes;
}

/* ---- whole pages ----------------------------------------------------- */

size_t
kva__kmem_pages(size_t size)
{
    size_t rounded = kva_round_up(size, KVA_PAGE_SIZE);

    if (rounded < size) {
        return 0;
    }
#if KVA_TIER >= 2
    /* Below that tier the arenas are fed with frames and have no end. */
    if (rounded >= LARGE_ENOUGH &&
        rounded > vmem_size(kva_kernel_va_arena, VMEM_ALLOC | VMEM_FREE)) {
        return 0;
    }
#endif
    return rounded;
}

/* Sizes that never were right, before anything is looked up. */
static void
check_size(const char *func, kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    if (size == 0) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected a size above 0, found size 0");
    }
    if (kva_round_up(size, KVA_PAGE_SIZE) < size) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected a size that can be rounded up to pages, found "
                    "size %zu",
                    size);
    }
}

static void
check_flags(const char *func, const char *kind, const char *name,
            unsigned flags)
{
    unsigned wait = flags & ~KM_RESERVE;

    if (wait != KM_SLEEP && wait != KM_NOSLEEP) {
        kva__misuse(func, kind, name, 0,
                    "expected KM_SLEEP or KM_NOSLEEP, found flags 0x%x", flags);
    }
}

static void *
pages_alloc(const char *func, kva_vmem_t *vm, size_t size, unsigned flags)
{
    bool zero = (flags & PR_ZERO) != 0;
    uintptr_t addr;
    size_t bytes;

    check_size(func, vm, 0, size);
    flags &= ~PR_ZERO;
    check_flags(func, "arena", vm->name, flags);
    bytes = kva__kmem_pages(size);
    if (bytes == 0 ||
        vmem_alloc(vm, bytes,
                   ((flags & KM_SLEEP) != 0 ? VM_SLEEP : VM_NOSLEEP) |
                       ((flags & KM_RESERVE) != 0 ? VM_RESERVE : 0) |
                       VM_INSTANTFIT,
                   &addr) != 0) {
        return NULL;
    }
    if (zero) {
        __builtin_memset((void *)addr, 0, bytes);
    }
    return (void *)addr;
}

/* addr is in a slab: say for which sizes. */
static _Noreturn void
bad_slab(const char *func, const kva_vmem_t *vm, const struct kva__slab *slab,
         uintptr_t addr, size_t size)
{
    const struct kva_pool_cache *pc =
        KVA_CONTAINER(slab->owner, struct kva_pool_cache, slabs);
    bool intr =
        (uintptr_t)pc - (uintptr_t)intr_cache < sizeof(kva__kmem_cache) / 2u;

    if (!kva__kmem_owns(slab->owner) && !intr) {
        kva__misuse(func, kva__pool_kind(slab->owner), slab->owner->name, addr,
                    "expected memory of kmem, found an object of this "
                    "%s",
                    kva__pool_kind(slab->owner));
    }
    if (intr != (vm == kva_kmem_intr_arena)) {
        kva__misuse(func, "cache", slab->owner->name, addr,
                    "expected an object of kmem_%salloc, found one of "
                    "kmem_%salloc",
                    intr ? "" : "intr_", intr ? "intr_" : "");
    }
    kva__misuse(func, "cache", slab->owner->name, addr,
                "expected size %zu to %zu, found size %zu",
                (size_t)slab->owner->least, slab->owner->size, size);
}

size_t
kva__kmem_range(const char *func, kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    const struct kva__slab *slab = kva__slab_of(addr);
    struct kva_range range = { 0, 0, KVA_RANGE_NONE };

    if (slab != NULL) {
        bad_slab(func, vm, slab, addr, size);
    }
    (void)kva__vmem_lookup(vm, addr, &range);
    if (range.kind == KVA_RANGE_CACHED) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected live memory, found free memory");
    }
    if (range.kind != KVA_RANGE_ALLOC) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected memory of this arena, found none");
    }
    if (range.base != addr) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected the start of a range, found an address inside "
                    "the one at 0x%lx",
                    (unsigned long)range.base);
    }
    if (size != 0 && range.size != kva_round_up(size, KVA_PAGE_SIZE)) {
        kva__misuse(func, "arena", vm->name, addr,
                    "expected size %zu to %zu, found size %zu",
                    (size_t)range.size - KVA_PAGE_SIZE + 1u, (size_t)range.size,
                    size);
    }
    return range.size;
}

static void
pages_free(const char *func, kva_vmem_t *vm, uintptr_t addr, size_t size)
{
    check_size(func, vm, addr, size);
    vmem_free(vm, addr, kva__kmem_range(func, vm, addr, size));
}

/* ---- objects --------------------------------------------------------- */

/* Another class's object is a wrong size; the cache knows all the rest. */
static _Noreturn void
bad_free(const char *func, struct kva_pool_cache *pc, uintptr_t addr,
         size_t size)
{
    const struct kva__slab *slab = kva__slab_of(addr);

    if (slab != NULL && slab->owner != &pc->slabs) {
        bad_slab(func, *pc->slabs.allocator->arena, slab, addr, size);
    }
    kva__pool_bad_put(func, &pc->slabs, addr, KVA__OBJECT_LIVE);
}

/* Whatever is no hit; flags may have PR_ZERO.  The size's cache is that one, or
 * so many behind it. */
static void *
slow_alloc(const char *func, kva_vmem_t *vm, unsigned behind, size_t size,
           unsigned flags, const void *caller)
{
    struct kva_pool_cache *pc;
    void *p;

    if (size - 1u >= KVA__KMEM_SMALL_MAX) {
        return pages_alloc(func, vm, size, flags);
    }
    pc = kva__kmem_of[kva__kmem_step(size)] + behind;
    check_flags(func, "cache", pc->slabs.name, flags & ~PR_ZERO);
    p = kva__cache_get_slow(pc, (int)flags, size, caller);
    if (KVA_CONFIG_DEBUG && p != NULL) {
        kva__exact_note(p, size);
    }
    return p;
}

__attribute__((noinline)) void *
kva__kmem_alloc_slow(size_t size, unsigned flags, const void *caller)
{
    return slow_alloc((flags & PR_ZERO) != 0 ? "kmem_zalloc" : "kmem_alloc",
                      kva_kmem_arena, 0, size, flags, caller);
}

static __attribute__((noinline)) void *
intr_alloc_slow(size_t size, unsigned flags, const void *caller)
{
    return slow_alloc(
        (flags & PR_ZERO) != 0 ? "kmem_intr_zalloc" : "kmem_intr_alloc",
        kva_kmem_intr_arena, KVA__KMEM_CLASSES, size, flags, caller);
}

static __attribute__((noinline)) void
free_slow(uintptr_t addr, size_t size, const void *caller)
{
    struct kva_pool_cache *pc;

    if (size - 1u >= KVA__KMEM_SMALL_MAX) {
        pages_free("kmem_free", kva_kmem_arena, addr, size);
        return;
    }
    pc = kva__kmem_of[kva__kmem_step(size)];
    if (!kva__cache_put_slow("kmem_free", pc, addr, size, caller)) {
        bad_free("kmem_free", pc, addr, size);
    }
}

static __attribute__((noinline)) void
intr_free_slow(uintptr_t addr, size_t size, const void *caller)
{
    struct kva_pool_cache *pc;

    if (size - 1u >= KVA__KMEM_SMALL_MAX) {
        pages_free("kmem_intr_free", kva_kmem_intr_arena, addr, size);
        return;
    }
    pc = kva__kmem_of[kva__kmem_step(size)] + KVA__KMEM_CLASSES;
    if (!kva__cache_put_slow("kmem_intr_free", pc, addr, size, caller)) {
        bad_free("kmem_intr_free", pc, addr, size);
    }
}

/* An object of the step's cache, or of that one behind it, from a magazine. */
static inline bool
hit_alloc(size_t step, unsigned behind, unsigned flags,
          struct kva__round *round)
{
    unsigned cpu;
    bool got;

    KVA__OPAQUE(step);
    if (KVA_UNLIKELY(step >= KVA__KMEM_STEPS) ||
        KVA_UNLIKELY(flags - 1u > 1u)) {
        return false;
    }
    cpu = kva_cpu_enter_hit();
    got = kva__cache_take(&kva__kmem_of[step][behind].slabs, cpu, round);
    kva_cpu_exit(cpu);
    return got;
}

void *
kmem_alloc(size_t size, km_flag_t flags)
{
    struct kva__round round;

    if (KVA_UNLIKELY(!hit_alloc(kva__kmem_step(size), 0, flags, &round))) {
        return kva__kmem_alloc_slow(size, flags, __builtin_return_address(0));
    }
    if (KVA_CONFIG_DEBUG) {
        kva__exact_note((void *)round.object, size);
    }
    return kva__round_revive(&round);
}

void *
kmem_zalloc(size_t size, km_flag_t flags)
{
    return kva__kmem_alloc_slow(size, flags | PR_ZERO,
                                __builtin_return_address(0));
}

void *
kmem_intr_alloc(size_t size, km_flag_t flags)
{
    struct kva__round round;

    if (KVA_UNLIKELY(!hit_alloc(kva__kmem_step(size), KVA__KMEM_CLASSES, flags,
                                &round))) {
        return intr_alloc_slow(size, flags, __builtin_return_address(0));
    }
    if (KVA_CONFIG_DEBUG) {
        kva__exact_note((void *)round.object, size);
    }
    return kva__round_revive(&round);
}

void *
kmem_intr_zalloc(size_t size, km_flag_t flags)
{
    return intr_alloc_slow(size, flags | PR_ZERO, __builtin_return_address(0));
}

/*
 * With checks the slab says whose the object is, and that says for which sizes
 * it is; without, the size has to do.
 */
static inline bool
hit_free(uintptr_t addr, size_t size)
{
    uint8_t *state = NULL;
    struct kva_pool *pp;
    unsigned cpu;
    bool put;

    if (KVA_CONFIG_CHECKS) {
        if (!kva__kmem_object(addr, KVA__SLAB_REACH, &size, &pp, &state)) {
            return false;
        }
    } else {
        size_t step = kva__kmem_step(size);

        KVA__OPAQUE(step);
        if (KVA_UNLIKELY(step >= KVA__KMEM_STEPS)) {
            return false;
        }
        pp = &kva__kmem_of[step]->slabs;
    }
    cpu = kva_cpu_enter_hit();
    put = kva__cache_give(KVA__ONCE(pp->sized_rows), cpu, state, addr);
    KVA__ARGUMENT(1, addr);
    kva_cpu_exit(cpu);
    return put;
}

void
kmem_free(void *p, size_t size)
{
    if (KVA_CONFIG_DEBUG) {
        kva__exact_check("kmem_free", p, size, false);
    }
    if (KVA_UNLIKELY(!hit_free((uintptr_t)p, size))) {
        free_slow((uintptr_t)p, size, __builtin_return_address(0));
    }
}

void
kmem_intr_free(void *p, size_t size)
{
    size_t step = kva__kmem_step(size);

    if (KVA_CONFIG_DEBUG) {
        kva__exact_check("kmem_intr_free", p, size, true);
    }
    KVA__OPAQUE(step);
    if (KVA_UNLIKELY(step >= KVA__KMEM_STEPS) ||
        KVA_UNLIKELY(!kva__cache_hit_put(
            &kva__kmem_of[step][KVA__KMEM_CLASSES].slabs, (uintptr_t)p))) {
        intr_free_slow((uintptr_t)p, size, __builtin_return_address(0));
    }
}
