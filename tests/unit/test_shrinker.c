/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shrinkers: the chunk protocol.
 *
 * Claims: as many chunks are asked for as are wanted, and no more than are held;
 * what was asked for is asked for once; a client that does not answer is passed
 * over after its time; what it cannot free can be asked for again; the accounts
 * agree to the chunk whatever threads do, and do not wrap; misuse is told and
 * changes nothing.
 */
#include <pthread.h>

#include "reclaim/shrinker.h"
#include "tests/harness/test.h"

#define CHUNK ((size_t)4096)

struct client {
    struct kva_shrinker shrinker;
    size_t requested; /* by request, in all */
    size_t hand;      /* taken and not freed yet */
};

static void
request(void *arg, size_t chunks)
{
    struct client *c = arg;

    CHECK_EQ(kva_posix_locks_held(), 0);
    CHECK_GT(chunks, 0);
    c->requested += chunks;
}

static void
client_add(struct client *c)
{
    *c = (struct client){ .shrinker = { .chunk = CHUNK,
                                        .request = request,
                                        .arg = c,
                                        .name = "client" } };
    kva_shrinker_register(&c->shrinker);
}

static void
client_end(struct client *c)
{
    kva_shrinker_unregister(&c->shrinker);
    kva_shrinker_fini(&c->shrinker);
}

static void
check_counts(struct client *c, size_t held, size_t asked)
{
    size_t h, a;

    kva_shrinker_count(&c->shrinker, &h, &a);
    CHECK_EQ(h, held);
    CHECK_EQ(a, asked);
}

static void
chunks_are_asked_for(struct test_ctx *t)
{
    static const struct {
        size_t bytes, chunks;
    } cases[] = {
        { 1, 1 },           { CHUNK, 1 },         { CHUNK + 1, 2 },
        { 7 * CHUNK, 7 },   { 100 * CHUNK, 100 }, { 1000 * CHUNK - 1, 1000 },
        { SIZE_MAX, 1000 },
    };
    struct client c;

    (void)t;
    for (size_t i = 0; i < KVA_COUNT(cases); i++) {
        client_add(&c);
        kva_shrinker_add(&c.shrinker, 1000);
        CHECK_EQ(kva_reclaim(cases[i].bytes), 0);
        CHECK_EQ(c.requested, cases[i].chunks);
        check_counts(&c, 1000 - cases[i].chunks, cases[i].chunks);
        CHECK_EQ(kva_shrinker_take(&c.shrinker), cases[i].chunks);
        CHECK_EQ(kva_shrinker_take(&c.shrinker), 0);
        client_end(&c);
    }
}

static void
asked_for_once(struct test_ctx *t)
{
    struct client c;

    (void)t;
    kva_posix_clock_virtual(true);
    kva_posix_clock_advance(5 * (uint64_t)KVA_SHRINKER_PATIENCE);
    client_add(&c);
    kva_shrinker_add(&c.shrinker, 10);
    (void)kva_reclaim(4 * CHUNK);
    check_counts(&c, 6, 4);
    (void)kva_reclaim(4 * CHUNK); /* they will come */
    check_counts(&c, 6, 4);
    (void)kva_reclaim(5 * CHUNK); /* all but one */
    check_counts(&c, 5, 5);
    kva_posix_clock_advance(KVA_SHRINKER_PATIENCE);
    (void)kva_reclaim(2 * CHUNK); /* they will not: it may have died */
    check_counts(&c, 3, 7);
    (void)kva_reclaim(CHUNK); /* nor what it is asked for now */
    check_counts(&c, 2, 8);
    kva_shrinker_remove(&c.shrinker, 2); /* frees two on its own */
    check_counts(&c, 2, 6);
    (void)kva_reclaim(6 * CHUNK); /* so it lives, and they will come */
    check_counts(&c, 2, 6);
    kva_shrinker_remove(&c.shrinker, 1);
    kva_shrinker_add(&c.shrinker, 1);
    check_counts(&c, 3, 5);
    CHECK_EQ(kva_shrinker_take(&c.shrinker), 5);
    kva_shrinker_add(&c.shrinker, 5); /* could not free them */
    check_counts(&c, 8, 0);
    kva_shrinker_remove(&c.shrinker, 8);
    check_counts(&c, 0, 0);
    client_end(&c);
    kva_posix_clock_virtual(false);
}

/* One that died is waited for once, however much it holds; then the other one
 * is asked each time. */
