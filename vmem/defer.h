/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ranges that were freed and are kept back: nobody's any more, and not free
 * yet.  The owner of the arena decides when they come out, for instance when
 * no TLB knows of them any more (kva/lazy.c).
 *
 *      allocated --defer--> in a list --take, pop--> in the taker's hands
 *                              ^                        |         |
 *                              +---------keep-----------+        end
 *                                                                 v
 *                                                               free
 *
 * The record of such a range is its own boundary tag, which stays in its ring
 * with a state of its own and keeps its neighbours from joining.  It leaves the
 * hash, so that no free finds it again, and then has a word to spare: the link
 * of the list.  So nothing here takes memory, and nothing here can fail.
 *
 * Lists belong to one arena and are guarded by its lock.
 */
#ifndef KVA_VMEM_DEFER_H
#define KVA_VMEM_DEFER_H

#include "vmem/vmem_impl.h"

/* First in, first out. */
struct kva__deferred {
    struct kva_vmem_btag *first; /* (a) */
    struct kva_vmem_btag *last;  /* (a) */
    size_t count;                /* (a) */
    size_t bytes;                /* (a) */
    uint64_t since; /* (a) when the first came, as the caller tells the time */
};

/*
 * A range from vmem_xalloc ends, and goes to the end of the list.  As a free
 * by func: if there is no such range it is reported, and not returned from.
 * No lock held.
 */
void kva__vmem_defer(kva_vmem_t *vm, struct kva__deferred *list, uintptr_t addr,
                     size_t size, uint64_t now, const char *func);

/*
 * The whole list goes to *batch, which is the caller's alone from then on, if
 * it has as many bytes or more, or its first came before that moment.  False:
 * it has not, or it is empty.
 */
bool kva__vmem_deferred_take(kva_vmem_t *vm, struct kva__deferred *list,
                             size_t bytes, uint64_t before,
                             struct kva__deferred *batch);

/* The oldest of a list that has more than so many ranges or bytes, or NULL. */
struct kva_vmem_btag *
kva__vmem_deferred_pop(kva_vmem_t *vm, struct kva__deferred *list, size_t count,
                       size_t bytes);

/* What a tag in the caller's hands stands for, and the next of its batch. */
struct kva_vmem_btag *
kva__vmem_deferred_range(kva_vmem_t *vm, const struct kva_vmem_btag *bt,
                         uintptr_t *addr, size_t *size);

/* A tag in the caller's hands: to the end of a list; or its range is free, and
 * whom it may serve is woken. */
void kva__vmem_deferred_keep(kva_vmem_t *vm, struct kva__deferred *list,
                             struct kva_vmem_btag *bt);
void kva__vmem_deferred_end(kva_vmem_t *vm, struct kva_vmem_btag *bt);

/* A copy of what is counted, for statistics. */
struct kva__deferred
kva__vmem_deferred_stat(kva_vmem_t *vm, const struct kva__deferred *list);

#endif
