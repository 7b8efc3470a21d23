/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cleaners that misbehave.
 *
 * Claims: whatever cleaners say of what they freed, or promise, or do to the list
 * that they are on, a pass ends, returns what the supply counts, and has it if
 * anybody had it; each stage may have nothing, and the others are asked; one that
 * allocates, or that sleeps until its time is up, holds nobody up for longer; and
 * with threads nobody is called once he has left.  The library's own free in
 * proportion, and keep what they may, by their names.
 *
 * The supply is the test's own but where memory is the tower's.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kmem/kmem.h"
#include "reclaim/pagedaemon.h"
#include "tests/unit/tower.h"

#define P KVA_PAGE_SIZE
#define MS ((uint64_t)1000000u)

/* ---- what they say ------------------------------------------------------- */

enum manner {
    HONEST,
    BOASTS,   /* says all that was wanted, whatever it freed */
    MODEST,   /* says nothing */
    GENEROUS, /* frees all it has, and says what was wanted */
    PROMISES, /* has nothing, and promises everything */
    MANNERS
};

struct player {
    struct kva_cleaner cleaner;
    enum manner manner;
    size_t has;
    size_t most;    /* at a call, if not 0 */
    unsigned every; /* only each so manieth call gives; 0: each */
    size_t says;    /* if not 0; else all */
    size_t asked;   /* at its first call */
    unsigned calls;
};

static size_t released;

static size_t
nothing(void)
{
    return 0;
}

static size_t
released_bytes(void)
{
    return released;
}

static const struct kva_supply counted = { .used = nothing,
                                           .limit = nothing,
                                           .released = released_bytes };

static size_t
play(void *arg, struct kva_want *want)
{
    struct player *p = arg;
    size_t give = p->has < want->bytes ? p->has : want->bytes;

    p->calls++;
    give = p->most != 0 && give > p->most ? p->most : give;
    give = p->every != 0 && p->calls % p->every != 0 ? 0 : give;
    p->asked = p->calls == 1 ? want->bytes : p->asked;
    if (p->manner == PROMISES) {
        want->promised = p->most != 0 ? p->most : SIZE_MAX;
        return 0;
    }
    give = p->manner == GENEROUS ? p->has : give;
    p->has -= give;
    released += give;
    if (p->manner == MODEST || p->manner == HONEST) {
        return p->manner == HONEST ? give : 0;
    }
    return p->says != 0 ? p->says : want->bytes;
}

static void
player_add(struct player *p, enum kva_reclaim_stage stage, enum manner manner,
           size_t has)
{
    *p = (struct player){ .cleaner = { .clean = play,
                                       .arg = p,
                                       .name = "player",
                                       .stage = stage },
                          .manner = manner,
                          .has = has };
    kva_reclaim_register(&p->cleaner);
}

static size_t
all_of(const struct player *p, unsigned n)
{
    size_t sum = 0;

    for (unsigned i = 0; i < n; i++) {
        sum += p[i].has;
    }
    return sum;
}

/*
 * Any number of them, in any stage.  What came back is what the supply says; and
 * with the urgency that follows on a pass in vain, it is what was wanted, or all
 * there was.
 */
static void
whatever_they_say(struct test_ctx *t)
{
    enum {
        PLAYERS = 12
    };

    kva_reclaim_set_supply(&counted);
    for (unsigned long n = 0; n < t->count; n++) {
        unsigned players = 1u + (unsigned)test_rand_below(t, PLAYERS);
        bool oom = test_rand_below(t, 2) != 0;
        size_t work = KVA_WORK_ALL, want, had, got;
        struct player p[PLAYERS];

        for (unsigned i = 0; i < players; i++) {
            player_add(&p[i],
                       (enum kva_reclaim_stage)test_rand_below(t, KVA_STAGES),
                       (enum manner)test_rand_below(t, MANNERS),
                       (size_t)test_rand_below(t, 3) * 10);
        }
        for (unsigned i = 0; i < players; i++) {
            p[i].has = p[i].manner == PROMISES ? 0 : p[i].has;
        }
        had = all_of(p, players);
        want = 1u + (size_t)test_rand_below(t, 100);
        got = kva_reclaim_pass(want, oom ? KVA_URGENCY_OOM : KVA_URGENCY_MEDIUM,
                               &work);
        CHECK_EQ(got, had - all_of(p, players));
        if (oom) {
            CHECK_GE(got, want < had ? want : had);
        }
        for (unsigned i = 0; i < players; i++) {
            /* Four rounds in vain and one that ended early for each of them,
             * in six visits to stages and after each time that one gave. */
            CHECK_LE(p[i].calls, (4u + PLAYERS) * (6u + PLAYERS));
            kva_reclaim_unregister(&p[i].cleaner);
        }
    }
    kva_reclaim_set_supply(NULL);
}

