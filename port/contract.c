/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a port promises in port.h, looked at whenever it has been called; debug
 * builds only.
 *
 *     hook          expected
 *     page_get      an aligned run, of frames that nobody holds
 *     map           all mapped, to these frames; or, refused, nothing
 *     unmap         nothing mapped any more
 *     demote        all mapped as before, whatever it returns
 *     meta_get      an aligned page of zeros
 *     cpu_count     1 to KVA_CPU_MAX
 *     cpu_enter     a number below that, or KVA_CPU_NONE
 *     lock          held; interrupts not opened          with KVA_CONFIG_CONTEXT
 *     unlock        not held; interrupts not opened      with KVA_CONFIG_CONTEXT
 *     wait          held again; one of three results     the lock: the same
 *
 * What is mapped, translate tells.  What is locked and masked only the port can
 * tell: kva_port_context, which is optional.  Which frames are held is kept
 * here, a bit for each:
 *
 *     leaf:  | first frame / 4096 | 4096 bits |      64 of them, static
 *
 * A leaf is given to the first frame that wants it, for good.  Frames beyond
 * what the leaves cover (1 GiB of 4 KiB pages in one piece) are not looked at.
 */
#define KVA__CONTRACT_HOOKS
#include "port/contract.h"

#if KVA_CONFIG_DEBUG

/* ---- frames ------------------------------------------------------------ */

#define LEAVES 64u
#define LEAF_SHIFT 12u
#define WORD_SHIFT (KVA_WORD_64 ? 6u : 5u)
#define LEAF_WORDS ((size_t)1 << (LEAF_SHIFT - WORD_SHIFT))

static struct {
    uint32_t key; /* number of its first frame / 4096, + 1; 0: nobody's */
    uintptr_t held[LEAF_WORDS];
} leaf[LEAVES];

/* The word that has a frame's bit; NULL: none. */
static uintptr_t *
held_word(kva_pa_t pa, uintptr_t *bit)
{
    kva_pa_t frame = pa >> KVA_PAGE_SHIFT;
    uint32_t key = (uint32_t)(frame >> LEAF_SHIFT) + 1, found = 0;
    size_t at = (size_t)frame & (((size_t)1 << LEAF_SHIFT) - 1);

    *bit = (uintptr_t)1 << (at & (((size_t)1 << WORD_SHIFT) - 1));
    for (unsigned i = 0; i < LEAVES; i++, found = 0) {
        if (__atomic_load_n(&leaf[i].key, __ATOMIC_RELAXED) == key ||
            __atomic_compare_exchange_n(&leaf[i].key, &found, key, false,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED) ||
            found == key) {
            return &leaf[i].held[at >> WORD_SHIFT];
        }
    }
    return NULL;
}

int
kva__contract_page_get(size_t n, unsigned flags, kva_pa_t *pa)
{
    int err = kva_port_page_get(n, flags, pa);
    uintptr_t *word, bit;

    if (err != 0) {
        return err;
    }
    if ((*pa & KVA_PAGE_MASK) != 0) {
        kva__misuse("kva_port_page_get", "port", "frames", (uintptr_t)*pa,
                    "expected whole frames, found offset %zu",
                    (size_t)(*pa & KVA_PAGE_MASK));
    }
    for (size_t i = 0; i < n; i++) {
        word = held_word(*pa + ((kva_pa_t)i << KVA_PAGE_SHIFT), &bit);
        if (word != NULL &&
            (__atomic_fetch_or(word, bit, __ATOMIC_RELAXED) & bit) != 0) {
            kva__misuse("kva_port_page_get", "port", "frames", (uintptr_t)*pa,
                        "expected %zu frames that nobody holds, found the "
                        "frame %zu of them held",
                        n, i);
        }
    }
    return 0;
}

void
kva__contract_page_put(size_t n, kva_pa_t pa)
{
    uintptr_t *word, bit;

    for (size_t i = 0; i < n; i++) {
        word = held_word(pa + ((kva_pa_t)i << KVA_PAGE_SHIFT), &bit);
        if (word != NULL) {
            (void)__atomic_fetch_and(word, ~bit, __ATOMIC_RELAXED);
        }
    }
    kva_port_page_put(n, pa);
}

