#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: each source file has its SPDX line; no file names a path of the
machine it was written on; each source file of the core is in its folder's
meson.build, and each that is listed there exists; each file of tests is in
tests/meson.build and each table of tests in a list that a program runs.
"""
import pathlib
import re
import sys

import house

SPDX = "SPDX-License-Identifier: BSD-2-Clause"
SOURCE_SUFFIXES = {".c", ".cpp", ".h", ".py", ".sh", ".S", ".ld"}
SOURCE_NAMES = {"meson.build", "meson_options.txt", "dev", "run"}
BINARY_SUFFIXES = {".xz", ".kvt", ".png", ".bin"}
# Recorded on the machine they describe, and kept as recorded.
EXEMPT = ("replay/data/",)
# Put together here, or this file would complain about itself.
MACHINE_PATH = re.compile(
    r"(?<![\w./-])/" + r"(?:work|root|home/\w+|Users/\w+|tmp/\w+)(?:/|\b)")


def spdx(root, path, text):
    if path.suffix not in SOURCE_SUFFIXES and path.name not in SOURCE_NAMES:
        return []
    lines = text.splitlines()[:2]
    if path.suffix in (".c", ".cpp", ".h"):
        lines = lines[:1]
    if any(SPDX in line for line in lines):
        return []
    return [f"{path.relative_to(root)}: no SPDX line at its head"]


def machine_paths(root, path, text):
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        match = MACHINE_PATH.search(line)
        if match:
            found.append(f"{path.relative_to(root)}:{number}: "
                         f"{match.group()} is a path of one machine")
    return found


def listed(root):
    """Complaints about the lists of the core's meson.build files."""
    complaints = []
    for layer in [*house.TOWER, *house.OPTIONAL]:
        build = pathlib.Path(root, layer, "meson.build")
        if not build.exists():
            continue
        names = set(re.findall(r"'([\w-]+\.[ch])'", house.read(build)))
        there = {path.name for path in build.parent.glob("*.[ch]")}
        complaints += [f"{layer}/{name} is not in {layer}/meson.build"
                       for name in sorted(there - names)]
        complaints += [f"{layer}/meson.build lists {name}, which is not there"
                       for name in sorted(names - there)]
    return complaints


def tests_listed(root):
    """Complaints about tests that are in no program."""
    folder = pathlib.Path(root, "tests")
    if not (folder / "meson.build").exists():
        return []
    build = house.read(folder / "meson.build")
    tables = "".join(house.read(path) for path in folder.glob("tables*.c"))
    complaints = []
    for path in sorted(folder.glob("*/*.c")):
        name = str(path.relative_to(folder))
        if not name.startswith("house/") and f"'{name}'" not in build:
            complaints.append(f"tests/{name} is not in tests/meson.build")
        for table in re.findall(r"^const struct test (\w+)\[\]",
                                house.read(path), re.MULTILINE):
            if f"    {table},\n" not in tables:
                complaints.append(f"tests/{name}: no program runs {table}")
    return complaints


def check(root):
    complaints = listed(root) + tests_listed(root)
    files = [path for path in house.tracked_files(root)
             if path.suffix not in BINARY_SUFFIXES
             and not str(path.relative_to(root)).startswith(EXEMPT)]
    for path in files:
        text = house.read(path)
        complaints += spdx(root, path, text)
        complaints += machine_paths(root, path, text)
    return len(files), complaints


PLANTS = {
    "no-spdx": ({"pool/a.c": "/* a */\n"}, "pool/a.c: no SPDX line"),
    "spdx-too-late": ({"pool/a.h": "\n" + house.SPDX},
                      "pool/a.h: no SPDX line"),
    "script-without-spdx": ({"tools/a.py": "#!/usr/bin/env python3\npass\n"},
                            "tools/a.py: no SPDX line"),
    "machine-path": ({"docs/a.md": "see /" + "home/me/notes\n"},
                     "docs/a.md:1: "),
    "temporary-path": ({"pool/a.c": house.SPDX + 'char a[] = "/' + 'tmp/x";\n'},
                       "pool/a.c:2: "),
    "not-listed": ({"pool/a.c": house.SPDX,
                    "pool/meson.build": "# " + SPDX + "\n"},
                   "pool/a.c is not in pool/meson.build"),
    "test-not-listed": ({"tests/unit/a.c": house.SPDX,
                         "tests/meson.build": "# " + SPDX + "\n"},
                        "tests/unit/a.c is not in tests/meson.build"),
    "table-not-run": (
        {"tests/unit/a.c": house.SPDX + "const struct test a_tests[] = {\n",
         "tests/meson.build": "# " + SPDX + "\nfiles('unit/a.c')\n",
         "tests/tables.c": house.SPDX + "extern int a_tests[];\n"},
        "tests/unit/a.c: no program runs a_tests"),
    "listed-but-gone": (
        {"pool/meson.build": "# " + SPDX + "\ncore_src += files('b.c')\n"},
        "lists b.c, which is not there"),
}

if __name__ == "__main__":
    sys.exit(house.main("files", check, PLANTS))
