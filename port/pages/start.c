/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page supply begins and ends.
 *
 * Its tables come first: three bits for each frame, a page or two of tags and
 * one for the hash, in one run at the end of some range, so that low memory is
 * left alone; or in what the caller donates, and then the rest of that are tags
 * and hash for as long as the supply lives.
 */
#include "port/pages/pages_impl.h"

#define pages kva__pages

/* Segments that the buckets in the arena itself have room for, five each. */
#define HASH_OWN (KVA__HASH_INLINE * 5u)

/* Between the locks of arenas and those of waiters, tags and metadata: it is
 * taken when an arena wants metadata, and tags are given with it held. */
#define RANK_PAGES (KVA_RANK_META - 4)

/* ---- tables ------------------------------------------------------------- */

/* Bytes of the bits of all ranges, in whole pages. */
static size_t
bits_bytes(const struct kva__frame_map *map)
{
    size_t words = 0;

    for (unsigned i = 0; i < map->n; i++) {
        words += 3u * bits_words(map->range[i].n);
    }
    return kva_round_up(words * sizeof(uintptr_t), KVA_PAGE_SIZE);
}

/* Pages of tags to begin with: two for each range, which the tables may cut in
 * two, and a stock. */
static size_t
tag_pages(const struct kva__frame_map *map)
{
    size_t tags = 2u * (map->n + 1u) + 2u * STOCK_MAX, n = 1;

    while (n * (PAGE_BTS - PAGE_BTS / KVA_VMEM_BTS_GROUP) < tags) {
        n++;
    }
    return n;
}

/* need frames at the end of a range that are mapped, and from min on. */
static bool
tables_place(const struct kva__frame_map *map, size_t need, uintptr_t min,
             uintptr_t *frame)
{
    for (unsigned i = map->n; i > 0; i--) {
        uintptr_t first = map->range[i - 1].base;
        uintptr_t end = first + map->range[i - 1].n;

        first = first < min ? min : first;
        first = first < pages.mapped_first ? pages.mapped_first : first;
        end = end > pages.mapped_end ? pages.mapped_end : end;
        if (end > first && end - first >= need) {
            *frame = end - need;
            return true;
        }
    }
    return false;
}

static void
ranges_set(const struct kva__frame_map *map, uintptr_t va)
{
    uintptr_t *bits = (uintptr_t *)va;

    pages.nranges = map->n;
    pages.high = 0;
    for (unsigned i = 0; i < map->n; i++) {
        struct kva__frames *f = &pages.range[i];
        size_t words = bits_words(map->range[i].n);

        f->base = map->range[i].base;
        f->n = map->range[i].n;
        f->first = bits;
        f->taken = f->first + words;
        f->held = f->taken + words;
        bits = f->held + words;
        pages.stat.total += f->n;
        if (f->base + f->n > pages.mapped_end) {
            pages.high = pages.mapped_end;
        }
    }
}

static void
arena_feed(uintptr_t va, size_t npages)
{
    for (size_t i = 0; i < npages; i++, va += KVA_PAGE_SIZE) {
        if (pages.tags > pages.hash_room || i + 1 == npages) {
            vmem_add_hash(&pages.arena, (void *)va);
            pages.hash_room += KVA_VMEM_HASH_TAGS;
        } else if (vmem_add_bts(&pages.arena, (struct kva_vmem_btag *)va,
                                PAGE_BTS) == 0) {
            pages.tags += PAGE_BTS - 1;
        }
    }
}

/* It cannot fail: there are tags for all spans (tag_pages). */
static void
span_add(uintptr_t first, uintptr_t end)
{
    int err = 0;

    if (first != end) {
        err = vmem_add(&pages.arena, first, end - first, VM_NOSLEEP);
    }
    KVA_ASSERT(err == 0);
    (void)err;
}

/* Every range, but for the supply's own frames in it. */
static void
spans_add(uintptr_t own, size_t nown)
{
    for (unsigned i = 0; i < pages.nranges; i++) {
        struct kva__frames *f = &pages.range[i];
        uintptr_t end = f->base + f->n;

        if (nown != 0 && own - f->base < f->n) {
            span_add(f->base, own);
            span_add(own + nown, end);
            for (size_t at = own - f->base; at < own - f->base + nown; at++) {
                bits_put(f->first, at, true);
                bits_put(f->held, at, true);
            }
        } else {
            span_add(f->base, end);
        }
    }
    pages.stat.own = nown;
}