/* ---- address space ----------------------------------------------------- */

#if KVA_TIER >= 2

/* The first of n pages that is mapped; n: none is. */
static size_t
first_mapped(uintptr_t va, size_t n)
{
    kva_pa_t pa;
    size_t i = 0;

    while (i < n &&
           kva_port_translate(va + (i << KVA_PAGE_SHIFT), 1, &pa) == 0) {
        i++;
    }
    return i;
}

/* The first of n pages that is not mapped to the frame that it should; n: all
 * are. */
static size_t
first_strange(uintptr_t va, kva_pa_t pa, size_t n)
{
    kva_pa_t got = 0;
    size_t i = 0, run;

    while (i < n) {
        run = kva_port_translate(va + (i << KVA_PAGE_SHIFT), n - i, &got);
        if (run == 0 || got != pa + ((kva_pa_t)i << KVA_PAGE_SHIFT)) {
            break;
        }
        i += run;
    }
    return i;
}

int
kva__contract_map(uintptr_t va, kva_pa_t pa, size_t n, unsigned prot)
{
    int err = kva_port_map(va, pa, n, prot);
    size_t i = err != 0 ? first_mapped(va, n) : first_strange(va, pa, n);

    if (i < n) {
        kva__misuse("kva_port_map", "port", "space", va,
                    "expected %s of %zu pages mapped, found the page %zu %s",
                    err != 0 ? "none, since it was refused," : "all", n, i,
                    err != 0 ? "mapped" : "not, or to another frame");
    }
    return err;
}

void
kva__contract_unmap(uintptr_t va, size_t n)
{
    size_t i;

    kva_port_unmap(va, n);
    i = first_mapped(va, n);
    if (i < n) {
        kva__misuse("kva_port_unmap", "port", "space", va,
                    "expected none of %zu pages mapped, found the page %zu "
                    "mapped",
                    n, i);
    }
}

#if KVA_DEMOTE
/* A number made of the frames under n pages and of which page each is under;
 * one that is not mapped counts, too. */
static kva_pa_t
frames_sum(uintptr_t va, size_t n)
{
    kva_pa_t sum = 0, pa;

    for (size_t i = 0; i < n; i++) {
        pa = KVA_PAGE_MASK; /* no frame's */
        (void)kva_port_translate(va + (i << KVA_PAGE_SHIFT), 1, &pa);
        sum = (sum << 1) + (sum >> (8 * sizeof(sum) - 1)) + pa;
    }
    return sum;
}

int
kva__contract_demote(uintptr_t va, size_t n)
{
    kva_pa_t before = frames_sum(va, n);
    int err = kva_port_demote(va, n);

    if (frames_sum(va, n) != before) {
        kva__misuse("kva_port_demote", "port", "space", va,
                    "expected %zu pages mapped to the same frames, found some "
                    "not, or to others",
                    n);
    }
    return err;
}
#endif

int
kva__contract_meta_get(uintptr_t *va)
{
    int err = kva_port_meta_get(va);
    const uintptr_t *word = (const uintptr_t *)*va;

    if (err != 0) {
        return err;
    }
    if ((*va & KVA_PAGE_MASK) != 0) {
        kva__misuse("kva_port_meta_get", "port", "meta", *va,
                    "expected a page, found offset %zu",
                    (size_t)(*va & KVA_PAGE_MASK));
    }
    for (size_t i = 0; i < KVA_PAGE_SIZE / sizeof(*word); i++) {
        if (word[i] != 0) {
            kva__misuse("kva_port_meta_get", "port", "meta", *va,
                        "expected zeros, found 0x%lx at offset %zu",
                        (unsigned long)word[i], i * sizeof(*word));
        }
    }
    return 0;
}
#endif

/* ---- CPUs -------------------------------------------------------------- */

#if KVA_TIER >= 1

