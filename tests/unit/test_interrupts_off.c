/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * No public function enables interrupts: each is called with them off and one
 * pending, which would run at once if they were on for a moment.  Arenas,
 * pools and caches are of KVA_IPL_VM.  The port checks besides that each unlock
 * is given the state that its lock returned.
 *
 * That no function is missing here is checked by tests/house/interrupts.py.
 */
#include <pthread.h>
#include <string.h>

#include "kva/contig.h"
#include "kva/sizing.h"
#include "kva/stack.h"
#include "malloc_compat/kmalloc.h"
#include "malloc_compat/malloc_store.h"
#include "pool/debug.h"
#include "pool/list.h"
#include "pool/pool_store.h"
#include "port/pages/pages.h"
#include "reclaim/lru.h"
#include "reclaim/pagedaemon.h"
#include "reclaim/shrinker.h"
#include "tests/harness/test.h"
#include "vmem/reserve.h"

#define P KVA_PAGE_SIZE

static unsigned long interrupts, calls;

static void
on_interrupt(void *arg)
{
    (void)arg;
    interrupts++;
}

static void
before(void)
{
    CHECK(!kva_posix_irqs_enabled());
    kva_posix_interrupt(); /* stays pending */
    interrupts = 0;
}

static void
after(const char *function)
{
    if (interrupts != 0 || kva_posix_irqs_enabled()) {
        FAIL("%s: interrupts are off before it, %s", function,
             interrupts != 0 ? "and one comes meanwhile" : "and on behind it");
    }
    calls++;
}