/* A row of those who boast, and behind them one that has it. */
static void
who_boasts_hides_nobody(struct test_ctx *t)
{
    enum {
        BOASTERS = 20
    };
    struct player p[BOASTERS + 1];
    unsigned sum = 0;

    (void)t;
    kva_reclaim_set_supply(&counted);
    for (unsigned i = 0; i < BOASTERS; i++) {
        player_add(&p[i], KVA_STAGE_CLIENTS, BOASTS, 0);
    }
    player_add(&p[BOASTERS], KVA_STAGE_CLIENTS, HONEST, 100);
    CHECK_EQ(kva_reclaim(100), 100);
    for (unsigned i = 0; i < BOASTERS; i++) {
        CHECK_EQ(p[i].calls, 1);
    }
    CHECK_EQ(kva_reclaim(1), 0);
    for (unsigned i = 0; i < BOASTERS; i++) {
        CHECK_LE(p[i].calls, 1 + 2); /* a little more than one round */
        sum += p[i].calls - 1;
        kva_reclaim_unregister(&p[i].cleaner);
    }
    CHECK_EQ(sum, BOASTERS + 1 + 4);
    kva_reclaim_unregister(&p[BOASTERS].cleaner);
    player_add(&p[0], KVA_STAGE_CLIENTS, BOASTS, 0);
    CHECK_EQ(kva_reclaim(1), 0);
    CHECK_EQ(p[0].calls, 4); /* alone */
    kva_reclaim_unregister(&p[0].cleaner);
    kva_reclaim_set_supply(NULL);
}

/* Rounds in vain are counted anew when something came back: neither who gives at
 * each third call only, nor who gives little behind a row of those who boast, is
 * left before all that is wanted is there. */
static void
who_gives_little_is_asked_on(struct test_ctx *t)
{
    enum {
        BOASTERS = 20
    };
    struct player p[BOASTERS + 1];

    (void)t;
    kva_reclaim_set_supply(&counted);
    player_add(&p[0], KVA_STAGE_CLIENTS, BOASTS, 100);
    p[0].most = 10;
    p[0].every = 3;
    CHECK_EQ(kva_reclaim(100), 100);
    CHECK_EQ(p[0].calls, 30);
    kva_reclaim_unregister(&p[0].cleaner);
    for (unsigned i = 0; i < BOASTERS; i++) {
        player_add(&p[i], KVA_STAGE_CLIENTS, BOASTS, 0);
    }
    player_add(&p[BOASTERS], KVA_STAGE_CLIENTS, HONEST, 100);
    p[BOASTERS].most = 10;
    CHECK_EQ(kva_reclaim(100), 100);
    CHECK_EQ(p[BOASTERS].calls, 10);
    for (unsigned i = 0; i <= BOASTERS; i++) {
        kva_reclaim_unregister(&p[i].cleaner);
    }
    kva_reclaim_set_supply(NULL);
}

/* Of whoever comes last in a round is asked what the others did not say that they
 * gave or promised, all of them together; and what is too much to be counted is
 * all that was wanted. */
