#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: the library's text, which is instructions and constants at -Os, is within
LIMITS, for each layer and in all; and so is what is left of it in a kernel that
calls the main functions of a layer and is linked with --gc-sections.

For x86-64 by gcc at the highest tier, which LIMITS is for; in long also for
thumbv7m by clang, and at the lowest tier, which is printed.  Without unwind
tables.  The aims are below what it takes; both are printed.
"""
import pathlib
import platform
import re
import sys
import tempfile

import house

KIB = 1024
# Highest tier, x86-64: a tenth above what it was when this was written.
LIMITS = {
    "port": 4 * KIB, "port/pages": 10 * KIB, "vmem": 110 * KIB,
    "reclaim": 10 * KIB, "kva": 20 * KIB, "pool": 40 * KIB, "kmem": 6 * KIB,
    "malloc_compat": 8 * KIB, "all": 206 * KIB,
    "linked: vmem": 80 * KIB, "linked: kmem": 116 * KIB,
}
AIMS = {"vmem": 24 * KIB, "all": 64 * KIB}
LARGEST = 12
# Of what is only printed nothing can be wrong.
FEW = house.QUICK or house.MERGE

# What a kernel calls; the rest of it is what these need.
LINKED = {
    "vmem": ["kva_vmem_bootstrap", "kva_vmem_create", "kva_vmem_add",
             "kva_vmem_alloc", "kva_vmem_free", "kva_vmem_xalloc",
             "kva_vmem_xfree"],
    "kmem": ["kva_boot_simple", "kva_kmem_init", "kva_kmem_alloc",
             "kva_kmem_free"],
}

COMMON = ["-Os", "-ffunction-sections", "-fdata-sections",
          "-fno-asynchronous-unwind-tables", "-fno-stack-protector"]


def targets():
    """(name, compiler, flags, linker, tools' prefix)"""
    found = [("x86-64", house.tool("gcc"), ["-m64", "-mno-red-zone",
                                            "-mgeneral-regs-only"], "ld")]
    clang, lld = house.have("clang-14", "clang"), house.have("ld.lld",
                                                             "ld.lld-14")
    if clang and lld and not FEW:
        found.append(("thumbv7m", clang, ["--target=thumbv7m-none-eabi",
                                          "-mfloat-abi=soft"], lld))
    return found


def text_of(path):
    """{section: bytes} of what is neither written nor unwound."""
    found = {}
    for line in house.run([house.tool("llvm-readelf", "llvm-readelf-14",
                                      "readelf"), "-SW", path]).splitlines():
        words = line.replace("[ ", "[").split()
        if len(words) > 7 and "PROGBITS" in words and "A" in words[7] \
                and "W" not in words[7] and not words[1].startswith(
                    (".eh_frame", ".ARM")):
            found[words[1]] = found.get(words[1], 0) + int(words[5], 16)
    return found


def linked(out, compiler, flags, linker, names, objects):
    """Bytes of text left of the objects for who calls these functions."""
    source = out / "root.c"
    source.write_text("".join(f"void {name}(void);\n" for name in names)
                      + "void root(void);\nvoid root(void) { "
                      + "".join(f"{name}(); " for name in names) + "}\n")
    house.run([compiler, *flags, "-ffreestanding", "-fno-pie", "-Os", "-c",
               source, "-o", out / "root.obj"])
    house.run([linker, "--gc-sections", "--unresolved-symbols=ignore-all",
               "-e", "root", "-o", out / "linked", out / "root.obj", *objects])
    return sum(text_of(out / "linked").values())


def measure(root, target, tier):
    """({what: bytes}, [(bytes, function)]) for one target and tier."""
    name, compiler, flags, linker = target
    sizes, functions = {}, []
    with tempfile.TemporaryDirectory(prefix="kva-house-") as out:
        out = pathlib.Path(out)
        flags = [*COMMON, *flags]
        objects = house.compile_core(root, out, compiler,
                                     [*flags, f"-DKVA_TIER={tier}"])
        for source, path in zip(house.core_files(root, ".c"), objects):
            layer = str(source.parent.relative_to(root))
            text = text_of(path)
            sizes[layer] = sizes.get(layer, 0) + sum(text.values())
            functions += [(size, section[len(".text."):])
                          for section, size in text.items()
                          if section.startswith(".text.")]
        sizes["all"] = sum(sizes.values())
        for what, names in LINKED.items():
            if root == house.ROOT:
                sizes[f"linked: {what}"] = linked(out, compiler, flags, linker,
                                                  names, objects)
    return sizes, sorted(functions, reverse=True)


def check(root):
    if platform.machine() != "x86_64":
        raise house.Skip("the limits are those of x86-64")
    complaints, looked_at = [], 0
    for target in targets():
        for tier in (3,) if FEW or root != house.ROOT else (0, 3):
            sizes, functions = measure(root, target, tier)
            looked_at += len(sizes)
            if root == house.ROOT:
                print(f"     {target[0]}, tier {tier}: " + ", ".join(
                    f"{what} {size}" + (f" (aim {AIMS[what]})"
                                        if what in AIMS else "")
                    for what, size in sizes.items()))
            if (target[0], tier) != ("x86-64", 3):
                continue
            complaints += [f"{what}: {size} bytes of text, more than "
                           f"{LIMITS[what]}" for what, size in sizes.items()
                           if size > LIMITS[what]]
            if root == house.ROOT:
                print("     the largest: " + ", ".join(
                    f"{function} {size}"
                    for size, function in functions[:LARGEST]))
    return looked_at, complaints


def plant(layer, text):
    return {f"{layer}/a.c": house.SPDX + '#include "port/port.h"\n' + text}


PLANTS = {
    "instructions": (
        plant("kmem", "void kva_a(void);\nvoid kva_a(void)\n"
              '{ __asm__ volatile(".skip 6200, 0x90"); }\n'),
        "kmem: 6"),
    "constants": (
        plant("reclaim", "extern const char kva_a[10300];\n"
              "const char kva_a[10300] = { 1 };\n"),
        "reclaim: 103"),
    "many-layers": (
        {**plant("vmem", "void kva_a(void);\nvoid kva_a(void)\n"
                 '{ __asm__ volatile(".skip 110000, 0x90"); }\n'),
         **plant("pool", "void kva_b(void);\nvoid kva_b(void)\n"
                 '{ __asm__ volatile(".skip 40000, 0x90"); }\n'),
         **plant("kva", "void kva_c(void);\nvoid kva_c(void)\n"
                 '{ __asm__ volatile(".skip 60000, 0x90"); }\n')},
        f"bytes of text, more than {LIMITS['all']}"),
}

if __name__ == "__main__":
    sys.exit(house.main("sizes", check, PLANTS))
