/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slabs: made from an arena, filled and emptied, put back.
 *
 * Placement decides how much comes back later.  An object is taken from the
 * slab that lies in the fullest span, so that the others get a chance to run
 * empty and go back whole; of those in one span, from the lowest; in a slab it
 * is the lowest one.  Slabs that are empty serve last, and those that would have
 * served first of them stay longest.
 *
 *     full      list    no free object
 *     partial   tree    some are free: the first one serves (slab_tree.c)
 *     empty     tree    all are free: the first one serves, the last one goes
 *     pinned    list    under evacuation, serves nobody (move.c)
 *     reserve   lists   full, partial and empty: for the entitled (reserve.c)
 *
 * How full a span is, in 32nds, is a slab's LEVEL.  Pools count in a word of
 * the window what they have out there (vmem/lookup.h).  Other objects change it,
 * so the level by which a slab is filed may be old.  A slab is filed anew when
 * it is about to serve, or to go, and its span has become emptier, or fuller: a
 * few times at most.  And whenever a slab has been filled, one more is looked
 * at, in turn, so that those in spans that others have filled are found as well.
 * A drain looks at all of them.  (To file each slab anew at each change of its
 * level is exact, and made frees at random over 1.25 GiB take three times as
 * long.)
 *
 * Where an arena has no windows, the level is the slab's own fullness.
 *
 * Nothing is ever written into a free object.
 *
 * Invariants
 *   S1  a slab is in the list or tree that its count of free objects names, or
 *       is pinned.
 *   S2  bit i of the map is set if and only if state i is FREE, and nfree is
 *       the number of such bits.
 *   S3  nslabs * nobj = nfree + nout + nheld + reserve_free.
 *   S4  reserve_free are the free objects of the reserve's slabs, and
 *       reserve_out the others there.  An object that is RESERVED is in one.
 */
#include "pool/debug.h"
#include "pool/pool_impl.h"

/* ---- where a slab is filed ------------------------------------------- */

/* Slabs whose level is corrected before one is taken as it is. */
#define REFILE_MAX 8u

/* A level is a 32nd of a window of 512 quanta. */
#define LEVEL_SHIFT 4u
#define LEVEL_MAX 32u

/* The count of the slab's window, or NULL: it lies in none. */
static size_t *
use_of(kva_vmem_t *vm, const struct kva__slab *slab)
{
    return vm == NULL ? NULL : kva__vmem_use(vm, kva__slab_base(slab));
}

static unsigned
level_of(const struct kva_pool *pp, const struct kva__slab *slab)
{
    kva_vmem_t *vm = kva__pool_arena(pp);
    const size_t *use = use_of(vm, slab);
    size_t level;

    if (use == NULL) {
        return KVA__POOL_LEVELS - (slab->nfree * pp->list_scale >> 16);
    }
    level = __atomic_load_n(use, __ATOMIC_RELAXED) >>
            (vm->quantum_shift + LEVEL_SHIFT);
    return level < LEVEL_MAX ? (unsigned)level : LEVEL_MAX;
}

/* So many bytes more, or less, are out of the slab's span. */
static void
use_add(const struct kva_pool *pp, const struct kva__slab *slab, size_t bytes)
{
    size_t *use = use_of(kva__pool_arena(pp), slab);

    if (use != NULL) {
        (void)__atomic_fetch_add(use, bytes, __ATOMIC_RELAXED);
    }
}

static void
list_insert(struct kva__slab **head, struct kva__slab *slab)
{
    slab->prev = NULL;
    slab->next = *head;
    if (*head != NULL) {
        (*head)->prev = slab;
    }
    *head = slab;
}

static void
list_remove(struct kva__slab **head, struct kva__slab *slab)
{
    if (slab->prev != NULL) {
        slab->prev->next = slab->next;
    } else {
        *head = slab->next;
    }
    if (slab->next != NULL) {
        slab->next->prev = slab->prev;
    }
}

unsigned
kva__slab_file_of(const struct kva_pool *pp, const struct kva__slab *slab)
{
    bool reserve = kva__slab_is_reserve(slab);

    if (slab->nfree == 0) {
        return reserve ? KVA__SLAB_RESERVE_FULL : KVA__SLAB_FULL;
    }
    if (slab->nfree == pp->nobj) {
        return reserve ? KVA__SLAB_RESERVE_EMPTY : KVA__SLAB_EMPTY;
    }
    return reserve ? KVA__SLAB_RESERVE_PARTIAL : KVA__SLAB_PARTIAL;
}

