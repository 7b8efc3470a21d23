/* SPDX-License-Identifier: BSD-2-Clause */
/* The model of pageable memory; see paging.h. */
#include "tests/model/paging.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kva/map.h"

#define P KVA_PAGE_SIZE
#define R KVA_PROT_READ
#define W KVA_PROT_WRITE
#define X KVA_PROT_EXEC

struct page {
    bool there;    /* in the map */
    bool begins;   /* a piece did, when it was allocated */
    bool resident; /* it has a frame */
    unsigned prot;
    unsigned wired;
    uint32_t content; /* in its first and last word */
};

struct paging {
    uint32_t (*draw)(void *arg, uint32_t n);
    void *arg;
    bool faults, traps;
    bool armed; /* in this step */
    uintptr_t base;
    size_t npages, piece_max;
    uint32_t stamp;
    struct page page[PAGING_PAGES];
    char why[320];
};

#define FAIL_WITH(g, ...) \
    (snprintf((g)->why, sizeof((g)->why), __VA_ARGS__), (g)->why)

/* ---- what the array says ----------------------------------------------- */

/* What a call must complain of. */
enum need {
    USED,
    WIRED,
    UNWIRED
};

static const char *
found_at(const struct paging *g, size_t i, enum need need)
{
    if (i >= g->npages || !g->page[i].there) {
        return "none";
    }
    if (need == WIRED && g->page[i].wired == 0) {
        return "one that is not wired";
    }
    if (need == UNWIRED && g->page[i].wired > 0) {
        return "a wired one";
    }
    return NULL;
}

static bool
same_entry(const struct paging *g, size_t a, size_t b)
{
    const struct page *pa = &g->page[a], *pb = &g->page[b];

    return pa->there && pb->there && !pb->begins && pa->prot == pb->prot &&
           pa->wired == pb->wired;
}

/* The entry that begins at page i. */
static struct kva_map_entry
entry_at(const struct paging *g, size_t i, size_t *end)
{
    struct kva_map_entry e = { .first = g->base + i * P,
                               .prot = g->page[i].prot,
                               .wired = g->page[i].wired };
    size_t k = i;

    do {
        e.resident += g->page[k].resident ? P : 0;
        k++;
    } while (k < g->npages && same_entry(g, k - 1, k));
    e.last = g->base + (k * P - 1);
    *end = k;
    return e;
}

/* ---- everything is compared -------------------------------------------- */

/* Sums over entries. */
struct sums {
    size_t entries, used, resident;
};

static const char *
compare_sums(const struct sums *sum)
{
    struct kva_stat st;

    kva_stat(&st);
    if (st.map_entries != sum->entries || st.map_bytes != sum->used * P ||
        st.map_resident_bytes != sum->resident) {
        return "the statistics of the map are wrong";
    }
    if (vmem_size(kernel_va_arena, VMEM_ALLOC) < sum->used * P ||
        (sum->used == 0 && vmem_size(kernel_va_arena, VMEM_ALLOC) != 0)) {
        return "the arena's addresses are not the map's";
    }
    return NULL;
}

static bool
same(const struct kva_map_entry *a, const struct kva_map_entry *b)
{
    return a->first == b->first && a->last == b->last && a->prot == b->prot &&
           a->wired == b->wired && a->resident == b->resident;
}

static const char *
compare_entries(struct paging *g)
{
    struct sums sum = { 0, 0, 0 };
    struct kva_map_entry want, got;
    uintptr_t from = 0;
    size_t end;

    for (size_t i = 0; i < g->npages; i = end) {
        end = i + 1;
        if (!g->page[i].there) {
            continue;
        }
        want = entry_at(g, i, &end);
        if (!kva_map_next(from, &got) || !same(&got, &want)) {
            return FAIL_WITH(g, "no entry as pages %zu to %zu say", i, end - 1);
        }
        from = got.last + 1;
        sum.entries++;
        sum.used += end - i;
        sum.resident += want.resident;
    }
    if (kva_map_next(from, &got)) {
        return FAIL_WITH(g, "an entry too many, at 0x%lx",
                         (unsigned long)got.first);
    }
    return compare_sums(&sum);
}