unsigned
kva__contract_cpu_count(void)
{
    unsigned n = kva_port_cpu_count();

    if (n == 0 || n > KVA_CPU_MAX) {
        kva__misuse("kva_port_cpu_count", "port", "cpus", 0,
                    "expected 1 to %u, found %u", (unsigned)KVA_CPU_MAX, n);
    }
    return n;
}

void
kva__contract_cpu_breach(unsigned cpu)
{
    kva__misuse("kva_port_cpu_enter", "port", "cpus", 0,
                "expected a slot below %u or KVA_CPU_NONE, found %u",
                (unsigned)KVA_CPU_MAX, cpu);
}
#endif

/* ---- locks ------------------------------------------------------------- */

#if KVA_CONFIG_CONTEXT

/*
 * Whether interrupts were off when a lock was taken: noted by the lock's
 * address while it is held, which is by one caller.  No room: not looked at.
 */
#define NOTES 64u
#define NOTE_STEPS 8u

static struct note {
    uintptr_t lock; /* 0: nobody's */
    bool masked;
} note[NOTES];

static struct note *
note_of(const kva_lock_t *lock, bool make)
{
    uintptr_t key = (uintptr_t)lock, found = 0;
    unsigned at = (unsigned)(key >> 4) ^ (unsigned)(key >> 10);

    for (unsigned i = 0; i < NOTE_STEPS; i++, found = 0) {
        struct note *n = &note[(at + i) % NOTES];

        if (__atomic_load_n(&n->lock, __ATOMIC_RELAXED) == key ||
            (make &&
             __atomic_compare_exchange_n(&n->lock, &found, key, false,
                                         __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))) {
            return n;
        }
    }
    return NULL;
}

kva_irq_t
kva__contract_lock(kva_lock_t *lock)
{
    bool masked = (kva_port_context(lock) & KVA_CONTEXT_MASKED) != 0;
    kva_irq_t saved = kva_port_lock(lock);
    unsigned now = kva_port_context(lock);
    struct note *n;

    if ((now & KVA_CONTEXT_HELD) == 0) {
        kva__misuse("kva_port_lock", "port", "lock", (uintptr_t)lock,
                    "expected the lock held, found it not held");
    }
    if (masked && (now & KVA_CONTEXT_MASKED) == 0) {
        kva__misuse("kva_port_lock", "port", "lock", (uintptr_t)lock,
                    "expected interrupts off as before, found them on");
    }
    n = note_of(lock, true);
    if (n != NULL) {
        n->masked = masked;
    }
    return saved;
}

void
kva__contract_unlock(kva_lock_t *lock, kva_irq_t saved)
{
    struct note *n = note_of(lock, false);
    bool masked = n != NULL && n->masked;
    unsigned now;

    if (n != NULL) {
        __atomic_store_n(&n->lock, 0, __ATOMIC_RELEASE);
    }
    kva_port_unlock(lock, saved);
    now = kva_port_context(lock);
    if ((now & KVA_CONTEXT_HELD) != 0) {
        kva__misuse("kva_port_unlock", "port", "lock", (uintptr_t)lock,
                    "expected the lock let go, found it held");
    }
    if (masked && (now & KVA_CONTEXT_MASKED) == 0) {
        kva__misuse("kva_port_unlock", "port", "lock", (uintptr_t)lock,
                    "expected interrupts off as before the lock, found them "
                    "on");
    }
}
#endif

#if KVA_TIER >= 3

int
kva__contract_wait(const void *channel, kva_lock_t *lock, kva_irq_t *irq,
                   uint64_t timeout_ns)
{
    int err = kva_port_wait(channel, lock, irq, timeout_ns);

#if KVA_CONFIG_CONTEXT
    if ((kva_port_context(lock) & KVA_CONTEXT_HELD) == 0) {
        kva__misuse("kva_port_wait", "port", "lock", (uintptr_t)lock,
                    "expected the lock held on return, found it not held");
    }
#endif
    if (err != 0 && err != KVA_ETIMEDOUT && err != KVA_EINTR) {
        kva__misuse("kva_port_wait", "port", "lock", (uintptr_t)lock,
                    "expected 0, KVA_ETIMEDOUT or KVA_EINTR, found %d", err);
    }
    return err;
}
#endif

#endif
