/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scenes for misuse: an arena of some shape with ranges live in it, the arena
 * it imports from, and a third one beside them, each with a book: a list of its
 * spans and of its live ranges, kept by hand.  What a wrong free must report is
 * read off the book; the library is not asked.
 *
 * A shape says what the arena is made of; each is tried with each row of
 * creation flags.
 */
#ifndef TESTS_SCENE_H
#define TESTS_SCENE_H

#include "tests/harness/test.h"
#include "tests/misuse/digest.h"
#include "tests/model/book.h"
#include "vmem/vmem_store.h"

#define SCENE_QUANTA 256u
#define SCENE_LIVE 40u
#define SCENE_QCACHE 8u /* quanta */
#define SCENE_BTS KVA_VMEM_EST_BTCOUNT(4, SCENE_LIVE)

struct shape {
    const char *name;
    unsigned shift;    /* log2 of the quantum */
    bool cached;       /* quantum caches */
    bool import;       /* spans come from an arena below */
    vm_flag_t flags;   /* at creation, above those of the row */
    bool private_tags; /* a caller's tags */
};

struct scene {
    const struct shape *shape;
    vm_flag_t flags; /* the row */
    uintptr_t origin;
    struct book top;   /* the arena that is misused */
    struct book below; /* its source */
    struct book other; /* one that has nothing to do with it */
    struct kva_vmem store;
    struct kva_vmem_btag bts[SCENE_BTS];
};

/* Shapes times rows of flags. */
unsigned scene_kinds(void);
const struct shape *scene_shape(unsigned kind);
/* Start the port and make the arenas of that kind, somewhere; end them. */
struct scene *scene_open(struct test_ctx *t, unsigned kind);
void scene_close(struct scene *s);
/* One legal operation on the top arena or on the other. */
void scene_step(struct test_ctx *t, struct scene *s);
/* Free live range k as it should be. */
void scene_free(struct book *b, unsigned k);
void scene_drain(struct scene *s);

/*
 * Free what must not be: the message is the book's, no lock is held, and all
 * arenas of the scene are as before.  False, and nothing done, if the free is
 * legal.
 */
bool scene_bad_free(struct scene *s, struct book *b, enum way way,
                    uintptr_t addr, size_t size);
uint64_t scene_digest(const struct scene *s);

/*
 * t->count instances of a misuse, over all kinds of scene that takes (NULL:
 * any) does not decline, with legal operations between them.  one does one
 * instance, or answers false: there is no place for it right now.
 */
typedef bool scene_one_t(struct test_ctx *t, struct scene *s);
typedef bool scene_takes_t(const struct shape *shape);
void
scene_instances(struct test_ctx *t, scene_takes_t *takes, scene_one_t *one);

/* For the tests that name their addresses: 256 quanta of 4 KiB at BASE, one
 * arena without and one with quantum caches of up to 8. */
#define Q ((size_t)4096)
#define BASE ((uintptr_t)0x40000000)
#define NOSLEEP VM_NOSLEEP

vmem_t *plain_arena(void);
vmem_t *cached_arena(void);
uintptr_t get(vmem_t *vm, size_t size);
uintptr_t xget(vmem_t *vm, size_t size);

#endif
