/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tags: where they come from and how a 32-bit reference finds one.
 *
 *     group, 4 KiB:   | header | tag 1 | tag 2 | ... | tag 127 |
 *
 *     reference:      group number << 7 | slot      directory: two levels
 *
 * A group lies anywhere in memory: in a metadata page, or in an array that a
 * caller gave to an arena.  From a tag its slot leads to the group's header,
 * which knows the group's number; from a number the directory leads to the
 * group.  Directory entries are written before the first tag of the group is
 * handed out and erased after the last is back, so readers need no lock.
 *
 * Each arena has a stock of its own (spare), from which operations take what
 * was ensured before they began; tags come to it and leave it in batches.  A
 * part of it may be reserved (budget.c), and is then not surplus.  A caller's
 * tags never leave their arena.
 */
#include "vmem/vmem_impl.h"

/* Tags taken from the store at a time. */
#define SPARE_BATCH 8u

/*
 * From an address to the group it may lie in: for who was handed a pointer and
 * must not follow it unseen (the checker, whatis).  2^8 chains: a million tags
 * have 8,000 groups, 31 in a chain.
 */
#define KNOWN_BUCKETS 256u

static struct {
    kva_lock_t lock;
    struct btag_group *groups; /* (m) with an unused tag */
    size_t nunused;            /* (m) in all groups */
    size_t ntags;              /* (m) tags of all groups, callers' included */
    struct btag_group *known[KNOWN_BUCKETS]; /* (m) all, by address */
#if KVA_WORD_64
    uint32_t ngroups; /* (m) numbers given out so far */
    uint32_t npages;  /* (m) of the directory, but for the first */
    uint32_t vacant;  /* (m) chain of numbers given back, +1 */
#endif
} store;

/* Unused tags that the store keeps when it gives pages back. */
#define STORE_RESERVE 64u

#define TAGS_PER_GROUP \
    ((unsigned)(BT_GROUP_BYTES / sizeof(struct kva_vmem_btag)))

#if KVA_WORD_64
_Static_assert(sizeof(struct kva_vmem_btag) == 32, "a tag is 32 bytes");
_Static_assert(sizeof(struct btag_group) == 32, "a header takes one slot");
_Static_assert(BT_GROUP_BYTES / 32 == 1u << BT_SLOT_BITS, "slots of a group");
/* The first page is here, so that an arena with a caller's tags needs none. */
static uintptr_t dir_first[1u << BT_DIR_SHIFT];
uintptr_t kva__btag_dir[BT_DIR_TOP] = { (uintptr_t)dir_first };
#else
_Static_assert(sizeof(struct kva_vmem_btag) == 24, "a tag is 24 bytes");
_Static_assert(sizeof(struct btag_group) == 24, "a header takes one slot");
#endif

void
kva__btag_bootstrap(void)
{
    kva_port_lock_init(&store.lock, "tags", KVA_IPL_VM, KVA_RANK_META - 1);
}

/* ---- directory ------------------------------------------------------- */

#if KVA_WORD_64
/*
 * An entry is where tag 0 would be, were this group's number the place it has
 * in an array of groups.  One that stands for no group holds the next vacant
 * number, plus one, shifted left by one with the low bit set.
 */
static uintptr_t *
dir_entry(uint32_t id)
{
    return (uintptr_t *)(kva__btag_dir[id >> BT_DIR_SHIFT] +
                         id * sizeof(uintptr_t));
}

static struct btag_group *
dir_group(uint32_t id)
{
    return (struct btag_group *)(*dir_entry(id) + id * BT_GROUP_BYTES);
}

/* The next number has no page of the directory to stand in.  Store locked. */
static bool
dir_is_full(void)
{
    return store.vacant == 0 && store.ngroups >> BT_DIR_SHIFT > store.npages;
}

/* Room in the directory for one more group; false if there is no memory.
 * Store locked, but not while the page comes. */
