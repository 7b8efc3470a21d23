/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: while an arena is audited each allocation, change in place and free
 * leaves its record, with the caller, the newest over the oldest; what is
 * refused leaves none; and a leak is named with who allocated or changed it.
 */
#include "tests/unit/printed.h"
#include "vmem/vmem_store.h"

#define Q ((size_t)4096)
#define BASE ((uintptr_t)0x40000000)

/* With checks at flush what is in magazines looks live. */
#define QMAX (KVA_CONFIG_CHECKS ? 8 * Q : 0)

static vmem_t *
arena_new(void)
{
    vmem_t *vm = vmem_create("audit", BASE, 4096 * Q, Q, NULL, NULL, NULL, QMAX,
                             VM_NOSLEEP, KVA_IPL_NONE);

    CHECK(vm != NULL);
    return vm;
}

/* Two places that call, each a function of its own. */
static __attribute__((noinline)) uintptr_t
here(vmem_t *vm, size_t size)
{
    uintptr_t addr = 0;

    CHECK_EQ(vmem_alloc(vm, size, VM_NOSLEEP, &addr), 0);
    return addr;
}

static __attribute__((noinline)) uintptr_t
there(vmem_t *vm, size_t size)
{
    uintptr_t addr = 0;

    CHECK_EQ(vmem_xalloc(vm, size, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                         VM_NOSLEEP, &addr),
             0);
    return addr;
}

static void
event_is(vmem_t *vm, uintptr_t addr, enum kva_vmem_event op, size_t size,
         size_t number, const void *caller)
{
    struct kva_vmem_audit event;

    memset(&event, 0, sizeof(event));
    CHECK_EQ(vmem_audit_find(vm, addr + size - 1, &event), 0);
    CHECK_EQ(event.op, op);
    CHECK_EQ(event.addr, addr);
    CHECK_EQ(event.size, size);
    CHECK_EQ(event.number, number);
    CHECK(event.caller != NULL);
    CHECK(caller == NULL || event.caller == caller);
}

static const void *
caller_of(vmem_t *vm, uintptr_t addr)
{
    struct kva_vmem_audit event;

    CHECK_EQ(vmem_audit_find(vm, addr, &event), 0);
    return event.caller;
}

static void
each_call_is_recorded(struct test_ctx *t)
{
    static struct kva_vmem_audit ring[64];
    struct kva_vmem_audit event;
    uintptr_t before, a, b, c;
    const void *at_here, *at_there;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_new();
    before = here(vm, Q);
    vmem_set_audit(vm, ring, KVA_COUNT(ring));
    CHECK_PTR(vmem_check(vm), NULL);
    CHECK_EQ(vmem_audit_find(vm, before, &event), KVA_ENOENT);
    a = here(vm, 2 * Q);
    event_is(vm, a, KVA_VMEM_AUDIT_ALLOC, 2 * Q, 1, NULL);
    at_here = caller_of(vm, a);
    b = here(vm, 9 * Q - 1);
    event_is(vm, b, KVA_VMEM_AUDIT_ALLOC, 9 * Q, 2, at_here);
    c = there(vm, 3 * Q);
    event_is(vm, c, KVA_VMEM_AUDIT_XALLOC, 3 * Q, 3, NULL);
    at_there = caller_of(vm, c);
    CHECK(at_there != at_here);
    CHECK_EQ(vmem_xalloc_addr(vm, BASE + 4000 * Q, Q, VM_NOSLEEP), 0);
    event_is(vm, BASE + 4000 * Q, KVA_VMEM_AUDIT_XALLOC, Q, 4, NULL);
    vmem_free(vm, a, 2 * Q);
    event_is(vm, a, KVA_VMEM_AUDIT_FREE, 2 * Q, 5, NULL);
    vmem_xfree(vm, c, 3 * Q);
    event_is(vm, c, KVA_VMEM_AUDIT_XFREE, 3 * Q, 6, NULL);
    CHECK_EQ(here(vm, 2 * Q), a); /* from the magazine, and recorded */
    event_is(vm, a, KVA_VMEM_AUDIT_ALLOC, 2 * Q, 7, at_here);
    CHECK_EQ(vmem_alloc(vm, 5000 * Q, VM_NOSLEEP, &c), KVA_ENOMEM);
    vmem_free(vm, before, Q);
    event_is(vm, before, KVA_VMEM_AUDIT_FREE, Q, 8, NULL);
    vmem_free(vm, a, 2 * Q);
    vmem_free(vm, b, 9 * Q);
    vmem_xfree(vm, BASE + 4000 * Q, Q);
    CHECK_EQ(vm->audit_events, 11);
    vmem_set_audit(vm, NULL, 0);
    CHECK_EQ(vmem_audit_find(vm, a, &event), KVA_ENOENT);
    CHECK_EQ(vm->open, vm->magic);
    CHECK_PTR(vmem_check(vm), NULL);
    vmem_destroy(vm);
}

