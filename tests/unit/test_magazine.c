/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The magazine layer over a supplier that counts: things are handed out once,
 * none is lost, slots are drained from other CPUs, and an interrupt in the
 * middle takes the locked path.
 */
#include <string.h>

#include "tests/harness/test.h"
#include "vmem/magazine.h"
#include "vmem/meta.h"
#include "vmem/vmem.h"

#define THINGS 4096

/* Hands out 1 to THINGS, each to one at a time. */
static struct supply {
    bool out[THINGS + 1];
    unsigned nout, limit, most;
    unsigned fills, drains;
    void (*inside)(void); /* called within fill */
} supply;

static struct kva__magcache cache;

static unsigned
fill(void *arg, uintptr_t *round, unsigned n, unsigned flags)
{
    unsigned got = 0;

    CHECK_PTR(arg, &supply);
    CHECK_EQ(kva_posix_locks_held(), 0);
    CHECK_EQ(flags, 7);
    supply.fills++;
    if (supply.inside != NULL) {
        supply.inside();
    }
    for (unsigned i = 1; i <= supply.limit && got < n; i++) {
        if (!supply.out[i]) {
            supply.out[i] = true;
            supply.nout++;
            round[got++] = i;
        }
    }
    return got;
}

static void
drain(void *arg, uintptr_t *round, unsigned n)
{
    CHECK_PTR(arg, &supply);
    CHECK_EQ(kva_posix_locks_held(), 0);
    supply.drains++;
    supply.most = n > supply.most ? n : supply.most;
    for (unsigned i = 0; i < n; i++) {
        CHECK(supply.out[round[i]]);
        supply.out[round[i]] = false;
        supply.nout--;
    }
}

static const struct kva__mag_supplier supplier = { fill, drain };

static void
make(unsigned capacity, unsigned capacity_max, unsigned full_max)
{
    memset(&supply, 0, sizeof(supply));
    supply.limit = THINGS;
    kva__magcache_init(&cache, &(struct kva__mag_config){
                                   .name = "test",
                                   .ipl = KVA_IPL_VM,
                                   .words = 1,
                                   .capacity = capacity,
                                   .capacity_max = capacity_max,
                                   .full_max = full_max,
                                   .supplier = &supplier,
                                   .arg = &supply,
                               });
}

static void
start_config(const struct kva_posix_config *config, unsigned capacity,
             unsigned full_max)
{
    PORT(config);
    vmem_bootstrap(NULL, 0);
    kva__mag_set_ncpu(config->cpus);
    make(capacity, capacity, full_max);
}

static void
start(unsigned cpus, unsigned capacity, unsigned full_max)
{
    start_config(&(struct kva_posix_config){ .cpus = cpus }, capacity,
                 full_max);
}

/* As callers do it who have no use for the CPU's number. */
static bool
hit_get(uintptr_t *thing)
{
    unsigned cpu = kva_cpu_enter_hit();
    bool got = kva__mag_get(cache.rows, cpu, 1, thing);

    kva_cpu_exit(cpu);
    return got;
}

static bool
hit_put(uintptr_t thing)
{
    unsigned cpu = kva_cpu_enter_hit();
    bool put = kva__mag_put(cache.rows, cpu, 1, NULL, 0, thing);

    kva_cpu_exit(cpu);
    return put;
}

static bool
get(uintptr_t *thing)
{
    return hit_get(thing) || kva__mag_get_slow(&cache, 7, thing);
}

static void
put(uintptr_t thing)
{
    if (!hit_put(thing)) {
        kva__mag_put_slow(&cache, &thing);
    }
}

static void
finish(unsigned live)
{
    CHECK_EQ(supply.nout, live + kva__magcache_rounds(&cache));
    kva__magcache_fini(&cache);
    CHECK_EQ(supply.nout, live);
    CHECK_EQ(kva__meta_bytes(KVA_META_MAGAZINES), 0);
}

