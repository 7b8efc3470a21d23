/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pagedaemon: what a kernel thread calls so that memory comes back before,
 * and while, somebody waits for it.
 *
 *      kva_start();                       once paging is up
 *      kthread_create(kva_pagedaemon);    and that is all
 *
 * The theory is at the head of pagedaemon.c.  The stages, and backing off when
 * nothing comes back, are those of NetBSD's rump kernels.
 */
#ifndef KVA_RECLAIM_PAGEDAEMON_H
#define KVA_RECLAIM_PAGEDAEMON_H

#include "reclaim/pressure.h"

#ifdef __cplusplus
extern "C" {
#endif

#if KVA_TIER >= 3

/*
 * Work of a pass of the daemon's: pages or objects looked at, some 4 MiB of pages,
 * a few milliseconds.  Four times that after each one that gave nothing, and no
 * bound for the last before who waits is refused.  Where there is a daemon, whoever
 * sleeps for memory makes no more than so much of a pass himself, beside a page for
 * each that he wants, and leaves the rest to it.
 */
#define KVA_PAGEDAEMON_WORK 1024u

/* Nanoseconds to the next pass when one gave nothing, doubled each time up to
 * the second. */
#define KVA_PAGEDAEMON_BACKOFF 10000000u
#define KVA_PAGEDAEMON_BACKOFF_MAX 640000000u

/* Who waits for memory while so many passes in a row give nothing, 1.3 s or
 * more, and nothing comes back beside them, is refused it (KVA_ENOMEM); 0:
 * never. */
#define KVA_PAGEDAEMON_PATIENCE 8u
void kva_pagedaemon_set_patience(unsigned passes);

/*
 * Reclaim as it is needed; returns after kva_pagedaemon_stop.  For a thread of
 * its own, which is given the priority of those that write pages out.
 */
void kva_pagedaemon(void);

/*
 * Have kva_pagedaemon return, and wait until it did, if it runs.  A thread that
 * was made and has not come so far yet is not seen, and runs on: who stops it
 * that early first sees it turn (kva_pagedaemon_stat).
 */
void kva_pagedaemon_stop(void);

/*
 * One turn of it, for a kernel that has a thread for several such things: a
 * pass, if one is needed.  Returns nanoseconds to the next turn; 0: when it is
 * woken (kva_pagedaemon_wait); 1: at once.  Thread context, no lock held.
 */
uint64_t kva_pagedaemon_turn(void);

/* Sleep until there may be something to do, or that long (0: no matter how
 * long).  By the one who calls kva_pagedaemon_turn. */
void kva_pagedaemon_wait(uint64_t ns);

/* There may be something to do.  Any context; called by the layers above. */
void kva_pagedaemon_wake(void);

/* Before there are threads: kva_boot's. */
void kva__pagedaemon_init(void);

/* Somebody takes turns, and it was not stopped since. */
bool kva__pagedaemon_attended(void);

struct kva_pagedaemon_stat {
    unsigned long turns;
    unsigned long passes;
    unsigned long stuck;   /* times that it began to back off */
    unsigned long refused; /* who waited and was refused */
    unsigned in_vain;      /* passes in a row, now */
};
void kva_pagedaemon_stat(struct kva_pagedaemon_stat *st);

#endif

#ifdef __cplusplus
}
#endif

#endif
