/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Strings in memory of kmem's.  A string takes its length and the NUL, so
 * kmem_strfree can tell the size from the string itself, as long as that is as
 * long as it was: a string that was cut or overwritten comes out as a wrong
 * size, in every build if its class is another one.
 *
 * The interface is NetBSD's.
 */
#include "kmem/kmem_impl.h"

static size_t
length(const char *str, size_t most)
{
    size_t n = 0;

    while (n < most && str[n] != '\0') {
        n++;
    }
    return n;
}

/* len characters and a NUL. */
static char *
string_make(const char *str, size_t len, km_flag_t flags)
{
    char *copy = kmem_alloc(len + 1, flags);

    if (copy != NULL) {
        __builtin_memcpy(copy, str, len);
        copy[len] = '\0';
    }
    return copy;
}

char *
kmem_strdupsize(const char *str, size_t *size, km_flag_t flags)
{
    size_t len = length(str, SIZE_MAX);
    char *copy = string_make(str, len, flags);

    if (copy != NULL && size != NULL) {
        *size = len + 1;
    }
    return copy;
}

char *
kmem_strdup(const char *str, km_flag_t flags)
{
    return kmem_strdupsize(str, NULL, flags);
}

char *
kmem_strndup(const char *str, size_t most, km_flag_t flags)
{
    return string_make(str, length(str, most), flags);
}

void
kmem_strfree(char *str)
{
    if (str != NULL) {
        kmem_free(str, length(str, SIZE_MAX) + 1);
    }
}

char *
kmem_vasprintf(const char *fmt, va_list ap)
{
    size_t size = kva__vformat_length(fmt, ap) + 1;
    char *str = kmem_alloc(size, KM_SLEEP);

    if (str != NULL) {
        (void)kva__vformat(str, size, fmt, ap);
    }
    return str;
}

char *
kmem_asprintf(const char *fmt, ...)
{
    va_list ap;
    char *str;

    va_start(ap, fmt);
    str = kmem_vasprintf(fmt, ap);
    va_end(ap);
    return str;
}