static bool
dir_ensure(kva_irq_t *irq)
{
    void *page = NULL;

    if (!dir_is_full() || store.npages + 1 == BT_DIR_TOP) {
        return !dir_is_full();
    }
    kva_port_unlock(&store.lock, *irq);
    page = kva__meta_page_get(KVA_META_TAGS);
    *irq = kva_port_lock(&store.lock);
    if (page != NULL && dir_is_full() && store.npages + 1 != BT_DIR_TOP) {
        uint32_t n = ++store.npages;

        kva__btag_dir[n] =
            (uintptr_t)page - (n << BT_DIR_SHIFT) * sizeof(uintptr_t);
        page = NULL;
    }
    if (page != NULL) { /* somebody else was quicker */
        kva_port_unlock(&store.lock, *irq);
        kva__meta_page_put(page, KVA_META_TAGS);
        *irq = kva_port_lock(&store.lock);
    }
    return !dir_is_full();
}

/* A number for the group, for which there is room. */
static void
dir_enter(struct btag_group *group)
{
    uint32_t id = store.ngroups;

    if (store.vacant != 0) {
        id = store.vacant - 1;
        store.vacant = (uint32_t)(*dir_entry(id) >> 1);
    } else {
        store.ngroups++;
    }
    group->id = id;
    *dir_entry(id) = (uintptr_t)group - id * BT_GROUP_BYTES;
}

static void
dir_leave(struct btag_group *group)
{
    *dir_entry(group->id) = (uintptr_t)store.vacant << 1 | 1;
    store.vacant = group->id + 1;
}
#else
static bool
dir_is_full(void)
{
    return false;
}

static bool
dir_ensure(kva_irq_t *irq)
{
    (void)irq;
    return true;
}

static void
dir_enter(struct btag_group *group)
{
    group->id = 0;
}

static void
dir_leave(struct btag_group *group)
{
    (void)group;
}
#endif

/* ---- groups by address ----------------------------------------------- */

#define GROUP_SHIFT 12u

static unsigned
group_total(const struct btag_group *group)
{
    return group->total & ~BT_GROUP_PRIVATE;
}

static struct btag_group **
known_chain(uintptr_t page)
{
    return &store.known[(page ^ page >> 8) & (KNOWN_BUCKETS - 1)];
}

static void
known_enter(struct btag_group *group)
{
    struct btag_group **head = known_chain((uintptr_t)group >> GROUP_SHIFT);

    group->chain = *head;
    *head = group;
    store.ntags += group_total(group);
}

static void
known_leave(struct btag_group *group)
{
    struct btag_group **pos = known_chain((uintptr_t)group >> GROUP_SHIFT);

    while (*pos != group) {
        pos = &(*pos)->chain;
    }
    *pos = group->chain;
    store.ntags -= group_total(group);
}

/* The group around addr, which may be any number; NULL: there is none. */
static struct btag_group *
known_find(uintptr_t addr)
{
    uintptr_t page = addr >> GROUP_SHIFT;

    /* A caller's group may begin anywhere, so also in the page before. */
    for (unsigned back = 0; back < 2; back++) {
        struct btag_group *group = *known_chain(page - back);

        for (; group != NULL; group = group->chain) {
            if (addr - (uintptr_t)group <
                (group_total(group) + 1) * sizeof(struct kva_vmem_btag)) {
                return group;
            }
        }
    }
    return NULL;
}

/* ---- groups ---------------------------------------------------------- */

static void
tag_init(struct btag_group *group, unsigned slot, bool private)
{
    struct kva_vmem_btag *bt = (struct kva_vmem_btag *)(void *)group + slot;

#if KVA_WORD_64
    (void)private;
    bt->prev_bits = (uintptr_t)(slot & 0x60) >> 2 | BT_UNUSED;
    bt->next_bits = slot & 0x1f;
#else
    bt->prev_bits = BT_UNUSED;
    bt->next_bits = private;
#endif
    bt->start = (uintptr_t)bt_ref(bt);
}

static struct btag_group *
group_of(struct kva_vmem_btag *bt)
{
#if KVA_WORD_64
    return (struct btag_group *)(void *)(bt - bt_slot(bt));
#else
    return (struct btag_group *)kva_round_down((uintptr_t)bt, BT_GROUP_BYTES);
#endif
}

static bool
tag_is_private(struct kva_vmem_btag *bt)
{
#if KVA_WORD_64
    return (group_of(bt)->total & BT_GROUP_PRIVATE) != 0;
#else
    return (bt->next_bits & 1) != 0;
#endif
}

/* The chain of unused tags is headed by a slot, to keep the header short. */
static struct kva_vmem_btag *
group_first(struct btag_group *group)
{
    return group->unused == 0
               ? NULL
               : (struct kva_vmem_btag *)(void *)group + group->unused;
}

