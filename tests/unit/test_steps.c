/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Searches that take steps: what no structure finds at once is found all the
 * same, with the arena unlocked after every 64 holes, whatever happens to holes
 * meanwhile.
 *
 * The host port calls its yield hook where a lock is about to be taken or left.
 * At the second, with the arena's lock held, a test reads how much was visited
 * since the first; at the first, with no lock held, it plays the rest of the
 * world, and frees and allocates in the arena that is being searched.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/harness/test.h"
#include "vmem/search.h"

#define BASE ((uintptr_t)1 << 20)
#define TOP (~(uintptr_t)0)

/* Holes of SIZE bytes that begin one byte past a multiple of it, so that no
 * range of SIZE bytes is aligned in them. */
#define SIZE ((size_t)16)

/* ---- what a step visits ----------------------------------------------- */

struct steps {
    vmem_t *vm;
    size_t last;    /* visits at the last unlock */
    size_t most;    /* between two */
    size_t unlocks; /* of the arena */
};

static void
steps_watch(void *arg, const char *hook)
{
    struct steps *s = arg;
    size_t now = s->vm->stat.search;

    if (strcmp(hook, "unlock") != 0 || kva_posix_locks_held() != 1) {
        return; /* the arena's is the outermost */
    }
    if (now - s->last > s->most) {
        s->most = now - s->last;
    }
    s->last = now;
    s->unlocks++;
}

static void
steps_begin(struct steps *s, vmem_t *vm)
{
    *s = (struct steps){ vm, vm->stat.search, 0, 0 };
    kva_posix_yield_set(steps_watch, s);
}

static void
steps_end(void)
{
    kva_posix_yield_set(NULL, NULL);
}

/* ---- a row of holes that do not do ------------------------------------ */

static size_t
log2_of(size_t n)
{
    size_t log2 = 0;

    for (; n > 1; n /= 2) {
        log2++;
    }
    return log2;
}

/* n holes, the one numbered good beginning on a multiple; n or above: none. */
static vmem_t *
row_new(size_t n, size_t good, vm_flag_t flags)
{
    vmem_t *vm = vmem_create("row", BASE, n * 3 * SIZE + 2 * SIZE, 1, NULL,
                             NULL, NULL, 0, VM_NOSLEEP | flags, KVA_IPL_NONE);
    uintptr_t addr, pos = BASE;

    CHECK(vm != NULL);
    for (size_t i = 0; i < n; i++) {
        size_t lead = SIZE + (i == good ? 0 : 1);

        CHECK_EQ(vmem_alloc(vm, lead, VM_NOSLEEP, &addr), 0);
        CHECK_EQ(addr, pos);
        CHECK_EQ(vmem_xalloc(vm, SIZE, 0, 0, 0, 0, TOP, VM_NOSLEEP, &addr), 0);
        CHECK_EQ(addr, pos + lead);
        CHECK_EQ(vmem_alloc(vm, 2 * SIZE - lead, VM_NOSLEEP, &addr), 0);
        pos += 3 * SIZE;
    }
    CHECK_EQ(vmem_alloc(vm, 2 * SIZE, VM_NOSLEEP, &addr), 0);
    CHECK_EQ(vmem_size(vm, VMEM_FREE), 0);
    for (size_t i = 0; i < n; i++) {
        vmem_xfree(vm, BASE + i * 3 * SIZE + SIZE + (i == good ? 0 : 1), SIZE);
    }
    return vm;
}

static void
row_end(vmem_t *vm)
{
    CHECK_PTR(vmem_check(vm), NULL);
    vmem_xfreeall(vm);
    vmem_destroy(vm);
}

/* Visits of one step: 64 holes; with an index each costs a look-up, whose bound
 * is that of tests of bounds. */
static size_t
step_most(vmem_t *vm)
{
    return vm->index == NULL
               ? KVA__SEARCH_STEP + 1
               : KVA__SEARCH_STEP + 4 * log2_of(vm->nsegments) + 16;
}

static const vm_flag_t kinds[] = { 0, VM_INDEX };
static const vm_flag_t policies[] = { 0, VM_BESTFIT, VM_ENDALLOC };

static int
hard(vmem_t *vm, vm_flag_t flags, uintptr_t *addr)
{
    return vmem_xalloc(vm, SIZE, SIZE, 0, 0, 0, TOP, VM_NOSLEEP | flags, addr);
}

/* Wherever the only hole that does stands, it is found; if there is none, all
 * are looked at before the request is refused. */
