/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An interrupt after every instruction.
 *
 * The processor's trap flag raises SIGTRAP after each instruction of one
 * allocation or free.  The handler counts those at which interrupts are open,
 * and at the one it was told, or at every one, has the port run an interrupt,
 * which allocates and frees from the same arena or cache:
 *
 *      vmem_alloc:  mov  mov  ror  cmp  ... mov  ret
 *      run 1           ^
 *      run 2                ^
 *      ...                                          until a run is over before
 *      the last        ^    ^    ^    ^  ... ^      its interrupt has come
 *
 * An interrupt takes one thing and gives it back, keeps what it took, or gives
 * what an earlier one kept: so the magazines have as many as before, fewer, or
 * more when the operation goes on.  Each is tried with magazines as full as can
 * be, empty, and all between.
 *
 * Who has what is noted: what is handed out must be nobody's.  At the end of a
 * group of runs the supplier must have given as much as is had and cached.
 *
 * Sanitizers that interpose their own code or handlers, and simulators that
 * know no trap flag, skip.
 */
#include <signal.h>
#include <string.h>

#include "kmem/kmem_impl.h"
#include "tests/unit/tower.h"

#if defined(__linux__) && (defined(__x86_64__) || defined(__i386__))
#define STEPS 1
#include <ucontext.h>
#else
#define STEPS 0
#endif
#if defined(__SANITIZE_THREAD__)
#define MEDDLER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define MEDDLER 1
#endif
#endif
#ifndef MEDDLER
#define MEDDLER 0
#endif

#if STEPS && !MEDDLER

#define Q KVA_PAGE_SIZE
#define STOCK 24u /* things in the thread's hands or in magazines */
#define KEPT 32u  /* most in the hands of interrupts */
#define FIRST 16u /* that they have before a run */

/*
 * Runs with one interrupt, for each operation and action.  A hit that is called
 * from here takes some 50 instructions as compiled for use, so that each has
 * its run; what is longer (sanitized code, a miss) is sampled.
 */
#define RUNS 64u

/* What an interrupt does. */
enum action {
    TAKE_AND_GIVE,
    GIVE_AND_TAKE,
    TAKE,
    GIVE,
    ACTIONS
};

/* What is under test. */
struct subject {
    uintptr_t (*get)(void);
    void (*put)(uintptr_t thing);
    size_t (*live)(void); /* things that are out and not cached */
    void (*drain)(void);
    const char *(*check)(void);
};

/* Things in somebody's hands. */
struct hand {
    uintptr_t thing[STOCK + KEPT];
    unsigned n;
};

static const struct subject *subject;
static struct hand mine, kept;
static struct test_random chance;

/* The handler's orders and what it saw. */
static struct {
    volatile bool on;
    volatile unsigned long at; /* the interrupt after so many; 0: after each */
    volatile unsigned long seen; /* instructions with interrupts open */
    volatile unsigned long fired;
    volatile enum action action;
    const char *volatile wrong;
} plan;

/* ---- who has what ------------------------------------------------------- */

static bool
has(const struct hand *h, uintptr_t thing)
{
    for (unsigned i = 0; i < h->n; i++) {
        if (h->thing[i] == thing) {
            return true;
        }
    }
    return false;
}

/* NULL, or what is wrong with it. */
static const char *
take(struct hand *h, uintptr_t thing)
{
    if (thing == 0) {
        return "nothing was handed out";
    }
    if (has(&mine, thing) || has(&kept, thing)) {
        return "what was handed out is somebody's";
    }
    h->thing[h->n++] = thing;
    return NULL;
}

/* Any of them, so that the order in which they go round changes. */
static uintptr_t
give(struct hand *h)
{
    unsigned i = (unsigned)test_random_below(&chance, h->n);
    uintptr_t thing = h->thing[i];

    h->thing[i] = h->thing[--h->n];
    return thing;
}

/* ---- the interrupt ------------------------------------------------------ */

static void
take_kept(void)
{
    const char *bad = take(&kept, subject->get());

    if (bad != NULL) {
        plan.wrong = bad;
    }
}

static void
give_kept(void)
{
    subject->put(give(&kept));
}

static void
on_interrupt(void *arg)
{
    enum action action = plan.action == ACTIONS
                             ? (enum action)test_random_below(&chance, ACTIONS)
                             : plan.action;

    (void)arg;
    if (kept.n == 0) {
        action = TAKE;
    } else if (kept.n == KEPT) {
        action = GIVE;
    }
    if (action == GIVE || action == GIVE_AND_TAKE) {
        give_kept();
    }
    if (action != GIVE) {
        take_kept();
    }
    if (action == TAKE_AND_GIVE) {
        give_kept();
    }
}

/* ---- one instruction at a time ------------------------------------------ */

#ifdef __x86_64__
#define TRAP_FLAG_SET                                                      \
    "lea -128(%%rsp), %%rsp\n\tpushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n\t" \
    "lea 128(%%rsp), %%rsp"