static void
what_they_say_adds_up(struct test_ctx *t)
{
    struct player p[3];

    (void)t;
    kva_reclaim_set_supply(&counted);
    for (unsigned i = 0; i < 2; i++) {
        enum manner manner = i == 0 ? BOASTS : PROMISES;

        player_add(&p[0], KVA_STAGE_CLIENTS, manner, 0);
        player_add(&p[1], KVA_STAGE_CLIENTS, manner, 0);
        player_add(&p[2], KVA_STAGE_CLIENTS, HONEST, 100);
        p[0].most = p[1].most = 40;
        p[0].says = p[1].says = 40;
        CHECK_EQ(kva_reclaim(100), i == 0 ? 100 : 20);
        CHECK_EQ(p[2].asked, 20);
        for (unsigned k = 0; k < 3; k++) {
            kva_reclaim_unregister(&p[k].cleaner);
        }
    }
    kva_reclaim_set_supply(NULL);
    player_add(&p[0], KVA_STAGE_CLIENTS, HONEST, 10);
    player_add(&p[1], KVA_STAGE_CLIENTS, BOASTS, 0);
    p[1].says = SIZE_MAX;
    player_add(&p[2], KVA_STAGE_CLIENTS, HONEST, 100);
    CHECK_EQ(kva_reclaim(100), SIZE_MAX);
    CHECK_EQ(p[2].calls, 0);
    for (unsigned k = 0; k < 3; k++) {
        kva_reclaim_unregister(&p[k].cleaner);
    }
}

/* Spans are asked behind each of the other stages, and once in their own. */
static void
spans_are_asked_behind_each_stage(struct test_ctx *t)
{
    struct kva_reclaim_stat before, after;
    struct player p[2];

    (void)t;
    kva_reclaim_set_supply(&counted);
    player_add(&p[0], KVA_STAGE_SPANS, HONEST, 0);
    kva_reclaim_stat(&before);
    CHECK_EQ(kva_reclaim(100), 0);
    kva_reclaim_stat(&after);
    CHECK_EQ(after.vain - before.vain, 1);
    CHECK_EQ(p[0].calls, 5 + 1);
    player_add(&p[1], KVA_STAGE_MOVES, HONEST, 70);
    p[0].has = 20;
    p[0].every = 10; /* behind the fourth one */
    kva_reclaim_stat(&before);
    CHECK_EQ(kva_reclaim(90), 90);
    kva_reclaim_stat(&after);
    CHECK_EQ(after.passes - before.passes, 1);
    CHECK_EQ(after.calls - before.calls, 5);
    CHECK_EQ(after.vain, before.vain);
    CHECK_EQ(after.bytes - before.bytes, 90);
    CHECK_EQ(after.bytes_by_stage[KVA_STAGE_MOVES] -
                 before.bytes_by_stage[KVA_STAGE_MOVES],
             70);
    CHECK_EQ(after.bytes_by_stage[KVA_STAGE_SPANS] -
                 before.bytes_by_stage[KVA_STAGE_SPANS],
             20);
    kva_reclaim_unregister(&p[0].cleaner);
    kva_reclaim_unregister(&p[1].cleaner);
    kva_reclaim_set_supply(NULL);
}

/* What is promised is asked of nobody else, once; then it does not count. */
static void
promises_are_believed_once(struct test_ctx *t)
{
    size_t work = KVA_WORK_ALL;
    struct player p[3];

    (void)t;
    kva_reclaim_set_supply(&counted);
    player_add(&p[0], KVA_STAGE_CACHES, PROMISES, 0);
    player_add(&p[1], KVA_STAGE_CLIENTS, HONEST, 100);
    CHECK_EQ(kva_reclaim_pass(100, KVA_URGENCY_MEDIUM, &work), 0);
    CHECK_EQ(p[1].calls, 0);
    CHECK_EQ(kva_reclaim_pass(100, KVA_URGENCY_OOM, &work), 100);
    p[1].calls = 0;
    p[1].has = 100;
    kva_reclaim_unregister(&p[0].cleaner); /* so that it comes behind */
    player_add(&p[2], KVA_STAGE_CACHES, HONEST, 10);
    kva_reclaim_register(&p[0].cleaner);
    CHECK_EQ(kva_reclaim_pass(100, KVA_URGENCY_MEDIUM, &work), 10);
    CHECK_EQ(p[1].calls, 0);
    for (unsigned i = 0; i < 3; i++) {
        kva_reclaim_unregister(&p[i].cleaner);
    }
    kva_reclaim_set_supply(NULL);
}

