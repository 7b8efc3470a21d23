/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hit paths of the quantum caches, inline in vmem_alloc and vmem_free; the
 * theory is at the head of qcache.c.
 */
#ifndef KVA_VMEM_QCACHE_H
#define KVA_VMEM_QCACHE_H

#include "vmem/window.h"

/* Windows below a middle page, and middle pages below the root. */
#define MID_SHIFT (KVA_PAGE_SHIFT - (KVA_WORD_64 ? 3u : 2u))
#define MID_ENTRIES (1u << MID_SHIFT)
#define ROOT_SHIFT 7u
#define ROOT_ENTRIES (1u << ROOT_SHIFT)
/* Quanta that can be tracked, from the origin on. */
#define REACH (1ul << (MID_SHIFT + ROOT_SHIFT + WINDOW_SHIFT))

/* The magazines of one size. */
struct qsize {
    struct kva__magcache mc;
    kva_vmem_t *vm;
    unsigned n; /* quanta */
};

struct kva__qcache {
    kva_lock_t lock;
    kva_vmem_t *vm;
    enum kva_ipl ipl;
    unsigned nwindows;                  /* (q) */
    uintptr_t origin;                   /* fixed with the first span */
    size_t held;                        /* (q) quanta of all pieces */
    size_t nfree;                       /* (q) of them in no run */
    size_t given;                       /* (q) bytes ever given to the arena */
    struct window *list[WINDOW_ORDERS]; /* (q) by order */
    struct qsize *size[KVA__QCACHE_QUANTA_MAX]; /* set once each */
    struct window **root[ROOT_ENTRIES];         /* set once each; see above */
};

static inline struct window *
window_at(const struct kva__qcache *qc, unsigned shift, uintptr_t addr)
{
    uintptr_t origin = __atomic_load_n(&qc->origin, __ATOMIC_RELAXED);
    uintptr_t win = (addr - origin) >> shift >> WINDOW_SHIFT;
    struct window **mid;

    if (KVA_UNLIKELY(win >> (MID_SHIFT + ROOT_SHIFT) != 0)) {
        return NULL;
    }
    mid = __atomic_load_n(&qc->root[win >> MID_SHIFT], __ATOMIC_ACQUIRE);
    if (KVA_UNLIKELY(mid == NULL)) {
        return NULL;
    }
    return __atomic_load_n(&mid[win & (MID_ENTRIES - 1)], __ATOMIC_ACQUIRE);
}

static inline uint8_t *
state_at(struct window *w, unsigned shift, uintptr_t addr)
{
    return &w->state[(addr >> shift) & (WINDOW_QUANTA - 1)];
}

/* A run of n quanta from the caller's magazine, live. */
static inline bool
qcache_get(kva_vmem_t *vm, unsigned n, uintptr_t *addr)
{
    struct kva__qcache *qc = vm->qcache;
    struct qsize *qs = __atomic_load_n(&qc->size[n - 1], __ATOMIC_ACQUIRE);
    unsigned shift = vm->quantum_shift;
    uintptr_t got;

    if (KVA_UNLIKELY(qs == NULL) ||
        KVA_UNLIKELY(!kva__mag_get(&qs->mc, &got))) {
        return false;
    }
    state_set(state_at(window_at(qc, shift, got), shift, got),
              RUN_LIVE | (n - 1));
    *addr = got;
    return true;
}

/* Somebody waits: what was put into the caller's magazine goes on to the
 * windows, where waiters are woken. */
void kva__qcache_yield(struct qsize *qs);

/*
 * A live run of n quanta back to the caller's magazine.  False, and nothing
 * done, if it is anything else.
 *
 * No waiter is missed: it queues up first and drains the magazines then, with a
 * barrier on all CPUs in between, while here the magazine comes first and the
 * look at the queue after.
 */
static inline bool
qcache_put(kva_vmem_t *vm, uintptr_t addr, unsigned n)
{
    struct kva__qcache *qc = vm->qcache;
    unsigned shift = vm->quantum_shift;
    struct window *w = window_at(qc, shift, addr);
    struct qsize *qs;
    uint8_t *state;

    if (KVA_UNLIKELY(w == NULL)) {
        return false;
    }
    state = state_at(w, shift, addr);
    if (KVA_UNLIKELY(*state != (RUN_LIVE | (n - 1)) ||
                     (addr & (((uintptr_t)1 << shift) - 1)) != 0)) {
        return false;
    }
    state_set(state, RUN_CACHED | (n - 1));
    qs = qc->size[n - 1];
    if (KVA_UNLIKELY(!kva__mag_put(&qs->mc, addr))) {
        kva__mag_put_slow(&qs->mc, addr);
    }
    KVA_COMPILER_BARRIER();
    if (KVA_UNLIKELY(kva__wait_any())) {
        kva__qcache_yield(qs);
    }
    return true;
}

#endif