static void
the_dead_are_known(struct test_ctx *t)
{
    struct client dead, alive;

    (void)t;
    kva_posix_clock_virtual(true);
    client_add(&dead);
    client_add(&alive);
    kva_shrinker_add(&dead.shrinker, 100);
    kva_shrinker_add(&alive.shrinker, 100);
    (void)kva_reclaim(CHUNK);
    CHECK_EQ(dead.requested, 1);
    CHECK_EQ(alive.requested, 0);
    kva_posix_clock_advance(KVA_SHRINKER_PATIENCE);
    for (unsigned n = 1; n <= 50; n++) {
        (void)kva_reclaim(CHUNK);
        CHECK_EQ(alive.requested, n);
        CHECK_EQ(kva_shrinker_take(&alive.shrinker), 1);
    }
    client_end(&dead);
    client_end(&alive);
    kva_posix_clock_virtual(false);
}

/* Whatever more it is asked for meanwhile, and however often it is looked at. */
static void
the_dead_are_known_in_time(struct test_ctx *t)
{
    const uint64_t part = KVA_SHRINKER_PATIENCE / 2 + 1;
    struct client c;

    (void)t;
    kva_posix_clock_virtual(true);
    for (size_t more = 0; more < 2; more++) {
        client_add(&c);
        kva_shrinker_add(&c.shrinker, 100);
        (void)kva_reclaim(4 * CHUNK);
        kva_posix_clock_advance(part);
        (void)kva_reclaim((4 + more) * CHUNK);
        check_counts(&c, 96 - more, 4 + more);
        kva_posix_clock_advance(part);
        (void)kva_reclaim((4 + more) * CHUNK);
        check_counts(&c, 92 - 2 * more, 2 * (4 + more));
        client_end(&c);
    }
    kva_posix_clock_virtual(false);
}

/* One that answers now and then is not dead, though it answers little. */
static void
the_slow_are_not_dead(struct test_ctx *t)
{
    struct client c;

    (void)t;
    kva_posix_clock_virtual(true);
    client_add(&c);
    kva_shrinker_add(&c.shrinker, 100);
    (void)kva_reclaim(10 * CHUNK);
    for (unsigned n = 10; n > 1; n--) {
        kva_posix_clock_advance(KVA_SHRINKER_PATIENCE - 1);
        (void)kva_reclaim(n * CHUNK);
        CHECK_EQ(c.requested, 10);
        kva_shrinker_remove(&c.shrinker, 1);
    }
    check_counts(&c, 90, 1);
    kva_posix_clock_advance(KVA_SHRINKER_PATIENCE); /* now it is, */
    (void)kva_reclaim(CHUNK);
    check_counts(&c, 89, 2);
    CHECK_EQ(kva_shrinker_take(&c.shrinker), 2); /* or was it? */
    (void)kva_reclaim(3 * CHUNK);
    (void)kva_reclaim(3 * CHUNK);
    check_counts(&c, 86, 3);
    client_end(&c);
    kva_posix_clock_virtual(false);
}

/* A chunk is a piece of work. */
static void
work_is_spent(struct test_ctx *t)
{
    struct client c;
    size_t work;

    (void)t;
    client_add(&c);
    kva_shrinker_add(&c.shrinker, 10);
    work = 4;
    CHECK_EQ(kva_reclaim_pass(3 * CHUNK, KVA_URGENCY_LOW, &work), 0);
    check_counts(&c, 7, 3);
    CHECK_EQ(work, 1);
    work = 4;
    CHECK_EQ(kva_reclaim_pass(SIZE_MAX, KVA_URGENCY_LOW, &work), 0);
    check_counts(&c, 3, 7);
    CHECK_EQ(work, 0);
    client_end(&c);
}

static void
some_stay(struct test_ctx *t)
{
    size_t work = KVA_WORK_ALL;
    struct client c;

    (void)t;
    c = (struct client){ .shrinker = { .chunk = CHUNK,
                                       .name = "client",
                                       .cleaner.retain = 3 * CHUNK } };
    kva_shrinker_register(&c.shrinker);
    kva_shrinker_add(&c.shrinker, 10);
    (void)kva_reclaim(SIZE_MAX);
    check_counts(&c, 3, 7);
    (void)kva_reclaim_pass(SIZE_MAX, KVA_URGENCY_OOM, &work);
    check_counts(&c, 0, 10);
    client_end(&c);
}

/* One thread allocates, asks and believes; the client frees what it takes, now
 * and then not all of it. */

