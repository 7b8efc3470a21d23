/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Swap over a network.  Source: Linux' mailing list, 2012, "mm: sl[au]b: Add
 * knowledge of PFMEMALLOC reserve pages", of the series "Swap-over-NBD without
 * deadlocking".
 *
 * What it reports: to write a page out over a network takes buffers for packets,
 * and to hear that it was written takes more; when there is no page left, no
 * page can be freed.  So those who do it have a reserve, whose buffers must not
 * end with sockets that do not.  The objection was to its cost: tests in the hot
 * paths of the slab allocators.  What ours cost a hit is nothing, which
 * tests/house/features_off.py shows.
 *
 * What is built: a machine of 8 MiB, metadata included.  An application fills it
 * with pages, all dirty, on an LRU (reclaim/lru.h), and sockets that nobody
 * reads fill up with packets: each takes a head of 256 bytes and data of 2048.
 * Both take all that they can get at any time.  So there are 0 free pages, and
 * no buffers.  Then the application wants as many pages as it has.
 *
 *      pageout --head, data--> network --1 to 3 ms--> answer --head, data-->
 *         ^                                              the page is free
 *         +--- the application takes it, and makes it dirty ---+
 *
 * The pageout is a pass of reclaim in each millisecond of the virtual clock, or
 * later the longer nothing comes of it, that puts pages out, up to 16 at a time.
 * An answer for which there is no packet is sent again after 200 ms.  If no page
 * is written for 10 s it is stuck.
 *
 * Before: no reserve.  After: a reserve of 32 pages, and the pageout's task
 * marked while it works; then the answers, which another thread might take in,
 * say PR_RESERVE.  And, with no reserve of pages, one of objects for each of
 * both caches; then answers come in by interrupts, where no page can be mapped.
 *
 * percent: of the 8 MiB, at least 2 MiB.
 */
#include <stdlib.h>
#include <string.h>

#include "bench/reclaim/experiment.h"
#include "kmem/kmem.h"
#include "pool/pool.h"
#include "reclaim/lru.h"
#include "reclaim/pagedaemon.h"
#include "vmem/reserve.h"
#include "vmem/vmem_store.h"

#define P KVA_PAGE_SIZE
#define MS UINT64_C(1000000)

#define MACHINE_PAGES 2048u
#define MACHINE_PAGES_MIN 512u
/* Of those, what is left to metadata; the rest may be wired. */
#define META_PAGES 96u
#define RESERVE_PAGES 32u

#define HEAD 256u
#define DATA 2048u
#define WINDOW 16u /* pages on their way at a time */
#define ANSWER_MS 3u
#define AGAIN_MS 200u
#define STUCK_MS 10000u

enum reserves {
    NONE,
    OF_PAGES,
    OF_OBJECTS
};

struct packet {
    void *head;
    void *data;
};

/* A page of the application's; what is known of it lies in it. */
struct page {
    struct kva_lru_page lru;
};

/* One that is on its way. */
struct write {
    struct page *page; /* NULL: none */
    struct packet packet;
    uint64_t answer; /* when it comes */
};

static struct machine {
    enum reserves reserves;
    uint64_t random;
    pool_cache_t pages, heads, datas;
    struct kva_lru lru;
    struct kva_lru_object object;
    struct page **page;   /* that the application holds or has on their way */
    struct packet *queue; /* of the sockets that nobody reads */
    size_t npages, nqueue, most;
    struct write write[WINDOW];
    size_t nwrites, written;
    unsigned long lost;   /* answers, for want of a buffer */
    unsigned long leaked; /* that sockets have and are of the reserve */
    size_t used_most;     /* of the reserve, bytes */
} m;

/* ---- packets ------------------------------------------------------------- */

/* Is it in the arena of the reserve? */
static bool
of_reserve(const void *object)
{
    for (vmem_t *vm = kva_vmem_list; vm != NULL; vm = vm->next) {
        if (strcmp(vm->name, "kmem_reserve") == 0) {
            return vmem_contains(vm, (vmem_addr_t)(uintptr_t)object, 1);
        }
    }
    return false;
}

static void
packet_put(const struct packet *packet)
{
    if (packet->head != NULL) {
        pool_cache_put(m.heads, packet->head);
    }
    if (packet->data != NULL) {
        pool_cache_put(m.datas, packet->data);
    }
}

