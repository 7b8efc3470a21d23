/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host port's memory: what is attached can be used and is resident, what
 * is detached is neither; frames and metadata pages are unique, limited and
 * checked.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/unit/faults.h"

#define MIB ((size_t)1 << 20)
#define MEMORY_PAGES 16384
#define PAGES(n) ((size_t)(n) << KVA_PAGE_SHIFT)
#define RW (KVA_PROT_READ | KVA_PROT_WRITE)

static const struct kva_posix_config small = { .va_bytes = PAGES(MEMORY_PAGES),
                                               .meta_bytes = 4 * MIB };

static struct kva_posix_stats
stats(void)
{
    struct kva_posix_stats s;

    kva_posix_stats_get(&s);
    return s;
}

static uintptr_t
page_at(size_t page)
{
    return kva_posix_va_base() + (page << KVA_PAGE_SHIFT);
}

/* n frames, which must be there. */
static kva_pa_t
frames(size_t n)
{
    kva_pa_t pa;

    CHECK_EQ(kva_port_page_get(n, 0, &pa), 0);
    CHECK_EQ(pa & KVA_PAGE_MASK, 0);
    return pa;
}

static kva_pa_t
map_new(uintptr_t va, size_t n)
{
    kva_pa_t pa = frames(n);

    CHECK_EQ(kva_port_map(va, pa, n, RW), 0);
    return pa;
}

static void
unmap_put(uintptr_t va, kva_pa_t pa, size_t n)
{
    kva_port_unmap(va, n);
    kva_port_flush(va, n);
    kva_port_page_put(n, pa);
}

static size_t
resident(void)
{
    size_t bytes;

    CHECK_EQ(kva_posix_resident(&bytes, NULL), 0);
    return bytes;
}

/* ---- does an access fault? --------------------------------------------- */

/* The same through the kernel, which walks the same page tables: no sanitizer
 * takes it for a mistake. */
static bool
faults(uintptr_t va, bool write)
{
    char byte = 1;
    struct iovec here = { .iov_base = &byte, .iov_len = 1 };
    struct iovec there = { .iov_base = (void *)va, .iov_len = 1 };
    ssize_t n;

    n = write ? process_vm_writev(getpid(), &here, 1, &there, 1, 0)
              : process_vm_readv(getpid(), &here, 1, &there, 1, 0);
    if (n < 0 && errno != EFAULT) {
        return touch_faults(va, write); /* a sandbox forbids the call */
    }
    return n != 1;
}

static void
detached_memory_faults(struct test_ctx *t)
{
    uintptr_t va;
    kva_pa_t pa;

    (void)t;
    PORT(&small);
    va = page_at(1);
    CHECK(touch_faults(va, false));
    pa = map_new(va, 1);
    CHECK(!touch_faults(va, true));
    CHECK(touch_faults(va + KVA_PAGE_SIZE, true));
    unmap_put(va, pa, 1);
    CHECK(touch_faults(va, false));
    CHECK(touch_faults(va, true));
}

/* ---- mapping ----------------------------------------------------------- */

static void
mapped_memory_is_real(struct test_ctx *t)
{
    const size_t n = 33;
    uintptr_t va;
    kva_pa_t pa;

    (void)t;
    PORT(&small);
    va = page_at(7);
    CHECK(faults(va, false));
    CHECK(faults(va, true));
    pa = map_new(va, n);
    CHECK_EQ(resident(), n << KVA_PAGE_SHIFT);
    for (size_t i = 0; i < n << KVA_PAGE_SHIFT; i++) {
        CHECK_EQ(((const char *)va)[i], 0);
    }
    memset((void *)va, 0x5a, n << KVA_PAGE_SHIFT);
    CHECK(faults(va - 1, false));
    CHECK(faults(va + (n << KVA_PAGE_SHIFT), false));
    unmap_put(va, pa, n);
    CHECK_EQ(resident(), 0);
    CHECK(faults(va, false));
    CHECK(faults(va + (n << KVA_PAGE_SHIFT) - 1, true));
    pa = map_new(va, n);
    CHECK_EQ(*(const char *)va, 0);
    unmap_put(va, pa, n);
}

