/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: with failure injection exactly every nth request that may fail does,
 * from quantum caches and from tags alike; others and frees never do; and off
 * is as if it had never been on.
 */
#include <string.h>

#include "tests/harness/test.h"
#include "vmem/vmem_store.h"

#define Q ((size_t)4096)
#define BASE ((uintptr_t)0x40000000)

static vmem_t *
arena_new(void)
{
    vmem_t *vm = vmem_create("mtbf", BASE, 4096 * Q, Q, NULL, NULL, NULL, 8 * Q,
                             VM_NOSLEEP, KVA_IPL_NONE);

    CHECK(vm != NULL);
    return vm;
}

/* One request of each way in turn; whether it failed. */
static bool
request(vmem_t *vm, unsigned i, vm_flag_t flags)
{
    size_t size = (1 + i % 12) * Q;
    uintptr_t addr = 0;
    int err;

    if (i % 3 == 2) {
        err = i % 2 == 0
                  ? vmem_xalloc(vm, size, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                                flags, &addr)
                  : vmem_xalloc_addr(vm, addr = BASE + 4000 * Q, size, flags);
        if (err == 0) {
            vmem_xfree(vm, addr, size);
        }
    } else {
        err = vmem_alloc(vm, size, flags, &addr);
        if (err == 0) {
            vmem_free(vm, addr, size);
        }
    }
    CHECK(err == 0 || err == KVA_ENOMEM);
    return err != 0;
}

static void
every_nth_fails(struct test_ctx *t)
{
    struct kva_vmem_stat before, after;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_new();
    for (unsigned i = 0; i < 100; i++) {
        CHECK(!request(vm, i, VM_NOSLEEP));
    }
    for (unsigned n = 1; n <= 7; n++) {
        vmem_set_mtbf(vm, n);
        CHECK_PTR(vmem_check(vm), NULL);
        vmem_stat(vm, &before);
        for (unsigned i = 1; i <= 7 * 12; i++) {
            CHECK_EQ(request(vm, i, VM_NOSLEEP), i % n == 0);
            CHECK(!request(vm, i, VM_SLEEP)); /* is not counted either */
        }
        vmem_stat(vm, &after);
        CHECK_EQ(after.injected - before.injected, 7 * 12 / n);
        CHECK_EQ(after.fail - before.fail, 7 * 12 / n);
    }
    vmem_set_mtbf(vm, 0);
    vmem_stat(vm, &before);
    for (unsigned i = 0; i < 100; i++) {
        CHECK(!request(vm, i, VM_NOSLEEP));
    }
    vmem_stat(vm, &after);
    CHECK_EQ(after.injected, before.injected);
    CHECK_EQ(after.fail, before.fail);
    CHECK_EQ(vm->open, vm->magic);
    CHECK_PTR(vmem_check(vm), NULL);
    vmem_destroy(vm);
}

/* The same seed, the same places; spaces from 1 to 2n - 1, n on the average. */
static void
random_spacing(struct test_ctx *t)
{
    enum {
        REQUESTS = 4000
    };
    static bool first[REQUESTS];
    unsigned n = 10, last = 0, least = ~0u, most = 0, fired = 0;
    uint64_t seed = test_rand(t) | 1;
    vmem_t *vm;

    PORT(NULL);
    vm = arena_new();
    for (unsigned round = 0; round < 2; round++) {
        vmem_set_mtbf_random(vm, n, seed);
        for (unsigned i = 0; i < REQUESTS; i++) {
            bool failed = request(vm, i, VM_NOSLEEP);

            CHECK(round == 0 || failed == first[i]);
            first[i] = failed;
            if (failed && round == 0) {
                unsigned space = i + 1 - last;

                least = space < least ? space : least;
                most = space > most ? space : most;
                last = i + 1;
                fired++;
            }
        }
    }
    CHECK_GE(least, 1);
    CHECK_LE(most, 2 * n - 1);
    CHECK_GT(most, least);
    CHECK_GT(fired, REQUESTS / n * 8 / 10);
    CHECK_LT(fired, REQUESTS / n * 12 / 10);
    vmem_set_mtbf(vm, 0);
    vmem_destroy(vm);
}

/* A source that refuses: the arena above refuses too, and stays whole. */
static void
of_a_source(struct test_ctx *t)
{
    struct kva_vmem_stat st;
    vmem_t *source, *vm;
    uintptr_t a = 0;

    (void)t;
    PORT(NULL);
    kva_posix_clock_virtual(true); /* nobody looks again by himself */
    source = arena_new();
    vm = vmem_create("upper", 0, 0, Q, vmem_alloc, vmem_free, source, 0,
                     VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(vm != NULL);
    vmem_set_mtbf(source, 1);
    CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), KVA_ENOMEM);
    CHECK_PTR(vmem_check(vm), NULL);
    vmem_set_mtbf(source, 2);
    for (unsigned i = 0; i < 10; i++) { /* who sleeps tries more than once */
        CHECK_EQ(vmem_alloc(vm, Q, VM_SLEEP, &a), 0);
        vmem_free(vm, a, Q);
        CHECK_EQ(vmem_xalloc(vm, Q, 4 * Q, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                             VM_SLEEP, &a),
                 0);
        vmem_xfree(vm, a, Q);
    }
    vmem_stat(source, &st);
    CHECK_GE(st.injected, 10);
    vmem_set_mtbf(source, 0);
    CHECK_EQ(vmem_alloc(vm, Q, VM_NOSLEEP, &a), 0);
    vmem_free(vm, a, Q);
    vmem_destroy(vm);
    vmem_destroy(source);
}

const struct test mtbf_tests[] = { TEST("mtbf", every_nth_fails),
                                   TEST("mtbf", random_spacing),
                                   TEST("mtbf", of_a_source), TEST_END };
