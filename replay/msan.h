/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MemorySanitizer sees no stores of libraries that were built without it, like
 * liblzma.  Calls of one stand between elsewhere_begin and elsewhere_end, and
 * elsewhere_wrote names the n bytes at p that it wrote.
 */
#ifndef REPLAY_MSAN_H
#define REPLAY_MSAN_H

#include <stddef.h>

#ifdef __has_feature
#if __has_feature(memory_sanitizer)
#define REPLAY_MSAN 1
#endif
#endif

#ifdef REPLAY_MSAN
#include <sanitizer/msan_interface.h>

static inline void
elsewhere_begin(void)
{
    __msan_scoped_disable_interceptor_checks();
}

static inline void
elsewhere_end(void)
{
    __msan_scoped_enable_interceptor_checks();
}

static inline void
elsewhere_wrote(const void *p, size_t n)
{
    __msan_unpoison(p, n);
}
#else
static inline void
elsewhere_begin(void)
{
}

static inline void
elsewhere_end(void)
{
}

static inline void
elsewhere_wrote(const void *p, size_t n)
{
    (void)p;
    (void)n;
}
#endif

#endif
