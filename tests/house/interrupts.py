#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: tests/unit/test_interrupts_off.c calls each public function: each that
a header of the library declares, the port's own hooks and private ones left
out, and each that a names header maps.
"""
import pathlib
import re
import sys

import house
import names

TABLE = "tests/unit/test_interrupts_off.c"
# Not calls into the library: what is inline in the port's headers.
NOT_OURS = r"port/\w+\.h"


def declared(root):
    """{function: header}, without kva_."""
    found = {}
    for path in names.headers(root):
        name = str(path.relative_to(root))
        if re.fullmatch(NOT_OURS, name):
            continue
        text = house.without_comments(house.read(path))
        text = re.sub(r"\\\n", " ", text)
        text = re.sub(r"^\s*#.*", "", text, flags=re.MULTILINE)
        for part in re.split(r"[;{}]", text):
            match = re.search(r"\b(kva_[a-z]\w*)\s*\(", part)
            if (match and "typedef" not in part and
                    not re.search(r"\benum $", part[:match.start(1)])):
                found.setdefault(match.group(1)[4:], name)
    return found


def mapped(root, functions):
    """Names that a names header maps, of what is a function."""
    found = {}
    for path in house.core_files(root, ".h"):
        if path.name.endswith("_names.h"):
            for name in re.findall(r"^#define \w+ kva_([a-z]\w*)$",
                                   house.read(path), re.MULTILINE):
                if name in functions:
                    found[name] = str(path.relative_to(root))
    return found


def check(root):
    path = pathlib.Path(root, TABLE)
    text = house.read(path) if path.exists() else ""
    called = set(re.findall(r"\bDO\((\w+)", text))
    called |= set(re.findall(r"\bGET\([^,()]+,\s*(\w+)", text))
    functions = declared(root)
    functions.update(mapped(root, functions))
    return len(functions), [f"{header}: {TABLE} does not call kva_{name}"
                            for name, header in sorted(functions.items())
                            if name not in called]


def plant(header, text):
    return {header: house.SPDX + text,
            TABLE: house.SPDX + "void f(void)\n{\n    DO(known(1));\n"
                                "    GET(x[1],\n        other(2));\n}\n"}


PLANTS = {
    "missing": (plant("vmem/a.h", "void kva_known(int a);\n"
                                  "int kva_other(int a);\n"
                                  "int kva_unknown(void);\n"),
                "vmem/a.h: tests/unit/test_interrupts_off.c does not call "
                "kva_unknown"),
    "over-lines": (plant("pool/a.h", "void *\nkva_unknown(int a,\n"
                                     "            int b);\n"),
                   "does not call kva_unknown"),
}

if __name__ == "__main__":
    sys.exit(house.main("interrupts", check, PLANTS))
