/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Young holes: what looks at the whole of their table; see young.h.
 */
#include "vmem/young.h"

#include "vmem/index_node.h"

/* Looking through the table is as much as visiting so many leaves. */
#define TABLE_VISITS                                     \
    ((unsigned)((sizeof(((struct kva__young *)0)->set) + \
                 sizeof(struct index_leaf) - 1) /        \
                sizeof(struct index_leaf)))

void
kva__young_init(struct kva__young *young)
{
    *young = (struct kva__young){ .limit = YOUNG_LIMIT };
}

/* Is entry a better answer than best, 0: none. */
static bool
is_nearer(uintptr_t entry, uintptr_t best, bool up)
{
    return best == 0 || (up ? entry < best : entry > best);
}

uintptr_t
kva__young_seek(struct kva__young *young, struct kva__index *ix, uintptr_t addr,
                size_t size, bool up, size_t *visits)
{
    uintptr_t best = 0;
    unsigned told = 0;

    young->hold = YOUNG_HOLD;
    young->limit = 0;
    if (!young->used) {
        return 0;
    }
    young->used = false;
    *visits += TABLE_VISITS;
    for (unsigned i = 0; i < YOUNG_SETS * YOUNG_WAYS; i++) {
        uintptr_t *slot = &young->set[i / YOUNG_WAYS][i % YOUNG_WAYS];
        uintptr_t entry = *slot, start = young_start(ix, entry);

        if (entry == 0) {
            continue;
        }
        if (told < YOUNG_TELL) {
            told++;
            kva__index_come(ix, start, young_size(ix, entry));
            *slot = 0;
            continue;
        }
        young->used = true;
        if (young_size(ix, entry) >= size &&
            (up ? start >= addr : start <= addr) &&
            is_nearer(entry, best, up)) {
            best = entry;
        }
    }
    return best;
}

size_t
kva__young_max(const struct kva__young *young, const struct kva__index *ix)
{
    size_t max = 0;

    for (unsigned i = 0; i < YOUNG_SETS * YOUNG_WAYS; i++) {
        size_t size =
            young_size(ix, young->set[i / YOUNG_WAYS][i % YOUNG_WAYS]);

        max = size > max ? size : max;
    }
    return max;
}

bool
kva__young_has(const struct kva__young *young, const struct kva__index *ix,
               uintptr_t start, size_t size)
{
    uintptr_t q = start >> ix->shift, entry = young_entry(q, size >> ix->shift);
    const uintptr_t *set =
        young->set[(q ^ q >> YOUNG_SHIFT) & (YOUNG_SETS - 1)];
    bool has = false;

    for (unsigned i = 0; i < YOUNG_WAYS; i++) {
        has = has || set[i] == entry;
    }
    return has && size >> ix->shift <= KVA__VMEM_EXACT;
}

size_t
kva__young_count(const struct kva__young *young)
{
    size_t n = 0;

    for (unsigned i = 0; i < YOUNG_SETS * YOUNG_WAYS; i++) {
        n += young->set[i / YOUNG_WAYS][i % YOUNG_WAYS] != 0;
    }
    return n;
}
