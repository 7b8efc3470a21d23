/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Taking things out of magazines, other CPUs' included; the protocol is told in
 * magazine.h, and searched in tests/interleave.
 */
#include "vmem/magazine_impl.h"

/* How often a drainer looks at a slot before it gives it up.  An owner is
 * inside for some ten instructions, or for a depot operation. */
#define DRAIN_SPINS 100000u

size_t
kva__mag_empty(struct kva__magcache *mc, struct kva__magazine *mag, size_t most)
{
    size_t done = 0;
    bool closed;

    do {
        unsigned n = mag->rounds < most ? mag->rounds : (unsigned)most;
        kva_irq_t irq;

        if (n > 0) {
            mag->rounds = (uint16_t)(mag->rounds - n);
            kva__mag_give(mc, kva__mag_round(mag, at_of(mc, mag->rounds)), n);
        }
        done += n;
        irq = kva_port_lock(&mc->lock);
        closed = mag->rounds > 0 && kva__mag_closed(mc);
        if (mag->rounds == 0) {
            kva__mag_free(mc, mag);
        } else if (!closed) {
            kva__mag_push(mc, mag);
        }
        kva_port_unlock(&mc->lock, irq);
        most = SIZE_MAX;
    } while (closed);
    return done;
}

static size_t
depot_drain(struct kva__magcache *mc, size_t most)
{
    size_t done = 0;

    while (done < most) {
        struct kva__magazine *mag;
        kva_irq_t irq;

        irq = kva_port_lock(&mc->lock);
        mag = kva__mag_pop_full(mc);
        if (mag == NULL) {
            mag = kva__mag_pop_empty(mc);
        }
        if (mag == NULL) {
            kva__mag_depot_reset(mc);
        }
        kva_port_unlock(&mc->lock, irq);
        if (mag == NULL) {
            break;
        }
        done += kva__mag_empty(mc, mag, most - done);
    }
    return done;
}

#if KVA_TIER >= 1
/* Which slots a drainer is at; several may be at it at a time. */
struct mine {
    uint32_t bits[(KVA_CPU_MAX + 31) / 32];
};

/*
 * Put the sentinel up in every slot that no other drainer is at; what was
 * loaded is held then.  Also what an earlier one had to leave there.
 */
static bool
slots_shut(struct kva__magcache *mc, struct mine *mine)
{
    bool any = false;
    kva_irq_t irq;

    kva__memset(mine, 0, sizeof(*mine));
    for (unsigned c = 0; c < slots_of(mc); c++) {
        uintptr_t *row = mc->row[c + 1u];
        uintptr_t *held = part(mc, row, KVA__MAG_HELD);

        irq = kva_port_lock(&mc->lock);
        if ((*held & HELD_TAKEN) == 0) {
            if (*held == 0 && loaded(mc, row) != kva__mag_sentinel) {
                *held = (uintptr_t)loaded(mc, row);
                loaded_set(mc, row, kva__mag_sentinel);
            }
            if (*held != 0 || spare(mc, row) != NULL) {
                *held |= HELD_TAKEN;
                mine->bits[c / 32] |= (uint32_t)1 << (c % 32);
                any = true;
            }
        }
        kva_port_unlock(&mc->lock, irq);
    }
    return any;
}

/* Wait for the owner to leave: false if he does not in time. */
static bool
slot_wait(const uintptr_t *row)
{
    for (unsigned i = 0; i < DRAIN_SPINS; i++) {
        if (__atomic_load_n(&row[KVA__MAG_OPEN], __ATOMIC_ACQUIRE) ==
            (uintptr_t)row) {
            return true;
        }
        kva_port_relax();
    }
    return false;
}

enum verdict {
    TAKE,  /* it is the drainer's */
    LEAVE, /* the owner may be at it: he hands it in */
    RETURN /* it is not wanted */
};

/*
 * End with a slot that we shut: what comes out of it to mags.  False if the
 * cache was closed meanwhile and something is loaded: by the owner who handed
 * in before that what we held, or by us.  Who closed it passed by, as we are at
 * the slot, so it is for us to shut it again.
 */
