/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Move callbacks and evacuation: every answer, objects that go meanwhile,
 * constructors and memory that fail, the budget, marks and limits, and others
 * who get and put.  What is held is known by a table: which address each item
 * is at, and what is written there.
 */
#include <pthread.h>

#include "tests/unit/tower.h"

#define SPAN ((uintptr_t)512 * KVA_PAGE_SIZE)
#define CACHES 3u
/*
 * A tenth of them take 2.1 MB, in 10 MB.  Evacuation leaves a window of 2 MiB
 * alone that may find no room elsewhere (pool/move.c, span_fits), so of half as
 * many a window more was left in one run of thirty, and more than half was held.
 */
#define ITEMS 48000u

/* Items of the client: which object each has, or NULL.  An object's first word
 * is the number of its item plus one, or 0 while nobody has it. */
struct client {
    pool_cache_t pc[CACHES];
    uintptr_t *item[ITEMS];
    enum kva_pool_move answer; /* what to answer, but for YES */
    unsigned calls;
    uintptr_t *notice; /* the object of which something is asked for */
    bool put_first;    /* put the object, then say GONE */
    unsigned ctor_fails;
};

static struct client client;
static const size_t sizes[CACHES] = { 1000, 192, 96 };

static unsigned
cache_of_item(unsigned i)
{
    return i % CACHES;
}

static size_t
words_of(unsigned i)
{
    return sizes[cache_of_item(i)] / sizeof(uintptr_t);
}

static void
item_fill(unsigned i)
{
    for (size_t w = 0; w < words_of(i); w++) {
        client.item[i][w] = i + 1;
    }
}

static bool
item_intact(unsigned i)
{
    for (size_t w = 0; w < words_of(i); w++) {
        if (client.item[i][w] != i + 1) {
            return false;
        }
    }
    return true;
}

static bool
item_get(unsigned i, int flags)
{
    client.item[i] = pool_cache_get(client.pc[cache_of_item(i)], flags);
    if (client.item[i] != NULL) {
        CHECK_EQ(client.item[i][0], 0); /* as constructed */
        item_fill(i);
    }
    return client.item[i] != NULL;
}

static void
item_put(unsigned i)
{
    uintptr_t *p = client.item[i];

    CHECK(item_intact(i));
    client.item[i] = NULL;
    p[0] = 0;
    pool_cache_put(client.pc[cache_of_item(i)], p);
}

static int
construct(void *arg, void *object, int flags)
{
    (void)arg;
    (void)flags;
    if (client.ctor_fails > 0) {
        client.ctor_fails--;
        return KVA_ENOMEM;
    }
    *(uintptr_t *)object = 0;
    return 0;
}

static void
destruct(void *arg, void *object)
{
    (void)arg;
    CHECK_EQ(*(uintptr_t *)object, 0);
}

static enum kva_pool_move
move(void *arg, void *from, void *to)
{
    uintptr_t *old = from, *new = to;
    uintptr_t i = *old - 1;

    (void)arg;
    client.calls++;
    CHECK_EQ(*new, 0); /* constructed, and nobody's */
    if (i >= ITEMS || client.item[i] != old) {
        return KVA_MOVE_UNKNOWN;
    }
    client.notice = old;
    if (client.put_first) {
        item_put((unsigned)i);
        return KVA_MOVE_GONE;
    }
    if (client.answer != KVA_MOVE_YES) {
        return client.answer;
    }
    CHECK(item_intact((unsigned)i));
    client.item[i] = new;
    item_fill((unsigned)i);
    *old = 0;
    return KVA_MOVE_YES;
}

static void
client_start(size_t page_limit)
{
    static const char *const name[CACHES] = { "large", "middle", "small" };

    tower_start(page_limit);
    for (unsigned k = 0; k < CACHES; k++) {
        client.pc[k] = pool_cache_init(sizes[k], 0, 0, 0, name[k], NULL,
                                       KVA_IPL_NONE, construct, destruct, NULL);
        CHECK(client.pc[k] != NULL);
        CHECK_EQ(pool_cache_set_move(client.pc[k], move, &client), 0);
    }
}

static void
client_check(void)
{
    const char *bad = kva_vmem_check(kva_kmem_movable_arena);

    for (unsigned i = 0; i < ITEMS; i++) {
        if (client.item[i] != NULL && !item_intact(i)) {
            FAIL("item %u is not what was written", i);
        }
    }
    if (bad != NULL) {
        FAIL("kmem_movable_arena: %s", bad);
    }
    tower_check();
    for (unsigned k = 0; k < CACHES; k++) {
        CHECK_EQ(client.pc[k]->slabs.nheld, 0);
        CHECK(client.pc[k]->slabs.file[KVA__SLAB_PINNED] == NULL);
    }
}

