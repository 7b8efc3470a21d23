/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pagedaemon, wired as docs/pagedaemon.md says.  A machine of 2 MiB reads files
 * of 8 MiB through a page cache.  Beside it there are buffers in chunks, which a
 * client is asked for, and names, of which a floor stays.  Requests sleep, and
 * nobody has to know who gives something back.
 */
#include <pthread.h>
#include <stdio.h>

#include "kmem/kmem.h"
#include "posix.h"
#include "reclaim/lru.h"
#include "reclaim/pagedaemon.h"
#include "reclaim/shrinker.h"

#define P KVA_PAGE_SIZE
#define LIMIT ((size_t)2 << 20)

/* ---- the page cache: files, and an LRU of their pages -------------------- */

#define FILES 4u
#define FILE_PAGES ((size_t)(2u << 20) / P)

struct page {
    struct kva_lru_page lru; /* first */
    char *data;              /* NULL: not in memory */
};

struct file {
    struct kva_lru_object lru; /* first */
    pthread_mutex_t lock;
    struct page page[FILE_PAGES];
};

static struct file file[FILES];

static bool
file_trylock(void *arg, struct kva_lru_object *object)
{
    (void)arg;
    return pthread_mutex_trylock(&((struct file *)object)->lock) == 0;
}

static void
file_unlock(void *arg, struct kva_lru_object *object)
{
    (void)arg;
    (void)pthread_mutex_unlock(&((struct file *)object)->lock);
}

/* Its file is locked.  A dirty page would be put out here, and 0 returned. */
static size_t
page_release(void *arg, struct kva_lru_page *lru_page)
{
    struct page *page = (struct page *)lru_page;

    (void)arg;
    kmem_free(page->data, P);
    page->data = NULL;
    return P;
}

static struct kva_lru pages = { .name = "pages",
                                .trylock = file_trylock,
                                .unlock = file_unlock,
                                .release = page_release,
                                .share = 50 };

/* The file is not locked while it waits for memory, or its own pages could not
 * be had.  Nobody else reads here, or page->data would be looked at again. */
static bool
page_read(struct file *f, size_t n)
{
    struct page *page = &f->page[n];
    char *data = kmem_alloc(P, KM_SLEEP);

    if (data == NULL) {
        return false;
    }
    data[0] = 1; /* from the disk */
    (void)pthread_mutex_lock(&f->lock);
    page->lru.object = &f->lru;
    page->data = data;
    kva_lru_insert(&pages, &page->lru);
    (void)pthread_mutex_unlock(&f->lock);
    return true;
}

static void
file_forget(struct file *f)
{
    (void)pthread_mutex_lock(&f->lock);
    for (size_t n = 0; n < FILE_PAGES; n++) {
        kva_lru_remove(&pages, &f->page[n].lru);
        if (f->page[n].data != NULL) {
            (void)page_release(NULL, &f->page[n].lru);
        }
    }
    (void)pthread_mutex_unlock(&f->lock);
}

/* ---- buffers: a client that is asked for chunks --------------------------- */

#define CHUNK ((size_t)16 << 10)
#define CHUNKS 8u

static struct {
    void *chunk[CHUNKS];
    size_t n;
} buffers;

static void
buffers_request(void *arg, size_t chunks)
{
    struct kva_shrinker *sh = arg;

    (void)chunks; /* and those of before that it did not take */
    for (size_t n = kva_shrinker_take(sh); n > 0; n--) {
        kmem_free(buffers.chunk[--buffers.n], CHUNK);
    }
}

static struct kva_shrinker shrinker = { .name = "buffers",
                                        .chunk = CHUNK,
                                        .request = buffers_request,
                                        .arg = &shrinker };

/* ---- names: a cleaner, and its floor -------------------------------------- */

#define NAME 256u
#define NAMES 256u
#define FLOOR 64u

static struct {
    char *name[NAMES];
    size_t n;
    bool below; /* the floor, and there was memory yet */
} names;

static size_t
names_clean(void *arg, struct kva_want *want)
{
    size_t freed = 0;

    (void)arg;
    while (freed < want->bytes && want->work > 0 && names.n > 0 &&
           (names.n - 1) * NAME >= want->retain) {
        kmem_free(names.name[--names.n], NAME);
        freed += NAME;
        want->work--;
    }
    names.below |=
        freed != 0 && names.n < FLOOR && want->urgency < KVA_URGENCY_OOM;
    return freed; /* what came back the supply counts */
}

