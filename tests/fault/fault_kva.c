/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every hook that may fail is made to fail at its nth chance while the tower
 * starts and while it wires: afterwards no page is attached that was not
 * before, no frame, no tag and no address is lost.
 */
#include "kva/kva.h"
#include "tests/harness/machine.h"
#include "tests/misuse/digest.h"
#include "vmem/meta.h"
#include "vmem/vmem_store.h"

#define P KVA_PAGE_SIZE

static int
boot(size_t intr_bytes)
{
    struct kva_boot kb = { .va_base = kva_posix_va_base(),
                           .va_bytes = kva_posix_va_bytes(),
                           .intr_bytes = intr_bytes };
    int err = kva_boot(&kb);

    return err != 0 ? err : kva_start();
}

/* ---- starting ----------------------------------------------------------- */

static void
boot_fails_at_each_site(struct test_ctx *t)
{
    size_t meta = 0;
    unsigned long runs = 0;

    (void)t;
    PORT(NULL);
    kva_posix_run_max_set(3);
    for (unsigned sticky = 0; sticky < 2; sticky++) {
        unsigned long nth = 0, fired = 1;

        while (fired > 0) {
            kva_posix_fault_reset();
            kva_posix_fault_arm(KVA_POSIX_ANY, ++nth, sticky != 0);
            (void)boot(16 * P);
            fired = kva_posix_fault_fired(KVA_POSIX_ANY);
            kva_posix_fault_disarm(KVA_POSIX_ANY);
            kva_shutdown();
            CHECK_PTR(kva_vmem_list, NULL);
            CHECK_EQ(machine().attached_pages, 0);
            CHECK_EQ(machine().frames, 0);
            CHECK_EQ(boot(16 * P), 0); /* and now it works */
            kva_shutdown();
            if (runs++ == 0) {
                meta = machine().meta_pages;
            }
            CHECK_EQ(machine().meta_pages, meta);
        }
        CHECK_GT(nth, 5);
    }
}

/* ---- running ------------------------------------------------------------ */

struct operation {
    const char *name;
    int (*get)(vmem_addr_t *addr);
    void (*put)(vmem_addr_t addr);
};

static int
get_small(vmem_addr_t *addr)
{
    return vmem_alloc(kmem_arena, P, VM_NOSLEEP, addr);
}

static void
put_small(vmem_addr_t addr)
{
    vmem_free(kmem_arena, addr, P);
}

static int
get_large(vmem_addr_t *addr)
{
    return vmem_alloc(kmem_arena, 50 * P, VM_NOSLEEP, addr);
}

static void
put_large(vmem_addr_t addr)
{
    vmem_free(kmem_arena, addr, 50 * P);
}

static int
get_constrained(vmem_addr_t *addr)
{
    return vmem_xalloc(kmem_arena, 7 * P, 64 * P, 32 * P, 64 * P, VMEM_ADDR_MIN,
                       VMEM_ADDR_MAX, VM_NOSLEEP, addr);
}

static void
put_constrained(vmem_addr_t addr)
{
    vmem_xfree(kmem_arena, addr, 7 * P);
}

static int
get_va(vmem_addr_t *addr)
{
    return vmem_alloc(heap_va_arena, 3 * P, VM_NOSLEEP, addr);
}

static void
put_va(vmem_addr_t addr)
{
    vmem_free(heap_va_arena, addr, 3 * P);
}

static int
get_pageable(vmem_addr_t *addr)
{
    return kva_pageable_alloc(3 * P, KVA_PROT_READ | KVA_PROT_WRITE, VM_NOSLEEP,
                              addr);
}

static void
put_pageable(vmem_addr_t addr)
{
    kva_pageable_free(addr, 3 * P);
}

static int
get_pageable_wired(vmem_addr_t *addr)
{
    int err = get_pageable(addr);

    if (err == 0) {
        err = kva_pageable_wire(*addr + P, 2 * P);
        if (err != 0) {
            kva_pageable_free(*addr, 3 * P);
        }
    }
    return err;
}

static void
put_pageable_wired(vmem_addr_t addr)
{
    kva_pageable_unwire(addr + P, 2 * P);
    put_pageable(addr);
}

static int
get_intr(vmem_addr_t *addr)
{
    return vmem_alloc(kmem_intr_arena, 40 * P, VM_NOSLEEP, addr);
}

static void
put_intr(vmem_addr_t addr)
{
    vmem_free(kmem_intr_arena, addr, 40 * P);
    (void)kva_intr_drain();
}

static int
get_wired(vmem_addr_t *addr)
{
    return kva_wired_alloc(12 * P, 4 * P, VM_NOSLEEP, addr);
}

static void
put_wired(vmem_addr_t addr)
{
    kva_wired_free(addr, 12 * P);
    (void)kva_unmap_flush();
}

/* Another range waits, so that want has something to flush. */
static int
get_wired_behind(vmem_addr_t *addr)
{
    vmem_addr_t first;
    int err = kva_wired_alloc(5 * P, 0, VM_NOSLEEP, &first);

    if (err == 0) {
        kva_wired_free(first, 5 * P);
        err = kva_wired_alloc(12 * P, 0, VM_NOSLEEP, addr);
        (void)kva_unmap_flush();
    }
    return err;
}

static const struct operation operations[] = {
    { "a page", get_small, put_small },
    { "50 pages", get_large, put_large },
    { "a constrained range", get_constrained, put_constrained },
    { "addresses", get_va, put_va },
    { "a pageable range", get_pageable, put_pageable },
    { "wired pageable pages", get_pageable_wired, put_pageable_wired },
    { "pages for interrupts", get_intr, put_intr },
    { "a wired range", get_wired, put_wired },
    { "a wired range, and one queued", get_wired_behind, put_wired },
};

