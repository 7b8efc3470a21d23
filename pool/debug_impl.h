/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the debug modes share; debug.c has the theory.
 */
#ifndef KVA_POOL_DEBUG_IMPL_H
#define KVA_POOL_DEBUG_IMPL_H

#include "pool/debug.h"
#include "pool/pool_impl.h"

/*
 * What is known of an object beside its state byte: in the slab's header, one
 * for each object, where nothing that goes wrong in objects reaches it, and
 * where it can be read while an object is unmapped.
 */
struct kva__record {
    uint16_t asked;                 /* bytes asked for (KVA__PR_SIZES); first */
    uintptr_t next;                 /* (s) in quarantine: the one freed after */
    struct kva_pool_event event[2]; /* with KVA_POOL_AUDIT only */
};

enum {
    KVA__EVENT_ALLOC,
    KVA__EVENT_FREE
};

static inline struct kva__record *
kva__record_of(const struct kva_pool *pp, const struct kva__place *place)
{
    return (struct kva__record *)(void *)kva__slab_record(pp, place->slab,
                                                          place->index);
}

/* The bytes asked for at addr. */
static inline size_t
kva__record_asked(const struct kva_pool *pp, const struct kva__record *record)
{
    return (pp->flags & KVA__PR_SIZES) != 0 ? record->asked : pp->asked;
}

/* ---- patterns (pattern.c) -------------------------------------------- */

/* The first byte of n that is not byte; n if there is none. */
size_t kva__pattern_check(uintptr_t addr, size_t n, unsigned byte);

/* ---- redzone.c ------------------------------------------------------- */

/* Bytes of a slot for an object of size bytes, and those before the object. */
size_t kva__redzone_slot(size_t size, size_t *front);
/* Around asked bytes at addr, as far as the slot goes. */
void
kva__redzone_write(const struct kva_pool *pp, uintptr_t addr, size_t asked);
/* Behind them only. */
void
kva__redzone_behind(const struct kva_pool *pp, uintptr_t addr, size_t asked);
/* False, and where: a byte from addr on, below 0 if it is before it. */
bool kva__redzone_check(const struct kva_pool *pp, uintptr_t addr, size_t asked,
                        ptrdiff_t *where);

/* ---- poison.c -------------------------------------------------------- */

void kva__poison_free(const struct kva_pool *pp, uintptr_t addr);
void kva__poison_new(const struct kva_pool *pp, uintptr_t addr);
/* A free object is as it was left: or false, and which byte is not. */
bool
kva__poison_check(const struct kva_pool *pp, uintptr_t addr, size_t *where);

/* ---- audit.c --------------------------------------------------------- */

void kva__audit_event(struct kva_pool_event *event, const void *caller);
/* Log who allocated and freed an object, if that is kept. */
void kva__audit_tell(const char *func, const struct kva_pool *pp,
                     const struct kva__place *place);

/* ---- firewall.c ------------------------------------------------------ */

/* Is there an address space in which pages can be left out? */
bool kva__firewall_possible(void);
/* ... now, or once kva_boot was called? */
bool kva__firewall_possible_later(void);
/* Lay out slabs of one object each; false: it cannot be. */
bool kva__firewall_layout(struct kva_pool *pp, size_t size, size_t align,
                          size_t offset);
/* The pages of an object, which has none: 0 or KVA_ENOMEM. */
int kva__firewall_up(const struct kva_pool *pp, uintptr_t addr, unsigned flags);
void kva__firewall_down(const struct kva_pool *pp, uintptr_t addr);

/* ---- quarantine.c ---------------------------------------------------- */

void kva__quarantine_init(struct kva_pool *pp);
/* Let the oldest go until one more has room; false: that one was written to.
 * It stays, and is victim. */
bool
kva__quarantine_room(struct kva_pool *pp, const char *func, uintptr_t *victim);
/* False: there is no quarantine, or none at present. */
bool kva__quarantine_push(struct kva_pool *pp, uintptr_t addr);
/* Everything out but what was written to: how many objects. */
size_t kva__quarantine_drain(struct kva_pool *pp, const char *func);

/* ---- debug.c --------------------------------------------------------- */

/* Report that a free object was written to. */
_Noreturn void
kva__debug_bad_poison(const char *func, struct kva_pool *pp, uintptr_t addr);

#endif
