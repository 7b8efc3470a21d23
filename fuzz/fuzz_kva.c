/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tower of arenas under libFuzzer: pageable memory beside its model
 * (tests/model/paging.h), or starts of all kinds and wired ranges, which are
 * written to, with the frames counted after each step.  The bytes are the
 * numbers that are drawn; no input is refused; behind its end every number is
 * 0, the run stops, and all is given back.  Half of the inputs have faults.
 */
#include <string.h>

#include "fuzz/input.h"
#include "kva/kva.h"
#include "port/posix/posix.h"
#include "tests/model/paging.h"
#include "vmem/vmem_store.h"

#define P KVA_PAGE_SIZE
#define HELD 64u

struct held {
    vmem_t *vm; /* NULL: nothing */
    uintptr_t addr;
    size_t size;
    uintptr_t stamp;
    bool x;
};

static struct held held[HELD];
static bool faults;

/* ---- wired ranges ------------------------------------------------------ */

static bool
is_memory(const struct held *h)
{
    return h->vm != kva_heap_va_arena;
}

static uintptr_t *
last_word(const struct held *h)
{
    return (uintptr_t *)(h->addr + h->size - sizeof(uintptr_t));
}

static void
put(struct held *h)
{
    if (is_memory(h)) {
        require(*(uintptr_t *)h->addr == h->stamp && *last_word(h) == h->stamp
                    ? NULL
                    : "a wired range has not what was written to it");
    }
    if (h->x) {
        kva_vmem_xfree(h->vm, h->addr, h->size);
    } else {
        kva_vmem_free(h->vm, h->addr, h->size);
    }
    h->vm = NULL;
}

static void
get(struct input *in, struct held *h)
{
    static uintptr_t stamp;
    vmem_t *const vm[] = { kva_kmem_arena, kva_heap_va_arena,
                           kva_kmem_movable_arena, kva_kmem_intr_arena };
    size_t align = P << draw(in, 8);
    int err;

    h->vm = vm[draw(in, KVA_COUNT(vm))];
    h->size = (1 + draw(in, draw(in, 8) == 7 ? 600 : 12)) * P;
    h->x = draw(in, 4) == 3;
    err = h->x ? kva_vmem_xalloc(h->vm, h->size, align, 0, 0, VMEM_ADDR_MIN,
                                 VMEM_ADDR_MAX, VM_NOSLEEP, &h->addr)
               : kva_vmem_alloc(h->vm, h->size, VM_NOSLEEP, &h->addr);
    if (err != 0) {
        require(err == KVA_ENOMEM ? NULL : "an unexpected error");
        h->vm = NULL;
        return;
    }
    require(h->x && h->addr % align != 0 ? "misaligned" : NULL);
    if (is_memory(h)) {
        h->stamp = ++stamp;
        *(uintptr_t *)h->addr = *last_word(h) = h->stamp;
    }
}

static void
step(struct input *in)
{
    struct held *h = &held[draw(in, HELD)];

    switch (draw(in, 16)) {
    case 0:
        (void)kva_vmem_drain(kva_kmem_arena, SIZE_MAX, 0);
        break;
    case 1:
        (void)kva_vmem_drain(kva_heap_va_arena, draw(in, 1u << 20), 0);
        break;
    case 2:
        (void)kva_intr_refill();
        break;
    case 3:
        (void)kva_intr_drain();
        break;
    default:
        if (h->vm != NULL) {
            put(h);
        } else {
            get(in, h);
        }
    }
}

/* What is attached is what the tower says it wired. */
static void
check(void)
{
    struct kva_posix_stats machine;
    struct kva_stat st;

    kva_stat(&st);
    kva_posix_stats_get(&machine);
    require(st.wired_bytes == machine.attached_pages * P &&
                    machine.attached_pages == machine.frames
                ? NULL
                : "what is wired is not what is attached");
    for (vmem_t *vm = kva_vmem_list; vm != NULL; vm = vm->next) {
        require(kva_vmem_check(vm));
    }
}

static void
run_wired(struct input *in)
{
    unsigned each = 1u << draw(in, 6);

    for (unsigned i = 0; i < STEPS && in->at < in->end; i++) {
        if (faults && draw(in, 2) != 0) {
            kva_posix_fault_arm(KVA_POSIX_ANY, 1 + draw(in, 12),
                                draw(in, 2) != 0);
        }
        step(in);
        kva_posix_fault_disarm(KVA_POSIX_ANY);
        if (i % each == 0) {
            check();
        }
    }
    for (unsigned i = 0; i < HELD; i++) {
        if (held[i].vm != NULL) {
            put(&held[i]);
        }
    }
    check();
}

/* ---- pageable ranges --------------------------------------------------- */

static void
run_pageable(struct input *in)
{
    struct paging *g = paging_new(draw, in, faults, draw(in, 2) != 0);
    unsigned each = 1u << draw(in, 6);

    require(g == NULL ? "no model" : NULL);
    for (unsigned i = 0; i < STEPS && in->at < in->end; i++) {
        require(paging_step(g));
        require(i % each == 0 ? paging_check(g) : NULL);
    }
    require(paging_end(g));
    (void)kva_posix_trap_set(NULL, NULL);
}

/* ---- starting and ending ----------------------------------------------- */

/* True: it is up. */
static bool
start(struct input *in, bool pageable)
{
    static _Alignas(4096) char donated[16 * 4096];
    struct kva_boot kb = { .va_base = kva_posix_va_base(),
                           .va_bytes = kva_posix_va_bytes() };
    int err;

    if (!pageable) {
        kb.intr_bytes = draw(in, 64) * P;
        kb.wired_limit = draw(in, 4) == 3 ? (1 + draw(in, 1024)) * P : 0;
        kb.donated = draw(in, 2) != 0 ? donated : NULL;
        kb.donated_bytes = kb.donated != NULL ? sizeof(donated) : 0;
    }
    if (faults && draw(in, 4) == 3) {
        kva_posix_fault_arm(KVA_POSIX_ANY, 1 + draw(in, 64), draw(in, 2) != 0);
    }
    err = kva_boot(&kb);
    if (err == 0) {
        (void)kva_start(); /* if that fails, there is less for interrupts */
    }
    kva_posix_fault_disarm(KVA_POSIX_ANY);
    return err == 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const struct kva_posix_config config = {
        .va_bytes = PAGING_PAGES * P,
        .meta_bytes = (size_t)16 << 20,
    };
    struct input in = { bytes, bytes + size };
    struct kva_posix_stats machine;
    static bool started;
    bool pageable = draw(&in, 2) == 0;

    if (!started) {
        require(kva_posix_init(&config) == 0 ? NULL : kva_posix_last_error());
        started = true;
    }
    memset(held, 0, sizeof(held));
    faults = draw(&in, 2) != 0;
    if (start(&in, pageable)) {
        if (pageable) {
            run_pageable(&in);
        } else {
            run_wired(&in);
        }
        kva_shutdown();
    }
    kva_posix_stats_get(&machine);
    require(machine.frames == 0 && machine.stale_pages == 0
                ? NULL
                : "frames are left");
    return 0;
}
