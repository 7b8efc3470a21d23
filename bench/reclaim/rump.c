/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An unbounded file tree in 600 kB.  Source: NetBSD, sys/rump/librump/rumpkern/
 * vm.c 1.92 of 2010, "Improve pagedaemon performance".
 *
 * What it reports: with a hard limit of some 600 kB a rump kernel survives the
 * metadata of a file system of any size being accessed, since the pagedaemon
 * reclaims the page cache's pool, pushes out the least recently used pages of
 * objects that it can lock without waiting, and then drains the pools.
 *
 * What is built: a machine that has 146 pages, 598,016 bytes, for everything:
 * the library's metadata and what boot takes are of them.  Somebody walks paths
 * in a tree that has no end.  Each name is looked up in a cache of files; one
 * that is not there is read, and for it are allocated what the kernel allocated
 * that the trace `files` recorded, with its sizes (replay/data/
 * files.slabinfo.csv), and a page for the directory's block:
 *
 *      inode 1128   dentry 192   security 32   index node 584
 *      buffer head 104   page 4096
 *
 * The page is on an LRU (reclaim/lru.h), its object is the file; when it is put
 * out, all of the file goes.  While a name is looked up in a directory, that is
 * locked, and cannot be taken.  The directories of a path are mostly those of
 * the last one, and its name one of a few in that directory, or one that was
 * never asked for; a hit checks that the page is the file's.
 *
 * The pagedaemon has its turn after each path, as its thread would where there
 * is one CPU: it begins at 90 % of what may be wired.  Requests may sleep, so
 * they reclaim for themselves where that does not do.  Before: requests may not
 * sleep, nobody reclaims, and nothing goes but what is put.
 *
 * percent: of 10^7 lookups, at least 10^4; the limit is what it is.
 */
#include <string.h>

#include "bench/reclaim/experiment.h"
#include "kmem/kmem.h"
#include "reclaim/lru.h"
#include "reclaim/pagedaemon.h"

#define P KVA_PAGE_SIZE
#define LIMIT_BYTES 600000u
#define LIMIT_PAGES (LIMIT_BYTES / P)
/* Of those, what metadata takes in the end; the rest may be wired. */
#define META_PAGES 24u

#define LOOKUPS UINT64_C(10000000)
#define LOOKUPS_MIN UINT64_C(10000)
#define DEPTH_MAX 8u
#define TURN_EVERY 32u /* paths, to the next directory */
#define FAMILIAR 8u    /* names that three quarters of the requests are for */
#define BUCKETS 64u    /* half as many as there may be files, in 512 bytes */

struct file;

/* In the buffer head. */
struct block {
    struct kva_lru_page lru;
    struct file *file;
    uint64_t *page;
};

/* In the inode. */
struct file {
    struct file *next; /* in its bucket */
    uint64_t number;
    bool locked;
    struct kva_lru_object object;
    struct block *block;
    void *part[3]; /* dentry, security, index node */
};

enum {
    INODE,
    DENTRY,
    SECURITY,
    INDEX,
    BUFFER,
    PAGE,
    KINDS
};

static const struct {
    const char *name;
    size_t size;
} kind[KINDS] = {
    [INODE] = { "inode", 1128 },     [DENTRY] = { "dentry", 192 },
    [SECURITY] = { "security", 32 }, [INDEX] = { "index", 584 },
    [BUFFER] = { "buffer", 104 },    [PAGE] = { "page", KVA_PAGE_SIZE },
};

struct walk {
    pool_cache_t cache[KINDS];
    struct kva_lru lru;
    struct file **bucket;
    int flags; /* of requests */
    uint64_t random;
    uint64_t path[DEPTH_MAX]; /* the directories that it is in, root first */
    uint64_t lookups, misses, failures, wrong;
    uint64_t pages_max; /* in use, of the machine's */
};

/* ---- a file comes and goes --------------------------------------------- */

static struct file **
bucket_of(struct walk *w, uint64_t number)
{
    return &w->bucket[number % BUCKETS];
}

/* What there is of it; it is in no bucket, and its page on no list. */
static void
file_free(struct walk *w, struct file *f)
{
    if (f->block != NULL) {
        if (f->block->page != NULL) {
            pool_cache_put(w->cache[PAGE], f->block->page);
        }
        pool_cache_put(w->cache[BUFFER], f->block);
    }
    for (unsigned i = 0; i < KVA_COUNT(f->part); i++) {
        if (f->part[i] != NULL) {
            pool_cache_put(w->cache[DENTRY + i], f->part[i]);
        }
    }
    pool_cache_put(w->cache[INODE], f);
}

