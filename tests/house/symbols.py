#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: the core linked in one piece needs nothing but the port's hooks and
memcpy, memmove, memset, memcmp; all that it offers begins with the prefix; it
has no thread-local storage, no static constructor, no weak or common symbol
and no floating point.  With another prefix, every name begins with that one.

Each is looked at for gcc, 64 and 32 bits, -O0 to -Os (in merge 64 bits at -O2
alone); for clang matrix.py looks at the same in what it links.  On 32 bits a
64-bit division or atomic would show as a call to libgcc or libatomic.
"""
import itertools
import pathlib
import sys
import tempfile

import house

OTHER_PREFIX = "other9_"
FORBIDDEN_SECTIONS = (".init_array", ".fini_array", ".ctors", ".dtors",
                      ".tdata", ".tbss")


def configurations():
    """(compiler, flags), the one that matters most first."""
    gcc = house.tool("gcc", "cc")
    if house.QUICK:
        return [(gcc, ("-m64", "-O2"))]
    return [(gcc, flags) for flags in itertools.product(
        ("-m64", "-m32"), ("-O2", "-O0", "-Os"))
        if not house.MERGE or "-m32" in flags or "-O2" in flags]


def link(root, out, compiler, flags):
    objects = house.compile_core(
        root, out, compiler, ["-mgeneral-regs-only", "-fno-stack-protector",
                              "-fno-common", *flags])
    whole = pathlib.Path(out, "core.o")
    emulation = "elf_i386" if "-m32" in flags else "elf_x86_64"
    house.run(["ld", "-r", "-m", emulation, "-o", whole, *objects])
    return whole


def judge_symbols(whole, hooks, prefix, nm="nm", allowed=()):
    """hooks None: somebody else looks at what is undefined; allowed: names
    without the prefix."""
    complaints = []
    for kind, name in house.symbols(whole, nm=nm):
        if kind == "U":
            if hooks is not None and \
                    name not in hooks | house.MEMORY_FUNCTIONS:
                complaints.append(f"{name} is undefined and no hook")
        elif kind.upper() in "WV" or kind == "u":
            complaints.append(f"{name} is weak or unique")
        elif kind == "C":
            complaints.append(f"{name} is common")
        elif kind.isupper() and not name.startswith(prefix) and \
                name not in allowed:
            complaints.append(f"{name} lacks the prefix {prefix}")
    return complaints


def judge_sections(whole):
    complaints = []
    for line in house.run(["readelf", "-SW", whole]).splitlines():
        words = line.replace("[ ", "[").split()
        if len(words) > 1 and words[1].startswith(FORBIDDEN_SECTIONS):
            complaints.append(f"section {words[1]}")
    return complaints


def check_one(root, compiler, flags, prefix="kva_", hooks=None):
    with tempfile.TemporaryDirectory(prefix="kva-house-") as out:
        extra = []
        hooks = house.port_hooks(root, 3, compiler)
        if prefix != "kva_":
            header = pathlib.Path(out, "kva_prefix.h")
            house.run([sys.executable, house.ROOT / "tools/prefix.py", prefix,
                       header, *house.core_files(root, ".h")])
            extra = ["-include", header]
            hooks = {prefix + name[len("kva_"):] for name in hooks}
        try:
            whole = link(root, out, compiler, [*flags, *extra])
        except RuntimeError as error:
            return [str(error)]
        return judge_symbols(whole, hooks, prefix) + judge_sections(whole)


def check(root):
    complaints = []
    todo = [(c, f, "kva_") for c, f in configurations()]
    todo.append((configurations()[0][0], ("-m64", "-O0"), OTHER_PREFIX))
    for compiler, flags, prefix in todo:
        what = " ".join((compiler, *flags, "prefix", prefix))
        complaints += [f"{what}: {text}"
                       for text in check_one(root, compiler, flags, prefix)]
    return len(todo), complaints


def plant(text):
    return {"vmem/a.h": house.SPDX + '#include "port/port.h"\n',
            "vmem/a.c": house.SPDX + '#include "vmem/a.h"\n' + text}


PLANTS = {
    "call-of-libc": (
        plant("int puts(const char *);\nint kva_a(void);\n"
              'int kva_a(void) { return puts("a"); }\n'),
        "puts is undefined and no hook"),
    "call-of-unknown-hook": (
        plant("void kva_port_gift(void);\nvoid kva_a(void);\n"
              "void kva_a(void) { kva_port_gift(); }\n"),
        "kva_port_gift is undefined and no hook"),
    "no-prefix": (plant("int naked(void);\nint naked(void) { return 0; }\n"),
                  "naked lacks the prefix kva_"),
    "prefix-not-in-a-header": (
        plant("int kva_a(void);\nint kva_a(void) { return 0; }\n"),
        f"kva_a lacks the prefix {OTHER_PREFIX}"),
    "constructor": (
        plant("static void a(void);\nint kva_a;\n"
              "__attribute__((constructor)) static void a(void) "
              "{ kva_a = 1; }\n"),
        "section .init_array"),
    "thread-local": (plant("extern _Thread_local int kva_a;\n"
                           "_Thread_local int kva_a = 1;\n"), ".tdata"),
    "weak": (plant("void kva_a(void);\n"
                   "__attribute__((weak)) void kva_a(void) { }\n"),
             "kva_a is weak"),
    "floating-point": (plant("double kva_a(double a);\n"
                             "double kva_a(double a) { return a * 2; }\n"),
                       "-mgeneral-regs-only"),
}
if not house.QUICK:
    PLANTS["division-of-64-bits"] = (
        plant("uint64_t kva_a(uint64_t a, uint64_t b);\n"
              "uint64_t kva_a(uint64_t a, uint64_t b) { return a / b; }\n"),
        "__udivdi3 is undefined")

if __name__ == "__main__":
    sys.exit(house.main("symbols", check, PLANTS))
