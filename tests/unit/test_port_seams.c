/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host port's test seams: fault sites, caught panics, log lines and yield
 * points do what other tests rely on.
 */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness/test.h"

#define RW (KVA_PROT_READ | KVA_PROT_WRITE)

static const struct kva_posix_config small = { .va_bytes = 1 << 22,
                                               .meta_bytes = 1 << 22 };

/* ---- faults ------------------------------------------------------------ */

static void
faults_fire_as_armed(struct test_ctx *t)
{
    uintptr_t va;

    (void)t;
    PORT(&small);
    kva_posix_fault_arm(KVA_POSIX_META_GET, 3, false);
    CHECK_EQ(kva_port_meta_get(&va), 0);
    CHECK_EQ(kva_port_meta_get(&va), 0);
    CHECK_EQ(kva_port_meta_get(&va), KVA_ENOMEM);
    CHECK_STR(kva_posix_last_error(), "meta_get: injected fault");
    CHECK_EQ(kva_port_meta_get(&va), 0);
    kva_posix_fault_arm(KVA_POSIX_META_GET, 2, true);
    CHECK_EQ(kva_port_meta_get(&va), 0);
    CHECK_EQ(kva_port_meta_get(&va), KVA_ENOMEM);
    CHECK_EQ(kva_port_meta_get(&va), KVA_ENOMEM);
    kva_posix_fault_disarm(KVA_POSIX_META_GET);
    CHECK_EQ(kva_port_meta_get(&va), 0);
    CHECK_EQ(kva_posix_fault_hits(KVA_POSIX_META_GET), 8);
    CHECK_EQ(kva_posix_fault_fired(KVA_POSIX_META_GET), 3);
    kva_posix_fault_reset();
    CHECK_EQ(kva_posix_fault_hits(KVA_POSIX_ANY), 0);
}

static void
any_counts_all_sites(struct test_ctx *t)
{
    uintptr_t va;
    kva_pa_t pa;

    (void)t;
    PORT(&small);
    kva_posix_fault_arm(KVA_POSIX_ANY, 3, false);
    CHECK_EQ(kva_port_meta_get(&va), 0);
    CHECK_EQ(kva_port_page_get(1, 0, &pa), 0);
    CHECK_EQ(kva_port_map(kva_posix_va_base(), pa, 1, RW), KVA_ENOMEM);
    CHECK_STR(kva_posix_last_error(), "map: injected fault");
    CHECK_EQ(kva_port_map(kva_posix_va_base(), pa, 1, RW), 0);
    CHECK_EQ(kva_posix_fault_hits(KVA_POSIX_ANY), 4);
    CHECK_EQ(kva_posix_fault_fired(KVA_POSIX_ANY), 1);
    CHECK_EQ(kva_posix_fault_fired(KVA_POSIX_MAP), 1);
    kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
    CHECK_EQ(kva_port_page_get(1, 0, &pa), KVA_ENOMEM);
    CHECK_EQ(kva_port_meta_get(&va), KVA_ENOMEM);
    CHECK_EQ(kva_port_barrier(), KVA_ENOTSUP);
    kva_posix_fault_disarm(KVA_POSIX_ANY);
    CHECK_EQ(kva_port_page_get(1, 0, &pa), 0);
}

static void
sites_have_names(struct test_ctx *t)
{
    static const char *const names[] = {
        "page_get", "map",         "meta_get", "wait",
        "barrier",  "page_contig", "demote",   "page_owner",
    };
    int mine;

    (void)t;
    CHECK_EQ(kva_posix_fault_sites(), KVA_POSIX_SITES);
    for (int i = 0; i < KVA_POSIX_SITES; i++) {
        CHECK_STR(kva_posix_fault_name(i), names[i]);
    }
    mine = kva_posix_fault_add("import");
    CHECK_EQ(mine, KVA_POSIX_SITES);
    CHECK_EQ(kva_posix_fault_sites(), KVA_POSIX_SITES + 1);
    CHECK_STR(kva_posix_fault_name(mine), "import");
    CHECK(!kva_posix_fault(mine));
    kva_posix_fault_arm(mine, 1, false);
    CHECK(kva_posix_fault(mine));
    CHECK(!kva_posix_fault(mine));
    while (kva_posix_fault_add("more") >= 0) {
    }
    CHECK_EQ(kva_posix_fault_sites(), 32);
    CHECK_PANIC((void)kva_posix_fault(32), "host port: no fault site 32");
}