/* Call a function that has no result, or one. */
#define DO(call)      \
    do {              \
        before();     \
        kva_##call;   \
        after(#call); \
    } while (0)
#define GET(result, call)    \
    do {                     \
        before();            \
        result = kva_##call; \
        after(#call);        \
    } while (0)

static int err;
static size_t n;
static bool yes;
static const char *said;

static void
begin(void)
{
    struct kva_posix_config config = { .no_membarrier = true };

    PORT(&config);
    kva_posix_lock_check(true);
    kva_posix_interrupt_set(on_interrupt, NULL);
    (void)kva_posix_irq_save();
}

static void
end(void)
{
    CHECK_EQ(kva_posix_locks_held(), 0);
    kva_posix_irq_restore(0);
    CHECK_GT(interrupts, 0); /* it was pending */
    CHECK_GT(calls, 0);
}

static void
boot(size_t intr_bytes)
{
    struct kva_boot kb = { .intr_bytes = intr_bytes };

    begin();
    kb.va_base = kva_posix_va_base();
    kb.va_bytes = kva_posix_va_bytes();
    GET(err, boot(&kb));
    CHECK_EQ(err, 0);
    GET(err, start());
    CHECK_EQ(err, 0);
    DO(kmem_init());
}

static void
shut(void)
{
    DO(malloc_fini());
    DO(kmem_fini());
    DO(shutdown());
    end();
}

static void __attribute__((format(printf, 1, 2)))
print_nowhere(const char *fmt, ...)
{
    (void)fmt;
}

/* ---- reclaim ------------------------------------------------------------- */

static size_t
clean_nothing(void *arg, struct kva_want *want)
{
    (void)arg;
    (void)want;
    return 0;
}

static void
hear(void *arg, enum kva_pressure level)
{
    (void)arg;
    (void)level;
}

static bool
trylock(void *arg, struct kva_lru_object *object)
{
    (void)arg;
    return object == NULL;
}

#if KVA_TIER >= 3
/* A machine that is full, and of which something comes back for ever: so the
 * daemon has no time to sleep, which is not done with interrupts off. */
static size_t
full(void)
{
    return 100;
}

static size_t
comes_back(void)
{
    static size_t bytes;

    return __atomic_add_fetch(&bytes, 1, __ATOMIC_RELAXED);
}

static const struct kva_supply endless = { full, full, comes_back };

static void *
daemon_thread(void *arg)
{
    kva_irq_t saved = kva_posix_irq_save();

    DO(pagedaemon());
    kva_posix_irq_restore(saved);
    return arg;
}

/* Until somebody else stops it. */
static void
daemon_has_its_run(void)
{
    struct kva_cleaner cl = { .clean = clean_nothing, .name = "none" };
    struct kva_pagedaemon_stat at_first, now;
    pthread_t thread;

    kva_reclaim_register(&cl);
    kva_reclaim_set_supply(&endless);
    (void)kva_pressure_update(100, 100);
    DO(pagedaemon_stat(&at_first));
    CHECK_EQ(pthread_create(&thread, NULL, daemon_thread, NULL), 0);
    do {
        kva_port_relax();
        kva_pagedaemon_stat(&now);
    } while (now.turns == at_first.turns);
    kva_pagedaemon_stop();
    CHECK_EQ(pthread_join(thread, NULL), 0);
    kva_reclaim_set_supply(NULL);
    (void)kva_pressure_update(0, 0);
    kva_reclaim_unregister(&cl);
}
#endif

static void
reclaiming(struct test_ctx *t)
{
    static const unsigned enter[] = { 0, 80, 90, 97 };
    static const unsigned leave[] = { 0, 77, 87, 94 };
    struct kva_pressure_listener l = { .fn = hear };
    struct kva_shrinker sh = { .chunk = 1, .name = "none" };
    struct kva_lru lru = { .name = "none", .trylock = trylock };
    struct kva_lru_object object = { 0 };
    struct kva_lru_page page = { .object = &object };
    struct kva_reclaim_stat rs;
    struct kva_pressure_stat ps;
    size_t asked, work = 1;
    uint64_t ns;

    (void)t;
    begin();
    GET(n, reclaim_pass(1, KVA_URGENCY_LOW, &work));
    DO(reclaim_set_supply(NULL));
    DO(reclaim_stat(&rs));
    GET(n, reclaim_retain("none", 1));
    DO(reclaim_listing(print_nowhere));
    GET(err, pressure_configure(enter, leave));
    GET(err, pressure_configure_outside(enter, leave));
    DO(pressure_listen(&l));
    GET(yes, pressure_update(0, 1));
    GET(yes, pressure_outside(0, 1));
    GET(ns, pressure_tell(0));
    CHECK_EQ(ns, 0);
    GET(n, pressure());
    DO(pressure_stat(&ps));
    DO(pressure_unlisten(&l));
    DO(shrinker_register(&sh));
    DO(shrinker_add(&sh, 2));
    DO(shrinker_remove(&sh, 1));
    GET(n, shrinker_take(&sh));
    DO(shrinker_count(&sh, &n, &asked));
#if KVA_TIER >= 3
    GET(n, reclaim(1)); /* asks for the chunk that is left */
    GET(err, shrinker_wait(&sh, 1, &n));
#endif
    DO(shrinker_unregister(&sh));
    DO(shrinker_fini(&sh));
    DO(lru_init(&lru));
    DO(lru_insert(&lru, &page));
    DO(lru_touch(&lru, &page));
    DO(lru_promise(&lru, 0));
    GET(n, reclaim(1));
    GET(n, lru_pages(&lru));
    DO(lru_remove(&lru, &page));
    DO(lru_fini(&lru));
#if KVA_TIER >= 3
    DO(pagedaemon_set_patience(KVA_PAGEDAEMON_PATIENCE));
    DO(pagedaemon_wake());
    DO(pagedaemon_wait(0));
    GET(ns, pagedaemon_turn());
    CHECK_EQ(ns, 0);
    DO(pagedaemon_stop());
    daemon_has_its_run();
#endif
    end();
}

/* ---- the tower --------------------------------------------------------- */

static void
pageable(void)
{
    struct kva_map_entry entry;
    vmem_addr_t a = 0, b, c;

    GET(err, pageable_alloc(3 * P, KVA_PROT_READ, VM_NOSLEEP, &a));
    CHECK_EQ(err, 0);
    GET(err, fault(a, KVA_PROT_READ));
    CHECK_EQ(err, 0);
    GET(err, pageable_wire(a + P, P));
    CHECK_EQ(err, 0);
    DO(pageable_unwire(a + P, P));
    DO(pageable_protect(a, 2 * P, 0));
    GET(n, pageable_discard(a, 3 * P));
    CHECK_EQ(n, 2 * P);
    GET(yes, map_next(a, &entry));
    CHECK(yes);
    GET(yes, map_lookup(a, &b, &c));
    CHECK(yes);
    DO(map_print(NULL));
    GET(said, map_check());
    CHECK(said == NULL);
    DO(pageable_free(a, 3 * P));
}

static void
tower(struct test_ctx *t)
{
    static _Alignas(4096) char region[64 * P];
    static struct kva_stacks ks;
    struct kva_cleaner cl = { .clean = clean_nothing, .name = "none" };
    struct kva_stacks *hit;
    struct kva_sizing sizing;
    kva_pa_t pa;
    struct kva_stat st;
    void *p;
    vmem_addr_t a = 0, b = 0;

    (void)t;
    begin();
    GET(err, boot_simple(region, sizeof(region)));
    CHECK_EQ(err, 0);
    DO(shutdown());
    end();
    kva_posix_fini();

    boot(16 * P);
    GET(err, wired_alloc(3 * P, 0, VM_NOSLEEP, &a));
    CHECK_EQ(err, 0);
    DO(wired_free(a, 3 * P));
    GET(n, unmap_tick());
    GET(n, unmap_flush());
    GET(err, intr_refill());
    GET(err, reserve_set(0));
    GET(err, reserve_enter());
    GET(yes, reserve_marked());
    if (err == 0) {
        DO(reserve_leave());
    }
    GET(n, intr_drain());
    pageable();
    DO(stat(&st));
    DO(sizing((uint64_t)1 << 30, (uint64_t)1 << 36, 64, &sizing));
    GET(err, contig_alloc(2 * P, 0, ~(kva_pa_t)0, 0, 0, VM_NOSLEEP, &a, &pa));
    CHECK_EQ(err, 0);
    DO(contig_free(a, 2 * P));
    GET(p, permanent_alloc(100, 0, VM_NOSLEEP));
    CHECK(p != NULL);
    GET(err, stacks_init(&ks, "stacks", 4 * P, 0));
    GET(err, stack_alloc(&ks, VM_NOSLEEP, &a));
    CHECK_EQ(err, 0);
    GET(hit, stack_overflow(a - 1, &b));
    CHECK_PTR(hit, &ks);
    DO(stack_free(&ks, a));
    GET(n, stacks_drain(&ks, SIZE_MAX, 0));
    DO(stacks_fini(&ks));
    DO(reclaim_register(&cl));
    GET(n, reclaim(SIZE_MAX));
    DO(reclaim_unregister(&cl));
    shut();
}

/* ---- vmem -------------------------------------------------------------- */

static int
never(vmem_t *arg, vmem_size_t size, vmem_size_t *actual, vm_flag_t flags,
      vmem_addr_t *addr)
{
    (void)arg;
    (void)size;
    (void)actual;
    (void)flags;
    (void)addr;
    return KVA_ENOMEM;
}

static void
visit(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    (void)arg;
    (void)addr;
    (void)size;
    (void)type;
}

static void
vmem_ranges(vmem_t *vm)
{
    struct kva_vmem_request rq = {
        .size = 2 * P, .align = P, .maxaddr = VMEM_ADDR_MAX, .flags = VM_SLEEP
    };
    vmem_addr_t a = 0, b = 0;
    unsigned cancelled;

    for (unsigned i = 0; i < 40; i++) { /* hits, and misses */
        GET(err, vmem_alloc(vm, 2 * P, VM_SLEEP, &a));
        CHECK_EQ(err, 0);
        DO(vmem_free(vm, a, 2 * P));
    }
    GET(err, vmem_alloc(vm, 4096 * P, VM_SLEEP, &a));
    CHECK_EQ(err, KVA_ENOMEM); /* nobody sleeps */
    GET(err, vmem_xalloc(vm, 8 * P, 8 * P, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                         VM_NOSLEEP, &a));
    CHECK_EQ(err, 0);
    GET(err, vmem_xtrim(vm, a, 8 * P, a, 6 * P));
    GET(err, vmem_xextend(vm, a, 6 * P, a, 8 * P));
    GET(err, vmem_xsplit(vm, a, 8 * P, 4 * P));
    GET(err, vmem_xjoin(vm, a, 4 * P, 4 * P));
    GET(err, vmem_prepare(vm, 3, VM_NOSLEEP));
    CHECK_EQ(err, 0);
    GET(err, vmem_xtrim_prepared(vm, a, 8 * P, a, 6 * P));
    GET(err, vmem_xsplit_prepared(vm, a, 6 * P, 2 * P));
    DO(vmem_unprepare(vm, 1));
    DO(vmem_xfree(vm, a, 2 * P));
    DO(vmem_xfree(vm, a + 2 * P, 4 * P));
    GET(err, vmem_xalloc_addr(vm, a, P, VM_NOSLEEP));
    CHECK_EQ(err, 0);
    DO(vmem_xfree(vm, a, P));
    GET(err, vmem_xalloc_timed(vm, &rq, 1000, NULL, &a));
    CHECK_EQ(err, 0);
    GET(cancelled, vmem_cancel(vm, NULL));
    CHECK_EQ(cancelled, 0);
    DO(vmem_retry(vm));
    GET(err, vmem_rimport(vm, &rq, &n, &b));
    CHECK_EQ(err, 0);
    DO(vmem_xfree(vm, b, n));
    DO(vmem_xfree(vm, a, 2 * P));
    GET(yes, vmem_request_fits(&rq, 0, 16 * P, &a));
}

static void
vmem_looks(vmem_t *vm)
{
    static struct kva_vmem_audit ring[16];
    struct kva_vmem_segment seg;
    struct kva_vmem_audit event;
    struct kva_vmem_stat st;
    vmem_addr_t a = 0;

    DO(vmem_set_audit(vm, ring, KVA_COUNT(ring)));
    GET(err, vmem_alloc(vm, 3 * P, VM_NOSLEEP, &a));
    GET(err, vmem_audit_find(vm, a, &event));
    GET(yes, vmem_contains(vm, a, P));
    GET(err, vmem_find(vm, a, &seg));
    GET(n, vmem_roundup_size(vm, 1));
    GET(n, vmem_size(vm, VMEM_ALLOC | VMEM_FREE | VMEM_CACHED));
    DO(vmem_walk(vm, VMEM_ALLOC | VMEM_REENTRANT, visit, NULL));
    DO(vmem_stat(vm, &st));
    GET(said, vmem_check(vm));
    CHECK(said == NULL);
    DO(vmem_print((uintptr_t)vm, "", print_nowhere));
    DO(vmem_printall("", print_nowhere));
    GET(n, vmem_print_live(vm, 10, print_nowhere));
    DO(vmem_whatis(a, print_nowhere));
    DO(vmem_free(vm, a, 3 * P));
    DO(vmem_set_audit(vm, NULL, 0));
    DO(vmem_set_mtbf(vm, 2));
    GET(err, vmem_alloc(vm, P, VM_NOSLEEP, &a));
    if (err == 0) {
        DO(vmem_free(vm, a, P));
    }
    DO(vmem_set_mtbf_random(vm, 2, 1));
    DO(vmem_set_mtbf(vm, 0));
    DO(vmem_update());
    GET(n, vmem_drain(vm, SIZE_MAX, 0));
}

static void
arenas(struct test_ctx *t)
{
    static struct kva_vmem store;
    static struct kva_vmem_btag tags[VMEM_BTS_FOR(64)];
    static _Alignas(4096) char hash[P];
    vmem_t *vm, *more, *other;

    (void)t;
    begin();
    DO(vmem_bootstrap(NULL, 0));
    GET(vm, vmem_create("vm", 16 * P, 512 * P, P, NULL, NULL, NULL, 4 * P,
                        VM_NOSLEEP, KVA_IPL_VM));
    CHECK(vm != NULL);
    GET(err, vmem_add(vm, 1024 * P, 64 * P, VM_NOSLEEP));
    vmem_ranges(vm);
    vmem_looks(vm);
    GET(other, vmem_init(&store, "on it", 0, 0, P, NULL, NULL, NULL, 4 * P,
                         VM_NOSLEEP, KVA_IPL_VM));
    CHECK(other != NULL);
    GET(err, vmem_add_bts(other, tags, KVA_COUNT(tags)));
    DO(vmem_set_reclaim(other, NULL));
    DO(vmem_set_import(other, kva_vmem_alloc, kva_vmem_free, vm, 0));
    DO(vmem_set_limit(other, 128 * P));
    vmem_ranges(other);
    GET(n, vmem_drain(other, SIZE_MAX, 0));
    DO(vmem_destroy(other));
    GET(more, vmem_create("by request", 0, 0, P, NULL, NULL, NULL, 0,
                          VM_NOSLEEP, KVA_IPL_VM));
    CHECK(more != NULL);
    DO(vmem_set_rimport(more, kva_vmem_rimport, kva_vmem_xfree, vm, 0));
    vmem_ranges(more);
    DO(vmem_xfreeall(more));
    DO(vmem_destroy(more));
    GET(more, vmem_xcreate("never", 0, 0, P, never, NULL, vm, 0, VM_NOSLEEP,
                           KVA_IPL_VM));
    CHECK(more != NULL);
    DO(vmem_destroy(more));
    GET(other, vmem_init(&store, "apart", 0, 0, P, NULL, NULL, NULL, 0,
                         VM_NOSLEEP | VM_PRIVTAGS, KVA_IPL_VM));
    CHECK(other != NULL);
    DO(vmem_add_hash(other, hash));
    DO(vmem_destroy(other));
    DO(vmem_destroy(vm));
    DO(vmem_fini());
    end();
}

/* ---- pools ------------------------------------------------------------- */

static void
drain_nothing(void *arg, int flags)
{
    (void)arg;
    (void)flags;
}

static void
pools(struct test_ctx *t)
{
    static struct kva_pool pp;
    struct kva_pool *next = NULL;
    struct kva_pool_stat st;
    void *object[64];
    unsigned have;
    kva_pa_t pa;

    (void)t;
    boot(256 * P);
    GET(err, pool_init(&pp, 500, 0, 0, PR_PADDR, "pool", NULL, KVA_IPL_VM));
    CHECK_EQ(err, 0);
    DO(pool_set_drain_hook(&pp, drain_nothing, NULL));
    DO(pool_setlowat(&pp, 2));
    GET(err, pool_setreserve(&pp, 2));
    GET(object[0], pool_get(&pp, PR_NOWAIT | PR_RESERVE));
    DO(pool_put(&pp, object[0]));
    DO(pool_sethiwat(&pp, 8));
    DO(pool_sethardlimit(&pp, 60, "full", 1));
    GET(err, pool_prime(&pp, 8));
    for (unsigned i = 0; i < 64; i++) {
        GET(object[i], pool_get(&pp, i < 60 ? PR_NOWAIT : PR_WAITOK));
        CHECK((object[i] != NULL) == (i < 60));
    }
    CHECK(kva_port_may_sleep() == false);
    GET(pa, pool_paddr(&pp, object[0]));
    CHECK_EQ(pa % 4, 0);
    GET(have, pool_nget(&pp));
    GET(have, pool_nput(&pp));
    GET(err, pool_totalpages());
    DO(pool_stat(&pp, &st));
    GET(said, pool_check(&pp));
    CHECK(said == NULL);
    GET(err, pool_chk(&pp, "here"));
    DO(pool_printit(&pp, "", print_nowhere));
    DO(pool_whatis((uintptr_t)object[0], print_nowhere));
    GET(have, pool_debug(&pp));
    CHECK_EQ(have, 0);
    for (unsigned i = 0; i < 60; i++) {
        DO(pool_put(&pp, object[i]));
    }
    GET(n, pool_reclaim(&pp));
    GET(yes, pool_drain(&next));
    GET(n, pool_drain_all());
    DO(pool_update());
    DO(pool_destroy(&pp));
    shut();
}

static enum kva_pool_move
move_no(void *arg, void *from, void *to)
{
    (void)arg;
    (void)from;
    (void)to;
    return KVA_MOVE_NO;
}

static void
visit_row(void *arg, const struct kva_pool_row *row)
{
    (void)arg;
    (void)row;
}

static void
caches(struct test_ctx *t)
{
    static struct kva_pool_cache store;
    struct kva_pool_evacuation result;
    struct kva_pool_audit audit;
    struct kva_pool_stat st;
    void *object[40];
    pool_cache_t pc;
    unsigned have;
    kva_pa_t pa;

    (void)t;
    boot(256 * P);
    GET(err, pool_debug_set("audit=watched", NULL));
    DO(pool_debug_quarantine(10, 1000));
    GET(pc, pool_cache_init(200, 0, 0, PR_PADDR, "cache", NULL, KVA_IPL_VM,
                            NULL, NULL, NULL));
    CHECK(pc != NULL);
    GET(have, pool_cache_debug(pc));
    DO(pool_cache_set_drain_hook(pc, drain_nothing, NULL));
    DO(pool_cache_setlowat(pc, 2));
    GET(err, pool_cache_setreserve(pc, 2));
    DO(pool_cache_sethiwat(pc, 8));
    DO(pool_cache_sethardlimit(pc, 1000, NULL, 0));
    GET(err, pool_cache_prime(pc, 8));
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 40; i++) {
            GET(object[i], pool_cache_get(pc, PR_NOWAIT));
            CHECK(object[i] != NULL);
        }
        for (unsigned i = 0; i < 40; i++) {
            DO(pool_cache_put(pc, object[i]));
        }
    }
    GET(object[0], pool_cache_get_paddr(pc, PR_NOWAIT, &pa));
    DO(pool_cache_put_paddr(pc, object[0], pa));
    GET(object[0], pool_cache_get(pc, PR_NOWAIT));
    DO(pool_cache_destruct_object(pc, object[0]));
    GET(have, pool_cache_nget(pc));
    GET(have, pool_cache_nput(pc));
    CHECK_GT(have, 0);
    DO(pool_cache_stat(pc, &st));
    DO(pool_printall("", print_nowhere));
    DO(pool_rows(visit_row, NULL));
    DO(pool_listing(print_nowhere));
    DO(pool_cache_listing(print_nowhere));
    DO(pool_cache_invalidate(pc));
    GET(yes, pool_cache_reclaim(pc));
    GET(n, pool_cache_drain(pc, SIZE_MAX, 0));
    DO(pool_cache_destroy(pc));
    GET(err, pool_cache_bootstrap(&store, 100, 0, 0, 0, "watched", NULL,
                                  KVA_IPL_VM, NULL, NULL, NULL));
    CHECK_EQ(err, 0);
    GET(object[0], pool_cache_get(&store, PR_NOWAIT));
    GET(err, pool_audit_find(object[0], &audit));
    DO(pool_cache_put(&store, object[0]));
    DO(pool_cache_bootstrap_destroy(&store));
    /* Moving is for KVA_IPL_NONE. */
    GET(pc, pool_cache_init(200, 0, 0, 0, "moves", NULL, KVA_IPL_NONE, NULL,
                            NULL, NULL));
    GET(err, pool_cache_set_move(pc, move_no, NULL));
    CHECK_EQ(err, 0);
    GET(object[0], pool_cache_get(pc, PR_NOWAIT));
    DO(pool_cache_move_notify(pc, object[0]));
    GET(yes, pool_evacuate(10, &result));
    DO(pool_cache_put(pc, object[0]));
    DO(pool_cache_destroy(pc));
    shut();
}

