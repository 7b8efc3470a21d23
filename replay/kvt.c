/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The KVT reader and writer.
 *
 * The reader believes nothing.  Memory grows with the bytes that came, not with
 * the counts that the header claims; one word a slot says what the slot holds,
 * so that every rule is checked in one pass: each record against the type table
 * and its slot, the checksum over all before END, the counts of the type table
 * at the end.
 *
 * The README lists what a reader must refuse.  Beyond that list we hold the
 * trace to what the format says of its fields: bytes that are to be 0, names
 * that end, END in its place and nowhere else, CPUs below the header's number,
 * time that does not go back.
 */
#include <inttypes.h>
#include <lzma.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "replay/kvt.h"
#include "replay/source.h"

static const uint8_t magic[8] = { 0x89, 'K', 'V', 'T', 0x0d, 0x0a, 0x1a, 0x0a };

#define KVT_VERSION 1u
#define KVT_TYPES_MAX 65535u
#define KVT_ORDER_MAX 20u
#define KVT_REASON_MAX 2u /* of a free: seen, reused, page gone */
#define KVT_ALIGN_MAX 30u /* log2; no address space has room for more */
#define KVT_BATCH 1024u   /* records read at a time */

/* ---- bytes ------------------------------------------------------------ */

static uint32_t
get16(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8;
}

static uint32_t
get32(const uint8_t *p)
{
    return get16(p) | get16(p + 2) << 16;
}

static uint64_t
get64(const uint8_t *p)
{
    return get32(p) | (uint64_t)get32(p + 4) << 32;
}

static void
put(uint8_t *p, unsigned bytes, uint64_t v)
{
    for (; bytes > 0; bytes--, v >>= 8) {
        *p++ = (uint8_t)v;
    }
}

/* A name: some bytes, and then only NULs, at least one. */
static bool
name_good(const uint8_t *p, size_t room)
{
    size_t n = strnlen((const char *)p, room);

    for (size_t i = n; i < room; i++) {
        if (p[i] != 0) {
            return false;
        }
    }
    return n < room;
}

/* ---- reading ---------------------------------------------------------- */

struct reader {
    struct source *src;
    struct trace *t;
    struct kvt_error *e;
    uint64_t offset;  /* of what is being looked at */
    uint64_t claimed; /* records, by the header */
    size_t room;      /* records that t->record has room for */
    uint32_t crc;
    uint32_t ms;     /* of the last tick */
    uint16_t *holds; /* by slot: type + 1, 0 if empty */
    uint32_t *count; /* by type: allocations seen */
};

__attribute__((format(printf, 2, 3))) static bool
refuse(struct reader *rd, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(rd->e->reason, sizeof(rd->e->reason), fmt, ap);
    va_end(ap);
    rd->e->offset = rd->offset;
    return false;
}

/* Read n bytes; what: the part of the trace they belong to. */
static bool
need(struct reader *rd, void *buf, size_t n, const char *what)
{
    size_t got = source_read(rd->src, buf, n);

    if (got == n) {
        return true;
    }
    rd->offset += got;
    if (source_reason(rd->src) != NULL) {
        return refuse(rd, "%s", source_reason(rd->src));
    }
    if (rd->offset == 0) {
        return refuse(rd, "the file is empty");
    }
    return refuse(rd, "the file ends inside the %s", what);
}

static bool
header_sizes(struct reader *rd, const uint8_t *h)
{
    static const struct {
        unsigned at;
        unsigned want;
        const char *what;
    } field[] = {
        { 8, KVT_VERSION, "version" },
        { 10, KVT_HEADER, "header size" },
        { 12, KVT_RECORD, "record size" },
        { 14, KVT_TYPE, "type-table entry size" },
        { 46, 0, "reserved field" },
    };

    if (memcmp(h, magic, sizeof(magic)) != 0) {
        return refuse(rd, "not a KVT trace: wrong magic");
    }
    for (size_t i = 0; i < sizeof(field) / sizeof(field[0]); i++) {
        if (get16(h + field[i].at) != field[i].want) {
            rd->offset = field[i].at;
            return refuse(rd, "%s is %u, expected %u", field[i].what,
                          (unsigned)get16(h + field[i].at), field[i].want);
        }
    }
    return true;
}