static void
protection_is_obeyed(struct test_ctx *t)
{
    uintptr_t va;
    kva_pa_t pa;

    (void)t;
    PORT(&small);
    va = page_at(0);
    pa = frames(2);
    CHECK_EQ(kva_port_map(va, pa, 2, KVA_PROT_READ), 0);
    CHECK_EQ(resident(), 2 * KVA_PAGE_SIZE);
    CHECK(!faults(va, false));
    CHECK(faults(va, true));
    unmap_put(va, pa, 2);
    pa = map_new(va, 2);
    CHECK(!faults(va, true));
    unmap_put(va, pa, 2);
}

/* Content stays whatever is done to the accesses, and a page beside them has
 * its own. */
static void
protection_changes(struct test_ctx *t)
{
    static const struct {
        unsigned prot;
        bool read, write;
    } change[] = { { KVA_PROT_READ, true, false },
                   { 0, false, false },
                   { RW, true, true } };
    uintptr_t va;
    kva_pa_t pa;

    (void)t;
    PORT(&small);
    va = page_at(3);
    pa = map_new(va, 3);
    memset((void *)va, 0x5a, 3 * KVA_PAGE_SIZE);
    for (unsigned i = 0; i < KVA_COUNT(change); i++) {
        kva_port_protect(va + KVA_PAGE_SIZE, 1, change[i].prot);
        CHECK_EQ(faults(va + KVA_PAGE_SIZE, false), !change[i].read);
        CHECK_EQ(faults(va + 2 * KVA_PAGE_SIZE - 1, true), !change[i].write);
        CHECK(!faults(va + KVA_PAGE_SIZE - 1, true));
        CHECK(!faults(va + 2 * KVA_PAGE_SIZE, true));
    }
    CHECK_EQ(((const char *)va)[KVA_PAGE_SIZE], 0x5a);
    CHECK_EQ(stats().protects, 3);
    unmap_put(va, pa, 3);
    CHECK_PANIC(kva_port_protect(va, 1, RW),
                "kva_port_protect: space host: 0x%lx: expected a mapped page, "
                "found an unmapped one",
                (unsigned long)va);
}

/* ---- page faults ------------------------------------------------------- */

#define TRAPS 8

static struct {
    uintptr_t va[TRAPS];
    unsigned access[TRAPS];
    unsigned n;
    uintptr_t denied;
} trapped;

/* Pages of odd number are for reading. */
static int
trap_maps(uintptr_t va, unsigned access)
{
    uintptr_t page = va & ~(uintptr_t)KVA_PAGE_MASK;
    bool odd = (page >> KVA_PAGE_SHIFT) % 2 != 0;
    kva_pa_t pa;

    trapped.va[trapped.n % TRAPS] = va;
    trapped.access[trapped.n++ % TRAPS] = access;
    if (odd && access != KVA_PROT_READ) {
        return KVA_EFAULT;
    }
    return kva_port_page_get(1, KVA_PAGE_ZERO, &pa) != 0 ||
                   kva_port_map(page, pa, 1, odd ? KVA_PROT_READ : RW) != 0
               ? KVA_ENOMEM
               : 0;
}

static void
trap_denied(uintptr_t va, unsigned access, int error)
{
    (void)access;
    trapped.denied = error == KVA_EFAULT ? va : 0;
    siglongjmp(faults_env, 1);
}

/* An access that traps is made once more when there is a page; one that is
 * denied goes where the test says; all others are as if nobody listened. */