/* ---- kmem and malloc --------------------------------------------------- */

static char *
vformat(const char *fmt, ...)
{
    va_list ap;
    char *s;

    va_start(ap, fmt);
    GET(s, kmem_vasprintf(fmt, ap));
    va_end(ap);
    return s;
}

static void
kmem(struct test_ctx *t)
{
    char stack[8], *s;
    void *p;

    (void)t;
    boot(256 * P);
    for (size_t size = 1; size <= 64 * P; size = size * 3 + 1) {
        GET(p, kmem_alloc(size, KM_SLEEP));
        CHECK(p != NULL);
        DO(kmem_free(p, size));
        GET(p, kmem_zalloc(size, KM_NOSLEEP));
        DO(kmem_free(p, size));
        GET(n, kmem_roundup_size(size));
    }
    for (size_t size = 1; size <= 4 * P; size = size * 3 + 1) {
        GET(p, kmem_intr_alloc(size, KM_NOSLEEP));
        CHECK(p != NULL);
        DO(kmem_intr_free(p, size));
        GET(p, kmem_intr_zalloc(size, KM_NOSLEEP));
        CHECK(p != NULL);
        DO(kmem_intr_free(p, size));
    }
    GET(p, kmem_alloc_tryhard(8 * P, &n, KM_NOSLEEP));
    DO(kmem_free(p, n));
    GET(s, kmem_strdupsize("text", &n, KM_NOSLEEP));
    DO(kmem_free(s, n));
    GET(s, kmem_strdup("text", KM_NOSLEEP));
    DO(kmem_strfree(s));
    GET(s, kmem_strndup("text", 2, KM_NOSLEEP));
    DO(kmem_strfree(s));
    GET(s, kmem_asprintf("%d", 1));
    DO(kmem_strfree(s));
    s = vformat("%d", 1);
    DO(kmem_strfree(s));
    GET(p, kmem_tmpbuf_alloc(100, stack, sizeof(stack), KM_NOSLEEP));
    DO(kmem_tmpbuf_free(p, 100, stack));
    GET(n, kmem_drain());
    shut();
}

