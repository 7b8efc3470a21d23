/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pagedaemon.
 *
 * Claims: it begins when the medium level is entered, and stops where that is
 * left; it stops as soon as enough is free, and frees what a waiter wants; when
 * nothing comes back it says so once, waits longer each time, and in the end
 * those who wait are refused, but not before everything was looked at; whoever
 * waits has it woken, whatever he lacks, has no more given back than he wants, and
 * makes no long passes himself; and as a thread it keeps a load below its limit
 * that without it would fail.
 */
#include <pthread.h>
#include <string.h>

#include "kmem/kmem.h"
#include "reclaim/pagedaemon.h"
#include "tests/unit/tower.h"

#if KVA_TIER >= 3

#define P KVA_PAGE_SIZE
#define LIMIT (256 * P)
#define MS ((uint64_t)1000000u)

/* Somebody who holds pages of kmem_arena and gives them back when asked. */
struct hoard {
    struct kva_cleaner cleaner;
    vmem_addr_t page[512];
    unsigned n;
    unsigned calls;
    enum kva_urgency urgency; /* of the last call */
    unsigned beside;          /* the daemon's turns while it is called */
    bool miser;               /* gives nothing; set by other threads too */
};

static size_t
hoard_clean(void *arg, struct kva_want *want)
{
    struct hoard *h = arg;
    size_t done = 0;

    h->calls++;
    h->urgency = want->urgency;
    for (unsigned n = h->beside; n > 0; n--) {
        kva_posix_clock_advance(1000 * MS);
        (void)kva_pagedaemon_turn();
    }
    while (!__atomic_load_n(&h->miser, __ATOMIC_RELAXED) &&
           done < want->bytes && h->n > 0) {
        vmem_xfree(kmem_arena, h->page[--h->n], P);
        done += P;
    }
    return done;
}

static void
start(size_t limit)
{
    struct kva_posix_config config = { .va_bytes = (size_t)256 << 20 };
    struct kva_boot boot = { .wired_limit = limit };

    PORT(&config);
    kva_posix_clock_virtual(true);
    kva_posix_clock_advance(1000 * MS);
    boot.va_base = kva_posix_va_base();
    boot.va_bytes = kva_posix_va_bytes();
    CHECK_EQ(kva_boot(&boot), 0);
    CHECK_EQ(kva_start(), 0);
}

static void
hoard_add(struct hoard *h)
{
    *h = (struct hoard){ .cleaner = { .clean = hoard_clean,
                                      .arg = h,
                                      .name = "hoard",
                                      .stage = KVA_STAGE_CLIENTS } };
    kva_reclaim_register(&h->cleaner);
}

/* Take until so many are in use. */
static void
hoard_up_to(struct hoard *h, size_t bytes)
{
    struct kva_stat st;

    for (;;) {
        kva_stat(&st);
        if (st.wired_bytes >= bytes) {
            return;
        }
        CHECK_EQ(vmem_xalloc(kmem_arena, P, 0, 0, 0, VMEM_ADDR_MIN,
                             VMEM_ADDR_MAX, VM_NOSLEEP, &h->page[h->n++]),
                 0);
    }
}

static void
hoard_all(struct hoard *h, vmem_t *vm)
{
    while (vmem_xalloc(vm, P, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX, VM_NOSLEEP,
                       &h->page[h->n]) == 0) {
        h->n++;
        CHECK_LT(h->n, KVA_COUNT(h->page));
    }
}

/* All there is is held by somebody who gives nothing. */
static void
start_with_miser(struct hoard *h)
{
    start(LIMIT);
    hoard_add(h);
    hoard_up_to(h, LIMIT);
    h->miser = true;
}

/* No limit, so no level and no refusal that the daemon is told of: the port has no
 * frames left. */
static void
start_without_frames(struct hoard *h)
{
    start(0);
    hoard_add(h);
    kva_posix_limit_set(256, 0);
    hoard_all(h, kmem_arena);
}

static void
hoard_end(struct hoard *h)
{
    while (h->n > 0) {
        vmem_xfree(kmem_arena, h->page[--h->n], P);
    }
    kva_reclaim_unregister(&h->cleaner);
}

static void
end(void)
{
    kva_shutdown();
    kva_posix_clock_virtual(false);
}

static size_t
wired(void)
{
    struct kva_stat st;

    kva_stat(&st);
    return st.wired_bytes;
}

/* Turns until it sleeps. */
static uint64_t
turns(void)
{
    uint64_t ns;

    do {
        ns = kva_pagedaemon_turn();
    } while (ns == 1);
    return ns;
}

