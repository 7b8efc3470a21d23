/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lazy unmapping and quarantine: one flush is for many frees, within bounds of
 * bytes and of age; nothing is used anew before it, which a simulated TLB of
 * each CPU slot sees; want forces it; what is in quarantine is unmapped and
 * unused; and all of it agrees with an oracle that knows of each page whether
 * it is live, queued, in quarantine or free.
 */
#include <string.h>

#include "kva/kva.h"
#include "tests/harness/machine.h"
#include "vmem/meta.h"
#include "vmem/vmem_store.h"

#define P KVA_PAGE_SIZE
#define MS ((uint64_t)1000000)
#define CPUS 4u
#define VA_BYTES ((size_t)64 << 20)
#define VA_PAGES (VA_BYTES / P)

static struct kva_stat
tower(void)
{
    struct kva_stat st;

    kva_stat(&st);
    return st;
}

static void
check_arenas(void)
{
    for (vmem_t *vm = kva_vmem_list; vm != NULL; vm = vm->next) {
        const char *bad = vmem_check(vm);

        if (bad != NULL) {
            FAIL("arena %s: %s", vm->name, bad);
        }
    }
}

/* The machine, once; its clock is the test's.  page_limit 0: none. */
static void
start(size_t page_limit, struct kva_boot kb)
{
    static const struct kva_posix_config config = { .va_bytes = VA_BYTES,
                                                    .cpus = CPUS };
    static bool up;

    if (!up) {
        PORT(&config);
        kva_posix_clock_virtual(true);
        CHECK(kva_posix_tlb_enable(true));
        up = true;
    }
    kva_posix_limit_set(page_limit, 0);
    kva_posix_run_max_set(0);
    kva_posix_flush_remove(false);
    kva_port_flush(kva_posix_va_base(), VA_PAGES);
    kva_posix_clock_advance(1000 * MS);
    kva_posix_stats_reset();
    kb.va_base = kva_posix_va_base();
    kb.va_bytes = kva_posix_va_bytes();
    CHECK_EQ(kva_boot(&kb), 0);
    CHECK_EQ(kva_start(), 0);
}

static void
finish(void)
{
    check_arenas();
    kva_shutdown();
    CHECK_EQ(machine().frames, 0);
    CHECK_EQ(machine().attached_pages, 0);
}

static vmem_addr_t
wired(size_t pages)
{
    vmem_addr_t va = 0;

    CHECK_EQ(kva_wired_alloc(pages * P, 0, VM_NOSLEEP, &va), 0);
    return va;
}

/* ---- a load ------------------------------------------------------------- */

#define LIVE 64u

struct load {
    unsigned long frees;
    unsigned long bad; /* accesses that met a fault, or a stale translation */
};

/* Every slot touches every page. */
static unsigned long
touch(vmem_addr_t va, size_t pages)
{
    unsigned long bad = 0;

    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        CHECK_EQ(kva_posix_cpu_set(cpu), 0);
        for (size_t i = 0; i < pages; i++) {
            if (kva_posix_access(va + i * P) != KVA_POSIX_ACCESS_OK) {
                bad++;
            }
            *(volatile char *)(va + i * P) = (char)cpu;
        }
    }
    return bad;
}

/* Ranges of one to six pages, as stacks and small maps have, come and go. */
static struct load
run_load(struct test_ctx *t, unsigned long frees)
{
    static struct {
        vmem_addr_t va;
        size_t pages;
    } r[LIVE];
    struct load load = { 0, 0 };

    memset(r, 0, sizeof(r));
    while (load.frees < frees) {
        unsigned k = (unsigned)test_below(t, LIVE);

        if (r[k].pages != 0) {
            kva_wired_free(r[k].va, r[k].pages * P);
            r[k].pages = 0;
            load.frees++;
        } else {
            r[k].pages = 1 + test_below(t, 6);
            r[k].va = wired(r[k].pages);
            load.bad += touch(r[k].va, r[k].pages);
        }
    }
    for (unsigned k = 0; k < LIVE; k++) {
        if (r[k].pages != 0) {
            kva_wired_free(r[k].va, r[k].pages * P);
            load.frees++;
        }
    }
    (void)kva_unmap_flush();
    return load;
}

