/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reclaim: who holds memory that could be given back, and asking them for it.
 *
 * A cleaner is a callback of somebody who caches memory (an arena's quantum
 * caches, a pool cache, a client of the library).  It is asked for bytes, with
 * a floor that it may keep, and answers how many bytes reached the page supply.
 * Cleaners are called round-robin, with no lock held, until enough came back.
 * The idea of bytes wanted and retained is that of Nanos' memory cleaners; of
 * round-robin reclaim callbacks, NetBSD's callback(9).
 */
#ifndef KVA_RECLAIM_RECLAIM_H
#define KVA_RECLAIM_RECLAIM_H

#include "vmem/vmem.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In the owner's storage.  Fill in clean and arg, then register.  clean is
 * called in thread context, with no library lock held; it may allocate.
 */
struct kva_cleaner {
    size_t (*clean)(void *arg, size_t bytes, size_t retain);
    void *arg;
    const char *name;
    /* private */
    struct kva_cleaner *next;
    struct kva_cleaner *prev;
    unsigned calls_running;
};

/* Register at the end of the round.  Thread or boot context. */
void kva_reclaim_register(struct kva_cleaner *cl);

/*
 * Unregister; when it returns, the callback does not run and will not be
 * called again.  Thread context; not from within the callback itself.
 */
void kva_reclaim_unregister(struct kva_cleaner *cl);

/*
 * Ask cleaners in turn until bytes came back or each was asked once.  Returns
 * the bytes that came back.  Thread context, no lock held; one pass at a time,
 * a second caller returns 0 at once.
 */
size_t kva_reclaim(size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
