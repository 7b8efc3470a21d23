/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of vmem/ share: tags, classes, hash, spans, requests.
 */
#ifndef KVA_VMEM_VMEM_IMPL_H
#define KVA_VMEM_VMEM_IMPL_H

#include "vmem/magazine.h"
#include "vmem/meta.h"
#include "port/contract.h"
#include "vmem/vmem_store.h"

/* Private flags of an arena, above the public ones. */
#define KVA__VM_OWN_STORE 0x01000000u /* the struct came from vmem_create */
#define KVA__VM_APART 0x02000000u     /* imported spans are not joined */
#define KVA__VM_ADOPTED 0x04000000u   /* has tags of a caller */
#define KVA__VM_SAME 0x10000000u      /* imports addresses, and they stay */

/* Private flag of a request: it imports for one that was let in (wait.c). */
#define KVA__VM_ADMITTED 0x08000000u

/* Why the short ways are closed. */
#define KVA__DETOUR_SEARCH 0x1u   /* a search is suspended */
#define KVA__DETOUR_INDEX 0x2u    /* an index has ways of its own */
#define KVA__DETOUR_WAITER 0x100u /* times how many wait for what it feeds */

/*
 * What a tag stands for; three bits.  A tag in a ring is busy if the highest of
 * them is set.  Free segments may have stayed in the hash.
 */
enum btag_state {
    BT_FREE = 0,
    BT_FREE_HASHED = 1,
    BT_SPAN = 2,        /* added */
    BT_SPAN_IMPORT = 3, /* imported, may be released */
    BT_ALLOC = 4,       /* from vmem_alloc */
    BT_XALLOC = 5,      /* from vmem_xalloc */
    BT_PIECE = 6,       /* held by the quantum caches */
    BT_DEFERRED = 7,    /* in a ring: freed, and kept back (defer.h) */
    BT_UNUSED = 7       /* in no ring */
};
#define BT_BUSY_BIT ((uintptr_t)4)

#define BT_STATE_MASK ((uintptr_t)7)
#define BT_LOW_MASK ((uintptr_t)KVA__BTAG_ALIGN - 1)

static inline enum btag_state
bt_state(const struct kva_vmem_btag *bt)
{
    return (enum btag_state)(bt->prev_bits & BT_STATE_MASK);
}

static inline void
bt_set_state(struct kva_vmem_btag *bt, enum btag_state state)
{
    bt->prev_bits = (bt->prev_bits & ~BT_STATE_MASK) | (uintptr_t)state;
}

/* The same of one whose state is known. */
static inline void
bt_change_state(struct kva_vmem_btag *bt, enum btag_state from,
                enum btag_state to)
{
    bt->prev_bits ^= (uintptr_t)(from ^ to);
}

static inline bool
bt_is_free(const struct kva_vmem_btag *bt)
{
    return bt_state(bt) <= BT_FREE_HASHED;
}

static inline bool
bt_is_span(const struct kva_vmem_btag *bt)
{
    return bt_state(bt) == BT_SPAN || bt_state(bt) == BT_SPAN_IMPORT;
}

static inline bool
bt_is_busy(const struct kva_vmem_btag *bt)
{
    return bt_state(bt) >= BT_ALLOC && bt_state(bt) <= BT_PIECE;
}

static inline struct kva_vmem_btag *
bt_prev(const struct kva_vmem_btag *bt)
{
    return (struct kva_vmem_btag *)(bt->prev_bits & ~BT_LOW_MASK);
}

static inline struct kva_vmem_btag *
bt_next(const struct kva_vmem_btag *bt)
{
    return (struct kva_vmem_btag *)(bt->next_bits & ~BT_LOW_MASK);
}

static inline void
bt_set_prev(struct kva_vmem_btag *bt, struct kva_vmem_btag *prev)
{
    bt->prev_bits = (bt->prev_bits & BT_LOW_MASK) | (uintptr_t)prev;
}

static inline void
bt_set_next(struct kva_vmem_btag *bt, struct kva_vmem_btag *next)
{
    bt->next_bits = (bt->next_bits & BT_LOW_MASK) | (uintptr_t)next;
}

/* Bytes of a segment; not for span tags. */
static inline size_t
bt_size(const struct kva_vmem_btag *bt)
{
    return bt_next(bt)->start - bt->start;
}

/* First address and size of a span, from its tag. */
static inline uintptr_t
bt_span_start(const struct kva_vmem_btag *span)
{
    return bt_next(span)->start;
}

