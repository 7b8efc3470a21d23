/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stages of cleaners, and the pass through them.
 *
 *      caches    first -> A -> B -> C      a round starts at first, asks each
 *      pages     first -> D                cleaner once, and moves the one it
 *      clients   first -> E -> F           asked to the end: so the next pass
 *      moves                               begins where this one stopped
 *      spans     first -> G
 *
 *      pass:  caches, pages, caches, clients, moves, spans
 *
 * Round after round in a stage as long as one gives something, since what
 * one frees may let the next one free more (the pages of a slab whose last
 * object another cache held); then the next stage.  After each
 * round the spans are asked at once, since slabs go to quantum caches and
 * only from there to the page supply: so a pass stops as soon as enough is free.
 *
 * What came back is what the page supply counts.  What a cleaner says beside
 * that went no further than to an arena (or nowhere): it is asked of nobody else
 * in this round, but of all in the next one, of which there are only so many
 * without anything that is counted.  A round that ends early since somebody said
 * that he gave enough goes on behind him in the next one, so that whoever says so
 * for nothing stands in nobody's way.  Nor does one that promises: when what was
 * freed did not do (KVA_URGENCY_OOM), promises do not count.  Where nobody
 * counts, cleaners are believed, and one that gives for ever ends with what was
 * wanted or with the work.
 *
 * A cleaner is called without the lock; running says that it is.  Unregistering
 * takes it off its list and waits until no call of it runs, so that its owner
 * may go (a module may be unloaded) when it returns.  So a callback that
 * unregisters itself would wait for its own end: where tasks are known by a word
 * of theirs that is told, and elsewhere it hangs.
 *
 * Invariants: a registered cleaner is on the list of its stage and on no other;
 * at most one is running.
 */
#include "reclaim/reclaim.h"

#include "port/contract.h"
#include "vmem/print.h"
#include "vmem/reserve.h"

struct stage {
    struct kva_cleaner *first; /* (r) */
    struct kva_cleaner *last;  /* (r) */
    unsigned count;            /* (r) */
};

static struct {
    kva_lock_t lock;
    struct stage stage[KVA_STAGES];
    unsigned round; /* (r) counts rounds */
    const struct kva_supply *supply;
    void (*hold)(bool on);        /* (r) */
    struct kva_reclaim_stat stat; /* (r) */
    bool passing;                 /* (r) a pass is under way */
    const void *task;             /* (r) whose it is, if that is known */
    bool ready;
} reclaim;

static const char *const stage_name[KVA_STAGES] = { "caches", "pages",
                                                    "clients", "moves",
                                                    "spans" };

static void
init_once(void)
{
    if (!reclaim.ready) {
        kva_port_lock_init(&reclaim.lock, "reclaim", KVA_IPL_NONE,
                           KVA_RANK_DRAIN);
        reclaim.ready = true;
    }
}

/* ---- the lists, locked ------------------------------------------------- */

static void
append(struct stage *stage, struct kva_cleaner *cl)
{
    cl->next = NULL;
    cl->prev = stage->last;
    if (stage->last != NULL) {
        stage->last->next = cl;
    } else {
        stage->first = cl;
    }
    stage->last = cl;
    stage->count++;
}

static void
detach(struct stage *stage, struct kva_cleaner *cl)
{
    if (cl->prev != NULL) {
        cl->prev->next = cl->next;
    } else {
        stage->first = cl->next;
    }
    if (cl->next != NULL) {
        cl->next->prev = cl->prev;
    } else {
        stage->last = cl->prev;
    }
    stage->count--;
}

static void
leave(struct kva_cleaner *cl)
{
    detach(&reclaim.stage[cl->stage], cl);
    cl->registered = false;
    reclaim.stat.cleaners--;
}

/* ---- who is asked ------------------------------------------------------ */