static void
visit_type(void *arg, const struct kva_malloc_stat *st)
{
    (void)arg;
    (void)st;
}

static void
mallocs(struct test_ctx *t)
{
    static struct kva_malloc_type type = { .name = "type" };
    struct kva_malloc_stat st;
    unsigned long rounded;
    void *p;

    (void)t;
    boot(256 * P);
    DO(malloc_type_attach(&type));
    for (unsigned limit = 0; limit < 2; limit++) {
        DO(malloc_type_setlimit(&type, limit * 64 * P));
        for (size_t size = 1; size <= 16 * P; size = size * 3 + 1) {
            GET(p, malloc(size, &type, KVA_M_NOWAIT));
            CHECK(p != NULL);
            GET(n, malloc_usable_size(p));
            GET(p, realloc(p, size + 1, &type, KVA_M_NOWAIT));
            GET(p, reallocf(p, 2 * size, &type, KVA_M_NOWAIT));
            DO(free(p, &type));
            GET(rounded, malloc_roundup(size));
        }
    }
    CHECK_GE(rounded, 1);
    GET(p, malloc(65 * P, &type, KVA_M_WAITOK | KVA_M_CANFAIL));
    CHECK(p == NULL);
    GET(p, mallocarray(3, 5, &type, KVA_M_NOWAIT));
    DO(zfree(p, &type));
    DO(malloc_type_stat(&type, &st));
    DO(malloc_rows(visit_type, NULL));
    DO(malloc_listing(print_nowhere));
    GET(p, kmalloc(100));
    GET(n, ksize(p));
    GET(p, krealloc(p, 300));
    DO(kfree(p));
    GET(p, kzalloc(100));
    DO(kfree_sensitive(p));
    GET(p, kcalloc(3, 100));
    DO(kfree(p));
    GET(p, kmalloc_array(3, 100));
    DO(kfree(p));
    GET(p, kstrdup("text"));
    DO(kfree(p));
    GET(p, kstrndup("text", 2));
    DO(kfree(p));
    DO(malloc_type_detach(&type));
    shut();
}