static void *
client_thread(void *arg)
{
    struct client *c = arg;
    size_t n, freed = 0;
    int err;

    do {
        err = kva_shrinker_wait(&c->shrinker, 0, &n);
        if (err == 0 && n % 3 == 0) { /* one cannot be freed now */
            kva_shrinker_add(&c->shrinker, 1);
            n--;
        }
        freed += n;
        __atomic_store_n(&c->hand, freed, __ATOMIC_RELEASE);
    } while (err == 0);
    CHECK_EQ(err, KVA_EINTR);
    return NULL;
}

static void
accounts_agree(struct test_ctx *t)
{
    struct client c = { .shrinker = { .chunk = CHUNK, .name = "client" } };
    size_t added = 0, held, asked;
    pthread_t thread;

    kva_shrinker_register(&c.shrinker);
    CHECK_EQ(pthread_create(&thread, NULL, client_thread, &c), 0);
    for (unsigned long n = 0; n < t->count; n++) {
        size_t some = (size_t)test_rand_below(t, 8);

        kva_shrinker_add(&c.shrinker, some);
        added += some;
        (void)kva_reclaim(test_rand_below(t, 8) * CHUNK + 1);
    }
    kva_shrinker_unregister(&c.shrinker);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    kva_shrinker_fini(&c.shrinker);
    held = c.shrinker.held;
    asked = c.shrinker.asked;
    CHECK_EQ(held + asked + c.hand, added);
    CHECK(c.hand > 0);
}

/*
 * Several clients at once, each with a thread that allocates and frees by
 * itself and one that answers; one of them never does.  Two more threads ask.
 */
#define CLIENTS 3u

struct busy {
    struct kva_shrinker shrinker;
    struct test_random random;
    unsigned long steps;
    size_t live; /* (o) chunks that the pair has, by its own count */
    bool answers;
    pthread_t user, answerer;
};

static unsigned asking;

static void *
asker_thread(void *arg)
{
    size_t bytes = 1;

    while (__atomic_load_n(&asking, __ATOMIC_RELAXED) != 0) {
        (void)kva_reclaim(bytes);
        bytes = bytes < 64 * CHUNK ? bytes * 3 : 1;
    }
    return arg;
}

static void *
user_thread(void *arg)
{
    struct busy *b = arg;

    for (unsigned long n = 0; n < b->steps; n++) {
        size_t some = (size_t)test_random_below(&b->random, 4);

        kva_shrinker_add(&b->shrinker, some);
        (void)__atomic_add_fetch(&b->live, some, __ATOMIC_RELAXED);
        if (test_random_one_in(&b->random, 4)) {
            size_t n_taken = kva_shrinker_take(&b->shrinker);

            (void)__atomic_sub_fetch(&b->live, n_taken, __ATOMIC_RELAXED);
        }
    }
    return NULL;
}

static void *
answerer_thread(void *arg)
{
    struct busy *b = arg;
    size_t n;
    int err;

    do {
        err = kva_shrinker_wait(&b->shrinker, 0, &n);
        if (n > 2) { /* one of many is in use */
            kva_shrinker_add(&b->shrinker, 1);
            n--;
        }
        (void)__atomic_sub_fetch(&b->live, n, __ATOMIC_RELAXED);
    } while (err == 0);
    return NULL;
}

static void
busy_start(struct busy *b, struct test_ctx *t, bool answers)
{
    *b = (struct busy){ .shrinker = { .chunk = CHUNK, .name = "busy" },
                        .random = { test_rand(t) },
                        .steps = t->count,
                        .answers = answers };
    kva_shrinker_register(&b->shrinker);
    CHECK_EQ(pthread_create(&b->user, NULL, user_thread, b), 0);
    if (answers) {
        CHECK_EQ(pthread_create(&b->answerer, NULL, answerer_thread, b), 0);
    }
}

static void
busy_end(struct busy *b)
{
    size_t held, asked;

    kva_shrinker_unregister(&b->shrinker);
    if (b->answers) {
        CHECK_EQ(pthread_join(b->answerer, NULL), 0);
    }
    kva_shrinker_count(&b->shrinker, &held, &asked);
    CHECK_EQ(held + asked, b->live);
    CHECK_EQ(kva_shrinker_take(&b->shrinker), asked);
    kva_shrinker_remove(&b->shrinker, held);
    kva_shrinker_fini(&b->shrinker);
}