/* At the default bound of 4 MiB, against a flush for each free. */
static void
one_flush_for_many(struct test_ctx *t)
{
    for (unsigned lazy = 0; lazy < 2; lazy++) {
        struct kva_boot kb = { .lazy_bytes = lazy ? (size_t)4 << 20 : 1 };
        struct kva_stat st;
        struct load load;

        start(0, kb);
        load = run_load(t, t->count);
        st = tower();
        CHECK_EQ(load.bad, 0);
        CHECK_EQ(st.lazy_flushed, load.frees);
        CHECK_EQ(st.lazy_flushes, machine().flushes);
        if (lazy) {
            CHECK_LE(1000 * st.lazy_flushes, 5 * load.frees);
        } else {
            CHECK_EQ(st.lazy_flushes, load.frees);
        }
        finish();
    }
}

/* The default: a 64th of the addresses, here 1 MiB; a range that is as large
 * by itself goes at once. */
static void
bytes_are_bounded(struct test_ctx *t)
{
    vmem_addr_t va[300];

    (void)t;
    start(0, (struct kva_boot){ .ncpu = 0 });
    for (unsigned i = 0; i < 300; i++) {
        va[i] = wired(1);
    }
    for (unsigned i = 0; i < 300; i++) {
        kva_wired_free(va[i], P);
        CHECK_EQ(tower().lazy_ranges, (i + 1) % 256);
        CHECK_EQ(tower().lazy_bytes, (i + 1) % 256 * P);
        CHECK_EQ(machine().flushes, (i + 1) / 256);
        CHECK_EQ(machine().stale_pages, 0);
    }
    va[0] = wired(256);
    CHECK_EQ(kva_unmap_flush(), 300 % 256 * P);
    CHECK_EQ(kva_unmap_flush(), 0);
    kva_wired_free(va[0], 256 * P);
    CHECK_EQ(tower().lazy_ranges, 0);
    CHECK_EQ(machine().flushes, 3);
    CHECK_EQ(machine().frames, 0);
    finish();
}

/* 100 ms, or what is asked for: at the next free, or at a tick. */
static void
age_is_bounded(struct test_ctx *t)
{
    static const unsigned given[] = { 0, 7, 100000 }; /* older than the clock */
    vmem_addr_t a, b, c;

    (void)t;
    for (unsigned i = 0; i < KVA_COUNT(given); i++) {
        uint64_t age = MS * (given[i] == 0 ? 100 : given[i]);

        start(0, (struct kva_boot){ .lazy_ms = given[i] });
        a = wired(3);
        b = wired(2);
        c = wired(1);
        kva_wired_free(a, 3 * P);
        kva_posix_clock_advance(age - 1);
        CHECK_EQ(kva_unmap_tick(), 0);
        kva_wired_free(b, 2 * P);
        CHECK_EQ(tower().lazy_ranges, 2);
        kva_posix_clock_advance(1);
        CHECK_EQ(kva_unmap_tick(), 5 * P); /* the younger one too */
        CHECK_EQ(kva_unmap_tick(), 0);
        CHECK_EQ(machine().flushes, 1);
        a = wired(3);
        kva_wired_free(c, P);
        kva_posix_clock_advance(age);
        kva_wired_free(a, 3 * P);
        CHECK_EQ(tower().lazy_ranges, 0);
        CHECK_EQ(machine().flushes, 2);
        CHECK_EQ(tower().lazy_flushed, 4);
        finish();
    }
}

/* What arenas of wired memory give back waits with the rest; but a drain's
 * bytes are the port's when it returns. */
static void
arenas_release_lazily(struct test_ctx *t)
{
    vmem_addr_t a;

    (void)t;
    start(0, (struct kva_boot){ .ncpu = 0 });
    CHECK_EQ(vmem_alloc(kmem_arena, 50 * P, VM_NOSLEEP, &a), 0);
    vmem_free(kmem_arena, a, 50 * P);
    CHECK_EQ(tower().lazy_bytes, 50 * P);
    CHECK_EQ(tower().wired_bytes, 50 * P);
    CHECK_EQ(machine().attached_pages, 50);
    CHECK_EQ(vmem_alloc(kmem_arena, P, VM_NOSLEEP, &a), 0);
    vmem_free(kmem_arena, a, P);
    CHECK_GT(vmem_drain(kmem_arena, SIZE_MAX, 0), 0);
    CHECK_EQ(tower().lazy_bytes, 0);
    CHECK_EQ(tower().wired_bytes, 0);
    CHECK_EQ(machine().attached_pages, 0);
    finish();
}

