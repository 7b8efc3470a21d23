/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Malloc types and what is counted for them.
 *
 * A CPU slot has counters of its own, which its owner writes with plain adds
 * while it is pinned.  What it counts of bytes lies in the top bits of a word,
 * and the adds carry out of it when a window of KVA_MALLOC_WINDOW bytes is left:
 *
 *      bytes = base + (window >> shift)
 *
 *      |            window            |
 *      base         |                 base + KVA_MALLOC_WINDOW
 *                   when last added up
 *
 * Nobody adds the slots up but who asks, and the slot itself when it carried:
 * then its window is placed anew, around what it has.  So the high-water mark
 * is seen, to the width of a window for each slot, and a steady state costs a
 * branch that is not taken.  (Who adds up while another slot carries may take
 * that for a window more or less than it has, for the few instructions until
 * base has followed.)
 *
 * A type with a limit is counted in one place, with the lock of types held,
 * before the memory is taken: the limit holds exactly (limit.c).
 *
 * An interrupt may not use malloc, as it may not use kmem; so nothing comes
 * between a load and the store of a counter.
 */
#include "malloc_compat/malloc_impl.h"

struct kva_malloc_type *kva_malloc_type_list;

/* Types attach themselves at first use, perhaps at several CPUs at once. */
enum {
    TYPES_NONE,
    TYPES_STARTING,
    TYPES_READY
};
static unsigned types_state;
static kva_lock_t types_lock;
static struct kva__meta_store counts_store, tables_store;
static unsigned ncpu; /* that may have rows in caches; (c) after the start */

#define SHIFT KVA__KMEM_COUNT_SHIFT
#define MIDDLE (KVA_MALLOC_WINDOW / 2)

_Static_assert(KVA_MALLOC_WINDOW == (size_t)1 << KVA__KMEM_WINDOW_SHIFT,
               "a window is what the top bits of a word count");

static void
types_init(void)
{
    ncpu = kva__mag_ncpu();
#if KVA_TIER >= 1
    if (ncpu < kva_port_cpu_count()) {
        ncpu = kva_port_cpu_count();
    }
#endif

    kva_port_lock_init(&types_lock, "malloc types", KVA_IPL_NONE,
                       KVA_RANK_CACHE);
    kva__meta_store_init(&counts_store, "malloc counts",
                         sizeof(struct kva__malloc_count), KVA_META_OTHER, 0);
    kva__meta_store_init(&tables_store, "malloc types",
                         ((ncpu + 1u) * sizeof(void *) + 7u) & ~(size_t)7,
                         KVA_META_OTHER, 0);
}

