/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/model/requests.h"

#include <stdlib.h>

#include "tests/harness/test.h"
#include "tests/model/layouts.h"
#include "vmem/vmem.h"

#define REQUESTS_MAX 200000u

struct place {
    unsigned n;
    const uintptr_t *addr;
    size_t q;
    bool inner;
};

static uint16_t
starts_of(const struct place *p, const struct request *rq)
{
    size_t bytes = rq->size * p->q;
    uint16_t starts = 0;

    for (unsigned at = 0; at + rq->size <= p->n; at++) {
        uintptr_t first = p->addr[at], last = first + (bytes - 1);

        if (first >= rq->min && last <= rq->max && last >= first &&
            first % (rq->align == 0 ? p->q : rq->align) == rq->phase &&
            (rq->nocross == 0 || first / rq->nocross == last / rq->nocross)) {
            starts |= layout_mask(at, 1);
        }
    }
    return starts;
}

static void
add(struct requests *rs, const struct place *p, struct request rq)
{
    rq.starts = starts_of(p, &rq);
    CHECK_LT(rs->count, REQUESTS_MAX);
    rs->rq[rs->count++] = rq;
}

static void
add_windows(struct requests *rs, const struct place *p, struct request rq)
{
    rq.min = VMEM_ADDR_MIN;
    rq.max = VMEM_ADDR_MAX;
    add(rs, p, rq);
    for (unsigned i = 0; i < p->n; i++) {
        for (unsigned j = i; j < p->n; j++) {
            rq.min = p->addr[i];
            rq.max = p->addr[j] + (p->q - 1);
            add(rs, p, rq);
            if (p->inner && rq.max - rq.min >= 2) {
                rq.min++;
                rq.max--;
                add(rs, p, rq);
            }
        }
    }
}

static int
by_sort(const void *a, const void *b)
{
    const struct request *x = a, *y = b;

    if (x->size != y->size) {
        return x->size < y->size ? -1 : 1;
    }
    return (x->starts > y->starts) - (x->starts < y->starts);
}

void
requests_make(struct requests *rs, unsigned n, const uintptr_t *addr,
              size_t quantum, bool inner)
{
    struct place p = { n, addr, quantum, inner };
    struct request rq = { .align = 0 };

    rs->count = 0;
    rs->rq = malloc(REQUESTS_MAX * sizeof(*rs->rq));
    CHECK(rs->rq != NULL);
    for (rq.size = 1; rq.size <= n; rq.size++) {
        for (unsigned align = 1; align <= 8; align *= 2) {
            for (unsigned phase = 0; phase < align; phase++) {
                rq.align = align == 1 ? 0 : align * quantum;
                rq.phase = phase * quantum;
                rq.nocross = 0;
                add_windows(rs, &p, rq);
                for (unsigned cross = 1; cross <= 16; cross *= 2) {
                    rq.nocross = cross * quantum;
                    if (cross >= rq.size) {
                        add_windows(rs, &p, rq);
                    }
                }
            }
        }
    }
    qsort(rs->rq, rs->count, sizeof(*rs->rq), by_sort);
}

void
requests_free(struct requests *rs)
{
    free(rs->rq);
}

unsigned
requests_sort_end(const struct requests *rs, unsigned i)
{
    const struct request *rq = &rs->rq[i];

    while (i < rs->count && rs->rq[i].size == rq->size &&
           rs->rq[i].starts == rq->starts) {
        i++;
    }
    return i;
}

const vm_flag_t request_fits[FITS_ALL] = {
    0,
    VM_BESTFIT,
    VM_ENDALLOC,
    VM_INSTANTFIT,
    VM_BESTFIT | VM_ENDALLOC,
    VM_INSTANTFIT | VM_ENDALLOC,
    VM_FIRSTFIT,
    VM_NEXTFIT,
};

static unsigned
lowest(uint16_t starts)
{
    return (unsigned)__builtin_ctz(starts);
}

static unsigned
highest(uint16_t starts)
{
    return 31u - (unsigned)__builtin_clz(starts);
}

bool
fit_is_right(struct layout l, unsigned n, uint16_t starts, unsigned at,
             vm_flag_t fit, unsigned next)
{
    uint16_t above = starts & (uint16_t)~layout_mask(0, next);
    unsigned first = at;

    if (at >= n || (starts & layout_mask(at, 1)) == 0) {
        return false;
    }
    if ((fit & VM_FIRSTFIT) != 0) {
        return at == lowest(starts);
    }
    if ((fit & VM_NEXTFIT) != 0) {
        return at == lowest(above != 0 ? above : starts);
    }
    if ((fit & VM_BESTFIT) != 0 &&
        layout_hole(l, n, at) != layout_smallest(l, n, starts)) {
        return false;
    }
    while ((l.start & layout_mask(first, 1)) == 0) {
        first--;
    }
    starts &= layout_mask(first, layout_size(l, n, first));
    return at == ((fit & VM_ENDALLOC) != 0 ? highest(starts) : lowest(starts));
}
