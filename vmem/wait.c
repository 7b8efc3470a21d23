/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Wait queues.  Each tree of arenas has one, in its root, and each pool with a
 * limit has one.  First in, first out.
 *
 *      root        queue: head -> w2 -> w3 -> w4        oldest to youngest
 *       |                  |      |     |     |
 *       +-- a <------------+------|-----+     |         what each waits for
 *       |   +-- c <---------------|-----------+
 *       +-- b <-------------------+
 *
 * Memory that is free in an arena FEEDS the requests to it and to those that
 * import from it, directly or not: what is free in a may serve head, w3 and w4.
 *
 * Waking.  A free says which hole came to be, and the oldest waiter is woken
 * whom that hole may serve: in his own arena if the request fits there,
 * constraints included; in one that it feeds if it is long enough.  Nobody else
 * is.  The hole is noted with him.  When he has tried, what is left of it (all
 * of it, if it did not do; the parts beside what he took) goes to the next
 * younger one whom it may serve, and so on: one at a time, and no hole is left
 * that would have served somebody who sleeps.
 *
 * No wake-up is lost.  A waiter (1) queues up, which includes counting
 * himself, then (2) tries once more, and (3) sleeps only if he was not marked
 * woken in between, under the lock of the queues.  A free (a) changes the
 * arena under the arena's lock, then (b) looks at the count.  Both (2) and (a)
 * hold the lock of the arena in question.  If (a) came first, (2) sees the
 * hole.  If (2) came first, then (1) happened before (b) through that lock, so
 * (b) sees the waiter and marks him, whatever the order of the load: relaxed
 * will do.  The short way of a free (short.c) has no (b); a waiter closes it,
 * for the arenas that feed him, under their locks, between (1) and (2).  On
 * its way between two arenas (released, not yet freed to the source) a hole is
 * in nobody's sight, but its (a) and (b) at the source are still to come.
 * What has no lock of its own, the magazines, is closed while anybody waits
 * (magazine.h): the waiter closes them in (1).
 *
 * Who imports through a function of which nothing is known (it may take
 * frames, or mind a quota) is woken by every free above it, and by every
 * release through such a function.  But if a try fails without any request in
 * a source having failed meanwhile, addresses are not what is missing; then
 * only the latter count, until a request in a source fails again.  Otherwise
 * what his own import takes and gives back on its failure would wake him, for
 * ever.  A wake for what counts no more is taken back, unless something else
 * came by meanwhile, which was not noted as he was awake: he tries once more.
 *
 * What became free for import functions (frames, a quota) is of no size that we
 * know.  If it did not do for one, those who sleep and ask for the same in the
 * same way are not woken: it would not do for them either, since what an import
 * function answers does not depend on who asks, but for reserves.  What makes a
 * difference after that try comes with a hole of its own.  Others are still
 * woken, one at a time.  Who was not let in, or lacks tags, knows nothing of it,
 * and passes it to all.
 *
 * Fairness.  Others need not queue up: a request that is served at once is
 * quicker for all.  But each grant from memory that feeds the head is counted,
 * and after PASS_MAX of them such requests are refused (who may sleep queues
 * up behind), so that what is freed accumulates for the head until he
 * leaves, served or not.  Imports for a request that was let in are part of it:
 * they carry KVA__VM_ADMITTED.  Refills of tags are never refused.  While the
 * head has others give back what they hold, or imports through a function that
 * may have lost the flag, nobody is refused: it may be his own doing.
 *
 * Who waits with memory in his hands may wait for ever, as in every fair queue;
 * for him there are timeouts and vmem_cancel.
 *
 * All queues have one lock.  It is taken only when somebody waits.
 *
 * tests/spin/wait.pml is this as a model, which Spin searches.
 */
#include "vmem/vmem_impl.h"

/*
 * Younger grants that pass a waiting head.  Most waits are for a hole that is
 * about to come, and end before so many requests came by (what two magazines
 * of 14 and a batch of 16 hand out is 44): then nobody is held up.  The others
 * are delayed by no more than that.
 */
#define PASS_MAX 64u

#if KVA_TIER >= 3
static struct {
    kva_lock_t lock;
    struct kva__waitq *first; /* (w) queues that are not empty */
    unsigned lacking_tags;    /* (w) waiters */
} wait;

unsigned kva__waiters; /* (w) in all queues; read without it by frees */
#endif