static void
file_insert(struct kva_pool *pp, struct kva__slab *slab, unsigned file)
{
    slab->file = (uint8_t)file;
    if (KVA__SLAB_IN_TREE(file)) {
        kva__slab_set_level(slab, level_of(pp, slab));
        kva__slab_tree_insert(&pp->file[file], slab);
    } else {
        list_insert(&pp->file[file], slab);
    }
}

static void
file_remove(struct kva_pool *pp, struct kva__slab *slab)
{
    if (KVA__SLAB_IN_TREE(slab->file)) {
        kva__slab_tree_remove(&pp->file[slab->file], slab);
    } else {
        list_remove(&pp->file[slab->file], slab);
    }
    slab->file = KVA__SLAB_APART;
}

static void
refile(struct kva_pool *pp, struct kva__slab *slab)
{
    unsigned file = slab->file;

    file_remove(pp, slab);
    file_insert(pp, slab, file);
}

/* The count of free objects has changed, and with it that of the span.  A slab
 * that is filed too high is left where it is until it comes to serve. */
static void
file_update(struct kva_pool *pp, struct kva__slab *slab)
{
    unsigned file = kva__slab_file_of(pp, slab);

    if (file != slab->file || (KVA__SLAB_IN_TREE(file) &&
                               level_of(pp, slab) > kva__slab_level(slab))) {
        file_remove(pp, slab);
        file_insert(pp, slab, file);
    }
}

/*
 * The slab that serves next, and the one that goes next.  One that is filed too
 * high, or too low in the other case, is where it does not belong.
 */
static struct kva__slab *
file_first(struct kva_pool *pp, unsigned file)
{
    struct kva__slab *slab = kva__slab_tree_first(pp->file[file]);

    for (unsigned i = 0; slab != NULL && i < REFILE_MAX &&
                         level_of(pp, slab) < kva__slab_level(slab);
         i++) {
        refile(pp, slab);
        slab = kva__slab_tree_first(pp->file[file]);
    }
    return slab;
}

static struct kva__slab *
file_last(struct kva_pool *pp, unsigned file)
{
    struct kva__slab *slab = kva__slab_tree_last(pp->file[file]);

    for (unsigned i = 0; slab != NULL && i < REFILE_MAX &&
                         level_of(pp, slab) > kva__slab_level(slab);
         i++) {
        refile(pp, slab);
        slab = kva__slab_tree_last(pp->file[file]);
    }
    return slab;
}

/* Do they lie in one window? */
static bool
same_window(const struct kva_pool *pp, uintptr_t a, uintptr_t b)
{
    const kva_vmem_t *vm = kva__pool_arena(pp);
    unsigned shift =
        (vm != NULL ? vm->quantum_shift : KVA_PAGE_SHIFT) + LEVEL_SHIFT;

    return (a ^ b) >> shift < LEVEL_MAX;
}

/*
 * Look at one more partial slab, in turn, beginning with those that would serve
 * last: those that will serve soon are looked at then.  Not at slabs of the
 * window that serves now: they would come before lower ones of it.  False: once
 * round.
 */
static bool
file_sweep(struct kva_pool *pp, const struct kva__slab *serves)
{
    struct kva__slab *root = pp->file[KVA__SLAB_PARTIAL], *slab;

    slab = kva__slab_tree_before(root, pp->sweep_level, pp->sweep_base);
    if (slab == NULL) {
        pp->sweep_level = 0;
        pp->sweep_base = UINTPTR_MAX;
        return false;
    }
    pp->sweep_level = (uint8_t)kva__slab_level(slab);
    pp->sweep_base = kva__slab_base(slab);
    if (level_of(pp, slab) != kva__slab_level(slab) &&
        (serves == NULL ||
         !same_window(pp, pp->sweep_base, kva__slab_base(serves)))) {
        refile(pp, slab);
    }
    return true;
}

bool
kva__slab_sweep(struct kva_pool *pp, unsigned n)
{
    while (n > 0 && file_sweep(pp, NULL)) {
        n--;
    }
    return n == 0;
}

struct kva__slab *
kva__slab_next(struct kva_pool *pp, struct kva__slab *slab)
{
    unsigned file = 0;
    struct kva__slab *next = NULL;

    if (slab != NULL) {
        file = slab->file;
        next =
            KVA__SLAB_IN_TREE(file)
                ? kva__slab_tree_before(pp->file[file], kva__slab_level(slab),
                                        kva__slab_base(slab))
                : slab->next;
        file++;
    }
    for (; next == NULL && file < KVA__SLAB_FILES; file++) {
        next = KVA__SLAB_IN_TREE(file) ? kva__slab_tree_last(pp->file[file])
                                       : pp->file[file];
    }
    return next;
}