/* Both, or nothing. */
static bool
packet_get(struct packet *packet, int flags)
{
    packet->head = pool_cache_get(m.heads, flags);
    packet->data = packet->head != NULL ? pool_cache_get(m.datas, flags) : NULL;
    if (packet->data == NULL) {
        packet_put(packet);
        return false;
    }
    memset(packet->head, 1, HEAD);
    memset(packet->data, 1, DATA);
    return true;
}

/* Packets for others, up to that many, as long as there is room for any. */
static size_t
sockets_fill(size_t most)
{
    size_t before = m.nqueue;
    struct packet packet;

    while (m.nqueue - before < most && packet_get(&packet, PR_NOWAIT)) {
        m.leaked += of_reserve(packet.head) || of_reserve(packet.data);
        m.queue[m.nqueue++] = packet;
    }
    return m.nqueue - before;
}

/* ---- the application ------------------------------------------------------- */

/* Pages, as many as there are, up to that many; all are dirty at once. */
static size_t
application_fill(size_t most)
{
    size_t n = 0;
    struct page *page;

    while (n < most && (page = pool_cache_get(m.pages, PR_NOWAIT)) != NULL) {
        memset(page, 0, P);
        page->lru.object = &m.object;
        kva_lru_insert(&m.lru, &page->lru);
        m.npages++;
        n++;
    }
    return n;
}

/* ---- the pageout ----------------------------------------------------------- */

static bool
object_trylock(void *arg, struct kva_lru_object *object)
{
    (void)arg;
    (void)object;
    return true;
}

static void
object_unlock(void *arg, struct kva_lru_object *object)
{
    (void)arg;
    (void)object;
}

/* Put it out, if that can be; it is free when the answer comes. */
static size_t
page_out(void *arg, struct kva_lru_page *lru)
{
    struct page *page = KVA_CONTAINER(lru, struct page, lru);
    struct write *w = m.write;
    struct packet packet;

    (void)arg;
    if (m.nwrites == WINDOW || !packet_get(&packet, PR_NOWAIT)) {
        kva_lru_insert(&m.lru, lru);
        return 0;
    }
    while (w->page != NULL) {
        w++;
    }
    *w =
        (struct write){ page, packet,
                        kva_port_clock() +
                            (1 + experiment_below(&m.random, ANSWER_MS)) * MS };
    m.nwrites++;
    return 0;
}

/* An answer came, which takes a packet of its own for a moment. */
static void
answer(void *arg)
{
    struct write *w = arg;
    struct packet packet;

    if (!packet_get(&packet, m.reserves == NONE
                                 ? (int)PR_NOWAIT
                                 : (int)(PR_NOWAIT | PR_RESERVE))) {
        w->answer += AGAIN_MS * MS;
        m.lost++;
        return;
    }
    packet_put(&packet);
    packet_put(&w->packet);
    w->packet.head = w->packet.data = NULL;
}

static void
answers_take_in(void)
{
    for (struct write *w = m.write; w < m.write + WINDOW; w++) {
        if (w->page == NULL || w->answer > kva_port_clock()) {
            continue;
        }
        if (m.reserves == OF_OBJECTS) {
            kva_posix_interrupt_set(answer, w);
            kva_posix_interrupt();
        } else {
            answer(w);
        }
        if (w->packet.head == NULL) {
            pool_cache_put(m.pages, w->page);
            w->page = NULL;
            m.nwrites--;
            m.npages--;
            m.written++;
        }
    }
}

static void
pageout_turn(void)
{
    size_t work = KVA_PAGEDAEMON_WORK;
    bool marked = m.reserves != NONE && kva_reserve_enter() == 0;
    struct kva_stat st;

    (void)kva_reclaim_pass((WINDOW - m.nwrites) * P, KVA_URGENCY_MEDIUM, &work);
    if (marked) {
        kva_reserve_leave();
    }
    kva_stat(&st);
    m.used_most = st.reserve_used > m.used_most ? st.reserve_used : m.used_most;
}

/* ---- one machine ------------------------------------------------------------- */

