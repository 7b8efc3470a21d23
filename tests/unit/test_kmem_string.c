/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Strings, short-lived buffers and "any size will do" of kmem(9): what they
 * say, what they take, and that all of it comes back.
 */
#include <stdio.h>

#include "kmem/kmem_impl.h"
#include "tests/unit/tower.h"

/* A text of len characters that differ. */
static void
text_make(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        text[i] = (char)('a' + i % 26);
    }
    text[len] = '\0';
}

/* Lengths around the ends of all classes, and some of whole pages. */
static void
copies_are_exact(struct test_ctx *t)
{
    static char text[2 * KVA_PAGE_SIZE + 1];

    tower_start(0);
    for (size_t len = 0; len < sizeof(text); len += t->count) {
        size_t size = 0, half = len / 2;
        char *copy, *part;

        text_make(text, len);
        copy = kva_kmem_strdupsize(text, &size, KM_SLEEP);
        part = kva_kmem_strndup(text, half, KM_NOSLEEP);
        CHECK_EQ(size, len + 1);
        CHECK_STR(copy, text);
        CHECK(memcmp(part, text, half) == 0 && part[half] == '\0');
        kva_kmem_free(copy, size);
        kva_kmem_strfree(part);
        copy = kva_kmem_strdup(text, KM_SLEEP);
        CHECK_STR(copy, text);
        kva_kmem_strfree(copy);
        copy = kva_kmem_strndup(text, len + 5, KM_SLEEP);
        CHECK_STR(copy, text);
        kva_kmem_strfree(copy);
    }
    kva_kmem_strfree(NULL);
    tower_end();
}

/* No more is looked at than was allowed. */
static void
a_text_without_end_is_cut(struct test_ctx *t)
{
    static const char open[3] = { 'a', 'b', 'c' };
    char *copy;

    (void)t;
    tower_start(0);
    copy = kva_kmem_strndup(open, sizeof(open), KM_SLEEP);
    CHECK_STR(copy, "abc");
    kva_kmem_strfree(copy);
    tower_end();
}

/* As long as printf makes it, whatever that is, and freed by its own length. */
static void
formats_take_what_they_need(struct test_ctx *t)
{
    static char text[1000], expected[3000];

    tower_start(0);
    for (size_t len = 0; len < sizeof(text); len += t->count) {
        int width = (int)test_rand_below(t, 40);
        long value = (long)test_rand(t);
        char *s;

        text_make(text, len);
        s = kva_kmem_asprintf("%s/%*ld:%-*lx|%.*s", text, width, value, width,
                              (unsigned long)value, width, text);
        (void)snprintf(expected, sizeof(expected), "%s/%*ld:%-*lx|%.*s", text,
                       width, value, width, (unsigned long)value, width, text);
        CHECK_STR(s, expected);
        kva_kmem_strfree(s);
    }
    tower_end();
}

static void
no_memory_is_no_string(struct test_ctx *t)
{
    static char text[2 * KVA_PAGE_SIZE];
    size_t size = 77;

    (void)t;
    tower_start(0);
    text_make(text, sizeof(text) - 1);
    kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
    CHECK(kva_kmem_strdupsize(text, &size, KM_NOSLEEP) == NULL);
    CHECK_EQ(size, 77);
    CHECK(kva_kmem_strdup(text, KM_NOSLEEP) == NULL);
    CHECK(kva_kmem_strndup(text, 5000, KM_NOSLEEP) == NULL);
    kva_posix_fault_reset();
    /* Longer than any address space: not waited for. */
    CHECK(kva_kmem_asprintf("%*d", 0x7ffffff0, 1) == NULL);
    tower_end();
}

