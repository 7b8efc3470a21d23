#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Claim: no file includes a header from above it in the tower, no header of
the folders beside the tower, and the freestanding core includes no header of
a libc: only port/types.h names the four that belong to the compiler.  An
optional part of a port (house.OPTIONAL) stands on a layer above the port, and
nobody but itself includes it.

An include is read from the text, so one that an #if hides is seen as well.
"""
import re
import sys

import house

COMPILER_HEADERS = {"stdarg.h", "stdbool.h", "stddef.h", "stdint.h"}
# What a kernel may put in their place, see port/types.h and port/platform.h.
OVERRIDES = {("port/types.h", "kva_types.h"),
             ("port/platform.h", "kva_platform.h")}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]*)[>"]|'
                     r'^\s*#\s*include\s+([A-Za-z_]\w*)', re.MULTILINE)


def judge(name, bracket, header):
    """What is wrong with an include of header in file name, or None."""
    layer = name.rsplit("/", 1)[0]
    if bracket is None:
        return "includes by macro, which cannot be checked"
    if bracket == "<":
        if name == "port/types.h" and header in COMPILER_HEADERS:
            return None
        return f"includes <{header}>; the core has port/types.h only"
    if (name, header) in OVERRIDES:
        return None
    folder = header.rpartition("/")[0]
    if layer in house.OPTIONAL:
        if folder == layer:
            return None
        layer = house.OPTIONAL[layer]
    if folder not in house.TOWER:
        return f'includes "{header}", which is not a header of the tower'
    if house.TOWER.index(folder) > house.TOWER.index(layer):
        return f'includes "{header}", which stands above {layer}'
    return None


def check(root):
    complaints = []
    files = house.core_files(root, ".c", ".h")
    for path in files:
        name = str(path.relative_to(root))
        text = house.read(path)
        for match in INCLUDE.finditer(text):
            wrong = judge(name, match.group(1), match.group(2))
            if wrong:
                line = text.count("\n", 0, match.start(1)) + 1
                complaints.append(f"{name}:{line}: {wrong}")
    return len(files), complaints


PLANTS = {
    "up": ({"vmem/a.c": house.SPDX + '#include "pool/pool.h"\n'},
           'vmem/a.c:2: includes "pool/pool.h", which stands above vmem'),
    "beside": ({"vmem/a.c": house.SPDX + '#include "tests/harness/test.h"\n'},
               "not a header of the tower"),
    "port-subfolder": (
        {"kva/a.h": house.SPDX + '#include "port/posix/posix.h"\n'},
        "not a header of the tower"),
    "optional-part": (
        {"vmem/a.c": house.SPDX + '#include "port/pages/pages.h"\n'},
        "not a header of the tower"),
    "optional-part-up": (
        {"port/pages/a.c": house.SPDX + '#include "port/pages/pages.h"\n'
         '#include "vmem/vmem.h"\n#include "kva/kva.h"\n'},
        'port/pages/a.c:4: includes "kva/kva.h", which stands above vmem'),
    "libc": ({"pool/a.c": house.SPDX + "# include <string.h>\n"},
             "pool/a.c:2: includes <string.h>"),
    "stdint-elsewhere": ({"pool/a.c": house.SPDX + "#include <stdint.h>\n"},
                         "includes <stdint.h>"),
    "hidden-by-if": (
        {"kmem/a.c": house.SPDX + "#if 0\n#include <errno.h>\n#endif\n"},
        "kmem/a.c:3: includes <errno.h>"),
    "by-macro": ({"kmem/a.c": house.SPDX + "#include SOME_HEADER\n"},
                 "includes by macro"),
}

if __name__ == "__main__":
    sys.exit(house.main("includes", check, PLANTS))