static void
traps_are_told(struct test_ctx *t)
{
    volatile char *p;

    (void)t;
    PORT(&small);
    if (kva_posix_trap_set(trap_maps, trap_denied) == KVA_ENOTSUP) {
        SKIP("page faults are not told on this machine");
    }
    p = (volatile char *)page_at(4);
    p[5] = 7; /* even: a write */
    CHECK_EQ(p[5], 7);
    CHECK_EQ(trapped.n, 1);
    CHECK_EQ(trapped.va[0], page_at(4) + 5);
    CHECK_EQ(trapped.access[0], KVA_PROT_WRITE);
    CHECK_EQ(p[KVA_PAGE_SIZE], 0); /* odd: a read */
    CHECK_EQ(trapped.n, 2);
    CHECK_EQ(trapped.access[1], KVA_PROT_READ);
    if (sigsetjmp(faults_env, 1) == 0) {
        p[KVA_PAGE_SIZE + 9] = 1;
        FAIL("a write to a page for reading went through");
    }
    CHECK_EQ(trapped.denied, page_at(5) + 9);
    CHECK(kva_posix_irqs_enabled());
    CHECK_EQ(kva_posix_trap_set(NULL, NULL), 0);
    CHECK(touch_faults(page_at(6), false));
    CHECK_EQ(trapped.n, 3);
}

static void
translate_knows_the_frames(struct test_ctx *t)
{
    uintptr_t va;
    kva_pa_t a, b, pa = 0;

    (void)t;
    PORT(&small);
    va = page_at(10);
    CHECK_EQ(kva_port_translate(va, 1, &pa), 0);
    b = frames(4);
    a = frames(3);
    CHECK_EQ(kva_port_map(va, a, 3, RW), 0);
    CHECK_EQ(kva_port_map(va + 3 * KVA_PAGE_SIZE, b, 4, RW), 0);
    CHECK_EQ(kva_port_translate(va, 100, &pa), 3);
    CHECK_EQ(pa, a);
    CHECK_EQ(kva_port_translate(va + KVA_PAGE_SIZE + 5, 1, &pa), 1);
    CHECK_EQ(pa, a + KVA_PAGE_SIZE + 5);
    CHECK_EQ(kva_port_translate(va + 3 * KVA_PAGE_SIZE, 100, &pa), 4);
    CHECK_EQ(pa, b);
    CHECK_EQ(kva_port_translate(va - KVA_PAGE_SIZE, 1, &pa), 0);
    CHECK_EQ(kva_port_translate(va + 7 * KVA_PAGE_SIZE, 1, &pa), 0);
    CHECK_EQ(kva_port_translate(kva_posix_va_base() - 1, 1, &pa), 0);
    CHECK_EQ(
        kva_port_translate(kva_posix_va_base() + kva_posix_va_bytes(), 1, &pa),
        0);
    kva_port_unmap(va + KVA_PAGE_SIZE, 4);
    CHECK_EQ(kva_port_translate(va, 100, &pa), 1);
    CHECK_EQ(kva_port_translate(va + KVA_PAGE_SIZE, 1, &pa), 0);
    CHECK_EQ(kva_port_translate(va + 5 * KVA_PAGE_SIZE, 9, &pa), 2);
    CHECK_EQ(pa, b + 2 * KVA_PAGE_SIZE);
    CHECK_EQ(stats().stale_pages, 4);
    kva_port_flush(va, 7);
    CHECK_EQ(stats().stale_pages, 0);
}

#define RANGES 64
#define RANGE_PAGES 16

/* Random ranges come and go; the memory in them, the counters and Linux's own
 * view agree all the time. */