static inline size_t
bt_span_size(const struct kva_vmem_btag *span)
{
    return span->start - bt_next(span)->start;
}

/* All of the ring's side of a tag at once; its slot stays. */
static inline void
bt_set(struct kva_vmem_btag *bt, struct kva_vmem_btag *prev,
       struct kva_vmem_btag *next, enum btag_state state)
{
    uintptr_t own = BT_LOW_MASK & ~BT_STATE_MASK;

    bt->prev_bits = (bt->prev_bits & own) | (uintptr_t)prev | (uintptr_t)state;
    bt->next_bits = (bt->next_bits & BT_LOW_MASK) | (uintptr_t)next;
}

/* Put bt into the ring behind pos; take it out. */
static inline void
bt_insert_after(struct kva_vmem_btag *pos, struct kva_vmem_btag *bt)
{
    struct kva_vmem_btag *next = bt_next(pos);

    bt_set_prev(bt, pos);
    bt_set_next(bt, next);
    bt_set_next(pos, bt);
    bt_set_prev(next, bt);
}

static inline void
bt_remove(struct kva_vmem_btag *bt)
{
    bt_set_next(bt_prev(bt), bt_next(bt));
    bt_set_prev(bt_next(bt), bt_prev(bt));
}

/* ---- references (btag.c) -------------------------------------------- */

#if KVA_WORD_64
/*
 * A reference is group << 7 | slot.  Slot 0 of a group is its header, so the
 * reference 0 is nobody's.  512 directory pages of 512 groups of 127 tags
 * would be 33 million; the directory's first level is static and half of it.
 */
#define BT_SLOT_BITS 7u
#define BT_DIR_SHIFT 9u
#define BT_DIR_TOP 256u
#define BT_NONE 0u

/*
 * On both levels, what stands there is where the first of all would be: the
 * directory's entry 0 were its pages one array, the tag 0 were its groups.  So
 * what is looked for is there by the whole number, and nothing is masked.
 */
extern uintptr_t kva__btag_dir[BT_DIR_TOP];

static inline struct kva_vmem_btag *
bt_at(kva__btag_ref_t ref)
{
    uintptr_t page = kva__btag_dir[ref >> (BT_SLOT_BITS + BT_DIR_SHIFT)];
    const uintptr_t *entry =
        (const uintptr_t *)(page + (ref >> BT_SLOT_BITS) * sizeof(uintptr_t));

    return (struct kva_vmem_btag *)(*entry +
                                    ref * sizeof(struct kva_vmem_btag));
}

/* The slot: two bits above the state in prev_bits, five in next_bits. */
static inline unsigned
bt_slot(const struct kva_vmem_btag *bt)
{
    return (unsigned)((bt->prev_bits & 0x18) << 2 | (bt->next_bits & 0x1f));
}
#else
#define BT_NONE NULL

static inline struct kva_vmem_btag *
bt_at(kva__btag_ref_t ref)
{
    return ref;
}
#endif

/*
 * The header of a group, in its first slot.  (m) the tag store's lock.
 */
struct btag_group {
    struct btag_group *next; /* (m) groups with unused tags; NULL: none */
    struct btag_group *prev;
    struct btag_group *chain; /* (m) found by address */
    uint32_t id;              /* (c) place in the directory */
    uint8_t nunused;          /* (m) */
    uint8_t unused;           /* (m) slot of the first unused tag; 0: none */
    uint16_t total;           /* (c) tags besides the header */
} __attribute__((aligned(KVA__BTAG_ALIGN)));

#define BT_GROUP_BYTES ((size_t)4096)
#define BT_GROUP_PRIVATE 0x8000u /* in total: the memory is a caller's */

static inline kva__btag_ref_t
bt_ref(struct kva_vmem_btag *bt)
{
#if KVA_WORD_64
    unsigned slot = bt_slot(bt);
    struct btag_group *group = (struct btag_group *)(void *)(bt - slot);

    return group->id << BT_SLOT_BITS | slot;
#else
    return bt;
#endif
}

/* Could ref be that of bt: five bits of the slot mostly say no. */
static inline bool
bt_may_be_at(const struct kva_vmem_btag *bt, kva__btag_ref_t ref)
{
#if KVA_WORD_64
    return ((ref ^ bt->next_bits) & 0x1f) == 0;
#else
    return ref == bt;
#endif
}

