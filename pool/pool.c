/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool(9): objects of one size, one lock, slabs beneath.  See slab.c for where
 * objects come from, layout.c for the geometry, limit.c for the hard limit.
 *
 * The lock is held for list and bit work only.  Slabs are made and unmade with
 * no lock held: whoever finds no free object makes a slab, adds it and takes
 * from it in one hold of the lock, so it cannot lose it to others.  Two at once
 * make two slabs, which is one too many for a moment and never one too few.
 */
#include "pool/pool_impl.h"
#include "kva/kva.h"

static bool pools_ready;

void
kva__pool_bootstrap(void)
{
    if (!pools_ready) {
        kva__pools_bootstrap();
        kva__lookup_bootstrap();
        kva__off_bootstrap();
        kva__cache_bootstrap();
        kva__move_bootstrap();
        pools_ready = true;
    }
}

void
kva__pool_shutdown(void)
{
    if (pools_ready) {
        kva__pools_shutdown();
        kva__move_fini();
        kva__lookup_fini();
        kva__off_fini();
        pools_ready = false;
    }
}

/* ---- slabs in and out ------------------------------------------------ */

/* What anybody may get is nothing that the mark of a task pays for. */
static struct kva__slab *
slab_for_all(struct kva_pool *pp, unsigned flags)
{
    struct kva__mark mark = kva__reserve_hide();
    struct kva__slab *slab = kva__slab_create(pp, flags, false);

    kva__reserve_end(mark);
    return slab;
}

struct kva__slab *
kva__pool_new_slab(struct kva_pool *pp, unsigned flags, bool reserve)
{
    struct kva__slab *slab;

    if (!kva__limbo_reserve(pp, pp->nobj)) {
        return NULL;
    }
    slab =
        reserve ? kva__slab_create(pp, flags, true) : slab_for_all(pp, flags);
    if (slab == NULL) {
        kva__limbo_release(pp, pp->nobj);
        return NULL;
    }
    kva__paddr_note(pp, slab);
    return slab;
}

/* Take up to most surplus slabs out, chained by next.  Pool lock held. */
static struct kva__slab *
pool_doom(struct kva_pool *pp, bool all, size_t most)
{
    struct kva__slab *doomed = NULL, *slab;

    for (unsigned n = 0; n < KVA__HOLD_SLABS && n < most; n++) {
        slab = kva__slab_surplus(pp, all);
        slab = slab == NULL ? kva__slab_reserve_surplus(pp) : slab;
        if (slab == NULL) {
            break;
        }
        slab->next = doomed;
        doomed = slab;
    }
    return doomed;
}

/* One barrier for all of them. */
static size_t
pool_destroy_slabs(struct kva_pool *pp, struct kva__slab *doomed)
{
    size_t bytes = 0;

    if (doomed != NULL) {
        kva__barrier(pp);
    }
    while (doomed != NULL) {
        struct kva__slab *slab = doomed;

        doomed = slab->next;
        kva__slab_destroy(pp, slab);
        kva__limbo_release(pp, pp->nobj);
        bytes += pp->slab_bytes;
    }
    return bytes;
}

/* File slabs anew, so that from here on the fullest span serves: one that goes
 * to where it was looked at is looked at once more. */
void
kva__pool_settle(struct kva_pool *pp)
{
    kva_irq_t irq = kva__pool_lock(pp);
    size_t left = 3 * pp->nslabs + 2 * KVA__HOLD_SLABS;
    unsigned rounds = 0; /* the first one may have begun anywhere */

    kva__pool_unlock(pp, irq);
    while (rounds < 2 && left > 0) {
        irq = kva__pool_lock(pp);
        rounds += !kva__slab_sweep(pp, KVA__HOLD_SLABS);
        kva__pool_unlock(pp, irq);
        left -= left < KVA__HOLD_SLABS ? left : KVA__HOLD_SLABS;
    }
}

/* Nothing may go here; count what would have gone. */
static void
pool_skip_slabs(struct kva_pool *pp)
{
    kva_irq_t irq = kva__pool_lock(pp);

    pp->skipped += pp->nempty;
    kva__pool_unlock(pp, irq);
}

