/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Types and errors of libkva.
 *
 * This is the only file of the library that includes a compiler header.  A
 * kernel that builds with -nostdinc supplies its own: it defines
 * KVA_OVERRIDE_TYPES and puts a kva_types.h on the include path that gives
 * uint8_t to uint64_t, int64_t, uintptr_t, size_t, ptrdiff_t; their limits
 * UINT16_MAX, INT32_MAX, UINT32_MAX, UINT64_MAX, UINTPTR_MAX, SIZE_MAX; bool,
 * true, false, NULL, offsetof; and va_list with its four macros.  (All of it is
 * in tests/house/kernel/kva_types.h.)
 */
#ifndef KVA_PORT_TYPES_H
#define KVA_PORT_TYPES_H

#ifdef KVA_OVERRIDE_TYPES
#include "kva_types.h"
#else
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

/*
 * Errors are returned as positive numbers, 0 is success.  The values are
 * Linux's; a kernel with other ones defines any of them beforehand.
 */
#ifndef KVA_EPERM
#define KVA_EPERM 1
#endif
#ifndef KVA_ENOENT
#define KVA_ENOENT 2
#endif
#ifndef KVA_EINTR
#define KVA_EINTR 4
#endif
#ifndef KVA_EAGAIN
#define KVA_EAGAIN 11
#endif
#ifndef KVA_ENOMEM
#define KVA_ENOMEM 12
#endif
#ifndef KVA_EFAULT
#define KVA_EFAULT 14
#endif
#ifndef KVA_EBUSY
#define KVA_EBUSY 16
#endif
#ifndef KVA_EEXIST
#define KVA_EEXIST 17
#endif
#ifndef KVA_EINVAL
#define KVA_EINVAL 22
#endif
#ifndef KVA_ENOTSUP
#define KVA_ENOTSUP 95
#endif
#ifndef KVA_ETIMEDOUT
#define KVA_ETIMEDOUT 110
#endif

/* A physical address.  64 bits everywhere: a 32-bit machine may have PAE. */
typedef uint64_t kva_pa_t;

/* Interrupt priority levels, ordered; values are NetBSD's in spirit only. */
enum kva_ipl {
    KVA_IPL_NONE = 0, /* never from an interrupt; locks leave them alone */
    KVA_IPL_VM = 1,   /* may be called from an interrupt; locks mask them */
    KVA_IPL_HIGH = 2
};

#if UINTPTR_MAX > 0xffffffffu
#define KVA_WORD_64 1
#else
#define KVA_WORD_64 0
#endif

/* sizeof an array in elements, and the object around a member. */
#define KVA_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define KVA_CONTAINER(ptr, type, member) \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
