/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The simulated machine as a whole: start and stop, settings, counters, and
 * the few things that every other file of the port uses.
 */
#include <errno.h>
#include <sched.h>

#include "port/posix/posix_impl.h"

struct posix_machine kva__posix = { .config = { .cpus = 2 } };
uint32_t kva__posix_space_lock;

__thread struct posix_self kva__posix_self
    __attribute__((tls_model("initial-exec")));

void (*kva__posix_yield)(void *arg, const char *hook);
void *kva__posix_yield_arg;

static bool error_logged;

/* ---- shared by the files of the port ----------------------------------- */

uint32_t
kva__posix_id(void)
{
    static uint32_t last;

    if (KVA_UNLIKELY(kva__posix_self.id == 0)) {
        kva__posix_self.id = __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
    }
    return kva__posix_self.id;
}

kva_irq_t
kva__posix_enter(uint32_t *lock)
{
    kva_irq_t saved = kva_posix_irq_save();
    unsigned spins = 0;

    while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE) != 0) {
        while (__atomic_load_n(lock, __ATOMIC_RELAXED) != 0) {
            if (++spins >= 100) {
                (void)sched_yield();
                spins = 0;
            }
        }
    }
    return saved;
}

void
kva__posix_leave(uint32_t *lock, kva_irq_t saved)
{
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
    kva_posix_irq_restore(saved);
}

void
kva__posix_need(const char *func)
{
    if (!kva__posix.up) {
        kva__panic("%s: the host port is not running: call kva_posix_init",
                   func);
    }
}

void
kva__posix_error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)kva__vformat(kva__posix_self.error, POSIX_ERROR_MAX, fmt, ap);
    va_end(ap);
}

const char *
kva_posix_last_error(void)
{
    return kva__posix_self.error;
}

/*
 * Linux says ENOMEM both for no memory and for too many mappings; which one it
 * was shows in the number of mappings (a change in the middle of one needs
 * two more).
 */
void
kva__posix_host_error(const char *call, int error)
{
    unsigned long limit = kva__posix_mapping_limit();

    if (error != ENOMEM) {
        kva__posix_error("%s: error %d", call, error);
    } else if (limit != 0 && kva__posix_mappings() + 2 >= limit) {
        kva__posix_error("%s: the host's limit of %lu mappings is reached "
                         "(vm.max_map_count)",
                         call, limit);
    } else {
        kva__posix_error("%s: the host has no memory or address space left",
                         call);
    }
    if (!__atomic_exchange_n(&error_logged, true, __ATOMIC_RELAXED)) {
        kva__log("host port: %s", kva__posix_self.error);
    }
}

/* ---- start and stop ---------------------------------------------------- */

static int
config_check(const struct kva_posix_config *c)
{
    size_t bytes = (size_t)1 << (KVA_WORD_64 ? 46 : 31);

    if (c->cpus > KVA_CPU_MAX) {
        kva__posix_error("config: %u cpus, at most %u", c->cpus,
                         (unsigned)KVA_CPU_MAX);
        return KVA_EINVAL;
    }
    if (c->va_bytes > bytes || (c->va_bytes & KVA_PAGE_MASK) != 0 ||
        c->meta_bytes > bytes || (c->meta_bytes & KVA_PAGE_MASK) != 0) {
        kva__posix_error("config: va_bytes and meta_bytes are whole pages, "
                         "at most %zu bytes",
                         bytes);
        return KVA_EINVAL;
    }
    if (c->page_limit != 0 && c->reserve_pages > c->page_limit) {
        kva__posix_error("config: reserve of %zu pages above the limit of %zu",
                         c->reserve_pages, c->page_limit);
        return KVA_EINVAL;
    }
    return 0;
}

static void
config_default(struct kva_posix_config *c)
{
    if (c->cpus == 0) {
        c->cpus = 2;
    }
    if (c->va_bytes == 0) {
        c->va_bytes = (size_t)KVA_POSIX_VA_MIB << 20;
    }
    if (c->meta_bytes == 0) {
        c->meta_bytes = (size_t)128 << (KVA_WORD_64 ? 25 : 20);
    }
}