/* The last event at addr, of a range of which a part is named. */
static void
change_is(vmem_t *vm, uintptr_t at, enum kva_vmem_event op,
          const size_t range[2], const size_t part[2])
{
    struct kva_vmem_audit event;

    memset(&event, 0, sizeof(event));
    CHECK_EQ(vmem_audit_find(vm, at, &event), 0);
    CHECK_EQ(event.op, op);
    CHECK_EQ(event.addr, BASE + range[0] * Q);
    CHECK_EQ(event.size, range[1] * Q);
    CHECK_EQ(event.part_addr, BASE + part[0] * Q);
    CHECK_EQ(event.part_size, part[1] * Q);
    CHECK(event.caller != NULL);
}

static void
live_are(vmem_t *vm, unsigned n, const char *text)
{
    printed_clear();
    CHECK_EQ(vmem_print_live(vm, n, print_keep), n);
    CHECK_EQ(printed.lines, n);
    CHECK_HAS(printed.text, text);
}

/* Each is found by all addresses that were concerned, and what came of it is
 * live by that event. */
static void
changes_are_recorded(struct test_ctx *t)
{
    static const size_t all[2] = { 16, 8 }, kept[2] = { 17, 6 },
                        first[2] = { 17, 2 }, more[2] = { 17, 8 };
    static struct kva_vmem_audit ring[16];
    struct vmem_audit event;
    uintptr_t a;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    for (unsigned indexed = 0; indexed < 2; indexed++) {
        vm = vmem_create("audit", BASE, 64 * Q, Q, NULL, NULL, NULL, 0,
                         VM_NOSLEEP | (indexed != 0 ? VM_INDEX : 0),
                         KVA_IPL_NONE);
        CHECK(vm != NULL);
        vmem_set_audit(vm, ring, KVA_COUNT(ring));
        a = BASE + 16 * Q;
        CHECK_EQ(vmem_xalloc_addr(vm, a, 8 * Q, VM_NOSLEEP), 0);
        CHECK_EQ(vmem_audit_find(vm, a, &event), 0);
        CHECK_EQ(event.part_addr | event.part_size, 0);
        CHECK_EQ(vmem_xtrim(vm, a, 8 * Q, a + Q, 6 * Q - 1), 0);
        change_is(vm, a, KVA_VMEM_AUDIT_XTRIM, all, kept);
        change_is(vm, a + 8 * Q - 1, KVA_VMEM_AUDIT_XTRIM, all, kept);
        live_are(vm, 1, " of 24576 bytes, event 2 by 0x");
        a += Q;
        CHECK_EQ(vmem_xsplit(vm, a, 6 * Q, 2 * Q), 0);
        change_is(vm, a + 5 * Q, KVA_VMEM_AUDIT_XSPLIT, kept, first);
        live_are(vm, 2, " of 8192 bytes, event 3 by 0x");
        CHECK_HAS(printed.text, " of 16384 bytes, event 3 by 0x");
        CHECK_EQ(vmem_xjoin(vm, a, 2 * Q, 4 * Q), 0);
        change_is(vm, a + 5 * Q, KVA_VMEM_AUDIT_XJOIN, kept, first);
        live_are(vm, 1, " of 24576 bytes, event 4 by 0x");
        CHECK_EQ(vmem_xextend(vm, a, 6 * Q, a, 8 * Q), 0);
        change_is(vm, a + 7 * Q, KVA_VMEM_AUDIT_XEXTEND, more, kept);
        live_are(vm, 1, " of 32768 bytes, event 5 by 0x");
        CHECK_EQ(vmem_xextend(vm, a, 8 * Q, a, 64 * Q - 1), KVA_ENOMEM);
        CHECK_EQ(vm->audit_events, 5); /* what fails leaves none */
        CHECK_EQ(vmem_prepare(vm, 2, VM_NOSLEEP), 0);
        CHECK_EQ(vmem_xsplit_prepared(vm, a, 8 * Q, Q), 0);
        CHECK_EQ(vmem_xtrim_prepared(vm, a + Q, 7 * Q, a + 4 * Q, Q), 0);
        CHECK_EQ(vm->audit_events, 7);
        vmem_xfree(vm, a, Q);
        event_is(vm, a, KVA_VMEM_AUDIT_XFREE, Q, 8, NULL);
        live_are(vm, 1, " of 4096 bytes, event 7 by 0x");
        printed_clear();
        vmem_print((uintptr_t)vm, "ta", print_keep);
        CHECK_HAS(printed.text, "    event 3: split  0x");
        CHECK_HAS(printed.text, "    event 3:   part 0x");
        vmem_xfree(vm, a + 4 * Q, Q);
        vmem_destroy(vm);
    }
}

