/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A small JSON writer.  There are libraries for this; kva-replay must build
 * with a C compiler, Meson, Ninja and liblzma alone, and this is all it needs
 * of one.
 */
#ifndef REPLAY_JSON_H
#define REPLAY_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH_MAX 8

struct json {
    FILE *f;
    unsigned depth;
    bool more[JSON_DEPTH_MAX]; /* by depth: something was written already */
};

/* key: the name of a member, or NULL in an array and at the top. */
void json_object(struct json *j, const char *key);
void json_array(struct json *j, const char *key);
void json_end_object(struct json *j);
void json_end_array(struct json *j);
void json_number(struct json *j, const char *key, uint64_t v);
void json_decimal(struct json *j, const char *key, double v);
void json_string(struct json *j, const char *key, const char *v);

#endif
