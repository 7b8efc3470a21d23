/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The magazine layer's slow paths; magazine.h has the theory and the hit paths.
 *
 * A get that misses: swap loaded and spare; or take a full magazine from the
 * depot; or ask the supplier for half a magazine, of which one is handed out.
 * A put that misses: swap; or change the full spare for an empty magazine of
 * the depot; or give half of the loaded magazine back to the supplier.
 *
 * Magazines are made by gets only: two for a slot, and up to full_max more that
 * wait empty in the depot.  So a put never allocates.
 */
#include "vmem/magazine.h"

#include "vmem/meta.h"

/* How many rounds travel between a magazine and the supplier at a time: they
 * lie on the stack meanwhile, 128 bytes. */
#define BATCH 16u

/* How often a drainer looks at busy before it gives a slot up.  An owner is
 * inside for some ten instructions, or for a depot operation. */
#define DRAIN_SPINS 100000u

/* Both empty and full: every hit path misses.  Never written. */
static struct kva__magazine sentinel;

/* Blocks of 32 to 1024 bytes, for magazines and slots. */
#define STORE_MIN_SHIFT 5u
#define STORES 6u
static struct kva__meta_store stores[STORES];
static unsigned ncpu_default;

void
kva__mag_bootstrap(void)
{
    for (unsigned i = 0; i < STORES; i++) {
        kva__meta_store_init(&stores[i], "magazines",
                             (size_t)1 << (STORE_MIN_SHIFT + i),
                             KVA_META_MAGAZINES, 0);
    }
#if KVA_TIER >= 1
    kva__mag_set_ncpu(kva_port_cpu_count());
#endif
}

void
kva__mag_set_ncpu(unsigned ncpu)
{
    ncpu_default = ncpu < KVA_CPU_MAX ? ncpu : KVA_CPU_MAX;
#if KVA_TIER < 1
    ncpu_default = 0;
#endif
}

unsigned
kva__mag_ncpu(void)
{
    return ncpu_default;
}

static struct kva__meta_store *
store_for(size_t bytes)
{
    unsigned i = 0;

    while (((size_t)1 << (STORE_MIN_SHIFT + i)) < bytes) {
        i++;
    }
    KVA_ASSERT(i < STORES);
    return &stores[i];
}

static size_t
mag_bytes(unsigned capacity)
{
    return sizeof(struct kva__magazine) + capacity * sizeof(uintptr_t);
}

static struct kva__magazine *
mag_new(unsigned capacity)
{
    struct kva__magazine *mag = kva__meta_get(store_for(mag_bytes(capacity)));

    if (mag != NULL) {
        mag->capacity = capacity;
    }
    return mag;
}

static void
mag_free(struct kva__magazine *mag)
{
    kva__meta_put(store_for(mag_bytes(mag->capacity)), mag);
}

/* ---- making and ending ------------------------------------------------ */

static void
slots_free(struct kva__magcache *mc, unsigned nblocks)
{
    size_t bytes = sizeof(struct kva__magslot) << mc->slot_shift;

    for (unsigned b = 0; b < nblocks; b++) {
        kva__meta_put(store_for(bytes), mc->slot[b]);
        mc->slot[b] = NULL;
    }
    mc->ncpu = 0;
}

static void
slots_make(struct kva__magcache *mc, unsigned ncpu)
{
    unsigned nblocks;

    mc->slot_shift = 0;
    while ((1u << mc->slot_shift) < ncpu &&
           mc->slot_shift < KVA__MAG_BLOCK_SHIFT) {
        mc->slot_shift++;
    }
    nblocks = (ncpu + (1u << mc->slot_shift) - 1) >> mc->slot_shift;
    for (unsigned b = 0; b < nblocks; b++) {
        mc->slot[b] = kva__meta_get(
            store_for(sizeof(struct kva__magslot) << mc->slot_shift));
        if (mc->slot[b] == NULL) {
            slots_free(mc, b);
            return;
        }
        for (unsigned i = 0; i < 1u << mc->slot_shift; i++) {
            mc->slot[b][i].loaded = &sentinel;
        }
    }
    mc->ncpu = ncpu;
}

