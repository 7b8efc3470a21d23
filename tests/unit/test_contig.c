/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Contiguous memory for devices: frames in a row and as they were asked for,
 * whatever they are used through; all of it comes back; a failure on the way
 * loses nothing.  The same bodies with an address space, with a direct map, and
 * with neither.
 */
#include <string.h>

#include "kva/contig.h"
#include "kva/kva.h"
#include "tests/unit/frame_waiter.h"
#include "vmem/vmem_store.h"

#define P KVA_PAGE_SIZE
#define FRAMES 4096
#define ANY (~(kva_pa_t)0)

static size_t
wired(void)
{
    struct kva_stat st;

    kva_stat(&st);
    return st.wired_bytes;
}

static void
boot(size_t limit)
{
    const struct kva_posix_config config = { .va_bytes = FRAMES * P };

    PORT(&config);
    machine_boot((struct kva_boot){ .wired_limit = limit });
}

struct held {
    vmem_addr_t va;
    kva_pa_t pa;
    size_t size;
};

/* What is used at va are the frames at pa, in a row. */
static void
check_held(const struct held *h)
{
    size_t n = (h->size + P - 1) / P;
#if KVA_DIRECT_MAP
    uintptr_t va = 0;

    CHECK(kva_port_direct(h->pa, n, &va));
    CHECK_EQ(h->va, va);
#elif KVA_TIER >= 2
    kva_pa_t pa = 0;

    CHECK_EQ(kva_port_translate(h->va, n, &pa), n);
    CHECK_EQ(h->pa, pa);
#else
    CHECK_EQ(h->va, h->pa);
    (void)n;
#endif
    CHECK_EQ(h->pa % P, 0);
}

static void
put(struct held *h)
{
    check_held(h);
    CHECK_EQ(*(size_t *)h->va, h->size);
    kva_contig_free(h->va, h->size);
    h->size = 0;
}

/* The first of the machine's frames, and how many there are. */
static kva_pa_t
frames(void)
{
    kva_pa_t first;
    size_t n;

    kva_posix_frames(&first, &n);
    CHECK_EQ(n, FRAMES);
    return first;
}

static void
get(struct test_ctx *t, struct held *h)
{
    kva_pa_t base = frames(), low = 0, high = ANY, align = 0, boundary = 0;
    size_t n = 1 + test_below(t, 16);

    h->size = n * P - test_below(t, P);
    if (test_below(t, 2) == 0) {
        align = P << test_below(t, 6);
    }
    if (test_below(t, 3) == 0) {
        boundary = P << (4 + test_below(t, 4));
    }
    if (test_below(t, 3) == 0) {
        low = base + test_below(t, FRAMES / 2) * P;
        high = low + (256 + test_below(t, FRAMES)) * P - 1;
    }
    if (kva_contig_alloc(h->size, low, high, align, boundary, VM_NOSLEEP,
                         &h->va, &h->pa) != 0) {
        CHECK_GT(machine().frames, 200); /* only where much is in use */
        h->size = 0;
        return;
    }
    check_held(h);
    CHECK_GE(h->pa, low);
    CHECK_LE(h->pa + n * P - 1, high);
    CHECK(align == 0 || h->pa % align == 0);
    CHECK(boundary == 0 || h->pa / boundary == (h->pa + n * P - 1) / boundary);
    memset((void *)h->va, 0x5a, h->size);
    *(size_t *)h->va = h->size;
}

#define LIVE 120