void
kva_reclaim_register(struct kva_cleaner *cl)
{
    kva_irq_t irq;

    init_once();
    if (cl->clean == NULL) {
        kva__misuse("kva_reclaim_register", "cleaner", cl->name, (uintptr_t)cl,
                    "expected a function and a stage below %u, found no "
                    "function",
                    (unsigned)KVA_STAGES);
    }
    if ((unsigned)cl->stage >= KVA_STAGES) {
        kva__misuse("kva_reclaim_register", "cleaner", cl->name, (uintptr_t)cl,
                    "expected a function and a stage below %u, found stage %u",
                    (unsigned)KVA_STAGES, (unsigned)cl->stage);
    }
    irq = kva_port_lock(&reclaim.lock);
    if (cl->registered) {
        kva_port_unlock(&reclaim.lock, irq);
        kva__misuse("kva_reclaim_register", "cleaner", cl->name, (uintptr_t)cl,
                    "expected one not registered, found one of the %s",
                    stage_name[cl->stage]);
    }
    cl->registered = true;
    cl->running = false;
    cl->freed = 0;
    cl->round = reclaim.round;
    append(&reclaim.stage[cl->stage], cl);
    reclaim.stat.cleaners++;
    kva_port_unlock(&reclaim.lock, irq);
}

void
kva_reclaim_unregister(struct kva_cleaner *cl)
{
    kva_irq_t irq;

    init_once();
    irq = kva_port_lock(&reclaim.lock);
    if (!cl->registered) {
        kva_port_unlock(&reclaim.lock, irq);
        kva__misuse("kva_reclaim_unregister", "cleaner", cl->name,
                    (uintptr_t)cl, "expected one registered, found it not");
    }
    if (cl->running && reclaim.task != NULL && reclaim.task == kva__task()) {
        kva_port_unlock(&reclaim.lock, irq);
        kva__misuse("kva_reclaim_unregister", "cleaner", cl->name,
                    (uintptr_t)cl,
                    "expected another one than who calls, found itself "
                    "(want->leave is for that)");
    }
    leave(cl);
    while (cl->running) {
        kva_port_unlock(&reclaim.lock, irq);
#if KVA_TIER >= 1
        kva_port_relax();
#endif
        irq = kva_port_lock(&reclaim.lock);
    }
    kva_port_unlock(&reclaim.lock, irq);
}

void
kva_reclaim_set_supply(const struct kva_supply *supply)
{
    __atomic_store_n(&reclaim.supply, supply, __ATOMIC_RELEASE);
}

const struct kva_supply *
kva__reclaim_supply(void)
{
    return __atomic_load_n(&reclaim.supply, __ATOMIC_ACQUIRE);
}

void
kva__reclaim_set_hold(void (*hold)(bool on))
{
    kva_irq_t irq;

    init_once();
    irq = kva_port_lock(&reclaim.lock);
    reclaim.hold = hold;
    kva_port_unlock(&reclaim.lock, irq);
}

void
kva_reclaim_stat(struct kva_reclaim_stat *st)
{
    kva_irq_t irq;

    init_once();
    irq = kva_port_lock(&reclaim.lock);
    *st = reclaim.stat;
    kva_port_unlock(&reclaim.lock, irq);
}

/* ---- floors by name, and the listing ------------------------------------ */

static bool
is_called(const struct kva_cleaner *cl, const char *name)
{
    const char *its = cl->name;

    if (its == NULL) {
        return false;
    }
    while (*its != '\0' && *its == *name) {
        its++;
        name++;
    }
    return *its == *name;
}

unsigned
kva_reclaim_retain(const char *name, size_t bytes)
{
    unsigned n = 0;
    kva_irq_t irq;

    init_once();
    irq = kva_port_lock(&reclaim.lock);
    for (unsigned i = 0; i < KVA_STAGES; i++) {
        for (struct kva_cleaner *cl = reclaim.stage[i].first; cl != NULL;
             cl = cl->next) {
            if (is_called(cl, name)) {
                cl->retain = bytes;
                n++;
            }
        }
    }
    kva_port_unlock(&reclaim.lock, irq);
    return n;
}

