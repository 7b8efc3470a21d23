/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An LRU of pages with contents, as of a page cache: what was not used for the
 * longest time goes first, if its object can be had without waiting.
 *
 *      cold                                               hot
 *       p1(A) - p2(B) - p3(A) - p4(A) - p5(C) - ... - pn(B)
 *       take               a pass looks from the cold end
 *
 *      object A:  p1 - p3 - p4        its own pages, by age
 *
 * An object with more than its share of the pages (a file that is copied) is
 * asked for its own before others are; so one cannot push out all.  The LRU, the
 * try for the object's lock and the share are those of the pagedaemon of
 * NetBSD's rump kernels, which left the share open.
 */
#ifndef KVA_RECLAIM_LRU_H
#define KVA_RECLAIM_LRU_H

#include "reclaim/reclaim.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kva_lru_page;

/* What pages belong to: a file, a mapping.  In the owner's storage, zeroed. */
struct kva_lru_object {
    /* private */
    struct kva_lru_page *cold; /* (l) of its pages */
    struct kva_lru_page *hot;
    struct kva_lru_object *next_large; /* (l) */
    struct kva_lru_object *prev_large;
    size_t pages;
    bool large; /* (l) on the list of those */
};

/* In the owner's storage, zeroed; a page is on the list while it may go. */
struct kva_lru_page {
    struct kva_lru_object *object;
    /* private */
    struct kva_lru_page *hotter; /* (l) of all */
    struct kva_lru_page *colder;
    struct kva_lru_page *object_hotter; /* (l) of its object */
    struct kva_lru_page *object_colder;
    bool listed; /* (l) */
    bool tried;  /* (l) somebody tries for its object's lock */
};

struct kva_lru {
    const char *name;
    /*
     * Lock the object without waiting for it; false: it is not to be had now.
     * And unlock it.  No lock of the library's held.
     */
    bool (*trylock)(void *arg, struct kva_lru_object *object);
    void (*unlock)(void *arg, struct kva_lru_object *object);
    /*
     * The object is locked, and the page not on the list any more: free it, and
     * return the bytes; or put it out, say what will come of that
     * (kva_lru_promise), and return 0; or keep it (kva_lru_insert) and return 0.
     */
    size_t (*release)(void *arg, struct kva_lru_page *page);
    void *arg;
    unsigned share; /* percent of all pages that an object may have; 0: any */
    /* private */
    kva_lock_t lock;
    struct kva_lru_page *cold;    /* (l) */
    struct kva_lru_page *hot;     /* (l) */
    size_t pages;                 /* (l) */
    struct kva_lru_object *large; /* (l) found above their share */
    size_t promised;              /* (l) in the call under way */
    struct kva_cleaner cleaner;
};

/* Fill in what is public, the rest 0; registers a cleaner of KVA_STAGE_PAGES. */
void kva_lru_init(struct kva_lru *lru);
/* All pages were removed. */
void kva_lru_fini(struct kva_lru *lru);

/* All with the page's object locked; constant work, any context in which the
 * object may be locked. */
/* Put it at the hot end. */
void kva_lru_insert(struct kva_lru *lru, struct kva_lru_page *page);
/* It was used: the same, if it is listed. */
void kva_lru_touch(struct kva_lru *lru, struct kva_lru_page *page);
/* Take it off, if it is listed: when it returns nobody looks at page or, if that
 * was its last one, at the object.  It spins while a pass tries for the object's
 * lock, so others must run under that on this CPU. */
void kva_lru_remove(struct kva_lru *lru, struct kva_lru_page *page);

/*
 * From within release: so many bytes will be free when what it began has ended.
 * The pass has as much less put out or freed, as if they were free, unless what
 * was freed so far did not do.  Constant work.
 */
void kva_lru_promise(struct kva_lru *lru, size_t bytes);

size_t kva_lru_pages(struct kva_lru *lru);

#ifdef __cplusplus
}
#endif

#endif
