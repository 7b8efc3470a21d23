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
    bool walking;               /* what is sure was tried */
    bool passed;                /* (a) one that does was passed over for it */
    kva__btag_ref_t at;         /* (a) the next to visit of a class's list */
    unsigned next_class;        /* (a) to be visited when at is none */
    struct kva__search *next;   /* (a) suspended ones */

    /* with an index */
    uintptr_t cursor; /* holes are looked for from here, up or down */
    uintptr_t from;   /* next fit: not below, until it has wrapped */
    size_t size;      /* by size: behind one of that size at cursor */
    bool around;      /* the hole around the cursor is still to be looked at */
    bool end;         /* the cursor is past the top of the space */
    bool wrapped;     /* next fit: begun anew; down: at the lower bound */
};

void
kva__search_begin(struct kva__search *s, const struct kva__vmem_request *rq);
/* Does the hole serve; where. */
bool kva__search_fits(const struct kva_vmem_btag *hole,
                      const struct kva__vmem_request *rq, uintptr_t *start);
/* Length that has room for the request wherever a hole starts, bounds aside; 0:
 * none has. */
size_t
kva__search_sure(const kva_vmem_t *vm, const struct kva__vmem_request *rq);
/* A step through the index (search_index.c). */
enum kva__search_result
kva__search_index(kva_vmem_t *vm, struct kva__search *s);
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
