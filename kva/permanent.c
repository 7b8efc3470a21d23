/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A place for what is never freed.
 *
 *      kernel_va_arena   |== unit: heap ==|== unit: heap ==|.........|~~~~~~~|
 *                          kmem: come and go               permanent, downward
 *
 * What stays for ever among what comes and goes holds its page, has the span
 * around it cut (two tags, and a large page demoted) and keeps a unit of
 * address space from going back.  FreeBSD found a quarter of its 2 MiB chunks
 * held by slabs that are never freed, less than 100 MB of them, and gave them
 * an arena of their own (its review D23979).
 *
 * So has kmem_permanent_arena.  Its addresses come from the top end of
 * kernel_va_arena, where the heap comes to last: side by side, and in no unit of
 * the heap's.  It imports a power of two near an eighth of what it holds, 4
 * pages to a large page, as the quantum caches do: few spans, little in advance,
 * and large pages as soon as they are not too much.  Nothing goes back before
 * kva_shutdown, what is freed serves the next.  No quantum caches: they are for
 * what is freed.
 *
 * kva_permanent_alloc hands out bytes one behind the other: no header, no tag,
 * only what alignment leaves out.  The arena is there as well for pools whose
 * slabs are never freed (struct kva_pool_allocator).
 */
#include "kva/kva_impl.h"

/* Pages taken from the arena at a time; the least that it imports.  A tag for
 * so much. */
#define STEP (4 * KVA_PAGE_SIZE)

/* For any type there is. */
#define ALIGN_MIN ((size_t)16)

static struct {
    kva_lock_t lock;
    uintptr_t next; /* (l) what is not handed out of the last range */
    uintptr_t end;  /* (l) past it; 0: there is none */
} tail;

#if KVA_TIER >= 2

/* What is good to import: no more than an eighth of what is held. */
static size_t
import_wanted(void)
{
    size_t held = vmem_size(kva_kmem_permanent_arena, VMEM_ALLOC | VMEM_FREE);
    size_t want = STEP;

    while (want < KVA__LARGE && want <= held / 16) {
        want *= 2;
    }
    return want;
}

/* Addresses from the top, and pages under them. */
static int
top_import(kva_vmem_t *source, const struct kva_vmem_request *rq,
           uintptr_t *addr)
{
    int err = kva__wire_addresses(source, rq, addr);

    if (err == 0) {
        err = kva__wire_attach(*addr, rq->size);
        if (err != 0) {
            vmem_xfree(source, *addr, rq->size);
        }
    }
    return err;
}

/* At the end, and at once: nobody shares a flush any more. */
static void
top_release(kva_vmem_t *source, uintptr_t addr, size_t size)
{
    kva__wire_detach(addr, size);
    vmem_xfree(source, addr, size);
}

static int
permanent_import(kva_vmem_t *source, const struct kva_vmem_request *rq,
                 size_t *actual, uintptr_t *addr)
{
    struct kva_vmem_request ask = *rq;

    ask.flags |= VM_ENDALLOC;
    if (rq->minaddr == VMEM_ADDR_MIN && rq->maxaddr == VMEM_ADDR_MAX &&
        rq->nocross == 0 && rq->phase == 0) {
        for (ask.size = import_wanted(); ask.size > rq->size; ask.size /= 2) {
            if (top_import(source, &ask, addr) == 0) {
                *actual = ask.size;
                return 0;
            }
        }
    }
    ask.size = *actual = rq->size;
    return top_import(source, &ask, addr);
}

/* With addresses of its own; else from frames or the region as kmem_arena, where
 * there are no units of the heap to stay out of. */
static kva_vmem_rimport_t *
importer(void)
{
    return kva__mode == KVA_MODE_VA ? permanent_import : kva__wire_import;
}

static kva_vmem_release_t *
releaser(void)
{
    return kva__mode == KVA_MODE_VA ? top_release : kva__wire_release;
}

#else

static kva_vmem_rimport_t *
importer(void)
{
    return kva__wire_import;
}

static kva_vmem_release_t *
releaser(void)
{
    return kva__wire_release;
}

#endif

