/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stacks: every byte of one is memory, and every byte beside it faults, for
 * real; freed ones are cached per CPU and come back by a drain or by reclaim;
 * whatever fails on the way, nothing is lost; what is no stack is told so.
 */
#include <string.h>
#include <ucontext.h>

#include "kva/stack.h"
#include "tests/harness/machine.h"
#include "tests/misuse/digest.h"
#include "tests/unit/faults.h"

#define P KVA_PAGE_SIZE

/* Sanitizers keep books of each stack and do not know these. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define WATCHED 1
#endif
#endif
#ifndef WATCHED
#define WATCHED 0
#endif

static void
boot(void)
{
    PORT(NULL);
    machine_boot((struct kva_boot){ 0 });
}

/* ---- faults ------------------------------------------------------------ */

/* What the handler saw. */
static struct {
    sigjmp_buf env;
    struct kva_stacks *set;
    uintptr_t base;
} fault;

static void
on_fault(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    fault.base = 0;
    fault.set = kva_stack_overflow((uintptr_t)info->si_addr, &fault.base);
    siglongjmp(fault.env, 1);
}

/* A byte beside a stack: it faults, and can be told to be that stack's. */
static void
check_guard(struct kva_stacks *ks, uintptr_t base, uintptr_t va)
{
    uintptr_t whose;

    CHECK(touch_faults(va, true));
    CHECK_EQ(faults_va, va);
    CHECK_PTR(kva_stack_overflow(faults_va, &whose), ks);
    CHECK_EQ(whose, base);
}

static void
guards_fault(struct test_ctx *t)
{
    static struct kva_stacks ks;
    uintptr_t base[20] = { 0 }, none;
    size_t bytes;

    (void)t;
    boot();
    for (unsigned i = 0; i < 18; i++) {
        unsigned flags = i % 2 == 0 ? 0 : KVA_STACK_BOTH;

        bytes = (1 + i / 2) * P;
        CHECK_EQ(kva_stacks_init(&ks, "s", bytes - i, flags), 0);
        for (unsigned k = 0; k < 20; k++) {
            CHECK_EQ(kva_stack_alloc(&ks, VM_NOSLEEP, &base[k]), 0);
            CHECK_EQ(base[k] % P, 0);
            memset((void *)base[k], (int)k, bytes);
        }
        for (unsigned k = 0; k < 20; k++) {
            check_guard(&ks, base[k], base[k] - 1);
            check_guard(&ks, base[k], base[k] - P);
            if (flags == KVA_STACK_BOTH) {
                check_guard(&ks, base[k], base[k] + bytes);
                check_guard(&ks, base[k], base[k] + bytes + P - 1);
            }
            CHECK_PTR(kva_stack_overflow(base[k], &none), NULL);
            CHECK_PTR(kva_stack_overflow(base[k] + bytes - 1, &none), NULL);
            CHECK_EQ(*(unsigned char *)base[k], k);
            CHECK_EQ(*(unsigned char *)(base[k] + bytes - 1), k);
        }
        for (unsigned k = 0; k < 20; k++) {
            kva_stack_free(&ks, base[k]);
        }
        CHECK_PTR(kva_stack_overflow((uintptr_t)&none, &none), NULL);
        kva_stacks_fini(&ks);
        CHECK_EQ(machine().attached_pages, 0);
    }
    kva_shutdown();
}

/* Calls that go deeper until something stops them. */
static __attribute__((noinline)) unsigned
deeper(volatile char *frame)
{
    volatile char mine[256];

    mine[0] = frame[0];
    mine[255] = 1;
    if (frame[0] == 0) {
        return 0; /* never; the compiler need not know */
    }
    return deeper(mine) + (unsigned)mine[255];
}

static void
dive(void)
{
    volatile char top = 1;

    (void)deeper(&top);
}

/* A program runs on a stack, and out of it: the fault comes before anything
 * else is overwritten. */
