/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pools in print, for people and for debuggers, and what an address is of a
 * pool's.  The interface is NetBSD's.
 */
#include "pool/pool_impl.h"
#include "vmem/print.h"

#if KVA_WORD_64
#define ADDR "0x%016lx"
#else
#define ADDR "0x%08lx"
#endif

static bool
has(const char *modif, char c)
{
    for (; modif != NULL && *modif != '\0'; modif++) {
        if (*modif == c) {
            return true;
        }
    }
    return false;
}

/* ---- totals -------------------------------------------------------------- */

/* One mark, or that there is none. */
static size_t
mark(size_t value)
{
    return value == KVA__POOL_NONE ? 0 : value;
}

static void
print_head(const struct kva_pool *pp, kva_vmem_pr_t *pr)
{
    kva__print_line(pr,
                    "%s %s at 0x%lx: size %zu, %zu slabs of %zu bytes, "
                    "%zu out, %zu free%s",
                    kva__pool_kind(pp), pp->name, (unsigned long)(uintptr_t)pp,
                    pp->size, pp->nslabs, pp->slab_bytes, pp->nout, pp->nfree,
                    (pp->flags & KVA_PR_RECURSIVE) != 0 ? ", recursive" : "");
}

static void
print_totals(const struct kva_pool *pp, kva_vmem_pr_t *pr)
{
    kva__print_line(pr, "  objects %12u  a slab, empty%8zu  flags  0x%08x",
                    (unsigned)pp->nobj, pp->nempty,
                    (unsigned)(pp->flags & KVA__PR_PUBLIC));
    kva__print_line(pr, "  gets    %12zu  puts    %12zu  fails    %12zu",
                    pp->gets, pp->puts, pp->fails);
    kva__print_line(pr, "  lowat   %12zu  hiwat   %12zu  primed   %12zu",
                    pp->lowat, mark(pp->hiwat), pp->primed);
    kva__print_line(pr, "  limit   %12zu  met     %12zu  skipped  %12zu",
                    mark(pp->hardlimit), pp->limit_hits, pp->skipped);
}

static void
print_cache(struct kva_pool_cache *pc, bool locked, kva_vmem_pr_t *pr)
{
    size_t cached = locked ? kva__magcache_rounds(&pc->mags) : 0;

    kva__print_line(pr, "  cached  %12zu  waiting %12zu  magazine %12u", cached,
                    pc->limbo.count, pc->mags.capacity);
    kva__print_line(pr, "  depot   %12u  misses  %12zu  and      %12zu",
                    pc->mags.nfull, pc->mags.misses_get, pc->mags.misses_put);
}

/* ---- slabs --------------------------------------------------------------- */

static const char *
file_name(const struct kva__slab *slab)
{
    static const char *const name[] = {
        [KVA__SLAB_FULL] = "full",
        [KVA__SLAB_PINNED] = "pinned",
        [KVA__SLAB_RESERVE_FULL] = "full, reserve",
        [KVA__SLAB_RESERVE_PARTIAL] = "partial, reserve",
        [KVA__SLAB_RESERVE_EMPTY] = "empty, reserve",
        [KVA__SLAB_PARTIAL] = "partial",
        [KVA__SLAB_EMPTY] = "empty",
    };

    return slab->file < KVA__SLAB_FILES ? name[slab->file] : "apart";
}

/* The most that the lock is held for. */
static void
print_slabs(struct kva_pool *pp, bool locked, kva_vmem_pr_t *pr)
{
    size_t most = locked ? KVA__HOLD_SLABS : pp->nslabs, n = 0;
    struct kva__slab *slab = kva__slab_next(pp, NULL);

    while (slab != NULL && n < most &&
           (slab->magic == KVA__SLAB_MAGIC || kva__slab_is_reserve(slab))) {
        unsigned long base = (unsigned long)kva__slab_base(slab);

        kva__print_line(pr, "    slab " ADDR " - " ADDR "  free %5u  %s", base,
                        base + (unsigned long)(pp->slab_bytes - 1u),
                        slab->nfree, file_name(slab));
        slab = kva__slab_next(pp, slab);
        n++;
    }
    if (n < pp->nslabs) {
        kva__print_line(pr, "    ... and %zu more", pp->nslabs - n);
    }
}