/* Random gets and puts on random CPUs: a thing is somebody's once. */
static void
things_are_handed_out_once(struct test_ctx *t)
{
    static bool live[THINGS + 1];
    static uintptr_t thing[512];

    for (unsigned capacity = 0; capacity <= 16; capacity += 4) {
        unsigned n = 0;

        kva_posix_fini();
        start(8, capacity, 2);
        memset(live, 0, sizeof(live));
        for (unsigned long i = 0; i < t->count; i++) {
            CHECK_EQ(kva_posix_cpu_set((unsigned)test_rand_below(t, 8)), 0);
            if (n < 512 && test_rand_below(t, 2) == 0) {
                CHECK(get(&thing[n]));
                CHECK(supply.out[thing[n]] && !live[thing[n]]);
                live[thing[n++]] = true;
            } else if (n > 0) {
                unsigned k = (unsigned)test_rand_below(t, n);

                live[thing[k]] = false;
                put(thing[k]);
                thing[k] = thing[--n];
            }
            if (test_rand_below(t, 256) == 0) {
                (void)kva__magcache_drain(&cache,
                                          (size_t)test_rand_below(t, 32));
            }
            CHECK_EQ(supply.nout, n + kva__magcache_rounds(&cache));
        }
        finish(n);
    }
}

/* A second get of the same thing comes from the magazine. */
static void
hits_need_no_supplier(struct test_ctx *t)
{
    uintptr_t thing = 0;
    unsigned fills;

    (void)t;
    start(2, 4, 1);
    CHECK(get(&thing));
    put(thing);
    fills = supply.fills;
    for (unsigned i = 0; i < 1000; i++) {
        CHECK(hit_get(&thing));
        CHECK(hit_put(thing));
    }
    CHECK_EQ(supply.fills, fills);
    CHECK_EQ(supply.drains, 0);
    finish(0);
}

static void
nothing_left(struct test_ctx *t)
{
    uintptr_t thing[11];

    (void)t;
    start(2, 4, 1);
    supply.limit = 10;
    for (unsigned i = 0; i < 10; i++) {
        CHECK(get(&thing[i]));
    }
    CHECK(!get(&thing[10]));
    put(thing[3]);
    CHECK(get(&thing[10]));
    CHECK_EQ(thing[10], thing[3]);
    finish(10);
}

/* A put never makes a magazine. */
static void
put_never_allocates(struct test_ctx *t)
{
    static uintptr_t thing[THINGS];
    size_t asked;

    (void)t;
    start(4, 8, 4);
    for (unsigned i = 0; i < THINGS; i++) {
        CHECK(get(&thing[i]));
    }
    asked = kva__meta_requests();
    kva_posix_fault_arm(KVA_POSIX_META_GET, 1, true);
    for (unsigned i = 0; i < THINGS; i++) {
        CHECK_EQ(kva_posix_cpu_set(i % 4), 0);
        put(thing[i]);
    }
    (void)kva__magcache_drain(&cache, 0);
    CHECK_EQ(kva__meta_requests(), asked);
    CHECK_EQ(supply.nout, 0);
    CHECK_LE(supply.most, 16);
    finish(0);
}

static void
fill_slot(unsigned cpu, unsigned n)
{
    uintptr_t thing[16];

    CHECK_EQ(kva_posix_cpu_set(cpu), 0);
    for (unsigned i = 0; i < n; i++) {
        CHECK(get(&thing[i]));
    }
    for (unsigned i = 0; i < n; i++) {
        put(thing[i]);
    }
}

static void
other_slots_are_drained(struct test_ctx *t)
{
    size_t before;

    (void)t;
    start(40, 8, 1); /* more than one block of slots */
    for (unsigned cpu = 0; cpu < 40; cpu++) {
        fill_slot(cpu, 8);
    }
    CHECK_GE(kva__magcache_rounds(&cache), 40 * 8);
    before = supply.nout;
    CHECK_EQ(kva__magcache_drain(&cache, 0), before);
    CHECK_EQ(kva__magcache_rounds(&cache), 0);
    fill_slot(3, 8); /* a drained slot works again */
    fill_slot(5, 8);
    before = supply.nout;
    CHECK_GE(before, 16);
    CHECK_EQ(kva__magcache_drain(&cache, 10), before - 10);
    CHECK_EQ(kva__magcache_rounds(&cache), 10);
    finish(0);
}

/* Without a barrier other slots stay as they are; the own one can be emptied,
 * and ending the cache empties all. */
