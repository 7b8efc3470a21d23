/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The trace reader under libFuzzer.  Whatever the bytes are, it must answer
 * without a read past their end, and what it takes for good must be good: then
 * the first pass runs over it, a copy is written, and the copy is read back.
 *
 * A checksum hides everything behind it from a fuzzer.  So unless the first
 * byte is odd, the input is taken as a trace with its checksum to be set right.
 */
#include <lzma.h>
#include <stdlib.h>
#include <string.h>

#include "replay/kvt.h"

static void
require(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void
write_and_read_back(const struct trace *t)
{
    struct kvt_error e;
    struct trace copy;
    char *bytes = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&bytes, &n);

    require(f != NULL && kvt_write(f, t, t->nrecord) && fclose(f) == 0);
    require(kvt_read_memory(bytes, n, &copy, &e));
    require(copy.nrecord == t->nrecord && copy.ntype == t->ntype);
    require(memcmp(copy.record, t->record,
                   (t->nrecord - 1) * sizeof(*t->record)) == 0);
    trace_free(&copy);
    free(bytes);
}

static void
read_one(const uint8_t *bytes, size_t size)
{
    struct kvt_error e = { .offset = 0 };
    struct trace t;

    if (!kvt_read_memory(bytes, size, &t, &e)) {
        require(e.reason[0] != '\0' &&
                strnlen(e.reason, sizeof(e.reason)) < sizeof(e.reason));
        return;
    }
    require(trace_scan(&t));
    require(t.peak < t.nrecord);
    write_and_read_back(&t);
    trace_free(&t);
}

/* Where the field lies that the checksum goes to: in the last record. */
static void
set_checksum(uint8_t *b, size_t size)
{
    uint32_t crc = lzma_crc32(b, size - KVT_RECORD, 0);

    for (unsigned i = 0; i < 4; i++) {
        b[size - 8 + i] = (uint8_t)(crc >> (8 * i));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    if (size == 0) {
        return 0;
    }
    /* A block of just that size, so that a sanitizer guards its end. */
    copy = malloc(size - 1 + (size == 1));
    require(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    size--;
    if (size >= KVT_HEADER && copy[0] == 0x89) {
        /* More than 65,535 slots only cost time to clear. */
        copy[22] = copy[23] = 0;
    }
    if ((data[0] & 1) == 0 && size >= KVT_HEADER + KVT_RECORD) {
        set_checksum(copy, size);
    }
    read_one(copy, size);
    free(copy);
    return 0;
}