/* ---- owners of pages --------------------------------------------------- */

#if KVA_SLABS_BY_OWNER
static void
owners_are_kept(struct test_ctx *t)
{
    const uintptr_t far =
        ((uintptr_t)1 << (KVA_WORD_64 ? 46 : 31)) - 3u * KVA_PAGE_SIZE;
    int a, b;

    (void)t;
    PORT(&small);
    CHECK(kva_port_page_owner(0) == NULL);
    CHECK(kva_port_page_owner(UINTPTR_MAX) == NULL);
    CHECK_EQ(kva_port_page_owner_set(far, 5, NULL), 0);
    kva_posix_fault_arm(KVA_POSIX_OWNER, 1, true);
    CHECK_EQ(kva_port_page_owner_set(far, 5, &a), KVA_ENOMEM);
    CHECK(kva_port_page_owner(far) == NULL);
    kva_posix_fault_disarm(KVA_POSIX_OWNER);
    CHECK_EQ(kva_port_page_owner_set(far, 5, &a), 0);
    kva_posix_fault_arm(KVA_POSIX_OWNER, 1, true);
    CHECK_EQ(kva_port_page_owner_set(far + KVA_PAGE_SIZE, 1, &b), 0);
    CHECK_EQ(kva_port_page_owner_set(far + 2u * KVA_PAGE_SIZE, 2, NULL), 0);
    CHECK(kva_port_page_owner(far - 1u) == NULL);
    CHECK(kva_port_page_owner(far + KVA_PAGE_SIZE - 1u) == &a);
    CHECK(kva_port_page_owner(far + KVA_PAGE_SIZE) == &b);
    CHECK(kva_port_page_owner(far + 3u * KVA_PAGE_SIZE) == NULL);
    CHECK(kva_port_page_owner(far + 5u * KVA_PAGE_SIZE - 1u) == &a);
    CHECK(kva_port_page_owner(far + 5u * KVA_PAGE_SIZE) == NULL);
    CHECK_PANIC((void)kva_port_page_owner_set(far + 1u, 1, &a),
                "kva_port_page_owner_set: space owner: 0x%lx: expected the "
                "start of a page",
                (unsigned long)(far + 1u));
}
#endif

/* ---- panic ------------------------------------------------------------- */

static void
panics_are_caught(struct test_ctx *t)
{
    struct kva_posix_catch outer, inner;
    volatile int reached = 0;

    (void)t;
    if (KVA_POSIX_TRY(&outer)) {
        if (KVA_POSIX_TRY(&inner)) {
            kva__panic("inner %d", 1);
        } else {
            CHECK_STR(inner.message, "inner 1");
            reached = 1;
        }
        kva__panic("outer %s", "two");
    } else {
        CHECK_STR(outer.message, "outer two");
        CHECK_EQ(reached, 1);
        reached = 2;
    }
    CHECK_EQ(reached, 2);
    if (KVA_POSIX_TRY(&outer)) {
        kva_posix_catch_end(&outer);
    } else {
        FAIL("no panic, and yet caught");
    }
    CHECK_STR(outer.message, "");
}

static void
panic_puts_the_thread_right(struct test_ctx *t)
{
    struct kva_posix_catch c;
    kva_lock_t before, a, b;
    kva_irq_t irq;

    (void)t;
    kva_port_lock_init(&before, "before", KVA_IPL_NONE, 1);
    kva_port_lock_init(&a, "a", KVA_IPL_VM, 2);
    kva_port_lock_init(&b, "b", KVA_IPL_VM, 3);
    irq = kva_port_lock(&before);
    if (KVA_POSIX_TRY(&c)) {
        (void)kva_port_lock(&a);
        (void)kva_port_lock(&b);
        kva__panic("held");
    }
    CHECK_EQ(c.locks, 2);
    CHECK_STR(c.lock, "b");
    CHECK_EQ(kva_posix_locks_held(), 1);
    CHECK(kva_posix_irqs_enabled());
    (void)kva_port_lock(&b); /* it is free again */
    CHECK(!kva_posix_irqs_enabled());
    kva_port_unlock(&b, 0);
    kva_port_unlock(&before, irq);
}

