/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The budget of tags: how many new tags an operation may take at most, for whom
 * tags are dear (VM_PRIVTAGS), and for the code itself, which ensures these
 * very numbers.  Included by vmem.h.
 *
 * Every tag that an operation takes is taken in one of these places:
 *
 *     vmem_alloc, vmem_xalloc, vmem_xalloc_addr
 *     |-- the hole is cut                kva__segment_cut     1 or 2
 *     +-- or none fits: import_span
 *         |-- in the source: all of this once more, by its own budget
 *         |-- the span joins             kva__span_join       0 to 2
 *         +-- and is cut                 kva__segment_cut     1 or 2
 *     vmem_add, vmem_create with a size
 *     +-- the span joins                 kva__span_add        2
 *     vmem_xtrim
 *     |-- trim_head                      a hole               0 or 1
 *     +-- trim_tail                      a hole               0 or 1
 *     vmem_xsplit
 *     +-- kva__segment_split             the second           1
 *     vmem_drain
 *     |-- kva__span_cut                  the rest, a span     0 or 2
 *     +-- in the source: vmem_xsplit     at either end        0 to 2
 *     vmem_free, vmem_xfree, vmem_xfreeall, vmem_xjoin, vmem_xextend
 *     +-- none
 *
 * What is set aside for an import and not needed comes back when it ends, and
 * an import that fails, or does not serve and goes back, leaves nothing behind.
 * So these are the tags in use at the end, and the most in use meanwhile.
 *
 * A piece of the quantum caches is cut as by vmem_xalloc; a vmem_alloc that
 * they serve takes no tag unless they grow, by one piece at a time.
 */
#ifndef KVA_VMEM_BUDGET_H
#define KVA_VMEM_BUDGET_H

#include "port/port.h"

/*
 * A hole that is cut has at most a remainder on either side; its own tag serves
 * one of the up to three parts.  Without constraints a segment lies at an end
 * of its hole, which leaves one remainder; but next fit may go on in the
 * middle.
 */
#define KVA_VMEM_TAGS_ALLOC 1u
#define KVA_VMEM_TAGS_XALLOC 2u /* vmem_xalloc, vmem_xalloc_addr, next fit */

/*
 * A segment that comes free joins free neighbours, whose tags and its own are
 * more than enough for one hole; a whole span that goes back gives up its two.
 */
#define KVA_VMEM_TAGS_FREE 0u

/* The span's own tag, and one for the segment that fills it. */
#define KVA_VMEM_TAGS_ADD 2u

/*
 * Each end that moves leaves a hole.  Beside a free neighbour the hole is
 * already there and only grows, by the move of one start, so that end takes no
 * tag and cannot fail; beside a busy one, or the end of the span, it is new.
 */
#define KVA_VMEM_TAGS_XTRIM_END 1u
#define KVA_VMEM_TAGS_XTRIM (2u * KVA_VMEM_TAGS_XTRIM_END)

/* One segment becomes two, and two one. */
#define KVA_VMEM_TAGS_XSPLIT 1u
#define KVA_VMEM_TAGS_XJOIN 0u

/* A drain that has the middle of a span go: a span, and a segment in it. */
#define KVA_VMEM_TAGS_CUT 2u

/* A hole beside it becomes shorter or goes: starts move, tags only come
 * back. */
#define KVA_VMEM_TAGS_XEXTEND 0u

/*
 * An operation that takes op tags (TAGS_ALLOC, TAGS_XALLOC) from a hole, when
 * it imports the span with that hole first.
 */
#define KVA_VMEM_TAGS_IMPORT(op) (KVA_VMEM_TAGS_ADD + (op))

/*
 * The same through a chain of depth arenas, the first counted, the last of
 * which does not import: the sum over all of them.  up is what each source
 * takes for its part: TAGS_ALLOC if imports are plain, TAGS_XALLOC if the whole
 * request is passed on.  Each but the last adds the span it got and cuts it;
 * the last only cuts.  With depth 1 it is op.
 */
#define KVA_VMEM_TAGS_CHAIN(op, up, depth) \
    ((op) + ((depth)-1u) * KVA_VMEM_TAGS_IMPORT(up))

/*
 * What is reserved for a prepared operation, whichever it will be, in an arena
 * that imports and in one that does not: the largest of the above.
 */
#define KVA_VMEM_TAGS_PREPARED(imports) \
    ((imports) ? KVA_VMEM_TAGS_IMPORT(KVA_VMEM_TAGS_XALLOC) : KVA_VMEM_TAGS_ADD)

/*
 * One tag in so many is a group's header: those that 4096 bytes hold.  So n
 * tags to use want n and a header for each full or begun GROUP - 1 of them.
 */
#define KVA_VMEM_BTS_GROUP (KVA_WORD_64 ? 128u : 170u)
#define KVA_VMEM_BTS_FOR(tags) \
    ((tags) + ((tags) + KVA_VMEM_BTS_GROUP - 2u) / (KVA_VMEM_BTS_GROUP - 1u))

/* Segments for each page of an arena's hash (vmem_add_hash): buckets of 32
 * bytes with five each (hash.c). */
#define KVA_VMEM_HASH_TAGS ((unsigned)(KVA_PAGE_SIZE >> 5) * 5u)

/*
 * Tags to give by vmem_add_bts for spans and allocs at a time, those under way
 * counted.  In use are a tag for each span and for each allocation, and one for
 * each gap: before the first segment of a span, and behind each allocation.
 *
 *     span | gap | alloc | gap | alloc | gap        2 + 2 * 2
 *
 * No slack is wanted for the operation under way: with allocs - 1 live, at most
 * 2 * spans + 2 * allocs - 2 are in use, and cutting a hole takes two; with
 * spans - 1 likewise, and an import takes four where both are one less.  A trim
 * ends with no more than one gap behind each, like everything else.
 * For operations that are prepared, add KVA_VMEM_TAGS_PREPARED each.
 */
#define KVA_VMEM_TAGS_FOR(spans, allocs) (2u * (spans) + 2u * (allocs))
#define KVA_VMEM_EST_BTCOUNT(spans, allocs) \
    KVA_VMEM_BTS_FOR(KVA_VMEM_TAGS_FOR(spans, allocs))

#endif
