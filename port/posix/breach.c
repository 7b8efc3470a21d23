/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine that is not as promised: which promise is broken now.  What
 * breaking it comes to stands in the hook itself.
 */
#include "port/posix/posix_impl.h"

static enum kva_posix_breach broken;

void
kva_posix_break(enum kva_posix_breach what)
{
    __atomic_store_n(&broken, what, __ATOMIC_RELAXED);
}

bool
kva__posix_broken(enum kva_posix_breach what)
{
    return KVA_UNLIKELY(__atomic_load_n(&broken, __ATOMIC_RELAXED) == what);
}
