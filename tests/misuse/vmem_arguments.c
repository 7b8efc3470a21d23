/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: each combination of right and wrong arguments of a request gives
 * exactly one report, of the first that is wrong in the order size, flags,
 * align, phase, nocross, window; and none if all are right, however tight.
 * What is wrong is decided here by plain arithmetic.
 */
#include "tests/misuse/scene.h"
#include "vmem/vmem_impl.h"

#include <stdio.h>

struct arguments {
    size_t size, align, phase, nocross;
    uintptr_t min, max;
    vm_flag_t flags;
};

/* Every flag that a request may have; the last is handed to import functions,
 * which hand it on. */
#define FITS (VM_INSTANTFIT | VM_BESTFIT)
#define INDEX_FITS (VM_FIRSTFIT | VM_NEXTFIT)
#define REQUEST_FLAGS                                                          \
    (VM_SLEEP | VM_NOSLEEP | FITS | INDEX_FITS | VM_ENDALLOC | VM_POPULATING | \
     VM_ONESTEP | VM_ABORT | VM_RESERVE | KVA__VM_ADMITTED)

static bool
is_power(size_t n)
{
    while (n > 1 && n % 2 == 0) {
        n /= 2;
    }
    return n == 1;
}

/* What is wrong with size, or NULL; rounds it. */
static const char *
size_text(size_t *size, size_t quantum, char text[KVA_MESSAGE_MAX])
{
    size_t over = *size % quantum;

    if (*size == 0) {
        return "expected a size above 0, found size 0";
    }
    if (over != 0 && *size > SIZE_MAX - (quantum - over)) {
        (void)snprintf(text, KVA_MESSAGE_MAX,
                       "expected a size that can be rounded up to the quantum "
                       "%zu, found size %zu",
                       quantum, *size);
        return text;
    }
    *size += over == 0 ? 0 : quantum - over;
    return NULL;
}

/* VM_ENDALLOC goes with instant fit, which need not be named, and with best
 * fit; of the others there is one. */
static bool
is_one_fit(vm_flag_t flags)
{
    vm_flag_t fit = flags & (FITS | INDEX_FITS);

    if ((flags & VM_ENDALLOC) != 0 && (fit & INDEX_FITS) != 0) {
        return false;
    }
    return fit == 0 || fit == VM_INSTANTFIT || fit == VM_BESTFIT ||
           fit == VM_FIRSTFIT || fit == VM_NEXTFIT;
}

static const char *
flags_text(vm_flag_t flags, bool indexed, char text[KVA_MESSAGE_MAX])
{
    vm_flag_t sleep = flags & (VM_SLEEP | VM_NOSLEEP);
    const char *what = NULL;

    if (sleep != VM_SLEEP && sleep != VM_NOSLEEP) {
        what = "one of VM_SLEEP and VM_NOSLEEP";
    } else if ((flags & (FITS | INDEX_FITS)) == FITS) {
        what = "one of VM_INSTANTFIT and VM_BESTFIT";
    } else if (!is_one_fit(flags)) {
        what = "one kind of fit";
    } else if ((flags & INDEX_FITS) != 0 && !indexed) {
        what = "an arena with VM_INDEX for first and next fit";
    } else if ((flags & ~REQUEST_FLAGS) != 0) {
        what = "flags for a request";
    }
    if (what == NULL) {
        return NULL;
    }
    (void)snprintf(text, KVA_MESSAGE_MAX, "expected %s, found flags 0x%x", what,
                   flags);
    return text;
}

/* What is wrong with the constraints, and the address named with it; size is
 * rounded. */