void
kva__wait_bootstrap(void)
{
#if KVA_TIER >= 3
    kva_port_lock_init(&wait.lock, "waiters", KVA_IPL_VM, KVA_RANK_META - 2);
#endif
}

bool
kva__wait_possible(kva_vm_flag_t flags)
{
#if KVA_TIER >= 3
    return (flags & VM_SLEEP) != 0 && kva_port_may_sleep();
#else
    (void)flags;
    return false;
#endif
}

bool
kva__wait_for(const kva_vmem_t *vm)
{
    return kva__wait_any() &&
           __atomic_load_n(&arena_root(vm)->waitq.count, __ATOMIC_RELAXED) != 0;
}

#if KVA_TIER >= 3

/* ---- what serves whom -------------------------------------------------- */

/* Does memory that is free in vm serve a request to wanted. */
static bool
feeds(const kva_vmem_t *vm, const kva_vmem_t *wanted)
{
    while (wanted != NULL && wanted != vm) {
        wanted = wanted->source;
    }
    return wanted == vm;
}

/* Are all imports on the way from end (NULL: the root) down to vm of
 * addresses alone. */
static bool
path_is_transparent(const kva_vmem_t *vm, const kva_vmem_t *end)
{
    for (; vm != end; vm = vm->source) {
        if (arena_imports(vm) && !arena_is_transparent(vm)) {
            return false;
        }
    }
    return true;
}

/* Would the waiter be served by what he imported from a hole of one of his
 * sources: transparent imports keep to the constraints. */
static bool
import_serves(const struct kva__hole *hole, const struct kva__waiter *w)
{
    uintptr_t at;

    return w->rq->constrained
               ? kva__request_fits(w->rq, hole->first,
                                   hole->first + (hole->size - 1), &at)
               : hole->size >= w->rq->size;
}

/* May a hole of addresses serve the waiter. */
static bool
range_serves(const struct kva__hole *hole, const struct kva__waiter *w)
{
    uintptr_t at;

    if (!feeds(hole->vm, w->vm)) {
        return false;
    }
    if (hole->vm != w->vm) {
        return path_is_transparent(w->vm, hole->vm) ? import_serves(hole, w)
                                                    : !w->lacks_import;
    }
    return (hole->kind == KVA__HOLE_RANGE || w->cached) &&
           kva__request_fits(w->rq, hole->first, hole->first + (hole->size - 1),
                             &at);
}

/* Is the head to have all that feeds it. */
static bool
head_starves(const struct kva__waitq *q)
{
    return q->passed >= PASS_MAX && !q->first->open;
}

/* Waking w would be in vain if the hole were the head's.  Locked. */
static bool
is_kept_for_head(struct kva__waitq *q, const struct kva__hole *hole,
                 const struct kva__waiter *w)
{
    const kva_vmem_t *from = hole->kind == KVA__HOLE_ANY ? w->vm : hole->vm;

    if (w == q->first || w->vm == NULL || !head_starves(q) ||
        !feeds(from, q->first->vm)) {
        return false;
    }
    q->held_back = true;
    return true;
}

static bool
may_serve(struct kva__waitq *q, const struct kva__hole *hole,
          const struct kva__waiter *w)
{
    if (is_kept_for_head(q, hole, w)) {
        return false;
    }
    switch (hole->kind) {
    case KVA__HOLE_RANGE:
    case KVA__HOLE_RUN:
        return w->lacks_tags || range_serves(hole, w);
    case KVA__HOLE_IMPORT:
        return w->lacks_tags || !path_is_transparent(w->vm, NULL);
    default:
        return true;
    }
}

/* ---- waking, locked ---------------------------------------------------- */

static void
wake(struct kva__waiter *w, const struct kva__hole *hole)
{
    w->woken = true;
    w->hole = *hole;
    kva_port_wake(w);
}

/* Does w ask for what was denied to the other one, in the same way? */
static bool
asks_the_same(const struct kva__waiter *w, const struct kva__waiter *denied)
{
    return w->vm == denied->vm && w->way != 0 && w->way == denied->way &&
           w->entitled == denied->entitled && w->rq->size == denied->rq->size &&
           w->rq->flags == denied->rq->flags && !w->rq->constrained &&
           !denied->rq->constrained && !w->lacks_tags && !denied->lacks_tags;
}

