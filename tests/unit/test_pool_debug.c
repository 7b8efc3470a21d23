/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Debug modes of pools and caches: each finds what docs/debugging.md says that
 * it finds, in these words, and leaves alone what it says that it leaves alone;
 * what is legal is never complained of; and a report leaves the pool as it was.
 */

#include "pool/debug_impl.h"
#include "tests/unit/faults.h"
#include "tests/unit/tower.h"

#define UL(p) ((unsigned long)(uintptr_t)(p))

static void
debug_start(const char *spec)
{
    CHECK_EQ(kva_pool_debug_set(spec, NULL), 0);
    tower_start(0);
}

/* ---- what is asked for ------------------------------------------------- */

static void
refuse_at(const char *spec, size_t at)
{
    size_t where = 12345;

    if (kva_pool_debug_set(spec, &where) != KVA_EINVAL) {
        FAIL("\"%s\" is taken", spec);
    }
    if (where != at) {
        FAIL("\"%s\": byte %zu is named, not %zu", spec, where, at);
    }
    CHECK_EQ(kva_pool_debug_set(spec, NULL), KVA_EINVAL);
}

static unsigned
modes_of(const char *name, int flags, enum kva_ipl ipl)
{
    struct kva_pool pp;
    unsigned modes;

    kva_pool_init(&pp, 100, 0, 0, flags, name, NULL, ipl);
    modes = kva_pool_debug(&pp);
    kva_pool_destroy(&pp);
    return modes;
}

static void
modes_by_name(struct test_ctx *t)
{
    (void)t;
    tower_start(0);
    CHECK_EQ(modes_of("a", 0, KVA_IPL_NONE), 0);
    CHECK_EQ(kva_pool_debug_set("poison,redzone=kmem-64,audit=foo*,"
                                "quarantine=foobar,firewall-before=wall",
                                NULL),
             0);
    CHECK_EQ(modes_of("a", 0, KVA_IPL_NONE), POOL_POISON);
    CHECK_EQ(modes_of("", 0, KVA_IPL_NONE), POOL_POISON);
    CHECK_EQ(modes_of("kmem-64", 0, KVA_IPL_NONE), POOL_POISON | POOL_REDZONE);
    CHECK_EQ(modes_of("kmem-640", 0, KVA_IPL_NONE), POOL_POISON);
    CHECK_EQ(modes_of("kmem-6", 0, KVA_IPL_NONE), POOL_POISON);
    CHECK_EQ(modes_of("foo", 0, KVA_IPL_NONE), POOL_POISON | POOL_AUDIT);
    CHECK_EQ(modes_of("foobar", 0, KVA_IPL_NONE),
             POOL_POISON | POOL_AUDIT | POOL_QUARANTINE);
    CHECK_EQ(modes_of("fo", 0, KVA_IPL_NONE), POOL_POISON);
    CHECK_EQ(modes_of("wall", 0, KVA_IPL_NONE),
             POOL_POISON | POOL_FIREWALL | POOL_BEFORE);
    /* What the kind of a pool rules out. */
    CHECK_EQ(modes_of("foobar", PR_NOTOUCH, KVA_IPL_NONE),
             POOL_AUDIT | POOL_QUARANTINE);
    CHECK_EQ(modes_of("wall", 0, KVA_IPL_VM), POOL_POISON);
    CHECK_EQ(kva_pool_debug_set("all", NULL), 0);
    CHECK_EQ(modes_of("a", 0, KVA_IPL_NONE),
             POOL_REDZONE | POOL_POISON | POOL_AUDIT | POOL_QUARANTINE);
    CHECK_EQ(kva_pool_debug_set("", NULL), 0);
    CHECK_EQ(modes_of("a", 0, KVA_IPL_NONE), 0);
    tower_end();
}

static void
bad_specs_are_refused(struct test_ctx *t)
{
    char rules[(KVA_POOL_DEBUG_RULES + 1) * 8] = "";
    char name[64] = "audit=";

    (void)t;
    tower_start(0);
    CHECK_EQ(kva_pool_debug_set("audit=kept", NULL), 0);
    refuse_at("x", 0);
    refuse_at(",", 0);
    refuse_at("poisons", 0);
    refuse_at("poiso", 0);
    refuse_at("=a", 0);
    refuse_at("poison,", 7);
    refuse_at("poison,,audit", 7);
    refuse_at("poison=", 7);
    refuse_at("poison=,audit", 7);
    refuse_at("poison=a*b", 9);
    refuse_at("poison=a**", 9);
    refuse_at("audit,poison=kmem-64,redzon", 21);
    refuse_at("poison audit", 0);
    refuse_at("Poison", 0);
    /* A name that is as long as it may be, and one longer. */
    memset(name + 6, 'n', KVA_POOL_DEBUG_NAME + 1);
    refuse_at(name, 6 + KVA_POOL_DEBUG_NAME);
    name[6 + KVA_POOL_DEBUG_NAME] = '\0';
    CHECK_EQ(kva_pool_debug_set(name, NULL), 0);
    CHECK_EQ(modes_of(name + 6, 0, KVA_IPL_NONE), POOL_AUDIT);
    CHECK_EQ(kva_pool_debug_set("audit=kept", NULL), 0);
    /* As many rules as there may be, and one more. */
    for (unsigned i = 0; i <= KVA_POOL_DEBUG_RULES; i++) {
        strcat(rules, i == 0 ? "audit=r" : ",audit=r");
    }
    refuse_at(rules, 8 * KVA_POOL_DEBUG_RULES);
    /* Whoever refuses changes nothing. */
    CHECK_EQ(modes_of("kept", 0, KVA_IPL_NONE), POOL_AUDIT);
    CHECK_EQ(modes_of("r", 0, KVA_IPL_NONE), 0);
    tower_end();
}