static uint8_t
group_slot(struct btag_group *group, struct kva_vmem_btag *bt)
{
    return bt == NULL ? 0
                      : (uint8_t)(bt - (struct kva_vmem_btag *)(void *)group);
}

static void
group_list(struct btag_group *group)
{
    group->prev = NULL;
    group->next = store.groups;
    if (group->next != NULL) {
        group->next->prev = group;
    }
    store.groups = group;
}

static void
group_unlist(struct btag_group *group)
{
    if (group->prev != NULL) {
        group->prev->next = group->next;
    } else {
        store.groups = group->next;
    }
    if (group->next != NULL) {
        group->next->prev = group->prev;
    }
}

/* Turn 4 KiB into a group of unused tags; there is room for it in the
 * directory.  Store locked. */
static void
group_make(void *mem)
{
    struct btag_group *group = mem;
    struct kva_vmem_btag *bt = mem;

    dir_enter(group);
    group->total = (uint16_t)(TAGS_PER_GROUP - 1);
    known_enter(group);
    for (unsigned slot = TAGS_PER_GROUP - 1; slot >= 1; slot--) {
        tag_init(group, slot, false);
        bt[slot].u.chain = slot == TAGS_PER_GROUP - 1 ? NULL : &bt[slot + 1];
    }
    group->unused = 1;
    group->nunused = (uint8_t)(TAGS_PER_GROUP - 1);
    store.nunused += TAGS_PER_GROUP - 1;
    group_list(group);
}

/*
 * More tags for the store, which is locked, but not while the page comes: pages
 * may be handed out by an arena, one with a caller's tags, which wants the lock
 * when it is given some.
 */
static bool
store_grow(kva_irq_t *irq)
{
    size_t done = 0;
    char *page;

    kva_port_unlock(&store.lock, *irq);
    page = kva__meta_page_get(KVA_META_TAGS);
    *irq = kva_port_lock(&store.lock);
    if (page == NULL) {
        return false;
    }
    for (; done < KVA_PAGE_SIZE && dir_ensure(irq); done += BT_GROUP_BYTES) {
        group_make(page + done);
    }
    if (done == 0) {
        kva_port_unlock(&store.lock, *irq);
        kva__meta_page_put(page, KVA_META_TAGS);
        *irq = kva_port_lock(&store.lock);
    }
    return done > 0;
}

static struct kva_vmem_btag *
store_get(void)
{
    struct btag_group *group = store.groups;
    struct kva_vmem_btag *bt = group_first(group);

    group->unused = group_slot(group, bt->u.chain);
    if (--group->nunused == 0) {
        group_unlist(group);
    }
    store.nunused--;
    return bt;
}

/*
 * A tag back to its group.  A group that is whole again leaves, if a page is
 * one group and the store keeps its reserve: it goes on the list gone, linked
 * by its first word.  Store locked.
 */
static void
store_put(struct kva_vmem_btag *bt, void **gone)
{
    struct btag_group *group = group_of(bt);

    bt->u.chain = group_first(group);
    group->unused = group_slot(group, bt);
    if (++group->nunused == 1) {
        group_list(group);
    }
    store.nunused++;
    if (group->nunused == group->total && KVA_PAGE_SIZE == BT_GROUP_BYTES &&
        store.nunused >= group->total + STORE_RESERVE) {
        group_unlist(group);
        store.nunused -= group->total;
        known_leave(group);
        dir_leave(group);
        *(void **)(void *)group = *gone;
        *gone = group;
    }
}

/* Pages that left the store.  Not locked. */
static void
pages_put(void *gone)
{
    while (gone != NULL) {
        void *next = *(void **)gone;

        kva__meta_page_put(gone, KVA_META_TAGS);
        gone = next;
    }
}

/* ---- an arena's stock ------------------------------------------------ */

