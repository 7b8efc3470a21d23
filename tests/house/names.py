#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: with KVA_NO_NAMES the library's headers define no macro without the
prefix, and own_names.c, a kernel with its own vmem_alloc, kmem_alloc, malloc,
PAGE_SIZE and VM_SLEEP, compiles and links beside the library.  Each header
compiles on its own, with the manual's names and without.
"""
import pathlib
import re
import sys
import tempfile

import house

STRICT = ["-std=c11", "-ffreestanding", "-Wall", "-Wextra", "-Wpedantic",
          "-Werror"]
COMPILER_HEADERS = "".join(f"#include <std{name}.h>\n"
                           for name in ("arg", "bool", "def", "int"))


def is_private(root, name):
    """A header of the library itself: *_impl.h, or one that includes one."""
    todo, seen = [name], set()
    while todo:
        name = todo.pop()
        seen.add(name)
        if name.endswith("_impl.h"):
            return True
        path = pathlib.Path(root, name)
        text = house.read(path) if path.exists() else ""
        todo += set(re.findall(r'#include "(\w+/\w+\.h)"', text)) - seen
    return False


def headers(root):
    """What a user may include."""
    return [path for path in house.core_files(root, ".h")
            if not path.name.endswith("_names.h")
            and not is_private(root, str(path.relative_to(root)))]


def macros(gcc, root, text):
    out = house.run([gcc, "-std=c11", "-ffreestanding", "-E", "-dM", "-I",
                     root, "-DKVA_NO_NAMES", "-x", "c", "-"], input=text)
    return set(re.findall(r"^#define (\w+)", out, re.MULTILINE))


def check_header(gcc, root, path, known):
    name = path.relative_to(root)
    text = f'#include "{name}"\nint kva_not_empty;\n'
    complaints = []
    for define in ("-UKVA_NO_NAMES", "-DKVA_NO_NAMES"):
        try:
            house.run([gcc, *STRICT, "-I", root, define, "-fsyntax-only", "-x",
                       "c", "-"], input=text)
        except RuntimeError as error:
            complaints.append(f"{name} alone, {define}: {error}")
    if not complaints:
        complaints = [f"{name} defines {macro}"
                      for macro in sorted(macros(gcc, root, text) - known)
                      if not macro.startswith(("KVA_", "kva_"))]
    return complaints


def check_own_names(gcc, root):
    skeleton = sorted(pathlib.Path(root, "port/skeleton").glob("*.c"))
    own = pathlib.Path(root, "tests/house/own_names.c")
    with tempfile.TemporaryDirectory(prefix="kva-house-") as out:
        try:
            objects = house.compile_core(root, out, gcc, STRICT, [own])
            objects += house.compile_core(root, out, gcc, ["-O1"])
            objects += house.compile_core(root, out, gcc, ["-O1"], skeleton)
            house.link_kernel(out, gcc, objects)
        except RuntimeError as error:
            return [str(error)]
    return []


def check(root):
    gcc = house.tool("gcc", "cc")
    known = macros(gcc, root, COMPILER_HEADERS)
    files = headers(root)
    complaints = []
    for found in house.in_parallel(
            lambda path: check_header(gcc, root, path, known), files):
        complaints += found
    if pathlib.Path(root, "tests/house/own_names.c").exists():
        complaints += check_own_names(gcc, root)
    return len(files), complaints


def whole_core_with(changed):
    """The whole core and own_names.c, with some files changed."""
    files = {str(path.relative_to(house.ROOT)): house.read(path)
             for path in house.core_files(house.ROOT, ".c", ".h")}
    own = house.ROOT / "tests/house/own_names.c"
    files["tests/house/own_names.c"] = house.read(own)
    return {**files, **changed}


VMEM_H = house.read(house.ROOT / "vmem/vmem.h")
PLANTS = {
    "macro-without-prefix": (
        {"vmem/a.h": house.SPDX + "#define PAGE_SIZE 4096\n"},
        "vmem/a.h defines PAGE_SIZE"),
    "header-not-alone": (
        {"vmem/a.h": house.SPDX + "kva_lock_t *kva_a(void);\n"},
        "vmem/a.h alone"),
    "names-always-there": (
        whole_core_with({"vmem/vmem.h": VMEM_H.replace(
            "#ifndef KVA_NO_NAMES", "#if 1")}),
        "conflicting types for"),
    "function-missing": (
        whole_core_with({"vmem/vmem.h": VMEM_H.replace(
            "void kva_vmem_free(", "void kva_vmem_liberate(")}),
        "implicit declaration of function"),
}

if __name__ == "__main__":
    sys.exit(house.main("names", check, PLANTS))