/* ---- redzones ---------------------------------------------------------- */

static const size_t sizes[] = { 1,  2,   7,    8,    9,    16,   60,
                                64, 100, 1000, 4095, 4096, 4097, 9000 };
static const unsigned aligns[] = { 0, 1, 16, 64, 4096 };

/* One wrong byte at a distance from the object: seen at put, or not. */
static void
wrong_byte(pool_cache_t pc, char *p, long at)
{
    char before = p[at];

    p[at] = 'A';
    CHECK_PANIC(kva_pool_cache_put(pc, p),
                "pool_cache_put: cache z: 0x%lx: expected the redzone %s the "
                "object, found 0x41 at byte %ld",
                UL(p), at < 0 ? "before" : "behind", at);
    p[at] = before;
}

static void
redzone_of(size_t size, unsigned align, unsigned offset)
{
    pool_cache_t pc = kva_pool_cache_init(size, align, offset, 0, "z", NULL,
                                          KVA_IPL_NONE, NULL, NULL, NULL);
    char *p, *q;

    CHECK(pc != NULL);
    CHECK_EQ(kva_pool_cache_debug(pc), POOL_REDZONE);
    p = kva_pool_cache_get(pc, PR_NOWAIT);
    q = kva_pool_cache_get(pc, PR_NOWAIT);
    CHECK(p != NULL && q != NULL);
    CHECK_EQ((UL(p) + offset) % (align == 0 ? sizeof(uintptr_t) : align), 0);
    tower_fill(p, size, 1);
    tower_fill(q, size, 2);
    wrong_byte(pc, p, (long)size);
    wrong_byte(pc, p, (long)size + 7);
    wrong_byte(pc, p, -1);
    wrong_byte(pc, p, -8);
    /* The first one too far is named, and of those before it the nearest. */
    p[size] = p[size + 2] = 0;
    CHECK_PANIC(kva_pool_cache_put(pc, p),
                "pool_cache_put: cache z: 0x%lx: expected the redzone behind "
                "the object, found 0x00 at byte %zu",
                UL(p), size);
    p[size] = p[size + 2] = (char)POOL_BYTE_REDZONE;
    p[-3] = p[-5] = 0;
    CHECK_PANIC(kva_pool_cache_put(pc, p),
                "pool_cache_put: cache z: 0x%lx: expected the redzone before "
                "the object, found 0x00 at byte -3",
                UL(p));
    p[-3] = p[-5] = (char)POOL_BYTE_REDZONE;
    CHECK(tower_intact(p, size, 1) && tower_intact(q, size, 2));
    kva_pool_cache_put(pc, p);
    kva_pool_cache_put(pc, q);
    CHECK(kva_pool_check(&pc->slabs) == NULL);
    kva_pool_cache_destroy(pc);
}

static void
redzone_sees_one_byte(struct test_ctx *t)
{
    (void)t;
    debug_start("redzone=z");
    for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
        for (unsigned a = 0; a < KVA_COUNT(aligns); a++) {
            redzone_of(sizes[i], aligns[a], 0);
        }
    }
    redzone_of(100, 64, 8);
    redzone_of(100, 64, 63);
    tower_end();
}

