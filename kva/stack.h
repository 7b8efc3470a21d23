/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kernel stacks: wired, with unmapped pages beside them, cached per CPU.
 *
 * A kernel has a set of stacks for each size that it uses, one for threads and
 * one for interrupts, say.
 *
 *     static struct kva_stacks threads;
 *
 *     kva_stacks_init(&threads, "threads", 16384, 0);
 *     err = kva_stack_alloc(&threads, VM_SLEEP, &base);
 *     thread->sp = base + 16384;
 */
#ifndef KVA_KVA_STACK_H
#define KVA_KVA_STACK_H

#include "kva/kva.h"
#include "reclaim/reclaim.h"
#include "vmem/vmem_store.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Flags of kva_stacks_init. */
#define KVA_STACK_BOTH 0x1u    /* a guard page above as well as below */
#define KVA_STACK_GUARDED 0x2u /* KVA_ENOTSUP where there can be no guard */

/* In the owner's storage; all of it is private. */
struct kva_stacks {
    kva_vmem_t *vm;          /* (c) slots, or kmem_arena: no guards */
    size_t bytes;            /* (c) of a stack */
    uintptr_t guard;         /* (c) bytes below a stack; 0: no guards */
    unsigned slot_shift;     /* (c) of a stack with its guards */
    struct kva_stacks *next; /* of all sets */
    struct kva_cleaner cleaner;
    struct kva_vmem slots;         /* with pages in them */
    struct kva_vmem va;            /* addresses for them */
    char name[KVA__VMEM_NAME_MAX]; /* (c) */
};

/*
 * Make a set of stacks of bytes each, rounded to pages.  name is copied, and
 * cut.  Where addresses are frames (tiers 0 and 1, and kva_boot_simple) nothing
 * can be unmapped: the stacks have no guards, which is logged once, or with
 * KVA_STACK_GUARDED there is no set.
 * Returns 0, KVA_ENOMEM, KVA_ENOTSUP, or KVA_EINVAL if bytes is 0 or too large
 * to be rounded.  Thread or boot context, from kva_boot on.  Constant work.
 */
int kva_stacks_init(struct kva_stacks *ks, const char *name, size_t bytes,
                    unsigned flags);

/*
 * End a set, with no stack of it in use, before kva_shutdown.  Thread context.
 * Linear in what is cached.
 */
void kva_stacks_fini(struct kva_stacks *ks);

/*
 * A stack: [*base, *base + bytes) is mapped for reading and writing, and what
 * it was used for last is in it, or zeros.  flags: VM_SLEEP or VM_NOSLEEP.
 * Returns 0 or KVA_ENOMEM, the latter also before kva_start.  Thread context,
 * no lock held.  Mostly from the CPU's own magazine: constant work, no lock;
 * else as a piece of kmem_arena that is wired, of four stacks or more.
 */
int
kva_stack_alloc(struct kva_stacks *ks, kva_vm_flag_t flags, uintptr_t *base);

/*
 * Give one back; not the one that the caller is on.  It stays wired, until a
 * drain or reclaim wants the pages.  Cannot fail.  Thread context, no lock
 * held.  Constant work, no lock, mostly.
 */
void kva_stack_free(struct kva_stacks *ks, uintptr_t base);

/*
 * Give cached stacks' pages back until bytes are, but keep retain bytes;
 * returns how many.  reclaim does so.  Thread context, no lock held.
 */
size_t kva_stacks_drain(struct kva_stacks *ks, size_t bytes, size_t retain);

/*
 * For a fault handler: is va in a guard page of a stack that is in use?  Then
 * its set, and the stack in *base; else NULL.  Any context, whatever is locked,
 * while no set is made or ended.  Linear in the sets, of which there are few.
 */
struct kva_stacks *kva_stack_overflow(uintptr_t va, uintptr_t *base);

#ifdef __cplusplus
}
#endif

#endif