static bool
machine_up(enum reserves reserves, size_t pages, uint64_t seed)
{
    struct kva_posix_config config = { .page_limit = pages,
                                       .meta_counts = true,
                                       .cpus = 1 };
    struct kva_boot kb = { .wired_limit = (pages - META_PAGES) * P,
                           .lazy_bytes = 1 };
    /* Answers may come in interrupts. */
    enum kva_ipl ipl = reserves == OF_OBJECTS ? KVA_IPL_VM : KVA_IPL_NONE;

    kb.reserve_bytes = reserves == OF_PAGES ? RESERVE_PAGES * P : 0;
    if (!experiment_start(&config, &kb)) {
        return false;
    }
    kva_posix_clock_virtual(true);
    m = (struct machine){ .reserves = reserves, .random = seed };
    m.most = pages * (P / HEAD);
    m.queue = calloc(m.most, sizeof(*m.queue));
    m.pages = pool_cache_init(P, 0, 0, 0, "pages", NULL, KVA_IPL_NONE, NULL,
                              NULL, NULL);
    m.heads = pool_cache_init(HEAD, 0, 0, 0, "skbuff_head", NULL, ipl, NULL,
                              NULL, NULL);
    m.datas = pool_cache_init(DATA, 0, 0, 0, "skbuff_data", NULL, ipl, NULL,
                              NULL, NULL);
    if (m.queue == NULL || m.pages == NULL || m.heads == NULL ||
        m.datas == NULL) {
        return experiment_failed("pfmemalloc", "no memory");
    }
    /* One for each page on its way, and one for an answer. */
    if (reserves == OF_OBJECTS &&
        (pool_cache_setreserve(m.heads, (int)WINDOW + 1) != 0 ||
         pool_cache_setreserve(m.datas, (int)WINDOW + 1) != 0)) {
        return experiment_failed("pfmemalloc", "no reserve of objects");
    }
    m.lru = (struct kva_lru){ .name = "dirty",
                              .trylock = object_trylock,
                              .unlock = object_unlock,
                              .release = page_out };
    kva_lru_init(&m.lru);
    return true;
}

static void
pages_free(void)
{
    struct kva_lru_page *lru;

    while ((lru = m.lru.cold) != NULL) {
        kva_lru_remove(&m.lru, lru);
        pool_cache_put(m.pages, KVA_CONTAINER(lru, struct page, lru));
    }
}

static void
machine_down(void)
{
    for (struct write *w = m.write; w < m.write + WINDOW; w++) {
        if (w->page != NULL) {
            packet_put(&w->packet);
            pool_cache_put(m.pages, w->page);
        }
    }
    pages_free();
    while (m.nqueue > 0) {
        packet_put(&m.queue[--m.nqueue]);
    }
    free(m.queue);
    kva_lru_fini(&m.lru);
    pool_cache_destroy(m.pages);
    pool_cache_destroy(m.heads);
    pool_cache_destroy(m.datas);
    kva_posix_interrupt_set(NULL, NULL);
    kva_posix_clock_virtual(false);
    experiment_end();
}

/* Until there is nothing that anybody could have; what the application has. */
static size_t
fill(size_t pages)
{
    size_t n;

    /* The sockets first, with an eighth, or the application leaves them none. */
    (void)sockets_fill(pages / 8 * P / (HEAD + DATA));
    do {
        n = application_fill(SIZE_MAX) + sockets_fill(SIZE_MAX);
        (void)pool_cache_reclaim(m.pages);
        (void)pool_cache_reclaim(m.heads);
        (void)pool_cache_reclaim(m.datas);
        (void)vmem_drain(kmem_arena, SIZE_MAX, 0);
    } while (n != 0);
    return m.npages;
}

struct outcome {
    size_t asked, written;
    double seconds;
    unsigned long lost, leaked;
    size_t used_most, used_after;
    bool ordinary; /* somebody ordinary found a page at the start */
};

/* Turns until all is written that was asked for, or nothing moves. */
static void
swap_out(struct outcome *o)
{
    uint64_t start = kva_port_clock(), moved = start, step = MS;
    size_t written = 0;

    while (m.written < o->asked && kva_port_clock() - moved < STUCK_MS * MS) {
        kva_posix_clock_advance(step);
        answers_take_in();
        (void)application_fill(o->asked);
        (void)sockets_fill(SIZE_MAX);
        pageout_turn();
        /* It backs off as the pagedaemon does, if nothing is on its way. */
        step = m.nwrites != 0                      ? MS
               : step < KVA_PAGEDAEMON_BACKOFF_MAX ? step * 2
                                                   : step;
        if (m.written != written) {
            written = m.written;
            moved = kva_port_clock();
        }
    }
    o->seconds = (double)(kva_port_clock() - start) / 1e9;
}

