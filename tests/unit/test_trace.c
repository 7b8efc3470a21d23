/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The KVT reader.  Claim: it takes a good trace as it is, and refuses whatever
 * breaks a rule of the format, with the place and the reason.
 *
 * Shown on a trace of ten records that is built here: each test breaks one
 * rule in it, and sets the checksum right again, so that nothing but the rule
 * can be the reason.  Then every prefix of it, at the edge of a page that
 * cannot be read, and every single bit turned over.
 */
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "replay/kvt.h"
#include "replay/msan.h"
#include "tests/harness/test.h"

#define TYPES 4u
#define RECORDS 10u /* END included */
#define TYPE_AT(i) (KVT_HEADER + (i)*KVT_TYPE)
#define RECORD_AT(i) (TYPE_AT(TYPES) + (i)*KVT_RECORD)
#define DRAFT_BYTES RECORD_AT(RECORDS)

/* The records of the draft. */
enum {
    R_TICK,
    R_CACHE_ALLOC,
    R_KMALLOC,
    R_PAGE_ALLOC,
    R_VMAP_ALLOC,
    R_TICK_2,
    R_CACHE_FREE,
    R_PURGE,
    R_KFREE,
    R_END
};

/* Fields of a record, from its start. */
enum {
    F_OP = 0,
    F_CPU = 1,
    F_TYPE = 2,
    F_SLOT = 4,
    F_A = 8,
    F_B = 12
};

struct draft {
    uint8_t b[DRAFT_BYTES + 16];
    size_t n;
};

static void
poke(struct draft *d, size_t at, unsigned bytes, uint64_t v)
{
    for (unsigned i = 0; i < bytes; i++) {
        d->b[at + i] = (uint8_t)(v >> (8 * i));
    }
}

static void
type(struct draft *d, unsigned i, unsigned kind, unsigned count,
     const char *name)
{
    d->b[TYPE_AT(i)] = (uint8_t)kind;
    d->b[TYPE_AT(i) + 1] = 3;
    poke(d, TYPE_AT(i) + 12, 4, count);
    memcpy(&d->b[TYPE_AT(i) + 16], name, strlen(name));
}

static void
record(struct draft *d, unsigned i, unsigned op, unsigned ty, unsigned slot,
       unsigned a, unsigned b)
{
    poke(d, RECORD_AT(i) + F_OP, 1, op);
    poke(d, RECORD_AT(i) + F_TYPE, 2, ty);
    poke(d, RECORD_AT(i) + F_SLOT, 4, slot);
    poke(d, RECORD_AT(i) + F_A, 4, a);
    poke(d, RECORD_AT(i) + F_B, 4, b);
}

/* Set the checksum right. */
static void
seal(struct draft *d)
{
    poke(d, RECORD_AT(R_END) + F_A, 4, lzma_crc32(d->b, RECORD_AT(R_END), 0));
}

static void
draft_make(struct draft *d)
{
    static const uint8_t magic[8] = { 0x89, 'K',  'V',  'T',
                                      '\r', '\n', 0x1a, '\n' };

    memset(d, 0, sizeof(*d));
    d->n = DRAFT_BYTES;
    memcpy(d->b, magic, sizeof(magic));
    poke(d, 8, 2, 1);
    poke(d, 10, 2, KVT_HEADER);
    poke(d, 12, 2, KVT_RECORD);
    poke(d, 14, 2, KVT_TYPE);
    poke(d, 16, 4, TYPES);
    poke(d, 20, 4, 4);
    poke(d, 24, 8, RECORDS);
    poke(d, 32, 8, 100000);
    poke(d, 40, 4, 4096);
    poke(d, 44, 2, 2);
    memcpy(&d->b[96], "draft", 5);
    type(d, 0, 1, 1, "cache");
    type(d, 1, 2, 1, "site");
    type(d, 2, 3, 1, "slab");
    type(d, 3, 4, 1, "vmalloc");
    record(d, R_TICK, OP_TICK, 0, 0, 0, 0);
    record(d, R_CACHE_ALLOC, OP_CACHE_ALLOC, 0, 0, 100, 104);
    record(d, R_KMALLOC, OP_KMALLOC, 1, 1, 10, 16);
    record(d, R_PAGE_ALLOC, OP_PAGE_ALLOC, 2, 2, 3, 104);
    record(d, R_VMAP_ALLOC, OP_VMAP_ALLOC, 3, 3, 5, 0);
    record(d, R_TICK_2, OP_TICK, 0, 0, 100, 0);
    record(d, R_CACHE_FREE, OP_CACHE_FREE, 0, 0, 1, 0);
    record(d, R_PURGE, OP_VMAP_PURGE, 0, 0, 0, 0);
    record(d, R_KFREE, OP_KFREE, 1, 1, 2, 0);
    record(d, R_END, OP_END, 0, 0, 0, 0);
    seal(d);
}