static void
steps_are_short_and_complete(struct test_ctx *t)
{
    const size_t n = t->count;
    const size_t good[] = { n, 0, n / 2, n - 1 };

    PORT(NULL);
    for (unsigned i = 0; i < KVA_COUNT(kinds) * KVA_COUNT(good); i++) {
        size_t at = good[i / KVA_COUNT(kinds)];
        vmem_t *vm = row_new(n, at, kinds[i % KVA_COUNT(kinds)]);

        for (unsigned p = 0; p < KVA_COUNT(policies); p++) {
            uintptr_t addr = 0;
            struct steps s;
            int err;

            steps_begin(&s, vm);
            err = hard(vm, policies[p], &addr);
            steps_end();
            CHECK_LE(s.most, step_most(vm));
            CHECK_EQ(err, at < n ? 0 : KVA_ENOMEM);
            if (at == n) {
                CHECK_GE(s.unlocks, n / KVA__SEARCH_STEP);
                continue;
            }
            CHECK_EQ(addr, BASE + at * 3 * SIZE + SIZE);
            vmem_xfree(vm, addr, SIZE);
        }
        row_end(vm);
    }
}

/* VM_ONESTEP: what the first step finds or knows, or else KVA_EAGAIN. */
static void
one_step_alone(struct test_ctx *t)
{
    const size_t n = t->count;

    PORT(NULL);
    for (unsigned k = 0; k < KVA_COUNT(kinds); k++) {
        vmem_t *vm = row_new(n, n, kinds[k]), *few = row_new(20, 20, kinds[k]);
        size_t before = vm->stat.search;
        uintptr_t addr = 1;

        CHECK_EQ(hard(vm, VM_ONESTEP, &addr), KVA_EAGAIN);
        CHECK_LE(vm->stat.search - before, step_most(vm));
        CHECK_EQ(addr, 1);
        CHECK_EQ(vmem_alloc(vm, SIZE, VM_NOSLEEP | VM_ONESTEP, &addr), 0);
        vmem_free(vm, addr, SIZE);
        CHECK_EQ(hard(few, VM_ONESTEP, &addr), KVA_ENOMEM);
        row_end(vm);
        row_end(few);
    }
}

/* ---- while others are at work ----------------------------------------- */

/*
 * Sockets: places where a hole that does may come to be, SIZE bytes on a
 * multiple, each between two busy segments, in two halves or in one piece.  As
 * many holes that do not do stand between each two.  At every moment at which
 * the arena is unlocked one of them is a hole, if any is to be.
 */
#define SOCKETS 16u

struct world {
    struct test_ctx *t;
    vmem_t *vm;
    uintptr_t socket[SOCKETS];
    unsigned open;        /* SOCKETS: none */
    bool busy;            /* the world is at work itself */
    bool searching;       /* a request is on its way */
    size_t live;          /* bytes allocated when it came */
    unsigned long moves;  /* while a search was suspended */
    unsigned long misses; /* noise while it was */
    unsigned left; /* moves to come; a world that never rests hides a hole
                             for ever */
};

static vmem_t *
sockets_new(struct world *w, size_t between, vm_flag_t flags)
{
    vmem_t *vm;
    uintptr_t addr;
    size_t n = SOCKETS * (between + 1);

    vm = vmem_create("world", BASE, n * 3 * SIZE + 2 * SIZE, 1, NULL, NULL,
                     NULL, 0, VM_NOSLEEP | flags, KVA_IPL_NONE);
    CHECK(vm != NULL);
    for (size_t i = 0; i < n; i++) {
        size_t lead = SIZE + (i % (between + 1) == 0 ? 0 : 1);

        CHECK_EQ(vmem_alloc(vm, lead, VM_NOSLEEP, &addr), 0);
        CHECK_EQ(vmem_xalloc(vm, SIZE, 0, 0, 0, 0, TOP, VM_NOSLEEP, &addr), 0);
        if (lead == SIZE) {
            w->socket[i / (between + 1)] = addr;
        }
        CHECK_EQ(vmem_alloc(vm, 2 * SIZE - lead, VM_NOSLEEP, &addr), 0);
    }
    CHECK_EQ(vmem_alloc(vm, 2 * SIZE, VM_NOSLEEP, &addr), 0);
    for (size_t i = 0; i < n; i++) {
        if (i % (between + 1) != 0) {
            vmem_xfree(vm, BASE + i * 3 * SIZE + SIZE + 1, SIZE);
        }
    }
    return vm;
}

