/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Trees of arenas under libFuzzer: the whole interface, waiting included.  The
 * bytes are the numbers that the model of tests/model/world.h draws: the shape
 * of the tree, then one operation after the other, everything checked after
 * each.  No input is refused; behind its end every number is 0, the run stops,
 * and all is taken down.  Half of the inputs have faults.
 */
#include "fuzz/input.h"
#include "port/posix/posix.h"
#include "tests/model/world.h"

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct input in = { bytes, bytes + size };
    static bool started;
    struct world *w;

    if (!started) {
        require(kva_posix_init(NULL) == 0 ? NULL : kva_posix_last_error());
        started = true;
    }
    w = world_new(draw, &in);
    require(w == NULL ? "no memory" : NULL);
    world_faults(w, draw(&in, 2) != 0);
    for (unsigned i = 0; i < STEPS && in.at < in.end; i++) {
        require(world_step(w));
    }
    require(world_end(w));
    return 0;
}
