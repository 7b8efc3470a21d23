/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The storage of arenas and tags: what init in place and vmem_add_bts need to
 * know the size of.  The fields are private.
 *
 * A boundary tag is 32 bytes on a 64-bit machine (24 on a 32-bit one).  It has
 * no size: tags of a span form a ring through prev and next, so a segment ends
 * where the next tag starts, and the span's own tag, which closes the ring,
 * keeps in start the first address past the span (0 at the top of the space;
 * the subtraction still comes out right).
 *
 *      span tag -> segment -> segment -> ... -> segment -+
 *         ^            start = a    start = b            |
 *         +----------------------------------------------+
 *      size of a segment = next->start - start
 *
 * The last word is a chain of the hash for busy segments, and a pair of links
 * for free segments and spans.  A pair of pointers does not fit there, so links
 * are references of 32 bits: the number of a group of tags and the tag's slot
 * in it.  Groups may lie anywhere in memory; a directory finds them (btag.c).
 * State and slot live in the low bits of prev and next, which the alignment
 * of tags leaves free.  On a 32-bit machine a reference is a pointer.
 */
#ifndef KVA_VMEM_VMEM_STORE_H
#define KVA_VMEM_VMEM_STORE_H

#include "port/check.h"
#include "vmem/vmem.h"
#include "vmem/wait.h"

#if KVA_WORD_64
typedef uint32_t kva__btag_ref_t;
typedef uint32_t kva__hash_slot_t; /* a reference takes 24 bits of it */
#define KVA__BTAG_ALIGN 32
#else
typedef struct kva_vmem_btag *kva__btag_ref_t;
typedef uintptr_t kva__hash_slot_t;
#define KVA__BTAG_ALIGN 8
#endif

struct kva_vmem_btag {
    uintptr_t start;     /* first address; of a span: first past it */
    uintptr_t prev_bits; /* previous in the ring, state in the low bits */
    uintptr_t next_bits; /* next in the ring, slot in the low bits */
    union {
        struct kva_vmem_btag *chain; /* busy: hash; unused: stock */
        struct {
            kva__btag_ref_t prev;
            kva__btag_ref_t next;
        } link; /* free: size class; span: list of spans */
    } u;
} __attribute__((aligned(KVA__BTAG_ALIGN)));

/*
 * Size classes of free segments, by number of quanta: 1 to 32 exactly, then
 * eight linear steps for each power of two.  Exact small classes keep the
 * footprint of 1..16 quanta at 1.01 of the ideal, where powers of two need
 * 1.36 (measured for FreeBSD's and NetBSD's vmem).  Eight steps bound what a
 * good fit leaves over to an eighth.
 */
#define KVA__VMEM_EXACT 32u
#define KVA__VMEM_STEP_SHIFT 3u
#define KVA__VMEM_CLASSES \
    (KVA__VMEM_EXACT +    \
     ((unsigned)sizeof(uintptr_t) * 8u - 5u) * (1u << KVA__VMEM_STEP_SHIFT))
#define KVA__WORD_BITS ((unsigned)sizeof(uintptr_t) * 8u)
#define KVA__VMEM_MAP_WORDS \
    ((KVA__VMEM_CLASSES + KVA__WORD_BITS - 1u) / KVA__WORD_BITS)

/* Buckets in the arena itself, pages of buckets it names directly, and pages
 * of page pointers (the first stands for the pages named): 4 KiB pages reach 2
 * million buckets, ten million segments; beyond that chains grow. */
#define KVA__HASH_SLOTS 8u
#define KVA__HASH_INLINE 4u
#define KVA__HASH_PAGES 8u
#define KVA__HASH_DIRS 32u

struct kva__hash_bucket {
    kva__hash_slot_t slot[KVA__HASH_SLOTS]; /* see hash.h */
};

#define KVA__VMEM_NAME_MAX 24u

struct kva__qcache;
struct kva__cursor;
struct kva__search;
struct kva__indexes;
struct kva__gate;

/* (a) arena lock, (c) constant after init, (l) lock of the list of arenas. */
struct kva_vmem {
    kva_lock_t lock;
    unsigned flags;         /* (c) VM_* of creation, and KVA__VM_* */
    unsigned quantum_shift; /* (c) */
    uintptr_t open;         /* magic, or 0: somebody must see all requests */
    size_t qcache_max;      /* (c) 0: no quantum caches */
    struct kva__qcache *qcache;   /* (c) or NULL */
    struct kva__gate *gate;       /* set once: the hit paths' part of it */
    size_t hot_sizes;             /* above the quanta they serve, or 0 */
    uintptr_t hot_origin;         /* set once */
    uintptr_t hot_limit;          /* quanta from there that they see, or 0 */
    unsigned closed_below;        /* (r) and over those that import from it */
    uintptr_t origin;             /* (c) lowest address to expect */
    uintptr_t magic;              /* alive */
    unsigned detour;              /* (a) why the short ways are closed */
    struct kva__search *searches; /* (a) suspended ones */

