/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shrinkers: a cleaner each, in the stage of clients.
 *
 * A request answers nothing by itself, so the cleaner says 0 bytes, and that
 * what it asked for is promised: the pass asks others for that much less.  A
 * promise that is old is none: then what the client was asked for and did not
 * take is asked of others.  And until it answers none of its promises is one any
 * more, so a client that died is waited for once, and blocks nobody.  What it is
 * asked for besides makes the old ones no younger; an answer does, as it lives.
 *
 * Invariant: what a client holds is held + asked + what it took.  Each move of a
 * chunk between the three is made under the lock, by one side.
 */
#include "reclaim/shrinker.h"

#include "port/check.h"

/* Quotient rounded up, without a division instruction; as far as max. */
static size_t
chunks_for(size_t bytes, size_t chunk, size_t max)
{
    size_t n = 0, step, sum;

    while (n < max && bytes != 0) {
        for (step = 1, sum = chunk;
             sum <= bytes / 2u && step <= (max - n) / 2u &&
             sum <= (size_t)-1 / 2u;
             step *= 2u) {
            sum *= 2u;
        }
        n += step;
        bytes -= sum < bytes ? sum : bytes;
    }
    return n;
}

static void
wake(struct kva_shrinker *sh)
{
#if KVA_TIER >= 3
    if (sh->waiting) {
        kva_port_wake(sh);
    }
#else
    (void)sh;
#endif
}

/* What is promised: of what was asked a while ago, nothing.  Locked. */
static size_t
promise(struct kva_shrinker *sh)
{
    size_t bytes;

    if (sh->asked != 0 && kva__now() - sh->asked_at >= KVA_SHRINKER_PATIENCE) {
        sh->late = true;
    }
    if (sh->late || __builtin_mul_overflow(sh->asked, sh->chunk, &bytes)) {
        return sh->late ? 0 : SIZE_MAX;
    }
    return bytes;
}

static size_t
clean(void *arg, struct kva_want *want)
{
    struct kva_shrinker *sh = arg;
    size_t bytes, n = 0, may, keep;
    kva_irq_t irq;

    irq = kva_port_lock(&sh->lock);
    bytes = promise(sh);
    bytes = bytes < want->bytes ? want->bytes - bytes : 0;
    keep = chunks_for(want->retain, sh->chunk, sh->held);
    may = sh->held - keep;
    may = may < want->work ? may : want->work;
    n = chunks_for(bytes, sh->chunk, may);
    sh->held -= n;
    sh->asked += n;
    if (n != 0) {
        sh->asked_at = sh->asked == n ? kva__now() : sh->asked_at;
        wake(sh);
    }
    want->promised = promise(sh);
    want->work -= n;
    kva_port_unlock(&sh->lock, irq);
    if (n != 0 && sh->request != NULL) {
        sh->request(sh->arg, n);
    }
    return 0;
}

void
kva_shrinker_register(struct kva_shrinker *sh)
{
    if (sh->chunk == 0) {
        kva__misuse("kva_shrinker_register", "shrinker", sh->name,
                    (uintptr_t)sh, "expected a chunk above 0, found chunk 0");
    }
    if (sh->cleaner.registered) {
        kva__misuse("kva_shrinker_register", "shrinker", sh->name,
                    (uintptr_t)sh,
                    "expected one not registered, found it registered");
    }
    kva_port_lock_init(&sh->lock, sh->name, KVA_IPL_VM, KVA_RANK_META - 1);
    sh->held = sh->asked = 0;
    sh->waiting = sh->gone = sh->late = false;
    sh->cleaner = (struct kva_cleaner){
        .clean = clean,
        .arg = sh,
        .name = sh->name,
        .stage = KVA_STAGE_CLIENTS,
        .retain = sh->cleaner.retain,
    };
    kva_reclaim_register(&sh->cleaner);
}

