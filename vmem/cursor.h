/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cursors: places in the rings of an arena that survive changes; the theory is
 * at the head of cursor.c.
 */
#ifndef KVA_VMEM_CURSOR_H
#define KVA_VMEM_CURSOR_H

#include "vmem/vmem_impl.h"

/* How many tags are looked at before the arena lock is dropped for a moment. */
#define KVA__CURSOR_STEP 64u

/* On the stack of whoever looks; (a) the arena's lock. */
struct kva__cursor {
    kva_vmem_t *vm;             /* (c) */
    struct kva__cursor *next;   /* (a) in the arena's list */
    struct kva__cursor *prev;   /* (a) */
    struct kva_vmem_btag *span; /* (a) where it is; NULL: at the end */
    struct kva_vmem_btag *at;   /* (a) to be visited next, see P2; or NULL */
    struct kva_vmem_btag *last; /* (a) the span to end with; NULL: none */
    size_t left;                /* with no lock: steps until it is too many */
    bool wary;                  /* with no lock: look before following */
};

/*
 * Place a cursor in front of the first span; take it off again.  Arena locked,
 * but for a wary one, which is on no list.
 */
void kva__cursor_begin(struct kva__cursor *c, kva_vmem_t *vm);
void kva__cursor_begin_wary(struct kva__cursor *c, kva_vmem_t *vm);
void kva__cursor_end(struct kva__cursor *c);

/*
 * The tag that the cursor stands at, a span's own first, then its segments; the
 * cursor goes on to the next.  NULL: that was all.  Arena locked.
 */
struct kva_vmem_btag *kva__cursor_step(struct kva__cursor *c);
/* Leave out the rest of the span that the cursor is in. */
void kva__cursor_skip_span(struct kva__cursor *c);

/* For who changes rings, before the change; see cursor.c. */
void kva__cursor_pass(kva_vmem_t *vm, struct kva_vmem_btag *bt);
void kva__cursor_span_gone(kva_vmem_t *vm, struct kva_vmem_btag *span);
/* The end of the span is one of its own from now on, behind it on the list. */
void kva__cursor_span_split(kva_vmem_t *vm, struct kva_vmem_btag *span,
                            struct kva_vmem_btag *rest);

/* The tag is about to leave its ring, its segment joining the one before; or
 * the one before is about to join it.  Who stands there goes on to the next. */
static inline void
cursor_pass(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    if (KVA_UNLIKELY(vm->cursors != NULL)) {
        kva__cursor_pass(vm, bt);
    }
}

/* The span is about to leave the list. */
static inline void
cursor_span_gone(kva_vmem_t *vm, struct kva_vmem_btag *span)
{
    if (KVA_UNLIKELY(vm->cursors != NULL)) {
        kva__cursor_span_gone(vm, span);
    }
}

#endif
