/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The levels of pressure, and their events.
 *
 *      update        used crosses a bound         level
 *        |                                          |
 *        +-- pages come and go, any context         v
 *                                   tell: level != the one told last, and its
 *                                   last event a second ago --> listeners
 *
 * Whoever takes pages only notes the level; telling is for who may call others.
 * What comes and goes between two tellings is not told, but what there is in the
 * end is: the pause of a level postpones its event and does not lose it.
 *
 * The bounds are kept in bytes, and only computed when the limit is another.
 *
 * There are two scales: of the pages that are taken here, and of what somebody
 * says of the machine beneath.  Each has a level of its own, with its own
 * hysteresis; the level that there is is the higher one.
 */
#include "reclaim/pressure.h"

#include "port/check.h"
#include "vmem/reserve.h"

struct scale {
    enum kva_pressure level;     /* (p); read without */
    size_t limit;                /* (p) that the bounds are for */
    size_t enter[KVA_PRESSURES]; /* (p) in units of the limit's */
    size_t leave[KVA_PRESSURES]; /* (p); read without */
    unsigned percent_enter[KVA_PRESSURES];
    unsigned percent_leave[KVA_PRESSURES];
};

static struct {
    kva_lock_t lock;
    enum kva_pressure level; /* (p) of the two; read without */
    enum kva_pressure told;  /* (p) in the last event */
    struct scale pages;
    struct scale outside;
    uint64_t last[KVA_PRESSURES]; /* (p) when it was told; 0: never */
    struct kva_pressure_listener *listeners; /* (p) */
    unsigned event;                          /* (p) counts them */
    bool telling;                            /* (p) */
    const void *task;                        /* (p) whose, if that is known */
    struct kva_pressure_stat stat;           /* (p) */
    bool ready;
} pressure;

/* ---- bounds ------------------------------------------------------------ */

/* n percent of a limit, which may be anything, rounded up: what is below is
 * less than that. */
static size_t
percent_of(size_t limit, unsigned n)
{
    return limit / 100u * n + (limit % 100u * n + 99u) / 100u;
}

static void
bounds_for(struct scale *sc, size_t limit)
{
    sc->limit = limit;
    for (unsigned i = KVA_PRESSURE_LOW; i < KVA_PRESSURES; i++) {
        sc->enter[i] = percent_of(limit, sc->percent_enter[i]);
        __atomic_store_n(&sc->leave[i], percent_of(limit, sc->percent_leave[i]),
                         __ATOMIC_RELAXED);
    }
}

static void
scale_init(struct scale *sc, unsigned low, unsigned medium, unsigned oom)
{
    const unsigned enter[KVA_PRESSURES] = { 0, low, medium, oom };

    for (unsigned i = KVA_PRESSURE_LOW; i < KVA_PRESSURES; i++) {
        sc->percent_enter[i] = enter[i];
        sc->percent_leave[i] = enter[i] - KVA_PRESSURE_LEAVE;
    }
}

static void
init_once(void)
{
    if (pressure.ready) {
        return;
    }
    kva_port_lock_init(&pressure.lock, "pressure", KVA_IPL_VM,
                       KVA_RANK_META + 1);
    scale_init(&pressure.pages, KVA_PRESSURE_LOW_PERCENT,
               KVA_PRESSURE_MEDIUM_PERCENT, KVA_PRESSURE_OOM_PERCENT);
    scale_init(&pressure.outside, KVA_PRESSURE_STALL_LOW,
               KVA_PRESSURE_STALL_MEDIUM, KVA_PRESSURE_STALL_OOM);
    pressure.ready = true;
}

static int
configure(struct scale *sc, const unsigned enter[KVA_PRESSURES],
          const unsigned leave[KVA_PRESSURES])
{
    kva_irq_t irq;

    for (unsigned i = KVA_PRESSURE_LOW; i < KVA_PRESSURES; i++) {
        if (enter[i] > 100 || leave[i] >= enter[i] ||
            (i > KVA_PRESSURE_LOW &&
             (enter[i] <= enter[i - 1u] || leave[i] <= leave[i - 1u]))) {
            return KVA_EINVAL;
        }
    }
    init_once();
    irq = kva_port_lock(&pressure.lock);
    for (unsigned i = KVA_PRESSURE_LOW; i < KVA_PRESSURES; i++) {
        sc->percent_enter[i] = enter[i];
        sc->percent_leave[i] = leave[i];
    }
    bounds_for(sc, sc->limit);
    kva_port_unlock(&pressure.lock, irq);
    return 0;
}

int
kva_pressure_configure(const unsigned enter[KVA_PRESSURES],
                       const unsigned leave[KVA_PRESSURES])
{
    return configure(&pressure.pages, enter, leave);
}

int
kva_pressure_configure_outside(const unsigned enter[KVA_PRESSURES],
                               const unsigned leave[KVA_PRESSURES])
{
    return configure(&pressure.outside, enter, leave);
}

/* ---- the level --------------------------------------------------------- */

enum kva_pressure
kva_pressure(void)
{
    return __atomic_load_n(&pressure.level, __ATOMIC_RELAXED);
}

enum kva_pressure
kva__pressure_of_pages(void)
{
    return __atomic_load_n(&pressure.pages.level, __ATOMIC_RELAXED);
}

size_t
kva__pressure_floor(enum kva_pressure level)
{
    return __atomic_load_n(&pressure.pages.leave[level], __ATOMIC_RELAXED);
}

/* From the level that there is up as far as entered, or else down as far as
 * left. */