/* ---- making and unmaking --------------------------------------------- */

/* All objects free, the first of them at that address. */
static void
slab_format(struct kva_pool *pp, struct kva__slab *slab, uintptr_t first)
{
    uintptr_t *map = kva__slab_map(pp, slab);
    unsigned left = pp->nobj;

    for (unsigned i = 0; i < pp->map_words; i++) {
        map[i] = left >= KVA__WORD_BITS ? ~(uintptr_t)0
                                        : ((uintptr_t)1 << left) - 1u;
        left -= left >= KVA__WORD_BITS ? KVA__WORD_BITS : left;
    }
    for (unsigned i = 0; i < pp->nobj; i++) {
        kva__state_set(&slab->state[i], KVA__OBJECT_FREE);
    }
    slab->bias = (uint32_t)first * pp->inverse;
    slab->nfree = (uint16_t)pp->nobj;
    slab->file = KVA__SLAB_APART;
    slab->level = 0;
    slab->owner = pp;
    if (kva__pool_debugged(pp)) {
        kva__debug_format(pp, slab);
    }
}

/* Whoever finds a slab by its address while he has the move lock may look at
 * it: it goes only with the lock. */
static bool
slab_enter(const struct kva_pool *pp, uintptr_t base, struct kva__slab *slab)
{
    bool moves = (pp->flags & KVA__PR_MOVES) != 0, ok;
    kva_irq_t irq = moves ? kva__move_lock() : 0;

    ok = kva__lookup_enter(pp, slab, base);
    if (moves) {
        kva__move_unlock(irq);
    }
    return ok;
}

static void
slab_leave(const struct kva_pool *pp, uintptr_t base, struct kva__slab *slab)
{
    bool moves = (pp->flags & KVA__PR_MOVES) != 0;
    kva_irq_t irq = moves ? kva__move_lock() : 0;

    kva__lookup_leave(pp, slab, base, kva__nest_outer(pp, slab));
    if (moves) {
        kva__move_unlock(irq);
    }
}

static void
range_put(struct kva_pool *pp, uintptr_t base, bool reserve)
{
    if (reserve) {
        kva__reserve_range_put(pp, base);
    } else {
        kva__range_put(pp, base);
    }
}

struct kva__slab *
kva__slab_create(struct kva_pool *pp, unsigned flags, bool reserve)
{
    bool off_slab = (pp->flags & KVA__PR_OFF_SLAB) != 0;
    struct kva__slab *slab;
    uintptr_t base;

    if ((reserve ? kva__reserve_range_get(pp, flags, &base)
                 : kva__range_get(pp, flags, &base)) != 0) {
        return NULL;
    }
    slab = off_slab ? kva__off_create(base, pp->header_bytes)
                    : (struct kva__slab *)base;
    if (slab == NULL) {
        range_put(pp, base, reserve);
        return NULL;
    }
    slab_format(pp, slab, base + pp->first + kva__colour_next(pp));
    slab->magic = reserve ? KVA__SLAB_MAGIC_RESERVE : KVA__SLAB_MAGIC;
    kva__nest_note(pp, slab, base);
    if (!slab_enter(pp, base, slab)) {
        slab->owner = &kva__pool_nobodys;
        if (off_slab) {
            kva__off_destroy(slab, pp->header_bytes);
        }
        range_put(pp, base, reserve);
        return NULL;
    }
    return slab;
}

void
kva__slab_destroy(struct kva_pool *pp, struct kva__slab *slab)
{
    uintptr_t base = kva__slab_base(slab);
    bool reserve = kva__slab_is_reserve(slab);

    KVA_ASSERT(slab->nfree == pp->nobj);
    slab_leave(pp, base, slab);
    slab->owner = &kva__pool_nobodys;
    slab->magic = 0;
    if ((pp->flags & KVA__PR_OFF_SLAB) != 0) {
        kva__off_destroy(slab, pp->header_bytes);
    }
    range_put(pp, base, reserve);
}

/* ---- with the pool lock held ----------------------------------------- */

void
kva__slab_add(struct kva_pool *pp, struct kva__slab *slab)
{
    file_insert(pp, slab, kva__slab_file_of(pp, slab));
    pp->nslabs++;
    if (pp->nslabs > pp->nslabs_max) {
        pp->nslabs_max = pp->nslabs;
    }
    if (kva__slab_is_reserve(slab)) {
        pp->reserve_free += pp->nobj;
    } else {
        pp->nempty++;
        pp->nfree += pp->nobj;
    }
}