static void
from_level_to_level(struct test_ctx *t)
{
    struct hoard h;

    (void)t;
    start(LIMIT);
    hoard_add(&h);
    hoard_up_to(&h, LIMIT / 100 * 89);
    CHECK_EQ(turns(), 0);
    CHECK_EQ(h.calls, 0); /* it is not entered */
    hoard_up_to(&h, LIMIT / 10 * 9 + P);
    (void)turns();
    CHECK(h.calls > 0);
    CHECK_LT(wired(), LIMIT / 100 * 87 + P);      /* left, */
    CHECK_GE(wired(), LIMIT / 100 * 87 - 17 * P); /* and no more than a span */
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_LOW);
    hoard_end(&h);
    end();
}

/* It goes on until the level is left, which is below the bound and not at it; and
 * says how many passes that took. */
static void
until_the_level_is_left(struct test_ctx *t)
{
    struct kva_pagedaemon_stat before, after;
    struct hoard h;

    (void)t;
    start(100 * P);
    hoard_add(&h);
    hoard_up_to(&h, 90 * P);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_MEDIUM);
    kva_pagedaemon_stat(&before);
    (void)turns();
    kva_pagedaemon_stat(&after);
    CHECK_EQ(kva_pressure(), KVA_PRESSURE_LOW);
    CHECK_EQ(wired(), 86 * P);
    CHECK_GE(after.passes - before.passes, 1);
    hoard_end(&h);
    end();
}

/* Who is about to sleep for it does not. */
static void
do_not_sleep(void *arg, const void *channel)
{
    (void)arg;
    (void)channel;
    (void)kva_posix_cancel_waits();
}

static enum kva_urgency urgency[8];

static size_t
note_urgency(void *arg, struct kva_want *want)
{
    struct hoard *h = arg;

    CHECK_LT(h->calls, KVA_COUNT(urgency));
    urgency[h->calls++] = want->urgency;
    return 0;
}

/* Who waits asks as one who waits, and again when he is in the queue; and as if
 * there were no other way only when that did not do. */
static void
urgency_rises(struct test_ctx *t)
{
    static const enum kva_urgency expected[] = { KVA_URGENCY_MEDIUM,
                                                 KVA_URGENCY_MEDIUM,
                                                 KVA_URGENCY_OOM };
    vmem_addr_t addr;
    struct hoard h;

    (void)t;
    start_with_miser(&h);
    h.cleaner.clean = note_urgency;
    h.calls = 0;
    kva_posix_wait_hook(do_not_sleep, NULL);
    CHECK_EQ(vmem_xalloc(kmem_arena, P, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                         VM_SLEEP, &addr),
             KVA_EINTR);
    kva_posix_wait_hook(NULL, NULL);
    CHECK_EQ(h.calls, KVA_COUNT(expected));
    for (unsigned i = 0; i < KVA_COUNT(expected); i++) {
        CHECK_EQ(urgency[i], expected[i]);
    }
    hoard_end(&h);
    end();
}

static struct hoard *hoarder;
static unsigned hooked;

/* The waiter is about to sleep: the daemon has its turns. */
static void
turn_from_hook(void *arg, const void *channel)
{
    (void)arg;
    (void)channel;
    hooked++;
    if (hoarder != NULL) {
        hoarder->miser = false;
    }
    for (unsigned i = 0; i < KVA_PAGEDAEMON_PATIENCE; i++) {
        kva_posix_clock_advance(1000 * MS);
        (void)kva_pagedaemon_turn();
    }
}

static void
for_a_waiter(struct test_ctx *t)
{
    vmem_addr_t addr;
    struct hoard h;
    unsigned had;

    (void)t;
    start_with_miser(&h); /* for direct reclaim; the daemon has more luck */
    had = h.n;
    hoarder = &h;
    hooked = 0;
    kva_posix_wait_hook(turn_from_hook, NULL);
    CHECK_EQ(vmem_xalloc(kmem_arena, 8 * P, 0, 0, 0, VMEM_ADDR_MIN,
                         VMEM_ADDR_MAX, VM_SLEEP, &addr),
             0);
    kva_posix_wait_hook(NULL, NULL);
    CHECK_GE(hooked, 1);
    CHECK(h.n < had);
    vmem_xfree(kmem_arena, addr, 8 * P);
    hoard_end(&h);
    end();
}

