/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: a range that is freed twice is reported, whatever was freed, drained
 * or allocated meanwhile, unless a range of the same start, size and kind was
 * handed out since: the second free is then one that the new owner may do, by
 * every fact there is, and goes through.  The last tests show that case.
 */
#include "tests/misuse/scene.h"

static bool
overlaps_live(const struct book *b, const struct range *r)
{
    for (size_t at = 0; at < r->size; at += b->quantum) {
        if (book_live(b, r->addr + at) != NULL) {
            return true;
        }
    }
    return false;
}

static bool
free_twice(struct test_ctx *t, struct scene *s)
{
    struct book *b = &s->top;
    struct range r;
    enum way way;
    unsigned k;

    if (b->nlive == 0) {
        return false;
    }
    k = (unsigned)test_below(t, b->nlive);
    r = b->live[k];
    scene_free(b, k);
    switch (test_below(t, 4)) {
    case 0:
        scene_drain(s);
        break;
    case 1:
        for (size_t n = test_below(t, 10); n > 0; n--) {
            scene_step(t, s);
        }
        break;
    default:
        break;
    }
    if (overlaps_live(b, &r)) {
        return false;
    }
    way = test_below(t, 8) == 0 ? (enum way)test_below(t, WAYS)
                                : (r.x ? BY_XFREE : BY_FREE);
    return scene_bad_free(s, b, way, r.addr,
                          r.size - test_below(t, b->quantum));
}

static void
double_free_at_random(struct test_ctx *t)
{
    scene_instances(t, NULL, free_twice);
}

static void
double_free(struct test_ctx *t)
{
    vmem_t *vm;
    uintptr_t a, b, c;

    (void)t;
    PORT(NULL);
    vm = plain_arena();
    a = get(vm, 3 * Q);
    b = get(vm, Q); /* a neighbour stays */
    c = xget(vm, 2 * Q);
    vmem_free(vm, a, 3 * Q);
    CHECK_MISUSE(vm, vmem_free(vm, a, 3 * Q),
                 "vmem_free: arena plain: 0x%lx: "
                 "expected a live range, found a free one",
                 (unsigned long)a);
    vmem_xfree(vm, c, 2 * Q);
    CHECK_MISUSE(vm, vmem_xfree(vm, c, 2 * Q),
                 "vmem_xfree: arena plain: "
                 "0x%lx: expected a live range, found a free one",
                 (unsigned long)c);
    vmem_free(vm, b, Q);
    vmem_destroy(vm);
    vm = cached_arena();
    a = get(vm, 3 * Q);
    vmem_free(vm, a, 3 * Q);
    CHECK_MISUSE(vm, vmem_free(vm, a, 3 * Q),
                 "vmem_free: arena cached: "
                 "0x%lx: expected a live range, found a free one",
                 (unsigned long)a);
    (void)vmem_drain(vm, SIZE_MAX, 0); /* not in a magazine any more */
    CHECK_MISUSE(vm, vmem_free(vm, a, 3 * Q),
                 "vmem_free: arena cached: "
                 "0x%lx: expected a live range, found a free one",
                 (unsigned long)a);
    vmem_destroy(vm);
}

/*
 * The second free comes when the range belongs to somebody else.  The arena is
 * full but for it, so the new owner must get the very same one.  Nothing tells
 * the two frees apart: not detected.  The new owner's own free is.
 */
static void
given_out_again(vmem_t *vm, const char *name, size_t size, bool x)
{
    uintptr_t first = x ? xget(vm, size) : get(vm, size), second;
    uintptr_t addr = 0;

    while (vmem_xalloc(vm, Q, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX, NOSLEEP,
                       &addr) == 0) {
    }
    if (x) {
        vmem_xfree(vm, first, size);
        second = xget(vm, size);
        CHECK_EQ(second, first);
        vmem_xfree(vm, first, size); /* by the first owner, again */
    } else {
        vmem_free(vm, first, size);
        second = get(vm, size);
        CHECK_EQ(second, first);
        vmem_free(vm, first, size);
    }
    CHECK_MISUSE(vm,
                 x ? vmem_xfree(vm, second, size) : vmem_free(vm, second, size),
                 "vmem_%sfree: arena %s: 0x%lx: expected a live range, found a "
                 "free one",
                 x ? "x" : "", name, (unsigned long)second);
}

static void
undecided_when_given_out_again(struct test_ctx *t)
{
    (void)t;
    PORT(NULL);
    given_out_again(plain_arena(), "plain", 3 * Q, false);
    given_out_again(plain_arena(), "plain", 3 * Q, true);
    given_out_again(cached_arena(), "cached", 2 * Q, false);
    given_out_again(cached_arena(), "cached", 20 * Q, false);
    given_out_again(cached_arena(), "cached", 2 * Q, true);
}

/* With another size, or of the other kind, it is decided. */
static void
decided_when_given_out_differently(struct test_ctx *t)
{
    vmem_t *vm;
    uintptr_t a;

    (void)t;
    PORT(NULL);
    vm = plain_arena();
    a = get(vm, 256 * Q);
    vmem_free(vm, a, 256 * Q);
    CHECK_EQ(xget(vm, 256 * Q), a);
    CHECK_MISUSE(vm, vmem_free(vm, a, 256 * Q),
                 "vmem_free: arena plain: 0x%lx: expected a range of "
                 "vmem_alloc, found one of vmem_xalloc",
                 (unsigned long)a);
    vmem_xfree(vm, a, 256 * Q);
    CHECK_EQ(vmem_xalloc_addr(vm, a, 2 * Q, NOSLEEP), 0);
    CHECK_MISUSE(vm, vmem_xfree(vm, a, 256 * Q),
                 "vmem_xfree: arena plain: 0x%lx: expected size 8192, found "
                 "size 1048576",
                 (unsigned long)a);
    vmem_xfree(vm, a, 2 * Q);
    vmem_destroy(vm);
}

const struct test vmem_double_free_tests[] = {
    TEST("misuse", double_free), TEST("misuse", undecided_when_given_out_again),
    TEST("misuse", decided_when_given_out_differently),
    TEST_COUNT("misuse", double_free_at_random, 500, 10000, 100000), TEST_END
};