static void
runs_come_and_go(struct test_ctx *t)
{
    static struct held held[LIVE];
    vmem_addr_t a[8];
    size_t bytes = 0;

    boot(0);
    memset(held, 0, sizeof(held));
    for (unsigned i = 0; i < 8; i++) { /* others are between them */
        CHECK_EQ(vmem_alloc(kmem_arena, (i + 1) * P, VM_NOSLEEP, &a[i]), 0);
    }
    for (unsigned long i = 0; i < t->count; i++) {
        struct held *h = &held[test_below(t, LIVE)];

        if (h->size != 0) {
            put(h);
        } else {
            get(t, h);
        }
        if (i % 64 == 0) {
            CHECK_PTR(vmem_check(kmem_arena), NULL);
        }
    }
    for (unsigned i = 0; i < LIVE; i++) {
        if (held[i].size != 0) {
            put(&held[i]);
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        vmem_free(kmem_arena, a[i], (i + 1) * P);
    }
    (void)vmem_drain(kmem_arena, SIZE_MAX, 0);
    CHECK_EQ(wired(), 0);
    (void)bytes;
    kva_shutdown();
    CHECK_EQ(machine().frames, 0);
}

static void
constraints_are_looked_at(struct test_ctx *t)
{
    vmem_addr_t va = 0;
    kva_pa_t pa = 0;

    (void)t;
    boot(64 * P);
#define TRY(size, low, high, align, boundary) \
    kva_contig_alloc(size, low, high, align, boundary, VM_NOSLEEP, &va, &pa)
    CHECK_EQ(TRY(P, 0, ANY, 3 * P, 0), KVA_EINVAL);
    CHECK_EQ(TRY(P, 0, ANY, 0, 3 * P), KVA_EINVAL);
    CHECK_EQ(TRY(5 * P, 0, ANY, 0, 4 * P), KVA_EINVAL);
    CHECK_EQ(TRY(P, 2 * P, P, 0, 0), KVA_EINVAL);
    CHECK_EQ(TRY(2 * P, frames(), frames() + P - 1, 0, 0), KVA_EINVAL);
    CHECK_EQ(TRY(P, 0, frames() - 1, 0, 0), KVA_ENOMEM);
    CHECK_EQ(TRY(65 * P, 0, ANY, 0, 0), KVA_ENOMEM); /* the wired limit */
    CHECK_EQ(wired(), 0);
    CHECK_EQ(TRY(64 * P, 0, ANY, 0, 0), 0);
    CHECK_EQ(wired(), 64 * P);
    CHECK_EQ(TRY(P, 0, ANY, 0, 0), KVA_ENOMEM);
    kva_contig_free(va, 64 * P);
    CHECK_EQ(wired(), 0);
    CHECK_PANIC(TRY(0, 0, ANY, 0, 0),
                "kva_contig_alloc: arena heap_va: 0x0: expected a size above 0 "
                "that can be rounded up to pages, found size 0");
#undef TRY
    kva_shutdown();
}

/* In one donated region addresses are frames. */
static void
region_serves_devices(struct test_ctx *t)
{
    static _Alignas(65536) char region[128 * KVA_PAGE_SIZE];
    vmem_addr_t va = 0;
    kva_pa_t pa = 0;

    (void)t;
    PORT(NULL);
    CHECK_EQ(kva_boot_simple(region, sizeof(region)), 0);
    CHECK_EQ(
        kva_contig_alloc(5 * P, 0, ANY, 8 * P, 8 * P, VM_NOSLEEP, &va, &pa), 0);
    CHECK_EQ(va, pa);
    CHECK_EQ(pa % (8 * P), 0);
    memset((void *)va, 1, 5 * P);
    kva_contig_free(va, 5 * P);
    CHECK_EQ(kva_contig_alloc(P, 0, (uintptr_t)region - 1, 0, 0, VM_NOSLEEP,
                              &va, &pa),
             KVA_ENOMEM);
    CHECK_EQ(wired(), 0);
    kva_shutdown();
}

/* Each hook that may fail does so at its nth chance. */
static void
faults_lose_nothing(struct test_ctx *t)
{
    vmem_addr_t va = 0;
    kva_pa_t pa = 0;
    unsigned long nth = 0, fired = 1;

    (void)t;
    boot(0);
    CHECK_EQ(kva_contig_alloc(3 * P, 0, ANY, 0, 0, VM_NOSLEEP, &va, &pa), 0);
    kva_contig_free(va, 3 * P);
    (void)vmem_drain(kmem_arena, SIZE_MAX, 0);
    while (fired > 0) {
        size_t before = machine().frames;

        kva_posix_fault_reset();
        kva_posix_fault_arm(KVA_POSIX_ANY, ++nth, false);
        if (kva_contig_alloc(3 * P, 0, ANY, 0, 0, VM_NOSLEEP, &va, &pa) == 0) {
            kva_contig_free(va, 3 * P);
        }
        fired = kva_posix_fault_fired(KVA_POSIX_ANY);
        kva_posix_fault_disarm(KVA_POSIX_ANY);
        CHECK_EQ(wired(), 0);
        CHECK_EQ(machine().frames, before);
    }
    CHECK_GT(nth, 1);
    kva_shutdown();
}

#define ALL ((size_t)20)

/* What was freed and not flushed yet is as good as free. */
static void
freed_ranges_serve_devices(struct test_ctx *t)
{
    vmem_addr_t va;
    kva_pa_t pa;

    (void)t;
    boot(ALL * P);
    CHECK_EQ(kva_wired_alloc(ALL * P, 0, VM_NOSLEEP, &va), 0);
    CHECK_EQ(kva_contig_alloc(P, 0, ANY, 0, 0, VM_NOSLEEP, &va, &pa),
             KVA_ENOMEM);
    kva_wired_free(va, ALL * P);
    CHECK_EQ(kva_contig_alloc(ALL * P, 0, ANY, 0, 0, VM_NOSLEEP, &va, &pa), 0);
    kva_contig_free(va, ALL * P);
    CHECK_EQ(wired(), 0);
    kva_shutdown();
}

#if KVA_TIER >= 3
/* Who waits for frames is woken when a device gives them back. */
static void
who_waits_is_woken(struct test_ctx *t)
{
    struct frame_waiter w;
    vmem_addr_t va;
    kva_pa_t pa;

    (void)t;
    boot(ALL * P);
    CHECK_EQ(kva_contig_alloc(ALL * P, 0, ANY, 0, 0, VM_NOSLEEP, &va, &pa), 0);
    frame_waiter_start(&w, ALL / 2 * P);
    kva_contig_free(va, ALL * P);
    frame_waiter_end(&w);
    kva_shutdown();
}
#endif

const struct test contig_tests[] = { TEST_COUNT("contig", runs_come_and_go,
                                                2000, 50000, 1000000),
                                     TEST("contig", constraints_are_looked_at),
                                     TEST("contig", region_serves_devices),
                                     TEST("contig", faults_lose_nothing),
                                     TEST("contig", freed_ranges_serve_devices),
#if KVA_TIER >= 3
                                     TEST("contig", who_waits_is_woken),
#endif
                                     TEST_END };
