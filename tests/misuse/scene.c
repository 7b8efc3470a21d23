/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arenas to be misused, and the books that tell what a misuse must report.
 */
#include "tests/misuse/scene.h"

#include <stdio.h>
#include <string.h>

/* Instances in one scene, and legal operations between two at most. */
#define PER_SCENE 16u
#define STEPS_BETWEEN 6u
/* Operations until a place for an instance turns up; far more than it takes. */
#define STEPS_MAX 10000u

/* With checks at flush quantum caches find nothing at the call
 * (vmem_at_flush.c), so there are none. */
#define CACHED (KVA_CONFIG_CHECKS != 0)

static const struct shape shapes[] = {
    { "plain, pages", 12, false, false, 0, false },
    { "plain, bytes", 0, false, false, 0, false },
    { "cached, pages", 12, CACHED, false, 0, false },
    { "cached, bytes", 0, CACHED, false, 0, false },
    { "import, pages", 12, false, true, 0, false },
    { "import, bytes", 0, false, true, 0, false },
    { "large import", 4, false, true, VM_LARGEIMPORT, false },
    { "cached import", 12, CACHED, true, 0, false },
    { "cached import, bytes", 0, CACHED, true, VM_LARGEIMPORT, false },
    { "private tags", 12, false, false, VM_PRIVTAGS, true },
};

/* Flags that every shape is created with, one row after the other; but an index
 * takes metadata, so it does not go with a caller's tags. */
static const vm_flag_t flag_rows[] = {
    0,
    VM_INDEX,
};

/* For the import function, which is told its source and nothing else. */
static struct scene scene;

unsigned
scene_kinds(void)
{
    return (unsigned)(KVA_COUNT(shapes) * KVA_COUNT(flag_rows));
}

const struct shape *
scene_shape(unsigned kind)
{
    return &shapes[kind % KVA_COUNT(shapes)];
}

/* ---- books -------------------------------------------------------------- */

static void
add(struct range *r, unsigned *n, uintptr_t addr, size_t size, bool x)
{
    CHECK_LT(*n, BOOK_MAX);
    r[(*n)++] = (struct range){ addr, size, x };
}

/* Keeps the order: spans are listed as they came. */
static void
drop(struct range *r, unsigned *n, uintptr_t addr, size_t size)
{
    for (unsigned i = 0; i < *n; i++) {
        if (r[i].addr == addr && r[i].size == size) {
            memmove(&r[i], &r[i + 1], (--*n - i) * sizeof(*r));
            return;
        }
    }
    FAIL("0x%zx of %zu is given back, and is not in the book", (size_t)addr,
         size);
}

/* A range handed out lies in one span, and nobody else has any of it. */
static void
add_live(struct book *b, uintptr_t addr, size_t size, bool x)
{
    const struct range *span = book_span(b, addr);
    uintptr_t last = addr + (size - 1);

    if (span == NULL || last < addr || book_span(b, last) != span) {
        FAIL("arena %s hands out 0x%zx of %zu, which is in no span", b->name,
             (size_t)addr, size);
    }
    for (unsigned i = 0; i < b->nlive; i++) {
        if (b->live[i].addr <= last &&
            b->live[i].addr + (b->live[i].size - 1) >= addr) {
            FAIL("arena %s hands out 0x%zx of %zu, which is live", b->name,
                 (size_t)addr, size);
        }
    }
    add(b->live, &b->nlive, addr, size, x);
}

/* ---- making ------------------------------------------------------------- */

static int
import(vmem_t *source, vmem_size_t size, vm_flag_t flags, vmem_addr_t *addr)
{
    int err = vmem_alloc(source, size, flags, addr);

    if (err == 0) {
        add_live(&scene.below, *addr, size, false);
        add(scene.top.span, &scene.top.nspan, *addr, size, false);
    }
    return err;
}

static void
release(vmem_t *source, vmem_addr_t addr, vmem_size_t size)
{
    drop(scene.below.live, &scene.below.nlive, addr, size);
    drop(scene.top.span, &scene.top.nspan, addr, size);
    vmem_free(source, addr, size);
}

static void
add_span(struct book *b, uintptr_t addr, size_t size)
{
    CHECK_EQ(vmem_add(b->vm, addr, size, NOSLEEP), 0);
    add(b->span, &b->nspan, addr, size, false);
}

static void
make(struct book *b, const char *name, size_t quantum, size_t qcache_max,
     vm_flag_t flags)
{
    b->vm = vmem_create(name, 0, 0, quantum, NULL, NULL, NULL, qcache_max,
                        NOSLEEP | flags, KVA_IPL_NONE);
    CHECK(b->vm != NULL);
}