static bool
run_machine(enum reserves reserves, size_t pages, uint64_t seed,
            struct outcome *o)
{
    struct kva_stat st;
    vmem_addr_t va;

    if (!machine_up(reserves, pages, seed)) {
        return false;
    }
    *o = (struct outcome){ .asked = fill(pages) };
    if (kva_wired_alloc(P, 0, VM_NOSLEEP, &va) == 0) {
        o->ordinary = true;
        kva_wired_free(va, P);
    }
    swap_out(o);
    o->written = m.written;
    o->lost = m.lost;
    o->leaked = m.leaked;
    o->used_most = m.used_most;
    while (m.nwrites > 0) { /* what is on its way still arrives */
        size_t n = m.nwrites;

        kva_posix_clock_advance(AGAIN_MS * MS);
        answers_take_in();
        if (m.nwrites == n) {
            break;
        }
    }
    kva_stat(&st);
    o->used_after = st.reserve_used;
    machine_down();
    return true;
}

/* ---- the experiment ------------------------------------------------------------ */

static void
tell(struct claims *c, const struct outcome o[3])
{
    double asked = (double)o[OF_PAGES].asked;

    claim(c, &(struct claim){ "pages of the application, all dirty", "", true,
                              (double)o[NONE].asked, asked, CLAIM_AT_LEAST,
                              MACHINE_PAGES_MIN / 2 });
    claim(c, &(struct claim){ "pages found by others, before it begins", "",
                              false, 0,
                              o[NONE].ordinary + o[OF_PAGES].ordinary +
                                  o[OF_OBJECTS].ordinary,
                              CLAIM_EQUALS, 0 });
    claim(c,
          &(struct claim){ "pages put out, reserve of pages", "", true,
                           (double)o[NONE].written, (double)o[OF_PAGES].written,
                           CLAIM_AT_LEAST, asked });
    claim(c, &(struct claim){ "pages put out, reserve of objects", "", true,
                              (double)o[NONE].written,
                              (double)o[OF_OBJECTS].written, CLAIM_AT_LEAST,
                              (double)o[OF_OBJECTS].asked });
    claim(c, &(struct claim){ "seconds until done, or stuck, of pages", "s",
                              true, o[NONE].seconds, o[OF_PAGES].seconds,
                              CLAIM_SHOWN, 0 });
    claim(c, &(struct claim){ "seconds until done, or stuck, of objects", "s",
                              true, o[NONE].seconds, o[OF_OBJECTS].seconds,
                              CLAIM_SHOWN, 0 });
    claim(c, &(struct claim){ "without reserves none is put out", "", false, 0,
                              (double)o[NONE].written, CLAIM_EQUALS, 0 });
    claim(c, &(struct claim){
                 "packets of the reserve with other sockets", "", false, 0,
                 (double)(o[OF_PAGES].leaked + o[OF_OBJECTS].leaked),
                 CLAIM_EQUALS, 0 });
    claim(c, &(struct claim){ "answers lost for want of a buffer", "", false, 0,
                              (double)(o[OF_PAGES].lost + o[OF_OBJECTS].lost),
                              CLAIM_EQUALS, 0 });
    claim(c,
          &(struct claim){ "most of the reserve of pages in use", "kB", false,
                           0, (double)o[OF_PAGES].used_most / 1024,
                           CLAIM_AT_MOST, RESERVE_PAGES * (double)P / 1024 });
    claim(c, &(struct claim){ "of it in use at the end", "kB", false, 0,
                              (double)o[OF_PAGES].used_after / 1024,
                              CLAIM_EQUALS, 0 });
}

static bool
run(struct claims *c, unsigned percent, uint64_t seed)
{
    size_t pages = (size_t)MACHINE_PAGES * percent / 100;
    struct outcome o[3];

    pages = pages < MACHINE_PAGES_MIN ? MACHINE_PAGES_MIN : pages;
    for (unsigned i = NONE; i <= OF_OBJECTS; i++) {
        if (!run_machine((enum reserves)i, pages, seed, &o[i])) {
            return false;
        }
    }
    tell(c, o);
    return true;
}

const struct experiment experiment_pfmemalloc = {
    "pfmemalloc", "swap over a network at 0 free pages", run
};
