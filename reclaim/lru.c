/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The LRU of pages; see lru.h for the picture.
 *
 * Whoever uses a page has its object locked, and takes the list's lock inside.
 * A pass comes the other way: it has the list's lock and wants the object.  So
 * it only tries for that, with the list's lock dropped and the page marked, and
 * the mark keeps page and object there: removing waits until it is gone, which
 * it is after one try.  A page whose object was not to be had goes to the hot
 * end: it is in use.
 *
 * Objects that are found above their share when a page of theirs comes or is used
 * are on a list, and leave it when a pass finds that they have not even half of
 * it any more, or that they are locked, or with their last page.  One that was
 * asked down to its share is above it again when others shrink; and no more than
 * 200 / share objects have half of one, so that a pass looks at few.
 *
 * Invariants: a listed page is on both lists; counts are those of the lists.
 */
#include "reclaim/lru.h"

#include "port/check.h"

/* ---- the lists, locked ------------------------------------------------- */

static void
link_hot(struct kva_lru *lru, struct kva_lru_page *page)
{
    struct kva_lru_object *object = page->object;

    page->hotter = NULL;
    page->colder = lru->hot;
    if (lru->hot != NULL) {
        lru->hot->hotter = page;
    } else {
        lru->cold = page;
    }
    lru->hot = page;
    page->object_hotter = NULL;
    page->object_colder = object->hot;
    if (object->hot != NULL) {
        object->hot->object_hotter = page;
    } else {
        object->cold = page;
    }
    object->hot = page;
    lru->pages++;
    object->pages++;
    page->listed = true;
}

static void
large_remove(struct kva_lru *lru, struct kva_lru_object *object)
{
    if (!object->large) {
        return;
    }
    if (object->prev_large != NULL) {
        object->prev_large->next_large = object->next_large;
    } else {
        lru->large = object->next_large;
    }
    if (object->next_large != NULL) {
        object->next_large->prev_large = object->prev_large;
    }
    object->large = false;
}

static void
large_insert(struct kva_lru *lru, struct kva_lru_object *object)
{
    if (object->large) {
        return;
    }
    object->prev_large = NULL;
    object->next_large = lru->large;
    if (lru->large != NULL) {
        lru->large->prev_large = object;
    }
    lru->large = object;
    object->large = true;
}

static void
unlink_object(struct kva_lru_object *object, struct kva_lru_page *page)
{
    if (page->object_hotter != NULL) {
        page->object_hotter->object_colder = page->object_colder;
    } else {
        object->hot = page->object_colder;
    }
    if (page->object_colder != NULL) {
        page->object_colder->object_hotter = page->object_hotter;
    } else {
        object->cold = page->object_hotter;
    }
    object->pages--;
}

static void
unlink_page(struct kva_lru *lru, struct kva_lru_page *page)
{
    if (page->hotter != NULL) {
        page->hotter->colder = page->colder;
    } else {
        lru->hot = page->colder;
    }
    if (page->colder != NULL) {
        page->colder->hotter = page->hotter;
    } else {
        lru->cold = page->hotter;
    }
    unlink_object(page->object, page);
    lru->pages--;
    page->listed = false;
}

/* The page goes; and its object, if that was its last one. */
static void
take_off(struct kva_lru *lru, struct kva_lru_page *page)
{
    unlink_page(lru, page);
    if (page->object->pages == 0) {
        large_remove(lru, page->object);
    }
}

/* Has it more than so many percent of all. */
static bool
has_more(const struct kva_lru *lru, const struct kva_lru_object *object,
         unsigned percent)
{
    return object->pages >
           lru->pages / 100u * percent + lru->pages % 100u * percent / 100u;
}

static bool
has_too_many(const struct kva_lru *lru, const struct kva_lru_object *object)
{
    return lru->share != 0 && has_more(lru, object, lru->share);
}

static void
look_at_share(struct kva_lru *lru, struct kva_lru_object *object)
{
    if (has_too_many(lru, object)) {
        large_insert(lru, object);
    }
}

/* ---- pages come, are used, and go -------------------------------------- */

void
kva_lru_insert(struct kva_lru *lru, struct kva_lru_page *page)
{
    kva_irq_t irq;
    bool listed;

    if (page->object == NULL) {
        kva__misuse("kva_lru_insert", "lru", lru->name, (uintptr_t)page,
                    "expected a page with an object, found none");
    }
    irq = kva_port_lock(&lru->lock);
    listed = page->listed;
    if (!listed) {
        link_hot(lru, page);
        look_at_share(lru, page->object);
    }
    kva_port_unlock(&lru->lock, irq);
    if (listed) {
        kva__misuse("kva_lru_insert", "lru", lru->name, (uintptr_t)page,
                    "expected a page that is not listed, found it listed");
    }
}

