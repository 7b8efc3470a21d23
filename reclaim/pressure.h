/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pressure: how near to their limit the pages in use are, in three levels, and
 * telling those who want to know.
 *
 *      used    80 %        90 %           97 %      of the limit: entered
 *      --------|-----------|--------------|-----
 *        none  |    low    |    medium    | oom
 *           77 %        87 %           94 %         and left
 *
 * The levels are those of Linux's memory.pressure_level (LWN, 2013); that they
 * are left lower than they are entered, and told once a second at the most, so
 * that a load that lies on the edge of one does not flood its listeners.
 */
#ifndef KVA_RECLAIM_PRESSURE_H
#define KVA_RECLAIM_PRESSURE_H

#include "reclaim/reclaim.h"

#ifdef __cplusplus
extern "C" {
#endif

enum kva_pressure {
    KVA_PRESSURE_NONE,
    KVA_PRESSURE_LOW,
    KVA_PRESSURE_MEDIUM,
    KVA_PRESSURE_OOM,
    KVA_PRESSURES
};

/* Percent of the limit. */
#define KVA_PRESSURE_LOW_PERCENT 80u
#define KVA_PRESSURE_MEDIUM_PERCENT 90u
#define KVA_PRESSURE_OOM_PERCENT 97u
#define KVA_PRESSURE_LEAVE 3u /* points below, where a level is left */
/* Percent of the time that somebody waited for memory, of the machine beneath:
 * about where Android's low memory killer takes it for partial and for complete
 * stalls (70 and 700 ms a second; 200 where there is little memory). */
#define KVA_PRESSURE_STALL_LOW 7u
#define KVA_PRESSURE_STALL_MEDIUM 20u
#define KVA_PRESSURE_STALL_OOM 70u
/* Nanoseconds between two events of a level. */
#define KVA_PRESSURE_PAUSE 1000000000u

/*
 * In the owner's storage: fill in fn and arg and register.  fn is told the level
 * that there is now; it is called in thread context with no library lock held,
 * by one caller at a time, and may allocate.
 */
struct kva_pressure_listener {
    void (*fn)(void *arg, enum kva_pressure level);
    void *arg;
    /* private */
    struct kva_pressure_listener *next;
    unsigned told; /* which event */
    bool running;
};

/* Listen, from the next event on.  Thread or boot context; linear in listeners.
 * Misuse: no fn; listening already. */
void kva_pressure_listen(struct kva_pressure_listener *l);

/* No longer; when it returns fn does not run and will not be called again.
 * Thread context; not from within fn.  Misuse: not listening; from within fn,
 * where the port lends tasks a word (kva_port_task_mark). */
void kva_pressure_unlisten(struct kva_pressure_listener *l);

/*
 * Percent at which a level is entered, and is left: KVA_EINVAL unless each is
 * left below where it is entered, and the levels' are in order, in both.  For
 * boot, or while nobody listens.
 */
int kva_pressure_configure(const unsigned enter[KVA_PRESSURES],
                           const unsigned leave[KVA_PRESSURES]);

/* The same for kva_pressure_outside. */
int kva_pressure_configure_outside(const unsigned enter[KVA_PRESSURES],
                                   const unsigned leave[KVA_PRESSURES]);

/* The level that there is: by the pages in use, or by what was said from
 * outside, whichever is higher.  Any context. */
enum kva_pressure kva_pressure(void);

/*
 * Pages were taken or given back: used and limit in bytes, limit 0: none.  True
 * if there is an event to be told: call kva_pressure_tell where that may be
 * done.  Any context, any lock below the rank of metadata held; a few compares.
 */
bool kva_pressure_update(size_t used, size_t limit);

/*
 * How the machine beneath does, a host's or a hypervisor's: part of a whole, as
 * of the time that was spent waiting for memory; whole 0: nobody says any more.
 * The same logic with bounds of its own (KVA_PRESSURE_STALL_*).  It is told to
 * listeners; the pagedaemon's amounts are by the pages alone.  True if there is
 * an event to be told.  Any context, as above; a few compares.  What feeds it
 * on Linux: port/posix/pressure.h.
 */
bool kva_pressure_outside(size_t part, size_t whole);

/*
 * Tell the listeners, if there is something to be told and its level's pause is
 * over.  now: the port's clock in nanoseconds; 0 where there is none, and no
 * pause is kept.  Returns the nanosecond from which on it is to be called again,
 * 0: not before the next update.  Thread context, no lock held.
 */
uint64_t kva_pressure_tell(uint64_t now);

/* The level by the pages alone; bytes at which a level is left, with the limit
 * that there was last. */
enum kva_pressure kva__pressure_of_pages(void);
size_t kva__pressure_floor(enum kva_pressure level);

struct kva_pressure_stat {
    enum kva_pressure level;
    unsigned long entered[KVA_PRESSURES]; /* times */
    unsigned long told[KVA_PRESSURES];    /* events */
};
void kva_pressure_stat(struct kva_pressure_stat *st);

#ifdef __cplusplus
}
#endif

#endif
