/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thousand threads under a megabyte.  Source: NetBSD, src of 8 September
 * 2010, "Improve pagedaemon performance", which leaves this case open: 1000
 * threads, each of which holds an object locked that has one page, want more.
 *
 * What is built: 256 pages in all, metadata included: 240 that can be had, and
 * the rest for tags, which the machine checks.  Each thread locks an object of
 * its own, takes a page for it, works, asks for a second one while it holds the
 * first, holds both for a while, and lets go of them, one after the other.
 * Requests wait for up to 2 s.  Moments are of the virtual clock.
 *
 * Before: requests wait without end, and nobody says no.  All who hold a page
 * wait for another one, and so all wait for ever.
 *
 * After, holding fast: what ends that is the timeout.  When a thread comes, how
 * long it works and how long it holds are drawn from the seed, in four ways from
 * all at once to over 4 s; and the count of successes is that of a simulation,
 * which has a queue and a number where the library has arenas and threads.
 *
 *   Why the counts can be equal.  Every moment at which thread i does something
 *   by itself (comes, has worked, lets go, or its time is up) is i modulo 1024,
 *   in ns, and the clock stands still while anybody runs.  So one thread acts at
 *   a time, and it frees one page at the most, which is the oldest waiter's:
 *   nobody else asks at that moment.  Who gets a page sleeps at once.  The
 *   host's scheduler decides nothing.
 *
 * At each moment nobody waits while a page is free, so in particular not when
 * his time is up.
 *
 * After, with the pagedaemon: all come at once and ask for more at once.  As
 * nothing comes back, in pass after pass, those who wait are refused, before
 * their time is up.  Each page was had once, whoever had it; the pages that
 * those let go who are refused come too late for the others.
 *
 * After, letting go: a thread unlocks its object while it waits, and the object
 * has its page on an LRU.  Then whoever wants a page finds one whose object can
 * be locked, and all 2000 requests are met.  Any order of threads will do.
 *
 * percent: of 100 seeds, but two at least, and one at 0; below 20 with a quarter
 * of the threads and of the pages, below 5 with an eighth.
 */
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

#include "bench/reclaim/actors.h"
#include "bench/reclaim/experiment.h"
#include "reclaim/lru.h"
#include "reclaim/pagedaemon.h"

#define P KVA_PAGE_SIZE
#define THREADS 1000u
#define PAGES 256u
#define SEEDS 100u

/* Tags and hash tables of 256 spans of a page take 14; at boot there are 7. */
#define META_PAGES 16u

#define MS ((uint64_t)1000000u)
#define TIMEOUT (2000u * MS)
#define NEVER UINT64_MAX
/* Above THREADS, and 2 s are a multiple of it. */
#define SLOTS 1024u

_Static_assert(THREADS < SLOTS && TIMEOUT % SLOTS == 0,
               "a moment for each thread, timeouts included");

/* What the seed says of a thread: in ns. */
struct plan {
    uint64_t comes, works, holds;
};

struct outcome {
    size_t met;       /* requests */
    size_t refused;   /* KVA_ENOMEM */
    size_t late;      /* KVA_ETIMEDOUT */
    size_t odd;       /* anything else */
    size_t left;      /* threads that wait for ever */
    size_t idle;      /* moments at which one waited while a page was free */
    uint64_t longest; /* wait, ns */
    size_t pages;     /* most there were, metadata included */
    size_t waits;     /* of requests */
    size_t vain;      /* wake-ups for nothing */
};

struct contention {
    size_t threads, usable;
    uint64_t seed;
    const struct plan *plan;
    bool forever; /* no timeouts */
};

/* ---- plans -------------------------------------------------------------- */

/* The first moment from t on that is thread i's. */
static uint64_t
moment(uint64_t t, size_t i)
{
    return t + (SLOTS + i - t % SLOTS) % SLOTS;
}

static struct plan *
plans(const struct contention *x, unsigned way)
{
    static const uint64_t window[] = { 1, 100, 1000, 4000 };
    static const uint64_t work[] = { 1, 100, 400, 100 };
    struct plan *p = calloc(x->threads, sizeof(*p));
    uint64_t r = x->seed;

    for (size_t i = 0; p != NULL && i < x->threads; i++) {
        p[i].comes = experiment_random(&r) % (window[way] * MS);
        p[i].works = 1 + experiment_random(&r) % (work[way] * MS);
        p[i].holds = 1 + experiment_random(&r) % (work[way] * MS);
    }
    return p;
}

/* ---- the simulation ----------------------------------------------------- */

