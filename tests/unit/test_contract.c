/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port that breaks a promise is told by the name of the hook, in debug
 * builds, at the first call that shows it; a port that keeps all of them is
 * not complained of (by all other tests).  And the host port itself finds who
 * gives back another interrupt state than he got.
 */
#include "kva/kva.h"
#include "port/contract.h"
#include "tests/harness/machine.h"
#include "vmem/vmem_impl.h"

#define P KVA_PAGE_SIZE

static void
boot_there(void)
{
    /* What is freed goes at once. */
    machine_boot((struct kva_boot){ .lazy_bytes = 1 });
}

static void
boot(void)
{
    PORT(NULL);
    boot_there();
}

/* expr panics with this message, whatever is locked: the report comes from
 * within. */
#define CHECK_BREACH(expr, ...)                                                \
    do {                                                                       \
        struct kva_posix_catch test_catch;                                     \
                                                                               \
        if (KVA_POSIX_TRY(&test_catch)) {                                      \
            expr;                                                              \
            kva_posix_catch_end(&test_catch);                                  \
            FAIL("%s: no breach is reported", #expr);                          \
        }                                                                      \
        kva_posix_break(KVA_POSIX_KEEPS_ALL);                                  \
        test_catch.locks = 0;                                                  \
        test_check_panic(__FILE__, __LINE__, #expr, &test_catch, __VA_ARGS__); \
    } while (0)

static void
debug_only(void)
{
    if (!KVA_CONFIG_DEBUG) {
        SKIP("no assertions in this build");
    }
}

/* ---- pages and mappings ------------------------------------------------ */

static void
frames_are_the_callers(struct test_ctx *t)
{
    vmem_addr_t a = 0;
    kva_pa_t pa = 0;

    (void)t;
    debug_only();
    boot();
    CHECK_EQ(vmem_alloc(kmem_arena, 40 * P, VM_NOSLEEP, &a), 0);
    CHECK_EQ(kva_port_translate(a, 1, &pa), 1);
    kva_posix_break(KVA_POSIX_PAGE_TWICE);
    CHECK_BREACH((void)vmem_alloc(kmem_arena, 50 * P, VM_NOSLEEP, &a),
                 "kva_port_page_get: port frames: 0x%lx: expected 50 frames "
                 "that nobody holds, found the frame 0 of them held",
                 (unsigned long)pa);
    kva_posix_break(KVA_POSIX_PAGE_ODD);
    CHECK_BREACH((void)vmem_alloc(kmem_arena, 50 * P, VM_NOSLEEP, &a),
                 "kva_port_page_get: port frames: 0x%lx: expected whole "
                 "frames, found offset %zu",
                 (unsigned long)(pa + 40 * P + P / 2), P / 2);
}

static void
mappings_are_whole(struct test_ctx *t)
{
    vmem_addr_t a = 0, b = 0;

    (void)t;
    debug_only();
    boot();
    /* The next import lies behind this one. */
    CHECK_EQ(vmem_alloc(kmem_arena, 40 * P, VM_NOSLEEP, &a), 0);
    kva_posix_break(KVA_POSIX_MAP_HALF);
    CHECK_BREACH((void)vmem_alloc(kmem_arena, 50 * P, VM_NOSLEEP, &b),
                 "kva_port_map: port space: 0x%lx: expected none, since it was "
                 "refused, of 50 pages mapped, found the page 0 mapped",
                 (unsigned long)(a + 40 * P));
    kva_posix_break(KVA_POSIX_MAP_SHORT);
    CHECK_BREACH((void)vmem_alloc(kmem_arena, 60 * P, VM_NOSLEEP, &b),
                 "kva_port_map: port space: 0x%lx: expected all of 60 pages "
                 "mapped, found the page 59 not, or to another frame",
                 (unsigned long)(a + 90 * P));
    kva_posix_break(KVA_POSIX_UNMAP_SHORT);
    CHECK_BREACH(vmem_free(kmem_arena, a, 40 * P),
                 "kva_port_unmap: port space: 0x%lx: expected none of 40 pages "
                 "mapped, found the page 39 mapped",
                 (unsigned long)a);
}

#if KVA_DEMOTE
static void
demoted_pages_stay(struct test_ctx *t)
{
    uintptr_t va;
    kva_pa_t pa;

    (void)t;
    debug_only();
    PORT(NULL);
    va = kva_posix_va_base();
    CHECK_EQ(kva_port_page_get(KVA_LARGE_PAGES, KVA_PAGE_LARGE, &pa), 0);
    CHECK_EQ(kva_port_map(va, pa, KVA_LARGE_PAGES, KVA_PROT_READ), 0);
    CHECK_EQ(kva_port_demote(va + P, 3), 0);
    kva_posix_break(KVA_POSIX_DEMOTE_LOSES);
    CHECK_BREACH((void)kva_port_demote(va + 4 * P, 3),
                 "kva_port_demote: port space: 0x%lx: expected 3 pages mapped "
                 "to the same frames, found some not, or to others",
                 (unsigned long)(va + 4 * P));
}
#endif

static void
metadata_is_clean(struct test_ctx *t)
{
    struct kva__meta_store ms;
    struct kva_posix_catch c;

    (void)t;
    debug_only();
    boot();
    kva__meta_store_init(&ms, "test", 64, KVA_META_OTHER, 0);
    kva_posix_break(KVA_POSIX_META_ODD);
    if (KVA_POSIX_TRY(&c)) {
        (void)kva__meta_get(&ms);
        FAIL("no breach is reported");
    }
    CHECK_HAS(c.message, "kva_port_meta_get: port meta: 0x");
    CHECK_HAS(c.message, "expected a page, found offset 64");
    kva_posix_break(KVA_POSIX_META_DIRTY);
    if (KVA_POSIX_TRY(&c)) {
        (void)kva__meta_get(&ms);
        FAIL("no breach is reported");
    }
    CHECK_HAS(c.message, "kva_port_meta_get: port meta: 0x");
    CHECK_HAS(c.message, KVA_WORD_64
                             ? "expected zeros, found 0x100000000000000 at "
                               "offset 4088"
                             : "expected zeros, found 0x1000000 at offset "
                               "4092");
    kva_posix_break(KVA_POSIX_KEEPS_ALL);
    CHECK(kva__meta_get(&ms) != NULL);
}

/* ---- CPUs -------------------------------------------------------------- */

static void
cpus_have_slots(struct test_ctx *t)
{
    vmem_addr_t a;

    (void)t;
    debug_only();
    boot();
    CHECK_EQ(vmem_alloc(kmem_arena, P, VM_NOSLEEP, &a), 0);
    vmem_free(kmem_arena, a, P);
    kva_posix_slot = KVA_CPU_MAX + 1;
    CHECK_BREACH((void)vmem_alloc(kmem_arena, P, VM_NOSLEEP, &a),
                 "kva_port_cpu_enter: port cpus: 0x0: expected a slot below %u "
                 "or KVA_CPU_NONE, found %u",
                 (unsigned)KVA_CPU_MAX, (unsigned)KVA_CPU_MAX);
    kva_posix_slot = 0;
    CHECK_EQ(vmem_alloc(kmem_arena, P, VM_NOSLEEP, &a), 0);
    vmem_free(kmem_arena, a, P);
    kva_shutdown();
    kva_posix_break(KVA_POSIX_CPUS_MANY);
    CHECK_BREACH(boot_there(),
                 "kva_port_cpu_count: port cpus: 0x0: expected 1 to %u, found "
                 "%u",
                 (unsigned)KVA_CPU_MAX, KVA_CPU_MAX + 1u);
    kva_posix_break(KVA_POSIX_CPUS_NONE);
    CHECK_BREACH(boot_there(),
                 "kva_port_cpu_count: port cpus: 0x0: expected 1 to %u, found "
                 "0",
                 (unsigned)KVA_CPU_MAX);
}

/* ---- locks and interrupts ---------------------------------------------- */

/* By an arena's lock, which masks. */
static void
locks_are_held(struct test_ctx *t)
{
    static const struct {
        enum kva_posix_breach what;
        bool masked;
        const char *hook, *told;
    } rows[] = {
        { KVA_POSIX_LOCK_NOT, false, "lock",
          "expected the lock held, found it not held" },
        { KVA_POSIX_LOCK_OPENS, true, "lock",
          "expected interrupts off as before, found them on" },
        { KVA_POSIX_UNLOCK_NOT, false, "unlock",
          "expected the lock let go, found it held" },
        { KVA_POSIX_UNLOCK_OPENS, true, "unlock",
          "expected interrupts off as before the lock, found them on" },
    };

    (void)t;
    debug_only();
    boot();
    for (unsigned i = 0; i < KVA_COUNT(rows); i++) {
        kva_irq_t saved = rows[i].masked ? kva_posix_irq_save() : 0;

        kva_posix_break(rows[i].what);
        CHECK_BREACH((void)vmem_size(heap_arena, VMEM_ALLOC),
                     "kva_port_%s: port lock: 0x%lx: %s", rows[i].hook,
                     (unsigned long)(uintptr_t)&heap_arena->lock, rows[i].told);
        kva_posix_irq_restore(saved);
        (void)vmem_size(heap_arena, VMEM_ALLOC); /* as before */
    }
    kva_shutdown();
}

static void
end_wait(void *arg, const void *channel)
{
    (void)arg;
    (void)channel;
    (void)kva_posix_cancel_waits();
}

/*
 * A request waits, and what comes back from the wait is not as promised.  It is
 * left on its queue by the report, so there is one such request in a process.
 */
static void
wait_breaks(enum kva_posix_breach what, const char *told)
{
    struct kva_vmem_request rq = {
        .size = 2, .align = 1, .maxaddr = VMEM_ADDR_MAX, .flags = VM_SLEEP
    };
    struct kva_posix_catch c;
    vmem_addr_t a;
    vmem_t *vm;

    debug_only();
    PORT(NULL);
    vmem_bootstrap(NULL, 0);
    vm = vmem_create("ids", 1, 2, 1, NULL, NULL, NULL, 0, VM_NOSLEEP,
                     KVA_IPL_NONE);
    CHECK(vm != NULL);
    CHECK_EQ(vmem_alloc(vm, 1, VM_NOSLEEP, &a), 0);
    kva_posix_clock_virtual(true);
    kva_posix_break(what);
    kva_posix_wait_hook(end_wait, NULL);
    if (KVA_POSIX_TRY(&c)) {
        (void)kva_vmem_xalloc_timed(vm, &rq, 1000, NULL, &a);
        FAIL("no breach is reported");
    }
    CHECK_HAS(c.message, "kva_port_wait: port lock: 0x");
    CHECK_HAS(c.message, told);
}

static void
waits_hold_the_lock(struct test_ctx *t)
{
    (void)t;
    wait_breaks(KVA_POSIX_WAIT_UNLOCKED,
                "expected the lock held on return, found it not held");
}

static void
waits_have_three_results(struct test_ctx *t)
{
    (void)t;
    wait_breaks(KVA_POSIX_WAIT_ERROR,
                "expected 0, KVA_ETIMEDOUT or KVA_EINTR, found 22");
}

/* ---- the host port on its users ---------------------------------------- */

static void
wrong_states_are_told(struct test_ctx *t)
{
    kva_lock_t a, b;
    kva_irq_t outer, inner;

    (void)t;
    kva_posix_lock_check(true);
    kva_port_lock_init(&a, "a", KVA_IPL_VM, 0);
    kva_port_lock_init(&b, "b", KVA_IPL_VM, 0);
    outer = kva_posix_irq_save();
    inner = kva_port_lock(&a);
    CHECK_PANIC((kva_port_unlock)(&a, 0),
                "kva_port_unlock: lock a: 0x%lx: expected the interrupt state "
                "1 that lock returned, found 0",
                (unsigned long)(uintptr_t)&a);
    CHECK(!kva_posix_irqs_enabled());
    CHECK_EQ(inner, 1);
    (kva_port_unlock)(&a, inner);
    kva_posix_irq_restore(outer);
    outer = kva_port_lock(&a);
    inner = kva_port_lock(&b);
    CHECK_EQ(inner, 1);
    CHECK_PANIC((kva_port_unlock)(&b, 2),
                "kva_port_unlock: lock b: 0x%lx: expected the interrupt state "
                "1 that lock returned, found 2",
                (unsigned long)(uintptr_t)&b);
    (kva_port_unlock)(&a, inner); /* the states change hands */
    (kva_port_unlock)(&b, outer);
    CHECK(kva_posix_irqs_enabled());
}

/* clang-format off */
const struct test contract_tests[] = {
    TEST("contract", frames_are_the_callers),
    TEST("contract", mappings_are_whole),
#if KVA_DEMOTE
    TEST("contract", demoted_pages_stay),
#endif
    TEST("contract", metadata_is_clean),
    TEST("contract", cpus_have_slots),
    TEST("contract", locks_are_held),
    TEST("contract", waits_hold_the_lock),
    TEST("contract", waits_have_three_results),
    TEST("contract", wrong_states_are_told),
    TEST_END
};
/* clang-format on */
