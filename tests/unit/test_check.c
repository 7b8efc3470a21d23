/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the checker sees every damage to what an arena keeps twice, says so by
 * name, and neither crashes nor hangs on any.
 *
 * Shown: in an arena that has each kind of tag, each field of each tag is
 * changed in turn: each bit, by one unit up and down, to zero, to the tag
 * itself, and for the field of each other tag.  The same for the fields of the
 * arena, the quantum caches and a window.  Each time the checker complains, or
 * the change is of a kind of which the table below says why nobody can see it.
 * Then several changes at a time, where it need only come back.
 */
#include <stdio.h>
#include <string.h>

#include "tests/harness/test.h"
#include "vmem/hash.h"
#include "vmem/indexed.h"
#include "vmem/qcache.h"

#define Q ((size_t)4096)
#define BASE ((uintptr_t)0x40000000)

/* ---- the arena ---------------------------------------------------------- */

#define TAGS_MAX 64u
#define SPARES 4u /* that many of the stock are damaged */

enum kind {
    SPAN,
    IMPORT,
    FREE,
    ALLOC,
    XALLOC,
    PIECE,
    SPARE,
    KINDS
};

static const char *const kind_name[] = { "span",  "imported span", "free",
                                         "alloc", "xalloc",        "piece",
                                         "spare" };

enum make {
    PLAIN_ARENA,
    PRIVATE,
    INDEXED
};

static struct {
    vmem_t *vm, *source;
    unsigned n;
    struct kva_vmem_btag *bt[TAGS_MAX];
    enum kind kind[TAGS_MAX];
    unsigned seen[KINDS];
} a;

static void
tag_add(struct kva_vmem_btag *bt, enum kind kind)
{
    CHECK_LT(a.n, TAGS_MAX);
    a.bt[a.n] = bt;
    a.kind[a.n] = kind;
    a.n++;
    a.seen[kind]++;
}

static void
tags_collect(void)
{
    static const enum kind of[] = { FREE,  FREE,   SPAN,  IMPORT,
                                    ALLOC, XALLOC, PIECE, SPARE };
    struct kva_vmem_btag *bt = a.vm->spare;

    a.n = 0;
    memset(a.seen, 0, sizeof(a.seen));
    for (kva__btag_ref_t ref = a.vm->span_first; ref != BT_NONE;) {
        struct kva_vmem_btag *span = bt_at(ref), *pos = span;

        do {
            tag_add(pos, of[bt_state(pos)]);
            pos = bt_next(pos);
        } while (pos != span);
        ref = span->u.link.next;
    }
    for (unsigned i = 0; i < SPARES && bt != NULL; i++, bt = bt->u.chain) {
        tag_add(bt, SPARE);
    }
}

/* More ranges that hash to one bucket than it has slots. */
static void
chain_make(void)
{
    kva__hash_slot_t *slot = a.vm->hash_inline[0].slot;
    struct kva_vmem_btag *bt = NULL;
    uintptr_t addr = BASE + 4130 * Q;
    unsigned length = 0;

    for (; length < 3; addr += Q) { /* where it is still free */
        if (hash_number(a.vm, hash_of(a.vm, addr)) == 0 &&
            vmem_xalloc_addr(a.vm, addr, Q, VM_NOSLEEP) == 0) {
            length += slot[KVA__HASH_SLOTS - 1] != 0;
        }
        CHECK_LT(addr, BASE + 4352 * Q);
    }
    CHECK_PTR(a.vm->hash_dir[0][0], a.vm->hash_inline);
    for (bt = bt_at(hash_slot_ref(slot[KVA__HASH_SLOTS - 1])); bt != NULL;
         bt = bt->u.chain) {
        length--;
    }
    CHECK_EQ(length, 0);
}

/* Spans of both kinds, holes and ranges of all, between holes and between
 * ranges; or, with tags of the caller's, all that does without importing. */
