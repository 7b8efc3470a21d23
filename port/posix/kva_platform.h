/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's inline part of the platform: the lock, and the CPU slot, which
 * is one read of a thread-local variable.  Used with -DKVA_OVERRIDE_PLATFORM
 * and this directory on the include path.
 */
#ifndef KVA_PLATFORM_H
#define KVA_PLATFORM_H

/*
 * A test-and-set spin lock whose word names its owner: 0 is free, anything
 * else is the number of the thread that holds it.
 */
typedef struct kva_lock {
    uint32_t owner;
    uint16_t rank;
    uint8_t ipl;
    const char *name;
} kva_lock_t;

typedef uintptr_t kva_irq_t;

#if KVA_TIER >= 1
#ifdef __cplusplus
extern "C" {
#endif

/*
 * The slot of this thread plus 1, or 0 when it has none yet.  The model makes
 * the read one instruction: the library is linked into programs.
 */
extern __thread unsigned kva_posix_slot
    __attribute__((tls_model("local-exec")));

/* Find a slot for this thread; KVA_CPU_NONE when all are taken. */
unsigned kva_posix_cpu_claim(void);

#ifdef __cplusplus
}
#endif

/* A thread keeps its slot until it exits, so there is nothing to pin. */
static inline unsigned
kva_cpu_enter(void)
{
    unsigned slot = kva_posix_slot;

    if (__builtin_expect(slot == 0, 0)) {
        return kva_posix_cpu_claim();
    }
    return slot - 1;
}

/* A thread that has no slot yet finds one on the way of its miss. */
static inline unsigned
kva_cpu_enter_hit(void)
{
    return kva_posix_slot - 1;
}

static inline void
kva_cpu_exit(unsigned cpu)
{
    (void)cpu;
}
#endif

#endif
