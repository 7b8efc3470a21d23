/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The word of a task's: here a task is a thread.
 */
#include "port/posix/posix_impl.h"

#if KVA_TASK_MARK
static __thread unsigned mark;

unsigned *
kva_port_task_mark(void)
{
    return kva_posix_in_interrupt() ? NULL : &mark;
}
#endif