/*
 * For each set of stages that have nothing: it comes from the first of the others
 * in the order in which they are asked, and those before it were asked in vain.
 */
static void
every_stage_may_fail(struct test_ctx *t)
{
    static const enum kva_reclaim_stage order[KVA_STAGES] = {
        KVA_STAGE_CACHES, KVA_STAGE_SPANS, KVA_STAGE_PAGES, KVA_STAGE_CLIENTS,
        KVA_STAGE_MOVES
    };

    (void)t;
    kva_reclaim_set_supply(&counted);
    for (unsigned has = 0; has < 1u << KVA_STAGES; has++) {
        struct player p[KVA_STAGES];
        bool found = false;

        for (unsigned i = 0; i < KVA_STAGES; i++) {
            player_add(&p[i], order[i], HONEST, (has >> i & 1u) != 0 ? 10 : 0);
        }
        CHECK_EQ(kva_reclaim(10), has != 0 ? 10 : 0);
        for (unsigned i = 0; i < KVA_STAGES; i++) {
            bool had = (has >> i & 1u) != 0;

            CHECK_EQ(p[i].calls != 0, !found);
            CHECK_EQ(p[i].has, had && found ? 10 : 0);
            found = found || had;
            kva_reclaim_unregister(&p[i].cleaner);
        }
    }
    kva_reclaim_set_supply(NULL);
}

/* ---- what they do to the list -------------------------------------------- */

enum {
    MOVERS = 6
};

static struct mover {
    struct kva_cleaner cleaner;
    bool on; /* as the test knows */
    bool leaves;
} mover[MOVERS];

static struct test_ctx *rolls;

static void
mover_put(struct mover *m, bool on)
{
    if (on && !m->on) {
        kva_reclaim_register(&m->cleaner);
    } else if (!on && m->on) {
        kva_reclaim_unregister(&m->cleaner);
    }
    m->on = on;
}

/* Somebody else comes or goes, or it goes itself, or all of that. */
static size_t
clean_and_change(void *arg, struct kva_want *want)
{
    struct mover *m = arg;

    CHECK(m->on);
    CHECK_EQ(kva_posix_locks_held(), 0);
    for (unsigned i = (unsigned)test_rand_below(rolls, 3); i > 0; i--) {
        struct mover *other = &mover[test_rand_below(rolls, MOVERS)];

        if (other != m) {
            mover_put(other, test_rand_below(rolls, 2) != 0);
        }
    }
    if (test_rand_below(rolls, 4) == 0) {
        want->leave = true;
        m->on = false;
    }
    return (size_t)test_rand_below(rolls, 2);
}

static void
they_come_and_go(struct test_ctx *t)
{
    struct kva_reclaim_stat before, after;

    kva_reclaim_stat(&before);
    rolls = t;
    for (unsigned i = 0; i < MOVERS; i++) {
        mover[i].cleaner = (struct kva_cleaner){
            .clean = clean_and_change,
            .arg = &mover[i],
            .stage = (enum kva_reclaim_stage)(i % KVA_STAGES),
        };
        mover[i].on = false;
    }
    for (unsigned long n = 0; n < t->count; n++) {
        size_t work = 50; /* somebody always says that he gave something */
        unsigned on = 0;

        mover_put(&mover[test_rand_below(t, MOVERS)], true);
        (void)kva_reclaim_pass(100, KVA_URGENCY_LOW, &work);
        for (unsigned i = 0; i < MOVERS; i++) {
            on += mover[i].on ? 1u : 0u;
        }
        kva_reclaim_stat(&after);
        CHECK_EQ(after.cleaners - before.cleaners, on);
    }
    for (unsigned i = 0; i < MOVERS; i++) {
        mover_put(&mover[i], false);
    }
}

/* ---- with threads --------------------------------------------------------- */

struct module {
    struct kva_cleaner cleaner;
    unsigned magic;
};

#define MAGIC 0x600du

static unsigned owners_left;