static void
refused(const struct draft *d, uint64_t offset, const char *reason)
{
    struct kvt_error e;
    struct trace t;

    if (kvt_read_memory(d->b, d->n, &t, &e)) {
        trace_free(&t);
        FAIL("not refused; expected \"%s\"", reason);
    }
    CHECK_STR(e.reason, reason);
    CHECK_EQ(e.offset, offset);
}

/* A test that changes one field of the draft. */
#define REFUSED(test, at, bytes, value, offset, reason) \
    static void test(struct test_ctx *t)                \
    {                                                   \
        struct draft d;                                 \
                                                        \
        (void)t;                                        \
        draft_make(&d);                                 \
        poke(&d, at, bytes, value);                     \
        seal(&d);                                       \
        refused(&d, offset, reason);                    \
    }                                                   \
    _Static_assert((bytes) <= 8, "a field")

/* ---- the good one ----------------------------------------------------- */

static void
good_trace_is_read(struct test_ctx *t)
{
    struct draft d;
    struct kvt_error e;
    struct trace tr;

    (void)t;
    draft_make(&d);
    CHECK(kvt_read_memory(d.b, d.n, &tr, &e));
    CHECK_EQ(tr.nrecord, RECORDS);
    CHECK_EQ(tr.ntype, TYPES);
    CHECK_EQ(tr.nslot, 4);
    CHECK_EQ(tr.ncpu, 2);
    CHECK_EQ(tr.duration_us, 100000);
    CHECK_STR(tr.type[3].name, "vmalloc");
    CHECK_EQ(tr.record[R_CACHE_ALLOC].a, 100);
    CHECK_EQ(tr.record[R_CACHE_ALLOC].b, 104);
    CHECK_EQ(tr.record[R_VMAP_ALLOC].slot, 3);
    CHECK(trace_scan(&tr));
    CHECK_EQ(tr.peak, R_KMALLOC);
    CHECK_EQ(tr.peak_live_bytes, 110);
    CHECK_EQ(tr.peak_area_bytes, 5 * 4096);
    CHECK_EQ(tr.nsite, 2);
    trace_free(&tr);
}

/* ---- the header ------------------------------------------------------- */

REFUSED(wrong_magic, 1, 1, 'L', 0, "not a KVT trace: wrong magic");
REFUSED(wrong_version, 8, 2, 2, 8, "version is 2, expected 1");
REFUSED(wrong_header_size, 10, 2, 64, 10, "header size is 64, expected 128");
REFUSED(wrong_record_size, 12, 2, 24, 12, "record size is 24, expected 16");
REFUSED(wrong_type_size, 14, 2, 32, 14,
        "type-table entry size is 32, expected 64");
REFUSED(too_many_types, 16, 4, 65536, 16,
        "65536 types, at most 65535 are possible");
REFUSED(too_many_slots, 20, 4, 1u << 28, 20,
        "268435456 slots, there must be fewer than 268435456");