enum step {
    COMES,
    WAITS, /* until its time is up, if nobody lets go of a page */
    WORKS,
    HOLDS,
    HOLDS_ONE, /* of two */
    ENDED
};

struct sim_thread {
    uint64_t at; /* of the next step */
    enum step step;
    unsigned held;
};

struct sim {
    const struct contention *x;
    struct sim_thread *thread;
    size_t *queue, first, last; /* who waits; may have left, by its step */
    size_t free, met;
};

static void
sim_grant(struct sim *s, size_t i, uint64_t now)
{
    const struct plan *p = &s->x->plan[i];
    struct sim_thread *t = &s->thread[i];

    s->met++;
    t->held++;
    t->step = t->held == 1 ? WORKS : HOLDS;
    t->at = moment(now + (t->held == 1 ? p->works : p->holds), i);
}

static void
sim_ask(struct sim *s, size_t i, uint64_t now)
{
    if (s->free > 0) {
        s->free--;
        sim_grant(s, i, now);
    } else {
        s->queue[s->last++] = i;
        s->thread[i].step = WAITS;
        s->thread[i].at = now + TIMEOUT;
    }
}

/* A thread is in the queue twice at the most, for its first page and its
 * second, and not at once; what is left of the first time has no WAITS. */
static void
sim_release(struct sim *s, uint64_t now)
{
    while (s->first < s->last) {
        size_t i = s->queue[s->first++];

        if (s->thread[i].step == WAITS) {
            sim_grant(s, i, now);
            return;
        }
    }
    s->free++;
}

static void
sim_step(struct sim *s, size_t i)
{
    struct sim_thread *t = &s->thread[i];
    uint64_t now = t->at;

    switch (t->step) {
    case COMES:
    case WORKS:
        sim_ask(s, i, now);
        break;
    case HOLDS:
        t->step = HOLDS_ONE;
        t->at = moment(now + 1, i);
        sim_release(s, now);
        break;
    default: /* its time is up, or it lets go of the last one */
        t->step = ENDED;
        t->at = NEVER;
        if (t->held > 0) {
            sim_release(s, now);
        }
    }
}

/* Requests met; SIZE_MAX: no memory. */
static size_t
simulate(const struct contention *x, uint64_t start)
{
    struct sim s = { .x = x, .free = x->usable };
    size_t next;

    s.thread = calloc(x->threads, sizeof(*s.thread));
    s.queue = calloc(2 * x->threads, sizeof(*s.queue));
    if (s.thread == NULL || s.queue == NULL) {
        s.met = SIZE_MAX;
        goto out;
    }
    for (size_t i = 0; i < x->threads; i++) {
        s.thread[i].at = moment(start + x->plan[i].comes, i);
    }
    for (;;) {
        next = 0;
        for (size_t i = 1; i < x->threads; i++) {
            next = s.thread[i].at < s.thread[next].at ? i : next;
        }
        if (s.thread[next].at == NEVER) {
            break;
        }
        sim_step(&s, next);
    }
out:
    free(s.thread);
    free(s.queue);
    return s.met;
}

/* ---- the threads -------------------------------------------------------- */

struct contender {
    const struct contention *x;
    size_t i;
    uint64_t at; /* when it wakes by itself */
    bool waits;  /* for a page */
    unsigned held;
    vmem_addr_t page[2];
    struct outcome out;
};

/* Wait for a page, timed. */
static bool
page_get(struct contender *c)
{
    const struct vmem_request rq = { .size = P,
                                     .maxaddr = VMEM_ADDR_MAX,
                                     .flags = VM_SLEEP };
    uint64_t begin = actor_now(), timeout = c->x->forever ? 0 : TIMEOUT;
    int err;

    c->at = timeout != 0 ? begin + timeout : NEVER;
    c->waits = true;
    err = vmem_xalloc_timed(kmem_arena, &rq, timeout, c->x, &c->page[c->held]);
    c->waits = false;
    begin = actor_now() - begin;
    c->out.longest = begin > c->out.longest ? begin : c->out.longest;
    c->held += err == 0;
    c->out.met += err == 0;
    c->out.refused += err == KVA_ENOMEM;
    c->out.late += err == KVA_ETIMEDOUT;
    c->out.odd += err != 0 && err != KVA_ENOMEM && err != KVA_ETIMEDOUT;
    return err == 0;
}

static void
page_put(struct contender *c)
{
    vmem_xfree(kmem_arena, c->page[--c->held], P);
}

static void
rest_until(struct contender *c, uint64_t at)
{
    c->at = moment(at, c->i);
    actor_sleep(c->at);
}