static const char *
constraints_text(const struct arguments *a, size_t quantum, uintptr_t *addr,
                 char text[KVA_MESSAGE_MAX])
{
    size_t align = a->align == 0 ? quantum : a->align;

    *addr = 0;
    if (!is_power(align)) {
        (void)snprintf(text, KVA_MESSAGE_MAX,
                       "expected align 0 or a power of two, found align %zu",
                       align);
    } else if (a->phase >= align && a->phase != 0) {
        (void)snprintf(text, KVA_MESSAGE_MAX,
                       "expected phase below align %zu, found phase %zu", align,
                       a->phase);
    } else if (a->phase % quantum != 0) {
        (void)snprintf(text, KVA_MESSAGE_MAX,
                       "expected phase a multiple of the quantum %zu, found "
                       "phase %zu",
                       quantum, a->phase);
    } else if (a->nocross != 0 && !is_power(a->nocross)) {
        (void)snprintf(text, KVA_MESSAGE_MAX,
                       "expected nocross 0 or a power of two, found nocross "
                       "%zu",
                       a->nocross);
    } else if (a->nocross != 0 && a->nocross < a->size) {
        (void)snprintf(text, KVA_MESSAGE_MAX,
                       "expected nocross of at least size %zu, found nocross "
                       "%zu",
                       a->size, a->nocross);
    } else if (a->min > a->max) {
        *addr = a->min;
        (void)snprintf(text, KVA_MESSAGE_MAX,
                       "expected minaddr at most maxaddr 0x%lx, found more",
                       (unsigned long)a->max);
    } else {
        return NULL;
    }
    return text;
}

/* The whole message for vmem_xalloc; false: all is right. */
static bool
xalloc_text(const struct book *b, struct arguments a, bool indexed,
            char text[KVA_MESSAGE_MAX])
{
    char part[KVA_MESSAGE_MAX];
    const char *what = size_text(&a.size, b->quantum, part);
    uintptr_t addr = 0;

    if (what == NULL) {
        what = flags_text(a.flags, indexed, part);
    }
    if (what == NULL) {
        what = constraints_text(&a, b->quantum, &addr, part);
    }
    if (what == NULL) {
        return false;
    }
    (void)snprintf(text, KVA_MESSAGE_MAX, "vmem_xalloc: arena %s: 0x%lx: %.*s",
                   b->name, (unsigned long)addr, (int)sizeof(part) - 64, what);
    return true;
}

/* vmem_xalloc with these: reported if and only if something is wrong. */
static bool
try_xalloc(const struct scene *s, const struct arguments *a)
{
    const struct book *b = &s->top;
    bool indexed = (s->flags & VM_INDEX) != 0;
    char text[KVA_MESSAGE_MAX];
    bool bad = xalloc_text(b, *a, indexed, text);
    struct kva_posix_catch c;
    uintptr_t addr = 0;

    if (KVA_POSIX_TRY(&c)) {
        int err = vmem_xalloc(b->vm, a->size, a->align, a->phase, a->nocross,
                              a->min, a->max, a->flags, &addr);

        kva_posix_catch_end(&c);
        if (bad) {
            FAIL("not reported: %s", text);
        }
        CHECK(err == 0 || err == KVA_ENOMEM ||
              (err == KVA_EAGAIN && (a->flags & VM_ONESTEP) != 0));
        if (err == 0) {
            vmem_xfree(b->vm, addr, a->size);
        }
        return false;
    }
    if (!bad) {
        FAIL("reported, and all is right: %s", c.message);
    }
    CHECK_STR(c.message, text);
    CHECK_EQ(c.locks, 0);
    return true;
}

/* ---- every combination -------------------------------------------------- */

/* Values of each argument, in quanta or as they are; right ones first. */
struct values {
    size_t size[8], align[9], phase[9], nocross[8];
    vm_flag_t flags[9];
};

static struct values
values_for(size_t q)
{
    return (struct values){
        { q, 3 * q, q + 1, 0, SIZE_MAX, SIZE_MAX - q + 2, SIZE_MAX - q + 1, 2 },
        { 0, q, 2 * q, 8 * q, 1, 3 * q, 2 * q + 1, SIZE_MAX, q + q / 2 },
        { 0, q, 2 * q, 7 * q, 8 * q, 1, q + 1, SIZE_MAX, q / 2 },
        { 0, 4 * q, 64 * q, q, 3 * q, 1, SIZE_MAX, 2 * q },
        { VM_NOSLEEP, VM_NOSLEEP | VM_BESTFIT, VM_NOSLEEP | VM_POPULATING, 0,
          VM_SLEEP | VM_NOSLEEP, VM_NOSLEEP | FITS, VM_NOSLEEP | VM_BOOTSTRAP,
          VM_NOSLEEP | 0x80000000u, VM_BESTFIT },
    };
}