void
kva__magcache_init(struct kva__magcache *mc, const char *name, enum kva_ipl ipl,
                   unsigned capacity, unsigned full_max,
                   const struct kva__mag_supplier *supplier, void *arg)
{
    kva__memset(mc, 0, sizeof(*mc));
    kva_port_lock_init(&mc->lock, name, ipl, KVA_RANK_DEPOT);
    mc->supplier = supplier;
    mc->arg = arg;
    mc->capacity = capacity < 1                     ? 1
                   : capacity > KVA__MAG_ROUNDS_MAX ? KVA__MAG_ROUNDS_MAX
                                                    : capacity;
    mc->full_max = full_max;
    if (ncpu_default > 0 && capacity > 0) {
        slots_make(mc, ncpu_default);
    }
}

void
kva__magcache_fini(struct kva__magcache *mc)
{
    kva__magcache_empty(mc);
    slots_free(mc, (mc->ncpu + (1u << mc->slot_shift) - 1) >> mc->slot_shift);
    kva_port_lock_fini(&mc->lock);
}

/* ---- the depot, locked ------------------------------------------------ */

static void
list_push(struct kva__magazine **list, unsigned *n, struct kva__magazine *mag)
{
    mag->next = *list;
    *list = mag;
    ++*n;
}

static struct kva__magazine *
list_pop(struct kva__magazine **list, unsigned *n)
{
    struct kva__magazine *mag = *list;

    if (mag != NULL) {
        *list = mag->next;
        --*n;
    }
    return mag;
}

/* loaded is read by the hit path and the drainer without the lock. */
static void
load(struct kva__magslot *slot, struct kva__magazine *mag)
{
    __atomic_store_n(&slot->loaded, mag, __ATOMIC_RELEASE);
}

static void
swap(struct kva__magslot *slot)
{
    struct kva__magazine *mag = slot->loaded;

    load(slot, slot->spare != NULL ? slot->spare : &sentinel);
    slot->spare = mag == &sentinel ? NULL : mag;
}

/* Bring a magazine with rounds into loaded, if there is one. */
static void
slot_for_get(struct kva__magcache *mc, struct kva__magslot *slot)
{
    struct kva__magazine *full;

    if (slot->spare != NULL && slot->spare->rounds > 0) {
        swap(slot);
        return;
    }
    full = list_pop(&mc->full, &mc->nfull);
    if (full == NULL) {
        return;
    }
    if (slot->spare != NULL) {
        list_push(&mc->empty, &mc->nempty, slot->spare);
    }
    slot->spare = slot->loaded == &sentinel ? NULL : slot->loaded;
    load(slot, full);
}

/* Bring a magazine with room into loaded, if there is one. */
static void
slot_for_put(struct kva__magcache *mc, struct kva__magslot *slot)
{
    struct kva__magazine *empty;

    if (slot->spare != NULL && slot->spare->rounds < slot->spare->capacity) {
        swap(slot);
        return;
    }
    if (mc->nfull >= mc->full_max) {
        return;
    }
    empty = list_pop(&mc->empty, &mc->nempty);
    if (empty == NULL) {
        return;
    }
    if (slot->spare != NULL) {
        list_push(&mc->full, &mc->nfull, slot->spare);
    }
    slot->spare = slot->loaded == &sentinel ? NULL : slot->loaded;
    load(slot, empty);
}

/* ---- entering a slot the slow way ------------------------------------- */

/*
 * The caller's slot, marked busy and the depot locked; NULL if it has none, or
 * is in an interrupt that came while it was busy.  Pinned in any case.
 */
