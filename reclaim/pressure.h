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

/* Listen, from the next event on.  Thread or boot context. */
void kva_pressure_listen(struct kva_pressure_listener *l);

/* No longer; when it returns fn does not run and will not be called again.
 * Thread context; not from within fn. */
void kva_pressure_unlisten(struct kva_pressure_listener *l);

/*
 * Percent at which a level is entered, and is left: KVA_EINVAL unless each is
 * left below where it is entered, and the levels' are in order, in both.  For
 * boot, or while nobody listens.
 */
int kva_pressure_configure(const unsigned enter[KVA_PRESSURES],
                           const unsigned leave[KVA_PRESSURES]);

/* The level that there is.  Any context. */
enum kva_pressure kva_pressure(void);

/*
 * Pages were taken or given back: used and limit in bytes, limit 0: none.  True
 * if there is an event to be told: call kva_pressure_tell where that may be
 * done.  Any context, any lock below the rank of metadata held; a few compares.
 */
bool kva_pressure_update(size_t used, size_t limit);

/*
 * Tell the listeners, if there is something to be told and its level's pause is
 * over.  now: the port's clock in nanoseconds; 0 where there is none, and no
 * pause is kept.  Returns the nanosecond from which on it is to be called again,
 * 0: not before the next update.  Thread context, no lock held.
 */
uint64_t kva_pressure_tell(uint64_t now);

/* Bytes at which a level is left, with the limit that there was last. */
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