/* What it gives first is of no use: there are no frames until it is asked again. */
static size_t
give_for_nothing(void *arg, struct kva_want *want)
{
    struct hoard *h = arg;

    if (h->calls == 0) {
        kva_posix_fault_arm(KVA_POSIX_PAGE_GET, 1, true);
    } else {
        kva_posix_fault_disarm(KVA_POSIX_PAGE_GET);
    }
    return hoard_clean(h, want);
}

/*
 * Whoever has reclaimed what he wants and was not served queues up, and reclaims
 * as much again, and then twice as much: not all that others hold.  A span each
 * time beside that.
 */
static void
waiters_take_in_proportion(struct test_ctx *t)
{
    vmem_addr_t addr;
    struct hoard h;
    unsigned had;

    (void)t;
    start(LIMIT);
    hoard_add(&h);
    h.cleaner.clean = give_for_nothing;
    hoard_up_to(&h, LIMIT);
    had = h.n;
    CHECK_EQ(vmem_xalloc(kmem_arena, 8 * P, 0, 0, 0, VMEM_ADDR_MIN,
                         VMEM_ADDR_MAX, VM_SLEEP, &addr),
             0);
    CHECK_GT(kva_posix_fault_fired(KVA_POSIX_PAGE_GET), 0);
    kva_posix_fault_reset();
    CHECK_GE(h.calls, 2);
    CHECK_GE(h.n + 2 * (8 + 16), had);
    vmem_xfree(kmem_arena, addr, 8 * P);
    hoard_end(&h);
    end();
}

static size_t wants[16]; /* of a pass each, as it comes to a hoard first */
static unsigned nwants;
static unsigned long passes;

static size_t
note_wants(void *arg, struct kva_want *want)
{
    struct kva_reclaim_stat st;

    kva_reclaim_stat(&st);
    if (nwants == 0 || st.passes != passes) {
        CHECK_LT(nwants, KVA_COUNT(wants));
        wants[nwants++] = want->bytes;
        passes = st.passes;
    }
    return hoard_clean(arg, want);
}

/* If what comes back never does, it is twice as much that is asked for each time
 * that he tried in the queue, and no more. */
static void
waiters_ask_for_more_each_time(struct test_ctx *t)
{
    vmem_addr_t addr;
    struct hoard h;

    (void)t;
    start(LIMIT);
    hoard_add(&h);
    h.cleaner.clean = note_wants;
    hoard_up_to(&h, LIMIT);
    nwants = 0;
    kva_posix_fault_arm(KVA_POSIX_PAGE_GET, 1, true);
    kva_posix_wait_hook(do_not_sleep, NULL);
    CHECK_EQ(vmem_xalloc(kmem_arena, 8 * P, 0, 0, 0, VMEM_ADDR_MIN,
                         VMEM_ADDR_MAX, VM_SLEEP, &addr),
             KVA_EINTR);
    kva_posix_wait_hook(NULL, NULL);
    kva_posix_fault_reset();
    CHECK_GE(nwants, 5);
    CHECK_EQ(wants[0], 8 * P);
    for (unsigned i = 1; i < 5; i++) {
        CHECK_EQ(wants[i], (8 * P) << (i - 1));
    }
    hoard_end(&h);
    end();
}

/* What no free makes possible is refused at once, with no pagedaemon that would
 * say so: there is nobody who would wake a sleeper. */
static void
more_than_the_limit_is_not_waited_for(struct test_ctx *t)
{
    vmem_addr_t addr;

    (void)t;
    start(LIMIT);
    CHECK_EQ(vmem_xalloc(kmem_arena, LIMIT + P, 0, 0, 0, VMEM_ADDR_MIN,
                         VMEM_ADDR_MAX, VM_SLEEP, &addr),
             KVA_ENOMEM);
    CHECK_EQ(vmem_alloc(kmem_arena, LIMIT + P, VM_SLEEP | VM_INSTANTFIT, &addr),
             KVA_ENOMEM);
    CHECK_PTR(kmem_alloc(LIMIT + P, KM_SLEEP), NULL);
    CHECK_EQ(vmem_alloc(kmem_arena, LIMIT, VM_SLEEP | VM_INSTANTFIT, &addr), 0);
    vmem_free(kmem_arena, addr, LIMIT);
    end();
}

/* Lines that say that nothing comes back. */
static void
count_stuck(void *arg, const char *msg)
{
    *(unsigned *)arg += strstr(msg, "bytes wanted, none came back") != NULL;
}

