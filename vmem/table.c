/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables for people; see table.h. */
#include "vmem/table.h"

#include "vmem/print.h"

#define WIDTH_MIN 5u /* "-999k" */

struct line {
    char text[KVA_MESSAGE_MAX];
    size_t len;
};

static void add(struct line *line, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void
add(struct line *line, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    line->len += kva__vformat(line->text + line->len,
                              sizeof(line->text) - line->len, fmt, ap);
    va_end(ap);
}

/* The most digits that fit: all of them, or so many thousands. */
static void
add_number(struct line *line, size_t value, unsigned width)
{
    static const char scale[][2] = { "", "k", "M", "G", "T", "P", "E" };
    const char *sign = value > SIZE_MAX / 2 ? "-" : "";
    char digits[24];
    unsigned i = 0;

    KVA_ASSERT(width >= WIDTH_MIN);
    if (value == KVA__TABLE_NONE) {
        add(line, " %*s", (int)width, "-");
        return;
    }
    value = value > SIZE_MAX / 2 ? 0 - value : value;
    while (kva__format(digits, sizeof(digits), "%s%zu%s", sign, value,
                       scale[i]) > width) {
        value /= 1000u;
        i++;
    }
    add(line, " %*s", (int)width, digits);
}

void
kva__table_head(const struct kva__column *column, unsigned n, kva_vmem_pr_t *pr)
{
    struct line line = { .len = 0 };

    add(&line, "%-*s", (int)column[0].width, column[0].title);
    for (unsigned i = 1; i < n; i++) {
        add(&line, " %*s", (int)column[i].width, column[i].title);
    }
    kva__print_line(pr, "%s", line.text);
}

void
kva__table_row(const struct kva__column *column, unsigned n, const char *name,
               const size_t *value, kva_vmem_pr_t *pr)
{
    struct line line = { .len = 0 };
    int width = (int)column[0].width;

    add(&line, "%-*.*s", width, width, name == NULL ? "(unnamed)" : name);
    for (unsigned i = 1; i < n; i++) {
        add_number(&line, value[i - 1], column[i].width);
    }
    kva__print_line(pr, "%s", line.text);
}