static size_t
clean_module(void *arg, struct kva_want *want)
{
    struct module *m = arg;

    (void)want;
    CHECK_EQ(m->magic, MAGIC);
    kva_port_relax();
    CHECK_EQ(m->magic, MAGIC);
    return 1;
}

/* Modules are loaded and unloaded: the storage goes when it may. */
static void *
load_and_unload(void *arg)
{
    unsigned long n = *(unsigned long *)arg;

    for (; n > 0; n--) {
        struct module *m = calloc(1, sizeof(*m));

        CHECK(m != NULL);
        m->magic = MAGIC;
        m->cleaner.clean = clean_module;
        m->cleaner.arg = m;
        m->cleaner.stage = (enum kva_reclaim_stage)(n % KVA_STAGES);
        kva_reclaim_register(&m->cleaner);
        if (n % 3 == 0) {
            kva_port_relax();
        }
        kva_reclaim_unregister(&m->cleaner);
        m->magic = 0;
        free(m);
    }
    __atomic_fetch_sub(&owners_left, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* With no more threads at a time than CPUs (Valgrind has one), who passes has
 * the lock when his turn is over, if he does not end it himself. */
static void *
pass_after_pass(void *arg)
{
    (void)arg;
    while (__atomic_load_n(&owners_left, __ATOMIC_ACQUIRE) != 0) {
        size_t work = 20;

        (void)kva_reclaim_pass(SIZE_MAX, KVA_URGENCY_LOW, &work);
        kva_port_relax();
    }
    return NULL;
}

static void
leaving_meets_passes(struct test_ctx *t)
{
    struct kva_reclaim_stat before, after;
    pthread_t owner[3], passer[2];

    kva_reclaim_stat(&before);
    owners_left = KVA_COUNT(owner);
    for (unsigned i = 0; i < KVA_COUNT(owner); i++) {
        CHECK_EQ(pthread_create(&owner[i], NULL, load_and_unload, &t->count),
                 0);
    }
    for (unsigned i = 0; i < KVA_COUNT(passer); i++) {
        CHECK_EQ(pthread_create(&passer[i], NULL, pass_after_pass, NULL), 0);
    }
    for (unsigned i = 0; i < KVA_COUNT(owner); i++) {
        CHECK_EQ(pthread_join(owner[i], NULL), 0);
    }
    for (unsigned i = 0; i < KVA_COUNT(passer); i++) {
        CHECK_EQ(pthread_join(passer[i], NULL), 0);
    }
    kva_reclaim_stat(&after);
    CHECK_EQ(after.cleaners, before.cleaners);
}

/* ---- with memory ------------------------------------------------------------ */

#if KVA_TIER >= 3

static struct {
    struct kva_cleaner cleaner;
    vmem_addr_t page[1024];
    unsigned n;
    unsigned calls;
    int err;     /* of its own request */
    bool locked; /* what it needs is held by somebody */
} stock;

/* Somebody is about to sleep: he wakes up a little later, for nothing. */
static void
time_goes_by(void *arg, const void *channel)
{
    (void)arg;
    kva_posix_clock_advance(100 * MS);
    kva_port_wake(channel);
}

static void
memory_begin(void)
{
    tower_start(512);
    kva_posix_clock_virtual(true);
    kva_posix_clock_advance(1000 * MS);
    kva_posix_wait_hook(time_goes_by, NULL);
    memset(&stock, 0, sizeof(stock));
}

static void
memory_end(void)
{
    while (stock.n > 0) {
        vmem_free(kmem_arena, stock.page[--stock.n], P);
    }
    kva_reclaim_unregister(&stock.cleaner);
    kva_posix_wait_hook(NULL, NULL);
    kva_posix_clock_virtual(false);
    tower_end();
}

static void
stock_all(size_t (*clean)(void *arg, struct kva_want *want))
{
    while (vmem_alloc(kmem_arena, P, VM_NOSLEEP, &stock.page[stock.n]) == 0) {
        stock.n++;
        CHECK_LT(stock.n, KVA_COUNT(stock.page));
    }
    stock.cleaner.clean = clean;
    stock.cleaner.stage = KVA_STAGE_CLIENTS;
    kva_reclaim_register(&stock.cleaner);
}

static size_t
give(size_t bytes)
{
    size_t done = 0;

    while (stock.n > 0 && done < bytes) {
        vmem_free(kmem_arena, stock.page[--stock.n], P);
        done += P;
    }
    return done;
}

static int
ask(size_t bytes, uint64_t timeout_ns, vmem_addr_t *addr)
{
    struct vmem_request rq = { .size = bytes,
                               .maxaddr = VMEM_ADDR_MAX,
                               .flags = VM_SLEEP };

    return vmem_xalloc_timed(kmem_arena, &rq, timeout_ns, NULL, addr);
}

/* It wants memory before it frees any: there is none, so it is told so, and a
 * request that may sleep comes to the end of its time. */
static size_t
clean_by_allocating(void *arg, struct kva_want *want)
{
    vmem_addr_t addr = 0;
    void *p = kva_kmem_alloc(64 * P, KM_NOSLEEP);

    (void)arg;
    if (stock.calls++ == 0) {
        CHECK(p == NULL);
        stock.err = ask(64 * P, 300 * MS, &addr);
    }
    if (p != NULL) {
        kva_kmem_free(p, 64 * P);
    }
    return give(want->bytes);
}

static void
cleaners_allocate(struct test_ctx *t)
{
    vmem_addr_t addr;
    uint64_t begin;

    (void)t;
    memory_begin();
    stock_all(clean_by_allocating);
    begin = kva_port_clock();
    CHECK_EQ(ask(4 * P, 0, &addr), 0);
    CHECK_EQ(stock.err, KVA_ETIMEDOUT);
    CHECK_EQ(kva_port_clock() - begin, 300 * MS);
    vmem_xfree(kmem_arena, addr, 4 * P);
    memory_end();
}

/* It sleeps, as for a disk that does not answer, and gives nothing; whoever
 * comes behind it is asked. */
static size_t
clean_until_timeout(void *arg, struct kva_want *want)
{
    static kva_lock_t lock;
    uint64_t end = kva_port_clock() + 2000 * MS;
    kva_irq_t irq;

    (void)arg;
    (void)want;
    stock.calls++;
    kva_port_lock_init(&lock, "disk", KVA_IPL_NONE, KVA_RANK_DRAIN);
    irq = kva_port_lock(&lock);
    while (kva_port_clock() < end) {
        (void)kva_port_wait(&stock, &lock, &irq, end - kva_port_clock());
    }
    kva_port_unlock(&lock, irq);
    kva_port_lock_fini(&lock);
    return 0;
}

static size_t
clean_what_there_is(void *arg, struct kva_want *want)
{
    (void)arg;
    return give(want->bytes);
}

static void
blocked_until_its_timeout(struct test_ctx *t)
{
    struct kva_cleaner slow = { .clean = clean_until_timeout,
                                .name = "slow",
                                .stage = KVA_STAGE_PAGES };
    vmem_addr_t addr;
    uint64_t begin;

    (void)t;
    memory_begin();
    kva_reclaim_register(&slow);
    stock_all(clean_what_there_is);
    begin = kva_port_clock();
    CHECK_EQ(ask(4 * P, 0, &addr), 0);
    CHECK_EQ(stock.calls, 1);
    CHECK_EQ(kva_port_clock() - begin, 2000 * MS);
    vmem_xfree(kmem_arena, addr, 4 * P);
    kva_reclaim_unregister(&slow);
    memory_end();
}

/* What would give memory back needs what the one who waits for it holds.  It does
 * not wait for that, so he comes to the end of his time, and lets go. */
static size_t
clean_if_unlocked(void *arg, struct kva_want *want)
{
    (void)arg;
    stock.calls++;
    return stock.locked ? 0 : give(want->bytes);
}

static void
who_waits_holds_the_lock(struct test_ctx *t)
{
    vmem_addr_t addr;
    uint64_t begin;

    (void)t;
    memory_begin();
    stock_all(clean_if_unlocked);
    stock.locked = true;
    begin = kva_port_clock();
    CHECK_EQ(ask(4 * P, 2000 * MS, &addr), KVA_ETIMEDOUT);
    CHECK_EQ(kva_port_clock() - begin, 2000 * MS);
    CHECK_GT(stock.calls, 0);
    stock.locked = false;
    CHECK_EQ(ask(4 * P, 2000 * MS, &addr), 0);
    vmem_xfree(kmem_arena, addr, 4 * P);
    memory_end();
}

/* ---- in proportion ---------------------------------------------------------- */

#define SPAN                                                             \
    ((size_t)KVA_LARGE_PAGE_SIZE > 512 * P ? (size_t)KVA_LARGE_PAGE_SIZE \
                                           : 512 * P)

enum {
    KINDS = 4,
    OBJECTS = 3000,
    RUNS = 400
};

/* Objects in magazines and empty slabs, and runs in quantum caches. */
static void
fill_caches(pool_cache_t *pc)
{
    static void *object[OBJECTS];
    static vmem_addr_t run[RUNS];

    for (unsigned k = 0; k < KINDS; k++) {
        for (unsigned i = 0; i < OBJECTS; i++) {
            object[i] = kva_pool_cache_get(pc[k], PR_NOWAIT);
            CHECK(object[i] != NULL);
        }
        for (unsigned i = 0; i < OBJECTS; i++) {
            kva_pool_cache_put(pc[k], object[i]);
        }
    }
    for (unsigned i = 0; i < RUNS; i++) {
        CHECK_EQ(vmem_alloc(kmem_arena, (1 + i % 8) * P, VM_NOSLEEP, &run[i]),
                 0);
    }
    for (unsigned i = 0; i < RUNS; i++) {
        vmem_free(kmem_arena, run[i], (1 + i % 8) * P);
    }
}

/*
 * A request for n bytes frees n, if there are so many, and no more than a span
 * beside for each stage that gives.  Two do here, caches and spans, and what they
 * have is all that is not in use when everything was drained.
 */
static void
in_proportion(struct test_ctx *t)
{
    static const size_t sizes[KINDS] = { 64, 192, 512, 2048 };
    pool_cache_t pc[KINDS];

    tower_start(0);
    for (unsigned k = 0; k < KINDS; k++) {
        pc[k] = kva_pool_cache_init(sizes[k], 0, 0, 0, "kind", NULL,
                                    KVA_IPL_NONE, NULL, NULL, NULL);
    }
    for (unsigned long n = 0; n < t->count; n++) {
        const struct kva_supply *supply = kva__reclaim_supply();
        size_t least, had, want, before, freed;

        (void)kva_reclaim(SIZE_MAX);
        least = supply->used();
        fill_caches(pc);
        (void)kva_unmap_flush(); /* what was freed before */
        had = supply->used() - least;
        want = 1u + (size_t)test_rand_below(t, had + had / 4);
        before = supply->released();
        CHECK_EQ(kva_reclaim(want), supply->released() - before);
        freed = supply->released() - before;
        CHECK_GE(freed, want < had ? want : had);
        CHECK_LE(freed, want + 2 * SPAN);
    }
    for (unsigned k = 0; k < KINDS; k++) {
        kva_pool_cache_destroy(pc[k]);
    }
    tower_end();
}

/*
 * A floor by name, of caches and pools that somebody else made: what is in stock
 * beyond it goes, in whole slabs, wherever it lies, and the floor too when there
 * is nothing else.
 */
static void
floors_of_pools(struct test_ctx *t)
{
    static void *object[OBJECTS];
    size_t work = KVA_WORK_ALL, keep, stay, per_slab;
    struct kva_pool_stat st;
    struct kva_pool pp;
    pool_cache_t pc;

    tower_start(0);
    for (unsigned long n = 0; n < t->count; n++) {
        bool drained = test_rand_below(t, 2) == 0;
        size_t floor = (size_t)test_rand_below(t, 600) * 100;

        pc = kva_pool_cache_init(192, 0, 0, 0, "names", NULL, KVA_IPL_NONE,
                                 NULL, NULL, NULL);
        CHECK(pc != NULL);
        CHECK_EQ(kva_pool_init(&pp, 192, 0, 0, 0, "names", NULL, KVA_IPL_NONE),
                 0);
        kva_pool_sethiwat(&pp, OBJECTS);
        kva_pool_cache_sethiwat(pc, OBJECTS);
        for (unsigned i = 0; i < OBJECTS; i++) {
            object[i] = i % 2 == 0 ? kva_pool_get(&pp, PR_NOWAIT)
                                   : kva_pool_cache_get(pc, PR_NOWAIT);
            CHECK(object[i] != NULL);
        }
        for (unsigned i = 0; i < OBJECTS; i++) {
            if (i % 2 == 0) {
                kva_pool_put(&pp, object[i]);
            } else {
                kva_pool_cache_put(pc, object[i]);
            }
        }
        if (drained) { /* into slabs, which stay */
            kva_pool_cache_invalidate(pc);
        }
        CHECK_EQ(kva_reclaim_retain("names", floor), 2);
        (void)kva_reclaim(SIZE_MAX);
        kva_pool_stat(&pp, &st);
        keep = floor / st.object_bytes;
        keep = keep < OBJECTS / 2 ? keep : OBJECTS / 2;
        per_slab = st.objects_per_slab;
        CHECK_EQ(st.slabs, (keep + per_slab - 1) / per_slab);
        kva_pool_cache_stat(pc, &st);
        stay = st.objects_cached + st.slabs_empty * per_slab;
        CHECK_GE(stay, keep);
        CHECK_LT(stay, keep + per_slab);
        (void)kva_reclaim_pass(SIZE_MAX, KVA_URGENCY_OOM, &work);
        kva_pool_stat(&pp, &st);
        CHECK_EQ(st.slabs, 0);
        kva_pool_cache_stat(pc, &st);
        CHECK_EQ(st.slabs, 0);
        kva_pool_destroy(&pp);
        kva_pool_cache_destroy(pc);
    }
    tower_end();
}

/* A floor of an arena is pages that it keeps in its quantum caches. */
static void
floors_of_arenas(struct test_ctx *t)
{
    static vmem_addr_t page[200];
    const struct kva_supply *supply;
    size_t work = KVA_WORK_ALL, least;

    (void)t;
    tower_start(0);
    supply = kva__reclaim_supply();
    (void)kva_pool_drain_all();
    least = supply->used();
    for (unsigned i = 0; i < KVA_COUNT(page); i++) {
        CHECK_EQ(vmem_alloc(kmem_arena, P, VM_NOSLEEP, &page[i]), 0);
    }
    CHECK_EQ(kva_reclaim_retain("kmem_arena", 16 * P), 1);
    for (unsigned i = 0; i < KVA_COUNT(page); i++) {
        vmem_free(kmem_arena, page[i], P);
    }
    (void)kva_reclaim(SIZE_MAX);
    CHECK_GE(supply->used(), least + 16 * P);
    (void)kva_reclaim_pass(SIZE_MAX, KVA_URGENCY_OOM, &work);
    CHECK_EQ(supply->used(), least);
    tower_end();
}

#endif

const struct test cleaners_tests[] = {
    TEST_COUNT("cleaners", whatever_they_say, 3000, 100000, 3000000),
    TEST("cleaners", who_boasts_hides_nobody),
    TEST("cleaners", who_gives_little_is_asked_on),
    TEST("cleaners", what_they_say_adds_up),
    TEST("cleaners", spans_are_asked_behind_each_stage),
    TEST("cleaners", promises_are_believed_once),
    TEST("cleaners", every_stage_may_fail),
    TEST_COUNT("cleaners", they_come_and_go, 1000, 30000, 1000000),
    TEST_THREADS("cleaners", leaving_meets_passes, 0, 300, 5000, 100000),
#if KVA_TIER >= 3
    TEST("cleaners", cleaners_allocate),
    TEST("cleaners", blocked_until_its_timeout),
    TEST("cleaners", who_waits_holds_the_lock),
    TEST_COUNT("cleaners", in_proportion, 10, 300, 10000),
    TEST_COUNT("cleaners", floors_of_pools, 20, 300, 10000),
    TEST("cleaners", floors_of_arenas),
#endif
    TEST_END
};