static void
no_hang(struct test_ctx *t)
{
    unsigned said = 0;
    struct kva_pagedaemon_stat before, after;
    uint64_t pause = KVA_PAGEDAEMON_BACKOFF;
    vmem_addr_t addr;
    struct hoard h;

    (void)t;
    start_with_miser(&h);
    kva_pagedaemon_stat(&before);
    kva_posix_log_set(count_stuck, &said);
    for (unsigned i = 0; i < 5; i++) {
        CHECK_EQ(turns(), pause); /* each time twice as long */
        CHECK_EQ(h.urgency, KVA_URGENCY_OOM);
        kva_posix_clock_advance(pause);
        pause *= 2;
    }
    kva_posix_log_set(NULL, NULL);
    CHECK_EQ(said, 1);
    kva_pagedaemon_stat(&after);
    CHECK_EQ(after.stuck - before.stuck, 1);
    CHECK_EQ(after.in_vain, 5);
    hoarder = NULL;
    hooked = 0;
    kva_posix_wait_hook(turn_from_hook, NULL);
    CHECK_EQ(vmem_xalloc(kmem_arena, P, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                         VM_SLEEP, &addr),
             KVA_ENOMEM); /* refused, as nobody gives anything */
    kva_posix_wait_hook(NULL, NULL);
    CHECK_GE(hooked, 1);
    kva_pagedaemon_stat(&after);
    CHECK_EQ(after.refused - before.refused, 1);
    h.miser = false;
    kva_posix_clock_advance(1000 * MS);
    (void)turns();
    kva_pagedaemon_stat(&after);
    CHECK_EQ(after.in_vain, 0);
    hoard_end(&h);
    end();
}

/*
 * Each request that fails wakes the daemon.  However many do, it makes no pass
 * before its pause is over; and nobody is refused who has just come, though
 * passes were in vain for long.
 */
static void
woken_early(void *arg, const void *channel)
{
    struct hoard *h = arg;
    unsigned calls = h->calls;
    uint64_t pause;

    (void)channel;
    hooked++;
    CHECK_GT(kva_pagedaemon_turn(), 1);
    for (unsigned i = 0; i < 100; i++) {
        CHECK_GT(kva_pagedaemon_turn(), 1);
    }
    CHECK_EQ(h->calls, calls); /* in the pause of the one before */
    for (unsigned i = 1; i < KVA_PAGEDAEMON_PATIENCE; i++) {
        kva_posix_clock_advance(1000 * MS);
        pause = kva_pagedaemon_turn();
        CHECK_EQ(pause, KVA_PAGEDAEMON_BACKOFF_MAX);
    }
    h->miser = false; /* in time */
    kva_posix_clock_advance(1000 * MS);
    CHECK_EQ(kva_pagedaemon_turn(), 1);
}

static void
pauses_are_kept(struct test_ctx *t)
{
    struct kva_pagedaemon_stat before, after;
    vmem_addr_t addr;
    struct hoard h;

    (void)t;
    start_with_miser(&h);
    for (unsigned i = 0; i < 3 * KVA_PAGEDAEMON_PATIENCE; i++) {
        kva_posix_clock_advance(1000 * MS);
        (void)kva_pagedaemon_turn();
    }
    kva_pagedaemon_stat(&before);
    CHECK_GE(before.in_vain, 3 * KVA_PAGEDAEMON_PATIENCE);
    hooked = 0;
    kva_posix_wait_hook(woken_early, &h);
    CHECK_EQ(vmem_xalloc(kmem_arena, P, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                         VM_SLEEP, &addr),
             0);
    kva_posix_wait_hook(NULL, NULL);
    CHECK_EQ(hooked, 1);
    kva_pagedaemon_stat(&after);
    CHECK_EQ(after.refused, before.refused);
    vmem_xfree(kmem_arena, addr, P);
    hoard_end(&h);
    end();
}

/* What a machine that was had in vain keeps the next one waiting for nothing. */
static void
machines_begin_anew(struct test_ctx *t)
{
    struct kva_pagedaemon_stat st;
    struct hoard h;

    (void)t;
    start_with_miser(&h);
    kva_posix_clock_advance(100000 * MS);
    for (unsigned i = 0; i < KVA_PAGEDAEMON_PATIENCE; i++) {
        (void)turns();
        kva_posix_clock_advance(1000 * MS);
    }
    hoard_end(&h);
    end();
    kva_posix_fini();
    start_with_miser(&h);
    CHECK(!kva__pagedaemon_attended());
    kva_pagedaemon_stat(&st);
    CHECK_EQ(st.in_vain, 0);
    CHECK_EQ(turns(), KVA_PAGEDAEMON_BACKOFF); /* a pass, the first in vain */
    CHECK_GT(h.calls, 0);
    kva_pagedaemon_stat(&st);
    CHECK_EQ(st.in_vain, 1);
    hoard_end(&h);
    end();
}