/* ---- the check itself --------------------------------------------------- */

/* A port without a flush is found out, with one it is not: so the accesses of
 * this test would find a flush too few. */
static void
a_missing_flush_is_seen(struct test_ctx *t)
{
    for (unsigned removed = 0; removed < 2; removed++) {
        for (unsigned how = 0; how < 3; how++) {
            struct kva_boot kb = {
                .lazy_bytes = how == 0 ? 1 : 64 * P,
                .quarantine_frees = how == 2 ? 8 : 0,
            };
            struct load load;

            start(0, kb);
            kva_posix_flush_remove(removed != 0);
            load = run_load(t, 400);
            if (removed) {
                CHECK_GT(load.bad, 0);
            } else {
                CHECK_EQ(load.bad, 0);
            }
            finish();
        }
    }
}

/* A slot that did not touch it before has nothing stale. */
static void
each_slot_has_its_own(struct test_ctx *t)
{
    vmem_addr_t a;

    (void)t;
    start(0, (struct kva_boot){ .lazy_bytes = 1 });
    kva_posix_flush_remove(true);
    a = wired(1);
    CHECK_EQ(kva_posix_cpu_set(1), 0);
    CHECK_EQ(kva_posix_access(a), KVA_POSIX_ACCESS_OK);
    kva_wired_free(a, P);
    CHECK_EQ(kva_posix_access(a), KVA_POSIX_ACCESS_STALE);
    CHECK_EQ(kva_posix_cpu_set(2), 0);
    CHECK_EQ(kva_posix_access(a), KVA_POSIX_ACCESS_FAULT);
    kva_posix_flush_remove(false);
    kva_port_flush(a, 1);
    CHECK_EQ(kva_posix_cpu_set(1), 0);
    CHECK_EQ(kva_posix_access(a), KVA_POSIX_ACCESS_FAULT);
    finish();
}

/* ---- want --------------------------------------------------------------- */

static void
want_of_frames_flushes(struct test_ctx *t)
{
    vmem_addr_t a, b;

    (void)t;
    start(100, (struct kva_boot){ .ncpu = 0 });
    a = wired(60);
    kva_wired_free(a, 60 * P);
    a = wired(40); /* there is room for these beside */
    CHECK_EQ(machine().flushes, 0);
    b = wired(30);
    CHECK_EQ(machine().flushes, 1);
    CHECK_EQ(tower().lazy_ranges, 0);
    kva_wired_free(a, 40 * P);
    CHECK_EQ(vmem_alloc(kmem_arena, 70 * P, VM_NOSLEEP, &a), 0);
    CHECK_EQ(tower().lazy_flushes, 2);
    CHECK_EQ(kva_wired_alloc(P, 0, VM_NOSLEEP, &b), KVA_ENOMEM);
    CHECK_EQ(kva_wired_alloc(P, 0, VM_NOSLEEP, &b), KVA_ENOMEM);
    vmem_free(kmem_arena, a, 70 * P);
    CHECK_EQ(machine().frames, 100);
    (void)kva_unmap_flush();
    CHECK_EQ(machine().frames, 30);
    kva_wired_free(b, 30 * P);
    finish();
}

static void
the_limit_counts_what_is_queued(struct test_ctx *t)
{
    vmem_addr_t a;

    (void)t;
    start(0, (struct kva_boot){ .wired_limit = 64 * P });
    for (unsigned i = 0; i < 5; i++) {
        a = wired(64);
        kva_wired_free(a, 64 * P);
        CHECK_EQ(tower().wired_bytes, 64 * P);
        CHECK_EQ(machine().flushes, i);
    }
    CHECK_EQ(kva_wired_alloc(65 * P, 0, VM_NOSLEEP, &a), KVA_ENOMEM);
    finish();
}

