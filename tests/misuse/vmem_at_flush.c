/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checks at flush: what is wrong with a free that the quantum caches took is
 * said when the magazine that has it is emptied, at the latest, and the rest of
 * what is in it goes where it should.
 */
#include "tests/misuse/scene.h"

#if !KVA_CONFIG_CHECKS
static void
found_when_magazines_are_emptied(struct test_ctx *t)
{
    uintptr_t a[2];
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = vmem_create("cached", BASE, 256 * Q, Q, NULL, NULL, NULL, 8 * Q,
                     NOSLEEP, KVA_IPL_NONE);
#define EMPTIED(expr, addr, what)                                     \
    do {                                                              \
        CHECK_PANIC((expr, (void)vmem_drain(vm, SIZE_MAX, 0)),        \
                    "vmem_free: arena cached: 0x%lx: expected " what, \
                    (unsigned long)(addr));                           \
        (void)vmem_drain(vm, SIZE_MAX, 0);                            \
        CHECK_PTR(vmem_check(vm), NULL);                              \
    } while (0)
    vmem_free(vm, get(vm, Q), Q); /* there are magazines for this size too */
    a[0] = get(vm, 2 * Q);
    a[1] = get(vm, 2 * Q);
    EMPTIED((vmem_free(vm, a[0], 2 * Q), vmem_free(vm, a[0], 2 * Q)), a[0],
            "a live range, found a free one");
    EMPTIED(vmem_free(vm, a[1], Q), a[1], "size 8192, found size 4096");
    EMPTIED(vmem_free(vm, a[1] + 1, 2 * Q), a[1] + 1,
            "a multiple of the quantum 4096, found a misaligned address");
    EMPTIED(vmem_free(vm, BASE - Q, Q), BASE - Q,
            "a live range, found an address outside every span");
    vmem_free(vm, a[1], 2 * Q);
    vmem_destroy(vm);
}

#endif

/* clang-format off */
const struct test vmem_at_flush_tests[] = {
#if !KVA_CONFIG_CHECKS
    TEST("misuse", found_when_magazines_are_emptied),
#endif
    TEST_END
};
/* clang-format on */