void kva__btag_bootstrap(void);
void kva__btag_fini(void);
/* See to it that the arena has n tags of its own.  Arena lock held. */
bool kva__btag_ensure(kva_vmem_t *vm, unsigned n);
/* Take one of them; put one back, the surplus going to the store. */
static inline struct kva_vmem_btag *
kva__btag_take(kva_vmem_t *vm)
{
    struct kva_vmem_btag *bt = vm->spare;

    KVA_ASSERT(vm->nspare > 0 && bt != NULL);
    vm->spare = bt->u.chain;
    vm->nspare--;
    return bt;
}

/*
 * The start of an unused tag is its own reference, which is so at hand without
 * the group's line.
 */
static inline kva__btag_ref_t
bt_unused_ref(struct kva_vmem_btag *bt)
{
#if KVA_WORD_64
    return (kva__btag_ref_t)bt->start;
#else
    return bt;
#endif
}

/* To the head of the stock, where the caller counts it. */
static inline void
bt_retire(kva_vmem_t *vm, struct kva_vmem_btag *bt, kva__btag_ref_t ref)
{
    bt_set_state(bt, BT_UNUSED);
    bt->start = (uintptr_t)ref;
    bt->u.chain = vm->spare;
    vm->spare = bt;
}
/* All of the arena's own stock to the store; or only the surplus. */
void kva__btag_flush(kva_vmem_t *vm);
void kva__btag_settle(kva_vmem_t *vm);
/* Stock above this goes back to the store; half of it stays. */
#define KVA__SPARE_MAX 32u
static inline void
kva__btag_give(kva_vmem_t *vm, struct kva_vmem_btag *bt)
{
    bt_retire(vm, bt, bt_ref(bt));
    if (KVA_UNLIKELY(++vm->nspare > KVA__SPARE_MAX + vm->reserved)) {
        kva__btag_settle(vm);
    }
}
/* Room in the directory for a caller's group, if there is memory for it: before
 * the arena is locked, since the port is asked for it. */
void kva__btag_room(void);
/* Make groups of a caller's memory, all in the arena's stock.  Tags made. */
unsigned kva__btag_adopt(kva_vmem_t *vm, struct kva_vmem_btag *bts, unsigned n);
void kva__btag_disown(kva_vmem_t *vm);
/*
 * Looking at what may be no tag, without following it.  Between freeze and thaw
 * no group comes or goes; a debugger may look without.
 */
kva_irq_t kva__btag_freeze(void);
void kva__btag_thaw(kva_irq_t irq);
/* Tags of all arenas and of none: no loop over tags is longer. */
size_t kva__btag_total(void);
/* The tag that addr is an address of, or NULL. */
struct kva_vmem_btag *kva__btag_around(uintptr_t addr);
bool kva__btag_is_ours(const struct kva_vmem_btag *bt);
bool kva__btag_ref_is_ours(kva__btag_ref_t ref);
/* NULL, or what does not hold of a pointer to a tag and its low bits. */
const char *kva__btag_check(struct kva_vmem_btag *bt);
/* The same of all unused tags.  Frozen. */
const char *kva__btag_store_check(void);

/* ---- indexes (indexed.c) ------------------------------------------------ */

void kva__indexed_bootstrap(void);
/* The indexes of an arena made with VM_INDEX; false: no memory. */
bool kva__indexed_init(kva_vmem_t *vm);
void kva__indexed_fini(kva_vmem_t *vm);
/* Nodes for one operation, beside those that imports on their way need and
 * those that are promised to operations that were prepared. */
bool kva__indexed_ensure(kva_vmem_t *vm);
/* The same for what is promised, and keep as many; less is promised. */
bool kva__indexed_reserve(kva_vmem_t *vm, unsigned promised);
void kva__indexed_settle(kva_vmem_t *vm, unsigned promised);

/* ---- the budget of tags (budget.c) ------------------------------------ */

/*
 * A request on behalf of one that was prepared: it may use what is reserved.
 * Import functions hand it from arena to arena with the other flags.
 */
#define KVA__VM_LENT 0x40000000u

static inline bool
budget_is_lent(kva_vm_flag_t flags)
{
    return (flags & KVA__VM_LENT) != 0;
}

/*
 * See to it that the arena has what n new tags take, nodes of its index too,
 * besides what is reserved; what was prepared has all that already, for what is
 * done in its name.  All that operations take is ensured here, or by reserve in
 * budget.c.  Arena lock held.
 */