/* The newest over the oldest, in a ring of any length. */
static void
ring_comes_round(struct test_ctx *t)
{
    static struct kva_vmem_audit ring[7];
    uintptr_t a[20];
    struct kva_vmem_audit event;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    for (unsigned n = 1; n <= KVA_COUNT(ring); n++) {
        vm = arena_new();
        vmem_set_audit(vm, ring, n);
        for (unsigned i = 0; i < KVA_COUNT(a); i++) {
            a[i] = here(vm, (1 + i % 10) * Q);
        }
        for (unsigned i = 0; i < KVA_COUNT(a); i++) {
            int err = vmem_audit_find(vm, a[i], &event);

            CHECK_EQ(err, i + n >= KVA_COUNT(a) ? 0 : KVA_ENOENT);
            CHECK(err != 0 || event.number == i + 1);
        }
        printed_clear();
        vmem_print((uintptr_t)vm, "ta", print_keep);
        CHECK_EQ(printed.lines, 7 + 1 + n);
        CHECK_HAS(printed.text, "  events, the oldest first\n    event ");
        CHECK_HAS(printed.text, "event 20: alloc  0x");
        for (unsigned i = 0; i < KVA_COUNT(a); i++) {
            vmem_free(vm, a[i], (1 + i % 10) * Q);
        }
        vmem_destroy(vm);
    }
}

/* A refused free is no event of the range. */
static void
misuse_is_not_recorded(struct test_ctx *t)
{
    static struct kva_vmem_audit ring[16];
    uintptr_t a, b;
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_new();
    vmem_set_audit(vm, ring, KVA_COUNT(ring));
    a = here(vm, 2 * Q);
    b = here(vm, 10 * Q);
    CHECK_PANIC(vmem_free(vm, a, Q),
                "vmem_free: arena audit: 0x%lx: expected size 8192, found "
                "size 4096",
                (unsigned long)a);
    CHECK_PANIC(vmem_xfree(vm, b, 10 * Q),
                "vmem_xfree: arena audit: 0x%lx: expected a range of "
                "vmem_xalloc, found one of vmem_alloc",
                (unsigned long)b);
    event_is(vm, a, KVA_VMEM_AUDIT_ALLOC, 2 * Q, 1, NULL);
    event_is(vm, b, KVA_VMEM_AUDIT_ALLOC, 10 * Q, 2, NULL);
    vmem_free(vm, a, 2 * Q);
    CHECK_PANIC(vmem_free(vm, a, 2 * Q),
                "vmem_free: arena audit: 0x%lx: expected a live range, found "
                "a free one",
                (unsigned long)a);
    event_is(vm, a, KVA_VMEM_AUDIT_FREE, 2 * Q, 5, NULL);
    vmem_free(vm, b, 10 * Q);
    CHECK_PANIC(vmem_set_audit(vm, ring, 0),
                "vmem_set_audit: arena audit: 0x%lx: expected a ring and its "
                "length, or NULL and 0, found length 0",
                (unsigned long)(uintptr_t)ring);
    vmem_destroy(vm);
}

