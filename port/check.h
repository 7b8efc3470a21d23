/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reports and assertions, and the few bit operations that the core needs.
 *
 * Three tiers of checks and nothing cleverer:
 *   kva__misuse   a caller's bug, found in every build; names the function,
 *                 the arena or cache, the address, what was expected and found
 *   KVA_ASSERT    a bug of ours, found in debug builds
 *   KVA_PARANOID  a walk over whole structures, on request
 *
 * A misuse is reported with no library lock held: the port's panic hook may
 * longjmp out of it (tests do), and the library is then as it was before the
 * call.
 */
#ifndef KVA_PORT_CHECK_H
#define KVA_PORT_CHECK_H

#include "port/port.h"

/* The longest message, with its NUL; longer ones are cut. */
#define KVA_MESSAGE_MAX 256

/*
 * Format into buf as snprintf does, with %s %c %d %i %u %x %X %o %p %%, the
 * flags - 0 + # and space, width, precision (both also as *), and the lengths
 * hh h l ll j z t.  Returns the length written; kva__vformat_length what it
 * would be if all fitted, without the NUL.
 */
size_t kva__format(char *buf, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
size_t kva__vformat(char *buf, size_t size, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
size_t kva__vformat_length(const char *fmt, va_list ap)
    __attribute__((format(printf, 1, 0)));

_Noreturn void
kva__panic(const char *fmt, ...) __attribute__((format(printf, 1, 2), cold));
void kva__log(const char *fmt, ...) __attribute__((format(printf, 1, 2), cold));

/*
 * Report a caller's bug: "FUNC: KIND NAME: ADDR: expected E, found F", for
 * example "vmem_free: arena heap_va: 0x7000: expected size 4096, found size
 * 8192".  kind is "arena", "cache", "pool", "stacks" or "type"; ADDR is in
 * hexadecimal.  fmt gives "expected ..., found ...".
 */
_Noreturn void kva__misuse(const char *func, const char *kind, const char *name,
                           uintptr_t addr, const char *fmt, ...)
    __attribute__((format(printf, 5, 6), cold));

#define KVA_ASSERT(expr)                                                      \
    do {                                                                      \
        if (KVA_CONFIG_DEBUG && !(expr)) {                                    \
            kva__panic("libkva: %s:%d: %s does not hold", __FILE__, __LINE__, \
                       #expr);                                                \
        }                                                                     \
    } while (0)

/* check gives NULL, or what does not hold: vmem_check, kva_pool_check. */
#define KVA_PARANOID(check)                                                    \
    do {                                                                       \
        if (KVA_CONFIG_PARANOID) {                                             \
            const char *kva__bad = (check);                                    \
                                                                               \
            if (kva__bad != NULL) {                                            \
                kva__panic("libkva: %s:%d: %s", __FILE__, __LINE__, kva__bad); \
            }                                                                  \
        }                                                                      \
    } while (0)

#define KVA_LIKELY(expr) __builtin_expect(!!(expr), 1)
#define KVA_UNLIKELY(expr) __builtin_expect(!!(expr), 0)

/* The compiler may not move memory accesses over this; the CPU may. */
#define KVA_COMPILER_BARRIER() __asm__ volatile("" ::: "memory")

static inline bool
kva_is_pow2(uintptr_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

/* Number of the highest and lowest bit set; x is not 0. */
static inline unsigned
kva_fls(uintptr_t x)
{
#if KVA_WORD_64
    return 63u - (unsigned)__builtin_clzll(x);
#else
    return 31u - (unsigned)__builtin_clzl(x);
#endif
}

static inline unsigned
kva_ffs(uintptr_t x)
{
#if KVA_WORD_64
    return (unsigned)__builtin_ctzll(x);
#else
    return (unsigned)__builtin_ctzl(x);
#endif
}

/* Round to a power of two; up may wrap to 0, which callers check. */
static inline uintptr_t
kva_round_up(uintptr_t x, uintptr_t align)
{
    return (x + (align - 1)) & ~(align - 1);
}

static inline uintptr_t
kva_round_down(uintptr_t x, uintptr_t align)
{
    return x & ~(align - 1);
}

/* The compiler may expand it, or call memset, which every kernel has (or see
 * KVA_CONFIG_MEMORY). */
static inline void
kva__memset(void *dst, int byte, size_t n)
{
    __builtin_memset(dst, byte, n);
}

/* The port's clock; below tier 3, where there is none, 0. */
static inline uint64_t
kva__now(void)
{
#if KVA_TIER >= 3
    return kva_port_clock();
#else
    return 0;
#endif
}

/* Lock ranks, outermost first (DESIGN: lock order). */
enum kva_rank {
    KVA_RANK_DRAIN = 10,
    KVA_RANK_CACHE = 20,
    KVA_RANK_DEPOT = 30,
    KVA_RANK_SLAB = 40,
    KVA_RANK_ARENA = 50,
    KVA_RANK_META = 60,
    KVA_RANK_PORT = 70
};

#endif
