/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reclaim: who holds memory that could be given back, and asking them for it.
 *
 * A CLEANER is a callback of somebody who caches memory (an arena's quantum
 * caches, a pool cache, a client of the library).  It stands in one of the
 * STAGES, through which a PASS goes from what is cheap to give back to what is
 * not.  The theory is at the head of reclaim.c.
 *
 * The idea of bytes wanted and retained is that of Nanos' memory cleaners; of
 * reclaim callbacks in turn, NetBSD's callback(9); of stages, the pagedaemon of
 * NetBSD's rump kernels.
 */
#ifndef KVA_RECLAIM_RECLAIM_H
#define KVA_RECLAIM_RECLAIM_H

#include "vmem/vmem.h"

#ifdef __cplusplus
extern "C" {
#endif

/* In the order in which a pass asks them; it asks the caches once more behind
 * the pages, whose headers lie in caches. */
enum kva_reclaim_stage {
    KVA_STAGE_CACHES,  /* objects in magazines, empty slabs */
    KVA_STAGE_PAGES,   /* pages with contents (reclaim/lru.h) */
    KVA_STAGE_CLIENTS, /* whoever else holds memory; shrinkers */
    KVA_STAGE_MOVES,   /* what takes work: objects moved out of sparse spans */
    KVA_STAGE_SPANS,   /* runs in quantum caches, whole spans of arenas */
    KVA_STAGES
};

/* Why a pass is made. */
enum kva_urgency {
    KVA_URGENCY_TRIM,   /* nobody needs it now */
    KVA_URGENCY_LOW,    /* by the pressure level (reclaim/pressure.h) */
    KVA_URGENCY_MEDIUM, /* or somebody waits */
    KVA_URGENCY_OOM     /* what was freed so far did not do */
};

/* No bound on the work of a pass. */
#define KVA_WORK_ALL ((size_t)-1)

/* What is asked of a cleaner. */
struct kva_want {
    size_t bytes;  /* to reach the page supply */
    size_t retain; /* bytes that it may keep */
    /* Pages or objects that it may look at yet; it subtracts what it did. */
    size_t work;
    /* It sets this to bytes that will come later, by somebody else. */
    size_t promised;
    enum kva_urgency urgency;
    bool leave; /* it sets this to be unregistered when it returns */
};

/*
 * In the owner's storage: fill in what is public, the rest 0, and register.
 * clean returns the bytes that reached the page supply.  It is called in thread
 * context, with no library lock held, by one caller at a time; it may allocate,
 * without sleeping for it, and register and unregister others.
 */
struct kva_cleaner {
    size_t (*clean)(void *arg, struct kva_want *want);
    void *arg;
    const char *name;
    enum kva_reclaim_stage stage;
    unsigned cost; /* work of a call whatever it does */
    size_t retain; /* kept by it, but for KVA_URGENCY_OOM; bytes */
    /* private */
    struct kva_cleaner *next;
    struct kva_cleaner *prev;
    size_t freed;   /* that came back by it; may wrap */
    unsigned round; /* in which it was last asked */
    bool registered;
    bool running;
};

/* Register at the end of its stage.  Thread or boot context; constant work.
 * Misuse: no clean, no such stage, registered already. */
void kva_reclaim_register(struct kva_cleaner *cl);

/*
 * Unregister; when it returns, the callback does not run and will not be
 * called again.  Thread context, may wait for a call that runs: not from
 * within the callback itself, which sets want->leave.  Misuse: not registered;
 * the callback itself, where the port lends tasks a word (kva_port_task_mark).
 */
void kva_reclaim_unregister(struct kva_cleaner *cl);

/*
 * A floor by name: the bytes that each cleaner so called may keep from now on,
 * but for KVA_URGENCY_OOM.  The library's own have the names of their pools and
 * arenas, so an administrator, or a driver that did not make the cache, has it
 * keep something in stock.  Returns how many are so called; 0: none, and nothing
 * was done.  Thread or boot context; linear in cleaners.
 */
unsigned kva_reclaim_retain(const char *name, size_t bytes);

/*
 * A line for each cleaner, to pr or the port's log: name, stage, what it may keep
 * and what came back by it, in KiB; in the order of stages, and within one in the
 * order in which they will be asked.  Those that come meanwhile may be left out.
 * Thread context, no lock held; quadratic in cleaners.
 */
void kva_reclaim_listing(kva_vmem_pr_t *pr);

/*
 * Ask cleaners, stage by stage, until that many bytes came back, the work is
 * spent, or there is no more to be had.  *work is what may be done and then
 * what is left of that.  Returns the bytes that came back, by the counts of the
 * page supply where one is known.  Thread context, no lock held; one pass at a
 * time, a second caller returns 0 at once, as does one from within a cleaner.
 */
size_t kva_reclaim_pass(size_t bytes, enum kva_urgency urgency, size_t *work);

/* The same for KVA_URGENCY_TRIM, whatever work it takes. */
size_t kva_reclaim(size_t bytes);

/*
 * Who knows what pages there are: bytes in use, the limit of that (0: none),
 * and bytes ever given back, which may wrap.  kva registers the one of the
 * wired arenas; NULL: nobody knows, and cleaners are believed.
 */
struct kva_supply {
    size_t (*used)(void);
    size_t (*limit)(void);
    size_t (*released)(void);
};
void kva_reclaim_set_supply(const struct kva_supply *supply);

/* What was set; for the other files of the layer. */
const struct kva_supply *kva__reclaim_supply(void);

/* Who is told when a pass begins and when it ends: what becomes free in arenas
 * meanwhile stays there until the pass asks for it, so that no more goes than is
 * wanted.  kva's; NULL: nobody. */
void kva__reclaim_set_hold(void (*hold)(bool on));

/* What passes did so far. */
struct kva_reclaim_stat {
    unsigned long passes;
    unsigned long calls; /* of cleaners */
    unsigned long vain;  /* passes that gave nothing */
    size_t bytes;        /* that came back in passes; may wrap */
    size_t bytes_by_stage[KVA_STAGES];
    unsigned cleaners; /* registered now */
};
void kva_reclaim_stat(struct kva_reclaim_stat *st);

#ifdef __cplusplus
}
#endif

#endif