/* Every byte of the redzones of one object; and none of the object. */
static void
redzone_is_all_around(struct test_ctx *t)
{
    struct kva_pool pp;
    char *p;

    (void)t;
    debug_start("redzone");
    kva_pool_init(&pp, 21, 16, 0, 0, "z", NULL, KVA_IPL_NONE);
    CHECK_EQ(kva_pool_prime(&pp, 1), 0); /* the slab stays */
    p = kva_pool_get(&pp, PR_NOWAIT);
    for (long at = -(long)pp.front; at < (long)(pp.slot - pp.front); at++) {
        char before = p[at];

        p[at] = 'A';
        if (at >= 0 && at < 21) {
            kva_pool_put(&pp, p);
            CHECK_PTR(kva_pool_get(&pp, PR_NOWAIT), p);
        } else {
            CHECK_PANIC(kva_pool_put(&pp, p),
                        "pool_put: pool z: 0x%lx: expected the redzone %s the "
                        "object, found 0x41 at byte %ld",
                        UL(p), at < 0 ? "before" : "behind", at);
            p[at] = before;
        }
    }
    /* What was there already cannot be told from what was written. */
    p[21] = (char)POOL_BYTE_REDZONE;
    kva_pool_put(&pp, p);
    /* Nor can a write within the object, or after the put. */
    p[3] = 1;
    CHECK_PTR(kva_pool_get(&pp, PR_NOWAIT), p);
    kva_pool_put(&pp, p);
    /* A write beside a free object is seen when it is handed out. */
    p[-1] = 1;
    CHECK_PANIC((void)kva_pool_get(&pp, PR_NOWAIT),
                "pool_get: pool z: 0x%lx: expected the redzone before a free "
                "object, found 0x01 at byte -1",
                UL(p));
    p[-1] = (char)POOL_BYTE_REDZONE;
    CHECK_PTR(kva_pool_get(&pp, PR_NOWAIT), p);
    kva_pool_put(&pp, p);
    kva_pool_destroy(&pp);
    tower_end();
}

/* ---- poison ------------------------------------------------------------ */

static void
poison_sees_a_write(struct test_ctx *t)
{
    (void)t;
    debug_start("poison=z");
    for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
        size_t size = sizes[i];
        struct kva_pool pp;
        char *p;

        kva_pool_init(&pp, size, 1, 0, 0, "z", NULL, KVA_IPL_NONE);
        p = kva_pool_get(&pp, PR_NOWAIT);
        CHECK(tower_intact(p, size, POOL_BYTE_NEW));
        tower_fill(p, size, 7);
        kva_pool_put(&pp, p);
        CHECK_EQ(kva_pool_prime(&pp, 1), 0); /* keep the slab */
        p = kva_pool_get(&pp, PR_NOWAIT);
        kva_pool_put(&pp, p);
        CHECK(tower_intact(p, size, POOL_BYTE_FREE));
        for (unsigned k = 0; k < 3; k++) {
            size_t at = k == 0 ? 0 : k == 1 ? size / 2 : size - 1;

            p[at] = 0x5a;
            CHECK_PANIC((void)kva_pool_get(&pp, PR_NOWAIT),
                        "pool_get: pool z: 0x%lx: expected a free object as "
                        "it was left, found 0x5a at byte %zu",
                        UL(p), at);
            CHECK(kva_pool_check(&pp) == NULL);
            p[at] = (char)POOL_BYTE_FREE;
        }
        CHECK_PTR(kva_pool_get(&pp, PR_NOWAIT), p);
        kva_pool_put(&pp, p);
        kva_pool_destroy(&pp);
    }
    tower_end();
}

struct made {
    unsigned ctors, dtors;
    bool refuse;
};

static int
make(void *arg, void *object, int flags)
{
    struct made *m = arg;

    CHECK(flags == PR_NOWAIT || flags == PR_WAITOK);
    CHECK(tower_intact(object, 40, POOL_BYTE_NEW));
    m->ctors++;
    tower_fill(object, 40, 0x77);
    return m->refuse ? KVA_ENOMEM : 0;
}

static void
unmake(void *arg, void *object)
{
    struct made *m = arg;

    CHECK(tower_intact(object, 40, 0x77));
    m->dtors++;
}

/* An object is constructed at each get and destructed at each put; free, it is
 * poisoned like any other. */
static void
constructed_anew(struct test_ctx *t)
{
    struct made m = { 0, 0, false };
    pool_cache_t pc;
    char *p;

    (void)t;
    debug_start("poison,redzone");
    pc = kva_pool_cache_init(40, 0, 0, 0, "c", NULL, KVA_IPL_NONE, make, unmake,
                             &m);
    CHECK_EQ(kva_pool_cache_prime(pc, 1), 0);
    for (unsigned i = 1; i < 100; i++) {
        p = kva_pool_cache_get(pc, PR_NOWAIT);
        CHECK(tower_intact(p, 40, 0x77));
        CHECK_EQ(m.ctors, i);
        kva_pool_cache_put(pc, p);
        CHECK_EQ(m.dtors, i);
        CHECK(tower_intact(p, 40, POOL_BYTE_FREE));
    }
    m.refuse = true;
    CHECK(kva_pool_cache_get(pc, PR_NOWAIT) == NULL);
    m.refuse = false;
    p = kva_pool_cache_get(pc, PR_NOWAIT);
    CHECK(p != NULL);
    kva_pool_cache_destruct_object(pc, p);
    CHECK_EQ(m.dtors, 100);
    kva_pool_cache_destroy(pc);
    tower_end();
}

