/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The magazine layer's slow paths; magazine.h has the theory and the hit paths,
 * magazine_drain.c what takes things out of other CPUs' slots, close.c the list
 * of all caches.
 *
 * A get that misses: swap loaded and spare; or take a full magazine from the
 * depot; or take the empty spare out, have the supplier fill it, and load it.
 * A put that misses: swap; or change the full spare for an empty magazine of
 * the depot; or take the full spare out, give what is in it to the supplier,
 * and load it.  In each case a whole magazine of operations is over before the
 * next miss, but for swaps to and fro: that is Bonwick and Adams' bound, one
 * entry in as many operations as a magazine has rounds.
 *
 * Magazines are made by gets only: two for a slot, and up to full_max more that
 * wait empty in the depot.  So a put never allocates.
 *
 * The depot.  Theirs keeps what comes, and is trimmed to what was used between
 * two updates.  Ours has a limit besides, full_max, for there need not be
 * updates: when a magazine was emptied for want of room, and later one must be
 * filled, room for one more would have saved both, and the limit rises by one,
 * up to a share of what is out (DEPOT_SHARE), and to what the cache allows:
 * what is freed and taken again by way of the depot does not go where placement
 * would have it.  It falls by what an update finds unused, and to its first
 * value when all is drained.
 *
 * Capacity.  Bonwick and Adams double it while the depot's lock is contended; a
 * port's lock does not tell, so it is the traffic that counts, and the room
 * that there is for it: see may_grow.  It goes back when there is little
 * traffic between two updates.  Magazines of another capacity than the present
 * one are let go when they come by empty.
 */
#include "vmem/magazine_impl.h"

/* Magazines are blocks of 64 to 1024 bytes. */
#define STORE_MIN_SHIFT 5u
#define STORES 6u
static struct kva__meta_store stores[STORES];

static unsigned ncpu_default; /* CPUs with slots of their own */
static unsigned ncpu_named;   /* CPUs that kva_cpu_enter may name */

/* Its header has two words. */
static uintptr_t sentinel[2u + KVA__MAG_WORDS_MAX];
struct kva__magazine *kva__mag_sentinel;
_Static_assert(sizeof(struct kva__magazine) == 2u * sizeof(uintptr_t),
               "a magazine's header has two words");

uintptr_t kva__mag_no_rows[1u + KVA__MAG_PARTS + KVA_CPU_MAX + 1u];

void
kva__mag_row_init(uintptr_t *row, unsigned width)
{
    row[KVA__MAG_OPEN] = (uintptr_t)row;
    for (unsigned i = 0; i < width; i++) {
        row[i] = 0;
        row[width + i] = (uintptr_t)kva__mag_sentinel;
    }
}

/* n rows, all of them nobody's. */
static void
rows_init(struct kva__mag_rows *rows, unsigned n)
{
    kva__mag_row_init(rows->nobodys, 1);
    for (unsigned i = 0; i < n; i++) {
        rows->row[i] = rows->nobodys;
    }
}