/* Passes, each behind the pause of the one before. */
static void
four_in_vain(void)
{
    uint64_t pause = 0;

    for (unsigned i = 0; i < 4; i++) {
        kva_posix_clock_advance(pause);
        pause = turns();
    }
    CHECK_EQ(pause, 8 * KVA_PAGEDAEMON_BACKOFF);
}

/* What comes back beside the passes ends their pause, but for the first 10 ms of
 * it, and begins the count anew. */
static void
what_comes_ends_the_pause(struct test_ctx *t)
{
    struct kva_pagedaemon_stat st;
    unsigned calls;
    struct hoard h;

    (void)t;
    start_with_miser(&h);
    four_in_vain();
    calls = h.calls;
    vmem_xfree(kmem_arena, h.page[--h.n], P);
    (void)kva_unmap_flush();
    CHECK_EQ(kva_pagedaemon_turn(), KVA_PAGEDAEMON_BACKOFF);
    CHECK_EQ(h.calls, calls);
    kva_pagedaemon_stat(&st);
    CHECK_EQ(st.in_vain, 0);
    kva_posix_clock_advance(KVA_PAGEDAEMON_BACKOFF);
    CHECK_EQ(turns(), KVA_PAGEDAEMON_BACKOFF);
    CHECK_GT(h.calls, calls);
    kva_pagedaemon_stat(&st);
    CHECK_EQ(st.in_vain, 1);
    hoard_end(&h);
    end();
}

/* For who sleeps, and then his time is up. */
static void
four_and_his_time(void *arg, const void *channel)
{
    (void)arg;
    (void)channel;
    four_in_vain();
    kva_posix_clock_advance(KVA_PAGEDAEMON_BACKOFF);
}

/* When nobody wants anything any more, that ends what was in vain: whoever comes
 * next has a pass made at once. */
static void
who_leaves_takes_his_count_along(struct test_ctx *t)
{
    struct vmem_request rq = { .size = P,
                               .maxaddr = VMEM_ADDR_MAX,
                               .flags = VM_SLEEP };
    struct kva_pagedaemon_stat st;
    vmem_addr_t addr;
    struct hoard h;

    (void)t;
    start_without_frames(&h);
    h.miser = true;
    for (unsigned i = 0; i < 2; i++) {
        kva_posix_wait_hook(four_and_his_time, NULL);
        CHECK_EQ(vmem_xalloc_timed(kmem_arena, &rq, 80 * MS, NULL, &addr),
                 KVA_ETIMEDOUT);
        kva_posix_wait_hook(NULL, NULL);
        CHECK_EQ(kva_pagedaemon_turn(), 0);
        kva_pagedaemon_stat(&st);
        CHECK_EQ(st.in_vain, 0);
    }
    hoard_end(&h);
    end();
}

/* ---- what it is woken for, and by whom it ends ---------------------------- */

static void
level_told(void *arg, enum kva_pressure level)
{
    *(unsigned *)arg += level == KVA_PRESSURE_OOM;
}

/* An event that was put off is told when it is due, in the pause between passes,
 * too. */
static void
events_are_told_in_time(struct test_ctx *t)
{
    unsigned told = 0;
    struct kva_pressure_listener l = { .fn = level_told, .arg = &told };
    uint64_t due, ns;
    struct hoard h;

    (void)t;
    start_with_miser(&h);
    kva_pressure_listen(&l);
    due = kva_port_clock() + 1000 * MS;
    (void)kva_pagedaemon_turn();
    CHECK_EQ(told, 1);
    kva_posix_clock_advance(100 * MS);
    while (kva_pressure() == KVA_PRESSURE_OOM) {
        vmem_xfree(kmem_arena, h.page[--h.n], P);
        (void)kva_unmap_flush();
    }
    (void)kva_pagedaemon_turn(); /* of the level that is now */
    hoard_up_to(&h, LIMIT);
    while (kva_port_clock() < due) {
        ns = turns();
        CHECK_EQ(told, 1);
        CHECK_GT(ns, 0);
        CHECK_LE(kva_port_clock() + ns, due);
        kva_posix_clock_advance(ns);
    }
    (void)kva_pagedaemon_turn();
    CHECK_EQ(told, 2);
    kva_pressure_unlisten(&l);
    hoard_end(&h);
    end();
}

static void
let_time_pass(void *arg, const void *channel)
{
    (void)arg;
    (void)channel;
    hooked++;
    kva_posix_clock_advance(1000 * MS);
}

