/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Wait queues: who waits for memory, or for the limit of a pool.  The theory is
 * at the head of wait.c.
 */
#ifndef KVA_VMEM_WAIT_H
#define KVA_VMEM_WAIT_H

#include "vmem/vmem.h"

struct kva__vmem_request;
struct kva__waiter;

/* (w) the lock of all wait queues. */
struct kva__waitq {
    struct kva__waiter *first; /* (w) the oldest: the head */
    struct kva__waiter *last;  /* (w) */
    struct kva__waitq *next;   /* (w) queues that are not empty */
    struct kva__waitq *prev;   /* (w) */
    unsigned count;            /* (w) waiters; read without it by frees */
    unsigned passed;           /* (w) younger grants since the head is head */
    unsigned turn;             /* (w) counts heads */
    bool held_back;            /* (w) somebody was refused for the head */
};

/* What became free and may be what somebody waits for. */
enum kva__hole_kind {
    KVA__HOLE_RANGE,  /* addresses of an arena */
    KVA__HOLE_RUN,    /* the same, in its quantum caches */
    KVA__HOLE_IMPORT, /* what an import function needs, whatever that is */
    KVA__HOLE_ANY,    /* nobody knows: all may try, one by one */
    KVA__HOLE_PLACE   /* in a pool with a limit: for one waiter */
};

struct kva__hole {
    kva_vmem_t *vm;
    uintptr_t first;
    size_t size;
    enum kva__hole_kind kind;
};

/* On the sleeper's stack.  (o) the sleeper's own. */
struct kva__waiter {
    struct kva__waitq *queue;           /* (c) */
    kva_vmem_t *vm;                     /* (c) wants this of it; NULL: a pool */
    const struct kva__vmem_request *rq; /* (c) */
    const void *cookie;                 /* (c) for vmem_cancel */
    uint64_t deadline;                  /* (c) of the port's clock; 0: none */
    bool cached;                        /* (c) quantum caches may serve it */
    bool lacks_tags;                    /* (w) any free may help */
    bool lacks_import;                  /* (w) and not addresses of a source */
    bool woken;                         /* (w) and has not tried since */
    bool more;                          /* (w) and another hole came by */
    bool cancelled;                     /* (w) */
    bool refused;                       /* (w) cancelled, there is no memory */
    bool open;                          /* (w) he has others give, or imports */
    struct kva__hole hole;              /* (w) why, if woken */
    struct kva__hole tried;             /* (o) why it last woke up */
    bool trying;                        /* (o) tried is valid */
    bool denied;                        /* (o) was let in, and had nothing */
    bool entitled;                      /* (c) reserves may serve it, too */
    unsigned char way;        /* (c) how it is tried; 0: unlike others */
    size_t wants;             /* (w) bytes, beside rq; 0: no memory */
    unsigned despair;         /* (w) passes in vain, in a row */
    unsigned wakes, vain;     /* (o) wake-ups; of them, for nothing */
    struct kva__waiter *next; /* (w) younger */
    struct kva__waiter *prev; /* (w) older */
};

/* How a request was let in, until it is known whether it was granted. */
struct kva__ticket {
    struct kva__waitq *queue; /* that counts it, or NULL */
    unsigned turn;            /* of the queue at that time */
    bool admitted;            /* what it imports is not asked again */
    bool opened;              /* nobody is refused meanwhile */
};

void kva__wait_bootstrap(void);

/* How many wait at all: what everybody else pays. */
#if KVA_TIER >= 3
extern unsigned kva__waiters;
#endif

static inline bool
kva__wait_any(void)
{
#if KVA_TIER >= 3
    return __atomic_load_n(&kva__waiters, __ATOMIC_RELAXED) != 0;
#else
    return false;
#endif
}

/* Somebody waits for memory that vm's may become: of an arena with the same
 * root.  For slow paths: whoever keeps something empty gives it back then. */
bool kva__wait_for(const kva_vmem_t *vm);

/* How many wait for memory of vm, or of an arena that imports from it. */
unsigned kva__wait_count(const kva_vmem_t *vm);

/* May the caller sleep, and did he say that he wants to. */
bool kva__wait_possible(kva_vm_flag_t flags);

/*
 * Queue up at the end; then try once more; then sleep or leave.  queue, vm, rq,
 * cookie, deadline, cached, entitled and way are set by the caller, the rest is
 * 0.  No lock held.
 */
void kva__wait_join(struct kva__waiter *w);

/*
 * Until woken: 0, and the caller tries again; KVA_ETIMEDOUT; KVA_EINTR; or
 * KVA_ENOMEM, if all were refused.
 * Before it sleeps it passes on what it was last woken for, which did not
 * help.
 */
int kva__wait_sleep(struct kva__waiter *w);

/*
 * What the last try failed for: metadata; what an import function needs beside
 * addresses.  True if that makes more holes count: then the caller tries again
 * first.
 */
bool kva__wait_lacks(struct kva__waiter *w, bool tags, bool import);

/* What the waiter of a pool lacks: bytes, which the pagedaemon frees for him, or
 * tells him that there are none; 0: something else. */
void kva__wait_wants(struct kva__waiter *w, size_t bytes);

/* A request to vm failed; how many did in the sources of the waiter's arena,
 * imports on his behalf included. */
void kva__wait_failed(kva_vmem_t *vm);
size_t kva__wait_failures(const struct kva__waiter *w);

/*
 * Bytes that those who wait for memory want, in all; may be SIZE_MAX.  Nothing
 * came back once more: who has seen that `patience' times in a row fails with
 * KVA_ENOMEM (0: nobody); how many.  Something came back: they have not seen it
 * yet.  All linear in those who wait.
 */
size_t kva__wait_wanted(void);
size_t kva__wait_in_vain(unsigned patience);
void kva__wait_progress(void);

/* Leave with [addr, addr + size - 1], or with nothing (size 0). */
void kva__wait_leave(struct kva__waiter *w, uintptr_t addr, size_t size);

/* The nanosecond at which a wait of that many ends; 0: never. */
uint64_t kva__wait_deadline(uint64_t timeout_ns);

/*
 * A request to vm is about to be tried, by a waiter or by somebody else (NULL).
 * False: it is refused, since the head was passed often enough.  Then say how
 * it went.
 */
bool kva__wait_admit(const kva_vmem_t *vm, kva_vm_flag_t flags,
                     struct kva__waiter *w, struct kva__ticket *ticket);
void kva__wait_settle(struct kva__waiter *w, struct kva__ticket *ticket,
                      bool granted);

/* While the waiter has others give back what they hold, he is open: nobody is
 * refused for him, as head, and passes in vain do not count for him, as others'
 * are turned away by his own. */
void kva__wait_open(struct kva__waiter *w, bool open);

/*
 * Something became free: a hole of vm; a run in vm's quantum caches; a span of
 * vm's, given back to where its import function had it from; or something that
 * is not known.  No lock held; the arena has been changed before.
 */
void kva__wait_freed(kva_vmem_t *vm, uintptr_t first, size_t size);
void kva__wait_freed_run(kva_vmem_t *vm, uintptr_t first, size_t size);
void kva__wait_released(kva_vmem_t *vm);
void kva__wait_more(kva_vmem_t *vm);

/* Wake the n oldest of a queue that is not an arena's. */
void kva__wait_wake(struct kva__waitq *queue, size_t n);

#endif
