/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The LRU of pages.
 *
 * Claims: the coldest goes first, as a naive list says; an object that is locked
 * keeps its pages; those with more than their share are asked first, each down to
 * that; what is retained stays; what is put out counts if it is promised; removing
 * waits for a pass that tries, with threads; misuse is told.
 */
#include <pthread.h>
#include <stdlib.h>

#include "reclaim/lru.h"
#include "tests/harness/test.h"

#define OBJECTS 8u
#define PAGES 64u

struct page {
    struct kva_lru_page lru;
    bool in; /* somebody has it on the list */
};

struct object {
    struct kva_lru_object lru;
    pthread_mutex_t mutex;
    bool locked; /* by the test itself */
};

struct world {
    struct kva_lru lru;
    struct object object[OBJECTS];
    struct page page[PAGES];
    unsigned order[PAGES]; /* the naive list: cold to hot */
    unsigned n;
    unsigned released[PAGES]; /* in this order */
    unsigned nreleased;
};

static bool
trylock(void *arg, struct kva_lru_object *object)
{
    struct object *o = KVA_CONTAINER(object, struct object, lru);

    (void)arg;
    CHECK_EQ(kva_posix_locks_held(), 0);
    return !o->locked;
}

static void
unlock(void *arg, struct kva_lru_object *object)
{
    (void)arg;
    (void)object;
}

static size_t
release(void *arg, struct kva_lru_page *page)
{
    struct world *w = arg;
    struct page *p = KVA_CONTAINER(page, struct page, lru);

    CHECK(p->in);
    p->in = false;
    w->released[w->nreleased++] = (unsigned)(p - w->page);
    return KVA_PAGE_SIZE;
}

static size_t
count_only(void *arg, struct kva_lru_page *page)
{
    (void)arg;
    (void)page;
    return KVA_PAGE_SIZE;
}

static void
world_up(struct world *w, unsigned share)
{
    *w = (struct world){ .lru = { .name = "pages",
                                  .trylock = trylock,
                                  .unlock = unlock,
                                  .release = release,
                                  .arg = w,
                                  .share = share } };
    kva_lru_init(&w->lru);
    for (unsigned i = 0; i < PAGES; i++) {
        w->page[i].lru.object = &w->object[i % OBJECTS].lru;
    }
}

static void
naive_remove(struct world *w, unsigned i)
{
    unsigned at = 0;

    while (w->order[at] != i) {
        at++;
    }
    w->n--;
    for (; at < w->n; at++) {
        w->order[at] = w->order[at + 1];
    }
}

static void
insert(struct world *w, unsigned i)
{
    kva_lru_insert(&w->lru, &w->page[i].lru);
    w->page[i].in = true;
    w->order[w->n++] = i;
}

static void
touch(struct world *w, unsigned i)
{
    kva_lru_touch(&w->lru, &w->page[i].lru);
    naive_remove(w, i);
    w->order[w->n++] = i;
}

static void
take_out(struct world *w, unsigned i)
{
    kva_lru_remove(&w->lru, &w->page[i].lru);
    w->page[i].in = false;
    naive_remove(w, i);
}

static void
world_down(struct world *w)
{
    for (unsigned i = 0; i < PAGES; i++) {
        if (w->page[i].in) {
            take_out(w, i);
        }
    }
    kva_lru_fini(&w->lru);
}

/* What a pass for so many pages does to the naive list. */
static void
naive_pass(struct world *w, unsigned pages, unsigned *out, unsigned *nout)
{
    unsigned looks = w->n;

    for (*nout = 0; looks > 0 && *nout < pages; looks--) {
        unsigned i = w->order[0];

        naive_remove(w, i);
        if (w->object[i % OBJECTS].locked) {
            w->order[w->n++] = i;
        } else {
            out[(*nout)++] = i;
        }
    }
}