static void
attached_is_resident(struct test_ctx *t)
{
    struct {
        kva_pa_t pa;
        size_t n;
        char tag;
    } range[RANGES] = { 0 };
    size_t attached = 0;

    PORT(&small);
    for (unsigned long i = 0; i < t->count; i++) {
        size_t r = (size_t)test_rand_below(t, RANGES);
        uintptr_t va = page_at(r * RANGE_PAGES);

        if (range[r].n == 0) {
            range[r].n = 1 + (size_t)test_rand_below(t, RANGE_PAGES);
            range[r].pa = map_new(va, range[r].n);
            range[r].tag = (char)test_rand(t);
            CHECK_EQ(*(const char *)va, 0);
            memset((void *)va, range[r].tag, range[r].n << KVA_PAGE_SHIFT);
            attached += range[r].n;
        } else {
            const char *last =
                (const char *)(va + (range[r].n << KVA_PAGE_SHIFT)) - 1;

            CHECK_EQ(*(const char *)va, range[r].tag);
            CHECK_EQ(*last, range[r].tag);
            unmap_put(va, range[r].pa, range[r].n);
            attached -= range[r].n;
            range[r].n = 0;
        }
        CHECK_EQ(stats().attached_pages, attached);
        CHECK_EQ(stats().frames, attached);
        if (i % 64 == 0) {
            CHECK_EQ(resident(), attached << KVA_PAGE_SHIFT);
        }
    }
}

/* Every other page mapped, until Linux has no more mappings to give; then the
 * pages between, which needs none. */
static void
mapping_limit_is_an_error(struct test_ctx *t)
{
    const struct kva_posix_config all = { .meta_bytes = 4 * MIB };
    size_t n = 0, limit;
    int error = 0;
    kva_pa_t pa;

    (void)t;
    PORT(&all);
    limit = (kva_posix_va_bytes() >> KVA_PAGE_SHIFT) / 2;
    pa = frames(1);
    for (; n < limit && n < 100000; n++) {
        pa = frames(1);
        error = kva_port_map(page_at(2 * n), pa, 1, RW);
        if (error != 0) {
            break;
        }
    }
    if (error == 0) {
        SKIP("the host allows more mappings than this test makes");
    }
    CHECK_EQ(error, KVA_ENOMEM);
    CHECK_HAS(kva_posix_last_error(), "mprotect: the host's limit of ");
    CHECK_HAS(kva_posix_log_last(), "mappings is reached");
    CHECK_EQ(stats().logs, 1);
    CHECK_EQ(stats().attached_pages, n);
    CHECK_EQ(kva_port_translate(page_at(2 * n), 1, &pa), 0);
    for (size_t i = 0; i < 100; i++) {
        (void)map_new(page_at(2 * i + 1), 1);
    }
    CHECK_EQ(resident(), (n + 100) << KVA_PAGE_SHIFT);
    kva_port_unmap(page_at(0), 200);
    CHECK_EQ(resident(), (n - 100) << KVA_PAGE_SHIFT);
    kva_port_flush(page_at(0), 200);
    for (size_t i = 100; i < n; i++) {
        kva_port_unmap(page_at(2 * i), 1);
    }
    kva_port_flush(page_at(0), 2 * n);
    CHECK_EQ(resident(), 0);
    (void)map_new(page_at(0), 2 * n);
    CHECK_EQ(resident(), (2 * n) << KVA_PAGE_SHIFT);
}

/* At the limit an unmap in the middle cannot close the access, and gives the
 * memory back all the same. */
static void
unmap_works_at_the_limit(struct test_ctx *t)
{
    const struct kva_posix_config all = { .meta_bytes = 4 * MIB };
    size_t n = 0, before;
    kva_pa_t pa;

    (void)t;
    PORT(&all);
    (void)map_new(page_at(0), 4);
    for (n = 0; n < 100000; n++) {
        pa = frames(1);
        if (kva_port_map(page_at(8 + 2 * n), pa, 1, RW) != 0) {
            break;
        }
    }
    if (n == 100000) {
        SKIP("the host allows more mappings than this test makes");
    }
    before = resident();
    kva_port_unmap(page_at(1), 1);
    CHECK_EQ(stats().unmaps_soft, 1);
    CHECK_EQ(resident(), before - KVA_PAGE_SIZE);
    kva_port_flush(page_at(1), 1);
    (void)map_new(page_at(1), 1);
    CHECK_EQ(*(const char *)page_at(1), 0);
    CHECK_EQ(resident(), before);
}

