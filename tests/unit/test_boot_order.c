/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The order of starting, as docs/boot-order.md has it: each step is made on the
 * host, with no more of the machine than there is by then, and behind each it
 * is tried what works.  The rows of the page's tables are what comes out.
 *
 * By then there is: what the port was asked for is watched (a hook of paging
 * before there is paging fails the test); interrupts are off until they are
 * turned on; nobody may sleep before there are threads; one thread alone runs
 * before there are other CPUs.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmem/kmem.h"
#include "kva/stack.h"
#include "tests/harness/test.h"

#define P KVA_PAGE_SIZE

static struct {
    bool paging, kmem; /* there is by now */
    const char *early; /* a hook that was called too early */
    kva_irq_t saved;
    unsigned long interrupts;
    bool served;
} machine;

static void
watch(void *arg, const char *hook)
{
    static const char *const paging[] = { "page_get", "page_put",  "map",
                                          "unmap",    "flush",     "meta_get",
                                          "meta_put", "translate", "barrier" };

    (void)arg;
    for (unsigned i = 0; !machine.paging && i < KVA_COUNT(paging); i++) {
        if (strcmp(hook, paging[i]) == 0) {
            machine.early = paging[i];
        }
    }
}

/* ---- what works? ------------------------------------------------------- */

static bool
arenas_work(void)
{
    vmem_t *vm = vmem_create("ids", 1, 10, 1, NULL, NULL, NULL, 0, VM_NOSLEEP,
                             KVA_IPL_VM);
    vmem_addr_t a;

    CHECK(vm != NULL);
    CHECK_EQ(vmem_alloc(vm, 3, VM_NOSLEEP, &a), 0);
    vmem_free(vm, a, 3);
    vmem_destroy(vm);
    return true;
}

static bool
arena_works(vmem_t *vm, bool memory)
{
    vmem_addr_t a;

    if (vm == NULL || vmem_alloc(vm, 3 * P, VM_NOSLEEP, &a) != 0) {
        return false;
    }
    if (memory) {
        memset((void *)a, 1, 3 * P);
    }
    vmem_free(vm, a, 3 * P);
    return true;
}

static bool
addresses_work(void)
{
    return arena_works(heap_va_arena, false);
}

static bool
wired_works(void)
{
    return arena_works(kmem_arena, true);
}

static bool
stacks_work(void)
{
    static struct kva_stacks ks;
    uintptr_t base;
    bool works;

    if (kernel_va_arena == NULL ||
        kva_stacks_init(&ks, "s", 2 * P, KVA_STACK_GUARDED) != 0) {
        return false;
    }
    works = kva_stack_alloc(&ks, VM_NOSLEEP, &base) == 0;
    if (works) {
        memset((void *)base, 1, 2 * P);
        kva_stack_free(&ks, base);
    }
    kva_stacks_fini(&ks);
    return works;
}

/* Before kmem_init it is not to be called. */
static bool
kmem_works(void)
{
    void *p = machine.kmem ? kmem_alloc(100, KM_NOSLEEP) : NULL;

    if (p != NULL) {
        kmem_free(p, 100);
    }
    return p != NULL;
}

/* One is sent; if it comes, it is served from what was wired ahead. */
static void
on_interrupt(void *arg)
{
    vmem_addr_t a;
    void *p;

    (void)arg;
    machine.interrupts++;
    machine.served = false;
    if (vmem_alloc(kmem_intr_arena, P, VM_NOSLEEP, &a) == 0) {
        vmem_free(kmem_intr_arena, a, P);
        p = kmem_intr_alloc(100, KM_NOSLEEP);
        if (p != NULL) {
            kmem_intr_free(p, 100);
            machine.served = true;
        }
    }
}

static bool
interrupts_work(void)
{
    machine.interrupts = 0;
    if (kva_posix_irqs_enabled()) {
        kva_posix_interrupt();
        CHECK_EQ(machine.interrupts, 1);
    }
    return machine.interrupts != 0 && machine.served;
}

static void
time_passes(void *arg, const void *channel)
{
    (void)arg;
    (void)channel;
    kva_posix_clock_advance(1);
}

/* A request that must wait: does it sleep? */
static bool
waits_work(void)
{
    struct kva_vmem_request rq = {
        .size = 10, .align = 1, .maxaddr = VMEM_ADDR_MAX, .flags = VM_SLEEP
    };
    vmem_t *vm = vmem_create("ids", 1, 10, 1, NULL, NULL, NULL, 0, VM_NOSLEEP,
                             KVA_IPL_VM);
    struct kva_posix_stats then, now;
    vmem_addr_t a, b;
    int err;

    CHECK(vm != NULL);
    CHECK_EQ(vmem_alloc(vm, 1, VM_NOSLEEP, &a), 0);
    kva_posix_stats_get(&then);
    kva_posix_clock_virtual(true);
    kva_posix_wait_hook(time_passes, NULL);
    err = vmem_xalloc_timed(vm, &rq, 1, NULL, &b);
    kva_posix_stats_get(&now);
    CHECK_EQ(err, now.waits > then.waits ? KVA_ETIMEDOUT : KVA_ENOMEM);
    kva_posix_clock_virtual(false);
    kva_posix_wait_hook(NULL, NULL);
    vmem_free(vm, a, 1);
    vmem_destroy(vm);
    return now.waits > then.waits;
}

