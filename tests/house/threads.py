#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a test with counts whose body has threads is in its table with
TEST_THREADS, and no other is: ThreadSanitizer's build runs those with the
counts of a merge, and the others with few.

A body has threads if it calls pthread_create, or a function of its own file or
of a header of the tests that does.
"""
import pathlib
import re
import sys

import house

ROW = re.compile(r'\bTEST_(COUNT|LEAST|THREADS)\(\s*"(\w+)",\s*(\w+)')
# A definition, as the format of the sources has it: a name at the beginning of a
# line, and a body from a brace there to a brace there.
FUNCTION = re.compile(r"^(\w+)\([^;{}]*\)\n\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
MAKES = "pthread_create"


def bodies(text):
    """What each function names, by name."""
    return {name: set(re.findall(r"\w+", body))
            for name, body in FUNCTION.findall(text)}


def threaded(known):
    """Those that come to MAKES."""
    found = {MAKES}
    while True:
        more = {name for name, words in known.items()
                if name not in found and words & found}
        if not more:
            return found
        found |= more


def check(root):
    complaints, rows = [], 0
    tests = pathlib.Path(root, "tests")
    headers = {}
    for path in sorted(tests.rglob("*.h")):
        headers.update(bodies(house.read(path)))
    for path in sorted(tests.rglob("*.c")):
        text = house.read(path)
        found = threaded({**headers, **bodies(text)})
        for kind, suite, body in ROW.findall(text):
            rows += 1
            if (body in found) != (kind == "THREADS"):
                complaints.append(
                    f"{path.relative_to(root)}: {suite}/{body} is TEST_{kind}, "
                    f"and has {'' if body in found else 'no '}threads")
    return rows, complaints


SAMPLE = """static void
start(void)
{
    pthread_create(&t, 0, run, 0);
}

static void
with(struct test_ctx *t)
{
    start();
}

static void
without(struct test_ctx *t)
{
    (void)t;
}
"""

PLANTS = {
    "threads-not-said": (
        {"tests/a.c": SAMPLE + 'TEST_COUNT("s", with, 1, 2, 3)'},
        "tests/a.c: s/with is TEST_COUNT, and has threads"),
    "threads-in-a-header": (
        {"tests/a.h": SAMPLE,
         "tests/a.c": "static void\nx(void)\n{\n    start();\n}\n"
                      'TEST_LEAST("s", x, 1, 2, 3, 4)'},
        "tests/a.c: s/x is TEST_LEAST, and has threads"),
    "no-threads": (
        {"tests/a.c": SAMPLE + 'TEST_THREADS("s", without, 0, 1, 2, 3)'},
        "tests/a.c: s/without is TEST_THREADS, and has no threads"),
}

if __name__ == "__main__":
    sys.exit(house.main("threads", check, PLANTS))
