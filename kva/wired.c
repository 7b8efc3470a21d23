/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ranges with pages, for who wants just that: what vmap, vmalloc and
 * uvm_km_alloc are for in other kernels.
 *
 * A range is one segment of heap_va_arena, one tag, with pages attached; it is
 * in no arena of wired memory and in no quantum cache, so that its addresses
 * are unmapped when it is freed (lazily, lazy.c) and not handed on with their
 * pages.  It is wanted as an import of kmem_arena is, of which each is a try,
 * and so waits among that arena's requests, with what wakes those.
 */
#include "kva/kva_impl.h"
#include "vmem/reserve.h"

#define FUNC_ALLOC "kva_wired_alloc"
#define FUNC_FREE "kva_wired_free"

static void
booted_verify(const char *func, uintptr_t va)
{
    if (kva__mode == KVA_MODE_NONE) {
        kva__misuse(func, "arena", "heap_va", va,
                    "expected a tower that was booted, found none");
    }
}

static void
request_verify(size_t align, vm_flag_t flags)
{
    flags &= ~(vm_flag_t)VM_RESERVE;
    if (flags != VM_SLEEP && flags != VM_NOSLEEP) {
        kva__misuse(FUNC_ALLOC, "arena", "heap_va", 0,
                    "expected either VM_SLEEP or VM_NOSLEEP, found flags 0x%x",
                    flags);
    }
    if ((align & (align - 1)) != 0) {
        kva__misuse(FUNC_ALLOC, "arena", "heap_va", 0,
                    "expected a power of two for the alignment, found %zu",
                    align);
    }
}

/* One try; nobody sleeps below.  What is freed goes back to the port, so it may
 * be of the reserve. */
static int
attempt(kva_vmem_t *vm, const struct kva__vmem_request *rq,
        enum btag_state state, uintptr_t *addr)
{
    const struct vmem_request ask = {
        .size = rq->size,
        .align = rq->align,
        .maxaddr = VMEM_ADDR_MAX,
        .flags = (rq->flags & ~(vm_flag_t)VM_SLEEP) | VM_NOSLEEP,
    };
    uintptr_t got;
    size_t actual;
    int err;

    (void)state;
    err = (rq->flags & VM_RESERVE) != 0
              ? kva__wire_reserve_import(vm->source, &ask, &actual, &got)
              : kva__wire_import(vm->source, &ask, &actual, &got);
    if (err == 0) {
        *addr = got;
    }
    return err;
}

int
kva_wired_alloc(size_t size, size_t align, vm_flag_t flags, vmem_addr_t *va)
{
    struct kva__vmem_request rq;

    booted_verify(FUNC_ALLOC, 0);
    request_verify(align, flags);
    size = kva__vmem_size_verify(kva_kmem_arena, FUNC_ALLOC, 0, size);
    rq = request_plain(kva_kmem_arena, size, flags);
    rq.apart = true;
    if (align > KVA_PAGE_SIZE) {
        rq.align = align;
        rq.constrained = true;
    }
    return kva__arena_persist(kva_kmem_arena, &rq, BT_XALLOC, va, attempt);
}

/* What an arena imported has the looks of a range; it is not his. */
static void
owner_verify(kva_vmem_t *vm, uintptr_t va)
{
    bool hashed, theirs;
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    theirs = kva__segment_at(vm, va, &hashed) != NULL;
    kva_port_unlock(&vm->lock, irq);
    if (theirs) {
        kva__misuse(FUNC_FREE, "arena", "heap_va", va,
                    "expected a range of kva_wired_alloc, found one of arena "
                    "%s",
                    vm->name);
    }
}

void
kva_wired_free(vmem_addr_t va, size_t size)
{
    booted_verify(FUNC_FREE, va);
    owner_verify(kva_kmem_arena, va);
    owner_verify(kva_kmem_movable_arena, va);
    owner_verify(kva_kmem_intr_arena, va);
    size = kva__vmem_size_verify(kva_kmem_arena, FUNC_FREE, va, size);
    kva__wire_free(va, size, FUNC_FREE);
    kva__wait_released(kva_kmem_arena);
}
