/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moving objects, so that spans run empty and go back whole.
 *
 * The caches whose clients let objects be moved have an arena of their own
 * (kva_kmem_movable_arena), so that none of its spans holds anything that may
 * not.  Evacuation takes the emptiest span, and works through every slab in it,
 * of whatever cache:
 *
 *      window   A  ####.###  ##.#####     the fullest take what the emptiest has
 *               B  .#......  ..#...#.     <- shut, its slabs pinned
 *
 *   1. the arena shuts it: no new slab is made there (vmem/lookup.h);
 *   2. its slabs are PINNED: they serve nobody, and stay when they run empty;
 *   3. each live object is moved to where its cache would have put a new one,
 *      or into a new slab where a fuller span has room for one;
 *   4. slabs that are empty then go, the others are as they were.
 *
 * An object in a magazine is known by its state byte.  Magazines are emptied
 * before, and once more if a client said that an object was going; what is in
 * one after that is left.
 *
 * A target is LIVE before the client hears of it, for whoever finds it through
 * what the client changes may free it at once.  Until the client has answered
 * it is counted neither as free nor as out (nheld), so that a limit is not met
 * by an object that is there twice.
 *
 * Counts of a slab in `stuck': three times that its client said "later", or one
 * "no", and its span is not tried until one of its objects is freed, or the
 * client says that something has become movable.  A span of which something was
 * refused has KEPT_CALLS calls' rest: its word of use says meanwhile that it is full,
 * so that new objects fill it up.
 *
 * Locks: the move lock guards which cache has a callback and what is pinned.
 * Slabs of movable caches come to be known, and cease to be, with it held: so a
 * slab that is found by its address while it is held is there, and its cache.
 */
#include "pool/pool_impl.h"
#include "vmem/vmem_impl.h"

/* Spans that one call gives up before it ends. */
#define SPANS_FAILED_MAX 32u
/* Calls for which a span rests of which something was refused; how many can. */
#define KEPT_CALLS 8u
#define KEPT_MAX 32u
/* Moves that a pass of reclaim may ask for. */
#define CLEAN_MOVES 4096u
/* A span that is as full as that is not worth it, in 16ths. */
#define FULL_16THS 15u

struct kept {
    uintptr_t base;
    size_t bytes;
    unsigned calls; /* left; 0: unused */
};

static struct {
    kva_lock_t lock;
    struct kva_pool_cache *first; /* (m) of those that have a callback */
    bool running;                 /* (m) the fields below are his */
    bool cleans;                  /* the cleaner is registered */
    struct kva_cleaner cleaner;
    struct kept kept[KEPT_MAX];
    unsigned nkept; /* ever; the next one takes the oldest's place */
} moves;

/* One call. */
struct evacuation {
    struct kva_pool_evacuation *result;
    size_t left; /* calls of clients */
    uintptr_t shut[SPANS_FAILED_MAX];
    unsigned nshut;
    struct kva_pool_cache *pinned; /* caches with slabs of the span */
    uintptr_t base;                /* of the span */
    size_t bytes;
    size_t use;                 /* bytes in live objects in it */
    bool failed;                /* it will not run empty */
    bool stop;                  /* nor will another */
    struct kva_pool_cache *bad; /* said yes to what was not live */
    uintptr_t bad_object;
};

void
kva__move_bootstrap(void)
{
    kva_port_lock_init(&moves.lock, "moves", KVA_IPL_NONE, KVA_RANK_CACHE);
    moves.nkept = 0;
    for (unsigned i = 0; i < KEPT_MAX; i++) {
        moves.kept[i].calls = 0;
    }
}

void
kva__move_fini(void)
{
    KVA_ASSERT(moves.first == NULL);
    if (moves.cleans) {
        kva_reclaim_unregister(&moves.cleaner);
        moves.cleans = false;
    }
    kva_port_lock_fini(&moves.lock);
}

kva_irq_t
kva__move_lock(void)
{
    return kva_port_lock(&moves.lock);
}

void
kva__move_unlock(kva_irq_t irq)
{
    kva_port_unlock(&moves.lock, irq);
}

static struct kva_pool_cache *
cache_of(struct kva_pool *pp)
{
    return KVA_CONTAINER(pp, struct kva_pool_cache, slabs);
}

/* ---- spans that rest -------------------------------------------------- */

/* All that a window may hold, beside what it does. */
static void
kept_use(const struct kept *k, size_t bytes)
{
    size_t *use = kva__vmem_use(kva_kmem_movable_arena, k->base);

    if (use != NULL) {
        (void)__atomic_fetch_add(use, bytes, __ATOMIC_RELAXED);
    }
}

static void
kept_end(struct kept *k)
{
    if (k->calls != 0) {
        k->calls = 0;
        kept_use(k, (size_t)0 - k->bytes);
    }
}

static void
kept_add(uintptr_t base, size_t bytes)
{
    struct kept *k = &moves.kept[moves.nkept++ % KEPT_MAX];

    kept_end(k);
    *k = (struct kept){ base, bytes, KEPT_CALLS };
    kept_use(k, bytes);
}

static void
kept_age(void)
{
    for (unsigned i = 0; i < KEPT_MAX; i++) {
        struct kept *k = &moves.kept[i];

        if (k->calls == 1) {
            kept_end(k);
        } else if (k->calls > 1) {
            k->calls--;
        }
    }
}

/* ---- pinning ---------------------------------------------------------- */

/* The first slab of a cache in this span: it is one to be worked through. */
static void
pin_cache(struct evacuation *e, struct kva_pool_cache *pc)
{
    if (pc->npinned++ == 0) {
        pc->move_next_pinned = e->pinned;
        pc->move_full = false;
        e->pinned = pc;
    }
}

/* What a run of the span is: false if it will not go.  Move lock held. */
static bool
pin_slab(struct evacuation *e, uintptr_t addr)
{
    struct kva__slab *slab = kva__slab_of(addr);
    struct kva_pool *pp;
    bool pinned, may;
    kva_irq_t irq;

    if (slab == NULL || (slab->owner->flags & KVA__PR_MOVES) == 0 ||
        !cache_of(slab->owner)->moves) {
        return false;
    }
    pp = slab->owner;
    irq = kva__pool_lock(pp);
    pinned = kva__slab_pin(pp, slab);
    may = kva__slab_stuck(slab) < KVA__SLAB_STUCK;
    kva__pool_unlock(pp, irq);
    if (pinned) {
        pin_cache(e, cache_of(pp));
    }
    return pinned && may;
}

static void
pin_span(struct evacuation *e)
{
    kva_vmem_t *vm = kva_kmem_movable_arena;
    uintptr_t at = e->base, last = e->base + (e->bytes - 1u);
    size_t bytes;

    while (!e->failed && at >= e->base && at <= last &&
           kva__vmem_next_run(vm, &at, last, &bytes)) {
        kva_irq_t irq = kva__move_lock();

        e->failed = !pin_slab(e, at);
        kva__move_unlock(irq);
        at += bytes;
    }
}

/* Those that are empty go, if the marks let them. */
static bool
unpin_slabs(struct kva_pool_cache *pc)
{
    struct kva_pool *pp = &pc->slabs;
    bool all = true, more;

    do {
        kva_irq_t irq = kva__pool_lock(pp);
        struct kva__slab *slab = pp->file[KVA__SLAB_PINNED];
        bool gone = kva__slab_unpin(pp, slab);

        kva__pool_unlock(pp, irq);
        if (gone) {
            kva__slab_destroy(pp, slab);
        }
        all = all && gone;
        irq = kva__move_lock();
        more = --pc->npinned != 0; /* with the last one the cache may go */
        kva__move_unlock(irq);
    } while (more);
    return all;
}

static bool
unpin_span(struct evacuation *e)
{
    bool all = !e->failed;

    while (e->pinned != NULL) {
        struct kva_pool_cache *pc = e->pinned;

        e->pinned = pc->move_next_pinned;
        all = unpin_slabs(pc) && all;
    }
    return all;
}

/* ---- where objects go ------------------------------------------------- */

/*
 * See to it that there is an empty slab in a span that is in use, if one has
 * room: it serves if its span is fuller than those of the partial slabs.  One in
 * a span of which nothing is in use would be no gain.
 */
static void
target_slab(struct kva_pool_cache *pc)
{
    struct kva_pool *pp = &pc->slabs;
    struct kva__slab *slab;
    const size_t *use;
    kva_irq_t irq;
    bool have;

    irq = kva__pool_lock(pp);
    have = pp->nempty != 0;
    kva__pool_unlock(pp, irq);
    if (have || pc->move_full) {
        return;
    }
    slab = kva__slab_create(pp, KVA_PR_NOWAIT, false);
    if (slab == NULL) {
        pc->move_full = true;
        return;
    }
    use = kva__vmem_use(kva_kmem_movable_arena, kva__slab_base(slab));
    if (use == NULL || __atomic_load_n(use, __ATOMIC_RELAXED) == 0) {
        pc->move_full = true;
        kva__slab_destroy(pp, slab);
        return;
    }
    irq = kva__pool_lock(pp);
    kva__slab_add(pp, slab);
    kva__pool_unlock(pp, irq);
}

/* An object for the next one to be moved to, constructed; 0: none. */
static uintptr_t
target_get(struct evacuation *e, struct kva_pool_cache *pc)
{
    struct kva_pool *pp = &pc->slabs;
    struct kva__place place;
    uintptr_t object;
    kva_irq_t irq;

    target_slab(pc);
    irq = kva__pool_lock(pp);
    object = pp->nfree > pp->lowat ? kva__slab_target(pp) : 0;
    kva__pool_unlock(pp, irq);
    if (object == 0) {
        return 0;
    }
    if (pc->ctor == NULL || pc->ctor(pc->arg, (void *)object, PR_NOWAIT) == 0) {
        return object;
    }
    e->result->failed++;
    irq = kva__pool_lock(pp);
    (void)kva__slab_find(pp, object, &place);
    kva__slab_untarget(pp, &place);
    kva__pool_unlock(pp, irq);
    return 0;
}

/* It was not used: it is as its constructor left it. */
static void
target_put(struct kva_pool_cache *pc, uintptr_t object)
{
    struct kva_pool *pp = &pc->slabs;
    struct kva__place place;
    kva_irq_t irq;

    if (object == 0) {
        return;
    }
    if (pc->dtor != NULL) {
        pc->dtor(pc->arg, (void *)object);
    }
    irq = kva__pool_lock(pp);
    (void)kva__slab_find(pp, object, &place);
    kva__slab_untarget(pp, &place);
    kva__pool_unlock(pp, irq);
}

/* The client has moved an object: where it was is free.  False: it was not
 * live, and so not the client's. */
static bool
moved(struct kva_pool_cache *pc, const struct kva__place *place,
      uintptr_t object)
{
    struct kva_pool *pp = &pc->slabs;
    kva_irq_t irq;

    if (!kva__place_is_live(place)) {
        return false;
    }
    if (pc->dtor != NULL) {
        pc->dtor(pc->arg, (void *)object);
    }
    irq = kva__pool_lock(pp);
    kva__slab_moved(pp, place);
    kva__pool_unlock(pp, irq);
    return true;
}

/* ---- one object, one slab, one span ----------------------------------- */

/* The client does not want the slab's objects moved, now or at all. */
static void
note_stuck(struct kva_pool_cache *pc, struct kva__slab *slab, unsigned n)
{
    kva_irq_t irq = kva__pool_lock(&pc->slabs);

    n += kva__slab_stuck(slab);
    kva__slab_set_stuck(slab, n < KVA__SLAB_STUCK ? n : KVA__SLAB_STUCK);
    kva__pool_unlock(&pc->slabs, irq);
}

/* Ask the client.  Returns the target if it is still to be used. */
static uintptr_t
move_one(struct evacuation *e, struct kva_pool_cache *pc,
         const struct kva__place *place, uintptr_t from, uintptr_t to)
{
    struct kva_pool_evacuation *r = e->result;

    e->left--;
    r->calls++;
    switch (pc->move(pc->move_arg, (void *)from, (void *)to)) {
    case KVA_MOVE_YES:
        r->moves++;
        if (!moved(pc, place, from)) {
            e->bad = pc;
            e->bad_object = from;
            e->stop = e->failed = true;
            return 0;
        }
        return 0;
    case KVA_MOVE_NO:
        r->no++;
        note_stuck(pc, place->slab, KVA__SLAB_STUCK);
        e->failed = true;
        break;
    case KVA_MOVE_LATER:
        r->later++;
        note_stuck(pc, place->slab, 1);
        e->failed = true;
        break;
    case KVA_MOVE_GONE:
        r->gone++;
        pc->move_again = true;
        break;
    case KVA_MOVE_UNKNOWN:
    default:
        r->unknown++;
        e->failed = true;
        break;
    }
    return to;
}

/* Its live objects elsewhere, as far as the budget goes and the cache has room:
 * if it has none the span does not run empty, but slabs of others do. */
static uintptr_t
move_slab(struct evacuation *e, struct kva_pool_cache *pc,
          struct kva__slab *slab, uintptr_t to)
{
    struct kva_pool *pp = &pc->slabs;
    struct kva__place place = { .slab = slab };

    for (uint32_t i = 0; i < pp->nobj && !e->failed; i++) {
        place.index = i;
        place.state = kva__slab_states(pp, slab) + i;
        if (!kva__place_is_live(&place)) {
            continue;
        }
        if (to == 0) {
            to = target_get(e, pc);
        }
        if (to == 0 || e->left == 0) {
            pc->move_over = true;
            e->failed = e->left == 0;
            break;
        }
        to = move_one(e, pc, &place, kva__slab_object(slab, i), to);
    }
    return to;
}

/* Pinned slabs of a cache stay in their list while they are pinned, and nobody
 * else pins. */
static void
move_cache(struct evacuation *e, struct kva_pool_cache *pc)
{
    struct kva__slab *slab;
    uintptr_t to = 0;

    pc->move_again = false;
    pc->move_over = false;
    (void)kva__magcache_drain(&pc->mags, 0);
    for (slab = pc->slabs.file[KVA__SLAB_PINNED];
         slab != NULL && !e->failed && !pc->move_over; slab = slab->next) {
        to = move_slab(e, pc, slab, to);
    }
    target_put(pc, to);
}

static void
move_span(struct evacuation *e)
{
    for (struct kva_pool_cache *pc = e->pinned; pc != NULL && !e->failed;
         pc = pc->move_next_pinned) {
        move_cache(e, pc);
        if (pc->move_again && !e->failed) {
            move_cache(e, pc); /* what was going has gone, or is cached */
        }
    }
}

/* ---- which span ------------------------------------------------------- */

/*
 * Is there room in the other spans, as they are, for the objects of this one?
 * An eighth more than they take, for headers, and for room that is another
 * cache's.
 */
static bool
span_fits(struct evacuation *e)
{
    size_t held = vmem_size(kva_kmem_movable_arena, VMEM_ALLOC | VMEM_FREE);
    size_t out = 0, rest;
    kva_irq_t irq = kva__move_lock();

    for (struct kva_pool_cache *pc = moves.first; pc != NULL;
         pc = pc->move_next) {
        kva_irq_t inner = kva__pool_lock(&pc->slabs);

        out += (pc->slabs.nout + pc->slabs.nheld) * pc->slabs.size;
        kva__pool_unlock(&pc->slabs, inner);
    }
    kva__move_unlock(irq);
    rest = e->bytes + out - (out < e->use ? out : e->use);
    return held > rest && held - rest >= e->use + e->use / 8;
}

/* The emptiest one, shut; false: none is worth it. */
static bool
span_choose(struct evacuation *e)
{
    kva_vmem_t *vm = kva_kmem_movable_arena;
    const size_t *use;

    e->base = 1; /* no window begins there */
    e->pinned = NULL;
    e->failed = false;
    if (!kva__vmem_shut_emptiest(vm, &e->base, &e->bytes)) {
        return false;
    }
    use = kva__vmem_use(vm, e->base);
    e->use = use == NULL ? 0 : __atomic_load_n(use, __ATOMIC_RELAXED);
    if (e->use >= e->bytes / 16 * FULL_16THS || !span_fits(e)) {
        kva__vmem_open(vm, e->base);
        return false;
    }
    return true;
}

/* What slabs there were is in the magazines of the arena: from there the next
 * target would come. */
static void
span_emptied(struct evacuation *e)
{
    kva_vmem_t *vm = kva_kmem_movable_arena;

    kva__qcache_drain(vm, 0, 0, KVA__DRAIN_SLOTS);
    kva__vmem_open(vm, e->base);
    e->result->spans++;
}

static bool
span_evacuate(struct evacuation *e)
{
    bool refused, any;

    if (!span_choose(e)) {
        return false;
    }
    pin_span(e);
    any = e->pinned != NULL;
    if (!e->failed) {
        move_span(e);
    }
    refused = e->failed && e->left > 0 && !e->stop;
    if (unpin_span(e) && any) {
        span_emptied(e);
        return !e->stop;
    }
    e->shut[e->nshut++] = e->base;
    if (refused) {
        kept_add(e->base, e->bytes);
    }
    return !e->stop && e->nshut < SPANS_FAILED_MAX;
}

bool
pool_evacuate(size_t moves_max, struct kva_pool_evacuation *result)
{
    struct evacuation e = { .result = result, .left = moves_max };
    kva_vmem_t *vm = kva_kmem_movable_arena;
    kva_irq_t irq;
    bool busy;

    *result = (struct kva_pool_evacuation){ .spans = 0 };
    kva__pool_bootstrap();
    irq = kva__move_lock();
    busy = moves.running || moves.first == NULL || vm == NULL;
    moves.running = moves.running || !busy;
    kva__move_unlock(irq);
    if (busy) {
        return false;
    }
    kept_age();
    kva__qcache_drain(vm, 0, 0, KVA__DRAIN_SLOTS);
    while (e.left > 0 && span_evacuate(&e)) {
    }
    while (e.nshut > 0) {
        kva__vmem_open(vm, e.shut[--e.nshut]);
    }
    irq = kva__move_lock();
    moves.running = false;
    kva__move_unlock(irq);
    if (result->spans > 0) {
        result->bytes = vmem_drain(vm, SIZE_MAX, 0);
    }
    if (e.bad != NULL) {
        kva__pool_bad_put("pool_evacuate", &e.bad->slabs, e.bad_object,
                          KVA__OBJECT_LIVE);
    }
    return e.left == 0;
}

/* ---- clients ---------------------------------------------------------- */

static size_t
moves_clean(void *arg, struct kva_want *want)
{
    struct kva_pool_evacuation result;

    (void)arg;
    (void)pool_evacuate(
        want->work < CLEAN_MOVES ? (unsigned)want->work : CLEAN_MOVES, &result);
    want->work -= result.calls;
    return result.bytes;
}

int
pool_cache_set_move(pool_cache_t pc,
                    enum kva_pool_move (*fn)(void *, void *, void *), void *arg)
{
    struct kva_pool *pp = &pc->slabs;
    bool first;
    kva_irq_t irq;

    if (fn == NULL || pp->ipl != KVA_IPL_NONE ||
        (pp->flags & KVA_PR_PSERIALIZE) != 0 ||
        pp->allocator->pa_alloc != NULL ||
        (pp->allocator->arena != &kva_kmem_arena &&
         pp->allocator->arena != &kva_kmem_movable_arena)) {
        return KVA_EINVAL;
    }
    /* With a debug mode objects have more to them than their bytes. */
    if (kva_kmem_movable_arena == NULL || kva__pool_debugged(pp)) {
        return KVA_ENOTSUP;
    }
    if (pp->nslabs != 0 || pc->move != NULL) {
        return KVA_EBUSY;
    }
    pc->movable = *pp->allocator;
    pc->movable.arena = &kva_kmem_movable_arena;
    pp->allocator = &pc->movable;
    pp->flags |= KVA__PR_MOVES;
    pc->move = fn;
    pc->move_arg = arg;
    irq = kva__move_lock();
    pc->moves = true;
    pc->move_next = moves.first;
    moves.first = pc;
    first = !moves.cleans;
    moves.cleans = true;
    kva__move_unlock(irq);
    if (first) {
        moves.cleaner.clean = moves_clean;
        moves.cleaner.name = "moves";
        moves.cleaner.stage = KVA_STAGE_MOVES;
        kva_reclaim_register(&moves.cleaner);
    }
    return 0;
}

void
kva__move_end(struct kva_pool_cache *pc)
{
    struct kva_pool_cache **link;
    kva_irq_t irq;

    if (!pc->moves) {
        return;
    }
    irq = kva__move_lock();
    pc->moves = false;
    for (link = &moves.first; *link != pc; link = &(*link)->move_next) {
    }
    *link = pc->move_next;
    while (pc->npinned != 0) {
        kva__move_unlock(irq);
#if KVA_TIER >= 1
        kva_port_relax();
#endif
        irq = kva__move_lock();
    }
    kva__move_unlock(irq);
}

void
pool_cache_move_notify(pool_cache_t pc, void *object)
{
    struct kva_pool *pp = &pc->slabs;
    uintptr_t addr = (uintptr_t)object;
    struct kva__place place;
    kva_irq_t irq;
    bool live;

    irq = kva__pool_lock(pp);
    live = kva__slab_find(pp, addr, &place) && kva__place_is_live(&place);
    if (live) {
        kva__slab_set_stuck(place.slab, 0);
    }
    kva__pool_unlock(pp, irq);
    if (!live) {
        kva__pool_bad_put("pool_cache_move_notify", pp, addr, KVA__OBJECT_LIVE);
    }
}