#define TRAP_FLAG_CLEAR                                                      \
    "lea -128(%%rsp), %%rsp\n\tpushfq\n\tandl $-0x101, (%%rsp)\n\tpopfq\n\t" \
    "lea 128(%%rsp), %%rsp"
#else
#define TRAP_FLAG_SET "pushfl\n\torl $0x100, (%%esp)\n\tpopfl"
#define TRAP_FLAG_CLEAR "pushfl\n\tandl $-0x101, (%%esp)\n\tpopfl"
#endif

/* The flag is down while this runs, and up again afterwards if it stays so in
 * the context. */
static void
on_trap(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    bool done = !plan.on;

    (void)number;
    (void)info;
    if (!done && kva_posix_irqs_enabled()) {
        plan.seen++;
        if (plan.at == 0 || plan.seen == plan.at) {
            plan.fired++;
            kva_posix_interrupt();
            done = plan.at != 0;
        }
    }
    if (done) {
        uc->uc_mcontext.gregs[REG_EFL] &= ~0x100;
    }
}

/* An operation, and the interrupt at the at-th instruction or at each (0).
 * False: it was over before. */
static bool
stepped(bool put, unsigned long at)
{
    uintptr_t thing = put ? give(&mine) : 0;
    const char *bad = NULL;

    plan.at = at;
    plan.seen = plan.fired = 0;
    plan.on = true;
    __asm__ volatile(TRAP_FLAG_SET : : : "memory", "cc");
    if (put) {
        subject->put(thing);
    } else {
        thing = subject->get();
    }
    __asm__ volatile(TRAP_FLAG_CLEAR : : : "memory", "cc");
    plan.on = false;
    if (!put) {
        bad = take(&mine, thing);
    }
    bad = plan.wrong != NULL ? plan.wrong : bad;
    if (bad == NULL && subject->live() != mine.n + kept.n) {
        bad = "a thing was lost, or is there twice";
    }
    if (bad != NULL) {
        FAIL("%s, interrupted %s instruction %lu, action %u: %s",
             put ? "put" : "get", at == 0 ? "at each up to" : "at", plan.seen,
             (unsigned)plan.action, bad);
    }
    return plan.fired != 0;
}

/* With no operation under way. */
static void
check(void)
{
    const char *bad = subject->check();

    if (bad != NULL) {
        FAIL("%s", bad);
    }
    CHECK_EQ(subject->live(), mine.n + kept.n);
}

static void
start(void)
{
    struct sigaction action = { .sa_sigaction = on_trap,
                                .sa_flags = SA_SIGINFO };

    (void)sigemptyset(&action.sa_mask);
    CHECK_EQ(sigaction(SIGTRAP, &action, NULL), 0);
    kva_posix_interrupt_set(NULL, NULL);
    plan.on = true;
    plan.at = ~0ul;
    plan.seen = 0;
    __asm__ volatile(TRAP_FLAG_SET "\n\tnop\n\tnop\n\t" TRAP_FLAG_CLEAR
                     :
                     :
                     : "memory", "cc");
    plan.on = false;
    if (plan.seen < 3) {
        SKIP("no trap after an instruction: a simulator?");
    }
    kva_posix_interrupt_set(on_interrupt, NULL);
    memset(&mine, 0, sizeof(mine));
    memset(&kept, 0, sizeof(kept));
    plan.wrong = NULL;
}

/* ---- all of them -------------------------------------------------------- */

/* So many of the stock in the thread's hands, the others in the magazines; and
 * enough in those of interrupts, with room for more. */
static void
balance(unsigned in_hand)
{
    const char *bad = NULL;

    while (bad == NULL && mine.n < in_hand) {
        bad = take(&mine, subject->get());
    }
    while (mine.n > in_hand) {
        subject->put(give(&mine));
    }
    while (bad == NULL && kept.n < FIRST) {
        bad = take(&kept, subject->get());
    }
    while (kept.n > FIRST) {
        subject->put(give(&kept));
    }
    if (bad != NULL) {
        FAIL("%s", bad);
    }
}

/* What is cached goes back now and then, so that the operation misses. */
static void
prepare(unsigned in_hand)
{
    balance(in_hand);
    if (test_random_one_in(&chance, 8)) {
        subject->drain();
    }
}

/* One interrupt, at each instruction in turn. */
static void
one_interrupt(bool put, unsigned in_hand)
{
    unsigned long at, length;

    balance(in_hand);
    CHECK(!stepped(put, ~0ul));
    length = plan.seen;
    for (at = 1;;
         at += 1 + test_random_below(&chance, 2 * (length / RUNS) + 1)) {
        prepare(in_hand);
        if (!stepped(put, at)) {
            break;
        }
    }
    CHECK_GT(at, 8);
    check();
}

/* Interrupts at all of them, in one run. */
static void
many_interrupts(bool put, unsigned in_hand)
{
    for (unsigned i = 0; i < 4; i++) {
        prepare(in_hand);
        CHECK(stepped(put, 0));
    }
    check();
}

