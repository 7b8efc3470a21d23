#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: reserves cost a hit nothing.  The functions that have the hits of
vmem(9), pool_cache(9), kmem(9) and malloc(9) are the same instructions with
KVA_CONFIG_RESERVES 0 and 1, and the slow paths behind them are not.

Compared as by debug_off.py: instruction by instruction, without the targets of
calls and jumps and without the offsets of fields.  A test and a branch that
were planted in a hit are found, and slow paths that know of no reserve.
"""
import itertools
import pathlib
import re
import shutil
import sys
import tempfile

import debug_off
import house

# file: functions that are the same, functions that are not
FILES = {
    "pool/cache.c": (["kva_pool_cache_get", "kva_pool_cache_put"],
                     ["kva__cache_get_slow", "kva__cache_put_slow"]),
    "kmem/kmem.c": (["kva_kmem_alloc", "kva_kmem_free", "kva_kmem_intr_alloc",
                     "kva_kmem_intr_free"], []),
    "malloc_compat/malloc.c": (["kva_malloc", "kva_free"], []),
    "vmem/vmem.c": (["kva_vmem_alloc", "kva_vmem_free"], []),
    "vmem/persist.c": ([], ["kva__arena_persist"]),
    "vmem/meta.c": ([], ["kva__meta_page_get"]),
}


def configurations(root):
    """(compiler, flags), the one that matters most first."""
    gcc = house.tool("gcc", "cc")
    if house.QUICK or root != house.ROOT:
        return [(gcc, ("-m64", "-O2", "-DKVA_CONFIG_CHECKS=1"))]
    compilers = [gcc] + [c for c in ("clang-14", "clang")
                         if shutil.which(c)][:1]
    flags = itertools.product(("-m64", "-m32"), ("-O2", "-Os"),
                              ("-DKVA_CONFIG_CHECKS=1", "-DKVA_CONFIG_CHECKS=0"))
    return list(itertools.product(compilers, flags))


def listing(root, out, compiler, flags, name, reserves):
    target = pathlib.Path(out, f"{reserves}.o")
    house.run([compiler, "-std=c11", "-ffreestanding", "-fno-pie",
               "-fno-stack-protector", "-fcf-protection=none",
               "-DKVA_OVERRIDE_PLATFORM", "-DKVA_CONFIG_TASK_MARK=1", "-I",
               root, "-I", pathlib.Path(root, "port/posix"), *flags,
               f"-DKVA_CONFIG_RESERVES={reserves}", "-c",
               pathlib.Path(root, name), "-o", target])
    return house.run(["objdump", "-d", "--no-show-raw-insn", target])


def whole(text, function):
    """With what the compiler put apart: function.cold, function.part.0."""
    names = re.findall(rf"^[0-9a-f]+ <({function}(?:\.[\w.]+)?)>:$", text,
                       re.MULTILINE)
    return [line for name in sorted(names)
            for line in debug_off.instructions(text, re.escape(name))]


def check_file(root, compiler, flags, name):
    complaints = []
    with tempfile.TemporaryDirectory(prefix="kva-house-") as out:
        try:
            off, on = (listing(root, out, compiler, flags, name, reserves)
                       for reserves in (0, 1))
        except RuntimeError as error:
            return [str(error)]
    same, other = FILES[name]
    for function in same:
        a, b = whole(off, function), whole(on, function)
        if len(a) < 5:
            complaints.append(f"{function} has {len(a)} instructions only")
        wrong = debug_off.first_difference(a, b)
        if wrong:
            complaints.append(f"{function} is not the same with reserves: "
                              f"{wrong}")
    complaints += [f"{function} is the same with reserves: it knows of none"
                   for function in other
                   if whole(off, function) == whole(on, function)]
    return [f"{compiler} {' '.join(flags)}: {text}" for text in complaints]


def check(root):
    if not shutil.which("objdump"):
        raise house.Skip("objdump is not installed")
    todo = [(compiler, flags, name)
            for compiler, flags in configurations(root) for name in FILES]
    complaints = house.in_parallel(
        lambda item: check_file(root, *item), todo)
    return len(todo), [text for texts in complaints for text in texts]


BRANCH = "    if (KVA_RESERVES && {0} != 0) {{\n        __builtin_trap();\n    }}\n"
with_plant = debug_off.core_with
PLANTS = {
    "branch-in-get": (
        with_plant("pool/cache.c",
                   r"^(pool_cache_get\(pool_cache_t pc, int flags\)\n\{\n)",
                   r"\1" + BRANCH.format("pc->slabs.reserve_out")),
        "kva_pool_cache_get is not the same"),
    "branch-in-put": (
        with_plant("pool/cache.c",
                   r"^(pool_cache_put\(pool_cache_t pc, void \*object\)\n\{\n)",
                   r"\1" + BRANCH.format("pc->slabs.reserve_out")),
        "kva_pool_cache_put is not the same"),
    "branch-in-kmem-alloc": (
        with_plant("kmem/kmem.c",
                   r"^(kmem_alloc\(size_t size, km_flag_t flags\)\n\{\n)",
                   r"\1" + BRANCH.format("(flags & KM_RESERVE)")),
        "kva_kmem_alloc is not the same"),
    "branch-in-kmem-free": (
        with_plant("kmem/kmem.c",
                   r"^(kmem_free\(void \*p, size_t size\)\n\{\n)",
                   r"\1" + BRANCH.format("kva__kmem_cache[0].slabs.reserve_out")),
        "kva_kmem_free is not the same"),
    "branch-in-vmem-alloc": (
        with_plant("vmem/vmem.c",
                   r"^(vmem_alloc\(kva_vmem_t \*vm, vmem_size_t size, "
                   r"vm_flag_t flags, vmem_addr_t \*addr\)\n\{\n)",
                   r"\1" + BRANCH.format("(flags & VM_RESERVE)")),
        "kva_vmem_alloc is not the same"),
    "branch-in-vmem-free": (
        with_plant("vmem/vmem.c",
                   r"^(vmem_free\(kva_vmem_t \*vm, vmem_addr_t addr, "
                   r"vmem_size_t size\)\n\{\n)",
                   r"\1" + BRANCH.format("vm->reserve_out")),
        "kva_vmem_free is not the same"),
    "slow-path-without": (
        with_plant("port/config.h", r"^#define KVA_RESERVES .*$",
                   "#define KVA_RESERVES 0"),
        "kva__cache_get_slow is the same"),
}

if __name__ == "__main__":
    sys.exit(house.main("reserves_off", check, PLANTS))