static bool
header_counts(struct reader *rd, const uint8_t *h)
{
    if (rd->t->ntype > KVT_TYPES_MAX) {
        rd->offset = 16;
        return refuse(rd, "%u types, at most %u are possible", rd->t->ntype,
                      KVT_TYPES_MAX);
    }
    if (rd->t->nslot >= KVT_SLOTS_MAX) {
        rd->offset = 20;
        return refuse(rd, "%u slots, there must be fewer than %u",
                      (unsigned)rd->t->nslot, KVT_SLOTS_MAX);
    }
    if (rd->claimed == 0) {
        rd->offset = 24;
        return refuse(rd, "no records, not even END");
    }
    if (get32(h + 40) != TRACE_PAGE) {
        rd->offset = 40;
        return refuse(rd, "page size is %u, expected %u",
                      (unsigned)get32(h + 40), TRACE_PAGE);
    }
    if (rd->t->ncpu == 0 || rd->t->ncpu > 256) {
        rd->offset = 44;
        return refuse(rd, "%u CPUs, expected 1 to 256", rd->t->ncpu);
    }
    if (!name_good(h + 96, 32)) {
        rd->offset = 96;
        return refuse(rd, "the label is not NUL-padded");
    }
    return true;
}

static bool
read_header(struct reader *rd)
{
    struct trace *t = rd->t;
    uint8_t *h = t->header;

    if (!need(rd, h, KVT_HEADER, "header")) {
        return false;
    }
    rd->crc = lzma_crc32(h, KVT_HEADER, 0);
    t->ntype = get32(h + 16);
    t->nslot = get32(h + 20);
    rd->claimed = get64(h + 24);
    t->duration_us = get64(h + 32);
    t->ncpu = get16(h + 44);
    return header_sizes(rd, h) && header_counts(rd, h);
}

static bool
read_type(struct reader *rd, struct type *ty)
{
    uint8_t b[KVT_TYPE];

    if (!need(rd, b, sizeof(b), "type table")) {
        return false;
    }
    rd->crc = lzma_crc32(b, sizeof(b), rd->crc);
    if (b[0] < KIND_CACHE || b[0] > KIND_VMAP) {
        return refuse(rd, "type of kind %u, expected 1 to 4", b[0]);
    }
    if (b[1] > KVT_ALIGN_MAX) {
        rd->offset += 1;
        return refuse(rd, "type aligned to 2^%u, at most 2^%u is possible",
                      b[1], KVT_ALIGN_MAX);
    }
    if (get16(b + 2) != 0) {
        rd->offset += 2;
        return refuse(rd, "reserved field of a type is not 0");
    }
    if (!name_good(b + 16, TRACE_NAME)) {
        rd->offset += 16;
        return refuse(rd, "the name of a type is not NUL-padded");
    }
    ty->kind = b[0];
    ty->align_log2 = b[1];
    ty->size = get32(b + 4);
    ty->taken = get32(b + 8);
    ty->count = get32(b + 12);
    memcpy(ty->name, b + 16, TRACE_NAME);
    rd->offset += sizeof(b);
    return true;
}

static bool
read_types(struct reader *rd)
{
    struct trace *t = rd->t;

    rd->offset = KVT_HEADER;
    t->type = calloc((size_t)t->ntype + 1, sizeof(*t->type));
    rd->count = calloc((size_t)t->ntype + 1, sizeof(*rd->count));
    rd->holds = calloc((size_t)t->nslot + 1, sizeof(*rd->holds));
    if (t->type == NULL || rd->count == NULL || rd->holds == NULL) {
        return refuse(rd, "out of memory for %u types and %u slots", t->ntype,
                      (unsigned)t->nslot);
    }
    for (unsigned i = 0; i < t->ntype; i++) {
        if (!read_type(rd, &t->type[i])) {
            return false;
        }
    }
    return true;
}

