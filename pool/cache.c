/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool_cache(9): a pool, magazines over it, and constructed objects in them.
 *
 *     get --hit--> magazine --miss--> depot --empty--> slabs, ctor
 *     put --hit--> magazine --full--> depot --full---> dtor, slabs
 *
 * An object in a magazine has the state CACHED, one with a caller LIVE.  A put
 * checks it and turns it back as the object goes into the magazine, so the
 * second of two puts is caught wherever the first one went.  With checks at
 * flush only, both are LIVE, and what is wrong is found when the object meets
 * its slab.
 */
#include "pool/pool_impl.h"

static struct kva__meta_store cache_store;

void
kva__cache_bootstrap(void)
{
    kva__meta_store_init(&cache_store, "pool caches",
                         (sizeof(struct kva_pool_cache) + 7) & ~(size_t)7,
                         KVA_META_OTHER, 0);
}

/* ---- the supplier of the magazines ----------------------------------- */

/* Objects from on are not constructed: back to their slabs. */
static unsigned
cache_construct(struct kva_pool_cache *pc, struct kva__round *round, unsigned n,
                unsigned flags)
{
    int wait = (int)(flags & (PR_WAITOK | PR_NOWAIT));

    for (unsigned i = 0; i < n; i++) {
        if (pc->ctor(pc->arg, (void *)round[i].object, wait) != 0) {
            kva__pool_give(&pc->slabs, round + i, n - i, KVA__OBJECT_OUT,
                           "pool_cache_get");
            return i;
        }
    }
    return n;
}

static unsigned
cache_fill(void *arg, uintptr_t *words, unsigned n, unsigned flags)
{
    struct kva_pool_cache *pc = arg;
    struct kva__round *round = (struct kva__round *)(void *)words;
    unsigned got = kva__limbo_pop(pc, round, n);

    if (got != 0) {
        return got; /* they are constructed */
    }
    got = kva__pool_take(&pc->slabs, round, n, flags, KVA__OBJECT_OUT);
    if (pc->ctor != NULL) {
        got = cache_construct(pc, round, got, flags);
    }
    return got;
}

static void
cache_drain(void *arg, uintptr_t *words, unsigned n)
{
    struct kva_pool_cache *pc = arg;
    struct kva__round *round = (struct kva__round *)(void *)words;

    if (KVA_UNLIKELY((pc->slabs.flags & KVA__PR_LIMBO) != 0)) {
        kva__limbo_push(pc, round, n);
        return;
    }
    for (unsigned i = 0; pc->dtor != NULL && i < n; i++) {
        pc->dtor(pc->arg, (void *)round[i].object);
    }
    kva__pool_give(&pc->slabs, round, n, KVA__OBJECT_OUT, "pool_cache_put");
}

static const struct kva__mag_supplier cache_supplier = { cache_fill,
                                                         cache_drain };

/*
 * Rounds of a magazine at first.  A magazine with its header fills a power of
 * two bytes and holds up to 4 KiB of objects: two of them at each CPU, for each
 * of a hundred caches, must not weigh on a small system.  (Recorded kernel
 * build, 4.5 MB live in 70 caches, two CPUs: 8 % of the live bytes are in
 * magazines of up to 14 rounds, with twice the rounds 11 %.)  With traffic, and
 * enough objects that are live, they grow (magazine.c).
 */
static unsigned
rounds_for(size_t size, unsigned flags)
{
    unsigned n = size <= 256 ? 12 : size <= 1024 ? 4 : 2;

    return (flags & PR_LARGECACHE) != 0 ? 4u * n : n;
}

/* So many times as many at the most: two CPUs' magazines of the largest objects
 * hold 128 KiB then. */
#define ROUNDS_GROW 8u

/* Full magazines that a depot keeps: what one CPU frees while another one
 * allocates passes through here. */
#define DEPOT_FULL_MAX 2u

/*
 * What a depot gives out again was not placed by its span, so where placement
 * matters most, with large objects, it does not learn: with 16 magazines of
 * them, 64 or as many as an eighth of what is out, the reclaim trace holds at
 * the end of phase 2c 7, 22 and 34 MiB more after a drain, of 189.  Small ones
 * may have 254 KiB there (64 magazines of 62 objects of 64 bytes): what one
 * CPU allocates ahead of another one that frees, thousands of them.
 */