REFUSED(no_records, 24, 8, 0, 24, "no records, not even END");
REFUSED(wrong_page_size, 40, 4, 16384, 40, "page size is 16384, expected 4096");
REFUSED(no_cpus, 44, 2, 0, 44, "0 CPUs, expected 1 to 256");
REFUSED(too_many_cpus, 44, 2, 257, 44, "257 CPUs, expected 1 to 256");
REFUSED(reserved_of_header, 46, 2, 1, 46, "reserved field is 1, expected 0");
REFUSED(label_without_end, 127, 1, 'x', 96, "the label is not NUL-padded");

/* ---- the type table --------------------------------------------------- */

REFUSED(kind_zero, TYPE_AT(1), 1, 0, TYPE_AT(1),
        "type of kind 0, expected 1 to 4");
REFUSED(kind_too_large, TYPE_AT(1), 1, 5, TYPE_AT(1),
        "type of kind 5, expected 1 to 4");
REFUSED(alignment_too_large, TYPE_AT(3) + 1, 1, 64, TYPE_AT(3) + 1,
        "type aligned to 2^64, at most 2^30 is possible");
REFUSED(reserved_of_type, TYPE_AT(2) + 2, 2, 9, TYPE_AT(2) + 2,
        "reserved field of a type is not 0");
REFUSED(name_without_end, TYPE_AT(0) + 63, 1, 'x', TYPE_AT(0) + 16,
        "the name of a type is not NUL-padded");
REFUSED(count_wrong, TYPE_AT(1) + 12, 4, 7, TYPE_AT(1) + 12,
        "type 1 has 1 allocations, the table says 7");

/* ---- records ---------------------------------------------------------- */

REFUSED(op_zero, RECORD_AT(R_TICK) + F_OP, 1, 0, RECORD_AT(R_TICK),
        "op 0 is not known");
REFUSED(op_unknown, RECORD_AT(R_PURGE) + F_OP, 1, 12, RECORD_AT(R_PURGE),
        "op 12 is not known");
REFUSED(type_out_of_range, RECORD_AT(R_KMALLOC) + F_TYPE, 2, 4,
        RECORD_AT(R_KMALLOC), "type 4 is out of range, the header has 4");
REFUSED(slot_out_of_range, RECORD_AT(R_KMALLOC) + F_SLOT, 4, 4,
        RECORD_AT(R_KMALLOC), "slot 4 is out of range, the header has 4");
REFUSED(cpu_out_of_range, RECORD_AT(R_KMALLOC) + F_CPU, 1, 2,
        RECORD_AT(R_KMALLOC), "CPU 2, the header has 2");
REFUSED(kind_of_alloc, RECORD_AT(R_KMALLOC) + F_TYPE, 2, 0,
        RECORD_AT(R_KMALLOC), "type 0 is of kind 1, op 4 needs kind 2");
REFUSED(kind_of_free, RECORD_AT(R_KFREE) + F_TYPE, 2, 3, RECORD_AT(R_KFREE),
        "type 3 is of kind 4, op 5 needs kind 2");
REFUSED(slot_in_use, RECORD_AT(R_KMALLOC) + F_SLOT, 4, 0, RECORD_AT(R_KMALLOC),
        "allocation in slot 0, which is in use");
REFUSED(reason_of_free, RECORD_AT(R_CACHE_FREE) + F_A, 4, 3,
        RECORD_AT(R_CACHE_FREE), "reason 3 of a free, at most 2 is known");
REFUSED(b_of_free, RECORD_AT(R_CACHE_FREE) + F_B, 4, 1, RECORD_AT(R_CACHE_FREE),
        "field b of a free is 1, expected 0");
REFUSED(less_taken_than_asked, RECORD_AT(R_CACHE_ALLOC) + F_A, 4, 105,
        RECORD_AT(R_CACHE_ALLOC), "105 bytes asked for, but only 104 taken");
REFUSED(less_taken_by_kmalloc, RECORD_AT(R_KMALLOC) + F_B, 4, 9,
        RECORD_AT(R_KMALLOC), "10 bytes asked for, but only 9 taken");
REFUSED(order_too_large, RECORD_AT(R_PAGE_ALLOC) + F_A, 4, 21,
        RECORD_AT(R_PAGE_ALLOC), "page order 21, at most 20 is possible");