static void
windows_for(const struct scene *s, unsigned i, struct arguments *a)
{
    uintptr_t mid = s->origin + 16 * s->top.quantum;
    const struct {
        uintptr_t min, max;
    } windows[] = {
        { VMEM_ADDR_MIN, VMEM_ADDR_MAX },
        { mid, mid },
        { mid + 1, mid },
        { VMEM_ADDR_MAX, 0 },
        { mid, mid + 2 * s->top.quantum - 1 },
    };

    a->min = windows[i].min;
    a->max = windows[i].max;
}

/* 8 * 9 * 9 * 8 * 9 * 5 combinations, each with one outcome. */
#define COMBINATIONS (8ul * 9 * 9 * 8 * 9 * 5)

static void
combination(const struct scene *s, unsigned long n, struct arguments *a)
{
    struct values v = values_for(s->top.quantum);

    a->size = v.size[n % 8];
    n /= 8;
    a->align = v.align[n % 9];
    n /= 9;
    a->phase = v.phase[n % 9];
    n /= 9;
    a->nocross = v.nocross[n % 8];
    n /= 8;
    a->flags = v.flags[n % 9];
    n /= 9;
    windows_for(s, (unsigned)n, a);
}

/* Each step-th combination, the arena looked at after every 64. */
static void
combinations(struct test_ctx *t, const struct scene *s, unsigned long step)
{
    uint64_t before = scene_digest(s);
    unsigned long bad = 0, good = 0, i = 0;

    for (unsigned long n = test_below(t, step); n < COMBINATIONS; n += step) {
        struct arguments a;

        combination(s, n, &a);
        if (try_xalloc(s, &a)) {
            bad++;
        } else {
            good++;
            before = scene_digest(s); /* what is cached may differ */
        }
        if (i++ % 64 == 0) {
            CHECK_EQ(scene_digest(s), before);
        }
    }
    CHECK_EQ(scene_digest(s), before);
    CHECK_GT(bad, 0);
    CHECK(good > 0 || step > 1); /* few are good */
}

/* t->count: the step, so that quick takes a part of them.  All of them for two
 * shapes, with quantum caches and without; fewer for the others. */
static void
every_combination(struct test_ctx *t)
{
    PORT(NULL);
    for (unsigned kind = 0; kind < scene_kinds(); kind++) {
        const struct shape *shape = scene_shape(kind);
        struct scene *s = scene_open(t, kind);
        bool all = !shape->import && shape->cached == (shape->shift > 0);

        for (unsigned i = 0; i < 32; i++) {
            scene_step(t, s);
        }
        combinations(t, s, all ? t->count : 31 * t->count);
        scene_close(s);
    }
}

/* ---- at random ---------------------------------------------------------- */

static size_t
random_size(struct test_ctx *t, size_t quantum)
{
    switch (test_below(t, 4)) {
    case 0:
        return (size_t)test_rand(t);
    case 1:
        return (size_t)test_rand(t) >> test_below(t, sizeof(size_t) * 8);
    case 2:
        return (size_t)1 << test_below(t, sizeof(size_t) * 8);
    default:
        return quantum * test_below(t, 16);
    }
}

static bool
random_arguments(struct test_ctx *t, struct scene *s)
{
    size_t q = s->top.quantum;
    struct arguments a = { .size = q, .max = VMEM_ADDR_MAX };
    uint64_t before;

    a.flags = test_below(t, 4) == 0 ? (vm_flag_t)1 << test_below(t, 32) : 0;
    a.flags |= test_below(t, 16) == 0 ? (vm_flag_t)test_rand(t) : 0;
    a.flags |= VM_NOSLEEP;
    a.flags &= ~(VM_PREPARED | KVA__VM_LENT); /* test_budget.c has these */
    a.size = test_below(t, 2) == 0 ? random_size(t, q) : q;
    a.align = test_below(t, 2) == 0 ? random_size(t, q) : 0;
    a.phase = test_below(t, 2) == 0 ? random_size(t, q) : 0;
    a.nocross = test_below(t, 2) == 0 ? random_size(t, q) : 0;
    if (test_below(t, 2) == 0) {
        a.min = (uintptr_t)random_size(t, q);
        a.max = (uintptr_t)random_size(t, q);
    }
    before = scene_digest(s);
    if (!try_xalloc(s, &a)) {
        return false;
    }
    CHECK_EQ(scene_digest(s), before);
    return true;
}

static void
arguments_at_random(struct test_ctx *t)
{
    scene_instances(t, NULL, random_arguments);
}

/* ---- the functions that take a size and flags --------------------------- */