static struct kva__magslot *
slot_enter(struct kva__magcache *mc, unsigned *cpu, kva_irq_t *irq)
{
    struct kva__magslot *slot;

    *cpu = kva_cpu_enter();
    if (*cpu >= mc->ncpu) {
        return NULL;
    }
    slot = kva__mag_slot(mc, *cpu);
    if (__atomic_load_n(&slot->busy, __ATOMIC_RELAXED) != 0) {
        return NULL;
    }
    __atomic_store_n(&slot->busy, 1, __ATOMIC_RELAXED);
    KVA_COMPILER_BARRIER();
    *irq = kva_port_lock(&mc->lock);
    return slot;
}

static void
slot_exit(struct kva__magcache *mc, struct kva__magslot *slot, unsigned cpu,
          kva_irq_t irq)
{
    if (slot != NULL) {
        kva_port_unlock(&mc->lock, irq);
        __atomic_store_n(&slot->busy, 0, __ATOMIC_RELEASE);
    }
    kva_cpu_exit(cpu);
}

/* A get that goes to the supplier makes the magazines that puts will need. */
static void
slot_equip(struct kva__magcache *mc, struct kva__magslot *slot)
{
    struct kva__magazine *mag;

    if (slot->loaded == &sentinel) {
        mag = list_pop(&mc->empty, &mc->nempty);
        if (mag == NULL && (mag = mag_new(mc->capacity)) != NULL) {
            mc->nmags++;
        }
        if (mag != NULL) {
            load(slot, mag);
        }
    } else if (slot->spare == NULL) {
        mag = mag_new(mc->capacity);
        if (mag != NULL) {
            mc->nmags++;
            slot->spare = mag;
        }
    } else if (mc->nfull + mc->nempty < mc->full_max) {
        mag = mag_new(mc->capacity);
        if (mag != NULL) {
            mc->nmags++;
            list_push(&mc->empty, &mc->nempty, mag);
        }
    }
}

bool
kva__mag_get_slow(struct kva__magcache *mc, unsigned flags, uintptr_t *thing)
{
    uintptr_t batch[BATCH];
    unsigned want = 1, got, cpu;
    struct kva__magslot *slot;
    bool hit = false;
    kva_irq_t irq = 0;

    slot = slot_enter(mc, &cpu, &irq);
    if (slot != NULL) {
        mc->misses_get++;
        if (!slot->draining) {
            slot_for_get(mc, slot);
            if (slot->loaded->rounds > 0) {
                *thing = slot->loaded->round[--slot->loaded->rounds];
                hit = true;
            } else {
                slot_equip(mc, slot);
                want = (slot->loaded->capacity + 1) / 2;
            }
        }
    }
    slot_exit(mc, slot, cpu, irq);
    if (hit) {
        return true;
    }
    want = want < 1 ? 1 : want > BATCH ? BATCH : want;
    got = mc->supplier->fill(mc->arg, batch, want, flags);
    if (got == 0) {
        return false;
    }
    *thing = batch[0];
    for (unsigned i = 1; i < got; i++) {
        if (!kva__mag_put(mc, batch[i])) { /* moved, interrupted, drained */
            mc->supplier->drain(mc->arg, batch + i, got - i);
            break;
        }
    }
    return true;
}

void
kva__mag_put_slow(struct kva__magcache *mc, uintptr_t thing)
{
    uintptr_t batch[BATCH];
    unsigned n = 0, cpu;
    struct kva__magslot *slot;
    bool done = false;
    kva_irq_t irq = 0;

    slot = slot_enter(mc, &cpu, &irq);
    if (slot != NULL) {
        mc->misses_put++;
        if (!slot->draining) {
            struct kva__magazine *mag;

            slot_for_put(mc, slot);
            mag = slot->loaded;
            if (mag != &sentinel) {
                while (mag->rounds > mag->capacity / 2 &&
                       mag->rounds == mag->capacity - n && n < BATCH) {
                    batch[n++] = mag->round[--mag->rounds];
                }
                mag->round[mag->rounds++] = thing;
                done = true;
            }
        }
    }
    slot_exit(mc, slot, cpu, irq);
    if (!done) {
        batch[n++] = thing;
    }
    if (n > 0) {
        mc->supplier->drain(mc->arg, batch, n);
    }
}

