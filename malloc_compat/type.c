/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Malloc types and what is counted for them.
 *
 * A CPU slot has counters of its own, which its owner writes with plain stores
 * while it is pinned.  Nobody adds them up but who asks, and the slot itself
 * when its bytes have left a window around the value at which it last did: so
 * the high-water mark is seen, to the width of a window for each slot, and a
 * steady state costs one compare.
 *
 * A type with a limit is counted in one place, with the lock of types held,
 * before the memory is taken: the limit holds exactly (limit.c).
 *
 * An interrupt may not use malloc, as it may not use kmem; so nothing comes
 * between a load and the store of a counter.
 */
#include "malloc_compat/malloc_impl.h"

struct kva_malloc_type *kva_malloc_type_list;

unsigned kva__malloc_ncpu;
unsigned kva__malloc_shift;

/* Types attach themselves at first use, perhaps at several CPUs at once. */
enum {
    TYPES_NONE,
    TYPES_STARTING,
    TYPES_READY
};
static unsigned types_state;
static kva_lock_t types_lock;
static struct kva__meta_store counts_store;

static void
types_init(void)
{
    unsigned ncpu = kva__mag_ncpu();

    kva_port_lock_init(&types_lock, "malloc types", KVA_IPL_NONE,
                       KVA_RANK_CACHE);
    kva__malloc_shift = 0;
    while ((1u << kva__malloc_shift) < ncpu &&
           kva__malloc_shift < KVA__MALLOC_BLOCK_SHIFT) {
        kva__malloc_shift++;
    }
    kva__meta_store_init(&counts_store, "malloc types",
                         sizeof(struct kva__malloc_count) << kva__malloc_shift,
                         KVA_META_OTHER, 0);
    /* Last: who sees it sees the shift. */
    __atomic_store_n(&kva__malloc_ncpu, ncpu, __ATOMIC_RELEASE);
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

/* Counters for the slots, as far as there is memory; the others share. */
static void
type_equip(struct kva_malloc_type *mt)
{
    unsigned nblocks = (kva__malloc_ncpu + (1u << kva__malloc_shift) - 1u) >>
                       kva__malloc_shift;

    for (unsigned b = 0; b < nblocks; b++) {
        struct kva__malloc_count *block = kva__meta_get(&counts_store);

        if (block == NULL) {
            break;
        }
        __atomic_store_n(&mt->block[b], block, __ATOMIC_RELEASE);
    }
}

void
kva__malloc_attach_locked(struct kva_malloc_type *mt)
{
    if (mt->attached != 0) {
        return;
    }
    mt->attached = 1;
    type_equip(mt);
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

static void
count_add(struct kva__malloc_count *sum, const struct kva__malloc_count *count)
{
    sum->requests += __atomic_load_n(&count->requests, __ATOMIC_RELAXED);
    sum->frees += __atomic_load_n(&count->frees, __ATOMIC_RELAXED);
    sum->bytes += __atomic_load_n(&count->bytes, __ATOMIC_RELAXED);
}

/* The sum over slots; the high-water mark follows it.  Lock held.  Counts read
 * while others run may add up to less than nothing. */
struct kva__malloc_count
kva__malloc_sum_locked(struct kva_malloc_type *mt)
{
    struct kva__malloc_count sum = mt->shared;

    for (unsigned b = 0; b < KVA__MALLOC_BLOCKS; b++) {
        for (unsigned i = 0;
             mt->block[b] != NULL && i < 1u << kva__malloc_shift; i++) {
            count_add(&sum, &mt->block[b][i]);
        }
    }
    if (sum.bytes > mt->high && sum.bytes <= SIZE_MAX / 2) {
        mt->high = sum.bytes;
    }
    return sum;
}

void
kva__malloc_fold(struct kva_malloc_type *mt, struct kva__malloc_count *count)
{
    kva_irq_t irq = kva__malloc_lock();

    (void)kva__malloc_sum_locked(mt);
    __atomic_store_n(&count->low,
                     __atomic_load_n(&count->bytes, __ATOMIC_RELAXED) -
                         KVA_MALLOC_WINDOW / 2,
                     __ATOMIC_RELAXED);
    kva_port_unlock(&types_lock, irq);
}

/* A caller without a slot, or the first allocation of a type. */
void
kva__malloc_count_shared(struct kva_malloc_type *mt, size_t bytes, bool alloc)
{
    kva_irq_t irq = kva__malloc_lock();

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
    struct kva__malloc_count sum = kva__malloc_sum_locked(mt);

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
    for (unsigned b = 0; b < KVA__MALLOC_BLOCKS; b++) {
        if (mt->block[b] != NULL) {
            kva__meta_put(&counts_store, mt->block[b]);
            mt->block[b] = NULL;
        }
    }
    mt->shared = (struct kva__malloc_count){ 0, 0, 0, 0 };
    mt->high = 0;
    mt->failures = 0;
    mt->waits = 0;
    kva_port_unlock(&types_lock, irq);
}
