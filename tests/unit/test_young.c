/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Young holes: requests and frees at random from an arena with an index, most
 * of them without constraints, so that the index does not know of most holes;
 * the others ask by address, from either end and between bounds, trim, extend
 * and ask for the largest hole.  Against an array of quanta, the checker
 * running after each operation.
 */
#include <string.h>

#include "tests/harness/test.h"
#include "vmem/indexed.h"

#define Q ((size_t)4096)
#define QUANTA 700u
#define LONGEST 40u /* beyond the exact classes too */

static vmem_t *vm;
static uint16_t owner[QUANTA + 2]; /* 0: free; a wall at either end */
static unsigned nlive;             /* ranges, 1 to nlive */
static struct {
    unsigned at, n;
} live[QUANTA + 1];
static size_t young_seen, young_found;
static bool filling; /* until no large hole is left; then frees at random */

/* Where quantum 0 is: in the middle of the space, or its end is the top. */
static uintptr_t base;

static uintptr_t
addr_of(unsigned at)
{
    return base + (at - 1) * Q;
}

static void
paint(unsigned at, unsigned n, unsigned id)
{
    for (unsigned i = at; i < at + n; i++) {
        CHECK((owner[i] == 0) != (id == 0));
        owner[i] = (uint16_t)id;
    }
}

static void
took(uintptr_t addr, unsigned n)
{
    unsigned at = (unsigned)((addr - base) / Q) + 1;

    CHECK_LE(at + n, QUANTA + 1);
    nlive++;
    live[nlive].at = at;
    live[nlive].n = n;
    paint(at, n, nlive);
}

/* The live range that was last takes the number of the one that goes. */
static void
gone(unsigned id)
{
    paint(live[id].at, live[id].n, 0);
    if (id != nlive) {
        live[id] = live[nlive];
        for (unsigned i = 0; i < live[id].n; i++) {
            owner[live[id].at + i] = (uint16_t)id;
        }
    }
    nlive--;
}

/* The place for n quanta in [low, high], from below or from above; 0: none. */
static unsigned
place_of(unsigned n, unsigned low, unsigned high, bool up)
{
    unsigned run = 0;

    for (unsigned k = low; k <= high; k++) {
        unsigned i = up ? k : high - (k - low);

        run = owner[i] == 0 ? run + 1 : 0;
        if (run == n) {
            return up ? i - n + 1 : i;
        }
    }
    return 0;
}

static unsigned
longest_hole(void)
{
    unsigned run = 0, best = 0;

    for (unsigned i = 1; i <= QUANTA; i++) {
        run = owner[i] == 0 ? run + 1 : 0;
        best = run > best ? run : best;
    }
    return best;
}

static unsigned
size_at_random(struct test_ctx *t)
{
    return 1 + (unsigned)test_rand_below(
                   t, test_rand_below(t, 16) == 0 ? LONGEST : 4);
}

static void
alloc(struct test_ctx *t)
{
    unsigned n = size_at_random(t);
    size_t young = kva__young_count(&vm->index->young);
    uintptr_t addr;
    int err = vmem_alloc(vm, n * Q, VM_NOSLEEP, &addr);

    CHECK_EQ(err, longest_hole() >= n ? 0 : KVA_ENOMEM);
    if (err == 0) {
        took(addr, n);
    }
    young_found += kva__young_count(&vm->index->young) < young;
}

/* First fit, or from the top, between bounds: the place is known. */
static void
alloc_by_address(struct test_ctx *t)
{
    unsigned n = size_at_random(t), want;
    unsigned low = 1 + (unsigned)test_rand_below(t, QUANTA);
    unsigned high = low + (unsigned)test_rand_below(t, QUANTA + 1 - low);
    bool up = test_rand_below(t, 2) == 0;
    uintptr_t addr;
    int err;

    if (test_rand_below(t, 4) == 0) {
        low = 1;
        high = QUANTA;
    }
    want = place_of(n, low, high, up);
    err = vmem_xalloc(vm, n * Q, 0, 0, 0, addr_of(low), addr_of(high) + (Q - 1),
                      VM_NOSLEEP | (up ? VM_FIRSTFIT : VM_ENDALLOC), &addr);
    if (want == 0) {
        CHECK_EQ(err, KVA_ENOMEM);
        return;
    }
    CHECK_EQ(err, 0);
    CHECK_EQ(addr, addr_of(want));
    vmem_xfree(vm, addr, n * Q);
}

static void
free_one(struct test_ctx *t)
{
    unsigned id;

    if (nlive != 0) {
        id = 1 + (unsigned)test_rand_below(t, nlive);
        vmem_free(vm, addr_of(live[id].at), live[id].n * Q);
        gone(id);
    }
}

