/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arenas under libFuzzer.  The bytes are the numbers that the model of
 * tests/model/oracle.h draws: first the kind of arena, then one operation after
 * the other, everything checked after each.  No input is refused; behind its
 * end every number is 0, and the run stops.
 */
#include "fuzz/input.h"
#include "port/posix/posix.h"
#include "tests/model/oracle.h"

/* Half of the inputs have faults. */
static void
run(struct input *in)
{
    static const unsigned shifts[] = { 0, 4, 12 };
    struct model_config cf = {
        .kind = (enum model_kind)draw(in, MODEL_KINDS),
        .place = (enum model_place)draw(in, MODEL_PLACES),
        .shift = shifts[draw(in, KVA_COUNT(shifts))],
        .quanta = 2 * MODEL_SLOTS << draw(in, 5),
        .live_max = 1 + draw(in, MODEL_LIVE_MAX),
    };
    bool faults = draw(in, 2) != 0;
    struct model *m = model_new(&cf);

    require(m == NULL ? "no memory" : NULL);
    model_allow_refusal(m, faults);
    for (unsigned i = 0; i < STEPS && in->at < in->end; i++) {
        if (faults) {
            kva_posix_fault_arm((int)draw(in, KVA_POSIX_SITES), 1 + draw(in, 4),
                                draw(in, 2) != 0);
        }
        require(model_step(m, draw, in));
    }
    kva_posix_fault_reset();
    model_allow_refusal(m, false);
    require(model_end(m));
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct input in = { bytes, bytes + size };
    static bool started;

    if (!started) {
        require(kva_posix_init(NULL) == 0 ? NULL : kva_posix_last_error());
        started = true;
    }
    run(&in);
    return 0;
}
