/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a kernel that builds with -nostdinc puts in place of the compiler's
 * headers (port/types.h), as matrix.py compiles the core with it.
 *
 * With OWN_TYPES the types are those that the compiler would not have taken but
 * a kernel might: of the right width, with other names.  Only size_t is the
 * compiler's in any case, since its builtins have it.
 */
#ifndef KVA_TYPES_H
#define KVA_TYPES_H

typedef __SIZE_TYPE__ size_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;

#ifdef OWN_TYPES
typedef unsigned long long uint64_t;
typedef long long int64_t;
typedef unsigned long uintptr_t;
#if __SIZEOF_LONG__ == 4
typedef unsigned long uint32_t;
#else
typedef unsigned int uint32_t;
#endif
#else
typedef __UINT32_TYPE__ uint32_t;
typedef __UINT64_TYPE__ uint64_t;
typedef __INT64_TYPE__ int64_t;
typedef __UINTPTR_TYPE__ uintptr_t;
#endif

#define UINT16_MAX 0xffff
#define INT32_MAX 0x7fffffff
#define UINT32_MAX 0xffffffffu
#define UINT64_MAX 0xffffffffffffffffull
#define UINTPTR_MAX __UINTPTR_MAX__
#define SIZE_MAX __SIZE_MAX__

#define NULL ((void *)0)
#define offsetof(type, member) __builtin_offsetof(type, member)

#define bool _Bool
#define true 1
#define false 0

typedef __builtin_va_list va_list;
#define va_start(ap, last) __builtin_va_start(ap, last)
#define va_arg(ap, type) __builtin_va_arg(ap, type)
#define va_copy(to, from) __builtin_va_copy(to, from)
#define va_end(ap) __builtin_va_end(ap)

#endif