static void
overflow_is_caught(struct test_ctx *t)
{
    static struct kva_stacks ks;
    static _Alignas(64) char alternate[65536];
    static ucontext_t here, there;
    stack_t old, alt = { .ss_sp = alternate, .ss_size = sizeof(alternate) };
    struct sigaction before, action = { .sa_sigaction = on_fault,
                                        .sa_flags = SA_SIGINFO | SA_ONSTACK };
    uintptr_t base[3] = { 0 };

    (void)t;
    if (WATCHED) {
        SKIP("a sanitizer watches stacks");
    }
    boot();
    CHECK_EQ(kva_stacks_init(&ks, "threads", 8 * P, 0), 0);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(kva_stack_alloc(&ks, VM_NOSLEEP, &base[i]), 0);
        memset((void *)base[i], (int)i, 8 * P);
    }
    CHECK_EQ(sigaltstack(&alt, &old), 0);
    CHECK_EQ(sigaction(SIGSEGV, &action, &before), 0);
    CHECK_EQ(getcontext(&there), 0);
    there.uc_stack.ss_sp = (void *)base[1];
    there.uc_stack.ss_size = 8 * P;
    there.uc_link = &here;
    makecontext(&there, dive, 0);
    if (sigsetjmp(fault.env, 1) == 0) {
        (void)swapcontext(&here, &there);
        FAIL("it came back");
    }
    CHECK_EQ(sigaction(SIGSEGV, &before, NULL), 0);
    CHECK_EQ(sigaltstack(&old, NULL), 0);
    CHECK_PTR(fault.set, &ks);
    CHECK_EQ(fault.base, base[1]);
    for (unsigned i = 0; i < 3; i += 2) {
        for (size_t b = 0; b < 8 * P; b++) {
            CHECK_EQ(((unsigned char *)base[i])[b], i);
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        kva_stack_free(&ks, base[i]);
    }
    kva_stacks_fini(&ks);
    kva_shutdown();
}

/* ---- the cache --------------------------------------------------------- */

/* What was freed comes again, from the CPU's own magazine: the port is asked
 * for nothing, and no lock is taken. */
static unsigned long locks;

static void
count_locks(void *arg, const char *hook)
{
    (void)arg;
    locks += strcmp(hook, "lock") == 0;
}

static void
freed_ones_are_cached(struct test_ctx *t)
{
    static struct kva_stacks ks;
    uintptr_t base[4], again;
    struct kva_posix_stats then;
    size_t got;

    (void)t;
    boot();
    CHECK_EQ(kva_stacks_init(&ks, "threads", 4 * P, 0), 0);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 4; i++) {
            CHECK_EQ(kva_stack_alloc(&ks, VM_NOSLEEP, &base[i]), 0);
        }
        for (unsigned i = 0; i < 4; i++) {
            kva_stack_free(&ks, base[i]);
        }
    }
    then = machine();
    locks = 0;
    kva_posix_yield_set(count_locks, NULL);
    for (unsigned i = 0; i < 1000; i++) {
        CHECK_EQ(kva_stack_alloc(&ks, VM_NOSLEEP, &again), 0);
        kva_stack_free(&ks, again);
    }
    kva_posix_yield_set(NULL, NULL);
    CHECK(!KVA_CONFIG_CHECKS || locks == 0);
    CHECK_EQ(machine().maps, then.maps);
    CHECK_EQ(machine().unmaps, then.unmaps);
    CHECK_EQ(machine().page_gets, then.page_gets);
    /* All of it goes by a drain. */
    CHECK_GT(then.attached_pages, 0);
    CHECK_EQ(kva_stacks_drain(&ks, 0, 0), 0);
    CHECK_EQ(machine().attached_pages, then.attached_pages);
    got = kva_stacks_drain(&ks, SIZE_MAX, 0);
    CHECK_EQ(got, then.attached_pages * P);
    CHECK_EQ(machine().attached_pages, 0);
    /* And by reclaim. */
    CHECK_EQ(kva_stack_alloc(&ks, VM_NOSLEEP, &again), 0);
    kva_stack_free(&ks, again);
    got = machine().attached_pages * P;
    CHECK_GE(got, 4 * P);
    CHECK_GE(kva_reclaim(SIZE_MAX), got);
    CHECK_EQ(machine().attached_pages, 0);
    kva_stacks_fini(&ks);
    CHECK_EQ(vmem_size(kernel_va_arena, VMEM_ALLOC), 0);
    kva_shutdown();
}

/* ---- at random, beside an oracle --------------------------------------- */

#define SETS 4u
#define LIVE 60u

static struct kva_stacks sets[SETS];
static const struct {
    size_t bytes;
    unsigned flags;
} kind[SETS] = { { 4 * P, 0 },
                 { 1 * P, KVA_STACK_BOTH },
                 { 3 * P, 0 },
                 { 16 * P, KVA_STACK_BOTH } };

struct live {
    uintptr_t base; /* 0: none */
    unsigned set;
    unsigned char mark;
};

/* Mapped from end to end, not beside it, and as it was filled. */
static void
check_live(const struct live *l)
{
    size_t bytes = kind[l->set].bytes;
    kva_pa_t pa;

    for (size_t at = 0; at < bytes; at += P) {
        CHECK_EQ(kva_port_translate(l->base + at, 1, &pa), 1);
        CHECK_EQ(*(unsigned char *)(l->base + at), l->mark);
    }
    CHECK_EQ(kva_port_translate(l->base - P, 1, &pa), 0);
    if (kind[l->set].flags == KVA_STACK_BOTH) {
        CHECK_EQ(kva_port_translate(l->base + bytes, 1, &pa), 0);
    }
}