size_t
kva__pool_trim(struct kva_pool *pp, bool all, size_t bytes)
{
    size_t done = 0, freed;

    if (bytes == 0) {
        return 0;
    }
    if (!kva__barrier_possible(pp)) {
        pool_skip_slabs(pp);
        return 0;
    }
    do {
        size_t most = kva__pool_divide(bytes - done - 1u, pp->slab_bytes) + 1u;
        kva_irq_t irq = kva__pool_lock(pp);
        struct kva__slab *doomed = pool_doom(pp, all, most);

        kva__pool_unlock(pp, irq);
        freed = pool_destroy_slabs(pp, doomed);
        done += freed;
    } while (freed != 0 && done < bytes);
    return done;
}

/* Until so many objects are free; KVA_ENOMEM if there is no memory. */
int
kva__pool_grow_to(struct kva_pool *pp, size_t free_wanted)
{
    struct kva__slab *slab = NULL;

    for (;;) {
        kva_irq_t irq = kva__pool_lock(pp);
        bool enough;

        if (slab != NULL) {
            kva__slab_add(pp, slab);
        }
        enough = pp->nfree >= free_wanted;
        kva__pool_unlock(pp, irq);
        if (enough) {
            return 0;
        }
        slab = kva__pool_new_slab(pp, KVA_PR_NOWAIT, false);
        if (slab == NULL) {
            return KVA_ENOMEM;
        }
    }
}

static void
pool_count_failure(struct kva_pool *pp)
{
    kva_irq_t irq = kva__pool_lock(pp);

    pp->fails++;
    kva__pool_unlock(pp, irq);
}

unsigned
kva__pool_take(struct kva_pool *pp, struct kva__round *round, unsigned n,
               unsigned flags, uint8_t state)
{
    struct kva__slab *slab = NULL;
    unsigned got, room;
    size_t lowat;
    bool low;

    for (;;) {
        kva_irq_t irq = kva__pool_lock(pp);

        if (slab != NULL) {
            kva__slab_add(pp, slab);
            slab = NULL;
        }
        room = kva__limit_room(pp, n);
        got = room == 0 ? 0 : kva__slab_take(pp, round, room, state);
        lowat = pp->lowat;
        low = pp->nfree < lowat || pp->reserve_free < pp->reserve;
        kva__pool_unlock(pp, irq);
        if (got != 0) {
            break;
        }
        if (room == 0) {
            if (kva__limit_wait(pp, flags)) {
                continue;
            }
        } else {
            slab = kva__pool_new_slab(pp, flags, false);
        }
        if (slab == NULL) {
            pool_count_failure(pp);
            return 0;
        }
    }
    if (KVA_UNLIKELY(low)) {
        (void)kva__pool_grow_to(pp, lowat);
        (void)kva__reserve_fill(pp);
    }
    return got;
}

/* Where a barrier would have to be waited for, a put keeps its empty slab, but
 * if somebody sleeps for it. */
static bool
put_releases(const struct kva_pool *pp)
{
    return (pp->flags & KVA_PR_PSERIALIZE) == 0 ||
           (kva__pool_wanted(pp) && kva__barrier_possible(pp));
}

void
kva__pool_give(struct kva_pool *pp, const struct kva__round *round, unsigned n,
               uint8_t state, const char *func)
{
    struct kva__slab *doomed;
    struct kva__place place;
    bool all = kva__mag_arena_closed(kva__pool_arena(pp));
    bool release = put_releases(pp);
    unsigned i;
    kva_irq_t irq = kva__pool_lock(pp);

    for (i = 0; i < n; i++) {
        if (!kva__slab_find(pp, round[i].object, &place) ||
            place.state == NULL || kva__state_get(place.state) != state) {
            break;
        }
        kva__slab_give(pp, &place);
    }
    /* Nothing was put, nothing goes: a misuse changes nothing. */
    release = release && i != 0 &&
              (pp->nempty != 0 || kva__slab_reserve_has_surplus(pp));
    doomed = release ? pool_doom(pp, all, SIZE_MAX) : NULL;
    kva__pool_unlock(pp, irq);
    (void)pool_destroy_slabs(pp, doomed);
    kva__limit_wake(pp, i);
    if (i < n) {
        kva__pool_bad_put(func, pp, round[i].object, state);
    }
}

/* ---- making and unmaking pools --------------------------------------- */

/* A power of two of pages; of functions without alignment, any number. */
static bool
page_will_do(const struct kva_pool *pp, size_t page)
{
    bool any = (pp->flags & PR_NOALIGN) != 0 && pp->allocator->pa_alloc != NULL;

    return any ? (page & KVA_PAGE_MASK) == 0 : kva_is_pow2(page);
}