static struct kva_cleaner cleaner = { .name = "names",
                                      .clean = names_clean,
                                      .stage = KVA_STAGE_CLIENTS,
                                      .retain = FLOOR * NAME };

/* ---- who wants to know ---------------------------------------------------- */

static unsigned told;

static void
hear(void *arg, enum kva_pressure level)
{
    (void)arg;
    told += level >= KVA_PRESSURE_LOW;
}

static struct kva_pressure_listener listener = { .fn = hear };

/* ---- the machine ---------------------------------------------------------- */

static bool
machine_start(void)
{
    struct kva_boot kb = { .wired_limit = LIMIT };

    if (kva_posix_init(NULL) != 0) {
        return false;
    }
    kb.va_base = kva_posix_va_base();
    kb.va_bytes = kva_posix_va_bytes();
    if (kva_boot(&kb) != 0 || kva_start() != 0) { /* the first of two calls */
        return false;
    }
    kmem_init();
    return true;
}

static void *
daemon_thread(void *arg)
{
    (void)arg;
    kva_pagedaemon(); /* the second */
    return NULL;
}

/* Who stops it sees it turn first. */
static bool
daemon_start(pthread_t *thread)
{
    struct kva_pagedaemon_stat st;

    if (pthread_create(thread, NULL, daemon_thread, NULL) != 0) {
        return false;
    }
    do {
        kva_pagedaemon_stat(&st);
    } while (st.turns == 0);
    return true;
}

static void
clients_start(void)
{
    for (unsigned i = 0; i < FILES; i++) {
        (void)pthread_mutex_init(&file[i].lock, NULL);
    }
    while (buffers.n < CHUNKS) {
        buffers.chunk[buffers.n++] = kmem_alloc(CHUNK, KM_SLEEP);
    }
    while (names.n < NAMES) {
        names.name[names.n++] = kmem_alloc(NAME, KM_SLEEP);
    }
    kva_lru_init(&pages);
    kva_shrinker_register(&shrinker);
    kva_shrinker_add(&shrinker, buffers.n);
    kva_reclaim_register(&cleaner);
    kva_pressure_listen(&listener);
}

static void
clients_end(void)
{
    for (unsigned i = 0; i < FILES; i++) {
        file_forget(&file[i]);
    }
    kva_pressure_unlisten(&listener);
    kva_reclaim_unregister(&cleaner);
    kva_shrinker_unregister(&shrinker);
    kva_shrinker_fini(&shrinker);
    kva_lru_fini(&pages);
    while (buffers.n > 0) {
        kmem_free(buffers.chunk[--buffers.n], CHUNK);
    }
    while (names.n > 0) {
        kmem_free(names.name[--names.n], NAME);
    }
}

static void
say(const char *what, bool is_so)
{
    printf("%s: %s\n", what, is_so ? "yes" : "no");
}

int
main(void)
{
    struct kva_pagedaemon_stat st;
    struct kva_stat ks;
    size_t read = 0, held, asked;
    pthread_t thread;

    if (!machine_start() || !daemon_start(&thread)) {
        return 1;
    }
    clients_start();
    for (size_t i = 0; i < FILES * FILE_PAGES; i++) {
        read += page_read(&file[i / FILE_PAGES], i % FILE_PAGES);
    }
    kva_pagedaemon_stop();
    (void)pthread_join(thread, NULL);

    kva_stat(&ks);
    kva_pagedaemon_stat(&st);
    kva_shrinker_count(&shrinker, &held, &asked);
    printf("read: %zu of 8192 KiB\n", read * (P / 1024));
    printf("refused: %lu\n", st.refused);
    say("within 2048 KiB at all times", ks.wired_max <= LIMIT);
    say("passes were made", st.passes != 0);
    say("pressure was told", told != 0);
    say("chunks: both sides count the same", held + asked == buffers.n);
    say("names: the floor stayed while it could", !names.below);

    clients_end();
    kva_kmem_fini();
    (void)kva_pool_drain_all();
    kva_shutdown();
    kva_posix_fini();
    return 0;
}