/* ---- audit ------------------------------------------------------------- */

static char log_lines[4][KVA_MESSAGE_MAX];
static unsigned log_count;

static void
log_keep(void *arg, const char *msg)
{
    (void)arg;
    if (log_count < KVA_COUNT(log_lines)) {
        (void)kva__format(log_lines[log_count], KVA_MESSAGE_MAX, "%s", msg);
    }
    log_count++;
}

static __attribute__((noinline)) void *
taken_here(pool_cache_t pc)
{
    void *p = kva_pool_cache_get(pc, PR_NOWAIT);

    CHECK(p != NULL); /* and so no tail call */
    return p;
}

static __attribute__((noinline)) void
given_here(pool_cache_t pc, void *p)
{
    kva_pool_cache_put(pc, p);
    CHECK(kva_pool_check(&pc->slabs) == NULL);
}

/* The bytes of a function that are surely its own. */
#define INSIDE(address, function) \
    ((uintptr_t)(address) - (uintptr_t)(function) < 1024)

static void
audit_names_both(struct test_ctx *t)
{
    struct kva_pool_audit a;
    pool_cache_t pc;
    char *p, *q;

    (void)t;
    CHECK_EQ(kva_pool_debug_set("audit,quarantine=aud", NULL), 0);
    tower_start(0);
    kva_posix_clock_virtual(true);
    kva_posix_clock_advance(1000);
    CHECK_EQ(kva_posix_cpu_set(2), 0);
    pc = kva_pool_cache_init(100, 0, 0, 0, "aud", NULL, KVA_IPL_NONE, NULL,
                             NULL, NULL);
    p = taken_here(pc);
    CHECK_EQ(kva_pool_audit_find(p + 99, &a), 0);
    CHECK_STR(a.pool, "aud");
    CHECK_EQ(a.object, UL(p));
    CHECK_EQ(a.size, 100);
    CHECK(a.live);
    CHECK(INSIDE(a.allocated.frame[0], taken_here));
    CHECK_GT(a.allocated.frames, 1);
    CHECK(INSIDE(a.allocated.frame[1], audit_names_both));
    CHECK_EQ(a.allocated.time, 1000);
    CHECK_EQ(a.allocated.cpu, 2);
    CHECK_EQ(a.freed.frames, 0);
    kva_posix_clock_advance(234);
    CHECK_EQ(kva_posix_cpu_set(3), 0);
    given_here(pc, p);
    CHECK_EQ(kva_pool_audit_find(p, &a), 0);
    CHECK(!a.live);
    CHECK(INSIDE(a.freed.frame[0], given_here));
    CHECK_EQ(a.freed.time, 1234);
    CHECK_EQ(a.freed.cpu, 3);
    kva_posix_log_set(log_keep, NULL);
    CHECK_PANIC(kva_pool_cache_put(pc, p),
                "pool_cache_put: cache aud: 0x%lx: expected a live object, "
                "found a free one (cached)",
                UL(p));
    CHECK_EQ(log_count, 2);
    CHECK_HAS(log_lines[0], "pool_cache_put: cache aud: 0x");
    CHECK_HAS(log_lines[0], ": allocated on CPU 2 at 1000 ns by 0x");
    CHECK_HAS(log_lines[1], ": freed on CPU 3 at 1234 ns by 0x");
    /* Leaks. */
    q = taken_here(pc);
    log_count = 0;
    CHECK_PANIC(kva_pool_cache_destroy(pc),
                "pool_cache_destroy: cache aud: 0x%lx: expected no live "
                "object, found 1",
                UL(q));
    CHECK_EQ(log_count, 1);
    CHECK_HAS(log_lines[0], ": allocated on CPU 3 at 1234 ns by 0x");
    kva_posix_log_set(NULL, NULL);
    CHECK_EQ(kva_pool_audit_find(&a, &a), KVA_ENOENT);
    kva_pool_cache_put(pc, q);
    kva_pool_cache_destroy(pc);
    tower_end();
}