static void
as_the_naive_list(struct test_ctx *t)
{
    unsigned out[PAGES], nout;
    static struct world w;

    world_up(&w, 0);
    for (unsigned long n = 0; n < t->count; n++) {
        unsigned i = (unsigned)test_rand_below(t, PAGES);
        unsigned pages = (unsigned)test_rand_below(t, 4);

        w.object[test_rand_below(t, OBJECTS)].locked =
            test_rand_below(t, 2) == 0;
        if (!w.page[i].in) {
            kva_lru_touch(&w.lru, &w.page[i].lru); /* is not on the list */
            CHECK_EQ(kva_lru_pages(&w.lru), w.n);
            insert(&w, i);
        } else if (test_rand_below(t, 2) == 0) {
            touch(&w, i);
        } else {
            take_out(&w, i);
        }
        if (pages != 0 && n % 4 == 0) {
            struct kva_want want = { .bytes = pages * KVA_PAGE_SIZE,
                                     .work = KVA_WORK_ALL };

            w.nreleased = 0;
            naive_pass(&w, pages, out, &nout);
            CHECK_EQ(w.lru.cleaner.clean(&w.lru, &want), nout * KVA_PAGE_SIZE);
            CHECK_EQ(w.nreleased, nout);
            for (unsigned k = 0; k < nout; k++) {
                CHECK_EQ(w.released[k], out[k]);
            }
        }
        CHECK_EQ(kva_lru_pages(&w.lru), w.n);
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        w.object[i].locked = false;
    }
    world_down(&w);
}

static void
too_large_a_share(struct test_ctx *t)
{
    static struct world w;

    (void)t;
    world_up(&w, 50);
    for (unsigned i = 0; i < 16; i++) { /* cold pages of seven objects */
        if (i % OBJECTS != 0) {
            insert(&w, i);
        }
    }
    for (unsigned i = 0; i < 20; i++) { /* a hot one with more than all */
        w.page[16 + i].lru.object = &w.object[0].lru;
        insert(&w, 16 + i);
    }
    CHECK_EQ(kva_reclaim(4 * KVA_PAGE_SIZE), 4 * KVA_PAGE_SIZE);
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQ(w.released[i], 16 + i);
        naive_remove(&w, 16 + i);
    }
    w.object[0].locked = true; /* not to be had: the others after all */
    CHECK_EQ(kva_reclaim(2 * KVA_PAGE_SIZE), 2 * KVA_PAGE_SIZE);
    CHECK_EQ(w.released[4], 1);
    CHECK_EQ(w.released[5], 2);
    naive_remove(&w, 1);
    naive_remove(&w, 2);
    w.object[0].locked = false;
    w.nreleased = 0;
    world_down(&w);
}

/* Two with too much: each is asked down to its share, before the others, though
 * no page of theirs comes or is used meanwhile. */
static void
too_large_shares(struct test_ctx *t)
{
    static struct world w;
    size_t left[2], all;

    (void)t;
    world_up(&w, 25);
    for (unsigned i = 0; i < PAGES; i++) { /* 16 cold ones of the others */
        unsigned owner = i < 16 ? 2 + i % 6 : i < 44 ? 0 : 1;

        w.page[i].lru.object = &w.object[owner].lru;
        insert(&w, i);
    }
    all = PAGES;
    do {
        unsigned last = w.nreleased;

        CHECK_EQ(kva_reclaim(1), KVA_PAGE_SIZE);
        CHECK_EQ(w.nreleased, last + 1);
        left[0] = w.object[0].lru.pages;
        left[1] = w.object[1].lru.pages;
        CHECK_GE(w.released[last], 16); /* not of the others */
        naive_remove(&w, w.released[last]);
        all--;
    } while (left[0] > all / 4 || left[1] > all / 4);
    CHECK_EQ(kva_reclaim(1), KVA_PAGE_SIZE);
    CHECK_EQ(w.released[w.nreleased - 1], 0);
    naive_remove(&w, 0);
    world_down(&w);
}

/* An object that has too many since others have less is found when a page of it
 * is used. */
static void
shares_are_looked_at_when_used(struct test_ctx *t)
{
    static struct world w;

    (void)t;
    world_up(&w, 50);
    for (unsigned i = 0; i < 22; i++) { /* the last ten are of one */
        w.page[i].lru.object = &w.object[i < 12 ? 1 + i % 7 : 0].lru;
        insert(&w, i);
    }
    for (unsigned i = 4; i < 12; i++) {
        take_out(&w, i);
    }
    CHECK_EQ(kva_reclaim(1), KVA_PAGE_SIZE);
    CHECK_EQ(w.released[0], 0); /* the coldest */
    naive_remove(&w, 0);
    touch(&w, 15);
    CHECK_EQ(kva_reclaim(1), KVA_PAGE_SIZE);
    CHECK_EQ(w.released[1], 12); /* the coldest of that one */
    naive_remove(&w, 12);
    world_down(&w);
}