static bool
slot_end(struct kva__magcache *mc, uintptr_t *row, enum verdict verdict,
         struct kva__magazine *mags[2])
{
    uintptr_t *held = part(mc, row, KVA__MAG_HELD);
    struct kva__magazine *mag;
    kva_irq_t irq;
    bool ended;

    mags[0] = mags[1] = NULL;
    irq = kva_port_lock(&mc->lock);
    mag = (struct kva__magazine *)(*held & ~HELD_TAKEN);
    *held = verdict == LEAVE ? (uintptr_t)mag : 0;
    if (verdict == RETURN && mag != NULL) {
        loaded_set(mc, row, mag);
    }
    if (verdict == TAKE && mag != NULL) {
        mag->rounds = (uint16_t)rounds_of(mc, at_now(mc, row));
        mags[0] = mag;
    }
    if (verdict != RETURN) {
        mags[1] = spare(mc, row);
        spare_set(mc, row, NULL);
    }
    ended = !kva__mag_closed(mc) || loaded(mc, row) == kva__mag_sentinel;
    kva_port_unlock(&mc->lock, irq);
    return ended;
}

/* Once over those slots: how many rounds went back.  alone: nobody else uses
 * the cache, so no CPU need be asked. */
static size_t
slots_end(struct kva__magcache *mc, const struct mine *mine, size_t most,
          bool alone, bool *ended)
{
    bool barrier = alone || kva_port_barrier() == 0;
    size_t done = 0;

    *ended = true;
    for (unsigned c = 0; c < slots_of(mc); c++) {
        uintptr_t *row = mc->row[c + 1u];
        struct kva__magazine *mags[2];
        enum verdict verdict = LEAVE;

        if ((mine->bits[c / 32] >> (c % 32) & 1) == 0) {
            continue;
        }
        if (done >= most && !kva__mag_closed(mc)) {
            verdict = RETURN;
        } else if (barrier && slot_wait(row)) {
            verdict = TAKE;
        }
        *ended &= slot_end(mc, row, verdict, mags);
        for (unsigned i = 0; i < 2; i++) {
            if (mags[i] != NULL) {
                done +=
                    kva__mag_empty(mc, mags[i], most > done ? most - done : 0);
            }
        }
    }
    return done;
}

static size_t
slots_drain(struct kva__magcache *mc, size_t most, bool alone)
{
    struct mine mine;
    size_t done = 0;
    bool ended = most == 0;

    while (!ended && slots_shut(mc, &mine)) {
        done +=
            slots_end(mc, &mine, most > done ? most - done : 0, alone, &ended);
    }
    return done;
}
#else
static size_t
slots_drain(struct kva__magcache *mc, size_t most, bool alone)
{
    (void)mc;
    (void)most;
    (void)alone;
    return 0;
}
#endif

size_t
kva__magcache_drain(struct kva__magcache *mc, size_t retain)
{
    size_t cached = kva__magcache_rounds(mc);
    size_t most = cached > retain ? cached - retain : 0;
    size_t done;

    if (retain == 0) {
        most = SIZE_MAX; /* empty magazines too */
    }
    done = depot_drain(mc, most);
    done += slots_drain(mc, most - done, false);
    return done + depot_drain(mc, most - done); /* what owners handed in */
}

void
kva__magcache_empty(struct kva__magcache *mc)
{
    (void)slots_drain(mc, SIZE_MAX, true);
    (void)depot_drain(mc, SIZE_MAX);
}

size_t
kva__magcache_drain_own(struct kva__magcache *mc)
{
    struct kva__magazine *mags[3] = { NULL, NULL, NULL };
    struct mag_entry e;
    size_t done = 0;

    if (kva__mag_slot_enter(mc, &e)) {
        mags[0] = kva__mag_unload(mc, &e);
        mags[1] = spare(mc, e.row);
        mags[2] = kva__mag_held_take(mc, &e);
        spare_set(mc, e.row, NULL);
    }
    kva__mag_slot_exit(mc, &e);
    for (unsigned i = 0; i < 3; i++) {
        if (mags[i] != NULL) {
            done += kva__mag_empty(mc, mags[i], SIZE_MAX);
        }
    }
    return done + depot_drain(mc, SIZE_MAX);
}