/*
 * The hole to the oldest from w on whom it may serve.  Who is awake anyway is
 * left out: he has not tried yet, and will find the hole without us.  But he
 * may come to know that the one he was woken for is none for him, and must not
 * sleep on that account when another came by.
 * denied: to whom it has just been of no use, or NULL.
 */
static void
offer_past(struct kva__waitq *q, struct kva__waiter *w,
           const struct kva__hole *hole, const struct kva__waiter *denied)
{
    for (; w != NULL; w = w->next) {
        if (w->cancelled || !may_serve(q, hole, w)) {
            continue;
        }
        if (w->woken) {
            w->more = true;
        } else if (denied == NULL || !asks_the_same(w, denied)) {
            wake(w, hole);
            return;
        }
    }
}

static void
offer(struct kva__waitq *q, struct kva__waiter *w, const struct kva__hole *hole)
{
    offer_past(q, w, hole, NULL);
}

/*
 * What is left of a hole when [addr, addr + size - 1] was taken, to those
 * younger than w.  A place in a pool is gone in any case.
 */
static void
offer_rest(struct kva__waiter *w, const struct kva__hole *hole, uintptr_t addr,
           size_t size)
{
    struct kva__hole rest = *hole;

    if (hole->kind == KVA__HOLE_PLACE) {
        return;
    }
    if (hole->kind > KVA__HOLE_RUN || size == 0 ||
        addr - hole->first >= hole->size) {
        offer(w->queue, w->next, hole);
        return;
    }
    rest.size = addr - hole->first;
    if (rest.size != 0) {
        offer(w->queue, w->next, &rest);
    }
    rest.first = addr + size;
    rest.size = hole->size - rest.size;
    rest.size = rest.size > size ? rest.size - size : 0;
    if (rest.size != 0) {
        offer(w->queue, w->next, &rest);
    }
}

/* The hole that w tried was of no use to him.  What an import function denied
 * to him it would deny to whoever asks the same. */
static void
offer_on(struct kva__waiter *w)
{
    if (w->tried.kind == KVA__HOLE_IMPORT && w->denied) {
        offer_past(w->queue, w->next, &w->tried, w);
    } else {
        offer_rest(w, &w->tried, 0, 0);
    }
}

/* Nobody stands in the way of those who were refused any more: all from w on
 * may try. */
static void
offer_held_back(struct kva__waitq *q, struct kva__waiter *w)
{
    const struct kva__hole any = { NULL, 0, 0, KVA__HOLE_ANY };

    if (q->held_back) {
        q->held_back = false;
        offer(q, w, &any);
    }
}

/* ---- the queue --------------------------------------------------------- */

uint64_t
kva__wait_deadline(uint64_t timeout_ns)
{
    uint64_t deadline;

    if (timeout_ns == 0) {
        return 0;
    }
    deadline = kva_port_clock() + timeout_ns;
    return deadline < timeout_ns ? UINT64_MAX : deadline;
}

static void
queue_append(struct kva__waitq *q, struct kva__waiter *w)
{
    w->next = NULL;
    w->prev = q->last;
    if (q->last != NULL) {
        q->last->next = w;
    } else {
        q->first = w; /* passed and turn: queue_remove has seen to them */
        q->prev = NULL;
        q->next = wait.first;
        if (q->next != NULL) {
            q->next->prev = q;
        }
        wait.first = q;
    }
    q->last = w;
}

static void
queue_remove(struct kva__waitq *q, struct kva__waiter *w)
{
    if (w->next != NULL) {
        w->next->prev = w->prev;
    } else {
        q->last = w->prev;
    }
    if (w->prev != NULL) {
        w->prev->next = w->next;
        return;
    }
    q->first = w->next;
    q->passed = 0;
    q->turn++;
    if (q->first != NULL) {
        return;
    }
    if (q->next != NULL) {
        q->next->prev = q->prev;
    }
    if (q->prev != NULL) {
        q->prev->next = q->next;
    } else {
        wait.first = q->next;
    }
}

static void
count_change(struct kva__waitq *q, unsigned by)
{
    __atomic_store_n(&q->count, q->count + by, __ATOMIC_RELAXED);
    __atomic_store_n(&kva__waiters, kva__waiters + by, __ATOMIC_RELAXED);
}

void
kva__wait_join(struct kva__waiter *w)
{
    kva_irq_t irq;

    irq = kva_port_lock(&wait.lock);
    queue_append(w->queue, w);
    count_change(w->queue, 1u);
    kva_port_unlock(&wait.lock, irq);
}