static int
parts_init(void)
{
    int error = kva__posix_space_init();

    if (error == 0) {
        error = kva__posix_frames_init();
    }
    if (error == 0) {
        error = kva__posix_large_init();
    }
    if (error == 0) {
        error = kva__posix_meta_init();
    }
    if (error == 0) {
        error = kva__posix_direct_init();
    }
    return error;
}

static void
parts_fini(void)
{
    kva__posix_tlb_fini();
    kva__posix_owner_fini();
    kva__posix_direct_fini();
    kva_posix_supply_set(NULL);
    kva__posix_meta_fini();
    kva__posix_large_fini();
    kva__posix_frames_fini();
    kva__posix_space_fini();
}

int
kva_posix_init(const struct kva_posix_config *config)
{
    struct kva_posix_config c = { .cpus = 0 };
    int error;

    if (kva__posix.up) {
        kva__posix_error("init: the host port is running already");
        return KVA_EBUSY;
    }
    if (config != NULL) {
        c = *config;
    }
    error = config_check(&c);
    if (error != 0) {
        return error;
    }
    config_default(&c);
    kva__posix.config = c;
    kva__posix.stats = (struct kva_posix_stats){ .frames = 0 };
    error_logged = false;
    error = parts_init();
    if (error != 0) {
        parts_fini();
        return error;
    }
    kva_posix_reset();
    kva__posix.up = true;
    return 0;
}

void
kva_posix_fini(void)
{
    if (!kva__posix.up) {
        return;
    }
    kva__posix.up = false;
    kva_posix_reset();
    kva__posix_cpu_forget();
    parts_fini();
    kva__posix.config = (struct kva_posix_config){ .cpus = 2 };
}

void
kva_posix_reset(void)
{
    kva_posix_fault_reset();
    kva_posix_break(KVA_POSIX_KEEPS_ALL);
    kva_posix_yield_set(NULL, NULL);
    kva__posix_lock_reset();
    kva__posix_interrupt_reset();
    kva__posix_sleep_reset();
    kva__posix_readers_reset();
    kva__posix_panic_reset();
    kva__posix_trap_reset();
    kva__posix_self.error[0] = '\0';
}

void
kva_posix_yield_set(void (*fn)(void *arg, const char *hook), void *arg)
{
    kva__posix_yield_arg = arg;
    __atomic_store_n(&kva__posix_yield, fn, __ATOMIC_RELEASE);
}

/* ---- settings and counters --------------------------------------------- */

uintptr_t
kva_posix_va_base(void)
{
    kva__posix_need("kva_posix_va_base");
    return kva__posix.va_base;
}

size_t
kva_posix_va_bytes(void)
{
    kva__posix_need("kva_posix_va_bytes");
    return kva__posix.config.va_bytes;
}

void
kva_posix_limit_set(size_t page_limit, size_t reserve_pages)
{
    kva_irq_t saved = kva__posix_enter(&kva__posix_space_lock);

    kva__posix.config.page_limit = page_limit;
    kva__posix.config.reserve_pages = reserve_pages;
    kva__posix_leave(&kva__posix_space_lock, saved);
}

void
kva_posix_run_max_set(size_t pages)
{
    kva_irq_t saved = kva__posix_enter(&kva__posix_space_lock);

    kva__posix.config.run_max = pages;
    kva__posix_leave(&kva__posix_space_lock, saved);
}

void
kva_posix_stats_get(struct kva_posix_stats *stats)
{
    kva_irq_t saved = kva__posix_enter(&kva__posix_space_lock);

    *stats = kva__posix.stats;
    kva__posix_leave(&kva__posix_space_lock, saved);
#if KVA_TIER >= 3
    stats->waiters = kva_posix_waiters();
#endif
}

void
kva_posix_stats_reset(void)
{
    kva_irq_t saved = kva__posix_enter(&kva__posix_space_lock);
    struct kva_posix_stats *s = &kva__posix.stats;

    *s = (struct kva_posix_stats){
        .attached_pages = s->attached_pages,
        .attached_peak = s->attached_pages,
        .frames = s->frames,
        .frames_peak = s->frames,
        .stale_pages = s->stale_pages,
        .large_pages = s->large_pages,
        .meta_pages = s->meta_pages,
        .meta_peak = s->meta_pages,
    };
    kva__posix_leave(&kva__posix_space_lock, saved);
}