/* A request that fails wakes it, also of who may not sleep. */
static void
woken_by_who_fails(struct test_ctx *t)
{
    vmem_addr_t addr;
    struct hoard h;

    (void)t;
    start_without_frames(&h);
    kva_posix_wait_hook(let_time_pass, NULL);
    kva_pagedaemon_wait(10 * MS); /* for what was */
    hooked = 0;
    kva_pagedaemon_wait(10 * MS);
    CHECK_EQ(hooked, 1);
    CHECK_EQ(vmem_xalloc(kmem_arena, P, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                         VM_NOSLEEP, &addr),
             KVA_ENOMEM);
    kva_pagedaemon_wait(10 * MS);
    CHECK_EQ(hooked, 1);
    kva_posix_wait_hook(NULL, NULL);
    hoard_end(&h);
    end();
}

/* A client that gives a page between two passes, and none in any: who waits for
 * more than it has given so far is not refused. */
static void
one_page_more(void *arg, const void *channel)
{
    struct hoard *h = arg;

    (void)channel;
    hooked++;
    for (unsigned i = 0; i < 4 * KVA_PAGEDAEMON_PATIENCE; i++) {
        kva_posix_clock_advance(1000 * MS);
        (void)kva_pagedaemon_turn();
        vmem_xfree(kmem_arena, h->page[--h->n], P);
        (void)kva_unmap_flush();
    }
}

static void
what_comes_beside(struct test_ctx *t)
{
    vmem_addr_t addr;
    struct hoard h;

    (void)t;
    start_with_miser(&h);
    hooked = 0;
    kva_posix_wait_hook(one_page_more, &h);
    CHECK_EQ(vmem_xalloc(kmem_arena, 4 * KVA_PAGEDAEMON_PATIENCE * P, 0, 0, 0,
                         VMEM_ADDR_MIN, VMEM_ADDR_MAX, VM_SLEEP, &addr),
             0);
    kva_posix_wait_hook(NULL, NULL);
    CHECK_GE(hooked, 1);
    vmem_xfree(kmem_arena, addr, 4 * KVA_PAGEDAEMON_PATIENCE * P);
    hoard_end(&h);
    end();
}

/* He who is about to sleep: now there is something to be had. */
static void
give_a_turn(void *arg, const void *channel)
{
    struct hoard *h = arg;

    (void)channel;
    h->miser = false;
    h->beside = 0;
    kva_posix_clock_advance(1000 * MS);
    (void)kva_pagedaemon_turn();
}

/* Who waits has a client called himself, and he takes longer than the daemon has
 * patience, which cannot call him meanwhile: those passes do not count. */
static void
who_presses_is_not_refused(struct test_ctx *t)
{
    vmem_addr_t addr;
    struct hoard h;

    (void)t;
    start_with_miser(&h);
    h.beside = 2 * KVA_PAGEDAEMON_PATIENCE;
    kva_posix_wait_hook(give_a_turn, &h);
    CHECK_EQ(vmem_xalloc(kmem_arena, P, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                         VM_SLEEP, &addr),
             0);
    kva_posix_wait_hook(NULL, NULL);
    vmem_xfree(kmem_arena, addr, P);
    hoard_end(&h);
    end();
}

/* ---- the work of a pass -------------------------------------------------- */

/* A hoard behind so much that must be looked at and cannot go, from the start in
 * each call. */
static struct deep {
    struct hoard h;
    size_t depth;
    size_t most;    /* work of the longest call outside of turns */
    unsigned turns; /* of the daemon's, when somebody sleeps */
    bool in_turn;
} deep;

static size_t
clean_deep(void *arg, struct kva_want *want)
{
    size_t looked = deep.depth < want->work ? deep.depth : want->work;

    (void)arg;
    if (!deep.in_turn && want->work > deep.most) {
        deep.most = want->work;
    }
    if (want->work != KVA_WORK_ALL) {
        want->work -= looked;
    }
    return looked == deep.depth ? hoard_clean(&deep.h, want) : 0;
}

static void
deep_turn(void)
{
    deep.in_turn = true;
    (void)kva_pagedaemon_turn();
    deep.in_turn = false;
}

static void
deep_turns(void *arg, const void *channel)
{
    (void)arg;
    (void)channel;
    hooked++;
    for (unsigned i = 0; i < deep.turns; i++) {
        kva_posix_clock_advance(1000 * MS);
        deep_turn();
    }
}