static inline bool
kva__budget_ensure(kva_vmem_t *vm, unsigned n, kva_vm_flag_t flags)
{
    bool lent = KVA_UNLIKELY(budget_is_lent(flags)) && vm->begun != 0;

    n += lent ? 0 : vm->reserved;
    return (KVA_LIKELY(vm->nspare >= n) || kva__btag_ensure(vm, n)) &&
           (KVA_LIKELY(vm->index == NULL) || lent || kva__indexed_ensure(vm));
}

/* Is a prepared operation under way, here or above: a request may be lent
 * to. */
bool kva__budget_lends(kva_vmem_t *vm);
/* Report if no prepared operation is left. */
void kva__budget_expect(kva_vmem_t *vm, const char *func);
/* Begin a prepared operation; a misuse of func's caller if none is left.  End
 * it: if it succeeded it is used up, else as if it had not begun. */
void kva__budget_begin(kva_vmem_t *vm, const char *func);
void kva__budget_end(kva_vmem_t *vm, bool used);
/* Give up what is prepared and not begun, of an arena that ends. */
void kva__budget_fini(kva_vmem_t *vm);
/* Report if anything is reserved: what the arena imports, and from where, may
 * not change then. */
void kva__budget_expect_none(kva_vmem_t *vm, const char *func);

/* ---- size classes (class.h) ----------------------------------------- */

/* The class whose range holds q quanta, q not 0. */
static inline unsigned
class_of(uintptr_t q)
{
    unsigned f;

    if (q <= KVA__VMEM_EXACT) {
        return (unsigned)q - 1u;
    }
    f = kva_fls(q);
    return KVA__VMEM_EXACT + ((f - 5u) << KVA__VMEM_STEP_SHIFT) +
           ((unsigned)(q >> (f - KVA__VMEM_STEP_SHIFT)) &
            ((1u << KVA__VMEM_STEP_SHIFT) - 1u));
}

static inline unsigned
class_of_tag(const kva_vmem_t *vm, const struct kva_vmem_btag *bt)
{
    return class_of(bt_size(bt) >> vm->quantum_shift);
}

/* ---- hash (hash.c) --------------------------------------------------- */

void kva__hash_init(kva_vmem_t *vm);
void kva__hash_fini(kva_vmem_t *vm);
/* A page of the caller's, for an arena with a caller's tags. */
void kva__hash_adopt(kva_vmem_t *vm, void *page);
void kva__hash_grow(kva_vmem_t *vm);
void kva__hash_shrink(kva_vmem_t *vm);
/* The segment that starts at start, or NULL; own: in a slot of its own, where
 * it may stay when it becomes free. */
struct kva_vmem_btag *
kva__hash_find(kva_vmem_t *vm, uintptr_t start, bool *own);
/* A segment that is in the hash leaves it. */
void kva__hash_leave(kva_vmem_t *vm, struct kva_vmem_btag *bt);
/* The same of what no slot has: looked up, with the head of its chain; out of
 * it, which tells its reference, as the head mostly knows it. */
struct kva_vmem_btag *kva__hash_find_chained(kva_vmem_t *vm, uintptr_t start,
                                             kva__hash_slot_t **head);
kva__btag_ref_t kva__hash_leave_chain(kva_vmem_t *vm, kva__hash_slot_t *head,
                                      struct kva_vmem_btag *bt);
size_t kva__hash_bytes(const kva_vmem_t *vm);
/* Buckets, mask and pages go together, or what does not hold. */
const char *kva__hash_check(const kva_vmem_t *vm);

/* ---- requests and segments (segment.c, arena.c) ---------------------- */

/* A request; all in bytes, min and max inclusive, nocross 0: none. */
struct kva__vmem_request {
    size_t size;
    size_t align;
    size_t phase;
    size_t nocross;
    uintptr_t min;
    uintptr_t max;
    kva_vm_flag_t flags;
    bool constrained;    /* anything but a multiple of the quantum anywhere */
    bool optional;       /* fail rather than press or wait for it */
    bool apart;          /* its attempt has a way of its own to a reserve */
    uint64_t timeout_ns; /* wait no longer than that; 0: as long as need be */
    const void *cookie;  /* for vmem_cancel */
};

/* A request for size bytes, a multiple of the quantum, anywhere. */
static inline struct kva__vmem_request
request_plain(const kva_vmem_t *vm, size_t size, kva_vm_flag_t flags)
{
    return (struct kva__vmem_request){
        .size = size,
        .align = (size_t)1 << vm->quantum_shift,
        .max = VMEM_ADDR_MAX,
        .flags = flags,
    };
}

/*
 * Tags that cutting the request out of a hole may take (budget.h).  A hole that
 * serves without constraints is cut at its front or its end, but next fit may
 * go on in the middle of one.
 */