bool
kva__btag_ensure(kva_vmem_t *vm, unsigned n)
{
    kva_irq_t irq;

    if (KVA_LIKELY(vm->nspare >= n)) {
        return true;
    }
    if ((vm->flags & VM_PRIVTAGS) != 0) {
        kva__meta_refuse();
        return false;
    }
    irq = kva_port_lock(&store.lock);
    while (vm->nspare < n + SPARE_BATCH) {
        struct kva_vmem_btag *bt;

        if (store.nunused == 0 && (vm->nspare >= n || !store_grow(&irq))) {
            break;
        }
        bt = store_get();
        bt->u.chain = vm->spare;
        vm->spare = bt;
        vm->nspare++;
    }
    kva_port_unlock(&store.lock, irq);
    return vm->nspare >= n;
}

/* The stock down to keep tags, but for a caller's. */
static void
stock_trim(kva_vmem_t *vm, unsigned keep)
{
    struct kva_vmem_btag *kept = NULL;
    unsigned nkept = 0;
    void *gone = NULL;
    kva_irq_t irq;

    irq = kva_port_lock(&store.lock);
    while (vm->spare != NULL) {
        struct kva_vmem_btag *bt = kva__btag_take(vm);

        if (nkept < keep || tag_is_private(bt)) {
            bt->u.chain = kept;
            kept = bt;
            nkept++;
        } else {
            store_put(bt, &gone);
        }
    }
    kva_port_unlock(&store.lock, irq);
    pages_put(gone);
    vm->spare = kept;
    vm->nspare = nkept;
}

void
kva__btag_flush(kva_vmem_t *vm)
{
    stock_trim(vm, 0);
}

/* A tag came, or what is reserved became less. */
void
kva__btag_settle(kva_vmem_t *vm)
{
    if (vm->nspare > KVA__SPARE_MAX + vm->reserved &&
        (vm->flags & (VM_PRIVTAGS | KVA__VM_ADOPTED)) == 0) {
        stock_trim(vm, KVA__SPARE_MAX / 2 + vm->reserved);
    }
}

/* ---- a caller's tags ------------------------------------------------- */

void
kva__btag_room(void)
{
    kva_irq_t irq;

    irq = kva_port_lock(&store.lock);
    (void)dir_ensure(&irq);
    kva_port_unlock(&store.lock, irq);
}

unsigned
kva__btag_adopt(kva_vmem_t *vm, struct kva_vmem_btag *bts, unsigned n)
{
    unsigned made = 0;

    vm->flags |= KVA__VM_ADOPTED;
    while (n >= 2) {
        struct btag_group *group = (struct btag_group *)(void *)bts;
        unsigned take = n < TAGS_PER_GROUP ? n : TAGS_PER_GROUP;
        bool entered;
        kva_irq_t irq;

        irq = kva_port_lock(&store.lock);
        entered = !dir_is_full();
        if (entered) {
            dir_enter(group);
            group->total = (uint16_t)((take - 1) | BT_GROUP_PRIVATE);
            known_enter(group);
        }
        kva_port_unlock(&store.lock, irq);
        if (!entered) {
            break;
        }
        for (unsigned slot = take - 1; slot >= 1; slot--) {
            tag_init(group, slot, true);
            bts[slot].u.chain = vm->spare;
            vm->spare = &bts[slot];
            vm->nspare++;
        }
        made += take - 1;
        bts += take;
        n -= take;
    }
    return made;
}

/*
 * Forget the caller's groups at the end of an arena: each is found by its
 * first tag, all tags being in the stock by then.
 */
void
kva__btag_disown(kva_vmem_t *vm)
{
    kva_irq_t irq;

    irq = kva_port_lock(&store.lock);
    for (struct kva_vmem_btag *bt = vm->spare; bt != NULL; bt = bt->u.chain) {
        struct btag_group *group = known_find((uintptr_t)bt);

        if (group != NULL && group_slot(group, bt) == 1) {
            known_leave(group);
            dir_leave(group);
        }
    }
    kva_port_unlock(&store.lock, irq);
    vm->spare = NULL;
    vm->nspare = 0;
}

/* ---- looking ---------------------------------------------------------- */

kva_irq_t
kva__btag_freeze(void)
{
    return kva_port_lock(&store.lock);
}

void
kva__btag_thaw(kva_irq_t irq)
{
    kva_port_unlock(&store.lock, irq);
}

size_t
kva__btag_total(void)
{
    return store.ntags;
}