/* An object whose last page was removed is its owner's again. */
static void
last_pages_take_the_object_along(struct test_ctx *t)
{
    static struct world w;
    struct kva_lru_page page[3];
    struct object *o = calloc(1, sizeof(*o));

    (void)t;
    CHECK(o != NULL);
    world_up(&w, 50);
    for (unsigned i = 0; i < 3; i++) {
        page[i] = (struct kva_lru_page){ .object = &o->lru };
        kva_lru_insert(&w.lru, &page[i]);
    }
    CHECK(o->lru.large);
    for (unsigned i = 0; i < 3; i++) {
        kva_lru_remove(&w.lru, &page[i]);
    }
    CHECK(!o->lru.large);
    CHECK_PTR(w.lru.large, NULL);
    free(o);
    CHECK_EQ(kva_reclaim(1), 0);
    kva_lru_fini(&w.lru);
}

/* Percent of more than a hundred pages, to the page. */
static void
shares_of_many(struct test_ctx *t)
{
    static struct kva_lru_page page[350];
    static struct world w;

    (void)t;
    world_up(&w, 20);
    w.lru.release = count_only;
    for (unsigned i = 0; i < 350; i++) { /* one may have 70, and has 71 */
        page[i].object = &w.object[i < 350 - 71 ? 1 + i % 7 : 0].lru;
        kva_lru_insert(&w.lru, &page[i]);
    }
    CHECK_EQ(kva_reclaim(1), KVA_PAGE_SIZE);
    CHECK_EQ(w.object[0].lru.pages, 70);
    CHECK_EQ(kva_reclaim(1), KVA_PAGE_SIZE); /* 70 of 349 are too many */
    CHECK_EQ(w.object[0].lru.pages, 69);
    CHECK_EQ(kva_reclaim(1), KVA_PAGE_SIZE); /* but 69 of 348 are not */
    CHECK_EQ(w.object[0].lru.pages, 69);
    CHECK(!page[0].listed);
    CHECK(w.object[0].lru.large); /* it may be again when others have less */
    for (unsigned i = 350 - 69; i < 350 - 35; i++) {
        kva_lru_remove(&w.lru, &page[i]);
    }
    kva_lru_touch(&w.lru, &page[340]);
    CHECK_EQ(kva_reclaim(1), KVA_PAGE_SIZE);
    CHECK(w.object[0].lru.large); /* with 35 of 313 */
    for (unsigned i = 350 - 35; i < 350 - 30; i++) {
        kva_lru_remove(&w.lru, &page[i]);
    }
    CHECK_EQ(kva_reclaim(1), KVA_PAGE_SIZE);
    CHECK(!w.object[0].lru.large); /* 30 of 307 are half of what it may have */
    for (unsigned i = 0; i < 350; i++) {
        kva_lru_remove(&w.lru, &page[i]);
    }
    kva_lru_fini(&w.lru);
}

/* Promises are a sum that does not wrap. */
static size_t
promise_too_much(void *arg, struct kva_lru_page *page)
{
    struct world *w = arg;

    (void)release(arg, page);
    if (w->nreleased == 1) {
        return KVA_PAGE_SIZE;
    }
    kva_lru_promise(&w->lru, SIZE_MAX);
    kva_lru_promise(&w->lru, KVA_PAGE_SIZE);
    return 0;
}

static void
promises_do_not_wrap(struct test_ctx *t)
{
    static struct world w;

    (void)t;
    world_up(&w, 0);
    w.lru.release = promise_too_much;
    for (unsigned i = 0; i < 40; i++) {
        insert(&w, i);
    }
    CHECK_EQ(kva_reclaim(4 * KVA_PAGE_SIZE), KVA_PAGE_SIZE);
    CHECK_EQ(w.nreleased, 2);
    naive_remove(&w, w.released[0]);
    naive_remove(&w, w.released[1]);
    world_down(&w);
}

/* Dirty pages are written out, and come later: no more of them than is wanted,
 * unless what was freed so far did not do. */
