/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Contiguous memory.  Frames first, since they are what is scarce; then
 * addresses: the frames' own, those of the direct map, or else a range of
 * heap_va_arena, to which the run is mapped in one piece.  Each step is undone
 * if a later one fails.
 */
#include "kva/contig.h"

#include "kva/kva_impl.h"
#include "vmem/reserve.h"
#include "port/contract.h"
#include "reclaim/reclaim.h"

/* What the device wants. */
struct want {
    size_t n; /* pages */
    kva_pa_t low, high, align, boundary;
};

static bool
is_pow2(kva_pa_t x)
{
    return (x & (x - 1)) == 0;
}

/* Can any frames be so. */
static bool
want_is_possible(const struct want *w)
{
    kva_pa_t bytes = (kva_pa_t)w->n << KVA_PAGE_SHIFT;

    return is_pow2(w->align) && is_pow2(w->boundary) && w->low <= w->high &&
           w->high - w->low >= bytes - 1 &&
           (w->boundary == 0 || w->boundary >= bytes);
}

/* ---- frames ------------------------------------------------------------- */

#if KVA_CONFIG_PAGE_CONTIG
static int
frames_get(const struct want *w, kva_pa_t *pa)
{
    return kva_port_page_contig(w->n, w->low, w->high, w->align, w->boundary,
                                KVA_PAGE_NOSLEEP, pa);
}
#else
static int
frames_get(const struct want *w, kva_pa_t *pa)
{
    kva_pa_t last;

    if (kva_port_page_get(w->n, KVA_PAGE_NOSLEEP, pa) != 0) {
        return KVA_ENOMEM;
    }
    last = *pa + ((kva_pa_t)w->n << KVA_PAGE_SHIFT) - 1;
    if (*pa >= w->low && last <= w->high &&
        (w->align == 0 || (*pa & (w->align - 1)) == 0) &&
        (w->boundary == 0 || ((*pa ^ last) & ~(w->boundary - 1)) == 0)) {
        return 0;
    }
    kva_port_page_put(w->n, *pa);
    return KVA_ENOMEM;
}
#endif

/* ---- addresses for them ------------------------------------------------- */

/* One region: its addresses are the frames. */
static int
region_get(const struct want *w, vm_flag_t flags, uintptr_t *va, kva_pa_t *pa)
{
    kva_pa_t high = w->high < UINTPTR_MAX ? w->high : UINTPTR_MAX;
    kva_pa_t align = w->align < KVA_PAGE_SIZE ? 0 : w->align;
    int err;

    if (w->low > high || align > UINTPTR_MAX) {
        return KVA_EINVAL;
    }
    err = vmem_xalloc(kva_kernel_va_arena, w->n << KVA_PAGE_SHIFT,
                      (uintptr_t)align, 0,
                      w->boundary > UINTPTR_MAX ? 0 : (uintptr_t)w->boundary,
                      (uintptr_t)w->low, (uintptr_t)high,
                      (flags & ~VM_SLEEP) | VM_NOSLEEP, va);
    *pa = *va;
    return err;
}

#if KVA_TIER >= 2
static int
va_get(size_t n, kva_pa_t pa, uintptr_t *va)
{
    size_t bytes = n << KVA_PAGE_SHIFT;
    int err;

#if KVA_DIRECT_MAP
    if (kva_port_direct(pa, n, va)) {
        return 0;
    }
#endif
    err = vmem_xalloc(kva_heap_va_arena, bytes, 0, 0, 0, VMEM_ADDR_MIN,
                      VMEM_ADDR_MAX, VM_NOSLEEP, va);
    if (err == 0 &&
        kva_port_map(*va, pa, n, KVA_PROT_READ | KVA_PROT_WRITE) != 0) {
        vmem_xfree(kva_heap_va_arena, *va, bytes);
        err = KVA_ENOMEM;
    }
    return err;
}
#else
static int
va_get(size_t n, kva_pa_t pa, uintptr_t *va)
{
    (void)n;
    *va = (uintptr_t)pa;
    return 0;
}
#endif

