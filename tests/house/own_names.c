/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A kernel that owns the names of vmem(9), kmem(9), pool(9) and malloc(9)
 * itself, and uses the library beside them by the prefixed ones.  names.py
 * compiles and links it, without a libc; it is never run.
 */
#define PAGE_SIZE 17
#define VM_SLEEP "not a flag"
#define VM_NOSLEEP "nor this"
#define KM_SLEEP "nor this"
#define M_WAITOK "nor this"
#define PR_WAITOK "nor this"
#define vmem_list "no arena"

#define KVA_NO_NAMES
#include "kva/kva.h"
#include "kmem/kmem.h"
#include "malloc_compat/kmalloc.h"
#include "malloc_compat/malloc.h"
#include "pool/pool.h"
#include "reclaim/reclaim.h"
#include "vmem/vmem.h"

_Static_assert(PAGE_SIZE == 17, "the kernel's own PAGE_SIZE");
_Static_assert(sizeof(VM_SLEEP) == sizeof("not a flag"), "its VM_SLEEP");

/* Other signatures than the library's: a clash does not compile. */
typedef struct vmem {
    char unlike[3];
} vmem_t;
typedef char *vmem_addr_t;
typedef char *pool_cache_t;
enum kmem_arena {
    NOT_AN_ARENA
};

vmem_t *vmem_alloc(vmem_t *first, const char *how);
int vmem_free(vmem_t *vm);
char *vmem_create(void);
int kmem_alloc(void);
int kmem_free(int object);
int pool_get(int pool);
int pool_cache_get(int cache);
int pool_init(void);
int malloc(char *what, int type);
int free(int object);
int realloc(int object);
int kmalloc(int size, int flags);
int kfree(int object);
int use_both(struct kva_vmem *vm);

vmem_t *
vmem_alloc(vmem_t *first, const char *how)
{
    return how != NULL ? first : NULL;
}

int
vmem_free(vmem_t *vm)
{
    return vm->unlike[0];
}

char *
vmem_create(void)
{
    return NULL;
}

int
kmem_alloc(void)
{
    return NOT_AN_ARENA;
}

int
kmem_free(int object)
{
    return object;
}

int
pool_get(int pool)
{
    return pool;
}

int
pool_cache_get(int cache)
{
    return cache;
}

int
pool_init(void)
{
    return 0;
}

int
malloc(char *what, int type)
{
    return *what + type;
}

int
free(int object)
{
    return object;
}

int
realloc(int object)
{
    return object;
}

int
kmalloc(int size, int flags)
{
    return size + flags;
}

int
kfree(int object)
{
    return object;
}

/* Each layer by its true name, so that the link needs all of them. */
int
use_both(struct kva_vmem *vm)
{
    kva_vmem_addr_t addr;
    void *p;

    if (kva_vmem_alloc(vm, PAGE_SIZE, KVA_VM_NOSLEEP, &addr) == 0) {
        kva_vmem_free(vm, addr, PAGE_SIZE);
    }
    p = kva_kmem_alloc(PAGE_SIZE, KVA_KM_NOSLEEP);
    if (p != NULL) {
        kva_kmem_free(p, PAGE_SIZE);
    }
    kva_kfree(kva_kmalloc(PAGE_SIZE));
    kva_free(kva_malloc(PAGE_SIZE, NULL, KVA_M_NOWAIT), NULL);
    return kva_boot(NULL) + kmem_alloc() + pool_init();
}
