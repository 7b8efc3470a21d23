/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tables for people: a name, then numbers in columns that stay where they are
 * whatever the numbers.
 */
#ifndef KVA_VMEM_TABLE_H
#define KVA_VMEM_TABLE_H

#include "vmem/vmem.h"

/* A title, and how wide the column is: at least 5, for numbers. */
struct kva__column {
    const char *title;
    unsigned width;
};

/* There is no such number: "-". */
#define KVA__TABLE_NONE (SIZE_MAX / 2 + 1)

/*
 * The titles; and a row, of a name for the first column (cut to its width) and
 * n - 1 values.  A value that is too long for its column is cut to thousands
 * (k), millions (M) and so on; one above half the word is below 0.
 */
void kva__table_head(const struct kva__column *column, unsigned n,
                     kva_vmem_pr_t *pr);
void kva__table_row(const struct kva__column *column, unsigned n,
                    const char *name, const size_t *value, kva_vmem_pr_t *pr);

#endif