bool
kva__permanent_init(struct kva_vmem *store, kva_vmem_t *source)
{
    kva_vmem_t *vm = vmem_init(store, "kmem_permanent", 0, 0, KVA_PAGE_SIZE,
                               NULL, NULL, source, 0, VM_NOSLEEP, KVA_IPL_NONE);

    kva_kmem_permanent_arena = vm;
    kva_port_lock_init(&tail.lock, "permanent", KVA_IPL_NONE, KVA_RANK_CACHE);
    tail.next = tail.end = 0;
    if (vm != NULL) {
        vm->flags |= KVA__VM_APART; /* so that spans can go back in the end */
        kva__vmem_set_press(vm, kva__press_caches);
        vmem_set_rimport(vm, importer(), NULL, source, 0);
    }
    return vm != NULL;
}

void
kva__permanent_fini(void)
{
    kva_vmem_t *vm = kva_kmem_permanent_arena;

    if (vm != NULL) {
        vmem_xfreeall(vm);
        (void)kva__import_trim(vm, 0, releaser());
        tail.next = tail.end = 0;
    }
}

/* size bytes out of the tail; 0: they do not fit.  Locked. */
static uintptr_t
tail_take(size_t size, size_t align)
{
    uintptr_t at = kva_round_up(tail.next, align);

    if (tail.end == 0 || at < tail.next || at > tail.end ||
        size > tail.end - at) {
        return 0;
    }
    tail.next = at + size;
    return at;
}

static uintptr_t
tail_get(size_t size, size_t align)
{
    uintptr_t at;
    kva_irq_t irq;

    irq = kva_port_lock(&tail.lock);
    at = tail_take(size, align);
    kva_port_unlock(&tail.lock, irq);
    return at;
}

/* A range that nobody has anything of, long enough for size at align: behind
 * the tail, or in its place if that leaves more. */
static uintptr_t
tail_put(uintptr_t addr, size_t bytes, size_t size, size_t align)
{
    uintptr_t at;
    kva_irq_t irq;

    irq = kva_port_lock(&tail.lock);
    if (addr == tail.end && addr != 0) {
        tail.end = addr + bytes;
        at = tail_take(size, align);
    } else {
        at = kva_round_up(addr, align);
        if (addr + bytes - (at + size) > tail.end - tail.next) {
            tail.next = at + size;
            tail.end = addr + bytes;
        }
    }
    kva_port_unlock(&tail.lock, irq);
    return at;
}

static void
request_verify(size_t size, size_t align)
{
    if (kva_kmem_permanent_arena == NULL) {
        kva__misuse("kva_permanent_alloc", "arena", "kmem_permanent", 0,
                    "expected a tower that was booted, found none");
    }
    if (size == 0 || size > SIZE_MAX / 2) {
        kva__misuse("kva_permanent_alloc", "arena", "kmem_permanent", 0,
                    "expected a size of 1 to %zu, found size %zu", SIZE_MAX / 2,
                    size);
    }
    if (align != 0 && !kva_is_pow2(align)) {
        kva__misuse("kva_permanent_alloc", "arena", "kmem_permanent", 0,
                    "expected align 0 or a power of two, found align %zu",
                    align);
    }
}

/* Whole pages for it from the arena; 4 of them, or as few as will do. */
static int
range_get(size_t size, size_t align, kva_vm_flag_t flags, size_t *bytes,
          uintptr_t *addr)
{
    size_t least = kva_round_up(size, KVA_PAGE_SIZE);
    int err;

    align = align > KVA_PAGE_SIZE ? align : 0;
    *bytes = kva_round_up(size, STEP);
    err = vmem_xalloc(
        kva_kmem_permanent_arena, *bytes, align, 0, 0, VMEM_ADDR_MIN,
        VMEM_ADDR_MAX,
        *bytes == least ? flags : (flags & ~VM_SLEEP) | VM_NOSLEEP, addr);
    if (err != 0 && *bytes != least) {
        *bytes = least;
        err = vmem_xalloc(kva_kmem_permanent_arena, least, align, 0, 0,
                          VMEM_ADDR_MIN, VMEM_ADDR_MAX, flags, addr);
    }
    return err;
}

void *
kva_permanent_alloc(size_t size, size_t align, kva_vm_flag_t flags)
{
    uintptr_t at, addr;
    size_t bytes;

    request_verify(size, align);
    align = align > ALIGN_MIN ? align : ALIGN_MIN;
    at = tail_get(size, align);
    if (at == 0) {
        if (range_get(size, align, flags, &bytes, &addr) != 0) {
            return NULL;
        }
        at = tail_put(addr, bytes, size, align);
    }
    kva__memset((void *)at, 0, size);
    return (void *)at;
}
