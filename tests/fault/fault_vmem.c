/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every hook that may fail is made to fail: the first time it is passed, the
 * second, and so on until the operation passes none that would; once only, and
 * from then on for good.  After a failure the arenas are as they were, and
 * nothing is lost.  The method is SQLite's.
 */
#include <string.h>

#include "tests/harness/test.h"
#include "tests/misuse/digest.h"
#include "vmem/meta.h"
#include "vmem/vmem_store.h"

#define Q ((size_t)4096)
#define BASE ((uintptr_t)0x40000000)

/* What an operation works on.  do_it returns 0 or an error; undo takes back
 * what it did. */
struct scene {
    vmem_t *vm, *source;
    uintptr_t addr;
    size_t size;
    vmem_t *made;
};

struct operation {
    const char *name;
    void (*setup)(struct scene *s);
    int (*do_it)(struct scene *s);
    void (*undo)(struct scene *s);
};

static vmem_t *
source_new(void)
{
    vmem_t *vm = vmem_create("source", BASE, 1024 * Q, Q, NULL, NULL, NULL, 0,
                             VM_NOSLEEP, KVA_IPL_NONE);

    CHECK(vm != NULL);
    return vm;
}

static void
setup_source(struct scene *s)
{
    s->source = source_new();
}

static void
setup_child(struct scene *s, size_t qcache_max)
{
    s->source = source_new();
    s->vm = vmem_create("child", 0, 0, Q, vmem_alloc, vmem_free, s->source,
                        qcache_max, VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(s->vm != NULL);
}

static void
setup_import(struct scene *s)
{
    setup_child(s, 0);
}

static void
setup_qcache(struct scene *s)
{
    setup_child(s, 8 * Q);
}

/* So many segments that the next one wants a page of hash buckets. */
static void
setup_full_hash(struct scene *s)
{
    uintptr_t addr;

    s->source = source_new();
    s->vm = s->source;
    for (unsigned i = 0; i < KVA__HASH_INLINE; i++) {
        CHECK_EQ(vmem_alloc(s->vm, Q, VM_NOSLEEP, &addr), 0);
    }
}

static int
do_create(struct scene *s)
{
    s->made = vmem_create("made", BASE, 16 * Q, Q, NULL, NULL, NULL, 0,
                          VM_NOSLEEP, KVA_IPL_NONE);
    return s->made != NULL ? 0 : KVA_ENOMEM;
}

static int
do_create_cached(struct scene *s)
{
    s->made = vmem_create("made", BASE, 16 * Q, Q, NULL, NULL, NULL, 4 * Q,
                          VM_NOSLEEP, KVA_IPL_NONE);
    return s->made != NULL ? 0 : KVA_ENOMEM;
}

static void
undo_create(struct scene *s)
{
    vmem_destroy(s->made);
}

static int
do_alloc(struct scene *s)
{
    s->size = 3 * Q;
    return vmem_alloc(s->vm, s->size, VM_NOSLEEP, &s->addr);
}

static int
do_alloc_large(struct scene *s)
{
    s->size = 20 * Q;
    return vmem_alloc(s->vm, s->size, VM_NOSLEEP, &s->addr);
}

static void
undo_alloc(struct scene *s)
{
    vmem_free(s->vm, s->addr, s->size);
    (void)vmem_drain(s->vm, SIZE_MAX, 0);
}

static int
do_xalloc(struct scene *s)
{
    s->size = 3 * Q;
    return vmem_xalloc(s->vm, s->size, 8 * Q, 4 * Q, 16 * Q, VMEM_ADDR_MIN,
                       VMEM_ADDR_MAX, VM_NOSLEEP, &s->addr);
}

static void
undo_xalloc(struct scene *s)
{
    vmem_xfree(s->vm, s->addr, s->size);
}

static int
do_add(struct scene *s)
{
    return vmem_add(s->made, BASE, 16 * Q, VM_NOSLEEP);
}

static void
setup_add(struct scene *s)
{
    s->source = source_new();
    s->made = vmem_create("made", 0, 0, Q, NULL, NULL, NULL, 0, VM_NOSLEEP,
                          KVA_IPL_NONE);
    CHECK(s->made != NULL);
}

static const struct operation operations[] = {
    { "create", setup_source, do_create, undo_create },
    { "create with quantum caches", setup_source, do_create_cached,
      undo_create },
    { "add", setup_add, do_add, undo_create },
    { "alloc that imports", setup_import, do_alloc, undo_alloc },
    { "xalloc that imports", setup_import, do_xalloc, undo_xalloc },
    { "alloc from quantum caches", setup_qcache, do_alloc, undo_alloc },
    { "alloc past quantum caches", setup_qcache, do_alloc_large, undo_alloc },
    { "xalloc past quantum caches", setup_qcache, do_xalloc, undo_xalloc },
    { "alloc with a full hash", setup_full_hash, do_alloc, undo_alloc },
};

/* The store's stock of tags is emptied into an arena, so that the next one that
 * is wanted costs a page. */

static void
eat_tags(vmem_t *vm)
{
    size_t before = kva__meta_bytes(KVA_META_TAGS);
    unsigned n = 0;

    do {
        CHECK_LT(n, 1024);
        CHECK_EQ(vmem_add(vm, (uintptr_t)n++ * 2 * Q, Q, VM_NOSLEEP), 0);
    } while (kva__meta_bytes(KVA_META_TAGS) == before);
}

/* One run with the fault at its nth chance; false when none fired. */
static bool
run_one(struct test_ctx *t, const struct operation *op, unsigned long nth,
        bool sticky)
{
    struct scene s = { .addr = 0 };
    unsigned long fired;
    uint64_t before[2];
    int err;

    (void)t;
    op->setup(&s);
    before[0] = digest(s.source);
    before[1] = s.vm == NULL ? 0 : digest(s.vm);
    kva_posix_fault_reset();
    kva_posix_fault_arm(KVA_POSIX_ANY, nth, sticky);
    err = op->do_it(&s);
    fired = kva_posix_fault_fired(KVA_POSIX_ANY);
    kva_posix_fault_disarm(KVA_POSIX_ANY);
    if (err == 0) {
        op->undo(&s);
    } else {
        CHECK_EQ(err, KVA_ENOMEM);
        CHECK_GT(fired, 0);
    }
    if (digest(s.source) != before[0] ||
        (s.vm != NULL && digest(s.vm) != before[1])) {
        FAIL("%s: not as before, fault %lu%s, error %d", op->name, nth,
             sticky ? " and on" : "", err);
    }
    if (op->do_it == do_add && err != 0) {
        vmem_destroy(s.made);
    }
    if (s.vm != NULL && s.vm != s.source) {
        vmem_destroy(s.vm);
    }
    if (s.vm == s.source) {
        vmem_xfreeall(s.source);
    }
    vmem_destroy(s.source);
    return fired > 0;
}

/* Each operation, in a library that has nothing in stock, and in a warm one. */
static void
each_operation(struct test_ctx *t)
{
    unsigned long runs = 0;

    PORT(NULL);
    for (unsigned i = 0; i < KVA_COUNT(operations); i++) {
        for (unsigned sticky = 0; sticky < 2; sticky++) {
            unsigned long nth = 1;

            while (run_one(t, &operations[i], nth, sticky != 0)) {
                CHECK_LT(nth, 100);
                nth++;
                runs++;
            }
        }
    }
    CHECK_GE(runs, KVA_COUNT(operations));
    CHECK_PTR(kva_vmem_list, NULL);
}

/* The same where the next tag is the one that is not to be had. */
static void
each_operation_without_tags(struct test_ctx *t)
{
    size_t tags = 0;

    PORT(NULL);
    for (unsigned i = 0; i < KVA_COUNT(operations); i++) {
        for (unsigned short_by = 0; short_by < 40; short_by++) {
            vmem_t *eater = vmem_create("eater", 0, 0, Q, NULL, NULL, NULL, 0,
                                        VM_NOSLEEP, KVA_IPL_NONE);

            CHECK(eater != NULL);
            eat_tags(eater);
            /* 127 tags are in the new group; leave a few of them. */
            for (unsigned n = 0; n < 64 - short_by; n++) {
                CHECK_EQ(vmem_add(eater, (uintptr_t)(5000 + n) * 2 * Q, Q,
                                  VM_NOSLEEP),
                         0);
            }
            (void)run_one(t, &operations[i], 1, true);
            CHECK(vmem_check(eater) == NULL);
            vmem_destroy(eater);
        }
        if (i == 0) {
            tags = kva__meta_bytes(KVA_META_TAGS);
        }
        CHECK_LE(kva__meta_bytes(KVA_META_TAGS), tags + Q);
    }
}

/* ---- a free never allocates --------------------------------------------- */

#define MANY 4096

/* Frees of all kinds while the port refuses every page: t->count of them, and
 * at least a hundredth as many requests refused. */
static void
free_never_allocates(struct test_ctx *t)
{
    static uintptr_t addr[MANY];
    static size_t size[MANY];
    size_t asked, frees = 0;
    vmem_t *source, *vm;
    PORT(NULL);
    source = vmem_create("source", BASE, (size_t)1 << 28, Q, NULL, NULL, NULL,
                         0, VM_NOSLEEP, KVA_IPL_NONE);
    vm = vmem_create("child", 0, 0, Q, vmem_alloc, vmem_free, source, 8 * Q,
                     VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(source != NULL && vm != NULL);
    while (frees < t->count) {
        for (unsigned i = 0; i < MANY; i++) {
            size[i] = (1 + test_below(t, 12)) * Q;
            CHECK_EQ(vmem_alloc(vm, size[i], VM_NOSLEEP, &addr[i]), 0);
        }
        kva_posix_fault_arm(KVA_POSIX_META_GET, 1, true);
        for (unsigned i = 0; i < MANY; i++) {
            unsigned k = i + (unsigned)test_below(t, MANY - i);

            asked = kva__meta_requests();
            vmem_free(vm, addr[k], size[k]);
            CHECK_EQ(kva__meta_requests(), asked);
            addr[k] = addr[i];
            size[k] = size[i];
            frees++;
            if (i % 64 == 0) { /* a new arena takes a page */
                CHECK(vmem_create("no", 0, 0, Q, NULL, NULL, NULL, 4 * Q,
                                  VM_NOSLEEP, KVA_IPL_NONE) == NULL);
            }
        }
        asked = kva__meta_requests();
        (void)vmem_drain(vm, SIZE_MAX, 0);
        CHECK_EQ(kva__meta_requests(), asked);
        CHECK_EQ(vmem_size(source, VMEM_ALLOC), 0);
        kva_posix_fault_disarm(KVA_POSIX_META_GET);
    }
    CHECK_GE(kva_posix_fault_fired(KVA_POSIX_META_GET), t->count / 100);
    vmem_destroy(vm);
    vmem_destroy(source);
}

/* ---- nothing is lost over time ------------------------------------------ */

/* After many rounds with faults, as many metadata pages as after the first. */
static void
no_page_is_lost(struct test_ctx *t)
{
    struct kva_posix_stats st;
    size_t after_first = 0;

    PORT(NULL);
    for (unsigned long round = 0; round < t->count; round++) {
        for (unsigned i = 0; i < KVA_COUNT(operations); i++) {
            (void)run_one(t, &operations[i], 1 + test_below(t, 8),
                          test_below(t, 2) != 0);
        }
        kva_posix_stats_get(&st);
        if (round < 10) {
            after_first =
                st.meta_pages > after_first ? st.meta_pages : after_first;
        }
        CHECK_LE(st.meta_pages, after_first);
    }
}

/* Without a barrier the slots of other CPUs stay full; an arena can be ended
 * all the same. */
static void
destroy_without_a_barrier(struct test_ctx *t)
{
    struct scene s = { .addr = 0 };
    uintptr_t addr[8];

    (void)t;
    PORT(NULL);
    setup_qcache(&s);
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        CHECK_EQ(kva_posix_cpu_set(cpu), 0);
        for (unsigned i = 0; i < 8; i++) {
            CHECK_EQ(vmem_alloc(s.vm, Q, VM_NOSLEEP, &addr[i]), 0);
        }
        for (unsigned i = 0; i < 8; i++) {
            vmem_free(s.vm, addr[i], Q);
        }
    }
    kva_posix_fault_arm(KVA_POSIX_BARRIER, 1, true);
    (void)vmem_drain(s.vm, SIZE_MAX, 0);
    CHECK_GT(vmem_size(s.vm, VMEM_CACHED), 0);
    vmem_destroy(s.vm);
    CHECK_EQ(vmem_size(s.source, VMEM_ALLOC), 0);
    vmem_destroy(s.source);
}

const struct test fault_vmem_tests[] = {
    TEST("fault", each_operation),
    TEST("fault", each_operation_without_tags),
    TEST_LEAST("fault", free_never_allocates, 2000, 20000, 120000, 2000000),
    TEST_COUNT("fault", no_page_is_lost, 20, 500, 20000),
    TEST("fault", destroy_without_a_barrier),
    TEST_END
};