struct kva_vmem_btag *
kva__btag_around(uintptr_t addr)
{
    struct btag_group *group = known_find(addr);
    size_t slot;

    if (group == NULL) {
        return NULL;
    }
    slot = (addr - (uintptr_t)group) / sizeof(struct kva_vmem_btag);
    return slot == 0 ? NULL : (struct kva_vmem_btag *)(void *)group + slot;
}

bool
kva__btag_is_ours(const struct kva_vmem_btag *bt)
{
    return bt != NULL && kva__btag_around((uintptr_t)bt) == bt;
}

bool
kva__btag_ref_is_ours(kva__btag_ref_t ref)
{
#if KVA_WORD_64
    uint32_t id = ref >> BT_SLOT_BITS;
    unsigned slot = ref & ((1u << BT_SLOT_BITS) - 1u);

    return id < store.ngroups && (*dir_entry(id) & 1) == 0 && slot != 0 &&
           slot <= group_total(dir_group(id));
#else
    return kva__btag_is_ours(ref);
#endif
}

/* The group's number leads back to it, and the low bits say which tag it is. */
const char *
kva__btag_check(struct kva_vmem_btag *bt)
{
    struct btag_group *group;

    if (!kva__btag_is_ours(bt)) {
        return "T2: a tag is one of the store's, or of a caller's";
    }
    group = known_find((uintptr_t)bt);
#if KVA_WORD_64
    if (bt_slot(bt) != group_slot(group, bt)) {
        return "T3: a tag knows its slot";
    }
    if (!kva__btag_ref_is_ours(group->id << BT_SLOT_BITS | 1u) ||
        dir_group(group->id) != group) {
        return "T4: a group knows its number";
    }
#else
    if ((bt->next_bits & BT_LOW_MASK) !=
        (uintptr_t)((group->total & BT_GROUP_PRIVATE) != 0)) {
        return "T3: a tag knows whose it is";
    }
#endif
    return NULL;
}

/* The unused tags of a group, from the store's list. */
static const char *
group_check(struct btag_group *group)
{
    struct kva_vmem_btag *bt = group_first(group);
    unsigned n = 0;

    for (; bt != NULL; bt = bt->u.chain) {
        if (!kva__btag_is_ours(bt) || known_find((uintptr_t)bt) != group ||
            bt_state(bt) != BT_UNUSED || bt_unused_ref(bt) != bt_ref(bt) ||
            n++ == group->nunused) {
            return "T5: a group's unused tags are its own, and counted";
        }
    }
    return n == group->nunused && n != 0 && n <= group_total(group)
               ? NULL
               : "T5: a group's unused tags are its own, and counted";
}

const char *
kva__btag_store_check(void)
{
    struct btag_group *prev = NULL;
    size_t n = 0;

    for (struct btag_group *group = store.groups; group != NULL;
         group = group->next) {
        const char *bad;

        if (known_find((uintptr_t)group) != group || group->prev != prev) {
            return "T5: the list of groups is linked both ways";
        }
        bad = group_check(group);
        if (bad != NULL) {
            return bad;
        }
        n += group->nunused;
        prev = group;
    }
    return n == store.nunused ? NULL : "T5: unused tags are counted";
}

/* ---- the end ---------------------------------------------------------- */

/*
 * No arena is left, so every group of ours is whole: all pages back, those of
 * the directory too.  Memory that was donated may then go.
 */
void
kva__btag_fini(void)
{
    void *gone = NULL;
    kva_irq_t irq;

    irq = kva_port_lock(&store.lock);
    while (store.groups != NULL) {
        struct btag_group *group = store.groups;
        char *page = (char *)kva_round_down((uintptr_t)group, KVA_PAGE_SIZE);

        for (size_t at = 0; at < KVA_PAGE_SIZE; at += BT_GROUP_BYTES) {
            group = (struct btag_group *)(void *)(page + at);
            KVA_ASSERT(group->nunused == group->total);
            group_unlist(group);
            store.nunused -= group->total;
            known_leave(group);
            dir_leave(group);
        }
        *(void **)(void *)page = gone;
        gone = page;
    }
#if KVA_WORD_64
    for (; store.npages != 0; store.npages--) { /* the first is static */
        void *page = dir_entry(store.npages << BT_DIR_SHIFT);

        *(void **)page = gone;
        gone = page;
    }
    store.ngroups = 0;
    store.vacant = 0;
#endif
    kva_port_unlock(&store.lock, irq);
    pages_put(gone);
}