/* Without a catch: a line on stderr, and abort. */
static void
panic_aborts(struct test_ctx *t)
{
    char text[128] = "";
    int fd[2], status = 0;
    pid_t pid;

    (void)t;
    CHECK_EQ(pipe(fd), 0);
    pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        (void)dup2(fd[1], STDERR_FILENO);
        (void)signal(SIGABRT, SIG_DFL);
        kva_posix_reset();
        kva_posix_catch_forget();
        kva__panic("the end, %u", 7u);
    }
    (void)close(fd[1]);
    CHECK_GT(read(fd[0], text, sizeof(text) - 1), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGABRT);
    CHECK_STR(text, "panic: the end, 7\n");
}

/* ---- log and yield ----------------------------------------------------- */

static void
log_keep(void *arg, const char *msg)
{
    char *buf = arg;

    strncat(buf, msg, 100);
    strncat(buf, ";", 100);
}

static void
log_lines_are_seen(struct test_ctx *t)
{
    char buf[256] = "";

    (void)t;
    PORT(&small);
    CHECK_STR(kva_posix_log_last(), "");
    kva__log("one %d", 1);
    CHECK_STR(kva_posix_log_last(), "one 1");
    kva_posix_log_set(log_keep, buf);
    kva__log("two");
    kva__log("three");
    CHECK_STR(buf, "two;three;");
    kva_posix_log_set(NULL, NULL);
    kva__log("four");
    CHECK_STR(buf, "two;three;");
    CHECK_STR(kva_posix_log_last(), "four");
}

static void
yield_keep(void *arg, const char *hook)
{
    char *buf = arg;

    strncat(buf, hook, 100);
    strncat(buf, " ", 100);
}

static void
hooks_yield(struct test_ctx *t)
{
    char buf[512] = "";
    uintptr_t va, meta;
    kva_lock_t lock;
    kva_irq_t irq;
    kva_pa_t pa;

    (void)t;
    PORT(&small);
    va = kva_posix_va_base();
    kva_port_lock_init(&lock, "y", KVA_IPL_VM, 1);
    kva_posix_yield_set(yield_keep, buf);
    irq = kva_port_lock(&lock);
    kva_port_unlock(&lock, irq);
    (void)kva_port_page_get(1, 0, &pa);
    (void)kva_port_map(va, pa, 1, RW);
    (void)kva_port_translate(va, 1, &pa);
    kva_port_unmap(va, 1);
    kva_port_flush(va, 1);
    kva_port_page_put(1, pa);
    (void)kva_port_meta_get(&meta);
    kva_port_meta_put(meta);
    (void)kva_port_barrier();
    kva_port_relax();
    (void)kva_port_may_sleep();
    kva_port_wake(&lock);
    (void)kva_port_clock();
    kva_posix_yield_set(NULL, NULL);
    (void)kva_port_clock();
    CHECK_STR(buf, "lock unlock page_get map translate unmap flush page_put "
                   "meta_get meta_put barrier relax may_sleep wake clock ");
}

const struct test port_seam_tests[] = {
    TEST("port", faults_fire_as_armed),
    TEST("port", any_counts_all_sites),
    TEST("port", sites_have_names),
#if KVA_SLABS_BY_OWNER
    TEST("port", owners_are_kept),
#endif
    TEST("port", panics_are_caught),
    TEST("port", panic_puts_the_thread_right),
    TEST("port", panic_aborts),
    TEST("port", log_lines_are_seen),
    TEST("port", hooks_yield),
    TEST_END
};