/* What the library does wrong is reported, and nothing has changed. */
static void
map_misuse_is_reported(struct test_ctx *t)
{
    uintptr_t va;
    kva_pa_t pa;

    (void)t;
    PORT(&small);
    va = page_at(5);
    pa = map_new(va, 2);
    CHECK_PANIC((void)kva_port_map(va, frames(1), 1, RW),
                "kva_port_map: space host: 0x%lx: expected an unmapped page, "
                "found a mapped one",
                (unsigned long)va);
    CHECK_PANIC((void)kva_port_map(va + 8 * KVA_PAGE_SIZE, pa, 1, RW),
                "kva_port_map: space host: 0x%lx: expected a frame that is "
                "allocated and mapped nowhere",
                (unsigned long)(va + 8 * KVA_PAGE_SIZE));
    CHECK_PANIC((void)kva_port_map(va + 1, pa, 1, RW),
                "kva_port_map: space host: 0x%lx: expected a page boundary",
                (unsigned long)va + 1);
    CHECK_PANIC(kva_port_unmap(va, 3),
                "kva_port_unmap: space host: 0x%lx: expected a mapped page, "
                "found an unmapped one",
                (unsigned long)(va + 2 * KVA_PAGE_SIZE));
    CHECK_PANIC(kva_port_unmap(kva_posix_va_base(),
                               (kva_posix_va_bytes() >> KVA_PAGE_SHIFT) + 1),
                "kva_port_unmap: space host: 0x%lx: expected 1 or more pages "
                "in the address space, found %zu",
                (unsigned long)kva_posix_va_base(),
                (kva_posix_va_bytes() >> KVA_PAGE_SHIFT) + 1);
    CHECK_PANIC(kva_port_page_put(1, pa),
                "kva_port_page_put: pa 0x%llx: expected an allocated, "
                "unmapped frame, found a mapped one",
                (unsigned long long)pa);
    kva_port_unmap(va, 2);
    CHECK_PANIC(kva_port_page_put(2, pa),
                "kva_port_page_put: pa 0x%llx: expected an allocated, "
                "unmapped frame, found one not flushed",
                (unsigned long long)pa);
    CHECK_PANIC((void)kva_port_map(va, frames(1), 1, RW),
                "kva_port_map: space host: 0x%lx: expected an unmapped page, "
                "found one not flushed",
                (unsigned long)va);
    kva_port_flush(va, 2);
    kva_port_page_put(2, pa);
    CHECK_PANIC(kva_port_page_put(1, pa),
                "kva_port_page_put: pa 0x%llx: expected an allocated, "
                "unmapped frame, found a free one",
                (unsigned long long)pa);
    CHECK_PANIC(kva_port_page_put(1, 0),
                "kva_port_page_put: pa 0x0: expected 1 frames of the machine");
    CHECK_EQ(stats().attached_pages, 0);
}

/* ---- frames ------------------------------------------------------------ */

#define RUNS 200

/* No frame is given out twice, runs are contiguous, parts may come back. */
static void
frames_are_unique(struct test_ctx *t)
{
    struct {
        kva_pa_t pa;
        size_t n;
    } run[RUNS] = { 0 };
    static unsigned char used[MEMORY_PAGES];
    kva_pa_t base;
    size_t total = 0;

    PORT(&small);
    base = frames(1);
    kva_port_page_put(1, base);
    for (unsigned long i = 0; i < t->count; i++) {
        size_t r = (size_t)test_rand_below(t, RUNS), first;

        if (run[r].n == 0) {
            size_t n = 1 + (size_t)test_rand_below(t, 64);

            run[r].n = n;
            run[r].pa = frames(n);
            CHECK_GE(run[r].pa, base);
            first = (size_t)((run[r].pa - base) >> KVA_PAGE_SHIFT);
            CHECK_LE(first + n, KVA_COUNT(used));
            for (size_t k = first; k < first + n; k++) {
                CHECK_EQ(used[k], 0);
                used[k] = 1;
            }
            total += n;
        } else {
            size_t n = 1 + (size_t)test_rand_below(t, run[r].n);

            first = (size_t)((run[r].pa - base) >> KVA_PAGE_SHIFT);
            kva_port_page_put(n, run[r].pa);
            memset(used + first, 0, n);
            run[r].pa += (kva_pa_t)n << KVA_PAGE_SHIFT;
            run[r].n -= n;
            total -= n;
        }
        CHECK_EQ(stats().frames, total);
    }
    for (size_t r = 0; r < RUNS; r++) {
        if (run[r].n != 0) {
            kva_port_page_put(run[r].n, run[r].pa);
        }
    }
    CHECK_EQ(stats().frames, 0);
    /* All joined again: the whole memory is one run. */
    (void)frames(MEMORY_PAGES);
}

