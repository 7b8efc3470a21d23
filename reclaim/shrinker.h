/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shrinkers: clients outside that hold memory in chunks and let themselves be
 * asked for some.
 *
 *      client                          kva
 *      register, chunk size  ------->
 *      add +5, add -1        ------->  held 4
 *                            <-------  request 3        held 1, asked 3
 *      take: 3, frees 2
 *      add +1                ------->  held 2           what could not be freed
 *
 * Chunks that were asked for are the client's to free: they are not in held any
 * more, and so are asked for once, whatever the client does.  Nobody waits for
 * an answer.  The protocol is that of the user-space shrinkers in LWN, 2013.
 */
#ifndef KVA_RECLAIM_SHRINKER_H
#define KVA_RECLAIM_SHRINKER_H

#include "reclaim/reclaim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How long a request counts as an answer that will come, in nanoseconds: longer
 * than a thread needs to be woken and to free some chunks. */
#define KVA_SHRINKER_PATIENCE 1000000000u

/* In the owner's storage: fill in what is public, the rest 0, and register. */
struct kva_shrinker {
    size_t chunk; /* bytes */
    /*
     * So many chunks more are asked for.  NULL: the client polls, or sleeps in
     * kva_shrinker_wait.  In thread context, no library lock held; it may free,
     * and take and add, at once.
     */
    void (*request)(void *arg, size_t chunks);
    void *arg;
    const char *name;
    /* private */
    kva_lock_t lock;
    size_t held;       /* (s) chunks */
    size_t asked;      /* (s) and not taken yet */
    uint64_t asked_at; /* (s) the port's clock; or when it last answered */
    bool late;         /* (s) did not answer in time, nor since */
    bool waiting;      /* (s) somebody sleeps */
    bool gone;         /* (s) */
    struct kva_cleaner cleaner;
};

/* Register, with no chunk.  Misuse: a chunk of 0 bytes, registered already.
 * Thread or boot context. */
void kva_shrinker_register(struct kva_shrinker *sh);

/* When it returns, request will not be called again; kva_shrinker_wait has
 * KVA_EINTR from now on.  Thread context; not from within request. */
void kva_shrinker_unregister(struct kva_shrinker *sh);

/* After that, and when none of the client's threads uses it any more: the
 * storage is the client's again. */
void kva_shrinker_fini(struct kva_shrinker *sh);

/*
 * The client holds so many chunks more: allocated, or asked for and not to be
 * freed now.  Or so many less, which it freed by itself: as many of those as were
 * asked for meanwhile count as the answer.  Misuse: less than there are.
 * Misuse, too: more than can be counted.  Any context, constant work.
 */
void kva_shrinker_add(struct kva_shrinker *sh, size_t chunks);
void kva_shrinker_remove(struct kva_shrinker *sh, size_t chunks);

/* All chunks that are asked for and were not taken yet, which from now on the
 * client has in hand; 0: none.  Any context. */
size_t kva_shrinker_take(struct kva_shrinker *sh);

#if KVA_TIER >= 3
/* The same, but sleep until there are some: 0, KVA_ETIMEDOUT (timeout_ns 0:
 * never) or KVA_EINTR.  Thread context; one thread at a time, a second one is a
 * misuse. */
int
kva_shrinker_wait(struct kva_shrinker *sh, uint64_t timeout_ns, size_t *chunks);
#endif

/* Chunks held, and asked for and not taken. */
void kva_shrinker_count(struct kva_shrinker *sh, size_t *held, size_t *asked);

#ifdef __cplusplus
}
#endif

#endif