/* Of an arena below too, whoever asks: queued, and in quarantine. */
static void
want_of_addresses_flushes(struct test_ctx *t)
{
    const size_t most = VA_PAGES / 4 * 3;

    (void)t;
    for (unsigned how = 0; how < 2; how++) {
        vmem_t **const vm[] = { &heap_va_arena, &heap_arena, &kernel_va_arena };
        vmem_addr_t a = 0;

        start(0,
              (struct kva_boot){ .lazy_bytes = how == 0 ? VA_BYTES : 1,
                                 .quarantine_bytes = how == 0 ? 0 : VA_BYTES });
        for (unsigned i = 0; i < KVA_COUNT(vm); i++) {
            a = wired(most);
            kva_wired_free(a, most * P);
            CHECK_EQ(how == 0 ? tower().lazy_bytes : tower().quarantine_bytes,
                     most * P);
            CHECK_EQ(vmem_xalloc(*vm[i], most * P, 0, 0, 0, VMEM_ADDR_MIN,
                                 VMEM_ADDR_MAX, VM_NOSLEEP, &a),
                     0);
            CHECK_EQ(tower().lazy_bytes + tower().quarantine_bytes, 0);
            vmem_xfree(*vm[i], a, most * P);
        }
        a = wired(most);
        kva_wired_free(a, most * P);
        a = wired(most);
        kva_wired_free(a, most * P);
        finish();
    }
}

static int interrupt_result;

static void
interrupt_asks(void *arg)
{
    vmem_addr_t a;

    interrupt_result =
        vmem_alloc(heap_va_arena, *(const size_t *)arg, VM_NOSLEEP, &a);
}

/* From an interrupt nothing is unmapped, so what is queued stays. */
static void
interrupts_do_not_flush(struct test_ctx *t)
{
    size_t most = VA_BYTES / 4 * 3;
    vmem_addr_t a;

    (void)t;
    start(0, (struct kva_boot){ .lazy_bytes = VA_BYTES });
    a = wired(most / P);
    kva_wired_free(a, most);
    interrupt_result = 0;
    kva_posix_interrupt_set(interrupt_asks, &most);
    kva_posix_interrupt();
    CHECK_EQ(interrupt_result, KVA_ENOMEM);
    CHECK_EQ(machine().flushes, 0);
    CHECK_EQ(vmem_alloc(heap_va_arena, most, VM_NOSLEEP, &a), 0);
    CHECK_EQ(machine().flushes, 1);
    vmem_free(heap_va_arena, a, most);
    finish();
}

/* ---- what a range is ---------------------------------------------------- */

static void
ranges_are_as_asked(struct test_ctx *t)
{
    vmem_addr_t a;

    start(0, (struct kva_boot){ .ncpu = 0 });
    kva_posix_run_max_set(3); /* pages need not be contiguous */
    for (unsigned long i = 0; i < t->count; i++) {
        size_t align = test_below(t, 3) == 0 ? 0 : P << test_below(t, 8);
        size_t size = 1 + test_below(t, 40 * P);

        CHECK_EQ(kva_wired_alloc(size, align, VM_NOSLEEP, &a), 0);
        CHECK_EQ(a & (align == 0 ? P - 1 : align - 1), 0);
        memset((void *)a, (int)i, (size + P - 1) / P * P);
        kva_wired_free(a, size);
    }
    finish();
}

/* One tag each, while it lives and while it waits; a free asks for nothing. */
static void
a_record_is_a_tag(struct test_ctx *t)
{
    enum {
        MANY = 500
    };
    static vmem_addr_t va[MANY];
    struct kva_stat before, now;
    struct kva_vmem_segment seg;
    size_t asked;

    (void)t;
    start(0, (struct kva_boot){ .lazy_bytes = VA_BYTES });
    before = tower();
    for (unsigned i = 0; i < MANY; i++) {
        va[i] = wired(2);
    }
    now = tower();
    CHECK_LE(now.tags - before.tags, MANY + 6); /* and the spans below */
    kva_posix_fault_arm(KVA_POSIX_META_GET, 1, true);
    asked = kva__meta_requests();
    for (unsigned i = 0; i < MANY; i++) {
        CHECK_EQ(vmem_find(heap_va_arena, va[i] + P, &seg), 0);
        CHECK_EQ(seg.kind, VMEM_KIND_XALLOC);
        kva_wired_free(va[i], 2 * P);
        CHECK_EQ(vmem_find(heap_va_arena, va[i] + P, &seg), 0);
        CHECK_EQ(seg.kind, VMEM_KIND_KEPT);
        CHECK_EQ(seg.addr, va[i]);
        CHECK_EQ(seg.size, 2 * P);
        CHECK_EQ(tower().tags, now.tags);
    }
    check_arenas();
    CHECK_EQ(kva_unmap_flush(), MANY * 2 * P);
    CHECK_EQ(kva__meta_requests(), asked);
    CHECK_EQ(vmem_size(kernel_va_arena, VMEM_ALLOC), 0);
    finish();
}