static void
step(struct test_ctx *t, struct live *l)
{
    if (l->base != 0) {
        check_live(l);
        kva_stack_free(&sets[l->set], l->base);
        l->base = 0;
        return;
    }
    l->set = (unsigned)test_below(t, SETS);
    l->mark = (unsigned char)test_rand(t);
    CHECK_EQ(kva_stack_alloc(&sets[l->set], VM_NOSLEEP, &l->base), 0);
    memset((void *)l->base, l->mark, kind[l->set].bytes);
}

static void
check_all(const struct live *live, bool drained)
{
    size_t pages = 0;
    struct kva_stat st;

    for (unsigned i = 0; i < LIVE; i++) {
        if (live[i].base != 0) {
            check_live(&live[i]);
            pages += kind[live[i].set].bytes / P;
        }
    }
    kva_stat(&st);
    CHECK_EQ(st.wired_bytes, machine().attached_pages * P);
    CHECK_GE(machine().attached_pages, pages);
    CHECK(!drained || machine().attached_pages == pages);
}

static void
random_use(struct test_ctx *t)
{
    static struct live live[LIVE];

    boot();
    memset(live, 0, sizeof(live));
    for (unsigned i = 0; i < SETS; i++) {
        CHECK_EQ(kva_stacks_init(&sets[i], "set", kind[i].bytes, kind[i].flags),
                 0);
    }
    for (unsigned long i = 0; i < t->count; i++) {
        step(t, &live[test_below(t, LIVE)]);
        if (i % 100 == 99) {
            for (unsigned k = 0; k < SETS; k++) {
                (void)kva_stacks_drain(&sets[k], SIZE_MAX, 0);
            }
            check_all(live, true);
        }
    }
    check_all(live, false);
    for (unsigned i = 0; i < LIVE; i++) {
        if (live[i].base != 0) {
            step(t, &live[i]);
        }
    }
    for (unsigned i = 0; i < SETS; i++) {
        CHECK(vmem_check(&sets[i].slots) == NULL);
        kva_stacks_fini(&sets[i]);
    }
    CHECK_EQ(machine().frames, 0);
    CHECK_EQ(vmem_size(kernel_va_arena, VMEM_ALLOC), 0);
    kva_shutdown();
}

/* ---- refusals ---------------------------------------------------------- */

/* Each site fails at its nth chance, with runs of a frame or two: afterwards
 * everything is as before. */
static void
fails_at_each_site(struct test_ctx *t)
{
    static struct kva_stacks ks;
    unsigned long fired, runs = 0;
    uintptr_t base;
    int err;

    (void)t;
    boot();
    CHECK_EQ(kva_stacks_init(&ks, "threads", 4 * P, KVA_STACK_BOTH), 0);
    for (unsigned i = 0; i < 4; i++) {
        unsigned long nth = 0;

        kva_posix_run_max_set(1 + i / 2);
        do {
            kva_posix_fault_reset();
            kva_posix_fault_arm(KVA_POSIX_ANY, ++nth, i % 2 != 0);
            err = kva_stack_alloc(&ks, VM_NOSLEEP, &base);
            fired = kva_posix_fault_fired(KVA_POSIX_ANY);
            kva_posix_fault_disarm(KVA_POSIX_ANY);
            if (err == 0) {
                memset((void *)base, 1, 4 * P);
                kva_stack_free(&ks, base);
                (void)kva_stacks_drain(&ks, SIZE_MAX, 0);
            } else {
                CHECK_EQ(err, KVA_ENOMEM);
            }
            CHECK_EQ(machine().attached_pages, 0);
            CHECK_EQ(machine().frames, 0);
            CHECK_EQ(vmem_size(&ks.slots, VMEM_ALLOC), 0);
            CHECK_EQ(vmem_size(&ks.va, VMEM_ALLOC), 0);
            CHECK(vmem_check(&ks.va) == NULL);
            runs++;
        } while (fired > 0);
    }
    CHECK_GT(runs, 40);
    kva_stacks_fini(&ks);
    kva_shutdown();
}

static void
bad_sizes(struct test_ctx *t)
{
    static struct kva_stacks ks;

    (void)t;
    boot();
    CHECK_EQ(kva_stacks_init(&ks, "s", 0, 0), KVA_EINVAL);
    CHECK_EQ(kva_stacks_init(&ks, "s", SIZE_MAX, 0), KVA_EINVAL);
    CHECK_EQ(kva_stacks_init(&ks, "s", SIZE_MAX / 4 + 1, 0), KVA_EINVAL);
    kva_shutdown();
}

/* ---- misuse ------------------------------------------------------------ */