/* Three spans: two that touch, and one behind a gap. */
static void
add_spans(struct test_ctx *t, struct scene *s)
{
    size_t q = s->top.quantum;
    size_t edge = 64 + test_below(t, 64), gap = 1 + test_below(t, 16);
    size_t last = 160 + test_below(t, 32);

    add_span(&s->top, s->origin, edge * q);
    add_span(&s->top, s->origin + edge * q, (last - gap - edge) * q);
    add_span(&s->top, s->origin + last * q, (SCENE_QUANTA - last) * q);
}

static uintptr_t
place(struct test_ctx *t, unsigned shift)
{
    switch (test_below(t, 3)) {
    case 0:
        return 0;
    case 1:
        return 0 - ((uintptr_t)SCENE_QUANTA << shift);
    default: /* aligned to nothing but the quantum */
        return (uintptr_t)0x30003 << shift;
    }
}

struct scene *
scene_open(struct test_ctx *t, unsigned kind)
{
    struct scene *s = &scene;
    const struct shape *shape = scene_shape(kind);
    size_t quantum = (size_t)1 << shape->shift;
    vm_flag_t flags;

    memset(s, 0, sizeof(*s));
    s->shape = shape;
    s->flags = flag_rows[kind / KVA_COUNT(shapes)];
    s->origin = place(t, shape->shift);
    s->top.name = "top";
    s->below.name = "below";
    s->other.name = "other";
    s->top.quantum = s->below.quantum = s->other.quantum = quantum;
    if (shape->private_tags) {
        s->flags &= ~VM_INDEX;
    }
    flags = shape->flags | s->flags;
    if (shape->private_tags) {
        s->top.vm = vmem_init(&s->store, "top", 0, 0, quantum, NULL, NULL, NULL,
                              0, NOSLEEP | flags, KVA_IPL_NONE);
        CHECK(s->top.vm != NULL);
        CHECK_EQ(vmem_add_bts(s->top.vm, s->bts, SCENE_BTS), 0);
    } else if (shape->import) {
        make(&s->below, "below", quantum, 0, s->flags);
        add_span(&s->below, s->origin, SCENE_QUANTA * quantum);
        s->top.vm =
            vmem_create("top", 0, 0, quantum, import, release, s->below.vm,
                        shape->cached ? SCENE_QCACHE * quantum : 0,
                        NOSLEEP | flags, KVA_IPL_NONE);
        CHECK(s->top.vm != NULL);
    } else {
        make(&s->top, "top", quantum,
             shape->cached ? SCENE_QCACHE * quantum : 0, flags);
    }
    if (!shape->import) {
        add_spans(t, s);
    }
    make(&s->other, "other", quantum, shape->cached ? 4 * quantum : 0,
         s->flags);
    add_span(&s->other, s->origin ^ (uintptr_t)0x1000 << shape->shift,
             SCENE_QUANTA * quantum);
    return s;
}

void
scene_free(struct book *b, unsigned k)
{
    struct range l = b->live[k];

    b->live[k] = b->live[--b->nlive];
    if (l.x) {
        vmem_xfree(b->vm, l.addr, l.size);
    } else {
        vmem_free(b->vm, l.addr, l.size);
    }
}

void
scene_close(struct scene *s)
{
    struct book *books[] = { &s->other, &s->top, &s->below };

    for (unsigned i = 0; i < KVA_COUNT(books); i++) {
        if (books[i]->vm == NULL) {
            continue;
        }
        while (books[i]->nlive > 0) {
            scene_free(books[i], books[i]->nlive - 1);
        }
        vmem_destroy(books[i]->vm);
    }
    CHECK_PTR(kva_vmem_list, NULL);
}

/* ---- legal operations --------------------------------------------------- */

void
scene_drain(struct scene *s)
{
    (void)vmem_drain(s->top.vm, SIZE_MAX, 0);
    (void)vmem_drain(s->other.vm, SIZE_MAX, 0);
}

/* A range from vmem_xalloc, constrained half of the time. */
static int
step_xalloc(struct test_ctx *t, struct book *b, size_t size, uintptr_t *addr)
{
    size_t align = test_below(t, 2) == 0 ? 0 : b->quantum << test_below(t, 5);
    size_t phase = align < 2 * b->quantum
                       ? 0
                       : b->quantum * test_below(t, align / b->quantum);
    size_t nocross = test_below(t, 2) == 0 ? 0 : 32 * b->quantum;

    return vmem_xalloc(
        b->vm, size, align, phase, nocross, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
        NOSLEEP | (test_below(t, 2) == 0 ? VM_BESTFIT : VM_INSTANTFIT), addr);
}