static inline unsigned
request_tags(const struct kva__vmem_request *rq)
{
    return rq->constrained || (rq->flags & VM_NEXTFIT) != 0
               ? KVA_VMEM_TAGS_XALLOC
               : KVA_VMEM_TAGS_ALLOC;
}

/* Does the request fit into [first, last]; sets *start. */
bool kva__request_fits(const struct kva__vmem_request *rq, uintptr_t first,
                       uintptr_t last, uintptr_t *start);
/* Cut [start, start + size - 1] out of the hole; tags were ensured. */
struct kva_vmem_btag *
kva__segment_cut(kva_vmem_t *vm, struct kva_vmem_btag *hole, uintptr_t start,
                 size_t size, enum btag_state state);
/* The segment that starts at addr, or NULL.  hashed: it may stay where it is in
 * the hash when it becomes free. */
struct kva_vmem_btag *
kva__segment_at(kva_vmem_t *vm, uintptr_t addr, bool *hashed);
/* The busy segment that starts at addr, of that size and state, or NULL. */
struct kva_vmem_btag *kva__segment_lookup(kva_vmem_t *vm, uintptr_t addr,
                                          size_t size, enum btag_state state);
/* Make a busy segment free; returns the hole.  hashed: it is in the hash. */
struct kva_vmem_btag *
kva__segment_free(kva_vmem_t *vm, struct kva_vmem_btag *bt, bool hashed);

/*
 * Keep [start, start + size - 1] of a busy segment.  So many tags, which the
 * caller ensures, become holes of their own.  Tells which holes there are now
 * at either end, size 0: it did not move.
 */
struct kva__trimmed {
    uintptr_t head, tail;
    size_t head_size, tail_size;
};

unsigned kva__segment_trim_tags(const struct kva_vmem_btag *bt, uintptr_t start,
                                size_t size);
void
kva__segment_trim(kva_vmem_t *vm, struct kva_vmem_btag *bt, uintptr_t start,
                  size_t size, struct kva__trimmed *holes);
/* Does a start that moves, when a busy segment becomes [start, start + size -
 * 1], need nodes of the index; the caller ensures them. */
bool kva__segment_moves_far(kva_vmem_t *vm, const struct kva_vmem_btag *bt,
                            uintptr_t start, size_t size);
/* A busy segment becomes two, the second from at on; one tag was ensured. */
void kva__segment_split(kva_vmem_t *vm, struct kva_vmem_btag *bt, uintptr_t at);
/* A busy segment and the one behind it, busy as well, become one. */
void kva__segment_join(kva_vmem_t *vm, struct kva_vmem_btag *bt);
/* Make a busy segment [start, start + size - 1], which holds it; takes no tag.
 * Only if it can: what is added is free and of the same span. */
bool kva__segment_can_extend(const struct kva_vmem_btag *bt, uintptr_t start,
                             size_t size);
void kva__segment_extend(kva_vmem_t *vm, struct kva_vmem_btag *bt,
                         uintptr_t start, size_t size);

/*
 * The short ways of a request without bounds and of a free (short.c), anything
 * given, and the long ways (vmem.c), to which they lead if they do not do.  For
 * the short ones vm is alive, and no request of it is watched; the long ones
 * are told who called.  aligned is for align, placed for phase and
 * nocross too.
 */
int kva__short_alloc(kva_vmem_t *vm, size_t size, kva_vm_flag_t flags,
                     uintptr_t *addr);
void kva__short_free(kva_vmem_t *vm, uintptr_t addr, size_t size);
int kva__short_xalloc(kva_vmem_t *vm, size_t size, kva_vm_flag_t flags,
                      uintptr_t *addr);
int kva__short_aligned(kva_vmem_t *vm, size_t size, size_t align,
                       kva_vm_flag_t flags, uintptr_t *addr);
int kva__short_placed(kva_vmem_t *vm, const struct kva_vmem_request *from,
                      uintptr_t *addr);
void kva__short_xfree(kva_vmem_t *vm, uintptr_t addr, size_t size);
int kva__long_alloc(kva_vmem_t *vm, size_t size, kva_vm_flag_t flags,
                    uintptr_t *addr, const void *caller);
int kva__long_xalloc(kva_vmem_t *vm, const struct kva_vmem_request *from,
                     uintptr_t *addr, const void *caller);