/* How long to sleep at the most; false: the moment has come. */
static bool
time_left(const struct kva__waiter *w, uint64_t *left)
{
    uint64_t now;

    *left = 0;
    if (w->deadline == 0) {
        return true;
    }
    now = kva_port_clock();
    *left = w->deadline - now;
    return now < w->deadline;
}

size_t
kva__wait_failures(const struct kva__waiter *w)
{
    size_t n = 0;

    for (const kva_vmem_t *vm = w->vm->source; vm != NULL; vm = vm->source) {
        n += __atomic_load_n(&vm->failures, __ATOMIC_RELAXED);
    }
    return n;
}

void
kva__wait_failed(kva_vmem_t *vm)
{
    if (KVA_UNLIKELY(kva__wait_any())) {
        (void)__atomic_fetch_add(&vm->failures, 1, __ATOMIC_RELAXED);
    }
}

int
kva__wait_sleep(struct kva__waiter *w)
{
    kva_irq_t irq;
    uint64_t left;
    int err = 0;

    irq = kva_port_lock(&wait.lock);
    if (w->trying) {
        w->trying = false;
        w->vain++;
        offer_on(w);
    }
    while (!w->woken && !w->cancelled && err == 0) {
        if (!time_left(w, &left)) {
            err = KVA_ETIMEDOUT;
        } else if (kva_port_wait(w, &wait.lock, &irq, left) == KVA_EINTR) {
            err = KVA_EINTR;
        }
    }
    if (w->cancelled) {
        err = w->refused ? KVA_ENOMEM : KVA_EINTR;
    } else if (w->woken) {
        err = 0;
        w->woken = w->more = false;
        w->tried = w->hole;
        w->trying = true;
        w->wakes++;
    }
    kva_port_unlock(&wait.lock, irq);
    return err;
}

static void
lacking_change(unsigned by)
{
    __atomic_store_n(&wait.lacking_tags, wait.lacking_tags + by,
                     __ATOMIC_RELAXED);
}

bool
kva__wait_lacks(struct kva__waiter *w, bool tags, bool import)
{
    struct kva__waitq *q = w->queue;
    kva_irq_t irq;
    bool news;

    import = import && !path_is_transparent(w->vm, NULL);
    news = (tags && !w->lacks_tags) || (!import && w->lacks_import);
    irq = kva_port_lock(&wait.lock);
    if (tags != w->lacks_tags) {
        lacking_change(tags ? 1u : -1u);
    }
    w->lacks_tags = tags;
    w->lacks_import = import;
    if (w->woken && !w->more && !may_serve(q, &w->hole, w)) {
        w->woken = false; /* so it was for nothing */
        offer(q, w->next, &w->hole);
    }
    kva_port_unlock(&wait.lock, irq);
    return news;
}

void
kva__wait_leave(struct kva__waiter *w, uintptr_t addr, size_t size)
{
    struct kva__waitq *q = w->queue;
    bool was_head;
    kva_irq_t irq;

    irq = kva_port_lock(&wait.lock);
    was_head = w == q->first;
    count_change(q, -1u);
    queue_remove(q, w);
    if (w->trying) {
        offer_rest(w, &w->tried, addr, size);
    }
    if (w->woken && w->hole.kind == KVA__HOLE_PLACE) {
        offer(q, q->first, &w->hole);
    } else if (w->woken) { /* once more, while it was trying */
        offer_rest(w, &w->hole, addr, size);
    }
    lacking_change(w->lacks_tags ? -1u : 0u);
    if (was_head) {
        offer_held_back(q, q->first);
    }
    kva_port_unlock(&wait.lock, irq);
}

unsigned
kva__wait_count(const kva_vmem_t *vm)
{
    const struct kva__waitq *q = &arena_root(vm)->waitq;
    unsigned n = 0;
    kva_irq_t irq;

    irq = kva_port_lock(&wait.lock);
    for (const struct kva__waiter *w = q->first; w != NULL; w = w->next) {
        n += feeds(vm, w->vm) ? 1u : 0u;
    }
    kva_port_unlock(&wait.lock, irq);
    return n;
}