static void *
part(struct walk *w, unsigned k)
{
    void *object = pool_cache_get(w->cache[k], w->flags);

    if (object != NULL) {
        memset(object, 0, kind[k].size);
    }
    return object;
}

static bool
file_fill(struct walk *w, struct file *f)
{
    for (unsigned i = 0; i < KVA_COUNT(f->part); i++) {
        f->part[i] = part(w, DENTRY + i);
        if (f->part[i] == NULL) {
            return false;
        }
    }
    f->block = part(w, BUFFER);
    if (f->block == NULL) {
        return false;
    }
    f->block->file = f;
    f->block->lru.object = &f->object;
    f->block->page = part(w, PAGE);
    return f->block->page != NULL;
}

/* Read it; NULL: there is no memory. */
static struct file *
file_read(struct walk *w, uint64_t number)
{
    struct file *f = part(w, INODE);

    w->misses++;
    if (f == NULL) {
        return NULL;
    }
    if (!file_fill(w, f)) {
        file_free(w, f);
        return NULL;
    }
    f->number = number;
    f->block->page[0] = f->block->page[P / 8 - 1] = number;
    f->next = *bucket_of(w, number);
    *bucket_of(w, number) = f;
    kva_lru_insert(&w->lru, &f->block->lru);
    return f;
}

static void
file_forget(struct walk *w, struct file *f)
{
    struct file **at = bucket_of(w, f->number);

    while (*at != f) {
        at = &(*at)->next;
    }
    *at = f->next;
    file_free(w, f);
}

/* ---- what the LRU asks ------------------------------------------------- */

static bool
file_trylock(void *arg, struct kva_lru_object *object)
{
    struct file *f = KVA_CONTAINER(object, struct file, object);

    (void)arg;
    return !f->locked;
}

static void
file_unlock(void *arg, struct kva_lru_object *object)
{
    (void)arg; /* one thread: the lock is a word that the walk sets */
    (void)object;
}

static size_t
block_release(void *arg, struct kva_lru_page *page)
{
    file_forget(arg, KVA_CONTAINER(page, struct block, lru)->file);
    return P;
}

/* ---- the walk ---------------------------------------------------------- */

static void
note_pages(struct walk *w)
{
    struct kva_posix_stats st;

    kva_posix_stats_get(&st);
    if (st.frames + st.meta_pages > w->pages_max) {
        w->pages_max = st.frames + st.meta_pages;
    }
}

static struct file *
lookup(struct walk *w, uint64_t number)
{
    struct file *f = *bucket_of(w, number);

    w->lookups++;
    while (f != NULL && f->number != number) {
        f = f->next;
    }
    if (f == NULL) {
        f = file_read(w, number);
        w->failures += f == NULL;
        note_pages(w);
        return f;
    }
    if (f->block->page[0] != number || f->block->page[P / 8 - 1] != number) {
        w->wrong++;
    }
    kva_lru_touch(&w->lru, &f->block->lru);
    return f;
}

/* The file of that name in a directory: any number is one. */
static uint64_t
child(uint64_t directory, uint64_t name)
{
    uint64_t state = directory ^ (name * 0x9e3779b97f4a7c15u);

    return experiment_random(&state);
}

/* Now and then go on in another directory: up to some level, and down from
 * there by other names. */
static void
walk_turn(struct walk *w)
{
    size_t level = 1 + experiment_below(&w->random, DEPTH_MAX - 1);

    if (experiment_below(&w->random, TURN_EVERY) != 0) {
        return;
    }
    for (; level < DEPTH_MAX; level++) {
        w->path[level] =
            child(w->path[level - 1], experiment_random(&w->random));
    }
}

/* A path, from the root down, and a name; each directory is locked until the
 * next one is had.  Ends early if a lookup fails. */
static void
walk_path(struct walk *w)
{
    size_t depth = 1 + experiment_below(&w->random, DEPTH_MAX);
    uint64_t r = experiment_random(&w->random);
    uint64_t name = r % 4 != 0 ? (r >> 8) % FAMILIAR : r >> 8;
    struct file *at = lookup(w, w->path[0]), *next;

    for (size_t i = 1; at != NULL && i <= depth; i++) {
        at->locked = true;
        next = lookup(w, i < depth ? w->path[i] : child(at->number, name));
        at->locked = false;
        at = next;
    }
}

/* ---- before and after -------------------------------------------------- */

