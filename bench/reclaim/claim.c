/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claims: a line for each, and whether it holds.
 */
#include <stdlib.h>
#include <string.h>

#include "bench/reclaim/experiment.h"
#include "kmem/kmem.h"

#define LINE "%-12s %-58s %12s %12s  %-10s %-12s %s\n"

void
claims_heading(FILE *out)
{
    fprintf(out, LINE, "experiment", "claim", "before", "after", "", "bound",
            "");
}

bool
claim_holds(const struct claim *cl)
{
    switch (cl->kind) {
    case CLAIM_AT_LEAST:
        return cl->after >= cl->bound;
    case CLAIM_AT_MOST:
        return cl->after <= cl->bound;
    case CLAIM_EQUALS:
        return !(cl->after < cl->bound) && !(cl->after > cl->bound);
    default:
        return true;
    }
}

/* Counts without a point, shares with what they need of one. */
static void
figure(char *text, size_t size, double value)
{
    (void)snprintf(text, size, "%.*f",
                   value - (double)(int64_t)value < 0.0005 ? 0 : 3, value);
}

void
claim_bound(const struct claim *cl, char *text, size_t size)
{
    static const char *const sign[] = {
        [CLAIM_AT_LEAST] = ">= ", [CLAIM_AT_MOST] = "<= ", [CLAIM_EQUALS] = "= "
    };
    char number[32];

    if (cl->kind == CLAIM_SHOWN) {
        *text = '\0';
        return;
    }
    figure(number, sizeof(number), cl->bound);
    (void)snprintf(text, size, "%s%s", sign[cl->kind], number);
}

void
claim_print(FILE *out, const char *name, const struct claim_kept *kept)
{
    char before[32] = "-", after[32], bound[40];

    if (kept->claim.has_before) {
        figure(before, sizeof(before), kept->claim.before);
    }
    figure(after, sizeof(after), kept->claim.after);
    claim_bound(&kept->claim, bound, sizeof(bound));
    fprintf(out, LINE, name, kept->what, before, after, kept->unit, bound,
            kept->claim.kind == CLAIM_SHOWN ? "shown"
            : kept->held                    ? "held"
                                            : "MISSED");
    (void)fflush(out);
}

void
claim(struct claims *c, const struct claim *cl)
{
    struct claim_kept *kept = &c->kept[c->n];

    if (c->n == CLAIMS_MAX || strlen(cl->what) >= sizeof(kept->what) ||
        strlen(cl->unit) >= sizeof(kept->unit)) {
        (void)experiment_failed(c->experiment, "a claim has no room");
        abort();
    }
    (void)snprintf(kept->what, sizeof(kept->what), "%s", cl->what);
    (void)snprintf(kept->unit, sizeof(kept->unit), "%s", cl->unit);
    kept->claim = *cl;
    kept->claim.what = kept->claim.unit = NULL;
    kept->held = claim_holds(cl);
    c->n++;
    c->missed += kept->held ? 0 : 1;
    if (c->out != NULL) {
        claim_print(c->out, c->experiment, kept);
    }
}

bool
experiment_failed(const char *name, const char *what)
{
    (void)fprintf(stderr, "kva-reclaim: %s: %s\n", name, what);
    return false;
}

bool
experiment_start(const struct kva_posix_config *config, struct kva_boot *kb)
{
    if (kva_posix_init(config) != 0) {
        return experiment_failed("machine", kva_posix_last_error());
    }
    kb->va_base = kva_posix_va_base();
    kb->va_bytes = kva_posix_va_bytes();
    if (kva_boot(kb) != 0 || kva_start() != 0) {
        return experiment_failed("machine", "the tower does not start");
    }
    kva_kmem_init();
    return true;
}

void
experiment_end(void)
{
    kva_kmem_fini();
    (void)kva_pool_drain_all();
    kva_shutdown();
    kva_posix_fini();
}
