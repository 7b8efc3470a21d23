#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: debug modes of pools and reserves cost a hit nothing.  The functions that
have the hits of vmem(9), pool_cache(9), kmem(9) and malloc(9) are the same
instructions with KVA_CONFIG_POOL_DEBUG 0 and 1, and with KVA_CONFIG_RESERVES 0
and 1; the slow paths behind them are not.

Compared is what the compiler makes of them, instruction by instruction, without
the names of what is called and jumped to and without the offsets of fields,
which may differ.  A test and a branch that were planted in a hit are found, and
slow paths that know of no reserve.
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
# feature: the macro, what goes with it; file: functions that are the same,
# functions that are not
FEATURES = {
    "debug modes": ("KVA_CONFIG_POOL_DEBUG", [], {
        name: (functions, []) for name, functions in HITS.items()}),
    "reserves": ("KVA_CONFIG_RESERVES", ["-DKVA_CONFIG_TASK_MARK=1"], {
        "pool/cache.c": (HITS["pool/cache.c"],
                         ["kva__cache_get_slow", "kva__cache_put_slow"]),
        "kmem/kmem.c": (HITS["kmem/kmem.c"], []),
        "malloc_compat/malloc.c": (HITS["malloc_compat/malloc.c"], []),
        "vmem/vmem.c": (["kva_vmem_alloc", "kva_vmem_free"], []),
        "vmem/persist.c": ([], ["kva__arena_persist"]),
        "vmem/meta.c": ([], ["kva__meta_page_get"]),
    }),
}


def configurations(root):
    """(compiler, flags), the one that matters most first; for plants it alone.
    Of all combinations every other one, so that any three choices of the four
    are met together."""
    gcc = house.tool("gcc", "cc")
    if house.QUICK or root != house.ROOT:
        return [(gcc, ("-m64", "-O2", "-DKVA_CONFIG_CHECKS=1"))]
    compilers = [gcc] + [c for c in ("clang-14", "clang")
                         if shutil.which(c)][:1]
    flags = list(itertools.product(
        ("-m64", "-m32"), ("-O2", "-Os"),
        ("-DKVA_CONFIG_CHECKS=1", "-DKVA_CONFIG_CHECKS=0")))
    if len(compilers) == 1:
        return list(itertools.product(compilers, flags))
    return [(compilers[c], flags[f]) for c in range(2) for f in range(8)
            if (c + f.bit_count()) % 2 == 0]


def masked(line):
    """An instruction of a listing of objdump, or None."""
    parts = line.split("\t")
    if len(parts) < 2:
        return None
    text = re.sub(r"\s+", " ", parts[-1].split("#")[0]).strip()
    if re.match(r"(call|j)\w* ", text):
        return text.split()[0] + " TARGET"
    if text.startswith("nop") or text in ("xchg %ax,%ax", "data16"):
        return None
    # A displacement, with its sign; immediates ($) stay.
    text = re.sub(r"(?<![\w$])-?0x[0-9a-f]+(?=\()", "OFFSET", text)
    text = re.sub(r"(?<![\w$)])\((?=%)", "OFFSET(", text)
    return re.sub(r"(?<=[ ,])-?0x[0-9a-f]+(?=,|$)", "OFFSET", text)


def instructions(listing, function):
    """Those of a function, masked, with what the compiler put apart:
    function.cold, function.part.0."""
    bodies = re.findall(rf"^[0-9a-f]+ <({function}(?:\.[\w.]+)?)>:\n(.*?)(?:\n\n|\Z)",
                        listing, re.DOTALL | re.MULTILINE)
    return [text for _, body in sorted(bodies) for line in body.splitlines()
            if (text := masked(line)) is not None]


def compile_one(root, out, compiler, flags, name):
    target = pathlib.Path(out, "one.o")
    house.run([compiler, "-std=c11", "-ffreestanding", "-fno-pie",
               "-fno-stack-protector", "-fcf-protection=none",
               "-DKVA_OVERRIDE_PLATFORM", "-I", root, "-I",
               pathlib.Path(root, "port/posix"), *flags, "-c",
               pathlib.Path(root, name), "-o", target])
    return house.run(["objdump", "-d", "--no-show-raw-insn", target])


def first_difference(a, b):
    for at, (x, y) in enumerate(itertools.zip_longest(a, b)):
        if x != y:
            return f"instruction {at}: {x} without, {y} with them"
    return None