void
kva__mag_bootstrap(void)
{
    for (unsigned i = 0; i < STORES; i++) {
        kva__meta_store_init(&stores[i], "magazines",
                             (size_t)1 << (STORE_MIN_SHIFT + i),
                             KVA_META_MAGAZINES, 0);
    }
    kva__mag_sentinel = (struct kva__magazine *)(void *)sentinel;
    kva__mag_sentinel->step = SIZE_MAX;
    for (unsigned i = 0; i < KVA__MAG_WORDS_MAX; i++) {
        kva__mag_sentinel->word[i] = KVA__MAG_END;
    }
    rows_init(KVA__MAG_NO_ROWS, KVA_CPU_MAX + 1u);
    kva__mag_registry_bootstrap();
#if KVA_TIER >= 1
    kva__mag_set_ncpu(kva_port_cpu_count());
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

/* ---- magazines -------------------------------------------------------- */

/* With its header, next and END. */
static size_t
mag_bytes(const struct kva__magcache *mc, unsigned capacity)
{
    return sizeof(struct kva__magazine) +
           (capacity * mc->words + 2u) * KVA__MAG_WORD;
}

static struct kva__magazine *
mag_new(struct kva__magcache *mc)
{
    struct kva__magazine *mag;

    if (mc->capacity == 0) {
        return NULL;
    }
    mag = kva__meta_get(store_for(mag_bytes(mc, mc->capacity)));
    if (mag != NULL) {
        mag->step = mc->words * KVA__MAG_WORD;
        mag->capacity = (uint16_t)mc->capacity;
        *kva__mag_round(mag, at_of(mc, mc->capacity)) = KVA__MAG_END;
        mc->bytes += mag_bytes(mc, mc->capacity);
    }
    return mag;
}

void
kva__mag_free(struct kva__magcache *mc, struct kva__magazine *mag)
{
    mc->bytes -= mag_bytes(mc, mag->capacity);
    kva__meta_put(store_for(mag_bytes(mc, mag->capacity)), mag);
}

/* ---- the depot, locked ------------------------------------------------ */

/* An empty one that has not the present capacity goes. */
void
kva__mag_push(struct kva__magcache *mc, struct kva__magazine *mag)
{
    if (mag->rounds != 0) {
        mag->word[0] = (uintptr_t)mc->full;
        mc->full = mag;
        mc->nfull++;
    } else if (mag->capacity == mc->capacity) {
        mag->word[0] = (uintptr_t)mc->empty;
        mc->empty = mag;
        mc->nempty++;
    } else {
        kva__mag_free(mc, mag);
    }
}

struct kva__magazine *
kva__mag_pop_full(struct kva__magcache *mc)
{
    struct kva__magazine *mag = mc->full;

    if (mag != NULL) {
        mc->full = (struct kva__magazine *)mag->word[0];
        mc->nfull--;
        if (mc->nfull < mc->nfull_min) {
            mc->nfull_min = mc->nfull;
        }
    }
    return mag;
}

struct kva__magazine *
kva__mag_pop_empty(struct kva__magcache *mc)
{
    struct kva__magazine *mag = mc->empty;

    if (mag != NULL) {
        mc->empty = (struct kva__magazine *)mag->word[0];
        mc->nempty--;
        if (mc->nempty < mc->nempty_min) {
            mc->nempty_min = mc->nempty;
        }
    }
    return mag;
}

/* ---- how large the depot may be, locked ------------------------------- */

/* One part in so many of what the supplier has given may lie there at the first
 * regret; beyond it a magazine more takes so many regrets, up to all that is
 * out.  (With a quarter in place of an eighth the build trace wired 0.5 MiB
 * more.) */
#define DEPOT_SHARE 8u
#define DEPOT_PATIENCE 512u

/* A magazine is about to be filled.  Was one emptied before? */
static void
depot_regret(struct kva__magcache *mc)
{
    size_t rounds = (mc->full_max + 1u) * (size_t)mc->capacity;
    size_t out = __atomic_load_n(&mc->out, __ATOMIC_RELAXED);

    if (mc->spilled == 0 || mc->full_max >= mc->full_limit) {
        return;
    }
    mc->spilled--;
    if (out >= rounds * DEPOT_SHARE) {
        mc->full_max++;
    } else if (out >= rounds && ++mc->regrets >= DEPOT_PATIENCE) {
        mc->full_max++;
        mc->regrets = 0;
    }
}

/* So many have been of no use, or all were taken away. */
static void
depot_fit(struct kva__magcache *mc, unsigned unused)
{
    mc->spilled = 0;
    mc->regrets = 0;
    mc->full_max = mc->full_max - mc->full_min > unused ? mc->full_max - unused
                                                        : mc->full_min;
}

void
kva__mag_depot_reset(struct kva__magcache *mc)
{
    depot_fit(mc, mc->full_max);
}

/* ---- capacity, locked ------------------------------------------------- */

/*
 * Traffic that makes a magazine twice as large: so many entries of the slow
 * path at one capacity.  At 64 a cache that is used in bursts of a few hundred
 * things grows once or twice.
 */
#define GROW_TRAFFIC 64u

/* At most a sixty-fourth of what the supplier has given lies in magazines, all
 * of them full, once they have grown.  (With a sixteenth the vmap trace wired 3
 * % more, with a thirty-second and less nothing more.) */
#define GROW_SHARE 64u

/* Or a quarter of it, where traffic is heavy. */
#define GROW_TRAFFIC_HEAVY 4096u
#define GROW_SHARE_HEAVY 4u

/* Rounds that a block twice as large, or half as large, has room for. */
static unsigned
capacity_twice(const struct kva__magcache *mc)
{
    size_t bytes = 64, most;

    if (mc->capacity == 0) {
        return 1;
    }
    while (bytes < mag_bytes(mc, mc->capacity + 1u)) {
        bytes *= 2;
    }
    most = (bytes - mag_bytes(mc, 0)) / KVA__MAG_WORD;
    most = mc->words == 2 ? most / 2 : most;
    return most < mc->capacity_max ? (unsigned)most : mc->capacity_max;
}

static bool
may_grow(const struct kva__magcache *mc, unsigned capacity)
{
    size_t rounds = capacity * (2u * slots_of(mc) + mc->full_min);
    size_t out = __atomic_load_n(&mc->out, __ATOMIC_RELAXED);

    return out >= rounds * GROW_SHARE || (mc->traffic >= GROW_TRAFFIC_HEAVY &&
                                          out >= rounds * GROW_SHARE_HEAVY);
}

static void
count_traffic(struct kva__magcache *mc)
{
    unsigned capacity;

    if (++mc->traffic < GROW_TRAFFIC || mc->capacity >= mc->capacity_max) {
        return;
    }
    capacity = capacity_twice(mc);
    if (may_grow(mc, capacity)) {
        mc->capacity = capacity;
        mc->traffic = 0;
    }
}

/* Less traffic than this between two updates, and capacity is halved: a CPU's
 * two magazines of half the size would have gone to the depot twice as
 * often. */
#define SHRINK_TRAFFIC (GROW_TRAFFIC / 4u)

static void
capacity_fit(struct kva__magcache *mc)
{
    if (mc->traffic < SHRINK_TRAFFIC && mc->capacity > mc->capacity_min) {
        mc->capacity /= 2;
        if (mc->capacity < mc->capacity_min) {
            mc->capacity = mc->capacity_min;
        }
    }
    mc->traffic = 0;
}

/*
 * Bonwick and Adams, 3.3: what has lain in the depot through all of an interval
 * was not of the working set.
 */
void
kva__magcache_update(struct kva__magcache *mc)
{
    unsigned nfull, nempty;
    kva_irq_t irq;

    irq = kva_port_lock(&mc->lock);
    nfull = mc->nfull_min;
    nempty = mc->nempty_min;
    depot_fit(mc, nfull + nempty);
    for (; nempty > 0 && mc->nempty > 0; nempty--) {
        kva__mag_free(mc, kva__mag_pop_empty(mc));
    }
    capacity_fit(mc);
    kva_port_unlock(&mc->lock, irq);
    for (; nfull > 0; nfull--) {
        struct kva__magazine *mag;

        irq = kva_port_lock(&mc->lock);
        mag = kva__mag_pop_full(mc);
        kva_port_unlock(&mc->lock, irq);
        if (mag == NULL) {
            break;
        }
        (void)kva__mag_empty(mc, mag, SIZE_MAX);
    }
    irq = kva_port_lock(&mc->lock);
    mc->nfull_min = mc->nfull;
    mc->nempty_min = mc->nempty;
    kva_port_unlock(&mc->lock, irq);
}

/* ---- in a slot, the slow way ------------------------------------------ */

/*
 * The caller's slot, entered, and the depot locked; false if it has none, or is
 * in an interrupt that came while it was inside.  Pinned in any case.
 */
bool
kva__mag_slot_enter(struct kva__magcache *mc, struct mag_entry *e)
{
    e->cpu = kva_cpu_enter();
    e->row = __atomic_load_n(&mc->row[e->cpu + 1u], __ATOMIC_ACQUIRE);
    e->open =
        (uintptr_t *)__atomic_load_n(&e->row[KVA__MAG_OPEN], __ATOMIC_RELAXED);
    e->in = e->open != mc->nobodys;
    if (e->in) {
        __atomic_store_n(&e->row[KVA__MAG_OPEN], (uintptr_t)mc->nobodys,
                         __ATOMIC_RELAXED);
        KVA_COMPILER_BARRIER();
        e->at = at_now(mc, e->row);
        e->irq = kva_port_lock(&mc->lock);
    }
    return e->in;
}

void
kva__mag_slot_exit(struct kva__magcache *mc, struct mag_entry *e)
{
    if (e->in) {
        kva_port_unlock(&mc->lock, e->irq);
        __atomic_store_n(part(mc, e->row, KVA__MAG_AT), e->at,
                         __ATOMIC_RELAXED);
        __atomic_store_n(&e->row[KVA__MAG_OPEN], (uintptr_t)e->open,
                         __ATOMIC_RELEASE);
    }
    kva_cpu_exit(e->cpu);
}

/* What is loaded comes out: NULL if nothing is. */
struct kva__magazine *
kva__mag_unload(struct kva__magcache *mc, struct mag_entry *e)
{
    struct kva__magazine *mag = loaded(mc, e->row);

    if (mag == kva__mag_sentinel) {
        return NULL;
    }
    mag->rounds = (uint16_t)rounds_of(mc, e->at);
    loaded_set(mc, e->row, kva__mag_sentinel);
    return mag;
}

static void
load(struct kva__magcache *mc, struct mag_entry *e, struct kva__magazine *mag)
{
    if (mag != NULL) {
        e->at = at_of(mc, mag->rounds);
        loaded_set(mc, e->row, mag);
    }
}

static void
swap(struct kva__magcache *mc, struct mag_entry *e)
{
    struct kva__magazine *mag = kva__mag_unload(mc, e);

    load(mc, e, spare(mc, e->row));
    spare_set(mc, e->row, mag);
}

static bool
has_rounds(struct kva__magcache *mc, struct mag_entry *e)
{
    return loaded(mc, e->row) != kva__mag_sentinel && rounds_of(mc, e->at) != 0;
}

/* Bring a magazine with rounds into loaded, if there is one. */
static void
slot_for_get(struct kva__magcache *mc, struct mag_entry *e)
{
    struct kva__magazine *other = spare(mc, e->row), *full;

    if (has_rounds(mc, e)) {
        return;
    }
    if (other != NULL && other->rounds > 0) {
        swap(mc, e);
        return;
    }
    full = kva__mag_pop_full(mc);
    if (full == NULL) {
        return;
    }
    if (other != NULL) {
        kva__mag_push(mc, other);
    }
    spare_set(mc, e->row, kva__mag_unload(mc, e));
    load(mc, e, full);
}

static bool
has_room(struct kva__magcache *mc, struct mag_entry *e)
{
    return loaded(mc, e->row) != kva__mag_sentinel &&
           rounds_of(mc, e->at) < loaded(mc, e->row)->capacity;
}

/* Bring a magazine with room into loaded, if there is one. */
static void
slot_for_put(struct kva__magcache *mc, struct mag_entry *e)
{
    struct kva__magazine *other = spare(mc, e->row), *empty;

    if (has_room(mc, e)) {
        return;
    }
    if (other != NULL && other->rounds < other->capacity) {
        swap(mc, e);
        return;
    }
    if (mc->nfull >= mc->full_max) {
        return;
    }
    empty = kva__mag_pop_empty(mc);
    if (empty == NULL) {
        return;
    }
    if (other != NULL) {
        kva__mag_push(mc, other);
    }
    spare_set(mc, e->row, kva__mag_unload(mc, e));
    load(mc, e, empty);
}

/* An empty one, or none, and one of the present capacity in its place, if there
 * is memory for it. */
static struct kva__magazine *
renew(struct kva__magcache *mc, struct kva__magazine *mag)
{
    struct kva__magazine *fresh;

    if (mag != NULL && mag->capacity == mc->capacity) {
        return mag;
    }
    fresh = kva__mag_pop_empty(mc);
    if (fresh == NULL) {
        fresh = mag_new(mc);
    }
    if (fresh != NULL && mag != NULL) {
        kva__mag_free(mc, mag);
    }
    return fresh != NULL ? fresh : mag;
}

/*
 * A get that goes to the supplier makes the magazines that puts will need: at
 * its first time one, then the spare, then one for the depot.  What the slot
 * has is empty.  Which one is to be filled comes out of it: NULL if there is
 * no memory.
 */
static struct kva__magazine *
slot_equip(struct kva__magcache *mc, struct mag_entry *e)
{
    struct kva__magazine *mag = spare(mc, e->row), *more;
    bool first = loaded(mc, e->row) == kva__mag_sentinel && mag == NULL;

    if (!first) {
        load(mc, e, renew(mc, kva__mag_unload(mc, e)));
        if (mc->nfull + mc->nempty < mc->full_max &&
            (more = mag_new(mc)) != NULL) {
            kva__mag_push(mc, more);
        }
    }
    spare_set(mc, e->row, NULL);
    return renew(mc, mag);
}

/* A drainer who is at it still looks into the depot last, so it goes there. */
struct kva__magazine *
kva__mag_held_take(struct kva__magcache *mc, struct mag_entry *e)
{
    uintptr_t *held = part(mc, e->row, KVA__MAG_HELD);
    bool taken = (*held & HELD_TAKEN) != 0;
    struct kva__magazine *mag = (struct kva__magazine *)(*held & ~HELD_TAKEN);

    if (mag == NULL) {
        return NULL;
    }
    *held &= HELD_TAKEN;
    mag->rounds = (uint16_t)rounds_of(mc, e->at);
    if (taken && !kva__mag_closed(mc)) {
        kva__mag_push(mc, mag);
        mag = NULL;
    }
    return mag;
}

static void
round_copy(const struct kva__magcache *mc, uintptr_t *to, const uintptr_t *from)
{
    to[0] = from[0];
    if (mc->words == 2) {
        to[1] = from[1];
    }
}

/* ---- get and put ------------------------------------------------------ */

/* Is what is loaded of no use any more to a get, or to a put? */
static bool
is_spent(struct kva__magcache *mc, struct mag_entry *e, bool get)
{
    return get ? !has_rounds(mc, e) : !has_room(mc, e);
}

/*
 * A magazine that came out of a slot goes into the slot in which the caller is
 * now: loaded, spare, or else to the depot.
 */
static void
slot_return(struct kva__magcache *mc, struct kva__magazine *mag, bool get)
{
    struct kva__magazine *held = NULL, *other;
    struct mag_entry e;

    if (kva__mag_slot_enter(mc, &e)) {
        held = kva__mag_held_take(mc, &e);
        if (!kva__mag_closed(mc)) {
            other = mag;
            if (is_spent(mc, &e, get)) {
                other = kva__mag_unload(mc, &e);
                load(mc, &e, mag);
            }
            if (other != NULL && spare(mc, e.row) == NULL) {
                spare_set(mc, e.row, other);
            } else if (other != NULL) {
                kva__mag_push(mc, other);
            }
            mag = NULL;
        }
    }
    kva__mag_slot_exit(mc, &e);
    if (held != NULL) {
        (void)kva__mag_empty(mc, held, SIZE_MAX);
    }
    if (mag != NULL) {
        (void)kva__mag_empty(mc, mag, SIZE_MAX);
    }
}

/* From the caller's slot or the depot; otherwise *mag is one to be filled, or
 * NULL, and how many rounds to put in it. */
static bool
get_cached(struct kva__magcache *mc, uintptr_t *round,
           struct kva__magazine **mag, unsigned *want)
{
    struct kva__magazine *held = NULL;
    struct mag_entry e;
    bool hit = false;

    if (kva__mag_slot_enter(mc, &e)) {
        mc->misses_get++;
        count_traffic(mc);
        held = kva__mag_held_take(mc, &e);
        if (!kva__mag_closed(mc)) {
            slot_for_get(mc, &e);
            hit = has_rounds(mc, &e);
            if (hit) {
                e.at -= loaded(mc, e.row)->step;
                round_copy(mc, round, kva__mag_round(loaded(mc, e.row), e.at));
            } else {
                depot_regret(mc);
                *mag = slot_equip(mc, &e);
                if (*mag != NULL) {
                    *want = loaded(mc, e.row) != kva__mag_sentinel
                                ? (*mag)->capacity
                                : ((*mag)->capacity + 1u) / 2u;
                }
            }
        }
    }
    kva__mag_slot_exit(mc, &e);
    if (held != NULL) {
        (void)kva__mag_empty(mc, held, SIZE_MAX);
    }
    return hit;
}

/* The last round of a magazine that is in no slot is handed out. */
static void
round_take(struct kva__magcache *mc, struct kva__magazine *mag,
           uintptr_t *round)
{
    mag->rounds--;
    round_copy(mc, round, kva__mag_round(mag, at_of(mc, mag->rounds)));
}

/* Bytes of a row of one cache: a cache line. */
#define ROW_BYTES                                           \
    ((1u + KVA__MAG_PARTS) * KVA__MAG_WORD < KVA_CACHE_LINE \
         ? (size_t)KVA_CACHE_LINE                           \
         : (1u + KVA__MAG_PARTS) * KVA__MAG_WORD)

/*
 * The cache's own rows, at its first miss.  A kmem of which a machine uses a few
 * sizes would have rows for 76 caches otherwise, 5 KB for each CPU.
 */
static void
own_rows_make(struct kva__magcache *mc)
{
    kva_irq_t irq;

    irq = kva_port_lock(&mc->lock);
    if (mc->ncpu == 0 &&
        kva__mag_rows_make(mc->row, store_for(ROW_BYTES), 1, ncpu_default)) {
        __atomic_store_n(&mc->ncpu, (uint16_t)ncpu_default, __ATOMIC_RELEASE);
    }
    kva_port_unlock(&mc->lock, irq);
}

bool
kva__mag_get_slow(struct kva__magcache *mc, unsigned flags, uintptr_t *round)
{
    struct kva__magazine *mag = NULL;
    unsigned want = 1, got;

    if (KVA_UNLIKELY(slots_of(mc) == 0 && mc->ntable != 0)) {
        own_rows_make(mc);
    }
    if (get_cached(mc, round, &mag, &want)) {
        return true;
    }
    got = mc->supplier->fill(
        mc->arg, mag == NULL ? round : kva__mag_round(mag, at_of(mc, 0)), want,
        flags);
    (void)__atomic_fetch_add(&mc->out, got, __ATOMIC_RELAXED);
    if (mag != NULL) {
        mag->rounds = (uint16_t)got;
        if (got != 0) {
            round_take(mc, mag, round);
        }
        slot_return(mc, mag, true);
    }
    return got != 0;
}

void
kva__mag_give(struct kva__magcache *mc, uintptr_t *round, unsigned n)
{
    (void)__atomic_fetch_sub(&mc->out, n, __ATOMIC_RELAXED);
    mc->supplier->drain(mc->arg, round, n);
}

/* Into the caller's slot; otherwise *mag is a full one to be emptied, or
 * NULL. */
static bool
put_cached(struct kva__magcache *mc, const uintptr_t *round,
           struct kva__magazine **mag)
{
    struct kva__magazine *held = NULL;
    struct mag_entry e;
    bool done = false;

    if (kva__mag_slot_enter(mc, &e)) {
        mc->misses_put++;
        count_traffic(mc);
        held = kva__mag_held_take(mc, &e);
        if (!kva__mag_closed(mc)) {
            slot_for_put(mc, &e);
            done = has_room(mc, &e);
            if (done) {
                round_copy(mc, kva__mag_round(loaded(mc, e.row), e.at), round);
                e.at += loaded(mc, e.row)->step;
            } else {
                *mag = spare(mc, e.row);
                spare_set(mc, e.row, NULL);
                if (*mag == NULL) {
                    *mag = kva__mag_unload(mc, &e);
                }
                mc->spilled += *mag != NULL;
            }
        }
    }
    kva__mag_slot_exit(mc, &e);
    if (held != NULL) {
        (void)kva__mag_empty(mc, held, SIZE_MAX);
    }
    return done;
}

void
kva__mag_put_slow(struct kva__magcache *mc, const uintptr_t *round)
{
    struct kva__magazine *mag = NULL;
    uintptr_t one[2];

    if (put_cached(mc, round, &mag)) {
        return;
    }
    if (mag == NULL) {
        round_copy(mc, one, round);
        kva__mag_give(mc, one, 1);
        return;
    }
    kva__mag_give(mc, kva__mag_round(mag, at_of(mc, 0)), mag->rounds);
    round_copy(mc, kva__mag_round(mag, at_of(mc, 0)), round);
    mag->rounds = 1;
    slot_return(mc, mag, false);
}

/* ---- making and ending ------------------------------------------------ */

void
kva__mag_rows_free(uintptr_t **table, struct kva__meta_store *store,
                   uintptr_t *nobodys, unsigned ncpu)
{
    for (unsigned c = 0; c < ncpu; c++) {
        if (table[c + 1u] != nobodys) {
            kva__meta_put(store, &table[c + 1u][KVA__MAG_OPEN]);
        }
        table[c + 1u] = nobodys;
    }
}

bool
kva__mag_rows_make(uintptr_t **table, struct kva__meta_store *store,
                   unsigned width, unsigned ncpu)
{
    uintptr_t *blocks = NULL, *next; /* each has the next in its first word */

    for (unsigned c = 0; c < ncpu; c++) {
        uintptr_t *block = kva__meta_get(store);

        if (block == NULL) {
            for (; blocks != NULL; blocks = next) {
                next = (uintptr_t *)*blocks;
                kva__meta_put(store, blocks);
            }
            return false;
        }
        *block = (uintptr_t)blocks;
        blocks = block;
    }
    for (unsigned c = 0; c < ncpu; c++, blocks = next) {
        next = (uintptr_t *)*blocks;
        kva__mag_row_init(blocks + 1, width);
        __atomic_store_n(&table[c + 1u], blocks + 1, __ATOMIC_RELEASE);
    }
    return true;
}

/* Bytes of a table of n rows, nobody's open and row included. */
static size_t
rows_bytes(unsigned n)
{
    return KVA__MAG_WORD + sizeof(struct kva__mag_rows) +
           n * sizeof(uintptr_t *);
}

static void
rows_publish(struct kva__magcache *mc, struct kva__mag_rows *rows)
{
    for (unsigned i = 0; i < KVA_COUNT(mc->hit); i++) {
        if (mc->hit[i] != NULL) {
            __atomic_store_n(mc->hit[i], rows, __ATOMIC_RELEASE);
        }
    }
}

static void
rows_use(struct kva__magcache *mc, struct kva__mag_rows *rows)
{
    mc->rows = rows;
    mc->row = rows->row;
    mc->nobodys = rows->nobodys;
    rows_publish(mc, rows);
}

void
kva__magcache_hide(struct kva__magcache *mc, bool hidden)
{
    rows_publish(mc, hidden ? KVA__MAG_NO_ROWS : mc->rows);
}

void
kva__magcache_show(struct kva__magcache *mc, struct kva__mag_rows **hit)
{
    mc->hit[1] = hit;
    rows_use(mc, mc->rows);
}

/* A table for rows of the cache's own, which come with the first miss. */
static void
own_table_make(struct kva__magcache *mc)
{
    size_t bytes = rows_bytes(ncpu_named + 1u);
    struct kva__mag_rows *rows;
    uintptr_t *block;

    rows_use(mc, KVA__MAG_NO_ROWS);
    mc->ncpu = 0;
    mc->ntable = 0;
    if (ncpu_default == 0 || mc->capacity_max == 0) {
        return;
    }
    block = bytes > MAG_BYTES_MAX ? kva__meta_page_get(KVA_META_MAGAZINES)
                                  : kva__meta_get(store_for(bytes));
    if (block == NULL) {
        return;
    }
    rows = (struct kva__mag_rows *)(void *)(block + 1);
    rows_init(rows, ncpu_named + 1u);
    mc->ntable = (uint16_t)(ncpu_named + 1u);
    rows_use(mc, rows);
}

static void
own_rows_free(struct kva__magcache *mc)
{
    size_t bytes = rows_bytes(mc->ntable);
    uintptr_t *block = &mc->nobodys[KVA__MAG_OPEN];

    if (mc->ntable == 0) {
        return;
    }
    kva__mag_rows_free(mc->row, store_for(ROW_BYTES), mc->nobodys, mc->ncpu);
    if (bytes > MAG_BYTES_MAX) {
        kva__meta_page_put(block, KVA_META_MAGAZINES);
    } else {
        kva__meta_put(store_for(bytes), block);
    }
    rows_use(mc, KVA__MAG_NO_ROWS);
    mc->ncpu = 0;
    mc->ntable = 0;
}

/* A cache of before the CPUs were counted: it has nothing in its slots that
 * another thread could be at. */
static void
rows_renew(struct kva__magcache *mc, void *arg)
{
    (void)arg;
    if (mc->own_rows && mc->ntable < ncpu_named + 1u) {
        kva__magcache_empty(mc);
        own_rows_free(mc);
        own_table_make(mc);
    }
}

void
kva__mag_set_ncpu(unsigned ncpu)
{
    ncpu_default = ncpu < KVA_CPU_MAX ? ncpu : KVA_CPU_MAX;
    ncpu_named = ncpu_default;
#if KVA_TIER >= 1
    if (kva_port_cpu_count() > ncpu_named) {
        ncpu_named = kva_port_cpu_count();
    }
#else
    ncpu_default = 0;
#endif
    kva__mag_visit(rows_renew, NULL);
}

static unsigned
at_most(unsigned n, unsigned most)
{
    return n < most ? n : most;
}

void
kva__magcache_init(struct kva__magcache *mc,
                   const struct kva__mag_config *config)
{
    unsigned most =
        config->words == 2 ? KVA__MAG_ROUNDS_MAX(2u) : KVA__MAG_ROUNDS_MAX(1u);

    kva__memset(mc, 0, sizeof(*mc));
    kva_port_lock_init(&mc->lock, config->name, config->ipl, KVA_RANK_DEPOT);
    mc->supplier = config->supplier;
    mc->arg = config->arg;
    mc->arena = config->arena;
    mc->words = (uint16_t)config->words;
    mc->capacity_max = at_most(config->capacity_max, most);
    mc->capacity_min = at_most(config->capacity, mc->capacity_max);
    mc->capacity = mc->capacity_min;
    mc->full_max = config->full_max;
    mc->full_min = config->full_max;
    mc->full_limit = config->full_limit;
    mc->own_rows = config->row == NULL;
    if (mc->own_rows) {
        for (unsigned p = 0; p < KVA__MAG_PARTS; p++) {
            mc->part[p] = (uint16_t)p;
        }
        mc->hit[0] = config->hit;
        own_table_make(mc);
    } else {
        mc->row = config->row;
        mc->nobodys = config->nobodys;
        mc->ncpu = (uint16_t)config->ncpu;
        for (unsigned p = 0; p < KVA__MAG_PARTS; p++) {
            mc->part[p] = config->part[p];
        }
    }
    kva__mag_register(mc);
}

void
kva__magcache_fini(struct kva__magcache *mc)
{
    kva__mag_unregister(mc);
    kva__magcache_empty(mc);
    if (mc->own_rows) {
        own_rows_free(mc);
    }
    kva_port_lock_fini(&mc->lock);
}

/* ---- looking ---------------------------------------------------------- */

/* Rounds in a slot's magazines.  Locked; what its owner does now is not
 * seen. */
static size_t
slot_rounds(struct kva__magcache *mc, uintptr_t *row)
{
    uintptr_t held = *part(mc, row, KVA__MAG_HELD) & ~HELD_TAKEN;
    size_t n = 0;

    if (loaded(mc, row) != kva__mag_sentinel || held != 0) {
        n = rounds_of(mc, at_now(mc, row));
    }
    return n + (spare(mc, row) != NULL ? spare(mc, row)->rounds : 0u);
}

size_t
kva__magcache_rounds(struct kva__magcache *mc)
{
    size_t n = 0;
    kva_irq_t irq;

    irq = kva_port_lock(&mc->lock);
    for (struct kva__magazine *m = mc->full; m != NULL;
         m = (struct kva__magazine *)m->word[0]) {
        n += m->rounds;
    }
    for (unsigned c = 0; c < slots_of(mc); c++) {
        n += slot_rounds(mc, mc->row[c + 1u]);
    }
    kva_port_unlock(&mc->lock, irq);
    return n;
}

size_t
kva__magcache_bytes(struct kva__magcache *mc)
{
    size_t rows = 0;

    if (mc->ntable != 0) {
        rows = mc->ncpu * ROW_BYTES + rows_bytes(mc->ntable);
    }
    return rows + mc->bytes;
}