static void
frames_have_limits(struct test_ctx *t)
{
    const struct kva_posix_config c = { .va_bytes = PAGES(MEMORY_PAGES),
                                        .meta_bytes = MIB,
                                        .page_limit = 100,
                                        .reserve_pages = 10,
                                        .run_max = 64 };
    kva_pa_t pa = 0, a;

    (void)t;
    PORT(&c);
    CHECK_EQ(kva_port_page_get(65, 0, &pa), KVA_ENOMEM);
    CHECK_STR(kva_posix_last_error(),
              "page_get: no run of this length (run_max)");
    a = frames(64);
    CHECK_EQ(kva_port_page_get(27, 0, &pa), KVA_ENOMEM);
    CHECK_STR(kva_posix_last_error(),
              "page_get: the limit of pages is reached");
    (void)frames(26);
    CHECK_EQ(kva_port_page_get(1, KVA_PAGE_NOSLEEP, &pa), KVA_ENOMEM);
    CHECK_EQ(kva_port_page_get(10, KVA_PAGE_RESERVE, &pa), 0);
    CHECK_EQ(kva_port_page_get(1, KVA_PAGE_RESERVE, &pa), KVA_ENOMEM);
    CHECK_EQ(stats().frames, 100);
    CHECK_EQ(stats().frames_peak, 100);
    kva_port_page_put(64, a);
    kva_posix_limit_set(0, 0);
    kva_posix_run_max_set(0);
    (void)frames(1000);
    CHECK_EQ(stats().frames, 1036);
    CHECK_PANIC((void)kva_port_page_get(0, 0, &pa),
                "kva_port_page_get: expected 1 page or more, found 0");
}

/* ---- metadata pages ---------------------------------------------------- */

static void
meta_pages_are_zero(struct test_ctx *t)
{
    uintptr_t va[8];
    size_t bytes;

    PORT(&small);
    for (unsigned long k = 0; k < t->count; k++) {
        for (size_t i = 0; i < KVA_COUNT(va); i++) {
            CHECK_EQ(kva_port_meta_get(&va[i]), 0);
            CHECK_EQ(va[i] & KVA_PAGE_MASK, 0);
            for (size_t b = 0; b < KVA_PAGE_SIZE; b += sizeof(long)) {
                CHECK_EQ(*(const long *)(va[i] + b), 0);
            }
            memset((void *)va[i], 0xff, KVA_PAGE_SIZE);
        }
        CHECK_EQ(stats().meta_pages, KVA_COUNT(va));
        CHECK_EQ(kva_posix_resident(NULL, &bytes), 0);
        CHECK_EQ(bytes, KVA_COUNT(va) * KVA_PAGE_SIZE);
        for (size_t i = 0; i < KVA_COUNT(va); i++) {
            kva_port_meta_put(va[i]);
        }
        CHECK_EQ(kva_posix_resident(NULL, &bytes), 0);
        CHECK_EQ(bytes, 0);
    }
    CHECK_EQ(stats().meta_pages, 0);
    CHECK_EQ(stats().meta_peak, KVA_COUNT(va));
    CHECK_PANIC(kva_port_meta_put(va[0]),
                "kva_port_meta_put: space meta: 0x%lx: expected a page in "
                "use, found a free one",
                (unsigned long)va[0]);
    CHECK_PANIC(kva_port_meta_put(va[0] + 8),
                "kva_port_meta_put: space meta: 0x%lx: expected a metadata "
                "page",
                (unsigned long)va[0] + 8);
}