static void
arena_make(enum make make)
{
    vm_flag_t index = make == INDEXED ? VM_INDEX : 0;
    static struct kva_vmem_btag bts[64];
    uintptr_t got;

    a.source = vmem_create("source", BASE, 1024 * Q, Q, NULL, NULL, NULL, 0,
                           VM_NOSLEEP, KVA_IPL_NONE);
    CHECK(a.source != NULL);
    if (make == PRIVATE) {
        a.vm = vmem_create("private", 0, 0, Q, NULL, NULL, NULL, 0,
                           VM_NOSLEEP | VM_PRIVTAGS, KVA_IPL_NONE);
        CHECK_EQ(vmem_add_bts(a.vm, bts, KVA_COUNT(bts)), 0);
    } else {
        a.vm = vmem_create("checked", 0, 0, Q, vmem_alloc, vmem_free, a.source,
                           8 * Q, VM_NOSLEEP | index, KVA_IPL_NONE);
        CHECK_EQ(vmem_alloc(a.vm, 9 * Q, VM_NOSLEEP, &got), 0);
        CHECK_EQ(vmem_alloc(a.vm, 40 * Q, VM_NOSLEEP, &got), 0);
        for (unsigned i = 1; i <= 3; i++) { /* pieces, in spans of their own */
            CHECK_EQ(vmem_alloc(a.vm, i * Q, VM_NOSLEEP, &got), 0);
        }
    }
    CHECK_EQ(vmem_add(a.vm, BASE + 4096 * Q, 256 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_add(a.vm, BASE + 8192 * Q, 16 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xalloc_addr(a.vm, BASE + 4098 * Q, 3 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xalloc_addr(a.vm, BASE + 4101 * Q, 5 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xalloc_addr(a.vm, BASE + 4109 * Q, Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xalloc_addr(a.vm, BASE + 4113 * Q, 7 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xalloc_addr(a.vm, BASE + 8192 * Q, 16 * Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_alloc(a.vm, 11 * Q, VM_NOSLEEP, &got), 0);
    if (make == INDEXED) { /* holes enough of one class for a tree */
        for (unsigned i = 0; i < 5; i++) {
            CHECK_EQ(vmem_xalloc_addr(a.vm, BASE + (4170 + 36 * i) * Q, Q,
                                      VM_NOSLEEP),
                     0);
        }
    } else {
        chain_make();
    }
    /* So that there are some in stock, but not as many as are unused behind a
     * tag of the store that a damaged chain may lead to. */
    CHECK_EQ(vmem_xalloc_addr(a.vm, BASE + 4341 * Q, Q, VM_NOSLEEP), 0);
    CHECK_EQ(vmem_xalloc_addr(a.vm, BASE + 4345 * Q, Q, VM_NOSLEEP), 0);
    CHECK_PTR(vmem_check(a.vm), NULL);
    tags_collect();
}

/* ---- one damage --------------------------------------------------------- */

/* Bits of a word of a tag or a structure. */
struct field {
    const char *name;
    size_t offset, width;
    uint64_t mask;
    uint64_t unit; /* what one more is */
};

enum op {
    FLIP,
    PLUS,
    MINUS,
    ZERO,
    SELF,
    SWAP,
    OPS
};

static const char *const op_name[] = { "flip", "plus", "minus",
                                       "zero", "self", "swap" };

static uint64_t
word_get(const void *base, const struct field *f)
{
    uint64_t word = 0;

    memcpy(&word, (const char *)base + f->offset, f->width);
    return word & f->mask;
}

static void
word_set(void *base, const struct field *f, uint64_t value)
{
    uint64_t word = 0;

    memcpy(&word, (const char *)base + f->offset, f->width);
    word = (word & ~f->mask) | (value & f->mask);
    memcpy((char *)base + f->offset, &word, f->width);
}

static struct {
    unsigned long seen, benign;
    unsigned long reason[8];
} count;

/* A complaint begins with the name of what does not hold. */
static bool
complains(void)
{
    const char *bad = vmem_check(a.vm);

    if (bad == NULL) {
        bad = vmem_check(a.source); /* a swap may have hit a tag of its */
    }
    if (bad == NULL) {
        return false;
    }
    CHECK(bad[0] >= 'A' && bad[0] <= 'Z' && bad[1] >= '1' && bad[1] <= '9' &&
          bad[2] == ':');
    return true;
}

/* ---- fields of tags ----------------------------------------------------- */

#define FIELD(name, member, mask, unit)                             \
    {                                                               \
        name, offsetof(struct kva_vmem_btag, member),               \
            sizeof(((struct kva_vmem_btag *)0)->member), mask, unit \
    }
#define TAG_BYTES sizeof(struct kva_vmem_btag)
#define POINTER (~(uint64_t)BT_LOW_MASK)

enum {
    START,
    PREV,
    STATE,
    NEXT,
    LOW_NEXT,
    CHAIN,
    LINK_PREV,
    LINK_NEXT,
    LOW_PREV /* where the slot has bits there */
};

static const struct field tag_field[] = {
    [START] = FIELD("start", start, ~(uint64_t)0, Q),
    [PREV] = FIELD("prev", prev_bits, POINTER, TAG_BYTES),
    [STATE] = FIELD("state", prev_bits, BT_STATE_MASK, 1),
    [NEXT] = FIELD("next", next_bits, POINTER, TAG_BYTES),
    [LOW_NEXT] = FIELD("slot in next", next_bits, BT_LOW_MASK, 1),
    [CHAIN] = FIELD("chain", u.chain, ~(uint64_t)0, TAG_BYTES),
#if KVA_WORD_64
    [LINK_PREV] = FIELD("link.prev", u.link.prev, ~(uint64_t)0, 1),
    [LINK_NEXT] = FIELD("link.next", u.link.next, ~(uint64_t)0, 1),
    [LOW_PREV] = FIELD("slot in prev", prev_bits, 0x18, 8),
#else
    [LINK_PREV] = FIELD("link.prev", u.link.prev, ~(uint64_t)0, TAG_BYTES),
    [LINK_NEXT] = FIELD("link.next", u.link.next, ~(uint64_t)0, TAG_BYTES),
#endif
};

static bool
has_field(enum kind kind, unsigned f)
{
    bool linked = kind == FREE || kind == SPAN || kind == IMPORT;

    return f == CHAIN                         ? !linked
           : f == LINK_PREV || f == LINK_NEXT ? linked
                                              : true;
}

/*
 * Nobody can see it:
 *   0  an unused tag is but a place in the stock: its bounds mean nothing
 *   1  whether vmem_alloc or vmem_xalloc made a range stands in its tag alone;
 *      its free, which names one, finds out
 *   2  where one live range ends and the next begins stands in one tag alone,
 *      but for the bucket it hashes to, and another may be the same; a free of
 *      either, which names the size, finds out
 *   3  a range that says it is a piece: for a moment each is, on its way to the
 *      windows or from them; its free finds out
 *   4  a link that nobody follows: the chain of a segment in a slot of the hash
 *      or an index, and the link back of the first of a class
 */
static bool
in_slot(struct kva_vmem_btag *bt)
{
    kva__hash_slot_t *slot;

    return hash_find_slot(a.vm, bt->start, &slot) == bt;
}

static bool
first_of_class(struct kva_vmem_btag *bt)
{
    unsigned c = class_of_tag(a.vm, bt);

    return !class_is_ordered(a.vm, c) && a.vm->class_head[c] == bt_ref(bt);
}

static int
state_reason(unsigned i)
{
    enum btag_state state = bt_state(a.bt[i]);

    if (a.kind[i] != ALLOC && a.kind[i] != XALLOC) {
        return -1;
    }
    if (state == BT_ALLOC || state == BT_XALLOC) {
        return 1;
    }
    return state == BT_PIECE && a.vm->qcache != NULL ? 3 : -1;
}

static int
link_reason(unsigned i)
{
    if (a.kind[i] == FREE) {
        return first_of_class(a.bt[i]) ? 4 : -1;
    }
    return bt_is_busy(a.bt[i]) && in_slot(a.bt[i]) ? 4 : -1;
}

static int
tag_reason(unsigned i, unsigned f, uint64_t was)
{
    const struct kva_vmem_btag *bt = a.bt[i];

    if (a.kind[i] == SPARE) {
        return f == START || f == PREV || f == NEXT ? 0 : -1;
    }
    if (f == STATE) {
        return state_reason(i);
    }
    if (f == CHAIN || f == LINK_PREV) {
        return link_reason(i);
    }
    if (f == START && bt_is_busy(bt) && bt_is_busy(bt_prev(bt)) &&
        hash_number(a.vm, hash_of(a.vm, bt->start)) ==
            hash_number(a.vm, hash_of(a.vm, (uintptr_t)was)) &&
        hash_print(hash_of(a.vm, bt->start)) ==
            hash_print(hash_of(a.vm, (uintptr_t)was))) {
        return 2;
    }
    return -1;
}

static uint64_t
self_of(unsigned i, unsigned f)
{
    if (f == LINK_PREV || f == LINK_NEXT) {
        return (uint64_t)(uintptr_t)bt_ref(a.bt[i]);
    }
    return (uint64_t)(uintptr_t)a.bt[i];
}

/* The new value of field f of tag i; false: this op does not change it. */
static bool
tag_value(unsigned i, unsigned f, enum op op, unsigned k, uint64_t *value)
{
    const struct field *field = &tag_field[f];
    uint64_t was = word_get(a.bt[i], field);

    switch (op) {
    case FLIP:
        *value = was ^ (uint64_t)1 << k;
        break;
    case PLUS:
        *value = was + field->unit;
        break;
    case MINUS:
        *value = was - field->unit;
        break;
    case ZERO:
        *value = 0;
        break;
    case SELF:
        *value = self_of(i, f);
        if (f == START || f == STATE || f == LOW_NEXT || f == LOW_PREV) {
            return false;
        }
        break;
    default:
        *value = word_get(a.bt[k], field);
    }
    *value &= field->mask;
    if (field->width == 4) {
        *value &= 0xffffffffu;
    }
    return *value != was;
}

static void
tag_damage(unsigned i, unsigned f, enum op op, unsigned k)
{
    const struct field *field = &tag_field[f];
    uint64_t was = word_get(a.bt[i], field), value;
    int reason;

    if (!tag_value(i, f, op, k, &value)) {
        return;
    }
    word_set(a.bt[i], field, value);
    if (op == SWAP) {
        word_set(a.bt[k], field, was);
    }
    if (complains()) {
        count.seen++;
    } else {
        reason = tag_reason(i, f, was);
        if (op == SWAP && reason == -1) {
            reason = tag_reason(k, f, value);
        }
        if (reason == -1) {
            FAIL("%s tag %u, field %s: %s %u from 0x%llx to 0x%llx is not seen",
                 kind_name[a.kind[i]], i, field->name, op_name[op], k,
                 (unsigned long long)was, (unsigned long long)value);
        }
        count.benign++;
        count.reason[reason]++;
    }
    word_set(a.bt[i], field, was);
    if (op == SWAP) {
        word_set(a.bt[k], field, value);
    }
}

static void
tag_damages(unsigned i, unsigned f)
{
    const struct field *field = &tag_field[f];

    for (unsigned b = 0; b < 8 * field->width; b++) {
        if ((field->mask >> b & 1) != 0) {
            tag_damage(i, f, FLIP, b);
        }
    }
    for (enum op op = PLUS; op <= SELF; op++) {
        tag_damage(i, f, op, 0);
    }
    for (unsigned k = 0; k < a.n; k++) {
        if (has_field(a.kind[k], f)) {
            tag_damage(i, f, SWAP, k);
        }
    }
}

static void
each_field_of_each_tag(enum make make)
{
    bool private = make == PRIVATE;

    PORT(NULL);
    memset(&count, 0, sizeof(count));
    arena_make(make);
    for (unsigned k = 0; k < KINDS; k++) {
        CHECK(a.seen[k] > 0 || (private && (k == IMPORT || k == PIECE)));
    }
    for (unsigned i = 0; i < a.n; i++) {
        for (unsigned f = 0; f < KVA_COUNT(tag_field); f++) {
            if (has_field(a.kind[i], f)) {
                tag_damages(i, f);
            }
        }
    }
    CHECK_PTR(vmem_check(a.vm), NULL);
    CHECK_GT(count.seen, 2000);
    CHECK_GT(count.reason[0], 0);
    CHECK_GT(count.reason[1], 0);
    CHECK(private == (count.reason[3] == 0));
    CHECK_GT(count.reason[4], 0);
    printf("%u tags: %lu damages seen; not to be seen: %lu unused, %lu origin, "
           "%lu bounds, %lu pieces, %lu links\n",
           a.n, count.seen, count.reason[0], count.reason[1], count.reason[2],
           count.reason[3], count.reason[4]);
}

static void
tags_of_the_store(struct test_ctx *t)
{
    (void)t;
    each_field_of_each_tag(PLAIN_ARENA);
}

static void
tags_of_the_caller(struct test_ctx *t)
{
    (void)t;
    each_field_of_each_tag(PRIVATE);
}

static void
tags_with_an_index(struct test_ctx *t)
{
    (void)t;
    each_field_of_each_tag(INDEXED);
}

/* ---- fields of other structures ----------------------------------------- */

#define PLAIN(type, member)                                           \
    {                                                                 \
#member, offsetof(type, member), sizeof(((type *)0)->member), \
            ~(uint64_t)0, 1                                           \
    }

/* An array gives as many fields. */
#define ELEMENTS(type, member)                                        \
    {                                                                 \
#member, offsetof(type, member), sizeof(((type *)0)->member), \
            sizeof(((type *)0)->member[0]), 1                         \
    }

static const struct field arena_field[] = {
    PLAIN(struct kva_vmem, quantum_shift),
    PLAIN(struct kva_vmem, open),
    PLAIN(struct kva_vmem, qcache_max),
    PLAIN(struct kva_vmem, class_summary),
    PLAIN(struct kva_vmem, hash_buckets),
    PLAIN(struct kva_vmem, hash_mask),
    PLAIN(struct kva_vmem, hash_count),
    PLAIN(struct kva_vmem, hash_grow_at),
    PLAIN(struct kva_vmem, hash_shrink_at),
    PLAIN(struct kva_vmem, spare),
    PLAIN(struct kva_vmem, nspare),
    PLAIN(struct kva_vmem, span_first),
    PLAIN(struct kva_vmem, span_last),
    PLAIN(struct kva_vmem, audit_n),
    PLAIN(struct kva_vmem, stat.mem_inuse),
    PLAIN(struct kva_vmem, stat.mem_import),
    PLAIN(struct kva_vmem, stat.mem_total),
    PLAIN(struct kva_vmem, nsegments),
    PLAIN(struct kva_vmem, stat.tags_free),
    PLAIN(struct kva_vmem, stat.tags_span),
    PLAIN(struct kva_vmem, stat.spans),
    PLAIN(struct kva_vmem, stat.spans_import),
};

/* Each element is damaged, and swapped with each other; mask is its width. */
static const struct field arena_array[] = {
    ELEMENTS(struct kva_vmem, class_map),
    ELEMENTS(struct kva_vmem, class_head),
    { "hash_inline", offsetof(struct kva_vmem, hash_inline),
      sizeof(((struct kva_vmem *)0)->hash_inline), sizeof(kva__hash_slot_t),
      1 },
};

static const struct field qcache_field[] = {
    PLAIN(struct kva__qcache, vm),     PLAIN(struct kva__qcache, nwindows),
    PLAIN(struct kva__qcache, origin), PLAIN(struct kva__qcache, held),
    PLAIN(struct kva__qcache, nfree),
};

static const struct field window_field[] = {
    PLAIN(struct window, base),
    PLAIN(struct window, nfree),
    PLAIN(struct window, nheld),
    PLAIN(struct window, order),
};

static const struct field window_array[] = {
    ELEMENTS(struct window, free),
    ELEMENTS(struct window, held),
    ELEMENTS(struct window, piece),
    ELEMENTS(struct window, state),
};

/* Is what comes before a byte of a window's states of a run in a magazine? */
static bool
behind_cached(const void *base, const struct field *f)
{
    const uint8_t *first = ((const struct window *)base)->state;
    const uint8_t *state = (const uint8_t *)base + f->offset;

    while (state > first && state[-1] == RUN_INSIDE) {
        state--;
    }
    return state > first && state[-1] == RUN_CACHED;
}

/*
 * Nobody can see it: whether an item is live or cached is known to its owner,
 * who changes the byte without a lock; and how long a cached one is only to its
 * magazine, so that what is behind it may seem to be of it.
 */
static bool
owner_knows(const void *base, const struct field *f, uint64_t was,
            uint64_t value)
{
    if (strcmp(f->name, "state") != 0) {
        return false;
    }
    return (was == RUN_CACHED && run_is_live((uint8_t)value)) ||
           (value == RUN_CACHED && run_is_live((uint8_t)was)) ||
           (value == RUN_INSIDE && was == 1 && behind_cached(base, f)) ||
           (was == RUN_INSIDE && value == 1 && behind_cached(base, f));
}

static void
value_try(void *base, const struct field *f, uint64_t value)
{
    uint64_t was = word_get(base, f);

    if (f->width < 8) {
        value &= ((uint64_t)1 << 8 * f->width) - 1;
    }
    if (value == was) {
        return;
    }
    word_set(base, f, value);
    if (complains()) {
        count.seen++;
    } else if (owner_knows(base, f, was, value)) {
        count.benign++;
    } else {
        FAIL("%s at %zu from 0x%llx to 0x%llx is not seen", f->name, f->offset,
             (unsigned long long)was, (unsigned long long)value);
    }
    word_set(base, f, was);
}

static void
field_damages(void *base, const struct field *f)
{
    uint64_t was = word_get(base, f);

    for (unsigned b = 0; b < 8 * f->width; b++) {
        value_try(base, f, was ^ (uint64_t)1 << b);
    }
    value_try(base, f, was + 1);
    value_try(base, f, was - 1);
    value_try(base, f, was + Q);
    value_try(base, f, was - Q);
    value_try(base, f, 0);
    value_try(base, f, ~(uint64_t)0);
}

/* In a bucket of the hash slots have no order. */
static bool
same_bucket(const struct field *f, const struct field *g)
{
    size_t start = offsetof(struct kva_vmem, hash_inline);
    size_t size = sizeof(struct kva__hash_bucket);

    return strcmp(f->name, "hash_inline") == 0 &&
           (f->offset - start) / size == (g->offset - start) / size;
}

static void
array_damages(void *base, const struct field *array)
{
    size_t width = (size_t)array->mask;
    struct field f = { array->name, 0, width, ~(uint64_t)0, 1 };
    struct field other = f;

    for (size_t at = 0; at < array->width; at += width) {
        f.offset = array->offset + at;
        field_damages(base, &f);
        other.offset = f.offset + width; /* swapped with its neighbour */
        if (at + width < array->width && width > 1) {
            uint64_t x = word_get(base, &f), y = word_get(base, &other);

            word_set(base, &f, y);
            word_set(base, &other, x);
            if (x != y && !complains()) {
                CHECK(same_bucket(&f, &other));
                count.benign++;
            }
            word_set(base, &f, x);
            word_set(base, &other, y);
        }
    }
}

static void
each_field_of_an_arena(struct test_ctx *t)
{
    (void)t;
    PORT(NULL);
    memset(&count, 0, sizeof(count));
    arena_make(PLAIN_ARENA);
    for (unsigned i = 0; i < KVA_COUNT(arena_field); i++) {
        field_damages(a.vm, &arena_field[i]);
    }
    for (unsigned i = 0; i < KVA_COUNT(arena_array); i++) {
        array_damages(a.vm, &arena_array[i]);
    }
    CHECK_LT(count.benign, KVA__HASH_INLINE * KVA__HASH_SLOTS);
    CHECK_GT(count.seen, 20000 / (KVA_WORD_64 ? 1 : 4));
    CHECK_PTR(vmem_check(a.vm), NULL);
    printf("arena: %lu damages seen, %lu of order in a bucket\n", count.seen,
           count.benign);
}

static void
each_field_of_the_quantum_caches(struct test_ctx *t)
{
    struct kva_vmem_btag *bt = NULL;
    struct window *w;

    (void)t;
    PORT(NULL);
    memset(&count, 0, sizeof(count));
    arena_make(PLAIN_ARENA);
    for (unsigned i = 0; i < a.n && bt == NULL; i++) {
        bt = a.kind[i] == PIECE ? a.bt[i] : NULL;
    }
    CHECK(bt != NULL);
    w = kva__qcache_window(a.vm->qcache, bt->start);
    CHECK(w != NULL);
    for (unsigned i = 0; i < KVA_COUNT(qcache_field); i++) {
        field_damages(a.vm->qcache, &qcache_field[i]);
    }
    for (unsigned i = 0; i < KVA_COUNT(window_field); i++) {
        field_damages(w, &window_field[i]);
    }
    for (unsigned i = 0; i < KVA_COUNT(window_array); i++) {
        array_damages(w, &window_array[i]);
    }
    CHECK_PTR(vmem_check(a.vm), NULL);
    CHECK_GT(count.seen, 5000);
    CHECK_GT(count.benign, 0);
    printf("quantum caches: %lu damages seen, %lu live or cached\n", count.seen,
           count.benign);
}

/* ---- many at a time ----------------------------------------------------- */

/* Any words of tags and counters take any value: the checker comes back, and so
 * does the print that takes no lock. */
static void
comes_back_from_anything(struct test_ctx *t)
{
    static struct kva_vmem_btag was[TAGS_MAX];
    static struct kva_vmem vm_was;
    unsigned long complaints = 0;

    PORT(NULL);
    arena_make(test_rand_below(t, 2) == 0 ? PLAIN_ARENA : INDEXED);
    vm_was = *a.vm;
    for (unsigned i = 0; i < a.n; i++) {
        was[i] = *a.bt[i];
    }
    for (unsigned long n = 0; n < t->count; n++) {
        unsigned changes = 1 + (unsigned)test_rand_below(t, 4);

        for (unsigned c = 0; c < changes; c++) {
            unsigned i = (unsigned)test_rand_below(t, a.n);
            unsigned f = (unsigned)test_rand_below(t, KVA_COUNT(tag_field));
            unsigned k = (unsigned)test_rand_below(t, a.n);
            const struct field *af =
                &arena_field[test_rand_below(t, KVA_COUNT(arena_field))];

            switch (test_rand_below(t, 4)) {
            case 0:
                word_set(a.vm, af, test_rand(t) >> test_rand_below(t, 64));
                break;
            case 1:
                word_set(a.bt[i], &tag_field[f], test_rand(t));
                break;
            case 2:
                word_set(a.bt[i], &tag_field[f], self_of(k, f));
                break;
            default:
                word_set(a.bt[i], &tag_field[f],
                         word_get(a.bt[k], &tag_field[f]));
            }
        }
        complaints += vmem_check(a.vm) != NULL;
        vmem_print((uintptr_t)a.vm, "l", NULL);
        *a.vm = vm_was;
        for (unsigned i = 0; i < a.n; i++) {
            *a.bt[i] = was[i];
        }
        CHECK_PTR(vmem_check(a.vm), NULL);
    }
    CHECK_GT(complaints, t->count / 2);
}

const struct test check_tests[] = {
    TEST("check", tags_of_the_store),
    TEST("check", tags_of_the_caller),
    TEST("check", tags_with_an_index),
    TEST("check", each_field_of_an_arena),
    TEST("check", each_field_of_the_quantum_caches),
    TEST_LEAST("check", comes_back_from_anything, 300, 2000, 50000, 1000000),
    TEST_END
};