/* The slab size that an allocator of functions, or a user, insists on. */
static void
check_page(const struct kva_pool *pp, size_t page)
{
    const char *func = kva__pool_init_name(pp);
    const char *kind = kva__pool_kind(pp);
    const struct kva_pool_allocator *pa = pp->allocator;

    if (page != 0 && (page < KVA_PAGE_SIZE || !page_will_do(pp, page))) {
        kva__misuse(func, kind, pp->name, (uintptr_t)pp,
                    "expected a power of two of pages, found slab size %zu",
                    page);
    }
    if (page > KVA_POOL_PAGE_MAX) {
        kva__misuse(func, kind, pp->name, (uintptr_t)pp,
                    "expected a slab size up to %zu, found %zu",
                    (size_t)KVA_POOL_PAGE_MAX, page);
    }
    if ((pa->pa_alloc == NULL) != (pa->pa_free == NULL) ||
        (pa->pa_alloc == NULL && pa->arena == NULL)) {
        kva__misuse(func, kind, pp->name, (uintptr_t)pp,
                    "expected an allocator with an arena or two functions, "
                    "found neither");
    }
}

static void
check_geometry(const struct kva_pool *pp, size_t size, size_t align)
{
    const char *func = kva__pool_init_name(pp);
    const char *kind = kva__pool_kind(pp);

    if (size == 0 || size > SIZE_MAX / 2) {
        kva__misuse(func, kind, pp->name, (uintptr_t)pp,
                    "expected a size above 0, found size %zu", size);
    }
    if (!kva_is_pow2(align)) {
        kva__misuse(func, kind, pp->name, (uintptr_t)pp,
                    "expected a power of two, found align %zu", align);
    }
    if ((pp->flags & PR_NOALIGN) != 0 && pp->allocator->pa_alloc != NULL &&
        align > KVA_PAGE_SIZE) {
        kva__misuse(func, kind, pp->name, (uintptr_t)pp,
                    "expected an align up to a page, with PR_NOALIGN, found "
                    "align %zu",
                    align);
    }
}

size_t
kva__pool_spare(struct kva_pool *pp, size_t keep)
{
    size_t slabs, spare;
    kva_irq_t irq;

    if (keep == 0) {
        return SIZE_MAX;
    }
    slabs = kva__pool_divide(keep - 1u, pp->nobj) + 1u;
    irq = kva__pool_lock(pp);
    spare = pp->nempty > slabs ? (pp->nempty - slabs) * pp->slab_bytes : 0;
    kva__pool_unlock(pp, irq);
    return spare;
}

static size_t
pool_clean(void *arg, struct kva_want *want)
{
    struct kva_pool *pp = arg;
    size_t before = kva__pool_released(pp), spare;

    kva__pool_call_hook(pp);
    (void)kva__debug_flush(pp, "pool_reclaim");
    spare = kva__pool_spare(pp, kva__pool_divide(want->retain, pp->size));
    (void)kva__pool_trim(pp, true, want->bytes < spare ? want->bytes : spare);
    return kva__pool_released(pp) - before;
}

/* With its debug modes, which take room in the slabs. */
static void
pool_lay_out(struct kva_pool *pp, size_t size, size_t align, size_t offset,
             size_t page)
{
    if (KVA_CONFIG_POOL_DEBUG) {
        kva__debug_setup(pp);
    }
    if (kva__pool_debugged(pp)) {
        kva__debug_layout(pp, size, align, offset, page);
        return;
    }
    if (KVA_CONFIG_DEBUG && (pp->flags & KVA__PR_SIZES) != 0) {
        pp->record_bytes = sizeof(uint16_t); /* the size alone */
    }
    kva__pool_layout(pp, size, align, offset, page);
}

int
kva__pool_setup(struct kva_pool *pp, size_t size, unsigned align,
                unsigned align_offset, unsigned flags, const char *name,
                struct kva_pool_allocator *pa, enum kva_ipl ipl)
{
    size_t alignment = align == 0 ? sizeof(uintptr_t) : align, page;

