/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: every function reports an arena that never was, is no more, or is
 * not given, whatever bytes its storage has.
 */
#include "tests/misuse/scene.h"

#include <string.h>

static struct kva_vmem store;

enum dead {
    DEAD_ZERO,      /* static storage, never made */
    DEAD_GARBAGE,   /* storage with anything in it, never made */
    DEAD_DESTROYED, /* made, used and ended */
    DEAD_NULL,
    DEADS
};

static vmem_t *
dead_arena(struct test_ctx *t, enum dead how)
{
    unsigned char *bytes = (unsigned char *)&store;
    vmem_t *vm;

    memset(&store, 0, sizeof(store));
    switch (how) {
    case DEAD_NULL:
        return NULL;
    case DEAD_GARBAGE:
        for (size_t i = 0; i < sizeof(store); i++) {
            bytes[i] = (unsigned char)test_rand(t);
        }
        store.magic = (uintptr_t)test_rand(t) | 0x80;
        /* Read first, and 0 in whatever was ended. */
        store.hot_sizes = store.hot_limit = 0;
        break;
    case DEAD_DESTROYED:
        vm = vmem_init(&store, "gone", BASE, 16 * Q, Q, NULL, NULL, NULL,
                       test_below(t, 2) * 4 * Q, NOSLEEP, KVA_IPL_NONE);
        CHECK_PTR(vm, &store);
        vmem_free(vm, get(vm, Q), Q);
        vmem_destroy(vm);
        break;
    default:
        break;
    }
    return &store;
}

/* A function called with the arena, and its name. */
struct row {
    const char *name;
    void (*call)(vmem_t *vm, uintptr_t addr, size_t size);
};

#define ROW(suffix, ...)                                               \
    static void call_##suffix(vmem_t *vm, uintptr_t addr, size_t size) \
    {                                                                  \
        (void)addr;                                                    \
        (void)size;                                                    \
        __VA_ARGS__;                                                   \
    }

/* clang-format off */
ROW(alloc, (void)vmem_alloc(vm, size, NOSLEEP, &addr))
ROW(free, vmem_free(vm, addr, size))
ROW(xalloc, (void)vmem_xalloc(vm, size, 0, 0, 0, 0, VMEM_ADDR_MAX, NOSLEEP,
                              &addr))
ROW(xalloc_addr, (void)vmem_xalloc_addr(vm, addr, size, NOSLEEP))
ROW(xfree, vmem_xfree(vm, addr, size))
ROW(xfreeall, vmem_xfreeall(vm))
ROW(add, (void)vmem_add(vm, addr, size, NOSLEEP))
ROW(add_bts, (void)vmem_add_bts(vm, NULL, 0))
ROW(destroy, vmem_destroy(vm))
ROW(drain, (void)vmem_drain(vm, size, 0))
ROW(size, (void)vmem_size(vm, VMEM_ALLOC))
ROW(stat, struct kva_vmem_stat st; vmem_stat(vm, &st))
ROW(walk, vmem_walk(vm, VMEM_ALLOC, NULL, NULL))
ROW(check, (void)vmem_check(vm))
ROW(print, vmem_print((uintptr_t)vm, NULL, NULL))
ROW(roundup_size, (void)vmem_roundup_size(vm, size))
ROW(set_reclaim, vmem_set_reclaim(vm, NULL))
ROW(xalloc_timed, struct vmem_request rq = { .size = size, .flags = NOSLEEP };
    (void)vmem_xalloc_timed(vm, &rq, 1, vm, &addr))
ROW(cancel, (void)vmem_cancel(vm, NULL))
ROW(retry, vmem_retry(vm))
ROW(set_import, vmem_set_import(vm, NULL, NULL, NULL, size))
ROW(set_rimport, vmem_set_rimport(vm, NULL, NULL, NULL, size))
ROW(set_limit, vmem_set_limit(vm, size))
ROW(contains, (void)vmem_contains(vm, addr, size))
ROW(find, struct kva_vmem_segment seg; (void)vmem_find(vm, addr, &seg))
ROW(set_mtbf, vmem_set_mtbf(vm, 1))
ROW(set_audit, vmem_set_audit(vm, NULL, 0))
ROW(audit_find, struct kva_vmem_audit event; (void)vmem_audit_find(vm, addr, &event))
ROW(print_live, (void)vmem_print_live(vm, 1, NULL))

static const struct row rows[] = {
    { "vmem_alloc", call_alloc },
    { "vmem_free", call_free },
    { "vmem_xalloc", call_xalloc },
    { "vmem_xalloc_addr", call_xalloc_addr },
    { "vmem_xfree", call_xfree },
    { "vmem_xfreeall", call_xfreeall },
    { "vmem_add", call_add },
    { "vmem_add_bts", call_add_bts },
    { "vmem_destroy", call_destroy },
    { "vmem_drain", call_drain },
    { "vmem_size", call_size },
    { "vmem_stat", call_stat },
    { "vmem_walk", call_walk },
    { "vmem_check", call_check },
    { "vmem_print", call_print },
    { "vmem_roundup_size", call_roundup_size },
    { "vmem_set_reclaim", call_set_reclaim },
    { "vmem_xalloc_timed", call_xalloc_timed },
    { "vmem_cancel", call_cancel },
    { "vmem_retry", call_retry },
    { "vmem_set_import", call_set_import },
    { "vmem_set_rimport", call_set_rimport },
    { "vmem_set_limit", call_set_limit },
    { "vmem_contains", call_contains },
    { "vmem_find", call_find },
    { "vmem_set_mtbf", call_set_mtbf },
    { "vmem_set_audit", call_set_audit },
    { "vmem_audit_find", call_audit_find },
    { "vmem_print_live", call_print_live },
};
/* clang-format on */

static void
expect_dead(const struct row *row, vmem_t *vm, uintptr_t addr, size_t size)
{
    struct kva_vmem before = store;

    CHECK_PANIC(row->call(vm, addr, size),
                "%s: arena (unnamed): 0x%lx: expected an arena, found none, "
                "or one that was destroyed",
                row->name, (unsigned long)(uintptr_t)vm);
    CHECK_EQ(memcmp(&before, &store, sizeof(store)), 0);
}

static void
dead_arena_in_every_function(struct test_ctx *t)
{
    PORT(NULL);
    for (unsigned how = 0; how < DEADS; how++) {
        vmem_t *vm = dead_arena(t, (enum dead)how);

        for (unsigned i = 0; i < KVA_COUNT(rows); i++) {
            expect_dead(&rows[i], vm, BASE, Q);
            expect_dead(&rows[i], vm, BASE, 9 * Q);
            expect_dead(&rows[i], vm, 1, 0);
            expect_dead(&rows[i], vm, BASE, SIZE_MAX);
        }
    }
}

static void
dead_arena_at_random(struct test_ctx *t)
{
    PORT(NULL);
    for (unsigned long n = 0; n < t->count; n++) {
        vmem_t *vm = dead_arena(t, (enum dead)test_below(t, DEADS));
        const struct row *row = &rows[test_below(t, KVA_COUNT(rows))];

        expect_dead(row, vm, (uintptr_t)test_rand(t),
                    (size_t)test_rand(t) >> test_below(t, sizeof(size_t) * 8));
    }
}

const struct test vmem_dead_arena_tests[] = {
    TEST("misuse", dead_arena_in_every_function),
    TEST_COUNT("misuse", dead_arena_at_random, 500, 10000, 100000), TEST_END
};
