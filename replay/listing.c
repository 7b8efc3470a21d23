/* SPDX-License-Identifier: BSD-2-Clause */
/* The library's listings at one moment. */
#include "replay/listing.h"

#include <stdarg.h>
#include <stdlib.h>

#include "malloc_compat/malloc.h"
#include "pool/list.h"

struct listing {
    char *text;
    size_t length;
    struct kva_pool_row *pool;
    size_t npool;
    struct kva_malloc_stat *type;
    size_t ntype;
    bool failed;
};

/* ---- text ------------------------------------------------------------- */

/* Where lines go; the library's print functions have no argument. */
static FILE *sink;

static void __attribute__((format(printf, 1, 2))) print(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vfprintf(sink, fmt, ap);
    va_end(ap);
}

static bool
take_text(struct listing *l)
{
    sink = open_memstream(&l->text, &l->length);
    if (sink == NULL) {
        return false;
    }
    kva_pool_listing(print);
    print("\n");
    kva_pool_cache_listing(print);
    print("\n");
    kva_malloc_listing(print);
    return fclose(sink) == 0;
}

/* ---- rows ------------------------------------------------------------- */

/* An array that is full gets room for twice as many. */
static bool
room_for(void **v, size_t n, size_t size)
{
    void *more;

    if ((n & (n - 1)) != 0) {
        return true;
    }
    more = realloc(*v, (n == 0 ? 1 : 2 * n) * size);
    if (more != NULL) {
        *v = more;
    }
    return more != NULL;
}

static void
add_pool(void *arg, const struct kva_pool_row *row)
{
    struct listing *l = arg;
    void *v = l->pool;

    if (!room_for(&v, l->npool, sizeof(*row))) {
        l->failed = true;
        return;
    }
    l->pool = v;
    l->pool[l->npool++] = *row;
}

static void
add_type(void *arg, const struct kva_malloc_stat *st)
{
    struct listing *l = arg;
    void *v = l->type;

    if (!room_for(&v, l->ntype, sizeof(*st))) {
        l->failed = true;
        return;
    }
    l->type = v;
    l->type[l->ntype++] = *st;
}

struct listing *
listing_take(void)
{
    struct listing *l = calloc(1, sizeof(*l));

    if (l == NULL) {
        return NULL;
    }
    kva_pool_rows(add_pool, l);
    kva_malloc_rows(add_type, l);
    if (!take_text(l) || l->failed) {
        listing_free(l);
        return NULL;
    }
    return l;
}

void
listing_free(struct listing *l)
{
    if (l != NULL) {
        free(l->text);
        free(l->pool);
        free(l->type);
        free(l);
    }
}

/* ---- out -------------------------------------------------------------- */

void
listing_print(const struct listing *l, FILE *f)
{
    (void)fwrite(l->text, 1, l->length, f);
}

static void
pool_json(struct json *j, const struct kva_pool_row *row)
{
    json_object(j, NULL);
    json_string(j, "name", row->name);
    json_number(j, "cache", row->cache);
    json_number(j, "recursive", row->recursive);
    json_number(j, "object_bytes", row->object_bytes);
    json_number(j, "slab_bytes", row->slab_bytes);
    json_number(j, "requests", row->requests);
    json_number(j, "releases", row->releases);
    json_number(j, "fails", row->fails);
    json_number(j, "in_use", row->in_use);
    json_number(j, "available", row->available);
    json_number(j, "slabs", row->slabs);
    json_number(j, "slabs_empty", row->slabs_empty);
    json_number(j, "slabs_max", row->slabs_max);
    json_number(j, "slabs_made", row->slabs_made);
    json_number(j, "slabs_freed", row->slabs_freed);
    if (row->limit != KVA_POOL_NO_LIMIT) {
        json_number(j, "limit", row->limit);
        json_number(j, "limit_hits", row->limit_hits);
    }
    if (row->cache) {
        json_number(j, "cached", row->cached);
        json_number(j, "waiting", row->waiting);
        json_number(j, "slots", row->slots);
        json_number(j, "rounds", row->rounds);
        json_number(j, "rounds_max", row->rounds_max);
        json_number(j, "depot_full", row->depot_full);
        json_number(j, "depot_empty", row->depot_empty);
        json_number(j, "misses_get", row->misses_get);
        json_number(j, "misses_put", row->misses_put);
        json_number(j, "magazine_bytes", row->magazine_bytes);
    }
    json_end_object(j);
}

static void
type_json(struct json *j, const struct kva_malloc_stat *st)
{
    json_object(j, NULL);
    json_string(j, "name", st->name);
    json_number(j, "requests", st->requests);
    json_number(j, "active", st->active);
    json_number(j, "bytes", st->bytes);
    json_number(j, "high", st->high);
    json_number(j, "failures", st->failures);
    json_number(j, "limit", st->limit);
    json_number(j, "waits", st->waits);
    json_end_object(j);
}

void
listing_json(struct json *j, const struct listing *l)
{
    json_array(j, "pools");
    for (size_t i = 0; i < l->npool; i++) {
        pool_json(j, &l->pool[i]);
    }
    json_end_array(j);
    json_array(j, "types");
    for (size_t i = 0; i < l->ntype; i++) {
        type_json(j, &l->type[i]);
    }
    json_end_array(j);
}
