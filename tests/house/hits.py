#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: no hit takes a lock, does an atomic read-modify-write, masks
interrupts or calls anything; and none looks at anything of reclaim/, so cleaners,
registered or not, cost it nothing.

Read from the disassembly at -O2, with the host's platform, checks at each and
at flush, and with slabs found by their headers: from the entry of each function on, no conditional jump taken (the
compiler was told which way is likely) and jumps within the function followed,
up to its ret.  A jump out of the function on the way is a tail call, and so is
no hit.  What it looks at besides its arguments are relocations.  Instructions of
each are printed.
"""
import platform
import re
import sys
import tempfile

import house

HITS = {
    "vmem/vmem.c": ["kva_vmem_alloc", "kva_vmem_free"],
    "pool/cache.c": ["kva_pool_cache_get", "kva_pool_cache_put"],
    "kmem/kmem.c": ["kva_kmem_alloc", "kva_kmem_free", "kva_kmem_intr_alloc",
                    "kva_kmem_intr_free"],
    "malloc_compat/malloc.c": ["kva_malloc", "kva_free"],
}
BUILDS = {
    "checks at each": ["-DKVA_CONFIG_CHECKS=1"],
    "checks at flush": ["-DKVA_CONFIG_CHECKS=0"],
    "slabs by headers": ["-DKVA_CONFIG_CHECKS=1", "-DKVA_CONFIG_SLAB_LOOKUP=2"],
}
FORBIDDEN = re.compile(
    r"\block\b|\bxchg\b.*\(|\bxadd|\bcmpxchg|\bcli\b|\bsti\b|\bpushf|\bpopf|"
    r"\bcall|\bsyscall\b|\bint\b|\b[lms]fence\b")
LONGEST = 200

counts = {}


def disassemble(path):
    """{function: [(address, instruction, symbols)]}"""
    functions, here = {}, None
    for line in house.run(["objdump", "-dr", "--no-show-raw-insn",
                           path]).splitlines():
        start = re.match(r"[0-9a-f]+ <(.+)>:$", line)
        symbol = re.match(r"\s+[0-9a-f]+: R_\w+\s+([\w.]+)", line)
        step = re.match(r"\s+([0-9a-f]+):\s+(.+)$", line)
        if start:
            here = functions.setdefault(start.group(1), [])
        elif symbol and here:
            here[-1][2].append(symbol.group(1))
        elif step and here is not None:
            here.append((int(step.group(1), 16), step.group(2).strip(), []))
    return functions


def walk(code, others):
    """Instructions of the likely way, and what is wrong with it."""
    places = {step[0]: i for i, step in enumerate(code)}
    i, n, complaints = 0, 0, []
    while i < len(code) and n < LONGEST:
        _, text, symbols = code[i]
        n += 1
        complaints += [f"{text!r} looks at {symbol} of reclaim/"
                       for symbol in symbols if symbol in others]
        if FORBIDDEN.search(text.split("#")[0].split("<")[0]):
            complaints.append(f"{text!r} on the way of a hit")
        if re.match(r"(bnd )?ret", text):
            return n, complaints
        jump = re.match(r"jmp\s+([0-9a-f]+)", text)
        if jump and int(jump.group(1), 16) in places:
            i = places[int(jump.group(1), 16)]
        elif text.startswith("jmp"):
            return n, complaints + [f"{text!r}: the likely way is a tail call"]
        else:
            i += 1
    return n, complaints + ["the likely way does not end"]


def symbols_of_reclaim(root, out):
    """What its files define for others; what is static no hit can name."""
    files = sorted((root / "reclaim").glob("*.c"))
    objects = house.compile_core(
        root, out, house.tool("gcc"),
        ["-O2", "-m64", "-DKVA_OVERRIDE_PLATFORM", "-I", root / "port/posix"],
        files) if files else []
    return {line.split()[-1] for path in objects for line in house.run(
        ["nm", "--defined-only", "-g", path]).splitlines() if line.split()}


def check_file(root, out, name, build, others):
    path = root / name
    object_path = house.compile_core(
        root, out, house.tool("gcc"),
        ["-O2", "-m64", *BUILDS[build], "-DKVA_OVERRIDE_PLATFORM",
         "-I", root / "port/posix"], [path])[0]
    functions, complaints = disassemble(object_path), []
    for function in HITS[name]:
        if not functions.get(function):
            complaints.append(f"{name}: there is no {function}")
            continue
        n, wrong = walk(functions[function], others)
        counts[(function, build)] = n
        complaints += [f"{function}, {build}: {text}" for text in wrong]
    return complaints


def check(root):
    if platform.machine() != "x86_64":
        raise house.Skip("the disassembly of x86-64 is what it reads")
    house.tool("objdump")
    complaints, files = [], [name for name in HITS if (root / name).exists()]
    with tempfile.TemporaryDirectory(prefix="kva-house-") as out:
        others = symbols_of_reclaim(root, out)
        for name in files:
            for build in BUILDS:
                complaints += check_file(root, out, name, build, others)
    if root == house.ROOT:
        if len(files) != len(HITS):
            complaints.append("a file with hits is gone")
        if "kva_reclaim_pass" not in others:
            complaints.append("reclaim/ does not define kva_reclaim_pass")
        print(f"     {'':20}" + "".join(f"  {build}" for build in BUILDS))
        for function in sum(HITS.values(), []):
            print(f"     {function:20}" + "".join(
                f"  {counts.get((function, build), 0):{len(build)}}"
                for build in BUILDS))
    return len(files) * len(BUILDS), complaints


def plant(body, extra=""):
    return {"pool/cache.c": house.SPDX + extra
            + "void *kva_pool_cache_get(long *p, int x);\n"
            "void kva_pool_cache_put(long *p);\n"
            "void kva_pool_cache_put(long *p) { *p = 1; }\n"
            "void *kva_pool_cache_get(long *p, int x)\n{ (void)x;" + body + "}"}


PLANTS = {
    "atomic-add": (plant("(void)__atomic_fetch_add(p, 1, 0); return p;"),
                   "'lock"),
    "exchange": (plant("return (void *)__atomic_exchange_n(p, x, 0);"),
                 "'xchg"),
    "interrupts-masked": (
        plant('__asm__ volatile("cli"); return p;'), "'cli"),
    "flags-saved": (
        plant('__asm__ volatile("pushf\\n\\tpopf"); return p;'), "'pushf"),
    "call": (plant("f(p); *p = 1; return p;", "void f(long *);\n"), "'call"),
    "tail-call": (plant("return f(p);", "void *f(long *);\n"), "a tail call"),
    "behind-a-likely-branch": (
        plant("if (__builtin_expect(x != 0, 1)) "
              "{ (void)__atomic_fetch_add(p, 1, 0); } return p;"), "'lock"),
    "asks-for-cleaners": (
        dict(plant("return kva__cleaners != 0 ? 0 : p;",
                   "extern int kva__cleaners;\n"),
             **{"reclaim/reclaim.c": house.SPDX + "extern int kva__cleaners;\n"
                "int kva__cleaners;\n"}), "looks at kva__cleaners"),
    "function-gone": (
        {"pool/cache.c": house.SPDX + "int kva_x;\n"},
        "there is no kva_pool_cache_get"),
}

if __name__ == "__main__":
    sys.exit(house.main("hits", check, PLANTS))