void
kva__long_free(kva_vmem_t *vm, uintptr_t addr, size_t size, const void *caller);
void kva__long_xfree(kva_vmem_t *vm, uintptr_t addr, size_t size,
                     const void *caller);

/* Allocate by request; the segment's state tells who owns it. */
int kva__arena_take(kva_vmem_t *vm, const struct kva__vmem_request *rq,
                    enum btag_state state, uintptr_t *addr);
/* The same with VM_PREPARED (budget.c). */
int kva__budget_take(kva_vmem_t *vm, const struct kva__vmem_request *rq,
                     enum btag_state state, uintptr_t *addr, const char *func);
/*
 * The same (persist.c) for a way of one's own to find memory: attempt is called
 * again after caches were drained, and as long as waiting may help; or once.
 */
typedef int kva__attempt_t(kva_vmem_t *vm, const struct kva__vmem_request *rq,
                           enum btag_state state, uintptr_t *addr);
int
kva__arena_try(kva_vmem_t *vm, const struct kva__vmem_request *rq,
               enum btag_state state, uintptr_t *addr, kva__attempt_t *attempt);
int kva__arena_persist(kva_vmem_t *vm, const struct kva__vmem_request *rq,
                       enum btag_state state, uintptr_t *addr,
                       kva__attempt_t *attempt);
/* The arena's own attempt (arena.c). */
kva__attempt_t kva__take_or_import;
/* An entitled request for which the attempt found nothing (reserve.c): 0 or
 * KVA_ENOMEM. */
int kva__reserve_try(kva_vmem_t *vm, const struct kva__vmem_request *rq,
                     enum btag_state state, uintptr_t *addr,
                     kva__attempt_t *attempt);
/* A range that the arena behind vm gave out by that was freed. */
void kva__reserve_returned(kva_vmem_t *vm, size_t size);
/* Free a segment found; hashed: it is still in the hash.  Unlocks the arena. */
void kva__segment_give(kva_vmem_t *vm, struct kva_vmem_btag *bt, bool hashed,
                       kva_irq_t irq);
/* Free as above; if there is no such segment, report it and do not return. */
void kva__arena_free(kva_vmem_t *vm, uintptr_t addr, size_t size,
                     enum btag_state state, const char *func);
/* There is no such segment: report what there is.  No lock held. */
_Noreturn void kva__arena_refuse(kva_vmem_t *vm, uintptr_t addr, size_t size,
                                 enum btag_state state, const char *func);

/* Report what callers have of the arena, if anything, or that they wait. */
void kva__arena_expect_idle(kva_vmem_t *vm, const char *func);

/* ---- spans (import.c, span.c) ----------------------------------------- */

/*
 * Import a span for the request and serve it: 0, or an error and all is as
 * before; but without a release function a span that does not serve stays.  No
 * lock held.
 */
int kva__import(kva_vmem_t *vm, const struct kva__vmem_request *rq,
                enum btag_state state, uintptr_t *addr);
/*
 * Of what was imported by one call of the arena's import function, [addr, addr
 * + size - 1], the source is to know [part, part + part_size - 1], not all of
 * it, as a range of its own, which releasefn may be called for; and what is
 * beside it likewise.  0; KVA_ENOMEM: no tags; KVA_EINVAL: it cannot be.  Then
 * all is as before.  No lock held.
 */
typedef int kva__vmem_split_t(kva_vmem_t *source, uintptr_t addr, size_t size,
                              uintptr_t part, size_t part_size);
/* Behind vmem_set_rimport, which knows the one for vmem_rimport with
 * vmem_xfree; NULL: it never can. */
void kva__vmem_set_split(kva_vmem_t *vm, kva__vmem_split_t *splitfn);
kva__vmem_split_t kva__vmem_rsplit;

/*
 * The layer above is asked to have others give bytes back for rq, before the
 * arena's reclaim function is; and again for more, if that did not do and the
 * request waits (kva__wait_for): hard if those asked gave less than that.
 * KVA__PRESS_ALL is for others, who have queued up meanwhile.  Returns the bytes
 * that came back.  No lock held; any context, rq->flags say whether it may
 * sleep.  Set before the arena is used.
 */
#define KVA__PRESS_ALL SIZE_MAX
typedef size_t
kva__vmem_press_t(kva_vmem_t *vm, const struct kva__vmem_request *rq,
                  size_t bytes, bool hard);
void kva__vmem_set_press(kva_vmem_t *vm, kva__vmem_press_t *fn);

/* releasefn may keep back what it gets: fn tells the bytes that ever arrived
 * behind it, and with now has it let go of all first.  For drains, whose bytes
 * are to have arrived when they end.  No lock held. */
