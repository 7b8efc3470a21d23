#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: for each machine the core compiles freestanding and without any header
but its own, with no warning, at -O0, -O2 and -Os, with the flags that kernels
are built with; linked in one piece it refers to exactly the port's hooks of its
tier, and to the four memory functions unless it brings them: to nothing of
libgcc or compiler-rt, so there is no division by a variable (armv7 has none in
hardware), none of 64 bits on a machine of 32, and no atomic access wider than a
pointer.  All that it offers begins with the prefix, and it has no thread-local
storage, no static constructor and no weak or common symbol.

A row is a build: machine, level, tier, and what it has of each kind of flag.
What matters more than the pairing is that each machine has each level, and each
flag and option some row, which is checked.  In merge each machine has a row or
two, among which each level, tier and flag is.  The types are those of
tests/house/kernel, as a kernel that has no stdint.h would have them, in some
rows with other names than the compiler's.
"""
import pathlib
import re
import sys
import tempfile

import house
import symbols

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow",
            "-Werror"]
OWN_TYPES = ["-nostdinc", "-DKVA_OVERRIDE_TYPES", "-I",
             house.ROOT / "tests/house/kernel"]
ALWAYS = [*OWN_TYPES, "-fno-builtin", "-fno-stack-protector", "-fno-common",
          *WARNINGS]

# name: (what clang --print-targets calls it, triple and what it always needs)
MACHINES = {
    "x86_64": ("x86-64", "--target=x86_64-none-elf"),
    "i686": ("x86", "--target=i686-none-elf"),
    "aarch64": ("aarch64", "--target=aarch64-none-elf -mgeneral-regs-only"),
    "armv7": ("arm", "--target=armv7a-none-eabi -mfloat-abi=soft"),
    "thumbv7m": ("thumb", "--target=thumbv7m-none-eabi -mfloat-abi=soft"),
    "riscv32": ("riscv32", "--target=riscv32-none-elf -march=rv32imac "
                "-mabi=ilp32"),
    "riscv64": ("riscv64", "--target=riscv64-none-elf -march=rv64imac "
                "-mabi=lp64"),
    "ppc64": ("ppc64", "--target=powerpc64-none-elf -msoft-float"),
    "mips": ("mips", "--target=mips-none-elf -march=mips32r2 -msoft-float "
             "-mno-gpopt"),
}

LEVELS = ("-O0", "-O2", "-Os")

ROWS = [
    ("x86_64", "-O0", 0, "-mcmodel=kernel -mno-red-zone -mgeneral-regs-only"),
    ("x86_64", "-O2", 3, "-fpie -DOWN_TYPES -DKVA_CONFIG_STACK=1"),
    ("x86_64", "-Os", 2, "-mcmodel=kernel -mno-red-zone -fshort-enums "
     "-mgeneral-regs-only -DKVA_CONFIG_SLAB_LOOKUP=1"),
    ("i686", "-O0", 3, "-mgeneral-regs-only -fpie -DKVA_CONFIG_MEMORY=1 "
     "-DKVA_CONFIG_READ_BARRIER=1"),
    ("i686", "-O2", 1, "-fno-pie -fshort-enums -DOWN_TYPES"),
    ("i686", "-Os", 2, "--target=x86_64-none-elf -m32 -DKVA_CONFIG_CHECKS=0"),
    ("aarch64", "-O0", 1, "-fpie -DKVA_PAGE_SHIFT=16"),
    ("aarch64", "-O2", 3, "-DKVA_CONFIG_READ_BARRIER=1 "
     "-DKVA_CONFIG_SLAB_LOOKUP=1"),
    ("aarch64", "-Os", 2, "-DOWN_TYPES -DKVA_CONFIG_MEMORY=1 "
     "-DKVA_CACHE_LINE=128"),
    ("armv7", "-O0", 2, "-fpie -DKVA_CONFIG_MEMORY=1"),
    ("armv7", "-O2", 3, "-fshort-enums -DOWN_TYPES -DKVA_CONFIG_DEBUG=1"),
    ("armv7", "-Os", 0, "-DKVA_CONFIG_SLAB_LOOKUP=1"),
    ("thumbv7m", "-O0", 0, "-DOWN_TYPES -DKVA_CONFIG_PARANOID=1"),
    ("thumbv7m", "-O2", 1, "-fshort-enums -DKVA_CPU_MAX=1"),
    ("thumbv7m", "-Os", 0, "-DKVA_CONFIG_MEMORY=1 -DKVA_CONFIG_POOL_DEBUG=0 "
     "-DKVA_CACHE_LINE=32"),
    ("riscv32", "-O0", 3, "-mcmodel=medany -DKVA_CONFIG_SLAB_LOOKUP=1"),
    ("riscv32", "-O2", 0, "-fpie -DKVA_CONFIG_MEMORY=1"),
    ("riscv32", "-Os", 2, "-fshort-enums -DOWN_TYPES "
     "-DKVA_CONFIG_SLAB_LOOKUP=2"),
    ("riscv64", "-O0", 2, "-mcmodel=medany -fshort-enums"),
    ("riscv64", "-O2", 3, "-mcmodel=medany -DKVA_CONFIG_CHECKS=0"),
    ("riscv64", "-Os", 1, "-fpie -DOWN_TYPES -DKVA_CONFIG_MEMORY=1 "
     "-DKVA_CONFIG_RESERVES=0"),
    ("ppc64", "-O0", 3, "-DKVA_CONFIG_MEMORY=1 -DKVA_CONFIG_DEBUG=1"),
    ("ppc64", "-O2", 2, "-fpie -DKVA_PAGE_SHIFT=14 "
     "-DKVA_CONFIG_SLAB_LOOKUP=2"),
    ("ppc64", "-Os", 1, "-fshort-enums -DOWN_TYPES"),
    ("mips", "-O0", 3, "-fno-pie -DKVA_CONFIG_MEMORY=1 "
     "-DKVA_CONFIG_SLAB_LOOKUP=1 -DKVA_CONFIG_READ_BARRIER=1"),
    ("mips", "-O2", 2, "-mno-abicalls -fshort-enums -DKVA_CONFIG_TASK_MARK=1"),
    ("mips", "-Os", 0, "-fpie -DOWN_TYPES"),
]

# In quick, and for plants: 32 bits, big-endian, and no division in hardware.
QUICK_ROWS = [("mips", "-O0"), ("armv7", "-Os")]

MERGE_ROWS = [
    ("x86_64", "-O0"), ("x86_64", "-O2"), ("i686", "-Os"), ("aarch64", "-O0"),
    ("armv7", "-O2"), ("thumbv7m", "-Os"), ("riscv32", "-O0"),
    ("riscv64", "-Os"), ("ppc64", "-O2"), ("mips", "-O0"), ("mips", "-O2")]

MUST_APPEAR = {
    "-mno-red-zone", "-mcmodel=kernel", "-mcmodel=medany", "-fpie", "-fno-pie",
    "-mgeneral-regs-only", "-fshort-enums", "-m32", "-DOWN_TYPES",
    "-DKVA_CONFIG_MEMORY=1", "-DKVA_CONFIG_SLAB_LOOKUP=1",
    "-DKVA_CONFIG_SLAB_LOOKUP=2",
    "-DKVA_CONFIG_READ_BARRIER=1", "-DKVA_CONFIG_RESERVES=0",
    "-DKVA_CONFIG_TASK_MARK=1"}

# What the linker of a program defines.
OF_THE_LINKER = {"i686": {"_GLOBAL_OFFSET_TABLE_"}, "ppc64": {".TOC."},
                 "mips": {"_gp_disp"}}
# The four memory functions' names in ARM's EABI, see port/memory.c.
EABI = re.compile(r"__aeabi_mem(cpy|move|set|clr)[48]?$")


def judge_table():
    """The rows say what they promise."""
    complaints = []
    for machine in MACHINES:
        have = sorted(level for m, level, _, _ in ROWS if m == machine)
        if have != sorted(LEVELS):
            complaints.append(f"{machine} has {have} and not each level")
    few = [row for row in ROWS if row[:2] in MERGE_ROWS]
    for what, want, have in (
            ("machine", MACHINES, [row[0] for row in few]),
            ("level", LEVELS, [row[1] for row in few]),
            ("tier", range(4), [row[2] for row in few]),
            ("flag", MUST_APPEAR, " ".join(row[3] for row in few).split())):
        complaints += [f"no row of merge has the {what} {item}"
                       for item in sorted(set(want) - set(have))]
    return complaints


def judge_backends(clang):
    known = set(re.findall(r"^ +(\S+) +- ", house.run(
        [clang, "--print-targets"]), re.MULTILINE))
    return [f"{clang} has no backend for {name}"
            for name in sorted({m[0] for m in MACHINES.values()} - known)]


def is_memory(name):
    return name in house.MEMORY_FUNCTIONS or EABI.match(name) is not None


def judge_symbols(whole, hooks, machine, own_memory):
    nm = house.tool("llvm-nm", "llvm-nm-14")
    found = house.symbols(whole, nm=nm)
    undefined = {name for kind, name in found
                 if kind == "U"} - OF_THE_LINKER.get(machine, set())
    memory = {name for name in undefined if is_memory(name)}
    complaints = [f"{name} is undefined and no hook of this tier"
                  for name in sorted(undefined - hooks - memory)]
    if own_memory:
        complaints += [f"{name} is undefined, and the core said that it "
                       "brings it" for name in sorted(memory)]
    complaints += [f"nothing refers to the hook {name}"
                   for name in sorted(hooks - undefined)]
    brings = {name for _, name in found if own_memory and is_memory(name)}
    return complaints + \
        symbols.judge_symbols(whole, None, "kva_", nm, brings) + \
        symbols.judge_sections(whole)


def check_row(root, clang, row):
    machine, level, tier, text = row
    flags = [*MACHINES[machine][1].split(), f"-DKVA_TIER={tier}", level,
             *text.split()]
    with tempfile.TemporaryDirectory(prefix="kva-house-") as out:
        try:
            objects = house.compile_core(root, out, clang, [*ALWAYS, *flags])
            whole = pathlib.Path(out, "core.o")
            house.run([house.tool("ld.lld", "ld.lld-14"), "-r", "-o", whole, *objects])
            hooks = house.port_hooks(root, tier, clang, [*OWN_TYPES, *flags])
            complaints = judge_symbols(whole, hooks, machine,
                                       "-DKVA_CONFIG_MEMORY=1" in flags)
        except RuntimeError as error:
            complaints = [str(error)]
    name = " ".join((machine, level, f"tier {tier}", text))
    return [f"{name}: {complaint}" for complaint in complaints]


def check(root):
    clang = house.tool("clang-14", "clang")
    some = QUICK_ROWS if house.QUICK or root != house.ROOT else \
        MERGE_ROWS if house.MERGE else [row[:2] for row in ROWS]
    rows = [row for row in ROWS if row[:2] in some]
    complaints = judge_table() + judge_backends(clang)
    if not complaints:
        complaints = [text for row in rows
                      for text in check_row(root, clang, row)]
    return len(rows), complaints


def plant(text):
    return {"vmem/a.c": house.SPDX + '#include "port/check.h"\n' + text}


PLANTS = {
    "division-of-64-bits": (
        plant("uint64_t kva_a(uint64_t a, uint64_t b);\n"
              "uint64_t kva_a(uint64_t a, uint64_t b) { return a / b; }\n"),
        "__udivdi3 is undefined"),
    "division-by-a-variable": (
        plant("unsigned kva_a(unsigned a, unsigned b);\n"
              "unsigned kva_a(unsigned a, unsigned b) { return a / b; }\n"),
        "__aeabi_uidiv is undefined"),
    "atomic-of-64-bits": (
        plant("uint64_t kva_a(uint64_t *a);\n"
              "uint64_t kva_a(uint64_t *a)\n"
              "{ return __atomic_fetch_add(a, 1, __ATOMIC_RELAXED); }\n"),
        "exceeds the max lock-free size"),
    "floating-point": (
        plant("unsigned kva_a(unsigned a);\n"
              "unsigned kva_a(unsigned a)\n"
              "{ return (unsigned)((double)a * 1.5); }\n"),
        "__muldf3 is undefined"),
    "header-of-the-compiler": (
        plant("#include <stdint.h>\n"), "'stdint.h' file not found"),
    "word-taken-for-64-bits": (
        plant("size_t kva_a(uint64_t a);\n"
              "size_t kva_a(uint64_t a) { return a; }\n"),
        "implicit conversion loses integer precision"),
    "word-taken-for-a-size": (
        plant("void kva_a(size_t *a);\nvoid kva_b(uintptr_t *a);\n"
              "void kva_b(uintptr_t *a) { kva_a(a); }\n"),
        "incompatible pointer types"),
    "hook-of-a-higher-tier": (
        {"port/port.h": house.read(house.ROOT / "port/port.h").replace(
            "uint64_t kva_port_clock(void);", ""),
         **plant("uint64_t kva_port_clock(void);\nuint64_t kva_a(void);\n"
                 "uint64_t kva_a(void) { return kva_port_clock(); }\n")},
        "kva_port_clock is undefined and no hook of this tier"),
    "hook-of-nobody": (
        {"port/port.h": house.read(house.ROOT / "port/port.h").replace(
            "void kva_port_log(", "void kva_port_chart(void);\n"
            "void kva_port_log(")},
        "nothing refers to the hook kva_port_chart"),
    "memory-function-lost": (
        {"port/memory.c": house.SPDX + "typedef int kva__nothing;\n",
         **plant("void kva_a(void *a, size_t n);\n"
                 "void kva_a(void *a, size_t n) { kva__memset(a, 0, n); }\n")},
        "memset is undefined, and the core said"),
    "weak": (
        plant("void kva_a(void);\n"
              "__attribute__((weak)) void kva_a(void) { }\n"),
        "kva_a is weak or unique"),
    "prefix-lost": (
        plant("void another(void);\nvoid another(void) { }\n"),
        "another lacks the prefix kva_"),
    "thread-local": (
        plant("extern _Thread_local int kva_a;\n_Thread_local int kva_a = 1;\n"),
        "section .tdata"),
}

if __name__ == "__main__":
    sys.exit(house.main("matrix", check, PLANTS))
