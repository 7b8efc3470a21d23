/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Network buffers of malloc(9): packets are a type with a limit, so that a
 * flood cannot take all memory; what is known of connections is another type.
 * At the end, who holds how much.
 */
#include <stdio.h>

#include "kva/kva.h"
#include "malloc_compat/malloc.h"
#include "malloc_compat/malloc_store.h"
#include "posix.h"

#define CONNECTION 128 /* bytes, whatever a pointer takes */
#define PACKET 2048u
#define PACKETS_MAX 6u

static MALLOC_DEFINE_LIMIT(M_PACKET, "packet", "packets that wait to be read",
                           PACKETS_MAX *PACKET);
static MALLOC_DEFINE(M_CONN, "conn", "connections");

struct connection {
    unsigned number;
    unsigned npackets;
    void *packet[PACKETS_MAX];
};

/* From the driver: it does not wait, and drops what there is no room for. */
static void
receive(struct connection *c)
{
    void *p = kva_malloc(PACKET, M_PACKET, M_NOWAIT);

    if (p == NULL) {
        printf("connection %u: dropped\n", c->number);
        return;
    }
    c->packet[c->npackets++] = p;
    printf("connection %u: %u packets\n", c->number, c->npackets);
}

static void
read_all(struct connection *c)
{
    printf("connection %u: read %u packets\n", c->number, c->npackets);
    while (c->npackets > 0) {
        kva_free(c->packet[--c->npackets], M_PACKET);
    }
}

static struct connection *
connection_new(unsigned number)
{
    struct connection *c = kva_malloc(CONNECTION, M_CONN, M_WAITOK | M_ZERO);

    _Static_assert(sizeof(*c) <= CONNECTION, "a connection fits");

    if (c != NULL) {
        c->number = number;
    }
    return c;
}

static void __attribute__((format(printf, 1, 2))) print(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
}

int
main(void)
{
    struct connection *c[2];
    struct kva_boot boot = { 0 };

    if (kva_posix_init(NULL) != 0) {
        return 1;
    }
    boot.va_base = kva_posix_va_base();
    boot.va_bytes = kva_posix_va_bytes();
    if (kva_boot(&boot) != 0 || kva_start() != 0) {
        return 1;
    }
    kmem_init();
    c[0] = connection_new(1);
    c[1] = connection_new(2);
    if (c[0] == NULL || c[1] == NULL) {
        return 1;
    }

    for (int i = 0; i < 4; i++) {
        receive(c[0]);
        receive(c[1]); /* the last one finds no room */
    }
    read_all(c[0]);
    receive(c[1]);

    /* More than the limit can never be had: not waited for. */
    if (kva_malloc(2 * PACKETS_MAX * PACKET, M_PACKET, M_WAITOK | M_CANFAIL) ==
        NULL) {
        printf("a jumbo packet: never\n");
    }
    malloc_listing(print);

    read_all(c[1]);
    kva_free(c[0], M_CONN);
    kva_free(c[1], M_CONN);
    malloc_fini();
    kmem_fini();
    kva_shutdown();
    kva_posix_fini();
    return 0;
}