static void
no_barrier_no_drain(struct test_ctx *t)
{
    size_t before;

    (void)t;
    start(2, 8, 0);
    kva_posix_barrier_enable(false);
    fill_slot(0, 4); /* into the loaded one; a spare can always be taken */
    fill_slot(1, 4);
    before = kva__magcache_rounds(&cache);
    CHECK_GE(before, 8);
    CHECK_EQ(kva__magcache_drain(&cache, 0), 0);
    CHECK_EQ(kva__magcache_rounds(&cache), before);
    CHECK_EQ(kva__magcache_drain_own(&cache), before / 2);
    CHECK_EQ(kva__magcache_rounds(&cache), before / 2);
    fill_slot(0, 8);
    finish(0);
}

static uintptr_t interrupt_thing;

static void
on_interrupt(void *arg)
{
    (void)arg;
    CHECK(get(&interrupt_thing));
    put(interrupt_thing);
}

static void
interrupt_inside(void)
{
    supply.inside = NULL;
    kva_posix_interrupt();
}

/* A CPU is inside its slot, as if the interrupt came in the middle of a get;
 * what was open. */
static uintptr_t
step_inside(unsigned cpu)
{
    uintptr_t *row = kva__mag_row(&cache, cpu), open = row[KVA__MAG_OPEN];

    row[KVA__MAG_OPEN] = (uintptr_t)cache.nobodys;
    return open;
}

static void
step_out(unsigned cpu, uintptr_t open)
{
    kva__mag_row(&cache, cpu)[KVA__MAG_OPEN] = open;
}

/* An interrupt finds its slot busy, and is served all the same. */
static void
interrupts_use_the_locked_path(struct test_ctx *t)
{
    uintptr_t thing = 0, open;

    (void)t;
    start(2, 4, 1);
    kva_posix_interrupt_set(on_interrupt, NULL);
    supply.inside = interrupt_inside;
    CHECK(get(&thing));
    CHECK_NE(interrupt_thing, 0);
    CHECK_NE(interrupt_thing, thing);
    put(thing);
    fill_slot(1, 4);
    CHECK_EQ(kva_posix_cpu_set(1), 0);
    open = step_inside(1);
    interrupt_thing = 0;
    kva_posix_interrupt();
    CHECK_NE(interrupt_thing, 0);
    CHECK_EQ(kva__mag_row(&cache, 1)[KVA__MAG_OPEN], (uintptr_t)cache.nobodys);
    step_out(1, open);
    kva_posix_interrupt_set(NULL, NULL);
    finish(0);
}

/*
 * A drainer gives up on a slot whose owner does not leave.  What was there is
 * withheld from the owner, who hands it in, or goes to the next drainer.  He is
 * looked at a hundred thousand times in vain; were the processor given up each
 * time, a loaded machine would take minutes.
 */
static void
stuck_owners_hand_in(struct test_ctx *t)
{
    const struct kva_posix_config config = { .cpus = 2, .relax_stays = true };

    for (unsigned k = 0; k < 2; k++) {
        uintptr_t open, thing;

        (void)t;
        kva_posix_fini();
        start_config(&config, 8, 1);
        fill_slot(1, 4);
        CHECK_EQ(kva_posix_cpu_set(0), 0);
        open = step_inside(1);
        (void)kva__magcache_drain(&cache, 0);
        step_out(1, open);
        CHECK_EQ(kva__magcache_rounds(&cache), 4);
        if (k == 0) {
            CHECK_EQ(kva__magcache_drain(&cache, 0), 4);
        } else {
            CHECK_EQ(kva_posix_cpu_set(1), 0);
            CHECK(!hit_get(&thing));
            CHECK(get(&thing));
            CHECK_EQ(supply.drains, 1);
            CHECK_EQ(supply.nout, 1 + kva__magcache_rounds(&cache));
            put(thing);
            (void)kva__magcache_drain(&cache, 0);
            CHECK_EQ(supply.nout, 0);
        }
        CHECK_EQ(kva__magcache_rounds(&cache), 0);
        finish(0);
    }
}

/* ---- who works while a drainer is at his slot ------------------------------ */

#define PAIRS 1000u

static struct meanwhile {
    unsigned misses;
    bool closes;
} meanwhile;