/* Up to n objects out of one slab. */
static unsigned
slab_take(struct kva_pool *pp, struct kva__slab *slab, struct kva__round *round,
          unsigned n, uint8_t state)
{
    uintptr_t start = kva__slab_first(slab);
    uintptr_t *map = kva__slab_map(pp, slab);
    unsigned got = 0;

    for (unsigned w = 0; w < pp->map_words && got < n; w++) {
        while (map[w] != 0 && got < n) {
            unsigned i = (w << KVA__WORD_SHIFT) + kva_ffs(map[w]);

            map[w] &= map[w] - 1u;
            KVA_ASSERT(slab->state[i] == KVA__OBJECT_FREE);
            kva__state_set(&slab->state[i], state);
#if KVA_CONFIG_CHECKS
            round[got].state = (uintptr_t)&slab->state[i];
#endif
            round[got++].object = start + pp->stride * i;
        }
    }
    slab->nfree = (uint16_t)(slab->nfree - got);
    return got;
}

/* The same, and the slab is filed where it then belongs. */
static unsigned
slab_serve(struct kva_pool *pp, struct kva__slab *slab,
           struct kva__round *round, unsigned n, uint8_t state)
{
    unsigned got = slab_take(pp, slab, round, n, state);

    pp->nempty -= slab->file == KVA__SLAB_EMPTY;
    use_add(pp, slab, got * pp->size);
    file_update(pp, slab);
    if (slab->nfree == 0) {
        (void)file_sweep(pp, slab);
    }
    return got;
}

unsigned
kva__slab_take(struct kva_pool *pp, struct kva__round *round, unsigned n,
               uint8_t state)
{
    unsigned got = 0;

    while (got < n && pp->nfree > got) {
        struct kva__slab *slab = file_first(pp, KVA__SLAB_PARTIAL);

        if (slab == NULL) {
            if (got != 0) {
                break; /* leave a slab empty rather than fill a magazine */
            }
            slab = file_first(pp, KVA__SLAB_EMPTY);
        }
        got += slab_serve(pp, slab, round + got, n - got, state);
    }
    pp->nfree -= got;
    pp->nout += got;
    pp->gets += got;
    return got;
}

/* A free object more. */
static void
slab_mark_free(struct kva_pool *pp, const struct kva__place *place)
{
    struct kva__slab *slab = place->slab;

    kva__state_set(place->state, KVA__OBJECT_FREE);
    kva__slab_map(pp, slab)[place->index >> KVA__WORD_SHIFT] |=
        (uintptr_t)1 << (place->index & (KVA__WORD_BITS - 1u));
    slab->nfree++;
    if (kva__slab_is_reserve(slab)) {
        pp->reserve_free++;
        pp->reserve_out--;
        file_update(pp, slab);
        kva__reserve_changed(pp);
        return;
    }
    use_add(pp, slab, (size_t)0 - pp->size);
    if (slab->file == KVA__SLAB_PINNED) {
        pp->nheld++;
        return;
    }
    pp->nfree++;
    if (slab->nfree == pp->nobj) {
        pp->nempty++;
    }
    file_update(pp, slab);
}

void
kva__slab_give(struct kva_pool *pp, const struct kva__place *place)
{
    kva__slab_set_stuck(place->slab, 0); /* it may have been this object */
    slab_mark_free(pp, place);
    pp->nout--;
    pp->puts++;
}

/*
 * How many empty slabs a pool keeps: what the marks ask for; without marks one,
 * against making and unmaking the same slab, once the pool is large enough for
 * one not to matter.
 */
#define SLABS_WORTH_A_SPARE 4u

static bool
slab_is_surplus(const struct kva_pool *pp, bool all)
{
    size_t objects = (pp->nslabs - 1u) * pp->nobj;

    if (pp->nfree - pp->nobj < pp->lowat || objects < pp->primed) {
        return false;
    }
    if (all || kva__pool_wanted(pp)) {
        return true;
    }
    if (pp->hiwat != KVA__POOL_NONE) {
        return objects + pp->nobj > pp->hiwat;
    }
    return pp->nempty > 1 || pp->nslabs - pp->nempty < SLABS_WORTH_A_SPARE;
}

struct kva__slab *
kva__slab_surplus(struct kva_pool *pp, bool all)
{
    struct kva__slab *slab;

    if (pp->nempty == 0 || !slab_is_surplus(pp, all)) {
        return NULL;
    }
    slab = file_last(pp, KVA__SLAB_EMPTY);
    file_remove(pp, slab);
    pp->nslabs--;
    pp->nempty--;
    pp->nfree -= pp->nobj;
    /* Behind a firewall an empty one has addresses only. */
    pp->released += (pp->debug & KVA_POOL_FIREWALL) != 0 ? 0 : pp->slab_bytes;
    return slab;
}

