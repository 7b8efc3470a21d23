/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Errors of the file are left to its owner: ferror, and the results of fflush
 * and fclose.
 */
#include "replay/json.h"

static void
string(struct json *j, const char *s)
{
    putc('"', j->f);
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\') {
            fprintf(j->f, "\\%c", c);
        } else if (c < 0x20 || c >= 0x7f) {
            /* Names are bytes of no known encoding: Latin-1 loses none. */
            fprintf(j->f, "\\u%04x", c);
        } else {
            putc(c, j->f);
        }
    }
    putc('"', j->f);
}

static void
member(struct json *j, const char *key)
{
    if (j->more[j->depth]) {
        putc(',', j->f);
    }
    if (j->depth > 0) {
        putc('\n', j->f);
    }
    j->more[j->depth] = true;
    fprintf(j->f, "%*s", (int)j->depth, "");
    if (key != NULL) {
        string(j, key);
        fputs(": ", j->f);
    }
}

static void
open_level(struct json *j, const char *key, char c)
{
    member(j, key);
    putc(c, j->f);
    if (j->depth + 1 < JSON_DEPTH_MAX) {
        j->depth++;
    }
    j->more[j->depth] = false;
}

static void
close_level(struct json *j, char c)
{
    bool any = j->more[j->depth];

    j->depth--;
    if (any) {
        fprintf(j->f, "\n%*s", (int)j->depth, "");
    }
    putc(c, j->f);
    if (j->depth == 0) {
        putc('\n', j->f);
    }
}

void
json_object(struct json *j, const char *key)
{
    open_level(j, key, '{');
}

void
json_array(struct json *j, const char *key)
{
    open_level(j, key, '[');
}

void
json_end_object(struct json *j)
{
    close_level(j, '}');
}

void
json_end_array(struct json *j)
{
    close_level(j, ']');
}

void
json_number(struct json *j, const char *key, uint64_t v)
{
    member(j, key);
    fprintf(j->f, "%llu", (unsigned long long)v);
}

void
json_decimal(struct json *j, const char *key, double v)
{
    member(j, key);
    fprintf(j->f, "%.6f", v);
}

void
json_string(struct json *j, const char *key, const char *v)
{
    member(j, key);
    string(j, v);
}