/* ---- quarantine --------------------------------------------------------- */

static bool
in_quarantine(vmem_addr_t va)
{
    struct kva_vmem_segment seg;

    return vmem_find(heap_va_arena, va, &seg) == 0 &&
           seg.kind == VMEM_KIND_KEPT;
}

/* The first that came is the first to go, once so many are behind it. */
static void
quarantine_counts_frees(struct test_ctx *t)
{
    vmem_addr_t va[20], keep;

    (void)t;
    start(0, (struct kva_boot){ .lazy_bytes = 1, .quarantine_frees = 7 });
    keep = wired(1);
    for (unsigned i = 0; i < 20; i++) {
        va[i] = wired(1 + i);
    }
    for (unsigned i = 0; i < 20; i++) {
        kva_wired_free(va[i], (1 + i) * P);
        for (unsigned k = 0; k <= i; k++) {
            CHECK_EQ(in_quarantine(va[k]), k + 7 > i);
            CHECK_EQ(kva_posix_access(va[k]), KVA_POSIX_ACCESS_FAULT);
        }
        CHECK_EQ(tower().quarantine_ranges, i < 7 ? i + 1 : 7);
        CHECK_EQ(tower().lazy_ranges, 0);
    }
    CHECK_EQ(machine().frames, 1); /* only addresses are kept */
    CHECK_EQ(tower().wired_bytes, P);
    kva_wired_free(keep, P);
    finish();
}

static void
quarantine_counts_bytes(struct test_ctx *t)
{
    vmem_addr_t va[6];

    (void)t;
    start(0, (struct kva_boot){ .lazy_bytes = 1, .quarantine_bytes = 20 * P });
    for (unsigned i = 0; i < 6; i++) {
        va[i] = wired(8);
    }
    for (unsigned i = 0; i < 6; i++) {
        kva_wired_free(va[i], 8 * P);
        CHECK_EQ(tower().quarantine_bytes, (i == 0 ? 8 : 16) * P);
        CHECK_EQ(in_quarantine(va[0]), i < 2);
    }
    va[0] = wired(21); /* more than there may be */
    kva_wired_free(va[0], 21 * P);
    CHECK_EQ(tower().quarantine_ranges, 0);
    finish();
}

/* ---- against an oracle -------------------------------------------------- */

enum page_state {
    FREE,
    WIRED,
    RESERVED, /* addresses alone */
    QUEUED,
    QUARANTINE
};

struct range {
    size_t page, n;
};

#define ORACLE_LIVE 80u
#define ORACLE_KEPT 4096u

static struct oracle {
    unsigned char page[VA_PAGES];
    struct range live[ORACLE_LIVE];
    bool is_wired[ORACLE_LIVE];
    struct range queue[ORACLE_KEPT], quarantine[ORACLE_KEPT];
    size_t nqueue, nquarantine;
    uint64_t now, since; /* of the first in the queue */
    size_t limit, most_ranges, most_pages, page_limit;
    uint64_t age;
    unsigned long forced, aged, full;
} o;

static size_t
pages_of(const struct range *r, size_t n)
{
    size_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        sum += r[i].n;
    }
    return sum;
}

static size_t
pages_wired(void)
{
    size_t sum = 0;

    for (size_t i = 0; i < ORACLE_LIVE; i++) {
        sum += o.is_wired[i] ? o.live[i].n : 0;
    }
    return sum;
}

static void
mark(struct range r, enum page_state from, enum page_state to)
{
    for (size_t i = 0; i < r.n; i++) {
        CHECK_EQ(o.page[r.page + i], from);
        o.page[r.page + i] = (unsigned char)to;
    }
}