/* By turns from the two places. */
static size_t
leak_size(unsigned i)
{
    return i % 2 == 0 ? (1 + i % 3) * Q : Q;
}

static void
leak_free(vmem_t *vm, unsigned i, uintptr_t addr)
{
    (i % 2 == 0 ? vmem_free : vmem_xfree)(vm, addr, leak_size(i));
}

static void
leak_is_named(unsigned i, uintptr_t addr, const void *caller)
{
    char part[128];

    (void)snprintf(part, sizeof(part),
                   "%lx of %zu bytes, event %u by 0x%0*lx\n",
                   (unsigned long)addr, leak_size(i), i + 1,
                   KVA_WORD_64 ? 16 : 8, (unsigned long)(uintptr_t)caller);
    CHECK_HAS(printed.text, part);
}

/* A thousand ranges from two places; a tenth leaks, each is named with the
 * place that it is from. */
static void
leaks_are_named(struct test_ctx *t)
{
    enum {
        RANGES = 1000
    };
    static struct kva_vmem_audit ring[2 * RANGES];
    static uintptr_t a[RANGES];
    const void *caller[2] = { NULL, NULL };
    unsigned live = 0;
    vmem_t *vm;

    PORT(NULL);
    vm = arena_new();
    vmem_set_audit(vm, ring, KVA_COUNT(ring));
    for (unsigned i = 0; i < RANGES; i++) {
        a[i] = i % 2 == 0 ? here(vm, leak_size(i)) : there(vm, leak_size(i));
        caller[i % 2] = caller_of(vm, a[i]);
    }
    for (unsigned i = 0; i < RANGES; i++) {
        if (test_rand_below(t, 10) != 0) {
            leak_free(vm, i, a[i]);
            a[i] = 0;
        } else {
            live++;
        }
    }
    printed_clear();
    CHECK_EQ(vmem_print_live(vm, RANGES, print_keep), live);
    CHECK_EQ(printed.lines, live);
    for (unsigned i = 0; i < RANGES; i++) {
        if (a[i] != 0) {
            leak_is_named(i, a[i], caller[i % 2]);
            leak_free(vm, i, a[i]);
        }
    }
    vmem_destroy(vm);
}

/* The first sixteen, then the report. */
static void
destroy_names_what_is_live(struct test_ctx *t)
{
    static struct kva_vmem_audit ring[64];
    uintptr_t a[20];
    vmem_t *vm;

    (void)t;
    PORT(NULL);
    vm = arena_new();
    vmem_set_audit(vm, ring, KVA_COUNT(ring));
    for (unsigned i = 0; i < KVA_COUNT(a); i++) {
        a[i] = here(vm, Q);
    }
    printed_clear();
    kva_posix_log_set(log_keep, NULL);
    CHECK_PANIC(vmem_destroy(vm),
                "vmem_destroy: arena audit: 0x%lx: expected no live range, "
                "found 81920 bytes live%s here",
                (unsigned long)BASE,
                QMAX != 0 ? " in quantum caches, the first"
                          : ", the first 4096");
    kva_posix_log_set(NULL, NULL);
    CHECK_EQ(printed.lines, 16);
    CHECK_HAS(printed.text, "arena audit: live 0x");
    CHECK_HAS(printed.text, " of 4096 bytes, event 1 by 0x");
    for (unsigned i = 0; i < KVA_COUNT(a); i++) {
        vmem_free(vm, a[i], Q);
    }
    vmem_destroy(vm);
}

const struct test audit_tests[] = { TEST("audit", each_call_is_recorded),
                                    TEST("audit", ring_comes_round),
                                    TEST("audit", changes_are_recorded),
                                    TEST("audit", misuse_is_not_recorded),
                                    TEST("audit", leaks_are_named),
                                    TEST("audit", destroy_names_what_is_live),
                                    TEST_END };