/* ---- settings ----------------------------------------------------------- */

static int
refuse(int error, const char *why)
{
    kva__log("kva_pages_init: %s", why);
    return error;
}

/* The direct map in frames, as much of it as there are addresses. */
static int
direct_set(const struct kva_pages_boot *b)
{
    uint64_t room = (uint64_t)(UINTPTR_MAX - b->direct_va), bytes;
    kva_pa_t last;

    pages.mapped_first = pages.mapped_end = pages.mapped_va = 0;
    if (b->direct_bytes == 0) {
        return 0;
    }
    if (((b->direct_va | b->direct_pa) & KVA_PAGE_MASK) != 0) {
        return refuse(KVA_EINVAL, "expected a direct map of whole pages, found "
                                  "a misaligned address");
    }
    bytes = b->direct_bytes - 1 < room ? b->direct_bytes - 1 : room;
    last = b->direct_pa + bytes;
    last = last < b->direct_pa ? UINT64_MAX : last;
    if (b->direct_pa >> KVA_PAGE_SHIFT >= UINTPTR_MAX) {
        return 0; /* no frame that there is is mapped */
    }
    last = (last >> KVA_PAGE_SHIFT) +
           ((last & KVA_PAGE_MASK) == KVA_PAGE_MASK ? 1 : 0);
    pages.mapped_first = (uintptr_t)(b->direct_pa >> KVA_PAGE_SHIFT);
    pages.mapped_end = last > UINTPTR_MAX ? UINTPTR_MAX : (uintptr_t)last;
    pages.mapped_va = b->direct_va;
    return 0;
}

static int
settings_verify(const struct kva_pages_boot *b)
{
    if (b->direct_bytes == 0 && b->donated == NULL) {
        return refuse(KVA_EINVAL, "expected a direct map or donated memory, "
                                  "found neither");
    }
    if ((b->low_end & KVA_PAGE_MASK) != 0 ||
        b->low_end >> KVA_PAGE_SHIFT > UINTPTR_MAX) {
        return refuse(KVA_EINVAL,
                      "expected low_end at a page, found it elsewhere");
    }
    return direct_set(b);
}

/* ---- the start ---------------------------------------------------------- */

static void
arena_make(void)
{
    (void)vmem_init(&pages.arena, "frames", 0, 0, 1, NULL, NULL, NULL, 0,
                    VM_NOSLEEP | VM_PRIVTAGS, KVA_IPL_VM);
    kva_port_lock_fini(&pages.arena.lock);
    kva_port_lock_init(&pages.arena.lock, "frames", KVA_IPL_VM, RANK_PAGES + 1);
}

static int
start_donated(const struct kva_pages_boot *b, const struct kva__frame_map *map)
{
    uintptr_t va = kva_round_up((uintptr_t)b->donated, KVA_PAGE_SIZE);
    uintptr_t end =
        kva_round_down((uintptr_t)b->donated + b->donated_bytes, KVA_PAGE_SIZE);
    size_t bits = bits_bytes(map);
    size_t least = bits + ((tag_pages(map) + 1) << KVA_PAGE_SHIFT);

    if (end < va || end - va < least) {
        kva__log("kva_pages_init: expected at least %zu donated bytes in whole "
                 "pages, found %zu",
                 least, end < va ? 0 : (size_t)(end - va));
        return KVA_ENOMEM;
    }
    kva__memset((void *)va, 0, bits);
    ranges_set(map, va);
    arena_make();
    arena_feed(va + bits, (end - va - bits) >> KVA_PAGE_SHIFT);
    spans_add(0, 0);
    return 0;
}

static int
start_direct(const struct kva_pages_boot *b, const struct kva__frame_map *map)
{
    size_t bits = bits_bytes(map), more = tag_pages(map) + 1;
    size_t need = (bits >> KVA_PAGE_SHIFT) + more;
    uintptr_t own, va;

    if (!tables_place(map, need, (uintptr_t)(b->low_end >> KVA_PAGE_SHIFT),
                      &own) &&
        !tables_place(map, need, 0, &own)) {
        kva__log("kva_pages_init: expected %zu frames in a row in the direct "
                 "map for tables, found fewer",
                 need);
        return KVA_ENOMEM;
    }
    va = pages.mapped_va + ((own - pages.mapped_first) << KVA_PAGE_SHIFT);
    kva__memset((void *)va, 0, bits);
    ranges_set(map, va);
    arena_make();
    arena_feed(va + bits, more);
    spans_add(own, need);
    return 0;
}