/* What is told of a cleaner, whose owner may go meanwhile, name and all. */
struct entry {
    char name[24];
    size_t retain, freed;
};

/* The nth one of a stage; false: there is none. */
static bool
entry_of(enum kva_reclaim_stage stage, unsigned n, struct entry *entry)
{
    struct kva_cleaner *cl;
    kva_irq_t irq;

    irq = kva_port_lock(&reclaim.lock);
    cl = reclaim.stage[stage].first;
    while (cl != NULL && n > 0) {
        cl = cl->next;
        n--;
    }
    if (cl != NULL) {
        entry->retain = cl->retain;
        entry->freed = cl->freed;
        (void)kva__format(entry->name, sizeof(entry->name), "%s",
                          cl->name != NULL ? cl->name : "(unnamed)");
    }
    kva_port_unlock(&reclaim.lock, irq);
    return cl != NULL;
}

void
kva_reclaim_listing(kva_vmem_pr_t *pr)
{
    struct entry entry;

    init_once();
    kva__print_line(pr, "%-23s %-8s %12s %12s", "Name", "Stage", "Retain",
                    "Freed");
    for (unsigned i = 0; i < KVA_STAGES; i++) {
        for (unsigned n = 0; entry_of((enum kva_reclaim_stage)i, n, &entry);
             n++) {
            kva__print_line(pr, "%-23s %-8s %12zu %11zuK", entry.name,
                            stage_name[i], entry.retain, entry.freed / 1024u);
        }
    }
}

/* ---- a pass ------------------------------------------------------------ */

/*
 * Rounds of a stage in which nothing reached the page supply, though cleaners
 * said that they gave something: slabs go one by one, and a span only when its
 * last one went.  A magazine and a depot empty in one round and their slabs go
 * in the same or the next; twice that.
 */
#define VAIN_ROUNDS 4u

struct pass {
    size_t bytes;    /* wanted */
    size_t done;     /* came back */
    size_t loose;    /* went to the arenas in this round, they say */
    size_t promised; /* will come */
    size_t work;     /* left */
    enum kva_urgency urgency;
};

static size_t
sum_up(size_t a, size_t b)
{
    return a + b < a ? (size_t)-1 : a + b;
}

/* Bytes to ask for yet. */
static size_t
lacking(const struct pass *p)
{
    size_t have = sum_up(sum_up(p->done, p->loose), p->promised);

    return p->work != 0 && have < p->bytes ? p->bytes - have : 0;
}

static void
spend(struct pass *p, size_t work)
{
    if (p->work != KVA_WORK_ALL) {
        p->work -= work < p->work ? work : p->work;
    }
}

/* The next one of the round, marked as running; NULL: all were asked. */
static struct kva_cleaner *
next_of_round(struct stage *stage, unsigned round)
{
    struct kva_cleaner *cl = stage->first;

    if (cl == NULL || cl->round == round) {
        return NULL;
    }
    detach(stage, cl);
    append(stage, cl);
    cl->round = round;
    cl->running = true;
    return cl;
}

/* No lock held.  Bytes that came back. */
static size_t
call(struct kva_cleaner *cl, struct pass *p, struct kva_want *want)
{
    const struct kva_supply *supply = kva__reclaim_supply();
    size_t before = supply != NULL ? supply->released() : 0, said, counted;

    said = cl->clean(cl->arg, want);
    counted = supply != NULL ? supply->released() - before : said;
    spend(p, cl->cost != 0 ? cl->cost : 1u);
    if (want->work < p->work) {
        spend(p, p->work - want->work);
    }
    if (p->urgency < KVA_URGENCY_OOM) {
        p->promised = sum_up(p->promised, want->promised);
    }
    if (said > counted) {
        p->loose = sum_up(p->loose, said - counted);
    }
    p->done = sum_up(p->done, counted);
    return counted;
}