unsigned
vmem_cancel(kva_vmem_t *vm, const void *cookie)
{
    struct kva__waitq *q;
    unsigned n = 0;
    kva_irq_t irq;

    arena_alive(vm, "vmem_cancel");
    q = &arena_root(vm)->waitq;
    irq = kva_port_lock(&wait.lock);
    for (struct kva__waiter *w = q->first; w != NULL; w = w->next) {
        if (w->vm == vm && !w->cancelled &&
            (cookie == NULL || w->cookie == cookie)) {
            w->cancelled = true;
            kva_port_wake(w);
            n++;
        }
    }
    kva_port_unlock(&wait.lock, irq);
    return n;
}

void
kva__wait_wants(struct kva__waiter *w, size_t bytes)
{
    kva_irq_t irq;

    irq = kva_port_lock(&wait.lock);
    w->wants = bytes;
    kva_port_unlock(&wait.lock, irq);
}

size_t
kva__wait_wanted(void)
{
    size_t sum = 0;
    kva_irq_t irq;

    if (!kva__wait_any()) {
        return 0;
    }
    irq = kva_port_lock(&wait.lock);
    for (const struct kva__waitq *q = wait.first; q != NULL; q = q->next) {
        for (const struct kva__waiter *w = q->first; w != NULL; w = w->next) {
            size_t size = w->vm != NULL ? w->rq->size : w->wants;

            size = w->cancelled ? 0 : size;
            sum = sum + size < sum ? SIZE_MAX : sum + size;
        }
    }
    kva_port_unlock(&wait.lock, irq);
    return sum;
}

size_t
kva__wait_in_vain(unsigned patience)
{
    size_t n = 0;
    kva_irq_t irq;

    if (!kva__wait_any() || patience == 0) {
        return 0;
    }
    irq = kva_port_lock(&wait.lock);
    for (struct kva__waitq *q = wait.first; q != NULL; q = q->next) {
        for (struct kva__waiter *w = q->first; w != NULL; w = w->next) {
            if ((w->vm != NULL || w->wants != 0) && !w->open &&
                ++w->despair >= patience && !w->cancelled && !w->woken) {
                w->cancelled = w->refused = true;
                kva_port_wake(w);
                n++;
            }
        }
    }
    kva_port_unlock(&wait.lock, irq);
    return n;
}

void
kva__wait_progress(void)
{
    kva_irq_t irq;

    if (!kva__wait_any()) {
        return;
    }
    irq = kva_port_lock(&wait.lock);
    for (struct kva__waitq *q = wait.first; q != NULL; q = q->next) {
        for (struct kva__waiter *w = q->first; w != NULL; w = w->next) {
            w->despair = 0;
        }
    }
    kva_port_unlock(&wait.lock, irq);
}

/* ---- being let in ------------------------------------------------------ */

/* Locked, somebody waits, and vm feeds the head. */
static bool
admit_locked(struct kva__waitq *q, struct kva__waiter *w,
             struct kva__ticket *ticket)
{
    if (w == q->first) {
        ticket->admitted = true;
        ticket->opened = !w->open && !path_is_transparent(w->vm, NULL);
        if (ticket->opened) {
            ticket->queue = q;
            w->open = true;
        }
        return true;
    }
    if (head_starves(q)) {
        q->held_back = true;
        return false;
    }
    ticket->admitted = true;
    if (q->passed < PASS_MAX) {
        q->passed++;
        ticket->queue = q;
        ticket->turn = q->turn;
    }
    return true;
}

bool
kva__wait_admit(const kva_vmem_t *vm, kva_vm_flag_t flags,
                struct kva__waiter *w, struct kva__ticket *ticket)
{
    struct kva__waitq *q = &arena_root(vm)->waitq;
    bool admitted = true;
    kva_irq_t irq;

    *ticket = (struct kva__ticket){ NULL, 0, false, false };
    if ((flags & (KVA__VM_ADMITTED | VM_POPULATING)) != 0 ||
        __atomic_load_n(&q->count, __ATOMIC_RELAXED) == 0) {
        return true;
    }
    irq = kva_port_lock(&wait.lock);
    if (q->first != NULL && feeds(vm, q->first->vm)) {
        admitted = admit_locked(q, w, ticket);
    }
    kva_port_unlock(&wait.lock, irq);
    return admitted;
}

void
kva__wait_settle(struct kva__waiter *w, struct kva__ticket *ticket,
                 bool granted)
{
    struct kva__waitq *q = ticket->queue;
    kva_irq_t irq;

    if (q == NULL || (granted && !ticket->opened)) {
        return;
    }
    irq = kva_port_lock(&wait.lock);
    if (ticket->opened) {
        w->open = false;
    } else if (ticket->turn == q->turn) { /* it did not pass the head */
        q->passed--;
        offer_held_back(q, q->first->next);
    }
    kva_port_unlock(&wait.lock, irq);
}