static void
oracle_release(size_t ranges, size_t pages)
{
    size_t gone = 0;

    while (o.nquarantine - gone > ranges ||
           pages_of(o.quarantine + gone, o.nquarantine - gone) > pages) {
        mark(o.quarantine[gone++], QUARANTINE, FREE);
    }
    o.nquarantine -= gone;
    memmove(o.quarantine, o.quarantine + gone,
            o.nquarantine * sizeof(o.quarantine[0]));
}

static void
oracle_flush(void)
{
    for (size_t i = 0; i < o.nqueue; i++) {
        mark(o.queue[i], QUEUED, QUARANTINE);
        o.quarantine[o.nquarantine++] = o.queue[i];
        oracle_release(o.most_ranges, o.most_pages);
    }
    o.nqueue = 0;
}

static void
oracle_tick(void)
{
    if (o.nqueue != 0 && o.now - o.since >= o.age) {
        o.aged++;
        oracle_flush();
    }
}

static void
oracle_free(struct range r)
{
    mark(r, WIRED, QUEUED);
    if (o.nqueue == 0) {
        o.since = o.now;
    }
    o.queue[o.nqueue++] = r;
    if (pages_of(o.queue, o.nqueue) * P >= o.limit) {
        o.full++;
        oracle_flush();
    }
    oracle_tick();
}

/* Frames for n pages: after a flush if need be; false: not even then. */
static bool
oracle_wire(size_t n)
{
    size_t live = pages_wired(), queued = pages_of(o.queue, o.nqueue);

    if (o.page_limit != 0 && live + queued + n > o.page_limit) {
        o.forced++;
        oracle_flush();
        oracle_release(0, 0);
        return live + n <= o.page_limit;
    }
    return true;
}

static void
op_wire(struct test_ctx *t, unsigned k)
{
    size_t n = 1 + test_below(t, test_below(t, 8) == 0 ? 60 : 9);
    bool fits = oracle_wire(n);
    vmem_addr_t va;
    int err = kva_wired_alloc(n * P - test_below(t, P), P << test_below(t, 4),
                              VM_NOSLEEP, &va);

    CHECK_EQ(err, fits ? 0 : KVA_ENOMEM);
    if (fits) {
        o.live[k] = (struct range){ (va - kva_posix_va_base()) / P, n };
        o.is_wired[k] = true;
        mark(o.live[k], FREE, WIRED);
        memset((void *)va, (int)k, n * P);
    }
}

static void
op_reserve(struct test_ctx *t, unsigned k)
{
    size_t n = 1 + test_below(t, 40);
    vmem_addr_t va;

    CHECK_EQ(vmem_xalloc(heap_va_arena, n * P, 0, 0, 0, VMEM_ADDR_MIN,
                         VMEM_ADDR_MAX, VM_NOSLEEP, &va),
             0);
    o.live[k] = (struct range){ (va - kva_posix_va_base()) / P, n };
    mark(o.live[k], FREE, RESERVED);
}

static void
op_free(unsigned k)
{
    vmem_addr_t va = kva_posix_va_base() + o.live[k].page * P;

    if (o.is_wired[k]) {
        for (size_t i = 0; i < o.live[k].n * P; i += P / 2) {
            CHECK_EQ(*(const unsigned char *)(va + i), k);
        }
        oracle_free(o.live[k]);
        kva_wired_free(va, o.live[k].n * P);
    } else {
        mark(o.live[k], RESERVED, FREE);
        vmem_xfree(heap_va_arena, va, o.live[k].n * P);
    }
    o.live[k].n = 0;
    o.is_wired[k] = false;
}

static void
op_time(struct test_ctx *t)
{
    uint64_t ns = test_rand_below(t, o.age * 5 / 4);

    kva_posix_clock_advance(ns);
    o.now += ns;
    if (test_below(t, 2) == 0) {
        (void)kva_unmap_tick();
        oracle_tick();
    }
}

/* What an access by any slot meets, of pages at random. */
static void
check_accesses(struct test_ctx *t)
{
    CHECK_EQ(kva_posix_cpu_set((unsigned)test_below(t, CPUS)), 0);
    for (unsigned i = 0; i < 16; i++) {
        size_t page = test_below(t, i % 2 == 0 ? VA_PAGES : 2048);
        bool mapped = o.page[page] == WIRED || o.page[page] == QUEUED;

        CHECK_EQ(kva_posix_access(kva_posix_va_base() + page * P),
                 mapped ? KVA_POSIX_ACCESS_OK : KVA_POSIX_ACCESS_FAULT);
    }
}

