#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: debug modes of pools cost a hit nothing.  The functions that have the
hits of pool_cache(9), kmem(9) and malloc(9) are the same instructions with
KVA_CONFIG_POOL_DEBUG 0 and 1.

Compared is what the compiler makes of them, instruction by instruction, without
the names of what is called and jumped to and without the offsets of fields,
which may differ.  A branch that was planted in a hit is found.
"""
import itertools
import pathlib
import re
import shutil
import sys
import tempfile

import house

HITS = {
    "pool/cache.c": ["kva_pool_cache_get", "kva_pool_cache_put"],
    "kmem/kmem.c": ["kva_kmem_alloc", "kva_kmem_free", "kva_kmem_intr_alloc",
                    "kva_kmem_intr_free"],
    "malloc_compat/malloc.c": ["kva_malloc", "kva_free"],
}


def configurations():
    """(compiler, flags), the one that matters most first."""
    gcc = house.tool("gcc", "cc")
    if house.QUICK:
        return [(gcc, ("-m64", "-O2", "-DKVA_CONFIG_CHECKS=1"))]
    compilers = [gcc] + [c for c in ("clang-14", "clang")
                         if shutil.which(c)][:1]
    flags = itertools.product(("-m64", "-m32"), ("-O2", "-Os"),
                              ("-DKVA_CONFIG_CHECKS=1", "-DKVA_CONFIG_CHECKS=0"))
    return list(itertools.product(compilers, flags))


def instructions(listing, function):
    """The instructions of a function in a listing of objdump, masked."""
    match = re.search(rf"^[0-9a-f]+ <{function}>:\n(.*?)(?:\n\n|\Z)", listing,
                      re.DOTALL | re.MULTILINE)
    if not match:
        raise RuntimeError(f"{function} is not in the object")
    found = []
    for line in match.group(1).splitlines():
        parts = line.split("\t")
        if len(parts) < 2:
            continue
        text = re.sub(r"\s+", " ", parts[-1].split("#")[0]).strip()
        if re.match(r"(call|j)\w* ", text):
            text = text.split()[0] + " TARGET"
        elif text.startswith("nop") or text in ("xchg %ax,%ax", "data16"):
            continue
        # A displacement, with its sign; immediates ($) stay.
        text = re.sub(r"(?<![\w$])-?0x[0-9a-f]+(?=\()", "OFFSET", text)
        text = re.sub(r"(?<![\w$)])\((?=%)", "OFFSET(", text)
        text = re.sub(r"(?<=[ ,])-?0x[0-9a-f]+(?=,|$)", "OFFSET", text)
        found.append(text)
    return found


def compile_one(root, out, compiler, flags, name, debug):
    target = pathlib.Path(out, f"{debug}.o")
    house.run([compiler, "-std=c11", "-ffreestanding", "-fno-pie",
               "-fno-stack-protector", "-fcf-protection=none",
               "-DKVA_OVERRIDE_PLATFORM", "-I", root, "-I",
               pathlib.Path(root, "port/posix"), *flags, f"-DKVA_CONFIG_POOL_DEBUG={debug}", "-c",
               pathlib.Path(root, name), "-o", target])
    return house.run(["objdump", "-d", "--no-show-raw-insn", target])


def first_difference(a, b):
    for at, (x, y) in enumerate(itertools.zip_longest(a, b)):
        if x != y:
            return f"instruction {at}: {x} without, {y} with them"
    return None


def check_file(root, compiler, flags, name):
    complaints = []
    with tempfile.TemporaryDirectory(prefix="kva-house-") as out:
        try:
            off, on = (compile_one(root, out, compiler, flags, name, debug)
                       for debug in (0, 1))
        except RuntimeError as error:
            return [str(error)]
    for function in HITS[name]:
        a, b = instructions(off, function), instructions(on, function)
        if len(a) < 5:
            complaints.append(f"{function} has {len(a)} instructions only")
        wrong = first_difference(a, b)
        if wrong:
            complaints.append(f"{function} is not the same with debug modes: "
                              f"{wrong}")
    return [f"{compiler} {' '.join(flags)}: {text}" for text in complaints]


def check(root):
    if not shutil.which("objdump"):
        raise house.Skip("objdump is not installed")
    todo = [(compiler, flags, name) for compiler, flags in configurations()
            for name in HITS]
    complaints = house.in_parallel(
        lambda item: check_file(root, *item), todo)
    return len(todo), [text for texts in complaints for text in texts]


def core_with(name, pattern, replacement):
    """The whole core, one place of one file changed."""
    files = {str(path.relative_to(house.ROOT)): house.read(path)
             for path in house.core_files(house.ROOT, ".c", ".h")}
    changed, n = re.subn(pattern, replacement, files[name], count=1,
                         flags=re.MULTILINE)
    if n != 1:
        raise RuntimeError(f"{name} has no place for the plant")
    return {**files, name: changed}


BRANCH = "    if (kva__pool_debugged({0})) {{\n        __builtin_trap();\n    }}\n"
PLANTS = {
    "branch-in-get": (
        core_with("pool/cache.c",
                  r"^(pool_cache_get\(pool_cache_t pc, int flags\)\n\{\n)",
                  r"\1" + BRANCH.format("&pc->slabs")),
        "kva_pool_cache_get is not the same"),
    "branch-in-put": (
        core_with("pool/cache.c",
                  r"^(pool_cache_put\(pool_cache_t pc, void \*object\)\n\{\n)",
                  r"\1" + BRANCH.format("&pc->slabs")),
        "kva_pool_cache_put is not the same"),
    "branch-in-kmem": (
        core_with("kmem/kmem.c",
                  r"^(kmem_alloc\(size_t size, km_flag_t flags\)\n\{\n)",
                  r"\1" + BRANCH.format("&kva__kmem_cache[0].slabs")),
        "kva_kmem_alloc is not the same"),
    "branch-in-malloc": (
        core_with("malloc_compat/malloc.c",
                  r"^(kva_free\(void \*p, struct kva_malloc_type \*mt\)\n\{\n)",
                  r"\1" + BRANCH.format("&kva__kmem_cache[0].slabs")),
        "kva_free is not the same"),
}

if __name__ == "__main__":
    sys.exit(house.main("debug_off", check, PLANTS))
