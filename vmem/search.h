/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Searches: a hole for a request, in steps.  The theory is at the head of
 * search.c.  All of it under the arena's lock.
 */
#ifndef KVA_VMEM_SEARCH_H
#define KVA_VMEM_SEARCH_H

#include "vmem/vmem_impl.h"

/* Holes visited between two moments at which the lock is dropped. */
#define KVA__SEARCH_STEP 64u

enum kva__search_result {
    KVA__SEARCH_FOUND, /* hole and start are set */
    KVA__SEARCH_NONE,  /* there is none */
    KVA__SEARCH_MORE   /* a step is done, go on */
};

/* On the searcher's stack; (a) while it is suspended. */
struct kva__search {
    const struct kva__vmem_request *rq;
    struct kva_vmem_btag *hole; /* (a) the one to take, as far as is known */
    uintptr_t start;            /* (a) where in it */
    kva__btag_ref_t at;         /* (a) the next to visit of the class */
    unsigned next_class;        /* (a) to be visited when at is none */
    bool walking;               /* what is sure was tried */
    struct kva__search *next;   /* (a) suspended ones */
};

void
kva__search_begin(struct kva__search *s, const struct kva__vmem_request *rq);
/* Visit up to KVA__SEARCH_STEP holes. */
enum kva__search_result kva__search_step(kva_vmem_t *vm, struct kva__search *s);
/* Around the moment at which the lock is dropped. */
void kva__search_suspend(kva_vmem_t *vm, struct kva__search *s);
void kva__search_resume(kva_vmem_t *vm, struct kva__search *s);

/* A hole came to be, or grew; one goes, with its links still in place. */
void kva__search_came(kva_vmem_t *vm, struct kva_vmem_btag *hole);
void kva__search_left(kva_vmem_t *vm, struct kva_vmem_btag *hole);

static inline void
search_came(kva_vmem_t *vm, struct kva_vmem_btag *hole)
{
    if (KVA_UNLIKELY(vm->searches != NULL)) {
        kva__search_came(vm, hole);
    }
}

static inline void
search_left(kva_vmem_t *vm, struct kva_vmem_btag *hole)
{
    if (KVA_UNLIKELY(vm->searches != NULL)) {
        kva__search_left(vm, hole);
    }
}

#endif