static void
accounts_of_many(struct test_ctx *t)
{
    struct busy busy[CLIENTS];
    pthread_t asker[2];

    __atomic_store_n(&asking, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < CLIENTS; i++) {
        busy_start(&busy[i], t, i != 0);
    }
    for (unsigned i = 0; i < KVA_COUNT(asker); i++) {
        CHECK_EQ(pthread_create(&asker[i], NULL, asker_thread, NULL), 0);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        CHECK_EQ(pthread_join(busy[i].user, NULL), 0);
    }
    __atomic_store_n(&asking, 0, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < KVA_COUNT(asker); i++) {
        CHECK_EQ(pthread_join(asker[i], NULL), 0);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        busy_end(&busy[i]);
    }
}

static void
wait_times_out(struct test_ctx *t)
{
    struct client c;
    size_t n = 7;

    (void)t;
    client_add(&c);
    CHECK_EQ(kva_shrinker_wait(&c.shrinker, 1000, &n), KVA_ETIMEDOUT);
    CHECK_EQ(n, 0);
    kva_shrinker_add(&c.shrinker, 2);
    (void)kva_reclaim(1);
    CHECK_EQ(kva_shrinker_wait(&c.shrinker, 1000, &n), 0);
    CHECK_EQ(n, 1);
    client_end(&c);
}

#if KVA_TIER >= 3
static struct {
    struct client *client;
    unsigned calls, ends; /* with so manieth one it is unregistered */
    uint64_t step;
} tick;

/* Somebody is about to sleep: time goes by, and he is woken for nothing. */
static void
tick_and_wake(void *arg, const void *channel)
{
    (void)arg;
    if (++tick.calls == tick.ends) {
        kva_shrinker_unregister(&tick.client->shrinker);
    }
    kva_posix_clock_advance(tick.step);
    kva_port_wake(channel);
}

/* The moment is fixed at the start, however often he wakes up; and none if that
 * is what was asked for; what is asked for comes first, and that there will be
 * no more. */
static void
waits_have_an_end(struct test_ctx *t)
{
    static const struct {
        uint64_t timeout;
        unsigned calls, ends;
        int err;
    } cases[] = {
        { 1000, 3, 0, KVA_ETIMEDOUT }, { 800, 2, 0, KVA_ETIMEDOUT },
        { 1000, 3, 3, KVA_EINTR },     { UINT64_MAX, 50, 50, KVA_EINTR },
        { 0, 50, 50, KVA_EINTR },
    };
    struct client c;
    size_t n;

    (void)t;
    PORT(NULL);
    kva_posix_clock_virtual(true);
    kva_posix_clock_advance(77);
    kva_posix_wait_hook(tick_and_wake, NULL);
    for (size_t i = 0; i < KVA_COUNT(cases); i++) {
        client_add(&c);
        tick.client = &c;
        tick.calls = 0;
        tick.ends = cases[i].ends;
        tick.step = 400;
        CHECK_EQ(kva_shrinker_wait(&c.shrinker, cases[i].timeout, &n),
                 cases[i].err);
        CHECK_EQ(n, 0);
        CHECK_EQ(tick.calls, cases[i].calls);
        if (cases[i].ends == 0) {
            kva_shrinker_add(&c.shrinker, 3);
            (void)kva_reclaim(2 * CHUNK);
            kva_shrinker_unregister(&c.shrinker);
            CHECK_EQ(kva_shrinker_wait(&c.shrinker, 0, &n), 0);
            CHECK_EQ(n, 2);
            CHECK_EQ(kva_shrinker_wait(&c.shrinker, 0, &n), KVA_EINTR);
            CHECK_EQ(n, 0);
        }
        kva_shrinker_fini(&c.shrinker);
    }
    kva_posix_wait_hook(NULL, NULL);
    kva_posix_clock_virtual(false);
}
#endif

/* Who says that it holds more than there are addresses is asked for no more than
 * is wanted, and what it promises does not wrap. */
static void
promises_do_not_wrap(struct test_ctx *t)
{
    struct client c;

    (void)t;
    kva_posix_clock_virtual(true);
    c = (struct client){ .shrinker = { .chunk = SIZE_MAX / 4 + 1,
                                       .name = "giant" } };
    kva_shrinker_register(&c.shrinker);
    kva_shrinker_add(&c.shrinker, 100);
    (void)kva_reclaim(SIZE_MAX);
    check_counts(&c, 96, 4);
    (void)kva_reclaim(SIZE_MAX);
    check_counts(&c, 96, 4); /* they will come */
    kva_shrinker_add(&c.shrinker, SIZE_MAX - 100);
    check_counts(&c, SIZE_MAX - 4, 4);
    (void)kva_reclaim(1);
    check_counts(&c, SIZE_MAX - 4, 4);
    client_end(&c);
    kva_posix_clock_virtual(false);
}