/* ---- the rules of a record -------------------------------------------- */

static bool
check_alloc(struct reader *rd, const struct record *r)
{
    if (rd->holds[r->slot] != 0) {
        return refuse(rd, "allocation in slot %u, which is in use",
                      (unsigned)r->slot);
    }
    if ((r->op == OP_CACHE_ALLOC || r->op == OP_KMALLOC) && r->a > r->b) {
        return refuse(rd, "%u bytes asked for, but only %u taken",
                      (unsigned)r->a, (unsigned)r->b);
    }
    if (r->op == OP_PAGE_ALLOC && r->a > KVT_ORDER_MAX) {
        return refuse(rd, "page order %u, at most %u is possible",
                      (unsigned)r->a, KVT_ORDER_MAX);
    }
    rd->holds[r->slot] = (uint16_t)(r->type + 1);
    rd->count[r->type]++;
    return true;
}

static bool
check_free(struct reader *rd, const struct record *r)
{
    unsigned held = rd->holds[r->slot];

    if (held == 0) {
        return refuse(rd, "free of slot %u, which is empty", (unsigned)r->slot);
    }
    if (held != r->type + 1u) {
        return refuse(rd, "free of slot %u as type %u, it holds type %u",
                      (unsigned)r->slot, r->type, held - 1);
    }
    if (r->a > KVT_REASON_MAX) {
        return refuse(rd, "reason %u of a free, at most %u is known",
                      (unsigned)r->a, KVT_REASON_MAX);
    }
    if (r->b != 0) {
        return refuse(rd, "field b of a free is %u, expected 0",
                      (unsigned)r->b);
    }
    rd->holds[r->slot] = 0;
    return true;
}

/* TICK and VMAP_PURGE name no slot. */
static bool
check_mark(struct reader *rd, const struct record *r)
{
    if (r->type != 0 || r->slot != 0 || r->b != 0) {
        return refuse(rd, "type, slot and b of op %u must be 0", r->op);
    }
    if (r->op != OP_TICK) {
        return true;
    }
    if (r->a < rd->ms) {
        return refuse(rd, "time goes back from %u ms to %u ms",
                      (unsigned)rd->ms, (unsigned)r->a);
    }
    rd->ms = r->a;
    return true;
}

static bool
check_record(struct reader *rd, const struct record *r)
{
    if (r->op == OP_END) {
        return refuse(rd, "END, but the header has more records");
    }
    if (r->op < OP_TICK || r->op > OP_END) {
        return refuse(rd, "op %u is not known", r->op);
    }
    if (r->cpu >= rd->t->ncpu) {
        return refuse(rd, "CPU %u, the header has %u", r->cpu, rd->t->ncpu);
    }
    if (r->op == OP_TICK || r->op == OP_VMAP_PURGE) {
        return check_mark(rd, r);
    }
    if (r->type >= rd->t->ntype) {
        return refuse(rd, "type %u is out of range, the header has %u", r->type,
                      rd->t->ntype);
    }
    if (r->slot >= rd->t->nslot) {
        return refuse(rd, "slot %u is out of range, the header has %u",
                      (unsigned)r->slot, (unsigned)rd->t->nslot);
    }
    if (rd->t->type[r->type].kind != r->op / 2) {
        return refuse(rd, "type %u is of kind %u, op %u needs kind %u", r->type,
                      rd->t->type[r->type].kind, r->op, r->op / 2u);
    }
    return (r->op & 1) == 0 ? check_alloc(rd, r) : check_free(rd, r);
}

/* ---- records ---------------------------------------------------------- */

static void
decode(struct record *r, const uint8_t *p)
{
    r->op = p[0];
    r->cpu = p[1];
    r->type = (uint16_t)get16(p + 2);
    r->slot = get32(p + 4);
    r->a = get32(p + 8);
    r->b = get32(p + 12);
}

