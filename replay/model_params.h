/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every number in the models a, b and c, with its reason.  The models stand for
 * the three designs of tech-kern 2011 ("Re: kmem-pool-uvm"), which ran with
 * about 1.1 GB in pool(9)s and kept about 30,000 map entries (a), 100,000 (b)
 * and 400,000 (c) boundary tags.  docs/models.md tells how near the synthetic
 * load of 1.1 GB comes to that, and what of the rest cannot be known.
 */
#ifndef REPLAY_MODEL_PARAMS_H
#define REPLAY_MODEL_PARAMS_H

/*
 * a, b, c: requests up to this come from caches.  16 pages is what NetBSD's
 * quantum caches went up to (VMEM_QCACHE_IDX_MAX), and what a was extended to.
 */
#define PARAM_CACHED_PAGES 16u

/*
 * a: pages of a KVA cache's chunk, one map entry each.  NetBSD's cache of
 * kernel virtual addresses took 32 pages at a time (KM_VACACHE_SIZE).
 */
#define PARAM_CHUNK_PAGES 32u

/*
 * a: the report has caches "for both kernel_map and kmem_map": wired memory and
 * plain address space do not share chunks.
 */
#define PARAM_CHUNK_MAPS 2u

/*
 * b, c: pages of a quantum cache's slab: the first power of two above three
 * times the largest cached size, the rule of Bonwick and Adams.
 */
#define PARAM_QCACHE_SLAB_PAGES 64u

/*
 * b, c: tags for one import into heap_va_arena: its span, the segment in it
 * (imports are exact, nothing is left over), and the segment of heap_arena that
 * it came from.  Free segments of heap_arena are counted as they lie.
 */
#define PARAM_TAGS_PER_IMPORT 3u

/*
 * c: pages that the wired arena imports at a time, at least.  The report gives
 * c 300,000 tags more than b over 268,000 pages, 1.1 for each page.  Importing
 * each page by itself takes two (a span and a segment), which rules that out;
 * 16 pages, the most that the arena below serves from a cache, takes 1 + 1/16.
 */
#define PARAM_WIRED_IMPORT_PAGES 16u

/* What the report says, and the ranges in which a model agrees with it. */
#define PARAM_REPORT_A 30000u
#define PARAM_REPORT_A_MIN 25000u
#define PARAM_REPORT_A_MAX 37000u
#define PARAM_REPORT_B 100000u
#define PARAM_REPORT_B_MIN 80000u
#define PARAM_REPORT_B_MAX 130000u
#define PARAM_REPORT_C 400000u
#define PARAM_REPORT_C_MIN 300000u
#define PARAM_REPORT_C_MAX 500000u

#endif