    kva__pool_bootstrap();
    *pp = (struct kva_pool){
        .flags = flags,
        .name = name,
        .ipl = ipl,
        .allocator = pa != NULL          ? pa
                     : ipl >= KVA_IPL_VM ? &kva_pool_allocator_intr
                                         : &kva_pool_allocator_kmem,
        .rows = KVA__MAG_NO_ROWS,
        .sized_rows = KVA__MAG_NO_ROWS,
        .hiwat = KVA__POOL_NONE,
        .hardlimit = KVA__POOL_NONE,
    };
    kva__pool_check_init(pp, flags);
    if (pp->allocator->pa_alloc != NULL) {
        pp->flags |= KVA__PR_NESTED;
    }
    page = kva__allocator_page(pp->allocator);
    check_page(pp, page);
    check_geometry(pp, size, alignment);
    if ((flags & PR_PSERIALIZE) != 0 && !KVA_READ_BARRIER) {
        kva__log("%s %s: PR_PSERIALIZE needs the port's read barrier",
                 kva__pool_kind(pp), name);
        return KVA_ENOTSUP;
    }
    pp->asked = size;
    pool_lay_out(pp, kva_round_up(size, alignment), alignment,
                 align_offset & (alignment - 1u), page);
    kva_port_lock_init(&pp->lock, name, ipl, KVA_RANK_SLAB);
    pp->alive = kva__pool_magic(pp);
    pp->cleaner.clean = pool_clean;
    pp->cleaner.arg = pp;
    pp->cleaner.name = name;
    kva__pools_link(pp);
    return 0;
}

void
kva__pool_teardown(struct kva_pool *pp, const char *func)
{
    if (pp->nout != 0) {
        kva__pool_bad_destroy(func, pp);
    }
    pp->lowat = 0;
    pp->primed = 0;
    pp->reserve = 0;
    (void)kva__pool_trim(pp, true, SIZE_MAX);
    KVA_ASSERT(pp->nslabs == 0);
    kva_port_lock_fini(&pp->lock);
    pp->alive = 0;
}

int
pool_init(struct kva_pool *pp, size_t size, unsigned align,
          unsigned align_offset, int flags, const char *wchan,
          struct kva_pool_allocator *pa, enum kva_ipl ipl)
{
    int error = kva__pool_setup(pp, size, align, align_offset, (unsigned)flags,
                                wchan, pa, ipl);

    if (error == 0) {
        kva_reclaim_register(&pp->cleaner);
    }
    return error;
}

void
pool_destroy(struct kva_pool *pp)
{
    kva__pool_check_wait("pool_destroy", pp);
    kva_reclaim_unregister(&pp->cleaner);
    (void)kva__debug_flush(pp, "pool_destroy");
    if (pp->nout != 0) {
        kva_reclaim_register(&pp->cleaner);
        kva__debug_expect_clean(pp, "pool_destroy");
        kva__pool_bad_destroy("pool_destroy", pp);
    }
    kva__pools_unlink(pp);
    kva__pool_teardown(pp, "pool_destroy");
}

/* ---- get and put ----------------------------------------------------- */

void *
pool_get(struct kva_pool *pp, int flags)
{
    struct kva__round round;

    kva__pool_check_flags("pool_get", pp, (unsigned)flags);
    if (kva__pool_debugged(pp)) {
        return kva__debug_get("pool_get", pp, (unsigned)flags, 0,
                              __builtin_return_address(0));
    }
    if (!kva__pool_take_one(pp, &round, (unsigned)flags, KVA__OBJECT_LIVE)) {
        return NULL;
    }
    if (((unsigned)flags & PR_ZERO) != 0) {
        __builtin_memset((void *)round.object, 0, pp->size);
    }
    return (void *)round.object;
}

void
pool_put(struct kva_pool *pp, void *object)
{
    struct kva__round round = { .object = (uintptr_t)object };

    kva__pool_require(pp, "pool_put");
    if (!kva__pool_debugged(pp)) {
        kva__pool_give(pp, &round, 1, KVA__OBJECT_LIVE, "pool_put");
    } else if (!kva__debug_put("pool_put", pp, round.object, 0,
                               __builtin_return_address(0))) {
        kva__pool_bad_put("pool_put", pp, round.object, KVA__OBJECT_LIVE);
    }
}

/* ---- marks ----------------------------------------------------------- */

static size_t
mark_of(int n)
{
    return n < 0 ? 0 : (size_t)n;
}

int
pool_prime(struct kva_pool *pp, int n)
{
    kva_irq_t irq;
    int error;

    kva__pool_require(pp, "pool_prime");
    error = kva__pool_grow_to(pp, mark_of(n));
    irq = kva__pool_lock(pp);
    pp->primed = pp->nfree + pp->nout;
    kva__pool_unlock(pp, irq);
    return error;
}