static void
deep_start(size_t depth)
{
    start(LIMIT);
    hoard_add(&deep.h);
    deep.h.cleaner.clean = clean_deep;
    hoard_up_to(&deep.h, LIMIT);
    deep.depth = depth;
    deep.most = 0;
    deep.in_turn = false;
    hooked = 0;
}

/* A daemon is there, and what it gave is taken again. */
static void
deep_attend(void)
{
    size_t depth = deep.depth;

    deep.depth = 0;
    deep_turn();
    hoard_up_to(&deep.h, LIMIT);
    deep.depth = depth;
    deep.most = 0;
}

static void
deep_end(void)
{
    hoard_end(&deep.h);
    end();
    kva_posix_fini();
}

/* However deep it lies, it is found before anybody is refused: the daemon's
 * passes look at more each time, and the last one at everything. */
static void
what_lies_deep(struct test_ctx *t)
{
    static const struct {
        size_t depth;
        unsigned turns;
    } rows[] = {
        { 100 * KVA_PAGEDAEMON_WORK, 5 }, /* the fifth looks at 4^4 times it */
        { KVA_WORK_ALL - 1u, KVA_PAGEDAEMON_PATIENCE },
    };

    (void)t;
    for (unsigned i = 0; i < KVA_COUNT(rows); i++) {
        struct vmem_request rq = { .size = 8 * P,
                                   .maxaddr = VMEM_ADDR_MAX,
                                   .flags = VM_SLEEP };
        vmem_addr_t addr;

        deep_start(rows[i].depth);
        deep_attend();
        deep.turns = rows[i].turns;
        kva_posix_wait_hook(deep_turns, NULL);
        CHECK_EQ(vmem_xalloc_timed(kmem_arena, &rq, 1000 * MS, NULL, &addr), 0);
        kva_posix_wait_hook(NULL, NULL);
        CHECK_EQ(hooked, 1);
        vmem_xfree(kmem_arena, addr, 8 * P);
        deep_end();
    }
}

/* A sleeper's own pass has no more work than the daemon's, beside a page for each
 * that he wants; and all there is where there is no daemon to go on with it.  (What
 * was asked before has had some of it.) */
static void
who_sleeps_makes_short_passes(struct test_ctx *t)
{
    size_t want = 128;
    vmem_addr_t addr;

    (void)t;
    for (unsigned attended = 0; attended < 2; attended++) {
        deep_start(KVA_PAGEDAEMON_WORK / 2);
        if (attended) {
            deep_attend();
        }
        CHECK_EQ(vmem_xalloc(kmem_arena, want * P, 0, 0, 0, VMEM_ADDR_MIN,
                             VMEM_ADDR_MAX, VM_SLEEP, &addr),
                 0);
        if (attended) {
            CHECK_LE(deep.most, KVA_PAGEDAEMON_WORK + want);
            CHECK_GE(deep.most, KVA_PAGEDAEMON_WORK + want / 2);
        } else {
            CHECK_EQ(deep.most, KVA_WORK_ALL);
        }
        vmem_xfree(kmem_arena, addr, want * P);
        deep_end();
    }
}

/* Where nobody is ever refused, no pass is the last before that. */
static void
without_patience(struct test_ctx *t)
{
    (void)t;
    kva_pagedaemon_set_patience(0);
    deep_start(KVA_WORK_ALL);
    (void)kva_pagedaemon_turn();
    CHECK_GT(deep.most, 0);
    CHECK_LE(deep.most, KVA_PAGEDAEMON_WORK);
    for (unsigned i = 0; i < 100; i++) {
        kva_posix_clock_advance(1000 * MS);
        CHECK_GT(kva_pagedaemon_turn(), 1);
    }
    CHECK_LT(deep.most, KVA_WORK_ALL);
    CHECK_GT(deep.most, KVA_WORK_ALL / 64);
    deep_end();
    kva_pagedaemon_set_patience(KVA_PAGEDAEMON_PATIENCE);
}

static void *
daemon_thread(void *arg)
{
    (void)arg;
    kva_pagedaemon();
    return NULL;
}

/* Somebody is about to sleep: time goes by, and there is something to be had. */
static void
give_from_hook(void *arg, const void *channel)
{
    struct hoard *h = arg;

    (void)channel;
    __atomic_store_n(&h->miser, false, __ATOMIC_RELAXED);
    kva_posix_clock_advance(1000 * MS);
}

/* It sleeps when somebody comes to wait, and must be woken by that; else this
 * never ends. */
