/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What arenas leave in memory: windows that hold live ranges when a
 * load has been at its full size and when it has shrunk, and bytes of metadata.
 * The load's random numbers are always the same, so these are counts.
 */
#include <stdlib.h>

#include "tests/harness/test.h"
#include "vmem/meta.h"
#include "vmem/vmem_store.h"

/* A window is 512 quanta, as 2 MiB are of pages; quanta are small, so that the
 * whole fits into 32 bits. */
#define Q ((size_t)16)
#define WINDOW (512 * Q)

#define SEED 88172645463325252u

struct load {
    vmem_t *vm, *source;
    uintptr_t *addr;
    size_t *size; /* quanta */
    size_t n;
    uint64_t state;
};

/* xorshift64 (Marsaglia 2003), and a slot of n from it: docs/measuring.md. */
static uint64_t
next(struct load *l)
{
    l->state ^= l->state << 13;
    l->state ^= l->state >> 7;
    l->state ^= l->state << 17;
    return l->state;
}

static size_t
slot(struct load *l)
{
    uint64_t r = next(l), low = (r & 0xffffffffu) * l->n;

    return (size_t)(((r >> 32) * l->n + (low >> 32)) >> 32);
}

static void
get(struct load *l, size_t i)
{
    l->size[i] = (size_t)(1 + ((next(l) >> 33) & 15));
    CHECK_EQ(vmem_alloc(l->vm, l->size[i] * Q, VM_NOSLEEP, &l->addr[i]), 0);
}

static void
put(struct load *l, size_t i)
{
    vmem_free(l->vm, l->addr[i], l->size[i] * Q);
}

static void
churn(struct load *l, size_t pairs)
{
    for (size_t i = 0; i < pairs; i++) {
        size_t at = slot(l);

        put(l, at);
        get(l, at);
    }
}

static void
load_begin(struct load *l, size_t n, bool import, vm_flag_t flags)
{
    size_t span = 1;
    vmem_t *first;

    while (span < n * 34) {
        span *= 2;
    }
    *l = (struct load){ .n = n, .state = SEED };
    l->addr = malloc(n * sizeof(*l->addr));
    l->size = malloc(n * sizeof(*l->size));
    CHECK(l->addr != NULL && l->size != NULL);
    first = vmem_create("load", WINDOW, span * Q, Q, NULL, NULL, NULL, 0,
                        VM_NOSLEEP | (import ? 0 : flags), KVA_IPL_NONE);
    CHECK(first != NULL);
    l->vm = first;
    if (import) {
        l->source = first;
        l->vm = vmem_create("child", 0, 0, Q, NULL, NULL, NULL, 0,
                            VM_NOSLEEP | flags, KVA_IPL_NONE);
        CHECK(l->vm != NULL);
        vmem_set_import(l->vm, vmem_alloc, vmem_free, l->source, WINDOW);
    }
    for (size_t i = 0; i < n; i++) {
        get(l, i);
    }
}

static void
load_end(struct load *l)
{
    CHECK_PTR(vmem_check(l->vm), NULL);
    for (size_t i = 0; i < l->n; i++) {
        put(l, i);
    }
    vmem_destroy(l->vm);
    if (l->source != NULL) {
        vmem_destroy(l->source);
    }
    free(l->addr);
    free(l->size);
}

/* Windows with live ranges, or spans held, in thousandths of the fewest that
 * hold as many bytes. */
static size_t
permille_held(struct load *l)
{
    size_t bytes = 0, windows = 0, ideal, all;
    unsigned char *mark;

    for (size_t i = 0; i < l->n; i++) {
        bytes += l->size[i] * Q;
    }
    ideal = (bytes + (WINDOW - 1)) / WINDOW;
    if (l->source != NULL) {
        return vmem_size(l->source, VMEM_ALLOC) / WINDOW * 1000 / ideal;
    }
    all = vmem_size(l->vm, VMEM_ALLOC | VMEM_FREE) / WINDOW + 2;
    mark = calloc(all, 1);
    CHECK(mark != NULL);
    for (size_t i = 0; i < l->n; i++) {
        uintptr_t last = l->addr[i] + (l->size[i] * Q - 1);

        mark[l->addr[i] / WINDOW] = mark[last / WINDOW] = 1;
    }
    for (size_t i = 0; i < all; i++) {
        windows += mark[i];
    }
    free(mark);
    return windows * 1000 / ideal;
}