static size_t
put_out(void *arg, struct kva_lru_page *page)
{
    struct world *w = arg;

    (void)release(arg, page);
    kva_lru_promise(&w->lru, KVA_PAGE_SIZE);
    return 0;
}

static void
promised_pages_count(struct test_ctx *t)
{
    struct kva_want want = { .bytes = 5 * KVA_PAGE_SIZE,
                             .work = KVA_WORK_ALL,
                             .urgency = KVA_URGENCY_MEDIUM };
    static struct world w;

    (void)t;
    world_up(&w, 0);
    w.lru.release = put_out;
    for (unsigned i = 0; i < 40; i++) {
        insert(&w, i);
    }
    CHECK_EQ(kva_reclaim(4 * KVA_PAGE_SIZE), 0);
    CHECK_EQ(w.nreleased, 4);
    CHECK_EQ(w.lru.cleaner.clean(&w.lru, &want), 0);
    CHECK_EQ(w.nreleased, 9);
    CHECK_EQ(want.promised, 5 * KVA_PAGE_SIZE);
    want.urgency = KVA_URGENCY_OOM;
    want.work = 20;
    CHECK_EQ(w.lru.cleaner.clean(&w.lru, &want), 0);
    CHECK_EQ(w.nreleased, 29);
    for (unsigned i = 0; i < 29; i++) {
        naive_remove(&w, w.released[i]);
    }
    world_down(&w);
}

static void
misuse_is_told(struct test_ctx *t)
{
    static struct world w;
    unsigned long page = (unsigned long)(uintptr_t)&w.page[3].lru;

    (void)t;
    PORT(NULL);
    world_up(&w, 0);
    insert(&w, 3);
    CHECK_PANIC(kva_lru_insert(&w.lru, &w.page[3].lru),
                "kva_lru_insert: lru pages: 0x%lx: expected a page that is not "
                "listed, found it listed",
                page);
    w.page[4].lru.object = NULL;
    CHECK_PANIC(kva_lru_insert(&w.lru, &w.page[4].lru),
                "kva_lru_insert: lru pages: 0x%lx: expected a page with an "
                "object, found none",
                page + sizeof(w.page[3]));
    CHECK_EQ(kva_lru_pages(&w.lru), 1);
    CHECK_PANIC(kva_lru_fini(&w.lru),
                "kva_lru_fini: lru pages: 0x%lx: expected no page, found 1",
                (unsigned long)(uintptr_t)&w.lru);
    CHECK_EQ(kva_reclaim(1), KVA_PAGE_SIZE); /* it is as it was */
    naive_remove(&w, 3);
    world_down(&w);
}

static void
some_stay(struct test_ctx *t)
{
    struct kva_lru_page page[12];
    struct kva_lru lru = { .name = "pages",
                           .trylock = trylock,
                           .unlock = unlock,
                           .release = count_only,
                           .cleaner.retain = 5 * KVA_PAGE_SIZE + 1 };
    struct object o = { .locked = false };
    size_t work = KVA_WORK_ALL;

    (void)t;
    kva_lru_init(&lru);
    CHECK_EQ(lru.cleaner.stage, KVA_STAGE_PAGES);
    for (unsigned i = 0; i < 12; i++) {
        page[i] = (struct kva_lru_page){ .object = &o.lru };
        kva_lru_insert(&lru, &page[i]);
    }
    CHECK_EQ(kva_reclaim(SIZE_MAX), 7 * KVA_PAGE_SIZE);
    CHECK_EQ(kva_lru_pages(&lru), 5);
    CHECK_EQ(kva_reclaim_pass(SIZE_MAX, KVA_URGENCY_OOM, &work),
             5 * KVA_PAGE_SIZE);
    kva_lru_fini(&lru);
}

/* ---- threads ------------------------------------------------------------ */

struct crowd {
    struct kva_lru lru;
    struct object object[OBJECTS];
    unsigned long count;
    unsigned users;    /* that are not done */
    unsigned released; /* pages, by passes */
};

/* From here on the storage of a page is nobody's while it is not on the list:
 * each is allocated and freed. */
static bool
trylock_for_real(void *arg, struct kva_lru_object *object)
{
    struct object *o = KVA_CONTAINER(object, struct object, lru);

    (void)arg;
    return pthread_mutex_trylock(&o->mutex) == 0;
}

