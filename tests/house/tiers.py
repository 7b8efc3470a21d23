#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: at each tier, 0 to 3, the core links against port/skeleton built for
that tier, which has exactly the hooks that port.h declares there; and the core
refers to no hook of a higher tier.  The same at each tier with what is optional.
"""
import pathlib
import sys
import tempfile

import house

def is_hook(name):
    return name.startswith("kva_port_")


OPTIONS = ["-DKVA_CONFIG_READ_BARRIER=1", "-DKVA_CONFIG_SLAB_LOOKUP=1",
           "-DKVA_CONFIG_DEMOTE=1", "-DKVA_CONFIG_PAGE_CONTIG=1",
           "-DKVA_CONFIG_DIRECT_MAP=1", "-DKVA_LARGE_PAGE_SIZE=0",
           "-DKVA_CONFIG_CONTEXT=1", "-DKVA_CONFIG_TASK_MARK=1",
           "-DKVA_CONFIG_DEBUG=1"]
HEADER = ["-DKVA_CONFIG_SLAB_LOOKUP=2"]


def compile_all(root, out, gcc, tier, options):
    """The core and the skeleton as one relocatable object each."""
    flags = ["-O0", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
             f"-DKVA_TIER={tier}", *options]
    whole = {}
    skeleton = sorted(pathlib.Path(root, "port/skeleton").glob("*.c"))
    if not skeleton:
        raise RuntimeError("port/skeleton has no C file")
    for part, files in (("core", house.core_files(root, ".c")),
                        ("skeleton", skeleton)):
        folder = pathlib.Path(out, part)
        folder.mkdir()
        objects = house.compile_core(root, folder, gcc, flags, files)
        whole[part] = pathlib.Path(out, part + ".o")
        house.run(["ld", "-r", "-o", whole[part], *objects])
    return whole


def compare(whole, hooks, tier):
    core = {name for kind, name in house.symbols(whole["core"])
            if kind == "U" and is_hook(name)}
    skeleton = {name for kind, name in house.symbols(whole["skeleton"])
                if kind == "T" and is_hook(name)}
    complaints = [f"the core refers to {name}, which tier {tier} has not"
                  for name in sorted(core - hooks)]
    complaints += [f"the skeleton lacks {name}"
                   for name in sorted(hooks - skeleton)]
    complaints += [f"the skeleton has {name}, which tier {tier} has not"
                   for name in sorted(skeleton - hooks)]
    return complaints


def check_tier(root, gcc, tier, options=()):
    complaints = []
    with tempfile.TemporaryDirectory(prefix="kva-house-") as out:
        try:
            whole = compile_all(root, out, gcc, tier, options)
            complaints += compare(whole, house.port_hooks(root, tier, gcc,
                                                          options), tier)
            house.link_kernel(out, gcc, [whole["core"], whole["skeleton"]])
        except RuntimeError as error:
            complaints.append(str(error))
    return complaints


def check(root):
    gcc = house.tool("gcc", "cc")
    complaints = []
    for tier in range(4):
        complaints += [f"tier {tier}: {text}"
                       for text in check_tier(root, gcc, tier)]
    cases = [(0, OPTIONS), (2, OPTIONS), (3, OPTIONS), (0, HEADER),
             (3, HEADER)]
    for tier, options in cases:
        complaints += [f"tier {tier} {options}: {text}"
                       for text in check_tier(root, gcc, tier, options)]
    return 4 + len(cases), complaints


def core_plant(text):
    return {"vmem/a.c": house.SPDX + '#include "port/port.h"\n' + text}


PLANTS = {
    "hook-of-a-higher-tier": (
        core_plant("uint64_t kva_port_clock(void);\nuint64_t kva_a(void);\n"
                   "uint64_t kva_a(void) { return kva_port_clock(); }\n"),
        "tier 2: the core refers to kva_port_clock, which tier 2 has not"),
    "not-compiled-out": (
        core_plant("void kva_a(void);\n"
                   "void kva_a(void) { kva_port_relax(); }\n"),
        "implicit declaration of function 'kva_port_relax'"),
    "unresolved": (
        core_plant("int kva__elsewhere(void);\nint kva_a(void);\n"
                   "int kva_a(void) { return kva__elsewhere(); }\n"),
        "undefined reference to `kva__elsewhere'"),
    "skeleton-has-too-much": (
        {"port/skeleton/zz.c": house.SPDX + "void kva_port_extra(void);\n"
         "void kva_port_extra(void) { }\n"},
        "tier 3: the skeleton has kva_port_extra, which tier 3 has not"),
    "skeleton-lacks-a-hook": (
        {"port/port.h": house.read(house.ROOT / "port/port.h").replace(
             "void kva_port_log(", "void kva_port_chart(void);\n"
             "void kva_port_log(")},
        "tier 0: the skeleton lacks kva_port_chart"),
}

if __name__ == "__main__":
    sys.exit(house.main("tiers", check, PLANTS))