static void
meta_room_has_an_end(struct test_ctx *t)
{
    const struct kva_posix_config c = { .va_bytes = MIB,
                                        .meta_bytes = 4 * KVA_PAGE_SIZE };
    uintptr_t va;

    (void)t;
    PORT(&c);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(kva_port_meta_get(&va), 0);
    }
    CHECK_EQ(kva_port_meta_get(&va), KVA_ENOMEM);
    CHECK_STR(kva_posix_last_error(),
              "meta_get: the room for metadata is full");
    kva_port_meta_put(va);
    CHECK_EQ(kva_port_meta_get(&va), 0);
}

/* ---- start and stop ---------------------------------------------------- */

static void
init_checks_its_input(struct test_ctx *t)
{
    struct kva_posix_config c = { .cpus = KVA_CPU_MAX + 1 };

    (void)t;
    CHECK_PANIC((void)kva_posix_va_base(),
                "kva_posix_va_base: the host port is not running: call "
                "kva_posix_init");
    CHECK_EQ(kva_posix_init(&c), KVA_EINVAL);
    CHECK_STR(kva_posix_last_error(), "config: 257 cpus, at most 256");
    c = (struct kva_posix_config){ .va_bytes = 4097 };
    CHECK_EQ(kva_posix_init(&c), KVA_EINVAL);
    CHECK_HAS(kva_posix_last_error(), "va_bytes and meta_bytes");
    c = (struct kva_posix_config){ .page_limit = 5, .reserve_pages = 6 };
    CHECK_EQ(kva_posix_init(&c), KVA_EINVAL);
    CHECK_STR(kva_posix_last_error(),
              "config: reserve of 6 pages above the limit of 5");
    PORT(NULL);
    CHECK_EQ(kva_posix_init(NULL), KVA_EBUSY);
    CHECK_EQ(kva_posix_va_base() % (4 * MIB), 0);
    CHECK_EQ(kva_posix_va_bytes(), (size_t)KVA_POSIX_VA_MIB * MIB);
    CHECK_EQ(resident(), 0);
}

static void
init_again_starts_fresh(struct test_ctx *t)
{
    for (unsigned long i = 0; i < t->count; i++) {
        PORT(&small);
        CHECK_EQ(stats().frames, 0);
        (void)map_new(page_at(3), 5);
        CHECK_EQ(stats().attached_pages, 5);
        kva_posix_fini();
    }
}

const struct test port_memory_tests[] = {
    TEST("port", mapped_memory_is_real),
    TEST_COUNT("port", detached_memory_faults, 0, 1, 1),
    TEST("port", protection_is_obeyed),
    TEST("port", protection_changes),
    TEST_COUNT("port", traps_are_told, 0, 1, 1),
    TEST("port", translate_knows_the_frames),
    TEST_COUNT("port", attached_is_resident, 2000, 20000, 200000),
    TEST_COUNT("port", mapping_limit_is_an_error, 0, 1, 1),
    TEST_COUNT("port", unmap_works_at_the_limit, 0, 1, 1),
    TEST("port", map_misuse_is_reported),
    TEST_COUNT("port", frames_are_unique, 10000, 100000, 1000000),
    TEST("port", frames_have_limits),
    TEST_COUNT("port", meta_pages_are_zero, 3, 30, 300),
    TEST("port", meta_room_has_an_end),
    TEST("port", init_checks_its_input),
    TEST_COUNT("port", init_again_starts_fresh, 3, 30, 300),
    TEST_END
};