#if KVA_TIER >= 3
static unsigned too_early;

/* Somebody is about to sleep. */
static void
end_too_early(void *arg, const void *channel)
{
    struct kva_shrinker *sh = arg;

    (void)channel;
    too_early++;
    kva_shrinker_unregister(sh);
    CHECK_PANIC(kva_shrinker_fini(sh),
                "kva_shrinker_fini: shrinker client: 0x%lx: expected one "
                "unregistered, found it waited for",
                (unsigned long)(uintptr_t)sh);
}

static void *
wait_for_ever(void *arg)
{
    struct client *c = arg;
    size_t n;

    CHECK_EQ(kva_shrinker_wait(&c->shrinker, 0, &n), KVA_EINTR);
    return NULL;
}
#endif

static void
misuse_is_told(struct test_ctx *t)
{
    struct client c = { .shrinker = { .name = "client" } };
    struct kva_shrinker *sh = &c.shrinker;
    unsigned long at = (unsigned long)(uintptr_t)sh;

    (void)t;
    PORT(NULL);
    CHECK_PANIC(kva_shrinker_register(sh),
                "kva_shrinker_register: shrinker client: 0x%lx: expected a "
                "chunk above 0, found chunk 0",
                at);
    sh->chunk = CHUNK;
    kva_shrinker_register(sh);
    CHECK_PANIC(kva_shrinker_register(sh),
                "kva_shrinker_register: shrinker client: 0x%lx: expected one "
                "not registered, found it registered",
                at);
    kva_shrinker_add(sh, 10);
    (void)kva_reclaim(4 * CHUNK);
    check_counts(&c, 6, 4);
    CHECK_PANIC(
        kva_shrinker_remove(sh, 11),
        "kva_shrinker_remove: shrinker client: 0x%lx: expected up to 10 "
        "chunks, found 11",
        at);
    CHECK_PANIC(kva_shrinker_add(sh, SIZE_MAX - 9),
                "kva_shrinker_add: shrinker client: 0x%lx: expected up to %zu "
                "chunks more, found %zu",
                at, SIZE_MAX - 10, SIZE_MAX - 9);
    check_counts(&c, 6, 4);
    CHECK_PANIC(kva_shrinker_fini(sh),
                "kva_shrinker_fini: shrinker client: 0x%lx: expected one "
                "unregistered, found it registered",
                at);
    CHECK_EQ(kva_shrinker_take(sh), 4);
#if KVA_TIER >= 3
    {
        pthread_t thread;
        size_t n;

        CHECK_EQ(pthread_create(&thread, NULL, wait_for_ever, &c), 0);
        while (kva_posix_waiters() == 0) {
            kva_port_relax();
        }
        CHECK_PANIC(kva_shrinker_wait(sh, 1, &n),
                    "kva_shrinker_wait: shrinker client: 0x%lx: expected one "
                    "thread, found another one waiting",
                    at);
        kva_shrinker_unregister(sh);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        kva_shrinker_fini(sh);
        kva_shrinker_register(sh); /* anew */
        check_counts(&c, 0, 0);
        kva_posix_wait_hook(end_too_early, sh);
        CHECK_EQ(kva_shrinker_wait(sh, 0, &n), KVA_EINTR);
        kva_posix_wait_hook(NULL, NULL);
        CHECK_EQ(too_early, 1);
    }
#else
    kva_shrinker_unregister(sh);
#endif
    kva_shrinker_fini(sh);
}

const struct test shrinker_tests[] = {
    TEST("shrinker", chunks_are_asked_for),
    TEST("shrinker", asked_for_once),
    TEST("shrinker", the_dead_are_known),
    TEST("shrinker", the_dead_are_known_in_time),
    TEST("shrinker", the_slow_are_not_dead),
    TEST("shrinker", work_is_spent),
    TEST("shrinker", some_stay),
    TEST_THREADS("shrinker", accounts_agree, 0, 1000, 30000, 3000000),
    TEST_THREADS("shrinker", accounts_of_many, 0, 1000, 30000, 1000000),
    TEST("shrinker", wait_times_out),
#if KVA_TIER >= 3
    TEST("shrinker", waits_have_an_end),
#endif
    TEST("shrinker", promises_do_not_wrap),
    TEST("shrinker", misuse_is_told),
    TEST_END,
};
