/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An input as the numbers that a model draws: each takes as many bytes as it
 * needs, and behind the end every number is 0.  So no input is refused.
 */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Steps of one input at most. */
#define STEPS 512

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

struct input {
    const uint8_t *at, *end;
};

/* As many bytes as n needs. */
static uint32_t
draw(void *arg, uint32_t n)
{
    struct input *in = arg;
    uint32_t value = 0;

    for (uint32_t top = n - 1; top > 0 && in->at < in->end; top >>= 8) {
        value = value << 8 | *in->at++;
    }
    return value % n;
}

static void
require(const char *bad)
{
    if (bad != NULL) {
        (void)fprintf(stderr, "fuzz: %s\n", bad);
        abort();
    }
}

#endif