#define DEPOT_SMALL 128u
#define DEPOT_FULL_LIMIT 64u

/* ---- making and unmaking --------------------------------------------- */

static size_t cache_clean(void *arg, struct kva_want *want);

int
pool_cache_bootstrap(pool_cache_t pc, size_t size, unsigned align,
                     unsigned align_offset, int flags, const char *name,
                     struct kva_pool_allocator *pa, enum kva_ipl ipl,
                     int (*ctor)(void *arg, void *object, int flags),
                     void (*dtor)(void *arg, void *object), void *arg)
{
    unsigned public_flags = (unsigned)flags & (KVA__PR_PUBLIC | KVA__PR_SIZES);
    unsigned rounds, most;
    int error = kva__pool_setup(&pc->slabs, size, align, align_offset,
                                public_flags | KVA__PR_CACHE, name, pa, ipl);

    if (error != 0) {
        return error;
    }
    kva__memset(&pc->limbo, 0, sizeof(pc->limbo));
    if ((public_flags & PR_PSERIALIZE) != 0 && dtor != NULL) {
        pc->slabs.flags |= KVA__PR_LIMBO;
    }
    pc->ctor = ctor;
    pc->dtor = dtor;
    pc->arg = arg;
    pa = pc->slabs.allocator;
    pc->move = NULL;
    pc->moves = false;
    pc->npinned = 0;
    rounds = rounds_for(pc->slabs.size, public_flags);
    /* None where each get and put is to be seen. */
    most = kva__pool_debugged(&pc->slabs) ? 0 : ROUNDS_GROW * rounds;
    kva__magcache_init(
        &pc->mags,
        &(struct kva__mag_config){
            .name = name,
            .ipl = ipl,
            .words = KVA__ROUND_WORDS,
            .capacity = rounds,
            .capacity_max = most,
            .full_max = DEPOT_FULL_MAX,
            .full_limit = pc->slabs.size <= DEPOT_SMALL ? DEPOT_FULL_LIMIT : 0,
            .supplier = &cache_supplier,
            .arg = pc,
            .arena = pa->pa_alloc != NULL ? NULL : pa->arena,
            .hit = &pc->slabs.rows,
        });
    pc->slabs.cleaner.clean = cache_clean;
    pc->slabs.cleaner.arg = pc;
    kva_reclaim_register(&pc->slabs.cleaner);
    return 0;
}

void
kva__cache_show(struct kva_pool_cache *pc)
{
    kva__magcache_show(&pc->mags, &pc->slabs.sized_rows);
}

/* What is out and in no magazine is somebody's.  Unregistered from reclaim: a
 * pass has objects in its hands that are in no magazine. */
void
kva__pool_cache_expect_idle(struct kva_pool_cache *pc, const char *func)
{
    bool idle;

    kva_reclaim_unregister(&pc->slabs.cleaner);
    kva__pools_unlink(&pc->slabs);
    (void)kva__debug_flush(&pc->slabs, func);
    idle = pc->slabs.nout ==
           kva__magcache_rounds(&pc->mags) + kva__limbo_count(pc);
    kva__pools_link(&pc->slabs);
    kva_reclaim_register(&pc->slabs.cleaner);
    if (!idle) {
        kva__debug_expect_clean(&pc->slabs, func);
        kva__pool_bad_destroy(func, &pc->slabs);
    }
}

static void
cache_teardown(struct kva_pool_cache *pc, const char *func)
{
    kva__pool_check_wait(func, &pc->slabs);
    kva__move_end(pc);
    kva__pool_cache_expect_idle(pc, func);
    kva_reclaim_unregister(&pc->slabs.cleaner);
    kva__pools_unlink(&pc->slabs);
    kva__magcache_fini(&pc->mags);
    (void)kva__limbo_settle(pc);
    kva__pool_teardown(&pc->slabs, func);
}

void
pool_cache_bootstrap_destroy(pool_cache_t pc)
{
    cache_teardown(pc, "pool_cache_bootstrap_destroy");
}