def check_file(root, compiler, flags, feature, name):
    macro, extra, files = FEATURES[feature]
    complaints, (same, other) = [], files[name]
    with tempfile.TemporaryDirectory(prefix="kva-house-") as out:
        try:
            off, on = (compile_one(root, out, compiler,
                                   [*flags, *extra, f"-D{macro}={value}"], name)
                       for value in (0, 1))
        except RuntimeError as error:
            return [str(error)]
    for function in same:
        a, b = instructions(off, function), instructions(on, function)
        if len(a) < 5:
            complaints.append(f"{function} has {len(a)} instructions only")
        wrong = first_difference(a, b)
        if wrong:
            complaints.append(f"{function} is not the same with {feature}: "
                              f"{wrong}")
    complaints += [f"{function} is the same with {feature}: it knows of none"
                   for function in other
                   if instructions(off, function) == instructions(on, function)]
    return [f"{compiler} {' '.join(flags)}: {text}" for text in complaints]


def check(root):
    if not shutil.which("objdump"):
        raise house.Skip("objdump is not installed")
    todo = [(compiler, flags, feature, name)
            for compiler, flags in configurations(root)
            for feature, (_, _, files) in FEATURES.items() for name in files]
    planted = [item for item in todo if house.read(root / item[3])
               != house.read(house.ROOT / item[3])]
    # A plant in one of the files is looked for there; in a header, everywhere.
    todo = planted or todo
    complaints = house.in_parallel(lambda item: check_file(root, *item), todo)
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


# Where a plant goes: the beginning of a function.
PLACES = {
    "kva_pool_cache_get": (
        "pool/cache.c", r"pool_cache_get\(pool_cache_t pc, int flags\)"),
    "kva_pool_cache_put": (
        "pool/cache.c", r"pool_cache_put\(pool_cache_t pc, void \*object\)"),
    "kva_kmem_alloc": (
        "kmem/kmem.c", r"kmem_alloc\(size_t size, km_flag_t flags\)"),
    "kva_kmem_free": ("kmem/kmem.c", r"kmem_free\(void \*p, size_t size\)"),
    "kva_free": ("malloc_compat/malloc.c",
                 r"kva_free\(void \*p, struct kva_malloc_type \*mt\)"),
    "kva_vmem_alloc": (
        "vmem/vmem.c", r"vmem_alloc\(kva_vmem_t \*vm, vmem_size_t size, "
        r"vm_flag_t flags, vmem_addr_t \*addr\)"),
    "kva_vmem_free": (
        "vmem/vmem.c", r"vmem_free\(kva_vmem_t \*vm, vmem_addr_t addr, "
        r"vmem_size_t size\)"),
}


def branch(function, condition, feature):
    """A test and a branch in a hit: the tree, and what is said of it."""
    name, head = PLACES[function]
    return (core_with(name, rf"^({head}\n\{{\n)",
                      rf"\1    if ({condition}) {{\n"
                      r"        __builtin_trap();\n    }\n"),
            f"{function} is not the same with {feature}")


def debugged(pool):
    return f"kva__pool_debugged({pool})", "debug modes"


def reserved(field):
    return f"KVA_RESERVES && {field} != 0", "reserves"


CACHE_0 = "&kva__kmem_cache[0].slabs"
OUT_0 = "kva__kmem_cache[0].slabs.reserve_out"
PLANTS = {
    "debug-in-get": branch("kva_pool_cache_get", *debugged("&pc->slabs")),
    "debug-in-put": branch("kva_pool_cache_put", *debugged("&pc->slabs")),
    "debug-in-kmem": branch("kva_kmem_alloc", *debugged(CACHE_0)),
    "debug-in-malloc": branch("kva_free", *debugged(CACHE_0)),
    "reserve-in-get": branch("kva_pool_cache_get",
                             *reserved("pc->slabs.reserve_out")),
    "reserve-in-put": branch("kva_pool_cache_put",
                             *reserved("pc->slabs.reserve_out")),
    "reserve-in-kmem-alloc": branch("kva_kmem_alloc",
                                    *reserved("(flags & KM_RESERVE)")),
    "reserve-in-kmem-free": branch("kva_kmem_free", *reserved(OUT_0)),
    "reserve-in-vmem-alloc": branch("kva_vmem_alloc",
                                    *reserved("(flags & VM_RESERVE)")),
    "reserve-in-vmem-free": branch("kva_vmem_free", *reserved("vm->reserve_out")),
    "slow-path-without": (
        core_with("port/config.h", r"^#define KVA_RESERVES .*$",
                  "#define KVA_RESERVES 0"),
        "kva__cache_get_slow is the same"),
}

if __name__ == "__main__":
    sys.exit(house.main("features_off", check, PLANTS))