/* Up to the stack's size nothing is taken; beyond, what kmem has. */
static void
short_buffers_stay_on_the_stack(struct test_ctx *t)
{
    char stack[64];

    (void)t;
    tower_start(0);
    for (size_t size = 0; size <= 200; size++) {
        char *buf = kva_kmem_tmpbuf_alloc(size, stack, sizeof(stack), KM_SLEEP);

        CHECK(buf != NULL);
        CHECK_EQ(buf == stack, size <= sizeof(stack));
        tower_fill(buf, size, 9);
        kva_kmem_tmpbuf_free(buf, size, stack);
    }
    kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
    CHECK(kva_kmem_tmpbuf_alloc(20000, stack, sizeof(stack), KM_NOSLEEP) ==
          NULL);
    CHECK(kva_kmem_tmpbuf_alloc(64, stack, sizeof(stack), KM_NOSLEEP) == stack);
    kva_posix_fault_reset();
    tower_end();
}

/* Its own class; a larger one that has something; whole pages; nothing. */
static void
anything_is_better_than_nothing(struct test_ctx *t)
{
    static void *full[5000];
    size_t taken, other;
    unsigned n = 0;
    void *p, *q, *r;

    (void)t;
    tower_start(0);
    p = kva_kmem_alloc_tryhard(100, &taken, KM_NOSLEEP);
    CHECK(p != NULL);
    CHECK_EQ(taken, kva_kmem_roundup_size(100));
    kva_kmem_free(p, taken);
    p = kva_kmem_alloc_tryhard(3 * KVA_PAGE_SIZE - 1, &taken, KM_NOSLEEP);
    CHECK(p != NULL);
    CHECK_EQ(taken, 3 * KVA_PAGE_SIZE - 1);
    kva_kmem_free(p, taken);
    (void)kva_pool_drain_all();

    q = kva_kmem_alloc(1000, KM_NOSLEEP);
    r = kva_kmem_alloc(1000, KM_NOSLEEP); /* there are more in its slab */
    kva_posix_fault_arm(KVA_POSIX_ANY, 1, true);
    while ((p = kva_kmem_alloc(100, KM_NOSLEEP)) != NULL) {
        CHECK_LT(n, KVA_COUNT(full));
        full[n++] = p;
    }
    p = kva_kmem_alloc_tryhard(100, &taken, KM_NOSLEEP);
    CHECK(p != NULL);
    CHECK_EQ(taken, kva_kmem_roundup_size(1000));
    CHECK(kva_kmem_alloc_tryhard(3000, &other, KM_NOSLEEP) == NULL);
    kva_posix_fault_reset();
    kva_kmem_free(p, taken);
    kva_kmem_free(q, 1000);
    kva_kmem_free(r, 1000);
    while (n > 0) {
        kva_kmem_free(full[--n], 100);
    }
    tower_end();
}

#if KVA_CONFIG_CHECKS
/* A string that was cut says another size. */
static void
a_cut_string_is_reported(struct test_ctx *t)
{
    char *s;

    (void)t;
    tower_start(0);
    s = kva_kmem_strdup("a string of more than thirty-two characters",
                        KM_SLEEP);
    s[3] = '\0';
    CHECK_PANIC(kva_kmem_strfree(s),
                "kmem_free: cache kmem-48: 0x%lx: expected size 41 to 48, "
                "found size 4",
                (unsigned long)(uintptr_t)s);
    s[3] = 't';
    kva_kmem_strfree(s);
    tower_end();
}
#endif

const struct test kmem_string_tests[] = {
    TEST_COUNT("kmem_string", copies_are_exact, 29, 5, 1),
    TEST("kmem_string", a_text_without_end_is_cut),
    TEST_COUNT("kmem_string", formats_take_what_they_need, 31, 3, 1),
    TEST("kmem_string", no_memory_is_no_string),
    TEST("kmem_string", short_buffers_stay_on_the_stack),
    TEST("kmem_string", anything_is_better_than_nothing),
#if KVA_CONFIG_CHECKS
    TEST("kmem_string", a_cut_string_is_reported),
#endif
    TEST_END
};