int
kva_pages_init(const struct kva_pages_boot *b)
{
    static struct kva__frame_map map; /* a kilobyte: too much for a stack */
    int err;

    if (pages.up) {
        kva__misuse("kva_pages_init", "pages", "physical", 0,
                    "expected a supply that is not started, found it started");
    }
    err = kva__pages_map(b->map, b->nmap, &map);
    if (err == 0) {
        err = settings_verify(b);
    }
    if (err != 0) {
        return err;
    }
    pages.adding = false;
    pages.nstock = 0;
    pages.tags = 0;
    pages.hash_room = HASH_OWN;
    pages.stat = (struct kva_pages_stat){ .reserve = b->reserve };
    pages.low = (uintptr_t)(b->low_end >> KVA_PAGE_SHIFT);
    err = b->donated != NULL ? start_donated(b, &map) : start_direct(b, &map);
    if (err != 0) {
        return err;
    }
    kva_port_lock_init(&pages.lock, "pages", KVA_IPL_VM, RANK_PAGES);
    pages.up = true;
    return 0;
}

size_t
kva_pages_fini(void)
{
    if (!pages.up) {
        return 0;
    }
    pages.up = false; /* puts reach the bits alone from here on */
    vmem_xfreeall(&pages.arena);
    vmem_destroy(&pages.arena);
    if (kva_vmem_list == NULL) {
        vmem_fini();
    }
    return pages.stat.held;
}

/* ---- looking ------------------------------------------------------------ */

void
kva_pages_stat(struct kva_pages_stat *st)
{
    struct kva_vmem_stat arena = { 0 };
    kva_irq_t irq;

    kva__memset(st, 0, sizeof(*st));
    if (!pages.up) {
        return;
    }
    vmem_stat(&pages.arena, &arena);
    irq = kva_port_lock(&pages.lock);
    *st = pages.stat;
    st->free = st->total - st->own - st->held;
    st->reserve = st->reserve < st->free ? st->reserve : st->free;
    st->stock = pages.nstock;
    st->ranges = pages.nranges;
    kva_port_unlock(&pages.lock, irq);
    st->tags = arena.tags_busy + arena.tags_free + arena.tags_span;
    st->longest = vmem_size(&pages.arena, VMEM_MAXFREE);
}

/* What is wrong with the bits of one segment. */
struct look {
    const char *wrong;
    size_t idle, held, own;
};

static void
frame_look(const struct kva__frames *f, size_t at, bool busy, bool begins,
           struct look *look)
{
    bool first = bits_get(f->first, at), taken = bits_get(f->taken, at);
    bool held = bits_get(f->held, at);

    look->held += taken && held;
    look->idle += taken && !held;
    look->own += !taken && held;
    if (!busy && (first || taken || held)) {
        look->wrong = "a frame of a hole has no bit set";
    } else if (busy && !taken && !(first && held)) {
        look->wrong = "a frame of a segment is taken, or the supply's own";
    } else if (busy && first != begins) {
        look->wrong = "the first bit is set where a segment begins";
    }
}

static void
segment_look(void *arg, vmem_addr_t addr, vmem_size_t size, unsigned type)
{
    struct look *look = arg;

    for (unsigned i = 0; i < pages.nranges; i++) {
        const struct kva__frames *f = &pages.range[i];

        if (addr - f->base < f->n) {
            for (size_t k = 0; k < size; k++) {
                frame_look(f, addr - f->base + k, type == VMEM_ALLOC, k == 0,
                           look);
            }
        }
    }
}

const char *
kva_pages_check(void)
{
    struct look look = { NULL, 0, 0, 0 };
    const char *bad = vmem_check(&pages.arena);
    size_t idle;
    kva_irq_t irq;

    irq = kva_port_lock(&pages.lock);
    vmem_walk(&pages.arena, VMEM_ALLOC | VMEM_FREE, segment_look, &look);
    idle = pages.nstock + pages.stat.parked;
    if (bad == NULL) {
        bad = look.wrong;
    }
    if (bad == NULL && look.idle != idle) {
        bad = "what is taken and not held is in the stock, or parked";
    }
    if (bad == NULL && look.held != pages.stat.held) {
        bad = "frames that are held are counted";
    }
    if (bad == NULL && look.own > pages.stat.own) {
        bad = "the supply's own frames are counted";
    }
    kva_port_unlock(&pages.lock, irq);
    return bad;
}