/* ---- draining --------------------------------------------------------- */

/*
 * Up to most rounds of a magazine, which nobody else has, to the supplier; what
 * is left goes to the depot, an empty magazine is freed.
 */
static size_t
mag_empty(struct kva__magcache *mc, struct kva__magazine *mag, size_t most)
{
    unsigned n = mag->rounds < most ? mag->rounds : (unsigned)most;
    kva_irq_t irq;

    if (n > 0) {
        mag->rounds -= n;
        mc->supplier->drain(mc->arg, mag->round + mag->rounds, n);
    }
    irq = kva_port_lock(&mc->lock);
    if (mag->rounds > 0) {
        list_push(&mc->full, &mc->nfull, mag);
        mag = NULL;
    } else {
        mc->nmags--;
    }
    kva_port_unlock(&mc->lock, irq);
    if (mag != NULL) {
        mag_free(mag);
    }
    return n;
}

static size_t
depot_drain(struct kva__magcache *mc, size_t most)
{
    size_t done = 0;

    while (done < most) {
        struct kva__magazine *mag;
        kva_irq_t irq;

        irq = kva_port_lock(&mc->lock);
        mag = list_pop(&mc->full, &mc->nfull);
        if (mag == NULL) {
            mag = list_pop(&mc->empty, &mc->nempty);
        }
        kva_port_unlock(&mc->lock, irq);
        if (mag == NULL) {
            break;
        }
        done += mag_empty(mc, mag, most - done);
    }
    return done;
}

#if KVA_TIER >= 1
/* Which slots a drainer has closed; several may be at it at a time. */
struct closed {
    uint32_t bits[(KVA_CPU_MAX + 31) / 32];
};

/* Put the sentinel up in every slot that no other drainer is at; the magazines
 * go to held. */
static bool
slots_close(struct kva__magcache *mc, struct closed *closed)
{
    bool any = false;
    kva_irq_t irq;

    kva__memset(closed, 0, sizeof(*closed));
    for (unsigned c = 0; c < mc->ncpu; c++) {
        struct kva__magslot *slot = kva__mag_slot(mc, c);

        irq = kva_port_lock(&mc->lock);
        if (!slot->draining && slot->loaded != &sentinel) {
            slot->draining = 1;
            slot->held = slot->loaded;
            load(slot, &sentinel);
            closed->bits[c / 32] |= (uint32_t)1 << (c % 32);
            any = true;
        }
        kva_port_unlock(&mc->lock, irq);
    }
    return any;
}

/* Wait for the owner to leave; false if it does not in time. */
static bool
slot_wait(struct kva__magslot *slot)
{
    for (unsigned i = 0; i < DRAIN_SPINS; i++) {
        if (__atomic_load_n(&slot->busy, __ATOMIC_ACQUIRE) == 0) {
            return true;
        }
        kva_port_relax();
    }
    return false;
}

/*
 * Open a slot that we closed: its magazines to *mags, or, if the owner may
 * still be at the loaded one, back to where they were.
 */
static void
slot_open(struct kva__magcache *mc, struct kva__magslot *slot, bool ours,
          struct kva__magazine *mags[2])
{
    kva_irq_t irq;

    mags[0] = mags[1] = NULL;
    irq = kva_port_lock(&mc->lock);
    if (ours) {
        mags[0] = slot->held;
        mags[1] = slot->spare;
        slot->spare = NULL;
    } else {
        load(slot, slot->held);
    }
    slot->held = NULL;
    slot->draining = 0;
    kva_port_unlock(&mc->lock, irq);
}