/* Free a socket, as a hole at once or one that grows. */
static void
socket_open(struct world *w, unsigned i)
{
    uintptr_t at = w->socket[i];

    if (test_rand_below(w->t, 2) == 0) {
        vmem_xfree(w->vm, at, SIZE);
        return;
    }
    vmem_xfree(w->vm, at, SIZE);
    CHECK_EQ(vmem_xalloc_addr(w->vm, at, SIZE / 2, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xalloc_addr(w->vm, at + SIZE / 2, SIZE / 2, VM_NOSLEEP), 0);
    vmem_xfree(w->vm, at + (i & 1) * SIZE / 2, SIZE / 2);
    vmem_xfree(w->vm, at + ((i & 1) ^ 1) * SIZE / 2, SIZE / 2);
}

/* The hole moves to another socket: the new one is open before the old one is
 * taken. */
static void
hole_move(struct world *w)
{
    unsigned to = (unsigned)test_rand_below(w->t, SOCKETS - 1);

    to += to >= w->open;
    socket_open(w, to);
    CHECK_EQ(vmem_xalloc_addr(w->vm, w->socket[w->open], SIZE, VM_NOSLEEP), 0);
    w->open = to;
}

/* A hole that does not do is taken and comes back; where one does, another
 * comes for a moment and goes in halves, which may send a search back to its
 * beginning. */
static void
noise(struct world *w)
{
    unsigned i = (unsigned)test_rand_below(w->t, SOCKETS);
    uintptr_t at = w->socket[i] + 3 * SIZE + 1;

    CHECK_EQ(vmem_xalloc_addr(w->vm, at, SIZE, VM_NOSLEEP), 0);
    vmem_xfree(w->vm, at, SIZE);
    if (w->open != SOCKETS && i != w->open) {
        vmem_xfree(w->vm, w->socket[i], SIZE);
        CHECK_EQ(vmem_xalloc_addr(w->vm, w->socket[i] + SIZE / 2, SIZE / 2,
                                  VM_NOSLEEP),
                 0);
        CHECK_EQ(vmem_xalloc_addr(w->vm, w->socket[i], SIZE / 2, VM_NOSLEEP),
                 0);
        vmem_xfree(w->vm, w->socket[i] + SIZE / 2, SIZE / 2);
        vmem_xfree(w->vm, w->socket[i], SIZE / 2);
        CHECK_EQ(vmem_xalloc_addr(w->vm, w->socket[i], SIZE, VM_NOSLEEP), 0);
    }
}

static void
world_turns(void *arg, const char *hook)
{
    struct world *w = arg;
    bool suspended = w->vm->searches != NULL;
    bool granted = w->vm->stat.mem_inuse != w->live; /* it may be checked yet */

    if (w->busy || !w->searching || granted || kva_posix_locks_held() != 0 ||
        strcmp(hook, "lock") != 0) {
        return;
    }
    w->busy = true;
    if (w->open == SOCKETS) {
        noise(w);
        w->misses += suspended;
    } else if (w->left > 0 && test_rand_below(w->t, 3) == 0) {
        w->left--;
        hole_move(w);
        w->moves += suspended;
    } else if (test_rand_below(w->t, 3) == 0) {
        noise(w);
        w->misses += suspended;
    }
    w->busy = false;
}

static void
world_once(struct world *w, vm_flag_t policy)
{
    uintptr_t addr = 0;
    int err;

    w->left = 3;
    w->live = w->vm->stat.mem_inuse;
    w->searching = true;
    err = hard(w->vm, policy, &addr);
    w->searching = false;
    if (w->open == SOCKETS) {
        CHECK_EQ(err, KVA_ENOMEM);
        return;
    }
    CHECK_EQ(err, 0);
    CHECK_EQ(addr, w->socket[w->open]);
    vmem_xfree(w->vm, addr, SIZE);
}

static void
found_while_it_moves(struct test_ctx *t)
{
    PORT(NULL);
    for (unsigned k = 0; k < KVA_COUNT(kinds); k++) {
        struct world w = { .t = t, .open = 0 };

        w.vm = sockets_new(&w, 40, kinds[k]);
        vmem_xfree(w.vm, w.socket[0], SIZE);
        kva_posix_yield_set(world_turns, &w);
        for (unsigned long i = 0; i < t->count; i++) {
            world_once(&w, policies[i % KVA_COUNT(policies)]);
        }
        kva_posix_yield_set(NULL, NULL);
        CHECK_GT(w.moves, t->count / 10);
        CHECK_GT(w.misses, t->count / 10);
        row_end(w.vm);
    }
}

/* And where none ever does, the noise does not keep the search from its end. */
static void
refused_while_others_move(struct test_ctx *t)
{
    PORT(NULL);
    for (unsigned k = 0; k < KVA_COUNT(kinds); k++) {
        struct world w = { .t = t, .open = SOCKETS };

        w.vm = sockets_new(&w, 40, kinds[k]);
        kva_posix_yield_set(world_turns, &w);
        for (unsigned long i = 0; i < t->count; i++) {
            world_once(&w, policies[i % KVA_COUNT(policies)]);
        }
        kva_posix_yield_set(NULL, NULL);
        CHECK_GT(w.misses, t->count);
        row_end(w.vm);
    }
}

const struct test steps_tests[] = {
    TEST_COUNT("steps", steps_are_short_and_complete, 1000, 100000, 500000),
    TEST_COUNT("steps", one_step_alone, 1000, 100000, 500000),
    TEST_COUNT("steps", found_while_it_moves, 300, 3000, 100000),
    TEST_COUNT("steps", refused_while_others_move, 100, 1000, 30000), TEST_END
};