/* The first one here starts, the others wait until he has. */
static void
types_bootstrap(void)
{
    unsigned state = TYPES_NONE;

    if (__atomic_compare_exchange_n(&types_state, &state, TYPES_STARTING, false,
                                    __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
        types_init();
        __atomic_store_n(&types_state, TYPES_READY, __ATOMIC_RELEASE);
    }
    while (__atomic_load_n(&types_state, __ATOMIC_ACQUIRE) != TYPES_READY) {
#if KVA_TIER >= 1
        kva_port_relax();
#endif
    }
}

kva_irq_t
kva__malloc_lock(void)
{
    if (KVA_UNLIKELY(__atomic_load_n(&types_state, __ATOMIC_ACQUIRE) !=
                     TYPES_READY)) {
        types_bootstrap();
    }
    return kva_port_lock(&types_lock);
}

void
kva__malloc_unlock(kva_irq_t irq)
{
    kva_port_unlock(&types_lock, irq);
}

/* May hits be counted by themselves?  Lock of types held. */
void
kva__malloc_hits_locked(struct kva_malloc_type *mt)
{
    /* Where kmem has debug modes each request is made with its size. */
    bool plain = mt->count != NULL && mt->limit == 0 &&
                 !(KVA_CONFIG_POOL_DEBUG && kva__kmem_debugged);

    __atomic_store_n(&mt->plain, plain ? KVA__MALLOC_PLAIN : 0,
                     __ATOMIC_RELEASE);
    __atomic_store_n(&mt->reach, plain ? KVA__SLAB_REACH : 0, __ATOMIC_RELEASE);
}

static void
counts_free(struct kva__malloc_count **table)
{
    for (unsigned i = 1; i <= ncpu; i++) {
        if (table[i] != NULL) {
            kva__meta_put(&counts_store, table[i]);
        }
    }
    kva__meta_put(&tables_store, table);
}

static void
window_place(struct kva__malloc_count *count, size_t bytes)
{
    __atomic_store_n(&count->window, MIDDLE << SHIFT, __ATOMIC_RELAXED);
    __atomic_store_n(&count->base, bytes - MIDDLE, __ATOMIC_RELAXED);
}

/* Counters for all slots; NULL: no memory for them. */
static struct kva__malloc_count **
counts_make(void)
{
    struct kva__malloc_count **table = kva__meta_get(&tables_store);

    for (unsigned i = 1; table != NULL && i <= ncpu; i++) {
        table[i] = kva__meta_get(&counts_store);
        if (table[i] == NULL) {
            counts_free(table);
            return NULL;
        }
        window_place(table[i], 0);
    }
    return table;
}

/* Counters, if there are none yet.  Lock of types held. */
static void
type_equip(struct kva_malloc_type *mt)
{
    if (mt->count == NULL && ncpu != 0) {
        mt->count = counts_make();
    }
    kva__malloc_hits_locked(mt);
}

void
kva__malloc_attach_locked(struct kva_malloc_type *mt)
{
    if (mt->count == NULL) {
        type_equip(mt);
    }
    if (mt->attached != 0) {
        return;
    }
    mt->attached = 1;
    mt->prev = NULL;
    mt->next = kva_malloc_type_list;
    if (mt->next != NULL) {
        mt->next->prev = mt;
    }
    kva_malloc_type_list = mt;
}

void
malloc_type_attach(struct kva_malloc_type *mt)
{
    kva_irq_t irq = kva__malloc_lock();

    kva__malloc_attach_locked(mt);
    kva_port_unlock(&types_lock, irq);
}

/* ---- adding up ------------------------------------------------------- */

static size_t
count_bytes(const struct kva__malloc_count *count)
{
    return __atomic_load_n(&count->base, __ATOMIC_RELAXED) +
           (__atomic_load_n(&count->window, __ATOMIC_RELAXED) >> SHIFT);
}

/* The sum over slots; the high-water mark follows it.  Lock held.  Counts read
 * while others run may add up to less than nothing. */
struct kva__malloc_sum
kva__malloc_sum_locked(struct kva_malloc_type *mt)
{
    struct kva__malloc_sum sum = mt->shared;

    for (unsigned i = 1; mt->count != NULL && i <= ncpu; i++) {
        const struct kva__malloc_count *count = mt->count[i];

        sum.requests += __atomic_load_n(&count->requests, __ATOMIC_RELAXED);
        sum.frees += __atomic_load_n(&count->frees, __ATOMIC_RELAXED);
        sum.bytes += count_bytes(count);
    }
    if (sum.bytes > mt->high && sum.bytes <= SIZE_MAX / 2) {
        mt->high = sum.bytes;
    }
    return sum;
}

static void
type_add_up(struct kva_malloc_type *mt)
{
    kva_irq_t irq = kva__malloc_lock();

    (void)kva__malloc_sum_locked(mt);
    kva_port_unlock(&types_lock, irq);
}

/* The stores that make the sum smaller come first, so that who reads it between
 * them does not see more than there is. */
void *
kva__malloc_left_up(const struct kva_pool *pp, struct kva_malloc_type *mt,
                    int flags, struct kva__malloc_count *count, unsigned row,
                    void *object)
{
    (void)pp;
    (void)flags;
    window_place(count, count_bytes(count) + KVA_MALLOC_WINDOW);
    count->seen = count_bytes(count);
    kva_cpu_exit(row - 1u);
    type_add_up(mt);
    return object;
}

void
kva__malloc_left_down(uintptr_t addr, struct kva_malloc_type *mt,
                      struct kva__malloc_count *count, unsigned row)
{
    size_t base = __atomic_load_n(&count->base, __ATOMIC_RELAXED);

    (void)addr;
    __atomic_store_n(&count->base, base - KVA_MALLOC_WINDOW, __ATOMIC_RELAXED);
    window_place(count, count_bytes(count));
    count->seen = count_bytes(count);
    kva_cpu_exit(row - 1u);
    type_add_up(mt);
}

/* In the slot's counters, if it has some: they are added up when its bytes are
 * half a window from what they were then.  False: nothing done.  Before the type
 * is ready another thread may just be finding out how many CPUs there are. */
static bool
count_in_slot(struct kva_malloc_type *mt, size_t bytes, bool alloc)
{
    unsigned cpu = kva_cpu_enter();
    bool counts = KVA__MALLOC_READY(mt->plain) != 0 && cpu < ncpu;
    bool far = false;

    if (counts) {
        struct kva__malloc_count *count = mt->count[cpu + 1u];
        size_t now = count_bytes(count) + (alloc ? bytes : 0u - bytes);

        kva__malloc_bump(alloc ? &count->requests : &count->frees);
        window_place(count, now);
        far = now - count->seen + MIDDLE > KVA_MALLOC_WINDOW;
        count->seen = far ? now : count->seen;
    }
    kva_cpu_exit(cpu);
    if (far) {
        type_add_up(mt);
    }
    return counts;
}

/* A caller without a slot, or the first allocation of a type, counts where all
 * do. */
void
kva__malloc_count_slow(struct kva_malloc_type *mt, size_t bytes, bool alloc)
{
    kva_irq_t irq;

    if (count_in_slot(mt, bytes, alloc)) {
        return;
    }
    irq = kva__malloc_lock();
    if (alloc) { /* a free asks for no memory */
        kva__malloc_attach_locked(mt);
    }
    mt->shared.requests += alloc ? 1u : 0u;
    mt->shared.frees += alloc ? 0u : 1u;
    mt->shared.bytes += alloc ? bytes : 0u - bytes;
    (void)kva__malloc_sum_locked(mt);
    kva_port_unlock(&types_lock, irq);
}

void
kva__malloc_failed(struct kva_malloc_type *mt)
{
    kva_irq_t irq = kva__malloc_lock();

    kva__malloc_attach_locked(mt); /* listed, though it never had memory */
    mt->failures++;
    kva_port_unlock(&types_lock, irq);
}

/* ---- looking, and leaving -------------------------------------------- */

void
kva__malloc_stat_locked(struct kva_malloc_type *mt, struct kva_malloc_stat *st)
{
    struct kva__malloc_sum sum = kva__malloc_sum_locked(mt);

    *st = (struct kva_malloc_stat){
        .name = mt->name,
        .requests = sum.requests,
        .active = sum.requests - sum.frees,
        .bytes = sum.bytes,
        .high = mt->high,
        .failures = mt->failures,
        .limit = mt->limit,
        .waits = mt->waits,
    };
}

void
malloc_type_stat(struct kva_malloc_type *mt, struct kva_malloc_stat *st)
{
    kva_irq_t irq = kva__malloc_lock();

    kva__malloc_stat_locked(mt, st);
    kva_port_unlock(&types_lock, irq);
}

void
kva_malloc_fini(void)
{
    if (types_state == TYPES_READY) {
        while (kva_malloc_type_list != NULL) {
            kva_malloc_type_detach(kva_malloc_type_list);
        }
        kva_port_lock_fini(&types_lock);
        types_state = TYPES_NONE;
    }
}

void
malloc_type_detach(struct kva_malloc_type *mt)
{
    struct kva_malloc_stat st;
    kva_irq_t irq;

    malloc_type_stat(mt, &st);
    if (st.active > SIZE_MAX / 2) { /* freed as this type, but not of it */
        kva__misuse("malloc_type_detach", "type", mt->name, (uintptr_t)mt,
                    "expected no more frees than allocations, found %zu more",
                    0 - st.active);
    }
    if (st.active != 0) {
        kva__misuse("malloc_type_detach", "type", mt->name, (uintptr_t)mt,
                    "expected no live memory, found %zu allocations of %zu "
                    "bytes",
                    st.active, st.bytes);
    }
    irq = kva__malloc_lock();
    if (mt->attached != 0) {
        if (mt->next != NULL) {
            mt->next->prev = mt->prev;
        }
        if (mt->prev != NULL) {
            mt->prev->next = mt->next;
        } else {
            kva_malloc_type_list = mt->next;
        }
        mt->attached = 0;
    }
    __atomic_store_n(&mt->plain, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&mt->reach, 0, __ATOMIC_RELAXED);
    if (mt->count != NULL) {
        counts_free(mt->count);
        mt->count = NULL;
    }
    mt->shared = (struct kva__malloc_sum){ 0, 0, 0 };
    mt->high = 0;
    mt->failures = 0;
    mt->waits = 0;
    kva_port_unlock(&types_lock, irq);
}