static void
client_end(void)
{
    client_check();
    for (unsigned i = 0; i < ITEMS; i++) {
        if (client.item[i] != NULL) {
            item_put(i);
        }
    }
    for (unsigned k = 0; k < CACHES; k++) {
        pool_cache_destroy(client.pc[k]);
    }
    (void)kva_pool_drain_all();
    CHECK_EQ(vmem_size(kva_kmem_movable_arena, VMEM_ALLOC | VMEM_FREE), 0);
    tower_end();
}

/* All items, and then all but one in keep of them freed. */
static void
client_thin(struct test_ctx *t, unsigned keep)
{
    for (unsigned i = 0; i < ITEMS; i++) {
        CHECK(item_get(i, PR_NOWAIT));
    }
    for (unsigned i = 0; i < ITEMS; i++) {
        if (test_rand_below(t, keep) != 0) {
            item_put(i);
        }
    }
    for (unsigned k = 0; k < CACHES; k++) {
        (void)pool_cache_reclaim(client.pc[k]);
    }
}

static unsigned
items_live(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < ITEMS; i++) {
        n += client.item[i] != NULL;
    }
    return n;
}

static size_t
arena_bytes(void)
{
    return vmem_size(kva_kmem_movable_arena, VMEM_ALLOC | VMEM_FREE);
}

/* Bytes of live items: what is to be held at the least. */
static size_t
items_bytes(void)
{
    size_t sum = 0;

    for (unsigned i = 0; i < ITEMS; i++) {
        sum += client.item[i] != NULL ? sizes[cache_of_item(i)] : 0;
    }
    return sum;
}

/* ---- tests ------------------------------------------------------------- */

/* Nine tenths are freed; what is left comes together, all of it intact, each
 * item moved once at the most. */
static void
survivors_come_together(struct test_ctx *t)
{
    struct kva_pool_evacuation r;
    size_t before;

    client_start(0);
    client_thin(t, 10);
    (void)vmem_drain(kva_kmem_movable_arena, SIZE_MAX, 0);
    before = arena_bytes();
    CHECK(!pool_evacuate(SIZE_MAX, &r));
    CHECK_GE(r.spans, 1);
    CHECK_EQ(r.calls, r.moves);
    CHECK_LE(r.moves, items_live());
    CHECK_GT(r.bytes, 0);
    CHECK_LE(arena_bytes(), before / 2);
    CHECK_LE(arena_bytes(), items_bytes() * 5 / 2);
    client_check();
    client_end();
}

/* The object, if there is one, lies in a range of that arena alone. */
static void
check_arena(uintptr_t object, kva_vmem_t *in, kva_vmem_t *not_in)
{
    struct kva_range range;

    if (object != 0) {
        CHECK_EQ(kva__vmem_lookup(in, object, &range), KVA_RANGE_ALLOC);
        CHECK_EQ(kva__vmem_lookup(not_in, object, &range), KVA_RANGE_NONE);
    }
}

/* Whose objects may be moved, and whose may not, share no span. */
static void
kinds_share_no_span(struct test_ctx *t)
{
    struct kva_pool fixed;
    static void *other[6000];

    client_start(0);
    kva_pool_init(&fixed, 1000, 0, 0, 0, "fixed", NULL, KVA_IPL_NONE);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned n = 0; n < ITEMS; n++) {
            unsigned i = (unsigned)test_rand_below(t, ITEMS);
            unsigned j = (unsigned)test_rand_below(t, KVA_COUNT(other));

            if (client.item[i] != NULL) {
                item_put(i);
            } else {
                CHECK(item_get(i, PR_NOWAIT));
            }
            if (other[j] != NULL) {
                kva_pool_put(&fixed, other[j]);
                other[j] = NULL;
            } else {
                other[j] = kva_pool_get(&fixed, PR_NOWAIT);
            }
        }
        for (unsigned i = 0; i < ITEMS; i++) {
            check_arena((uintptr_t)client.item[i], kva_kmem_movable_arena,
                        kva_kmem_arena);
        }
        for (unsigned j = 0; j < KVA_COUNT(other); j++) {
            check_arena((uintptr_t)other[j], kva_kmem_arena,
                        kva_kmem_movable_arena);
        }
        (void)kva_pool_drain_all();
    }
    for (unsigned j = 0; j < KVA_COUNT(other); j++) {
        if (other[j] != NULL) {
            kva_pool_put(&fixed, other[j]);
        }
    }
    kva_pool_destroy(&fixed);
    client_end();
}