/* Its object is its own, and locked from here to the end. */
static void
hold_fast(void *arg)
{
    struct contender *c = arg;
    const struct plan *p = &c->x->plan[c->i];

    rest_until(c, actor_now() + p->comes);
    if (page_get(c)) {
        rest_until(c, actor_now() + p->works);
        if (page_get(c)) {
            rest_until(c, actor_now() + p->holds);
            page_put(c);
            rest_until(c, actor_now() + 1);
        }
        page_put(c);
    }
}

/* ---- a machine and its threads ------------------------------------------ */

static bool
machine_start(const struct contention *x)
{
    struct kva_posix_config config = { .va_bytes = (size_t)64 << 20,
                                       .meta_bytes = (size_t)8 << 20,
                                       .page_limit = x->usable + META_PAGES,
                                       .meta_counts = true };
    struct kva_boot kb = { .wired_limit = x->usable * P,
                           .lazy_bytes = SIZE_MAX,
                           .lazy_ms = UINT_MAX };

    return experiment_start(&config, &kb);
}

static struct contender *
contenders(const struct contention *x)
{
    struct contender *c = calloc(x->threads, sizeof(*c));

    for (size_t i = 0; c != NULL && i < x->threads; i++) {
        c[i].x = x;
        c[i].i = i;
        c[i].at = NEVER;
    }
    return c;
}

static bool
all_start(struct contender *c, const struct contention *x,
          void (*fn)(void *arg))
{
    bool ok = true;

    for (size_t i = 0; ok && i < x->threads; i++) {
        ok = actor_start(fn, &c[i]);
    }
    return ok;
}

static void
add_up(struct outcome *sum, const struct outcome *o)
{
    sum->met += o->met;
    sum->refused += o->refused;
    sum->late += o->late;
    sum->odd += o->odd;
    sum->longest = o->longest > sum->longest ? o->longest : sum->longest;
}

/* What all did; their threads have ended. */
static void
sum_up(struct outcome *sum, const struct contender *c,
       const struct contention *x)
{
    struct kva_posix_stats st;
    struct kva_vmem_stat vs;

    for (size_t i = 0; i < x->threads; i++) {
        add_up(sum, &c[i].out);
    }
    kva_posix_stats_get(&st);
    sum->pages = st.frames_peak + st.meta_peak;
    vmem_stat(kmem_arena, &vs);
    sum->waits = vs.wait;
    sum->vain = vs.wakes_vain;
}

static size_t
pages_free(const struct contention *x)
{
    struct kva_stat st;

    kva_stat(&st);
    return x->usable - (st.wired_bytes - st.lazy_bytes) / P +
           vmem_size(kmem_arena, VMEM_FREE) / P;
}

/* From one thread's moment to the next, until all have ended or none will. */
static void
from_moment_to_moment(struct contender *c, const struct contention *x,
                      struct outcome *out)
{
    uint64_t next;

    do {
        bool waits = false;

        actors_settle();
        next = NEVER;
        for (size_t i = 0; i < x->threads; i++) {
            next = c[i].at < next ? c[i].at : next;
            waits = waits || c[i].waits;
        }
        out->idle += waits && pages_free(x) != 0;
        if (next != NEVER) {
            actors_advance(next);
        }
    } while (next != NEVER);
    out->left = actors_live();
}

static void
ended(void *arg)
{
    ((struct contender *)arg)->at = NEVER;
}

static void
hold_fast_and_end(void *arg)
{
    hold_fast(arg);
    ended(arg);
}

/* Run the plan with threads.  *met: what the simulation has. */
static bool
run_plan(struct contention *x, unsigned way, struct outcome *out, size_t *met)
{
    struct contender *c = contenders(x);
    struct plan *p = plans(x, way);
    bool ok = c != NULL && p != NULL && machine_start(x);

    x->plan = p;
    if (ok && (ok = actors_begin(x->threads))) {
        *met = simulate(x, actor_now());
        ok = all_start(c, x, hold_fast_and_end) && *met != SIZE_MAX;
        from_moment_to_moment(c, x, out);
        while (actors_live() != 0) { /* those who would wait for ever */
            (void)vmem_cancel(kmem_arena, x);
            actors_settle();
            actors_advance(actor_now() + TIMEOUT);
        }
        actors_end();
        sum_up(out, c, x);
        experiment_end();
    }
    free(p);
    free(c);
    return ok || experiment_failed("contention", "no memory for the threads");
}

/* ---- objects that let go ------------------------------------------------ */

/* An object with a page or two; locked by its thread, but while that waits. */
struct object {
    pthread_mutex_t lock;
    struct kva_lru_object lru;
    struct lru_entry {
        struct kva_lru_page lru;
        vmem_addr_t va;
        bool there;
    } page[2];
};