static int
try_once(const struct want *w, vm_flag_t flags, uintptr_t *va, kva_pa_t *pa)
{
    int err;

    if (kva__mode == KVA_MODE_REGION) {
        return region_get(w, flags, va, pa);
    }
    err = frames_get(w, pa);
    if (err == 0) {
        err = va_get(w->n, *pa, va);
        if (err != 0) {
            kva_port_page_put(w->n, *pa);
        }
    }
    return err;
}

/* ---- what drivers call -------------------------------------------------- */

static size_t
size_verify(const char *func, uintptr_t va, size_t size)
{
    size_t bytes = kva_round_up(size, KVA_PAGE_SIZE);

    if (bytes == 0) {
        kva__misuse(func, "arena", "heap_va", va,
                    "expected a size above 0 that can be rounded up to pages, "
                    "found size %zu",
                    size);
    }
    return bytes;
}

/* One try, counted as pages that are wired. */
static int
try_accounted(const struct want *w, vm_flag_t flags, uintptr_t *va,
              kva_pa_t *pa)
{
    size_t bytes = w->n << KVA_PAGE_SHIFT;
    int err;

    if (!kva__wire_account(bytes,
                           kva__reserve_entitled(flags) ? VM_RESERVE : 0)) {
        return KVA_ENOMEM;
    }
    err = try_once(w, flags, va, pa);
    if (err != 0) {
        kva__wire_unaccount(bytes);
    }
    return err;
}

/* And another one, if what was freed waited for a flush. */
static int
try_pressed(const struct want *w, vm_flag_t flags, uintptr_t *va, kva_pa_t *pa)
{
    int err;

    kva__wire_attempt_begin();
    err = try_accounted(w, flags, va, pa);
    if (err == KVA_ENOMEM && kva__lazy_press()) {
        err = try_accounted(w, flags, va, pa);
    }
    kva__wire_attempt_end(err != 0);
    return err;
}

int
kva_contig_alloc(size_t size, kva_pa_t low, kva_pa_t high, kva_pa_t align,
                 kva_pa_t boundary, vm_flag_t flags, vmem_addr_t *va,
                 kva_pa_t *pa)
{
    size_t bytes = size_verify("kva_contig_alloc", 0, size);
    const struct want w = { bytes >> KVA_PAGE_SHIFT, low, high, align,
                            boundary };
    int err;

    if (!want_is_possible(&w)) {
        return KVA_EINVAL;
    }
    err = try_pressed(&w, flags, va, pa);
    if (err == KVA_ENOMEM && kva__wait_possible(flags)) {
        (void)kva_reclaim(SIZE_MAX);
        err = try_pressed(&w, flags, va, pa);
    }
    return err;
}

/* It is one of ours, before anything is unmapped. */
static void
range_verify(uintptr_t va, size_t bytes)
{
    kva_vmem_t *vm =
        kva__mode == KVA_MODE_REGION ? kva_kernel_va_arena : kva_heap_va_arena;
    struct kva_vmem_btag *bt;
    kva_irq_t irq;

    irq = kva_port_lock(&vm->lock);
    bt = kva__segment_lookup(vm, va, bytes, BT_XALLOC);
    kva_port_unlock(&vm->lock, irq);
    if (bt == NULL) {
        kva__arena_refuse(vm, va, bytes, BT_XALLOC, "kva_contig_free");
    }
}

static void
range_free(uintptr_t va, size_t bytes)
{
    kva_pa_t pa = va;

    if (kva__mode == KVA_MODE_FRAMES || kva__wire_direct(va, &pa)) {
        kva_port_page_put(bytes >> KVA_PAGE_SHIFT, pa);
        kva__wire_unaccount(bytes);
        return;
    }
    range_verify(va, bytes);
    if (kva__mode == KVA_MODE_REGION) {
        kva__wire_unaccount(bytes);
        vmem_xfree(kva_kernel_va_arena, va, bytes);
        return;
    }
#if KVA_TIER >= 2
    kva__wire_detach(va, bytes);
    vmem_xfree(kva_heap_va_arena, va, bytes);
#endif
}

void
kva_contig_free(vmem_addr_t va, size_t size)
{
    range_free(va, size_verify("kva_contig_free", va, size));
    kva__wait_released(kva_kmem_arena); /* somebody may wait for frames */
}