/* Room for n more records. */
static bool
grow(struct reader *rd, size_t n)
{
    struct trace *t = rd->t;
    size_t room = rd->room == 0 ? KVT_BATCH : rd->room * 2;
    struct record *rec;

    if (t->nrecord + n <= rd->room) {
        return true;
    }
    rec = realloc(t->record, room * sizeof(*rec));
    if (rec == NULL) {
        return refuse(rd, "out of memory after %zu records", t->nrecord);
    }
    t->record = rec;
    rd->room = room;
    return true;
}

/* The next n records, none of which may be END. */
static bool
read_batch(struct reader *rd, size_t n)
{
    uint8_t buf[KVT_BATCH * KVT_RECORD];
    uint64_t start = rd->offset;
    size_t got;

    if (!grow(rd, n)) {
        return false;
    }
    got = source_read(rd->src, buf, n * KVT_RECORD);
    for (size_t i = 0; i < got / KVT_RECORD; i++) {
        struct record *r = &rd->t->record[rd->t->nrecord];

        decode(r, buf + i * KVT_RECORD);
        rd->offset = start + i * KVT_RECORD;
        if (!check_record(rd, r)) {
            return false;
        }
        rd->t->nrecord++;
    }
    rd->offset = start + got;
    rd->crc = lzma_crc32(buf, got, rd->crc);
    if (got == n * KVT_RECORD) {
        return true;
    }
    if (source_reason(rd->src) != NULL) {
        return refuse(rd, "%s", source_reason(rd->src));
    }
    return refuse(rd, "the file ends after %zu of %" PRIu64 " records",
                  rd->t->nrecord, rd->claimed);
}

static bool
read_end(struct reader *rd)
{
    uint8_t b[KVT_RECORD + 1];
    struct record *r;

    if (!grow(rd, 1) || !need(rd, b, KVT_RECORD, "END record")) {
        return false;
    }
    r = &rd->t->record[rd->t->nrecord];
    decode(r, b);
    if (r->op != OP_END) {
        return refuse(rd, "the last record is op %u, expected END", r->op);
    }
    if (r->type != 0 || r->slot != 0 || r->b != 0) {
        return refuse(rd, "type, slot and b of END must be 0");
    }
    if (r->a != rd->crc) {
        return refuse(rd, "checksum is %08x, END says %08x", (unsigned)rd->crc,
                      (unsigned)r->a);
    }
    rd->t->nrecord++;
    rd->offset += KVT_RECORD;
    if (source_read(rd->src, b, 1) != 0) {
        return refuse(rd, "bytes after END");
    }
    if (source_reason(rd->src) != NULL) {
        return refuse(rd, "%s", source_reason(rd->src));
    }
    return true;
}

static bool
check_counts(struct reader *rd)
{
    for (unsigned i = 0; i < rd->t->ntype; i++) {
        if (rd->count[i] != rd->t->type[i].count) {
            rd->offset = KVT_HEADER + (uint64_t)i * KVT_TYPE + 12;
            return refuse(rd, "type %u has %u allocations, the table says %u",
                          i, (unsigned)rd->count[i],
                          (unsigned)rd->t->type[i].count);
        }
    }
    return true;
}

static bool
read_all(struct reader *rd)
{
    if (!read_header(rd) || !read_types(rd)) {
        return false;
    }
    while (rd->t->nrecord < rd->claimed - 1) {
        uint64_t left = rd->claimed - 1 - rd->t->nrecord;

        if (!read_batch(rd, left < KVT_BATCH ? (size_t)left : KVT_BATCH)) {
            return false;
        }
    }
    return read_end(rd) && check_counts(rd);
}

/* Takes the source over. */
static bool
kvt_read(struct source *src, struct trace *t, struct kvt_error *e)
{
    struct reader rd = { .src = src, .t = t, .e = e };
    bool ok;

    memset(t, 0, sizeof(*t));
    ok = read_all(&rd);
    free(rd.holds);
    free(rd.count);
    source_close(src);
    if (!ok) {
        trace_free(t);
    }
    return ok;
}

static bool
kvt_open_failed(struct kvt_error *e, const char *reason)
{
    e->offset = 0;
    snprintf(e->reason, sizeof(e->reason), "%s", reason);
    return false;
}