enum call {
    CALL_ALLOC,
    CALL_XALLOC_ADDR,
    CALL_FREE,
    CALL_XFREE,
    CALLS
};

static const char *const call_names[CALLS] = {
    "vmem_alloc",
    "vmem_xalloc_addr",
    "vmem_free",
    "vmem_xfree",
};

static void
call(vmem_t *vm, enum call what, uintptr_t addr, size_t size, vm_flag_t flags)
{
    switch (what) {
    case CALL_ALLOC:
        (void)vmem_alloc(vm, size, flags, &addr);
        break;
    case CALL_XALLOC_ADDR:
        (void)vmem_xalloc_addr(vm, addr, size, flags);
        break;
    case CALL_FREE:
        vmem_free(vm, addr, size);
        break;
    default:
        vmem_xfree(vm, addr, size);
    }
}

static bool
takes_flags(enum call what)
{
    return what == CALL_ALLOC || what == CALL_XALLOC_ADDR;
}

static bool
bad_size_or_flags(struct test_ctx *t, struct scene *s)
{
    enum call what = (enum call)test_below(t, CALLS);
    size_t q = s->top.quantum, size = q * (1 + test_below(t, 6)), rounded;
    uintptr_t at = s->origin + q * test_below(t, SCENE_QUANTA), named = at;
    vm_flag_t flags = VM_NOSLEEP;
    char part[KVA_MESSAGE_MAX];
    const char *text;
    uint64_t before;

    if (!takes_flags(what) || test_below(t, 2) == 0) {
        size = test_below(t, 2) == 0 || q == 1
                   ? 0
                   : SIZE_MAX - test_below(t, q - 1);
    }
    if (takes_flags(what) && test_below(t, 2) == 0) {
        flags = test_below(t, 2) == 0
                    ? (vm_flag_t)test_rand(t) >> test_below(t, 32)
                    : VM_NOSLEEP | ((vm_flag_t)test_rand(t) &
                                    (REQUEST_FLAGS & ~VM_SLEEP));
        flags &= ~(VM_PREPARED | KVA__VM_LENT);
    }
    rounded = size;
    text = size_text(&rounded, q, part);
    if (what == CALL_ALLOC || text == NULL) {
        named = 0; /* what is wrong has no address */
    }
    if (text == NULL && takes_flags(what)) {
        text = flags_text(flags, (s->flags & VM_INDEX) != 0, part);
    }
    if (text == NULL) {
        return false;
    }
    before = scene_digest(s);
    CHECK_PANIC(call(s->top.vm, what, at, size, flags),
                "%s: arena top: 0x%lx: %s", call_names[what],
                (unsigned long)named, text);
    CHECK_EQ(scene_digest(s), before);
    return true;
}

/* A request that a magazine would serve. */
static void
bad_flags_on_the_hit_path(struct test_ctx *t)
{
    static const struct {
        vm_flag_t flags;
        const char *what;
    } bad[] = {
        { 0, "one of VM_SLEEP and VM_NOSLEEP" },
        { VM_SLEEP | VM_NOSLEEP, "one of VM_SLEEP and VM_NOSLEEP" },
        { VM_NOSLEEP | FITS, "one of VM_INSTANTFIT and VM_BESTFIT" },
        { VM_NOSLEEP | VM_FIRSTFIT | VM_NEXTFIT, "one kind of fit" },
        { VM_NOSLEEP | VM_BESTFIT | VM_NEXTFIT, "one kind of fit" },
        { VM_NOSLEEP | VM_FIRSTFIT | VM_ENDALLOC, "one kind of fit" },
        { VM_NOSLEEP | VM_FIRSTFIT,
          "an arena with VM_INDEX for first and next fit" },
        { VM_NOSLEEP | VM_NEXTFIT,
          "an arena with VM_INDEX for first and next fit" },
        { VM_NOSLEEP | VM_INDEX, "flags for a request" },
    };
    vmem_t *vm;
    uintptr_t addr = 0;

    (void)t;
    PORT(NULL);
    vm = cached_arena();
    for (unsigned i = 0; i < KVA_COUNT(bad); i++) {
        vmem_free(vm, get(vm, Q), Q);
        CHECK_MISUSE(vm, (void)vmem_alloc(vm, Q, bad[i].flags, &addr),
                     "vmem_alloc: arena cached: 0x0: expected %s, found flags "
                     "0x%x",
                     bad[i].what, bad[i].flags);
    }
    vmem_destroy(vm);
}