static void
shrink(struct load *l, size_t n)
{
    for (size_t i = l->n - 1; i > 0; i--) { /* Fisher and Yates */
        size_t j = (size_t)(next(l) % (i + 1));
        uintptr_t addr = l->addr[i];
        size_t size = l->size[i];

        l->addr[i] = l->addr[j];
        l->size[i] = l->size[j];
        l->addr[j] = addr;
        l->size[j] = size;
    }
    while (l->n > n) {
        l->n--;
        put(l, l->n);
    }
}

/*
 * n ranges, 10 n pairs, then a tenth of them, 5 n pairs.  At their full size
 * they hold at most 1.02 of the ideal, in whichever kind of arena; shrunk, one
 * that imports holds at most 1.10.  Of less than 10^5 ranges the last window,
 * partly used, is more of the whole: so much is added.
 */
static void
footprint(struct test_ctx *t, bool import, vm_flag_t flags)
{
    /* Where all is checked after each operation, a tenth takes a hundredth. */
    const size_t n = KVA_CONFIG_PARANOID ? t->count / 10 : t->count;
    size_t more = n >= 100000 ? 0 : 2000000 / n;
    struct load l;

    PORT(NULL);
    load_begin(&l, n, import, flags);
    churn(&l, 10 * n);
    CHECK_LE(permille_held(&l), 1020 + more);
    shrink(&l, n / 10);
    churn(&l, 5 * n);
    if (import) {
        CHECK_LE(permille_held(&l), 1100 + 10 * more);
    }
    load_end(&l);
}

static void
footprint_of_a_span(struct test_ctx *t)
{
    footprint(t, false, 0);
}

static void
footprint_of_a_span_with_index(struct test_ctx *t)
{
    footprint(t, false, VM_INDEX);
}

static void
footprint_of_imports(struct test_ctx *t)
{
    footprint(t, true, 0);
}

static void
footprint_of_imports_with_index(struct test_ctx *t)
{
    footprint(t, true, VM_INDEX);
}

/* Bytes a live range, everything included: 40, and 56 with an index, of a
 * million; of fewer the arena itself, a page of each kind and the directories
 * are more of the whole. */
static void
metadata(struct test_ctx *t, size_t most, vm_flag_t flags)
{
    /* Where all is checked after each operation, a tenth takes a hundredth. */
    const size_t n = KVA_CONFIG_PARANOID ? t->count / 10 : t->count;
    struct load l;

    PORT(NULL);
    load_begin(&l, n, false, flags);
    most = most * n + (n < 1000000 ? 64 * KVA_PAGE_SIZE : 0);
    CHECK_LE(kva__meta_bytes(KVA_META_KINDS), most);
    churn(&l, n + n / 2);
    CHECK_LE(kva__meta_bytes(KVA_META_KINDS), most);
    load_end(&l);
}

static void
metadata_without_index(struct test_ctx *t)
{
    metadata(t, 40, 0);
}

static void
metadata_with_index(struct test_ctx *t)
{
    metadata(t, 56, VM_INDEX);
}

const struct test footprint_tests[] = {
    TEST_COUNT("footprint", footprint_of_a_span, 2000, 100000, 100000),
    TEST_COUNT("footprint", footprint_of_a_span_with_index, 2000, 100000,
               100000),
    TEST_COUNT("footprint", footprint_of_imports, 2000, 100000, 100000),
    TEST_COUNT("footprint", footprint_of_imports_with_index, 2000, 100000,
               100000),
    TEST_COUNT("footprint", metadata_without_index, 20000, 100000, 1000000),
    TEST_LEAST("footprint", metadata_with_index, 2000, 20000, 100000, 1000000),
    TEST_END
};