/* Planted leaks are told of by who took them, each. */
static void
leaks_by_name(struct test_ctx *t)
{
    struct kva_pool_audit a;
    pool_cache_t pc;
    char *p[8];

    debug_start("audit");
    for (unsigned long i = 0; i < t->count; i++) {
        unsigned n = 1 + (unsigned)test_rand_below(t, 8), which;

        pc = kva_pool_cache_init(8 + 8 * test_rand_below(t, 300), 0, 0, 0, "l",
                                 NULL, KVA_IPL_NONE, NULL, NULL, NULL);
        which = (unsigned)test_rand_below(t, n);
        for (unsigned k = 0; k < n; k++) {
            p[k] =
                k == which ? taken_here(pc) : kva_pool_cache_get(pc, PR_NOWAIT);
        }
        for (unsigned k = 0; k < n; k++) {
            if (k != which) {
                kva_pool_cache_put(pc, p[k]);
            }
        }
        CHECK_PANIC(kva_pool_cache_destroy(pc),
                    "pool_cache_destroy: cache l: 0x%lx: expected no live "
                    "object, found 1",
                    UL(p[which]));
        CHECK_EQ(kva_pool_audit_find(p[which], &a), 0);
        CHECK(INSIDE(a.allocated.frame[0], taken_here));
        kva_pool_cache_put(pc, p[which]);
        kva_pool_cache_destroy(pc);
    }
    tower_end();
}

/* ---- firewalls --------------------------------------------------------- */

static bool
faults(const char *p, bool write)
{
    return touch_faults((uintptr_t)p, write);
}

static void
walled(size_t size, unsigned align, bool before)
{
    pool_cache_t pc = kva_pool_cache_init(size, align, 0, 0, "w", NULL,
                                          KVA_IPL_NONE, NULL, NULL, NULL);
    size_t a = align == 0 ? sizeof(uintptr_t) : align;
    size_t rounded = kva_round_up(size, a);
    struct kva_posix_stats then, now;
    char *p, *q;

    CHECK_EQ(kva_pool_cache_debug(pc),
             POOL_FIREWALL | (before ? POOL_BEFORE : 0u));
    kva_posix_stats_get(&then);
    p = kva_pool_cache_get(pc, PR_NOWAIT);
    q = kva_pool_cache_get(pc, PR_NOWAIT);
    CHECK(p != NULL && q != NULL);
    CHECK_EQ(UL(p) % a, 0);
    tower_fill(p, size, 1);
    tower_fill(q, size, 2);
    kva_posix_stats_get(&now);
    CHECK_EQ(now.attached_pages - then.attached_pages,
             2 * (kva_round_up(rounded, KVA_PAGE_SIZE) >> KVA_PAGE_SHIFT));
    if (before) {
        CHECK(faults(p - 1, true));
        CHECK(faults(p - 1, false));
        CHECK(faults(p - KVA_PAGE_SIZE, true));
    } else {
        CHECK(faults(p + rounded, true));
        CHECK(faults(p + rounded, false));
        CHECK(faults(p + rounded + KVA_PAGE_SIZE - 1, true));
    }
    CHECK(tower_intact(p, size, 1) && tower_intact(q, size, 2));
    /* What is mapped beside it is redzone. */
    for (unsigned k = 0; k < 2; k++) {
        long at = k == 0 ? -1 : (long)size;

        /* Where the object begins its page, another's may lie before. */
        if (k == 0 ? before || pc->slabs.front == 0 : faults(p + size, false)) {
            continue;
        }
        p[at] = 'A';
        CHECK_PANIC(kva_pool_cache_put(pc, p),
                    "pool_cache_put: cache w: 0x%lx: expected the redzone %s "
                    "the object, found 0x41 at byte %ld",
                    UL(p), at < 0 ? "before" : "behind", at);
        p[at] = (char)POOL_BYTE_REDZONE;
    }
    kva_pool_cache_put(pc, p);
    CHECK(faults(p, true));
    CHECK(faults(p, false));
    CHECK(faults(p + size - 1, false));
    CHECK(tower_intact(q, size, 2));
    kva_pool_cache_put(pc, q);
    kva_posix_stats_get(&now);
    CHECK_EQ(now.attached_pages, then.attached_pages);
    kva_pool_cache_destroy(pc);
}

static void
firewall_faults_at_access(struct test_ctx *t)
{
    (void)t;
    for (unsigned before = 0; before < 2; before++) {
        if (before == 0) {
            debug_start("firewall=w");
        } else {
            CHECK_EQ(kva_pool_debug_set("firewall-before=w", NULL), 0);
        }
        for (unsigned i = 0; i < KVA_COUNT(sizes); i++) {
            for (unsigned a = 0; a < KVA_COUNT(aligns); a++) {
                walled(sizes[i], aligns[a], before != 0);
            }
        }
    }
    tower_end();
}

/* At the moments when the port has no page, or no address space is left. */
static void
firewall_without_pages(struct test_ctx *t)
{
    struct made m = { 0, 0, false };
    pool_cache_t pc;
    void *p;

    (void)t;
    debug_start("firewall=w,poison=w");
    pc = kva_pool_cache_init(40, 0, 0, 0, "w", NULL, KVA_IPL_NONE, make, unmake,
                             &m);
    for (int site = KVA_POSIX_PAGE_GET; site <= KVA_POSIX_META_GET; site++) {
        for (unsigned long nth = 1; nth < 20; nth++) {
            (void)kva_pool_drain_all();
            kva_posix_fault_arm(site, nth, true);
            p = kva_pool_cache_get(pc, PR_NOWAIT);
            kva_posix_fault_reset();
            if (p != NULL) {
                kva_pool_cache_put(pc, p);
            }
            CHECK_EQ(m.ctors, m.dtors);
            CHECK(kva_pool_check(&pc->slabs) == NULL);
        }
    }
    CHECK_GT(m.ctors, 0);
    kva_pool_cache_destroy(pc);
    tower_end();
}