void
kva_shrinker_unregister(struct kva_shrinker *sh)
{
    kva_irq_t irq;

    kva_reclaim_unregister(&sh->cleaner);
    irq = kva_port_lock(&sh->lock);
    sh->gone = true;
    wake(sh);
    kva_port_unlock(&sh->lock, irq);
}

void
kva_shrinker_fini(struct kva_shrinker *sh)
{
    if (!sh->gone || sh->waiting) {
        kva__misuse("kva_shrinker_fini", "shrinker", sh->name, (uintptr_t)sh,
                    "expected one unregistered, found it %s",
                    sh->gone ? "waited for" : "registered");
    }
    kva_port_lock_fini(&sh->lock);
}

void
kva_shrinker_add(struct kva_shrinker *sh, size_t chunks)
{
    kva_irq_t irq = kva_port_lock(&sh->lock);
    size_t may = SIZE_MAX - sh->held - sh->asked;

    sh->held += chunks <= may ? chunks : 0;
    kva_port_unlock(&sh->lock, irq);
    if (chunks > may) {
        kva__misuse("kva_shrinker_add", "shrinker", sh->name, (uintptr_t)sh,
                    "expected up to %zu chunks more, found %zu", may, chunks);
    }
}

void
kva_shrinker_remove(struct kva_shrinker *sh, size_t chunks)
{
    kva_irq_t irq = kva_port_lock(&sh->lock);
    size_t have = sh->held + sh->asked;

    if (chunks <= have) {
        size_t answer = chunks < sh->asked ? chunks : sh->asked;

        sh->asked -= answer;
        if (answer != 0) {
            sh->late = false;
            sh->asked_at = kva__now();
        }
        sh->held -= chunks - answer;
    }
    kva_port_unlock(&sh->lock, irq);
    if (chunks > have) {
        kva__misuse("kva_shrinker_remove", "shrinker", sh->name, (uintptr_t)sh,
                    "expected up to %zu chunks, found %zu", have, chunks);
    }
}

static size_t
take_locked(struct kva_shrinker *sh)
{
    size_t n = sh->asked;

    sh->asked = 0;
    sh->late = false;
    return n;
}

size_t
kva_shrinker_take(struct kva_shrinker *sh)
{
    kva_irq_t irq = kva_port_lock(&sh->lock);
    size_t n = take_locked(sh);

    kva_port_unlock(&sh->lock, irq);
    return n;
}

#if KVA_TIER >= 3
int
kva_shrinker_wait(struct kva_shrinker *sh, uint64_t timeout_ns, size_t *chunks)
{
    kva_irq_t irq = kva_port_lock(&sh->lock);
    uint64_t end = kva__now() + timeout_ns, left = timeout_ns, time;
    int err = 0;

    if (sh->waiting) {
        kva_port_unlock(&sh->lock, irq);
        kva__misuse("kva_shrinker_wait", "shrinker", sh->name, (uintptr_t)sh,
                    "expected one thread, found another one waiting");
    }
    end = end < timeout_ns ? UINT64_MAX : end;
    sh->waiting = true;
    while (sh->asked == 0 && !sh->gone && err == 0) {
        err = kva_port_wait(sh, &sh->lock, &irq, left);
        time = kva__now();
        if (timeout_ns != 0 && err == 0) {
            left = time < end ? end - time : 0;
            err = left == 0 ? KVA_ETIMEDOUT : 0;
        }
    }
    sh->waiting = false;
    *chunks = take_locked(sh);
    if (*chunks != 0) {
        err = 0;
    } else if (sh->gone) {
        err = KVA_EINTR;
    }
    kva_port_unlock(&sh->lock, irq);
    return err;
}
#endif

void
kva_shrinker_count(struct kva_shrinker *sh, size_t *held, size_t *asked)
{
    kva_irq_t irq = kva_port_lock(&sh->lock);

    *held = sh->held;
    *asked = sh->asked;
    kva_port_unlock(&sh->lock, irq);
}
