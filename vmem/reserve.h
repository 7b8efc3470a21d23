/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reserves: memory for who must allocate in order to free.
 *
 *      ordinary callers                    entitled ones besides
 *      |<------ limit less reserve ------>|<- reserve ->|   wired pages
 *      pages that the port gives          |<- stock --->|   metadata pages
 *      slabs                              |<- kept ---->|   objects of a pool
 *
 * Swap over a network takes buffers for packets before it frees a page; a block
 * layer takes requests.  When nothing is left they would wait for each other.
 * So some of everything is kept back for those who say that what they take will
 * free more.  A caller is ENTITLED by a flag of the request (VM_RESERVE,
 * PR_RESERVE, KM_RESERVE, M_USE_RESERVE), or while its task is MARKED.  Who is
 * entitled gets what everybody gets as long as there is any, and only then what
 * was kept back.
 *
 * What comes from a reserve goes back to it, and reaches nobody else: pages are
 * in an arena of their own without caches (kmem_reserve), whose ranges leave it
 * when they are freed; objects are in slabs of their own, and a put of one
 * misses the magazines (pool/reserve.c).  The stock of metadata is filled again
 * by the first pages that come back.
 *
 * The mark is Linux' PF_MEMALLOC, the flag __GFP_MEMALLOC (and illumos'
 * KM_PUSHPAGE, FreeBSD's M_USE_RESERVE); objects kept for a pool are its
 * mempools.  That such objects need no test on a hit was asked for on its list
 * in 2012, when its slab allocators had one put in.
 */
#ifndef KVA_VMEM_RESERVE_H
#define KVA_VMEM_RESERVE_H

#include "vmem/vmem.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Mark the current task: what it asks for until kva_reserve_leave is entitled,
 * as if each request said so.  Marks nest.  0; or KVA_ENOTSUP, and nothing was
 * done: the port has no word for a task (kva_port_task_mark), or the caller is
 * no task but an interrupt.  Constant work, no lock.  leave without enter is a
 * misuse.
 */
int kva_reserve_enter(void);
void kva_reserve_leave(void);

/* Is the caller's task marked?  Any context. */
bool kva_reserve_marked(void);

/* ---- private ---------------------------------------------------------- */

/* Of a request with these flags. */
static inline bool
kva__reserve_entitled(kva_vm_flag_t flags)
{
    return KVA_RESERVES &&
           ((flags & KVA_VM_RESERVE) != 0 || kva_reserve_marked());
}

/*
 * A word of the task's, or NULL, to give back to the function's counterpart:
 * begin marks it, for a request that has the flag, so that the metadata it
 * needs may come from the stock; hide takes the mark away, for what is to be
 * done with ordinary memory.
 */
struct kva__mark {
    unsigned *word;
    unsigned was;
};
struct kva__mark kva__reserve_begin(void);
struct kva__mark kva__reserve_hide(void);
void kva__reserve_end(struct kva__mark mark);

/* Who runs: something of his own; NULL where the port lends no word, or in an
 * interrupt. */
const void *kva__task(void);

struct kva__vmem_request;

/*
 * Where entitled requests to vm go when vm has nothing; what vm gives out has
 * the same sizes and is freed by the same functions, to vm.  Boot context.
 */
void kva__vmem_set_reserve(kva_vmem_t *vm, kva_vmem_t *reserve);

/* The arena behind vm in which addr begins a live range, or NULL. */
kva_vmem_t *kva__reserve_owner(kva_vmem_t *vm, uintptr_t addr);

#ifdef __cplusplus
}
#endif

#endif