pool_cache_t
pool_cache_init(size_t size, unsigned align, unsigned align_offset, int flags,
                const char *name, struct kva_pool_allocator *pa,
                enum kva_ipl ipl,
                int (*ctor)(void *arg, void *object, int flags),
                void (*dtor)(void *arg, void *object), void *arg)
{
    pool_cache_t pc;

    kva__pool_bootstrap();
    pc = kva__meta_get(&cache_store);
    if (pc != NULL &&
        pool_cache_bootstrap(pc, size, align, align_offset, flags, name, pa,
                             ipl, ctor, dtor, arg) != 0) {
        kva__meta_put(&cache_store, pc);
        pc = NULL;
    }
    return pc;
}

void
pool_cache_destroy(pool_cache_t pc)
{
    cache_teardown(pc, "pool_cache_destroy");
    kva__meta_put(&cache_store, pc);
}

/* ---- get and put ----------------------------------------------------- */

/* As the flags say; NULL stays. */
static void *
zeroed(const struct kva_pool_cache *pc, void *object, int flags)
{
    if (object != NULL && ((unsigned)flags & PR_ZERO) != 0) {
        __builtin_memset(object, 0, pc->slabs.size);
    }
    return object;
}

__attribute__((noinline)) void *
kva__cache_get_slow(struct kva_pool_cache *pc, int flags, size_t asked,
                    const void *caller)
{
    struct kva__round round;
    unsigned cpu;
    bool got;

    kva__pool_check_flags("pool_cache_get", &pc->slabs, (unsigned)flags);
    if (kva__pool_debugged(&pc->slabs)) {
        return kva__debug_get("pool_cache_get", &pc->slabs, (unsigned)flags,
                              asked, caller);
    }
    KVA__USED(asked);
    KVA__USED(caller);
    /* It may be for the flags that this is not a hit. */
    cpu = kva_cpu_enter_hit();
    got = kva__cache_take(&pc->slabs, cpu, &round);
    kva_cpu_exit(cpu);
    if (!got && kva__reserve_entitled((unsigned)flags)) {
        return zeroed(pc, kva__reserve_cache_get(pc, (unsigned)flags), flags);
    }
    if (!got && !kva__mag_get_slow(&pc->mags, (unsigned)flags,
                                   (uintptr_t *)(void *)&round)) {
        return NULL;
    }
    return zeroed(pc, kva__round_revive(&round), flags);
}

void *
pool_cache_get(pool_cache_t pc, int flags)
{
    struct kva__round round;
    unsigned cpu;
    bool got;

    if (KVA_UNLIKELY((unsigned)flags - 1u > 1u)) {
        return kva__cache_get_slow(pc, flags, 0, __builtin_return_address(0));
    }
    cpu = kva_cpu_enter_hit();
    got = kva__cache_take(&pc->slabs, cpu, &round);
    kva_cpu_exit(cpu);
    if (KVA_UNLIKELY(!got)) {
        return kva__cache_get_slow(pc, flags, 0, __builtin_return_address(0));
    }
    return kva__round_revive(&round);
}

/* To the magazines of the CPU, or by way of them to the slabs. */
static void
cache_put(struct kva_pool_cache *pc, uint8_t *state, uintptr_t addr)
{
    struct kva__round round = { .object = addr };
    unsigned cpu = kva_cpu_enter_hit();
    bool put = kva__cache_give(KVA__ONCE(pc->slabs.rows), cpu, state, addr);

    kva_cpu_exit(cpu);
    if (!put) {
#if KVA_CONFIG_CHECKS
        round.state = (uintptr_t)state;
        kva__state_set(state, KVA__OBJECT_CACHED);
#endif
        kva__mag_put_slow(&pc->mags, (uintptr_t *)(void *)&round);
    }
}

static void
put_place(const char *func, struct kva_pool_cache *pc, uintptr_t addr,
          const struct kva__place *place)
{
    if (KVA_RESERVES && place->state != NULL &&
        kva__state_get(place->state) == KVA__OBJECT_RESERVED) {
        kva__reserve_cache_put(pc, addr, place, func);
    } else {
        cache_put(pc, place->state, addr);
    }
}

void
kva__cache_put_place(struct kva_pool_cache *pc, uintptr_t addr,
                     const struct kva__place *place)
{
    put_place("free", pc, addr, place);
}

/* With checks at flush only, what is put is told apart while something of the
 * reserve is out. */