/* The drainer gets no further than its barrier for some time: CPU 1 goes on.
 * Then, perhaps, somebody else closes the cache, and passes by what is shut. */
static void
at_barrier(void *arg, const char *hook)
{
    uintptr_t thing = 0;

    (void)arg;
    if (strcmp(hook, "barrier") != 0) {
        return;
    }
    kva_posix_yield_set(NULL, NULL);
    CHECK_EQ(kva_posix_cpu_set(1), 0);
    for (unsigned i = 0; i < PAIRS; i++) {
        if (!hit_get(&thing)) {
            meanwhile.misses++;
            CHECK(kva__mag_get_slow(&cache, 7, &thing));
        }
        if (!hit_put(thing)) {
            meanwhile.misses++;
            kva__mag_put_slow(&cache, &thing);
        }
    }
    if (meanwhile.closes) {
        kva__mag_close(NULL);
    }
    CHECK_EQ(kva_posix_cpu_set(0), 0);
}

/* What is withheld costs its owner one miss, and one more to go on with. */
static void
owners_do_not_wait_for_drainers(struct test_ctx *t)
{
    size_t retain = (size_t)test_rand_below(t, 17), before;

    start(2, 8, 1);
    fill_slot(0, 8);
    fill_slot(1, 1 + (unsigned)test_rand_below(t, 8));
    CHECK_EQ(kva_posix_cpu_set(0), 0);
    before = kva__magcache_rounds(&cache);
    meanwhile = (struct meanwhile){ .misses = 0 };
    kva_posix_yield_set(at_barrier, NULL);
    (void)kva__magcache_drain(&cache, retain);
    if (before > retain) {
        CHECK_GE(meanwhile.misses, 1);
        CHECK_LE(kva__magcache_rounds(&cache), retain + 8);
    }
    CHECK_LE(meanwhile.misses, 2);
    kva_posix_yield_set(NULL, NULL);
    CHECK_EQ(supply.nout, kva__magcache_rounds(&cache));
    (void)kva__magcache_drain(&cache, 0);
    CHECK_EQ(kva__magcache_rounds(&cache), 0);
    finish(0);
}

/* Whoever is at a slot when the cache is closed shuts it once more. */
static void
closed_while_a_drainer_is_at_it(struct test_ctx *t)
{
    (void)t;
    start(2, 8, 1);
    fill_slot(0, 8);
    fill_slot(1, 8);
    CHECK_EQ(kva_posix_cpu_set(0), 0);
    meanwhile = (struct meanwhile){ .closes = true };
    kva_posix_yield_set(at_barrier, NULL);
    (void)kva__magcache_drain(&cache, 8);
    CHECK_GE(meanwhile.misses, 1);
    CHECK_EQ(kva__magcache_rounds(&cache), 0);
    CHECK_EQ(supply.nout, 0);
    kva__mag_open(NULL);
    finish(0);
}

/* No memory for slots or magazines: every request goes to the supplier. */
static void
works_without_memory(struct test_ctx *t)
{
    uintptr_t thing[100];

    (void)t;
    PORT(NULL);
    kva_posix_fault_arm(KVA_POSIX_META_GET, 1, true);
    vmem_bootstrap(NULL, 0);
    make(8, 8, 1);
    for (unsigned i = 0; i < 100; i++) {
        CHECK(get(&thing[i]));
    }
    CHECK_EQ(supply.nout, 100);
    for (unsigned i = 0; i < 100; i++) {
        put(thing[i]);
    }
    CHECK_EQ(supply.nout, 0);
    finish(0);
}

const struct test magazine_tests[] = {
    TEST_COUNT("magazine", things_are_handed_out_once, 5000, 100000, 1000000),
    TEST("magazine", hits_need_no_supplier),
    TEST("magazine", nothing_left),
    TEST("magazine", put_never_allocates),
    TEST("magazine", other_slots_are_drained),
    TEST("magazine", no_barrier_no_drain),
    TEST("magazine", interrupts_use_the_locked_path),
    TEST("magazine", stuck_owners_hand_in),
    TEST("magazine", owners_do_not_wait_for_drainers),
    TEST("magazine", closed_while_a_drainer_is_at_it),
    TEST("magazine", works_without_memory),
    TEST_END
};