/* ---- the reserve (reserve.c) ------------------------------------------ */

unsigned
kva__slab_take_reserve(struct kva_pool *pp, struct kva__round *round,
                       uint8_t state)
{
    struct kva__slab *slab = pp->file[KVA__SLAB_RESERVE_PARTIAL];

    if (slab == NULL) {
        slab = pp->file[KVA__SLAB_RESERVE_EMPTY];
    }
    if (slab == NULL) {
        return 0;
    }
    (void)slab_take(pp, slab, round, 1, state);
    file_update(pp, slab);
    pp->reserve_free--;
    pp->reserve_out++;
    pp->nout++;
    pp->gets++;
    kva__reserve_changed(pp);
    return 1;
}

bool
kva__slab_reserve_has_surplus(const struct kva_pool *pp)
{
    return pp->file[KVA__SLAB_RESERVE_EMPTY] != NULL &&
           pp->reserve_free - pp->nobj >= pp->reserve;
}

struct kva__slab *
kva__slab_reserve_surplus(struct kva_pool *pp)
{
    struct kva__slab *slab;

    if (!kva__slab_reserve_has_surplus(pp)) {
        return NULL;
    }
    slab = pp->file[KVA__SLAB_RESERVE_EMPTY];
    file_remove(pp, slab);
    pp->nslabs--;
    pp->reserve_free -= pp->nobj;
    pp->released += pp->slab_bytes;
    return slab;
}

/* ---- evacuation (move.c) ----------------------------------------------- */

bool
kva__slab_pin(struct kva_pool *pp, struct kva__slab *slab)
{
    if (slab->file == KVA__SLAB_APART || slab->file == KVA__SLAB_PINNED) {
        return false;
    }
    pp->nempty -= slab->file == KVA__SLAB_EMPTY;
    pp->nfree -= slab->nfree;
    pp->nheld += slab->nfree;
    file_remove(pp, slab);
    file_insert(pp, slab, KVA__SLAB_PINNED);
    return true;
}

bool
kva__slab_unpin(struct kva_pool *pp, struct kva__slab *slab)
{
    size_t others = (pp->nslabs - 1u) * pp->nobj;
    bool goes = slab->nfree == pp->nobj && pp->nfree >= pp->lowat &&
                others >= pp->primed;

    file_remove(pp, slab);
    pp->nheld -= slab->nfree;
    if (goes) {
        pp->nslabs--;
        pp->released += pp->slab_bytes;
        return true;
    }
    pp->nfree += slab->nfree;
    pp->nempty += slab->nfree == pp->nobj;
    file_insert(pp, slab, kva__slab_file_of(pp, slab));
    return false;
}

/* A partial slab, or an empty one if its span is fuller. */
uintptr_t
kva__slab_target(struct kva_pool *pp)
{
    struct kva__slab *slab = file_first(pp, KVA__SLAB_PARTIAL);
    struct kva__slab *empty = file_first(pp, KVA__SLAB_EMPTY);
    struct kva__round round = { .object = 0 };

    if (slab == NULL ||
        (empty != NULL && kva__slab_level(empty) > kva__slab_level(slab))) {
        slab = empty;
    }
    if (slab != NULL && slab_serve(pp, slab, &round, 1, KVA__OBJECT_LIVE)) {
        pp->nfree--;
        pp->nheld++;
    }
    return round.object;
}

void
kva__slab_untarget(struct kva_pool *pp, const struct kva__place *place)
{
    slab_mark_free(pp, place);
    pp->nheld--;
}

void
kva__slab_moved(struct kva_pool *pp, const struct kva__place *place)
{
    slab_mark_free(pp, place); /* held, as it is pinned */
    pp->nheld--;               /* its target is out in its stead */
}

/* ---- finding --------------------------------------------------------- */

struct kva__slab *
kva__slab_of(uintptr_t addr)
{
    struct kva__slab *slab = kva__lookup_find(addr);

    /* A slab that is just going has no owner any more. */
    return slab == NULL || slab->owner == &kva__pool_nobodys ? NULL : slab;
}

bool
kva__slab_find(struct kva_pool *pp, uintptr_t addr, struct kva__place *place)
{
    struct kva__slab *slab = kva__slab_of(addr);

    if (slab == NULL || slab->owner != pp) {
        return false;
    }
    kva__slab_place(pp, slab, addr, place);
    return true;
}