static bool
is_looked_at(const struct kva_pool_cache *pc)
{
    return KVA_CONFIG_CHECKS ||
           (KVA_RESERVES &&
            __atomic_load_n(&pc->slabs.reserve_out, __ATOMIC_RELAXED) != 0);
}

__attribute__((noinline)) bool
kva__cache_put_slow(const char *func, struct kva_pool_cache *pc, uintptr_t addr,
                    size_t size, const void *caller)
{
    struct kva__place place = { .state = NULL };

    if (kva__pool_debugged(&pc->slabs)) {
        return kva__debug_put(func, &pc->slabs, addr, size, caller);
    }
    KVA__USED(size);
    KVA__USED(caller);
    if (is_looked_at(pc) && (!kva__slab_find(&pc->slabs, addr, &place) ||
                             !kva__place_is_live(&place))) {
        return false;
    }
    put_place(func, pc, addr, &place);
    return true;
}

static __attribute__((noinline)) void
put_slow(struct kva_pool_cache *pc, uintptr_t addr, const void *caller)
{
    if (!kva__cache_put_slow("pool_cache_put", pc, addr, 0, caller)) {
        kva__pool_bad_put("pool_cache_put", &pc->slabs, addr, KVA__OBJECT_LIVE);
    }
}

void
pool_cache_put(pool_cache_t pc, void *object)
{
    if (!kva__cache_hit_put(&pc->slabs, (uintptr_t)object)) {
        put_slow(pc, (uintptr_t)object, __builtin_return_address(0));
    }
}

void
pool_cache_destruct_object(pool_cache_t pc, void *object)
{
    const char *func = "pool_cache_destruct_object";
    uintptr_t addr = (uintptr_t)object;
    struct kva__round round = { .object = addr };
    struct kva__place place;

    /* The destructor may not run on what is no object of ours. */
    if (!kva__slab_find(&pc->slabs, addr, &place) ||
        !kva__place_is_live(&place)) {
        kva__pool_bad_put(func, &pc->slabs, addr, KVA__OBJECT_LIVE);
    }
    if (kva__pool_debugged(&pc->slabs)) {
        (void)kva__debug_put(func, &pc->slabs, addr, 0,
                             __builtin_return_address(0));
        return;
    }
    kva__state_set(place.state, KVA__OBJECT_OUT);
#if KVA_CONFIG_CHECKS
    round.state = (uintptr_t)place.state;
#endif
    cache_drain(pc, (uintptr_t *)(void *)&round, 1);
    (void)kva__limbo_settle(pc);
}

/* ---- giving back ----------------------------------------------------- */

size_t
kva__cache_flush(struct kva_pool *pp)
{
    struct kva_pool_cache *pc = kva__cache_of(pp);
    size_t drained, settled;

    if (kva__pool_debugged(pp)) {
        return kva__debug_flush(pp, "pool_cache_drain");
    }
    if (pc == NULL) {
        return 0;
    }
    drained = kva__magcache_drain(&pc->mags, 0);
    settled = kva__limbo_settle(pc);
    return (pp->flags & KVA__PR_LIMBO) != 0 ? settled : drained;
}

/* Beyond the objects that the bytes wanted hold, take so many more out of the
 * magazines at a time: the others in their slabs may be live. */
#define DRAIN_STEP 512u

/* Take objects out of the magazines for bytes, down to keep of them.  False:
 * that was all there is to be had. */
static bool
cache_drain_step(struct kva_pool_cache *pc, size_t bytes, size_t keep)
{
    size_t step = kva__pool_divide(bytes, pc->slabs.size) + DRAIN_STEP;
    size_t rounds = kva__magcache_rounds(&pc->mags), left = keep, done;

    if (rounds > keep && rounds - keep > step) {
        left = rounds - step;
    }
    done = kva__magcache_drain(&pc->mags, left);
    (void)kva__limbo_settle(pc);
    return done != 0 && left != keep;
}

/*
 * Empty slabs first, they cost nothing; then what magazines hold beyond the
 * objects that are to stay.  floor: slabs for those that are in no magazine stay,
 * too.
 */