static void
check_counts(void)
{
    struct kva_stat st = tower();
    size_t queued = pages_of(o.queue, o.nqueue);

    CHECK_EQ(st.lazy_ranges, o.nqueue);
    CHECK_EQ(st.lazy_bytes, queued * P);
    CHECK_EQ(st.quarantine_ranges, o.nquarantine);
    CHECK_EQ(st.quarantine_bytes, pages_of(o.quarantine, o.nquarantine) * P);
    CHECK_EQ(st.wired_bytes, (pages_wired() + queued) * P);
    CHECK_EQ(machine().attached_pages, pages_wired() + queued);
    CHECK_EQ(machine().frames, pages_wired() + queued);
    CHECK_EQ(machine().stale_pages, 0);
}

static void
oracle_start(struct test_ctx *t, unsigned long round)
{
    struct kva_boot kb = { .lazy_bytes = (8 + test_below(t, 120)) * P,
                           .lazy_ms = 1 + (unsigned)test_below(t, 50) };

    memset(&o, 0, sizeof(o));
    o.page_limit = round % 2 == 0 ? 0 : 200 + test_below(t, 200);
    if (test_below(t, 3) != 0) {
        kb.quarantine_frees = test_below(t, 3) == 0 ? 0 : 1 + test_below(t, 50);
        kb.quarantine_bytes =
            test_below(t, 3) == 0 ? 0 : P * (1 + test_below(t, 400));
    }
    o.limit = kb.lazy_bytes;
    o.age = kb.lazy_ms * MS;
    if (kb.quarantine_frees != 0 || kb.quarantine_bytes != 0) {
        o.most_ranges =
            kb.quarantine_frees == 0 ? SIZE_MAX : kb.quarantine_frees;
        o.most_pages =
            kb.quarantine_bytes == 0 ? SIZE_MAX : kb.quarantine_bytes / P;
    }
    start(o.page_limit, kb);
    kva_posix_run_max_set(test_below(t, 2) == 0 ? 0 : 1 + test_below(t, 6));
}

static void
agrees_with_an_oracle(struct test_ctx *t)
{
    unsigned long forced = 0, aged = 0, full = 0;

    for (unsigned long i = 0; i < t->count; i++) {
        unsigned k = (unsigned)test_below(t, ORACLE_LIVE);

        if (i % 500 == 0) {
            oracle_start(t, i / 500);
        }
        if (test_below(t, 12) == 0) {
            op_time(t);
        } else if (o.live[k].n != 0) {
            op_free(k);
        } else if (test_below(t, 5) == 0) {
            op_reserve(t, k);
        } else {
            op_wire(t, k);
        }
        check_counts();
        check_accesses(t);
        if (i % 500 == 499 || i + 1 == t->count) {
            check_arenas();
            for (k = 0; k < ORACLE_LIVE; k++) {
                if (o.live[k].n != 0) {
                    op_free(k);
                }
            }
            forced += o.forced;
            aged += o.aged;
            full += o.full;
            finish();
        }
    }
    CHECK_GT(forced, 0);
    CHECK_GT(aged, 0);
    CHECK_GT(full, 0);
}

const struct test lazy_tests[] = {
    TEST_COUNT("lazy", one_flush_for_many, 2000, 20000, 200000),
    TEST("lazy", bytes_are_bounded),
    TEST("lazy", age_is_bounded),
    TEST("lazy", arenas_release_lazily),
    TEST("lazy", a_missing_flush_is_seen),
    TEST("lazy", each_slot_has_its_own),
    TEST("lazy", want_of_frames_flushes),
    TEST("lazy", the_limit_counts_what_is_queued),
    TEST("lazy", want_of_addresses_flushes),
    TEST("lazy", interrupts_do_not_flush),
    TEST_COUNT("lazy", ranges_are_as_asked, 300, 5000, 50000),
    TEST("lazy", a_record_is_a_tag),
    TEST("lazy", quarantine_counts_frees),
    TEST("lazy", quarantine_counts_bytes),
    TEST_COUNT("lazy", agrees_with_an_oracle, 3000, 60000, 1000000),
    TEST_END
};