static struct kva_lru lru;

static bool
object_trylock(void *arg, struct kva_lru_object *o)
{
    struct object *object =
        (struct object *)((char *)o - offsetof(struct object, lru));

    (void)arg;
    return pthread_mutex_trylock(&object->lock) == 0;
}

static void
object_unlock(void *arg, struct kva_lru_object *o)
{
    struct object *object =
        (struct object *)((char *)o - offsetof(struct object, lru));

    (void)arg;
    (void)pthread_mutex_unlock(&object->lock);
}

/* What is in the page is had again when it is needed. */
static size_t
object_release(void *arg, struct kva_lru_page *page)
{
    struct lru_entry *e = (struct lru_entry *)page;

    (void)arg;
    e->there = false;
    vmem_xfree(kmem_arena, e->va, P);
    return P;
}

/* Wait with the object unlocked. */
static bool
object_page_get(struct contender *c, struct object *o)
{
    struct lru_entry *e = &o->page[c->held];
    bool got;

    (void)pthread_mutex_unlock(&o->lock);
    got = page_get(c);
    (void)pthread_mutex_lock(&o->lock);
    if (got) {
        e->va = c->page[c->held - 1];
        e->there = true;
        kva_lru_insert(&lru, &e->lru);
    }
    return got;
}

static void
let_go(void *arg)
{
    struct contender *c = arg;
    struct object o = { .lock = PTHREAD_MUTEX_INITIALIZER };

    o.page[0].lru.object = o.page[1].lru.object = &o.lru;
    (void)pthread_mutex_lock(&o.lock);
    if (object_page_get(c, &o)) {
        actor_sleep(actor_now() + MS);
        if (object_page_get(c, &o)) {
            actor_sleep(actor_now() + MS);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        kva_lru_remove(&lru, &o.page[i].lru);
        if (o.page[i].there) {
            vmem_xfree(kmem_arena, o.page[i].va, P);
        }
    }
    (void)pthread_mutex_unlock(&o.lock);
    (void)pthread_mutex_destroy(&o.lock);
}

/* ---- with the pagedaemon ------------------------------------------------ */

/* Take a page, and when all have had their chance ask for another. */
static void
all_at_once(void *arg)
{
    struct contender *c = arg;

    if (page_get(c)) {
        actor_sleep(actor_now() + 1);
        if (page_get(c)) {
            page_put(c);
        }
        page_put(c);
    }
}

static void
daemon_run(void *arg)
{
    (void)arg;
    kva_pagedaemon();
}

/*
 * Until the daemon alone is left: a nanosecond, in which who has a page asks for
 * another, so that they wait before the daemon's first pause is over; then ten
 * milliseconds after the other.
 */
static void
run_beside_daemon(struct outcome *out)
{
    for (unsigned n = 0; n < 10000; n++) {
        actors_settle();
        if (actors_live() == 1) {
            return;
        }
        actors_advance(actor_now() + (n == 0 ? 1 : 10 * MS));
    }
    out->left = actors_live() - 1;
    (void)vmem_cancel(kmem_arena, NULL);
}

static bool
run_daemon(struct contention *x, void (*fn)(void *arg), struct outcome *out)
{
    struct contender *c = contenders(x);
    bool ok = c != NULL && machine_start(x);

    if (ok && (ok = actors_begin(x->threads + 1))) {
        lru = (struct kva_lru){ .name = "objects",
                                .trylock = object_trylock,
                                .unlock = object_unlock,
                                .release = object_release };
        kva_lru_init(&lru);
        ok = actor_start(daemon_run, NULL);
        actors_settle(); /* it runs before it is stopped */
        ok = ok && all_start(c, x, fn);
        run_beside_daemon(out);
        kva_pagedaemon_stop();
        actors_end();
        kva_lru_fini(&lru);
        sum_up(out, c, x);
        experiment_end();
    }
    free(c);
    return ok || experiment_failed("contention", "no memory for the threads");
}

/* ---- claims ------------------------------------------------------------- */

/* Without an end to waiting, all at once. */
static bool
run_before(struct contention *x, struct outcome *out)
{
    size_t met;
    bool ok;

    x->forever = true;
    ok = run_plan(x, 0, out, &met);
    x->forever = false;
    return ok;
}

static bool
run_seeds(struct contention *x, unsigned seeds, struct outcome *out,
          size_t *differ)
{
    for (unsigned n = 0; n < seeds; n++) {
        struct outcome one = { 0 };
        size_t met = 0;

        x->seed = experiment_random(&x->seed);
        if (!run_plan(x, (unsigned)(x->seed + n) % 4, &one, &met)) {
            return false;
        }
        *differ += one.met != met;
        add_up(out, &one);
        out->left += one.left;
        out->idle += one.idle;
        out->waits += one.waits;
        out->vain += one.vain;
        out->pages = one.pages > out->pages ? one.pages : out->pages;
    }
    return true;
}

static void
claims_of_seeds(struct claims *c, const struct contention *x, unsigned seeds,
                const struct outcome *before, const struct outcome *o,
                size_t differ)
{
    claim(c, &(struct claim){ "threads that wait for ever", "", true,
                              (double)before->left, (double)o->left,
                              CLAIM_EQUALS, 0 });
    claim(c,
          &(struct claim){ "seeds run", "", false, 0, seeds, CLAIM_SHOWN, 0 });
    claim(c, &(struct claim){ "successes unlike the simulation's", "of seeds",
                              false, 0, (double)differ, CLAIM_EQUALS, 0 });
    claim(c,
          &(struct claim){ "requests met, holding fast", "% of all", true,
                           50.0 * (double)before->met / (double)x->threads,
                           50.0 * (double)o->met / ((double)x->threads * seeds),
                           CLAIM_SHOWN, 0 });
    claim(c,
          &(struct claim){ "requests with another end than these", "requests",
                           false, 0, (double)o->odd, CLAIM_EQUALS, 0 });
    claim(c, &(struct claim){ "moments with one who waits and a page free", "",
                              false, 0, (double)o->idle, CLAIM_EQUALS, 0 });
    claim(c, &(struct claim){
                 "woken in vain, of those who wait", "times each", false, 0,
                 o->waits == 0 ? 0 : (double)o->vain / (double)o->waits,
                 CLAIM_AT_MOST, 2 });
    claim(c, &(struct claim){ "longest wait", "ms", false, 0,
                              (double)(o->longest / MS), CLAIM_AT_MOST,
                              (double)(TIMEOUT / MS) });
    claim(c,
          &(struct claim){ "pages in use at most, metadata included", "pages",
                           false, 0, (double)o->pages, CLAIM_AT_MOST,
                           (double)(x->usable + META_PAGES) });
}

static void
claims_of_daemon(struct claims *c, const struct contention *x,
                 const struct outcome *fast, const struct outcome *go)
{
    claim(c,
          &(struct claim){ "all at once: threads left", "", false, 0,
                           (double)(fast->left + go->left), CLAIM_EQUALS, 0 });
    claim(c, &(struct claim){ "all at once: met, a page each", "requests",
                              false, 0, (double)fast->met, CLAIM_EQUALS,
                              (double)x->usable });
    claim(c, &(struct claim){ "all at once: refused, the rest", "requests",
                              false, 0, (double)fast->refused, CLAIM_EQUALS,
                              (double)x->threads });
    claim(c, &(struct claim){ "all at once: longest wait", "ms", false, 0,
                              (double)(fast->longest / MS), CLAIM_AT_MOST,
                              (double)(TIMEOUT / MS) });
    claim(c, &(struct claim){ "objects let go while they wait: met", "requests",
                              true, (double)fast->met, (double)go->met,
                              CLAIM_EQUALS, 2.0 * (double)x->threads });
    claim(c, &(struct claim){ "objects let go: pages in use at most", "pages",
                              false, 0, (double)go->pages, CLAIM_AT_MOST,
                              (double)(x->usable + META_PAGES) });
}

static bool
run(struct claims *c, unsigned percent, uint64_t seed)
{
    size_t few = percent < 5 ? 8 : percent < 20 ? 4 : 1;
    struct contention x = { .threads = THREADS / few,
                            .usable = PAGES / few - META_PAGES,
                            .seed = seed };
    unsigned seeds = SEEDS * percent / 100;
    struct outcome before = { 0 }, after = { 0 }, fast = { 0 }, go = { 0 };
    size_t differ = 0;

    seeds = percent == 0 ? 1 : seeds < 2 ? 2 : seeds;
    if (!run_before(&x, &before) || !run_seeds(&x, seeds, &after, &differ)) {
        return false;
    }
    claims_of_seeds(c, &x, seeds, &before, &after, differ);
    if (!run_daemon(&x, all_at_once, &fast) || !run_daemon(&x, let_go, &go)) {
        return false;
    }
    claims_of_daemon(c, &x, &fast, &go);
    return true;
}

const struct experiment experiment_contention = {
    .name = "contention",
    .about = "1000 threads hold a page each and want another; NetBSD, 2010",
    .run = run,
};