void kva__vmem_set_settle(kva_vmem_t *vm, size_t (*fn)(bool now));

/* A span that is not, or no longer, the arena's goes back.  No lock held. */
void kva__import_return(kva_vmem_t *vm, uintptr_t addr, size_t size);
void kva__import_init(kva_vmem_t *vm, kva_vmem_import_t *importfn);
/* A span of size bytes ahead of need. */
int kva__import_ahead(kva_vmem_t *vm, size_t size);
/* Hand spans that are all free to fn, while keep bytes stay free. */
size_t kva__import_trim(kva_vmem_t *vm, size_t keep, vmem_release_t *fn);

/* A span comes, tags ensured; one that is added may join one beside it.  The
 * hole that holds it. */
struct kva_vmem_btag *kva__span_join(kva_vmem_t *vm, uintptr_t addr,
                                     size_t size, enum btag_state state);
/* [addr, addr + size - 1], which the span borders on, becomes its own. */
struct kva_vmem_btag *
kva__segment_append(kva_vmem_t *vm, struct kva_vmem_btag *span, size_t size);
struct kva_vmem_btag *
kva__segment_prepend(kva_vmem_t *vm, struct kva_vmem_btag *span, size_t size);
/* A span that has bytes in common with [addr, addr + size - 1], or NULL: a walk
 * over the spans without an index. */
struct kva_vmem_btag *
kva__span_overlapping(kva_vmem_t *vm, uintptr_t addr, size_t size);
/* A span that is added as it is; tags ensured. */
void kva__span_add(kva_vmem_t *vm, uintptr_t addr, size_t size,
                   enum btag_state state);
void kva__span_remove(kva_vmem_t *vm, struct kva_vmem_btag *span);
/* Is a busy segment all of a span, which may be cut: an imported one, in an
 * arena without an index. */
bool kva__span_is_piece(const kva_vmem_t *vm, const struct kva_vmem_btag *bt);
/* [start, start + size - 1] of it, not all, is the arena's no more; what lies
 * beside it are spans.  Takes KVA_VMEM_TAGS_CUT if that is on both sides. */
void kva__span_cut(kva_vmem_t *vm, struct kva_vmem_btag *bt, uintptr_t start,
                   size_t size);

/* ---- quantum caches (qcache.c) --------------------------------------- */

/* That of arenas that have none of their own; nothing gets through. */
extern struct kva__gate *const kva__qcache_no_gate;

void kva__qcache_bootstrap(void);
int kva__qcache_create(kva_vmem_t *vm, enum kva_ipl ipl);
void kva__qcache_destroy(kva_vmem_t *vm);
/* Arena locked. */
void kva__qcache_expect(kva_vmem_t *vm, uintptr_t addr);
int kva__qcache_alloc(kva_vmem_t *vm, size_t size, kva_vm_flag_t flags,
                      uintptr_t *addr);
/* Whether the arena is open has changed. */
void kva__qcache_hits(kva_vmem_t *vm);
/* A free that the hit path did not take: done, or false if there is no such
 * item. */
bool kva__qcache_free(kva_vmem_t *vm, uintptr_t addr, size_t size);
/*
 * Give what is cached back to the arena, down to retain bytes, until bytes have
 * reached it.  From the depots and the caller's own slot, from
 * all slots, or, with nobody else in the arena, from all without asking CPUs.
 */
enum kva__drain {
    KVA__DRAIN_OWN,
    KVA__DRAIN_SLOTS,
    KVA__DRAIN_ALONE
};
void kva__qcache_drain(kva_vmem_t *vm, size_t bytes, size_t retain,
                       enum kva__drain how);
/* Bytes held and not live; bytes of windows; of state bytes. */
size_t kva__qcache_cached(kva_vmem_t *vm);
/* From here on pieces that become free stay, unless somebody waits for memory,
 * until they are drained; and no longer.  It counts. */
void kva__qcache_hold(kva_vmem_t *vm, bool on);
void kva__qcache_stat(kva_vmem_t *vm, struct kva_vmem_stat *st);
/* For the checker, which holds both locks: the quantum caches', then the
 * arena's.  held tells whether an arena has this piece. */