/* ---- the public functions ------------------------------------------------- */

void
pool_printit(struct kva_pool *pp, const char *modif, kva_vmem_pr_t *pr)
{
    bool locked = !has(modif, 'l');
    kva_irq_t irq = 0;

    if (locked) {
        irq = kva__pool_lock(pp);
    }
    print_head(pp, pr);
    if (!has(modif, 's')) {
        print_totals(pp, pr);
    }
    if (has(modif, 'p')) {
        print_slabs(pp, locked, pr);
    }
    if (locked) {
        kva__pool_unlock(pp, irq);
    }
    if (kva__cache_of(pp) != NULL && !has(modif, 's')) {
        print_cache(kva__cache_of(pp), locked, pr);
    }
}

struct print_arg {
    const char *modif;
    kva_vmem_pr_t *pr;
};

static void
print_one(struct kva_pool *pp, void *arg)
{
    const struct print_arg *how = arg;

    kva_pool_printit(pp, how->modif, how->pr);
}

void
pool_printall(const char *modif, kva_vmem_pr_t *pr)
{
    struct print_arg how = { modif, pr };

    if (has(modif, 'l')) {
        for (struct kva_pool *pp = kva_pool_list; pp != NULL; pp = pp->next) {
            print_one(pp, &how);
        }
        return;
    }
    kva__pools_visit(print_one, &how);
    kva__print_line(pr, "%d pages of slabs in all", kva_pool_totalpages());
}

/* ---- what an address is ---------------------------------------------------- */

/* In a slab: of an object, or beside them. */
static void
print_place(struct kva__slab *slab, uintptr_t addr, kva_vmem_pr_t *pr)
{
    struct kva_pool *pp = slab->owner;
    uintptr_t start = kva__slab_object(slab, 0), base = kva__slab_base(slab);
    struct kva__place place = { .index = pp->nobj };
    size_t index = 0;

    if (addr >= start) {
        index = kva__pool_divide(addr - start, pp->stride);
        start += pp->stride * index;
    }
    if (addr < start || index >= pp->nobj) {
        kva__print_line(pr,
                        "0x%lx is 0x%lx+%zu in a slab of %s %s, in no object",
                        (unsigned long)addr, (unsigned long)base,
                        (size_t)(addr - base), kva__pool_kind(pp), pp->name);
        return;
    }
    kva__slab_place(pp, slab, start, &place);
    kva__print_line(pr, "0x%lx is 0x%lx+%zu in %s %s, %s", (unsigned long)addr,
                    (unsigned long)start, (size_t)(addr - start),
                    kva__pool_kind(pp), pp->name,
                    place.state == NULL
                        ? "in no object"
                        : kva__object_state_name(kva__state_get(place.state)));
}

struct find {
    uintptr_t addr;
    kva_vmem_pr_t *pr;
    bool found;
};

static void
find_store(struct kva_pool *pp, void *arg)
{
    struct find *find = arg;
    size_t bytes = kva__cache_of(pp) != NULL ? sizeof(struct kva_pool_cache)
                                             : sizeof(struct kva_pool);

    if (find->addr - (uintptr_t)pp < bytes) {
        kva__print_line(find->pr, "0x%lx is 0x%lx+%zu, %s %s itself",
                        (unsigned long)find->addr, (unsigned long)(uintptr_t)pp,
                        (size_t)(find->addr - (uintptr_t)pp),
                        kva__pool_kind(pp), pp->name);
        find->found = true;
    }
}

void
pool_whatis(uintptr_t addr, kva_vmem_pr_t *pr)
{
    struct kva__slab *slab = kva__slab_of(addr);
    struct find find = { addr, pr, false };

    if (slab != NULL) {
        print_place(slab, addr, pr);
        return;
    }
    kva__pools_visit(find_store, &find);
    if (!find.found) {
        kva__print_line(pr, "0x%lx is nothing of a pool's",
                        (unsigned long)addr);
    }
}

int
pool_chk(struct kva_pool *pp, const char *label)
{
    const char *wrong = kva_pool_check(pp);

    if (wrong != NULL) {
        kva__log("%s: %s %s: %s", label, kva__pool_kind(pp), pp->name, wrong);
    }
    return wrong != NULL;
}