/* Answers other than yes: nothing moves, and it is asked as often as it says. */
static void
answers_are_kept(struct test_ctx *t)
{
    struct kva_pool_evacuation r;
    unsigned asked, live;

    client_start(0);
    client_thin(t, 10);
    live = items_live();
    client.answer = KVA_MOVE_NO;
    CHECK(!pool_evacuate(SIZE_MAX, &r));
    CHECK_GE(r.no, 1);
    CHECK_EQ(r.no, r.calls);
    CHECK_EQ(r.moves + r.spans, 0);
    /* It is not asked again in that slab, until something says so. */
    asked = client.calls;
    CHECK_EQ(kva__slab_stuck(kva__slab_of((uintptr_t)client.notice)),
             KVA__SLAB_STUCK);
    pool_cache_move_notify(
        client.pc[cache_of_item((unsigned)(*client.notice - 1))],
        client.notice);
    CHECK_EQ(kva__slab_stuck(kva__slab_of((uintptr_t)client.notice)), 0);
    client.answer = KVA_MOVE_LATER;
    CHECK(!pool_evacuate(SIZE_MAX, &r));
    CHECK_EQ(r.later, r.calls);
    CHECK_EQ(r.moves + r.spans, 0);
    client.answer = KVA_MOVE_UNKNOWN;
    CHECK(!pool_evacuate(SIZE_MAX, &r));
    CHECK_EQ(r.unknown, r.calls);
    CHECK_EQ(r.moves + r.spans, 0);
    CHECK_GE(client.calls, asked);
    CHECK_EQ(items_live(), live);
    client_check();
    /* When all can be moved, those that were refused come at last. */
    client.answer = KVA_MOVE_YES;
    for (unsigned n = 0; n < 40; n++) {
        for (unsigned i = 0; i < ITEMS; i++) {
            if (client.item[i] != NULL) {
                pool_cache_move_notify(client.pc[cache_of_item(i)],
                                       client.item[i]);
            }
        }
        (void)pool_evacuate(SIZE_MAX, &r);
    }
    CHECK_LE(arena_bytes(), items_bytes() * 5 / 2);
    client_end();
}

/* Three times later is a no: the slab is not asked again. */
static void
third_later_is_a_no(struct test_ctx *t)
{
    struct kva_pool_evacuation r;
    unsigned stuck = 0, most = 0;

    client_start(0);
    client_thin(t, 10);
    client.answer = KVA_MOVE_LATER;
    for (unsigned n = 0; n < 200; n++) {
        (void)pool_evacuate(SIZE_MAX, &r);
        for (unsigned i = 0; i < ITEMS; i++) {
            if (client.item[i] != NULL) {
                stuck =
                    kva__slab_stuck(kva__slab_of((uintptr_t)client.item[i]));
                CHECK_LE(stuck, KVA__SLAB_STUCK);
                most = stuck > most ? stuck : most;
            }
        }
    }
    CHECK_EQ(most, KVA__SLAB_STUCK);
    CHECK_EQ(r.calls, 0); /* every span has a slab that said so three times */
    client_end();
}

/* The object is put while its callback runs. */
static void
objects_go_meanwhile(struct test_ctx *t)
{
    struct kva_pool_evacuation r;

    client_start(0);
    client_thin(t, 10);
    client.put_first = true;
    CHECK(!pool_evacuate(SIZE_MAX, &r));
    CHECK_GE(r.gone, 1);
    CHECK_EQ(r.gone, r.calls);
    CHECK_EQ(r.moves, 0);
    CHECK_GE(r.spans, 1); /* and so they run empty */
    client.put_first = false;
    client_end();
}

/* ---- misuse, and calls within calls ------------------------------------- */

static enum kva_pool_move within_answer;

/* From within a callback there is no evacuation, and somebody who has put the
 * object must not say yes. */
static enum kva_pool_move
move_within(void *arg, void *from, void *to)
{
    struct kva_pool_evacuation r = { .spans = 7 };

    (void)to;
    client.calls++;
    CHECK(!pool_evacuate(SIZE_MAX, &r));
    CHECK_EQ(r.spans, 0);
    CHECK_EQ(r.calls, 0);
    if (within_answer == KVA_MOVE_YES) {
        pool_cache_put(*(pool_cache_t *)arg, from);
    }
    return within_answer;
}

