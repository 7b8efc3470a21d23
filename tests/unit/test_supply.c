/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole tower on frames of the page supply, metadata included: arenas get
 * their tags from pages that come out of an arena, and nothing recurses, no
 * lock is taken out of order, and at the end every frame is back.
 */
#include <string.h>
#include <sys/mman.h>

#include "kmem/kmem.h"
#include "port/pages/pages.h"
#include "tests/harness/test.h"
#include "tests/unit/tower.h"

#define P KVA_PAGE_SIZE
#define SPACE ((size_t)64 << 20)

static char *direct; /* memory of each frame, for the supply */

static void
direct_free(void *arg)
{
    (void)munmap(arg, SPACE);
}

static struct kva_pages_stat
supply(void)
{
    struct kva_pages_stat st;

    kva_pages_stat(&st);
    return st;
}

/* frames: how much memory the machine has. */
static void
machine_start(struct test_ctx *t, size_t frames, size_t reserve)
{
    static const struct kva_posix_supply hooks = { kva_pages_get, kva_pages_put,
                                                   kva_pages_meta_get,
                                                   kva_pages_meta_put,
                                                   kva_pages_contig };
    struct kva_posix_config config = { .va_bytes = SPACE, .cpus = 4 };
    struct kva_pages_range map[3];
    struct kva_pages_boot pb = { .map = map, .nmap = 3, .reserve = reserve };
    kva_pa_t first;
    size_t n;

    PORT(&config);
    kva_posix_lock_check(true);
    kva_posix_frames(&first, &n);
    CHECK_GE(n, frames);
    direct = mmap(NULL, SPACE, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(direct != MAP_FAILED);
    test_defer(t, direct_free, direct);
    map[0] = (struct kva_pages_range){ first, frames * P, true };
    map[1] = (struct kva_pages_range){ first + 77 * P, 3 * P, false };
    map[2] = (struct kva_pages_range){ first + 999 * P, 9 * P, false };
    pb.direct_va = (uintptr_t)direct;
    pb.direct_pa = first;
    pb.direct_bytes = SPACE;
    CHECK_EQ(kva_pages_init(&pb), 0);
    kva_posix_supply_set(&hooks);
}

static int
tower_boot(void)
{
    struct kva_boot boot = { .va_base = kva_posix_va_base(),
                             .va_bytes = kva_posix_va_bytes(),
                             .intr_bytes = 16 * P };
    int err = kva_boot(&boot);

    return err != 0 ? err : kva_start();
}

static void
everything_is_back(void)
{
    struct kva_posix_stats st;

    CHECK_PTR(kva_pages_check(), NULL);
    kva_shutdown();
    kva_posix_stats_get(&st);
    CHECK_EQ(st.frames, 0);
    CHECK_EQ(st.attached_pages, 0);
    CHECK_EQ(supply().held, st.meta_pages);
    CHECK_EQ(kva_pages_fini(), 0);
    kva_posix_stats_get(&st);
    CHECK_EQ(st.meta_pages, 0);
    kva_posix_supply_set(NULL);
}

/* ---- objects ------------------------------------------------------------ */

#define LIVE 2000

static struct {
    void *p;
    size_t size;
    unsigned mark;
} object[LIVE];

static void
object_put(unsigned k)
{
    CHECK(tower_intact(object[k].p, object[k].size, object[k].mark));
    kva_kmem_free(object[k].p, object[k].size);
    object[k].p = NULL;
}

/* False: there was no memory. */
static bool
object_get(struct test_ctx *t, unsigned k)
{
    size_t most = test_rand_below(t, 16) == 0 ? 60000 : 900;

    object[k].size = 1 + (size_t)test_rand_below(t, most);
    object[k].mark = (unsigned)test_rand(t);
    object[k].p = kva_kmem_alloc(object[k].size, KVA_KM_NOSLEEP);
    if (object[k].p != NULL) {
        tower_fill(object[k].p, object[k].size, object[k].mark);
    }
    return object[k].p != NULL;
}

static unsigned
objects_play(struct test_ctx *t, unsigned long steps)
{
    unsigned failed = 0;

    for (unsigned long i = 0; i < steps; i++) {
        unsigned k = (unsigned)test_rand_below(t, LIVE);

        if (object[k].p != NULL) {
            object_put(k);
        } else {
            failed += !object_get(t, k);
        }
    }
    return failed;
}

static void
objects_end(void)
{
    for (unsigned k = 0; k < LIVE; k++) {
        if (object[k].p != NULL) {
            object_put(k);
        }
    }
    tower_check();
    kva_kmem_fini();
    (void)kva_pool_drain_all();
    CHECK_EQ(kva_vmem_size(kva_kmem_arena, VMEM_ALLOC | VMEM_FREE), 0);
}

static void
tower_stands_on_it(struct test_ctx *t)
{
    machine_start(t, 12000, 0);
    CHECK_EQ(tower_boot(), 0);
    kva_kmem_init();
    CHECK_EQ(objects_play(t, t->count), 0);
    CHECK_GT(supply().held, 100);
    CHECK_PTR(kva_pages_check(), NULL);
    objects_end();
    everything_is_back();
}

/* The machine is too small for what is asked: requests fail, none is lost, and
 * what may use the reserve can. */
static void
tower_runs_out(struct test_ctx *t)
{
    kva_pa_t pa;

    machine_start(t, 700, 16);
    CHECK_EQ(tower_boot(), 0);
    kva_kmem_init();
    CHECK_GT(objects_play(t, t->count), 0);
    CHECK_EQ(kva_pages_get(1, KVA_PAGE_RESERVE, &pa), 0);
    kva_pages_put(1, pa);
    CHECK_PTR(kva_pages_check(), NULL);
    objects_end();
    everything_is_back();
}

/* Each hook that may fail does at its nth chance, while the tower starts. */
static void
boot_fails_at_each_site(struct test_ctx *t)
{
    unsigned long nth = 0, fired = 1;

    machine_start(t, 4000, 0);
    while (fired > 0) {
        kva_posix_fault_reset();
        kva_posix_fault_arm(KVA_POSIX_ANY, ++nth, false);
        (void)tower_boot();
        fired = kva_posix_fault_fired(KVA_POSIX_ANY);
        kva_posix_fault_disarm(KVA_POSIX_ANY);
        kva_shutdown();
        CHECK_PTR(kva_pages_check(), NULL);
    }
    CHECK_GT(nth, 3);
    CHECK_EQ(tower_boot(), 0);
    everything_is_back();
}

const struct test supply_tests[] = {
    TEST_COUNT("supply", tower_stands_on_it, 8000, 200000, 3000000),
    TEST_COUNT("supply", tower_runs_out, 8000, 200000, 3000000),
    TEST("supply", boot_fails_at_each_site), TEST_END
};