void
kva__wait_open(struct kva__waiter *w, bool open)
{
    kva_irq_t irq;

    irq = kva_port_lock(&wait.lock);
    w->open = open;
    kva_port_unlock(&wait.lock, irq);
}

/* ---- what became free -------------------------------------------------- */

/* A tag came free with it, for the first one anywhere who lacks one. */
static void
offer_tag(const struct kva__hole *hole)
{
    for (struct kva__waitq *q = wait.first; q != NULL; q = q->next) {
        struct kva__waiter *w = q->first;

        while (w != NULL && (!w->lacks_tags || w->woken || w->cancelled)) {
            w = w->next;
        }
        if (w != NULL) {
            wake(w, hole);
            return;
        }
    }
}

static void
hole_freed(const struct kva__hole *hole)
{
    struct kva__waitq *q = &arena_root(hole->vm)->waitq;
    kva_irq_t irq;

    if (__atomic_load_n(&q->count, __ATOMIC_RELAXED) == 0 &&
        __atomic_load_n(&wait.lacking_tags, __ATOMIC_RELAXED) == 0) {
        return;
    }
    irq = kva_port_lock(&wait.lock);
    offer(q, q->first, hole);
    if (wait.lacking_tags != 0) {
        offer_tag(hole);
    }
    kva_port_unlock(&wait.lock, irq);
}

void
kva__wait_freed(kva_vmem_t *vm, uintptr_t first, size_t size)
{
    if (KVA_UNLIKELY(kva__wait_any())) {
        hole_freed(&(struct kva__hole){ vm, first, size, KVA__HOLE_RANGE });
    }
}

void
kva__wait_freed_run(kva_vmem_t *vm, uintptr_t first, size_t size)
{
    if (KVA_UNLIKELY(kva__wait_any())) {
        hole_freed(&(struct kva__hole){ vm, first, size, KVA__HOLE_RUN });
    }
}

void
kva__wait_released(kva_vmem_t *vm)
{
    if (KVA_UNLIKELY(kva__wait_any()) && !arena_is_transparent(vm)) {
        hole_freed(&(struct kva__hole){ vm, 0, 0, KVA__HOLE_IMPORT });
    }
}

void
kva__wait_more(kva_vmem_t *vm)
{
    if (KVA_UNLIKELY(kva__wait_any())) {
        hole_freed(&(struct kva__hole){ vm, 0, 0, KVA__HOLE_ANY });
    }
}

void
kva__wait_wake(struct kva__waitq *q, size_t n)
{
    const struct kva__hole place = { NULL, 0, 0, KVA__HOLE_PLACE };
    kva_irq_t irq;

    irq = kva_port_lock(&wait.lock);
    for (struct kva__waiter *w = q->first; w != NULL && n > 0; w = w->next) {
        if (!w->woken && !w->cancelled) {
            wake(w, &place);
            n--;
        }
    }
    kva_port_unlock(&wait.lock, irq);
}

#else /* nobody waits */

unsigned
kva__wait_count(const kva_vmem_t *vm)
{
    (void)vm;
    return 0;
}

unsigned
vmem_cancel(kva_vmem_t *vm, const void *cookie)
{
    (void)cookie;
    arena_alive(vm, "vmem_cancel");
    return 0;
}

void
kva__wait_failed(kva_vmem_t *vm)
{
    (void)vm;
}

void
kva__wait_freed(kva_vmem_t *vm, uintptr_t first, size_t size)
{
    (void)vm;
    (void)first;
    (void)size;
}

void
kva__wait_freed_run(kva_vmem_t *vm, uintptr_t first, size_t size)
{
    kva__wait_freed(vm, first, size);
}

void
kva__wait_released(kva_vmem_t *vm)
{
    (void)vm;
}

void
kva__wait_more(kva_vmem_t *vm)
{
    (void)vm;
}

void
kva__wait_wake(struct kva__waitq *q, size_t n)
{
    (void)q;
    (void)n;
}

#endif

void
vmem_retry(kva_vmem_t *vm)
{
    arena_alive(vm, "vmem_retry");
    kva__wait_more(vm);
}