void
pool_setlowat(struct kva_pool *pp, int n)
{
    kva_irq_t irq;

    kva__pool_require(pp, "pool_setlowat");
    irq = kva__pool_lock(pp);
    pp->lowat = mark_of(n);
    kva__pool_unlock(pp, irq);
    (void)kva__pool_grow_to(pp, mark_of(n));
}

void
pool_sethiwat(struct kva_pool *pp, int n)
{
    kva_irq_t irq;

    kva__pool_require(pp, "pool_sethiwat");
    irq = kva__pool_lock(pp);
    pp->hiwat = mark_of(n);
    kva__pool_unlock(pp, irq);
    (void)kva__pool_trim(pp, false, SIZE_MAX);
}

void
pool_sethardlimit(struct kva_pool *pp, int n, const char *warnmess, int ratecap)
{
    kva_irq_t irq;

    kva__pool_require(pp, "pool_sethardlimit");
    irq = kva__pool_lock(pp);
    pp->hardlimit = n < 0 ? KVA__POOL_NONE : (size_t)n;
    pp->warning = warnmess;
    pp->ratecap = ratecap;
    pp->nwarned = 0;
    kva__pool_unlock(pp, irq);
    kva__limit_wake(pp, SIZE_MAX);
}

void
pool_set_drain_hook(struct kva_pool *pp, void (*fn)(void *arg, int flags),
                    void *arg)
{
    kva_irq_t irq;

    kva__pool_require(pp, "pool_set_drain_hook");
    irq = kva__pool_lock(pp);
    pp->drain_hook = fn;
    pp->drain_arg = arg;
    kva__pool_unlock(pp, irq);
}

/* ---- giving back ----------------------------------------------------- */

void
kva__pool_call_hook(struct kva_pool *pp)
{
    kva_irq_t irq = kva__pool_lock(pp);
    void (*fn)(void *, int) = pp->drain_hook;
    void *arg = pp->drain_arg;

    kva__pool_unlock(pp, irq);
    if (fn != NULL) {
        fn(arg, PR_NOWAIT);
    }
}

size_t
kva__pool_released(struct kva_pool *pp)
{
    kva_irq_t irq = kva__pool_lock(pp);
    size_t bytes = pp->released;

    kva__pool_unlock(pp, irq);
    return bytes;
}

size_t
pool_reclaim(struct kva_pool *pp)
{
    size_t before;

    kva__pool_require(pp, "pool_reclaim");
    before = kva__pool_released(pp);
    kva__pool_call_hook(pp);
    (void)kva__debug_flush(pp, "pool_reclaim");
    (void)kva__pool_trim(pp, true, SIZE_MAX);
    kva__pool_settle(pp);
    return kva__pool_released(pp) - before;
}

/* ---- statistics ------------------------------------------------------ */

void
pool_stat(struct kva_pool *pp, struct kva_pool_stat *st)
{
    size_t header;
    kva_irq_t irq;

    kva__pool_require(pp, "pool_stat");
    header = (pp->flags & KVA__PR_OFF_SLAB) != 0
                 ? kva__off_bytes(pp->header_bytes)
                 : pp->header_bytes;
    irq = kva__pool_lock(pp);
    *st = (struct kva_pool_stat){
        .object_bytes = pp->size,
        .slab_bytes = pp->slab_bytes,
        .objects_per_slab = pp->nobj,
        .slabs = pp->nslabs,
        .slabs_empty = pp->nempty,
        .objects_out = pp->nout,
        .objects_cached = pp->quarantine.count,
        .gets = pp->gets,
        .puts = pp->puts,
        .fails = pp->fails,
        .limit_hits = pp->limit_hits,
        .slabs_skipped = pp->skipped,
        .reserve_wanted = pp->reserve,
        .reserve_free = pp->reserve_free,
        .reserve_out = pp->reserve_out,
        .reserve_slabs =
            kva__pool_divide(pp->reserve_free + pp->reserve_out, pp->nobj),
        .flags = pp->flags & KVA__PR_PUBLIC,
        .header_bytes = pp->nslabs * header,
    };
    kva__pool_unlock(pp, irq);
}

unsigned
pool_nget(struct kva_pool *pp)
{
    kva_irq_t irq = kva__pool_lock(pp);
    size_t n = pp->gets;

    kva__pool_unlock(pp, irq);
    return (unsigned)n;
}

unsigned
pool_nput(struct kva_pool *pp)
{
    kva_irq_t irq = kva__pool_lock(pp);
    size_t n = pp->puts;

    kva__pool_unlock(pp, irq);
    return (unsigned)n;
}