/* ---- the page supply --------------------------------------------------- */

static void
page_supply(struct test_ctx *t)
{
    static _Alignas(4096) char memory[256 * P];
    struct kva_pages_range map = { 4096 * P, sizeof(memory), true };
    struct kva_pages_boot pb = { .map = &map,
                                 .nmap = 1,
                                 .direct_va = (uintptr_t)memory,
                                 .direct_pa = map.base,
                                 .direct_bytes = sizeof(memory) };
    struct kva_pages_stat st;
    uintptr_t va;
    kva_pa_t pa;

    (void)t;
    begin();
    GET(err, pages_init(&pb));
    CHECK_EQ(err, 0);
    for (size_t i = 1; i <= 64; i *= 2) {
        GET(err, pages_get(i, KVA_PAGE_NOSLEEP, &pa));
        CHECK_EQ(err, 0);
        DO(pages_put(i, pa));
    }
    GET(err, pages_contig(8, 0, ~(kva_pa_t)0, 8 * P, 0, 0, &pa));
    CHECK_EQ(err, 0);
    DO(pages_put(8, pa));
    GET(err, pages_claim(1, pa));
    CHECK_EQ(err, 0);
    GET(va, pages_direct(pa));
    CHECK_EQ(va, (uintptr_t)memory + (uintptr_t)(pa - map.base));
    DO(pages_put(1, pa));
    GET(err, pages_meta_get(&va));
    CHECK_EQ(err, 0);
    DO(pages_meta_put(va));
    DO(pages_stat(&st));
    GET(said, pages_check());
    CHECK(said == NULL);
    GET(n, pages_fini());
    CHECK_EQ(n, 0);
    end();
}

