/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: an arena in print is aligned and complete, and printing works with a
 * lock held by somebody who is gone.
 */
#include "tests/unit/printed.h"
#include "vmem/vmem_store.h"

#define Q ((size_t)4096)
#define BASE ((uintptr_t)0x40000000)

#if KVA_WORD_64
#define A "0x00000000"
#else
#define A "0x"
#endif

/* Behind the first line, which has the arena's own address. */
static const char *
behind_first(const char *text)
{
    const char *end = strchr(text, '\n');

    CHECK(end != NULL);
    return end + 1;
}

static char totals[1024];

static void
totals_set(const vmem_t *vm)
{
    (void)snprintf(
        totals, sizeof(totals),
        "  in use         12288  of             65536  cached              0\n"
        "  spans              1  imported           0  in bytes            0\n"
        "  busy               1  free               2  spare    %12u\n"
        "  allocs             1  frees              0  waits               0\n"
        "  fails              0  no tags            0  injected            0\n"
        "  lookups            0  searches           2  contains            0\n",
        vm->nspare);
}

static const char segments[] =
    "  span     " A "40000000 - " A "4000ffff       65536\n"
    "    free   " A "40000000 - " A "40001fff        8192\n"
    "    xalloc " A "40002000 - " A "40004fff       12288\n"
    "    free   " A "40005000 - " A "4000ffff       45056\n"
    "  free segments of quanta                 count         bytes\n"
    "               2 -            3               1          8192\n"
    "               8 -           15               1         45056\n";

static vmem_t *
arena_new(void)
{
    vmem_t *vm = vmem_create("print", BASE, 16 * Q, Q, NULL, NULL, NULL, 0,
                             VM_NOSLEEP, KVA_IPL_NONE);

    CHECK(vm != NULL);
    CHECK_EQ(vmem_xalloc_addr(vm, BASE + 2 * Q, 3 * Q, VM_NOSLEEP), 0);
    totals_set(vm);
    return vm;
}

static void
prints_all_of_it(struct test_ctx *t)
{
    char expected[2048];
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_new();
    (void)snprintf(expected, sizeof(expected),
                   "arena print at 0x%lx: quantum 4096, quantum caches to 0\n"
                   "%s%s",
                   (unsigned long)(uintptr_t)vm, totals, segments);
    printed_clear();
    vmem_print((uintptr_t)vm, NULL, print_keep);
    CHECK_STR(printed.text, expected);
    printed_clear();
    kva_posix_log_set(log_keep, NULL);
    vmem_print((uintptr_t)vm, "", NULL);
    kva_posix_log_set(NULL, NULL);
    CHECK_STR(printed.text, expected);
    printed_clear();
    vmem_print((uintptr_t)vm, "t", print_keep);
    CHECK_STR(behind_first(printed.text), totals);
    vmem_xfreeall(vm);
    vmem_destroy(vm);
}

/* The lock is held, as by a thread that has crashed. */
static void
prints_without_locks(struct test_ctx *t)
{
    kva_irq_t irq;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_new();
    printed_clear();
    irq = kva_port_lock(&vm->lock);
    vmem_print((uintptr_t)vm, "l", print_keep);
    kva_port_unlock(&vm->lock, irq);
    CHECK_HAS(printed.text, totals);
    CHECK_HAS(printed.text, segments);
    vmem_xfreeall(vm);
    vmem_destroy(vm);
}

static void
prints_pieces_and_imports(struct test_ctx *t)
{
    uintptr_t a = 0, b = 0;
    vmem_t *source, *vm;

    (void)t;
    PORT(NULL);
    source = vmem_create("lower", BASE, 64 * Q, Q, NULL, NULL, NULL, 0,
                         VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(source != NULL);
    vm = vmem_create("upper", 0, 0, Q, vmem_alloc, vmem_free, source, 4 * Q,
                     VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(vm != NULL);
    CHECK_EQ(vmem_alloc(vm, 5 * Q, VM_NOSLEEP, &b), 0);
    CHECK_EQ(vmem_alloc(vm, 3 * Q, VM_NOSLEEP, &a), 0);
    printed_clear();
    vmem_printall(NULL, print_keep);
    CHECK_HAS(printed.text, "arena lower at 0x");
    CHECK_HAS(printed.text, "arena upper at 0x");
    CHECK_HAS(printed.text, "quantum 4096, quantum caches to 16384\n"
                            "  imports from arena lower\n");
    CHECK_HAS(printed.text, "       20480  imported\n    alloc  0x");
    CHECK_HAS(printed.text, "\n    qcache 0x");
    CHECK_HAS(printed.text, "       16384  live 12288\n");
    printed_clear();
    vmem_printall("lt", print_keep);
    CHECK_EQ(printed.lines, 7 + 8);
    vmem_free(vm, a, 3 * Q);
    vmem_free(vm, b, 5 * Q);
    vmem_destroy(vm);
    vmem_destroy(source);
}

const struct test print_tests[] = { TEST("print", prints_all_of_it),
                                    TEST("print", prints_without_locks),
                                    TEST("print", prints_pieces_and_imports),
                                    TEST_END };