static const char *
compare_content(struct paging *g, size_t i)
{
    const struct page *page = &g->page[i];
    const volatile uint32_t *word = (const uint32_t *)(g->base + i * P);

    if (!page->there || !page->resident || (page->prot & R) == 0) {
        return NULL;
    }
    if (word[0] != page->content || word[P / 4 - 1] != page->content) {
        return FAIL_WITH(g, "page %zu has 0x%x, and must have 0x%x", i, word[0],
                         page->content);
    }
    return NULL;
}

const char *
paging_check(struct paging *g)
{
    const char *bad = kva_map_check();
    struct kva_posix_stats machine;
    struct kva_stat st;

    bad = bad != NULL ? bad : vmem_check(kernel_va_arena);
    bad = bad != NULL ? bad : compare_entries(g);
    for (unsigned k = 0; k < 8 && bad == NULL; k++) {
        bad = compare_content(g, g->draw(g->arg, (uint32_t)g->npages));
    }
    if (bad != NULL) {
        return bad;
    }
    kva_stat(&st);
    kva_posix_stats_get(&machine);
    if (machine.attached_pages * P != st.map_resident_bytes ||
        machine.frames != machine.attached_pages || machine.stale_pages != 0) {
        return "the machine's frames are not those that are resident";
    }
    return kva_posix_locks_held() == 0 ? NULL : "a lock is held";
}

/* ---- calls ------------------------------------------------------------- */

/* Pages drawn: from one that is in the map on, if any is. */
static void
pick(struct paging *g, size_t *first, size_t *n)
{
    size_t i = g->draw(g->arg, (uint32_t)g->npages);
    uint32_t most = g->draw(g->arg, 8) == 7 ? 300 : 12;

    for (size_t k = 0; k < g->npages && !g->page[i].there; k++) {
        i = i + 1 < g->npages ? i + 1 : 0;
    }
    *first = i;
    *n = 1 + g->draw(g->arg, most);
}

static void
arm(struct paging *g)
{
    g->armed = g->faults && g->draw(g->arg, 2) != 0;
    if (g->armed) {
        kva_posix_fault_reset();
        kva_posix_fault_arm(KVA_POSIX_ANY, 1 + g->draw(g->arg, 6),
                            g->draw(g->arg, 2) != 0);
    }
}

/* True if a fault fired. */
static bool
disarm(struct paging *g)
{
    bool fired = g->armed && kva_posix_fault_fired(KVA_POSIX_ANY) > 0;

    if (g->armed) {
        kva_posix_fault_disarm(KVA_POSIX_ANY);
    }
    g->armed = false;
    return fired;
}

static const unsigned prots[] = { R | W, R, 0, R | W | X };

enum call {
    CALL_FREE,
    CALL_DISCARD,
    CALL_PROTECT,
    CALL_WIRE,
    CALL_UNWIRE
};

static const struct {
    const char *name, *demand;
    enum need need;
} calls[] = {
    [CALL_FREE] = { "kva_pageable_free", " that is not wired", UNWIRED },
    [CALL_DISCARD] = { "kva_pageable_discard", "", USED },
    [CALL_PROTECT] = { "kva_pageable_protect", "", USED },
    [CALL_WIRE] = { "kva_pageable_wire", "", USED },
    [CALL_UNWIRE] = { "kva_pageable_unwire", " that is wired", WIRED },
};

static int
make(enum call call, uintptr_t va, size_t size, unsigned prot, size_t *result)
{
    switch (call) {
    case CALL_FREE:
        kva_pageable_free(va, size);
        return 0;
    case CALL_DISCARD:
        *result = kva_pageable_discard(va, size);
        return 0;
    case CALL_PROTECT:
        kva_pageable_protect(va, size, prot);
        return 0;
    case CALL_WIRE:
        return kva_pageable_wire(va, size);
    default:
        kva_pageable_unwire(va, size);
        return 0;
    }
}

/* The call is a misuse, which must be reported so. */
static const char *
make_misuse(struct paging *g, enum call call, size_t first, size_t n,
            size_t bad, const char *found)
{
    struct kva_posix_catch c;
    char want[KVA_MESSAGE_MAX];
    size_t result;

    (void)snprintf(want, sizeof(want),
                   "%s: arena kernel_map: 0x%lx: expected a pageable page%s, "
                   "of the range from 0x%lx on of %zu bytes, found %s",
                   calls[call].name, (unsigned long)(g->base + bad * P),
                   calls[call].demand, (unsigned long)(g->base + first * P),
                   n * P, found);
    if (KVA_POSIX_TRY(&c)) {
        (void)make(call, g->base + first * P, n * P, R, &result);
        kva_posix_catch_end(&c);
        return FAIL_WITH(g, "not reported: %s", want);
    }
    if (strcmp(c.message, want) != 0 || c.locks != 0) {
        return FAIL_WITH(g, "reported: %s", c.message);
    }
    return NULL;
}