static void
bad_frees(struct test_ctx *t)
{
    static struct kva_stacks a, b;
    uintptr_t one, two, other;

    (void)t;
    boot();
    CHECK_EQ(kva_stacks_init(&a, "threads", 4 * P, 0), 0);
    CHECK_EQ(kva_stacks_init(&b, "interrupts", 2 * P, KVA_STACK_BOTH), 0);
    CHECK_EQ(kva_stack_alloc(&a, VM_NOSLEEP, &one), 0);
    CHECK_EQ(kva_stack_alloc(&a, VM_NOSLEEP, &two), 0);
    CHECK_EQ(kva_stack_alloc(&b, VM_NOSLEEP, &other), 0);
#define BAD(ks, addr, what)                                                  \
    CHECK_MISUSE(&(ks).slots, kva_stack_free(&(ks), addr),                   \
                 "kva_stack_free: stacks %s: 0x%lx: expected a stack " what, \
                 (ks).name, (unsigned long)(addr))
    BAD(a, one + 1, "in use, found an address that is not its base");
    BAD(a, one - P, "in use, found an address that is not its base");
    BAD(a, one + 4 * P, "in use, found an address that is not its base");
    BAD(a, (uintptr_t)0, "in use, found none");
    BAD(a, (uintptr_t)&a, "in use, found none");
    BAD(a, other,
        "of 16384 bytes of this set, found one of 8192 bytes of interrupts");
    BAD(b, one,
        "of 8192 bytes of this set, found one of 16384 bytes of threads");
    kva_stack_free(&a, one);
#if KVA_CONFIG_CHECKS
    BAD(a, one, "in use, found a free one");
#endif
    kva_stack_free(&a, two);
    (void)kva_stacks_drain(&a, SIZE_MAX, 0);
    BAD(a, one, "in use, found none");
    CHECK_PANIC(kva_stacks_fini(&b),
                "kva_stacks_fini: arena interrupts: 0x%lx: expected no live "
                "range, found 16384 bytes live in quantum caches, the first "
                "here",
                (unsigned long)(other - P));
    CHECK_PANIC(kva_shutdown(),
                "kva_shutdown: stacks interrupts: 0x%lx: expected no set of "
                "stacks, found one not ended",
                (unsigned long)(uintptr_t)&b);
    kva_stack_free(&b, other);
    kva_stacks_fini(&b);
    kva_stacks_fini(&a);
    kva_shutdown();
    CHECK_PANIC((void)kva_stacks_init(&a, "threads", P, 0),
                "kva_stacks_init: stacks threads: 0x%lx: expected a tower that "
                "was booted, found none",
                (unsigned long)(uintptr_t)&a);
}

/* ---- without an address space ------------------------------------------ */

static void
simple_boot_has_no_guards(struct test_ctx *t)
{
    static _Alignas(4096) char region[64 * P];
    static struct kva_stacks ks, more;
    uintptr_t base;
    unsigned long logs;

    (void)t;
    PORT(NULL);
    CHECK_EQ(kva_boot_simple(region, sizeof(region)), 0);
    CHECK_EQ(kva_stacks_init(&ks, "s", 4 * P, KVA_STACK_GUARDED), KVA_ENOTSUP);
    logs = machine().logs;
    CHECK_EQ(kva_stacks_init(&ks, "s", 4 * P, KVA_STACK_BOTH), 0);
    CHECK_EQ(machine().logs, logs + 1);
    CHECK_STR(kva_posix_log_last(),
              "kva: stacks have no guard pages: addresses are frames");
    CHECK_EQ(kva_stacks_init(&more, "t", P, 0), 0);
    CHECK_EQ(machine().logs, logs + 1); /* said once */
    CHECK_EQ(kva_stack_alloc(&ks, VM_NOSLEEP, &base), 0);
    CHECK_GE(base, (uintptr_t)region);
    memset((void *)base, 1, 4 * P);
    CHECK_PANIC(kva_stack_free(&ks, base + P),
                "kva_stack_free: stacks s: 0x%lx: expected a stack in use, "
                "found an address that is not its base",
                (unsigned long)(base + P));
    kva_stack_free(&ks, base);
    CHECK_EQ(kva_stacks_drain(&ks, SIZE_MAX, 0), 0);
    kva_stacks_fini(&more);
    kva_stacks_fini(&ks);
    kva_shutdown();
}

const struct test stack_tests[] = { TEST("stack", guards_fault),
                                    TEST("stack", overflow_is_caught),
                                    TEST("stack", freed_ones_are_cached),
                                    TEST_COUNT("stack", random_use, 2000, 50000,
                                               1000000),
                                    TEST("stack", fails_at_each_site),
                                    TEST("stack", bad_sizes),
                                    TEST("stack", bad_frees),
                                    TEST("stack", simple_boot_has_no_guards),
                                    TEST_END };
