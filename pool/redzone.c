/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Redzones: bytes before and behind an object that nobody may write.
 *
 *     |<------------------- slot -------------------->|
 *     | front   | object: asked bytes | behind it     |
 *     |fdfdfdfd |                     |fdfdfdfd ...   |
 *
 * They begin at the byte behind those asked for, in what an object has been
 * rounded up by as well, so a write one byte too far is seen.  It is seen when
 * the object is put, and where the byte is written that was there already it is
 * not seen at all.  With a firewall the slot is all of the object's pages.
 *
 * Also in what is left of the slot when nothing is asked for: then the redzone
 * of a free object is looked at, at the next get.
 */
#include "pool/debug_impl.h"

/* Before and behind, at least: a word of 64 bits that goes one too far or one
 * too low is seen whole. */
#define FRONT 8u
#define BEHIND 8u

size_t
kva__redzone_slot(size_t size, size_t *front)
{
    *front = FRONT;
    return FRONT + size + BEHIND;
}

void
kva__redzone_behind(const struct kva_pool *pp, uintptr_t addr, size_t asked)
{
    __builtin_memset((void *)(addr + asked), KVA_POOL_BYTE_REDZONE,
                     pp->slot - pp->front - asked);
}

void
kva__redzone_write(const struct kva_pool *pp, uintptr_t addr, size_t asked)
{
    __builtin_memset((void *)(addr - pp->front), KVA_POOL_BYTE_REDZONE,
                     pp->front);
    kva__redzone_behind(pp, addr, asked);
}

bool
kva__redzone_check(const struct kva_pool *pp, uintptr_t addr, size_t asked,
                   ptrdiff_t *where)
{
    size_t behind = pp->slot - pp->front - asked, at;

    at = kva__pattern_check(addr + asked, behind, KVA_POOL_BYTE_REDZONE);
    if (at < behind) {
        *where = (ptrdiff_t)(asked + at);
        return false;
    }
    if (kva__pattern_check(addr - pp->front, pp->front,
                           KVA_POOL_BYTE_REDZONE) == pp->front) {
        return true;
    }
    /* The one next to the object: it was written last, as a rule. */
    at = 1;
    while (*(const unsigned char *)(addr - at) == KVA_POOL_BYTE_REDZONE) {
        at++;
    }
    *where = -(ptrdiff_t)at;
    return false;
}