static void
sizes_and_flags_at_random(struct test_ctx *t)
{
    scene_instances(t, NULL, bad_size_or_flags);
}

/* ---- by name ------------------------------------------------------------ */

static void
bad_size(struct test_ctx *t)
{
    vmem_t *vm;
    uintptr_t addr = 0;

    (void)t;
    PORT(NULL);
    for (unsigned k = 0; k < 2; k++) {
        vm = k == 0 ? plain_arena() : cached_arena();
#define BAD(func, expr, at, size, what)                                        \
    CHECK_MISUSE(vm, expr,                                                     \
                 "%s: arena %s: 0x%lx: expected a size %s, found "             \
                 "size %zu",                                                   \
                 func, k == 0 ? "plain" : "cached", (unsigned long)(at), what, \
                 (size_t)(size))
#define EACH(size, what)                                                     \
    BAD("vmem_alloc", (void)vmem_alloc(vm, size, NOSLEEP, &addr), 0, size,   \
        what);                                                               \
    BAD("vmem_free", vmem_free(vm, BASE, size), BASE, size, what);           \
    BAD("vmem_xalloc",                                                       \
        (void)vmem_xalloc(vm, size, 0, 0, 0, 0, VMEM_ADDR_MAX, NOSLEEP,      \
                          &addr),                                            \
        0, size, what);                                                      \
    BAD("vmem_xalloc_addr", (void)vmem_xalloc_addr(vm, BASE, size, NOSLEEP), \
        BASE, size, what);                                                   \
    BAD("vmem_xfree", vmem_xfree(vm, BASE, size), BASE, size, what)
        EACH(0, "above 0");
        EACH(SIZE_MAX, "that can be rounded up to the quantum 4096");
        EACH(SIZE_MAX - Q + 2, "that can be rounded up to the quantum 4096");
        /* The largest that can be rounded is legal, and refused. */
        CHECK_EQ(vmem_alloc(vm, SIZE_MAX - Q + 1, NOSLEEP, &addr), KVA_ENOMEM);
        CHECK_MISUSE(
            vm, (void)vmem_xalloc_addr(vm, BASE, SIZE_MAX - Q + 1, NOSLEEP),
            "vmem_xalloc_addr: arena %s: 0x%lx: expected whole "
            "quanta that do not wrap, found size %zu",
            k == 0 ? "plain" : "cached", (unsigned long)BASE, SIZE_MAX - Q + 1);
        vmem_destroy(vm);
    }
}

static void
bad_constraints(struct test_ctx *t)
{
    vmem_t *vm;
    uintptr_t addr = 0;

    (void)t;
    PORT(NULL);
    vm = cached_arena();
#define XBAD(size, align, phase, nocross, min, max, ...)                      \
    CHECK_MISUSE(vm,                                                          \
                 (void)vmem_xalloc(vm, size, align, phase, nocross, min, max, \
                                   NOSLEEP, &addr),                           \
                 __VA_ARGS__)
#define HEAD "vmem_xalloc: arena cached: 0x0: expected "
    XBAD(Q, 3 * Q, 0, 0, 0, VMEM_ADDR_MAX,
         HEAD "align 0 or a power of two, found align 12288");
    XBAD(Q, Q + 1, 0, 0, 0, VMEM_ADDR_MAX,
         HEAD "align 0 or a power of two, found align 4097");
    XBAD(Q, SIZE_MAX, 0, 0, 0, VMEM_ADDR_MAX,
         HEAD "align 0 or a power of two, found align %zu", SIZE_MAX);
    XBAD(Q, 2 * Q, 2 * Q, 0, 0, VMEM_ADDR_MAX,
         HEAD "phase below align 8192, found phase 8192");
    XBAD(Q, 0, Q, 0, 0, VMEM_ADDR_MAX,
         HEAD "phase below align 4096, found phase 4096");
    XBAD(Q, 2 * Q, SIZE_MAX, 0, 0, VMEM_ADDR_MAX,
         HEAD "phase below align 8192, found phase %zu", SIZE_MAX);
    XBAD(Q, 2 * Q, 7, 0, 0, VMEM_ADDR_MAX,
         HEAD "phase a multiple of the quantum 4096, found phase 7");
    XBAD(Q, 0, 0, 3 * Q, 0, VMEM_ADDR_MAX,
         HEAD "nocross 0 or a power of two, found nocross 12288");
    XBAD(2 * Q, 0, 0, Q, 0, VMEM_ADDR_MAX,
         HEAD "nocross of at least size 8192, found nocross 4096");
    XBAD(Q + 1, 0, 0, Q, 0, VMEM_ADDR_MAX,
         HEAD "nocross of at least size 8192, found nocross 4096");
    XBAD(Q, 0, 0, 1, 0, VMEM_ADDR_MAX,
         HEAD "nocross of at least size 4096, found nocross 1");
    XBAD(Q, 0, 0, 0, BASE + 1, BASE,
         "vmem_xalloc: arena cached: 0x%lx: expected minaddr at most maxaddr "
         "0x%lx, found more",
         (unsigned long)(BASE + 1), (unsigned long)BASE);
    XBAD(Q, 0, 0, 0, VMEM_ADDR_MAX, 0,
         "vmem_xalloc: arena cached: 0x%lx: expected minaddr at most maxaddr "
         "0x0, found more",
         (unsigned long)VMEM_ADDR_MAX);
    /* At the edge and legal: refused for want of room, or granted. */
    CHECK_EQ(vmem_xalloc(vm, Q, 0, 0, 0, 7, 7, NOSLEEP, &addr), KVA_ENOMEM);
    CHECK_EQ(vmem_xalloc(vm, Q, 16, 0, Q, BASE, BASE + Q - 1, NOSLEEP, &addr),
             0);
    CHECK_EQ(addr, BASE);
    vmem_xfree(vm, addr, Q);
    vmem_destroy(vm);
}