REFUSED(tick_with_slot, RECORD_AT(R_TICK_2) + F_SLOT, 4, 1, RECORD_AT(R_TICK_2),
        "type, slot and b of op 1 must be 0");
REFUSED(purge_with_type, RECORD_AT(R_PURGE) + F_TYPE, 2, 1, RECORD_AT(R_PURGE),
        "type, slot and b of op 10 must be 0");
REFUSED(time_goes_back, RECORD_AT(R_TICK) + F_A, 4, 101, RECORD_AT(R_TICK_2),
        "time goes back from 101 ms to 100 ms");
REFUSED(end_too_early, RECORD_AT(R_PURGE) + F_OP, 1, OP_END, RECORD_AT(R_PURGE),
        "END, but the header has more records");
REFUSED(no_end, RECORD_AT(R_END) + F_OP, 1, OP_TICK, RECORD_AT(R_END),
        "the last record is op 1, expected END");
REFUSED(end_with_slot, RECORD_AT(R_END) + F_SLOT, 4, 1, RECORD_AT(R_END),
        "type, slot and b of END must be 0");

static void
free_twice(struct test_ctx *t)
{
    struct draft d;

    (void)t;
    draft_make(&d);
    record(&d, R_PURGE, OP_CACHE_FREE, 0, 0, 0, 0);
    seal(&d);
    refused(&d, RECORD_AT(R_PURGE), "free of slot 0, which is empty");
}

static void
free_of_another_type(struct test_ctx *t)
{
    struct draft d;

    (void)t;
    draft_make(&d);
    d.b[TYPE_AT(2)] = KIND_CACHE;
    record(&d, R_PAGE_ALLOC, OP_CACHE_ALLOC, 2, 2, 8, 8);
    record(&d, R_CACHE_FREE, OP_CACHE_FREE, 2, 0, 0, 0);
    seal(&d);
    refused(&d, RECORD_AT(R_CACHE_FREE),
            "free of slot 0 as type 2, it holds type 0");
}

static void
wrong_checksum(struct test_ctx *t)
{
    struct draft d;
    char reason[64];
    uint32_t crc;

    (void)t;
    draft_make(&d);
    crc = lzma_crc32(d.b, RECORD_AT(R_END), 0);
    poke(&d, RECORD_AT(R_END) + F_A, 4, crc ^ 1u);
    snprintf(reason, sizeof(reason), "checksum is %08x, END says %08x",
             (unsigned)crc, (unsigned)(crc ^ 1u));
    refused(&d, RECORD_AT(R_END), reason);
}

static void
bytes_after_end(struct test_ctx *t)
{
    struct draft d;

    (void)t;
    draft_make(&d);
    d.n++;
    refused(&d, DRAFT_BYTES, "bytes after END");
}

/* ---- short files ------------------------------------------------------ */

static void
short_header(struct test_ctx *t)
{
    struct draft d;

    (void)t;
    draft_make(&d);
    d.n = 0;
    refused(&d, 0, "the file is empty");
    d.n = 100;
    refused(&d, 100, "the file ends inside the header");
}

static void
short_type_table(struct test_ctx *t)
{
    struct draft d;

    (void)t;
    draft_make(&d);
    d.n = TYPE_AT(2) + 5;
    refused(&d, d.n, "the file ends inside the type table");
}

static void
short_records(struct test_ctx *t)
{
    struct draft d;

    (void)t;
    draft_make(&d);
    d.n = RECORD_AT(3) + 5;
    refused(&d, d.n, "the file ends after 3 of 10 records");
    d.n = RECORD_AT(R_END) + 5;
    refused(&d, d.n, "the file ends inside the END record");
}

/* A header that claims more than there is must cost no memory for it. */
static void
claims_are_not_believed(struct test_ctx *t)
{
    struct draft d;

    (void)t;
    draft_make(&d);
    poke(&d, 24, 8, UINT64_MAX);
    record(&d, R_END, OP_TICK, 0, 0, 100, 0);
    refused(&d, DRAFT_BYTES,
            "the file ends after 10 of 18446744073709551615 records");
}