/*
 * Levels are entered where they are by default, and left lower: 3 points of so
 * few pages are 4 pages, for which a pass is much work.  With 15 it takes a
 * quarter of the time.
 */
static const unsigned enter[KVA_PRESSURES] = { 0, KVA_PRESSURE_LOW_PERCENT,
                                               KVA_PRESSURE_MEDIUM_PERCENT,
                                               KVA_PRESSURE_OOM_PERCENT };
static const unsigned leave[KVA_PRESSURES] = { 0, 70, 75, 94 };

static bool
walk_up(struct walk *w, bool reclaims, uint64_t seed)
{
    struct kva_posix_config config = { .va_bytes = (size_t)32 << 20,
                                       .page_limit = LIMIT_PAGES,
                                       .meta_counts = true,
                                       .cpus = 1 };
    struct kva_boot kb = { .ncpu = 1,
                           .lazy_bytes = 1,
                           .wired_limit = (LIMIT_PAGES - META_PAGES) * P };

    *w = (struct walk){ .lru = { .name = "blocks",
                                 .trylock = file_trylock,
                                 .unlock = file_unlock,
                                 .release = block_release,
                                 .arg = w },
                        .flags = reclaims ? PR_WAITOK : PR_NOWAIT,
                        .random = seed };
    if (!experiment_start(&config, &kb)) {
        return false;
    }
    for (unsigned k = 0; k < KINDS; k++) {
        w->cache[k] = pool_cache_init(kind[k].size, 0, 0, 0, kind[k].name, NULL,
                                      KVA_IPL_NONE, NULL, NULL, NULL);
        if (w->cache[k] == NULL) {
            return experiment_failed("rump", "no memory for a cache");
        }
    }
    if (kva_pressure_configure(enter, leave) != 0) {
        return experiment_failed("rump", "no such levels");
    }
    kva_lru_init(&w->lru);
    w->bucket = kmem_zalloc(BUCKETS * sizeof(*w->bucket), KM_NOSLEEP);
    return w->bucket != NULL ||
           experiment_failed("rump", "no memory for the buckets");
}

static void
walk_down(struct walk *w)
{
    for (unsigned i = 0; i < BUCKETS; i++) {
        while (w->bucket[i] != NULL) {
            kva_lru_remove(&w->lru, &w->bucket[i]->block->lru);
            file_forget(w, w->bucket[i]);
        }
    }
    kmem_free(w->bucket, BUCKETS * sizeof(*w->bucket));
    kva_lru_fini(&w->lru);
    for (unsigned k = 0; k < KINDS; k++) {
        pool_cache_destroy(w->cache[k]);
    }
    experiment_end();
}

static bool
walk(struct walk *w, bool reclaims, uint64_t lookups, uint64_t seed)
{
    if (!walk_up(w, reclaims, seed)) {
        return false;
    }
    note_pages(w);
    while (w->lookups < lookups && w->failures == 0) {
        walk_turn(w);
        walk_path(w);
        while (reclaims && kva_pagedaemon_turn() == 1) {
        }
    }
    walk_down(w);
    return true;
}

static bool
run(struct claims *c, unsigned percent, uint64_t seed)
{
    uint64_t lookups = LOOKUPS * percent / 100;
    struct walk before, after;

    lookups = lookups < LOOKUPS_MIN ? LOOKUPS_MIN : lookups;
    if (!walk(&before, false, lookups, seed) ||
        !walk(&after, true, lookups, seed)) {
        return false;
    }
    claim(c,
          &(struct claim){ "lookups until one fails, or all were made", "",
                           true, (double)before.lookups, (double)after.lookups,
                           CLAIM_AT_LEAST, (double)lookups });
    claim(c, &(struct claim){ "lookups that failed", "", true,
                              (double)before.failures, (double)after.failures,
                              CLAIM_EQUALS, 0 });
    claim(c,
          &(struct claim){ "pages in use at most, metadata too", "pages", true,
                           (double)before.pages_max, (double)after.pages_max,
                           CLAIM_AT_MOST, LIMIT_PAGES });
    claim(c, &(struct claim){ "files read", "", true, (double)before.misses,
                              (double)after.misses, CLAIM_AT_LEAST,
                              (double)lookups / 20 });
    claim(c, &(struct claim){ "cached files that were not what was read", "",
                              true, (double)before.wrong, (double)after.wrong,
                              CLAIM_EQUALS, 0 });
    return true;
}

const struct experiment experiment_rump = {
    "rump", "the metadata of an unbounded file tree within 600 kB", run
};