/* A range of xalloc beside whatever holes there are, grown and cut. */
static void
resize_one(struct test_ctx *t)
{
    unsigned n = size_at_random(t), at, more = 0;
    uintptr_t addr;

    if (vmem_xalloc(vm, n * Q, 0, 0, 0, 0, VMEM_ADDR_MAX, VM_NOSLEEP, &addr) !=
        0) {
        CHECK_LT(longest_hole(), n);
        return;
    }
    at = (unsigned)((addr - base) / Q) + 1;
    while (at + n + more <= QUANTA && owner[at + n + more] == 0) {
        more++;
    }
    if (more != 0) {
        more = 1 + (unsigned)test_rand_below(t, more);
        CHECK_EQ(vmem_xextend(vm, addr, n * Q, addr, (n + more) * Q), 0);
        n += more;
    }
    if (n > 2) {
        CHECK_EQ(vmem_xtrim(vm, addr, n * Q, addr + Q, (n - 2) * Q), 0);
        addr += Q;
        n -= 2;
    }
    vmem_xfree(vm, addr, n * Q);
}

static void
step(struct test_ctx *t)
{
    switch (test_rand_below(t, 64)) {
    case 0:
        alloc_by_address(t);
        break;
    case 1:
        CHECK_EQ(vmem_size(vm, VMEM_MAXFREE), longest_hole() * Q);
        break;
    case 2:
        resize_one(t);
        break;
    default:
        filling = filling ? longest_hole() > 8 : test_rand_below(t, 40) == 0;
        if (filling) {
            alloc(t);
        } else {
            free_one(t);
        }
    }
    CHECK_PTR(vmem_check(vm), NULL);
    young_seen += kva__young_count(&vm->index->young);
    if (test_rand_below(t, 2) == 0) {
        /* As if so many frees had been since a search. */
        vm->index->young.hold = 0;
        vm->index->young.limit = YOUNG_LIMIT;
    }
}

static void
round_of(struct test_ctx *t, unsigned long n)
{
    memset(owner, 0, sizeof(owner));
    owner[0] = owner[QUANTA + 1] = UINT16_MAX;
    nlive = 0;
    vm = vmem_create("young", base, QUANTA * Q, Q, NULL, NULL, NULL, 0,
                     VM_NOSLEEP | VM_INDEX, KVA_IPL_NONE);
    CHECK(vm != NULL);
    young_seen = young_found = 0;
    for (unsigned long i = 0; i < n; i++) {
        step(t);
    }
    CHECK_LT(YOUNG_TELL / 2 * n, young_seen); /* so many at a time */
    CHECK_LT(n / 16, young_found);
    vmem_xfreeall(vm);
    vmem_destroy(vm);
}

static void
young_at_random(struct test_ctx *t)
{
    PORT(NULL);
    base = (uintptr_t)1 << 30;
    round_of(t, t->count);
    base = (uintptr_t)0 - QUANTA * Q; /* its last byte is that of the space */
    round_of(t, t->count);
}

/* The checker finds an entry that is no hole, or not of that size. */
static void
checker_sees_young(struct test_ctx *t)
{
    uintptr_t addr[3], *entry = NULL, was;

    (void)t;
    PORT(NULL);
    base = (uintptr_t)1 << 30;
    vm = vmem_create("young", base, QUANTA * Q, Q, NULL, NULL, NULL, 0,
                     VM_NOSLEEP | VM_INDEX, KVA_IPL_NONE);
    CHECK(vm != NULL);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(vmem_alloc(vm, 3 * Q, VM_NOSLEEP, &addr[i]), 0);
    }
    vmem_free(vm, addr[1], 3 * Q);
    CHECK_EQ(kva__young_count(&vm->index->young), 1);
    for (unsigned i = 0; i < YOUNG_SETS * YOUNG_WAYS; i++) {
        if (vm->index->young.set[i / YOUNG_WAYS][i % YOUNG_WAYS] != 0) {
            entry = &vm->index->young.set[i / YOUNG_WAYS][i % YOUNG_WAYS];
        }
    }
    CHECK_PTR(vmem_check(vm), NULL);
    was = *entry;
    *entry = was + 1;
    CHECK_STR(vmem_check(vm), "X1: the index of segments is in order");
    *entry = was + (1u << YOUNG_SIZE_BITS);
    CHECK_STR(vmem_check(vm), "X1: the index of segments is in order");
    *entry = 0;
    CHECK_STR(vmem_check(vm), "X1: the index of segments is in order");
    *entry = was;
    vm->index->young.set[0][YOUNG_WAYS - 1] = was; /* twice */
    CHECK_STR(vmem_check(vm), "X1: the index of segments is in order");
    vm->index->young.set[0][YOUNG_WAYS - 1] = 0;
    CHECK_PTR(vmem_check(vm), NULL);
    vmem_free(vm, addr[0], 3 * Q);
    vmem_free(vm, addr[2], 3 * Q);
    CHECK_EQ(kva__young_count(&vm->index->young), 0);
    vmem_destroy(vm);
}

const struct test young_tests[] = {
    TEST("young", checker_sees_young),
    TEST_COUNT("young", young_at_random, 3000, 30000, 300000), TEST_END
};