static enum kva_pressure
level_for(const struct scale *sc, size_t used)
{
    unsigned i = sc->level;

    while (i + 1u < KVA_PRESSURES && used >= sc->enter[i + 1u]) {
        i++;
    }
    while (i > KVA_PRESSURE_NONE && used < sc->leave[i]) {
        i--;
    }
    return (enum kva_pressure)i;
}

static bool
update(struct scale *sc, size_t used, size_t limit)
{
    enum kva_pressure level;
    kva_irq_t irq;
    bool news;

    irq = kva_port_lock(&pressure.lock);
    if (limit != sc->limit) {
        bounds_for(sc, limit);
    }
    level = limit == 0 ? KVA_PRESSURE_NONE : level_for(sc, used);
    __atomic_store_n(&sc->level, level, __ATOMIC_RELAXED);
    level = pressure.pages.level > pressure.outside.level
                ? pressure.pages.level
                : pressure.outside.level;
    if (level != pressure.level) {
        for (unsigned i = pressure.level + 1u; i <= level; i++) {
            pressure.stat.entered[i]++;
        }
        __atomic_store_n(&pressure.level, level, __ATOMIC_RELAXED);
    }
    news = level != pressure.told;
    kva_port_unlock(&pressure.lock, irq);
    return news;
}

bool
kva_pressure_update(size_t used, size_t limit)
{
    init_once();
    return update(&pressure.pages, used, limit);
}

bool
kva_pressure_outside(size_t part, size_t whole)
{
    init_once();
    return update(&pressure.outside, part, whole);
}

/* ---- events ------------------------------------------------------------ */

static bool
listens(const struct kva_pressure_listener *l)
{
    const struct kva_pressure_listener *at = pressure.listeners;

    while (at != NULL && at != l) {
        at = at->next;
    }
    return at != NULL;
}

void
kva_pressure_listen(struct kva_pressure_listener *l)
{
    kva_irq_t irq;

    init_once();
    irq = kva_port_lock(&pressure.lock);
    if (l->fn == NULL || listens(l)) {
        kva_port_unlock(&pressure.lock, irq);
        kva__misuse("kva_pressure_listen", "listener", "pressure", (uintptr_t)l,
                    "expected a function and one that does not listen, found "
                    "%s",
                    l->fn == NULL ? "no function" : "it listening");
    }
    l->told = pressure.event;
    l->running = false;
    l->next = pressure.listeners;
    pressure.listeners = l;
    kva_port_unlock(&pressure.lock, irq);
}

void
kva_pressure_unlisten(struct kva_pressure_listener *l)
{
    struct kva_pressure_listener **at = &pressure.listeners;
    kva_irq_t irq;

    init_once();
    irq = kva_port_lock(&pressure.lock);
    while (*at != NULL && *at != l) {
        at = &(*at)->next;
    }
    if (*at == NULL) {
        kva_port_unlock(&pressure.lock, irq);
        kva__misuse("kva_pressure_unlisten", "listener", "pressure",
                    (uintptr_t)l, "expected one that listens, found it not");
    }
    if (l->running && pressure.task != NULL && pressure.task == kva__task()) {
        kva_port_unlock(&pressure.lock, irq);
        kva__misuse("kva_pressure_unlisten", "listener", "pressure",
                    (uintptr_t)l,
                    "expected another one than who calls, found itself");
    }
    *at = l->next;
    while (l->running) {
        kva_port_unlock(&pressure.lock, irq);
#if KVA_TIER >= 1
        kva_port_relax();
#endif
        irq = kva_port_lock(&pressure.lock);
    }
    kva_port_unlock(&pressure.lock, irq);
}

/* One that was not told this event yet.  Locked. */
static struct kva_pressure_listener *
next_to_tell(unsigned event)
{
    struct kva_pressure_listener *l = pressure.listeners;

    while (l != NULL && l->told == event) {
        l = l->next;
    }
    return l;
}

static void
tell_all(enum kva_pressure level, kva_irq_t *irq)
{
    unsigned event = ++pressure.event;
    struct kva_pressure_listener *l;

    pressure.stat.told[level]++;
    while ((l = next_to_tell(event)) != NULL) {
        l->told = event;
        l->running = true;
        kva_port_unlock(&pressure.lock, *irq);
        l->fn(l->arg, level);
        *irq = kva_port_lock(&pressure.lock);
        l->running = false; /* from here on its owner may go */
    }
}

uint64_t
kva_pressure_tell(uint64_t now)
{
    uint64_t again = 0;
    kva_irq_t irq;

    init_once();
    irq = kva_port_lock(&pressure.lock);
    while (!pressure.telling && pressure.told != pressure.level) {
        enum kva_pressure level = pressure.level;
        uint64_t last = pressure.last[level];

        /* Who read the clock before somebody else told may come after him. */
        if (now != 0 && last != 0 &&
            (now < last || now - last < KVA_PRESSURE_PAUSE)) {
            again = last + KVA_PRESSURE_PAUSE;
            break;
        }
        pressure.last[level] = now;
        pressure.told = level;
        pressure.telling = true;
        pressure.task = kva__task();
        tell_all(level, &irq);
        pressure.task = NULL;
        pressure.telling = false;
    }
    kva_port_unlock(&pressure.lock, irq);
    return again;
}

void
kva_pressure_stat(struct kva_pressure_stat *st)
{
    kva_irq_t irq;

    init_once();
    irq = kva_port_lock(&pressure.lock);
    *st = pressure.stat;
    st->level = pressure.level;
    kva_port_unlock(&pressure.lock, irq);
}