static uint64_t
digest_tower(void)
{
    uint64_t h = 0;

    for (vmem_t *vm = kva_vmem_list; vm != NULL; vm = vm->next) {
        h = h * 31 + digest(vm);
    }
    return h;
}

static void
drain(void)
{
    (void)vmem_drain(kmem_arena, SIZE_MAX, 0);
    (void)kva_intr_drain();
    (void)vmem_drain(heap_va_arena, SIZE_MAX, 0);
}

static bool
run_one(const struct operation *op, unsigned long nth, bool sticky)
{
    struct kva_posix_stats before = machine();
    uint64_t tower = digest_tower(), kmem = digest(kmem_arena);
    vmem_addr_t addr = 0;
    unsigned long fired;
    struct kva_stat st;
    int err;

    kva_posix_fault_reset();
    kva_posix_fault_arm(KVA_POSIX_ANY, nth, sticky);
    err = op->get(&addr);
    fired = kva_posix_fault_fired(KVA_POSIX_ANY);
    kva_posix_fault_disarm(KVA_POSIX_ANY);
    if (err == 0) {
        op->put(addr);
        drain();
    } else {
        CHECK_EQ(err, KVA_ENOMEM);
        CHECK_GT(fired, 0);
        CHECK_EQ(digest(kmem_arena), kmem);
    }
    kva_stat(&st);
    CHECK_EQ(machine().attached_pages, before.attached_pages);
    CHECK_EQ(machine().frames, before.frames);
    CHECK_EQ(st.wired_bytes, before.attached_pages * P);
    drain(); /* addresses may have stayed in quantum caches */
    if (digest_tower() != tower) {
        FAIL("%s: not as before, fault %lu%s, error %d", op->name, nth,
             sticky ? " and on" : "", err);
    }
    return fired > 0;
}

/* Runs of one to four frames, so that wiring fails in the middle too. */
static void
wiring_fails_at_each_site(struct test_ctx *t)
{
    unsigned long runs = 0;

    (void)t;
    PORT(NULL);
    CHECK_EQ(boot(0), 0);
    for (size_t run = 1; run <= 4; run++) {
        kva_posix_run_max_set(run);
        for (unsigned i = 0; i < KVA_COUNT(operations); i++) {
            for (unsigned sticky = 0; sticky < 2; sticky++) {
                unsigned long nth = 1;

                while (run_one(&operations[i], nth, sticky != 0)) {
                    CHECK_LT(nth, 1000);
                    nth++;
                    runs++;
                }
            }
        }
    }
    CHECK_GT(runs, 200);
    kva_shutdown();
    CHECK_EQ(machine().frames, 0);
}

/* Many operations at random, with faults all the time; nothing is lost. */
static void
random_faults_lose_nothing(struct test_ctx *t)
{
    struct kva_stat begin, end;

    PORT(NULL);
    CHECK_EQ(boot(0), 0);
    kva_stat(&begin);
    for (unsigned long i = 0; i < t->count; i++) {
        kva_posix_run_max_set(1 + test_below(t, 4));
        (void)run_one(&operations[test_below(t, KVA_COUNT(operations))],
                      1 + test_below(t, 120), test_below(t, 2) != 0);
    }
    kva_stat(&end);
    CHECK_EQ(end.tags, begin.tags);
    CHECK_EQ(end.spans, begin.spans);
    CHECK_EQ(vmem_size(kernel_va_arena, VMEM_ALLOC), 0);
    kva_shutdown();
    CHECK_EQ(machine().frames, 0);
}

/* ---- a free never allocates --------------------------------------------- */

#define MANY 512

static void
wired_free_never_allocates(struct test_ctx *t)
{
    static vmem_addr_t addr[MANY];
    static size_t size[MANY];
    vmem_addr_t no;
    size_t asked;

    PORT(NULL);
    CHECK_EQ(boot(0), 0);
    for (unsigned long done = 0; done < t->count; done += MANY) {
        for (unsigned i = 0; i < MANY; i++) {
            size[i] = (1 + test_below(t, 40)) * P;
            CHECK_EQ(vmem_alloc(kmem_arena, size[i], VM_NOSLEEP, &addr[i]), 0);
        }
        kva_posix_fault_arm(KVA_POSIX_META_GET, 1, true);
        kva_posix_fault_arm(KVA_POSIX_MAP, 1, true);
        kva_posix_fault_arm(KVA_POSIX_PAGE_GET, 1, true);
        for (unsigned i = 0; i < MANY; i++) {
            CHECK(i % 8 != 0 || vmem_alloc(kmem_arena, 999 * P, VM_NOSLEEP,
                                           &no) == KVA_ENOMEM);
            asked = kva__meta_requests();
            vmem_free(kmem_arena, addr[i], size[i]);
            CHECK_EQ(kva__meta_requests(), asked);
        }
        drain();
        CHECK_EQ(kva__meta_requests(), asked);
        CHECK_EQ(machine().frames, 0);
        kva_posix_fault_disarm(KVA_POSIX_META_GET);
        kva_posix_fault_disarm(KVA_POSIX_MAP);
        kva_posix_fault_disarm(KVA_POSIX_PAGE_GET);
    }
    CHECK_EQ(vmem_size(kernel_va_arena, VMEM_ALLOC), 0);
    kva_shutdown();
}

const struct test fault_kva_tests[] = {
    TEST("fault", boot_fails_at_each_site),
    TEST("fault", wiring_fails_at_each_site),
    TEST_LEAST("fault", random_faults_lose_nothing, 60, 300, 10000, 200000),
    TEST_LEAST("fault", wired_free_never_allocates, 1024, 5000, 60000, 1000000),
    TEST_END
};