/* Another CPU has a slot of its own, and what lies in its magazines comes back
 * by a drain from here. */
struct other {
    pthread_barrier_t there, drained;
    unsigned cpu;
};

static void *
other_run(void *arg)
{
    struct other *o = arg;
    vmem_addr_t a;

    CHECK_EQ(vmem_alloc(kmem_arena, P, VM_NOSLEEP, &a), 0);
    vmem_free(kmem_arena, a, P);
    o->cpu = kva_cpu_enter();
    kva_cpu_exit(o->cpu);
    (void)pthread_barrier_wait(&o->there);
    (void)pthread_barrier_wait(&o->drained);
    return NULL;
}

static bool
others_work(void)
{
    struct other o;
    pthread_t thread;
    unsigned mine = kva_cpu_enter();

    kva_cpu_exit(mine);
    CHECK_EQ(pthread_barrier_init(&o.there, NULL, 2), 0);
    CHECK_EQ(pthread_barrier_init(&o.drained, NULL, 2), 0);
    CHECK_EQ(pthread_create(&thread, NULL, other_run, &o), 0);
    (void)pthread_barrier_wait(&o.there);
    (void)vmem_drain(kmem_arena, SIZE_MAX, 0);
    CHECK_EQ(vmem_size(kmem_arena, VMEM_CACHED), 0);
    (void)pthread_barrier_wait(&o.drained);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    return o.cpu != KVA_CPU_NONE && mine != KVA_CPU_NONE && o.cpu != mine;
}

/* ---- the page ---------------------------------------------------------- */

#define COLUMNS 8u

static void
row_is_in_the_page(const char *row)
{
    char line[256];
    bool found = false;
    FILE *f = fopen(TEST_DOCS "/boot-order.md", "r");

    CHECK(f != NULL);
    while (!found && fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        found = strcmp(line, row) == 0;
    }
    CHECK_EQ(fclose(f), 0);
    if (!found) {
        FAIL("docs/boot-order.md has no row \"%s\"", row);
    }
}

/* Try all; others: is it the time of other CPUs? */
static void
try_all(const char *step, bool others)
{
    static bool (*const works[COLUMNS - 1])(
        void) = { arenas_work, addresses_work,  wired_works, stacks_work,
                  kmem_works,  interrupts_work, waits_work };
    char row[256];
    int at = snprintf(row, sizeof(row), "| %s |", step);

    for (unsigned i = 0; i < COLUMNS; i++) {
        bool yes = i < COLUMNS - 1 ? works[i]() : others && others_work();

        at += snprintf(row + at, sizeof(row) - (size_t)at, " %s |",
                       yes ? "yes" : "-");
    }
    if (machine.early != NULL) {
        FAIL("%s: %s is called before there is paging", step, machine.early);
    }
    row_is_in_the_page(row);
}

static void
begin(unsigned cpus)
{
    struct kva_posix_config config = { .cpus = cpus };

    PORT(&config);
    memset(&machine, 0, sizeof(machine));
    kva_posix_yield_set(watch, NULL);
    kva_posix_interrupt_set(on_interrupt, NULL);
    kva_posix_threads(false);
    machine.saved = kva_posix_irq_save();
}

static void
end(void)
{
    struct kva_posix_stats st;

    kva_kmem_fini();
    kva_shutdown();
    kva_posix_stats_get(&st);
    CHECK_EQ(st.frames, 0);
}

static void
full_start(struct test_ctx *t)
{
    static _Alignas(4096) char first[32 * P], second[32 * P];
    struct kva_boot kb = { .donated = second,
                           .donated_bytes = sizeof(second),
                           .intr_bytes = 64 * P };

    (void)t;
    begin(4);
    vmem_bootstrap(first, sizeof(first));
    try_all("1 `vmem_bootstrap`", false);
    kb.va_base = kva_posix_va_base();
    kb.va_bytes = kva_posix_va_bytes();
    CHECK_EQ(kva_boot(&kb), 0);
    try_all("2 `kva_boot`", false);
    machine.paging = true;
    CHECK_EQ(kva_start(), 0);
    try_all("3 paging, `kva_start`", false);
    kmem_init();
    machine.kmem = true;
    try_all("4 `kmem_init`", false);
    kva_posix_irq_restore(machine.saved);
    try_all("5 interrupts on", false);
    kva_posix_threads(true);
    try_all("6 threads", false);
    try_all("7 other CPUs", true);
    end();
}

static void
simple_start(struct test_ctx *t)
{
    static _Alignas(4096) char region[256 * P];

    (void)t;
    begin(1);
    CHECK_EQ(kva_boot_simple(region, sizeof(region)), 0);
    try_all("1 `kva_boot_simple`", false);
    kmem_init();
    machine.kmem = true;
    try_all("2 `kmem_init` on it", false);
    kva_posix_irq_restore(machine.saved);
    try_all("3 interrupts on, on it", false);
    end();
}

const struct test boot_order_tests[] = { TEST("boot_order", full_start),
                                         TEST("boot_order", simple_start),
                                         TEST_END };