static size_t
drain_keeping(struct kva_pool_cache *pc, size_t bytes, size_t keep, bool floor)
{
    size_t before = kva__pool_released(&pc->slabs), rounds, most, done = 0;
    bool more = true;

    while (done < bytes) {
        rounds = floor ? kva__magcache_rounds(&pc->mags) : keep;
        most = kva__pool_spare(&pc->slabs, rounds < keep ? keep - rounds : 0);
        most = bytes - done < most ? bytes - done : most;
        (void)kva__pool_trim(&pc->slabs, true, most);
        done = kva__pool_released(&pc->slabs) - before;
        if (done >= bytes || !more) {
            break;
        }
        more = cache_drain_step(pc, bytes - done, keep);
    }
    kva__pool_settle(&pc->slabs);
    return done;
}

size_t
pool_cache_drain(pool_cache_t pc, size_t bytes, size_t retain)
{
    size_t before;

    kva__pool_require(&pc->slabs, "pool_cache_drain");
    before = kva__pool_released(&pc->slabs);
    (void)kva__debug_flush(&pc->slabs, "pool_cache_drain");
    before = kva__pool_released(&pc->slabs) - before;
    return before + drain_keeping(pc, bytes > before ? bytes - before : 0,
                                  kva__pool_divide(retain, pc->slabs.size),
                                  false);
}

static size_t
cache_clean(void *arg, struct kva_want *want)
{
    struct kva_pool_cache *pc = arg;

    kva__pool_call_hook(&pc->slabs);
    (void)kva__debug_flush(&pc->slabs, "pool_cache_drain");
    return drain_keeping(pc, want->bytes,
                         kva__pool_divide(want->retain, pc->slabs.size), true);
}

void
pool_cache_invalidate(pool_cache_t pc)
{
    kva__pool_check_wait("pool_cache_invalidate", &pc->slabs);
    (void)kva__debug_flush(&pc->slabs, "pool_cache_invalidate");
    (void)kva__magcache_drain(&pc->mags, 0);
    while (kva__limbo_count(pc) != 0 && kva__limbo_settle(pc) == 0) {
#if KVA_TIER >= 1
        kva_port_relax(); /* somebody else is at it */
#endif
    }
}

bool
pool_cache_reclaim(pool_cache_t pc)
{
    size_t before;

    kva__pool_require(&pc->slabs, "pool_cache_reclaim");
    before = kva__pool_released(&pc->slabs); /* the hook's puts count */
    kva__pool_call_hook(&pc->slabs);
    (void)pool_cache_drain(pc, SIZE_MAX, 0);
    return kva__pool_released(&pc->slabs) != before;
}

/* ---- what is the pool's ---------------------------------------------- */

void
pool_cache_set_drain_hook(pool_cache_t pc, void (*fn)(void *arg, int flags),
                          void *arg)
{
    kva_pool_set_drain_hook(&pc->slabs, fn, arg);
}

void
pool_cache_setlowat(pool_cache_t pc, int n)
{
    kva_pool_setlowat(&pc->slabs, n);
}

void
pool_cache_sethiwat(pool_cache_t pc, int n)
{
    kva_pool_sethiwat(&pc->slabs, n);
}

void
pool_cache_sethardlimit(pool_cache_t pc, int n, const char *warnmess,
                        int ratecap)
{
    kva_pool_sethardlimit(&pc->slabs, n, warnmess, ratecap);
}

int
pool_cache_prime(pool_cache_t pc, int n)
{
    return kva_pool_prime(&pc->slabs, n);
}

int
pool_cache_setreserve(pool_cache_t pc, int n)
{
    return kva_pool_setreserve(&pc->slabs, n);
}

void
pool_cache_stat(pool_cache_t pc, struct kva_pool_stat *st)
{
    struct kva__mag_stat mags;

    kva__pool_require(&pc->slabs, "pool_cache_stat");
    kva_pool_stat(&pc->slabs, st);
    kva__magcache_stat(&pc->mags, &mags);
    st->objects_cached += mags.rounds;
    st->objects_waiting = kva__limbo_count(pc);
    st->objects_per_magazine = mags.capacity;
    st->magazine_bytes = mags.bytes;
}

unsigned
pool_cache_nget(pool_cache_t pc)
{
    return kva_pool_nget(&pc->slabs);
}

unsigned
pool_cache_nput(pool_cache_t pc)
{
    return kva_pool_nput(&pc->slabs);
}
