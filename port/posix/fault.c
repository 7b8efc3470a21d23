/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fault sites: each place that may fail has a name and counts how often it was
 * passed, and a test lets the n-th pass fail.  Run an operation with n = 1, 2,
 * ... until no fault fires, and every way it can fail has been seen (the
 * method of SQLite's out-of-memory tests).
 */
#include "port/posix/posix_impl.h"

#define SITES_MAX 32

struct site {
    const char *name;
    unsigned long hits;
    unsigned long fired;
    unsigned long countdown; /* 0: not armed; 1: the next fails */
    bool sticky;
};

static struct site sites[SITES_MAX] = {
    [KVA_POSIX_PAGE_GET] = { .name = "page_get" },
    [KVA_POSIX_MAP] = { .name = "map" },
    [KVA_POSIX_META_GET] = { .name = "meta_get" },
    [KVA_POSIX_WAIT] = { .name = "wait" },
    [KVA_POSIX_BARRIER] = { .name = "barrier" },
#if KVA_CONFIG_PAGE_CONTIG
    [KVA_POSIX_PAGE_CONTIG] = { .name = "page_contig" },
#endif
#if KVA_DEMOTE
    [KVA_POSIX_DEMOTE] = { .name = "demote" },
#endif
#if KVA_SLABS_BY_OWNER
    [KVA_POSIX_OWNER] = { .name = "page_owner" },
#endif
};
static int nsites = KVA_POSIX_SITES;
static struct site any = { .name = "any" };
static unsigned armed; /* how many are: 0 spares the lock */
static uint32_t fault_lock;

static struct site *
site_at(int number)
{
    if (number == KVA_POSIX_ANY) {
        return &any;
    }
    if (number < 0 || number >= __atomic_load_n(&nsites, __ATOMIC_ACQUIRE)) {
        kva__panic("host port: no fault site %d", number);
    }
    return &sites[number];
}

static void
set_countdown(struct site *s, unsigned long countdown)
{
    unsigned now = armed - (s->countdown != 0) + (countdown != 0);

    s->countdown = countdown;
    __atomic_store_n(&armed, now, __ATOMIC_RELAXED);
}

/* Pass the site once: true if it fires. */
static bool
count_down(struct site *s)
{
    if (s->countdown == 0) {
        return false;
    }
    if (s->countdown > 1) {
        s->countdown--;
        return false;
    }
    if (!s->sticky) {
        set_countdown(s, 0);
    }
    return true;
}

bool
kva_posix_fault(int site)
{
    struct site *s = site_at(site);
    kva_irq_t saved;
    bool here, anywhere;

    (void)__atomic_add_fetch(&s->hits, 1, __ATOMIC_RELAXED);
    if (KVA_LIKELY(__atomic_load_n(&armed, __ATOMIC_RELAXED) == 0)) {
        return false;
    }
    saved = kva__posix_enter(&fault_lock);
    here = count_down(s);
    anywhere = count_down(&any);
    if (here || anywhere) {
        (void)__atomic_add_fetch(&s->fired, 1, __ATOMIC_RELAXED);
    }
    kva__posix_leave(&fault_lock, saved);
    return here || anywhere;
}

void
kva_posix_fault_arm(int site, unsigned long nth, bool sticky)
{
    struct site *s = site_at(site);
    kva_irq_t saved = kva__posix_enter(&fault_lock);

    s->sticky = sticky;
    set_countdown(s, nth);
    kva__posix_leave(&fault_lock, saved);
}

void
kva_posix_fault_disarm(int site)
{
    struct site *s = site_at(site);
    kva_irq_t saved = kva__posix_enter(&fault_lock);

    set_countdown(s, 0);
    for (int i = 0; s == &any && i < nsites; i++) {
        set_countdown(&sites[i], 0);
    }
    kva__posix_leave(&fault_lock, saved);
}

void
kva_posix_fault_reset(void)
{
    kva_posix_fault_disarm(KVA_POSIX_ANY);
    for (int i = 0; i < kva_posix_fault_sites(); i++) {
        __atomic_store_n(&sites[i].hits, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&sites[i].fired, 0, __ATOMIC_RELAXED);
    }
}

unsigned long
kva_posix_fault_hits(int site)
{
    unsigned long sum = 0;

    if (site != KVA_POSIX_ANY) {
        return __atomic_load_n(&site_at(site)->hits, __ATOMIC_RELAXED);
    }
    for (int i = 0; i < kva_posix_fault_sites(); i++) {
        sum += __atomic_load_n(&sites[i].hits, __ATOMIC_RELAXED);
    }
    return sum;
}

unsigned long
kva_posix_fault_fired(int site)
{
    unsigned long sum = 0;

    if (site != KVA_POSIX_ANY) {
        return __atomic_load_n(&site_at(site)->fired, __ATOMIC_RELAXED);
    }
    for (int i = 0; i < kva_posix_fault_sites(); i++) {
        sum += __atomic_load_n(&sites[i].fired, __ATOMIC_RELAXED);
    }
    return sum;
}

int
kva_posix_fault_sites(void)
{
    return __atomic_load_n(&nsites, __ATOMIC_ACQUIRE);
}

const char *
kva_posix_fault_name(int site)
{
    return site_at(site)->name;
}

int
kva_posix_fault_add(const char *name)
{
    kva_irq_t saved = kva__posix_enter(&fault_lock);
    int site = -1;

    if (nsites < SITES_MAX) {
        site = nsites;
        sites[site].name = name;
        __atomic_store_n(&nsites, site + 1, __ATOMIC_RELEASE);
    }
    kva__posix_leave(&fault_lock, saved);
    return site;
}