/* t->count times all actions, with some of the stock in magazines. */
static void
all_groups(struct test_ctx *t, const struct subject *s)
{
    subject = s;
    chance.state = test_rand(t);
    start();
    for (unsigned long i = 0; i < t->count; i++) {
        unsigned in_hand = 1 + (unsigned)test_random_below(&chance, STOCK);

        for (unsigned a = 0; a <= ACTIONS; a++) {
            plan.action = (enum action)a;
            (a < ACTIONS ? one_interrupt : many_interrupts)(false, in_hand);
            (a < ACTIONS ? one_interrupt : many_interrupts)(true, in_hand);
        }
    }
    kva_posix_interrupt_set(NULL, NULL);
    while (mine.n > 0) {
        s->put(give(&mine));
    }
    while (kept.n > 0) {
        s->put(give(&kept));
    }
    check();
}

/* ---- quantum caches ----------------------------------------------------- */

static kva_vmem_t *arena, *source;

static uintptr_t
arena_get(void)
{
    kva_vmem_addr_t addr = 0;

    return kva_vmem_alloc(arena, Q, VM_NOSLEEP, &addr) == 0 ? addr : 0;
}

static void
arena_put(uintptr_t addr)
{
    kva_vmem_free(arena, addr, Q);
}

static void
arena_drain(void)
{
    (void)kva_vmem_drain(arena, SIZE_MAX, 0);
}

static size_t
arena_live(void)
{
    return (kva_vmem_size(arena, VMEM_ALLOC) -
            kva_vmem_size(arena, VMEM_CACHED)) /
           Q;
}

static const char *
arena_check(void)
{
    return kva_vmem_check(arena);
}

static const struct subject arena_subject = { arena_get, arena_put, arena_live,
                                              arena_drain, arena_check };

static void
quantum_cache(struct test_ctx *t)
{
    PORT(&(struct kva_posix_config){ .cpus = 2 });
    source = kva_vmem_create("source", 0x40000000, 1024 * Q, Q, NULL, NULL,
                             NULL, 0, VM_NOSLEEP, KVA_IPL_VM);
    arena = kva_vmem_create("stepped", 0, 0, Q, kva_vmem_alloc, kva_vmem_free,
                            source, 4 * Q, VM_NOSLEEP, KVA_IPL_VM);
    CHECK(source != NULL && arena != NULL);
    all_groups(t, &arena_subject);
    arena_drain();
    CHECK_EQ(kva_vmem_size(arena, VMEM_ALLOC), 0);
    kva_vmem_destroy(arena);
    CHECK_EQ(kva_vmem_size(source, VMEM_ALLOC), 0);
    kva_vmem_destroy(source);
}

/* ---- pool caches -------------------------------------------------------- */

static kva_pool_cache_t cache;

static uintptr_t
cache_get(void)
{
    return (uintptr_t)kva_pool_cache_get(cache, PR_NOWAIT);
}

static void
cache_put(uintptr_t object)
{
    kva_pool_cache_put(cache, (void *)object);
}

static void
cache_drain(void)
{
    kva_pool_cache_invalidate(cache);
}

static size_t
cache_live(void)
{
    struct kva_pool_stat st;

    kva_pool_cache_stat(cache, &st);
    return st.objects_out - st.objects_cached;
}

static const char *
cache_check(void)
{
    return kva_pool_check(&cache->slabs);
}

static const struct subject cache_subject = { cache_get, cache_put, cache_live,
                                              cache_drain, cache_check };

static void
pool_cache(struct test_ctx *t)
{
    tower_start(0);
    cache = kva_pool_cache_init(64, 0, 0, 0, "stepped", NULL, KVA_IPL_VM, NULL,
                                NULL, NULL);
    CHECK(cache != NULL);
    all_groups(t, &cache_subject);
    kva_pool_cache_destroy(cache);
    tower_end();
}

/* ---- kmem from interrupts ------------------------------------------------ */

#define INTR_SIZE 192u

static uintptr_t
intr_get(void)
{
    return (uintptr_t)kva_kmem_intr_alloc(INTR_SIZE, KM_NOSLEEP);
}

static void
intr_put(uintptr_t object)
{
    kva_kmem_intr_free((void *)object, INTR_SIZE);
}

static const struct subject intr_subject = { intr_get, intr_put, cache_live,
                                             cache_drain, cache_check };

static void
kmem_intr(struct test_ctx *t)
{
    tower_start(0);
    cache = kva__kmem_of[kva__kmem_step(INTR_SIZE)] + KVA__KMEM_CLASSES;
    all_groups(t, &intr_subject);
    tower_end();
}

#else

static void
quantum_cache(struct test_ctx *t)
{
    (void)t;
    SKIP("no trap flag here, or a sanitizer that minds");
}

static void
pool_cache(struct test_ctx *t)
{
    quantum_cache(t);
}

static void
kmem_intr(struct test_ctx *t)
{
    quantum_cache(t);
}

#endif

const struct test single_step_tests[] = {
    TEST_COUNT("single_step", quantum_cache, 1, 6, 200),
    TEST_COUNT("single_step", pool_cache, 1, 6, 200),
    TEST_COUNT("single_step", kmem_intr, 1, 6, 200), TEST_END
};