/* Ask each of a stage once; false: not all, as that was enough.  Locked, but
 * not while they are called. */
static bool
round_of(enum kva_reclaim_stage stage, struct pass *p, kva_irq_t *irq)
{
    struct stage *st = &reclaim.stage[stage];
    unsigned round = ++reclaim.round;
    struct kva_cleaner *cl;
    size_t freed;

    while (lacking(p) != 0 && (cl = next_of_round(st, round)) != NULL) {
        struct kva_want want = {
            .bytes = lacking(p),
            .retain = p->urgency < KVA_URGENCY_OOM ? cl->retain : 0,
            .work = p->work,
            .urgency = p->urgency,
        };

        kva_port_unlock(&reclaim.lock, *irq);
        freed = call(cl, p, &want);
        *irq = kva_port_lock(&reclaim.lock);
        reclaim.stat.calls++;
        reclaim.stat.bytes_by_stage[stage] += freed;
        cl->freed += freed;
        if (want.leave && cl->registered) {
            leave(cl);
        }
        cl->running = false; /* from here on its owner may go */
    }
    return st->first == NULL || st->first->round == round;
}

/* Rounds of a stage, and the spans after each, until there is no more. */
static void
ask_stage(enum kva_reclaim_stage stage, struct pass *p, kva_irq_t *irq)
{
    unsigned vain = 0, early = 0;
    size_t before;
    bool any, all;

    do {
        before = p->done;
        all = round_of(stage, p, irq);
        any = p->loose != 0 || p->done != before;
        p->loose = 0;
        if (stage != KVA_STAGE_SPANS) {
            (void)round_of(KVA_STAGE_SPANS, p, irq);
            p->loose = 0;
        }
        if (p->done != before) {
            vain = early = 0;
        } else if (!all && early < reclaim.stage[stage].count) {
            early++; /* with as many of those, each was asked */
        } else {
            vain++;
        }
    } while (any && vain < VAIN_ROUNDS && lacking(p) != 0);
}

size_t
kva_reclaim_pass(size_t bytes, enum kva_urgency urgency, size_t *work)
{
    static const enum kva_reclaim_stage order[] = {
        KVA_STAGE_CACHES,  KVA_STAGE_PAGES, KVA_STAGE_CACHES,
        KVA_STAGE_CLIENTS, KVA_STAGE_MOVES, KVA_STAGE_SPANS,
    };
    struct pass p = { .bytes = bytes, .work = *work, .urgency = urgency };
    void (*hold)(bool on);
    kva_irq_t irq;

    init_once();
    irq = kva_port_lock(&reclaim.lock);
    if (reclaim.passing) {
        kva_port_unlock(&reclaim.lock, irq);
        return 0;
    }
    reclaim.passing = true;
    reclaim.task = kva__task();
    hold = reclaim.hold; /* one for both ends: arenas count */
    kva_port_unlock(&reclaim.lock, irq);
    if (hold != NULL) {
        hold(true);
    }
    irq = kva_port_lock(&reclaim.lock);
    for (unsigned i = 0; i < KVA_COUNT(order) && lacking(&p) != 0; i++) {
        ask_stage(order[i], &p, &irq);
    }
    kva_port_unlock(&reclaim.lock, irq);
    if (hold != NULL) {
        hold(false);
    }
    irq = kva_port_lock(&reclaim.lock);
    reclaim.passing = false;
    reclaim.task = NULL;
    reclaim.stat.passes++;
    reclaim.stat.vain += p.done == 0;
    reclaim.stat.bytes += p.done;
    kva_port_unlock(&reclaim.lock, irq);
    *work = p.work;
    return p.done;
}

size_t
kva_reclaim(size_t bytes)
{
    size_t work = KVA_WORK_ALL;

    return kva_reclaim_pass(bytes, KVA_URGENCY_TRIM, &work);
}