/* ---- quarantine -------------------------------------------------------- */

/* An object comes back after so many others have been freed, not earlier. */
static void
quarantine_is_first_in_first_out(struct test_ctx *t)
{
    static char *order[40];
    struct kva_pool pp;
    struct kva_pool_stat st;
    char *p;

    (void)t;
    kva_pool_debug_quarantine(20, SIZE_MAX);
    debug_start("quarantine");
    kva_pool_init(&pp, 100, 0, 0, 0, "q", NULL, KVA_IPL_NONE);
    for (unsigned i = 0; i < 40; i++) {
        p = kva_pool_get(&pp, PR_NOWAIT);
        for (unsigned k = i > 20 ? i - 20 : 0; k < i; k++) {
            CHECK(order[k] != p); /* they wait */
        }
        for (unsigned k = i > 20 ? i - 20 : 0; k < i; k++) {
            CHECK_PANIC(kva_pool_put(&pp, order[k]),
                        "pool_put: pool q: 0x%lx: expected a live object, "
                        "found a free one (cached)",
                        UL(order[k]));
        }
        order[i] = p;
        kva_pool_put(&pp, p);
        kva_pool_stat(&pp, &st);
        CHECK_EQ(st.objects_cached, i < 20 ? i + 1 : 20);
        CHECK_EQ(st.objects_out, st.objects_cached);
        CHECK(kva_pool_check(&pp) == NULL);
    }
    /* The first of them is out again by now. */
    CHECK_PTR(kva_pool_get(&pp, PR_NOWAIT), order[19]);
    kva_pool_put(&pp, order[19]);
    CHECK_GT(kva_pool_reclaim(&pp), 0);
    kva_pool_stat(&pp, &st);
    CHECK_EQ(st.objects_cached, 0);
    CHECK_EQ(st.slabs, 0);
    kva_pool_destroy(&pp);
    tower_end();
}

/* By bytes, and by the number that is documented. */
static void
quarantine_has_its_limits(struct test_ctx *t)
{
    static const struct {
        size_t size, most;
    } want[] = { { 64, 1024 }, { 4096, 1024 }, { 8192, 512 }, { 65536, 64 } };
    struct kva_pool_stat st;
    struct kva_pool pp;

    (void)t;
    debug_start("quarantine");
    for (unsigned i = 0; i < KVA_COUNT(want); i++) {
        kva_pool_init(&pp, want[i].size, 0, 0, 0, "q", NULL, KVA_IPL_NONE);
        for (unsigned k = 0; k < 1100; k++) {
            void *p = kva_pool_get(&pp, PR_NOWAIT);

            CHECK(p != NULL);
            kva_pool_put(&pp, p);
        }
        kva_pool_stat(&pp, &st);
        CHECK_EQ(st.objects_cached, want[i].most);
        kva_pool_destroy(&pp);
    }
    tower_end();
}

/* A write is found when the object leaves; by a put, or after a drain. */
static void
quarantine_finds_writes(struct test_ctx *t)
{
    pool_cache_t pc;
    char *p, *q, *r;

    (void)t;
    kva_pool_debug_quarantine(2, SIZE_MAX);
    debug_start("poison,quarantine");
    pc = kva_pool_cache_init(50, 0, 0, 0, "q", NULL, KVA_IPL_NONE, NULL, NULL,
                             NULL);
    p = kva_pool_cache_get(pc, PR_NOWAIT);
    q = kva_pool_cache_get(pc, PR_NOWAIT);
    r = kva_pool_cache_get(pc, PR_NOWAIT);
    kva_pool_cache_put(pc, p);
    p[49] = 0;
    kva_pool_cache_put(pc, q);
    CHECK_PANIC(kva_pool_cache_put(pc, r),
                "pool_cache_put: cache q: 0x%lx: expected a free object as it "
                "was left, found 0x00 at byte 49",
                UL(p));
    /* A drain says nothing, but it lets the others go alone. */
    (void)kva_pool_drain_all();
    CHECK_PANIC((void)kva_pool_cache_get(pc, PR_NOWAIT),
                "pool_cache_get: cache q: 0x%lx: expected a free object as it "
                "was left, found 0x00 at byte 49",
                UL(p));
    CHECK_PANIC(kva_pool_cache_put(pc, r),
                "pool_cache_put: cache q: 0x%lx: expected a free object as it "
                "was left, found 0x00 at byte 49",
                UL(p));
    p[49] = (char)POOL_BYTE_FREE;
    kva_pool_cache_put(pc, r); /* it is live as it was */
    (void)kva_pool_cache_drain(pc, SIZE_MAX, 0);
    p = kva_pool_cache_get(pc, PR_NOWAIT);
    kva_pool_cache_put(pc, p);
    *p = 1;
    CHECK_PANIC(kva_pool_cache_destroy(pc),
                "pool_cache_destroy: cache q: 0x%lx: expected a free object "
                "as it was left, found 0x01 at byte 0",
                UL(p));
    *p = (char)POOL_BYTE_FREE;
    kva_pool_cache_destroy(pc);
    tower_end();
}