void
scene_step(struct test_ctx *t, struct scene *s)
{
    struct book *b = test_below(t, 4) == 0 ? &s->other : &s->top;
    size_t op = test_below(t, 33), size, given;
    uintptr_t addr = 0;
    bool x = op < 7;
    int err;

    if (op == 32) {
        scene_drain(s);
    } else if (op < 18 && b->nlive < SCENE_LIVE) {
        size = (1 + test_below(t, test_below(t, 4) == 0 ? 20 : 6)) * b->quantum;
        given = size - test_below(t, b->quantum);
        if (op < 2) {
            addr = s->origin + test_below(t, SCENE_QUANTA - 20) * b->quantum;
            err = vmem_xalloc_addr(b->vm, addr, given, NOSLEEP);
        } else if (x) {
            err = step_xalloc(t, b, given, &addr);
        } else {
            err = vmem_alloc(b->vm, given, NOSLEEP, &addr);
        }
        if (err == 0) {
            add_live(b, addr, size, x);
        } else {
            CHECK_EQ(err, KVA_ENOMEM);
        }
    } else if (b->nlive > 0) {
        scene_free(b, (unsigned)test_below(t, b->nlive));
    }
}

/* ---- misuse ------------------------------------------------------------- */

uint64_t
scene_digest(const struct scene *s)
{
    uint64_t d = digest(s->top.vm) * 31 + digest(s->other.vm);

    return s->below.vm == NULL ? d : d * 31 + digest(s->below.vm);
}

bool
scene_bad_free(struct scene *s, struct book *b, enum way way, uintptr_t addr,
               size_t size)
{
    char text[KVA_MESSAGE_MAX];
    struct kva_posix_catch c;
    uint64_t before;

    if (!book_message(b, way, addr, size, text)) {
        return false;
    }
    before = scene_digest(s);
    if (KVA_POSIX_TRY(&c)) {
        if (way == BY_XFREE) {
            vmem_xfree(b->vm, addr, size);
        } else {
            vmem_free(b->vm, addr, size);
        }
        kva_posix_catch_end(&c);
        FAIL("%s: not reported: %s", s->shape->name, text);
    }
    CHECK_STR(c.message, text);
    CHECK_EQ(c.locks, 0);
    CHECK_EQ(kva_posix_locks_held(), 0);
    CHECK_EQ(scene_digest(s), before);
    return true;
}

/* One instance, after as many legal operations as it takes. */
static void
instance(struct test_ctx *t, struct scene *s, scene_one_t *one)
{
    for (unsigned n = (unsigned)test_below(t, STEPS_BETWEEN); n > 0; n--) {
        scene_step(t, s);
    }
    for (unsigned n = 0; !one(t, s); n++) {
        if (n == STEPS_MAX) {
            FAIL("%s: no place for an instance", s->shape->name);
        }
        scene_step(t, s);
    }
}

void
scene_instances(struct test_ctx *t, scene_takes_t *takes, scene_one_t *one)
{
    unsigned long done = 0;

    PORT(NULL);
    for (unsigned kind = 0; done < t->count;
         kind = (kind + 1) % scene_kinds()) {
        struct scene *s;

        if (takes != NULL && !takes(scene_shape(kind))) {
            continue;
        }
        s = scene_open(t, kind);
        for (unsigned i = 0; i < 2 * PER_SCENE; i++) {
            scene_step(t, s);
        }
        for (unsigned i = 0; i < PER_SCENE && done < t->count; i++, done++) {
            instance(t, s, one);
        }
        scene_close(s);
    }
}

/* ---- arenas with addresses that are known ------------------------------- */

vmem_t *
plain_arena(void)
{
    vmem_t *vm = vmem_create("plain", BASE, 256 * Q, Q, NULL, NULL, NULL, 0,
                             NOSLEEP, KVA_IPL_NONE);

    CHECK(vm != NULL);
    return vm;
}

vmem_t *
cached_arena(void)
{
    vmem_t *vm = vmem_create("cached", BASE, 256 * Q, Q, NULL, NULL, NULL,
                             CACHED ? 8 * Q : 0, NOSLEEP, KVA_IPL_NONE);

    CHECK(vm != NULL);
    return vm;
}

uintptr_t
get(vmem_t *vm, size_t size)
{
    uintptr_t addr = 0;

    CHECK_EQ(vmem_alloc(vm, size, NOSLEEP, &addr), 0);
    return addr;
}

uintptr_t
xget(vmem_t *vm, size_t size)
{
    uintptr_t addr = 0;

    CHECK_EQ(vmem_xalloc(vm, size, 0, 0, 0, VMEM_ADDR_MIN, VMEM_ADDR_MAX,
                         NOSLEEP, &addr),
             0);
    return addr;
}
