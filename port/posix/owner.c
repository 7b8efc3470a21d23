/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The owner of each page (kva_port_page_owner), in three levels of 4096
 * pointers each:
 *
 *     root (static) --> middle --> leaf, of 16 MiB of addresses
 *
 * which is 48 bits of addresses with pages of 4 KiB.  Beyond those nothing is
 * mapped on the host, so nothing is owned.  Tables are complete before they are
 * named and stay until the machine stops; who reads takes no lock.
 */
#include "port/posix/posix_impl.h"

#if KVA_SLABS_BY_OWNER

#define LEVEL_SHIFT 12u
#define LEVEL_SIZE ((uintptr_t)1 << LEVEL_SHIFT)

struct table {
    void *at[LEVEL_SIZE];
};

static struct table root;
static uint32_t owner_lock; /* who writes has it */

/* What is in an entry; with make, a new table if that is nothing. */
static struct table *
table_at(void **entry, bool make)
{
    struct table *table = __atomic_load_n(entry, __ATOMIC_ACQUIRE);

    if (table == NULL && make) {
        table = kva__posix_table(1, sizeof(*table));
        __atomic_store_n(entry, table, __ATOMIC_RELEASE);
    }
    return table;
}

/* Where the owner of a page is, or NULL: it has none, or no room for one. */
static void **
place_of(uintptr_t page, bool make)
{
    uintptr_t leaf = page >> LEVEL_SHIFT, middle = leaf >> LEVEL_SHIFT;
    struct table *table;

    if (middle >= LEVEL_SIZE) {
        return NULL;
    }
    table = table_at(&root.at[middle], make);
    if (table != NULL) {
        table = table_at(&table->at[leaf & (LEVEL_SIZE - 1u)], make);
    }
    return table == NULL ? NULL : &table->at[page & (LEVEL_SIZE - 1u)];
}

void *
kva_port_page_owner(uintptr_t va)
{
    void **place = place_of(va >> KVA_PAGE_SHIFT, false);

    return place == NULL ? NULL : __atomic_load_n(place, __ATOMIC_ACQUIRE);
}

/* Have all of the pages an owner? */
static bool
all_owned(uintptr_t page, size_t n)
{
    while (n > 0 &&
           kva_port_page_owner((page + n - 1u) << KVA_PAGE_SHIFT) != NULL) {
        n--;
    }
    return n == 0;
}

/* Room for the owners of n pages. */
static bool
places_make(uintptr_t page, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (place_of(page + i, true) == NULL) {
            return false;
        }
    }
    return true;
}

int
kva_port_page_owner_set(uintptr_t va, size_t n, void *owner)
{
    uintptr_t page = va >> KVA_PAGE_SHIFT;
    kva_irq_t saved;
    bool room;

    posix_yield("page_owner_set");
    if ((va & KVA_PAGE_MASK) != 0) {
        kva__misuse(__func__, "space", "owner", va,
                    "expected the start of a page");
    }
    if (owner != NULL && !all_owned(page, n) &&
        kva_posix_fault(KVA_POSIX_OWNER)) {
        kva__posix_error("page_owner_set: injected fault");
        return KVA_ENOMEM;
    }
    saved = kva__posix_enter(&owner_lock);
    room = owner == NULL || places_make(page, n);
    for (size_t i = 0; room && i < n; i++) {
        void **place = place_of(page + i, false);

        if (place != NULL) {
            __atomic_store_n(place, owner, __ATOMIC_RELEASE);
        }
    }
    kva__posix_leave(&owner_lock, saved);
    return room ? 0 : KVA_ENOMEM;
}

void
kva__posix_owner_fini(void)
{
    for (uintptr_t m = 0; m < LEVEL_SIZE; m++) {
        struct table *middle = root.at[m];

        for (uintptr_t l = 0; middle != NULL && l < LEVEL_SIZE; l++) {
            kva__posix_table_free(middle->at[l], 1, sizeof(struct table));
        }
        kva__posix_table_free(middle, 1, sizeof(struct table));
        root.at[m] = NULL;
    }
}

#else

void
kva__posix_owner_fini(void)
{
}
#endif