static void
bad_flags(struct test_ctx *t)
{
    static const struct {
        vm_flag_t flags;
        const char *what;
    } bad[] = {
        { 0, "one of VM_SLEEP and VM_NOSLEEP" },
        { VM_SLEEP | VM_NOSLEEP, "one of VM_SLEEP and VM_NOSLEEP" },
        { VM_BESTFIT, "one of VM_SLEEP and VM_NOSLEEP" },
        { VM_NOSLEEP | VM_BESTFIT | VM_INSTANTFIT,
          "one of VM_INSTANTFIT and VM_BESTFIT" },
        { VM_NOSLEEP | VM_PRIVTAGS, "flags for a request" },
        { VM_NOSLEEP | 0x80000000u, "flags for a request" },
        { VM_NOSLEEP | 8, "flags for a request" },
    };
    uintptr_t addr = 0;

    (void)t;
    PORT(NULL);
    for (unsigned i = 0; i < KVA_COUNT(bad); i++) {
        vmem_t *vm = cached_arena();

        for (size_t n = 1; n <= 9; n += 4) { /* cached, and not */
            vmem_free(vm, get(vm, n * Q), n * Q);
            CHECK_MISUSE(vm, (void)vmem_alloc(vm, n * Q, bad[i].flags, &addr),
                         "vmem_alloc: arena cached: 0x0: expected %s, found "
                         "flags 0x%x",
                         bad[i].what, bad[i].flags);
        }
        CHECK_MISUSE(vm,
                     (void)vmem_xalloc(vm, Q, 0, 0, 0, 0, VMEM_ADDR_MAX,
                                       bad[i].flags, &addr),
                     "vmem_xalloc: arena cached: 0x0: expected %s, found "
                     "flags 0x%x",
                     bad[i].what, bad[i].flags);
        CHECK_MISUSE(vm, (void)vmem_xalloc_addr(vm, BASE, Q, bad[i].flags),
                     "vmem_xalloc_addr: arena cached: 0x0: expected %s, "
                     "found flags 0x%x",
                     bad[i].what, bad[i].flags);
        vmem_destroy(vm);
    }
}

const struct test vmem_arguments_tests[] = {
    TEST("misuse", bad_size),
    TEST("misuse", bad_constraints),
    TEST("misuse", bad_flags),
    TEST("misuse", bad_flags_on_the_hit_path),
    TEST_COUNT("misuse", every_combination, 61, 1, 1),
    TEST_COUNT("misuse", arguments_at_random, 500, 10000, 100000),
    TEST_COUNT("misuse", sizes_and_flags_at_random, 500, 10000, 100000),
    TEST_END
};