static void
misuse_is_told(struct test_ctx *t)
{
    static void *object[40000];
    struct kva_pool_evacuation r;
    pool_cache_t pc;
    void *first;

    tower_start(0);
    pc = pool_cache_init(200, 0, 0, 0, "within", NULL, KVA_IPL_NONE, NULL, NULL,
                         NULL);
    CHECK(pc != NULL);
    CHECK_EQ(pool_cache_set_move(pc, move_within, &pc), 0);
    first = pool_cache_get(pc, PR_NOWAIT);
    object[0] =
        pool_cache_get(pc, PR_NOWAIT); /* of the same slab, which stays */
    pool_cache_move_notify(pc, first);
    pool_cache_put(pc, first);
    pool_cache_invalidate(pc);
    CHECK_PANIC(pool_cache_move_notify(pc, first),
                "pool_cache_move_notify: cache within: 0x%lx: expected a live "
                "object, found a free one",
                (unsigned long)(uintptr_t)first);
    pool_cache_put(pc, object[0]);
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        object[i] = pool_cache_get(pc, PR_NOWAIT);
        CHECK(object[i] != NULL);
    }
    for (unsigned i = 0; i < KVA_COUNT(object); i++) {
        if (test_rand_below(t, 10) != 0) {
            pool_cache_put(pc, object[i]);
        }
    }
    (void)pool_cache_reclaim(pc);
    client.calls = 0;
    within_answer = KVA_MOVE_UNKNOWN;
    (void)pool_evacuate(1, &r);
    CHECK_EQ(client.calls, 1);
    within_answer = KVA_MOVE_YES;
#if KVA_CONFIG_CHECKS /* else what is in a magazine looks as if it were live */
    {
        struct kva_posix_catch bad;

        if (KVA_POSIX_TRY(&bad)) {
            (void)pool_evacuate(1, &r);
            kva_posix_catch_end(&bad);
            FAIL("nobody says that the object is not live");
        }
        CHECK_HAS(bad.message, "pool_evacuate: cache within: 0x");
        CHECK_EQ(client.calls, 2);
    }
#endif
}

/* A target whose constructor fails, and no memory for targets: nothing is
 * lost, and the next time it works. */
static void
targets_fail(struct test_ctx *t)
{
    struct kva_pool_evacuation r;

    client_start(0);
    client_thin(t, 10);
    client.ctor_fails = 3;
    (void)pool_evacuate(SIZE_MAX, &r);
    CHECK_EQ(r.failed, 3);
    client_check();
    (void)pool_evacuate(SIZE_MAX, &r);
    CHECK_LE(arena_bytes(), items_bytes() * 5 / 2);
    client_end();
}

/* No more calls than asked for; it says that there is more; what was begun goes
 * on. */
static void
budget_is_kept(struct test_ctx *t)
{
    struct kva_pool_evacuation r;
    size_t moved = 0, before;
    unsigned calls = 0;
    bool more;

    client_start(0);
    client_thin(t, 10);
    (void)vmem_drain(kva_kmem_movable_arena, SIZE_MAX, 0);
    before = arena_bytes();
    CHECK(!pool_evacuate(0, &r) || r.calls == 0);
    do {
        more = pool_evacuate(50, &r);
        CHECK_LE(r.calls, 50);
        CHECK(more == (r.calls == 50));
        moved += r.moves;
        calls++;
        client_check();
        CHECK_LE(calls, ITEMS);
    } while (more);
    CHECK_GE(calls, 3);
    CHECK_GE(moved, 1);
    (void)vmem_drain(kva_kmem_movable_arena, SIZE_MAX, 0);
    CHECK_LE(arena_bytes(), before * 2 / 3);
    client_end();
}

/* A call of a callback is work of the pass that has objects moved. */
static void
calls_are_work(struct test_ctx *t)
{
    size_t work = 1000, left = work;

    client_start(0);
    client_thin(t, 10);
    (void)vmem_drain(kva_kmem_movable_arena, SIZE_MAX, 0);
    (void)kva_reclaim_pass(SIZE_MAX, KVA_URGENCY_MEDIUM, &left);
    CHECK_EQ(left, 0);
    CHECK_GE(client.calls, work / 2); /* the rest: asking cleaners */
    CHECK_LE(client.calls, work);
    client_check();
    client_end();
}