static void
woken_by_who_waits(struct test_ctx *t)
{
    vmem_addr_t addr;
    pthread_t thread;
    struct hoard h;

    (void)t;
    start_without_frames(&h);
    CHECK_EQ(pthread_create(&thread, NULL, daemon_thread, NULL), 0);
    while (kva_posix_waiters() != 1) { /* until it sleeps */
        kva_port_relax();
    }
    h.miser = true;
    kva_posix_wait_hook(give_from_hook, &h);
    CHECK_EQ(vmem_xalloc(kmem_arena, P, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                         VM_SLEEP, &addr),
             0);
    vmem_xfree(kmem_arena, addr, P);
    CHECK_PANIC(kva_pagedaemon(), "kva_pagedaemon: thread pagedaemon: 0x0: "
                                  "expected one, found another one running");
    kva_pagedaemon_stop();
    CHECK_EQ(pthread_join(thread, NULL), 0);
    kva_posix_wait_hook(NULL, NULL); /* nobody else is there */
    hoard_end(&h);
    end();
}

/* One that was stopped may be begun again; in between there is none. */
static void
begun_again(struct test_ctx *t)
{
    struct kva_pagedaemon_stat before, after;
    pthread_t thread;

    (void)t;
    start(LIMIT);
    for (unsigned i = 0; i < 2; i++) {
        CHECK(!kva__pagedaemon_attended());
        kva_pagedaemon_stat(&before);
        CHECK_EQ(pthread_create(&thread, NULL, daemon_thread, NULL), 0);
        while (kva_posix_waiters() != 1) { /* it has turned, and sleeps */
            kva_port_relax();
        }
        kva_pagedaemon_stat(&after);
        CHECK_GT(after.turns, before.turns);
        CHECK(kva__pagedaemon_attended());
        kva_pagedaemon_stop();
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
    CHECK(!kva__pagedaemon_attended());
    end();
}

/* A cache that grows with each look and gives back the oldest when asked. */
static void
as_a_thread(struct test_ctx *t)
{
    struct kva_pagedaemon_stat before, after;
    unsigned refused = 0;
    pthread_t thread;
    struct hoard h;

    start(LIMIT);
    kva_posix_clock_virtual(false);
    hoard_add(&h);
    kva_pagedaemon_stat(&before);
    CHECK_EQ(pthread_create(&thread, NULL, daemon_thread, NULL), 0);
    do { /* until it runs, or there is nobody to be stopped */
        kva_port_relax();
        kva_pagedaemon_stat(&after);
    } while (after.turns == before.turns);
    for (unsigned long n = 0; n < t->count; n++) {
        vmem_addr_t addr;

        refused += vmem_alloc(kmem_arena, 4 * P, VM_SLEEP, &addr) != 0;
        memset((void *)addr, 1, 4 * P);
        CHECK_LE(wired(), LIMIT);
        vmem_free(kmem_arena, addr, 4 * P);
    }
    CHECK_EQ(refused, 0);
    kva_pagedaemon_stop();
    CHECK_EQ(pthread_join(thread, NULL), 0);
    kva_pagedaemon_stat(&after);
    CHECK(after.turns > before.turns);
    hoard_end(&h);
    end();
}

#endif

const struct test pagedaemon_tests[] = {
#if KVA_TIER >= 3
    TEST("pagedaemon", from_level_to_level),
    TEST("pagedaemon", until_the_level_is_left),
    TEST("pagedaemon", urgency_rises),
    TEST("pagedaemon", for_a_waiter),
    TEST("pagedaemon", waiters_take_in_proportion),
    TEST("pagedaemon", waiters_ask_for_more_each_time),
    TEST("pagedaemon", more_than_the_limit_is_not_waited_for),
    TEST("pagedaemon", no_hang),
    TEST("pagedaemon", pauses_are_kept),
    TEST("pagedaemon", machines_begin_anew),
    TEST("pagedaemon", what_comes_ends_the_pause),
    TEST("pagedaemon", who_leaves_takes_his_count_along),
    TEST("pagedaemon", events_are_told_in_time),
    TEST("pagedaemon", woken_by_who_fails),
    TEST("pagedaemon", what_comes_beside),
    TEST("pagedaemon", who_presses_is_not_refused),
    TEST("pagedaemon", what_lies_deep),
    TEST("pagedaemon", who_sleeps_makes_short_passes),
    TEST("pagedaemon", without_patience),
    TEST("pagedaemon", woken_by_who_waits),
    TEST("pagedaemon", begun_again),
    TEST_THREADS("pagedaemon", as_a_thread, 0, 1000, 30000, 1000000),
#endif
    TEST_END
};