bool
kvt_read_file(const char *path, struct trace *t, struct kvt_error *e)
{
    const char *reason;
    struct source *src = source_open_file(path, &reason);

    return src != NULL ? kvt_read(src, t, e) : kvt_open_failed(e, reason);
}

bool
kvt_read_memory(const void *bytes, size_t size, struct trace *t,
                struct kvt_error *e)
{
    const char *reason;
    struct source *src = source_open_memory(bytes, size, &reason);

    return src != NULL ? kvt_read(src, t, e) : kvt_open_failed(e, reason);
}

/* ---- writing ---------------------------------------------------------- */

struct writer {
    FILE *f;
    uint32_t crc;
};

static bool
emit(struct writer *w, const uint8_t *p, size_t n)
{
    w->crc = lzma_crc32(p, n, w->crc);
    return fwrite(p, 1, n, w->f) == n;
}

static bool
emit_record(struct writer *w, const struct record *r)
{
    uint8_t b[KVT_RECORD];

    b[0] = r->op;
    b[1] = r->cpu;
    put(b + 2, 2, r->type);
    put(b + 4, 4, r->slot);
    put(b + 8, 4, r->a);
    put(b + 12, 4, r->b);
    return emit(w, b, sizeof(b));
}

static bool
emit_type(struct writer *w, const struct type *ty, uint32_t count)
{
    uint8_t b[KVT_TYPE] = { ty->kind, ty->align_log2 };

    put(b + 4, 4, ty->size);
    put(b + 8, 4, ty->taken);
    put(b + 12, 4, count);
    memcpy(b + 16, ty->name, TRACE_NAME);
    return emit(w, b, sizeof(b));
}

/* What a cut of n records needs in its header. */
static bool
emit_header(struct writer *w, const struct trace *t, size_t n)
{
    uint8_t b[KVT_HEADER];
    uint64_t us = t->duration_us;
    uint32_t nslot = 0;

    for (size_t i = 0; i < n; i++) {
        const struct record *r = &t->record[i];

        if (r->op == OP_TICK) {
            us = (uint64_t)r->a * 1000;
        } else if (r->slot >= nslot) {
            nslot = r->slot + 1;
        }
    }
    memcpy(b, t->header, sizeof(b));
    memcpy(b, magic, sizeof(magic));
    put(b + 8, 2, KVT_VERSION);
    put(b + 10, 2, KVT_HEADER);
    put(b + 12, 2, KVT_RECORD);
    put(b + 14, 2, KVT_TYPE);
    put(b + 16, 4, t->ntype);
    put(b + 20, 4, nslot);
    put(b + 24, 8, (uint64_t)n + 1);
    put(b + 32, 8, us);
    put(b + 40, 4, TRACE_PAGE);
    put(b + 44, 2, t->ncpu);
    return emit(w, b, sizeof(b));
}

static bool
emit_all(struct writer *w, const struct trace *t, size_t n, uint32_t *count)
{
    struct record end = { .op = OP_END };
    bool ok = emit_header(w, t, n);

    for (size_t i = 0; i < n; i++) {
        const struct record *r = &t->record[i];

        if ((r->op & 1) == 0 && r->op != OP_VMAP_PURGE) {
            count[r->type]++;
        }
    }
    for (unsigned i = 0; ok && i < t->ntype; i++) {
        ok = emit_type(w, &t->type[i], count[i]);
    }
    for (size_t i = 0; ok && i < n; i++) {
        ok = emit_record(w, &t->record[i]);
    }
    end.a = w->crc;
    return ok && emit_record(w, &end);
}

bool
kvt_write(FILE *f, const struct trace *t, size_t n)
{
    struct writer w = { .f = f };
    uint32_t *count = calloc((size_t)t->ntype + 1, sizeof(*count));
    bool ok;

    if (count == NULL) {
        return false;
    }
    if (t->nrecord > 0 && t->record[t->nrecord - 1].op == OP_END &&
        n >= t->nrecord) {
        n = t->nrecord - 1;
    }
    ok = emit_all(&w, t, n, count);
    free(count);
    return ok && fflush(f) == 0;
}
