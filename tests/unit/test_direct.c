/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine with a direct map: wired memory whose frames lie in a row is used
 * through it, so that nothing is mapped, unmapped or flushed; what has no such
 * run is mapped as ever; and metadata is there too.
 */
#include <string.h>

#include "kva/kva.h"
#include "tests/harness/machine.h"
#include "vmem/vmem_store.h"

#define P KVA_PAGE_SIZE

static void
boot(void)
{
    struct kva_posix_config config = { .va_bytes = (size_t)256 << 20 };

    PORT(&config);
    machine_boot((struct kva_boot){ 0 });
}

/* Everything is in the direct map, and no page table is touched. */
static void
nothing_is_mapped(struct test_ctx *t)
{
    vmem_addr_t a[64];
    struct kva_stat st;
    kva_pa_t pa;

    (void)t;
    boot();
    for (size_t n = 1; n <= 64; n++) {
        CHECK_EQ(vmem_alloc(kmem_arena, n * P, VM_NOSLEEP, &a[n - 1]), 0);
        CHECK(kva_port_direct_pa(a[n - 1], &pa));
        memset((void *)a[n - 1], (int)n, n * P);
    }
    kva_stat(&st);
    CHECK_EQ(machine().frames * P, st.wired_bytes + st.meta_pages_bytes);
    for (size_t n = 1; n <= 64; n++) {
        CHECK_EQ(*(unsigned char *)(a[n - 1] + n * P - 1), n);
        vmem_free(kmem_arena, a[n - 1], n * P);
    }
    (void)vmem_drain(kmem_arena, SIZE_MAX, 0);
    CHECK_EQ(machine().maps, 0);
    CHECK_EQ(machine().flushes, 0);
    CHECK_EQ(vmem_size(heap_va_arena, VMEM_ALLOC), 0);
    kva_stat(&st);
    CHECK_EQ(st.wired_bytes, 0);
    kva_shutdown();
    CHECK_EQ(machine().frames, 0);
}

/* No run is as long: single frames are in the map, others in address space. */
static void
short_runs_are_mapped(struct test_ctx *t)
{
    vmem_addr_t one = 0, many = 0;
    kva_pa_t pa;

    (void)t;
    boot();
    kva_posix_run_max_set(1);
    CHECK_EQ(vmem_xalloc(kmem_arena, P, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                         VM_NOSLEEP, &one),
             0);
    CHECK_EQ(vmem_xalloc(kmem_arena, 50 * P, 0, 0, 0, VMEM_ADDR_MIN,
                         VMEM_ADDR_MAX, VM_NOSLEEP, &many),
             0);
    CHECK(kva_port_direct_pa(one, &pa));
    CHECK(!kva_port_direct_pa(many, &pa));
    memset((void *)one, 1, P);
    memset((void *)many, 2, 50 * P);
    CHECK_EQ(machine().attached_pages, 50);
    /* Bounds in address space are kept to. */
    vmem_xfree(kmem_arena, one, P);
    CHECK_EQ(vmem_xalloc(kmem_arena, P, 0, 0, 0, kva_posix_va_base(),
                         kva_posix_va_base() + kva_posix_va_bytes() - 1,
                         VM_NOSLEEP, &one),
             0);
    CHECK(!kva_port_direct_pa(one, &pa));
    vmem_xfree(kmem_arena, one, P);
    vmem_xfree(kmem_arena, many, 50 * P);
    (void)vmem_drain(kmem_arena, SIZE_MAX, 0);
    CHECK_EQ(machine().attached_pages, 0);
    CHECK_EQ(vmem_size(heap_va_arena, VMEM_ALLOC), 0);
    kva_shutdown();
    CHECK_EQ(machine().frames, 0);
}

/* A drain that cuts parts out of spans gives their frames back. */
static void
parts_go_back(struct test_ctx *t)
{
    vmem_addr_t a[256];

    (void)t;
    boot();
    for (unsigned i = 0; i < 256; i++) {
        CHECK_EQ(vmem_alloc(kmem_arena, P, VM_NOSLEEP, &a[i]), 0);
    }
    for (unsigned i = 0; i < 256; i++) {
        if (i % 16 != 0) {
            vmem_free(kmem_arena, a[i], P);
        }
    }
    (void)vmem_drain(kmem_arena, SIZE_MAX, 0);
    CHECK_LE(vmem_size(kmem_arena, VMEM_ALLOC | VMEM_FREE), 32 * P);
    CHECK_PTR(vmem_check(kmem_arena), NULL);
    for (unsigned i = 0; i < 256; i += 16) {
        vmem_free(kmem_arena, a[i], P);
    }
    (void)vmem_drain(kmem_arena, SIZE_MAX, 0);
    kva_shutdown();
    CHECK_EQ(machine().frames, 0);
}

const struct test direct_tests[] = { TEST("direct", nothing_is_mapped),
                                     TEST("direct", short_runs_are_mapped),
                                     TEST("direct", parts_go_back), TEST_END };