kva_irq_t kva__qcache_lock(kva_vmem_t *vm);
void kva__qcache_unlock(kva_vmem_t *vm, kva_irq_t irq);
typedef bool kva__piece_held_t(kva_vmem_t *vm, uintptr_t addr, size_t size);
const char *kva__qcache_check(kva_vmem_t *vm, kva__piece_held_t *held);
/* Visit what lies in the piece [addr, addr + size - 1]. */
void
kva__qcache_walk(kva_vmem_t *vm, uintptr_t addr, size_t size, unsigned typemask,
                 void (*fn)(void *, kva_vmem_addr_t, kva_vmem_size_t, unsigned),
                 void *arg);
/* The item around addr: VMEM_ALLOC if live, VMEM_CACHED, or 0: none.
 * Lock-free; what is not the caller's may have changed. */
unsigned
kva__qcache_item(kva_vmem_t *vm, uintptr_t addr, uintptr_t *base, size_t *size);
/* Live bytes among the items, and where the first is. */
size_t kva__qcache_live(kva_vmem_t *vm, uintptr_t *addr);
/* Report if an item of the quantum caches is at addr: no tag is then, and the
 * hit path did not want it.  x: the free is vmem_xfree. */
void kva__qcache_expect_none(kva_vmem_t *vm, uintptr_t addr, size_t size,
                             bool x, const char *func);
/* Is a live item of that size at addr?  Reports what else is there, if not
 * nothing. */
bool kva__qcache_is_item(kva_vmem_t *vm, uintptr_t addr, size_t size,
                         const char *func);
/* The most quanta of an item: RUN_MAX. */
#define KVA__QCACHE_QUANTA_MAX 32u

/* ---- statistics (stat.c) ----------------------------------------------- */

/* But for what the quantum caches have.  Arena locked, or stopped. */
void kva__stat_get(const kva_vmem_t *vm, struct kva_vmem_stat *st);

/* ---- failures on request (inject.c) ----------------------------------- */

/* Does this request fail: asked once for each that may. */
bool kva__inject(kva_vmem_t *vm);
/* Hit paths and short ways are closed if something must see all requests.
 * Arena locked. */
void kva__watch_update(kva_vmem_t *vm);

static inline bool
inject(kva_vmem_t *vm, kva_vm_flag_t flags)
{
    return KVA_UNLIKELY(__atomic_load_n(&vm->mtbf, __ATOMIC_RELAXED) != 0) &&
           (flags & VM_NOSLEEP) != 0 && kva__inject(vm);
}

/* ---- waiting (wait.c); the rest is in wait.h --------------------------- */

/* The arena at the end of the chain of sources. */
static inline kva_vmem_t *
arena_root(const kva_vmem_t *vm)
{
    while (vm->source != NULL) {
        vm = vm->source;
    }
    return (kva_vmem_t *)(uintptr_t)vm;
}

static inline bool
arena_imports(const kva_vmem_t *vm)
{
    return vm->importfn != NULL || vm->rimportfn != NULL;
}

/*
 * What vm imports are addresses of its source, byte for byte and as constrained
 * as the request was, and it takes nothing else to import them.
 */
static inline bool
arena_is_transparent(const kva_vmem_t *vm)
{
    return ((vm->flags & KVA__VM_SAME) != 0 ||
            vm->importfn == (kva_vmem_import_t *)kva_vmem_alloc ||
            vm->rimportfn == (kva_vmem_rimport_t *)kva_vmem_rimport) &&
           __atomic_load_n(&vm->limit, __ATOMIC_RELAXED) == 0;
}

/* ---- public functions' shared checks (vmem.c) ------------------------- */

#define KVA__VMEM_MAGIC ((uintptr_t)0x766d656du) /* "vmem" */

_Noreturn void kva__vmem_dead(kva_vmem_t *vm, const char *func);
/* A live arena and a size in whole quanta; reports 0 and what overflows. */
size_t kva__vmem_size_verify(kva_vmem_t *vm, const char *func, uintptr_t addr,
                             size_t size);

/* The list of arenas stands still; false: vmem was never used. */
bool kva__vmem_list_lock(kva_irq_t *irq);
void kva__vmem_list_unlock(kva_irq_t irq);

/* Alive, and nobody must see all requests: hit paths and short ways may be
 * gone. */
static inline bool
arena_is_open(const kva_vmem_t *vm)
{
    return __atomic_load_n(&vm->open, __ATOMIC_RELAXED) == KVA__VMEM_MAGIC;
}

static inline void
arena_alive(kva_vmem_t *vm, const char *func)
{
    if (KVA_UNLIKELY(vm == NULL || vm->magic != KVA__VMEM_MAGIC)) {
        kva__vmem_dead(vm, func);
    }
}

#endif