/* ---- that it would be seen --------------------------------------------- */

/* A port whose unlock opens interrupts is found by this very test. */
static void
an_opening_port_is_found(struct test_ctx *t)
{
    kva_irq_t saved;

    (void)t;
    PORT(NULL);
    vmem_bootstrap(NULL, 0);
    kva_posix_interrupt_set(on_interrupt, NULL);
    saved = kva_posix_irq_save();
    kva_posix_interrupt();
    interrupts = 0;
    if (!KVA_CONFIG_DEBUG) { /* else port/contract.c is first */
        vmem_t *vm = kva_vmem_create("vm", 0, 16, 1, NULL, NULL, NULL, 0,
                                     VM_NOSLEEP, KVA_IPL_VM);

        CHECK_EQ(interrupts, 0);
        kva_posix_break(KVA_POSIX_UNLOCK_OPENS);
        (void)kva_vmem_size(vm, VMEM_ALLOC);
        kva_posix_break(KVA_POSIX_KEEPS_ALL);
        CHECK_EQ(interrupts, 1);
        CHECK(kva_posix_irqs_enabled());
    }
    kva_posix_irq_restore(saved);
}

const struct test interrupts_off_tests[] = {
    TEST("interrupts_off", reclaiming),
    TEST("interrupts_off", tower),
    TEST("interrupts_off", arenas),
    TEST("interrupts_off", pools),
    TEST("interrupts_off", caches),
    TEST("interrupts_off", kmem),
    TEST("interrupts_off", mallocs),
    TEST("interrupts_off", page_supply),
    TEST("interrupts_off", an_opening_port_is_found),
    TEST_END
};
