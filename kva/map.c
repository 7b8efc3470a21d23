/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kernel_map: the pageable ranges, each with one entry, for fault handling.
 * Wired memory is never here.  An entry is made before its range is handed out
 * and dropped when the range is freed; entries are never merged, so a free
 * never has to split one and needs no memory.
 *
 * A treap (Seidel and Aragon, "Randomized Search Trees", 1996): a search tree
 * by address and a heap by a priority that is a hash of the address, so that it
 * is balanced whatever the order of insertion.  Rotations run in loops; depth
 * is logarithmic, expected.
 */
#include "kva/kva_impl.h"

struct map_entry {
    uintptr_t first; /* (k) inclusive */
    uintptr_t last;
    struct map_entry *left; /* (k) */
    struct map_entry *right;
    struct map_entry *up;
    uintptr_t priority;
};

static struct {
    kva_lock_t lock;
    struct map_entry *root; /* (k) */
    size_t count;           /* (k) */
    struct kva__meta_store entries;
} map;

void
kva__map_init(void)
{
    kva_port_lock_init(&map.lock, "kernel_map", KVA_IPL_NONE, KVA_RANK_CACHE);
    kva__meta_store_init(&map.entries, "map entries",
                         (sizeof(struct map_entry) + 7) & ~(size_t)7,
                         KVA_META_OTHER, 0);
    map.root = NULL;
    map.count = 0;
}

void
kva__map_fini(void)
{
    if (map.count != 0) {
        kva__misuse("kva_shutdown", "arena", "kernel_map", map.root->first,
                    "expected no pageable range, found %zu", map.count);
    }
}

size_t
kva__map_entries(void)
{
    return map.count;
}

size_t
kva__map_entry_bytes(void)
{
    return map.count * sizeof(struct map_entry);
}

/* The pointer that leads to e. */
static struct map_entry **
link_of(struct map_entry *e)
{
    if (e->up == NULL) {
        return &map.root;
    }
    return e->up->left == e ? &e->up->left : &e->up->right;
}

/* Put b, a child of a, in a's place, and a below it. */
static void
rotate(struct map_entry *a, struct map_entry *b)
{
    struct map_entry *inner;

    *link_of(a) = b;
    b->up = a->up;
    a->up = b;
    if (a->left == b) {
        inner = b->right;
        b->right = a;
        a->left = inner;
    } else {
        inner = b->left;
        b->left = a;
        a->right = inner;
    }
    if (inner != NULL) {
        inner->up = a;
    }
}

static void
insert(struct map_entry *e)
{
    struct map_entry **link = &map.root, *up = NULL;

    while (*link != NULL) {
        up = *link;
        link = e->first < up->first ? &up->left : &up->right;
    }
    e->left = e->right = NULL;
    e->up = up;
    *link = e;
    while (e->up != NULL && e->up->priority < e->priority) {
        rotate(e->up, e);
    }
    map.count++;
}

static void
erase(struct map_entry *e)
{
    while (e->left != NULL && e->right != NULL) {
        rotate(e, e->left->priority > e->right->priority ? e->left : e->right);
    }
    *link_of(e) = e->left != NULL ? e->left : e->right;
    if (e->left != NULL) {
        e->left->up = e->up;
    } else if (e->right != NULL) {
        e->right->up = e->up;
    }
    map.count--;
}

static struct map_entry *
find(uintptr_t va)
{
    struct map_entry *e = map.root;

    while (e != NULL && (va < e->first || va > e->last)) {
        e = va < e->first ? e->left : e->right;
    }
    return e;
}

/*
 * A priority from an address.  One product is not enough: equal strides would
 * come out as a regular sequence, and the tree as deep as a list.
 */
static uintptr_t
mix(uintptr_t x)
{
    const unsigned half = (unsigned)sizeof(x) * 4u;

    for (unsigned i = 0; i < 2; i++) {
        x *= (uintptr_t)0x9e3779b97f4a7c15u;
        x ^= x >> half;
    }
    return x * (uintptr_t)0x9e3779b97f4a7c15u;
}

int
kva_pageable_alloc(size_t size, vm_flag_t flags, vmem_addr_t *va)
{
    struct map_entry *e;
    kva_irq_t irq;
    int err;

    err = vmem_alloc(kva_kernel_va_arena, size, flags, va);
    if (err != 0) {
        return err;
    }
    e = kva__meta_get(&map.entries);
    if (e == NULL) {
        vmem_free(kva_kernel_va_arena, *va, size);
        return KVA_ENOMEM;
    }
    e->first = *va;
    e->last = *va + (vmem_roundup_size(kva_kernel_va_arena, size) - 1);
    e->priority = mix(*va >> KVA_PAGE_SHIFT);
    irq = kva_port_lock(&map.lock);
    insert(e);
    kva_port_unlock(&map.lock, irq);
    return 0;
}

void
kva_pageable_free(vmem_addr_t va, size_t size)
{
    size_t bytes = vmem_roundup_size(kva_kernel_va_arena, size);
    struct map_entry *e;
    kva_irq_t irq;

    irq = kva_port_lock(&map.lock);
    e = find(va);
    if (e == NULL || e->first != va || e->last - va != bytes - 1) {
        kva_port_unlock(&map.lock, irq);
        kva__misuse("kva_pageable_free", "arena", "kernel_map", va,
                    "expected an entry of %zu bytes there, found %s", bytes,
                    e == NULL        ? "none"
                    : e->first != va ? "an address inside one"
                                     : "one of another size");
    }
    erase(e);
    kva_port_unlock(&map.lock, irq);
    kva__meta_put(&map.entries, e);
    vmem_free(kva_kernel_va_arena, va, size);
}

bool
kva_map_lookup(vmem_addr_t va, vmem_addr_t *first, vmem_addr_t *last)
{
    struct map_entry *e;
    kva_irq_t irq;

    irq = kva_port_lock(&map.lock);
    e = find(va);
    if (e != NULL) {
        *first = e->first;
        *last = e->last;
    }
    kva_port_unlock(&map.lock, irq);
    return e != NULL;
}
