#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: as a Meson subproject the library builds with no warning, for tier 0
and with another prefix, installs nothing, builds nothing for the host, and
links into a kernel that takes port/skeleton along.
"""
import json
import pathlib
import sys
import tempfile

import house

MESON_BUILD = """project('kernel', 'c')
kva = dependency('libkva', fallback: ['libkva', 'libkva_dep'])
executable('kernel', 'kernel.c', 'skeleton.c', dependencies: kva)
"""
KERNEL_C = """#include "malloc_compat/kmalloc.h"
#include "kva/kva.h"
int main(void)
{
    kfree(kmalloc(8));
    return kva_boot_simple(NULL, 0);
}
"""
OPTIONS = ["-Dlibkva:tier=0", "-Dlibkva:symbol_prefix=other_",
           "-Dlibkva:werror=true"]
# What a plant shows no optimizer is needed for.
PLANT_OPTIONS = ["-Doptimization=0", "-Ddebug=false"]


def copy(root, target):
    """What a release has of the library, without tests and tools of ours."""
    names = ["meson.build", "meson_options.txt", "tools/prefix.py"]
    names += [f"{layer}/meson.build" for layer in
              [*house.TOWER, *house.OPTIONAL]]
    paths = [pathlib.Path(root, name) for name in names]
    paths += house.core_files(root, ".c", ".h")
    paths += [pathlib.Path(root, "port/skeleton/skeleton.c")]
    for path in paths:
        to = target / path.relative_to(root)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(path.read_bytes())


def check(root):
    house.tool("gcc", "cc")
    house.tool("ninja")
    meson = house.tool("/usr/bin/meson", "meson")
    with tempfile.TemporaryDirectory(prefix="kva-house-") as out:
        out = pathlib.Path(out)
        copy(root, out / "subprojects/libkva")
        (out / "meson.build").write_text(MESON_BUILD)
        (out / "kernel.c").write_text(KERNEL_C)
        skeleton = pathlib.Path(root, "port/skeleton/skeleton.c")
        (out / "skeleton.c").write_text(house.read(skeleton))
        try:
            house.run([meson, "setup", *OPTIONS,
                       *([] if root == house.ROOT else PLANT_OPTIONS),
                       out / "build", out])
            targets = json.loads(house.run(
                [meson, "introspect", "--targets", out / "build"]))
            complaints = [f"{target['name']} is installed"
                          for target in targets if target["installed"]]
            complaints += [f"{target['name']} is built in a subproject"
                           for target in targets
                           if target["name"] not in ("kernel", "kva", "prefix")]
            # What is wrong with the targets need not be built.
            if complaints:
                return len(targets), complaints
            house.run(["ninja", "-C", out / "build"])
        except RuntimeError as error:
            return 1, [str(error)]
        complaints = [f"{name} lacks the prefix other_"
                       for _, name in house.symbols(out / "build/kernel")
                       if name.startswith("kva_")]
        return len(targets), complaints


def changed(name, old, new):
    """The core's tree with one text replaced, which must be there."""
    files = {}
    with tempfile.TemporaryDirectory(prefix="kva-house-") as out:
        copy(house.ROOT, pathlib.Path(out))
        for path in pathlib.Path(out).rglob("*"):
            if path.is_file():
                files[str(path.relative_to(out))] = house.read(path)
    if old not in files[name]:
        raise RuntimeError(f"the plant's place is gone: {old} in {name}")
    files[name] = files[name].replace(old, new)
    return files


PLANTS = {
    "source-not-listed": (
        changed("port/meson.build", "  'message.c',\n", ""),
        "undefined reference to `other__misuse'"),
    "installs": (
        changed("meson.build", "  c_args: config_args + core_args)",
                "  install: true, c_args: config_args + core_args)"),
        "kva is installed"),
    "host-port": (
        changed("meson.build", "libkva_dep = ", "executable('extra', "
                "'port/skeleton/skeleton.c', link_args: '-nostartfiles')\n"
                "libkva_dep = "),
        "extra is built in a subproject"),
    "prefix-lost": (
        changed("meson.build", "config_args += ['-include', 'kva_prefix.h']",
                ""),
        "lacks the prefix other_"),
}

if __name__ == "__main__":
    sys.exit(house.main("subproject", check, PLANTS))