/* What waits in quarantine is in nobody's way. */
static void
quarantine_gives_way(struct test_ctx *t)
{
    struct kva_posix_config config = { .va_bytes = (size_t)64 << 20,
                                       .meta_bytes = (size_t)8 << 20,
                                       .page_limit = 300,
                                       .cpus = 1 };
    struct kva_boot boot = { .intr_bytes = 4 * KVA_PAGE_SIZE };
    struct kva_pool pp, limited;
    void *p;

    (void)t;
    CHECK_EQ(kva_pool_debug_set("quarantine=q*", NULL), 0);
    tower_start_with(&config, boot);
    kva_pool_init(&pp, 4096, 0, 0, 0, "q", NULL, KVA_IPL_NONE);
    for (unsigned i = 0; i < 5000; i++) {
        p = kva_pool_get(&pp, PR_WAITOK);
        CHECK(p != NULL);
        kva_pool_put(&pp, p);
    }
    p = kva_kmem_alloc(220 * KVA_PAGE_SIZE, KM_SLEEP);
    CHECK(p != NULL);
    kva_kmem_free(p, 220 * KVA_PAGE_SIZE);
    kva_pool_init(&limited, 64, 0, 0, 0, "ql", NULL, KVA_IPL_NONE);
    kva_pool_sethardlimit(&limited, 3, NULL, 0);
    for (unsigned i = 0; i < 50; i++) {
        p = kva_pool_get(&limited, PR_WAITOK);
        CHECK(p != NULL);
        kva_pool_put(&limited, p);
    }
    kva_pool_destroy(&limited);
    kva_pool_destroy(&pp);
    tower_end();
}

/* ---- all together ------------------------------------------------------ */

static const char *const mixes[] = {
    "redzone",        "poison",
    "redzone,poison", "redzone,poison,audit,quarantine",
    "firewall",       "firewall-before,poison,audit",
    "all,firewall",   "quarantine,poison",
};

struct dummy {
    char *p;
    size_t size;
};

/* One misuse of a class that the modes of a cache find, and what is said. */
static void
misuse_once(struct test_ctx *t, pool_cache_t pc, size_t size)
{
    unsigned modes = kva_pool_cache_debug(pc);
    char *p = kva_pool_cache_get(pc, PR_NOWAIT);
    unsigned char wrong = (unsigned char)test_rand_below(t, 0xba);
    long at = 0;

    CHECK(p != NULL);
    tower_fill(p, size, 0x11);
    switch (test_rand_below(t, 3)) {
    case 0: /* one too far or one too low */
        if ((modes & POOL_REDZONE) == 0 || (modes & POOL_FIREWALL) != 0) {
            break;
        }
        at = test_random_one_in(&t->random, 2)
                 ? (long)(size + test_rand_below(t, 8))
                 : -1 - (long)test_rand_below(t, 8);
        p[at] = (char)wrong;
        CHECK_PANIC(kva_pool_cache_put(pc, p),
                    "pool_cache_put: cache m: 0x%lx: expected the redzone %s "
                    "the object, found 0x%02x at byte %ld",
                    UL(p), at < 0 ? "before" : "behind", wrong, at);
        p[at] = (char)POOL_BYTE_REDZONE;
        break;
    case 1: /* a write after the put */
        if ((modes & POOL_POISON) == 0 || (modes & POOL_FIREWALL) != 0 ||
            (modes & POOL_QUARANTINE) != 0) {
            break;
        }
        at = (long)test_rand_below(t, size);
        kva_pool_cache_put(pc, p);
        p[at] = (char)wrong;
        CHECK_PANIC((void)kva_pool_cache_get(pc, PR_NOWAIT),
                    "pool_cache_get: cache m: 0x%lx: expected a free object "
                    "as it was left, found 0x%02x at byte %ld",
                    UL(p), wrong, at);
        p[at] = (char)POOL_BYTE_FREE;
        CHECK_PTR(kva_pool_cache_get(pc, PR_NOWAIT), p);
        break;
    default: /* a second put, while somebody else could have it */
        kva_pool_cache_put(pc, p);
        if ((modes & POOL_QUARANTINE) != 0) {
            char *other = kva_pool_cache_get(pc, PR_NOWAIT);

            CHECK(other != p);
            CHECK_PANIC(kva_pool_cache_put(pc, p),
                        "pool_cache_put: cache m: 0x%lx: expected a live "
                        "object, found a free one (cached)",
                        UL(p));
            p = other;
            break;
        }
        CHECK_PANIC(kva_pool_cache_put(pc, p),
                    "pool_cache_put: cache m: 0x%lx: expected a live object, "
                    "found a free one",
                    UL(p));
        p = kva_pool_cache_get(pc, PR_NOWAIT);
    }
    kva_pool_cache_put(pc, p);
}