/* Low water stays, and a limit is not met by an object that is moved. */
static void
marks_hold(struct test_ctx *t)
{
    struct kva_pool_evacuation r;
    struct kva_pool_stat st;
    size_t hits;

    client_start(0);
    client_thin(t, 10);
    for (unsigned k = 0; k < CACHES; k++) {
        pool_cache_setlowat(client.pc[k], 500);
        pool_cache_stat(client.pc[k], &st);
        pool_cache_sethardlimit(client.pc[k], (int)st.objects_out, NULL, 0);
    }
    (void)pool_evacuate(SIZE_MAX, &r);
    CHECK_GE(r.moves, 1);
    for (unsigned k = 0; k < CACHES; k++) {
        pool_cache_stat(client.pc[k], &st);
        hits = st.limit_hits;
        CHECK_EQ(hits, 0);
        CHECK_GE(client.pc[k]->slabs.nfree, 500);
        CHECK_LE(st.objects_out, client.pc[k]->slabs.hardlimit);
    }
    client_end();
}

/* What cannot have a callback. */
static void
refusals(struct test_ctx *t)
{
    pool_cache_t pc;
    void *p;

    (void)t;
    client_start(0);
    CHECK_EQ(pool_cache_set_move(client.pc[0], move, NULL), KVA_EBUSY);
    CHECK_EQ(pool_cache_set_move(client.pc[0], NULL, NULL), KVA_EINVAL);
    pc = pool_cache_init(64, 0, 0, 0, "intr", NULL, KVA_IPL_VM, NULL, NULL,
                         NULL);
    CHECK_EQ(pool_cache_set_move(pc, move, NULL), KVA_EINVAL);
    pool_cache_destroy(pc);
    pc = pool_cache_init(64, 0, 0, 0, "used", NULL, KVA_IPL_NONE, NULL, NULL,
                         NULL);
    p = pool_cache_get(pc, PR_NOWAIT);
    CHECK_EQ(pool_cache_set_move(pc, move, NULL), KVA_EBUSY);
    pool_cache_put(pc, p);
    pool_cache_destroy(pc);
    client_end();
}

/* Random gets, puts, evacuations with a budget, drains; the table knows who
 * holds what. */
static void
model_with_moves(struct test_ctx *t)
{
    static const enum kva_pool_move answers[] = {
        KVA_MOVE_YES,   KVA_MOVE_YES, KVA_MOVE_YES,
        KVA_MOVE_LATER, KVA_MOVE_NO,  KVA_MOVE_UNKNOWN
    };
    struct kva_pool_evacuation r;
    unsigned target = 0;

    client_start(0);
    for (unsigned long n = 0; n < t->count; n++) {
        unsigned i = (unsigned)test_rand_below(t, ITEMS);

        if (n % 4096 == 0) {
            target = (unsigned)test_rand_below(t, 100);
        }
        if (client.item[i] != NULL && test_rand_below(t, 100) >= target) {
            item_put(i);
        } else if (client.item[i] == NULL && test_rand_below(t, 100) < target) {
            CHECK(item_get(i, PR_NOWAIT));
        }
        if (test_rand_below(t, 2000) == 0) {
            client.answer = answers[test_rand_below(t, KVA_COUNT(answers))];
            (void)pool_evacuate((size_t)test_rand_below(t, 3000), &r);
            CHECK_EQ(r.moves + r.no + r.later + r.gone + r.unknown, r.calls);
        }
        if (n % 5000 == 0) {
            client_check();
        }
    }
    client.answer = KVA_MOVE_YES;
    client_end();
}

/* ---- others who get and put ------------------------------------------- */

#define THREADS 4u
#define SLOTS 1500u

/* A slot has a lock, as a client's object would; the callback tries it. */
static struct {
    pthread_mutex_t lock;
    uintptr_t *object; /* [0]: number of the slot + 1 */
} slot[THREADS * SLOTS];
static pool_cache_t shared;
static unsigned long rounds;
static bool done;

static void
slot_fill(uintptr_t *p, unsigned i)
{
    for (unsigned w = 1; w < 16; w++) {
        p[w] = i + 1;
    }
    __atomic_store_n(&p[0], i + 1, __ATOMIC_RELAXED);
}

static bool
slot_intact(const uintptr_t *p, unsigned i)
{
    for (unsigned w = 1; w < 16; w++) {
        if (p[w] != i + 1) {
            return false;
        }
    }
    return __atomic_load_n(&p[0], __ATOMIC_RELAXED) == i + 1;
}