/* After a wiring that failed: who has a frame now.  Those that had one keep
 * it; a new one is blank. */
static void
learn_resident(struct paging *g, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++) {
        kva_pa_t pa;

        if (!g->page[i].resident &&
            kva_port_translate(g->base + i * P, 1, &pa) == 1) {
            g->page[i].resident = true;
            g->page[i].content = 0;
        }
    }
}

static size_t
apply(struct paging *g, enum call call, size_t first, size_t n, unsigned prot)
{
    size_t given = 0;

    for (size_t i = first; i < first + n; i++) {
        struct page *page = &g->page[i];

        if (call == CALL_FREE) {
            memset(page, 0, sizeof(*page));
        } else if (call == CALL_PROTECT) {
            page->prot = prot;
        } else if (call == CALL_UNWIRE) {
            page->wired--;
        } else if (call == CALL_WIRE) {
            page->wired++;
            page->content = page->resident ? page->content : 0;
            page->resident = true;
        } else if (page->wired == 0 && page->resident) {
            page->resident = false;
            given += P;
        }
    }
    if (call == CALL_FREE && first + n < g->npages) {
        g->page[first + n].begins = true; /* whoever comes in between */
    }
    return given;
}

static const char *
step_call(struct paging *g, enum call call)
{
    unsigned prot = prots[g->draw(g->arg, KVA_COUNT(prots))];
    const char *found = NULL;
    size_t first, n, bad, result = 0, asked, given;
    bool fired;
    int err;

    pick(g, &first, &n);
    for (bad = first; bad < first + n; bad++) {
        found = found_at(g, bad, calls[call].need);
        if (found != NULL) {
            break;
        }
    }
    if (found != NULL && bad > first && g->draw(g->arg, 4) != 0) {
        n = bad - first; /* rather as much as is good */
        found = NULL;
    }
    if (found != NULL) {
        return make_misuse(g, call, first, n, bad, found);
    }
    arm(g);
    asked = kva__meta_requests();
    err = make(call, g->base + first * P, n * P - g->draw(g->arg, 2), prot,
               &result);
    fired = disarm(g);
    if (err != 0) {
        learn_resident(g, first, n);
        return call == CALL_WIRE && err == KVA_ENOMEM && fired
                   ? NULL
                   : "a wiring failed, and why?";
    }
    if (kva__meta_requests() != asked) {
        return FAIL_WITH(g, "%s asked for metadata", calls[call].name);
    }
    given = apply(g, call, first, n, prot);
    return result == given ? NULL : "what was given up is not what was there";
}

/* Is there room for n pages side by side? */
static bool
has_room(const struct paging *g, size_t n)
{
    size_t run = 0;

    for (size_t i = 0; i < g->npages && run < n; i++) {
        run = g->page[i].there ? 0 : run + 1;
    }
    return run >= n;
}

static const char *
step_alloc(struct paging *g)
{
    unsigned prot = prots[g->draw(g->arg, KVA_COUNT(prots))];
    size_t n = 1 + g->draw(g->arg, g->draw(g->arg, 16) == 15 ? 2500 : 40);
    vmem_addr_t va = 0;
    size_t i;
    bool fired;
    int err;

    arm(g);
    err = kva_pageable_alloc(n * P - g->draw(g->arg, 2), prot, VM_NOSLEEP, &va);
    fired = disarm(g);
    if (err != 0) {
        return err == KVA_ENOMEM && (fired || !has_room(g, n))
                   ? NULL
                   : FAIL_WITH(g, "no room for %zu pages", n);
    }
    i = (va - g->base) / P;
    if (va % P != 0 || va < g->base || i + n > g->npages) {
        return "a range is not in the address space";
    }
    for (size_t k = i; k < i + n; k++) {
        if (g->page[k].there) {
            return FAIL_WITH(g, "page %zu was handed out, and was live", k);
        }
        g->page[k] = (struct page){ .there = true,
                                    .begins = (k - i) % g->piece_max == 0,
                                    .prot = prot };
    }
    return NULL;
}