static void
misuse_random(struct test_ctx *t)
{
    pool_cache_t pc;

    tower_start(0);
    for (unsigned long i = 0; i < t->count;) {
        size_t size =
            1 + (size_t)test_rand_below(
                    t, test_random_one_in(&t->random, 4) ? 5000 : 300);
        const char *mix = mixes[test_rand_below(t, KVA_COUNT(mixes))];

        CHECK_EQ(kva_pool_debug_set(mix, NULL), 0);
        pc = kva_pool_cache_init(size, 1u << test_rand_below(t, 7), 0, 0, "m",
                                 NULL, KVA_IPL_NONE, NULL, NULL, NULL);
        CHECK_EQ(kva_pool_cache_prime(pc, 1), 0);
        for (unsigned k = 0; k < 20; k++, i++) {
            misuse_once(t, pc, size);
        }
        CHECK(kva_pool_check(&pc->slabs) == NULL);
        kva_pool_cache_destroy(pc);
    }
    tower_end();
}

/* Legal gets and puts, objects written whole, drains between: nothing is ever
 * complained of, and nobody's object is written by the modes. */
static void
legal_random(struct test_ctx *t)
{
    static struct dummy live[200];
    pool_cache_t pc;
    unsigned n;

    tower_start(0);
    for (unsigned m = 0; m < KVA_COUNT(mixes); m++) {
        size_t size = 1 + (size_t)test_rand_below(t, 700);

        kva_pool_debug_quarantine(1 + (size_t)test_rand_below(t, 50), SIZE_MAX);
        CHECK_EQ(kva_pool_debug_set(mixes[m], NULL), 0);
        pc = kva_pool_cache_init(size, 1u << test_rand_below(t, 8), 0, 0, "l",
                                 NULL, KVA_IPL_NONE, NULL, NULL, NULL);
        n = 0;
        for (unsigned long i = 0; i < t->count || n > 0; i++) {
            unsigned k = (unsigned)test_rand_below(t, KVA_COUNT(live));

            if (k >= n && n < KVA_COUNT(live) && i < t->count) {
                live[n].p = kva_pool_cache_get(
                    pc, test_random_one_in(&t->random, 3) ? PR_NOWAIT | PR_ZERO
                                                          : PR_WAITOK);
                CHECK(live[n].p != NULL);
                tower_fill(live[n].p, size, (unsigned)UL(live[n].p) >> 3);
                n++;
            } else if (n > 0) {
                k %= n;
                CHECK(tower_intact(live[k].p, size,
                                   (unsigned)UL(live[k].p) >> 3));
                kva_pool_cache_put(pc, live[k].p);
                live[k] = live[--n];
            }
            if (test_random_one_in(&t->random, 500)) {
                (void)kva_pool_drain_all();
            }
        }
        CHECK(kva_pool_check(&pc->slabs) == NULL);
        kva_pool_cache_destroy(pc);
    }
    tower_end();
}

const struct test pool_debug_tests[] = {
    TEST("pool_debug", modes_by_name),
    TEST("pool_debug", bad_specs_are_refused),
    TEST("pool_debug", redzone_sees_one_byte),
    TEST("pool_debug", redzone_is_all_around),
    TEST("pool_debug", poison_sees_a_write),
    TEST("pool_debug", constructed_anew),
    TEST("pool_debug", audit_names_both),
    TEST_COUNT("pool_debug", leaks_by_name, 50, 200, 1000),
    TEST("pool_debug", firewall_faults_at_access),
    TEST("pool_debug", firewall_without_pages),
    TEST("pool_debug", quarantine_is_first_in_first_out),
    TEST("pool_debug", quarantine_has_its_limits),
    TEST("pool_debug", quarantine_finds_writes),
    TEST("pool_debug", quarantine_gives_way),
    TEST_COUNT("pool_debug", misuse_random, 500, 3000, 10000),
    TEST_COUNT("pool_debug", legal_random, 1000, 20000, 1000000),
    TEST_END
};
