/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: no legal operation is reported.  The same scenes as for every class of
 * misuse, legal operations only; a report ends the test.
 */
#include "tests/misuse/scene.h"

#define STEPS 1000u

static void
no_false_alarm(struct test_ctx *t)
{
    unsigned kind = 0;

    PORT(NULL);
    for (unsigned long done = 0; done < t->count; done += STEPS) {
        struct scene *s = scene_open(t, kind++ % scene_kinds());

        for (unsigned i = 0; i < STEPS; i++) {
            scene_step(t, s);
        }
        (void)scene_digest(s);
        scene_close(s);
    }
}

const struct test vmem_legal_tests[] = {
    TEST_LEAST("misuse", no_false_alarm, 5000, 50000, 2000000, 100000000),
    TEST_END
};