    struct kva__indexes *index; /* (c) by address, with VM_INDEX; or NULL */
    uintptr_t rotor;            /* (a) next fit goes on from here */

    /* free segments by class */
    uintptr_t class_summary;                       /* (a) words not 0 */
    uintptr_t class_map[KVA__VMEM_MAP_WORDS];      /* (a) classes not empty */
    kva__btag_ref_t class_head[KVA__VMEM_CLASSES]; /* (a) */

    /* segments by address: linear hashing */
    unsigned hash_buckets; /* (a) in use */
    unsigned hash_mask;    /* (a) 2^k - 1, 2^k the buckets of this round */
    size_t hash_count;     /* (a) segments in it */
    size_t nsegments;      /* (a) busy and free */
    size_t hash_grow_at;   /* (a) more segments than this: one more bucket */
    size_t hash_shrink_at; /* (a) fewer: one less */
    struct kva__hash_bucket *hash_page[KVA__HASH_PAGES];   /* (a) */
    struct kva__hash_bucket **hash_dir[KVA__HASH_DIRS];    /* (a) */
    struct kva__hash_bucket hash_inline[KVA__HASH_INLINE]; /* (a) */
    void *hash_stock; /* (a) a caller's pages that it does not use */

    /* tags */
    struct kva_vmem_btag *spare; /* (a) the arena's own stock */
    unsigned nspare;             /* (a) */
    unsigned reserved;           /* (a) of it, for prepared operations */
    unsigned promised;           /* (a) those, here and above, begun too */
    unsigned prepared;           /* (a) operations not begun */
    unsigned begun;              /* (a) here, and in arenas that import */
    kva__btag_ref_t span_first;  /* (a) spans in the order they came */
    kva__btag_ref_t span_last;   /* (a) */

    kva_vmem_import_t *importfn;   /* (c) */
    kva_vmem_rimport_t *rimportfn; /* (c) by requests, if there is one */
    kva_vmem_release_t *releasefn; /* (c) */
    int (*splitfn)(kva_vmem_t *, uintptr_t, size_t, uintptr_t,
                   size_t);       /* (c) kva__vmem_split_t, or NULL */
    size_t (*settlefn)(bool now); /* (c) or NULL: releasefn keeps nothing */
    kva_vmem_t *source;           /* (c) */
    kva_vmem_t *reserve;   /* (c) for the entitled, or NULL (reserve.h) */
    unsigned reserve_out;  /* (a) ranges of it that close hit paths */
    size_t import_quantum; /* (c) imports are multiples of it; 0: none */
    size_t limit;          /* (a) of mem_total, for imports; 0: none */
    size_t importing;      /* (a) bytes on their way */
    bool crowded;          /* (a) they were too many for somebody's import */
    void (*reclaimfn)(kva_vmem_t *vm, kva_vm_flag_t flags); /* (a) */
    size_t (*pressfn)(kva_vmem_t *, const struct kva__vmem_request *, size_t,
                      bool);   /* (c) kva__vmem_press_t */
    struct kva_vmem_stat stat; /* (a) */
    size_t released;           /* (a) bytes ever given to the source */
    size_t deferred;           /* (a) ranges freed and kept back (defer.h) */
    struct kva__waitq waitq;   /* of a root: who waits in its tree (wait.c) */
    size_t failures; /* requests refused while anybody waited; atomic */

    /* looking and provoking */
    struct kva__cursor *cursors;  /* (a) places in the rings */
    unsigned mtbf;                /* (a) requests to a failure; 0: off */
    unsigned mtbf_left;           /* (a) to the next one */
    uint64_t mtbf_random;         /* (a) state of the spacing; 0: even */
    struct kva_vmem_audit *audit; /* (a) the caller's ring, or NULL */
    size_t audit_n;               /* (a) entries */
    size_t audit_at;              /* (a) the next to be written */
    size_t audit_events;          /* (a) since the arena was made */

    struct kva_vmem *next;         /* (l) all arenas */
    struct kva_vmem *prev;         /* (l) */
    char name[KVA__VMEM_NAME_MAX]; /* (c) */
};

#endif