/* from may be anybody's by now: its number leads to a slot, and the slot's lock
 * tells whether that has it. */
static enum kva_pool_move
slot_move(void *arg, void *from, void *to)
{
    uintptr_t i = __atomic_load_n((uintptr_t *)from, __ATOMIC_RELAXED) - 1;

    (void)arg;
    if (i >= THREADS * SLOTS) {
        return KVA_MOVE_UNKNOWN;
    }
    if (pthread_mutex_trylock(&slot[i].lock) != 0) {
        return KVA_MOVE_LATER;
    }
    if (slot[i].object != from) {
        pthread_mutex_unlock(&slot[i].lock);
        return KVA_MOVE_GONE;
    }
    CHECK(slot_intact(from, (unsigned)i));
    slot_fill(to, (unsigned)i);
    slot[i].object = to;
    __atomic_store_n((uintptr_t *)from, 0, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&slot[i].lock);
    return KVA_MOVE_YES;
}

/* The first word is looked at by callbacks at any time. */
static int
slot_construct(void *arg, void *object, int flags)
{
    (void)arg;
    (void)flags;
    __atomic_store_n((uintptr_t *)object, 0, __ATOMIC_RELAXED);
    return 0;
}

static void
slot_turn(unsigned i)
{
    uintptr_t *p;

    pthread_mutex_lock(&slot[i].lock);
    p = slot[i].object;
    if (p != NULL) {
        CHECK(slot_intact(p, i));
        slot[i].object = NULL;
        __atomic_store_n(&p[0], 0, __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&slot[i].lock);
    if (p != NULL) {
        pool_cache_put(shared, p);
        return;
    }
    p = pool_cache_get(shared, PR_NOWAIT);
    CHECK(p != NULL);
    slot_fill(p, i);
    pthread_mutex_lock(&slot[i].lock);
    slot[i].object = p;
    pthread_mutex_unlock(&slot[i].lock);
}

static void *
turner(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;
    struct test_random r = { .state = me + 1 };

    for (unsigned long n = 0; n < rounds; n++) {
        slot_turn(me * SLOTS + (unsigned)test_random_below(&r, SLOTS));
    }
    return NULL;
}

static void *
evacuator(void *arg)
{
    struct kva_pool_evacuation r;

    (void)arg;
    while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
        (void)pool_evacuate(200, &r);
        (void)pool_cache_reclaim(shared);
    }
    return NULL;
}

static void
others_get_and_put(struct test_ctx *t)
{
    pthread_t thread[THREADS], mover;

    tower_start(0);
    shared = pool_cache_init(16 * sizeof(uintptr_t), 0, 0, 0, "shared", NULL,
                             KVA_IPL_NONE, slot_construct, NULL, NULL);
    CHECK_EQ(pool_cache_set_move(shared, slot_move, NULL), 0);
    for (unsigned i = 0; i < THREADS * SLOTS; i++) {
        CHECK_EQ(pthread_mutex_init(&slot[i].lock, NULL), 0);
    }
    rounds = t->count;
    CHECK_EQ(pthread_create(&mover, NULL, evacuator, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_create(&thread[i], NULL, turner, (void *)(uintptr_t)i),
                 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    }
    __atomic_store_n(&done, true, __ATOMIC_RELEASE);
    CHECK_EQ(pthread_join(mover, NULL), 0);
    tower_check();
    for (unsigned i = 0; i < THREADS * SLOTS; i++) {
        if (slot[i].object != NULL) {
            CHECK(slot_intact(slot[i].object, i));
            pool_cache_put(shared, slot[i].object);
        }
    }
    pool_cache_destroy(shared);
    tower_end();
}

const struct test move_tests[] = {
    TEST("move", survivors_come_together),
    TEST("move", kinds_share_no_span),
    TEST("move", answers_are_kept),
    TEST("move", third_later_is_a_no),
    TEST("move", objects_go_meanwhile),
    TEST("move", misuse_is_told),
    TEST("move", targets_fail),
    TEST("move", budget_is_kept),
    TEST("move", calls_are_work),
    TEST("move", marks_hold),
    TEST("move", refusals),
    TEST_COUNT("move", model_with_moves, 40000, 400000, 4000000),
    TEST_THREADS("move", others_get_and_put, 0, 3000, 100000, 1000000),
    TEST_END
};