void
kva_lru_touch(struct kva_lru *lru, struct kva_lru_page *page)
{
    kva_irq_t irq = kva_port_lock(&lru->lock);

    if (page->listed && lru->hot != page) {
        unlink_page(lru, page);
        link_hot(lru, page);
        look_at_share(lru, page->object);
    }
    kva_port_unlock(&lru->lock, irq);
}

void
kva_lru_remove(struct kva_lru *lru, struct kva_lru_page *page)
{
    kva_irq_t irq = kva_port_lock(&lru->lock);

    while (page->tried) {
        kva_port_unlock(&lru->lock, irq);
#if KVA_TIER >= 1
        kva_port_relax();
#endif
        irq = kva_port_lock(&lru->lock);
    }
    if (page->listed) {
        take_off(lru, page);
    }
    kva_port_unlock(&lru->lock, irq);
}

void
kva_lru_promise(struct kva_lru *lru, size_t bytes)
{
    kva_irq_t irq = kva_port_lock(&lru->lock);

    bytes = bytes < SIZE_MAX - lru->promised ? bytes : SIZE_MAX - lru->promised;
    lru->promised += bytes;
    kva_port_unlock(&lru->lock, irq);
}

size_t
kva_lru_pages(struct kva_lru *lru)
{
    return __atomic_load_n(&lru->pages, __ATOMIC_RELAXED);
}

/* ---- a pass ------------------------------------------------------------ */

/* The next to try: of the object that has too many, or the coldest.  Locked. */
static struct kva_lru_page *
next_page(struct kva_lru *lru)
{
    struct kva_lru_object *object = lru->large;
    struct kva_lru_page *page = lru->cold;

    while (object != NULL && !has_too_many(lru, object)) {
        struct kva_lru_object *next = object->next_large;

        if (!has_more(lru, object, (lru->share + 1u) / 2u)) {
            large_remove(lru, object);
        }
        object = next;
    }
    if (object != NULL) {
        page = object->cold;
    }
    return page;
}

/* Try for its object; then it is released, or in use and goes to the hot end. */
static size_t
try_page(struct kva_lru *lru, struct kva_lru_page *page, kva_irq_t *irq)
{
    struct kva_lru_object *object = page->object;
    size_t bytes = 0;
    bool mine;

    page->tried = true;
    kva_port_unlock(&lru->lock, *irq);
    mine = lru->trylock(lru->arg, object);
    *irq = kva_port_lock(&lru->lock);
    page->tried = false;
    if (!mine) { /* from here on it may be removed, but we have the lock */
        unlink_page(lru, page);
        link_hot(lru, page);
        large_remove(lru, object);
        return 0;
    }
    take_off(lru, page);
    kva_port_unlock(&lru->lock, *irq);
    bytes = lru->release(lru->arg, page);
    lru->unlock(lru->arg, object);
    *irq = kva_port_lock(&lru->lock);
    return bytes;
}

/* Bytes that were freed, and those that will be if promises count. */
static size_t
have(const struct kva_lru *lru, size_t done, const struct kva_want *want)
{
    size_t promised = want->urgency < KVA_URGENCY_OOM ? lru->promised : 0;

    return done + promised < done ? SIZE_MAX : done + promised;
}

static size_t
clean(void *arg, struct kva_want *want)
{
    struct kva_lru *lru = arg;
    struct kva_lru_page *page;
    size_t done = 0, left;
    kva_irq_t irq;

    irq = kva_port_lock(&lru->lock);
    lru->promised = 0;
    for (left = lru->pages;
         left != 0 && have(lru, done, want) < want->bytes && want->work != 0;
         left--) {
        size_t keep = want->retain >> KVA_PAGE_SHIFT;

        page = lru->pages > keep ? next_page(lru) : NULL;
        if (page == NULL) {
            break;
        }
        done += try_page(lru, page, &irq);
        want->work--;
    }
    want->promised = lru->promised;
    kva_port_unlock(&lru->lock, irq);
    return done;
}

void
kva_lru_init(struct kva_lru *lru)
{
    kva_port_lock_init(&lru->lock, lru->name, KVA_IPL_NONE, KVA_RANK_CACHE - 1);
    lru->cold = lru->hot = NULL;
    lru->pages = 0;
    lru->large = NULL;
    lru->promised = 0;
    lru->cleaner = (struct kva_cleaner){
        .clean = clean,
        .arg = lru,
        .name = lru->name,
        .stage = KVA_STAGE_PAGES,
        .retain = lru->cleaner.retain,
    };
    kva_reclaim_register(&lru->cleaner);
}

void
kva_lru_fini(struct kva_lru *lru)
{
    size_t pages;

    kva_reclaim_unregister(&lru->cleaner);
    pages = lru->pages;
    if (pages != 0) { /* it stays as it was */
        kva_reclaim_register(&lru->cleaner);
        kva__misuse("kva_lru_fini", "lru", lru->name, (uintptr_t)lru,
                    "expected no page, found %zu", pages);
    }
    kva_port_lock_fini(&lru->lock);
}
