/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One buffer of raw bytes is filled from the file or the memory.  An xz stream,
 * known by its first six bytes, is decoded from there into the caller's
 * buffer; anything else is copied.
 */
#include <errno.h>
#include <lzma.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay/msan.h"
#include "replay/source.h"

/* A decoder that wants more memory is refused; xz -9 needs 65 MiB. */
#define SOURCE_XZ_MEMORY_MAX ((uint64_t)1 << 29)
#define SOURCE_CHUNK ((size_t)1 << 18)

struct source {
    FILE *file; /* NULL: memory */
    const uint8_t *left;
    size_t nleft; /* raw bytes not used yet: in chunk, or of the memory */
    bool raw_end;
    bool xz;
    bool xz_end;
    lzma_stream lz;
    const char *reason;
    uint8_t *chunk;
};

/* See to it that there are raw bytes; false at their end or an error. */
static bool
source_fill(struct source *s)
{
    if (s->nleft > 0) {
        return true;
    }
    if (s->raw_end || s->file == NULL) {
        s->raw_end = true;
        return false;
    }
    s->nleft = fread(s->chunk, 1, SOURCE_CHUNK, s->file);
    s->left = s->chunk;
    if (s->nleft < SOURCE_CHUNK) {
        s->raw_end = true;
        if (ferror(s->file)) {
            s->reason = strerror(errno);
        }
    }
    return s->nleft > 0;
}

static size_t
read_plain(struct source *s, uint8_t *buf, size_t n)
{
    size_t got = 0;

    while (got < n && source_fill(s)) {
        size_t part = s->nleft < n - got ? s->nleft : n - got;

        memcpy(buf + got, s->left, part);
        s->left += part;
        s->nleft -= part;
        got += part;
    }
    return got;
}

static const char *
xz_reason(lzma_ret ret)
{
    switch (ret) {
    case LZMA_MEM_ERROR:
        return "out of memory while decompressing";
    case LZMA_MEMLIMIT_ERROR:
        return "the xz stream asks for too much memory";
    case LZMA_BUF_ERROR:
        return "the xz stream is truncated, or other bytes follow it";
    case LZMA_FORMAT_ERROR:
        return "bytes that are not xz after the xz stream";
    case LZMA_OPTIONS_ERROR:
        return "the xz stream uses an option that is not supported";
    default:
        return "the xz stream is damaged";
    }
}

static size_t
read_xz(struct source *s, uint8_t *buf, size_t n)
{
    s->lz.next_out = buf;
    s->lz.avail_out = n;
    while (s->lz.avail_out > 0 && !s->xz_end && s->reason == NULL) {
        lzma_action action = source_fill(s) ? LZMA_RUN : LZMA_FINISH;
        lzma_ret ret;

        if (s->reason != NULL) {
            break;
        }
        s->lz.next_in = s->left;
        s->lz.avail_in = s->nleft;
        elsewhere_begin();
        ret = lzma_code(&s->lz, action);
        elsewhere_end();
        s->left = s->lz.next_in;
        s->nleft = s->lz.avail_in;
        if (ret == LZMA_STREAM_END) {
            s->xz_end = true;
        } else if (ret != LZMA_OK) {
            s->reason = xz_reason(ret);
        }
    }
    elsewhere_wrote(buf, n - s->lz.avail_out);
    return n - s->lz.avail_out;
}

size_t
source_read(struct source *s, void *buf, size_t n)
{
    return s->xz ? read_xz(s, buf, n) : read_plain(s, buf, n);
}

const char *
source_reason(const struct source *s)
{
    return s->reason;
}

void
source_close(struct source *s)
{
    if (s->xz) {
        lzma_end(&s->lz);
    }
    if (s->file != NULL) {
        fclose(s->file);
    }
    free(s->chunk);
    free(s);
}

/* Look at the first bytes.  Takes the source over: NULL if it cannot be. */
static struct source *
source_start(struct source *s, const char **reason)
{
    static const uint8_t magic[6] = { 0xfd, '7', 'z', 'X', 'Z', 0 };
    lzma_ret ret;

    if (source_fill(s) && s->nleft >= sizeof(magic) &&
        memcmp(s->left, magic, sizeof(magic)) == 0) {
        ret = lzma_stream_decoder(&s->lz, SOURCE_XZ_MEMORY_MAX,
                                  LZMA_CONCATENATED);
        s->xz = true;
        if (ret != LZMA_OK) {
            s->reason = xz_reason(ret);
        }
    }
    if (s->reason != NULL) {
        *reason = s->reason;
        source_close(s);
        return NULL;
    }
    return s;
}

static struct source *
source_new(const char **reason)
{
    static const lzma_stream empty = LZMA_STREAM_INIT;
    struct source *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        *reason = "out of memory";
        return NULL;
    }
    s->lz = empty;
    return s;
}

struct source *
source_open_file(const char *path, const char **reason)
{
    struct source *s = source_new(reason);

    if (s == NULL) {
        return NULL;
    }
    s->chunk = malloc(SOURCE_CHUNK);
    if (s->chunk == NULL) {
        *reason = "out of memory";
        source_close(s);
        return NULL;
    }
    s->file = fopen(path, "rb");
    if (s->file == NULL) {
        *reason = strerror(errno);
        source_close(s);
        return NULL;
    }
    return source_start(s, reason);
}

struct source *
source_open_memory(const void *bytes, size_t size, const char **reason)
{
    struct source *s = source_new(reason);

    if (s == NULL) {
        return NULL;
    }
    s->left = bytes;
    s->nleft = size;
    return source_start(s, reason);
}