/* ---- accesses ---------------------------------------------------------- */

static sigjmp_buf trap_env;
static int trap_error;

static void
trap_denied(uintptr_t va, unsigned access, int error)
{
    (void)va;
    (void)access;
    trap_error = error;
    siglongjmp(trap_env, 1);
}

/* The access is made; 0 or what the handler said. */
static int
trap(volatile uint32_t *word, unsigned access, uint32_t content)
{
    trap_error = 0;
    if (sigsetjmp(trap_env, 1) == 0) {
        if (access == W) { /* what is there: nothing but the trap */
            *word = content;
        } else {
            (void)*word;
        }
    }
    return trap_error;
}

/* The page can be accessed: it had a frame, or has a blank one now. */
static const char *
touched(struct paging *g, size_t i, bool write)
{
    struct page *page = &g->page[i];
    volatile uint32_t *word = (volatile uint32_t *)(g->base + i * P);
    const char *bad;

    page->content = page->resident ? page->content : 0;
    page->resident = true;
    bad = compare_content(g, i);
    if (write) {
        page->content = ++g->stamp;
        word[0] = word[P / 4 - 1] = page->content;
    }
    return bad;
}

static const char *
step_touch(struct paging *g)
{
    static const unsigned accesses[] = { W, R, X };
    unsigned access = accesses[g->draw(g->arg, 3)];
    bool fired, traps = g->traps && g->draw(g->arg, 2) != 0 && access != X;
    struct page *page;
    size_t i, n;
    int err, want;

    pick(g, &i, &n);
    i = g->draw(g->arg, 8) == 7 ? g->draw(g->arg, (uint32_t)g->npages) : i;
    page = &g->page[i];
    want = !page->there || (page->prot & access) == 0 ? KVA_EFAULT : 0;
    arm(g);
    err = traps ? trap((volatile uint32_t *)(g->base + i * P), access,
                       page->resident ? page->content : 0)
                : kva_fault(g->base + i * P + g->draw(g->arg, P), access);
    fired = disarm(g);
    if (err == want) {
        return err == 0 ? touched(g, i, access == W) : NULL;
    }
    return err == KVA_ENOMEM && want == 0 && fired && !page->resident
               ? NULL
               : FAIL_WITH(g, "a fault at page %zu gave %d", i, err);
}

/* ---- the driver's side -------------------------------------------------- */

struct paging *
paging_new(uint32_t (*draw)(void *arg, uint32_t n), void *arg, bool faults,
           bool traps)
{
    static struct paging store;
    struct paging *g = &store;

    memset(g, 0, sizeof(*g));
    g->draw = draw;
    g->arg = arg;
    g->faults = faults;
    g->traps = traps;
    g->base = kva_posix_va_base();
    g->npages = kva_posix_va_bytes() / P;
    g->piece_max = kva__piece_pages_max();
    if (traps && kva_posix_trap_set(kva_fault, trap_denied) != 0) {
        return NULL;
    }
    return g->npages <= PAGING_PAGES ? g : NULL;
}

const char *
paging_step(struct paging *g)
{
    switch (g->draw(g->arg, 10)) {
    case 0:
    case 1:
        return step_call(g, CALL_FREE);
    case 2:
        return step_call(g, CALL_DISCARD);
    case 3:
        return step_call(g, CALL_PROTECT);
    case 4:
        return step_call(g, CALL_WIRE);
    case 5:
        return step_call(g, CALL_UNWIRE);
    case 6:
        return step_alloc(g);
    default:
        return step_touch(g);
    }
}

const char *
paging_end(struct paging *g)
{
    const char *bad = NULL;

    for (size_t i = 0; i < g->npages && bad == NULL; i++) {
        bad = compare_content(g, i);
        while (g->page[i].there && g->page[i].wired > 0) {
            kva_pageable_unwire(g->base + i * P, P);
            g->page[i].wired--;
        }
    }
    for (size_t i = 0; i < PAGING_PAGES && bad == NULL; i++) {
        size_t at = 2 * i % PAGING_PAGES + 2 * i / PAGING_PAGES;

        if (at < g->npages && g->page[at].there) {
            kva_pageable_free(g->base + at * P, P);
            memset(&g->page[at], 0, sizeof(g->page[at]));
        }
    }
    return bad != NULL ? bad : paging_check(g);
}
