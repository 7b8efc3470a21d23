/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of kva/ share.
 */
#ifndef KVA_KVA_KVA_IMPL_H
#define KVA_KVA_KVA_IMPL_H

#include "kva/kva.h"
#include "vmem/vmem_impl.h"

/* Where wired memory comes from. */
enum kva_mode {
    KVA_MODE_NONE,   /* not started */
    KVA_MODE_REGION, /* one donated region; addresses are memory */
    KVA_MODE_FRAMES, /* frames of the port, identity mapped */
    KVA_MODE_VA      /* address space, to which frames are attached */
};

extern enum kva_mode kva__mode;

/* ---- wire.c ---------------------------------------------------------- */

void kva__wire_init(size_t limit);
void kva__wire_fini(void);
/* From here on pages can be attached. */
void kva__wire_start(void);
size_t kva__wire_bytes(void);
size_t kva__wire_max(void);
/* Bytes that were ever detached; may wrap. */
size_t kva__wire_gone(void);

/* kmem_arena's import and release, and those of kmem_intr_arena. */
kva_vmem_rimport_t kva__wire_import;
kva_vmem_release_t kva__wire_release;
kva__vmem_split_t kva__wire_split;
kva_vmem_rimport_t kva__wire_intr_import;
/* That of kmem_reserve: as VM_RESERVE says. */
kva_vmem_rimport_t kva__wire_reserve_import;
/* So many bytes below the limit everybody else's ends; returns that, 0: none.
 * whole: the limit, if there was none. */
size_t kva__wire_reserve_set(size_t bytes, size_t whole);
void kva__wire_reserve(size_t *bytes, size_t *used);

/* A large page; if there are none, what no range is as long as. */
#define KVA__LARGE \
    (KVA_LARGE_PAGE_SIZE != 0 ? (size_t)KVA_LARGE_PAGE_SIZE : SIZE_MAX / 2 + 1)

/* Addresses for the request out of source; aligned to a large page if one fits
 * in, and if such are to be had.  In line, as it is on the deepest way. */
static inline int
kva__wire_addresses(kva_vmem_t *source, const struct kva_vmem_request *rq,
                    uintptr_t *addr)
{
    int err = KVA_ENOMEM;

    if (rq->size >= KVA__LARGE && rq->phase == 0 && rq->align < KVA__LARGE) {
        err = vmem_xalloc(source, rq->size, KVA__LARGE, 0, rq->nocross,
                          rq->minaddr, rq->maxaddr, rq->flags, addr);
    }
    if (err != 0) {
        err = vmem_xalloc(source, rq->size, rq->align, rq->phase, rq->nocross,
                          rq->minaddr, rq->maxaddr, rq->flags, addr);
    }
    return err;
}

/* Pages for bytes of addresses that are the caller's, and off them again: for
 * who has pages only now and then.  0 or KVA_ENOMEM.  No lock held. */
int kva__wire_attach(uintptr_t va, size_t bytes);
void kva__wire_detach(uintptr_t va, size_t bytes);

/* Count bytes that are attached elsewhere, for a request with these flags;
 * false: above its limit, or before kva_start. */
bool kva__wire_account(size_t bytes, kva_vm_flag_t flags);
void kva__wire_unaccount(size_t bytes);
/* Around each attempt to have pages, from the account on: with it nobody who
 * waits sleeps on what a failed one has taken for a while.  No lock held. */
void kva__wire_attempt_begin(void);
void kva__wire_attempt_end(bool failed);
/* Is va in the direct map; the frame behind it. */
bool kva__wire_direct(uintptr_t va, kva_pa_t *pa);

/* ---- kva.c ----------------------------------------------------------- */

/* What an arena does when it has nothing left, if the caller can wait. */
size_t kva__press_caches(kva_vmem_t *vm, const struct kva__vmem_request *rq,
                         size_t bytes, bool hard);

/* ---- permanent.c ----------------------------------------------------- */

/* kmem_permanent_arena, addresses from source; false: no memory. */
bool kva__permanent_init(struct kva_vmem *store, kva_vmem_t *source);
/* All of it is free, and its pages are back. */
void kva__permanent_fini(void);

/* ---- stack.c --------------------------------------------------------- */

void kva__stacks_boot(void);
/* Report a set of stacks that is not ended. */
void kva__stacks_expect_none(const char *func);

/* What kva__wire_release does, for func. */
void kva__wire_free(uintptr_t va, size_t size, const char *func);

/* ---- unmap.c --------------------------------------------------------- */
#if KVA_TIER >= 2

/* Runs of frames under pages that were unmapped, and are to be flushed. */
#define KVA__UNMAP_FEW 8u

struct kva__unmap {
    kva_pa_t *run_pa;
    uint32_t *run_n; /* in pages */
    unsigned n, max;
    uintptr_t first, last; /* addresses unmapped since the last flush */
    size_t flushes;
    kva_pa_t few_pa[KVA__UNMAP_FEW];
    uint32_t few_n[KVA__UNMAP_FEW];
};

/* Pages off the n addresses at va, for all that are added between begin and
 * end; flushed, and their frames the port's again, when that returns. */
void kva__unmap_begin(struct kva__unmap *u);
void kva__unmap_add(struct kva__unmap *u, uintptr_t va, size_t n);
void kva__unmap_end(struct kva__unmap *u);
#endif

/* ---- lazy.c ---------------------------------------------------------- */

void kva__lazy_init(const struct kva_boot *kb);
/* A wired range of heap_va_arena, by func, which reports if it is none. */
void kva__lazy_free(uintptr_t va, size_t size, const char *func);
/* Somebody is in want: all that is kept back is flushed, and free.  True: there
 * was something, so another try may do.  No lock held, and where the caller may
 * unmap. */
bool kva__lazy_press(void);
/* Bytes whose frames ever went back; now: after a flush. */
size_t kva__lazy_settle(bool now);
void kva__lazy_stat(struct kva_stat *st);

/* ---- map.c ----------------------------------------------------------- */

void kva__map_init(void);
void kva__map_fini(void);
/* From here on pages can have frames. */
void kva__map_start(void);
/* Give addresses back that are free within pageable ranges, as far as there is
 * memory for it.  No lock held. */
void kva__map_settle(void);
/* Its part of the statistics. */
void kva__map_stat(struct kva_stat *st);

#endif