/* Every prefix, its last byte before a page that cannot be read. */
static void
never_reads_past_the_end(struct test_ctx *t)
{
    const size_t page = 4096;
    struct draft d;
    struct kvt_error e;
    struct trace tr;
    uint8_t *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)t;
    CHECK(map != MAP_FAILED);
    CHECK_EQ(mprotect(map + page, page, PROT_NONE), 0);
    draft_make(&d);
    for (size_t n = 0; n < d.n; n++) {
        uint8_t *p = map + page - n;

        memcpy(p, d.b, n);
        CHECK(!kvt_read_memory(p, n, &tr, &e));
        CHECK_LE(e.offset, n);
    }
    memcpy(map + page - d.n, d.b, d.n);
    CHECK(kvt_read_memory(map + page - d.n, d.n, &tr, &e));
    trace_free(&tr);
}

/* The checksum covers all but END, and END is checked field by field; only
 * its CPU means nothing. */
static void
every_bit_matters(struct test_ctx *t)
{
    struct draft d;
    struct kvt_error e;
    struct trace tr;

    (void)t;
    draft_make(&d);
    for (size_t bit = 0; bit < 8 * d.n; bit++) {
        if (bit / 8 == RECORD_AT(R_END) + F_CPU) {
            continue;
        }
        d.b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (kvt_read_memory(d.b, d.n, &tr, &e)) {
            trace_free(&tr);
            FAIL("bit %zu of byte %zu was turned over, and nobody noticed",
                 bit % 8, bit / 8);
        }
        d.b[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* Random damage with the checksum set right: refused or read, never worse. */
static void
damage_is_survived(struct test_ctx *t)
{
    struct draft d;
    struct kvt_error e;
    struct trace tr;

    for (unsigned long i = 0; i < t->count; i++) {
        draft_make(&d);
        for (unsigned k = 1 + (unsigned)test_rand_below(t, 4); k > 0; k--) {
            /* Not the slots' number: 2^28 of them take long to clear. */
            size_t at = 24 + (size_t)test_rand_below(t, d.n - 24);

            d.b[at] = (uint8_t)test_rand(t);
        }
        seal(&d);
        if (kvt_read_memory(d.b, d.n, &tr, &e)) {
            CHECK(trace_scan(&tr));
            trace_free(&tr);
        }
    }
}

/* ---- xz, and writing -------------------------------------------------- */

static size_t
compress(const struct draft *d, uint8_t *out, size_t room)
{
    size_t n = 0;
    lzma_ret ret;

    elsewhere_begin();
    ret = lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, NULL, d->b, d->n, out,
                                  &n, room);
    elsewhere_end();
    CHECK_EQ(ret, LZMA_OK);
    elsewhere_wrote(out, n);
    return n;
}

static void
xz_is_read(struct test_ctx *t)
{
    struct draft d;
    uint8_t xz[2 * DRAFT_BYTES];
    struct kvt_error e;
    struct trace tr;
    size_t n;

    (void)t;
    draft_make(&d);
    n = compress(&d, xz, sizeof(xz));
    CHECK(kvt_read_memory(xz, n, &tr, &e));
    CHECK_EQ(tr.nrecord, RECORDS);
    trace_free(&tr);
}

static void
xz_truncated(struct test_ctx *t)
{
    struct draft d;
    uint8_t xz[2 * DRAFT_BYTES];
    struct kvt_error e;
    struct trace tr;
    size_t n;

    (void)t;
    draft_make(&d);
    n = compress(&d, xz, sizeof(xz));
    for (size_t cut = 0; cut < n; cut++) {
        CHECK(!kvt_read_memory(xz, cut, &tr, &e));
    }
    CHECK_STR(e.reason, "the xz stream is truncated, or other bytes follow it");
}

static void
xz_damaged(struct test_ctx *t)
{
    struct draft d;
    uint8_t xz[2 * DRAFT_BYTES];
    struct kvt_error e;
    struct trace tr;
    size_t n;

    (void)t;
    draft_make(&d);
    n = compress(&d, xz, sizeof(xz));
    xz[n / 2] ^= 0x40;
    CHECK(!kvt_read_memory(xz, n, &tr, &e));
    CHECK_STR(e.reason, "the xz stream is damaged");
}

/* A cut is a good trace, with what was live at the cut still live. */
static void
cut_is_a_trace(struct test_ctx *t)
{
    struct draft d;
    struct kvt_error e;
    struct trace tr, cut;
    char *bytes;
    size_t n;

    (void)t;
    draft_make(&d);
    CHECK(kvt_read_memory(d.b, d.n, &tr, &e));
    for (size_t keep = 0; keep <= tr.nrecord; keep++) {
        FILE *f = open_memstream(&bytes, &n);

        CHECK(kvt_write(f, &tr, keep));
        CHECK_EQ(fclose(f), 0);
        if (!kvt_read_memory(bytes, n, &cut, &e)) {
            FAIL("cut after %zu: %s", keep, e.reason);
        }
        CHECK_EQ(cut.nrecord, keep < RECORDS ? keep + 1 : RECORDS);
        trace_free(&cut);
        if (keep == tr.nrecord) {
            CHECK_EQ(n, d.n);
            CHECK_EQ(memcmp(bytes, d.b, n), 0);
        }
        free(bytes);
    }
    trace_free(&tr);
}

const struct test trace_tests[] = { TEST("trace", good_trace_is_read),
                                    TEST("trace", wrong_magic),
                                    TEST("trace", wrong_version),
                                    TEST("trace", wrong_header_size),
                                    TEST("trace", wrong_record_size),
                                    TEST("trace", wrong_type_size),
                                    TEST("trace", too_many_types),
                                    TEST("trace", too_many_slots),
                                    TEST("trace", no_records),
                                    TEST("trace", wrong_page_size),
                                    TEST("trace", no_cpus),
                                    TEST("trace", too_many_cpus),
                                    TEST("trace", reserved_of_header),
                                    TEST("trace", label_without_end),
                                    TEST("trace", kind_zero),
                                    TEST("trace", kind_too_large),
                                    TEST("trace", alignment_too_large),
                                    TEST("trace", reserved_of_type),
                                    TEST("trace", name_without_end),
                                    TEST("trace", count_wrong),
                                    TEST("trace", op_zero),
                                    TEST("trace", op_unknown),
                                    TEST("trace", type_out_of_range),
                                    TEST("trace", slot_out_of_range),
                                    TEST("trace", cpu_out_of_range),
                                    TEST("trace", kind_of_alloc),
                                    TEST("trace", kind_of_free),
                                    TEST("trace", slot_in_use),
                                    TEST("trace", free_twice),
                                    TEST("trace", free_of_another_type),
                                    TEST("trace", reason_of_free),
                                    TEST("trace", b_of_free),
                                    TEST("trace", less_taken_than_asked),
                                    TEST("trace", less_taken_by_kmalloc),
                                    TEST("trace", order_too_large),
                                    TEST("trace", tick_with_slot),
                                    TEST("trace", purge_with_type),
                                    TEST("trace", time_goes_back),
                                    TEST("trace", end_too_early),
                                    TEST("trace", no_end),
                                    TEST("trace", end_with_slot),
                                    TEST("trace", wrong_checksum),
                                    TEST("trace", bytes_after_end),
                                    TEST("trace", short_header),
                                    TEST("trace", short_type_table),
                                    TEST("trace", short_records),
                                    TEST("trace", claims_are_not_believed),
                                    TEST("trace", never_reads_past_the_end),
                                    TEST("trace", every_bit_matters),
                                    TEST_COUNT("trace", damage_is_survived,
                                               2000, 20000, 1000000),
                                    TEST("trace", xz_is_read),
                                    TEST("trace", xz_truncated),
                                    TEST("trace", xz_damaged),
                                    TEST("trace", cut_is_a_trace),
                                    TEST_END };