/* alone: nobody else uses the cache, so no CPU need be asked. */
static size_t
slots_drain(struct kva__magcache *mc, size_t most, bool alone)
{
    struct closed closed;
    size_t done = 0;
    bool barrier;

    if (most == 0 || !slots_close(mc, &closed)) {
        return 0;
    }
    barrier = alone || kva_port_barrier() == 0;
    for (unsigned c = 0; c < mc->ncpu; c++) {
        struct kva__magslot *slot = kva__mag_slot(mc, c);
        struct kva__magazine *mags[2];

        if ((closed.bits[c / 32] >> (c % 32) & 1) == 0) {
            continue;
        }
        slot_open(mc, slot, barrier && done < most && slot_wait(slot), mags);
        for (unsigned i = 0; i < 2; i++) {
            if (mags[i] != NULL) {
                done += mag_empty(mc, mags[i], most - done);
            }
        }
    }
    return done;
}
#else
static size_t
slots_drain(struct kva__magcache *mc, size_t most, bool alone)
{
    (void)mc;
    (void)most;
    (void)alone;
    return 0;
}
#endif

size_t
kva__magcache_drain(struct kva__magcache *mc, size_t retain)
{
    size_t cached = kva__magcache_rounds(mc);
    size_t most = cached > retain ? cached - retain : 0;
    size_t done;

    if (retain == 0) {
        most = SIZE_MAX; /* empty magazines too */
    }
    done = depot_drain(mc, most);
    return done + slots_drain(mc, most - done, false);
}

void
kva__magcache_empty(struct kva__magcache *mc)
{
    (void)slots_drain(mc, SIZE_MAX, true);
    (void)depot_drain(mc, SIZE_MAX);
}

size_t
kva__magcache_drain_own(struct kva__magcache *mc)
{
    struct kva__magazine *mags[2] = { NULL, NULL };
    struct kva__magslot *slot;
    size_t done = 0;
    kva_irq_t irq = 0;
    unsigned cpu;

    slot = slot_enter(mc, &cpu, &irq);
    if (slot != NULL && !slot->draining) {
        mags[0] = slot->loaded != &sentinel ? slot->loaded : NULL;
        mags[1] = slot->spare;
        load(slot, &sentinel);
        slot->spare = NULL;
    }
    slot_exit(mc, slot, cpu, irq);
    for (unsigned i = 0; i < 2; i++) {
        if (mags[i] != NULL) {
            done += mag_empty(mc, mags[i], SIZE_MAX);
        }
    }
    return done + depot_drain(mc, SIZE_MAX);
}

/*
 * The magazines stay open: whoever puts something in looks whether anybody waits
 * and takes it out again.
 */
void
kva__mag_close(struct kva_vmem *root)
{
    (void)root;
}

void
kva__mag_open(struct kva_vmem *root)
{
    (void)root;
}

size_t
kva__magcache_rounds(struct kva__magcache *mc)
{
    size_t n = 0;
    kva_irq_t irq;

    irq = kva_port_lock(&mc->lock);
    for (struct kva__magazine *m = mc->full; m != NULL; m = m->next) {
        n += m->rounds;
    }
    for (unsigned c = 0; c < mc->ncpu; c++) {
        struct kva__magslot *slot = kva__mag_slot(mc, c);

        n += __atomic_load_n(&slot->loaded->rounds, __ATOMIC_RELAXED);
        n += slot->spare != NULL ? slot->spare->rounds : 0;
        n += slot->held != NULL
                 ? __atomic_load_n(&slot->held->rounds, __ATOMIC_RELAXED)
                 : 0;
    }
    kva_port_unlock(&mc->lock, irq);
    return n;
}

size_t
kva__magcache_bytes(struct kva__magcache *mc)
{
    size_t slots =
        mc->ncpu == 0
            ? 0
            : ((mc->ncpu + (1u << mc->slot_shift) - 1) >> mc->slot_shift)
                  << mc->slot_shift;

    return slots * sizeof(struct kva__magslot) +
           mc->nmags * mag_bytes(mc->capacity);
}
