/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects under libFuzzer, for the targets that differ in whose objects they
 * are.  The bytes are the numbers that the model of tests/model/stock.h draws:
 * the shapes of pools and caches, then one step after the other.  No input is
 * refused; behind its end every number is 0, the run stops, and all is given
 * back.  Half of the inputs have faults.
 */
#ifndef FUZZ_OBJECTS_H
#define FUZZ_OBJECTS_H

#include "fuzz/input.h"
#include "kva/kva.h"
#include "tests/model/stock.h"

static void
tower_up(void)
{
    static const struct kva_posix_config config = {
        .va_bytes = (size_t)256 << 20,
        .meta_bytes = (size_t)32 << 20,
        .cpus = STOCK_CPUS,
    };
    struct kva_boot boot = { .intr_bytes = (size_t)256 << 10 };
    static bool started;

    if (!started) {
        require(kva_posix_init(&config) == 0 ? NULL : kva_posix_last_error());
        started = true;
    }
    boot.va_base = kva_posix_va_base();
    boot.va_bytes = kva_posix_va_bytes();
    require(kva_boot(&boot) == 0 && kva_start() == 0 ? NULL : "no start");
    kva_kmem_init();
}

/* Nothing may be left. */
static void
tower_down(void)
{
    struct kva_posix_stats stats;

    kva_malloc_fini();
    kva_kmem_fini();
    (void)kva_pool_drain_all();
    require(kva_vmem_size(kva_kmem_arena, VMEM_ALLOC | VMEM_FREE) == 0
                ? NULL
                : "pages are left in kmem_arena");
    kva_shutdown();
    kva_posix_stats_get(&stats);
    require(stats.attached_pages == 0 ? NULL : "pages are left attached");
}

static void
run(struct input *in, unsigned sources)
{
    struct stock *s;
    unsigned each;

    tower_up();
    s = stock_new(draw, in);
    s->sources = sources;
    s->misuse = true;
    s->faults = draw(in, 2) != 0;
    each = 1u << draw(in, 6);
    for (unsigned i = 0; i < STEPS && in->at < in->end; i++) {
        require(stock_step(s));
        require(i % each == 0 ? stock_check(s) : NULL);
    }
    require(stock_end(s));
    tower_down();
}

#define FUZZ_OBJECTS(sources)                                     \
    int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) \
    {                                                             \
        struct input in = { bytes, bytes + size };                \
                                                                  \
        run(&in, (sources));                                      \
        return 0;                                                 \
    }

#endif