static void
unlock_for_real(void *arg, struct kva_lru_object *object)
{
    struct object *o = KVA_CONTAINER(object, struct object, lru);

    (void)arg;
    CHECK_EQ(pthread_mutex_unlock(&o->mutex), 0);
}

static size_t
release_for_real(void *arg, struct kva_lru_page *page)
{
    struct crowd *c = arg;

    (void)__atomic_fetch_add(&c->released, 1, __ATOMIC_RELAXED);
    page->object = NULL; /* its owner sees that under the object's lock */
    return KVA_PAGE_SIZE;
}

static void
use_object(struct crowd *c, struct object *o, struct page *page[8], unsigned i)
{
    CHECK_EQ(pthread_mutex_lock(&o->mutex), 0);
    if (page[i] == NULL) {
        page[i] = calloc(1, sizeof(*page[i]));
        CHECK(page[i] != NULL);
        page[i]->lru.object = &o->lru;
        kva_lru_insert(&c->lru, &page[i]->lru);
    } else if (page[i]->lru.object == NULL) {
        free(page[i]);
        page[i] = NULL;
    } else if (i % 2 == 0) {
        kva_lru_touch(&c->lru, &page[i]->lru);
    } else {
        kva_lru_remove(&c->lru, &page[i]->lru);
        free(page[i]);
        page[i] = NULL;
    }
    CHECK_EQ(pthread_mutex_unlock(&o->mutex), 0);
}

struct user {
    struct crowd *crowd;
    struct object *object;
    pthread_t thread;
};

static void *
user_thread(void *arg)
{
    struct user *u = arg;
    struct page *page[8] = { NULL };

    for (unsigned long n = 0;
         n < u->crowd->count || /* passes may begin late */
         __atomic_load_n(&u->crowd->released, __ATOMIC_RELAXED) < 100;
         n++) {
        use_object(u->crowd, u->object, page,
                   (unsigned)(n * 2654435761u >> 7) % 8);
    }
    CHECK_EQ(pthread_mutex_lock(&u->object->mutex), 0);
    for (unsigned i = 0; i < 8; i++) {
        if (page[i] != NULL && page[i]->lru.object != NULL) {
            kva_lru_remove(&u->crowd->lru, &page[i]->lru);
        }
        free(page[i]);
    }
    CHECK_EQ(pthread_mutex_unlock(&u->object->mutex), 0);
    (void)__atomic_fetch_sub(&u->crowd->users, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void
passes_meet_users(struct test_ctx *t)
{
    static struct crowd c;
    struct user user[OBJECTS];

    c = (struct crowd){ .lru = { .name = "pages",
                                 .trylock = trylock_for_real,
                                 .unlock = unlock_for_real,
                                 .release = release_for_real,
                                 .arg = &c,
                                 .share = 30 },
                        .count = t->count,
                        .users = OBJECTS };
    kva_lru_init(&c.lru);
    for (unsigned i = 0; i < OBJECTS; i++) {
        CHECK_EQ(pthread_mutex_init(&c.object[i].mutex, NULL), 0);
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        user[i] = (struct user){ .crowd = &c, .object = &c.object[i] };
        CHECK_EQ(pthread_create(&user[i].thread, NULL, user_thread, &user[i]),
                 0);
    }
    while (__atomic_load_n(&c.users, __ATOMIC_ACQUIRE) != 0) {
        (void)kva_reclaim(2 * KVA_PAGE_SIZE);
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        CHECK_EQ(pthread_join(user[i].thread, NULL), 0);
    }
    CHECK_EQ(kva_lru_pages(&c.lru), 0);
    kva_lru_fini(&c.lru);
}

const struct test lru_tests[] = {
    TEST_COUNT("lru", as_the_naive_list, 3000, 100000, 3000000),
    TEST("lru", too_large_a_share),
    TEST("lru", too_large_shares),
    TEST("lru", shares_are_looked_at_when_used),
    TEST("lru", last_pages_take_the_object_along),
    TEST("lru", shares_of_many),
    TEST("lru", promised_pages_count),
    TEST("lru", promises_do_not_wrap),
    TEST("lru", misuse_is_told),
    TEST("lru", some_stay),
    TEST_THREADS("lru", passes_meet_users, 0, 1000, 30000, 1000000),
    TEST_END,
};
